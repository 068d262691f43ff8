"""Exercises on training on one GPU: work, clocks, ceilings, FLOPs, parts of a batch, and the loss scaler."""

import random
import statistics

import torch
from torch import Tensor

from gptlab import gpu
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


def _times(factor):
    """The right number of days, times a factor that should not be there."""
    return lambda N, D, gpus, peak, mfu: days(N, D, gpus, peak, mfu) * factor(gpus, mfu)


_DAYS = Exercise(
    id="gpu.1",
    title="How many days?",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="Before you pay for a run: how many days will it take? A step takes about six floating-point operations per "
    "parameter and token (forward and backward together). Each of the `gpus` could do `peak` of them per second, and "
    "the run reaches the fraction `mfu` of that (a number between 0 and 1).\n\nInput: `parameters`, `tokens`, `peak`, "
    "`mfu`, each a `float`, and `gpus`, an `int`. Result: a `float`, in days.",
    signature="def days(parameters: float, tokens: float, gpus: int, peak: float, mfu: float) -> float",
    inputs=_day_inputs,
    solution=days,
    mistakes=[
        Mistake(
            "only the forward pass is counted",
            _times(lambda gpus, mfu: 1 / 3),
            "2 N D is the forward pass. The backward pass costs twice as much again: 6 N D.",
        ),
        Mistake(
            "the backward pass is taken to cost as much as the forward pass",
            _times(lambda gpus, mfu: 2 / 3),
            "4 N D would be that. The backward pass costs twice as much as the forward pass: 2 + 4 = 6 N D.",
        ),
        Mistake(
            "the six is forgotten",
            _times(lambda gpus, mfu: 1 / 6),
            "N D counts one operation for each parameter and token. There are about six.",
        ),
        Mistake(
            "the GPUs reach their full peak",
            _times(lambda gpus, mfu: mfu),
            "No run reaches the peak. Multiply it by the fraction that this run reaches.",
        ),
        Mistake(
            "the utilisation is on the wrong side",
            _times(lambda gpus, mfu: mfu**2),
            "A run that uses less of the machine takes longer. Divide by mfu.",
        ),
        Mistake(
            "the utilisation is taken for a percentage",
            _times(lambda gpus, mfu: 100),
            "`mfu` is a number between 0 and 1 already.",
        ),
        Mistake(
            "what is not used is taken for the utilisation",
            _times(lambda gpus, mfu: mfu / (1 - mfu)),
            "`mfu` is what the run reaches, not what it wastes: times mfu, not 1 - mfu.",
        ),
        Mistake(
            "one GPU does it all",
            _times(lambda gpus, mfu: gpus),
            "The GPUs share the work: divide by their number.",
        ),
        Mistake(
            "more GPUs take longer",
            _times(lambda gpus, mfu: gpus**2),
            "The GPUs share the work: divide by their number, do not multiply.",
        ),
        Mistake(
            "these are hours",
            _times(lambda gpus, mfu: 24),
            "A day has 24 hours of 3,600 seconds.",
        ),
        Mistake(
            "these are minutes",
            _times(lambda gpus, mfu: 24 * 60),
            "A day has 24 hours of 60 minutes of 60 seconds.",
        ),
        Mistake(
            "these are seconds",
            _times(lambda gpus, mfu: 24 * 3600),
            "Work divided by rate is in seconds. A day has 24 · 3,600 of them.",
        ),
        Mistake(
            "an hour is taken to have 60 seconds",
            _times(lambda gpus, mfu: 60),
            "Seconds, minutes, hours, days: 60 · 60 · 24 = 86,400 seconds in a day.",
        ),
    ],
    hints=[
        "Work divided by rate is time.",
        "The work is 6 · parameters · tokens; the rate of all GPUs together is gpus · peak · mfu.",
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
        """Launch the work; returns at once."""
        self.now += 0.001
        self.free = max(self.free, self.now) + self.jobs[self.started % len(self.jobs)]
        self.started += 1

    def wait(self) -> None:
        """Return when everything that was launched is done."""
        self.now = max(self.now, self.free)

    def clock(self) -> float:
        """Seconds, now."""
        return self.now

    def __eq__(self, other: object) -> bool:
        """Made alike: what has run on them since does not matter, because running is what they are for."""
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
    yield SlowDevice([3.0, 2.0, 0.5]), 1, 2
    yield SlowDevice([3.0, 1.0, 0.5]), 2, 0
    yield SlowDevice([0.2, 0.3, 4.0, 0.25, 0.35]), 5, 0
    yield SlowDevice([5.0, 4.0, 0.9, 0.4, 0.5, 0.7], pending=1.0), 4, 2
    for _ in range(4):
        repeats, warmup = rng.choice((3, 4, 5)), rng.choice((1, 2, 3))
        jobs = [rng.uniform(2, 4) for _ in range(warmup)] + [rng.uniform(0.2, 0.4) for _ in range(repeats - 1)]
        yield SlowDevice([round(job, 2) for job in [*jobs, 1.7]], round(rng.uniform(0.5, 2), 2)), repeats, warmup


def _upper_median(times):
    return sorted(times)[len(times) // 2]


def _lower_median(times):
    return sorted(times)[(len(times) - 1) // 2]


def _timed(before=True, after=True, drop=lambda warmup: warmup, choose=statistics.median, runs=None):
    """The measurement, with a wait missing, other runs dropped, or another number made of them."""

    def wrong(device, repeats, warmup):
        times = []
        for run in range(runs(repeats, warmup) if runs else warmup + repeats):
            if before:
                device.wait()
            began = device.clock()
            device.start()
            if after:
                device.wait()
            if run >= drop(warmup):
                times.append(device.clock() - began)
        return choose(times)

    return wrong


def _warmup_still_runs(device, repeats, warmup):
    for _ in range(warmup):
        device.start()
    return _timed(before=False)(device, repeats, 0)


def _together(device, repeats, warmup, divide=True):
    for _ in range(warmup):
        device.start()
    device.wait()
    began = device.clock()
    for _ in range(repeats):
        device.start()
    device.wait()
    return (device.clock() - began) / (repeats if divide else 1)


def _one_warmup_run(device, repeats, warmup):
    device.start()
    return _timed()(device, repeats, 0)


def _once_if_any(device, repeats, warmup):
    if warmup:
        device.start()
    return _timed()(device, repeats, 0)


_CLOCK = Exercise(
    id="gpu.2",
    title="Read the clock at the right time",
    kind="core",
    minutes=15,
    difficulty=2,
    prompt="`device.start()` launches some work and returns a millisecond later, before the work is done; "
    "`device.wait()` returns when all that was launched is done; `device.clock()` is the time. Something that others "
    "have launched may still be running when you come. Do the work `warmup` times without counting it, then `repeats` "
    "times, time each of these by itself (with nothing else running), and return the **median** of their seconds. The "
    "median of an even number of runs is the mean of the middle two.\n\n"
    "Input: a `device`, and two `int`: `repeats`, at least 1, and `warmup`, at least 0. Result: a `float`, in seconds.",
    signature="def seconds_of(device: SlowDevice, repeats: int, warmup: int) -> float",
    inputs=_device_inputs,
    solution=seconds_of,
    inputs_stay=False,
    mistakes=[
        Mistake(
            "the clock is read before the work is done",
            _timed(after=False),
            "`start` only launches. You measured how long launching takes: wait before you read the clock again.",
        ),
        Mistake(
            "what others have launched is counted",
            _timed(before=False),
            "The device may be busy when you come. Wait before you read the clock for the first time, too.",
        ),
        Mistake(
            "the warm-up still runs when the clock is read",
            _warmup_still_runs,
            "Nothing has waited for the warm-up, so the first run that counts queues behind it. Wait before the first "
            "reading of each run.",
        ),
        Mistake(
            "all runs are timed together",
            _together,
            "That is their mean. For the median each run needs its own two readings, with a wait before each.",
        ),
        Mistake(
            "all runs are timed together, and not divided",
            lambda device, repeats, warmup: _together(device, repeats, warmup, divide=False),
            "That is their sum. For the median each run needs its own two readings, with a wait before each.",
        ),
        Mistake(
            "the warm-up is counted",
            _timed(drop=lambda warmup: 0),
            "In the first runs memory is allocated and kernels are chosen. They are done, and not counted.",
        ),
        Mistake(
            "there is no warm-up",
            _timed(drop=lambda warmup: 0, runs=lambda repeats, warmup: repeats),
            "In the first runs memory is allocated and kernels are chosen. Do `warmup` runs before those that count.",
        ),
        Mistake(
            "the warm-up is taken from the runs that count",
            _timed(runs=lambda repeats, warmup: repeats),
            "`repeats` runs are counted **after** the warm-up: warmup + repeats in all.",
        ),
        Mistake(
            "there is one warm-up run, always",
            _one_warmup_run,
            "`warmup` says how many runs come first; it may be 0, or more than 1.",
        ),
        Mistake(
            "there is at most one warm-up run",
            _once_if_any,
            "`warmup` is a number: so many runs come first.",
        ),
        Mistake(
            "one warm-up run is counted",
            _timed(drop=lambda warmup: max(warmup - 1, 0)),
            "Runs are numbered from 0: the first that counts has the number `warmup`.",
        ),
        Mistake(
            "it is the upper of the middle two",
            _timed(choose=_upper_median),
            "`sorted(times)[n // 2]` is right for an odd number of runs. For an even one take the mean of the middle "
            "two, as `statistics.median` does.",
        ),
        Mistake(
            "it is the lower of the middle two",
            _timed(choose=_lower_median),
            "For an even number of runs the median is the mean of the middle two, as `statistics.median` gives it. "
            "(torch's `median` takes the lower one.)",
        ),
        Mistake(
            "the runs are not sorted",
            _timed(choose=lambda times: times[len(times) // 2]),
            "The middle one in time is not the middle one in size: `sorted` first, or `statistics.median`.",
        ),
        Mistake(
            "it is the mean",
            _timed(choose=statistics.mean),
            "One run that was disturbed moves the mean (and the time of all runs divided by `repeats` is a mean too), "
            "and hardly the median: `statistics.median`.",
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
        Mistake(
            "it is the fastest",
            _timed(choose=min),
            "The fastest run is what the device can do on a lucky day. The median is what you can expect.",
        ),
        Mistake(
            "it is the last run",
            _timed(choose=lambda times: times[-1]),
            "One run may have been disturbed. Collect all that count, and take the median.",
        ),
        Mistake(
            "all times are returned",
            _timed(choose=list),
            "One number is asked for: the median of the seconds.",
        ),
    ],
    hints=[
        "The clock is read twice for each run. What must be true at each of the two moments?",
        "Wait, clock, start, wait, clock: in this order, in a loop.",
        "Collect the differences of the runs from `warmup` on, and return their `statistics.median`.",
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
    yield from [(2048, 768, 3072, 4, 90e9, 9e9), (64, 32, 16, 2, 1e17, 1e15)]
    for m in (1, 5, 40, 300, 3000):
        yield m, rng.randrange(64, 900), rng.randrange(64, 900), rng.choice((2, 4)), 1e14, rng.uniform(1, 3) * 1e12


def _roofline(
    flops=lambda m, k, n: 2 * m * k * n,
    moved=lambda m, k, n, width: width * (m * k + k * n + m * n),
    lower=lambda rate, flops, moved, bandwidth: min(rate, flops / moved * bandwidth),
):
    def wrong(m, k, n, width, rate, bandwidth):
        return float(lower(rate, flops(m, k, n), moved(m, k, n, width), bandwidth))

    return wrong


_CEILING = Exercise(
    id="gpu.3",
    title="Under which ceiling?",
    kind="core",
    minutes=10,
    difficulty=2,
    prompt="A matrix [m, k] is multiplied by one of [k, n]. Both are read from memory once, the result is written "
    "once, and a number takes `width` bytes. The machine does at most `rate` FLOP/s, and moves at most `bandwidth` "
    "bytes per second. How many FLOP/s can this product reach at most, if computing and moving go on at the same time? "
    "(A multiplication and the addition after it are 2 FLOPs.)"
    "\n\nInput: four `int` and two `float`. Result: a `float`, in FLOP/s.",
    signature="def attainable(m: int, k: int, n: int, width: int, rate: float, bandwidth: float) -> float",
    inputs=_product_inputs,
    solution=attainable,
    mistakes=[
        Mistake(
            "a multiplication and its addition count as one",
            _roofline(flops=lambda m, k, n: m * k * n),
            "Each of the m · k · n products is also added: 2 FLOPs.",
        ),
        Mistake(
            "the result is not written",
            _roofline(moved=lambda m, k, n, width: width * (m * k + k * n)),
            "The m · n numbers of the result travel, too.",
        ),
        Mistake(
            "only the second matrix is read",
            _roofline(moved=lambda m, k, n, width: width * k * n),
            "The weight is the largest when m is small. But the first matrix is read as well, and the result written.",
        ),
        Mistake(
            "only the first matrix is read",
            _roofline(moved=lambda m, k, n, width: width * m * k),
            "The second matrix is read as well, and the result written.",
        ),
        Mistake(
            "only the result travels",
            _roofline(moved=lambda m, k, n, width: width * m * n),
            "Both matrices have to be read first: m · k and k · n numbers.",
        ),
        Mistake(
            "the result travels twice",
            _roofline(moved=lambda m, k, n, width: width * (m * k + k * n + 2 * m * n)),
            "The result is written once, and not read.",
        ),
        Mistake(
            "each number is read for each product",
            _roofline(moved=lambda m, k, n, width: width * (2 * m * k * n + m * n)),
            "Both matrices are read once; a good kernel uses each number many times before it lets go of it.",
        ),
        Mistake(
            "numbers are taken for bytes",
            _roofline(moved=lambda m, k, n, width: m * k + k * n + m * n),
            "A number takes `width` bytes.",
        ),
        Mistake(
            "bits are taken for bytes",
            _roofline(moved=lambda m, k, n, width: 8 * width * (m * k + k * n + m * n)),
            "`width` is in bytes already.",
        ),
        Mistake(
            "the higher ceiling counts",
            _roofline(lower=lambda rate, flops, moved, bandwidth: max(rate, flops / moved * bandwidth)),
            "Both ceilings hold: the lower one decides.",
        ),
        Mistake(
            "the memory is taken to be fast enough",
            _roofline(lower=lambda rate, flops, moved, bandwidth: rate),
            "That is the ceiling of the arithmetic. With few rows the memory cannot feed it.",
        ),
        Mistake(
            "the arithmetic is taken to be fast enough",
            _roofline(lower=lambda rate, flops, moved, bandwidth: flops / moved * bandwidth),
            "That is the ceiling of the memory. However fast numbers arrive, no more than `rate` can be done.",
        ),
        Mistake(
            "the intensity is upside down",
            _roofline(lower=lambda rate, flops, moved, bandwidth: min(rate, moved / flops * bandwidth)),
            "FLOPs for each byte, not bytes for each FLOP.",
        ),
        Mistake(
            "it is the intensity",
            _roofline(lower=lambda rate, flops, moved, bandwidth: flops / moved),
            "FLOPs per byte, times the bytes per second, are FLOP/s. And then the lower of the two ceilings.",
        ),
        Mistake(
            "computing waits for moving",
            _roofline(lower=lambda rate, flops, moved, bandwidth: flops / (flops / rate + moved / bandwidth)),
            "The two times are not added: while one part is computed, the next is on its way. The slower one decides.",
        ),
        Mistake(
            "these are seconds",
            _roofline(lower=lambda rate, flops, moved, bandwidth: max(flops / rate, moved / bandwidth)),
            "That is the time of the product. Divide the FLOPs by it.",
        ),
        Mistake(
            "bandwidth is compared with rate",
            _roofline(lower=lambda rate, flops, moved, bandwidth: min(rate, bandwidth)),
            "Bytes per second and FLOPs per second cannot be compared. How many FLOPs does a byte allow?",
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


def _flops_of(
    block=lambda C: 4 * C * C + 8 * C * C,
    attention=lambda T, C: 2 * T * C,
    head=lambda C, V: C * V,
    layers=lambda L: L,
    passes=3,
    factor=2,
    total=lambda L, block, head: L * block + head,
):
    def wrong(V, C, L, T):
        return factor * passes * total(layers(L), block(C) + attention(T, C), head(C, V))

    return wrong


_FLOPS = Exercise(
    id="gpu.4",
    title="FLOPs per token, by hand",
    kind="stretch",
    minutes=15,
    difficulty=2,
    prompt="Count the FLOPs of GPT-2's matrix products for **one token** in a sequence of T, forward and backward. A "
    "block has four matrices [C, C] in its attention, then two in its MLP, [C, 4C] and [4C, C]; in attention itself "
    "the query of the token meets T keys, and T values are averaged. At the end comes the head, [C, V]. A "
    "multiplication and its addition are 2 FLOPs, and the backward pass costs twice the forward pass. (Looking up a "
    "row of the embedding is not a product. Attention is counted in full, without the causal half.)\n\nInput: V, C, L, "
    "T, each an `int`. Result: an `int`.",
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
            "the backward pass is forgotten",
            _flops_of(passes=1),
            "A training step goes back, too, for twice the price of the forward pass.",
        ),
        Mistake(
            "the backward pass costs as much as the forward pass",
            _flops_of(passes=2),
            "Going back needs two products for each: one for the gradient of the input, one for that of the weight.",
        ),
        Mistake(
            "the backward pass costs three times the forward pass",
            _flops_of(passes=4),
            "Twice as much: forward and backward together are three times the forward pass.",
        ),
        Mistake(
            "attention itself is forgotten",
            _flops_of(attention=lambda T, C: 0),
            "That is the rule of 6 N. The products q · k and weights · v have no weights of the model in them: 2 · T · "
            "C each.",
        ),
        Mistake(
            "half of attention is there",
            _flops_of(attention=lambda T, C: T * C),
            "The query meets T keys, 2 · T · C, and then T values are averaged, as many again. (If you left out the "
            "causal half: here it is counted in full.)",
        ),
        Mistake(
            "attention is counted for all T queries",
            _flops_of(attention=lambda T, C: 2 * T * T * C),
            "T · T · C belongs to the whole sequence. One token has one query, which meets T keys.",
        ),
        Mistake(
            "attention is counted without its channels",
            _flops_of(attention=lambda T, C: 2 * T),
            "Each score is a product of C numbers (all heads together), and each average runs over C channels.",
        ),
        Mistake(
            "the whole sequence is counted",
            lambda V, C, L, T: T * flops_per_token(V, C, L, T),
            "These are the FLOPs of all T tokens. **One token** is asked for.",
        ),
        Mistake(
            "attention has three matrices",
            _flops_of(block=lambda C: 3 * C * C + 8 * C * C),
            "Query, key, value **and output**: four matrices [C, C].",
        ),
        Mistake(
            "a third of each block's matrices is missing",
            _flops_of(block=lambda C: 4 * C * C + 4 * C * C),
            "A block has 12 C²: 4 C² in attention's four matrices, 4 C² in [C, 4C], and 4 C² in [4C, C]. You have two "
            "of the three.",
        ),
        Mistake(
            "the MLP is C wide",
            _flops_of(block=lambda C: 4 * C * C + 2 * C * C),
            "Its two matrices are [C, 4C] and [4C, C].",
        ),
        Mistake(
            "the MLP is forgotten",
            _flops_of(block=lambda C: 4 * C * C),
            "After attention comes the MLP: two matrices, [C, 4C] and [4C, C].",
        ),
        Mistake(
            "the head is forgotten",
            _flops_of(head=lambda C, V: 0),
            "The head multiplies by a matrix [C, V], often the largest of all.",
        ),
        Mistake(
            "the embedding is taken for a product",
            _flops_of(head=lambda C, V: 2 * C * V),
            "A row is looked up. Nothing is multiplied.",
        ),
        Mistake(
            "the head is in every block",
            _flops_of(total=lambda L, block, head: L * (block + head)),
            "There are L blocks, and one head at the end.",
        ),
        Mistake(
            "there is one block",
            _flops_of(layers=lambda L: 1),
            "There are L blocks, and one head.",
        ),
        Mistake(
            "the head has no backward pass",
            lambda V, C, L, T: flops_per_token(V, C, L, T) - 4 * C * V,
            "Every matrix has a backward pass, the head as well: three times everything.",
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


def _into_the_first(gradients, counts):
    """The right sum, collected in the first gradient."""
    total = gradients[0].mul_(counts[0] / sum(counts))
    for gradient, count in zip(gradients[1:], counts[1:], strict=True):
        total += gradient * (count / sum(counts))
    return total


def _all_in_place(gradients, counts):
    for gradient, count in zip(gradients, counts, strict=True):
        gradient *= count / sum(counts)
    return sum(gradients)


_ACCUMULATE = Exercise(
    id="gpu.5",
    title="A large batch in small parts",
    kind="warm-up",
    minutes=10,
    difficulty=2,
    prompt="A batch did not fit, so it was cut into parts. For each part you have the gradient of its **mean** loss, "
    "and the number of tokens that counted in it, at least 1. Give the gradient of the mean loss of the whole batch. "
    "(This is gradient accumulation.)\n\nShapes: `gradients` is a `list` of float32 tensors of one shape, `counts` a "
    "`list` of `int`. Result: one tensor of that shape; leave the given ones unchanged.",
    signature="def add_up(gradients: list[Tensor], counts: list[int]) -> Tensor",
    inputs=_gradient_inputs,
    solution=add_up,
    mistakes=[
        Mistake(
            "every part weighs the same",
            _weighted(lambda counts: [1 / len(counts)] * len(counts)),
            "A token in a short part would count for more than one in a long part. "
            "(A well-known library did this until 2024.) Weight each part by its tokens.",
        ),
        Mistake(
            "they are added up",
            _weighted(lambda counts: [1.0] * len(counts)),
            "Each is already a mean. The sum is as many times too large as there are parts.",
        ),
        Mistake(
            "the sum is divided by all tokens, without weights",
            _weighted(lambda counts: [1 / sum(counts)] * len(counts)),
            "Each gradient is a mean already. Multiply it by its number of tokens first, then divide by all.",
        ),
        Mistake(
            "each is divided by its number of tokens",
            _weighted(lambda counts: [1 / count for count in counts]),
            "Each gradient is a mean already, so that would divide twice. Multiply by its number of tokens.",
        ),
        Mistake(
            "it is not divided by all tokens",
            _weighted(lambda counts: [float(count) for count in counts]),
            "Multiplying by the tokens makes sums again. Divide by all tokens at the end.",
        ),
        Mistake(
            "it is divided by the number of parts",
            _weighted(lambda counts: [count / len(counts) for count in counts]),
            "Divide by the number of tokens, not of parts.",
        ),
        Mistake(
            "it is divided by the tokens and by the parts",
            _weighted(lambda counts: [count / sum(counts) / len(counts) for count in counts]),
            "The weights count / total sum to 1 already. Add up; no mean after that.",
        ),
        Mistake(
            "the weights are rounded down to 0",
            _weighted(lambda counts: [count // sum(counts) for count in counts]),
            "`//` makes 0 of every fraction: `/`.",
        ),
        Mistake(
            "the largest part weighs 1",
            _weighted(lambda counts: [count / max(counts) for count in counts]),
            "The weights must sum to 1: divide by all tokens, `sum(counts)`.",
        ),
        Mistake(
            "only the last part is left",
            _weighted(lambda counts: [0.0] * (len(counts) - 1) + [1.0]),
            "The gradients of the earlier parts are gone: was `zero_grad` called between the parts?",
        ),
        Mistake(
            "only the last part is left, with its weight",
            _weighted(lambda counts: [0.0] * (len(counts) - 1) + [counts[-1] / sum(counts)]),
            "Each part overwrites the one before. Add them up: `+=`.",
        ),
        Mistake(
            "only the largest part counts",
            _weighted(lambda counts: [float(i == counts.index(max(counts))) for i in range(len(counts))]),
            "Every token of every part counts. Weight each part by its tokens.",
        ),
        Mistake(
            "the short parts weigh more",
            _weighted(lambda counts: [(1 / count) / sum(1 / c for c in counts) for count in counts]),
            "A part with more tokens says more: multiply by its count, do not divide.",
        ),
        Mistake(
            "they are not added up",
            lambda gradients, counts: [g * (c / sum(counts)) for g, c in zip(gradients, counts, strict=True)],
            "Each part has the right weight. One gradient is asked for: their sum.",
        ),
        Mistake(
            "the first gradient is overwritten",
            _into_the_first,
            "The value is right, but `total = gradients[0]` is the same tensor, and `+=` changes it. Begin with "
            "`torch.zeros_like(gradients[0])`.",
        ),
        Mistake(
            "the given gradients are changed",
            _all_in_place,
            "The value is right, but `*=` changes the tensors that you were given. Write `g * weight`.",
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
    yield from [(one([1.0, torch.nan]), 16.0, 0, 2), (one([torch.nan]), 2.0, 2, 4), (one([torch.inf, 1.0]), 2.0, 2, 4)]
    yield from [(one([3.0]), 2.0, 0, 1), (one([3e38, 3e38, -3e38]), 2.0, 2, 4), (one([0.0, 0.0]), 8.0, 1, 4)]
    for _ in range(6):
        after = rng.randrange(3, 6)
        gradient = _normal(rng, 2, 3) * 50
        if rng.random() < 0.3:
            gradient[1, rng.randrange(3)] = rng.choice((torch.inf, torch.nan))
        yield gradient, float(2 ** rng.randrange(2, 12)), rng.randrange(after), after


def _all_finite(gradient):
    return bool(torch.isfinite(gradient).all())


def _scaler_variant(
    finite=_all_finite,
    overflow=lambda gradient, scale, good: (None, scale / 2, 0),
    divided=lambda gradient, scale, grown: gradient / scale,
    grows=lambda good, after: good == after,
    grown=lambda scale: scale * 2,
    after_growing=lambda good: 0,
    counted=lambda good: good + 1,
    given_back=lambda good, now: now,
):
    def wrong(gradient, scale, good, grow_after):
        if not finite(gradient):
            return overflow(gradient, scale, good)
        now = counted(good)
        if grows(now, grow_after):
            return divided(gradient, scale, grown(scale)), grown(scale), after_growing(now)
        return divided(gradient, scale, scale), scale, given_back(good, now)

    return wrong


def _unscale_in_place(gradient, scale, good, grow_after):
    if not _all_finite(gradient):
        return None, scale / 2, 0
    return unscale(gradient.div_(scale), 1.0, good, grow_after)[0], *unscale(gradient, scale, good, grow_after)[1:]


_SCALER = Exercise(
    id="gpu.6",
    title="The loss scaler of float16",
    kind="stretch",
    minutes=20,
    difficulty=3,
    prompt="The loss was multiplied by `scale`, so that small gradients do not vanish in float16. If every number of "
    "the gradient is finite, divide it by `scale` (the one that the loss was multiplied by) and count one good step; "
    "when the count reaches `grow_after`, the next scale is twice as large and the count begins at 0 again. If any "
    "number is infinite or NaN, the step is skipped: return None for the gradient, half the scale, and the count 0."
    "\n\nShapes: `gradient` is a float32 tensor of any shape; leave it unchanged. `scale` is a `float`; `good`, the "
    "good steps so far, an `int` with 0 ≤ `good` < `grow_after`. Result: three things, the gradient or None, the next "
    "scale, the next count.",
    signature="def unscale(gradient: Tensor, scale: float, good: int, grow_after: int)\n"
    "    -> tuple[Tensor | None, float, int]",
    inputs=_scaler_inputs,
    solution=unscale,
    mistakes=[
        Mistake(
            "the gradient stays multiplied",
            _scaler_variant(divided=lambda gradient, scale, grown: gradient * 1.0),
            "The optimizer would make steps that are `scale` times too large (and AdamW would hide it): divide.",
        ),
        Mistake(
            "the gradient is multiplied once more",
            _scaler_variant(divided=lambda gradient, scale, grown: gradient * scale),
            "The loss was multiplied, and the gradient with it: divide to undo that.",
        ),
        Mistake(
            "the gradient is divided by the new scale",
            _scaler_variant(divided=lambda gradient, scale, grown: gradient / grown),
            "The loss was multiplied by the **old** scale. Divide first, then let it grow.",
        ),
        Mistake(
            "the gradient is returned only when the scale grows",
            _scaler_variant(divided=lambda gradient, scale, grown: gradient / scale if grown != scale else None),
            "Every step with a finite gradient is made: return gradient / scale in both cases.",
        ),
        Mistake(
            "NaN is not noticed",
            _scaler_variant(finite=lambda gradient: not bool(torch.isinf(gradient).any())),
            "inf − inf is NaN, so an overflow often arrives as NaN: `torch.isfinite` finds both.",
        ),
        Mistake(
            "infinity is not noticed",
            _scaler_variant(finite=lambda gradient: not bool(torch.isnan(gradient).any())),
            "An overflow is infinite first: `torch.isfinite` finds both, NaN and infinity.",
        ),
        Mistake(
            "minus infinity is not noticed",
            _scaler_variant(finite=lambda gradient: not bool((gradient.isnan() | (gradient == torch.inf)).any())),
            "A number can overflow on the negative side as well: `torch.isfinite` finds all three.",
        ),
        Mistake(
            "one finite number is enough",
            _scaler_variant(finite=lambda gradient: bool(torch.isfinite(gradient).any())),
            "A single infinite number spoils the step: **all** must be finite.",
        ),
        Mistake(
            "only the sum or the norm is looked at",
            _scaler_variant(finite=lambda gradient: bool(torch.isfinite(gradient.sum()))),
            "A sum (or a sum of squares) can overflow although each number is finite: look at every number.",
        ),
        Mistake(
            "the step is not skipped",
            _scaler_variant(finite=lambda gradient: True),
            "A gradient with an infinite number would spoil every weight that it touches, for ever.",
        ),
        Mistake(
            "an infinite gradient is returned",
            _scaler_variant(overflow=lambda gradient, scale, good: (gradient / scale, scale / 2, 0)),
            "The step is skipped: return None, so that the optimizer leaves the weights alone.",
        ),
        Mistake(
            "an infinite gradient becomes zero",
            _scaler_variant(overflow=lambda gradient, scale, good: (torch.zeros_like(gradient), scale / 2, 0)),
            "With a gradient of zeros AdamW makes a step all the same, from its averages. Skip it: None.",
        ),
        Mistake(
            "the scale never grows",
            _scaler_variant(grows=lambda good, after: False),
            "It falls at each overflow. Without growing it would end near 1, where small gradients vanish again. (The "
            "current step counts, too: the scale grows when the count reaches `grow_after`, not one later.)",
        ),
        Mistake(
            "the scale grows one step early",
            _scaler_variant(grows=lambda good, after: good >= after - 1),
            "The current step is counted once: the scale grows when the new count reaches `grow_after`.",
        ),
        Mistake(
            "the scale grows at every good step",
            _scaler_variant(grows=lambda good, after: True, after_growing=lambda good: good),
            "It would overflow every few steps. Only after `grow_after` good steps in a row is a larger one tried.",
        ),
        Mistake(
            "the scale grows by 1",
            _scaler_variant(grown=lambda scale: scale + 1),
            "It is doubled: scales are powers of 2, so that multiplying by them rounds nothing.",
        ),
        Mistake(
            "the scale is squared",
            _scaler_variant(grown=lambda scale: scale**2),
            "It is doubled: times 2, not to the power of 2.",
        ),
        Mistake(
            "the scale shrinks after good steps",
            _scaler_variant(grown=lambda scale: scale / 2),
            "Good steps say that a larger scale may fit: double it.",
        ),
        Mistake(
            "the count goes on after growing",
            _scaler_variant(after_growing=lambda good: good),
            "The larger scale has to prove itself: the count begins at 0 again.",
        ),
        Mistake(
            "good steps are not counted",
            _scaler_variant(given_back=lambda good, now: good),
            "This good step counts as well: return good + 1.",
        ),
        Mistake(
            "the scale stays after an overflow",
            _scaler_variant(overflow=lambda gradient, scale, good: (None, scale, 0)),
            "The same scale would overflow again at the next step: halve it.",
        ),
        Mistake(
            "the scale is doubled after an overflow",
            _scaler_variant(overflow=lambda gradient, scale, good: (None, scale * 2, 0)),
            "An overflow says that the scale is too large: halve it.",
        ),
        Mistake(
            "the count goes on after an overflow",
            _scaler_variant(overflow=lambda gradient, scale, good: (None, scale / 2, good)),
            "Good steps **in a row** are counted: an overflow starts the count over.",
        ),
        Mistake(
            "an overflow is counted as a good step",
            _scaler_variant(overflow=lambda gradient, scale, good: (None, scale / 2, good + 1)),
            "A skipped step is not a good one: the count begins at 0.",
        ),
        Mistake(
            "the gradient that was given is changed",
            _unscale_in_place,
            "The values are right, but `div_` (or `/=`) has changed the given tensor: `gradient / scale`.",
        ),
    ],
    hints=[
        "Two cases: all finite, or not. `torch.isfinite(gradient).all()` tells them apart.",
        "Not finite: None, scale / 2, 0.",
        "Finite: count one more; if the count reaches `grow_after`, the scale doubles and the count is 0.",
    ],
)

EXERCISES = [_DAYS, _CLOCK, _CEILING, _FLOPS, _ACCUMULATE, _SCALER]

PREDICTIONS = [
    Prediction(
        id="gpu.a",
        question="What is 256 + 1 in bfloat16, whose numbers have 7 bits after the leading one?",
        kind="number",
        answer=256,
        explanation="After 256 come 258 and 260: the step is 2, and the 1 is lost.",
    ),
    Prediction(
        id="gpu.b",
        question="Two matrices of n × n are multiplied. n doubles. The work is eight times as much. And the FLOPs "
        "per byte moved?",
        kind="choice",
        choices=("they stay the same", "twice as many", "four times as many", "eight times as many"),
        answer="b",
        explanation="Eight times the FLOPs, four times the numbers: each number is used twice as often.",
    ),
    Prediction(
        id="gpu.c",
        question="Attention is computed step by step, without a fused kernel, and T doubles. How much does it store "
        "for the backward pass?",
        kind="choice",
        choices=("as much as before", "about twice as much", "nearly four times as much"),
        answer="c",
        explanation="The weights are [B, H, T, T]: four times as many numbers. A kernel that does not store them "
        "needs twice as much.",
    ),
    Prediction(
        id="gpu.d",
        question="Which of the four is the largest in a training step of a small model with many tokens?",
        kind="choice",
        choices=("weights", "gradients", "the optimizer's averages", "activations"),
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
        id="gpu.h",
        question="What fraction of the rate of one large matrix product does training of the small model reach (0 to "
        "1)?",
        kind="number",
        tolerance=0.3,
        explanation="The rest goes to small operations, the optimizer, padding, and to launching all of it.",
    ),
]

QUESTIONS = [
    Question(
        about="training",
        question="The first loss of a run is far above ln V. What does that tell you?",
        choices=("the text is hard", "something is wrong before any training", "the learning rate is too small"),
        answer="b",
        explanation="A fresh model gives every token about 1/V, so it begins near ln V. Stop, and find out why not.",
    ),
    Question(
        about="attention",
        question="T doubles. What happens to the number of attention scores?",
        choices=("it stays the same", "it doubles", "it becomes four times as large"),
        answer="c",
        explanation="Each of T queries meets T keys.",
    ),
    Question(
        about="sampling",
        question="Why does a model that generates token by token with a cache mostly wait for memory?",
        choices=(
            "each new token reads all weights, for two operations with each",
            "the cache is compressed",
            "softmax is slow",
        ),
        answer="a",
        explanation="One token is a matrix with one row: every weight is fetched, used once, and fetched again for the "
        "next token.",
    ),
]
