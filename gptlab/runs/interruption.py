"""A run that is asked to end saves a checkpoint first, so that nothing is lost.

It is asked by SIGTERM (a scheduler), by Ctrl-C, by SIGHUP (the terminal was closed, the connection broke), and when
nobody reads any more what it prints (`train | head`).
"""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))
CLOSED_PIPE = getattr(signal, "SIGPIPE", signal.SIGTERM)  # what a closed pipe counts as; Windows has no such signal


class OutputGuard:
    """A stream whose writes never fail: once nobody reads it, the rest goes to nowhere.

    Args:
        stream: where to write.
        closed: called when that fails for the first time.
    """

    def __init__(self, stream: Any, closed: Callable[[], None]):
        self._stream, self._closed, self._open = stream, closed, True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, if anybody reads it."""
        return self._try(lambda: self._stream.write(text), len(text))

    def flush(self) -> None:
        """Hand on what was written, if anybody reads it."""
        self._try(self._stream.flush, None)

    def _try(self, operation: Callable[[], Any], otherwise: Any) -> Any:
        try:
            return operation()
        except OSError:  # the pipe or the terminal is closed, or the disk of the log is full
            if self._open:
                self._open = False
                with contextlib.suppress(OSError, ValueError):  # what is in its buffer must be written when Python ends
                    os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
                self._closed()
        return otherwise


class StopOnSignal:
    """Becomes true when the run is asked to end: by SIGTERM, Ctrl-C or SIGHUP, or when its output is closed.

    SIGHUP is left alone where it is ignored, as under `nohup`.

    A second Ctrl-C acts at once, and so does the first signal before the run has `started`: nothing can be saved yet.

    Args:
        patience: seconds after SIGTERM or SIGHUP within which the run must have asked; else the process ends. A rank
            that waits for one that has died would wait for minutes. Time in which the run is `busy` doesn't count.
            None waits.

    >>> with StopOnSignal() as stop:
    ...     stop()
    False
    """

    def __init__(self, patience: float | int | None = None):
        self.patience = patience
        self.number = 0  # of the signal
        self.started = False
        self._asked = threading.Event()
        self._busy = False

    def __call__(self) -> bool:
        """Whether to stop; the training loop asks in each step."""
        self.started = True
        if self.number:
            self._asked.set()
        return bool(self.number)

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Inside, the run is known to be alive: it evaluates or saves, and asks afterwards."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def __enter__(self) -> "StopOnSignal":
        self._before: dict[int, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            return self  # only the main thread can handle signals
        handled = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._handle) for number in handled}
        self._streams = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (stream and OutputGuard(stream, self._output_closed) for stream in self._streams)
        if self.patience is not None:
            self._reader, self._writer = socket.socketpair()
            self._writer.setblocking(False)
            signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._asked.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            self.started = True  # what is still in a buffer is written now, and changes nothing any more
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()
        if self._before and self.number != getattr(signal, "SIGHUP", None):  # then there is no terminal any more
            sys.stdout, sys.stderr = self._streams
        if self._before and self.patience is not None:
            signal.set_wakeup_fd(-1)
            self._writer.close()

    def _handle(self, number: int, _) -> None:
        if number == signal.SIGINT and (self.number or not self.started):
            raise KeyboardInterrupt
        if not self.started:
            raise SystemExit(128 + number)
        self.number = number
        _tell(f"{signal.Signals(number).name}: the run saves a checkpoint after this step and ends.\n")

    def _output_closed(self) -> None:
        """Nobody reads what the run prints: end as a program does that writes to a closed pipe, but save first."""
        if not self.started:
            raise SystemExit(128 + CLOSED_PIPE)
        self.number = self.number or CLOSED_PIPE

    def _watch(self) -> None:
        """In a thread of its own, because a process that waits inside torch.distributed runs no signal handler.

        The operating system writes the number of each signal into the socket pair (`signal.set_wakeup_fd`).
        """
        while received := self._reader.recv(1):
            if received[0] == signal.SIGINT or received[0] not in ENDING:
                continue
            left, tick = self.patience, min(0.1, self.patience)
            while left > 0 and not self._asked.wait(tick):
                left -= 0 if self._busy else tick
            if not self._asked.is_set():
                name = signal.Signals(received[0]).name
                _tell(f"the run did not react to {name} for {self.patience} s: perhaps a rank died\n")
                os._exit(128 + received[0])


def _tell(sentence: str) -> None:
    """Say something from inside a signal handler, if there is still somebody to hear it."""
    with contextlib.suppress(OSError):
        os.write(2, sentence.encode())
