"""Tensors as things: blocks with lettered axes and real sizes, and vectors as points on a map."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from matplotlib.patches import Rectangle

from gptlab.pictures.style import (
    INK,
    LETTERS,
    MARKERS,
    PALE,
    SERIES,
    Number,
    Picture,
    array,
    canvas,
    drawable,
    finish,
    styled,
)  # fmt: skip

MOST = 12  # cells drawn along an axis; a longer one is drawn broken
BROKEN = 8  # … with so many cells
CELL, LETTER = 0.23, 0.098  # inches
SHIFT = 0.42  # how far a sheet stands behind the one before it, in cells


def _block(block: Any, number: int) -> tuple[str, list[str], list[int]] | str:
    """(name, letters, sizes) of one argument; a plain string is a sign between two blocks."""
    if isinstance(block, str):
        return block
    if hasattr(block, "shape"):
        block = (f"x{number}", " ".join("…" for _ in block.shape), block)
    if len(block) == 2:
        block = (block[0], " ".join("…" for _ in getattr(block[1], "shape", block[1])), block[1])
    name, letters, sizes = block
    sizes = [int(n) for n in getattr(sizes, "shape", sizes)]
    letters = letters.split()
    if len(letters) != len(sizes):
        raise ValueError(
            f"{name}: {len(letters)} letters ({' '.join(letters)}) for the sizes {sizes}: give one letter an axis"
        )
    if any(n < 1 for n in sizes):
        raise ValueError(f"{name}: a block of sizes {sizes} has nothing in it: each size must be at least 1")
    return name, letters, sizes


def _drawn(n: int, most: int = MOST, broken: int = BROKEN) -> int:
    return n if n <= most else broken


def _sheet(axes, x: Number, y: Number, rows: int, columns: int, broken: tuple[bool, bool], front: bool) -> None:
    """One grid of cells; an axis that is drawn broken has a gap in it."""
    axes.add_patch(Rectangle((x, y), columns, rows, facecolor="#DCEBF5" if front else "#F3F8FB", zorder=2))
    thin = {"color": "#8A8A8A", "linewidth": 0.5, "zorder": 2}
    axes.vlines(x + np.arange(columns + 1), y, y + rows, **thin)
    axes.hlines(y + np.arange(rows + 1), x, x + columns, **thin)
    axes.add_patch(Rectangle((x, y), columns, rows, fill=False, edgecolor=INK, linewidth=1.1, zorder=2))
    gap = {"facecolor": "white", "edgecolor": "none", "zorder": 3}
    if front and broken[1]:
        axes.add_patch(Rectangle((x + columns - 2.95, y - 0.02), 0.9, rows + 0.04, **gap))
        axes.text(x + columns - 2.5, y + rows / 2, "⋯", ha="center", va="center", fontsize=11, zorder=4)
    if front and broken[0]:
        axes.add_patch(Rectangle((x - 0.02, y + 1.05), columns + 0.04, 0.9, **gap))
        axes.text(x + columns / 2, y + 1.5, "⋮", ha="center", va="center", fontsize=11, zorder=4)


def _axis_label(axes, x: Number, y: Number, letter: str, size: int, **place: str) -> None:
    axes.text(x, y, _said(letter, size), color=LETTERS.get(letter, INK), zorder=5, fontsize=11, weight="bold", **place)


def _said(letter: str, size: int) -> str:
    return f"{size:,}" if letter == "…" else f"{letter} = {size:,}"


def _draw(axes, x: Number, letter_width: Number, name: str, letters: list[str], sizes: list[int]):
    """Draw one block with its left edge at x; gives its right edge, its lowest and its highest point (in cells)."""
    columns, rows = _drawn(sizes[-1]) if sizes else 1, _drawn(sizes[-2]) if len(sizes) > 1 else 1
    sheets = _drawn(sizes[-3], 6, 6) if len(sizes) > 2 else 1
    stacks = _drawn(prod(sizes[:-3]), 3, 3) if len(sizes) > 3 else 1
    broken = (len(sizes) > 1 and sizes[-2] > rows, bool(sizes) and sizes[-1] > columns)
    heading = name if "…" in letters else f"{name}  [{', '.join(letters)}]"
    beside = letter_width * (len(_said(letters[-2], sizes[-2])) + 1) if len(sizes) > 1 else 0.2
    depth, across = SHIFT * (sheets - 1), columns + SHIFT * (sheets - 1) + 1.2
    wide = stacks * across - 1.2
    left = x + max(beside, (letter_width * 1.1 * len(heading) - wide) / 2)
    for stack in range(stacks):
        for sheet in reversed(range(sheets)):
            at = left + stack * across + SHIFT * sheet
            _sheet(axes, at, SHIFT * sheet - rows, rows, columns, broken, sheet == 0)
    right, middle = left + wide, left + wide / 2
    end = max(right, middle + letter_width * 1.1 * len(heading) / 2)
    if sizes:
        _axis_label(axes, left + columns / 2, -rows - 0.3, letters[-1], sizes[-1], ha="center", va="top")
    if len(sizes) > 1:
        _axis_label(axes, left - 0.3, -rows / 2, letters[-2], sizes[-2], ha="right", va="center")
    if len(sizes) > 2:
        corner = left + (stacks - 1) * across + columns + 0.25
        colour = LETTERS.get(letters[-3], INK)
        axes.plot([corner, corner + depth], [-rows, depth - rows], color=colour, linewidth=1.6, zorder=5)
        at = corner + depth / 2 + 0.35
        _axis_label(axes, at, depth / 2 - rows, letters[-3], sizes[-3], ha="left", va="center")
        end = max(end, at + letter_width * (len(_said(letters[-3], sizes[-3])) + 0.5))
    if len(sizes) > 3:
        text = f"{' × '.join(letters[:-3])} = {prod(sizes[:-3]):,} such stacks"
        place = {"ha": "center", "va": "top", "fontsize": 11, "weight": "bold"}
        axes.text(middle, -rows - 0.4 - 2.2 * letter_width, text, color=LETTERS.get(letters[0], INK), **place)
        end = max(end, middle + letter_width * len(text) / 2)
    axes.text(middle, depth + 0.4, heading, ha="center", va="bottom", fontsize=12, weight="bold", zorder=5)
    return end, -rows - 0.6 - letter_width * (4.4 if len(sizes) > 3 else 2.2), depth + 0.5 + 2.4 * letter_width


@styled
def shapes(*blocks: Any, title: str = "") -> Picture:
    """Tensors as blocks of cells: columns are the last axis, rows the one before, sheets behind each other the third.

    The same letter has the same colour in every picture. An axis of more than 12 is drawn broken, with its real size.

    Args:
        blocks: `(name, "B T C", sizes)`, `(name, "B T C", tensor)`, `(name, tensor)` or a tensor; and between them
            strings, such as "@", "=" or "→".

    Raises:
        ValueError: if letters and sizes do not agree.
    """
    parts = [_block(block, i) for i, block in enumerate(blocks)]
    tensors = [part for part in parts if not isinstance(part, str)]
    if not tensors:
        raise ValueError("no block to draw: give at least one, e.g. ('x', 'B T C', (2, 7, 4))")
    middle = float(np.mean([-(_drawn(sizes[-2]) if len(sizes) > 1 else 1) / 2 for _, _, sizes in tensors]))
    figure, axes = canvas(9.0, 3.0)
    cell = CELL
    for _ in range(5):  # letters do not shrink with the cells, so how wide all is, in cells, depends on the cell
        axes.clear()
        x, low, high = 0.0, 0.0, 0.0
        for part in parts:
            if isinstance(part, str):
                wide = 0.13 / cell * len(part)
                axes.text(x + 0.5 + wide / 2, middle, part, ha="center", va="center", fontsize=16)
                x += 1.0 + wide
                continue
            x, bottom, top = _draw(axes, x + 0.3, LETTER / cell, *part)
            low, high = min(low, bottom), max(high, top)
        cell = min(CELL, 8.8 / (x + 0.6))
    axes.set(xlim=(-0.1, x + 0.5), ylim=(low, high), aspect="equal", title=title)
    axes.axis("off")
    figure.set_size_inches(max(3.0, cell * (x + 0.6)), cell * (high - low) + (0.35 if title else 0.1))
    said = []
    for part in parts:
        if not isinstance(part, str):
            name, letters, sizes = part
            part = f"{name} [{', '.join(_said(a, n) for a, n in zip(letters, sizes, strict=True))}]"
        said.append(part)
    return finish(figure, f"Tensors drawn as blocks: {' '.join(said)}.")


def _plane(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates on the two directions of largest variance, and the part of the variance on each."""
    centred = vectors - vectors.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:2]
    # A direction and its opposite serve alike: the largest entry is positive, so that the map is never mirrored.
    signs = np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)])
    flat = centred @ (directions * signs[:, None]).T
    if flat.shape[1] < 2:
        flat = np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
    share = sizes**2 / max(1e-12, float((sizes**2).sum()))
    return flat, np.pad(share, (0, 2))[:2]


@styled
def embedding_map(
    vectors: Any, labels: Sequence[str], groups: Sequence[str] | None = None, *, title: str = ""
) -> Picture:
    """Vectors as points on a plane, the one that keeps most of their variance (principal components).

    Args:
        vectors: [n, C].  labels: n names.  groups: n names of groups; each gets a colour and a marker.

    Raises:
        ValueError: if there are not as many labels or groups as vectors.
    """
    v = array(vectors).astype(float)
    if v.ndim != 2 or len(v) < 2:
        raise ValueError(f"vectors of shape {list(v.shape)}: give [n, C] with at least two rows")
    for what, given in (("labels", labels), ("groups", groups)):
        if given is not None and len(given) != len(v):
            raise ValueError(f"{len(given)} {what} for {len(v)} vectors: give one for each")
    flat, share = _plane(v)
    figure, axes = canvas(8.2, 5.6)
    kinds = list(dict.fromkeys(groups)) if groups is not None else [""]
    member = list(groups) if groups is not None else [""] * len(v)
    for i, kind in enumerate(kinds):
        chosen = np.asarray([m == kind for m in member])
        axes.scatter(*flat[chosen].T, s=34, color=SERIES[i % 7], marker=MARKERS[i % 7], label=kind, zorder=3)
    axes.set(
        xlabel=f"first principal direction ({100 * share[0]:.0f} % of the variance)",
        ylabel=f"second ({100 * share[1]:.0f} % of the variance)", title=title,
    )  # fmt: skip
    axes.axhline(0, color=PALE, linewidth=0.8, zorder=0)
    axes.axvline(0, color=PALE, linewidth=0.8, zorder=0)
    axes.margins(0.08)
    if groups is not None:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    _place(figure, axes, flat, [drawable(label) for label in labels])
    alt = f"Map of {len(v)} vectors on their two main directions, which keep {100 * share.sum():.0f} % of the variance"
    if groups is not None:
        alt += f"; groups: {', '.join(f'{kind} ({member.count(kind)})' for kind in kinds)}"
    return finish(figure, f"{alt}.")


def _place(figure, axes, flat: np.ndarray, labels: list[str]) -> None:
    """Write each label beside its point, on the first of eight sides where it covers nothing."""
    figure.draw_without_rendering()
    points = axes.transData.transform(flat)
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    scale = figure.dpi / 72
    sides = [(6, -4, 0), (-6, -4, 1), (0, 6, 0.5), (0, -14, 0.5), (6, 5, 0), (6, -13, 0), (-6, 5, 1), (-6, -13, 1)]
    for (x, y), label in zip(points, labels, strict=True):
        width, height = 6.3 * scale * len(label), 10 * scale
        best = None
        for dx, dy, part in sides:
            left, bottom = x + dx * scale - part * width, y + dy * scale
            box = (left, bottom, left + width, bottom + height)
            hits = sum(not (box[2] < b[0] or b[2] < box[0] or box[3] < b[1] or b[3] < box[1]) for b in taken)
            if best is None or hits < best[0]:
                best = (hits, dx, dy, part, box)
            if not hits:
                break
        _, dx, dy, part, box = best
        taken.append(box)
        axes.annotate(
            label, axes.transData.inverted().transform((x, y)), (dx, dy), textcoords="offset points",
            ha={0: "left", 1: "right", 0.5: "center"}[part], fontsize=10, color=INK,
        )  # fmt: skip
