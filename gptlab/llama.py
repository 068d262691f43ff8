"""From GPT-2 to Llama: four parts of the one GPT, swapped by name (lesson 11), and what came after them.

RMSNorm, rotary positions, SwiGLU, grouped queries (the last is `GPTConfig.n_kv_head`); then squared ReLU and a short
convolution, which small models profit from. Importing this module registers them in `gptlab.model.PARTS`. At the end
stands `llama_config`: the published models, each as one configuration.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gptlab.model import MLP, PARTS, GPTConfig, RopeScaling


class RMSNorm(nn.Module):
    """Divide by the root mean square, scale by a learned weight: LayerNorm without the mean (Zhang & Sennrich 2019).

    >>> RMSNorm(2, eps=0.0)(torch.tensor([[[3.0, 4.0]]])).square().mean().item()
    1.0
    """

    def __init__(self, size: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch C"]:
        scale = torch.rsqrt(x.float().square().mean(dim=-1, keepdim=True) + self.eps)  # [*batch, 1]
        return self.weight * (x * scale).to(x.dtype)


def rope_frequencies(
    hs: int, theta: float | int = 10_000.0, scaling: RopeScaling | None = None
) -> Float[Tensor, " half"]:
    """The angle by which one step turns pair i of a head's channels: 1 / theta^(2i / hs) (Su et al. 2021).

    With `scaling`, as in Llama 3.1 (Dubey et al. 2024): pairs that turn fast tell neighbours apart and are left as they
    are; pairs so slow that training never saw a whole turn are slowed by `factor`; in between it goes over smoothly.

    >>> rope_frequencies(4)
    tensor([1.0000, 0.0100])
    >>> rope_frequencies(4, scaling=RopeScaling(factor=8, context=500))
    tensor([1.0000, 0.0012])

    Raises:
        ValueError: for an odd head size, which leaves one channel without a partner.
    """
    if hs % 2:
        raise ValueError(f"hs={hs} channels of a head cannot be paired for rotation: choose C / H even")
    frequency = 1.0 / theta ** (torch.arange(0, hs, 2).float() / hs)  # [hs / 2]
    if scaling is None:
        return frequency
    turns = scaling.context / (2 * math.pi / frequency)  # whole turns within the context of the training before
    fast = ((turns - scaling.low) / (scaling.high - scaling.low)).clamp(0, 1)  # 0: slowed, 1: left as it is
    return (1 - fast) * frequency / scaling.factor + fast * frequency


def rope_angles(
    hs: int, T: int, theta: float | int = 10_000.0, scaling: RopeScaling | None = None
) -> Float[Tensor, "T half"]:
    """The angle by which position t turns pair i: t times the pair's frequency."""
    return torch.arange(T)[:, None] * rope_frequencies(hs, theta, scaling)


def rotate(
    x: Float[Tensor, "*batch T hs"], angles: Float[Tensor, "T half"], pairing: str = "halves"
) -> Float[Tensor, "*batch T hs"]:
    """Turn each pair of channels by its angle, so that q · k depends on the distance between two positions only.

    Two pairings are in use, and a model trained with one is wrong with the other: "halves" pairs channel i with
    i + hs/2 (Hugging Face's Llama, GPT-NeoX), "interleaved" pairs 2i with 2i + 1 (Meta's Llama, the paper).

    >>> quarter_turn = torch.tensor([[torch.pi / 2]])
    >>> rotate(torch.tensor([[1.0, 0.0]]), quarter_turn).round().abs().tolist()
    [[0.0, 1.0]]
    """
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)  # [T, hs / 2]
    if pairing == "halves":
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)
    if pairing == "interleaved":
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)
    raise ValueError(f"unknown pairing {pairing!r}: choose 'halves' or 'interleaved'")


def to_halves(weight: Float[Tensor, "C *in"], H: int) -> Float[Tensor, "C *in"]:
    """The rows of a query or key matrix (or bias) made for "interleaved" turns, in the order that "halves" needs.

    Within each of the H heads, pair i moves from rows 2i and 2i + 1 to rows i and i + hs/2. With the queries and the
    keys reordered alike, every q · k is what it was. Values are never turned and stay as they are. For keys, H is
    the number of heads of keys.

    >>> to_halves(torch.arange(8.0), H=1).tolist()
    [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]
    """
    pairs = weight.unflatten(0, (H, -1, 2))  # [H, hs / 2, 2, *in]
    return pairs.transpose(1, 2).flatten(0, 2)  # [H, 2, hs / 2, *in] -> [C, *in]


def to_interleaved(weight: Float[Tensor, "C *in"], H: int) -> Float[Tensor, "C *in"]:
    """The inverse of `to_halves`: from Hugging Face's order of rows to Meta's."""
    pairs = weight.unflatten(0, (H, 2, -1))  # [H, 2, hs / 2, *in]
    return pairs.transpose(1, 2).flatten(0, 2)  # [H, hs / 2, 2, *in] -> [C, *in]


class RotaryPositions(nn.Module):
    """The table of turns for a model; called with the place of a stretch of tokens, it gives what turns it."""

    def __init__(self, hs: int, T: int, theta: float | int = 10_000.0, scaling: RopeScaling | None = None):
        super().__init__()
        angles = rope_angles(hs, T, theta, scaling)
        self.register_buffer("cos", torch.cat((angles.cos(), angles.cos()), dim=-1), persistent=False)  # [T, hs]
        self.register_buffer("sin", torch.cat((-angles.sin(), angles.sin()), dim=-1), persistent=False)

    def forward(self, start: int, T: int) -> Callable[[Tensor], Tensor]:
        if start + T > len(self.cos):
            raise ValueError(
                f"positions {start} to {start + T - 1} do not fit the table of {len(self.cos)}: "
                f"build RotaryPositions with T={start + T}"
            )
        return self.turner(self.cos[start : start + T], self.sin[start : start + T])  # [T, hs] each

    @staticmethod
    def turner(cos: Float[Tensor, "T hs"], sin: Float[Tensor, "T hs"]) -> Callable[[Tensor], Tensor]:
        """What turns queries or keys by angles whose cosines and (signed) sines are given."""

        def turn(x: Tensor) -> Tensor:
            swapped = x.roll(x.shape[-1] // 2, dims=-1)  # for (a, b): (b, a), so a cos - b sin and b cos + a sin
            return torch.addcmul(x * cos.to(x.dtype), swapped, sin.to(x.dtype))

        return turn


class SwiGLU(nn.Module):
    """An MLP with a gate: silu(gate(x)) * up(x), then down (Shazeer 2020)."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        width = config.mlp_size or 4 * config.n_embd
        bias = config.bias if config.mlp_bias is None else config.mlp_bias
        self.gate = nn.Linear(config.n_embd, width, bias=bias)
        self.up = nn.Linear(config.n_embd, width, bias=bias)
        self.output = nn.Linear(width, config.n_embd, bias=bias)

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        return self.output(F.silu(self.gate(x)) * self.up(x))


def squared_relu(x: Tensor) -> Tensor:
    """relu(x)²: cheaper than GELU, and at small sizes at least as good (So et al. 2021)."""
    return F.relu(x).square()


class ShortConvolution(nn.Module):
    """Add to each position a weighted sum of its last n neighbours, channel by channel (Poli et al. 2023).

    It makes "what came directly before?" a gift, so that attention can spend its first layer on something else. The
    weights begin at random: then each channel looks back in its own way from the first step, and heads have something
    to choose from. (From zero weights the same model learned to recall much later.)
    """

    def __init__(self, C: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, C))  # row i weighs the token i places back
        nn.init.normal_(self.weight, std=0.3)

    def forward(self, x: Float[Tensor, "B T C"], cache=None) -> Float[Tensor, "B T C"]:
        width, T = self.weight.shape[0], x.shape[1]
        past = F.pad(x, (0, 0, width - 1, 0)) if cache is None else cache.extend_window(x, width)
        for i in range(width):
            x = torch.addcmul(x, past[:, width - 1 - i : width - 1 - i + T], self.weight[i])
        return x


PARTS["norm"]["rmsnorm"] = lambda size, config: RMSNorm(size, config.norm_eps)
PARTS["position"]["rope"] = lambda config: RotaryPositions(
    config.n_embd // config.n_head, config.context, config.rope_theta, config.rope_scaling
)
PARTS["mlp"]["swiglu"] = SwiGLU
PARTS["mlp"]["relu2"] = lambda config: MLP(config, squared_relu)
PARTS["convolution"]["short"] = lambda config: ShortConvolution(config.n_embd, config.convolution)


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


def llama_config(size: str = "8B", **changes) -> GPTConfig:
    """A published Llama: "8B" and "70B" are Llama 3, "405B" is Llama 3.1; others with their generation in front.

    Llama 2 (Touvron et al. 2023): "2-7B", "2-13B", "2-70B". Llama 3 (Dubey et al. 2024): "3-8B", "3-70B", "3.1-8B",
    "3.1-70B", "3.1-405B", "3.2-1B", "3.2-3B", "3.3-70B". `changes` replace fields: `llama_config("8B", n_layer=2)`.

    >>> llama_config("8B").n_kv_head, llama_config("3.1-8B").rope_scaling.factor
    (8, 8.0)

    Raises:
        ValueError: for a size that was not published, with those that were.
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
