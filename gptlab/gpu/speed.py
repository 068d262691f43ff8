"""How to time work on a device, how to count what it starts, and the two ceilings of a machine: products and bandwidth.

>>> measure(lambda: sum(range(1000)), "cpu") < 1
True
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from gptlab.entrances import Count, NotNegative, Positive, Whole, guard
from gptlab.gpu.devices import synchronize


def measure(
    work: Callable[[], object], device: str | torch.device = "cpu", repeats: int = 7, warmup: Whole = 2
) -> float:
    """Seconds that `work()` takes on a device: the median of several runs, after some that don't count.

    A GPU only queues its work and returns, so the clock is read after waiting, before and after. The median, because
    one slow run must not count. The first runs don't, because memory is allocated and kernels are chosen or compiled.

    Args:
        work: what is timed.
        device: where it runs.
        repeats: runs that count.
        warmup: runs before them.

    >>> seconds = measure(lambda: time.sleep(0.01), repeats=3)
    >>> 0.01 <= seconds < 0.1
    True
    """
    times = []
    for run in range(warmup + repeats):
        synchronize(device)
        started = time.perf_counter()
        work()
        synchronize(device)
        if run >= warmup:
            times.append(time.perf_counter() - started)
    return statistics.median(times)


# What starts no kernel: another view of the same memory, or memory that nobody has written to yet.
_FREE = {
    f"aten::{name}"
    for name in (
        "_reshape_alias", "_unsafe_view", "alias", "as_strided", "detach", "detach_", "diagonal", "empty", "empty_like",
        "empty_strided", "expand", "lift_fresh", "mT", "narrow", "numpy_T", "permute", "resize_", "resolve_conj",
        "resolve_neg", "result_type", "select", "set_", "slice", "split", "squeeze", "t", "to", "transpose", "unbind",
        "unfold", "unsqueeze", "view", "view_as",
    )
}  # fmt: skip
_TOGETHER = ("aten::_foreach", "aten::_fused", "Torch-Compiled Region", "CompiledFunctionBackward")


def count_operations(work: Callable[[], object]) -> int:
    """How many operations `work()` asks of torch, one by one; on a GPU each of them starts a kernel, at least one.

    Views and empty tensors don't count, because nothing is computed. What joins many tensors in one call (`_foreach`,
    a fused optimizer, a function that torch.compile has made) counts once. On a GPU of today a kernel takes some five
    microseconds to be started from Python, whatever it does.

    Args:
        work: what is counted, once; run it once before, if it allocates or compiles something in its first run.

    >>> x = torch.ones(3, 5)
    >>> count_operations(lambda: (x.T @ x).relu() + 1)  # a product, an activation function, a sum
    3
    """
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        work()

    def counts(event: torch.autograd.profiler_util.FunctionEvent) -> bool:
        joined = event.name.startswith(_TOGETHER)
        return joined or (event.name.startswith("aten::") and event.name not in _FREE)

    def number(event: torch.autograd.profiler_util.FunctionEvent) -> int:
        """Those inside an operation, or the operation itself where there are none."""
        if event.name.startswith(_TOGETHER):
            return 1
        return sum(map(number, event.cpu_children)) or int(counts(event))

    return sum(number(event) for event in profile.events() if event.cpu_parent is None)


def matmul_flops(
    device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32, n: Count | None = None, repeats: int = 7
) -> float:
    """The first ceiling: FLOP/s of a product of two n × n matrices, as fast as this machine makes one.

    Args:
        device: where it is measured.
        dtype: of the matrices.
        n: their size; 768 on a CPU and 8192 on a GPU unless given, so that moving the numbers costs next to nothing.
        repeats: products, whose median counts.

    >>> matmul_flops("cpu", n=64) > 1e6
    True
    """
    n = n or (768 if torch.device(device).type == "cpu" else 8192)
    a, b = (torch.rand(n, n, device=device).to(dtype) for _ in range(2))
    out = torch.empty(n, n, device=device, dtype=dtype)
    until = time.perf_counter() + (0.5 if a.is_cuda else 0.0)  # the clock of a GPU rises under load
    while time.perf_counter() < until:
        torch.mm(a, b, out=out)
        synchronize(device)
    return 2 * n**3 / measure(lambda: torch.mm(a, b, out=out), device, repeats)


def bandwidth(device: str | torch.device = "cpu", megabytes: Positive | None = None, repeats: int = 7) -> float:
    """The second ceiling: bytes per second between memory and processor; a copy reads and writes each byte once.

    Args:
        device: where it is measured.
        megabytes: to copy; 256 on a CPU and 2048 on a GPU unless given, more than any cache holds.
        repeats: copies, whose median counts.

    >>> bandwidth("cpu", megabytes=8) > 1e6
    True
    """
    megabytes = megabytes or (256 if torch.device(device).type == "cpu" else 2048)
    source = torch.ones(int(megabytes * 1e6) // 4, device=device)
    target = torch.empty_like(source)
    return 2 * 4 * source.numel() / measure(lambda: target.copy_(source), device, repeats)


@dataclass(frozen=True)
class Roofline:
    """What a machine can do at most, by arithmetic intensity (Williams, Waterman & Patterson 2009).

    Attributes:
        rate: FLOP/s of its matrix products.
        bandwidth: bytes per second of its memory.

    >>> roof = Roofline(rate=100e12, bandwidth=2e12)
    >>> roof.ridge, roof.attainable(10) / 1e12, roof.attainable(200) / 1e12
    (50.0, 20.0, 100.0)
    """

    rate: Positive
    bandwidth: Positive

    @classmethod
    def of(cls, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> "Roofline":
        """The roofline of this machine, measured."""
        return cls(matmul_flops(device, dtype), bandwidth(device))

    @property
    def ridge(self) -> float:
        """FLOPs per byte: with more the matrix products are the limit, with fewer the memory is."""
        return self.rate / self.bandwidth

    def attainable(self, intensity: NotNegative) -> float:
        """FLOP/s at most, for work with this many FLOPs per byte."""
        return min(float(self.rate), intensity * self.bandwidth)

    def seconds(self, flops: NotNegative, moved: NotNegative) -> float:
        """Seconds at least, for so many FLOPs and bytes (of one `Work`): the slower of the two."""
        return max(flops / self.rate, moved / self.bandwidth)


guard(globals())
