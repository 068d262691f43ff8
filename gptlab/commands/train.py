"""`python -m gptlab train`: train a GPT on a text, on one process or, started by torchrun, on several."""

import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated

import tyro

from gptlab.commands import environment
from gptlab.ranks import leaves_at_once
from gptlab.runs.options import from_groups
from gptlab.runs.settings import CONFIG, Options, Settings, from_yaml, run_folder, settings_from


@leaves_at_once
def train(options: Annotated[Options, tyro.conf.arg(name="", constructor=from_groups)]) -> int | None:
    """Train a GPT on a text of yours, or by a recipe, and print its loss as it falls.

    Two examples:
      python3 -m gptlab train my.txt                        your text; the run is in runs/my
      python3 -m gptlab train essays --steps 2000 --best    a folder of texts, longer, the best model saved

    Tokens, size and steps suit the length of a text, or are the recipe's; each option changes one of them. Ctrl-C saves
    a checkpoint first, and --resume goes on from it. The exit code is not 0 where a run ended early.
    """
    settings = settings_from(options)  # before torch is imported: a mistake is answered at once
    folder = run_folder(options)
    import torch

    from gptlab import checkpoints, ranks, training
    from gptlab.runs import program
    from gptlab.runs.compiling import first_line
    from gptlab.runs.interruption import StopOnSignal

    _check_folder(options, settings, folder)
    with StopOnSignal(patience=20 if ranks.is_one_of_several() else None) as stop:
        try:
            history, rank, model = program.execute(options, settings, folder, stop, environment.this_command())
        except (training.NonFiniteLoss, checkpoints.CheckpointError, ConnectionError) as error:
            if isinstance(error, checkpoints.CheckpointError) and not stop.started:
                raise  # it says what to do
            print(f"train: {error}\n{_how_to_continue(folder)}", file=sys.stderr, flush=True)
            return 1
        except torch.OutOfMemoryError as error:
            way = "use a larger --gradient-accumulation, --gradient-checkpointing True, or a smaller --batch-size"
            said = f"train: {first_line(error)}\nTo need less, {way}. {_how_to_continue(folder)}"
            print(said, file=sys.stderr, flush=True)
            return 1
    if training.has_ended(history, settings.recipe.training.steps, settings.recipe.training.early_stopping):
        if rank == 0:
            print(_next_commands(model, Path("exported") / folder.resolve().name), flush=True)
        return None
    if rank == 0:
        name = signal.Signals(stop.number).name
        print(f"stopped by {name} after step {history.steps}. {_how_to_continue(folder)}", flush=True)
    return 128 + stop.number


def _next_commands(model: Path, export: Path) -> str:
    """What to do with a finished model, to be pasted."""
    call, there = environment.python_call(), shlex.quote(str(model))
    return (
        f"let it write:                 {call} sample {there}\n"
        f"a web page that runs it:      {call} page {there} --out {shlex.quote(export.name + '.html')}\n"
        f"for Hugging Face's libraries: {call} export {there} {shlex.quote(str(export))}"
    )


def _check_folder(options: Options, settings: Settings, folder: Path) -> None:
    """Check that a run in this folder wouldn't overwrite another, and that a record would be of a whole run.

    Raises:
        ValueError: with the way out.
    """
    from gptlab import checkpoints

    newest = checkpoints.latest(folder)
    if newest is not None and not options.resume and (folder / CONFIG).is_file():
        there, here = (_text_of(which) for which in (from_yaml(folder / CONFIG), settings))
        if there != here:
            raise ValueError(
                f"{str(folder)!r} has a run on {there}, up to {newest.name}, and this one is on {here}: choose another "
                "--folder"
            )
    if newest is not None and not options.resume:
        raise ValueError(
            f"{str(folder)!r} has a run already, up to {newest.name}: go on with `{_resume_command(folder)}`, "
            "or choose another --folder, or delete this one"
        )
    if newest is not None and (done := int(newest.name.removeprefix("step-"))) > settings.recipe.training.steps:
        raise ValueError(
            f"the run in {str(folder)!r} has made {done:,} steps already, and --steps is "
            f"{settings.recipe.training.steps:,}: give it more than {done:,} to go on, or choose another --folder"
        )
    if options.record is not None:
        _check_record(options.record)
    if newest is not None and options.record is not None:
        raise ValueError(
            f"--record stores what one process measured from its first step, and {str(folder)!r} has {newest.name} "
            "already: leave out --record, or record a run that was not resumed, in another --folder"
        )


def _check_record(path: Path) -> None:
    """Check, before hours of training, that the record can be added to this file."""
    from gptlab.runs import records

    if path.is_dir():
        raise ValueError(f"--record {str(path)!r} is a folder: give it the name of a file")
    if path.exists():
        records.read(path)


def _text_of(settings: Settings) -> str:
    """What a run is trained on: the paths of its texts, or its corpus."""
    return ", ".join(map(repr, settings.recipe.texts or (settings.recipe.corpus,)))


def _resume_command(folder: Path) -> str:
    return f"{environment.python_call()} train --resume --folder {shlex.quote(str(folder))}"


def _how_to_continue(folder: Path) -> str:
    """Where a run that ended early stands, and how to continue it."""
    from gptlab import checkpoints

    newest = checkpoints.latest(folder)
    if newest is None:
        return "There is no checkpoint yet: the run starts from the beginning."
    return f"The newest checkpoint is {newest.name}; `{_resume_command(folder)}` goes on from it."
