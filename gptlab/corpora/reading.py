"""A corpus as a stream: of files, their documents, and pieces of these, so that no text is too long for the memory.

>>> [piece.text for piece in read_pieces("fables", separator="\\n\\n")][:1]
[...]
"""

import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from gptlab import corpora
from gptlab.files import expanded

LINES, COLUMNS, PACKED = (".jsonl", ".ndjson"), (".parquet",), ".gz"
PIECE = 1 << 20  # characters of a document that are in memory at once, where it can be cut

SplitPoint = Callable[[str], int]  # where the beginning of a long text can be cut; 0 for "give me more of it"


class Piece(NamedTuple):
    """A part of a document.

    Attributes:
        text: the part.
        last: the document ends with it.
        first: the document begins with it.
    """

    text: str
    last: bool = True
    first: bool = True


def read_pieces(
    source: str | os.PathLike, field: str = "text", separator: str | None = None, split_point: SplitPoint = len
) -> Iterator[Piece]:
    """The documents of a corpus or a file, in pieces.

    Args:
        source: a name of `gptlab.corpora`, or a file: `.jsonl` and `.ndjson` have a document in each line, `.parquet`
            in each row, any other file is text; `.gz` is unpacked.
        field: where JSON lines and Parquet have the text.
        separator: what stands between two documents of a text; without it, a text is one document.
        split_point: where a long text may be cut: the tokenizer's `split_point`, so that its ids do not change.

    Raises:
        ValueError: not UTF-8, not JSON, no such field, naming file and line; Parquet without the package pyarrow.
        FileNotFoundError: nothing is there.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "stories.jsonl"
    >>> _ = path.write_text('{"text": "one"}\\n{"text": "two"}\\n')
    >>> [piece.text for piece in read_pieces(path)]
    ['one', 'two']
    """
    if source in corpora.ENTRIES:
        text = corpora.load(source, quiet=True).text
        yield from _text_pieces(io.StringIO(text), str(source), separator, split_point)
        return
    path = existing_file(source)
    packed = path.suffix.lower() == PACKED
    suffix = (Path(path.stem).suffix if packed else path.suffix).lower()
    try:
        if suffix in COLUMNS:
            yield from _column_pieces(path, field)
            return
        with gzip.open(path, "rt", encoding="utf-8-sig") if packed else open(path, encoding="utf-8-sig") as file:
            if suffix in LINES:
                yield from _line_pieces(file, path.name, field)
            else:
                yield from _text_pieces(file, path.name, separator, split_point)
    except UnicodeDecodeError as error:
        bad = error.object[error.start]
        raise ValueError(f"{path.name} is not UTF-8 text: it has the byte {bad:#04x}: save it as UTF-8") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path.name} is not a complete .gz file ({error}): fetch or compress it again") from error


def unescaped(separator: str) -> str:
    r"""A separator as a person means it who types \n in a shell, which does not turn it into a newline.

    >>> unescaped(r"\n\n---\n")
    '\n\n---\n'
    """
    meant = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
    return re.sub(r"\\([ntr\\])", lambda found: meant[found[1]], separator)


def existing_file(source: str | os.PathLike, note: str = "") -> Path:
    """The path of a file that is there.

    Args:
        source: its path, `~` for the home folder.
        note: what else to say if it is not.

    Raises:
        FileNotFoundError: there is nothing.
        IsADirectoryError: it is a folder.
    """
    path = expanded(source)
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder: name the files in it, {path}/*.txt for example")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r} (looked from {Path.cwd()}): check the path{note}")
    return path


def _text_pieces(
    file: io.TextIOBase, name: str, separator: str | None, split_point: SplitPoint, size: int = PIECE
) -> Iterator[Piece]:
    """The documents of a text, which `separator` separates; newlines around it belong to no document."""
    rest, first, beginning = "", True, True
    while block := file.read(size):
        if beginning:
            corpora.refuse_utf16(block, name)
        rest, beginning = rest + block, False
        if separator:
            *complete, rest = rest.split(separator)
            for text in complete:
                text = (text.lstrip("\n") if first else text).rstrip("\n")
                if text.strip() or not first:
                    yield Piece(text, True, first)
                first = True
            rest = rest.lstrip("\n") if first else rest
        # The end of what was read may be the beginning of a separator, and newlines before one are not text.
        head = rest[: max(0, len(rest) - len(separator))].rstrip("\n") if separator else rest
        if len(head) >= size and (point := split_point(head)):
            yield Piece(rest[:point], False, first)
            rest, first = rest[point:], False
    if rest.strip() or not first:
        yield Piece(rest.rstrip("\n") if separator else rest, True, first)


def _line_pieces(file: io.TextIOBase, name: str, field: str) -> Iterator[Piece]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number} of {name} is not JSON ({error}): write one document per line") from error
        if not isinstance(entry, dict) or field not in entry:
            there = ", ".join(map(repr, entry)) if isinstance(entry, dict) else type(entry).__name__
            raise ValueError(f"line {number} of {name} has no text under {field!r}, it has {there}: pass --field")
        if entry[field] is None:  # as in Parquet, a row without a text
            continue
        if not isinstance(entry[field], str):
            kind = type(entry[field]).__name__
            raise ValueError(f"line {number} of {name} has a value of type {kind} under {field!r}, not a text: fix it")
        yield Piece(entry[field])


def _column_pieces(path: Path, field: str) -> Iterator[Piece]:
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
                for text in batch.column(0).to_pylist():
                    if not isinstance(text, str | None):
                        kind = type(text).__name__
                        raise ValueError(f"{path.name} has values of type {kind} in the column {field!r}, not texts")
                    if text:
                        yield Piece(text)
    except ArrowException as error:
        raise ValueError(f"{path.name} cannot be read as Parquet ({error}): fetch it again") from error


class Task(NamedTuple):
    """Pieces that are tokenized together.

    Attributes:
        document: the number of the document that the first piece belongs to, from 0.
        pieces: one after the other.
    """

    document: int
    pieces: list[Piece]


def tasks(pieces: Iterable[Piece], size: int = PIECE // 4) -> Iterator[Task]:
    """Gather pieces until they are work enough to be sent to another process.

    Args:
        pieces: the documents, in their order.
        size: about how many characters a task has.

    >>> [len(task.pieces) for task in tasks([Piece("abc")] * 5, size=6)]
    [2, 2, 1]
    """
    first = document = 0
    gathered: list[Piece] = []
    length = 0
    for piece in pieces:
        gathered.append(piece)
        length += len(piece.text)
        document += piece.last
        if length >= size:
            yield Task(first, gathered)
            first, gathered, length = document, [], 0
    if gathered:
        yield Task(first, gathered)
