"""The reader's own notebooks: copies without outputs in `my_course/`, so that the committed ones stay as they are.

`start` lays a copy of every notebook where none is yet, and opens the first. Nothing that a reader has is ever
overwritten: `reset` puts the old copy beside the new one. A list beside the copies remembers which version of a
notebook each was made of, so that after an update of the course `start` can say which notebooks are newer.
It needs the standard library only.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from gptlab import NOTEBOOKS, Notebook, notebook

FOLDER = "my_course"
LIST = ".made-of.json"  # for each copy, the fingerprint of the notebook that it was made of


def without_outputs(source: dict[str, Any]) -> dict[str, Any]:
    """A notebook as a reader begins with it: the cells and their tags, no outputs, no counts, no pairing with a twin.

    >>> cell = {"cell_type": "code", "source": ["1 + 1"], "outputs": ["2"], "execution_count": 3, "metadata": {}}
    >>> without_outputs({"cells": [cell], "metadata": {"jupytext": {}, "kernelspec": {}}})["cells"][0]["outputs"]
    []
    """
    cells = []
    for cell in source["cells"]:
        cell = dict(cell)
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
            shown = {k: v for k, v in cell["metadata"].get("jupyter", {}).items() if k != "outputs_hidden"}
            metadata = {name: value for name, value in cell["metadata"].items() if name != "jupyter"}
            cell["metadata"] = metadata | ({"jupyter": shown} if shown else {})
        cells.append(cell)
    metadata = {name: value for name, value in source.get("metadata", {}).items() if name != "jupytext"}
    return {**source, "cells": cells, "metadata": metadata}


def fingerprint(source: dict[str, Any]) -> str:
    """Changes whenever a reader would see another notebook: another cell, or another order of cells."""
    parts = [[cell["cell_type"], "".join(cell["source"])] for cell in source["cells"]]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:16]


def lay(root: Path) -> list[str]:
    """Copy every notebook of the clone `root` that the reader does not have yet.

    Returns:
        A sentence for each thing that the reader should know: which notebooks are newer than the copies.
    """
    folder = root / FOLDER
    made_of = _made_of(folder)
    newer = []
    for found in _written(root):
        source = _read(root / "notebooks" / f"{found.file}.ipynb")
        own = _own_copy(folder, found)
        if own is None:
            _write(folder / f"{found.file}.ipynb", source)
            made_of[found.name] = fingerprint(source)
        elif made_of.get(found.name) != fingerprint(source):
            newer.append(found)
    _write_list(folder, made_of)
    if not newer:
        return []
    names = ", ".join(f"{found.number:02} {found.title}" for found in newer)
    return [
        f"The course has been updated. Newer than your copies in {FOLDER}/: {names}. "
        f"`python3 -m gptlab reset {newer[0].topic}` lays that notebook again and keeps yours beside it."
    ]


def reset(root: Path, which: str) -> tuple[Path, Path | None]:
    """Lay a notebook again; the reader's copy, if there is one, gets another name beside it.

    Returns:
        The new copy, and where the old one is now.

    Raises:
        ValueError: there is no such notebook, or it is not written yet.
    """
    found = notebook(which)
    source_file = root / "notebooks" / f"{found.file}.ipynb"
    if not source_file.exists():
        raise ValueError(f"notebook {found.number:02}, {found.title}, is still to come: {source_file} is not there")
    folder = root / FOLDER
    source, own, aside = _read(source_file), _own_copy(folder, found), None
    if own is not None:
        number = 1
        while (aside := folder / f"{own.stem}-mine-{number}.ipynb").exists():
            number += 1
        own.rename(aside)
    new = folder / f"{found.file}.ipynb"
    _write(new, source)
    _write_list(folder, _made_of(folder) | {found.name: fingerprint(source)})
    return new, aside


def first(root: Path) -> Path:
    """The notebook to open: the reader's copy of the first one that is there."""
    return root / FOLDER / f"{(_written(root) or NOTEBOOKS)[0].file}.ipynb"


def _written(root: Path) -> list[Notebook]:
    return [found for found in NOTEBOOKS if (root / "notebooks" / f"{found.file}.ipynb").exists()]


def _own_copy(folder: Path, found: Notebook) -> Path | None:
    """The reader's copy of a notebook, also under the number that it had when it was copied."""
    named = re.compile(rf"\d\d_{re.escape(found.name)}\.ipynb")
    copies = sorted(path for path in folder.glob("*.ipynb") if named.fullmatch(path.name))
    return copies[0] if copies else None


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, source: dict[str, Any]) -> None:
    from gptlab.files import write_whole

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(without_outputs(source), ensure_ascii=False, indent=1) + "\n")


def _made_of(folder: Path) -> dict[str, str]:
    """Which version each copy was made of; empty where the list is missing or cannot be read."""
    try:
        found = json.loads((folder / LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_list(folder: Path, made_of: dict[str, str]) -> None:
    from gptlab.files import write_whole

    write_whole(folder / LIST, json.dumps(made_of, indent=1) + "\n")
