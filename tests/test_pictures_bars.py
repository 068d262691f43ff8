"""Pictures of sampling: the label of what came next, distributions before and after, lines with labels."""

import numpy as np
import pytest
import torch

from gptlab import pictures
from gptlab.sampling import probabilities

WORDS = ["fox", "hen", "crow", "hare", "wolf"]
LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -3.0])


def boxes_of_labels(figure):
    texts = [text for text in figure.axes[0].texts if text.get_text()]
    return {text.get_text(): text.get_window_extent() for text in texts}


@pytest.mark.parametrize("actual", [0, 2, 4])
@pytest.mark.parametrize("certain", [1.0, 30.0])
def test_the_mark_of_what_came_next_covers_no_number_and_stays_inside(actual, certain):
    figure = pictures.next_token((LOGITS * certain).softmax(-1), WORDS, k=3, actual=actual)
    labels = boxes_of_labels(figure)
    assert sum("came next" in text for text in labels) == 1
    boxes = list(labels.values())
    assert all(not a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert max(box.x1 for box in boxes) <= figure.bbox.x1


def test_reshaped_draws_before_and_after_and_says_what_is_out():
    before = probabilities(LOGITS)
    figure = pictures.reshaped(before, {"top-k 2": probabilities(LOGITS, top_k=2), "all": before}, WORDS, k=4)
    first, second = figure.axes
    widths = [bar.get_width() for bar in first.patches]
    assert np.allclose(widths[:5], [100 * p for p in probabilities(LOGITS, top_k=2)[:4]] + [0], atol=1e-3)
    assert np.allclose(widths[5:], [bar.get_width() for bar in second.patches[:5]])  # the outline is the one before
    assert [text.get_text() for text in first.texts].count("out") == 3
    assert not [text.get_text() for text in second.texts].count("out")
    assert "2 of these 4 possible" in pictures.describe(figure)
    with pytest.raises(ValueError, match="sums to 1"):
        pictures.reshaped(LOGITS, {}, WORDS)
    with pytest.raises(ValueError, match="'b' has shape"):
        pictures.reshaped(before, {"b": before[:3]}, WORDS)


def test_lines_draw_the_points_and_their_labels():
    figure = pictures.lines(
        {"a": [(1, 2.0, "one"), (10, 3.0)], "b": [(1, 5.0), (10, 4.0)]}, "size", "time (ms)", log="x", at={"limit": 4},
        level={"floor": 2.5},
    )  # fmt: skip
    axes = figure.axes[0]
    assert list(axes.lines[0].get_ydata()) == [2.0, 3.0] and axes.get_xscale() == "log"
    assert {"one", "limit: 4", "floor: 2.5"} <= {text.get_text() for text in axes.texts}
    assert "limit at 4" in pictures.describe(figure) and axes.get_xlabel() == "size"
    assert axes.get_ylabel() == "time (ms)" and list(axes.lines[0].get_xdata()) == [1, 10]
    with pytest.raises(ValueError, match="no points"):
        pictures.lines({"a": []}, "x", "y")


def test_lines_draw_the_range_of_each_point_and_commas_between_thousands():
    figure = pictures.lines(
        {"a": [(1, 2.0), (20_000, 3.0)], "b": [(1, 5.0)]}, "x", "y", ranges={"a": [(1.5, 2.5), (2.75, 3.25)]}
    )
    axes = figure.axes[0]
    drawn = [segment[:, 1].tolist() for segment in axes.collections[0].get_segments()]
    assert drawn == [[1.5, 2.5], [2.75, 3.25]] and len(axes.collections) == 1
    assert "a: from 2 at 1 to 3 at 20,000 (there between 2.75 and 3.25)" in pictures.describe(figure)
    assert "20,000" in [label.get_text() for label in axes.get_xticklabels()]
    with pytest.raises(ValueError, match="1 ranges for 'a', 2 points"):
        pictures.lines({"a": [(1, 2.0), (2, 3.0)]}, "x", "y", ranges={"a": [(1, 2)]})
    with pytest.raises(ValueError, match="for 'c', no such series among a"):
        pictures.lines({"a": [(1, 2.0)]}, "x", "y", ranges={"c": [(1, 2)]})


def test_points_of_which_a_line_would_mislead_are_not_joined_and_an_axis_begins_where_it_is_told():
    figure = pictures.lines(
        {"law": [(1, 9.0), (2, 8.0)], "run": [(1, 9.5), (2, 7.5)]}, "x", "y", apart=["run"], bottom=0
    )
    law, run = figure.axes[0].lines[:2]
    assert law.get_linestyle() != "None" == run.get_linestyle() and run.get_marker() not in ("None", None)
    assert figure.axes[0].get_ylim()[0] == 0 < 9.5 < figure.axes[0].get_ylim()[1]
    with pytest.raises(ValueError, match="apart='c' is the name of no series: choose among a"):
        pictures.lines({"a": [(1, 2.0)]}, "x", "y", apart=["c"])


def test_sizes_on_a_logarithmic_axis_are_the_only_marks_on_it():
    axes = pictures.lines({"a": [(1, 1.0), (2, 3.0), (16, 2.0)]}, "x", "y", log="x").axes[0]
    assert list(axes.get_xticks()) == [1, 2, 16] and not len(axes.get_xticks(minor=True))


def test_a_legend_outside_covers_no_curve():
    series = {"a": [(0, 0.0), (1, 9.0)], "b": [(0, 9.0), (1, 0.0)]}
    figure = pictures.lines(series, "x", "y", legend="outside upper center")
    (legend,) = figure.legends
    assert figure.axes[0].get_legend() is None and [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_window_extent())
    alone = pictures.lines({"a": series["a"]}, "x", "y", legend="outside upper center")
    assert not alone.legends  # a single curve is named by its axis


def test_the_bar_of_the_words_that_state_no_fact_has_the_name_of_its_kind():
    axes = pictures.by_fact({("recalled", "home"): 2.0, ("form", ""): 1.0}).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["home", "form words"]


@pytest.mark.parametrize("highest", [2.0, 40.0, 3e4, 1e12])
def test_a_logarithmic_axis_names_some_heights_however_far_it_reaches(highest):
    axes = pictures.lines({"a": [(0, 1.0), (1, highest)]}, "x", "y", log="y").axes[0]
    low, high = axes.get_ylim()
    assert 1 <= sum(low <= height <= high for height in axes.get_yticks()) <= 12


def test_numbers_side_by_side_have_equal_decimals_where_one_has_any():
    from gptlab.pictures.style import alike

    assert alike([19.23, 12.0, 8.0]) == ["19.2", "12.0", "8.0"]
    assert alike([2.1, 1.3, 5.0]) == ["2.1", "1.3", "5.0"]
    assert alike([1234.0, 0.5]) == ["1,234", "0.5"] and alike([-3.0, float("nan"), 0.0]) == ["−3", "nan", "0"]
    assert alike([2.5, float("inf"), 1e-9]) == ["2.5", "∞", "1.00e−09"]
