"""One training step: the gradient of a batch, then an update of every weight.

From top to bottom: the gradient in micro-batches, the gradient in less memory, the step. Both ways of saving memory
give the gradient that the whole batch would have given at once, as tests show. `gptlab.training` repeats the step.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gptlab import ranks
from gptlab.batches import IGNORE, Batch
from gptlab.entrances import guard
from gptlab.model import device_of
from gptlab.optimizers import make_optimizers
from gptlab.ranks import Processes, whole
from gptlab.schedule import TrainConfig, lr_multiplier


class NonFiniteLoss(ArithmeticError):
    """The loss became infinite or not a number: the run stops before that would corrupt the weights."""


@runtime_checkable
class Objective(Protocol):
    """What a step makes smaller: a mean over something that a batch has, and how much of it the batch has.

    With it, training isn't bound to the next token: `gptlab.reinforcement` and `gptlab.preferences` bring their own.
    """

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        """The mean loss of a batch, a scalar whose gradient is taken."""
        ...

    def count(self, batch: Any) -> int:
        """How much the mean is over: a part of a batch weighs as much as it has of this."""
        ...


class NextToken:
    """The objective of pre-training: the model's own loss, a mean over the targets that count.

    >>> NextToken().count(Batch(torch.tensor([[5, 6, 7]]), torch.tensor([[6, 7, IGNORE]])))
    2
    """

    def __call__(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """The cross-entropy in nats per token."""
        ids, targets = batch
        return model(ids, targets)[1]

    def count(self, batch: tuple[Tensor, ...]) -> int:
        """The targets that count."""
        return count_targets(batch)


def micro_batches(batch: tuple[Tensor, ...], parts: int) -> list[tuple[Tensor, ...]]:
    """The rows of a batch, split into `parts` smaller ones (or one for each row, if there are fewer).

    A named tuple of tensors other than `Batch` is split in the same way, field by field.

    >>> batch = Batch(torch.arange(6).view(3, 2), torch.arange(6).view(3, 2))
    >>> [part.ids.tolist() for part in micro_batches(batch, 2)]
    [[[0, 1], [2, 3]], [[4, 5]]]
    """
    parts, kind = min(parts, len(batch[0])), type(batch) if hasattr(batch, "_fields") else Batch
    return [kind(*fields) for fields in zip(*(tensor.tensor_split(parts) for tensor in batch), strict=True)]


def count_targets(batch: tuple[Tensor, ...]) -> int:
    """How many targets of a batch count: those that aren't IGNORE.

    >>> count_targets(Batch(torch.tensor([[5, 6, 7]]), torch.tensor([[6, 7, IGNORE]])))
    2
    """
    return int((batch[1] != IGNORE).sum())


def add_gradients(
    model: nn.Module,
    parts: Sequence[tuple[Tensor, ...]],
    weights: Sequence[float | int | Tensor],
    scaler: Any,
    autocast: Callable[[], contextlib.AbstractContextManager],
    processes: Processes,
    objective: Objective | None = None,
) -> Tensor:
    """Add up the gradients of the mean loss over a batch, micro-batch by micro-batch; the loss comes back.

    A micro-batch gives the mean over its own targets, so it has to weigh as much as it has of them: the mean of the
    means would count a token in a short text for more than one in a long text.

    Args:
        model: called with ids and targets, it gives logits and loss.
        parts: the micro-batches of this process.
        weights: for each, the fraction of the whole batch's targets (of what the objective counts) that it has; over
            all processes they sum to 1. A recorded step has them as tensors, none of them 0.
        scaler: a gradient scaler (for float16), enabled or not.
        autocast: opens the context in which the forward pass runs.
        processes: the processes that train together. With several, the loss is this one's part of the sum.
        objective: what is made smaller; the loss of the next token unless given.
    """
    objective = NextToken() if objective is None else objective
    total = torch.zeros((), device=device_of(model))
    for number, (part, weight) in enumerate(zip(parts, weights, strict=True), start=1):
        if (
            not isinstance(weight, Tensor) and weight == 0
        ):  # nothing counts here: a mean over nothing would be NaN, and a weight of 0 would not help it
            part = part._replace(targets=torch.zeros_like(part.targets))
        part = type(part)(*(tensor.to(total.device) for tensor in part))
        with processes.gradient_sync(model, now=number == len(parts)):
            with autocast():
                loss = objective(model, part) * weight
            scaler.scale(loss * processes.world_size).backward()  # the ranks' gradients are averaged, we want their sum
        total += loss.detach()
    return total


def checkpoint_blocks(model: nn.Module) -> nn.Module:
    """Let each of the model's `blocks` save its input only, and compute the rest again in the backward pass.

    Activation checkpointing (Chen et al. 2016). The gradients are the same; a step takes about a third more work, and
    much less memory.

    >>> from gptlab.model import GPT, GPTConfig
    >>> model = checkpoint_blocks(GPT(GPTConfig(vocab_size=50, context=8, n_layer=2, n_head=2, n_embd=12)))
    """
    for block in model.blocks:
        lean = vars(block).get("_lean")
        if lean is None or lean.args[0] != block.forward:  # reused, because torch.compile would compile a new one again
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
    """One update of the weights: the gradient of a batch, then a step of the optimizers.

    Args:
        model: what is trained; left-over gradients are dropped.
        config: how.
        dtype: of the matrix products; float16 brings a gradient scaler, without which small gradients would vanish.
        processes: the processes that train together.
        objective: what is made smaller; the loss of the next token unless given.
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainConfig,
        dtype: torch.dtype,
        processes: Processes,
        objective: Objective | None = None,
    ):
        model.zero_grad(set_to_none=True)
        self.model = model
        self.config = config
        self.dtype = dtype
        self.processes = processes
        self.objective = NextToken() if objective is None else objective
        self.wrapped = processes.wrap(model)  # before the optimizers are made, because it may shard the weights
        self.optimizers = make_optimizers(model, config)
        self.peak_rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        kind = device_of(model).type
        self.scaler = torch.amp.GradScaler(kind, enabled=dtype == torch.float16)
        self.autocast = functools.partial(torch.autocast, kind, dtype=dtype, enabled=dtype != torch.float32)

    def parts(self, batch: tuple[Tensor, ...], step: int) -> tuple[list[tuple[Tensor, ...]], list[float], int]:
        """A batch taken apart: micro-batches, the weight of each, and how many targets count on all processes.

        Raises:
            ValueError: no target of the batch counts.
        """
        parts = micro_batches(batch, self.config.gradient_accumulation)
        counts = [self.objective.count(part) for part in parts]
        total, targets = self.processes.sum(sum(counts), count_targets(batch))
        if total == 0:
            raise ValueError(f"no target of step {step} counts: every one is IGNORE, so there is nothing to learn")
        return parts, [count / total for count in counts], int(targets)

    def fill_gradients(self, parts: Sequence, weights: Sequence[float | int | Tensor]) -> Tensor:
        """Fill in the gradients, shortened to `max_grad_norm`; loss and norm in one tensor, still on the device."""
        loss = add_gradients(self.wrapped, parts, weights, self.scaler, self.autocast, self.processes, self.objective)
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        parameters = list(self.model.parameters())
        together = None if any(map(ranks.is_sharded, parameters)) else True  # one call for all norms, on a CPU too
        norm = whole(nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm, foreach=together))
        return torch.stack([loss, norm.to(loss.dtype)])

    def gradients(self, batch: tuple[Tensor, ...], step: int) -> tuple[float, float, int]:
        """Fill in the gradients, shortened to `max_grad_norm`, and wait for them.

        Returns:
            This process's part of the loss, the norm of the gradient, and how many targets counted on all processes.

        Raises:
            ValueError: no target of the batch counts.
        """
        parts, weights, targets = self.parts(batch, step)
        loss, norm = self.fill_gradients(parts, weights).tolist()  # waits for the device, once in a step
        return loss, norm, targets

    def set_rates(self, step: int) -> float:
        """Give each group of weights its learning rate at a step, from 0; AdamW's comes back."""
        multiplier = lr_multiplier(step, self.config)
        for optimizer, peaks in zip(self.optimizers, self.peak_rates, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * multiplier
        return self.config.learning_rate * multiplier

    def spoilt(self, loss: float, norm: float, step: int) -> NonFiniteLoss:
        """The error of a step whose loss or gradient isn't finite, with its circumstances."""
        rate = self.config.learning_rate * lr_multiplier(step, self.config)
        return NonFiniteLoss(
            f"the loss is {loss} at step {step} (learning rate {rate:.3g}, gradient norm {norm:.3g}, {self.dtype}):"
            " try a smaller learning rate, a longer warm-up, or float32"
        )

    def apply(self, loss: float, norm: float, step: int) -> float:
        """Let the optimizers take their step; AdamW's learning rate in it comes back.

        Args:
            loss: of all processes together.
            norm: of the gradient.
            step: which step of the run it is, from 0.

        Raises:
            NonFiniteLoss: before the step would corrupt the weights.
        """
        # float16: a gradient that overflowed is skipped, and the next one is scaled down. Only where the scale has
        # become too small to help is there something wrong with the run.
        skip = self.scaler.is_enabled() and not math.isfinite(norm) and self.scaler.get_scale() > 1e-4
        if not math.isfinite(loss) or not (math.isfinite(norm) or skip):
            raise self.spoilt(loss, norm, step)
        rate = self.set_rates(step)
        if (
            not skip
        ):  # decided here for all: the scaler looks at each optimizer alone, so one would step without another
            for optimizer in self.optimizers:
                self.scaler.step(optimizer)
        self.scaler.update()
        self.drop_gradients()
        return rate

    def drop_gradients(self) -> None:
        """Forget the gradients: the next backward pass makes new ones."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)


guard(globals(), unchecked=("apply", "spoilt"))  # a loss that is not finite has an error of its own
