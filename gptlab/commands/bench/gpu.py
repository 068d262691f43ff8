"""Training and generating at speed against peers: on a GPU at GPT-2's size, on a CPU the same at a small one.

Each row is printed, and recorded, as soon as it is measured, in the order of what matters: the training step at the
batch size that fills the card, then each gain alone, the step of a small model, generating, memory, other batch sizes.
A contestant takes turns with `transformers`, so that whatever else the machine does hits both. What doesn't fit the
time limit is left out, and named. MFU is relative to the matmul rate measured on this device, which is lower than that
of its data sheet. Where there is no CUDA the table says so: its figures are then those of a small model on a CPU.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch

from gptlab import gpu
from gptlab.commands import environment
from gptlab.commands.bench import contestants, one_gpu
from gptlab.commands.bench.contestants import Contestant, Setting, Size
from gptlab.model import GPT
from gptlab.runs import records
from gptlab.runs.recipes import RECIPES, model_config

COLUMNS = {  # how a column is written
    "B": "{:>6}", "tokens/s": "{:>12,.1f}", "ratio": "{:>8.2f}", "MFU of the measured rate": "{:>26.1%}",
    "peak MiB": "{:>10,.0f}", "predicted MiB": "{:>15,.1f}", "measured MiB": "{:>14,.1f}", "steps/s": "{:>10,.1f}",
    "first loss": "{:>12.4f}",
}  # fmt: skip
WORDS = 38  # the width of a column of words
SECONDS, QUICK = 150, 60
SIZES = {  # the batch size that matters comes first
    "cuda": Size(model={}, T=1024, batches=(32, 64, 16, 8), new=256, compile=True, turn=10),
    "cpu": Size(
        model=dict(vocab_size=4096, n_positions=256, n_embd=256, n_layer=4, n_head=4),
        T=256, batches=(8, 4, 2), new=64, compile=False,
    ),
}  # fmt: skip


class Clock:
    """A time limit that is asked before each row.

    Args:
        seconds: from now on.
        now: the time in seconds; a test brings its own.

    >>> clock = Clock(60, now=iter([0.0, 10.0, 50.0]).__next__)
    >>> clock.allows(30), clock.allows(30)
    (True, False)
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.perf_counter):
        self.now, self.seconds, self.end, self.longest = now, seconds, now() + seconds, 0.0

    def allows(self, expected: float, share: float = 1.0) -> bool:
        """Whether something that takes so many seconds would end in time, or in a share of it.

        Args:
            expected: how long it takes.
            share: of the whole time, from the beginning.
        """
        return self.now() + expected <= self.end - (1 - share) * self.seconds


def bench_gpu(rounds: int = 5, record: Path | None = None, seconds: float | None = None, quick: bool = False) -> None:
    """Print tokens per second, MFU and memory of training, and tokens per second of generating, row by row.

    Args:
        rounds: turns of each contestant, fewer where the time is short; their median counts.
        record: a file to add the figures to.
        seconds: the time limit; 150 unless given.
        quick: a limit of 60 seconds: the rows that matter most.
    """
    import transformers

    clock = Clock(seconds or (QUICK if quick else SECONDS))
    device = gpu.pick_device()
    dtype, size = gpu.pick_dtype(device), SIZES[device.type]
    gpu.pick_float32(device, dtype)
    torch._dynamo.config.cache_size_limit = 64  # of one function for many models
    measured = records.new("bench gpu", environment.this_command(), device)
    measured.versions["transformers"] = transformers.__version__
    rate = gpu.matmul_flops(device, dtype)
    precision = str(dtype).removeprefix("torch.")
    print(f"{measured.device}, {precision}, compiled: {'yes' if size.compile else 'no'}; "
          f"matmul rate {rate / 1e12:.2f} TFLOP/s, measured")  # fmt: skip
    if device.type != "cuda":
        print("No GPU here: a small model is measured instead of GPT-2 124M, and no figure below is one of a GPU.")
    measured.numbers |= {
        f"matmul rate in {precision} (TFLOP/s)": rate / 1e12,
        "memory bandwidth (GB/s)": gpu.bandwidth(device) / 1e9,
        "parameters": contestants.models(size, torch.device("cpu"))[1].count_parameters(),
    }
    compiled = ", compiled" if size.compile else ""
    first, *others = size.batches
    shares = iter((0.55, 0.7, 0.85, 0.95, 1.0))  # of the time: when each part has to be done, so that all have some
    parts: dict[str, Iterable[dict]] = {
        f"training, T = {size.T}, {precision}{compiled}": _training(
            Setting(device, dtype, size, first), rate, rounds, clock
        ),
        f"a step of the recipe shakespeare-gpu, {precision}{compiled}": _small(device, dtype, size, rounds, clock),
        f"generating {size.new} tokens with a cache, B = 1, {precision}": one_gpu.generating(
            device, dtype, size, rounds
        ),
        f"memory of a step, not compiled, {precision}": one_gpu.memory(device, dtype, size),
        f"training at other batch sizes, T = {size.T}, {precision}{compiled}": (
            row for B in others for row in _training(Setting(device, dtype, size, B), rate, rounds, clock, few=True)
        ),
    }
    left_out = []
    for name, part in parts.items():
        rows = measured.tables.setdefault(name, [])
        for row in _in_time(part, clock, next(shares)):
            _show(name, row, first=not rows)
            rows.append(row)
            if record is not None:
                records.add(measured, record)  # row by row, so that a run that is cut short was not in vain
        if not rows:
            del measured.tables[name]
            left_out.append(name)
    if left_out:
        print(f"\nthe time is up (--seconds gives more); left out: {'; '.join(left_out)}")
    if record is not None:
        print(f"\nrecorded in {record}")


def _in_time(part: Iterable[dict], clock: Clock, share: float) -> Iterator[dict]:
    """The rows of a part, each begun only if one like the last would end in time, and the device has the memory."""
    rows, number, spent = iter(part), 0, clock.longest / 2
    while clock.allows(1.2 * spent, share if number > 1 else 1.0):  # the first two of a table can be compared
        started = time.perf_counter()
        try:
            row = next(rows, None)
        except torch.OutOfMemoryError:
            print(f"after {number} rows the memory of this device is full")
            return
        if row is None:
            return
        spent, number = time.perf_counter() - started, number + 1
        clock.longest = max(clock.longest, spent)
        yield row
    if number:
        print("  (the time is up: the rest of this table is left out)")


def _show(name: str, row: dict, first: bool) -> None:
    """Print a row: words on the left, figures as `COLUMNS` formats them; before the first one the table's head."""
    if first:
        print(f"\n{name}")
        heads = (f"{key:>{len(COLUMNS[key].format(0))}}" if key in COLUMNS else f"{key:<{WORDS}}" for key in row)
        print("".join(heads))
    words = f"{{:<{WORDS}}}"
    print("".join(COLUMNS.get(key, words).format(value) for key, value in row.items()), flush=True)


def _beside(peer: Contestant, other: Contestant, turn: int, rounds: int, clock: Clock) -> tuple[float, float]:
    """Median seconds of a turn of two contestants, in turns; at least one round, and no more than the time allows."""
    seconds: list[tuple[float, float]] = []
    for _ in range(rounds):
        if seconds and not clock.allows(sum(seconds[-1])):
            break
        times = []
        for each in (peer,) if other is peer else (peer, other):
            started = time.perf_counter()
            each.step(turn)
            times.append(time.perf_counter() - started)
        seconds.append((times[0], times[-1]))
    return statistics.median(s[0] for s in seconds), statistics.median(s[1] for s in seconds)


def _training(setting: Setting, rate: float | int, rounds: int, clock: Clock, few: bool = False) -> Iterator[dict]:
    """A row for each contestant at one batch size; the ratio is to transformers in the same minutes."""
    size, device, B = setting.size, setting.device, setting.B
    peer = contestants.transformers(setting)
    expected = peer.step()  # compiles, and makes the optimizer's averages
    many = setting.B * size.T
    shape = models_shape(setting)
    kernel = gpu.pick_attention(device, B, shape.n_head, size.T, shape.n_embd // shape.n_head, setting.dtype)

    def with_kernel() -> Contestant:
        made = contestants.whole(setting)

        def steps(times: int = 1) -> float:
            with gpu.attention_kernel(kernel):
                return made.step(times)

        return made._replace(step=steps)

    ways: dict[str, Callable[[], Contestant]] = {"transformers": lambda: peer}
    ways["gptlab, as train has it"] = with_kernel
    if not few:
        ways |= {
            "nanoGPT's step": lambda: contestants.nanogpt(setting),
            "gptlab, the lesson's model": lambda: contestants.plain(setting),
            "  with one product for q, k, v": lambda: contestants.plain(setting, head=False),
            "  with a padded head": lambda: contestants.plain(setting, attention=False, multiple=64, rows=many),
            "  with the loss in parts": lambda: contestants.plain(setting, attention=False, multiple=1),
            "  with all of these, queued": lambda: contestants.whole(setting, record=False),
        }
    for name, make in ways.items():
        other = make()
        loss = expected if other is peer else other.step()
        for _ in range(4 if device.type == "cuda" and other is not peer else 0):
            other.step()  # warms up, and is recorded
        if name != "nanoGPT's step" and abs(loss - expected) > 0.02:  # that one has other weights
            raise ArithmeticError(
                f"the same weights and batch give the losses {[expected, loss]}: this compares unlike things"
            )
        memory = contestants.peak(other, device)
        spent = _beside(peer, other, size.turn, rounds, clock)
        speed = size.turn * B * size.T / (spent[0] if other is peer else spent[1])
        row = {"": name, "B": B, "tokens/s": speed, "ratio": 1.0 if other is peer else spent[0] / spent[1]}
        row["MFU of the measured rate"] = gpu.mfu(speed, shape, size.T, rate)
        yield row | {"peak MiB": memory / 2**20}
        del other


def models_shape(setting: Setting):
    """The configuration of ours."""
    return contestants.models(setting.size, torch.device("cpu"))[1].config


def _small(device: torch.device, dtype: torch.dtype, size: Size, rounds: int, clock: Clock) -> Iterator[dict]:
    """A model so small that starting its kernels takes longer than running them: what each step of waiting costs."""
    recipe = RECIPES["shakespeare-gpu"]
    sizes = recipe.model if device.type == "cuda" else recipe.model | dict(context=32, n_embd=48)
    config = model_config(dataclasses.replace(recipe, model=sizes), vocab_size=65)
    B = recipe.batch_size if device.type == "cuda" else 2
    plan = dataclasses.replace(recipe.training, steps=10**9)

    def made(turns: bool, compiled: bool, record: bool) -> Contestant:
        torch.manual_seed(0)
        setting = Setting(device, dtype, dataclasses.replace(size, T=config.context, compile=compiled), B)
        found = contestants.queued(GPT(config).to(device).train(), plan, setting, record)
        return found if turns else found._replace(step=lambda times=1: [found.step() for _ in range(times)][-1])

    turn = 20 if device.type == "cuda" else 4
    peer = made(turns=False, compiled=size.compile, record=False)
    ways = {
        "read after each step": lambda: peer,
        f"queued, read after {turn}": lambda: made(True, size.compile, False),
        "queued, and recorded whole": lambda: made(True, size.compile, True),
    }
    for name, make in ways.items():
        if "recorded" in name and device.type != "cuda":
            continue
        other = make()
        loss = other.step(5)
        spent = _beside(peer, other, turn, rounds, clock)
        own = spent[0] if other is peer else spent[1]
        row = {"": name, "B": B, "steps/s": turn / own, "ratio": 1.0 if other is peer else spent[0] / spent[1]}
        yield row | {"tokens/s": turn * B * config.context / own, "first loss": loss}
