"""One sentence looking at itself: arcs from token to token, and a table of weights to read row by row."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from gptlab.html import BLUE, CHIP, RED, SLATE, WHITE, Html, element, escape, ink_on, row, scrolling, table
from gptlab.pictures.heat import axis_labels, checked_weights
from gptlab.pictures.style import WEIGHTS, Number, Picture, canvas, finish, styled, visible


@styled
def arcs(
    weights: Any, tokens: Sequence[str], row: int | None = None, *, least: Number = 0.05, title: str = ""
) -> Picture:
    """Attention as arcs over the sentence, from a query to the keys it attends to; thicker means more weight.

    Args:
        weights: [T, T], one head.
        tokens: the T tokens.
        row: one query only; -1 is the last.
        least: weights below it are not drawn.
        title: over the picture.

    Raises:
        ValueError: for more than one head, or a row that does not exist.
    """
    w = checked_weights(weights)
    if w.ndim != 2 or w.shape[0] != w.shape[1]:
        raise ValueError(f"weights of shape {list(w.shape)}: arcs need one head of self-attention, [T, T]: weights[0]")
    labels, _ = axis_labels(w, tokens, None)
    if row is not None and not -len(labels) <= row < len(labels):
        raise ValueError(f"row {row} of {len(labels)}: choose one from 0 to {len(labels) - 1}")
    queries = range(len(labels)) if row is None else [row % len(labels)]
    widths = np.asarray([len(label) + 1.0 for label in labels])
    at = np.cumsum(widths) - widths / 2
    size = 11 if widths.sum() <= 84 else 10
    turned = widths.sum() > 92  # too long for one line: the words stand upright
    if turned:
        at = np.arange(len(labels)) * (92 / len(labels))
    span_ = max((abs(at[q] - at[k]) for q in queries for k in range(len(labels)) if w[q, k] >= least), default=1.0)
    width = min(9.0, max(4.5, 0.098 * float(at[-1] + 4)))
    figure, axes = canvas(width, 2.5 if not turned else 3.4)
    for q in queries:
        for k, weight in enumerate(w[q]):
            if weight < least:
                continue
            colour = BLUE if k <= q else RED
            if k == q:
                axes.plot(at[q], 0.05, marker="o", markersize=3 + 9 * weight, color=colour, alpha=0.6, zorder=1)
                continue
            height = 0.15 + 1.1 * abs(at[q] - at[k]) / span_
            path = Path(
                [(at[q], 0.05), (at[q], height), (at[k], height), (at[k], 0.05)],
                [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4],
            )
            strength = 0.35 + 0.6 * min(1.0, weight)
            axes.add_patch(PathPatch(path, fill=False, edgecolor=colour, linewidth=0.6 + 6 * weight, alpha=strength))
    for i, label in enumerate(labels):
        asked = row is not None and i == queries[0]
        axes.text(
            at[i], -0.06, label, ha="center", va="top", family="DejaVu Sans Mono", fontsize=size,
            rotation=90 if turned else 0, weight="bold" if asked else "normal",
        )  # fmt: skip
        if row is not None and not turned and w[queries[0], i] >= least:
            number = f"{w[queries[0], i]:.2f}".removeprefix("0")
            axes.text(at[i], -0.27, number, ha="center", va="top", fontsize=10, color=BLUE)
    down = -0.45 if not turned else -0.11 * max(map(len, labels)) - 0.1
    axes.set(xlim=(min(at[0] - widths[0] / 2, -1), at[-1] + widths[-1] / 2 + 0.5), ylim=(down, 1.12))
    axes.axis("off")
    asks = "every token" if row is None else f"{labels[queries[0]]!r}"
    axes.set_title(title or f"Where {asks} looks (thicker: more weight; a dot: at itself)", fontsize=11)
    described = []
    for q in queries:
        for k in np.argsort(-w[q], kind="stable")[: 5 if row is not None else 1]:
            if w[q, k] >= least:
                described.append(f"{labels[q]} to {labels[k]} {w[q, k]:.2f}")
    return finish(figure, f"Arcs of attention over the sentence: {', '.join(described[:12])}.")


def attention_table(
    weights: Any, query_tokens: Sequence[str], key_tokens: Sequence[str] | None = None,
    head_names: Sequence[str] | None = None,
) -> Html:  # fmt: skip
    """Attention weights as a table: point at a cell to read which query attends to which key, and how much.

    Several heads fold up, the first open. The plain text gives for each query the three keys with most weight.

    Args:
        weights: [Tq, Tk], or [H, Tq, Tk].
        query_tokens: the labels of the rows.
        key_tokens: the labels of the columns; by default those of the rows.
        head_names: by default "head 0", "head 1", …

    >>> attention_table([[1.0, 0.0], [0.25, 0.75]], ["a", "fox"])
    a: a 1.00
    fox: fox 0.75, a 0.25
    """
    w = checked_weights(weights)
    axis_labels(w, query_tokens, key_tokens)
    keys = [visible(t) for t in (query_tokens if key_tokens is None else key_tokens)]
    queries = [visible(t) for t in query_tokens]
    heads = w if w.ndim == 3 else w[None]
    names = head_names if head_names is not None else [f"head {h}" for h in range(len(heads))]
    top = max(1e-9, min(1.0, float(heads.max())))
    parts, plain = [], []
    for h, head in enumerate(heads):
        shown = _one_head(head, queries, keys, top)
        lines = [f"{query}: {_best(values, keys)}" for query, values in zip(queries, head, strict=True)]
        if w.ndim == 3:
            summary = element("summary", escape(str(names[h])), "font-size:14px")
            shown = f"<details{' open' if h == 0 else ''}>{summary}{shown}</details>"
            lines = [f"[{names[h]}]", *lines]
        parts.append(shown)
        plain += lines
    return Html(scrolling("".join(parts)), "\n".join(plain))


def _best(values: np.ndarray, keys: list[str]) -> str:
    best = [int(k) for k in np.argsort(-values, kind="stable")[:3] if values[k] >= 0.005]
    return ", ".join(f"{keys[k]} {values[k]:.2f}" for k in best) or "nothing"


def _one_head(head: np.ndarray, queries: list[str], keys: list[str], top: Number) -> str:
    name = f"{CHIP};background-color:{WHITE};text-align:right;padding:2px 6px;font-weight:normal"
    column = f"{name};text-align:center;max-width:84px;overflow:hidden;text-overflow:ellipsis"
    corner = f"background-color:{WHITE};color:{SLATE};font-size:12px;font-weight:normal"
    header = [element("th", "query ↓ key →", corner), *(element("th", escape(k), column, title=k) for k in keys)]
    body = []
    for query, values in zip(queries, head, strict=True):
        cells = [element("th", escape(query), name)]
        for key, value in zip(keys, values, strict=True):
            ground = to_hex(WEIGHTS(min(1.0, value / top)))
            style = f"background-color:{ground};color:{ink_on(ground)};text-align:center;padding:3px 4px;font-size:13px"
            number = f"{value:.2f}".removeprefix("0") if value >= 0.005 else ""
            cells.append(element("td", number, style, title=f"{query} → {key}: {value:.3f}"))
        body.append(row(cells))
    return table(body, [row(header)])
