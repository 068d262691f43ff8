"""What the reader handed over: a stub, something to call, or neither."""

import dis
import inspect
import types
from typing import Any

from gptlab.exercises.schema import Exercise, call
from gptlab.exercises.values import shown

_EMPTY = {
    "RESUME", "NOP", "CACHE", "PRECALL", "PUSH_NULL", "POP_TOP", "EXTENDED_ARG", "COPY_FREE_VARS", "MAKE_CELL",
    "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_COMMON_CONSTANT", "CALL",
    "CALL_FUNCTION", "CALL_NO_KW", "KW_NAMES", "RAISE_VARARGS", "NOT_TAKEN",
}  # fmt: skip
_NOTHING = (None, ..., NotImplemented)


def untouched(answer: Any) -> bool:
    """Whether an answer is still the stub: dots, None, or a function or class with nothing in it.

    It reads the bytecode, because the source of a cell or a lambda is not always known.

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

    Args:
        exercise: what it answers.
        answer: what the reader passed.
    """
    if exercise.use is not call:
        return (answer, "") if callable(answer) else (None, _not_callable(exercise, answer))
    name = exercise.solution.__name__
    if isinstance(answer, type) and callable(getattr(answer, name, None)):
        answer = answer()
    if not callable(answer) or (not isinstance(answer, types.FunctionType) and callable(getattr(answer, name, None))):
        answer = getattr(answer, name, answer)
    return (answer, "") if callable(answer) else (None, _not_callable(exercise, answer))


def misunderstood(exercise: Exercise, answer: Any, results: list[Any]) -> str:
    """What to pass instead, if a class was passed for a function, or a function for a class; "" otherwise.

    Args:
        exercise: what it answers.
        answer: what the reader passed.
        results: what came of calling it; a class that is called gives its objects.
    """
    own_class = isinstance(answer, type) and answer.__module__ != "builtins" and exercise.use is call
    if own_class and results and all(isinstance(result, answer) for result in results):
        return f"You passed the class {answer.__name__}, and calling a class makes an object. {_instead(exercise)}"
    if inspect.isclass(exercise.solution) and inspect.isroutine(answer):
        return f"You passed a function. {_instead(exercise)}"
    return ""


def _not_callable(exercise: Exercise, answer: Any) -> str:
    return f"You passed {shown(answer, 60)}, of type {type(answer).__name__}. {_instead(exercise)}"


def _instead(exercise: Exercise) -> str:
    what = "class" if inspect.isclass(exercise.solution) else "function"
    return f'Pass the {what} itself, without brackets: check("{exercise.id}", {exercise.solution.__name__})'
