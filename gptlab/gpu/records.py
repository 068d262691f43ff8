"""Records: what some machine has measured, kept in a file with all that one must know to believe it.

A figure without its machine says nothing, and a figure of a machine that you do not have is no measurement of yours. So
a record names the device, the day, the command and the state of the code, and prints all of that before its figures.
`python -m gptlab bench gpu --record FILE` and `... train RECIPE --record FILE` make them; `data/recorded` keeps some.
"""

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from gptlab.corpora.shards import write_json

FOLDER = Path(__file__).resolve().parents[2] / "data" / "recorded"


@dataclass
class Record:
    """One measurement, or one run, of one machine.

    Attributes:
        what: was measured, e.g. "train shakespeare-gpu".  device: its name.  kind: "cuda", "cpu" or "mps".
        date: the day (UTC).  command: what made it.  commit: of the code, with a "+" if it had been changed since.
        versions: of Python, torch, and what else had a part.
        numbers: single figures, each under a name with its unit.
        tables: rows of figures.  curves: points (x, y), with what the axes are in `axes`.
    """

    what: str
    device: str
    kind: str
    date: str
    command: str
    commit: str
    versions: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, float | int | None] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    curves: dict[str, list[list[float | int]]] = field(default_factory=dict)
    axes: list[str] = field(default_factory=lambda: ["x", "y"])

    def __str__(self) -> str:
        """Where it comes from, then its single figures. What it is not comes first."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        facts = [
            f"RECORDED on {self.device}, not measured here: {self.what}",
            f"  {self.date}, commit {self.commit}, {versions}",
            f"  $ {self.command}",
        ]
        width = max(map(len, self.numbers), default=0)
        return "\n".join(facts + [f"  {name:<{width}}  {_tidy(value)}" for name, value in self.numbers.items()])


def begin(what: str, command: str, device: str | torch.device = "cpu") -> Record:
    """A record of this machine, this day and this code, without figures yet.

    >>> record = begin("a test", "python -m gptlab bench gpu")
    >>> record.kind, record.numbers
    ('cpu', {})
    """
    device = torch.device(device)
    versions = {"Python": platform.python_version(), "torch": torch.__version__.split("+")[0]}
    if device.type == "cuda" and torch.version.cuda:
        versions["CUDA"] = torch.version.cuda
    today = datetime.now(timezone.utc).date().isoformat()
    return Record(what, device_name(device), device.type, today, command, _commit(), versions)


def keep(record: Record, path: str | os.PathLike) -> None:
    """Write a record into a file of records; one of the same thing there is replaced, the others stay.

    Raises:
        ValueError: the file is there and holds something else, which stays as it is.
    """
    path = Path(path)
    others = [known for known in read(path) if known.what != record.what] if path.exists() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, [asdict(known) for known in (*others, record)])


def read(path: str | os.PathLike) -> list[Record]:
    """The records of a file.

    Raises:
        ValueError: the file holds something else.
    """
    try:
        return [Record(**entry) for entry in json.loads(Path(path).read_text(encoding="utf-8"))]
    except (TypeError, ValueError) as error:
        names = ", ".join(part.name for part in fields(Record))
        raise ValueError(
            f"{str(path)!r} is no file of records ({error}): it should hold a list of entries with {names}; "
            "give --record the name of a new file"
        ) from None


def recorded(folder: str | os.PathLike = FOLDER) -> list[Record]:
    """All records that this project ships in data/recorded; runs of a GPU first.

    >>> all(record.device and record.date and record.command for record in recorded())
    True
    """
    found = [record for path in sorted(Path(folder).glob("*.json")) for record in read(path)]
    return sorted(found, key=lambda record: record.kind != "cuda")


def device_name(device: str | torch.device = "cpu") -> str:
    """What a person calls this device: the GPU's name, or the processor's with the threads that torch uses.

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
    """Bytes at the peak since this process began: on CUDA of tensors on the card, elsewhere of the whole process.

    >>> peak_memory("cpu") > 1_000_000
    True
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows has no such account
        return 0
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def thinned(values: Iterable[float | int], most: int = 200) -> list[list[float | int]]:
    """Points (step, value) of a long curve, as many as a picture can show: means over equal stretches.

    >>> thinned([4.0, 2.0, 3.0, 1.0], most=2)
    [[2, 3.0], [4, 2.0]]
    """
    values = list(values)
    stretch = max(1, -(-len(values) // most))
    parts = [values[i : i + stretch] for i in range(0, len(values), stretch)]
    return [[min((i + 1) * stretch, len(values)), round(sum(part) / len(part), 4)] for i, part in enumerate(parts)]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    """The commit of the code, with a "+" if a file of it has been changed since."""
    git = ["git", "-C", str(Path(__file__).parents[2])]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, timeout=10)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", "gptlab"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    if commit.returncode:
        return "unknown"
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _tidy(value: float | int | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
