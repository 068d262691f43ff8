"""`python -m gptlab mutate`: plant small faults in the package, one at a time, and see whether a test notices.

The faults are those of `cosmic-ray`: another comparison, another operator, a number one off, a condition turned round,
a loop that never runs. A seeded sample is planted in a copy of the clone; each fault meets the tests of its module, and
what survives them also the tests of the modules that import it. It is for maintainers, and no part of `test`.
"""

import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gptlab.commands import environment

# Operators whose faults a person could make. The others (a bit shift for a sum) are noticed at once, or never.
_SUMS = (
    "Add_Sub",
    "Sub_Add",
    "Mul_Div",
    "Div_Mul",
    "Mul_Add",
    "FloorDiv_Div",
    "Div_FloorDiv",
    "Mod_FloorDiv",
    "Pow_Mul",
)
_ORDER = (
    "Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Eq_NotEq", "NotEq_Eq", "Lt_Gt", "Gt_Lt",
    "Is_IsNot", "IsNot_Is",
)  # fmt: skip
OPERATORS = (
    *(f"core/ReplaceBinaryOperator_{pair}" for pair in _SUMS),
    *(f"core/ReplaceComparisonOperator_{pair}" for pair in _ORDER),
    "core/NumberReplacer", "core/ReplaceTrueWithFalse", "core/ReplaceFalseWithTrue", "core/ReplaceAndWithOr",
    "core/ReplaceOrWithAnd", "core/AddNot", "core/ReplaceBreakWithContinue", "core/ReplaceContinueWithBreak",
    "core/ZeroIterationForLoop", "core/ReplaceUnaryOperator_Delete_Not", "core/ReplaceUnaryOperator_USub_UAdd",
    "core/ExceptionReplacer",
)  # fmt: skip
_LEFT_OUT = ("exercises/", "commands/mutate.py", "commands/bench/", "huggingface/modeling_gptlab.py")
_COPIED = ("gptlab", "tests", "data", "notebooks", "pyproject.toml", "requirements.txt", "README.md", "CONTRIBUTING.md")


@dataclass(frozen=True)
class Fault:
    """One fault: where it is, and what the line becomes."""

    module: str  # "gptlab/attention.py"
    operator: str
    occurrence: int
    line: int
    before: str
    after: str


def mutate(
    module: Annotated[str | None, tyro.conf.Positional] = None,
    sample: int = 300,
    seed: int = 0,
    seconds: int = 120,
    processes: int = 2,
    report: Path | None = None,
) -> int:
    """Plant a sample of small faults, and print those that no test notices.

    Args:
        module: Only this one: attention, corpora/shards, commands/train. Without it, all.
        sample: How many faults to plant.
        seed: Another seed, another sample.
        seconds: The time limit for the tests of one fault; a test that never ends has noticed it.
        processes: How many faults are tried at once, each in a copy of its own.
        report: A JSON file for all results.
    """
    root = environment.clone()
    try:
        faults = chosen(root, module, sample, seed)
    except ModuleNotFoundError:
        print("cosmic-ray is not installed: `.venv/bin/python -m pip install cosmic-ray` brings it.")
        return 1
    print(f"{len(faults)} faults in {len({fault.module for fault in faults})} modules, seed {seed}", flush=True)
    began, results = time.time(), []
    with tempfile.TemporaryDirectory(prefix="gptlab-mutate-", ignore_cleanup_errors=True) as folder:
        for fault, killer in tried(root, Path(folder), faults, seconds, processes):
            results.append((fault, killer))
            sign = "survived" if killer is None else "killed"
            print(f"{len(results):4} {sign:8} {fault.module}:{fault.line} {fault.after.strip()[:80]}", flush=True)
    survivors = [fault for fault, killer in results if killer is None]
    print(f"\n{len(results) - len(survivors)} of {len(results)} killed in {(time.time() - began) / 60:.0f} minutes.")
    for fault in survivors:
        print(f"\n{fault.module}:{fault.line} ({fault.operator.removeprefix('core/')})")
        print(f"  - {fault.before.strip()}\n  + {fault.after.strip()}")
    if report is not None:
        from gptlab.files import write_whole

        rows = [{**vars(fault), "killed_by": killer} for fault, killer in results]
        write_whole(report, json.dumps(rows, indent=1) + "\n")
    return int(bool(survivors))


def chosen(root: Path, module: str | None, sample: int, seed: int) -> list[Fault]:
    """A seeded sample of all faults that can be planted, every module with the same chance per place.

    Raises:
        ValueError: there is no such module.
    """
    paths = [path for path in sorted((root / "gptlab").rglob("*.py")) if not path.name.startswith("_")]
    names = [path.relative_to(root).as_posix() for path in paths]
    wanted = [name for name in names if not any(part in name for part in _LEFT_OUT)]
    if module is not None:
        known = {name.removeprefix("gptlab/").removesuffix(".py"): name for name in wanted}
        if module not in known:
            raise ValueError(f"there is no module {module!r} to plant faults in: choose one of {', '.join(known)}")
        wanted = [known[module]]
    faults = [fault for name in wanted for fault in faults_in(root, name)]
    return random.Random(seed).sample(faults, min(sample, len(faults)))


def faults_in(root: Path, module: str) -> Iterator[Fault]:
    """All faults that can be planted in one module, outside of annotations and docstrings."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = (root / module).read_text(encoding="utf-8")
    lines, spared = source.splitlines(), _annotations(source)
    tree = get_ast(source)
    for name in OPERATORS:
        operator = get_operator(name)()
        positions = [start for node in ast_nodes(tree) for start, _ in operator.mutation_positions(node)]
        for occurrence, (line, column) in enumerate(positions):
            if any(first <= (line, column) <= last for first, last in spared):
                continue
            try:
                changed = mutate_code(source, operator, occurrence)
            except AttributeError:  # the tool replaces only plain names of exceptions: `except module.Error` is none
                continue
            if changed is None:
                continue
            after = changed.splitlines()
            at = next((i for i, (a, b) in enumerate(zip(lines, after, strict=False)) if a != b), line - 1)
            yield Fault(module, name, occurrence, at + 1, lines[at], after[at])


def _annotations(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The stretches of a source that are annotations: a fault there is none."""
    found = []
    for node in ast.walk(ast.parse(source)):
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if part is not None:
                found.append(((part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset)))
    return found


def tried(
    root: Path, folder: Path, faults: list[Fault], seconds: int, processes: int
) -> Iterator[tuple[Fault, str | None]]:
    """Each fault with the first test that failed for it (None: all passed), as they come."""
    workers = []
    for number in range(min(processes, len(faults))):
        copy = folder / str(number)
        for name in _COPIED:
            if (root / name).is_dir():
                shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.ipynb"))
            elif (root / name).exists():
                copy.mkdir(exist_ok=True)
                shutil.copy(root / name, copy / name)
        own = faults[number::processes]
        task = {"faults": [vars(fault) for fault in own], "seconds": seconds}
        variables = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, str(copy / "tests" / "mutants" / "worker.py")]
        worker = subprocess.Popen(command, cwd=copy, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        worker.stdin.write(json.dumps(task).encode())
        worker.stdin.close()
        workers.append((worker, own))
    pending = [(worker, iter(own)) for worker, own in workers]
    while pending:
        for worker, left in list(pending):
            fault = next(left, None)
            if fault is None:
                pending.remove((worker, left))
                continue
            line = worker.stdout.readline()
            if not line:
                raise ChildProcessError("a process that tried faults has died: run the command again")
            yield fault, json.loads(line)["killed_by"]
