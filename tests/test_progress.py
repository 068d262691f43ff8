"""A reader's progress: of one notebook, handed in, taken along, begun again; of each user alone."""

import json
import os
import stat
import subprocess
import sys

import pytest

from gptlab import commands
from gptlab.exercises import hand_in, predict, progress, registry, store
from gptlab.exercises.session import session


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("GPTLAB_PROGRESS", str(tmp_path / "own" / "progress.json"))
    monkeypatch.chdir(tmp_path)
    session.reset()
    return tmp_path / "own" / "progress.json"


def solve(*ids):
    for id in ids:
        store.update("exercises", id, passed=True, tries=2)


def solved():
    return sorted(id for id, known in store.read()["exercises"].items() if known["passed"])


# ---- One notebook ----------------------------------------------------------------------------------------------------


def test_a_notebook_shows_its_own_exercises_only():
    solve("bpe.2", "attention.1")
    said = repr(progress("bpe"))
    assert said.startswith("02 bpe: 1 of 8 done") and "● done     bpe.2 Merge a pair (core, 10 minutes)" in said
    assert "attention" not in said and "attention" not in progress("bpe")._repr_html_()
    assert repr(progress(2)) == repr(progress("02_bpe")) == said
    assert "02 bpe" in repr(progress()) and "06 attention" in repr(progress())


@pytest.mark.parametrize("topic", ["trian", 99, [], "", object()])
def test_progress_of_no_notebook_names_those_that_there_are(topic):
    card = repr(progress(topic))
    assert "There is no notebook" in card and "attention" in card


# ---- A file to hand in -----------------------------------------------------------------------------------------------


def test_what_is_handed_in_is_taken_in_elsewhere(tmp_path, monkeypatch, capsys):
    solve("bpe.2", "attention.1")
    predict("bpe.a", 4)
    assert commands.run(["progress", "--out", "ada.json"]) == 0 and "names nobody" in capsys.readouterr().out
    monkeypatch.setenv("GPTLAB_PROGRESS", str(tmp_path / "laptop.json"))
    session.reset()
    solve("tokens.1")
    assert commands.run(["progress", "--from", "ada.json"]) == 0
    assert "2 exercises are done in it" in capsys.readouterr().out
    assert solved() == ["attention.1", "bpe.2", "tokens.1"] and "bpe.a" in store.read()["predictions"]
    before = store.read()
    hand_in.take_in("ada.json")
    assert store.read() == before, "a second time changes nothing"


def test_what_was_done_here_is_never_undone_by_a_file(tmp_path):
    solve("bpe.2")
    kinds = {"exercises": {"bpe.2": {"passed": False, "tries": 9}}, "predictions": {}, "quiz": {}}
    (tmp_path / "other.json").write_text(store.as_text(kinds))
    assert hand_in.take_in("other.json") == (0, [])
    assert store.read()["exercises"]["bpe.2"] == {"passed": True, "tries": 9}


def test_ids_of_older_editions_are_understood_and_those_of_none_are_left_out(tmp_path, capsys):
    exercises = {id: {"passed": True, "tries": 1} for id in ("6.2", "gpu.8", "bpe.99", "cooking.1")}
    old = {"version": 1, "exercises": exercises, "predictions": {"bpe.z": {}}, "quiz": {"attention.1": {}, "bpe.x": {}}}
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert commands.run(["progress", "--from", "old.json"]) == 0
    said = capsys.readouterr().out
    assert "2 exercises are done" in said and "bpe.99, bpe.x, bpe.z, cooking.1" in said
    assert solved() == ["attention.2", "cluster.1"] and set(store.read()["quiz"]) == {"attention.1"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "damaged"),
        (b"", "damaged"),
        (b"[1]", "damaged"),
        (b"[" * 100_000, "damaged"),
        (b'{"exercises": {"bpe.2": 1}}', "damaged"),
        (b'{"version": "two"}', "damaged"),
        (b"\xff\xfe\x00", "not text"),
        (b'{"version": 999, "exercises": {}}', "update the course"),
    ],
)
def test_a_damaged_or_newer_file_changes_nothing(tmp_path, fresh, capsys, content, says):
    solve("bpe.2")
    before = fresh.read_bytes()
    (tmp_path / "in.json").write_bytes(content)
    assert commands.run(["progress", "--from", "in.json"]) == 1
    error = capsys.readouterr().err
    assert says in error and "in.json" in error and error.count("\n") == 1
    assert fresh.read_bytes() == before and (tmp_path / "in.json").read_bytes() == content


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--from nowhere.json", "nowhere.json"),
        ("--out notes.txt", "no export of progress"),
        ("--out own", "own"),
        ("--out a.json --reset", "--out and --reset are two things"),
        ("bpe --out a.json", "about all notebooks"),
        ("trian", "there is no notebook 'trian'"),
    ],
)
def test_a_wrong_call_is_answered_in_one_sentence(tmp_path, fresh, capsys, line, says):
    solve("bpe.2")
    (tmp_path / "notes.txt").write_text("my notes")
    assert commands.run(["progress", *line.split()]) == 1
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert (tmp_path / "notes.txt").read_text() == "my notes" and solved() == ["bpe.2"]


# ---- Begun again -----------------------------------------------------------------------------------------------------


def test_a_reset_asks_and_keeps_the_old_file(fresh, monkeypatch, capsys):
    solve("bpe.2", "attention.1")
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert commands.run(["progress", "--reset"]) == 1 and solved() == ["attention.1", "bpe.2"]
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert commands.run(["progress", "--reset"]) == 0 and solved() == []
    backup = fresh.with_name("progress.json.before-reset-1")
    assert str(backup) in capsys.readouterr().out
    assert hand_in.take_in(backup) == (2, []) and solved() == ["attention.1", "bpe.2"], "it can be taken back"


def test_one_notebook_is_reset_and_the_others_stay(fresh):
    solve("bpe.2", "attention.1")
    predict("bpe.a", 4)
    assert commands.run(["progress", "bpe", "--reset", "--yes"]) == 0
    assert solved() == ["attention.1"] and not store.read()["predictions"]
    assert fresh.with_name("progress.json.before-reset-1").exists()


def test_where_nobody_answers_nothing_is_reset(monkeypatch, capsys):
    solve("bpe.2")

    def gone(question):
        raise EOFError

    monkeypatch.setattr("builtins.input", gone)
    assert commands.run(["progress", "--reset"]) == 1 and solved() == ["bpe.2"]
    assert "add --yes" in capsys.readouterr().out
    assert commands.run(["progress", "--reset", "--yes"]) == 0 and solved() == []
    assert commands.run(["progress", "--reset", "--yes"]) == 0 and "no file" in capsys.readouterr().out


# ---- Each user alone -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="rights as POSIX has them")
def test_nobody_else_may_read_the_file(fresh):
    solve("bpe.2")
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o600
    fresh.chmod(0o644)
    solve("bpe.3")
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o600


def test_two_users_of_one_laptop_do_not_share_their_ticks(tmp_path):
    code = "import sys; from gptlab.exercises import store; store.update('exercises', sys.argv[1], passed=True)"
    code += "; print(store.place(), *store.read()['exercises'])"
    said = []
    for user, id in (("ada", "bpe.1"), ("bo", "bpe.2")):
        home = tmp_path / user
        home.mkdir()
        environ = {k: v for k, v in os.environ.items() if k not in ("GPTLAB_PROGRESS", "XDG_DATA_HOME")}
        environ |= {"HOME": str(home), "USERPROFILE": str(home), "LOCALAPPDATA": str(home), "APPDATA": str(home)}
        done = subprocess.run([sys.executable, "-c", code, id], env=environ, capture_output=True, text=True, timeout=60)
        said.append(done.stdout.split())
        assert said[-1][0].startswith(str(home)), done.stderr
    assert said[0][1:] == ["bpe.1"] and said[1][1:] == ["bpe.2"]


def test_a_file_of_a_newer_course_is_left_alone_and_the_reader_is_told_once(fresh):
    fresh.parent.mkdir()
    newer = '{"version": 999, "exercises": {"bpe.2": {"passed": true}}}'
    fresh.write_text(newer)
    solve("bpe.1")
    said = repr(progress())
    assert "version 999" in said and "update the course" in said and said.count("note:") == 1
    assert fresh.read_text() == newer and os.listdir(fresh.parent) == ["progress.json"]
    solve("bpe.3")
    assert solved() == ["bpe.1", "bpe.3"] and "note:" not in repr(progress())


def test_every_notebook_with_exercises_shows_its_own_progress():
    from gptlab.classroom import twins

    for topic in twins.written():
        calls = [
            line for cell in twins.cells(topic) for line in cell.source.splitlines() if line.startswith("progress(")
        ]
        assert topic not in registry.topics() or calls in ([], [f'progress("{topic}")']), topic
