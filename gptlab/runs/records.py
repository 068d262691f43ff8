"""Records: what some machine has measured, in a file, with everything that one must know to believe it.

A figure without its machine says nothing, and a figure of a machine that you don't have isn't a measurement of yours.
So a record names the device, the date, the command and the commit, and prints all of that before its figures.
`python -m gptlab bench gpu --record FILE` and `... train RECIPE --record FILE` make them; `data/recorded` has some.
"""

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from gptlab import gpu
from gptlab.files import write_whole
from gptlab.gpu.devices import device_name
from gptlab.model import GPT
from gptlab.training import History

FOLDER = Path(__file__).resolve().parents[2] / "data" / "recorded"


@dataclass
class Record:
    """One measurement, or one run, of one machine.

    Attributes:
        what: was measured, e.g. "train shakespeare-gpu".
        device: its name.
        kind: of device: "cuda", "cpu" or "mps".
        date: the day (UTC).
        command: what made it.
        commit: of the code, with a "+" if it had been changed since.
        versions: of Python, torch, and other packages that had a part.
        numbers: single figures, each under a name with its unit.
        tables: rows of figures.
        curves: points (x, y).
        axes: what x and y are.
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
        """Where it comes from, then its single figures. That it was not measured here comes first."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        facts = [
            f"RECORDED on {self.device}, not measured here: {self.what}",
            f"  {self.date}, commit {self.commit}, {versions}",
            f"  $ {self.command}",
        ]
        width = max(map(len, self.numbers), default=0)
        return "\n".join(facts + [f"  {name:<{width}}  {_tidy(value)}" for name, value in self.numbers.items()])


def new(what: str, command: str, device: str | torch.device = "cpu") -> Record:
    """A record of this machine, today, and of this code, without figures yet.

    Args:
        what: will be measured.
        command: that measures it.
        device: on which.

    >>> record = new("a test", "python -m gptlab bench gpu")
    >>> record.kind, record.numbers
    ('cpu', {})
    """
    device = torch.device(device)
    versions = {"Python": platform.python_version(), "torch": torch.__version__.split("+")[0]}
    if device.type == "cuda" and torch.version.cuda:
        versions["CUDA"] = torch.version.cuda
    today = datetime.now(timezone.utc).date().isoformat()
    return Record(what, device_name(device), device.type, today, command, _commit(), versions)


def add(record: Record, path: str | os.PathLike) -> None:
    """Add a record to a file of records; one of the same thing there is replaced, the others stay.

    Raises:
        ValueError: the file is there and holds something else, which stays as it is.
    """
    path = Path(path)
    others = [known for known in read(path) if known.what != record.what] if path.exists() else []
    write_whole(path, json.dumps([asdict(known) for known in (*others, record)], indent=1) + "\n")


def add_rows(record: Record, path: str | os.PathLike, key: str = "seed") -> None:
    """Add a record to a file piece by piece: the tables of one of the same thing there keep their rows of other seeds.

    Args:
        record: with tables whose rows have the key.
        path: of the file.
        key: what tells rows apart.

    Raises:
        ValueError: the file is there and holds something else, which stays as it is.
    """
    known = next((old for old in read(path) if old.what == record.what), None) if Path(path).exists() else None
    tables = {} if known is None else dict(known.tables)
    for name, rows in record.tables.items():
        new = {row[key] for row in rows}
        kept = [row for row in tables.get(name, []) if row[key] not in new]
        tables[name] = sorted([*kept, *rows], key=lambda row: row[key])
    add(replace(record, tables=tables), path)


def read(path: str | os.PathLike) -> list[Record]:
    """The records of a file.

    Raises:
        ValueError: the file holds something else.
    """
    try:
        return [Record(**entry) for entry in json.loads(Path(path).read_text(encoding="utf-8"))]
    except (TypeError, ValueError, RecursionError) as error:
        names = ", ".join(part.name for part in fields(Record))
        raise ValueError(
            f"{str(path)!r} is not a file of records ({error}): it should hold a list of entries with {names}; "
            "give --record the name of a new file"
        ) from None


def of_run(
    what: str, command: str, model: GPT, history: History, dtype: torch.dtype, world_size: int, compiled: bool
) -> Record:
    """The record of a finished run: its curves, its speed, and the memory that this process took.

    Args:
        what: was trained.
        command: that trained it.
        model: the trained one.
        history: of the run, from its first step, with at least one evaluation.
        dtype: of the matrix products.
        world_size: processes that trained it.
        compiled: whether torch.compile made its kernels.
    """
    config, device = model.config, model.device
    memory = gpu.peak_memory(device)  # before the matrices below allocate some
    peak = max(gpu.matmul_flops(device, dtype, repeats=1) for _ in range(10)) * world_size  # the best of ten
    speed, steady = history.tokens / history.seconds, _steady_speed(history)
    record = new(what, command, device)
    record.numbers |= {
        "parameters": model.count_parameters(),
        "steps": history.steps,
        "processes": world_size,
        "compiled": int(compiled),
        "tokens": history.tokens,
        "seconds of training": history.seconds,
        "tokens/s": speed,
        f"matmul rate in {str(dtype).removeprefix('torch.')} (TFLOP/s)": peak / 1e12,
        "MFU of the measured rate": gpu.mfu(speed, config, config.context, peak),
        "peak memory (MiB)": memory / 2**20,
    }
    if steady is not None:
        utilisation = gpu.mfu(steady, config, config.context, peak)
        record.numbers |= {"tokens/s after the first evaluation": steady, "MFU after the first evaluation": utilisation}
    evaluated = [name for name in history.evaluations[-1] if name not in ("step", "seconds")]
    record.numbers |= {f"best {name}": min(entry[name] for entry in history.evaluations) for name in evaluated}
    record.tables["evaluations"] = [{k: round(value, 4) for k, value in e.items()} for e in history.evaluations]
    record.curves = {name: [[e["step"], e[name]] for e in record.tables["evaluations"]] for name in evaluated}
    record.curves["training"] = downsampled(history.losses)
    record.axes = ["step", "loss (nats per token)"]
    return record


def _steady_speed(history: History) -> float | None:
    """Tokens per second between the first and the last evaluation: without what a run needs to get going."""
    if len(history.evaluations) < 2:
        return None
    first, last = history.evaluations[0], history.evaluations[-1]
    seconds = last["seconds"] - first["seconds"]
    return (last["step"] - first["step"]) * history.tokens / history.steps / seconds if seconds > 0 else None


def recorded(folder: str | os.PathLike = FOLDER) -> list[Record]:
    """All records that this project ships in data/recorded; runs of a GPU first.

    >>> all(record.device and record.date and record.command for record in recorded())
    True
    """
    found = [record for path in sorted(Path(folder).glob("*.json")) for record in read(path)]
    return sorted(found, key=lambda record: record.kind != "cuda")


def downsampled(values: Iterable[float | int], most: int = 200) -> list[list[float | int]]:
    """Points (step, value) of a long curve, as many as a picture can show: means over equal intervals.

    Args:
        values: one for each step.
        most: points.

    >>> downsampled([4.0, 2.0, 3.0, 1.0], most=2)
    [[2, 3.0], [4, 2.0]]
    """
    values = list(values)
    interval = max(1, -(-len(values) // most))
    parts = [values[i : i + interval] for i in range(0, len(values), interval)]
    return [[min((i + 1) * interval, len(values)), round(sum(part) / len(part), 4)] for i, part in enumerate(parts)]


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
