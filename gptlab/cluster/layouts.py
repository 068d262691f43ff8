"""How a model is divided over many GPUs, and what a step then takes: memory, messages, time.

- **data** parallel: each GPU has the whole model and its own part of the batch; gradients are summed once a step;
- **sharded** (ZeRO, Rajbhandari et al. 2020; FSDP, Zhao et al. 2023): of the data-parallel copies each holds only its
  part of the optimizer (stage 1), of the gradients too (2), of the weights too (3, fetched block by block);
- **tensor** parallel (Shoeybi et al. 2019): each matrix is split, and activations are summed four times per block;
- **pipeline** parallel (Huang et al. 2019): each GPU has some of the blocks; at the ends of a step some wait.
"""

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch

from gptlab.cluster.gpus import GPU, KERNELS
from gptlab.config import GPTConfig
from gptlab.entrances import Count, Range, guard
from gptlab.gpu.account import count_parameters, flops_per_token
from gptlab.gpu.memory import Memory, estimate_memory


@dataclass(frozen=True)
class Layout:
    """How a model is divided: over data × tensor × pipeline GPUs.

    Attributes:
        data: copies of the model, each with its own part of the batch.
        tensor: GPUs that share each matrix.
        pipeline: GPUs that share the blocks.
        shard: the stage of ZeRO among the data-parallel copies; 0: each holds everything; 3 is FSDP.
        sequences: the micro-batch: sequences that go through a GPU at once.
        gradient_checkpointing: whether activations are computed again in the backward pass.
    """

    data: Count = 1
    tensor: Count = 1
    pipeline: Count = 1
    shard: Annotated[int, Range(least=0, most=3)] = 0
    sequences: Count = 1
    gradient_checkpointing: bool = False

    def __str__(self) -> str:
        stages = ("a whole copy each", "optimizer sharded", "optimizer and gradients sharded", "all sharded (FSDP)")
        words = [f"data {self.data} ({stages[self.shard]})"] if self.data > 1 else []
        words += [f"tensor {self.tensor}"] if self.tensor > 1 else []
        words += [f"pipeline {self.pipeline}"] if self.pipeline > 1 else []
        return f"{' × '.join(words) or 'one GPU'}, {self.sequences} sequences at once" + (
            ", checkpointing" if self.gradient_checkpointing else ""
        )


def layouts(config: GPTConfig, gpus: int, gpu: GPU, sequences: int) -> Iterator[Layout]:
    """Every layout that uses all GPUs, simple ones and large micro-batches first; tensor parallel within a node.

    Args:
        config: of the model.
        gpus: how many.
        gpu: their kind.
        sequences: in a step.
    """
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

    Sharded from stage 1 on, the float32 weights go with the optimizer, and each GPU holds a 16-bit copy. A pipeline's
    first stage holds as many micro-batches as there are stages (1F1B; Narayanan et al. 2021), so dividing the blocks
    does not lessen its activations; tensor parallelism does, all of them (Korthikanti et al. 2022).

    Args:
        config: of the model.
        layout: how it is divided.
        sequences: in a step, on all GPUs together.
        T: tokens in a sequence.
        optimizer: "adamw", "muon" or "sgd".
    """
    data, tensor, pipeline, stage = layout.data, layout.tensor, layout.pipeline, layout.shard
    whole = _one_copy(config, layout.sequences, T, optimizer, layout.gradient_checkpointing)
    worst = whole.moments[max(("backward begins", "inside a block"), key=whole.at)]
    fullest = math.ceil(config.n_layer / pipeline) / config.n_layer / tensor  # the fraction of the blocks that it has
    in_flight = min(pipeline, max(1, sequences // (data * layout.sequences)))
    copies = worst["16-bit copies"] if stage == 0 else whole["weights"] // 2
    memory = {
        "weights": worst["weights"] * fullest / (data if stage >= 1 else 1),
        "gradients": worst["gradients"] * fullest / (data if stage >= 2 else 1),
        "optimizer": worst["optimizer"] * fullest / (data if stage >= 1 else 1),
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
    """The account of a whole model on one GPU, with gradients that wait between micro-batches."""
    return estimate_memory(config, B, T, torch.bfloat16, optimizer, gradient_checkpointing, accumulation=2)


def step_time(
    config: GPTConfig, layout: Layout, sequences: int, T: int, gpus: int, gpu: GPU
) -> tuple[float, dict[str, float], float]:
    """Seconds that one step computes, the bytes that each GPU sends in it by kind, and the seconds that it waits.

    In a ring each of n GPUs sends (n - 1) / n of what is gathered or summed, and twice that to do both. Messages of
    data parallelism hide behind the computation of the last micro-batch (of all, where weights are fetched); those of
    tensor parallelism cannot. A pipeline's stages take turns in up to 8 chunks, which shortens the wait at both ends
    of a step (Narayanan et al. 2021). Left out: each message has a latency, which makes many small ones slow.

    Args:
        config: of the model.
        layout: how it is divided.
        sequences: in a step, on all GPUs together.
        T: tokens in a sequence.
        gpus: how many.
        gpu: their kind.
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
    if d > 1:  # float32 gradients are summed; weights come back in float32, or 16 bits, or twice for each micro-batch
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


guard(globals())
