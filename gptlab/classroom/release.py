"""What a class takes home: one zip with notebooks to work in, clean twins, the package, its data, and one command.

    course/README.md        for pupils: the command, and how to hand in
    course/notebooks/       without outputs; the first start lays a copy of each in my_course/
    course/clean/           headings and stubs
    course/gptlab/, data/   the package, the stories and the small models
    course/class-data/      vocabularies and texts that the chosen notebooks ask for
    course/wheels/          every package that is needed, for the systems named
    course/release.json     what it was made of

`start` sees `release.json` and takes packages and texts from these folders, so the command of the course is the same
with and without a network. The same course gives the same zip, byte by byte, wheels apart.
"""

import ast
import contextlib
import hashlib
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gptlab
from gptlab import NOTEBOOKS, Notebook, notebook
from gptlab.classroom.clean import clean
from gptlab.commands.installation import CLASS_DATA, RELEASE, clone
from gptlab.commands.working_copy import fingerprint, without_outputs
from gptlab.files import expanded

TOP = "course"
_FILES = ("pyproject.toml", "requirements.txt", "LICENSE")
_THEN = (2020, 1, 1, 0, 0, 0)  # of every file in the zip, so that two releases of one course are equal


def make(
    notebooks: Sequence[str], out: str | os.PathLike, wheels: Path | None = None, root: Path | None = None
) -> dict[str, Any]:
    """Make the zip, and return what its `release.json` says.

    Args:
        notebooks: topics, names or numbers; none means all.
        out: the zip.
        wheels: a folder of wheels to put in.
        root: the folder of the course, this one unless given.

    Raises:
        ValueError: no such notebook, or a place that holds something else, or a folder without wheels.
    """
    root = clone() if root is None else root
    chosen, out = choose(notebooks, root), place(out)
    packed = _wheels(wheels)
    sources = {one: json.loads((root / "notebooks" / f"{one.file}.ipynb").read_text("utf-8")) for one in chosen}
    published, missing = _published(list(sources.values()))
    files = dict(_package(root)) | {f"{CLASS_DATA}/{name}": data for name, data in published.items()}
    version = _version(files, sources)
    manifest: dict[str, Any] = {
        "release": version,
        "gptlab": gptlab.__version__,
        "notebooks": {},
        "exercises": {},
        "class-data": sorted(published),
        "not there": missing,
        "wheels": [path.name for path in packed],
    }
    for one, source in sources.items():
        working = without_outputs(source)
        working["metadata"] = working["metadata"] | {"gptlab": {"release": version, "notebook": one.file}}
        files[f"notebooks/{one.file}.ipynb"] = _as_bytes(working)
        files[f"clean/{one.file}.ipynb"] = _as_bytes(clean(working))
        ids = _exercises(source)
        manifest["notebooks"][one.file] = {
            "fingerprint": fingerprint(source),
            "sha256": hashlib.sha256(files[f"notebooks/{one.file}.ipynb"]).hexdigest(),
            "exercises": ids,
        }
        manifest["exercises"] |= {id: exercise_hash(id) for id in ids}
    files["README.md"] = readme(chosen, bool(packed)).encode()
    files[RELEASE] = (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode()
    _write(out, files, packed)
    return manifest


def choose(names: Sequence[str], root: Path) -> list[Notebook]:
    """The notebooks that are meant, in the order of the course.

    Args:
        names: topics, names or numbers; none means all that are written.
        root: the folder of the course.

    Raises:
        ValueError: there is no such notebook, or it is not written yet.
    """
    written = [one for one in NOTEBOOKS if (root / "notebooks" / f"{one.file}.ipynb").is_file()]
    meant = [notebook(name) for name in names] or written
    for one in meant:
        if one not in written:
            raise ValueError(f"notebook {one.number:02}, {one.title}, is still to come: leave it out")
    return [one for one in written if one in meant]


def place(out: str | os.PathLike) -> Path:
    """The path for the zip, if it is free or has an earlier release.

    Args:
        out: as a person has typed it.

    Raises:
        ValueError: it holds something else, or its name ends otherwise.
    """
    path = expanded(out)
    if path.suffix != ".zip" or path.is_dir():
        raise ValueError(
            f"--out {str(path)!r} is no name of a zip: end it with .zip, as in {str(path / 'course.zip')!r}"
        )
    if path.exists() and read_manifest(path) is None:
        raise ValueError(f"--out {str(path)!r} is there and is no release of the course: choose another name")
    return path


def read_manifest(path: str | os.PathLike) -> dict[str, Any] | None:
    """What a release was made of, from its zip or its `release.json`; None if it is no release.

    Args:
        path: of either.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile, RecursionError, NotImplementedError):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                found = json.loads(archive.read(f"{TOP}/{RELEASE}"))
        else:
            found = json.loads(Path(path).read_text("utf-8"))
        if isinstance(found, dict) and isinstance(found.get("release"), str):
            return found
    return None


def exercise_hash(id: str) -> str:
    """Changes when an exercise asks for something else: its prompt, or how its answer is called.

    Args:
        id: of the exercise.
    """
    from gptlab.exercises import registry

    found = registry.find(id)
    return "" if found is None else hashlib.sha256(f"{found.prompt}\0{found.signature}".encode()).hexdigest()[:12]


# ---- The parts -------------------------------------------------------------------------------------------------------


def _package(root: Path) -> Iterator[tuple[str, bytes]]:
    for folder in ("gptlab", "data"):
        for path in sorted((root / folder).rglob("*")):
            hidden = any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(root).parts)
            if path.is_file() and not hidden and path.suffix != ".pyc":
                yield path.relative_to(root).as_posix(), path.read_bytes()
    for name in _FILES:
        if (root / name).is_file():
            yield name, (root / name).read_bytes()


def _published(sources: Sequence[dict[str, Any]]) -> tuple[dict[str, bytes], list[str]]:
    """The published files that notebooks name, from this machine or their sources; and those that cannot be had."""
    from gptlab import downloads
    from gptlab.commands.fetch import EVERY, get

    named = {text for source in sources for text in _texts(source)}
    missing = []
    with tempfile.TemporaryDirectory(prefix="gptlab-") as folder:
        for name in (name for name in EVERY if name in named):
            try:
                get(name, into=Path(folder))
            except downloads.DownloadError:
                missing.append(name)
        there = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in there}, missing


def _texts(source: dict[str, Any]) -> Iterator[str]:
    """The strings in the code of a notebook."""
    for cell in source["cells"]:
        if cell["cell_type"] == "code":
            with contextlib.suppress(SyntaxError):
                for node in ast.walk(ast.parse("".join(cell["source"]))):
                    if isinstance(node, ast.Constant) and isinstance(node.value, str):
                        yield node.value


def _exercises(source: dict[str, Any]) -> list[str]:
    code = "\n".join("".join(cell["source"]) for cell in source["cells"] if cell["cell_type"] == "code")
    return list(dict.fromkeys(re.findall(r"""check\(\s*["']([\w.]+)["']""", code)))


def _wheels(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    found = sorted(expanded(folder).glob("*.whl")) if expanded(folder).is_dir() else []
    if not any(path.name.startswith("torch-") for path in found):
        what = "no wheels" if not found else f"{len(found)} wheels and no torch"
        raise ValueError(f"--wheels {str(folder)!r} has {what} in it: --platform linux windows macos fills it")
    return found


def _version(files: dict[str, bytes], sources: dict[Notebook, Any]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + hashlib.sha256(files[name]).digest())
    for one in sources:
        digest.update(f"{one.file}\0{fingerprint(sources[one])}".encode())
    return f"{gptlab.__version__}-{digest.hexdigest()[:8]}"


def _as_bytes(source: dict[str, Any]) -> bytes:
    return (json.dumps(source, ensure_ascii=False, indent=1) + "\n").encode()


def _write(out: Path, files: dict[str, bytes], wheels: Sequence[Path]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}-{os.getpid()}.part")
    try:
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(files):
                entry = zipfile.ZipInfo(f"{TOP}/{name}", _THEN)
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(entry, files[name])
            for path in wheels:  # packed already
                archive.write(path, f"{TOP}/wheels/{path.name}", zipfile.ZIP_STORED)
        os.replace(draft, out)
    finally:
        draft.unlink(missing_ok=True)


def readme(chosen: Sequence[Notebook], wheels: bool) -> str:
    """What a pupil reads first.

    Args:
        chosen: the notebooks.
        wheels: whether the packages are in the zip.
    """
    lines = "\n".join(f"- `{one.file}.ipynb`: {one.title} – {one.idea}" for one in chosen)
    network = (
        "No network is needed: everything is in this folder."
        if wheels
        else "The first time it needs a network, to get the packages."
    )
    return f"""# Your copy of the course

You need Python 3.10 or newer. Open a terminal in this folder and run one command:

| Linux, macOS | Windows |
|---|---|
| `python3 -m gptlab start` | `py -m gptlab start` |

It sets everything up (a few minutes the first time, seconds later on) and opens JupyterLab. {network}

## Work in `my_course`

The first start lays a copy of each notebook in the folder `my_course`. Write there, run a cell with Shift-Enter, and
save often. `python3 -m gptlab reset TOPIC` lays a notebook again and keeps yours beside it.

{lines}

The folder `clean` has the same notebooks with headings and stubs only. Close the lesson, open its clean twin, and see
how much of it you can write from memory.

## Hand in

Save the notebook, add your name to the name of the file, as in `06_attention_ada.ipynb`, and send that file. Clearing
its outputs keeps it small. Your answers count, each by the last `check` of it; it does not matter which cells have run.

Something is wrong? `python3 -m gptlab doctor` looks at everything and says what helps.
"""
