"""The course as web pages, in a folder that is read from a disk or a USB stick: no server, no network, no installation.

`python3 -m gptlab site` calls `write`. Each notebook becomes a page (`rendering`, `maths`) in a frame of ours
(`template/`, `assets/`), and a search over all headings works from the disk (`search`). A page loads files of its own
folder and nothing else.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import jinja2
from pygments.formatters import HtmlFormatter

import gptlab
from gptlab.entrances import guard
from gptlab.files import expanded, replacing, write_whole
from gptlab.pictures.course import ACTS
from gptlab.site import rendering, search
from gptlab.site.rendering import FOLDER, MODEL_PAGE, Content, Heading

__all__ = ["Made", "Stop", "check_out", "stops", "write"]

MARKER = "gptlab-site.json"  # lists the files of a site; by it a folder is known, and may be replaced
_PICTURE = "model.png"
_OF_THE_SYSTEM = {".DS_Store", "Thumbs.db", "desktop.ini"}  # files that a file manager leaves in any folder
_LIGHT, _DARK = "xcode", "github-dark"  # those of Pygments whose colours have a contrast of 4.5 on our grounds


@dataclass(frozen=True)
class Stop:
    """A notebook as the map of the site shows it.

    Attributes:
        number: two digits.
        title: as in `gptlab.NOTEBOOKS`, like the idea.
        idea: in one line.
        page: the file of its page.
        act: the part of the course that begins with it, or "".
        there: whether the site has it.
    """

    number: str
    title: str
    idea: str
    page: str
    act: str
    there: bool


@dataclass(frozen=True)
class Made:
    """What `write` has made.

    Attributes:
        notebooks: how many pages come from notebooks.
        size: of all files, in bytes.
        without_outputs: files of the notebooks that were stored without any output.
    """

    notebooks: int
    size: int
    without_outputs: tuple[str, ...]


def write(folder: Path, out: Path, model_page: Path | None = None, picture: Path | None = None) -> Made:
    """Write the site of the notebooks in a folder.

    The whole course takes about twenty seconds of a laptop and 9 MB, 1.5 MB of it for the model's page.

    Args:
        folder: with the notebooks, by the names that they have in the course; those that are missing are left out.
        out: the folder of the site; one of an earlier call may be there, and is replaced as a whole.
        model_page: a page that `gptlab.page.write` has made, to be part of the site.
        picture: of that page, a PNG.

    Raises:
        ValueError: there are no notebooks, or a damaged one; or `out` as for `check_out`.
    """
    folder, out = expanded(folder), expanded(out).resolve()
    check_out(out)
    course = stops(folder)
    there = [stop for stop in course if stop.there]
    if not there:
        raise ValueError(f"there is no notebook of the course in {str(folder)!r}: name the folder that has them")
    pages = ["index.html", *(stop.page for stop in there), *([MODEL_PAGE] if model_page else [])]
    exporter = rendering.exporter()
    contents = {stop: rendering.render(rendering.read(folder / _notebook(stop)), pages, exporter) for stop in there}
    files = dict(_pages(course, contents, model_page is not None, picture))
    files |= {f"assets/{name}": text.encode("utf-8") for name, text in _assets(contents).items()}
    if model_page is not None:
        files[MODEL_PAGE] = model_page.read_bytes()
        if picture is not None and picture.is_file():
            files[_PICTURE] = picture.read_bytes()
    marker = {"made_with": f"gptlab {gptlab.__version__}", "files": sorted(files)}
    files[MARKER] = (json.dumps(marker, indent=1) + "\n").encode("utf-8")
    with replacing(out) as draft:
        for name, content in files.items():
            write_whole(draft / name, content)
    empty = tuple(_notebook(stop) for stop, content in contents.items() if not content.has_outputs)
    return Made(len(there), sum(map(len, files.values())), empty)


def check_out(out: Path) -> None:
    """Check that a site may be written here.

    Raises:
        ValueError: it is a file, in a folder that is not there, or a folder with something else than a site of ours.

    >>> check_out(Path("/nowhere/course"))
    Traceback (most recent call last):
    ValueError: there is no folder '/nowhere' to make 'course' in: make it, or choose another place
    """
    out = expanded(out).resolve()
    if not out.parent.is_dir():
        raise ValueError(
            f"there is no folder {str(out.parent)!r} to make {out.name!r} in: make it, or choose another place"
        )
    if not out.exists():
        return
    if not out.is_dir():
        raise ValueError(f"{str(out)!r} is a file, and a site is a folder: choose another name")
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file() or path.is_symlink()}
    if others := sorted(name for name in found - _ours(out) if Path(name).name not in _OF_THE_SYSTEM):
        raise ValueError(
            f"{str(out)!r} has something in it that is no part of a site of this command, such as {others[0]!r}: "
            f"choose a new folder, for example {str(out / 'course')!r}"
        )


def _ours(out: Path) -> set[str]:
    """The files that an earlier call has written into a folder, as its marker lists them."""
    try:
        listed = json.loads((out / MARKER).read_text(encoding="utf-8"))["files"]
        return {MARKER, *map(str, listed)}
    except (OSError, ValueError, LookupError, TypeError):
        return set()


def stops(folder: Path) -> tuple[Stop, ...]:
    """All notebooks of the course, with those that a folder has.

    Args:
        folder: with the notebooks.

    >>> [stop.title for stop in stops(Path("/nowhere"))][6], any(stop.there for stop in stops(Path("/nowhere")))
    ('Attention', False)
    """
    return tuple(
        Stop(
            number=f"{found.number:02}",
            title=found.title,
            idea=found.idea,
            page=f"{found.file}.html",
            act=ACTS.get(found.topic, ""),
            there=(folder / f"{found.file}.ipynb").is_file(),
        )
        for found in gptlab.NOTEBOOKS
    )


def _notebook(stop: Stop) -> str:
    return f"{stop.page.removesuffix('.html')}.ipynb"


def _pages(
    course: tuple[Stop, ...], contents: dict[Stop, Content], has_model: bool, picture: Path | None
) -> Iterator[tuple[str, bytes]]:
    """Name and content of each page that has our frame."""
    frames = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "template"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    shared = {"stops": course, "version": gptlab.__version__}
    picture = picture if has_model and picture is not None and picture.is_file() else None
    index = frames.get_template("index.html.j2").render(
        shared,
        page="index.html",
        title="gptlab: build a GPT, part by part",
        headings=(),
        acts=_acts(course),
        model_page=MODEL_PAGE if has_model else "",
        picture=_PICTURE if picture else "",
        picture_size=struct.unpack(">II", picture.read_bytes()[16:24]) if picture else (0, 0),
    )
    yield "index.html", index.encode("utf-8")
    template = frames.get_template("notebook.html.j2")
    anchors = {stop.page: {heading.anchor for heading in content.headings} for stop, content in contents.items()}
    for before, stop, after in _neighbours(list(contents)):
        content = contents[stop]
        page = template.render(
            shared,
            page=stop.page,
            title=f"{stop.number} {stop.title} · gptlab",
            headings=content.headings,
            content=jinja2.filters.Markup(rendering.settle(content.html, anchors)),
            has_outputs=content.has_outputs,
            before=before,
            after=after,
        )
        yield stop.page, page.encode("utf-8")


def _acts(course: tuple[Stop, ...]) -> list[tuple[str, list[Stop]]]:
    acts: list[tuple[str, list[Stop]]] = []
    for stop in course:
        if stop.act or not acts:
            acts.append((stop.act, []))
        acts[-1][1].append(stop)
    return acts


def _neighbours(there: list[Stop]) -> Iterator[tuple[Stop | None, Stop, Stop | None]]:
    """Each stop between the one before it and the one after it.

    >>> list(_neighbours(["a", "b"]))
    [(None, 'a', 'b'), ('a', 'b', None)]
    """
    padded = [None, *there, None]
    for (before, stop), (_, after) in pairwise(pairwise(padded)):
        assert stop is not None
        yield before, stop, after


def _assets(contents: dict[Stop, Content]) -> dict[str, str]:
    """Style and scripts, by their file names."""
    indexed = [(stop.page, f"{stop.number} {stop.title}", content.headings) for stop, content in contents.items()]
    start = [Heading(2, "Run it yourself", "run", "How to set everything up on your own machine, in one command.")]
    return {
        "site.css": (FOLDER / "assets" / "site.css").read_text(encoding="utf-8"),
        "site.js": (FOLDER / "assets" / "site.js").read_text(encoding="utf-8"),
        "code.css": _code_style(),
        "search-index.js": search.index([("index.html", "The course", start), *indexed]),
    }


def _code_style() -> str:
    """Colours of code, as Pygments has them, for both themes."""
    light = HtmlFormatter(style=_LIGHT).get_style_defs(".highlight")
    dark = HtmlFormatter(style=_DARK).get_style_defs(':root[data-theme="dark"] .highlight')
    return f"{light}\n@media screen {{\n{dark}\n}}\n"


guard(globals())
