"""HTML and colours: what cards, tables and pictures share, in one look. Standard library only.

Everything here shows the same in a live, an untrusted and an exported notebook: inline styles and tooltips, no style
sheet, no script, nothing loaded. A colour is written as a number in this file only; the others use its name.

>>> print(table([row([element("td", escape("a < b"))])], style=""))
<table><tbody><tr style="background-color:#ffffff"><td>a &lt; b</td></tr></tbody></table>
"""

import html
from collections.abc import Iterable
from dataclasses import dataclass

# ── Colours ──────────────────────────────────────────────────────────────────────────────────────────────────────────

# Lines and areas: the colours of Okabe and Ito (2008), which people with any common colour blindness tell apart.
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, RED, YELLOW = "#56B4E9", "#D55E00", "#F0E442"
# Three more, dark enough for letters.
BROWN, PLUM, OCHRE = "#B15928", "#8A4F7D", "#9C6B00"
# From dark to light: text in HTML; text and lines in figures; text that matters less; edges; and what stays behind.
BLACK, INK, SLATE, GREY = "#111111", "#222222", "#444444", "#767676"
STONE, SILVER, PALE, WHITE = "#8A8A8A", "#BBBBBB", "#E4E4E4", "#ffffff"
# Grounds that text is read on: every other row and code; a box, its edge, and the front of a block; a problem.
STRIPE, BOX, BOX_EDGE, FRONT, ALARM = "#F3F7FA", "#EAF3F9", "#9DB8C9", "#DCEBF5", "#FDE0DC"
LINK = "#00588A"
# Four grounds for tokens that stay apart in any colour blindness, also because neighbours differ in lightness.
CHIPS = ("#BFE0F5", "#F9C86B", "#A5DCC6", "#EFC9DF")
HERE, DONE = CHIPS[1], CHIPS[2]  # marks the place where we are, and what is done
# From little to much: attention weights, and nats.
WEIGHT_RAMP = (WHITE, "#C9E4F6", SKY, BLUE, "#00304B")
NATS_RAMP = (WHITE, "#FBE3B5", ORANGE, "#E27F1E")

# ── Styles ───────────────────────────────────────────────────────────────────────────────────────────────────────────

MONO = "font-family:'DejaVu Sans Mono',Consolas,Menlo,monospace"
CHIP = f"{MONO};font-size:14px;line-height:1.3;color:{BLACK};border-radius:3px;padding:1px 2px;white-space:pre"
# For many chips: what they share is written once, around them.
ROW = f"{MONO};font-size:14px;line-height:1.3;color:{BLACK};white-space:pre-wrap;text-align:left"
TABLE = "border-collapse:collapse;margin:4px 0px"
CAPTION = "caption-side:top;text-align:left;font-size:14px"


@dataclass(frozen=True, repr=False)
class Html:
    """A piece of HTML with a plain-text form. JupyterLab shows the first, a terminal and a test the second.

    Attributes:
        html: what a notebook shows.
        text: what a terminal prints.
    """

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def escape(text: str) -> str:
    """Text as text, wherever it stands: no `<b>` of a corpus becomes bold, no quote ends an attribute.

    >>> escape('<b title="x">')
    '&lt;b title=&quot;x&quot;&gt;'
    """
    # A backtick, dollar or backslash becomes a number, so that no Markdown or math reader of an export touches it.
    escaped = html.escape(text, quote=True)
    for character in "`$\\":
        escaped = escaped.replace(character, f"&#{ord(character)};")
    # An address in a text is text as well: nothing here may look like something to load.
    return escaped.replace("http", "&#104;ttp")


def element(tag: str, content: str = "", style: str = "", **attributes: str | int) -> str:
    """One HTML element.

    Args:
        tag: its name, such as "td".
        content: HTML, so text has to be escaped first.
        style: its inline style.
        attributes: its other attributes, with `_` for `-`; they are escaped here, and empty ones left out.

    >>> element("th", "a", "color:red", scope="row", title="", aria_label="the 'a'")
    '<th style="color:red" scope="row" aria-label="the &#x27;a&#x27;">a</th>'
    """
    named = {name.replace("_", "-"): escape(str(value)) for name, value in attributes.items()}
    written = "".join(f' {name}="{value}"' for name, value in {"style": style, **named}.items() if value)
    return f"<{tag}{written}>{content}</{tag}>"


def span(text: str, style: str, title: str = "") -> str:
    """A `span` around escaped text.

    Args:
        text: plain text, escaped here.
        style: its inline style.
        title: a tooltip.
    """
    return element("span", escape(text), style, title=title)


def row(cells: Iterable[str], style: str = f"background-color:{WHITE}") -> str:
    """A row of a table.

    Args:
        cells: `td` and `th` elements, as `element` makes them.
        style: its inline style. The ground is white by default, so that a dark theme does not swallow dark text.
    """
    return element("tr", "".join(cells), style)


def table(
    body: Iterable[str], head: Iterable[str] = (), foot: Iterable[str] = (), caption: str = "", style: str = TABLE
) -> str:
    """A table of rows, as `row` makes them.

    Args:
        body: its rows.
        head: the rows above it, with `th` cells.
        foot: the rows below it, such as a sum.
        caption: plain text over the table, escaped here.
        style: its inline style.
    """
    parts = [element("caption", escape(caption), CAPTION)] if caption else []
    for tag, rows in (("thead", head), ("tbody", body), ("tfoot", foot)):
        content = "".join(rows)
        parts += [element(tag, content)] if content else []
    return element("table", "".join(parts), style)


def scrolling(content: str) -> str:
    """HTML that scrolls sideways where a page is too narrow for it."""
    return element("div", content, "overflow-x:auto")


def ink_on(colour: str) -> str:
    """Black or white, whichever is easier to read on a ground.

    Args:
        colour: of the ground, "#rrggbb".

    >>> ink_on("#F9C86B"), ink_on("#00304B")
    ('#111111', '#ffffff')
    """
    levels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return BLACK if luminance > 0.1916 else WHITE  # where both have the same contrast, 4.3 to 1
