"""Automatic differentiation in one class: a `Value` is a number that remembers how it was computed.

Each operation notes what it was given and its *local* derivatives. `backward()` then walks the graph from the result to
the inputs and multiplies: the chain rule, applied to whatever Python computed. PyTorch does the same with tensors.
`numerical_gradient` measures what calculus claims, by moving each number a little.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gptlab.entrances import Positive, checked

Number = int | float


class Value:
    """A number that knows what it was computed from, so that its derivatives can be found by walking back.

    Args:
        data: the number.
        parents: the values that it was computed from.
        slopes: for each parent, the local derivative: how fast this number grows when that parent grows.
        operation: what was done, for the picture of the graph.
        name: for the picture of the graph.

    Attributes:
        data: the number.
        grad: the derivative of the result with respect to this number, once the result's `backward()` was called.
        parents: the values that it was computed from.
        slopes: the local derivative with respect to each parent.
        operation: what was done.
        name: as given.

    >>> x, w = Value(3.0), Value(2.0)
    >>> y = (w * x + 1) ** 2
    >>> y.backward()
    >>> y.data, w.grad, x.grad
    (49.0, 42.0, 28.0)
    """

    def __init__(
        self,
        data: Number,
        parents: Sequence["Value"] = (),
        slopes: Sequence[Number] = (),
        operation: str = "",
        name: str = "",
    ):
        self.data, self.grad = data, 0.0
        self.parents, self.slopes = tuple(parents), tuple(slopes)
        self.operation, self.name = operation, name

    def __add__(self, other: "Value | Number") -> "Value":
        other = _value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0), "+")

    def __mul__(self, other: "Value | Number") -> "Value":
        other = _value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data), "×")

    def __pow__(self, power: Number) -> "Value":
        if not isinstance(power, Number):
            raise TypeError(f"the exponent is {type(power).__name__}, not a plain number: write (x.log() * y).exp()")
        return Value(self.data**power, (self,), (power * self.data ** (power - 1) if power else 0.0,), f"^{power}")

    def exp(self) -> "Value":
        """e to this power; its slope is itself."""
        y = math.exp(self.data)
        return Value(y, (self,), (y,), "exp")

    def log(self) -> "Value":
        """The natural logarithm."""
        return Value(math.log(self.data), (self,), (1 / self.data,), "log")

    def tanh(self) -> "Value":
        """The S-shaped curve from -1 to 1."""
        y = math.tanh(self.data)
        return Value(y, (self,), (1 - y**2,), "tanh")

    def relu(self) -> "Value":
        """The number itself above 0, else 0."""
        return Value(max(0.0, self.data), (self,), (float(self.data > 0),), "relu")

    def backward(self) -> None:
        """Add to the `grad` of each value behind this one the derivative of this number with respect to it.

        As in PyTorch, gradients of several calls add up, until `grad` is set to 0.
        """
        gradient = {id(self): 1.0}
        for node in reversed(self.graph()):  # a node's turn comes when everything computed from it has had its own
            node.grad += gradient[id(node)]
            for parent, slope in zip(node.parents, node.slopes, strict=True):
                gradient[id(parent)] = gradient.get(id(parent), 0.0) + slope * gradient[id(node)]

    def graph(self) -> list["Value"]:
        """Everything that this number was computed from, and itself at the end: parents always before their children.

        That is a topological order. It is found without recursion, which Python limits to a depth of about 1,000.
        """
        order: list[Value] = []
        seen, stack = set(), [(self, False)]
        while stack:
            node, parents_done = stack.pop()
            if parents_done:
                order.append(node)
            elif id(node) not in seen:
                seen.add(id(node))
                stack.append((node, True))
                stack.extend((parent, False) for parent in reversed(node.parents))
        return order

    # What follows is made of the operations above, so its derivatives come for free.

    def __neg__(self) -> "Value":
        return self * -1

    def __sub__(self, other: "Value | Number") -> "Value":
        return self + -_value(other)

    def __truediv__(self, other: "Value | Number") -> "Value":
        return self * _value(other) ** -1

    def __rsub__(self, other: Number) -> "Value":
        return -self + other

    def __rtruediv__(self, other: Number) -> "Value":
        return self**-1 * other

    __radd__, __rmul__ = __add__, __mul__

    def __repr__(self) -> str:
        called = f"{self.name}: " if self.name else ""
        return f"Value({called}{self.data:.4g}, grad {self.grad:.4g})"


def _value(number: Value | Number) -> Value:
    return number if isinstance(number, Value) else Value(number)


def named(**numbers: Number) -> Iterable[Value]:
    """One `Value` for each number, with its name for the picture of the graph.

    Args:
        numbers: what to call each, and what it is.

    >>> a, b = named(a=2, b=-3)
    >>> a * b
    Value(-6, grad 0)
    """
    return [Value(number, name=name) for name, number in numbers.items()]


# ── The same by measuring ────────────────────────────────────────────────────────────────────────────────────────────


@checked
def slope(f: Callable[[float], float], x: float | int, step: Positive = 1e-5) -> float:
    """The slope of a function at a point, measured: how much f changes per unit, over a small stretch around x.

    The stretch lies on both sides of x, so the error shrinks with the square of the step (the central difference).

    Args:
        f: from a number to a number.
        x: where.
        step: how far to go, to either side.

    >>> round(slope(lambda x: x**2, 3.0), 6)
    6.0
    """
    return (f(x + step) - f(x - step)) / (2 * step)


@checked
def numerical_gradient(
    f: Callable[[Tensor], Tensor], x: Float[Tensor, "*shape"], step: Positive = 1e-6
) -> Float[Tensor, "*shape"]:
    """The gradient of a number with respect to every entry of a tensor, measured: two calls of `f` for each entry.

    Far too slow for a model, and the judge of every backward pass: no calculus in it, so no mistake in calculus.

    Args:
        f: from a tensor like `x` to a tensor with one number.
        x: where; in float64, since float32 leaves only some three digits of so small a difference.
        step: how far to move each entry, to either side.

    Raises:
        ValueError: for an `x` that is not float64.

    >>> numerical_gradient(lambda x: (x**2).sum(), torch.tensor([1.0, -3.0], dtype=torch.float64)).round(decimals=4)
    tensor([ 2., -6.], dtype=torch.float64)
    """
    if x.dtype != torch.float64:
        raise ValueError(f"x is {x.dtype}: pass x.double(), or rounding swallows a difference as small as {step}")
    x = x.detach().clone(memory_format=torch.contiguous_format)
    gradient, entries = torch.zeros_like(x), x.view(-1)
    with torch.no_grad():
        for i, before in enumerate(entries.tolist()):
            entries[i] = before + step
            above = float(f(x))
            entries[i] = before - step
            gradient.view(-1)[i] = (above - float(f(x))) / (2 * step)
            entries[i] = before
    return gradient
