"""Show the source of a function or class in a notebook: what a lesson built by hand, as the package has it."""

import ast
import inspect
import textwrap
from typing import Any

from gptlab.html import BOX, INK

STYLE = "xcode"  # of pygments' colours one whose every word can be read on BOX (contrast of 4.5 or more)


class Source:
    """Python source that prints as text and shows with colours in a notebook.

    Attributes:
        text: the source.
    """

    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        from pygments import highlight
        from pygments.formatters import HtmlFormatter
        from pygments.lexers import PythonLexer

        style = (
            "font-family:monospace;line-height:1.35;margin:0.4em 0;overflow-x:auto;white-space:pre;"
            f"background:{BOX};color:{INK};padding:0.5em 0.7em"  # the colours of the code need a light ground
        )
        colours = HtmlFormatter(style=STYLE, noclasses=True, nobackground=True, prestyles=style)
        return highlight(self.text, PythonLexer(), colours)


def show(*objects: Any, docstring: bool = False) -> Source:
    """The source of functions, methods or classes, to be the last line of a cell.

    Args:
        objects: functions, methods, classes or modules.
        docstring: whether to show whole docstrings; otherwise only their first lines.

    Raises:
        TypeError: for something that has no Python source (a number, a function written in C).

    >>> from gptlab.attention import attend
    >>> print(show(attend).text.splitlines()[-1])
        return attention_weights(q, k, keep_mask) @ v
    """
    return Source("\n\n".join(_source(thing, docstring) for thing in objects))


def _source(thing: Any, docstring: bool) -> str:
    try:
        text = textwrap.dedent(inspect.getsource(inspect.unwrap(thing) if callable(thing) else thing)).rstrip()
    except (TypeError, OSError):
        raise TypeError(
            f"{thing!r} has no Python source to show: give a function, a method, a class or a module"
        ) from None
    return text if docstring else _shortened(text)


def _shortened(text: str) -> str:
    """The source with each docstring cut to its first line."""
    lines, tree = text.splitlines(), ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)) or not body:
            continue
        first = body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            start, end = first.lineno - 1, first.end_lineno
            if end - start > 1:
                quotes = '"""' if '"""' in lines[start] else "'''"
                lines[start] = lines[start].rstrip() + quotes
                lines[start + 1 : end] = [None] * (end - start - 1)
    return "\n".join(line for line in lines if line is not None)
