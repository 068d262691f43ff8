"""The parts that a block is built from: norms, positions, MLPs, and a short convolution.

GPT-2 has LayerNorm, learned positions and an MLP with GELU. Notebook `llama` swaps them for Llama's, one at a time. At
the end stand `make_norm`, `make_mlp` and `make_rotation`, which build what a `GPTConfig` names.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gptlab.cache import LayerCache
from gptlab.config import GPTConfig, RopeScaling
from gptlab.entrances import NotNegative, Positive, guard

# ── Norms ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class RMSNorm(nn.Module):
    """Divide by the root mean square, scale by a learned weight: LayerNorm without the mean (Zhang & Sennrich 2019).

    Args:
        size: the channels that are normalised together.
        eps: added to the mean square, against division by zero.

    >>> RMSNorm(2, eps=0.0)(torch.tensor([[[3.0, 4.0]]])).square().mean().item()
    1.0
    """

    def __init__(self, size: int, eps: NotNegative = 1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch C"]:
        scale = torch.rsqrt(x.float().square().mean(dim=-1, keepdim=True) + self.eps)  # [*batch, 1]
        return self.weight * (x * scale).to(x.dtype)


# ── Rotary positions ─────────────────────────────────────────────────────────────────────────────────────────────────


def rope_frequencies(hs: int, theta: Positive = 10_000.0, scaling: RopeScaling | None = None) -> Float[Tensor, " half"]:
    """The angle in radians by which one position rotates pair i of a head's channels: 1 / theta^(2i / hs).

    Su et al. 2021. With `scaling`, as in Llama 3.1 (Dubey et al. 2024): high frequencies tell neighbours apart and are
    left unchanged; those so low that training never saw a whole turn are divided by `factor`; in between they blend.

    Args:
        hs: the head size, even.
        theta: base of the frequencies; a larger one makes them lower.
        scaling: how to stretch them over a longer context; None for not at all.

    Raises:
        ValueError: for an odd head size, which leaves one channel without a partner.

    >>> rope_frequencies(4)
    tensor([1.0000, 0.0100])
    >>> rope_frequencies(4, scaling=RopeScaling(factor=8, context=500))
    tensor([1.0000, 0.0012])
    """
    if hs % 2:
        raise ValueError(f"hs={hs} channels of a head cannot be paired for rotation: choose C / H even")
    frequency = 1.0 / theta ** (torch.arange(0, hs, 2).float() / hs)  # [hs / 2]
    if scaling is None:
        return frequency
    turns = scaling.context / (2 * math.pi / frequency)  # whole turns within the context of the original training
    unscaled = ((turns - scaling.low) / (scaling.high - scaling.low)).clamp(0, 1)  # 0: divided, 1: unchanged
    return (1 - unscaled) * frequency / scaling.factor + unscaled * frequency


def rope_angles(
    hs: int, T: int, theta: Positive = 10_000.0, scaling: RopeScaling | None = None
) -> Float[Tensor, "T half"]:
    """The angle in radians by which position t rotates pair i: t times the pair's frequency.

    Args:
        hs: the head size, even.
        T: positions, from 0.
        theta: as for `rope_frequencies`.
        scaling: as for `rope_frequencies`.

    >>> rope_angles(hs=2, T=3).flatten().tolist()
    [0.0, 1.0, 2.0]
    """
    return torch.arange(T)[:, None] * rope_frequencies(hs, theta, scaling)


def rotate(
    x: Float[Tensor, "*batch T hs"], angles: Float[Tensor, "T half"], pairing: str = "halves"
) -> Float[Tensor, "*batch T hs"]:
    """Rotate each pair of channels by its angle, so that q · k depends on the distance between two positions only.

    Two pairings are in use, and a model trained with one is wrong with the other.

    Args:
        x: queries or keys.
        angles: of each position and pair, in radians.
        pairing: "halves" pairs channel i with i + hs/2 (Hugging Face's Llama, GPT-NeoX); "interleaved" pairs 2i with
            2i + 1 (Meta's Llama, the paper).

    Raises:
        ValueError: for an unknown pairing.

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
    """`rotate` with its cosines and sines computed once, for all positions of a model.

    Called with the position of the first token and the number of tokens, it returns the function that rotates them.

    Args:
        hs: the head size, even.
        T: the longest sequence, in tokens.
        theta: as for `rope_frequencies`.
        scaling: as for `rope_frequencies`.

    >>> rotate_them = RotaryPositions(hs=4, T=8)(start=3, T=2)
    >>> rotate_them(torch.ones(1, 2, 4)).shape
    torch.Size([1, 2, 4])
    """

    def __init__(self, hs: int, T: int, theta: Positive = 10_000.0, scaling: RopeScaling | None = None):
        super().__init__()
        angles = rope_angles(hs, T, theta, scaling)
        self.register_buffer("cos", torch.cat((angles.cos(), angles.cos()), dim=-1), persistent=False)  # [T, hs]
        self.register_buffer("sin", torch.cat((-angles.sin(), angles.sin()), dim=-1), persistent=False)

    def forward(self, start: int, T: int) -> Callable[[Tensor], Tensor]:
        """The rotation of positions `start` to `start + T - 1`.

        Raises:
            ValueError: for positions beyond the table.
        """
        if start + T > len(self.cos):
            raise ValueError(
                f"positions {start} to {start + T - 1} do not fit the table of {len(self.cos)}: "
                f"build RotaryPositions with T={start + T}"
            )
        return self.rotation(self.cos[start : start + T], self.sin[start : start + T])  # [T, hs] each

    @staticmethod
    def rotation(cos: Float[Tensor, "T hs"], sin: Float[Tensor, "T hs"]) -> Callable[[Tensor], Tensor]:
        """The rotation of queries or keys, from the cosines and signed sines of their angles."""

        def rotate(x: Tensor) -> Tensor:
            swapped = x.roll(x.shape[-1] // 2, dims=-1)  # for (a, b): (b, a), so a cos - b sin and b cos + a sin
            return torch.addcmul(x * cos.to(x.dtype), swapped, sin.to(x.dtype))

        return rotate


# ── MLPs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its approximation with tanh, as GPT-2 computes it (Hendrycks & Gimpel 2016)."""
    return F.gelu(x, approximate="tanh")


def squared_relu(x: Tensor) -> Tensor:
    """relu(x)²: cheaper than GELU, and at small sizes at least as good (So et al. 2021)."""
    positive = F.relu(x)
    return positive * positive  # a product stays in 16 bits; CUDA's autocast makes a power, and so a square, in float32


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "gelu_tanh": gelu_tanh, "relu2": squared_relu}


class MLP(nn.Module):
    """What is computed at each position on its own: up-projection, activation function, down-projection.

    Args:
        config: its `mlp` names the activation function: "gelu", "gelu_tanh" or "relu2".

    >>> MLP(GPTConfig(vocab_size=50, n_embd=12))(torch.zeros(2, 5, 12)).shape
    torch.Size([2, 5, 12])
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.activation = ACTIVATIONS[config.mlp]
        self.up, self.down = _projection(config), _projection(config, down=True)

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        return self.down(self.activation(self.up(x)))  # [B, T, C] -> [B, T, 4C] -> [B, T, C]


class SwiGLU(nn.Module):
    """An MLP with a gate: silu(gate(x)) * up(x), then down (Shazeer 2020).

    Args:
        config: of the model.

    >>> SwiGLU(GPTConfig(vocab_size=50, n_embd=12, mlp_size=32))(torch.zeros(2, 5, 12)).shape
    torch.Size([2, 5, 12])
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.gate, self.up, self.down = _projection(config), _projection(config), _projection(config, down=True)

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        return self.down(F.silu(self.gate(x)) * self.up(x))  # [B, T, C] -> [B, T, W] -> [B, T, C]


def _projection(config: GPTConfig, down: bool = False) -> nn.Linear:
    """One matrix of an MLP: from C channels to its width, or back down."""
    width = config.mlp_size or 4 * config.n_embd
    bias = config.bias if config.mlp_bias is None else config.mlp_bias
    return nn.Linear(width, config.n_embd, bias=bias) if down else nn.Linear(config.n_embd, width, bias=bias)


# ── A short convolution ──────────────────────────────────────────────────────────────────────────────────────────────


class ShortConvolution(nn.Module):
    """Add to each position a weighted sum of the last few positions, channel by channel (Poli et al. 2023).

    "What came directly before?" is answered here, so attention can spend its first layer on something else. The weights
    start at random: then each channel looks back in its own way from the first step, and heads have something to choose
    from. (From zero weights the same model learned to recall much later.)

    Args:
        C: channels.
        width: positions in the sum, the present one included.

    >>> ShortConvolution(C=12, width=3)(torch.zeros(2, 5, 12)).shape
    torch.Size([2, 5, 12])
    """

    def __init__(self, C: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, C))  # row i weights the token i positions back
        nn.init.normal_(self.weight, std=0.3)

    def forward(self, x: Float[Tensor, "B T C"], cache: LayerCache | None = None) -> Float[Tensor, "B T C"]:
        width, T = self.weight.shape[0], x.shape[1]
        past = F.pad(x, (0, 0, width - 1, 0)) if cache is None else cache.extend_window(x, width)
        for i in range(width):
            x = torch.addcmul(x, past[:, width - 1 - i : width - 1 - i + T], self.weight[i])
        return x


# ── From names to parts ──────────────────────────────────────────────────────────────────────────────────────────────


def make_norm(config: GPTConfig, size: int) -> nn.Module:
    """The norm that a configuration names, over `size` channels."""
    if config.norm == "rmsnorm":
        return RMSNorm(size, config.norm_eps)
    return nn.LayerNorm(size, eps=config.norm_eps, bias=config.bias)


def make_mlp(config: GPTConfig) -> nn.Module:
    """The MLP that a configuration names."""
    return SwiGLU(config) if config.mlp == "swiglu" else MLP(config)


def make_rotation(config: GPTConfig) -> RotaryPositions | None:
    """The rotary positions of a configuration that has them; other positions are added to the embedding, or none."""
    if config.position != "rope":
        return None
    return RotaryPositions(config.n_embd // config.n_head, config.context, config.rope_theta, config.rope_scaling)


guard(globals())
