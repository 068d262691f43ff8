"""Exercises on SentencePiece: normalisation, the Unigram model, and what to do about unseen characters."""

import math
import random
import re
from collections import Counter
from itertools import pairwise

from gptlab import unigram
from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question

_SMALL = {"a": -1.0, "b": -1.5, "ab": -2.0}  # two ways to write ab, and one is better
# Sixty letters, with far too many segmentations to list; and a text whose probability is 0 as a float.
_LONG = "thefoxandthehenandtheowlsawthefoxandthehenandtheowlandthefox"
_WORDS = {letter: -3.0 - i / 7 for i, letter in enumerate("theoxandwlfs")}
_WORDS |= {"the": -4.1, "he": -3.7, "fox": -4.9, "and": -4.4, "hen": -5.2, "dthe": -6.1, "owl": -5.5, "nand": -5.6}
_UNLIKELY = "ab" * 45, {"a": -10.0, "b": -10.5, "ab": -19.0}


def _model(rng: random.Random, letters: str = "abc", more: int = 6) -> dict[str, float]:
    """Pieces and their log-probabilities; all letters are pieces."""
    pieces = list(letters)
    while len(pieces) < len(letters) + more:
        piece = "".join(rng.choice(letters) for _ in range(rng.randrange(2, 5)))
        if piece not in pieces:
            pieces.append(piece)
    weights = [rng.uniform(0.05, 1.0) for _ in pieces]
    return {piece: math.log(weight / sum(weights)) for piece, weight in zip(pieces, weights, strict=True)}


def _score(pieces, logp):
    return math.fsum(logp[piece] for piece in pieces)


def _best(text, logp):
    return unigram.viterbi(text, logp)


def _arcs(text, logp):
    """For each end of the text, from left to right, the pieces that end there and where they begin."""
    longest = max(map(len, logp))
    for end in range(1, len(text) + 1):
        starts = range(max(0, end - longest), end)
        yield end, [(start, text[start:end]) for start in starts if text[start:end] in logp]


def _best_by(text, logp, key, first):
    """The segmentation of the largest key, where the key of a way is made from the way before it and a piece."""
    best = [(first, [])]
    for _, arcs in _arcs(text, logp):
        ways = [(key(best[start][0], piece), [*best[start][1], piece]) for start, piece in arcs]
        best.append(max(ways, key=lambda way: way[0]))
    return best[-1][1]


def _texts(rng: random.Random):
    """(text, logp), small ones first. One segmentation is better than all others, so no rule for ties is needed."""
    yield from [("a", _SMALL), ("ab", _SMALL), ("ab", {"a": -2.0, "b": -2.5, "ab": -3.0})]
    yield from [("aba", _SMALL), ("ab", {"a": -1.0, "b": -1.0, "ab": -3.0}), ("abb", _SMALL)]
    yield "abc", {"a": -2.0, "b": -2.0, "c": -2.0, "ab": -3.9, "bc": -1.0}
    yield "abc", {"a": -2.0, "b": -2.0, "c": -2.0, "abc": -5.0}
    yield "abc", {"a": -2.0, "b": -2.0, "c": -2.0, "ab": -1.0, "bc": -3.9}
    yield "abab", {"a": -1.0, "b": -1.2, "ab": -2.6, "aba": -2.9, "bab": -3.0}
    # Every greedy rule, and the mean, finds another wrong answer to these two.
    yield "bcab", {"a": -1.4, "b": -2.3, "c": -1.3, "ab": -2.1, "bc": -2.2, "bca": -2.2}
    yield "abca", {"a": -1.6, "b": -3.5, "c": -3.4, "ca": -3.3, "ab": -3.2, "bca": -4.2}
    yield "ab", {"a": -1.0, "b": -1.0, "ab": -1000.0}  # a way that hardly counts, and must not overflow
    yield "hello", {"h": -2.0, "e": -2.1, "l": -2.2, "o": -2.3, "hello": -3.0}
    yield "understanding", {**dict.fromkeys("understaig", -2.0), "understanding": -4.0}  # a piece can have any length
    yield _LONG, _WORDS
    yield _UNLIKELY
    for length in (3, 4, 5, 6, 7, 8, 5, 6):
        text, logp = _text_and_model(rng, length)
        while _is_a_tie(text, logp):  # a|aa and aa|a are equally good whatever the model
            text, logp = _text_and_model(rng, length)
        yield text, logp


def _text_and_model(rng, length):
    logp = _model(rng)
    return "".join(rng.choice("abc") for _ in range(length)), logp


def _is_a_tie(text, logp):
    best = sorted(_score(pieces, logp) for pieces in unigram.segmentations(text, logp))[-2:]
    return len(best) == 2 and best[1] - best[0] < 1e-6


# ---- unigram.1 -------------------------------------------------------------------------------------------------------


def normalise(text: str) -> str:
    words = text.split()
    return "".join("▁" + word for word in words)


def _raw_texts(rng):
    yield from [("",), ("a",), (" ",), ("a b",), ("a  b",), (" a",), ("a ",), ("  a",), ("a\tb",), ("a\nb",), ("a\n",)]
    yield from [
        ("a_b c",),
        ("   ",),
        ("▁a",),
        ("▁a b",),
        ("a ▁b",),
        ("a▁ b",),
        ("Ab",),
        ("a, b!",),
        ("a \n b",),
        ("a b  c ",),
    ]
    for length in range(3, 10):
        yield ("".join(rng.choice(["fox", "hen", " ", "  ", ",", "_"]) for _ in range(length)) + " a",)


_NORMALISE = Exercise(
    id="unigram.1",
    title="Spaces become visible",
    kind="warm-up",
    minutes=10,
    difficulty=1,
    prompt="By default, SentencePiece first tidies the text. White space at both ends is dropped, each run of white "
    "space (spaces, tabs, newlines) becomes one space, a space is put in front of the first word (the dummy "
    "prefix), and each space is written ▁ (U+2581). A text without words stays empty. A ▁ that is in the text "
    "already is a character like any other.\n\nInput: `text`, a `str`. Result: a `str`.",
    signature="def normalise(text: str) -> str",
    inputs=_raw_texts,
    solution=normalise,
    mistakes=[
        Mistake(
            "there is no dummy prefix",
            lambda text: "▁".join(text.split()),
            "The first word would be another piece than the same word later. Put ▁ in front of it too.",
        ),
        Mistake(
            "runs of white space stay runs",
            lambda text: "▁" + re.sub(r"\s", "▁", text.strip()) if text.strip() else "",
            "Two spaces become one here. (So with this setting, decoding can't give every text back.)",
        ),
        Mistake(
            "an underscore stands for the space",
            lambda text: "".join("_" + word for word in text.split()),
            "The underscore _ is U+005F and occurs in texts. A space is written ▁, U+2581.",
        ),
        Mistake(
            "▁ is put behind the words",
            lambda text: "".join(word + "▁" for word in text.split()),
            "The space belongs to the word that follows it: ▁ comes first.",
        ),
        Mistake(
            "white space at the ends stays",
            lambda text: re.sub(r"\s+", "▁", " " + text),
            "Strip the text first: a space at the end would become a ▁ of its own.",
        ),
        Mistake(
            "a text without words becomes ▁",
            lambda text: "▁" + "▁".join(text.split()),
            "Put ▁ in front of each word. Where there is no word there is no ▁ either.",
        ),
        Mistake(
            "nothing is tidied",
            lambda text: text.replace(" ", "▁"),
            "Tidy first: `text.split()` drops white space at the ends and takes runs as one. Then put ▁ in front of "
            "each word.",
        ),
        Mistake(
            "tabs and newlines stay",
            lambda text: "".join("▁" + word for word in text.split(" ") if word),
            '`split(" ")` knows spaces only. `split()` without an argument cuts at all white space.',
        ),
        Mistake(
            "tabs and newlines stay, inside of the text only",
            lambda text: "▁" + re.sub(" +", "▁", text.strip()) if text.strip() else "",
            "` +` matches spaces only. `\\s+` matches all white space, and so does `text.split()`.",
        ),
        Mistake(
            "tabs and newlines stay, and a text without words becomes ▁",
            lambda text: "▁" + re.sub(" +", "▁", text.strip()),
            "` +` matches spaces only; and where there is no word there is no ▁ either. `text.split()` gives the "
            "words.",
        ),
        Mistake(
            "each space becomes ▁, and runs stay runs",
            lambda text: "▁" + text.strip().replace(" ", "▁") if text.strip() else "",
            "Two spaces become one here, and tabs and newlines count as spaces too: `text.split()` gives the words.",
        ),
        Mistake(
            "each space becomes ▁, runs stay runs, and a text without words becomes ▁",
            lambda text: "▁" + text.strip().replace(" ", "▁"),
            "Two spaces become one here, tabs and newlines count as spaces too, and where there is no word there "
            "is no ▁: `text.split()` gives the words.",
        ),
        Mistake(
            "a ▁ is put in front, and nothing is tidied",
            lambda text: "▁" + text.replace(" ", "▁"),
            "Tidy first: `text.split()` drops white space at the ends and takes runs as one. Then put ▁ in front "
            "of each word.",
        ),
        Mistake(
            "the ends are not tidied, and a ▁ is put in front of them",
            lambda text: "▁" + re.sub(r"\s+", "▁", text),
            "White space at the ends is dropped before ▁ is put in front: `text.strip()`, or `text.split()`, "
            "which gives the words.",
        ),
        Mistake(
            "a text of spaces alone becomes ▁",
            lambda text: "▁" + "▁".join(text.split()) if text else "",
            "Where there is no word there is no ▁: ask whether `text.split()` has one, not whether the text is empty.",
        ),
        Mistake(
            "there is a ▁ at the end too",
            lambda text: "▁" + "▁".join(text.split()) + "▁" if text.split() else "",
            "▁ stands in front of each word, and nothing follows the last one.",
        ),
        Mistake(
            "white space is lost between the words",
            lambda text: "▁" + "".join(text.split()) if text.split() else "",
            "Each word has a ▁ in front of it, not only the first.",
        ),
        Mistake(
            "the spaces stay spaces",
            lambda text: "".join(" " + word for word in text.split()),
            "The text is tidy. Now write each space as ▁.",
        ),
        Mistake(
            "only the first word has ▁, and the others a space",
            lambda text: "▁" + " ".join(text.split()) if text.split() else "",
            "Each space is written ▁, not only the one of the dummy prefix.",
        ),
        Mistake(
            "there is a space before each ▁",
            lambda text: " ".join("▁" + word for word in text.split()),
            "The ▁ is the space. Join the words without anything between them.",
        ),
        Mistake(
            "the words stay a list",
            lambda text: ["▁" + word for word in text.split()],
            'A text is expected: `"".join(...)` puts the words together.',
        ),
        Mistake(
            "no ▁ is put before a word that begins with one",
            lambda text: "".join(word if word.startswith("▁") else "▁" + word for word in text.split()),
            "A ▁ in the text is a character like any other: the word still gets its own in front.",
        ),
        Mistake(
            "no ▁ is put before a text that begins with one",
            lambda text: ("▁" if not text.startswith("▁") and text.split() else "") + "▁".join(text.split()),
            "A ▁ in the text is a character like any other: the first word still gets its own in front.",
        ),
        Mistake(
            "upper case is lost",
            lambda text: "".join("▁" + word for word in text.lower().split()),
            "Lower case is another setting. Here the letters stay as they are.",
        ),
    ],
    hints=[
        "What does `text.split()` do with runs of white space, and with white space at the ends?",
        "It gives the words, and nothing else matters here.",
        "Put ▁ in front of each word, also the first, and join them without anything between.",
    ],
)

# ---- unigram.2 -------------------------------------------------------------------------------------------------------


def segmentation_logprob(pieces: list[str], logp: dict[str, float]) -> float:
    return sum((logp[piece] for piece in pieces), 0.0)


def _segmented(rng):
    yield from [
        (["a"], _SMALL),
        (["a", "b"], _SMALL),
        (["ab"], _SMALL),
        (["a", "a", "b"], _SMALL),
        (["b", "a"], _SMALL),
    ]
    yield ["ab"] * 80, {"ab": -10.0}  # its probability is 0 as a float
    for length in range(2, 10):
        logp = _model(rng)
        yield [rng.choice(list(logp)) for _ in range(length)], logp


_LOGPROB = Exercise(
    id="unigram.2",
    title="How likely is a segmentation?",
    kind="core",
    minutes=5,
    difficulty=1,
    prompt="The Unigram model samples the pieces of a text one by one, each independently of the others. So the "
    "probability of a segmentation is the product of its pieces' probabilities, and its logarithm is a sum. (The "
    "product itself would be 0 in floating point for a long text.)\n\nInput: `pieces`, a `list` of one or more "
    "`str`; `logp`, a `dict` from piece to its log-probability. Result: a `float`, the log-probability of the "
    "segmentation, in nats.",
    signature="def segmentation_logprob(pieces: list[str], logp: dict[str, float]) -> float",
    inputs=_segmented,
    solution=segmentation_logprob,
    mistakes=[
        Mistake(
            "logarithms are multiplied",
            lambda pieces, logp: math.prod(logp[piece] for piece in pieces),
            "Probabilities are multiplied, so their logarithms are added.",
        ),
        Mistake(
            "it is the probability, not its logarithm",
            lambda pieces, logp: math.exp(_score(pieces, logp)),
            "For a long text that is 0 in floating point. Stay with the sum of logarithms.",
        ),
        Mistake(
            "it is the mean",
            lambda pieces, logp: _score(pieces, logp) / max(1, len(pieces)),
            "Each piece makes the segmentation less likely, so each of them counts: don't divide.",
        ),
        Mistake(
            "a repeated piece is counted once",
            lambda pieces, logp: _score(set(pieces), logp),
            "Each occurrence is sampled for itself, and counts. A set forgets how often.",
        ),
        Mistake(
            "the sign is wrong",
            lambda pieces, logp: -_score(pieces, logp),
            "That is the surprise. A log-probability is at most 0.",
        ),
        Mistake(
            "the product comes first, its logarithm afterwards",
            lambda pieces, logp: math.log(math.prod(math.exp(logp[piece]) for piece in pieces)),
            "For a long text the product of probabilities becomes 0 in floating point, and 0 has no logarithm. "
            "Add the log-probabilities.",
        ),
        Mistake(
            "probabilities are added",
            lambda pieces, logp: sum(math.exp(logp[piece]) for piece in pieces),
            "Probabilities of things that happen together are multiplied. Their logarithms are added, so leave "
            "out `exp`.",
        ),
        Mistake(
            "it is the logarithm of a sum of probabilities",
            lambda pieces, logp: math.log(sum(math.exp(logp[piece]) for piece in pieces)),
            "The logarithm of a sum isn't the sum of logarithms. Add up `logp[piece]`.",
        ),
        Mistake(
            "it is the logarithm of logarithms",
            lambda pieces, logp: sum(math.log(logp[piece]) for piece in pieces),
            "`logp` holds logarithms already, and a negative number has none. Add them up as they are, and take "
            "no logarithm of the sum either.",
        ),
        Mistake(
            "only the least likely piece counts",
            lambda pieces, logp: min(logp[piece] for piece in pieces),
            "Every piece takes its part of the probability: add them all up.",
        ),
        Mistake(
            "only the likeliest piece counts",
            lambda pieces, logp: max(logp[piece] for piece in pieces),
            "Every piece takes its part of the probability: add them all up.",
        ),
        Mistake(
            "each piece counts by its length",
            lambda pieces, logp: sum(len(piece) * logp[piece] for piece in pieces),
            "A piece is sampled as a whole, however long it is.",
        ),
        Mistake(
            "all pieces of the vocabulary are added",
            lambda pieces, logp: sum(logp.values()),
            "Only the pieces of this segmentation count: go through `pieces`.",
        ),
        Mistake(
            "only the first piece counts",
            lambda pieces, logp: logp[pieces[0]],
            "The `return` stands inside the loop, so it ends with the first piece. Add first, return afterwards.",
        ),
        Mistake(
            "the number of pieces comes back",
            lambda pieces, logp: float(len(pieces)),
            "Each piece adds its own log-probability, not 1.",
        ),
        Mistake(
            "the logarithms stay a list",
            lambda pieces, logp: [logp[piece] for piece in pieces],
            "These are the terms. `sum(...)` adds them up.",
        ),
    ],
    hints=[
        "What is the logarithm of a product?",
        "A sum of logarithms, one for each piece.",
        "`sum(logp[piece] for piece in pieces)`; begin with 0.0.",
    ],
    package="gptlab.unigram.score",
)

# ---- unigram.3 -------------------------------------------------------------------------------------------------------


def best_segmentation(text: str, logp: dict[str, float]) -> list[str]:
    best = [0.0] + [-math.inf] * len(text)  # the best score of text[:end]
    start_of = [0] * (len(text) + 1)  # where its last piece begins
    for end in range(1, len(text) + 1):
        for start in range(end):
            if text[start:end] in logp and best[start] + logp[text[start:end]] > best[end]:
                best[end] = best[start] + logp[text[start:end]]
                start_of[end] = start
    pieces, end = [], len(text)
    while end > 0:
        pieces.append(text[start_of[end] : end])
        end = start_of[end]
    return pieces[::-1]


def _longest_first(text, logp):
    pieces, at = [], 0
    while at < len(text):
        end = next(end for end in range(len(text), at, -1) if text[at:end] in logp)
        pieces.append(text[at:end])
        at = end
    return pieces


def _likeliest_first(text, logp):
    pieces, at = [], 0
    while at < len(text):
        ends = [end for end in range(at + 1, len(text) + 1) if text[at:end] in logp]
        end = max(ends, key=lambda end: logp[text[at:end]])
        pieces.append(text[at:end])
        at = end
    return pieces


def _last_piece_only(text, logp):
    start_of = [0]
    for end in range(1, len(text) + 1):
        starts = [start for start in range(end) if text[start:end] in logp]
        start_of.append(max(starts, key=lambda start: logp[text[start:end]]))
    pieces, end = [], len(text)
    while end > 0:
        pieces.append(text[start_of[end] : end])
        end = start_of[end]
    return pieces[::-1]


def _fewest_pieces(text, logp):
    return _best_by(text, logp, lambda way, piece: (way[0] - 1, way[1] + logp[piece]), (0, 0.0))


def _best_mean(text, logp):
    best = [{0: (0.0, [])}]  # for each end, by the number of pieces
    for _, arcs in _arcs(text, logp):
        here = {}
        for start, piece in arcs:
            for count, (score, way) in best[start].items():
                if count + 1 not in here or score + logp[piece] > here[count + 1][0]:
                    here[count + 1] = score + logp[piece], [*way, piece]
        best.append(here)
    return max(best[-1].items(), key=lambda item: item[1][0] / item[0])[1][1]


def _starting_from_zero(text, logp):
    best, start_of = [0.0] * (len(text) + 1), [0] * (len(text) + 1)
    for end, arcs in _arcs(text, logp):
        for start, piece in arcs:
            if best[start] + logp[piece] > best[end]:
                best[end], start_of[end] = best[start] + logp[piece], start
    return _walked_back(text, start_of)


def _walked_back(text, start_of):
    pieces, end = [], len(text)
    while end > 0:
        pieces.append(text[start_of[end] : end])
        end = start_of[end]
    return pieces[::-1]


def _products(text, logp):
    best, start_of = [1.0] + [0.0] * len(text), [0] * (len(text) + 1)
    for end, arcs in _arcs(text, logp):
        for start, piece in arcs:
            if best[start] * math.exp(logp[piece]) > best[end]:
                best[end], start_of[end] = best[start] * math.exp(logp[piece]), start
    return _walked_back(text, start_of)


def _anything_is_a_piece(text, logp):
    pieces = {text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)}
    return _best_by(text, dict.fromkeys(pieces, 0.0) | logp, lambda way, piece: way + logp.get(piece, 0.0), 0.0)


def _longest_from_the_end(text, logp):
    turned = _longest_first(text[::-1], {piece[::-1]: score for piece, score in logp.items()})
    return [piece[::-1] for piece in reversed(turned)]


def _at_most(longest):
    return lambda text, logp: _best(text, {p: score for p, score in logp.items() if len(p) <= longest})


def _never_whole(text, logp):
    others = {piece: score for piece, score in logp.items() if piece != text or len(text) == 1}
    return _best(text, others)


def _merged_pairwise(text, logp):
    pieces = list(text)
    while True:
        joins = [
            (logp[a + b] - logp[a] - logp[b], -i)
            for i, (a, b) in enumerate(pairwise(pieces))
            if a + b in logp and logp[a + b] > logp[a] + logp[b]
        ]
        if not joins:
            return pieces
        i = -max(joins)[1]
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]


_VITERBI = Exercise(
    id="unigram.3",
    title="The best segmentation",
    kind="core",
    minutes=25,
    difficulty=3,
    prompt="Find the segmentation with the highest log-probability. There are 2^(n-1) ways to cut n characters, far "
    "too many to try for the 60 letters of one of the texts. The way out: the best way to write `text[:end]` "
    "is the best way to write some `text[:start]`, and one more piece (Viterbi 1967).\n\nInput: `text`, a "
    "`str` of one or more characters; `logp`, a `dict` from piece to log-probability that has every character "
    "of the text. Pieces can have any length. Result: a `list` of `str`, in the order of the text. No two "
    "segmentations here are equally good.",
    signature="def best_segmentation(text: str, logp: dict[str, float]) -> list[str]",
    inputs=_texts,
    solution=best_segmentation,
    reference=_best,
    seconds=3,
    mistakes=[
        Mistake(
            "the longest piece that fits is taken",
            _longest_first,
            "A long piece may be rare, and what it leaves over may be expensive. Compare whole ways, not the next "
            "step.",
        ),
        Mistake(
            "the likeliest next piece is taken",
            _likeliest_first,
            "The best next step need not be part of the best way. Store the best score for every end.",
        ),
        Mistake(
            "the way to the piece is forgotten",
            _last_piece_only,
            "Compare `best[start] + logp[piece]`, the whole way to the end, not the score of its last piece alone.",
        ),
        Mistake(
            "the fewest pieces win",
            _fewest_pieces,
            "The sum of the log-probabilities decides, not the number of pieces.",
        ),
        Mistake(
            "the mean of the scores is compared",
            _best_mean,
            "Divided by the number of pieces, more pieces cost nothing. The sum is what counts.",
        ),
        Mistake(
            "the pieces are in the wrong order",
            lambda text, logp: _best(text, logp)[::-1],
            "Going back from the end gives the last piece first: turn the list around.",
        ),
        Mistake(
            "the least likely way is taken",
            lambda text, logp: _best_by(text, logp, lambda way, piece: way - logp[piece], 0.0),
            "A log-probability nearer to 0 is better: look for the largest sum, not the smallest.",
        ),
        Mistake(
            "the fewest pieces win, and of equally few the first way found",
            lambda text, logp: _best_by(text, logp, lambda way, piece: way - 1, 0),
            "The sum of the log-probabilities decides, not the number of pieces.",
        ),
        Mistake(
            "the longest piece that fits is taken, from the end",
            _longest_from_the_end,
            "A long piece may be rare, and what it leaves over may be expensive. Compare whole ways, not the next "
            "step.",
        ),
        Mistake(
            "no score is better than the 0 at the beginning",
            _starting_from_zero,
            "A log-probability is negative, so no way beats an entry that begins with 0.0. Only `best[0]` is 0; "
            "the others begin with minus infinity.",
        ),
        Mistake(
            "the best single pieces are merged, as in BPE",
            _merged_pairwise,
            "Joining neighbours one pair at a time can't find a piece whose parts aren't pieces, or two that must "
            "change together. Compare whole ways.",
        ),
        Mistake(
            "probabilities are multiplied, and become 0",
            _products,
            "For a long text every product becomes 0 in floating point, and nothing is larger than 0. Add the "
            "log-probabilities.",
        ),
        Mistake(
            "what is not a piece costs nothing",
            _anything_is_a_piece,
            "A substring that is not in `logp` can't be used: skip it. With a score of 0.0 it would be certain.",
        ),
        Mistake(
            "the whole text is never one piece",
            _never_whole,
            "A piece may begin at 0 and end at the end of the text: `start` runs from 0 to `end - 1`.",
        ),
        Mistake(
            "no piece is longer than two characters",
            _at_most(2),
            "Pieces can have any length: let `start` run from 0 to `end - 1`.",
        ),
        Mistake(
            "no piece is longer than three characters",
            _at_most(3),
            "Pieces can have any length: let `start` run from 0 to `end - 1`.",
        ),
        Mistake(
            "no piece is longer than four characters",
            _at_most(4),
            "Pieces can have any length: let `start` run from 0 to `end - 1`.",
        ),
        Mistake(
            "every character is a piece of its own",
            lambda text, logp: list(text),
            "That is one of the ways, and rarely the best. For every end, compare all pieces that could end there.",
        ),
        Mistake(
            "the result is the score",
            lambda text, logp: _score(_best(text, logp), logp),
            "The score is right. Remember for each end where its last piece begins, and walk back from the last end.",
        ),
        Mistake(
            "the score comes back with the pieces",
            lambda text, logp: (_best(text, logp), _score(_best(text, logp), logp)),
            "Return the pieces alone.",
        ),
        Mistake(
            "the result is where the text is cut",
            lambda text, logp: [sum(map(len, _best(text, logp)[: i + 1])) for i in range(len(_best(text, logp)))],
            "These are the ends of the pieces. Return the pieces themselves, `text[start:end]`.",
        ),
    ],
    hints=[
        "Make two lists with an entry for each end: the best score up to there, and where its last piece begins.",
        "For each end, try each start before it: if `text[start:end]` is a piece, is `best[start] + "
        "logp[piece]` better?",
        "From the last end, go back piece by piece to where each begins; then reverse the list.",
    ],
    package="gptlab.unigram.viterbi",
)

# ---- unigram.4 -------------------------------------------------------------------------------------------------------


def log_total(text: str, logp: dict[str, float]) -> float:
    total = [0.0]  # for each end: ln of the probability of text[:end], over all ways to write it
    for end in range(1, len(text) + 1):
        ways = [total[start] + logp[text[start:end]] for start in range(end) if text[start:end] in logp]
        largest = max(ways)
        total.append(largest + math.log(sum(math.exp(way - largest) for way in ways)))
    return total[-1]


def _forward(text, logp, step, start=1.0, end=math.log):
    """The forward sum with plain numbers; `step` is what a piece adds to the total of its end."""
    total = [start] + [0.0] * len(text)
    for here, arcs in _arcs(text, logp):
        total[here] += sum(step(total[start], logp[piece]) for start, piece in arcs)
    return end(total[-1])


def _probability(total, score):
    return total * math.exp(score)


def _missing_is_certain(text, logp):
    total = [1.0] + [0.0] * len(text)
    for end in range(1, len(text) + 1):
        for start in range(end):
            total[end] += total[start] * math.exp(logp.get(text[start:end], 0.0))
    return math.log(total[-1])


def _begun_at_one(text, logp):
    total = [0.0] * (len(text) + 1)
    for end, arcs in _arcs(text, logp):
        for start, piece in arcs:
            total[end] = math.log(math.exp(total[end]) + math.exp(total[start] + logp[piece]))
    return total[-1]


def _largest_left_in(text, logp):
    total = [0.0] + [-math.inf] * len(text)
    for end, arcs in _arcs(text, logp):
        for start, piece in arcs:
            total[end] = math.log(math.exp(total[end]) + math.exp(total[start] + logp[piece]))
    return total[-1]


def _ways(text, logp):
    return _forward(text, logp, lambda total, score: total, start=1, end=lambda total: total)


_FORWARD = Exercise(
    id="unigram.4",
    title="All segmentations together",
    kind="stretch",
    minutes=20,
    difficulty=3,
    prompt="How likely is the text, however it is cut? Add up the probabilities of all its segmentations, again "
    "without listing them: from left to right, for each end, over all pieces that end there (the forward "
    "sum). One of the texts is so long that its probability is 0 in floating point, so compute with "
    "logarithms: ln(e^a + e^b) = m + ln(e^(a-m) + e^(b-m)), where m is the larger of a and b.\n\nInput: "
    "`text`, a `str` of one or more characters; `logp`, a `dict` from piece to log-probability that has every "
    "character of the text. Result: a `float`, the logarithm of the sum, in nats.",
    signature="def log_total(text: str, logp: dict[str, float]) -> float",
    inputs=_texts,
    solution=log_total,
    reference=unigram.log_total,
    seconds=3,
    mistakes=[
        Mistake(
            "only the best segmentation counts",
            lambda text, logp: _score(_best(text, logp), logp),
            "`max` is Viterbi's. Here the ways are added up: the sum is larger than its largest term.",
        ),
        Mistake(
            "it is the probability, not its logarithm",
            lambda text, logp: math.exp(log_total(text, logp)),
            "Take the logarithm at the end.",
        ),
        Mistake(
            "logarithms are added where probabilities should be",
            lambda text, logp: _forward(text, logp, lambda total, score: total + score, 0.0, lambda total: total),
            "Adding logarithms multiplies probabilities. Ways exclude each other, so their probabilities are added: "
            "take `exp` of each term, add, and take the logarithm.",
        ),
        Mistake(
            "the ways are counted, not weighted",
            lambda text, logp: math.log(_ways(text, logp)),
            "Each way counts with its probability, not with 1.",
        ),
        Mistake(
            "what is not a piece counts as well",
            _missing_is_certain,
            "A substring that is not in `logp` has probability 0, so leave it out. With a score of 0.0 it is certain.",
        ),
        Mistake(
            "it is the mean of the ways",
            lambda text, logp: log_total(text, logp) - math.log(_ways(text, logp)),
            "The ways exclude each other, so their probabilities add up. Don't divide by their number.",
        ),
        Mistake(
            "a long text has probability 0",
            lambda text, logp: _forward(text, logp, _probability),
            "The sums are right, but for a long text `exp` gives 0, and 0 has no logarithm. Store logarithms, and "
            "take the largest one out before you use `exp`: `m + log(sum(exp(term - m)))`.",
        ),
        Mistake(
            "a long text has probability 0, and so minus infinity comes back",
            lambda text, logp: _forward(
                text, logp, _probability, end=lambda total: math.log(total) if total else -math.inf
            ),
            "Plain probabilities become 0 for a long text. Store logarithms, and take the largest one out before "
            "you use `exp`.",
        ),
        Mistake(
            "`exp` is forgotten",
            lambda text, logp: _forward(text, logp, lambda total, score: total * score),
            "`logp[piece]` is a logarithm. A probability is multiplied by `exp(logp[piece])`.",
        ),
        Mistake(
            "`exp` and the logarithm at the end are forgotten",
            lambda text, logp: _forward(text, logp, lambda total, score: total * score, end=lambda total: total),
            "`logp[piece]` is a logarithm. A probability is multiplied by `exp(logp[piece])`; and the result is "
            "the logarithm of the sum.",
        ),
        Mistake(
            "the sum under the logarithm is never positive",
            lambda text, logp: _forward(text, logp, _probability, start=0.0),
            "0 and negative numbers have no logarithm. Does the first total stand for the probability 1 "
            "(logarithm 0)? With 0 every sum stays 0. And does each term go through `exp` before you add?",
        ),
        Mistake(
            "`exp` of a total is 0, and 0 has no logarithm",
            _largest_left_in,
            "Storing logarithms is right, but `exp` of a number below about -745 is 0 in floating point. Take the "
            "larger of the two out before you use `exp`: `m + log(exp(a - m) + exp(b - m))`.",
        ),
        Mistake(
            "every end begins with probability 1",
            _begun_at_one,
            "0.0 is the logarithm of 1. Only `total[0]` begins there; the other ends begin with nothing, minus "
            "infinity.",
        ),
        Mistake(
            "the sign is wrong",
            lambda text, logp: -log_total(text, logp),
            "That is the surprise of the text. The logarithm of a probability is at most 0.",
        ),
        Mistake(
            "it is in bits",
            lambda text, logp: log_total(text, logp) / math.log(2),
            "Nats take the natural logarithm, `math.log`.",
        ),
        Mistake(
            "all of the text is one piece",
            lambda text, logp: logp.get(text, -math.inf),
            "A text that isn't a piece can still be written with several. Add up all the ways.",
        ),
        Mistake(
            "the totals of all ends come back",
            lambda text, logp: [log_total(text[:end], logp) for end in range(len(text) + 1)],
            "The last entry is the result: `total[-1]`.",
        ),
    ],
    hints=[
        "It is Viterbi's loop, with a sum instead of the maximum.",
        "`total[end]` is ln of the probability of `text[:end]` over all ways, and `total[0]` is 0. For each piece that "
        "ends there, one term: `total[start] + logp[piece]`.",
        "The logarithm of the sum of the terms' exponentials: with `m = max(terms)`, it is "
        "`m + math.log(sum(math.exp(term - m) for term in terms))`.",
    ],
    package="gptlab.unigram.log_total",
)

# ---- unigram.5 -------------------------------------------------------------------------------------------------------


def expected_counts(text: str, logp: dict[str, float]) -> dict[str, float]:
    n = len(text)
    spans = [(i, j, text[i:j]) for i in range(n) for j in range(i + 1, n + 1) if text[i:j] in logp]
    before = [1.0] + [0.0] * n  # the probability of text[:i], over all ways to write it
    after = [0.0] * n + [1.0]  # the same for text[i:]
    for i, j, piece in sorted(spans, key=lambda span: span[1]):
        before[j] += before[i] * math.exp(logp[piece])
    for i, j, piece in sorted(spans, key=lambda span: -span[0]):
        after[i] += math.exp(logp[piece]) * after[j]
    counts: dict[str, float] = {}
    for i, j, piece in spans:
        share = before[i] * math.exp(logp[piece]) * after[j] / before[n]
        counts[piece] = counts.get(piece, 0.0) + share
    return counts


def _short_texts(rng):
    return (args for args in _texts(rng) if args != _UNLIKELY)


def _counted(share, add=lambda old, new: old + new):
    """Counts by another formula: `share(before, own, after, all)` of logarithms."""

    def wrong(text, logp):
        before = unigram.forward(unigram.lattice(text, logp))
        turned = {piece[::-1]: score for piece, score in logp.items()}
        after = unigram.forward(unigram.lattice(text[::-1], turned))[::-1]
        counts = {}
        for end, arcs in _arcs(text, logp):
            for start, piece in arcs:
                new = share(before[start], logp[piece], after[end], before[-1])
                counts[piece] = add(counts.get(piece, 0.0), new)
        return counts

    return wrong


def _posterior(before, own, after, total):
    return math.exp(before + own + after - total)


def _used_at_all(text, logp):
    """The probability that a segmentation uses the piece, once or more."""
    total, used = unigram.log_total(text, logp), {}
    for piece in {piece for _, arcs in _arcs(text, logp) for _, piece in arcs}:
        without = [-math.inf] * (len(text) + 1)
        without[0] = 0.0
        for end, arcs in _arcs(text, logp):
            ways = [without[start] + logp[other] for start, other in arcs if other != piece]
            top = max(ways, default=-math.inf)
            if top > -math.inf:
                without[end] = top + math.log(sum(math.exp(way - top) for way in ways))
        used[piece] = 1 - math.exp(without[-1] - total)
    return used


def _divided_by_their_sum(text, logp):
    counts = expected_counts(text, logp)
    return {piece: count / sum(counts.values()) for piece, count in counts.items()}


_EXPECTED = Exercise(
    id="unigram.5",
    title="Expected counts",
    kind="stretch",
    minutes=30,
    difficulty=3,
    prompt="The E step of EM. How often is each piece used, on average over all segmentations of the text, each "
    "weighted with its share of the total probability? The probability that a piece is used at one position "
    "is (all ways before it) × (its own) × (all ways after it) / (all ways); add this up over the positions "
    "where it occurs. Again, don't list the segmentations: one of the texts has 60 letters. (That is short "
    "enough for plain probabilities.)\n\nInput: `text`, a `str` of one or more characters; `logp`, a `dict` "
    "from piece to log-probability that has every character of the text. Result: a `dict` from piece to "
    "`float`, with exactly the pieces that occur in the text.",
    signature="def expected_counts(text: str, logp: dict[str, float]) -> dict[str, float]",
    inputs=_short_texts,
    solution=expected_counts,
    reference=unigram.expected_counts,
    seconds=3,
    mistakes=[
        Mistake(
            "only the best segmentation is counted",
            lambda text, logp: dict(Counter(_best(text, logp))),
            "That is called hard EM. Here every segmentation counts, with its share of the probability.",
        ),
        Mistake(
            "it is not divided by the total",
            _counted(lambda before, own, after, total: math.exp(before + own + after)),
            "The weights of all segmentations must sum to 1: divide by the probability of the text.",
        ),
        Mistake(
            "all segmentations have the same weight",
            lambda text, logp: expected_counts(text, dict.fromkeys(logp, 0.0)),
            "A likely segmentation counts more than an unlikely one: weight it with its probability.",
        ),
        Mistake(
            "a piece counts once in a segmentation",
            _used_at_all,
            "If a piece occurs twice in a segmentation, it is used twice.",
        ),
        Mistake(
            "only the best segmentation is counted, and the other pieces get 0",
            lambda text, logp: {piece: float(_best(text, logp).count(piece)) for piece in expected_counts(text, logp)},
            "That is called hard EM. Here every segmentation counts, with its share of the probability.",
        ),
        Mistake(
            "a piece keeps only its last position",
            _counted(_posterior, add=lambda old, new: new),
            "`counts[piece] = ...` overwrites what an earlier position gave. Add it: `counts.get(piece, 0.0) + ...`.",
        ),
        Mistake(
            "the ways after the piece are forgotten",
            _counted(lambda before, own, after, total: math.exp(before + own - total)),
            "A segmentation goes on after the piece: multiply by the probability of all ways to write the rest.",
        ),
        Mistake(
            "the ways before the piece are forgotten",
            _counted(lambda before, own, after, total: math.exp(own + after - total)),
            "A segmentation begins before the piece: multiply by the probability of all ways to write what comes "
            "before.",
        ),
        Mistake(
            "the piece's own probability is forgotten",
            _counted(lambda before, own, after, total: math.exp(before + after - total)),
            "Between what comes before and what comes after stands the piece itself: multiply by its probability too.",
        ),
        Mistake(
            "logarithms come back",
            _counted(lambda before, own, after, total: before + own + after - total),
            "These are sums of logarithms. `exp` of each makes a probability, and these are added.",
        ),
        Mistake(
            "the counts are divided by their sum",
            _divided_by_their_sum,
            "That is the M step already. Here the counts themselves are asked for.",
        ),
        Mistake(
            "every occurrence counts as 1",
            _counted(lambda before, own, after, total: 1.0),
            "That counts where the piece could be used. Weight each position with the probability that it is used "
            "there.",
        ),
        Mistake(
            "pieces that do not occur are in it",
            lambda text, logp: dict.fromkeys(logp, 0.0) | expected_counts(text, logp),
            "The dict has the pieces that occur in the text, and no others: make an entry when you meet the piece.",
        ),
    ],
    hints=[
        "For every position where a piece fits: what is the probability that it is used there?",
        "You need the forward sums of unigram.4, and the same from the right: all ways to write `text[i:]`. Plain "
        "probabilities will do.",
        "Add `before[i] * exp(logp[piece]) * after[j] / before[n]` to the piece's count, for every i and j.",
    ],
    package="gptlab.unigram.expected_counts",
)

# ---- unigram.6 -------------------------------------------------------------------------------------------------------


def pruning_loss(words: dict[str, int], logp: dict[str, float], piece: str) -> float:
    without = {other: score for other, score in logp.items() if other != piece}
    loss = 0.0
    for word, count in words.items():
        now = sum(logp[part] for part in best_segmentation(word, logp))
        then = sum(without[part] for part in best_segmentation(word, without))
        loss += count * (now - then)
    return loss


def _pruning_inputs(rng):
    logp = {"a": -2.0, "b": -2.5, "ab": -3.0}
    yield from [
        ({"a": 1}, logp, "ab"),
        ({"ab": 1}, logp, "ab"),
        ({"ab": 3}, logp, "ab"),
        ({"abab": 1, "b": 2}, logp, "ab"),
        ({"ab": 1, "abab": 1}, logp, "ab"),
        ({"ab": 2, "ba": 4}, {"a": -2.0, "b": -2.5, "ab": -3.0, "ba": -1.0}, "ab"),
        ({"abc": 5}, {"a": -2.0, "b": -2.0, "c": -2.0, "ab": -2.2, "bc": -2.5}, "ab"),
    ]
    yield {"ab": 4, "abc": 2}, {"a": -2.0, "b": -2.0, "c": -2.0, "ab": -2.5, "bc": -1.9}, "ab"
    for length in range(2, 9):
        logp = _model(rng)
        words = {}
        for _ in range(3):
            words["".join(rng.choice("abc") for _ in range(length))] = rng.randrange(2, 9)
        piece = rng.choice([piece for piece in logp if len(piece) > 1])
        yield {**words, piece + rng.choice("abc"): 3}, logp, piece


def _pruning_variant(weigh=lambda count: count, of=lambda now, then: now - then):
    def wrong(words, logp, piece):
        without = _without(logp, piece)
        pairs = [(_score(_best(w, logp), logp), _score(_best(w, without), without), n) for w, n in words.items()]
        return math.fsum(weigh(n) * of(now, then) for now, then, n in pairs)

    return wrong


def _use_loss(words, logp, piece):
    return sum(-n * _best(word, logp).count(piece) * logp[piece] for word, n in words.items())


def _removal_alone(words, logp, piece):
    without = _without(logp, piece)
    return logp[piece] - _score(_best(piece, without), without)


def _estimate(words, logp, piece):
    used = sum(count * _best(word, logp).count(piece) for word, count in words.items())
    return used * _removal_alone(words, logp, piece)


def _without(logp, piece):
    return {other: score for other, score in logp.items() if other != piece}


def _deleting(words, logp, piece):
    now = [_score(_best(word, logp), logp) for word in words]
    del logp[piece]
    then = [_score(_best(word, logp), logp) for word in words]
    return math.fsum(n * (a - b) for n, a, b in zip(words.values(), now, then, strict=True))


def _deleting_in_the_loop(words, logp, piece):
    loss = 0.0
    for word, count in words.items():
        now = _score(_best(word, logp), logp)
        logp.pop(piece)
        loss += count * (now - _score(_best(word, logp), logp))
    return loss


def _alias(words, logp, piece):
    without = logp
    del without[piece]
    return _pruning_with(words, logp, without)


def _pruning_with(words, logp, without):
    return math.fsum(n * (_score(_best(w, logp), logp) - _score(_best(w, without), without)) for w, n in words.items())


def _renormalised(words, logp, piece):
    without = _without(logp, piece)
    total = math.log(sum(map(math.exp, without.values())))
    return _pruning_with(words, logp, {other: score - total for other, score in without.items()})


def _pruning_by_total(words, logp, piece):
    without = _without(logp, piece)
    return sum(n * (log_total(word, logp) - log_total(word, without)) for word, n in words.items())


def _pruning_mean(words, logp, piece):
    return pruning_loss(words, logp, piece) / sum(words.values())


def _pruning_by_length(words, logp, piece):
    without = _without(logp, piece)
    return float(sum(n * (len(_best(word, without)) - len(_best(word, logp))) for word, n in words.items()))


_PRUNING = Exercise(
    id="unigram.6",
    title="What a piece is worth",
    kind="stretch",
    minutes=15,
    difficulty=3,
    prompt="Unigram begins with too many pieces and drops those that matter least. What would be lost without this "
    "one? For each word: the best score with all pieces, minus the best score without this piece, times how "
    "often the word occurs; then add up. The other log-probabilities stay as they are, and so does the dict "
    "that you are given.\n\nInput: `words`, a `dict` from word to its count, with one word or more; `logp`, a "
    "`dict` from piece to log-probability that has every character of the words; `piece`, one of its pieces, "
    "of two or more characters. Result: a `float`, 0 or more. (Your `best_segmentation` of unigram.3 helps, "
    "or `unigram.viterbi`.)",
    signature="def pruning_loss(words: dict[str, int], logp: dict[str, float], piece: str) -> float",
    inputs=_pruning_inputs,
    solution=pruning_loss,
    reference=_pruning_variant(),
    mistakes=[
        Mistake(
            "the counts of the words are forgotten",
            _pruning_variant(weigh=lambda count: 1),
            "A piece in a frequent word is worth more: multiply the loss of each word by its count.",
        ),
        Mistake(
            "the sign is wrong",
            _pruning_variant(of=lambda now, then: then - now),
            "Without a piece the best score can only fall. The loss is the score before minus the score after.",
        ),
        Mistake(
            "it is the total score, not the difference",
            _pruning_variant(of=lambda now, then: -then),
            "What a word costs without the piece says nothing alone. Subtract what it costs with it.",
        ),
        Mistake(
            "the piece is taken to be irreplaceable",
            _use_loss,
            "Without the piece its letters are written with other pieces. The loss is the difference of the two.",
        ),
        Mistake(
            "the rest of each word is left as it was",
            _estimate,
            "That is the estimate that `prune` makes. Without the piece its neighbours may change too: segment whole "
            "words again.",
        ),
        Mistake(
            "only the piece itself is segmented again",
            _removal_alone,
            "What matters is how often the words use it, and what else they could do. Segment every word again.",
        ),
        Mistake(
            "it is the score with the piece, not the difference",
            _pruning_variant(of=lambda now, then: -now),
            "What a word costs with the piece says nothing alone. Subtract the best score without it.",
        ),
        Mistake(
            "the piece is deleted from the caller's model",
            _deleting,
            "`del` and `pop` change the dict that you are given. Make a new one: `{p: s for p, s in logp.items() "
            "if p != piece}`.",
        ),
        Mistake(
            "the copy is the model itself",
            _alias,
            "`without = logp` is the same dict under another name, so the piece is missing in both, and for the "
            "caller too. Make a new dict.",
        ),
        Mistake(
            "the other pieces share the probability of the one that is missing",
            _renormalised,
            "Leave the other log-probabilities as they are, even if they no longer add up to 1.",
        ),
        Mistake(
            "all segmentations are added up",
            _pruning_by_total,
            "That is the forward sum of unigram.4. Compare the best segmentations.",
        ),
        Mistake(
            "the loss is divided by the number of words",
            _pruning_mean,
            "The loss is a sum over all words, each times its count.",
        ),
        Mistake(
            "probabilities are subtracted, not their logarithms",
            _pruning_variant(of=lambda now, then: math.exp(now) - math.exp(then)),
            "Leave out `exp`: the loss is the difference of the scores.",
        ),
        Mistake(
            "pieces are counted, not scores",
            _pruning_by_length,
            "How many pieces a word takes says nothing about its probability. Add up the log-probabilities of its "
            "pieces.",
        ),
        Mistake(
            "the losses stay a dict",
            lambda words, logp, piece: {word: pruning_loss({word: n}, logp, piece) for word, n in words.items()},
            "These are the terms. `sum(...)` adds them up.",
        ),
        Mistake(
            "the piece is deleted once for every word",
            _deleting_in_the_loop,
            "After the first word the piece is gone, and `pop` finds none to delete (and the caller has lost it "
            "too). Make a second dict without it before the loop.",
        ),
        Mistake(
            "only the first word counts",
            lambda words, logp, piece: pruning_loss(dict([*words.items()][:1]), logp, piece),
            "The `return` stands inside the loop, so it ends with the first word. Add first, return afterwards.",
        ),
        Mistake(
            "the losses stay a list",
            lambda words, logp, piece: [pruning_loss({word: n}, logp, piece) for word, n in words.items()],
            "These are the terms. `sum(...)` adds them up.",
        ),
        Mistake(
            "each word that uses the piece loses its score once",
            lambda words, logp, piece: -sum(n * logp[piece] for word, n in words.items() if piece in _best(word, logp)),
            "Without the piece its letters are written with other pieces. The loss is the difference of the two "
            "best scores.",
        ),
        Mistake(
            "only the last word counts",
            lambda words, logp, piece: pruning_loss(dict([*words.items()][-1:]), logp, piece),
            "`loss = ...` overwrites what the words before gave. Add it: `loss += ...`.",
        ),
    ],
    hints=[
        "Make a second model without the piece, and leave the other log-probabilities as they are.",
        "For each word, the score of its best segmentation under both models.",
        "Sum up count × (score with the piece − score without it).",
    ],
)

# ---- unigram.7 -------------------------------------------------------------------------------------------------------


def with_byte_fallback(text: str, vocabulary: set[str]) -> list[str]:
    pieces = []
    for character in text:
        if character in vocabulary:
            pieces.append(character)
        else:
            pieces += [f"<0x{byte:02X}>" for byte in character.encode("utf-8")]
    return pieces


def _fallback_inputs(rng):
    known = {"a", "b", "é"}
    yield from [("", known), ("a", known), ("\n", known), ("c", known), ("é", known), ("ß", known), ("a狐", known)]
    yield from [
        ("aa", known),
        ("ca", known),
        ("Ab", known),
        ("ñé", known),
        ("\n\n", {"\n"}),
        ("狐", {"狐"}),
        ("J", known),
    ]
    yield "ab🦊é", known
    for length in range(3, 12):
        yield "".join(rng.choice("abcé\n€狐🦊") for _ in range(length)), set(rng.sample("abcé€狐", 3))


def _fallback(write):
    return lambda text, known: [piece for c in text for piece in ([c] if c in known else write(c))]


_FALLBACK = Exercise(
    id="unigram.7",
    title="Byte fallback",
    kind="warm-up",
    minutes=10,
    difficulty=2,
    prompt="A character that is not in the vocabulary is written as its bytes in UTF-8, each as a piece of its own. A "
    "newline becomes `<0x0A>`: the byte in hexadecimal, two digits, upper case.\n\nInput: `text`, a `str` that "
    "may be empty; `vocabulary`, a `set` of characters. Result: a `list` of `str`: the known characters as they "
    "are, and the bytes of the others, in the order of the text.",
    signature="def with_byte_fallback(text: str, vocabulary: set[str]) -> list[str]",
    inputs=_fallback_inputs,
    solution=with_byte_fallback,
    mistakes=[
        Mistake(
            "unknown characters become <unk>",
            _fallback(lambda c: ["<unk>"]),
            "That is what happens without byte fallback, and the character is lost. Write its bytes.",
        ),
        Mistake(
            "the hexadecimal digits are lower case",
            _fallback(lambda c: [f"<0x{b:02x}>" for b in c.encode()]),
            "The pieces in the vocabulary are called `<0xE2>`, not `<0xe2>`: format with `X`.",
        ),
        Mistake(
            "the bytes are numbers, not pieces",
            _fallback(lambda c: [hex(b) for b in c.encode()]),
            "Write the name of the piece: angle brackets, `0x`, and two digits in upper case, as in `<0x0A>`.",
        ),
        Mistake(
            "the leading zero is missing",
            _fallback(lambda c: [f"<0x{b:X}>" for b in c.encode()]),
            "A newline is `<0x0A>`: always two digits, `:02X`.",
        ),
        Mistake(
            "it is the code point, not the bytes",
            _fallback(lambda c: [f"<0x{ord(c):02X}>"]),
            "There are 256 such pieces, one for each byte. Write `character.encode()`, byte for byte.",
        ),
        Mistake(
            "known characters become bytes as well",
            lambda text, known: [f"<0x{b:02X}>" for b in text.encode()],
            "Only what the vocabulary lacks falls back to bytes.",
        ),
        Mistake(
            "unknown characters are left out",
            _fallback(lambda c: []),
            "Then decoding can't give the text back. Write the bytes of the character.",
        ),
        Mistake(
            "the digits are decimal",
            _fallback(lambda c: [f"<{b}>" for b in c.encode()]),
            "The names are hexadecimal, `<0x0A>`: format with `02X`.",
        ),
        Mistake(
            "the digits are decimal behind 0x",
            _fallback(lambda c: [f"<0x{b:02}>" for b in c.encode()]),
            "`0x` announces hexadecimal digits: format with `02X`, not `02`.",
        ),
        Mistake(
            "the angle brackets are missing",
            _fallback(lambda c: [f"0x{b:02X}" for b in c.encode()]),
            "The name of the piece has angle brackets: `<0x0A>`.",
        ),
        Mistake(
            "0x is missing",
            _fallback(lambda c: [f"<{b:02X}>" for b in c.encode()]),
            "The name of the piece has `0x` in front of the digits: `<0x0A>`.",
        ),
        Mistake(
            "`hex` has put a second 0x",
            _fallback(lambda c: [f"<0x{hex(b)}>" for b in c.encode()]),
            '`hex(10)` is `0xa`, with its own 0x and one digit. Format with `02X`: `f"<0x{byte:02X}>"`.',
        ),
        Mistake(
            "`hex` writes lower case and no leading zero",
            _fallback(lambda c: [f"<{hex(b)}>" for b in c.encode()]),
            '`hex(10)` is `0xa`. Two digits in upper case are needed: `f"<0x{byte:02X}>"`.',
        ),
        Mistake(
            "upper case has reached the x",
            _fallback(lambda c: [f"<0x{b:02x}>".upper() for b in c.encode()]),
            "`upper()` turns the x of 0x into X as well. Format the digits alone with `02X`.",
        ),
        Mistake(
            "the bytes of a character are one piece",
            _fallback(lambda c: [f"<0x{c.encode().hex().upper()}>"]),
            "There are 256 such pieces, one for each byte: 狐 takes three of them.",
        ),
        Mistake(
            "the names of the bytes are joined",
            _fallback(lambda c: ["".join(f"<0x{b:02X}>" for b in c.encode())]),
            "Each byte is a piece of its own: an entry of the list for each.",
        ),
        Mistake(
            "the bytes are integers",
            _fallback(lambda c: [*c.encode()]),
            "Write the name of the piece: angle brackets, `0x`, and two digits in upper case, as in `<0x0A>`.",
        ),
        Mistake(
            "`hex` writes no leading zero, and upper case has reached the x",
            _fallback(lambda c: [f"<{hex(b).upper()}>" for b in c.encode()]),
            '`hex(10).upper()` is `0XA`. Format the digits alone, with a leading zero: `f"<0x{byte:02X}>"`.',
        ),
        Mistake(
            "one unknown character turns the whole text into bytes",
            lambda text, known: (
                list(text) if all(c in known for c in text) else [f"<0x{b:02X}>" for b in text.encode()]
            ),
            "Decide for each character: the known ones stay, the others become bytes.",
        ),
        Mistake(
            "the text is looked up as a whole",
            lambda text, known: [text] if text in known else [f"<0x{b:02X}>" for b in text.encode()],
            "The vocabulary holds characters here. Decide for each character of the text.",
        ),
        Mistake(
            "the bytes of a character are a list in the list",
            lambda text, known: [c if c in known else [f"<0x{b:02X}>" for b in c.encode()] for c in text],
            "`append` puts the list in as one entry. Use `+=` or `extend`.",
        ),
        Mistake(
            "the result is one text",
            lambda text, known: "".join(with_byte_fallback(text, known)),
            "Pieces are asked for, as a list.",
        ),
        Mistake(
            "only the first byte is written",
            _fallback(lambda c: [f"<0x{c.encode()[0]:02X}>"]),
            "A character outside ASCII has two to four bytes. Write all of them.",
        ),
        Mistake(
            "the bytes are those of UTF-16",
            _fallback(lambda c: [f"<0x{b:02X}>" for b in c.encode("utf-16")]),
            '`character.encode("utf-8")` gives the bytes of UTF-8.',
        ),
        Mistake(
            "known and unknown are exchanged",
            lambda text, known: [
                piece for c in text for piece in ([f"<0x{b:02X}>" for b in c.encode()] if c in known else [c])
            ],
            "A character that is in the vocabulary stays. Only the others become bytes.",
        ),
        Mistake(
            "the known characters are left out",
            lambda text, known: [f"<0x{b:02X}>" for c in text if c not in known for b in c.encode()],
            "A known character is a piece too: append it as it is.",
        ),
    ],
    hints=[
        "Character by character: is it in the vocabulary?",
        "`character.encode('utf-8')` is a sequence of numbers, the bytes.",
        'f"<0x{byte:02X}>" writes one of them.',
    ],
)

EXERCISES = [_NORMALISE, _LOGPROB, _VITERBI, _FORWARD, _EXPECTED, _PRUNING, _FALLBACK]

PREDICTIONS = [
    Prediction(
        id="unigram.a",
        question="How many ways are there to cut a text of 5 characters into pieces?",
        kind="number",
        answer=16,
        explanation="Between two neighbouring characters there is a cut or there is none: 4 gaps, so 2 × 2 × 2 × 2.",
    ),
    Prediction(
        id="unigram.b",
        question="With its default settings, SentencePiece encodes a text with two spaces in a row and decodes it "
        "again. What comes back?",
        kind="choice",
        choices=("the same text", "a text with one space there", "an error"),
        answer="b",
        explanation="Runs of white space become one space before anything is encoded. An option switches that off.",
    ),
    Prediction(
        id="unigram.c",
        question="A text can be cut in several ways. The log-probability of the best one, and that of all together: "
        "which is larger?",
        kind="choice",
        choices=("that of the best", "that of all together", "they are equal"),
        answer="b",
        explanation="The best is one term of the sum, and every other way adds something.",
    ),
]

QUESTIONS = [
    Question(
        about="bpe",
        question="Byte-pair encoding merges the pair that …",
        choices=("is longest", "occurs most often", "makes the text likeliest"),
        answer="b",
        explanation="It counts pairs of neighbours, and merges the most frequent.",
    ),
    Question(
        about="bpe",
        question="When a new text is encoded, which of the possible merges comes first?",
        choices=("the leftmost", "the one that is most frequent in the new text", "the one that training found first"),
        answer="c",
        explanation="Encoding repeats the merges of training in their order, by rank. The counts in the new text "
        "don't matter.",
    ),
    Question(
        about="tokens",
        question="A tokenizer of words meets a word that it does not know. What does decode give?",
        choices=("the word", "the token for unknown words", "nothing"),
        answer="b",
        explanation="All unknown words share one id, so which word it was is lost.",
    ),
]
