"""Predictions before a cell is run, questions about earlier notebooks, and the recap that gives back what was missed.

All of it is optional: dots (`...`) in place of a guess are no guess, and nothing raises.
"""

import numbers
import re
from collections.abc import Sequence
from typing import Any

from gptlab import notebook as notebook_with
from gptlab.exercises import registry, store
from gptlab.exercises.card import Card
from gptlab.exercises.schema import Prediction, Question
from gptlab.exercises.session import session
from gptlab.exercises.values import is_array, is_tensor, shown


def letter(number: int) -> str:
    """a, b, c …"""
    return chr(ord("a") + number)


def _plain(value: Any) -> Any:
    """A tensor as a number or list, a shape as a tuple, text without the spaces around it."""
    if is_tensor(value) or is_array(value):
        value = value.tolist()
    if isinstance(value, str):
        return value.strip()
    return tuple(_plain(v) for v in value) if isinstance(value, (list, tuple)) else value


def kind_of(truth: Any) -> str:
    """What kind of prediction a value looks like.

    >>> kind_of(3.5), kind_of((2, 7)), kind_of(["a", "b"]), kind_of("b")
    ('number', 'shape', 'order', 'choice')
    """
    truth = _plain(truth)
    if isinstance(truth, tuple):
        return "shape" if all(isinstance(v, numbers.Number) for v in truth) else "order"
    return "number" if isinstance(truth, numbers.Number) else "choice"


def compared(
    guess: Any, truth: Any, kind: str, tolerance: int | float = 0.0, choices: Sequence[str] = ()
) -> tuple[bool, str]:
    """Whether a guess is right, and, if it is not, how far from it.

    >>> compared("2, 7, 4", (2, 7, 4), "shape")
    (True, '')
    >>> compared((2, 4, 7), (2, 7, 4), "shape")
    (False, '1 of 3 right')
    >>> compared(90, 100, "number", tolerance=0.2)
    (True, '')
    >>> compared(0.75, -0.75, "number"), compared(0.25, -0.75, "number")
    ((False, 'off by its sign'), (False, 'its sign is wrong, too'))
    >>> compared("B", "b", "choice", choices=["one", "two"])
    (True, '')
    """
    guess, truth = _plain(guess), _plain(truth)
    if kind == "choice":
        return _choice(guess, choices) == _choice(truth, choices), ""
    if kind == "number":
        try:
            number, true = float(guess), float(truth)
        except (TypeError, ValueError, OverflowError):
            return False, "that is not a number"
        if abs(number - true) <= tolerance * abs(true) + 1e-9:
            return True, ""
        if number * true > 0:
            return False, _how_far(number, true)
        if abs(number + true) <= tolerance * abs(true) + 1e-9:
            return False, "off by its sign"
        return False, "its sign is wrong, too" if number * true < 0 else ""
    parts = _parts(guess)
    wanted = _parts(truth)
    same = sum(str(a) == str(b) for a, b in zip(parts, wanted, strict=False))
    if len(parts) != len(wanted):
        return False, f"it has {len(wanted)} parts, not {len(parts)}"
    return same == len(wanted), "" if same == len(wanted) else f"{same} of {len(wanted)} right"


def _how_far(number: int | float, true: int | float) -> str:
    """A guess of the right sign beside the truth: in percent where they are close, else as a factor.

    >>> _how_far(5, 4), _how_far(30, 3), _how_far(3, 4)
    ('25 % too large', 'too large by a factor of 10', '25 % too small')
    """
    direction = "large" if abs(number) > abs(true) else "small"
    factor = max(number / true, true / number)
    if factor < 2:
        return f"{abs(number / true - 1):.0%} too {direction}".replace("%", " %")
    return (
        f"too {direction} by a factor of {factor:.3g}"
        if factor < 1000
        else f"too {direction} by a factor of {factor:,.0f}"
    )


def _parts(value: Any) -> list:
    if isinstance(value, str):
        found = [part.strip(" \"'") for part in re.split(r"[,;>]|\s+", value.strip("()[] ")) if part.strip(" \"'")]
        return [int(part) if part.isdigit() else part for part in found]
    if isinstance(value, tuple):
        return [v.strip() if isinstance(v, str) else v for v in value]
    return [value]


def _choice(value: Any, choices: Sequence[str]) -> str:
    """The letter that is meant: "B", "b)", the text of the choice, or its number from 1."""
    text = str(value).strip().lower()
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= len(choices):
        return letter(value - 1)
    for number, choice in enumerate(choices):
        if text in (choice.strip().lower(), letter(number), f"{letter(number)})", f"({letter(number)})"):
            return letter(number)
    return text


def _answer_text(truth: Any, choices: Sequence[str]) -> str:
    if choices:
        chosen = _choice(_plain(truth), choices)
        if len(chosen) == 1 and ord(chosen) - ord("a") in range(len(choices)):
            return f"{chosen}) {choices[ord(chosen) - ord('a')]}"
    if isinstance(truth, (list, tuple)) and kind_of(truth) == "order":
        return ", ".join(str(part).strip() for part in truth)
    return truth.strip() if isinstance(truth, str) else shown(_plain(truth), 120)


def _named(topic: str) -> str:
    """A notebook as it is spoken of.

    >>> _named("attention")
    '06 (attention)'
    """
    try:
        return f"{notebook_with(topic).number:02} ({topic})"
    except ValueError:
        return topic or "?"


def _listed(choices: Sequence[str]) -> list[tuple[str, str]]:
    return [(f"{letter(number)})", choice) for number, choice in enumerate(choices)]


# ---- Predict ---------------------------------------------------------------------------------------------------------


def predict(id: object, guess: Any = ..., truth: Any = ...) -> Card:
    """Compare a guess with what comes out. See the guide of this package for its three forms."""
    try:
        return _predict(registry.tidy_id(id), guess, truth)
    except Exception as error:
        return Card(f"{id}: this guess could not be compared ({type(error).__name__}); go on, nothing depends on it")


def _predict(id: str, guess: Any, truth: Any) -> Card:
    declared = registry.find_prediction(id)
    if truth is ... and declared is not None and declared.answer is not None:
        truth = declared.answer
        if guess is ...:
            return _asked(declared)
    if guess is ... or guess is None:
        guess = session.guesses.get(id, ...)
    if truth is ...:
        if guess is ...:
            return _asked(declared) if declared else Card(f"{id}: no guess yet")
        session.guesses[id] = guess
        return Card(f"{id}: your guess {shown(_plain(guess), 80)} is noted")
    choices = declared.choices if declared else ()
    answer = _answer_text(truth, choices)
    if guess is ...:
        return Card(f"{id}: no guess; it is {answer}")
    kind = declared.kind if declared else kind_of(truth)
    right, how_far = compared(guess, truth, kind, declared.tolerance if declared else 0.0, choices)
    said = _answer_text(guess, choices)
    _remember("predictions", id, right, said, answer, declared.question if declared else "")
    explained = [("", declared.explanation)] if declared and declared.explanation else []
    if right:
        return Card(f"{id}: right, {answer}", "good", advice=explained, notices=store.notices())
    head = f"{id}: you said {said}; it is {answer}" + (f" ({how_far})" if how_far else "")
    return Card(head, "bad", advice=explained, notices=store.notices())


def _asked(declared: Prediction) -> Card:
    foot = f'Your guess: predict("{declared.id}", ...) replaces the dots.'
    return Card(f"{declared.id}: {declared.question}", facts=_listed(declared.choices), foot=foot, prose=True)


def _remember(kind: str, id: str, right: bool, said: str, answer: str, question: str) -> None:
    before = store.read()[kind].get(id, {})
    first = {} if "first" in before else {"first": said, "missed": not right}
    store.update(kind, id, right=right, answer=answer, question=question, **first)


# ---- Quiz ------------------------------------------------------------------------------------------------------------


def quiz(notebook: object, *answers: Any) -> Card:
    """The three questions that open a notebook, answered or not. See the guide of this package for its forms."""
    try:
        topic = registry.topic_of(notebook)
        questions = registry.questions(topic)
        if not questions:
            there = [topic for topic in registry.topics() if registry.questions(topic)]
            return Card(f"There is no quiz for {notebook}. There is one for: {', '.join(there)}")
        return _quiz(topic, questions, _given(answers, len(questions)))
    except Exception as error:
        return Card(
            f"{notebook}: these answers could not be read ({type(error).__name__}); go on, nothing depends on it"
        )


def _given(answers: tuple, count: int) -> dict[int, Any]:
    """Answers by the number of their question, from `1, "b"`, from `["b", ...]`, or from `{1: "b"}`."""
    if len(answers) == 1 and isinstance(answers[0], dict):
        given = dict(answers[0])
    elif len(answers) == 1 and isinstance(answers[0], (list, tuple)):
        given = dict(enumerate(answers[0], start=1))
    elif len(answers) == 2 and isinstance(answers[0], int):
        given = {answers[0]: answers[1]}
    else:
        given = dict(enumerate(answers, start=1))
    return {n: said for n, said in given.items() if said is not ... and said is not None and n in range(1, count + 1)}


def _quiz(topic: str, questions: Sequence[Question], given: dict[int, Any]) -> Card:
    checks, facts, advice, right = [], [], [], 0
    for n, question in enumerate(questions, start=1):
        if n not in given:
            facts.append((f"{n}", question.question))
            facts += [(f"   {name}", choice) for name, choice in _listed(question.choices)]
            continue
        good, _ = compared(given[n], question.answer, "choice", choices=question.choices)
        answer, said = (_answer_text(value, question.choices) for value in (question.answer, given[n]))
        _remember("quiz", f"{topic}.{n}", good, said, answer, question.question)
        right += good
        checks.append((good, f"question {n}: {answer}" if good else f"question {n}: you said {said}; it is {answer}"))
        if not good:
            advice.append((f"{n}.", f"{question.explanation} (Notebook {_named(question.about)}.)"))
    left = len(questions) - len(given)
    if not given:
        head, mood = f"Before notebook {_named(topic)}: {left} questions about earlier ones", "plain"
    else:
        head, mood = f"Quiz of notebook {_named(topic)}: {right} of {len(given)} right", "bad" if advice else "good"
    dots = ", ".join(['"b"', *["..."] * (len(questions) - 1)])
    foot = f'Put letters in place of the dots, for example quiz("{topic}", [{dots}]).' if left else ""
    return Card(head, mood, checks=checks, facts=facts, advice=advice, foot=foot, prose=True, notices=store.notices())


# ---- Recap -----------------------------------------------------------------------------------------------------------


def recap(notebook: object) -> Card:
    """What was missed in a notebook: predictions and quiz questions, each with the right answer."""
    try:
        return _recap(registry.topic_of(notebook))
    except Exception as error:
        return Card(f"{notebook}: nothing to recap ({type(error).__name__})")


def _recap(topic: str) -> Card:
    known, made, missed = store.read(), 0, []
    for kind, named in (("predictions", "prediction"), ("quiz", "quiz question")):
        for id, entry in sorted(known[kind].items()):
            if registry.topic_of(id) != topic or "right" not in entry:
                continue
            made += 1
            if entry.get("missed"):
                since = " Right since then." if entry["right"] else ""
                text = f"{entry.get('question', '')} You said {entry.get('first')}; it is {entry.get('answer')}.{since}"
                missed.append((f"{named} {id}:", text.strip()))
    if not made:
        return Card(f"Notebook {_named(topic)}: no guesses made, so nothing to look at again", notices=store.notices())
    if not missed:
        return Card(f"Notebook {_named(topic)}: all {made} guesses were right", "good", notices=store.notices())
    head = f"Notebook {_named(topic)}: {len(missed)} of {made} to look at again"
    return Card(head, advice=missed, notices=store.notices())
