"""`python -m gptlab train`: train a GPT on a text."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Literal


def train(
    recipe: Literal["fables", "shakespeare", "nanogpt-cpu", "nanogpt-gpu"] = "fables",
    /,
    folder: Path = Path("runs/fables"),
    corpus: str | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    matrix_rate: float | None = None,
    n_layer: int | None = None,
    n_embd: int | None = None,
    n_head: int | None = None,
    context: int | None = None,
    device: str | None = None,
    seed: int = 0,
    resume: bool = False,
    export: Path | None = None,
) -> None:
    """Train a GPT on a text, keep checkpoints, and print its loss as it falls.

    Args:
        recipe: which settings to begin with; the other options change them.
        folder: where to keep checkpoints; runs/fables unless you choose another.
        corpus: "fables", "shakespeare", "pydocs", or the path of a text file.
        steps: batches to learn from.
        batch_size: sequences in a batch.
        learning_rate: the highest rate of AdamW.
        matrix_rate: the highest rate of Muon, where the recipe uses it.
        n_layer: blocks.
        n_embd: channels.
        n_head: heads; n_embd must be divisible by it.
        context: the longest sequence, in tokens.
        device: cpu, cuda or mps; without it CUDA where it works, else the CPU.
        seed: of the weights and of the order of the batches.
        resume: go on from the last checkpoint in the folder, exactly as if nothing had stopped.
        export: where to keep the finished model with its tokenizer, e.g. data/models/mine.
    """
    from gptlab import checkpoints, gpu, training

    chosen = gpu.RECIPES[recipe]
    shape = dict(n_layer=n_layer, n_embd=n_embd, n_head=n_head, context=context)
    rates = dict(steps=steps, learning_rate=learning_rate, matrix_rate=matrix_rate)
    chosen = dataclasses.replace(
        chosen,
        corpus=corpus or chosen.corpus,
        B=batch_size or chosen.B,
        seed=seed,
        model=chosen.model | _given(shape),
        training=dataclasses.replace(chosen.training, **_given(rates)),
    )
    place = gpu.pick_device(device)
    dtype = gpu.pick_dtype(place)
    prepared = gpu.prepare(chosen, place)
    count = prepared.model.count_parameters()
    print(f"{chosen.corpus}: a GPT of {count:,} parameters, {chosen.training.steps} steps on {place}, {dtype}")
    began = time.perf_counter()
    for history in training.run(
        prepared.model,
        prepared.batches,
        chosen.training,
        evaluate=prepared.evaluate,
        folder=folder,
        resume=resume,
        dtype=dtype,
    ):
        if history.evaluations and history.evaluations[-1]["step"] == history.steps:
            print(_line(history), flush=True)
    if export is not None:
        notes = {
            "recipe": dataclasses.asdict(chosen),
            "history": {"evaluations": history.evaluations, "seconds": history.seconds, "tokens": history.tokens},
            "minutes": round((time.perf_counter() - began) / 60, 1),
        }
        checkpoints.save_model(export, prepared.model, prepared.tokenizer, json.loads(json.dumps(notes)))
        print(f"kept in {export}")


def _given(options: dict) -> dict:
    return {name: value for name, value in options.items() if value is not None}


def _line(history) -> str:
    numbers = {name: value for name, value in history.evaluations[-1].items() if name not in ("step", "seconds")}
    speed = history.tokens / history.seconds
    words = "  ".join(f"{name} {value:.3f}" for name, value in numbers.items())
    return f"step {history.steps:>6}  {history.seconds:7.1f} s  {speed:8,.0f} tokens/s  {words}"
