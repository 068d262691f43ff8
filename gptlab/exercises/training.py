"""Exercises on training: loss, targets, schedule, clipping, optimiser, and the distance to the floor."""

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
    logits = logits.float()
    highest = logits.max(dim=-1, keepdim=True).values  # [B, T, 1]
    log_sum = (logits - highest).exp().sum(dim=-1, keepdim=True).log() + highest  # [B, T, 1]
    logp = logits - log_sum  # [B, T, V]
    right = logp.gather(-1, targets[..., None]).squeeze(-1)  # [B, T]
    return -right.mean()


def _logit_inputs(rng):
    yield torch.tensor([[[0.0, 1.0, 2.0]]]), torch.tensor([[1]])
    yield torch.tensor([[[0.5, 0.0], [2.0, 0.0], [0.0, 3.0]]]), torch.tensor([[0, 1, 1]])
    for B, T, V in ((2, 3, 4), (3, 2, 5), (2, 4, 7), (4, 3, 6)):
        yield _normal(rng, B, T, V, scale=2.0), _integers(rng, V, B, T)
    yield torch.tensor([[[900.0, 901.0, 0.0], [0.0, 1000.0, 2.0]]]), torch.tensor([[0, 2]])
    yield _normal(rng, 2, 3, 5, scale=400.0), _integers(rng, 5, 2, 3)


def _pick(logp, targets):
    return logp.gather(-1, targets[..., None]).squeeze(-1)


def _overflowing(logits, targets):
    return -_pick((logits.exp() / logits.exp().sum(-1, keepdim=True)).log(), targets).mean()


_LOSS = Exercise(
    id="training.1",
    title="The loss, from logits",
    minutes=15,
    difficulty=2,
    prompt="How surprised is the model, on average, by the token that really comes? Softmax over the vocabulary, the "
    "logarithm of the right token's probability, minus, mean over all positions. It must also hold for logits "
    "of 1,000, "
    "where `exp` overflows.\n\nShapes: `logits` is a float tensor [B, T, V], `targets` an integer tensor [B, "
    "T]. Result: a "
    "tensor with one number, in nats a token. (Without `F.cross_entropy`.)",
    signature='def cross_entropy(logits: Float[Tensor, "B T V"], targets: Int[Tensor, "B T"]) -> Float[Tensor, ""]',
    inputs=_logit_inputs,
    solution=cross_entropy,
    reference=lambda logits, targets: F.cross_entropy(logits.transpose(1, 2), targets),
    mistakes=[
        Mistake(
            "exp overflows",
            _overflowing,
            "exp(1000) is infinite, and infinite / infinite is no number. Subtract the highest logit first: "
            "softmax does not "
            "change, and no exponent is above 0.",
        ),
        Mistake(
            "the softmax runs over time",
            lambda logits, targets: -_pick(logits.log_softmax(1), targets).mean(),
            "The probabilities of all V tokens at one position must sum to 1: softmax over the last dimension.",
        ),
        Mistake(
            "the logarithm is missing",
            lambda logits, targets: -_pick(logits.softmax(-1), targets).mean(),
            "This is minus the mean probability. Surprise is minus its logarithm.",
        ),
        Mistake(
            "it is a sum, not a mean",
            lambda logits, targets: -_pick(logits.log_softmax(-1), targets).sum(),
            "The loss would grow with the batch. Take the mean over all B·T positions.",
        ),
        Mistake(
            "the sign is missing",
            lambda logits, targets: _pick(logits.log_softmax(-1), targets).mean(),
            "A log-probability is at most 0. The loss is its negative, and is made small.",
        ),
        Mistake(
            "softmax is applied twice",
            lambda logits, targets: -_pick(logits.softmax(-1).log_softmax(-1), targets).mean(),
            "`log_softmax` (and `F.cross_entropy`) want logits. Given probabilities, they flatten them a second time.",
        ),
        Mistake(
            "the mean runs over the vocabulary",
            lambda logits, targets: -logits.log_softmax(-1).mean(),
            "Only the token that comes counts: pick its log-probability with `gather`, then take the mean.",
        ),
    ],
    hints=[
        "log softmax is: logit minus the logarithm of the sum of all exp(logit), over the last dimension.",
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
    for B, T in ((2, 3), (3, 5), (2, 6), (4, 2)):
        yield (_integers(rng, 50, B, T + 1),)


_SHIFT = Exercise(
    id="training.2",
    title="What comes next?",
    minutes=5,
    difficulty=1,
    prompt="At each position the model shall name the token that comes after it. Cut a batch of sequences into "
    "inputs and "
    "targets.\n\nShapes: `ids` is an integer tensor [B, T + 1]. Result: two tensors [B, T]; `targets[b, t]` is "
    "the token "
    "after `inputs[b, t]`.",
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
            "it looks back in time",
            lambda ids: (ids[:, 1:], ids[:, :-1]),
            "The target would be the token before. Inputs begin at 0, targets at 1.",
        ),
        Mistake(
            "the sequence bites its tail",
            lambda ids: (ids, ids.roll(-1, 1)),
            "`roll` puts the first token behind the last. The last token has no target: it is no input.",
        ),
        Mistake(
            "the shift runs over the batch",
            lambda ids: (ids[:-1], ids[1:]),
            "The first dimension is the batch. Time is the second: `ids[:, 1:]`.",
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
    for B, T in ((2, 3), (3, 4), (2, 5), (4, 3)):
        targets = _integers(rng, 9, B, T)
        targets[0, 0] = 0
        for b in range(1, B):
            targets[b, rng.randrange(1, T) :] = -100
        yield _normal(rng, B, T).abs() + 0.1, targets


_PADDING = Exercise(
    id="training.3",
    title="Padding does not count",
    minutes=10,
    difficulty=2,
    prompt="Sequences of different lengths are filled up, and the targets there are -100. Take the mean of the "
    "losses over "
    "the targets that count; each token weighs the same, whatever sequence it is in.\n\nShapes: `losses` is a "
    "float tensor "
    "[B, T], `targets` an integer tensor [B, T]. Result: a tensor with one number.",
    signature='def mean_of_counted(losses: Float[Tensor, "B T"], targets: Int[Tensor, "B T"]) -> Float[Tensor, ""]',
    inputs=_padded_inputs,
    solution=mean_of_counted,
    mistakes=[
        Mistake(
            "padding counts",
            lambda losses, targets: losses.mean(),
            "What the model says after the end of a sequence is nobody's business: leave targets of -100 out.",
        ),
        Mistake(
            "the sum is divided by all positions",
            lambda losses, targets: losses[targets != -100].sum() / losses.numel(),
            "The sum leaves padding out, so must the number: divide by how many targets count.",
        ),
        Mistake(
            "it is a mean of the sequences' means",
            lambda losses, targets: torch.stack(
                [row[kept != -100].mean() for row, kept in zip(losses, targets, strict=True)]
            ).mean(),
            "A token of a short sequence would weigh more than one of a long sequence. Take one mean over all tokens.",
        ),
        Mistake(
            "token 0 is taken for padding",
            lambda losses, targets: losses[targets > 0].mean(),
            "0 is the id of a real token. Only -100 is left out.",
        ),
        Mistake(
            "it is a sum",
            lambda losses, targets: losses[targets != -100].sum(),
            "Divide by how many targets count.",
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
    yield from [(0, 10, 4, 1.0, 0.1), (3, 10, 4, 1.0, 0.1), (4, 10, 4, 1.0, 0.1), (7, 10, 4, 1.0, 0.1)]
    yield from [(9, 10, 4, 1.0, 0.1), (5, 10, 4, 1.0, 0.1), (1, 10, 4, 1.0, 0.1)]
    for _ in range(8):
        steps, warmup = rng.randrange(60, 200), rng.randrange(5, 30)
        yield rng.randrange(steps), steps, warmup, rng.uniform(0.001, 0.01), rng.uniform(0.0001, 0.0005)


def _rate_variant(up=lambda step, warmup: (step + 1) / warmup, begin=lambda warmup: warmup, shape="cosine", floor=True):
    def wrong(step, steps, warmup, highest, lowest):
        if step < warmup:
            return float(highest * up(step, warmup))
        done = (step - begin(warmup)) / (steps - begin(warmup))
        fall = 1 - done if shape == "linear" else 0.5 * (1 + math.cos(math.pi * done))
        return float(lowest + (highest - lowest) * fall if floor else highest * fall)

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
    title="Warm up, then cool down",
    minutes=10,
    difficulty=2,
    prompt=r"The learning rate rises in a straight line over the first `warmup` steps: the first step (number "
    r"0) already has "
    r"1/`warmup` of the highest rate, and the last of them the highest. Then it falls along half a cosine, "
    r"$\frac{1}{2}(1 + \cos \pi x)$ with $x$ from 0 at step `warmup` to 1 at step `steps`, from `highest` to `lowest`."
    "\n\nInput: `step`, `steps`, `warmup` of type `int`, `highest`, `lowest` of type `float`. Result: a `float`.",
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
            "the fall is counted from the beginning",
            _rate_variant(begin=lambda warmup: 0),
            "After the warm-up x must begin at 0, or the rate jumps: x = (step - warmup) / (steps - warmup).",
        ),
        Mistake(
            "it falls to 0",
            _rate_variant(floor=False),
            "The end is `lowest`: let the cosine run between the two, lowest + (highest - lowest) * fall.",
        ),
        Mistake(
            "it falls in a straight line",
            _rate_variant(shape="linear"),
            "That is a good schedule too. This one follows the cosine: slow, fast, slow.",
        ),
        Mistake(
            "there is no warm-up",
            lambda step, steps, warmup, highest, lowest: (
                lowest + (highest - lowest) * 0.5 * (1 + math.cos(math.pi * max(0, step - warmup) / (steps - warmup)))
            ),
            "In the first `warmup` steps the rate grows, because the first gradients are large and tell little.",
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
    factor = min(1.0, longest / length) if length > 0 else 1.0
    return [g * factor for g in gradients]


def _gradient_inputs(rng):
    yield [torch.tensor([3.0, 4.0])], 1.0
    yield [torch.tensor([0.3, 0.4])], 1.0
    yield [torch.tensor([3.0]), torch.tensor([4.0])], 2.0
    yield [torch.tensor([0.0, 0.0])], 1.0
    for scale in (0.02, 1.0, 5.0, 0.1, 3.0, 2.0):
        yield [_normal(rng, 2, 3, scale=scale), _normal(rng, 4, scale=scale)], rng.choice([0.5, 1.0])


def _by_factor(factor):
    return lambda gradients, longest: [g * factor(gradients, longest) for g in gradients]


def _whole(gradients):
    return math.sqrt(sum(float((g**2).sum()) for g in gradients))


def _clip_in_place(gradients, longest):
    factor = min(1.0, longest / max(_whole(gradients), 1e-12))
    for g in gradients:
        g.mul_(factor)
    return gradients


_CLIP = Exercise(
    id="training.5",
    title="A gradient that is too long",
    minutes=10,
    difficulty=2,
    prompt="All gradients of a model together are one long vector. If it is longer than `longest`, shorten it "
    "to that length "
    "and keep its direction; otherwise leave it as it is. Give new tensors.\n\nShapes: `gradients` is a `list` "
    "of float "
    "tensors of any shapes, `longest` a `float`. Result: a `list` of tensors of the same shapes.",
    signature="def clip(gradients: list[Tensor], longest: float) -> list[Tensor]",
    inputs=_gradient_inputs,
    solution=clip,
    mistakes=[
        Mistake(
            "each tensor is shortened by itself",
            lambda gradients, longest: [g * min(1.0, longest / max(_whole([g]), 1e-12)) for g in gradients],
            "The tensors would change their proportions, and the direction of the step with them. One length for all.",
        ),
        Mistake(
            "each number is cut off",
            lambda gradients, longest: [g.clamp(-longest, longest) for g in gradients],
            "`clamp` bends the direction. Multiply everything by one factor instead.",
        ),
        Mistake(
            "short gradients are made longer",
            _by_factor(lambda gradients, longest: longest / max(_whole(gradients), 1e-12)),
            "Only a gradient that is too long is changed: the factor is at most 1.",
        ),
        Mistake(
            "the square root is missing",
            _by_factor(lambda gradients, longest: min(1.0, longest / max(_whole(gradients) ** 2, 1e-12))),
            "The length of a vector is the root of the sum of its squares.",
        ),
        Mistake(
            "the lengths of the tensors are added",
            _by_factor(lambda gradients, longest: min(1.0, longest / max(sum(_whole([g]) for g in gradients), 1e-12))),
            "Lengths do not add up, squares do (Pythagoras): add the squares of all, then take the root.",
        ),
        Mistake(
            "long gradients stay long",
            lambda gradients, longest: [g * 1.0 for g in gradients],
            "A gradient longer than `longest` must become shorter: multiply everything by longest / length.",
        ),
        Mistake(
            "the tensors that were given are changed",
            _clip_in_place,
            "The values are right. PyTorch's own function works in place too; here new tensors are asked for.",
        ),
    ],
    hints=[
        "First the length of everything: the root of the sum of all squares, over all tensors.",
        "By which factor must it be shortened? And when must it not be?",
        "`factor = min(1, longest / length)`, and every tensor times that factor. A length of 0 needs care.",
    ],
)

# ---- training.6 ------------------------------------------------------------------------------------------------------


def perplexity(losses: list[float], counts: list[int]) -> float:
    total = sum(loss * count for loss, count in zip(losses, counts, strict=True))
    return math.exp(total / sum(counts))


def _perplexity_inputs(rng):
    yield from [([0.0], [3]), ([1.0], [5]), ([1.0, 3.0], [1, 3]), ([2.0, 0.5, 1.0], [10, 1, 4])]
    for length in range(2, 8):
        yield [rng.uniform(0.5, 4.0) for _ in range(length)], [rng.randrange(1, 40) for _ in range(length)]


def _mean(losses, counts):
    return sum(loss * count for loss, count in zip(losses, counts, strict=True)) / sum(counts)


_PERPLEXITY = Exercise(
    id="training.6",
    title="Perplexity",
    minutes=5,
    difficulty=1,
    prompt="A model with perplexity 8 is as uncertain as somebody who has to choose between 8 equally likely "
    "tokens. It is "
    "e to the mean loss a token. The losses come batch by batch, and batches have different numbers of tokens.\n\n"
    "Input: `losses`, a `list` of `float`, the mean loss of each batch in nats a token; `counts`, a `list` of "
    "`int`, its "
    "tokens. Result: a `float`.",
    signature="def perplexity(losses: list[float], counts: list[int]) -> float",
    inputs=_perplexity_inputs,
    solution=perplexity,
    mistakes=[
        Mistake(
            "all batches weigh the same",
            lambda losses, counts: math.exp(sum(losses) / len(losses)),
            "A batch of 40 tokens says more than one of 3: weigh each loss with its tokens.",
        ),
        Mistake(
            "it is the mean of the batches' perplexities",
            lambda losses, counts: sum(math.exp(x) * n for x, n in zip(losses, counts, strict=True)) / sum(counts),
            "First the mean of the losses, then the exponential: the mean of exponentials is larger.",
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
            "it is not divided by the tokens",
            lambda losses, counts: math.exp(_mean(losses, counts) * sum(counts)),
            "Divide the total loss by the number of all tokens before the exponential.",
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
    m_fair = m / (1 - betas[0] ** step)  # both began at 0: without this they are too small at first
    v_fair = v / (1 - betas[1] ** step)
    w = w * (1 - lr * decay) - lr * m_fair / (v_fair.sqrt() + eps)
    return w, m, v


def _adam_inputs(rng):
    one = torch.tensor
    yield one([1.0]), one([0.5]), one([0.0]), one([0.0]), 1, 0.1, (0.9, 0.95), 1e-8, 0.0
    yield one([1.0]), one([0.5]), one([0.0]), one([0.0]), 1, 0.1, (0.9, 0.95), 1e-8, 0.1
    yield one([2.0]), one([1e-3]), one([0.0]), one([0.0]), 1, 0.1, (0.9, 0.99), 1e-2, 0.0
    for step in (1, 2, 3, 7):
        w, g, m = (_normal(rng, 3) for _ in range(3))
        v = _normal(rng, 3).abs() + 0.05
        yield w, g, m * 0.3, v, step, 0.05, (0.9, 0.95), 1e-3, rng.choice([0.1, 0.2])


def _adam_variant(fair=True, decoupled=True, squared_root=True, inside=False, swapped=False, add=False, power=2):
    def wrong(w, g, m, v, step, lr, betas, eps, decay):
        first, second = betas[::-1] if swapped else betas
        if not decoupled:
            g = g + decay * w
        m = first * m + (1 - first) * g
        v = second * v + (1 - second) * g.abs() ** power
        mf, vf = (m / (1 - first**step), v / (1 - second**step)) if fair else (m, v)
        below = vf + eps if not squared_root else (vf + eps).sqrt() if inside else vf.sqrt() + eps
        update = lr * mf / below
        w = w * (1 - lr * decay) if decoupled else w
        return (w + update if add else w - update), m, v

    return wrong


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
    minutes=25,
    difficulty=3,
    prompt=r"Keep a running mean of the gradient, $m \leftarrow \beta_1 m + (1-\beta_1) g$, and of its square, "
    r"$v \leftarrow \beta_2 v + (1-\beta_2) g^2$. Both began at 0, so divide by $1-\beta_1^{t}$ and $1-\beta_2^{t}$ "
    r"($t$ = `step`, 1 for the first) to get $\hat m$ and $\hat v$. Then "
    r"$w \leftarrow w\,(1 - \text{lr} \cdot \text{decay}) - \text{lr} \; \hat m / (\sqrt{\hat v} + \epsilon)$."
    "\n\nShapes: `w`, `g`, `m`, `v` are float tensors of the same shape; `betas` is a `tuple` of two `float`. "
    "Result: the new "
    "(w, m, v), with m and v before the division.",
    signature="def adamw_step(w, g, m, v, step: int, lr: float, betas: tuple[float, float], eps: float, decay: float)\n"
    "    -> tuple[Tensor, Tensor, Tensor]",
    inputs=_adam_inputs,
    solution=adamw_step,
    reference=_adam_reference,
    mistakes=[
        Mistake(
            "the bias correction is forgotten",
            _adam_variant(fair=False),
            "m and v began at 0 and are too small in the first steps: divide by 1 - beta ** step.",
        ),
        Mistake(
            "the decay goes through the gradient",
            _adam_variant(decoupled=False),
            "That is Adam with an L2 penalty: weights with large gradients hardly decay. AdamW shrinks the "
            "weight itself.",
        ),
        Mistake(
            "the square root is missing",
            _adam_variant(squared_root=False),
            "v is a mean of squares: its root has the unit of the gradient.",
        ),
        Mistake(
            "eps is under the root",
            _adam_variant(inside=True),
            "The root of eps is much larger than eps. It is added after the root.",
        ),
        Mistake(
            "the two betas are mixed up",
            _adam_variant(swapped=True),
            "betas[0] belongs to the gradient, betas[1], the longer memory, to its square.",
        ),
        Mistake(
            "it goes uphill",
            _adam_variant(add=True),
            "The gradient points to where the loss grows: subtract.",
        ),
        Mistake(
            "the gradient is not squared for v",
            _adam_variant(power=1),
            "v is the running mean of the squares, g ** 2.",
        ),
    ],
    hints=[
        "Five lines: m, v, the two corrected ones, w. Take them from the text one by one.",
        "`m / (1 - betas[0] ** step)`: at the first step this is the gradient itself, if m was 0.",
        "`w * (1 - lr * decay) - lr * m_fair / (v_fair.sqrt() + eps)`; give back m and v uncorrected.",
    ],
)

# ---- training.8 ------------------------------------------------------------------------------------------------------


def excess(story_nats: list[float], floor_nats: list[float], tokens: list[int]) -> float:
    return (sum(story_nats) - sum(floor_nats)) / sum(tokens)


def _excess_inputs(rng):
    yield from [([30.0], [30.0], [90]), ([30.0], [27.0], [60]), ([30.0, 50.0], [28.0, 40.0], [20, 100])]
    yield [26.0, 31.0], [27.0, 29.0], [80, 85]  # a lucky story may be below its floor
    for length in range(2, 8):
        floors = [rng.uniform(15, 35) for _ in range(length)]
        yield [f + rng.uniform(-2, 9) for f in floors], floors, [rng.randrange(30, 120) for _ in floors]


def _over(combine):
    return lambda nats, floors, tokens: combine(list(zip(nats, floors, tokens, strict=True)))


_EXCESS = Exercise(
    id="training.8",
    title="How far above the floor?",
    minutes=5,
    difficulty=1,
    prompt="A fable carries its exact surprise: no model can do better on average. How many nats a token is the "
    "model above "
    "that, over all tokens of all stories?\n\nInput: `story_nats`, a `list` of `float`, the model's total loss on each "
    "story; `floor_nats`, a `list` of `float`, the story's own surprise; `tokens`, a `list` of `int`. Result: a "
    "`float`, in "
    "nats a token.",
    signature="def excess(story_nats: list[float], floor_nats: list[float], tokens: list[int]) -> float",
    inputs=_excess_inputs,
    solution=excess,
    mistakes=[
        Mistake(
            "the floor is forgotten",
            _over(lambda rows: sum(n for n, _, _ in rows) / sum(t for *_, t in rows)),
            "This is the loss a token. Subtract the floor: what is left is what can still be learned.",
        ),
        Mistake(
            "it is in nats a story",
            _over(lambda rows: sum(n - f for n, f, _ in rows) / len(rows)),
            "Divide by the number of tokens, not of stories.",
        ),
        Mistake(
            "short stories weigh as much as long ones",
            _over(lambda rows: sum((n - f) / t for n, f, t in rows) / len(rows)),
            "This is a mean of means. Every token weighs the same if all nats are added first.",
        ),
        Mistake(
            "it is a ratio",
            _over(lambda rows: sum(n for n, _, _ in rows) / sum(f for _, f, _ in rows)),
            "Surprises are subtracted, not divided: a difference of logarithms is already a ratio.",
        ),
        Mistake(
            "stories below the floor are cut off",
            _over(lambda rows: sum(max(0.0, n - f) for n, f, _ in rows) / sum(t for *_, t in rows)),
            "The floor holds on average. One story may be below it, and must count as such.",
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
        question="A fresh model knows nothing, and V is 65. What is its loss, in nats a token, before the first step?",
        kind="number",
        answer=round(math.log(65), 2),
        tolerance=0.05,
        explanation="It gives every token about the same probability, 1/V, and -ln(1/V) is ln V.",
    ),
    Prediction(
        id="training.b",
        question="A model is trained on fables for very long. Where does its loss on new fables go?",
        kind="choice",
        choices=("to 0", "to the entropy of the fables", "it falls without end"),
        answer="b",
        explanation="Some choices in a fable are drawn by lot, and no model can know them beforehand.",
    ),
    Prediction(
        id="training.c",
        question="The targets were not shifted: each position shall name the token that it sees. What does the "
        "loss do?",
        kind="choice",
        choices=("it stays at ln V", "it falls to almost 0", "it falls to the entropy of the text"),
        answer="b",
        explanation="Copying is easy. A loss below the floor is no success but a leak.",
    ),
]

QUESTIONS = [
    Question(
        about="masking",
        question="Which positions may position t attend to in a language model?",
        choices=("all", "those before it, and itself", "those after it"),
        answer="b",
        explanation="A causal mask hides the future: it is what the model shall predict.",
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
