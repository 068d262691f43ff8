"""`python -m gptlab doctor`: what is here, does it work, and the line that fixes what does not.

Every check is a function that returns findings and takes what it looks at as an argument, so that the tests can show it
any machine.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gptlab.commands import environment
from gptlab.commands.device_checks import check_device, import_torch, nvidia_card
from gptlab.commands.findings import Finding, report
from gptlab.limits import total_memory


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
        lambda: check_device(import_torch(), nvidia_card()),
        lambda: check_data(os.environ.get("GPTLAB_DATA", "")),
        lambda: check_files(_find_published()),
        lambda: check_disk(shutil.disk_usage(Path.cwd()).free),
        lambda: check_memory(total_memory()),
        lambda: check_kernel(kernel_command(), sys.executable),
    ]
    findings = []
    for check in checks:
        try:
            findings += check()
        except Exception as error:  # the other checks still help
            findings.append(Finding("problem", f"a check broke: {type(error).__name__}: {error}", "please report it"))
    return findings


# ---------------------------------------------------------------------------------------------------------------------
# Python and packages


def check_python(version: tuple, oldest: tuple[int, int] = (3, 10)) -> list[Finding]:
    """Python itself.

    Args:
        version: of the Python that runs.
        oldest: that the course supports.

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
    """Each requirement against what is installed.

    Args:
        requirements: as in requirements.txt.
        installed: gives a package's version, or None; by default that of this Python.

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
    """What the package asks for, without its extras: by its own metadata, or the clone's list if it isn't installed."""
    try:
        asked = importlib.metadata.requires("gptlab") or []
    except importlib.metadata.PackageNotFoundError:
        asked = (environment.clone() / "requirements.txt").read_text(encoding="utf-8").splitlines()
    lines = [line.split("#")[0].split(";")[0].strip() for line in asked if "extra ==" not in line]
    return [line for line in lines if line]


# ---------------------------------------------------------------------------------------------------------------------
# Files, space, Jupyter


def check_data(named: str) -> list[Finding]:
    """The folder of a machine without a network.

    Args:
        named: what `GPTLAB_DATA` says, "" if nothing.

    >>> print(*check_data("/no/such/folder"))
    problem  GPTLAB_DATA names '/no/such/folder', and there is no such folder
             -> correct or unset GPTLAB_DATA; to fill a folder: ... -m gptlab fetch --into FOLDER on a machine ...
    """
    if not named:
        return []
    if Path(os.path.expanduser(named)).is_dir():  # `~nobody` stays as it is, and is no folder
        return [Finding("ok", f"GPTLAB_DATA: the folder {named}")]
    fill = f"{environment.python_call()} fetch --into FOLDER on a machine with a network"
    text = f"GPTLAB_DATA names {named!r}, and there is no such folder"
    return [Finding("problem", text, f"correct or unset GPTLAB_DATA; to fill a folder: {fill}")]


def check_files(found: dict[str, str | None]) -> list[Finding]:
    """The published texts and vocabularies.

    Args:
        found: where each of them is, or None.

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
    """Space on the disk for checkpoints and downloads.

    Args:
        free: in bytes.
    """
    text = f"{free / 1e9:.1f} GB free on this disk"
    if free < 2e8:
        return [Finding("problem", text, "free some space: a checkpoint of the course's largest CPU model takes 50 MB")]
    return [Finding("note" if free < 2e9 else "ok", text)]


def check_memory(total: int | None) -> list[Finding]:
    """The machine's memory; a notebook needs up to 2 GB of it.

    Args:
        total: in bytes, None if it is not known.
    """
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
    """Whether a notebook would run in this Python.

    Args:
        command: how Jupyter starts the kernel `python3`, None if it knows none.
        executable: this Python.
    """
    if command is None:
        return [Finding("problem", "Jupyter has no kernel 'python3'", "python -m ipykernel install --sys-prefix")]
    own = re.fullmatch(r"python(3(\.\d+)?)?", command[0])  # a bare name: jupyter_client puts this Python in its place
    if own or Path(command[0]).parent == Path(executable).parent:
        return [Finding("ok", "Jupyter's kernel 'python3' is this Python")]
    text = f"Jupyter's kernel 'python3' is another Python: {command[0]}"
    return [Finding("problem", text, "python -m ipykernel install --sys-prefix, and set JUPYTER_PREFER_ENV_PATH=1")]
