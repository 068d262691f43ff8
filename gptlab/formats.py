"""What a JSON file must contain, written as types: one reader for the files, one function that checks their content.

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

import json
import os
import typing
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypedDict

from gptlab.accepted import accepted, short
from gptlab.entrances import Whole

__all__ = ["TypedDict", "Whole", "parse", "problem", "read_json"]

MOST = 1 << 30  # bytes of a file of JSON, if its reader doesn't say how long it may be


def read_json(path: str | os.PathLike, expected: Any = dict, most: int = MOST) -> Any:
    """The content of a JSON file, of the types it must have.

    Args:
        path: the file.
        expected: what it must contain, as `problem` has it.
        most: bytes of the longest file that is read.

    Raises:
        ValueError: it is too long, or not UTF-8, or not JSON, or has other content; with the file and the entry.
        OSError: it is not there, or may not be read.
    """
    path = Path(path)
    if (size := path.stat().st_size) > most:
        raise ValueError(f"{str(path)!r} has {size:,} bytes, and such a file has at most {most:,}")
    return parse(path.read_bytes(), str(path), expected)


def parse(content: bytes, name: str, expected: Any = dict) -> Any:
    """JSON in bytes, of the types that it must have; errors as for `read_json`.

    Args:
        content: the bytes.
        name: where they are from, for the message.
        expected: what they must contain, as `problem` has it.

    >>> parse(b'{"step": -1}', "state.json", dict[str, Whole])
    Traceback (most recent call last):
        ...
    ValueError: 'state.json' is damaged: step=-1 must be a whole number of at least 0
    """
    try:
        data = json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError(f"{name!r} is damaged: its brackets are nested too deeply") from None
    except ValueError as error:  # not UTF-8, not JSON, a number of thousands of digits
        raise ValueError(f"{name!r} is damaged, it is not JSON: {error}") from error
    if found := problem(data, expected):
        raise ValueError(f"{name!r} is damaged: {found}")
    return data


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
        optional = getattr(expected, "__optional_keys__", ())
        if missing := [name for name in names if name not in value and name not in optional]:
            return f"there is no entry {inside}{missing[0]}"
        if is_dataclass(expected) and (unknown := sorted(value.keys() - set(names))):
            return f"the entry {inside}{unknown[0]} is not known"
        return _first(problem(value[name], hints[name], inside + name) for name in names if name in value)
    return _first(problem(item, parts[1], inside + name) for name, item in value.items()) if parts else ""


def _first(problems: Iterable[str]) -> str:
    return next(filter(None, problems), "")


def _said(where: str, value: Any) -> str:
    return f"{where}={short(value)}" if where else f"the content, {short(value)},"
