"""The files of a checkpoint: their names, how they are written and read, and what is said where that fails."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gptlab import files, ranks
from gptlab.model import current_names

MODEL = "model.safetensors"
CONFIG = "config.json"
OPTIMIZERS = "optimizers.safetensors"
STATE = "state.json"
TOKENIZER = "tokenizer.json"
NOTES = "notes.json"


class CheckpointError(OSError):
    """A checkpoint is missing or broken, belongs to another model, or cannot be written."""


@contextlib.contextmanager
def replacing(folder: str | Path) -> Iterator[Path]:
    """`files.replacing` for a checkpoint: a draft folder that takes the place of `folder` when the block ends well.

    Raises:
        CheckpointError: it cannot be written; what was there before is unchanged.
    """
    try:
        with files.replacing(folder) as draft:
            yield draft
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"could not write {str(folder)!r} ({getattr(error, 'strerror', None) or error}): free some space or choose "
            "another folder; the checkpoint before it is untouched"
        ) from error


def write(draft: Path, tensors: dict[str, dict[str, Tensor]], texts: dict[str, str]) -> None:
    """Write the files of a checkpoint.

    Args:
        draft: the folder that `replacing` gave.
        tensors: for each file of tensors its name and its tensors, by their names.
        texts: for each text file its name and its content.
    """
    for name, content in tensors.items():
        save_file(content, draft / name)
    for name, text in texts.items():
        (draft / name).write_text(text, encoding="utf-8")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, by name.

    Raises:
        CheckpointError: the file is missing or truncated; the message names an older checkpoint, if there is one.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; errors as for `read_tensors`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise _unreadable(path, error) from error


def complete(folder: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / STATE).exists()) if folder.is_dir() else []


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    here = path.parent.name
    older = [other.name for other in complete(path.parent.parent) if here.startswith("step-") and other.name < here]
    way = f"; delete the folder {here} to go on from {older[-1]}" if older else ""
    return CheckpointError(
        f"{str(path)!r} cannot be read ({error}): the file is missing or truncated; go back to an older checkpoint{way}"
    )


# ── Weights by name ──────────────────────────────────────────────────────────────────────────────────────────────────


def named_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters by name, each shared one once, without the prefix that torch.compile's wrapper adds."""
    return {name.replace("_orig_mod.", ""): parameter for name, parameter in model.named_parameters()}


def on_cpu(tensor: Tensor, keep: bool = True) -> Tensor:
    """All of a tensor on the CPU. If it is sharded, every rank must call this at the same time.

    Args:
        tensor: a weight, a gradient, or an optimiser's average.
        keep: False gives an empty tensor: a large model must not be put together in the memory of every rank.
    """
    found = ranks.whole(tensor.detach())
    return found.cpu().contiguous() if keep else torch.empty(0)


@torch.no_grad()
def fill(model: nn.Module, path: Path) -> None:
    """Copy the weights of a file into a model.

    Raises:
        CheckpointError: the file cannot be read, or holds other names or shapes, naming up to five.
    """
    saved, own = current_names(read_tensors(path)), named_weights(model)
    wrong = sorted(saved.keys() ^ own.keys()) + sorted(
        f"{name} {tuple(saved[name].shape)} for {tuple(own[name].shape)}"
        for name in saved.keys() & own.keys()
        if saved[name].shape != own[name].shape
    )
    if wrong:
        raise CheckpointError(f"{str(path)!r} does not fit this model: {', '.join(wrong[:5])}")
    for name, parameter in own.items():
        parameter.copy_(ranks.spread(saved[name], like=parameter))
