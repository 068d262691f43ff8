"""The language reference of the Python that runs this: half a million characters of prose and code, on every machine.

It is what `help("for")` prints. No two versions of Python have quite the same text, so a number measured on it is
comparable only within one version.
"""

import importlib.util
import platform

from gptlab.corpora.registry import Entry, register


def topics_are_here() -> bool:
    """Whether this Python has its topics; a few slimmed-down installations leave them out."""
    try:
        return importlib.util.find_spec("pydoc_data.topics") is not None
    except ModuleNotFoundError:
        return False


def topics_text() -> str:
    """All topics in alphabetical order, with one empty line between them.

    Raises:
        FileNotFoundError: this Python came without them.

    >>> "for_stmt" in topics_text()
    True
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as problem:
        raise FileNotFoundError(
            f"Python {platform.python_version()} was installed without its help topics (the module pydoc_data): "
            'take load("fables"), or a text file of yours.'
        ) from problem
    return "\n\n".join(topics[name].strip() for name in sorted(topics)) + "\n"


def _read() -> tuple[str, str]:
    return topics_text(), f"from Python {'.'.join(platform.python_version_tuple()[:2])}"


ENTRY = register(
    Entry(
        name="pydocs",
        about="the reference of the Python that runs this; always here",
        read=_read,
        is_ready=topics_are_here,
    )
)
