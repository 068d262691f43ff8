"""What a JSON file must contain, written as types, and the one function that holds its content against them.

A file that was damaged, cut or edited by hand is refused here, in one sentence that names the entry. What is read
afterwards has the types it says it has.

>>> class Saved(TypedDict):
...     step: Whole
...     losses: list[float]
>>> problem({"step": 2, "losses": [1.5, 1.25]}, Saved)
''
>>> problem({"step": 2, "losses": [1.5, "1.25"]}, Saved)
"losses[1]='1.25' must be a number"
>>> problem({"step": -1, "losses": []}, Saved)
'step=-1 must be a whole number of at least 0'
"""

import typing
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any, TypedDict

from gptlab.accepted import accepted, short
from gptlab.entrances import Whole

__all__ = ["TypedDict", "Whole", "problem"]


def problem(value: Any, expected: Any, where: str = "") -> str:
    """What is wrong with a value that came out of JSON, naming the entry; "" if nothing is.

    Args:
        value: what `json.loads` gave.
        expected: a type: `list[X]`, `dict[str, X]`, a TypedDict (other entries are allowed beside its own), a dataclass
            (they are not), `Any`, or a plain one as `gptlab.entrances` has them. A `float` may be infinite or NaN.
        where: the name of the value, for the message.
    """
    origin, parts = typing.get_origin(expected), typing.get_args(expected)
    if expected is Any:
        return ""
    if origin is list:
        if not isinstance(value, list):
            return f"{_said(where, value)} must be a list"
        return _first(problem(item, parts[0], f"{where}[{number}]") for number, item in enumerate(value))
    if origin is dict or expected is dict or typing.is_typeddict(expected) or is_dataclass(expected):
        if not isinstance(value, dict):
            return f"{_said(where, value)} must be an object with names"
        return _entries(value, expected, parts, where)
    if expected is float or set(parts) == {float, int}:
        wrong = not isinstance(value, float if expected is float else float | int) or isinstance(value, bool)
        return f"{_said(where, value)} must be a number" if wrong else ""
    rule = accepted(expected)
    return "" if rule is None or rule.holds_wholly(value) else f"{_said(where, value)} must be {rule.words}"


def _entries(value: dict[str, Any], expected: Any, parts: tuple, where: str) -> str:
    inside = f"{where}." if where else ""
    if typing.is_typeddict(expected) or is_dataclass(expected):
        hints = typing.get_type_hints(expected, include_extras=True)
        names = [field.name for field in fields(expected)] if is_dataclass(expected) else list(hints)
        if missing := [name for name in names if name not in value]:
            return f"there is no entry {inside}{missing[0]}"
        if is_dataclass(expected) and (unknown := sorted(value.keys() - set(names))):
            return f"the entry {inside}{unknown[0]} is not known"
        return _first(problem(value[name], hints[name], inside + name) for name in names)
    return _first(problem(item, parts[1], inside + name) for name, item in value.items()) if parts else ""


def _first(problems: Iterable[str]) -> str:
    return next(filter(None, problems), "")


def _said(where: str, value: Any) -> str:
    return f"{where}={short(value)}" if where else f"the content, {short(value)},"
