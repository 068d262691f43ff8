"""`python -m gptlab bench`: measure on this machine what the course claims, side by side with a peer, in one run."""

import importlib
from pathlib import Path
from typing import Literal

from gptlab.entrances import Count, checked


@checked
def bench(
    what: Literal["training", "tokenizers", "generate", "step", "gpu", "page", "finetuning", "reinforcement"],
    /,
    record: Path | None = None,
    seeds: Count | None = None,
    seed: int | None = None,
    part: str | None = None,
    seconds: Count | None = None,
    quick: bool = False,
    everything: bool = False,
) -> None:
    """Measure on this machine, side by side with a peer, in one run; read the ratios, not the seconds.

    Args:
        what: "training": Tiny Shakespeare, nanoGPT's CPU recipe against ours (about six minutes on two cores).
            "tokenizers": training and encoding speed of byte-pair encoders (about a minute).
            "generate": tokens per second of a GPT-2 124M against transformers, with and without a cache (two minutes).
            "step": training steps per second of a GPT-2 124M against transformers (about three minutes).
            "gpu": training and generating against transformers on a GPU; without one, a small model on the CPU.
            "page": tokens per second of a page in a browser (or node) against PyTorch on one core (half a minute).
            "finetuning": requests granted before and after fine-tuning, full and with LoRA (four minutes for a seed).
            "reinforcement": what rewards change: a preference, coherence, requests, DPO, controls (ten minutes a seed).
        record: with "gpu", "finetuning" and "reinforcement", a file to add the figures to, with the device, the date and the commit.
        seeds: with the last two, how many runs; five unless given.
        seconds: with "gpu", the time limit; 150 unless given. What doesn't fit is left out, the least important first.
        quick: with "gpu", a limit of 60 seconds.
        everything: with "gpu", also the recipes and tests that wait for a GPU, in 15 minutes or in `--seconds`; the
            figures go to `--record`, or card.json.
        seed: with the last two, the first seed; 0 unless given. `--seeds 1 --seed 3` runs that one alone.
        part: with the last two, one part alone, such as "LoRA" or "requests"; with --record, the parts of a record can
            be measured one after the other.
    """
    if record is not None and what not in ("gpu", "finetuning", "reinforcement"):
        raise ValueError(f"bench {what} makes no record: leave out --record, or choose `bench gpu`")
    given = (("seeds", seeds), ("seed", seed), ("part", part))
    runs = {name: value for name, value in given if value is not None}
    if runs and what not in ("finetuning", "reinforcement"):
        raise ValueError(f"bench {what} has no seeds: leave out --{next(iter(runs))}, or choose `bench finetuning`")
    asked = (("seconds", seconds), ("quick", quick), ("everything", everything))
    limits = {name: value for name, value in asked if value}
    if limits and what != "gpu":
        raise ValueError(f"bench {what} has no --{next(iter(limits))}: leave it out, or choose `bench gpu`")
    if everything:
        from gptlab.commands.bench.everything import bench_everything

        bench_everything(record or Path("card.json"), Path("runs", "card"), seconds or 900)
        return
    options = runs | limits | ({} if record is None else {"record": record})
    getattr(importlib.import_module(f"gptlab.commands.bench.{what}"), f"bench_{what}")(**options)
