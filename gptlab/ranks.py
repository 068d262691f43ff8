"""One process or several: what a training run asks of the processes that train one model together.

torch.distributed calls each process a **rank** and their number the **world size**. A loop that is written against
`Processes` does not care how many there are: `SingleProcess` is one, `gptlab.cluster.ProcessGroup` several. Weights may
then be sharded, each rank holding a part of every tensor. `whole`, `local` and `spread` are the only places that know
about it; for a tensor that isn't sharded they give back what they got.

>>> SingleProcess().sum(3, 4)
[3, 4]
>>> whole([1.5]), local([1.5]), spread([1.5], like=[0.0])
([1.5], [1.5], [1.5])
"""

import contextlib
import functools
import os
import sys
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

Command = TypeVar("Command", bound=Callable[..., Any])


def is_one_of_several() -> bool:
    """Whether torchrun, or a scheduler that sets the same variables, has started this process beside others.

    WORLD_SIZE alone isn't enough, because some machines set it for their own purposes: without RANK nobody waits.
    """
    return os.environ.get("WORLD_SIZE", "1") not in ("", "0", "1") and "RANK" in os.environ


def leaves_at_once(command: Command) -> Command:
    """A command that ends its process with what it returns, if that is one of several; else it just returns it.

    Everything must be saved and closed by then. A rank must not shut Python down: the last tensor that it sent can
    still belong to a thread of torch.distributed, which frees it while the interpreter is going away, and that
    aborts the process of a run that went well. Leaving the group first does not help where the model holds on to it.

    Args:
        command: gives an exit code, or None for 0.
    """

    @functools.wraps(command)
    def leaving(*arguments: Any, **options: Any) -> Any:
        code = command(*arguments, **options)
        if is_one_of_several():
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                    stream.flush()
            os._exit(code or 0)
        return code

    return cast("Command", leaving)


@runtime_checkable
class Processes(Protocol):
    """The processes of a training run, as one of them sees them.

    Attributes:
        rank: the number of this process, from 0. Rank 0 writes files and prints.
        world_size: how many processes there are.
    """

    rank: int
    world_size: int

    def wrap(self, model: Any) -> Any:
        """The model to call in training: its backward pass combines the gradients of all ranks."""

    def own_rows(self, batches: Any) -> Any:
        """The batches of this rank: some rows of each. All ranks together have every row once."""

    def sum(self, *numbers: float | int) -> list[float | int]:
        """Each number, summed over the ranks."""

    def gather(self, value: Any) -> list:
        """The value of every rank, in their order."""

    def gradient_sync(self, model: Any, now: bool) -> contextlib.AbstractContextManager:
        """Inside, a backward pass combines the gradients of all ranks if `now`, else leaves that to a later one."""


class SingleProcess:
    """`Processes` for a run that has one: nothing to share, and nobody to wait for."""

    rank = 0
    world_size = 1

    def wrap(self, model: Any) -> Any:
        """The model itself."""
        return model

    def own_rows(self, batches: Any) -> Any:
        """All rows."""
        return batches

    def sum(self, *numbers: float | int) -> list[float | int]:
        """The numbers themselves."""
        return list(numbers)

    def gather(self, value: Any) -> list:
        """The one value there is."""
        return [value]

    def gradient_sync(self, model: Any, now: bool) -> contextlib.AbstractContextManager:
        """Changes nothing: gradients are complete as they are."""
        return contextlib.nullcontext()


# ── Sharded tensors ──────────────────────────────────────────────────────────────────────────────────────────────────
# Recognised by what they can do, so that a process that only opens a model need not import torch.distributed.


def whole(tensor: Any) -> Any:
    """All of a tensor, also where each rank holds a part. Then every rank must call this at the same time."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def local(tensor: Any) -> Any:
    """The part of a tensor that this rank holds; all of it unless it is sharded."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def is_sharded(tensor: Any) -> bool:
    """Whether this rank holds only a part of a tensor.

    >>> is_sharded([0.0])
    False
    """
    return hasattr(tensor, "device_mesh")


def spread(tensor: Any, like: Any) -> Any:
    """A tensor, sharded as `like` is. Every rank has all of it and keeps its own part, so nothing is sent.

    Args:
        tensor: the whole of it.
        like: a tensor of the same shape; if that isn't sharded, `tensor` comes back as it is.
    """
    if not is_sharded(like):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
