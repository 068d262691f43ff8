"""Making the virtual environment of the course and installing into it. Standard library only."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PIP_LOG = "gptlab-pip.log"
SPACE_NEEDED = 3 * 10**9  # bytes: what a CPU build of torch and JupyterLab take, with their downloads
SETUPTOOLS = "setuptools>=70.1"  # the first that makes an editable install without the package `wheel`


class CannotGoOn(Exception):
    """Something only the person at the keyboard can put right; the message says what, and how."""


def python_call() -> str:
    """How one calls this package on this system: `python3 -m gptlab`, and `py -m gptlab` on Windows."""
    return "py -m gptlab" if os.name == "nt" else "python3 -m gptlab"


def clone() -> Path:
    """The folder of the course, two above this file.

    Raises:
        CannotGoOn: the package is installed without it.
    """
    root = Path(__file__).resolve().parents[2]
    missing = [name for name in ("requirements.txt", "pyproject.toml") if not (root / name).is_file()]
    if missing:
        raise CannotGoOn(
            f"{root} has no {' and no '.join(missing)}: `start` and `test` work in the folder of the course. "
            f"Go to the folder that you cloned, and run `{python_call()} start` there."
        )
    return root


def python_in(venv: Path) -> Path:
    """The interpreter of a virtual environment."""
    return venv / "Scripts" / "python.exe" if os.name == "nt" else venv / "bin" / "python"


def child_environment() -> dict[str, str]:
    """This process's variables for one that runs in `.venv`: nothing of another Python leaks in, GPTLAB_… passes."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    variables["PIP_USER"] = "0"  # a `--user` in somebody's pip.conf cannot work inside a virtual environment
    variables.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    variables.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # our kernel `python3`, not one of the same name in the home
    if variables.get("GPTLAB_DATA"):
        variables["GPTLAB_DATA"] = os.path.abspath(variables["GPTLAB_DATA"])  # notebooks run in another folder
    return variables


def works(python: Path) -> bool:
    """Whether this interpreter exists, runs, and is new enough; a system's upgrade can leave a broken one."""
    code = "import sys; sys.exit(sys.version_info < (3, 10))"
    try:
        return subprocess.run([str(python), "-c", code], capture_output=True, env=child_environment()).returncode == 0
    except OSError:
        return False


def create(venv: Path) -> None:
    """Create the virtual environment, or repair a broken one.

    Raises:
        CannotGoOn: the folder holds something else, or this Python cannot make one.
    """
    if problem := missing_venv():
        raise CannotGoOn(problem)
    if venv.exists() and any(venv.iterdir()) and not (venv / "pyvenv.cfg").exists():
        raise CannotGoOn(
            f"{venv} exists and is not a virtual environment. Give that folder another name, then try again."
        )
    print(f"Making a virtual environment in {venv} …", flush=True)
    command = [sys.executable, "-m", "venv", "--clear", str(venv)]
    made = subprocess.run(command, capture_output=True, text=True, env=child_environment())
    if made.returncode:
        output = (made.stdout + made.stderr).strip()
        if "ensurepip" in output:
            raise CannotGoOn(NO_VENV.format(missing="ensurepip", version=sys.version_info))
        reason = why_it_failed(output, shutil.disk_usage(venv.parent).free)
        raise CannotGoOn(reason or f"`venv` failed with this output:\n{output}")


NO_VENV = (
    "This Python has no `{missing}`, so it cannot make a virtual environment. "
    "On Debian and Ubuntu `sudo apt install python3-venv` brings it "
    "(or `python{version[0]}.{version[1]}-venv`, for exactly this Python); elsewhere reinstall Python, with all its "
    "parts. Then run the same command again."
)


def missing_venv(find: Callable = importlib.util.find_spec, version: tuple = tuple(sys.version_info)) -> str:
    """The sentence for a Python whose distributor left out `venv` or `ensurepip`; "" if both are there.

    Args:
        find: how to look for a module.
        version: of this Python.
    """
    for part in ("venv", "ensurepip"):
        if find(part) is None:
            return NO_VENV.format(missing=part, version=version)
    return ""


def require_space(root: Path) -> None:
    """Stop before an installation that the disk cannot hold.

    Raises:
        CannotGoOn: there is less space than the packages need.
    """
    free = shutil.disk_usage(root).free
    if free < SPACE_NEEDED:
        raise CannotGoOn(
            f"{free / 1e9:.1f} GB are free on the disk of {root}, and the packages need about "
            f"{SPACE_NEEDED / 1e9:.0f} GB (three times that with torch for NVIDIA cards). Free some space, or move the "
            "clone to a larger disk."
        )


def install(root: Path, python: Path, extras: list[str]) -> None:
    """Install requirements.txt, the extras and the package itself (editable: the clone's files are the package).

    Args:
        root: the folder of the course.
        python: the interpreter of the virtual environment.
        extras: of pyproject.toml, such as "test".

    Raises:
        CannotGoOn: pip failed, with the reason if it is a common one.
    """
    print("Installing the packages; the first time this takes a few minutes …", flush=True)
    log = root / ".venv" / PIP_LOG
    log.unlink(missing_ok=True)
    variables = child_environment()
    if subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True, env=variables).returncode:
        subprocess.run([str(python), "-m", "ensurepip", "--upgrade"], capture_output=True, env=variables)
    pip = [str(python), "-m", "pip", "install", "--log", str(log)]
    itself = f".[{','.join(extras)}]" if extras else "."
    # Without build isolation pip fetches nothing to build with: one thing less that an offline class would need.
    for what in (["-r", "requirements.txt", SETUPTOOLS], ["--no-build-isolation", "-e", itself]):
        began = time.time()
        if subprocess.run([*pip, *what], cwd=root, env=variables).returncode:
            output = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
            reason = why_it_failed(output, shutil.disk_usage(root).free)
            raise CannotGoOn(reason or f"pip failed after {time.time() - began:.0f} s. Its output is in {log}.")


def why_it_failed(output: str, free: int) -> str:
    """One sentence for the most common reasons why an installation fails; "" for all others.

    Args:
        output: of pip or venv.
        free: bytes on the disk.

    >>> why_it_failed("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", 0)
    'The disk is full (0.0 GB free). Free some space, then run the same command again; what is done stays done.'
    """
    if re.search(r"Errno 28\b|No space left|WinError 112\b|Errno 122\b|quota exceeded", output, re.IGNORECASE):
        return (
            f"The disk is full ({free / 1e9:.1f} GB free). "
            "Free some space, then run the same command again; what is done stays done."
        )
    network = (
        r"NewConnectionError|NameResolutionError|Name or service not known|getaddrinfo failed|name resolution"
        r"|ProxyError|ConnectTimeoutError|ReadTimeoutError|Network is unreachable|CERTIFICATE_VERIFY_FAILED"
    )
    if re.search(network, output):
        return (
            "pip could not reach its package source. With a network, run the same command again. Without one: "
            "README.md says, under 'Without a network', how to carry the packages over in a folder `wheels`."
        )
    if found := re.search(r"No matching distribution found for (\S+)", output):
        return (
            f"pip found no build of {found[1]} for Python {sys.version_info[0]}.{sys.version_info[1]} on this system. "
            "Remove .venv and try with another Python (3.11 and 3.12 have the most builds); with PIP_NO_INDEX set, "
            "the folder of PIP_FIND_LINKS must hold it."
        )
    return ""
