"""Making the virtual environment of the course and installing into it. Standard library only."""

import importlib.util
import os
import platform
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
RELEASE, CLASS_DATA = "release.json", "class-data"  # of a copy for pupils: what it was made of, and its texts
CPU_INDEX = "https://download.pytorch.org/whl/cpu"  # torch's own; the selector on pytorch.org gives it for "CPU"


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
            f"{SPACE_NEEDED / 1e9:.0f} GB (three times that with torch for NVIDIA cards; on Linux `--cpu` takes the "
            "small one). Free some space, or move the clone to a larger disk."
        )


def install(root: Path, python: Path, extras: list[str], cpu: bool = False) -> None:
    """Install requirements.txt, the extras and the package itself (editable: the clone's files are the package).

    Args:
        root: the folder of the course.
        python: the interpreter of the virtual environment.
        extras: of pyproject.toml, such as "test".
        cpu: take torch from its index of builds for the CPU, whatever is there.

    Raises:
        CannotGoOn: pip failed, with the reason if it is a common one.
    """
    if problem := offline_problem(root):
        raise CannotGoOn(problem)
    print("Installing the packages; the first time this takes a few minutes …", flush=True)
    log = root / ".venv" / PIP_LOG
    log.unlink(missing_ok=True)
    variables = child_environment()
    if subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True, env=variables).returncode:
        subprocess.run([str(python), "-m", "ensurepip", "--upgrade"], capture_output=True, env=variables)
    # Python compiles a module when it is first imported. To compile all of torch, sympy and transformers beforehand,
    # most of which nobody imports, takes as long as everything else that pip does.
    pip = [str(python), "-m", "pip", "install", "--no-compile", "--log", str(log)]
    itself = f".[{','.join(extras)}]" if extras else "."
    # Without build isolation pip fetches nothing to build with: one thing less that an offline class would need.
    calls = [["-r", "requirements.txt", SETUPTOOLS], ["--no-build-isolation", "-e", itself]]
    if cpu and not has_cpu_torch(python):
        # From that index alone, so that no build for CUDA is chosen; what torch needs itself comes with the others.
        calls.insert(0, ["--no-deps", "--force-reinstall", "--index-url", CPU_INDEX, torch_requirement(root)])
    for what in calls:
        began = time.time()
        if subprocess.run([*pip, *what], cwd=root, env=variables).returncode:
            output = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
            reason = why_it_failed(output, shutil.disk_usage(root).free, root)
            raise CannotGoOn(reason or f"pip failed after {time.time() - began:.0f} s. Its output is in {log}.")


def torch_requirement(root: Path) -> str:
    """The line of requirements.txt that names torch."""
    lines = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return next((line.strip() for line in lines if re.match(r"torch\b", line)), "torch")


def has_cpu_torch(python: Path) -> bool:
    """Whether an environment has a torch that was built without CUDA and ROCm; torch itself isn't loaded."""
    code = (
        "import importlib.util, os, runpy, sys; found = importlib.util.find_spec('torch'); found or sys.exit(1); "
        "of = runpy.run_path(os.path.join(os.path.dirname(found.origin), 'version.py')); "
        "sys.exit(bool(of.get('cuda') or of.get('hip')))"
    )
    return subprocess.run([str(python), "-c", code], capture_output=True, env=child_environment()).returncode == 0


# ---------------------------------------------------------------------------------------------------------------------
# Without a network: a folder of wheels


def wheel_folders(root: Path) -> list[Path]:
    """The folders that PIP_FIND_LINKS names, where PIP_NO_INDEX forbids everything else; a relative one is the clone's.

    >>> wheel_folders(Path("course"))
    []
    """
    if os.environ.get("PIP_NO_INDEX", "").lower() not in ("1", "true", "yes", "on", "t", "y"):
        return []
    places = os.environ.get("PIP_FIND_LINKS", "").split()
    return [root / os.path.expanduser(place) for place in places if "://" not in place]


def use_release(root: Path) -> None:
    """In a copy that `classroom release` made, take packages and texts from the folders that came with it.

    Only what the variables do not say already; and only where the wheels are for this Python is the network left alone.

    Args:
        root: the folder of the course.
    """
    if not (root / RELEASE).is_file():
        return
    if (root / CLASS_DATA).is_dir():
        os.environ.setdefault("GPTLAB_DATA", str(root / CLASS_DATA))
    wheels = [path.name for path in (root / "wheels").glob("*.whl")]
    if wheels and not {"PIP_NO_INDEX", "PIP_FIND_LINKS"} & set(os.environ):
        os.environ["PIP_FIND_LINKS"] = "wheels"
        here = f"-cp{sys.version_info[0]}{sys.version_info[1]}-"
        if any(name.startswith("torch-") and here in name for name in wheels):
            os.environ["PIP_NO_INDEX"] = "1"


def offline_problem(root: Path) -> str:
    """What is wrong with the folder of wheels before pip has looked for any, with its remedy; "" if nothing is.

    Args:
        root: the folder of the course.
    """
    folders = wheel_folders(root)
    if not folders or any(any(folder.glob("*.whl")) for folder in folders):
        return ""
    empty = next((folder for folder in folders if folder.is_dir()), None)
    what = f"there is no folder {folders[0]}" if empty is None else f"the folder {empty} holds no wheels"
    return f"PIP_NO_INDEX is set, and {what}. {_fill(folders[0] if empty is None else empty)}"


def _fill(folder: Path) -> str:
    """How a folder gets the wheels for this machine."""
    options = f"--platform {this_platform()} --python {sys.version_info[0]}.{sys.version_info[1]}"
    return (
        f"On a machine with a network and the course, `{python_call()} wheels {options}` makes the folder `wheels` for "
        f"this one: copy its files into {folder}, and run the same command again."
    )


def this_platform() -> str:
    """This machine, as `wheels --platform` calls it."""
    if sys.platform == "darwin":
        return "macos"
    if os.name == "nt":
        return "windows"
    return "linux-arm64" if platform.machine().lower() in ("aarch64", "arm64") else "linux"


def _not_in_the_folder(requirement: str, root: Path) -> str:
    """What a folder of wheels has in place of a package that pip did not find in it, and the remedy."""
    folders = wheel_folders(root)
    if not folders:
        return (
            f"PIP_NO_INDEX is set, so pip looked for {requirement} nowhere: unset it, or name a folder of wheels with "
            f"PIP_FIND_LINKS. {_fill(root / 'wheels')}"
        )
    name = re.split(r"[^\w.-]", requirement)[0].lower().replace("-", "_")
    found = [file.name for folder in folders for file in sorted(folder.glob("*.whl"))]
    others = [file for file in found if file.split("-")[0].lower() == name]
    has = f"{', '.join(others[:3])}, which is for another system or Python, or too old" if others else "no such file"
    return f"pip needs {requirement}, and in {folders[0]} there is {has}. {_fill(folders[0])}"


def why_it_failed(output: str, free: int, root: Path = Path()) -> str:
    """One sentence for the most common reasons why an installation fails; "" for all others.

    Args:
        output: of pip or venv.
        free: bytes on the disk.
        root: the folder of the course.

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
        if os.environ.get("PIP_NO_INDEX"):
            return _not_in_the_folder(found[1], root)
        return (
            f"pip found no build of {found[1]} for Python {sys.version_info[0]}.{sys.version_info[1]} on this system. "
            "Remove .venv and try with another Python (3.11 and 3.12 have the most builds)."
        )
    return ""
