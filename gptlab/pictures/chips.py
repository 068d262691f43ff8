"""Text as a row of chips: how tokenizers split it (`tokens`), and how much a token surprised a model (`surprise`)."""

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.patches import Rectangle

from gptlab.html import CHIP, CHIPS, GREY, INK, ROW, SLATE, WHITE, Html, element, escape, span
from gptlab.pictures import adapter
from gptlab.pictures.style import (
    NATS,
    Number,
    Picture,
    array,
    canvas,
    drawable,
    finish,
    readable,
    styled,
    visible,
)

BREAK = "<br>"


def tokens(text: str, *tokenizers: Any, names: Sequence[str] | None = None, ids: bool = True, limit: int = 400) -> Html:
    """How one or several tokenizers split a text: one coloured chip per token, its id below, more in its tooltip.

    A space is ␣, a newline ⏎, a tab →; a token that is only a part of a character shows its bytes, `<E2>`, with a
    dashed border. SentencePiece's own symbol for a space, ▁, stays as it is.

    Args:
        text: what to split.
        tokenizers: any of gptlab's, tiktoken's or sentencepiece's.
        names: what to call them, one name each.
        ids: whether to show the ids.
        limit: tokens shown; the rest is counted.

    Raises:
        ValueError: without a tokenizer, or if there are not as many names as tokenizers.
        TypeError: for something that is not a tokenizer.

    >>> from gptlab.tokens import WordTokenizer
    >>> tokens("a fox, a hen", WordTokenizer.from_text("a fox, a hen"))
    a| |fox|,| |a| |hen  (8 tokens)
    """
    if not tokenizers:
        raise ValueError("no tokenizer to show the text with: give at least one, tokens(text, tokenizer)")
    if names is not None and len(names) != len(tokenizers):
        raise ValueError(f"{len(names)} names for {len(tokenizers)} tokenizers: give one name for each")
    names = [adapter.name_of(t) for t in tokenizers] if names is None else [str(name) for name in names]
    cut = [adapter.pieces(tokenizer, text) for tokenizer in tokenizers]
    size = len(text.encode("utf-8", "replace"))
    rows = "".join(_row(name, found, size, ids, limit) for name, found in zip(names, cut, strict=True))
    if len(tokenizers) == 1:
        plain = _plain(cut[0], limit)
    else:
        plain = "\n".join(f"{name}: {_plain(found, limit)}" for name, found in zip(names, cut, strict=True))
    return Html(f"<div>{rows}</div>", plain)


def _count(n: int) -> str:
    return f"{n:,} token" if n == 1 else f"{n:,} tokens"


def _plain(found: list[adapter.Piece], limit: int) -> str:
    """The tokens between bars, newlines as ⏎; a bar in the text itself gets a backslash."""
    shown = [_plain_token(p) for p in found[:limit]]
    more = f"|… {len(found) - limit:,} more" if len(found) > limit else ""
    return f"{'|'.join(shown)}{more}  ({_count(len(found))})"


def _plain_token(p: adapter.Piece) -> str:
    return p.shown.replace("␣", " ").replace("|", "\\|")


def _row(name: str, found: list[adapter.Piece], size: int, ids: bool, limit: int) -> str:
    ratio = f", {size / len(found):.2f} bytes of text each" if found and size else ""
    title = f"<b>{escape(name)}</b>: {_count(len(found))}{ratio}"
    head = element("div", title, "font-size:14px;margin:8px 0px 2px 0px")
    chips = "".join(_chip(p, CHIPS[i % len(CHIPS)], ids) for i, p in enumerate(found[:limit]))
    if len(found) > limit:
        chips += span(f" … and {len(found) - limit:,} more", "font-size:13px")
    return head + element("div", chips, ROW)


def _chip(p: adapter.Piece, ground: str, ids: bool) -> str:
    style = f"display:inline-block;text-align:center;margin:1px;padding:1px 2px;background-color:{ground}"
    style += f";outline:1px dashed {SLATE}" if p.is_partial else ""
    under = BREAK + element("small", str(p.id), "font-size:11px") if ids else ""
    end = BREAK if p.shown.endswith("⏎") else ""
    return element("span", (escape(p.shown) or "&nbsp;") + under, style, title=p.tooltip) + end


# ---- Surprise --------------------------------------------------------------------------------------------------------


def _texts(text_or_tokens: str | Iterable, tokenizer: Any) -> list[str]:
    if tokenizer is not None:
        if not isinstance(text_or_tokens, str):
            text_or_tokens = [adapter.piece(tokenizer, i) for i in text_or_tokens]
        else:
            text_or_tokens = adapter.pieces(tokenizer, text_or_tokens)
        return [p.shown if p.data is None else readable(p.data) for p in text_or_tokens]
    return [readable(t) if isinstance(t, bytes) else str(t) for t in text_or_tokens]


def _measured(text_or_tokens, nats, tokenizer, top) -> tuple[list[str], list[float], float]:
    texts, values = _texts(text_or_tokens, tokenizer), [float(x) for x in array(nats).ravel()]
    if len(texts) != len(values):
        raise ValueError(
            f"{len(texts)} tokens, but {len(values)} surprises in nats: give one number per token "
            f"(a model does not predict the first token of a text: leave it out, or give it 0)"
        )
    return texts, values, top if top is not None else max([1.0, *values])


def _ground(value: Number, top: Number) -> str:
    red, green, blue, _ = NATS(min(1.0, max(0.0, value / top)))
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def surprise(
    text_or_tokens: str | Iterable, nats: Any, marks: Iterable | None = None, *, tokenizer: Any = None,
    top: Number | None = None,
) -> Html:  # fmt: skip
    """A text shaded by how much each token surprised a model: white for 0 nats, orange for many.

    Args:
        text_or_tokens: the tokens as strings or bytes; a text (its characters are the tokens then, unless a
            `tokenizer` splits it); or ids, with a `tokenizer`.
        nats: −ln p of each token.
        marks: of a fable; the words that state a fact are underlined, with a line for a free choice and with dots for
            a fact that was stated before.
        tokenizer: for a text or for ids.
        top: nats of the darkest shade; by default the largest.

    Raises:
        ValueError: if there are not as many numbers as tokens.

    >>> surprise(["The", " fox"], [0.5, 2.25])
    The‹0.5› fox‹2.2›
    2.75 nats in 2 tokens, 1.38 nats per token
    """
    texts, values, top = _measured(text_or_tokens, nats, tokenizer, top)
    marks = list(marks or ())
    chips, at = [], 0
    for text, value in zip(texts, values, strict=True):
        start = at + len(text) - len(text.lstrip())
        mark = next((m for m in marks if m.start <= start < m.end), None)
        note = "" if mark is None else f" · {'recalled' if mark.recalled else 'free choice'}: {mark.fact}"
        ground = _ground(value, top)
        kind = "dotted" if mark is not None and mark.recalled else "solid"
        style = f"background-color:{ground}" + (f";border-bottom:2px {kind} {INK}" if mark is not None else "")
        shown = visible(text).replace("␣", " ")
        chips.append(span(shown, style, f"{value:.2f} nats, p = {2.718281828459045**-value:.3f}{note}"))
        chips.append(BREAK * text.count("\n"))
        at += len(text)
    total = sum(values)
    count = f"{total:.2f} nats in {_count(len(values))}"
    mean = f"{count}, {total / max(1, len(values)):.2f} nats per token"
    shades = [top * i / 4 for i in range(5)]
    steps = "".join(span(f"{n:.1f}", f"{CHIP};padding:1px 6px;background-color:{_ground(n, top)}") for n in shades)
    key = "" if not marks else " · underlined: a free choice · dotted: a fact stated before"
    legend = element("div", f"nats: {steps} &nbsp; {mean}{key}", "font-size:13px;margin-top:8px")
    body = element("div", "".join(chips), f"{ROW};background-color:{WHITE};padding:6px;line-height:1.9")
    plain = "".join(f"{visible(t).replace('␣', ' ')}‹{v:.1f}›" for t, v in zip(texts, values, strict=True))
    return Html(f"<div>{body}{legend}</div>", f"{plain}\n{mean}")


@styled
def surprise_figure(
    text_or_tokens: str | Iterable, nats: Any, *, tokenizer: Any = None, top: Number | None = None, width: int = 84
) -> Picture:
    """`surprise` as a figure, for slides and paper.

    Args:
        text_or_tokens: as for `surprise`.
        nats: −ln p of each token.
        tokenizer: for a text or for ids.
        top: nats of the darkest shade; by default the largest.
        width: characters per line; a token is never split over two lines.

    Raises:
        ValueError: if there are not as many numbers as tokens.
    """
    texts, values, top = _measured(text_or_tokens, nats, tokenizer, top)
    shapes, row, column = [], 0, 0
    for text, value in zip(texts, values, strict=True):
        shown = drawable(text).replace("␣", " ")
        if column and column + len(shown) > width:
            row, column = row + 1, 0
        shapes.append((row, column, shown, value))
        column += len(shown)
        if "\n" in text:
            row, column = row + 1, 0
    figure, axes = canvas(9.0, 0.3 * (row + 1) + 0.9)
    for y, x, shown, value in shapes:
        axes.add_patch(Rectangle((x, y - 0.42), len(shown), 0.84, facecolor=_ground(value, top), edgecolor="none"))
        for i, character in enumerate(shown):  # one cell per character, so that the shades fit in any font
            axes.text(x + i + 0.5, y, character, family="DejaVu Sans Mono", fontsize=10, ha="center", va="center")
    axes.set(xlim=(0, width), ylim=(row + 0.6, -0.6))
    axes.axis("off")
    from matplotlib.cm import ScalarMappable

    shades = ScalarMappable(cmap=NATS)
    shades.set_clim(0, top)
    figure.colorbar(
        shades, ax=axes, location="bottom", aspect=60, pad=0.02, label="surprise (nats per token)"
    ).outline.set(edgecolor=GREY)
    worst = sorted(zip(values, texts, strict=True), key=lambda pair: -pair[0])[:3]
    named = ", ".join(f"{visible(text)} ({value:.1f} nats)" for value, text in worst)
    return finish(figure, f"A text of {len(texts)} tokens, each shaded by its surprise; the most surprising: {named}.")
