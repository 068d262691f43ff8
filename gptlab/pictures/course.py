"""Where we are: the map of the whole course, and the small map of the pipeline at the top of each notebook."""

from collections.abc import Iterable
from pathlib import Path

from gptlab import NOTEBOOKS, notebook
from gptlab.pictures.html import Html, escape

ACTS = {
    "start_here": "The whole journey",
    "tokens": "Text to numbers",
    "embedding": "Inside the model",
    "backpropagation": "Learning and speaking",
    "llama": "To today's models",
    "finetuning": "A model of your own",
    "gpu": "At size",
}

# The pipeline's boxes: what each holds, the letters of its shape, the topics that are about it.
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


def course_map(here: int | str | None = None, ready: Iterable[int | str] | None = None) -> Html:
    """All notebooks as stations on one line, each with its idea and a link; `here` is marked.

    Args:
        here: a topic, a number or a name.
        ready: the topics whose notebooks can be opened, by default those that are there; the others have no link.

    >>> print(repr(course_map("attention")).splitlines()[9])
    ▶ 06 Attention: each position decides where to look
    """
    at = None if here is None else notebook(here).number
    can_open = {notebook(topic).number for topic in (written() if ready is None else ready)}
    cell = "padding:3px 10px;text-align:left;font-size:14px;color:#111111;vertical-align:middle;background-color:"
    rows, plain = [], []
    for s in NOTEBOOKS:
        if s.topic in ACTS:
            act = escape(ACTS[s.topic])
            head = f"{cell}#ffffff;border-left:4px solid #0072B2;padding-top:10px;color:#0072B2;font-weight:bold"
            rows.append(f'<tr style="background-color:#ffffff"><td colspan="3" style="{head}">{act}</td></tr>')
            plain.append(ACTS[s.topic])
        here_now = s.number == at
        ground = "#F9C86B" if here_now else "#ffffff"
        weight = "bold" if here_now else "normal"
        dot = (
            f'<span style="display:inline-block;width:26px;text-align:center;border-radius:13px;font-size:13px;'
            f"line-height:26px;font-weight:bold;background-color:{'#0072B2' if s.number in can_open else '#DDDDDD'};"
            f'color:{"#ffffff" if s.number in can_open else "#444444"}">{s.number:02d}</span>'
        )
        name = escape(s.title)
        if s.number in can_open and not here_now:
            name = f'<a href="{s.file}.ipynb" style="color:#00588A">{name}</a>'
        idea = escape(s.idea) + (" &nbsp; <b>◂ you are here</b>" if here_now else "")
        idea += "" if s.number in can_open else " (to come)"
        rows.append(
            f'<tr style="background-color:{ground}"><td style="{cell}{ground};border-left:4px solid #0072B2">{dot}</td>'
            f'<td style="{cell}{ground};white-space:nowrap;font-weight:{weight}">{name}</td>'
            f'<td style="{cell}{ground}">{idea}</td></tr>'
        )
        plain.append(f"{'▶' if here_now else ' '} {s.number:02d} {s.title}: {s.idea}")
    body = "".join(rows)
    return Html(
        f'<table style="border-collapse:collapse;margin:4px 0px"><tbody>{body}</tbody></table>', "\n".join(plain)
    )


def pipeline(here: int | str | None = None) -> Html:
    """The way of a text through a GPT, from string to next token, with the stations of this notebook marked.

    >>> print(pipeline("embedding"))
    text → tokens → ids → batch [B, T] → **vectors [B, T, C]** → attention → blocks → logits [B, T, V] → next token
    """
    at = None if here is None else notebook(here).topic
    cells, plain = [], []
    for i, (name, below, topics) in enumerate(PIPELINE):
        marked = at in topics
        ground, edge = ("#F9C86B", "2px solid #222222") if marked else ("#EAF3F9", "1px solid #9DB8C9")
        who = "notebooks " + ", ".join(f"{notebook(topic).number:02}" for topic in topics)
        box = (
            f"padding:4px 5px;text-align:center;font-size:13px;line-height:1.35;color:#111111;white-space:nowrap;"
            f"background-color:{ground};border:{edge};border-radius:4px"
        )
        if i:
            arrow = "padding:0px 2px;text-align:center;font-size:15px;color:#444444;background-color:#ffffff"
            cells.append(f'<td style="{arrow}">→</td>')
        small = f'<span style="font-size:12px;color:#333333">{escape(below)}</span>'
        weight = "bold" if marked else "normal"
        label = f'<span style="font-weight:{weight}">{escape(name)}</span><br>{small}'
        cells.append(f'<td style="{box}" title="{who}">{label}</td>')
        text = f"{name} {below}" if below.startswith("[") and name != "attention" else name
        plain.append(f"**{text}**" if marked else text)
    rows = f'<tr style="background-color:#ffffff">{"".join(cells)}</tr>'
    line = " → ".join(plain)
    for text, topics in BELOW:
        marked = at in topics
        ground, edge = ("#F9C86B", "2px solid #222222") if marked else ("#ffffff", "1px dashed #9DB8C9")
        style = (
            f"padding:2px 6px;text-align:center;font-size:12px;color:#222222;background-color:{ground};border:{edge}"
        )
        who = "notebooks " + ", ".join(f"{notebook(topic).number:02}" for topic in topics)
        blank = '<td colspan="8" style="background-color:#ffffff"></td>'
        end = '<td colspan="2" style="background-color:#ffffff"></td>'
        bar = f'<td colspan="7" style="{style}" title="{who}">↑ {escape(text)}</td>'
        rows += f'<tr style="background-color:#ffffff">{blank}{bar}{end}</tr>'
        line += f"\n**{text}**" if marked else ""
    table = '<table style="border-collapse:separate;border-spacing:1px 3px;margin:2px 0px;background-color:#ffffff">'
    return Html(f'<div style="overflow-x:auto">{table}<tbody>{rows}</tbody></table></div>', line)
