"""What training reads from: `BatchSource`, a batch for each step; and any iterable of batches made into one.

`gptlab.batches` makes sources of texts. Everything here can be had from there as well.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Int
from torch import Tensor

from gptlab.entrances import guard

IGNORE = -100  # a target with this id costs nothing: padding, or a prompt that is not to be learned


class Batch(NamedTuple):
    """Inputs and, shifted by one, the token that follows each of them."""

    ids: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T"]


@runtime_checkable
class BatchSource(Protocol):
    """A batch for every step, the same whenever it is asked for; `len(source)`, where there is one, is an epoch."""

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        ...


class Epochs:
    """For a `BatchSource`: `for ids, targets in source` is one epoch, and the next such loop is the next epoch."""

    _next_epoch = 0

    def __iter__(self) -> Iterator[Batch]:
        first = self._next_epoch * len(self)
        self._next_epoch += 1
        return (self.batch(step) for step in range(first, first + len(self)))


def as_batch_source(batches: Any) -> BatchSource:
    """A source of batches, from one or from any iterable of (ids, targets), such as a DataLoader.

    Args:
        batches: a `BatchSource`, which comes back as it is; or an iterable whose items are pairs of [B, T] tensors, the
            targets shifted by one. It is iterated again for each epoch.

    Raises:
        TypeError: for what is neither.

    >>> import torch
    >>> source = as_batch_source([(torch.tensor([[1, 2]]), torch.tensor([[2, 3]]))])
    >>> len(source), source.batch(5).ids.tolist()
    (1, [[1, 2]])
    """
    if hasattr(batches, "batch"):
        return batches
    if not isinstance(batches, Iterable):
        raise TypeError(
            f"{type(batches).__name__!r} gives no batches: pass Batches, or an iterable of (ids, targets) such as a "
            "DataLoader"
        )
    return _Iterated(batches)


class _Iterated(Epochs):
    """An iterable as a source: the next step is the next item, and where they end it is iterated again.

    An iterable cannot be asked for its item number n. So an earlier step than the last begins again from the first
    item, and a later one skips what lies between; where the iterable shuffles, these are other batches than before.
    """

    def __init__(self, iterable: Iterable):
        self.iterable, self.items, self.next_step = iterable, iter(()), 0

    def __len__(self) -> int:
        if not hasattr(self.iterable, "__len__"):
            raise TypeError(f"{type(self.iterable).__name__!r} has no length: say how many steps, or pass a list")
        return len(self.iterable)

    def batch(self, step: int) -> Batch:
        """The batch of a step, read in order.

        Raises:
            ValueError: where the iterable is used up and gives nothing the next time, or an item is not a pair.
        """
        if step < self.next_step:
            self.items, self.next_step = iter(self.iterable), 0
            step = step % len(self.iterable) if hasattr(self.iterable, "__len__") else step
        while self.next_step <= step:
            item = self._next()
            self.next_step += 1
        return _pair(item)

    def _next(self) -> Any:
        nothing = object()
        if (item := next(self.items, nothing)) is nothing:
            self.items = iter(self.iterable)
            if (item := next(self.items, nothing)) is nothing:
                raise ValueError(
                    f"the batches ended after {self.next_step} and cannot be read again: pass a list or a DataLoader, "
                    "which start again for each epoch, or fewer steps"
                )
        return item


def _pair(item: Any) -> Batch:
    if not isinstance(item, tuple | list) or len(item) != 2 or not all(isinstance(part, Tensor) for part in item):
        raise ValueError(
            f"a batch of type {type(item).__name__!r}: give pairs of tensors (ids, targets), [B, T] each, the targets "
            "shifted by one"
        )
    return Batch(*item)


guard(globals())
