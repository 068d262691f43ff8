"""Training steps that a GPU works through without being asked in between.

A GPU only queues what it is told and returns at once. Anyone who asks for the loss of a step waits until all of it is
done, and meanwhile nothing new is queued: with a small model the GPU then idles for most of the run. So several steps
are queued, and their losses are read together. What the host used to decide, the device decides: from the first step
whose loss or gradient isn't finite, no weight changes any more, so that the reader finds the weights from before it,
however late he reads.

>>> from gptlab.model import GPT, GPTConfig
>>> from gptlab.ranks import SingleProcess
>>> model = GPT(GPTConfig(vocab_size=50, context=8, n_layer=1, n_head=2, n_embd=12))
>>> step = TrainStep(model, TrainConfig(steps=2, warmup=0), torch.float32, SingleProcess())
>>> queue, ids = StepQueue(step), torch.tensor([[1, 2, 3]])
>>> for number in range(2):
...     queue.add(Batch(ids, ids), number)
>>> results, problem = queue.read()
>>> [result.tokens for result in results], problem
([3, 3], None)
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gptlab.batches import Batch
from gptlab.entrances import guard
from gptlab.model import device_of
from gptlab.optimizers import Muon
from gptlab.schedule import TrainConfig
from gptlab.train_step import NonFiniteLoss, TrainStep

__all__ = ["Batch", "StepQueue", "StepResult", "TrainConfig", "can_queue"]

Work = Callable[[], None]


class StepResult(NamedTuple):
    """What is written down of a step.

    Attributes:
        loss: in nats per token.
        rate: AdamW's learning rate.
        norm: of the gradient, before it was shortened.
        tokens: targets that counted.
    """

    loss: float
    rate: float
    norm: float
    tokens: int


def can_queue(step: TrainStep) -> bool:
    """Whether a step can do without the host: one process, no gradient scaler, optimizers that can be told to skip.

    Several processes compare notes in each step, and float16's scale is decided on the host.
    """
    known = all(isinstance(each, Muon) or each.defaults.get("fused") for each in step.optimizers)
    return step.processes.world_size == 1 and not step.scaler.is_enabled() and known


class StepQueue:
    """Queues training steps on the device, and reads what became of them when asked.

    Args:
        step: one training step, for which `can_queue` holds.
        record: makes of a step's work, always the same on the same memory, something that repeats it in fewer calls,
            such as `gptlab.gpu.Replayed`; None calls it as it is. A batch of another shape than the first is
            never recorded.
    """

    def __init__(self, step: TrainStep, record: Callable[[Work], Work] | None = None):
        self.step, self.record, self.device = step, record, device_of(step.model)
        self.spoilt = torch.zeros((), device=self.device)  # 1 from the first step on that wasn't finite
        self.outcome = torch.zeros(2, device=self.device)  # loss and norm of the newest step
        self.waiting: list[tuple[int, float, int, Tensor]] = []
        self.inputs: list[tuple[Tensor, ...]] = []  # of the recorded step: batches, their weights, learning rates
        self.weights: list[Tensor] = []
        self.rates: list[list[Tensor]] = []
        self.work: Work | None = None

    def __len__(self) -> int:
        """Steps that nobody has read yet."""
        return len(self.waiting)

    def add(self, batch: tuple[Tensor, ...], step: int) -> None:
        """Queue a step; on a GPU this returns before it has begun.

        Args:
            batch: on the CPU.
            step: its number, from 0.

        Raises:
            ValueError: no target of the batch counts.
        """
        parts, weights, tokens = self.step.parts(batch, step)
        parts = [self._sent(part) for part in parts]
        rate = self.step.set_rates(step)
        if self.record is not None and 0 not in weights and self._fits(parts):
            self._repeat(parts, weights)
        else:
            self._work(parts, weights)
        self.waiting.append((step, rate, tokens, self.outcome.clone()))

    def read(self) -> tuple[list[StepResult], NonFiniteLoss | None]:
        """Wait for the device: what became of each step that was queued, and the error of the first that went wrong.

        The results end before that one, and so do the weights.
        """
        queued, self.waiting = self.waiting, []
        results: list[StepResult] = []
        outcomes = torch.stack([outcome for *_, outcome in queued]).tolist() if queued else []
        for (step, rate, tokens, _), (loss, norm) in zip(queued, outcomes, strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                return results, self.step.spoilt(loss, norm, step)
            results.append(StepResult(loss, rate, norm, tokens))
        return results, None

    def _sent(self, part: Any) -> Any:
        """A micro-batch on the device. From pinned memory it is copied while the device computes something else."""
        if self.device.type != "cuda":
            return type(part)(*(tensor.to(self.device) for tensor in part))
        return type(part)(*(tensor.pin_memory().to(self.device, non_blocking=True) for tensor in part))

    def _work(self, parts: Sequence[tuple[Tensor, ...]], weights: Sequence[float | Tensor]) -> None:
        """The step itself, forward pass to update, without a question to the device."""
        self.outcome.copy_(self.step.fill_gradients(parts, weights))
        self.spoilt.masked_fill_((self.outcome - self.outcome).sum() != 0, 1.0)  # inf - inf is not a number
        for optimizer in self.step.optimizers:
            optimizer.found_inf = self.spoilt
            optimizer.grad_scale = None
            try:
                optimizer.step()
            finally:
                del optimizer.found_inf, optimizer.grad_scale
        self.step.drop_gradients()

    # ── A recorded step: the same work, from the same memory ─────────────────────────────────────────────────────────

    def _fits(self, parts: Sequence[tuple[Tensor, ...]]) -> bool:
        """Whether a batch has the shapes of the first."""
        shapes = [[tensor.shape for tensor in part] for part in parts]
        return not self.inputs or shapes == [[tensor.shape for tensor in part] for part in self.inputs]

    def _groups(self) -> list[dict]:
        return [group for optimizer in self.step.optimizers for group in optimizer.param_groups]

    def _repeat(self, parts: Sequence[tuple[Tensor, ...]], weights: Sequence[float]) -> None:
        if self.work is None:
            self.inputs = [type(part)(*(tensor.clone() for tensor in part)) for part in parts]
            self.weights = [torch.zeros((), device=self.device) for _ in weights]
            self.rates = [torch.zeros((), device=self.device) for _ in self._groups()]
            self.work = self.record(self._from_memory)
        for part, values in zip(self.inputs, parts, strict=True):
            for tensor, value in zip(part, values, strict=True):
                tensor.copy_(value, non_blocking=True)
        for tensor, value in zip(self.weights, weights, strict=True):
            tensor.fill_(value)
        for tensor, group in zip(self.rates, self._groups(), strict=True):
            tensor.fill_(group["lr"])
        self.work()

    def _from_memory(self) -> None:
        """The work on the tensors that `_repeat` fills; afterwards the groups have plain numbers again."""
        groups = self._groups()
        settings = [(group["lr"], group.get("capturable")) for group in groups]
        for group, rate in zip(groups, self.rates, strict=True):
            group["lr"] = rate
            if "capturable" in group and self.device.type == "cuda":
                group["capturable"] = True
        try:
            self._work(self.inputs, self.weights)
        finally:
            for group, (rate, capturable) in zip(groups, settings, strict=True):
                group["lr"] = rate
                if capturable is not None:
                    group["capturable"] = capturable


guard(globals(), unchecked=("add",))
