"""Every exercise stands in its notebook in one form: a heading with its title, a line with its id, kind and minutes."""

from operator import attrgetter
from pathlib import Path

import jupytext
import pytest

import gptlab
from gptlab.exercises import registry
from gptlab.exercises.registry import topics

FOLDER = Path(__file__).resolve().parents[2] / "notebooks" / "text"


def statement(exercise):
    """How an exercise is announced."""
    return f"### Your turn: {exercise.title}\n\n`{exercise.id}` · *{exercise.kind}* · {exercise.minutes} minutes\n"


@pytest.mark.parametrize(
    "lesson", [lesson for lesson in gptlab.NOTEBOOKS if lesson.topic in topics()], ids=attrgetter("file")
)
def test_each_exercise_is_announced_before_its_first_check(lesson):
    sources = [cell.source + "\n" for cell in jupytext.read(FOLDER / f"{lesson.file}.py").cells]
    wrong = {}
    for exercise in registry.exercises(lesson.topic):
        announced = [number for number, source in enumerate(sources) if statement(exercise) in source]
        checked = next((n for n, source in enumerate(sources) if f'check("{exercise.id}"' in source), None)
        if checked is None or len(announced) != 1 or announced[0] > checked:
            wrong[exercise.id] = (announced, checked, statement(exercise))
    assert not wrong


def test_no_other_heading_says_your_turn():
    written = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py"))
    assert written.count("# ### Your turn: ") == len(registry.every())
