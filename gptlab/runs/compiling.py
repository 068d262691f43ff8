"""torch.compile for a run: tried before the first step, and left out where it doesn't work."""

from collections.abc import Callable

import torch

from gptlab import checkpoints
from gptlab.batches import BatchSource
from gptlab.model import GPT
from gptlab.schedule import TrainConfig
from gptlab.train_step import activation_checkpoints, micro_batches


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


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its name if it has none.

    >>> first_line(RuntimeError("no compiler\\nmore")), first_line(AssertionError())
    ('no compiler', 'AssertionError()')
    """
    return (str(error).strip() or repr(error)).splitlines()[0]
