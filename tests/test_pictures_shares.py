"""Shares of a whole: each bar has the same length, and says what it is made of."""

import pytest

from gptlab import pictures


def test_the_pieces_of_each_bar_fill_it():
    figure = pictures.shares({"a": {"x": 1, "y": 3}, "b": {"y": 5, "z": 15}}, "things")
    pieces = [bar for bar in figure.axes[0].patches if bar.get_width() > 0]
    for row in (0, 1):
        widths = [bar.get_width() for bar in pieces if round(bar.get_y() + 0.36) == row]
        assert sum(widths) == pytest.approx(100)
    assert sorted(bar.get_width() for bar in pieces) == pytest.approx([25, 25, 75, 75])


def test_it_says_the_shares_and_the_sum():
    said = pictures.describe(pictures.shares({"big": {"x": 750_000, "y": 250_000}}, "parameters"))
    assert said == "Shares of a whole, in %. big (1 million parameters): x 75, y 25."


def test_what_is_nothing_everywhere_is_left_out():
    assert "ghost" not in pictures.describe(pictures.shares({"a": {"x": 1, "ghost": 0}, "b": {"x": 2, "ghost": 0}}))


def test_a_part_has_the_same_colour_in_every_picture():
    def colour(picture, name):
        handles, labels = picture.axes[0].get_legend_handles_labels()
        return handles[labels.index(name)][0].get_facecolor()

    one = pictures.shares({"a": {"embedding": 1, "mlp": 3}})
    two = pictures.shares({"a": {"attention": 1, "mlp": 3}})
    assert colour(one, "mlp") == colour(two, "mlp") != colour(one, "embedding")


@pytest.mark.parametrize("wholes", [{"a": {"x": 0}}, {"a": {"x": 2, "y": -1}}, {"a": {}}])
def test_what_cannot_be_shared_is_refused_by_name(wholes):
    with pytest.raises(ValueError, match="'a' cannot be shared"):
        pictures.shares(wholes)


def test_no_whole_is_refused():
    with pytest.raises(ValueError, match="no whole to draw"):
        pictures.shares({})
