"""Exercises on from GPT-2 to Llama: the four parts by hand, and what they cost."""

import math
import random

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlab import llama
from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question


def _normal(rng: random.Random, *shape: int, scale: int | float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(rng.randrange(2**31))) * scale


# ---- llama.1 ---------------------------------------------------------------------------------------------------------


def rms_norm(x, weight, eps):
    mean_square = x.square().mean(dim=-1, keepdim=True)  # [B, T, 1]
    return weight * x / (mean_square + eps).sqrt()


def _norm_inputs(rng):
    yield torch.tensor([[[3.0, 4.0]]]), torch.tensor([1.0, 1.0]), 0.0
    yield torch.tensor([[[3.0, 4.0]]]), torch.tensor([1.0, 0.5]), 0.0
    yield torch.tensor([[[0.3, -0.4], [0.0, 0.1]]]), torch.tensor([1.0, 2.0]), 0.5
    for B, T, C in ((2, 3, 4), (3, 2, 6), (2, 4, 5)):
        yield _normal(rng, B, T, C) + 1.0, _normal(rng, C), 0.1


_NORM = Exercise(
    id="llama.1",
    title="RMSNorm",
    minutes=5,
    difficulty=1,
    prompt="Divide each vector by the root of the mean of its squares, and multiply each channel by its weight. `eps` "
    "is added to the mean of the squares, so that a vector of zeros is not divided by zero.\n\nShapes: `x` is a float "
    "tensor [B, T, C], `weight` is [C], `eps` a number. Result: a tensor [B, T, C].",
    signature='def rms_norm(x: Float[Tensor, "B T C"], weight: Float[Tensor, "C"], eps: float) '
    '-> Float[Tensor, "B T C"]',
    inputs=_norm_inputs,
    solution=rms_norm,
    reference=lambda x, weight, eps: F.rms_norm(x, (x.shape[-1],), weight, eps),
    mistakes=[
        Mistake(
            "the mean is taken off first",
            lambda x, weight, eps: F.layer_norm(x, (x.shape[-1],), weight, None, eps),
            "That is LayerNorm. RMSNorm leaves the mean where it is.",
        ),
        Mistake(
            "it is divided by the length of the vector",
            lambda x, weight, eps: weight * x / (x.square().sum(-1, keepdim=True) + eps).sqrt(),
            "The length is the root of the **sum** of squares, and grows with C. Take the mean: then the numbers have "
            "size 1, whatever C is.",
        ),
        Mistake(
            "the root is missing",
            lambda x, weight, eps: weight * x / (x.square().mean(-1, keepdim=True) + eps),
            "Twice the vector would give half the result. Divide by the root of the mean square.",
        ),
        Mistake(
            "eps is added after the root",
            lambda x, weight, eps: weight * x / (x.square().mean(-1, keepdim=True).sqrt() + eps),
            "Where the numbers are small, eps counts for much more there. It belongs under the root.",
        ),
        Mistake(
            "eps is left out",
            lambda x, weight, eps: weight * x / x.square().mean(-1, keepdim=True).sqrt(),
            "Add `eps` to the mean of the squares, under the root. Without it a vector of zeros becomes NaN.",
        ),
        Mistake(
            "keepdim is missing",
            lambda x, weight, eps: weight * x / (x.square().mean(-1) + eps).sqrt(),
            "The mean is then [B, T], and its last axis meets the C of `x`: an error, or the wrong vectors. With "
            "`keepdim=True` it is [B, T, 1].",
        ),
        Mistake(
            "the mean runs over the wrong axis",
            lambda x, weight, eps: weight * x / (x.square().mean(1, keepdim=True) + eps).sqrt(),
            "Each place of each text is normed by itself: the mean runs over C, `dim=-1`. Over T, a place would feel "
            "the places after it.",
        ),
        Mistake(
            "one mean for everything",
            lambda x, weight, eps: weight * x / (x.square().mean() + eps).sqrt(),
            "Each vector has its own size: `mean(dim=-1, keepdim=True)`.",
        ),
        Mistake(
            "the weight is left out",
            lambda x, weight, eps: x / (x.square().mean(-1, keepdim=True) + eps).sqrt(),
            "Each channel is multiplied by its weight at the end.",
        ),
        Mistake(
            "the weight is taken as 1 + weight",
            lambda x, weight, eps: (1 + weight) * x / (x.square().mean(-1, keepdim=True) + eps).sqrt(),
            "Gemma stores its weights like that, around 0. Llama's are the factors themselves, around 1.",
        ),
    ],
    hints=[
        "Three steps: square, mean over the channels, root.",
        "`x.square().mean(dim=-1, keepdim=True)` is [B, T, 1], one number for each vector.",
        "`weight * x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt()`",
    ],
    package="gptlab.llama.RMSNorm",
)

# ---- llama.2 ---------------------------------------------------------------------------------------------------------


def turn_pair(a, b, position, frequency):
    angle = position * frequency
    return a * math.cos(angle) - b * math.sin(angle), a * math.sin(angle) + b * math.cos(angle)


def _turn_inputs(rng):
    yield from [(1.0, 0.0, 1, math.pi / 2), (2.0, 1.0, 0, 0.7), (1.0, 0.0, 3, 0.1), (0.0, 1.0, 2, 0.25)]
    for _ in range(6):
        yield rng.uniform(-2, 2), rng.uniform(0.5, 2), rng.randrange(2, 20), rng.uniform(0.05, 0.3)


def _turn_with(angle):
    return lambda a, b, position, frequency: turn_pair(a, b, 1, angle(position, frequency))


def _one_after_the_other(a, b, position, frequency):
    cos, sin = math.cos(position * frequency), math.sin(position * frequency)
    a = a * cos - b * sin
    return a, a * sin + b * cos


_TURN = Exercise(
    id="llama.2",
    title="Turn one pair",
    minutes=5,
    difficulty=1,
    prompt="A pair of channels (a, b) is an arrow in the plane. A token at `position` turns it against the clock, by "
    "`position` times `frequency` radians.\n\nInput: three numbers and a place, an `int`. Result: the new pair, a "
    "`tuple` of two `float`.",
    signature="def turn_pair(a: float, b: float, position: int, frequency: float) -> tuple[float, float]",
    inputs=_turn_inputs,
    solution=turn_pair,
    mistakes=[
        Mistake(
            "it turns with the clock",
            _turn_with(lambda position, frequency: -position * frequency),
            "Against the clock the minus stands in the first line: a cos − b sin, a sin + b cos. (With both signs "
            "turned the distances would still come out right, and no published model would fit.)",
        ),
        Mistake(
            "the angle is in degrees",
            _turn_with(lambda position, frequency: math.radians(position * frequency)),
            "Radians: `math.cos` expects them, and the frequencies are given in them.",
        ),
        Mistake(
            "the position plays no part",
            _turn_with(lambda position, frequency: frequency),
            "The angle is position times frequency: every place its own.",
        ),
        Mistake(
            "positions begin at 1",
            _turn_with(lambda position, frequency: (position + 1) * frequency),
            "At position 0 nothing is turned.",
        ),
        Mistake(
            "the second line uses the new a",
            _one_after_the_other,
            "You have overwritten `a` before its old value was used for the second number.",
        ),
        Mistake(
            "the arrow is mirrored, too",
            lambda a, b, position, frequency: turn_pair(a, -b, position, frequency),
            "Look at the signs: a cos **−** b sin, and a sin **+** b cos.",
        ),
        Mistake(
            "the two numbers are exchanged",
            lambda a, b, position, frequency: turn_pair(a, b, position, frequency)[::-1],
            "First a cos − b sin, then a sin + b cos.",
        ),
    ],
    hints=[
        "First the angle, then its cosine and its sine.",
        "Where does (1, 0) go? To (cos, sin). And (0, 1)? To (−sin, cos). Add a times the first and b times the "
        "second.",
        "`a * cos - b * sin, a * sin + b * cos`",
    ],
    package="gptlab.llama.rotate",
)

# ---- llama.3 ---------------------------------------------------------------------------------------------------------


def frequencies(hs, theta):
    i = torch.arange(hs // 2)
    return 1 / theta ** (2 * i / hs)  # [hs / 2]


def _frequency_inputs(rng):
    yield from [(4, 100.0), (4, 10_000.0), (8, 10_000.0), (6, 500_000.0), (16, 100.0)]


_FREQUENCIES = Exercise(
    id="llama.3",
    title="From fast to slow",
    minutes=10,
    difficulty=1,
    prompt=r"How far does one step turn pair $i$ of a head's channels? By $1 / \theta^{2i / hs}$ radians, for $i = 0, "
    r"1, \dots, hs/2 - 1$."
    "\n\nInput: `hs`, an even `int`, and `theta`, a `float`. Result: a float tensor [hs / 2].",
    signature='def frequencies(hs: int, theta: float) -> Float[Tensor, "hs/2"]',
    inputs=_frequency_inputs,
    solution=frequencies,
    reference=lambda hs, theta: llama.rope_frequencies(hs, theta),
    mistakes=[
        Mistake(
            "there is one for each channel",
            lambda hs, theta: 1 / theta ** (torch.arange(hs) / hs),
            "Two channels share a turn: there are hs / 2 of them.",
        ),
        Mistake(
            "the 2 is missing from the exponent",
            lambda hs, theta: 1 / theta ** (torch.arange(hs // 2) / hs),
            "The exponent is 2i / hs. Without the 2 the slowest pair is as slow as the middle one should be.",
        ),
        Mistake(
            "these are the tokens that a radian takes",
            lambda hs, theta: theta ** (2 * torch.arange(hs // 2) / hs),
            "This grows with i. One step turns by its reciprocal.",
        ),
        Mistake(
            "these are the tokens that a whole turn takes",
            lambda hs, theta: 2 * math.pi * theta ** (2 * torch.arange(hs // 2) / hs),
            "That is the wavelength, 2π divided by the frequency.",
        ),
        Mistake(
            "i begins at 1",
            lambda hs, theta: 1 / theta ** (2 * torch.arange(1, hs // 2 + 1) / hs),
            "The first pair turns by a whole radian at each step: theta to the power of 0.",
        ),
        Mistake(
            "they are spaced evenly",
            lambda hs, theta: torch.linspace(1, theta ** (2 / hs - 1), hs // 2),
            "Both ends are right. In between each is the one before times a fixed factor, not minus a fixed step.",
        ),
        Mistake(
            "the last one is 1 / theta",
            lambda hs, theta: 1 / theta ** (torch.arange(hs // 2) / (hs // 2 - 1)),
            "i / (hs/2 − 1) reaches 1 at the last pair. The formula stops a step before: 2i / hs.",
        ),
    ],
    hints=[
        "The numbers i are `torch.arange(hs // 2)`.",
        "For hs = 4 the exponents are 0 and 1/2.",
        "`1 / theta ** (2 * torch.arange(hs // 2) / hs)`",
    ],
    package="gptlab.llama.rope_frequencies",
)

# ---- llama.4 ---------------------------------------------------------------------------------------------------------


def turn_all(x, start, theta):
    T, hs = x.shape
    frequency = 1 / theta ** (torch.arange(0, hs, 2) / hs)  # [hs / 2]
    angles = torch.arange(start, start + T)[:, None] * frequency  # [T, hs / 2]
    a, b = x[:, : hs // 2], x[:, hs // 2 :]
    return torch.cat((a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()), dim=-1)


def _turn_all_inputs(rng):
    yield torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]]), 0, 100.0
    yield torch.tensor([[1.0, 2.0, 3.0, 4.0]]), 5, 100.0
    for T, hs, start in ((3, 4, 2), (5, 6, 0), (4, 8, 11), (2, 6, 30)):
        yield _normal(rng, T, hs), start, 50.0


def _turn_all_reference(x, start, theta):
    return llama.rotate(x, llama.rope_angles(x.shape[1], start + len(x), theta)[start:])


def _turn_all_variant(pairing="halves", sign=1, offset=lambda start: start, backwards=False):
    def wrong(x, start, theta):
        angles = (torch.arange(len(x)) + offset(start))[:, None] * llama.rope_frequencies(x.shape[1], theta)
        return llama.rotate(x, sign * (angles.flip(1) if backwards else angles), pairing)

    return wrong


def _turn_all_slow(x, start, theta):
    return _turn_all_reference(x, start, math.sqrt(theta))  # 1 / theta ** (i / hs)


_TURN_ALL = Exercise(
    id="llama.4",
    title="Turn a stretch of tokens",
    minutes=15,
    difficulty=2,
    prompt="The queries of one head, for tokens at the places `start`, `start + 1`, … (with a cache from notebook 11, "
    "a text goes on where it was left). Turn them with the pairing of halves: channel $i$ goes with channel $i + "
    "hs/2$, and their frequency is $1 / \\theta^{2i / hs}$.\n\nShapes: `x` is a float tensor [T, hs], `start` an "
    "`int`, `theta` a number. Result: a tensor [T, hs].",
    signature='def turn_all(x: Float[Tensor, "T hs"], start: int, theta: float) -> Float[Tensor, "T hs"]',
    inputs=_turn_all_inputs,
    solution=turn_all,
    reference=_turn_all_reference,
    mistakes=[
        Mistake(
            "neighbours are paired",
            _turn_all_variant("interleaved"),
            "Here channel i goes with i + hs/2. Pairs of neighbours are the other convention, that of Meta's files.",
        ),
        Mistake(
            "the pairs are laid side by side again",
            lambda x, start, theta: llama.to_interleaved(_turn_all_reference(x, start, theta).T, 1).T,
            "The turns are right, the order is not: the first numbers of all pairs come first, then the second ones. "
            "`torch.cat`, not `torch.stack`.",
        ),
        Mistake(
            "the 2 is missing from the exponent",
            _turn_all_slow,
            "The frequency of pair i is 1 / theta ** (2 * i / hs).",
        ),
        Mistake(
            "the places begin at 0 again",
            _turn_all_variant(offset=lambda start: 0),
            "The first token stands at `start`. With a cache this mistake puts every new token at the beginning.",
        ),
        Mistake(
            "every token is turned alike",
            lambda x, start, theta: torch.cat(
                [_turn_all_variant(offset=lambda s: s)(row[None], start, theta) for row in x]
            ),
            "Token t of the stretch stands at place start + t: `torch.arange(start, start + T)`.",
        ),
        Mistake(
            "the places begin at 1",
            _turn_all_variant(offset=lambda start: start + 1),
            "Places are counted from 0: the first token of a text is not turned at all.",
        ),
        Mistake(
            "it turns with the clock",
            _turn_all_variant(sign=-1),
            "a cos − b sin first, then a sin + b cos.",
        ),
        Mistake(
            "slow and fast are exchanged",
            _turn_all_variant(backwards=True),
            "The first pair is the fastest, with 1 radian a step.",
        ),
    ],
    hints=[
        "Angles first: [T, 1] places times [hs / 2] frequencies is [T, hs / 2].",
        "`a, b = x.chunk(2, dim=-1)` gives the two halves, [T, hs / 2] each.",
        "`torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)`",
    ],
    package="gptlab.llama.RotaryPositions",
)

# ---- llama.5 ---------------------------------------------------------------------------------------------------------


def neighbours_to_halves(weight, H):
    C = weight.shape[0]
    hs = C // H
    order = [h * hs + 2 * i + second for h in range(H) for second in (0, 1) for i in range(hs // 2)]
    return weight[order]


def _order_inputs(rng):
    yield torch.arange(8.0)[:, None], 1
    yield torch.arange(12.0)[:, None], 2
    yield torch.arange(16.0).view(8, 2), 2
    for C, H, width in ((12, 2, 3), (18, 3, 2), (24, 3, 5), (16, 1, 4)):
        yield _normal(rng, C, width), H


_ORDER = Exercise(
    id="llama.5",
    title="From neighbours to halves",
    minutes=15,
    difficulty=2,
    prompt="The rows of a query matrix were trained for pairs of neighbours: within each head, rows 2i and 2i + 1 "
    "belong together. Reorder the rows for pairs of halves: within each head, pair i must stand in rows i and i + "
    "hs/2.\n\nShapes: `weight` is a float tensor [C, n] whose rows are those of H heads, one head after the other; `H` "
    "an `int`. Result: a tensor [C, n].",
    signature='def neighbours_to_halves(weight: Float[Tensor, "C n"], H: int) -> Float[Tensor, "C n"]',
    inputs=_order_inputs,
    solution=neighbours_to_halves,
    reference=llama.to_halves,
    mistakes=[
        Mistake(
            "the heads are mixed up",
            lambda weight, H: llama.to_halves(weight, 1),
            "Every head is reordered within itself: its rows stay its own. Cut into heads first.",
        ),
        Mistake(
            "the way is the wrong one",
            llama.to_interleaved,
            "This goes from halves to neighbours. Row 1 of the result must be row 2 of the weight.",
        ),
        Mistake(
            "nothing is moved",
            lambda weight, H: weight.clone(),
            "The rows stay where they were. Row 1 of the result must be row 2 of the weight.",
        ),
        Mistake(
            "the columns are reordered",
            lambda weight, H: (
                weight[:, llama.to_halves(torch.arange(weight.shape[1]), 1)]
                if weight.shape[1] % 2 == 0
                else weight.flip(1)
            ),
            "The columns are the input, which does not know heads. Rows are what comes out and is turned.",
        ),
        Mistake(
            "the two of a pair are exchanged",
            lambda weight, H: weight.unflatten(0, (H, -1, 2)).flip(2).transpose(1, 2).flatten(0, 2),
            "The even rows come first, then the odd ones.",
        ),
        Mistake(
            "row c is taken for a row of head c % H",
            lambda weight, H: weight.unflatten(0, (-1, 2, H)).permute(2, 1, 0, 3).flatten(0, 2),
            "The rows of a head stand together: head 0 has the first hs rows, head 1 the next hs.",
        ),
    ],
    hints=[
        "With one head of 8 rows the new order is 0, 2, 4, 6, 1, 3, 5, 7.",
        "A head with number h begins at row h · hs. `weight[order]` takes the rows in a given order.",
        "Or with shapes alone: view the rows as [H, hs/2, 2], swap the last two of these, and lay them flat again.",
    ],
    package="gptlab.llama.to_halves",
)

# ---- llama.6 ---------------------------------------------------------------------------------------------------------


def swiglu(x, gate, up, down):
    g = x @ gate.T  # [B, T, W]
    return (g * torch.sigmoid(g) * (x @ up.T)) @ down.T  # [B, T, C]


def _swiglu_inputs(rng):
    one = torch.tensor([[1.0]])
    yield torch.tensor([[[1.0]]]), one, 3 * one, one
    yield torch.tensor([[[2.0]]]), -one, one, 2 * one
    for B, T, C, W in ((2, 3, 4, 5), (1, 2, 3, 7), (2, 5, 6, 4)):
        yield _normal(rng, B, T, C), _normal(rng, W, C), _normal(rng, W, C), _normal(rng, C, W)


def _gated(bend):
    return lambda x, gate, up, down: bend(x @ gate.T, x @ up.T) @ down.T


_SWIGLU = Exercise(
    id="llama.6",
    title="An MLP with a gate",
    minutes=10,
    difficulty=2,
    prompt="`silu(z) = z · sigmoid(z)`. Two matrices widen x; the silu of the first is multiplied, channel by channel, "
    "by the second; the third narrows again.\n\nShapes: `x` is a float tensor [B, T, C], `gate` and `up` are [W, C], "
    "`down` is [C, W], as `nn.Linear` keeps its weight (so `x @ gate.T`). Result: a tensor [B, T, C].",
    signature='def swiglu(x: Float[Tensor, "B T C"], gate: Float[Tensor, "W C"], up: Float[Tensor, "W C"],\n'
    '           down: Float[Tensor, "C W"]) -> Float[Tensor, "B T C"]',
    inputs=_swiglu_inputs,
    solution=swiglu,
    reference=lambda x, gate, up, down: F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down),
    mistakes=[
        Mistake(
            "gate and up are exchanged",
            _gated(lambda g, u: g * F.silu(u)),
            "The silu goes around the gate. In a file of weights the names decide, and the other way is wrong there.",
        ),
        Mistake(
            "the gate is a sigmoid",
            _gated(lambda g, u: torch.sigmoid(g) * u),
            "That is GLU, the older form (Dauphin et al. 2016). silu multiplies the sigmoid by its input.",
        ),
        Mistake(
            "the gate is a GELU",
            _gated(lambda g, u: F.gelu(g) * u),
            "That is GEGLU, which Gemma uses. Close, but not the same.",
        ),
        Mistake(
            "the two are added",
            _gated(lambda g, u: F.silu(g) + u),
            "A gate multiplies: where it is near 0, nothing comes through.",
        ),
        Mistake(
            "the silu is around the product",
            _gated(lambda g, u: F.silu(g * u)),
            "Bend the gate alone, then multiply.",
        ),
        Mistake(
            "there is no gate",
            _gated(lambda g, u: F.silu(u)),
            "That is an MLP as before, with silu for GELU. The first matrix is not used.",
        ),
        Mistake(
            "nothing bends",
            _gated(lambda g, u: g * u),
            "The silu is missing. (This one has a name, too: a bilinear layer.)",
        ),
    ],
    hints=[
        "Four products in all: three of matrices, one number by number.",
        "`g = x @ gate.T` is [B, T, W]; its silu is `g * torch.sigmoid(g)`, or `F.silu(g)`.",
        "`(F.silu(x @ gate.T) * (x @ up.T)) @ down.T`",
    ],
    package="gptlab.llama.SwiGLU",
)

# ---- llama.7 ---------------------------------------------------------------------------------------------------------


def share(k, H):
    B, G, T, hs = k.shape
    return k[:, :, None].expand(B, G, H // G, T, hs).reshape(B, H, T, hs)


def _share_inputs(rng):
    yield torch.tensor([[[[1.0]], [[2.0]]]]), 4
    yield torch.arange(12.0).view(1, 2, 3, 2), 4
    for B, G, T, hs, H in ((2, 2, 3, 5, 6), (3, 3, 2, 4, 6), (2, 2, 5, 3, 8)):
        yield _normal(rng, B, G, T, hs), H


_SHARE = Exercise(
    id="llama.7",
    title="One head of keys for several of queries",
    minutes=10,
    difficulty=2,
    prompt="There are G heads of keys and H heads of queries, H a multiple of G. Neighbouring heads of queries share: "
    "with G = 2 and H = 6, heads 0, 1, 2 read the first keys and heads 3, 4, 5 the second. Give the keys as every head "
    "of queries sees them.\n\nShapes: `k` is a float tensor [B, G, T, hs], `H` an `int`. Result: a tensor [B, H, T, "
    "hs].",
    signature='def share(k: Float[Tensor, "B G T hs"], H: int) -> Float[Tensor, "B H T hs"]',
    inputs=_share_inputs,
    solution=share,
    reference=lambda k, H: k.repeat_interleave(H // k.shape[1], dim=1),
    mistakes=[
        Mistake(
            "the heads are laid behind each other",
            lambda k, H: k.repeat(1, H // k.shape[1], 1, 1),
            "`repeat` gives 0, 1, 0, 1. The shape is right and every model trained the usual way is wrong: the order "
            "must be 0, 0, 1, 1, as `repeat_interleave` gives it.",
        ),
        Mistake(
            "the first head serves all",
            lambda k, H: k[:, :1].repeat(1, H, 1, 1),
            "With one head of keys for all it would be multi-query attention. Here there are G.",
        ),
        Mistake(
            "the tokens are repeated",
            lambda k, H: k.repeat_interleave(H // k.shape[1], dim=2),
            "Repeat along the axis of the heads, `dim=1`, not of the tokens.",
        ),
        Mistake(
            "the heads are in reverse",
            lambda k, H: k.flip(1).repeat_interleave(H // k.shape[1], dim=1),
            "Head 0 of the queries reads head 0 of the keys.",
        ),
        Mistake(
            "each head is repeated G times",
            lambda k, H: k.repeat_interleave(k.shape[1], dim=1),
            "Each of the G heads is read by H / G heads of queries.",
        ),
        Mistake(
            "the rest is filled with zeros",
            lambda k, H: F.pad(k, (0, 0, 0, 0, 0, H - k.shape[1])),
            "A key of zeros fits every query equally badly. The heads must be shared.",
        ),
    ],
    hints=[
        "How often does each head of keys come? H / G times, one directly after the other.",
        "Give the axis of heads a new axis beside it, [B, G, 1, T, hs], and stretch that one.",
        "`k.repeat_interleave(H // k.shape[1], dim=1)`",
    ],
    package="gptlab.attention.MultiHeadAttention.weights",
)

# ---- llama.8 ---------------------------------------------------------------------------------------------------------


def longest(memory, parameters, n_layer, n_head, n_kv_head, n_embd, B, width):
    a_token = 2 * n_layer * n_kv_head * (n_embd // n_head) * width
    return (memory - parameters * width) // (B * a_token)


def _longest_inputs(rng):
    yield 1000, 100, 1, 2, 1, 8, 1, 2
    yield 1000, 100, 1, 2, 2, 8, 3, 2
    yield 80_000_000_000, 8_030_261_248, 32, 32, 8, 4096, 1, 2
    yield 80_000_000_000, 8_030_261_248, 32, 32, 8, 4096, 16, 2
    yield 24_000_000_000, 1_235_814_400, 16, 32, 8, 2048, 5, 4
    for _ in range(4):
        n_kv_head, hs = rng.randrange(2, 6), rng.randrange(3, 9)
        n_head = n_kv_head * rng.randrange(2, 5)
        yield (
            rng.randrange(10**7, 10**8), rng.randrange(10**5, 10**6), rng.randrange(2, 9), n_head, n_kv_head,
            n_head * hs, rng.randrange(2, 7), 2,
        )  # fmt: skip


_LONGEST = Exercise(
    id="llama.8",
    title="How long may the texts be?",
    minutes=15,
    difficulty=2,
    prompt="A device holds the weights, each once, and beside them the caches of B texts of equal length. How many "
    "tokens can each text have, at most? Weights and cache take `width` bytes a number.\n\nInput: `memory` in bytes, "
    "`parameters`, `n_layer`, `n_head`, `n_kv_head`, `n_embd`, `B`, `width`, all `int`. Result: an `int`, rounded "
    "down. (The weights fit.)",
    signature="def longest(memory: int, parameters: int, n_layer: int, n_head: int, n_kv_head: int, n_embd: int,\n"
    "            B: int, width: int) -> int",
    inputs=_longest_inputs,
    solution=longest,
    mistakes=[
        Mistake(
            "the weights take no room",
            lambda memory, N, L, H, G, C, B, w: memory // (B * 2 * L * G * (C // H) * w),
            "Take the bytes of the weights off the memory first.",
        ),
        Mistake(
            "a weight takes one byte",
            lambda memory, N, L, H, G, C, B, w: (memory - N) // (B * 2 * L * G * (C // H) * w),
            "Each weight takes `width` bytes, like the numbers of the cache.",
        ),
        Mistake(
            "only one of keys and values is kept",
            lambda memory, N, L, H, G, C, B, w: (memory - N * w) // (B * L * G * (C // H) * w),
            "A token leaves a key **and** a value: a factor of 2.",
        ),
        Mistake(
            "every head of queries has its own keys",
            lambda memory, N, L, H, G, C, B, w: (memory - N * w) // (B * 2 * L * C * w),
            "Only `n_kv_head` heads of keys and values are kept; that is what sharing is for.",
        ),
        Mistake(
            "the batch is forgotten",
            lambda memory, N, L, H, G, C, B, w: (memory - N * w) // (2 * L * G * (C // H) * w),
            "Each of the B texts has its own past, and they share the room.",
        ),
        Mistake(
            "each text brings its own weights",
            lambda memory, N, L, H, G, C, B, w: (memory - B * N * w) // (B * 2 * L * G * (C // H) * w),
            "All texts use the same weights: they are there once.",
        ),
        Mistake(
            "the layers are forgotten",
            lambda memory, N, L, H, G, C, B, w: (memory - N * w) // (B * 2 * G * (C // H) * w),
            "Each layer keeps keys and values of its own.",
        ),
        Mistake(
            "it is rounded up",
            lambda memory, N, L, H, G, C, B, w: -(-(memory - N * w) // (B * 2 * L * G * (C // H) * w)),
            "The last token would not fit any more: round down, `//`.",
        ),
    ],
    hints=[
        "What is left when the weights are in? And what does one token of one text cost?",
        "A token costs `2 * n_layer * n_kv_head * (n_embd // n_head) * width` bytes.",
        "Divide what is left by B times that, with `//`.",
    ],
    package="gptlab.sampling.cache_bytes",
)

# ---- llama.9 ---------------------------------------------------------------------------------------------------------


def count(V, L, H, n_kv_head, C, W, tied):
    hs = C // H
    attention = C * C + 2 * C * n_kv_head * hs + C * C  # queries, keys and values, output
    layer = attention + 3 * C * W + 2 * C  # gate, up and down; two norms
    return L * layer + C + V * C * (1 if tied else 2)


def _count_inputs(rng):
    yield 5, 1, 2, 1, 4, 3, True
    yield 5, 1, 2, 2, 4, 3, False
    yield 32000, 32, 32, 32, 4096, 11008, False
    yield 128256, 32, 32, 8, 4096, 14336, False
    yield 128256, 16, 32, 8, 2048, 8192, True
    for _ in range(4):
        n_kv_head, shared, hs = rng.randrange(2, 5), rng.randrange(2, 4), rng.randrange(3, 7)
        H = n_kv_head * shared
        yield rng.randrange(30, 90), rng.randrange(2, 6), H, n_kv_head, H * hs, rng.randrange(7, 40), rng.random() < 0.5


_COUNT = Exercise(
    id="llama.9",
    title="Count a Llama",
    minutes=20,
    difficulty=2,
    prompt="How many numbers does a Llama learn? A table of V rows of C; L layers with attention (queries and output "
    "[C, C], keys and values with `n_kv_head` heads), SwiGLU of width W, and two norms; one more norm at the end; and "
    "a head [V, C], which is the table once more where the weights are `tied`. No biases anywhere.\n\nInput: `V`, `L`, "
    "`H`, `n_kv_head`, `C`, `W`, all `int`, and `tied`, a `bool`. Result: an `int`.",
    signature="def count(V: int, L: int, H: int, n_kv_head: int, C: int, W: int, tied: bool) -> int",
    inputs=_count_inputs,
    solution=count,
    mistakes=[
        Mistake(
            "the MLP has two matrices",
            lambda V, L, H, G, C, W, tied: count(V, L, H, G, C, W, tied) - L * C * W,
            "SwiGLU has three: gate, up and down.",
        ),
        Mistake(
            "keys and values are as wide as the queries",
            lambda V, L, H, G, C, W, tied: count(V, L, H, H, C, W, tied),
            "Keys and values have n_kv_head heads of C / H channels: matrices of [n_kv_head · hs, C].",
        ),
        Mistake(
            "the norms are forgotten",
            lambda V, L, H, G, C, W, tied: count(V, L, H, G, C, W, tied) - (2 * L + 1) * C,
            "Two norms a layer and one at the end, C numbers each.",
        ),
        Mistake(
            "the last norm is forgotten",
            lambda V, L, H, G, C, W, tied: count(V, L, H, G, C, W, tied) - C,
            "After the last layer there is one more norm.",
        ),
        Mistake(
            "a norm has two vectors",
            lambda V, L, H, G, C, W, tied: count(V, L, H, G, C, W, tied) + (2 * L + 1) * C,
            "RMSNorm has a weight and no bias.",
        ),
        Mistake(
            "the head is always counted",
            lambda V, L, H, G, C, W, tied: count(V, L, H, G, C, W, False),
            "Where it is tied, the head **is** the table: counted once.",
        ),
        Mistake(
            "the head is never counted",
            lambda V, L, H, G, C, W, tied: count(V, L, H, G, C, W, True),
            "Where it is not tied, the head is a second matrix of V rows of C.",
        ),
        Mistake(
            "the output projection is forgotten",
            lambda V, L, H, G, C, W, tied: count(V, L, H, G, C, W, tied) - L * C * C,
            "Attention has four matrices; the last mixes what the heads have found, [C, C].",
        ),
    ],
    hints=[
        "First one layer: attention, then the MLP, then its two norms.",
        "Attention: `2 * C * C + 2 * C * n_kv_head * (C // H)`. MLP: `3 * C * W`.",
        "`L * layer + C + V * C * (1 if tied else 2)`",
    ],
    package="gptlab.gpu.count_parameters",
)

# ---- llama.10 --------------------------------------------------------------------------------------------------------


def gated_width(C, multiple):
    width = 8 * C // 3
    return (width + multiple - 1) // multiple * multiple


def _width_inputs(rng):
    yield from [(3, 1), (6, 16), (6, 1), (48, 64), (4096, 256), (5120, 256), (192, 64), (100, 32), (64, 1)]
    for _ in range(5):
        yield rng.randrange(20, 900), rng.choice([8, 16, 64])


_WIDTH = Exercise(
    id="llama.10",
    title="As wide as the budget allows",
    minutes=10,
    difficulty=1,
    prompt="An MLP with two matrices is 4 C wide. How wide is one with a gate, three matrices, for as many numbers? "
    "Take the whole number in 8 C / 3, and round it **up** to the next multiple of `multiple`, because GPUs like round "
    "sizes.\n\nInput: `C` and `multiple`, both `int`. Result: an `int`. (For C = 4096 and 256 it is the width of Llama "
    "2 7B.)",
    signature="def gated_width(C: int, multiple: int) -> int",
    inputs=_width_inputs,
    solution=gated_width,
    mistakes=[
        Mistake(
            "it is rounded down",
            lambda C, multiple: 8 * C // 3 // multiple * multiple,
            "Rounded up: 10,922 becomes 11,008 with multiples of 256.",
        ),
        Mistake(
            "the fraction is rounded up first",
            lambda C, multiple: -(-math.ceil(8 * C / 3) // multiple) * multiple,
            "Take the whole number in 8 C / 3 first: for C = 64 that is 170. Only then round up.",
        ),
        Mistake(
            "it is rounded to the nearest",
            lambda C, multiple: round(8 * C / 3 / multiple) * multiple,
            "Up, also where the multiple below is nearer.",
        ),
        Mistake(
            "a multiple is added where it fits already",
            lambda C, multiple: (8 * C // 3 // multiple + 1) * multiple,
            "For C = 6 and 1 the answer is 16, not 17. Add `multiple - 1` before you divide.",
        ),
        Mistake(
            "it is as wide as before",
            lambda C, multiple: -(-4 * C // multiple) * multiple,
            "With three matrices that would be half as many numbers again. 2 · 4C = 3 · W gives W = 8 C / 3.",
        ),
        Mistake(
            "it is half as wide",
            lambda C, multiple: -(-2 * C // multiple) * multiple,
            "That would fit if there were four matrices. With three it is 2/3 of 4 C.",
        ),
        Mistake(
            "it is not rounded",
            lambda C, multiple: 8 * C // 3,
            "Round up to a multiple of `multiple`.",
        ),
    ],
    hints=[
        "2 matrices · C · 4 C = 3 matrices · C · W.",
        "`8 * C // 3` is the whole number. How many times does `multiple` go into it, rounded up?",
        "`(width + multiple - 1) // multiple * multiple`",
    ],
)

EXERCISES = [_NORM, _TURN, _FREQUENCIES, _TURN_ALL, _ORDER, _SWIGLU, _SHARE, _LONGEST, _COUNT, _WIDTH]

PREDICTIONS = [
    Prediction(
        id="llama.a",
        question="Every number of a vector is multiplied by 10. What does RMSNorm (eps = 0) make of it?",
        kind="choice",
        choices=("ten times the result", "the same result", "a tenth of the result"),
        answer="b",
        explanation="The root mean square is ten times as large, too. Only the direction of the vector is left.",
    ),
    Prediction(
        id="llama.b",
        question="A query at position 5, a key at position 2, both turned. Move both 100 places on. Their product …",
        kind="choice",
        choices=("stays the same", "changes its sign", "becomes smaller", "becomes another number"),
        answer="a",
        explanation="Both have been turned further by the same angle, and the angle between them is what it was.",
    ),
    Prediction(
        id="llama.c",
        question="The model was trained with pairs of halves and is run with pairs of neighbours. What happens?",
        kind="choice",
        choices=(
            "an error",
            "nothing, the sums are the same",
            "a salad of words, and no error",
            "only long texts suffer",
        ),
        answer="c",
        explanation="All shapes fit, so nothing complains. But every head looks at wrong places, in every layer.",
    ),
    Prediction(
        id="llama.d",
        question="An MLP of two matrices is 4 C wide. With a gate, and C = 192: how wide, for as many numbers?",
        kind="number",
        answer=512,
        explanation="Three matrices in place of two: 2/3 of 768.",
    ),
    Prediction(
        id="llama.e",
        question="Llama 3 70B has 64 heads of queries and 8 of keys and values. How many times smaller is its cache?",
        kind="number",
        answer=8,
        explanation="Only heads of keys and values are kept, and there are 8 in place of 64.",
    ),
    Prediction(
        id="llama.f",
        question="Llama 3 8B has a vocabulary of 128,256 and C = 4,096. How much of it is table and head?",
        kind="choice",
        choices=("about 1 %", "about 13 %", "about 40 %"),
        answer="b",
        explanation="Twice 128,256 · 4,096 is about one billion of eight. In GPT-2 124M it is a third.",
    ),
]

QUESTIONS = [
    Question(
        about="sampling",
        question="What does a KV cache keep for each token and layer?",
        choices=("its query, key and value", "its key and value", "its scores"),
        answer="b",
        explanation="A query is used once. Keys and values are what every later token asks for.",
    ),
    Question(
        about="model",
        question="Where does the norm stand in a block of GPT-2?",
        choices=("before attention and before the MLP", "after the addition", "only at the end of the model"),
        answer="a",
        explanation="Pre-norm: the stream itself is never rescaled. Llama keeps this place, with another norm.",
    ),
    Question(
        about="embedding",
        question="How does a model with a learned table of positions know that token 7 stands before token 8?",
        choices=(
            "row 7 and row 8 are added to the tokens, and it learns what they mean",
            "from the order in which they are read",
            "rows of later positions are larger",
        ),
        answer="a",
        explanation="Attention sees a set. The table marks each place, and each mark has to be learned by itself.",
    ),
]
