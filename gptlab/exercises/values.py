"""Are two values the same, as far as a reader should care, and how is a value shown in one line?

Lists and tuples are alike, and so are a number and a tensor with one; numbers with a fraction are compared with the
tolerance of the coarser dtype. Text and ids are compared exactly. torch and numpy are used only if they are loaded.
"""

import math
import numbers
import reprlib
import sys
from collections.abc import Iterator, Mapping, Set
from typing import Any

from gptlab.exercises.schema import Failed

# dtype: relative and absolute tolerance
_TOLERANCE = {
    "bfloat16": (3e-2, 1e-2), "float16": (4e-3, 1e-3), "float32": (1e-4, 1e-6), "float64": (1e-6, 1e-9),
}  # fmt: skip
_COARSEST_FIRST = list(_TOLERANCE)
NUMBER = "the number is different"  # all that can be said of two plain numbers


def is_tensor(value: Any) -> bool:
    """Whether this is a tensor of torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_array(value: Any) -> bool:
    """Whether this is an array or a number of numpy."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic))


def _dtype(value: Any) -> str:
    return str(getattr(value, "dtype", "float64")).removeprefix("torch.")


def _tolerance(first: Any, second: Any, tolerance: int | float | None) -> tuple[float, float]:
    names = [name for name in _COARSEST_FIRST if name in (_dtype(first), _dtype(second))]
    relative, absolute = _TOLERANCE[names[0] if names else "float64"]
    return (relative if tolerance is None else max(tolerance, relative), absolute)


def difference(expected: Any, got: Any, tolerance: int | float | None = None) -> str | None:
    """None if `got` is as good as `expected`; otherwise what is different, in a few words.

    >>> difference([1, 2], (1, 2)), difference(0.1 + 0.2, 0.3)
    (None, None)
    >>> difference([1, 2], [1, 2, 3])
    'it has length 3, not 2'
    >>> difference([1, 2], (i for i in (1, 2)))
    'it is a generator, not a list: put list(...) around it'
    >>> difference([1, 2, 3], [1, 5, 3]), difference("abc", "abd")
    ('at position 1: 5, not 2', "it differs first at position 2: 'd', not 'c'")

    Args:
        expected: the right value.
        got: the value to compare with it.
        tolerance: relative, for numbers with a fraction; by the dtype unless given.
    """
    if got is None and expected is not None:
        return "it is None: is a `return` missing at the end?"
    if isinstance(got, Failed):
        return f"it raised {got!r}"
    if isinstance(got, Iterator) and not isinstance(expected, Iterator):
        return f"it is {_a(got)}, not {_wanted(expected)}{_consumed(expected)}"
    if is_tensor(expected):
        return _tensors_differ(expected, got, tolerance)
    if (is_tensor(got) or is_array(got)) and not is_array(expected):
        return _plain_differs(expected, got, tolerance)
    if isinstance(expected, bool):
        return None if isinstance(got, bool) and got == expected else f"it is not {expected}"
    if isinstance(expected, numbers.Number):
        return _numbers_differ(expected, got, tolerance)
    if isinstance(expected, (bytes, bytearray)):
        return _same_kind(expected, got, (bytes, bytearray)) or _texts_differ(bytes(expected), bytes(got))
    if isinstance(expected, str):
        return _same_kind(expected, got, str) or _texts_differ(expected, got)
    if isinstance(expected, Mapping):
        return _same_kind(expected, got, Mapping) or _mappings_differ(expected, got, tolerance)
    if isinstance(expected, (list, tuple)):
        return _same_kind(expected, got, (list, tuple, range)) or _sequences_differ(expected, got, tolerance)
    if isinstance(expected, Set):
        return _same_kind(expected, got, Set) or _sets_differ(expected, got)
    return None if bool(expected == got) else "the value is different"


def _a(value: Any) -> str:
    name = {"str": "text"}.get(type(value).__name__, type(value).__name__)
    return name if name == "text" else f"{'an' if name[0] in 'aeio' else 'a'} {name}"


def _wanted(expected: Any) -> str:
    """The type that is expected, as a prompt calls it: where a dict is asked for, a Counter is one."""
    if is_tensor(expected):
        return "a tensor"
    if isinstance(expected, numbers.Number) and not isinstance(expected, bool):
        return "an integer" if isinstance(expected, numbers.Integral) else "a number"
    plain = next((kind() for kind in (str, bytes, dict, list, tuple, set) if isinstance(expected, kind)), expected)
    return _a(plain)


def _consumed(expected: Any) -> str:
    """How an iterator becomes what is expected."""
    if is_tensor(expected):
        return ": put torch.stack(list(...)) around it"
    if isinstance(expected, str):
        return ': put "".join(...) around it'
    name = next((kind.__name__ for kind in (list, tuple, set) if isinstance(expected, kind)), "")
    return f": put {name}(...) around it" if name else ""


def _same_kind(expected: Any, got: Any, kinds: Any) -> str | None:
    return None if isinstance(got, kinds) else f"it is {_a(got)}, not {_wanted(expected)}"


def _texts_differ(expected: Any, got: Any) -> str | None:
    if got == expected:
        return None
    at = next((i for i, both in enumerate(zip(expected, got, strict=False)) if both[0] != both[1]), None)
    if at is None:
        return f"it has length {len(got)}, not {len(expected)}, and is the same up to there"
    return f"it differs first at position {at}: {got[at : at + 1]!r}, not {expected[at : at + 1]!r}"


def _sets_differ(expected: Any, got: Any) -> str | None:
    if got == expected:
        return None
    missing, extra = next(iter(expected - got), None), next(iter(got - expected), None)
    return f"{shown(missing)} is missing" if expected - got else f"{shown(extra)} should not be in it"


def _inside(where: str, found: str, expected: Any, got: Any) -> str:
    """The difference of a part; of a number both values, because the card shows only the complete result."""
    return f"{where}: {shown(got, 60)}, not {shown(expected, 60)}" if found == NUMBER else f"{where}: {found}"


def _numbers_differ(expected: Any, got: Any, tolerance: int | float | None) -> str | None:
    if not isinstance(got, numbers.Number):
        return f"it is {_a(got)}, not a number"
    if isinstance(expected, numbers.Integral):
        if not isinstance(got, numbers.Integral):
            return f"it is {_a(got)}, not an integer"
        return None if expected == got else NUMBER
    if isinstance(got, complex) or (isinstance(expected, float) and math.isnan(expected) != math.isnan(got)):
        return NUMBER
    relative, absolute = _tolerance(expected, got, tolerance)
    same = math.isclose(expected, got, rel_tol=relative, abs_tol=absolute) or expected != expected
    return None if same else NUMBER


def _plain_differs(expected: Any, got: Any, tolerance: int | float | None) -> str | None:
    """Plain Python is expected, and a tensor or array came: its values count, within the rounding of its dtype."""
    if isinstance(expected, (list, tuple, numbers.Number)) and not isinstance(expected, bool):
        values = got.detach().cpu().tolist() if is_tensor(got) else got.tolist()
        relative = _tolerance(expected, got, tolerance)[0]
        return difference(expected, values, relative if _dtype(got) in _TOLERANCE else tolerance)
    return f"it is {_a(got)}, not {_wanted(expected)}"


def _sequences_differ(expected: Any, got: Any, tolerance: int | float | None) -> str | None:
    if len(expected) != len(got):
        return f"it has length {len(got)}, not {len(expected)}"
    for position, (wanted, there) in enumerate(zip(expected, got, strict=True)):
        if (found := difference(wanted, there, tolerance)) is not None:
            return _inside(f"at position {position}", found, wanted, there)
    return None


def _mappings_differ(expected: Mapping, got: Mapping, tolerance: int | float | None) -> str | None:
    for key in expected:
        if key not in got:
            return f"{shown(key)} is missing"
        if (found := difference(expected[key], got[key], tolerance)) is not None:
            return _inside(f"at {shown(key)}", found, expected[key], got[key])
    extra = next((key for key in got if key not in expected), None)
    return None if len(got) == len(expected) else f"{shown(extra)} should not be in it"


def _tensors_differ(expected: Any, got: Any, tolerance: int | float | None) -> str | None:
    torch = sys.modules["torch"]
    if not is_tensor(got):
        if not (is_array(got) or isinstance(got, (list, tuple, numbers.Number))):
            return f"it is {_a(got)}, not a tensor"
        try:
            got = torch.as_tensor(got)
        except (TypeError, ValueError, RuntimeError):
            return f"it is {_a(got)}, not a tensor"
    got, expected = got.detach().cpu(), expected.detach().cpu()
    if got.shape != expected.shape:
        return f"its shape is {list(got.shape)}, not {list(expected.shape)}"
    if got.is_complex() or got.layout != torch.strided:
        return "its values are not plain numbers"
    relative, absolute = _tolerance(expected, got, tolerance)
    if not expected.is_floating_point():
        relative = absolute = 0.0
    same = torch.isclose(got.double(), expected.double(), rtol=relative, atol=absolute, equal_nan=True)
    if same.all():
        return None
    if not same.dim():
        return NUMBER
    first = tuple((~same).nonzero()[0].tolist())
    many = f"{int((~same).sum())} of {same.numel()} values differ, the first at {list(first)}"
    return _inside(many, NUMBER, expected[first].item(), got[first].item())


# ---- Showing a value -------------------------------------------------------------------------------------------------

_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = 14
_SHORT.maxstring = _SHORT.maxother = 90
_SHORT.maxlong = 40
_SHORT.maxlevel = 4


def shown(value: Any, most: int = 240) -> str:
    """A value in one line, whatever it is; of a tensor, its shape and dtype as well.

    >>> shown("a" * 1000)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'"
    >>> shown([0.1 + 0.2, 1])
    '[0.3, 1]'
    """
    try:
        text = " ".join(_text(value).split("\n"))
    except Exception as error:  # a `__repr__` of the reader may fail as well
        text = f"<{type(value).__name__}, which cannot be shown: {type(error).__name__}>"
    return text if len(text) <= most else text[: most - 1] + "…"


def _text(value: Any) -> str:
    if is_tensor(value) or (is_array(value) and value.shape):
        dtype, shape = _dtype(value), list(value.shape)
        size = math.prod(shape)
        if size == 1 and not shape:
            return f"{_text(value.item())} (a tensor, {dtype})"
        values = value.detach().cpu() if is_tensor(value) else value
        some = values if size <= 24 else values.reshape(-1)[:8]
        return f"{_text(some.tolist())}{' …' if size > 24 else ''} (shape {shape}, {dtype})"
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else str(value)
    if type(value) in (list, tuple) and any(isinstance(v, (float, list, tuple)) or is_tensor(v) for v in value[:14]):
        inside = ", ".join([_text(v) for v in value[:14]] + ["..."] * (len(value) > 14))
        comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{comma})"
    if isinstance(value, dict) and type(value).__repr__ is not object.__repr__:
        some = [f"{_text(key)}: {_text(value[key])}" for key, _ in zip(value, range(14), strict=False)]
        return "{" + ", ".join(some + ["..."] * (len(value) > 14)) + "}"
    return _SHORT.repr(value)
