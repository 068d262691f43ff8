"""Batches: every pair of neighbours once, targets one later, and step n's batch from n alone."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gptlab.batches import (
    IGNORE,
    Batch,
    Batches,
    BatchSource,
    StoryBatches,
    as_batch_source,
    growing_contexts,
    rolling_windows,
    split,
    write_tokens,
)
from gptlab.corpora.shards import Row


def covers_every_pair_once(batches, n, B, T):
    """Whether one walk over the text 0, 1, 2, … n - 1 gives each pair of neighbours once and nothing else."""
    pairs = []
    for step in range(len(batches)):
        ids, targets = batches.batch(step)
        kept = targets != IGNORE
        pairs += zip(ids[kept].tolist(), targets[kept].tolist(), strict=True)
        if ids.shape != targets.shape or ids.shape[1] != T or not 1 <= ids.shape[0] <= B:
            return False
    return sorted(pairs) == [(i, i + 1) for i in range(n - 1)]


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 80), st.integers(1, 5), st.integers(1, 9))
@example(n=13, B=2, T=4)  # the last block ends with the text
@example(n=14, B=2, T=4)  # the last block is one pair
@example(n=9, B=2, T=4)  # the only batch ends with the text
def test_an_ordered_walk_covers_every_pair_of_neighbours_exactly_once(n, B, T):
    assert covers_every_pair_once(Batches(list(range(n)), B, T, order="ordered"), n, B, T)


def test_no_batch_is_left_over_where_the_blocks_end_with_the_text():
    lengths = {n: len(Batches(list(range(n)), B=2, T=4, order="ordered")) for n in (8, 9, 10, 16, 17, 18)}
    assert lengths == {8: 1, 9: 1, 10: 2, 16: 2, 17: 2, 18: 3}


class _StrideTooLong(Batches):
    """Blocks of T + 1 ids that do not share one: a pair is lost between two blocks."""

    def batch(self, step):
        ids = torch.arange(len(self.ids))
        starts = range(step * self.B * (self.T + 1), len(ids), self.T + 1)[: self.B]
        rows = [ids[s : s + self.T + 1] for s in starts if s + self.T < len(ids)]
        return Batch(torch.stack([r[:-1] for r in rows]), torch.stack([r[1:] for r in rows]))

    def __len__(self):
        return max(1, len(self.ids) // (self.T + 1) // self.B)


class _NotShifted(Batches):
    def batch(self, step):
        ids, _ = super().batch(step)
        return Batch(ids, ids)


class _ShiftedTwice(Batches):
    def batch(self, step):
        ids, targets = super().batch(step)
        return Batch(ids, torch.where(targets == IGNORE, targets, targets + 1))


class _LastBatchLost(Batches):
    def __len__(self):
        return super().__len__() - 1


class _PaddingIsLearned(Batches):
    def batch(self, step):
        ids, targets = super().batch(step)
        return Batch(ids, targets.clamp(min=0))


class _Transposed(Batches):
    def batch(self, step):
        ids, targets = super().batch(step)
        return Batch(ids.T, targets.T)


@pytest.mark.parametrize(
    "mutant", [_StrideTooLong, _NotShifted, _ShiftedTwice, _LastBatchLost, _PaddingIsLearned, _Transposed]
)
def test_the_count_of_pairs_finds_each_known_mistake(mutant):
    n, B, T = 33, 2, 5
    assert covers_every_pair_once(Batches(list(range(n)), B, T, order="ordered"), n, B, T)
    assert not covers_every_pair_once(mutant(list(range(n)), B, T, order="ordered"), n, B, T)


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


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 50), min_size=2, max_size=30), st.integers(1, 12))
def test_rolling_windows_are_those_of_a_loop_and_give_every_pair_once(ids, T):
    contexts, targets = rolling_windows(ids, T, pad=0)
    assert targets.tolist() == ids[1:]
    for n, context in enumerate(contexts.tolist()):
        past = ids[max(0, n + 1 - T) : n + 1]
        assert context == [0] * (T - len(past)) + past


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 50), min_size=2, max_size=30), st.data())
def test_a_block_teaches_every_pair_with_all_that_came_before(ids, data):
    T = data.draw(st.integers(1, len(ids) - 1))
    assert growing_contexts(ids, T) == [(ids[:t], ids[t]) for t in range(1, T + 1)]


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor, lambda ids: np.asarray(ids, dtype=np.uint16)])
def test_contexts_and_batches_are_the_same_for_every_kind_of_row(kind):
    ids = [5, 6, 7, 8, 9, 4]
    assert rolling_windows(kind(ids), 3, pad=0)[0].tolist() == rolling_windows(ids, 3, pad=0)[0].tolist()
    assert growing_contexts(kind(ids), 3) == growing_contexts(ids, 3)
    assert Batches(kind(ids), 2, 3).batch(7).ids.tolist() == Batches(ids, 2, 3).batch(7).ids.tolist()
    assert [list(part) for part in split(kind(ids), 0.5)] == [ids[:3], ids[3:]]


def test_rolling_windows_store_every_id_once_and_leave_the_text_alone():
    row = torch.arange(1, 101)
    contexts, targets = rolling_windows(row, T=20, pad=0)
    assert contexts.numel() == 99 * 20 and contexts.untyped_storage().nbytes() == (100 + 19) * 8
    targets.zero_()
    assert row[5] == 6


def test_a_window_shorter_than_the_text_forgets_the_oldest():
    contexts, targets = rolling_windows([5, 6, 7, 8], T=2, pad=0)
    assert contexts.tolist() == [[0, 5], [5, 6], [6, 7]] and targets.tolist() == [6, 7, 8]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(0, 65_535), max_size=20), max_size=6), st.sampled_from(["uint16", "int32"]))
def test_a_file_of_tokens_holds_what_was_written(tmp_path_factory, pieces, dtype):
    path = tmp_path_factory.mktemp("tokens") / "ids.bin"
    ids = [i for piece in pieces for i in piece]
    assert write_tokens(path, (piece for piece in pieces), dtype) == len(ids)
    assert np.fromfile(path, dtype=dtype).tolist() == ids


def test_a_file_larger_than_what_is_read_stays_on_disk(tmp_path):
    path = tmp_path / "large.bin"
    write_tokens(path, (np.full(100_000, i) for i in range(20)))
    tracemalloc.start()
    batches = Batches.from_file(path, 3, 7, seed=1)
    found = {int(i) for step in range(50) for i in batches.batch(step).ids.flatten()}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) > 15 and peak < path.stat().st_size / 10


def test_a_run_resumed_in_a_new_process_reads_on_where_it_stopped(tmp_path):
    path = tmp_path / "ids.bin"
    write_tokens(path, [np.arange(500)])
    for make in (
        lambda: Batches.from_file(path, 3, 7, seed=4),
        lambda: Batches.from_file(path, 3, 7, order="ordered"),
        lambda: StoryBatches([[i, i + 1] for i in range(20)], B=3, start=99, seed=4),
    ):
        through = make()
        whole = [through.batch(step).ids.tolist() for step in range(40)]
        assert [make().batch(step).ids.tolist() for step in range(25, 40)] == whole[25:]


def test_stories_are_padded_and_padding_costs_nothing():
    ids, targets = StoryBatches([[5, 9], [6, 7, 8, 9]], B=2, start=9, shuffle=False).batch(0)
    assert ids.tolist() == [[9, 5, 0, 0], [9, 6, 7, 8]]
    assert targets.tolist() == [[5, 9, IGNORE, IGNORE], [6, 7, 8, 9]]


def test_stories_are_the_same_for_every_kind_of_row():
    rows = [[5, 9], [6, 7, 8, 9]]
    expected = StoryBatches(rows, B=2, start=9).batch(1)
    for kind in (np.asarray, torch.tensor, lambda ids: np.asarray(ids, dtype=np.uint16)):
        found = StoryBatches([kind(row) for row in rows], B=2, start=9).batch(1)
        assert torch.equal(found.ids, expected.ids) and torch.equal(found.targets, expected.targets)


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
        (lambda: split([1], 0.5), "of 1 tokens leaves one side empty"),
        (lambda: rolling_windows([1], 3, pad=0), "1 tokens is shorter"),
        (lambda: rolling_windows([1, 2], 0, pad=0), "T=0 must be at least 1"),
        (lambda: growing_contexts([1, 2], 0), "T=0 must be at least 1"),
        (lambda: Batches("Once there was a fox", 1, 1), r"ids are text \('Once there was a fox'\).*tokenizer\.encode"),
        (lambda: Batches(np.array([0.5, 1.5, 2.5]), 1, 1), "type float64: pass one long row of integers"),
        (lambda: Batches(torch.zeros(4, 3, dtype=torch.long), 1, 1), r"shape \[4, 3\]"),
        (lambda: Batches([1, 2, 3], 1, 1).batch(-1), "step=-1"),
        (lambda: StoryBatches([[1]], 1, start=0).batch(-1), "step=-1"),
    ],
)
def test_what_cannot_be_batched_is_refused_with_both_sides(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_file_that_cannot_be_ids_is_refused(tmp_path):
    path = tmp_path / "ids.bin"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"ids.bin has 0 bytes, which is not a whole number of uint16"):
        Batches.from_file(path, 1, 1)
    path.write_bytes(b"12345")
    with pytest.raises(ValueError, match=r"5 bytes, .* uint16 ids of 2 bytes: pass the dtype"):
        Batches.from_file(path, 1, 1)


def test_an_id_that_does_not_fit_is_refused_before_it_becomes_another_and_the_way_out_is_one(tmp_path):
    path = tmp_path / "ids.bin"
    for ids, dtype, words, out in (
        ([1, 70_000], "uint16", "70000 does not fit uint16 .from 0 to 65535.", "uint32"),
        ([-1, 2], "uint16", "-1", "int64"),
        ([-1, 2], "uint32", "-1", "int64"),
        ([1, 2**33], "uint32", "8589934592", "int64"),
        ([-5, 70_000], "int16", "-5|70000", "int64"),
    ):
        with pytest.raises(ValueError, match=rf"({words}).*write with dtype='{out}'"):
            write_tokens(path, [ids], dtype)
        write_tokens(path, [ids], out)
        assert np.fromfile(path, dtype=out).tolist() == ids


# ── Epochs, and any iterable as a source ─────────────────────────────────────────────────────────────────────────────


def all_of(batches):
    return [(ids.tolist(), targets.tolist()) for ids, targets in batches]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Batches(list(range(50)), 3, 4, seed=1),
        lambda: Batches(list(range(50)), 3, 4, order="ordered"),
        lambda: StoryBatches([[i, i + 1] for i in range(11)], B=3, start=99, seed=4),
    ],
)
def test_a_loop_over_batches_is_one_epoch_and_the_next_loop_is_the_next(make):
    batches, steps = make(), make()
    n = len(batches)
    assert isinstance(batches, BatchSource)
    assert all_of(batches) == all_of(steps.batch(step) for step in range(n))
    assert all_of(batches) == all_of(steps.batch(step) for step in range(n, 2 * n))
    assert all_of(batches.batch(step) for step in range(n)) == all_of(make())  # steps are not moved by it


def test_every_epoch_shuffles_all_documents_in_an_order_of_its_own():
    batches = StoryBatches([[i] for i in range(30)], B=4, start=99, seed=7)
    orders = [[int(i) for _, targets in batches for i in targets] for _ in range(4)]
    assert all(sorted(order) == list(range(30)) for order in orders)
    assert len({tuple(order) for order in [*orders, range(30)]}) == 5


@pytest.mark.parametrize("order", ["random", "ordered"])
def test_a_row_of_several_files_is_cut_like_one_text(order):
    numbers = np.arange(100, dtype=np.uint16)
    whole, row = (
        Batches(numbers, 4, 5, order, seed=3),
        Batches(Row(np.split(numbers, [7, 50, 51])), 4, 5, order, seed=3),
    )
    assert len(whole) == len(row) and all_of(whole) == all_of(row)
    for step in (0, 3):
        ids, targets = row.rows(step, slice(1, 3))
        assert torch.equal(ids, whole.batch(step).ids[1:3]) and torch.equal(targets, whole.batch(step).targets[1:3])


class OnlyWhatIsAsked:
    """A text that notes which ids were read."""

    def __init__(self, n):
        self.n, self.read = n, []

    def __len__(self):
        return self.n

    def __getitem__(self, wanted):
        self.read.append(wanted)
        return np.arange(self.n)[wanted]


def test_only_the_rows_that_are_wanted_are_read():
    text = OnlyWhatIsAsked(100)
    batches = Batches(text, B=6, T=5)
    text.read.clear()
    batches.rows(3, slice(2, 4))
    assert text.read == [slice(start, start + 6) for start in batches.starts(3)[2:4]]


def test_a_data_loader_is_a_source_of_batches():
    rows = torch.arange(60).view(12, 5)
    data = torch.utils.data.TensorDataset(rows[:, :-1], rows[:, 1:])
    loader = torch.utils.data.DataLoader(data, batch_size=5)
    source = as_batch_source(loader)
    assert isinstance(source, BatchSource) and len(source) == 3
    expected = all_of(loader)
    assert all_of(source.batch(step) for step in range(7)) == (3 * expected)[:7]  # goes on with the next epoch
    assert all_of([source.batch(1)]) == expected[1:2]  # an earlier step is read again
    assert all_of(source) == expected


def test_a_source_of_batches_comes_back_as_it_is():
    batches = Batches(list(range(20)), 2, 3)
    assert as_batch_source(batches) is batches


def test_what_gives_no_batches_is_refused_in_words():
    pair = (torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(TypeError, match="'int' gives no batches: pass Batches, or an iterable"):
        as_batch_source(5)
    for item, kind in (({"input_ids": pair[0]}, "dict"), (pair[0], "Tensor"), ((*pair, None), "tuple")):
        with pytest.raises(ValueError, match=rf"a batch of type {kind!r}: give pairs of tensors \(ids, targets\)"):
            as_batch_source([item]).batch(0)
    once = as_batch_source(iter([pair, pair]))
    once.batch(0), once.batch(1)
    with pytest.raises(ValueError, match="ended after 2 and cannot be read again: pass a list or a DataLoader"):
        once.batch(2)
    with pytest.raises(TypeError, match="has no length: say how many steps"):
        len(once)
