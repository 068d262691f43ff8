"""Which device, and which precision? First whether it computes correctly, then whether it is fast.

A device that torch lists may still fail its first kernel (a card newer than the installed torch, a broken driver) or,
on MPS, give wrong numbers. So a device is used only after one small batch on it has given what the CPU gives, and a
precision only after it has given nearly that.

>>> device = pick_device("cpu")
>>> device, pick_dtype(device)
(device(type='cpu'), torch.float32)
"""

import platform
from pathlib import Path
from typing import Any

import torch

from gptlab.entrances import guard

# How far one batch may be from the CPU's float32. Rounding alone gives about 2e-3 in bfloat16 and 2e-4 in float16.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-3, torch.bfloat16: 1e-2}


def one_batch(
    device: str | torch.device, torch_module: Any = torch, dtype: torch.dtype = torch.float32
) -> list[torch.Tensor]:
    """A tiny attention, forward and backward: its loss and gradient, on the CPU.

    The numbers come from no random generator, so every device gets the same ones.

    Args:
        device: where it is computed.
        torch_module: torch, or a test's stand-in.
        dtype: the precision.

    >>> loss, gradient = one_batch("cpu")
    >>> gradient.shape
    torch.Size([8, 4])
    """
    x = torch_module.linspace(-1.0, 1.0, 3 * 5 * 8).reshape(3, 5, 8)  # [B, T, C]
    w = torch_module.linspace(1.0, -0.5, 8 * 4).reshape(8, 4)  # [C, hs]
    x = torch_module.as_tensor(x, device=device, dtype=dtype)
    w = torch_module.as_tensor(w, device=device, dtype=dtype).requires_grad_()
    q = x @ w  # [B, T, hs]
    weights = (q @ q.transpose(-2, -1)).softmax(dim=-1)  # [B, T, T]
    loss = (weights @ x).square().mean()
    loss.backward()
    return [loss.detach().cpu().float(), w.grad.cpu().float()]


def what_is_wrong(device: str, torch_module: Any = torch, dtype: torch.dtype = torch.float32) -> str:
    """Why this device cannot be trusted, in a few words; "" if one batch on it agrees with the CPU's float32.

    Args:
        device: what is tested.
        torch_module: torch, or a test's stand-in.
        dtype: the precision that is tested.

    >>> what_is_wrong("cpu")
    ''
    """
    try:
        found = one_batch(device, torch_module, dtype)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        return f"its first kernel failed: {str(error).strip().splitlines()[0] if str(error).strip() else error!r}"
    for name, here, there in zip(("loss", "gradient"), found, one_batch("cpu"), strict=True):
        worst = (here - there).abs().max().item()
        if not worst <= TOLERANCE[dtype]:  # written so that NaN counts as wrong
            return f"its answer is wrong: the {name} of one batch differs from the CPU's by {worst:.2g}"
    return ""


def pick_device(prefer: str | torch.device | None = None, torch_module: Any = torch) -> torch.device:
    """The device to train on: CUDA if its first batch is right, else the CPU. MPS only when you ask for it.

    MPS is never chosen by itself, because some of its kernels have been silently wrong in some releases (see the issues
    labelled "module: mps" and "correctness (silent)" in PyTorch's tracker). If you ask for a device that cannot be had,
    you get the CPU, and one printed line says why.

    Args:
        prefer: "cpu", "cuda", "cuda:1" or "mps"; None to let gptlab choose.
        torch_module: torch, or a test's stand-in.

    >>> pick_device("cpu")
    device(type='cpu')

    Raises:
        ValueError: `prefer` names a kind of device that the course does not use.
    """
    wanted = None if prefer is None else str(prefer)
    kind = "cuda" if wanted is None else wanted.split(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise ValueError(
            f"no device {wanted!r} here: pass 'cpu', 'cuda', 'cuda:1' or 'mps', or nothing to let gptlab pick"
        )
    if kind == "cpu":
        return torch_module.device("cpu")
    there = torch_module.cuda.is_available() if kind == "cuda" else torch_module.backends.mps.is_available()
    problem = what_is_wrong(wanted or kind, torch_module) if there else "torch finds none"
    if not problem:
        return torch_module.device(wanted or kind)
    if there or wanted is not None:
        print(f"Using the CPU, not {wanted or kind}: {problem}. `python -m gptlab doctor` says what helps.")
    return torch_module.device("cpu")


def pick_dtype(device: str | torch.device, torch_module: Any = torch) -> torch.dtype:
    """The precision to train in: bfloat16 on CUDA cards of compute capability 8 or more, float16 on older ones.

    The capability decides, not `torch.cuda.is_bf16_supported()`, which counts emulation and so says True on a T4 (7.5).
    Then one batch in that precision must give nearly what the CPU gives in float32; else the next precision is tried,
    and one printed line says why. float16 has a small range of exponents: it needs `torch.amp.GradScaler` (Micikevicius
    et al. 2018, section 3.2), which `training.run` switches on for it; bfloat16 has float32's range and needs none. On
    the CPU, and on MPS, float32.

    Args:
        device: where the model will train.
        torch_module: torch, or a test's stand-in.

    >>> pick_dtype("cpu")
    torch.float32
    """
    device = torch_module.device(device)
    if device.type != "cuda":
        return torch_module.float32
    major, minor = torch_module.cuda.get_device_capability(device)
    if major < 8 and torch_module.cuda.is_bf16_supported():
        print(
            f"Training in float16 with a gradient scaler on {device}: torch says that bfloat16 is supported there, "
            f"but a card of capability {major}.{minor} (below 8.0) only emulates it, slowly."
        )
    for dtype in (torch_module.bfloat16, torch_module.float16)[major < 8 :]:
        problem = what_is_wrong(str(device), torch_module, dtype)
        if not problem:
            return dtype
        print(f"Not training in {str(dtype).removeprefix('torch.')} on {device}: {problem}.")
    return torch_module.float32


def pick_float32(device: str | torch.device, dtype: torch.dtype, torch_module: Any = torch) -> str:
    """Say how float32 matrices are multiplied on a card, in TF32 or exactly; in words, "" where there is no choice.

    TF32 has float32's range and ten bits of its fraction, and a card of capability 8 or more multiplies in it many
    times faster. Where the products of training are in 16 bits, which have no more bits, the few that are left in
    float32 may be in TF32. A run that asks for float32 gets all of it.

    Args:
        device: where the model will train.
        dtype: of the matrix products.
        torch_module: torch, or a test's stand-in.

    >>> pick_float32("cpu", torch.float32)
    ''
    """
    device = torch_module.device(device)
    if device.type != "cuda" or torch_module.cuda.get_device_capability(device)[0] < 8:
        return ""
    exact = dtype == torch_module.float32
    torch_module.set_float32_matmul_precision("highest" if exact else "high")
    return "float32 products in float32" if exact else "float32 products in TF32"


def synchronize(device: str | torch.device) -> None:
    """Wait until the device has finished its work. A CPU always has; a GPU only queues what it is given.

    >>> synchronize("cpu")
    """
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()


def device_name(device: str | torch.device = "cpu") -> str:
    """The name of a device: the GPU's, or the processor's with the number of threads that torch uses.

    >>> "thread" in device_name("cpu")
    True
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return f"{device.type}, {platform.machine()}"
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' if threads > 1 else ''}"


def peak_memory(device: str | torch.device = "cpu") -> int:
    """The most bytes in use since this process started: on CUDA by tensors on the card, elsewhere by the whole process.

    >>> peak_memory("cpu") > 1_000_000
    True
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows has no such figure
        return 0
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


guard(globals(), unchecked=("pick_device",))  # it names the devices that are there
