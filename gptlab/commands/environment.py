"""`start` and `test`: from a fresh clone and a bare Python to JupyterLab, or to the tests, in one command.

Standard library only. There is one rule for where things are installed: into the folder `.venv` of the clone, always,
whichever Python runs the command, even one that is in a virtual environment itself. So no other project's packages are
touched, and a system that refuses a bare `pip install` (PEP 668: Debian 12, Ubuntu 24, Homebrew) is not in the way.

`.venv/gptlab-stamp.json` is written last. It holds a fingerprint of what was installed: while it matches, nothing is
installed again; after an interruption it is missing, and the same command continues where it stopped.
"""

import argparse
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from gptlab.commands import working_copy
from gptlab.commands.installation import (
    CannotGoOn,
    child_environment,
    clone,
    create,
    install,
    python_call,
    python_in,
    require_space,
    use_release,
    works,
)
from gptlab.commands.isolation import sandboxed
from gptlab.files import WriteError, write_whole

STAMP = "gptlab-stamp.json"
CPU = "on Linux, install the small torch, for the CPU only"

PYTEST_OPTIONS = [
    "--nbval-lax",  # every cell must run; the outputs of those tagged nbval-check-output must be the stored ones
    "--nbval-current-env",
    "--nbval-cell-timeout=660",
    f"--nbval-sanitize-with={Path(__file__).resolve().parents[2] / 'tests' / 'nbval.cfg'}",
    "--ignore=notebooks/text",  # the text twins are the same notebooks again
    "--dist=loadfile",  # a notebook's cells stay together, in one process
    "--no-loadscope-reorder",  # tests/conftest.py has put the files that take longest first
]


def main(name: str, arguments: list[str]) -> int:
    """Run a command, and return the exit code.

    Args:
        name: "start" or "test".
        arguments: its options, as typed.
    """
    try:
        return {"start": start, "test": test}[name](arguments)
    except (CannotGoOn, WriteError) as problem:
        print(f"\n{problem}", flush=True)
        return 1
    except KeyboardInterrupt:
        call = " ".join([python_call(), name, *["--cpu"] * ("--cpu" in arguments)])
        print(f"\nInterrupted. `{call}` continues where it stopped.", flush=True)
        return 130


def start(arguments: list[str]) -> int:
    """Make the environment ready and open JupyterLab at the first notebook."""
    parser = argparse.ArgumentParser(
        prog=f"{python_call()} start",
        description="Set everything up in .venv (minutes the first time, a second later on) and open JupyterLab.",
        epilog="Any other option is passed on to JupyterLab, for example --ip=0.0.0.0 on a remote machine.",
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address, without opening a browser")
    parser.add_argument("--cpu", action="store_true", help=CPU)
    parser.add_argument("--port", type=int, help="the port to serve at (default: 8888, or the next free one)")
    options, further = parser.parse_known_args(arguments)
    root = clone()
    use_release(root)
    python = prepare(root, cpu=options.cpu)
    quiet_jupyter(root / ".venv")
    first = first_notebook(root)
    command = [str(python), "-m", "jupyterlab", *lab_options(root, first, options.no_browser, options.port), *further]
    print("Starting JupyterLab. Stop it with Ctrl-C in this terminal.", flush=True)
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
            f"  {call} --cpu                          {CPU}\n"
            f"  {call} -k masking                     only tests whose name has this word\n"
            f"  {call} notebooks/06_attention.ipynb   one notebook\n"
            f"  {call} tests -n0 -x                   no notebooks, one process, stop at the first failure"
        )
        return 0
    root = clone()
    use_release(root)
    python = prepare(root, extra="test", cpu="--cpu" in arguments)
    arguments = [word for word in arguments if word != "--cpu"]
    with tempfile.TemporaryDirectory(prefix="gptlab-", ignore_cleanup_errors=True) as sandbox:
        variables = sandboxed(Path(sandbox), child_environment())
        variables.setdefault("OMP_NUM_THREADS", "1")  # a process for each core; more threads would get in their way
        options = [*PYTEST_OPTIONS, f"-n{processes()}"]
        return run_to_its_end([str(python), "-m", "pytest", *options, *arguments], variables, folder=root)


def processes() -> int:
    """How many test processes run at once: one for each core, and no more than an ordinary memory holds."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(usable, 1), 8)


def this_command() -> str:
    """The command that this process was started with, as a person would type it."""
    return " ".join([python_call(), *map(shlex.quote, sys.argv[1:])])


# ---------------------------------------------------------------------------------------------------------------------
# The environment


def prepare(root: Path, extra: str = "", cpu: bool = False) -> Path:
    """Bring `.venv` to what requirements.txt and pyproject.toml ask for, and return its interpreter.

    What is up to date already costs a second, and needs no network. What was asked for once stays: the next `start`
    keeps what `test` has added, and an update of a torch for the CPU is one for the CPU.

    Args:
        root: the folder of the course.
        extra: "" or "test".
        cpu: take the build of torch for the CPU, which is a choice on Linux only.

    Raises:
        CannotGoOn: no `venv` in this Python, no space, no network, or pip failed for another reason.
    """
    venv = root / ".venv"
    python = python_in(venv)
    before = stamp(venv)
    wanted = {
        "fingerprint": fingerprint(root),
        "extras": sorted({*before.get("extras", []), *([extra] if extra else [])}),
    }
    if cpu and not sys.platform.startswith("linux"):
        print("--cpu changes nothing here: only on Linux does torch come with CUDA unless told otherwise.", flush=True)
    elif cpu or before.get("cpu"):
        wanted["cpu"] = True
    usable = works(python)
    if usable and before == wanted:
        return python
    (venv / STAMP).unlink(missing_ok=True)
    if not usable:
        require_space(root)
        create(venv)
    install(root, python, wanted["extras"], wanted.get("cpu", False))
    write_stamp(venv, wanted)
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
    """Write the stamp whole or not at all.

    Args:
        venv: the virtual environment.
        content: the fingerprint, the extras that are installed, and whether torch is that for the CPU.
    """
    write_whole(venv / STAMP, json.dumps(content))


# ---------------------------------------------------------------------------------------------------------------------
# What runs in it


def first_notebook(root: Path) -> Path:
    """The notebook that `start` opens: the reader's own copy, or the committed one where no copy can be written."""
    try:
        for notice in working_copy.lay(root):
            print(notice, flush=True)
        return working_copy.first(root)
    except OSError as problem:
        print(f"{problem}. The notebooks of the course are opened instead; save yours under another name.", flush=True)
        return root / "notebooks" / working_copy.first(root).name


def lab_options(root: Path, first: Path, no_browser: bool, port: int | None) -> list[str]:
    """JupyterLab's options: open the first notebook, see the whole clone, ask no server for news or extensions.

    Args:
        root: the folder of the course.
        first: the notebook to open.
        no_browser: whether the reader opens the address.
        port: to serve at; None for 8888, or the next free one.
    """
    opened = first.relative_to(root) if first.exists() else Path("notebooks")
    options = [
        f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url=/lab/tree/{opened.as_posix()}",
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
    """Run a command and return its exit code. The command handles Ctrl-C itself; a request to end is passed on to it.

    Args:
        command: the program and its arguments.
        variables: its environment.
        folder: where it runs; by default here.
    """
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
