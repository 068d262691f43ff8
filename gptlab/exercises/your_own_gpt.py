"""Exercises on a text of your own: duplicates, sizes, a split, bits per byte, copies, early stopping, a secret."""

import math
from collections import defaultdict
from collections.abc import Callable

from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question

# ---- your_own_gpt.1 --------------------------------------------------------------------------------------------------


def duplicates(documents):
    groups = defaultdict(list)
    for position, text in enumerate(documents):
        groups[" ".join(text.casefold().split())].append(position)
    return [group for group in groups.values() if len(group) > 1]


def _duplicate_inputs(rng):
    yield (["A fox.", "A hen.", "a  fox."],)
    yield (["one", "two", "One", "TWO", "one"],)
    yield (["a fox", "afox", "a\nfox ", "a f ox"],)
    yield (["Straße", "STRASSE", "one"],)
    yield (["b", "a", "a", "b", "b"],)
    yield (["a fox", " a fox\n", "a hen", "a\then"],)
    yield (["only", "different", "texts"],)
    yield ([],)
    words = ["a fox", "A Fox", " a  fox", "the hen", "The\nhen", "an eel", "an Eel ", "eels"]
    for length in (4, 6, 8, 10):
        yield ([rng.choice(words) for _ in range(length)],)


def _grouped(key: Callable, keep: Callable = lambda group: len(group) > 1) -> Callable:
    """The groups of documents with the same key."""

    def wrong(documents):
        groups = defaultdict(list)
        for position, text in enumerate(documents):
            groups[key(text)].append(position)
        return [group for group in groups.values() if keep(group)]

    return wrong


def _tidied(text: str) -> str:
    return " ".join(text.casefold().split())


def _pairs(documents):
    return [
        [i, j]
        for i in range(len(documents))
        for j in range(i + 1, len(documents))
        if _tidied(documents[i]) == _tidied(documents[j])
    ]


_DUPLICATES = Exercise(
    id="your_own_gpt.1",
    title="Find the duplicates",
    kind="warm-up",
    minutes=6,
    difficulty=1,
    prompt="Which documents say the same? Two do if they differ in upper case and in white space only: compare them "
    "after `casefold`, with each run of white space as one space and none at the ends.\n\nInput: `documents`, a `list` "
    "of `str`. Result: a `list` of `list` of `int`, the positions of each group that has more than one member; groups "
    'in the order of their first member. `["A fox.", "A hen.", "a  fox."]` gives `[[0, 2]]`.',
    signature="def duplicates(documents: list[str]) -> list[list[int]]",
    inputs=_duplicate_inputs,
    solution=duplicates,
    package="gptlab.curation.duplicates",
    mistakes=[
        Mistake(
            "only what is equal character by character",
            _grouped(lambda text: text),
            "Upper case and white space make no difference here: tidy each text before you compare it.",
        ),
        Mistake(
            "white space makes a difference",
            _grouped(str.casefold),
            'A line break or a double space makes no difference: `" ".join(text.split())` makes them alike.',
        ),
        Mistake(
            "white space makes a difference, except at the ends",
            _grouped(lambda text: text.casefold().strip()),
            'Inside of a text it counts as one space, too: `" ".join(text.split())`.',
        ),
        Mistake(
            "upper case makes a difference",
            _grouped(lambda text: " ".join(text.split())),
            "`Fox` and `fox` are the same word here: use `text.casefold()`.",
        ),
        Mistake(
            "all spaces are taken out",
            _grouped(lambda text: "".join(text.casefold().split())),
            "Without any space, two words and one become the same. Keep one space between words.",
        ),
        Mistake(
            "lower case in place of casefold",
            _grouped(lambda text: " ".join(text.lower().split())),
            "`lower` does not join all letters that differ only in case, such as ß and SS. `casefold` does.",
        ),
        Mistake(
            "single documents are groups, too",
            _grouped(_tidied, keep=lambda group: True),
            "A document that equals no other is not a duplicate: keep groups of more than one.",
        ),
        Mistake(
            "pairs, not groups",
            _pairs,
            "Three equal documents are one group of three, not three pairs.",
        ),
        Mistake(
            "the first of each group is left out",
            lambda documents: [group[1:] for group in duplicates(documents)],
            "Give all members of a group, the first one as well.",
        ),
        Mistake(
            "texts, not positions",
            lambda documents: [[documents[i] for i in group] for group in duplicates(documents)],
            "Return positions, not texts: `enumerate` gives them.",
        ),
    ],
    hints=[
        "Make a key of each text that is the same for all that say the same.",
        "A `dict` from the key to the list of positions: `setdefault(key, []).append(position)`.",
        'The key is `" ".join(text.casefold().split())`; in the end, keep the lists with more than one position.',
    ],
)

# ---- your_own_gpt.2 --------------------------------------------------------------------------------------------------


def best_size(flops, ratio):
    parameters = math.sqrt(flops / (6 * ratio))  # 6 N D = 6 N · ratio N
    return parameters, ratio * parameters


def _size_inputs(rng):
    yield from [(1.2e14, 20.0), (6e12, 1.0), (5.76e23, 21.0), (1e15, 100.0)]
    for _ in range(5):
        yield 10 ** rng.uniform(12, 24), rng.uniform(2, 200)


_SIZE = Exercise(
    id="your_own_gpt.2",
    title="The best size for a budget",
    kind="core",
    minutes=8,
    difficulty=2,
    prompt="There are `flops` floating-point operations to spend, and text without end. A model should read `ratio` "
    "tokens for each of its parameters. Training costs $6 N D$ operations. How many parameters N, how many tokens "
    "D?\n\nInput: `flops` and `ratio`, each a `float` above 0. Result: a tuple (N, D) of two `float`. "
    "`best_size(1.2e14, 20.0)` is `(1e6, 2e7)`.",
    signature="def best_size(flops: float, ratio: float) -> tuple[float, float]",
    inputs=_size_inputs,
    solution=best_size,
    tolerance=1e-6,
    mistakes=[
        Mistake(
            "the square root is missing",
            lambda flops, ratio: (flops / (6 * ratio), flops / 6),
            "D grows with N, so the cost grows with N squared: $6 N \\cdot \\text{ratio} \\cdot N$.",
        ),
        Mistake(
            "only the forward pass is counted",
            lambda flops, ratio: (math.sqrt(flops / (2 * ratio)), math.sqrt(flops * ratio / 2)),
            "Two operations for each weight and token are the forward pass. The backward pass takes four more.",
        ),
        Mistake(
            "parameters and tokens are exchanged",
            lambda flops, ratio: best_size(flops, ratio)[::-1],
            "First the parameters N, then the tokens D, which are `ratio` times as many.",
        ),
        Mistake(
            "as many tokens as parameters",
            lambda flops, ratio: (math.sqrt(flops / 6),) * 2,
            "`ratio` is how many tokens each parameter needs: D is `ratio * N`.",
        ),
        Mistake(
            "the ratio only counts for the tokens",
            lambda flops, ratio: (math.sqrt(flops / 6), ratio * math.sqrt(flops / 6)),
            "With that many tokens the budget is overspent: put D = ratio · N into $6 N D$ before you solve for N.",
        ),
        Mistake(
            "the 6 is forgotten",
            lambda flops, ratio: (math.sqrt(flops / ratio), math.sqrt(flops * ratio)),
            "Each parameter and token costs 6 operations.",
        ),
        Mistake(
            "only the parameters are given",
            lambda flops, ratio: best_size(flops, ratio)[0],
            "Give both, as a tuple (N, D).",
        ),
    ],
    hints=[
        "Two equations: 6 N D = flops, and D = ratio · N. Put the second into the first.",
        "6 · ratio · N² = flops. What is N?",
        "`N = math.sqrt(flops / (6 * ratio))`, and D is `ratio * N`.",
    ],
)

# ---- your_own_gpt.3 --------------------------------------------------------------------------------------------------


def split(documents, every):
    numbers = {}
    for text in documents:
        numbers.setdefault(text, len(numbers))  # in the order in which they first appear
    held_out = {text for text, number in numbers.items() if number % every == every - 1}
    to_train = [text for text in documents if text not in held_out]
    return to_train, [text for text in documents if text in held_out]


def _split_inputs(rng):
    yield ["a", "b", "a", "c", "b"], 2
    yield ["a", "b", "c", "d", "e", "f"], 3
    yield ["a", "a", "b", "c", "c", "a", "d"], 2
    yield ["c", "b", "a", "d", "b", "c", "e"], 3
    yield ["a"], 2
    for length, every in ((8, 2), (12, 3), (15, 4), (20, 5)):
        yield [rng.choice("abcdefghij") for _ in range(length)], every


def _by_position(rest: Callable) -> Callable:
    def wrong(documents, every):
        chosen = [rest(i, every) for i in range(len(documents))]
        return (
            [text for text, held in zip(documents, chosen, strict=True) if not held],
            [text for text, held in zip(documents, chosen, strict=True) if held],
        )

    return wrong


def _numbered(rest: Callable, order: Callable = lambda documents: list(dict.fromkeys(documents))) -> Callable:
    def wrong(documents, every):
        numbers = {text: number for number, text in enumerate(order(documents))}
        held_out = {text for text, number in numbers.items() if rest(number, every)}
        return [t for t in documents if t not in held_out], [t for t in documents if t in held_out]

    return wrong


def _last(number: int, every: int) -> bool:
    return number % every == every - 1


def _moved(documents, every):
    held = set(_by_position(_last)(documents, every)[1])
    return [text for text in documents if text not in held], [text for text in documents if text in held]


_SPLIT = Exercise(
    id="your_own_gpt.3",
    title="Split without a leak",
    kind="stretch",
    minutes=12,
    difficulty=2,
    prompt="Number the different documents in the order in which they first appear, 0, 1, 2, … Those with the numbers "
    "`every - 1`, `2 * every - 1` and so on are for validation, with all their copies; the others are for training. "
    "Each side keeps its order and its copies.\n\nInput: `documents`, a `list` of `str`; `every`, an "
    "`int` of at least 2. Result: a tuple of two `list` of `str`, to train on and to validate on. "
    '`["a", "b", "a", "c", "b"]` with `every=2` gives `(["a", "a", "c"], ["b", "b"])`.',
    signature="def split(documents: list[str], every: int) -> tuple[list[str], list[str]]",
    inputs=_split_inputs,
    solution=split,
    mistakes=[
        Mistake(
            "a copy is on the other side",
            _by_position(_last),
            "You count documents, not different ones: a text can be trained on and validated on. Number the different "
            "texts, and send all copies of one where the first goes.",
        ),
        Mistake(
            "positions are counted, and the copies follow",
            _moved,
            "All copies are on one side, but a text is chosen as soon as any of its copies has the right position. "
            "Number the different texts.",
        ),
        Mistake(
            "counted from the first",
            _numbered(lambda number, every: number % every == 0),
            "The first one to validate on has the number `every - 1`, not 0.",
        ),
        Mistake(
            "the last part of the text is cut off",
            lambda documents, every: (
                documents[: len(documents) - len(documents) // every],
                documents[len(documents) - len(documents) // every :],
            ),
            "The end of a text has other words than its beginning. Take every `every`-th document instead.",
        ),
        Mistake(
            "the sides are exchanged",
            lambda documents, every: split(documents, every)[::-1],
            "First what to train on, then what to validate on.",
        ),
        Mistake(
            "copies are dropped",
            lambda documents, every: tuple(list(dict.fromkeys(part)) for part in split(documents, every)),
            "Each copy stays in its place, on the side of its text.",
        ),
        Mistake(
            "in the order of the alphabet",
            _numbered(_last, order=lambda documents: sorted(set(documents))),
            "The numbers follow the order in which the texts first appear.",
        ),
        Mistake(
            "one too late",
            _numbered(lambda number, every: number and number % every == 0),
            "Numbers begin at 0: the `every`-th text has the number `every - 1`.",
        ),
    ],
    hints=[
        "First give each different text its number. A `dict` keeps the order in which keys are added.",
        "`numbers.setdefault(text, len(numbers))` gives a new text the next number and leaves an old one alone.",
        "Validation takes the texts with `numbers[text] % every == every - 1`; then go through `documents` twice.",
    ],
)

# ---- your_own_gpt.4 --------------------------------------------------------------------------------------------------


def bits_per_byte(nats, tokens, text):
    return nats * tokens / math.log(2) / len(text.encode("utf-8"))


def _bits_inputs(rng):
    yield math.log(2), 6, "né"
    yield math.log(256), 3, "fox"
    yield 1.5, 4, "the quick brown fox"
    yield 2.0, 5, "日本語です"
    for _ in range(4):
        text = "".join(rng.choice("abc déü🦊語") for _ in range(rng.randrange(8, 20))) + "é"
        yield rng.uniform(0.5, 4), rng.randrange(3, 8), text


_BITS = Exercise(
    id="your_own_gpt.4",
    title="Bits per byte",
    kind="warm-up",
    minutes=6,
    difficulty=1,
    prompt="A model has a mean loss of `nats` per token on a text that is `tokens` tokens long. How many bits is that "
    "for each byte of the text in UTF-8?\n\nInput: `nats`, a `float`; `tokens`, an `int`; `text`, a `str` that isn't "
    'empty. Result: a `float`. With `nats = math.log(2)`, `tokens = 6` and `text = "né"`, three bytes, it is 2.0.',
    signature="def bits_per_byte(nats: float, tokens: int, text: str) -> float",
    inputs=_bits_inputs,
    solution=bits_per_byte,
    tolerance=1e-6,
    mistakes=[
        Mistake(
            "characters, not bytes",
            lambda nats, tokens, text: nats * tokens / math.log(2) / len(text),
            "`len(text)` counts characters, and é has two bytes: `len(text.encode())`.",
        ),
        Mistake(
            "nats, not bits",
            lambda nats, tokens, text: nats * tokens / len(text.encode()),
            "A bit is ln 2 nats: divide by `math.log(2)`.",
        ),
        Mistake(
            "multiplied by ln 2",
            lambda nats, tokens, text: nats * tokens * math.log(2) / len(text.encode()),
            "A bit is less than a nat, so there are more bits than nats: divide by `math.log(2)`.",
        ),
        Mistake(
            "bits per token",
            lambda nats, tokens, text: nats / math.log(2),
            "This is per token. The whole text costs `nats * tokens`; divide that by its bytes.",
        ),
        Mistake(
            "the number of tokens is left out",
            lambda nats, tokens, text: nats / math.log(2) / len(text.encode()),
            "`nats` is a mean over the tokens. All of them together cost `nats * tokens`.",
        ),
        Mistake(
            "tokens and bytes are exchanged",
            lambda nats, tokens, text: nats / math.log(2) * len(text.encode()) / tokens,
            "All bits are `nats * tokens / ln 2`, and they are shared among the bytes.",
        ),
        Mistake(
            "the logarithm of the loss",
            lambda nats, tokens, text: math.log2(nats) * tokens / len(text.encode()),
            "The loss is a logarithm already. To change its base, divide by `math.log(2)`.",
        ),
    ],
    hints=[
        "What does the whole text cost, in nats? And in bits?",
        "One bit is ln 2 nats, and `text.encode()` is the text as bytes.",
        "`nats * tokens / math.log(2)` bits for `len(text.encode())` bytes.",
    ],
)

# ---- your_own_gpt.5 --------------------------------------------------------------------------------------------------


def copied(text, source, n):
    stretches = [text[i : i + n] for i in range(len(text) - n + 1)]
    return sum(stretch in source for stretch in stretches) / len(stretches)


def _copied_inputs(rng):
    yield "abab", "xab", 2
    yield "aaaa", "aab", 2
    yield "abcabcx", "cab", 3
    yield "abc", "abc", 3
    yield "abcd", "dcba", 1
    yield "the fox", "a hen", 4
    for n in (1, 2, 3, 4, 2):
        source = "".join(rng.choice("ab ") for _ in range(9 + 3 * n))
        yield source[2:8] + "".join(rng.choice("ab c") for _ in range(8)) + "bb", source, n


def _stretches(text: str, n: int) -> list[str]:
    return [text[i : i + n] for i in range(len(text) - n + 1)]


def _found(text: str, source: str, n: int) -> int:
    return sum(stretch in source for stretch in _stretches(text, n))


def _different(text, source, n):
    stretches = set(_stretches(text, n))
    return sum(stretch in source for stretch in stretches) / len(stretches)


def _without_overlap(text, source, n):
    blocks = [text[i : i + n] for i in range(0, len(text) - n + 1, n)]
    return sum(block in source for block in blocks) / len(blocks)


def _last_missed(text, source, n):
    stretches = [text[i : i + n] for i in range(len(text) - n)]
    return sum(stretch in source for stretch in stretches) / max(1, len(stretches))


_COPIED = Exercise(
    id="your_own_gpt.5",
    title="How much is copied?",
    kind="core",
    minutes=10,
    difficulty=2,
    prompt="Take every stretch of `n` characters in a text: from each position on, as long as there are `n` left. "
    "Which fraction of them occurs in the source, character for character? A stretch that occurs several times in the "
    "text counts each time.\n\nInput: `text` and `source`, each a `str`, `text` with at least `n` characters; `n`, an "
    '`int` of at least 1. Result: a `float`. `"abab"` against `"xab"` with `n=2` gives 2/3: `ab` occurs in it and '
    "counts twice, `ba` does not.",
    signature="def copied(text: str, source: str, n: int) -> float",
    inputs=_copied_inputs,
    solution=copied,
    tolerance=1e-6,
    mistakes=[
        Mistake(
            "each different stretch counts once",
            _different,
            "A set forgets how often. A stretch that the text has three times counts three times.",
        ),
        Mistake(
            "the stretches do not overlap",
            _without_overlap,
            "There is a stretch from every position on, not from every `n`-th.",
        ),
        Mistake(
            "the last stretch is missing",
            _last_missed,
            "The last one begins at `len(text) - n`, so `range` has to end at `len(text) - n + 1`.",
        ),
        Mistake(
            "shorter stretches at the end count, too",
            lambda text, source, n: sum(text[i : i + n] in source for i in range(len(text))) / len(text),
            "The last `n - 1` positions have no `n` characters left: `range(len(text) - n + 1)`.",
        ),
        Mistake(
            "divided by the length of the text",
            lambda text, source, n: _found(text, source, n) / len(text),
            "There are `len(text) - n + 1` stretches, fewer than characters.",
        ),
        Mistake(
            "the fraction of the source",
            lambda text, source, n: sum(s in text for s in _stretches(source, n)) / max(1, len(_stretches(source, n))),
            "This says how much of the source is in the text. The question is how much of the text is in the source.",
        ),
        Mistake(
            "what is new, not what is copied",
            lambda text, source, n: 1 - copied(text, source, n),
            "You count the stretches that the source does not have.",
        ),
        Mistake(
            "how many, not which fraction",
            _found,
            "Divide by the number of stretches.",
        ),
        Mistake(
            "one character too long",
            lambda text, source, n: sum(s in source for s in _stretches(text, n + 1)) / (len(text) - n + 1),
            "`text[i : i + n]` has `n` characters already.",
        ),
    ],
    hints=[
        "`text[i : i + n]` is the stretch from position i on. For which i are there `n` characters?",
        "`stretch in source` is True or False, and `sum` counts the True ones.",
        "All stretches are `[text[i : i + n] for i in range(len(text) - n + 1)]`; divide by how many there are.",
    ],
)

# ---- your_own_gpt.6 --------------------------------------------------------------------------------------------------


def early_stop(losses, patience):
    best = 0
    for step in range(len(losses)):
        if losses[step] < losses[best]:
            best = step
        if step - best == patience:  # so many in a row were no better
            break
    return step, best


def _stop_inputs(rng):
    yield [3.0, 2.0, 2.2, 2.1, 1.0], 2
    yield [3.0, 2.0, 2.2, 2.1, 1.0], 3
    yield [3.0, 2.0, 1.0], 1
    yield [2.0, 2.0, 2.0, 1.0], 3
    yield [1.0, 2.0, 1.5, 1.4, 1.3, 0.5], 4
    yield [3.0, 2.0, 2.5, 2.4, 1.9, 2.0, 2.1, 2.2, 0.1], 3
    yield [5.0], 1
    yield [1.0, 2.0, 3.0, 4.0, 0.5], 1
    yield [3.0, 1.0, 1.0, 2.0, 0.5, 0.7], 2
    for _ in range(5):
        yield [rng.randrange(10, 20) / 10 for _ in range(rng.randrange(4, 12))], rng.randrange(1, 4)


def _stopping(stop: Callable, better: Callable = lambda new, old: new < old) -> Callable:
    """`stop(losses, step, best, patience)` says whether to stop here."""

    def wrong(losses, patience):
        best = 0
        for step in range(len(losses)):
            if better(losses[step], losses[best]):
                best = step
            if stop(losses, step, best, patience):
                break
        return step, best

    return wrong


def _rising(losses: list[float], step: int, best: int, patience: int) -> bool:
    """Whether the last `patience` losses have each been above the one before."""
    return step >= patience and all(losses[i] >= losses[i - 1] for i in range(step - patience + 1, step + 1))


def _never_reset(losses, patience):
    best, worse = 0, 0
    for step in range(len(losses)):
        if losses[step] < losses[best]:
            best = step
        elif step:
            worse += 1
        if worse == patience:
            break
    return step, best


_STOP = Exercise(
    id="your_own_gpt.6",
    title="Early stopping",
    kind="core",
    minutes=10,
    difficulty=2,
    prompt="The validation loss of a run, one evaluation after the other. We stop at the first evaluation that is the "
    "`patience`-th in a row without a new lowest loss; if that never happens, at the last. What is only equal to the "
    "lowest is not new. Where do we stop, and which model do we take: the lowest up to there, the first of equal ones?"
    "\n\nInput: `losses`, a `list` of `float`, at least one; `patience`, an `int` of at least 1. Result: a tuple of "
    "two `int`, counted from 0: where we stop, and which we take. `[3.0, 2.0, 2.2, 2.1, 1.0]` with a patience of 2 "
    "gives `(3, 1)`.",
    signature="def early_stop(losses: list[float], patience: int) -> tuple[int, int]",
    inputs=_stop_inputs,
    solution=early_stop,
    mistakes=[
        Mistake(
            "the best is looked for in the whole list",
            lambda losses, patience: (early_stop(losses, patience)[0], losses.index(min(losses))),
            "After the stop nothing is trained any more: only the losses up to there are known.",
        ),
        Mistake(
            "one evaluation too late",
            _stopping(lambda losses, step, best, patience: step - best > patience),
            "You wait for one more than `patience` evaluations without a new lowest loss.",
        ),
        Mistake(
            "compared with the one before",
            _stopping(_rising),
            "A loss can fall for a moment without being the lowest: count evaluations since the best one.",
        ),
        Mistake(
            "the count is never reset",
            _never_reset,
            "`patience` counts evaluations in a row. A new lowest loss begins the count again.",
        ),
        Mistake(
            "equal counts as better",
            _stopping(lambda losses, step, best, patience: step - best == patience, better=lambda new, old: new <= old),
            "What is only equal to the lowest loss is no progress: compare with `<`.",
        ),
        Mistake(
            "the last model is taken",
            lambda losses, patience: (early_stop(losses, patience)[0],) * 2,
            "The model at the stop has been getting worse for a while. Take the one with the lowest loss.",
        ),
        Mistake(
            "it never stops",
            lambda losses, patience: (len(losses) - 1, losses.index(min(losses))),
            "`patience` has no effect: stop after so many evaluations without a new lowest loss.",
        ),
        Mistake(
            "stop and best are exchanged",
            lambda losses, patience: early_stop(losses, patience)[::-1],
            "First where we stop, then which model we take.",
        ),
        Mistake(
            "a loss, not its place",
            lambda losses, patience: (early_stop(losses, patience)[0], losses[early_stop(losses, patience)[1]]),
            "Give the index of the best model, not its loss.",
        ),
    ],
    hints=[
        "Go through the evaluations and remember the index of the best so far.",
        "At each one, how many evaluations ago was the best?",
        "Stop when `step - best == patience`; if the loop ends without that, `step` is the last index.",
    ],
)

# ---- your_own_gpt.7 --------------------------------------------------------------------------------------------------


def exposure(secret, others):
    rank = 1 + sum(other <= secret for other in others)
    return math.log2(len(others) + 1) - math.log2(rank)


def _exposure_inputs(rng):
    yield 2.0, [5.0, 7.0, 6.0]
    yield 9.0, [5.0, 7.0, 6.0]
    yield 6.0, [5.0, 7.0, 6.0]
    yield 6.5, [5.0, 7.0, 6.0, 8.0, 4.0, 9.0, 3.0]
    yield 1.0, [1.0]
    for count in (5, 15, 20, 40):
        others = [rng.randrange(10, 60) / 2 for _ in range(count)]
        yield rng.choice([others[0], sorted(others)[2] - 0.25, sorted(others)[1] + 0.25]), others


_EXPOSURE = Exercise(
    id="your_own_gpt.7",
    title="How exposed is a secret?",
    kind="stretch",
    minutes=10,
    difficulty=3,
    prompt="A secret was in the training text, others like it were not. Rank all of them by what they cost the model: "
    "the cheapest has rank 1, and what costs the same as the secret ranks before it. The exposure is $\\log_2$ of how "
    "many candidates there are, the secret included, minus $\\log_2$ of the secret's rank.\n\nInput: `secret`, a "
    "`float`, what it costs in nats; `others`, a `list` of `float`, at least one. Result: a `float`, in bits. A secret "
    "of 2.0 among others of `[5.0, 7.0, 6.0]` has 2.0, one of 9.0 has 0.0.",
    signature="def exposure(secret: float, others: list[float]) -> float",
    inputs=_exposure_inputs,
    solution=exposure,
    package="gptlab.memorization.exposure",
    tolerance=1e-6,
    mistakes=[
        Mistake(
            "the cheapest ranks last",
            lambda secret, others: math.log2(len(others) + 1) - math.log2(1 + sum(o >= secret for o in others)),
            "What costs few nats is what the model expects. Count the others that are cheaper.",
        ),
        Mistake(
            "the secret is not counted among the candidates",
            lambda secret, others: math.log2(len(others)) - math.log2(1 + sum(o <= secret for o in others)),
            "There is one candidate more than there are others: the secret itself.",
        ),
        Mistake(
            "nats, not bits",
            lambda secret, others: exposure(secret, others) * math.log(2),
            "The exposure is in bits: `math.log2`.",
        ),
        Mistake(
            "what costs the same ranks after it",
            lambda secret, others: math.log2(len(others) + 1) - math.log2(1 + sum(o < secret for o in others)),
            "To be on the safe side, what costs the same as the secret counts as before it: `<=`.",
        ),
        Mistake(
            "the logarithm of the rank alone",
            lambda secret, others: math.log2(1 + sum(o <= secret for o in others)),
            "That is what is subtracted. First comes log₂ of how many candidates there are.",
        ),
        Mistake(
            "the difference of the costs",
            lambda secret, others: (sum(others) / len(others) - secret) / math.log(2),
            "Only the rank counts, not by how many nats the secret is cheaper.",
        ),
        Mistake(
            "the rank, without a logarithm",
            lambda secret, others: float(1 + sum(o <= secret for o in others)),
            "Give log₂ of the number of candidates minus log₂ of this rank.",
        ),
        Mistake(
            "a fraction, without a logarithm",
            lambda secret, others: (len(others) + 1) / (1 + sum(o <= secret for o in others)),
            "Give the logarithm of this ratio, to base 2.",
        ),
    ],
    hints=[
        "How many of the others are at most as expensive as the secret?",
        "The rank is one more than that, and there is one candidate more than there are others.",
        "`math.log2(len(others) + 1) - math.log2(rank)`, with `rank = 1 + sum(other <= secret for other in others)`.",
    ],
)

EXERCISES = [_DUPLICATES, _SIZE, _SPLIT, _BITS, _COPIED, _STOP, _EXPOSURE]

PREDICTIONS = [
    Prediction(
        id="your_own_gpt.a",
        question="A 5-gram model that counts, the compressor lzma, and the GPT after its few passes: who needs the "
        "fewest bits for the held-out part of the play?",
        kind="choice",
        choices=("lzma", "the 5-gram model", "the GPT"),
        answer="b",
        explanation="On so little text, after so few steps, counting is hard to beat: it takes one pass, and a count "
        "is never rounded. The GPT passes it with more steps, because it shares what it knows between contexts.",
    ),
    Prediction(
        id="your_own_gpt.b",
        question="A sentence with five random letters occurs once in the text, and the text is read some seventy "
        "times. Among 256 such sentences, how does it rank for the model in the end?",
        kind="choice",
        choices=("somewhere in the middle", "among the first fifty", "first"),
        answer="c",
        explanation="It comes first, 8 bits of exposure, long before the samples of the model begin to copy. To a "
        "model that reads a text often, once is enough.",
    ),
    Prediction(
        id="your_own_gpt.c",
        question="After twelve examples, the model is asked something that is not among them. What does it answer?",
        kind="choice",
        choices=("a fitting sentence of its own", "one of the twelve answers, or a patchwork of them",
                 "it continues the play"),
        answer="b",
        explanation="It has learned that there are turns and that an answer is short. Of what to say, it has only "
        "ever seen twelve examples.",
    ),
]  # fmt: skip

QUESTIONS = [
    Question(
        about="tokens",
        question="Your text has 50,000 characters, 80 of them different. Why use characters as tokens, and not BPE?",
        choices=("sequences get shorter", "each token occurs often enough to be learned", "any text can be encoded"),
        answer="b",
        explanation="With a BPE vocabulary of a thousand, most tokens would occur a few dozen times at most. (And a "
        "character that isn't in your text can't be encoded.)",
    ),
    Question(
        about="training",
        question="The training loss falls, and the validation loss has been rising for a while. What is happening?",
        choices=("the learning rate is too small", "the model is learning this text by heart", "the loss has a bug"),
        answer="b",
        explanation="Only the second curve shows it: what the model learns now holds for the training text alone.",
    ),
    Question(
        about="finetuning",
        question="Which tokens of a conversation does the loss count?",
        choices=("all of them", "those of the user", "those of the assistant, and the end token after them"),
        answer="c",
        explanation="The request is given. The end has to be learned, or no answer ever stops.",
    ),
]  # fmt: skip
