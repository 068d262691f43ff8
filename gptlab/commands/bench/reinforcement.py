"""What rewards change in the committed model of fables: a preference, coherence, requests; and what changes nothing.

Each seed is one run of each part, at the settings of the recipe `reinforce`. All shares are of completions sampled at
temperature 1, but for the part `sparse`. The bars: happy ends rise to 90 % or more, and coherence does not fall; with
coherence as the reward, self-contradicting stories become a quarter fewer; a fine-tuned model that was stopped early
grants more requests; DPO reaches two thirds of the first gain. With shuffled rewards, and where a story is hardly ever
coherent, little moves.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from gptlab import checkpoints, runs, training
from gptlab.commands import environment
from gptlab.model import GPT
from gptlab.preferences import dpo, make_pairs
from gptlab.reinforcement import FlatRewards, grpo, judge
from gptlab.rewards import Product, Shuffled, coherent, happy_end
from gptlab.runs import records
from gptlab.tokenizing import Tokenizer

JUDGED = 512  # completions for each share
PREFERENCE = Product(happy_end, coherent)
SHARES = {"happy": happy_end, "coherent": coherent}
PAIRED = 512  # completions that pairs are made of, for DPO
DPO = training.TrainConfig(steps=60, learning_rate=1e-3, warmup=3, decay_fraction=0.5, evaluate_every=0)
EARLY = 500  # steps of the model that learned to answer: a third of its recipe's
ASKED, GROUP = 128, 8  # answers in a round to requests, and to each of its sixteen requests
RATE = 2.5e-3  # the learning rate there; 1.5e-3, with 96 answers to six requests, gained less than half as much
STUMBLING = 1.9  # a temperature at which one story in twenty is coherent


class Part(NamedTuple):
    """What one run of a part gave.

    Attributes:
        before: shares of the model that it started from.
        after: shares of the model that came out.
        seconds: of training.
        kept: each bar, and whether it was kept.
    """

    before: dict[str, float]
    after: dict[str, float]
    seconds: float
    kept: dict[str, bool]


def bench_reinforcement(seeds: int = 5, seed: int = 0, part: str | None = None, record: Path | None = None) -> None:
    """Print one line for each part and seed, and at the end which bars all of them kept.

    Args:
        seeds: how many runs of each part.
        seed: the first.
        part: one of `PARTS`; all of them unless given.
        record: a file to add the figures to, run by run.

    Raises:
        ValueError: for another part.
    """
    if part not in (None, *PARTS):
        raise ValueError(f"unknown part {part!r} of bench reinforcement: choose from {', '.join(PARTS)}")
    print(f"shares of {JUDGED} sampled completions; {torch.get_num_threads()} threads", flush=True)
    held: dict[str, bool] = {}
    for number in range(seed, seed + seeds):
        for name in PARTS if part is None else [part]:
            found = PARTS[name](number)
            moved = "  ".join(f"{what} {found.before[what]:.1%} → {found.after[what]:.1%}" for what in found.after)
            print(f"seed {number}  {name:<10} {moved}  {found.seconds:.0f} s", flush=True)
            for bar, kept in found.kept.items():
                held[bar] = held.get(bar, True) and kept
            if record is not None:
                _record(record, name, number, found)
    broken = [bar for bar, kept in held.items() if not kept]
    print("every bar is kept" if not broken else f"bars that are not kept: {'; '.join(broken)}")


def _record(path: Path, name: str, seed: int, part: Part) -> None:
    shares = {"before": part.before, "after": part.after}
    row = {f"{what}, {when}": round(share, 4) for when, found in shares.items() for what, share in found.items()}
    entry = records.new("bench reinforcement", environment.this_command())
    entry.numbers |= {"completions of a share": JUDGED}
    entry.tables[name] = [{"seed": seed, **row, "seconds": round(part.seconds, 1)}]
    records.add_rows(entry, path)


def preference(seed: int) -> Part:
    """GRPO on stories that end well and are coherent."""
    before, after, seconds = _learn(PREFERENCE, seed)
    kept = {
        "happy ends 90 %": after["happy"] >= 0.9,
        "coherence not lost": after["coherent"] >= before["coherent"] - _noise(before["coherent"]),
        "a preference in two minutes": seconds < 120,
    }
    return Part(before, after, seconds, kept)


def coherence(seed: int) -> Part:
    """GRPO on coherence."""
    before, after, seconds = _learn(coherent, seed)
    kept = {"a quarter fewer contradictions": 1 - after["coherent"] <= 0.75 * (1 - before["coherent"])}
    return Part(before, after, seconds, kept)


def shuffled(seed: int) -> Part:
    """The control: the same rewards, given to the wrong stories."""
    before, after, seconds = _learn(Shuffled(PREFERENCE, seed), seed)
    return Part(before, after, seconds, {"shuffled rewards change little": abs(after["happy"] - before["happy"]) < 0.2})


def direct(seed: int) -> Part:
    """DPO on the same preference, from pairs of the first model's own stories."""
    model, tokenizer = checkpoints.committed("fables")
    before = _shares(model, tokenizer)
    started = time.perf_counter()
    pairs = make_pairs(model, tokenizer, PREFERENCE, PAIRED, seed=seed)
    dpo(model, pairs, DPO, seed=seed, progress=False)
    seconds = time.perf_counter() - started
    after = _shares(model, tokenizer)
    gain = (after["happy"] - before["happy"]) / (0.98 - before["happy"])  # GRPO comes to about 98 %
    return Part(before, after, seconds, {"DPO two thirds of the gain": gain >= 2 / 3})


def requests_granted(seed: int) -> Part:
    """GRPO on requests, from a model that was fine-tuned for a short while."""
    plain = runs.RECIPES["finetune"]
    early = dataclasses.replace(plain.training, steps=EARLY, evaluate_every=0)
    tuned = runs.build(dataclasses.replace(plain, seed=seed, training=early))
    training.train(tuned.model, tuned.batches, early, progress=False)
    stories = runs.RECIPES["reinforce"]
    plan = dataclasses.replace(stories.training, learning_rate=RATE, evaluate_every=0)
    policy = dataclasses.replace(stories.policy, group_size=GROUP)
    wish = dict(reward="granted", seed=seed, batch_size=ASKED, training=plan, policy=policy)
    recipe = dataclasses.replace(stories, **wish)
    batches, evaluate, objective, _ = runs.reinforcing.build(recipe, tuned.model, tuned.tokenizer, judged=JUDGED)
    before = {"granted": evaluate(tuned.model)["reward"]}
    started = time.perf_counter()
    training.with_progress(training.run(tuned.model, batches, plan, objective=objective), plan.steps, False)
    seconds = time.perf_counter() - started
    after = {"granted": evaluate(tuned.model)["reward"]}
    kept = {
        "more requests granted": after["granted"] > before["granted"] + 0.03,
        "requests in two minutes": seconds < 120,
    }
    return Part(before, after, seconds, kept)


def sparse(seed: int) -> Part:
    """GRPO on coherence at a temperature at which a story is hardly ever coherent: a reward that almost never comes."""
    before, after, seconds = _learn(coherent, seed, temperature=STUMBLING, group_size=8)
    return Part(before, after, seconds, {"a sparse reward moves little": after["coherent"] < before["coherent"] + 0.1})


PARTS: dict[str, Callable[[int], Part]] = {
    "preference": preference,
    "coherence": coherence,
    "shuffled": shuffled,
    "DPO": direct,
    "requests": requests_granted,
    "sparse": sparse,
}


def _learn(reward: Callable, seed: int, **policy: float | int) -> tuple[dict[str, float], dict[str, float], float]:
    """Shares before and after a run at the recipe's settings, but for some of the policy's, and its seconds."""
    model, tokenizer = checkpoints.committed("fables")
    recipe = runs.RECIPES["reinforce"]
    config = dataclasses.replace(recipe.policy, patience=recipe.training.steps, **policy)
    before = _shares(model, tokenizer, config.temperature)
    started = time.perf_counter()
    plan = dataclasses.replace(recipe.training, evaluate_every=0)
    sampling = dict(B=recipe.batch_size, seed=seed, say=lambda text: None)
    with contextlib.suppress(FlatRewards):  # nothing ever differed, so nothing was learned: the shares will say so
        grpo(model, tokenizer, reward, plan, config, progress=False, sampling=sampling)
    seconds = time.perf_counter() - started
    return before, _shares(model, tokenizer, config.temperature), seconds


def _shares(model: GPT, tokenizer: Tokenizer, temperature: float | int = 1.0) -> dict[str, float]:
    found = judge(model, tokenizer, SHARES, JUDGED, temperature=temperature, seed=1_000_000)
    return {name: found[name] for name in SHARES}


def _noise(share: float) -> float:
    """Two standard errors of the difference between two measured shares."""
    return 2 * (2 * share * (1 - share) / JUDGED) ** 0.5
