"""A run in progress as a folder of checkpoints: weights, optimisers, random generators, and where it stands.

Why not `torch.distributed.checkpoint.state_dict`? Its `get_optimizer_state_dict` and `set_optimizer_state_dict` put
sharded states together and spread them again, which here takes `ranks.whole` and `ranks.spread`, one line each. What
they give still has to be split into tensors and JSON to be saved without pickles, they run an optimiser step on zero
gradients to learn what an optimiser remembers, and importing them delays every run on a laptop by most of a second.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gptlab import ranks
from gptlab.checkpoints import storage
from gptlab.checkpoints.generators import generator_states, restore_generators
from gptlab.checkpoints.storage import CONFIG, MODEL, OPTIMIZERS, STATE, CheckpointError
from gptlab.config import GPTConfig
from gptlab.model import device_of


def save(
    folder: str | Path,
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    step: int,
    state: dict,
    save_total_limit: int = 2,
    generators: Sequence[dict[str, Tensor]] | None = None,
    write: bool = True,
) -> Path:
    """Save a training run as `folder`/step-…, and delete all but the newest checkpoints there.

    Args:
        folder: the run's.
        model: its weights are saved, and its configuration, if it has one.
        optimizers: their states are saved: averages, momenta, counts.
        step: how many steps the run has made.
        state: anything else to come back from `resume`, as JSON can hold it.
        save_total_limit: how many checkpoints to keep.
        generators: what `generator_states` gave on each rank of the run; on this process alone unless given.
        write: False on all ranks but one, which only help to put together what is sharded.
    """
    folder = Path(folder)
    target = folder / f"step-{step:08d}"
    weights = {name: storage.on_cpu(weight, write) for name, weight in storage.named_weights(model).items()}
    tensors, plain = _split([optimizer.state_dict() for optimizer in optimizers], write)
    if not write:
        return target
    generators = [generator_states(device_of(model))] if generators is None else generators
    for rank, states in enumerate(generators):
        tensors |= {f"random.{rank}.{name}": value for name, value in states.items()}
    texts = {STATE: json.dumps({"step": step, "optimizers": plain, **state})}
    if (config := getattr(model, "config", None)) is not None:
        texts[CONFIG] = config.to_json() + "\n"
    with storage.replacing(target) as draft:
        storage.write(draft, {MODEL: weights, OPTIMIZERS: tensors}, texts)
    for old in storage.complete(folder)[:-save_total_limit]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def latest(folder: str | Path) -> Path | None:
    """The newest complete checkpoint of a run, or None."""
    found = storage.complete(Path(folder))
    return found[-1] if found else None


def remove_temporary(folder: str | Path) -> None:
    """Delete what a process that was killed while saving has left in `folder`; no checkpoint is touched."""
    for draft in Path(folder).glob(".step-*"):
        shutil.rmtree(draft, ignore_errors=True)


def resume(
    folder: str | Path, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], rank: int = 0
) -> dict[str, Any] | None:
    """Put model, optimisers and random generators back to the newest checkpoint; its state, or None without one.

    What the optimisers remember comes back. Their settings (betas, weight decay) stay as this run has them.

    Args:
        folder: the run's.
        model: gets the saved weights.
        optimizers: as many as were saved, for the same parameters in the same order.
        rank: of this process. One that wasn't there when the checkpoint was made keeps its own generators.

    Raises:
        CheckpointError: for a broken checkpoint, or one of another configuration, naming what differs.
    """
    newest = latest(folder)
    if newest is None:
        return None
    _check_config(newest, model)
    storage.fill(model, newest / MODEL)
    state = storage.read_json(newest / STATE)
    tensors = storage.read_tensors(newest / OPTIMIZERS)
    mine = f"random.{rank}."
    states = {name.removeprefix(mine): value for name, value in tensors.items() if name.startswith(mine)}
    restore_generators(states, device_of(model))
    if len(optimizers) != len(state["optimizers"]):
        raise CheckpointError(
            f"the checkpoint {str(newest)!r} has the states of {len(state['optimizers'])} optimisers and the run has "
            f"{len(optimizers)}: go on with the optimizer that the run started with, or choose another folder"
        )
    tensors = {name: value for name, value in tensors.items() if not name.startswith("random.")}
    for optimizer, saved in zip(optimizers, _joined(state["optimizers"], tensors), strict=True):
        _restore(optimizer, saved)
    return state


def _check_config(checkpoint: Path, model: nn.Module) -> None:
    """Check that a checkpoint is of a model like this one.

    Raises:
        CheckpointError: naming every field that differs.
    """
    config = getattr(model, "config", None)
    if config is None:
        return
    saved = GPTConfig.from_json((checkpoint / CONFIG).read_text(encoding="utf-8"))
    if saved != config:
        pairs = {name: (value, getattr(config, name)) for name, value in vars(saved).items()}
        differ = ", ".join(f"{name}: {a!r} there, {b!r} here" for name, (a, b) in pairs.items() if a != b)
        raise CheckpointError(
            f"the checkpoint {str(checkpoint)!r} is of another configuration ({differ}): "
            "build the model with the saved one, or choose another folder"
        )


# ── Optimiser states: tensors in one file, the rest as JSON ──────────────────────────────────────────────────────────


def _split(states: list[dict], keep: bool = True) -> tuple[dict[str, Tensor], list[dict]]:
    """Optimiser states as named tensors "optimiser.parameter.name", and everything else, which JSON can hold."""
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


def _joined(rest: list[dict], tensors: dict[str, Tensor]) -> list[dict]:
    """The optimiser states that `_split` took apart."""
    states = []
    for entry in rest:
        state = {int(index): dict(values) for index, values in entry["state"].items()}
        states.append({"state": state, "param_groups": entry["param_groups"]})
    for key, value in tensors.items():
        i, index, name = key.split(".", 2)
        states[int(i)]["state"].setdefault(int(index), {})[name] = value
    return states


def _restore(optimizer: torch.optim.Optimizer, saved: dict) -> None:
    """Give an optimiser its saved state, sharded as its parameters are, and let it keep its settings."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, entries in saved["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameters[index].shape:
                entries[name] = ranks.spread(value, like=parameters[index])
    settings = [{name: v for name, v in group.items() if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)
