"""Training: show the model text, measure its loss, move every weight a little to make it smaller.

From top to bottom: what a run writes down, the loop, and the checkpoints that it leaves. One step of the loop is in
`gptlab.train_step`, the learning rate in `gptlab.schedule`, the optimisers in `gptlab.optimizers`.
"""

import contextlib
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from gptlab import checkpoints, ranks
from gptlab.batches import BatchSource, as_batch_source
from gptlab.entrances import guard
from gptlab.model import device_of
from gptlab.schedule import TrainConfig
from gptlab.train_step import NonFiniteLoss, Objective, TrainStep, activation_checkpoints

__all__ = ["History", "NonFiniteLoss", "TrainConfig", "run", "train", "with_progress"]


@dataclass
class History:
    """What happened in a run.

    Attributes:
        losses: the loss of each step, in nats per token.
        rates: the learning rate of each step.
        gradient_norms: the norm of each step's gradient, before it was shortened.
        evaluations: one entry for each evaluation, with its step, the seconds until then, and what it measured.
        seconds: time spent on steps, without evaluations and checkpoints.
        tokens: targets that counted, in all steps together.
    """

    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    evaluations: list[dict[str, float | int]] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int = 0

    @property
    def steps(self) -> int:
        """Steps so far."""
        return len(self.losses)

    def curve(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of one evaluated quantity, for a picture."""
        points = [(int(e["step"]), e[name]) for e in self.evaluations if name in e]
        return [step for step, _ in points], [value for _, value in points]

    def to_json(self) -> str:
        """All of it as JSON; `from_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "History":
        """The history that `to_json` wrote."""
        return cls(**json.loads(text))


def train(
    model: nn.Module,
    batches: BatchSource | Iterable,
    config: TrainConfig | None = None,
    *,
    progress: bool = True,
    **options,
) -> History:
    """Train a model and return what happened.

    Args:
        model: called with ids and targets, it gives logits and loss.
        batches: as for `run`.
        config: how to train; the defaults of `TrainConfig` unless given.
        progress: show a bar, or print a few lines where none can be drawn.
        options: as for `run`.

    >>> from gptlab.batches import Batches
    >>> from gptlab.embedding import BigramLanguageModel
    >>> batches, plan = Batches([0, 1, 2] * 20, B=4, T=6), TrainConfig(steps=30, learning_rate=0.5)
    >>> history = train(BigramLanguageModel(V=3), batches, plan, progress=False)
    >>> history.losses[0] > 1.09 and history.losses[-1] < 0.01
    True
    """
    config = config or TrainConfig()
    return with_progress(run(model, batches, config, **options), config.steps, progress)


def with_progress(
    running: Iterator[History], steps: int, progress: bool = True, line: Callable[[History], str] | None = None
) -> History:
    """Let a `run` go on for some steps and show how it goes; the history so far comes back.

    A terminal shows a bar. Elsewhere, in a notebook or a log, about eight lines are printed.

    Args:
        running: what `run` gave.
        steps: at most so many more steps.
        progress: False shows nothing.
        line: what is printed about a step, from the history so far; its loss and its evaluation unless given.
    """
    history = History()
    bar = tqdm(total=steps, disable=None if progress else True, file=sys.stdout, unit="step")
    for done, history in enumerate(itertools.islice(running, steps), start=1):
        bar.update()
        newest = history.evaluations[-1] if history.evaluations else {"step": None}
        measured = newest if newest["step"] == history.steps else {}
        shown = {name: f"{measured[name]:.3f}" for name in measured if name not in ("step", "seconds")}
        if shown:
            bar.set_postfix(shown)
        if progress and bar.disable and done % max(1, steps // 8) == 0:
            words = "".join(f"  {name} {value}" for name, value in list(shown.items())[:3])
            loss = f"step {history.steps:>5}  loss {history.losses[-1]:.3f} nats per token{words}"
            print(line(history) if line else loss, flush=True)
    bar.close()
    return history


def run(
    model: nn.Module,
    batches: BatchSource | Iterable,
    config: TrainConfig,
    *,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    dtype: torch.dtype = torch.float32,
    stop: Callable[[], bool] = lambda: False,
    processes: ranks.Processes | None = None,
    objective: Objective | None = None,
) -> Iterator[History]:
    """The training loop, one step at a time: yields the growing history after each.

    Args:
        model: called with ids and targets, it gives logits and loss.
        batches: `Batches`, anything else with `batch(step)`, or an iterable of (ids, targets) such as a DataLoader. If
            it has `state_dict()` and `load_state_dict(state)`, as rollouts have, a checkpoint holds its state too.
        config: how to train.
        evaluate: called with the model every `config.evaluate_every` steps and at the end; the history stores what it
            measures.
        folder: where to save checkpoints; none are saved unless given.
        resume: continue from the last checkpoint in `folder`, exactly as if nothing had stopped.
        dtype: of the matrix products: float32, or bfloat16 / float16 (then with a gradient scaler) by autocast.
        stop: asked in each step; when it says True, the run saves a checkpoint after it and ends. If it has a
            `busy()`, that is entered around evaluations and checkpoints, which may take long.
        processes: the processes that train together; this one alone unless given.
        objective: what each step makes smaller; the model's own loss, that of the next token, unless given.

    Raises:
        NonFiniteLoss: with step, learning rate, gradient norm and dtype; the weights are those before the step, and
            the last checkpoint is sound.
        CheckpointError: a new run would start in a folder that has one already or in which another process trains, or
            a checkpoint is damaged or cannot be written.
        ValueError: no target of a batch counts, or a run is resumed with batches that can only be iterated.
    """
    processes = ranks.SingleProcess() if processes is None else processes
    own = folder is not None and processes.rank == 0
    with checkpoints.locked(folder) if own else contextlib.nullcontext():
        yield from _steps(model, batches, config, evaluate, folder, resume, dtype, stop, processes, objective)


def _steps(
    model: nn.Module,
    batches: BatchSource | Iterable,
    config: TrainConfig,
    evaluate: Callable[[nn.Module], dict[str, float]] | None,
    folder: str | Path | None,
    resume: bool,
    dtype: torch.dtype,
    stop: Callable[[], bool],
    processes: ranks.Processes,
    objective: Objective | None,
) -> Iterator[History]:
    """The loop of `run`, in a folder that nobody else writes to."""
    source = processes.own_rows(as_batch_source(batches))
    train_step = TrainStep(model, config, dtype, processes, objective)
    history = History()
    busy = getattr(stop, "busy", contextlib.nullcontext)

    def is_due(every: int) -> bool:
        return history.steps == config.steps or (every > 0 and history.steps % every == 0)

    def add_evaluation() -> None:
        with busy():
            measured = evaluate(model)
        history.evaluations.append({"step": history.steps, "seconds": history.seconds, **measured})
        model.train()  # an evaluation may have switched dropout off

    if folder is not None and (state := _start(folder, train_step, resume)) is not None:
        if not hasattr(batches, "batch"):
            raise ValueError(
                f"a run can't be resumed with a {type(batches).__name__}, which cannot be asked for the batch of step "
                f"{state['step']}: pass something with batch(step), such as gptlab.batches.Batches"
            )
        if hasattr(batches, "load_state_dict") and "batches" in state:
            batches.load_state_dict(state["batches"])
        history = History(**state["history"])
        evaluated = history.evaluations[-1]["step"] if history.evaluations else 0
        if evaluate is not None and is_due(config.evaluate_every) and evaluated != history.steps:
            add_evaluation()  # the run was stopped before it came to this one
        yield history

    model.train()
    with activation_checkpoints(model, config.gradient_checkpointing):
        for step in range(history.steps, config.steps):
            # 1. One update, timed.
            started = time.perf_counter()
            own_loss, norm, counted = train_step.gradients(source.batch(step), step)
            loss, stopping = processes.sum(own_loss, int(stop()))
            rate = train_step.apply(loss, norm, step)
            history.seconds += time.perf_counter() - started
            # 2. Write down what happened.
            history.losses.append(loss)
            history.rates.append(rate)
            history.gradient_norms.append(norm)
            history.tokens += counted
            # 3. Evaluate and save. A run that was asked to stop is in a hurry: it only saves.
            stopping = bool(stopping) and history.steps < config.steps
            if evaluate is not None and not stopping and is_due(config.evaluate_every):
                add_evaluation()
            if folder is not None and (stopping or is_due(config.save_every)):
                with busy():
                    _save(folder, train_step, history, batches)
            yield history
            if stopping:
                return


def _start(folder: str | Path, train_step: TrainStep, resume: bool) -> dict[str, Any] | None:
    """The state to continue from, restored; None for a run that begins in an unused folder."""
    if train_step.processes.rank == 0:
        checkpoints.remove_temporary(folder)
    if resume:
        model, optimizers, rank = train_step.model, train_step.optimizers, train_step.processes.rank
        state = checkpoints.resume(
            folder, model, optimizers, rank, {"history": History, "scaler": dict[str, float | int]}
        )
        if state is not None:
            _check_state(state, folder, train_step.scaler.state_dict())
        if state is not None and state["scaler"]:  # a run in another dtype had none: this one starts with its own
            train_step.scaler.load_state_dict(state["scaler"])
        return state
    if (newest := checkpoints.latest(folder)) is not None:
        raise checkpoints.CheckpointError(
            f"{str(folder)!r} has a run already (its newest checkpoint is {newest.name}): resume it, or delete the "
            "folder, or choose another"
        )
    return None


def _check_state(state: dict[str, Any], folder: str | Path, scaler: dict[str, Any]) -> None:
    """Check that a saved history is as long as its run, and that a gradient scaler can go on from the saved one."""
    history, step, wrong = state["history"], state["step"], ""
    for name in ("losses", "rates", "gradient_norms"):
        if len(history[name]) != step:
            wrong = f"history.{name} has {len(history[name])} entries after {step} steps"
    if not all("step" in entry and "seconds" in entry for entry in history["evaluations"]):
        wrong = "an entry of history.evaluations has no step or no seconds"
    if state["scaler"] and scaler and state["scaler"].keys() != scaler.keys():
        wrong = f"scaler has {sorted(state['scaler'])}, and {sorted(scaler)} is needed"
    if wrong:
        raise checkpoints.damaged(checkpoints.latest(folder) / checkpoints.STATE, wrong)


def _save(folder: str | Path, train_step: TrainStep, history: History, batches: Any) -> None:
    """Save a checkpoint, unless a weight is corrupted: then the one before it must stay the newest."""
    model, processes = train_step.model, train_step.processes
    corrupted = sum(int((~torch.isfinite(ranks.local(p.detach()))).sum()) for p in model.parameters())
    if processes.sum(corrupted)[0]:
        raise NonFiniteLoss(
            f"a weight is not finite after step {history.steps}, so no checkpoint is made of it; continue from the one "
            "before with a smaller learning rate, a longer warm-up, or float32"
        )
    scaler = train_step.scaler.state_dict()
    state = {"history": asdict(history), "scaler": scaler, "world_size": processes.world_size}
    state |= {"batches": batches.state_dict()} if hasattr(batches, "state_dict") else {}
    checkpoints.save(
        folder,
        model,
        train_step.optimizers,
        history.steps,
        state,
        save_total_limit=train_step.config.save_total_limit,
        generators=processes.gather(checkpoints.generator_states(device_of(model))),
        write=processes.rank == 0,
    )
    processes.sum(0)  # the other ranks wait here for the one that writes, and not inside the next step


guard(globals(), unchecked=("__init__",))  # a history may hold norms that were not finite
