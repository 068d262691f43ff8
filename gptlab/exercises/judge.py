"""The judge: run an answer on fresh inputs, hold it to what is expected, and find out which known mistake it makes."""

import copy
import random
from dataclasses import dataclass, field
from typing import Any

from gptlab.exercises import limits
from gptlab.exercises.answers import untouched, usable
from gptlab.exercises.diagnosis import known_mistake
from gptlab.exercises.running import Outcome, attempt, described
from gptlab.exercises.schema import Exercise, Failed, Mistake
from gptlab.exercises.values import is_tensor, shown

PASSED, FAILED, UNTOUCHED = "passed", "not yet", "not attempted yet"


@dataclass
class Verdict:
    """The result of a check, before it becomes a card."""

    state: str
    right: int = 0
    total: int = 0
    checks: list[tuple[bool, str]] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)  # input, expected, got
    mistake: Mistake | None = None
    remark: str = ""


def _says_nothing(outcome: Outcome) -> bool:
    """Whether a stub was run: it returned its dots, or came to where they still stand in its middle."""
    parts = outcome.value if isinstance(outcome.value, tuple) and outcome.value else (outcome.value,)
    if all(isinstance(part, Failed) for part in parts):
        return any(_is_stub(type(part.error).__name__, str(part.error)) for part in parts)
    dots = outcome.value is ... or outcome.value is NotImplemented
    return dots or (outcome.raised is not None and _is_stub(outcome.raised.type, outcome.message))


def _is_stub(error: str, message: str) -> bool:
    return error == "NotImplementedError" or "'ellipsis'" in message


def judge(
    exercise: Exercise, answer: Any, rng: random.Random | None = None, seconds: int | float | None = None
) -> Verdict:
    """Check an answer. Never raises because of what the answer does, and leaves no trace of it.

    Args:
        rng: where the inputs come from, fresh ones unless given.
        seconds: the time limit, the exercise's own unless given.
    """
    if untouched(answer):
        return Verdict(UNTOUCHED)
    seconds = exercise.seconds if seconds is None else seconds
    with limits.untouched_world() as printed:
        cases = [tuple(args) for args in exercise.inputs(rng or random.Random())]
        wanted = [exercise.expected(*copy.deepcopy(args)) if exercise.compares else None for args in cases]
        outcomes: list[Outcome] = []

        def work() -> str:
            function, problem = usable(exercise, answer)
            for seed, (args, expected) in enumerate(zip(cases, wanted, strict=True)):
                if problem:
                    break
                outcomes.append(attempt(exercise, function, args, expected, seed))
                if _says_nothing(outcomes[0]):
                    break
            return problem

        end, problem = limits.limited(work, seconds)
        if end == "raised":  # before the first input: a class that could not be made
            return Verdict(FAILED, remark=f"It could not be called at all. {described(problem)}")
        if problem:
            return Verdict(FAILED, remark=problem)
        if outcomes and end == "done" and _says_nothing(outcomes[0]):
            return Verdict(UNTOUCHED)
        verdict = _verdict(exercise, cases, wanted, outcomes, late=end == "late", seconds=seconds)
        if verdict.state == FAILED and end == "done":
            named = limits.limited(lambda: known_mistake(exercise, cases, wanted, outcomes), max(seconds, 5.0))
            verdict.mistake = named[1] if named[0] == "done" else None
    if printed.anything:
        verdict.remark = f"{verdict.remark} What your code printed is left out here.".strip()
    return verdict


def _size(value: Any) -> int:
    """A feeling for how large an input is, so that the smallest one can be shown."""
    if is_tensor(value):
        return value.numel()
    if isinstance(value, dict):
        return 1 + sum(_size(k) + _size(v) for k, v in value.items())
    if isinstance(value, (list, tuple, set)):
        return 1 + sum(map(_size, value))
    return len(value) if isinstance(value, (str, bytes)) else 1


def _verdict(exercise: Exercise, cases: list, wanted: list, outcomes: list[Outcome], late: bool, seconds: int | float):
    right = [outcome.right(exercise.inputs_stay) for outcome in outcomes]
    passed = not late and all(right)
    verdict = Verdict(PASSED if passed else FAILED, sum(right), len(cases))
    errors = sum(bool(outcome.raised) for outcome in outcomes)
    if exercise.compares:
        fine = sum(not (outcome.raised or outcome.different) for outcome in outcomes)
        verdict.checks.append((fine == len(cases), f"gives the expected result ({fine} of {len(cases)} inputs)"))
    for number, (statement, _) in enumerate(exercise.properties):
        fine = sum(not outcome.raised and number not in outcome.broken for outcome in outcomes)
        verdict.checks.append((fine == len(cases), f"{statement} ({fine} of {len(cases)} inputs)"))
    if errors:
        verdict.checks.append((False, f"runs without an exception ({len(outcomes) - errors} of {len(cases)} inputs)"))
    if exercise.inputs_stay:
        verdict.checks.append((not any(o.changed for o in outcomes), "leaves its inputs as they were"))
    if passed:
        return verdict
    if late:
        at = min(len(outcomes), len(cases) - 1)
        verdict.checks.append((False, f"is done within {seconds:g} s"))
        verdict.remark = "It was stopped. Is there a loop whose condition never changes?"
        verdict.facts = [*_input(exercise, cases[at]), ("got", f"nothing within {seconds:g} s")]
        return verdict
    at = min((i for i, fine in enumerate(right) if not fine), key=lambda i: (_size(cases[i]), i))
    outcome = outcomes[at]
    verdict.facts = _input(exercise, cases[at])
    if exercise.compares:
        verdict.facts.append(("expected", shown(wanted[at])))
    verdict.facts.append(("got", outcome.text))
    if outcome.different and outcome.different not in ("the number is different", "the text is different"):
        verdict.facts.append(("difference", outcome.different))
    elif outcome.broken and not outcome.raised:
        verdict.facts.append(("does not hold", "; ".join(exercise.properties[i][0] for i in outcome.broken)))
    elif exercise.inputs_stay and outcome.changed and not outcome.raised:
        verdict.remark = "It changes the object that it was given. Work on a copy: whoever called still needs theirs."
    return verdict


def _input(exercise: Exercise, args: tuple) -> list[tuple[str, str]]:
    names = exercise.argument_names(len(args))
    return [("input", ", ".join(f"{name}={shown(value, 160)}" for name, value in zip(names, args, strict=True)))]
