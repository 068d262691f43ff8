"""Measured, not believed: seconds, and the two ceilings of a machine.

>>> measure(lambda: sum(range(1000)), "cpu") < 1
True
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from gptlab.gpu.devices import synchronize


def measure(work: Callable[[], object], device: str | torch.device = "cpu", repeats: int = 7, warmup: int = 2) -> float:
    """Seconds that `work()` takes on `device`: the median of `repeats`, after some that do not count.

    A GPU only queues its work and returns, so the clock is read after waiting, before and after. The median, for one
    slow run must not count; the first runs do not, for in them memory is claimed and kernels are chosen or compiled.

    >>> seconds = measure(lambda: time.sleep(0.01), repeats=3)
    >>> 0.01 <= seconds < 0.1
    True
    """
    times = []
    for run in range(warmup + repeats):
        synchronize(device)
        began = time.perf_counter()
        work()
        synchronize(device)
        if run >= warmup:
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def matmul_flops(
    device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32, n: int | None = None, repeats: int = 7
) -> float:
    """The first ceiling: FLOP/s of a product of two n × n matrices, as fast as this machine makes one.

    n is 768 on a CPU and 8192 on a GPU, unless given: large enough that moving the numbers costs next to nothing.

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


def bandwidth(device: str | torch.device = "cpu", megabytes: float | int | None = None, repeats: int = 7) -> float:
    """The second ceiling: bytes a second between memory and arithmetic, for a copy (each byte read once, written once).

    256 MB on a CPU and 2 GB on a GPU, unless given: more than any cache holds.

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
        rate: FLOP/s of its matrix products.  bandwidth: bytes/s of its memory.

    >>> roof = Roofline(rate=100e12, bandwidth=2e12)
    >>> roof.ridge, roof.attainable(10) / 1e12, roof.attainable(200) / 1e12
    (50.0, 20.0, 100.0)
    """

    rate: float | int
    bandwidth: float | int

    @classmethod
    def of(cls, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> "Roofline":
        """The roofline of this machine, measured."""
        return cls(matmul_flops(device, dtype), bandwidth(device))

    @property
    def ridge(self) -> float:
        """FLOPs for each byte above which the matrix rate is the limit, and below which the memory is."""
        return self.rate / self.bandwidth

    def attainable(self, intensity: float | int) -> float:
        """FLOP/s at most, for work with this many FLOPs for each byte."""
        return min(float(self.rate), intensity * self.bandwidth)

    def seconds(self, flops: float | int, moved: float | int) -> float:
        """Seconds at least, for so many FLOPs and bytes (of one `Work`): the slower of the two."""
        return max(flops / self.rate, moved / self.bandwidth)
