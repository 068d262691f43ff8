"""Generating with a GPT-2 of 124M parameters: `transformers` against this package, with and without a cache.

The weights are random and the same for all, so the tokens are nonsense and the work is real. The contestants take
turns, so that whatever else the machine does hits all of them; the median of the rounds counts.
"""

import statistics
import time
from collections.abc import Callable

import torch

from gptlab import gpu, huggingface, sampling
from gptlab.model import GPT

PROMPT, NEW = 16, 96  # tokens
MODEL: dict = {}  # changes to transformers' GPT2Config, whose defaults are the model of 124M parameters
LONG = 512  # where generating without a cache is compared


def bench_generate(rounds: int = 5) -> None:
    """Print tokens per second of each, and the ratios.

    Args:
        rounds: turns of each contestant; their median counts.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    theirs = GPT2LMHeadModel(GPT2Config(**MODEL)).eval()
    ours = huggingface.load_model(theirs).eval()
    chosen = gpu.pick_weights("cpu")
    light = _with_weights(ours, chosen)
    ids = torch.randint(ours.config.vocab_size, (1, PROMPT))
    options = dict(min_new_tokens=NEW, max_new_tokens=NEW, do_sample=False, pad_token_id=50256)
    runs: dict[str, Callable[[], torch.Tensor]] = {
        "transformers, cache, float32": lambda: theirs.generate(ids, attention_mask=torch.ones_like(ids), **options),
        "gptlab, cache, float32": lambda: sampling.generate(ours, ids, NEW, temperature=0),
        f"gptlab, cache, {chosen} weights (picked here)": lambda: sampling.generate(light, ids, NEW, temperature=0),
    }
    with torch.no_grad():
        seconds, texts = take_turns(runs, rounds)
        peer, same, best = runs
        print(f"GPT-2 124M, {PROMPT} tokens of prompt and {NEW} new ones, greedy; {torch.get_num_threads()} threads")
        print(f"{'':<48}{'tokens/s':>9}{'ratio':>8}   (median of {rounds} rounds; ratio: to transformers)")
        for name, spent in seconds.items():
            print(f"{name:<48}{NEW / spent:>9.1f}{seconds[peer] / spent:>8.2f}")
        print(f"tokens equal to those of transformers: {_agree(texts[peer], texts[same])} with float32", end=", ")
        print(f"{_agree(texts[peer], texts[best])} with {chosen} weights (a near tie ends the agreement)")
        full, few = ours(ids)[0], light(ids)[0]
        error = (full - few).norm() / full.norm()
        print(f"logits with {chosen} weights differ from float32's by {error:.2%} (norms)")
        cached, without = _at_length(ours)
        ratio = without / cached
        print(f"\n{LONG} tokens, float32: {cached:.1f} s with the cache, about {without:.1f} s without: {ratio:.1f} ×")
        print(f"(without: one full pass measured at every {LONG // 8} tokens, and the passes between interpolated)")


def take_turns(runs: dict[str, Callable], rounds: int) -> tuple[dict[str, float], dict]:
    """Each run once to warm up and then once in each round, in turns: median seconds, and what each gave.

    Args:
        runs: by name.
        rounds: how often each is timed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    results = {name: run() for name, run in runs.items()}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(spent) for name, spent in seconds.items()}, results


def _with_weights(model: GPT, kind: str) -> GPT:
    import copy

    if kind == "int8":
        return gpu.quantize(model)
    return model if kind == "float32" else copy.deepcopy(model).to(getattr(torch, kind))


def _agree(a: torch.Tensor, b: torch.Tensor) -> str:
    """How many of the new tokens are equal, up to the first that is not."""
    same = (a[0, PROMPT:] == b[0, PROMPT:]).int()
    return f"{int(same.cumprod(0).sum())} of {len(same)}"


def _at_length(model: GPT) -> tuple[float, float]:
    """Seconds to generate LONG tokens with the cache, measured, and without, from full passes at nine lengths."""
    ids = torch.randint(model.config.vocab_size, (1, LONG))
    start = time.perf_counter()
    sampling.generate(model, ids[:, :1], LONG - 1, temperature=0)
    cached = time.perf_counter() - start
    lengths = [1, *range(LONG // 8, LONG + 1, LONG // 8)]
    spent = []
    for length in lengths:
        model(ids[:, :length])
        start = time.perf_counter()
        model(ids[:, :length])
        spent.append(time.perf_counter() - start)
    pairs = zip(lengths[:-1], lengths[1:], spent[:-1], spent[1:], strict=True)
    return cached, sum((b - a) * (s + t) / 2 for a, b, s, t in pairs)
