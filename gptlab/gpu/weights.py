"""Weights in fewer bytes. Generating one token reads every weight once, so the bytes of the weights set its speed.

Each row of a matrix is stored as integers from -127 to 127 and one scale (symmetric, per output channel, as in
LLM.int8(), Dettmers et al. 2022, without its outliers): a quarter of float32's bytes. Training needs the full weights;
this is for inference. The logits move a little: `python -m gptlab bench generate` prints how much.
"""

import copy
import functools
import time

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gptlab.entrances import guard
from gptlab.gpu.devices import pick_dtype
from gptlab.model import GPT

FEW = 16  # rows up to which reading int8 pays on a CPU; with more, the arithmetic costs more than the reading


class Int8Linear(nn.Module):
    """A linear layer that stores its weights as int8 with a scale for each output.

    >>> layer = nn.Linear(8, 3)
    >>> x = torch.ones(2, 8)
    >>> bool((Int8Linear(layer)(x) - layer(x)).abs().max() < 0.05)
    True
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight = linear.weight.detach().float()  # [out, in]
        scale = weight.abs().amax(dim=1).clamp(min=1e-12) / 127  # [out]
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("short_scale", scale.bfloat16(), persistent=False)
        self.bias = linear.bias

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        rows = x.reshape(-1, x.shape[-1])  # [rows, in]
        # The kernel reads 16 numbers at a time, and past the end of a row of another length.
        if len(rows) <= FEW and x.shape[-1] % 16 == 0 and x.device.type == "cpu" and has_int8():
            out = torch._weight_int8pack_mm(rows.bfloat16(), self.weight, self.short_scale).to(x.dtype)
        else:
            out = F.linear(rows, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        out = out if self.bias is None else out + self.bias
        return out.reshape(*x.shape[:-1], -1)  # [rows, out] -> [*batch, out]


@functools.cache
def has_int8() -> bool:
    """Whether this torch can multiply by int8 weights on the CPU without unpacking them first."""
    try:
        x, weight = torch.ones(1, 32, dtype=torch.bfloat16), torch.ones(32, 32, dtype=torch.int8)
        found = torch._weight_int8pack_mm(x, weight, torch.ones(32, dtype=torch.bfloat16))
        return bool((found == 32).all())
    except (AttributeError, RuntimeError, NotImplementedError):
        return False


def quantize(model: GPT) -> GPT:
    """A copy of the model whose linear layers store int8 weights: for generating, on a CPU.

    The model itself is unchanged, and so are embedding tables, norms and biases, which the copy shares. A head that is
    tied to the table gets an int8 copy of its own.

    >>> from gptlab.config import GPTConfig
    >>> model = GPT(GPTConfig(vocab_size=50, context=8, n_layer=1, n_head=2, n_embd=12)).eval()
    >>> ids = torch.tensor([[3, 1, 4]])
    >>> bool((quantize(model)(ids)[0] - model(ids)[0]).abs().max() < 0.05)
    True
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    shared = {id(parameter): parameter for parameter in model.parameters()}
    made = copy.deepcopy(model, {**shared, **{id(layer): Int8Linear(layer) for layer in layers}})
    return made.eval()


@functools.cache
def pick_weights(device: str | torch.device = "cpu") -> str:
    """The type of weights with which this machine generates fastest: "float32", "bfloat16" or "int8".

    On a CPU it is measured: one token through a few matrices, together larger than a cache. A GPU gets what
    `pick_dtype` says.

    >>> pick_weights("cpu") in ("float32", "bfloat16", "int8")
    True
    """
    device = torch.device(device)
    if device.type != "cpu":
        return str(pick_dtype(device)).removeprefix("torch.")
    layers = [nn.Linear(1024, 4096, bias=False).requires_grad_(False) for _ in range(8)]  # 128 MiB in float32
    x = torch.ones(1, 1024)
    candidates = {"float32": (layers, x), "bfloat16": ([copy.deepcopy(a).bfloat16() for a in layers], x.bfloat16())}
    if has_int8():
        candidates["int8"] = ([Int8Linear(a) for a in layers], x)
    best: dict[str, float] = {}
    for _ in range(3):
        for name, (matrices, row) in candidates.items():
            start = time.perf_counter()
            for matrix in matrices:
                matrix(row)
            best[name] = min(best.get(name, torch.inf), time.perf_counter() - start)
    return min(best, key=lambda name: best[name])


@functools.cache
def pick_matrix_dtype(device: str | torch.device = "cpu", rows: int = 512) -> torch.dtype:
    """The precision in which this machine multiplies the matrices of training fastest: bfloat16 only where it pays.

    Many CPUs take bfloat16 and are slower with it; those with matrix units for it (AMX) are several times faster. So
    on a CPU a product of a GPT-2 layer's size is measured in both; a GPU gets what `pick_dtype` says.

    Args:
        device: where it trains.
        rows: tokens in a batch.

    >>> pick_matrix_dtype("cpu") in (torch.float32, torch.bfloat16)
    True
    """
    device = torch.device(device)
    if device.type != "cpu":
        return pick_dtype(device)
    x, weight = torch.ones(rows, 768), torch.ones(3072, 768)
    seconds = {}
    for _ in range(3):
        for dtype in (torch.float32, torch.bfloat16):
            a, b = x.to(dtype), weight.to(dtype)
            start = time.perf_counter()
            F.linear(a, b)
            seconds[dtype] = min(seconds.get(dtype, torch.inf), time.perf_counter() - start)
    # Casting costs too: a gain of a few per cent in the product is lost in a step.
    return torch.bfloat16 if seconds[torch.bfloat16] < 0.75 * seconds[torch.float32] else torch.float32


guard(globals())
