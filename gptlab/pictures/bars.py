"""Numbers as bars: the model's next token, what each fact costs, runs side by side."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gptlab.html import BLUE, GREY, INK, ORANGE, SILVER, SKY
from gptlab.pictures import adapter
from gptlab.pictures.lines import commas
from gptlab.pictures.style import (
    PARTS,
    Number,
    Picture,
    alike,
    array,
    canvas,
    drawable,
    finish,
    shorten,
    styled,
    tidy,
)  # fmt: skip

HATCHES = {"free": "..", "recalled": "//", "form": ""}


def _frame(rows: int, width: float = 7.2):
    figure, axes = canvas(width, 0.31 * rows + 0.85)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.set_ylim(rows - 0.4, -0.6)
    return figure, axes


@styled
def next_token(
    probabilities: Any, tokenizer: Any, k: int = 10, *, actual: int | None = None, rest: bool = True, title: str = ""
) -> Picture:
    """The k most likely next tokens with their probabilities, and the probability of all others together.

    Args:
        probabilities: [V], as `logits.softmax(-1)` gives them for one position.
        tokenizer: any of gptlab's, tiktoken's or sentencepiece's, or a list of V strings.
        k: how many tokens have a bar of their own.
        actual: the id that really came next, to be marked.
        rest: whether all others together have a bar too; without one, the text under the axis says their probability.
        title: over the picture.

    Raises:
        ValueError: if `probabilities` is not one row that sums to 1.
    """
    p = array(probabilities).astype(float)
    if p.ndim != 1:
        raise ValueError(f"probabilities of shape {list(p.shape)}: give one row [V], such as probabilities[0, -1]")
    if (p < 0).any() or not np.isclose(p.sum(), 1.0, atol=0.02):
        raise ValueError(f"these numbers sum to {p.sum():.3f}, not to 1: are they logits? Take logits.softmax(-1)")
    best = [int(i) for i in np.argsort(-p, kind="stable")[:k]]
    if actual is not None and actual not in best:
        best.append(int(actual))
    left = 100 * max(0.0, 1.0 - p[best].sum())
    labels = [shorten(drawable(adapter.piece(tokenizer, i).shown)) for i in best]
    others = len(p) - len(best)
    last = int(others > 0 and rest)  # the bar of all others
    rows = len(best) + last
    figure, axes = _frame(rows)
    values = [100 * p[i] for i in best] + [left] * last
    colours = [ORANGE if i == actual else BLUE for i in best] + [SILVER] * last
    bars = axes.barh(range(rows), values, color=colours, height=0.72)
    texts, width = [_percent(value) for value in values], 1.14 * max(values)
    if actual is not None:
        row = best.index(int(actual))
        texts[row] += "  ◂ came next"
        width = max(width, values[row] + 0.34 * max(values))  # behind the number, not over it
    axes.bar_label(bars, texts, padding=4, fontsize=10)
    axes.set_yticks(range(rows), labels + [f"all {others:,} others"] * last)
    for tick in axes.get_yticklabels()[: len(best)]:
        tick.set(family="DejaVu Sans Mono", fontsize=11)
    below = "probability of being next (%)"
    if others and not rest:
        below += f"; all {others:,} others together: {_percent(left)}"
    axes.set(xlabel=below, xlim=(0, width), title=title)
    if actual is not None:
        axes.get_yticklabels()[row].set_weight("bold")
    described = ", ".join(f"{label} {value:.1f} %" for label, value in list(zip(labels, values, strict=False))[:5])
    return finish(figure, f"Bars of the most likely next tokens: {described}; all others together {left:.1f} %.")


def _percent(value: float) -> str:
    """A share of 100; what rounds to all or to nothing says so, since a softmax never gives either.

    >>> _percent(37.26), _percent(0.01), _percent(99.96)
    ('37.3 %', '< 0.1 %', '> 99.9 %')
    """
    if 99.95 <= value < 100:
        return "> 99.9 %"
    return f"{value:.1f} %" if value >= 0.05 else "< 0.1 %"


@styled
def reshaped(before: Any, after: Mapping[str, Any], tokenizer: Any, k: int = 13, *, title: str = "") -> Picture:
    """How settings change one distribution: a panel for each, with the k likeliest tokens and all others together.

    A dashed outline is the probability before, the filled bar the one after; a token that cannot come any more is
    marked "out".

    Args:
        before: [V], probabilities.
        after: from the name of a setting to [V], probabilities.
        tokenizer: any of gptlab's, tiktoken's or sentencepiece's, or a list of V strings.
        k: how many tokens have a bar of their own.
        title: over the picture.

    Raises:
        ValueError: if one of them is not one row that sums to 1.
    """
    rows_of = {"before": before, **after}
    for name, row in rows_of.items():
        p = rows_of[name] = array(row).astype(float)
        if p.ndim != 1 or len(p) != len(rows_of["before"]) or not np.isclose(p.sum(), 1.0, atol=0.02):
            raise ValueError(
                f"{name!r} has shape {list(p.shape)} and sum {p.sum():.3f}: give one row [V] that sums to 1"
            )
    p = rows_of.pop("before")
    best = np.argsort(-p, kind="stable")[:k]
    rows, others = len(best) + 1, len(p) - len(best)
    figure, panels = canvas(9.0, 0.3 * rows + 1.1, 1, len(rows_of), sharey=True, sharex=True, squeeze=False)
    was = 100 * np.append(p[best], np.delete(p, best).sum())
    is_now = {name: 100 * np.append(q[best], np.delete(q, best).sum()) for name, q in rows_of.items()}
    high, described = max(was.max(), *(values.max() for values in is_now.values())), []
    for axes, (name, values) in zip(panels[0], is_now.items(), strict=True):
        colours = [BLUE] * len(best) + [SILVER]
        axes.barh(range(rows), values, color=colours, height=0.7)
        axes.barh(range(rows), was, facecolor="none", edgecolor=INK, linestyle=(0, (2, 2)), linewidth=0.9, height=0.7)
        for row, (value, old) in enumerate(zip(values, was, strict=True)):
            out = value < 1e-9
            axes.annotate(
                "out" if out else _percent(value), (max(value, old), row), xytext=(4, 0), textcoords="offset points",
                va="center", fontsize=10, color=GREY if out else INK,
            )  # fmt: skip
        axes.set_title(name)
        axes.set_xlim(0, 1.36 * high)
        axes.set_xticks([tick for tick in axes.get_xticks() if tick <= min(100, 1.3 * high)])
        axes.set_ylim(rows - 0.4, -0.6)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("next (%)")
        left = int((values[:-1] >= 1e-9).sum())
        described.append(
            f"{name}: the likeliest {_percent(values[:-1].max())}, {left} of these {len(best)} possible, all others "
            f"together {_percent(values[-1])}"
        )
    labels = [shorten(drawable(adapter.piece(tokenizer, int(i)).shown)) for i in best]
    panels[0][0].set_yticks(range(rows), [*labels, f"all {others:,} others"])
    for tick in panels[0][0].get_yticklabels()[:-1]:
        tick.set(family="DejaVu Sans Mono", fontsize=11)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    shown = ", ".join(f"{label} {value:.1f} %" for label, value in list(zip(labels, was, strict=False))[:4])
    return finish(figure, f"Bars of next tokens, before ({shown}, …) and after. {'; '.join(described)}.")


@styled
def by_fact(nats: Mapping[tuple[str, str], Number], k: int = 15, *, title: str = "") -> Picture:
    """The excess loss that each fact costs, in nats per story, largest first, in the colour of its kind.

    Args:
        nats: from (kind, fact) to nats per story, as `StoryEvaluation.by_fact` gives it; kind is "free", "recalled" or
            "form".
        k: bars shown; the others are added up in one.
        title: over the picture.

    Raises:
        ValueError: if there are no facts.
    """
    if not nats:
        raise ValueError("no facts to draw: give a dict from (kind, fact) to nats per story")
    ranked = sorted(nats.items(), key=lambda item: (-item[1], item[0]))
    shown, rest = ranked[:k], ranked[k:]
    rows = len(shown) + bool(rest)
    figure, axes = _frame(rows)
    for row, ((kind, _), value) in enumerate(shown):
        seen = kind not in axes.get_legend_handles_labels()[1]
        bar = axes.barh(
            row, value, color=PARTS.get(kind, GREY), hatch=HATCHES.get(kind, ""), edgecolor="white", height=0.74,
            label=kind if seen else "_",
        )  # fmt: skip
        axes.bar_label(bar, [tidy(round(value, 3))], padding=4, fontsize=10)
    labels = [fact or f"{kind} words" for (kind, fact), _ in shown]
    if rest:
        total = sum(value for _, value in rest)
        axes.bar_label(
            axes.barh(rows - 1, total, color=SILVER, height=0.74), [tidy(round(total, 3))], padding=4, fontsize=10
        )
        labels.append(f"{len(rest)} more fact{'' if len(rest) == 1 else 's'}")
    axes.set_yticks(range(rows), [drawable(label).replace("␣", " ") for label in labels])
    axes.axvline(0, color=INK, linewidth=0.8)
    drawn = [0.0, 1e-9, sum(value for _, value in rest), *nats.values()]
    low, high = min(drawn), max(drawn)
    axes.set_xlim(low - 0.12 * (high - low) * (low < 0), high + 0.12 * (high - low))
    axes.set(xlabel="above the floor (nats per story)", title=title)
    axes.legend(loc="lower right")
    described = "; ".join(f"{kind} {fact or 'words'} {tidy(round(value, 3))}" for (kind, fact), value in shown[:5])
    return finish(figure, f"Bars of the excess in nats per story by fact, largest first: {described}.")


@styled
def compare(
    values: Mapping[str, Any], unit: str, floor: Number | Mapping[str, Number] | None = None, *,
    best: str | None = "low", digits: int = 3, title: str = "",
) -> Picture:  # fmt: skip
    """Named numbers side by side, in the order given; several numbers for a name (seeds) show their mean and range.

    Args:
        values: from a name to a number, or to several.
        unit: of the axis.
        floor: what cannot be beaten: a number, or a dict from label to number.
        best: "low" or "high" darkens the best bar; None darkens none.
        digits: significant digits of the numbers.
        title: over the picture.

    Raises:
        ValueError: if there is nothing to compare.
    """
    if not values:
        raise ValueError("nothing to compare: give a dict from names to numbers")
    runs = {name: np.atleast_1d(array(v)).astype(float) for name, v in values.items()}
    means = np.asarray([v.mean() for v in runs.values()])
    figure, axes = _frame(len(runs))
    chosen = {"low": int(np.nanargmin(means)), "high": int(np.nanargmax(means)), None: -1}[best]
    colours = [BLUE if best is None or i == chosen else SKY for i in range(len(means))]
    bars = axes.barh(range(len(means)), means, color=colours, height=0.7)
    labels = alike(means, digits)
    for row, (bar, v) in enumerate(zip(bars, runs.values(), strict=True)):
        if len(v) > 1:
            axes.plot([v.min(), v.max()], [row, row], color=INK, linewidth=1.5, marker="|", markersize=9)
            labels[row] += f"  ({tidy(float(v.min()), digits)} to {tidy(float(v.max()), digits)})"
        axes.annotate(
            labels[row], (max(bar.get_width(), v.max()), row), xytext=(6, 0), textcoords="offset points", va="center",
            fontsize=10, weight="bold" if row == chosen else "normal",
        )  # fmt: skip
    axes.set_yticks(range(len(means)), [drawable(name).replace("␣", " ") for name in runs])
    longest = max(v.max() for v in runs.values())
    margin = 1.16 + 0.012 * max(map(len, labels))
    axes.set(xlabel=unit, xlim=(min(0.0, float(means.min()) * 1.1), max(longest, 1e-12) * margin), title=title)
    commas(axes)
    alt = f"Bars, in {unit}: " + "; ".join(f"{n} {label}" for n, label in zip(runs, labels, strict=True)) + "."
    floors = {} if floor is None else floor if isinstance(floor, Mapping) else {"the floor": floor}
    for name, height in floors.items():
        axes.axvline(height, color=INK, linewidth=1.4, linestyle=(0, (1, 1)))
        axes.annotate(
            f"{name}: {tidy(height, digits)}", (height, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 3),
            textcoords="offset points", ha="center", va="bottom", fontsize=10,
        )  # fmt: skip
        alt += f" {name}: {tidy(height, digits)}."
    if floors and title:
        axes.set_title(title, pad=20)
    return finish(figure, alt)
