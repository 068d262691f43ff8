"""A reader's progress as a file of its own: to hand in, to carry to another machine, to begin again.

Nothing is lost on any of these ways. What is taken in is added to what is there, and a reset keeps the old file beside
the new one.
"""

from pathlib import Path

from gptlab.exercises import registry, store
from gptlab.exercises.session import KINDS, session
from gptlab.files import expanded, write_whole


def export(file: str | Path) -> Path:
    """Write all that the reader has done into a file.

    It names no person: a reader who hands it in gives the file a name that the teacher knows.

    Args:
        file: to write; a file that is there is replaced if it is an older export.

    Raises:
        ValueError: there is another file of that name, which is left as it is.
        OSError: it cannot be written there.
    """
    file = expanded(file)
    if file.exists():
        try:
            store.parsed(file.read_text(encoding="utf-8"))
        except ValueError:
            raise ValueError(
                f"{str(file)!r} is there already and is no export of progress: name another file"
            ) from None
    write_whole(file, store.as_text(store.read()))
    return file


def take_in(file: str | Path) -> tuple[int, list[str]]:
    """Add to the reader's progress what an exported file says.

    An exercise is done if it is done in either; of two first guesses, the reader's own on this machine counts.

    Args:
        file: that `export` has written, here or elsewhere, by this edition of the course or an older one.

    Returns:
        How many exercises it says are done, and the ids in it that this course doesn't have, which are left out.

    Raises:
        OSError: it cannot be read, or the progress here cannot be written.
        ValueError: it is damaged, something else, or of a newer version of the course; nothing has changed.
    """
    file = expanded(file)
    try:
        theirs = store.parsed(file.read_bytes().decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError(f"{str(file)!r} is not text, so it is no export of progress") from None
    except ValueError as error:
        raise ValueError(f"{str(file)!r} {error}") from None
    unknown = sorted({id for kind in KINDS for id in theirs[kind] if not _exists(kind, id)})
    everything = {kind: dict(known) for kind, known in store.read().items()}
    for kind in KINDS:
        for id, known in theirs[kind].items():
            if id not in unknown:
                own = everything[kind].get(id, {})
                everything[kind][id] = _both(own, known) if kind == "exercises" else {**known, **own}
    _store(everything)
    done = sum(bool(known.get("passed")) for id, known in theirs["exercises"].items() if id not in unknown)
    return done, unknown


def reset(topic: str = "") -> Path | None:
    """Forget what the reader has done, and keep the old file beside the new one.

    Args:
        topic: forget only what belongs to this notebook; everything, if it is not given.

    Returns:
        Where the old file is now; None if there was none.

    Raises:
        OSError: the file cannot be moved or written; then nothing has changed.
    """
    everything, path = store.read(), store.place()
    backup = None
    if path is not None and path.exists():
        backup = store.set_aside(path, "before-reset")
        if path.exists():
            raise OSError(f"{path} cannot be given another name, so nothing is reset: check whose folder it is in")
    session.reset()
    if topic:
        left = {
            kind: {id: known for id, known in part.items() if registry.topic_of(id) != topic}
            for kind, part in everything.items()
        }
        _store(left)
    return backup


def _store(everything: dict[str, dict[str, dict]]) -> None:
    path = store.place()
    if path is None:
        for kind in KINDS:
            session.unsaved[kind].update(everything[kind])
    elif not store.written(path, everything):
        raise OSError(f"{path} cannot be written: set GPTLAB_PROGRESS to a file in a folder of your own")


def _exists(kind: str, id: str) -> bool:
    if kind == "exercises":
        return registry.find(id) is not None
    if kind == "predictions":
        return registry.find_prediction(id) is not None
    topic, _, number = id.partition(".")
    questions = registry.questions(registry.topic_of(topic)) if registry.topic_of(topic) else []
    return number.isdigit() and 1 <= int(number) <= len(questions)


def _both(own: dict, theirs: dict) -> dict:
    """One exercise, from two machines. Taking the same file in twice changes nothing the second time."""
    tries = [known["tries"] for known in (own, theirs) if isinstance(known.get("tries"), int)]
    passed = any(known.get("passed") is True for known in (own, theirs))
    return {**theirs, **own, "passed": passed, **({"tries": max(tries)} if tries else {})}
