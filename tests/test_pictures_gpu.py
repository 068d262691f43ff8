"""Pictures of a machine: the roof over the parts of a model, and the memory of a step in time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlab import gpu, pictures

above = st.floats(1e-3, 1e4)


@settings(max_examples=15, deadline=None)
@given(rate=st.floats(1e8, 1e15), bandwidth=st.floats(1e8, 1e13), intensity=above, share=st.floats(0.01, 1.0))
def test_the_roof_is_what_the_machine_can_do_at_most_everywhere(rate, bandwidth, intensity, share):
    roof = gpu.Roofline(rate, bandwidth)
    measured = share * roof.attainable(intensity)
    axes = pictures.roofline(roof, {"part": (intensity, measured), "other": (2 * intensity,)}).axes[0]
    xs, ys = axes.lines[0].get_data()
    assert ys == pytest.approx([roof.attainable(x) for x in xs])
    assert xs[1] == pytest.approx(roof.ridge)
    points = {tuple(line.get_xydata()[0]) for line in axes.lines if line.get_marker() not in ("None", None, "")}
    assert points == {(intensity, measured), (2 * intensity, roof.attainable(2 * intensity))}
    assert "FLOPs for each byte" in axes.get_xlabel() and axes.get_ylabel() == "FLOP/s"
    (low, high), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert all(low < x < high and bottom < y < top for x, y in points)


def test_what_was_measured_is_filled_and_what_was_not_is_hollow_and_both_are_said():
    figure = pictures.roofline(gpu.Roofline(100e9, 10e9), {"product": (40, 80e9), "sum": (0.25,)}, title="here")
    filled, hollow = (
        next(line for line in figure.axes[0].lines if line.get_label().startswith(name)) for name in ("product", "sum")
    )
    assert hollow.get_markerfacecolor() == "white" != filled.get_markerfacecolor()
    said = pictures.describe(figure)
    assert "80 % of what the roof allows" in said and "at most 2.5 GFLOP/s" in said and "ridge of 10" in said
    assert figure.png() == figure.png() and figure.axes[0].get_title(loc="left") == "here"
    ridge = next(line for line in figure.axes[0].lines if list(line.get_xdata()) == [10, 10])
    assert max(ridge.get_ydata()) == 100e9, (
        "the line of the ridge ends at the roof, so that it crosses no words above it"
    )


@pytest.mark.parametrize(
    ("parts", "words"),
    [({}, "no parts to draw"), ({"norm": (0, 1e9)}, r"'norm' has \(0, 1000000000.0\).*above 0")],
)
def test_a_roofline_that_cannot_be_drawn_says_why(parts, words):
    with pytest.raises(ValueError, match=words):
        pictures.roofline(gpu.Roofline(1e9, 1e9), parts)


@settings(max_examples=15, deadline=None)
@given(timeline=st.lists(st.integers(1, 10**9), min_size=1, max_size=40), level=st.integers(1, 2 * 10**9))
def test_the_line_is_the_memory_in_megabytes_and_its_peak_is_marked(timeline, level):
    axes = pictures.memory_timeline({"a step": timeline}, {"predicted": level}).axes[0]
    line, peak = axes.lines[0], axes.lines[1]
    assert line.get_ydata() == pytest.approx(np.array(timeline) / 1e6)
    assert peak.get_xydata()[0] == pytest.approx([timeline.index(max(timeline)) + 1, max(timeline) / 1e6])
    assert axes.get_ylim()[0] == 0 and axes.get_ylim()[1] > max(max(timeline), level) / 1e6


def test_what_stays_from_step_to_step_lies_under_the_line():
    step = gpu.MeasuredMemory(
        weights=4_000_000, optimizer=8_000_000, peak=20_000_000, timeline=[12_000_000, 20_000_000]
    )
    figure = pictures.memory_timeline({"kept": step, "again": [13_000_000]}, marks={"backward": 2})
    areas = [area.get_datalim(figure.axes[0].transData) for area in figure.axes[0].collections]
    assert [(area.y0, area.y1) for area in areas] == [(0, 4), (4, 12)]
    said = pictures.describe(figure)
    assert "weights 4, optimizer 8" in said and "kept: 2 operations" in said and "backward at operation 2" in said


@pytest.mark.parametrize("steps", [{}, {"a step": []}])
def test_a_step_without_operations_cannot_be_drawn(steps):
    with pytest.raises(ValueError, match="no operations to draw"):
        pictures.memory_timeline(steps)
