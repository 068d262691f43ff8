"""What a class hands in is read whatever it is: each file becomes a submission, or a sentence about it."""

import json
import os
import zipfile

import pytest
from submissions import notebook_of

from gptlab.classroom import submissions
from gptlab.classroom.submissions import collect, pupil_in

CODE = notebook_of(["check('attention.1', max)"])


@pytest.mark.parametrize(("name", "pupil"), [
    ("Ada Lovelace/06_attention.ipynb", "Ada Lovelace"), ("Ada/my_course/06_attention.ipynb", "Ada"),
    ("06_attention_ada.ipynb", "ada"), ("ada_06_attention.ipynb", "ada"), ("06_attention - Ada L.ipynb", "Ada L"),
    ("Ada_12345_assignsubmission_file_/06_attention.ipynb", "Ada"), ("ada.zip", "ada"), ("ada (1).zip", "ada"),
    ("06_attention.ipynb", "?"), ("06_attention(2).ipynb", "?"), ("../../x/06_attention.ipynb", "x"), ("", "?"),
])  # fmt: skip
def test_a_name_is_that_of_the_folder_the_zip_or_the_file(name, pupil):
    assert pupil_in(name) == pupil


def test_files_folders_and_zips_are_read_and_others_left_alone(tmp_path):
    (tmp_path / "06_attention_ada.ipynb").write_bytes(CODE)
    (tmp_path / "Bo" / "deep").mkdir(parents=True)
    (tmp_path / "Bo" / "deep" / "06_attention.ipynb").write_bytes(CODE.replace(b"max", b"min"))
    (tmp_path / "Bo" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "Bo" / ".ipynb_checkpoints" / "06_attention-checkpoint.ipynb").write_bytes(CODE)
    (tmp_path / "essay.docx").write_bytes(b"x")
    with zipfile.ZipFile(tmp_path / "cy.zip", "w") as archive:
        archive.writestr("my_course/06_attention.ipynb", CODE.replace(b"max", b"sum"))
        archive.writestr("__MACOSX/._06_attention.ipynb", b"x")
    with zipfile.ZipFile(tmp_path / "class.zip", "w") as archive:
        archive.writestr("Di/06_attention.ipynb", CODE.replace(b"max", b"abs"))
        archive.writestr("Ed/06_attention.ipynb", CODE.replace(b"max", b"len"))
    found = collect(tmp_path)
    assert [(one.pupil, one.topic, one.problem) for one in found] == [
        (name, "attention", "") for name in ("Bo", "Di", "Ed", "ada", "cy")
    ]
    assert found[0].cells == [(2, "check('attention.1', min)")]


@pytest.mark.parametrize(("data", "said"), [
    (b"", "the file is empty"), (b"  \n", "the file is empty"), (b"no", "not JSON"), (b"[1]", "other JSON"),
    (b"{}", "other JSON"), (b'{"cells": 3}', "other JSON"), (b'{"cells": [{"cell_type": "code"}]}', "JSON"),
    (b'{"cells": []}', "it has no code"), (b"[" * 100_000, "JSON"), (b"\xff\xfe", "JSON"),
    (notebook_of(["x" * (3 << 20)]), "MB of code"),
])  # fmt: skip
def test_what_is_no_notebook_is_a_sentence(tmp_path, data, said):
    (tmp_path / "ada.ipynb").write_bytes(data)
    (found,) = collect(tmp_path)
    assert said in found.problem and found.pupil == "ada" and found.cells == []


def test_what_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "LARGEST", 100)
    (tmp_path / "ada.ipynb").write_bytes(b"x" * 101)
    with zipfile.ZipFile(tmp_path / "bo.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.ipynb", b"0" * 10**6)
    assert all("its outputs must be cleared" in one.problem for one in collect(tmp_path))


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_are_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "06_attention.ipynb").write_bytes(CODE)
    there = tmp_path / "in"
    there.mkdir()
    (there / "ada.ipynb").symlink_to(secret / "06_attention.ipynb")
    (there / "bo").symlink_to(secret)
    os.mkfifo(there / "cy.ipynb")
    assert [(one.pupil, one.problem[:9]) for one in collect(there)] == [("ada", "it is a l"), ("cy", "it is a l")]


def test_a_zip_with_a_way_out_of_it_writes_nothing_and_costs_its_own_row(tmp_path):
    there = tmp_path / "in"
    there.mkdir()
    with zipfile.ZipFile(there / "ada.zip", "w") as archive:
        archive.writestr("../../evil/06_attention.ipynb", CODE)
        link = zipfile.ZipInfo("06_attention.ipynb")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    (there / "bo.zip").write_bytes(b"PK\x03\x04 and no more")
    with zipfile.ZipFile(there / "cy.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    before = sorted(tmp_path.rglob("*"))
    said = {one.pupil: one.problem for one in collect(there)}
    assert "a path that leads out of it" in said["ada"] and "no zip that can be read" in said["bo"]
    assert said["cy"] == "there is no notebook in the zip" and sorted(tmp_path.rglob("*")) == before


def test_of_several_by_one_pupil_the_newest_counts_and_the_others_are_named(tmp_path):
    for name, code, when in (("06_attention_ada", "max", 100), ("06_attention_ada(1)", "min", 200)):
        path = tmp_path / f"{name}.ipynb"
        path.write_bytes(CODE.replace(b"max", code.encode()))
        os.utime(path, (when, when))
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada" / "06_attention.ipynb").write_bytes(b"broken")
    (found,) = collect(tmp_path)
    assert found.source == "06_attention_ada(1).ipynb" and len(found.notes) == 2
    assert "06_attention_ada.ipynb is another one, and is not marked." in found.notes


def test_two_pupils_with_one_file_are_told_apart_and_noted(tmp_path):
    for name in ("ada", "bo"):
        (tmp_path / f"06_attention_{name}.ipynb").write_bytes(CODE)
    assert [one.notes for one in collect(tmp_path)] == [
        ["Its file is the same, byte by byte, as that of bo."], ["Its file is the same, byte by byte, as that of ada."],
    ]  # fmt: skip


def test_a_notebook_is_known_by_its_release_its_name_or_its_checks(tmp_path):
    stamped = json.loads(CODE) | {"metadata": {"gptlab": {"release": "0.2-abc", "notebook": "07_masking"}}}
    (tmp_path / "ada.ipynb").write_text(json.dumps(stamped))
    (tmp_path / "bo.ipynb").write_bytes(CODE)
    (tmp_path / "cy.ipynb").write_bytes(notebook_of(["1 + 1"]))
    assert [(one.topic, one.made_of) for one in collect(tmp_path)] == [
        ("masking", "0.2-abc"), ("attention", ""), ("", ""),
    ]  # fmt: skip
