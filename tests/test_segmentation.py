"""Segmentations: the fast ways find what a list of all segmentations has."""

import math
import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptlab.segmentation import (
    best_path,
    expected_counts,
    fast_path,
    lattice,
    log_total,
    sample_path,
    score,
    segmentations,
    viterbi,
    words_of,
)

models = st.dictionaries(st.text("abc", min_size=2, max_size=4), st.floats(-9, -0.1), max_size=8).flatmap(
    lambda longer: st.tuples(*[st.floats(-9, -0.1)] * 3).map(lambda p: longer | dict(zip("abc", p, strict=True)))
)
short_text = st.text("abc", min_size=1, max_size=9)


@given(short_text, models)
def test_viterbi_finds_the_best_of_all_segmentations(text, logp):
    best = max(score(pieces, logp) for pieces in segmentations(text, logp))
    assert math.isclose(score(viterbi(text, logp), logp), best)
    assert "".join(viterbi(text, logp)) == text


@given(short_text, models)
def test_the_forward_sum_is_the_sum_over_all_segmentations(text, logp):
    listed = sum(math.exp(score(pieces, logp)) for pieces in segmentations(text, logp))
    assert math.isclose(math.exp(log_total(text, logp)), listed, rel_tol=1e-9)


@given(short_text, models)
def test_expected_counts_are_the_mean_over_all_segmentations(text, logp):
    listed, total = Counter(), math.exp(log_total(text, logp))
    for pieces in segmentations(text, logp):
        for piece in pieces:
            listed[piece] += math.exp(score(pieces, logp)) / total
    counts = expected_counts(text, logp)
    assert counts.keys() == listed.keys()
    assert all(math.isclose(counts[piece], listed[piece], abs_tol=1e-9) for piece in counts)
    assert math.isclose(sum(len(piece) * count for piece, count in counts.items()), len(text))


def test_a_segmentation_worked_out_by_hand():
    logp = {"a": math.log(0.5), "b": math.log(0.2), "ab": math.log(0.3)}
    assert viterbi("ab", logp) == ["ab"]  # 0.3 against 0.5 × 0.2
    assert math.isclose(math.exp(log_total("ab", logp)), 0.4)
    assert math.isclose(expected_counts("ab", logp)["ab"], 0.75)


def test_a_text_of_n_characters_has_two_to_the_n_minus_one_segmentations():
    every = {"aaaaaa"[:n]: -1.0 for n in range(1, 7)}
    assert len(list(segmentations("aaaaaa", every))) == 2**5


def test_a_character_that_no_piece_covers_is_named_with_its_place():
    with pytest.raises(ValueError, match=r"character 'z' at position 2 is none of the 1 pieces.*byte_fallback"):
        viterbi("aaz", {"a": -1.0})


@given(st.text("▁ab\n", max_size=20))
def test_words_joined_are_the_text_and_begin_with_their_space(text):
    words = words_of(text)
    assert "".join(words) == text
    assert all("▁" not in word[1:] and ("\n" not in word or word == "\n") for word in words)


def test_of_two_ways_that_are_equally_good_the_longer_last_piece_wins():
    logp = {"a": -1.0, "aa": -2.0, "aaa": -3.0}
    assert best_path(lattice("aaa", logp)) == [0, 3]
    assert best_path(lattice("aaa", {"a": -1.0, "aa": -2.0})) == [0, 1, 3]
    assert viterbi("aaaa", {"a": -1.0, "aa": -2.0}) == ["aa", "aa"]


@given(st.text("abz", max_size=9), models)
def test_the_fast_path_is_the_best_path_ties_and_unknown_characters_included(text, logp):
    trie = {piece[:end]: None for piece in logp for end in range(1, len(piece))} | logp
    scores = {piece: float(round(value)) for piece, value in logp.items()}  # whole numbers: many ties, no rounding
    for model in (logp, scores):
        unknown = min(model.values()) - 10
        listed = best_path(lattice(text, model, unknown))
        assert fast_path(text, trie | model, unknown) == listed


def test_of_two_equally_good_ways_the_fast_path_takes_the_longer_last_piece():
    assert fast_path("aaa", {"a": -1.0, "aa": -2.0}, unknown=-12.0) == [0, 1, 3]


# ---- Sampling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_samples_come_as_often_as_exact_enumeration_says(alpha):
    logp = {"a": -1.2, "b": -2.0, "ab": -2.6, "ba": -2.9, "aba": -4.0}
    ways = {tuple(w): math.exp(alpha * score(w, logp)) for w in segmentations("abab", logp)}
    arcs, generator, n = lattice("abab", logp), random.Random(0), 20_000
    drawn = Counter()
    for _ in range(n):
        drawn[tuple("abab"[i:j] for i, j in pairwise(sample_path(arcs, alpha, generator)))] += 1
    total = sum(ways.values())
    chi2 = sum((drawn[way] - n * weight / total) ** 2 / (n * weight / total) for way, weight in ways.items())
    assert set(drawn) <= set(ways)
    assert chi2 < 30  # 4 to 6 degrees of freedom: p < 1e-4
