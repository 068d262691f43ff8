r"""Lesson 02, byte-pair encoding: a vocabulary that grows out of the text it has seen.

Start with bytes, so that no text is unknown. Find the pair of neighbours that occurs most often, give it a new id,
write that id wherever the pair stood; repeat. Frequent words end up as one token, rare ones as a few, and any text
still has a way to be written (Gage 1994; for words Sennrich, Haddow and Birch 2016; on bytes Radford et al. 2019).

The module goes the way of its notebook: the text is cut (`gptlab.splitting`), then train the slow way, train the fast
way (the same merges), encode the slow way, encode the fast way (the same ids), and a tokenizer that has it all and
speaks with `tiktoken` and Hugging Face `tokenizers`.

The **tie rule**: of two pairs that occur equally often, the pair of smaller ids is merged first. Ids do not depend on
where in the text something stands, so the same counts give the same merges.
"""

import heapq
import importlib
import itertools
import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, SupportsIndex

from gptlab.splitting import GPT2_PATTERN, GPT4_PATTERN, LLAMA3_PATTERN, any_of, split
from gptlab.tokens import SavedAsJson, checked_ids, whole_characters

if TYPE_CHECKING:
    import tiktoken

__all__ = [
    "GPT2_PATTERN", "GPT4_PATTERN", "LLAMA3_PATTERN",
    "BPETokenizer", "Merge", "byte_characters", "count_pairs", "encode_textbook", "merge", "merge_by_heap",
    "merge_by_rank", "split", "train_fast", "train_textbook",
]  # fmt: skip

# ---- Train, as in a textbook -----------------------------------------------------------------------------------------


class Merge(NamedTuple):
    """One step of training: this `pair` of ids became `new_id`; it was found `count` times then."""

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
    """Write `new_id` wherever `pair` stands, from left to right.

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


def train_textbook(pieces: Iterable[str], steps: int) -> list[Merge]:
    """Find `steps` merges, counting everything anew before each: the definition, and slow.

    Work: the length of the text, times the number of steps. Stops early when no pair is left.

    >>> [step.count for step in train_textbook(["aaabdaaabac"], steps=3)]
    [4, 2, 2]
    """
    sequences = [list(piece.encode("utf-8")) for piece in pieces]
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


def train_fast(pieces: Iterable[str], steps: int) -> list[Merge]:
    """The merges of `train_textbook`, several hundred times sooner.

    Three ideas. A piece that occurs 5,000 times is worked on once, with the weight 5,000. A merge changes only the
    counts of its neighbours, so counts are kept and corrected, and the places of each pair are remembered. A heap has
    the best pair on top; an entry whose count has gone down since is noticed when it comes up, and put back.

    >>> train_fast(["aaabdaaabac"], steps=3) == train_textbook(["aaabdaaabac"], steps=3)
    True
    """
    # All different pieces in one row. A token lives at its first byte; `after` and `before` lead to its neighbours.
    ids: list[int] = []
    weight: list[int] = []
    after: list[int] = []  # place of the next token of the piece, -1 at its end
    before: list[int] = []
    for piece, count in Counter(pieces).items():
        start = len(ids)
        ids.extend(piece.encode("utf-8"))
        end = len(ids)
        weight.extend([count] * (end - start))
        after.extend(range(start + 1, end + 1))
        before.extend(range(start - 1, end - 1))
        if end > start:
            after[-1] = before[start] = -1

    counts: defaultdict[tuple[int, int], int] = defaultdict(int)
    places: defaultdict[tuple[int, int], list[int]] = defaultdict(list)  # where a pair begins, or once began
    for left, right in enumerate(after):
        if right >= 0:
            pair = ids[left], ids[right]
            counts[pair] += weight[left]
            places[pair].append(left)
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
        for left in sorted(places.pop(pair)):  # left to right: in "aaa" the first two are merged
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
                places[new_pair].append(previous)
                new_pairs.add(new_pair)
            if following >= 0:
                before[following] = left
                counts[second, ids[following]] -= w
                new_pair = new_id, ids[following]
                counts[new_pair] += w
                places[new_pair].append(left)
                new_pairs.add(new_pair)
        del counts[pair]
        for new_pair in new_pairs:
            if counts[new_pair]:
                heapq.heappush(heap, (-counts[new_pair], new_pair))
    return merges


# ---- Encode: by the order of the merges, by rank, and by rank for pieces of any length -------------------------------


def encode_textbook(piece: str, merges: Iterable[Merge]) -> list[int]:
    """Do to a new text what training did to its own: every merge, in the order in which they were found.

    >>> encode_textbook("abab", [Merge((97, 98), 256, 2), Merge((256, 256), 257, 1)])
    [257]
    """
    ids = list(piece.encode("utf-8"))
    for step in merges:
        ids = merge(ids, step.pair, step.new_id)
    return ids


def merge_by_rank(piece: bytes, ranks: dict[bytes, int], below: int | float = math.inf) -> list[bytes]:
    """Encode without walking through all merges: of the merges possible now, the one found first in training is next.

    A token's rank is its place in the order of training, and its id. Joining two tokens is possible if the joined
    bytes are a token. `below` forgets the tokens from that rank on.

    >>> merge_by_rank(b"abab", {b"a": 97, b"b": 98, b"ab": 256, b"aba": 257})
    [b'ab', b'ab']
    """
    parts = [piece[i : i + 1] for i in range(len(piece))]
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


def merge_by_heap(piece: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """The parts of `merge_by_rank`, for a piece of any length: n log n steps for n bytes instead of n squared.

    >>> merge_by_heap(b"abab", {b"a": 97, b"b": 98, b"ab": 256, b"aba": 257})
    [b'ab', b'ab']
    """
    length = len(piece)
    end = list(range(1, length + 1))  # where the part that starts here ends, 0 once another part has swallowed it
    start = list(range(-1, length))  # where the part that ends here starts
    joins = ((ranks.get(piece[i : i + 2]), i) for i in range(length - 1))
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
            rank = ranks.get(piece[before:stop])
            if rank is not None:
                heapq.heappush(heap, (rank, before, stop))
        if stop < length:
            after = end[stop]
            rank = ranks.get(piece[left:after])
            if rank is not None:
                heapq.heappush(heap, (rank, left, after))
    parts, i = [], 0
    while i < length:
        parts.append(piece[i : end[i]])
        i = end[i]
    return parts


# ---- The tokenizer ---------------------------------------------------------------------------------------------------


class _Remembered(dict):
    """piece -> ids, worked out when first asked for. Bounded: full, it starts afresh, and long pieces are not kept."""

    FULL, LONG = 1 << 16, 64  # pieces, characters

    def __init__(self, work_out: Callable[[str], list[int]]):
        super().__init__()
        self.work_out = work_out

    def __missing__(self, piece: str) -> list[int]:
        ids = self.work_out(piece)
        if len(piece) <= self.LONG:
            if len(self) >= self.FULL:
                self.clear()
            self[piece] = ids
        return ids


@dataclass
class BPETokenizer(SavedAsJson):
    """Byte-pair encoding with special tokens: trained here, or with a published vocabulary such as GPT-2's.

    >>> tokenizer = BPETokenizer.train("low lower lowest " * 9, vocab_size=260, special_tokens=["<|end|>"])
    >>> tokenizer
    BPETokenizer(V=260, special_tokens=['<|end|>'])
    >>> [tokenizer.token_bytes(id) for id in tokenizer.encode("slow")]
    [b's', b'low']
    >>> tokenizer.decode(tokenizer.encode("snow ☃"))
    'snow ☃'
    """

    ranks: dict[bytes, int]  # the bytes of each token and its id; a smaller id was merged earlier
    pattern: str | None = GPT4_PATTERN
    special_tokens: dict[str, int] = field(default_factory=dict)
    kind: ClassVar[str] = "bpe"

    def __post_init__(self):
        self._bytes_of = {id: token for token, id in self.ranks.items()}
        self._bytes_of |= {id: token.encode("utf-8") for token, id in self.special_tokens.items()}
        if len(self._bytes_of) != len(self.ranks) + len(self.special_tokens):
            raise ValueError("two tokens have the same id: give each special token an id that no other token has")
        self._vocab_size = max(self._bytes_of, default=-1) + 1
        missing = [byte for byte in range(256) if bytes([byte]) not in self.ranks]
        if missing:
            raise ValueError(
                f"{len(missing)} of the 256 bytes have no id (the first: {missing[0]}): some text would be lost"
            )
        if "" in self.special_tokens:
            raise ValueError("an empty special token would stand everywhere: give it a name, such as '<|endoftext|>'")
        self._ids_of_piece = _Remembered(self._encode_piece)

    @classmethod
    def train(
        cls,
        text: str,
        vocab_size: int,
        pattern: str | None = GPT4_PATTERN,
        special_tokens: Collection[str] = (),
    ) -> "BPETokenizer":
        """Learn a vocabulary from a text: 256 bytes, then merges in the order found, then the special tokens.

        A text that runs out of pairs gives a smaller vocabulary, and a warning that says so; an empty text gives the
        256 bytes. `pattern=None` lets tokens cross every border.

        Raises:
            ValueError: `vocab_size` is too small for the bytes and the special tokens.
        """
        if isinstance(special_tokens, str):
            raise ValueError(f"special_tokens is a list of them: write special_tokens=[{special_tokens!r}]")
        special_tokens = list(dict.fromkeys(special_tokens))
        steps = vocab_size - 256 - len(special_tokens)
        if steps < 0:
            raise ValueError(
                f"vocab_size={vocab_size} is too small for 256 bytes and {len(special_tokens)} special tokens: "
                f"give at least {256 + len(special_tokens)}"
            )
        merges = train_fast(split(whole_characters(text), pattern, special_tokens), steps)
        tokens = [bytes([byte]) for byte in range(256)]
        for step in merges:
            tokens.append(tokens[step.pair[0]] + tokens[step.pair[1]])
        if len(merges) < steps:
            warnings.warn(
                f"no pair is left after {len(merges)} of {steps} merges: the vocabulary has "
                f"{len(tokens) + len(special_tokens)} tokens, not {vocab_size}; a longer text would give more",
                stacklevel=2,
            )
        special = {token: id for id, token in enumerate(special_tokens, start=len(tokens))}
        return cls({token: id for id, token in enumerate(tokens)}, pattern, special)

    @property
    def vocab_size(self) -> int:
        """V: one more than the largest id. A published vocabulary may leave ids unused; a table has rows for them."""
        return self._vocab_size

    @cached_property
    def merges(self) -> list[tuple[bytes, bytes]]:
        """The pairs in the order of their ranks, worked out from the ranks alone.

        The pair of a token is what is left of it when only earlier tokens may be used. A published vocabulary can hold
        tokens that fall into more than two parts then, and are reached by other ways: all of these are listed.

        >>> BPETokenizer.train("abcabcab", 258, pattern=None).merges
        [(b'a', b'b'), (b'c', b'ab')]
        """
        pairs = []
        for token, rank in sorted(self.ranks.items(), key=lambda item: item[1]):
            if len(token) == 1:
                continue
            parts = merge_by_rank(token, self.ranks, below=rank)
            if len(parts) == 2:
                pairs.append((parts[0], parts[1]))
            else:
                ways = ((token[:i], token[i:]) for i in range(1, len(token)))
                pairs.extend((left, right) for left, right in ways if left in self.ranks and right in self.ranks)
        return pairs

    # -- text to ids

    def encode(self, text: str, allowed_special: str | Collection[str] = "none") -> list[int]:
        """The ids of a text.

        What if the text holds `<|endoftext|>`? If a user wrote it, it must not end anything:

        * `"none"`, the default: special tokens are text like any other, so what a user types never controls the model;
        * `"all"`, or a set of some: these become their own ids. For texts that the program itself has put together;
        * `"raise"`: a special token in the text is an error (what `tiktoken` does when it is not told otherwise).

        Raises:
            ValueError: with `"raise"`, a special token is in the text; or a set names a token that does not exist.

        >>> tokenizer = BPETokenizer.train("", 257, special_tokens=["<|end|>"])
        >>> tokenizer.encode("<|end|>")
        [60, 124, 101, 110, 100, 124, 62]
        >>> tokenizer.encode("<|end|>", allowed_special="all")
        [256]
        """
        text = whole_characters(text)
        allowed = self._allowed(text, allowed_special)
        if not allowed:
            return self._encode_ordinary(text)
        ids: list[int] = []
        start = 0
        for found in any_of(allowed).finditer(text):
            ids += self._encode_ordinary(text[start : found.start()])
            ids.append(self.special_tokens[found.group()])
            start = found.end()
        return ids + self._encode_ordinary(text[start:])

    def _allowed(self, text: str, allowed_special: str | Collection[str]) -> Collection[str]:
        """The special tokens that may be recognised in this text."""
        if allowed_special == "none":
            return ()
        if allowed_special == "all":
            return self.special_tokens
        if allowed_special == "raise":
            found = self.special_tokens and any_of(self.special_tokens).search(text)
            if found:
                raise ValueError(
                    f"the text holds the special token {found.group()!r} at position {found.start()}: encode it as "
                    f"text with allowed_special='none', or as a control token with 'all' or a set of those you mean"
                )
            return ()
        if isinstance(allowed_special, str):
            raise ValueError(
                f"allowed_special={allowed_special!r}: say 'none', 'all' or 'raise', or give a set of tokens"
            )
        if unknown := set(allowed_special) - set(self.special_tokens):
            raise ValueError(f"{sorted(unknown)} are no special tokens here; there are {list(self.special_tokens)}")
        return allowed_special

    def _encode_ordinary(self, text: str) -> list[int]:
        return list(itertools.chain.from_iterable(map(self._ids_of_piece.__getitem__, split(text, self.pattern))))

    def _encode_piece(self, piece: str) -> list[int]:
        """A piece that is a token is that token, also one that no merge leads to (Llama 3 has such)."""
        piece = piece.encode("utf-8")
        whole = self.ranks.get(piece)
        if whole is not None:
            return [whole]
        parts = merge_by_rank(piece, self.ranks) if len(piece) < 64 else merge_by_heap(piece, self.ranks)
        return [self.ranks[part] for part in parts]

    # -- ids to text

    def decode(self, ids: Iterable[SupportsIndex], errors: str = "replace") -> str:
        """The text of the ids; bytes that are no whole character become � (or an error, with `errors="strict"`).

        Raises:
            ValueError: an id is not in the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", errors=errors)

    def decode_bytes(self, ids: Iterable[SupportsIndex]) -> bytes:
        """The bytes of the ids, exactly. Raises: ValueError if an id is not in the vocabulary."""
        ids = checked_ids(ids, self.vocab_size)
        try:
            return b"".join([self._bytes_of[id] for id in ids])
        except KeyError as error:
            raise ValueError(
                f"id {error.args[0]} is one of those that this vocabulary of V={self.vocab_size} leaves unused: "
                f"a model that was trained with it never says it"
            ) from None

    def token_bytes(self, id: int) -> bytes:
        """The bytes of one token, maybe a part of a character only. Raises: ValueError if there is no such id."""
        return self.decode_bytes([id])

    # -- to and from other libraries, and files

    @classmethod
    def from_tiktoken(cls, encoding: "tiktoken.Encoding") -> "BPETokenizer":
        """The same tokenizer with our code: ranks, pattern and special tokens are taken over, the ids are equal."""
        return cls(dict(encoding._mergeable_ranks), encoding._pat_str, dict(encoding._special_tokens))

    def to_tiktoken(self, name: str) -> "tiktoken.Encoding":
        """This tokenizer as a `tiktoken.Encoding`, with equal ids. Raises: ImportError without tiktoken."""
        import tiktoken

        # without a pattern: one piece, whatever it holds
        pattern = r"(?s:.+)" if self.pattern is None else self.pattern
        return tiktoken.Encoding(
            name, pat_str=pattern, mergeable_ranks=dict(self.ranks), special_tokens=dict(self.special_tokens)
        )

    def to_huggingface_json(self) -> str:
        """This tokenizer as the text of a `tokenizer.json`; `tokenizers.Tokenizer.from_str` opens it, with equal ids.

        It always reads special tokens as such: its `encode` is ours with `allowed_special="all"`. The other tokenizers
        have no such method: `gptlab.huggingface.tokenizer_json` writes them all.
        """
        return importlib.import_module("gptlab.huggingface").tokenizer_json(self)

    def to_json(self) -> dict[str, Any]:
        """Pattern, special tokens, and the ranks, bytes written as the letters of `byte_characters`."""
        ranks = {_in_letters(token): id for token, id in self.ranks.items()}
        return {"pattern": self.pattern, "special_tokens": self.special_tokens, "ranks": ranks}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "BPETokenizer":
        """The tokenizer that `to_json` wrote down."""
        byte_of = {letter: byte for byte, letter in byte_characters().items()}
        ranks = {bytes([byte_of[letter] for letter in token]): id for token, id in data["ranks"].items()}
        return cls(ranks, data["pattern"], data["special_tokens"])

    def __repr__(self) -> str:
        return f"BPETokenizer(V={self.vocab_size}, special_tokens={list(self.special_tokens)})"


# ---- Bytes as letters: how GPT-2's encoder.json and every tokenizer.json write tokens down ---------------------------


@cache
def byte_characters() -> dict[int, str]:
    """A letter that can be seen for each byte: itself if it can, or else the next free one from U+0100 on (GPT-2).

    >>> [byte_characters()[byte] for byte in b"a b\\n"]
    ['a', 'Ġ', 'b', 'Ċ']
    """
    visible = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    free = itertools.count(256)
    return {byte: chr(byte if byte in visible else next(free)) for byte in range(256)}


def _in_letters(token: bytes) -> str:
    return "".join([byte_characters()[byte] for byte in token])
