"""One training run on several processes (ranks), each with its own device and its own rows of every batch.

Two ways to share the work, on top of torch.distributed:

- **data parallel** (DDP): every rank has the whole model; after each batch they sum their gradients.
- **sharded** (FSDP2, `fully_shard`): every rank holds a part of each weight, gradient and average, and fetches the
  weights of a block when it comes to it (Rajbhandari et al. 2020, stage 3). For models whose training does not fit one
  GPU: the weights alone must, in float32, because every rank starts with all of them; gradients, averages and
  activations need not.

A batch means the same on any number of ranks: its rows are distributed, its loss is the sum over all its tokens divided
by their number, and its checkpoint holds whole tensors. So a run can be stopped on two ranks and resumed on one.

`torchrun` starts the ranks; `python -m gptlab train` sees that it is one of several (RANK, WORLD_SIZE) and joins.

On one machine, two processes on the CPU, or one for each GPU (`--parallel sharded` for FSDP2)::

    torchrun --standalone --nproc-per-node 2 -m gptlab train fables --folder runs/two
    torchrun --standalone --nproc-per-node gpu -m gptlab train nanogpt-gpu --folder runs/eight

On two hosts without a scheduler, the same line on each; the folder is on a disk that both see::

    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint host1:29500 --rdzv-id fables \\
        -m gptlab train nanogpt-gpu --folder /shared/runs/sixteen --resume

With Slurm, a file for `sbatch`. The time limit's SIGTERM comes 90 seconds early and the run saves a checkpoint; submit
the same file again to go on. `--requeue` is for a node that fails. `--resume` starts from the beginning only where
there is no checkpoint::

    #!/bin/bash
    #SBATCH --nodes=2 --ntasks-per-node=1 --gpus-per-node=8 --cpus-per-task=32 --time=04:00:00
    #SBATCH --signal=TERM@90 --requeue
    first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node 8 --rdzv-id "$SLURM_JOB_ID" \\
        --rdzv-backend c10d --rdzv-endpoint "$first:29500" \\
        -m gptlab train nanogpt-gpu --folder /shared/runs/sixteen --resume

From a notebook, never start ranks inside the kernel: `gptlab.cluster.launch` starts `torchrun` beside it.
"""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from gptlab.batches import IGNORE, Batch
from gptlab.entrances import guard


class RowsOfRank:
    """The rows of each batch that belong to one rank; batches that can be read by row are not read further.

    All ranks get the same number of rows. One that would have fewer gets rows in which no target counts.

    Args:
        batches: with `batch(step)`, and possibly `rows` and `starts`, as `Batches` has them.
        rank: which rank's.
        world_size: how many ranks there are.

    >>> from gptlab.batches import Batches
    >>> whole = Batches(list(range(60)), B=3, T=4, order="ordered")
    >>> [RowsOfRank(whole, rank, world_size=2).batch(0).targets.tolist() for rank in range(2)]
    [[[1, 2, 3, 4], [5, 6, 7, 8]], [[9, 10, 11, 12], [-100, -100, -100, -100]]]
    """

    def __init__(self, batches: Any, rank: int, world_size: int):
        self.batches, self.rank, self.world_size = batches, rank, world_size

    def __len__(self) -> int:
        return len(self.batches)

    def batch(self, step: int) -> tuple[torch.Tensor, ...]:
        """This rank's rows of the batch of a step."""
        if hasattr(self.batches, "rows"):
            count, own = self._own(len(self.batches.starts(step)))
            ids, targets = self.batches.rows(step, own)
        else:
            whole = self.batches.batch(step)
            count, own = self._own(len(whole[0]))
            if len(whole) > 2:  # rollouts or pairs: rows that are more than ids and targets cannot be padded
                return self._fields(whole, own)
            ids, targets = (tensor[own] for tensor in whole)
        missing, T = count - len(ids), ids.shape[1]
        return Batch(
            torch.cat([ids, ids.new_zeros((missing, T))]), torch.cat([targets, targets.new_full((missing, T), IGNORE)])
        )

    def _fields(self, whole: Any, own: slice) -> Any:
        """The own rows of a batch with any fields, such as rollouts."""
        if len(whole[0]) % self.world_size:
            raise ValueError(
                f"{len(whole[0])} rows cannot be divided among {self.world_size} processes: choose a batch_size that "
                f"{self.world_size} divides"
            )
        return type(whole)(*(tensor[own] for tensor in whole))

    def _own(self, rows: int) -> tuple[int, slice]:
        """How many of so many rows each rank gets, and which are this one's."""
        count = -(-rows // self.world_size)
        return count, slice(self.rank * count, (self.rank + 1) * count)


class ProcessGroup:
    """The ranks of a run, as one of them sees them: `gptlab.ranks.Processes` for several. Made by `join`.

    Args:
        device: of this rank.
        sharded: whether the weights are sharded (FSDP2) or copied (DDP).
    """

    def __init__(self, device: torch.device, sharded: bool = False):
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        self.device, self.sharded = device, sharded

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model in DDP, or sharded in place by FSDP2."""
        if not self.sharded:
            on_gpu = self.device.type == "cuda"
            return nn.parallel.DistributedDataParallel(model, device_ids=[self.device] if on_gpu else None)
        for parameter in model.parameters():
            dist.broadcast(parameter.data, src=0)  # every rank takes its part of the same weights
        mesh = init_device_mesh(self.device.type, (self.world_size,))
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        return fully_shard(model, mesh=mesh)

    def own_rows(self, batches: Any) -> RowsOfRank:
        """The rows of this rank."""
        return RowsOfRank(batches, self.rank, self.world_size)

    def sum(self, *numbers: float | int) -> list[float | int]:
        """Each number, summed over the ranks, as float64."""
        row = torch.tensor(numbers, dtype=torch.float64, device=self.device if self.device.type == "cuda" else "cpu")
        dist.all_reduce(row)
        return row.tolist()

    def gather(self, value: Any) -> list:
        """The value of every rank, in their order."""
        values = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def gradient_sync(self, model: nn.Module, now: bool) -> contextlib.AbstractContextManager:
        """Inside, a backward pass combines the gradients of all ranks if `now`, else leaves that to a later one."""
        if self.sharded:
            model.set_requires_gradient_sync(now)
            return contextlib.nullcontext()
        return contextlib.nullcontext() if now else model.no_sync()


class RankLost(ConnectionError):
    """Another rank of the run has ended, so this one cannot continue."""


def own_device() -> str | None:
    """The GPU of this rank, one for each rank of a host; None where there is none.

    Raises:
        ValueError: more ranks than GPUs.
    """
    if not torch.cuda.is_available():
        return None
    local, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= there:
        raise ValueError(
            f"this host has {there} GPUs and torchrun started {local + 1} ranks or more on it: "
            f"use --nproc-per-node {there}, or --device cpu"
        )
    torch.cuda.set_device(local)
    return f"cuda:{local}"


def _check_rank(rank: str, world_size: str) -> None:
    """Check that a rank is one of its world: the others would wait ten minutes for one that is not.

    Raises:
        RankLost: it isn't, with both numbers.
    """
    if not rank and not world_size:
        return  # torchrun sets both; without it, torch says what is missing
    if not (rank.isdecimal() and world_size.isdecimal() and int(rank) < int(world_size)):
        raise RankLost(
            f"RANK={rank} and WORLD_SIZE={world_size} do not fit: ranks count from 0 to one below the world "
            "size, and torchrun sets both"
        )


@contextlib.contextmanager
def join(device: torch.device | str, sharded: bool = False, patience: float | int = 600) -> Iterator[ProcessGroup]:
    """Join the other ranks; inside, the `ProcessGroup` is what `training.run` takes as `processes`.

    Args:
        device: of this rank.
        sharded: whether the weights are sharded (FSDP2) or copied (DDP).
        patience: seconds to wait for a rank that lives but does not answer. One that has died is noticed at once.

    Raises:
        RankLost: another rank has ended, or the ranks do not find each other.
    """
    device = torch.device(device)
    on_gpu = device.type == "cuda"
    _check_rank(os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", ""))
    try:
        dist.init_process_group(
            "nccl" if on_gpu else "gloo", timeout=timedelta(seconds=patience), device_id=device if on_gpu else None
        )
    except (RuntimeError, ValueError) as error:  # torch has several for this: the network's, a name that is missing
        rank, size, host, port = (os.environ.get(n, "?") for n in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))
        raise RankLost(
            f"rank {rank} of {size} could not join the others at {host}:{port} ({str(error).splitlines()[0]}): start "
            "all ranks with torchrun, and take another port if this one is in use"
        ) from error
    try:
        yield ProcessGroup(device, sharded)
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or re.search("gloo|nccl|connection", str(error), re.IGNORECASE)):
            raise
        first = str(error).splitlines()[0]
        raise RankLost(f"rank {dist.get_rank()} lost another rank, which has died or hangs ({first})") from error
    finally:
        if not (on_gpu and sys.exc_info()[0]):  # on GPUs it would wait for the lost rank
            dist.destroy_process_group()


guard(globals())
