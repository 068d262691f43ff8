"""Several processes that train one model: they compute what one does, notice a death, and leave a run to go on with."""

import json
import os
import signal
import sys
import time

import children
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kill import arguments, last, state, text  # noqa: F401

from gptlab.batches import IGNORE, Batches, StoryBatches
from gptlab.cluster import distributed
from gptlab.cluster.distributed import RowsOfRank
from gptlab.cluster.launching import launch, reason_in
from gptlab.corpora.shards import Row
from gptlab.ranks import SingleProcess
from gptlab.training import TrainConfig, run

# ---------------------------------------------------------------------------------------------------- parts of a batch


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=9), B=st.integers(1, 7), ranks=st.integers(1, 5))
def test_the_parts_of_the_ranks_are_the_batch_and_as_many_rows_each(lengths, B, ranks):
    batches = StoryBatches([list(range(length)) for length in lengths], B=B, start=0)
    for step in range(len(batches)):
        whole = batches.batch(step)
        parts = [RowsOfRank(batches, rank, ranks).batch(step) for rank in range(ranks)]
        ids, targets = (torch.cat(rows) for rows in zip(*parts, strict=True))
        assert len({len(part.ids) for part in parts}) == 1
        assert torch.equal(ids[: len(whole.ids)], whole.ids) and torch.equal(targets[: len(whole.ids)], whole.targets)
        assert (targets[len(whole.ids) :] == IGNORE).all()


def test_a_rank_reads_only_its_own_rows_of_shards():
    class Counting(Row):
        seen = ()

        def __getitem__(self, wanted):
            self.seen = (*self.seen, wanted.start)
            return super().__getitem__(wanted)

    numbers = torch.arange(200).numpy()
    seen = []
    for rank in range(3):
        row = Counting([numbers])
        part = RowsOfRank(Batches(row, B=6, T=5, seed=1), rank, 3)
        row.seen = ()  # the beginning was read for its type
        whole = Batches(numbers, B=6, T=5, seed=1).batch(4)
        assert torch.equal(part.batch(4).ids, whole.ids[2 * rank : 2 * rank + 2])
        seen.append(row.seen)
    assert [len(places) for places in seen] == [2, 2, 2] and len(set(sum(seen, ()))) == 6
    assert len(part) == len(part.batches)


# ------------------------------------------------------------------------------------------------- ranks that live


def learned(tmp_path, ranks, sharded=False, **changes):
    """What `children.learn` finds alone, or on several ranks."""
    out = tmp_path / f"{ranks}{sharded}.json"
    arguments = str(out), sharded, changes
    if ranks == 1:
        processes = [children.start(children.learn, *arguments)]
    else:
        processes = children.together(children.learn, *arguments, ranks=ranks)
    assert children.finish(*processes) == [0] * ranks
    return json.loads(out.read_text())


@children.needs_fork
@pytest.mark.parametrize(
    ("ranks", "sharded", "changes"),
    [
        (2, False, {}),
        (2, False, {"gradient_accumulation": 2, "optimizer": "muon"}),
        (2, True, {}),
        (2, True, {"gradient_accumulation": 2, "optimizer": "muon", "gradient_checkpointing": True}),
        (3, False, {}),
    ],
    ids=["DDP", "DDP in parts, Muon", "FSDP2", "FSDP2 in parts, Muon, checkpointing", "three ranks"],
)
def test_ranks_compute_the_loss_and_the_gradients_of_one(tmp_path, ranks, sharded, changes):
    alone, together = learned(tmp_path, 1, **changes), learned(tmp_path, ranks, sharded, **changes)
    assert together["loss"] == pytest.approx(alone["loss"], abs=1e-6)
    for name, gradient in alone["gradients"].items():
        assert (torch.tensor(gradient) - torch.tensor(together["gradients"][name])).abs().max() < 1e-6, name
    assert together["losses"] == pytest.approx(alone["losses"], abs=1e-6)
    assert together["norms"] == pytest.approx(alone["norms"], abs=1e-5)
    assert together["tokens"] == alone["tokens"]


@pytest.fixture(scope="module")
def six(text, tmp_path_factory):  # noqa: F811
    """Six steps of one process."""
    folder = tmp_path_factory.mktemp("six")
    process = children.start(children.command, plain(text, folder, 6), folder / "log")
    assert children.finish(process) == [0], (folder / "log").read_text()
    return folder


def plain(text, folder, steps, *more):  # noqa: F811
    """`gptlab train` for a few steps with nothing random in a step, and a rate that does not depend on the steps."""
    fixed = "--dropout 0 --optimizer adamw --learning-rate 1e-3 --decay-fraction 0 --warmup 0 --save-every 100"
    return arguments(text, folder, *fixed.split(), *more, steps=steps)


@children.needs_fork
@pytest.mark.parametrize(
    ("before", "after"),
    [((2, "data"), (1, "data")), ((1, "data"), (2, "sharded")), ((2, "sharded"), (2, "data"))],
    ids=["two, then one", "one, then two sharded", "two sharded, then two copies"],
)
def test_a_run_goes_on_with_another_number_of_ranks(text, six, tmp_path, before, after):  # noqa: F811
    for (ranks, parallel), steps in ((before, 3), (after, 6)):
        words = plain(text, tmp_path, steps, *(["--parallel", parallel] if ranks > 1 else []))
        start = [children.start] if ranks == 1 else []
        processes = [f(children.command, words, tmp_path / "log") for f in start] or children.together(
            children.command, words, tmp_path / "log"
        )
        assert children.finish(*processes) == [0] * ranks, (tmp_path / "log").read_text()
        assert state(tmp_path)["world_size"] == ranks
    assert state(tmp_path)["history"]["losses"] == pytest.approx(state(six)["history"]["losses"], abs=1e-6)
    said = (tmp_path / "log").read_text()
    assert said.count("step      3") == 1 and "going on after step 3" in said  # one of two speaks
    assert not list(tmp_path.glob(".*"))


@children.needs_fork
def test_sigterm_to_one_rank_stops_both_after_the_same_step(text, tmp_path):  # noqa: F811
    words = plain(text, tmp_path, 100_000, "--save-every", "5")
    processes = children.together(children.command, words, tmp_path / "log")
    children.wait_for(lambda: last(tmp_path) >= 5)
    os.kill(processes[0].pid, signal.SIGTERM)
    assert children.finish(*processes)[0] == 143
    said = (tmp_path / "log").read_text()
    assert f"stopped by SIGTERM after step {last(tmp_path)}." in said and "goes on from it" in said


def test_only_the_first_rank_writes(tmp_path):
    class Second(SingleProcess):
        rank = 1

    plan = TrainConfig(steps=2, save_every=1)
    for ranks, written in ((Second(), []), (SingleProcess(), ["step-00000001", "step-00000002"])):
        model, batches = children.uneven()
        list(run(model, batches, plan, folder=tmp_path / "run", processes=ranks))
        assert sorted(path.name for path in (tmp_path / "run").glob("*")) == written


# --------------------------------------------------------------------------------------------------- ranks that die

DEADLY = """
import os, signal, sys, threading, time
from pathlib import Path
from gptlab import checkpoints, commands

folder = Path(sys.argv[1])

def deadly():
    while checkpoints.latest(folder) is None:
        time.sleep(0.01)
    (folder / "died").write_text(str(time.time()))
    os.kill(os.getpid(), signal.SIGKILL)

if os.environ["RANK"] == "1":
    threading.Thread(target=deadly, daemon=True).start()
sys.exit(commands.run(sys.argv[2:]))
"""


@children.needs_fork
def test_a_rank_that_is_killed_ends_the_job_with_a_reason_and_one_goes_on(text, tmp_path):  # noqa: F811
    (tmp_path / "deadly.py").write_text(DEADLY)
    words = plain(text, tmp_path, 100_000, "--save-every", "5")
    launched = launch([str(tmp_path / "deadly.py"), *map(str, [tmp_path, *words])], world_size=2, time_limit=120)
    assert time.time() - float((tmp_path / "died").read_text()) < 30
    assert launched.code != 0 and launched.reason == "rank 1 was killed (SIGKILL)", launched.output
    assert "rank 0 lost another rank" in launched.output and "--resume" in launched.output
    done = last(tmp_path)
    process = children.start(children.command, plain(text, tmp_path, done + 3), tmp_path / "log")
    assert children.finish(process) == [0], (tmp_path / "log").read_text()
    losses = state(tmp_path)["history"]["losses"]
    assert len(losses) == done + 3 and losses[-1] < losses[0]


def test_a_program_that_takes_too_long_is_ended_and_what_it_printed_is_kept():
    launcher = (sys.executable, "-u", "-c", "import time; print('here'); time.sleep(60)")
    launched = launch([], time_limit=2, launcher=launcher)
    assert launched.reason == "stopped after the time limit of 2 s" and launched.output == "here\n"
    assert launched.code == -signal.SIGTERM and launched.seconds < 30


def test_a_program_that_fails_or_ends_well_is_told_apart():
    failed = launch([], launcher=(sys.executable, "-c", "import sys; print('no'); sys.exit(3)"))
    assert (failed.code, failed.reason, failed.output) == (3, "ended with exit code 3", "no\n")
    went = launch(["--steps", "5"], world_size=4, launcher=(sys.executable, "-c", "import sys; print(*sys.argv[1:])"))
    assert (went.code, went.reason, went.output) == (0, "", "--nproc-per-node 4 --steps 5\n")


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("Root Cause:\n  rank      : 0 (local_rank: 0)\n  exitcode  : 1 (pid: 5)", "rank 0 failed (exit code 1)"),
        ("all is well", ""),
        (
            "Failures:\n[1]:\n  rank : 1 (local_rank: 1)\n  exitcode : -9 (pid: 6)\n"
            "Root Cause (first observed failure):\n  rank : 0 (local_rank: 0)\n  exitcode : 1 (pid: 5)",
            "rank 1 was killed (SIGKILL)",
        ),
    ],
    ids=["one failed", "none", "what was killed comes before what lost it"],
)  # fmt: skip
def test_the_reason_is_read_from_what_torchrun_says(output, reason):
    assert reason_in(output) == reason


# ---------------------------------------------------------------------------------------------------------- settings


def test_each_rank_of_a_host_has_a_gpu_of_its_own(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert distributed.own_device() == "cuda:1" and chosen == [1]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match=r"has 2 GPUs and torchrun started 3 ranks or more.*--nproc-per-node 2"):
        distributed.own_device()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert distributed.own_device() is None


def test_an_error_that_is_the_programs_own_is_not_taken_for_a_lost_rank(monkeypatch):
    calls = []
    monkeypatch.setattr(distributed.dist, "init_process_group", lambda *arguments, **named: calls.append(named))
    monkeypatch.setattr(distributed.dist, "destroy_process_group", lambda: calls.append("end"))
    monkeypatch.setattr(distributed.dist, "get_rank", lambda: 1)
    monkeypatch.setattr(distributed.dist, "get_world_size", lambda: 2)
    with pytest.raises(RuntimeError, match="shape"), distributed.join("cpu"):
        raise RuntimeError("shape '[2]' is invalid")
    said = r"rank 1 lost another rank.*Connection closed by peer"
    with pytest.raises(distributed.RankLost, match=said), distributed.join("cpu"):
        raise RuntimeError("[pair.cc:547] Connection closed by peer [127.0.0.1]:5\nmore")
    assert calls[-1] == "end"


@pytest.mark.parametrize(
    "error", [RuntimeError("port in use\nmore"), ValueError("MASTER_PORT is expected, but not set")]
)
def test_ranks_that_do_not_find_each_other_are_told_where_they_looked(monkeypatch, error):
    def refused(*_, **__):
        raise error

    monkeypatch.setattr(distributed.dist, "init_process_group", refused)
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "host", "MASTER_PORT": "77"}.items():
        monkeypatch.setenv(name, value)
    said = r"rank 1 of 2 could not join the others at host:77 \((port in use|MASTER_PORT is .*)\): start all ranks with"
    with pytest.raises(distributed.RankLost, match=said), distributed.join("cpu"):
        pass
