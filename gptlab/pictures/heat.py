"""Numbers as colours: the rows of a table; and which query attends to which key, as heat maps of weights and masks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from gptlab.html import GREY, PALE, SILVER, STONE, ink_on
from gptlab.pictures.style import (
    LIMIT,
    WEIGHTS,
    Number,
    Picture,
    array,
    canvas,
    check_tokens,
    drawable,
    finish,
    shorten,
    styled,
    tidy,
)  # fmt: skip

QUERY, KEY = "query: the token that asks", "key: the token that is looked at"


def checked_weights(weights: Any) -> np.ndarray:
    """Weights as an array [Tq, Tk] or [H, Tq, Tk].

    Raises:
        ValueError: for another shape, such as a batch, or for too many tokens.
    """
    w = array(weights).astype(float)
    if w.ndim not in (2, 3):
        raise ValueError(
            f"weights of shape {list(w.shape)}: give [Tq, Tk] or [H, Tq, Tk]; of a batch take one item, weights[0]"
        )
    if max(w.shape[-2:]) > LIMIT:
        raise ValueError(
            f"{w.shape[-2]} × {w.shape[-1]} tokens cannot be read: give at most {LIMIT}, e.g. weights[:40, :40]"
        )
    return w


def axis_labels(w: np.ndarray, query_tokens, key_tokens) -> tuple[list[str], list[str]]:
    """What to write beside the rows and under the columns of weights.

    Args:
        w: [..., Tq, Tk].
        query_tokens: the labels of the rows.
        key_tokens: the labels of the columns; if None, those of the rows.

    Raises:
        ValueError: there are not as many labels as rows or columns.
    """
    key_tokens = query_tokens if key_tokens is None else key_tokens
    rows = check_tokens(query_tokens, w.shape[-2], "Tq", "rows of weights")
    columns = check_tokens(key_tokens, w.shape[-1], "Tk", "columns of weights")
    return [shorten(r, 14) for r in rows], [shorten(c, 14) for c in columns]


def _ticks(axes, rows: list[str], columns: list[str], size: Number, step: Number) -> None:
    """Tokens on both axes; only every second or third if `step` (inches per token) is too small for all.

    Words under the columns are turned, since they are longer than a cell is wide; numbers of positions fit.
    """
    every = max(1, int(np.ceil(0.17 / step)))
    turned = every * step < 0.22 or not all(label.isdigit() and len(label) < 3 for label in columns)
    axes.set_xticks(range(0, len(columns), every), columns[::every], rotation=90 if turned else 0, fontsize=size)
    axes.set_yticks(range(0, len(rows), every), rows[::every], fontsize=size)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _cells(axes, shape: tuple[int, int]) -> None:
    """Thin light lines between cells."""
    axes.set_xticks(np.arange(-0.5, shape[1]), minor=True)
    axes.set_yticks(np.arange(-0.5, shape[0]), minor=True)
    axes.grid(which="minor", color=PALE, linewidth=0.6)
    axes.tick_params(which="minor", length=0)


@styled
def attention(
    weights: Any, query_tokens: Sequence[str], key_tokens: Sequence[str] | None = None,
    head_names: Sequence[str] | None = None, *, keep_mask: Any = None, numbers: bool | None = None, title: str = "",
) -> Picture:  # fmt: skip
    """Attention weights as a heat map: each row is one query, and shows how it distributes its weight over the keys.

    Args:
        weights: [Tq, Tk], or [H, Tq, Tk] for all heads at a glance.
        query_tokens: the labels of the rows.
        key_tokens: the labels of the columns; by default those of the rows.
        head_names: by default "head 0", "head 1", …
        keep_mask: [Tq, Tk]; where it is False, the cell is hatched.
        numbers: whether to write the weights into the cells; by default if they are few.
        title: over the picture.

    Raises:
        ValueError: for a batch, too many tokens, or labels that do not fit.
    """
    w = checked_weights(weights)
    rows, columns = axis_labels(w, query_tokens, key_tokens)
    heads = w if w.ndim == 3 else w[None]
    names = head_names if head_names is not None else [f"head {h}" for h in range(len(heads))]
    if len(names) != len(heads):
        raise ValueError(f"{len(names)} head names for H={len(heads)} heads: give one for each")
    across = min(len(heads), 4 if len(heads) > 3 else len(heads))
    down = -(-len(heads) // across)
    label = 0.085 * max(map(len, rows)) + 0.2
    step = min(0.36 if len(heads) == 1 else 0.3, 6.2 / max(w.shape[-2:]), (8.6 - label) / across / w.shape[-1])
    side_x, side_y = max(1.0, step * w.shape[-1]), max(0.8, step * w.shape[-2])
    below = 0.085 * max(map(len, columns)) + 0.5
    figure, grid = canvas(
        max(3.6, label + across * (side_x + 0.15) + 1.1), below + down * (side_y + 0.3) + 0.1,
        down, across, sharex=True, sharey=True, squeeze=False,
    )  # fmt: skip
    top = max(1e-9, min(1.0, float(np.nanmax(heads))))
    numbers = (len(heads) == 1 and max(w.shape) <= 10) if numbers is None else numbers
    for h, axes in enumerate(grid.flat):
        if h >= len(heads):
            axes.set_visible(False)
            continue
        image = axes.imshow(heads[h], cmap=WEIGHTS, vmin=0, vmax=top, aspect="equal", interpolation="nearest")
        _ticks(axes, rows, columns, 10, step)
        _cells(axes, heads[h].shape)
        if keep_mask is not None:
            for q, k in np.argwhere(~array(keep_mask).astype(bool)):
                axes.add_patch(
                    Rectangle((k - 0.5, q - 0.5), 1, 1, fill=False, hatch="///", edgecolor=SILVER, linewidth=0)
                )
        if numbers:
            for (q, k), value in np.ndenumerate(heads[h]):
                if value >= 0.005:
                    ground = to_hex(WEIGHTS(value / top))
                    number = f"{value:.2f}".removeprefix("0")
                    axes.text(k, q, number, ha="center", va="center", fontsize=10, color=ink_on(ground))
        if w.ndim == 3:
            axes.set_title(names[h], fontsize=11)
        elif title:
            axes.set_title(title)
    if w.ndim == 3 and title:
        figure.suptitle(title, fontsize=12)
    if len(heads) == 1:
        grid[0, 0].set(xlabel=KEY, ylabel=QUERY)
    else:
        figure.supxlabel(KEY, fontsize=11)
        figure.supylabel(QUERY, fontsize=11)
    bar = figure.colorbar(image, ax=grid, shrink=0.8, aspect=18, pad=0.02, label="weight (each row sums to 1)")
    bar.outline.set_visible(False)
    strongest = []
    for h, head in enumerate(heads[:8]):
        first = int(len(head) > 1)  # with a causal mask the first row is always 1
        q, k = np.unravel_index(np.nanargmax(head[first:]), head[first:].shape)
        q += first
        strongest.append(f"{names[h] + ': ' if w.ndim == 3 else ''}{rows[q]} to {columns[k]} {head[q, k]:.2f}")
    alt = f"Heat map of attention weights, {w.shape[-2]} queries by {w.shape[-1]} keys"
    return finish(figure, f"{alt}{f', {len(heads)} heads' if w.ndim == 3 else ''}. Strongest: {'; '.join(strongest)}.")


@styled
def mask(
    keep_mask: Any | Mapping[str, Any], tokens: Sequence[str] | None = None, key_tokens: Sequence[str] | None = None,
    *, title: str = "",
) -> Picture:  # fmt: skip
    """A mask, or several in a dict side by side: a filled cell may be attended to, a crossed one may not.

    Args:
        keep_mask: [Tq, Tk], True = may attend; or a dict from a name to such a mask.
        tokens: of the queries; by default their positions.
        key_tokens: of the keys, if they are others.
        title: over the picture.

    Raises:
        ValueError: for a mask that is not [Tq, Tk], or labels that do not fit.
    """
    masks = keep_mask if isinstance(keep_mask, Mapping) else {title: keep_mask}
    filled = {name: array(m).astype(bool) for name, m in masks.items()}
    for m in filled.values():
        if m.ndim != 2:
            raise ValueError(f"a mask of shape {list(m.shape)}: give [Tq, Tk]; of a batch take one item, keep_mask[0]")
        if max(m.shape) > LIMIT:
            raise ValueError(f"a mask of {m.shape[0]} × {m.shape[1]} cannot be read: give at most {LIMIT} tokens")
    widest, tallest = max(m.shape[1] for m in filled.values()), max(m.shape[0] for m in filled.values())
    step = min(0.34, 8.0 / len(filled) / (widest + 2))
    label = 0.08 * max((len(drawable(t)) for t in (tokens or ["00"])), default=2) + 0.6
    figure, grid = canvas(
        max(3.0, len(filled) * (step * widest + label)) + 0.2,
        step * tallest + label + 1.0,
        1,
        len(filled),
        squeeze=False,
    )
    for axes, (name, m) in zip(grid.flat, filled.items(), strict=True):
        axes.imshow(np.where(m, 0.62, 0.0), cmap=WEIGHTS, vmin=0, vmax=1, interpolation="nearest")
        for q, k in np.argwhere(~m):
            axes.plot(k, q, marker="x", color=STONE, markersize=min(6, step * 22), markeredgewidth=1)
        if tokens is None:
            rows, columns = [str(i) for i in range(m.shape[0])], [str(i) for i in range(m.shape[1])]
        else:
            rows, columns = axis_labels(m, tokens, key_tokens)
        _ticks(axes, rows, columns, 10, step)
        _cells(axes, m.shape)
        axes.set(title=name, xlabel="key (position)" if tokens is None else "key", ylabel="")
    grid[0, 0].set_ylabel("query (position)" if tokens is None else "query")
    figure.supxlabel("filled: may attend    ×: may not", fontsize=10, color=GREY)
    described = (f"{name + ': ' if name else ''}{m.sum()} of {m.size} pairs filled" for name, m in filled.items())
    return finish(figure, f"Mask of which query may attend to which key. {'; '.join(described)}.")


@styled
def rows(
    values: Any, labels: Sequence[str] | None = None, *, x: str = "channel", y: str = "row",
    most: Number | None = None, title: str = "",
) -> Picture:  # fmt: skip
    """A table of numbers as colours: purple above 0, orange below, white at 0.

    Args:
        values: [n, C], such as the vectors of a sentence or a table of positions.
        labels: what to write beside each row; by default its number.
        x: what the columns are.
        y: what the rows are.
        most: the number at the end of the colours, by default the largest; a larger one has the last colour.
        title: over the picture.

    Raises:
        ValueError: for values that are not a table, or labels that do not fit.

    >>> from gptlab import pictures
    >>> print(pictures.describe(pictures.rows([[0.5, -1.0], [2.0, 0.0]], ["a", "b"])))
    Heat map of a table, 2 rows by 2 columns, values from −1 to 2. a: 0.5 −1; b: 2 0.
    """
    v = array(values).astype(float)
    if v.ndim != 2 or not v.size:
        raise ValueError(f"values of shape {list(v.shape)}: give [n, C]; of a batch take one item, x[0]")
    if labels is not None and len(v) > LIMIT:
        raise ValueError(f"{len(v)} labels cannot be read: give at most {LIMIT} rows, or no labels")
    names = None if labels is None else [shorten(label, 14) for label in check_tokens(labels, len(v), "n", "rows")]
    most = float(np.nanmax(np.abs(v))) or 1.0 if most is None else most
    height = max(1.6, 0.21 * len(v) + 0.8)
    figure, axes = canvas(9.0, height if names else min(4.2, height))
    image = axes.imshow(v, aspect="auto", cmap="PuOr", vmin=-most, vmax=most, interpolation="nearest")
    axes.set(xlabel=x, ylabel="" if names else y, title=title)
    if names:
        axes.set_yticks(range(len(v)), names)
        axes.tick_params(axis="y", length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, label="value", pad=0.02).outline.set_visible(False)
    named = f" Rows: {', '.join(names)}." if names else ""
    if v.size <= 40:  # few enough to be read aloud
        shown = (" ".join(map(tidy, row)) for row in v)
        named = " " + "; ".join(f"{name}: {row}" for name, row in zip(names or range(len(v)), shown, strict=True)) + "."
    of = f"{title}. " if title else ""
    size, values = f"{len(v)} rows by {v.shape[1]} columns", f"from {tidy(np.nanmin(v))} to {tidy(np.nanmax(v))}"
    return finish(figure, f"{of}Heat map of a table, {size}, values {values}.{named}")
