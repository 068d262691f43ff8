"""Texts of your own as documents: what stands between two of them, so that a model can learn where a text ends.

>>> import tempfile
>>> path = Path(tempfile.mkdtemp(), "two.txt")
>>> _ = path.write_text("One day.\\n\\nAnother day.\\n")
>>> read([path])
['One day.', 'Another day.']
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from gptlab.corpora.reading import COLUMNS, LINES, PACKED, existing_file, read_pieces, unescaped
from gptlab.files import expanded

TEXTS = (".txt", ".md")  # what is read from a folder
BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")
FEWEST, SHORTEST, LONGEST = 20, 200, 4000  # documents; characters of one, see `evened`


def read(paths: Sequence[str | os.PathLike], field: str = "text", separator: str | None = None) -> list[str]:
    r"""The documents of files and folders, in order, none of them empty.

    A row of JSON lines or Parquet is a document. So is a paragraph of a single text file (blank lines separate them),
    and of several text files each file. Where documents are so long that few would end, `evened` cuts them.

    Args:
        paths: text files, folders with such files, `.jsonl`, `.ndjson` and `.parquet`, or `.gz` of these.
        field: where JSON lines and Parquet have the text.
        separator: what stands between two documents of a text instead; \n and \t in it are read as a newline and a tab.
            An empty one keeps each file whole.

    Raises:
        FileNotFoundError: nothing is at a path.
        ValueError: a folder has no texts, a file cannot be read, or there is no text in any of them.
    """
    files = [file for path in paths for file in files_of(path)]
    between = None if separator is None else unescaped(separator)
    documents: list[str] = []
    for file in files:
        whole = _whole_documents(file, field, between)
        if len(files) == 1 and separator is None and not is_structured(file):
            whole = (paragraph.strip("\n") for text in whole for paragraph in BLANK_LINES.split(text))
        documents += (text for text in whole if text.strip())
    if not documents:
        raise ValueError(f"there is no text in {', '.join(map(str, paths))}: a model learns from characters")
    return evened(documents)


def files_of(path: str | os.PathLike) -> list[Path]:
    """A file, or the texts of a folder and of the folders in it, sorted by name.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: the folder has no texts.
    """
    folder = expanded(path)
    if not folder.is_dir():
        return [existing_file(folder)]
    inside = (file for file in folder.rglob("*") if file.suffix.lower() in TEXTS and file.is_file())
    files = sorted(file for file in inside if not any(part[0] == "." for part in file.relative_to(folder).parts))
    if not files:
        raise ValueError(f"the folder {str(folder)!r} has no file named {' or '.join('*' + end for end in TEXTS)}")
    return files


def is_structured(file: Path) -> bool:
    """Whether a file has rows, of which each is a document."""
    name = file.with_suffix("") if file.suffix.lower() == PACKED else file
    return name.suffix.lower() in (*LINES, *COLUMNS)


def _whole_documents(file: Path, field: str, separator: str | None) -> Iterator[str]:
    """The documents of one file, each in one piece."""
    gathered: list[str] = []
    for piece in read_pieces(file, field, separator or None):
        gathered.append(piece.text)
        if piece.last:
            yield "".join(gathered)
            gathered.clear()


def evened(documents: list[str]) -> list[str]:
    """Documents that are short enough for a model to see where one begins; nothing is lost, and short ones stay.

    The token between documents is learned only if it occurs often enough. So where the mean is above 4,000 characters,
    or above a twentieth of a short text, the longer documents are cut at the end of a line.

    >>> [len(part) for part in evened(["a line\\n" * 100])]
    [196, 196, 196, 112]
    """
    total = sum(map(len, documents))
    longest = min(LONGEST, max(SHORTEST, total // FEWEST))
    if total <= longest * len(documents):
        return documents
    return [part for text in documents for part in _cut(text, longest)]


def _cut(text: str, size: int) -> Iterator[str]:
    """Parts of at most `size` characters: up to the end of a line, or else of a word, or wherever it must be."""
    start = 0
    while len(text) - start > size:
        earliest = start + size // 2
        ends = (text.rfind(sign, earliest, start + size) + 1 for sign in ("\n", " "))
        point = next((end for end in ends if end), start + size)
        yield text[start:point]
        start = point
    if text[start:].strip():
        yield text[start:]
