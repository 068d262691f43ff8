"""A reader's copies are never overwritten, begin without outputs, and an update of the course is noticed."""

import json

import pytest

import gptlab
from gptlab.commands import working_copy
from gptlab.commands.working_copy import FOLDER, lay, reset

CELLS = [
    {"cell_type": "markdown", "source": ["# Attention"], "metadata": {}},
    {
        "cell_type": "code", "source": ["1 + 1"], "outputs": [{"output_type": "stream", "text": ["2"]}],
        "execution_count": 7, "metadata": {"tags": ["nbval-check-output"], "jupyter": {"outputs_hidden": True}},
    },
]  # fmt: skip


def write(root, file, cells):
    (root / "notebooks").mkdir(exist_ok=True)
    content = {"cells": cells, "metadata": {"jupytext": {"formats": "x"}, "kernelspec": {"name": "python3"}}}
    (root / "notebooks" / f"{file}.ipynb").write_text(json.dumps({**content, "nbformat": 4, "nbformat_minor": 5}))


@pytest.fixture
def clone(tmp_path):
    for file in ("00_start_here", "06_attention"):
        write(tmp_path, file, CELLS)
    return tmp_path


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_copies_begin_without_outputs_and_the_committed_ones_stay(clone):
    before = (clone / "notebooks" / "06_attention.ipynb").read_bytes()
    assert lay(clone) == [] and working_copy.first(clone).exists()
    copy = read(clone / FOLDER / "06_attention.ipynb")
    code = copy["cells"][1]
    assert code["outputs"] == [] and code["execution_count"] is None and code["source"] == ["1 + 1"]
    assert code["metadata"] == {"tags": ["nbval-check-output"]} and "jupytext" not in copy["metadata"]
    assert (clone / "notebooks" / "06_attention.ipynb").read_bytes() == before
    assert sorted(path.name for path in (clone / FOLDER).glob("*.ipynb")) == [
        "00_start_here.ipynb",
        "06_attention.ipynb",
    ]


def test_what_a_reader_has_written_is_never_overwritten(clone):
    lay(clone)
    mine = clone / FOLDER / "06_attention.ipynb"
    mine.write_text("mine")
    assert lay(clone) == [] and mine.read_text() == "mine"
    write(clone, "06_attention", [*CELLS, CELLS[0]])
    (said,) = lay(clone)
    assert "06 Attention" in said and "Start here" not in said and "reset attention" in said
    assert mine.read_text() == "mine"


def test_an_output_that_changes_is_no_update(clone):
    lay(clone)
    write(clone, "06_attention", [CELLS[0], {**CELLS[1], "outputs": [], "execution_count": 1}])
    assert lay(clone) == []


@pytest.mark.parametrize("name", ["attention", "06_attention", "6", "06_attention.ipynb"])
def test_reset_lays_a_notebook_again_and_keeps_the_old_one_beside_it(clone, name):
    lay(clone)
    mine = clone / FOLDER / "06_attention.ipynb"
    for number in (1, 2):
        mine.write_text(f"mine {number}")
        new, aside = reset(clone, name)
        assert new == mine and read(mine)["cells"][1]["source"] == ["1 + 1"]
        assert aside.name == f"06_attention-mine-{number}.ipynb" and aside.read_text() == f"mine {number}"
    assert lay(clone) == []


def test_reset_after_an_update_brings_the_new_version(clone):
    lay(clone)
    write(clone, "06_attention", [*CELLS, CELLS[0]])
    assert len(lay(clone)) == 1
    new, _ = reset(clone, "attention")
    assert len(read(new)["cells"]) == 3 and lay(clone) == []


def test_a_copy_keeps_its_reader_when_its_notebook_gets_another_number(clone, monkeypatch):
    lay(clone)
    mine = clone / FOLDER / "06_attention.ipynb"
    mine.write_text("mine")
    between = gptlab.Notebook("between", "between", "Between", "new")
    numbered = (*gptlab.NOTEBOOKS[:3], between, *gptlab.NOTEBOOKS[3:])
    monkeypatch.setattr(gptlab, "NOTEBOOKS", numbered)
    monkeypatch.setattr(working_copy, "NOTEBOOKS", numbered)
    (clone / "notebooks" / "06_attention.ipynb").rename(clone / "notebooks" / "07_attention.ipynb")
    assert lay(clone) == [] and mine.read_text() == "mine" and not (clone / FOLDER / "07_attention.ipynb").exists()
    new, aside = reset(clone, "attention")
    assert new.name == "07_attention.ipynb" and aside.read_text() == "mine"


def test_a_damaged_list_only_means_that_everything_may_be_newer(clone):
    lay(clone)
    (clone / FOLDER / working_copy.LIST).write_text("{")
    (said,) = lay(clone)
    assert "00 Start here, 06 Attention" in said


@pytest.mark.parametrize(
    ("name", "said"), [("what", "there is no notebook 'what'"), ("tokens", "01, Tokens, is still")]
)
def test_what_cannot_be_laid_is_refused_by_name(clone, name, said):
    with pytest.raises(ValueError, match=said):
        reset(clone, name)
