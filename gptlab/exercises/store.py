"""What the reader has done, in one small JSON file in the reader's folder.

It lies in the data folder that the operating system has for each user, and only that user may read it, so people with
accounts of their own on one laptop do not see each other's ticks. `GPTLAB_PROGRESS` names another file (or a folder for
it), one for each person where several share an account; "off" means memory only. A file that cannot be read is renamed,
one that a newer version of the course has written is left alone, and a folder that cannot be written to stops nothing:
the next card says so once.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from gptlab.exercises.registry import tidy_id
from gptlab.exercises.session import KINDS as _KINDS
from gptlab.exercises.session import session
from gptlab.files import write_whole

# Older files are converted when they are read. Version 1 had numbers in its ids ("6.2" for "attention.2"); in version 2
# "gpu" was one topic, of which some went to "cluster" (`registry.MOVED`).
VERSION = 3


def place() -> Path | None:
    """The file; None if nothing is to be stored, or if there is no place for it.

    A container's user may have no home and no entry in the list of users: then what the reader does is remembered
    until the kernel ends, and the next card says how to have it stored.
    """
    named = os.environ.get("GPTLAB_PROGRESS", "")
    if named.lower() in ("off", "none", "memory"):
        return None
    with contextlib.suppress(RuntimeError, OSError, ValueError):  # no home, a name that no file can have
        if named:
            path = Path(named).expanduser()
            return path / "progress.json" if path.is_dir() else path
        folder = _data_folder()
        if folder.is_absolute():  # "~" stays as it is where nobody knows what it means
            return folder / "progress.json"
    where = f"GPTLAB_PROGRESS={named!r} is no place for a file" if named else "there is no home folder here"
    notice = (
        f"{where}, so your progress is kept until this kernel ends: set GPTLAB_PROGRESS to a file to have it stored"
    )
    if notice not in session.notices:
        session.notices.append(notice)
    return None


def _data_folder() -> Path:
    """The folder that the system has for a program's data, or one in the reader's home."""
    try:
        from platformdirs import user_data_path
    except ImportError:
        return Path("~/.gptlab").expanduser()
    return user_data_path("gptlab", appauthor=False)


def notices() -> list[str]:
    """What the reader should know about the file, once."""
    new = [notice for notice in session.notices if notice not in session.noticed]
    session.noticed.update(new)
    session.notices.clear()
    return new


def read() -> dict[str, dict[str, dict[str, Any]]]:
    """Everything: by kind ("exercises", "predictions", "quiz"), then by id, a dict of what is known."""
    path = place()
    on_disk = _from_disk(path) if path is not None else None
    if on_disk is None:
        return session.unsaved
    # What could not be written earlier is still in memory.
    return {kind: {**on_disk[kind], **session.unsaved[kind]} for kind in _KINDS}


def _from_disk(path: Path) -> dict[str, dict[str, dict[str, Any]]] | None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {kind: {} for kind in _KINDS}
    except UnicodeDecodeError:
        text = ""
    except OSError:
        return None
    try:
        return parsed(text)
    except Newer as newer:
        notice = f"the file with your progress {newer}. Until then, what you do is kept until this kernel ends"
        if notice not in session.notices:
            session.notices.append(notice)
        return None
    except ValueError:
        aside = set_aside(path, "unreadable")
        session.notices.append(
            f"the file with your progress could not be read; it is now called {aside.name}, and a new one is started"
        )
        return {kind: {} for kind in _KINDS}


class Newer(ValueError):
    """A file that a newer version of the course has written."""


def parsed(text: str) -> dict[str, dict[str, dict[str, Any]]]:
    """What a file says that this course, or an older edition of it, has written.

    Args:
        text: of the file.

    Returns:
        By kind, then by id as it is today, what is known.

    Raises:
        ValueError: it is damaged, or something else; `Newer` if a newer version of the course has written it.

    >>> parsed('{"version": 1, "exercises": {"6.2": {"passed": true}}}')["exercises"]
    {'attention.2': {'passed': True}}
    """
    try:
        data = json.loads(text)
        kinds = {kind: data.get(kind, {}) for kind in _KINDS}
        version = data.get("version", 1)
        whole = isinstance(version, int) and all(
            isinstance(known, dict) for part in kinds.values() for known in part.values()
        )
    except (ValueError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise ValueError("is not a whole file of this course's progress: it is damaged, or it is something else")
    if version > VERSION:
        raise Newer(
            f"is of version {version}, and this course knows {VERSION}: it stays as it is, update the course to use it"
        )
    return {kind: {tidy_id(id): known for id, known in part.items()} for kind, part in kinds.items()}


def set_aside(path: Path, why: str) -> Path:
    """Give the file another name beside it, which nothing has yet; returns that.

    Args:
        path: of the file.
        why: what its name says besides, such as "unreadable".
    """
    number = 1
    while (aside := path.with_name(f"{path.name}.{why}-{number}")).exists():
        number += 1
    with contextlib.suppress(OSError):
        os.replace(path, aside)
    return aside


def update(kind: str, id: str, **known: Any) -> dict[str, Any]:
    """Add to what is known about one thing, store it, and return all that is known about it now.

    Args:
        kind: "exercises", "predictions" or "quiz".
        id: of the exercise, prediction or quiz.
        known: what to add, by name.
    """
    entry = {**read()[kind].get(id, {}), **known}
    path = place()
    everything = _from_disk(path) if path is not None else None
    if path is not None and everything is not None:
        for part in _KINDS:
            everything[part].update(session.unsaved[part])
        everything[kind][id] = entry
        if written(path, everything):
            for part in _KINDS:
                session.unsaved[part].clear()
            return entry
    if path is not None and not session.notices:
        session.notices.append("your progress cannot be written to its folder, so it is kept until this kernel ends")
    session.unsaved[kind][id] = entry
    return entry


def as_text(everything: dict[str, dict[str, dict[str, Any]]]) -> str:
    """What a file with all this says."""
    return json.dumps({"version": VERSION, **everything}, ensure_ascii=False, indent=1) + "\n"


def written(path: Path, everything: dict[str, dict[str, dict[str, Any]]]) -> bool:
    """Write the file, whole or not at all, for nobody but its owner to read; False if it cannot be written."""
    try:
        write_whole(path, as_text(everything))
        path.chmod(0o600)
    except OSError:
        return False
    return True
