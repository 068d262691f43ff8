"""The texts: what the models of this course read.

* `fables` – stories told by a grammar that knows how surprising each of its words is; always here
* `shakespeare` – Tiny Shakespeare, the usual yardstick; downloaded once
* `pydocs` – the reference of the Python that runs this; always here
* any text file of yours, by its path

>>> corpus = load("pydocs", quiet=True)
>>> train, held_out = corpus.split(0.9)
>>> train + held_out == corpus.text
True
"""

import difflib
import importlib
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

COMMITTED_FABLES = Path(__file__).resolve().parents[2] / "data" / "fables.txt"


@dataclass(frozen=True)
class Corpus:
    """A text, its name, and in words where it came from.

    >>> corpus = Corpus("hello", name="greeting", source="from a book")
    >>> corpus
    greeting: 5 characters, 4 distinct, from a book
    >>> len(corpus), corpus.characters
    (5, 'ehlo')
    """

    text: str = field(repr=False)
    name: str
    source: str

    def __len__(self) -> int:
        return len(self.text)

    def __repr__(self) -> str:
        return f"{self.name}: {len(self.text):,} characters, {len(self.characters)} distinct, {self.source}"

    @cached_property
    def characters(self) -> str:
        """The distinct characters, sorted: the vocabulary of a character model."""
        return "".join(sorted(set(self.text)))

    def split(self, fraction: float = 0.9) -> tuple[str, str]:
        """The first part to learn from, and the rest to be asked about. Cut once, so that no sentence is in both.

        Raises: ValueError if one part would be empty.

        >>> Corpus("abcdefghij", "letters", "from a book").split(0.8)
        ('abcdefgh', 'ij')
        """
        cut = min(max(0, int(fraction * len(self.text))), len(self.text))
        if cut in (0, len(self.text)):
            raise ValueError(
                f"split({fraction}) of {len(self.text):,} characters leaves {cut:,} to learn from and "
                f"{len(self.text) - cut:,} to be asked about: both need some; take a fraction between 0 and 1, "
                "0.9 for example, and a longer text."
            )
        return self.text[:cut], self.text[cut:]


def load(name: str | os.PathLike, *, quiet: bool = False) -> Corpus:
    """The corpus of this name ("fables", "shakespeare", "pydocs"), or your text file at this path.

    Prints one line that says what was found and where, unless `quiet`. A known name wins over a file of the same name;
    `load("./fables")` means the file. Line ends become "\\n", and a byte order mark is dropped.

    Raises: ValueError for an unknown name, a file without text, a file that is not UTF-8; FileNotFoundError for a path
    with nothing there; `gptlab.downloads.DownloadError` if Shakespeare is neither here nor to be had.

    >>> corpus = load("pydocs", quiet=True)
    >>> corpus.name, "def" in corpus.text
    ('pydocs', True)
    """
    corpus = _KNOWN[name]() if isinstance(name, str) and name in _KNOWN else _your_file(name)
    if not quiet:
        print(corpus)
    return corpus


def available() -> list[str]:
    """The names that can be loaded now without the network.

    >>> "fables" in available()
    True
    """
    from gptlab.corpora import pydocs, shakespeare

    here = {"fables": True, "shakespeare": shakespeare.is_here(), "pydocs": pydocs.is_here()}
    return [name for name in _KNOWN if here[name]]


def _fables() -> Corpus:
    if COMMITTED_FABLES.is_file():
        return Corpus(COMMITTED_FABLES.read_text("utf-8"), "fables", "from the course's data folder")
    from gptlab.corpora import fables

    return Corpus(fables.book(), "fables", "told just now")


def _shakespeare() -> Corpus:
    from gptlab.corpora import shakespeare

    text, found = shakespeare.read()
    return Corpus(text, "shakespeare", found.where)


def _pydocs() -> Corpus:
    from gptlab.corpora import pydocs

    return Corpus(pydocs.read(), "pydocs", f"from Python {'.'.join(platform.python_version_tuple()[:2])}")


_KNOWN: dict[str, Callable[[], Corpus]] = {"fables": _fables, "shakespeare": _shakespeare, "pydocs": _pydocs}


def _your_file(name: str | os.PathLike) -> Corpus:
    path = Path(name).expanduser()
    names = ", ".join(f'"{known}"' for known in _KNOWN)
    if path.is_dir():
        raise ValueError(f"{name} is a folder: give the path of one text file in it, or a name: {names}.")
    if not path.exists():
        raise _nothing_there(name, names)
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise ValueError(
            f"{path.name} is not UTF-8 text: its byte {problem.object[problem.start]:#04x} at {problem.start:,} has no "
            f'meaning there. In an editor save it as UTF-8, or, if it is Latin-1 (or UTF-16: "utf-16"), convert it: '
            f"Path('new.txt').write_text(Path({path.name!r}).read_text('latin-1'), 'utf-8')"
        ) from problem
    if not text.strip():
        raise ValueError(
            f"{path.name} holds no text: a model learns from characters. Give another file, or a name: {names}."
        )
    return Corpus(text, path.name, "from your file")


def _nothing_there(name: str | os.PathLike, names: str) -> Exception:
    """The error for a name that is neither known nor a file: which of the two was meant?"""
    path = Path(name)
    if isinstance(name, str) and path.name == name and not path.suffix:
        close = difflib.get_close_matches(name.lower(), _KNOWN, n=1)
        hint = f' Did you mean "{close[0]}"?' if close else ""
        return ValueError(f'There is no corpus "{name}".{hint} The names are {names}; or give the path of a text file.')
    return FileNotFoundError(
        f"There is no file {name} (looked from {Path.cwd()}): check the path, or take one of the names {names}."
    )


def __getattr__(name: str):
    """`corpora.fables`, `corpora.shakespeare`, … are imported when they are first asked for."""
    if name in ("fables", "grammar", "pydocs", "shakespeare"):
        return importlib.import_module(f"gptlab.corpora.{name}")
    raise AttributeError(f"module 'gptlab.corpora' has no attribute {name!r}")
