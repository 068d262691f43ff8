"""One training run on several processes (ranks), each with its own device and its own part of every batch.

Two ways to share the work, on the engine torch.distributed:

- **data parallel** (DDP): every rank has the whole model; after each batch they add up their gradients.
- **sharded** (FSDP2, `fully_shard`): every rank keeps a part of each weight, gradient and average, and fetches the
  weights of a block when it comes to it (Rajbhandari et al. 2020, stage 3). For models whose training does not fit one
  GPU: the weights alone must, in float32, for every rank begins with all of them; gradients, averages and activations
  need not.

A batch means the same on any number of ranks: its rows are dealt out, its loss is the sum over all its tokens divided
by their number, and its checkpoint holds whole tensors. So a run can be stopped on two ranks and resumed on one.

`torchrun` starts the ranks; `python -m gptlab train` sees that it is one of several (RANK, WORLD_SIZE) and joins.

On one machine, two processes on the CPU, or one for each GPU (`--parallel sharded` for FSDP2)::

    torchrun --standalone --nproc-per-node 2 -m gptlab train fables --folder runs/two
    torchrun --standalone --nproc-per-node gpu -m gptlab train nanogpt-gpu --folder runs/eight

On two hosts without a scheduler, the same line on each; the folder lies on a disk that both see::

    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint host1:29500 --rdzv-id fables \\
        -m gptlab train nanogpt-gpu --folder /shared/runs/sixteen --resume

With Slurm, a file for `sbatch`. The time limit's SIGTERM comes 90 seconds early, the run keeps a checkpoint, and the
job is put back into the queue; `--resume` begins anew only where there is nothing to go on from::

    #!/bin/bash
    #SBATCH --nodes=2 --ntasks-per-node=1 --gpus-per-node=8 --cpus-per-task=32 --time=04:00:00
    #SBATCH --signal=TERM@90 --requeue
    first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node 8 --rdzv-id "$SLURM_JOB_ID" \\
        --rdzv-backend c10d --rdzv-endpoint "$first:29500" \\
        -m gptlab train nanogpt-gpu --folder /shared/runs/"$SLURM_JOB_ID" --resume

From a notebook never start ranks inside the kernel: `launch` starts `torchrun` beside it, with a time limit.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from gptlab.batches import IGNORE, Batch
from gptlab.training import SingleProcess


class Part:
    """The rows of each batch that belong to one rank; the others are not read, where the batches can spare that.

    All ranks get the same number of rows. One that would have fewer gets a row more, of which nothing counts.

    >>> from gptlab.batches import Batches
    >>> whole = Batches(list(range(60)), B=3, T=4, order="ordered")
    >>> [Part(whole, rank, world_size=2).batch(0).targets.tolist() for rank in range(2)]
    [[[1, 2, 3, 4], [5, 6, 7, 8]], [[9, 10, 11, 12], [-100, -100, -100, -100]]]
    """

    def __init__(self, batches: Any, rank: int, world_size: int):
        self.batches, self.rank, self.world_size = batches, rank, world_size

    def __len__(self) -> int:
        return len(self.batches)

    def batch(self, step: int) -> Batch:
        """This rank's rows of the batch of a step."""
        if hasattr(self.batches, "rows"):
            share, own = self._own(len(self.batches.starts(step)))
            ids, targets = self.batches.rows(step, own)
        else:
            ids, targets = self.batches.batch(step)
            share, own = self._own(len(ids))
            ids, targets = ids[own], targets[own]
        missing, T = share - len(ids), ids.shape[1]
        return Batch(
            torch.cat([ids, ids.new_zeros((missing, T))]), torch.cat([targets, targets.new_full((missing, T), IGNORE)])
        )

    def _own(self, rows: int) -> tuple[int, slice]:
        """How many of so many rows each rank gets, and which are this one's."""
        share = -(-rows // self.world_size)
        return share, slice(self.rank * share, (self.rank + 1) * share)


class ProcessGroup(SingleProcess):
    """The ranks of a run, as one of them sees them; made by `join`.

    Args:
        device: of this rank.  sharded: spread the weights (FSDP2), else copy them (DDP).
    """

    def __init__(self, device: torch.device, sharded: bool = False):
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        self.device, self.sharded = device, sharded

    def wrap(self, model: nn.Module) -> nn.Module:
        if not self.sharded:
            on_gpu = self.device.type == "cuda"
            return nn.parallel.DistributedDataParallel(model, device_ids=[self.device] if on_gpu else None)
        for parameter in model.parameters():
            dist.broadcast(parameter.data, src=0)  # every rank cuts its part out of the same weights
        mesh = init_device_mesh(self.device.type, (self.world_size,))
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        return fully_shard(model, mesh=mesh)

    def part(self, batches: Any) -> Part:
        return Part(batches, self.rank, self.world_size)

    def sum(self, *numbers: float | int) -> list[float | int]:
        place = self.device if self.device.type == "cuda" else "cpu"
        row = torch.tensor(numbers, dtype=torch.float64, device=place)
        dist.all_reduce(row)
        return row.tolist()

    def gather(self, value: Any) -> list:
        values = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def sharing(self, model: nn.Module, now: bool) -> contextlib.AbstractContextManager:
        if self.sharded:
            model.set_requires_gradient_sync(now)
            return contextlib.nullcontext()
        return contextlib.nullcontext() if now else model.no_sync()


class RankLost(ConnectionError):
    """Another rank of the run has ended, so this one cannot go on."""


def is_one_of_several() -> bool:
    """Whether torchrun (or a scheduler that sets the same variables) has started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


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


@contextlib.contextmanager
def join(device: torch.device | str, sharded: bool = False, patience: float | int = 600) -> Iterator[ProcessGroup]:
    """Join the other ranks; inside, `ProcessGroup` is what `training.run` wants as `processes`.

    Args:
        patience: seconds to wait for a rank that lives but does not answer. One that has died is noticed at once.

    Raises:
        RankLost: another rank has ended.
    """
    device = torch.device(device)
    on_gpu = device.type == "cuda"
    dist.init_process_group(
        "nccl" if on_gpu else "gloo", timeout=timedelta(seconds=patience), device_id=device if on_gpu else None
    )
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


@dataclass(frozen=True)
class LaunchResult:
    """How a run on several ranks went: its exit code, its seconds, what it printed, and why it failed ("" if well)."""

    code: int
    seconds: float
    output: str
    reason: str = ""


def launch(
    command: Sequence[str],
    world_size: int = 2,
    time_limit: float | int = 600,
    engine: Sequence[str] = (sys.executable, "-m", "torch.distributed.run", "--standalone"),
) -> LaunchResult:
    """Run a Python program on several ranks of this machine with torchrun, and wait for it, not longer than the limit.

    Args:
        command: what would follow `torchrun`: a file and its arguments, or "-m", a module and its arguments.
        time_limit: seconds; then the ranks are asked to end (a training run keeps a checkpoint), and after half a
            minute made to.
        engine: what starts the ranks.

    >>> launch(["-m", "gptlab", "train", "fables", "--folder", "runs/two"])  # doctest: +SKIP
    LaunchResult(code=0, seconds=..., output='...', reason='')
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        [*engine, "--nproc-per-node", str(world_size), *command],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
        env={"OMP_NUM_THREADS": "1", **os.environ},
    )  # fmt: skip
    reason = ""
    try:
        output, _ = process.communicate(timeout=time_limit)
    except subprocess.TimeoutExpired:
        reason = f"stopped after the time limit of {time_limit:g} s"
        process.send_signal(signal.SIGTERM)  # torchrun passes it on, and kills what is left after 30 s
        try:
            output, _ = process.communicate(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
    except BaseException:  # the notebook's stop button
        process.send_signal(signal.SIGTERM)
        raise
    if process.returncode and not reason:
        reason = why(output) or f"ended with exit code {process.returncode}"
    return LaunchResult(process.returncode, time.perf_counter() - began, output, reason)


def why(output: str) -> str:
    """Which rank ended first and how, from what torchrun printed; "" if it says nothing.

    >>> why("Root Cause (first observed failure):\\n  rank : 1 (local_rank: 1)\\n  exitcode  : -9 (pid: 77)")
    'rank 1 was killed (SIGKILL)'
    """
    found = re.findall(r"rank\s*:\s*(\d+)[^:]*:.*?exitcode\s*:\s*(-?\d+)", output, re.DOTALL)
    ended = [(int(rank), int(code)) for rank, code in found if int(code) != -signal.SIGTERM]  # torchrun's own SIGTERM
    killed = [entry for entry in ended if entry[1] == -signal.SIGKILL]
    if not ended:
        return ""
    rank, code = (killed or ended[-1:])[0]  # what lost it fails afterwards; torchrun names its "root cause" last
    return (
        f"rank {rank} was killed ({signal.Signals(-code).name})"
        if code < 0
        else f"rank {rank} failed (exit code {code})"
    )
