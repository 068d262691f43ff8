"""Numbers against numbers as lines: gain against cost, time against length."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator, StrMethodFormatter

from gptlab.html import INK
from gptlab.pictures.style import DASHES, MARKERS, SERIES, Number, Picture, array, canvas, finish, styled, tidy

# The offset of a label from its point, in points: each line has its own side, so that labels do not overlap.
SIDES = ((7, 5, "left"), (-6, 5, "right"), (6, -14, "left"), (9, -4, "left"))


def commas(axes) -> None:
    """Write commas between the thousands at both axes, as `tidy` does in the text; short numbers stay as they are.

    Args:
        axes: of matplotlib, with everything drawn. Logarithmic ones have labels of their own, and keep them.
    """
    for axis, scale, (low, high) in (
        (axes.xaxis, axes.get_xscale(), axes.get_xlim()), (axes.yaxis, axes.get_yscale(), axes.get_ylim()),
    ):  # fmt: skip
        if scale == "linear" and max(abs(low), abs(high)) >= 1000 and abs(high - low) >= 20:
            axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


@styled
def lines(
    series: Mapping[str, Sequence], x: str, y: str, *, ranges: Mapping[str, Sequence] | None = None,
    apart: Collection[str] = (), at: Mapping[str, Number] | None = None, level: Mapping[str, Number] | None = None,
    log: str = "", bottom: Number | None = None, legend: str = "best", title: str = "",
) -> Picture:  # fmt: skip
    """Points joined by lines, one line for each name; each has its own colour, dash and (up to 40 points) marker.

    Args:
        series: from a name to points (x, y), or (x, y, "label") where the label is written beside the point.
        x: what the horizontal axis is, with its unit.
        y: what the vertical axis is, with its unit.
        ranges: from the name of a series to (lowest, highest) for each of its points, such as over several seeds; a
            thin bar with two ends shows it.
        apart: the series whose points are not joined, because what lies between them means nothing.
        at: vertical lines, from label to x.
        level: horizontal lines, from label to y.
        log: the axes with logarithmic scales: "x", "y" or "xy".
        bottom: where the vertical axis begins; by default just below the lowest point.
        legend: its place, as in matplotlib; "outside upper center" keeps it off the curves.
        title: over the picture.

    Raises:
        ValueError: for no series, or one without points; for ranges that do not fit the points; for a name in `apart`
            that no series has.

    >>> from gptlab import pictures
    >>> print(pictures.describe(pictures.lines({"a": [(1, 2.0), (3, 4.5)]}, "size", "time (ms)")))
    time (ms) against size. a: from 2 at 1 to 4.5 at 3.
    """
    if not series or not all(len(points) for points in series.values()):
        raise ValueError("no points to draw: give a dict from a name to points (x, y)")
    for name, spans in (ranges or {}).items():
        if name not in series or len(spans) != len(series[name]):
            points = f"{len(series[name])} points" if name in series else f"no such series among {', '.join(series)}"
            raise ValueError(f"{len(spans)} ranges for {name!r}, {points}: give (lowest, highest) for each point")
    if unknown := [name for name in apart if name not in series]:
        raise ValueError(f"apart={unknown[0]!r} is the name of no series: choose among {', '.join(series)}")
    figure, axes = canvas(7.8, 4.1)
    described = []
    for i, (name, points) in enumerate(series.items()):
        xs, ys = (array([point[c] for point in points]).astype(float) for c in (0, 1))
        colour = SERIES[i % 7]
        marker = MARKERS[i % 7] if len(xs) <= 40 else None  # more would be a band
        dash = "none" if name in apart else DASHES[i % 7]
        axes.plot(xs, ys, color=colour, linestyle=dash, marker=marker, markersize=6, label=name)
        for point in points:
            if len(point) > 2:
                axes.annotate(
                    point[2], point[:2], xytext=SIDES[i % 4][:2], ha=SIDES[i % 4][2], textcoords="offset points",
                    fontsize=10, color=INK,
                )  # fmt: skip
        described.append(f"{name}: from {tidy(ys[0])} at {tidy(xs[0])} to {tidy(ys[-1])} at {tidy(xs[-1])}")
        if name in (ranges or {}):
            low, high = array(ranges[name]).astype(float).T
            axes.vlines(xs, low, high, color=INK, linewidth=1.2, zorder=4)
            for ends in (low, high):  # wider than the marker, so that a short range shows as well
                axes.plot(xs, ends, color=INK, linestyle="", marker="_", markersize=13, zorder=4)
            described[-1] += f" (there between {tidy(low[-1])} and {tidy(high[-1])})"
    for axis in log:
        getattr(axes, f"set_{axis}scale")("log")
        ticks, (low, high) = getattr(axes, f"{axis}axis"), getattr(axes, f"get_{axis}lim")()
        ticks.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1e4 * low else (1,)))  # over many decades, fewer
        ticks.set_major_formatter(FuncFormatter(lambda value, _: tidy(value)))
        ticks.set_minor_formatter(NullFormatter())
    if "x" in log:  # sizes are few, and usually powers of two: name them
        sizes = sorted({float(point[0]) for points in series.values() for point in points})
        axes.set_xticks(sizes if len(sizes) <= 9 else sizes[:: int(np.ceil(len(sizes) / 9))])
        axes.xaxis.set_minor_locator(NullLocator())  # between these, a mark without a number would mislead
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
    if bottom is not None:
        axes.set_ylim(bottom=bottom)
    commas(axes)
    axes.set_title(title, pad=20 if at else 6)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    if len(series) > 1 and legend.startswith("outside"):
        figure.legend(loc=legend, ncols=min(len(series), 4), handlelength=3)
    elif len(series) > 1:
        axes.legend(loc=legend, frameon=True, framealpha=0.85, edgecolor="none", handlelength=3)
    return finish(figure, f"{y} against {x}. {'; '.join(described)}.")
