"""The notebooks as text: cells of the twins in `notebooks/text/`, and what a plan needs to know about them.

A twin is a Python file in which a comment `# %%` begins each cell (jupytext's percent format). It has no outputs, so it
changes only when somebody changes the notebook.
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from gptlab import NOTEBOOKS, notebook

FOLDER = Path(__file__).parents[2] / "notebooks"
_HEAD = re.compile(r"^# %%(?P<rest>.*)$")


class Cell(NamedTuple):
    """One cell of a notebook.

    Attributes:
        kind: "markdown" or "code".
        source: as a notebook shows it.
        tags: such as "nbval-check-output".
    """

    kind: str
    source: str
    tags: tuple[str, ...]


def written() -> list[str]:
    """The topics that have a twin in this clone, in the order of the course."""
    return [found.topic for found in NOTEBOOKS if path(found.topic).exists()]


def path(topic: str) -> Path:
    """The twin of a topic's notebook."""
    return FOLDER / "text" / f"{notebook(topic).file}.py"


@cache
def cells(topic: str) -> tuple[Cell, ...]:
    """The cells of a notebook, without outputs.

    Args:
        topic: of the notebook, such as "attention".

    Raises:
        FileNotFoundError: this is no clone of the course, or the notebook is still to be written.
    """
    return tuple(parse(path(topic).read_text(encoding="utf-8")))


def parse(text: str) -> list[Cell]:
    """The cells of a twin.

    Args:
        text: of the file; what stands before the first cell is skipped.

    >>> parse("# ---\\n# %% [markdown]\\n# A *word*.\\n\\n# %% tags=['x']\\n1 + 1\\n")
    [Cell(kind='markdown', source='A *word*.', tags=()), Cell(kind='code', source='1 + 1', tags=('x',))]
    """
    found, lines, head = [], [], None
    for line in [*text.splitlines(), "# %%"]:
        begins = _HEAD.match(line)
        if begins is None:
            lines.append(line)
            continue
        if head is not None:
            found.append(_cell(head, lines))
        head, lines = begins["rest"], []
    return found


def _cell(head: str, lines: list[str]) -> Cell:
    kind = "markdown" if "[markdown]" in head else "code"
    if kind == "markdown":
        lines = [line.removeprefix("#").removeprefix(" ") for line in lines]
    listed = re.search(r"tags=\[(.*?)\]", head)
    tags = re.findall(r"[\"']([\w-]+)[\"']", listed[1]) if listed else ()
    return Cell(kind, "\n".join(lines).strip(), tuple(tags))


def prose(source: str) -> str:
    """Markdown without what is not prose: code, formulas, addresses, HTML.

    >>> prose("A `list` of [pages](https://x.org), $x^2$").split()
    ['A', 'of', '[pages]', ',']
    """
    for pattern in (
        r"^(```|~~~).*?^\1", r"^( {4}|\t).*$", r"`+[^`]*`+", r"\$\$.*?\$\$", r"\$[^$\n]+\$", r"<!--.*?-->",
        r"</?[a-z][^>]*>", r"(?<=\])\([^)]*\)", r"https?://\S+",
    ):  # fmt: skip
        source = re.sub(pattern, " ", source, flags=re.DOTALL | re.MULTILINE if "^(```" in pattern else re.MULTILINE)
    return source
