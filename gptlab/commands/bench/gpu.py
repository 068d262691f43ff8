"""Training and generating at speed against `transformers`: on a GPU at GPT-2's size, on a CPU the same at a small one.

Both models get the same weights, the same precision (autocast), the same `torch.compile` setting around model and
loss, the same fused AdamW and the same batches, and take turns. The peer gets a flag that its mask is causal, because
compiled it would build a tensor of it and lose the flash kernel. MFU is relative to the matmul rate measured on this
device, which is lower than that of its data sheet. Where there is no CUDA the table says so: its figures are then those
of a small model on a CPU.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from gptlab import gpu, huggingface, sampling
from gptlab.batches import Batch
from gptlab.commands import environment
from gptlab.commands.bench.generate import take_turns
from gptlab.config import GPTConfig
from gptlab.model import GPT
from gptlab.ranks import SingleProcess
from gptlab.runs import records
from gptlab.schedule import TrainConfig
from gptlab.train_step import TrainStep, activation_checkpoints

COLUMNS = {  # how a column is written
    "B": "{:>6}", "tokens/s": "{:>12,.1f}", "ratio": "{:>8.2f}", "MFU of the measured rate": "{:>26.1%}",
    "peak MiB": "{:>10,.0f}", "predicted MiB": "{:>15,.1f}", "measured MiB": "{:>14,.1f}",
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """What is measured on a kind of device.

    Attributes:
        model: changes to transformers' GPT2Config.
        T: tokens in a sequence.
        batches: batch sizes.
        new: tokens to generate.
        compile: whether to use torch.compile.
        turn: steps in a turn.
    """

    model: dict
    T: int
    batches: tuple[int, ...]
    new: int
    compile: bool
    turn: int = 1


SIZES = {
    "cuda": Size(model={}, T=1024, batches=(8, 16, 32, 64), new=256, compile=True, turn=10),
    "cpu": Size(
        model=dict(vocab_size=4096, n_positions=256, n_embd=256, n_layer=4, n_head=4),
        T=256, batches=(2, 4, 8), new=64, compile=False,
    ),
}  # fmt: skip


def bench_gpu(rounds: int = 5, record: Path | None = None) -> None:
    """Print tokens per second, MFU and memory of training, and tokens per second of generating.

    Args:
        rounds: turns of each contestant; their median counts.
        record: a file to add the figures to.
    """
    import transformers

    device = gpu.pick_device()
    dtype, size = gpu.pick_dtype(device), SIZES[device.type]
    measured = records.new("bench gpu", environment.this_command(), device)
    measured.versions["transformers"] = transformers.__version__
    rate = gpu.matmul_flops(device, dtype)
    precision = str(dtype).removeprefix("torch.")
    print(f"{measured.device}, {precision}, compiled: {'yes' if size.compile else 'no'}; "
          f"matmul rate {rate / 1e12:.2f} TFLOP/s, measured")  # fmt: skip
    if device.type != "cuda":
        print("No GPU here: a small model is measured instead of GPT-2 124M, and no figure below is one of a GPU.")
    measured.numbers |= {
        f"matmul rate in {precision} (TFLOP/s)": rate / 1e12,
        "memory bandwidth (GB/s)": gpu.bandwidth(device) / 1e9,
        "parameters": _models(size, torch.device("cpu"))[1].count_parameters(),
    }
    parts = {
        f"memory of a step, not compiled, {precision}": lambda: _until_full(_memory(device, dtype, size)),
        f"training, T = {size.T}, {precision}{', compiled' if size.compile else ''}": (
            lambda: _until_full(_training(device, dtype, size, B, rate, rounds) for B in size.batches)
        ),
        f"generating {size.new} tokens with a cache, B = 1, {precision}": (
            lambda: _generating(device, dtype, size, rounds)
        ),
    }
    for name, part in parts.items():
        measured.tables[name] = rows = part()
        print(f"\n{name}")
        _show(rows)
        if record is not None:
            records.add(measured, record)  # part by part, so that a run that is cut short was not in vain
    if record is not None:
        print(f"\nrecorded in {record}")


def _until_full(parts: Iterable[list[dict]]) -> list[dict]:
    """All rows, or those before the first that does not fit into the memory of this device."""
    rows: list[dict] = []
    try:
        for part in parts:
            rows += part
    except torch.OutOfMemoryError:
        print(f"after {len(rows)} rows the memory of this device is full")
    return rows


def _show(rows: list[dict]) -> None:
    """Print a table: words on the left, figures as `COLUMNS` formats them."""
    if not rows:
        return
    widths = {name: len(COLUMNS[name].format(0)) if name in COLUMNS else 24 for name in rows[0]}
    print("".join(f"{name:>{widths[name]}}" if name in COLUMNS else f"{name:<24}" for name in rows[0]))
    for row in rows:
        print("".join(COLUMNS.get(name, "{:<24}").format(value) for name, value in row.items()))


def _models(size: Size, device: torch.device):
    """The peer, and ours with the same weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    none = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=None)
    theirs = GPT2LMHeadModel(GPT2Config(**(none | size.model), attn_implementation="sdpa"))
    return theirs.to(device), huggingface.load_model(theirs).to(device)


def _memory(device: torch.device, dtype: torch.dtype, size: Size) -> Iterator[list[dict]]:
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
    for name, config, B, optimizer, checkpointing in cases:
        plan = TrainConfig(steps=3, optimizer=optimizer, gradient_checkpointing=checkpointing, evaluate_every=0)
        model = GPT(config).to(device)
        train_step = TrainStep(model, plan, dtype, SingleProcess())
        ids = torch.randint(config.vocab_size, (B, size.T))

        def step(train_step: TrainStep = train_step, ids: torch.Tensor = ids) -> None:
            train_step.apply(*train_step.gradients(Batch(ids, ids), 0)[:2], 0)

        with activation_checkpoints(model, checkpointing):
            step()  # makes the optimisers' averages
            measured = gpu.measure_memory(step, model, train_step.optimizers).peak
        predicted = gpu.estimate_memory(config, B, size.T, dtype, optimizer, checkpointing, device=device.type).total
        row = {"": name, "B": B, "predicted MiB": predicted / 2**20, "measured MiB": measured / 2**20}
        yield [row | {"ratio": predicted / measured}]


def _step(model, optimizer, loss_of: Callable, device: torch.device, dtype: torch.dtype) -> Callable[..., float]:
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)

    def step(times: int = 1) -> float:
        for _ in range(times):
            with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
                loss = loss_of()
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())  # waits for the device

    return step


def _training(
    device: torch.device, dtype: torch.dtype, size: Size, B: int, rate: float | int, rounds: int
) -> list[dict]:
    torch._dynamo.reset()  # kernels for this B, as in a run that trains with it
    theirs, ours = _models(size, device)
    theirs, ours = _with_causal_flag(theirs.train()), ours.train()
    ids = torch.randint(ours.config.vocab_size, (B, size.T + 1), device=device)
    ids, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    def their_loss() -> torch.Tensor:
        logits = theirs(input_ids=ids, use_cache=False).logits
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())

    def our_loss() -> torch.Tensor:
        return ours(ids, targets)[1]

    losses = {"transformers": their_loss, "gptlab": our_loss}
    if size.compile:
        losses = {name: torch.compile(loss, dynamic=False) for name, loss in losses.items()}
    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True) for model in (theirs, ours)]
    memory, first, steps = {}, [], {}
    for (name, loss), model, optimizer in zip(losses.items(), (theirs, ours), optimizers, strict=True):
        steps[name] = _step(model, optimizer, loss, device, dtype)
        first.append(steps[name]())  # compiles, and makes the optimiser's averages
        memory[name] = _peak(steps[name], model, optimizer, device)
    if abs(first[0] - first[1]) > 0.02:
        raise ArithmeticError(f"the same weights and batch give the losses {first}: this compares unlike things")
    turns = {name: functools.partial(step, size.turn) for name, step in steps.items()}
    seconds, _ = take_turns(turns, rounds)
    rows = []
    for name, spent in seconds.items():
        speed = size.turn * B * size.T / spent
        row = {"": name, "B": B, "tokens/s": speed, "ratio": seconds["transformers"] / spent}
        row["MFU of the measured rate"] = gpu.mfu(speed, ours.config, size.T, rate)
        rows.append(row | {"peak MiB": memory[name] / 2**20})
    return rows


def _with_causal_flag(theirs):
    """The peer with the same SDPA and no mask tensor, which it would make as soon as it is compiled."""
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    AttentionInterface.register("sdpa_is_causal", sdpa_attention_forward)
    theirs.set_attn_implementation("sdpa_is_causal")
    return theirs


def _peak(step: Callable, model, optimizer, device: torch.device) -> int:
    """Bytes at the peak of a step; on CUDA without what the other contestant holds meanwhile."""
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
    seconds, texts = take_turns(runs, rounds)
    rows = []
    for name, spent in seconds.items():
        equal = (texts[name] == texts["transformers"])[0, 16:].int().cumprod(0).sum()
        same = "the same" if equal == size.new else f"other from token {equal + 1} on"
        ratio = seconds["transformers"] / spent
        rows.append({"": name, "tokens/s": size.new / spent, "ratio": ratio, "  text": f"  {same}"})
    return rows
