"""Exercises on training: loss, targets, schedule, clipping, optimizer, and the distance to the entropy floor."""

import math
import random

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question
from gptlab.schedule import TrainConfig, lr_multiplier


def _generator(rng: random.Random) -> torch.Generator:
    return torch.Generator().manual_seed(rng.randrange(2**31))


def _normal(rng: random.Random, *shape: int, scale: int | float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=_generator(rng)) * scale


def _integers(rng: random.Random, below: int, *shape: int) -> Tensor:
    return torch.randint(below, shape, generator=_generator(rng))


# ---- training.1 ------------------------------------------------------------------------------------------------------


def cross_entropy(logits, targets):
    highest = logits.max(dim=-1, keepdim=True).values  # [B, T, 1]
    log_sum = (logits - highest).exp().sum(dim=-1, keepdim=True).log() + highest  # [B, T, 1]
    logp = logits - log_sum  # [B, T, V]
    right = logp.gather(-1, targets[..., None]).squeeze(-1)  # [B, T]
    return -right.mean()


def _logit_inputs(rng):
    yield torch.tensor([[[0.0, 1.0, 2.0]]]), torch.tensor([[1]])
    yield torch.tensor([[[0.5, 0.0], [2.0, 0.0], [0.0, 3.0]]]), torch.tensor([[0, 1, 1]])
    yield (torch.arange(24) * 7 % 5).float().view(2, 3, 4), torch.tensor([[0, 3, 1], [2, 2, 0]])
    yield torch.tensor([[[86.0, 100.0], [80.0, 100.0], [75.0, 102.0]]]), torch.tensor([[0, 0, 0]])
    yield torch.tensor([[[80.0, 79.0, 0.0], [0.0, 1000.0, 2.0]]]), torch.tensor([[0, 2]])
    yield torch.tensor([[[-1000.0, -1001.0]]]), torch.tensor([[1]])
    for B, T, V in ((2, 3, 4), (3, 2, 5), (2, 4, 7), (4, 3, 6)):
        yield _normal(rng, B, T, V, scale=2.0), _integers(rng, V, B, T)


def _pick(logp, targets):
    return logp.gather(-1, targets[..., None]).squeeze(-1)


def _nats(logits, targets):
    return -_pick(logits.log_softmax(-1), targets)  # [B, T]


def _overflowing(logits, targets):
    return -_pick((logits.exp() / logits.exp().sum(-1, keepdim=True)).log(), targets).mean()


def _one_maximum(logits, targets):
    log_sum = (logits - logits.max()).exp().sum(-1, keepdim=True).log() + logits.max()
    return -_pick(logits - log_sum, targets).mean()


def _maximum_not_added_back(logits, targets):
    highest = logits.amax(-1, keepdim=True)
    return -_pick(logits - (logits - highest).exp().sum(-1, keepdim=True).log(), targets).mean()


def _without_keepdim(logits, targets):
    logits = logits - logits.max(dim=-1).values
    return -_pick(logits - logits.exp().sum(-1, keepdim=True).log(), targets).mean()


def _guarded(guard):
    return lambda logits, targets: -_pick(guard(logits.softmax(-1)).log(), targets).mean()


_LOSS = Exercise(
    id="training.1",
    title="The loss, from logits",
    kind="core",
    minutes=15,
    difficulty=2,
    prompt="How surprised is the model, on average, by the token that really comes? At each position, take the "
    "softmax over the vocabulary, the logarithm of the right token's probability, and a minus; then the mean over "
    "all B·T positions. Your result must stay exact for logits between -1,000 and 1,000, where `exp` overflows or "
    "vanishes."
    "\n\nShapes: `logits` is a float32 tensor [B, T, V], `targets` an integer tensor [B, T]. Result: a tensor with one "
    "number, in nats per token. (Without `F.cross_entropy`.)",
    signature='def cross_entropy(logits: Float[Tensor, "B T V"], targets: Int[Tensor, "B T"]) -> Float[Tensor, ""]',
    inputs=_logit_inputs,
    solution=cross_entropy,
    reference=lambda logits, targets: F.cross_entropy(logits.transpose(1, 2), targets),
    mistakes=[
        Mistake(
            "exp overflows",
            _overflowing,
            "exp(1000) is infinite, and infinite / infinite is NaN. Subtract the highest logit of each position first: "
            "the softmax stays the same, and no exponent is above 0.",
        ),
        Mistake(
            "exp overflows inside the log-sum-exp",
            lambda logits, targets: -_pick(logits - logits.exp().sum(-1, keepdim=True).log(), targets).mean(),
            "`logits.exp().sum().log()` is right on paper, but exp(1000) is infinite and exp(-1000) is 0. Subtract the "
            "highest logit before `exp` and add it back after `log`.",
        ),
        Mistake(
            "softmax first, then the logarithm",
            _guarded(lambda p: p),
            "A probability below 1e-45 is rounded to 0, and its logarithm is minus infinity. Compute ln p directly: "
            "logit minus log-sum-exp.",
        ),
        *[
            Mistake(
                f"the probability is {how} {least} before the logarithm",
                _guarded(guard),
                "This hides the underflow: a token that is 1,000 nats away gets a loss below 30. Compute ln p as "
                "logit minus log-sum-exp; then nothing has to be guarded.",
            )
            for least in ("1e-12", "1e-10", "1e-9", "1e-8", "1e-6")
            for how, guard in (
                ("increased by", lambda p, least=float(least): p + least),
                ("clamped at", lambda p, least=float(least): p.clamp(min=least)),
            )
        ],
        Mistake(
            "one maximum is subtracted from all positions",
            _one_maximum,
            "The largest logit of another position may be 900 higher, and then everything here is exp(-900) = 0. Each "
            "position needs its own: `max(dim=-1, keepdim=True)`.",
        ),
        Mistake(
            "the maximum is subtracted and not added back",
            _maximum_not_added_back,
            "You subtracted the highest logit inside the log-sum-exp. Add it back after the logarithm, or subtract it "
            "from the logits outside as well.",
        ),
        Mistake(
            "keepdim is missing at the maximum",
            _without_keepdim,
            "`max(dim=-1)` is [B, T], and [B, T, V] minus [B, T] does not line up. With `keepdim=True` it is "
            "[B, T, 1].",
        ),
        Mistake(
            "the result is in bits",
            lambda logits, targets: _nats(logits, targets).mean() / math.log(2),
            "`log2` measures in bits. Nats come from the natural logarithm: `log`.",
        ),
        Mistake(
            "the result is in bits, and a small probability becomes 0",
            lambda logits, targets: -_pick(logits.softmax(-1).log2(), targets).mean(),
            "`log2` measures in bits; nats come from `log`. And a softmax rounds tiny probabilities to 0: compute ln p "
            "as logit minus log-sum-exp.",
        ),
        Mistake(
            "the softmax runs over time",
            lambda logits, targets: -_pick(logits.log_softmax(1), targets).mean(),
            "The probabilities of all V tokens at one position must sum to 1: softmax over the last dimension.",
        ),
        Mistake(
            "the softmax runs over the batch",
            lambda logits, targets: -_pick(logits.log_softmax(0), targets).mean(),
            "The probabilities of all V tokens at one position must sum to 1: softmax over the last dimension.",
        ),
        Mistake(
            "the logarithm is missing",
            lambda logits, targets: -_pick(logits.softmax(-1), targets).mean(),
            "This is minus the mean probability. The surprise is minus its logarithm.",
        ),
        Mistake(
            "it is 1 minus the probability",
            lambda logits, targets: 1 - _pick(logits.softmax(-1), targets).mean(),
            "Zero for a sure hit, but never above 1, however wrong the model is. The surprise is -ln p.",
        ),
        Mistake(
            "the logarithm of the mean probability is taken",
            lambda logits, targets: -_pick(logits.softmax(-1), targets).mean().log(),
            "First the logarithm at each position, then the mean. The logarithm of a mean lets a few good positions "
            "hide the bad ones.",
        ),
        Mistake(
            "the softmax is missing",
            lambda logits, targets: -_pick(logits, targets).mean(),
            "A logit becomes a log-probability only when the log-sum-exp of all logits at its position is subtracted.",
        ),
        Mistake(
            "softmax is applied twice",
            lambda logits, targets: -_pick(logits.softmax(-1).log_softmax(-1), targets).mean(),
            "`log_softmax` (and `F.cross_entropy`) want logits. Given probabilities, they flatten them a second time.",
        ),
        Mistake(
            "it is a sum, not a mean",
            lambda logits, targets: _nats(logits, targets).sum(),
            "The loss would grow with the batch. Take the mean over all B·T positions.",
        ),
        Mistake(
            "the sum is divided by the number of sequences",
            lambda logits, targets: _nats(logits, targets).sum() / len(logits),
            "A longer sequence would have a larger loss. Divide by all B·T positions.",
        ),
        Mistake(
            "the sum is divided by the length of a sequence",
            lambda logits, targets: _nats(logits, targets).sum() / targets.shape[1],
            "The loss would grow with the number of sequences. Divide by all B·T positions.",
        ),
        Mistake(
            "the mean is missing",
            _nats,
            "These are the losses of all positions, [B, T]. One number is asked for: their mean.",
        ),
        Mistake(
            "the mean runs over time only",
            lambda logits, targets: _nats(logits, targets).mean(-1),
            "This gives one loss for each sequence, [B]. Take the mean over the batch as well.",
        ),
        Mistake(
            "the sign is missing",
            lambda logits, targets: -_nats(logits, targets).mean(),
            "A log-probability is at most 0. The loss is its negative, and training makes it small.",
        ),
        Mistake(
            "the mean runs over the vocabulary",
            lambda logits, targets: -logits.log_softmax(-1).mean(),
            "Only the token that comes counts: pick its log-probability with `gather`, then take the mean.",
        ),
        Mistake(
            "the mean runs over the vocabulary as well",
            lambda logits, targets: _nats(logits, targets).mean() / logits.shape[-1],
            "Times a one-hot vector, all but one of the V numbers are 0, and `mean()` counts them. Sum over the "
            "vocabulary first, then take the mean over the B·T positions.",
        ),
        Mistake(
            "a sigmoid is taken for the softmax",
            lambda logits, targets: -_pick(logits.sigmoid().log(), targets).mean(),
            "A sigmoid looks at one logit alone. Only with the softmax do the probabilities of all V tokens sum to 1.",
        ),
        Mistake(
            "the likeliest token is taken for the right one",
            lambda logits, targets: -logits.log_softmax(-1).amax(-1).mean(),
            "This measures how sure the model is, not whether it is right. Pick the log-probability of the target.",
        ),
        Mistake(
            "the entropy of the prediction is taken",
            lambda logits, targets: -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean(),
            "This is how undecided the model is; the targets play no part. Pick the log-probability of the target.",
        ),
        Mistake(
            "inputs and targets are shifted once more",
            lambda logits, targets: -_pick(logits[:, :-1].log_softmax(-1), targets[:, 1:]).mean(),
            "The targets are shifted already: `targets[b, t]` belongs to `logits[b, t]`. A second shift asks for the "
            "token after the next.",
        ),
        Mistake(
            "it is the perplexity",
            lambda logits, targets: _nats(logits, targets).mean().exp(),
            "e to the power of the loss is the perplexity. The loss itself is asked for, in nats.",
        ),
        Mistake(
            "the dimensions are not what F.cross_entropy expects",
            lambda logits, targets: F.cross_entropy(logits, targets),
            "`F.cross_entropy` takes dimension 1 for the classes, which is time here: flatten B and T first. (And the "
            "task is to do without it.)",
        ),
    ],
    hints=[
        "ln softmax is: logit minus the logarithm of the sum of all exp(logit), over the last dimension.",
        "Subtract the highest logit of each position first (`max(dim=-1, keepdim=True).values`).",
        "`logp.gather(-1, targets[..., None])` picks the right token's; then the mean, and a minus.",
    ],
)

# ---- training.2 ------------------------------------------------------------------------------------------------------


def inputs_and_targets(ids):
    return ids[:, :-1], ids[:, 1:]


def _id_inputs(rng):
    yield (torch.tensor([[4, 7]]),)
    yield (torch.tensor([[1, 2, 3]]),)
    yield (torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]]),)
    for B, T in ((2, 3), (3, 5), (2, 6), (4, 2)):
        yield (_integers(rng, 50, B, T + 1),)


def _padded_targets(fill):
    return lambda ids: (ids, F.pad(ids[:, 1:], (0, 1), value=fill))


_SHIFT = Exercise(
    id="training.2",
    title="What comes next?",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="At each position the model predicts the token that comes after it. Cut a batch of sequences into "
    "inputs and targets.\n\nShapes: `ids` is an integer tensor [B, T + 1], T at least 1. Result: two tensors [B, T], "
    "first the inputs, then the targets; `targets[b, t]` is the token that follows `inputs[b, t]`.",
    signature='def inputs_and_targets(ids: Int[Tensor, "B T+1"]) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]',
    inputs=_id_inputs,
    solution=inputs_and_targets,
    mistakes=[
        Mistake(
            "the targets are the inputs",
            lambda ids: (ids[:, :-1], ids[:, :-1]),
            "The model would learn to repeat what it sees, with a loss near 0. Targets are one further: `ids[:, 1:]`.",
        ),
        Mistake(
            "both are all of the ids",
            lambda ids: (ids, ids),
            "The model would learn to repeat what it sees. Some libraries shift inside the model; here you do it: "
            "`ids[:, :-1]` and `ids[:, 1:]`.",
        ),
        Mistake(
            "inputs and targets are exchanged",
            lambda ids: (ids[:, 1:], ids[:, :-1]),
            "The target would be the token before. Inputs begin at 0, targets at 1.",
        ),
        Mistake(
            "both begin at the second token",
            lambda ids: (ids[:, 1:], ids[:, 1:]),
            "The first token is an input too, and the last one is none: inputs are `ids[:, :-1]`.",
        ),
        Mistake(
            "the last token is an input as well",
            lambda ids: (ids, ids[:, 1:]),
            "Nothing is known to follow the last token, so it is not an input: `ids[:, :-1]`.",
        ),
        Mistake(
            "the first token is a target as well",
            lambda ids: (ids[:, :-1], ids),
            "Nothing comes before the first token, so nobody predicts it: targets are `ids[:, 1:]`.",
        ),
        Mistake(
            "the first token follows the last",
            lambda ids: (ids, ids.roll(-1, 1)),
            "`roll` puts the first token behind the last. The last token has no target, so it is not an input.",
        ),
        *[
            Mistake(
                f"the targets are filled up with {fill}",
                _padded_targets(fill),
                "You kept T + 1 positions and made up a target for the last. It has none: leave it out.",
            )
            for fill in (0, -100)
        ],
        Mistake(
            "only the last token is a target",
            lambda ids: (ids[:, :-1], ids[:, -1]),
            "Every position predicts its next token, not only the last one: T targets for T inputs, `ids[:, 1:]`.",
        ),
        Mistake(
            "only the last token is a target, with a dimension for time",
            lambda ids: (ids[:, :-1], ids[:, -1:]),
            "Every position predicts its next token, not only the last one: T targets for T inputs, `ids[:, 1:]`.",
        ),
        Mistake(
            "the shift runs over the batch",
            lambda ids: (ids[:-1], ids[1:]),
            "The first dimension is the batch. Time is the second: `ids[:, 1:]`.",
        ),
        Mistake(
            "the batch is flattened first",
            lambda ids: (ids.flatten()[:-1], ids.flatten()[1:]),
            "One sequence would run into the next, and the shape [B, T] is lost. Slice the second dimension.",
        ),
        Mistake(
            "the first target is left out",
            lambda ids: (ids[:, :-1], ids[:, 2:]),
            "The target of the first input is the second token: `ids[:, 1:]`.",
        ),
        Mistake(
            "the shift is two",
            lambda ids: (ids[:, :-2], ids[:, 2:]),
            "The target is the very next token: a shift by one.",
        ),
    ],
    hints=[
        "Which tokens have a token after them? And which have one before?",
        "All but the last are inputs, all but the first are targets.",
        "Slices of the second dimension: `ids[:, :-1]` and `ids[:, 1:]`.",
    ],
)

# ---- training.3 ------------------------------------------------------------------------------------------------------


def mean_of_counted(losses, targets):
    counts = targets != -100
    return losses[counts].sum() / counts.sum()


def _padded_inputs(rng):
    yield torch.tensor([[1.0, 5.0]]), torch.tensor([[3, -100]])
    yield torch.tensor([[1.0, 2.0, 3.0], [4.0, 9.0, 8.0]]), torch.tensor([[3, 0, 2], [5, -100, -100]])
    yield torch.tensor([[2.0, 4.0], [6.0, 1.0], [3.0, 5.0]]), torch.tensor([[1, 2], [0, 4], [7, -100]])
    for B, T in ((2, 3), (3, 4), (2, 5), (4, 3)):
        targets = _integers(rng, 9, B, T)
        targets[0, 0] = 0
        for b in range(1, B):
            targets[b, rng.randrange(1, T) :] = -100
        yield _normal(rng, B, T).abs() + 0.1, targets


def _row_means(losses, targets):
    return torch.stack([row[counted != -100].mean() for row, counted in zip(losses, targets, strict=True)])


_PADDING = Exercise(
    id="training.3",
    title="Padding does not count",
    kind="warm-up",
    minutes=10,
    difficulty=2,
    prompt="Sequences of different lengths are padded to one length, and the targets there are -100. Take the mean of "
    "the losses over the targets that count; each token weighs the same, whatever sequence it is in.\n\nShapes: "
    "`losses` is a float32 tensor [B, T], `targets` an integer tensor [B, T]; in every sequence at least one target "
    "counts. Result: a tensor with one number.",
    signature='def mean_of_counted(losses: Float[Tensor, "B T"], targets: Int[Tensor, "B T"]) -> Float[Tensor, ""]',
    inputs=_padded_inputs,
    solution=mean_of_counted,
    mistakes=[
        Mistake(
            "padding counts",
            lambda losses, targets: losses.mean(),
            "What the model predicts after the end of a sequence does not matter: leave targets of -100 out. (The "
            "-100 stands in `targets`, not in `losses`.)",
        ),
        Mistake(
            "the sum is divided by all positions",
            lambda losses, targets: losses[targets != -100].sum() / losses.numel(),
            "The sum leaves padding out, so the divisor must too. A masked loss set to 0 and then `mean()` does the "
            "same: divide by how many targets count.",
        ),
        Mistake(
            "the sum is divided by the number of sequences",
            lambda losses, targets: losses[targets != -100].sum() / len(losses),
            "Each token weighs the same: divide by how many targets count, not by B.",
        ),
        Mistake(
            "the sum is divided by the padded length",
            lambda losses, targets: losses[targets != -100].sum() / losses.shape[1],
            "Each token weighs the same: divide by how many targets count, not by T.",
        ),
        Mistake(
            "it is a mean of the sequences' means",
            lambda losses, targets: _row_means(losses, targets).mean(),
            "A token of a short sequence would weigh more than one of a long sequence. Take one mean over all tokens.",
        ),
        Mistake(
            "there is one mean for each sequence",
            _row_means,
            "One number is asked for: the mean over all tokens of all sequences.",
        ),
        Mistake(
            "the mean is missing",
            lambda losses, targets: losses[targets != -100],
            "These are the losses that count. Their mean is asked for.",
        ),
        Mistake(
            "token 0 is taken for padding",
            lambda losses, targets: losses[targets > 0].mean(),
            "0 is the id of a real token. Only -100 is left out.",
        ),
        Mistake(
            "token 0 is left out, and padding stays",
            lambda losses, targets: losses[targets != 0].mean(),
            "0 is the id of a real token here; padding is marked by -100.",
        ),
        Mistake(
            "only padding counts",
            lambda losses, targets: losses[targets == -100].mean(),
            "The mask is the wrong way round: keep what is **not** -100.",
        ),
        Mistake(
            "it is a sum",
            lambda losses, targets: losses[targets != -100].sum(),
            "Divide by how many targets count.",
        ),
        Mistake(
            "padded losses are turned into -100",
            lambda losses, targets: losses.masked_fill(targets == -100, -100.0).mean(),
            "-100 is a mark in the targets, not a loss. Leave these positions out, of the sum and of the count.",
        ),
    ],
    hints=[
        "`targets != -100` is a boolean tensor [B, T]: True where a target counts.",
        "`losses[mask]` are the losses there, in one row.",
        "Their mean is the result.",
    ],
)

# ---- training.4 ------------------------------------------------------------------------------------------------------


def learning_rate(step: int, steps: int, warmup: int, highest: float, lowest: float) -> float:
    if step < warmup:
        return highest * (step + 1) / warmup
    done = (step - warmup) / (steps - warmup)  # from 0 to 1 after the warm-up
    return lowest + (highest - lowest) * 0.5 * (1 + math.cos(math.pi * done))


def _rate_inputs(rng):
    yield from [(step, 10, 4, 1.0, 0.1) for step in (0, 1, 3, 4, 5, 7, 9, 10)]
    yield from [(3, 10, 0, 1.0, 0.1), (1, 9, 4, 3.0, 1.0), (5, 9, 4, 3.0, 1.0)]
    for _ in range(8):
        steps, warmup = rng.randrange(60, 200), rng.randrange(5, 30)
        yield rng.randrange(steps), steps, warmup, rng.uniform(0.001, 0.01), rng.uniform(0.0001, 0.0005)


def _half_cosine(x):
    return 0.5 * (1 + math.cos(math.pi * x))


def _rate_variant(
    up=lambda step, warmup: (step + 1) / warmup,
    warm=lambda step, warmup: step < warmup,
    x=lambda step, steps, warmup: (step - warmup) / (steps - warmup),
    fall=_half_cosine,
    scaled=lambda fall, highest, lowest: lowest + (highest - lowest) * fall,
    start=lambda lowest: 0.0,
):
    def wrong(step, steps, warmup, highest, lowest):
        if warm(step, warmup):
            return float(start(lowest) + (highest - start(lowest)) * up(step, warmup))
        return float(scaled(fall(x(step, steps, warmup)), highest, lowest))

    return wrong


def _rate_reference(step, steps, warmup, highest, lowest):
    if step < warmup:
        return highest * lr_multiplier(step, TrainConfig(steps=steps, warmup=warmup))
    rest = TrainConfig(
        steps=steps - warmup, warmup=0, decay_fraction=1.0, schedule="cosine", min_lr_ratio=lowest / highest
    )
    return highest * lr_multiplier(step - warmup, rest)


_RATE = Exercise(
    id="training.4",
    title="Warm up, then decay",
    kind="core",
    minutes=10,
    difficulty=2,
    prompt=r"The learning rate rises in a straight line over the first `warmup` steps: the first step (number "
    r"0) already has 1/`warmup` of the highest rate, and the last of them the highest. Then it falls along half a "
    r"cosine wave, $\frac{1}{2}(1 + \cos \pi x)$ with $x$ from 0 at step `warmup` to 1 at step `steps`, from `highest` "
    r"to `lowest`."
    "\n\nInput: `step`, `steps`, `warmup` of type `int`, with 0 ≤ `step` ≤ `steps` and 0 ≤ `warmup` < `steps`; "
    "`highest`, `lowest` of type `float`. Result: a `float`. With `warmup` 0 the decay begins at once.",
    signature="def learning_rate(step: int, steps: int, warmup: int, highest: float, lowest: float) -> float",
    inputs=_rate_inputs,
    solution=learning_rate,
    reference=_rate_reference,
    mistakes=[
        Mistake(
            "the first step has the rate 0",
            _rate_variant(up=lambda step, warmup: step / warmup),
            "With step / warmup the first batch teaches nothing. Here it is (step + 1) / warmup.",
        ),
        Mistake(
            "the warm-up lasts one step too long",
            _rate_variant(warm=lambda step, warmup: step <= warmup),
            "With `<=` step `warmup` still belongs to the warm-up, and (step + 1) / warmup is above 1 there. The "
            "warm-up steps are 0 to warmup - 1: `<`.",
        ),
        Mistake(
            "the warm-up begins at the lowest rate",
            _rate_variant(start=lambda lowest: lowest),
            "The line of the warm-up comes from 0: `highest * (step + 1) / warmup`. `lowest` belongs to the decay.",
        ),
        Mistake(
            "the warm-up begins at the lowest rate, with step 0",
            _rate_variant(up=lambda step, warmup: step / warmup, start=lambda lowest: lowest),
            "The line of the warm-up comes from 0, and step 0 is on it already: `highest * (step + 1) / warmup`.",
        ),
        Mistake(
            "the warm-up divides by 0",
            lambda step, steps, warmup, highest, lowest: (
                learning_rate(step, steps, warmup, highest, lowest) * min(1, (step + 1) / warmup) ** 0
            ),
            "`warmup` may be 0, and then there is no warm-up to compute. Divide inside the branch `step < warmup` "
            "only.",
        ),
        Mistake(
            "x is counted from step 0",
            _rate_variant(x=lambda step, steps, warmup: step / steps),
            "After the warm-up x must begin at 0, or the rate jumps: x = (step - warmup) / (steps - warmup).",
        ),
        Mistake(
            "x never reaches 1",
            _rate_variant(x=lambda step, steps, warmup: (step - warmup) / steps),
            "The decay has steps - warmup steps, not steps: x = (step - warmup) / (steps - warmup).",
        ),
        Mistake(
            "x reaches 1 one step early",
            _rate_variant(x=lambda step, steps, warmup: (step - warmup) / (steps - warmup - 1)),
            "x is 1 at step `steps`, which is one after the last: divide by steps - warmup.",
        ),
        Mistake(
            "x begins one step late",
            _rate_variant(x=lambda step, steps, warmup: (step - warmup + 1) / (steps - warmup)),
            "x is 0 at step `warmup`: x = (step - warmup) / (steps - warmup), without the + 1 of the warm-up.",
        ),
        Mistake(
            "it falls to 0",
            _rate_variant(scaled=lambda fall, highest, lowest: highest * fall),
            "The end is `lowest`: let the cosine run between the two, lowest + (highest - lowest) * fall.",
        ),
        Mistake(
            "the lowest rate is added on top",
            _rate_variant(scaled=lambda fall, highest, lowest: lowest + highest * fall),
            "At x = 0 this is highest + lowest. The wave spans the difference: lowest + (highest - lowest) * fall.",
        ),
        Mistake(
            "the wave is as high as both rates together",
            _rate_variant(scaled=lambda fall, highest, lowest: (highest + lowest) * fall),
            "At x = 0 this is highest + lowest, and at x = 1 it is 0. The wave spans the difference and stands on the "
            "lowest: lowest + (highest - lowest) * fall.",
        ),
        Mistake(
            "the wave has the right height and stands on 0",
            _rate_variant(scaled=lambda fall, highest, lowest: (highest - lowest) * fall),
            "`lowest` is subtracted and never added: lowest + (highest - lowest) * fall.",
        ),
        Mistake(
            "the lowest rate cuts the wave off",
            _rate_variant(scaled=lambda fall, highest, lowest: max(lowest, highest * fall)),
            "With `max` the rate falls towards 0 and stops early. It has to come down to `lowest` at the very end: "
            "lowest + (highest - lowest) * fall.",
        ),
        Mistake(
            "it falls in a straight line",
            _rate_variant(fall=lambda x: 1 - x),
            "That is a good schedule too. This one follows the cosine: slow, fast, slow.",
        ),
        Mistake(
            "it rises from the lowest to the highest rate",
            _rate_variant(fall=lambda x: 0.5 * (1 - math.cos(math.pi * x))),
            "(1 - cos πx) / 2 goes from 0 to 1. The rate falls: (1 + cos πx) / 2. (With `highest` and `lowest` "
            "exchanged it looks the same.)",
        ),
        Mistake(
            "the half in front of the cosine is missing",
            _rate_variant(fall=lambda x: 1 + math.cos(math.pi * x)),
            "1 + cos goes from 2 to 0, so the decay begins at almost twice the highest rate. Take half of it.",
        ),
        Mistake(
            "the 1 in front of the cosine is missing",
            _rate_variant(fall=lambda x: math.cos(math.pi * x)),
            "The cosine alone goes from 1 to -1, and the rate far below `lowest`. Half of 1 + cos goes from 1 to 0.",
        ),
        Mistake(
            "it is a quarter of a wave",
            _rate_variant(fall=lambda x: math.cos(math.pi * x / 2)),
            "cos(πx/2) also goes from 1 to 0, but it is steepest at the end. Here it is (1 + cos πx) / 2.",
        ),
        Mistake(
            "π is missing from the cosine",
            _rate_variant(fall=lambda x: 0.5 * (1 + math.cos(x))),
            "The angle goes from 0 to π: `math.cos(math.pi * x)`.",
        ),
        Mistake(
            "the rate comes back up",
            _rate_variant(fall=lambda x: 0.5 * (1 + math.cos(2 * math.pi * x))),
            "2π is a whole wave, down and up again. Half a wave ends at π.",
        ),
        Mistake(
            "there is no warm-up",
            _rate_variant(
                warm=lambda step, warmup: False,
                x=lambda step, steps, warmup: max(0, step - warmup) / (steps - warmup),
            ),
            "In the first `warmup` steps the rate grows, because AdamW's averages know little yet.",
        ),
        Mistake(
            "there is no warm-up, and the decay begins at step 0",
            _rate_variant(warm=lambda step, warmup: False, x=lambda step, steps, warmup: step / steps),
            "In the first `warmup` steps the rate grows in a straight line; only then does the decay begin.",
        ),
        Mistake(
            "it never falls",
            _rate_variant(fall=lambda x: 1.0),
            "After the warm-up the rate follows the cosine down to `lowest`.",
        ),
    ],
    hints=[
        "Two cases: within the warm-up, and after it.",
        "After it: x = (step - warmup) / (steps - warmup), and the fall is (1 + cos(pi x)) / 2, which goes from "
        "1 to 0.",
        "`lowest + (highest - lowest) * fall` maps 1 to the highest rate and 0 to the lowest.",
    ],
    package="gptlab.schedule.lr_multiplier",
)

# ---- training.5 ------------------------------------------------------------------------------------------------------


def clip(gradients, longest):
    length = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    factor = min(1.0, longest / length)
    return [g * factor for g in gradients]


def _gradient_inputs(rng):
    yield [torch.tensor([3.0, 4.0])], 1.0
    yield [torch.tensor([0.3, 0.4])], 1.0
    yield [torch.tensor([3.0]), torch.tensor([4.0])], 2.0
    yield [torch.tensor([-1.0, 2.0]), torch.tensor([[2.0, 4.0]])], 10.0
    yield [torch.tensor([6.0, -0.5]), torch.tensor([[2.0, 1.0], [-3.0, 0.0]])], 3.5
    for scale in (0.02, 1.0, 5.0, 0.1, 3.0, 2.0):
        yield [_normal(rng, 2, 3, scale=scale), _normal(rng, 4, scale=scale)], rng.choice([0.5, 1.0])


def _length(gradients):
    return math.sqrt(sum(float((g**2).sum()) for g in gradients))


def _by_factor(factor):
    return lambda gradients, longest: [g * factor(gradients, longest) for g in gradients]


def _to_length(length):
    """Shortened, with another idea of what the length is."""
    return _by_factor(lambda gradients, longest: min(1.0, longest / length(gradients)))


def _clip_in_place(gradients, longest):
    factor = min(1.0, longest / _length(gradients))
    for g in gradients:
        g.mul_(factor)
    return gradients


_CLIP = Exercise(
    id="training.5",
    title="A gradient that is too long",
    kind="stretch",
    minutes=10,
    difficulty=2,
    prompt="All gradients of a model together are one long vector. If it is longer than `longest`, shorten it to that "
    "length and keep its direction; otherwise it stays what it is. Leave the tensors that you were given unchanged."
    "\n\nShapes: `gradients` is a `list` of float32 tensors of any shapes, not all of them zero; `longest` is a "
    "`float` above 0. Result: a `list` of tensors of the same shapes.",
    signature="def clip(gradients: list[Tensor], longest: float) -> list[Tensor]",
    inputs=_gradient_inputs,
    solution=clip,
    mistakes=[
        Mistake(
            "each tensor is shortened by itself",
            lambda gradients, longest: [g * min(1.0, longest / _length([g])) for g in gradients],
            "The tensors would change their proportions, and the direction of the step with them. One length for all.",
        ),
        Mistake(
            "each number is cut off",
            lambda gradients, longest: [g.clamp(-longest, longest) for g in gradients],
            "`clamp` changes the direction. Multiply everything by one factor instead.",
        ),
        Mistake(
            "each number is cut off at the top",
            lambda gradients, longest: [g.clamp(max=longest) for g in gradients],
            "`clamp` changes the direction, and large negative numbers are not even touched. Multiply everything by "
            "one factor.",
        ),
        Mistake(
            "short gradients are made longer",
            _by_factor(lambda gradients, longest: longest / _length(gradients)),
            "Only a gradient that is too long is changed: the factor is at most 1.",
        ),
        Mistake(
            "long gradients stay long, and short ones grow",
            _by_factor(lambda gradients, longest: max(1.0, longest / _length(gradients))),
            "The factor is the smaller of 1 and longest / length: `min`, not `max` (and the condition is "
            "`length > longest`).",
        ),
        Mistake(
            "the factor is upside down",
            _by_factor(lambda g, longest: _length(g) / longest if _length(g) > longest else 1.0),
            "length / longest makes a long gradient longer still. Multiply by longest / length.",
        ),
        Mistake(
            "the length becomes 1",
            _by_factor(lambda g, longest: 1 / _length(g) if _length(g) > longest else 1.0),
            "Dividing by the length gives a vector of length 1. It should have the length `longest`: times longest / "
            "length.",
        ),
        Mistake(
            "every gradient gets the length 1",
            _by_factor(lambda gradients, longest: 1 / _length(gradients)),
            "That is normalising. Only a gradient longer than `longest` is changed, and it gets that length.",
        ),
        Mistake(
            "the square root is missing",
            _to_length(lambda gradients: _length(gradients) ** 2),
            "The length of a vector is the root of the sum of its squares.",
        ),
        Mistake(
            "the lengths of the tensors are added",
            _to_length(lambda gradients: sum(_length([g]) for g in gradients)),
            "Lengths do not add up, squares do (Pythagoras): add the squares of all, then take the root.",
        ),
        Mistake(
            "the longest tensor alone decides",
            _to_length(lambda gradients: max(_length([g]) for g in gradients)),
            "All tensors together are one vector: add the squares of all, then take the root.",
        ),
        Mistake(
            "the first tensor alone decides",
            _to_length(lambda gradients: _length(gradients[:1])),
            "All tensors together are one vector: add the squares of all, then take the root.",
        ),
        Mistake(
            "the last tensor alone decides",
            _to_length(lambda gradients: _length(gradients[-1:])),
            "The sum starts again with each tensor. Add the squares of all of them up, then take the root.",
        ),
        Mistake(
            "the absolute values are added",
            _to_length(lambda gradients: sum(float(g.abs().sum()) for g in gradients)),
            "That is the L1 norm. The length is the root of the sum of the squares.",
        ),
        Mistake(
            "the largest number is taken for the length",
            _to_length(lambda gradients: max(float(g.abs().max()) for g in gradients)),
            "A long vector may consist of many small numbers. The length is the root of the sum of all squares.",
        ),
        Mistake(
            "the mean of the squares is taken",
            _to_length(lambda gradients: _length(gradients) / math.sqrt(sum(g.numel() for g in gradients))),
            "That is the root mean square, the size of a typical number. The length is the root of the **sum**.",
        ),
        Mistake(
            "long gradients become zero",
            _by_factor(lambda gradients, longest: 1.0 if _length(gradients) <= longest else 0.0),
            "A gradient that is too long still knows the way. Shorten it: times longest / length.",
        ),
        Mistake(
            "long gradients stay long",
            lambda gradients, longest: [g * 1.0 for g in gradients],
            "A gradient longer than `longest` must become shorter: multiply everything by longest / length.",
        ),
        Mistake(
            "the result is one long vector",
            lambda gradients, longest: torch.cat([g.flatten() for g in clip(gradients, longest)]),
            "For the length all gradients are one vector. The result is a list again, each tensor in its shape.",
        ),
        Mistake(
            "the length is given as well",
            lambda gradients, longest: (clip(gradients, longest), _length(gradients)),
            "Only the list of tensors is asked for. (PyTorch's `clip_grad_norm_` gives the length, and changes the "
            "gradients in place.)",
        ),
        Mistake(
            "the tensors that were given are changed",
            _clip_in_place,
            "The values are right. PyTorch's own function works in place too; here the given tensors stay as they are: "
            "`g * factor`, not `g *= factor`.",
        ),
    ],
    hints=[
        "First the length of everything: the root of the sum of all squares, over all tensors.",
        "By which factor must it be shortened? And when must it not be?",
        "`factor = min(1, longest / length)`, and every tensor times that factor.",
    ],
)

# ---- training.6 ------------------------------------------------------------------------------------------------------


def perplexity(losses: list[float], counts: list[int]) -> float:
    total = sum(loss * count for loss, count in zip(losses, counts, strict=True))
    return math.exp(total / sum(counts))


def _perplexity_inputs(rng):
    yield from [([0.0], [3]), ([1.0], [5]), ([1.0, 3.0], [1, 3]), ([2.0, 0.5, 1.0], [10, 1, 4])]
    for length in range(2, 8):
        yield [rng.uniform(0.5, 4.0) for _ in range(length)], [rng.randrange(1, 14) for _ in range(length)]


def _total(losses, counts):
    return sum(loss * count for loss, count in zip(losses, counts, strict=True))


def _mean(losses, counts):
    return _total(losses, counts) / sum(counts)


_PERPLEXITY = Exercise(
    id="training.6",
    title="Perplexity",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="A model with perplexity 8 is as uncertain as someone who has to choose between 8 equally likely "
    "tokens. It is e to the power of the mean loss per token. The losses come batch by batch, and batches have "
    "different numbers of tokens.\n\n"
    "Input: `losses`, a `list` of `float`, the mean loss of each batch in nats per token; `counts`, a `list` of "
    "`int`, the number of tokens in each batch, at least 1. Result: a `float`.",
    signature="def perplexity(losses: list[float], counts: list[int]) -> float",
    inputs=_perplexity_inputs,
    solution=perplexity,
    mistakes=[
        Mistake(
            "all batches weigh the same",
            lambda losses, counts: math.exp(sum(losses) / len(losses)),
            "A batch of 40 tokens says more than one of 3: weight each loss by its number of tokens.",
        ),
        Mistake(
            "it is the mean of the batches' perplexities",
            lambda losses, counts: sum(math.exp(x) * n for x, n in zip(losses, counts, strict=True)) / sum(counts),
            "First the mean of the losses, then the exponential: the mean of exponentials is larger.",
        ),
        Mistake(
            "it is the mean of the batches' perplexities, and all batches weigh the same",
            lambda losses, counts: sum(math.exp(x) for x in losses) / len(losses),
            "First the mean of the losses, weighted by the numbers of tokens; then one exponential.",
        ),
        Mistake(
            "the exponential is missing",
            _mean,
            "This is the mean loss, in nats. Perplexity is e to that power.",
        ),
        Mistake(
            "the base is 2",
            lambda losses, counts: 2 ** _mean(losses, counts),
            "2 belongs to losses in bits. These are in nats: `math.exp`.",
        ),
        Mistake(
            "the base is 10",
            lambda losses, counts: 10 ** _mean(losses, counts),
            "Losses in nats belong to the base e: `math.exp`.",
        ),
        Mistake(
            "the sign is wrong",
            lambda losses, counts: math.exp(-_mean(losses, counts)),
            "e to minus the loss is a probability, the geometric mean of all. Perplexity is its reciprocal: at least "
            "1.",
        ),
        Mistake(
            "it is not divided by the tokens",
            lambda losses, counts: math.exp(_total(losses, counts)),
            "Divide the total loss by the number of all tokens before the exponential.",
        ),
        Mistake(
            "it is divided by the tokens after the exponential",
            lambda losses, counts: math.exp(_total(losses, counts)) / sum(counts),
            "The mean belongs into the exponent: math.exp(total / tokens).",
        ),
        Mistake(
            "the mean losses are taken for totals",
            lambda losses, counts: math.exp(sum(losses) / sum(counts)),
            "`losses` are means per token already. Multiply each by its count before you add them up.",
        ),
        Mistake(
            "the total is divided by the number of batches",
            lambda losses, counts: math.exp(_total(losses, counts) / len(losses)),
            "The total is over tokens: divide by `sum(counts)`.",
        ),
        Mistake(
            "the losses are added up",
            lambda losses, counts: math.exp(sum(losses)),
            "The exponent is the **mean** loss per token: weight each batch by its count, and divide by all tokens.",
        ),
        Mistake(
            "there is one perplexity for each batch",
            lambda losses, counts: [math.exp(loss) for loss in losses],
            "One number is asked for, over all tokens of all batches.",
        ),
    ],
    hints=[
        "What is the total loss of a batch, if its mean and its number of tokens are known?",
        "Add up the totals, divide by all tokens.",
        "`math.exp` of that.",
    ],
)

# ---- training.7 ------------------------------------------------------------------------------------------------------


def adamw_step(w, g, m, v, step, lr, betas, eps, decay):
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g**2
    m_hat = m / (1 - betas[0] ** step)  # both began at 0: without this they are too small at first
    v_hat = v / (1 - betas[1] ** step)
    w = w * (1 - lr * decay) - lr * m_hat / (v_hat.sqrt() + eps)
    return w, m, v


def _adam_inputs(rng):
    one = torch.tensor
    yield one([1.0]), one([0.5]), one([0.0]), one([0.0]), 1, 0.1, (0.9, 0.95), 1e-8, 0.0
    yield one([1.0]), one([0.5]), one([0.0]), one([0.0]), 1, 0.1, (0.9, 0.95), 1e-8, 0.1
    yield one([2.0]), one([1e-3]), one([0.0]), one([0.0]), 1, 0.1, (0.9, 0.99), 1e-2, 0.0
    yield one([1.0, -2.0]), one([0.5, 1.0]), one([0.2, -0.1]), one([0.04, 0.25]), 3, 0.5, (0.5, 0.75), 0.1, 0.4
    for step in (1, 2, 3, 7):
        w, g, m = (_normal(rng, 3) for _ in range(3))
        v = _normal(rng, 3).abs() + 0.05
        yield w, g, m * 0.3, v, step, 0.05, (0.9, 0.95), 1e-3, rng.choice([0.1, 0.2])


def _adam_variant(
    new_m=lambda m, g, beta: beta * m + (1 - beta) * g,
    new_v=lambda v, g, beta: beta * v + (1 - beta) * g**2,
    correct=lambda beta, step: 1 - beta**step,
    correct_v=None,
    below=lambda v, eps: v.sqrt() + eps,
    shrink=lambda lr, decay: 1 - lr * decay,
    step_by=lambda lr, update: -lr * update,
    given_back=lambda w, m, v, m_hat, v_hat: (w, m, v),
    gradient=lambda g, w, decay: g,
    after=False,
):
    def wrong(w, g, m, v, step, lr, betas, eps, decay):
        g = gradient(g, w, decay)
        m, v = new_m(m, g, betas[0]), new_v(v, g, betas[1])
        m_hat, v_hat = m / correct(betas[0], step), v / (correct_v or correct)(betas[1], step)
        moved = step_by(lr, m_hat / below(v_hat, eps))
        w = (w + moved) * shrink(lr, decay) if after else w * shrink(lr, decay) + moved
        return given_back(w, m, v, m_hat, v_hat)

    return wrong


def _adam_swapped(w, g, m, v, step, lr, betas, eps, decay):
    return adamw_step(w, g, m, v, step, lr, betas[::-1], eps, decay)


def _adam_eps_uncorrected(w, g, m, v, step, lr, betas, eps, decay):
    m, v = adamw_step(w, g, m, v, step, lr, betas, eps, decay)[1:]
    rate = lr * math.sqrt(1 - betas[1] ** step) / (1 - betas[0] ** step)
    return w * (1 - lr * decay) - rate * m / (v.sqrt() + eps), m, v


def _adam_in_place(w, g, m, v, step, lr, betas, eps, decay):
    m.mul_(betas[0]).add_((1 - betas[0]) * g)
    v.mul_(betas[1]).add_((1 - betas[1]) * g**2)
    m_hat, v_hat = m / (1 - betas[0] ** step), v / (1 - betas[1] ** step)
    return w * (1 - lr * decay) - lr * m_hat / (v_hat.sqrt() + eps), m, v


def _adam_without_momentum(w, g, m, v, step, lr, betas, eps, decay):
    """The step with the gradient itself over the root; the averages are kept as they should be."""
    m, v = adamw_step(w, g, m, v, step, lr, betas, eps, decay)[1:]
    v_hat = v / (1 - betas[1] ** step)
    return w * (1 - lr * decay) - lr * g / (v_hat.sqrt() + eps), m, v


def _adam_reference(w, g, m, v, step, lr, betas, eps, decay):
    weight = torch.nn.Parameter(w.clone())
    optimizer = torch.optim.AdamW([weight], lr=lr, betas=betas, eps=eps, weight_decay=decay, foreach=False)
    optimizer.state[weight] = {"step": torch.tensor(float(step - 1)), "exp_avg": m.clone(), "exp_avg_sq": v.clone()}
    weight.grad = g.clone()
    optimizer.step()
    state = optimizer.state[weight]
    return weight.detach(), state["exp_avg"], state["exp_avg_sq"]


_ADAMW = Exercise(
    id="training.7",
    title="One step of AdamW, by hand",
    kind="stretch",
    minutes=25,
    difficulty=3,
    prompt=r"Maintain a running mean of the gradient, $m \leftarrow \beta_1 m + (1-\beta_1) g$ (the momentum), and of "
    r"its square, $v \leftarrow \beta_2 v + (1-\beta_2) g^2$. Both began at 0, so divide by $1-\beta_1^{t}$ and "
    r"$1-\beta_2^{t}$ ($t$ = `step`, 1 for the first) to get $\hat m$ and $\hat v$. Then "
    r"$w \leftarrow w\,(1 - \text{lr} \cdot \text{decay}) - \text{lr} \; \hat m / (\sqrt{\hat v} + \epsilon)$, "
    r"where the first bracket is the weight decay."
    "\n\nShapes: `w`, `g`, `m`, `v` are float32 tensors of the same shape; `betas` is a `tuple` of two `float`. "
    "Result: the new (w, m, v), with m and v as they were before that division. Leave the given tensors unchanged.",
    signature="def adamw_step(w, g, m, v, step: int, lr: float, betas: tuple[float, float], eps: float, decay: float)\n"
    "    -> tuple[Tensor, Tensor, Tensor]",
    inputs=_adam_inputs,
    solution=adamw_step,
    reference=_adam_reference,
    mistakes=[
        Mistake(
            "the bias correction is forgotten",
            _adam_variant(correct=lambda beta, step: 1.0),
            "m and v began at 0 and are too small in the first steps: divide by 1 - beta ** step.",
        ),
        Mistake(
            "only m is corrected",
            _adam_variant(correct_v=lambda beta, step: 1.0),
            "v began at 0 as well: divide it by 1 - betas[1] ** step.",
        ),
        Mistake(
            "only v is corrected",
            _adam_variant(correct=lambda beta, step: 1.0, correct_v=lambda beta, step: 1 - beta**step),
            "m began at 0 as well: divide it by 1 - betas[0] ** step.",
        ),
        Mistake(
            "the bias correction does not know the step",
            _adam_variant(correct=lambda beta, step: 1 - beta),
            "1 - beta is right at the first step only: divide by 1 - beta ** step.",
        ),
        Mistake(
            "the bias correction multiplies by the step",
            _adam_variant(correct=lambda beta, step: 1 - beta * step),
            "It is a power: 1 - beta ** step, which comes near 1 as the steps go on.",
        ),
        Mistake(
            "the bias correction is one step late",
            _adam_variant(correct=lambda beta, step: 1 - beta ** (step + 1)),
            "`step` is 1 for the first step already: 1 - beta ** step.",
        ),
        Mistake(
            "the bias correction is one step early",
            _adam_variant(correct=lambda beta, step: 1 - beta ** (step - 1)),
            "`step` is 1 for the first step, not 0, so nothing is divided by 0: 1 - beta ** step.",
        ),
        Mistake(
            "the bias correction multiplies",
            _adam_variant(correct=lambda beta, step: 1 / (1 - beta**step)),
            "m and v are too small at first. Divide by 1 - beta ** step, which makes them larger.",
        ),
        Mistake(
            "the corrected averages are given back",
            _adam_variant(given_back=lambda w, m, v, m_hat, v_hat: (w, m_hat, v_hat)),
            "The next step would correct them once more. Give back m and v as they were before the division.",
        ),
        Mistake(
            "only the weight is given back",
            _adam_variant(given_back=lambda w, m, v, m_hat, v_hat: w),
            "The next step needs m and v too: give back all three.",
        ),
        Mistake(
            "the old averages are given back",
            lambda w, g, m, v, *rest: (adamw_step(w, g, m, v, *rest)[0], m * 1.0, v * 1.0),
            "The next step needs the new m and v, or the running means never run.",
        ),
        Mistake(
            "the decay goes through the gradient",
            _adam_variant(gradient=lambda g, w, decay: g + decay * w, shrink=lambda lr, decay: 1.0),
            "That is Adam with an L2 penalty: weights with large gradients hardly decay. AdamW shrinks the "
            "weight itself.",
        ),
        Mistake(
            "there is no decay",
            _adam_variant(shrink=lambda lr, decay: 1.0),
            "That is Adam. The W is for weight decay: multiply w by 1 - lr * decay.",
        ),
        Mistake(
            "the decay does not know the learning rate",
            _adam_variant(shrink=lambda lr, decay: 1 - decay),
            "With a decay of 0.1 every step would take a tenth of each weight. It is 1 - lr * decay.",
        ),
        Mistake(
            "the decay makes the weights grow",
            _adam_variant(shrink=lambda lr, decay: 1 + lr * decay),
            "Decay shrinks: 1 **minus** lr * decay.",
        ),
        Mistake(
            "the decay comes after the step",
            _adam_variant(after=True),
            "You shrink the new weight, and the update with it. Only the old w is multiplied by 1 - lr * decay.",
        ),
        Mistake(
            "the square root is missing",
            _adam_variant(below=lambda v, eps: v + eps),
            "v is a mean of squares: its root has the unit of the gradient.",
        ),
        Mistake(
            "eps is under the root",
            _adam_variant(below=lambda v, eps: (v + eps).sqrt()),
            "The root of eps is much larger than eps. It is added after the root.",
        ),
        Mistake(
            "eps is left out",
            _adam_variant(below=lambda v, eps: v.sqrt()),
            "Where the gradient has always been 0 this is 0 / 0. Add eps to the root.",
        ),
        Mistake(
            "eps is added before the correction",
            _adam_eps_uncorrected,
            "The short form lr · √(1-β₂ᵗ) / (1-β₁ᵗ) · m / (√v + ε) uses another ε. Correct v first, then take the root "
            "and add eps.",
        ),
        Mistake(
            "v is corrected after the root",
            lambda w, g, m, v, step, lr, betas, eps, decay: _adam_variant(
                correct_v=lambda beta, step: 1.0, below=lambda v, eps: v.sqrt() / (1 - betas[1] ** step) + eps
            )(w, g, m, v, step, lr, betas, eps, decay),
            "Divide v by 1 - beta ** step first, then take the root: the root of the correction belongs to it.",
        ),
        Mistake(
            "the two betas are mixed up",
            _adam_swapped,
            "betas[0] belongs to the gradient, betas[1], the longer memory, to its square.",
        ),
        Mistake(
            "beta and 1 - beta are exchanged",
            _adam_variant(
                new_m=lambda m, g, beta: (1 - beta) * m + beta * g,
                new_v=lambda v, g, beta: (1 - beta) * v + beta * g**2,
            ),
            "beta weighs the old mean and 1 - beta what is new: with 0.9 a tenth is new at each step.",
        ),
        Mistake(
            "1 - beta is missing",
            _adam_variant(new_m=lambda m, g, beta: beta * m + g, new_v=lambda v, g, beta: beta * v + g**2),
            "Without it these are sums, ten times too large and more. A running mean weighs what is new with 1 - beta.",
        ),
        Mistake(
            "it goes uphill",
            _adam_variant(step_by=lambda lr, update: lr * update),
            "The gradient points to where the loss grows: subtract.",
        ),
        Mistake(
            "the learning rate is left out of the step",
            _adam_variant(step_by=lambda lr, update: -update),
            "The fraction is about 1 for every weight. The learning rate says how far to go: lr times it.",
        ),
        Mistake(
            "the gradient is not squared for v",
            _adam_variant(new_v=lambda v, g, beta: beta * v + (1 - beta) * g),
            "v is the running mean of the squares, g ** 2.",
        ),
        Mistake(
            "v takes the absolute gradient",
            _adam_variant(new_v=lambda v, g, beta: beta * v + (1 - beta) * g.abs()),
            "v is the running mean of the squares, g ** 2.",
        ),
        Mistake(
            "the step uses the gradient, not its mean",
            _adam_without_momentum,
            "The numerator is the corrected running mean of the gradient, m / (1 - beta ** step).",
        ),
        Mistake(
            "the tensors that were given are changed",
            _adam_in_place,
            "The values are right. An optimizer works in place to save memory; here the given m and v stay as they "
            "are.",
        ),
    ],
    hints=[
        "Five lines: m, v, the two corrected ones, w. Take them from the text one by one.",
        "`m / (1 - betas[0] ** step)`: at the first step this is the gradient itself, if m was 0.",
        "`w * (1 - lr * decay) - lr * m_hat / (v_hat.sqrt() + eps)`; give back m and v uncorrected.",
    ],
)

# ---- training.8 ------------------------------------------------------------------------------------------------------


def excess(story_nats: list[float], floor_nats: list[float], tokens: list[int]) -> float:
    return (sum(story_nats) - sum(floor_nats)) / sum(tokens)


def _excess_inputs(rng):
    yield from [([30.0], [30.0], [90]), ([30.0], [27.0], [60]), ([20.0], [22.0], [10])]
    yield [30.0, 50.0], [28.0, 40.0], [20, 100]
    yield [26.0, 33.0], [27.0, 29.0], [80, 85]  # a lucky story may be below its floor
    for length in range(2, 8):
        floors = [rng.uniform(15, 35) for _ in range(length)]
        yield [f + rng.uniform(-2, 9) for f in floors], floors, [rng.randrange(30, 120) for _ in floors]


def _over(combine):
    return lambda nats, floors, tokens: combine(list(zip(nats, floors, tokens, strict=True)))


_EXCESS = Exercise(
    id="training.8",
    title="How far above the floor?",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="Of a fable we know the exact surprise, its entropy floor: no model can do better on average, though a "
    "lucky one may on a single story. How many nats per token is the model above the floor, over all tokens of all "
    "stories?"
    "\n\nInput: `story_nats`, a `list` of `float`, the model's total loss on each story; `floor_nats`, a `list` of "
    "`float`, the total floor of each story; `tokens`, a `list` of `int`, their lengths. Result: a `float`, in nats "
    "per token; negative if the model is below the floor.",
    signature="def excess(story_nats: list[float], floor_nats: list[float], tokens: list[int]) -> float",
    inputs=_excess_inputs,
    solution=excess,
    mistakes=[
        Mistake(
            "the floor is forgotten",
            _over(lambda rows: sum(n for n, _, _ in rows) / sum(t for *_, t in rows)),
            "This is the loss per token. Subtract the floor: what is left is what can still be learned.",
        ),
        Mistake(
            "it is in nats per story",
            _over(lambda rows: sum(n - f for n, f, _ in rows) / len(rows)),
            "Divide by the number of tokens, not of stories.",
        ),
        Mistake(
            "it is not divided at all",
            _over(lambda rows: sum(n - f for n, f, _ in rows)),
            "This is the excess of all stories together. Divide by all their tokens.",
        ),
        Mistake(
            "short stories weigh as much as long ones",
            _over(lambda rows: sum((n - f) / t for n, f, t in rows) / len(rows)),
            "This is a mean of means. Every token weighs the same if all nats are added first.",
        ),
        Mistake(
            "the stories' means are added",
            _over(lambda rows: sum((n - f) / t for n, f, t in rows)),
            "Add all nats, then divide once by all tokens.",
        ),
        Mistake(
            "there is one excess for each story",
            _over(lambda rows: [(n - f) / t for n, f, t in rows]),
            "One number is asked for: all nats above the floor, divided by all tokens.",
        ),
        Mistake(
            "it is a ratio",
            _over(lambda rows: sum(n for n, _, _ in rows) / sum(f for _, f, _ in rows)),
            "Surprises are subtracted, not divided: a difference of logarithms is already a ratio.",
        ),
        Mistake(
            "it is a relative excess",
            _over(lambda rows: sum(n - f for n, f, _ in rows) / sum(f for _, f, _ in rows)),
            "Divide by the number of tokens, not by the floor: the result is in nats per token.",
        ),
        Mistake(
            "the floor is taken to be per token",
            _over(lambda rows: sum(n for n, _, _ in rows) / sum(t for *_, t in rows) - sum(f for _, f, _ in rows)),
            "`floor_nats` are totals of whole stories, like `story_nats`. Subtract them before you divide.",
        ),
        Mistake(
            "the floor is the mean of the stories' floors",
            _over(
                lambda rows: (
                    sum(n for n, _, _ in rows) / sum(t for *_, t in rows) - sum(f for _, f, _ in rows) / len(rows)
                )
            ),
            "That floor is in nats per story. Subtract totals from totals, then divide by all tokens.",
        ),
        Mistake(
            "the sign is wrong",
            _over(lambda rows: sum(f - n for n, f, _ in rows) / sum(t for *_, t in rows)),
            "The model's loss comes first: it is above the floor, so the excess is positive.",
        ),
        Mistake(
            "differences lose their sign",
            _over(lambda rows: sum(abs(n - f) for n, f, _ in rows) / sum(t for *_, t in rows)),
            "A story below its floor must count as such: without `abs` luck cancels out on average.",
        ),
        Mistake(
            "the result loses its sign",
            _over(lambda rows: abs(sum(n - f for n, f, _ in rows)) / sum(t for *_, t in rows)),
            "An excess below 0 is possible on a few stories, and says that the model was lucky. Leave out `abs`.",
        ),
        Mistake(
            "stories below the floor are cut off",
            _over(lambda rows: sum(max(0.0, n - f) for n, f, _ in rows) / sum(t for *_, t in rows)),
            "The floor holds on average. One story may be below it, and must count as such.",
        ),
        Mistake(
            "the result is cut off at 0",
            _over(lambda rows: max(0.0, sum(n - f for n, f, _ in rows) / sum(t for *_, t in rows))),
            "On a few stories the model may be below the floor by luck. Hide that, and the mean of many such results "
            "is too high.",
        ),
    ],
    hints=[
        "How many nats above the floor are all stories together?",
        "And how many tokens have they together?",
        "`(sum(story_nats) - sum(floor_nats)) / sum(tokens)`",
    ],
)

EXERCISES = [_LOSS, _SHIFT, _PADDING, _RATE, _CLIP, _PERPLEXITY, _ADAMW, _EXCESS]

PREDICTIONS = [
    Prediction(
        id="training.a",
        question="A freshly initialised model knows nothing, and V is 65. What is its loss, in nats per token, before "
        "the first step?",
        kind="number",
        answer=round(math.log(65), 2),
        tolerance=0.05,
        explanation="It gives every token about the same probability, 1/V, and -ln(1/V) is ln V.",
    ),
    Prediction(
        id="training.b",
        question="A model is trained on new fables for a very long time. Where does its loss on unseen fables go?",
        kind="choice",
        choices=("to 0", "to the entropy of the fables", "it falls without end"),
        answer="b",
        explanation="Some choices in a fable are random, and no model can know them beforehand.",
    ),
    Prediction(
        id="training.c",
        question="Someone forgot to shift the targets: each position is asked for the token that it sees. What does "
        "the loss do?",
        kind="choice",
        choices=("it stays at ln V", "it falls to almost 0", "it falls to the entropy of the text"),
        answer="b",
        explanation="Copying is easy. A loss below the entropy floor is never a success, always a leak.",
    ),
]

QUESTIONS = [
    Question(
        about="masking",
        question="Which positions may position t attend to in a language model?",
        choices=("all", "those before it, and itself", "those after it"),
        answer="b",
        explanation="A causal mask hides the future, because the future is what the model predicts.",
    ),
    Question(
        about="embedding",
        question="What is an embedding?",
        choices=("a row of a table, looked up by id", "a compressed text", "the softmax of an id"),
        answer="a",
        explanation="Each id has a row of C numbers, and training changes them.",
    ),
    Question(
        about="batches",
        question="ids has the shape [B, T]. What are the two letters?",
        choices=("bytes and tokens", "sequences in the batch, and positions in time", "blocks and targets"),
        answer="b",
        explanation="B sequences side by side, each T tokens long.",
    ),
]
