"""Read what a class has handed in: a folder of notebooks, of zips, or of pupils' folders, in any mixture.

A pupil's name is that of their folder, their zip, or their file without the notebook's own name. Whatever cannot be
read becomes a submission with a problem, never an error: it costs its own row. Zips are read in memory, nothing of them
is written, so a member called `../../elsewhere` is a strange name and no more; links are not followed.

>>> pupil_in("Ada L/06_attention.ipynb"), pupil_in("06_attention_bo.ipynb"), pupil_in("grace-06_attention(1).ipynb")
('Ada L', 'bo', 'grace')
"""

import hashlib
import json
import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from gptlab import NOTEBOOKS
from gptlab.files import expanded

LARGEST = 50_000_000  # bytes of a notebook; pictures and all, the course's own have 1.5 MB
MOST_CODE = 2_000_000  # bytes of its code
MOST = 2000  # files of a class, or members of a zip
_ASIDE = re.compile(r"(^|/)(\.|__MACOSX|__pycache__)")
_PORTAL = re.compile(r"_\d+_assignsubmission_\w+_?$")  # what Moodle puts behind the name of a pupil's folder
_COPY = re.compile(r"[\s_-]*(\(\d+\)|copy\d*|mine-\d+)$", re.IGNORECASE)


@dataclass
class Submission:
    """A notebook that was handed in.

    Attributes:
        pupil: a name, from the folder, the zip or the file.
        source: where it came from, relative to the folder of all submissions.
        topic: of the notebook that it is; "" if it is none of the course's.
        cells: number and text of each code cell.
        problem: why it cannot be marked; "" if it can.
        notes: what the teacher should know.
        made_of: version of the release that it was made from; "" if it does not say.
        digest: of its bytes.
        changed: when it was last changed, in seconds, to find the newest.
    """

    pupil: str
    source: str
    topic: str = ""
    cells: list[tuple[int, str]] = field(default_factory=list)
    problem: str = ""
    notes: list[str] = field(default_factory=list)
    made_of: str = ""
    digest: str = ""
    changed: float = 0.0


def collect(folder: str | os.PathLike) -> list[Submission]:
    """All submissions in a folder, in order of pupils and notebooks; of several by one pupil, the newest.

    Args:
        folder: with notebooks, zips or pupils' folders.

    Raises:
        ValueError: there is no such folder, or there is nothing in it.
    """
    folder = expanded(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is not there"
        raise ValueError(f"{str(folder)!r} {what}: name the folder in which the submissions are")
    found = []
    for count, path in enumerate(sorted(_files(folder))):
        if count >= MOST:
            raise ValueError(f"{str(folder)!r} has more than {MOST:,} files: name the folder of the submissions alone")
        found += _read_file(path, path.relative_to(folder).as_posix())
    if not found:
        raise ValueError(
            f"{str(folder)!r} has no notebook (.ipynb) and no zip in it: put each pupil's file or folder there"
        )
    return _newest(found)


def _files(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if not _ASIDE.search(name)]
        yield from (Path(here, name) for name in files if not _ASIDE.search(name))


def _read_file(path: Path, name: str) -> list[Submission]:
    if path.suffix.lower() not in (".ipynb", ".zip"):
        return []
    whose = Submission(pupil_in(name), name)
    if path.is_symlink() or not path.is_file():
        whose.problem = "it is a link or no file: hand in the notebook itself"
        return [whose]
    try:
        whose.changed = path.stat().st_mtime
        if path.suffix.lower() == ".zip":
            return _read_zip(path, name)
        if path.stat().st_size > LARGEST:
            whose.problem = _too_large(path.stat().st_size)
            return [whose]
        return [_read_notebook(whose, path.read_bytes())]
    except OSError as error:
        whose.problem = f"it cannot be read ({error.strerror or error})"
        return [whose]


def _too_large(size: int) -> str:
    return f"it has {size / 1e6:,.0f} MB, and {LARGEST / 1e6:,.0f} are read: its outputs must be cleared"


def _read_zip(path: Path, name: str) -> list[Submission]:
    whole = Submission(pupil_in(name), name)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if not one.is_dir() and not _ASIDE.search(one.filename)]
            notebooks = [one for one in members if one.filename.lower().endswith(".ipynb")][:MOST]
            tops = {PurePosixPath(one.filename).parts[0] for one in notebooks if "/" in one.filename}
            several = len(tops) > 1 and all("/" in one.filename for one in notebooks)  # one zip of a whole class
            found = [_read_member(archive, one, name, several) for one in notebooks]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        whole.problem = f"it is no zip that can be read ({type(error).__name__})"
        return [whole]
    if not found:
        whole.problem = "there is no notebook in the zip"
    return found or [whole]


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, several: bool) -> Submission:
    inside = member.filename.replace("\\", "/")
    found = Submission(pupil_in(inside) if several else pupil_in(name), f"{name}/{inside}"[:200])
    found.changed = _seconds(member)
    if ".." in PurePosixPath(inside).parts or inside.startswith("/") or (member.external_attr >> 28) == 0xA:
        found.problem = "in the zip it is a link or has a path that leads out of it: nothing of it is read"
        return found
    if member.file_size > LARGEST:
        found.problem = _too_large(member.file_size)
        return found
    try:
        with archive.open(member) as file:
            data = file.read(LARGEST + 1)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
        found.problem = f"it is damaged, or has a password ({type(error).__name__})"
        return found
    if len(data) > LARGEST:
        found.problem = _too_large(len(data))
        return found
    return _read_notebook(found, data)


def _seconds(member: zipfile.ZipInfo) -> float:
    try:
        return datetime(*member.date_time).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


# ---- One notebook ----------------------------------------------------------------------------------------------------


def _read_notebook(found: Submission, data: bytes) -> Submission:
    found.digest = hashlib.sha256(data).hexdigest()
    found.topic = _topic_of_name(found.source)
    if not data.strip():
        found.problem = "the file is empty"
        return found
    try:
        content = json.loads(data)
        cells = content["cells"]
        code = [(number, _text(cell)) for number, cell in enumerate(cells, start=1) if cell["cell_type"] == "code"]
        metadata = content.get("metadata", {})
    except RecursionError:
        found.problem = "it is no notebook (its JSON is nested too deeply)"
        return found
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        found.problem = f"it is no notebook ({'not JSON' if isinstance(error, ValueError) else 'other JSON'})"
        return found
    if sum(len(text) for _, text in code) > MOST_CODE:
        found.problem = f"it has more than {MOST_CODE / 1e6:.0f} MB of code"
        return found
    found.cells = [(number, text) for number, text in code if text.strip()]
    release = metadata.get("gptlab") if isinstance(metadata, dict) else None
    if isinstance(release, dict):
        found.made_of = str(release.get("release", ""))[:60]
        found.topic = _topic_of_name(str(release.get("notebook", ""))[:80]) or found.topic
    found.topic = found.topic or _topic_of_checks(found.cells)
    if not found.cells:
        found.problem = "it has no code"
    return found


def _text(cell: dict[str, Any]) -> str:
    source = cell["source"]
    if not isinstance(source, (str, list)):
        raise TypeError
    return source if isinstance(source, str) else "".join(source)


def _topic_of_name(name: str) -> str:
    stem = name.rpartition("/")[2].lower()
    return next((one.topic for one in NOTEBOOKS if re.search(rf"(\d\d_|^){one.name}(?![a-z_]{{3}})", stem)), "")


def _topic_of_checks(cells: list[tuple[int, str]]) -> str:
    """The topic that most of its checks are about."""
    topics = {one.topic for one in NOTEBOOKS}
    said = Counter(id for _, text in cells for id in re.findall(r"""check\(\s*["'](\w+)\.""", text) if id in topics)
    return said.most_common(1)[0][0] if said else ""


def pupil_in(name: str) -> str:
    """The pupil that a path names.

    Args:
        name: relative to the folder of all submissions, with slashes.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    if len(parts) > 1:
        return _PORTAL.sub("", parts[0]).strip()[:80] or "?"
    stem = re.sub(r"\.(ipynb|zip)$", "", parts[0] if parts else "", flags=re.IGNORECASE)
    stem = _PORTAL.sub("", _COPY.sub("", stem))
    for one in NOTEBOOKS:
        stem = re.sub(rf"(^|[\s_-]+)\d\d_{one.name}($|(?=[\s_(-]))", "", stem, flags=re.IGNORECASE)
    return _COPY.sub("", stem).strip(" _-–")[:80] or "?"


def _newest(found: list[Submission]) -> list[Submission]:
    """Of a pupil's several files of one notebook, the newest that can be marked; the others are named in its notes."""
    groups: dict[tuple[str, str], list[Submission]] = {}
    for number, one in enumerate(found):
        apart = f"?{number}" if one.pupil == "?" else ""  # nobody knows whether two without a name are one pupil's
        groups.setdefault((one.pupil + apart, one.topic), []).append(one)
    kept = []
    for one in found:
        if one.pupil == "?":
            one.notes.append(f"No name of a pupil is in {one.source}.")
    for _, several in sorted(groups.items()):
        several.sort(key=lambda one: (not one.problem, one.changed, one.source))
        newest = several[-1]
        for other in several[:-1]:
            same = other.digest and other.digest == newest.digest
            newest.notes.append(f"{other.source} is {'the same file' if same else 'another one'}, and is not marked.")
        kept.append(newest)
    by_content: dict[str, list[Submission]] = {}
    for one in kept:
        if one.digest and one.cells:
            by_content.setdefault(one.digest, []).append(one)
    for alike in by_content.values():
        for one in alike if len(alike) > 1 else []:
            others = ", ".join(other.pupil for other in alike if other is not one)
            one.notes.append(f"Its file is the same, byte by byte, as that of {others}.")
    return kept
