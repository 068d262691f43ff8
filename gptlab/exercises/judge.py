"""The judge: run an answer on fresh inputs, hold it to what is expected, and find out which known mistake it makes."""

import copy
import random
import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from gptlab.exercises import limits
from gptlab.exercises.answers import misunderstood, untouched, usable
from gptlab.exercises.diagnosis import known_mistake
from gptlab.exercises.relations import relation
from gptlab.exercises.running import Outcome, attempt, described
from gptlab.exercises.schema import Exercise, Failed, Mistake
from gptlab.exercises.trial import trial
from gptlab.exercises.values import NUMBER, difference, is_tensor, shown

PASSED, FAILED, UNTOUCHED = "passed", "not yet", "not attempted yet"
CHANGES = "It changes the object that it was given. Work on a copy: the caller still needs theirs."


@dataclass
class Verdict:
    """The result of a check, before it becomes a card.

    Attributes:
        state: "passed", "not yet" or "not attempted yet".
        right: on how many inputs the answer is right.
        total: the number of inputs.
        checks: (holds, statement).
        facts: (name, value): input, expected, got, difference.
        mistake: the known mistake that the answer makes.
        remark: what else there is to say, in a sentence or two.
    """

    state: str
    right: int = 0
    total: int = 0
    checks: list[tuple[bool, str]] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    mistake: Mistake | None = None
    remark: str = ""


@dataclass
class Run:
    """What became of running an answer on all inputs.

    Attributes:
        end: "done", "raised" before the first input, or "late".
        outcomes: one for each input that was finished.
        problem: why there was nothing to run.
    """

    end: Literal["done", "raised", "late"]
    outcomes: list[Outcome]
    problem: str = ""


def judge(
    exercise: Exercise,
    answer: Any,
    rng: random.Random | None = None,
    seconds: int | float | None = None,
    careful: bool = False,
) -> Verdict:
    """Check an answer. Never raises because of what the answer does, and leaves no trace of it.

    Args:
        exercise: the exercise that it answers.
        answer: what the reader passed.
        rng: where the inputs come from, fresh ones unless given.
        seconds: the time limit, the exercise's own unless given.
        careful: make a trial run first, in a copy of the process, where there can be one.
    """
    if untouched(answer):
        return Verdict(UNTOUCHED)
    seconds = exercise.seconds if seconds is None else seconds
    with limits.untouched_world() as printed:
        cases = [tuple(args) for args in exercise.inputs(rng or random.Random())]
        wanted = [exercise.expected(*copy.deepcopy(args)) if exercise.compares else None for args in cases]
        run = _tried_first(exercise, answer, cases, wanted, seconds) if careful else None
        if isinstance(run, Verdict):
            return run
        run = run or _run(exercise, answer, cases, wanted, seconds)
        verdict = assessed(exercise, answer, cases, wanted, run, seconds)
    if printed.anything:
        verdict.remark = f"{verdict.remark} What your code printed is left out here.".strip()
    return verdict


def assessed(exercise: Exercise, answer: Any, cases: list, wanted: list, run: Run, seconds: int | float) -> Verdict:
    """What a run on all inputs says of an answer, wherever it was made.

    Args:
        exercise: the exercise that it answers.
        answer: what the reader passed.
        cases: the inputs.
        wanted: the expected results.
        run: what became of the answer on these inputs.
        seconds: its time limit.
    """
    if run.problem:
        return Verdict(FAILED, remark=run.problem)
    if run.outcomes and run.end == "done" and _says_nothing(run.outcomes[0]):
        return Verdict(UNTOUCHED)
    verdict = _verdict(exercise, cases, wanted, run, seconds)
    if verdict.state == FAILED and run.end == "done":
        search = limits.limited(lambda: known_mistake(exercise, cases, wanted, run.outcomes), max(seconds, 5.0))
        verdict.mistake = search[1] if search[0] == "done" else None
        asked = misunderstood(exercise, answer, [outcome.value for outcome in run.outcomes])
        if verdict.mistake is None:
            verdict.remark = f"{asked} {verdict.remark}".strip()
        elif verdict.remark == CHANGES:  # the mistake has a better sentence about it
            verdict.remark = ""
    return verdict


def _run(exercise: Exercise, answer: Any, cases: list, wanted: list, seconds: int | float) -> Run:
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
        called = "It stopped" if outcomes else "It could not be called at all."
        return Run(end, outcomes, f"{called} {described(problem)}")
    return Run(end, outcomes, problem or "")


def _tried_first(
    exercise: Exercise, answer: Any, cases: list, wanted: list, seconds: int | float
) -> Verdict | Run | None:
    """A trial run. A verdict if the answer must not run here, the run if it is too slow to run again, or None."""

    def work() -> Run | None:
        run = _run(exercise, answer, cases, wanted, seconds)
        if run.end != "late":
            return None
        return Run("late", [replace(outcome, value=None, given=()) for outcome in run.outcomes])

    state, found = trial(work, seconds)
    if state == "frozen":
        check = [(False, f"is done within {seconds:g} s")]
        remark = (
            "A single step of it takes too long and cannot be interrupted: a `sum` or `max` over something endless, a "
            "search pattern that tries too many ways, a power with a huge exponent. It ran in a copy of this kernel."
        )
        return Verdict(FAILED, total=len(cases), checks=check, remark=remark)
    if state == "crashed":
        check = [(False, "leaves Python running")]
        remark = f"It ended Python itself ({found}), in a copy of this kernel; yours goes on."
        if found == "signal SIGSEGV":
            remark += " A recursion without an end, with `sys.setrecursionlimit` raised, does that."
        return Verdict(FAILED, total=len(cases), checks=check, remark=remark)
    return found if state == "reported" else None


def _says_nothing(outcome: Outcome) -> bool:
    """Whether a stub was run: it returned its dots, or came to where they still stand in its middle."""
    parts = outcome.value if isinstance(outcome.value, tuple) and outcome.value else (outcome.value,)
    if all(isinstance(part, Failed) for part in parts):
        return any(_is_stub(type(part.error).__name__, str(part.error)) for part in parts)
    dots = outcome.value is ... or outcome.value is NotImplemented
    return dots or (outcome.raised is not None and _is_stub(outcome.raised.type, outcome.message))


def _is_stub(error: str, message: str) -> bool:
    return error == "NotImplementedError" or "'ellipsis'" in message


# ---- Putting it into words -------------------------------------------------------------------------------------------


def _size(value: Any) -> int:
    """A feeling for how large an input is, so that the smallest one can be shown."""
    if is_tensor(value):
        return value.numel()
    if isinstance(value, dict):
        return 1 + sum(_size(k) + _size(v) for k, v in value.items())
    if isinstance(value, (list, tuple, set)):
        return 1 + sum(map(_size, value))
    return len(value) if isinstance(value, (str, bytes)) else 1


def _verdict(exercise: Exercise, cases: list, wanted: list, run: Run, seconds: int | float) -> Verdict:
    outcomes, late = run.outcomes, run.end == "late"
    right = [outcome.right(exercise.inputs_stay) for outcome in outcomes]
    passed = not late and all(right)
    verdict = Verdict(PASSED if passed else FAILED, sum(right), len(cases), _checks(exercise, len(cases), outcomes))
    if passed:
        return verdict
    wrong = [i for i, fine in enumerate(right) if not fine]
    if late:
        verdict.checks.append((False, f"is done within {seconds:g} s"))
        verdict.remark = _late(len(outcomes) if not wrong else 0, len(cases), seconds)
        if not wrong:
            slow = min(len(outcomes), len(cases) - 1)
            verdict.facts = [*_input(exercise, cases[slow]), ("got", f"nothing within {seconds:g} s")]
            return verdict
    at = min(wrong, key=lambda i: (_size(cases[i]), i))
    outcome = outcomes[at]
    verdict.facts = _input(exercise, cases[at])
    if outcome.changed and not (outcome.different or outcome.broken or outcome.raised):
        verdict.facts += _changed(exercise, cases[at], outcome.given)
        verdict.remark = CHANGES
        return verdict
    if exercise.compares:
        verdict.facts.append(("expected", shown(wanted[at])))
    verdict.facts.append(("got", outcome.text))
    if outcome.different:
        verdict.facts += _difference(exercise, wanted, outcomes, at)
    elif outcome.broken and not outcome.raised:
        verdict.facts.append(("does not hold", "; ".join(exercise.properties[i][0] for i in outcome.broken)))
    if outcome.raised:
        verdict.remark = f"{_dtypes(outcome.message, cases[at])} {verdict.remark}".strip()
    return verdict


def _checks(exercise: Exercise, total: int, outcomes: list[Outcome]) -> list[tuple[bool, str]]:
    checks = []
    if exercise.compares:
        fine = sum(not (outcome.raised or outcome.different) for outcome in outcomes)
        checks.append((fine == total, f"gives the expected result ({fine} of {total} inputs)"))
    for number, (statement, _) in enumerate(exercise.properties):
        fine = sum(not outcome.raised and number not in outcome.broken for outcome in outcomes)
        checks.append((fine == total, f"{statement} ({fine} of {total} inputs)"))
    errors = sum(bool(outcome.raised) for outcome in outcomes)
    if errors:
        checks.append((False, f"runs without an exception ({len(outcomes) - errors} of {total} inputs)"))
    if exercise.inputs_stay:
        checks.append((not any(outcome.changed for outcome in outcomes), "leaves its inputs as they were"))
    return checks


def _late(right: int, total: int, seconds: int | float) -> str:
    if not right:
        return "It was stopped. Is there a loop whose condition never changes?"
    times = "input" if right == 1 else "inputs"
    return f"It was right on {right} {times} of {total}, but took longer than {seconds:g} s for all of them."


def _input(exercise: Exercise, args: tuple) -> list[tuple[str, str]]:
    names = exercise.argument_names(len(args))
    return [("input", ", ".join(f"{name}={shown(value, 160)}" for name, value in zip(names, args, strict=True)))]


def _changed(exercise: Exercise, args: tuple, given: tuple) -> list[tuple[str, str]]:
    """What an answer has made of its arguments, of those that are others now."""
    names = exercise.argument_names(len(args))
    rows = zip(names, args, given, strict=False)
    return [("afterwards", f"{name}={shown(now, 160)}") for name, then, now in rows if difference(then, now, 1e-12)]


def _difference(exercise: Exercise, wanted: list, outcomes: list[Outcome], at: int) -> list[tuple[str, str]]:
    """The telling difference: what is true of all wrong results, or else where this one differs first."""
    wrong = [i for i, outcome in enumerate(outcomes) if outcome.different]
    pairs = [(wanted[i], outcomes[i].value) for i in wrong]
    state, said = limits.limited(lambda: relation(pairs, wrong.index(at), exercise.tolerance), 2.0)
    said = said if state == "done" and said else outcomes[at].different
    return [] if said == NUMBER else [("difference", said)]


def _dtypes(message: str, args: tuple) -> str:
    """Advice for torch's refusal to mix float32 and float64, which says nothing of where the float32 comes from."""
    mixed = re.search(r"(same|scalar type|to be).*(float|double).*(float|double)", message.lower())
    if not mixed or not any(is_tensor(arg) and str(arg.dtype) == "torch.float64" for arg in args):
        return ""
    return (
        "The input is float64, and torch makes float32 tensors unless told otherwise: give new ones the dtype of the "
        "input, as in `torch.ones(T, T, dtype=x.dtype)`."
    )
