"""Past this machine, on paper: will it fit, how should it be divided, how long will it take?

A plan counts FLOPs (`gptlab.gpu.account`), bytes (`gptlab.gpu.memory`) and messages, and tries every layout of a model
over the GPUs (`gptlab.cluster.layouts`).

How accurate is it? Given what a run achieved (FLOP/s per GPU, or its MFU), the GPU hours of published runs come out
within 15 %: GPT-3, Llama 3.1's 405B, and seven smaller Llamas from one published speed (tests/test_cluster_plan.py has
figures and sources). Where no speed was published, paper cannot give the hours: Llama 3.1's 8B and 70B took 2.4 and
1.4 times as many as with the 405B's MFU. So an MFU that you do not give is a guess.
"""

import math
from dataclasses import dataclass

from gptlab.cluster.gpus import GPU, GPUS, USABLE
from gptlab.cluster.layouts import Layout, layouts, memory_per_gpu, step_time
from gptlab.config import GPTConfig
from gptlab.entrances import Positive, guard
from gptlab.gpu.account import count_parameters, flops_per_token


@dataclass(frozen=True)
class Plan:
    """What `plan` found.

    Attributes:
        config: of the model.
        gpu: the kind of GPU.
        gpus: how many.
        tokens: to train on.
        parameters: of the model.
        flops: of the whole run.
        mfu: the fraction of the peak that the run reaches.
        layout: how the model is divided.
        memory: bytes on each GPU, by line.
        communication: bytes that each GPU sends in a step, by kind.
        step_seconds: of one step.
        exposed: the seconds of a step in which a GPU waits for messages or for the pipeline.
        steps: of the whole run.
        advice: why this layout.
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
        """Hours times GPUs: what you pay for."""
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
    tokens: Positive | None = None,
    batch_tokens: Positive | None = None,
    T: int | None = None,
    mfu: float | None = None,
    optimizer: str = "adamw",
) -> Plan:
    """Memory, messages and time of training `config` on some GPUs, and the layout that should be fastest.

    Args:
        config: of the model.
        gpus: how many.
        gpu: their kind, a name in `GPUS` or your own `GPU`.
        tokens: to train on; 20 per parameter unless given (Hoffmann et al. 2022).
        batch_tokens: in a step; half a million unless given, or a sequence for each GPU where that is more.
        T: tokens in a sequence; the model's context unless given.
        mfu: the fraction of the peak that the run reaches, all waiting included, as papers report it. Unless given, it
            is a guess: `KERNELS` of the peak while a GPU computes, and then the messages and the pipeline's waiting.
        optimizer: "adamw", "muon" or "sgd".

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
        raise ValueError(f"mfu={mfu} is a fraction of the peak: give a number between 0 and 1, e.g. 0.4")
    gpu = GPUS[gpu] if isinstance(gpu, str) else gpu
    T = T or config.context
    tokens = 20 * count_parameters(config) if tokens is None else tokens
    sequences = max(1, round(batch_tokens / T)) if batch_tokens else max(2**19 // T, gpus)
    parameters, flops = count_parameters(config), flops_per_token(config, T)
    seconds, layout, memory, sent, waiting = _fastest(config, gpus, gpu, sequences, T, optimizer)
    guess = flops * sequences * T / (gpus * gpu.peak * seconds)
    if (
        mfu is not None
    ):  # measured: it says how long a step took, and the model of messages only what fraction was waiting
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
            f"at least one; give more batch_tokens, or a number of GPUs with small divisors"
        )
    if best is None:
        raise ValueError(
            f"{count_parameters(config):,} parameters do not fit on {gpus} × {gpu.name}: the best layout needs "
            f"{smallest / 1e9:.0f} GB on each, and {USABLE * gpu.memory / 1e9:.0f} of {gpu.memory / 1e9:.0f} GB can be "
            f"used: take more GPUs, larger ones, or shorter sequences"
        )
    return best


def _advice(layout: Layout, memory: dict[str, int], gpu: GPU) -> str:
    """Why this layout, in a few words."""
    words = [f"{sum(memory.values()) / gpu.memory:.0%} of each GPU's memory is used."]
    if layout.shard:
        words.append("Whole copies would not fit, or leave little memory for the batch: what they share is sharded.")
    if layout.tensor > 1:
        words.append("Matrices are split inside a node, where links are fast.")
    if layout.pipeline > 1:
        words.append("Blocks are divided among the GPUs, because a pipeline sends least.")
    if layout.gradient_checkpointing:
        words.append("Activations are computed again, a third more work, because they would not fit.")
    return " ".join(words)


guard(globals())
