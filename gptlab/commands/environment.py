"""`start` and `test`: from a fresh clone and a bare Python to JupyterLab, or to the tests, in one command.

Standard library only. There is one rule for where things are installed: into the folder `.venv` of the clone, always,
whichever Python runs the command, even one that is in a virtual environment itself. So no other project's packages are
touched, and a system that refuses a bare `pip install` (PEP 668: Debian 12, Ubuntu 24, Homebrew) is no obstacle.

`.venv/gptlab-stamp.json` is written last. It holds a fingerprint of what was installed: while it fits, nothing is
installed again; after an interruption it is not there, and the same command goes on where it stopped.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gptlab.files import write_whole

FIRST_NOTEBOOK = "notebooks/00_start_here.ipynb"
STAMP = "gptlab-stamp.json"
PIP_LOG = "gptlab-pip.log"
ROOM_NEEDED = 3 * 10**9  # bytes: what a CPU build of torch and JupyterLab take, with their downloads
SETUPTOOLS = "setuptools>=70.1"  # the first that makes an editable install without the package `wheel`

PYTEST_OPTIONS = [
    "--nbval-lax",  # every cell must run; the outputs of those tagged nbval-check-output must be the stored ones
    "--nbval-current-env",
    "--nbval-cell-timeout=180",
    "--ignore=notebooks/text",  # the text twins are the same notebooks again
    "-n2",
    "--dist=loadfile",  # a notebook's cells stay together, in one process
]


class CannotGoOn(Exception):
    """Something only the person at the keyboard can put right; the message says what, and how."""


def main(name: str, arguments: list[str]) -> int:
    """Run `start` or `test`, and return the exit code."""
    try:
        return {"start": start, "test": test}[name](arguments)
    except CannotGoOn as problem:
        print(f"\n{problem}", flush=True)
        return 1
    except KeyboardInterrupt:
        print(f"\nInterrupted. `{python_call()} {name}` goes on where it stopped.", flush=True)
        return 130


def start(arguments: list[str]) -> int:
    """Make the environment ready and open JupyterLab at the first notebook."""
    parser = argparse.ArgumentParser(
        prog=f"{python_call()} start",
        description="Set everything up in .venv (minutes the first time, a second later on) and open JupyterLab.",
        epilog="Any further option goes to JupyterLab as it is, for example --ip=0.0.0.0 on a machine far away.",
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address and open no browser")
    parser.add_argument("--port", type=int, help="the port to serve at (default: 8888, or the next free one)")
    options, further = parser.parse_known_args(arguments)
    root = clone()
    python = prepare(root)
    quiet_jupyter(root / ".venv")
    command = [str(python), "-m", "jupyterlab", *lab_options(root, options.no_browser, options.port), *further]
    print("JupyterLab starts. Stop it with Ctrl-C in this terminal.", flush=True)
    os.chdir(root)
    if os.name == "posix":
        os.execve(command[0], command, child_environment())  # so that a signal to us reaches JupyterLab itself
    return run_to_its_end(command, child_environment())


def test(arguments: list[str]) -> int:
    """Make the environment ready, with the test extra, and run all tests; `arguments` go to pytest."""
    if arguments in (["-h"], ["--help"]):
        call = f"{python_call()} test"
        print(
            f"usage: {call} [arguments of pytest]\n\nSet everything up in .venv and run all tests: the package's, the"
            f" examples in its docstrings, and\nevery notebook from top to bottom, without a network.\n\n"
            f"  {call} -k masking                     only tests whose name has this word\n"
            f"  {call} notebooks/06_attention.ipynb   one notebook\n"
            f"  {call} tests -n0 -x                   no notebooks, one process, stop at the first failure"
        )
        return 0
    root = clone()
    python = prepare(root, extra="test")
    with tempfile.TemporaryDirectory(prefix="gptlab-", ignore_cleanup_errors=True) as sandbox:
        from gptlab.commands.isolation import sandboxed  # here, so that an installed gptlab is no condition

        variables = sandboxed(Path(sandbox), child_environment())
        variables.setdefault("OMP_NUM_THREADS", "1")  # two processes run at once; more threads would get in their way
        return run_to_its_end([str(python), "-m", "pytest", *PYTEST_OPTIONS, *arguments], variables, folder=root)


def python_call() -> str:
    """How one calls this package on this system: `python3 -m gptlab`, and `py -m gptlab` on Windows."""
    return "py -m gptlab" if os.name == "nt" else "python3 -m gptlab"


def this_command() -> str:
    """The command that this process was started with, as a person would type it."""
    return " ".join([python_call(), *map(shlex.quote, sys.argv[1:])])


def clone() -> Path:
    """The folder of the course, two above this file."""
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


# ---------------------------------------------------------------------------------------------------------------------
# The environment


def prepare(root: Path, extra: str = "") -> Path:
    """Bring `.venv` to what requirements.txt and pyproject.toml ask for, and return its interpreter.

    `extra` is "" or "test". What is up to date already costs a second, and needs no network.

    Raises:
        CannotGoOn: no `venv` in this Python, no space, no network, or pip failed for another reason.
    """
    venv = root / ".venv"
    python = python_in(venv)
    extras = sorted({*stamp(venv).get("extras", []), *([extra] if extra else [])})  # `start` keeps what `test` added
    usable = answers(python)
    if usable and stamp(venv) == {"fingerprint": fingerprint(root), "extras": extras}:
        return python
    (venv / STAMP).unlink(missing_ok=True)
    if not usable:
        refuse_without_room(root)
        make(venv)
    install(root, python, extras)
    write_stamp(venv, {"fingerprint": fingerprint(root), "extras": extras})
    return python


def fingerprint(root: Path) -> str:
    """Changes whenever something must be installed again: another requirement, or the clone has moved."""
    parts = [(root / name).read_bytes() for name in ("requirements.txt", "pyproject.toml")]
    return hashlib.sha256(b"\0".join([*parts, str(root).encode()])).hexdigest()


def stamp(venv: Path) -> dict:
    """What the last complete installation left; empty if there was none."""
    try:
        found = json.loads((venv / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_stamp(venv: Path, content: dict) -> None:
    """Write the stamp in one step, so that half of one is never there."""
    write_whole(venv / STAMP, json.dumps(content))


def answers(python: Path) -> bool:
    """Whether this interpreter is there, runs, and is new enough; a system's upgrade can leave one that is not."""
    code = "import sys; sys.exit(sys.version_info < (3, 10))"
    try:
        return subprocess.run([str(python), "-c", code], capture_output=True, env=child_environment()).returncode == 0
    except OSError:
        return False


def make(venv: Path) -> None:
    """Create the virtual environment, or put a broken one right."""
    if problem := without_venv():
        raise CannotGoOn(problem)
    if venv.exists() and any(venv.iterdir()) and not (venv / "pyvenv.cfg").exists():
        raise CannotGoOn(
            f"{venv} is there, and it is no virtual environment. Give that folder another name, then try again."
        )
    print(f"A virtual environment is made in {venv} …", flush=True)
    command = [sys.executable, "-m", "venv", "--clear", str(venv)]
    made = subprocess.run(command, capture_output=True, text=True, env=child_environment())
    if made.returncode:
        said = (made.stdout + made.stderr).strip()
        if "ensurepip" in said:
            raise CannotGoOn(NO_VENV.format(missing="ensurepip", version=sys.version_info))
        raise CannotGoOn(why_it_failed(said, shutil.disk_usage(venv.parent).free) or f"`venv` failed and said:\n{said}")


NO_VENV = (
    "This Python has no `{missing}`, so it cannot make a virtual environment. "
    "On Debian and Ubuntu `sudo apt install python3-venv` brings it "
    "(or `python{version[0]}.{version[1]}-venv`, for exactly this Python); elsewhere install Python anew, complete. "
    "Then run the same command again."
)


def without_venv(find=importlib.util.find_spec, version: tuple = tuple(sys.version_info)) -> str:
    """The sentence for a Python whose distributor left out `venv` or `ensurepip`; "" if both are there."""
    for part in ("venv", "ensurepip"):
        if find(part) is None:
            return NO_VENV.format(missing=part, version=version)
    return ""


def refuse_without_room(root: Path, free: int | None = None) -> None:
    """Stop before an installation that the disk cannot hold."""
    free = shutil.disk_usage(root).free if free is None else free
    if free < ROOM_NEEDED:
        raise CannotGoOn(
            f"{free / 1e9:.1f} GB are free where {root} lies, and the packages need about {ROOM_NEEDED / 1e9:.0f} GB "
            "(three times that with torch for NVIDIA cards). Make room, or move the clone to a larger disk."
        )


def install(root: Path, python: Path, extras: list[str]) -> None:
    """Install requirements.txt, the extras and the package itself (editable: the clone's files are the package)."""
    print("The packages are installed; the first time this takes a few minutes …", flush=True)
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
            said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
            reason = why_it_failed(said, shutil.disk_usage(root).free)
            raise CannotGoOn(reason or f"pip failed after {time.time() - began:.0f} s. Its own words are in {log}.")


def why_it_failed(said: str, free: int) -> str:
    """One sentence for the commonest reasons why an installation fails; "" for all others.

    >>> why_it_failed("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", 0)
    'The disk is full (0.0 GB free). Make room, then run the same command again; what is done stays done.'
    """
    if re.search(r"Errno 28\b|No space left|WinError 112\b|Errno 122\b|quota exceeded", said, re.IGNORECASE):
        return (
            f"The disk is full ({free / 1e9:.1f} GB free). "
            "Make room, then run the same command again; what is done stays done."
        )
    network = (
        r"NewConnectionError|NameResolutionError|Name or service not known|getaddrinfo failed|name resolution"
        r"|ProxyError|ConnectTimeoutError|ReadTimeoutError|Network is unreachable|CERTIFICATE_VERIFY_FAILED"
    )
    if re.search(network, said):
        return (
            "pip could not reach its package source. With a network, run the same command again. Without one: "
            "README.md says, under 'Without a network', how to carry the packages over in a folder `wheels`."
        )
    if found := re.search(r"No matching distribution found for (\S+)", said):
        return (
            f"pip found no build of {found[1]} for Python {sys.version_info[0]}.{sys.version_info[1]} on this system. "
            "Remove .venv and try with another Python (3.11 and 3.12 have the most builds); with PIP_NO_INDEX set, "
            "the folder of PIP_FIND_LINKS must hold it."
        )
    return ""


# ---------------------------------------------------------------------------------------------------------------------
# What runs in it


def child_environment() -> dict[str, str]:
    """This process's variables for one that runs in `.venv`: nothing of another Python leaks in, GPTLAB_… passes."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    variables["PIP_USER"] = "0"  # a `--user` in somebody's pip.conf cannot work inside a virtual environment
    variables.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    variables.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # our kernel `python3`, not one of the same name in the home
    if variables.get("GPTLAB_DATA"):
        variables["GPTLAB_DATA"] = os.path.abspath(variables["GPTLAB_DATA"])  # notebooks run in another folder
    return variables


def lab_options(root: Path, no_browser: bool, port: int | None) -> list[str]:
    """JupyterLab's options: open the first notebook, see the whole clone, ask no server for news or extensions."""
    first = FIRST_NOTEBOOK if (root / FIRST_NOTEBOOK).exists() else "notebooks"
    options = [
        f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url=/lab/tree/{first}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ]
    if no_browser:
        options.append("--no-browser")
    if port is not None:
        options.append(f"--port={port}")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")  # in a container one often is; JupyterLab would refuse to start
    return options


def quiet_jupyter(venv: Path) -> None:
    """Switch off JupyterLab's question about news, and its fetching of them, for this environment only."""
    settings = {
        "@jupyterlab/apputils-extension:notification": {
            "fetchNews": "false",
            "checkForUpdates": False,
            "doNotDisturbMode": False,
        }
    }
    file = venv / "etc" / "jupyter" / "labconfig" / "default_setting_overrides.json"
    if not file.exists():
        write_whole(file, json.dumps(settings, indent=1))


def run_to_its_end(command: list[str], variables: dict[str, str], folder: Path | None = None) -> int:
    """Run a command and return its exit code. Ctrl-C is the command's own affair; a request to end is passed on."""
    process = subprocess.Popen(command, env=variables, cwd=folder)
    previous = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue
    finally:
        signal.signal(signal.SIGTERM, previous)
