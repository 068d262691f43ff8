r"""Learning a Unigram vocabulary: many pieces at first, fewer and better ones in the end (notebook `unigram`).

Start with all characters and all substrings that occur often; re-estimate their probabilities with EM
(expectation-maximisation); drop the pieces that the text can best do without; repeat.

Everywhere, `words` maps a word to how often it occurs, and `logp` a piece to ln p (its *score*, in nats).
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import accumulate, pairwise

from gptlab.entrances import NotNegative, Whole, guard
from gptlab.segmentation import LONGEST, best_path, expected_counts, lattice, score, viterbi


def seed_pieces(words: Mapping[str, int], size: int) -> dict[str, float]:
    """The pieces to begin with and their ln p: all characters, and the substrings that occur often and are long.

    A substring that only ever occurs inside the same longer one is left out: it could never save anything.

    Args:
        words: the training text.
        size: at most so many pieces, but never fewer than there are characters.

    >>> sorted(seed_pieces({"fox": 3, "fog": 2}, size=6))
    ['f', 'fo', 'fox', 'g', 'o', 'x']
    """
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for start in range(len(word)):
            for end in range(start + 1, min(start + LONGEST, len(word)) + 1):
                counts[word[start:end]] += count
    inside = {piece[:-1] for piece, count in counts.items() if counts[piece[:-1]] == count}
    inside |= {piece[1:] for piece, count in counts.items() if counts[piece[1:]] == count}
    characters = {piece: count for piece, count in counts.items() if len(piece) == 1}
    worth = {p: n * len(p) for p, n in counts.items() if len(p) > 1 and n > 1 and p not in inside}
    best = sorted(worth, key=lambda piece: (-worth[piece], piece))[: max(0, size - len(characters))]
    return _normalised(characters | {piece: worth[piece] for piece in best})


def _normalised(counts: Mapping[str, int | float]) -> dict[str, float]:
    """ln of each count's share of their sum."""
    total = math.log(sum(counts.values()))
    return {piece: math.log(count) - total for piece, count in counts.items()}


def em_step(
    words: Mapping[str, int], logp: Mapping[str, float], rarest: NotNegative = 0.5, at_least: Whole = 0
) -> dict[str, float]:
    """One round of EM: count the pieces that the model expects to use, and let these counts be the new model.

    As long as no piece is dropped, the probability of the words does not fall (Dempster, Laird and Rubin 1977).

    Args:
        words: the training text.
        logp: the model so far.
        rarest: pieces with a lower expected count are dropped; characters never are.
        at_least: stop dropping when only so many pieces are left.
    """
    counts: defaultdict[str, float] = defaultdict(float)
    for word, count in words.items():
        for piece, expected in expected_counts(word, logp).items():
            counts[piece] += count * expected
    kept = {piece for piece in logp if len(piece) == 1 or counts.get(piece, 0.0) >= rarest}
    if len(kept) < at_least:
        dropped = sorted(logp.keys() - kept, key=lambda piece: (-counts.get(piece, 0.0), piece))
        kept.update(dropped[: at_least - len(kept)])
    smallest = 1e-3  # a character that is never used alone must stay possible
    return _normalised({piece: max(counts.get(piece, 0.0), smallest) for piece in logp if piece in kept})


def prune(words: Mapping[str, int], logp: Mapping[str, float], size: int) -> dict[str, float]:
    """Keep the characters and the pieces whose removal would cost most.

    What a piece is worth: how often the best segmentations use it, times how much more its letters cost without it.

    Args:
        words: the training text.
        logp: the model so far.
        size: how many pieces to keep, the characters included.

    >>> sorted(prune({"abc": 9, "ab": 1}, {"a": -3.0, "b": -3.0, "c": -3.0, "ab": -2.0, "bc": -2.5}, size=4))
    ['a', 'ab', 'b', 'c']
    """
    used: Counter[str] = Counter()
    for word, count in words.items():
        for piece in viterbi(word, logp):
            used[piece] += count
    loss = {}
    for piece in (piece for piece in logp if len(piece) > 1):
        arcs = lattice(piece, logp)
        arcs[-1] = [(start, step) for start, step in arcs[-1] if start > 0]  # without the piece itself
        without = score((piece[i:j] for i, j in pairwise(best_path(arcs))), logp)
        loss[piece] = used[piece] * (logp[piece] - without)
    longer = max(0, size - (len(logp) - len(loss)))  # how many pieces of several characters stay
    kept = set(sorted(loss, key=lambda piece: (-loss[piece], piece))[:longer])
    return {piece: value for piece, value in logp.items() if len(piece) == 1 or piece in kept}


def train_pieces(words: Mapping[str, int], size: int) -> dict[str, float]:
    """A vocabulary: seed, then EM twice and drop a quarter of the pieces, until few enough are left.

    Args:
        words: the training text.
        size: how many pieces to learn.

    Returns:
        Each piece with its ln p.

    Raises:
        ValueError: the words have more than `size` characters, or too few pieces.
    """
    characters = len(set().union(*words))
    if size < characters:
        raise ValueError(
            f"too few for its {characters} different characters: ask for at least {characters} (and the 256 bytes with "
            f"byte_fallback), or lower character_coverage, so that rare characters become bytes"
        )
    seeds = seed_pieces(words, 8 * size)
    logp = em_step(words, em_step(words, seeds))
    if len(logp) < size and len(seeds) == 8 * size:  # too few of these were worth it: begin with all there are
        logp = em_step(words, em_step(words, seed_pieces(words, sum(map(len, words)) * LONGEST)))
    if len(logp) < size:
        raise ValueError(
            f"the text has use for {len(logp)} only: ask for at most {len(logp)} (and the 256 bytes with "
            f"byte_fallback), or give a longer text"
        )
    while len(logp) > 1.1 * size:
        logp = prune(words, logp, max(int(1.1 * size), int(0.75 * len(logp))))
        for _ in range(2):
            logp = em_step(words, logp, at_least=size)
    return em_step(words, prune(words, logp, size), rarest=0.0)


def without_rare_characters(words: Mapping[str, int], coverage: float) -> dict[str, int]:
    """The words, cut at the characters that are left when the most frequent ones make up `coverage` of the text.

    Args:
        words: the training text.
        coverage: the fraction of the text, counted in characters, that its frequent characters must make up.

    >>> without_rare_characters({"a hen": 3, "a hën": 1}, coverage=0.9)
    {'a h': 1, 'a hen': 3, 'n': 1}
    """
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    ranked = sorted(counts, key=lambda character: (-counts[character], character))
    enough = coverage * sum(counts.values()) - 1e-9
    before = accumulate((counts[character] for character in ranked), initial=0)
    rare = [character for character, covered in zip(ranked, before, strict=False) if covered >= enough]
    if not rare:
        return dict(words)
    parts: Counter[str] = Counter()
    for word, count in words.items():
        for part in re.split(f"[{re.escape(''.join(rare))}]", word):
            if part:
                parts[part] += count
    return dict(sorted(parts.items()))


guard(globals())
