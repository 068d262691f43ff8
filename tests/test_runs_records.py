"""A record says where it comes from before it says anything else, and is never mixed up with what is measured here."""

import dataclasses
import json
import subprocess

import pytest
import torch

from gptlab import gpu, runs
from gptlab.runs import records


@pytest.fixture
def record():
    made = records.new("a run", "python -m gptlab train a", "cpu")
    made.numbers |= {"tokens/s": 12345.6, "MFU": 0.4567, "steps": 7, "nothing": None}
    made.curves["validation"] = [[1.0, 2.5], [2.0, 1.5]]
    return made


def test_a_record_prints_its_machine_before_its_figures(record):
    first, second, third, *figures = str(record).splitlines()
    assert first == f"RECORDED on {record.device}, not measured here: a run"
    assert record.date in second and f"commit {record.commit}" in second and f"torch {torch.__version__[:4]}" in second
    assert third.strip() == "$ python -m gptlab train a"
    assert [line.split()[-1] for line in figures] == ["12,346", "0.4567", "7", "–"]


def test_a_file_keeps_what_was_there_and_replaces_the_same(record, tmp_path):
    path = tmp_path / "new" / "records.json"
    records.add(record, path)
    other = dataclasses.replace(record, what="another run")
    records.add(other, path)
    again = dataclasses.replace(record, numbers={"steps": 8})
    records.add(again, path)
    assert records.read(path) == [other, again]
    assert [entry.name for entry in path.parent.iterdir()] == ["records.json"]


def test_a_record_made_in_pieces_has_the_rows_of_all_seeds_and_the_newest_of_each(record, tmp_path):
    path = tmp_path / "records.json"
    for seed, share in ((1, 0.7), (0, 0.9), (1, 0.8)):
        records.add_rows(dataclasses.replace(record, tables={"full": [{"seed": seed, "share": share}]}), path)
    records.add_rows(dataclasses.replace(record, tables={"LoRA": [{"seed": 0, "share": 0.5}]}), path)
    (made,) = records.read(path)
    assert made.tables["full"] == [{"seed": 0, "share": 0.9}, {"seed": 1, "share": 0.8}]
    assert made.tables["LoRA"] == [{"seed": 0, "share": 0.5}]


@pytest.mark.parametrize("content", ["no JSON", "{}x", '[{"what": "x"}]', '[{"whatever": 1}]', "[1]"])
def test_a_file_of_something_else_is_named_and_stays(record, tmp_path, content):
    path = tmp_path / "notes.json"
    path.write_text(content)
    with pytest.raises(
        ValueError, match=r"notes.json' is not a file of records .*list of entries with what, device.*new"
    ):
        records.add(record, path)
    assert path.read_text() == content


def test_runs_of_a_gpu_come_first(record, tmp_path):
    card = dataclasses.replace(record, what="on a card", kind="cuda", device="a card")
    records.add(record, tmp_path / "a.json")
    records.add(card, tmp_path / "b.json")
    assert runs.recorded(tmp_path) == [card, record]
    assert runs.recorded(tmp_path / "nowhere") == []


def test_what_this_project_ships_is_complete():
    """A figure without its machine, day, command and commit is worth nothing; a changed commit cannot be had again."""
    for found in runs.recorded():
        assert found.device and found.command.startswith(("python", "torchrun"))
        assert found.commit not in ("", "unknown")
        assert len(found.date) == 10 and found.date > "2026"
        assert found.numbers and "/" not in found.command.replace("data/recorded/", "").replace("runs/", "")


def test_the_figures_that_this_project_ships_agree_with_each_other():
    """Ratios, best values and utilisation follow from other figures of the same record: none was written by hand."""
    for found in runs.recorded():
        for row in (row for rows in found.tables.values() for row in rows if "measured MiB" in row):
            assert row["ratio"] == pytest.approx(row["predicted MiB"] / row["measured MiB"])
        if evaluations := found.tables.get("evaluations"):
            best = min(entry["validation"] for entry in evaluations)
            assert found.numbers["best validation"] == pytest.approx(best, abs=1e-4)
            speed = found.numbers["tokens"] / found.numbers["seconds of training"]
            assert found.numbers["tokens/s"] == pytest.approx(speed)
            assert evaluations[-1]["seconds"] == pytest.approx(found.numbers["seconds of training"], abs=1e-3)
            assert found.curves["validation"] == [[entry["step"], entry["validation"]] for entry in evaluations]


def test_the_recorded_gpu_is_the_first_record_and_names_its_card():
    card = runs.recorded()[0]
    assert card.kind == "cuda" and card.device.startswith("NVIDIA") and "CUDA" in card.versions


def test_the_commit_is_that_of_the_code_and_marked_if_changed(tmp_path, monkeypatch):
    package = tmp_path / "gptlab" / "gpu"
    package.mkdir(parents=True)
    monkeypatch.setattr(records, "__file__", str(package / "records.py"))
    assert records._commit() == "unknown"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    (package / "records.py").write_text("1")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    clean = records._commit()
    assert clean == subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], text=True).strip()
    (package / "records.py").write_text("2")
    assert records._commit() == clean + "+"


def test_devices_have_names(monkeypatch):
    assert f"{torch.get_num_threads()} thread" in gpu.device_name()
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Card 9000")
    assert gpu.device_name("cuda") == "Card 9000"
    assert gpu.device_name("mps").startswith("mps")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 123)
    assert gpu.peak_memory("cuda") == 123


def test_a_long_curve_is_thinned_without_losing_its_level():
    values = [float(i % 7) for i in range(1003)]
    points = records.downsampled(values, most=100)
    assert len(points) <= 100 and points[-1][0] == 1003 and points[0][0] == 11
    steps = [step - before for (step, _), before in zip(points, [0, *(s for s, _ in points)], strict=False)]
    total = sum(count * value for count, (_, value) in zip(steps, points, strict=True))
    assert total / 1003 == pytest.approx(sum(values) / 1003, abs=1e-3)
    assert records.downsampled([3.0]) == [[1, 3.0]] and records.downsampled([]) == []


def test_a_record_is_plain_json(record, tmp_path):
    records.add(record, tmp_path / "a.json")
    (entry,) = json.loads((tmp_path / "a.json").read_text())
    assert entry["curves"] == {"validation": [[1.0, 2.5], [2.0, 1.5]]} and entry["kind"] == "cpu"
