"""The doctor's checks of torch and of the devices that it can compute on."""

import shutil
import subprocess
from typing import Any

from gptlab.commands import environment
from gptlab.commands.findings import Finding


def import_torch() -> Any:
    """torch, or the error that its import gave."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a library of the wrong kind (Windows: WinError 126)
        return error
    return torch


def nvidia_card() -> str:
    """The name of the first NVIDIA card that `nvidia-smi` lists, "" if there is none."""
    if not (program := shutil.which("nvidia-smi")):
        return ""
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip().splitlines()[0].strip() if asked.returncode == 0 and asked.stdout.strip() else ""


_OTHER_BUILD = (
    "python -m pip install --force-reinstall torch, with the options that the selector on pytorch.org gives for {what}"
)


def check_device(torch_module: Any, card: str = "") -> list[Finding]:
    """What torch can compute on; each device is tried with one batch.

    Args:
        torch_module: torch, or the error that its import gave.
        card: the NVIDIA card that the driver sees, "" if none.
    """
    if isinstance(torch_module, Exception):
        reason = (str(torch_module).strip() or repr(torch_module)).splitlines()[0]
        fix = (
            "on Windows install the Microsoft Visual C++ Redistributable; else remove .venv and run "
            f"`{environment.python_call()} start` again"
        )
        return [Finding("problem", f"torch cannot be imported: {reason}", fix)]
    from gptlab import gpu

    version, findings = torch_module.__version__, []
    if problem := gpu.what_is_wrong("cpu", torch_module):
        fix = "remove .venv and run `start` again: this torch is not for this processor"
        findings.append(Finding("problem", f"the CPU fails with torch {version}: {problem}", fix))
    else:
        findings.append(Finding("ok", f"CPU: a batch forward and backward, {torch_module.get_num_threads()} threads"))

    built_for = getattr(torch_module.version, "cuda", None) or getattr(torch_module.version, "hip", None)
    if torch_module.cuda.is_available():
        findings += _check_cuda(torch_module, built_for)
    elif card and not built_for:
        fix = _OTHER_BUILD.format(what="your CUDA version")
        findings.append(Finding("problem", f"{card} is here, but torch {version} is a build for CPUs only", fix))
    elif card:
        text = f"{card} is here, and torch {version} (CUDA {built_for}) cannot reach it: the driver is older than that"
        fix = f"update the NVIDIA driver, or {_OTHER_BUILD.format(what='an older CUDA version')}"
        findings.append(Finding("problem", text, fix))
    else:
        findings.append(Finding("note", "no CUDA device; every notebook has a size for the CPU"))
    if torch_module.backends.mps.is_available():
        findings.append(_check_mps(torch_module))
    return findings


def _check_cuda(torch_module: Any, built_for: str | None) -> list[Finding]:
    from gptlab import gpu

    findings = []
    for number in range(torch_module.cuda.device_count()):
        device, name = f"cuda:{number}", torch_module.cuda.get_device_name(number)
        major, minor = torch_module.cuda.get_device_capability(number)
        if problem := gpu.what_is_wrong(device, torch_module):
            text = f"{device} {name} (capability {major}.{minor}) fails with torch for CUDA {built_for}: {problem}"
            fix = _OTHER_BUILD.format(what="a CUDA version that knows this card") + "; until then the CPU is used"
            findings.append(Finding("problem", text, fix))
        else:
            dtype = str(gpu.pick_dtype(device, torch_module)).removeprefix("torch.")
            text = f"{device} {name} (capability {major}.{minor}): a batch agrees with the CPU; trains in {dtype}"
            findings.append(Finding("ok", text))
    return findings


def _check_mps(torch_module: Any) -> Finding:
    from gptlab import gpu

    if problem := gpu.what_is_wrong("mps", torch_module):
        return Finding("note", f"MPS is here and is not used: {problem}")
    return Finding("ok", 'MPS: a batch agrees with the CPU; used when you ask for it: pick_device("mps")')
