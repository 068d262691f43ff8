"""Batches: every pair of neighbours once, targets one later, and step n's batch from n alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlab.batches import IGNORE, Batches, StoryBatches, growing_contexts, rolling_windows, split


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 80), st.integers(1, 5), st.integers(1, 9))
def test_an_ordered_walk_covers_every_pair_of_neighbours_exactly_once(n, B, T):
    batches = Batches(list(range(n)), B, T, order="ordered")
    pairs = []
    for step in range(len(batches)):
        ids, targets = batches.batch(step)
        assert ids.shape[1] == T and 1 <= ids.shape[0] <= B
        kept = targets != IGNORE
        pairs += zip(ids[kept].tolist(), targets[kept].tolist(), strict=True)
    assert sorted(pairs) == [(i, i + 1) for i in range(n - 1)]


@settings(deadline=None, max_examples=30)
@given(st.integers(8, 60), st.integers(1, 5), st.integers(1, 7), st.integers(0, 9))
def test_targets_are_the_ids_one_later(n, B, T, step):
    ids, targets = Batches(list(range(n)), B, T, seed=3).batch(step)
    assert ids.shape == targets.shape == (B, T)
    assert torch.equal(targets, ids + 1) and int(targets.max()) <= n - 1


def test_a_step_gives_the_same_batch_whatever_was_asked_before():
    a, b = Batches(list(range(99)), 3, 7, seed=5), Batches(list(range(99)), 3, 7, seed=5)
    for step in (9, 2, 9, 0):
        assert torch.equal(a.batch(step).ids, Batches(list(range(99)), 3, 7, seed=5).batch(step).ids)
    assert not torch.equal(b.batch(0).ids, b.batch(1).ids)
    assert not torch.equal(b.batch(0).ids, Batches(list(range(99)), 3, 7, seed=6).batch(0).ids)


def test_random_starts_reach_the_first_and_the_last_place():
    batches = Batches(list(range(12)), B=64, T=4)
    starts = {int(i) for step in range(20) for i in batches.batch(step).ids[:, 0]}
    assert starts == set(range(8))


def test_batches_of_a_file_are_those_of_the_list(tmp_path):
    ids = np.arange(100, dtype=np.uint16)
    ids.tofile(tmp_path / "ids.bin")
    from_file = Batches.from_file(tmp_path / "ids.bin", 3, 7, seed=1)
    assert isinstance(from_file.ids, np.memmap)
    assert torch.equal(from_file.batch(4).ids, Batches(ids.tolist(), 3, 7, seed=1).batch(4).ids)


def test_rolling_windows_and_growing_contexts_teach_the_same_pairs():
    ids = [5, 6, 7, 8, 9]
    contexts, targets = rolling_windows(ids, T=4, pad=0)
    assert contexts.tolist() == [[0, 0, 0, 5], [0, 0, 5, 6], [0, 5, 6, 7], [5, 6, 7, 8]]
    grown = growing_contexts(ids, T=4)
    unpadded = [([i for i in row if i], t) for row, t in zip(contexts.tolist(), targets.tolist(), strict=True)]
    assert grown == unpadded


def test_a_window_shorter_than_the_text_forgets_the_oldest():
    contexts, targets = rolling_windows([5, 6, 7, 8], T=2, pad=0)
    assert contexts.tolist() == [[0, 5], [5, 6], [6, 7]] and targets.tolist() == [6, 7, 8]


def test_stories_are_padded_and_padding_costs_nothing():
    ids, targets = StoryBatches([[5, 9], [6, 7, 8, 9]], B=2, start=9, shuffle=False).batch(0)
    assert ids.tolist() == [[9, 5, 0, 0], [9, 6, 7, 8]]
    assert targets.tolist() == [[5, 9, IGNORE, IGNORE], [6, 7, 8, 9]]


def test_a_split_loses_nothing():
    first, last = split(list(range(10)), 0.7)
    assert [*first, *last] == list(range(10)) and len(first) == 7


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Batches([1, 2, 3], 2, 5), "3 tokens is shorter than one sample of T=5"),
        (lambda: Batches([], 2, 5, order="ordered"), "0 tokens"),
        (lambda: Batches([1, 2, 3], 0, 1), "B=0"),
        (lambda: Batches([1, 2, 3], 1, 1, order="sorted"), "'sorted'"),
        (lambda: StoryBatches([], 2, start=0), "no documents"),
        (lambda: StoryBatches([[1]], 0, start=0), "B=0"),
        (lambda: growing_contexts([1, 2], T=2), "2 tokens is shorter than one sample of T=2"),
        (lambda: split([1, 2], 1.0), "fraction=1.0"),
    ],
)
def test_what_cannot_be_batched_is_refused_with_both_sides(make, words):
    with pytest.raises(ValueError, match=words):
        make()
