r"""The merges of byte-pair encoding as plain functions: first the textbook's, then the same result fast.

Each has a definition that can be followed with a pencil (`train_textbook`, `encode_textbook`), and fast forms that give
the same, without walking through all merges (`merge_by_rank`) or the chunk (`merge_by_heap`) each time.
"""

import heapq
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from gptlab.entrances import guard

# ---- Train, as in a textbook -----------------------------------------------------------------------------------------


class Merge(NamedTuple):
    """One step of training.

    Attributes:
        pair: the two neighbouring ids that were merged.
        new_id: the id they became.
        count: how often the pair occurred at that moment.
    """

    pair: tuple[int, int]
    new_id: int
    count: int


def count_pairs(sequences: Iterable[list[int]]) -> Counter[tuple[int, int]]:
    """How often each pair of neighbours occurs.

    >>> count_pairs([[1, 2, 1, 2], [1, 2]])
    Counter({(1, 2): 3, (2, 1): 1})
    """
    counts: Counter[tuple[int, int]] = Counter()
    for ids in sequences:
        counts.update(itertools.pairwise(ids))
    return counts


def merge(ids: list[int], pair: tuple[int, int], new_id: int) -> list[int]:
    """Write `new_id` wherever `pair` occurs, from left to right.

    >>> merge([7, 7, 7, 5, 7, 7], pair=(7, 7), new_id=9)
    [9, 7, 5, 9]
    """
    merged, i = [], 0
    while i < len(ids):
        if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def train_textbook(chunks: Iterable[str], steps: int) -> list[Merge]:
    """Find merges, counting everything again before each: the definition, and slow (text length × steps).

    Args:
        chunks: the text, split; no merge crosses a border between two chunks.
        steps: how many merges to find; fewer are found when no pair is left.

    >>> [step.count for step in train_textbook(["aaabdaaabac"], steps=3)]
    [4, 2, 2]
    """
    sequences = [list(chunk.encode("utf-8")) for chunk in chunks]
    merges: list[Merge] = []
    for new_id in range(256, 256 + steps):
        counts = count_pairs(sequences)
        if not counts:
            break
        pair = min(counts, key=lambda pair: (-counts[pair], pair))  # most frequent; in a tie the smaller ids
        merges.append(Merge(pair, new_id, counts[pair]))
        sequences = [merge(ids, pair, new_id) for ids in sequences]
    return merges


# ---- Train, fast: the same merges, touching only what a merge changes ------------------------------------------------


def train_fast(chunks: Iterable[str], steps: int) -> list[Merge]:
    """The merges of `train_textbook`, several hundred times sooner.

    Three ideas. A chunk that occurs 5,000 times is processed once, with the weight 5,000. A merge changes only the
    counts of its neighbours, so counts are updated instead of counted again, and the positions of each pair are
    remembered. A heap has the best pair on top; an entry whose count has gone down since is noticed when it comes up,
    and put back.

    Args:
        chunks: the text, split; no merge crosses a border between two chunks.
        steps: how many merges to find; fewer are found when no pair is left.

    >>> train_fast(["aaabdaaabac"], steps=3) == train_textbook(["aaabdaaabac"], steps=3)
    True
    """
    # All different chunks in one row. A token is stored at its first byte; `after` and `before` lead to its neighbours.
    ids: list[int] = []
    weight: list[int] = []
    after: list[int] = []  # position of the next token of the chunk, -1 at its end
    before: list[int] = []
    for chunk, count in Counter(chunks).items():
        start = len(ids)
        ids.extend(chunk.encode("utf-8"))
        end = len(ids)
        weight.extend([count] * (end - start))
        after.extend(range(start + 1, end + 1))
        before.extend(range(start - 1, end - 1))
        if end > start:
            after[-1] = before[start] = -1
    counts: defaultdict[tuple[int, int], int] = defaultdict(int)
    positions: defaultdict[tuple[int, int], list[int]] = defaultdict(list)  # where a pair begins, or once began
    for left, right in enumerate(after):
        if right >= 0:
            pair = ids[left], ids[right]
            counts[pair] += weight[left]
            positions[pair].append(left)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)
    merges: list[Merge] = []
    while heap and len(merges) < steps:
        count, pair = heap[0]
        if counts[pair] != -count:  # gone down since it was put here
            if counts[pair]:
                heapq.heapreplace(heap, (-counts[pair], pair))
            else:
                heapq.heappop(heap)
            continue
        heapq.heappop(heap)
        first, second = pair
        new_id = 256 + len(merges)
        merges.append(Merge(pair, new_id, -count))
        new_pairs = set()
        for left in sorted(positions.pop(pair)):  # left to right: in "aaa" the first two are merged
            right = after[left]
            if ids[left] != first or right < 0 or ids[right] != second:
                continue  # an earlier merge has taken one of them
            w = weight[left]
            previous, following = before[left], after[right]
            ids[left], ids[right] = new_id, -1
            after[left] = following
            if previous >= 0:
                counts[ids[previous], first] -= w
                new_pair = ids[previous], new_id
                counts[new_pair] += w
                positions[new_pair].append(previous)
                new_pairs.add(new_pair)
            if following >= 0:
                before[following] = left
                counts[second, ids[following]] -= w
                new_pair = new_id, ids[following]
                counts[new_pair] += w
                positions[new_pair].append(left)
                new_pairs.add(new_pair)
        del counts[pair]
        for new_pair in new_pairs:
            if counts[new_pair]:
                heapq.heappush(heap, (-counts[new_pair], new_pair))
    return merges


# ---- Encode: by the order of the merges, by rank, and by rank for chunks of any length -------------------------------


def encode_textbook(chunk: str, merges: Iterable[Merge]) -> list[int]:
    """Do to a new text what training did to its own: every merge, in the order in which they were found.

    Args:
        chunk: a text that is not split further.
        merges: what training found, in its order.

    >>> encode_textbook("abab", [Merge((97, 98), 256, 2), Merge((256, 256), 257, 1)])
    [257]
    """
    ids = list(chunk.encode("utf-8"))
    for step in merges:
        ids = merge(ids, step.pair, step.new_id)
    return ids


def merge_by_rank(chunk: bytes, ranks: dict[bytes, int], below: int | float = math.inf) -> list[bytes]:
    """Encode without walking through all merges: of the merges possible now, the one found first in training is next.

    A token's rank is its position in the order of training, and its id. Two tokens can be merged if the joined bytes
    are a token.

    Args:
        chunk: the bytes to encode.
        ranks: the bytes of each token and its rank.
        below: use only the tokens of a lower rank than this.

    >>> merge_by_rank(b"abab", {b"a": 97, b"b": 98, b"ab": 256, b"aba": 257})
    [b'ab', b'ab']
    """
    parts = [chunk[i : i + 1] for i in range(len(chunk))]
    rank_of = ranks.get
    while len(parts) > 1:
        best, best_rank = 0, below
        left = parts[0]
        for i in range(1, len(parts)):
            right = parts[i]
            rank = rank_of(left + right, below)
            if rank < best_rank:
                best, best_rank = i, rank
            left = right
        if best == 0:
            break
        parts[best - 1 : best + 1] = [parts[best - 1] + parts[best]]
    return parts


def merge_by_heap(chunk: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """The tokens of `merge_by_rank`, for a chunk of any length: n log n steps for n bytes instead of n squared.

    Args:
        chunk: the bytes to encode.
        ranks: the bytes of each token and its rank.

    >>> merge_by_heap(b"abab", {b"a": 97, b"b": 98, b"ab": 256, b"aba": 257})
    [b'ab', b'ab']
    """
    length = len(chunk)
    end = list(
        range(1, length + 1)
    )  # where the part that starts here ends, 0 once it has been merged into another part
    start = list(range(-1, length))  # where the part that ends here starts
    joins = ((ranks.get(chunk[i : i + 2]), i) for i in range(length - 1))
    heap = [(rank, i, i + 2) for rank, i in joins if rank is not None]
    heapq.heapify(heap)
    while heap:
        _, left, stop = heapq.heappop(heap)
        right = end[left]
        if right == 0 or right >= stop or end[right] != stop:
            continue  # the two parts that this entry would join are no longer there
        end[left], end[right], start[stop] = stop, 0, left
        if left > 0:
            before = start[left]
            rank = ranks.get(chunk[before:stop])
            if rank is not None:
                heapq.heappush(heap, (rank, before, stop))
        if stop < length:
            after = end[stop]
            rank = ranks.get(chunk[left:after])
            if rank is not None:
                heapq.heappush(heap, (rank, left, after))
    parts, i = [], 0
    while i < length:
        parts.append(chunk[i : end[i]])
        i = end[i]
    return parts


def recover_merges(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The pairs that were merged, in the order of training, recovered from the ranks alone.

    The pair of a token is what encoding makes of it with the earlier tokens only. A published vocabulary can have
    tokens that become more than two parts then, and are reached in other ways: all of these are listed.

    >>> recover_merges({b"a": 97, b"b": 98, b"ab": 256, b"aba": 257})
    [(b'a', b'b'), (b'ab', b'a')]
    """
    pairs = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        parts = merge_by_rank(token, ranks, below=rank)
        if len(parts) == 2:
            pairs.append((parts[0], parts[1]))
        elif len(parts) > 2:
            ways = ((token[:i], token[i:]) for i in range(1, len(token)))
            pairs.extend((left, right) for left, right in ways if left in ranks and right in ranks)
    return pairs


class ChunkCache(dict):
    """chunk -> ids, encoded when first asked for. Bounded: when full it is emptied, and long chunks are not stored.

    Args:
        encode: gives the ids of a chunk.
    """

    FULL, LONG = 1 << 16, 64  # chunks, characters

    def __init__(self, encode: Callable[[str], list[int]]):
        super().__init__()
        self.encode = encode

    def __missing__(self, chunk: str) -> list[int]:
        ids = self.encode(chunk)
        if len(chunk) <= self.LONG:
            if len(self) >= self.FULL:
                self.clear()
            self[chunk] = ids
        return ids


guard(globals())
