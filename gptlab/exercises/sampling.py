"""Exercises on sampling: what reshapes a distribution, how a token is drawn, and what a cache costs."""

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
    """Log-probabilities whose probabilities are well apart, so that no rounding decides who stays."""
    rows = [rng.sample([2.0**-i for i in range(1, V + 1)], V) for _ in range(B)]
    return (torch.tensor(rows) + 0.01).log()


def _renormalised(chances: Tensor) -> Tensor:
    return chances / chances.sum(dim=-1, keepdim=True)


# ---- sampling.1 ------------------------------------------------------------------------------------------------------


def with_temperature(logits, temperature):
    return (logits / temperature).softmax(dim=-1)


def _temperature_inputs(rng):
    yield torch.tensor([[0.0, 1.0]]), 2.0
    yield torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.5, -1.0]]), 0.5
    for temperature in (0.7, 1.3, 3.0):
        yield _normal(rng, 2, 5), temperature


_TEMPERATURE = Exercise(
    id="sampling.1",
    title="Sharper or flatter",
    minutes=5,
    difficulty=1,
    prompt="Turn logits into probabilities at a temperature: below 1 the likely tokens gain, above 1 the unlikely ones."
    "\n\nShapes: `logits` is a float tensor [B, V], `temperature` a number above 0. Result: a tensor [B, V] whose rows "
    "sum to 1.",
    signature='def with_temperature(logits: Float[Tensor, "B V"], temperature: float) -> Float[Tensor, "B V"]',
    inputs=_temperature_inputs,
    solution=with_temperature,
    reference=lambda logits, temperature: sampling.probabilities(logits, temperature),
    mistakes=[
        Mistake(
            "the logits are multiplied",
            lambda logits, temperature: (logits * temperature).softmax(-1),
            "A high temperature would sharpen. Divide: large temperature, small differences, flat distribution.",
        ),
        Mistake(
            "the probabilities are divided",
            lambda logits, temperature: logits.softmax(-1) / temperature,
            "The rows no longer sum to 1, and nothing has become sharper. Divide the logits, before the softmax.",
        ),
        Mistake(
            "the probabilities are divided, and normalised again",
            lambda logits, temperature: _renormalised(logits.softmax(-1) / temperature),
            "All were divided by the same number, so normalising undoes it. Divide the logits, before the softmax.",
        ),
        Mistake(
            "the softmax runs over the batch",
            lambda logits, temperature: (logits / temperature).softmax(0),
            "Each row is a distribution of its own: softmax over the last dimension.",
        ),
        Mistake(
            "there are two softmaxes",
            lambda logits, temperature: (logits.softmax(-1) / temperature).softmax(-1),
            "Probabilities are no logits: a second softmax makes them nearly equal. One softmax, at the end.",
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
    kth = logits.topk(k, dim=-1).values[:, -1:]  # [B, 1]  the smallest that stays
    return logits.masked_fill(logits < kth, -torch.inf).softmax(dim=-1)


def _top_k_inputs(rng):
    yield torch.tensor([[1.0, 3.0, 2.0]]), 1
    yield torch.tensor([[1.0, 3.0, 2.0, -1.0], [9.0, 7.0, 8.0, 6.0]]), 2
    for V, k in ((5, 3), (7, 2), (6, 4)):
        yield _spread(rng, 3, V) + torch.tensor([[0.0], [4.0], [-3.0]]), k


_TOP_K = Exercise(
    id="sampling.2",
    title="Only the k best",
    minutes=10,
    difficulty=1,
    prompt="Leave only the k likeliest tokens of each row possible, and give the probabilities of what is left.\n\n"
    "Shapes: `logits` is a float tensor [B, V] without ties, `k` an `int` from 1 to V. Result: a tensor [B, V] with "
    "k probabilities above 0 in each row, which sum to 1.",
    signature='def top_k(logits: Float[Tensor, "B V"], k: int) -> Float[Tensor, "B V"]',
    inputs=_top_k_inputs,
    solution=top_k,
    reference=lambda logits, k: sampling.probabilities(logits, top_k=k),
    mistakes=[
        Mistake(
            "the logits of the others become 0",
            lambda logits, k: logits.masked_fill(logits < logits.topk(k).values[:, -1:], 0.0).softmax(-1),
            "A logit of 0 is a probability like any other, and may be the largest. Minus infinity is the logit that "
            "becomes a probability of 0.",
        ),
        Mistake(
            "what is left does not sum to 1",
            lambda logits, k: logits.softmax(-1).masked_fill(logits < logits.topk(k).values[:, -1:], 0.0),
            "You drop tokens after the softmax. Divide by what is left, or drop them before it.",
        ),
        Mistake(
            "one too many stays",
            lambda logits, k: top_k(logits, min(k + 1, logits.shape[-1])),
            "Count the probabilities above 0: there are k + 1.",
        ),
        Mistake(
            "the k worst stay",
            lambda logits, k: logits.masked_fill(
                logits > logits.topk(k, largest=False).values[:, -1:], -torch.inf
            ).softmax(-1),
            "You keep the smallest logits. `topk` gives the largest; `sort` begins with the smallest.",
        ),
        Mistake(
            "one limit for the whole batch",
            lambda logits, k: logits.masked_fill(logits < logits.topk(k).values[:, -1].max(), -torch.inf).softmax(-1),
            "Each row has its own k-th best: keep the dimension, `[:, -1:]` is [B, 1].",
        ),
        Mistake(
            "the result is in order of size",
            lambda logits, k: torch.cat(
                (logits.topk(k).values.softmax(-1), torch.zeros(len(logits), logits.shape[-1] - k)), -1
            ),
            "`topk` has sorted them, so your column 0 is no longer token 0. Use its values as a limit.",
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
    chances = torch.zeros_like(ordered).scatter(-1, order, ordered)  # back to the order of the ids
    return chances / chances.sum(dim=-1, keepdim=True)


def _top_p_inputs(rng):
    yield torch.tensor([[0.1, 0.6, 0.3]]).log(), 0.7
    yield torch.tensor([[0.1, 0.6, 0.3]]).log(), 0.4
    yield torch.tensor([[0.05, 0.5, 0.3, 0.15], [0.9, 0.02, 0.05, 0.03]]).log(), 0.75
    for V, p in ((5, 0.8), (6, 0.6), (7, 0.9)):
        yield _spread(rng, 3, V), p


def _top_p_variant(kept, back=True, divide=True, descending=True):
    def wrong(logits, p):
        ordered, order = logits.softmax(-1).sort(-1, descending=descending)
        ordered = ordered.masked_fill(~kept(ordered, ordered.cumsum(-1), p), 0.0)
        chances = torch.zeros_like(ordered).scatter(-1, order, ordered) if back else ordered
        return _renormalised(chances) if divide else chances

    return wrong


def _right(ordered, reached, p):
    return reached - ordered < p


_TOP_P = Exercise(
    id="sampling.3",
    title="The fewest that reach p",
    minutes=20,
    difficulty=3,
    prompt="Go through the tokens from the likeliest down and add up their probabilities. The token with which the sum "
    "reaches `p` stays, and all before it; the others go. So at least one token always stays.\n\nShapes: `logits` is a "
    "float tensor [B, V], `p` a number between 0 and 1. Result: a tensor [B, V] whose rows sum to 1, in the order of "
    "the ids.",
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
            _top_p_variant(lambda ordered, reached, p: (reached <= p) | (ordered == ordered[:, :1])),
            "The best is saved, and elsewhere one is still missing: the one with which the sum reaches p stays.",
        ),
        Mistake(
            "one too many stays",
            _top_p_variant(lambda ordered, reached, p: reached - ordered - ordered.roll(1, -1) < p),
            "After the sum has reached p, nobody else stays.",
        ),
        Mistake(
            "the result is in order of size",
            _top_p_variant(_right, back=False),
            "Column 0 must be token 0 again. `scatter(-1, order, ordered)` puts each probability back to its id.",
        ),
        Mistake(
            "what is left does not sum to 1",
            _top_p_variant(_right, divide=False),
            "Divide each row by the sum of what is left.",
        ),
        Mistake(
            "each token is compared with p by itself",
            lambda logits, p: _renormalised(logits.softmax(-1).masked_fill(logits.softmax(-1) < 1 - p, 0.0)),
            "p is a share of the whole that is reached together: sort and add up (`cumsum`).",
        ),
        Mistake(
            "it begins with the worst",
            _top_p_variant(_right, descending=False),
            "`sort` begins with the smallest unless you say `descending=True`.",
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
    chances = logits.softmax(dim=-1)
    chances = chances.masked_fill(chances < p * chances.amax(dim=-1, keepdim=True), 0.0)
    return chances / chances.sum(dim=-1, keepdim=True)


def _min_p_inputs(rng):
    yield torch.tensor([[0.1, 0.6, 0.3]]).log(), 0.4
    yield torch.tensor([[0.4, 0.25, 0.2, 0.15], [0.02, 0.9, 0.05, 0.03]]).log(), 0.3
    yield torch.tensor([[0.12, 0.5, 0.38]]).log() + 5.0, 1.0
    for V, p in ((5, 0.1), (6, 0.3), (7, 0.06)):
        yield _spread(rng, 3, V), p


_MIN_P = Exercise(
    id="sampling.4",
    title="Not too far below the best",
    minutes=10,
    difficulty=2,
    prompt="A token stays if its probability is at least `p` times that of the likeliest token of its row.\n\nShapes: "
    "`logits` is a float tensor [B, V], `p` a number above 0 and at most 1. Result: a tensor [B, V] whose rows sum to "
    "1.",
    signature='def min_p(logits: Float[Tensor, "B V"], p: float) -> Float[Tensor, "B V"]',
    inputs=_min_p_inputs,
    solution=min_p,
    reference=lambda logits, p: sampling.probabilities(logits, min_p=p),
    mistakes=[
        Mistake(
            "the limit is p itself",
            lambda logits, p: _renormalised(logits.softmax(-1).masked_fill(logits.softmax(-1) < p, 0.0)),
            "Where the model hesitates among many, no token may reach p. The limit is p times the row's largest "
            "probability.",
        ),
        Mistake(
            "the logits are compared",
            lambda logits, p: logits.masked_fill(logits < p * logits.amax(-1, keepdim=True), -torch.inf).softmax(-1),
            "Ratios of logits mean nothing: add 5 to all, and the softmax is the same. Compare probabilities.",
        ),
        Mistake(
            "one limit for the whole batch",
            lambda logits, p: _renormalised(
                logits.softmax(-1).masked_fill(logits.softmax(-1) < p * logits.softmax(-1).max(), 0.0)
            ),
            "A row that is certain would decide for one that hesitates. Take the largest of each row: `amax(dim=-1, "
            "keepdim=True)`.",
        ),
        Mistake(
            "what is left does not sum to 1",
            lambda logits, p: logits.softmax(-1).masked_fill(
                logits.softmax(-1) < p * logits.softmax(-1).amax(-1, keepdim=True), 0.0
            ),
            "Divide each row by the sum of what is left.",
        ),
        Mistake(
            "the best must be exceeded",
            lambda logits, p: _renormalised(
                logits.softmax(-1).masked_fill(logits.softmax(-1) <= p * logits.softmax(-1).amax(-1, keepdim=True), 0.0)
            ),
            "At p = 1 the best itself goes, and 0 / 0 is left. It says at least p times: drop what is smaller.",
        ),
    ],
    hints=[
        "First the probabilities, then the largest of each row.",
        "`chances.amax(dim=-1, keepdim=True)` is [B, 1], and is stretched over the row.",
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
    for B, T, V in ((2, 5, 4), (3, 4, 6)):
        seen = torch.randint(V, (B, T), generator=torch.Generator().manual_seed(rng.randrange(2**31)))
        yield _normal(rng, B, V), seen, 1.2


def _penalty_variant(lower):
    def wrong(logits, seen, penalty):
        logits = logits.clone()
        for b in range(len(logits)):
            lower(logits, b, seen, penalty)
        return logits

    return wrong


def _divide_all(logits, b, seen, penalty):
    for token in set(seen[b].tolist()):
        logits[b, token] /= penalty


def _each_time(logits, b, seen, penalty):
    for token in seen[b].tolist():
        logits[b, token] = logits[b, token] / penalty if logits[b, token] > 0 else logits[b, token] * penalty


def _subtract(logits, b, seen, penalty):
    for token in set(seen[b].tolist()):
        logits[b, token] -= penalty


def _raise(logits, b, seen, penalty):
    for token in set(seen[b].tolist()):
        logits[b, token] = logits[b, token] * penalty if logits[b, token] > 0 else logits[b, token] / penalty


_PENALTY = Exercise(
    id="sampling.5",
    title="Said already",
    minutes=15,
    difficulty=2,
    prompt="Make the tokens of `seen` less likely: a logit above 0 is divided by the penalty, one below 0 is "
    "multiplied by it. A token that was said three times is lowered once.\n\nShapes: `logits` is a float tensor [B, "
    "V], `seen` an integer tensor [B, T], `penalty` a number above 1. Result: the new logits [B, V]; the old ones stay "
    "as they are.",
    signature='def penalise(logits: Float[Tensor, "B V"], seen: Int[Tensor, "B T"], penalty: float) '
    '-> Float[Tensor, "B V"]',
    inputs=_penalty_inputs,
    solution=penalise,
    reference=lambda logits, seen, penalty: sampling.penalise(logits, seen, penalty),
    mistakes=[
        Mistake(
            "negative logits are divided as well",
            _penalty_variant(_divide_all),
            "−1 divided by 2 is −0.5, which is larger: the token becomes more likely. Multiply what is below 0.",
        ),
        Mistake(
            "a token is lowered each time that it was said",
            _penalty_variant(_each_time),
            "A common word would soon be impossible. Lower each token once: a set, or `gather` and `scatter`.",
        ),
        Mistake(
            "the penalty is subtracted",
            _penalty_variant(_subtract),
            "That is another method, the presence penalty of some APIs. Here it divides, or multiplies.",
        ),
        Mistake(
            "the tokens become more likely",
            _penalty_variant(_raise),
            "Divide what is above 0 and multiply what is below it, not the other way round.",
        ),
        Mistake(
            "one row's tokens are lowered in every row",
            lambda logits, seen, penalty: penalise(logits, seen.reshape(1, -1).expand(len(logits), -1), penalty),
            "Each row has said something of its own: row b of `seen` belongs to row b of the logits.",
        ),
        Mistake(
            "all tokens are lowered",
            lambda logits, seen, penalty: torch.where(logits > 0, logits / penalty, logits * penalty),
            "Only the tokens that stand in `seen`.",
        ),
    ],
    hints=[
        "Which way is down? For a positive logit it is dividing, for a negative one multiplying.",
        "A loop over the rows and over `set(seen[b].tolist())` is fine. Begin with `logits.clone()`.",
        "Without a loop: `said = logits.gather(-1, seen)`, `torch.where` for the two cases, `logits.scatter(-1, seen, "
        "...)`.",
    ],
    package="gptlab.sampling.penalise",
)

# ---- sampling.6 ------------------------------------------------------------------------------------------------------


def draw(chances: list[float], u: float) -> int:
    reached, last = 0.0, 0
    for token, p in enumerate(chances):
        reached += p
        if p > 0:
            last = token
            if u < reached:
                return token
    return last  # the sum was a rounding below 1, and u above it


def _draw_inputs(rng):
    yield from [([0.25, 0.75], 0.1), ([0.25, 0.75], 0.3), ([0.25, 0.75], 0.25), ([0.0, 1.0], 0.0)]
    yield from [([0.2, 0.3, 0.5], 0.4), ([0.5, 0.3, 0.2], 0.95), ([0.25, 0.0, 0.75], 0.25)]
    yield [0.1] * 10, 1 - 2**-53
    yield [0.1] * 10 + [0.0], 1 - 2**-53
    for _ in range(12):
        parts = [rng.random() for _ in range(rng.randrange(3, 6))]
        yield [part / sum(parts) for part in parts], rng.random()


def _draw_by(edges):
    def wrong(chances, u):
        return next((i for i, edge in enumerate(edges(chances)) if u < edge), len(chances) - 1)

    return wrong


def _none_at_the_end(chances, u):
    return next((i for i, edge in enumerate(itertools.accumulate(chances)) if u < edge), None)


_DRAW = Exercise(
    id="sampling.6",
    title="One token from one random number",
    minutes=15,
    difficulty=2,
    prompt="Lay the probabilities side by side on a line from 0 to 1. A random number `u` falls onto the line; the "
    "token whose piece it hits is drawn. A piece holds its left end and not its right one.\n\nInput: `chances`, a "
    "`list` of probabilities, and `u`, a `float` with 0 ≤ u < 1. Result: the token's id, an `int`. Mind two rare "
    "cases: a token of probability 0 must never come, and the probabilities may sum to a little less than 1 (add 0.1 "
    "ten times).",
    signature="def draw(chances: list[float], u: float) -> int",
    inputs=_draw_inputs,
    solution=draw,
    mistakes=[
        Mistake(
            "the right end belongs to a piece",
            lambda chances, u: next(
                (i for i, e in enumerate(itertools.accumulate(chances)) if u <= e), len(chances) - 1
            ),
            "With u = 0 a first token of probability 0 is drawn. It is `u < reached`, not `<=`.",
        ),
        Mistake(
            "nothing is drawn when rounding leaves a gap at the end",
            _none_at_the_end,
            "Ten times 0.1 is a little less than 1 for a computer, and u can lie above it. After the loop, give the "
            "last possible token.",
        ),
        Mistake(
            "a token of probability 0 is drawn when rounding leaves a gap",
            _draw_by(itertools.accumulate),
            "After the loop you give the last token of all, which may have the probability 0. Give the last one that "
            "is possible.",
        ),
        Mistake(
            "u is compared with each probability alone",
            _draw_by(lambda chances: chances),
            "The pieces lie one behind the other: compare u with the sum so far.",
        ),
        Mistake(
            "the likeliest is taken",
            lambda chances, u: max(range(len(chances)), key=chances.__getitem__),
            "This is greedy. u has to decide.",
        ),
        Mistake(
            "all tokens are alike",
            lambda chances, u: int(u * len(chances)),
            "This gives each token the same chance. A piece of the line is as long as its probability.",
        ),
        Mistake(
            "the next token is taken",
            lambda chances, u: min(draw(chances, u) + 1, len(chances) - 1),
            "You are one further than the piece that u hits.",
        ),
        Mistake(
            "the largest piece comes first",
            lambda chances, u: sorted(range(len(chances)), key=lambda i: -chances[i])[
                draw(sorted(chances, reverse=True), u)
            ],
            "That would be as good a way to draw. Here the pieces lie in the order of the ids, so that a check is "
            "possible.",
        ),
    ],
    hints=[
        "Add up the probabilities one after the other. When is the sum for the first time above u?",
        "`for token, p in enumerate(chances): reached += p`, and return the token if `u < reached`.",
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
    for B, V in ((2, 3), (5, 4), (7, 5), (9, 3), (40, 6)):
        uniform = torch.tensor([[rng.uniform(0.01, 0.99) for _ in range(V)] for _ in range(B)])
        yield _normal(rng, B, V, scale=1.5), uniform


_GUMBEL = Exercise(
    id="sampling.7",
    title="Draw with noise and a maximum",
    minutes=15,
    difficulty=2,
    prompt="Another way to draw, without any sum: to each logit add its own noise, and take the largest. If $u$ is "
    r"uniform between 0 and 1, the noise is $-\ln(-\ln u)$ (Gumbel 1954), and the token that wins has been drawn with "
    "its softmax probability.\n\nShapes: `logits` and `uniform` are float tensors [B, V]. Result: the ids, an integer "
    "tensor [B].",
    signature='def gumbel_draw(logits: Float[Tensor, "B V"], uniform: Float[Tensor, "B V"]) -> Int[Tensor, "B"]',
    inputs=_gumbel_inputs,
    solution=gumbel_draw,
    mistakes=[
        Mistake(
            "the noise is the uniform number itself",
            lambda logits, uniform: (logits + uniform).argmax(-1),
            "Uniform noise lies between 0 and 1, so a logit more than 1 below the best can never win. It has to be "
            "−ln(−ln u).",
        ),
        Mistake(
            "the outer sign is missing",
            lambda logits, uniform: (logits + (-uniform.log()).log()).argmax(-1),
            "ln(−ln u) is the noise upside down: it falls where it should rise. A minus in front.",
        ),
        Mistake(
            "there is one logarithm only",
            lambda logits, uniform: (logits - uniform.log()).argmax(-1),
            "−ln u is exponential noise. Take minus the logarithm of it once more.",
        ),
        Mistake(
            "the noise is added to probabilities",
            lambda logits, uniform: (logits.softmax(-1) - (-uniform.log()).log()).argmax(-1),
            "The noise belongs to the logits (or to the logarithms of the probabilities).",
        ),
        Mistake(
            "the noise is left out",
            lambda logits, uniform: logits.argmax(-1),
            "This is greedy.",
        ),
        Mistake(
            "the maximum runs over the batch",
            lambda logits, uniform: (logits - (-uniform.log()).log()).argmax(0),
            "One token for each row: the maximum over the last dimension.",
        ),
    ],
    hints=[
        "Two steps: the noise, [B, V]; then the place of the largest sum in each row.",
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
    for T, hs in ((2, 3), (4, 2), (5, 6)):
        yield _normal(rng, hs), _normal(rng, hs), _normal(rng, hs), _normal(rng, T, hs), _normal(rng, T, hs)


def _attend_variant(scale=True, order="last", attends="all"):
    def wrong(q, k, v, keys, values):
        pairs = [(keys, k[None]), (values, v[None])]
        if order == "first":
            pairs = [pair[::-1] for pair in pairs]
        if order == "replaced":
            pairs = [(old[:-1], new) for old, new in pairs]
        new_keys, new_values = (torch.cat(pair) for pair in pairs)
        seen = (keys, values) if attends == "old" else (new_keys, new_values)
        weights = (seen[0] @ q / (math.sqrt(len(q)) if scale else 1.0)).softmax(0)
        return weights @ seen[1], new_keys, new_values

    return wrong


def _not_kept(q, k, v, keys, values):
    return attend_to_all(q, k, v, keys, values)[0], keys, values


def _value_of_key(q, k, v, keys, values):
    return attend_to_all(q, k, k, keys, keys)[0], *attend_to_all(q, k, v, keys, values)[1:]


_ATTEND = Exercise(
    id="sampling.8",
    title="One head with a memory",
    minutes=20,
    difficulty=2,
    prompt="One new token arrives at an attention head that remembers the keys and values of all before it. Put the "
    "new key and value behind them, let the new query attend to all, **its own key too**, and hand back what the next "
    "token will need.\n\nShapes: `q`, `k`, `v` are float tensors [hs] of the new token; `keys`, `values` are [T, hs] "
    "of the tokens before. Result: three tensors, the output [hs], and the new keys and values [T + 1, hs].",
    signature='def attend_to_all(q: Float[Tensor, "hs"], k: Float[Tensor, "hs"], v: Float[Tensor, "hs"],\n'
    '                  keys: Float[Tensor, "T hs"], values: Float[Tensor, "T hs"])\n'
    '    -> tuple[Float[Tensor, "hs"], Float[Tensor, "T+1 hs"], Float[Tensor, "T+1 hs"]]',
    inputs=_attend_inputs,
    solution=attend_to_all,
    mistakes=[
        Mistake(
            "the new token does not attend to itself",
            _attend_variant(attends="old"),
            "In a causal model position t sees t as well. Put the new key and value behind the old ones first.",
        ),
        Mistake(
            "the scale is missing",
            _attend_variant(scale=False),
            "The scores are divided by the root of hs, with a cache as without.",
        ),
        Mistake(
            "the memory does not grow",
            _not_kept,
            "The next token needs this one's key and value: give back the longer tensors.",
        ),
        Mistake(
            "the new one stands in front",
            _attend_variant(order="first"),
            "The output is right, and the memory is out of order: row t belongs to token t.",
        ),
        Mistake(
            "the last one is overwritten",
            _attend_variant(order="replaced"),
            "The new token gets a row of its own, T + 1 in all.",
        ),
        Mistake(
            "the keys are averaged",
            _value_of_key,
            "Keys decide the weights; what is averaged are the values.",
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
    yield from [(1, 2, 1, 4, 1, 1, 4), (1, 3, 3, 6, 5, 1, 4), (3, 4, 2, 8, 5, 2, 2)]
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
    minutes=10,
    difficulty=1,
    prompt="How many bytes hold the keys and values of B texts of T tokens? Every layer keeps a key and a value for "
    "each token and each of its `n_kv_head` heads of keys and values; a head has `n_embd / n_head` numbers, and a "
    "number takes `width` bytes.\n\nInput: seven `int`. Result: an `int`.",
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
            "the query heads are counted",
            lambda L, H, kv, C, T, B, width: 2 * L * C * T * B * width,
            "Queries are used once and not kept. What is kept has n_kv_head heads, which may be fewer.",
        ),
        Mistake(
            "a head is taken to be as wide as the model",
            lambda L, H, kv, C, T, B, width: 2 * L * kv * C * T * B * width,
            "A head has C / H channels.",
        ),
        Mistake(
            "the batch is forgotten",
            lambda L, H, kv, C, T, B, width: 2 * L * kv * (C // H) * T * width,
            "Each of the B texts has its own past.",
        ),
        Mistake(
            "these are numbers, not bytes",
            lambda L, H, kv, C, T, B, width: 2 * L * kv * (C // H) * T * B,
            "A number takes `width` bytes.",
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
    yield torch.tensor([0.5, 0.4, 0.1]).log(), trap, 2, 1
    yield torch.tensor([0.5, 0.4, 0.1]).log(), trap, 2, 2
    yield torch.tensor([0.5, 0.4, 0.1]).log(), trap, 1, 2
    # Two tokens look best and lead nowhere; the third, which a beam of two drops at once, would have been right.
    late = torch.tensor([[0.3, 0.3, 0.4], [0.35, 0.33, 0.32], [0.01, 0.01, 0.98]]).log()
    yield torch.tensor([0.36, 0.34, 0.3]).log(), late, 3, 2
    # Most tables do not tell the mistakes from the search, so one is drawn for each that does, and another.
    for V, length, width in ((5, 4, 2), (6, 5, 3)):
        for wrong in _BEAM_MISTAKES:
            yield _telling(rng, wrong, V, length, width)


def _telling(rng, wrong, V, length, width):
    while True:
        first, table = _normal(rng, V, scale=1.0).log_softmax(-1), _normal(rng, V, V, scale=1.5).log_softmax(-1)
        if wrong(first, table, length, width) != beam_search(first, table, length, width):
            return first, table, length, width


def _all_of_them(first, table, length, width):
    return beam_search(first, table, length, len(first) ** length)


def _one_child_each(first, table, length, width):
    beams = [(float(first[t]), [int(t)]) for t in first.topk(min(width, len(first))).indices]
    for _ in range(length - 1):
        beams = [
            (logp + float(table[tokens[-1]].max()), [*tokens, int(table[tokens[-1]].argmax())])
            for logp, tokens in beams
        ]
    return max(beams, key=lambda beam: beam[0])[1]


def _beam_variant(add=lambda logp, more: logp + more):
    def wrong(first, table, length, width):
        beams = sorted([(logp, [t]) for t, logp in enumerate(first.tolist())], key=lambda b: -b[0])[:width]
        for _ in range(length - 1):
            longer = [
                (add(logp, more), [*tokens, t])
                for logp, tokens in beams
                for t, more in enumerate(table[tokens[-1]].tolist())
            ]
            beams = sorted(longer, key=lambda b: -b[0])[:width]
        return beams[0][1]

    return wrong


_last_only = _beam_variant(lambda logp, more: more)
_added = _beam_variant(lambda logp, more: logp + math.exp(more))
_multiplied = _beam_variant(lambda logp, more: -abs(logp * more))
_BEAM_MISTAKES = (_one_child_each, _last_only, _added, _multiplied)

_BEAM = Exercise(
    id="sampling.10",
    title="Beam search",
    minutes=30,
    difficulty=3,
    prompt="Greedy follows one text. Follow `width` at once: in each step lengthen each of them by each token, add up "
    "the log-probabilities, and keep the best `width` of all the longer ones. At the end give the best text. (Lowerre "
    "1976, for speech; long the usual way in machine translation, where one best answer is wanted.)\n\nThe model is a "
    "table: `first` is a float tensor [V], ln p of the first token; `table` is [V, V], and `table[a, b]` is ln p of b "
    "after a. `length` and `width` are `int`. Result: a `list` of `length` ids.",
    signature='def beam_search(first: Float[Tensor, "V"], table: Float[Tensor, "V V"], length: int, width: int) '
    "-> list[int]",
    inputs=_beam_inputs,
    solution=beam_search,
    mistakes=[
        Mistake(
            "only one text is followed",
            lambda first, table, length, width: beam_search(first, table, length, 1),
            "This is greedy. Keep the best `width` after each step.",
        ),
        Mistake(
            "each text keeps one child",
            _one_child_each,
            "You follow `width` greedy texts. The best of all longer texts together stay, and two of them may have the "
            "same beginning.",
        ),
        Mistake(
            "nothing is dropped",
            _all_of_them,
            "All V to the power of `length` texts are too many for a real model. After each step only `width` stay, "
            "although the best may be lost.",
        ),
        Mistake(
            "only the last step counts",
            _last_only,
            "A text is as likely as all its steps together: add the new log-probability to the old sum.",
        ),
        Mistake(
            "probabilities are added",
            _added,
            "Probabilities are multiplied along a text. Their logarithms are added.",
        ),
        Mistake(
            "the log-probabilities are multiplied",
            _multiplied,
            "Probabilities are multiplied, so their logarithms are added.",
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
        question="Greedy tells twenty stories, each from the end token of a story before. How many different ones?",
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
        question="A token in the middle of a text is exchanged. Which keys and values of layer 2 change?",
        kind="choice",
        choices=("only its own", "its own and those after it", "its own and those before it", "all of them"),
        answer="b",
        explanation="Every later position has listened to it in layer 1. No earlier one has: that is causality.",
    ),
    Prediction(
        id="sampling.e",
        question="A prompt of 20 tokens, 100 new ones, with a cache. How many tokens go through the model in all?",
        kind="number",
        answer=119,
        tolerance=0.02,
        explanation="20 at once, then one for each new token but the last, which nobody reads any more.",
    ),
    Prediction(
        id="sampling.f",
        question="Llama 3 8B, 2 bytes a number, one text of 8,192 tokens: how large is its cache?",
        kind="choice",
        choices=("about 1 MB", "about 30 MB", "about 1 GB", "about 16 GB"),
        answer="c",
        explanation="Two times 32 layers, 8 heads of 128 numbers, 2 bytes: 128 KiB a token.",
    ),
]

QUESTIONS = [
    Question(
        about="training",
        question="A model's loss on new stories is as low as the entropy of the grammar. What is left to learn?",
        choices=("nothing", "the free choices", "the recalled facts"),
        answer="a",
        explanation="The entropy is the floor. Nobody can know how a draw falls, only how probable each outcome is.",
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
        question="Under a causal mask, the last token of a text is exchanged. Whose output changes?",
        choices=("everybody's", "only the last position's", "all but the last position's"),
        answer="b",
        explanation="Nobody before it may listen to it. This notebook lives on that.",
    ),
]
