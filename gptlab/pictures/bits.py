"""Characters as UTF-8, bit by bit: which bits of a byte say where a character begins, and which are its number."""

from gptlab.html import (
    BLACK,
    BLUE,
    BOX,
    BOX_EDGE,
    CHIP,
    GREY,
    SLATE,
    WHITE,
    Html,
    element,
    escape,
    row,
    scrolling,
    span,
    table,
)
from gptlab.pictures.style import visible

MOST = 16  # characters, one row each
_CELL = (
    f"padding:4px 10px;text-align:left;vertical-align:top;white-space:nowrap;"
    f"color:{BLACK};background-color:{WHITE};font-size:14px"
)
_MARKER = f"background-color:{BLUE};color:{WHITE};font-weight:bold;text-decoration:underline"
_PAYLOAD = f"background-color:{BOX};color:{BLACK};outline:1px solid {BOX_EDGE}"


def marker_length(byte: int) -> int:
    """How many of the leftmost bits of a UTF-8 byte say what kind of byte it is: the ones, and the 0 behind them.

    Args:
        byte: from 0 to 255, as UTF-8 uses it.

    Raises:
        ValueError: for a byte that never occurs in UTF-8.

    >>> [marker_length(byte) for byte in "ü".encode()]
    [3, 2]
    """
    ones = f"{byte:08b}".find("0")
    if not 0 <= byte <= 255 or not 0 <= ones <= 4:
        raise ValueError(f"byte {byte} never occurs in UTF-8: give one that `text.encode()` gives")
    return ones + 1


def utf8_bits(text: str) -> Html:
    """The bits of each character in UTF-8: dark and underlined where they mark the kind of byte, framed where not.

    The framed bits of a row, read from left to right, are the code point of its character, which stands at the end.

    Args:
        text: 1 to 16 characters; each has a row.

    Raises:
        ValueError: for an empty text, or one of more than 16 characters.

    >>> utf8_bits("aü")
    a  0·1100001            1100001 = 97
    ü  110·00011 10·111100  00011111100 = 252
    """
    if not 0 < len(text) <= MOST:
        raise ValueError(f"{len(text)} characters to show bit by bit: give 1 to {MOST}")
    rows, lines = [], []
    for character in text:
        cut = [(byte, marker_length(byte)) for byte in character.encode("utf-8")]
        halves = [(byte, f"{byte:08b}"[:n], f"{byte:08b}"[n:]) for byte, n in cut]
        payload = "".join(half for _, _, half in halves)
        number = int(payload, 2)
        assert number == ord(character)
        rows.append(
            row([
                element("th", escape(visible(character)), f"{_CELL};font-size:18px;font-weight:normal"),
                element("td", "".join(_byte(*half) for half in halves), _CELL),
                element("td", span(payload, f"{CHIP};{_PAYLOAD}"), _CELL),
                element("td", f"= {number:,}", f"{_CELL};text-align:right"),
            ])
        )  # fmt: skip
        lines.append((visible(character), " ".join(f"{m}·{p}" for _, m, p in halves), f"{payload} = {number:,}"))
    names = ("character", "its bytes, bit by bit", "the framed bits in a row", "code point")
    head = row(element("th", escape(name), f"{_CELL};border-bottom:1px solid {GREY}") for name in names)
    widths = [max(len(line[column]) for line in lines) for column in range(2)]
    plain = "\n".join(f"{c:{widths[0]}}  {bits:{widths[1]}}  {sums}" for c, bits, sums in lines)
    legend = span("10", f"{CHIP};{_MARKER}") + span(" which kind of byte   ", CHIP)
    legend += span("111100", f"{CHIP};{_PAYLOAD}") + span(" a part of the code point", CHIP)
    under = element("div", legend, f"background-color:{WHITE};padding:4px 10px")
    return Html(scrolling(table(rows, [head]) + under), plain)


def _byte(byte: int, marker: str, payload: str) -> str:
    """One byte: its marker and its payload side by side, its value below."""
    bits = span(marker, f"{CHIP};{_MARKER}") + span(payload, f"{CHIP};{_PAYLOAD}")
    value = element("small", f"{byte}", f"font-size:11px;color:{SLATE}")
    return element("span", f"{bits}<br>{value}", "display:inline-block;text-align:center;margin:1px 4px")
