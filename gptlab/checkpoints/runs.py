"""A run in progress as a folder of checkpoints: weights, optimizers, random generators, and where it stands.

Why not `torch.distributed.checkpoint.state_dict`? Its `get_optimizer_state_dict` and `set_optimizer_state_dict` put
sharded states together and spread them again, which here takes `ranks.whole` and `ranks.spread`, one line each. What
they give still has to be split into tensors and JSON to be saved without pickles, they run an optimizer step on zero
gradients to learn what an optimizer remembers, and importing them delays every run on a laptop by most of a second.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from gptlab import formats
from gptlab.checkpoints import optimizer_states, storage
from gptlab.checkpoints.generators import generator_states, restore_generators
from gptlab.checkpoints.optimizer_states import SavedOptimizer
from gptlab.checkpoints.storage import CONFIG, MODEL, OPTIMIZERS, STATE, CheckpointError
from gptlab.entrances import Whole, guard
from gptlab.model import device_of


class SavedRun(TypedDict):
    """What `state.json` always has; a run adds what it wants to have back."""

    step: Whole
    optimizers: list[SavedOptimizer]


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

    Each checkpoint carries the SHA-256 of its files. It is read back from the disk before an older one is deleted.

    Args:
        folder: the run's.
        model: its weights are saved, and its configuration, if it has one.
        optimizers: their states are saved: averages, momenta, counts.
        step: how many steps the run has made.
        state: anything else to come back from `resume`, as JSON can hold it.
        save_total_limit: how many checkpoints to keep.
        generators: what `generator_states` gave on each rank of the run; on this process alone unless given.
        write: False on all ranks but one, which only help to put together what is sharded.

    Raises:
        CheckpointError: it cannot be written, or reads back differently; the older checkpoints are untouched.
    """
    folder = Path(folder)
    target = folder / f"step-{step:08d}"
    weights = {name: storage.on_cpu(weight, write) for name, weight in storage.named_weights(model).items()}
    tensors, plain = optimizer_states.split([optimizer.state_dict() for optimizer in optimizers], write)
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
        storage.write_sums(draft)
    storage.verify(target)
    for old in storage.complete(folder)[:-save_total_limit]:
        storage.delete(old)
    return target


def latest(folder: str | Path) -> Path | None:
    """The newest complete checkpoint of a run, or None."""
    found = storage.complete(Path(folder))
    return found[-1] if found else None


def remove_temporary(folder: str | Path) -> None:
    """Delete what a process that was killed while saving has left in `folder`; nothing else is touched."""
    for draft in Path(folder).glob(".step-*"):
        made_here = storage.DRAFT.fullmatch(draft.name)
        if not made_here or not draft.is_dir():
            continue
        if made_here[2] and not (target := draft.with_name(made_here[1])).exists():
            draft.rename(target)  # it died between two renames, and this is the only one there is
        else:
            shutil.rmtree(draft, ignore_errors=True)


def resume(
    folder: str | Path,
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    rank: int = 0,
    expected: Mapping[str, Any] | None = None,
) -> dict[str, Any] | None:
    """Put model, optimizers and random generators back to the newest checkpoint; its state, or None without one.

    What the optimizers remember comes back. Their settings (betas, weight decay) stay as this run has them. Everything
    is checked before anything is changed: the hash of each file, and what is in it.

    Args:
        folder: the run's.
        model: gets the saved weights.
        optimizers: as many as were saved, for the same parameters in the same order.
        rank: of this process. One that wasn't there when the checkpoint was made keeps its own generators.
        expected: entries that the state must have beside `step`, and the type of each, as for `formats.problem`.

    Raises:
        CheckpointError: for a broken checkpoint, or one of another configuration, naming what differs.
    """
    newest = latest(folder)
    if newest is None:
        return None
    storage.verify(newest)
    _check_config(newest, model)
    state = storage.read_json(newest / STATE, SavedRun)
    found = [f"there is no entry {name}" for name in expected or () if name not in state]
    found += [formats.problem(state[name], kind, name) for name, kind in (expected or {}).items() if name in state]
    if newest.name != (name := f"step-{state['step']:08d}"):
        found.append(f"step={state['step']} is that of {name}")
    if any(found):
        raise storage.damaged(newest / STATE, next(filter(None, found)))
    if len(optimizers) != len(state["optimizers"]):
        raise CheckpointError(
            f"the checkpoint {str(newest)!r} has the states of {len(state['optimizers'])} optimizers and the run has "
            f"{len(optimizers)}: go on with the optimizer that the run started with, or choose another folder"
        )
    tensors = storage.read_tensors(newest / OPTIMIZERS)
    names = {id(weight): name for name, weight in storage.named_weights(model).items()}
    mine = f"random.{rank}."
    generators = {name.removeprefix(mine): value for name, value in tensors.items() if name.startswith(mine)}
    try:
        states = optimizer_states.join(
            state["optimizers"], {name: value for name, value in tensors.items() if not name.startswith("random.")}
        )
        for optimizer, saved in zip(optimizers, states, strict=True):
            optimizer_states.check(optimizer, saved, names)
        if generators or rank == 0:
            restore_generators(generators, device_of(model))
    except ValueError as error:
        raise storage.damaged(newest / OPTIMIZERS, error) from error
    storage.fill(model, newest / MODEL)
    for optimizer, saved in zip(optimizers, states, strict=True):
        optimizer_states.restore(optimizer, saved)
    return state


def _check_config(checkpoint: Path, model: nn.Module) -> None:
    """Check that a checkpoint is of a model like this one.

    Raises:
        CheckpointError: naming every field that differs, or the file, if it is damaged.
    """
    config = getattr(model, "config", None)
    if config is None:
        return
    saved = storage.read_config(checkpoint / CONFIG)
    if saved != config:
        pairs = {name: (value, getattr(config, name)) for name, value in vars(saved).items()}
        differ = ", ".join(f"{name}: {a!r} there, {b!r} here" for name, (a, b) in pairs.items() if a != b)
        raise CheckpointError(
            f"the checkpoint {str(checkpoint)!r} is of another configuration ({differ}): "
            "build the model with the saved one, or choose another folder"
        )


guard(globals())
