"""Training and generating at speed against `transformers`: on a GPU at GPT-2's size, on a CPU the same at a small one.

Both models get the same weights, the same precision (autocast), the same `torch.compile` setting, the same fused AdamW
and the same batches, and take turns. MFU is of the matrix rate that this device is measured to have, not of a data
sheet. Where there is no CUDA the table says so: its figures are then those of a small model on a CPU.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from gptlab import gpu, huggingface, sampling, training
from gptlab.batches import Batch
from gptlab.commands import environment
from gptlab.commands.bench.generate import take_turns
from gptlab.gpu import records
from gptlab.model import GPT, GPTConfig

COLUMNS = {  # how a column is written
    "B": "{:>6}", "T": "{:>6}", "tokens/s": "{:>12,.1f}", "ratio": "{:>8.2f}", "MFU": "{:>8.1%}",
    "peak MiB": "{:>10,.0f}", "predicted MiB": "{:>15,.1f}", "measured MiB": "{:>14,.1f}",
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """What is measured on a kind of device: GPT-2's configuration, batch sizes, tokens to generate."""

    model: dict
    T: int
    batches: tuple[int, ...]
    new: int
    compile: bool


SIZES = {
    "cuda": Size(model={}, T=1024, batches=(8, 16, 32, 64), new=256, compile=True),
    "cpu": Size(
        model=dict(vocab_size=4096, n_positions=256, n_embd=256, n_layer=4, n_head=4),
        T=256, batches=(2, 4, 8), new=64, compile=False,
    ),
}  # fmt: skip


def bench_gpu(rounds: int = 5, record: Path | None = None) -> None:
    """Print tokens a second, MFU and memory of training, and tokens a second of generating; keep them in a record."""
    device = gpu.pick_device()
    dtype, size = gpu.pick_dtype(device), SIZES[device.type]
    kept = records.begin("bench gpu", environment.this_command(), device)
    rate = gpu.matrix_rate(device, dtype)
    precision = str(dtype).removeprefix("torch.")
    print(f"{kept.device}, {precision}, compiled: {'yes' if size.compile else 'no'}; "
          f"matrix rate {rate / 1e12:.2f} TFLOP/s, measured")  # fmt: skip
    if device.type != "cuda":
        print("No GPU here: a small model takes the place of GPT-2 124M, and no figure below is one of a GPU.")
    kept.numbers |= {
        f"matrix rate in {precision} (TFLOP/s)": rate / 1e12,
        "memory bandwidth (GB/s)": gpu.bandwidth(device) / 1e9,
        "parameters": _models(size, torch.device("cpu"))[1].count_parameters(),
    }
    parts = {
        f"memory of a step, not compiled, {precision}": lambda: _memory(device, dtype, size),
        f"training, T = {size.T}, {precision}{', compiled' if size.compile else ''}": (
            lambda: [row for B in size.batches for row in _training(device, dtype, size, B, rate, rounds)]
        ),
        f"generating {size.new} tokens with a cache, B = 1, {precision}": (
            lambda: _generating(device, dtype, size, rounds)
        ),
    }
    for name, part in parts.items():
        kept.tables[name] = rows = part()
        print(f"\n{name}")
        _show(rows)
        if record is not None:
            records.keep(kept, record)  # part by part, so that a run that is cut short has not been for nothing
    if record is not None:
        print(f"\nkept in {record}")


def _show(rows: list[dict]) -> None:
    """A table: words to the left, figures as `COLUMNS` has them."""
    widths = {name: len(COLUMNS[name].format(0)) if name in COLUMNS else 24 for name in rows[0]}
    print("".join(f"{name:>{widths[name]}}" if name in COLUMNS else f"{name:<24}" for name in rows[0]))
    for row in rows:
        print("".join(COLUMNS.get(name, "{:<24}").format(value) for name, value in row.items()))


def _models(size: Size, device: torch.device):
    """The peer, and ours with the same weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    none = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0)
    theirs = GPT2LMHeadModel(GPT2Config(**(none | size.model), attn_implementation="sdpa"))
    return theirs.to(device), huggingface.load_model(theirs).to(device)


def _memory(device: torch.device, dtype: torch.dtype, size: Size) -> list[dict]:
    """Six configurations: the memory of a step as the account predicts it, and as this device has it."""
    small, large = size.batches[0], size.batches[1]
    gpt2 = _models(size, torch.device("cpu"))[1].config
    shape = dict(n_layer=gpt2.n_layer, n_head=gpt2.n_head, n_embd=gpt2.n_embd)
    modern = GPTConfig.modern(gpt2.vocab_size, gpt2.context, **shape)
    cases = [
        ("GPT-2", gpt2, small, "adamw", False), ("GPT-2", gpt2, large, "adamw", False),
        ("GPT-2, checkpointing", gpt2, large, "adamw", True), ("GPT-2, Muon", gpt2, small, "muon", False),
        ("modern", modern, small, "adamw", False), ("modern, Muon", modern, large, "muon", False),
    ]  # fmt: skip
    rows = []
    for name, config, B, optimizer, checkpointing in cases:
        plan = training.TrainConfig(steps=3, optimizer=optimizer, checkpointing=checkpointing, evaluate_every=0)
        model = GPT(config).to(device)
        update = training.Update(model, plan, dtype, training.Alone())
        ids = torch.randint(config.vocab_size, (B, size.T))

        def step(update: training.Update = update, ids: torch.Tensor = ids) -> None:
            update.apply(*update.gradients(Batch(ids, ids), 0)[:2], 0)

        with training.activation_checkpoints(model, checkpointing):
            step()  # makes the optimisers' averages
            measured = gpu.measure_memory(step, model, update.optimizers).peak
        predicted = gpu.estimate_memory(config, B, size.T, dtype, optimizer, checkpointing, device=device.type).total
        row = {"": name, "B": B, "predicted MiB": predicted / 2**20, "measured MiB": measured / 2**20}
        rows.append(row | {"ratio": predicted / measured})
    return rows


def _step(model, optimizer, loss_of: Callable, device: torch.device, dtype: torch.dtype) -> Callable[[], None]:
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)

    def step() -> None:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            loss = loss_of()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        gpu.synchronize(device)

    return step


def _training(
    device: torch.device, dtype: torch.dtype, size: Size, B: int, rate: float | int, rounds: int
) -> list[dict]:
    theirs, ours = _models(size, device)
    ids = torch.randint(ours.config.vocab_size, (B, size.T + 1), device=device)
    ids, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    peer, mine = (torch.compile(m) if size.compile else m for m in (theirs.train(), ours.train()))

    def their_loss() -> torch.Tensor:
        logits = peer(input_ids=ids, use_cache=False).logits
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())

    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True) for model in (theirs, ours)]
    steps = {
        "transformers": _step(theirs, optimizers[0], their_loss, device, dtype),
        "gptlab": _step(ours, optimizers[1], lambda: mine(ids, targets)[1], device, dtype),
    }
    memory = {}
    for (name, step), model, optimizer in zip(steps.items(), (theirs, ours), optimizers, strict=True):
        step()  # compiles, and makes the optimiser's averages
        memory[name] = _peak(step, model, optimizer, device)
    seconds, _ = take_turns(steps, rounds)
    rows = []
    for name, spent in seconds.items():
        speed = B * size.T / spent
        row = {"": name, "B": B, "tokens/s": speed, "ratio": seconds["transformers"] / spent}
        rows.append(row | {"MFU": gpu.mfu(speed, ours.config, size.T, rate), "peak MiB": memory[name] / 2**20})
    return rows


def _peak(step: Callable, model, optimizer, device: torch.device) -> int:
    """Bytes at the peak of a step; on CUDA less what the other contestant holds meanwhile."""
    if device.type != "cuda":
        return gpu.measure_memory(step, model, [optimizer]).peak
    states = [t for state in optimizer.state.values() for t in state.values() if torch.is_tensor(t)]
    own = sum(t.nbytes for t in [*model.parameters(), *model.buffers(), *states])
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    step()
    return own + torch.cuda.max_memory_allocated(device) - before


@torch.no_grad()
def _generating(device: torch.device, dtype: torch.dtype, size: Size, rounds: int) -> list[dict]:
    theirs, ours = (model.eval().to(dtype) for model in _models(size, device))
    ids = torch.randint(ours.config.vocab_size, (1, 16), device=device)
    options = dict(min_new_tokens=size.new, max_new_tokens=size.new, do_sample=False, pad_token_id=0)

    def timed(run: Callable) -> Callable:
        def whole() -> torch.Tensor:
            text = run()
            gpu.synchronize(device)
            return text

        return whole

    room = 16 + size.new
    runs = {
        "transformers": timed(lambda: theirs.generate(ids, attention_mask=torch.ones_like(ids), **options)),
        "gptlab": timed(lambda: sampling.generate(ours, ids, size.new, temperature=0)),
        "gptlab, graph": timed(lambda: gpu.GraphedDecoder(ours, ids, room).generate(size.new)),
    }
    seconds, texts = take_turns(runs, rounds)
    rows = []
    for name, spent in seconds.items():
        same = "the same" if torch.equal(texts[name], texts["transformers"]) else "another (a near tie)"
        ratio = seconds["transformers"] / spent
        rows.append({"": name, "tokens/s": size.new / spent, "ratio": ratio, "  text": f"  {same}"})
    return rows
