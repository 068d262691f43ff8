"""The suite kills every mutant: a well-known mistake, planted in the code, makes a test fail."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from mutants import MUTANTS, Mutant, mutated

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="planting a mutant forks a process, which this system cannot"),
]


@pytest.fixture(scope="module")
def found():
    """What became of each mutant: all are planted in one process that forks, so that torch is loaded once."""
    program = Path(__file__).with_name("mutants.py")
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=1100)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "_"))
def test_the_suite_kills(mutant, found):
    said = found[mutant.name]
    assert said["code"] in (0, 1), f"the tests did not run: {said}"
    assert said["code"] == 1, f"{mutant.tests} passes with {mutant.wrong!r} in the place of {mutant.right!r}"


def test_what_kills_the_mutants_passes_where_nothing_is_planted(found):
    assert found["nothing planted"]["code"] == 0, found["nothing planted"]


def test_a_mutant_that_no_longer_fits_the_source_is_refused():
    with pytest.raises(ValueError, match=r"stands 0 times in masking\.py, not once"):
        mutated(Mutant("old", "masking", "this line is gone", "", ""))
