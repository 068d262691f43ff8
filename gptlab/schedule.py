"""How a run is trained: its settings, and the learning rate at each step.

Standard library only, so that a command line can list the settings at once. `gptlab.training` uses them.
"""

import functools
import math
import warnings
from dataclasses import dataclass
from typing import Annotated, Literal, get_args, get_type_hints

from gptlab.entrances import Count, Fraction, NotNegative, Range, Whole, check_fields, guard

# Names of the first edition. Its config.yaml files and its readers' code still have them.
OLD_NAMES = {
    "matrix_rate": "muon_lr",
    "decay": "decay_fraction",
    "shape": "schedule",
    "final": "min_lr_ratio",
    "clip": "max_grad_norm",
    "accumulate": "gradient_accumulation",
    "checkpointing": "gradient_checkpointing",
    "keep": "save_total_limit",
}


def _also_by_old_names(config: type) -> type:
    """Let a settings class be made with the names of the first edition too, with a DeprecationWarning."""
    made = config.__init__

    @functools.wraps(made)
    def __init__(self, *args, **settings):
        for old in OLD_NAMES.keys() & settings.keys():
            said = f"{config.__name__}({old}=…) is now called {OLD_NAMES[old]}"
            warnings.warn(said, DeprecationWarning, stacklevel=2)
            settings[OLD_NAMES[old]] = settings.pop(old)
        made(self, *args, **settings)

    config.__init__ = __init__
    return config


Average = Annotated[float | int, Range(least=0, below=1)]  # how much of it stays


@_also_by_old_names
@dataclass(frozen=True)
class TrainConfig:
    """How to train. `python -m gptlab train` has an option for each of these, with the same name.

    Attributes:
        steps: batches to learn from, one update of the weights each.
        optimizer: "adamw" for all weights, or "muon" for the matrices inside the blocks and AdamW for the rest.
        learning_rate: AdamW's peak learning rate.
        muon_lr: Muon's peak learning rate.
        warmup: steps in which the learning rate grows from 0 to its peak.
        decay_fraction: the last fraction of the run, 0 to 1, in which the learning rate falls.
        schedule: the shape of that fall, "linear" or "cosine".
        min_lr_ratio: the learning rate at the end, as a fraction of the peak.
        betas: how much of AdamW's two running averages stays in each step.
        weight_decay: how fast matrices and embedding tables shrink towards 0; biases and norms never do.
        max_grad_norm: a longer gradient is shortened to this norm; inf shortens none.
        gradient_accumulation: micro-batches that a batch is split into: the same update, in less memory.
        gradient_checkpointing: recompute each block in the backward pass: less memory, a third more work.
        evaluate_every: steps between two evaluations; 0 for only one, at the end.
        early_stopping: evaluations without a new best after which the run ends; 0 for never.
        save_every: steps between two checkpoints, where a folder is given; 0 for only one, at the end.
        save_total_limit: how many checkpoints to keep; older ones are deleted.

    Raises:
        ValueError: for a setting outside its range, naming it.

    >>> TrainConfig(decay_fraction=2)
    Traceback (most recent call last):
        ...
    ValueError: decay_fraction=2 must be between 0 and 1
    """

    steps: Annotated[int, Range(least=1, most=10**12)] = 1000
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: NotNegative = 3e-3
    muon_lr: NotNegative = 0.02
    warmup: Whole = 50
    decay_fraction: float | int = 0.7
    schedule: Literal["linear", "cosine"] = "linear"
    min_lr_ratio: Fraction = 0.0
    betas: tuple[Average, Average] = (0.9, 0.95)
    weight_decay: NotNegative = 0.0
    max_grad_norm: Annotated[float | int, Range(infinite=True)] = 1.0
    gradient_accumulation: Count = 1
    gradient_checkpointing: bool = False
    evaluate_every: Whole = 100
    early_stopping: Whole = 0
    save_every: Whole = 500
    save_total_limit: Count = 2

    def __post_init__(self):
        hints = get_type_hints(type(self))
        for name in ("optimizer", "schedule"):
            if getattr(self, name) not in (known := get_args(hints[name])):
                raise ValueError(f"unknown {name} {getattr(self, name)!r}: choose {' or '.join(map(repr, known))}")
        check_fields(self)
        if not (len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)):
            raise ValueError(f"betas={self.betas} must be two numbers of at least 0 and below 1, such as 0.9 and 0.95")
        if not 0 <= self.decay_fraction <= 1:
            raise ValueError(f"decay_fraction={self.decay_fraction} must be between 0 and 1")
        if not self.max_grad_norm > 0:
            raise ValueError(
                f"max_grad_norm={self.max_grad_norm} must be above 0, because every gradient is shortened to it: "
                "float('inf') shortens none"
            )


def lr_multiplier(step: int, config: TrainConfig) -> float:
    """The learning rate of a step as a fraction of its peak: warm-up, then constant, then decay.

    >>> config = TrainConfig(steps=100, warmup=10, decay_fraction=0.5)
    >>> [lr_multiplier(step, config) for step in (4, 9, 49, 74, 99)]
    [0.5, 1.0, 1.0, 0.52, 0.02]
    """
    steps_left = config.steps - step
    decay_steps = config.decay_fraction * config.steps
    # 1. Warm-up: up in a straight line.
    if step < config.warmup:
        return (step + 1) / config.warmup
    # 2. Not yet in the last part of the run: at the peak.
    if steps_left >= max(1.0, decay_steps):
        return 1.0
    # 3. Decay: `remaining` falls from 1 to 0 in a straight line or along half a cosine, and never below min_lr_ratio.
    remaining = steps_left / decay_steps
    if config.schedule == "cosine":
        remaining = 0.5 - 0.5 * math.cos(math.pi * remaining)
    return config.min_lr_ratio + (1 - config.min_lr_ratio) * remaining


guard(globals())
