"""Tensors as things: blocks with lettered axes and real sizes, and vectors as points on a map."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from matplotlib.patches import Rectangle

from gptlab.html import FRONT, GREY, INK, PALE, STONE, STRIPE
from gptlab.pictures.style import (
    LETTERS,
    MARKERS,
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
NEAR = 10  # pixels between a point and its label; further away a thin line joins them
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
            f"{name}: {len(letters)} letters ({' '.join(letters)}) for the sizes {sizes}: give one letter per axis"
        )
    if any(n < 1 for n in sizes):
        raise ValueError(f"{name}: a block of sizes {sizes} has nothing in it: each size must be at least 1")
    return name, letters, sizes


def _drawn(n: int, most: int = MOST, broken: int = BROKEN) -> int:
    return n if n <= most else broken


def _sheet(axes, x: Number, y: Number, rows: int, columns: int, broken: tuple[bool, bool], front: bool) -> None:
    """One grid of cells; an axis that is drawn broken has a gap in it."""
    axes.add_patch(Rectangle((x, y), columns, rows, facecolor=FRONT if front else STRIPE, zorder=2))
    thin = {"color": STONE, "linewidth": 0.5, "zorder": 2}
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


def _axis_label(axes, x: Number, y: Number, letter: str, size: int, **options: str) -> None:
    axes.text(
        x, y, _labelled(letter, size), color=LETTERS.get(letter, INK), zorder=5, fontsize=11, weight="bold", **options
    )


def _labelled(letter: str, size: int) -> str:
    return f"{size:,}" if letter == "…" else f"{letter} = {size:,}"


def _draw(axes, x: Number, letter_width: Number, name: str, letters: list[str], sizes: list[int]):
    """Draw one block with its left edge at x; gives its right edge, its lowest and its highest point (in cells)."""
    columns, rows = _drawn(sizes[-1]) if sizes else 1, _drawn(sizes[-2]) if len(sizes) > 1 else 1
    sheets = _drawn(sizes[-3], 6, 6) if len(sizes) > 2 else 1
    stacks = _drawn(prod(sizes[:-3]), 3, 3) if len(sizes) > 3 else 1
    broken = (len(sizes) > 1 and sizes[-2] > rows, bool(sizes) and sizes[-1] > columns)
    heading = name if "…" in letters else f"{name}  [{', '.join(letters)}]"
    beside = letter_width * (len(_labelled(letters[-2], sizes[-2])) + 1) if len(sizes) > 1 else 0.2
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
        end = max(end, at + letter_width * (len(_labelled(letters[-3], sizes[-3])) + 0.5))
    if len(sizes) > 3:
        text = f"{' × '.join(letters[:-3])} = {prod(sizes[:-3]):,} such stacks"
        options = {"ha": "center", "va": "top", "fontsize": 11, "weight": "bold"}
        axes.text(middle, -rows - 0.4 - 2.2 * letter_width, text, color=LETTERS.get(letters[0], INK), **options)
        end = max(end, middle + letter_width * len(text) / 2)
    axes.text(middle, depth + 0.4, heading, ha="center", va="bottom", fontsize=12, weight="bold", zorder=5)
    return end, -rows - 0.6 - letter_width * (4.4 if len(sizes) > 3 else 2.2), depth + 0.5 + 2.4 * letter_width


@styled
def shapes(*blocks: Any, title: str = "") -> Picture:
    """Tensors as blocks of cells: columns are the last axis, rows the one before, and sheets the one before that.

    The same letter has the same colour in every picture. An axis of more than 12 is drawn broken, with its real size.

    Args:
        blocks: `(name, "B T C", sizes)`, `(name, "B T C", tensor)`, `(name, tensor)` or a tensor; and between them
            strings, such as "@", "=" or "→".
        title: over the picture.

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
    described = []
    for part in parts:
        if not isinstance(part, str):
            name, letters, sizes = part
            part = f"{name} [{', '.join(_labelled(a, n) for a, n in zip(letters, sizes, strict=True))}]"
        described.append(part)
    return finish(figure, f"Tensors drawn as blocks: {' '.join(described)}.")


def _plane(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates on the two directions of largest variance, and the fraction of the variance on each."""
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
    vectors: Any, labels: Sequence[str], groups: Sequence[str] | None = None, *, measure: str = "variance",
    title: str = "",
) -> Picture:  # fmt: skip
    """Vectors as points on a plane, the one that preserves most of their variance (principal components).

    Args:
        vectors: [n, C].
        labels: n names.
        groups: n names of groups; each group gets a colour and a marker.
        measure: what the axes call the variance, for readers who have not met the word.
        title: over the picture.

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
    figure, axes = canvas(9.0, 6.2)
    kinds = list(dict.fromkeys(groups)) if groups is not None else [""]
    member = list(groups) if groups is not None else [""] * len(v)
    for i, kind in enumerate(kinds):
        chosen = np.asarray([m == kind for m in member])
        axes.scatter(*flat[chosen].T, s=34, color=SERIES[i % 7], marker=MARKERS[i % 7], label=kind, zorder=3)
    axes.set(
        xlabel=f"direction in which they differ most ({100 * share[0]:.0f} % of the {measure})",
        ylabel=f"the next one, at right angles ({100 * share[1]:.0f} %)", title=title,
    )  # fmt: skip
    axes.axhline(0, color=PALE, linewidth=0.8, zorder=0)
    axes.axvline(0, color=PALE, linewidth=0.8, zorder=0)
    axes.margins(0.12)
    if groups is not None:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    _write_labels(figure, axes, flat, [drawable(label) for label in labels])
    alt = f"Map of {len(v)} vectors on their two main directions, which show {100 * share.sum():.0f} % of the {measure}"
    if groups is not None:
        alt += f"; groups: {', '.join(f'{kind} ({member.count(kind)})' for kind in kinds)}"
    return finish(figure, f"{alt}.")


def _write_labels(figure, axes, flat: np.ndarray, labels: list[str]) -> None:
    """Write each label near its point where it covers nothing, with a thin line to the point if it is further away.

    Crowded points would push each other's labels about, so three orders are tried and the tidiest result is used.
    """
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())  # lines to labels do not move the limits
    figure.draw_without_rendering()
    points = axes.transData.transform(flat)
    written = [
        axes.annotate(t, f, (0, 0), textcoords="offset points", fontsize=10) for t, f in zip(labels, flat, strict=True)
    ]
    extents = [text.get_window_extent() for text in written]
    sizes = np.asarray([(e.width, e.height * 0.9) for e in extents])
    apart = np.linalg.norm(points - points.mean(axis=0), axis=1)
    crowd = (np.linalg.norm(points[:, None] - points, axis=-1) < 60).sum(axis=1)
    orders = [np.argsort(key, kind="stable") for key in (crowd, -crowd, -apart)]
    tried = [_arrange(points, sizes, axes.bbox.extents, order) for order in orders]
    boxes, _ = min(tried, key=lambda result: result[1])
    for text, box, size, (x, y) in zip(written, boxes, sizes, points, strict=True):
        offset = np.asarray((box[0] - x, box[1] - y + 0.1 * size[1])) * 72 / figure.dpi
        text.set(position=offset, va="bottom")
        end = np.clip((x, y), box[:2], box[2:])
        if np.hypot(*(end - (x, y))) > NEAR:
            ends = axes.transData.inverted().transform([(x, y), end])
            axes.plot(*ends.T, color=GREY, linewidth=0.6, zorder=2)


def _arrange(points: np.ndarray, sizes: np.ndarray, frame: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, float]:
    """A box in pixels for each label, greedily in this order, and how untidy that is: covered things, then distance."""
    turns = np.arange(16) * (2 * np.pi / 16)
    radii = np.asarray((8, 16, 26, 38, 52, 68, 86, 106, 128, 152, 180, 210)).repeat(16)
    ways = np.tile(np.stack([np.cos(turns), np.sin(turns)], axis=1), (12, 1))
    marks = np.hstack([points - 5, points + 5])
    taken, boxes, untidy = marks, np.zeros((len(points), 4)), 0.0
    for i in order:
        corners = points[i] + radii[:, None] * ways + (ways - 1) / 2 * sizes[i]  # to the right: its left edge there, …
        places = np.hstack([corners, corners + sizes[i]])
        outside = (corners < frame[:2]).any(axis=1) | (places[:, 2:] > frame[2:]).any(axis=1)
        costs = 100.0 * _covered(places, taken) + 1000.0 * outside
        others, best = np.delete(taken, i, axis=0), np.inf  # a leader begins on its own mark
        for at in np.flatnonzero(costs == costs.min())[:40]:
            leader = np.empty((0, 4))
            if radii[at] > NEAR:
                end = np.clip(points[i], places[at, :2], places[at, 2:])
                dots = points[i] + np.linspace(0, 1, 12)[:, None] * (end - points[i])
                leader = np.hstack([dots - 1, dots + 1])
            cost = costs[at] + _covered(leader, others).sum()
            if cost < best:
                best, boxes[i], line, radius = cost, places[at], leader, radii[at]
            if cost == costs[at]:
                break
        taken = np.vstack([taken, boxes[i], line])
        untidy += float(1000 * best + radius)
    return boxes, untidy


def _covered(boxes: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """For each box, how many of what is taken it overlaps."""
    low = np.maximum(boxes[:, None, :2], taken[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], taken[None, :, 2:])
    return (low < high).all(axis=-1).sum(axis=1)
