"""A notebook as the content of a page: its cells in HTML, its headings, and no link that leads nowhere.

nbconvert turns cells and stored outputs into HTML by our template (`template/course/cells.html.j2`); formulas become
MathML; then one pass over the result gives headings their anchors, turns links between notebooks into links between
pages, and takes out whatever a browser would load or run.
"""

import base64
import binascii
import re
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import bs4
import nbformat
from jinja2 import pass_context
from nbconvert.exporters import HTMLExporter, TemplateExporter
from nbconvert.filters import Highlight2HTML
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from traitlets.config import Config

from gptlab.entrances import guard
from gptlab.site.maths import to_mathml

FOLDER = Path(__file__).parent
MODEL_PAGE = "model.html"
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_LOADING = ("script", "style", "link", "iframe", "object", "embed", "audio", "video", "base", "meta", "form")
_OUTSIDE = re.compile(r"(https?|mailto):", re.IGNORECASE)
_KINDS = [  # of an output, the first that it has is shown
    "text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/latex", "text/plain",
]  # fmt: skip
_WORDS = 160  # characters of a section that a search looks at and shows


@dataclass(frozen=True)
class Heading:
    """A heading of a page.

    Attributes:
        level: 1 for the title, 2 for a section, 3 for a part of it.
        text: without markup.
        anchor: the id that a link to it has after `#`.
        words: how the text below it begins.
    """

    level: int
    text: str
    anchor: str
    words: str


@dataclass(frozen=True)
class Content:
    """What a notebook brings to its page.

    Attributes:
        html: its cells.
        headings: in the order of the page.
        has_outputs: whether any cell has an output.
    """

    html: str
    headings: tuple[Heading, ...]
    has_outputs: bool


class _Markdown(IPythonRenderer):
    """Markdown whose formulas are MathML."""

    def inline_math(self, body: str) -> str:
        return to_mathml(body)

    def block_math(self, body: str) -> str:
        return f'<span class="formula">{to_mathml(body, block=True)}</span>'

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")


class _Exporter(HTMLExporter):
    """nbconvert with our template and our Markdown."""

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        attachments = context.get("cell", {}).get("attachments", {})
        renderer = _Markdown(escape=False, attachments=attachments, exclude_anchor_links=True)
        return MarkdownWithMath(renderer=renderer).render(source)

    def from_notebook_node(self, nb: Any, resources: Any = None, **options: Any) -> Any:
        self.register_filter("highlight_code", Highlight2HTML(pygments_lexer="ipython3", parent=self))
        # Not the parent's, which parses the HTML once more to look for what our template never writes.
        return TemplateExporter.from_notebook_node(self, nb, resources, **options)


def exporter() -> HTMLExporter:
    """nbconvert's exporter with the template of the site; one serves all notebooks."""
    return _Exporter(
        config=Config({"NbConvertBase": {"display_data_priority": _KINDS}}),
        extra_template_basedirs=[str(FOLDER / "template")],
        template_name="course",
        template_file="cells.html.j2",
    )


def read(path: Path) -> nbformat.NotebookNode:
    """A notebook from its file.

    Args:
        path: the ipynb.

    Raises:
        ValueError: the file is no notebook.
    """
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, AttributeError, KeyError, TypeError, nbformat.ValidationError) as error:
        raise ValueError(f"{str(path)!r} is no notebook, or a damaged one: get it again") from error


def render(notebook: nbformat.NotebookNode, pages: Collection[str], by: HTMLExporter | None = None) -> Content:
    """The content of a page.

    Args:
        notebook: with its stored outputs.
        pages: names of the site's files that links may lead to, such as "06_attention.html".
        by: what `exporter` gives, to use it for several notebooks.

    Raises:
        ValueError: a formula cannot be shown.

    >>> cells = [nbformat.v4.new_markdown_cell("# Sums\\n\\nSee [this](02_bpe.ipynb) and [that](../setup.py).")]
    >>> print(render(nbformat.v4.new_notebook(cells=cells), ["02_bpe.html"]).html.strip())
    <div class="prose"><h1 id="Sums">Sums</h1>
    <p>See <a href="02_bpe.html">this</a> and that.</p>
    </div>
    """
    html, _ = (by or exporter()).from_notebook_node(notebook)
    soup = bs4.BeautifulSoup(html, "html.parser")
    for element in soup(True):
        for name in [name for name in element.attrs if name.startswith("on")]:  # onclick, onload
            del element[name]
        if element.name in _LOADING:
            element.extract()
        elif element.name == "img":
            _show(element)
        elif element.name == "a":
            _lead(element, pages)
        elif element.name == "table" and element.find_parent(class_="drawn") is None:
            element.wrap(soup.new_tag("div", attrs={"class": "wide"}))
    _mark_headings(soup)
    for link in soup("a", href=re.compile("^#")):  # when all headings have their anchors
        if soup.find(id=link["href"][1:]) is None:
            link.unwrap()
    has_outputs = any(cell.get("outputs") for cell in notebook.cells)
    return Content(str(soup), tuple(_headings(soup)), has_outputs)


def settle(html: str, anchors: Mapping[str, Collection[str]]) -> str:
    """The same page, where links to headings of other pages that are not there lead to those pages.

    Args:
        html: what `render` has made of a notebook.
        anchors: of each page of the site.

    >>> settle('<a href="b.html#Here">1</a> <a href="b.html#Gone">2</a>', {"b.html": ["Here"]})
    '<a href="b.html#Here">1</a> <a href="b.html">2</a>'
    """

    def checked(link: re.Match[str]) -> str:
        page, anchor = link[1], unescape(unquote(link[2]))
        return link[0] if page not in anchors or anchor in anchors[page] else f'<a href="{page}"'

    return re.sub(r'<a href="([^"#]+)#([^"]*)"', checked, html)


def _show(image: bs4.Tag) -> None:
    """Give a picture its size, so that nothing moves when it appears; one from elsewhere becomes its description."""
    source = str(image.get("src", ""))
    if not source.startswith("data:image/"):
        image.replace_with(str(image.get("alt", "")))
        return
    if source.startswith("data:image/png;base64,") and not image.get("width"):
        try:
            width, height = struct.unpack(">II", base64.b64decode(source[22:62])[16:24])
        except (struct.error, binascii.Error):
            return
        image["width"], image["height"] = str(width), str(height)


def _lead(link: bs4.Tag, pages: Collection[str]) -> None:
    """Let a link lead to a page of the site or to the outside; what else it led to becomes plain text."""
    target = str(link.get("href", ""))
    if target.startswith("#") or _OUTSIDE.match(target):
        return
    place, _, anchor = target.partition("#")
    name = place.rpartition("/")[2]
    if place.endswith("data/page.html"):
        name = MODEL_PAGE
    elif name.endswith(".ipynb"):
        name = f"{name.removesuffix('.ipynb')}.html"
    else:
        name = ""
    if name in pages:
        link["href"] = f"{name}#{anchor}" if anchor else name
    else:
        link.unwrap()


def _mark_headings(soup: bs4.BeautifulSoup) -> None:
    """Give each heading the anchor that JupyterLab gives it; a second one of the same text gets a number."""
    taken: set[str] = set()
    for heading in soup(_HEADINGS):
        anchor = base = re.sub(r"\s", "-", heading.get_text().strip())
        number = 1
        while anchor in taken:
            number += 1
            anchor = f"{base}-{number}"
        taken.add(anchor)
        heading["id"] = anchor


def _headings(soup: bs4.BeautifulSoup) -> list[Heading]:
    """The headings, each with how the text below it begins. Answers in folds are no part of it."""
    found: list[Heading] = []
    words: list[str] = []
    for element in [*soup([*_HEADINGS, "p", "li"]), None]:
        if element is not None and element.name not in _HEADINGS:
            if element.find_parent("details") is None and sum(map(len, words)) < _WORDS:
                words.append(" ".join(element.get_text().split()))
            continue
        if found:
            last = found.pop()
            found.append(Heading(last.level, last.text, last.anchor, _shortened(" ".join(words))))
        if element is not None:
            text = " ".join(element.get_text().split())
            found.append(Heading(int(element.name[1]), text, str(element["id"]), ""))
        words = []
    return found


def _shortened(text: str) -> str:
    return text if len(text) <= _WORDS else text[:_WORDS].rpartition(" ")[0] + " …"


guard(globals())
