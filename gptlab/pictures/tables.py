"""A small table for measured results."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gptlab import html
from gptlab.html import BLACK, BLUE, STRIPE, WHITE, Html, element, escape, scrolling
from gptlab.pictures.style import tidy


def _cell(value: Any, digits: int) -> str:
    if value is None:
        return "–"
    if hasattr(value, "item") and getattr(value, "numel", lambda: value.size)() == 1:
        value = value.item()
    return tidy(value, digits) if isinstance(value, (bool, int, float, np.bool_, np.number)) else str(value)


def table(
    rows: Iterable[Sequence | Mapping[str, Any]], header: Sequence[str] | None = None, align: str | None = None,
    digits: int = 3, caption: str = "",
) -> Html:  # fmt: skip
    """Rows of results as a table: numbers tidy and to the right, words to the left.

    Args:
        rows: sequences of one length, or dicts with the same keys, which are the header then.
        header: one name per column, with its unit.
        align: one letter per column, "l", "r" or "c"; by default numbers to the right, words to the left.
        digits: significant digits of a number that is not an integer. Give a string for another format.
        caption: over the table.

    Raises:
        ValueError: if a row, the header or `align` does not fit the others.

    >>> table([("bigram", 2.10412, 1200), ("attention", 1.3, 98304)], ["model", "nats per token", "parameters"])
    model      nats per token  parameters
    ---------  --------------  ----------
    bigram                2.1       1,200
    attention             1.3      98,304
    """
    rows = list(rows)
    if rows and isinstance(rows[0], Mapping):
        header = list(rows[0]) if header is None else header
        rows = [[row.get(name) for name in header] for row in rows]
    rows = [list(row) for row in rows]
    columns = len(header) if header is not None else len(rows[0]) if rows else 0
    for number, row in enumerate(rows):
        if len(row) != columns:
            raise ValueError(f"row {number} has {len(row)} cells, the table has {columns} columns: make them equal")
    if align is None:
        align = "".join("r" if all(_is_number(row[c]) for row in rows) and rows else "l" for c in range(columns))
    if len(align) != columns or set(align) - set("lrc"):
        raise ValueError(f"align={align!r} for {columns} columns: give one of l, r, c for each")
    cells = [[_cell(value, digits) for value in row] for row in rows]
    _equal_decimals(cells, digits)
    return Html(_as_html(cells, header, align, caption), _as_text(cells, header, align, caption))


def _equal_decimals(cells: list[list[str]], digits: int) -> None:
    """Give the decimal numbers of a column equally many decimals (2.1 above 1.31 becomes 2.10), where they need few."""
    for column in range(len(cells[0]) if cells else 0):
        found = [re.fullmatch(r"−?[\d,]+\.(\d+)", row[column]) for row in cells]
        most = max((len(match[1]) for match in found if match), default=0)
        for row, match in zip(cells, found, strict=True):
            if match and most < digits:
                row[column] += "0" * (most - len(match[1]))


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip()[:1] in "0123456789−-+<≤≈" and any(c.isdigit() for c in value) and len(value) < 14
    return value is None or not isinstance(value, (bool, np.bool_))


def _as_text(cells, header, align: str, caption: str) -> str:
    lines = cells if header is None else [list(header), *cells]
    widths = [max(len(line[c]) for line in lines) for c in range(len(align))] if lines else []
    pad = {"l": str.ljust, "r": str.rjust, "c": str.center}
    texts = ["  ".join(pad[a](t, w) for a, t, w in zip(align, line, widths, strict=True)).rstrip() for line in lines]
    if header is not None:
        texts.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join([caption] * bool(caption) + texts)


def _as_html(cells: list[list[str]], header: Sequence[str] | None, align: str, caption: str) -> str:
    sides = [{"l": "left", "r": "right", "c": "center"}[a] for a in align]
    style = f"padding:3px 12px;font-size:14px;color:{BLACK};white-space:nowrap"
    head = [] if header is None else [
        html.row(
            element("th", escape(str(name)), f"{style};text-align:{side};border-bottom:2px solid {BLUE}")
            for name, side in zip(header, sides, strict=True)
        )
    ]  # fmt: skip
    body = (
        html.row(
            (element("td", escape(text), f"{style};text-align:{side}") for text, side in zip(line, sides, strict=True)),
            f"background-color:{(WHITE, STRIPE)[number % 2]}",
        )
        for number, line in enumerate(cells)
    )
    return scrolling(html.table(body, head, caption=caption))
