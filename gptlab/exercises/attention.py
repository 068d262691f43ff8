"""Exercises on attention: averages of the past, queries and keys, softmax, heads, and how far layers reach."""

import math
import random
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question


def _generator(rng: random.Random) -> torch.Generator:
    return torch.Generator().manual_seed(rng.randrange(2**31))


def _normal(rng: random.Random, *shape: int, scale: int | float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=_generator(rng)) * scale


def _integers(rng: random.Random, low: int, high: int, *shape: int) -> Tensor:
    """Small whole numbers as floats: their sums and products are exact, so that large scores stay comparable."""
    return torch.randint(low, high + 1, shape, generator=_generator(rng)).float()


def _lower(T: int) -> Tensor:
    return torch.ones(T, T, dtype=torch.bool).tril()


# ---- attention.1 -----------------------------------------------------------------------------------------------------


def average_past(x):
    T = x.shape[1]
    seen = torch.ones(T, T).tril()  # row t: a one for each position that t may see
    weights = seen / seen.sum(dim=-1, keepdim=True)  # [T, T], each row sums to 1
    return weights @ x  # [T, T] @ [B, T, C] -> [B, T, C]


def _past_inputs(rng):
    yield (torch.tensor([[[2.0], [4.0]]]),)
    yield (torch.tensor([[[2.0, 0.0], [0.0, 4.0], [4.0, 2.0]]]),)
    for B, T, C in ((2, 4, 3), (3, 5, 2), (2, 1, 3), (2, 6, 4), (4, 3, 5)):
        yield (_normal(rng, B, T, C),)


def _triangle(weights: Callable) -> Callable:
    """x multiplied by a matrix that is made from the lower triangle of ones, in one way or another."""
    return lambda x: weights(torch.ones(x.shape[1], x.shape[1]).tril()) @ x


def _steps(x: Tensor, first: int = 1) -> Tensor:
    return torch.arange(first, x.shape[1] + first)[:, None]  # [T, 1]


def _past_loop(step: Callable) -> Callable:
    """Position by position: `step(x, averages so far, t)` gives the next average, [B, C]."""

    def wrong(x):
        found: list[Tensor] = []
        for t in range(x.shape[1]):
            found.append(step(x, found, t))
        return torch.stack(found, dim=1)

    return wrong


def _overwritten(x):
    for t in range(x.shape[1]):
        x[:, t] = x[:, : t + 1].mean(dim=1)
    return x


def _two_axes(x):
    T, C = x.shape
    return x.view(T, C)


_PAST = Exercise(
    id="attention.1",
    title="Average the past",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="At each position, compute the mean of its own vector and all the vectors before it. Write it with a loop "
    "first, then try it as one product with a lower-triangular matrix.\n\nShapes: `x` is a float tensor [B, T, C]. "
    "Result: a tensor [B, T, C].",
    signature='def average_past(x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]',
    inputs=_past_inputs,
    solution=average_past,
    reference=lambda x: x.cumsum(dim=1) / _steps(x),
    mistakes=[
        Mistake(
            "the future is included",
            lambda x: x.mean(dim=1, keepdim=True).expand_as(x),
            "Every position gets the mean of all. Position t may use positions 0 to t only.",
        ),
        Mistake(
            "one mean for the whole sequence",
            lambda x: x.mean(dim=1),
            "This is [B, C], a single average of all positions. Each of the T positions needs one of its own.",
        ),
        Mistake(
            "one mean for the whole sequence, kept as an axis",
            lambda x: x.mean(dim=1, keepdim=True),
            "This is [B, 1, C], a single average of all positions. Each of the T positions needs one of its own.",
        ),
        Mistake(
            "the slice ends before t",
            _past_loop(lambda x, found, t: x[:, :t].mean(dim=1)),
            "A position leaves itself out, and position 0 has nothing left to average: NaN. `x[:, :t]` stops before t; "
            "take `x[:, : t + 1]` (or, as a matrix, `tril()` and not `tril(-1)`).",
        ),
        Mistake(
            "a position leaves itself out",
            _triangle(lambda seen: seen.tril(-1) / seen.tril(-1).sum(dim=-1, keepdim=True).clamp(min=1)),
            "The past of position t includes t: its row of the triangle has t + 1 ones.",
        ),
        Mistake(
            "a position leaves itself out, except the first",
            _past_loop(lambda x, found, t: x[:, : max(t, 1)].mean(dim=1)),
            "Take `x[:, : t + 1]` for every t: then position 0 is no special case.",
        ),
        Mistake(
            "it is a sum, not a mean",
            lambda x: x.cumsum(dim=1),
            "Divide each row by the number of positions in it, so that the weights of a row sum to 1.",
        ),
        Mistake(
            "all rows are divided by T",
            lambda x: x.cumsum(dim=1) / x.shape[1],
            "Row t has t + 1 positions, not T. Divide each row by its own sum (`keepdim=True` helps).",
        ),
        Mistake(
            "row t is divided by t",
            lambda x: x.cumsum(dim=1) / _steps(x, 0),
            "Positions are counted from 0, so row t has t + 1 of them. Divided by t, the first row is infinite or NaN.",
        ),
        Mistake(
            "the columns of the triangle sum to 1, not the rows",
            _triangle(lambda seen: seen / seen.sum(dim=0, keepdim=True)),
            "`sum(dim=0)` adds up a column. A row is one position's weights: `sum(dim=-1, keepdim=True)`.",
        ),
        Mistake(
            "the sums are lined up with the columns",
            _triangle(lambda seen: seen / seen.sum(dim=-1)),
            "Without `keepdim=True` the row sums are [T], which broadcasting lines up with the columns. Keep them "
            "[T, 1].",
        ),
        Mistake(
            "a softmax over ones and zeros",
            _triangle(lambda seen: seen.softmax(dim=-1)),
            "exp(0) is 1, so the zeros of the triangle get a share as well. Divide by the row's sum instead (or give "
            "the future minus infinity before the softmax).",
        ),
        Mistake(
            "the triangle is the upper one",
            lambda x: x.flip(1).cumsum(dim=1).flip(1) / torch.arange(x.shape[1], 0, -1)[:, None],
            "Each position averages itself and what comes after it. `tril` keeps what is on and below the diagonal.",
        ),
        Mistake(
            "the weights are transposed",
            _triangle(lambda seen: (seen / seen.sum(dim=-1, keepdim=True)).T),
            "Rows are the positions that average, columns the ones that are averaged. As it is, each position "
            "collects from its future.",
        ),
        Mistake(
            "the average runs over the batch",
            lambda x: x.cumsum(dim=0) / torch.arange(1, x.shape[0] + 1)[:, None, None],
            "Axis 0 is the batch: you mix different texts. Time is axis 1.",
        ),
        Mistake(
            "the average runs over the channels",
            lambda x: x.cumsum(dim=2) / torch.arange(1, x.shape[2] + 1),
            "Axis 2 holds the channels of a single position. Time is axis 1.",
        ),
        Mistake(
            "the average runs over time and channels",
            _past_loop(lambda x, found, t: x[:, : t + 1].mean(dim=(1, 2))[:, None].expand(-1, x.shape[2])),
            "`.mean()` without `dim` mixes the channels. Each channel has an average of its own: `dim=1` of `x[:, : t "
            "+ 1]`.",
        ),
        Mistake(
            "the counts are lined up with the channels",
            lambda x: x.cumsum(dim=1) / torch.arange(1, x.shape[1] + 1),
            "[B, T, C] over [T] lines the counts up with the channels, or does not fit. Make them a column: "
            "`torch.arange(1, T + 1)[:, None]`.",
        ),
        Mistake(
            "only the last two positions",
            _past_loop(lambda x, found, t: x[:, max(t - 1, 0) : t + 1].mean(dim=1)),
            "Position t averages everything from position 0 on: `x[:, : t + 1]`.",
        ),
        Mistake(
            "the averages are stacked in front",
            lambda x: torch.stack([x[:, : t + 1].mean(dim=1) for t in range(x.shape[1])]),
            "`torch.stack` puts the new axis first, so you have [T, B, C]. Say `dim=1`.",
        ),
        Mistake(
            "the averages are joined, not stacked",
            lambda x: torch.cat([x[:, : t + 1].mean(dim=1) for t in range(x.shape[1])], dim=1),
            "`torch.cat` puts the vectors end to end, [B, T · C]. `torch.stack(…, dim=1)` gives time an axis of its "
            "own.",
        ),
        Mistake(
            "half the last average, half the new vector",
            _past_loop(lambda x, found, t: (found[-1] + x[:, t]) / 2 if found else x[:, t]),
            "The average so far stands for t positions, the new vector for one: weigh them t to 1, or take the mean "
            "of the slice.",
        ),
        Mistake(
            "x stands on the left of the matrix",
            lambda x: x @ torch.ones(x.shape[1], x.shape[1]).tril(),
            "[B, T, C] @ [T, T] would sum over the channels, and the sizes don't fit. The weights come first: "
            "`weights @ x`.",
        ),
        Mistake(
            "x is taken for [T, C]",
            _two_axes,
            "There is a batch in front: `B, T, C = x.shape`.",
        ),
        Mistake(
            "the averages are written over x",
            _overwritten,
            "From position 1 on you average numbers that are averages already, and the caller's tensor is changed. "
            "Write into a new tensor: `torch.zeros_like(x)`.",
        ),
    ],
    hints=[
        "With a loop: `x[:, : t + 1].mean(dim=1)` is the result at position t.",
        "`torch.ones(T, T).tril()` has a one wherever row t may see column s.",
        "Divide it by `.sum(dim=-1, keepdim=True)`, and multiply: `weights @ x`.",
    ],
)

# ---- attention.2 -----------------------------------------------------------------------------------------------------


def scaled_scores(x, W_q, W_k):
    q = x @ W_q  # [B, T, C] @ [C, hs] -> [B, T, hs]
    k = x @ W_k  # [B, T, hs]
    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # [B, T, hs] @ [B, hs, T] -> [B, T, T]


def _score_inputs(rng):
    yield (
        torch.tensor([[[1.0, 0.0, 2.0], [0.0, 2.0, 1.0]]]),
        torch.tensor([[1.0, 0.0, 2.0, 0.0], [3.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 2.0]]),
        torch.tensor([[2.0, 0.0, 0.0, 1.0], [1.0, 0.0, 3.0, 0.0], [0.0, 1.0, 1.0, 0.0]]),
    )
    for B, T, C, hs in ((2, 3, 6, 4), (3, 4, 5, 2), (2, 5, 7, 3), (2, 7, 12, 4)):
        yield _normal(rng, B, T, C), _normal(rng, C, hs), _normal(rng, C, hs)


def _raw_scores(x, W_q, W_k):
    return (x @ W_q) @ (x @ W_k).transpose(-2, -1)


def _divided(divisor: Callable) -> Callable:
    """The scores over `divisor(x, q)`."""
    return lambda x, W_q, W_k: _raw_scores(x, W_q, W_k) / divisor(x, x @ W_q)


def _product(multiply: Callable) -> Callable:
    """Another product of queries and keys, scaled as it should be."""
    return lambda x, W_q, W_k: multiply(x @ W_q, x @ W_k) / math.sqrt(W_q.shape[1])


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


_SCORES = Exercise(
    id="attention.2",
    title="Queries meet keys",
    kind="core",
    minutes=10,
    difficulty=1,
    prompt="Make queries and keys from `x`, and compute the scaled score of each query with each key: row t, column s "
    "says how well the key at position s matches the query at position t. No mask and no softmax yet.\n\nShapes: `x` "
    "is a float tensor [B, T, C], `W_q` and `W_k` are [C, hs]. Result: a tensor [B, T, T].",
    signature='def scaled_scores(x: Float[Tensor, "B T C"], W_q: Float[Tensor, "C hs"], W_k: Float[Tensor, "C hs"]) '
    '-> Float[Tensor, "B T T"]',
    inputs=_score_inputs,
    solution=scaled_scores,
    mistakes=[
        Mistake(
            "scaled by √C instead of √hs",
            _divided(lambda x, q: math.sqrt(x.shape[-1])),
            "A score is a sum over the hs numbers of a query, so its variance grows with hs, not with C.",
        ),
        Mistake(
            "not scaled",
            _raw_scores,
            "Divide by √hs, or the scores of long queries are so large that softmax picks a single position.",
        ),
        Mistake(
            "divided by hs, without the root",
            _divided(lambda x, q: q.shape[-1]),
            "The variance is hs, so the usual size of a score is its root, √hs.",
        ),
        Mistake(
            "multiplied by √hs",
            _divided(lambda x, q: q.shape[-1] ** -0.5),
            "Scores grow with √hs already. Divide by it.",
        ),
        Mistake(
            "scaled by √T",
            _divided(lambda x, q: math.sqrt(x.shape[1])),
            "`shape[1]` is T, the length of the text. The size of a query is the last axis of `q`.",
        ),
        Mistake(
            "scaled by √B",
            _divided(lambda x, q: math.sqrt(len(x))),
            "`shape[0]` is the number of sequences. The size of a query is the last axis of `q`.",
        ),
        Mistake(
            "queries and keys are swapped",
            lambda x, W_q, W_k: scaled_scores(x, W_k, W_q),
            "Your matrix is the transpose of the right one: rows are queries, columns are keys.",
        ),
        Mistake(
            "the queries meet themselves",
            lambda x, W_q, W_k: scaled_scores(x, W_q, W_q),
            "You used `W_q` twice. What a position looks for and what it offers are two different things.",
        ),
        Mistake(
            "the keys meet themselves",
            lambda x, W_q, W_k: scaled_scores(x, W_k, W_k),
            "You used `W_k` twice. What a position looks for and what it offers are two different things.",
        ),
        Mistake(
            "the keys are not transposed",
            _product(lambda q, k: q @ k),
            "[B, T, hs] @ [B, T, hs] does not fit: the last axis of q must meet the hs of k. Swap k's last two axes, "
            "`k.transpose(-2, -1)`.",
        ),
        Mistake(
            "the batch is transposed as well",
            _product(lambda q, k: q @ k.permute(2, 1, 0)),
            "`k.T` reverses all axes, to [hs, T, B]. Swap the last two only: `k.transpose(-2, -1)`.",
        ),
        Mistake(
            "batch and time of the keys are swapped",
            _product(lambda q, k: q @ k.transpose(0, 1)),
            "Axis 0 is the batch. Swap the last two axes: `k.transpose(-2, -1)`.",
        ),
        Mistake(
            "the product sums over time",
            _product(lambda q, k: q.transpose(-2, -1) @ k),
            "You have [B, hs, hs]: channel against channel. Transpose k, not q: `q @ k.transpose(-2, -1)`.",
        ),
        Mistake(
            "the product sums over time, keys first",
            _product(lambda q, k: k.transpose(-2, -1) @ q),
            "You have [B, hs, hs]: channel against channel. The queries come first: `q @ k.transpose(-2, -1)`.",
        ),
        Mistake(
            "each query meets its own key only",
            _product(lambda q, k: (q * k).sum(-1)),
            "`(q * k).sum(-1)` is [B, T]: position t with itself. Every query meets every key in a matrix product.",
        ),
        Mistake(
            "numbers are multiplied in place of a matrix product",
            _product(lambda q, k: q * k),
            "`*` multiplies number by number and leaves [B, T, hs]. `@` sums over hs, for every pair of positions.",
        ),
        Mistake(
            "the scores are cosines",
            lambda x, W_q, W_k: _unit(x @ W_q) @ _unit(x @ W_k).transpose(-2, -1),
            "A plain dot product, divided by √hs, is asked for; you divided by the lengths of both vectors.",
        ),
        Mistake(
            "the softmax is taken already",
            lambda x, W_q, W_k: scaled_scores(x, W_q, W_k).softmax(dim=-1),
            "These are weights: each row sums to 1. The scores themselves are asked for.",
        ),
        Mistake(
            "the future is masked already",
            lambda x, W_q, W_k: scaled_scores(x, W_q, W_k).masked_fill(~_lower(x.shape[1]), -math.inf),
            "Every query meets every key here, later ones included. The mask comes in the next exercise.",
        ),
        Mistake(
            "the matrices are applied as `nn.Linear` does",
            lambda x, W_q, W_k: scaled_scores(x, W_q.T, W_k.T),
            "`nn.Linear` stores [out, in] and transposes it. Here `W_q` is [C, hs]: `x @ W_q`.",
        ),
        Mistake(
            "the matrices are applied by `F.linear`",
            lambda x, W_q, W_k: F.linear(x, W_q),
            "`F.linear` wants [out, in] and transposes it. Here `W_q` is [C, hs]: `x @ W_q`.",
        ),
        Mistake(
            "`torch.sqrt` of an `int`",
            _divided(lambda x, q: torch.sqrt(q.shape[-1])),
            "`torch.sqrt` wants a tensor. For a plain number take `math.sqrt(hs)`, or `hs**0.5`.",
        ),
    ],
    hints=[
        "`q = x @ W_q` has the shape [B, T, hs], and `k` likewise.",
        "`k.transpose(-2, -1)` is [B, hs, T]; the product of the two is [B, T, T].",
        "`q.shape[-1]` is hs. Divide by `math.sqrt` of it.",
    ],
)

# ---- attention.3 -----------------------------------------------------------------------------------------------------


def causal_weights(scores):
    T = scores.shape[-1]
    keep = torch.ones(T, T, dtype=torch.bool).tril()  # [T, T], True = may attend
    return scores.masked_fill(~keep, -math.inf).softmax(dim=-1)  # each row sums to 1


def _weight_inputs(rng):
    yield (torch.tensor([[[0.0, 0.0], [2.0, 0.0]]]),)
    yield (torch.tensor([[[1.0, 2.0, 0.0], [0.0, 1.0, 3.0], [2.0, 0.0, 1.0]]]),)
    yield (  # large ones: exp of them is 0 or infinite, and -100 or -1000 is not low
        torch.tensor(
            [
                [[-3000.0, 0.0, 5.0], [100.0, 101.0, 0.0], [-3000.0, -3001.0, -2999.0]],
                [[-500.0, 3.0, 80.0], [-60.0, -62.0, 80.0], [1.0, 0.0, 2.0]],
            ]
        ),
    )
    for B, T in ((2, 3), (3, 4), (2, 5), (4, 6)):
        yield (_normal(rng, B, T, T, scale=1.5),)


def _causal(fill: int | float = -math.inf, dim: int = -1, keep: Callable = _lower) -> Callable:
    """Fill the scores where `keep(T)` is False, then softmax."""
    return lambda scores: scores.masked_fill(~keep(scores.shape[-1]), fill).softmax(dim)


def _exponentials(keepdim: bool) -> Callable:
    """exp of the scores as they are, zeros on the future, and each row divided by its sum."""

    def wrong(scores):
        e = scores.exp().tril()
        return e / e.sum(dim=-1, keepdim=keepdim)

    return wrong


def _float_mask(scores):
    return scores.masked_fill(~torch.ones(scores.shape[-2:]).tril(), -math.inf).softmax(-1)


_NOT_LOW = "exp of it is not 0, and a score may be lower than it. Only minus infinity is sure to get no weight at all."

_CAUSAL = Exercise(
    id="attention.3",
    title="From scores to weights",
    kind="warm-up",
    minutes=5,
    difficulty=2,
    prompt="Turn scores into causal attention weights: a position gives no weight to later ones, and each row sums to "
    "1. The scores are scaled already, and may be large: anything from −4000 to 4000.\n\nShapes: `scores` is a float "
    "tensor [B, T, T]; rows are queries, columns are keys. Result: a tensor [B, T, T].",
    signature='def causal_weights(scores: Float[Tensor, "B T T"]) -> Float[Tensor, "B T T"]',
    inputs=_weight_inputs,
    solution=causal_weights,
    mistakes=[
        Mistake(
            "the mask comes after the softmax",
            lambda scores: scores.softmax(-1).tril(),
            "The rows no longer sum to 1: the future has taken its share first, and so it is felt. Mask the scores.",
        ),
        Mistake(
            "the mask comes after the softmax, with minus infinity",
            lambda scores: scores.softmax(-1).masked_fill(~_lower(scores.shape[-1]), -math.inf),
            "Minus infinity belongs to the scores: the softmax turns it into a weight of 0. Mask first.",
        ),
        Mistake(
            "divided a second time, after the softmax",
            lambda scores: scores.softmax(-1).tril() / scores.softmax(-1).tril().sum(-1, keepdim=True),
            "As long as the future's scores are moderate this works. Where one of them is far above the rest, the "
            "others round to 0, and 0 / 0 is NaN. Mask the scores.",
        ),
        Mistake(
            "divided a second time, after the softmax, but never by 0",
            lambda scores: F.normalize(scores.softmax(-1).tril(), p=1, dim=-1),
            "Where a score of the future is far above the rest, the others round to 0, and no division brings them "
            "back. Mask the scores, before the softmax.",
        ),
        Mistake(
            "exp without subtracting the maximum",
            _exponentials(keepdim=True),
            "exp(100) is too large for float32, and exp(-3000) is 0: infinity or 0 divided by itself is NaN. Subtract "
            "each row's maximum first; `softmax` does.",
        ),
        Mistake(
            "the row sums are lined up with the wrong axis",
            _exponentials(keepdim=False),
            "Without `keepdim=True` the sums are [B, T], and broadcasting lines that up with the last two axes, or "
            "refuses. `sum(dim=-1, keepdim=True)` is [B, T, 1].",
        ),
        Mistake(
            "the future gets the score 0",
            _causal(0.0),
            "exp(0) is 1, so a score of 0 (or 1e-9, or a score times the mask) gets a share like any other. No share "
            "at all is a score of minus infinity.",
        ),
        *(
            Mistake(f"the future gets the score {fill:g}", _causal(fill), _NOT_LOW)
            for fill in (-1.0, -10.0, -100.0, -1000.0)
        ),
        Mistake(
            "the future gets plus infinity",
            _causal(math.inf),
            "exp of infinity is infinite, and infinity divided by itself is NaN. A minus is missing: `-math.inf`.",
        ),
        Mistake(
            "the future is included",
            lambda scores: scores.softmax(-1),
            "Row t must have zeros in all columns after t.",
        ),
        Mistake(
            "one step of the future is included",
            _causal(keep=lambda T: torch.ones(T, T, dtype=torch.bool).tril(1)),
            "The triangle is one diagonal too wide: row t may use columns 0 to t, `tril()`.",
        ),
        Mistake(
            "a position does not see itself",
            _causal(keep=lambda T: _lower(T).tril(-1)),
            "The diagonal is masked too, and the first row has nothing left: NaN. Mask from the diagonal above it on: "
            "`triu(1)`, or fill where `tril()` is False.",
        ),
        Mistake(
            "keep and drop are swapped",
            _causal(keep=lambda T: ~_lower(T)),
            "`masked_fill` writes where its mask is True, and `tril` is True where a row may attend. Fill at `~keep`.",
        ),
        Mistake(
            "the past is hidden instead of the future",
            _causal(keep=lambda T: _lower(T).T),
            "`triu` begins with the position itself and goes on; what a position may see is `tril`.",
        ),
        Mistake(
            "the softmax runs over the queries",
            _causal(dim=-2),
            "Your columns sum to 1. Each query shares its attention among the keys: softmax over the last dimension.",
        ),
        Mistake(
            "the softmax runs over the batch",
            _causal(dim=0),
            "Dimension 0 is the batch. Each row of keys must sum to 1: the last dimension.",
        ),
        Mistake(
            "minus infinity is multiplied by 0",
            lambda scores: (scores.tril() - math.inf * torch.ones_like(scores).triu(1)).softmax(-1),
            "Infinity times 0 is NaN, not 0, and one NaN spoils its row. Use `masked_fill` or `torch.where`.",
        ),
        Mistake(
            "scores are divided by their sum",
            lambda scores: scores.tril() / scores.tril().sum(-1, keepdim=True),
            "Scores may be negative, and may sum to nothing. Take exp first; that is what softmax does.",
        ),
        Mistake(
            "the softmax is missing",
            lambda scores: scores.masked_fill(~_lower(scores.shape[-1]), -math.inf),
            "These are masked scores. `softmax(dim=-1)` makes weights of them.",
        ),
        Mistake(
            "logarithms of the weights",
            lambda scores: causal_weights(scores).log(),
            "`log_softmax` gives log-probabilities. Weights are asked for, which sum to 1: `softmax`.",
        ),
        Mistake(
            "scaled once more",
            lambda scores: causal_weights(scores / math.sqrt(scores.shape[-1])),
            "The scores are scaled already, and √T is the root of the wrong number.",
        ),
        Mistake(
            "`~` of a mask of floats",
            _float_mask,
            "`torch.ones(T, T)` holds floats, which cannot be inverted. Give it `dtype=torch.bool`, or compare: "
            "`seen == 0`.",
        ),
        Mistake(
            "the scores that were given are changed",
            lambda scores: scores.masked_fill_(~_lower(scores.shape[-1]), -math.inf).softmax(-1),
            "The weights are right, but you wrote into the caller's tensor. `masked_fill`, without the underscore at "
            "its end, gives a new one.",
        ),
    ],
    hints=[
        "A score of minus infinity becomes a weight of exactly 0.",
        "`torch.ones(T, T, dtype=torch.bool).tril()` is True where a row may attend.",
        "`scores.masked_fill(~keep, -math.inf)`, then `.softmax(dim=-1)`.",
    ],
)

# ---- attention.4 -----------------------------------------------------------------------------------------------------


def my_attend(q, k, v, keep_mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # [B, Tq, Tk]
    weights = scores.masked_fill(~keep_mask, -math.inf).softmax(dim=-1)  # [B, Tq, Tk]
    return weights @ v  # [B, Tq, Tk] @ [B, Tk, hs] -> [B, Tq, hs]


def _attend_inputs(rng):
    yield (
        torch.tensor([[[4.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]]]),
        torch.tensor([[[1.0, 0.0, 0.0, 2.0], [0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 3.0, 0.0]]]),
        torch.tensor([[[1.0, 2.0, 0.0, 0.0], [8.0, 4.0, 0.0, 1.0], [2.0, 6.0, 1.0, 0.0]]]),
        torch.tensor([[True, True, False], [False, True, True]]),
    )
    yield (  # scores from -3050 to 1220: exp of them is 0 or infinite, and -100 or -1000 is not low
        torch.tensor([[[-50.0], [20.0], [-8.0], [1.0]]]),
        torch.tensor([[[60.0], [-8.0], [61.0]]]),
        torch.tensor([[[3.0], [5.0], [2.0]]]),
        torch.tensor([[True, False, True], [True, True, False], [True, False, True], [False, True, True]]),
    )
    for B, Tq, Tk, hs in ((2, 3, 5, 4), (3, 5, 4, 2), (2, 4, 6, 3), (2, 3, 7, 5)):
        keep = _normal(rng, Tq, Tk) > 0
        keep[:, 0] = True
        keep[0, 1:] = False
        keep[-1] = True
        keep[1, 1], keep[1, 2] = False, True
        yield _normal(rng, B, Tq, hs), _normal(rng, B, Tk, hs), _normal(rng, B, Tk, hs), keep


def _attention(
    scale: Callable = lambda q, k: math.sqrt(q.shape[-1]),
    fill: int | float | None = -math.inf,
    dim: int = -1,
    after: Callable = lambda weights, keep: weights,
    mask: Callable = lambda keep: keep,
) -> Callable:
    """All of it, with one part replaced. With `fill=None` the scores are not masked."""

    def wrong(q, k, v, keep_mask):
        scores = q @ k.transpose(-2, -1) / scale(q, k)
        if fill is not None:
            scores = scores.masked_fill(~mask(keep_mask), fill)
        return after(scores.softmax(dim), keep_mask) @ v

    return wrong


def _scores_and(weigh: Callable) -> Callable:
    """Scaled scores, and `weigh(scores, keep_mask)` in place of masking and softmax."""
    return lambda q, k, v, keep: weigh(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), keep) @ v


def _weights_by_exp(scores, keep):
    e = scores.exp() * keep
    return e / e.sum(dim=-1, keepdim=True)


_ATTEND = Exercise(
    id="attention.4",
    title="Attend",
    kind="core",
    minutes=10,
    difficulty=2,
    prompt="Attention from end to end: scores, scale, mask, softmax, and the weighted average of the values. Every row "
    "of the mask keeps at least one key. Scaled scores may be large, anything from −4000 to 4000.\n\nShapes: `q` is a "
    "float tensor [B, Tq, hs], `k` and `v` are [B, Tk, hs], `keep_mask` is boolean, [Tq, Tk], and True means *may "
    "attend*. Result: a tensor [B, Tq, hs].",
    signature='def my_attend(q: Float[Tensor, "B Tq hs"], k: Float[Tensor, "B Tk hs"], v: Float[Tensor, "B Tk hs"], '
    'keep_mask: Bool[Tensor, "Tq Tk"]) -> Float[Tensor, "B Tq hs"]',
    inputs=_attend_inputs,
    solution=my_attend,
    reference=lambda q, k, v, keep_mask: F.scaled_dot_product_attention(q, k, v, attn_mask=keep_mask),
    mistakes=[
        Mistake(
            "the values are forgotten",
            lambda q, k, v, keep: (
                (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).masked_fill(~keep, -math.inf).softmax(-1)
            ),
            "These are the weights. What a position receives is their product with the values: `weights @ v`.",
        ),
        Mistake(
            "the values stand on the left",
            lambda q, k, v, keep: (lambda weights: v @ weights)(
                (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).masked_fill(~keep, -math.inf).softmax(-1)
            ),
            "[B, Tk, hs] @ [B, Tq, Tk] does not fit. The weights come first: `weights @ v`.",
        ),
        Mistake(
            "the keys are averaged instead of the values",
            lambda q, k, v, keep: my_attend(q, k, k, keep),
            "A key is only compared with the query. What a position receives is the value.",
        ),
        Mistake(
            "keys and values are swapped",
            lambda q, k, v, keep: my_attend(q, v, k, keep),
            "The queries are compared with the keys, and the values are averaged.",
        ),
        Mistake(
            "keep and drop are swapped",
            _attention(mask=lambda keep: ~keep),
            "`masked_fill` fills where its mask is True. True in `keep_mask` means may attend: fill at `~keep_mask`.",
        ),
        Mistake(
            "keep and drop are swapped, with a finite number",
            _attention(fill=-1e9, mask=lambda keep: ~keep),
            "True in `keep_mask` means may attend: it is where the mask is False that the scores become very low.",
        ),
        Mistake(
            "the mask is transposed",
            _attention(mask=lambda keep: keep.T),
            "The mask is [Tq, Tk] already, like the last two axes of the scores: use it as it is.",
        ),
        Mistake(
            "the mask is left out",
            _attention(fill=None),
            "Keys that may not be attended to still have a share. Use `keep_mask` before the softmax.",
        ),
        Mistake(
            "a causal mask in place of the one given",
            _attention(mask=lambda keep: torch.ones_like(keep).tril()),
            "You hide the future, but `keep_mask` says which keys each query may attend to. Use it as it is.",
        ),
        Mistake(
            "the mask comes after the softmax",
            _attention(fill=None, after=lambda weights, keep: weights * keep),
            "Then the weights of a row sum to less than 1. Mask the scores, with minus infinity.",
        ),
        Mistake(
            "divided a second time, after the softmax",
            _attention(fill=None, after=lambda w, keep: w * keep / (w * keep).sum(-1, keepdim=True)),
            "Where a hidden score is far above the rest, the others round to 0, and 0 / 0 is NaN. Mask the scores.",
        ),
        Mistake(
            "divided a second time, after the softmax, but never by 0",
            _attention(fill=None, after=lambda w, keep: F.normalize(w * keep, p=1, dim=-1)),
            "Where a hidden score is far above the rest, the others round to 0, and no division brings them back. Mask "
            "the scores, before the softmax.",
        ),
        Mistake(
            "exp without subtracting the maximum",
            _scores_and(_weights_by_exp),
            "exp(100) is too large for float32, and exp(-3000) is 0: infinity or 0 divided by itself is NaN. Subtract "
            "each row's maximum first; `softmax` does.",
        ),
        Mistake(
            "hidden scores become 0",
            _attention(fill=0.0),
            "exp(0) is 1, so a score of 0 (or 1e-9, or a score times the mask) gets a share like any other. Fill with "
            "minus infinity.",
        ),
        *(
            Mistake(f"hidden scores become {fill:g}", _attention(fill=fill), _NOT_LOW)
            for fill in (-10.0, -100.0, -1000.0)
        ),
        Mistake(
            "hidden scores become plus infinity",
            _attention(fill=math.inf),
            "Infinity divided by infinity is NaN. A minus is missing: `-math.inf`.",
        ),
        Mistake(
            "the mask is added to the scores",
            _scores_and(lambda scores, keep: (scores + keep).softmax(-1)),
            "Adding True adds 1: a kept key gets e times the share, and a hidden one keeps its own. Only a mask of 0 "
            "and minus infinity can be added.",
        ),
        Mistake(
            "minus infinity is multiplied by 0",
            _scores_and(lambda scores, keep: (scores + ~keep * -math.inf).softmax(-1)),
            "False times infinity is NaN, not 0. Use `masked_fill` or `torch.where`.",
        ),
        Mistake(
            "the softmax runs over the queries",
            _attention(dim=-2),
            "For each query the weights over the *keys* must sum to 1: the last dimension.",
        ),
        Mistake(
            "the softmax runs over the batch",
            _attention(dim=0),
            "Dimension 0 is the batch. For each query the weights over the keys must sum to 1: the last dimension.",
        ),
        Mistake(
            "the softmax is missing",
            _scores_and(lambda scores, keep: scores.masked_fill(~keep, 0.0)),
            "You sum up values times scores. Weights come from a softmax over the keys.",
        ),
        Mistake(
            "the softmax is missing, and minus infinity is multiplied",
            _scores_and(lambda scores, keep: scores.masked_fill(~keep, -math.inf)),
            "Masked scores go through a softmax over the keys, which turns minus infinity into a weight of 0. As it "
            "is, the infinity itself is multiplied by the values.",
        ),
        Mistake(
            "the scores are not scaled",
            _attention(scale=lambda q, k: 1.0),
            "Divide by √hs before the softmax.",
        ),
        Mistake(
            "divided by hs, without the root",
            _attention(scale=lambda q, k: q.shape[-1]),
            "The usual size of a score is √hs: divide by the root.",
        ),
        Mistake(
            "multiplied by √hs",
            _attention(scale=lambda q, k: q.shape[-1] ** -0.5),
            "Scores grow with √hs already. Divide by it.",
        ),
        Mistake(
            "scaled by √Tk",
            _attention(scale=lambda q, k: math.sqrt(k.shape[1])),
            "That is the root of the number of keys. A score sums over the hs numbers of a query: √hs, `q.shape[-1]`.",
        ),
        Mistake(
            "scaled by √Tq",
            _attention(scale=lambda q, k: math.sqrt(q.shape[1])),
            "That is the root of the number of queries. A score sums over the hs numbers of a query: `q.shape[-1]`.",
        ),
        Mistake(
            "scaled after the softmax",
            lambda q, k, v, keep: my_attend(q * q.shape[-1] ** 0.5, k, v, keep) / math.sqrt(q.shape[-1]),
            "The division belongs to the scores. After the softmax it only makes the weights smaller, so that a row no "
            "longer sums to 1.",
        ),
        Mistake(
            "the keys are not transposed",
            lambda q, k, v, keep: q @ k,
            "[B, Tq, hs] @ [B, Tk, hs] does not fit. Swap the last two axes of k: `k.transpose(-2, -1)`.",
        ),
        Mistake(
            "the batch is transposed as well",
            lambda q, k, v, keep: q @ k.permute(2, 1, 0),
            "`k.T` reverses all axes, to [hs, Tk, B]. Swap the last two only: `k.transpose(-2, -1)`.",
        ),
        Mistake(
            "`torch.sqrt` of an `int`",
            _attention(scale=lambda q, k: torch.sqrt(q.shape[-1])),
            "`torch.sqrt` wants a tensor. For a plain number take `math.sqrt(hs)`, or `hs**0.5`.",
        ),
    ],
    hints=[
        "Scores [B, Tq, Tk], weights [B, Tq, Tk], result [B, Tq, hs].",
        "`q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])`, then fill with `-math.inf` where `~keep_mask`.",
        "`.softmax(dim=-1) @ v`.",
    ],
    package="gptlab.attention.attend",
)

# ---- attention.5 -----------------------------------------------------------------------------------------------------


def my_split_heads(x, H):
    B, T, C = x.shape
    return x.view(B, T, H, C // H).transpose(1, 2)  # [B, T, H, hs] -> [B, H, T, hs]


def _split_inputs(rng):
    yield torch.arange(12.0).view(1, 3, 4), 2
    yield torch.arange(24.0).view(1, 4, 6), 3
    for B, T, H, hs in ((2, 3, 4, 5), (3, 5, 2, 4), (2, 4, 3, 2)):
        yield _normal(rng, B, T, H * hs), H


def _cut(*sizes: str) -> Callable:
    """x reshaped to these sizes, each a letter."""

    def wrong(x, H):
        B, T, C = x.shape
        return x.reshape([{"B": B, "T": T, "H": H, "C": C, "hs": C // H}[size] for size in sizes])

    return wrong


_SPLIT = Exercise(
    id="attention.5",
    title="Split into heads",
    kind="core",
    minutes=10,
    difficulty=2,
    prompt="Split the C channels of every position into H heads: head 0 gets the first hs = C / H channels, head 1 the "
    "next hs, and so on.\n\nShapes: `x` is a float tensor [B, T, C], `H` an `int` of at least 2 that divides C. "
    "Result: a tensor [B, H, T, hs].",
    signature='def my_split_heads(x: Float[Tensor, "B T C"], H: int) -> Float[Tensor, "B H T hs"]',
    inputs=_split_inputs,
    solution=my_split_heads,
    reference=lambda x, H: torch.stack(x.chunk(H, dim=-1), dim=1),
    mistakes=[
        Mistake(
            "a view straight to [B, H, T, hs]",
            _cut("B", "H", "T", "hs"),
            "The shape is right and the contents are mixed up: head 0 holds all channels of the first few positions. "
            "Split the last axis first, then swap two axes.",
        ),
        Mistake(
            "heads come after time",
            _cut("B", "T", "H", "hs"),
            "You have [B, T, H, hs]. Heads must stand before time, so that `@` works within one head.",
        ),
        Mistake(
            "channels are dealt out like cards",
            lambda x, H: _cut("B", "T", "hs", "H")(x, H).permute(0, 3, 1, 2),
            "Head 0 got the channels 0, H, 2H … It should get the first hs: split into [H, hs], not [hs, H].",
        ),
        Mistake(
            "H and hs are swapped",
            lambda x, H: _cut("B", "T", "hs", "H")(x, H).transpose(1, 2),
            "You have [B, hs, T, H]: hs heads of size H. Split the last axis into [H, hs].",
        ),
        Mistake(
            "time and channels are swapped",
            lambda x, H: _cut("B", "T", "H", "hs")(x, H).permute(0, 2, 3, 1),
            "You have [B, H, hs, T]. Swap axes 1 and 2 only.",
        ),
        Mistake(
            "the last two axes are swapped",
            lambda x, H: _cut("B", "T", "H", "hs")(x, H).transpose(-2, -1),
            "You have [B, T, hs, H]. It is time and heads that must change places: axes 1 and 2.",
        ),
        Mistake(
            "axes 1 and 3 are swapped",
            lambda x, H: _cut("B", "T", "H", "hs")(x, H).transpose(1, 3),
            "You have [B, hs, H, T]. It is time and heads that must change places: axes 1 and 2.",
        ),
        Mistake(
            "the heads come before the batch",
            lambda x, H: torch.stack(x.chunk(H, dim=-1)),
            "You have [H, B, T, hs]. The batch stays in front: `torch.stack(…, dim=1)`, or `transpose(1, 2)` after "
            "the view.",
        ),
        Mistake(
            "a tuple of heads",
            lambda x, H: x.chunk(H, dim=-1),
            "The pieces are right. Put them into one tensor: `torch.stack(pieces, dim=1)`.",
        ),
        Mistake(
            "the text is cut, not the channels",
            lambda x, H: torch.stack(x.chunk(H, dim=1), dim=1),
            "Along `dim=1` you cut the time into pieces. A head sees all positions and some of the channels: `dim=-1`.",
        ),
        Mistake(
            "the heads are joined along the time",
            lambda x, H: torch.cat(x.chunk(H, dim=-1), dim=1),
            "You have [B, H · T, hs]. Heads need an axis of their own: `torch.stack(…, dim=1)`.",
        ),
        Mistake(
            "each head gets all channels",
            lambda x, H: x[:, None].expand(-1, H, -1, -1),
            "Each head works on its own C / H channels.",
        ),
        Mistake(
            "a head is given the size C",
            _cut("B", "T", "H", "C"),
            "H heads of size C would be H times as many numbers. A head has hs = C // H channels.",
        ),
        Mistake(
            "transposed before the split",
            lambda x, H: x.transpose(1, 2).reshape(x.shape[0], H, x.shape[1], -1),
            "The shape is right and the contents are mixed up: after the first transpose a row holds one channel at "
            "all times. Split the last axis first, then swap two axes.",
        ),
        Mistake(
            "transposed before the view",
            lambda x, H: x.transpose(1, 2).view(x.shape[0], H, x.shape[1], -1),
            "After the transpose the numbers do not lie in a row, so `view` refuses. Split first, then transpose: "
            "`view(B, T, H, hs).transpose(1, 2)`.",
        ),
        Mistake(
            "C / H is a float, in a view",
            lambda x, H: x.view(*x.shape[:2], H, x.shape[2] / H),
            "A size is an `int`: `C // H`.",
        ),
        Mistake(
            "C / H is a float, in a reshape",
            lambda x, H: x.reshape(*x.shape[:2], H, x.shape[2] / H),
            "A size is an `int`: `C // H`.",
        ),
    ],
    hints=[
        "First [B, T, H, hs]: it is the last axis that is split in two.",
        "`x.view(B, T, H, C // H)` does that.",
        "`.transpose(1, 2)` brings heads before time.",
    ],
    package="gptlab.attention.split_heads",
)

# ---- attention.6 -----------------------------------------------------------------------------------------------------


def my_merge_heads(x):
    B, H, T, hs = x.shape
    return x.transpose(1, 2).reshape(B, T, H * hs)  # [B, T, H, hs] -> [B, T, C]


def _merge_inputs(rng):
    yield (torch.arange(12.0).view(1, 2, 3, 2),)
    yield (torch.arange(24.0).view(1, 2, 4, 3),)
    for B, H, T, hs in ((2, 3, 4, 5), (3, 2, 5, 4), (2, 4, 3, 2)):
        yield (_normal(rng, B, H, T, hs),)


_MERGE = Exercise(
    id="attention.6",
    title="Merge the heads",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="The way back from the heads: put their results side by side at each position, those of head 0 first, then "
    "those of head 1, and so on.\n\nShapes: `x` is a float tensor [B, H, T, hs] with H at least 2. Result: a tensor "
    "[B, T, C] with C = H · hs.",
    signature='def my_merge_heads(x: Float[Tensor, "B H T hs"]) -> Float[Tensor, "B T C"]',
    inputs=_merge_inputs,
    solution=my_merge_heads,
    reference=lambda x: torch.cat(x.unbind(1), dim=-1),
    mistakes=[
        Mistake(
            "reshaped without swapping the axes back",
            lambda x: x.reshape(x.shape[0], x.shape[2], -1),
            "The first positions now hold pieces of one head at several times. Bring time before heads first: "
            "`transpose(1, 2)`.",
        ),
        Mistake(
            "`view` after a transpose",
            lambda x: x.transpose(1, 2).view(x.shape[0], x.shape[2], -1),
            "Your idea is right. After `transpose` the numbers do not lie in a row in memory, and `view` cannot "
            "describe them: write `.reshape(…)`, or `.contiguous().view(…)`.",
        ),
        Mistake(
            "the heads are added",
            lambda x: x.sum(dim=1),
            "The sum has hs channels, and the heads can no longer be told apart. Put them side by side.",
        ),
        Mistake(
            "the heads are averaged",
            lambda x: x.mean(dim=1),
            "The mean has hs channels. Put the heads side by side, C channels in all.",
        ),
        Mistake(
            "the channels of the heads alternate",
            lambda x: x.permute(0, 2, 3, 1).flatten(2),
            "Channel 0 of all heads, then channel 1 of all … Each head's channels must stay together.",
        ),
        Mistake(
            "the heads are still an axis",
            lambda x: x.transpose(1, 2),
            "You have [B, T, H, hs]. Flatten the last two axes into one of C.",
        ),
        Mistake(
            "the last two axes are swapped",
            lambda x: x.transpose(-2, -1).reshape(x.shape[0], x.shape[2], -1),
            "It is heads and time that must change places, axes 1 and 2, not time and channels.",
        ),
        Mistake(
            "axes 1 and 3 are swapped",
            lambda x: x.transpose(1, 3).reshape(x.shape[0], x.shape[2], -1),
            "It is heads and time that must change places, axes 1 and 2.",
        ),
        Mistake(
            "the heads are joined along the time",
            lambda x: x.flatten(1, 2),
            "You have [B, H · T, hs]: one head after the other. They belong side by side, along the channels: "
            "`dim=-1` in `torch.cat`.",
        ),
        Mistake(
            "heads and time are flattened",
            lambda x: x.transpose(1, 2).flatten(1, 2),
            "You have [B, T · H, hs]. It is heads and channels that become one axis: `flatten(2)` after the transpose.",
        ),
        Mistake(
            "the heads are joined along the batch",
            lambda x: torch.cat(x.unbind(1)),
            "`torch.cat` joins along axis 0 unless you say `dim=-1`.",
        ),
        Mistake(
            "time and channels are flattened together",
            lambda x: x.flatten(2),
            "You have [B, H, T · hs]. Bring time before heads, then flatten heads and channels.",
        ),
        Mistake(
            "H and T are read in the wrong order",
            lambda x: x.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1),
            "`x.shape` is B, H, T, hs: you took H for the time, and so the result is [B, H, …].",
        ),
        Mistake(
            "flattened from the time on",
            lambda x: x.transpose(1, 2).flatten(1),
            "You have [B, T · C]. Only heads and channels become one axis: `flatten(2)`.",
        ),
        Mistake(
            "the result is given hs channels",
            lambda x: x.transpose(1, 2).reshape(x.shape[0], x.shape[2], x.shape[3]),
            "All H heads must fit: the last axis has C = H · hs channels.",
        ),
        Mistake(
            "only the first head is left",
            lambda x: x[:, 0],
            "The other heads are lost. Put all of them side by side.",
        ),
    ],
    hints=[
        "It undoes attention.5, in the opposite order.",
        "First `x.transpose(1, 2)`: [B, T, H, hs].",
        "Then `.reshape(B, T, H * hs)`. (`view` refuses: after a transpose the numbers do not lie in a row.)",
    ],
    package="gptlab.attention.merge_heads",
)

# ---- attention.7 -----------------------------------------------------------------------------------------------------


def multi_head(x, W_q, W_k, W_v, W_o, H):
    B, T, C = x.shape
    q, k, v = (
        (x @ W).view(B, T, H, C // H).transpose(1, 2)  # [B, T, C] -> [B, H, T, hs]
        for W in (W_q, W_k, W_v)
    )
    scores = q @ k.transpose(-2, -1) / math.sqrt(C // H)  # [B, H, T, T]
    keep = torch.ones(T, T, dtype=torch.bool).tril()
    weights = scores.masked_fill(~keep, -math.inf).softmax(dim=-1)  # [B, H, T, T]
    heads = (weights @ v).transpose(1, 2).reshape(B, T, C)  # [B, H, T, hs] -> [B, T, C]
    return heads @ W_o


def _many_inputs(rng):
    yield (
        torch.tensor([[[1.0, 2.0], [3.0, 5.0], [0.0, 1.0]]]),
        torch.tensor([[1.0, 0.0], [-1.0, 1.0]]),
        torch.tensor([[0.0, 1.0], [1.0, -1.0]]),
        torch.tensor([[2.0, 1.0], [0.0, 1.0]]),
        torch.tensor([[1.0, 3.0], [-2.0, 1.0]]),
        2,
    )
    # scores in the hundreds, whose exp is infinite; whole numbers, so that nothing is lost in rounding
    yield (_integers(rng, -6, 6, 3, 5, 8), *(_integers(rng, -4, 4, 8, 8) for _ in range(4)), 2)
    for B, T, H, hs in ((3, 5, 2, 4), (2, 4, 3, 2), (3, 7, 4, 2), (4, 5, 2, 6)):
        C = H * hs
        yield (_normal(rng, B, T, C), *(_normal(rng, C, C, scale=C**-0.5) for _ in range(4)), H)


def _split(x: Tensor, H: int) -> Tensor:
    return torch.stack(x.chunk(H, dim=-1), dim=1)


def _merge(x: Tensor) -> Tensor:
    return torch.cat(x.unbind(1), dim=-1)


def _softmax_of_past(scores: Tensor) -> Tensor:
    return scores.masked_fill(~_lower(scores.shape[-1]), -math.inf).softmax(-1)


def _many(
    split: Callable = _split,
    scale: Callable = lambda C, hs, H, T: math.sqrt(hs),
    product: Callable = lambda q, k: q @ k.transpose(-2, -1),
    weigh: Callable = _softmax_of_past,
    merge: Callable = _merge,
    output: Callable = lambda y, W_o: y @ W_o,
) -> Callable:
    """All of it, with one part replaced."""

    def wrong(x, W_q, W_k, W_v, W_o, H):
        _, T, C = x.shape
        q, k, v = (split(x @ W, H) for W in (W_q, W_k, W_v))
        scores = product(q, k) / scale(C, C // H, H, T)
        return output(merge(weigh(scores) @ v), W_o)

    return wrong


def _library(x, W_q, W_k, W_v, W_o, H):
    q, k, v = (_split(x @ W, H) for W in (W_q, W_k, W_v))
    return _merge(F.scaled_dot_product_attention(q, k, v, is_causal=True)) @ W_o


def _over(dim: int) -> Callable:
    return lambda scores: scores.masked_fill(~_lower(scores.shape[-1]), -math.inf).softmax(dim)


def _masked_as(weigh: Callable) -> Callable:
    """All of it, with `weigh(scores, keep)` in place of mask and softmax."""
    return _many(weigh=lambda scores: weigh(scores, _lower(scores.shape[-1])))


def _mask_for_channels(x, W_q, W_k, W_v, W_o, H):
    q, k, v = (_split(x @ W, H) for W in (W_q, W_k, W_v))
    keep = _lower(x.shape[2])  # [C, C]
    return _merge((q @ k.transpose(-2, -1)).masked_fill(~keep, -math.inf).softmax(-1) @ v) @ W_o


def _heads_after_time(x, W_q, W_k, W_v, W_o, H):
    q, k, v = (torch.stack((x @ W).chunk(H, dim=-1), dim=2) for W in (W_q, W_k, W_v))  # [B, T, H, hs]
    scores = q @ k.transpose(-2, -1)  # [B, T, H, H]
    return scores.masked_fill(~_lower(x.shape[1]), -math.inf).softmax(-1) @ v


_MANY = Exercise(
    id="attention.7",
    title="Multi-head attention",
    kind="stretch",
    minutes=25,
    difficulty=3,
    prompt="Causal self-attention with H heads, all of it: project, split into heads, attend, merge, and multiply by "
    "the output projection `W_o`. Each head scales its scores by the root of its own size, hs = C / H, and no position "
    "attends to a later one.\n\nShapes: `x` is a float tensor [B, T, C]; the four matrices are [C, C], to be used as "
    "`x @ W_q`; `H` is an `int` of at least 2 that divides C. Result: a tensor [B, T, C].",
    signature="def multi_head(x, W_q, W_k, W_v, W_o, H)",
    inputs=_many_inputs,
    solution=multi_head,
    reference=_library,
    mistakes=[
        Mistake(
            "`view` after a transpose",
            _many(merge=lambda y: y.transpose(1, 2).view(y.shape[0], y.shape[2], -1)),
            "Your idea is right. After `transpose(1, 2)` the numbers do not lie in a row in memory, and `view` cannot "
            "describe them: write `.reshape(B, T, C)`, or `.contiguous().view(B, T, C)`.",
        ),
        Mistake(
            "scaled by √C instead of √hs",
            _many(scale=lambda C, hs, H, T: math.sqrt(C)),
            "Each head adds up only hs = C / H products. Divide by the root of hs.",
        ),
        Mistake(
            "the scores are not scaled",
            _many(scale=lambda C, hs, H, T: 1),
            "Divide the scores of each head by √hs, `math.sqrt(C // H)`, before the softmax.",
        ),
        Mistake(
            "divided by hs, without the root",
            _many(scale=lambda C, hs, H, T: hs),
            "The usual size of a score is √hs: divide by the root.",
        ),
        Mistake(
            "scaled by √H",
            _many(scale=lambda C, hs, H, T: math.sqrt(H)),
            "H is the number of heads. A score adds up the hs = C / H products of one head: divide by √hs.",
        ),
        Mistake(
            "scaled by √T",
            _many(scale=lambda C, hs, H, T: math.sqrt(T)),
            "That axis is time. A score adds up the hs = C / H products of one head: divide by √hs.",
        ),
        Mistake(
            "the heads are split by a view",
            _many(split=lambda x, H: x.reshape(x.shape[0], H, x.shape[1], -1)),
            "`view(B, H, T, hs)` mixes positions and channels. `view(B, T, H, hs)`, then `transpose(1, 2)`.",
        ),
        Mistake(
            "channels are dealt out like cards",
            _many(split=lambda x, H: x.reshape(*x.shape[:2], -1, H).permute(0, 3, 1, 2)),
            "Head 0 got the channels 0, H, 2H … It should get the first hs: split into [H, hs], not [hs, H].",
        ),
        Mistake(
            "heads still stand after time",
            _heads_after_time,
            "q, k and v are [B, T, H, hs], so the scores compare heads, [B, T, H, H], and no [T, T] mask fits. After "
            "the view comes `transpose(1, 2)`.",
        ),
        Mistake(
            "transpose(1, 2) on four axes",
            _many(product=lambda q, k: q @ k.transpose(1, 2)),
            "With heads, axes 1 and 2 of the keys are heads and time. The last two are meant: `k.transpose(-2, -1)`.",
        ),
        Mistake(
            "the keys are not transposed",
            _many(product=lambda q, k: q @ k),
            "[T, hs] @ [T, hs] does not fit. Swap the last two axes of k: `k.transpose(-2, -1)`.",
        ),
        Mistake(
            "the heads are not swapped back before the reshape",
            _many(merge=lambda y: y.reshape(y.shape[0], y.shape[2], -1)),
            "Before the reshape to [B, T, C], swap heads and time back: `transpose(1, 2)`.",
        ),
        Mistake(
            "a [C, C] matrix meets the hs channels of one head",
            _many(merge=lambda y: y),
            "Each of the four matrices wants all C channels: project before you split into heads, and merge the heads "
            "to [B, T, C] before `W_o`.",
        ),
        Mistake(
            "the heads are added up",
            _many(merge=lambda y: y.sum(dim=1)),
            "The sum has hs channels, and `W_o` wants C. Put the heads side by side: `transpose(1, 2).reshape(B, T, "
            "C)`.",
        ),
        Mistake(
            "a head gets rows of the matrices",
            lambda x, W_q, W_k, W_v, W_o, H: x @ W_q[: W_q.shape[0] // H],
            "With `x @ W`, the columns of W make the channels of the result: a head is `W[:, start : start + hs]`.",
        ),
        Mistake(
            "the output projection is left out",
            _many(output=lambda y, W_o: y),
            "The heads lie side by side, and have not been mixed: multiply by `W_o`.",
        ),
        Mistake(
            "the matrices are applied as `nn.Linear` does",
            lambda x, W_q, W_k, W_v, W_o, H: multi_head(x, W_q.T, W_k.T, W_v.T, W_o.T, H),
            "`nn.Linear` multiplies by the transpose of its weight. Here it is `x @ W_q`, and so on.",
        ),
        Mistake(
            "the output projection is transposed",
            lambda x, W_q, W_k, W_v, W_o, H: multi_head(x, W_q, W_k, W_v, W_o.T, H),
            "`nn.Linear` multiplies by the transpose of its weight. Here it is `heads @ W_o`.",
        ),
        Mistake(
            "queries and keys are swapped",
            lambda x, W_q, W_k, W_v, W_o, H: multi_head(x, W_k, W_q, W_v, W_o, H),
            "Rows of the scores are queries, columns are keys: `q @ k.transpose(-2, -1)`.",
        ),
        Mistake(
            "keys and values are swapped",
            lambda x, W_q, W_k, W_v, W_o, H: multi_head(x, W_q, W_v, W_k, W_o, H),
            "The queries are compared with the keys, and the values are averaged.",
        ),
        Mistake(
            "the future is included",
            _masked_as(lambda scores, keep: scores.softmax(-1)),
            "No position may attend to later ones: mask the scores before the softmax.",
        ),
        Mistake(
            "keep and drop are swapped",
            _masked_as(lambda scores, keep: scores.masked_fill(keep, -math.inf).softmax(-1)),
            "`masked_fill` writes where its mask is True, and `tril` is True where a position may attend. Fill at "
            "`~keep`.",
        ),
        Mistake(
            "a position does not see itself",
            _masked_as(lambda scores, keep: scores.masked_fill(~keep.tril(-1), -math.inf).softmax(-1)),
            "The diagonal is masked too, and the first row has nothing left: NaN. Fill where `tril()` is False, or "
            "where `triu(1)` is True.",
        ),
        Mistake(
            "the mask comes after the softmax",
            _masked_as(lambda scores, keep: scores.softmax(-1) * keep),
            "Then the weights of a row sum to less than 1. Mask the scores, with minus infinity.",
        ),
        Mistake(
            "the future gets the score 0",
            _masked_as(lambda scores, keep: (scores * keep).softmax(-1)),
            "exp(0) is 1, so a score of 0 (or a score times the mask) gets a share like any other. Fill with minus "
            "infinity.",
        ),
        Mistake(
            "exp without subtracting the maximum",
            _masked_as(lambda scores, keep: _weights_by_exp(scores, keep)),
            "exp of a score above 88 is too large for float32, and infinity divided by itself is NaN. Subtract each "
            "row's maximum first; `softmax` does.",
        ),
        Mistake(
            "the softmax runs over the queries",
            _many(weigh=_over(-2)),
            "For each query the weights over the keys must sum to 1: the last dimension.",
        ),
        Mistake(
            "the softmax runs over the heads",
            _many(weigh=_over(1)),
            "On [B, H, T, T], dimension 1 is the heads. The keys are the last dimension: `softmax(dim=-1)`.",
        ),
        Mistake(
            "the mask has a row for each channel",
            _mask_for_channels,
            "The scores are [B, H, T, T]: the triangle is as large as the text is long, `torch.ones(T, T)`.",
        ),
        Mistake(
            "one head",
            lambda x, W_q, W_k, W_v, W_o, H: multi_head(x, W_q, W_k, W_v, W_o, 1),
            "H is not used: all C channels form a single head here.",
        ),
    ],
    hints=[
        "Project, split into heads, attend, merge, project. Exercises attention.4 to attention.6 are its parts.",
        "The mask [T, T] and `@` treat all axes before the last two as a batch, so attention.4 works on [B, H, T, hs] "
        "as well.",
        "`scores` is [B, H, T, T], over `math.sqrt(C // H)`; at the end `.transpose(1, 2).reshape(B, T, C) @ W_o`.",
    ],
    package="gptlab.attention.MultiHeadAttention",
)

# ---- attention.8 -----------------------------------------------------------------------------------------------------


def layers_needed(T: int, width: int) -> int:
    return math.ceil((T - 1) / (width - 1))


def _reach_inputs(rng):
    yield from [(4, 3), (5, 4), (4, 4), (2, 2), (2, 5), (7, 3), (8, 3), (13, 4), (14, 4), (15, 4), (100, 4)]
    for _ in range(10):
        yield rng.randrange(2, 2000), rng.randrange(2, 12)


_REACH = Exercise(
    id="attention.8",
    title="How many layers to reach the first token?",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="A causal convolution of `width` sees the present position and the `width - 1` before it. Stack several, "
    "and each layer sees further back. How many layers does it take until the last of `T` positions depends on the "
    "first? (Attention needs one.)\n\nInput: `T` and `width`, each an `int` of at least 2. Result: an `int`.",
    signature="def layers_needed(T: int, width: int) -> int",
    inputs=_reach_inputs,
    solution=layers_needed,
    mistakes=[
        Mistake(
            "each layer is thought to add its whole width",
            lambda T, width: math.ceil(T / width),
            "The present position is counted again in every layer: each layer adds width - 1.",
        ),
        Mistake(
            "T - 1 steps, and the whole width for each layer",
            lambda T, width: math.ceil((T - 1) / width),
            "The distance is right. But the present position is counted again in every layer: each adds width - 1.",
        ),
        Mistake(
            "the whole width for each layer, rounded down",
            lambda T, width: T // width,
            "The present position is counted again in every layer: each adds width - 1. And a part of a layer is a "
            "layer: round up.",
        ),
        Mistake(
            "the whole width for each layer, rounded down, plus one",
            lambda T, width: T // width + 1,
            "The present position is counted again in every layer: each adds width - 1. And to round up is not to add "
            "1 always.",
        ),
        Mistake(
            "rounded down",
            lambda T, width: (T - 1) // (width - 1),
            "A part of a layer is a layer: round up.",
        ),
        Mistake(
            "rounded to the nearest",
            lambda T, width: round((T - 1) / (width - 1)),
            "A part of a layer, however small, is a layer: `math.ceil`.",
        ),
        Mistake(
            "not rounded",
            lambda T, width: (T - 1) / (width - 1),
            "There is no part of a layer: round up, `math.ceil`.",
        ),
        Mistake(
            "one layer too many",
            lambda T, width: math.ceil((T - 1) / (width - 1)) + 1,
            "The first layer sees width - 1 positions back already.",
        ),
        Mistake(
            "one layer too few",
            lambda T, width: math.ceil((T - 1) / (width - 1)) - 1,
            "The first layer counts as well: without any, the last position sees only itself.",
        ),
        Mistake(
            "the distance is T, or one is added always",
            lambda T, width: math.ceil(T / (width - 1)),
            "From the last of T positions to the first it is T - 1 steps. (Rounding down and adding 1 comes to the "
            "same: where width - 1 divides T - 1, it is one too many.)",
        ),
        Mistake(
            "the distance is T, rounded down",
            lambda T, width: T // (width - 1),
            "From the last of T positions to the first it is T - 1 steps, and a part of a layer is a layer: round up.",
        ),
        Mistake(
            "the reach is multiplied by the width with each layer",
            lambda T, width: math.ceil(math.log(T, width) - 1e-9),
            "That is a convolution with growing gaps (dilated). Without gaps each layer adds the same number.",
        ),
        Mistake(
            "each layer adds one position",
            lambda T, width: T - width + 1,
            "A layer passes on all that the one below has seen at the position width - 1 back: each adds width - 1.",
        ),
        Mistake(
            "one layer for each step",
            lambda T, width: T - 1,
            "That is right for width 2. A wider layer sees width - 1 positions back at once.",
        ),
    ],
    hints=[
        "Draw width 3: after one layer, which positions reach position 10? And after two?",
        "L layers see L · (width - 1) positions back, and the present one.",
        "The smallest L with L · (width - 1) ≥ T - 1: divide and round up.",
    ],
)

EXERCISES = [_PAST, _SCORES, _CAUSAL, _ATTEND, _SPLIT, _MERGE, _MANY, _REACH]

PREDICTIONS = [
    Prediction(
        id="attention.a",
        question="The averages of the past are a matrix times x. T = 5. What are the last two numbers of the matrix's "
        "third row?",
        kind="choice",
        choices=("1/5 and 1/5", "1/3 and 1/3", "0 and 0", "1/2 and 1/2"),
        answer="c",
        explanation="The third position averages the first three: 1/3, 1/3, 1/3, and nothing of what comes later.",
    ),
    Prediction(
        id="attention.b",
        question="x has B = 2 sequences of T = 7 tokens, and queries and keys have hs = 4 numbers. What is the shape "
        "of q @ k.transpose(-2, -1)?",
        kind="shape",
        answer=(2, 7, 7),
        explanation="[2, 7, 4] @ [2, 4, 7]: the 4 is summed over. Rows are queries, columns are keys.",
    ),
    Prediction(
        id="attention.c",
        question="Queries and keys have hs = 64 independent numbers of mean 0 and variance 1. What is the variance of "
        "their dot product?",
        kind="number",
        answer=64.0,
        tolerance=0.05,
        explanation="It is a sum of 64 independent products, each of variance 1, and variances add up.",
    ),
    Prediction(
        id="attention.d",
        question="In a batch of three sequences, one word of the second is changed. For which sequences does the "
        "output of attention change?",
        kind="choice",
        choices=("for all three", "for the second and the third", "for the second only"),
        answer="c",
        explanation="Scores are computed within one sequence. B is only an axis along which the same is done many "
        "times.",
    ),
    Prediction(
        id="attention.e",
        question="Five models of equal size learn to generate fables: a bigram, a window of 13 words, convolutions "
        "that reach 13 words back, and two with attention. Which of them can know the animal of a character who was "
        "introduced forty words before?",
        kind="choice",
        choices=(
            "all that were trained long enough",
            "the window and the two with attention",
            "only the two with attention",
        ),
        answer="c",
        explanation="A bigram sees one word, the window and the convolutions thirteen. Training gives them no more.",
    ),
]

QUESTIONS = [
    Question(
        about="embedding",
        question="What does a bigram model know of a text when it predicts the next token?",
        choices=("the last token", "the last two tokens", "all tokens so far"),
        answer="a",
        explanation="It looks up one row of a table: that of the last token.",
    ),
    Question(
        about="batches",
        question="x has the shape [B, T, C]. What is x[1, 3]?",
        choices=("the fourth channel of every token", "the vector of the fourth token of the second sequence",
                 "the second token of the fourth sequence"),
        answer="b",
        explanation="The first axis is the sequence, the second the position; what is left is C numbers.",
    ),
    Question(
        about="batches",
        question="What is the shape of a product [3, 5, 2] @ [3, 2, 4]?",
        choices=("[3, 5, 4]", "[5, 4]", "[3, 2, 2]"),
        answer="a",
        explanation="For each of the 3, a [5, 2] matrix times a [2, 4] matrix: the 2 is summed over.",
    ),
]  # fmt: skip
