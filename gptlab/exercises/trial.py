"""A trial run in a forked copy of the process, so that an answer that would take the kernel down takes down the copy.

A thread (`limits.limited`) can be stopped between two steps of Python. It cannot be stopped inside one step that never
ends and never lets another thread run (`sum(itertools.count())`, a regular expression that backtracks for years), and
nothing stops a crash (`sys.setrecursionlimit(10**6)` and a recursion through C, `os._exit`). On Linux a copy of the
process therefore runs the answer first. Only what endangers the kernel is decided there; whether the answer is right is
decided by running it here, since results are not sent between processes.

There is no trial on macOS, where forked processes with system libraries crash by themselves, nor on Windows, which has
no fork: such answers freeze or end the kernel there, and restarting it is the way out.
"""

import contextlib
import faulthandler
import os
import pickle
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from gptlab.exercises import limits

AVAILABLE = sys.platform == "linux" and hasattr(os, "fork")
_GRACE = 3.0  # seconds after the time limit in which the copy must report
_LOOKS = 5  # at what the copy does, when it has not reported


def trial(
    work: Callable[[], Any], seconds: int | float
) -> tuple[Literal["reported", "frozen", "crashed", "unknown"], Any]:
    """Run `work` in a copy of this process.

    Args:
        work: returns what can be pickled; it must keep the time limit by itself as long as it can be interrupted.
        seconds: its time limit.

    Returns:
        ("reported", what it returned), ("frozen", None) if it computes on and cannot be interrupted, ("crashed", the
        signal or the exit code in words), or ("unknown", None) where nothing can be said and none of it is likely.

    Raises:
        Interrupted: the reader has pressed the stop button.

    >>> trial(lambda: 6 * 7, seconds=5) if AVAILABLE else ("reported", 42)
    ('reported', 42)
    """
    if not AVAILABLE:
        return "unknown", None
    reading, writing = os.pipe()
    try:
        child = os.fork()
    except OSError:  # no memory or no processes left
        os.close(reading), os.close(writing)
        return "unknown", None
    if child == 0:
        _in_the_copy(work, writing)
    os.close(writing)
    try:
        report = _received(reading, time.monotonic() + seconds + _GRACE)
    except KeyboardInterrupt:
        raise limits.Interrupted from None
    else:
        busy = report is None and _computes(child)
    finally:
        os.close(reading)
        if _running(child):
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    if report is None:
        return ("frozen" if busy else "unknown"), None
    if report:
        with contextlib.suppress(Exception):
            return "reported", pickle.loads(report)
        return "unknown", None
    if os.WIFSIGNALED(status):
        return "crashed", f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    return "crashed", f"exit code {os.WEXITSTATUS(status)}"


def _in_the_copy(work: Callable[[], Any], writing: int) -> None:
    """Run the work, send its result, and end without any of the cleaning up that belongs to the original."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the stop button is for the original, which ends this copy
        faulthandler.disable()  # it would describe a crash in the terminal of the notebook
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1), os.dup2(silence, 2)
        torch = sys.modules.get("torch")
        if hasattr(torch, "set_num_threads"):
            torch.set_num_threads(1)  # the copy has no threads, and would wait for them
        _no_core_dump()
        report = pickle.dumps(work())
        while report:
            report = report[os.write(writing, report) :]
    except BaseException:
        os.write(writing, b"!")  # a report that cannot be read: nothing is known
    os._exit(0)


def _no_core_dump() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _received(reading: int, until: float) -> bytes | None:
    """All that the copy sends, b"" if it ended without; None if it is still at it."""
    parts = []
    while (left := until - time.monotonic()) > 0:
        if not select.select([reading], [], [], min(left, 0.1))[0]:
            continue
        part = os.read(reading, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)
    return None


def _computes(child: int) -> bool:
    """Whether a child that does not report computes; if not, it waits, perhaps for a thread that was not copied."""
    looks = 0
    for _ in range(_LOOKS):
        states = []
        for stat in Path(f"/proc/{child}/task").glob("*/stat"):
            with contextlib.suppress(OSError):
                states.append(stat.read_text().rpartition(")")[2].split()[0])
        looks += "R" in states
        time.sleep(0.05)
    return looks > _LOOKS / 2


def _running(child: int) -> bool:
    """Whether a child still runs; it is not reaped."""
    with contextlib.suppress(ChildProcessError):
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    return False
