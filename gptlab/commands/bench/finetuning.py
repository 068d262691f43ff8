"""From the committed model of fables to an assistant: requests granted before and after, in full and with LoRA.

Requests are those of `gptlab.corpora.requests` that no training example is like: the phrasing and the combination of
trait and animal are held out. Answers are sampled at temperature 0.5. The bars: the base model under 5 %, the
fine-tuned one 90 % or more in under two minutes, its loss on the base corpus less than 5 % higher, and LoRA at least 95
percent of what full fine-tuning reaches, with under a tenth of the parameters.
"""

import dataclasses
import time
from collections.abc import Callable

import torch

from gptlab import checkpoints, finetuning, lora, training
from gptlab.chat_template import PlainText
from gptlab.corpora import fables, requests
from gptlab.evaluation import StoryEvaluation
from gptlab.model import GPT
from gptlab.runs.building import build
from gptlab.runs.recipes import RECIPES

BARS = {"base": 0.05, "granted": 0.90, "minutes": 2.0, "worse": 0.05, "lora": 0.95, "trained": 0.10}
RANK = 10  # of LoRA, in every matrix of the blocks


def bench_finetuning(seeds: int = 5, seed: int = 0, asked: int = 280, steps: int | None = None) -> None:
    """Print one line for each way and seed, and at the end which bars all of them kept.

    Args:
        seeds: how many runs of each way.
        seed: the first.
        asked: how many held-out requests are graded.
        steps: of each run; the recipe's unless given.
    """
    base, tokenizer = checkpoints.committed("fables")

    def grade(model: GPT, template) -> dict[str, float]:
        generator = torch.Generator().manual_seed(0)
        return finetuning.granted(model, template, held_out, temperature=0.5, generator=generator)

    held_out = requests.make(asked, seed=5, held_out=True)
    known = StoryEvaluation(fables.tell(256, seed=1), tokenizer, tokenizer.end)
    before = known(base)["loss"]
    share = grade(base, PlainText(tokenizer))["all"]
    print(f"{asked} held-out requests; the base model grants {share:.1%}; {torch.get_num_threads()} threads")
    kept = {
        "base": share < BARS["base"],
        "granted": True,
        "minutes": True,
        "worse": True,
        "lora": True,
        "trained": True,
    }
    for number in range(seed, seed + seeds):
        found = {}
        for way, adapt in (("full", _all), ("LoRA", _with_lora)):
            model, template, minutes, fraction = _train(number, adapt, steps)
            grades = grade(model, template)
            worse = known(model)["loss"] / before - 1
            found[way] = grades["all"]
            kept["worse"] &= worse < BARS["worse"]
            kept["minutes"] &= minutes < BARS["minutes"]
            if way == "LoRA":
                kept["trained"] &= fraction < BARS["trained"]
            kinds = ", ".join(f"{kind} {grade:.0%}" for kind, grade in grades.items() if kind != "all")
            print(
                f"seed {number}  {way:<5} granted {grades['all']:.1%}  base-corpus loss {worse:+.1%}  "
                f"{fraction:.1%} of the parameters  {minutes * 60:.0f} s   ({kinds})",
                flush=True,
            )
        kept["granted"] &= found["full"] >= BARS["granted"]
        kept["lora"] &= found["LoRA"] >= BARS["lora"] * found["full"]
    broken = [f"{name} ({BARS[name]:g})" for name, held in kept.items() if not held]
    print("every bar is kept" if not broken else f"bars that are not kept: {', '.join(broken)}")


def _train(
    seed: int, adapt: Callable[[GPT], GPT], steps: int | None
) -> tuple[GPT, finetuning.ChatTemplate, float, float]:
    """A fine-tuned model, merged; its template, the minutes that it took, and the fraction of parameters trained."""
    recipe = dataclasses.replace(RECIPES["finetune"], seed=seed)
    config = dataclasses.replace(recipe.training, evaluate_every=0, steps=steps or recipe.training.steps)
    setup = build(dataclasses.replace(recipe, training=config))
    model = adapt(setup.model)
    started = time.perf_counter()
    training.train(model, setup.batches, config, progress=False)
    minutes = (time.perf_counter() - started) / 60
    fraction = lora.count_trainable(model) / setup.model.count_parameters()
    return lora.merge(model).eval(), finetuning.ChatTemplate(setup.tokenizer), minutes, fraction


def _all(model: GPT) -> GPT:
    return model


def _with_lora(model: GPT) -> GPT:
    return lora.add_lora(model, rank=RANK, new_tokens=3)
