"""Where we are: the map of the whole course, and the small map of the pipeline at the top of each notebook."""

from collections.abc import Iterable
from typing import NamedTuple

from gptlab.pictures.html import Html, escape


class Station(NamedTuple):
    """A notebook: its number, its file without the ending, its name and its idea in one line."""

    number: int
    file: str
    name: str
    idea: str


STATIONS = (
    Station(0, "00_start_here", "Start here", "a tiny GPT tells a story; then we ask how"),
    Station(1, "01_tokens", "Tokens", "text becomes integers: characters, words, and why neither is enough"),
    Station(2, "02_bpe", "Byte-pair encoding", "a vocabulary that grows out of the text"),
    Station(3, "03_sentencepiece", "SentencePiece", "two more ways to cut, side by side on the same text"),
    Station(4, "04_tensors_and_batches", "Tensors and batches", "[B, T, C]: many sequences at once"),
    Station(5, "05_embeddings", "Embeddings", "a row of numbers for each token; the first language model"),
    Station(6, "06_attention", "Attention", "each token asks, the others answer"),
    Station(7, "07_masking", "Masking", "who may listen to whom, in one sequence or in two"),
    Station(8, "08_the_model", "The model", "blocks on a stream: exactly GPT-2"),
    Station(9, "09_training", "Training", "from noise to stories, and how far from perfect"),
    Station(10, "10_sampling", "Sampling", "from probabilities to words, one at a time"),
    Station(11, "11_from_gpt2_to_llama", "From GPT-2 to Llama", "four parts swapped, one at a time"),
    Station(12, "12_finetuning", "Fine-tuning", "from a story-teller to one that follows an instruction"),
    Station(13, "13_reinforcement", "Reinforcement", "learning from a reward"),
    Station(14, "14_gpu_training", "GPU training", "the same at speed: precision, memory, many GPUs"),
)
ACTS = {
    0: "The whole journey",
    1: "Text to numbers",
    5: "Inside the model",
    9: "Learning and speaking",
    11: "To today's models",
}

# The pipeline's boxes: what it holds, the letters of its shape, the notebooks that are about it.
PIPELINE = (
    ("text", "a string", (1,)),
    ("tokens", "pieces of it", (1, 2, 3)),
    ("ids", "0 to V − 1", (1, 2, 3)),
    ("batch", "[B, T]", (4,)),
    ("vectors", "[B, T, C]", (5,)),
    ("attention", "[B, T, C]", (6, 7, 11)),
    ("blocks", "L times", (8, 11)),
    ("logits", "[B, T, V]", (8, 9)),
    ("next token", "one id", (10,)),
)
BELOW = (("training: the loss at the logits changes every number in vectors, attention and blocks", (9, 12, 13, 14)),)


def number_of(here: int | str) -> int:
    """The number of a notebook, from its number, its name or the beginning of its name.

    >>> number_of(6), number_of("06"), number_of("06_attention.ipynb")
    (6, 6, 6)
    """
    digits = str(here)[:2] if not isinstance(here, int) else str(here)
    if not digits.isdigit() or int(digits) >= len(STATIONS):
        raise ValueError(f"no notebook {here!r} on the map: give a number from 0 to {len(STATIONS) - 1}")
    return int(digits)


def course_map(here: int | str | None = None, ready: Iterable[int] | None = None) -> Html:
    """The fifteen notebooks as stations on one line, each with its idea and a link; `here` is marked.

    Args:
        here: a number or a name.  ready: the notebooks that can be opened; the others are shown without a link.

    >>> print(repr(course_map(6)).splitlines()[9])
    ▶ 06 Attention: each token asks, the others answer
    """
    at = None if here is None else number_of(here)
    can_open = set(range(len(STATIONS))) if ready is None else set(ready)
    cell = "padding:3px 10px;text-align:left;font-size:14px;color:#111111;vertical-align:middle;background-color:"
    rows, plain = [], []
    for s in STATIONS:
        if s.number in ACTS:
            act = escape(ACTS[s.number])
            head = f"{cell}#ffffff;border-left:4px solid #0072B2;padding-top:10px;color:#0072B2;font-weight:bold"
            rows.append(f'<tr style="background-color:#ffffff"><td colspan="3" style="{head}">{act}</td></tr>')
            plain.append(ACTS[s.number])
        here_now = s.number == at
        ground = "#F9C86B" if here_now else "#ffffff"
        weight = "bold" if here_now else "normal"
        dot = (
            f'<span style="display:inline-block;width:26px;text-align:center;border-radius:13px;font-size:13px;'
            f"line-height:26px;font-weight:bold;background-color:{'#0072B2' if s.number in can_open else '#DDDDDD'};"
            f'color:{"#ffffff" if s.number in can_open else "#444444"}">{s.number:02d}</span>'
        )
        name = escape(s.name)
        if s.number in can_open and not here_now:
            name = f'<a href="{s.file}.ipynb" style="color:#00588A">{name}</a>'
        idea = escape(s.idea) + (" &nbsp; <b>◂ you are here</b>" if here_now else "")
        idea += "" if s.number in can_open else " (to come)"
        rows.append(
            f'<tr style="background-color:{ground}"><td style="{cell}{ground};border-left:4px solid #0072B2">{dot}</td>'
            f'<td style="{cell}{ground};white-space:nowrap;font-weight:{weight}">{name}</td>'
            f'<td style="{cell}{ground}">{idea}</td></tr>'
        )
        plain.append(f"{'▶' if here_now else ' '} {s.number:02d} {s.name}: {s.idea}")
    body = "".join(rows)
    return Html(
        f'<table style="border-collapse:collapse;margin:4px 0px"><tbody>{body}</tbody></table>', "\n".join(plain)
    )


def pipeline(here: int | str | None = None) -> Html:
    """The way of a text through a GPT, from string to next token, with the stations of this notebook marked.

    >>> print(pipeline(5))
    text → tokens → ids → batch [B, T] → **vectors [B, T, C]** → attention → blocks → logits [B, T, V] → next token
    """
    at = None if here is None else number_of(here)
    cells, plain = [], []
    for i, (name, below, notebooks) in enumerate(PIPELINE):
        marked = at in notebooks
        ground, edge = ("#F9C86B", "2px solid #222222") if marked else ("#EAF3F9", "1px solid #9DB8C9")
        who = "notebooks " + ", ".join(f"{n:02d}" for n in notebooks)
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
    for text, notebooks in BELOW:
        marked = at in notebooks
        ground, edge = ("#F9C86B", "2px solid #222222") if marked else ("#ffffff", "1px dashed #9DB8C9")
        style = (
            f"padding:2px 6px;text-align:center;font-size:12px;color:#222222;background-color:{ground};border:{edge}"
        )
        who = "notebooks " + ", ".join(f"{n:02d}" for n in notebooks)
        blank = '<td colspan="8" style="background-color:#ffffff"></td>'
        end = '<td colspan="2" style="background-color:#ffffff"></td>'
        bar = f'<td colspan="7" style="{style}" title="{who}">↑ {escape(text)}</td>'
        rows += f'<tr style="background-color:#ffffff">{blank}{bar}{end}</tr>'
        line += f"\n**{text}**" if marked else ""
    table = '<table style="border-collapse:separate;border-spacing:1px 3px;margin:2px 0px;background-color:#ffffff">'
    return Html(f'<div style="overflow-x:auto">{table}<tbody>{rows}</tbody></table></div>', line)
