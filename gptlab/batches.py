"""From a long row of token ids to [B, T] batches of inputs and targets (lesson 04).

Two ways to cut contexts (`rolling_windows`, `growing_contexts`), then batches: `Batches` cuts one long text into blocks
of T, `StoryBatches` puts one document in each row. Both give step n's batch from n alone, so a run can be resumed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

IGNORE = -100  # a target with this id costs nothing: padding, or a prompt that is not to be learned


class Batch(NamedTuple):
    """Inputs and, shifted by one, what the model should say after each of them."""

    ids: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T"]


def rolling_windows(ids: Sequence[int], T: int, pad: int) -> tuple[Int[Tensor, "N T"], Int[Tensor, " N"]]:
    """Contexts of one fixed size, padded on the left where there is no past yet; and the token after each.

    >>> contexts, targets = rolling_windows([5, 6, 7, 8], T=2, pad=0)
    >>> contexts.tolist(), targets.tolist()
    ([[0, 5], [5, 6], [6, 7]], [6, 7, 8])
    """
    _check_length(len(ids), 1)
    padded = torch.as_tensor([pad] * (T - 1) + list(ids))
    return padded.unfold(0, T, 1)[:-1], torch.as_tensor(list(ids)[1:])


def growing_contexts(ids: Sequence[int], T: int) -> list[tuple[list[int], int]]:
    """What one block of T + 1 ids teaches a GPT: T contexts, each one token longer, and the token after each.

    >>> growing_contexts([5, 6, 7, 8], T=3)
    [([5], 6), ([5, 6], 7), ([5, 6, 7], 8)]
    """
    _check_length(len(ids), T)
    return [(list(ids[: t + 1]), int(ids[t + 1])) for t in range(T)]


def split(ids: Sequence[int], fraction: float = 0.9) -> tuple[Sequence[int], Sequence[int]]:
    """The first part to train on, the last to validate on; a text is cut once, never shuffled.

    >>> split([1, 2, 3, 4], 0.75)
    ([1, 2, 3], [4])
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction={fraction} leaves one side empty: choose a number between 0 and 1")
    cut = int(fraction * len(ids))
    return ids[:cut], ids[cut:]


class Batches:
    """[B, T] blocks of one long text of ids, each with its targets one token later.

    Args:
        ids: the whole text: a list, a tensor, or a (memory-mapped) numpy array.
        B, T: sequences in a batch, tokens in a sequence.
        order: "random" draws B starting points a step from (seed, step); "ordered" walks through the text once, block
            after block with stride T, so that every pair of neighbours is seen exactly once; its last batch is padded
            with `IGNORE` targets.

    >>> batches = Batches(list(range(100)), B=2, T=5, order="ordered")
    >>> batches.batch(0).ids.tolist()
    [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    >>> batches.batch(0).targets[0].tolist(), len(batches)
    ([1, 2, 3, 4, 5], 10)
    """

    def __init__(self, ids, B: int, T: int, order: str = "random", seed: int = 0):
        if order not in ("random", "ordered"):
            raise ValueError(f"unknown order {order!r}: choose 'random' or 'ordered'")
        if B < 1 or T < 1:
            raise ValueError(f"B={B} and T={T} must be at least 1")
        _check_length(len(ids), T if order == "random" else 1)
        self.ids = ids if isinstance(ids, np.ndarray) else np.asarray(ids)
        self.B, self.T, self.order, self.seed = B, T, order, seed

    @classmethod
    def from_file(cls, path: str | Path, B: int, T: int, dtype: str = "uint16", **options) -> "Batches":
        """Batches of a file of raw token ids, read as needed: the text may be larger than memory."""
        return cls(np.memmap(path, dtype=dtype, mode="r"), B, T, **options)

    def __len__(self) -> int:
        """Steps for one walk through the text."""
        blocks = -(-(len(self.ids) - 1) // self.T)
        return -(-blocks // self.B)

    def batch(self, step: int) -> Batch:
        """The batch of a step; the same for the same step, whatever was asked before."""
        if self.order == "random":
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
            starts = torch.randint(len(self.ids) - self.T, (self.B,), generator=generator).tolist()
        else:
            first = step % len(self) * self.B * self.T
            starts = range(first, first + self.B * self.T, self.T)
        rows = [torch.from_numpy(self.ids[s : s + self.T + 1].astype(np.int64)) for s in starts]
        rows = [row for row in rows if len(row) > 1]
        return _batch(rows, fill=0, T=self.T)


class StoryBatches:
    """One document a row, padded on the right to the longest of its batch; padding costs nothing.

    Args:
        documents: lists of ids, each with its end token; the model reads [start] + document[:-1].
        start: the id that stands before each document (the end token of the one before it).
        shuffle: draw the order of each epoch from (seed, epoch), else keep it.

    >>> batch = StoryBatches([[5, 6, 9], [7, 9]], B=2, start=9, shuffle=False).batch(0)
    >>> batch.ids.tolist(), batch.targets.tolist()
    ([[9, 5, 6], [9, 7, 0]], [[5, 6, 9], [7, 9, -100]])
    """

    def __init__(self, documents: Sequence[Sequence[int]], B: int, start: int, shuffle: bool = True, seed: int = 0):
        if not documents:
            raise ValueError("there are no documents to make batches of: pass at least one")
        if B < 1:
            raise ValueError(f"B={B} must be at least 1")
        self.documents, self.B, self.start, self.shuffle, self.seed = documents, B, start, shuffle, seed
        self._epoch, self._order = -1, range(len(documents))

    def __len__(self) -> int:
        """Steps for one walk through the documents."""
        return -(-len(self.documents) // self.B)

    def batch(self, step: int) -> Batch:
        epoch, place = divmod(step, len(self))
        if self.shuffle and epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._epoch, self._order = epoch, torch.randperm(len(self.documents), generator=generator).tolist()
        chosen = self._order[place * self.B : (place + 1) * self.B]
        return _batch([torch.as_tensor([self.start, *self.documents[i]]) for i in chosen], fill=0)


def _batch(rows: list[Tensor], fill: int, T: int | None = None) -> Batch:
    """Rows of ids, each one longer than its targets, as one padded batch."""
    T = max(len(row) for row in rows) - 1 if T is None else T
    ids = torch.full((len(rows), T), fill)
    targets = torch.full((len(rows), T), IGNORE)
    for b, row in enumerate(rows):
        ids[b, : len(row) - 1] = row[:-1]
        targets[b, : len(row) - 1] = row[1:]
    return Batch(ids, targets)


def _check_length(length: int, T: int) -> None:
    if length < T + 1:
        raise ValueError(
            f"a text of {length} tokens is shorter than one sample of T={T} and its target: "
            f"pass at least {T + 1} tokens, or choose a smaller T"
        )
