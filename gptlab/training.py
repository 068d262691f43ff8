"""Training: show the model text, measure its surprise, move every weight a little to make it smaller (lesson 09).

From top to bottom: the learning rate's shape over time, the optimisers, one update, the loop. Muon stands in
`gptlab.muon`; how good a model is, and how far from the best possible loss, is measured in `gptlab.evaluation`.
"""

import contextlib
import functools
import itertools
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from tqdm import tqdm

from gptlab import checkpoints
from gptlab.batches import IGNORE, Batch
from gptlab.evaluation import StoryEvaluation, mean_loss
from gptlab.model import device_of
from gptlab.muon import Muon, orthogonalize

__all__ = [
    "History", "Muon", "NonFiniteLoss", "SingleProcess", "StoryEvaluation", "TrainConfig", "TrainStep",
    "activation_checkpoints", "add_gradients", "checkpoint_blocks", "lr_multiplier", "make_optimizers", "mean_loss",
    "micro_batches", "orthogonalize", "run", "train", "with_progress",
]  # fmt: skip


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        steps: batches to learn from, one update each.
        optimizer: "adamw" (Loshchilov & Hutter 2017) for all weights, or "muon" (Jordan et al. 2024) for the matrices
            inside the blocks and AdamW for the rest.
        learning_rate: the highest rate of AdamW.  muon_lr: the highest rate of Muon.
        warmup: steps in which the rate grows from 0.
        decay_fraction: the last part of the run, 0 to 1, in which it falls.
        schedule: of that fall, "linear" or "cosine".
        min_lr_ratio: the rate at the end, as a part of the highest.
        betas, weight_decay: of AdamW; only matrices and tables decay.
        max_grad_norm: the longest gradient that is taken as it is; longer ones are shortened to it. float("inf") cuts
            nothing.
        gradient_accumulation: parts that a batch is cut into, one after the other: the same update, in less memory.
        gradient_checkpointing: keep only the input of each block, and compute its inside again in the backward pass:
            less memory again, for a third more work (Chen et al. 2016).
        evaluate_every: steps between two evaluations; 0 for only at the end.
        save_every: steps between two checkpoints, where a folder is given.
        save_total_limit: how many of them to keep.
    """

    steps: int = 1000
    optimizer: str = "adamw"
    learning_rate: float = 3e-3
    muon_lr: float = 0.02
    warmup: int = 50
    decay_fraction: float = 0.7
    schedule: str = "linear"
    min_lr_ratio: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    gradient_accumulation: int = 1
    gradient_checkpointing: bool = False
    evaluate_every: int = 100
    save_every: int = 500
    save_total_limit: int = 2

    def __post_init__(self):
        if self.optimizer not in ("adamw", "muon"):
            raise ValueError(f"unknown optimizer {self.optimizer!r}: choose 'adamw' or 'muon'")
        if self.schedule not in ("linear", "cosine"):
            raise ValueError(f"unknown schedule {self.schedule!r}: choose 'linear' or 'cosine'")
        if self.steps < 1 or not 0 <= self.decay_fraction <= 1:
            raise ValueError(
                f"steps={self.steps} must be at least 1 and decay_fraction={self.decay_fraction} between 0 and 1"
            )
        if self.gradient_accumulation < 1 or self.save_total_limit < 1:
            raise ValueError(
                f"gradient_accumulation={self.gradient_accumulation} and save_total_limit={self.save_total_limit} "
                "must be at least 1"
            )
        if not self.max_grad_norm > 0:
            raise ValueError(
                f"max_grad_norm={self.max_grad_norm} must be above 0, for every gradient is shortened to it: "
                "float('inf') cuts nothing"
            )


def lr_multiplier(step: int, config: TrainConfig) -> float:
    """The learning rate of a step as a part of the highest: up in the warm-up, level, down in the decay.

    >>> config = TrainConfig(steps=100, warmup=10, decay_fraction=0.5)
    >>> [lr_multiplier(step, config) for step in (4, 9, 49, 74, 99)]
    [0.5, 1.0, 1.0, 0.52, 0.02]
    """
    if step < config.warmup:
        return (step + 1) / config.warmup
    left = (config.steps - step) / max(1.0, config.decay_fraction * config.steps)  # from 1 down to 0 in the decay
    if left >= 1:
        return 1.0
    fall = left if config.schedule == "linear" else 0.5 - 0.5 * math.cos(math.pi * left)
    return config.min_lr_ratio + (1 - config.min_lr_ratio) * fall


def make_optimizers(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """One AdamW for everything, or Muon for the matrices inside the blocks beside it.

    A table of embeddings is no matrix in this sense: its rows are looked up, not multiplied.
    """

    def is_matrix(name: str, parameter: Tensor) -> bool:
        return name.startswith("blocks.") and parameter.dim() == 2 and "convolution" not in name

    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    muon = [p for name, p in named if is_matrix(name, p)] if config.optimizer == "muon" else []
    taken = {id(p) for p in muon}
    rest = [p for _, p in named if id(p) not in taken]
    groups = [
        {"params": [p for p in rest if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)
    ]
    if muon:
        optimizers.append(Muon(muon, lr=config.muon_lr, weight_decay=config.weight_decay))
    return optimizers


class NonFiniteLoss(ArithmeticError):
    """The loss became infinite or not a number: the run stops before it would spoil the weights."""


@dataclass
class History:
    """What happened: one entry a step in `losses`, `rates`, `gradient_norms`; one a measurement in `evaluations`."""

    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    evaluations: list[dict[str, float | int]] = field(default_factory=list)
    seconds: float = 0.0  # spent on steps: not on evaluations
    tokens: int = 0  # targets that counted

    @property
    def steps(self) -> int:
        return len(self.losses)

    def curve(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of one evaluated quantity, for a picture."""
        points = [(int(e["step"]), e[name]) for e in self.evaluations if name in e]
        return [step for step, _ in points], [value for _, value in points]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "History":
        return cls(**json.loads(text))


def train(model: nn.Module, batches, config: TrainConfig | None = None, *, progress: bool = True, **options) -> History:
    """Train `model` on `batches.batch(0)`, `.batch(1)`, … and return what happened; `options` as for `run`.

    >>> from gptlab.batches import Batches
    >>> from gptlab.embedding import BigramLanguageModel
    >>> batches = Batches([0, 1, 2] * 20, B=4, T=6)
    >>> plan = TrainConfig(steps=30, learning_rate=0.5)
    >>> history = train(BigramLanguageModel(V=3), batches, plan, progress=False)
    >>> history.losses[0] > 1.09 and history.losses[-1] < 0.01
    True
    """
    config = TrainConfig() if config is None else config
    return with_progress(run(model, batches, config, **options), config.steps, progress)


def with_progress(running: Iterator[History], steps: int, progress: bool = True) -> History:
    """Let a `run` go on for (at most) `steps` more steps, and show how it goes; the history so far.

    A terminal shows a bar; elsewhere, in a notebook or a log, about eight lines are printed.
    """
    history = History()
    bar = tqdm(total=steps, disable=None if progress else True, file=sys.stdout, unit="step")
    for done, history in enumerate(itertools.islice(running, steps)):
        bar.update()
        entry = history.evaluations[-1] if history.evaluations else {}
        measured = entry if entry.get("step") == history.steps else {}
        shown = {name: f"{measured[name]:.3f}" for name in measured if name not in ("step", "seconds")}
        if shown:
            bar.set_postfix(shown)
        if progress and bar.disable and (done + 1) % max(1, steps // 8) == 0:
            words = "".join(f"  {name} {value}" for name, value in list(shown.items())[:3])
            print(f"step {history.steps:>5}  loss {history.losses[-1]:.3f} nats a token{words}", flush=True)
    bar.close()
    return history


class SingleProcess:
    """What a run asks of its fellow processes, where it has none.

    `gptlab.gpu.distributed.ProcessGroup` answers the same questions for several processes (ranks) that train one model.
    """

    rank, world_size = 0, 1

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model, made to share its gradients with the other ranks."""
        return model

    def part(self, batches: Any) -> Any:
        """The batches of this rank: some rows of each; all ranks together have them all."""
        return batches

    def sum(self, *numbers: float | int) -> list[float | int]:
        """Each number, added up over the ranks."""
        return list(numbers)

    def gather(self, value: Any) -> list:
        """The value of each rank."""
        return [value]

    def sharing(self, model: nn.Module, now: bool) -> contextlib.AbstractContextManager:
        """Inside, gradients are shared between the ranks if `now`, else kept for later."""
        return contextlib.nullcontext()


def micro_batches(batch: Batch, parts: int) -> list[Batch]:
    """The rows of a batch, dealt out to `parts` smaller ones (or one for each row, if there are fewer).

    >>> batch = Batch(torch.arange(6).view(3, 2), torch.arange(6).view(3, 2))
    >>> [part.ids.tolist() for part in micro_batches(batch, 2)]
    [[[0, 1], [2, 3]], [[4, 5]]]
    """
    parts = min(parts, len(batch[0]))
    return [Batch(*pair) for pair in zip(*(tensor.tensor_split(parts) for tensor in batch), strict=True)]


def add_gradients(
    model: nn.Module,
    parts: Sequence[Batch],
    counted: float | int,
    scaler: Any,
    context: Callable,
    processes: SingleProcess,
) -> Tensor:
    """Add the gradients of the mean loss over `counted` targets, micro-batch by micro-batch; this rank's part of it.

    A micro-batch gives the mean over its own targets, so it weighs as much as it has of them: the mean of the means
    would count a token in a short text for more than one in a long text.
    """
    total = torch.zeros((), device=device_of(model))
    for place, (ids, targets) in enumerate(parts):
        own = int((targets != IGNORE).sum())
        if own == 0:  # nothing counts here: a mean over nothing would be NaN, and a weight of 0 would not help it
            targets = torch.zeros_like(targets)
        ids, targets = ids.to(total.device), targets.to(total.device)
        with processes.sharing(model, now=place == len(parts) - 1):
            with context():
                loss = model(ids, targets)[1] * (own / counted)
            scaler.scale(loss * processes.world_size).backward()  # sharing gradients takes their mean over the ranks
        total += loss.detach()
    return total


def checkpoint_blocks(model: nn.Module) -> nn.Module:
    """Let each of the model's `blocks` keep its input only, and compute the rest again on the way back.

    Chen et al. 2016. The gradients are the same; a step takes about a third more work, and much less memory.

    >>> from gptlab.model import GPT, GPTConfig
    >>> model = checkpoint_blocks(GPT(GPTConfig(vocab_size=50, context=8, n_layer=2, n_head=2, n_embd=12)))
    """
    for block in model.blocks:
        lean = vars(block).get("_lean")
        if lean is None or lean.args[0] != block.forward:  # else the one of before: another would be compiled anew
            lean = block._lean = functools.partial(checkpoint, block.forward, use_reentrant=False)
        block.forward = lean
    return model


@contextlib.contextmanager
def activation_checkpoints(model: nn.Module, wanted: bool = True) -> Iterator[None]:
    """Inside, the model's blocks are those of `checkpoint_blocks`, if `wanted`; afterwards what they were."""
    blocks = list(checkpoint_blocks(model).blocks) if wanted else []
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


class TrainStep:
    """One update of the weights after the other: the gradients of a batch, then the step of the optimisers.

    Args:
        dtype: of the matrix products; float16 brings a gradient scaler, without which small gradients would vanish.
        processes: those that train together.
    """

    def __init__(self, model: nn.Module, config: TrainConfig, dtype: torch.dtype, processes: SingleProcess):
        device = device_of(model)
        model.zero_grad(set_to_none=True)  # an earlier run may have left some
        self.model, self.config, self.dtype, self.processes = model, config, dtype, processes
        self.learner = processes.wrap(model)  # first, for it may spread the weights
        self.optimizers = make_optimizers(model, config)
        self.highest = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self.context = functools.partial(torch.autocast, device.type, dtype=dtype, enabled=dtype != torch.float32)

    def gradients(self, batch: Batch, step: int) -> tuple[float, float, int]:
        """Fill in the gradients; this rank's part of the loss, the gradient's length, and how many targets counted."""
        parts = micro_batches(batch, self.config.gradient_accumulation)
        (counted,) = self.processes.sum(sum(int((targets != IGNORE).sum()) for _, targets in parts))
        if counted == 0:
            raise ValueError(f"no target of step {step} counts: every one is IGNORE, so there is nothing to learn")
        loss = add_gradients(self.learner, parts, counted, self.scaler, self.context, self.processes)
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        value, length = torch.stack([loss, norm.to(loss.dtype)]).tolist()  # waits for the device, once a step
        return value, length, int(counted)

    def apply(self, loss: float, norm: float, step: int) -> float:
        """Let the optimisers take their step, with the rate of this step, which comes back.

        Raises:
            NonFiniteLoss: before the step would spoil the weights. A scaler skips a step whose gradients overflowed and
                tries a smaller scale: then only the loss counts, and a scale that has become too small to help.
        """
        factor = lr_multiplier(step, self.config)
        rate = self.config.learning_rate * factor
        overflowed = self.scaler.is_enabled() and not math.isfinite(norm) and self.scaler.get_scale() > 1e-4
        if not math.isfinite(loss) or not (math.isfinite(norm) or overflowed):
            raise NonFiniteLoss(
                f"the loss is {loss} at step {step} (learning rate {rate:.3g}, gradient norm {norm:.3g}, {self.dtype}):"
                " try a smaller learning rate, a longer warm-up, or float32"
            )
        for optimizer, rates in zip(self.optimizers, self.highest, strict=True):
            for group, highest in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = highest * factor
            if not overflowed:  # the scaler judges each optimiser alone: one would step, and the other not
                self.scaler.step(optimizer)
        self.scaler.update()
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        return rate


def run(
    model: nn.Module,
    batches,
    config: TrainConfig,
    *,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    dtype: torch.dtype = torch.float32,
    stop: Callable[[], bool] = lambda: False,
    processes: SingleProcess | None = None,
) -> Iterator[History]:
    """The training loop, one step at a time: yields the growing history after each.

    Args:
        batches: anything whose `batch(step)` gives (ids, targets).
        evaluate: called with the model every `config.evaluate_every` steps and at the end; its numbers are kept.
        folder: where to keep checkpoints.  resume: go on from the last one there, exactly as if nothing had stopped.
        dtype: of the matrix products: float32, or bfloat16 / float16 (then with a gradient scaler) by autocast.
        stop: asked in each step; when it says True, the run keeps a checkpoint after it and ends. Where it has a
            `busy()`, that is entered around evaluations and checkpoints, which may take long.
        processes: those that train together; this one alone unless given.

    Raises:
        NonFiniteLoss: with step, learning rate, gradient norm and dtype; the weights are those before the step, and
            the last checkpoint is sound.
        CheckpointError: a new run is to begin in a folder that has one already, or a checkpoint cannot be written.
    """
    processes = SingleProcess() if processes is None else processes
    batches, update, history = processes.part(batches), TrainStep(model, config, dtype, processes), History()
    busy = getattr(stop, "busy", contextlib.nullcontext)

    def due(every: int) -> bool:
        return history.steps == config.steps or bool(every and history.steps % every == 0)

    def look() -> None:
        with busy():
            history.evaluations.append({"step": history.steps, "seconds": history.seconds, **evaluate(model)})
        model.train()

    if folder is not None and (state := _begin(folder, update, resume)) is not None:
        history = History(**state["history"])
        seen = history.evaluations[-1]["step"] if history.evaluations else 0
        if evaluate is not None and due(config.evaluate_every) and seen != history.steps:
            look()  # the run was stopped before it came to this
        yield history
    model.train()
    with activation_checkpoints(model, config.gradient_checkpointing):
        for step in range(history.steps, config.steps):
            start = time.perf_counter()
            part, norm, counted = update.gradients(batches.batch(step), step)
            loss, stopping = processes.sum(part, int(stop()))
            rate = update.apply(loss, norm, step)
            history.losses.append(loss)
            history.rates.append(rate)
            history.gradient_norms.append(norm)
            history.tokens += counted
            history.seconds += time.perf_counter() - start
            stopping = stopping and history.steps < config.steps
            if evaluate is not None and not stopping and due(config.evaluate_every):
                look()
            if folder is not None and (stopping or due(config.save_every)):
                with busy():
                    _save(folder, update, history)
            yield history
            if stopping:
                return


def _begin(folder: str | Path, update: TrainStep, resume: bool) -> dict[str, Any] | None:
    """Clear away a crash's leavings and go on from the newest checkpoint, or see that there is none to be spoilt."""
    if update.processes.rank == 0:
        checkpoints.remove_temporary(folder)
    if resume:
        state = checkpoints.resume(folder, update.model, update.optimizers, update.processes.rank)
        if state is not None and state["scaler"]:  # a run in another dtype had none: this one begins with its own
            update.scaler.load_state_dict(state["scaler"])
        return state
    if (newest := checkpoints.latest(folder)) is not None:
        raise checkpoints.CheckpointError(
            f"{str(folder)!r} has a run already (its newest checkpoint is {newest.name}): resume it, or delete the "
            "folder, or choose another"
        )
    return None


def _save(folder: str | Path, update: TrainStep, history: History) -> None:
    """Keep a checkpoint, unless its weights are spoilt: the one before it must stay the one to go on from."""
    model, processes = update.model, update.processes
    own = (p.detach().to_local() if hasattr(p, "to_local") else p.detach() for p in model.parameters())
    if any(processes.sum(sum(int((~torch.isfinite(weights)).sum()) for weights in own))):
        raise NonFiniteLoss(
            f"a weight is not finite after step {history.steps}, so no checkpoint is made of it; go on from the one "
            "before with a smaller learning rate, a longer warm-up, or float32"
        )
    checkpoints.save(
        folder,
        model,
        update.optimizers,
        history.steps,
        state={"history": asdict(history), "scaler": update.scaler.state_dict(), "world_size": processes.world_size},
        save_total_limit=update.config.save_total_limit,
        generators=processes.gather(checkpoints.generator_states(device_of(model))),
        write=processes.rank == 0,
    )
    processes.sum(0)  # the others wait for the one that writes here, and not inside the next step
