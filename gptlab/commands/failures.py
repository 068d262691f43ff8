"""What a command says when it cannot go on: one sentence, for the kinds of errors that a person can do something about.

Any other error is a mistake of the course, and keeps its traceback.
"""

import os
import re
from collections.abc import Sequence

_NO_MEMORY = re.compile(
    r"not enough memory|can't allocate memory|out of memory|storage size calculation", re.IGNORECASE
)

_REASONS: dict[type[OSError], str] = {
    IsADirectoryError: "is a folder, and a file is needed: name one",
    NotADirectoryError: "has a file where a folder is needed: choose another place",
    FileExistsError: "is there already: choose another name",
    FileNotFoundError: "is not there: check the path",
    PermissionError: "may not be read or written by you: choose another place",
}


def in_words(error: BaseException, command: str = "") -> str | None:
    """The sentence for an error; None if there is none, because nobody has foreseen it.

    Args:
        error: that ended a command.
        command: its name, which is not said twice.

    >>> in_words(IsADirectoryError(21, "Is a directory", "texts"))
    "'texts' is a folder, and a file is needed: name one"
    >>> in_words(TypeError("no such argument")) is None
    True
    """
    said = str(error).removeprefix(f"{command}: ")
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(said)):
        asked = re.search(r"(\d+) bytes", said)
        amount = f" ({int(asked[1]) / 1e9:,.1f} GB at once)" if asked else ""
        return f"this machine has not enough memory for that{amount}: choose a smaller model, batch or context"
    if isinstance(error, OSError) and said.startswith("[Errno"):  # Python's own words
        where = " and ".join(repr(name) for name in (error.filename, error.filename2) if name is not None)
        reason = next((words for kind, words in _REASONS.items() if isinstance(error, kind)), f"({error.strerror})")
        return f"{where} {reason}" if where else str(error.strerror)
    if "embedded null" in said:
        return "a name of a file has the character NUL in it, which none can have: type it again"
    return said if isinstance(error, (ValueError, OSError)) else None


def repeated(words: Sequence[str]) -> str | None:
    """The first option that is given twice, of which the first would be ignored in silence.

    Args:
        words: of the command line.

    >>> repeated(["my.txt", "--steps", "3", "--n-head=2", "--steps=4"])
    '--steps'
    """
    seen: set[str] = set()
    for word in words:
        if word == "--":
            return None
        if option := re.match(r"--[a-zA-Z][\w-]*", word):
            name = option[0].replace("_", "-")
            if name in seen:
                return name
            seen.add(name)
    return None


def wants_traceback() -> bool:
    """Whether the person has asked for tracebacks, with GPTLAB_DEBUG."""
    return bool(os.environ.get("GPTLAB_DEBUG"))
