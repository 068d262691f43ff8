"""The memory that a step really takes: what the forward pass saves, and the peak of everything alive.

>>> layer = nn.Linear(4, 5)
>>> x = torch.ones(3, 4)
>>> activation_bytes(lambda: layer(x).sum(), layer)  # its input, 3 × 4 numbers of 4 bytes
48
"""

import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gptlab.entrances import guard
from gptlab.model import device_of


def activation_bytes(forward: Callable[[], Tensor], model: nn.Module) -> int:
    """Bytes that a forward pass saves for the backward pass, each piece of memory once.

    Args:
        forward: runs the forward pass and returns the loss.
        model: its parameters and buffers are not counted.

    >>> linear, activation = nn.Linear(4, 5), nn.GELU()
    >>> x = torch.ones(3, 4)
    >>> activation_bytes(lambda: activation(linear(x)).sum(), linear)  # 3 × 4 numbers for the product, 3 × 5 for GELU
    108
    """
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = forward()  # while it lives, so does everything that it saved
        found = sum(saved.values())
    del loss
    return found


@dataclass
class MeasuredMemory:
    """What a step took, in bytes.

    Attributes:
        weights: parameters and buffers, before the step.
        gradients: before the step.
        optimizer: its averages, before the step.
        peak: the most that was alive while the step ran.
        timeline: what was alive after each operation of torch, in order: the picture of the step.
    """

    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    peak: int = 0
    timeline: list[int] = field(default_factory=list)


class _Live(TorchDispatchMode):
    """Counts the bytes of all tensors that torch's operations make, from their creation to their deletion."""

    def __init__(self, held: Iterable[Tensor]):
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.timeline: list[int] = []
        self.now = self.peak = 0
        for tensor in held:
            self.add(tensor)

    def add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.sizes and tensor.device.type != "meta":
            self.sizes[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.drop, key).atexit = False

    def drop(self, key: int) -> None:
        self.now -= self.sizes.pop(key)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        self.timeline.append(self.now)
        return out


def measure_memory(
    step: Callable[[], object], model: nn.Module, optimizers: Sequence[torch.optim.Optimizer] = ()
) -> MeasuredMemory:
    """The memory that `step()` takes at its peak, with what the model and its optimizers hold before it starts.

    Run one step before: optimizers make their averages in the first. On the CPU every tensor is followed from its
    creation to its deletion; scratch memory inside one operation is not seen. On CUDA the peak is
    `torch.cuda.max_memory_allocated`, which sees it; other tensors on the device don't count.

    Args:
        step: runs one training step.
        model: what is trained.
        optimizers: of the model.

    >>> layer = nn.Linear(100, 100, bias=False)
    >>> measured = measure_memory(lambda: layer(torch.ones(50, 100)), layer)
    >>> measured.weights, measured.peak  # 100 × 100 numbers; then 50 × 100 go in, and as many come out
    (40000, 80000)
    """
    states = [t for o in optimizers for state in o.state.values() for t in state.values() if torch.is_tensor(t)]
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    parts = ([*model.parameters(), *model.buffers()], gradients, states)
    device = device_of(model)
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    live = _Live(tensor for part in parts for tensor in part)
    held = live.now
    with live:
        step()
    peak = held + torch.cuda.max_memory_allocated(device) - before if cuda else live.peak
    return MeasuredMemory(*(_bytes(part) for part in parts), peak, live.timeline)


def _bytes(tensors: Iterable[Tensor]) -> int:
    """The bytes of some tensors, each piece of memory once."""
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


guard(globals())
