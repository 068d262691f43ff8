"""Where the declarations are: a file for each topic beside this one, loaded when it is first needed.

A topic's file has three lists, each of which may be missing: `EXERCISES`, `PREDICTIONS` and `QUESTIONS`. The topics and
their order are those of `gptlab.NOTEBOOKS`; an id is a topic and a number ("attention.2"), or a topic and a letter for
a prediction ("attention.b").
"""

import difflib
import importlib
import re
from functools import cache
from pathlib import Path
from types import ModuleType

from gptlab import NOTEBOOKS, notebook
from gptlab.exercises.schema import Exercise, Prediction, Question

# The ids of the first edition had the notebook's number: "6.2" was "attention.2".
FIRST_EDITION = {
    1: "tokens", 2: "bpe", 3: "unigram", 4: "batches", 5: "embedding", 6: "attention", 7: "masking", 8: "model",
    9: "training", 10: "sampling", 11: "llama", 14: "gpu",
}  # fmt: skip

# What moved when "gpu" became two topics. An old id is never given to something else, so it works for ever.
MOVED = {
    "gpu.7": "cluster.3", "gpu.8": "cluster.1", "gpu.9": "cluster.6", "gpu.f": "cluster.a", "gpu.g": "cluster.b",
}  # fmt: skip


def topics() -> list[str]:
    """The topics that have declarations, in the order of the course."""
    there = {path.stem for path in Path(__file__).parent.glob("*.py")}
    return [found.topic for found in NOTEBOOKS if found.topic in there]


@cache
def declarations(topic: str) -> ModuleType | None:
    """The declarations of a topic; None if it has none, or if a package that they need is not installed."""
    if topic not in topics():
        return None
    try:
        return importlib.import_module(f"gptlab.exercises.{topic}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("gptlab"):
            raise
        return None


def _declared(topic: str, name: str) -> list:
    return list(getattr(declarations(topic), name, ()))


def every() -> list[Exercise]:
    """All exercises, in the order of the course."""
    return [exercise for topic in topics() for exercise in _declared(topic, "EXERCISES")]


def exercises(topic: str) -> list[Exercise]:
    """The exercises of one topic."""
    return _declared(topic, "EXERCISES")


def predictions(topic: str | None = None) -> list[Prediction]:
    """The predictions of one topic; without one all of them, in the order of the course."""
    chosen = topics() if topic is None else [topic]
    return [prediction for one in chosen for prediction in _declared(one, "PREDICTIONS")]


def questions(topic: str) -> list[Question]:
    """The questions that open a notebook."""
    return _declared(topic, "QUESTIONS")


def tidy_id(id: object) -> str:
    """An id as it is written in the declarations; those of the first edition, and those that moved, are translated.

    >>> tidy_id(" Attention.2"), tidy_id("attention.B"), tidy_id("06.2"), tidy_id(every()[0])
    ('attention.2', 'attention.b', 'attention.2', 'start_here.1')
    >>> tidy_id("gpu.8")
    'cluster.1'
    """
    said = str(getattr(id, "id", id)).strip().lower()
    old = re.fullmatch(r"0*(\d+)\.(\d+|[a-z])", said)
    tidy = f"{FIRST_EDITION[int(old[1])]}.{old[2]}" if old and int(old[1]) in FIRST_EDITION else said
    return MOVED.get(tidy, tidy)


def topic_of(id: object) -> str:
    """The topic that an id, or anything that names a notebook, belongs to; "" if it names none.

    >>> topic_of("attention.2"), topic_of("06_attention"), topic_of(6), topic_of("what")
    ('attention', 'attention', 'attention', '')
    """
    said = tidy_id(id)
    for name in (said, said.partition(".")[0]):
        try:
            return notebook(name).topic
        except ValueError:
            continue
    return ""


def find(id: object) -> Exercise | None:
    """The exercise with this id, which a notebook shows as its prompt; None if there is none.

    A number is not an id: in the first edition's ids 10.1 and 10.10 were two exercises, and as numbers they are one.
    """
    if isinstance(id, float):
        return None
    id = tidy_id(id)
    return next((exercise for exercise in _declared(topic_of(id), "EXERCISES") if exercise.id == id), None)


def find_prediction(id: object) -> Prediction | None:
    """The prediction with this id."""
    id = tidy_id(id)
    return next((prediction for prediction in _declared(topic_of(id), "PREDICTIONS") if prediction.id == id), None)


def near(id: object) -> list[str]:
    """Ids of exercises that look like one that does not exist: those of the same topic, or else similar ones."""
    id = tidy_id(id)
    same = [exercise.id for exercise in _declared(topic_of(id), "EXERCISES")]
    return same or difflib.get_close_matches(id, [exercise.id for exercise in every()], n=6, cutoff=0.3)
