"""Exercises on the model: the norm, the stream, the MLP, what they cost, and how they begin."""

import math
import random
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question


def _generator(rng: random.Random) -> torch.Generator:
    return torch.Generator().manual_seed(rng.randrange(2**31))


def _normal(rng: random.Random, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=_generator(rng), dtype=torch.float64)


# ---- model.1 ---------------------------------------------------------------------------------------------------------


def norm_each_position(x, gain, bias, eps):
    mean = x.mean(dim=-1, keepdim=True)  # [B, T, 1]
    variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)  # [B, T, 1]
    return (x - mean) / (variance + eps) ** 0.5 * gain + bias  # [B, T, C]


def _norm_inputs(rng):
    C = 4
    yield (
        torch.tensor([[[2.0, 4.0, 6.0, 8.0], [1.0, 1.0, 5.0, 5.0]]], dtype=torch.float64),
        torch.tensor([1.0, 2.0, 1.0, 0.5], dtype=torch.float64),
        torch.tensor([0.0, 0.0, 1.0, -1.0], dtype=torch.float64),
        0.01,
    )  # fmt: skip
    yield torch.full((2, 3, C), 5.0, dtype=torch.float64), _normal(rng, C), _normal(rng, C), 1e-5
    for B, T, C in ((2, 3, 5), (3, 5, 6), (2, 4, 7)):
        yield _normal(rng, B, T, C) * 3 + 1, _normal(rng, C), _normal(rng, C), 0.05


def _norm_over(*dims: int) -> Callable:
    def wrong(x, gain, bias, eps):
        mean = x.mean(dim=dims, keepdim=True)
        variance = ((x - mean) ** 2).mean(dim=dims, keepdim=True)
        return (x - mean) / (variance + eps) ** 0.5 * gain + bias

    return wrong


def _scaled(x, divide) -> Tensor:
    mean = x.mean(dim=-1, keepdim=True)
    return (x - mean) / divide(((x - mean) ** 2).mean(dim=-1, keepdim=True))


_NORM = Exercise(
    id="model.1",
    title="Layer norm by hand",
    minutes=10,
    difficulty=1,
    prompt="Give each position mean 0 and variance 1 over its own channels, then stretch each channel by its gain and "
    "shift it by its bias. `eps` is added to the variance, under the root. The variance is the mean of the squared "
    "distances (divided by C, not by C − 1).\n\nShapes: `x` is a float tensor [B, T, C], `gain` and `bias` are [C], "
    "`eps` is a `float`. Result: a float tensor [B, T, C].",
    signature='def norm_each_position(x: Float[Tensor, "B T C"], gain: Float[Tensor, " C"], bias: Float[Tensor, " C"], '
    'eps: float) -> Float[Tensor, "B T C"]',
    inputs=_norm_inputs,
    solution=norm_each_position,
    reference=lambda x, gain, bias, eps: F.layer_norm(x, x.shape[-1:], gain, bias, eps),
    mistakes=[
        Mistake(
            "the mean runs over time",
            _norm_over(1),
            "You norm each channel over the positions, `dim=1`. Then position 0 depends on the ones after it, which "
            "is a leak. Each position norms itself: `dim=-1`.",
        ),
        Mistake(
            "the mean runs over the batch",
            _norm_over(0),
            "You norm over the sequences of the batch (that is batch norm). A text would read differently in other "
            "company. Each position norms itself: `dim=-1`.",
        ),
        Mistake(
            "one mean for a whole sequence",
            _norm_over(1, 2),
            "One mean for all positions of a sequence lets the later ones move the earlier. `dim=-1` alone.",
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
            lambda x, gain, bias, eps: _scaled(x, lambda v: v + eps) * gain + bias,
            "The root of the variance has the unit of x; the variance has its square. Take the root.",
        ),
        Mistake(
            "eps stands outside the root",
            lambda x, gain, bias, eps: _scaled(x, lambda v: v**0.5 + eps) * gain + bias,
            "eps belongs under the root: (variance + eps) ** 0.5. With a small eps one does not see it in the forward "
            "pass; trained weights moved from one to the other are off.",
        ),
        Mistake(
            "eps stands outside the root, and the variance is divided by C - 1",
            lambda x, gain, bias, eps: (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + eps) * gain + bias,
            "`x.std(dim=-1)` is another root in two ways: it divides by C − 1, and eps comes too late, outside. "
            "Take the variance by hand, add eps, then the root.",
        ),
        Mistake(
            "gain and bias are left out",
            lambda x, gain, bias, eps: F.layer_norm(x, x.shape[-1:], None, None, eps),
            "The normed numbers are right; multiply by the gain and add the bias, channel by channel.",
        ),
        Mistake(
            "the mean is not taken away",
            lambda x, gain, bias, eps: x / ((x**2).mean(-1, keepdim=True) + eps) ** 0.5 * gain + bias,
            "That is RMSNorm, which Llama uses (notebook 12). Layer norm takes the mean away first.",
        ),
    ],
    hints=[
        "Mean and variance are one number for each position: over the last axis, kept as an axis of size 1.",
        "`mean = x.mean(dim=-1, keepdim=True)`, and the variance is the mean of `(x - mean) ** 2`, over the same axis.",
        "`(x - mean) / (variance + eps) ** 0.5 * gain + bias`",
    ],
)

# ---- model.2 ---------------------------------------------------------------------------------------------------------


def pre_norm_block(x, listen, think, norm1, norm2):
    x = x + listen(norm1(x))  # [B, T, C]
    return x + think(norm2(x))  # [B, T, C]


def _parts(rng):
    """Four functions of [B, T, C] that do not commute; gentle ones, so that no result is lost in rounding."""
    a, b, c = (round(rng.uniform(0.4, 1.6), 2) for _ in range(3))
    return (
        lambda x: a * x.cumsum(dim=1) / 2,
        lambda x: torch.tanh(b * x) + 0.3,
        lambda x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 0.1) ** 0.5,
        lambda x: c * x / (1 + x.abs().mean(-1, keepdim=True)),
    )


def _block_inputs(rng):
    for B, T, C in ((1, 2, 3), (2, 3, 4), (3, 5, 6), (2, 4, 7)):
        yield _normal(rng, B, T, C) * 2, *_parts(rng)


def _parallel(x, listen, think, norm1, norm2):
    return x + listen(norm1(x)) + think(norm2(x))


def _lost_stream(x, listen, think, norm1, norm2):
    x = listen(norm1(x))
    return think(norm2(x))


def _half_lost(x, listen, think, norm1, norm2):
    x = x + listen(norm1(x))
    return think(norm2(x))


def _normed_stream(x, listen, think, norm1, norm2):
    x = norm1(x)
    x = x + listen(x)
    x = norm2(x)
    return x + think(x)


def _one_norm(x, listen, think, norm1, norm2):
    x = x + listen(norm1(x))
    return x + think(norm1(x))


def _no_second_norm(x, listen, think, norm1, norm2):
    x = x + listen(norm1(x))
    return x + think(x)


_BLOCK = Exercise(
    id="model.2",
    title="A block on the stream",
    minutes=10,
    difficulty=1,
    prompt="Put a pre-norm block together, as in GPT-2. First it listens, then it thinks. Each part reads a normed "
    "copy of the stream, and what it computes is added to the stream, which itself is never normed. All four parts "
    "are "
    "given as functions from [B, T, C] to [B, T, C].\n\nShapes: `x` is a float tensor [B, T, C]; `listen` is the "
    "attention with its norm `norm1`, `think` the MLP with its norm `norm2`. Result: a float tensor [B, T, C].",
    signature='def pre_norm_block(x: Float[Tensor, "B T C"], listen, think, norm1, norm2) -> Float[Tensor, "B T C"]',
    inputs=_block_inputs,
    solution=pre_norm_block,
    mistakes=[
        Mistake(
            "the residual is forgotten",
            _lost_stream,
            "Each part replaces the stream. Add what it computes: `x = x + listen(norm1(x))`.",
        ),
        Mistake(
            "the second residual is forgotten",
            _half_lost,
            "What listening found is gone after thinking. Add: `x + think(norm2(x))`.",
        ),
        Mistake(
            "the norm comes after the sum (post-norm)",
            lambda x, listen, think, norm1, norm2: (lambda y: norm2(y + think(y)))(norm1(x + listen(x))),
            "That is the block of the first Transformer and of BERT. Here the norm stands in front of each part: "
            "`x + listen(norm1(x))`.",
        ),
        Mistake(
            "the stream itself is normed",
            _normed_stream,
            "You write the normed copy back into x, so the stream is rescaled at each part. Norm inside the brackets: "
            "`x + listen(norm1(x))`.",
        ),
        Mistake(
            "both parts read the same x",
            _parallel,
            "The MLP should read what attention has added. (Such parallel blocks exist, GPT-J and PaLM have them, but "
            "GPT-2 does not.) Assign the first sum to x before the second line.",
        ),
        Mistake(
            "the second part uses the first norm",
            _one_norm,
            "`think` has a norm of its own, `norm2`, with its own gain and bias.",
        ),
        Mistake(
            "the second norm is forgotten",
            _no_second_norm,
            "The MLP reads the raw stream, whose numbers grow from layer to layer: `think(norm2(x))`.",
        ),
        Mistake(
            "it thinks before it listens",
            lambda x, listen, think, norm1, norm2: (lambda y: y + listen(norm1(y)))(x + think(norm2(x))),
            "The order is attention first, then the MLP.",
        ),
    ],
    hints=[
        "Two lines, and both have the form x plus something of x.",
        "`x = x + listen(norm1(x))` is the first.",
        "`return x + think(norm2(x))`: the x in it is the new one.",
    ],
    package="gptlab.model.Block",
)

# ---- model.3 ---------------------------------------------------------------------------------------------------------


def mlp(x, W1, b1, W2, b2):
    h = x @ W1 + b1  # [B, T, 4C]
    h = h * 0.5 * (1 + torch.erf(h / 2**0.5))  # [B, T, 4C]  GELU: h times the part of a normal below h
    return h @ W2 + b2  # [B, T, C]


def _mlp_inputs(rng):
    for B, T, C in ((1, 2, 2), (2, 3, 4), (2, 5, 3), (3, 4, 5)):
        W = 3 * C + 1
        yield _normal(rng, B, T, C), _normal(rng, C, W), _normal(rng, W), _normal(rng, W, C) / 3, _normal(rng, C)


def _bent(bend: Callable) -> Callable:
    return lambda x, W1, b1, W2, b2: bend(x @ W1 + b1) @ W2 + b2


_MLP = Exercise(
    id="model.3",
    title="Widen, bend, narrow",
    minutes=15,
    difficulty=2,
    prompt="Compute what each position thinks for itself: a matrix that widens, the bend GELU, a matrix that narrows. "
    "GELU of h is h times Φ(h), the part of a normal distribution that lies below h, which is "
    "(1 + erf(h / √2)) / 2. `torch.erf` is the error function. (`F.gelu` does it too; by hand you know it.)\n\n"
    "Shapes: `x` is [B, T, C], `W1` [C, W], `b1` [W], `W2` [W, C], `b2` [C]. Result: a float tensor [B, T, C].",
    signature='def mlp(x: Float[Tensor, "B T C"], W1: Float[Tensor, "C W"], b1: Float[Tensor, " W"], '
    'W2: Float[Tensor, "W C"], b2: Float[Tensor, " C"]) -> Float[Tensor, "B T C"]',
    inputs=_mlp_inputs,
    solution=mlp,
    reference=lambda x, W1, b1, W2, b2: F.gelu(x @ W1 + b1) @ W2 + b2,
    mistakes=[
        Mistake(
            "nothing is bent",
            _bent(lambda h: h),
            "Two matrices without a bend between them are one matrix: the widening was for nothing.",
        ),
        Mistake("the bend is ReLU", _bent(torch.relu), "ReLU cuts at 0. GELU is smooth: h times Φ(h)."),
        Mistake(
            "the bend is Φ alone",
            _bent(lambda h: 0.5 * (1 + torch.erf(h / 2**0.5))),
            "Φ(h) lies between 0 and 1. GELU is h times Φ(h).",
        ),
        Mistake(
            "h is not divided by the root of 2",
            _bent(lambda h: h * 0.5 * (1 + torch.erf(h))),
            "Φ(h) = (1 + erf(h / √2)) / 2: the root of 2 belongs inside erf.",
        ),
        Mistake(
            "the bend is SiLU",
            _bent(F.silu),
            "h times the sigmoid of h is SiLU, which Llama uses (notebook 12). GELU takes Φ in place of the sigmoid.",
        ),
        Mistake(
            "the bend is the approximation with tanh",
            _bent(lambda h: F.gelu(h, approximate="tanh")),
            "That is GPT-2's own GELU, off in the fourth decimal. Here the exact one is asked for, with erf.",
        ),
        Mistake(
            "the biases are left out",
            lambda x, W1, b1, W2, b2: F.gelu(x @ W1) @ W2,
            "Both matrices have a bias to add, [W] and [C].",
        ),
        Mistake(
            "the result is bent as well",
            lambda x, W1, b1, W2, b2: F.gelu(F.gelu(x @ W1 + b1) @ W2 + b2),
            "Nothing comes after the second matrix. A bend there could hardly write negative numbers into the stream.",
        ),
        Mistake(
            "the input is added",
            lambda x, W1, b1, W2, b2: x + F.gelu(x @ W1 + b1) @ W2 + b2,
            "The block adds x, not the MLP. Done in both places, x would count twice.",
        ),
    ],
    hints=[
        "Three lines: into W channels, bent number by number, back into C channels.",
        "`h = x @ W1 + b1`, and then `h * Φ(h)`.",
        "`h = h * 0.5 * (1 + torch.erf(h / 2**0.5))`",
    ],
    package="gptlab.model.MLP",
)

# ---- model.4 ---------------------------------------------------------------------------------------------------------


def count_parameters(V, T, L, C):
    attention = 4 * (C * C + C)  # query, key, value, output: a matrix and a bias each
    thinking = C * 4 * C + 4 * C + 4 * C * C + C  # widen and narrow
    norms = 2 * 2 * C  # two in a block, each with a gain and a bias
    return V * C + T * C + L * (attention + thinking + norms) + 2 * C


def _size_inputs(rng):
    yield from [(10, 5, 1, 2), (50, 8, 2, 12), (50257, 1024, 12, 768)]
    for _ in range(3):
        yield rng.randint(20, 900), rng.randint(5, 300), rng.randint(2, 9), 4 * rng.randint(2, 40)


def _off_by(extra: Callable) -> Callable:
    return lambda V, T, L, C: count_parameters(V, T, L, C) + extra(V, T, L, C)


_COUNT = Exercise(
    id="model.4",
    title="How many parameters?",
    minutes=15,
    difficulty=2,
    prompt="Count the parameters of a GPT-2 with a pencil's formula. It has: a table of V tokens and one of T "
    "positions; L "
    "blocks, each with attention (four matrices C × C with bias), an MLP (C to 4 C and back, with bias) and two layer "
    "norms (gain and bias); one more layer norm at the end; and a head that is tied to the table of tokens."
    "\n\nInput: `V`, `T`, `L`, `C`, all `int`. Result: an `int`.",
    signature="def count_parameters(V: int, T: int, L: int, C: int) -> int",
    inputs=_size_inputs,
    solution=count_parameters,
    mistakes=[
        Mistake(
            "the tied head is counted a second time",
            _off_by(lambda V, T, L, C: V * C),
            "The head is the table of tokens, the same numbers. They are counted once.",
        ),
        Mistake(
            "the norm at the end is forgotten",
            _off_by(lambda V, T, L, C: -2 * C),
            "You are 2 C short: one more layer norm stands between the last block and the head.",
        ),
        Mistake(
            "the norms have no bias",
            _off_by(lambda V, T, L, C: -(2 * L + 1) * C),
            "A layer norm has two numbers a channel, gain and bias.",
        ),
        Mistake(
            "the positions are forgotten",
            _off_by(lambda V, T, L, C: -T * C),
            "You are T C short: GPT-2 has a table of learned positions.",
        ),
        Mistake(
            "the matrices have no bias",
            _off_by(lambda V, T, L, C: -L * (4 * C + 5 * C)),
            "Each of the six matrices of a block has a bias, as long as its output: 4 C in attention, 5 C in the MLP.",
        ),
        Mistake(
            "only the matrices of a block are counted",
            _off_by(lambda V, T, L, C: -L * 13 * C - 2 * C),
            "12 C² is right for the matrices of a block. Their biases and the layer norms are still missing.",
        ),
        Mistake(
            "the output projection of attention is forgotten",
            _off_by(lambda V, T, L, C: -L * (C * C + C)),
            "Attention has four matrices: query, key, value, and the one that mixes what the heads found.",
        ),
        Mistake(
            "only one block is counted",
            _off_by(lambda V, T, L, C: -(L - 1) * (12 * C * C + 13 * C)),
            "Each of the L blocks has its own numbers: multiply by L.",
        ),
    ],
    hints=[
        "Go through the model from below: two tables, L times a block, one norm. The head is a table again.",
        "A matrix from a to b channels with bias has a·b + b numbers. The MLP widens to 4 C.",
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
    "blocks.1.mlp.down.bias", "blocks.3.norm1.weight", "norm.weight",
)  # fmt: skip


def _name_inputs(rng):
    for name in _NAMES:
        yield name, 8
    for _ in range(5):
        yield rng.choice(_NAMES[:5]), rng.randint(3, 48)


def _deviation(output: Callable, other: Callable = lambda name, L: 0.02) -> Callable:
    def wrong(name, L):
        if name.endswith("bias") or "norm" in name:
            return None
        return output(L) if name.endswith(("output.weight", "down.weight")) else other(name, L)

    return wrong


_INIT = Exercise(
    id="model.5",
    title="The first numbers",
    minutes=10,
    difficulty=2,
    prompt="Say with which standard deviation GPT-2 draws the first numbers of a parameter, from its name. Matrices "
    "and tables: 0.02. The two matrices of a block that write into the stream are called `….attention.output.weight` "
    "and `….mlp.down.weight`; theirs is smaller, by the root of the number of such matrices in the model. Biases "
    'and norms are not drawn: `None`.\n\nInput: `name`, a `str` such as "blocks.3.mlp.up.weight"; `L`, an `int`, '
    "the number of blocks. Result: a `float` or `None`.",
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
            "Each block writes into the stream twice, after listening and after thinking: 2 L in all.",
        ),
        Mistake(
            "divided by 2 L, without the root",
            _deviation(lambda L: 0.02 / (2 * L)),
            "Independent numbers add up in their squares: a sum of n has √n times the deviation. Divide by the root.",
        ),
        Mistake(
            "only the MLP's down-projection is made smaller",
            lambda name, L: 0.02 if name == "blocks.0.attention.output.weight" else first_deviation(name, L),
            "Attention writes into the stream as well, through its own `output.weight`.",
        ),
        Mistake(
            "all matrices of the blocks are made smaller",
            _deviation(
                lambda L: 0.02 / (2 * L) ** 0.5,
                lambda name, L: 0.02 / (2 * L) ** 0.5 if name.startswith("blocks") else 0.02,
            ),
            "Queries, keys, values and the up-projection do not write into the stream. They keep 0.02.",
        ),
        Mistake(
            "biases and norms are drawn too",
            lambda name, L: 0.02 if first_deviation(name, L) is None else first_deviation(name, L),
            "Biases begin at 0 and gains at 1. Nothing is drawn for them: None.",
        ),
    ],
    hints=[
        "Three cases: not drawn at all, writes into the stream, all the rest.",
        "`name.endswith(('output.weight', 'down.weight'))` finds the matrices that write into the stream. How many are "
        "there in the model?",
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
    for B, T, C, V, context, L in ((1, 2, 3, 5, 4, 2), (2, 3, 4, 7, 6, 2), (3, 5, 6, 9, 8, 3), (2, 4, 5, 6, 7, 4)):
        ids = torch.randint(V, (B, T), generator=_generator(rng))
        blocks = [_parts(rng)[k % 2] for k in range(L)]
        yield ids, _normal(rng, V, C), _normal(rng, context, C), blocks, _parts(rng)[2]


def _through(x, blocks):
    for block in blocks:
        x = block(x)
    return x


def _all_read_the_embedding(ids, E, P, blocks, norm):
    x = E[ids] + P[: ids.shape[1]]
    for block in blocks:
        out = block(x)
    return norm(out) @ E.T


_FORWARD = Exercise(
    id="model.6",
    title="GPT from its parts",
    minutes=15,
    difficulty=2,
    prompt="Put the whole model together: tokens plus positions, all blocks one after the other, the norm at the end, "
    "and the head, which is the table of tokens once more (tied weights). A block already adds to its input; do not "
    "add again.\n\nShapes: `ids` is an integer tensor [B, T]; `E` [V, C] and `P` [context, C], with context ≥ T; "
    "`blocks` is a list of functions and `norm` a function, all from [B, T, C] to [B, T, C]. "
    "Result: logits, a float tensor [B, T, V].",
    signature='def gpt_logits(ids: Int[Tensor, "B T"], E: Float[Tensor, "V C"], P: Float[Tensor, "context C"], '
    'blocks: list, norm) -> Float[Tensor, "B T V"]',
    inputs=_gpt_inputs,
    solution=gpt_logits,
    mistakes=[
        Mistake(
            "the norm at the end is forgotten",
            lambda ids, E, P, blocks, norm: _through(E[ids] + P[: ids.shape[1]], blocks) @ E.T,
            "In a pre-norm model nobody has normed the stream when it arrives at the head. `norm(x) @ E.T`.",
        ),
        Mistake(
            "the positions are forgotten",
            lambda ids, E, P, blocks, norm: norm(_through(E[ids], blocks)) @ E.T,
            "Add the first T rows of P to the rows of the tokens.",
        ),
        Mistake(
            "the last positions are taken, not the first",
            lambda ids, E, P, blocks, norm: norm(_through(E[ids] + P[-ids.shape[1] :], blocks)) @ E.T,
            "The first token of a text stands at place 0: `P[:T]`.",
        ),
        Mistake(
            "the positions are normed, the tokens are not",
            lambda ids, E, P, blocks, norm: norm(_through(E[ids] + norm(P[None, : ids.shape[1]]), blocks)) @ E.T,
            "Nothing is normed at the entrance: `E[ids] + P[:T]` is all.",
        ),
        Mistake(
            "each block reads the embedding",
            _all_read_the_embedding,
            "Only the last block counts in your model. Give each what the one before it has left: `x = block(x)`.",
        ),
        Mistake(
            "the stream is added around each block",
            lambda ids, E, P, blocks, norm: (
                norm(_through(E[ids] + P[: ids.shape[1]], [lambda x, b=b: x + b(x) for b in blocks])) @ E.T
            ),
            "A block has its residual inside. With `x + block(x)` the stream counts twice at every layer.",
        ),
        Mistake(
            "the norm comes after each block",
            lambda ids, E, P, blocks, norm: (
                norm(_through(E[ids] + P[: ids.shape[1]], [lambda x, b=b: norm(b(x)) for b in blocks])) @ E.T
            ),
            "The norm at the end comes once, after the last block. Inside, the blocks have their own.",
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


def flops_a_token(V, L, C, T):
    matrices = 2 * 12 * C * C  # 4 C² in attention, 8 C² in the MLP, two FLOPs a number
    scores = 2 * 2 * T * C  # q · k with T keys, then T weights · v, over all heads together
    return L * (matrices + scores) + 2 * V * C


def _flop_inputs(rng):
    yield from [(10, 1, 2, 3), (50, 2, 12, 8), (50257, 12, 768, 1024)]
    for _ in range(3):
        yield rng.randint(20, 900), rng.randint(2, 9), 4 * rng.randint(2, 40), rng.randint(5, 300)


_FLOPS = Exercise(
    id="model.7",
    title="How much work is a token?",
    minutes=15,
    difficulty=3,
    prompt="Count the FLOPs of the forward pass for one token in a sequence of T. A multiply-add is 2 FLOPs; count the "
    "products of matrices only (no norms, biases, bends, softmax). Each number of a matrix is used once a token: four "
    "C × C in attention, C × 4 C and back in the MLP, and the head, C × V. Attention itself compares the token's "
    "query with T keys (count all T, though a mask hides some) and averages T values. Looking up an "
    "embedding costs nothing.\n\nInput: `V`, `L`, `C`, `T`, all `int`. Result: an `int`.",
    signature="def flops_a_token(V: int, L: int, C: int, T: int) -> int",
    inputs=_flop_inputs,
    solution=flops_a_token,
    mistakes=[
        Mistake(
            "a multiply-add is counted once",
            lambda V, L, C, T: flops_a_token(V, L, C, T) // 2,
            "You are off by a factor of 2: a multiplication and an addition are two FLOPs. (Some papers count them as "
            "one; say which.)",
        ),
        Mistake(
            "the head is forgotten",
            lambda V, L, C, T: flops_a_token(V, L, C, T) - 2 * V * C,
            "You are 2 V C short. The head is tied and has no numbers of its own, but it has work to do.",
        ),
        Mistake(
            "attention's own products are forgotten",
            lambda V, L, C, T: flops_a_token(V, L, C, T) - L * 4 * T * C,
            "You counted the matrices of attention, and not the queries times the keys and the weights times the "
            "values: 4 T C in each layer.",
        ),
        Mistake(
            "the values are forgotten",
            lambda V, L, C, T: flops_a_token(V, L, C, T) - L * 2 * T * C,
            "q · k is one product, and averaging the values with the weights is another one as large.",
        ),
        Mistake(
            "attention is counted for all T tokens",
            lambda V, L, C, T: flops_a_token(V, L, C, T) + L * 4 * C * (T * T - T),
            "The scores of a sequence are T × T, but one token has one row of them: T.",
        ),
        Mistake(
            "the whole sequence is counted",
            lambda V, L, C, T: T * flops_a_token(V, L, C, T),
            "That is the work of all T tokens. One token is asked for: divide by T.",
        ),
        Mistake(
            "looking up the embedding is counted as a product",
            lambda V, L, C, T: flops_a_token(V, L, C, T) + 2 * V * C,
            "A look-up copies a row. It is equal to a product with one-hot rows, but nobody computes it so.",
        ),
        Mistake(
            "only one layer is counted",
            lambda V, L, C, T: flops_a_token(V, 1, C, T),
            "Each of the L layers does this work.",
        ),
    ],
    hints=[
        "What is used once a token costs 2 FLOPs a number. Count the numbers of the matrices in a block first.",
        "12 C² numbers a block, so 24 C² FLOPs. Then the scores: C channels of all heads together, T keys.",
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
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]], dtype=torch.float64)
    draws = torch.tensor([[[0.1, 0.9, 0.3, 0.25]]], dtype=torch.float64)
    yield from [(x, draws, 0.2, True), (x, draws, 0.2, False)]
    for training in (True, False, True):
        p = rng.choice((0.1, 0.3, 0.4))
        x = _normal(rng, 2, 3, 5)
        yield x, torch.rand(2, 3, 5, generator=_generator(rng), dtype=torch.float64), p, training


def _in_training(drop: Callable) -> Callable:
    return lambda x, draws, p, training: drop(x, draws, p) if training else x


_DROPOUT = Exercise(
    id="model.8",
    title="Dropout",
    minutes=10,
    difficulty=1,
    prompt="In training, set each number to 0 with probability p, and divide the others by 1 − p, so that the mean "
    "stays what it was. Outside training, do nothing. The lots are drawn already: `draws` holds a number between 0 and "
    "1 for each number of x, and what is drawn below p is dropped.\n\nShapes: `x` and `draws` are float tensors "
    "[B, T, C], `p` is a `float`, `training` a `bool`. Result: a float tensor [B, T, C].",
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
            "p is the part that is dropped. What is left is 1 − p: divide by that.",
        ),
        Mistake(
            "the rest is multiplied by 1 - p",
            _in_training(lambda x, draws, p: torch.where(draws < p, 0.0, x * (1 - p))),
            "That makes it smaller still. The numbers that are left must stand in for those that are gone: divide.",
        ),
        Mistake(
            "p is taken for the part that is kept",
            _in_training(lambda x, draws, p: torch.where(draws < p, x / p, 0.0)),
            "p is the probability to be dropped, as in `nn.Dropout(p)`.",
        ),
        Mistake(
            "it drops outside training as well",
            lambda x, draws, p, training: torch.where(draws < p, 0.0, x / (1 - p)),
            "With `training=False` the result is x itself. (In a model, `model.eval()` says it to every dropout.)",
        ),
        Mistake(
            "outside training it is made smaller",
            lambda x, draws, p, training: torch.where(draws < p, 0.0, x / (1 - p)) if training else x * (1 - p),
            "The scaling is done in training already. Outside, x stays as it is.",
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
    for T, V, size in ((7, 60, 0.02), (50, 6, 0.02), (7, 50, 4.0), (9, 300, 0.1), (7, 90, 8.0)):
        logits = (size * _normal(rng, 2, T, V)).float()
        yield logits, torch.randint(V, (2, T), generator=_generator(rng))


def _verdict(loss_of: Callable, expected_of: Callable) -> Callable:
    def wrong(logits, targets):
        loss, expected = loss_of(logits, targets), expected_of(logits)
        return "too large" if loss > 1.1 * expected else "too small" if loss < 0.9 * expected else "as it should be"

    return wrong


def _mean_loss(logits, targets) -> float:
    return float(F.cross_entropy(logits.flatten(0, 1), targets.flatten()))


def _ln_v(logits) -> float:
    return math.log(logits.shape[-1])


_FIRST = Exercise(
    id="model.9",
    title="Before the first step",
    minutes=15,
    difficulty=2,
    prompt="Write the check that every training should begin with. From the logits of an untrained model and the "
    "targets, compute the mean loss in nats, compare it with ln V, and say \"too large\" (more than 10 % above it), "
    '"too small" (more than 10 % below it), or "as it should be".\n\nShapes: `logits` is a float tensor [B, T, V], '
    "`targets` an integer tensor [B, T]. Result: a `str`.",
    signature='def first_loss(logits: Float[Tensor, "B T V"], targets: Int[Tensor, "B T"]) -> str',
    inputs=_loss_inputs,
    solution=first_loss,
    mistakes=[
        Mistake(
            "compared with the logarithm of base 2",
            _verdict(_mean_loss, lambda logits: math.log2(logits.shape[-1])),
            "The loss is in nats, so the logarithm is the natural one, `math.log`. `math.log2` gives bits.",
        ),
        Mistake(
            "compared with ln T",
            _verdict(_mean_loss, lambda logits: math.log(logits.shape[1] + 1e-9)),
            "The model chooses among V tokens: the last axis of the logits.",
        ),
        Mistake(
            "the surprises are added up, not averaged",
            _verdict(lambda logits, targets: _mean_loss(logits, targets) * targets.numel(), _ln_v),
            "Divide by the number of targets: ln V is what one token costs.",
        ),
        Mistake(
            "a loss that is too small counts as good",
            lambda logits, targets: "too large" if _mean_loss(logits, targets) > 1.1 * _ln_v(logits)
            else "as it should be",
            "An untrained model that is less surprised than by blind guessing has seen the answers. Report it.",
        ),
        Mistake(
            "too large and too small are swapped",
            lambda logits, targets: {"too large": "too small", "too small": "too large"}.get(
                first_loss(logits, targets), "as it should be"
            ),
            "Too large means that the loss is above ln V.",
        ),
    ],
    hints=[
        "The loss is `F.cross_entropy`, which wants [N, V] and [N].",
        "`logits.flatten(0, 1)` is [B·T, V] and `targets.flatten()` is [B·T]. V is `logits.shape[-1]`.",
        "Compare with `1.1 * math.log(V)` and `0.9 * math.log(V)`.",
    ],
)  # fmt: skip

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
        question="x has a mean of 5 and a spread of 2 over its channels. The same position arrives a hundred times as "
        "large. What does layer norm give?",
        kind="choice",
        choices=("a hundred times as much", "the same", "a hundredth of it"),
        answer="b",
        explanation="Mean and spread grow by the same factor, which cancels. (eps disturbs it a little.)",
    ),
    Prediction(
        id="model.c",
        question="Two matrices one after the other, C to 4 C and back to C, with no bend between them. What can they "
        "do that one matrix C × C cannot?",
        kind="choice",
        choices=("four times as much", "nothing", "it depends on the numbers"),
        answer="b",
        explanation="(x W₁) W₂ = x (W₁ W₂), and W₁ W₂ is one matrix C × C.",
    ),
    Prediction(
        id="model.d",
        question="V = 859. The model is untrained, and its logits are all near 0. What is its loss, in nats a token?",
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
        explanation="An MLP has 8 C² numbers in each block, attention 4 C². The table is larger than all attention "
        "together, but not than the MLPs; in larger models it shrinks to a few per cent.",
    ),
    Prediction(
        id="model.f",
        question="Which fault does each patient have? Give eight words for A to H, each of: mask, scale, residual, "
        "norm, positions, heads, initialisation, targets.",
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
        explanation="Nobody can be less surprised, on average, than the entropy. Look for a leak: change one token, "
        "and see whether something before it moves.",
    ),
    Question(
        about="attention",
        question="The scores of attention are divided by a root. Of which number?",
        choices=("of C, the channels", "of T, the positions", "of hs, the size of a head"),
        answer="c",
        explanation="A dot product of hs independent numbers of size 1 has a spread of √hs.",
    ),
    Question(
        about="embedding",
        question="A model ties its weights. What is shared?",
        choices=(
            "queries and keys",
            "the table of tokens, which also gives the logits",
            "the blocks, which all have the same numbers",
        ),
        answer="b",
        explanation="The table that turns ids into vectors is used once more at the end, to compare a vector with each "
        "token.",
    ),
]
