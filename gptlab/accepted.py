"""What an argument may be: a test and words for each annotation. `gptlab.entrances` applies them to calls.

Standard library only, and nothing is imported to test a value: what an annotation names is there already.
"""

import collections.abc
import inspect
import itertools
import math
import numbers
import operator
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal


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

# Whole numbers that mean the same in the whole package, so that `T: int` says enough: sizes, and what may be zero.
SIZES = frozenset(
    {"B", "T", "C", "V", "H", "hs", "Tk", "size", "width", "window", "gpus", "world_size", "sequences", "repeats",
     "rows", "max_length", "vocab_size", "accumulation", "save_total_limit"}
)  # fmt: skip
COUNTED_FROM_ZERO = frozenset(
    {"start", "step", "steps", "max_new_tokens", "warmup", "n", "rank", "id", "new_id", "end"}
)


@dataclass(frozen=True)
class Accepted:
    """What one argument may be.

    Attributes:
        holds: whether a value is accepted. Of a long list it looks at the first items only, so that it costs nothing.
        holds_wholly: the same, and all items are looked at.
        words: what follows "must be": "a whole number of at least 1 or None".
        kind_holds: the same without a range that comes from the argument's name; None if there is no such range.
    """

    holds: Callable[[Any], bool]
    holds_wholly: Callable[[Any], bool]
    words: str
    kind_holds: Callable[[Any], bool] | None = None


def accepted(hint: Any, name: str = "") -> Accepted | None:
    """What an annotation accepts; None for anything, and for a tensor, whose shape `gptlab.entrances` tests.

    Args:
        hint: an annotation, with its `Range` if it has one.
        name: of the argument: a whole number without a range has the one of its name, if it is a size.

    >>> accepted(Count | None).words, accepted(Count).holds(0), accepted(list[int]).holds([1, "a"])
    ('a whole number of at least 1 or None', False, False)
    """
    if (least := 1 if name in SIZES else 0 if name in COUNTED_FROM_ZERO else None) is not None:
        kind, ranged = accepted(hint), _accepted(hint, Range(least=least))
        return None if kind is None or ranged is None else replace(ranged, kind_holds=kind.holds)
    return _accepted(hint, Range())


def _accepted(hint: Any, allowed: Range) -> Accepted | None:
    parts = _alternatives(hint, allowed)
    if parts is None or all(words.startswith(("a tensor [", "None")) for _, words in parts):
        return None

    if len(parts) == 1:  # most are, and a plain call is quickest
        test, words = parts[0]
        return Accepted(lambda value: test(value, 2), lambda value: test(value, None), words)

    def holds(value: Any, items: int | None = 2) -> bool:
        return any(test(value, items) for test, _ in parts)

    holds = inspect.unwrap(holds)  # as below
    return Accepted(holds, lambda value: holds(value, None), " or ".join(dict.fromkeys(words for _, words in parts)))


Test = Callable[[Any, int | None], bool]  # of a value, and of so many of its items (None: all)

# How values of other libraries are called in a message.
WORDS = {
    "torch.dtype": "a dtype such as torch.float32",
    "torch.device": "a device such as 'cpu' or 'cuda'",
    "torch.Tensor": "a tensor",
    "torch.nn.modules.module.Module": "a torch.nn.Module",
    "torch._C.Generator": "a torch.Generator (pass other settings by name, such as min_p=0.05)",
    "numpy.ndarray": "an array",
    "os.PathLike": "a path",
    "pathlib.Path": "a path",
}
PLURAL = {"a whole number": "whole numbers", "a number": "numbers", "text": "texts", "bytes": "bytes"}


def _alternatives(hint: Any, allowed: Range) -> list[tuple[Test, str]] | None:
    """The kinds of values that an annotation names, each with its test and its words; None if it names no kind."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _alternatives(parts[0], next((r for r in hint.__metadata__ if isinstance(r, Range)), allowed))
    if origin in (typing.Union, types.UnionType):
        return _union([part for part in parts if part is not int or float not in parts], allowed)
    if hasattr(hint, "dim_str"):
        return [(lambda value, _: hasattr(value, "dtype") and hasattr(value, "shape"), f"a tensor [{hint.dim_str}]")]
    if origin is Literal:
        return [(lambda value, _: _is_one_of(value, parts), "one of " + ", ".join(map(repr, parts)))]
    if hint in (int, typing.SupportsIndex):
        return [(lambda value, _: _is_number(value, allowed, whole=True), f"a whole number {allowed}".strip())]
    if hint is float:
        return [(lambda value, _: _is_number(value, allowed, whole=False), f"a number {allowed}".strip())]
    if hint in (None, type(None)):
        return [(lambda value, _: value is None, "None")]
    if origin is collections.abc.Callable or hint in (Callable, typing.Callable):
        return [(lambda value, _: callable(value), "a function")]
    if isinstance(origin, type) and issubclass(origin, Iterable):
        return [_container(origin, parts)]
    if not isinstance(hint, type) or hint in (Any, object):
        return None
    if getattr(hint, "_is_protocol", False) and not getattr(hint, "_is_runtime_protocol", False):
        return None
    name = f"{hint.__module__}.{hint.__qualname__}"
    words = {bool: "True or False", str: "text", bytes: "bytes"}.get(hint) or WORDS.get(name)
    article = "an" if hint.__name__[0] in "AEIOU" else "a"
    return [(lambda value, _: isinstance(value, hint), words or f"{article} {hint.__name__}")]


def _union(hints: list[Any], allowed: Range) -> list[tuple[Test, str]] | None:
    found = [_alternatives(hint, allowed) for hint in hints]
    if any(kinds is None for kinds in found):
        return None
    device = next(
        (hint for hint in hints if getattr(hint, "__module__", "") == "torch" and hint.__name__ == "device"), 0
    )
    if device:  # text beside a device is the name of one
        found = [kinds for hint, kinds in zip(hints, found, strict=True) if hint is not str]
        found.append([(lambda value, _: isinstance(value, str) and _makes(device, value), WORDS["torch.device"])])
    return [kind for kinds in found for kind in kinds]


def _makes(kind: type, value: Any) -> bool:
    try:
        kind(value)
    except (RuntimeError, ValueError):
        return False
    return True


def _container(origin: type, parts: tuple[Any, ...]) -> tuple[Test, str]:
    """Lists, mappings and the like, with the test of their items where they can be looked at without being used up."""
    inner = [_alternatives(part, Range()) for part in parts if part is not ...]
    pairs = issubclass(origin, Mapping)
    fixed = len(parts) if origin is tuple and parts and parts[-1] is not ... else None
    like = Mapping if pairs else origin if not issubclass(origin, Sequence) or origin is tuple else None

    def fits(item: Any, kinds: list[tuple[Test, str]] | None, items: int | None) -> bool:
        if kinds is not None and len(kinds) == 1:
            return kinds[0][0](item, items)
        return kinds is None or any(test(item, items) for test, _ in kinds)

    def test(value: Any, items: int | None) -> bool:
        if isinstance(value, str | bytes) or (like is not None and not isinstance(value, like)):
            return False
        if like is None and (
            not hasattr(value, "__getitem__") or not hasattr(value, "__len__") or hasattr(value, "keys")
        ):
            return False
        if fixed is not None:
            return len(value) == fixed and all(fits(*pair, items) for pair in zip(value, inner, strict=True))
        if pairs and len(inner) == 2:
            some = itertools.islice(value.items(), items)
            return all(fits(key, inner[0], items) and fits(item, inner[1], items) for key, item in some)
        if isinstance(value, list | tuple | set | frozenset) and inner:
            return all(fits(item, inner[0], items) for item in itertools.islice(value, items))
        return True

    fits, test = inspect.unwrap(fits), inspect.unwrap(test)  # as below
    kind = "a mapping" if pairs else "a tuple" if origin is tuple else "a list" if like is None else "a collection"
    plurals = [" or ".join(PLURAL.get(words, "") for _, words in kinds or [(None, "")]) for kinds in inner]
    if fixed is not None:
        items = " and ".join(dict.fromkeys(words for kinds in inner for _, words in kinds or []))
        return test, f"a tuple of {fixed} values, {items}"
    of = f" of {plurals[0]}" if plurals and plurals[0].strip(" or") and not pairs else ""
    return test, f"{kind}{of}"


def _is_one_of(value: Any, words: tuple[Any, ...]) -> bool:
    return any(value is word or (type(value) is type(word) and value == word) for word in words)


def _is_number(value: Any, allowed: Range, whole: bool) -> bool:
    if type(value) is int:
        return allowed.holds(value)
    number = _number(value, whole)
    return number is not None and (allowed.infinite or math.isfinite(number)) and allowed.holds(number)


def _number(value: Any, whole: bool) -> float | int | None:
    """A value as a number; None for what only looks like one: True, text, a fraction where a whole one is meant."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        pass
    return float(value) if not whole and isinstance(value, numbers.Real) and not math.isnan(value) else None


def short(value: Any, most: int = 60) -> str:
    """A value in a message: its repr, cut to `most` characters."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= most else text[: most - 1] + "…"


# The suite checks the types of all functions of the package; these run in every call, and would make it slow.
Range.holds, _is_number, _number = map(inspect.unwrap, (Range.holds, _is_number, _number))
