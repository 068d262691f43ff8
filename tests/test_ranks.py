"""One process or several: both answer the same questions, and a process knows which it is."""

import os
import subprocess
import sys

import pytest
import torch

from gptlab import ranks
from gptlab.cluster import ProcessGroup
from gptlab.ranks import Processes, SingleProcess


@pytest.mark.parametrize(
    ("variables", "several"),
    [
        ({}, False),
        ({"WORLD_SIZE": "2"}, False),
        ({"RANK": "0"}, False),
        ({"WORLD_SIZE": "1", "RANK": "0"}, False),
        ({"WORLD_SIZE": "", "RANK": "0"}, False),
        ({"WORLD_SIZE": "2", "RANK": "1"}, True),
    ],
)
def test_a_process_knows_whether_it_is_one_of_several(monkeypatch, variables, several):
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ranks.is_one_of_several() is several


def test_one_process_and_several_answer_the_same_questions(monkeypatch):
    assert isinstance(SingleProcess(), Processes)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    group = ProcessGroup(torch.device("cpu"))
    assert isinstance(group, Processes) and (group.rank, group.world_size) == (1, 2)


LEAVING = """
import atexit, os, sys
from gptlab.ranks import leaves_at_once

@leaves_at_once
def command(code):
    atexit.register(print, "Python was shut down")
    print("all is saved", end="")
    print("a warning", end="", file=sys.stderr)
    return code

code = command(eval(sys.argv[1]))
print(", and it returns", code)
"""


@pytest.mark.parametrize(("code", "expected"), [("None", 0), ("0", 0), ("143", 143)])
def test_a_rank_of_several_leaves_without_shutting_python_down(code, expected):
    """Shut down, it could be aborted by a thread of gloo that still holds the last tensor it sent."""
    several = {**os.environ, "RANK": "1", "WORLD_SIZE": "2"}
    done = subprocess.run([sys.executable, "-c", LEAVING, code], capture_output=True, text=True, env=several)
    assert (done.returncode, done.stdout, done.stderr) == (expected, "all is saved", "a warning")


def test_a_process_alone_returns_and_shuts_down_as_any_other():
    alone = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    done = subprocess.run([sys.executable, "-c", LEAVING, "3"], capture_output=True, text=True, env=alone)
    assert done.stdout == "all is saved, and it returns 3\nPython was shut down\n" and done.returncode == 0


def test_train_is_such_a_command(monkeypatch, tmp_path):
    from gptlab.commands.train import train
    from gptlab.runs import program
    from gptlab.runs.settings import Options
    from gptlab.training import History

    left = []
    monkeypatch.setattr(os, "_exit", left.append)
    monkeypatch.setattr(program, "execute", lambda *_: program.Outcome(History(losses=[1.0, 1.0]), 0, tmp_path))
    for several, exits in ((False, []), (True, [0])):
        if several:
            monkeypatch.setenv("WORLD_SIZE", "2"), monkeypatch.setenv("RANK", "1")
        assert train(Options(folder=tmp_path, steps=2)) is None and left == exits


def test_a_tensor_that_is_not_sharded_comes_back_as_it_is():
    tensor = torch.ones(3)
    assert ranks.whole(tensor) is ranks.local(tensor) is ranks.spread(tensor, like=torch.zeros(3)) is tensor


def test_the_module_needs_nothing_but_the_standard_library():
    code = "import sys, gptlab.ranks; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
