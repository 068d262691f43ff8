"""What a corpus is: an entry of the registry, which says how to get it, and the text that comes of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from gptlab import downloads
from gptlab.downloads import PublishedFile
from gptlab.entrances import guard


@dataclass(frozen=True)
class Corpus:
    """A text that has been loaded.

    Attributes:
        text: all of it.
        name: of the corpus or the file.
        source: where it came from, in words.

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
        """The first part to train on, and the rest to validate on. Cut once, so that no sentence is in both.

        Args:
            fraction: how much of the text the first part has, between 0 and 1.

        Raises:
            ValueError: one part would be empty.

        >>> Corpus("abcdefghij", "letters", "from a book").split(0.8)
        ('abcdefgh', 'ij')
        """
        cut = min(max(0, int(fraction * len(self.text))), len(self.text))
        if cut in (0, len(self.text)):
            raise ValueError(
                f"split({fraction}) of {len(self.text):,} characters leaves {cut:,} to train on and "
                f"{len(self.text) - cut:,} to validate on: both need some; take a fraction between 0 and 1, "
                "0.9 for example, and a longer text."
            )
        return self.text[:cut], self.text[cut:]


@dataclass(frozen=True)
class Entry:
    """A corpus of the course: all that `load`, `available`, `prepare`, `fetch` and `doctor` know of it.

    Attributes:
        name: what it is called in code and on the command line.
        about: what it is, in one sentence.
        file: the published file that it is, if it is one; `fetch` gets it and `doctor` looks for it.
        read: gives the text, and in words where it came from; not needed if there is a file.
        is_ready: whether `read` would succeed now; not needed if there is a file.
    """

    name: str
    about: str
    file: PublishedFile | None = None
    read: Callable[[], tuple[str, str]] | None = None
    is_ready: Callable[[], bool] = lambda: True

    def load(self) -> Corpus:
        """The text; a published file is downloaded the first time.

        Raises:
            gptlab.downloads.DownloadError: the file is not on this machine and could not be downloaded.
        """
        if self.read is not None:
            text, source = self.read()
        else:
            found = downloads.fetch(self.file)
            text, source = found.path.read_bytes().decode("utf-8"), found.where
        return Corpus(text, self.name, source)

    def is_here(self) -> bool:
        """Whether it can be loaded now without the network."""
        return self.is_ready() if self.file is None else downloads.find(self.file) is not None


ENTRIES: dict[str, Entry] = {}  # by name; each corpus enters itself when its module is imported


def register(entry: Entry) -> Entry:
    """Enter a corpus into the registry.

    Args:
        entry: the corpus; a name can be used once.

    Raises:
        ValueError: another corpus has this name.
    """
    if entry.name in ENTRIES:
        raise ValueError(f"there is a corpus {entry.name!r} already ({ENTRIES[entry.name].about}): choose another name")
    ENTRIES[entry.name] = entry
    return entry


guard(globals())
