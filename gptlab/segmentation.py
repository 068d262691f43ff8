r"""All ways to cut a text into pieces of a model: the best one, the sum over all, and a random one.

The ways are too many to list, but they share their parts: a lattice has every piece at every position once, and one
pass through it finds the best path (Viterbi 1967), and with sums for maxima the probability of all paths together.

Everywhere, `logp` maps a piece to ln p (its *score*, in nats), and a position is the number of characters before it.
"""

import math
import random
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

from gptlab.entrances import Count, guard

LONGEST = 16  # characters in a piece
SPACE = "▁"  # how a space is written in a piece


def words_of(text: str) -> list[str]:
    """A text with ▁ for its spaces, split before each ▁ and around each newline; no piece crosses these boundaries.

    >>> words_of("▁the▁fox\\n▁▁ran")
    ['▁the', '▁fox', '\\n', '▁', '▁ran']
    """
    return re.findall(rf"\n|{SPACE}[^{SPACE}\n]*|[^{SPACE}\n]+", text)


# ---- One segmentation, and all of them -------------------------------------------------------------------------------


def score(pieces: Iterable[str], logp: Mapping[str, float]) -> float:
    """ln p of one segmentation: the pieces are drawn independently, so their log-probabilities add up.

    Args:
        pieces: the segmentation.
        logp: the pieces and their scores.

    >>> score(["fo", "x"], {"fo": -2.5, "x": -1.5})
    -4.0
    """
    return sum((logp[piece] for piece in pieces), 0.0)


def segmentations(text: str, logp: Mapping[str, float]) -> Iterator[list[str]]:
    """Every way to cut the text into pieces. There are up to 2 ** (n - 1) for n characters: for short texts only.

    Args:
        text: what to cut.
        logp: the pieces and their scores.

    >>> list(segmentations("aab", {"a": -1.0, "b": -2.0, "ab": -2.5}))
    [['a', 'a', 'b'], ['a', 'ab']]
    """
    if not text:
        yield []
    for end in range(1, len(text) + 1):
        if text[:end] in logp:
            for rest in segmentations(text[end:], logp):
                yield [text[:end], *rest]


# ---- The lattice: every piece at every position, once ----------------------------------------------------------------

Lattice = list[list[tuple[int, float]]]  # lattice[end]: (start, score) of each piece text[start:end]; starts ascend


def lattice(text: str, logp: Mapping[str, float], unknown: float | None = None, longest: Count = LONGEST) -> Lattice:
    """The pieces that end at each position of the text.

    Args:
        text: what to cut.
        logp: the pieces and their scores.
        unknown: the score of a character that is not a piece itself.
        longest: the length of the longest piece, in characters.

    Raises:
        ValueError: a character is not covered, and `unknown` is not given.

    >>> lattice("aab", {"a": -1.0, "b": -2.0, "ab": -2.5})
    [[], [(0, -1.0)], [(1, -1.0)], [(1, -2.5), (2, -2.0)]]
    """
    arcs: Lattice = [[]]
    for end in range(1, len(text) + 1):
        starts = range(max(0, end - longest), end)
        arcs.append([(start, logp[text[start:end]]) for start in starts if text[start:end] in logp])
        if text[end - 1] not in logp:
            if unknown is None:
                raise not_covered(text[end - 1], end - 1, len(logp))
            arcs[end].append((end - 1, unknown))
    return arcs


def not_covered(character: str, position: int, pieces: int) -> ValueError:
    """The error for a character that no piece covers."""
    return ValueError(
        f"character {character!r} at position {position} is none of the {pieces} pieces, so no segmentation gets to "
        f"the end: train on a text that has the character, or with byte_fallback=True, which can write every character"
    )


def best_path(arcs: Lattice) -> list[int]:
    """Where the best segmentation is cut: the best way to an end is the best way to some start, and one more piece.

    Of two ways that are equally good, the one whose last piece is longer wins.

    >>> best_path(lattice("aab", {"a": -1.0, "b": -2.0, "ab": -2.5}))
    [0, 1, 3]
    """
    best, start_of = [0.0], [0]
    for arcs_here in arcs[1:]:
        reached = [best[start] + step for start, step in arcs_here]
        best.append(max(reached, default=-math.inf))
        start_of.append(arcs_here[reached.index(best[-1])][0] if reached else 0)
    return walk_back(start_of)


def fast_path(text: str, trie: Mapping[str, float | None], unknown: float, single: bool = False) -> list[int]:
    """`best_path`, fast: one pass, no lattice in memory, and a piece is read no further than any could go on.

    Args:
        text: what to cut.
        trie: each piece with its score, and each beginning of a piece that is not a piece itself, with None.
        unknown: the score of a character that is not a piece.
        single: add the scores up in 32-bit numbers, as SentencePiece does.

    >>> fast_path("aab", {"a": -1.0, "b": -2.0, "ab": -2.5}, unknown=-12.5)
    [0, 1, 3]
    """
    n = len(text)
    best = array("f" if single else "d", [-math.inf]) * (n + 1)  # "f" rounds what is put into it
    best[0], rounded, start_of, reach = 0.0, best[:1], [0] * (n + 1), 0
    for start in range(n):
        if single and best[start] < -100_000:  # a fresh start before 32 bits become too coarse
            best[start : reach + 1] = array("f", [value - best[start] for value in best[start : reach + 1]])
        here, end, goes_on = best[start], start, True
        while goes_on and end < n:
            end += 1
            piece = text[start:end]
            goes_on = piece in trie
            step = trie.get(piece)
            if step is None and end == start + 1:
                step = unknown
            if step is not None:
                reach = max(reach, end)
                rounded[0] = here + step
                if rounded[0] > best[end]:
                    best[end], start_of[end] = rounded[0], start
    return walk_back(start_of)


def walk_back(start_of: list[int]) -> list[int]:
    """The cuts from the first to the last, where `start_of[end]` is the cut before `end`.

    >>> walk_back([0, 0, 0, 1])
    [0, 1, 3]
    """
    cuts = [len(start_of) - 1]
    while cuts[-1] > 0:
        cuts.append(start_of[cuts[-1]])
    return cuts[::-1]


def viterbi(text: str, logp: Mapping[str, float]) -> list[str]:
    """The most likely segmentation, in n × (longest piece) steps.

    Args:
        text: what to cut.
        logp: the pieces and their scores.

    Raises:
        ValueError: a character is not covered.

    >>> viterbi("aab", {"a": -1.0, "b": -2.0, "ab": -2.5})
    ['a', 'ab']
    """
    return [text[start:end] for start, end in pairwise(best_path(lattice(text, logp)))]


# ---- Sums over all segmentations, and a sample -----------------------------------------------------------------------


def _log_sum(terms: list[float]) -> float:
    """ln of a sum, from the logarithms of its terms; the largest is taken out first, so that exp cannot overflow."""
    top = max(terms, default=-math.inf)
    return top + math.log(sum([math.exp(term - top) for term in terms])) if top > -math.inf else top


def forward(arcs: Lattice, alpha: float = 1.0) -> list[float]:
    """For each position, ln of the summed probability of all ways to get there; `best_path` with a sum for the maximum.

    Args:
        arcs: the lattice of a text.
        alpha: scores are multiplied by it.

    >>> [round(total, 2) for total in forward(lattice("aab", {"a": -1.0, "b": -2.0, "ab": -2.5}))]
    [0.0, -1.0, -2.0, -3.03]
    """
    total = [0.0]
    for arcs_here in arcs[1:]:
        total.append(_log_sum([total[start] + alpha * step for start, step in arcs_here]))
    return total


def log_total(text: str, logp: Mapping[str, float]) -> float:
    """ln p of the text, however it is cut: never less than the score of its best segmentation.

    Args:
        text: what to cut.
        logp: the pieces and their scores.

    >>> round(math.exp(log_total("ab", {"a": math.log(0.5), "b": math.log(0.2), "ab": math.log(0.3)})), 4)
    0.4
    """
    return forward(lattice(text, logp))[-1]


def sample_path(arcs: Lattice, alpha: float, generator: random.Random) -> list[int]:
    """The cuts of a segmentation, sampled with probability ∝ exp(alpha × score) (Kudo 2018, "subword regularization").

    Sums from the left, then sample piece by piece from the right.

    Args:
        arcs: the lattice of a text.
        alpha: 1 samples a segmentation as often as the model says; 0 samples all alike, a large alpha only the best.
        generator: where the random numbers come from.
    """
    total = forward(arcs, alpha)
    cuts = [len(arcs) - 1]
    while cuts[-1] > 0:
        arcs_here = arcs[cuts[-1]]
        weights = [math.exp(total[start] + alpha * step - total[cuts[-1]]) for start, step in arcs_here]
        cuts.append(generator.choices([start for start, _ in arcs_here], weights)[0])
    return cuts[::-1]


def expected_counts(text: str, logp: Mapping[str, float]) -> dict[str, float]:
    """How often each piece is used, averaged over all segmentations by their probability (the E of EM).

    A piece at `text[start:end]` is used with the probability of the ways to `start`, times its own, times that of the
    ways from `end` on, over that of all ways.

    Args:
        text: what to cut.
        logp: the pieces and their scores.

    >>> half = math.log(0.5)
    >>> expected_counts("ab", {"a": half, "b": half, "ab": 2 * half})
    {'a': 0.5, 'ab': 0.5, 'b': 0.5}
    """
    arcs = lattice(text, logp)
    before, n = forward(arcs), len(text)
    onward: list[list[float]] = [[] for _ in range(n + 1)]  # ln p of the ways that begin with each piece
    after = [0.0] * (n + 1)
    for end in range(n, 0, -1):
        after[end] = _log_sum(onward[end]) if end < n else 0.0
        for start, step in arcs[end]:
            onward[start].append(step + after[end])
    counts: dict[str, float] = {}
    for end in range(1, n + 1):
        for start, step in arcs[end]:
            piece = text[start:end]
            counts[piece] = counts.get(piece, 0.0) + math.exp(before[start] + step + after[end] - before[n])
    return counts


guard(globals())
