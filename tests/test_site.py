"""The site has what the notebooks have, loads nothing from elsewhere, has no dead link, and replaces only itself."""

import json
import re
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote

import browsing
import bs4
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import gptlab
from gptlab import commands, site
from gptlab.commands import environment
from gptlab.page.assembling import MARK
from gptlab.site import rendering
from gptlab.site.maths import to_mathml

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TEXT = """# 01 Tokens

Read [the next](02_bpe.ipynb#A-table), [a part of it](02_bpe.ipynb#Nowhere), [the code](../gptlab/tokens.py),
[the page](../data/page.html), [a later one](09_backpropagation.ipynb) or [a paper](https://arxiv.org/abs/1706.03762).

## Bytes and *characters*

A character with $2^8$ values, and `$5` in code:

$$ \\max_{i<j} \\frac{1}{\\sqrt{hs}} $$

<details><summary>Answer</summary>

It is a **quagga**.
</details>

## Bytes and *characters*

The same heading again.

<script src="https://cdn.example.org/x.js"></script>
<img src="https://example.org/x.png" alt="A picture elsewhere" onerror="alert(1)">
"""


def ran(source, outputs, **metadata):
    return new_code_cell(source, outputs=outputs, execution_count=1, metadata=metadata)


def tokens():
    """A notebook with every kind of output."""
    picture = new_output("display_data", {"image/png": PIXEL, "text/plain": "<Figure>"})
    picture.metadata = {"image/png": {"alt": 'A "dot" < 1'}}
    link = '<a style="color:#00588A" href="02_bpe.ipynb">next</a> <a href="18_many_gpus.ipynb">last</a>'
    return new_notebook(
        cells=[
            new_markdown_cell(TEXT),
            ran("print('a < b')", [new_output("stream", name="stdout", text="\x1b[31ma < b\x1b[0m\n")]),
            ran("2 + 2", [new_output("execute_result", {"text/plain": "4"}, execution_count=1)]),
            ran("draw()", [picture], jupyter={"outputs_hidden": True}),
            ran("course()", [new_output("display_data", {"text/html": link, "text/plain": "next"})]),
            ran("solution()", [new_output("display_data", {"text/markdown": "*As* $x$", "text/plain": "As x"})]),
            ran("1 / 0", [new_output("error", ename="E", evalue="", traceback=["\x1b[1mZeroDivisionError\x1b[0m"])]),
        ]
    )


def bpe():
    """A notebook that has not been run."""
    return new_notebook(
        cells=[new_markdown_cell("# 02 BPE\n\n## A table\n\n| a | b |\n|---|---|\n| 1 | 2 |"), ran("1", [])]
    )


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A folder with two made-up notebooks and a real one."""
    folder = tmp_path_factory.mktemp("notebooks")
    nbformat.write(tokens(), folder / "01_tokens.ipynb")
    nbformat.write(bpe(), folder / "02_bpe.ipynb")
    shutil.copy(NOTEBOOKS / "06_attention.ipynb", folder)
    return folder


@pytest.fixture(scope="module")
def course(sources):
    """The folder of the course around them, with a page of a model."""
    data = sources.parent / "clone" / "data"
    data.mkdir(parents=True)
    (data / "page.html").write_text(f"<!DOCTYPE html>{MARK}<title>A model</title>", encoding="utf-8")
    shutil.copy(NOTEBOOKS.parent / "data" / "page.png", data)
    return data.parent


@pytest.fixture(scope="module")
def built(sources, course, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "course"
    made = site.write(sources, out, course / "data" / "page.html", course / "data" / "page.png")
    return out, made


@pytest.fixture(scope="module")
def soups(built):
    return {
        path.name: bs4.BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in built[0].glob("*.html")
    }


def written(text, pages=()):
    """The HTML of a notebook with this text only."""
    return rendering.render(new_notebook(cells=[new_markdown_cell(text)]), pages).html


# ── What is on the pages ─────────────────────────────────────────────────────────────────────────────────────────────


def test_each_notebook_that_is_there_has_a_page_and_the_others_are_named(built, soups):
    out, made = built
    assert set(soups) == {"index.html", "01_tokens.html", "02_bpe.html", "06_attention.html", "model.html"}
    assert made.notebooks == 3
    assert made.size == sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    text = " ".join(soups["index.html"].find("main").get_text().split())
    assert all(found.title in text and found.idea in text for found in gptlab.NOTEBOOKS)
    assert text.count("(not in this folder)") == len(gptlab.NOTEBOOKS) - 3
    assert "python3 -m gptlab start" in text
    assert soups["index.html"].find("a", href="model.html") and soups["index.html"].find("img")["alt"]


def test_pages_lead_to_their_neighbours(soups):
    turn = {name: soups[name].find("nav", class_="turn") for name in soups if name[0] == "0"}
    assert turn["02_bpe.html"].find("a", rel="prev")["href"] == "01_tokens.html"
    assert turn["02_bpe.html"].find("a", rel="next")["href"] == "06_attention.html"
    assert (
        turn["01_tokens.html"].find("a", rel="prev") is None and turn["06_attention.html"].find("a", rel="next") is None
    )


def test_the_sidebar_has_the_course_and_the_headings_of_this_notebook(soups):
    side = soups["06_attention.html"].find(id="contents")
    here = side.find("a", attrs={"aria-current": "page"})
    assert here["href"] == "06_attention.html"
    shown = [" ".join(link.get_text().split()) for link in side.find(class_="headings").find_all("a")]
    notebook = nbformat.read(NOTEBOOKS / "06_attention.ipynb", as_version=4)
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    asked = re.findall(r"^###? (.*)", re.sub(r"```.*?```", "", prose, flags=re.DOTALL), flags=re.MULTILINE)
    assert shown == asked and len(shown) > 15


def test_every_output_of_a_real_notebook_is_on_its_page(soups):
    article = soups["06_attention.html"].find("article")
    text = " ".join(article.get_text().split())
    pictures = [image["alt"] for image in article("img")]
    notebook = nbformat.read(NOTEBOOKS / "06_attention.ipynb", as_version=4)
    looked = 0
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            looked += 1
            if "text" in output:
                assert " ".join(output.text.split()) in text
            if "image/png" in output.get("data", {}) and "text/html" not in output.data:
                assert output.metadata["image/png"]["alt"] in pictures
    assert looked > 50 and all(pictures)


def test_kinds_of_outputs(soups):
    article = soups["01_tokens.html"].find("article")
    printed = [found.get_text() for found in article("pre", class_="printed")]
    assert printed == ["a < b\n", "4", "ZeroDivisionError"]
    image = article.find("img")
    assert image["alt"] == 'A "dot" < 1' and (image["width"], image["height"]) == ("1", "1")
    assert article.find("em", string="As").parent.find("math")
    assert soups["02_bpe.html"].find(class_="wide").table.td.get_text() == "1"


def test_of_an_output_that_has_several_forms_the_best_is_shown():
    svg = new_output("display_data", {"image/svg+xml": "<svg onload='x'/>", "text/plain": "<Drawing>"})
    formula = new_output("display_data", {"text/latex": "$$x^2$$", "text/plain": "x squared"})
    live = new_output("display_data", {"application/javascript": "alert(1)", "text/plain": "a chart"})
    html = rendering.render(new_notebook(cells=[ran("f()", [svg, formula, live])]), []).html
    soup = bs4.BeautifulSoup(html, "html.parser")
    assert soup.img["src"].startswith("data:image/svg+xml;base64,") and soup.msup and "x squared" not in html
    assert soup.find("pre", class_="printed").get_text() == "a chart" and "alert" not in html


def test_an_output_that_answers_a_prediction_is_folded_and_no_other_is(soups):
    folded = soups["01_tokens.html"].find_all("details", class_="answer")
    assert len(folded) == 1 and not folded[0].has_attr("open")
    assert folded[0].find("img") and "Show the output" in folded[0].summary.get_text()
    notebook = nbformat.read(NOTEBOOKS / "06_attention.ipynb", as_version=4)
    hidden = [
        cell for cell in notebook.cells if cell.metadata.get("jupyter", {}).get("outputs_hidden") and cell.outputs
    ]
    assert len(soups["06_attention.html"].find_all("details", class_="answer")) == len(hidden) > 5


def test_folds_of_the_text_stay_folds(soups):
    fold = soups["01_tokens.html"].find("summary", string="Answer").parent
    assert fold.name == "details" and fold.strong.get_text() == "quagga"


def test_headings_of_the_same_text_have_anchors_of_their_own(soups):
    anchors = [heading["id"] for heading in soups["01_tokens.html"].find("article")("h2")]
    assert anchors == ["Bytes-and-characters", "Bytes-and-characters-2"]


def test_a_notebook_without_outputs_says_so(built, soups):
    assert built[1].without_outputs == ("02_bpe.ipynb",)
    assert "stored without outputs" in soups["02_bpe.html"].find(class_="note").get_text()
    assert soups["01_tokens.html"].find(class_="note") is None


# ── Links, and what is loaded ────────────────────────────────────────────────────────────────────────────────────────


def test_links_lead_to_pages_or_outside_or_become_text(soups):
    article = soups["01_tokens.html"].find("article")
    assert [(link.get_text(), link["href"]) for link in article("a")] == [
        ("the next", "02_bpe.html#A-table"),
        ("a part of it", "02_bpe.html"),
        ("the page", "model.html"),
        ("a paper", "https://arxiv.org/abs/1706.03762"),
        ("next", "02_bpe.html"),
    ]
    assert "the code" in article.get_text() and "a later one" in article.get_text()


def test_no_link_dangles(soups):
    for name, soup in soups.items():
        for link in soup("a"):
            page, _, anchor = link["href"].partition("#")
            if page.startswith("https://"):
                continue
            assert (page or name) in soups, f"{name}: {link}"
            assert not anchor or soups[page or name].find(id=unquote(anchor)), f"{name}: {link}"


def test_a_page_loads_files_of_its_own_folder_only(built, soups):
    out, _ = built
    for name, soup in soups.items():
        for element in soup(True):
            loaded = [
                element.get("src"),
                element.get("href") if element.name == "link" else None,
                element.get("srcset"),
            ]
            for address in filter(None, loaded):
                assert address.startswith("data:") or (out / address).is_file(), f"{name}: {str(element)[:80]}"
    for path in (out / "assets").iterdir():
        code = path.read_text(encoding="utf-8")
        assert not re.search(r"@import|url\(|fetch\(|XMLHttp|import\(", code), path.name
        assert path.name == "search-index.js" or "http" not in code


def test_nothing_that_a_notebook_brings_is_run_or_loaded():
    html = written(
        '<p onclick="alert(1)">A</p><iframe src="x"></iframe><link href="y"><img src="z.png" alt="Z">\n\n' + TEXT
    )
    assert "onclick" not in html and "onerror" not in html and "Z" in html and "A picture elsewhere" in html
    assert not bs4.BeautifulSoup(html, "html.parser")(["script", "iframe", "link", "img"])


# ── Formulas ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_formulas_are_mathml_and_dollars_in_code_stay(soups):
    article = soups["01_tokens.html"].find("article")
    assert [formula["display"] for formula in article("math")] == ["inline", "block", "inline"]
    assert article.find("math").msup.get_text() == "28"
    assert article.find("munder") and article.find("mfrac").find("msqrt").get_text() == "hs"
    assert article.find("code", string="$5")


def test_every_formula_of_the_course_can_be_shown():
    exporter, formulas = rendering.exporter(), 0
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        cells = rendering.read(path).cells
        prose = [cell.source for cell in cells if cell.cell_type == "markdown" and "$" in cell.source]
        html = exporter.markdown2html({}, "\n\n".join(prose))
        formulas += html.count("<math")
        text = re.sub(r"<pre.*?</pre>|<code.*?</code>", "", html, flags=re.DOTALL)
        assert not re.search(r"\$|\\[a-zA-Z]", text), path.name
    assert formulas > 400


@pytest.mark.parametrize(
    ("latex", "part"),
    [
        (r"\mathrm{softmax}(x)", "<mi>softmax</mi>"),
        (r"\arg\min_i x_i", "<mo>arg</mo>"),
        (
            r"a \ln p",
            '<mi>a</mi><mspace width="0.167em"></mspace><mi>ln</mi><mspace width="0.167em"></mspace><mi>p</mi>',
        ),
        (r"\cos(t)", '<mi>cos</mi><mo stretchy="false">(</mo>'),
        (r"\texttt{q @ k}", '<mtext class="typewriter">'),
        (r"i < j", "<mo>&lt;</mo>"),
    ],
)
def test_formulas_look_as_in_latex(latex, part):
    assert part in to_mathml(latex)


@pytest.mark.parametrize(("latex", "said"), [(r"\nonsense{x}", r"\\nonsense"), (r"\frac{1}{", "cannot be read")])
def test_a_formula_that_cannot_be_shown_is_named(latex, said):
    with pytest.raises(ValueError, match=re.escape(said)) as raised:
        written(f"Let ${latex}$ be.")
    assert repr(latex) in str(raised.value)


# ── Search ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_index_has_every_heading_with_its_first_words_and_no_answers(built, soups):
    script = (built[0] / "assets" / "search-index.js").read_text(encoding="utf-8")
    index = json.loads(script.removeprefix("var courseIndex = ").rstrip().removesuffix(";"))
    pages = {page: headings for page, _, headings in index}
    assert ["A-table", "A table", ""] in pages["02_bpe.html"]
    assert pages["01_tokens.html"][2][2].startswith("The same heading again.")
    assert "quagga" not in script
    for page, headings in pages.items():
        assert all(soups[page].find(id=anchor) for anchor, _, _ in headings)
        assert all(len(words) <= 170 for _, _, words in headings)


# ── Where a site may be written ──────────────────────────────────────────────────────────────────────────────────────


def test_a_site_is_replaced_as_a_whole(sources, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(sources / "02_bpe.ipynb", few)
    shutil.copy(sources / "01_tokens.ipynb", few)
    out = tmp_path / "course"
    site.write(few, out)
    (out / ".DS_Store").write_text("left by a file manager")
    (few / "01_tokens.ipynb").unlink()
    site.write(few, out)
    assert sorted(path.name for path in out.glob("*.html")) == ["02_bpe.html", "index.html"]
    assert "model.html" not in (out / "index.html").read_text(encoding="utf-8")
    (out / "mine.txt").write_text("notes")
    with pytest.raises(ValueError, match=r"is no part of a site of this command, such as 'mine\.txt'"):
        site.write(few, out)
    assert (out / "mine.txt").read_text() == "notes" and (out / "02_bpe.html").exists()


def test_an_empty_folder_may_be_filled(sources, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(sources / "02_bpe.ipynb", few)
    (tmp_path / "out").mkdir()
    assert site.write(few, tmp_path / "out").notebooks == 1


@pytest.mark.parametrize("marker", ["", "[]", '{"files": 3}', '{"files": ["a.html"]}'])
def test_a_folder_of_something_else_is_left_alone(marker, tmp_path):
    (tmp_path / "index.html").write_text("mine")
    if marker:
        (tmp_path / "gptlab-site.json").write_text(marker)
    with pytest.raises(ValueError, match=r"no part of a site.* choose a new folder"):
        site.check_out(tmp_path)


def test_a_file_or_a_missing_folder_above_is_no_place_for_a_site(tmp_path):
    (tmp_path / "note").write_text("x")
    with pytest.raises(ValueError, match="is a file, and a site is a folder"):
        site.check_out(tmp_path / "note")
    with pytest.raises(ValueError, match=r"there is no folder .*nowhere.* to make 'course' in"):
        site.check_out(tmp_path / "nowhere" / "course")
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_without_notebooks_or_with_a_damaged_one_is_named(tmp_path):
    with pytest.raises(ValueError, match="there is no notebook of the course in"):
        site.write(tmp_path, tmp_path / "out")
    (tmp_path / "01_tokens.ipynb").write_text('{"cells": 3')
    with pytest.raises(ValueError, match=r"01_tokens\.ipynb' is no notebook, or a damaged one"):
        site.write(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ── The command ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_command_says_what_it_made(sources, course, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(environment, "clone", lambda: course)
    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(sources / "02_bpe.ipynb", few)
    assert commands.run(["site", "--out", str(tmp_path / "out"), "--folder", str(few)]) == 0
    said = capsys.readouterr().out
    assert "out: 1 notebook, " in said and (tmp_path / "out" / "index.html").as_uri() in said
    assert "02_bpe.ipynb was stored without outputs" in said
    assert (tmp_path / "out" / "model.html").read_text() == (course / "data" / "page.html").read_text()


def test_the_command_refuses_in_one_sentence_before_it_works(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("notes")
    assert commands.run(["site", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("site: ") and "mine.txt" in said and said.count("\n") == 1


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith(("gptlab.site", "gptlab.commands.site"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(gptlab, "site", raising=False)
    monkeypatch.setitem(sys.modules, "latex2mathml", None)
    monkeypatch.setitem(sys.modules, "latex2mathml.converter", None)
    monkeypatch.setattr(environment, "stamp", lambda folder: {})
    assert commands.run(["site", "--out", "x"]) == 1
    assert re.search(
        r"this Python has no package 'latex2mathml.*` start` .*installs|start` in the folder", capsys.readouterr().out
    )


# ── In a browser, from the disk ──────────────────────────────────────────────────────────────────────────────────────


@browsing.in_a_browser
def test_in_a_browser_without_a_network_everything_works(built):
    out, _ = built
    troubles = []
    with browsing.chromium() as browser:
        for width, theme in ((400, "light"), (1920, "dark")):
            context = browser.new_context(
                viewport={"width": width, "height": 900}, offline=True, color_scheme=theme, reduced_motion="reduce"
            )
            context.set_default_timeout(8000)
            tab = context.new_page()
            tab.on("pageerror", lambda error: troubles.append(str(error)))
            tab.on("console", lambda line: line.type in ("error", "warning") and troubles.append(line.text))
            tab.on("request", lambda one: one.url.startswith(("file:", "data:")) or troubles.append(one.url[:80]))
            for name in ("index.html", "06_attention.html", "01_tokens.html"):
                tab.goto((out / name).as_uri())
                assert tab.evaluate("document.documentElement.scrollWidth") == width, f"{name} scrolls at {width}"
                assert tab.evaluate("document.documentElement.dataset.theme") == theme
                # The page of attention has too much in it to look at all of it each time.
                if browsing.AXE and name != "06_attention.html":
                    tab.add_script_tag(path=browsing.AXE)
                    found = tab.evaluate("axe.run({ preload: false, runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa'] })")[
                        "violations"
                    ]
                    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == [], f"{name}, {theme}"
            shown = tab.evaluate("document.querySelector('.formula math').getBoundingClientRect().height")
            assert shown > 20  # a fraction with a root below it, not the letters in a row
            use_the_keyboard(tab, browsing.api().expect, wide=width > 1000)
            context.close()
    assert not troubles


def use_the_keyboard(tab, expect, wide):
    """Search for a heading and open it, unfold an output, change the theme; nothing but the keyboard is used."""
    expect(tab.locator("#contents")).to_have_js_property("open", wide)
    tab.locator("#query").focus()
    tab.keyboard.type("average PAST")
    expect(tab.locator("#count")).to_contain_text("results")
    expect(tab.locator("#results .heading").first).to_have_text("By hand: average the past")
    tab.keyboard.press("ArrowDown")
    assert tab.evaluate("document.activeElement.closest('#results') !== null")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/06_attention.html#By-hand*")
    heading = tab.get_by_role("heading", name="By hand: average the past")
    expect(heading).to_be_in_viewport()
    answer = tab.locator("details.answer").first
    expect(answer.locator(".outputs")).to_be_hidden()
    answer.locator("summary").focus()
    tab.keyboard.press("Enter")
    expect(answer.locator(".outputs")).to_be_visible()
    before = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    tab.locator("#theme").focus()
    tab.keyboard.press("Enter")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") != before
    tab.locator("#query").fill("zzzz")
    expect(tab.locator("#count")).to_have_text("No heading has these words.")
