"""One sheet for each notebook: aims, minutes, core exercises with their likely wrong answers, questions and answers.

All of it is counted and read from the notebook's text twin and from the exercises, except for what an experienced
teacher adds, which is in `lessons`.
"""

import math
import re
from typing import NamedTuple

from gptlab import notebook
from gptlab.classroom import concepts, twins
from gptlab.classroom.lessons import lessons
from gptlab.exercises import registry
from gptlab.exercises.schema import Exercise, Prediction

WORDS_PER_MINUTE, SECONDS_PER_LINE = 170, 4  # of prose, and of code that is read and not written
MISTAKES = 5  # of a core exercise, on the sheet; the exercise's file has them all


class Section(NamedTuple):
    """A part of a notebook, from one heading to the next.

    Attributes:
        title: of the heading; "" for what stands before the first.
        words: of prose.
        lines: of code.
        exercises: that are set in it.
        new: the standard words that it introduces.
    """

    title: str
    words: int
    lines: int
    exercises: tuple[Exercise, ...]
    new: tuple[str, ...]

    @property
    def minutes(self) -> int:
        """To read it, rounded up; exercises not counted."""
        return math.ceil(self.words / WORDS_PER_MINUTE + SECONDS_PER_LINE * self.lines / 60)

    @property
    def is_core(self) -> bool:
        """Whether a class cannot go on without it: a core exercise, or a word that everybody must have met."""
        return bool(self.new) or any(exercise.kind == "core" for exercise in self.exercises)


def sections(topic: str) -> list[Section]:
    """The parts of a notebook, in order.

    >>> [section.title for section in sections("attention") if section.is_core][:2]
    ['By hand: scores from content', 'Why √hs?']
    """
    parts: list[tuple[str, list[str], list[str]]] = [("", [], [])]
    for cell in twins.cells(topic):
        if cell.kind == "code":
            parts[-1][2].append(cell.source)
            continue
        for i, piece in enumerate(re.split(r"^## (.+)$", cell.source, flags=re.MULTILINE)):
            parts.append((piece.strip(), [], [])) if i % 2 else parts[-1][1].append(piece)
    return [_section(topic, *part) for part in parts]


def _section(topic: str, title: str, texts: list[str], code: list[str]) -> Section:
    ids = [id for source in code for id in re.findall(r"\bcheck\(\"([a-z_]+\.\d+)\"", source)]
    said = " ".join(" ".join(texts).split())
    new = [
        concept.name
        for concept in concepts.CONCEPTS
        if concept.topic == topic
        and any(
            concept.forms.fullmatch(bold) for bold in re.findall(r"\*\*(?:[Tt]he |[Aa]n? )?([^*]+?)[.:]?\*\*", said)
        )
    ]
    found = tuple(exercise for id in ids if (exercise := registry.find(id)) is not None)
    lines = sum(bool(line.strip()) for source in code for line in source.splitlines())
    return Section(title, sum(len(twins.prose(text).split()) for text in texts), lines, found, tuple(new))


def reading_minutes(topic: str) -> int:
    """To read a notebook and its code, without the exercises; rounded to five."""
    parts = sections(topic)
    seconds = sum(60 * part.words / WORDS_PER_MINUTE + SECONDS_PER_LINE * part.lines for part in parts)
    return 5 * round(seconds / 300)


def core(topic: str) -> list[Exercise]:
    """The core exercises of a notebook."""
    return [exercise for exercise in registry.exercises(topic) if exercise.kind == "core"]


def aims(topic: str) -> list[str]:
    """What the notebook says that a reader can do after it.

    >>> aims("attention")[0].startswith("write attention from an empty cell")
    True
    """
    for cell in twins.cells(topic):
        said = re.search(r"\*\*After this notebook you can:?\*\*(.*?)(?=\n\s*\n(?![-*] )|\Z)", cell.source, re.DOTALL)
        if said:
            items = re.split(r"^[-*] ", said[1], flags=re.MULTILINE)[1:] or said[1].split(";")
            return [" ".join(item.split()).rstrip(".,;").removeprefix("and ") for item in items]
    return []


def sheet(topic: str) -> str:
    """The teaching sheet of a notebook, in Markdown."""
    found, human = notebook(topic), lessons()[topic]
    parts = sections(topic)
    mine = core(topic)
    words, lines = sum(part.words for part in parts), sum(part.lines for part in parts)
    out = [
        f"# Teaching {found.number:02} {found.title}",
        f"[The notebook](../{found.file}.ipynb) · [all sheets and plans](../README.md) · *{found.idea}*",
        f"**Time.** About {reading_minutes(topic)} minutes to read ({words:,} words, {lines} lines of code), "
        f"{sum(exercise.minutes for exercise in mine)} for the core exercises, "
        f"{sum(exercise.minutes for exercise in registry.exercises(topic))} for all {len(registry.exercises(topic))}.",
        "## After it, pupils can",
        "\n".join(f"- {aim}" for aim in aims(topic)),
        "## Before anybody opens it",
        human.opening,
        "## The way through",
        _way(parts, human.skip),
    ]
    if human.project:
        out += ["## On the projector", "\n".join(f"- **{title}:** {why}" for title, why in human.project)]
    out += ["## Core exercises", *(_exercise(exercise) for exercise in mine)]
    out += ["## To discuss", *(f"**{ask}**\n\n*Listen for:* {hope}." for ask, hope in human.discuss)]
    out += ["## Answers", _predictions(topic), _questions(topic)]
    return "\n\n".join(part for part in out if part) + "\n"


def _way(parts: list[Section], skip: tuple[str, ...]) -> str:
    rows = ["| section | minutes | new words | exercises |  |", "|---|---:|---|---|---|"]
    for part in parts:
        if not part.title or part.title in ("What to remember", "Next"):
            continue
        mark = "core" if part.is_core else "can be skipped" if part.title in skip else ""
        ids = ", ".join(f"{one.id} ({one.kind}, {one.minutes})" for one in part.exercises)
        rows.append(f"| {part.title} | {part.minutes} | {', '.join(part.new)} | {ids} | {mark} |")
    return "\n".join(rows)


def _exercise(exercise: Exercise) -> str:
    usual = [f"- *{mistake.name}:* {_line(mistake.tell)}" for mistake in exercise.mistakes[:MISTAKES]]
    more = len(exercise.mistakes) - len(usual)
    rest = f"\n\nThe check recognises {more} more." if more > 0 else ""
    return (
        f"### {exercise.id} {exercise.title} ({exercise.minutes} minutes)\n\n{_line(exercise.hints[0])}\n\n"
        f"Likely wrong answers, and what to say:\n\n" + "\n".join(usual) + rest
    )


def _line(text: str) -> str:
    return " ".join(text.split())


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


def _predictions(topic: str) -> str:
    own = registry.predictions(topic)
    body = "\n\n".join(
        f"**{one.id}** {_line(one.question)}\n\n*{_answer(one)}* {_line(one.explanation)}" for one in own
    )
    return _folded("The guesses of this notebook", body) if own else ""


def _answer(one: Prediction) -> str:
    if one.answer is None:
        return "The cell after it computes the answer."
    if one.choices and str(one.answer) in "abcdefgh":
        return f"{one.answer}: {one.choices['abcdefgh'.index(str(one.answer))]}."
    return f"{one.answer}."


def _questions(topic: str) -> str:
    own = registry.questions(topic)
    body = "\n\n".join(
        f"**{i}.** {_line(one.question)} (about {one.about})\n\n*{one.answer}: "
        f"{one.choices['abcdefgh'.index(one.answer)]}.* "
        f"{_line(one.explanation)}"
        for i, one in enumerate(own, 1)
    )
    return _folded("The questions that open it", body) if own else ""
