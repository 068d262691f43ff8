"""HTML that is the same everywhere, and one palette: no other file of the package has a colour of its own."""

import ast
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

import gptlab
from gptlab import html
from gptlab.html import element, escape, ink_on, row, span, table

PACKAGE = Path(gptlab.__file__).parent


class Reader(HTMLParser):
    """The tags in their order, the text and the attributes, as a browser would read them."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text, self.attributes = [], "", {}
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes |= dict(attributes)

    def handle_endtag(self, tag):
        self.tags.append(f"/{tag}")

    def handle_data(self, data):
        self.text += data


def colours(source):
    """Every colour that the strings of a module write as a number, f-strings and docstrings included."""
    texts = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    return [
        colour for text in texts if isinstance(text, str) for colour in re.findall(r"#(?:[0-9A-Fa-f]{3}){1,2}\b", text)
    ]


def test_only_the_palette_writes_a_colour_as_a_number():
    found = {str(path.relative_to(PACKAGE)): colours(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}
    assert len(found.pop("html.py")) > 25
    assert {name: numbers for name, numbers in found.items() if numbers} == {}


@pytest.mark.parametrize(
    "planted", ['x = "#0072B2"', 'x = f"color:#222;width:{y}px"', "x = '<b style=\"color:#FFF\">'"]
)
def test_a_planted_colour_is_found(planted):
    assert len(colours(planted)) == 1


def test_no_two_names_mean_the_same_colour():
    named = [value.upper() for value in vars(html).values() if isinstance(value, str) and value.startswith("#")]
    assert len(named) == len(set(named)) > 20


def test_the_first_card_of_a_reader_loads_no_matplotlib():
    code = (
        "import sys\nfrom gptlab.exercises import check, hint, progress\n"
        "cards = [check('tokens.1', lambda text: 0), hint('tokens.1'), progress()]\n"
        "assert all(card._repr_html_() and repr(card) for card in cards)\n"
        "print(*[name for name in sys.modules if name.split('.')[0] in ('matplotlib', 'PIL')])"
    )
    variables = os.environ | {"GPTLAB_PROGRESS": "off"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=variables)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_html_needs_the_standard_library_only():
    done = subprocess.run([sys.executable, "-S", "-c", "import gptlab.html, gptlab.files"], cwd=PACKAGE.parent)
    assert done.returncode == 0


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r")), st.text(st.characters(codec="utf-8")))
def test_text_and_attributes_come_back_as_they_were_and_make_no_tags(text, title):
    reader = Reader(element("p", escape(text), "color:red", title=title, data_x=7))
    assert reader.tags == ["p", "/p"] and reader.text == text
    assert reader.attributes.pop("title", "") == title
    assert reader.attributes == {"style": "color:red", "data-x": "7"}


def test_no_text_looks_like_an_address_or_like_markdown():
    assert not re.search(r"http|[`$\\]", escape(r"see https://example.org, `code`, $math$ and \alpha"))


def test_a_table_has_the_parts_that_were_given_and_no_others():
    cells = row([element("td", "1"), element("td", "2")])
    reader = Reader(table([cells, cells], head=[row([element("th", "a")])], caption="a < b"))
    assert reader.text == "a < ba1212"
    assert reader.tags[:3] == ["table", "caption", "/caption"] and reader.tags.count("tr") == 3
    assert "tfoot" not in reader.tags and "tfoot" in Reader(table([cells], foot=[cells])).tags
    assert Reader(table([cells])).tags[:2] == ["table", "tbody"]


def test_a_span_has_a_tooltip_only_if_one_is_given():
    assert span("<b>", "color:red") == '<span style="color:red">&lt;b&gt;</span>'
    assert Reader(span("x", "", 'say "it"')).attributes == {"title": 'say "it"'}


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_ink_has_the_better_contrast_on_any_ground(levels):
    """The contrast of the Web Content Accessibility Guidelines 2."""

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one, other):
        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    ground = "#{:02x}{:02x}{:02x}".format(*levels)
    ink = ink_on(ground)
    other = html.WHITE if ink == html.BLACK else html.BLACK
    assert contrast(ink, ground) >= max(4.3, contrast(other, ground) - 0.01)
