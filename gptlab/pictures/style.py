"""The one visual language of the course: colours, sizes, how a figure shows itself, how a token is written visibly.

Colours are those of Okabe and Ito (2008), which people with any common colour blindness tell apart; nothing is said by
colour alone. Figures have a white ground and text of 10 points or more; each carries an alternative text.
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

BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442",
)  # fmt: skip
INK, GREY, PALE = "#222222", "#767676", "#E4E4E4"
SERIES = (BLUE, ORANGE, GREEN, PINK, SKY, RED, INK)
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (2, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# An excess over the floor has three parts, with the same colour in every picture.
PARTS = {"form": SKY, "recalled": RED, "free": GREY}
# So does each letter of a shape.
LETTERS = {"B": BLUE, "T": RED, "Tq": RED, "Tk": "#B15928", "C": GREEN, "hs": GREEN, "V": "#8A4F7D", "H": "#9C6B00"}
WEIGHTS = LinearSegmentedColormap.from_list("weights", ["#FFFFFF", "#C9E4F6", SKY, BLUE, "#00304B"])
NATS = LinearSegmentedColormap.from_list("nats", ["#FFFFFF", "#FBE3B5", ORANGE, "#E27F1E"])
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
    """A matplotlib figure that shows itself once, as PNG, with its alternative text (`alt`) beside it.

    It never enters pyplot's list of figures, so that no cell draws it a second time, and the reader's own settings of
    matplotlib do not change it.
    """

    alt = ""

    def draw(self, renderer):
        with mpl.rc_context(_STYLE):
            super().draw(renderer)

    def savefig(self, fname, **options):
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
        data = {"image/png": base64.b64encode(self.png()).decode("ascii"), "text/plain": repr(self)}
        return data, {"image/png": {"alt": self.alt}}

    def __repr__(self) -> str:
        width, height = self.get_size_inches() * self.dpi
        return f"<Figure size {width:.0f}x{height:.0f} with {len(self.axes)} Axes>"


def canvas(width: float = 7.5, height: float = 3.6, rows: int = 1, columns: int = 1, **options):
    """An empty picture and its axes in our style, no wider than a page: `(figure, axes)`."""
    with mpl.rc_context(_STYLE):
        figure = Picture(figsize=(min(width, WIDEST), height), layout="constrained")
        return figure, figure.subplots(rows, columns, **options)


def finish(figure: Picture, alt: str) -> Picture:
    """Give a picture its alternative text, and fix its layout, so that each time it is shown the bytes are the same."""
    for text in figure.findobj(Text):  # a character that the font lacks would warn at each drawing
        text.set_text("".join(c if c == "\n" else _in_font(c) for c in text.get_text()))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    figure.alt = " ".join(alt.split())
    return figure


def styled(draw):
    """For the functions that draw: everything inside uses our settings, and none of them leaks out."""

    @wraps(draw)
    def wrapper(*args, **kwargs):
        with mpl.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return wrapper


def describe(figure: Figure) -> str:
    """The alternative text of a picture: what a reader who cannot see it should know.

    >>> from gptlab import pictures
    >>> print(pictures.describe(pictures.compare({"bigram": 2.1, "attention": 1.3}, unit="nats a token")))
    Bars, in nats a token: bigram 2.1; attention 1.3.
    """
    return getattr(figure, "alt", "")


# ---- Text that can be seen -------------------------------------------------------------------------------------------

_SEEN = {" ": "␣", "\n": "⏎", "\r": "␍", "\t": "→", "\u00a0": "⍽"}


def visible(data: bytes | str) -> str:
    """A token as a person can see it: blanks as signs, bytes that are only a part of a character as `<E2>`.

    >>> print(visible(" the"), visible(b"\\n\\xe2\\x82"), visible("\\u200b"))
    ␣the ⏎<E2><82> <U+200B>
    """
    if isinstance(data, bytes):
        data = readable(data)
    seen = (_SEEN.get(c, c if c.isprintable() else f"<U+{ord(c):04X}>") for c in data)
    return "".join(seen)


def readable(data: bytes) -> str:
    """The text of some bytes; those that are no whole character are written `<E2>`.

    >>> readable("a€".encode()[:3])
    'a<E2><82>'
    """
    return data.decode("utf-8", "surrogateescape").translate({0xDC00 + b: f"<{b:02X}>" for b in range(128, 256)})


@cache
def _glyphs() -> frozenset[int]:
    path = font_manager.findfont("DejaVu Sans")
    return frozenset(font_manager.get_font(path).get_charmap())


def drawable(text: bytes | str) -> str:
    """`visible`, for a figure: a character that the font of the figures lacks becomes its number.

    >>> drawable("a 狐")
    'a␣<U+72D0>'
    """
    return "".join(map(_in_font, visible(text)))


def _in_font(character: str) -> str:
    return character if ord(character) in _glyphs() else f"<U+{ord(character):04X}>"


def shorten(text: str, most: int = 18) -> str:
    """A long label, cut in the middle."""
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
    """A number with `digits` significant digits, thousands apart, and a real minus sign.

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
    """Tidy numbers to stand side by side: where one has decimals, the others have as many as the largest would.

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
    """The labels of an axis, or an error that says which two numbers disagree."""
    labels = [drawable(token) if isinstance(token, (str, bytes)) else str(token) for token in tokens]
    if len(labels) != size:
        raise ValueError(f"{len(labels)} tokens for {size} {what} ({axis}): give one token for each of them")
    return labels
