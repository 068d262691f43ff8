"""SIGTERM and Ctrl-C: a run that is asked to end saves a checkpoint first, so that nothing is lost."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any


class StopOnSignal:
    """Becomes true when the run is asked to end: by SIGTERM, as a scheduler does, or by Ctrl-C.

    A second Ctrl-C acts at once, and so does the first signal before the run has `started`: nothing can be saved yet.

    Args:
        patience: seconds after SIGTERM within which the run must have asked; else the process ends. A rank that waits
            for one that has died would wait for minutes. Time in which the run is `busy` doesn't count. None waits.

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
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGTERM, signal.SIGINT)}
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
        if self._before and self.patience is not None:
            signal.set_wakeup_fd(-1)
            self._writer.close()

    def _handle(self, number: int, _) -> None:
        if number == signal.SIGINT and (self.number or not self.started):
            raise KeyboardInterrupt
        if not self.started:
            raise SystemExit(128 + number)
        self.number = number
        os.write(2, f"{signal.Signals(number).name}: the run saves a checkpoint after this step and ends.\n".encode())

    def _watch(self) -> None:
        """In a thread of its own, because a process that waits inside torch.distributed runs no signal handler.

        The operating system writes the number of each signal into the socket pair (`signal.set_wakeup_fd`).
        """
        while received := self._reader.recv(1):
            if received[0] != signal.SIGTERM:
                continue
            left, tick = self.patience, min(0.1, self.patience)
            while left > 0 and not self._asked.wait(tick):
                left -= 0 if self._busy else tick
            if not self._asked.is_set():
                os.write(2, f"the run did not react to SIGTERM for {self.patience} s: perhaps a rank died\n".encode())
                os._exit(128 + signal.SIGTERM)
