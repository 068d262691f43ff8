"""The mutation run plants faults where a person could make them, and tells apart what a test notices and what not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("cosmic_ray", reason="an extra for maintainers")
from gptlab.commands import mutate

SOURCE = """def larger(a: int | None, b: int = 3) -> int | None:
    return a if a > b else b
"""
TEST = """from gptlab.toy import larger

def test_larger():
    assert larger(5, 4) == 5 and larger(1, 4) == 4
"""


@pytest.fixture
def clone(tmp_path):
    """A clone with one module, whose test does not look at equal numbers."""
    (tmp_path / "gptlab").mkdir()
    (tmp_path / "gptlab" / "__init__.py").write_text("")
    (tmp_path / "gptlab" / "toy.py").write_text(SOURCE)
    (tmp_path / "tests" / "mutants").mkdir(parents=True)
    (tmp_path / "tests" / "test_toy.py").write_text(TEST)
    worker = Path(__file__).parent / "mutants" / "worker.py"
    (tmp_path / "tests" / "mutants" / "worker.py").write_text(worker.read_text(encoding="utf-8"))
    (tmp_path / "pyproject.toml").write_text("")
    return tmp_path


def test_annotations_are_spared_and_every_fault_changes_one_line(clone):
    faults = list(mutate.faults_in(clone, "gptlab/toy.py"))
    assert {fault.line for fault in faults} == {1, 2}
    assert all(fault.before != fault.after and "int | None" in SOURCE.splitlines()[0] for fault in faults)
    assert not [fault for fault in faults if fault.line == 1 and "int | None, b: int" not in fault.after]


def test_what_a_test_notices_is_killed_and_what_not_survives(clone, tmp_path):
    faults = {fault.after.strip(): fault for fault in mutate.faults_in(clone, "gptlab/toy.py") if fault.line == 2}
    noticed, unnoticed = faults["return a if a < b else b"], faults["return a if a >= b else b"]
    killers = dict(mutate.tried(clone, tmp_path / "copies", [noticed, unnoticed], seconds=100, processes=1))
    assert killers == {noticed: "tests/test_toy.py::test_larger", unnoticed: None}
    assert (clone / "gptlab" / "toy.py").read_text() == SOURCE


def test_a_sample_is_the_same_for_a_seed_and_a_module_can_be_named(clone):
    first = mutate.chosen(clone, "toy", 3, seed=5)
    assert first == mutate.chosen(clone, "toy", 3, seed=5) and len(first) == 3
    with pytest.raises(ValueError, match=r"no module 'tou' to plant faults in: choose one of toy"):
        mutate.chosen(clone, "tou", 3, seed=5)


def test_the_worker_imports_nothing_of_the_package_itself(clone):
    worker = str(clone / "tests" / "mutants" / "worker.py")
    code = f"import json, runpy, sys; runpy.run_path({worker!r}); print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not [name for name in json.loads(done.stdout) if name.startswith("gptlab")]
