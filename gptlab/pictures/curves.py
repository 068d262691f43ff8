"""Training as curves: the loss over the floor, the excess in its parts, the learning rate."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from gptlab.html import GREY, INK, YELLOW
from gptlab.pictures.style import (
    DASHES,
    MARKERS,
    PARTS,
    SERIES,
    Number,
    Picture,
    canvas,
    finish,
    styled,
    tidy,
)

UNITS = {
    "loss": "loss (nats per token)", "rate": "learning rate", "gradient_norm": "gradient norm",
    "seconds": "time (seconds)", "steps": "step",
}  # fmt: skip
FIELDS = {"loss": "losses", "rate": "rates", "gradient_norm": "gradient_norms"}


def _get(history: Any, name: str):
    """A field of a History, or of the dict that its JSON holds."""
    return history[name] if isinstance(history, Mapping) else getattr(history, name)


def _named(histories: Any) -> dict[str, Any]:
    if isinstance(histories, Mapping) and "losses" not in histories:
        if not histories:
            raise ValueError("no history to draw: give one, or a dict from names to histories")
        return dict(histories)
    return {"": histories}


def _times(history: Any, steps: Any, x: str) -> np.ndarray:
    """The position of each step on the axis. Seconds between two measurements are spread evenly over the steps."""
    steps = np.asarray(steps, dtype=float)
    if x == "steps":
        return steps
    if x != "seconds":
        raise ValueError(f"x={x!r}: choose 'steps' or 'seconds'")
    known = {0.0: 0.0, float(len(_get(history, "losses"))): float(_get(history, "seconds"))}
    known |= {float(e["step"]): float(e["seconds"]) for e in _get(history, "evaluations") if "seconds" in e}
    at = sorted(known)
    return np.interp(steps, at, [known[a] for a in at])


def _smoothed(values: np.ndarray, width: int) -> np.ndarray:
    """The mean of `width` values around each, or of fewer at the start, where they fall fast."""
    at, half = np.arange(len(values)), width // 2
    sums = np.concatenate([[0.0], np.cumsum(values)])
    starts = at - np.minimum(half, at)
    ends = np.minimum(at + np.minimum(half, at), len(values) - 1) + 1
    return (sums[ends] - sums[starts]) / (ends - starts)


def _log(axes) -> None:
    """A logarithmic height with plain numbers at 1, 2 and 5, and at more of them where it spans less than a decade."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else (1, 2, 3, 4, 5, 7)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tidy(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _floor(axes, floor: Number | Mapping[str, Number], log: bool) -> str:
    """Lines that no model can get below, each with a label under it; returns the words for the alternative text."""
    floors = floor if isinstance(floor, Mapping) else {"the floor": floor}
    low, high = axes.get_ylim()
    least = min(floors.values())
    below = least / (high / least) ** 0.09 if log else least - 0.09 * (high - least)
    highest = max(floors.values())
    axes.set_ylim(min(low, below), max(high, highest * 1.1 if log else highest + 0.03 * (high - low)))
    for name, height in floors.items():
        axes.axhline(height, color=INK, linewidth=1.3, linestyle=(0, (1, 1)), zorder=1)
        where = 0.995 if height == least else 0.5  # the legend is at the upper right
        axes.annotate(
            f"{name}: {tidy(height, 4)}", (where, height), xycoords=("axes fraction", "data"), xytext=(0, -2),
            textcoords="offset points", ha="right", va="top", fontsize=10,
        )  # fmt: skip
    return "; ".join(f"{name} at {tidy(height, 4)}" for name, height in floors.items())


@styled
def training(
    history: Any, floor: Number | Mapping[str, Number] | None = None, what: str | Sequence[str] = "loss", *,
    x: str = "steps", smooth: int | None = None, log: bool = False, unit: str | None = None,
    top: Number | None = None, title: str = "",
) -> Picture:  # fmt: skip
    """What happened in training, step by step: one history, or several in a dict from name to history.

    Args:
        history: what `gptlab.training.train` returned, or the dict that its JSON holds.
        floor: what no model can get below, in the unit of the axis; a number, or a dict from label to number.
        what: "loss" (of each batch), "rate", "gradient_norm", or the name of any evaluated number ("excess",
            "validation", …); a list draws several, e.g. ("loss", "validation").
        x: "steps" or "seconds" (of training).
        smooth: steps to average over, 1 for none; by default 1/50 of the run.
        log: whether the height is logarithmic.
        unit: of the height.
        top: the height at which the picture ends.
        title: over the picture.

    Raises:
        ValueError: for a history that never measured `what`, with what it did measure.
    """
    histories, kinds = _named(history), [what] if isinstance(what, str) else list(what)
    figure, axes = canvas(7.8, 3.9)
    ends, many = [], len(histories) * len(kinds) > 1
    for i, (name, run) in enumerate(histories.items()):
        for j, kind in enumerate(kinds):
            style = i * len(kinds) + j
            label = ", ".join(part for part in (name, kind if len(kinds) > 1 else "") if part)
            look = {"color": SERIES[style % 7], "linestyle": DASHES[style % 7] if many else "-"}
            if kind in FIELDS:
                values = np.asarray(_get(run, FIELDS[kind]), dtype=float)
                at = _times(run, np.arange(1, len(values) + 1), x)
                width = smooth or (max(1, len(values) // 50) if kind == "loss" else 1)
                if width > 1:
                    axes.plot(at, values, color=look["color"], linewidth=0.6, alpha=0.3, gid=f"raw {label}")
                    values = _smoothed(values, width)
                axes.plot(at, values, label=label, **look)
            else:
                points = [(e["step"], e[kind]) for e in _get(run, "evaluations") if kind in e]
                if not points:
                    known = {key for e in _get(run, "evaluations") for key in e} - {"step", "seconds"}
                    raise ValueError(f"this history has no {kind!r}: choose one of {sorted({*FIELDS, *known})}")
                at, values = _times(run, [p[0] for p in points], x), np.asarray([p[1] for p in points], dtype=float)
                axes.plot(at, values, label=label, marker=MARKERS[style % 7], markersize=5, **look)
            if len(values):
                ends.append(f"{label or kind} from {tidy(values[0])} to {tidy(values[-1])}")
    height = unit or (UNITS.get(kinds[0]) or f"{kinds[0]} (nats per story)")
    if unit is None and len(kinds) > 1:
        height = "nats per token"
    axes.set(xlabel=UNITS[x], ylabel=height, title=title)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    if log:
        _log(axes)
    if many:
        axes.legend()
    alt = f"{height} against {UNITS[x]}: {'; '.join(ends)}."
    if floor is not None:
        alt += f" {_floor(axes, floor, log)}."
    if top is not None:
        axes.set_ylim(top=top)
    return finish(figure, alt)


@styled
def excess(
    history: Any, *, x: str = "steps", log: bool = False, top: Number | None = None, title: str = "", fall: bool = True
) -> Picture:
    """The nats per story above the best possible loss, in their three parts: form, recalled facts, free choices.

    Form is learned at once; recall comes later, in one fall, whose steepest part is marked.

    Args:
        history: whose evaluations are those of `gptlab.evaluation.StoryEvaluation`.
        x: "steps" or "seconds".
        log: three lines on a logarithmic height instead of stacked areas.
        top: the height at which the picture ends; by default chosen so that the first values, which are far higher,
            do not squeeze the rest.
        title: over the picture.
        fall: whether to mark the fall of recall.

    Raises:
        ValueError: if there are no such evaluations.
    """
    entries = [e for e in _get(history, "evaluations") if {"excess", *PARTS} <= set(e)]
    if not entries:
        raise ValueError("no evaluation here has 'excess' and its parts: train with evaluate=StoryEvaluation(...)")
    at = _times(history, [e["step"] for e in entries], x)
    total = np.asarray([e["excess"] for e in entries], dtype=float)
    parts = {name: np.asarray([e[name] for e in entries], dtype=float) for name in PARTS}
    figure, axes = canvas(7.8, 4.0)
    names = {"form": "form", "recalled": "recalled facts", "free": "free choices"}
    if log:
        for (name, values), marker in zip(parts.items(), MARKERS, strict=False):
            axes.plot(at, np.maximum(values, 1e-3), color=PARTS[name], marker=marker, markersize=5, label=names[name])
        _log(axes)
    else:
        heights = [np.maximum(values, 0) for values in parts.values()]
        layers = axes.stackplot(at, heights, colors=PARTS.values(), labels=[names[n] for n in parts], alpha=0.85)
        for layer, hatch in zip(layers, ("", "//", ".."), strict=True):
            layer.set(hatch=hatch, edgecolor="white", linewidth=0.5)
    axes.plot(at, total, color=INK, marker="o", markersize=4, label="all: loss − floor")
    if top is None and not log and len(total) > 2 and total.max() > 4 * np.median(total):
        top = 2.5 * float(np.median(total))
    if not log:
        axes.set_ylim(0, top)
    axes.set(xlabel=UNITS[x], ylabel="above the floor (nats per story)", title=title)
    if len(at) > 1:
        axes.set_xlim(at[0], at[-1])
    alt = (
        f"Nats per story above the floor against {UNITS[x]}, from {tidy(total[0])} to {tidy(total[-1])}; at the end: "
        + ", ".join(f"{names[n]} {tidy(values[-1])}" for n, values in parts.items())
        + "."
    )
    drops = parts["recalled"][:-1] - parts["recalled"][1:]
    if fall and len(drops) and drops.max() > 0.25 * parts["recalled"].max():
        i = int(drops.argmax())
        axes.axvspan(at[i], at[i + 1], color=YELLOW, alpha=0.35, zorder=0, linewidth=0)
        axes.annotate(
            "recall falls", ((at[i] + at[i + 1]) / 2, 0.97), xycoords=("data", "axes fraction"), ha="center", va="top",
            fontsize=10, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.8},
        )  # fmt: skip
        unit = "steps" if x == "steps" else "seconds"
        alt += f" Recall falls fastest between {tidy(at[i])} and {tidy(at[i + 1])} {unit}."
    axes.legend(loc="lower left" if log else "upper right")
    return finish(figure, alt)


@styled
def rate(config: Any, *, title: str = "") -> Picture:
    """The learning rate of each step.

    Args:
        config: a `TrainConfig`, or a dict from a name to one.
        title: over the picture.
    """
    from gptlab.schedule import lr_multiplier

    configs = config if isinstance(config, Mapping) else {"": config}
    figure, axes = canvas(7.2, 3.0)
    described = []
    for i, (name, c) in enumerate(configs.items()):
        steps = np.arange(c.steps)
        rates = np.asarray([c.learning_rate * lr_multiplier(int(s), c) for s in steps])
        axes.plot(steps + 1, rates, color=SERIES[i % 7], linestyle=DASHES[i % 7], label=name)
        described.append(
            f"{name + ': ' if name else ''}up in {c.warmup} steps to {tidy(c.learning_rate)}, last {tidy(rates[-1])}"
        )
    axes.set(xlabel="step", ylabel="learning rate", title=title, ylim=(0, None))
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.spines["bottom"].set_color(GREY)
    if len(configs) > 1:
        axes.legend()
    return finish(figure, f"Learning rate against step. {'; '.join(described)}.")
