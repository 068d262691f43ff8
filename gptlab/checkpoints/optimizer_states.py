"""What optimizers remember (averages, momenta, counts), as tensors for one file and the rest for another, and back.

An optimizer trusts its memory: the fused kernels read as many numbers as the weight has, wherever that leads. So each
saved tensor is held against what an optimizer of this kind remembers of a weight of this shape before it is used.
"""

import inspect
import re
from typing import Any, TypedDict

import torch
from torch import Tensor

from gptlab import ranks
from gptlab.checkpoints import storage
from gptlab.entrances import Whole

KEY = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\w+)")  # optimizer.parameter.name


class SavedGroup(TypedDict):
    """A group of parameters in `state.json`: their numbers, beside settings that the resumed run has of its own."""

    params: list[Whole]


class SavedOptimizer(TypedDict):
    """An optimizer in `state.json`: by the number of the parameter what is no tensor, and the groups."""

    state: dict[str, dict[str, Any]]
    param_groups: list[SavedGroup]


def split(states: list[dict], keep: bool = True) -> tuple[dict[str, Tensor], list[dict]]:
    """Optimizer states as named tensors "optimizer.parameter.name", and everything else, which JSON can hold.

    Args:
        states: what each optimizer's `state_dict()` gave.
        keep: False leaves the tensors empty, as for `storage.on_cpu`.
    """
    tensors, rest = {}, []
    for i, state in enumerate(states):
        plain: dict[str, dict] = {}
        for index, entries in state["state"].items():
            for name, value in entries.items():
                if isinstance(value, Tensor):
                    tensors[f"{i}.{index}.{name}"] = storage.on_cpu(value, keep)
                else:
                    plain.setdefault(str(index), {})[name] = value
        rest.append({"state": plain, "param_groups": state["param_groups"]})
    return tensors, rest


def join(rest: list[SavedOptimizer], tensors: dict[str, Tensor]) -> list[dict]:
    """The optimizer states that `split` took apart.

    Raises:
        ValueError: a name is not one that `split` makes, or of an optimizer that isn't there.
    """
    states = []
    for entry in rest:
        state = {int(index): dict(values) for index, values in entry["state"].items()}
        states.append({"state": state, "param_groups": entry["param_groups"]})
    for key, value in tensors.items():
        found = KEY.fullmatch(key)
        if not found or int(found[1]) >= len(states):
            raise ValueError(f"the tensor {key!r} belongs to no optimizer of this run")
        states[int(found[1])]["state"].setdefault(int(found[2]), {})[found[3]] = value
    return states


def check(optimizer: torch.optim.Optimizer, saved: dict, names: dict[int, str]) -> None:
    """Check that an optimizer can go on from a saved state: the same weights, and what it remembers of each.

    Args:
        optimizer: of the run that is resumed.
        saved: one state that `join` gave.
        names: of the weights, by `id`.

    Raises:
        ValueError: naming the entry, its weight, and both sides.
    """
    there, here = ([group["params"] for group in found] for found in (saved["param_groups"], _groups(optimizer)))
    if there != here:
        raise ValueError(f"its groups have {[len(group) for group in there]} weights, here {[*map(len, here)]}")
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    expected = _remembered(optimizer) if saved["state"] else {}
    for index, entries in saved["state"].items():
        if index >= len(weights):
            raise ValueError(f"it remembers something of weight {index}, and has {len(weights)}, from 0")
        weight = weights[index]
        of = f"of weight {index} ({names.get(id(weight), 'without a name')})"
        if entries.keys() != expected.keys():
            raise ValueError(f"{sorted(entries)} is saved {of}, and {sorted(expected)} is needed")
        for name, value in entries.items():
            _check_entry(f"{name} {of}", value, expected[name], weight)


def _check_entry(name: str, value: Any, example: Any, weight: Tensor) -> None:
    """Check one thing that is remembered of a weight against the same thing of the small example."""
    if not isinstance(example, Tensor):
        if isinstance(value, Tensor):
            raise ValueError(f"{name} is a tensor, and must be {type(example).__name__}")
        return
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} is {value!r}, and must be a tensor")
    shape = weight.shape if example.shape == _EXAMPLE else example.shape
    if value.shape != shape or value.dtype != example.dtype:
        found, needed = (
            f"{dtype} {list(size)}" for dtype, size in ((value.dtype, value.shape), (example.dtype, shape))
        )
        raise ValueError(f"{name} is {found}, and must be {needed}")


_EXAMPLE = (2, 3)


def _remembered(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What an optimizer of this kind remembers of a small matrix after one step: the names, types and shapes."""
    weight = optimizer.param_groups[0]["params"][0]
    example = torch.ones(_EXAMPLE, dtype=weight.dtype, device=weight.device, requires_grad=True)
    example.grad = torch.ones_like(example)
    known = inspect.signature(type(optimizer)).parameters
    other = type(optimizer)([example], **{name: v for name, v in optimizer.defaults.items() if name in known})
    other.step()
    return other.state[example]


def _groups(optimizer: torch.optim.Optimizer) -> list[dict]:
    return optimizer.state_dict()["param_groups"]


def restore(optimizer: torch.optim.Optimizer, saved: dict) -> None:
    """Give an optimizer a state that `check` has found good, sharded as its weights are; it keeps its settings."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for index, entries in saved["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor) and value.shape == weights[index].shape:
                entries[name] = ranks.spread(value, like=weights[index])
    optimizer.load_state_dict({"state": saved["state"], "param_groups": _groups(optimizer)})
