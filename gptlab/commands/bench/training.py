"""Validation loss against time on Tiny Shakespeare: nanoGPT's CPU recipe, the same parts tuned, and the modern recipe.

The contestants take turns, twenty steps each, so that whatever else the machine does hits all of them; each one's clock
runs only while it trains. The first is the settings of nanoGPT's README for a CPU (Karpathy 2022: 2,000 AdamW steps of
12 × 64 characters, learning rate 1e-3, 4 layers of 128 channels), with this package's GPT for the model.
"""

import dataclasses
from collections.abc import Iterator

import torch

from gptlab import runs, training
from gptlab.training import History

TARGETS = (1.88, 1.60)
TURN = 20  # steps


def contestants() -> dict[str, runs.Recipe]:
    """The four runs, by name. The modern ones differ in length too: a rate that falls to zero depends on it."""
    base, modern = runs.RECIPES["nanogpt-cpu"], runs.RECIPES["shakespeare"]

    brief = dataclasses.replace(
        modern,
        batch_size=12,
        model=modern.model | dict(n_layer=2, n_embd=160, mlp_size=480),  # fewer, wider layers: quicker steps
        training=dataclasses.replace(modern.training, steps=270, warmup=15, muon_lr=0.04, evaluate_every=30),
    )
    tuned = dataclasses.replace(base.training, learning_rate=4e-3, min_lr_ratio=0.0)
    return {
        "nanoGPT's recipe": base,
        "the same, best learning rate": dataclasses.replace(base, training=tuned),
        "modern, short": brief,
        "modern": modern,
    }


def race(recipes: dict[str, runs.Recipe]) -> dict[str, History]:
    """Train all, in turns; for each the history with its evaluations on the whole validation text."""
    running: dict[str, Iterator[History]] = {}
    histories: dict[str, History] = {}
    for name, recipe in recipes.items():
        setup = runs.build(recipe)
        running[name] = training.run(setup.model, setup.batches, recipe.training, evaluate=setup.evaluate)
        print(
            f"{name}: {setup.model.count_parameters():,} parameters, "
            f"{recipe.training.steps} steps of {recipe.batch_size}"
        )
    while running:
        for name in list(running):
            for _ in range(TURN):
                history = next(running[name], None)
                if history is None:
                    del running[name]
                    break
                histories[name] = history
    return histories


def seconds_to(history: History, target: float) -> float | None:
    """When the validation loss first was at or below `target`, in seconds of training; None if never.

    >>> seconds_to(History(evaluations=[{"step": 1, "seconds": 2.0, "validation": 1.5}]), 1.6)
    2.0
    """
    return next((e["seconds"] for e in history.evaluations if e["validation"] <= target), None)


def bench_training() -> None:
    """Run the race and print its table."""
    histories = race(contestants())
    whole = histories["nanoGPT's recipe"].seconds
    print(
        "\nTiny Shakespeare, characters, context 64, validation on all of the last 10 %; "
        f"{torch.get_num_threads()} threads"
    )
    columns = "".join(f"{f's to {target}':>12}{'ratio':>8}" for target in TARGETS)
    print(f"{'':<32}{'steps':>7}{'seconds':>9}{'ratio':>8}{'loss':>8}{columns}")
    for name, history in histories.items():
        cells = ""
        for target in TARGETS:
            seconds = seconds_to(history, target)
            cells += f"{'–':>12}{'–':>8}" if seconds is None else f"{seconds:>12.1f}{seconds / whole:>8.3f}"
        last = history.evaluations[-1]["validation"]
        line = f"{name:<32}{history.steps:>7}{history.seconds:>9.1f}{history.seconds / whole:>8.3f}{last:>8.3f}"
        print(line + cells)
    print("\nratio: of the time that nanoGPT's whole recipe took in this run.\n\nvalidation loss by step")
    for name, history in histories.items():
        steps, losses = history.curve("validation")
        print(f"{name:<32}" + "  ".join(f"{s}: {v:.3f}" for s, v in zip(steps, losses, strict=True)))
