"""The files of a checkpoint: their names, how they are written and read, and what is said where that fails."""

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gptlab import files, formats, ranks
from gptlab.config import GPTConfig
from gptlab.entrances import guard
from gptlab.model import current_names

MODEL = "model.safetensors"
CONFIG = "config.json"
OPTIMIZERS = "optimizers.safetensors"
STATE = "state.json"
TOKENIZER = "tokenizer.json"
NOTES = "notes.json"
SUMS = "SHA256SUMS"
STEP = re.compile(r"step-\d{8,}")
DRAFT = re.compile(r"\.(step-\d{8,})-\d+-[0-9a-f]{8}(\.old)?")  # what `files.replacing` calls an unfinished one


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
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise damaged(path, error) from error


def read_json(path: Path, expected: Any = dict) -> Any:
    """The content of a JSON file.

    Args:
        path: the file.
        expected: what it must contain, as `formats.problem` has it.

    Raises:
        CheckpointError: it is missing, truncated, or has other content, naming the entry.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise damaged(path, error) from error
    if found := formats.problem(content, expected):
        raise damaged(path, found)
    return content


def read_config(path: Path) -> GPTConfig:
    """The configuration of a saved model; errors as for `read_json`."""
    read_json(path)
    try:
        return GPTConfig.from_json(path.read_text(encoding="utf-8"))
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise damaged(path, error) from error


# ── Which checkpoints there are, and whether they are as they were written ───────────────────────────────────────────


def complete(folder: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first, also while another process saves and deletes there."""
    before = None
    while True:
        names = sorted(folder.glob("step-*")) if folder.is_dir() else []
        found = [path for path in names if (path / STATE).exists()]
        if found or names == before:
            return found
        before = names  # they may have been deleted since they were listed: then newer ones are there by now


def delete(checkpoint: Path) -> None:
    """Delete a checkpoint, so that it counts for none from the first moment on."""
    with contextlib.suppress(OSError):
        (checkpoint / STATE).unlink()
    shutil.rmtree(checkpoint, ignore_errors=True)


def write_sums(draft: Path) -> None:
    """Write the SHA-256 of every file in a draft beside them; `sha256sum -c SHA256SUMS` checks them by hand."""
    lines = [f"{_sha256(path)}  {path.name}\n" for path in sorted(draft.iterdir())]
    (draft / SUMS).write_text("".join(lines), encoding="utf-8")


def verify(checkpoint: Path, names: Iterable[str] = ()) -> None:
    """Check that the files of a checkpoint are as they were written, bit by bit.

    Args:
        checkpoint: its folder. One of the first edition has no sums, and passes.
        names: of the files to check; all of them unless given.

    Raises:
        CheckpointError: naming the first file that is missing or changed, and an older checkpoint that is sound.
    """
    if found := _first_change(checkpoint, set(names)):
        raise damaged(checkpoint / found[0], found[1])


def damaged(path: Path, why: Exception | str) -> CheckpointError:
    """The error for a file of a checkpoint that cannot be used, with the way out.

    Args:
        path: the file.
        why: what is wrong with it.
    """
    here = path.parent.name
    if not STEP.fullmatch(here):
        way = "go back to an older checkpoint, or to a copy of this file"
    elif older := [other for other in complete(path.parent.parent) if other.name < here and _is_sound(other)]:
        way = f"go back to an older checkpoint; delete the folder {here} to go on from {older[-1].name}"
    else:
        way = "there is no older checkpoint that is sound: take a copy of this one, or start again in another folder"
    reason = (str(why) or type(why).__name__).splitlines()[0]
    return CheckpointError(f"{str(path)!r} cannot be read ({reason}): the file is missing, truncated or changed; {way}")


def _first_change(checkpoint: Path, names: set[str] = frozenset()) -> tuple[str, str] | None:
    """The first file that is not as `write_sums` found it, and how it differs."""
    try:
        lines = (checkpoint / SUMS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return SUMS, str(error)
    for line in lines:
        saved, _, name = line.partition("  ")
        if not re.fullmatch(r"[0-9a-f]{64}  [\w.]+", line):
            return SUMS, f"{line[:80]!r} is no SHA-256 and name"
        if not names or name in names:
            try:
                found = _sha256(checkpoint / name)
            except OSError as error:
                return name, error.strerror or str(error)
            if found != saved:
                return name, "its SHA-256 is not the one that was saved with it"
    return None


def _is_sound(checkpoint: Path) -> bool:
    """Whether a checkpoint has its files, and all of them can be opened."""
    try:
        for name in (MODEL, OPTIMIZERS):
            with safe_open(checkpoint / name, "pt"):
                pass
        json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (SafetensorError, OSError, ValueError, RecursionError):
        return False
    return _first_change(checkpoint) is None


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            found.update(part)
    return found.hexdigest()


# ── Weights by name ──────────────────────────────────────────────────────────────────────────────────────────────────


def named_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters by name, each shared one once, without the prefix that torch.compile's wrapper adds."""
    return {name.replace("_orig_mod.", ""): parameter for name, parameter in model.named_parameters()}


def on_cpu(tensor: Tensor, keep: bool = True) -> Tensor:
    """All of a tensor on the CPU. If it is sharded, every rank must call this at the same time.

    Args:
        tensor: a weight, a gradient, or an optimizer's average.
        keep: False gives an empty tensor: a large model must not be put together in the memory of every rank.
    """
    found = ranks.whole(tensor.detach())
    return found.cpu().contiguous() if keep else torch.empty(0)


@torch.no_grad()
def fill(model: nn.Module, path: Path) -> None:
    """Copy the weights of a file into a model.

    Raises:
        CheckpointError: the file cannot be read, or holds other names or shapes, or integers, naming up to five.
    """
    saved, own = current_names(read_tensors(path)), named_weights(model)
    wrong = (
        sorted(saved.keys() ^ own.keys())
        + sorted(
            f"{name} {tuple(saved[name].shape)} for {tuple(own[name].shape)}"
            for name in saved.keys() & own.keys()
            if saved[name].shape != own[name].shape
        )
        + sorted(f"{name} of {tensor.dtype}" for name, tensor in saved.items() if not tensor.is_floating_point())
    )
    if wrong:
        raise CheckpointError(f"{str(path)!r} does not fit this model: {', '.join(wrong[:5])}")
    for name, parameter in own.items():
        parameter.copy_(ranks.spread(saved[name], like=parameter))


guard(globals())
