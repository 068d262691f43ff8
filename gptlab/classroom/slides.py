"""A notebook as slides for the projector: one HTML file with its pictures and its stored outputs, and nothing else.

Each heading begins a slide, and so does each cell of code after the first under it. A slide shows what a class looks
at: lists, tables, formulas, code and outputs. The prose between them is what a teacher says; it is in the notes (key
N). The output of a cell that answers a guess, and every folded answer, appear with one more key. A cell's tags say
where that is not right: `slide` begins a slide, `step` waits for a key, `notes` goes to the notes, `skip-slide` is
left out. The deck is a page of its own, without reveal.js, because no package that the course needs brings it along.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptlab import notebook
from gptlab.commands.notebooks import ANSWER
from gptlab.files import write_whole
from gptlab.html import escape

_DECK = Path(__file__).with_name("deck")
_FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", re.DOTALL)
_FOLDED = re.compile(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>", re.DOTALL)


@dataclass
class Slide:
    """One slide, and what is said to it.

    Attributes:
        title: of the section; the notebook's on the first.
        parts: of HTML, in order.
        notes: of HTML: what a teacher says.
    """

    title: str
    parts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def make(source: dict[str, Any], title: str) -> str:
    """The deck of a notebook.

    Args:
        source: an ipynb, parsed.
        title: of the page.

    >>> cells = [{"cell_type": "markdown", "source": "# One", "metadata": {}}]
    >>> "<h1>One</h1>" in make({"cells": cells}, "A notebook")
    True
    """
    slides = [one for one in _slides(source) if one.parts or one.notes or one.title]
    shown = [
        f'<section class="{"first" if i == 0 else ""}">\n{_heading(one.title, i)}\n'
        f'<div class="body">\n{"".join(one.parts)}\n</div>\n</section>'
        for i, one in enumerate(slides)
    ]
    notes = [f"<aside>{''.join(one.notes) or '<p>No notes.</p>'}</aside>" for one in slides]
    page = (_DECK / "deck.html").read_text(encoding="utf-8")
    filled = {
        "title": escape(title),
        "css": (_DECK / "deck.css").read_text(encoding="utf-8"),
        "js": (_DECK / "deck.js").read_text(encoding="utf-8"),
        "slides": "\n".join(shown),
        "notes": "\n".join(notes),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda hole: filled[hole[1]], page)


def write(which: str, folder: Path, notebooks: Path) -> Path:
    """Write the deck of a notebook of the course, or of any ipynb.

    Args:
        which: its topic, name or number; or the path of an ipynb.
        folder: for the page.
        notebooks: the folder with the course's notebooks.

    Raises:
        ValueError: there is no such notebook, or the file is none.
    """
    path = Path(which).expanduser()
    if path.suffix == ".ipynb" and path.exists():
        title = path.stem
    else:
        found = notebook(which)
        path, title = notebooks / f"{found.file}.ipynb", f"{found.number:02} {found.title}"
        if not path.exists():
            raise ValueError(f"notebook {title} is not written yet: {path} is not there")
    try:
        source = json.loads(path.read_text(encoding="utf-8"))
        page = make(source, title)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError(f"{str(path)!r} is not a whole notebook: get it again, or run it again") from None
    target = folder / f"{path.stem}.html"
    write_whole(target, page)
    return target


def _heading(title: str, number: int) -> str:
    return f"<h{1 if number == 0 else 2}>{_inline(title)}</h{1 if number == 0 else 2}>"


def _inline(text: str) -> str:
    said = _markdown(text).strip()
    return said.removeprefix("<p>").removesuffix("</p>")


def _slides(source: dict[str, Any]) -> list[Slide]:
    slides = [Slide("")]
    has_code = seen_code = False
    for cell in source["cells"]:
        tags, text = cell["metadata"].get("tags", []), "".join(cell["source"])
        if "skip-slide" in tags:
            continue
        if "slide" in tags:
            slides.append(Slide(slides[-1].title))
            has_code = False
        if cell["cell_type"] == "code":
            if not seen_code:  # the set-up cell: imports, which nobody needs to look at
                seen_code = True
                slides[-1].notes += _code(text, [], False)
                continue
            if has_code and "step" not in tags:
                slides.append(Slide(slides[-1].title))
            has_code = True
            slides[-1].parts += _code(text, cell.get("outputs", []), "step" in tags or ANSWER in tags)
        elif cell["cell_type"] == "markdown":
            for title, body in _under_headings(text):
                if title is not None:
                    slides.append(Slide(title)) if slides[-1].title or slides[-1].parts else None
                    slides[-1].title, has_code = title, False
                _text(slides[-1], body, tags)
    return slides


def _under_headings(text: str) -> list[tuple[str | None, str]]:
    """The pieces of a Markdown cell: the heading of each, None for what comes before the first, and what follows it."""
    pieces = re.split(r"^#{1,3} (.+)$", text, flags=re.MULTILINE)
    return [(None, pieces[0]), *zip(pieces[1::2], pieces[2::2], strict=True)]


def _text(slide: Slide, text: str, tags: list[str]) -> None:
    """Lists, tables, formulas and pictures go to the slide, paragraphs to its notes, folded answers behind a key."""
    answers = _FOLDED.findall(text)
    for block in re.split(r"\n\s*\n(?! )", _FOLDED.sub("", text).strip()):
        if not block.strip():
            continue
        looked_at = re.match(r"\s*([-*>|] ?|\d+\. |```|!\[|\$\$|#### )", block) and not block.startswith("**")
        where = slide.parts if looked_at and "notes" not in tags else slide.notes
        where.append(_waiting(_markdown(block), "step" in tags and where is slide.parts))
    for summary, body in answers:
        said = f"<p><b>{_inline(' '.join(summary.split()))}</b></p>{_markdown(body.strip())}"
        slide.parts.append(_waiting(said, True))


def _waiting(html: str, waits: bool) -> str:
    return f"<div data-step>{html}</div>" if waits else f"<div>{html}</div>"


def _code(text: str, outputs: list[dict[str, Any]], waits: bool) -> list[str]:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    shown = highlight(text, PythonLexer(), HtmlFormatter(noclasses=True, nobackground=True))
    result = "".join(_output(output) for output in outputs)
    return [
        f'<div class="code">{shown}</div>',
        *([_waiting(f'<div class="out">{result}</div>', waits)] if result else []),
    ]


def _output(output: dict[str, Any]) -> str:
    if output["output_type"] == "stream":
        return f"<pre>{escape(''.join(output['text']))}</pre>"
    if output["output_type"] == "error":
        return f"<pre>{escape(output['ename'])}: {escape(output['evalue'])}</pre>"
    data = output.get("data", {})
    if "image/png" in data:
        alt = escape(str(output.get("metadata", {}).get("image/png", {}).get("alt", ""))).replace('"', "&quot;")
        return f'<img alt="{alt}" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    if "text/html" in data:
        return _without_scripts("".join(data["text/html"]))
    if "text/markdown" in data:
        return _markdown("".join(data["text/markdown"]))
    return f"<pre>{escape(''.join(data.get('text/plain', '')))}</pre>"


def _without_scripts(html: str) -> str:
    return re.sub(r"<script\b.*?</script>", "", html, flags=re.DOTALL | re.IGNORECASE)


def _markdown(text: str) -> str:
    """Markdown as HTML, formulas as pictures."""
    from nbconvert.filters import markdown2html

    from gptlab.pictures.formulas import formula_svg

    formulas: list[str] = []

    def held(found: re.Match) -> str:
        latex = found[1] or found[2]
        formulas.append(formula_svg(latex.strip()) or f"<code>{escape(latex.strip())}</code>")
        return f"\ue000{len(formulas) - 1}\ue001"

    html = markdown2html(_FORMULA.sub(held, text))
    html = re.sub("\ue000(\\d+)\ue001", lambda found: formulas[int(found[1])], html)
    return _without_scripts(html)
