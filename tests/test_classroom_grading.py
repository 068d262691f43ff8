"""A class is marked: right is right, known mistakes are named, and what is hostile spoils nothing but its own row.

Eight submissions of `submissions.py` always; all sixty with GPTLAB_ALL_SUBMISSIONS=1 (some minutes).
"""

import csv
import io
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import submissions as made

from gptlab import commands
from gptlab.classroom import grading, report, sandbox, submissions
from gptlab.exercises.judge import FAILED, PASSED, UNTOUCHED

ALL = bool(os.environ.get("GPTLAB_ALL_SUBMISSIONS"))
SAMPLE = ("right-17", "mistake-00", "exits", "deletes-by-libc", "patched-checker", "forges-messages", "not-json",
          "older-release")  # fmt: skip


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class") / "handed-in"
    chosen = [one for one in made.every(folder) if ALL or one.name in SAMPLE]
    made.write(folder, chosen)
    began = time.monotonic()
    found = submissions.collect(folder)
    rows = grading.grade(found, grading.Settings(hide=(str(folder),)))
    return SimpleNamespace(
        folder=folder, made={one.name: one for one in chosen}, rows={row.pupil: row for row in rows},
        seconds=time.monotonic() - began,
    )  # fmt: skip


def states(row):
    return {id: entry["state"] for id, entry in row.exercises.items()}


def test_right_answers_get_full_marks_and_all_others_what_they_deserve(marked):
    passed = {name: {id for id, state in states(row).items() if state == PASSED} for name, row in marked.rows.items()}
    assert passed == {name: one.passed for name, one in marked.made.items()}


def test_known_mistakes_are_named(marked):
    wanted = {(name, id): mistake for name, one in marked.made.items() for id, mistake in one.mistakes.items()}
    named = {key: marked.rows[key[0]].exercises[key[1]]["mistake"] for key in wanted}
    right = sum(named[key] == wanted[key] for key in wanted)
    assert len(wanted) >= 5 and right >= 0.95 * len(wanted), {k: (wanted[k], named[k]) for k in wanted}


def test_every_submission_has_a_row_and_what_is_wrong_with_it_is_said(marked):
    assert set(marked.rows) == set(marked.made)
    for name, one in marked.made.items():
        row = marked.rows[name]
        assert (one.problem in row.problem) and bool(row.problem) == bool(one.problem), (name, row.problem)
        assert any(one.note in note for note in ["", *row.notes]), (name, row.notes)


def test_nothing_outside_of_a_submission_has_changed(marked):
    assert [path.read_text() for path in made.canaries(marked.folder)] == ["alive", "alive"]
    assert not (marked.folder / "progress.json").exists()


def test_a_class_is_marked_in_time(marked):
    assert marked.seconds < 15 * 60


def test_a_second_time_the_marks_are_the_same(marked):
    found = [one for one in submissions.collect(marked.folder) if one.pupil == "mistake-00"]
    (again,) = grading.grade(found, grading.Settings(jobs=1))
    assert again.exercises == marked.rows["mistake-00"].exercises


# ---------------------------------------------------------------------------------------------------------- the sandbox

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="namespaces are Linux's")
INSIDE = """
import os, socket, sys
from gptlab.classroom import sandbox, walls
folder, hidden, outside = os.getcwd(), sys.argv[1], sys.argv[2]
limits = sandbox.Limits(memory=400, disk=2, cpu=20, hide=[hidden])
got, _ = walls.enter(folder, limits) if sys.argv[3] == "walls" else ([], 0)
sandbox.limit(limits)
sandbox.refuse(folder)
def tried(what):
    try:
        return what() and "done"
    except (OSError, MemoryError) as error:
        return type(error).__name__
print(len(got), tried(lambda: open(outside, "w")), tried(lambda: os.remove(outside)), tried(lambda: open("own", "w")),
      tried(lambda: socket.create_connection(("127.0.0.1", 9), 1)), tried(lambda: os.system("true") == 0),
      tried(lambda: bytearray(10**9)), tried(lambda: open("big", "wb").write(b"x" * 10**7)),
      len(os.listdir(hidden)) if os.path.isdir(hidden) else 0, tried(os.fork), flush=True)
"""


def inside(tmp_path, way):
    hidden, outside, own = tmp_path / "hidden", tmp_path / "outside.txt", tmp_path / "own"
    hidden.mkdir(), own.mkdir()
    (hidden / "another-pupil.ipynb").touch()
    outside.write_text("alive")
    done = subprocess.run(
        [sys.executable, "-c", INSIDE, str(hidden), str(outside), way], cwd=own, capture_output=True, text=True,
        env=sandbox.variables(str(own)), timeout=60,
    )  # fmt: skip
    assert outside.read_text() == "alive" and done.returncode == 0, done.stderr
    return done.stdout.split()


@LINUX
def test_behind_walls_a_process_reaches_nothing_but_its_own_folder(tmp_path):
    walls, *tried = inside(tmp_path, "walls")
    if walls != "3":
        pytest.skip("this system forbids user namespaces")
    assert tried[2] == "done" and tried[-2] == "0", "its own folder is writable, the others' is empty"
    assert {tried[i] for i in (0, 1, 3, 4, 8)} <= {"PermissionError", "OSError", "0"}
    assert tried[5] == "MemoryError" and tried[6] == "OSError"


@LINUX
def test_without_walls_python_refuses_and_limits_hold(tmp_path):
    walls, *tried = inside(tmp_path, "none")
    assert walls == "0" and tried[2] == "done"
    assert [tried[i] for i in (0, 1, 3, 4, 8)] == ["PermissionError"] * 4 + ["PermissionError"]
    assert tried[5] == "MemoryError" and tried[6] == "OSError"


def test_a_submission_gets_none_of_the_teachers_variables(monkeypatch, tmp_path):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("GPTLAB_PROGRESS", "mine.json")
    found = sandbox.variables(str(tmp_path))
    assert "SECRET_TOKEN" not in found and found["GPTLAB_PROGRESS"] == "off" and found["HOME"] == str(tmp_path)


def test_a_judge_that_stumbles_costs_one_row(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1, stdout=""))
    one = submissions.Submission("Ada", "ada.ipynb", "attention", [(1, "check('attention.1', max)")])
    row = grading.grade_one(one, grading.Settings())
    assert "its judge did not end well" in row.problem and row.exercises == {}


# ----------------------------------------------------------------------------------------------------------- the report


def entry(state, mistake="", tell=""):
    facts = [["got", "<script>alert(1)</script>"]]
    return {"state": state, "mistake": mistake, "tell": tell, "right": 1, "total": 7, "remark": "", "facts": facts}


def a_class():
    known = "the future is included", "Position t may use positions 0 to t only."
    rows = [grading.Row(f"pupil-{n}", f"{n}.ipynb", "attention") for n in range(3)]
    rows[0].exercises = {"attention.1": entry(FAILED, *known), "attention.2": entry(PASSED)}
    rows[1].exercises = {"attention.1": entry(FAILED, *known), "attention.2": entry(FAILED, "not scaled", "Divide.")}
    rows[2].exercises = {"attention.1": entry(UNTOUCHED)}
    evil = grading.Row('=HYPERLINK("http://x")<b onload=x>', "x.ipynb", "", problem="it is no notebook <script>")
    return [*rows, evil]


def test_the_table_has_a_line_for_each_pupil_and_no_formula():
    lines = list(csv.DictReader(io.StringIO(report.as_csv(a_class()))))
    assert [line["attention.1"] for line in lines[:3]] == [
        "known mistake: the future is included", "known mistake: the future is included", UNTOUCHED,
    ]  # fmt: skip
    assert lines[0]["attention.2"] == PASSED and lines[0]["passed"] == "1" and lines[2]["attention.8"] == "no answer"
    assert lines[3]["pupil"].startswith("'=") and "no notebook" in lines[3]["remarks"]


def test_the_page_names_the_most_frequent_mistake_first_and_runs_nothing():
    page = report.as_page(a_class())
    assert page.index("the future is included") < page.index("not scaled") < page.index("Who did what")
    assert "Position t may use positions 0 to t only." in page and "pupil-0, pupil-1" in page
    assert "<script" not in page and "<b onload" not in page and "http" not in page
    assert "prefers-color-scheme:dark" in page and page.count("<td") > 20


def test_the_page_says_what_held():
    rows = a_class()
    assert "How the notebooks were run" not in report.as_page(rows)
    rows[0].protection = ["no network exists for it"]
    assert "stops an accident and not an attack" in report.as_page(rows)
    rows[0].protection += ["all files but its own folder are read-only, and that holds 64 MB"]
    assert "The system itself kept each notebook in" in report.as_page(rows)


def test_a_report_replaces_a_report_and_nothing_else(tmp_path):
    report.write(a_class(), tmp_path / "r")
    report.write(a_class()[:1], tmp_path / "r")
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["marks.csv", "report.html"]
    (tmp_path / "r" / "thesis.txt").touch()
    with pytest.raises(ValueError, match=r"holds 'thesis\.txt', which is no report"):
        report.write(a_class(), tmp_path / "r")
    with pytest.raises(ValueError, match="is a file, and the report is a folder"):
        report.place(tmp_path / "r" / "thesis.txt")


# --------------------------------------------------------------------------------------------------------- the commands


@pytest.mark.parametrize(("words", "said"), [
    ("grade nowhere", "'nowhere' is not there: name the folder in which the submissions are"),
    ("grade here.txt", "'here.txt' is a file"), ("collect empty", "has no notebook (.ipynb) and no zip in it"),
    ("grade full --out thesis", "--out 'thesis' holds 'a.txt', which is no report"),
    ("grade full --release here.txt", "--release 'here.txt' is no release"),
    ("release attentoin", "there is no notebook 'attentoin'"), ("release inside_the_model", "is still to come"),
    ("release attention --out full", "is no name of a zip: end it with .zip"),
    ("release attention --out other.zip", "is there and is no release of the course"),
    ("release attention --wheels empty", "--wheels 'empty' has no wheels in it"),
    ("release attention --python 3.12", "--python 3.12 is about wheels that --platform gets"),
])  # fmt: skip
def test_what_cannot_be_done_is_said_in_a_sentence(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "full", "thesis"):
        (tmp_path / name).mkdir()
    for name in ("here.txt", "thesis/a.txt", "other.zip", "full/ada.ipynb"):
        (tmp_path / name).touch()
    before = sorted(tmp_path.rglob("*"))
    assert commands.run(["classroom", *words.split()]) == 1
    assert said in capsys.readouterr().err and sorted(tmp_path.rglob("*")) == before


def test_the_parts_are_listed_and_one_that_does_not_exist_is_named(capsys):
    assert commands.run(["classroom"]) == 0 and "release" in capsys.readouterr().out
    assert commands.run(["classroom", "graed"]) == 2 and "perhaps you mean 'grade'" in capsys.readouterr().err


def test_a_class_with_nothing_to_run_is_marked_and_listed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ada.ipynb").touch()
    assert commands.run(["classroom", "collect", "in"]) == 0
    assert "submissions: 1, pupils: 1, cannot be marked: 1" in capsys.readouterr().out
    assert commands.run(["classroom", "grade", "in", "--out", "out"]) == 0
    assert "the file is empty" in (tmp_path / "out" / "report.html").read_text("utf-8")
