"""The memory that a step really takes: what the way forward keeps, and the peak of everything alive.

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

from gptlab.model import device_of


def activation_bytes(forward: Callable[[], Tensor], model: nn.Module) -> int:
    """Bytes that `forward()` keeps for the way back, each piece of memory once, the model's own numbers not counted.

    >>> linear, bend = nn.Linear(4, 5), nn.GELU()
    >>> x = torch.ones(3, 4)
    >>> activation_bytes(lambda: bend(linear(x)).sum(), linear)  # 3 × 4 numbers for the product, 3 × 5 for the bend
    108
    """
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = forward()  # while it lives, so does all that it keeps
        found = sum(kept.values())
    del loss
    return found


@dataclass
class MeasuredMemory:
    """What a step took, in bytes: `weights`, `gradients`, `optimiser` before it began, and `peak` while it ran.

    `timeline` holds the bytes alive after each operation of torch, in order: the picture of the step.
    """

    weights: int = 0
    gradients: int = 0
    optimiser: int = 0
    peak: int = 0
    timeline: list[int] = field(default_factory=list)


class _Live(TorchDispatchMode):
    """Counts the bytes of all tensors that torch's operations make, from their making to their end."""

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
    """The memory that `step()` takes at its peak, with what the model and its optimisers hold before it begins.

    Run one step before: optimisers make their averages in the first. On the CPU every tensor is followed from its
    making to its end; scratch memory inside one operation is not seen. On CUDA the peak is
    `torch.cuda.max_memory_allocated`, which sees it; what else lies on the device does not count.

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
