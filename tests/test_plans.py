"""The syllabus, the lesson plans, the sheets and the map: true to the notebooks, and committed as they are made."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from gptlab import commands, notebook, pictures
from gptlab.classroom import concepts, plans, sheets, twins
from gptlab.classroom.lessons import lessons
from gptlab.exercises import registry

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
by_topic = pytest.mark.parametrize("topic", twins.written())


@pytest.fixture(scope="module")
def made():
    return plans.pages()


def test_the_committed_pages_are_what_the_command_writes(made):
    """Changed a notebook or an exercise? `python3 -m gptlab classroom plan --write`, and commit notebooks/teaching."""
    old = [name for name, text in made.items() if (NOTEBOOKS / name).read_text(encoding="utf-8") != text]
    assert not old
    there = {f"{plans.FOLDER}/{path.name}" for path in (NOTEBOOKS / plans.FOLDER).iterdir()}
    assert there == {name for name in made if "/" in name}


def test_links_lead_somewhere(made):
    for name, text in made.items():
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            there = (NOTEBOOKS / name).parent / target
            twin = NOTEBOOKS / "text" / f"{there.stem}.py"  # a notebook that is still to be executed
            assert target.startswith("http") or there.exists() or twin.exists(), f"{name} links {target}"


@pytest.mark.parametrize(("steps", "minutes"), [(plans.SHORT, 45), (plans.LONG, 90)])
def test_the_minutes_of_a_lesson_add_up(steps, minutes):
    assert sum(step.minutes for step in steps) == minutes and all(step.project and step.pupils for step in steps)
    title = "plan_short" if minutes == 45 else "plan_long"
    assert getattr(plans, title)().startswith(f"# {minutes} minutes") and f"–{minutes} |" in getattr(plans, title)()


def test_lessons_name_sections_and_exercises_that_exist():
    for step in (*plans.SHORT, *plans.LONG):
        number = None
        for said in re.findall(r"\b(\d\d), |\*([^*]+)\*", plans.filled(f"{step.project} {step.pupils}")):
            number = said[0] or number
            if said[1]:
                assert said[1] in [part.title for part in sheets.sections(notebook(number).topic)], said
        for id in re.findall(r"\b[a-z_]+\.\d\b", step.pupils):
            assert registry.find(id), id


@by_topic
def test_every_week_of_the_term_fits_into_a_lesson(topic):
    row = next(line for line in plans.plan_term().splitlines() if f"({notebook(topic).file}.md)" in line)
    cells = [cell.strip() for cell in row.split("|")]
    minutes = [int(cells[4]), int(cells[5]), int(re.search(r": (\d+)$", cells[6])[1]), int(cells[7])]
    assert sum(minutes) == plans.LESSON and min(minutes) >= 8


@by_topic
def test_a_teacher_has_written_beside_every_notebook(topic):
    human = lessons()[topic]
    parts = {part.title: part for part in sheets.sections(topic)}
    assert human.opening and len(human.discuss) >= 2 and human.project
    for title in [title for title, _ in human.project] + list(human.skip):
        assert title in parts, f"{topic} has no section {title!r}"
    assert not [title for title in human.skip if parts[title].is_core], "what is core cannot be skipped"


@by_topic
def test_a_sheet_has_what_a_teacher_needs(topic):
    said = sheets.sheet(topic)
    assert len(sheets.aims(topic)) >= 3 and all(f"- {aim}" in said for aim in sheets.aims(topic))
    for exercise in sheets.core(topic):
        assert f"### {exercise.id} {exercise.title}" in said
        assert all(mistake.name in said for mistake in exercise.mistakes[:3])
    assert all(one.id in said for one in registry.predictions(topic))
    assert said.count("<details>") == said.count("</details>") <= 2


@by_topic
def test_the_minutes_are_near_those_that_the_notebook_states(topic):
    said = " ".join(" ".join(cell.source.split()) for cell in twins.cells(topic) if cell.kind == "markdown")
    stated = re.search(r"(?:about |[Rr]eading.{0,20}? )(\d+)\s*minutes", said)
    assert 20 <= sheets.reading_minutes(topic) <= 75
    assert stated is None or abs(int(stated[1]) - sheets.reading_minutes(topic)) <= 20


def test_the_parts_of_a_notebook_are_counted(monkeypatch):
    cells = (
        twins.Cell("markdown", "# Title\n\nFour words stand here.\n\n## One\n\nA **batch** is many.", ()),
        twins.Cell("code", "x = 1\n\ncheck(\"batches.4\", x)", ()),
        twins.Cell("markdown", "Five more words of prose.\n\n## Two\n\nWords.", ()),
    )  # fmt: skip
    monkeypatch.setattr(twins, "cells", lambda topic: cells)
    before, one, two = sheets.sections("batches")
    assert (before.title, one.title, two.title) == ("", "One", "Two")
    assert (one.words, one.lines, one.new) == (9, 2, ("batch",)) and one.exercises[0].id == "batches.4"
    assert one.is_core and not two.is_core and two.minutes == 1


def test_write_brings_a_folder_up_to_date_and_says_what_changed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plans, "pages", lambda: {"README.md": "new\n", "teaching/a.md": "a\n"})
    (tmp_path / "teaching").mkdir()
    (tmp_path / "teaching" / "gone.md").write_text("old")
    (tmp_path / "README.md").write_text("old")
    assert [path.name for path in plans.write(tmp_path)] == ["README.md", "a.md", "gone.md"]
    assert plans.write(tmp_path) == [] and (tmp_path / "README.md").read_text() == "new\n"
    assert not (tmp_path / "teaching" / "gone.md").exists()


def test_the_plans_are_shown_in_the_terminal(capsys):
    assert commands.run(["classroom", "plan"]) == 0
    said = capsys.readouterr().out
    assert "# 45 minutes" in said and "# 90 minutes" in said and "# A term" in said


def test_the_map_has_every_word_where_it_is_introduced(made):
    drawing = made[plans.MAP]
    root = ElementTree.fromstring(drawing)
    titles = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]
    for concept in concepts.CONCEPTS:
        assert f"{concept.name}: {concept.definition}" in titles
    shown = {line.concept.name: line.marks for line in pictures.concepts.lines()}
    assert shown["perplexity"]["training"] == "introduced" and "practised" in shown["softmax"].values()
    assert not re.search(r"(?:href|src)=", drawing) and root.get("aria-label")


def test_the_map_in_a_notebook_says_the_same_in_text():
    text = repr(pictures.concept_map()).splitlines()
    assert len(text) == 2 + len(concepts.CONCEPTS)
    for concept, line in zip(concepts.CONCEPTS, text[2:], strict=True):
        assert line.startswith(concept.name) and line.count("◆") == 1
        column = (line.index("◆") - text[1].index("00") - 1) // 3
        assert text[1].split()[column] == f"{notebook(concept.topic).number:02}"
    html = pictures.concept_map().html
    assert html.count("◆") == len(concepts.CONCEPTS) + 1 and "http" not in html
