"""Exercises on GPU training: work, clocks, ceilings, memory, parts of a batch, and laws of scale."""

import math
import random
import statistics

import torch
from torch import Tensor

from gptlab import cluster, gpu
from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question
from gptlab.model import GPTConfig


def _normal(rng: random.Random, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(rng.randrange(2**31)))


# ---- gpu.1 -----------------------------------------------------------------------------------------------------------


def days(parameters: float, tokens: float, gpus: int, peak: float, mfu: float) -> float:
    return 6 * parameters * tokens / (gpus * peak * mfu) / 3600 / 24


def _day_inputs(rng):
    yield from [(1e6, 1e9, 1, 1e12, 0.5), (124e6, 300e9, 8, 312e12, 0.35), (1e9, 20e9, 4, 989e12, 0.4)]
    for _ in range(5):
        size = rng.uniform(1, 70) * 1e9
        yield size, 20 * size, rng.choice((64, 256, 1024)), rng.choice((125e12, 312e12, 989e12)), rng.uniform(0.3, 0.6)


_DAYS = Exercise(
    id="gpu.1",
    title="How many days?",
    minutes=5,
    difficulty=1,
    prompt="Before you pay for a run: how many days will it take? A step makes about six operations for each number of "
    "the model and each token. Each of the `gpus` could do `peak` of them a second, and the run reaches the part `mfu` "
    "of that (a number between 0 and 1).\n\nInput: `parameters`, `tokens`, `peak`, `mfu`, each a `float`, and `gpus`, "
    "an `int`. Result: a `float`, in days.",
    signature="def days(parameters: float, tokens: float, gpus: int, peak: float, mfu: float) -> float",
    inputs=_day_inputs,
    solution=days,
    mistakes=[
        Mistake(
            "only the way forward is counted",
            lambda N, D, gpus, peak, mfu: days(N, D, gpus, peak, mfu) / 3,
            "2 N D is the way forward. The way back costs twice as much again: 6 N D.",
        ),
        Mistake(
            "the cards reach their full peak",
            lambda N, D, gpus, peak, mfu: days(N, D, gpus, peak, 1.0),
            "Nobody reaches the peak. Multiply it by the part that the run reaches.",
        ),
        Mistake(
            "the utilisation stands on the wrong side",
            lambda N, D, gpus, peak, mfu: days(N, D, gpus, peak, 1 / mfu),
            "A run that uses less of the machine takes longer. Divide by mfu.",
        ),
        Mistake(
            "one card does it all",
            lambda N, D, gpus, peak, mfu: days(N, D, 1, peak, mfu),
            "The cards share the work: divide by their number.",
        ),
        Mistake(
            "these are hours",
            lambda N, D, gpus, peak, mfu: days(N, D, gpus, peak, mfu) * 24,
            "A day has 24 hours of 3,600 seconds.",
        ),
        Mistake(
            "these are seconds",
            lambda N, D, gpus, peak, mfu: days(N, D, gpus, peak, mfu) * 24 * 3600,
            "Work divided by rate is in seconds. A day has 24 · 3,600 of them.",
        ),
    ],
    hints=[
        "Work divided by rate is time.",
        "The work is 6 · parameters · tokens; the rate of all cards together is gpus · peak · mfu.",
        "Divide by 3,600 and by 24.",
    ],
    package="gptlab.cluster.plan",
)

# ---- gpu.2 -----------------------------------------------------------------------------------------------------------


class SlowDevice:
    """A device that works asynchronously, with a clock of its own; its jobs take the seconds in `jobs`, in turn."""

    def __init__(self, jobs: list[float], pending: float = 0.0):
        self.jobs, self.pending, self.now, self.free, self.started = jobs, pending, 0.0, pending, 0

    def start(self) -> None:
        """Order the work; comes back at once."""
        self.now += 0.001
        self.free = max(self.free, self.now) + self.jobs[self.started % len(self.jobs)]
        self.started += 1

    def wait(self) -> None:
        """Come back when everything that was ordered is done."""
        self.now = max(self.now, self.free)

    def clock(self) -> float:
        """Seconds, now."""
        return self.now

    def __eq__(self, other: object) -> bool:
        """Made alike: what has run on them since is no matter, for to run is what they are here for."""
        return isinstance(other, SlowDevice) and (self.jobs, self.pending) == (other.jobs, other.pending)

    def __repr__(self) -> str:
        return f"SlowDevice(jobs={self.jobs}, pending={self.pending})"


def seconds_of(device: SlowDevice, repeats: int, warmup: int) -> float:
    times = []
    for run in range(warmup + repeats):
        device.wait()
        began = device.clock()
        device.start()
        device.wait()
        if run >= warmup:
            times.append(device.clock() - began)
    return statistics.median(times)


def _device_inputs(rng):
    yield SlowDevice([0.5]), 1, 0
    yield SlowDevice([0.5], pending=2.0), 1, 0
    yield SlowDevice([3.0, 0.5, 0.6]), 2, 1
    yield SlowDevice([0.2, 0.3, 4.0, 0.25, 0.35]), 5, 0
    for _ in range(4):
        repeats, warmup = rng.choice((3, 5)), rng.choice((1, 2))
        jobs = [rng.uniform(2, 4) for _ in range(warmup)] + [rng.uniform(0.2, 0.4) for _ in range(repeats - 1)]
        yield SlowDevice([round(job, 2) for job in [*jobs, 1.7]], round(rng.uniform(0.5, 2), 2)), repeats, warmup


def _timed(before=True, after=True, drop=True, choose=statistics.median):
    def wrong(device, repeats, warmup):
        times = []
        for run in range(warmup + repeats):
            if before:
                device.wait()
            began = device.clock()
            device.start()
            if after:
                device.wait()
            if run >= warmup or not drop:
                times.append(device.clock() - began)
        return choose(times)

    return wrong


def _warmup_still_runs(device, repeats, warmup):
    for _ in range(warmup):
        device.start()
    return _timed(before=False)(device, repeats, 0)


def _timed_together(device, repeats, warmup):
    for _ in range(warmup):
        device.start()
    device.wait()
    began = device.clock()
    for _ in range(repeats):
        device.start()
    device.wait()
    return (device.clock() - began) / repeats


_CLOCK = Exercise(
    id="gpu.2",
    title="Read the clock at the right time",
    minutes=15,
    difficulty=2,
    prompt="`device.start()` orders some work and returns at once; `device.wait()` returns when all that was "
    "ordered is "
    "done; `device.clock()` is the time. Something that others have ordered may still be running when you come. Do the "
    "work `warmup` times without counting it, then `repeats` times, and give the **median** of their seconds.\n\n"
    "Input: a `device`, and two `int`. Result: a `float`, in seconds.",
    signature="def seconds_of(device: SlowDevice, repeats: int, warmup: int) -> float",
    inputs=_device_inputs,
    solution=seconds_of,
    inputs_stay=False,
    mistakes=[
        Mistake(
            "the clock is read before the work is done",
            _timed(after=False),
            "`start` only orders. You measured how long ordering takes: wait before you read the clock again.",
        ),
        Mistake(
            "what others have ordered is counted",
            _timed(before=False),
            "The device may be busy when you come. Wait before you read the clock for the first time, too.",
        ),
        Mistake(
            "the warm-up still runs when the clock is read",
            _warmup_still_runs,
            "Nobody has waited for the warm-up, so the first run that counts stands behind it. Wait before the first "
            "reading of each run.",
        ),
        Mistake(
            "all runs are timed together",
            _timed_together,
            "That is their mean. For the median each run needs its own two readings, with a wait before each.",
        ),
        Mistake(
            "the warm-up is counted",
            _timed(drop=False),
            "In the first runs memory is claimed and kernels are chosen. They are done, and not counted.",
        ),
        Mistake(
            "it is the mean",
            _timed(choose=statistics.mean),
            "One run that was disturbed moves the mean, and hardly the median: `statistics.median`.",
        ),
        Mistake(
            "it is the sum",
            _timed(choose=sum),
            "One run is asked for, not all of them: the median of the seconds.",
        ),
        Mistake(
            "it is the slowest",
            _timed(choose=max),
            "The slowest run is the one that was disturbed. Take the median.",
        ),
    ],
    hints=[
        "The clock is read twice for each run. What must be true at each of the two moments?",
        "Wait, clock, start, wait, clock: in this order, in a loop.",
        "Keep the differences of the runs from `warmup` on, and give `statistics.median` of them.",
    ],
    package="gptlab.gpu.measure",
)

# ---- gpu.3 -----------------------------------------------------------------------------------------------------------


def attainable(m: int, k: int, n: int, width: int, rate: float, bandwidth: float) -> float:
    flops = 2 * m * k * n
    moved = width * (m * k + k * n + m * n)
    return min(rate, flops / moved * bandwidth)


def _product_inputs(rng):
    yield from [(1, 4, 3, 4, 1e15, 1.0), (64, 32, 16, 2, 100.0, 1e9), (1, 768, 3072, 4, 90e9, 9e9)]
    yield 2048, 768, 3072, 4, 90e9, 9e9
    for m in (1, 5, 40, 300, 3000):
        yield m, rng.randrange(64, 900), rng.randrange(64, 900), rng.choice((2, 4)), 1e14, rng.uniform(1, 3) * 1e12


_CEILING = Exercise(
    id="gpu.3",
    title="Under which ceiling?",
    minutes=10,
    difficulty=2,
    prompt="A matrix [m, k] is multiplied by one of [k, n]. Both are read from memory once, the result is "
    "written once, "
    "and a number takes `width` bytes. The machine does at most `rate` FLOP/s, and moves at most `bandwidth` bytes a "
    "second. How many FLOP/s can this product reach at most? (A multiplication and the addition after it are 2 FLOPs.)"
    "\n\nInput: four `int` and two `float`. Result: a `float`, in FLOP/s.",
    signature="def attainable(m: int, k: int, n: int, width: int, rate: float, bandwidth: float) -> float",
    inputs=_product_inputs,
    solution=attainable,
    mistakes=[
        Mistake(
            "a multiplication and its addition count as one",
            lambda m, k, n, width, rate, band: min(rate, m * k * n / (width * (m * k + k * n + m * n)) * band),
            "Each of the m · k · n products is also added: 2 FLOPs.",
        ),
        Mistake(
            "the result is not written",
            lambda m, k, n, width, rate, band: min(rate, 2 * m * k * n / (width * (m * k + k * n)) * band),
            "The m · n numbers of the result travel, too.",
        ),
        Mistake(
            "numbers are taken for bytes",
            lambda m, k, n, width, rate, band: min(rate, 2 * m * k * n / (m * k + k * n + m * n) * band),
            "A number takes `width` bytes.",
        ),
        Mistake(
            "the higher ceiling counts",
            lambda m, k, n, width, rate, band: max(rate, 2 * m * k * n / (width * (m * k + k * n + m * n)) * band),
            "Both ceilings hold: the lower one decides.",
        ),
        Mistake(
            "the memory is taken to be fast enough",
            lambda m, k, n, width, rate, band: float(rate),
            "That is the ceiling of the arithmetic. With few rows the memory cannot feed it.",
        ),
        Mistake(
            "the intensity is upside down",
            lambda m, k, n, width, rate, band: min(rate, width * (m * k + k * n + m * n) / (2 * m * k * n) * band),
            "FLOPs for each byte, not bytes for each FLOP.",
        ),
    ],
    hints=[
        "Count two things: FLOPs, and bytes that travel.",
        "2 · m · k · n FLOPs; width · (m · k + k · n + m · n) bytes. Their ratio times the bandwidth is a rate.",
        "The smaller of that and `rate`.",
    ],
    package="gptlab.gpu.Roofline",
)

# ---- gpu.4 -----------------------------------------------------------------------------------------------------------


def flops_per_token(V: int, C: int, L: int, T: int) -> int:
    projections = 2 * 4 * C * C  # query, key, value, output
    attention = 2 * 2 * T * C  # scores, and the average of the values
    mlp = 2 * (C * 4 * C + 4 * C * C)
    head = 2 * C * V
    return 3 * (L * (projections + attention + mlp) + head)  # forward once, backward twice as much


def _config_inputs(rng):
    yield from [(50, 12, 1, 8), (50257, 768, 12, 1024), (50, 12, 3, 8)]
    for _ in range(5):
        yield rng.randrange(60, 900), 4 * rng.randrange(8, 40), rng.randrange(2, 9), rng.randrange(20, 300)


def _flops_of(forward=1, backward=2, attention=2, head=True, embedding=False, layers=True, factor=2):
    def wrong(V, C, L, T):
        block = 4 * C * C + 8 * C * C + attention * T * C
        total = (L if layers else 1) * block + (C * V if head else 0) + (C * V if embedding else 0)
        return factor * (forward + backward) * total

    return wrong


_FLOPS = Exercise(
    id="gpu.4",
    title="FLOPs for a token, by hand",
    minutes=15,
    difficulty=2,
    prompt="Count the FLOPs of GPT-2's products for **one token** in a sequence of T, forward and backward. A block "
    "has four matrices [C, C] in its attention, then two in its MLP, [C, 4C] and [4C, C]; in attention itself "
    "the query "
    "of the token meets T keys, and T values are averaged. At the end comes the head, [C, V]. A multiplication and its "
    "addition are 2 FLOPs, and the way back costs twice the way forward. (Looking up a row of the embedding is no "
    "product. Attention is counted in full, without the causal half.)\n\nInput: V, C, L, T, each an `int`. Result: an "
    "`int`.",
    signature="def flops_per_token(V: int, C: int, L: int, T: int) -> int",
    inputs=_config_inputs,
    solution=flops_per_token,
    reference=lambda V, C, L, T: gpu.flops_per_token(
        GPTConfig(vocab_size=V, context=T, n_layer=L, n_head=4, n_embd=C), T
    ),
    mistakes=[
        Mistake(
            "a multiplication and its addition count as one",
            _flops_of(factor=1),
            "These are multiply-adds. Each is 2 FLOPs; papers differ in this, so say which you count.",
        ),
        Mistake(
            "the way back is forgotten",
            _flops_of(backward=0),
            "A training step goes back, too, for twice the price of the way forward.",
        ),
        Mistake(
            "the way back costs as much as the way forward",
            _flops_of(backward=1),
            "Going back needs two products for each: one for the gradient of the input, one for that of the weight.",
        ),
        Mistake(
            "attention itself is forgotten",
            _flops_of(attention=0),
            "That is the rule of 6 N. The products q · k and weights · v have no weights of the model in them: 2 "
            "· T · C "
            "each.",
        ),
        Mistake(
            "only one of attention's two products is there",
            _flops_of(attention=1),
            "The query meets T keys, 2 · T · C, and then T values are averaged, as many again.",
        ),
        Mistake(
            "the head is forgotten",
            _flops_of(head=False),
            "The head multiplies by a matrix [C, V], often the largest of all.",
        ),
        Mistake(
            "the embedding is taken for a product",
            _flops_of(embedding=True),
            "A row is looked up. Nothing is multiplied.",
        ),
        Mistake(
            "there is one block",
            _flops_of(layers=False),
            "There are L blocks, and one head.",
        ),
    ],
    hints=[
        "For one token, a matrix [a, b] costs 2 · a · b.",
        "A block: 2 · 12 · C · C for its matrices, and 4 · T · C for attention.",
        "3 · (L · block + 2 · C · V).",
    ],
    package="gptlab.gpu.flops_per_token",
)

# ---- gpu.5 -----------------------------------------------------------------------------------------------------------


def add_up(gradients, counts):
    total = sum(counts)
    return sum(gradient * (count / total) for gradient, count in zip(gradients, counts, strict=True))


def _gradient_inputs(rng):
    yield [torch.tensor([2.0]), torch.tensor([8.0])], [1, 3]
    yield [torch.tensor([1.0, -1.0]), torch.tensor([4.0, 2.0]), torch.tensor([0.0, 6.0])], [2, 5, 1]
    for parts in (2, 3, 4, 5):
        counts = [rng.randrange(1, 60) for _ in range(parts)]
        counts[0] += 60
        yield [_normal(rng, 2, 3) for _ in counts], counts


def _weighted(weights):
    def wrong(gradients, counts):
        return sum(g * w for g, w in zip(gradients, weights(counts), strict=True))

    return wrong


_ACCUMULATE = Exercise(
    id="gpu.5",
    title="A large batch in small parts",
    minutes=10,
    difficulty=2,
    prompt="A batch did not fit, so it was cut into parts. For each part you have the gradient of its **mean** "
    "loss, and "
    "the number of tokens that counted in it. Give the gradient of the mean loss of the whole batch.\n\nShapes: "
    "`gradients` is a `list` of float tensors of one shape, `counts` a `list` of `int`. Result: one tensor of that "
    "shape.",
    signature="def add_up(gradients: list[Tensor], counts: list[int]) -> Tensor",
    inputs=_gradient_inputs,
    solution=add_up,
    mistakes=[
        Mistake(
            "every part weighs the same",
            _weighted(lambda counts: [1 / len(counts)] * len(counts)),
            "A token in a short part would count for more than one in a long part. "
            "(A well-known library did this until 2024.) Weigh each part with its tokens.",
        ),
        Mistake(
            "they are added up",
            _weighted(lambda counts: [1.0] * len(counts)),
            "Each is already a mean. The sum is as many times too large as there are parts.",
        ),
        Mistake(
            "it is not divided by all tokens",
            _weighted(lambda counts: [float(count) for count in counts]),
            "Weighing with the tokens makes sums again. Divide by all tokens at the end.",
        ),
        Mistake(
            "it is divided by the number of parts",
            _weighted(lambda counts: [count / len(counts) for count in counts]),
            "Divide by the number of tokens, not of parts.",
        ),
        Mistake(
            "only the last part is left",
            _weighted(lambda counts: [0.0] * (len(counts) - 1) + [1.0]),
            "The gradients of the earlier parts are gone: was `zero_grad` called between the parts?",
        ),
        Mistake(
            "the short parts weigh more",
            _weighted(lambda counts: [(1 / count) / sum(1 / c for c in counts) for count in counts]),
            "A part with more tokens says more: multiply by its count, do not divide.",
        ),
    ],
    hints=[
        "What is the sum of the gradients of all tokens of one part?",
        "Mean times count. Add these up.",
        "Divide by the sum of the counts.",
    ],
    package="gptlab.train_step.add_gradients",
)

# ---- gpu.6 -----------------------------------------------------------------------------------------------------------


def unscale(gradient, scale, good, grow_after):
    if not torch.isfinite(gradient).all():
        return None, scale / 2, 0  # skip this step, and try a smaller scale
    good += 1
    if good == grow_after:
        return gradient / scale, scale * 2, 0
    return gradient / scale, scale, good


def _scaler_inputs(rng):
    one = torch.tensor
    yield from [(one([8.0]), 4.0, 0, 3), (one([torch.inf]), 4.0, 1, 3), (one([torch.nan, 1.0]), 8.0, 1, 3)]
    yield from [(one([8.0, 2.0]), 4.0, 2, 3), (one([1.0, -torch.inf]), 64.0, 2, 3), (one([6.0]), 2.0, 1, 2)]
    for _ in range(6):
        after = rng.randrange(3, 6)
        gradient = _normal(rng, 2, 3) * 50
        if rng.random() < 0.3:
            gradient[1, rng.randrange(3)] = rng.choice((torch.inf, torch.nan))
        yield gradient, float(2 ** rng.randrange(2, 12)), rng.randrange(after), after


def _scaler_variant(finite=lambda g: bool(torch.isfinite(g).all()), down=2.0, grows=True, resets=True, divides=True):
    def wrong(gradient, scale, good, grow_after):
        if not finite(gradient):
            return None, scale / down, 0 if resets else good
        good += 1
        plain = gradient / scale if divides else gradient
        if grows and good == grow_after:
            return plain, scale * 2, 0
        return plain, scale, good

    return wrong


def _always_grows(gradient, scale, good, grow_after):
    plain, scale, good = unscale(gradient, scale, good, grow_after + 1000)
    return plain, scale * 2 if plain is not None else scale, good


_SCALER = Exercise(
    id="gpu.6",
    title="The scaler of float16",
    minutes=20,
    difficulty=3,
    prompt="The loss was multiplied by `scale`, so that small gradients do not vanish in float16. If every "
    "number of the "
    "gradient is finite, divide it by the scale and count one good step; after `grow_after` good steps in a row the "
    "scale is doubled, and the count begins at 0 again. If any number is infinite or NaN, the step is skipped: "
    "give None "
    "for the gradient, halve the scale, and begin the count at 0.\n\nShapes: `gradient` is a float tensor of any "
    "shape, "
    "`scale` a `float`, `good` (the good steps so far) and `grow_after` are `int`. Result: three things, the "
    "gradient or "
    "None, the next scale, the next count.",
    signature="def unscale(gradient: Tensor, scale: float, good: int, grow_after: int)\n"
    "    -> tuple[Tensor | None, float, int]",
    inputs=_scaler_inputs,
    solution=unscale,
    mistakes=[
        Mistake(
            "the gradient stays multiplied",
            _scaler_variant(divides=False),
            "The optimiser would make steps that are `scale` times too large (and AdamW would hide it): divide.",
        ),
        Mistake(
            "NaN is not noticed",
            _scaler_variant(finite=lambda g: not bool(torch.isinf(g).any())),
            "inf − inf is NaN, so an overflow often arrives as NaN: `torch.isfinite` finds both.",
        ),
        Mistake(
            "the step is not skipped",
            _scaler_variant(finite=lambda g: True),
            "A gradient with an infinite number would spoil every weight that it touches, for ever.",
        ),
        Mistake(
            "the scale never grows",
            _scaler_variant(grows=False),
            "It falls at each overflow. Without growing it would end near 1, where small gradients vanish again. (The "
            "good step of now counts, too: it grows when the count has come to `grow_after`, not one later.)",
        ),
        Mistake(
            "the scale stays after an overflow",
            _scaler_variant(down=1.0),
            "The same scale would overflow again at the next step: halve it.",
        ),
        Mistake(
            "the count goes on after an overflow",
            _scaler_variant(resets=False),
            "Good steps **in a row** are counted: an overflow begins a new row.",
        ),
        Mistake(
            "the scale grows at every good step",
            _always_grows,
            "It would overflow every few steps. Only after `grow_after` good steps in a row is a larger one tried.",
        ),
    ],
    hints=[
        "Two cases: all finite, or not. `torch.isfinite(gradient).all()` tells them apart.",
        "Not finite: None, scale / 2, 0.",
        "Finite: count one more; if the count has come to `grow_after`, the scale doubles and the count is 0.",
    ],
)

# ---- gpu.7 -----------------------------------------------------------------------------------------------------------


def held_bytes(parameters: int, gpus: int, stage: int) -> float:
    weights = 4 * parameters / (gpus if stage >= 3 else 1)
    gradients = 4 * parameters / (gpus if stage >= 2 else 1)
    averages = 8 * parameters / (gpus if stage >= 1 else 1)
    return weights + gradients + averages


def _stage_inputs(rng):
    yield from [(100, 4, stage) for stage in range(4)]
    for stage in range(4):
        yield rng.randrange(10**6, 10**9), rng.choice((2, 8, 64)), stage


def _stages(first=1, second=2, third=3, averages=8, width=4, gradients=1):
    def wrong(parameters, gpus, stage):
        shares = [gpus if stage >= begins else 1 for begins in (third, second, first)]
        return parameters * (width / shares[0] + gradients * width / shares[1] + averages / shares[2])

    return wrong


_SHARDS = Exercise(
    id="gpu.7",
    title="What each card keeps",
    minutes=10,
    difficulty=2,
    prompt="A model of `parameters` numbers is trained with AdamW in float32 on some GPUs, each with its own "
    "part of the "
    "batch. At stage 0 each card keeps everything: weights, gradients, and AdamW's two averages. At stage 1 each keeps "
    "only its share of the averages, at stage 2 of the gradients, too, at stage 3 of the weights, too (Rajbhandari et "
    "al. 2020; stage 3 is what FSDP does). How many bytes is that on each card? (Activations are not counted.)\n\n"
    "Input: three `int`. Result: a `float`, in bytes.",
    signature="def held_bytes(parameters: int, gpus: int, stage: int) -> float",
    inputs=_stage_inputs,
    solution=held_bytes,
    mistakes=[
        Mistake(
            "AdamW keeps one average",
            _stages(averages=4),
            "It keeps two numbers for each weight, one of the gradient and one of its square: 8 bytes.",
        ),
        Mistake(
            "the gradients are forgotten",
            _stages(gradients=0),
            "Each weight has a gradient, 4 bytes more, until the step is made.",
        ),
        Mistake(
            "everything is shared at once",
            _stages(second=1, third=1),
            "Stage 1 shares only the averages. Gradients follow at 2, weights at 3.",
        ),
        Mistake(
            "it is shared at stage 0, too",
            _stages(first=0, second=0, third=0),
            "At stage 0 each card has a whole copy of everything: that is plain data parallelism.",
        ),
        Mistake(
            "the weights are never shared",
            _stages(third=99),
            "At stage 3 each card keeps only its share of the weights, and fetches the others block by block.",
        ),
        Mistake(
            "the order is turned round",
            _stages(first=3, third=1),
            "The averages go first, for they are the largest and nobody needs them during the step.",
        ),
        Mistake(
            "these are numbers, not bytes",
            _stages(averages=2, width=1),
            "A float32 takes 4 bytes.",
        ),
    ],
    hints=[
        "Three lines: weights 4 bytes, gradients 4, averages 8, for each parameter.",
        "Each line is divided by `gpus` from its stage on: averages from 1, gradients from 2, weights from 3.",
        "`8 * parameters / (gpus if stage >= 1 else 1)`, and the other two likewise.",
    ],
    package="gptlab.cluster.memory_per_gpu",
)

# ---- gpu.8 -----------------------------------------------------------------------------------------------------------


def own_rows(rows: int, rank: int, ranks: int) -> list[int]:
    share = -(-rows // ranks)  # rounded up
    return list(range(rows))[rank * share : (rank + 1) * share]


def _row_inputs(rng):
    yield from [(4, 0, 2), (4, 1, 2), (5, 0, 2), (5, 1, 2), (7, 2, 3), (2, 2, 3), (9, 0, 1)]
    for _ in range(4):
        ranks = rng.randrange(2, 7)
        yield rng.randrange(10, 40), rng.randrange(ranks), ranks


def _rounded_down(rows, rank, ranks):
    share = rows // ranks
    return list(range(rank * share, (rank + 1) * share))


def _rest_to_the_last(rows, rank, ranks):
    share = rows // ranks
    return list(range(rank * share, rows if rank == ranks - 1 else (rank + 1) * share))


def _beyond_the_end(rows, rank, ranks):
    share = -(-rows // ranks)
    return list(range(rank * share, (rank + 1) * share))


_ROWS = Exercise(
    id="gpu.8",
    title="Which rows are mine?",
    minutes=10,
    difficulty=2,
    prompt="A batch of `rows` rows is shared by `ranks` processes, numbered from 0. Each takes as many "
    "consecutive rows as "
    "`rows / ranks`, **rounded up**, in the order of their numbers; the last ones get what is left, perhaps nothing. "
    "Together they have every row once.\n\nInput: three `int`. Result: a `list` of `int`, the numbers of the rows of "
    "`rank`.",
    signature="def own_rows(rows: int, rank: int, ranks: int) -> list[int]",
    inputs=_row_inputs,
    solution=own_rows,
    mistakes=[
        Mistake(
            "everybody reads everything",
            lambda rows, rank, ranks: list(range(rows)),
            "Then all of them compute the same, and nothing is gained. This mistake is silent: the loss looks right.",
        ),
        Mistake(
            "it is rounded down",
            _rounded_down,
            "Rows are left over that nobody reads. Round up: `-(-rows // ranks)`.",
        ),
        Mistake(
            "the last one gets all the rest",
            _rest_to_the_last,
            "All wait for the rank with the most rows. Rounded up, no one has more than the others.",
        ),
        Mistake(
            "it goes beyond the end",
            _beyond_the_end,
            "The batch has only `rows` rows. A slice of `range(rows)` stops there by itself.",
        ),
        Mistake(
            "the rows are dealt out in turn",
            lambda rows, rank, ranks: list(range(rank, rows, ranks)),
            "That is a fair way, too. Here consecutive rows are asked for, which are read from disk in one go.",
        ),
        Mistake(
            "ranks are counted from 1",
            lambda rows, rank, ranks: own_rows(rows, rank - 1, ranks) if rank else [],
            "Rank 0 has the first rows.",
        ),
    ],
    hints=[
        "How many rows has each, rounded up?",
        "Rank r begins at r · share.",
        "`list(range(rows))[rank * share : (rank + 1) * share]`",
    ],
    package="gptlab.cluster.RowsOfRank",
)

# ---- gpu.9 -----------------------------------------------------------------------------------------------------------


def fit_law(sizes: list[float], losses: list[float], floor: float) -> tuple[float, float]:
    x = [math.log(size) for size in sizes]
    y = [math.log(loss - floor) for loss in losses]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)
    return math.exp(mean_y - slope * mean_x), -slope


def _law_inputs(rng):
    yield [1e4, 4e4, 16e4], [3.0, 2.0, 1.5], 1.0
    yield [1e3, 1e4, 1e5], [5.0, 4.2, 2.1], 1.5
    for runs in (4, 5, 6):
        sizes = [5e3 * 2**i for i in range(runs)]
        A, alpha, floor = rng.uniform(20, 60), rng.uniform(0.2, 0.5), rng.uniform(0.5, 2)
        yield sizes, [floor + A * N**-alpha * math.exp(rng.gauss(0, 0.08)) for N in sizes], floor


def _law_variant(below=lambda floor: floor, sign=-1, log=math.log, power=math.exp, ends=False):
    def wrong(sizes, losses, floor):
        x, y = [log(size) for size in sizes], [log(loss - below(floor)) for loss in losses]
        if ends:
            slope = (y[-1] - y[0]) / (x[-1] - x[0])
            return power(y[0] - slope * x[0]), sign * slope
        mx, my = sum(x) / len(x), sum(y) / len(y)
        slope = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)
        return power(my - slope * mx), sign * slope

    return wrong


def _axes_swapped(sizes, losses, floor):
    x, y = [math.log(size) for size in sizes], [math.log(loss - floor) for loss in losses]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    slope = sum((b - my) ** 2 for b in y) / sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    return math.exp(my - slope * mx), -slope


_LAW = Exercise(
    id="gpu.9",
    title="A law from small runs",
    minutes=20,
    difficulty=3,
    prompt=r"Some runs of different sizes $N$ ended at different losses, and the floor $E$ is known. Fit "
    r"$L(N) = E + A / N^{\alpha}$: take logarithms, $\ln(L - E) = \ln A - \alpha \ln N$, and find the straight "
    r"line with "
    r"the least squares of the differences in $\ln(L - E)$. Its slope is the covariance of the two logarithms "
    r"divided by "
    "the variance of the first; it goes through both means.\n\nInput: `sizes` and `losses`, each a `list` of `float`; "
    "`floor`, a `float`. Result: two `float`, A and α.",
    signature="def fit_law(sizes: list[float], losses: list[float], floor: float) -> tuple[float, float]",
    inputs=_law_inputs,
    solution=fit_law,
    reference=lambda sizes, losses, floor: (
        cluster.fit_scaling_law(sizes, losses, floor).A,
        cluster.fit_scaling_law(sizes, losses, floor).alpha,
    ),
    tolerance=1e-6,
    mistakes=[
        Mistake(
            "the floor is forgotten",
            _law_variant(below=lambda floor: 0.0),
            "What follows the law is what is above the floor. With the floor in it the line bends.",
        ),
        Mistake(
            "the sign of α is wrong",
            _law_variant(sign=1),
            "The slope is negative, for larger models are better; α is minus the slope.",
        ),
        Mistake(
            "A is still a logarithm",
            _law_variant(power=lambda value: value),
            "The line begins at ln A: take the exponential.",
        ),
        Mistake(
            "two kinds of logarithm are mixed",
            _law_variant(log=math.log10),
            "With log10 on both axes the slope is the same, but then A is 10 to that power, not e.",
        ),
        Mistake(
            "only the smallest and the largest run count",
            _law_variant(ends=True),
            "A line through two points trusts their noise. Least squares lets all runs speak.",
        ),
        Mistake(
            "the line is fitted the other way round",
            _axes_swapped,
            "You divided by the covariance: that is the line for ln N given the loss. Divide by the variance of ln N.",
        ),
    ],
    hints=[
        "Make two lists: x = ln N, y = ln(L − E).",
        "slope = Σ (x − mean x)(y − mean y) / Σ (x − mean x)².",
        "α = −slope, A = exp(mean y − slope · mean x).",
    ],
    package="gptlab.cluster.fit_scaling_law",
)

EXERCISES = [_DAYS, _CLOCK, _CEILING, _FLOPS, _ACCUMULATE, _SCALER, _SHARDS, _ROWS, _LAW]

PREDICTIONS = [
    Prediction(
        id="gpu.a",
        question="What is 256 + 1 in bfloat16, whose numbers have 7 bits behind the leading one?",
        kind="number",
        answer=256,
        explanation="After 256 come 258 and 260: the step is 2, and the 1 is lost.",
    ),
    Prediction(
        id="gpu.b",
        question="Two matrices of n × n are multiplied. n doubles. The work is eight times as much. And the FLOPs for "
        "each byte that travels?",
        kind="choice",
        choices=("they stay", "twice as many", "four times as many", "eight times as many"),
        answer="b",
        explanation="Eight times the FLOPs, four times the numbers: each number is used twice as often.",
    ),
    Prediction(
        id="gpu.c",
        question="Attention is written out, and T doubles. What does it keep for the way back?",
        kind="choice",
        choices=("as much as before", "twice as much", "four times as much"),
        answer="c",
        explanation="The weights are [B, H, T, T]: four times as many numbers. A kernel that does not keep them "
        "needs twice as much.",
    ),
    Prediction(
        id="gpu.d",
        question="Which of the four is the largest in a training step of a small model with many tokens?",
        kind="choice",
        choices=("weights", "gradients", "the optimiser's averages", "activations"),
        answer="d",
        explanation="The first three depend on the model alone. Activations grow with every token of the step.",
    ),
    Prediction(
        id="gpu.e",
        question="A batch is cut into two parts of 3 and 30 tokens, and the mean of their two mean gradients is taken. "
        "How many times as much does a token of the short part count?",
        kind="number",
        answer=10,
        explanation="Each part gets half: a sixth for each of 3 tokens, a sixtieth for each of 30.",
    ),
    Prediction(
        id="gpu.f",
        question="A run is killed after step 24, with a checkpoint at every tenth step, and resumed. In which digit do "
        "its losses differ from a run that was never killed?",
        kind="choice",
        choices=("the second", "the seventh, by rounding", "in none"),
        answer="c",
        explanation="Weights, averages, step and random numbers are restored, and the data follow from the step.",
    ),
    Prediction(
        id="gpu.g",
        question="Hoffmann et al. (2022): about how many tokens for each parameter make the most of the work?",
        kind="choice",
        choices=("2", "20", "200"),
        answer="b",
        explanation="About 20. GPT-3 had fewer than 2; Llama 3 8B has nearly 2,000, because it is used so much.",
    ),
    Prediction(
        id="gpu.h",
        question="Of the rate of one large product, which part does training of the small model reach (0 to 1)?",
        kind="number",
        tolerance=0.3,
        explanation="The rest goes to small operations, the optimiser, padding, and to starting all of it.",
    ),
]

QUESTIONS = [
    Question(
        about="training",
        question="The first loss of a run is far above ln V. What does that say?",
        choices=("the text is hard", "something is wrong before any training", "the learning rate is too small"),
        answer="b",
        explanation="A fresh model gives every token about 1/V, so it begins near ln V. Stop, and find out why not.",
    ),
    Question(
        about="attention",
        question="T doubles. What happens to the number of attention scores?",
        choices=("it stays", "it doubles", "it becomes four times as large"),
        answer="c",
        explanation="Each of T queries meets T keys.",
    ),
    Question(
        about="sampling",
        question="Why does a model write with a cache token by token, and wait for memory?",
        choices=(
            "each new token reads all weights, for two operations with each",
            "the cache is compressed",
            "softmax is slow",
        ),
        answer="a",
        explanation="One token is a matrix with one row: every weight is fetched, used once, and fetched again.",
    ),
]
