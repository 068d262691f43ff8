"""Tensors held against their annotations, for a message: which of two shapes, types or devices disagree."""

import types
import typing
from typing import Any

from gptlab.accepted import short


def tensor_hint(annotation: Any) -> Any:
    """The jaxtyping part of an annotation, alone or beside None; None where there is none."""
    parts = typing.get_args(annotation) if typing.get_origin(annotation) in (typing.Union, types.UnionType) else ()
    if any(part is not type(None) and not hasattr(part, "dim_str") for part in parts):
        return None  # a list would do as well
    return next((part for part in (annotation, *parts) if hasattr(part, "dim_str")), None)


def tensor_problem(
    name: str, value: Any, expected: Any, sizes: dict[str, tuple[Any, str]], alike: dict[str, dict[str, str]]
) -> str | None:
    """What is wrong with a tensor, in words; None if nothing is.

    Args:
        name: of the argument.
        value: what was given.
        expected: its annotation.
        sizes: for each letter its size, and who has it; those of this tensor are added.
        alike: for "device" and "dtype", what the others have; those of this tensor are added.
    """
    letters = expected.dim_str.split()
    shape_in_words = "[" + ", ".join(letter.lstrip("#") for letter in letters).replace("*", "…") + "]"
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        return f"{name} must be a tensor {shape_in_words}, and is {short(value)}: torch.tensor(…) makes one"
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
        middle, letter = tuple(shape[front : len(shape) - behind]), letters[front]
        known, who = sizes.setdefault(letter.replace("#", ""), (middle, name))
        if known != middle and "#" not in letter:
            return f"{name} begins with {list(middle)}, and {who} with {list(known)}: they must agree"
    for letter, size in pairs:
        broadcasts, letter = letter.startswith("#"), letter.lstrip("#")
        if letter.isdigit():
            if size != int(letter):
                return f"{name} has the shape {shape} and must be {shape_in_words}"
            continue
        known, who = sizes.setdefault(letter, (size, name))
        if size != known and not (broadcasts and 1 in (size, known)):
            return f"{name} has {letter}={size}, and {who} has {letter}={known}: they must agree"
    return unlike("device", name, str(getattr(value, "device", "cpu")), alike) or (
        unlike("dtype", name, str(value.dtype), alike) if dtype.startswith(("float", "bfloat")) else None
    )


def unlike(what: str, name: str, value: str, alike: dict[str, dict[str, str]]) -> str | None:
    """A device or a float type that is another than that of the tensors before, in words; None if it is the same.

    Args:
        what: "device" or "dtype".
        name: of the argument, or of the model.
        value: its device or dtype.
        alike: as for `tensor_problem`.
    """
    other, held = next(((who, held) for who, held in alike[what].items() if held != value), ("", ""))
    alike[what][name] = value
    if not other:
        return None
    if what == "device":
        return f"{name} is on {value} and {other} on {held}: move one with .to({held!r})"
    return f"{name} holds {value.removeprefix('torch.')} and {other} {held.removeprefix('torch.')}: use .to({held})"


def unfit(given: dict[str, Any], error: Exception) -> str | None:
    """What to say of tensors that each are as annotated, where PyTorch could not join them; None for another error.

    Args:
        given: the arguments of the call.
        error: what PyTorch raised.
    """
    tensors = {name: value for name, value in given.items() if hasattr(value, "dtype") and hasattr(value, "shape")}
    if empty := next((name for name, value in tensors.items() if str(getattr(value, "device", "")) == "meta"), ""):
        return f"{empty} is on the device meta, which has shapes and no numbers: make it on 'cpu' or a GPU"
    if not tensors or type(error) is not RuntimeError or not any(word in str(error) for word in ("size", "shape")):
        return None
    shapes = " and ".join(f"{name} {list(value.shape)}" for name, value in tensors.items())
    numbers = "".join(f", {name}={value}" for name, value in given.items() if type(value) is int)
    return f"{shapes}{numbers} do not fit together: {str(error).splitlines()[0]}"


def _fits(dtype: str, kind: Any) -> bool:
    return dtype == kind if isinstance(kind, str) else bool(kind.fullmatch(dtype))
