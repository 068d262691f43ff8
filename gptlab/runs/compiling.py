"""torch.compile for a run: tried before the first step, and left out where it doesn't work.

Two things are compiled: the model with its loss, whose backward pass comes with it, and what Muon does to a stack of
matrices. On CUDA all of a step, from the batch to the updated weights, is then recorded as one graph
(`gptlab.gpu.Replayed`), clipping and AdamW included; that is what `mode="reduce-overhead"` does to one function,
and a step is several. So that graph can't be had where shapes change or blocks are recomputed.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch

from gptlab import checkpoints
from gptlab.batches import BatchSource
from gptlab.model import GPT
from gptlab.optimizers import Muon, orthogonalize
from gptlab.schedule import TrainConfig
from gptlab.train_step import TrainStep, activation_checkpoints, micro_batches


def compile_model(
    model: GPT, batches: BatchSource, config: TrainConfig, dtype: torch.dtype, say: Callable[[str], None] = print
) -> bool:
    """Compile a model in place, and try it as the first step will use it; whether that worked.

    If it doesn't, the model is left as it was. Compiling happens here so that it is not timed as part of the run, and
    the memory that it took isn't counted.

    Args:
        model: what is compiled.
        batches: of this process.
        config: how it will be trained.
        dtype: of the matrix products.
        say: where to report that it doesn't work.
    """
    states, compiled = checkpoints.generator_states(model.device), True
    part = micro_batches(batches.batch(0), config.gradient_accumulation)[0]
    autocast = torch.autocast(model.device.type, dtype=dtype, enabled=dtype != torch.float32)
    model.compile()
    # torch warns of float32 products that are not in TF32; `devices.pick_float32` has chosen, and said so.
    warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")
    try:
        with activation_checkpoints(model, config.gradient_checkpointing):
            with autocast:
                loss = model(*(tensor.to(model.device) for tensor in part))[1]
            loss.backward()
            del loss
    except Exception as error:
        model._compiled_call_impl, compiled = None, False
        say(f"torch.compile does not work here, so the run continues without it ({first_line(error)})")
    model.zero_grad(set_to_none=True)
    if model.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(model.device)
    checkpoints.restore_generators(states, model.device)  # the dropout of the run is that of one that never tried
    return compiled


def compile_update(step: TrainStep, say: Callable[[str], None] = print, backend: Any = "inductor") -> None:
    """Compile what Muon does to a stack of matrices, and try it on the shapes that a step has.

    If it doesn't work, Muon goes on as it was.

    Args:
        step: whose optimizers are compiled; one without Muon has nothing to compile, AdamW is one kernel already.
        say: where to report that it doesn't work.
        backend: of torch.compile.
    """
    for muon in (each for each in step.optimizers if isinstance(each, Muon)):
        compiled = torch.compile(orthogonalize, dynamic=False, backend=backend)
        shapes: dict[tuple[int, int], int] = {}
        for matrix in (matrix for group in muon.param_groups for matrix in group["params"]):
            lying = (min(matrix.shape), max(matrix.shape))
            shapes[lying] = shapes.get(lying, 0) + 1
        try:
            for shape, count in shapes.items():
                stack = matrix.detach().new_zeros((count, *shape))
                with torch.no_grad():
                    compiled(stack.bfloat16() if stack.is_cuda else stack)
        except Exception as error:
            say(f"torch.compile does not work for Muon here, so it continues as it is ({first_line(error)})")
        else:
            muon.orthogonalize = compiled


def ways(compiled: bool, config: TrainConfig, device: torch.device, say: Callable[[str], None] = print) -> dict:
    """What `training.run` is told of a compiled run: how its steps are prepared, and how they are recorded.

    Args:
        compiled: whether the model was.
        config: of the run.
        device: only CUDA's steps are recorded, and only where no block is computed again in the backward pass.
        say: where to report what doesn't work.
    """
    if not compiled or device.type != "cuda":
        return {}
    from gptlab.gpu.graphs import Replayed

    record = None if config.gradient_checkpointing else functools.partial(Replayed, say=say)
    return {"prepare": functools.partial(compile_update, say=say), "record": record}


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its name if it has none.

    >>> first_line(RuntimeError("no compiler\\nmore")), first_line(AssertionError())
    ('no compiler', 'AssertionError()')
    """
    return (str(error).strip() or repr(error)).splitlines()[0]
