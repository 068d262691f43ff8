"""The map of the words: a row for each, a column for each notebook, and marks where it is introduced and used."""

from typing import NamedTuple

from gptlab import notebook
from gptlab.classroom import concepts, twins
from gptlab.html import BLACK, BLUE, BOX_EDGE, GREEN, SLATE, STRIPE, WHITE, Html, element, escape, row, scrolling, table

MARKS = {"introduced": "◆", "used": "●", "practised": "■"}
_SAID = {"introduced": "introduced", "used": "used in the text", "practised": "practised in an exercise"}


class Line(NamedTuple):
    """One word on the map.

    Attributes:
        concept: the word.
        marks: by the topic of a notebook, a key of `MARKS`.
    """

    concept: concepts.Concept
    marks: dict[str, str]


def lines() -> list[Line]:
    """A line for each word, in the order of the course."""
    found = []
    for concept in concepts.CONCEPTS:
        marks = dict.fromkeys(concepts.used(concept), "used")
        marks |= {exercise.topic: "practised" for exercise in concepts.practised(concept)}
        found.append(Line(concept, {**marks, concept.topic: "introduced"}))
    return found


def columns() -> list[str]:
    """The topics that have a column: those whose notebooks are written."""
    drawn = {topic for line in lines() for topic in line.marks}
    return sorted(drawn | set(twins.written()), key=lambda topic: notebook(topic).number)


def _key() -> str:
    return "  ".join(f"{mark} {_SAID[name]}" for name, mark in MARKS.items())


def concept_map() -> Html:
    """Every standard word of the field: the notebook that introduces it, and those that use or practise it.

    A mark has a shape of its own, so that it can be read without colours; resting on a word shows its definition.

    >>> print("\\n".join(repr(concept_map()).splitlines()[1:4]))
                      00 01 02 03 04 05 06 ...
    token                 ◆ ...
    vocabulary            ◆ ...
    """
    shown, topics = lines(), columns()
    numbers = [f"{notebook(topic).number:02}" for topic in topics]
    style = f"padding:1px 5px;font-size:13px;color:{BLACK};text-align:left;white-space:nowrap"
    head = row([
        element("th", "", style),
        *(
            element("th", number, f"{style};text-align:center", scope="col", title=notebook(topic).title)
            for topic, number in zip(topics, numbers, strict=True)
        ),
    ])  # fmt: skip
    width = max(len(line.concept.name) for line in shown)
    body, plain = [], [_key(), " ".join([" " * width, *numbers])]
    for line in shown:
        cells = [element("th", escape(line.concept.name), f"{style};font-weight:normal", scope="row",
                         title=line.concept.definition)]  # fmt: skip
        for topic in topics:
            name = line.marks.get(topic, "")
            colour = {"introduced": BLUE, "used": SLATE, "practised": GREEN}.get(name, SLATE)
            says = {"title": _SAID[name]} if name else {}
            cells.append(element("td", MARKS.get(name, ""), f"text-align:center;color:{colour}", **says))
        body.append(row(cells))
        signs = [MARKS.get(line.marks.get(topic, ""), " ").rjust(2) for topic in topics]
        plain.append(" ".join([line.concept.name.ljust(width), *signs]).rstrip())
    return Html(scrolling(table(body, [head], caption=_key())), "\n".join(plain))


_LEFT, _STEP, _TOP, _LINE = 158, 44, 150, 23  # pixels: of the first column, between columns, of the head, of a line


def concept_svg() -> str:
    """The same as a drawing: each word as a chip in the column that introduces it, and an arrow through its uses."""
    shown, topics = lines(), columns()
    width, height = _LEFT + _STEP * len(topics) + 70, _TOP + _LINE * len(shown) + 40
    x = {topic: _LEFT + _STEP * i + _STEP // 2 for i, topic in enumerate(topics)}
    label = "The words of the course: the notebook that introduces each, and those that use and practise it"
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{label}" font-family="system-ui, sans-serif" font-size="12" fill="{BLACK}">',
        f"<title>{label}</title>",
        f'<rect width="{width}" height="{height}" fill="{WHITE}"/>',
    ]
    for i, topic in enumerate(topics):
        found = notebook(topic)
        if i % 2 == 0:
            left, tall = x[topic] - _STEP // 2, height - _TOP - 28
            out.append(f'<rect x="{left}" y="{_TOP - 6}" width="{_STEP}" height="{tall}" fill="{STRIPE}"/>')
        turned = f'transform="translate({x[topic] + 4} {_TOP - 12}) rotate(-58)"'
        out.append(f"<text {turned}>{found.number:02} {escape(found.title)}</text>")
    for i, line in enumerate(shown):
        out += _drawn(line, _TOP + _LINE * i + _LINE // 2, x)
    y = height - 14
    out += [_mark("used", 20, y), f'<text x="30" y="{y + 4}">{_SAID["used"]}</text>']
    out += [_mark("practised", 160, y), f'<text x="170" y="{y + 4}">{_SAID["practised"]}</text>', "</svg>"]
    return "\n".join(out) + "\n"


def _drawn(line: Line, y: int, x: dict[str, int]) -> list[str]:
    """One line: the arrow, the marks on it, and the chip where it begins."""
    name, end = line.concept.name, x[line.concept.topic] + 9
    own = any(exercise.topic == line.concept.topic for exercise in concepts.practised(line.concept))
    chip = 7.5 * len(name) + 14 + 14 * own
    last = max(x[topic] for topic in line.marks)
    out = [f"<g><title>{escape(name)}: {escape(line.concept.definition)}</title>"]
    if last > end:
        out.append(f'<line x1="{end}" y1="{y}" x2="{last}" y2="{y}" stroke="{BOX_EDGE}" stroke-width="1.5"/>')
    out += [_mark(mark, x[topic], y) for topic, mark in line.marks.items() if mark != "introduced"]
    edge = f'fill="{WHITE}" stroke="{BLUE}" stroke-width="1.5"'
    out += [
        f'<rect x="{end - chip:g}" y="{y - 9}" width="{chip}" height="18" rx="4" {edge}/>',
        f'<text x="{end - chip / 2 - 7 * own:g}" y="{y + 4}" text-anchor="middle">{escape(name)}</text>',
    ]
    return [*out, *([_mark("practised", end - 11, y)] if own else []), "</g>"]


def _mark(name: str, x: int, y: int) -> str:
    if name == "practised":
        return f'<rect x="{x - 4}" y="{y - 4}" width="8" height="8" fill="{GREEN}"/>'
    return f'<circle cx="{x}" cy="{y}" r="4" fill="{SLATE}"/>'
