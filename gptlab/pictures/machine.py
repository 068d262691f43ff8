"""What a machine does with a model: the two ceilings over its speed, and the memory of a training step in time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, NullFormatter

from gptlab.html import GREY, INK, PALE, SKY
from gptlab.pictures.style import (
    DASHES,
    MARKERS,
    SERIES,
    Number,
    Picture,
    array,
    canvas,
    finish,
    styled,
    tidy,
)

UNITS = ((1e15, "PFLOP/s"), (1e12, "TFLOP/s"), (1e9, "GFLOP/s"), (1e6, "MFLOP/s"), (1.0, "FLOP/s"))


def rate_text(rate: Number) -> str:
    """FLOP/s with three digits and the unit that fits.

    >>> rate_text(98.7e9), rate_text(1.5e12), rate_text(20)
    ('98.7 GFLOP/s', '1.5 TFLOP/s', '20 FLOP/s')
    """
    size, unit = next((size, unit) for size, unit in (*UNITS, (0.0, "FLOP/s")) if rate >= size)
    return f"{tidy(rate / (size or 1.0))} {unit}"


@styled
def roofline(roof: Any, parts: Mapping[str, Sequence[Number]], *, title: str = "") -> Picture:
    """The two ceilings of a machine against arithmetic intensity, and the parts of a model below them.

    The slope is what memory can feed, the flat part what the arithmetic can do; they meet at the ridge. A part that was
    measured is a filled marker at its speed; one that was not is a hollow marker on the roof, the most it can reach.

    Args:
        roof: with `rate` (FLOP/s) and `bandwidth` (bytes/s), such as `gptlab.gpu.Roofline`.
        parts: from a name to (FLOPs per byte, FLOP/s measured), or (FLOPs per byte,) alone.
        title: over the picture.

    Raises:
        ValueError: for no parts, or a number that is not above 0 (the scales are logarithmic).

    >>> from gptlab import gpu, pictures
    >>> roof = gpu.Roofline(rate=100e9, bandwidth=10e9)
    >>> print(pictures.describe(pictures.roofline(roof, {"sum": (0.25, 2e9)})))
    FLOP/s against FLOPs per byte, logarithmic. The roof rises to 100 GFLOP/s, at the ridge of 10. sum: 2 GFLOP/s at \
0.25 FLOPs per byte, 80 % of what the roof allows.
    """
    if not parts:
        raise ValueError("no parts to draw: give a dict from a name to (FLOPs per byte, FLOP/s measured)")
    for name, numbers in parts.items():
        if not all(number > 0 for number in numbers):
            raise ValueError(f"{name!r} has {tuple(numbers)}: the scales are logarithmic, so give numbers above 0")
    ridge = roof.rate / roof.bandwidth
    slope = ridge / 3  # where the words about the memory go
    at = [float(numbers[0]) for numbers in parts.values()]
    low, high = min(*at, ridge) / 2.5, max(*at, ridge) * 2.5
    figure, axes = canvas(8.6, 4.4)
    axes.plot([low, ridge, high], [low * roof.bandwidth, roof.rate, roof.rate], color=INK, linewidth=2.4, zorder=2)
    axes.plot([ridge, ridge], [1e-30, roof.rate], color=GREY, linewidth=1.1, linestyle=(0, (1, 1)), zorder=1)
    axes.fill_between([low, ridge], [low * roof.bandwidth, roof.rate], 1e-30, color=SKY, alpha=0.13, linewidth=0)
    axes.fill_between([ridge, high], roof.rate, 1e-30, color=PALE, alpha=0.45, linewidth=0)
    described = []
    for i, (name, numbers) in enumerate(parts.items()):
        intensity, most = float(numbers[0]), min(float(roof.rate), float(numbers[0]) * roof.bandwidth)
        measured = float(numbers[1]) if len(numbers) > 1 else None
        rate, there = (most if measured is None else measured), f"at {tidy(intensity)} FLOPs per byte"
        axes.plot(
            intensity, rate, MARKERS[(i + i // 7) % 7], color=SERIES[i % 7], linestyle="none", zorder=4,
            markersize=10 if measured is None else 8, markeredgewidth=1.8 if measured is None else 0.8,
            markerfacecolor="white" if measured is None else SERIES[i % 7],
            markeredgecolor=SERIES[i % 7] if measured is None else "white",  # so that neighbours stay apart
            label=f"{name}: {rate_text(rate)}",
        )  # fmt: skip
        if measured is None:
            described.append(f"{name}: at most {rate_text(rate)} {there}")
        else:
            axes.plot([intensity] * 2, [rate, most], color=SERIES[i % 7], linewidth=1.0, zorder=3)
            described.append(f"{name}: {rate_text(rate)} {there}, {100 * rate / most:.0f} % of what the roof allows")
    drawn = [float(numbers[1]) for numbers in parts.values() if len(numbers) > 1]
    lowest = min(low * roof.bandwidth, *drawn) / 2 if drawn else low * roof.bandwidth / 2
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(lowest, max([roof.rate, *drawn]) * 2.5), title=title)
    axes.set(xlabel="arithmetic intensity (FLOPs for each byte moved)", ylabel="FLOP/s")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tidy(value)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: rate_text(value)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.annotate(
        f"{rate_text(roof.rate)}: the arithmetic", (0.99, roof.rate), xycoords=("axes fraction", "data"), xytext=(0, 4),
        textcoords="offset points", ha="right", va="bottom", fontsize=10,
    )  # fmt: skip
    axes.annotate(
        f"{tidy(roof.bandwidth / 1e9)} GB/s: the memory", (slope, slope * roof.bandwidth), xytext=(-8, 4),
        textcoords="offset points", ha="right", va="bottom", fontsize=10,
    )  # fmt: skip
    axes.annotate(
        f"ridge: {tidy(ridge)}", (ridge, 0.0), xycoords=("data", "axes fraction"), xytext=(4, 4),
        textcoords="offset points", va="bottom", fontsize=10,
    )  # fmt: skip
    axes.grid(color=PALE)
    axes.set_axisbelow(True)
    figure.legend(loc="outside right upper", fontsize=10)
    alt = (
        f"FLOP/s against FLOPs per byte, logarithmic. The roof rises to {rate_text(roof.rate)}, at the ridge of "
        f"{tidy(ridge)}. {'; '.join(described)}."
    )
    return finish(figure, alt)


@styled
def memory_timeline(
    steps: Mapping[str, Any], level: Mapping[str, Number] | None = None, *, marks: Mapping[str, int] | None = None,
    title: str = "",
) -> Picture:  # fmt: skip
    """The bytes alive after each operation of a training step; several steps, by name, for comparison.

    Args:
        steps: from a name to a `gptlab.gpu.MeasuredMemory` (its `timeline`), or to a list of bytes. Below the first,
            if they are known, are the weights and the optimizer, which stay from step to step.
        level: horizontal lines, from label to bytes, such as a peak that was predicted.
        marks: vertical lines, from label to the number of an operation of the first step.
        title: over the picture.

    Raises:
        ValueError: for no step, or one that has no operations.

    >>> from gptlab import pictures
    >>> print(pictures.describe(pictures.memory_timeline({"a step": [1_000_000, 3_000_000, 2_000_000]})))
    Megabytes alive after each operation of a step. a step: 3 operations, from 1 to a peak of 3 at operation 2, then 2.
    """
    lines = {name: array(getattr(step, "timeline", step)).astype(float) / 1e6 for name, step in steps.items()}
    if not lines or not all(len(line) for line in lines.values()):
        raise ValueError("no operations to draw: give a dict from a name to a MeasuredMemory, or a list of bytes")
    figure, axes = canvas(8.4, 4.0)
    first, described = next(iter(steps.values())), []
    longest, below = max(map(len, lines.values())), 0.0
    for i, part in enumerate(("weights", "optimizer")):
        held = getattr(first, part, 0) / 1e6
        if held:
            axes.fill_between(
                [1, longest], below, below + held, color=(GREY, PALE)[i], alpha=0.8, linewidth=0,
                label=f"{part}: {tidy(held)} MB", hatch=("", "//")[i], edgecolor="white",
            )  # fmt: skip
            below += held
            described.append(f"{part} {tidy(held)}")
    held_alt = f" Held all the time: {', '.join(described)}." if described else ""
    described = []
    for i, (name, line) in enumerate(lines.items()):
        at, top = np.arange(1, len(line) + 1), int(line.argmax())
        axes.step(at, line, where="post", color=SERIES[i % 7], linestyle=DASHES[i % 7], label=f"{name}", linewidth=1.6)
        axes.plot(top + 1, line[top], MARKERS[i % 7], color=SERIES[i % 7], markersize=8)
        axes.annotate(
            f"{tidy(line[top])} MB", (top + 1, line[top]), xytext=(9, -9), textcoords="offset points", fontsize=10
        )
        described.append(
            f"{name}: {len(line)} operations, from {tidy(line[0])} to a peak of {tidy(line[top])} at operation "
            f"{top + 1}, then {tidy(line[-1])}"
        )
    highest = max(line.max() for line in lines.values())
    for label, value in (level or {}).items():
        axes.axhline(value / 1e6, color=INK, linewidth=1.3, linestyle=(0, (1, 1)), zorder=1)
        axes.annotate(
            f"{label}: {tidy(value / 1e6)} MB", (0.995, value / 1e6), xycoords=("axes fraction", "data"),
            xytext=(0, 3), textcoords="offset points", ha="right", va="bottom", fontsize=10,
        )  # fmt: skip
        described.append(f"{label} {tidy(value / 1e6)}")
        highest = max(highest, value / 1e6)
    for label, number in (marks or {}).items():
        axes.axvline(number, color=GREY, linewidth=1.1, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            label, (number, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points",
            ha="center", va="bottom", fontsize=10,
        )  # fmt: skip
        described.append(f"{label} at operation {number}")
    axes.set(xlabel="operation of the step", ylabel="alive (MB)", ylim=(0, 1.14 * highest), xlim=(1, max(longest, 2)))
    axes.set_title(title, pad=20 if marks else 6)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=4, fontsize=10)
    return finish(figure, f"Megabytes alive after each operation of a step.{held_alt} {'; '.join(described)}.")
