"""Run an answer on one input: what it gives, what it changes, what it raises and where."""

import copy
import dis
import linecache
import random
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any, Literal

from gptlab.exercises import limits
from gptlab.exercises.schema import Exercise
from gptlab.exercises.values import difference, shown

_EXERCISES = Path(__file__).parent
# Code of this package, of installed packages and of Python itself is not the reader's.
_LIBRARIES = {_EXERCISES.parent, *(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib"))}
_MATMUL = ("matmul", "mm", "bmm", "__matmul__")


@dataclass(frozen=True)
class Raised:
    """An exception, as far as two answers can be compared by it.

    Attributes:
        type: the name of its class.
        message: its text, without the names and addresses that differ from one function to the next.
        operation: what was being done, ("call", "view") or ("operator", "@").
    """

    type: str
    message: str
    operation: tuple[str, str]


@dataclass
class Outcome:
    """What an answer did with one input.

    Attributes:
        value: what it returned.
        raised: the exception, if there was one.
        message: the exception for the reader, with the line that raised it.
        given: the arguments as the answer left them.
        changed: whether they are no longer what they were.
        different: how the value differs from the expected one; None if it does not.
        broken: numbers of the properties that do not hold.
        text: the value in one line.
    """

    value: Any = None
    raised: Raised | None = None
    message: str = ""
    given: tuple = ()
    changed: bool = False
    different: str | None = None
    broken: list[int] = field(default_factory=list)
    text: str = ""

    def right(self, inputs_stay: bool) -> bool:
        """Whether nothing is wrong with it."""
        return not (self.raised or self.different or self.broken or (self.changed and inputs_stay))


def attempt(exercise: Exercise, answer: Callable[..., Any], args: tuple, expected: Any, seed: int = 0) -> Outcome:
    """Run an answer on one input.

    Args:
        exercise: the exercise that it answers.
        answer: the function or class.
        args: the input; a copy of it is handed over.
        expected: the right result.
        seed: of the global random numbers, so that an answer that draws some can be compared with another one.
    """
    given = copy.deepcopy(args)
    seed_everything(seed)
    try:
        value = exercise.use(answer, *given)
    except limits.Stop:
        raise
    except BaseException as error:  # SystemExit and KeyboardInterrupt are answers too, wrong ones
        changed = difference(args, given, 1e-12) is not None
        text = described(error)
        return Outcome(raised=raised(error), message=text, given=given, changed=changed, text=text)
    return compared(exercise, answer, args, expected, value, given)


def compared(
    exercise: Exercise, answer: Callable[..., Any], args: tuple, expected: Any, value: Any, given: tuple
) -> Outcome:
    """What there is to say of a result: how it differs from the expected one, and what does not hold.

    Args:
        exercise: the exercise that was answered.
        answer: the function or class, for properties that call it again.
        args: the input.
        expected: the right result.
        value: the result.
        given: the arguments as the answer left them.
    """
    outcome = Outcome(value=value, given=given, text=shown(value))
    outcome.changed = difference(args, given, 1e-12) is not None
    if exercise.compares:
        try:
            outcome.different = difference(expected, value, exercise.tolerance)
        except limits.Stop:
            raise
        except BaseException as error:  # values without data, objects that refuse to be compared
            outcome.different = f"it cannot be compared: {described(error)}"
    for number, (_, holds) in enumerate(exercise.properties):
        try:
            if not holds(answer, *copy.deepcopy(args), value):
                outcome.broken.append(number)
        except limits.Stop:
            raise
        except BaseException:
            outcome.broken.append(number)
    return outcome


def seed_everything(seed: int) -> None:
    """Seed the global random numbers of Python, numpy and torch, as far as they are loaded."""
    random.seed(seed)
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if hasattr(numpy, "random"):
        numpy.random.seed(seed)
    if hasattr(torch, "default_generator"):
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would seed the GPU as well, which stays so


# ---- Exceptions ------------------------------------------------------------------------------------------------------


def described(error: BaseException) -> str:
    """An exception in one line, with the line of code that it came from, if it is the reader's."""
    said = _message(error)
    said = f"{type(error).__name__}: {shown(said, 260)[1:-1]}" if said else type(error).__name__
    for frame, number in reversed(list(traceback.walk_tb(error.__traceback__))):
        name = frame.f_code.co_filename
        line = "" if _whose(name) != "reader" else linecache.getline(name, number, frame.f_globals).strip()
        if line:
            return f"{said}, in the line `{shown(line, 80)[1:-1]}`"
    return said


@cache
def _whose(filename: str) -> Literal["reader", "exercises", "library"]:
    folders = Path(filename).parents
    if _EXERCISES in folders:
        return "exercises"
    return "library" if any(folder in folders for folder in _LIBRARIES) else "reader"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # a reader's own exception class may fail at this as well
        return ""


def raised(error: BaseException) -> Raised:
    """An exception as it is compared with another answer's."""
    message = re.sub(r"0x[0-9a-fA-F]+", "0x…", _message(error))
    message = re.sub(r"[\w.<>]+\(\)", "f()", message)  # "<lambda>() missing 1 required positional argument"
    return Raised(type(error).__name__, message, _operation(error.__traceback__))


def _operation(tb: TracebackType | None) -> tuple[str, str]:
    """The operation that raised, in the deepest line that is neither torch's nor Python's own."""
    deepest = None
    while tb is not None:
        if _whose(tb.tb_frame.f_code.co_filename) != "library":
            deepest = tb
        tb = tb.tb_next
    return ("", "") if deepest is None else _at(deepest.tb_frame.f_code, deepest.tb_lasti)


def _at(code: CodeType, offset: int) -> tuple[str, str]:
    steps = list(dis.get_instructions(code))
    index = next((i for i, step in enumerate(steps) if step.offset == offset), None)
    if index is None:
        return ("", "")
    step = steps[index]
    if "CALL" in step.opname:
        name = _called(steps, index)
        return ("operator", "@") if name in _MATMUL else ("call", name)
    if step.opname.startswith(("BINARY_", "INPLACE_")):
        sign = step.argrepr.rstrip("=") or step.opname.partition("_")[2]
        return ("operator", {"MATRIX_MULTIPLY": "@", "[]": "SUBSCR"}.get(sign, sign))
    return (step.opname, str(step.argval) if step.opname.startswith("LOAD_ATTR") else "")


def _called(steps: list[dis.Instruction], index: int) -> str:
    """The name of what an instruction calls: "view" in `x.transpose(1, 2).view(2, 6)`."""
    loads = [s for s in steps[:index] if s.opname in ("LOAD_METHOD", "LOAD_ATTR", "LOAD_GLOBAL", "LOAD_NAME")]
    if sys.version_info < (3, 11):  # where in its line an instruction is, is not known: all names of the function
        return " ".join(str(load.argval) for load in loads)
    here = steps[index].positions
    inside = [
        (load.positions.end_lineno, load.positions.end_col_offset, str(load.argval))
        for load in loads
        if (load.positions.lineno, load.positions.col_offset) == (here.lineno, here.col_offset)
    ]
    return max(inside, default=(0, 0, ""))[2]
