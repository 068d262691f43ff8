"""Mark a class: every submission in processes of its own, several at once, and the marks in one table.

>>> from gptlab.classroom.submissions import Submission
>>> grade_one(Submission("Ada", "ada.ipynb", problem="the file is empty"), Settings()).problem
'the file is empty'
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from gptlab.classroom import sandbox
from gptlab.classroom.submissions import Submission
from gptlab.exercises import registry
from gptlab.exercises.judge import FAILED, PASSED, UNTOUCHED

_LOADING = 600.0  # seconds that all the starts of one submission may take, on a slow machine
_STATES = {PASSED, FAILED, UNTOUCHED}


@dataclass(frozen=True)
class Settings:
    """How a class is marked.

    Attributes:
        jobs: submissions at once.
        seconds: for one submission in all.
        memory: MB that one may use.
        hide: folders that no submission may see.
    """

    jobs: int = 2
    seconds: float = 120.0
    memory: int = 2000
    hide: tuple[str, ...] = ()


@dataclass
class Row:
    """One submission, marked.

    Attributes:
        pupil: the name.
        source: the file.
        topic: of the notebook.
        exercises: by id: state, mistake, tell, right, total, remark, facts.
        problem: why it could not be marked.
        notes: what the teacher should know.
        protection: what was cut off while it ran.
        seconds: how long it took.
    """

    pupil: str
    source: str
    topic: str
    exercises: dict[str, dict[str, Any]] = field(default_factory=dict)
    problem: str = ""
    notes: list[str] = field(default_factory=list)
    protection: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> int:
        """How many exercises are done."""
        return sum(entry["state"] == PASSED for entry in self.exercises.values())


def grade(
    submissions: Sequence[Submission], settings: Settings, release: str = "", tell: Callable[[Row], None] | None = None
) -> list[Row]:
    """Mark submissions, in their order.

    Args:
        submissions: as `collect` gives them.
        settings: processes and limits.
        release: the version that pupils should have; others are told apart in a note.
        tell: called with each row when it is done.
    """

    def one(submission: Submission) -> Row:
        row = grade_one(submission, settings)
        if release and submission.made_of not in ("", release):
            row.notes.append(f"It was made from release {submission.made_of}, and this one is {release}.")
        if tell is not None:
            tell(row)
        return row

    with ThreadPoolExecutor(max_workers=max(1, settings.jobs)) as pool:
        return list(pool.map(one, submissions))


def grade_one(submission: Submission, settings: Settings) -> Row:
    """Mark one submission; whatever happens, the result is a row.

    Args:
        submission: as `collect` gives it.
        settings: its limits.
    """
    row = Row(submission.pupil, submission.source, submission.topic, problem=submission.problem)
    row.notes = list(submission.notes)
    if row.problem:
        return row
    began = time.monotonic()
    order = {
        "cells": submission.cells, "topics": [submission.topic] if submission.topic else [],
        "limits": sandbox.as_dict(sandbox.Limits(memory=settings.memory, hide=settings.hide)),
        "seconds": settings.seconds,
    }  # fmt: skip
    try:
        done = subprocess.run(
            [sys.executable, "-m", "gptlab.classroom.marking"], input=json.dumps(order), capture_output=True,
            text=True, encoding="utf-8", timeout=settings.seconds + _LOADING, env=_environment(),
        )  # fmt: skip
        marks = json.loads(done.stdout) if done.returncode == 0 else None
    except (subprocess.TimeoutExpired, OSError, ValueError):
        marks = None
    row.seconds = time.monotonic() - began
    if marks is None:
        row.problem = "it could not be marked: its judge did not end well"
        return row
    row.exercises = {id: entry for id, entry in marks["exercises"].items() if entry["state"] in _STATES}
    row.protection = marks["protection"]
    row.notes += [*marks["remarks"], *map(_about_unknown, marks["unknown"])]
    if not row.exercises and not marks["unknown"]:
        row.problem = "there is no check of an exercise in it"
    return row


def _environment() -> dict[str, str]:
    """Of the judge: this package, one thread, and no progress to write."""
    path = os.pathsep.join([str(sandbox.PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])])
    fixed = {"PYTHONPATH": path, "PYTHONUTF8": "1", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **fixed, "GPTLAB_PROGRESS": "off", "GPTLAB_OFFLINE": "1"}


def _about_unknown(id: str) -> str:
    near = ", ".join(registry.near(id)[:8])
    return f"The course has no exercise {id!r}: it is of another release, or renamed. " + f"There are {near}." * bool(
        near
    )


def columns(rows: Sequence[Row]) -> list[str]:
    """The exercises of a table: all of the notebooks that were handed in, in the order of the course.

    Args:
        rows: of the class.
    """
    topics = {row.topic for row in rows} | {id.partition(".")[0] for row in rows for id in row.exercises}
    return [exercise.id for topic in registry.topics() if topic in topics for exercise in registry.exercises(topic)]


def frequent_mistakes(rows: Sequence[Row]) -> list[tuple[str, str, str, list[str]]]:
    """The known mistakes of a class, the most frequent first: exercise, mistake, advice, pupils.

    Args:
        rows: of the class.
    """
    made = Counter()
    who: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        for id, entry in row.exercises.items():
            if entry["mistake"]:
                key = (id, entry["mistake"], entry["tell"])
                made[key] += 1
                who.setdefault(key, []).append(row.pupil)
    order = sorted(made, key=lambda key: (-made[key], key))
    return [(*key, who[key]) for key in order]
