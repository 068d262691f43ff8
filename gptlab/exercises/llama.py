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


def normalise(x, weight, eps):
    mean_square = x.square().mean(dim=-1, keepdim=True)  # [B, T, 1]
    return weight * x / (mean_square + eps).sqrt()


def _norm_inputs(rng):
    yield torch.tensor([[[3.0, 4.0]]]), torch.tensor([1.0, 1.0]), 0.0
    yield torch.tensor([[[3.0, 4.0]]]), torch.tensor([1.0, 0.5]), 0.0
    yield torch.tensor([[[0.3, -0.4], [0.0, 0.1]]]), torch.tensor([1.0, 2.0]), 0.5
    yield torch.tensor([[[0.0, 0.0, 0.0], [1.0, 2.0, 2.0]]]), torch.tensor([1.0, 2.0, 3.0]), 1.0
    for B, T, C in ((2, 3, 4), (3, 2, 6), (2, 4, 5)):
        yield _normal(rng, B, T, C) + 1.0, _normal(rng, C), 0.1


def _rms(divisor, weigh=lambda x, weight: weight * x):
    return lambda x, weight, eps: weigh(x, weight) / divisor(x, eps)


def _root_mean_square(x, eps):
    return (x.square().mean(-1, keepdim=True) + eps).sqrt()


def _weight_inside(x, weight, eps):
    return normalise(weight * x, torch.ones_like(weight), eps)


def _norm_in_place(x, weight, eps):
    return x.div_(_root_mean_square(x, eps)).mul_(weight)


_NORM = Exercise(
    id="llama.1",
    title="RMSNorm",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="Divide each vector by the root of the mean of its squares, and multiply each channel by its weight. `eps` "
    "is added to the mean of the squares, so that a vector of zeros is not divided by zero.\n\nShapes: `x` is a "
    "float32 tensor [B, T, C], `weight` is [C], `eps` a number; where `eps` is 0, no vector is all zeros. Result: a "
    "tensor [B, T, C].",
    signature='def normalise(x: Float[Tensor, "B T C"], weight: Float[Tensor, "C"], eps: float) '
    '-> Float[Tensor, "B T C"]',
    inputs=_norm_inputs,
    solution=normalise,
    reference=lambda x, weight, eps: F.rms_norm(x, (x.shape[-1],), weight, eps),
    mistakes=[
        Mistake(
            "the mean is subtracted first",
            lambda x, weight, eps: F.layer_norm(x, (x.shape[-1],), weight, None, eps),
            "That is LayerNorm. RMSNorm leaves the mean where it is.",
        ),
        Mistake(
            "the mean is subtracted above the line",
            lambda x, weight, eps: weight * (x - x.mean(-1, keepdim=True)) / _root_mean_square(x, eps),
            "RMSNorm leaves the mean where it is: x itself is divided.",
        ),
        Mistake(
            "it is divided by the standard deviation",
            _rms(lambda x, eps: (x.var(-1, keepdim=True, unbiased=False) + eps).sqrt()),
            "A variance subtracts the mean before it squares. RMSNorm takes the mean of the squares themselves.",
        ),
        Mistake(
            "it is divided by the standard deviation, with C - 1",
            _rms(lambda x, eps: (x.var(-1, keepdim=True) + eps).sqrt()),
            "A variance subtracts the mean before it squares, and torch's divides by C - 1. RMSNorm takes the mean of "
            "the squares themselves.",
        ),
        Mistake(
            "it is divided by the length of the vector",
            _rms(lambda x, eps: (x.square().sum(-1, keepdim=True) + eps).sqrt()),
            "The length is the root of the **sum** of squares, and grows with C. Take the mean: then the numbers have "
            "size 1, whatever C is.",
        ),
        Mistake(
            "it is divided by the length of the vector, and eps comes after the root",
            _rms(lambda x, eps: x.square().sum(-1, keepdim=True).sqrt() + eps),
            "The length is the root of the **sum** of squares. Take the mean, add eps to it, then the root.",
        ),
        Mistake(
            "the root is missing",
            _rms(lambda x, eps: x.square().mean(-1, keepdim=True) + eps),
            "Twice the vector would give half the result. Divide by the root of the mean square.",
        ),
        Mistake(
            "it is multiplied by the root",
            lambda x, weight, eps: weight * x * _root_mean_square(x, eps),
            "A large vector would become larger still. Divide by the root (or multiply by `rsqrt`).",
        ),
        Mistake(
            "the squares are missing",
            _rms(lambda x, eps: x.abs().mean(-1, keepdim=True) + eps),
            "That is the mean size of the numbers. RMSNorm takes squares, their mean, and the root.",
        ),
        Mistake(
            "the mean is squared, not the numbers",
            _rms(lambda x, eps: (x.mean(-1, keepdim=True).square() + eps).sqrt()),
            "Square each number first, then take the mean: positive and negative numbers must not cancel.",
        ),
        Mistake(
            "eps is added after the root",
            _rms(lambda x, eps: x.square().mean(-1, keepdim=True).sqrt() + eps),
            "Where the numbers are small, eps counts for much more there. It belongs under the root.",
        ),
        Mistake(
            "eps is left out",
            _rms(lambda x, eps: x.square().mean(-1, keepdim=True).sqrt()),
            "Add `eps` to the mean of the squares, under the root. Without it a vector of zeros becomes NaN.",
        ),
        Mistake(
            "eps is a lower limit",
            _rms(lambda x, eps: x.square().mean(-1, keepdim=True).clamp(min=eps).sqrt()),
            "`eps` is **added** to the mean of the squares, whatever that is.",
        ),
        Mistake(
            "keepdim is missing",
            _rms(lambda x, eps: (x.square().mean(-1) + eps).sqrt()),
            "The mean is then [B, T], and its last axis meets the C of `x`: an error, or the wrong vectors. With "
            "`keepdim=True` it is [B, T, 1].",
        ),
        Mistake(
            "the mean runs over the positions",
            _rms(lambda x, eps: (x.square().mean(1, keepdim=True) + eps).sqrt()),
            "Each position of each text is normalised by itself: the mean runs over C, `dim=-1`. Over T, a position "
            "would see those after it.",
        ),
        Mistake(
            "the mean runs over the batch",
            _rms(lambda x, eps: (x.square().mean(0, keepdim=True) + eps).sqrt()),
            "Each position of each text is normalised by itself: the mean runs over C, `dim=-1`.",
        ),
        Mistake(
            "one mean for everything",
            _rms(lambda x, eps: (x.square().mean() + eps).sqrt()),
            "Each vector has its own size: `mean(dim=-1, keepdim=True)`.",
        ),
        Mistake(
            "the weight is left out",
            _rms(_root_mean_square, weigh=lambda x, weight: x),
            "Each channel is multiplied by its weight at the end.",
        ),
        Mistake(
            "the weight is added",
            lambda x, weight, eps: x / _root_mean_square(x, eps) + weight,
            "Each channel is **multiplied** by its weight.",
        ),
        Mistake(
            "it is divided by the weight",
            _rms(_root_mean_square, weigh=lambda x, weight: x / weight),
            "Each channel is **multiplied** by its weight.",
        ),
        Mistake(
            "the weight comes before the norm",
            _weight_inside,
            "Then the weights take part in the mean of the squares. First divide, then multiply by the weight.",
        ),
        Mistake(
            "the weight is taken as 1 + weight",
            _rms(_root_mean_square, weigh=lambda x, weight: (1 + weight) * x),
            "Gemma stores its weights like that, around 0. Llama's are the factors themselves, around 1.",
        ),
        Mistake(
            "the vectors that were given are changed",
            _norm_in_place,
            "The values are right, but `x` has been overwritten: the residual stream still needs it.",
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
    yield 2.0, 3.0, 4, 0.3
    for _ in range(6):
        yield rng.uniform(-2, 2), rng.uniform(0.5, 2), rng.randrange(2, 20), rng.uniform(0.05, 0.3)


def _turn_with(angle):
    return lambda a, b, position, frequency: turn_pair(a, b, 1, angle(position, frequency))


def _pair(combine):
    """A pair made of a, b, and the cosine and sine of the right angle."""
    return lambda a, b, position, frequency: combine(
        a, b, math.cos(position * frequency), math.sin(position * frequency)
    )


def _one_after_the_other(a, b, cos, sin):
    a = a * cos - b * sin
    return a, a * sin + b * cos


def _second_first(a, b, cos, sin):
    b = a * sin + b * cos
    return a * cos - b * sin, b


_TURN = Exercise(
    id="llama.2",
    title="Rotate one pair",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="A pair of channels (a, b) is an arrow in the plane. A token at `position` rotates it counterclockwise, by "
    "`position` times `frequency` radians.\n\nInput: `a`, `b` and `frequency` of type `float`, `position` of type "
    "`int`, counted from 0. Result: the new pair, a `tuple` of two `float`.",
    signature="def turn_pair(a: float, b: float, position: int, frequency: float) -> tuple[float, float]",
    inputs=_turn_inputs,
    solution=turn_pair,
    mistakes=[
        Mistake(
            "it rotates clockwise",
            _turn_with(lambda position, frequency: -position * frequency),
            "Counterclockwise the minus is in the first line: a cos − b sin, a sin + b cos. (With both signs the other "
            "way round the distances would still come out right, and no published model would fit.)",
        ),
        Mistake(
            "the angle is in degrees",
            _turn_with(lambda position, frequency: math.radians(position * frequency)),
            "Radians: `math.cos` expects them, and the frequencies are given in them.",
        ),
        Mistake(
            "radians are turned into degrees",
            _turn_with(lambda position, frequency: math.degrees(position * frequency)),
            "`math.cos` expects radians, and the frequencies are given in them.",
        ),
        Mistake(
            "the frequency is in whole turns",
            _turn_with(lambda position, frequency: 2 * math.pi * position * frequency),
            "The frequency is in radians per position already: without 2π.",
        ),
        Mistake(
            "the position plays no part",
            _turn_with(lambda position, frequency: frequency),
            "The angle is position times frequency: each position has its own.",
        ),
        Mistake(
            "the frequency plays no part",
            _turn_with(lambda position, frequency: position),
            "The angle is position times frequency.",
        ),
        Mistake(
            "the position is divided by the frequency",
            _turn_with(lambda position, frequency: position / frequency),
            "The angle is position **times** frequency: a fast pair turns further with each position.",
        ),
        Mistake(
            "position and frequency are added",
            _turn_with(lambda position, frequency: position + frequency),
            "The angle is position **times** frequency.",
        ),
        Mistake(
            "positions begin at 1",
            _turn_with(lambda position, frequency: (position + 1) * frequency),
            "At position 0 nothing is rotated.",
        ),
        Mistake(
            "the second line uses the new a",
            _pair(_one_after_the_other),
            "You have overwritten `a` before its old value was used for the second number.",
        ),
        Mistake(
            "the first line uses the new b",
            _pair(_second_first),
            "You have overwritten `b` before its old value was used for the first number.",
        ),
        Mistake(
            "the arrow is mirrored, too",
            _pair(lambda a, b, cos, sin: (a * cos + b * sin, a * sin - b * cos)),
            "Look at the signs: a cos **−** b sin, and a sin **+** b cos.",
        ),
        Mistake(
            "both lines have a plus",
            _pair(lambda a, b, cos, sin: (a * cos + b * sin, a * sin + b * cos)),
            "This stretches the arrow. A rotation has one minus: a cos **−** b sin, a sin + b cos.",
        ),
        Mistake(
            "both lines have a minus",
            _pair(lambda a, b, cos, sin: (a * cos - b * sin, a * sin - b * cos)),
            "This stretches the arrow. A rotation has one minus: a cos − b sin, a sin **+** b cos.",
        ),
        Mistake(
            "the second line is b cos − a sin",
            _pair(lambda a, b, cos, sin: (a * cos - b * sin, b * cos - a * sin)),
            "This stretches the arrow. A rotation has one minus: a cos − b sin, a sin **+** b cos.",
        ),
        Mistake(
            "sine and cosine are exchanged",
            _pair(lambda a, b, cos, sin: (a * sin - b * cos, a * cos + b * sin)),
            "At position 0 the cosine is 1 and nothing moves: a cos − b sin, a sin + b cos.",
        ),
        Mistake(
            "the two numbers do not mix",
            _pair(lambda a, b, cos, sin: (a * cos, b * sin)),
            "Both new numbers need both old ones: a cos − b sin, a sin + b cos.",
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


def rope_frequencies(hs, theta):
    i = torch.arange(hs // 2)
    return 1 / theta ** (2 * i / hs)  # [hs / 2]


def _frequency_inputs(rng):
    yield from [(4, 100.0), (4, 10_000.0), (8, 10_000.0), (6, 500_000.0), (16, 100.0)]
    yield 2 * rng.randrange(5, 20), rng.uniform(50, 5000)


def _powers(exponent):
    return lambda hs, theta: 1 / theta ** exponent(torch.arange(hs // 2), hs)


_FREQUENCIES = Exercise(
    id="llama.3",
    title="From fast to slow",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt=r"How far does one step rotate pair $i$ of a head's channels? By $1 / \theta^{2i / hs}$ radians, for $i = "
    r"0, 1, \dots, hs/2 - 1$."
    "\n\nInput: `hs`, an even `int` of at least 4, and `theta`, a `float` above 1. Result: a float tensor [hs / 2].",
    signature='def rope_frequencies(hs: int, theta: float) -> Float[Tensor, "hs/2"]',
    inputs=_frequency_inputs,
    solution=rope_frequencies,
    reference=lambda hs, theta: llama.rope_frequencies(hs, theta),
    mistakes=[
        Mistake(
            "there is one for each channel",
            lambda hs, theta: 1 / theta ** (torch.arange(hs) / hs),
            "Two channels share a rotation: there are hs / 2 of them.",
        ),
        Mistake(
            "there is one for each channel, with a 2 in the exponent",
            lambda hs, theta: 1 / theta ** (2 * torch.arange(hs) / hs),
            "Two channels share a rotation: i runs to hs / 2 only.",
        ),
        Mistake(
            "each comes twice, for both halves",
            lambda hs, theta: rope_frequencies(hs, theta).repeat(2),
            "One number for each **pair**: hs / 2 of them. They are repeated later, if at all.",
        ),
        Mistake(
            "each comes twice, for neighbours",
            lambda hs, theta: rope_frequencies(hs, theta).repeat_interleave(2),
            "One number for each **pair**: hs / 2 of them. They are repeated later, if at all.",
        ),
        Mistake(
            "the 2 is missing from the exponent",
            _powers(lambda i, hs: i / hs),
            "The exponent is 2i / hs. Without the 2 the last pair turns as fast as the one in the middle should.",
        ),
        Mistake(
            "the exponent is twice as large",
            _powers(lambda i, hs: 4 * i / hs),
            "2i / (hs / 2), or `torch.arange(0, hs, 2)` times 2 more, counts the 2 twice. The exponent is 2i / hs.",
        ),
        Mistake(
            "the exponent is a whole number",
            _powers(lambda i, hs: 2 * i // hs),
            "`//` rounds every exponent down to 0, so all pairs turn alike. Divide with `/`.",
        ),
        Mistake(
            "the exponent is not divided by hs",
            _powers(lambda i, hs: 2.0 * i),
            "The exponent is 2i / hs, a number between 0 and 1.",
        ),
        Mistake(
            "these are the positions that a radian takes",
            lambda hs, theta: theta ** (2 * torch.arange(hs // 2) / hs),
            "This grows with i. One step turns by its reciprocal.",
        ),
        Mistake(
            "these are the positions that a whole turn takes",
            lambda hs, theta: 2 * math.pi * theta ** (2 * torch.arange(hs // 2) / hs),
            "That is the wavelength, 2π divided by the frequency.",
        ),
        Mistake(
            "these are whole turns",
            lambda hs, theta: rope_frequencies(hs, theta) / (2 * math.pi),
            "The result is in radians: without 2π.",
        ),
        Mistake(
            "the slowest comes first",
            lambda hs, theta: rope_frequencies(hs, theta).flip(0),
            "Pair 0 is the fastest, with 1 radian per step.",
        ),
        Mistake(
            "i begins at 1",
            _powers(lambda i, hs: 2 * (i + 1) / hs),
            "The first pair turns by a whole radian at each step: theta to the power of 0.",
        ),
        Mistake(
            "they are spaced evenly",
            lambda hs, theta: torch.linspace(1, theta ** (2 / hs - 1), hs // 2),
            "Both ends are right. In between each is the one before times a fixed factor, not minus a fixed step.",
        ),
        Mistake(
            "the last one is 1 / theta",
            _powers(lambda i, hs: i / (hs // 2 - 1)),
            "i / (hs/2 − 1) reaches 1 at the last pair. The formula stops one step before: 2i / hs.",
        ),
        Mistake(
            "theta is multiplied, not raised to a power",
            lambda hs, theta: 1 / (theta * (2 * torch.arange(hs // 2) / hs)),
            "`**`, not `*`: theta to the power of 2i / hs. For i = 0 that is 1.",
        ),
        Mistake(
            "the fraction is multiplied by 1 / theta",
            lambda hs, theta: 1 / theta * (2 * torch.arange(hs // 2) / hs),
            "`**`, not `*`: theta to the power of 2i / hs. For i = 0 that is 1.",
        ),
        Mistake(
            "e is taken for theta",
            lambda hs, theta: torch.exp(-2 * torch.arange(hs // 2) / hs),
            "The base is theta: `theta ** ...`, or exp of minus 2i / hs times ln theta.",
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
    yield torch.tensor([[1.0, 2.0, 3.0, 4.0, -1.0, -2.0], [2.0, 0.0, 1.0, 1.0, 3.0, 0.0]]), 1, 8.0
    # Powers of 16 that are exact, so that no way of computing them is worse than another at late positions.
    for T, hs, start in ((3, 4, 2), (5, 4, 0), (4, 8, 11), (2, 8, 30)):
        yield _normal(rng, T, hs), start, 16.0


def _turn_all_reference(x, start, theta):
    return llama.rotate(x, llama.rope_angles(x.shape[1], start + len(x), theta)[start:])


def _turned(
    combine=lambda a, b, cos, sin: torch.cat((a * cos - b * sin, a * sin + b * cos), -1),
    cut=lambda x: x.chunk(2, dim=-1),
    positions=lambda start, T: torch.arange(start, start + T),
    frequency=lambda i, hs, theta: 1 / theta ** (2 * i / hs),
):
    """The rotation, with other ideas of how to cut, where the tokens are, how fast pairs turn, and how they mix."""

    def wrong(x, start, theta):
        T, hs = x.shape
        angles = positions(start, T)[:, None] * frequency(torch.arange(hs // 2), hs, theta)
        return combine(*cut(x), angles.cos(), angles.sin())

    return wrong


def _neighbours(x):
    return x[:, 0::2], x[:, 1::2]


def _interleaved(a, b, cos, sin):
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(1)


def _cosines_of_neighbours(x, start, theta):
    """x * cos + rotate_half(x) * sin, with cos and sin repeated as neighbours instead of halves."""
    T, hs = x.shape
    frequency = 1 / theta ** (torch.arange(0, hs, 2) / hs)
    angles = (torch.arange(start, start + T)[:, None] * frequency).repeat_interleave(2, -1)
    a, b = x.chunk(2, -1)
    return x * angles.cos() + torch.cat((-b, a), -1) * angles.sin()


def _one_half_after_the_other(a, b, cos, sin):
    a = a * cos - b * sin
    return torch.cat((a, a * sin + b * cos), -1)


_TURN_ALL = Exercise(
    id="llama.4",
    title="Rotate several tokens",
    kind="core",
    minutes=15,
    difficulty=2,
    prompt="You have the queries of one head, for tokens at the positions `start`, `start + 1`, … (with the cache of "
    "notebook `sampling`, a text goes on where it was left). Rotate them counterclockwise with the pairing of halves: "
    "channel $i$ goes with channel $i + hs/2$, and their frequency is $1 / \\theta^{2i / hs}$.\n\nShapes: `x` is a "
    "float32 tensor [T, hs], hs even and at least 4; `start` an `int` of at least 0, `theta` a number. Result: a "
    "tensor [T, hs].",
    signature='def turn_all(x: Float[Tensor, "T hs"], start: int, theta: float) -> Float[Tensor, "T hs"]',
    inputs=_turn_all_inputs,
    solution=turn_all,
    reference=_turn_all_reference,
    mistakes=[
        Mistake(
            "neighbours are paired",
            _turned(_interleaved, cut=_neighbours),
            "Here channel i goes with i + hs/2. Pairs of neighbours are the other convention, that of Meta's files.",
        ),
        Mistake(
            "neighbours are paired, and written as halves",
            _turned(cut=_neighbours),
            "`x[:, 0::2]` and `x[:, 1::2]` are neighbours. The halves are `x[:, : hs // 2]` and `x[:, hs // 2 :]`.",
        ),
        Mistake(
            "the results are written as neighbours",
            _turned(_interleaved),
            "The rotations are right, the order is not: the first numbers of all pairs come first, then the second "
            "ones. `torch.cat`, not `torch.stack`.",
        ),
        Mistake(
            "cosines and sines are repeated for neighbours",
            _cosines_of_neighbours,
            "Channels i and i + hs/2 turn alike, so the angles are repeated as halves: `torch.cat((angles, angles), "
            "dim=-1)`. `repeat_interleave` belongs to the other pairing.",
        ),
        Mistake(
            "the 2 is missing from the exponent",
            _turned(frequency=lambda i, hs, theta: 1 / theta ** (i / hs)),
            "The frequency of pair i is 1 / theta ** (2 * i / hs).",
        ),
        Mistake(
            "the exponent is twice as large",
            _turned(frequency=lambda i, hs, theta: 1 / theta ** (4 * i / hs)),
            "With `torch.arange(0, hs, 2)` the 2 is in already, and hs is the whole head: the exponent is 2i / hs.",
        ),
        Mistake(
            "the frequencies are upside down",
            _turned(frequency=lambda i, hs, theta: theta ** (2 * i / hs)),
            "Pair i turns by **1 /** theta ** (2 * i / hs): the later the slower.",
        ),
        Mistake(
            "slow and fast are exchanged",
            _turned(frequency=lambda i, hs, theta: 1 / theta ** (2 * i.flip(0) / hs)),
            "The first pair is the fastest, with 1 radian per step.",
        ),
        Mistake(
            "all pairs turn alike",
            _turned(frequency=lambda i, hs, theta: torch.ones(hs // 2)),
            "Each pair has its own frequency, 1 / theta ** (2 * i / hs).",
        ),
        Mistake(
            "the positions begin at 0 again",
            _turned(positions=lambda start, T: torch.arange(T)),
            "The first token is at position `start`. With a cache this mistake puts every new token at the beginning.",
        ),
        Mistake(
            "every token is rotated alike",
            _turned(positions=lambda start, T: torch.full((T,), start)),
            "Token t of these is at position start + t: `torch.arange(start, start + T)`.",
        ),
        Mistake(
            "the positions begin at 1",
            _turned(positions=lambda start, T: torch.arange(start, start + T) + 1),
            "Positions are counted from 0: the first token of a text is not rotated at all.",
        ),
        Mistake(
            "it rotates clockwise",
            _turned(lambda a, b, cos, sin: torch.cat((a * cos + b * sin, b * cos - a * sin), -1)),
            "a cos − b sin first, then a sin + b cos. (In `x * cos + rotate_half(x) * sin` the half is (−b, a).)",
        ),
        Mistake(
            "the minus is missing",
            _turned(lambda a, b, cos, sin: torch.cat((a * cos + b * sin, a * sin + b * cos), -1)),
            "This stretches the pairs. A rotation has one minus: a cos − b sin, a sin + b cos.",
        ),
        Mistake(
            "there is a minus too many",
            _turned(lambda a, b, cos, sin: torch.cat((a * cos - b * sin, a * sin - b * cos), -1)),
            "This mirrors. A rotation has one minus: a cos − b sin, a sin **+** b cos.",
        ),
        Mistake(
            "the second line is b cos − a sin",
            _turned(lambda a, b, cos, sin: torch.cat((a * cos - b * sin, b * cos - a * sin), -1)),
            "This stretches the pairs. A rotation has one minus: a cos − b sin, a sin **+** b cos.",
        ),
        Mistake(
            "sine and cosine are exchanged",
            _turned(lambda a, b, cos, sin: torch.cat((a * sin - b * cos, a * cos + b * sin), -1)),
            "At position 0 the cosine is 1 and nothing moves: a cos − b sin, a sin + b cos.",
        ),
        Mistake(
            "the second half uses the new first half",
            _turned(_one_half_after_the_other),
            "You have overwritten the first half before its old values were used for the second.",
        ),
        Mistake(
            "the halves are exchanged",
            _turned(lambda a, b, cos, sin: torch.cat((a * sin + b * cos, a * cos - b * sin), -1)),
            "First a cos − b sin, in the first half, then a sin + b cos.",
        ),
        Mistake(
            "the two halves do not mix",
            _turned(lambda a, b, cos, sin: torch.cat((a * cos, b * sin), -1)),
            "Both new numbers of a pair need both old ones: a cos − b sin, a sin + b cos.",
        ),
    ],
    hints=[
        "Angles first: [T, 1] positions times [hs / 2] frequencies is [T, hs / 2].",
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
    yield torch.arange(64.0).view(8, 8), 2
    for C, H, width in ((12, 2, 3), (18, 3, 2), (24, 3, 5), (16, 1, 4), (24, 3, 24)):
        yield _normal(rng, C, width), H


def _split(weight, H):
    return weight.unflatten(0, (H, -1, 2))  # [H, hs / 2, 2, n]


def _columns_reordered(weight, H):
    return neighbours_to_halves(weight.T, H).T if weight.shape[0] == weight.shape[1] else weight[:, _order(weight, H)]


def _order(weight, H):
    return neighbours_to_halves(torch.arange(len(weight)), H)


def _pairs_as_columns(weight, H):
    return _split(weight, H).transpose(1, 2).reshape(H, -1, weight.shape[1])


_ORDER = Exercise(
    id="llama.5",
    title="From neighbours to halves",
    kind="stretch",
    minutes=15,
    difficulty=2,
    prompt="The rows of a query matrix were trained for pairs of neighbours: within each head, rows 2i and 2i + 1 "
    "belong together. Reorder the rows for pairs of halves: within each head, row 2i moves to row i, and row 2i + 1 to "
    "row i + hs/2.\n\nShapes: `weight` is a float32 tensor [C, n] whose rows are those of H heads, one head after the "
    "other, with an even number hs of rows each; `H` is an `int`. Result: a tensor [C, n].",
    signature='def neighbours_to_halves(weight: Float[Tensor, "C n"], H: int) -> Float[Tensor, "C n"]',
    inputs=_order_inputs,
    solution=neighbours_to_halves,
    reference=llama.to_halves,
    mistakes=[
        Mistake(
            "the heads are mixed up",
            lambda weight, H: neighbours_to_halves(weight, 1),
            "The even rows of all heads come first, then all odd ones. Every head is reordered within itself: cut into "
            "heads first.",
        ),
        Mistake(
            "it goes the other way",
            lambda weight, H: weight.unflatten(0, (H, 2, -1)).transpose(1, 2).flatten(0, 2),
            "This goes from halves to neighbours. Row 1 of the result must be row 2 of the weight: view the rows as "
            "[H, hs/2, 2], then swap.",
        ),
        Mistake(
            "it goes the other way, and the heads are mixed up",
            lambda weight, H: weight.unflatten(0, (1, 2, -1)).transpose(1, 2).flatten(0, 2),
            "This goes from halves to neighbours, over all heads at once. Cut into heads first; row 1 of the result "
            "must be row 2 of the weight.",
        ),
        Mistake(
            "nothing is moved",
            lambda weight, H: weight.clone(),
            "The rows stay where they were. Row 1 of the result must be row 2 of the weight.",
        ),
        Mistake(
            "the columns are reordered",
            _columns_reordered,
            "The columns are the input, which does not know heads. Rows are what comes out and is rotated: "
            "`weight[order]`.",
        ),
        Mistake(
            "the two of a pair are exchanged",
            lambda weight, H: _split(weight, H).flip(2).transpose(1, 2).flatten(0, 2),
            "The even rows come first, then the odd ones.",
        ),
        Mistake(
            "the two of a pair are exchanged where they are",
            lambda weight, H: _split(weight, H).flip(2).flatten(0, 2),
            "Rows 2i and 2i + 1 must end up hs/2 apart: first all even rows of a head, then all its odd ones.",
        ),
        Mistake(
            "the halves of each head are exchanged",
            lambda weight, H: weight.unflatten(0, (H, 2, -1)).flip(1).flatten(0, 2),
            "The rows of a pair are neighbours still. First come all even rows of a head, then all its odd ones.",
        ),
        Mistake(
            "the rows are in reverse",
            lambda weight, H: weight.unflatten(0, (H, -1)).flip(1).flatten(0, 1),
            "Within a head the new order is 0, 2, 4, …, 1, 3, 5, …",
        ),
        Mistake(
            "row c is taken for a row of head c % H",
            lambda weight, H: weight.unflatten(0, (-1, 2, H)).permute(2, 1, 0, 3).flatten(0, 2),
            "The rows of a head stand together: head 0 has the first hs rows, head 1 the next hs.",
        ),
        Mistake(
            "the heads are not laid flat again",
            _pairs_as_columns,
            "The result is [C, n] again: lay the heads and their rows flat.",
        ),
        Mistake(
            "view is used after the swap",
            lambda weight, H: _split(weight, H).transpose(1, 2).view(weight.shape),
            "The order is right, but `transpose` moves nothing in memory, and `view` needs its numbers side by side: "
            "`reshape`, or `flatten`.",
        ),
        Mistake(
            "only the even rows are left",
            lambda weight, H: weight[0::2],
            "Append the odd ones: within each head first the even rows, then the odd ones.",
        ),
        Mistake(
            "heads and pairs are swapped",
            lambda weight, H: (
                weight.view(H, weight.shape[0] // H // 2, 2, weight.shape[1]).transpose(0, 1).reshape(weight.shape)
            ),
            "You swapped heads and pairs. The last two of [H, hs/2, 2] are swapped: `transpose(1, 2)`.",
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
    yield torch.tensor([[[200.0]]]), one, 0.5 * one, one
    square = torch.tensor([[1.0, 2.0], [-1.0, 0.5]])
    yield torch.tensor([[[1.0, -1.0], [0.5, 2.0]]]), square, square + 1, torch.tensor([[1.0, 3.0], [0.0, -2.0]])
    for B, T, C, W in ((2, 3, 4, 5), (1, 2, 3, 7), (2, 5, 6, 4)):
        yield _normal(rng, B, T, C), _normal(rng, W, C), _normal(rng, W, C), _normal(rng, C, W)


def _gated(combine):
    return lambda x, gate, up, down: combine(x @ gate.T, x @ up.T) @ down.T


def _silu_by_exp(z):
    return z * z.exp() / (1 + z.exp())


_SWIGLU = Exercise(
    id="llama.6",
    title="An MLP with a gate",
    kind="core",
    minutes=10,
    difficulty=2,
    prompt="`silu(z) = z · sigmoid(z)`. The gate and the up-projection both map x to width W; the silu of the gate is "
    "multiplied by the up-projection, number by number; the down-projection maps the product back to C.\n\nShapes: `x` "
    "is a float32 tensor [B, T, C], `gate` and `up` are [W, C], `down` is [C, W], as `nn.Linear` stores its weight (so "
    "`x @ gate.T`). Result: a tensor [B, T, C].",
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
            "the weights are not transposed",
            lambda x, gate, up, down: (F.silu(x @ gate) * (x @ up)) @ down,
            "`nn.Linear` stores [out, in]: `x @ gate.T`. Where C = W the shapes fit without it, and nothing complains.",
        ),
        Mistake(
            "gate and up are not transposed",
            lambda x, gate, up, down: (F.silu(x @ gate) * (x @ up)) @ down.T,
            "`nn.Linear` stores [out, in]: `x @ gate.T` and `x @ up.T`. Where C = W the shapes fit without it.",
        ),
        Mistake(
            "the gate is not transposed",
            lambda x, gate, up, down: (F.silu(x @ gate) * (x @ up.T)) @ down.T,
            "`nn.Linear` stores [out, in]: `x @ gate.T`. Where C = W the shapes fit without it, and nothing complains.",
        ),
        Mistake(
            "down is not transposed",
            lambda x, gate, up, down: (F.silu(x @ gate.T) * (x @ up.T)) @ down,
            "`nn.Linear` stores [out, in]: `@ down.T` as well. Where C = W the shapes fit without it.",
        ),
        Mistake(
            "the gate is a sigmoid",
            _gated(lambda g, u: torch.sigmoid(g) * u),
            "That is GLU, the older form (Dauphin et al. 2016). silu multiplies the sigmoid by its input.",
        ),
        Mistake(
            "the gate is a GELU",
            _gated(lambda g, u: F.gelu(g) * u),
            "That is GEGLU, a close relative with another activation function.",
        ),
        Mistake(
            "the gate is a GELU by tanh",
            _gated(lambda g, u: F.gelu(g, approximate="tanh") * u),
            "That is GEGLU, which Gemma uses. Close, but not the same.",
        ),
        Mistake(
            "the gate is a ReLU",
            _gated(lambda g, u: F.relu(g) * u),
            "That is ReGLU. silu is smooth: z · sigmoid(z).",
        ),
        Mistake(
            "the gate is a softmax",
            _gated(lambda g, u: g.softmax(-1) * u),
            "A gate opens for each number by itself; a softmax makes them compete. silu(z) = z · sigmoid(z).",
        ),
        Mistake(
            "the sigmoid is that of the up-projection",
            _gated(lambda g, u: g * torch.sigmoid(u)),
            "silu(g) = g · sigmoid(g): both from the gate. Then times the up-projection.",
        ),
        Mistake(
            "the two are added",
            _gated(lambda g, u: F.silu(g) + u),
            "A gate multiplies: where it is near 0, nothing comes through.",
        ),
        Mistake(
            "both go through the silu",
            _gated(lambda g, u: F.silu(g) * F.silu(u)),
            "Only the gate has an activation function. The up-projection stays linear.",
        ),
        Mistake(
            "the silu is around the product",
            _gated(lambda g, u: F.silu(g * u)),
            "Activate the gate alone, then multiply.",
        ),
        Mistake(
            "the silu is around everything",
            lambda x, gate, up, down: F.silu(((x @ gate.T) * (x @ up.T)) @ down.T),
            "Activate the gate alone, then multiply by the up-projection, then project down.",
        ),
        Mistake(
            "there is no gate",
            _gated(lambda g, u: F.silu(u)),
            "That is an MLP as before, with silu for GELU. The first matrix is not used.",
        ),
        Mistake(
            "there is no up-projection",
            _gated(lambda g, u: F.silu(g)),
            "That is an MLP as before, with silu for GELU. The second matrix is not used.",
        ),
        Mistake(
            "there is no activation function",
            _gated(lambda g, u: g * u),
            "The silu is missing. (This one has a name, too: a bilinear layer.)",
        ),
        Mistake(
            "the down-projection is missing",
            lambda x, gate, up, down: F.silu(x @ gate.T) * (x @ up.T),
            "The product is [B, T, W]; `@ down.T` brings it back to [B, T, C].",
        ),
        Mistake(
            "exp overflows",
            _gated(lambda g, u: _silu_by_exp(g) * u),
            "exp(200) is infinite, and infinite / infinite is NaN. `torch.sigmoid` is safe; so is 1 / (1 + exp(−z)).",
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
    yield torch.arange(12.0).view(1, 2, 3, 2), 2
    yield torch.arange(24.0).view(2, 3, 2, 2), 12
    yield torch.arange(12.0).view(2, 1, 2, 3), 3
    for B, G, T, hs, H in ((2, 2, 3, 5, 6), (3, 3, 2, 4, 6), (2, 2, 5, 3, 8)):
        yield _normal(rng, B, G, T, hs), H


def _share_view(k, H):
    B, G, T, hs = k.shape
    return k[:, :, None].expand(B, G, H // G, T, hs).view(B, H, T, hs)


_SHARE = Exercise(
    id="llama.7",
    title="One head of keys for several of queries",
    kind="core",
    minutes=5,
    difficulty=2,
    prompt="There are G heads of keys and H heads of queries, H a multiple of G. Neighbouring query heads share: "
    "with G = 2 and H = 6, query heads 0, 1, 2 read the first keys and heads 3, 4, 5 the second. Give the keys as "
    "every query head sees them.\n\nShapes: `k` is a float32 tensor [B, G, T, hs], `H` an `int`. Result: a tensor "
    "[B, H, T, hs].",
    signature='def share(k: Float[Tensor, "B G T hs"], H: int) -> Float[Tensor, "B H T hs"]',
    inputs=_share_inputs,
    solution=share,
    reference=lambda k, H: k.repeat_interleave(H // k.shape[1], dim=1),
    mistakes=[
        Mistake(
            "the heads alternate",
            lambda k, H: k.repeat(1, H // k.shape[1], 1, 1),
            "`repeat` (or a new axis **before** the heads) gives 0, 1, 0, 1. The shape is right and every model "
            "trained the usual way is wrong: the order must be 0, 0, 1, 1, as `repeat_interleave` gives it.",
        ),
        Mistake(
            "the first head serves all",
            lambda k, H: k[:, :1].repeat(1, H, 1, 1),
            "With one head of keys for all it would be multi-query attention. Here there are G.",
        ),
        Mistake(
            "the mean of the heads serves all",
            lambda k, H: k.mean(1, keepdim=True).repeat(1, H, 1, 1),
            "Averaging is how such a model is made from one with H heads of keys. Here the G heads are ready: copy "
            "each.",
        ),
        Mistake(
            "the tokens are repeated",
            lambda k, H: k.repeat_interleave(H // k.shape[1], dim=2),
            "Repeat along the axis of the heads, `dim=1`, not of the tokens.",
        ),
        Mistake(
            "the sequences are repeated",
            lambda k, H: k.repeat_interleave(H // k.shape[1], dim=0),
            "Repeat along the axis of the heads, `dim=1`, not of the batch.",
        ),
        Mistake(
            "the channels are repeated",
            lambda k, H: k.repeat_interleave(H // k.shape[1], dim=-1),
            "Repeat along the axis of the heads, `dim=1`, not of the channels.",
        ),
        Mistake(
            "each number is repeated",
            lambda k, H: k.repeat_interleave(H // k.shape[1]),
            "Without `dim=1` everything is flattened first. Repeat along the axis of the heads.",
        ),
        Mistake(
            "the heads are in reverse",
            lambda k, H: k.flip(1).repeat_interleave(H // k.shape[1], dim=1),
            "Query head 0 reads key head 0.",
        ),
        Mistake(
            "each head is repeated G times",
            lambda k, H: k.repeat_interleave(k.shape[1], dim=1),
            "Each of the G heads is read by H / G query heads.",
        ),
        Mistake(
            "each head is repeated H times",
            lambda k, H: k.repeat_interleave(H, dim=1),
            "That makes G · H heads. Each of the G heads is read by H / G query heads.",
        ),
        Mistake(
            "all heads are repeated H times",
            lambda k, H: k.repeat(1, H, 1, 1),
            "That makes G · H heads. Each of the G heads is read by H / G query heads.",
        ),
        Mistake(
            "the rest is filled with zeros",
            lambda k, H: F.pad(k, (0, 0, 0, 0, 0, H - k.shape[1])),
            "A key of zeros fits every query equally badly. The heads must be shared.",
        ),
        Mistake(
            "the rest is filled with the last head",
            lambda k, H: torch.cat((k, k[:, -1:].repeat(1, H - k.shape[1], 1, 1)), 1),
            "Each key head is read by the same number of query heads, H / G.",
        ),
        Mistake(
            "the two axes of heads are not joined",
            lambda k, H: k[:, :, None].expand(-1, -1, H // k.shape[1], -1, -1),
            "[B, G, H / G, T, hs] has all the keys in the right order. Join G and H / G: `reshape(B, H, T, hs)`.",
        ),
        Mistake(
            "the two axes of heads are joined with view",
            _share_view,
            "`expand` copies nothing, so the numbers are not laid out in memory as `view` would need them: `reshape`.",
        ),
        Mistake(
            "heads and tokens change places",
            lambda k, H: k.repeat_interleave(H // k.shape[1], dim=1).transpose(1, 2),
            "The result is [B, H, T, hs]: the heads stay where they are.",
        ),
        Mistake(
            "nothing is repeated",
            lambda k, H: k * 1.0,
            "Each key head is needed H / G times, one directly after the other.",
        ),
    ],
    hints=[
        "How often does each key head come? H / G times, one directly after the other.",
        "Give the axis of heads a new axis beside it, [B, G, 1, T, hs], and expand that one.",
        "`k.repeat_interleave(H // k.shape[1], dim=1)`",
    ],
    package="gptlab.attention.MultiHeadAttention.weights",
)

# ---- llama.8 ---------------------------------------------------------------------------------------------------------


def longest(memory, parameters, n_layer, n_head, n_kv_head, n_embd, B, width):
    per_token = 2 * n_layer * n_kv_head * (n_embd // n_head) * width
    return (memory - parameters * width) // (B * per_token)


def _longest_inputs(rng):
    yield 1000, 100, 1, 2, 1, 8, 1, 2
    yield 1000, 100, 1, 2, 2, 8, 3, 2
    yield 1010, 101, 2, 4, 2, 12, 2, 2
    yield from [(328, 100, 2, 2, 1, 4, 2, 2), (33, 1, 2, 2, 1, 4, 2, 2)]  # fits exactly; not even one token
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


def _fits(
    weights=lambda N, w, B: N * w,
    per_token=lambda L, H, G, C, w: 2 * L * G * (C // H) * w,
    texts=lambda B: B,
    divide=lambda free, each: free // each,
):
    def wrong(memory, N, L, H, G, C, B, w):
        return divide(memory - weights(N, w, B), texts(B) * per_token(L, H, G, C, w))

    return wrong


_LONGEST = Exercise(
    id="llama.8",
    title="How long may the texts be?",
    kind="stretch",
    minutes=15,
    difficulty=2,
    prompt="A device holds the weights, each once, and beside them the KV caches of B texts of equal length. How many "
    "tokens can each text have, at most? Weights and cache take `width` bytes per number; a head has `n_embd / n_head` "
    "numbers.\n\nInput: `memory` in bytes, `parameters`, `n_layer`, `n_head`, `n_kv_head`, `n_embd`, `B`, `width`, all "
    "`int`. Result: an `int`, rounded down. (The weights fit.)",
    signature="def longest(memory: int, parameters: int, n_layer: int, n_head: int, n_kv_head: int, n_embd: int,\n"
    "            B: int, width: int) -> int",
    inputs=_longest_inputs,
    solution=longest,
    mistakes=[
        Mistake(
            "the weights take no memory",
            _fits(weights=lambda N, w, B: 0),
            "Subtract the bytes of the weights from the memory first.",
        ),
        Mistake(
            "a weight takes one byte",
            _fits(weights=lambda N, w, B: N),
            "Each weight takes `width` bytes, like the numbers of the cache.",
        ),
        Mistake(
            "a number of the cache takes one byte",
            _fits(per_token=lambda L, H, G, C, w: 2 * L * G * (C // H)),
            "Each number of the cache takes `width` bytes, like a weight.",
        ),
        Mistake(
            "all numbers take one byte",
            _fits(weights=lambda N, w, B: N, per_token=lambda L, H, G, C, w: 2 * L * G * (C // H)),
            "`memory` is in bytes, and each number of weights and cache takes `width` of them.",
        ),
        Mistake(
            "only one of keys and values is cached",
            _fits(per_token=lambda L, H, G, C, w: L * G * (C // H) * w),
            "A token leaves a key **and** a value: a factor of 2.",
        ),
        Mistake(
            "queries are cached as well",
            _fits(per_token=lambda L, H, G, C, w: 3 * L * G * (C // H) * w),
            "A query is used once. A token leaves a key and a value: a factor of 2.",
        ),
        Mistake(
            "every query head has its own keys",
            _fits(per_token=lambda L, H, G, C, w: 2 * L * C * w),
            "Only `n_kv_head` heads of keys and values are cached, of n_embd / n_head numbers each; that is what "
            "sharing is for.",
        ),
        Mistake(
            "a head is as wide as the model",
            _fits(per_token=lambda L, H, G, C, w: 2 * L * G * C * w),
            "A head has n_embd / n_head numbers.",
        ),
        Mistake(
            "one head is cached",
            _fits(per_token=lambda L, H, G, C, w: 2 * L * (C // H) * w),
            "Each layer caches `n_kv_head` heads of keys and values.",
        ),
        Mistake(
            "the batch is forgotten",
            _fits(texts=lambda B: 1),
            "Each of the B texts has its own past, and they share the memory.",
        ),
        Mistake(
            "each text brings its own weights",
            _fits(weights=lambda N, w, B: B * N * w),
            "All texts use the same weights: they are there once.",
        ),
        Mistake(
            "the layers are forgotten",
            _fits(per_token=lambda L, H, G, C, w: 2 * G * (C // H) * w),
            "Each layer caches keys and values of its own.",
        ),
        Mistake(
            "it is rounded up",
            _fits(divide=lambda free, each: -(-free // each)),
            "The last token would not fit any more: round down, `//`.",
        ),
        Mistake(
            "it is rounded to the nearest",
            _fits(divide=lambda free, each: round(free / each)),
            "Half a token does not fit: round down, `//`.",
        ),
        Mistake(
            "it is not rounded",
            _fits(divide=lambda free, each: free / each),
            "A text has a whole number of tokens: `//`, not `/`.",
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
    yield 7, 3, 4, 2, 12, 5, True
    yield 7, 3, 4, 2, 12, 5, False
    yield 32000, 32, 32, 32, 4096, 11008, False
    yield 128256, 32, 32, 8, 4096, 14336, False
    yield 128256, 16, 32, 8, 2048, 8192, True
    for _ in range(4):
        n_kv_head, shared, hs = rng.randrange(2, 5), rng.randrange(2, 4), rng.randrange(3, 7)
        H = n_kv_head * shared
        yield rng.randrange(30, 90), rng.randrange(2, 6), H, n_kv_head, H * hs, rng.randrange(7, 40), rng.random() < 0.5


def _counted(more=lambda V, L, H, G, C, W: 0, tied=lambda tied: tied, kv=lambda H, G: G):
    """The right count with a part too many or too few, or with another idea of the head."""

    def wrong(V, L, H, n_kv_head, C, W, is_tied):
        return count(V, L, H, kv(H, n_kv_head), C, W, tied(is_tied)) + more(V, L, H, n_kv_head, C, W)

    return wrong


_COUNT = Exercise(
    id="llama.9",
    title="Count a Llama",
    kind="stretch",
    minutes=20,
    difficulty=2,
    prompt="How many parameters does a Llama have? An embedding table of V rows of C; L layers with attention "
    "(matrices [C, C] for the queries and the output; keys and values with `n_kv_head` heads of C / H numbers), SwiGLU "
    "of width W, and two norms; one more norm at the end; and a head [V, C], which is the embedding table itself where "
    "the weights are `tied`. No biases anywhere.\n\nInput: `V`, `L`, `H`, `n_kv_head`, `C`, `W`, all `int`, and "
    "`tied`, a `bool`. Result: an `int`.",
    signature="def count(V: int, L: int, H: int, n_kv_head: int, C: int, W: int, tied: bool) -> int",
    inputs=_count_inputs,
    solution=count,
    mistakes=[
        Mistake(
            "the MLP has two matrices",
            _counted(lambda V, L, H, G, C, W: -L * C * W),
            "SwiGLU has three: gate, up and down.",
        ),
        Mistake(
            "keys and values are as wide as the queries",
            _counted(kv=lambda H, G: H),
            "Keys and values have n_kv_head heads of C / H channels: matrices of [n_kv_head · hs, C].",
        ),
        Mistake(
            "keys and values have one head",
            _counted(kv=lambda H, G: 1),
            "They have n_kv_head heads of C / H channels: matrices of [n_kv_head · hs, C].",
        ),
        Mistake(
            "keys and values have one matrix together",
            _counted(lambda V, L, H, G, C, W: -L * C * G * (C // H)),
            "Keys have a matrix [n_kv_head · hs, C], and values another one.",
        ),
        Mistake(
            "keys and values are forgotten",
            _counted(lambda V, L, H, G, C, W: -2 * L * C * G * (C // H)),
            "Attention has four matrices: queries, keys, values and output.",
        ),
        Mistake(
            "one of attention's square matrices is forgotten",
            _counted(lambda V, L, H, G, C, W: -L * C * C),
            "Attention has four matrices. Queries have one of [C, C], and so has the output, which mixes what the "
            "heads have found.",
        ),
        Mistake(
            "the norms are forgotten",
            _counted(lambda V, L, H, G, C, W: -(2 * L + 1) * C),
            "Two norms per layer and one at the end, C numbers each.",
        ),
        Mistake(
            "the norms of the layers are forgotten",
            _counted(lambda V, L, H, G, C, W: -2 * L * C),
            "Each layer has two norms of C numbers, besides the one at the end.",
        ),
        Mistake(
            "a layer has one norm",
            _counted(lambda V, L, H, G, C, W: -L * C),
            "Each layer has two norms: one before attention, one before the MLP.",
        ),
        Mistake(
            "the last norm is forgotten",
            _counted(lambda V, L, H, G, C, W: -C),
            "After the last layer there is one more norm.",
        ),
        Mistake(
            "a layer has three norms",
            _counted(lambda V, L, H, G, C, W: (L - 1) * C),
            "The third one is at the end of the model, once: outside L times.",
        ),
        Mistake(
            "a norm has two vectors",
            _counted(lambda V, L, H, G, C, W: (2 * L + 1) * C),
            "RMSNorm has a weight and no bias.",
        ),
        Mistake(
            "the head is always counted",
            _counted(tied=lambda tied: False),
            "Where it is tied, the head **is** the table: counted once.",
        ),
        Mistake(
            "the head is never counted",
            _counted(tied=lambda tied: True),
            "Where it is not tied, the head is a second matrix of V rows of C.",
        ),
        Mistake(
            "tied and not tied are exchanged",
            _counted(tied=lambda tied: not tied),
            "`tied` means that table and head are one matrix: counted once if `tied`, else twice.",
        ),
        Mistake(
            "the embedding table is forgotten",
            _counted(lambda V, L, H, G, C, W: -V * C),
            "The table has V rows of C. Where it is tied it is counted once, with the head; else there are two.",
        ),
        Mistake(
            "the layers are counted once",
            lambda V, L, H, G, C, W, tied: count(V, 1, H, G, C, W, tied),
            "There are L layers, each with its own parameters.",
        ),
        Mistake(
            "the MLP is 4 C wide",
            lambda V, L, H, G, C, W, tied: count(V, L, H, G, C, 4 * C, tied),
            "Its width is W: three matrices of C · W.",
        ),
        Mistake(
            "every matrix has a bias",
            _counted(lambda V, L, H, G, C, W: L * (2 * C + 2 * G * (C // H) + 2 * W + C)),
            "Llama has no biases anywhere.",
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
    yield from [(12, 32), (13, 2), (11, 1)]
    for _ in range(5):
        yield rng.randrange(20, 900), rng.choice([8, 16, 64])


def _rounded_up(width):
    return lambda C, multiple: -(-width(C) // multiple) * multiple


_WIDTH = Exercise(
    id="llama.10",
    title="As wide as the budget allows",
    kind="stretch",
    minutes=10,
    difficulty=1,
    prompt="An MLP with two matrices is 4 C wide. How wide is one with a gate, three matrices, for as many parameters? "
    "Take 8 C / 3, **rounded down** to a whole number, and round that **up** to the next multiple of `multiple`, "
    "because GPUs like round sizes; a width that is a multiple already stays.\n\nInput: `C` and `multiple`, both "
    "`int`. Result: an `int`. (For C = 4096 and 256 it is the width of Llama 2 7B.)",
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
            _rounded_up(lambda C: math.ceil(8 * C / 3)),
            "8 C / 3 is rounded down first: for C = 64 that is 170. Only then round up, to a multiple.",
        ),
        Mistake(
            "the fraction is rounded to the nearest first",
            _rounded_up(lambda C: round(8 * C / 3)),
            "8 C / 3 is rounded down first: for C = 64 that is 170, not 171. Only then round up, to a multiple.",
        ),
        Mistake(
            "C is divided before it is multiplied",
            _rounded_up(lambda C: 8 * (C // 3)),
            "8 · (C // 3) loses up to 5: multiply first, then divide.",
        ),
        Mistake(
            "it is rounded to the nearest",
            lambda C, multiple: round(8 * C / 3 / multiple) * multiple,
            "Up, also where the multiple below is nearer.",
        ),
        Mistake(
            "the whole number is rounded to the nearest multiple",
            lambda C, multiple: round(8 * C // 3 / multiple) * multiple,
            "Up, also where the multiple below is nearer.",
        ),
        Mistake(
            "a multiple is added where it fits already",
            lambda C, multiple: (8 * C // 3 // multiple + 1) * multiple,
            "For C = 6 and 1 the answer is 16, not 17. Add `multiple - 1` before you divide.",
        ),
        Mistake(
            "it is as wide as before",
            _rounded_up(lambda C: 4 * C),
            "With three matrices that would be half as many parameters again. 2 · 4C = 3 · W gives W = 8 C / 3.",
        ),
        Mistake(
            "it is half as wide",
            _rounded_up(lambda C: 2 * C),
            "That would fit if there were four matrices. With three it is 2/3 of 4 C.",
        ),
        Mistake(
            "it is a third as wide",
            _rounded_up(lambda C: 4 * C // 3),
            "2 · 4C = 3 · W gives W = 8 C / 3, which is 2/3 of 4 C.",
        ),
        Mistake(
            "it is wider than before",
            _rounded_up(lambda C: 6 * C),
            "More matrices, so each is smaller: 2 · 4C = 3 · W gives W = 8 C / 3.",
        ),
        Mistake(
            "it is not rounded",
            lambda C, multiple: 8 * C // 3,
            "Round up to a multiple of `multiple`.",
        ),
        Mistake(
            "it is the number of multiples",
            lambda C, multiple: -(-(8 * C // 3) // multiple),
            "So many multiples fit in. The width is that number times `multiple`.",
        ),
        Mistake(
            "the multiple is added",
            lambda C, multiple: 8 * C // 3 + multiple,
            "Round up to the next multiple: `(width + multiple - 1) // multiple * multiple`.",
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
        question="A query at position 5 and a key at position 2 are both rotated by RoPE. Move both 100 positions "
        "further. Their product …",
        kind="choice",
        choices=("stays the same", "changes its sign", "becomes smaller", "becomes another number"),
        answer="a",
        explanation="Both have been rotated further by the same angle, and the angle between them is what it was.",
    ),
    Prediction(
        id="llama.c",
        question="Weights that were trained for pairs of neighbours are run with pairs of halves. What happens?",
        kind="choice",
        choices=(
            "an error",
            "nothing, the sums are the same",
            "a jumble of words, and no error",
            "only long texts suffer",
        ),
        answer="c",
        explanation="All shapes fit, so nothing complains. But every head attends to wrong positions, in every layer.",
    ),
    Prediction(
        id="llama.d",
        question="An MLP of two matrices is 4 C wide. With a gate, and C = 192: how wide, for as many parameters?",
        kind="number",
        answer=512,
        explanation="Three matrices in place of two: 2/3 of 768.",
    ),
    Prediction(
        id="llama.e",
        question="Llama 3 70B has 64 query heads and 8 heads of keys and values. How many times smaller is its cache "
        "than with 64 of each?",
        kind="number",
        answer=8,
        explanation="Only heads of keys and values are cached, and there are 8 in place of 64.",
    ),
    Prediction(
        id="llama.f",
        question="Llama 3 8B has a vocabulary of 128,256 and C = 4,096. What fraction of it is embedding table and "
        "head?",
        kind="choice",
        choices=("about 1 %", "about 13 %", "about 40 %"),
        answer="b",
        explanation="Twice 128,256 · 4,096 is about one billion of eight. In GPT-2 124M it is a third.",
    ),
]

QUESTIONS = [
    Question(
        about="sampling",
        question="What does a KV cache store for each token and layer?",
        choices=("its query, key and value", "its key and value", "its scores"),
        answer="b",
        explanation="A query is used once. Keys and values are what every later token attends to.",
    ),
    Question(
        about="model",
        question="Where is the layer normalisation in a block of GPT-2?",
        choices=("before attention and before the MLP", "after the addition", "only at the end of the model"),
        answer="a",
        explanation="Pre-norm: the residual stream itself is never rescaled. Llama does the same, with another norm.",
    ),
    Question(
        about="embedding",
        question="How does a model with a learned table of positions know that token 7 comes before token 8?",
        choices=(
            "row 7 and row 8 are added to the tokens, and it learns what they mean",
            "from the order in which they are read",
            "rows of later positions are larger",
        ),
        answer="a",
        explanation="Attention sees a set. The table marks each position, and each mark has to be learned by itself.",
    ),
]
