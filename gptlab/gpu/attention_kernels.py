"""Which kernel computes attention fastest on this card: it is measured, because no rule has held for two generations.

PyTorch has several for the same arithmetic: flash attention (Dao 2023), cuDNN's, which on Hopper is often ahead and
sometimes behind, and a memory-efficient one for cards that have neither. It takes the first that fits, in an order of
its own. A CPU has one, so nothing is measured there.

>>> pick_attention("cpu", B=2, H=2, T=8, hs=4)
''
>>> with attention_kernel(""):  # leaves torch's own choice
...     pass
"""

import contextlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from gptlab.entrances import Count, Fraction, guard
from gptlab.gpu.speed import measure

KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}
Timer = Callable[[Callable[[], object], torch.device], float]


def attention_seconds(
    device: str | torch.device,
    B: Count,
    H: Count,
    T: Count,
    hs: Count,
    dtype: torch.dtype = torch.bfloat16,
    dropout: Fraction = 0.0,
    time: Timer = measure,
) -> dict[str, float]:
    """Seconds of causal attention, forward and backward, for each kernel that this device has.

    Args:
        device: where it runs.
        B: sequences.
        H: heads.
        T: tokens in a sequence.
        hs: channels of a head.
        dtype: of queries, keys and values.
        dropout: of the weights.
        time: seconds that some work takes on a device; a test brings its own.

    >>> sorted(attention_seconds("cpu", B=2, H=2, T=8, hs=4, dtype=torch.float32))
    ['flash']
    """
    q, k, v = (torch.randn(B, H, T, hs, device=device, dtype=dtype, requires_grad=True) for _ in range(3))
    seconds = {}

    def both() -> None:
        F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout).sum().backward()

    for name, kernel in KERNELS.items():
        try:
            with sdpa_kernel(kernel):
                both()  # a kernel that this device or this shape does not have fails here
                seconds[name] = time(both, torch.device(device))
        except RuntimeError:
            continue
    return seconds


def pick_attention(
    device: str | torch.device,
    B: Count,
    H: Count,
    T: Count,
    hs: Count,
    dtype: torch.dtype = torch.bfloat16,
    dropout: Fraction = 0.0,
    time: Timer = measure,
) -> str:
    """The name of the fastest kernel for this work, as `attention_seconds` has it; "" leaves torch its choice."""
    if torch.device(device).type != "cuda":
        return ""
    seconds = attention_seconds(device, B, H, T, hs, dtype, dropout, time)
    return min(seconds, key=lambda name: seconds[name]) if seconds else ""


def attention_kernel(name: str) -> contextlib.AbstractContextManager:
    """Inside, torch takes this kernel where it fits, and another where it does not: in evaluations, say.

    Raises:
        ValueError: for another name than those of `KERNELS`, and "".
    """
    if not name:
        return contextlib.nullcontext()
    if name not in KERNELS:
        raise ValueError(f"unknown attention kernel {name!r}: choose one of {list(KERNELS)}")
    others = [kernel for kernel in (*KERNELS.values(), SDPBackend.MATH) if kernel != KERNELS[name]]
    return sdpa_kernel([KERNELS[name], *others], set_priority=True)


guard(globals())
