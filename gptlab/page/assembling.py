"""One file out of many: style, data and modules put into `page.html`, so that nothing is left to load.

The modules of `javascript/` are ordinary ES modules, which import each other by name. Put one behind the other, each
after those that it imports, they are one script: the import lines and the word `export` go, and every name at the top
of a module must occur in one module only.
"""

import json
import re
from pathlib import Path
from typing import Any

from gptlab.entrances import guard

FOLDER = Path(__file__).parent
MODULES = FOLDER / "javascript"
MARK = '<meta name="generator" content="gptlab page">'  # by this a page of ours is known, and may be replaced

_IMPORT = re.compile(r'^import\s*\{[^}]*\}\s*from\s*"(\.{1,2}/[^"]+)";[^\S\n]*\n?', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const|let)\b)", re.MULTILINE)
_TOP = re.compile(r"^(?:export )?(?:async )?(?:function\*?|class|const|let|var) +([\w$]+)", re.MULTILINE)
_TOGETHER = re.compile(r"^(?:export )?(?:const|let|var) +[{\[]", re.MULTILINE)  # const { a, b } = …, names unseen
_LEFT = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


def module_files(folder: Path = MODULES) -> list[Path]:
    """The modules of a folder, each after those that it imports; otherwise by name.

    Args:
        folder: where they are, with its subfolders.

    Raises:
        ValueError: modules import each other in a circle, or one that is not there.

    >>> names = [path.name for path in module_files()]
    >>> names.index("tensor.js") < names.index("attention.js") < names.index("model.js") < names.index("session.js")
    True
    """
    ordered: list[Path] = []
    for path in sorted(folder.rglob("*.js")):
        _visit(path, ordered, [])
    return ordered


def _visit(path: Path, ordered: list[Path], above: list[Path]) -> None:
    if path in ordered:
        return
    if path in above:
        circle = " imports ".join(part.name for part in [*above[above.index(path) :], path])
        raise ValueError(f"modules of a page are put one behind the other, but {circle}")
    if not path.is_file():
        raise ValueError(f"{above[-1].name if above else 'a page'} imports {path.name}, and there is no such file")
    for imported in _IMPORT.findall(path.read_text(encoding="utf-8")):
        _visit((path.parent / imported).resolve(), ordered, [*above, path])
    ordered.append(path)


def script(files: list[Path]) -> str:
    """Modules as one script.

    Args:
        files: each after those that it imports, as `module_files` gives them.

    Raises:
        ValueError: two modules have the same name at their top, or one has an import or export of another form.
    """
    parts, owner = [], {}
    for path in files:
        source = path.read_text(encoding="utf-8")
        for name in _TOP.findall(source):
            if owner.setdefault(name, path) != path:
                raise ValueError(
                    f"{path.name} and {owner[name].name} both define {name!r}, and a page is one script: rename one"
                )
        plain = _EXPORT.sub("", _IMPORT.sub("", source))
        if left := _LEFT.search(plain) or _TOGETHER.search(plain):
            raise ValueError(f'{path.name} has {left[0]!r}: write import {{ a }} from "./b.js", export const, function')
        if "</script" in plain.lower():
            raise ValueError(f"{path.name} contains </script, which would end the script there: write it in two parts")
        parts.append(f"// ── {path.name} ──\n{plain.strip()}\n")
    return "\n".join(parts)


def assemble(data: dict[str, Any], folder: Path = FOLDER) -> str:
    """The page with everything in it.

    Args:
        data: what the page shows and runs; see `gptlab.page.page_data`.
        folder: with `page.html`, `page.css` and the folder of modules.
    """
    page = (folder / "page.html").read_text(encoding="utf-8")
    style = (folder / "page.css").read_text(encoding="utf-8")
    return fill(
        page,
        {
            "style": f"{MARK}\n<style>\n{style}</style>",
            "model": f'<script type="application/json" id="gptlab-model">{as_json(data)}</script>',
            "script": f'<script type="module">\n{script(module_files(folder / "javascript"))}</script>',
        },
    )


def fill(page: str, contents: dict[str, str]) -> str:
    """A page with contents in place of its comments `<!-- name -->`.

    Args:
        page: HTML with each of the comments once.
        contents: by the names.

    Raises:
        ValueError: a comment is missing, or there twice.

    >>> fill("<p><!-- a --></p>", {"a": "b"})
    '<p>b</p>'
    """
    for name, content in contents.items():
        place = f"<!-- {name} -->"
        if page.count(place) != 1:
            raise ValueError(f"page.html has {page.count(place)} times {place}, and needs it once")
        before, after = page.split(place)
        page = before + content + after
    return page


def as_json(data: dict[str, Any]) -> str:
    r"""JSON that can stand in HTML: no `<` of a vocabulary may end the script or begin a comment.

    >>> as_json({"tokens": ["</script>"]})
    '{"tokens":["\\u003c/script>"]}'
    """
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def is_ours(page: Path) -> bool:
    """Whether a file is a page that this package has made.

    Args:
        page: an existing file.
    """
    try:
        with page.open(encoding="utf-8", errors="replace") as file:
            return MARK in file.read(65_536)
    except OSError:
        return False


guard(globals())
