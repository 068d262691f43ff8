"""The syllabus, three lesson plans and a sheet for each notebook, as Markdown in `notebooks/teaching/`.

`pages` makes all of them, `write` puts them into a folder, and a test holds the committed files to what is made here.
"""

import re
from pathlib import Path
from typing import NamedTuple

from gptlab import notebook
from gptlab.classroom import sheets, twins
from gptlab.classroom.lessons import lessons
from gptlab.exercises import registry
from gptlab.files import write_whole

FOLDER = "teaching"
MAP = f"{FOLDER}/concepts.svg"
LESSON = 90  # minutes of a double lesson


class Step(NamedTuple):
    """A part of a lesson.

    Attributes:
        minutes: it takes.
        title: a few words.
        project: what is on the projector.
        pupils: what the class does meanwhile.
    """

    minutes: int
    title: str
    project: str
    pupils: str


SHORT = (
    Step(4, "Finish the fable", "nothing; read aloud and stop", "write the next word down, compare"),
    Step(6, "It writes", "{start_here}, *First, let it write*: three stories", "find the mistake in one of them"),
    Step(8, "Text becomes numbers", "{start_here}, *How does it do that?*: the coloured tokens and the bars",
         "guess where the cuts are, and which bar is longest"),
    Step(7, "It remembers", "{start_here}, *It remembers: change one word*: hen becomes wolf",
         "predict the next word before the cell is run, by a show of hands"),
    Step(12, "Take it apart", "the page: look inside, switch a part off, swap a fact",
         "in pairs: open the page, find one change that breaks the story, say why"),
    Step(5, "What it is not", "{start_here}, *What it gets wrong*", "name one thing that such a model cannot know"),
    Step(3, "Take home", "the page on a stick or by mail", "one sentence: what does a language model do?"),
)  # fmt: skip

LONG = (
    Step(5, "Finish the fable", "nothing; read aloud and stop", "write the next word down, compare"),
    Step(12, "The whole journey", "{start_here}, *How does it do that?* and *It remembers: change one word*",
         "predict, then run; pairs on one laptop"),
    Step(10, "Whose text?", "a pupil's text as tokens; {tokens}, *The five puzzles*, the first",
         "choose a text of 30,000 characters or more: a book out of copyright, or the class's own stories"),
    Step(8, "Start the training", "`python3 -m gptlab train my.txt` in a terminal; read its two lines together",
         "start it, and bet: how will it write in ten minutes?"),
    Step(20, "Write the loop", "{start_here}, *The loop that writes*: the exercise, and hints only when asked",
         "exercise start_here.2 (core, 8 minutes); those who are done explain it to a neighbour; then start_here.1"),
    Step(10, "Two curves", "{training}, *Your own text*: training and validation",
         "say at which step you would have stopped"),
    Step(12, "It writes like us", "`python3 -m gptlab sample runs/my`, at temperatures 0.5 and 1.2",
         "collect the best sentence; search the text for it: written, or remembered?"),
    Step(8, "Whose words are these?", "the best sentences, anonymous",
         "discuss: what may one train on, and what does a model give away?"),
    Step(5, "Take home", "`python3 -m gptlab page runs/my`: the class's model in a file", "what would make it better?"),
)  # fmt: skip


def _table(steps: tuple[Step, ...]) -> str:
    rows = ["| minutes |  | on the projector | what pupils do |", "|---:|---|---|---|"]
    begun = 0
    for step in steps:
        rows.append(f"| {begun}–{begun + step.minutes} | **{step.title}** | {step.project} | {step.pupils} |")
        begun += step.minutes
    return "\n".join(rows)


def plan_short() -> str:
    """Forty-five minutes with the first notebook and the page."""
    return _joined(
        f"# {_total(SHORT)} minutes: how does a machine write?",
        "[All sheets and plans](../README.md) · [the notebook](../{start_here.file}.ipynb) · [its "
        "sheet]({start_here.file}.md)",
        "**For** a class that has never programmed. **You need** one laptop with the course and a projector; "
        "pupils need "
        "a browser. Make the page the day before with `python3 -m gptlab page`: one file that needs no network.",
        "**They leave with** one sentence that is true: a language model says how likely each next piece of text is, "
        "and dice do the rest.",
        _table(SHORT),
        "**Skip** the code: fold it, and run the cells yourself. If ten minutes are lost, leave out *Text becomes "
        "numbers*. **Have ready** what to answer when somebody asks whether it thinks: ask back how one "
        "would test that.",
    )


def plan_long() -> str:
    """Ninety minutes from a text of the class to a model of it."""
    return _joined(
        f"# {_total(LONG)} minutes: a model of our own text",
        "[All sheets and plans](../README.md) · notebooks [{start_here}](../{start_here.file}.ipynb), "
        "[{tokens}](../{tokens.file}.ipynb), [{training}](../{training.file}.ipynb) · sheets "
        "[{start_here}]({start_here.file}.md), [{tokens}]({tokens.file}.md), [{training}]({training.file}.md)",
        "**For** a class that has written a loop in Python before. **You need** one laptop per pair, with "
        "the course installed (`classroom release --wheels` makes a zip that needs no network), and a text of your "
        "own as a reserve.",
        "**They leave with** a model that writes like their text, and with the difference between learning "
        "and learning "
        "by heart.",
        _table(LONG),
        "**Skip** tokenizers beyond one picture, and every formula. A class without Python does *Take it apart* of the "
        "45 minutes in place of *Write the loop*. **If the training is slow**, have a finished `runs/my` on a stick.",
        "**Before you begin:** try the training on the slowest laptop; ask for consent if a text is by or about "
        "living people.",
    )


def plan_term() -> str:
    """A term of double lessons, one notebook a week."""
    rows = [
        "| week | notebook | at home before | opening | on the projector | core exercises | discussion | at "
        "home after |",
        "|---:|---|---|---:|---:|---|---:|---|",
    ]
    for week, topic in enumerate(twins.written(), 1):
        rows.append(_week(week, topic))
    return _joined(
        "# A term: one notebook a week",
        "[All sheets and plans](../README.md)",
        f"**For** a course with a double lesson of {LESSON} minutes a week. Reading time is estimated "
        "from words and lines "
        "of code, the time for exercises is stated with each, and what is left of the lesson is split between "
        "the projector and discussion.",
        "\n".join(rows),
        "**How a week goes.** Pupils read up to the first core exercise at home. In class: the opening of "
        "the sheet, the "
        "sections marked core on the projector with a prediction before each output, the core exercises in pairs, one "
        "question from the sheet. Stretch exercises are for those who want more; nothing later depends on them.",
        "**Fewer weeks?** Leave out {unigram}, {llama} and all from {finetuning} on: a GPT is complete with "
        "{sampling}. **No calculus?** Read {backpropagation} up to *A number that remembers*, and take its gradients "
        "as given. **Marks:** `python3 -m gptlab classroom grade` checks what comes in; "
        "`python3 -m gptlab progress --out NAME.json` is what a pupil hands in without a notebook.",
    )


def _week(week: int, topic: str) -> str:
    found, mine = notebook(topic), sheets.core(topic)
    minutes = sum(exercise.minutes for exercise in mine)
    opening, left = 10, LESSON - 10 - minutes
    after = [exercise.id for exercise in registry.exercises(topic) if exercise.kind == "stretch"][:2]
    ids = ", ".join(f"{exercise.id} ({exercise.minutes})" for exercise in mine)
    talk = left // 3
    return (
        f"| {week} | [{found.number:02} {found.title}]({found.file}.md) | read, "
        f"{sheets.reading_minutes(topic)} minutes "
        f"| {opening} | {left - talk} | {ids}: {minutes} | {talk} | {', '.join(after)} |"
    )


def syllabus() -> str:
    """The page `notebooks/README.md`: what there is, in which order, and how to teach it."""
    rows = ["| notebook | the idea | to read | core exercises | sheet |", "|---|---|---:|---:|---|"]
    for topic in twins.written():
        found = notebook(topic)
        minutes = sum(exercise.minutes for exercise in sheets.core(topic))
        rows.append(
            f"| [{found.number:02} {found.title}]({found.file}.ipynb) | {found.idea} | "
            f"{sheets.reading_minutes(topic)} min "
            f"| {minutes} min | [teach it]({FOLDER}/{found.file}.md) |"
        )
    return _joined(
        "# The notebooks, and how to teach them",
        "They build on each other, so read them in order. Each has one to three core exercises that take at most half "
        "an hour together; most add warm-ups of a few minutes, and stretch exercises for those who want more.",
        "\n".join(rows),
        "## Lesson plans",
        f"- [{_total(SHORT)} minutes]({FOLDER}/plan_45_minutes.md): how does a machine write? For a class "
        "that has never "
        f"programmed.\n- [{_total(LONG)} minutes]({FOLDER}/plan_90_minutes.md): a model of our own text.\n"
        f"- [A term]({FOLDER}/plan_term.md): one notebook a week.",
        "`python3 -m gptlab classroom` hands the course out, collects and marks what comes back, and makes slides of a "
        "notebook: `python3 -m gptlab classroom slides attention`.",
        "## The words of the course",
        "Each standard term of the field is in the column of the notebook that introduces it. A dot: the text uses "
        "it. A square: an exercise practises it.",
        f"![A chart with a line for each word and a column for each notebook; the same is printed in words by "
        f"gptlab.pictures.concept_map()]({MAP})",
        "These pages are made by `python3 -m gptlab classroom plan --write` from the notebooks and exercises.",
    )


def pages() -> dict[str, str]:
    """Every page by its path in `notebooks/`."""
    from gptlab.pictures import concept_svg

    made = {
        "README.md": syllabus(),
        f"{FOLDER}/plan_45_minutes.md": plan_short(),
        f"{FOLDER}/plan_90_minutes.md": plan_long(),
        f"{FOLDER}/plan_term.md": plan_term(),
        MAP: concept_svg(),
    }
    for topic in twins.written():
        if topic in lessons():
            made[f"{FOLDER}/{notebook(topic).file}.md"] = sheets.sheet(topic)
    return made


def write(folder: Path) -> list[Path]:
    """Write every page that differs from what is there; what is no longer made is deleted.

    Args:
        folder: `notebooks/` of a clone.

    Returns:
        The files that have changed.
    """
    changed, made = [], pages()
    for name, text in made.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_whole(path, text)
            changed.append(path)
    for path in sorted((folder / FOLDER).glob("*.*")):
        if f"{FOLDER}/{path.name}" not in made and path.suffix in (".md", ".svg"):
            path.unlink()
            changed.append(path)
    return changed


def _total(steps: tuple[Step, ...]) -> int:
    return sum(step.minutes for step in steps)


def _joined(*parts: str) -> str:
    return filled("\n\n".join(parts) + "\n")


def filled(text: str) -> str:
    """A text with the numbers of notebooks in place of their topics.

    >>> filled("{attention}, and the file {attention.file}")
    '06, and the file 06_attention'
    """

    def number(hole: re.Match) -> str:
        found = notebook(hole[1])
        return found.file if hole[2] else f"{found.number:02}"

    return re.sub(r"\{(\w+)(\.file)?\}", number, text)
