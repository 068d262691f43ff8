"""A notebook as slides: what a class sees, what waits for a key, and no request that leaves the file."""

import json
import re
from pathlib import Path

import browsing
import pytest

from gptlab import commands
from gptlab.classroom import slides
from gptlab.pictures.formulas import formula_svg

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def markdown(text, *tags):
    return {"cell_type": "markdown", "source": text, "metadata": {"tags": list(tags)}}


def code(text, *outputs, tags=()):
    return {"cell_type": "code", "source": text, "metadata": {"tags": list(tags)}, "outputs": list(outputs)}


def stream(text):
    return {"output_type": "stream", "name": "stdout", "text": [text]}


def data(kind, content, **metadata):
    return {"output_type": "display_data", "data": {kind: content}, "metadata": metadata}


def deck(*cells):
    return slides._slides({"cells": [markdown("# The title"), code("import math"), *cells]})


def test_each_heading_begins_a_slide_and_so_does_the_second_cell_under_it():
    made = deck(markdown("## One\n\n- a list"), code("1"), code("2"), markdown("### Two"), code("3"))
    assert [one.title for one in made] == ["The title", "One", "One", "Two"]
    assert "a list" in made[1].parts[0] and "2</span>" in "".join(made[2].parts)


def test_what_is_looked_at_is_on_the_slide_and_what_is_said_in_the_notes():
    (_, made) = deck(markdown("## One\n\nA long sentence.\n\n- a point\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n$$x^2$$"))
    shown, said = "".join(made.parts), "".join(made.notes)
    assert "A long sentence" in said and "A long sentence" not in shown
    assert "<li>a point" in shown and "<table>" in shown and 'aria-label="x^2"' in shown


def test_the_set_up_cell_is_in_the_notes():
    assert "math" in "".join(deck()[0].notes) and not deck()[0].parts


def test_answers_wait_for_a_key():
    guess = code("print(1)", stream("the answer"), tags=["answers-prediction"])
    folded = markdown("Why?\n\n<details><summary>Answer</summary>\n\nBecause.\n</details>")
    parts = deck(markdown("## One"), guess, folded)[1].parts
    waiting = "".join(part for part in parts if "data-step" in part)
    assert "the answer" in waiting and "Because." in waiting and "print" not in waiting


def test_tags_say_where_the_rule_is_not_right():
    made = deck(
        markdown("## One"), code("a", tags=["skip-slide"]), code("b"), code("c", stream("C"), tags=["step"]),
        markdown("- said", "notes"), markdown("- seen", "slide"),
    )  # fmt: skip
    shown = ["".join(one.parts) for one in made]
    assert len(made) == 3 and "C" in shown[1] and "data-step" in shown[1]
    assert "said" in "".join(made[1].notes) and "seen" in shown[2]


def test_outputs_are_shown_and_nothing_runs_or_is_loaded():
    html = "<table><tr><td>chips</td></tr></table><script>fetch('https://example.org')</script>"
    picture = data("image/png", "aGk=", **{"image/png": {"alt": 'a "b"'}})
    page = slides.make({"cells": [markdown("# T"), code("s"), code("x", data("text/html", html), picture)]}, "T <1>")
    assert "chips" in page and 'alt="a &quot;b&quot;"' in page and "example.org" not in page
    assert "<title>T &lt;1&gt;</title>" in page and "default-src 'none'" in page


def test_a_formula_is_drawn_or_stays_readable():
    drawn = formula_svg(r"\frac{a}{b}")
    assert drawn == formula_svg(r"\frac{a}{b}") and "<metadata" not in drawn and "http://www.w3.org" in drawn
    colours = re.findall(r"(?:fill|stroke): ([^;\"]+)", drawn)
    assert all(re.fullmatch(r"none|#[0-9a-f]{6}", colour) for colour in colours)
    assert "<code>" in slides._markdown(r"$\begin{aligned}x\end{aligned}$")


@pytest.mark.parametrize(
    ("content", "says"),
    [("{", "not a whole notebook"), ("[]", "not a whole notebook"), ('{"cells": [{}]}', "not a whole notebook")],
)
def test_a_damaged_notebook_is_answered_in_one_sentence(tmp_path, monkeypatch, capsys, content, says):
    monkeypatch.chdir(tmp_path)
    Path("mine.ipynb").write_text(content)
    assert commands.run(["classroom", "slides", "mine.ipynb"]) == 1
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1 and not Path("slides").exists()


def test_no_notebook_of_that_name_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert (
        commands.run(["classroom", "slides", "atention"]) == 1 and "no notebook 'atention'" in capsys.readouterr().err
    )


@pytest.mark.parametrize("topic", ["start_here", "finetuning"])
def test_a_real_notebook_becomes_one_file_that_loads_nothing(tmp_path, topic):
    path = slides.write(topic, tmp_path, NOTEBOOKS)
    page = path.read_text(encoding="utf-8")
    assert not re.search(r"""\b(?:src|xlink:href)=["'](?!data:|#)""", page)
    assert not re.search(r"@import|url\((?!#|['\"]?data:)|<script[^>]*src|<link", page)
    assert page.count("<section") > 10 and page.count("<section") == page.count("<aside")
    assert path.stat().st_size < 3_000_000


@browsing.in_a_browser
def test_keys_turn_the_pages_in_a_browser_and_no_request_leaves(tmp_path):
    """At the width of an old projector, with the keyboard alone."""
    cells = [
        markdown("# T"), code("import math"), markdown("## One"),
        code("1", stream("the answer"), tags=["answers-prediction"]), markdown("The note."), markdown("## Two\n\n- x"),
    ]  # fmt: skip
    page = tmp_path / "deck.html"
    page.write_text(slides.make(json.loads(json.dumps({"cells": cells})), "T"), encoding="utf-8")
    asked, said = [], []
    with browsing.chromium() as browser:
        tab = browser.new_page(viewport={"width": 1024, "height": 768})
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.goto(page.as_uri())
        counter = tab.locator("#counter")
        assert counter.inner_text() == "1 of 3"
        tab.keyboard.press("ArrowRight")
        assert counter.inner_text().startswith("2 of 3 · more") and not tab.locator("text=the answer").is_visible()
        tab.keyboard.press("ArrowRight")
        assert tab.locator("text=the answer").is_visible()
        tab.keyboard.press("n")
        assert tab.locator("text=The note.").is_visible()
        tab.keyboard.press("End")
        assert counter.inner_text() == "3 of 3" and tab.locator("h2 >> text=Two").is_visible()
        tab.keyboard.press("ArrowLeft")
        assert counter.inner_text() == "2 of 3"
    assert asked == [page.as_uri()] and not said
