"""`python -m gptlab notebooks`: run notebooks in order, store their outputs, update their text twins.

The committed `.ipynb` has the outputs, so that a reader sees them before running anything; its text twin in
`notebooks/text/` (jupytext's py:percent) has the rest, so that a change can be reviewed. An author edits one of the two
and runs this command. What differs from run to run without meaning is removed.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import tyro

from gptlab.commands import environment
from gptlab.commands.isolation import sandboxed
from gptlab.files import write_whole

FORMATS = "ipynb,text//py:percent"  # as in pyproject.toml
CELL_TIMEOUT = 660  # seconds, as in the tests
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python", "pygments_lexer": "ipython3"}
ANSWER = "answers-prediction"  # the tag of a cell whose output answers a guess
_VOLATILE = ("execution", "ExecuteTime", "executionInfo", "collapsed", "scrolled", "trusted", "outputId", "colab")
_PEAK_MEMORY = """
import sys as _sys
if _sys.platform == "win32":
    import psutil as _p
    _peak = _p.Process().memory_info().peak_wset
else:
    import resource as _r
    _peak = _r.getrusage(_r.RUSAGE_SELF).ru_maxrss * (1 if _sys.platform == "darwin" else 1024)
"""


def notebooks(
    names: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="NAMES", help_behavior_hint="(default: all)")
    ] = (),
    from_text: tyro.conf.FlagCreatePairsOff[bool] = False,
    sync_only: tyro.conf.FlagCreatePairsOff[bool] = False,
    folder: Annotated[Path | None, tyro.conf.arg(help_behavior_hint="(default: notebooks/ of the clone)")] = None,
) -> int:
    """Run notebooks from top to bottom, and store them with their outputs and their text twins.

    Each runs in a fresh kernel, in an empty temporary folder, with the network cut off, and at most 660 s a cell.
    Nothing is written if a cell fails that is not tagged raises-exception. Exit code 1 if any notebook failed.

    Args:
        names: Which notebooks, by number or by name: 06, 06_attention. None named: all of them.
        from_text: Take the cells from notebooks/text/NAME.py, not from the ipynb (which need not exist yet).
        sync_only: Run nothing: only write the text twin from the ipynb (or, with --from-text, the cells from the twin,
            keeping the outputs of cells that did not change).
        folder: The folder with the notebooks.
    """
    try:
        import jupytext  # noqa: F401
        import nbclient  # noqa: F401
    except ModuleNotFoundError as missing:
        print(
            f"{missing.name} is not installed. `{environment.python_call()} test --version` brings the tools for tests."
        )
        return 1
    folder = folder or environment.clone() / "notebooks"
    failed = [path.stem for path in chosen(folder, names, from_text) if not _one(path, from_text, sync_only)]
    if failed:
        print(f"failed: {', '.join(failed)}")
    return int(bool(failed))


def chosen(folder: Path, names: tuple[str, ...], from_text: bool) -> list[Path]:
    """The ipynb paths that `names` mean, in order.

    Args:
        folder: with the notebooks.
        names: each the beginning of a notebook's name; none for all of them.
        from_text: whether the text twins are what has to exist.

    Raises:
        ValueError: a name that no notebook begins with.
    """
    there = sorted((folder / "text").glob("[!.]*.py") if from_text else folder.glob("[!.]*.ipynb"))
    stems = [path.stem for path in there]
    for name in names:
        if not any(stem.startswith(Path(name).stem) for stem in stems):
            kind = "text twins" if from_text else "notebooks"
            raise ValueError(
                f"no notebook begins with {name!r} in {folder}; its {kind} are: {', '.join(stems) or 'none'}"
            )
    wanted = [stem for stem in stems if not names or any(stem.startswith(Path(name).stem) for name in names)]
    return [folder / f"{stem}.ipynb" for stem in wanted]


def _one(path: Path, from_text: bool, sync_only: bool) -> bool:
    """Do everything for one notebook, and report in one line. False if it failed."""
    import nbformat

    notebook = read_twin(twin_of(path), keep_outputs_of=path) if from_text else nbformat.read(path, as_version=4)
    report = "synced"
    if not sync_only:
        began = time.time()
        try:
            peak = execute(notebook, progress=f"{path.stem}: ")
        except Exception as problem:  # whatever a notebook can do, the others still run
            print(f"{path.stem}: failed after {time.time() - began:.0f} s\n{problem}")
            return False
        report = f"{time.time() - began:.1f} s, peak memory of its kernel {peak / 1e6:,.0f} MB"
    tidy(notebook)
    write(path, notebook)
    write_whole(twin_of(path), twin_text(notebook))
    print(f"{path.stem}: {report}, {path.stat().st_size / 1e3:,.0f} kB")
    return True


# ---------------------------------------------------------------------------------------------------------------------
# Running


def execute(notebook: Any, progress: str = "", timeout: int = CELL_TIMEOUT) -> int:
    """Run all cells of an nbformat notebook in a sandbox, in place; returns the kernel's peak memory in bytes.

    Args:
        notebook: whose outputs are replaced.
        progress: what to print before the number of the running cell.
        timeout: seconds per cell.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed. CellTimeoutError: one took too long.
    """
    from nbclient import NotebookClient

    notebook.metadata["kernelspec"] = dict(KERNEL)
    with tempfile.TemporaryDirectory(prefix="gptlab-", ignore_cleanup_errors=True) as sandbox:
        variables = sandboxed(Path(sandbox), environment.child_environment())
        client = NotebookClient(
            notebook, timeout=timeout, kernel_name="python3", record_timing=False, coalesce_streams=True,
            resources={"metadata": {"path": sandbox}}, store_widget_state=False,
        )  # fmt: skip
        code_cells = sum(cell.cell_type == "code" for cell in notebook.cells)
        with client.setup_kernel(env=variables, stderr=subprocess.DEVNULL):
            count = 0
            for index, cell in enumerate(notebook.cells):
                if cell.cell_type == "code" and cell.source.strip():
                    count += 1
                    if sys.stdout.isatty():
                        print(f"\r{progress}cell {count} of {code_cells} ", end="", flush=True)
                    client.execute_cell(cell, index, execution_count=count)
                elif cell.cell_type == "code":
                    cell.outputs, cell.execution_count = [], None
            if sys.stdout.isatty():
                print("\r", end="")
            return _peak_memory(client)


def _peak_memory(client: Any) -> int:
    reply = client.kc.execute(_PEAK_MEMORY, silent=True, user_expressions={"peak": "_peak"}, reply=True, timeout=30)
    if hasattr(reply, "__await__"):
        from jupyter_core.utils import run_sync

        async def wait():
            return await reply

        reply = run_sync(wait)()
    return int(reply["content"]["user_expressions"]["peak"]["data"]["text/plain"])


# ---------------------------------------------------------------------------------------------------------------------
# What is stored


def tidy(notebook: Any) -> None:
    """Remove what changes from run to run and machine to machine, in place.

    A cell's `alt` metadata, the description of its picture, is copied to the pictures in its output, which is where
    nbconvert looks for it. The output of a cell with the tag `answers-prediction` is collapsed, so that nobody reads
    the answer before guessing.
    """
    notebook.metadata.clear()
    notebook.metadata.update(
        {"jupytext": {"formats": FORMATS}, "kernelspec": dict(KERNEL), "language_info": dict(LANGUAGE)}
    )
    seen: dict[str, int] = {}
    here = f"{environment.clone()}{os.sep}"
    for cell in notebook.cells:
        for name in _VOLATILE:
            cell.metadata.pop(name, None)
        cell.metadata.pop("jupyter", None)
        if ANSWER in cell.metadata.get("tags", []):
            cell.metadata["jupyter"] = {"outputs_hidden": True}
        cell.id = _identity(cell.cell_type, cell.source, seen)
        for output in cell.get("outputs", []):
            pictures = [kind for kind in output.get("data", {}) if kind.startswith("image/")]
            for kind in pictures if cell.metadata.get("alt") else []:
                output.metadata.setdefault(kind, {}).setdefault("alt", cell.metadata["alt"])
            if output.output_type == "error":  # files as they are called from the clone, wherever that is
                output.traceback = [line.replace(here, "") for line in output.traceback]
    notebook.nbformat, notebook.nbformat_minor = 4, 5


def _identity(kind: str, source: str, seen: dict[str, int]) -> str:
    """A cell's id, made of its text, so that the same notebook always has the same ids."""
    short = hashlib.sha256(f"{kind}\n{source}".encode()).hexdigest()[:8]
    seen[short] = seen.get(short, 0) + 1
    return short if seen[short] == 1 else f"{short}-{seen[short]}"


def twin_of(path: Path) -> Path:
    """notebooks/06_attention.ipynb -> notebooks/text/06_attention.py."""
    return path.parent / "text" / f"{path.stem}.py"


def twin_text(notebook: Any) -> str:
    """The text twin of a notebook: its cells and their tags, without outputs, ids, or versions of tools."""
    import jupytext
    import nbformat

    copy = nbformat.from_dict(json.loads(json.dumps(notebook)))
    for cell in copy.cells:
        cell.metadata.pop("jupyter", None)  # follows from the tags
    only = "kernelspec,jupytext,-jupytext.text_representation.jupytext_version"
    copy.metadata = nbformat.from_dict(
        {"jupytext": {"formats": FORMATS, "notebook_metadata_filter": only}, "kernelspec": KERNEL}
    )
    return jupytext.writes(copy, fmt="py:percent")


def read_twin(twin: Path, keep_outputs_of: Path | None = None) -> Any:
    """The notebook that a text twin describes.

    Args:
        twin: the text.
        keep_outputs_of: an ipynb, whose outputs go to the cells that have not changed.
    """
    import jupytext
    import nbformat

    notebook = jupytext.reads(twin.read_text(encoding="utf-8"), fmt="py:percent")
    if keep_outputs_of is not None and keep_outputs_of.exists():
        old = [cell for cell in nbformat.read(keep_outputs_of, as_version=4).cells if cell.cell_type == "code"]
        for cell in notebook.cells:
            same = next((i for i, before in enumerate(old) if before.source == cell.get("source")), None)
            if cell.cell_type == "code" and same is not None:
                before = old.pop(same)
                cell.outputs, cell.execution_count = before.outputs, before.execution_count
    return notebook


def write(path: Path, notebook: Any) -> None:
    """Write an ipynb whole, as JupyterLab would: one space of indent, no character escaped.

    Args:
        path: of the file.
        notebook: an nbformat node.

    Raises:
        nbformat.ValidationError: it is not a valid notebook.
        WriteError: it cannot be written.
    """
    import nbformat

    nbformat.validate(notebook)
    write_whole(path, nbformat.writes(notebook, version=4).rstrip("\n") + "\n")
