"""Exercises on sampling: what reshapes a distribution, how a token is sampled, and what a cache costs."""

import functools
import itertools
import math
import random

import torch
from torch import Tensor

from gptlab import sampling
from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question
from gptlab.model import GPTConfig


def _normal(rng: random.Random, *shape: int, scale: int | float = 2.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(rng.randrange(2**31))) * scale


def _spread(rng: random.Random, B: int, V: int) -> Tensor:
    """Log-probabilities whose probabilities are well apart, so that no rounding decides which tokens remain."""
    rows = [rng.sample([2.0**-i for i in range(1, V + 1)], V) for _ in range(B)]
    return (torch.tensor(rows) + 0.01).log()


def _renormalised(probabilities: Tensor) -> Tensor:
    return probabilities / probabilities.sum(dim=-1, keepdim=True)


# ---- sampling.1 ------------------------------------------------------------------------------------------------------


def with_temperature(logits, temperature):
    return (logits / temperature).softmax(dim=-1)


def _temperature_inputs(rng):
    yield torch.tensor([[0.0, 1.0]]), 2.0
    yield torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.5, -1.0]]), 0.5
    yield torch.tensor([[9.0, 1.0]]), 0.1
    yield torch.tensor([[0.0, 1.0], [300.0, 299.0]]), 1.0
    for temperature in (0.7, 1.3, 3.0):
        yield _normal(rng, 2, 5), temperature


_TEMPERATURE = Exercise(
    id="sampling.1",
    title="Sharper or flatter",
    kind="warm-up",
    minutes=2,
    difficulty=1,
    prompt="Turn logits into probabilities at a temperature: below 1 the likely tokens gain, above 1 the unlikely ones."
    "\n\nShapes: `logits` is a float32 tensor [B, V] with numbers between -1,000 and 1,000, `temperature` a number of "
    "at least 0.01. Result: a tensor [B, V] whose rows sum to 1.",
    signature='def with_temperature(logits: Float[Tensor, "B V"], temperature: float) -> Float[Tensor, "B V"]',
    inputs=_temperature_inputs,
    solution=with_temperature,
    reference=lambda logits, temperature: sampling.probabilities(logits, temperature),
    mistakes=[
        Mistake(
            "the logits are multiplied",
            lambda logits, temperature: (logits * temperature).softmax(-1),
            "A high temperature would sharpen. Divide: large temperature, small differences, flat distribution. "
            "(Probabilities to the power of the temperature are the same thing; the power is 1 / temperature.)",
        ),
        Mistake(
            "exp overflows",
            lambda logits, temperature: _renormalised((logits / temperature).exp()),
            "A low temperature makes large logits, and exp(90) is infinite in float32: the row becomes NaN. Subtract "
            "each row's largest value first, as `softmax` does.",
        ),
        Mistake(
            "one maximum is subtracted from the whole batch",
            lambda logits, temperature: _renormalised(((logits - logits.max()) / temperature).exp()),
            "A row that lies far below another one becomes 0 / 0. Subtract each row's own maximum: `amax(dim=-1, "
            "keepdim=True)`.",
        ),
        Mistake(
            "the temperature plays no part",
            lambda logits, temperature: logits.softmax(-1),
            "Subtract the same number from all logits, or divide all probabilities and normalise again, and nothing "
            "has changed. Divide the logits, before the softmax.",
        ),
        Mistake(
            "the probabilities are divided",
            lambda logits, temperature: logits.softmax(-1) / temperature,
            "The rows no longer sum to 1, and nothing has become sharper. Divide the logits, before the softmax.",
        ),
        Mistake(
            "the probabilities are multiplied",
            lambda logits, temperature: logits.softmax(-1) * temperature,
            "The rows no longer sum to 1, and nothing has become sharper. Divide the logits, before the softmax.",
        ),
        Mistake(
            "there are two softmaxes",
            lambda logits, temperature: (logits.softmax(-1) / temperature).softmax(-1),
            "Probabilities are not logits: a second softmax makes them nearly equal. One softmax, at the end.",
        ),
        Mistake(
            "what was raised to a power is not normalised",
            lambda logits, temperature: logits.softmax(-1) ** (1 / temperature),
            "The power 1 / temperature is right, but the rows must sum to 1 again. Dividing the logits before the "
            "softmax does both.",
        ),
        Mistake(
            "the softmax runs over the batch",
            lambda logits, temperature: (logits / temperature).softmax(0),
            "Each row is a distribution of its own: softmax over the last dimension.",
        ),
        Mistake(
            "all rows together sum to 1",
            lambda logits, temperature: (logits / temperature).flatten().softmax(0).view(logits.shape),
            "Each row is a distribution of its own, with the sum 1: softmax over the last dimension.",
        ),
        Mistake(
            "all rows together sum to 1, and exp overflows",
            lambda logits, temperature: (logits / temperature).exp() / (logits / temperature).exp().sum(),
            "Each row has the sum 1: `sum(dim=-1, keepdim=True)`. And exp(90) is infinite in float32: subtract each "
            "row's largest value first.",
        ),
        Mistake(
            "the softmax is missing",
            lambda logits, temperature: logits / temperature,
            "These are logits still. The softmax turns them into probabilities.",
        ),
        Mistake(
            "these are log-probabilities",
            lambda logits, temperature: (logits / temperature).log_softmax(-1),
            "The probabilities themselves are asked for: `softmax`, not `log_softmax`.",
        ),
        Mistake(
            "the square root of the temperature is taken",
            lambda logits, temperature: (logits / math.sqrt(temperature)).softmax(-1),
            "The root belongs to attention's scale. Logits are divided by the temperature itself.",
        ),
        Mistake(
            "the temperature is added",
            lambda logits, temperature: _renormalised(logits.softmax(-1) + temperature),
            "That mixes in a uniform distribution. Divide the logits by the temperature, before the softmax.",
        ),
    ],
    hints=[
        "The temperature acts on the logits, before they become probabilities.",
        "Dividing by 2 halves every difference between two logits.",
        "`(logits / temperature)`, then `softmax(dim=-1)`.",
    ],
    package="gptlab.sampling.probabilities",
)

# ---- sampling.2 ------------------------------------------------------------------------------------------------------


def top_k(logits, k):
    kth = logits.topk(k, dim=-1).values[:, -1:]  # [B, 1]  the smallest that remains
    return logits.masked_fill(logits < kth, -torch.inf).softmax(dim=-1)


def _top_k_inputs(rng):
    yield torch.tensor([[1.0, 3.0, 2.0]]), 1
    yield torch.tensor([[1.0, 3.0, 2.0]]), 3
    yield torch.tensor([[1.0, 3.0, 2.0, -1.0], [9.0, 7.0, 8.0, 6.0]]), 2
    yield torch.tensor([[-501.0, -500.0, -502.0], [-1.0, 2.0, 1.0]]), 2
    for V, k in ((5, 3), (7, 2), (6, 4), (4, 4)):
        yield _spread(rng, 3, V) + torch.tensor([[0.0], [4.0], [-3.0]]), k


def _kth(logits, k):
    return logits.topk(k, dim=-1).values[:, -1:]


def _filled(fill):
    return lambda logits, k: logits.masked_fill(logits < _kth(logits, k), fill).softmax(-1)


_TOP_K = Exercise(
    id="sampling.2",
    title="Only the k best",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="In each row only the k likeliest tokens stay possible. Give the probabilities of what is left.\n\n"
    "Shapes: `logits` is a float32 tensor [B, V], no two alike in a row; `k` is an `int` from 1 to V, both included. "
    "Result: a tensor [B, V] in the order of the ids, with k probabilities above 0 in each row, which sum to 1.",
    signature='def top_k(logits: Float[Tensor, "B V"], k: int) -> Float[Tensor, "B V"]',
    inputs=_top_k_inputs,
    solution=top_k,
    reference=lambda logits, k: sampling.probabilities(logits, top_k=k),
    mistakes=[
        Mistake(
            "the logits of the others become 0",
            _filled(0.0),
            "A logit of 0 is a probability like any other, and may be the largest. Minus infinity is the logit that "
            "becomes a probability of 0.",
        ),
        *[
            Mistake(
                f"the logits of the others become {fill:g}",
                _filled(fill),
                "What counts in a softmax are differences: among logits near -500 such a logit is a likely one. Take "
                "minus infinity, whose probability is 0 whatever the others are.",
            )
            for fill in (-1.0, -10.0, -100.0)
        ],
        Mistake(
            "what is left does not sum to 1",
            lambda logits, k: logits.softmax(-1).masked_fill(logits < _kth(logits, k), 0.0),
            "You drop tokens after the softmax. Divide by the sum of what is left, or drop them before it.",
        ),
        Mistake(
            "there is a second softmax",
            lambda logits, k: logits.softmax(-1).masked_fill(logits < _kth(logits, k), -torch.inf).softmax(-1),
            "A softmax of probabilities makes them nearly equal. Drop tokens from the logits, and take one softmax at "
            "the end.",
        ),
        Mistake(
            "there is a second softmax, and dropped tokens come back",
            lambda logits, k: logits.softmax(-1).masked_fill(logits < _kth(logits, k), 0.0).softmax(-1),
            "A softmax of 0 is not 0. Set dropped logits to minus infinity, and take one softmax at the end.",
        ),
        Mistake(
            "the k-th best is dropped",
            lambda logits, k: logits.masked_fill(logits <= _kth(logits, k), -torch.inf).softmax(-1),
            "With k = 1 nothing is left, and the softmax is NaN. The k-th best stays: drop what is **below** it.",
        ),
        Mistake(
            "one too many stays",
            lambda logits, k: top_k(logits, min(k + 1, logits.shape[-1])),
            "Count the probabilities above 0: there are k + 1.",
        ),
        Mistake(
            "one too many stays, and k = V is out of range",
            lambda logits, k: logits.masked_fill(
                logits < logits.sort(-1, descending=True).values[:, k][:, None], -torch.inf
            ).softmax(-1),
            "Counted from 0, the k-th best has the index k - 1.",
        ),
        Mistake(
            "k = V is out of range",
            lambda logits, k: logits.masked_fill(
                logits <= logits.sort(-1, descending=True).values[:, k][:, None], -torch.inf
            ).softmax(-1),
            "The best that goes has the index k, and with k = V there is none. Compare with the worst that stays, at "
            "k - 1, and drop what is below it.",
        ),
        Mistake(
            "the k best are dropped",
            lambda logits, k: logits.masked_fill(logits >= _kth(logits, k), -torch.inf).softmax(-1),
            "The comparison is the wrong way round: minus infinity is for the others.",
        ),
        Mistake(
            "the k worst stay",
            lambda logits, k: logits.masked_fill(
                logits > logits.topk(k, largest=False).values[:, -1:], -torch.inf
            ).softmax(-1),
            "You keep the smallest logits. `topk` gives the largest; `sort` begins with the smallest.",
        ),
        Mistake(
            "the threshold is counted from the smallest",
            lambda logits, k: logits.masked_fill(
                logits < logits.sort(-1).values[:, k - 1][:, None], -torch.inf
            ).softmax(-1),
            "`sort` begins with the smallest. The k-th largest is at `-k`, or at `k - 1` with `descending=True`.",
        ),
        Mistake(
            "the threshold has lost its dimension",
            lambda logits, k: logits.masked_fill(logits < logits.topk(k).values[:, -1], -torch.inf).softmax(-1),
            "`[:, -1]` is [B], which is compared with columns, not rows. `[:, -1:]` is [B, 1].",
        ),
        Mistake(
            "the threshold is an index",
            lambda logits, k: logits.masked_fill(logits < logits.topk(k).indices[:, -1:], -torch.inf).softmax(-1),
            "`topk` gives values and indices. Compare logits with the k-th **value**.",
        ),
        Mistake(
            "the first k tokens stay",
            lambda logits, k: logits.masked_fill(torch.arange(logits.shape[-1]) >= k, -torch.inf).softmax(-1),
            "The best tokens may have any id. `topk` finds the k largest logits.",
        ),
        Mistake(
            "the highest threshold serves the whole batch",
            lambda logits, k: logits.masked_fill(logits < logits.topk(k).values[:, -1].max(), -torch.inf).softmax(-1),
            "Each row has its own k-th best: keep the dimension, `[:, -1:]` is [B, 1].",
        ),
        Mistake(
            "the last row's threshold serves the whole batch",
            lambda logits, k: logits.masked_fill(logits < logits.topk(k).values[-1, -1], -torch.inf).softmax(-1),
            "Each row has its own k-th best: `[:, -1:]` is [B, 1].",
        ),
        Mistake(
            "the first row's threshold serves the whole batch",
            lambda logits, k: logits.masked_fill(logits < logits.topk(k).values[0, -1], -torch.inf).softmax(-1),
            "Each row has its own k-th best: `[:, -1:]` is [B, 1].",
        ),
        Mistake(
            "the lowest threshold serves the whole batch",
            lambda logits, k: logits.masked_fill(logits < logits.topk(k).values.min(), -torch.inf).softmax(-1),
            "Each row has its own k-th best: keep the dimension, `[:, -1:]` is [B, 1].",
        ),
        Mistake(
            "the result is in order of size",
            lambda logits, k: torch.cat(
                (logits.topk(k).values.softmax(-1), torch.zeros(len(logits), logits.shape[-1] - k)), -1
            ),
            "`topk` has sorted them, so your column 0 is no longer token 0. Use its values as a threshold.",
        ),
        Mistake(
            "only k columns are left",
            lambda logits, k: logits.topk(k).values.softmax(-1),
            "The result is [B, V]: each token at its own id, with probability 0 if it was dropped.",
        ),
        Mistake(
            "the softmax is missing",
            lambda logits, k: logits.masked_fill(logits < _kth(logits, k), -torch.inf),
            "These are logits still. The softmax turns them into probabilities.",
        ),
    ],
    hints=[
        "Which logit is the smallest that stays? `topk` gives the k largest, the largest first.",
        "`kth = logits.topk(k, dim=-1).values[:, -1:]` is that logit for each row, [B, 1].",
        "Set all that are below it to minus infinity (`masked_fill`), then softmax.",
    ],
    package="gptlab.sampling.keep_top_k",
)

# ---- sampling.3 ------------------------------------------------------------------------------------------------------


def top_p(logits, p):
    ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
    better = ordered.cumsum(dim=-1) - ordered  # [B, V]  what the better ones reach without this one
    ordered = ordered.masked_fill(better >= p, 0.0)
    probabilities = torch.zeros_like(ordered).scatter(-1, order, ordered)  # back to the order of the ids
    return probabilities / probabilities.sum(dim=-1, keepdim=True)


def _top_p_inputs(rng):
    yield torch.tensor([[0.1, 0.6, 0.3]]).log(), 0.7
    yield torch.tensor([[0.1, 0.6, 0.3]]).log(), 0.4
    yield torch.tensor([[0.1, 0.6, 0.3]]).log(), 1.0
    yield torch.tensor([[0.05, 0.5, 0.3, 0.15], [0.9, 0.02, 0.05, 0.03]]).log() + 2.0, 0.75
    yield torch.zeros(1, 41), 1.0  # in float32 these 41 probabilities add up to a little less than 1
    for V, p in ((5, 0.8), (6, 0.6), (7, 0.9)):
        yield _spread(rng, 3, V), p


def _stays(ordered, reached, p):
    return reached - ordered < p


def _top_p_variant(stays=_stays, place="scatter", divide=True, descending=True):
    def wrong(logits, p):
        ordered, order = logits.softmax(-1).sort(-1, descending=descending)
        ordered = ordered.masked_fill(~stays(ordered, ordered.cumsum(-1), p), 0.0)
        if place == "scatter":
            ordered = torch.zeros_like(ordered).scatter(-1, order, ordered)
        elif place == "gather":
            ordered = ordered.gather(-1, order)
        return _renormalised(ordered) if divide else ordered

    return wrong


def _up_to_first(ordered, reached, p):
    """Up to the first place where the sum is p or more; `argmax` gives 0 where there is none."""
    return torch.arange(ordered.shape[-1]) <= (reached >= p).int().argmax(-1, keepdim=True)


def _shifted_without_the_first(ordered, reached, p):
    dropped = reached > p
    dropped[:, 1:] = dropped[:, :-1].clone()
    return ~dropped


def _each_alone(limit):
    return lambda logits, p: _renormalised(logits.softmax(-1).masked_fill(logits.softmax(-1) < limit(p), 0.0))


def _unsorted(logits, p):
    probabilities = logits.softmax(-1)
    return _renormalised(probabilities.masked_fill(probabilities.cumsum(-1) - probabilities >= p, 0.0))


def _top_p_then_softmax(fill):
    def wrong(logits, p):
        kept = _top_p_variant(divide=False)(logits, p)
        return kept.masked_fill(kept == 0, fill).softmax(-1)

    return wrong


def _row_0_decides(ordered, reached, p):
    return _stays(ordered, reached, p)[:1].expand(ordered.shape)


_TOP_P = Exercise(
    id="sampling.3",
    title="The fewest that reach p",
    kind="core",
    minutes=15,
    difficulty=3,
    prompt="Go through the tokens from the likeliest down and add up their probabilities. The token with which the sum "
    "reaches `p` stays, and all before it; the others go. So at least one token always stays, and with `p` = 1 all of "
    "them do.\n\nShapes: `logits` is a float32 tensor [B, V], `p` a number above 0 and at most 1. Result: a tensor "
    "[B, V] whose rows sum to 1, in the order of the ids. (Where tokens are dropped, no two are equally likely, and "
    "no sum comes so near to `p` that rounding would decide.)",
    signature='def top_p(logits: Float[Tensor, "B V"], p: float) -> Float[Tensor, "B V"]',
    inputs=_top_p_inputs,
    solution=top_p,
    reference=lambda logits, p: sampling.probabilities(logits, top_p=p),
    mistakes=[
        Mistake(
            "the token that crosses p is dropped",
            _top_p_variant(lambda ordered, reached, p: reached <= p),
            "What is left adds up to less than p, and where the best alone is above p nothing is left at all: 0 / 0. "
            "Ask what the better ones reach without this token.",
        ),
        Mistake(
            "the token that crosses p is dropped, except where nothing would be left",
            _top_p_variant(lambda ordered, reached, p: (reached <= p) | (torch.arange(ordered.shape[-1]) == 0)),
            "The best is saved, and elsewhere one is still missing: the one with which the sum reaches p stays.",
        ),
        Mistake(
            "the best token goes where it exceeds p alone",
            _top_p_variant(_shifted_without_the_first),
            "Shifting the mask by one keeps the token that crosses p, but the first place still has its old value. "
            "The best token always stays: set it to False.",
        ),
        Mistake(
            "with p = 1 only the best stays",
            _top_p_variant(_up_to_first),
            "Rounding may leave the sum of all a little below 1. Then `cumsum >= p` is True nowhere, and `argmax` "
            "gives 0. Ask of each token what the better ones reach: it stays if that is below p.",
        ),
        Mistake(
            "one too many stays",
            _top_p_variant(lambda ordered, reached, p: reached - ordered - ordered.roll(1, -1) < p),
            "After the sum has reached p, no other token stays.",
        ),
        Mistake(
            "the tokens are not sorted",
            _unsorted,
            "You add up in the order of the ids. Sort first, the likeliest in front, or unlikely tokens with small "
            "ids stay.",
        ),
        Mistake(
            "it begins with the worst",
            _top_p_variant(descending=False),
            "`sort` begins with the smallest unless you say `descending=True`.",
        ),
        Mistake(
            "the result is in order of size",
            _top_p_variant(place="sorted"),
            "Column 0 must be token 0 again. `scatter(-1, order, ordered)` puts each probability back to its id.",
        ),
        Mistake(
            "gather is used for the way back",
            _top_p_variant(place="gather"),
            "`gather(-1, order)` sorts once more. `scatter(-1, order, ordered)` is the way back, or `gather` with "
            "`order.argsort(-1)`.",
        ),
        Mistake(
            "what is left does not sum to 1",
            _top_p_variant(divide=False),
            "Divide each row by the sum of what is left.",
        ),
        Mistake(
            "what is left is divided by p",
            lambda logits, p: _top_p_variant(divide=False)(logits, p) / p,
            "What is left sums to p or more. Divide each row by its own sum.",
        ),
        Mistake(
            "each token is compared with 1 - p by itself",
            _each_alone(lambda p: 1 - p),
            "p is what is reached together: sort and add up (`cumsum`).",
        ),
        Mistake(
            "each token is compared with p by itself",
            _each_alone(lambda p: p),
            "p is what is reached together: sort and add up (`cumsum`).",
        ),
        Mistake(
            "the sum runs over logits",
            lambda logits, p: _renormalised(
                torch.zeros_like(logits).scatter(
                    -1,
                    logits.argsort(-1, descending=True),
                    logits.softmax(-1)
                    .sort(-1, descending=True)
                    .values.masked_fill(
                        logits.sort(-1, descending=True).values.cumsum(-1) - logits.sort(-1, descending=True).values
                        >= p,
                        0.0,
                    ),
                )
            ),
            "Logits do not add up to anything. Take the softmax first, then sort and add up.",
        ),
        Mistake(
            "there is a second softmax, and dropped tokens come back",
            _top_p_then_softmax(0.0),
            "A softmax of probabilities makes them nearly equal, and that of 0 is not 0. Divide by the sum instead.",
        ),
        Mistake(
            "there is a second softmax",
            _top_p_then_softmax(-torch.inf),
            "A softmax of probabilities makes them nearly equal. Divide by the sum of what is left instead.",
        ),
        Mistake(
            "the first row decides for all",
            _top_p_variant(_row_0_decides),
            "Each row keeps its own number of tokens: compare row by row.",
        ),
        Mistake(
            "what should go stays",
            _top_p_variant(lambda ordered, reached, p: reached - ordered >= p),
            "The mask is the wrong way round: `masked_fill` fills where it is True.",
        ),
    ],
    hints=[
        "`sort(dim=-1, descending=True)` gives two things: the probabilities in order of size, and their ids.",
        "`ordered.cumsum(-1) - ordered` is what the better ones have reached before each token. It stays if that is "
        "below p.",
        "`torch.zeros_like(ordered).scatter(-1, order, ordered)` puts them back; then divide by the sum.",
    ],
    package="gptlab.sampling.keep_top_p",
)

# ---- sampling.4 ------------------------------------------------------------------------------------------------------


def min_p(logits, p):
    probabilities = logits.softmax(dim=-1)
    threshold = p * probabilities.amax(dim=-1, keepdim=True)  # [B, 1]
    probabilities = probabilities.masked_fill(probabilities < threshold, 0.0)
    return probabilities / probabilities.sum(dim=-1, keepdim=True)


def _min_p_inputs(rng):
    yield torch.tensor([[0.1, 0.6, 0.3]]).log(), 0.4
    yield torch.tensor([[0.4, 0.25, 0.2, 0.15], [0.02, 0.9, 0.05, 0.03]]).log(), 0.3
    yield torch.tensor([[0.12, 0.5, 0.38]]).log() + 5.0, 1.0
    for V, p in ((5, 0.1), (6, 0.3), (7, 0.06)):
        yield _spread(rng, 3, V), p


def _min_p_variant(threshold, divide=_renormalised, fill=0.0, dropped=torch.lt):
    def wrong(logits, p):
        probabilities = logits.softmax(-1)
        return divide(probabilities.masked_fill(dropped(probabilities, threshold(probabilities, p)), fill))

    return wrong


def _of_the_best(probabilities, p):
    return p * probabilities.amax(-1, keepdim=True)


def _min_p_of_logits(threshold):
    return lambda logits, p: logits.masked_fill(logits < threshold(logits, p), -torch.inf).softmax(-1)


_MIN_P = Exercise(
    id="sampling.4",
    title="Not too far below the best",
    kind="warm-up",
    minutes=5,
    difficulty=2,
    prompt="A token stays if its probability is at least `p` times that of the likeliest token of its row.\n\nShapes: "
    "`logits` is a float32 tensor [B, V], `p` a number above 0 and at most 1. Result: a tensor [B, V] whose rows sum "
    "to 1.",
    signature='def min_p(logits: Float[Tensor, "B V"], p: float) -> Float[Tensor, "B V"]',
    inputs=_min_p_inputs,
    solution=min_p,
    reference=lambda logits, p: sampling.probabilities(logits, min_p=p),
    mistakes=[
        Mistake(
            "the threshold is p itself",
            _min_p_variant(lambda probabilities, p: p),
            "Where the model hesitates among many, no token may reach p. The threshold is p times the row's largest "
            "probability.",
        ),
        Mistake(
            "the threshold is 1 - p",
            _min_p_variant(lambda probabilities, p: (1 - p) * probabilities.amax(-1, keepdim=True)),
            "A small p drops little: the threshold is p times the largest probability, not 1 - p times.",
        ),
        Mistake(
            "p is subtracted from the largest probability",
            _min_p_variant(lambda probabilities, p: probabilities.amax(-1, keepdim=True) - p),
            "Min-p is a ratio, not a difference: p **times** the largest probability.",
        ),
        Mistake(
            "the logits are compared",
            _min_p_of_logits(lambda logits, p: p * logits.amax(-1, keepdim=True)),
            "Ratios of logits mean nothing: add 5 to all, and the softmax is the same. Compare probabilities.",
        ),
        Mistake(
            "p is subtracted from the largest logit",
            _min_p_of_logits(lambda logits, p: logits.amax(-1, keepdim=True) - p),
            "A ratio of probabilities is a difference of logits, but of ln p: the largest logit + ln p is the "
            "threshold.",
        ),
        Mistake(
            "one threshold for the whole batch",
            _min_p_variant(lambda probabilities, p: p * probabilities.max()),
            "A row that is certain would decide for one that hesitates. Take the largest of each row: `amax(dim=-1, "
            "keepdim=True)`.",
        ),
        Mistake(
            "the largest is taken over the batch",
            _min_p_variant(lambda probabilities, p: p * probabilities.amax(0, keepdim=True)),
            "The largest probability of each row counts: `amax(dim=-1, keepdim=True)`.",
        ),
        Mistake(
            "the mean is taken for the largest",
            _min_p_variant(lambda probabilities, p: p * probabilities.mean(-1, keepdim=True)),
            "The likeliest token sets the standard: `amax`. (The mean of a row is always 1 / V.)",
        ),
        Mistake(
            "the smallest is taken for the largest",
            _min_p_variant(lambda probabilities, p: p * probabilities.amin(-1, keepdim=True)),
            "The likeliest token sets the standard: `amax`. Below p times the smallest there is nothing.",
        ),
        Mistake(
            "what is left does not sum to 1",
            _min_p_variant(_of_the_best, divide=lambda probabilities: probabilities),
            "Divide each row by the sum of what is left.",
        ),
        Mistake(
            "there is a second softmax, and dropped tokens come back",
            _min_p_variant(_of_the_best, divide=lambda probabilities: probabilities.softmax(-1)),
            "A softmax of probabilities makes them nearly equal, and that of 0 is not 0. Divide by the sum instead.",
        ),
        Mistake(
            "there is a second softmax",
            _min_p_variant(_of_the_best, lambda probabilities: probabilities.softmax(-1), fill=-torch.inf),
            "A softmax of probabilities makes them nearly equal. Divide by the sum of what is left instead.",
        ),
        Mistake(
            "the logits of the others become 0",
            lambda logits, p: logits.masked_fill(
                logits.softmax(-1) < p * logits.softmax(-1).amax(-1, keepdim=True), 0.0
            ).softmax(-1),
            "A logit of 0 is a probability like any other. Set logits to minus infinity, or probabilities to 0.",
        ),
        Mistake(
            "the best must be exceeded",
            _min_p_variant(_of_the_best, dropped=torch.le),
            "At p = 1 the best itself goes, and 0 / 0 is left. It says at least p times: drop what is smaller.",
        ),
        Mistake(
            "what should go stays",
            _min_p_variant(_of_the_best, dropped=torch.ge),
            "The mask is the wrong way round: `masked_fill` fills where it is True.",
        ),
        Mistake(
            "only the best stays",
            _min_p_variant(lambda probabilities, p: probabilities.amax(-1, keepdim=True)),
            "p plays no part: the threshold is p times the largest probability.",
        ),
    ],
    hints=[
        "First the probabilities, then the largest of each row.",
        "`probabilities.amax(dim=-1, keepdim=True)` is [B, 1], and is broadcast over the row.",
        "`masked_fill` with 0 what is smaller than p times it, then divide by the sum.",
    ],
    package="gptlab.sampling.keep_min_p",
)

# ---- sampling.5 ------------------------------------------------------------------------------------------------------


def penalise(logits, seen, penalty):
    logits = logits.clone()
    for b in range(len(logits)):
        for token in set(seen[b].tolist()):
            logits[b, token] = logits[b, token] / penalty if logits[b, token] > 0 else logits[b, token] * penalty
    return logits


def _penalty_inputs(rng):
    yield torch.tensor([[2.0, 4.0, -1.0]]), torch.tensor([[0]]), 2.0
    yield torch.tensor([[2.0, 4.0, -1.0]]), torch.tensor([[2, 1, 2]]), 2.0
    yield torch.tensor([[2.0, 4.0, -1.0], [3.0, -2.0, 1.0]]), torch.tensor([[1, 1], [0, 1]]), 1.5
    yield torch.tensor([[0.5, -3.0, -1.0, 5.0]]), torch.tensor([[3, 1, 0, 3]]), 3.0
    for B, T, V in ((2, 5, 4), (3, 4, 6)):
        seen = torch.randint(V, (B, T), generator=torch.Generator().manual_seed(rng.randrange(2**31)))
        yield _normal(rng, B, V), seen, 1.2


def _lowered(lower, tokens=lambda row: set(row.tolist())):
    """Each row's tokens changed by `lower(logit, penalty)`."""

    def wrong(logits, seen, penalty):
        logits = logits.clone()
        for b in range(len(logits)):
            for token in tokens(seen[b]):
                logits[b, token] = lower(logits[b, token], penalty)
        return logits

    return wrong


def _down(logit, penalty):
    return logit / penalty if logit > 0 else logit * penalty


def _columns(logits, seen, penalty):
    logits = logits.clone()
    logits[:, seen] /= penalty
    return logits


def _penalty_in_place(logits, seen, penalty):
    for b in range(len(logits)):
        for token in set(seen[b].tolist()):
            logits[b, token] = _down(logits[b, token], penalty)
    return logits


def _unseen(logits, seen, penalty):
    lowered = torch.where(logits > 0, logits / penalty, logits * penalty)
    return lowered.scatter(-1, seen, logits.gather(-1, seen))


_PENALTY = Exercise(
    id="sampling.5",
    title="Less of the same",
    kind="stretch",
    minutes=15,
    difficulty=2,
    prompt="Make the tokens that stand in `seen` less likely: a logit above 0 is divided by the penalty, one below 0 "
    "is multiplied by it. A token that occurs three times is lowered once.\n\nShapes: `logits` is a float32 tensor "
    "[B, V], `seen` an integer tensor [B, T] with T at least 1, `penalty` a number above 1. Result: the new logits "
    "[B, V]; leave the given ones unchanged.",
    signature='def penalise(logits: Float[Tensor, "B V"], seen: Int[Tensor, "B T"], penalty: float) '
    '-> Float[Tensor, "B V"]',
    inputs=_penalty_inputs,
    solution=penalise,
    reference=lambda logits, seen, penalty: sampling.penalise(logits, seen, penalty),
    mistakes=[
        Mistake(
            "negative logits are divided as well",
            _lowered(lambda logit, penalty: logit / penalty),
            "−1 divided by 2 is −0.5, which is larger: the token becomes more likely. Multiply what is below 0.",
        ),
        Mistake(
            "positive logits are multiplied as well",
            _lowered(lambda logit, penalty: logit * penalty),
            "4 times 2 is 8: the token becomes more likely. Divide what is above 0.",
        ),
        Mistake(
            "negative logits stay as they are",
            _lowered(lambda logit, penalty: logit / penalty if logit > 0 else logit),
            "A token with a negative logit must become less likely as well: multiply it by the penalty.",
        ),
        Mistake(
            "positive logits stay as they are",
            _lowered(lambda logit, penalty: logit if logit > 0 else logit * penalty),
            "A token with a positive logit must become less likely as well: divide it by the penalty.",
        ),
        Mistake(
            "a token is lowered each time that it occurs",
            _lowered(_down, tokens=lambda row: row.tolist()),
            "A common word would soon be impossible. Lower each token once: a set, or `gather` and `scatter`.",
        ),
        Mistake(
            "the penalty is subtracted",
            _lowered(lambda logit, penalty: logit - penalty),
            "That is another method, the presence penalty of some APIs. Here it divides, or multiplies.",
        ),
        Mistake(
            "the penalty is subtracted each time that the token occurs",
            _lowered(lambda logit, penalty: logit - penalty, tokens=lambda row: row.tolist()),
            "That is another method, the frequency penalty of some APIs. Here it divides, or multiplies, and once.",
        ),
        Mistake(
            "the tokens become more likely",
            _lowered(lambda logit, penalty: logit * penalty if logit > 0 else logit / penalty),
            "Divide what is above 0 and multiply what is below it, not the other way round.",
        ),
        Mistake(
            "the tokens become impossible",
            _lowered(lambda logit, penalty: logit - torch.inf),
            "A text without any repetition has no second full stop. The penalty makes tokens less likely, and no more.",
        ),
        Mistake(
            "one row's tokens are lowered in every row",
            lambda logits, seen, penalty: penalise(logits, seen.reshape(1, -1).expand(len(logits), -1), penalty),
            "Each row has its own text: row b of `seen` belongs to row b of the logits. `logits[:, seen]` takes all "
            "tokens for all rows.",
        ),
        Mistake(
            "whole columns are divided",
            _columns,
            "`logits[:, seen]` are these tokens in **every** row, and dividing makes negative logits larger. Go row by "
            "row, or use `gather` and `scatter`, and multiply what is below 0.",
        ),
        Mistake(
            "the first row's tokens are lowered in every row",
            lambda logits, seen, penalty: penalise(logits, seen[:1].expand(len(logits), -1), penalty),
            "Each row has its own text: row b of `seen` belongs to row b of the logits.",
        ),
        Mistake(
            "only the last token is lowered",
            _lowered(_down, tokens=lambda row: row[-1:].tolist()),
            "All tokens of the text so far are in `seen`; every one of them is lowered.",
        ),
        Mistake(
            "all tokens are lowered",
            lambda logits, seen, penalty: torch.where(logits > 0, logits / penalty, logits * penalty),
            "Only the tokens that stand in `seen`.",
        ),
        Mistake(
            "the other tokens are lowered",
            _unseen,
            "The mask is the wrong way round: the tokens in `seen` become less likely.",
        ),
        Mistake(
            "the logits that were given are changed",
            _penalty_in_place,
            "The values are right. Begin with `logits.clone()`: the caller still needs the old ones.",
        ),
    ],
    hints=[
        "Which way is down? For a positive logit it is dividing, for a negative one multiplying.",
        "A loop over the rows and over `set(seen[b].tolist())` is fine. Begin with `logits.clone()`.",
        "Without a loop: `values = logits.gather(-1, seen)`, `torch.where` for the two cases, `logits.scatter(-1, "
        "seen, ...)`.",
    ],
    package="gptlab.sampling.penalise",
)

# ---- sampling.6 ------------------------------------------------------------------------------------------------------


def draw(probabilities: list[float], u: float) -> int:
    reached, last = 0.0, 0
    for token, p in enumerate(probabilities):
        reached += p
        if p > 0:
            last = token
            if u < reached:
                return token
    return last  # the sum was a rounding below 1, and u above it


def _draw_inputs(rng):
    yield from [([0.25, 0.75], 0.1), ([0.25, 0.75], 0.3), ([0.25, 0.75], 0.25), ([0.0, 1.0], 0.0)]
    yield from [([0.2, 0.3, 0.5], 0.4), ([0.5, 0.3, 0.2], 0.95), ([0.25, 0.0, 0.75], 0.25), ([0.25, 0.0, 0.75], 0.6)]
    yield [0.3333] * 3, 0.99995  # a gap that a card can print; the next one would be rounded to 1
    yield [0.3333, 0.3333, 0.3333, 0.0], 0.99995
    yield [0.1] * 10, 1 - 2**-53
    yield [0.1] * 10 + [0.0], 1 - 2**-53
    for _ in range(12):
        parts = [rng.random() for _ in range(rng.randrange(3, 6))]
        yield [part / sum(parts) for part in parts], rng.random()


def _first_above(edges, otherwise):
    """The first token whose `edges(probabilities)` is above u."""

    def wrong(probabilities, u):
        found = (token for token, edge in enumerate(edges(probabilities)) if u < edge)
        return next(found, otherwise(probabilities))

    return wrong


def _last_of_all(probabilities):
    return len(probabilities) - 1


def _without_zeros(probabilities, u):
    return draw([p for p in probabilities if p > 0], u)


_DRAW = Exercise(
    id="sampling.6",
    title="One token from one random number",
    kind="stretch",
    minutes=15,
    difficulty=2,
    prompt="Lay the probabilities side by side on a line from 0 to 1, in the order of the ids. A random number `u` "
    "falls onto the line; the token whose segment it hits is taken. A segment includes its left end and not its right "
    "one.\n\nInput: `probabilities`, a `list` of `float`, and `u`, a `float` with 0 ≤ u < 1. Result: the token's id, "
    "an `int`. Mind two rare cases: a token of probability 0 must never come, and the probabilities may sum to a "
    "little less than 1 (three times 0.3333, or ten times 0.1); if `u` lies above the sum, the last possible token is "
    "taken.",
    signature="def draw(probabilities: list[float], u: float) -> int",
    inputs=_draw_inputs,
    solution=draw,
    mistakes=[
        Mistake(
            "the right end belongs to a segment",
            lambda probabilities, u: next(
                (i for i, e in enumerate(itertools.accumulate(probabilities)) if u <= e), len(probabilities) - 1
            ),
            "With u = 0 a first token of probability 0 is taken. It is `u < reached`, not `<=`.",
        ),
        *[
            Mistake(
                f"where rounding leaves a gap at the end, {what}",
                _first_above(itertools.accumulate, otherwise),
                "The probabilities may sum to a little less than 1, and u can lie above that. After the loop, return "
                "the last token whose probability is above 0.",
            )
            for what, otherwise in (
                ("nothing is taken", lambda probabilities: None),
                ("a token beyond the last is taken", len),
                ("the first token is taken", lambda probabilities: 0),
                ("-1 is taken", lambda probabilities: -1),
            )
        ],
        Mistake(
            "a token of probability 0 is taken when rounding leaves a gap",
            _first_above(itertools.accumulate, _last_of_all),
            "After the loop you return the last token of all, which may have the probability 0. Return the last one "
            "that is possible.",
        ),
        Mistake(
            "u is compared with each probability alone",
            _first_above(lambda probabilities: probabilities, _last_of_all),
            "The segments lie one behind the other: compare u with the sum so far.",
        ),
        Mistake(
            "u is compared with each probability alone, and perhaps nothing is taken",
            _first_above(lambda probabilities: probabilities, lambda probabilities: None),
            "The segments lie one behind the other: compare u with the sum so far. And after the loop, return the last "
            "possible token.",
        ),
        Mistake(
            "the likeliest is taken",
            lambda probabilities, u: max(range(len(probabilities)), key=probabilities.__getitem__),
            "This is greedy. u has to decide.",
        ),
        Mistake(
            "all tokens are equally likely",
            lambda probabilities, u: int(u * len(probabilities)),
            "This gives each token the same probability. A segment is as long as its token's probability.",
        ),
        Mistake(
            "the token before is taken",
            lambda probabilities, u: max(draw(probabilities, u) - 1, 0),
            "You are one before the segment that u hits.",
        ),
        Mistake(
            "the token after is taken",
            lambda probabilities, u: min(draw(probabilities, u) + 1, len(probabilities) - 1),
            "You are one further than the segment that u hits: add the token's probability first, then compare u with "
            "the sum.",
        ),
        Mistake(
            "ids are counted from 1",
            lambda probabilities, u: draw(probabilities, u) + 1,
            "The first token has the id 0.",
        ),
        Mistake(
            "the probability is given, not the id",
            lambda probabilities, u: probabilities[draw(probabilities, u)],
            "The token's id is asked for: `enumerate` counts along.",
        ),
        Mistake(
            "tokens of probability 0 are taken out, and the ids move up",
            _without_zeros,
            "Without them the next token has the wrong id. Skip them in the loop instead.",
        ),
        Mistake(
            "the segments are laid from the right",
            lambda probabilities, u: len(probabilities) - 1 - draw(probabilities[::-1], u),
            "That is as fair. But here the line begins with token 0, so that a check is possible.",
        ),
        Mistake(
            "the largest segment comes first",
            lambda probabilities, u: sorted(range(len(probabilities)), key=lambda i: -probabilities[i])[
                draw(sorted(probabilities, reverse=True), u)
            ],
            "That is as fair. But here the segments lie in the order of the ids, so that a check is possible.",
        ),
        Mistake(
            "another random number decides",
            lambda probabilities, u: random.choices(range(len(probabilities)), probabilities)[0],
            "`u` is the random number: the same u must give the same token.",
        ),
    ],
    hints=[
        "Add up the probabilities one after the other. When is the sum for the first time above u?",
        "`for token, p in enumerate(probabilities): reached += p`, and return the token if `u < reached`.",
        "After the loop, return the last token whose probability is above 0.",
    ],
    package="gptlab.sampling.draw",
)

# ---- sampling.7 ------------------------------------------------------------------------------------------------------


def gumbel_draw(logits, uniform):
    noise = -torch.log(-torch.log(uniform))  # [B, V]
    return (logits + noise).argmax(dim=-1)


def _gumbel_inputs(rng):
    yield torch.tensor([[0.0, 0.0]]), torch.tensor([[0.2, 0.9]])
    yield torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, -1.0]]), torch.tensor([[0.1, 0.9, 0.5], [0.6, 0.3, 0.98]])
    for seed, (B, V) in enumerate(((2, 3), (5, 4), (7, 5), (9, 3), (40, 6))):
        uniform = torch.tensor([[rng.uniform(0.01, 0.99) for _ in range(V)] for _ in range(B)])
        yield _normal(rng, B, V, scale=1.5), uniform
        if B == 40:  # always the same forty rows, so that each mistake shows in some of them on every check
            fixed = random.Random(seed)
            uniform = torch.tensor([[fixed.uniform(0.01, 0.99) for _ in range(V)] for _ in range(B)])
            yield _normal(fixed, B, V, scale=1.5), uniform


def _gumbel(uniform):
    return -(-uniform.log()).log()


def _wins(score):
    return lambda logits, uniform: score(logits, uniform).argmax(-1)


_GUMBEL = Exercise(
    id="sampling.7",
    title="Sample with noise and a maximum",
    kind="stretch",
    minutes=15,
    difficulty=2,
    prompt="Another way to sample, without any sum: to each logit add its own noise, and take the largest. If $u$ is "
    r"uniform between 0 and 1, the noise is $-\ln(-\ln u)$ (Gumbel 1954), and each token wins with exactly "
    "its softmax probability.\n\nShapes: `logits` and `uniform` are float32 tensors [B, V], all of `uniform` between 0 "
    "and 1, both excluded. Result: the ids, an integer tensor [B].",
    signature='def gumbel_draw(logits: Float[Tensor, "B V"], uniform: Float[Tensor, "B V"]) -> Int[Tensor, "B"]',
    inputs=_gumbel_inputs,
    solution=gumbel_draw,
    mistakes=[
        Mistake(
            "the noise is the uniform number itself",
            _wins(lambda logits, uniform: logits + uniform),
            "Uniform noise lies between 0 and 1, so a logit more than 1 below the best can never win. It has to be "
            "−ln(−ln u).",
        ),
        Mistake(
            "the outer minus is missing",
            _wins(lambda logits, uniform: logits - _gumbel(uniform)),
            "ln(−ln u) is the noise upside down: it falls where it should rise. A minus in front, and add it.",
        ),
        Mistake(
            "the inner minus is missing",
            _wins(lambda logits, uniform: logits - uniform.log().log()),
            "ln u is negative, and its logarithm is NaN. Change the sign first: −ln(−ln u).",
        ),
        Mistake(
            "there is one logarithm only",
            _wins(lambda logits, uniform: logits - uniform.log()),
            "−ln u is exponential noise. Take minus the logarithm of it once more.",
        ),
        Mistake(
            "there is one logarithm only, without its minus",
            _wins(lambda logits, uniform: logits + uniform.log()),
            "The noise is −ln(−ln u): a logarithm of minus a logarithm, and a minus in front.",
        ),
        Mistake(
            "the noise of 1 - u is taken",
            _wins(lambda logits, uniform: logits + _gumbel(1 - uniform)),
            "That is as fair, but gives another token than this u. The noise is −ln(−ln u).",
        ),
        Mistake(
            "the noise is added to probabilities",
            _wins(lambda logits, uniform: logits.softmax(-1) + _gumbel(uniform)),
            "The noise belongs to the logits (or to the logarithms of the probabilities).",
        ),
        Mistake(
            "the noise is multiplied",
            _wins(lambda logits, uniform: logits * _gumbel(uniform)),
            "The noise is added to the logit. Multiplied, a logit of 0 would have none.",
        ),
        Mistake(
            "the noise alone decides",
            _wins(lambda logits, uniform: _gumbel(uniform)),
            "The logits play no part, so all tokens are equally likely. Add the noise to them.",
        ),
        Mistake(
            "the noise makes no difference",
            lambda logits, uniform: logits.argmax(-1),
            "This is greedy. Without noise, or with the same noise for a whole row, the largest logit always wins: "
            "each logit has its own noise.",
        ),
        Mistake(
            "the smallest wins",
            lambda logits, uniform: (logits + _gumbel(uniform)).argmin(-1),
            "The largest sum wins: `argmax`.",
        ),
        Mistake(
            "the maximum runs over the batch",
            lambda logits, uniform: (logits + _gumbel(uniform)).argmax(0),
            "One token for each row: the maximum over the last dimension.",
        ),
        Mistake(
            "the maximum runs over everything",
            lambda logits, uniform: (logits + _gumbel(uniform)).argmax(),
            "`argmax()` without a dimension gives one place in the flattened tensor. One token for each row: `dim=-1`.",
        ),
        Mistake(
            "the largest sum is given, not its place",
            lambda logits, uniform: (logits + _gumbel(uniform)).amax(-1),
            "The id of the winner is asked for: `argmax`.",
        ),
        Mistake(
            "the result is [B, 1]",
            lambda logits, uniform: (logits + _gumbel(uniform)).argmax(-1, keepdim=True),
            "The ids are asked for as [B]: without `keepdim`.",
        ),
        Mistake(
            "these are probabilities",
            lambda logits, uniform: (logits + _gumbel(uniform)).softmax(-1),
            "With the noise the choice is already made: the token with the largest sum has won, `argmax`.",
        ),
    ],
    hints=[
        "Two steps: the noise, [B, V]; then the position of the largest sum in each row.",
        "`-torch.log(-torch.log(uniform))`",
        "`(logits + noise).argmax(dim=-1)`",
    ],
)

# ---- sampling.8 ------------------------------------------------------------------------------------------------------


def attend_to_all(q, k, v, keys, values):
    keys = torch.cat((keys, k[None]), dim=0)  # [T + 1, hs]
    values = torch.cat((values, v[None]), dim=0)
    weights = (keys @ q / math.sqrt(len(q))).softmax(dim=0)  # [T + 1]
    return weights @ values, keys, values


def _attend_inputs(rng):
    yield (
        torch.tensor([2.0, 0.0]), torch.tensor([1.0, 1.0]), torch.tensor([3.0, 0.0]), torch.tensor([[0.0, 1.0]]),
        torch.tensor([[0.0, 6.0]]),
    )  # fmt: skip
    yield (
        torch.tensor([1.0, 0.0, 1.0, 0.0]), torch.tensor([2.0, 0.0, 1.0, 1.0]), torch.tensor([4.0, 0.0, -1.0, 2.0]),
        torch.tensor([[0.0, 1.0, 1.0, 0.0], [1.0, 2.0, 0.0, 1.0]]),
        torch.tensor([[0.0, 6.0, 1.0, 0.0], [1.0, 3.0, 5.0, 2.0]]),
    )  # fmt: skip
    for T, hs in ((2, 3), (4, 2), (5, 6)):
        yield _normal(rng, hs), _normal(rng, hs), _normal(rng, hs), _normal(rng, T, hs), _normal(rng, T, hs)


def _attend_variant(
    scale=lambda q, T: math.sqrt(len(q)),
    order="last",
    attends="all",
    weigh=lambda scores: scores.softmax(0),
    output=lambda weights, keys, values: weights @ values,
    given_back=lambda output, keys, values: (output, keys, values),
):
    def wrong(q, k, v, keys, values):
        pairs = [(keys, k[None]), (values, v[None])]
        if order == "first":
            pairs = [pair[::-1] for pair in pairs]
        if order == "replaced":
            pairs = [(old[:-1], new) for old, new in pairs]
        new_keys, new_values = (torch.cat(pair) for pair in pairs)
        seen = {"all": (new_keys, new_values), "old": (keys, values), "new": (k[None], v[None])}[attends]
        weights = weigh(seen[0] @ q / scale(q, len(new_keys)))
        return given_back(output(weights, *seen), new_keys, new_values)

    return wrong


def _does_not_grow(q, k, v, keys, values):
    return attend_to_all(q, k, v, keys, values)[0], keys * 1.0, values * 1.0


def _query_as_key(q, k, v, keys, values):
    return attend_to_all(q, q, v, keys, values)


def _key_and_value_exchanged(q, k, v, keys, values):
    return attend_to_all(q, v, k, keys, values)


def _cat_without_a_row(q, k, v, keys, values):
    return torch.cat((keys, k)), torch.cat((values, v)), None


def _keys_not_transposed(q, k, v, keys, values):
    keys, values = torch.cat((keys, k[None])), torch.cat((values, v[None]))
    return (q @ keys / math.sqrt(len(q))).softmax(0) @ values, keys, values


_ATTEND = Exercise(
    id="sampling.8",
    title="One head with a cache",
    kind="core",
    minutes=15,
    difficulty=2,
    prompt="One new token arrives at an attention head that has cached the keys and values of all tokens before it. "
    "Append the new key and value, let the new query attend to all, **its own key too** (scaled by √hs, as always), "
    "and return what the next token will need.\n\nShapes: `q`, `k`, `v` are float32 tensors [hs] of the new token; "
    "`keys`, `values` are [T, hs] of the T ≥ 1 tokens before, in order. Result: three tensors, the output [hs], and "
    "the new keys and values [T + 1, hs].",
    signature='def attend_to_all(q: Float[Tensor, "hs"], k: Float[Tensor, "hs"], v: Float[Tensor, "hs"],\n'
    '                  keys: Float[Tensor, "T hs"], values: Float[Tensor, "T hs"])\n'
    '    -> tuple[Float[Tensor, "hs"], Float[Tensor, "T+1 hs"], Float[Tensor, "T+1 hs"]]',
    inputs=_attend_inputs,
    solution=attend_to_all,
    mistakes=[
        Mistake(
            "the new token does not attend to itself",
            _attend_variant(attends="old"),
            "In a causal model position t sees t as well. Append the new key and value first, then attend.",
        ),
        Mistake(
            "the new token attends to itself only",
            _attend_variant(attends="new"),
            "What is cached is never read: the query attends to all T + 1 keys.",
        ),
        Mistake(
            "the scale is missing",
            _attend_variant(scale=lambda q, T: 1.0),
            "The scores are divided by the root of hs, with a cache as without.",
        ),
        Mistake(
            "the scale is hs, not its root",
            _attend_variant(scale=lambda q, T: len(q)),
            "The scores are divided by √hs: `math.sqrt(len(q))`.",
        ),
        Mistake(
            "the scale is the root of the number of tokens",
            _attend_variant(scale=lambda q, T: math.sqrt(T)),
            "The sum in a score has hs terms, so it is divided by √hs; the number of tokens plays no part.",
        ),
        Mistake(
            "the scale is the root of the number of old tokens",
            _attend_variant(scale=lambda q, T: math.sqrt(T - 1)),
            "The sum in a score has hs terms, so it is divided by √hs; the number of tokens plays no part.",
        ),
        Mistake(
            "the scores are multiplied by the scale",
            _attend_variant(scale=lambda q, T: 1 / math.sqrt(len(q))),
            "Divide by √hs: long vectors have large products, and the scale takes that back.",
        ),
        Mistake(
            "the softmax is missing",
            _attend_variant(weigh=lambda scores: scores),
            "Scores become weights that sum to 1 through the softmax.",
        ),
        Mistake(
            "the cache does not grow",
            _does_not_grow,
            "The next token needs this one's key and value: return the longer tensors.",
        ),
        Mistake(
            "the new one is put in front",
            _attend_variant(order="first"),
            "The output is right, and the cache is out of order: row t belongs to token t.",
        ),
        Mistake(
            "the last one is overwritten",
            _attend_variant(order="replaced"),
            "The new token gets a row of its own, T + 1 in all.",
        ),
        Mistake(
            "the query is cached as the key",
            _query_as_key,
            "Later tokens ask for this token's **key**: append `k` to the keys. The query is used once.",
        ),
        Mistake(
            "key and value are exchanged",
            _key_and_value_exchanged,
            "`k` is appended to the keys and `v` to the values.",
        ),
        Mistake(
            "the keys are averaged",
            _attend_variant(output=lambda weights, keys, values: weights @ keys),
            "Keys decide the weights; what is averaged are the values.",
        ),
        Mistake(
            "a row without its dimension is appended",
            _cat_without_a_row,
            "`torch.cat` joins tensors with the same number of dimensions: `k[None]` is [1, hs].",
        ),
        Mistake(
            "query and keys do not line up",
            _keys_not_transposed,
            "`q @ keys` sums over tokens. Each key times the query is `keys @ q`, [T + 1].",
        ),
        Mistake(
            "the keys and values are returned in the wrong order",
            _attend_variant(given_back=lambda output, keys, values: (output, values, keys)),
            "The order is: output, keys, values.",
        ),
        Mistake(
            "only the output is returned",
            _attend_variant(given_back=lambda output, keys, values: output),
            "The next token needs the longer keys and values: return all three.",
        ),
    ],
    hints=[
        "Three steps: append, weigh, average.",
        "`torch.cat((keys, k[None]), dim=0)` is [T + 1, hs]; the same for the values.",
        "`weights = (keys @ q / math.sqrt(hs)).softmax(dim=0)`, and `weights @ values` is the output.",
    ],
    package="gptlab.sampling.LayerCache.extend",
)

# ---- sampling.9 ------------------------------------------------------------------------------------------------------


def cache_bytes(n_layer: int, n_head: int, n_kv_head: int, n_embd: int, T: int, B: int, width: int) -> int:
    hs = n_embd // n_head
    return 2 * n_layer * n_kv_head * hs * T * B * width


def _bytes_inputs(rng):
    yield from [(1, 2, 1, 4, 1, 1, 4), (1, 3, 3, 6, 5, 1, 4), (3, 4, 2, 8, 5, 2, 2), (5, 6, 2, 42, 7, 3, 4)]
    for _ in range(4):
        groups, kv, hs = rng.choice((2, 3, 4)), rng.choice((2, 3)), rng.choice((5, 7, 11))
        yield (
            rng.randrange(3, 9), groups * kv, kv, groups * kv * hs, rng.randrange(20, 99), rng.randrange(3, 9),
            rng.choice((2, 4)),
        )  # fmt: skip


def _bytes_reference(n_layer, n_head, n_kv_head, n_embd, T, B, width):
    config = GPTConfig(
        vocab_size=9, n_layer=n_layer, n_head=n_head, n_kv_head=n_kv_head, n_embd=n_embd, context=max(T, 1)
    )
    return sampling.cache_bytes(config, T, B, width)


_BYTES = Exercise(
    id="sampling.9",
    title="What a cache costs",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="How many bytes hold the keys and values of B texts of T tokens? Every layer stores a key and a value for "
    "each token and each of its `n_kv_head` heads of keys and values; a head has `n_embd / n_head` numbers (this "
    "divides evenly), and a number takes `width` bytes.\n\nInput: seven `int`. Result: an `int`.",
    signature="def cache_bytes(n_layer: int, n_head: int, n_kv_head: int, n_embd: int, T: int, B: int, width: int) "
    "-> int",
    inputs=_bytes_inputs,
    solution=cache_bytes,
    reference=_bytes_reference,
    mistakes=[
        Mistake(
            "only one of keys and values is counted",
            lambda L, H, kv, C, T, B, width: L * kv * (C // H) * T * B * width,
            "Keys and values: a factor of 2.",
        ),
        Mistake(
            "queries are cached as well",
            lambda L, H, kv, C, T, B, width: 3 * L * kv * (C // H) * T * B * width,
            "A query is used once and never again. Keys and values: a factor of 2.",
        ),
        Mistake(
            "queries are cached as well, with all their heads",
            lambda L, H, kv, C, T, B, width: L * (H + 2 * kv) * (C // H) * T * B * width,
            "A query is used once and never again. Keys and values: a factor of 2.",
        ),
        Mistake(
            "all C channels are counted",
            lambda L, H, kv, C, T, B, width: 2 * L * C * T * B * width,
            "With n_head heads (or a head size of n_embd / n_kv_head) you get all C channels. Stored are n_kv_head "
            "heads, which may be fewer, of n_embd / n_head numbers each.",
        ),
        Mistake(
            "a head is taken to be as wide as the model",
            lambda L, H, kv, C, T, B, width: 2 * L * kv * C * T * B * width,
            "A head has C / H channels.",
        ),
        Mistake(
            "one head is counted",
            lambda L, H, kv, C, T, B, width: 2 * L * (C // H) * T * B * width,
            "Each layer has n_kv_head heads of keys and values.",
        ),
        Mistake(
            "the batch is forgotten",
            lambda L, H, kv, C, T, B, width: 2 * L * kv * (C // H) * T * width,
            "Each of the B texts has its own past.",
        ),
        Mistake(
            "the tokens are forgotten",
            lambda L, H, kv, C, T, B, width: 2 * L * kv * (C // H) * B * width,
            "Every one of the T tokens has a key and a value.",
        ),
        Mistake(
            "these are numbers, not bytes",
            lambda L, H, kv, C, T, B, width: 2 * L * kv * (C // H) * T * B,
            "A number takes `width` bytes.",
        ),
        Mistake(
            "these are bits, not bytes",
            lambda L, H, kv, C, T, B, width: 2 * L * kv * (C // H) * T * B * width * 8,
            "`width` is in bytes already, and so is the result.",
        ),
        Mistake(
            "the width is taken for bits",
            lambda L, H, kv, C, T, B, width: 2 * L * kv * (C // H) * T * B * width // 8,
            "`width` is in bytes already: 2 for bfloat16, 4 for float32.",
        ),
        Mistake(
            "the layers are forgotten",
            lambda L, H, kv, C, T, B, width: 2 * kv * (C // H) * T * B * width,
            "Each layer has keys and values of its own.",
        ),
        Mistake(
            "it grows with the square of T",
            lambda L, H, kv, C, T, B, width: 2 * L * kv * (C // H) * T * T * B * width,
            "That would be all the scores. Keys and values are one row for each token.",
        ),
        Mistake(
            "the result is a float",
            lambda L, H, kv, C, T, B, width: 2 * L * kv * (C / H) * T * B * width,
            "`/` always gives a float. Bytes are whole numbers: `n_embd // n_head`.",
        ),
    ],
    hints=[
        "Begin with one token in one layer: how many numbers are its key and its value?",
        "`2 * n_kv_head * (n_embd // n_head)` numbers.",
        "Times the layers, the tokens, the texts, and the bytes of a number.",
    ],
    package="gptlab.sampling.cache_bytes",
)

# ---- sampling.10 -----------------------------------------------------------------------------------------------------


def beam_search(first, table, length, width):
    beams = [(logp, [token]) for token, logp in enumerate(first.tolist())]
    beams = sorted(beams, key=lambda beam: -beam[0])[:width]
    for _ in range(length - 1):
        longer = [
            (logp + more, [*tokens, token])
            for logp, tokens in beams
            for token, more in enumerate(table[tokens[-1]].tolist())
        ]
        beams = sorted(longer, key=lambda beam: -beam[0])[:width]
    return beams[0][1]


def _beam_inputs(rng):
    trap = torch.tensor([[0.34, 0.33, 0.33], [0.9, 0.05, 0.05], [0.05, 0.9, 0.05]]).log()
    yield torch.tensor([0.5, 0.4, 0.1]).log(), trap, 1, 2
    yield torch.tensor([0.5, 0.4, 0.1]).log(), trap, 2, 1
    yield torch.tensor([0.5, 0.4, 0.1]).log(), trap, 2, 2
    yield torch.tensor([0.5, 0.4, 0.1]).log(), trap, 2, 4  # more beams than there are tokens
    # Two tokens look best and lead nowhere; the third, which a beam of two drops at once, would have been right.
    late = torch.tensor([[0.3, 0.3, 0.4], [0.35, 0.33, 0.32], [0.01, 0.01, 0.98]]).log()
    yield torch.tensor([0.36, 0.34, 0.3]).log(), late, 3, 2
    yield from _telling_tables()
    for V, length, width in ((5, 4, 2), (6, 4, 3)):
        yield _normal(rng, V, scale=1.0).log_softmax(-1), _normal(rng, V, V).log_softmax(-1), length, width


@functools.cache
def _telling_tables():
    """For each mistake a table on which it goes wrong; most tables do not tell."""
    rng, tables = random.Random(10), []
    for wrong in _BEAM_MISTAKES:
        while True:
            first, table = _normal(rng, 5, scale=1.0).log_softmax(-1), _normal(rng, 5, 5, scale=1.5).log_softmax(-1)
            if wrong(first, table, 4, 2) != beam_search(first, table, 4, 2):
                tables.append((first, table, 4, 2))
                break
    return tables


def _beam_variant(
    add=lambda logp, more: logp + more,
    best=lambda beam: -beam[0],
    prune_first=True,
    children=None,
    keep=lambda beams, width: beams[:width],
    row=lambda table, tokens: table[tokens[-1]],
    start=float,
    result=lambda beams: beams[0][1],
    steps=lambda length: length - 1,
):
    def wrong(first, table, length, width):
        beams = sorted([(start(logp), [token]) for token, logp in enumerate(first.tolist())], key=best)
        beams = beams[:width] if prune_first else beams
        for _ in range(steps(length)):
            longer = []
            for logp, tokens in beams:
                new = [(add(logp, more), [*tokens, t]) for t, more in enumerate(row(table, tokens).tolist())]
                longer += sorted(new, key=best)[: children(width)] if children else new
            beams = keep(sorted(longer, key=best), width)
        return result(beams)

    return wrong


def _too_wide_for_topk(first, table, length, width):
    beams = list(zip(*(part.tolist() for part in first.topk(width)), strict=True))
    assert beams
    return beam_search(first, table, length, width)


_one_child_each = _beam_variant(children=lambda width: 1)
_own_best_each = _beam_variant(children=lambda width: width, keep=lambda beams, width: beams)
_last_only = _beam_variant(lambda logp, more: more)
_added = _beam_variant(lambda logp, more: logp + math.exp(more), start=math.exp)
_mixed = _beam_variant(lambda logp, more: logp + math.exp(more))
_multiplied = _beam_variant(lambda logp, more: logp * more)
_mean = _beam_variant(lambda logp, more: (logp + more) / 2)
_wider = _beam_variant(keep=lambda beams, width: beams[: width + 1])
_unpruned_start = _beam_variant(prune_first=False)
_greedy = lambda first, table, length, width: beam_search(first, table, length, 1)  # noqa: E731
_everything = _beam_variant(prune_first=False, keep=lambda beams, width: beams)
_column = _beam_variant(row=lambda table, tokens: table[:, tokens[-1]])
_from_the_first = _beam_variant(row=lambda table, tokens: table[tokens[0]])
_worst_of_the_beam = _beam_variant(result=lambda beams: beams[-1][1])
_BEAM_MISTAKES = (
    _one_child_each, _own_best_each, _last_only, _added, _mixed, _multiplied, _mean, _wider, _unpruned_start,
    _greedy, _everything, _column, _from_the_first, _worst_of_the_beam,
)  # fmt: skip

_BEAM = Exercise(
    id="sampling.10",
    title="Beam search",
    kind="stretch",
    minutes=30,
    difficulty=3,
    prompt="Greedy follows one text. Follow `width` at once: start with the `width` likeliest first tokens; in each "
    "step extend each text by every token, add up the log-probabilities, and keep the best `width` of all the longer "
    "texts. At the end return the best text. (Lowerre 1976, for speech; long the usual way in machine translation, "
    "where one best answer is wanted.)\n\nThe model is a table: `first` is a float32 tensor [V], ln p of the first "
    "token; `table` is [V, V], and `table[a, b]` is ln p of b after a. `length` and `width` are `int`, at least 1; "
    "`width` may be larger than V (then all V texts are kept). Result: a `list` of `length` ids.",
    signature='def beam_search(first: Float[Tensor, "V"], table: Float[Tensor, "V V"], length: int, width: int) '
    "-> list[int]",
    inputs=_beam_inputs,
    solution=beam_search,
    mistakes=[
        Mistake(
            "only one text is followed",
            _greedy,
            "This is greedy. Keep the best `width` after each step.",
        ),
        Mistake(
            "each text keeps one child",
            _one_child_each,
            "You follow `width` greedy texts. The best of all longer texts together stay, and two of them may have the "
            "same beginning.",
        ),
        Mistake(
            "each text keeps its own best children, and all of them stay",
            _own_best_each,
            "The number of texts grows by the factor `width` in each step. Keep the best `width` of all of them "
            "together.",
        ),
        Mistake(
            "nothing is dropped",
            _everything,
            "All V to the power of `length` texts are too many for a real model. After each step only `width` stay, "
            "although the best may be lost.",
        ),
        Mistake(
            "all first tokens are followed",
            _unpruned_start,
            "The beam is `width` wide from the first token on: keep the best `width` before you extend them.",
        ),
        Mistake(
            "one text too many is kept",
            _wider,
            "Keep `[:width]` of the sorted texts.",
        ),
        Mistake(
            "only the last step counts",
            _last_only,
            "A text is as likely as all its steps together: add the new log-probability to the old sum.",
        ),
        Mistake(
            "probabilities are added",
            _added,
            "Probabilities are multiplied along a text. Their logarithms are added: leave out `exp`.",
        ),
        Mistake(
            "probabilities are added to a log-probability",
            _mixed,
            "Stay with logarithms: the table has ln p already, and ln p are added.",
        ),
        Mistake(
            "the log-probabilities are multiplied",
            _multiplied,
            "Probabilities are multiplied, so their logarithms are added.",
        ),
        Mistake(
            "old and new are averaged",
            _mean,
            "This forgets the beginning of a text, step by step. Add up the log-probabilities.",
        ),
        Mistake(
            "the worst texts are kept",
            _beam_variant(best=lambda beam: beam[0]),
            "`sorted` begins with the smallest; the best log-probability is the largest: `reverse=True`.",
        ),
        Mistake(
            "the last text of the beam is returned",
            _worst_of_the_beam,
            "The beam is sorted, the best in front: `beams[0]`.",
        ),
        Mistake(
            "the table is read by columns",
            _column,
            "`table[a, b]` is ln p of b after a: what follows token a is the row `table[a]`.",
        ),
        Mistake(
            "every step continues the first token",
            _from_the_first,
            "What comes next depends on the **last** token of a text: `table[tokens[-1]]`.",
        ),
        Mistake(
            "topk wants more beams than there are tokens",
            _too_wide_for_topk,
            "`topk(width)` fails where `width` is larger than V. Ask for `min(width, V)`, or sort and slice.",
        ),
        Mistake(
            "the text is one token too long",
            _beam_variant(steps=lambda length: length),
            "The first token is there before the loop: `length - 1` steps follow.",
        ),
        Mistake(
            "the score is returned as well",
            _beam_variant(result=lambda beams: beams[0]),
            "Only the ids are asked for, without the log-probability.",
        ),
        Mistake(
            "the ids are returned as well as the score",
            _beam_variant(result=lambda beams: beams[0][::-1]),
            "Only the ids are asked for, without the log-probability.",
        ),
        Mistake(
            "all texts of the beam are returned",
            _beam_variant(result=lambda beams: [tokens for _, tokens in beams]),
            "At the end return the best text alone.",
        ),
    ],
    hints=[
        "A beam is a pair: the sum of log-probabilities, and the ids so far. Begin with the best `width` tokens.",
        "In each step make a list of all (sum + table[last, token], ids + [token]), for all beams and all tokens.",
        "Sort that list by the sum, largest first, and keep `[:width]`. At the end: the ids of the first.",
    ],
)

EXERCISES = [_TEMPERATURE, _TOP_K, _TOP_P, _MIN_P, _PENALTY, _DRAW, _GUMBEL, _ATTEND, _BYTES, _BEAM]

PREDICTIONS = [
    Prediction(
        id="sampling.a",
        question="Greedy decoding generates twenty stories, each from the end token of a story before. How many "
        "different ones?",
        kind="number",
        answer=1,
        explanation="The same beginning gives the same likeliest token, each time. Nothing is left to chance.",
    ),
    Prediction(
        id="sampling.b",
        question="One token is 4 times as likely as another. How many times at temperature 0.5?",
        kind="number",
        answer=16,
        explanation="The difference of the logits doubles, so the ratio is squared: (e^d)^2.",
    ),
    Prediction(
        id="sampling.c",
        question="Four tokens have the probabilities 0.5, 0.3, 0.15, 0.05. How many stay with top-p 0.7?",
        kind="number",
        answer=2,
        explanation="0.5 is not enough, 0.5 + 0.3 reaches 0.7. The token that crosses p stays.",
    ),
    Prediction(
        id="sampling.d",
        question="A token in the middle of a text is replaced. Which keys and values of layer 2 change?",
        kind="choice",
        choices=("only its own", "its own and those after it", "its own and those before it", "all of them"),
        answer="b",
        explanation="Every later position has attended to it in layer 1. No earlier one has: that is causality.",
    ),
    Prediction(
        id="sampling.e",
        question="A prompt of 20 tokens, 100 new ones, with a cache. How many tokens go through the model in all?",
        kind="number",
        answer=119,
        explanation="20 at once (the prefill), then one for each new token but the last: nobody needs what follows it, "
        "so it never goes in. Hence 119, not 120.",
    ),
    Prediction(
        id="sampling.f",
        question="Llama 3 8B, 2 bytes per number, one text of 8,192 tokens: how large is its cache?",
        kind="choice",
        choices=("about 1 MB", "about 30 MB", "about 1 GB", "about 16 GB"),
        answer="c",
        explanation="Two times 32 layers, 8 heads of 128 numbers, 2 bytes: 128 KiB per token.",
    ),
]

QUESTIONS = [
    Question(
        about="training",
        question="A model's loss on new stories is as low as the entropy of the grammar. What is left to learn?",
        choices=("nothing", "the free choices", "the recalled facts"),
        answer="a",
        explanation="The entropy is the floor. Nobody can know how the dice fall, only how probable each outcome is.",
    ),
    Question(
        about="model",
        question="The logits are [B, T, V]. Which of them say what follows the whole text?",
        choices=("logits[:, 0]", "logits[:, -1]", "logits[-1]"),
        answer="b",
        explanation="Position t predicts the token at t + 1, so the last position predicts what is not there yet.",
    ),
    Question(
        about="masking",
        question="Under a causal mask, the last token of a text is replaced. Which outputs change?",
        choices=("all of them", "only the last position's", "all but the last position's"),
        answer="b",
        explanation="No position before it may attend to it. The KV cache of this notebook relies on that.",
    ),
]
