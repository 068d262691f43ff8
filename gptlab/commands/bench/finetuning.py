"""From the committed model of fables to an assistant: requests granted before and after, in full and with LoRA.

Requests are those of `gptlab.corpora.requests` that no training example is like: the phrasing and the combination of
trait and animal are held out. Answers are sampled at temperature 0.5. The bars: the base model under 5 %, the
fine-tuned one 90 % or more in under two minutes, its loss on the base corpus less than 5 % higher, and LoRA at least 95
percent of what full fine-tuning reaches, with under a tenth of the parameters (it may take longer).
"""

import dataclasses
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gptlab import checkpoints, finetuning, lora, training
from gptlab.chat_template import PlainText
from gptlab.commands import environment
from gptlab.corpora import fables, requests
from gptlab.evaluation import StoryEvaluation
from gptlab.model import GPT
from gptlab.runs import records
from gptlab.runs.building import TrainingSetup, build
from gptlab.runs.recipes import RECIPES
from gptlab.schedule import TrainConfig

BARS = {"base": 0.05, "granted": 0.90, "minutes": 2.0, "worse": 0.05, "lora": 0.95, "trained": 0.10}
RECIPE = RECIPES["finetune"]
# LoRA stands beside the matrices of attention, and the rows of tokens that the base model has never read learn too: in
# requests there are about a hundred, and with their random rows frozen nothing else helps. So do norms and the short
# convolutions, which are small. All of it bears a higher learning rate than whole matrices would, and takes more steps.
RANK = 16
LORA = dataclasses.replace(RECIPE.training, steps=2000, optimizer="adamw", learning_rate=2e-2)


class Measured(NamedTuple):
    """What a run of one way came to.

    Attributes:
        granted: the share of held-out requests, of each kind and of "all".
        worse: by how much the loss on the base corpus rose, as a fraction.
        trained: the fraction of the parameters that learned.
        steps: of training.
        seconds: that they took.
    """

    granted: dict[str, float]
    worse: float
    trained: float
    steps: int
    seconds: float


def bench_finetuning(
    seeds: int = 5,
    seed: int = 0,
    part: str | None = None,
    record: Path | None = None,
    asked: int = 280,
    steps: int | None = None,
) -> None:
    """Print one line for each way and seed, and at the end which bars all of them kept.

    Args:
        seeds: how many runs of each way.
        seed: the first.
        part: "full" or "LoRA"; both unless given.
        record: a file to add the figures to, seed by seed.
        asked: how many held-out requests are graded.
        steps: of each run; those of the recipe and of `LORA` unless given.

    Raises:
        ValueError: for another part.
    """
    if part not in (None, *WAYS):
        raise ValueError(f"unknown part {part!r} of bench finetuning: choose {' or '.join(WAYS)}")
    base, tokenizer = checkpoints.committed("fables")
    held_out = requests.make(asked, seed=5, held_out=True)
    known = StoryEvaluation(fables.tell(256, seed=1), tokenizer, tokenizer.end)
    before = known(base)["loss"]
    share = _grade(base, PlainText(tokenizer), held_out)["all"]
    print(f"{asked} held-out requests; the base model grants {share:.1%}; {torch.get_num_threads()} threads")
    kept = {"base": share < BARS["base"]}
    for number in range(seed, seed + seeds):
        found = {}
        for way in WAYS if part is None else [part]:
            model, template, measured = _train(number, way, steps)
            measured = measured._replace(
                granted=_grade(model, template, held_out), worse=known(model)["loss"] / before - 1
            )
            found[way] = measured
            print(f"seed {number}  {way:<5} {_line(measured)}", flush=True)
            if record is not None:
                entry = records.new("bench finetuning", environment.this_command())
                entry.numbers |= {"granted by the base model": share}
                entry.tables[way] = [_row(number, measured)]
                records.add_rows(entry, record)
        for bar, held in _bars(found).items():
            kept[bar] = kept.get(bar, True) and held
    broken = [f"{name} ({BARS[name]:g})" for name, held in kept.items() if not held]
    print("every bar is kept" if not broken else f"bars that are not kept: {', '.join(broken)}")


def _grade(model: GPT, template: Any, held_out: list[requests.Request]) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    return finetuning.granted(model, template, held_out, temperature=0.5, generator=generator)


def _line(measured: Measured) -> str:
    kinds = ", ".join(f"{kind} {grade:.0%}" for kind, grade in measured.granted.items() if kind != "all")
    return (
        f"granted {measured.granted['all']:.1%}  base-corpus loss {measured.worse:+.1%}  {measured.trained:.1%} of the "
        f"parameters  {measured.steps:,} steps, {measured.seconds:.0f} s   ({kinds})"
    )


def _row(seed: int, measured: Measured) -> dict[str, Any]:
    shares = {f"granted, {kind}": round(share, 4) for kind, share in measured.granted.items()}
    others = {"base-corpus loss": round(measured.worse, 4), "trained": round(measured.trained, 4)}
    return {"seed": seed, **shares, **others, "steps": measured.steps, "seconds": round(measured.seconds, 1)}


def _bars(found: dict[str, Measured]) -> dict[str, bool]:
    """Which bars one seed keeps, of those that the ways it was measured with say something about."""
    held = {"worse": all(one.worse < BARS["worse"] for one in found.values())}
    if "full" in found:
        held["granted"] = found["full"].granted["all"] >= BARS["granted"]
        held["minutes"] = found["full"].seconds < 60 * BARS["minutes"]
    if "LoRA" in found:
        held["trained"] = found["LoRA"].trained < BARS["trained"]
    if len(found) == len(WAYS):
        held["lora"] = found["LoRA"].granted["all"] >= BARS["lora"] * found["full"].granted["all"]
    return held


def _train(seed: int, way: str, steps: int | None) -> tuple[GPT, finetuning.ChatTemplate, Measured]:
    """A fine-tuned model, merged; its template, and how it was trained."""
    plan, adapt = WAYS[way]
    plan = dataclasses.replace(plan, evaluate_every=0, steps=steps or plan.steps)
    setup = build(dataclasses.replace(RECIPE, seed=seed, training=plan))
    model = adapt(setup)
    started = time.perf_counter()
    training.train(model, setup.batches, plan, progress=False)
    seconds = time.perf_counter() - started
    trained = lora.count_trainable(model) / setup.model.count_parameters()
    template = finetuning.ChatTemplate(setup.tokenizer)
    return lora.merge(model).eval(), template, Measured({}, 0.0, trained, plan.steps, seconds)


def _all(setup: TrainingSetup) -> GPT:
    return setup.model


def _with_lora(setup: TrainingSetup) -> GPT:
    talks, stories = setup.batches.sources
    unread = lora.unread_tokens(stories.documents, (ids for ids, _ in talks.rows))
    model = lora.add_lora(setup.model, RANK, where=["attention"], tokens=unread)
    for name, parameter in model.named_parameters():
        if "norm" in name or "convolution" in name:
            parameter.requires_grad_(True)
    return model


WAYS: dict[str, tuple[TrainConfig, Any]] = {"full": (RECIPE.training, _all), "LoRA": (LORA, _with_lora)}
