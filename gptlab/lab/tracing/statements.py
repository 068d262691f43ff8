"""Which statement of whose code is running: from a frame of Python to a line of text."""

import ast
import functools
import linecache
import re
import sysconfig
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import torch

_LIBRARIES = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")} | {
    str(Path(torch.__file__).parents[1])
}
_COMPREHENSIONS = ("<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>")
_TRACING = Path(__file__).parent
_COURSE = _TRACING.parents[1]


class Statement(NamedTuple):
    """A statement of the traced code.

    Attributes:
        text: on one line, without its comment.
        comment: behind its last line.
        targets: the names that it assigns to.
    """

    text: str
    comment: str
    targets: tuple[str, ...]


class _Span(NamedTuple):
    """Where a statement is in its file."""

    first: int
    last: int
    targets: tuple[str, ...]


def is_users(frame: FrameType) -> bool:
    """Whether a frame runs a function that a person wrote for a model; a comprehension belongs to its function."""
    return _is_users_file(frame.f_code.co_filename) and frame.f_code.co_name not in _COMPREHENSIONS


@functools.cache
def _is_users_file(name: str) -> bool:
    """Whether a file is the course's or the reader's: not of this package, nor of Python, nor of a library."""
    if name.startswith("<"):
        return name.startswith(("<ipython", "<doctest", "<stdin"))
    path = Path(name)
    if _COURSE in path.parents:
        return path.parent != _TRACING
    return not any(Path(folder) in path.parents for folder in _LIBRARIES)


def span(frame: FrameType, line: int) -> tuple[int, int]:
    """First and last line of the statement at a line.

    Args:
        frame: that runs it.
        line: its number in the file.
    """
    return next(((s.first, s.last) for s in _spans(frame)[1] if s.first <= line <= s.last), (line, line))


def statement(frame: FrameType, lines: tuple[int, int]) -> Statement:
    """A statement of a frame's file.

    Args:
        frame: that runs it.
        lines: its first and last, as `span` gives them.
    """
    source, spans = _spans(frame)
    targets = next((s.targets for s in spans if (s.first, s.last) == lines), ())
    text, comments = [], [""]
    for raw in source[lines[0] - 1 : lines[1]]:
        code, _, comment = raw.rstrip().partition(" #") if not raw.lstrip().startswith("#") else ("", "", "")
        text.append(code.strip())
        comments.append(comment.strip())
    return Statement(re.sub(r"(?<=[(\[]) | (?=[)\]])", "", " ".join(filter(None, text))), comments[-1], targets)


_known: dict[tuple[str, int], list[_Span]] = {}


def _spans(frame: FrameType) -> tuple[list[str], list[_Span]]:
    """The lines of a frame's file, and its statements, the shortest first."""
    name = frame.f_code.co_filename
    source = linecache.getlines(name, frame.f_globals)
    key = (name, hash("".join(source)))  # a reader edits a cell and runs it again
    if key not in _known:
        simple = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Expr, ast.Assert)
        found = []
        for node in ast.walk(ast.parse("".join(source)) if source else ast.Module([], [])):
            if isinstance(node, simple):
                targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
                names = [n.id for t in targets if t is not None for n in ast.walk(t) if isinstance(n, ast.Name)]
                found.append(_Span(node.lineno, node.end_lineno or node.lineno, tuple(names)))
        _known[key] = sorted(found, key=lambda span: span.last - span.first)
    return source, _known[key]
