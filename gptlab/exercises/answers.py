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
