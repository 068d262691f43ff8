"""Run somebody's code so that it does no harm: with a time limit, silenced, and with the random numbers put back.

What a thread cannot do: code inside one step that never ends and holds Python's lock (`sum(itertools.count())`, a
pattern that backtracks for years, `10**10**10`) stops every thread of the process, the one with the time limit
included, and a crash ends the process. Against those a check makes a trial run first, see `trial`, which exists on
Linux only: on macOS and Windows such code freezes or ends the kernel. The recursion limit is bounded everywhere, so
that only code that got hold of `sys.setrecursionlimit` before the check can overflow the stack.
"""

import builtins
import contextlib
import ctypes
import io
import random
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal

_PATIENCE = 1.0  # seconds in which a thread that is told to stop should do so
_STACK = 64 << 20  # bytes: deep recursion must end in a RecursionError, not in a dead kernel
_DEEPEST = 8_000  # calls: through `sorted(key=...)` one takes up to 5 kB of the stack, also on Windows


class Stop(BaseException):
    """Raised inside code that has run too long."""


class Interrupted(Exception):
    """The reader has pressed the stop button during a check."""


def limited(work: Callable[[], Any], seconds: int | float) -> tuple[Literal["done", "raised", "late"], Any]:
    """Do `work` in a thread: ("done", its result), ("raised", what it raised), or ("late", None) after the time limit.

    A thread can be stopped on every system, also from a notebook, where signals belong to the kernel. Code that waits
    without holding Python's lock (`time.sleep(1000)`) or that catches everything is left behind and ends with the
    kernel. Code that holds the lock cannot even be timed: see above.

    Args:
        work: what to do.
        seconds: how long it may take.

    >>> limited(lambda: 6 * 7, seconds=5)
    ('done', 42)
    """
    result: list[tuple[Any, Any]] = []

    def body():
        with contextlib.suppress(Stop):  # one that arrives while another is being handled
            try:
                result.append(("done", work()))
            except Stop:
                pass
            except BaseException as error:
                result.append(("raised", error))

    thread = _start(body)
    try:
        _wait(thread, seconds)
    except KeyboardInterrupt:
        _stop(thread)
        raise Interrupted from None
    if thread.is_alive():
        _stop(thread)
    return result[0] if result else ("late", None)


def _start(body: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=body, daemon=True, name="gptlab-check")
    before = threading.stack_size()
    with contextlib.suppress(ValueError, RuntimeError):
        threading.stack_size(_STACK)
    try:
        thread.start()
    finally:
        with contextlib.suppress(ValueError, RuntimeError):
            threading.stack_size(before)
    return thread


def _wait(thread: threading.Thread, seconds: int | float) -> None:
    until = time.monotonic() + seconds
    while thread.is_alive() and time.monotonic() < until:
        thread.join(max(0.0, min(0.1, until - time.monotonic())))  # short waits, so that the stop button is noticed


def _stop(thread: threading.Thread) -> None:
    until = time.monotonic() + _PATIENCE
    while thread.is_alive() and time.monotonic() < until:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Stop))
        thread.join(0.05)


class _Sink(io.TextIOBase):
    """Takes what is printed, and remembers only whether it was anything."""

    def __init__(self):
        self.anything = False

    def writable(self) -> bool:
        """That a stream can be written to is asked by some libraries."""
        return True

    def write(self, text: str) -> int:
        """Swallow a text."""
        self.anything = self.anything or bool(text.strip())
        return len(text)


def _nobody(prompt: object = "") -> str:
    raise EOFError("nobody answers during a check: use the arguments instead of input()")


@contextlib.contextmanager
def untouched_world() -> Iterator[_Sink]:
    """What is printed inside is swallowed; random numbers, warnings, streams and limits are as before afterwards."""
    sink, out, err = _Sink(), sys.stdout, sys.stderr
    python = random.getstate()
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    numpy_state = numpy.random.get_state() if hasattr(numpy, "random") else None
    torch_state = (torch.get_rng_state(), torch.get_default_dtype()) if hasattr(torch, "get_rng_state") else None
    ask, uncaught = builtins.input, threading.excepthook
    sys.stdout = sys.stderr = sink
    builtins.input = _nobody
    threading.excepthook = lambda args: None if args.exc_type is Stop else uncaught(args)
    try:
        with warnings.catch_warnings(), _bounded_recursion():
            warnings.simplefilter("ignore")
            yield sink
    finally:
        sys.stdout, sys.stderr, builtins.input, threading.excepthook = out, err, ask, uncaught
        random.setstate(python)
        if numpy_state is not None:
            numpy.random.set_state(numpy_state)
        if torch_state is not None:
            torch.set_rng_state(torch_state[0])
            torch.set_default_dtype(torch_state[1])


@contextlib.contextmanager
def _bounded_recursion() -> Iterator[None]:
    """No recursion deeper than the stack of a check's thread, whatever limit the notebook has set."""
    before, set_limit = sys.getrecursionlimit(), sys.setrecursionlimit
    set_limit(min(before, _DEEPEST))
    sys.setrecursionlimit = lambda limit: set_limit(min(limit, _DEEPEST))
    try:
        yield
    finally:
        sys.setrecursionlimit = set_limit
        set_limit(before)
