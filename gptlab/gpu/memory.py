"""Where the memory of a training step goes: predicted line by line from the configuration, and measured.

A step has moments, and each holds something else: the loss has been computed (all activations are there, and the
logits), the backward pass begins (the loss's own gradients come on top), it is inside a block, it ends (all gradients
are there, the activations gone), the weights are updated. The highest of them decides whether the step fits.

>>> from gptlab.config import GPTConfig
>>> estimate_memory(GPTConfig.gpt2("124M"), B=12, T=1024, dtype=torch.bfloat16, flash=True).worst
'backward begins'
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from gptlab.config import GPTConfig
from gptlab.entrances import guard
from gptlab.gpu.account import count_parameters, key_value_width, mlp_matrices, mlp_width

LINES = ("weights", "gradients", "optimizer", "16-bit copies", "activations", "logits", "workspace")
# What an optimizer remembers, in bytes per weight: of the blocks' matrices, and of everything else.
OPTIMIZER_BYTES = {"adamw": (8, 8), "muon": (4, 8), "sgd": (0, 0)}


@dataclass(frozen=True)
class Memory:
    """What is alive at each moment of a training step.

    Attributes:
        moments: for each moment of a step, each line of the account in bytes: `moments[moment][line]`.

    >>> memory = Memory({"backward begins": {"weights": 3_000_000, "activations": 9_000_000}})
    >>> memory.total, memory.worst, memory["weights"]
    (12000000, 'backward begins', 3000000)
    """

    moments: Mapping[str, Mapping[str, int]]

    def at(self, moment: str) -> int:
        """Everything that is alive at a moment, in bytes."""
        return sum(self.moments[moment].values())

    @property
    def worst(self) -> str:
        """The moment that needs most."""
        return max(self.moments, key=self.at)

    @property
    def total(self) -> int:
        """What the step needs at its worst moment, in bytes. (Not the sum of all lines: not all live together.)"""
        return self.at(self.worst)

    @property
    def lines(self) -> dict[str, int]:
        """Each line at its largest, in bytes."""
        largest = {line: max(moment.get(line, 0) for moment in self.moments.values()) for line in LINES}
        return {line: size for line, size in largest.items() if size}

    def __getitem__(self, line: str) -> int:
        return max(moment.get(line, 0) for moment in self.moments.values())

    def __repr__(self) -> str:
        width = max(16, *(len(name) + 2 for name in self.moments))
        rows = [f"{'MB':<14}" + "".join(f"{name:>{width}}" for name in self.moments)]
        for line in self.lines:
            cells = (f"{moment.get(line, 0) / 1e6:>{width},.1f}" for moment in self.moments.values())
            rows.append(f"{line:<14}" + "".join(cells))
        rows.append(f"{'together':<14}" + "".join(f"{self.at(name) / 1e6:>{width},.1f}" for name in self.moments))
        return "\n".join(rows)


def estimate_memory(
    config: GPTConfig,
    B: int,
    T: int,
    dtype: torch.dtype = torch.float32,
    optimizer: str = "adamw",
    gradient_checkpointing: bool = False,
    flash: bool = True,
    accumulation: int = 1,
    device: str = "cuda",
    rows: int | None = None,
) -> Memory:
    """The account of one training step on B sequences of T tokens, by moment and line, in bytes.

    Weights, gradients and optimizer are float32; with a 16-bit `dtype` the products are made in it (autocast), which
    holds a copy of each matrix. Not in the account: what torch itself needs (some hundred MB on a GPU), and gaps
    between the pieces of memory.

    Args:
        config: of the model.
        B: sequences.
        T: tokens in each.
        dtype: of the matrix products.
        optimizer: "adamw", "muon" or "sgd".
        gradient_checkpointing: whether a block saves its input only, and is computed again in the backward pass
            (Chen et al. 2016).
        flash: whether attention runs as one kernel; without it the weights [B, H, T, T] are saved.
        accumulation: micro-batches; with more than one, the gradients of earlier ones are there from the start.
        device: "cuda" or "cpu". It matters for dropout's masks, which take a byte per number on a GPU and as many
            as the number on a CPU, and for what is normalised in 16 bits.
        rows: positions of which logits exist at once, where the model has the head of `gptlab.fast_forms`.

    >>> estimate_memory(GPTConfig(vocab_size=1000, context=64, n_layer=2, n_head=4, n_embd=96), B=8, T=64)
    MB                loss computed  backward begins   inside a block    backward ends           update
    weights                     1.3              1.3              1.3              1.3              1.3
    gradients                   0.0              0.0              0.4              1.3              1.3
    optimizer                   2.6              2.6              2.6              2.6              2.6
    activations                 6.7              6.7              6.7              0.0              0.0
    logits                      4.1              6.1              0.0              0.0              0.0
    workspace                   0.0              0.0              1.3              0.8              0.0
    together                   14.7             16.8             12.4              6.0              5.2

    Raises:
        ValueError: for an optimizer that is not in `OPTIMIZER_BYTES`.
    """
    if optimizer not in OPTIMIZER_BYTES:
        raise ValueError(f"no account for the optimizer {optimizer!r}: choose one of {list(OPTIMIZER_BYTES)}")
    parameters, matrices, L = count_parameters(config), _matrices(config), config.n_layer
    held = {"weights": 4 * parameters + _tables(config), "gradients": 4 * parameters if accumulation > 1 else 0}
    per_matrix_weight, per_weight = OPTIMIZER_BYTES[optimizer]
    held["optimizer"] = per_matrix_weight * L * matrices + per_weight * (parameters - L * matrices)
    moments = _moments(config, B, T, dtype, gradient_checkpointing, flash, device)
    if rows is not None:
        _use_fast_head(moments, config, B * T, min(rows, B * T), dtype)
    if optimizer == "muon":
        moments["update"]["workspace"] = _muon_workspace(config, device)
    return Memory({name: {line: (held | moment).get(line, 0) for line in LINES} for name, moment in moments.items()})


def _moments(
    config: GPTConfig, B: int, T: int, dtype: torch.dtype, gradient_checkpointing: bool, flash: bool, device: str
) -> dict[str, dict[str, int]]:
    """What comes and goes in a step, by moment: all but the weights and the optimizer."""
    N, V, C, L, mixed = B * T, config.vocab_size, config.n_embd, config.n_layer, dtype.itemsize == 2
    parameters, matrices = count_parameters(config), _matrices(config)
    one_block = N * block_activations(config, T, dtype, flash, device)
    ends = N * _end_activations(config, dtype, device)
    activations = ends + (L * 4 * N * C if gradient_checkpointing else L * one_block)
    head, copies = (2 * V * C, 2 * L * matrices) if mixed else (0, 0)  # 16-bit copies of matrices, in bytes
    held = 0 if gradient_checkpointing else copies
    first = {"gradients": 4 * V * C, "activations": activations + (one_block if gradient_checkpointing else 0)}
    last = {
        "gradients": 4 * (parameters - matrices),
        "activations": one_block + (4 * N * C if gradient_checkpointing else 0),
    }
    moments = {
        "loss computed": {"activations": activations, "logits": N * V * (10 if mixed else 8)},
        "backward begins": {"activations": activations, "logits": N * V * 12},
        "inside a block": max(first, last, key=lambda moment: sum(moment.values())),
        "backward ends": {"gradients": 4 * parameters, "workspace": 8 * V * C if config.tie_weights else 0},
        "update": {"gradients": 4 * parameters},
    }
    moments["inside a block"]["workspace"] = _block_workspace(config, N, dtype)
    for name, bytes_ in zip(moments, (head + copies, head + held, held or 2 * matrices * mixed, 0, 0), strict=True):
        moments[name]["16-bit copies"] = bytes_
    return moments


def _use_fast_head(
    moments: dict[str, dict[str, int]], config: GPTConfig, N: int, rows: int, dtype: torch.dtype
) -> None:
    """Change the moments around the loss to those of a head that has some rows of logits, and keeps two gradients."""
    V, C, mixed = config.vocab_size, config.n_embd, dtype.itemsize == 2
    gradients = 4 * V * C + dtype.itemsize * N * C  # of the matrix, and of what it reads
    last = 6 * rows * V if mixed else 4 * rows * V
    moments["loss computed"] |= {"logits": last, "workspace": gradients + (2 * V * C if mixed else 0)}
    moments["backward begins"] |= {"logits": 0, "workspace": gradients + 4 * V * C + dtype.itemsize * N * C}
    if mixed:
        moments["backward begins"]["16-bit copies"] -= 2 * V * C  # the head's was for the loss only


def block_activations(
    config: GPTConfig, T: int, dtype: torch.dtype = torch.float32, flash: bool = True, device: str = "cuda"
) -> int:
    """Bytes that one block saves for the backward pass, for each token of a sequence of T.

    A product saves its input (in 16 bits: one copy for each product that reads it), a norm its input and statistics,
    attention its queries, keys, values and output, an activation function its input.

    Args:
        config: of the model.
        T: tokens in the sequence.
        dtype: of the matrix products.
        flash: whether attention runs as one kernel.
        device: "cuda" or "cpu".

    >>> config = GPTConfig(vocab_size=50, context=64, n_layer=1, n_head=4, n_embd=96)
    >>> f"{block_activations(config, T=64) / (4 * 96):.1f} times the input, in float32"
    '16.1 times the input, in float32'
    """
    C, W, KV, H, s = config.n_embd, mlp_width(config), key_value_width(config), config.n_head, dtype.itemsize
    readers = (3, mlp_matrices(config) - 1) if s == 2 else (1, 1)  # of the first norm's output, and of the second's
    saved = 2 * _norm(config, C) + readers[0] * s * C + readers[1] * s * C
    saved += 4 * C if config.convolution else 0
    saved += s * (C + 2 * KV) + s * C + 4 * H  # query, key, value; output, and a sum for each head
    if config.qk_norm:
        wide = s if device == "cpu" and config.norm == "layernorm" else 4
        saved += (wide * (C + KV) + 8 * (H + KV * H // C)) * (1 if config.norm == "layernorm" else 2)
        saved += (
            s * C if config.norm == "layernorm" else 0
        )  # it lays heads before time, so they are copied to be merged
    if not flash:  # float32 queries, keys and values, each key for its head; the weights, and what dropout left of them
        saved += 4 * 3 * C - s * (C + 2 * KV) + 4 * C + 4 * H * T * (3 if config.dropout else 1) - 4 * H
    saved += s * W * (mlp_matrices(config) + (1 if mlp_matrices(config) == 3 else 0))  # before and after the activation
    mask = 1 if device != "cpu" else s
    return saved + (2 * mask * C if config.dropout else 0)


def _end_activations(config: GPTConfig, dtype: torch.dtype, device: str) -> int:
    """Bytes per token saved by the embedding and by the last norm and head (without logits)."""
    mask = (1 if device != "cpu" else 4) if config.dropout else 0
    return 16 + mask * config.n_embd + _norm(config, config.n_embd) + dtype.itemsize * config.n_embd


def _norm(config: GPTConfig, C: int) -> int:
    """Bytes per token that a norm saves: input, mean and deviation; RMSNorm's six lines save the product too."""
    return 4 * C + 8 if config.norm == "layernorm" else 8 * C + 4


def _matrices(config: GPTConfig) -> int:
    """Numbers in the matrices of one block."""
    C = config.n_embd
    return 2 * C * C + 2 * C * key_value_width(config) + mlp_matrices(config) * C * mlp_width(config)


def _tables(config: GPTConfig) -> int:
    """Bytes of the tables that are not learned: sines and cosines of positions."""
    numbers = {"rope": 2 * config.n_embd // config.n_head, "sinusoidal": config.n_embd}.get(config.position, 0)
    return 4 * numbers * config.context


def _block_workspace(config: GPTConfig, N: int, dtype: torch.dtype) -> int:
    """Bytes of the gradients inside a block when most are alive: behind the MLP, and the one of its last matrix."""
    activation = 2 if config.mlp == "swiglu" else 1  # gradients of the MLP's width at once
    matrix = config.n_embd * mlp_width(config)
    return (
        N * (8 * config.n_embd + activation * dtype.itemsize * mlp_width(config))
        + (6 if dtype.itemsize == 2 else 4) * matrix
    )


def _muon_workspace(config: GPTConfig, device: str) -> int:
    """Bytes that a Muon step takes beside its averages: an update for each matrix, and the largest stack of them.

    The stack of like matrices is made square by square: the stack itself, the two last iterates, and X Xᵀ twice.
    """
    C, KV, W, L = config.n_embd, key_value_width(config), mlp_width(config), config.n_layer
    stacks: dict[tuple[int, int], int] = {}
    for shape, number in (((C, C), 2), ((KV, C), 2), ((W, C), mlp_matrices(config))):
        lying = (min(shape), max(shape))
        stacks[lying] = stacks.get(lying, 0) + number * L
    size = 4 if device == "cpu" else 2
    largest = max(number * (3 * a * b + 2 * a * a) for (a, b), number in stacks.items())
    return 4 * L * _matrices(config) + size * largest


guard(globals())
