"""One training step of a GPT-2 of 124M parameters: `transformers` with SDPA against this package.

Forward, loss, backward, clipping and AdamW, at B = 2 and T = 256, no dropout, the same weights at the start. The peer's
optimizer is `torch.optim.AdamW` with its defaults, as a user who follows its documentation would write it; a row of
its own gives it the fused one too.
"""

import torch
import torch.nn.functional as F

from gptlab import gpu, huggingface, training
from gptlab.batches import Batch
from gptlab.commands.bench.generate import take_turns

B, T, V = 2, 256, 50257
MODEL: dict = {}  # changes to transformers' GPT2Config, whose defaults are the model of 124M parameters


def bench_step(rounds: int = 5) -> None:
    """Print steps per second of each, and the ratios.

    Args:
        rounds: turns of each contestant; their median counts.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    none = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    ids = torch.randint(V, (B, T + 1), generator=torch.Generator().manual_seed(0))
    ids, targets = ids[:, :-1], ids[:, 1:]
    chosen = gpu.pick_matrix_dtype("cpu")

    def fresh():
        torch.manual_seed(0)
        return GPT2LMHeadModel(GPT2Config(**(none | MODEL), attn_implementation="sdpa"))

    class _Same:
        def batch(self, step: int) -> Batch:
            return Batch(ids, targets)

    def theirs(fused: bool | None, dtype: torch.dtype):
        model = fresh().train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=fused)

        def step() -> float:
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
                logits = model(input_ids=ids, use_cache=False).logits
            loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            return float(loss.detach())

        return step

    def ours(dtype: torch.dtype):
        model = huggingface.load_model(fresh()).train()
        config = training.TrainConfig(
            steps=1_000_000, learning_rate=1e-4, warmup=0, optimizer="adamw", max_grad_norm=1.0
        )
        running = training.run(model, _Same(), config, dtype=dtype)
        return lambda: next(running).losses[-1]

    runs = {
        "transformers, SDPA, float32": theirs(None, torch.float32),
        "transformers, SDPA, float32, fused AdamW": theirs(True, torch.float32),
        "gptlab, float32": ours(torch.float32),
    }
    if chosen is not torch.float32:
        runs[f"gptlab, {str(chosen).removeprefix('torch.')} (picked here)"] = ours(chosen)
    seconds, losses = take_turns(runs, rounds)
    peer = seconds["transformers, SDPA, float32"]
    print(f"GPT-2 124M, training steps at B = {B}, T = {T}; {torch.get_num_threads()} threads")
    print(f"{'':<44}{'steps/s':>9}{'ratio':>8}{'first loss':>12}   (median of {rounds} rounds; to transformers)")
    for name, spent in seconds.items():
        print(f"{name:<44}{1 / spent:>9.3f}{peer / spent:>8.2f}{losses[name]:>12.3f}")
    if chosen is torch.float32:
        print("float32 is what is picked here: this CPU does not multiply training's matrices faster in bfloat16")
