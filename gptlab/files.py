"""Files and folders that are written whole or not at all.

A process can be killed at any moment, a disk can be full, and two notebooks can write the same file. A reader of a
file or folder written here finds the old content or the new, never a mixture and never half of either. The new content
is on the disk before it gets its name, so this holds after a power cut too. Standard library only.

>>> import tempfile
>>> folder = Path(tempfile.mkdtemp())
>>> write_whole(folder / "note.txt", "one line\\n")
>>> with replacing(folder / "model") as draft:
...     write_whole(draft / "config.json", "{}")
>>> sorted(path.name for path in folder.iterdir())
['model', 'note.txt']
"""

import contextlib
import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

ABANDONED_AFTER = 600.0  # seconds without a change after which unfinished work belongs to nobody: its process died


class WriteError(OSError):
    """A file or folder could not be written; `strerror` has the reason and `filename` the path, as in any OSError."""

    def __str__(self) -> str:
        return (
            f"could not write {self.filename} ({self.strerror}): free some space or choose another folder; "
            "what was there before is unchanged"
        )


def expanded(path: str | os.PathLike) -> Path:
    """A path with the home folder in place of `~`.

    Args:
        path: as a person has typed it.

    Raises:
        ValueError: nobody knows the home folder that it begins with.

    >>> expanded("texts/my.txt").as_posix()
    'texts/my.txt'
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(
            f"{str(path)!r} begins with the home folder of a user that is not known here: write the whole path"
        ) from None


def write_whole(path: str | os.PathLike, data: str | bytes) -> None:
    """Write a file so that a reader sees all of it or the one before it.

    Several processes may write the same file at once: each writes all of it, and the last one wins.

    Args:
        path: the file. Missing folders above it are made.
        data: text, stored as UTF-8 with its newlines as they are, or bytes.

    Raises:
        WriteError: the disk is full, or the folder cannot be written; a file that was there is unchanged.
    """
    path = Path(path)
    content = data.encode("utf-8") if isinstance(data, str) else data
    unfinished = _temporary(path, ".part")
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        try:
            with unfinished.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        finally:
            with contextlib.suppress(OSError):  # the error that brought us here is the one to report
                unfinished.unlink(missing_ok=True)
    _sync(path.parent)


@contextlib.contextmanager
def replacing(folder: str | os.PathLike) -> Iterator[Path]:
    """An empty draft folder to fill, which takes the place of `folder` when the block ends well.

    If the block raises, the draft is deleted and `folder` stays as it was. Between two folders the change is one step
    on Linux; elsewhere it is two, and if a process dies between them, the next `replacing` restores the old folder.

    Args:
        folder: the folder to replace as a whole, or to make.

    Raises:
        WriteError: the draft cannot be made or put in place; a folder that was there is unchanged.
    """
    folder = Path(folder)
    draft = _temporary(folder)
    with _explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _restore(folder)
        _remove_abandoned(folder)
        draft.mkdir()
    try:
        yield draft
        with _explained(folder):
            _finish(draft)
            _put_in_place(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # after an exchange this is the old folder
    _sync(folder.parent)


def _temporary(path: Path, ending: str = "") -> Path:
    """A hidden path beside `path` that no other process or thread uses."""
    return path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}{ending}")


def _leftovers(path: Path, ending: str = r"(\.part|\.old)?") -> list[Path]:
    """What `_temporary` named for `path`, by living processes and by dead ones."""
    ours = re.compile(rf"\.{re.escape(path.name)}-\d+-[0-9a-f]{{8}}{ending}")
    try:
        return [path.with_name(name) for name in os.listdir(path.parent) if ours.fullmatch(name)]
    except OSError:
        return []


def _remove_abandoned(path: Path) -> None:
    """Delete what processes that were killed while writing `path` have left."""
    for left in _leftovers(path):
        with contextlib.suppress(OSError):  # its own process may finish it while we look
            if time.time() - max(part.stat().st_mtime for part in (left, *left.rglob("*"))) > ABANDONED_AFTER:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn any OSError into one that names the path asked for, not the temporary one."""
    try:
        yield
    except OSError as error:
        raise WriteError(error.errno, error.strerror or str(error), str(path)) from error


def _finish(draft: Path) -> None:
    """Let all of a draft reach the disk, as readable for others as a new folder is by default."""
    readable = draft.stat().st_mode & 0o666  # some libraries make files that only their owner can read
    for path in draft.rglob("*"):
        if path.is_file():
            path.chmod(path.stat().st_mode | readable)
            with path.open("rb+") as file:  # Windows syncs only what is open for writing
                os.fsync(file.fileno())
        else:
            _sync(path)
    _sync(draft)


def _put_in_place(draft: Path, folder: Path) -> None:
    """Give the draft the folder's name; what had it is deleted, or has the draft's name afterwards."""
    while True:
        if folder.is_dir() and _exchange(draft, folder):
            return
        aside = _temporary(folder, ".old")
        if folder.is_dir():
            with contextlib.suppress(FileNotFoundError):  # another writer has moved it in this moment
                os.replace(folder, aside)
        try:
            os.replace(draft, folder)
        except OSError as error:
            # Another writer was faster, whose folder a third may have moved by now: try again. Or a real obstacle.
            if not folder.is_dir() and error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                if aside.exists():
                    os.replace(aside, folder)
                raise
        shutil.rmtree(aside, ignore_errors=True)
        if not draft.exists():
            return


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step with Linux's renameat2; False if this system or this disk cannot."""
    try:
        import ctypes

        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (ImportError, AttributeError, OSError, TypeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE in Linux's headers
    return rename(here, os.fsencode(one.absolute()), here, os.fsencode(other.absolute()), exchange) == 0


def _restore(folder: Path) -> None:
    """If a process died between the two steps of a replacement, give the old folder its name back."""
    for old in _leftovers(folder, r"\.old"):
        if not folder.exists():
            with contextlib.suppress(OSError):  # another writer was faster
                os.replace(old, folder)


def _sync(folder: Path) -> None:
    """Let the names in a folder reach the disk, where the system can be asked for it."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):  # some network disks refuse; the content itself is on the disk by now
        entry = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)
