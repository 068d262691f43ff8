"""`python -m gptlab train`: train a GPT on a text, on one process or, started by torchrun, on several."""

import signal
from pathlib import Path
from typing import Annotated

import tyro

from gptlab.commands import environment
from gptlab.runs.settings import Options, settings_from


def train(options: Annotated[Options, tyro.conf.arg(name="")]) -> int | None:
    """Train a GPT on a text, save checkpoints, and print its loss as it falls.

    A recipe, or a saved config.yaml, has all settings; the other options change them, and what is not given stays.
    SIGTERM and Ctrl-C save a checkpoint first; --resume continues from it. The exit code is not 0 where a run ended
    early.
    """
    settings = settings_from(options)  # before torch is imported: a mistake is answered at once
    folder = options.folder or Path("runs") / (options.recipe or "fables")
    import torch

    from gptlab import checkpoints, ranks, training
    from gptlab.runs import program
    from gptlab.runs.compiling import first_line
    from gptlab.runs.interruption import StopOnSignal

    _check_folder(options, folder)
    with StopOnSignal(patience=20 if ranks.is_one_of_several() else None) as stop:
        try:
            history, rank = program.execute(options, settings, folder, stop, environment.this_command())
        except (training.NonFiniteLoss, checkpoints.CheckpointError, ConnectionError) as error:
            if isinstance(error, checkpoints.CheckpointError) and not stop.started:
                raise  # it says what to do
            print(f"train: {error}\n{_how_to_continue(folder)}", flush=True)
            return 1
        except torch.OutOfMemoryError as error:
            way = "use a larger --gradient-accumulation, --gradient-checkpointing True, or a smaller --batch-size"
            print(f"train: {first_line(error)}\nTo need less, {way}. {_how_to_continue(folder)}", flush=True)
            return 1
    if history.steps >= settings.recipe.training.steps:
        return None
    if rank == 0:
        name = signal.Signals(stop.number).name
        print(f"stopped by {name} after step {history.steps}. {_how_to_continue(folder)}", flush=True)
    return 128 + stop.number


def _check_folder(options: Options, folder: Path) -> None:
    """Check that a run in this folder wouldn't overwrite another, and that a record would be of a whole run.

    Raises:
        ValueError: with the way out.
    """
    from gptlab import checkpoints

    newest = checkpoints.latest(folder)
    if newest is not None and not options.resume:
        raise ValueError(
            f"{str(folder)!r} has a run already, up to {newest.name}: go on with `{_resume_command(folder)}`, "
            "or choose another --folder, or delete this one"
        )
    if newest is not None and options.record is not None:
        raise ValueError(
            f"--record stores what one process measured from its first step, and {str(folder)!r} has {newest.name} "
            "already: leave out --record, or record a run that was not resumed, in another --folder"
        )


def _resume_command(folder: Path) -> str:
    return f"{environment.python_call()} train --resume --folder {folder}"


def _how_to_continue(folder: Path) -> str:
    """Where a run that ended early stands, and how to continue it."""
    from gptlab import checkpoints

    newest = checkpoints.latest(folder)
    if newest is None:
        return "There is no checkpoint yet: the run starts from the beginning."
    return f"The newest checkpoint is {newest.name}; `{_resume_command(folder)}` goes on from it."
