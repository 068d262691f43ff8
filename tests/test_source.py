"""`show` gives the source of what the package has."""

import pytest
import torch
from pygments.styles import get_style_by_name

import gptlab
from gptlab.attention import Head, attend, attention_weights
from gptlab.html import BOX
from gptlab.lab.source import STYLE


def test_what_is_shown_can_be_run_and_does_the_same():
    """The source shown is the function: executed, it gives what the function gives."""
    space = {"Float": {}, "Tensor": None}
    text = gptlab.show(attention_weights, attend).text
    space = dict(vars(gptlab.attention))
    del space["attend"]
    exec(text, space)
    q, k, v = torch.randn(2, 3, 4), torch.randn(2, 5, 4), torch.randn(2, 5, 6)
    assert torch.equal(space["attend"](q, k, v), attend(q, k, v))


def test_docstrings_are_cut_to_their_first_line_unless_asked_for():
    assert "Vaswani" not in gptlab.show(attention_weights).text
    assert "How much each query position attends" in gptlab.show(attention_weights).text
    assert "Vaswani" in gptlab.show(attention_weights, docstring=True).text


def test_a_class_keeps_its_methods_and_comments():
    text = gptlab.show(Head).text
    assert "# what do I have?" in text and "def forward" in text


def test_it_shows_coloured_in_a_notebook_and_plain_elsewhere():
    shown = gptlab.show(attend)
    assert repr(shown) == shown.text
    assert "<span" in shown._repr_html_() and "http" not in shown._repr_html_()


@pytest.mark.parametrize("thing", [3, len, "text"])
def test_what_has_no_python_source_is_refused_with_what_to_give(thing):
    with pytest.raises(TypeError, match="no Python source to show: give a function"):
        gptlab.show(thing)


def test_every_colour_of_the_code_can_be_read_on_its_ground():
    def light(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]  # as WCAG 2 has it

    ground = light(BOX.removeprefix("#")) + 0.05
    colours = {style["color"] for _, style in get_style_by_name(STYLE) if style["color"]}
    assert len(colours) > 5 and min(ground / (light(colour) + 0.05) for colour in colours) >= 4.5
