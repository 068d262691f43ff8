"""From GPT-2 to Llama: four parts of the one GPT, swapped by name (lesson 11), and what came after them.

RMSNorm, rotary positions, SwiGLU, grouped queries (the last is `GPTConfig.n_kv_head`); then squared ReLU and a short
convolution, which small models profit from. Importing this module registers them in `gptlab.model.PARTS`.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gptlab.model import MLP, PARTS, GPTConfig


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


def rope_angles(hs: int, T: int, theta: float = 10_000.0) -> Float[Tensor, "T half"]:
    """The angle by which position t turns pair i: t / theta^(2i / hs) (Su et al. 2021)."""
    frequency = theta ** (-torch.arange(0, hs, 2).float() / hs)  # [hs / 2]
    return torch.arange(T)[:, None] * frequency


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


class RotaryPositions(nn.Module):
    """The table of turns for a model; called with the place of a stretch of tokens, it gives what turns it."""

    def __init__(self, hs: int, T: int, theta: float = 10_000.0):
        super().__init__()
        angles = rope_angles(hs, T, theta)
        self.register_buffer("cos", torch.cat((angles.cos(), angles.cos()), dim=-1), persistent=False)  # [T, hs]
        self.register_buffer("sin", torch.cat((-angles.sin(), angles.sin()), dim=-1), persistent=False)

    def forward(self, start: int, T: int) -> Callable[[Tensor], Tensor]:
        cos, sin = self.cos[start : start + T], self.sin[start : start + T]  # [T, hs]

        def turn(x: Tensor) -> Tensor:
            swapped = x.roll(x.shape[-1] // 2, dims=-1)  # for (a, b): (b, a), so a cos - b sin and b cos + a sin
            return torch.addcmul(x * cos.to(x.dtype), swapped, sin.to(x.dtype))

        return turn


class SwiGLU(nn.Module):
    """An MLP with a gate: silu(gate(x)) * up(x), then down (Shazeer 2020)."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        width = config.mlp_size or 4 * config.n_embd
        self.gate = nn.Linear(config.n_embd, width, bias=config.bias)
        self.up = nn.Linear(config.n_embd, width, bias=config.bias)
        self.output = nn.Linear(width, config.n_embd, bias=config.bias)

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
    config.n_embd // config.n_head, config.context, config.rope_theta
)
PARTS["mlp"]["swiglu"] = SwiGLU
PARTS["mlp"]["relu2"] = lambda config: MLP(config, squared_relu)
PARTS["convolution"]["short"] = lambda config: ShortConvolution(config.n_embd, config.convolution)
