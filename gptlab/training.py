"""Training: show the model text, measure its loss, move every weight a little to make it smaller.

What a run writes down is in `gptlab.history`, one step of the loop in `gptlab.train_step`, several that are queued on a
GPU in `gptlab.queued_steps`, the learning rate in `gptlab.schedule`, the optimizers in `gptlab.optimizers`, and what a
run leaves in its folder in `gptlab.run_state`.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from gptlab import checkpoints, ranks, run_state
from gptlab.batches import BatchSource, as_batch_source
from gptlab.entrances import Count, guard
from gptlab.history import History, has_stalled
from gptlab.queued_steps import StepQueue, StepResult, Work, can_queue
from gptlab.schedule import TrainConfig
from gptlab.train_step import NonFiniteLoss, Objective, TrainStep, activation_checkpoints

__all__ = ["History", "NonFiniteLoss", "TrainConfig", "run", "train", "with_progress"]


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
    begun, shown_at = None, 0
    for history in running:
        begun = max(0, history.steps - 1) if begun is None else begun  # a resumed run has steps behind it
        done = history.steps - begun
        bar.update(done - bar.n)
        newest = history.evaluations[-1] if history.evaluations else {"step": None}
        measured = newest if newest["step"] == history.steps else {}
        shown = {name: f"{measured[name]:.3f}" for name in measured if name not in ("step", "seconds")}
        if shown:
            bar.set_postfix(shown)
        if progress and bar.disable and done // max(1, steps // 8) > shown_at:
            shown_at = done // max(1, steps // 8)
            words = "".join(f"  {name} {value}" for name, value in list(shown.items())[:3])
            loss = f"step {history.steps:>5}  loss {history.losses[-1]:.3f} nats per token{words}"
            print(line(history) if line else loss, flush=True)
        if done >= steps:
            break
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
    sync_every: Count = 1,
    record: Callable[[Work], Work] | None = None,
    prepare: Callable[[TrainStep], None] = lambda step: None,
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
        sync_every: steps that are queued on the device before their losses are read, and the history is yielded; an
            evaluation, a checkpoint and the end come when they are due. Several processes, float16 and an optimizer of
            your own read after each step. The weights are the same either way.
        record: as for `StepQueue`: repeats a step of one shape in fewer calls.
        prepare: called with the step before the first one, to compile what its optimizers do, say.

    Raises:
        NonFiniteLoss: with step, learning rate, gradient norm and dtype; the weights are those before the step, also
            where it is noticed later, and the last checkpoint is sound.
        CheckpointError: a new run would start in a folder that has one already or in which another process trains, or
            a checkpoint is damaged or cannot be written.
        ValueError: no target of a batch counts, or a run is resumed with batches that can only be iterated.
    """
    processes = ranks.SingleProcess() if processes is None else processes
    own = folder is not None and processes.rank == 0
    with checkpoints.locked(folder) if own else contextlib.nullcontext():
        train_step = TrainStep(model, config, dtype, processes, objective)
        prepare(train_step)
        queue = StepQueue(train_step, record) if (sync_every > 1 or record) and can_queue(train_step) else None
        yield from _steps(train_step, batches, evaluate, folder, resume, stop, queue, sync_every)


def _steps(
    train_step: TrainStep,
    batches: BatchSource | Iterable,
    evaluate: Callable[[nn.Module], dict[str, float]] | None,
    folder: str | Path | None,
    resume: bool,
    stop: Callable[[], bool],
    queue: StepQueue | None,
    sync_every: int,
) -> Iterator[History]:
    """The loop of `run`, in a folder that nobody else writes to."""
    model, config, processes = train_step.model, train_step.config, train_step.processes
    source = processes.own_rows(as_batch_source(batches))
    history = History()
    busy = getattr(stop, "busy", contextlib.nullcontext)

    def is_due(every: int, steps: int) -> bool:
        return steps == config.steps or (every > 0 and steps % every == 0)

    def add_evaluation() -> None:
        with busy():
            measured = evaluate(model)
        history.evaluations.append({"step": history.steps, "seconds": history.seconds, **measured})
        model.train()  # an evaluation may have switched dropout off

    def take(step: int) -> tuple[list[StepResult], NonFiniteLoss | None, bool]:
        """A step: what became of it and of those that were queued before, or nothing yet; and whether to stop."""
        if queue is None:
            own_loss, norm, counted = train_step.gradients(source.batch(step), step)
            loss, stopping = processes.sum(own_loss, int(stop()))
            return [StepResult(loss, train_step.apply(loss, norm, step), norm, counted)], None, bool(stopping)
        queue.add(source.batch(step), step)
        stopping, steps = stop(), step + 1
        evaluates = evaluate is not None and is_due(config.evaluate_every, steps)
        saves = steps == config.steps or (folder is not None and is_due(config.save_every, steps))
        if len(queue) < sync_every and not (stopping or evaluates or saves):
            return [], None, False
        return *queue.read(), stopping

    if folder is not None and (state := run_state.start(folder, train_step, resume)) is not None:
        if not hasattr(batches, "batch"):
            raise ValueError(
                f"a run can't be resumed with a {type(batches).__name__}, which cannot be asked for the batch of step "
                f"{state['step']}: pass something with batch(step), such as gptlab.batches.Batches"
            )
        if hasattr(batches, "load_state_dict") and "batches" in state:
            batches.load_state_dict(state["batches"])
        history = History(**state["history"])
        evaluated = history.evaluations[-1]["step"] if history.evaluations else 0
        if evaluate is not None and is_due(config.evaluate_every, history.steps) and evaluated != history.steps:
            add_evaluation()  # the run was stopped before it came to this one
        yield history

    if has_stalled(history.evaluations, config.early_stopping):
        return
    model.train()
    with activation_checkpoints(model, config.gradient_checkpointing):
        for step in range(history.steps, config.steps):
            # 1. One update, timed. The device may still be working on it, and on those before.
            started = time.perf_counter()
            results, problem, stopping = take(step)
            history.seconds += time.perf_counter() - started
            # 2. Write down what happened.
            for result in results:
                history.losses.append(result.loss)
                history.rates.append(result.rate)
                history.gradient_norms.append(result.norm)
                history.tokens += result.tokens
            if problem is not None:
                raise problem
            if not results:
                continue
            # 3. Evaluate and save. A run that was asked to stop is in a hurry: it only saves.
            stopping = stopping and history.steps < config.steps
            if evaluate is not None and not stopping and is_due(config.evaluate_every, history.steps):
                add_evaluation()
                stopping = has_stalled(history.evaluations, config.early_stopping)
            if folder is not None and (stopping or is_due(config.save_every, history.steps)):
                with busy():
                    run_state.save(folder, train_step, history, batches)
            yield history
            if stopping:
                return


guard(globals())
