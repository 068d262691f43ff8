"""A finished model as a folder: weights, configuration, tokenizer, and notes on how it was made."""

import functools
import json
import math
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from gptlab import tokenizers
from gptlab.checkpoints import storage
from gptlab.checkpoints.storage import CONFIG, MODEL, NOTES, TOKENIZER, CheckpointError
from gptlab.config import GPTConfig
from gptlab.entrances import guard
from gptlab.limits import least_numbers
from gptlab.model import GPT, unwrapped
from gptlab.tokenizing import Tokenizer


def save_model(
    model: nn.Module,
    folder: str | Path,
    tokenizer: Tokenizer | None = None,
    notes: dict | None = None,
) -> None:
    """Save a trained model in this project's own format; `huggingface.save_model` writes that of transformers.

    Args:
        model: with a `config`, also inside of what DDP or the compiler put around it.
        folder: a new folder, or one that holds such a model, which is replaced.
        tokenizer: saved beside it as `tokenizer.json`, if given.
        notes: how it was made, saved beside it as `notes.json`, if given.

    Raises:
        CheckpointError: the folder holds something else, which stays as it is; or it cannot be written.
    """
    model = unwrapped(model)
    check_folder(folder)
    weights = {name: storage.on_cpu(parameter) for name, parameter in storage.named_weights(model).items()}
    texts = {CONFIG: model.config.to_json() + "\n"}
    if notes is not None:
        texts[NOTES] = json.dumps(notes, indent=2) + "\n"
    with storage.replacing(folder) as draft:
        storage.write(draft, {MODEL: weights}, texts)
        if tokenizer is not None:
            tokenizer.save(draft / TOKENIZER)


def check_folder(folder: str | Path) -> None:
    """Check that `save_model` may write here: it replaces the whole folder, so that may hold a model at most.

    Raises:
        CheckpointError: it is a file, or has other files, naming them.
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
        f"{str(folder)!r} {holds}, and saving a model replaces everything that is there: choose a new folder for it"
    )


def load_model(folder: str | Path) -> tuple[GPT, Tokenizer | None]:
    """The model that `save_model` or a training run saved, in evaluation mode, and its tokenizer.

    Args:
        folder: a model's, or a run's, whose newest checkpoint is taken.

    Raises:
        CheckpointError: there is none, or it is incomplete or broken, naming the file.
    """
    folder = Path(folder)
    complete = storage.complete(folder)
    if not (folder / CONFIG).exists() and complete:
        folder = complete[-1]
    if not (folder / CONFIG).exists():
        raise CheckpointError(f"there is no model in {str(folder)!r} (no {CONFIG}): train one, or pass another folder")
    storage.verify(folder, (CONFIG, MODEL))
    config = storage.read_config(folder / CONFIG)
    _check_size(config, folder)
    model = GPT(config)
    storage.fill(model, folder / MODEL)
    beside = [path / TOKENIZER for path in (folder, folder.parent) if (path / TOKENIZER).is_file()]
    return model.eval(), read_tokenizer(beside[0]) if beside else None


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer that lies beside a model or a run.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        return tokenizers.load(path)
    except Exception as error:  # whatever a damaged file makes of a tokenizer, it is this file that is damaged
        raise CheckpointError(
            f"{str(path)!r} holds no tokenizer ({(str(error) or type(error).__name__).splitlines()[0]}): "
            "go back to a copy of this file, or train again in another folder"
        ) from error


def _check_size(config: GPTConfig, folder: Path) -> None:
    """Check that the weights of a configuration can be in the file, before memory is taken for them.

    Raises:
        CheckpointError: the file is smaller than the largest tables of such a model.
    """
    path = folder / MODEL
    size = path.stat().st_size if path.is_file() else math.inf
    if (least := least_numbers(config)) > size:
        raise storage.damaged(
            folder / CONFIG, f"it describes a model of more than {least:,} numbers, and {MODEL} has {size:,} bytes"
        )


def committed(name: str) -> tuple[GPT, Tokenizer | None]:
    """A model that this project has trained and ships in data/models: "fables".

    Raises:
        CheckpointError: for a name that is not there, with those that are.
    """
    folder = Path(__file__).resolve().parents[2] / "data" / "models"
    if not (folder / name / CONFIG).exists():
        known = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
        raise CheckpointError(f"there is no model {name!r} in data/models of the course: choose one of {known}")
    return load_model(folder / name)


def _in_either_order(save: Callable[..., None]) -> Callable[..., None]:
    """`save_model` that also takes the order of the first edition, folder before model, with a warning."""

    @functools.wraps(save)
    def save_model(*args: Any, **options: Any) -> None:
        if len(args) > 1 and isinstance(args[0], str | os.PathLike):
            said = "save_model(folder, model) is now save_model(model, folder)"
            warnings.warn(said, DeprecationWarning, stacklevel=2)
            args = (args[1], args[0], *args[2:])
        save(*args, **options)

    return save_model


guard(globals())
save_model = _in_either_order(save_model)
