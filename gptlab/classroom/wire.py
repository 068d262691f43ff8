"""Values between the judge and a submission's process: plain data as JSON, and nothing that could run.

Pickle would do in one line, and would let a submission run code in the judge. Here a reply is read as numbers, texts,
lists and tensors, and whatever else an answer returns arrives as a stand-in that knows the name of its type only.

>>> decode(encode((1, [2.5, "a"], {"b": {3}})))
(1, [2.5, 'a'], {'b': {3}})
>>> decode(encode(object()))
<object ...>
"""

import base64
import builtins
import math
from collections.abc import Iterator, Mapping, Set
from functools import lru_cache
from typing import Any

from gptlab.exercises.schema import Failed
from gptlab.exercises.values import is_array, is_tensor, shown

LARGEST = 8 << 20  # bytes of a message, and of a tensor; the results of an exercise are small
_MOST = 200_000  # values in one message
_DEEPEST = 60  # lists in lists
_DTYPES = (
    "float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64",
)  # fmt: skip
_CONSTANTS = {"...": ..., "NotImplemented": NotImplemented}


class WireError(Exception):
    """A message that is too large, damaged, or not what this module writes."""


class Unsendable(Exception):
    """A value that only a stand-in could represent."""


class StandIn:
    """In place of an object whose data don't travel; equal to itself only."""

    text = ""

    def __repr__(self) -> str:
        return self.text


# ---- Writing ---------------------------------------------------------------------------------------------------------


def encode(value: Any, strict: bool = False) -> Any:
    """A value as JSON can write it.

    Args:
        value: anything.
        strict: refuse what would arrive as a stand-in.

    Raises:
        Unsendable: with `strict`, for such a value.
        WireError: it has too many parts.
    """
    return _Encoder(strict).encode(value, 0)


class _Encoder:
    def __init__(self, strict: bool):
        self.strict, self.count = strict, 0

    def encode(self, value: Any, depth: int) -> Any:
        self.count += 1
        if self.count > _MOST:
            raise WireError(f"it has more than {_MOST:,} parts")
        if value is None or type(value) in (bool, str):
            return value
        if is_tensor(value) or is_array(value):
            return self._array(value)
        if isinstance(value, int):
            return int(value) if abs(value) < 2**53 else {"t": "int", "v": hex(value)}
        if isinstance(value, float):
            return float(value)
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, (bytes, bytearray)):
            return {"t": type(value).__name__, "v": base64.b64encode(bytes(value)).decode()}
        for name, constant in _CONSTANTS.items():
            if value is constant:
                return {"t": "constant", "v": name}
        if depth >= _DEEPEST:
            return self._stand_in(value)
        if isinstance(value, Failed):
            return {"t": "failed", "n": type(value.error).__name__[:80], "v": str(value.error)[:400]}
        return self._container(value, depth + 1)

    def _container(self, value: Any, depth: int) -> Any:
        if isinstance(value, list):
            return [self.encode(one, depth) for one in value]
        if isinstance(value, (tuple, range)):
            return {"t": "tuple", "v": [self.encode(one, depth) for one in value]}
        if isinstance(value, Mapping) and isinstance(value, dict):
            return {"t": "dict", "v": [[self.encode(k, depth), self.encode(v, depth)] for k, v in value.items()]}
        if isinstance(value, Set):
            name = "frozenset" if isinstance(value, frozenset) else "set"
            return {"t": name, "v": [self.encode(one, depth) for one in value]}
        return self._stand_in(value)

    def _stand_in(self, value: Any) -> dict[str, Any]:
        if self.strict:
            raise Unsendable(type(value).__name__)
        kind = "iterator" if isinstance(value, Iterator) else "object"
        return {"t": kind, "n": type(value).__name__[:80], "v": shown(value)}

    def _array(self, value: Any) -> dict[str, Any]:
        dtype = str(value.dtype).removeprefix("torch.")
        whole = math.prod(value.shape)
        if dtype not in _DTYPES or whole * 8 > LARGEST or (is_tensor(value) and value.layout != _torch().strided):
            return self._stand_in(value)
        found = {"t": "tensor", "n": dtype, "shape": list(value.shape)}
        if is_tensor(value):
            flat = value.detach().cpu().contiguous().reshape(-1)
            data = flat.view(_torch().uint8).numpy().tobytes()
            found["gradient"] = bool(value.requires_grad)
        else:
            found["t"], data = "array", value.tobytes()
        return found | {"v": base64.b64encode(data).decode()}


def _torch() -> Any:
    import torch

    return torch


# ---- Reading ---------------------------------------------------------------------------------------------------------


def decode(message: Any) -> Any:
    """The value that `encode` was given, or its stand-in.

    Raises:
        WireError: nothing that `encode` writes.
    """
    try:
        return _decode(message)
    except (KeyError, TypeError, ValueError, IndexError, RecursionError, AttributeError, RuntimeError) as error:
        raise WireError(f"not a value: {type(error).__name__}") from None


def _decode(message: Any) -> Any:
    if message is None or isinstance(message, (bool, int, float, str)):
        return message
    if isinstance(message, list):
        return [_decode(one) for one in message]
    kind, value = message["t"], message.get("v")
    if kind in _PLAIN:
        return _PLAIN[kind](_decode(one) for one in value)
    if kind == "dict":
        return {_decode(key): _decode(one) for key, one in value}
    if kind in ("bytes", "bytearray"):
        return {"bytes": bytes, "bytearray": bytearray}[kind](base64.b64decode(value))
    if kind == "int":
        return int(value, 16)
    if kind == "constant":
        return _CONSTANTS[value]
    if kind == "failed":
        return Failed(exception(_name(message), str(value)[:400]))
    if kind in ("tensor", "array"):
        return _decode_array(kind, message)
    if kind == "iterator":
        return (nothing for nothing in ())
    if kind == "object":
        found = _stand_in_for(_name(message))()
        found.text = str(value)[:400]
        return found
    raise WireError(f"not a value: {str(kind)[:20]}")


_PLAIN = {"tuple": tuple, "set": set, "frozenset": frozenset}


def exception(kind: str, text: str) -> Exception:
    """An exception of another process: of Python's own class if it has that name, so that it can be caught as such.

    Args:
        kind: the name of its class.
        text: its message.
    """
    return _exception_class(kind if kind.isidentifier() else "Error")(text)


@lru_cache(maxsize=256)
def _exception_class(kind: str) -> type[Exception]:
    known = getattr(builtins, kind, None)
    own = isinstance(known, type) and issubclass(known, Exception) and not issubclass(known, UnicodeError)
    return known if own else type(kind, (Exception,), {})


@lru_cache(maxsize=256)
def _stand_in_for(kind: str) -> type[StandIn]:
    return type(kind, (StandIn,), {})


def _name(message: dict[str, Any]) -> str:
    name = str(message["n"])[:80]
    return name if name.isidentifier() else "object"


def _decode_array(kind: str, message: dict[str, Any]) -> Any:
    torch = _torch()
    if message["n"] not in _DTYPES:
        raise WireError("not a dtype that travels")
    shape = [int(size) for size in message["shape"]]
    data = bytearray(base64.b64decode(message["v"]))
    dtype = getattr(torch, message["n"])
    if any(size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != len(data):
        raise WireError("a tensor whose shape does not fit its data")
    flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
    found = flat.reshape(shape)
    if kind == "array":
        array = found.numpy()
        return array if shape else array[()]
    return found.requires_grad_(True) if message.get("gradient") and found.is_floating_point() else found
