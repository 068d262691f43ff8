"""Where the declarations are: every file `lesson_NN.py` beside this one is found, and loaded when it is first needed.

A lesson file has three lists, each of which may be missing: `EXERCISES`, `PREDICTIONS` and `QUESTIONS`.
"""

import difflib
import importlib
import re
from functools import cache
from pathlib import Path
from types import ModuleType

from gptlab.exercises.declare import Exercise, Prediction, Question


def notebooks() -> list[int]:
    """The numbers of the notebooks that have declarations."""
    found = (re.fullmatch(r"lesson_(\d\d)", path.stem) for path in Path(__file__).parent.glob("lesson_*.py"))
    return sorted(int(match[1]) for match in found if match)


@cache
def lesson(number: int) -> ModuleType | None:
    """The declarations of a notebook; None if it has none, or if a package that they need is not installed."""
    if number not in notebooks():
        return None
    try:
        return importlib.import_module(f"gptlab.exercises.lesson_{number:02}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("gptlab"):
            raise
        return None


def _listed(number: int, name: str) -> list:
    return list(getattr(lesson(number), name, ()))


def every() -> list[Exercise]:
    """All exercises, in the order of the notebooks."""
    return [exercise for number in notebooks() for exercise in _listed(number, "EXERCISES")]


def predictions() -> list[Prediction]:
    """All predictions, in the order of the notebooks."""
    return [prediction for number in notebooks() for prediction in _listed(number, "PREDICTIONS")]


def questions(number: int) -> list[Question]:
    """The questions that open a notebook."""
    return _listed(number, "QUESTIONS")


def tidy_id(id: object) -> str:
    """An id as it is written in the declarations.

    >>> tidy_id(" 02.3"), tidy_id(2.3), tidy_id("6.B")
    ('2.3', '2.3', '6.b')
    """
    return re.sub(r"^0+(?=\d)", "", str(id).strip().lower())


def notebook_of(id: str) -> int:
    """The notebook that an id belongs to, -1 if it does not say.

    >>> notebook_of("12.a"), notebook_of("what")
    (12, -1)
    """
    number = re.match(r"(\d{1,3})(\.|$)", id)
    return int(number[1]) if number else -1


def find(id: object) -> Exercise | None:
    """The exercise with this id; shown in a notebook it is the prompt."""
    id = tidy_id(id)
    return next((exercise for exercise in _listed(notebook_of(id), "EXERCISES") if exercise.id == id), None)


def find_prediction(id: object) -> Prediction | None:
    """The prediction with this id."""
    id = tidy_id(id)
    return next((prediction for prediction in _listed(notebook_of(id), "PREDICTIONS") if prediction.id == id), None)


def near(id: object) -> list[str]:
    """Ids of exercises that look like one that does not exist: those of the same notebook, or else similar ones."""
    id = tidy_id(id)
    same = [exercise.id for exercise in _listed(notebook_of(id), "EXERCISES")]
    return same or difflib.get_close_matches(id, [exercise.id for exercise in every()], n=6, cutoff=0.3)
