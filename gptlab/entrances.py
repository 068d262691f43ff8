"""Checked entrances: what a function or a settings class accepts stands in its annotations, and nowhere else.

`checked` tests plain arguments before a function runs: whole numbers, finite numbers, ranges, one of several words.
`explained` costs nothing while all is well: when a call fails, it holds the tensors against the annotated shapes, and
says in the course's words which two sides disagree. Both raise ValueError. The shapes are jaxtyping's.

>>> @checked
... def half(steps: Count, rate: Fraction = 0.5) -> float:
...     return steps * rate
>>> half(0)
Traceback (most recent call last):
    ...
ValueError: half: steps=0 must be a whole number of at least 1
"""

import functools
import inspect
import math
import numbers
import operator
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal

F = typing.TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Range:
    """The numbers that are accepted.

    Attributes:
        least: the smallest.
        above: every number above this one.
        most: the largest.
        below: every number below this one.
        infinite: whether infinity is accepted.
    """

    least: float | int | None = None
    above: float | int | None = None
    most: float | int | None = None
    below: float | int | None = None
    infinite: bool = False

    def holds(self, value: float | int) -> bool:
        """Whether a number is accepted."""
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        said = [
            f"{words} {limit}"
            for words, limit in (
                ("of at least", self.least), ("above", self.above), ("of at most", self.most), ("below", self.below),
            )
            if limit is not None
        ]  # fmt: skip
        return " and ".join(said).replace(" and of at most", " and at most")


Count = Annotated[int, Range(least=1)]
Whole = Annotated[int, Range(least=0)]
Positive = Annotated[float | int, Range(above=0)]
NotNegative = Annotated[float | int, Range(least=0)]
Fraction = Annotated[float | int, Range(least=0, most=1)]
Seed = Annotated[int, Range(least=0, most=2**32 - 1)]  # what every generator takes: Python's, NumPy's and torch's


# ---- Plain arguments -------------------------------------------------------------------------------------------------


def checked(function: F) -> F:
    """Test the plain arguments of every call against their annotations before the function runs.

    Raises:
        ValueError: with the function, the argument, its value, and what it must be.
    """
    signature = inspect.signature(function)
    rules = _rules(function)

    @functools.wraps(function)
    def entrance(*args: Any, **options: Any) -> Any:
        try:
            given = signature.bind(*args, **options).arguments
        except TypeError as error:
            raise TypeError(f"{function.__name__}: {error}; its arguments are {signature_in_words(function)}") from None
        for name, rule in rules.items():
            if name in given and (problem := _problem(given[name], rule)):
                raise ValueError(f"{function.__name__}: {name}={_short(given[name])} {problem}")
        return function(*args, **options)

    return typing.cast("F", entrance)


def check_fields(settings: Any) -> None:
    """Test every field of a dataclass against its annotation; call it in `__post_init__`.

    Raises:
        ValueError: with the class, the field, its value, and what it must be.
    """
    assert is_dataclass(settings)
    rules = _rules(type(settings))
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name in rules and (problem := _problem(value, rules[field.name])):
            raise ValueError(f"{type(settings).__name__}: {field.name}={_short(value)} {problem}")


def signature_in_words(function: Callable[..., Any]) -> str:
    """The names of a function's arguments, those with a default in brackets.

    >>> signature_in_words(lambda x, y=1: x)
    'x, [y]'
    """
    parameters = inspect.signature(function).parameters.values()
    return ", ".join(name.name if name.default is inspect.Parameter.empty else f"[{name.name}]" for name in parameters)


@functools.cache
def _rules(owner: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(owner, include_extras=True)
    return {name: hint for name, hint in hints.items() if name != "return" and _is_plain(hint)}


def _is_plain(hint: Any) -> bool:
    """Whether this module knows how to test it."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _is_plain(typing.get_args(hint)[0])
    if origin in (typing.Union, types.UnionType):
        return all(_is_plain(part) for part in typing.get_args(hint))
    return origin is Literal or hint in (int, float, bool, str, type(None))


def _problem(value: Any, hint: Any) -> str:
    """What is wrong with a value, in words that follow "name=value"; "" if nothing is."""
    kinds, allowed, words = _kinds(hint), _range(hint), []
    for kind in kinds:
        if isinstance(kind, tuple):
            if any(value is word or (type(value) is type(word) and value == word) for word in kind):
                return ""
            words.append("one of " + ", ".join(map(repr, kind)))
        elif kind is type(None):
            if value is None:
                return ""
            words.append("None")
        elif kind in (bool, str):
            if isinstance(value, kind):
                return ""
            words.append({bool: "True or False", str: "text"}[kind])
    if float in kinds or int in kinds:
        whole = float not in kinds
        number = _number(value, whole)
        if number is not None and (allowed.infinite or math.isfinite(number)) and allowed.holds(number):
            return ""
        words.insert(0, f"{'a whole number' if whole else 'a number'} {allowed}".strip())
    return f"must be {' or '.join(words)}"


def _range(hint: Any) -> Range:
    """The range that an annotation names anywhere in it; one without ends if it names none."""
    if isinstance(hint, Range):
        return hint
    parts = (*typing.get_args(hint), *getattr(hint, "__metadata__", ()))
    return next((found for part in parts if (found := _range(part)) != Range()), Range())


def _kinds(hint: Any) -> list[Any]:
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _kinds(typing.get_args(hint)[0])
    if origin in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(hint) for kind in _kinds(part)]
    return [typing.get_args(hint)] if origin is Literal else [hint]


def _number(value: Any, whole: bool) -> float | int | None:
    """A value as a number; None for what only looks like one: True, text, a fraction where a whole one is meant."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        pass
    return float(value) if not whole and isinstance(value, numbers.Real) and not math.isnan(value) else None


def _short(value: Any, most: int = 60) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= most else text[: most - 1] + "…"


# ---- Tensors ---------------------------------------------------------------------------------------------------------


def explained(function: F) -> F:
    """When a call fails, say which tensor does not have its annotated shape, type or device.

    A class may name its own sizes in a property `sizes`, {"C": 12}: then an input of another C is explained too.

    Raises:
        ValueError: with the two sides that disagree; if nothing disagrees, the call's own error stands.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def entrance(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except (RuntimeError, TypeError, IndexError, AttributeError, ValueError) as error:
            said = None if getattr(error, "explained", False) else _explanation(function, signature, args, options)
            if said is None:
                raise
            clear = ValueError(said)
            clear.explained = True
            raise clear from error

    return typing.cast("F", entrance)


def _explanation(function: Callable[..., Any], signature: inspect.Signature, args: tuple, options: dict) -> str | None:
    try:
        given = signature.bind(*args, **options).arguments
    except TypeError:
        return None
    owner = given.get("self")
    where = f"{type(owner).__name__}.{function.__name__}" if owner is not None else function.__name__
    where = where.removesuffix(".forward")
    sizes = {letter: (size, where) for letter, size in getattr(owner, "sizes", {}).items()}
    devices: dict[str, str] = {}
    for name, parameter in signature.parameters.items():
        expected = _tensor_hint(parameter.annotation)
        if expected is None or name not in given or given[name] is None:
            continue
        if problem := _tensor_problem(name, given[name], expected, sizes, devices):
            return f"{where}: {problem}"
    return None


def _tensor_hint(annotation: Any) -> Any:
    """The jaxtyping part of an annotation, alone or beside None."""
    parts = typing.get_args(annotation) if typing.get_origin(annotation) in (typing.Union, types.UnionType) else ()
    return next((part for part in (annotation, *parts) if hasattr(part, "dim_str")), None)


def _tensor_problem(
    name: str, value: Any, expected: Any, sizes: dict[str, tuple[int, str]], devices: dict[str, str]
) -> str | None:
    letters = expected.dim_str.split()
    shape_in_words = "[" + ", ".join(letter.lstrip("#") for letter in letters).replace("*", "…") + "]"
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        return f"{name} must be a tensor {shape_in_words}, and is {_short(value)}: torch.tensor(…) makes one"
    dtype, kinds = str(value.dtype).removeprefix("torch."), expected.dtypes
    if isinstance(kinds, (tuple, list)) and not any(_fits(dtype, kind) for kind in kinds):
        kind = {"Bool": "True and False (torch.bool)", "Int": "integers (torch.long)", "Float": "floats"}
        return f"{name} must hold {kind.get(expected.__name__.split('[')[0], expected.__name__)}, and holds {dtype}"
    shape = list(value.shape)
    named = [letter for letter in letters if not letter.startswith(("*", "..."))]
    if len(shape) < len(named) or (len(named) == len(letters) and len(shape) != len(named)):
        way = f": {name}[None] adds a batch of one" if len(shape) + 1 == len(named) and letters[0] == "B" else ""
        return f"{name} has the shape {shape} and must be {shape_in_words}{way}"
    front = next((i for i, letter in enumerate(letters) if letter.startswith(("*", "..."))), len(letters))
    behind = len(letters) - front - 1
    pairs = list(zip(letters[:front], shape[:front], strict=False))
    if front < len(letters):
        pairs += list(zip(letters[front + 1 :], shape[len(shape) - behind :] if behind else [], strict=False))
    for letter, size in pairs:
        broadcasts, letter = letter.startswith("#"), letter.lstrip("#")
        if letter.isdigit():
            if size != int(letter):
                return f"{name} has the shape {shape} and must be {shape_in_words}"
            continue
        known, who = sizes.setdefault(letter, (size, name))
        if size != known and not (broadcasts and 1 in (size, known)):
            return f"{name} has {letter}={size}, and {who} has {letter}={known}: they must agree"
    other = next(((who, device) for who, device in devices.items() if device != str(value.device)), None)
    devices[name] = str(getattr(value, "device", "cpu"))
    if other is not None:
        return f"{name} is on {value.device} and {other[0]} on {other[1]}: move one with .to({other[1]!r})"
    return None


def _fits(dtype: str, kind: Any) -> bool:
    return dtype == kind if isinstance(kind, str) else bool(kind.fullmatch(dtype))
