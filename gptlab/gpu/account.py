"""What a configuration costs, on paper: parameters, FLOPs, bytes moved; and how much of a machine a run has used.

Conventions, because counts of the same model differ by a factor of two from paper to paper:

- One multiply-add is 2 FLOPs. Only products of matrices are counted, as `torch.utils.flop_counter` does: norms,
  softmax, activation functions, rotary positions and the short convolution take a few FLOPs per number.
- The backward pass costs twice the forward pass: one product for the gradient of the input, one for the weight's.
- Attention is counted in full, T keys for each query, although a causal mask leaves half of them (as flop_counter, PaLM
  and nanoGPT count). What is computed a second time (activation checkpointing, flash attention's scores) isn't
  counted: it is work that the model did not ask for.

>>> from gptlab.config import GPTConfig
>>> f"{flops_per_token(GPTConfig.gpt2('124M'), T=1024) / 1e6:.0f} million FLOPs per token, forward and backward"
'854 million FLOPs per token, forward and backward'
"""

from typing import NamedTuple

import torch

from gptlab.config import GPTConfig
from gptlab.entrances import NotNegative, Positive, guard


def mlp_width(config: GPTConfig) -> int:
    """Channels inside the MLP: `mlp_size`, or 4 C."""
    return config.mlp_size or 4 * config.n_embd


def mlp_matrices(config: GPTConfig) -> int:
    """How many matrices the MLP has: SwiGLU has a gate beside the up- and the down-projection."""
    return 3 if config.mlp == "swiglu" else 2


def key_value_width(config: GPTConfig) -> int:
    """Channels of all keys together (and of all values): C, or less where heads share them."""
    return (config.n_kv_head or config.n_head) * (config.n_embd // config.n_head)


def parameters_by_part(config: GPTConfig) -> dict[str, int]:
    """How many numbers each part of the model learns; their sum is `GPT(config).count_parameters()`.

    A head that is tied to the embedding counts there.

    >>> config = GPTConfig(vocab_size=50, context=8, n_layer=1, n_head=2, n_embd=12)
    >>> parameters_by_part(config)
    {'embedding': 600, 'position': 96, 'attention': 624, 'mlp': 1212, 'norms': 72, 'convolution': 0, 'head': 0}
    """
    V, C, L, W, KV = config.vocab_size, config.n_embd, config.n_layer, mlp_width(config), key_value_width(config)
    bias, mlp_bias = int(config.bias), int(config.bias if config.mlp_bias is None else config.mlp_bias)
    hs = C // config.n_head
    attention = 2 * C * C + 2 * C * KV + bias * (2 * C + 2 * KV)  # query and output, key and value
    mlp = mlp_matrices(config) * C * W + mlp_bias * ((mlp_matrices(config) - 1) * W + C)
    vectors = 2 if config.norm == "layernorm" and config.bias else 1  # a norm's weight, and its bias
    return {
        "embedding": V * C,
        "position": config.context * C if config.position == "learned" else 0,
        "attention": L * attention,
        "mlp": L * mlp,
        "norms": vectors * (C + L * (2 * C + (2 * hs if config.qk_norm else 0))),
        "convolution": L * config.convolution * C,
        "head": 0 if config.tie_weights else V * C,
    }


def count_parameters(config: GPTConfig) -> int:
    """All numbers that a model of this configuration learns, without building it.

    >>> count_parameters(GPTConfig.gpt2("124M"))
    124439808
    """
    return sum(parameters_by_part(config).values())


def flops_by_part(config: GPTConfig, T: int) -> dict[str, int]:
    """FLOPs of the forward pass for one token in a sequence of T, by part.

    Args:
        config: of the model.
        T: tokens in the sequence.

    Everything but "attention" is 2 FLOPs for each number of a matrix; "attention" (scores, and the average of the
    values) grows with T. Looking up a row of the embedding takes no product.

    >>> flops_by_part(GPTConfig(vocab_size=50, context=8, n_layer=1, n_head=2, n_embd=12), T=8)
    {'projections': 1152, 'attention': 384, 'mlp': 2304, 'head': 1200}
    """
    V, C, L = config.vocab_size, config.n_embd, config.n_layer
    return {
        "projections": L * 2 * (2 * C * C + 2 * C * key_value_width(config)),  # query, key, value, output
        "attention": L * 2 * 2 * T * C,  # hs channels of H heads, T keys: q · k, then weights · v
        "mlp": L * 2 * mlp_matrices(config) * C * mlp_width(config),
        "head": 2 * V * C,
    }


def flops_per_token(config: GPTConfig, T: int, backward: bool = True) -> int:
    """FLOPs for one token in a sequence of T: forward, and by default backward too, three times as much together.

    Args:
        config: of the model.
        T: tokens in the sequence.
        backward: whether the backward pass is counted.

    Equal to `torch.utils.flop_counter`, as a test shows, where that counts everything: it knows products of matrices
    and CUDA's attention kernels, not the CPU's, so on a CPU it must be run with attention's `SDPBackend.MATH`. (For
    CUDA's flash attention it adds the scores that the backward pass computes again: half as much again of the forward
    attention.) Kaplan et al.'s 6 N (2020) is the same without attention, N counting the matrices.

    >>> config = GPTConfig.gpt2("124M")
    >>> flops_per_token(config, T=1024, backward=False), flops_per_token(config, T=1024)
    (284812800, 854438400)
    """
    return sum(flops_by_part(config, T).values()) * (3 if backward else 1)


def mfu(tokens_per_second: NotNegative, config: GPTConfig, T: int, peak: Positive) -> float:
    """Model FLOPs utilisation: the fraction of the peak that went into the model (Chowdhery et al. 2022, app. B).

    Args:
        tokens_per_second: of training, forward and backward.
        config: of the model.
        T: tokens in a sequence.
        peak: FLOP/s, as the maker promises (`cluster.GPUS["H100"].peak`), times the number of GPUs, or as
            `matmul_flops` measured. Say which, because the second gives a larger MFU.

    >>> round(mfu(175_000, GPTConfig.gpt2("124M"), T=1024, peak=312e12), 3)
    0.479
    """
    return tokens_per_second * flops_per_token(config, T) / peak


class Work(NamedTuple):
    """What a part does in one forward pass.

    Attributes:
        flops: FLOPs.
        bytes: bytes that it reads and writes.
    """

    flops: float
    bytes: float

    @property
    def intensity(self) -> float:
        """FLOPs for each byte moved."""
        return self.flops / self.bytes


def work_by_part(
    config: GPTConfig, B: int, T: int, dtype: torch.dtype = torch.bfloat16, flash: bool = True
) -> dict[str, Work]:
    """FLOPs and bytes of each part of one forward pass over [B, T], all layers together.

    Each part reads its inputs and weights once and writes its output once, as one kernel would; here the parts without
    products have their FLOPs too, a few operations for each value. Without `flash` the scores [B, H, T, T]
    are written and read again, twice (scores, then weights).

    Args:
        config: of the model.
        B: sequences.
        T: tokens in each.
        dtype: of activations and weights.
        flash: whether attention runs as one kernel that never writes its scores.

    >>> work = work_by_part(GPTConfig.gpt2("124M"), B=8, T=1024)
    >>> [f"{name}: {work[name].intensity:.1f}" for name in ("mlp", "attention", "norms")]
    ['mlp: 571.5', 'attention: 512.0', 'norms: 2.0']
    """
    N, s, C, L, V, W = B * T, dtype.itemsize, config.n_embd, config.n_layer, config.vocab_size, mlp_width(config)
    KV, H, flops = key_value_width(config), config.n_head, flops_by_part(config, T)
    numbers = {"projections": 2 * C * C + 2 * C * KV, "mlp": mlp_matrices(config) * C * W}
    gates = mlp_matrices(config) - 1  # projected up once, or twice with a gate
    scores = 0 if flash else 4 * B * H * T * T
    moved = {
        "projections": L * (N * (C + C + 2 * KV + 2 * C) + numbers["projections"]),
        "attention": L * (N * (2 * C + 2 * KV) + scores),
        "mlp": L * (N * (C + gates * W + W + C) + numbers["mlp"]),
        "head": N * (C + V) + V * C,
    }
    work = {name: Work(N * flops[name], s * moved[name]) for name in moved}
    work["activation"] = Work(L * N * 8 * W, s * L * N * (gates + 1) * W)
    work["norms"] = Work((2 * L + 1) * N * 8 * C, s * (2 * L + 1) * N * 2 * C)
    work["residual"] = Work(2 * L * N * C, s * 2 * L * N * 3 * C)
    work["loss"] = Work(N * 5 * V, s * N * V)
    return work


guard(globals())
