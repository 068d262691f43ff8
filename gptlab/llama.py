"""From GPT-2 to Llama: the published sizes, and the order of rows in Meta's and Hugging Face's files.

The four parts that Llama changes are RMSNorm, rotary positions, SwiGLU and grouped queries (`GPTConfig.n_kv_head`).
They stand in `gptlab.parts`, and can be had from here as well. `llama_config` is each published model as one
configuration.
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from gptlab.config import GPTConfig, RopeScaling
from gptlab.entrances import guard
from gptlab.parts import (
    RMSNorm,
    RotaryPositions,
    ShortConvolution,
    SwiGLU,
    rope_angles,
    rope_frequencies,
    rotate,
    squared_relu,
)

__all__ = [
    "RMSNorm", "RopeScaling", "RotaryPositions", "ShortConvolution", "SwiGLU", "llama_config", "rope_angles",
    "rope_frequencies", "rotate", "squared_relu", "to_halves", "to_interleaved",
]  # fmt: skip

# ── The order of rows ────────────────────────────────────────────────────────────────────────────────────────────────


def to_halves(weight: Float[Tensor, "C *in"], H: int) -> Float[Tensor, "C *in"]:
    """The rows of a query or key matrix (or bias) made for the pairing "interleaved", in the order of "halves".

    Within each of the H heads, pair i moves from rows 2i and 2i + 1 to rows i and i + hs/2. With queries and keys
    reordered alike, every q · k stays the same. Values are never rotated and stay as they are.

    Args:
        weight: of the query or key projection, or its bias.
        H: heads in it; for keys, the number of heads of keys.

    >>> import torch
    >>> to_halves(torch.arange(8.0), H=1).tolist()
    [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]
    """
    pairs = weight.unflatten(0, (H, -1, 2))  # [H, hs / 2, 2, *in]
    return pairs.transpose(1, 2).flatten(0, 2)  # [H, 2, hs / 2, *in] -> [C, *in]


def to_interleaved(weight: Float[Tensor, "C *in"], H: int) -> Float[Tensor, "C *in"]:
    """The inverse of `to_halves`: from Hugging Face's order of rows to Meta's.

    Args:
        weight: of the query or key projection, or its bias.
        H: heads in it; for keys, the number of heads of keys.

    >>> import torch
    >>> to_interleaved(to_halves(torch.arange(8.0), H=2), H=2).tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    """
    pairs = weight.unflatten(0, (H, 2, -1))  # [H, 2, hs / 2, *in]
    return pairs.transpose(1, 2).flatten(0, 2)  # [H, hs / 2, 2, *in] -> [C, *in]


# ── The published models ─────────────────────────────────────────────────────────────────────────────────────────────

# L, H, n_kv_head, C, mlp_size of each generation.
_LLAMA_2 = {
    "7B": (32, 32, 32, 4096, 11008),
    "13B": (40, 40, 40, 5120, 13824),
    "70B": (80, 64, 8, 8192, 28672),
}
_LLAMA_3 = {
    "8B": (32, 32, 8, 4096, 14336),
    "70B": (80, 64, 8, 8192, 28672),
}
_LLAMA_3_1 = {**_LLAMA_3, "405B": (126, 128, 8, 16384, 53248)}
_LLAMA_3_2 = {
    "1B": (16, 32, 8, 2048, 8192),
    "3B": (28, 24, 8, 3072, 8192),
}
_LONG = dict(vocab_size=128256, context=131072, rope_theta=500_000.0)
_GENERATIONS: dict[str, tuple[dict, dict]] = {
    "2-": (_LLAMA_2, dict(vocab_size=32000, context=4096)),
    "3-": (_LLAMA_3, dict(vocab_size=128256, context=8192, rope_theta=500_000.0)),
    "3.1-": (_LLAMA_3_1, dict(_LONG, rope_scaling=RopeScaling(factor=8.0))),
    "3.2-": (_LLAMA_3_2, dict(_LONG, rope_scaling=RopeScaling(factor=32.0), tie_weights=True)),
    "3.3-": ({"70B": _LLAMA_3["70B"]}, dict(_LONG, rope_scaling=RopeScaling(factor=8.0))),
}


def llama_config(size: str = "8B", **changes: Any) -> GPTConfig:
    """The configuration of a published Llama.

    Args:
        size: "8B" and "70B" are Llama 3, "405B" is Llama 3.1; others have their generation in front. Llama 2 (Touvron
            et al. 2023): "2-7B", "2-13B", "2-70B". Llama 3 (Dubey et al. 2024): "3-8B", "3-70B", "3.1-8B", "3.1-70B",
            "3.1-405B", "3.2-1B", "3.2-3B", "3.3-70B".
        changes: fields of `GPTConfig` that replace the published ones, as in `llama_config("8B", n_layer=2)`.

    Raises:
        ValueError: for a size that was not published, with those that were.

    >>> llama_config("8B").n_kv_head, llama_config("3.1-8B").rope_scaling.factor
    (8, 8.0)
    """
    generation, _, name = size.rpartition("-")
    generation = {"8B": "3-", "70B": "3-", "405B": "3.1-"}.get(size, f"{generation}-")
    sizes, settings = _GENERATIONS.get(generation, ({}, {}))
    if name not in sizes:
        known = [f"{generation}{name}" for generation, (sizes, _) in _GENERATIONS.items() for name in sizes]
        raise ValueError(f"unknown Llama {size!r}: choose '8B', '70B', '405B', or one of {known}")
    n_layer, n_head, n_kv_head, n_embd, mlp_size = sizes[name]
    parts = dict(norm="rmsnorm", position="rope", mlp="swiglu", bias=False, tie_weights=False)
    shape = dict(n_layer=n_layer, n_head=n_head, n_kv_head=n_kv_head, n_embd=n_embd, mlp_size=mlp_size)
    return GPTConfig(**(parts | shape | settings | changes))


guard(globals())
