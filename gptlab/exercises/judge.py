"""The judge: run an answer on fresh inputs, hold it to what is expected, and find out which known mistake it makes."""

import copy
import dis
import inspect
import linecache
import random
import sysconfig
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptlab.exercises import limits
from gptlab.exercises.schema import Exercise, Mistake, call
from gptlab.exercises.values import difference, is_tensor, shown

PASSED, FAILED, UNTOUCHED = "passed", "not yet", "not attempted yet"
# Code of this package, of installed packages and of Python itself is not the reader's.
_NOT_THEIRS = {Path(__file__).parents[1], *(Path(sysconfig.get_path(name)) for name in ("purelib", "stdlib"))}
_SUFFICIENT = 2 / 3  # of the failing inputs must look like a mistake before it is named


@dataclass
class Outcome:
    """What an answer did with one input."""

    value: Any = None
    error: str = ""  # the exception's type
    message: str = ""  # and all that helps to find it
    changed: bool = False  # the arguments are no longer what they were
    different: str | None = None  # from what is expected; None if it is right
    broken: list[int] = field(default_factory=list)  # properties that do not hold
    text: str = ""

    def right(self, inputs_stay: bool) -> bool:
        return not (self.error or self.different or self.broken or (self.changed and inputs_stay))


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


# ---- Is there an answer at all? --------------------------------------------------------------------------------------

_EMPTY = {
    "RESUME", "NOP", "CACHE", "PRECALL", "PUSH_NULL", "POP_TOP", "EXTENDED_ARG", "COPY_FREE_VARS", "MAKE_CELL",
    "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_COMMON_CONSTANT", "CALL",
    "CALL_FUNCTION", "CALL_NO_KW", "KW_NAMES", "RAISE_VARARGS", "NOT_TAKEN",
}  # fmt: skip
_NOTHING = (None, ..., NotImplemented)


def untouched(answer: Any) -> bool:
    """Whether an answer is still the stub: dots, None, or a function or class with nothing in it.

    >>> def stub(text):
    ...     "Your code here."
    ...     raise NotImplementedError
    >>> untouched(...), untouched(stub), untouched(lambda text: len(text))
    (True, True, False)
    """
    if any(answer is nothing for nothing in _NOTHING):
        return True
    if isinstance(answer, type):
        parts = vars(answer).items()
        own = [part for name, part in parts if isinstance(part, types.FunctionType) or not name.startswith("__")]
        return answer.__bases__ == (object,) and all(
            isinstance(value, types.FunctionType) and untouched(value) for value in own
        )
    if not isinstance(answer, types.FunctionType):
        return False
    if hasattr(answer, "__wrapped__"):
        return untouched(inspect.unwrap(answer))
    steps = list(dis.get_instructions(answer))
    if any(step.opname not in _EMPTY for step in steps):
        return False
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME") and step.argval not in ("NotImplementedError", "NotImplemented"):
            return False
        gives = step.opname == "RETURN_CONST" or (following is not None and following.opname == "RETURN_VALUE")
        if gives and step.opname in ("RETURN_CONST", "LOAD_CONST") and not any(step.argval is n for n in _NOTHING):
            return False
    return True


def usable(exercise: Exercise, answer: Any) -> tuple[Any, str]:
    """The thing to call, and, if there is none, why not.

    An object or a class may bring the function as a method of the exercise's name.
    """
    if exercise.use is not call:
        return (answer, "") if callable(answer) else (None, _not_callable(exercise, answer))
    name = exercise.solution.__name__
    if isinstance(answer, type) and callable(getattr(answer, name, None)):
        answer = answer()
    if not callable(answer) or (not isinstance(answer, types.FunctionType) and callable(getattr(answer, name, None))):
        answer = getattr(answer, name, answer)
    return (answer, "") if callable(answer) else (None, _not_callable(exercise, answer))


def _not_callable(exercise: Exercise, answer: Any) -> str:
    what = "class" if inspect.isclass(exercise.solution) else "function"
    return (
        f"You passed {shown(answer, 60)}, of type {type(answer).__name__}. Pass the {what} itself, without brackets: "
        f'check("{exercise.id}", {exercise.solution.__name__})'
    )


def _says_nothing(outcome: Outcome) -> bool:
    """Whether a stub was run: it gave its dots back, or came to where they still stand in its middle."""
    dots = outcome.value is ... or outcome.value is NotImplemented or "'ellipsis'" in outcome.message
    return dots or outcome.error == "NotImplementedError"


# ---- Running it ------------------------------------------------------------------------------------------------------


def _attempt(exercise: Exercise, answer: Callable[..., Any], args: tuple, expected: Any) -> Outcome:
    given = copy.deepcopy(args)
    try:
        value = exercise.use(answer, *given)
    except limits.Stop:
        raise
    except BaseException as error:  # SystemExit and KeyboardInterrupt are answers too, wrong ones
        return Outcome(error=type(error).__name__, message=_described(error), text=_described(error))
    outcome = Outcome(value=value, changed=difference(args, given, 1e-12) is not None, text=shown(value))
    if exercise.compares:
        outcome.different = difference(expected, value, exercise.tolerance)
    for number, (_, holds) in enumerate(exercise.properties):
        try:
            if not holds(answer, *copy.deepcopy(args), value):
                outcome.broken.append(number)
        except limits.Stop:
            raise
        except BaseException:
            outcome.broken.append(number)
    return outcome


def _described(error: BaseException) -> str:
    """An exception in one line, with the line of code that it came from, if it is the reader's."""
    said = f"{type(error).__name__}: {shown(str(error), 160)[1:-1]}" if str(error) else type(error).__name__
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if any(folder in Path(frame.filename).parents for folder in _NOT_THEIRS):
            continue
        line = linecache.getline(frame.filename, frame.lineno or 0).strip()
        if line:
            return f"{said}, in the line `{shown(line, 80)[1:-1]}`"
    return said


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
            for args, expected in zip(cases, wanted, strict=True):
                if problem:
                    break
                outcomes.append(_attempt(exercise, function, args, expected))
                if _says_nothing(outcomes[0]):
                    break
            return problem

        end, problem = limits.limited(work, seconds)
        if end == "raised":  # before the first input: a class that could not be made
            return Verdict(FAILED, remark=f"It could not be called at all. {_described(problem)}")
        if problem:
            return Verdict(FAILED, remark=problem)
        if outcomes and end == "done" and _says_nothing(outcomes[0]):
            return Verdict(UNTOUCHED)
        verdict = _verdict(exercise, cases, wanted, outcomes, late=end == "late", seconds=seconds)
        if verdict.state == FAILED and end == "done":
            named = limits.limited(lambda: _most_likely(exercise, cases, outcomes), max(seconds, 5.0))
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
    errors = sum(bool(outcome.error) for outcome in outcomes)
    if exercise.compares:
        fine = sum(not (outcome.error or outcome.different) for outcome in outcomes)
        verdict.checks.append((fine == len(cases), f"gives the expected result ({fine} of {len(cases)} inputs)"))
    for number, (statement, _) in enumerate(exercise.properties):
        fine = sum(not outcome.error and number not in outcome.broken for outcome in outcomes)
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
    elif outcome.broken and not outcome.error:
        verdict.facts.append(("does not hold", "; ".join(exercise.properties[i][0] for i in outcome.broken)))
    elif exercise.inputs_stay and outcome.changed and not outcome.error:
        verdict.remark = "It changes the object that it was given. Work on a copy: whoever called still needs theirs."
    return verdict


def _input(exercise: Exercise, args: tuple) -> list[tuple[str, str]]:
    names = exercise.argument_names(len(args))
    return [("input", ", ".join(f"{name}={shown(value, 160)}" for name, value in zip(names, args, strict=True)))]


# ---- Which mistake is it? --------------------------------------------------------------------------------------------


def _alike(theirs: Outcome, known: Outcome, tolerance: int | float | None) -> bool:
    if theirs.error or known.error:
        return theirs.error == known.error
    return theirs.changed == known.changed and difference(known.value, theirs.value, tolerance) is None


def _most_likely(exercise: Exercise, cases: list[tuple], outcomes: list[Outcome]) -> Mistake | None:
    """The known mistake that does most often what the answer did; None if none does so on most failing inputs."""
    failing = [i for i, outcome in enumerate(outcomes) if not outcome.right(exercise.inputs_stay)]
    best, most = None, 0
    for mistake in exercise.mistakes:
        alike = []
        for i, args in enumerate(cases):
            known = _attempt(exercise, mistake.wrong, args, None)
            if _alike(outcomes[i], known, exercise.tolerance):
                alike.append(i)
        enough = sum(i in failing for i in alike) >= _SUFFICIENT * len(failing)
        if enough and len(alike) > most:
            best, most = mistake, len(alike)
    return best
