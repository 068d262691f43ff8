"""Checkpoints: a run or a finished model as files that survive a crash, and open without running any code.

Tensors lie in safetensors files, everything else in JSON; nothing is ever unpickled. A checkpoint is written to a
folder beside the others and renamed when it is complete: a crash or a full disk leaves the one before it untouched.
Weights that are spread over several processes are put together first, so a run can go on with another number of them.
"""

import json
import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gptlab import files, tokens
from gptlab.model import GPT, GPTConfig, device_of

MODEL, CONFIG, OPTIMIZERS, STATE, TOKENIZER, NOTES = (
    "model.safetensors",
    "config.json",
    "optimizers.safetensors",
    "state.json",
    "tokenizer.json",
    "notes.json",
)


class CheckpointError(OSError):
    """A checkpoint is missing, broken, or belongs to another model."""


# ── A finished model: weights, configuration, tokenizer ──────────────────────────────────────────────────────────────


def save_model(
    folder: str | Path, model: nn.Module, tokenizer: tokens.Tokenizer | None = None, notes: dict | None = None
) -> None:
    """Keep a trained model: `model.safetensors`, `config.json`, and, where given, `tokenizer.json` and `notes.json`.

    Raises:
        CheckpointError: the folder holds something else, which stays as it is; or it cannot be written.
    """
    check_place(folder)
    with _replacing(Path(folder)) as draft:
        save_file(_weights(model), draft / MODEL)
        (draft / CONFIG).write_text(model.config.to_json() + "\n", encoding="utf-8")
        if tokenizer is not None:
            tokenizer.save(draft / TOKENIZER)
        if notes is not None:
            (draft / NOTES).write_text(json.dumps(notes, indent=2) + "\n", encoding="utf-8")


def check_place(folder: str | Path) -> None:
    """See that `save_model` may write a model here: it replaces the whole folder, so that may hold a model at most.

    Raises:
        CheckpointError: it is no folder, or has other files, naming them.
    """
    folder = Path(folder)
    if folder.is_dir():
        others = sorted({path.name for path in folder.iterdir()} - {MODEL, CONFIG, TOKENIZER, NOTES})
        if not others:
            return
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        holds = f"holds {', '.join(others[:3])}{more}"
    elif folder.exists():
        holds = "is a file"
    else:
        return
    raise CheckpointError(
        f"{str(folder)!r} {holds}, and a model takes the place of all that is there: choose a new folder for it"
    )


def load_model(folder: str | Path) -> tuple[GPT, tokens.Tokenizer | None]:
    """The model that `save_model` or a training run kept in `folder`, in evaluation mode, and its tokenizer.

    Raises:
        CheckpointError: where there is none, or it is incomplete or broken, naming the file.
    """
    folder = Path(folder)
    if not (folder / CONFIG).exists() and (newest := latest(folder)) is not None:
        folder = newest
    if not (folder / CONFIG).exists():
        raise CheckpointError(f"there is no model in {str(folder)!r} (no {CONFIG}): train one, or pass another folder")
    model = GPT(GPTConfig.from_json((folder / CONFIG).read_text(encoding="utf-8")))
    _fill(model, folder / MODEL)
    beside = [place / TOKENIZER for place in (folder, folder.parent) if (place / TOKENIZER).is_file()]
    return model.eval(), tokens.load(beside[0]) if beside else None


def committed(name: str) -> tuple[GPT, tokens.Tokenizer | None]:
    """A model that this project has trained and ships in data/models: "fables".

    Raises:
        CheckpointError: for a name that is not there, with those that are.
    """
    folder = Path(__file__).resolve().parents[1] / "data" / "models"
    if not (folder / name / CONFIG).exists():
        known = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
        raise CheckpointError(f"there is no model {name!r} in data/models of the course: choose one of {known}")
    return load_model(folder / name)


# ── A running training: also optimisers, generators, and where it stands ─────────────────────────────────────────────


def save(
    folder: str | Path,
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    step: int,
    state: dict,
    keep: int = 2,
    generators: Sequence[dict[str, Tensor]] | None = None,
    write: bool = True,
) -> Path:
    """Keep a training run after `step` steps under `folder`/step-…, and drop all but the newest `keep`.

    Args:
        generators: what `generator_states` gave on each process of the run; on this one alone unless given.
        write: False on all processes but one: they only help to put together what is spread over them.
    """
    folder = Path(folder)
    target = folder / f"step-{step:08d}"
    weights = _weights(model, write)
    tensors, numbers = _flatten([optimizer.state_dict() for optimizer in optimizers], write)
    if not write:
        return target
    for rank, found in enumerate([generator_states(device_of(model))] if generators is None else generators):
        tensors |= {f"random.{rank}.{name}": value for name, value in found.items()}
    with _replacing(target) as draft:
        save_file(weights, draft / MODEL)
        save_file(tensors, draft / OPTIMIZERS)
        config = getattr(model, "config", None)
        if config is not None:
            (draft / CONFIG).write_text(config.to_json() + "\n", encoding="utf-8")
        (draft / STATE).write_text(json.dumps({"step": step, "optimizers": numbers, **state}), encoding="utf-8")
    for old in _complete(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def latest(folder: str | Path) -> Path | None:
    """The newest complete checkpoint of a run, or None."""
    complete = _complete(Path(folder))
    return complete[-1] if complete else None


def sweep(folder: str | Path) -> None:
    """Throw away what a process that was killed while saving has left in `folder`; no checkpoint is touched."""
    for draft in Path(folder).glob(".step-*"):
        shutil.rmtree(draft, ignore_errors=True)


def resume(
    folder: str | Path, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], rank: int = 0
) -> dict[str, Any] | None:
    """Put model, optimisers and random generators back to the newest checkpoint; its state, or None without one.

    What the optimisers remember comes back; how they were set (betas, weight decay) stays as this run wants it.

    `rank` is the number of this process among several. One that was not there when the checkpoint was made keeps its
    own generators.

    Raises:
        CheckpointError: for a broken checkpoint, or one of another configuration, naming what differs.
    """
    newest = latest(folder)
    if newest is None:
        return None
    config = getattr(model, "config", None)
    if config is not None:
        saved = GPTConfig.from_json((newest / CONFIG).read_text(encoding="utf-8"))
        if saved != config:
            pairs = {name: (value, getattr(config, name)) for name, value in vars(saved).items()}
            differ = ", ".join(f"{name}: {a!r} there, {b!r} here" for name, (a, b) in pairs.items() if a != b)
            raise CheckpointError(
                f"the checkpoint {str(newest)!r} is of another configuration ({differ}): "
                "build the model with the saved one, or choose another folder"
            )
    _fill(model, newest / MODEL)
    tensors = _read(newest / OPTIMIZERS)
    state = _read_state(newest / STATE)
    mine = f"random.{rank}."
    restore_generators(
        {name.removeprefix(mine): tensors[name] for name in tensors if name.startswith(mine)}, device_of(model)
    )
    tensors = {name: value for name, value in tensors.items() if not name.startswith("random.")}
    if len(optimizers) != len(state["optimizers"]):
        raise CheckpointError(
            f"the checkpoint {str(newest)!r} has the memory of {len(state['optimizers'])} optimisers and the run "
            f"{len(optimizers)}: go on with the optimizer that the run began with, or choose another folder"
        )
    for optimizer, restored in zip(optimizers, _unflatten(state["optimizers"], tensors), strict=True):
        _spread(optimizer, restored)
        own = [{name: v for name, v in group.items() if name != "params"} for group in optimizer.param_groups]
        optimizer.load_state_dict(restored)
        for group, settings in zip(optimizer.param_groups, own, strict=True):
            group.update(settings)
    return state


def spread_like(value: Tensor, other: Tensor) -> Tensor:
    """`value`, spread over processes as `other` is, if it is; every process has all of it, so nothing is sent.

    >>> spread_like(torch.ones(2), torch.zeros(2))
    tensor([1., 1.])
    """
    if not hasattr(other, "device_mesh"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(other.device), other.device_mesh, other.placements, src_data_rank=None)


# ── Random generators ────────────────────────────────────────────────────────────────────────────────────────────────


def generator_states(device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """The states of all generators that a run may draw from, as tensors: torch's, numpy's and Python's.

    >>> before = generator_states()
    >>> drawn = torch.rand(2), random.random(), np.random.rand()
    >>> restore_generators(before)
    >>> torch.equal(torch.rand(2), drawn[0]), random.random() == drawn[1], np.random.rand() == drawn[2]
    (True, True, True)
    """
    _, words, next_gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    found = {
        "cpu": torch.get_rng_state(),
        "python": torch.tensor(words),
        "python.gauss": torch.tensor([] if next_gauss is None else [next_gauss], dtype=torch.float64),
        "numpy": torch.tensor([*keys.tolist(), position, has_gauss]),
        "numpy.gauss": torch.tensor([cached], dtype=torch.float64),
    }
    kind = torch.device(device).type
    if kind != "cpu":
        found[kind] = getattr(torch, kind).get_rng_state()
    return found


def restore_generators(states: dict[str, Tensor], device: torch.device | str = "cpu") -> None:
    """Put generators back to where `generator_states` found them; those that are not in `states` stay as they are."""
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "python" in states:
        gauss = states["python.gauss"].tolist()
        random.setstate((3, tuple(states["python"].tolist()), gauss[0] if gauss else None))
    if "numpy" in states:
        *keys, position, has_gauss = states["numpy"].tolist()
        np.random.set_state(("MT19937", keys, position, has_gauss, float(states["numpy.gauss"])))
    kind = torch.device(device).type
    if kind != "cpu" and kind in states:
        getattr(torch, kind).set_rng_state(states[kind])


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """`files.replacing`, with an error of ours."""
    try:
        with files.replacing(target) as draft:
            yield draft
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"could not write {str(target)!r} ({getattr(error, 'strerror', None) or error}): free some space or choose "
            "another folder; the checkpoint before it is untouched"
        ) from error


def _complete(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if (path / STATE).exists()) if folder.is_dir() else []


def _whole(tensor: Tensor, keep: bool = True) -> Tensor:
    """All of a tensor on the CPU, also of one that is spread over several processes, which must all ask for it.

    A process that does not `keep` it only asks, and gets an empty one: the whole of a large model is too much for each.
    """
    whole = tensor.detach()
    whole = whole.full_tensor() if hasattr(whole, "full_tensor") else whole
    return whole.cpu().contiguous() if keep else torch.empty(0)


def _weights(model: nn.Module, keep: bool = True) -> dict[str, Tensor]:
    """The parameters by name, each shared one once, without a compiler's prefix."""
    return {name.replace("_orig_mod.", ""): _whole(p, keep) for name, p in model.named_parameters()}


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _broken(path, error) from error


def _read_state(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> CheckpointError:
    here = path.parent.name
    older = [other.name for other in _complete(path.parent.parent) if here.startswith("step-") and other.name < here]
    way = f"; delete the folder {here} to go on from {older[-1]}" if older else ""
    return CheckpointError(
        f"{str(path)!r} cannot be read ({error}): the file is missing or truncated; go back to an older checkpoint{way}"
    )


@torch.no_grad()
def _fill(model: nn.Module, path: Path) -> None:
    saved = _read(path)
    own = {name.replace("_orig_mod.", ""): parameter for name, parameter in model.named_parameters()}
    wrong = sorted(saved.keys() ^ own.keys()) + sorted(
        f"{name} {tuple(saved[name].shape)} for {tuple(own[name].shape)}"
        for name in saved.keys() & own.keys()
        if saved[name].shape != own[name].shape
    )
    if wrong:
        raise CheckpointError(f"{str(path)!r} does not fit this model: {', '.join(wrong[:5])}")
    for name, parameter in own.items():
        parameter.copy_(spread_like(saved[name], parameter))


def _flatten(states: list[dict], keep: bool = True) -> tuple[dict[str, Tensor], list[dict]]:
    """Optimiser states as named tensors, and the rest as JSON."""
    tensors, rest = {}, []
    for i, state in enumerate(states):
        plain: dict[str, dict] = {}
        for index, entries in state["state"].items():
            for name, value in entries.items():
                if isinstance(value, Tensor):
                    tensors[f"{i}.{index}.{name}"] = _whole(value, keep)
                else:
                    plain.setdefault(str(index), {})[name] = value
        rest.append({"state": plain, "param_groups": state["param_groups"]})
    return tensors, rest


def _unflatten(rest: list[dict], tensors: dict[str, Tensor]) -> list[dict]:
    states = []
    for entry in rest:
        state = {int(index): dict(values) for index, values in entry["state"].items()}
        states.append({"state": state, "param_groups": entry["param_groups"]})
    for key, value in tensors.items():
        i, index, name = key.split(".", 2)
        states[int(i)]["state"].setdefault(int(index), {})[name] = value
    return states


def _spread(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Spread what an optimiser remembers of each parameter as the parameter is spread."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameters[index].shape:
                entries[name] = spread_like(value, parameters[index])
