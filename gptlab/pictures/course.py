"""Where we are: the map of the whole course, and the small map of the pipeline at the top of each notebook."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from gptlab import NOTEBOOKS, Notebook, notebook
from gptlab.html import (
    BLACK,
    BLUE,
    BOX,
    BOX_EDGE,
    HERE,
    INK,
    LINK,
    PALE,
    SLATE,
    WHITE,
    Html,
    element,
    escape,
    row,
    scrolling,
    span,
    table,
)  # fmt: skip

ACTS = {
    "start_here": "The whole journey",
    "tokens": "Text to numbers",
    "embedding": "Inside the model",
    "backpropagation": "Learning and speaking",
    "llama": "To today's models",
    "finetuning": "A model of your own",
    "gpu": "At size",
}

# The boxes of the pipeline: what each holds, the letters of its shape, the topics that are about it.
PIPELINE = (
    ("text", "a string", ("tokens",)),
    ("tokens", "pieces of it", ("tokens", "bpe", "unigram")),
    ("ids", "0 to V − 1", ("tokens", "bpe", "unigram")),
    ("batch", "[B, T]", ("batches",)),
    ("vectors", "[B, T, C]", ("embedding",)),
    ("attention", "[B, T, C]", ("attention", "masking", "llama", "inside_the_model")),
    ("blocks", "L times", ("model", "llama", "inside_the_model")),
    ("logits", "[B, T, V]", ("model", "training")),
    ("next token", "one id", ("sampling",)),
)
_LEARNING = ("backpropagation", "training", "finetuning", "reinforcement", "your_own_gpt", "gpu", "cluster")
BELOW = (("training: the loss at the logits changes every weight in vectors, attention and blocks", _LEARNING),)


def written() -> list[str]:
    """The topics whose notebooks are in this clone; all of them where the package stands alone."""
    folder = Path(__file__).parents[2] / "notebooks"
    there = [found.topic for found in NOTEBOOKS if (folder / f"{found.file}.ipynb").exists()]
    return there or [found.topic for found in NOTEBOOKS]


def course_map(
    here: int | str | None = None,
    ready: Iterable[int | str] | None = None,
    figures: Mapping[str, str] | None = None,
) -> Html:
    """All notebooks as stops on one line, each with its idea and a link; `here` is marked.

    Args:
        here: a topic, a number or a name.
        ready: the topics whose notebooks can be opened, by default those that are there; the others have no link.
        figures: from a topic to a few words that stand beside its stop, such as `gptlab.exercises.tally()`.

    >>> print(repr(course_map("attention")).splitlines()[9])
    ▶ 06 Attention: each position decides where to look
    """
    at = None if here is None else notebook(here).number
    can_open = {notebook(topic).number for topic in (written() if ready is None else ready)}
    rows, plain, figures = [], [], figures or {}
    for stop in NOTEBOOKS:
        if stop.topic in ACTS:
            rows.append(_act(ACTS[stop.topic]))
            plain.append(ACTS[stop.topic])
        is_here = stop.number == at
        figure = figures.get(stop.topic, "")
        rows.append(_stop(stop, is_here, stop.number in can_open, figure))
        beside = f" ({figure})" if figure else ""
        plain.append(f"{'▶' if is_here else ' '} {stop.number:02d} {stop.title}: {stop.idea}{beside}")
    return Html(table(rows), "\n".join(plain))


_CELL = f"padding:3px 10px;text-align:left;font-size:14px;color:{BLACK};vertical-align:middle"
_LINE = f"border-left:4px solid {BLUE}"


def _act(title: str) -> str:
    """The row above the first notebook of a part of the course."""
    style = f"{_CELL};background-color:{WHITE};{_LINE};padding-top:10px;color:{BLUE};font-weight:bold"
    return row([element("td", escape(title), style, colspan=3)])


def _stop(stop: Notebook, is_here: bool, can_open: bool, figure: str = "") -> str:
    ground = f"background-color:{HERE if is_here else WHITE}"
    dot = span(
        f"{stop.number:02d}",
        "display:inline-block;width:26px;text-align:center;border-radius:13px;font-size:13px;line-height:26px;"
        f"font-weight:bold;background-color:{BLUE if can_open else PALE};color:{WHITE if can_open else SLATE}",
    )
    name = escape(stop.title)
    if can_open and not is_here:
        name = element("a", name, f"color:{LINK}", href=f"{stop.file}.ipynb")
    idea = escape(stop.idea) + (" &nbsp; <b>◂ you are here</b>" if is_here else "") + ("" if can_open else " (to come)")
    cells = [
        element("td", dot, f"{_CELL};{ground};{_LINE}"),
        element("td", name, f"{_CELL};{ground};white-space:nowrap;font-weight:{'bold' if is_here else 'normal'}"),
        element("td", idea, f"{_CELL};{ground}"),
    ]
    if figure:
        cells.append(element("td", escape(figure), f"{_CELL};{ground};color:{SLATE};font-size:12px"))
    return row(cells, ground)


def pipeline(here: int | str | None = None) -> Html:
    """The way of a text through a GPT, from string to next token, with the stages of this notebook marked.

    Args:
        here: a topic, a number or a name.

    >>> print(pipeline("embedding"))
    text → tokens → ids → batch [B, T] → **vectors [B, T, C]** → attention → blocks → logits [B, T, V] → next token
    """
    at = None if here is None else notebook(here).topic
    arrow = f"padding:0px 2px;text-align:center;font-size:15px;color:{SLATE};background-color:{WHITE}"
    cells, plain = [], []
    for i, (name, below, topics) in enumerate(PIPELINE):
        if i:
            cells.append(element("td", "→", arrow))
        cells.append(_stage(name, below, topics, at in topics))
        text = f"{name} {below}" if below.startswith("[") and name != "attention" else name
        plain.append(f"**{text}**" if at in topics else text)
    rows, line = [row(cells)], " → ".join(plain)
    for text, topics in BELOW:
        rows.append(_bar_below(text, topics, at in topics))
        line += f"\n**{text}**" if at in topics else ""
    style = f"border-collapse:separate;border-spacing:1px 3px;margin:2px 0px;background-color:{WHITE}"
    return Html(scrolling(table(rows, style=style)), line)


def _notebooks(topics: Iterable[str]) -> str:
    return "notebooks " + ", ".join(f"{notebook(topic).number:02}" for topic in topics)


def _stage(name: str, below: str, topics: Iterable[str], marked: bool) -> str:
    ground, edge = (HERE, f"2px solid {INK}") if marked else (BOX, f"1px solid {BOX_EDGE}")
    style = (
        f"padding:4px 5px;text-align:center;font-size:13px;line-height:1.35;color:{BLACK};white-space:nowrap;"
        f"background-color:{ground};border:{edge};border-radius:4px"
    )
    label = span(name, f"font-weight:{'bold' if marked else 'normal'}")
    return element("td", f"{label}<br>{span(below, f'font-size:12px;color:{SLATE}')}", style, title=_notebooks(topics))


def _bar_below(text: str, topics: Iterable[str], marked: bool) -> str:
    """What belongs to several stages: a bar under them."""
    ground, edge = (HERE, f"2px solid {INK}") if marked else (WHITE, f"1px dashed {BOX_EDGE}")
    style = f"padding:2px 6px;text-align:center;font-size:12px;color:{INK};background-color:{ground};border:{edge}"
    empty = f"background-color:{WHITE}"
    return row([
        element("td", "", empty, colspan=8),
        element("td", f"↑ {escape(text)}", style, colspan=7, title=_notebooks(topics)),
        element("td", "", empty, colspan=2),
    ])  # fmt: skip
