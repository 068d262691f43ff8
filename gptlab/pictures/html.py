"""HTML that is shown the same in a live, an untrusted and an exported notebook: inline styles and tooltips only."""

import html as _html
from dataclasses import dataclass

MONO = "font-family:'DejaVu Sans Mono',Consolas,Menlo,monospace"
CHIP = f"{MONO};font-size:14px;line-height:1.3;color:#111111;border-radius:3px;padding:1px 2px;white-space:pre"
# For many chips: what they share stands once, around them.
ROW = f"{MONO};font-size:14px;line-height:1.3;color:#111111;white-space:pre-wrap;text-align:left"
# Four light grounds that stay apart in any colour blindness, also because neighbours differ in lightness.
CHIPS = ("#BFE0F5", "#F9C86B", "#A5DCC6", "#EFC9DF")


@dataclass(frozen=True, repr=False)
class Html:
    """A piece of HTML with a plain-text form. JupyterLab shows the first, a terminal and a test the second."""

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
    # A backtick, dollar or backslash stands as a number, so that no Markdown or math reader of an export touches it.
    escaped = _html.escape(text, quote=True)
    for character in "`$\\":
        escaped = escaped.replace(character, f"&#{ord(character)};")
    # An address in a text is text as well: nothing here may look like something to load.
    return escaped.replace("http", "&#104;ttp")


def span(text: str, style: str, title: str = "") -> str:
    """A `span` around escaped text, with a tooltip."""
    tip = f' title="{escape(title)}"' if title else ""
    return f'<span style="{style}"{tip}>{escape(text)}</span>'


def ink_on(colour: str) -> str:
    """Black or white, whichever is read better on a ground.

    >>> ink_on("#F9C86B"), ink_on("#00304B")
    ('#111111', '#ffffff')
    """
    from matplotlib.colors import to_rgb

    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#111111" if luminance > 0.18 else "#ffffff"
