"""The training program: build what a recipe names, train it on one process or several, save, export and record it.

`python -m gptlab train` reads the settings and calls `execute`.
"""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gptlab import checkpoints, ranks, training
from gptlab.checkpoints.storage import NOTES
from gptlab.fast_forms import speed_up
from gptlab.files import write_whole
from gptlab.gpu import devices
from gptlab.history import History, has_ended, measure
from gptlab.model import GPT
from gptlab.runs import reporting
from gptlab.runs.building import TrainingSetup, build
from gptlab.runs.compiling import compile_model, ways
from gptlab.runs.interruption import StopOnSignal
from gptlab.runs.recipes import Recipe
from gptlab.runs.reporting import Reporter
from gptlab.runs.settings import CONFIG, Settings, to_yaml
from gptlab.runs.tensorboard import TensorBoard
from gptlab.tokenizing import Tokenizer

SYNC_EVERY = 20  # steps whose losses are read together on a GPU, unless --sync-every says otherwise
BEST = "best"  # in the run's folder: the model with the lowest validation loss, where --best was given


class Outcome(NamedTuple):
    """How a run went.

    Attributes:
        history: what happened.
        rank: of this process; rank 0 prints.
        model: the folder of the model to go on with.
    """

    history: History
    rank: int
    model: Path


def execute(options: Any, settings: Settings, folder: Path, stop: StopOnSignal, command: str = "") -> Outcome:
    """Build and train, together with the other processes of this run if torchrun has started any.

    Args:
        options: what the run starts from and what it leaves, as `settings.Options` has it.
        settings: what it computes.
        folder: where its checkpoints are.
        stop: asked in each step.
        command: the command line, for the record.

    Raises:
        CheckpointError: the run cannot be resumed with these settings, or a file cannot be written.
        NonFiniteLoss: the loss or a weight is not finite.
        RankLost: another process of the run has ended.
        ValueError: a setting doesn't fit this machine or this corpus.
    """
    recipe = settings.recipe
    if options.best and options.parallel == "sharded":
        raise ValueError("--best saves a model that is whole, and --parallel sharded has parts: leave out one of them")
    if options.export is not None:  # now, not after hours
        _check_export(options.export, folder)
    resuming = options.resume and checkpoints.latest(folder) is not None
    with contextlib.ExitStack() as stack:
        processes, device = join(options, stack)
        first = processes.rank == 0
        report = stack.enter_context(Reporter(recipe.training.steps, quiet=not first, keeps_best=options.best))
        say = report.say
        dtype = getattr(torch, settings.dtype) if settings.dtype else devices.pick_dtype(device)
        exactly = devices.pick_float32(device, dtype)
        setup = build(recipe, device, options.verify and first)
        if device.type == "cuda":  # a CPU gains nothing from them
            speed_up(setup.model)
            stack.enter_context(_fast_attention(setup.model, recipe, dtype, device, say))
        if first:
            stack.enter_context(checkpoints.locked(folder))
        lost = False
        if resuming:
            lost = not _check_tokenizer(setup.tokenizer, folder)
        elif first:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / CONFIG, to_yaml(settings))
            setup.tokenizer.save(folder / checkpoints.TOKENIZER)
        if processes.world_size > 1:
            torch.manual_seed(recipe.seed + 1_000_003 * processes.rank)  # each rank has dropout masks of its own
        if settings.compile and setup.objective is not None:
            raise ValueError(
                "--compile True: a model that samples would be compiled again for each length; leave it out for a run "
                "with a reward"
            )
        compiled = settings.compile and compile_model(
            setup.model, processes.own_rows(setup.batches), recipe.training, dtype, say
        )
        board = stack.enter_context(TensorBoard(folder, options.tensorboard and first))
        if options.resume and not resuming:
            say(f"there is nothing to resume in {str(folder)!r}: the run starts from the beginning")
        say(setup.about)
        say(_headline(recipe, setup, device, dtype, processes.world_size, options.parallel, exactly))
        started = time.perf_counter()
        running = training.run(
            setup.model,
            setup.batches,
            recipe.training,
            evaluate=setup.evaluate,
            folder=folder,
            resume=options.resume,
            dtype=dtype,
            stop=stop,
            processes=processes,
            objective=setup.objective,
            sync_every=options.sync_every or (SYNC_EVERY if device.type == "cuda" else 1),
            **ways(bool(compiled), recipe.training, device, say),
        )
        for history in running:
            board.add(history, resumed=not stop.started)
            report.show(history)
            if not stop.started:  # a resumed run, before its first step: now its settings are known to fit
                if first:
                    write_whole(folder / CONFIG, to_yaml(settings))
                if lost:
                    say(_without_tokenizer(folder, recipe))
                    if first:
                        setup.tokenizer.save(folder / checkpoints.TOKENIZER)
                finished = has_ended(history, recipe.training.steps, recipe.training.early_stopping)
                which = "--steps" if history.steps == recipe.training.steps else "--early-stopping"
                more = f"; there is nothing left to do, unless {which} gives more" if finished else ""
                say(f"going on after step {history.steps}{more}")
            elif history.evaluations and history.evaluations[-1]["step"] == history.steps:
                alone = processes.world_size == 1 and not compiled  # a compiled model would be compiled for each length
                written = reporting.sample(setup.model, setup.tokenizer, setup.end) if alone else ""
                report.evaluated(history, written)
                if options.best and first:
                    _save_best(folder, setup, history)
        minutes = (time.perf_counter() - started) / 60
    if first and has_ended(history, recipe.training.steps, recipe.training.early_stopping):
        report.ended(history, recipe.training.early_stopping)
        if options.export is not None:
            _export(options.export, folder / BEST if options.best else folder, recipe, setup, history, minutes)
            say(f"saved in {options.export}")
        if options.record is not None:
            from gptlab.runs import records

            what = f"train {folder.name if recipe.texts else _recipe_name(options) or folder.name}"
            record = records.of_run(what, command, setup.model, history, dtype, processes.world_size, bool(compiled))
            records.add(record, options.record)
            say(f"recorded in {options.record}")
    best = folder / BEST
    return Outcome(history, processes.rank, best if options.best and best.is_dir() else folder)


def _fast_attention(
    model: GPT, recipe: Recipe, dtype: torch.dtype, device: torch.device, say: Callable[[str], None]
) -> contextlib.AbstractContextManager:
    """Inside, attention is computed by the kernel that is fastest on this card for a micro-batch of this run."""
    from gptlab.gpu import attention_kernels

    config, rows = model.config, max(1, recipe.batch_size // recipe.training.gradient_accumulation)
    shape = (rows, config.n_head, config.context, config.n_embd // config.n_head)
    kernel = attention_kernels.pick_attention(device, *shape, dtype, config.dropout)
    say(f"attention by the kernel {kernel!r}, which was the fastest here" if kernel else "")
    return attention_kernels.attention_kernel(kernel)


def join(options: Any, stack: contextlib.ExitStack) -> tuple[ranks.Processes, torch.device]:
    """The processes of this run, and the device of this one.

    Args:
        options: device and parallel, as `settings.Options` has them.
        stack: leaves the group of processes when it closes.

    Raises:
        ValueError: a model should be sharded over one process.
    """
    if not ranks.is_one_of_several():
        if options.parallel == "sharded":
            raise ValueError("--parallel sharded divides a model among processes: start several with torchrun")
        return ranks.SingleProcess(), devices.pick_device(options.device)
    from gptlab.cluster import distributed

    wanted = (distributed.own_device() or options.device) if options.device in (None, "cuda") else options.device
    device = devices.pick_device(wanted)
    return stack.enter_context(distributed.join(device, options.parallel == "sharded")), device


def _recipe_name(options: Any) -> str:
    """The recipe that the options name, if they name one."""
    return options.recipe if isinstance(options.recipe, str) else "".join(options.recipe or ())


def _check_export(export: Path, folder: Path) -> None:
    """Check that the finished model can be saved there."""
    if export.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise ValueError(f"--export {export} would replace the run's own folder {str(folder)!r}: choose a new folder")
    checkpoints.check_folder(export)


def _check_tokenizer(tokenizer: Tokenizer, folder: Path) -> bool:
    """Check that the ids mean what they meant when the run in `folder` was started; False if nothing there says so."""
    path = folder / checkpoints.TOKENIZER
    if not path.is_file():
        return False
    saved = checkpoints.read_tokenizer(path)
    there, here = (json.loads(json.dumps(one.to_json())) for one in (saved, tokenizer))
    if there != here:
        raise checkpoints.CheckpointError(
            f"the run in {str(folder)!r} was made with other tokens ({saved} there, {tokenizer} here): go on with the "
            "--corpus, --tokens and --vocab-size that it started with, or choose another --folder"
        )
    return True


def _without_tokenizer(folder: Path, recipe: Recipe) -> str:
    """What is said of a run whose tokenizer was lost."""
    return (
        f"{str(folder / checkpoints.TOKENIZER)!r} is missing: it is made anew from {recipe.corpus!r}, and right only "
        "if that is what it was when the run began"
    )


def _save_best(folder: Path, setup: TrainingSetup, history: History) -> None:
    """Save the model where it is the best so far; of a resumed run too."""
    name, value = measure(history.evaluations[-1])
    notes = folder / BEST / NOTES
    if notes.is_file() and json.loads(notes.read_text(encoding="utf-8"))[name] <= value:
        return
    checkpoints.save_model(setup.model, folder / BEST, setup.tokenizer, {"step": history.steps, name: value})


def _export(export: Path, folder: Path, recipe: Recipe, setup: TrainingSetup, history: History, minutes: float) -> None:
    """Save the finished model, with notes on how it was made.

    Args:
        export: where.
        folder: the run's, or that of its best model. The weights are taken as they were saved: those of a sharded model
            are in parts.
        recipe: for the notes.
        setup: has the tokenizer.
        history: for the notes.
        minutes: that the run took.
    """
    notes = {
        "recipe": dataclasses.asdict(recipe),
        "history": {"evaluations": history.evaluations, "seconds": history.seconds, "tokens": history.tokens},
        "minutes": round(minutes, 1),
    }
    model, _ = checkpoints.load_model(folder)
    checkpoints.save_model(model, export, setup.tokenizer, json.loads(json.dumps(notes)))


def _headline(
    recipe: Recipe,
    setup: TrainingSetup,
    device: torch.device,
    dtype: torch.dtype,
    world_size: int,
    parallel: str,
    exactly: str,
) -> str:
    count = setup.model.count_parameters()
    many = f", {world_size} processes ({parallel})" if world_size > 1 else ""
    config, steps = setup.model.config, recipe.training.steps
    size = f"{config.n_layer} layers, {config.n_embd} channels, context {config.context}"
    precision = f"{dtype}, {exactly}" if exactly else dtype
    what = f"a GPT of {count:,} parameters ({size}), {steps} steps on {device}, {precision}{many}"
    if not recipe.texts:
        return f"{recipe.corpus}: {what}"
    return f"{what}; change it with --tokens, --vocab-size, --n-layer, --n-embd, --context, --steps"
