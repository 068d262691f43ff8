"""One process or several: both answer the same questions, and a process knows which it is."""

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


def test_a_tensor_that_is_not_sharded_comes_back_as_it_is():
    tensor = torch.ones(3)
    assert ranks.whole(tensor) is ranks.local(tensor) is ranks.spread(tensor, like=torch.zeros(3)) is tensor


def test_the_module_needs_nothing_but_the_standard_library():
    code = "import sys, gptlab.ranks; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
