"""Training at speed, on the machine that you have and on one that you only plan (lesson 14).

- `devices`: which device, which precision, and does it tell the truth?
- `recipes`: one training program; a recipe names what it trains.
- `speed`: how to time, and the two ceilings of a machine.
- `account`: parameters, FLOPs and bytes, on paper; MFU.
- `memory`, `footprint`: where the memory of a step goes, predicted and measured.
- `planning`: many GPUs, on paper: will it fit, how is it cut up, how long does it take?
- `graphs`: one step of generation, recorded once and replayed.
- `distributed`: several processes that train one model, started by torchrun (import it by name).
- `weights`: fewer bytes a weight, for a model that only talks.
- `records`: figures of other machines, kept with all that one must know to believe them.
- `scaling`: how large, on how many tokens; laws fitted to small runs.

>>> pick_dtype(pick_device("cpu"))
torch.float32
"""

from gptlab.gpu.account import (
    Work,
    count_parameters,
    flops_by_part,
    flops_per_token,
    mfu,
    parameters_by_part,
    work_by_part,
)
from gptlab.gpu.devices import one_batch, pick_device, pick_dtype, synchronize, what_is_wrong
from gptlab.gpu.footprint import MeasuredMemory, activation_bytes, measure_memory
from gptlab.gpu.graphs import GraphedDecoder
from gptlab.gpu.memory import Memory, block_activations, estimate_memory
from gptlab.gpu.planning import GPU, GPUS, Layout, Plan, memory_per_gpu, plan, step_time
from gptlab.gpu.recipes import END, RECIPES, Recipe, TrainConfig, TrainingSetup, build
from gptlab.gpu.records import Record, device_name, recorded
from gptlab.gpu.scaling import ScalingLaw, chinchilla_loss, chinchilla_tokens, fit_scaling_law
from gptlab.gpu.speed import Roofline, bandwidth, matmul_flops, measure
from gptlab.gpu.weights import Int8Linear, pick_matrix_dtype, pick_weights, quantize
from gptlab.training import checkpoint_blocks

__all__ = [
    "END",
    "GPU",
    "GPUS",
    "RECIPES",
    "GraphedDecoder",
    "Int8Linear",
    "Layout",
    "MeasuredMemory",
    "Memory",
    "Plan",
    "Recipe",
    "Record",
    "Roofline",
    "ScalingLaw",
    "TrainConfig",
    "TrainingSetup",
    "Work",
    "activation_bytes",
    "bandwidth",
    "block_activations",
    "build",
    "checkpoint_blocks",
    "chinchilla_loss",
    "chinchilla_tokens",
    "count_parameters",
    "device_name",
    "estimate_memory",
    "fit_scaling_law",
    "flops_by_part",
    "flops_per_token",
    "matmul_flops",
    "measure",
    "measure_memory",
    "memory_per_gpu",
    "mfu",
    "one_batch",
    "parameters_by_part",
    "pick_device",
    "pick_dtype",
    "pick_matrix_dtype",
    "pick_weights",
    "plan",
    "quantize",
    "recorded",
    "step_time",
    "synchronize",
    "what_is_wrong",
    "work_by_part",
]
