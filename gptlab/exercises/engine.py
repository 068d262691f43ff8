"""What a notebook calls: check, hint, solution, compare. Each returns a card, and none ever raises."""

import importlib
import inspect
import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from gptlab.exercises import limits, registry, store
from gptlab.exercises.card import Card
from gptlab.exercises.judge import FAILED, PASSED, UNTOUCHED, Verdict, judge
from gptlab.exercises.schema import Exercise
from gptlab.exercises.session import session
from gptlab.lab.source import show


def _for_exercise(command: Callable[..., Card]) -> Callable[..., Card]:
    """Find the exercise of an id, and turn everything that goes wrong into a card."""

    @wraps(command)
    def wrapped(id: object, *args: Any, **named: Any) -> Card:
        try:
            exercise = registry.find(id)
            return command(exercise, *args, **named) if exercise is not None else _unknown(id)
        except limits.Interrupted:
            return Card(f"{id}: stopped, because you asked for it", notices=store.notices())
        except Exception as error:
            return Card(f"{id}: the checker itself has stumbled, not you ({type(error).__name__}: {error})")

    return wrapped


def _unknown(id: object) -> Card:
    near = registry.near(id)
    if isinstance(id, float):
        head = f"{id} is a number, and to Python 10.1 and 10.10 are the same one: write the id in quotes"
        return Card(head, foot=f'For example check("{near[0]}", …)' if near else "")
    topic = registry.topic_of(id)
    if topic in registry.topics() and registry.declarations(topic) is None:
        return Card(f"{id}: the exercises on {topic} need a package that is not installed")
    return Card(f"There is no exercise {str(id)[:40]!r}", foot=f"Do you mean {', '.join(near)}?" if near else "")


@_for_exercise
def check(exercise: Exercise, answer: Any = ..., seconds: int | float | None = None) -> Card:
    """Check an answer to an exercise on fresh inputs: `check("bpe.3", my_function)`.

    Args:
        exercise: its id, or the exercise that `find` returns.
        answer: the function or class itself.
        seconds: the time limit, the exercise's own unless given.
    """
    verdict = judge(exercise, answer, seconds=seconds, careful=True)
    name = f"{exercise.id} {exercise.title}"
    if verdict.state == UNTOUCHED:
        return Card(f"{name}: {UNTOUCHED}")
    session.tried.add(exercise.id)
    before = store.read()["exercises"].get(exercise.id, {})
    passed = verdict.state == PASSED or bool(before.get("passed"))
    tries = before.get("tries", 0)
    store.update("exercises", exercise.id, passed=passed, tries=tries + 1 if isinstance(tries, int) else 1)
    return _card(exercise, name, verdict)


def _card(exercise: Exercise, name: str, verdict: Verdict) -> Card:
    remark = [("", verdict.remark)] if verdict.remark else []
    if verdict.state == PASSED:
        foot = f'compare("{exercise.id}", …) shows your code beside the course\'s.' if exercise.package else ""
        return Card(f"{name}: {PASSED}", "good", verdict.checks, advice=remark, foot=foot, notices=store.notices())
    advice = list(remark)
    if verdict.mistake is not None:
        advice.insert(0, (f"Most likely: {verdict.mistake.name}.", verdict.mistake.tell))
    foot = f'hint("{exercise.id}") gives a hint.'
    return Card(f"{name}: {FAILED}", "bad", verdict.checks, verdict.facts, advice, foot=foot, notices=store.notices())


@_for_exercise
def hint(exercise: Exercise) -> Card:
    """The next of three hints, each giving away more than the one before: `hint("bpe.3")`."""
    given = session.hints_given.get(exercise.id, 0)
    if given == len(exercise.hints):
        advice = [(f"{number}.", text) for number, text in enumerate(exercise.hints, start=1)]
        foot = f'Still stuck? solution("{exercise.id}") shows one way.'
        return Card(f"{exercise.id} {exercise.title}: these are all the hints", advice=advice, foot=foot)
    session.hints_given[exercise.id] = given + 1
    head = f"{exercise.id} {exercise.title}: hint {given + 1} of {len(exercise.hints)}"
    return Card(head, advice=[("", exercise.hints[given])])


@_for_exercise
def solution(exercise: Exercise) -> Card:
    """One way to do it, after an attempt or when asked twice: `solution("bpe.3")`."""
    tried = exercise.id in session.tried or exercise.id in store.read()["exercises"]
    if not tried and exercise.id not in session.solutions_asked:
        session.solutions_asked.add(exercise.id)
        foot = f'Ask once more, solution("{exercise.id}"), to see it all the same.'
        head = f"{exercise.id} {exercise.title}: try it first, and look afterwards"
        return Card(head, advice=[("", f'hint("{exercise.id}") gives away less.')], foot=foot)
    return Card(f"{exercise.id} {exercise.title}: one way to do it", code=[("solution", source(exercise.solution))])


@_for_exercise
def compare(exercise: Exercise, answer: Any = ...) -> Card:
    """The reader's passing code beside the course's: `compare("bpe.3", my_function)`."""
    name = f"{exercise.id} {exercise.title}"
    verdict = judge(exercise, answer, careful=True)
    if verdict.state == UNTOUCHED:
        return Card(f"{name}: {UNTOUCHED}")
    if verdict.state != PASSED:
        return Card(f"{name}: {FAILED}", foot=f'First check("{exercise.id}", …), then compare.')
    where, theirs = "the solution", exercise.solution
    if exercise.package:
        where, theirs = exercise.package, _named(exercise.package)
    lines = [len(source(code).splitlines()) for code in (answer, theirs)]
    code = [(f"yours, {lines[0]} lines", source(answer)), (f"{where}, {lines[1]} lines", source(theirs))]
    return Card(f"{name}: two ways to do it", "good", code=code)


def _named(dotted: str) -> Any:
    """gptlab.bpe.merge -> the function, gptlab.tokens.CharTokenizer.encode -> the method."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(dotted)


def source(code: Any) -> str:
    """The source of a function, class or object, or one line that says why there is none."""
    if not (inspect.isclass(code) or inspect.isroutine(code)):
        code = type(code)
    try:
        return re.sub(
            r"[ ]+# (noqa|fmt):.*", "", show(code, docstring=True).text
        )  # remarks to tools are not part of it
    except (OSError, TypeError, SyntaxError):
        return "# the source of this object is not known to Python"
