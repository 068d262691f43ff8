"""`python -m gptlab wheels`: the packages of the course as a folder of files, for machines without a network.

`pip download --platform` alone does not do it: pip asks for the dependencies of the machine that it runs on. Collected
on Linux, a folder for Windows would lack `colorama` and `pywinpty`, and one for a Mac would be refused for want of
CUDA. So the list is made here, by the conditions in each package's metadata, evaluated for the machine that is meant.
"""

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from gptlab.commands import environment
from gptlab.commands.installation import CPU_INDEX, SETUPTOOLS, child_environment, this_platform

_LINUX = dict(sys_platform="linux", os_name="posix", platform_system="Linux")
MACHINES = {  # as the conditions in metadata describe each; none is a Mac with Intel's processor, for torch has left it
    "linux": _LINUX | dict(platform_machine="x86_64"),
    "linux-arm64": _LINUX | dict(platform_machine="aarch64"),
    "windows": dict(sys_platform="win32", os_name="nt", platform_system="Windows", platform_machine="AMD64"),
    "macos": dict(sys_platform="darwin", os_name="posix", platform_system="Darwin", platform_machine="arm64"),
}
Platform = Literal["linux", "linux-arm64", "windows", "macos"]


def wheels(
    platform: Platform | None = None, python: str | None = None, into: Path = Path("wheels"), test: bool = False
) -> int:
    """Download every package of the course into a folder, to carry to machines without a network.

    On such a machine the folder is put into the course, and pip is told to look nowhere else:
      PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels python3 -m gptlab start

    torch is the small one, for the CPU. For several kinds of machines run this once for each, into one folder.

    Args:
        platform: The system of those machines; this one's unless given.
        python: Their version of Python, such as 3.12; this one's unless given.
        into: The folder to fill.
        test: Add what `test` needs.

    Raises:
        ValueError: a version of Python that is none.
    """
    if code := download(platform, python, into, test):
        return code
    there = f"PIP_NO_INDEX=1 PIP_FIND_LINKS={into.name} {environment.python_call()} start"
    print(f"\nCopy {into} into the folder of the course on the other machine, and start there with\n  {there}")
    return 0


def download(platform: str | None, python: str | None, into: Path, test: bool = False) -> int:
    """Let pip fill the folder, and return its exit code.

    Args:
        platform: one of `MACHINES`; None for this machine.
        python: its version; None for this one.
        into: the folder.
        test: what the extra `test` adds, too.
    """
    needed = requirements(platform, python, test)
    print(f"Downloading {len(needed)} packages into {into} …", flush=True)
    command = [sys.executable, "-m", "pip", "download", *options(platform, python), "--dest", str(into), *needed]
    code = subprocess.run(command, env=child_environment()).returncode
    if code:
        print(
            f"\npip could not get all of them, and says above why; what is in {into} stays. With a network, run the "
            "same command again."
        )
    return code


def options(platform: str | None, python: str | None) -> list[str]:
    """What pip is told about the machines: wheels only, since nothing can be built for another one.

    Args:
        platform: one of `MACHINES`; None for this machine.
        python: their version; None for this one.

    >>> options("macos", "3.12")[-6:]
    ['--implementation', 'cp', '--python-version', '3.12', '--platform', 'macosx_14_0_arm64']
    """
    found = ["--no-deps", "--only-binary=:all:", "--extra-index-url", CPU_INDEX]
    if platform is None and python is None:
        return found
    found += ["--implementation", "cp", "--python-version", python or _version()]
    return [*found, *(word for tag in _tags(platform or this_platform()) for word in ("--platform", tag))]


def _tags(platform: str) -> list[str]:
    """The names of a platform in the names of wheels, the newest first; pip knows by itself what older a Mac runs."""
    if platform.startswith("linux"):
        machine = MACHINES[platform]["platform_machine"]
        years = [f"manylinux{year}_{machine}" for year in ("2014", "2010", "1")]
        return [*(f"manylinux_2_{glibc}_{machine}" for glibc in range(28, 4, -1)), *years, f"linux_{machine}"]
    return ["win_amd64"] if platform == "windows" else ["macosx_14_0_arm64"]


def _version() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def requirements(platform: str | None, python: str | None, test: bool) -> list[str]:
    """Everything that the course needs on a machine, with what that needs in turn.

    For the Python that runs this, the versions are those that are installed here, and so known to work together.

    Args:
        platform: one of `MACHINES`; None for this machine.
        python: its version; None for this one.
        test: what the extra `test` adds, too.

    >>> {"pywinpty", "colorama"} <= {Requirement(line).name for line in requirements("windows", "3.12", test=False)}
    True

    Raises:
        ValueError: a version of Python that is none, or the course isn't installed.
    """
    version = python or _version()
    if version.count(".") != 1 or not all(part.isdecimal() for part in version.split(".")):
        raise ValueError(f"python={version!r} is no version of Python: give two numbers, such as 3.12")
    there = MACHINES[platform or this_platform()] | {
        "python_version": version, "python_full_version": f"{version}.0",
        "implementation_name": "cpython", "platform_python_implementation": "CPython",
    }  # fmt: skip
    try:
        todo = list(_needs("gptlab", ["", *["test"] * test], there))
    except importlib.metadata.PackageNotFoundError:
        call = environment.python_call()
        raise ValueError(f"the course is not installed: run `{call} start`, then `{call} wheels`") from None
    todo.append(Requirement(SETUPTOOLS))
    found: dict[str, set[str]] = {}
    seen = set()
    while todo:
        one = todo.pop()
        name = canonicalize_name(one.name)
        known = found.setdefault(name, set())
        known.update(map(str, one.specifier))
        for extra in {"", *one.extras} - {extra for seen_name, extra in seen if seen_name == name}:
            seen.add((name, extra))
            try:
                installed = importlib.metadata.version(name).partition("+")[0]
                todo += _needs(name, [extra], there)
            except importlib.metadata.PackageNotFoundError:
                continue  # it is needed there and not here; none of these few needs another
            if version == _version():
                known.add(f"=={installed}")
    return [name + ",".join(sorted(found[name])) for name in sorted(found)]


def _needs(name: str, extras: list[str], there: dict[str, str]) -> list[Requirement]:
    """What an installed package requires on a machine, with these extras; of torch, what the one for the CPU does."""
    asked = [Requirement(line) for line in importlib.metadata.requires(name) or []]
    if name == "torch":
        asked = [one for one in asked if not one.name.startswith(("nvidia", "cuda", "triton"))]
    return [one for one in asked if not one.marker or any(one.marker.evaluate({**there, "extra": e}) for e in extras)]
