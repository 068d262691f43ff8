"""Start the ranks of a run with torchrun, wait for them, and say why they failed."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from gptlab.entrances import Count, Positive, guard


@dataclass(frozen=True)
class LaunchResult:
    """How a run on several ranks went.

    Attributes:
        code: the exit code, 0 if all went well.
        seconds: how long it took.
        output: everything that the ranks printed.
        reason: why it failed; "" if it didn't.
    """

    code: int
    seconds: float
    output: str
    reason: str = ""


def launch(
    command: Sequence[str],
    world_size: Count = 2,
    time_limit: Positive = 600,
    launcher: Sequence[str] = (sys.executable, "-m", "torch.distributed.run", "--standalone"),
) -> LaunchResult:
    """Run a Python program on several ranks of this machine with torchrun, and wait for it, not longer than the limit.

    Args:
        command: what would follow `torchrun`: a file and its arguments, or "-m", a module and its arguments.
        world_size: how many ranks.
        time_limit: seconds; then the ranks are asked to end (a training run saves a checkpoint), and after half a
            minute they are killed.
        launcher: the command that starts the ranks.

    >>> launch(["-m", "gptlab", "train", "fables", "--folder", "runs/two"])  # doctest: +SKIP
    LaunchResult(code=0, seconds=..., output='...', reason='')
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        [*launcher, "--nproc-per-node", str(world_size), *command],
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
        reason = reason_in(output) or f"ended with exit code {process.returncode}"
    return LaunchResult(process.returncode, time.perf_counter() - started, output, reason)


def reason_in(output: str) -> str:
    """Which rank ended first and how, from what torchrun printed; "" if it says nothing.

    >>> reason_in("Root Cause (first observed failure):\\n  rank : 1 (local_rank: 1)\\n  exitcode  : -9 (pid: 77)")
    'rank 1 was killed (SIGKILL)'
    """
    one = r"^\s*rank\s*:\s*(\d+) \(local_rank.*?exitcode\s*:\s*(-?\d+)"  # an entry of torchrun's summary
    found = re.findall(one, output, re.DOTALL | re.MULTILINE)
    ended = [(int(rank), int(code)) for rank, code in found if int(code) != -signal.SIGTERM]  # torchrun's own SIGTERM
    killed = [entry for entry in ended if entry[1] == -signal.SIGKILL]
    if not ended:
        return ""
    rank, code = (killed or ended[-1:])[0]  # the ranks that lost it fail later; torchrun names its "root cause" last
    return (
        f"rank {rank} was killed ({signal.Signals(-code).name})"
        if code < 0
        else f"rank {rank} failed (exit code {code})"
    )


guard(globals())
