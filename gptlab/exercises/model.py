"""Exercises on the model: layer norm, the residual stream, the MLP, what they cost, and how they are initialised."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question


def _generator(rng: random.Random) -> torch.Generator:
    return torch.Generator().manual_seed(rng.randrange(2**31))


def _normal(rng: random.Random, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=_generator(rng))


@dataclass(frozen=True)
class _Step:
    """A function that says what it does, so that a pencil can follow the input on a card."""

    text: str
    function: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)

    def __repr__(self) -> str:
        return f"<{self.text}>"


# ---- model.1 ---------------------------------------------------------------------------------------------------------


def norm_each_position(x, gain, bias, eps):
    mean = x.mean(dim=-1, keepdim=True)  # [B, T, 1]
    variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)  # [B, T, 1]
    return (x - mean) / (variance + eps) ** 0.5 * gain + bias  # [B, T, C]


def _norm_inputs(rng):
    yield (
        torch.tensor([[[2.0, 4.0, 6.0, 8.0], [1.0, 1.0, 5.0, 5.0]]]),
        torch.tensor([1.0, 2.0, 1.0, 0.5]),
        torch.tensor([0.0, 0.0, 1.0, -1.0]),
        0.01,
    )
    yield torch.full((2, 3, 4), 5.0), _normal(rng, 4), _normal(rng, 4), 1e-5
    for B, T, C in ((2, 3, 5), (3, 5, 6), (2, 4, 7)):
        yield _normal(rng, B, T, C) * 3 + 1, _normal(rng, C), _normal(rng, C), 0.05


def _norm_over(*dims: int) -> Callable:
    def wrong(x, gain, bias, eps):
        mean = x.mean(dim=dims, keepdim=True)
        variance = ((x - mean) ** 2).mean(dim=dims, keepdim=True)
        return (x - mean) / (variance + eps) ** 0.5 * gain + bias

    return wrong


def _centred(divisor: Callable) -> Callable:
    """Distances from the mean over `divisor(variance, eps)`, times the gain, plus the bias."""

    def wrong(x, gain, bias, eps):
        mean = x.mean(dim=-1, keepdim=True)
        return (x - mean) / divisor(((x - mean) ** 2).mean(dim=-1, keepdim=True), eps) * gain + bias

    return wrong


def _then(combine: Callable) -> Callable:
    """Normalised as it should be, then `combine(result, gain, bias)`."""
    return lambda x, gain, bias, eps: combine(F.layer_norm(x, x.shape[-1:], None, None, eps), gain, bias)


_NORM = Exercise(
    id="model.1",
    title="Layer norm by hand",
    kind="core",
    minutes=10,
    difficulty=1,
    prompt="Normalise each position to mean 0 and variance 1 over its own channels, then multiply each channel by its "
    "gain and add its bias. `eps` is added to the variance, under the root. The variance is the mean of the squared "
    "distances from the mean (divided by C, not by C − 1).\n\nShapes: `x` is a float tensor [B, T, C], `gain` and "
    "`bias` are [C], `eps` is a positive `float`. Result: a float tensor [B, T, C].",
    signature='def norm_each_position(x: Float[Tensor, "B T C"], gain: Float[Tensor, " C"], bias: Float[Tensor, " C"], '
    'eps: float) -> Float[Tensor, "B T C"]',
    inputs=_norm_inputs,
    solution=norm_each_position,
    reference=lambda x, gain, bias, eps: F.layer_norm(x, x.shape[-1:], gain, bias, eps),
    mistakes=[
        Mistake(
            "the mean runs over time",
            _norm_over(1),
            "You normalise each channel over the positions, `dim=1`. Then position 0 depends on the ones after it, "
            "which is a leak. Each position is normalised on its own: `dim=-1`.",
        ),
        Mistake(
            "the mean runs over the batch",
            _norm_over(0),
            "You normalise over the sequences of the batch (batch norm is of this kind). The result for a text would "
            "then depend on the texts beside it. Each position is normalised on its own: `dim=-1`.",
        ),
        Mistake(
            "one mean for a whole sequence",
            _norm_over(1, 2),
            "One mean for all positions of a sequence lets the later ones move the earlier. `dim=-1` alone.",
        ),
        Mistake(
            "one mean for the whole batch",
            _norm_over(0, 1, 2),
            "`x.mean()` is a single number for everything. Each position has a mean of its own: `dim=-1`, "
            "`keepdim=True`.",
        ),
        Mistake(
            "the mean has lost its axis",
            lambda x, gain, bias, eps: x - x.mean(dim=-1),
            "Without `keepdim=True` the mean is [B, T], which does not line up with [B, T, C]. Keep it [B, T, 1].",
        ),
        Mistake(
            "the variance is divided by C - 1",
            lambda x, gain, bias, eps: (
                (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + eps) ** 0.5 * gain + bias
            ),
            "`x.var(dim=-1)` divides by C − 1 unless you say `correction=0`. Layer norm divides by C.",
        ),
        Mistake(
            "divided by the variance, not by its root",
            _centred(lambda variance, eps: variance + eps),
            "The root of the variance has the unit of x; the variance has its square. Take the root.",
        ),
        Mistake(
            "eps stands outside the root",
            _centred(lambda variance, eps: variance**0.5 + eps),
            "eps belongs under the root: (variance + eps) ** 0.5. With a small eps the forward pass hardly shows it, "
            "but weights trained with the one are off with the other.",
        ),
        Mistake(
            "eps stands outside the root, and the variance is divided by C - 1",
            lambda x, gain, bias, eps: (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + eps) * gain + bias,
            "`x.std(dim=-1)` is another root in two ways: it divides by C − 1, and eps comes too late, outside. "
            "Take the variance by hand, add eps, then the root.",
        ),
        Mistake(
            "eps is left out",
            _centred(lambda variance, eps: variance**0.5),
            "Where all channels are equal the variance is 0, and 0 / 0 is NaN. Add eps to the variance.",
        ),
        Mistake(
            "eps is left out, and the variance is divided by C - 1",
            lambda x, gain, bias, eps: (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True) * gain + bias,
            "`x.std(dim=-1)` divides by C − 1, and without eps equal channels give 0 / 0. Take the variance by hand, "
            "add eps, then the root.",
        ),
        Mistake(
            "eps is always 1e-5",
            lambda x, gain, bias, eps: F.layer_norm(x, x.shape[-1:], gain, bias),
            "`F.layer_norm` takes 1e-5 unless it is given `eps`. Use the argument.",
        ),
        Mistake(
            "gain and bias are left out",
            _then(lambda y, gain, bias: y),
            "The normalised values are right; multiply by the gain and add the bias, channel by channel.",
        ),
        Mistake(
            "the bias is left out",
            _then(lambda y, gain, bias: y * gain),
            "After the gain, add the bias, channel by channel.",
        ),
        Mistake(
            "the gain is left out",
            _then(lambda y, gain, bias: y + bias),
            "Multiply by the gain, channel by channel, before you add the bias.",
        ),
        Mistake(
            "gain and bias are swapped",
            _then(lambda y, gain, bias: y * bias + gain),
            "The gain multiplies, the bias is added.",
        ),
        Mistake(
            "the bias is added before the gain",
            _then(lambda y, gain, bias: (y + bias) * gain),
            "First times the gain, then plus the bias: the bias is not multiplied.",
        ),
        Mistake(
            "the mean is not subtracted",
            lambda x, gain, bias, eps: x / ((x**2).mean(-1, keepdim=True) + eps) ** 0.5 * gain + bias,
            "That is RMSNorm, which Llama uses (notebook `llama`). Layer norm subtracts the mean first.",
        ),
        Mistake(
            "the variance is right, but the mean is not subtracted",
            lambda x, gain, bias, eps: x / (x.var(-1, correction=0, keepdim=True) + eps) ** 0.5 * gain + bias,
            "The numerator is x minus its mean.",
        ),
        Mistake(
            "the variance is taken around 0",
            lambda x, gain, bias, eps: (
                (x - x.mean(-1, keepdim=True)) / ((x**2).mean(-1, keepdim=True) + eps) ** 0.5 * gain + bias
            ),
            "The variance is the mean of `(x - mean) ** 2`, not of `x ** 2`.",
        ),
    ],
    hints=[
        "Mean and variance are one number for each position: over the last axis, kept as an axis of size 1.",
        "`mean = x.mean(dim=-1, keepdim=True)`, and the variance is the mean of `(x - mean) ** 2`, over the same axis.",
        "`(x - mean) / (variance + eps) ** 0.5 * gain + bias`",
    ],
)

# ---- model.2 ---------------------------------------------------------------------------------------------------------


def pre_norm_block(x, attention, mlp, norm1, norm2):
    x = x + attention(norm1(x))  # [B, T, C]
    return x + mlp(norm2(x))  # [B, T, C]


def _parts(rng):
    """Four functions of [B, T, C] that do not commute; gentle ones, so that no result is lost in rounding."""
    a, b, c = (round(rng.uniform(0.4, 1.6), 2) for _ in range(3))
    return (
        _Step("sums up the past", lambda x: a * x.cumsum(dim=1) / 2),
        _Step("tanh, plus 0.3", lambda x: torch.tanh(b * x) + 0.3),
        _Step(
            "a layer norm",
            lambda x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 0.1) ** 0.5,
        ),
        _Step("another norm", lambda x: c * x / (1 + x.abs().mean(-1, keepdim=True))),
    )


def _block_inputs(rng):
    yield (
        torch.tensor([[[2.0, 4.0, 0.0], [-2.0, 6.0, 8.0]]]),
        _Step("adds 1", lambda x: x + 1),
        _Step("times 3", lambda x: 3 * x),
        _Step("halves", lambda x: x / 2),
        _Step("subtracts 5", lambda x: x - 5),
    )
    for B, T, C in ((1, 2, 3), (2, 3, 4), (3, 5, 6), (2, 4, 7)):
        yield _normal(rng, B, T, C) * 2, *_parts(rng)


def _normed_stream(x, attention, mlp, norm1, norm2):
    x = norm1(x)
    x = x + attention(x)
    x = norm2(x)
    return x + mlp(x)


def _in_place(x, attention, mlp, norm1, norm2):
    x += attention(norm1(x))
    x += mlp(norm2(x))
    return x


_BLOCK = Exercise(
    id="model.2",
    title="A pre-norm block",
    kind="warm-up",
    minutes=10,
    difficulty=1,
    prompt="Put a pre-norm block together, as in GPT-2: first attention, then the MLP. Each of the two reads a "
    "normalised copy of the residual stream, and its output is added to the stream, which itself is never normalised. "
    "All four parts are given as functions from [B, T, C] to [B, T, C].\n\nShapes: `x` is a float tensor [B, T, C]; "
    "`norm1` belongs to `attention`, `norm2` to `mlp`. Result: a new float tensor [B, T, C]; `x` itself stays as it "
    "is.",
    signature='def pre_norm_block(x: Float[Tensor, "B T C"], attention, mlp, norm1, norm2) -> Float[Tensor, "B T C"]',
    inputs=_block_inputs,
    solution=pre_norm_block,
    mistakes=[
        Mistake(
            "both residuals are forgotten",
            lambda x, attention, mlp, norm1, norm2: mlp(norm2(attention(norm1(x)))),
            "Each part replaces the stream. Add what it computes: `x = x + attention(norm1(x))`.",
        ),
        Mistake(
            "the second residual is forgotten",
            lambda x, attention, mlp, norm1, norm2: mlp(norm2(x + attention(norm1(x)))),
            "The MLP's output replaces the stream, and what attention found is lost. Add: `x + mlp(norm2(x))`.",
        ),
        Mistake(
            "the first residual is forgotten",
            lambda x, attention, mlp, norm1, norm2: (lambda y: y + mlp(norm2(y)))(attention(norm1(x))),
            "Attention's output replaces the stream. Add it: `x = x + attention(norm1(x))`.",
        ),
        Mistake(
            "one residual around both parts",
            lambda x, attention, mlp, norm1, norm2: x + mlp(norm2(attention(norm1(x)))),
            "The MLP reads attention's output alone. There are two residuals: add after attention, and again after "
            "the MLP.",
        ),
        Mistake(
            "the MLP's output is added to the old x",
            lambda x, attention, mlp, norm1, norm2: x + mlp(norm2(x + attention(norm1(x)))),
            "The MLP reads the right stream, but what attention added to it is lost in the result. Add to the *new* x.",
        ),
        Mistake(
            "the MLP reads attention's output, not the stream",
            lambda x, attention, mlp, norm1, norm2: (lambda a: x + a + mlp(norm2(a)))(attention(norm1(x))),
            "The MLP reads the stream, to which attention's output has been added: `x = x + a`, then `norm2(x)`.",
        ),
        Mistake(
            "the norm comes after the sum (post-norm)",
            lambda x, attention, mlp, norm1, norm2: (lambda y: norm2(y + mlp(y)))(norm1(x + attention(x))),
            "That is the block of the first Transformer and of BERT. Here the norm stands in front of each part: "
            "`x + attention(norm1(x))`.",
        ),
        Mistake(
            "what is added is normalised, not what is read",
            lambda x, attention, mlp, norm1, norm2: (lambda y: y + norm2(mlp(y)))(x + norm1(attention(x))),
            "The norm stands in front of each part, not behind it: `attention(norm1(x))`.",
        ),
        Mistake(
            "the stream itself is normalised",
            _normed_stream,
            "You write the normalised copy back into x, so the stream is rescaled at each part. Normalise inside the "
            "brackets: `x + attention(norm1(x))`.",
        ),
        Mistake(
            "the stream is normalised before attention",
            lambda x, attention, mlp, norm1, norm2: (lambda y: y + mlp(norm2(y)))(norm1(x) + attention(norm1(x))),
            "Attention's output is added to the normalised copy, and the stream itself is lost. Add it to x: "
            "`x + attention(norm1(x))`.",
        ),
        Mistake(
            "the stream is normalised before the MLP",
            lambda x, attention, mlp, norm1, norm2: (lambda y: y + mlp(y))(norm2(x + attention(norm1(x)))),
            "The MLP's output is added to the normalised copy, and the stream itself is lost. Add it to x: "
            "`x + mlp(norm2(x))`.",
        ),
        Mistake(
            "both parts read the same x",
            lambda x, attention, mlp, norm1, norm2: x + attention(norm1(x)) + mlp(norm2(x)),
            "The MLP should read what attention has added. (Such parallel blocks exist, GPT-J and PaLM have them, but "
            "GPT-2 does not.) Assign the first sum to x before the second line.",
        ),
        Mistake(
            "the norms are swapped",
            lambda x, attention, mlp, norm1, norm2: pre_norm_block(x, attention, mlp, norm2, norm1),
            "`norm1` belongs to attention, `norm2` to the MLP. Each has its own gain and bias.",
        ),
        Mistake(
            "the second part uses the first norm",
            lambda x, attention, mlp, norm1, norm2: pre_norm_block(x, attention, mlp, norm1, norm1),
            "`mlp` has a norm of its own, `norm2`, with its own gain and bias.",
        ),
        Mistake(
            "the second norm is forgotten",
            lambda x, attention, mlp, norm1, norm2: pre_norm_block(x, attention, mlp, norm1, lambda y: y),
            "The MLP reads the raw stream, whose numbers grow from layer to layer: `mlp(norm2(x))`.",
        ),
        Mistake(
            "the first norm is forgotten",
            lambda x, attention, mlp, norm1, norm2: pre_norm_block(x, attention, mlp, lambda y: y, norm2),
            "Attention reads the raw stream, whose numbers grow from layer to layer: `attention(norm1(x))`.",
        ),
        Mistake(
            "both norms are forgotten",
            lambda x, attention, mlp, norm1, norm2: pre_norm_block(x, attention, mlp, lambda y: y, lambda y: y),
            "Each part reads a normalised copy of the stream: `attention(norm1(x))`, `mlp(norm2(x))`.",
        ),
        Mistake(
            "the MLP comes before attention",
            lambda x, attention, mlp, norm1, norm2: pre_norm_block(x, mlp, attention, norm2, norm1),
            "The order is attention first, then the MLP.",
        ),
        Mistake(
            "x is changed in place",
            _in_place,
            "The result is right, but `x += …` writes into the caller's tensor (and can break the backward pass). "
            "`x = x + …` makes a new one.",
        ),
    ],
    hints=[
        "Two lines, and both have the form x plus something of x.",
        "`x = x + attention(norm1(x))` is the first.",
        "`return x + mlp(norm2(x))`: the x in it is the new one.",
    ],
    package="gptlab.model.Block",
)

# ---- model.3 ---------------------------------------------------------------------------------------------------------


def mlp(x, W1, b1, W2, b2):
    h = x @ W1 + b1  # [B, T, 4C]
    h = h * 0.5 * (1 + torch.erf(h / 2**0.5))  # [B, T, 4C]  GELU: h times the part of a normal below h
    return h @ W2 + b2  # [B, T, C]


def _mlp_inputs(rng):
    yield (
        torch.tensor([[[1.0, -1.0]]]),
        torch.tensor([[1.0, -2.0, 0.0], [-1.0, 0.0, 1.0]]),
        torch.tensor([0.0, 0.0, 1.0]),
        torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 3.0]]),
        torch.tensor([0.0, 1.0]),
    )
    for B, T, C in ((1, 2, 3), (2, 3, 4), (2, 5, 3), (3, 4, 5)):
        W = 3 * C + 1
        yield _normal(rng, B, T, C), _normal(rng, C, W), _normal(rng, W), _normal(rng, W, C) / 3, _normal(rng, C)


def _activated(activation: Callable) -> Callable:
    return lambda x, W1, b1, W2, b2: activation(x @ W1 + b1) @ W2 + b2


_MLP = Exercise(
    id="model.3",
    title="Up, GELU, down",
    kind="stretch",
    minutes=15,
    difficulty=2,
    prompt="Compute the MLP of a block, which works on each position by itself: an up-projection, the activation "
    "function GELU, a down-projection. GELU of h is h times Φ(h), the fraction of a normal distribution that lies "
    "below h, which is (1 + erf(h / √2)) / 2. `torch.erf` is the error function. (`F.gelu` does it too; by hand you "
    "know it.)\n\nShapes: `x` is [B, T, C], `W1` [C, W], `b1` [W], `W2` [W, C], `b2` [C], all float tensors, to be "
    "used as `x @ W1`. Result: a float tensor [B, T, C].",
    signature='def mlp(x: Float[Tensor, "B T C"], W1: Float[Tensor, "C W"], b1: Float[Tensor, " W"], '
    'W2: Float[Tensor, "W C"], b2: Float[Tensor, " C"]) -> Float[Tensor, "B T C"]',
    inputs=_mlp_inputs,
    solution=mlp,
    reference=lambda x, W1, b1, W2, b2: F.gelu(x @ W1 + b1) @ W2 + b2,
    mistakes=[
        Mistake(
            "the activation function is missing",
            _activated(lambda h: h),
            "Two matrices without an activation function between them are one matrix: the up-projection was for "
            "nothing.",
        ),
        Mistake("ReLU instead of GELU", _activated(torch.relu), "ReLU cuts at 0. GELU is smooth: h times Φ(h)."),
        Mistake(
            "Φ alone, without h",
            _activated(lambda h: 0.5 * (1 + torch.erf(h / 2**0.5))),
            "Φ(h) lies between 0 and 1. GELU is h times Φ(h).",
        ),
        Mistake(
            "h is not divided by √2",
            _activated(lambda h: h * 0.5 * (1 + torch.erf(h))),
            "Φ(h) = (1 + erf(h / √2)) / 2: the root of 2 belongs inside erf.",
        ),
        Mistake(
            "h is multiplied by √2",
            _activated(lambda h: h * 0.5 * (1 + torch.erf(h * 2**0.5))),
            "Φ(h) = (1 + erf(h / √2)) / 2: inside erf, divide by the root of 2.",
        ),
        Mistake(
            "√2 stands outside erf",
            _activated(lambda h: h * 0.5 * (1 + torch.erf(h) / 2**0.5)),
            "Φ(h) = (1 + erf(h / √2)) / 2: it is h that is divided by the root of 2, inside erf.",
        ),
        Mistake(
            "h is divided by 2",
            _activated(lambda h: h * 0.5 * (1 + torch.erf(h / 2))),
            "Inside erf h is divided by the *root* of 2.",
        ),
        Mistake(
            "the half is missing",
            _activated(lambda h: h * (1 + torch.erf(h / 2**0.5))),
            "1 + erf lies between 0 and 2. Φ(h) is half of it.",
        ),
        Mistake(
            "the 1 is missing",
            _activated(lambda h: h * 0.5 * torch.erf(h / 2**0.5)),
            "erf lies between -1 and 1. Φ(h) is (1 + erf(h / √2)) / 2, between 0 and 1.",
        ),
        Mistake(
            "tanh instead of GELU", _activated(torch.tanh), "tanh(h) stays between -1 and 1. GELU is h times Φ(h)."
        ),
        Mistake(
            "a sigmoid instead of GELU",
            _activated(torch.sigmoid),
            "A sigmoid stays between 0 and 1. GELU is h times Φ(h).",
        ),
        Mistake(
            "SiLU instead of GELU",
            _activated(F.silu),
            "h times the sigmoid of h is SiLU, which Llama uses (notebook `llama`). GELU has Φ instead of the sigmoid.",
        ),
        Mistake(
            "the approximation with a sigmoid",
            _activated(lambda h: h * torch.sigmoid(1.702 * h)),
            "h · sigmoid(1.702 h) is close to GELU, off in the second decimal. Here the exact one is asked for, with "
            "erf.",
        ),
        Mistake(
            "the approximation with tanh",
            _activated(lambda h: F.gelu(h, approximate="tanh")),
            "That is GPT-2's own GELU, off in the fourth decimal. Here the exact one is asked for, with erf.",
        ),
        Mistake(
            "the biases are left out",
            lambda x, W1, b1, W2, b2: F.gelu(x @ W1) @ W2,
            "Both matrices have a bias to add, [W] and [C].",
        ),
        Mistake(
            "the first bias is left out",
            lambda x, W1, b1, W2, b2: F.gelu(x @ W1) @ W2 + b2,
            "Add `b1` before the activation function.",
        ),
        Mistake(
            "the second bias is left out",
            lambda x, W1, b1, W2, b2: F.gelu(x @ W1 + b1) @ W2,
            "Add `b2` at the end.",
        ),
        Mistake(
            "the first bias comes after GELU",
            lambda x, W1, b1, W2, b2: (F.gelu(x @ W1) + b1) @ W2 + b2,
            "The bias belongs to the up-projection: add it before the activation function.",
        ),
        Mistake(
            "GELU on the result as well",
            lambda x, W1, b1, W2, b2: F.gelu(F.gelu(x @ W1 + b1) @ W2 + b2),
            "Nothing comes after the down-projection. With a GELU there, hardly a negative number could be added to "
            "the stream.",
        ),
        Mistake(
            "GELU on the result only",
            lambda x, W1, b1, W2, b2: F.gelu((x @ W1 + b1) @ W2 + b2),
            "The activation function stands between the two matrices, on the W channels.",
        ),
        Mistake(
            "GELU on the input",
            lambda x, W1, b1, W2, b2: (F.gelu(x) @ W1 + b1) @ W2 + b2,
            "The activation function stands between the two matrices, on the W channels.",
        ),
        Mistake(
            "the input is added",
            lambda x, W1, b1, W2, b2: x + F.gelu(x @ W1 + b1) @ W2 + b2,
            "The block adds x, not the MLP. Done in both places, x would count twice.",
        ),
        Mistake(
            "the matrices are applied as `nn.Linear` does",
            lambda x, W1, b1, W2, b2: x @ W1.T,
            "`nn.Linear` stores [out, in] and transposes it. Here `W1` is [C, W]: `x @ W1`.",
        ),
        Mistake(
            "the matrices are applied by `F.linear`",
            lambda x, W1, b1, W2, b2: F.linear(x, W1, b1),
            "`F.linear` wants [out, in] and transposes it. Here `W1` is [C, W]: `x @ W1 + b1`.",
        ),
    ],
    hints=[
        "Three lines: up to W channels, GELU of each number, down to C channels.",
        "`h = x @ W1 + b1`, and then `h * Φ(h)`.",
        "`h = h * 0.5 * (1 + torch.erf(h / 2**0.5))`",
    ],
    package="gptlab.model.MLP",
)

# ---- model.4 ---------------------------------------------------------------------------------------------------------


def count_parameters(V, T, L, C):
    attention = 4 * (C * C + C)  # query, key, value, output: a matrix and a bias each
    mlp = C * 4 * C + 4 * C + 4 * C * C + C  # up and down
    norms = 2 * 2 * C  # two in a block, each with a gain and a bias
    return V * C + T * C + L * (attention + mlp + norms) + 2 * C


def _size_inputs(rng):
    yield from [(10, 5, 1, 2), (50, 8, 2, 12), (50257, 1024, 12, 768), (11, 7, 3, 4)]
    for _ in range(3):
        yield rng.randint(20, 900), rng.randint(5, 300), rng.randint(2, 9), 4 * rng.randint(2, 40)


def _off_by(extra: Callable) -> Callable:
    return lambda V, T, L, C: count_parameters(V, T, L, C) + extra(V, T, L, C)


_COUNT = Exercise(
    id="model.4",
    title="How many parameters?",
    kind="stretch",
    minutes=15,
    difficulty=2,
    prompt="Work out a formula for the number of parameters of a GPT-2. It has a table of V tokens and one of T "
    "positions, with C channels each; L blocks, each with attention (four matrices C × C with bias), an MLP (C to 4 C "
    "and back, with bias) and two layer norms (gain and bias); one more layer norm at the end; and a head that is tied "
    "to the table of tokens.\n\nInput: `V`, `T`, `L`, `C`, each an `int` of at least 1. Result: an `int`.",
    signature="def count_parameters(V: int, T: int, L: int, C: int) -> int",
    inputs=_size_inputs,
    solution=count_parameters,
    mistakes=[
        Mistake(
            "the tied head is counted a second time",
            _off_by(lambda V, T, L, C: V * C),
            "The head is the table of tokens, the same parameters. They are counted once.",
        ),
        Mistake(
            "the head is counted a second time, with a bias",
            _off_by(lambda V, T, L, C: V * C + V),
            "The head is the table of tokens, the same parameters, and has no bias. They are counted once.",
        ),
        Mistake(
            "the norm at the end is forgotten",
            _off_by(lambda V, T, L, C: -2 * C),
            "You are 2 C short: one more layer norm stands between the last block and the head.",
        ),
        Mistake(
            "the norm at the end has no bias",
            _off_by(lambda V, T, L, C: -C),
            "You are C short: the layer norm at the end has a gain and a bias, like the others.",
        ),
        Mistake(
            "the norms have no bias",
            _off_by(lambda V, T, L, C: -(2 * L + 1) * C),
            "A layer norm has two parameters per channel, gain and bias.",
        ),
        Mistake(
            "the norms are forgotten",
            _off_by(lambda V, T, L, C: -(4 * L + 2) * C),
            "There are 2 L + 1 layer norms, each with a gain and a bias per channel: 2 C each.",
        ),
        Mistake(
            "one norm in a block",
            _off_by(lambda V, T, L, C: -2 * L * C),
            "A block has two layer norms, one before attention and one before the MLP, 2 C each.",
        ),
        Mistake(
            "a block is 4 C short",
            _off_by(lambda V, T, L, C: -4 * L * C),
            "Either the biases of the four matrices of attention are missing, C each, or the two layer norms, 2 C "
            "each.",
        ),
        Mistake(
            "the positions are forgotten",
            _off_by(lambda V, T, L, C: -T * C),
            "You are T C short: GPT-2 has a table of learned positions.",
        ),
        Mistake(
            "the matrices have no bias",
            _off_by(lambda V, T, L, C: -L * 9 * C),
            "Each of the six matrices of a block has a bias, as long as its output: 4 C in attention, 5 C in the MLP.",
        ),
        Mistake(
            "the MLP has no bias",
            _off_by(lambda V, T, L, C: -L * 5 * C),
            "The MLP's two matrices have biases as long as their outputs: 4 C and C.",
        ),
        Mistake(
            "both biases of the MLP have C numbers",
            _off_by(lambda V, T, L, C: -L * 3 * C),
            "A bias is as long as the output of its matrix: the up-projection's has 4 C.",
        ),
        Mistake(
            "nothing has a bias",
            _off_by(lambda V, T, L, C: -L * 9 * C - (2 * L + 1) * C),
            "The six matrices of a block have biases, 9 C together, and so has each layer norm, C.",
        ),
        Mistake(
            "only the matrices of a block are counted, and no norm at the end",
            _off_by(lambda V, T, L, C: -L * 13 * C - 2 * C),
            "12 C² is right for the matrices of a block. Their biases and the layer norms are still missing.",
        ),
        Mistake(
            "only the matrices of a block are counted",
            _off_by(lambda V, T, L, C: -L * 13 * C),
            "12 C² is right for the matrices of a block. Their biases, 9 C, and its layer norms, 4 C, are still "
            "missing.",
        ),
        Mistake(
            "the output projection of attention is forgotten",
            _off_by(lambda V, T, L, C: -L * (C * C + C)),
            "Attention has four matrices: query, key, value, and the one that mixes what the heads found.",
        ),
        Mistake(
            "the MLP has one matrix",
            _off_by(lambda V, T, L, C: -L * (4 * C * C + C)),
            "The MLP goes up to 4 C and back down to C: two matrices of 4 C² each, and two biases.",
        ),
        Mistake(
            "the MLP is C wide",
            _off_by(lambda V, T, L, C: -L * (6 * C * C + 3 * C)),
            "Inside, the MLP is 4 C wide: C · 4 C + 4 C on the way up, 4 C · C + C on the way down.",
        ),
        Mistake(
            "only one block is counted",
            _off_by(lambda V, T, L, C: -(L - 1) * (12 * C * C + 13 * C)),
            "Each of the L blocks has its own parameters: multiply by L.",
        ),
    ],
    hints=[
        "Go through the model from the bottom up: two tables, L times a block, one norm. The head is a table again.",
        "A matrix from a to b channels with bias has a·b + b parameters. The MLP is 4 C wide.",
        "A block has 12 C² + 13 C. Around the blocks there are V C + T C + 2 C.",
    ],
    package="gptlab.gpu.count_parameters",
)

# ---- model.5 ---------------------------------------------------------------------------------------------------------


def first_deviation(name, L):
    if name.endswith("bias") or "norm" in name:
        return None
    if name.endswith(("output.weight", "down.weight")):
        return 0.02 / (2 * L) ** 0.5  # L blocks add to the stream twice each
    return 0.02


_NAMES = (
    "blocks.0.attention.output.weight", "embedding.token.weight", "blocks.1.mlp.down.weight",
    "blocks.0.attention.query.weight", "blocks.2.mlp.up.weight", "embedding.position.weight",
    "blocks.1.mlp.down.bias", "blocks.3.norm1.weight", "norm.weight", "blocks.4.norm2.bias",
    "blocks.2.attention.key.bias", "blocks.1.attention.output.bias",
)  # fmt: skip


def _name_inputs(rng):
    for name in _NAMES:
        yield name, 8
    for _ in range(5):
        yield rng.choice(_NAMES[:6]), rng.randint(3, 48)
    yield _NAMES[0], 12


def _deviation(
    output: Callable = lambda L: 0.02 / (2 * L) ** 0.5,
    other: Callable = lambda name, L: 0.02,
    none: Callable = lambda name: None,
) -> Callable:
    """The three cases, one of them replaced."""

    def wrong(name, L):
        if name.endswith("bias") or "norm" in name:
            return none(name)
        return output(L) if name.endswith(("output.weight", "down.weight")) else other(name, L)

    return wrong


_INIT = Exercise(
    id="model.5",
    title="Initialisation by name",
    kind="warm-up",
    minutes=10,
    difficulty=2,
    prompt="From the name of a parameter, say with which standard deviation it is initialised, as this course, nanoGPT "
    "and Hugging Face's GPT-2 do it. (OpenAI's own code gives the positions 0.01.) Matrices and tables: 0.02. The "
    "two matrices of a block whose output is added to the residual stream are called `….attention.output.weight` and "
    "`….mlp.down.weight`; for them 0.02 is divided by the root of the number of such matrices in the whole model. "
    'Biases and norms do not begin at random: `None`.\n\nInput: `name`, a `str` such as "blocks.3.mlp.up.weight"; `L`, '
    "an `int`, the number of blocks. Result: a `float` or `None`.",
    signature="def first_deviation(name: str, L: int) -> float | None",
    inputs=_name_inputs,
    solution=first_deviation,
    mistakes=[
        Mistake(
            "all matrices begin alike",
            _deviation(lambda L: 0.02),
            "What is added 2 L times makes the stream grow by the root of 2 L. The matrices that write into it begin "
            "smaller by that factor.",
        ),
        Mistake(
            "divided by the root of L",
            _deviation(lambda L: 0.02 / L**0.5),
            "Each block adds to the stream twice, after attention and after the MLP: 2 L in all.",
        ),
        Mistake(
            "divided by the root of 2",
            _deviation(lambda L: 0.02 / 2**0.5),
            "Two such matrices are in one block. The whole model has 2 L.",
        ),
        Mistake(
            "divided by 2 L, without the root",
            _deviation(lambda L: 0.02 / (2 * L)),
            "Independent numbers add up in their squares: a sum of n has √n times the deviation. Divide by the root.",
        ),
        Mistake(
            "multiplied by the root of 2 L",
            _deviation(lambda L: 0.02 * (2 * L) ** 0.5),
            "Many additions make the stream larger, so each should begin *smaller*: divide.",
        ),
        Mistake(
            "the 0.02 is missing",
            _deviation(lambda L: 1 / (2 * L) ** 0.5),
            "It is 0.02 that is divided by the root of 2 L.",
        ),
        Mistake(
            "only the MLP's down-projection is made smaller",
            lambda name, L: 0.02 if name.endswith("output.weight") else first_deviation(name, L),
            "Attention writes into the stream as well, through its own `output.weight`.",
        ),
        Mistake(
            "only attention's output is made smaller",
            lambda name, L: 0.02 if name.endswith("down.weight") else first_deviation(name, L),
            "The MLP writes into the stream as well, through its `down.weight`.",
        ),
        Mistake(
            "all matrices of the blocks are made smaller",
            _deviation(other=lambda name, L: 0.02 / (2 * L) ** 0.5 if name.startswith("blocks") else 0.02),
            "Queries, keys, values and the up-projection do not write into the stream. They keep 0.02.",
        ),
        Mistake(
            "everything is made smaller",
            _deviation(other=lambda name, L: 0.02 / (2 * L) ** 0.5),
            "Only the matrices that write into the stream are: `….output.weight` and `….down.weight`.",
        ),
        Mistake(
            "positions begin at 0.01",
            _deviation(other=lambda name, L: 0.01 if "position" in name else 0.02),
            "OpenAI's code does this; the convention asked for here gives all tables 0.02.",
        ),
        Mistake(
            "tables do not begin at random",
            _deviation(other=lambda name, L: None if "embedding" in name else 0.02),
            "The tables of tokens and positions begin like the matrices, with 0.02.",
        ),
        Mistake(
            "biases and norms begin at random too",
            _deviation(none=lambda name: 0.02),
            "Biases begin at 0 and gains at 1. Nothing about them is random: None.",
        ),
        Mistake(
            "norms begin at random too",
            _deviation(none=lambda name: None if name.endswith("bias") else 0.02),
            "The gain of a norm is called `weight`, but it begins at 1, and not at random: None.",
        ),
        Mistake(
            "biases begin at random too",
            _deviation(none=lambda name: None if "norm" in name else 0.02),
            "Biases begin at 0. Nothing about them is random: None.",
        ),
        Mistake(
            "biases of the output matrices begin at random",
            lambda name, L: (
                0.02 / (2 * L) ** 0.5 if "attention.output" in name or "mlp.down" in name else first_deviation(name, L)
            ),
            "`….output.bias` and `….down.bias` are biases, and begin at 0. Ask for biases first, or for the whole "
            "`output.weight`.",
        ),
        Mistake(
            "0 in place of None",
            _deviation(none=lambda name: 0.0),
            "A deviation of 0 would set the gains of the norms to 0. They do not begin at random at all: None.",
        ),
    ],
    hints=[
        "Three cases: not random at all, writes into the stream, all the rest.",
        "`name.endswith(('output.weight', 'down.weight'))` finds the matrices that write into the stream. How many are "
        "there in L blocks?",
        "`0.02 / (2 * L) ** 0.5` for those, `None` for names with `norm` in them or `bias` at their end, else 0.02.",
    ],
    package="gptlab.model.GPT._initialise",
)

# ---- model.6 ---------------------------------------------------------------------------------------------------------


def gpt_logits(ids, E, P, blocks, norm):
    x = E[ids] + P[: ids.shape[1]]  # [B, T, C]
    for block in blocks:
        x = block(x)  # [B, T, C]
    return norm(x) @ E.T  # [B, T, C] @ [C, V] -> [B, T, V]


def _gpt_inputs(rng):
    yield (
        torch.tensor([[3, 1, 4]]),
        torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0], [2.0, -1.0], [0.0, 3.0]]),
        torch.tensor([[0.0, 1.0], [2.0, 0.0], [-1.0, 1.0], [1.0, 3.0]]),
        [_Step("adds 1", lambda x: x + 1), _Step("times 3", lambda x: 3 * x)],
        _Step("halves, plus 1", lambda x: x / 2 + 1),
    )
    for B, T, C, V, context, L in ((1, 2, 3, 5, 4, 2), (2, 3, 4, 7, 3, 2), (3, 5, 6, 9, 8, 3), (2, 4, 5, 6, 7, 4)):
        ids = torch.randint(V, (B, T), generator=_generator(rng))
        blocks = [_parts(rng)[k % 2] for k in range(L)]
        yield ids, _normal(rng, V, C), _normal(rng, context, C), blocks, _parts(rng)[2]


def _assembled(
    enter: Callable = lambda ids, E, P: E[ids] + P[: ids.shape[1]],
    through: Callable = lambda x, blocks, norm: _through(x, blocks),
    leave: Callable = lambda x, E, norm: norm(x) @ E.T,
) -> Callable:
    """The model, with its entrance, its blocks or its head replaced."""
    return lambda ids, E, P, blocks, norm: leave(through(enter(ids, E, P), blocks, norm), E, norm)


def _through(x, blocks):
    for block in blocks:
        x = block(x)
    return x


_FORWARD = Exercise(
    id="model.6",
    title="GPT from its parts",
    kind="core",
    minutes=15,
    difficulty=2,
    prompt="Put the whole model together: tokens plus positions, all blocks one after the other, the norm at the end, "
    "and the head, which is the table of tokens once more (tied weights). A block adds to its input already; do not "
    "add again.\n\nShapes: `ids` is an integer tensor [B, T]; `E` [V, C] and `P` [context, C] are float tensors, with "
    "context ≥ T; `blocks` is a list of at least one function and `norm` a function, all from [B, T, C] to [B, T, C]. "
    "Result: logits, a float tensor [B, T, V].",
    signature='def gpt_logits(ids: Int[Tensor, "B T"], E: Float[Tensor, "V C"], P: Float[Tensor, "context C"], '
    'blocks: list, norm) -> Float[Tensor, "B T V"]',
    inputs=_gpt_inputs,
    solution=gpt_logits,
    mistakes=[
        Mistake(
            "the norm at the end is forgotten",
            _assembled(leave=lambda x, E, norm: x @ E.T),
            "In a pre-norm model the stream has not been normalised when it arrives at the head. `norm(x) @ E.T`.",
        ),
        Mistake(
            "the positions are forgotten",
            _assembled(enter=lambda ids, E, P: E[ids]),
            "Add the first T rows of P to the rows of the tokens.",
        ),
        Mistake(
            "all of P is added",
            _assembled(enter=lambda ids, E, P: E[ids] + P),
            "P has a row for each position of the context, and the text may be shorter: `P[:T]`.",
        ),
        Mistake(
            "the last positions are taken, not the first",
            _assembled(enter=lambda ids, E, P: E[ids] + P[-ids.shape[1] :]),
            "The first token of a text stands at position 0: `P[:T]`.",
        ),
        Mistake(
            "the positions begin at 1",
            _assembled(enter=lambda ids, E, P: E[ids] + P[1 : ids.shape[1] + 1]),
            "The first token of a text stands at position 0: `P[:T]`.",
        ),
        Mistake(
            "the table of positions is looked up by ids",
            _assembled(enter=lambda ids, E, P: E[ids] + P[ids]),
            "P is indexed by where a token stands, not by which token it is: `P[:T]`, or `P[torch.arange(T)]`.",
        ),
        Mistake(
            "as many positions as sequences",
            _assembled(enter=lambda ids, E, P: E[ids] + P[: len(ids)]),
            "`len(ids)` is B. The length of the text is `ids.shape[1]`.",
        ),
        Mistake(
            "tokens are scaled by √C",
            _assembled(enter=lambda ids, E, P: E[ids] * E.shape[1] ** 0.5 + P[: ids.shape[1]]),
            "The first Transformer does this, GPT-2 does not: `E[ids] + P[:T]`.",
        ),
        Mistake(
            "the stream is normalised at the entrance as well",
            lambda ids, E, P, blocks, norm: norm(_through(norm(E[ids] + P[: ids.shape[1]]), blocks)) @ E.T,
            "Nothing is normalised at the entrance: `E[ids] + P[:T]` is all. The norm comes once, after the last "
            "block.",
        ),
        Mistake(
            "the norm stands before the blocks",
            lambda ids, E, P, blocks, norm: _through(norm(E[ids] + P[: ids.shape[1]]), blocks) @ E.T,
            "The norm comes after the last block, in front of the head.",
        ),
        Mistake(
            "each block reads the embedding",
            _assembled(through=lambda x, blocks, norm: blocks[-1](x)),
            "Only the last block counts in your model. Give each what the one before it has left: `x = block(x)`.",
        ),
        Mistake(
            "only the first block is used",
            _assembled(through=lambda x, blocks, norm: blocks[0](x)),
            "Go through all of them. (Is a `return` inside the loop?)",
        ),
        Mistake(
            "the blocks are left out",
            _assembled(through=lambda x, blocks, norm: x),
            "Between the entrance and the norm x goes through every block: `x = block(x)`.",
        ),
        Mistake(
            "the blocks come in the opposite order",
            _assembled(through=lambda x, blocks, norm: _through(x, blocks[::-1])),
            "The first block of the list comes first.",
        ),
        Mistake(
            "the outputs of all blocks are added up",
            _assembled(through=lambda x, blocks, norm: x + sum(block(x) for block in blocks)),
            "The blocks stand one behind the other, and each has its residual inside: `x = block(x)`.",
        ),
        Mistake(
            "the stream is added around each block",
            _assembled(through=lambda x, blocks, norm: _through(x, [lambda y, b=b: y + b(y) for b in blocks])),
            "A block has its residual inside. With `x + block(x)` the stream counts twice at every layer.",
        ),
        Mistake(
            "the norm comes before each block",
            _assembled(through=lambda x, blocks, norm: _through(x, [lambda y, b=b: b(norm(y)) for b in blocks])),
            "The norm at the end comes once, after the last block. Inside, the blocks have their own.",
        ),
        Mistake(
            "the norm comes after each block, and at the end",
            _assembled(through=lambda x, blocks, norm: _through(x, [lambda y, b=b: norm(b(y)) for b in blocks])),
            "The norm at the end comes once, after the last block. Inside, the blocks have their own.",
        ),
        Mistake(
            "the norm comes after each block",
            _assembled(
                through=lambda x, blocks, norm: _through(x, [lambda y, b=b: norm(b(y)) for b in blocks]),
                leave=lambda x, E, norm: x @ E.T,
            ),
            "The norm comes after the loop, not in it: once, after the last block. Inside, the blocks have their own.",
        ),
        Mistake(
            "the table is not transposed",
            _assembled(leave=lambda x, E, norm: norm(x) @ E),
            "E is [V, C]. To compare a vector of C channels with each of its rows, multiply by `E.T`, [C, V].",
        ),
        Mistake(
            "softmax at the end",
            _assembled(leave=lambda x, E, norm: (norm(x) @ E.T).softmax(-1)),
            "Logits are asked for, before the softmax. The loss takes it, and sampling does.",
        ),
        Mistake(
            "the stream is returned, not logits",
            _assembled(leave=lambda x, E, norm: norm(x)),
            "These are C channels per position. The head compares them with each token: `@ E.T`.",
        ),
        Mistake(
            "only the last position",
            _assembled(leave=lambda x, E, norm: norm(x)[:, -1] @ E.T),
            "For sampling the last position is enough. Here every position gets logits, [B, T, V].",
        ),
    ],
    hints=[
        "Four steps: look up and add, the loop over the blocks, the norm, a product with the table.",
        "`x = E[ids] + P[: ids.shape[1]]`, then `for block in blocks: x = block(x)`.",
        "`return norm(x) @ E.T`, for [B, T, C] @ [C, V] is [B, T, V].",
    ],
    package="gptlab.model.GPT",
)

# ---- model.7 ---------------------------------------------------------------------------------------------------------


def flops_per_token(V, L, C, T):
    matrices = 2 * 12 * C * C  # 4 C² in attention, 8 C² in the MLP, two FLOPs per parameter
    scores = 2 * 2 * T * C  # q · k with T keys, then T weights · v, over all heads together
    return L * (matrices + scores) + 2 * V * C


def _flop_inputs(rng):
    yield from [(10, 1, 2, 3), (50, 2, 12, 8), (50257, 12, 768, 1024), (11, 3, 4, 7)]
    for _ in range(3):
        yield rng.randint(20, 900), rng.randint(2, 9), 4 * rng.randint(2, 40), rng.randint(5, 300)


def _beside(extra: Callable) -> Callable:
    return lambda V, L, C, T: flops_per_token(V, L, C, T) + extra(V, L, C, T)


_FLOPS = Exercise(
    id="model.7",
    title="How much work is a token?",
    kind="stretch",
    minutes=15,
    difficulty=3,
    prompt="Count the FLOPs of the forward pass per token, in a sequence of T tokens. A multiply-add is 2 FLOPs; count "
    "the products of matrices only (no norms, biases, activation functions or softmax). Each parameter of a matrix is "
    "used once per token: four matrices C × C in attention, C × 4 C and 4 C × C in the MLP, in each of L layers; and "
    "the head, C × V. Attention itself compares the token's query with T keys (count all T, though a mask hides some) "
    "and averages T values. Looking up an embedding costs nothing.\n\nInput: `V`, `L`, `C`, `T`, each an `int` of at "
    "least 1. Result: an `int`.",
    signature="def flops_per_token(V: int, L: int, C: int, T: int) -> int",
    inputs=_flop_inputs,
    solution=flops_per_token,
    mistakes=[
        Mistake(
            "a multiply-add is counted once",
            lambda V, L, C, T: flops_per_token(V, L, C, T) // 2,
            "You are off by a factor of 2: a multiplication and an addition are two FLOPs. (Some papers count them as "
            "one; say which.)",
        ),
        Mistake(
            "the head's multiply-add is counted once",
            _beside(lambda V, L, C, T: -V * C),
            "The blocks are right. The head's products are multiply-adds too: 2 V C.",
        ),
        Mistake(
            "attention's own multiply-adds are counted once",
            _beside(lambda V, L, C, T: -L * 2 * T * C),
            "You are 2 T C short in each layer: a multiply-add of q · k and of the average of the values is counted "
            "once, or one of the two products is missing, or half of the T keys. Both count all T, 2 T C each.",
        ),
        Mistake(
            "the head is forgotten",
            _beside(lambda V, L, C, T: -2 * V * C),
            "You are 2 V C short. The head is tied and has no parameters of its own, but it has work to do.",
        ),
        Mistake(
            "attention's own products are forgotten",
            _beside(lambda V, L, C, T: -L * 4 * T * C),
            "You counted the matrices of attention, and not the queries times the keys and the weights times the "
            "values: 4 T C in each layer.",
        ),
        Mistake(
            "attention is counted for all T tokens",
            _beside(lambda V, L, C, T: L * 4 * C * (T * T - T)),
            "The scores of a sequence are T × T, but one token has one row of them: T.",
        ),
        Mistake(
            "the whole sequence is counted",
            lambda V, L, C, T: T * flops_per_token(V, L, C, T),
            "That is the work of all T tokens. One token is asked for: divide by T.",
        ),
        Mistake(
            "the backward pass is counted too",
            lambda V, L, C, T: 3 * flops_per_token(V, L, C, T),
            "Training costs three times as much, forward and backward. Only the forward pass is asked for.",
        ),
        Mistake(
            "looking up the embedding is counted as a product",
            _beside(lambda V, L, C, T: 2 * V * C),
            "A look-up copies a row. It is equal to a product with one-hot rows, but it is not computed like that.",
        ),
        Mistake(
            "the positions are counted",
            _beside(lambda V, L, C, T: 2 * T * C),
            "Looking up a position copies a row and costs no product.",
        ),
        Mistake(
            "two FLOPs per parameter, and nothing else",
            lambda V, L, C, T: 2 * (V * C + T * C + 12 * L * C * C),
            "The table of positions does no work, and attention's own products, 4 T C in each layer, have no "
            "parameters: count products of matrices.",
        ),
        Mistake(
            "two FLOPs per parameter, biases and norms included",
            lambda V, L, C, T: 2 * count_parameters(V, T, L, C),
            "Biases, norms and the table of positions do no products, and attention's own products, 4 T C in each "
            "layer, have no parameters.",
        ),
        Mistake(
            "the biases are counted",
            _beside(lambda V, L, C, T: L * 9 * C),
            "Only products of matrices count here, no biases.",
        ),
        Mistake(
            "the MLP has one matrix",
            _beside(lambda V, L, C, T: -L * 8 * C * C),
            "The MLP goes up to 4 C and back down to C: two matrices of 4 C² each.",
        ),
        Mistake(
            "the MLP is C wide",
            _beside(lambda V, L, C, T: -L * 12 * C * C),
            "Inside, the MLP is 4 C wide: 4 C² up and 4 C² down.",
        ),
        Mistake(
            "attention has three matrices",
            _beside(lambda V, L, C, T: -L * 2 * C * C),
            "Query, key, value, and the output projection: four matrices of C².",
        ),
        Mistake(
            "only one layer is counted",
            lambda V, L, C, T: flops_per_token(V, 1, C, T),
            "Each of the L layers does this work.",
        ),
        Mistake(
            "the head is counted in every layer",
            _beside(lambda V, L, C, T: (L - 1) * 2 * V * C),
            "The head comes once, after the last layer.",
        ),
    ],
    hints=[
        "What is used once per token costs 2 FLOPs per parameter. Count the parameters of a block's matrices first.",
        "12 C² parameters in a block, so 24 C² FLOPs. Then the scores: C channels of all heads together, T keys.",
        "`L * (24 * C * C + 4 * T * C) + 2 * V * C`",
    ],
    package="gptlab.gpu.flops_by_part",
)

# ---- model.8 ---------------------------------------------------------------------------------------------------------


def dropout(x, draws, p, training):
    if not training:
        return x
    return torch.where(draws < p, 0.0, x / (1 - p))  # what is left is made larger, so that the mean stays


def _dropout_inputs(rng):
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 5.0]]])
    draws = torch.tensor([[[0.1, 0.9, 0.25, 0.75, 0.0]]])  # one of them is exactly p
    yield from [(x, draws, 0.25, True), (x, draws, 0.25, False)]
    for training in (True, False, True):
        p = rng.choice((0.1, 0.3, 0.4))
        yield _normal(rng, 2, 3, 5), torch.rand(2, 3, 5, generator=_generator(rng)), p, training


def _in_training(drop: Callable) -> Callable:
    return lambda x, draws, p, training: drop(x, draws, p) if training else x


def _overwritten(x, draws, p, training):
    if not training:
        return x
    x[draws < p] = 0.0
    return x / (1 - p)


_DROPOUT = Exercise(
    id="model.8",
    title="Dropout",
    kind="warm-up",
    minutes=10,
    difficulty=1,
    prompt="In training, set each number to 0 with probability p, and divide the others by 1 − p, so that the mean "
    "stays what it was. Outside training, return x unchanged. The random numbers are given: `draws` holds one "
    "from 0 to 1 for each number of x. Where it is below p, drop; where it is p or more, keep.\n\nShapes: `x` and "
    "`draws` are float tensors [B, T, C], `p` is a `float` with 0 < p < 1, `training` a `bool`. Result: a float tensor "
    "[B, T, C]; `x` itself stays as it is.",
    signature='def dropout(x: Float[Tensor, "B T C"], draws: Float[Tensor, "B T C"], p: float, training: bool) '
    '-> Float[Tensor, "B T C"]',
    inputs=_dropout_inputs,
    solution=dropout,
    mistakes=[
        Mistake(
            "the rest is not made larger",
            _in_training(lambda x, draws, p: torch.where(draws < p, 0.0, x)),
            "The sum over the channels is smaller in training than in use. Divide what is left by 1 − p.",
        ),
        Mistake(
            "the rest is divided by p",
            _in_training(lambda x, draws, p: torch.where(draws < p, 0.0, x / p)),
            "p is the fraction that is dropped. What is left is 1 − p: divide by that.",
        ),
        Mistake(
            "the rest is multiplied by 1 - p",
            _in_training(lambda x, draws, p: torch.where(draws < p, 0.0, x * (1 - p))),
            "That makes it smaller still. The numbers that are left must stand in for those that are gone: divide.",
        ),
        Mistake(
            "a draw of exactly p is dropped",
            _in_training(lambda x, draws, p: torch.where(draws <= p, 0.0, x / (1 - p))),
            "Below p is dropped, p itself stays: `<`. (So that p = 0 drops nothing, though a draw can be 0.)",
        ),
        Mistake(
            "p is taken for the probability to be kept",
            _in_training(lambda x, draws, p: torch.where(draws < p, x / p, 0.0)),
            "p is the probability to be dropped, as in `nn.Dropout(p)`.",
        ),
        Mistake(
            "the wrong numbers are dropped",
            _in_training(lambda x, draws, p: torch.where(draws < p, x / (1 - p), 0.0)),
            "Where the draw is below p the number is dropped. `torch.where` takes its second argument where the "
            "condition is True.",
        ),
        Mistake(
            "the wrong numbers are dropped, and the rest is not made larger",
            _in_training(lambda x, draws, p: torch.where(draws < p, x, 0.0)),
            "Where the draw is below p the number is dropped, and what is left is divided by 1 − p.",
        ),
        Mistake(
            "divided by the fraction that was in fact kept",
            _in_training(lambda x, draws, p: torch.where(draws < p, 0.0, x) / (draws >= p).float().mean()),
            "Divide by 1 − p, the same number each time. Only on average is it what was kept.",
        ),
        Mistake(
            "it drops outside training as well",
            lambda x, draws, p, training: dropout(x, draws, p, True),
            "With `training=False` the result is x itself. (In a model, `model.eval()` says it to every dropout.)",
        ),
        Mistake(
            "it drops outside training, and not in it",
            lambda x, draws, p, training: dropout(x, draws, p, not training),
            "`training` is True where dropout works. Outside training x comes back unchanged.",
        ),
        Mistake(
            "outside training it is made smaller",
            lambda x, draws, p, training: dropout(x, draws, p, True) if training else x * (1 - p),
            "The scaling is done in training already. Outside, x stays as it is.",
        ),
        Mistake(
            "it is scaled outside training instead",
            lambda x, draws, p, training: torch.where(draws < p, 0.0, x) if training else x * (1 - p),
            "This is dropout as first published. Today the scaling is done in training, divided by 1 − p, so that "
            "nothing is left to do in use.",
        ),
        Mistake(
            "it is scaled outside training as well",
            lambda x, draws, p, training: torch.where(draws < p, 0.0, x / (1 - p)) if training else x / (1 - p),
            "Outside training nothing is dropped, and so nothing has to stand in for it: return x.",
        ),
        Mistake(
            "dropped numbers are divided, the others are not",
            _in_training(lambda x, draws, p: torch.where(draws < p, x / (1 - p), x)),
            "Set the numbers to 0 where the draw is below p, and divide the others.",
        ),
        Mistake(
            "x is changed in place",
            _overwritten,
            "The result is right, but you wrote zeros into the caller's tensor. `torch.where` or `masked_fill` give "
            "a new one.",
        ),
        Mistake(
            "the draws are not used",
            lambda x, draws, p, training: F.dropout(x, p, training),
            "`F.dropout` samples random numbers of its own. Here they are given: drop where `draws < p`.",
        ),
        Mistake(
            "new random numbers are sampled",
            lambda x, draws, p, training: dropout(x, torch.rand_like(x), p, training),
            "The random numbers are given, so that the result is known: drop where `draws < p`.",
        ),
    ],
    hints=[
        "Two cases. In one of them nothing happens.",
        "`torch.where(condition, a, b)` takes a where the condition is True and b elsewhere.",
        "`torch.where(draws < p, 0.0, x / (1 - p))`",
    ],
)

# ---- model.9 ---------------------------------------------------------------------------------------------------------


def first_loss(logits, targets):
    V = logits.shape[-1]
    loss = float(F.cross_entropy(logits.flatten(0, 1), targets.flatten()))
    if loss > 1.1 * math.log(V):
        return "too large"
    return "too small" if loss < 0.9 * math.log(V) else "as it should be"


def _loss_inputs(rng):
    V = 5
    targets = torch.tensor([[0, 3, 4]])
    yield torch.zeros(1, 3, V), targets
    yield torch.zeros(1, 3, V) + 7.0, targets
    yield 30.0 * F.one_hot(targets, V), targets
    yield 30.0 * F.one_hot((targets + 1) % V, V), targets
    # near the limits, on either side of them, for a large V and a small one
    limits = ((50, 0.88), (50, 0.92), (50, 1.08), (50, 1.12), (2, 0.88), (2, 1.12))
    for V, factor in (*limits, (50, 0.25), (50, 0.55)):
        yield _of_loss(rng, V, factor * math.log(V))
    yield torch.zeros(2, 4, 50), torch.zeros(2, 4, dtype=torch.long)
    for T, V, size in ((7, 60, 0.02), (50, 6, 0.02), (7, 50, 4.0), (9, 300, 0.1), (7, 90, 8.0)):
        yield size * _normal(rng, 2, T, V), torch.randint(V, (2, T), generator=_generator(rng))


def _of_loss(rng: random.Random, V: int, loss: float) -> tuple[Tensor, Tensor]:
    """Logits that are 0 but for the target's, with exactly this mean loss; the positions differ in theirs."""
    targets = torch.randint(V, (2, 3), generator=_generator(rng))
    losses = loss * (1 + torch.tensor([[0.4, -0.1, 0.3], [-0.3, -0.1, -0.2]]))
    value = torch.log((V - 1) / (losses.exp() - 1))  # loss = ln(e^value + V - 1) - value
    return F.one_hot(targets, V) * value[:, :, None], targets


def _verdict(loss_of: Callable, expected_of: Callable, low: float = 0.9, high: float = 1.1) -> Callable:
    def wrong(logits, targets):
        loss, expected = loss_of(logits, targets), expected_of(logits)
        return "too large" if loss > high * expected else "too small" if loss < low * expected else "as it should be"

    return wrong


def _mean_loss(logits, targets) -> float:
    return float(F.cross_entropy(logits.flatten(0, 1), targets.flatten()))


def _ln_v(logits) -> float:
    return math.log(logits.shape[-1])


def _absolute(logits, targets):
    excess = _mean_loss(logits, targets) - _ln_v(logits)
    return "too large" if excess > 0.1 else "too small" if excess < -0.1 else "as it should be"


def _renamed(names: dict[str, str]) -> Callable:
    def wrong(logits, targets):
        said = first_loss(logits, targets)
        return names.get(said, said)

    return wrong


_FIRST = Exercise(
    id="model.9",
    title="Before the first step",
    kind="stretch",
    minutes=15,
    difficulty=2,
    prompt="Write the check that every training should begin with. From the logits of an untrained model and the "
    'targets, compute the mean loss in nats and compare it with ln V: return "too large" if it is more than 10 % '
    'above ln V (more than 1.1 ln V), "too small" if it is more than 10 % below (less than 0.9 ln V), and "as it '
    'should be" otherwise.\n\nShapes: `logits` is a float tensor [B, T, V] with V of at least 2, `targets` an integer '
    "tensor [B, T]. Result: a `str`.",
    signature='def first_loss(logits: Float[Tensor, "B T V"], targets: Int[Tensor, "B T"]) -> str',
    inputs=_loss_inputs,
    solution=first_loss,
    mistakes=[
        Mistake(
            "the two limits are absolute",
            _absolute,
            "10 % of ln V is asked for, not 0.1 nats (nor 10 % of the perplexity, which comes to about that): compare "
            "with 1.1 and 0.9 times ln V.",
        ),
        Mistake(
            "the limits are narrower than 10 %",
            _verdict(_mean_loss, _ln_v, 0.95, 1.05),
            "Up to 10 % above or below ln V is as it should be: 1.1 and 0.9 times ln V.",
        ),
        Mistake(
            "the limits are wider than 10 %",
            _verdict(_mean_loss, _ln_v, 0.8, 1.2),
            "More than 10 % above or below ln V is to be reported: 1.1 and 0.9 times ln V.",
        ),
        Mistake(
            "compared with the logarithm of base 2",
            _verdict(_mean_loss, lambda logits: math.log2(logits.shape[-1])),
            "The loss is in nats, so the logarithm is the natural one, `math.log`. `math.log2` gives bits.",
        ),
        Mistake(
            "compared with the logarithm of base 10",
            _verdict(_mean_loss, lambda logits: math.log10(logits.shape[-1])),
            "The loss is in nats, so the logarithm is the natural one, `math.log`.",
        ),
        Mistake(
            "the loss is in bits",
            _verdict(lambda logits, targets: _mean_loss(logits, targets) / math.log(2), _ln_v),
            "Both sides must be in nats: the loss of `F.cross_entropy` as it is, and `math.log(V)`.",
        ),
        Mistake(
            "compared with V",
            _verdict(_mean_loss, lambda logits: logits.shape[-1]),
            "Guessing blindly among V tokens costs ln V nats, not V.",
        ),
        Mistake(
            "compared with ln T",
            _verdict(_mean_loss, lambda logits: math.log(logits.shape[1])),
            "The model chooses among V tokens: the last axis of the logits.",
        ),
        Mistake(
            "V is taken from the targets",
            lambda logits, targets: _verdict(_mean_loss, lambda _: math.log(int(targets.max()) + 1))(logits, targets),
            "A batch need not contain the last id. V is how many logits there are: `logits.shape[-1]`.",
        ),
        Mistake(
            "the losses are added up, not averaged",
            _verdict(lambda logits, targets: _mean_loss(logits, targets) * targets.numel(), _ln_v),
            "Divide by the number of targets: ln V is what one token costs.",
        ),
        Mistake(
            "only the last position counts",
            _verdict(lambda logits, targets: float(F.cross_entropy(logits[:, -1], targets[:, -1])), _ln_v),
            "The loss is the mean over all positions of all sequences: flatten B and T.",
        ),
        Mistake(
            "only the first sequence counts",
            _verdict(lambda logits, targets: float(F.cross_entropy(logits[0], targets[0])), _ln_v),
            "The loss is the mean over all positions of all sequences: flatten B and T.",
        ),
        Mistake(
            "softmax is taken twice",
            _verdict(lambda logits, targets: _mean_loss(logits.softmax(-1), targets), _ln_v),
            "`F.cross_entropy` takes logits, and the softmax is inside it. Probabilities between 0 and 1, taken for "
            "logits, always give about ln V.",
        ),
        Mistake(
            "the loss has the wrong sign",
            _verdict(lambda logits, targets: -_mean_loss(logits, targets), _ln_v),
            "A loss is minus the log-probability of the target, and never negative.",
        ),
        Mistake(
            "the logits are not flattened",
            lambda logits, targets: F.cross_entropy(logits, targets),
            "With [B, T, V], `F.cross_entropy` takes axis 1 for the classes. Flatten both to [B · T, V] and [B · T] "
            "(or transpose the logits to [B, V, T]).",
        ),
        Mistake(
            "the targets are not flattened",
            lambda logits, targets: F.cross_entropy(logits.flatten(0, 1), targets),
            "The logits are [B · T, V] now, so the targets must be [B · T]: `targets.flatten()`.",
        ),
        Mistake(
            "a loss that is too small counts as good",
            _renamed({"too small": "as it should be"}),
            "An untrained model that predicts better than blind guessing has seen the answers. Report it.",
        ),
        Mistake(
            "a loss that is too large counts as good",
            _renamed({"too large": "as it should be"}),
            "A model that begins above ln V is sure of nonsense. Report it.",
        ),
        Mistake(
            "too large and too small are swapped",
            _renamed({"too large": "too small", "too small": "too large"}),
            "Too large means that the loss is above ln V.",
        ),
    ],
    hints=[
        "The loss is `F.cross_entropy`, which wants [N, V] and [N].",
        "`logits.flatten(0, 1)` is [B·T, V] and `targets.flatten()` is [B·T]. V is `logits.shape[-1]`.",
        "Compare with `1.1 * math.log(V)` and `0.9 * math.log(V)`.",
    ],
)

EXERCISES = [_NORM, _BLOCK, _MLP, _COUNT, _INIT, _FORWARD, _FLOPS, _DROPOUT, _FIRST]

PREDICTIONS = [
    Prediction(
        id="model.a",
        question="Twelve parts, each of which multiplies by 0.5. Now each part's result is added to the "
        "number and does not replace it: x + 0.5 x. By what is the number multiplied after all twelve?",
        kind="number",
        answer=1.5**12,
        tolerance=0.1,
        explanation="Each step multiplies by 1 + 0.5 = 1.5, twelve times. Nothing vanishes any more. It grows.",
    ),
    Prediction(
        id="model.b",
        question="x has a mean of 5 and a standard deviation of 2 over its channels. The same position arrives a "
        "hundred times as large. What does layer norm give?",
        kind="choice",
        choices=("a hundred times as much", "the same", "a hundredth of it"),
        answer="b",
        explanation="Mean and standard deviation grow by the same factor, which cancels. (Except for eps, which makes "
        "a tiny difference.)",
    ),
    Prediction(
        id="model.c",
        question="Two matrices one after the other, C to 4 C and back to C, with no activation function between them. "
        "What can they do that one matrix C × C cannot?",
        kind="choice",
        choices=("four times as much", "nothing", "it depends on the numbers"),
        answer="b",
        explanation="(x W₁) W₂ = x (W₁ W₂), and W₁ W₂ is one matrix C × C.",
    ),
    Prediction(
        id="model.d",
        question="V = 859. The model is untrained, and its logits are all near 0. What is its loss, in nats per token?",
        kind="number",
        answer=math.log(859),
        tolerance=0.03,
        explanation="Each token gets about 1/V, and −ln(1/V) = ln V.",
    ),
    Prediction(
        id="model.e",
        question="In GPT-2 with 124 million parameters, which part has the most of them?",
        kind="choice",
        choices=("the table of tokens", "attention", "the MLPs"),
        answer="c",
        explanation="An MLP has 8 C² parameters in each block, attention 4 C². The table is larger than all attention "
        "together, but not than the MLPs; in larger models it shrinks to a few per cent.",
    ),
    Prediction(
        id="model.f",
        question="Which fault does each of the models A to H have? Give eight words, in their order, each of: mask, "
        "scale, residual, norm, positions, heads, initialisation, targets.",
        kind="order",
        answer=("heads", "mask", "initialisation", "positions", "scale", "targets", "residual", "norm"),
        explanation="Read the columns from left to right: the first loss, the course, the end, and then the four "
        "questions that the loss does not answer.",
    ),
    Prediction(
        id="model.g",
        question="One block of the trained model is taken out, and the stream flows past it. The model has two blocks. "
        "Which one is missed more?",
        kind="choice",
        choices=("the first", "the second", "both alike"),
        answer="a",
        explanation="The second reads what the first has written. Without the first it meets a stream that it has "
        "never seen in training.",
    ),
]

QUESTIONS = [
    Question(
        about="masking",
        question="A model's loss falls below the entropy of its text. What has happened?",
        choices=("it is very good", "it sees what it should predict", "the learning rate is too large"),
        answer="b",
        explanation="No model can have a lower loss, on average, than the entropy. Look for a leak: change one token, "
        "and see whether something before it moves.",
    ),
    Question(
        about="attention",
        question="The scores of attention are divided by a root. Of which number?",
        choices=("of C, the channels", "of T, the positions", "of hs, the size of a head"),
        answer="c",
        explanation="A dot product of hs independent numbers of variance 1 has a standard deviation of √hs.",
    ),
    Question(
        about="embedding",
        question="A model ties its weights. What is shared?",
        choices=(
            "queries and keys",
            "the table of tokens, which also gives the logits",
            "the blocks, which all have the same parameters",
        ),
        answer="b",
        explanation="The table that turns ids into vectors is used once more at the end, to compare a vector with each "
        "token.",
    ),
]
