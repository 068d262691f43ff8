"""`python -m gptlab doctor`: what is here, does it work, and the line that fixes what does not.

Every check is a function that returns findings and takes what it looks at as an argument,
so that the tests can show it a machine that lies.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gptlab.commands import environment


@dataclass(frozen=True)
class Finding:
    """One line of the report; a problem also says what fixes it."""

    level: Literal["ok", "note", "problem"]
    text: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.level:<8} {self.text}" + (f"\n{'':8} -> {self.fix}" if self.fix else "")


def doctor() -> int:
    """Look at everything that the course needs, and say for each problem what fixes it.

    Checks Python, the packages of requirements.txt, the device (with a small batch computed on it and compared with
    the CPU), the texts and vocabularies, free disk and memory, and the Jupyter kernel. Changes nothing, downloads
    nothing. The exit code is 1 if there is a problem, else 0.
    """
    return report(examine())


def examine() -> list[Finding]:
    """Run every check on this machine; one that breaks is itself a finding."""
    checks: list[Callable[[], list[Finding]]] = [
        lambda: check_python(tuple(sys.version_info)),
        lambda: check_packages(_requirements()),
        lambda: check_device(_import_torch(), nvidia_card()),
        lambda: check_files(_find_published()),
        lambda: check_disk(shutil.disk_usage(Path.cwd()).free),
        lambda: check_memory(total_memory()),
        lambda: check_kernel(kernel_command(), sys.executable),
    ]
    findings = []
    for check in checks:
        try:
            findings += check()
        except Exception as error:  # a doctor who faints helps nobody
            findings.append(Finding("problem", f"a check broke: {type(error).__name__}: {error}", "please report it"))
    return findings


def report(findings: list[Finding]) -> int:
    """Print the findings, and return the exit code: 1 if one of them is a problem.

    >>> report([Finding("ok", "Python 3.12.1")])
    ok       Python 3.12.1
    All is well.
    0
    """
    for finding in findings:
        print(finding)
    problems = sum(finding.level == "problem" for finding in findings)
    print("All is well." if not problems else f"{problems} problem{'s' * (problems > 1)} found.")
    return int(problems > 0)


# ---------------------------------------------------------------------------------------------------------------------
# Python and packages


def check_python(version: tuple, oldest: tuple[int, int] = (3, 10)) -> list[Finding]:
    """Python itself.

    >>> print(*check_python((3, 8, 18)))
    problem  Python 3.8.18 is too old: the course needs 3.10 or newer
             -> install a newer Python, remove .venv, and run `... -m gptlab start` with the new one
    """
    number = ".".join(map(str, version[:3]))
    if version[:2] >= oldest:
        return [Finding("ok", f"Python {number}, {platform.system()} {platform.machine()}")]
    fix = f"install a newer Python, remove .venv, and run `{environment.python_call()} start` with the new one"
    return [Finding("problem", f"Python {number} is too old: the course needs {oldest[0]}.{oldest[1]} or newer", fix)]


def check_packages(requirements: list[str], installed: Callable[[str], str | None] | None = None) -> list[Finding]:
    """Each requirement against what is installed; `installed` gives a package's version, or None.

    >>> print(*check_packages(["tqdm>=4.66,<5"], installed={"tqdm": "4.67.1"}.get))
    ok       tqdm 4.67.1
    """
    from packaging.requirements import Requirement

    findings = []
    for requirement in map(Requirement, requirements):
        name, version = requirement.name, (installed or installed_version)(requirement.name)
        fix = f'{environment.python_call()} start, or: python -m pip install "{requirement}"'
        if version is None:
            findings.append(Finding("problem", f"{name} is not installed", fix))
        elif requirement.specifier.contains(version.split("+")[0], prereleases=True):
            findings.append(Finding("ok", f"{name} {version}"))
        elif _newer_than_tested(requirement.specifier, version):
            findings.append(Finding("note", f"{name} {version} is newer than the tests have seen ({requirement})"))
        else:
            findings.append(Finding("problem", f"{name} {version} is too old: the course needs {requirement}", fix))
    return findings


def _newer_than_tested(specifier: Any, version: str) -> bool:
    from packaging.version import Version

    lower_bounds = [part.version for part in specifier if part.operator in (">=", ">", "~=", "==")]
    return all(Version(version) >= Version(bound.rstrip(".*")) for bound in lower_bounds)


def installed_version(name: str) -> str | None:
    """The version of an installed package, None if it is not there."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _requirements() -> list[str]:
    """What the package asks for, without its extras, as its own metadata says."""
    asked = importlib.metadata.requires("gptlab") or []
    return [line.split(";")[0].strip() for line in asked if "extra ==" not in line]


# ---------------------------------------------------------------------------------------------------------------------
# The device


def _import_torch() -> Any:
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
    """What torch can compute on, each device tried with one batch; `card` is the NVIDIA card that the driver sees."""
    if isinstance(torch_module, Exception):
        said = (str(torch_module).strip() or repr(torch_module)).splitlines()[0]
        fix = (
            "on Windows install the Microsoft Visual C++ Redistributable; else remove .venv and run "
            f"`{environment.python_call()} start` again"
        )
        return [Finding("problem", f"torch cannot be imported: {said}", fix)]
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


# ---------------------------------------------------------------------------------------------------------------------
# Files, room, Jupyter


def check_files(found: dict[str, str | None]) -> list[Finding]:
    """The published texts and vocabularies: `found` gives the place of each, or None.

    >>> print(*check_files({"shakespeare": None}))
    note     shakespeare is not here yet
             -> python -m gptlab fetch shakespeare
    """
    return [
        Finding("ok", f"{name}: {place}")
        if place
        else Finding("note", f"{name} is not here yet", f"python -m gptlab fetch {name}")
        for name, place in found.items()
    ]


def _find_published() -> dict[str, str | None]:
    """Where each published file is on this machine; downloads are forbidden while we look."""
    from gptlab import downloads
    from gptlab.commands import fetch

    before, places = os.environ.get("GPTLAB_OFFLINE"), {}
    os.environ["GPTLAB_OFFLINE"] = "1"
    try:
        for name in fetch.EVERY:
            try:
                found = fetch.get(name)
            except downloads.DownloadError:
                places[name] = None
            else:
                places[name] = f"{found.where}, {found.path}"
    finally:
        if before is None:
            del os.environ["GPTLAB_OFFLINE"]
        else:
            os.environ["GPTLAB_OFFLINE"] = before
    return places


def check_disk(free: int) -> list[Finding]:
    """Room on the disk for checkpoints and downloads, in bytes."""
    text = f"{free / 1e9:.1f} GB free on this disk"
    if free < 2e8:
        return [Finding("problem", text, "make room: a checkpoint of the course's largest CPU model takes 50 MB")]
    return [Finding("note" if free < 2e9 else "ok", text)]


def total_memory() -> int | None:
    """This machine's memory in bytes, None if it cannot be found out."""
    try:
        import psutil
    except ImportError:
        return None
    return psutil.virtual_memory().total


def check_memory(total: int | None) -> list[Finding]:
    """The machine's memory; a notebook needs up to 2 GB of it."""
    if total is None:
        return [Finding("note", "how much memory there is could not be found out")]
    level = "ok" if total > 3.5e9 else "note"
    return [Finding(level, f"{total / 1e9:.1f} GB of memory" + ("" if level == "ok" else "; close other programs"))]


def kernel_command() -> list[str] | None:
    """How Jupyter starts the kernel `python3`, None if it knows none."""
    try:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    except ImportError:
        return None
    try:
        return KernelSpecManager().get_kernel_spec("python3").argv
    except NoSuchKernel:
        return None


def check_kernel(command: list[str] | None, executable: str) -> list[Finding]:
    """Whether a notebook would run in this Python: `command` starts its kernel, `executable` is this Python."""
    if command is None:
        return [Finding("problem", "Jupyter has no kernel 'python3'", "python -m ipykernel install --sys-prefix")]
    own = re.fullmatch(r"python(3(\.\d+)?)?", command[0])  # a bare name: jupyter_client puts this Python in its place
    if own or Path(command[0]).parent == Path(executable).parent:
        return [Finding("ok", "Jupyter's kernel 'python3' is this Python")]
    text = f"Jupyter's kernel 'python3' is another Python: {command[0]}"
    return [Finding("problem", text, "python -m ipykernel install --sys-prefix, and set JUPYTER_PREFER_ENV_PATH=1")]
