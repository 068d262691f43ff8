"""The state of a run in its folder: what a new run finds there, what a resumed one continues from, what is saved."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from gptlab import checkpoints, ranks
from gptlab.entrances import guard
from gptlab.history import History
from gptlab.model import device_of
from gptlab.train_step import NonFiniteLoss, TrainStep


def start(folder: str | Path, train_step: TrainStep, resume: bool) -> dict[str, Any] | None:
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


def save(folder: str | Path, train_step: TrainStep, history: History, batches: Any) -> None:
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


guard(globals())
