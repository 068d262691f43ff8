"""How a wrong result relates to the expected one: twice as large, transposed, one position late, in another order.

These are facts, not guesses at a cause: each holds on every input on which the answer is wrong.
"""

import itertools
import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gptlab.exercises.values import difference, is_array, is_tensor, shown

_MOST = 5_000  # numbers in a value; a larger one takes too long in plain Python


@dataclass(frozen=True)
class _Numbers:
    """Numbers in a grid, whatever they came in: a tensor, nested lists, a single number."""

    shape: tuple[int, ...]
    flat: tuple[float, ...]

    def at(self, index: Sequence[int]) -> float:
        position = 0
        for size, i in zip(self.shape, index, strict=True):
            position = position * size + i
        return self.flat[position]

    def indices(self) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = [()]
        for size in self.shape:
            found = [(*index, i) for index in found for i in range(size)]
        return found


def relation(pairs: Sequence[tuple[Any, Any]], at: int, tolerance: int | float | None = None) -> str | None:
    """What can be said of wrong results as a whole; None if it is nothing simple.

    >>> relation([([1, 2], [2, 4]), ([3, 5, 9], [6, 10, 18])], at=0)
    'it is the expected result times 2'
    >>> relation([("hen", "neh"), ("fox", "xof")], at=0)
    'it is the expected result in reverse order'
    >>> relation([(4, 8), (5, 6)], at=0) is None
    True

    Args:
        pairs: (expected, got) of each input on which the result is wrong.
        at: the one that is shown to the reader; "on this input" is said if the others have another number in it.
        tolerance: relative, as in `difference`.
    """
    if any(_equal(*pair) for pair in pairs):  # they differ in type alone
        return None
    for describe in _RELATIONS:
        said = [describe(expected, got, max(tolerance or 0.0, 1e-4)) for expected, got in pairs]
        if not said or any(sentence is None for sentence in said):
            continue
        alike = len(set(said)) == 1
        lucky = describe is not _longer and any(_trivial(expected) for expected, _ in pairs)
        if lucky and not (alike and len(pairs) > 1):
            continue
        return said[at] if alike else f"on this input {said[at]}"
    return None


def _trivial(expected: Any) -> bool:
    """Whether a value is so small that it is in a relation to any other."""
    found = _numbers(expected)
    if found is None:
        return hasattr(expected, "__len__") and len(expected) < 2
    return len({value for value in found.flat if value}) < 2


def _numbers(value: Any) -> _Numbers | None:
    if is_tensor(value) or is_array(value):
        if math.prod(value.shape) > _MOST:
            return None
        value = value.tolist()
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return _Numbers((), (float(value),))
    if not isinstance(value, (list, tuple)) or not value or len(value) > _MOST:
        return None
    rows = [_numbers(row) for row in value]
    if any(row is None or row.shape != rows[0].shape for row in rows):
        return None
    return _Numbers((len(rows), *rows[0].shape), tuple(number for row in rows for number in row.flat))


def _both(expected: Any, got: Any) -> tuple[_Numbers, _Numbers] | None:
    """Both as numbers of one shape."""
    wanted, there = _numbers(expected), _numbers(got)
    if wanted is None or there is None or wanted.shape != there.shape:
        return None
    return wanted, there


def _close(a: float, b: float, tolerance: float) -> bool:
    return a == b or math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-7) or (a != a and b != b)


def _equal(expected: Any, got: Any) -> bool:
    both = _both(expected, got)
    return both is not None and all(_close(e, g, 1e-9) for e, g in zip(both[0].flat, both[1].flat, strict=True))


def _not_a_number(expected: Any, got: Any, tolerance: float) -> str | None:
    if (both := _both(expected, got)) is None:
        return None
    wanted, there = both
    new = [index for index in wanted.indices() if math.isnan(there.at(index)) and not math.isnan(wanted.at(index))]
    if not new:
        return None
    return f"NaN stands in {len(new)} of {len(there.flat)} places" if there.shape else "it is NaN"


def _factor(expected: Any, got: Any, tolerance: float) -> str | None:
    if (both := _both(expected, got)) is None:
        return None
    ratios = [g / e for e, g in zip(both[0].flat, both[1].flat, strict=True) if e and math.isfinite(e)]
    if not ratios or not math.isfinite(ratios[0]):
        return None
    first = max(ratios, key=lambda ratio: abs(ratio))
    everywhere = all(_close(g, e * first, tolerance) for e, g in zip(both[0].flat, both[1].flat, strict=True))
    if not everywhere or _close(first, 1.0, tolerance):
        return None
    if first == 0:
        return "all of it is 0"
    return (
        "it is the expected result with the opposite sign"
        if _close(first, -1.0, tolerance)
        else (f"it is the expected result times {first:.4g}")
    )


def _offset(expected: Any, got: Any, tolerance: float) -> str | None:
    if (both := _both(expected, got)) is None:
        return None
    by = both[1].flat[0] - both[0].flat[0]
    if not math.isfinite(by) or not all(
        _close(g, e + by, tolerance) for e, g in zip(*(b.flat for b in both), strict=True)
    ):
        return None
    return f"it is the expected result {'plus' if by > 0 else 'minus'} {abs(by):.4g}"


def _transposed(expected: Any, got: Any, tolerance: float) -> str | None:
    wanted, there = _numbers(expected), _numbers(got)
    if wanted is None or there is None or len(wanted.shape) != len(there.shape):
        return None
    axes = range(len(wanted.shape))
    for one, other in itertools.combinations(reversed(axes), 2):

        def exchanged(index, one=one, other=other):
            index = list(index)
            index[one], index[other] = index[other], index[one]
            return tuple(index)

        if exchanged(wanted.shape) == there.shape and all(
            _close(there.at(exchanged(index)), wanted.at(index), tolerance) for index in wanted.indices()
        ):
            return (
                "it is the expected result, transposed"
                if len(axes) == 2
                else (f"it is the expected result with axes {other} and {one} exchanged")
            )
    return None


def _reshaped(expected: Any, got: Any, tolerance: float) -> str | None:
    wanted, there = _numbers(expected), _numbers(got)
    if wanted is None or there is None or wanted.shape == there.shape or len(wanted.flat) != len(there.flat):
        return None
    same = all(_close(g, e, tolerance) for e, g in zip(wanted.flat, there.flat, strict=True))
    how = "in the same order" if same else "in another order"
    if not same and not all(map(_close, sorted(wanted.flat), sorted(there.flat), [tolerance] * len(wanted.flat))):
        return None
    return f"the values are the expected ones {how}, in the shape {list(there.shape)} instead of {list(wanted.shape)}"


def _moved(expected: Any, got: Any, tolerance: float) -> str | None:
    """Along one axis, each value stands where its neighbour should."""
    if (both := _both(expected, got)) is None:
        return None
    wanted, there = both
    for axis in reversed(range(len(wanted.shape))):
        if wanted.shape[axis] < 3:
            continue
        for by, how in ((1, "later"), (-1, "earlier")):
            pairs = [
                (wanted.at(index), there.at((*index[:axis], index[axis] + by, *index[axis + 1 :])))
                for index in wanted.indices()
                if 0 <= index[axis] + by < wanted.shape[axis]
            ]
            if all(_close(*pair, tolerance) for pair in pairs) and len({e for e, _ in pairs}) > 1:
                along = f" along axis {axis}" if len(wanted.shape) > 1 else ""
                return f"the values stand one position {how} than expected{along}"
    return None


def _reversed(expected: Any, got: Any, tolerance: float) -> str | None:
    if isinstance(expected, (str, bytes)) and type(got) is type(expected):
        return "it is the expected result in reverse order" if got == expected[::-1] else None
    if (both := _both(expected, got)) is not None:
        wanted, there = both
        for axis in range(len(wanted.shape)):
            if all(
                _close(there.at((*i[:axis], wanted.shape[axis] - 1 - i[axis], *i[axis + 1 :])), wanted.at(i), tolerance)
                for i in wanted.indices()
            ):
                along = f" along axis {axis}" if len(wanted.shape) > 1 else ""
                return f"it is the expected result in reverse order{along}"
        return None
    if isinstance(expected, (list, tuple)) and isinstance(got, (list, tuple)):
        return (
            None if difference(list(expected)[::-1], got, tolerance) else "it is the expected result in reverse order"
        )
    return None


def _shuffled(expected: Any, got: Any, tolerance: float) -> str | None:
    if isinstance(expected, (str, bytes)) and type(got) is type(expected):
        same = sorted(got) == sorted(expected)
    elif (both := _both(expected, got)) is not None:
        same = all(map(_close, sorted(both[0].flat), sorted(both[1].flat), [tolerance] * len(both[0].flat)))
    elif isinstance(expected, (list, tuple)) and isinstance(got, (list, tuple)):
        same = len(got) == len(expected) and sorted(map(shown, got)) == sorted(map(shown, expected))
    else:
        return None
    return "the parts are the expected ones in another order" if same else None


def _missing(where: str, by: int, of: int) -> str:
    """
    >>> _missing("last", 1, 2), _missing("first", 3, 9)
    ('the last of 2 parts is missing', 'the first 3 of 9 parts are missing')
    """
    return f"the {where} of {of} parts is missing" if by == 1 else f"the {where} {by} of {of} parts are missing"


def _longer(expected: Any, got: Any, tolerance: float) -> str | None:
    kinds = (str, bytes), (list, tuple)
    if not any(isinstance(expected, kind) and isinstance(got, kind) for kind in kinds) or len(got) == len(expected):
        return None
    short, long = sorted((got, expected), key=len)
    if not len(short):
        return None
    if difference(list(short), list(long)[: len(short)], tolerance) is None:
        by = len(long) - len(short)
        return _missing("last", by, len(long)) if short is got else f"after the expected result come {by} more"
    if difference(list(short), list(long)[-len(short) :], tolerance) is None:
        by = len(long) - len(short)
        return _missing("first", by, len(long)) if short is got else f"before the expected result come {by} more"
    return None


def _letters(expected: Any, got: Any, tolerance: float) -> str | None:
    if not isinstance(expected, str) or not isinstance(got, str):
        return None
    if expected.lower() == got.lower():
        return "it is the expected text but for upper and lower case"
    same = "".join(expected.split()) == "".join(got.split())
    return "it is the expected text but for spaces and line ends" if same else None


def _dicts(expected: Any, got: Any, tolerance: float) -> str | None:
    if not isinstance(expected, dict) or not isinstance(got, dict) or not expected:
        return None
    try:
        if len(expected) == len(got) and {value: key for key, value in expected.items()} == got:
            return "keys and values are exchanged"
    except TypeError:  # values that cannot be keys
        pass
    if expected.keys() != got.keys():
        return None
    values = [expected[key] for key in expected], [got[key] for key in expected]
    found = _factor(*values, tolerance) or _offset(*values, tolerance)
    return None if found is None else f"of each value: {found.replace('result', 'one')}"


_RELATIONS: tuple[Callable[[Any, Any, float], str | None], ...] = (
    _not_a_number, _factor, _offset, _transposed, _moved, _reversed, _letters, _longer, _reshaped, _shuffled, _dicts,
)  # fmt: skip
