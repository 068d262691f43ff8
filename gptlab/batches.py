"""From a long row of token ids to [B, T] batches of inputs and targets (notebook `batches`).

Two ways to cut contexts (`rolling_windows`, `growing_contexts`), then batches: `Batches` cuts one long text into blocks
of T, `StoryBatches` puts one document in each row. Both give step n's batch from n alone, so a run can be resumed, and
`for ids, targets in batches` is one epoch. A text that is larger than memory stays on disk: `write_tokens` makes the
file, `Batches.from_file` reads what it needs.
"""

from collections.abc import Iterable, Sequence, Sized
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from gptlab.batch_source import IGNORE, Batch, BatchSource, Epochs, as_batch_source
from gptlab.entrances import Whole, guard

__all__ = [
    "IGNORE", "Batch", "BatchSource", "Batches", "Ids", "StoryBatches", "as_batch_source", "growing_contexts",
    "rolling_windows", "split", "write_tokens",
]  # fmt: skip

Ids = Sequence[int] | np.ndarray | Tensor  # one row of token ids
IdType = Literal["uint8", "uint16", "uint32", "uint64", "int16", "int32", "int64"]  # in a file


def rolling_windows(ids: Ids, T: int, pad: Whole) -> tuple[Int[Tensor, "N T"], Int[Tensor, " N"]]:
    """Contexts of one fixed size, padded on the left where there is no past yet; and the token after each.

    Args:
        ids: at least two.
        T: tokens in a context.
        pad: the id to pad with.

    Raises:
        ValueError: for T below 1, or fewer than two ids.

    >>> contexts, targets = rolling_windows([5, 6, 7, 8], T=2, pad=0)
    >>> contexts.tolist(), targets.tolist()
    ([[0, 5], [5, 6], [6, 7]], [6, 7, 8])
    """
    _check_sizes(T=T)
    _check_length(len(ids), 1)
    row = torch.from_numpy(np.asarray(ids).astype(np.int64))
    padded = torch.cat([torch.full((T - 1,), pad), row])  # [T + N], for N pairs of neighbours
    return padded.unfold(0, T, 1)[:-1], row[1:]  # [N, T], a view: every id is stored once; [N]


def growing_contexts(ids: Ids, T: int) -> list[tuple[list[int], int]]:
    """What one block of T + 1 ids teaches a GPT: T contexts, each one token longer, and the token after each.

    Args:
        ids: at least T + 1.
        T: contexts.

    Raises:
        ValueError: for T below 1, or too few ids.

    >>> growing_contexts([5, 6, 7, 8], T=3)
    [([5], 6), ([5, 6], 7), ([5, 6, 7], 8)]
    """
    _check_sizes(T=T)
    _check_length(len(ids), T)
    ids = [int(i) for i in ids[: T + 1]]
    return [(ids[: t + 1], ids[t + 1]) for t in range(T)]


def split(ids: Ids, fraction: float = 0.9) -> tuple[Ids, Ids]:
    """The first part to train on, the last to validate on; a text is cut once, never shuffled.

    Args:
        ids: the whole text.
        fraction: of it, to train on.

    Raises:
        ValueError: if one side would be empty; its mean loss would be NaN.

    >>> split([1, 2, 3, 4], 0.75)
    ([1, 2, 3], [4])
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction={fraction} leaves one side empty: choose a number between 0 and 1")
    cut = int(fraction * len(ids))
    if not 0 < cut < len(ids):
        raise ValueError(
            f"fraction={fraction} of {len(ids)} tokens leaves one side empty: pass a longer text, or another fraction"
        )
    return ids[:cut], ids[cut:]


class Batches(Epochs):
    """[B, T] blocks of one long text of ids, each with its targets one token later.

    Args:
        ids: the whole text: a list, a tensor, a (memory-mapped) array, or anything that has a length and gives arrays
            for slices.
        B: sequences in a batch.
        T: tokens in a sequence.
        order: "random" draws B starting points per step from (seed, step); "ordered" goes through the text once, block
            after block with stride T, so that every pair of neighbours is seen exactly once; its last batch is padded
            with `IGNORE` targets.
        seed: of the random starting points.

    Raises:
        ValueError: for a text that is too short, or is no row of integers; for sizes below 1 or another order.

    >>> batches = Batches(list(range(100)), B=2, T=5, order="ordered")
    >>> batches.batch(0).ids.tolist()
    [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    >>> batches.batch(0).targets[0].tolist(), len(batches)
    ([1, 2, 3, 4, 5], 10)
    >>> sum(ids.numel() for ids, targets in batches)
    100
    """

    def __init__(self, ids: Ids | Sized, B: int, T: int, order: str = "random", seed: int = 0):
        if order not in ("random", "ordered"):
            raise ValueError(f"unknown order {order!r}: choose 'random' or 'ordered'")
        _check_sizes(B=B, T=T)
        if isinstance(ids, str | bytes):
            raise ValueError(f"ids are text ({ids[:20]!r}), not numbers: pass tokenizer.encode(text)")
        _check_length(len(ids), T if order == "random" else 1)
        self.ids = np.asarray(ids) if isinstance(ids, Sequence | Tensor) else ids
        some = np.asarray(self.ids[:2])
        if some.ndim != 1 or some.dtype.kind not in "iu":
            raise ValueError(
                f"ids of shape {[len(ids), *some.shape[1:]]} and type {some.dtype}: pass one long row of integers"
            )
        self.B, self.T, self.order, self.seed = B, T, order, seed

    @classmethod
    def from_file(cls, path: str | Path, B: int, T: int, dtype: IdType = "uint16", **options: Any) -> "Batches":
        """Batches of a file of raw token ids, read as needed: the text may be larger than memory.

        Args:
            path: of a file that `write_tokens` made.
            B: sequences in a batch.
            T: tokens in a sequence.
            dtype: what `write_tokens` was given: the file holds bare numbers and cannot tell.
            options: `order` and `seed`, as for `Batches`.

        Raises:
            ValueError: for a file that cannot hold such ids.
        """
        size, each = Path(path).stat().st_size, np.dtype(dtype).itemsize
        if size == 0 or size % each:
            raise ValueError(
                f"{Path(path).name} has {size} bytes, which is not a whole number of {dtype} ids of {each} bytes: "
                "pass the dtype that it was written with, or write it again"
            )
        return cls(np.memmap(path, dtype=dtype, mode="r"), B, T, **options)

    def __len__(self) -> int:
        """Steps in one epoch."""
        blocks = -(-(len(self.ids) - 1) // self.T)
        return -(-blocks // self.B)

    def starts(self, step: int) -> list[int]:
        """Where in the text each row of a batch begins."""
        _check_step(step)
        if self.order == "random":
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
            return torch.randint(len(self.ids) - self.T, (self.B,), generator=generator).tolist()
        first = step % len(self) * self.B * self.T
        return list(range(first, min(first + self.B * self.T, len(self.ids) - 1), self.T))

    def batch(self, step: int) -> Batch:
        """The batch of a step; the same for the same step, whatever was read before."""
        return self.rows(step, slice(None))

    def rows(self, step: int, wanted: slice) -> Batch:
        """Some rows of the batch of a step; the others are not read."""
        starts = self.starts(step)[wanted]
        rows = [torch.from_numpy(np.asarray(self.ids[s : s + self.T + 1]).astype(np.int64)) for s in starts]
        return _batch(rows, fill=0, T=self.T)


class StoryBatches(Epochs):
    """One document per row, padded on the right to the longest of its batch; padding costs nothing.

    Args:
        documents: rows of ids, each with its end token; the model reads [start] + document[:-1].
        B: documents in a batch.
        start: the id that stands before each document (the end token of the one before it).
        shuffle: whether to draw the order of each epoch from (seed, epoch).
        seed: of the orders.
        T: pad all batches to so many tokens, where each should have one shape; a document may not be longer.

    Raises:
        ValueError: for no documents, for B or T below 1, or for a document that is longer than T.

    >>> batch = StoryBatches([[5, 6, 9], [7, 9]], B=2, start=9, shuffle=False).batch(0)
    >>> batch.ids.tolist(), batch.targets.tolist()
    ([[9, 5, 6], [9, 7, 0]], [[5, 6, 9], [7, 9, -100]])
    """

    def __init__(
        self, documents: Sequence[Ids], B: int, start: int, shuffle: bool = True, seed: int = 0, T: int | None = None
    ):
        if not documents:
            raise ValueError("there are no documents to make batches of: pass at least one")
        _check_sizes(B=B, **({} if T is None else {"T": T}))
        if T is not None and (longest := max(map(len, documents))) > T:
            raise ValueError(f"the longest document has {longest} tokens, and T={T}: pass a T of at least {longest}")
        self.T = T
        self.documents, self.B, self.start, self.shuffle, self.seed = documents, B, start, shuffle, seed
        self._epoch, self._order = -1, range(len(documents))

    def __len__(self) -> int:
        """Steps in one epoch."""
        return -(-len(self.documents) // self.B)

    def batch(self, step: int) -> Batch:
        """The batch of a step; the same for the same step, whatever was read before."""
        _check_step(step)
        epoch, position = divmod(step, len(self))
        if self.shuffle and epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._epoch, self._order = epoch, torch.randperm(len(self.documents), generator=generator).tolist()
        chosen = self._order[position * self.B : (position + 1) * self.B]
        rows = [np.array([self.start, *self.documents[i]], dtype=np.int64) for i in chosen]
        return _batch([torch.from_numpy(row) for row in rows], fill=0, T=self.T)


def write_tokens(path: str | Path, pieces: Iterable[Ids], dtype: IdType = "uint16") -> int:
    """Write rows of ids one after the other into a file for `Batches.from_file`; how many there are.

    Only one piece at a time is in memory.

    Args:
        path: of the file.
        pieces: rows of ids.
        dtype: of the file; uint16 takes two bytes per id, and holds ids below 65,536.

    Raises:
        ValueError: for an id that `dtype` cannot hold; it would silently be stored as another id.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     count = write_tokens(Path(folder, "ids.bin"), [[5, 6], [7, 8, 9]])
    ...     batch = Batches.from_file(Path(folder, "ids.bin"), B=1, T=4, order="ordered").batch(0)
    >>> count, batch.ids.tolist(), batch.targets.tolist()
    (5, [[5, 6, 7, 8]], [[6, 7, 8, 9]])
    """
    count, low, high = 0, np.iinfo(dtype).min, np.iinfo(dtype).max
    with open(path, "wb") as file:
        for piece in pieces:
            ids = np.asarray(piece, dtype=np.int64)
            if len(ids) and (ids.min() < low or ids.max() > high):
                worst = int(ids.min() if ids.min() < low else ids.max())
                fits = next(
                    d for d in ("uint32", "int64") if np.iinfo(d).min <= ids.min() <= ids.max() <= np.iinfo(d).max
                )
                raise ValueError(f"id {worst} does not fit {dtype} (from {low} to {high}): write with dtype={fits!r}")
            file.write(ids.astype(dtype).tobytes())
            count += len(ids)
    return count


def _batch(rows: list[Tensor], fill: int, T: int | None = None) -> Batch:
    """Rows of ids, each one longer than its targets, as one padded batch."""
    T = max(len(row) for row in rows) - 1 if T is None else T
    ids = torch.full((len(rows), T), fill)
    targets = torch.full((len(rows), T), IGNORE)
    for b, row in enumerate(rows):
        ids[b, : len(row) - 1] = row[:-1]
        targets[b, : len(row) - 1] = row[1:]
    return Batch(ids, targets)


def _check_sizes(**sizes: int) -> None:
    if any(size < 1 for size in sizes.values()):
        listed = " and ".join(f"{letter}={size}" for letter, size in sizes.items())
        raise ValueError(f"{listed} must be at least 1")


def _check_step(step: int) -> None:
    if step < 0:
        raise ValueError(f"step={step}: steps are counted from 0")


def _check_length(length: int, T: int) -> None:
    if length < T + 1:
        raise ValueError(
            f"a text of {length} tokens is shorter than one sample of T={T} and its target: "
            f"pass at least {T + 1} tokens, or choose a smaller T"
        )


guard(globals())
