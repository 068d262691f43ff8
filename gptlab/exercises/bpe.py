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
    yield from [([],), ([5],), ([1, 2],), ([2, 1],), ([1, 1, 1],), ([1, 2, 1, 2],), (list(b"aaabdaaabac"),)]
    for length in range(4, 16):
        yield (_ids(rng, length),)


def _without_overlap(ids):
    counts, last = Counter(), {}
    for i, pair in enumerate(itertools.pairwise(ids)):
        if last.get(pair, -2) != i - 1:
            counts[pair] += 1
            last[pair] = i
    return counts


_COUNT = Exercise(
    id="bpe.1",
    title="Count the pairs",
    minutes=5,
    difficulty=1,
    prompt="How often does each pair of neighbours occur? In `[1, 1, 1]` the pair `(1, 1)` occurs "
    "twice.\n\nInput: `ids`, a "
    "`list` of `int`. Result: a `dict` from pair, a `tuple` of two `int`, to its count.",
    signature="def count_pairs(ids: list[int]) -> dict[tuple[int, int], int]",
    inputs=_sequences,
    solution=count_pairs,
    reference=lambda ids: bpe.count_pairs([ids]),
    mistakes=[
        Mistake(
            "every second pair is left out",
            lambda ids: Counter(zip(ids[::2], ids[1::2])),  # noqa: B905
            "A step of 2 cuts the sequence into couples. Every place but the last begins a pair: step by 1.",
        ),
        Mistake(
            "overlapping pairs are counted once",
            _without_overlap,
            "In `[1, 1, 1]` the pair (1, 1) begins at two places. Overlaps matter when merging, not when counting.",
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
            "`ids[-1]` is the last id, so at i = 0 the pair goes around the corner. Begin at i = 1.",
        ),
    ],
    hints=[
        "Where does a pair begin? At every place but one.",
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
    cases = [[], [1], [1, 2], [2, 1], [1, 2, 3], [3, 1, 2], [1, 2, 1, 2], [1, 3, 2, 1]]
    yield from [(ids, (1, 2), 9) for ids in cases]
    yield from [([1, 1, 1], (1, 1), 9), ([1, 1, 1, 1], (1, 1), 9), ([1, 1, 1, 2, 1, 1], (1, 1), 9)]
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


_MERGE = Exercise(
    id="bpe.2",
    title="Merge a pair",
    minutes=10,
    difficulty=2,
    prompt="Write `new_id` wherever the pair stands, from left to right: `[1, 1, 1]` with the pair `(1, 1)` becomes "
    "`[9, 1]` for the new id 9. The list that was given stays as it is.\n\nInput: `ids`, a `list` of `int`; `pair`, a "
    "`tuple` of two `int`; `new_id`, an `int`. Result: a new `list` of `int`.",
    signature="def merge(ids: list[int], pair: tuple[int, int], new_id: int) -> list[int]",
    inputs=_merge_inputs,
    solution=merge,
    reference=bpe.merge,
    mistakes=[
        Mistake(
            "overlapping pairs are both merged",
            _merge_overlapping,
            "In `[1, 1, 1]` the middle 1 is used twice. After a merge, go on behind the pair: `i += 2`.",
        ),
        Mistake(
            "the second of the pair stays",
            _merge_keeping_second,
            "Both ids of the pair are replaced by one. After a merge, go on behind the pair: `i += 2`.",
        ),
        Mistake(
            "the last id is lost",
            _merge_losing_last,
            "The loop ends before the last id, which may stand alone. Let i run to `len(ids)`, and ask before "
            "`ids[i + 1]`.",
        ),
        Mistake(
            "only the first place is merged",
            _merge_first_only,
            "The pair can stand at many places: go on to the end of the list.",
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
            "The values are right, but whoever called still needs the old list. Build a new one.",
        ),
    ],
    hints=[
        "Build a new list. A `while` loop can go on by 1 or by 2.",
        "At place i: is there a next id, and are the two the pair?",
        "If so append `new_id` and add 2 to i, otherwise append `ids[i]` and add 1.",
    ],
    package="gptlab.bpe.merge",
)

# ---- bpe.3 -----------------------------------------------------------------------------------------------------------


def best_pair(ids: list[int]) -> tuple[int, int]:
    counts = Counter(zip(ids, ids[1:]))  # noqa: B905, RUF007
    return min(counts, key=lambda pair: (-counts[pair], pair))


def _best_inputs(rng):
    yield from [([1, 2],), ([2, 1, 3],), ([3, 1, 2, 3],), ([1, 2, 1, 2],), ([1, 3, 1, 3, 0, 2, 1],), ([0, 4, 1, 2, 0],)]
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
    minutes=5,
    difficulty=1,
    prompt="One step of training: the pair that occurs most often. Of several that occur equally often, take "
    "the one of "
    "smaller ids (first the first id, then the second), so that the order of the text does not "
    "matter.\n\nInput: `ids`, a "
    "`list` of two or more `int`. Result: a `tuple` of two `int`.",
    signature="def best_pair(ids: list[int]) -> tuple[int, int]",
    inputs=_best_inputs,
    solution=best_pair,
    mistakes=[
        Mistake(
            "in a tie the first in the text wins",
            _pair_by(lambda counts: max(counts, key=counts.get)),
            "`max` keeps the first of equals, and which is first depends on the text. Compare the ids as well.",
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
            "The pair is right. Give back only the pair.",
        ),
        Mistake(
            "the counts do not matter",
            _pair_by(min),
            "`min` over the pairs takes that of the smallest ids. Its count comes first, the ids only decide a tie.",
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
    yield from [("", 2), ("ab", 3), ("abab", 1), ("abab", 5), ("é", 1), ("aaabdaaabac", 1), ("aaabdaaabac", 3)]
    yield "aaabdaaabac", 20
    for length in range(6, 30, 3):
        yield "".join(rng.choice("abcé") for _ in range(length)), rng.randrange(2, 6)


def _train_variant(start=lambda ids: 256, choose=best_pair, stop=lambda ids: len(ids) < 2, to_ids=None):
    def wrong(text, steps):
        ids, merges = (to_ids or (lambda text: list(text.encode())))(text), []
        new_id = start(ids)
        for _ in range(steps):
            if stop(ids):
                break
            pair = choose(ids)
            merges.append(pair)
            ids = merge(ids, pair, new_id)
            new_id += 1
        return merges

    return wrong


def _train_without_recount(text, steps):
    counts = Counter(itertools.pairwise(text.encode()))
    return sorted(counts, key=lambda pair: (-counts[pair], pair))[:steps]


_TRAIN = Exercise(
    id="bpe.4",
    title="Train",
    minutes=15,
    difficulty=2,
    prompt="The whole loop. Begin with the bytes of the text (UTF-8). Find the best pair (tie rule of bpe.3), "
    "note it, merge "
    "it under the next id: 256, then 257, and so on. Stop after `steps` merges, or when no pair is "
    "left.\n\nInput: `text`, a "
    "`str`; `steps`, an `int`. Result: the pairs in the order found, a `list` of `tuple` of two `int`.",
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
            "There are 256 bytes, 0 to 255, also those that this text does not use. The first free id is 256.",
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
    ],
    hints=[
        "You have the parts: the best pair of bpe.3 and the merge of bpe.2.",
        "`ids = list(text.encode())`; then, for each new id from 256 on: find, note, merge.",
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
    yield b"aaab", small
    yield b"abab", _ranks(b"ab", b"aba")
    yield b"abcda", _ranks(b"ab", b"bc", b"abcd")  # a token that no merge leads to
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


def _encode_choosing(choose, once=False):
    def wrong(piece, ranks):
        parts = [bytes([byte]) for byte in piece]
        while True:
            joins = [(ranks[a + b], i) for i, (a, b) in enumerate(itertools.pairwise(parts)) if a + b in ranks]
            if not joins:
                break
            i = choose(joins)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
            if once:
                break
        return [ranks[part] for part in parts]

    return wrong


def _encode_to_bytes(piece, ranks):
    return bpe.merge_by_rank(piece, ranks)


_ENCODE = Exercise(
    id="bpe.5",
    title="Encode by rank",
    minutes=20,
    difficulty=3,
    prompt="Encode with a published vocabulary. Begin with single bytes. Of all neighbours whose joined bytes "
    "are a token, "
    "join those of the lowest rank (the leftmost, if it stands at several places); repeat until nothing can be "
    "joined. A "
    "token's rank is its id.\n\nInput: `piece`, of type `bytes`; `ranks`, a `dict` from `bytes` to `int` that "
    "has every "
    "single byte of the piece. Result: a `list` of `int`.",
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
            "Of all possible joins the one of the lowest rank is next, wherever it stands.",
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
    ],
    hints=[
        "Keep a list of parts, at first the single bytes. Which neighbours could be joined now, and what are "
        "their ranks?",
        "Collect `(rank, place)` of all possible joins; `min` finds the one of the lowest rank, and the "
        "leftmost of those.",
        "`parts[i : i + 2] = [parts[i] + parts[i + 1]]` joins; stop when there is nothing to join.",
    ],
    package="gptlab.bpe.merge_by_rank",
)

# ---- bpe.6 -----------------------------------------------------------------------------------------------------------


def printable(data: bytes) -> str:
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letter, free = {byte: chr(byte) for byte in visible}, 256
    for byte in range(256):
        if byte not in letter:
            letter[byte] = chr(free)
            free += 1
    return "".join(letter[byte] for byte in data)


def _byte_inputs(rng):
    yield from [(b"",), (b"a",), (b" ",), (b"a b\n",), (b"\x7f",), (b"\xa0",), (b"\xad",), ("é".encode(),)]
    yield ("the fox 狐".encode(),)
    for length in range(4, 12):
        yield (bytes(rng.randrange(256) for _ in range(length)),)


_VISIBLE = {*range(33, 127), *range(161, 173), *range(174, 256)}

_PRINTABLE = Exercise(
    id="bpe.6",
    title="A letter for every byte",
    minutes=15,
    difficulty=3,
    prompt="GPT-2's vocabulary is a JSON file, so each of the 256 bytes needs a letter that can be seen. The "
    "bytes 33–126, "
    "161–172 and 174–255 are written as the character with that number. The others get, in order, the characters "
    "256, 257, 258, … Space, byte 32, becomes Ġ.\n\nInput: `data`, of type `bytes`. Result: a `str` of the same "
    "length.",
    signature="def printable(data: bytes) -> str",
    inputs=_byte_inputs,
    solution=printable,
    reference=lambda data: "".join(bpe.byte_characters()[byte] for byte in data),
    mistakes=[
        Mistake(
            "bytes that cannot be seen stay as they are",
            lambda data: "".join(map(chr, data)),
            "Space, newline and control characters would be invisible in the file: give them letters from 256 on.",
        ),
        Mistake(
            "256 is added instead of counting on",
            lambda data: "".join(chr(b if b in _VISIBLE else 256 + b) for b in data),
            "That agrees up to byte 32. Byte 127 is the 34th without a letter, so it becomes chr(256 + 33).",
        ),
        Mistake(
            "the soft hyphen is taken for visible",
            lambda data: "".join(
                chr(256 + sorted(set(range(256)) - _VISIBLE - {173}).index(b)) if b not in _VISIBLE | {173} else chr(b)
                for b in data
            ),
            "Byte 173 is the soft hyphen, which is shown only at the end of a line. It is one of the others.",
        ),
        Mistake(
            "the space is left as it is",
            lambda data: printable(data).replace("Ġ", " "),
            "Space is byte 32, which is not in any of the three ranges: it becomes Ġ.",
        ),
        Mistake(
            "the bytes are read as UTF-8",
            lambda data: data.decode("utf-8", "replace"),
            "A token may be half a character. Each byte is written on its own.",
        ),
    ],
    hints=[
        "Make a dict from byte to letter first, for all 256 bytes.",
        "Go through the bytes from 0 to 255. If one is in the three ranges it is `chr(byte)`, otherwise the "
        "next free letter.",
        "The next free letter is `chr(256 + n)`, where n counts how many were given away so far.",
    ],
    package="gptlab.bpe.byte_characters",
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
    yield from [("", [end]), ("a", [end]), ("a", []), (end, [end]), (f"a{end}b", [end]), (f"{end}{end}", [end])]
    yield "an end", [end]
    yield "a<e>b<e>>c", ["<e>", "<e>>"]
    yield "a.b+", ["."]
    for length in range(3, 10):
        parts = [end, "<|end|>!", "<|", "fox ", "end", "|"]
        yield "".join(rng.choice(parts) for _ in range(length)), [end, "<|end|>!"]


def _special_variant(order=lambda s: sorted(s, key=len, reverse=True), escape=re.escape, group="(%s)", keep=bool):
    def wrong(text, special):
        if not special:
            return [text] if text else []
        return [part for part in re.split(group % "|".join(map(escape, order(special))), text) if keep(part)]

    return wrong


_SPECIAL = Exercise(
    id="bpe.7",
    title="Cut at special tokens",
    minutes=15,
    difficulty=2,
    prompt="Cut a text at the special tokens, and keep them as parts of their own. Where one special token begins with "
    "another, the longer one is meant. There are no empty parts.\n\nInput: `text`, a `str`; `special`, a `list` "
    "of `str`, "
    "which may be empty. Result: a `list` of `str`; joined, it is the text.",
    signature="def split_special(text: str, special: list[str]) -> list[str]",
    inputs=_special_inputs,
    solution=split_special,
    mistakes=[
        Mistake(
            "the special tokens are read as a pattern",
            _special_variant(escape=str),
            "In a pattern `|` means or, and `.` any character. `re.escape` takes such signs literally.",
        ),
        Mistake(
            "the shorter of two special tokens wins",
            _special_variant(order=lambda special: sorted(special, key=len)),
            "A pattern takes the first alternative that fits. Put the longest first.",
        ),
        Mistake(
            "the special tokens are gone",
            _special_variant(group="(?:%s)"),
            "`re.split` keeps the borders only if the pattern has a group: put round brackets around it.",
        ),
        Mistake(
            "empty parts are kept",
            _special_variant(keep=lambda part: True),
            "Between two borders, and at both ends, `re.split` gives an empty text. Leave those out.",
        ),
    ],
    hints=[
        "`re.split` with a group, `(...)`, keeps what it cuts at.",
        "Join the special tokens to a pattern with `|`: each through `re.escape`, and the longest first.",
        "Without special tokens the pattern would be empty: deal with that first. At the end leave out empty parts.",
    ],
    package="gptlab.bpe.split",
)

# ---- bpe.8 -----------------------------------------------------------------------------------------------------------


def stream(chunks: list[bytes]) -> list[str]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    return [decoder.decode(chunk) for chunk in chunks]


def _chunk_inputs(rng):
    fox = "🦊".encode()
    yield from [([],), ([b"a"],), ([b"a", b"b"],), (["é".encode()],), (["é".encode()[:1], "é".encode()[1:]],)]
    yield from [([b"a\xc3", b"\xa9b"],), ([fox[:1], fox[1:3], fox[3:]],), ([b"a", b"\xe2\x82"],)]
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


_STREAM = Exercise(
    id="bpe.8",
    title="Text that is still arriving",
    minutes=15,
    difficulty=3,
    prompt="A model writes one token after the other, and a token may end in the middle of a character. After "
    "each chunk of "
    "bytes, give the text that is certain now, and hold back the bytes of a character that is not whole yet. "
    "What never "
    "becomes whole is never shown.\n\nInput: `chunks`, a `list` of `bytes`. Result: a `list` of `str`, one for "
    "each chunk.",
    signature="def stream(chunks: list[bytes]) -> list[str]",
    inputs=_chunk_inputs,
    solution=stream,
    mistakes=[
        Mistake(
            "each chunk is decoded alone",
            _alone("replace"),
            "Half a character alone becomes �. Keep its bytes, and put them before the next chunk.",
        ),
        Mistake(
            "bytes of a cut character are thrown away",
            _alone("ignore"),
            "With `errors='ignore'` the character is lost. Keep its bytes, and put them before the next chunk.",
        ),
        Mistake(
            "half a character is an error",
            _alone("strict"),
            "`decode` raises where a character is not whole. Hold the bytes back until the rest has come.",
        ),
        Mistake(
            "nothing is shown before the end",
            _all_at_the_end,
            "The reader would wait for the last token. Show each character as soon as all its bytes are there.",
        ),
        Mistake(
            "all of the text so far is given each time",
            _all_so_far,
            "Give only what is new since the chunk before.",
        ),
    ],
    hints=[
        "You need a memory of bytes that were held back.",
        "`codecs.getincrementaldecoder('utf-8')` makes such a thing; or: how many bytes does the first byte promise?",
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
        explanation="Twice in each aaa: at its first and at its second letter.",
    ),
    Prediction(
        id="bpe.b",
        question="A tokenizer was trained on English. How is a word in a script that it has never seen encoded?",
        kind="choice",
        choices=("as one unknown token", "as its bytes, several tokens a character", "not at all: it is an error"),
        answer="b",
        explanation="The 256 bytes are tokens from the start, so every text can be written; unseen ones are long.",
    ),
    Prediction(
        id="bpe.c",
        question="A text has 1,000 bytes. Its most frequent pair occurs 40 times, without overlaps. How many "
        "tokens are left "
        "after one merge?",
        kind="number",
        answer=960,
        explanation="Each merge of a pair makes two tokens one, so 40 places save 40 tokens.",
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
        question="Which of these writes every text without a loss?",
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
