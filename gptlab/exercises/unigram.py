"""Exercises on SentencePiece: normalisation, the Unigram model, and what to do about unseen characters."""

import math
import random
import re

from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question

_SMALL = {"a": -1.0, "b": -1.5, "ab": -2.0}  # two ways to write ab, and one is better


def _model(rng: random.Random, letters: str = "abc", more: int = 6) -> dict[str, float]:
    """Pieces and their log-probabilities; all letters are pieces."""
    pieces = list(letters)
    while len(pieces) < len(letters) + more:
        piece = "".join(rng.choice(letters) for _ in range(rng.randrange(2, 5)))
        if piece not in pieces:
            pieces.append(piece)
    weights = [rng.uniform(0.05, 1.0) for _ in pieces]
    return {piece: math.log(weight / sum(weights)) for piece, weight in zip(pieces, weights, strict=True)}


def _segmentations(text: str, logp: dict[str, float]) -> list[list[str]]:
    """Every way to cut the text into pieces: for references and mistakes, not for long texts."""
    if not text:
        return [[]]
    ways = []
    for end in range(1, len(text) + 1):
        if text[:end] in logp:
            ways += [[text[:end], *rest] for rest in _segmentations(text[end:], logp)]
    return ways


def _score(pieces, logp):
    return math.fsum(logp[piece] for piece in pieces)


def _best(text, logp):
    return max(_segmentations(text, logp), key=lambda pieces: _score(pieces, logp))


def _texts(rng: random.Random):
    """(text, logp), small ones first. One segmentation is better than all others, so no rule for ties is needed."""
    yield from [("a", _SMALL), ("ab", _SMALL), ("aba", _SMALL), ("ab", {"a": -2.0, "b": -2.5, "ab": -3.0})]
    yield "ab", {"a": -1.0, "b": -1.0, "ab": -3.0}
    yield "abc", {"a": -2.0, "b": -2.0, "c": -2.0, "ab": -3.9, "bc": -1.0}
    yield "abab", {"a": -1.0, "b": -1.2, "ab": -2.6, "aba": -2.9, "bab": -3.0}
    # Every greedy rule, and the mean, finds another wrong answer to these two.
    yield "bcab", {"a": -1.4, "b": -2.3, "c": -1.3, "ab": -2.1, "bc": -2.2, "bca": -2.2}
    yield "abca", {"a": -1.6, "b": -3.5, "c": -3.4, "ca": -3.3, "ab": -3.2, "bca": -4.2}
    for length in (3, 4, 5, 6, 7, 8, 5, 6):
        text, logp = _text_and_model(rng, length)
        while _is_a_tie(text, logp):  # a|aa and aa|a are equally good whatever the model
            text, logp = _text_and_model(rng, length)
        yield text, logp


def _text_and_model(rng, length):
    logp = _model(rng)
    return "".join(rng.choice("abc") for _ in range(length)), logp


def _is_a_tie(text, logp):
    best = sorted(_score(pieces, logp) for pieces in _segmentations(text, logp))[-2:]
    return len(best) == 2 and best[1] - best[0] < 1e-6


# ---- unigram.1 -------------------------------------------------------------------------------------------------------


def normalise(text: str) -> str:
    words = text.split()
    return "".join("▁" + word for word in words)


def _raw_texts(rng):
    yield from [("",), ("a",), ("a b",), ("a  b",), (" a",), ("a ",), ("a\tb\n",), ("a_b c",), ("   ",)]
    for length in range(3, 10):
        yield ("".join(rng.choice(["fox", "hen", " ", "  ", ",", "_"]) for _ in range(length)) + " a",)


_NORMALISE = Exercise(
    id="unigram.1",
    title="Blanks become visible",
    minutes=10,
    difficulty=1,
    prompt="SentencePiece, as it comes, first tidies the text: blanks at both ends go, runs of blanks (also tabs and "
    "newlines) become one space, a space is put in front of the first word (the dummy prefix), and each space "
    "is written ▁ "
    "(U+2581). A text without words stays empty.\n\nInput: `text`, a `str`. Result: a `str`.",
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
            "runs of blanks are kept",
            lambda text: "▁" + re.sub(r"\s", "▁", text.strip()) if text.strip() else "",
            "Two spaces become one here. That is why this setting does not give every text back.",
        ),
        Mistake(
            "an underscore stands for the space",
            lambda text: "".join("_" + word for word in text.split()),
            "The underscore _ is U+005F and occurs in texts. The sign for a space is ▁, U+2581.",
        ),
        Mistake(
            "▁ is put behind the words",
            lambda text: "".join(word + "▁" for word in text.split()),
            "The space belongs to the word that follows it: ▁ stands in front.",
        ),
        Mistake(
            "blanks at the ends are kept",
            lambda text: re.sub(r"\s+", "▁", " " + text),
            "Strip the text first: a blank at the end would become a ▁ of its own.",
        ),
        Mistake(
            "a text without words becomes ▁",
            lambda text: "▁" + "▁".join(text.split()),
            "Put ▁ in front of each word. Where there is no word there is no ▁ either.",
        ),
        Mistake(
            "nothing is tidied",
            lambda text: text.replace(" ", "▁"),
            "Tidy first: `text.split()` drops the blanks at the ends and takes runs as one. Then ▁ before each word.",
        ),
    ],
    hints=[
        "What does `text.split()` do with runs of blanks, and with those at the ends?",
        "It gives the words, and nothing else matters here.",
        "Put ▁ in front of each word, also the first, and join them without anything between.",
    ],
)

# ---- unigram.2 -------------------------------------------------------------------------------------------------------


def segmentation_logprob(pieces: list[str], logp: dict[str, float]) -> float:
    return sum((logp[piece] for piece in pieces), 0.0)


def _segmented(rng):
    yield from [([], _SMALL), (["a"], _SMALL), (["a", "b"], _SMALL), (["ab"], _SMALL), (["a", "a", "b"], _SMALL)]
    for length in range(2, 10):
        logp = _model(rng)
        yield [rng.choice(list(logp)) for _ in range(length)], logp


_LOGPROB = Exercise(
    id="unigram.2",
    title="How likely is a segmentation?",
    minutes=5,
    difficulty=1,
    prompt="The Unigram model draws pieces one by one, each without regard to the others. So the probability of a "
    "segmentation is the product of its pieces' probabilities, and its logarithm is a sum.\n\nInput: `pieces`, "
    "a `list` of "
    "`str`; `logp`, a `dict` from piece to its log-probability. Result: a `float`, the log-probability, in nats.",
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
            "For a long text the product becomes 0 in floating point. Stay with the sum of logarithms.",
        ),
        Mistake(
            "it is the mean",
            lambda pieces, logp: _score(pieces, logp) / max(1, len(pieces)),
            "A segmentation with more pieces pays for each of them: do not divide.",
        ),
        Mistake(
            "a repeated piece is counted once",
            lambda pieces, logp: _score(set(pieces), logp),
            "Each occurrence is drawn anew, and is paid anew. A set forgets how often.",
        ),
        Mistake(
            "the sign is turned",
            lambda pieces, logp: -_score(pieces, logp),
            "That is the surprise, the cost. A log-probability is at most 0.",
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


_VITERBI = Exercise(
    id="unigram.3",
    title="The best segmentation",
    minutes=25,
    difficulty=3,
    prompt="Find the segmentation of the highest log-probability. There are 2^(n-1) ways to cut n characters, "
    "so do not try "
    "them all: the best way to `text[:end]` is the best way to some `text[:start]`, and one more piece (Viterbi "
    "1967).\n\n"
    "Input: `text`, a `str`; `logp`, a `dict` from piece to log-probability that has every character of the "
    "text. Result: a "
    "`list` of `str`, in the order of the text. No two segmentations here are equally good.",
    signature="def best_segmentation(text: str, logp: dict[str, float]) -> list[str]",
    inputs=_texts,
    solution=best_segmentation,
    reference=_best,
    mistakes=[
        Mistake(
            "the longest piece that fits is taken",
            _longest_first,
            "A long piece may be rare, and what is left after it dear. Compare whole ways, not the next step.",
        ),
        Mistake(
            "the likeliest next piece is taken",
            _likeliest_first,
            "The best next step need not be on the best way. Keep the best score for every end.",
        ),
        Mistake(
            "the way to the piece is forgotten",
            _last_piece_only,
            "Compare `best[start] + logp[piece]`, the whole way to the end, not the score of its last piece alone.",
        ),
        Mistake(
            "the fewest pieces win",
            lambda text, logp: min(_segmentations(text, logp), key=lambda p: (len(p), -_score(p, logp))),
            "The sum of the log-probabilities decides, not the number of pieces.",
        ),
        Mistake(
            "the mean of the scores is compared",
            lambda text, logp: max(_segmentations(text, logp), key=lambda p: _score(p, logp) / len(p)),
            "Dividing by the number of pieces makes many pieces free. The sum is what counts.",
        ),
        Mistake(
            "the pieces are in the wrong order",
            lambda text, logp: _best(text, logp)[::-1],
            "Going back from the end gives the last piece first: turn the list around.",
        ),
        Mistake(
            "the least likely way is taken",
            lambda text, logp: min(_segmentations(text, logp), key=lambda p: _score(p, logp)),
            "A log-probability nearer to 0 is better: look for the largest sum, not the smallest.",
        ),
    ],
    hints=[
        "Keep two lists, one entry for each end: the best score up to there, and where its last piece begins.",
        "For each end, try each start before it: if `text[start:end]` is a piece, is `best[start] + "
        "logp[piece]` better?",
        "From the last end go back, piece by piece, to where each begins; then turn the list around.",
    ],
    package="gptlab.unigram.viterbi",
)

# ---- unigram.4 -------------------------------------------------------------------------------------------------------


def log_total(text: str, logp: dict[str, float]) -> float:
    total = [1.0] + [0.0] * len(text)
    for end in range(1, len(text) + 1):
        for start in range(end):
            if text[start:end] in logp:
                total[end] += total[start] * math.exp(logp[text[start:end]])
    return math.log(total[-1])


def _log_sum(scores):
    top = max(scores)
    return top + math.log(sum(math.exp(score - top) for score in scores))


def _missing_is_certain(text, logp):
    total = [1.0] + [0.0] * len(text)
    for end in range(1, len(text) + 1):
        for start in range(end):
            total[end] += total[start] * math.exp(logp.get(text[start:end], 0.0))
    return math.log(total[-1])


_FORWARD = Exercise(
    id="unigram.4",
    title="All segmentations together",
    minutes=20,
    difficulty=3,
    prompt="How likely is the text, however it is cut? Add up the probabilities of all its segmentations; again "
    "without "
    "listing them, from left to right (the forward sum).\n\nInput: `text`, a `str`; `logp`, a `dict` from piece to "
    "log-probability that has every character of the text. Result: a `float`, the logarithm of the sum.",
    signature="def log_total(text: str, logp: dict[str, float]) -> float",
    inputs=_texts,
    solution=log_total,
    reference=lambda text, logp: _log_sum([_score(way, logp) for way in _segmentations(text, logp)]),
    mistakes=[
        Mistake(
            "only the best segmentation counts",
            lambda text, logp: _score(_best(text, logp), logp),
            "`max` is Viterbi's. Here the ways are added: the sum is larger than its largest part.",
        ),
        Mistake(
            "it is the probability, not its logarithm",
            lambda text, logp: math.exp(log_total(text, logp)),
            "Take the logarithm at the end.",
        ),
        Mistake(
            "logarithms are added where probabilities should be",
            lambda text, logp: sum(_score(way, logp) for way in _segmentations(text, logp)),
            "Adding logarithms multiplies. Leave the logarithm with `exp`, add, and come back with `log`.",
        ),
        Mistake(
            "the ways are counted, not weighed",
            lambda text, logp: math.log(len(_segmentations(text, logp))),
            "Each way counts with its probability, not with 1.",
        ),
        Mistake(
            "what is no piece counts as well",
            _missing_is_certain,
            "A substring that is not in `logp` has probability 0, so leave it out. With a score of 0.0 it is certain.",
        ),
        Mistake(
            "it is the mean of the ways",
            lambda text, logp: log_total(text, logp) - math.log(len(_segmentations(text, logp))),
            "The ways exclude each other, so their probabilities add up. Do not divide by how many they are.",
        ),
    ],
    hints=[
        "It is Viterbi's loop, with a sum in place of the maximum.",
        "Keep `total[end]`, the probability of `text[:end]` over all ways; `total[0]` is 1.",
        "`total[end] += total[start] * exp(logp[piece])` for each piece that ends there; the logarithm comes last.",
    ],
    package="gptlab.unigram.log_total",
)

# ---- unigram.5 -------------------------------------------------------------------------------------------------------


def expected_counts(text: str, logp: dict[str, float]) -> dict[str, float]:
    n = len(text)
    spans = [(i, j, text[i:j]) for i in range(n) for j in range(i + 1, n + 1) if text[i:j] in logp]
    before = [1.0] + [0.0] * n  # all ways to write text[:i]
    after = [0.0] * n + [1.0]  # all ways to write text[i:]
    for i, j, piece in sorted(spans, key=lambda span: span[1]):
        before[j] += before[i] * math.exp(logp[piece])
    for i, j, piece in sorted(spans, key=lambda span: -span[0]):
        after[i] += math.exp(logp[piece]) * after[j]
    counts: dict[str, float] = {}
    for i, j, piece in spans:
        share = before[i] * math.exp(logp[piece]) * after[j] / before[n]
        counts[piece] = counts.get(piece, 0.0) + share
    return counts


def _counts_weighted(weigh, count=lambda way: way):
    def wrong(text, logp):
        counts = {}
        ways = _segmentations(text, logp)
        weights = weigh([_score(way, logp) for way in ways])
        for way, weight in zip(ways, weights, strict=True):
            for piece in count(way):
                counts[piece] = counts.get(piece, 0.0) + weight
        return counts

    return wrong


def _posterior(scores):
    total = _log_sum(scores)
    return [math.exp(score - total) for score in scores]


_EXPECTED = Exercise(
    id="unigram.5",
    title="Expected counts",
    minutes=30,
    difficulty=3,
    prompt="The E of EM. How often is each piece used, on average over all segmentations of the text, each "
    "weighed with its "
    "part of the total probability? A piece at a place is used with the probability (all ways before it) × (its "
    "own) × (all "
    "ways after it) / (all ways).\n\nInput: `text`, a `str`; `logp`, a `dict` from piece to log-probability "
    "that has every "
    "character of the text. Result: a `dict` from piece to `float`, with the pieces that occur in the text.",
    signature="def expected_counts(text: str, logp: dict[str, float]) -> dict[str, float]",
    inputs=_texts,
    solution=expected_counts,
    reference=_counts_weighted(_posterior),
    mistakes=[
        Mistake(
            "only the best segmentation is counted",
            lambda text, logp: {
                piece: float(_best(text, logp).count(piece)) for way in _segmentations(text, logp) for piece in way
            },
            "That is called hard EM. Here every segmentation counts, with its part of the probability.",
        ),
        Mistake(
            "it is not divided by the total",
            _counts_weighted(lambda scores: [math.exp(score) for score in scores]),
            "The weights of all segmentations must sum to 1: divide by the probability of the text.",
        ),
        Mistake(
            "all segmentations weigh the same",
            _counts_weighted(lambda scores: [1 / len(scores)] * len(scores)),
            "A likely segmentation counts more than an unlikely one: weigh it with its probability.",
        ),
        Mistake(
            "a piece counts once in a segmentation",
            _counts_weighted(_posterior, set),
            "If a piece stands twice in a segmentation, it is used twice.",
        ),
    ],
    hints=[
        "For every place where a piece fits: with which probability does the segmentation use it there?",
        "You need the forward sums of unigram.4, and the same from the right: all ways to write `text[i:]`.",
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
        without = {other: score for other, score in logp.items() if other != piece}
        pairs = [(_score(_best(w, logp), logp), _score(_best(w, without), without), n) for w, n in words.items()]
        return math.fsum(weigh(n) * of(now, then) for now, then, n in pairs)

    return wrong


def _use_loss(words, logp, piece):
    return sum(-n * _best(word, logp).count(piece) * logp[piece] for word, n in words.items())


def _removal_alone(words, logp, piece):
    without = {other: score for other, score in logp.items() if other != piece}
    return logp[piece] - _score(_best(piece, without), without)


def _estimate(words, logp, piece):
    used = sum(count * _best(word, logp).count(piece) for word, count in words.items())
    return used * _removal_alone(words, logp, piece)


_PRUNING = Exercise(
    id="unigram.6",
    title="What a piece is worth",
    minutes=15,
    difficulty=3,
    prompt="Unigram begins with too many pieces and drops those that matter least. What would be lost without "
    "this one? For "
    "each word: the best score with all pieces, minus the best score without this piece, times how often the word "
    "occurs.\n\nInput: `words`, a `dict` from word to its count; `logp`, a `dict` from piece to "
    "log-probability; `piece`, a "
    "`str` of two or more characters. Result: a `float`, 0 or more. (Your `best_segmentation` of unigram.3 helps, or "
    "`unigram.viterbi`.)",
    signature="def pruning_loss(words: dict[str, int], logp: dict[str, float], piece: str) -> float",
    inputs=_pruning_inputs,
    solution=pruning_loss,
    reference=_pruning_variant(),
    mistakes=[
        Mistake(
            "the counts of the words are forgotten",
            _pruning_variant(weigh=lambda count: 1),
            "A piece in a frequent word is worth more: multiply each word's loss by its count.",
        ),
        Mistake(
            "the sign is turned",
            _pruning_variant(of=lambda now, then: then - now),
            "Without a piece the best score can only fall. The loss is the score before minus the score after.",
        ),
        Mistake(
            "it is the total score, not the difference",
            _pruning_variant(of=lambda now, then: -then),
            "What a text costs without the piece says nothing alone. Subtract what it costs with it.",
        ),
        Mistake(
            "the piece is taken to be irreplaceable",
            _use_loss,
            "Without the piece its letters are written with other pieces. The loss is the difference of the two.",
        ),
        Mistake(
            "the rest of each word is left as it was",
            _estimate,
            "That is the estimate of `prune`. Without the piece its neighbours may change too: cut whole words anew.",
        ),
        Mistake(
            "only the piece itself is cut anew",
            _removal_alone,
            "What matters is how often the words use it, and what else they could do. Cut every word anew.",
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
    yield "ab🦊é", known
    for length in range(3, 12):
        yield "".join(rng.choice("abcé\n€狐🦊") for _ in range(length)), set(rng.sample("abcé€狐", 3))


def _fallback(write):
    return lambda text, known: [piece for c in text for piece in ([c] if c in known else write(c))]


_FALLBACK = Exercise(
    id="unigram.7",
    title="Byte fallback",
    minutes=10,
    difficulty=2,
    prompt="A character that is not in the vocabulary is written as its bytes in UTF-8, each as a piece of its own: a "
    "newline becomes `<0x0A>`, with two digits, in upper case.\n\nInput: `text`, a `str`; `vocabulary`, a `set` of "
    "characters. Result: a `list` of `str`.",
    signature="def with_byte_fallback(text: str, vocabulary: set[str]) -> list[str]",
    inputs=_fallback_inputs,
    solution=with_byte_fallback,
    mistakes=[
        Mistake(
            "unknown characters become <unk>",
            _fallback(lambda c: ["<unk>"]),
            "That is what happens without byte fallback: the character is lost. Write its bytes.",
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
            "Then the text cannot be given back. Write the bytes of the character.",
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
        explanation="Between two neighbours there is a cut or there is none: 4 places, so 2 × 2 × 2 × 2.",
    ),
    Prediction(
        id="unigram.b",
        question="SentencePiece, as it comes, encodes a text with two spaces in a row, and decodes it. What "
        "comes back?",
        kind="choice",
        choices=("the same text", "a text with one space there", "an error"),
        answer="b",
        explanation="Runs of blanks are collapsed before anything is encoded. An option switches that off.",
    ),
    Prediction(
        id="unigram.c",
        question="A text can be cut in several ways. The log-probability of the best one, and that of all together: "
        "which is larger?",
        kind="choice",
        choices=("that of the best", "that of all together", "they are equal"),
        answer="b",
        explanation="The best is one part of the sum, and every other way adds something.",
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
        explanation="Encoding repeats training's merges in their order, by rank. The new text's counts play no part.",
    ),
    Question(
        about="tokens",
        question="A tokenizer of words meets a word that it does not know. What does decode give?",
        choices=("the word", "the sign for unknown words", "nothing"),
        answer="b",
        explanation="All unknown words share one id, so which word it was is lost.",
    ),
]
