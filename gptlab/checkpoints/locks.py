"""One run in a folder at a time."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from gptlab.checkpoints.storage import CheckpointError
from gptlab.entrances import guard

LOCK = ".lock"


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Inside, no other process may train in `folder`; this one may ask again, and waits for nobody.

    The operating system holds the lock (flock), so that it ends with its process, however that ends: what `kill -9` or
    a power cut leaves behind is a file that nobody has locked. Two machines that share a disk see each other's locks as
    far as that disk does.

    Args:
        folder: the run's; it is made if it isn't there.

    Raises:
        CheckpointError: another process trains there, or the folder cannot be written.
    """
    path = Path(folder).absolute() / LOCK
    lock = FileLock(path, thread_local=False, is_singleton=True)  # one for each folder and process: it counts
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise CheckpointError(
            f"another process is training in {str(folder)!r}, and two would overwrite each other's checkpoints: wait "
            "until it ends or end it, or choose another folder"
        ) from None
    except NotImplementedError:  # a disk without locks: better a run without one than none
        yield
        return
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno in errno.errorcode else str(error)
        raise CheckpointError(
            f"could not write in {str(folder)!r} ({reason}), where the checkpoints of this run belong: choose another "
            "folder, or one that you may write to"
        ) from error
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            with contextlib.suppress(OSError):  # Windows deletes no open file
                path.unlink()
        lock.release()


guard(globals())
