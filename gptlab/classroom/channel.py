"""Messages through a pipe: JSON with its length in front, read with a clock and with a limit."""

import os
import queue
import sys
import threading
import time
from json import JSONDecodeError, dumps, loads
from typing import Any

from gptlab.classroom.wire import LARGEST, WireError


def pack(message: Any) -> bytes:
    """A message with its length in front.

    Args:
        message: what JSON can write.

    Raises:
        WireError: it is too large.
    """
    data = dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if len(data) > LARGEST:
        raise WireError(f"it needs {len(data):,} bytes, and {LARGEST:,} are read")
    return len(data).to_bytes(4, "big") + data


class Receiver:
    """Reads messages from a file descriptor, with a clock; a flood waits in the pipe.

    Attributes:
        parts: what a thread has read, at most a few pieces ahead.
    """

    def __init__(self, descriptor: int):
        self.parts: queue.Queue = queue.Queue(maxsize=16)
        self._left = bytearray()
        threading.Thread(target=self._read, args=(descriptor,), daemon=True).start()

    def _read(self, descriptor: int) -> None:
        part = b"?"
        while part:
            try:
                part = os.read(descriptor, 1 << 16)
            except OSError:
                part = b""
            self.parts.put(part)

    def next(self, seconds: float) -> dict[str, Any]:
        """The next message.

        Args:
            seconds: how long to wait for all of it.

        Raises:
            TimeoutError: it did not come.
            EOFError: the other side has ended.
            WireError: it is damaged or too large.
        """
        until = time.monotonic() + seconds
        size = int.from_bytes(self._take(4, until), "big")
        if size > LARGEST:
            raise WireError(f"a message of {size:,} bytes, and {LARGEST:,} are read")
        try:
            message = loads(bytes(self._take(size, until)))
        except (JSONDecodeError, UnicodeDecodeError, RecursionError, ValueError):
            raise WireError("a message that is not JSON") from None
        if not isinstance(message, dict):
            raise WireError("a message that is no object")
        return message

    def _take(self, count: int, until: float) -> bytearray:
        while len(self._left) < count:
            try:
                part = self.parts.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise TimeoutError from None
            if not part:
                raise EOFError
            self._left += part
        taken, self._left = self._left[:count], self._left[count:]
        return taken


def receive_blocking(stream: Any) -> dict[str, Any]:
    """The next message from a binary stream; for the submission's side, which has all the time it is given.

    Args:
        stream: a binary file.
    """
    head = stream.read(4)
    if len(head) < 4:
        sys.exit(0)  # the judge has gone
    return loads(stream.read(int.from_bytes(head, "big")))
