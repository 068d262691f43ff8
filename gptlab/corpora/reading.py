"""A corpus as a stream: of files, their documents, and pieces of these, so that no text is too long for the memory.

>>> [piece.text for piece in read("fables", separator="\\n\\n")][:1]
[...]
"""

import gzip
import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from gptlab import corpora

NAMES = ("fables", "shakespeare", "pydocs")  # corpora of the course, which can stand where a file can
LINES, COLUMNS = (".jsonl", ".ndjson"), (".parquet",)
PIECE = 1 << 20  # characters of a document that are in memory at once, where it can be cut


class Piece(NamedTuple):
    """A part of a document, and whether the document ends with it."""

    text: str
    last: bool


def read(source: str | os.PathLike, field: str = "text", separator: str | None = None) -> Iterator[Piece]:
    """The documents of a corpus or a file, in pieces.

    A name of `gptlab.corpora` or a text file is one document, or several with `separator` between them; in `.jsonl`
    each line has one under `field`, in `.parquet` each row; `.gz` is opened. A long text is cut where a line ends and
    the next begins with a letter or digit, for no tokenizer of this course has a token across such a place.

    Raises:
        ValueError: not UTF-8, no JSON, no such field, naming file and line; Parquet without the package pyarrow.
        FileNotFoundError: nothing is there.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "stories.jsonl"
    >>> _ = path.write_text('{"text": "one"}\\n{"text": "two"}\\n')
    >>> list(read(path))
    [Piece(text='one', last=True), Piece(text='two', last=True)]
    """
    if source in NAMES:
        yield from _read_text(io.StringIO(corpora.load(source, quiet=True).text), separator)
        return
    path = Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r} (looked from {Path.cwd()}): check the path")
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    try:
        if suffix in COLUMNS:
            yield from _read_columns(path, field)
            return
        with (
            gzip.open(path, "rt", encoding="utf-8-sig")
            if path.suffix == ".gz"
            else open(path, encoding="utf-8-sig") as file
        ):
            yield from _read_lines(file, path, field) if suffix in LINES else _read_text(file, separator)
    except UnicodeDecodeError as error:
        bad = error.object[error.start]
        raise ValueError(f"{path.name} is not UTF-8 text: it has the byte {bad:#04x}: save it as UTF-8") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path.name} is no whole .gz file ({error}): fetch or compress it again") from error


def _read_text(file, separator: str | None, size: int = PIECE) -> Iterator[Piece]:
    rest, begun = "", False
    while block := file.read(size):
        rest += block
        if separator:
            *whole, rest = rest.split(separator)
            for text in whole:
                if begun or text.strip():
                    yield Piece((text if begun else text.lstrip("\n")).rstrip("\n"), True)
                begun = False
        room = len(rest) - len(separator or "")  # the end may be the beginning of a separator
        if room >= size:
            rest = rest if begun or not separator else rest.lstrip("\n")
            cut = _cut(rest[:room])
            yield Piece(rest[:cut], False)
            rest, begun = rest[cut:], True
    if begun or rest.strip():
        rest = rest if begun or not separator else rest.lstrip("\n")
        yield Piece(rest.rstrip("\n") if separator else rest, True)


def _cut(text: str) -> int:
    """The last place where a line ends and a letter or digit follows; else where a line ends; else the end."""
    at = len(text)
    while (at := text.rfind("\n", 0, at)) >= 0:
        if text[at + 1 : at + 2].isalnum():
            return at + 1
    return text.rfind("\n") + 1 or len(text)


def _read_lines(file, path: Path, field: str) -> Iterator[Piece]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number} of {path.name} is not JSON ({error}): one document a line") from error
        if not isinstance(entry, dict) or not isinstance(entry.get(field), str):
            there = ", ".join(map(repr, entry)) if isinstance(entry, dict) else type(entry).__name__
            raise ValueError(f"line {number} of {path.name} has no text under {field!r}, it has {there}: pass --field")
        yield Piece(entry[field], True)


def _read_columns(path: Path, field: str) -> Iterator[Piece]:
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{path.name} is a Parquet file, and this Python has no package pyarrow, which reads them: "
            "`pip install pyarrow`, or pass text or JSON lines"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if field not in names:
                there = ", ".join(map(repr, names))
                raise ValueError(f"{path.name} has no column {field!r}, it has {there}: pass --field")
            for batch in file.iter_batches(batch_size=256, columns=[field]):
                yield from (Piece(text, True) for text in batch.column(0).to_pylist() if text)
    except ArrowException as error:
        raise ValueError(f"{path.name} cannot be read as Parquet ({error}): fetch it again") from error


class Task(NamedTuple):
    """Pieces that are tokenized together, and the number of the document that the first belongs to."""

    document: int
    pieces: list[Piece]


def tasks(pieces: Iterable[Piece], size: int = PIECE // 4) -> Iterator[Task]:
    """Gather pieces until they have about `size` characters: work that is worth sending to another process.

    >>> [len(task.pieces) for task in tasks([Piece("abc", True)] * 5, size=6)]
    [2, 2, 1]
    """
    first = document = 0
    held: list[Piece] = []
    length = 0
    for piece in pieces:
        held.append(piece)
        length += len(piece.text)
        document += piece.last
        if length >= size:
            yield Task(first, held)
            first, held, length = document, [], 0
    if held:
        yield Task(first, held)
