"""Past this machine, on paper: will it fit, how must it be cut up, how long will it take?

A plan counts FLOPs (`account`), bytes (`memory`) and messages, and tries every way to spread a model over the GPUs:

- **data** parallel: each GPU has the whole model and its own part of the batch; gradients are added up once a step;
- **sharded** (ZeRO, Rajbhandari et al. 2020; FSDP, Zhao et al. 2023): of the data-parallel copies each keeps only its
  share of the optimiser (stage 1), of the gradients too (2), of the weights too (3, fetched block by block);
- **tensor** parallel (Shoeybi et al. 2019): each matrix is cut, and activations are added up four times a block;
- **pipeline** parallel (Huang et al. 2019): each GPU has some of the blocks; at the ends of a step some wait.

How true is it? Given what a run achieved (FLOP/s a GPU, or its MFU), the GPU hours of published runs come out within
15 %: GPT-3, Llama 3.1's 405B, and seven smaller Llamas from one published speed (tests/test_gpu_plan.py has figures and
sources). Where no speed was published, hours cannot be had from paper: Llama 3.1's 8B and 70B took 2.4 and
1.4 times as many as with the 405B's MFU. So an MFU that you do not give is a guess.
"""

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from gptlab.gpu.account import count_parameters, flops_per_token
from gptlab.gpu.memory import Memory, estimate_memory
from gptlab.model import GPTConfig


@dataclass(frozen=True)
class GPU:
    """One kind of GPU, as its maker describes it.

    Attributes:
        peak: FLOP/s of dense 16-bit matrix products.  memory: bytes.  bandwidth: bytes/s of that memory.
        link: bytes/s that it can send to others in its node, each way.  network: the same, to other nodes.
        node: GPUs in a node.
    """

    name: str
    peak: float | int
    memory: float | int
    bandwidth: float | int
    link: float | int
    network: float | int
    node: int = 8


# NVIDIA's data sheets (SXM boards, dense 16-bit products): V100 2017, T4 2018, A100 80 GB 2020, H100 2022, H200 2023.
# NVLink's figure counts both ways and is halved here. The network belongs to the node: 400 Gbit/s for eight V100 (the
# machine of GPT-3), 200 Gbit/s for each A100 (Llama 2), 400 for each H100 (Llama 3).
GPUS: dict[str, GPU] = {
    gpu.name: gpu
    for gpu in (
        GPU("T4", peak=65e12, memory=16e9, bandwidth=0.32e12, link=16e9, network=3e9, node=1),
        GPU("V100", peak=125e12, memory=32e9, bandwidth=0.9e12, link=150e9, network=6.25e9),
        GPU("A100", peak=312e12, memory=80e9, bandwidth=2.04e12, link=300e9, network=25e9),
        GPU("H100", peak=989e12, memory=80e9, bandwidth=3.35e12, link=450e9, network=50e9),
        GPU("H200", peak=989e12, memory=141e9, bandwidth=4.8e12, link=450e9, network=50e9),
    )
}
KERNELS = 0.55  # a guess: the part of the peak that one GPU reaches while nothing makes it wait
USABLE = 0.9  # of a GPU's memory; the rest is torch's own, and gaps


@dataclass(frozen=True)
class Layout:
    """How a model lies on the GPUs: data × tensor × pipeline of them.

    `shard` is the stage of ZeRO among the data-parallel copies (0: each keeps all; 3 is FSDP). `sequences` go through
    at once (the micro-batch); with `gradient_checkpointing` activations are computed again.
    """

    data: int = 1
    tensor: int = 1
    pipeline: int = 1
    shard: int = 0
    sequences: int = 1
    gradient_checkpointing: bool = False

    def __str__(self) -> str:
        stages = ("a whole copy each", "optimiser sharded", "optimiser and gradients sharded", "all sharded (FSDP)")
        words = [f"data {self.data} ({stages[self.shard]})"] if self.data > 1 else []
        words += [f"tensor {self.tensor}"] if self.tensor > 1 else []
        words += [f"pipeline {self.pipeline}"] if self.pipeline > 1 else []
        return f"{' × '.join(words) or 'one GPU'}, {self.sequences} sequences at once" + (
            ", checkpointing" if self.gradient_checkpointing else ""
        )


@dataclass(frozen=True)
class Plan:
    """What `plan` found. Bytes are for each GPU; `communication` is bytes that it sends in a step, by kind.

    `step_seconds` is one step; `exposed` the seconds of it in which a GPU waits for messages or for the pipeline;
    `advice` why this layout.
    """

    config: GPTConfig
    gpu: GPU
    gpus: int
    tokens: float | int
    parameters: int
    flops: float | int
    mfu: float
    layout: Layout
    memory: dict[str, int]
    communication: dict[str, float]
    step_seconds: float
    exposed: float
    steps: int
    advice: str

    @property
    def hours(self) -> float:
        """Hours from start to end."""
        return self.flops / (self.gpus * self.gpu.peak * self.mfu) / 3600

    @property
    def gpu_hours(self) -> float:
        """Hours times GPUs: what is paid for."""
        return self.gpus * self.hours

    @property
    def memory_total(self) -> int:
        """Bytes on each GPU."""
        return sum(self.memory.values())

    def __repr__(self) -> str:
        lines = "  ".join(f"{name} {size / 1e9:.1f}" for name, size in self.memory.items() if size)
        sent = "  ".join(f"{kind} {size / 1e9:.2f}" for kind, size in self.communication.items()) or "nothing"
        rate = self.mfu * self.gpu.peak / 1e12
        rows = {
            "model": f"{self.parameters:,} parameters, {self.tokens:.3g} tokens, {self.flops:.3g} FLOPs",
            "time": f"{self.hours / 24:,.1f} days, {self.gpu_hours:,.0f} GPU hours: {self.gpus} × {self.gpu.name}, "
            f"{rate:.0f} TFLOP/s each (MFU {self.mfu:.0%})",
            "layout": f"{self.layout}; {self.steps:,} steps",
            "memory": f"{self.memory_total / 1e9:.1f} of {self.gpu.memory / 1e9:.0f} GB each: {lines}",
            "sent": f"{sent} GB each in a step; it waits {self.exposed / self.step_seconds:.0%} of the time",
            "why": self.advice,
        }
        return "\n".join(f"{name:<8}{text}" for name, text in rows.items())


def plan(
    config: GPTConfig,
    gpus: int = 8,
    gpu: str | GPU = "H100",
    tokens: float | int | None = None,
    batch_tokens: float | int | None = None,
    T: int | None = None,
    mfu: float | None = None,
    optimizer: str = "adamw",
) -> Plan:
    """Memory, messages and time of training `config` on some GPUs, and the layout that should be fastest.

    Args:
        gpus: how many.  gpu: their kind, a name in `GPUS` or your own `GPU`.
        tokens: to train on; 20 for each parameter unless given (Hoffmann et al. 2022).
        batch_tokens: in a step; half a million unless given, or a sequence for each GPU where that is more.
        T: tokens in a sequence; the model's context unless given.
        mfu: the part of the peak that the run reaches, all waiting included, as papers report it. Unless given, it is
            a guess: `KERNELS` of the peak while a GPU computes, and then the messages and the pipeline's waiting.

    >>> found = plan(GPTConfig.gpt2("124M"), gpus=8, gpu="A100", tokens=300e9, T=1024, mfu=0.35)
    >>> round(found.hours / 24, 1), found.layout.data, found.layout.tensor  # nanoGPT's README says four days
    (3.4, 8, 1)

    Raises:
        ValueError: an unknown name of a GPU, an mfu outside (0, 1], a model that does not fit in any layout, or fewer
            sequences in a step than there must be copies of the model.
    """
    if isinstance(gpu, str) and gpu not in GPUS:
        raise ValueError(f"no GPU {gpu!r} is known here: choose one of {list(GPUS)}, or describe yours with GPU(...)")
    if mfu is not None and not 0 < mfu <= 1:
        raise ValueError(f"mfu={mfu} is a part of the peak: give a number between 0 and 1, e.g. 0.4")
    gpu = GPUS[gpu] if isinstance(gpu, str) else gpu
    T = T or config.context
    tokens = 20 * count_parameters(config) if tokens is None else tokens
    sequences = max(1, round(batch_tokens / T)) if batch_tokens else max(2**19 // T, gpus)
    parameters, flops = count_parameters(config), flops_per_token(config, T)
    seconds, layout, memory, sent, waiting = _fastest(config, gpus, gpu, sequences, T, optimizer)
    guess = flops * sequences * T / (gpus * gpu.peak * seconds)
    if mfu is not None:  # measured: it says how long a step took, and the model of messages only what part was waiting
        seconds, waiting = seconds * guess / mfu, waiting * guess / mfu
    return Plan(
        config, gpu, gpus, tokens, parameters, flops * tokens, guess if mfu is None else mfu, layout, memory, sent,
        seconds, waiting, math.ceil(tokens / (sequences * T)), _advice(layout, memory, gpu),
    )  # fmt: skip


def _fastest(
    config: GPTConfig, gpus: int, gpu: GPU, sequences: int, T: int, optimizer: str
) -> tuple[float, Layout, dict[str, int], dict[str, float], float]:
    """The layout whose step is shortest of those that fit: seconds, layout, memory, messages, seconds of waiting."""
    best, smallest = None, math.inf
    for layout in layouts(config, gpus, gpu, sequences):
        memory = memory_per_gpu(config, layout, sequences, T, optimizer)
        smallest = min(smallest, sum(memory.values()))
        if sum(memory.values()) > USABLE * gpu.memory:
            continue
        compute, sent, waiting = step_time(config, layout, sequences, T, gpus, gpu)
        if best is None or compute + waiting < 0.98 * best[0]:  # a gain below 2 % is not worth a harder layout
            best = (compute + waiting, layout, memory, sent, waiting)
    if best is None and smallest == math.inf:
        raise ValueError(
            f"{sequences} sequences of T={T} in a step cannot be shared by {gpus} GPUs: each copy of the model needs "
            f"one at least; give more batch_tokens, or a number of GPUs with small divisors"
        )
    if best is None:
        raise ValueError(
            f"{count_parameters(config):,} parameters do not fit on {gpus} × {gpu.name}: the best layout needs "
            f"{smallest / 1e9:.0f} GB on each, and {USABLE * gpu.memory / 1e9:.0f} of {gpu.memory / 1e9:.0f} GB can be "
            f"used: take more GPUs, larger ones, or shorter sequences"
        )
    return best


def layouts(config: GPTConfig, gpus: int, gpu: GPU, sequences: int) -> Iterator[Layout]:
    """Every layout that uses all GPUs, simple ones and large micro-batches first; tensor parallel within a node."""
    shared_heads = config.n_kv_head or config.n_head
    for tensor, pipeline in itertools.product(_powers(min(gpu.node, shared_heads)), range(1, config.n_layer + 1)):
        data, left = divmod(gpus, tensor * pipeline)
        if left or not data or data > sequences:
            continue
        for shard, checkpointing in itertools.product(range(4 if data > 1 else 1), (False, True)):
            if shard == 3 and pipeline > 1:
                continue  # weights would be fetched again for each micro-batch of the pipeline
            for at_once in reversed(_powers(min(64, sequences // data))):
                yield Layout(data, tensor, pipeline, shard, at_once, checkpointing)


def _powers(most: int) -> list[int]:
    """1, 2, 4, … up to `most`."""
    return [2**i for i in range(most.bit_length())]


def memory_per_gpu(
    config: GPTConfig, layout: Layout, sequences: int, T: int, optimizer: str = "adamw"
) -> dict[str, int]:
    """Bytes on a GPU, by line, in mixed precision: float32 weights, gradients and averages, 16-bit products.

    Sharded from stage 1 on, the float32 weights go with the optimiser, and each GPU keeps a 16-bit copy. A pipeline's
    first stage holds as many micro-batches as there are stages (1F1B; Narayanan et al. 2021), so cutting blocks does
    not lessen its activations; tensor parallelism does, all of them (Korthikanti et al. 2022).
    """
    data, tensor, pipeline, stage = layout.data, layout.tensor, layout.pipeline, layout.shard
    whole = _one_copy(config, layout.sequences, T, optimizer, layout.gradient_checkpointing)
    worst = whole.moments[max(("backward begins", "inside a block"), key=whole.at)]
    fullest = math.ceil(config.n_layer / pipeline) / config.n_layer / tensor  # the part of the blocks that it has
    in_flight = min(pipeline, max(1, sequences // (data * layout.sequences)))
    copies = worst["16-bit copies"] if stage == 0 else whole["weights"] // 2
    memory = {
        "weights": worst["weights"] * fullest / (data if stage >= 1 else 1),
        "gradients": worst["gradients"] * fullest / (data if stage >= 2 else 1),
        "optimiser": worst["optimiser"] * fullest / (data if stage >= 1 else 1),
        "16-bit copies": copies * fullest / (data if stage >= 3 else 1),
        "activations": worst["activations"] * fullest * in_flight,
        "logits": worst["logits"] / tensor,
        "workspace": worst["workspace"] / tensor,
    }
    if stage == 3:
        memory["16-bit copies"] += 2 * copies / config.n_layer / tensor  # the block in use, and the next one
    return {line: round(size) for line, size in memory.items()}


@functools.lru_cache(maxsize=256)
def _one_copy(config: GPTConfig, B: int, T: int, optimizer: str, gradient_checkpointing: bool) -> Memory:
    """The account of a whole model on one GPU, with gradients kept between micro-batches."""
    return estimate_memory(config, B, T, torch.bfloat16, optimizer, gradient_checkpointing, accumulation=2)


def step_time(
    config: GPTConfig, layout: Layout, sequences: int, T: int, gpus: int, gpu: GPU
) -> tuple[float, dict[str, float], float]:
    """Seconds that one step computes, the bytes that each GPU sends in it by kind, and the seconds that it waits.

    In a ring each of n GPUs sends (n - 1) / n of what is gathered or added up, and twice that to do both. Messages of
    data parallelism hide behind the computation of the last micro-batch (of all, where weights are fetched); those of
    tensor parallelism cannot. A pipeline's stages take turns in up to 8 chunks, which shortens the wait at both ends
    of a step (Narayanan et al. 2021). Left out: that every message has a beginning, which makes many small ones slow.
    """
    d, t, p, C, L = layout.data, layout.tensor, layout.pipeline, config.n_embd, config.n_layer
    parameters = count_parameters(config) / (t * p)
    micro = max(1, sequences // (d * layout.sequences))  # micro-batches, one after the other
    again = 4 / 3 if layout.gradient_checkpointing else 1
    compute = flops_per_token(config, T) * sequences * T * again / (gpus * gpu.peak * KERNELS)
    chunks = min(8, L // p)
    stream = 2 * layout.sequences * T * C  # bytes of the residual stream of a micro-batch, in 16 bits
    sent: dict[str, float] = {}
    waiting = compute * (p - 1) / (micro * chunks)
    if d > 1:  # float32 gradients are added up; weights come back in float32, or 16 bits, or twice for each micro-batch
        back = (4, 2, 2, 4 * micro)[layout.shard]
        sent["data"] = (d - 1) / d * (4 + back) * parameters
        hides = compute if layout.shard == 3 else compute * 2 / 3 / micro
        waiting += max(0.0, sent["data"] / (gpu.link if d * t <= gpu.node else gpu.network) - hides)
    if t > 1:
        sums = 6 if layout.gradient_checkpointing else 4  # of activations in a block, forward and backward
        sent["tensor"] = micro * L / p * sums * 2 * (t - 1) / t * stream
        waiting += sent["tensor"] / gpu.link
    if p > 1:
        sent["pipeline"] = micro * chunks * 2 * stream / t
        waiting += sent["pipeline"] / (gpu.link if gpus <= gpu.node else gpu.network) / micro
    return compute, sent, waiting


def _advice(layout: Layout, memory: dict[str, int], gpu: GPU) -> str:
    """Why this layout, in a few words."""
    words = [f"{sum(memory.values()) / gpu.memory:.0%} of each GPU is used."]
    if layout.shard:
        words.append("Whole copies would not fit, or leave little room for the batch: what they share is sharded.")
    if layout.tensor > 1:
        words.append("Matrices are cut inside a node, where links are fast.")
    if layout.pipeline > 1:
        words.append("Blocks are dealt out, for a pipeline sends least.")
    if layout.gradient_checkpointing:
        words.append("Activations are computed again, a third more work, for they would not fit.")
    return " ".join(words)
