"""The visual language of the figures: colours, sizes, how a figure shows itself, how a token is made visible.

The colours are those of `gptlab.html`, which people with any common colour blindness tell apart; colour is never the
only sign of anything. Figures have a white ground and text of 10 points or more; each carries an alternative text.
"""

import base64
import io
from collections.abc import Iterable, Sequence
from functools import cache, wraps

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gptlab.html import (
    BLUE,
    BROWN,
    GREEN,
    GREY,
    INK,
    NATS_RAMP,
    OCHRE,
    ORANGE,
    PALE,
    PINK,
    PLUM,
    RED,
    SKY,
    WEIGHT_RAMP,
    escape,
)  # fmt: skip

SERIES = (BLUE, ORANGE, GREEN, PINK, SKY, RED, INK)
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (2, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# An excess over the floor has three parts, with the same colour in every picture.
PARTS = {"form": SKY, "recalled": RED, "free": GREY}
# So does each letter of a shape.
LETTERS = {"B": BLUE, "T": RED, "Tq": RED, "Tk": BROWN, "C": GREEN, "hs": GREEN, "V": PLUM, "H": OCHRE}
WEIGHTS = LinearSegmentedColormap.from_list("weights", WEIGHT_RAMP)
NATS = LinearSegmentedColormap.from_list("nats", NATS_RAMP)
Number = int | float | np.number | np.bool_
WIDEST = 9.0  # inches
LIMIT = 60  # tokens on an axis before a picture refuses

_STYLE = {
    "figure.dpi": 110, "savefig.dpi": 110, "figure.facecolor": "white", "font.family": ["DejaVu Sans"],
    "font.size": 11, "axes.titlesize": 12, "axes.titlelocation": "left", "axes.labelsize": 11, "xtick.labelsize": 10,
    "ytick.labelsize": 10, "legend.fontsize": 10, "legend.frameon": False, "axes.spines.top": False,
    "axes.spines.right": False, "axes.edgecolor": GREY, "axes.grid": False, "grid.color": PALE, "lines.linewidth": 2.0,
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "text.parse_math": False,
    "axes.unicode_minus": True,
}  # fmt: skip


class Picture(Figure):
    """A matplotlib figure that shows itself once, as a PNG with its alternative text (`alt`).

    It never enters pyplot's list of figures, so no cell draws it a second time, and the reader's own settings of
    matplotlib do not change it.

    Attributes:
        alt: the alternative text, which says in words what the picture shows.
    """

    alt = ""

    def draw(self, renderer):
        """Draw the figure, in our style."""
        with mpl.rc_context(_STYLE):
            super().draw(renderer)

    def savefig(self, fname, **options):
        """Save the figure, in our style."""
        with mpl.rc_context(_STYLE):
            super().savefig(fname, **options)

    def png(self) -> bytes:
        """The picture as PNG: the same bytes for the same picture, with the alternative text as its description."""
        drawn, small, info = io.BytesIO(), io.BytesIO(), PngInfo()
        self.savefig(drawn, format="png", bbox_inches="tight", pad_inches=0.1)
        # 256 colours are enough for lines and text, and make a file of a third of the size.
        image = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        info.add_itxt("Description", self.alt)
        image.save(small, format="png", optimize=True, pnginfo=info, dpi=(self.dpi, self.dpi))
        return small.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None):
        # JupyterLab prefers HTML, and shows an `image/png` without its text; other readers and exports take the PNG.
        png = base64.b64encode(self.png()).decode("ascii")
        source = f"data:image/png;base64,{png}"
        image = f'<img src="{source}" alt="{escape(self.alt)}" style="background: white; max-width: 100%">'
        return {"image/png": png, "text/html": image, "text/plain": repr(self)}, {"image/png": {"alt": self.alt}}

    def __repr__(self) -> str:
        width, height = self.get_size_inches() * self.dpi
        return f"<Figure size {width:.0f}x{height:.0f} with {len(self.axes)} Axes>"


def canvas(width: float = 7.5, height: float = 3.6, rows: int = 1, columns: int = 1, **options):
    """An empty picture and its axes in our style: `(figure, axes)`.

    Args:
        width: in inches; at most `WIDEST`, the width of a page.
        height: in inches.
        rows: of axes.
        columns: of axes.
        options: passed on to matplotlib's `Figure.subplots`.
    """
    with mpl.rc_context(_STYLE):
        figure = Picture(figsize=(min(width, WIDEST), height), layout="constrained")
        return figure, figure.subplots(rows, columns, **options)


def finish(figure: Picture, alt: str) -> Picture:
    """Give a picture its alternative text and a fixed layout, so that its bytes are the same each time it is shown.

    Args:
        figure: the picture, with everything drawn.
        alt: the alternative text; runs of spaces and newlines become one space.
    """
    for text in figure.findobj(Text):  # a character that the font lacks would warn at each drawing
        text.set_text("".join(c if c == "\n" else _in_font(c) for c in text.get_text()))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    figure.alt = " ".join(alt.split())
    return figure


def styled(draw):
    """Decorator for functions that draw: inside they use our settings of matplotlib, and none of these leaks out."""

    @wraps(draw)
    def wrapper(*args, **kwargs):
        with mpl.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return wrapper


def describe(figure: Figure) -> str:
    """The alternative text of a picture: what a reader who cannot see it should know.

    >>> from gptlab import pictures
    >>> print(pictures.describe(pictures.compare({"bigram": 2.1, "attention": 1.3}, unit="nats per token")))
    Bars, in nats per token: bigram 2.1; attention 1.3.
    """
    return getattr(figure, "alt", "")


# ---- Text that can be seen -------------------------------------------------------------------------------------------

_SEEN = {" ": "␣", "\n": "⏎", "\r": "␍", "\t": "→", "\u00a0": "⍽"}


def visible(data: bytes | str) -> str:
    """A token as a person can see it: spaces as ␣, bytes that are only a part of a character as `<E2>`.

    >>> print(visible(" the"), visible(b"\\n\\xe2\\x82"), visible("\\u200b"))
    ␣the ⏎<E2><82> <U+200B>
    """
    if isinstance(data, bytes):
        data = readable(data)
    seen = (_SEEN.get(c, c if c.isprintable() else f"<U+{ord(c):04X}>") for c in data)
    return "".join(seen)


def readable(data: bytes) -> str:
    """The text of some bytes; those that do not make a whole character are written `<E2>`.

    >>> readable("a€".encode()[:3])
    'a<E2><82>'
    """
    return data.decode("utf-8", "surrogateescape").translate({0xDC00 + b: f"<{b:02X}>" for b in range(128, 256)})


@cache
def _glyphs() -> frozenset[int]:
    path = font_manager.findfont("DejaVu Sans")
    return frozenset(font_manager.get_font(path).get_charmap())


def drawable(text: bytes | str) -> str:
    """`visible`, for a figure: a character that the figures' font lacks becomes its number.

    >>> drawable("a 狐")
    'a␣<U+72D0>'
    """
    return "".join(map(_in_font, visible(text)))


def _in_font(character: str) -> str:
    return character if ord(character) in _glyphs() else f"<U+{ord(character):04X}>"


def shorten(text: str, most: int = 18) -> str:
    """A long label, cut in the middle.

    Args:
        text: the label.
        most: characters that it may have afterwards.

    >>> shorten("internationalisation", 9)
    'inter…ion'
    """
    return text if len(text) <= most else f"{text[: most - most // 3 - 1]}…{text[-(most // 3) :]}"


# ---- Numbers ---------------------------------------------------------------------------------------------------------


def array(values) -> np.ndarray:
    """Any tensor, array or nested list as a float array on the CPU."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.double() if values.is_floating_point() else values
        values = values.numpy()
    return np.asarray(values)


def tidy(number: Number, digits: int = 3) -> str:
    """A number as text, with commas between thousands and a real minus sign.

    Args:
        number: of any kind; a boolean becomes "yes" or "no".
        digits: significant digits of a number that is not an integer.

    >>> [tidy(x) for x in (0.12345, 1234567.0, -2.0, 12, 0.00001234, 0)]
    ['0.123', '1,234,567', '−2', '12', '1.23e−05', '0']
    """
    if isinstance(number, (bool, np.bool_)):
        return "yes" if number else "no"
    if isinstance(number, (int, np.integer)):
        return f"{int(number):,}".replace("-", "−")
    number = float(number)
    if not np.isfinite(number):
        return str(number).replace("-", "−").replace("inf", "∞")
    if number == 0:
        return "0"
    size = int(np.floor(np.log10(abs(number))))
    if size < -4:
        text = f"{number:.{digits - 1}e}"
    else:
        text = f"{number:,.{max(0, digits - 1 - size)}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "−")


def alike(numbers: Sequence[Number] | np.ndarray, digits: int = 3) -> list[str]:
    """Tidy numbers for a comparison: where one has decimals, the others have as many as the largest would.

    Args:
        numbers: to be shown side by side.
        digits: significant digits of the largest.

    >>> alike([19.23, 12.0, 5.02]), alike([3.0, 12.0])
    (['19.2', '12.0', '5.02'], ['3', '12'])
    """
    texts = [tidy(float(number), digits) for number in numbers]
    most = max((len(text.partition(".")[2]) for text in texts if "e" not in text), default=0)
    largest = max((abs(float(number)) for number in numbers if np.isfinite(number)), default=0.0)
    decimals = min(most, max(0, digits - 1 - int(np.floor(np.log10(largest))))) if largest else 0
    padded = []
    for text in texts:
        whole, _, rest = text.partition(".")
        plain = decimals and text.lstrip("−").replace(",", "").replace(".", "").isdigit()
        padded.append(f"{whole}.{rest:0<{decimals}}" if plain else text)
    return padded


def check_tokens(tokens: Sequence | Iterable, size: int, axis: str, what: str) -> list[str]:
    """The labels of an axis.

    Args:
        tokens: one for each position on the axis.
        size: how many positions it has.
        axis: its letter, such as "Tk".
        what: what its positions are, such as "columns of weights".

    Raises:
        ValueError: there are not as many tokens as positions, with both numbers.
    """
    labels = [drawable(token) if isinstance(token, (str, bytes)) else str(token) for token in tokens]
    if len(labels) != size:
        raise ValueError(f"{len(labels)} tokens for {size} {what} ({axis}): give one token for each of them")
    return labels
