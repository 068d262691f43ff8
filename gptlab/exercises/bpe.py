"""Exercises on byte-pair encoding: count, merge, train, encode, and the bytes below."""

import codecs
import itertools
import random
import re
from collections import Counter

from gptlab import bpe
from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question


def _ids(rng: random.Random, length: int, kinds: int = 3) -> list[int]:
    return [rng.randrange(kinds) for _ in range(length)]


# ---- bpe.1 -----------------------------------------------------------------------------------------------------------


def count_pairs(ids: list[int]) -> dict[tuple[int, int], int]:
    counts: dict[tuple[int, int], int] = {}
    for pair in zip(ids, ids[1:]):  # noqa: B905, RUF007
        counts[pair] = counts.get(pair, 0) + 1
    return counts


def _sequences(rng):
    yield from [([],), ([5],), ([1, 2],), ([2, 1],), ([1, 2, 3],), ([1, 1, 1],), ([1, 2, 1, 2],), ([1, 1, 1, 1],)]
    yield from [([1, 23, 12, 3],), ([0, 1, 2, 0, 1],), ([256, 7, 256],), (list(b"aaabdaaabac"),)]
    for length in range(4, 16):
        yield (_ids(rng, length),)


def _without_overlap(ids):
    counts, last = Counter(), {}
    for i, pair in enumerate(itertools.pairwise(ids)):
        if last.get(pair, -2) != i - 1:
            counts[pair] += 1
            last[pair] = i
    return counts


def _pairs_past_the_end(ids):
    counts = Counter()
    for i in range(len(ids)):
        counts[ids[i], ids[i + 1]] += 1
    return counts


def _pairs_without_start(ids):
    counts = {}
    for pair in itertools.pairwise(ids):
        counts[pair] += 1
    return counts


_COUNT = Exercise(
    id="bpe.1",
    title="Count the pairs",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="How often does each pair of neighbours occur? In `[1, 1, 1]` the pair `(1, 1)` occurs twice: pairs may "
    "overlap.\n\nInput: `ids`, a `list` of `int`; with fewer than two of them there is no pair. Result: a `dict` "
    "from pair, a `tuple` of two `int`, to its count. Only pairs that occur are in it.",
    signature="def count_pairs(ids: list[int]) -> dict[tuple[int, int], int]",
    inputs=_sequences,
    solution=count_pairs,
    reference=lambda ids: bpe.count_pairs([ids]),
    mistakes=[
        Mistake(
            "every second pair is left out",
            lambda ids: Counter(zip(ids[::2], ids[1::2])),  # noqa: B905
            "A step of 2 cuts the sequence into couples. Every position but the last begins a pair: step by 1.",
        ),
        Mistake(
            "overlapping pairs are counted once",
            _without_overlap,
            "In `[1, 1, 1]` the pair (1, 1) begins at two positions. Overlaps matter when merging, not when counting.",
        ),
        Mistake(
            "(1, 2) and (2, 1) are counted together",
            lambda ids: Counter(tuple(sorted(pair)) for pair in itertools.pairwise(ids)),
            "`th` and `ht` are different pairs: keep the order.",
        ),
        Mistake(
            "the last pair is missing",
            lambda ids: Counter((ids[i], ids[i + 1]) for i in range(len(ids) - 2)),
            "A list of n ids has n - 1 pairs, so the first of a pair runs over `range(len(ids) - 1)`.",
        ),
        Mistake(
            "the end is joined to the beginning",
            lambda ids: Counter((ids[i - 1], ids[i]) for i in range(len(ids))),
            "`ids[-1]` is the last id, so at i = 0 you get the pair (last, first). Begin at i = 1.",
        ),
        Mistake(
            "the last id has no neighbour",
            _pairs_past_the_end,
            "`ids[i + 1]` lies behind the list when i is the last position. The first of a pair runs over "
            "`range(len(ids) - 1)`.",
        ),
        Mistake(
            "every pair has the count 1",
            lambda ids: dict.fromkeys(itertools.pairwise(ids), 1),
            "You write 1 each time. Add 1 to what is there already: `counts[pair] = counts.get(pair, 0) + 1`.",
        ),
        Mistake(
            "the counts begin at 0",
            lambda ids: {pair: n - 1 for pair, n in Counter(itertools.pairwise(ids)).items()},
            "The first occurrence counts as well: a pair that is new gets 1.",
        ),
        Mistake(
            "nothing is ever added",
            lambda ids: dict.fromkeys(itertools.pairwise(ids), 0),
            "`counts.get(pair, 0)` reads the count so far. Add 1 to it before you store it.",
        ),
        Mistake(
            "a new pair is a KeyError",
            _pairs_without_start,
            "`counts[pair] += 1` needs a count that is there already. Use `counts.get(pair, 0) + 1`, or a `Counter`.",
        ),
        Mistake(
            "the pairs are lists",
            lambda ids: Counter(ids[i : i + 2] for i in range(len(ids) - 1)),
            "A list can't be a key of a dict. Make a tuple of the two ids.",
        ),
        Mistake(
            "the pairs are text",
            lambda ids: Counter(f"{a}{b}" for a, b in itertools.pairwise(ids)),
            "Written as text, (1, 23) and (12, 3) are the same `123`. A tuple of two ids keeps them apart.",
        ),
        Mistake(
            "single ids are counted",
            lambda ids: Counter(ids),
            "A key is a pair of neighbours: `zip(ids, ids[1:])` walks through them.",
        ),
        Mistake(
            "all pairs are counted, not only neighbours",
            lambda ids: Counter(itertools.combinations(ids, 2)),
            "Only an id and the one right after it make a pair: one loop is enough.",
        ),
        Mistake(
            "an id and the one after the next make a pair",
            lambda ids: Counter((ids[i], ids[i + 2]) for i in range(len(ids) - 2)),
            "`ids[2:]` skips one. Neighbours are `zip(ids, ids[1:])`.",
        ),
        Mistake(
            "the pairs are the wrong way round",
            lambda ids: Counter((b, a) for a, b in itertools.pairwise(ids)),
            "The id that comes first in the text comes first in the pair.",
        ),
        Mistake(
            "the result is a list of pairs",
            lambda ids: list(itertools.pairwise(ids)),
            "These are the pairs. Now count how often each occurs: a `dict`, or a `Counter`.",
        ),
        Mistake(
            "the result is sorted by count, so it is a list",
            lambda ids: Counter(itertools.pairwise(ids)).most_common(),
            "`most_common` gives a list of (pair, count). The `Counter` itself is the dict.",
        ),
        Mistake(
            "the first pair is missing",
            lambda ids: Counter(itertools.pairwise(ids[1:])),
            "Positions are counted from 0, so the first pair begins at `ids[0]`.",
        ),
        Mistake(
            "the pairs are text with a comma",
            lambda ids: Counter(f"{a},{b}" for a, b in itertools.pairwise(ids)),
            "The key of the dict is the pair itself: a tuple of two `int`.",
        ),
        Mistake(
            "every pair of different positions is counted",
            lambda ids: Counter(itertools.product(ids, ids)),
            "Two loops over the ids pair everything with everything. Only an id and the one right after it are "
            "neighbours.",
        ),
    ],
    hints=[
        "Where does a pair begin? At every position but one.",
        "`zip(ids, ids[1:])` walks through all neighbours.",
        "For each pair: `counts[pair] = counts.get(pair, 0) + 1`.",
    ],
    package="gptlab.bpe.count_pairs",
)

# ---- bpe.2 -----------------------------------------------------------------------------------------------------------


def merge(ids: list[int], pair: tuple[int, int], new_id: int) -> list[int]:
    merged, i = [], 0
    while i < len(ids):
        if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def _merge_inputs(rng):
    cases = [[], [1], [3], [1, 2], [2, 1], [1, 2, 3], [3, 1, 2], [1, 2, 2], [1, 2, 1, 2], [1, 3, 2, 1], [2, 2, 3]]
    yield from [(ids, (1, 2), 9) for ids in cases]
    yield from [([1, 1, 1], (1, 1), 9), ([1, 1, 1, 1], (1, 1), 9), ([1, 1, 1, 2, 1, 1], (1, 1), 9)]
    # ids of several digits, which text would confuse; and a tuple that is equal, but not the same object
    yield from [([1, 11], (1, 1), 9), ([97, 98, 256], (98, 25), 300), ([97, 98, 256, 98], (98, 256), 300)]
    for length in range(5, 15):
        yield _ids(rng, length), (rng.randrange(3), rng.randrange(3)), 9


def _merge_overlapping(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:
            merged.append(new_id)
        elif not (i > 0 and (ids[i - 1], ids[i]) == pair):
            merged.append(ids[i])
        i += 1
    return merged


def _merge_keeping_second(ids, pair, new_id):
    return [new_id if tuple(ids[i : i + 2]) == pair else ids[i] for i in range(len(ids))]


def _merge_losing_last(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids) - 1:
        hit = (ids[i], ids[i + 1]) == pair
        merged.append(new_id if hit else ids[i])
        i += 2 if hit else 1
    return merged


def _merge_first_only(ids, pair, new_id):
    for i in range(len(ids) - 1):
        if (ids[i], ids[i + 1]) == pair:
            return [*ids[:i], new_id, *ids[i + 2 :]]
    return list(ids)


def _merge_from_right(ids, pair, new_id):
    return merge(ids[::-1], pair[::-1], new_id)[::-1]


def _merge_either_order(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        hit = i + 1 < len(ids) and (ids[i], ids[i + 1]) in (pair, pair[::-1])
        merged.append(new_id if hit else ids[i])
        i += 2 if hit else 1
    return merged


def _merge_in_place(ids, pair, new_id):
    i = 0
    while i < len(ids) - 1:
        if (ids[i], ids[i + 1]) == pair:
            ids[i : i + 2] = [new_id]
        i += 1
    return ids


def _merge_past_the_end(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        hit = (ids[i], ids[i + 1]) == pair
        merged.append(new_id if hit else ids[i])
        i += 2 if hit else 1
    return merged


def _merge_for_past_the_end(ids, pair, new_id):
    return [new_id if (ids[i], ids[i + 1]) == pair else ids[i] for i in range(len(ids))]


def _merge_shrinking(ids, pair, new_id):
    for i in range(len(ids) - 1):
        if (ids[i], ids[i + 1]) == pair:
            ids[i : i + 2] = [new_id]
    return ids


def _merge_as_text(ids, pair, new_id):
    text = " ".join(map(str, ids)).replace(f"{pair[0]} {pair[1]}", str(new_id))
    return [int(word) for word in text.split()]


def _merge_keeping_first(ids, pair, new_id):
    merged = merge(ids, pair, new_id)
    return [part for id in merged for part in ([pair[0], id] if id == new_id else [id])]


def _merge_removing(ids, pair, new_id):
    return [id for id in merge(ids, pair, new_id) if id != new_id]


def _merge_couples(ids, pair, new_id):
    merged = []
    for i in range(0, len(ids), 2):
        merged += [new_id] if tuple(ids[i : i + 2]) == pair else ids[i : i + 2]
    return merged


def _merge_any_two(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        hit = i + 1 < len(ids) and ids[i] in pair and ids[i + 1] in pair
        merged.append(new_id if hit else ids[i])
        i += 2 if hit else 1
    return merged


def _merge_skipping_three(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        hit = i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair
        merged.append(new_id if hit else ids[i])
        i += 3 if hit else 1
    return merged


_MERGE = Exercise(
    id="bpe.2",
    title="Merge a pair",
    kind="core",
    minutes=10,
    difficulty=2,
    prompt="Replace each occurrence of the pair by `new_id`, from left to right: `[1, 1, 1]` with the pair `(1, 1)` "
    "becomes `[9, 1]` for the new id 9. Leave the list that you are given as it is.\n\nInput: `ids`, a `list` of "
    "`int` that may be empty; `pair`, a `tuple` of two `int`; `new_id`, an `int` that is not in `ids`. Result: a "
    "new `list` of `int`.",
    signature="def merge(ids: list[int], pair: tuple[int, int], new_id: int) -> list[int]",
    inputs=_merge_inputs,
    solution=merge,
    reference=bpe.merge,
    mistakes=[
        Mistake(
            "overlapping pairs are both merged",
            _merge_overlapping,
            "In `[1, 1, 1]` the 1 in the middle is used twice. After a merge, continue behind the pair: `i += 2`.",
        ),
        Mistake(
            "the second of the pair stays",
            _merge_keeping_second,
            "Both ids of the pair are replaced by one. After a merge, continue behind the pair: `i += 2` in a `while` "
            "loop. (In a `for` loop it has no effect.)",
        ),
        Mistake(
            "the last id is lost",
            _merge_losing_last,
            "The loop ends before the last id, which may stand alone. Let i run to `len(ids)`, and test "
            "`i + 1 < len(ids)` before you read `ids[i + 1]`.",
        ),
        Mistake(
            "only the first occurrence is merged",
            _merge_first_only,
            "The pair can occur many times: go on to the end of the list.",
        ),
        Mistake(
            "it goes from right to left",
            _merge_from_right,
            "For `[1, 1, 1]` this gives `[1, 9]`. All tokenizers go from the left, and encoding must do as "
            "training does.",
        ),
        Mistake(
            "the pair is merged in either order",
            _merge_either_order,
            "(1, 2) and (2, 1) are different pairs: compare the order too.",
        ),
        Mistake(
            "the list that was given is changed",
            _merge_in_place,
            "The values are right, but the caller may still need the old list. Build a new one.",
        ),
        Mistake(
            "nothing is ever merged, because a list is compared with a tuple",
            lambda ids, pair, new_id: list(ids),
            "`ids[i : i + 2]` is a list, and a list never equals a tuple. Compare `(ids[i], ids[i + 1]) == pair`.",
        ),
        Mistake(
            "the last id is asked for its neighbour",
            _merge_past_the_end,
            "`ids[i + 1]` lies behind the list when i is the last position. Ask `i + 1 < len(ids)` first.",
        ),
        Mistake(
            "the last id is asked for its neighbour, in a `for` loop",
            _merge_for_past_the_end,
            "`ids[i + 1]` lies behind the list when i is the last position; and a `for` loop can't skip the "
            "second of a pair. Use `while`, and ask `i + 1 < len(ids)` first.",
        ),
        Mistake(
            "it goes from 0 to one before the last, and keeps the second of the pair",
            lambda ids, pair, new_id: [new_id if (ids[i], ids[i + 1]) == pair else ids[i] for i in range(len(ids) - 1)],
            "The last id is lost, and the second of each pair stays. A `while` loop can go on by 1 or by 2, up to "
            "`len(ids)`.",
        ),
        Mistake(
            "the list shrinks while a `for` loop runs over its old length",
            _merge_shrinking,
            "`range(len(ids))` is fixed at the beginning, and the list that you are given gets shorter (and is "
            "changed for the caller). Build a new list with a `while` loop.",
        ),
        Mistake(
            "it is done as text",
            _merge_as_text,
            "In text, the pair `1 1` is found in `1 11` as well. Compare ids, not digits.",
        ),
        Mistake(
            "every id of the pair is replaced",
            lambda ids, pair, new_id: [new_id if i in pair else i for i in ids],
            "An id is replaced only where both ids of the pair stand next to each other.",
        ),
        Mistake(
            "the first of the pair stays",
            _merge_keeping_first,
            "Both ids of the pair are replaced by one: append `new_id` instead of `ids[i]`, not after it.",
        ),
        Mistake(
            "the pair is removed, and nothing takes its place",
            _merge_removing,
            "Append `new_id` where the pair was.",
        ),
        Mistake(
            "only couples from the beginning are looked at",
            _merge_couples,
            "You go on by 2 each time, so a pair that begins at an odd position is missed. Without a match, go on "
            "by 1.",
        ),
        Mistake(
            "a copy shrinks while a `for` loop runs over its old length",
            lambda ids, pair, new_id: _merge_shrinking(list(ids), pair, new_id),
            "`range(len(ids))` is fixed at the beginning, and the list gets shorter, so the last positions are no "
            "longer there. Use a `while` loop.",
        ),
        Mistake(
            "two ids of the pair in any combination are merged",
            _merge_any_two,
            "`ids[i] in pair` is true for both of its ids. Compare the two together: `(ids[i], ids[i + 1]) == pair`.",
        ),
        Mistake(
            "an id after the pair is lost",
            _merge_skipping_three,
            "The pair has two ids, so go on by 2.",
        ),
    ],
    hints=[
        "Build a new list. A `while` loop can go on by 1 or by 2.",
        "At position i: is there a next id, and are the two the pair?",
        "If so append `new_id` and add 2 to i, otherwise append `ids[i]` and add 1.",
    ],
    package="gptlab.bpe.merge",
)

# ---- bpe.3 -----------------------------------------------------------------------------------------------------------


def best_pair(ids: list[int]) -> tuple[int, int]:
    counts = Counter(zip(ids, ids[1:]))  # noqa: B905, RUF007
    return min(counts, key=lambda pair: (-counts[pair], pair))


def _best_inputs(rng):
    yield from [([1, 2],), ([2, 1],), ([2, 1, 3],), ([1, 3, 1, 2],), ([3, 1, 2, 3],), ([1, 2, 1, 2],), ([9, 0, 9, 0],)]
    yield from [([0, 9, 1, 2],), ([2, 0, 9, 1],), ([1, 1, 1, 1],), ([3, 4, 3, 4, 0],), ([2, 1, 2, 1, 0, 5, 3],)]
    yield from [([1, 3, 1, 3, 0, 2, 1],), ([0, 4, 1, 2, 0],), ([1, 2, 1, 2, 1, 1, 1],), ([5, 1, 1, 5, 1, 1, 1],)]
    yield from [([9, 12, 9, 12, 9, 2, 9, 2],), ([10, 2, 10, 2, 9, 3, 9, 3],)]
    yield (list(b"aaabdaaabac"),)
    for length in range(5, 17):
        yield (_ids(rng, length, 4),)


def _pair_by(choose):
    def wrong(ids):
        counts = Counter(itertools.pairwise(ids))
        return choose(counts)

    return wrong


_BEST = Exercise(
    id="bpe.3",
    title="Which pair comes next?",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="One step of training: find the pair of neighbours that occurs most often. Of several that occur equally "
    "often, take the one with the smallest ids (compare the first ids, and if they are equal, the second ones), "
    "so that the order of the text doesn't matter.\n\nInput: `ids`, a `list` of two or more `int`. Result: the "
    "pair, a `tuple` of two `int`.",
    signature="def best_pair(ids: list[int]) -> tuple[int, int]",
    inputs=_best_inputs,
    solution=best_pair,
    mistakes=[
        Mistake(
            "in a tie the first in the text wins",
            _pair_by(lambda counts: max(counts, key=counts.get)),
            "`max` and `most_common` keep the first of equals, and which is first depends on the text. Compare the "
            "ids as well: `min` over (-count, pair).",
        ),
        Mistake(
            "in a tie the larger ids win",
            _pair_by(lambda counts: max(counts, key=lambda pair: (counts[pair], pair))),
            "`max` over (count, pair) takes the larger pair. Take `min` over (-count, pair).",
        ),
        Mistake(
            "the rarest pair is taken",
            _pair_by(lambda counts: min(counts, key=lambda pair: (counts[pair], pair))),
            "`min` over the counts finds the rarest. A minus before the count turns the order around.",
        ),
        Mistake(
            "the count comes back with the pair",
            _pair_by(lambda counts: min(((pair, n) for pair, n in counts.items()), key=lambda x: (-x[1], x[0]))),
            "The pair is right. Return the pair alone.",
        ),
        Mistake(
            "the counts do not matter",
            _pair_by(min),
            "`min` over the pairs takes that of the smallest ids. Its count comes first, the ids only decide a tie.",
        ),
        Mistake(
            "the count comes back with the pair, and in a tie the first in the text wins",
            _pair_by(lambda counts: counts.most_common(1)[0]),
            "`most_common(1)[0]` is (pair, count), and of equals the one that was met first. Take `min` over "
            "(-count, pair).",
        ),
        Mistake(
            "in a tie the last in the text wins",
            _pair_by(lambda counts: max(reversed(counts), key=counts.get)),
            "With `>=` each equal count replaces the one before. Compare the ids as well: `min` over (-count, pair).",
        ),
        Mistake(
            "in a tie only the first id is compared",
            _pair_by(lambda counts: min(counts, key=lambda pair: (-counts[pair], pair[0]))),
            "Of (1, 3) and (1, 2) the second ids decide. Compare the whole pair: `(-counts[pair], pair)`.",
        ),
        Mistake(
            "in a tie the second id decides",
            _pair_by(lambda counts: min(counts, key=lambda pair: (-counts[pair], pair[1]))),
            "The first ids are compared first: `(-counts[pair], pair)`.",
        ),
        Mistake(
            "in a tie the second id decides, then the first",
            _pair_by(lambda counts: min(counts, key=lambda pair: (-counts[pair], pair[::-1]))),
            "The first ids are compared first: `(-counts[pair], pair)`.",
        ),
        Mistake(
            "in a tie the smallest sum wins",
            _pair_by(lambda counts: min(counts, key=lambda pair: (-counts[pair], sum(pair)))),
            "Pairs are compared id by id, first ids first: `(-counts[pair], pair)`.",
        ),
        Mistake(
            "in a tie the smallest sum wins, then the smaller ids",
            _pair_by(lambda counts: min(counts, key=lambda pair: (-counts[pair], sum(pair), pair))),
            "Pairs are compared id by id, first ids first: `(-counts[pair], pair)`.",
        ),
        Mistake(
            "in a tie the ids are compared as text",
            _pair_by(lambda counts: min(counts, key=lambda pair: (-counts[pair], str(pair)))),
            "As text, 12 comes before 2. Compare the tuples themselves.",
        ),
        Mistake(
            "overlapping pairs are counted once",
            lambda ids: (lambda counts: min(counts, key=lambda pair: (-counts[pair], pair)))(_without_overlap(ids)),
            "In `[1, 1, 1]` the pair (1, 1) occurs twice. Count as in bpe.1.",
        ),
        Mistake(
            "the largest pair is taken, whatever its count",
            _pair_by(max),
            "`max(counts)` compares the keys. The count comes first, the ids only decide a tie.",
        ),
        Mistake(
            "the result is the count",
            _pair_by(lambda counts: max(counts.values())),
            "That is how often the best pair occurs. Return the pair.",
        ),
        Mistake(
            "all of the best pairs come back",
            _pair_by(lambda counts: sorted(pair for pair, n in counts.items() if n == max(counts.values()))),
            "Return one of them: the first of this sorted list.",
        ),
        Mistake(
            "the rarest pair is taken, the first in the text of equals",
            _pair_by(lambda counts: min(counts, key=counts.get)),
            "`min` over the counts finds the rarest. Take `min` over (-count, pair).",
        ),
        Mistake(
            "in a tie chance decides",
            lambda ids: max(set(itertools.pairwise(ids)), key=list(itertools.pairwise(ids)).count),
            "A set has no order, so which of equal counts comes first is not yours to say. Compare the ids as "
            "well: `min` over (-count, pair).",
        ),
        Mistake(
            "all pairs come back, sorted",
            _pair_by(lambda counts: sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
            "The order is right. Return the pair of the first entry: `[0][0]`.",
        ),
    ],
    hints=[
        "Count the pairs first, as in bpe.1.",
        "`min` takes a `key`: for each pair, what should be smallest? First minus the count, then the pair.",
        "`min(counts, key=lambda pair: (-counts[pair], pair))`",
    ],
)

# ---- bpe.4 -----------------------------------------------------------------------------------------------------------


def train(text: str, steps: int) -> list[tuple[int, int]]:
    ids, merges = list(text.encode("utf-8")), []
    for new_id in range(256, 256 + steps):
        if len(ids) < 2:
            break
        pair = best_pair(ids)
        merges.append(pair)
        ids = merge(ids, pair, new_id)
    return merges


def _train_inputs(rng):
    yield from [("", 2), ("a", 1), ("ab", 0), ("ab", 1), ("ab", 3), ("bab", 1), ("abab", 1), ("abab", 2), ("abab", 5)]
    yield from [("é", 1), ("éé", 2), ("aaa", 2), ("aaabdaaabac", 1), ("aaabdaaabac", 3), ("aaabdaaabac", 20)]
    yield "The fox, the hen and the owl: the end", 12
    for length in range(6, 30, 3):
        yield "".join(rng.choice("abcé") for _ in range(length)), rng.randrange(2, 6)


def _train_variant(
    start=lambda ids: 256, choose=best_pair, stop=lambda ids: len(ids) < 2, to_ids=lambda text: list(text.encode()),
    merging=merge, step=1, result=lambda merges, ids: merges,
):  # fmt: skip
    def wrong(text, steps):
        ids, merges = to_ids(text), []
        new_id = start(ids)
        for _ in range(steps):
            if stop(ids):
                break
            pair = choose(ids)
            merges.append(pair)
            ids = merging(ids, pair, new_id)
            new_id += step
        return result(merges, ids)

    return wrong


def _train_without_recount(text, steps):
    counts = Counter(itertools.pairwise(text.encode()))
    return sorted(counts, key=lambda pair: (-counts[pair], pair))[:steps]


_TRAIN = Exercise(
    id="bpe.4",
    title="Train",
    kind="core",
    minutes=15,
    difficulty=2,
    prompt="Now the whole loop. Begin with the bytes of the text (UTF-8). Find the best pair (with the tie rule of "
    "bpe.3), record it, and merge it under the next id: 256, then 257, and so on. Stop after `steps` merges, or "
    "earlier when no pair is left; a pair that occurs once still counts.\n\nInput: `text`, a `str` that may be "
    "empty; `steps`, an `int`, 0 or more. Result: the pairs in the order found, a `list` of `tuple` of two `int`.",
    signature="def train(text: str, steps: int) -> list[tuple[int, int]]",
    inputs=_train_inputs,
    solution=train,
    reference=lambda text, steps: [step.pair for step in bpe.train_textbook([text], steps)],
    mistakes=[
        Mistake(
            "pairs are not counted again after a merge",
            _train_without_recount,
            "Each merge makes new pairs and takes away old ones: count within the loop.",
        ),
        Mistake(
            "the first new id is not 256",
            _train_variant(start=lambda ids: max(ids, default=0) + 1),
            "There are 256 bytes, 0 to 255, and ids are reserved for all of them, whether this text uses them or "
            "not. The first free id is 256.",
        ),
        Mistake(
            "in a tie the first in the text wins",
            _train_variant(choose=_pair_by(lambda counts: max(counts, key=counts.get))),
            "Use the rule of bpe.3, the smaller ids: it does not depend on where something stands.",
        ),
        Mistake(
            "running out of pairs is an error",
            _train_variant(stop=lambda ids: False),
            "A short text has fewer merges than you ask for. Stop when fewer than two ids are left.",
        ),
        Mistake(
            "it stops at pairs that occur once",
            _train_variant(stop=lambda ids: max(Counter(itertools.pairwise(ids)).values(), default=0) < 2),
            "Some trainers do so, and it is sensible. Here the rule is: while there is a pair.",
        ),
        Mistake(
            "it begins with code points, not bytes",
            _train_variant(to_ids=lambda text: [ord(c) for c in text]),
            "For é, `ord` is 233, and its bytes are 195 and 169. Begin with `text.encode()`.",
        ),
        Mistake(
            "the merged list is thrown away",
            _train_variant(merging=lambda ids, pair, new_id: ids),
            "`merge` returns a new list: `ids = merge(ids, pair, new_id)`. Without that, every step finds the "
            "same pair.",
        ),
        Mistake(
            "the first new id is 257",
            _train_variant(start=lambda ids: 257),
            "The bytes are 0 to 255, so the first new id is 256.",
        ),
        Mistake(
            "the first new id is 255",
            _train_variant(start=lambda ids: 255),
            "255 is a byte. The first new id is 256.",
        ),
        Mistake(
            "the new ids begin at 0",
            _train_variant(start=lambda ids: 0),
            "0 to 255 are the bytes. The first new id is 256.",
        ),
        Mistake(
            "every merge gets the same id",
            _train_variant(step=0),
            "After each merge the next id is one higher: 256, 257, 258 …",
        ),
        Mistake(
            "there is one merge too many",
            lambda text, steps: train(text, steps + 1),
            "`range(256, 256 + steps)` has as many numbers as there are steps.",
        ),
        Mistake(
            "there is one merge too few",
            lambda text, steps: train(text, max(0, steps - 1)),
            "`range(256, 256 + steps)` has as many numbers as there are steps.",
        ),
        Mistake(
            "in a tie the larger ids win",
            _train_variant(choose=_pair_by(lambda counts: max(counts, key=lambda pair: (counts[pair], pair)))),
            "Use the rule of bpe.3: the smaller ids, `min` over (-count, pair).",
        ),
        Mistake(
            "the result is the text in the new ids",
            _train_variant(result=lambda merges, ids: ids),
            "These are the ids after all merges. The merges themselves are asked for, in the order found.",
        ),
        Mistake(
            "the new id comes back with each pair",
            _train_variant(result=lambda merges, ids: [(pair, 256 + i) for i, pair in enumerate(merges)]),
            "Its place in the list says which id a merge has. Return the pairs alone.",
        ),
        Mistake(
            "the result is a dict from pair to id",
            _train_variant(result=lambda merges, ids: {pair: 256 + i for i, pair in enumerate(merges)}),
            "A fine way to save a vocabulary. Here a list of the pairs is asked for.",
        ),
        Mistake(
            "the result is a set",
            _train_variant(result=lambda merges, ids: set(merges)),
            "Order matters: a later merge is built on earlier ones. Return a list.",
        ),
        Mistake(
            "only the last pair comes back",
            _train_variant(result=lambda merges, ids: merges[-1:]),
            "Append each pair to a list that you make before the loop.",
        ),
        Mistake(
            "all occurrences but the first stay",
            _train_variant(merging=_merge_first_only),
            "`merge` must replace the pair wherever it occurs: see bpe.2.",
        ),
        Mistake(
            "both the pairs and the ids come back",
            _train_variant(result=lambda merges, ids: (merges, ids)),
            "Return the pairs alone.",
        ),
    ],
    hints=[
        "You have the parts: the best pair of bpe.3 and the merge of bpe.2.",
        "`ids = list(text.encode())`; then, for each new id from 256 on: find, record, merge.",
        "Before the search: `if len(ids) < 2: break`.",
    ],
    package="gptlab.bpe.train_textbook",
)

# ---- bpe.5 -----------------------------------------------------------------------------------------------------------


def encode(piece: bytes, ranks: dict[bytes, int]) -> list[int]:
    parts = [bytes([byte]) for byte in piece]
    while True:
        joins = [(ranks[a + b], i) for i, (a, b) in enumerate(zip(parts, parts[1:])) if a + b in ranks]  # noqa: B905, RUF007
        if not joins:
            return [ranks[part] for part in parts]
        _, i = min(joins)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def _ranks(*tokens: bytes) -> dict[bytes, int]:
    return {token: id for id, token in enumerate([b"a", b"b", b"c", b"d", *tokens])}


def _encode_inputs(rng):
    small = _ranks(b"bc", b"ab", b"cd", b"aa")
    yield from [(b"", small), (b"a", small), (b"ab", small), (b"abc", small), (b"abcd", small), (b"bcbc", small)]
    yield from [(b"aaa", small), (b"aaab", small), (b"aaaaa", small), (b"dcba", small)]
    yield from [(b"ab", {b"ab": 0, b"a": 1, b"b": 2}), (b"ba", {b"a": 7, b"b": 5}), (b"abc", _ranks(b"bc", b"abc"))]
    yield from [(b"abc", _ranks(b"ab", b"abc")), (b"abcd", _ranks(b"cd", b"abc", b"ab"))]
    yield from [(b"bca", _ranks(b"ca", b"bc")), (b"abcd", _ranks(b"ab", b"bc", b"abcd"))]
    yield from [(b"abc", _ranks(b"abc", b"ab")), (b"abbc", _ranks(b"bc", b"abb", b"ab"))]
    yield b"abab", _ranks(b"ab", b"aba")
    yield b"abcda", _ranks(b"ab", b"bc", b"abcd")  # a token that no join leads to
    for length in range(4, 16):
        ids = [rng.randrange(3) for _ in range(40)]
        tokens = [b"a", b"b", b"c", b"d"]
        for _ in range(rng.randrange(3, 9)):
            pair = best_pair(ids)
            tokens.append(tokens[pair[0]] + tokens[pair[1]])
            ids = merge(ids, pair, len(tokens) - 1)
        yield bytes(rng.choice(b"abcd") for _ in range(length)), _ranks(*tokens[4:])


def _encode_longest(piece, ranks):
    ids, at = [], 0
    while at < len(piece):
        end = next(end for end in range(len(piece), at, -1) if piece[at:end] in ranks)
        ids.append(ranks[piece[at:end]])
        at = end
    return ids


def _encode_choosing(choose, once=False, known=lambda rank: rank is not None):
    def wrong(piece, ranks):
        parts = [bytes([byte]) for byte in piece]
        while True:
            pairs = [(a + b, i) for i, (a, b) in enumerate(itertools.pairwise(parts)) if known(ranks.get(a + b))]
            if not pairs:
                break
            i = choose([(ranks[token], i) for token, i in pairs])
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
            if once:
                break
        return [ranks[part] for part in parts]

    return wrong


def _encode_pairs_only(piece, ranks):
    return encode(piece, {token: rank for token, rank in ranks.items() if len(token) <= 2})


def _encode_to_bytes(piece, ranks):
    return bpe.merge_by_rank(piece, ranks)


def _encode_by_token(piece, ranks):
    parts = [bytes([byte]) for byte in piece]
    for token in sorted(ranks, key=ranks.get):
        i = 0
        while i < len(parts) - 1:
            if parts[i] + parts[i + 1] == token:
                parts[i : i + 2] = [token]
            i += 1
    return [ranks[part] for part in parts]


def _encode_one_pass(piece, ranks):
    parts, i = [bytes([byte]) for byte in piece], 0
    while i < len(parts) - 1:
        if parts[i] + parts[i + 1] in ranks:
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        else:
            i += 1
    return [ranks[part] for part in parts]


_ENCODE = Exercise(
    id="bpe.5",
    title="Encode by rank",
    kind="stretch",
    minutes=20,
    difficulty=3,
    prompt="Encode one piece of text with a published vocabulary. Begin with single bytes. Of all neighbours whose "
    "joined bytes are a token, join those with the lowest rank (the leftmost, if there are several); repeat until "
    "nothing can be joined. A token's rank is its id.\n\nInput: `piece`, of type `bytes`, possibly empty; "
    "`ranks`, a `dict` from `bytes` to `int` that has every single byte of the piece. No two ranks are equal, the "
    "smallest may be 0, and the entries come in any order. Result: the ids of the parts, a `list` of `int`.",
    signature="def encode(piece: bytes, ranks: dict[bytes, int]) -> list[int]",
    inputs=_encode_inputs,
    solution=encode,
    reference=lambda piece, ranks: [ranks[part] for part in bpe.merge_by_heap(piece, ranks)],
    mistakes=[
        Mistake(
            "the longest token that fits is taken",
            _encode_longest,
            "That is another algorithm (greedy, as in WordPiece). BPE joins in the order in which training did.",
        ),
        Mistake(
            "the leftmost possible pair is joined",
            _encode_choosing(lambda joins: min(i for _, i in joins)),
            "Of all possible joins the one with the lowest rank is next, wherever it is.",
        ),
        Mistake(
            "the highest rank is joined first",
            _encode_choosing(lambda joins: max((rank, -i) for rank, i in joins)[1] * -1),
            "A low rank was merged early in training, and other tokens are built on it: take the lowest.",
        ),
        Mistake(
            "only one pair is joined",
            _encode_choosing(lambda joins: min(joins)[1], once=True),
            "After a join there may be new ones: repeat until nothing can be joined.",
        ),
        Mistake(
            "the parts are bytes, not ids",
            _encode_to_bytes,
            "The parts are right. Look each up in `ranks`.",
        ),
        Mistake(
            "nothing is joined",
            lambda piece, ranks: [ranks[bytes([byte])] for byte in piece],
            "These are the single bytes, the beginning. Now join neighbours whose bytes together are a token.",
        ),
        Mistake(
            "rank 0 counts as no token",
            _encode_choosing(lambda joins: min(joins)[1], known=lambda rank: bool(rank)),
            "Python takes 0 for false. Ask `token in ranks`, not whether its rank is true.",
        ),
        Mistake(
            "of equal ranks the rightmost is joined",
            _encode_choosing(lambda joins: min((rank, -i) for rank, i in joins)[1] * -1),
            "In `aaa` with the token `aa`, the first two are joined. Take the leftmost of equal ranks.",
        ),
        Mistake(
            "a piece that is a token is taken whole",
            lambda piece, ranks: [ranks[piece]] if piece in ranks else encode(piece, ranks),
            "tiktoken has this shortcut, and for most vocabularies it changes nothing. This exercise asks for the "
            "joins alone, and not every token can be reached by them.",
        ),
        Mistake(
            "only single bytes are joined with each other",
            _encode_pairs_only,
            "What has been joined can be joined again: after each join, look at the new neighbours.",
        ),
        Mistake(
            "a part goes to its byte value, not to its id",
            lambda piece, ranks: [p[0] if len(p) == 1 else ranks[p] for p in bpe.merge_by_rank(piece, ranks)],
            "In a published vocabulary the id of a byte is not its value. Look every part up in `ranks`, single "
            "bytes too.",
        ),
        Mistake(
            "the byte values come back",
            lambda piece, ranks: list(piece),
            "`list(piece)` gives numbers from 0 to 255. Begin with parts of type `bytes`, `bytes([b])` for each, "
            "and look them up at the end.",
        ),
        Mistake(
            "the parts are numbers, which the vocabulary does not have",
            lambda piece, ranks: [ranks[part] for part in list(piece)],
            "Going through `bytes` gives integers, and 97 + 98 is 195. Make each a part of type `bytes` first: "
            "`bytes([b])`.",
        ),
        Mistake(
            "the rightmost possible pair is joined",
            _encode_choosing(lambda joins: max(i for _, i in joins)),
            "Of all possible joins the one with the lowest rank is next, wherever it is.",
        ),
        Mistake(
            "the ids are in a set or sorted",
            lambda piece, ranks: sorted(encode(piece, ranks)),
            "Keep the ids in the order of the text.",
        ),
        Mistake(
            "each token is tried once, in the order of the ranks",
            _encode_by_token,
            "That is right where every token is built from earlier ones, as training makes them. The rule asked "
            "for looks for the lowest rank again after each join.",
        ),
        Mistake(
            "the tokens are bytes, and nothing is joined",
            lambda piece, ranks: [bytes([byte]) for byte in piece],
            "These are the parts to begin with. Join them by rank, and look each part up in `ranks`.",
        ),
        Mistake(
            "it goes through the piece once, from left to right",
            _encode_one_pass,
            "After a join, its neighbours may join again, and a lower rank may be waiting further on. Start over "
            "after each join.",
        ),
    ],
    hints=[
        "Work with a list of parts, at first the single bytes. Which neighbours could be joined now, and what are "
        "their ranks?",
        "Collect `(rank, position)` of all possible joins; `min` finds the one of the lowest rank, and the "
        "leftmost of those.",
        "`parts[i : i + 2] = [parts[i] + parts[i + 1]]` joins; stop when there is nothing to join.",
    ],
    package="gptlab.bpe.merge_by_rank",
)

# ---- bpe.6 -----------------------------------------------------------------------------------------------------------


def printable(data: bytes) -> str:
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    character, free = {byte: chr(byte) for byte in visible}, 256
    for byte in range(256):
        if byte not in character:
            character[byte] = chr(free)
            free += 1
    return "".join(character[byte] for byte in data)


def _byte_inputs(rng):
    yield from [(b"",), (b"a",), (b" ",), (b"\x00",), (b"!",), (b"~",), (b"\x7f",), (b"\xa0",), (b"\xa1",), (b"\xac",)]
    yield from [(b"\xad",), (b"\xae",), (b"\xff",), (b"a b\n",), (b"  ",), ("é".encode(),), ("the fox 狐".encode(),)]
    yield (bytes(range(255, -1, -1)),)
    for length in range(4, 12):
        yield (bytes(rng.randrange(256) for _ in range(length)),)


_VISIBLE = {*range(33, 127), *range(161, 173), *range(174, 256)}


def _written_with(visible, first=256):
    others = sorted({*range(256)} - visible)
    character = {byte: chr(byte) if byte in visible else chr(first + others.index(byte)) for byte in range(256)}
    return lambda data: "".join(character[byte] for byte in data)


def _in_order_of_the_data(data):
    others = list(dict.fromkeys(byte for byte in data if byte not in _VISIBLE))
    return "".join(chr(byte) if byte in _VISIBLE else chr(256 + others.index(byte)) for byte in data)


def _in_order_of_the_data_each_time(data):
    free = itertools.count(256)
    return "".join(chr(byte) if byte in _VISIBLE else chr(next(free)) for byte in data)


_PRINTABLE = Exercise(
    id="bpe.6",
    title="A visible character for every byte",
    kind="stretch",
    minutes=15,
    difficulty=3,
    prompt="GPT-2's vocabulary is a JSON file, so each of the 256 bytes needs a visible character. The bytes 33–126, "
    "161–172 and 174–255 (both ends included) are written as the character with that number. The other bytes get, "
    "in the order of their values, the characters with the numbers 256, 257, 258, … Space, byte 32, becomes Ġ.\n\n"
    "Input: `data`, of type `bytes`, possibly empty. Result: a `str` of the same length.",
    signature="def printable(data: bytes) -> str",
    inputs=_byte_inputs,
    solution=printable,
    reference=lambda data: "".join(bpe.bytes_to_unicode()[byte] for byte in data),
    mistakes=[
        Mistake(
            "bytes that cannot be seen stay as they are",
            lambda data: "".join(map(chr, data)),
            "Space, newline and control characters would be invisible in the file: give them characters from 256 on.",
        ),
        Mistake(
            "256 is added instead of counting on",
            lambda data: "".join(chr(b if b in _VISIBLE else 256 + b) for b in data),
            "That agrees up to byte 32. Byte 127 is number 33 of those that need a new character (counted from 0), "
            "so it becomes chr(256 + 33).",
        ),
        Mistake(
            "the soft hyphen is taken for visible",
            _written_with(_VISIBLE | {173}),
            "Byte 173 is the soft hyphen, which is shown only at the end of a line. It is one of the others.",
        ),
        Mistake(
            "the space is left as it is",
            lambda data: printable(data).replace("Ġ", " "),
            "Space is byte 32, which is not in any of the three ranges: it becomes Ġ, chr(256 + 32).",
        ),
        Mistake(
            "the bytes are read as UTF-8",
            lambda data: data.decode("utf-8", "replace"),
            "A token may be half a character. Each byte is written on its own.",
        ),
        Mistake(
            "the last byte of each range is left out",
            _written_with({*range(33, 126), *range(161, 172), *range(174, 255)}),
            "`range(33, 126)` ends at 125. The ranges include both ends, so write `range(33, 127)`.",
        ),
        Mistake(
            "the space counts as visible",
            _written_with(_VISIBLE | {32}),
            "Space is byte 32, which is not in any of the three ranges. It becomes Ġ, and those after it move on "
            "by one.",
        ),
        Mistake(
            "only ASCII counts as visible",
            _written_with({*range(33, 127)}),
            "161–172 and 174–255 are visible too (¡, é, ÿ …) and stay as they are.",
        ),
        Mistake(
            "every byte gets a new character",
            lambda data: "".join(chr(256 + byte) for byte in data),
            "A byte in one of the three ranges is written as itself: a stays a.",
        ),
        Mistake(
            "only the space is replaced",
            lambda data: data.decode("latin-1").replace(" ", "Ġ"),
            "Newline and all other bytes outside of the ranges need a new character as well.",
        ),
        Mistake(
            "the new characters follow the order of the data",
            _in_order_of_the_data,
            "The same byte would then be written differently in every text. The others get their characters in "
            "the order of their values, 0 to 255, once and for all.",
        ),
        Mistake(
            "a byte that is met again gets another character",
            _in_order_of_the_data_each_time,
            "Count when you build the table, for all 256 bytes, not while you write the data.",
        ),
        Mistake(
            "the new characters begin at 257",
            _written_with(_VISIBLE, first=257),
            "The first of the others, byte 0, becomes chr(256).",
        ),
        Mistake(
            "the new characters begin at 255",
            _written_with(_VISIBLE, first=255),
            "chr(255) is ÿ, which byte 255 has already. The first of the others, byte 0, becomes chr(256).",
        ),
        Mistake(
            "the characters stay a list",
            lambda data: [bpe.bytes_to_unicode()[byte] for byte in data],
            'A text is expected: `"".join(...)` puts the characters together.',
        ),
        Mistake(
            "the bytes stay numbers",
            lambda data: [ord(bpe.bytes_to_unicode()[byte]) for byte in data],
            '`chr` turns each number into its character, and `"".join(...)` puts them together.',
        ),
        Mistake(
            "the bytes are escaped",
            lambda data: "".join(chr(byte) if byte in _VISIBLE else f"\\x{byte:02x}" for byte in data),
            "An escape takes four characters. Each byte needs one character: the next free one from 256 on.",
        ),
    ],
    hints=[
        "Make a dict from byte to character first, for all 256 bytes.",
        "Go through the bytes from 0 to 255. If one is in the three ranges it is `chr(byte)`, otherwise the next free "
        "character.",
        "The next free character is `chr(256 + n)`, where n counts how many were used so far.",
    ],
    package="gptlab.bpe.bytes_to_unicode",
)

# ---- bpe.7 -----------------------------------------------------------------------------------------------------------


def split_special(text: str, special: list[str]) -> list[str]:
    if not special:
        return [text] if text else []
    longest_first = sorted(special, key=len, reverse=True)
    parts = re.split("(" + "|".join(map(re.escape, longest_first)) + ")", text)
    return [part for part in parts if part]


def _special_inputs(rng):
    end = "<|end|>"
    yield from [("", []), ("", ["."]), ("a", []), ("ab", []), ("ab <e>", []), ("a", ["<e>"]), ("<e>", ["<e>"])]
    yield from [("a<e>", ["<e>"]), ("<e>a", ["<e>"]), ("a<e>b", ["<e>"]), ("a <e> b", ["<e>"]), ("<e><e>", ["<e>"])]
    yield from [("a.b+", ["."]), ("a+b", ["+"]), ("x[P]y", ["[P]"]), ("an end|", [end]), (f"a{end}b", [end])]
    yield from [("a<e>b<e>>c", ["<e>", "<e>>"]), ("a<e>>b<e>c", ["<e>>", "<e>"]), ("<E>a<e>", ["<e>"])]
    yield from [("a<e><f>b<e>c", ["<e>", "<f>"]), ("a<e><f>b<e>c", ["<f>", "<e>"]), ("é\n<e>\n", ["<e>"])]
    for length in range(3, 10):
        parts = [end, "<|end|>!", "<|", "fox ", "end", "|"]
        yield "".join(rng.choice(parts) for _ in range(length)), rng.sample([end, "<|end|>!"], 2)


def _special_variant(order=lambda s: sorted(s, key=len, reverse=True), escape=re.escape, group="(%s)", keep=bool):
    def wrong(text, special):
        if not special:
            return [text] if text else []
        return [part for part in re.split(group % "|".join(map(escape, order(special))), text) if keep(part)]

    return wrong


def _any_of(special):
    return "|".join(map(re.escape, sorted(special, key=len, reverse=True)))


def _special_without_guard(text, special):
    return [part for part in re.split(f"({_any_of(special)})", text) if part]


def _special_in_any_case(text, special):
    parts = re.split(f"({_any_of(special)})", text, flags=re.IGNORECASE) if special else [text]
    return [part for part in parts if part]


def _special_in_place(text, special):
    special.sort(key=len, reverse=True)
    return split_special(text, special)


def _cut_one_by_one(text, special, order):
    parts = [text]
    for token in order(special):
        parts = [piece for part in parts for piece in re.split(f"({re.escape(token)})", part)]
    return [part for part in parts if part]


def _special_one_by_one(text, special):
    return _cut_one_by_one(text, special, list)


def _special_one_by_one_sorted(text, special):
    return _cut_one_by_one(text, special, lambda special: sorted(special, key=len, reverse=True))


def _special_without_tail(text, special):
    parts = split_special(text, special)
    return parts[:-1] if parts and parts[-1] not in special else parts


def _special_glued(text, special):
    parts = []
    for part in split_special(text, special):
        if part in special and parts and parts[-1] not in special:
            parts[-1] += part
        else:
            parts.append(part)
    return parts


def _special_unsorted_without_guard(text, special):
    return [part for part in re.split(f"({'|'.join(map(re.escape, special))})", text) if part]


def _special_as_split(text, special):
    return re.split(f"({_any_of(special)})", text)


_SPECIAL = Exercise(
    id="bpe.7",
    title="Cut at special tokens",
    kind="stretch",
    minutes=15,
    difficulty=2,
    prompt="Cut a text at the special tokens, and leave them in as parts of their own. Where one special token begins "
    "with another, the longer one is meant. No part of the result is empty.\n\nInput: `text`, a `str` that may be "
    "empty; `special`, a `list` of `str` in any order, which may be empty too (none of its entries is). Leave the "
    "list as it is. Result: a `list` of `str`; joined, it is the text.",
    signature="def split_special(text: str, special: list[str]) -> list[str]",
    inputs=_special_inputs,
    solution=split_special,
    mistakes=[
        Mistake(
            "the special tokens are read as a pattern",
            _special_variant(escape=str),
            "In a pattern `|` means or, and `.` any character. `re.escape` makes them stand for themselves.",
        ),
        Mistake(
            "the shorter of two special tokens wins",
            _special_variant(order=lambda special: sorted(special, key=len)),
            "A pattern takes the first alternative that matches, and yours are sorted with the shorter one first. "
            "Put the longest first.",
        ),
        Mistake(
            "the special tokens are gone",
            _special_variant(group="(?:%s)"),
            "`re.split` returns what it cuts at only if the pattern has a group: put round brackets around it.",
        ),
        Mistake(
            "empty parts are kept",
            _special_variant(keep=lambda part: True),
            "Between two special tokens, and at both ends, `re.split` gives an empty text. Leave those out.",
        ),
        Mistake(
            "without special tokens the text falls into characters",
            _special_without_guard,
            "Of an empty list the pattern is `()`, which matches between any two characters. Return the whole "
            "text before you build a pattern.",
        ),
        Mistake(
            "without special tokens there are no parts",
            lambda text, special: split_special(text, special) if special else [],
            "If there is nothing to cut at, the whole text is one part.",
        ),
        Mistake(
            "without special tokens an empty text gives an empty part",
            lambda text, special: split_special(text, special) if special else [text],
            "`[text]` holds an empty part if the text is empty. Return `[]` then.",
        ),
        Mistake(
            "the order of the list decides",
            _special_variant(order=list),
            "A pattern takes the first alternative that matches, so it depends on how the list happens to be "
            "ordered. Put the longest first.",
        ),
        Mistake(
            "the list of special tokens is sorted in place",
            _special_in_place,
            "`special.sort()` changes the list of the caller. `sorted(special, ...)` makes a new one.",
        ),
        Mistake(
            "only the special tokens are left",
            lambda text, special: re.findall(_any_of(special), text) if special else [],
            "`re.findall` gives what matches, and the text between is gone. `re.split` with a group gives both.",
        ),
        Mistake(
            "spaces at the ends of the parts are lost",
            lambda text, special: [part.strip() for part in split_special(text, special) if part.strip()],
            "Joined, the parts must be the text: strip nothing.",
        ),
        Mistake(
            "the text is cut at one special token after the other, in the order of the list",
            _special_one_by_one,
            "A shorter token that comes first cuts up the longer one. Sort by length first, or search for all at "
            "once with a pattern.",
        ),
        Mistake(
            "a special token is cut up again by a shorter one",
            _special_one_by_one_sorted,
            "You cut at the longest first, which is right, and then cut that special token itself at the shorter "
            "one inside it. Don't split a part that is a special token.",
        ),
        Mistake(
            "the text after the last special token is lost",
            _special_without_tail,
            "The loop adds what stands before each special token. After the loop, add what is left.",
        ),
        Mistake(
            "upper and lower case are the same",
            _special_in_any_case,
            "A special token is one exact text. Without `re.IGNORECASE`, <E> is text like any other.",
        ),
        Mistake(
            "a special token stays at the end of the text before it",
            _special_glued,
            "The special token is a part of its own, not the end of another.",
        ),
        Mistake(
            "the order of the list decides, and without special tokens the text falls into characters",
            _special_unsorted_without_guard,
            "Two things: a pattern takes the first alternative that matches, so put the longest first; and an "
            "empty list makes the pattern `()`, which matches everywhere.",
        ),
        Mistake(
            "empty parts are kept, and without special tokens the text falls into characters",
            _special_as_split,
            "Two things: leave out the empty parts at the end; and an empty list makes the pattern `()`, which "
            "matches everywhere.",
        ),
    ],
    hints=[
        "`re.split` with a group, `(...)`, also returns what it cuts at.",
        "Join the special tokens to a pattern with `|`: each through `re.escape`, and the longest first.",
        "Without special tokens the pattern is empty, and an empty pattern cuts everywhere: deal with that first. At "
        "the end, leave out empty parts.",
    ],
    package="gptlab.splitting.any_of",
)

# ---- bpe.8 -----------------------------------------------------------------------------------------------------------


def stream(chunks: list[bytes]) -> list[str]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    return [decoder.decode(chunk) for chunk in chunks]


def _chunk_inputs(rng):
    fox = "🦊".encode()
    yield from [([],), ([b"a"],), ([b"a", b"b"],), (["é".encode()],), (["é".encode()[:1], "é".encode()[1:]],)]
    yield from [([b""],), ([b"a", b"", b"b"],), ([b"\xc3"],), ([b"a\xc3"],), ([b"a\xc3", b"\xa9b"],)]
    yield from [([b"\xe2", b"", b"\x82\xac"],), ([fox[:1], fox[1:3], fox[3:]],), ([b"a", b"\xe2\x82"],)]
    yield from [([b"ab\xe2\x82", b"\xacc\xc3", b"\xa9"],), ([b"a\xc3", b"\xa9b", b"c\xf0\x9f"],)]
    for length in range(3, 12):
        data = "".join(rng.choice("ab é€🦊") for _ in range(length)).encode() + "€".encode()
        cuts = sorted({0, len(data), *(rng.randrange(len(data)) for _ in range(length))})
        yield ([data[a:b] for a, b in itertools.pairwise(cuts)],)


def _all_at_the_end(chunks):
    return [""] * (len(chunks) - 1) + [b"".join(chunks).decode("utf-8", "replace")] if chunks else []


def _all_so_far(chunks):
    return list(itertools.accumulate(stream(chunks)))


def _alone(errors):
    return lambda chunks: [chunk.decode("utf-8", errors) for chunk in chunks]


def _chunk_held_back(chunks):
    texts, waiting = [], b""
    for chunk in chunks:
        waiting += chunk
        try:
            texts.append(waiting.decode("utf-8"))
            waiting = b""
        except UnicodeDecodeError:
            texts.append("")
    return texts


def _buffer_never_emptied(chunks):
    texts = []
    for so_far in itertools.accumulate(chunks):
        try:
            texts.append(so_far.decode("utf-8"))
        except UnicodeDecodeError:
            texts.append("")
    return texts


def _flushed(chunks):
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    return [decoder.decode(chunk, final=i == len(chunks) - 1) for i, chunk in enumerate(chunks)]


def _flushed_afterwards(chunks):
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    return [*map(decoder.decode, chunks), decoder.decode(b"", final=True)]


def _replaced_then_cut(chunks):
    texts, shown = [], 0
    for so_far in itertools.accumulate(chunks):
        text = so_far.decode("utf-8", "replace")
        texts.append(text[shown:])
        shown = len(text)
    return texts


def _alone_or_nothing(chunks):
    texts = []
    for chunk in chunks:
        try:
            texts.append(chunk.decode("utf-8"))
        except UnicodeDecodeError:
            texts.append("")
    return texts


def _one_chunk_remembered(chunks):
    texts, waiting = [], b""
    for chunk in chunks:
        try:
            texts.append((waiting + chunk).decode("utf-8"))
            waiting = b""
        except UnicodeDecodeError:
            texts.append("")
            waiting = chunk
    return texts


def _waiting_left_out(chunks):
    texts, waiting = [], b""
    for chunk in chunks:
        waiting += chunk
        try:
            texts.append(waiting.decode("utf-8"))
        except UnicodeDecodeError:
            continue
        waiting = b""
    return texts


_STREAM = Exercise(
    id="bpe.8",
    title="Text that is still arriving",
    kind="stretch",
    minutes=15,
    difficulty=3,
    prompt="A model writes one token after the other, and a token may end in the middle of a character. After each "
    "chunk of bytes, give the new text that is certain now, and hold back only the bytes of a character that "
    "isn't complete yet. A character that never becomes complete is never shown.\n\nInput: `chunks`, a `list` "
    "of `bytes`, any of them possibly empty; joined, they are the beginning of a text in UTF-8. Result: a "
    "`list` of `str`, one for each chunk.",
    signature="def stream(chunks: list[bytes]) -> list[str]",
    inputs=_chunk_inputs,
    solution=stream,
    mistakes=[
        Mistake(
            "each chunk is decoded alone",
            _alone("replace"),
            "Half a character alone becomes �. Save its bytes, and put them in front of the next chunk.",
        ),
        Mistake(
            "bytes of a cut character are thrown away",
            _alone("ignore"),
            "With `errors='ignore'` the character is lost. Save its bytes, and put them in front of the next chunk.",
        ),
        Mistake(
            "half a character is an error",
            _alone("strict"),
            "`decode` raises where a character is not complete. Hold its bytes back until the rest has arrived.",
        ),
        Mistake(
            "nothing is shown before the end",
            _all_at_the_end,
            "The user would wait for the last token. Show each character as soon as all its bytes are there.",
        ),
        Mistake(
            "all of the text so far is given each time",
            _all_so_far,
            "Return only what is new since the chunk before.",
        ),
        Mistake(
            "the whole chunk is held back with its cut character",
            _chunk_held_back,
            "`decode` on everything that is waiting fails as a whole, so finished characters wait too. Show what "
            "is complete, and hold back only the bytes of the last character.",
        ),
        Mistake(
            "what was shown is shown again",
            _buffer_never_emptied,
            "Empty the buffer once its text has been shown.",
        ),
        Mistake(
            "a character that is cut at the end is shown as �",
            _flushed,
            "At the last chunk you decode what is left. Here a character that never becomes complete is never "
            "shown: no `final=True`.",
        ),
        Mistake(
            "there is one more text than chunks",
            _flushed_afterwards,
            "One text for each chunk, and nothing after the last: what is left at the end is never shown.",
        ),
        Mistake(
            "chunks without new text are left out",
            lambda chunks: [text for text in stream(chunks) if text],
            "One text for each chunk: where nothing is certain yet, it is the empty text.",
        ),
        Mistake(
            "a cut character is shown as �, and its rest is lost",
            _replaced_then_cut,
            "Decoding everything so far shows � for the cut character, and counts it as shown. Use "
            "`errors='ignore'` on the whole, or an incremental decoder.",
        ),
        Mistake(
            "bytes are read as Latin-1",
            lambda chunks: [chunk.decode("latin-1") for chunk in chunks],
            "Latin-1 makes a character of every byte, so é becomes Ã©. The bytes are UTF-8.",
        ),
        Mistake(
            "the result is one text",
            lambda chunks: "".join(stream(chunks)),
            "The text is right. Give a list, with the new text after each chunk.",
        ),
        Mistake(
            "the bytes come back",
            lambda chunks: [text.encode() for text in stream(chunks)],
            "The cuts are right. `decode` makes text of the bytes.",
        ),
        Mistake(
            "a new decoder for each chunk",
            lambda chunks: [codecs.getincrementaldecoder("utf-8")("replace").decode(chunk) for chunk in chunks],
            "A new decoder knows nothing of the bytes before, and forgets those that it holds back. Make one "
            "decoder before the loop.",
        ),
        Mistake(
            "a chunk with a cut character is thrown away",
            _alone_or_nothing,
            "Save the bytes that could not be decoded, and put them in front of the next chunk.",
        ),
        Mistake(
            "only the last chunk is remembered",
            _one_chunk_remembered,
            "A character of four bytes can arrive in four chunks. Add to what is waiting, `waiting += chunk`, "
            "instead of replacing it.",
        ),
        Mistake(
            "the chunks that wait are left out of the result",
            _waiting_left_out,
            "One text for each chunk: where nothing is certain yet, it is the empty text. And hold back only the "
            "bytes of the cut character.",
        ),
    ],
    hints=[
        "You need a buffer for the bytes that were held back.",
        "`codecs.getincrementaldecoder('utf-8')` does this for you; or, by hand: how many bytes does the first byte "
        "of a character announce?",
        "Make one decoder before the loop; `decoder.decode(chunk)` gives the text that is certain.",
    ],
    package="gptlab.tokens.StreamDecoder",
)

EXERCISES = [_COUNT, _MERGE, _BEST, _TRAIN, _ENCODE, _PRINTABLE, _SPECIAL, _STREAM]

PREDICTIONS = [
    Prediction(
        id="bpe.a",
        question="In aaabdaaabac, how often does the pair aa occur? (Pairs may overlap.)",
        kind="number",
        answer=4,
        explanation="Twice in each aaa: beginning at its first and at its second letter.",
    ),
    Prediction(
        id="bpe.b",
        question="A tokenizer was trained on English. How is a word in a script that it has never seen encoded?",
        kind="choice",
        choices=("as one unknown token", "as its bytes, several tokens per character", "not at all: it is an error"),
        answer="b",
        explanation="The 256 bytes are tokens from the start, so every text can be written. A script that was never "
        "merged takes several tokens per character.",
    ),
    Prediction(
        id="bpe.c",
        question="A text has 1,000 bytes. Its most frequent pair occurs 40 times, without overlaps. How many "
        "tokens are left "
        "after one merge?",
        kind="number",
        answer=960,
        explanation="Each occurrence turns two tokens into one, so 40 occurrences save 40 tokens.",
    ),
]

QUESTIONS = [
    Question(
        about="tokens",
        question="A vocabulary has V tokens. Which ids are there?",
        choices=("1 to V", "0 to V - 1", "0 to V"),
        answer="b",
        explanation="Ids are rows of a table with V rows, and rows are counted from 0.",
    ),
    Question(
        about="tokens",
        question="Which of these can encode every text without loss?",
        choices=("words", "characters of a training text", "bytes"),
        answer="c",
        explanation="Any text is UTF-8, and there are only 256 bytes. A new word or character has no id.",
    ),
    Question(
        about="tokens",
        question="Which sequence is shortest for the same English text?",
        choices=("its words", "its characters", "its bytes"),
        answer="a",
        explanation="Words are several characters long, and a character is one byte or more.",
    ),
]
