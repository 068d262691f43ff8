"""What `bench gpu` measures besides training: the memory of a step against its account, and generating."""

from collections.abc import Callable, Iterator

import torch

from gptlab import gpu, sampling
from gptlab.batches import Batch
from gptlab.commands.bench import contestants
from gptlab.commands.bench.contestants import Size
from gptlab.commands.bench.generate import take_turns
from gptlab.config import GPTConfig
from gptlab.fast_forms import speed_up
from gptlab.model import GPT
from gptlab.ranks import SingleProcess
from gptlab.schedule import TrainConfig
from gptlab.train_step import TrainStep, activation_checkpoints


def memory(device: torch.device, dtype: torch.dtype, size: Size) -> Iterator[dict]:
    """Seven configurations: the memory of a step as the account predicts it, and as this device has it.

    Args:
        device: where.
        dtype: of the matrix products.
        size: of the model.
    """
    small, large = sorted(size.batches)[:2]
    gpt2 = contestants.models(size, torch.device("cpu"))[1].config
    shape = dict(n_layer=gpt2.n_layer, n_head=gpt2.n_head, n_embd=gpt2.n_embd)
    modern = GPTConfig.modern(gpt2.vocab_size, gpt2.context, **shape)
    cases = [
        ("GPT-2", gpt2, small, "adamw", False), ("GPT-2", gpt2, large, "adamw", False),
        ("GPT-2, faster head", gpt2, large, "adamw", False),
        ("GPT-2, checkpointing", gpt2, large, "adamw", True), ("GPT-2, Muon", gpt2, small, "muon", False),
        ("modern", modern, small, "adamw", False), ("modern, Muon", modern, large, "muon", False),
    ]  # fmt: skip
    for name, config, B, optimizer, checkpointing in cases:
        plan = TrainConfig(steps=3, optimizer=optimizer, gradient_checkpointing=checkpointing, evaluate_every=0)
        model = GPT(config).to(device)
        rows = B * size.T // 4 if "head" in name else None
        if rows is not None:
            speed_up(model, attention=False, multiple=1, rows=rows)
        train_step = TrainStep(model, plan, dtype, SingleProcess())
        ids = torch.randint(config.vocab_size, (B, size.T))

        def step(train_step: TrainStep = train_step, ids: torch.Tensor = ids) -> None:
            train_step.apply(*train_step.gradients(Batch(ids, ids), 0)[:2], 0)

        with activation_checkpoints(model, checkpointing):
            step()  # makes the optimizers' averages
            measured = gpu.measure_memory(step, model, train_step.optimizers).peak
        predicted = gpu.estimate_memory(
            config, B, size.T, dtype, optimizer, checkpointing, device=device.type, rows=rows
        ).total
        row = {"": name, "B": B, "predicted MiB": predicted / 2**20, "measured MiB": measured / 2**20}
        yield row | {"ratio": predicted / measured}


@torch.no_grad()
def generating(device: torch.device, dtype: torch.dtype, size: Size, rounds: int) -> Iterator[dict]:
    """A row for each way of generating.

    Args:
        device: where.
        dtype: of the weights.
        size: of the model, and the tokens to generate.
        rounds: turns of each contestant; their median counts.
    """
    theirs, ours = (model.eval().to(dtype) for model in contestants.models(size, device))
    ids = torch.randint(ours.config.vocab_size, (1, 16), device=device)
    options = dict(attention_mask=torch.ones_like(ids), max_new_tokens=size.new, do_sample=False, pad_token_id=0)

    def timed(run: Callable) -> Callable:
        def whole() -> torch.Tensor:
            text = run()
            gpu.synchronize(device)
            return text

        return whole

    max_length = 16 + size.new
    runs = {
        "transformers": timed(lambda: theirs.generate(ids, **options)),
        "gptlab": timed(lambda: sampling.generate(ours, ids, size.new, temperature=0)),
        "gptlab, graph": timed(lambda: gpu.GraphedDecoder(ours, ids, max_length).generate(size.new)),
    }
    if size.compile:  # it then compiles its step by itself
        runs["transformers, static"] = timed(lambda: theirs.generate(ids, cache_implementation="static", **options))
    for name, run in runs.items():  # each beside the first, so that a row is there as soon as it has been measured
        seconds, texts = take_turns({"transformers": runs["transformers"], name: run}, rounds)
        equal = (texts[name] == texts["transformers"])[0, 16:].int().cumprod(0).sum()
        same = "the same" if equal == size.new else f"other from token {equal + 1} on"
        ratio = seconds["transformers"] / seconds[name]
        yield {"": name, "tokens/s": size.new / seconds[name], "ratio": ratio, "  text": f"  {same}"}
