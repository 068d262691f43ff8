"""What a machine can hold: a model whose sizes are absurd is refused before its first table is made.

Standard library only, so that every reader of a configuration can ask.

>>> from gptlab.config import GPTConfig
>>> least_numbers(GPTConfig(vocab_size=100, context=16, n_layer=2, n_head=2, n_embd=12))
2832
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gptlab.config import GPTConfig


def total_memory() -> int | None:
    """The memory of this machine in bytes; None where Python cannot ask for it."""
    try:
        import psutil

        return psutil.virtual_memory().total
    except ImportError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has none of these names
        return None


def least_numbers(config: "GPTConfig") -> int:
    """How many numbers the largest tables of a model have, at least: its embeddings and the matrices of its blocks.

    Args:
        config: of the model.
    """
    learned = config.context * config.n_embd if config.position == "learned" else 0
    block = config.n_embd * (config.n_embd + (config.mlp_size or 4 * config.n_embd) + config.convolution)
    return config.vocab_size * config.n_embd + learned + config.n_layer * block


def check_fits(config: "GPTConfig", numbers_per_weight: int = 1) -> None:
    """Check that a model and its tables of positions can be in the memory of this machine.

    Args:
        config: of the model.
        numbers_per_weight: 1 to use it; 4 to train it, with a gradient and two averages for each weight.

    Raises:
        ValueError: it can't, with both amounts and what to make smaller.
    """
    memory = total_memory()
    positions = config.context * config.n_embd // config.n_head if config.position in ("rope", "sinusoidal") else 0
    needed = 4 * (numbers_per_weight * least_numbers(config) + positions)
    if memory is not None and needed > memory:
        raise ValueError(
            f"a model of {config.n_layer} layers, {config.n_embd} channels, {config.vocab_size} tokens and context "
            f"{config.context} needs at least {needed / 1e9:,.1f} GB, and this machine has {memory / 1e9:,.1f} GB: "
            "make one of these smaller"
        )
