"""Numbers against numbers as lines: gain against cost, time against length."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from gptlab.html import INK
from gptlab.pictures.style import DASHES, MARKERS, SERIES, Number, Picture, array, canvas, finish, styled, tidy

# The offset of a label from its point, in points: each line has its own side, so that labels do not overlap.
SIDES = ((7, 5, "left"), (-6, 5, "right"), (6, -14, "left"), (9, -4, "left"))


@styled
def lines(
    series: Mapping[str, Sequence], x: str, y: str, *, at: Mapping[str, Number] | None = None,
    level: Mapping[str, Number] | None = None, log: str = "", legend: str = "best", title: str = "",
) -> Picture:  # fmt: skip
    """Points joined by lines, one line for each name; each has its own colour, dash and (up to 40 points) marker.

    Args:
        series: from a name to points (x, y), or (x, y, "label") where the label is written beside the point.
        x: what the horizontal axis is, with its unit.
        y: what the vertical axis is, with its unit.
        at: vertical lines, from label to x.
        level: horizontal lines, from label to y.
        log: the axes with logarithmic scales: "x", "y" or "xy".
        legend: its place, as in matplotlib; "outside upper center" keeps it off the curves.
        title: over the picture.

    Raises:
        ValueError: for no series, or one without points.

    >>> from gptlab import pictures
    >>> print(pictures.describe(pictures.lines({"a": [(1, 2.0), (3, 4.5)]}, "size", "time (ms)")))
    time (ms) against size. a: from 2 at 1 to 4.5 at 3.
    """
    if not series or not all(len(points) for points in series.values()):
        raise ValueError("no points to draw: give a dict from a name to points (x, y)")
    figure, axes = canvas(7.8, 4.1)
    described = []
    for i, (name, points) in enumerate(series.items()):
        xs, ys = (array([point[c] for point in points]).astype(float) for c in (0, 1))
        colour = SERIES[i % 7]
        marker = MARKERS[i % 7] if len(xs) <= 40 else None  # more would be a band
        axes.plot(xs, ys, color=colour, linestyle=DASHES[i % 7], marker=marker, markersize=6, label=name)
        for point in points:
            if len(point) > 2:
                axes.annotate(
                    point[2], point[:2], xytext=SIDES[i % 4][:2], ha=SIDES[i % 4][2], textcoords="offset points",
                    fontsize=10, color=INK,
                )  # fmt: skip
        described.append(f"{name}: from {tidy(ys[0])} at {tidy(xs[0])} to {tidy(ys[-1])} at {tidy(xs[-1])}")
    for axis in log:
        getattr(axes, f"set_{axis}scale")("log")
        ticks, (low, high) = getattr(axes, f"{axis}axis"), getattr(axes, f"get_{axis}lim")()
        ticks.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1e4 * low else (1,)))  # over many decades, fewer
        ticks.set_major_formatter(FuncFormatter(lambda value, _: tidy(value)))
        ticks.set_minor_formatter(NullFormatter())
    if "x" in log:  # sizes are few, and usually powers of two: name them
        sizes = sorted({float(point[0]) for points in series.values() for point in points})
        axes.set_xticks(sizes if len(sizes) <= 9 else sizes[:: int(np.ceil(len(sizes) / 9))])
    for name, value in (at or {}).items():
        axes.axvline(value, color=INK, linewidth=1.3, linestyle=(0, (1, 1)), zorder=1)
        axes.annotate(
            f"{name}: {tidy(value)}", (value, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 3),
            textcoords="offset points", ha="center", va="bottom", fontsize=10,
        )  # fmt: skip
        described.append(f"{name} at {tidy(value)}")
    for name, value in (level or {}).items():
        axes.axhline(value, color=INK, linewidth=1.3, linestyle=(0, (1, 1)), zorder=1)
        axes.annotate(
            f"{name}: {tidy(value)}", (0.995, value), xycoords=("axes fraction", "data"), xytext=(0, 3),
            textcoords="offset points", ha="right", va="bottom", fontsize=10,
        )  # fmt: skip
        described.append(f"{name} at {tidy(value)}")
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title, pad=20 if at else 6)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    if len(series) > 1 and legend.startswith("outside"):
        figure.legend(loc=legend, ncols=min(len(series), 4), handlelength=3)
    elif len(series) > 1:
        axes.legend(loc=legend, frameon=True, framealpha=0.85, edgecolor="none", handlelength=3)
    return finish(figure, f"{y} against {x}. {'; '.join(described)}.")
