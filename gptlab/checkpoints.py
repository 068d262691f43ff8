"""Checkpoints: a run or a finished model as files that survive a crash, and open without running any code.

Tensors lie in safetensors files, everything else in JSON; nothing is ever unpickled. A checkpoint is written to a
folder beside the others and renamed when it is complete: a crash or a full disk leaves the one before it untouched.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gptlab import tokens
from gptlab.model import GPT, GPTConfig

MODEL, CONFIG, OPTIMIZERS, STATE, TOKENIZER = (
    "model.safetensors",
    "config.json",
    "optimizers.safetensors",
    "state.json",
    "tokenizer.json",
)


class CheckpointError(OSError):
    """A checkpoint is missing, broken, or belongs to another model."""


# ── A finished model: weights, configuration, tokenizer ──────────────────────────────────────────────────────────────


def save_model(
    folder: str | Path, model: nn.Module, tokenizer: tokens.Tokenizer | None = None, notes: dict | None = None
) -> None:
    """Keep a trained model: `model.safetensors`, `config.json`, and, where given, `tokenizer.json` and `notes.json`."""
    with _replacing(Path(folder)) as draft:
        save_file(_weights(model), draft / MODEL)
        (draft / CONFIG).write_text(model.config.to_json() + "\n", encoding="utf-8")
        if tokenizer is not None:
            tokenizer.save(draft / TOKENIZER)
        if notes is not None:
            (draft / "notes.json").write_text(json.dumps(notes, indent=2) + "\n", encoding="utf-8")


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
    tokenizer = tokens.load(folder / TOKENIZER) if (folder / TOKENIZER).exists() else None
    return model.eval(), tokenizer


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
) -> Path:
    """Keep a training run after `step` steps under `folder`/step-…, and drop all but the newest `keep`."""
    folder = Path(folder)
    target = folder / f"step-{step:08d}"
    tensors, numbers = _flatten([optimizer.state_dict() for optimizer in optimizers])
    tensors |= {"random.cpu": torch.get_rng_state()}
    with _replacing(target) as draft:
        save_file(_weights(model), draft / MODEL)
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


def resume(folder: str | Path, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Any] | None:
    """Put model, optimisers and the random generator back to the newest checkpoint; its state, or None without one.

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
    state = json.loads((newest / STATE).read_text(encoding="utf-8"))
    torch.set_rng_state(tensors.pop("random.cpu"))
    for optimizer, restored in zip(optimizers, _unflatten(state["optimizers"], tensors), strict=True):
        optimizer.load_state_dict(restored)
    return state


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A draft folder that takes `target`'s place when the block ends well, and vanishes when it does not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield draft
        mask = os.umask(0)
        os.umask(mask)
        draft.chmod(0o777 & ~mask)  # a temporary folder is closed to others; a checkpoint is like any other file
        for path in draft.iterdir():
            path.chmod(0o666 & ~mask)
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
        old = draft.with_suffix(".old")
        if target.exists():
            os.replace(target, old)
        os.replace(draft, target)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        if isinstance(error, SafetensorError | OSError):
            raise CheckpointError(
                f"could not write {str(target)!r} ({error}): free some space or choose another folder; "
                "the checkpoint before it is untouched"
            ) from error
        raise


def _complete(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if (path / STATE).exists()) if folder.is_dir() else []


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """The parameters by name, each shared one once, without a compiler's prefix."""
    return {name.replace("_orig_mod.", ""): p.detach().cpu().contiguous() for name, p in model.named_parameters()}


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{str(path)!r} cannot be read ({error}): the file is missing or truncated; go back to an older checkpoint"
        ) from error


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
        parameter.copy_(saved[name])


def _flatten(states: list[dict]) -> tuple[dict[str, Tensor], list[dict]]:
    """Optimiser states as named tensors, and the rest as JSON."""
    tensors, rest = {}, []
    for i, state in enumerate(states):
        plain: dict[str, dict] = {}
        for index, entries in state["state"].items():
            for name, value in entries.items():
                if isinstance(value, Tensor):
                    tensors[f"{i}.{index}.{name}"] = value.detach().cpu().contiguous()
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
