"""Checkpoints: what was saved comes back, and no accident costs more than the newest one."""

import errno
import json
import os
import random
import shutil
import subprocess
import sys

import children
import numpy as np
import pytest
import torch

from gptlab import checkpoints
from gptlab.bpe import BPETokenizer
from gptlab.checkpoints import CheckpointError, storage
from gptlab.model import GPT, GPTConfig
from gptlab.optimizers import make_optimizers
from gptlab.schedule import TrainConfig
from gptlab.tokens import CharTokenizer

IDS = torch.randint(0, 30, (2, 9), generator=torch.Generator().manual_seed(0))


def small(seed: int = 0, **changes) -> GPT:
    torch.manual_seed(seed)
    return GPT(GPTConfig(30, 16, **{"n_layer": 2, "n_head": 2, "n_embd": 12, **changes})).eval()


def step(model, optimizers):
    model(IDS[:, :-1], IDS[:, 1:])[1].backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize(
    "changes", [{}, {"tie_weights": False}, {"position": "rope", "convolution": 3, "qk_norm": True}]
)
def test_a_saved_model_gives_the_same_logits(tmp_path, changes):
    model = small(**changes)
    checkpoints.save_model(model, tmp_path / "m", notes={"made": "here"})
    again, tokenizer = checkpoints.load_model(tmp_path / "m")
    assert torch.equal(again(IDS)[0], model(IDS)[0]) and tokenizer is None
    assert again.config == model.config and not again.training
    assert json.loads((tmp_path / "m" / "notes.json").read_text()) == {"made": "here"}


@pytest.mark.parametrize("tokenizer", [CharTokenizer.from_text("abc"), BPETokenizer.train("abcabc", 258)])
def test_the_tokenizer_comes_back_with_the_model(tmp_path, tokenizer):
    checkpoints.save_model(small(), tmp_path / "m", tokenizer)
    assert checkpoints.load_model(tmp_path / "m")[1].encode("cab") == tokenizer.encode("cab")


def test_a_tied_table_is_stored_once_and_nothing_is_pickled(tmp_path):
    checkpoints.save_model(small(), tmp_path / "m")
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["config.json", "model.safetensors"]
    size = (tmp_path / "m" / "model.safetensors").stat().st_size
    assert size < 4 * small().count_parameters() + 5000


def test_saving_again_replaces_the_model_as_a_whole(tmp_path):
    checkpoints.save_model(small(0), tmp_path / "m", CharTokenizer.from_text("abc"))
    checkpoints.save_model(small(1), tmp_path / "m")
    again, tokenizer = checkpoints.load_model(tmp_path / "m")
    assert torch.equal(again(IDS)[0], small(1)(IDS)[0]) and tokenizer is None
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_model_takes_the_place_of_a_model_and_of_nothing_else(tmp_path):
    (tmp_path / "m").mkdir()
    checkpoints.save_model(small(0), tmp_path / "m", CharTokenizer.from_text("abc"), notes={})
    checkpoints.save_model(small(1), tmp_path / "m")
    for name in ("thesis.txt", "b", "c", "d"):
        (tmp_path / "m" / name).write_text("mine")
    with pytest.raises(
        CheckpointError, match=r"m' holds b, c, d and 1 more, and saving a model .* choose a new folder for it"
    ):
        checkpoints.save_model(small(2), tmp_path / "m")
    with pytest.raises(CheckpointError, match=r"thesis.txt' is a file.*choose a new folder"):
        checkpoints.save_model(small(2), tmp_path / "m" / "thesis.txt")
    assert (tmp_path / "m" / "thesis.txt").read_text() == "mine"
    assert torch.equal(checkpoints.load_model(tmp_path / "m")[0](IDS)[0], small(1)(IDS)[0])


def test_the_order_of_the_first_edition_still_works_and_warns(tmp_path):
    with pytest.warns(DeprecationWarning, match=r"is now save_model\(model, folder\)"):
        checkpoints.save_model(tmp_path / "m", small(1))
    assert torch.equal(checkpoints.load_model(tmp_path / "m")[0](IDS)[0], small(1)(IDS)[0])


def test_a_run_of_the_first_edition_is_resumed(tmp_path):
    """Its state.json counted `ranks`, and knew no `world_size`."""
    config = TrainConfig(optimizer="muon")
    model = small()
    step(model, optimizers := make_optimizers(model, config))
    path = checkpoints.save(tmp_path, model, optimizers, step=1, state={"history": {}, "scaler": {}, "ranks": 1})
    assert json.loads((path / "state.json").read_text())["ranks"] == 1
    fresh = small(3)
    assert checkpoints.resume(tmp_path, fresh, make_optimizers(fresh, config))["step"] == 1
    assert torch.equal(fresh(IDS)[0], model(IDS)[0])


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_run_has_the_optimizers_memory(tmp_path, optimizer):
    config = TrainConfig(optimizer=optimizer)
    model = small()
    optimizers = make_optimizers(model, config)
    step(model, optimizers)
    checkpoints.save(tmp_path, model, optimizers, step=1, state={"note": 5})
    step(model, optimizers)
    fresh = small(3)
    fresh_optimizers = make_optimizers(fresh, config)
    state = checkpoints.resume(tmp_path, fresh, fresh_optimizers)
    assert (state["step"], state["note"]) == (1, 5)
    step(fresh, fresh_optimizers)
    assert torch.equal(fresh(IDS)[0], model(IDS)[0])


def test_a_resumed_runs_optimizers_are_set_as_this_run_wants_them(tmp_path):
    before, now = (
        TrainConfig(optimizer="muon", weight_decay=w, betas=b) for w, b in ((0.0, (0.9, 0.95)), (0.3, (0.0, 0.0)))
    )
    optimizers = make_optimizers(model := small(), before)
    step(model, optimizers)
    checkpoints.save(tmp_path, model, optimizers, step=1, state={})
    fresh = make_optimizers(again := small(3), now)
    wanted = [[dict(group, params=None) for group in optimizer.param_groups] for optimizer in fresh]
    checkpoints.resume(tmp_path, again, fresh)
    assert [[dict(group, params=None) for group in optimizer.param_groups] for optimizer in fresh] == wanted
    assert fresh[0].param_groups[0]["weight_decay"] == 0.3 and fresh[0].param_groups[0]["betas"] == (0.0, 0.0)
    weight = again.embedding.token.weight
    assert torch.equal(fresh[0].state[weight]["exp_avg"], optimizers[0].state[model.embedding.token.weight]["exp_avg"])


def test_a_run_in_progress_can_be_opened_as_a_model(tmp_path):
    model = small()
    checkpoints.save(tmp_path, model, make_optimizers(model, TrainConfig()), step=3, state={})
    assert torch.equal(checkpoints.load_model(tmp_path)[0](IDS)[0], model(IDS)[0])


@pytest.mark.parametrize("odd", [False, True], ids=["", "a normal number in reserve"])
def test_all_random_generators_go_on_where_they_were(tmp_path, odd):
    model = small()
    torch.manual_seed(5), np.random.seed(5)
    if odd:  # the library makes normal numbers in pairs, and keeps the second
        np.random.randn()
    checkpoints.save(tmp_path, model, [], step=1, state={})
    expected = torch.rand(3).tolist(), np.random.randn(), np.random.rand()
    torch.manual_seed(99), np.random.seed(99)
    checkpoints.resume(tmp_path, model, [])
    assert (torch.rand(3).tolist(), np.random.randn(), np.random.rand()) == expected


@pytest.mark.parametrize("odd", [False, True], ids=["", "a normal number in reserve"])
def test_pythons_own_generator_goes_on_where_it_was(odd):
    random.seed(5)
    if odd:
        random.gauss(0, 1)
    expected = random.getstate()  # compared, not drawn from: the type checker of the tests draws from it, too
    states = checkpoints.generator_states()
    random.seed(99)
    checkpoints.restore_generators(states)
    assert random.getstate() == expected


def test_each_process_of_a_run_gets_its_own_generators_back(tmp_path):
    model, states = small(), []
    for rank in range(2):
        torch.manual_seed(rank)
        states.append(checkpoints.generator_states())
    checkpoints.save(tmp_path, model, [], step=1, state={}, generators=states)
    for rank in (1, 0):
        torch.manual_seed(rank)
        expected = torch.rand(3)
        checkpoints.resume(tmp_path, model, [], rank=rank)
        assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(2)
    expected = torch.rand(3)
    torch.manual_seed(2)
    checkpoints.resume(tmp_path, model, [], rank=2)  # it was not there, so it keeps what it has
    assert torch.equal(torch.rand(3), expected)


def test_a_process_that_does_not_write_leaves_nothing(tmp_path):
    checkpoints.save(tmp_path / "run", small(), [], step=1, state={}, write=False)
    assert not (tmp_path / "run").exists()


def test_a_process_that_does_not_write_asks_for_what_is_spread_and_keeps_none_of_it():
    asked = []

    class Spread(torch.Tensor):
        def detach(self):
            return self

        def full_tensor(self):
            asked.append(len(self))
            return torch.ones(6)

    part = torch.ones(3).as_subclass(Spread)
    assert [len(storage.on_cpu(part, keep)) for keep in (True, False)] == [6, 0] and asked == [3, 3]
    assert sum(storage.on_cpu(weight, keep=False).numel() for weight in small().parameters()) == 0


def test_an_unfinished_checkpoint_is_not_taken_for_one(tmp_path):
    model = small()
    checkpoints.save(tmp_path, model, [], step=1, state={})
    (tmp_path / ".step-00000002-xyz").mkdir()
    (tmp_path / "step-00000003").mkdir()
    assert checkpoints.latest(tmp_path).name == "step-00000001"


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoints.latest(tmp_path / "nowhere") is None
    assert checkpoints.resume(tmp_path, small(), []) is None


def test_an_unknown_folder_is_refused_by_name(tmp_path):
    with pytest.raises(CheckpointError, match=r"no model in .*nowhere.*train one"):
        checkpoints.load_model(tmp_path / "nowhere")


@pytest.mark.parametrize("file", ["model.safetensors", "optimizers.safetensors"])
def test_a_truncated_checkpoint_is_refused_by_name(tmp_path, file):
    model = small()
    optimizers = make_optimizers(model, TrainConfig())
    step(model, optimizers)
    path = checkpoints.save(tmp_path, model, optimizers, step=1, state={}) / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=rf"{file}.*truncated.*older checkpoint"):
        checkpoints.resume(tmp_path, small(), make_optimizers(small(), TrainConfig()))


@pytest.mark.parametrize("file", ["state.json", "model.safetensors"])
def test_a_broken_checkpoint_names_the_one_before_it(tmp_path, file):
    model = small()
    for number in (1, 2):
        checkpoints.save(tmp_path, model, [], step=number, state={})
    (tmp_path / "step-00000002" / file).write_text("{")
    with pytest.raises(CheckpointError, match="delete the folder step-00000002 to go on from step-00000001"):
        checkpoints.resume(tmp_path, small(), [])


def test_a_run_that_had_another_optimizer_is_refused(tmp_path):
    model = small()
    checkpoints.save(tmp_path, model, make_optimizers(model, TrainConfig(optimizer="muon")), step=1, state={})
    with pytest.raises(CheckpointError, match="states of 2 optimizers and the run has 1: go on with the optimizer"):
        checkpoints.resume(tmp_path, small(), make_optimizers(small(), TrainConfig()))


def test_a_run_is_opened_with_the_tokenizer_that_lies_beside_its_checkpoints(tmp_path):
    CharTokenizer.from_text("abc").save(tmp_path / "tokenizer.json")
    checkpoints.save(tmp_path, small(), [], step=1, state={})
    assert checkpoints.load_model(tmp_path)[1].encode("cab") == [2, 0, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process that is a copy of this one")
def test_a_process_that_dies_anywhere_in_saving_leaves_a_checkpoint_to_go_on_from(tmp_path, monkeypatch):
    """At every single operation on the disk: the process ends there at once, without any clearing up."""
    model = small()
    checkpoints.save(tmp_path, model, [], step=1, state={"note": 1})
    operations = [(os, "replace"), (os, "fsync"), (storage, "save_file"), (shutil, "rmtree")]
    survived, place = 0, 0
    while not survived:
        child = os.fork()
        if not child:
            children.dies_at(place, operations)
            checkpoints.save(tmp_path, model, [], step=2, state={"note": 2}, save_total_limit=1)
            os._exit(7)
        survived = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        state = checkpoints.resume(tmp_path, small(), [])
        assert state["note"] == state["step"] and state["step"] in (1, 2)
        checkpoints.remove_temporary(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} <= {"step-00000001", "step-00000002"}
        if state["step"] == 2 and not survived:
            shutil.rmtree(tmp_path / "step-00000002")
            checkpoints.save(tmp_path, model, [], step=1, state={"note": 1})
        place += 1
    assert place > 8 and state["step"] == 2


def test_a_checkpoint_of_another_configuration_is_refused_with_what_differs(tmp_path):
    checkpoints.save(tmp_path, small(), [], step=1, state={})
    with pytest.raises(CheckpointError, match="n_embd: 12 there, 16 here"):
        checkpoints.resume(tmp_path, small(n_embd=16), [])


def test_weights_that_do_not_fit_their_configuration_are_named(tmp_path):
    checkpoints.save_model(small(), tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(small(n_embd=16).config.to_json())
    with pytest.raises(CheckpointError, match=r"does not fit.*\(12,\) for \(16,\)|does not fit.*12.* for .*16"):
        checkpoints.load_model(tmp_path / "m")


def test_a_full_disk_while_saving_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    model = small()
    checkpoints.save(tmp_path, model, [], step=1, state={})
    monkeypatch.setattr(storage, "save_file", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(CheckpointError, match=r"No space left.*untouched"):
        checkpoints.save(tmp_path, model, [], step=2, state={})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert torch.equal(checkpoints.load_model(tmp_path)[0](IDS)[0], model(IDS)[0])


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on file sizes is a POSIX matter")
def test_a_file_that_really_cannot_grow_leaves_the_old_checkpoint(tmp_path):
    checkpoints.save(tmp_path, small(), [], step=1, state={})
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from gptlab import checkpoints; from gptlab.model import GPT, GPTConfig\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))\n"
        "try: checkpoints.save(sys.argv[1], GPT(GPTConfig(30, 16, n_layer=2, n_head=2, n_embd=12)), [], 2, {})\n"
        "except checkpoints.CheckpointError as error: print('refused:', error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert "refused:" in done.stdout, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_compiled_models_names_are_those_of_the_model(tmp_path):
    model = small()

    class Wrapped(torch.nn.Module):  # what torch.compile's wrapper does to the names
        def __init__(self):
            super().__init__()
            self._orig_mod, self.config = model, model.config

    checkpoints.save_model(Wrapped(), tmp_path / "m")
    assert torch.equal(checkpoints.load_model(tmp_path / "m")[0](IDS)[0], model(IDS)[0])


def test_an_unknown_model_of_the_course_is_refused_with_those_there_are():
    with pytest.raises(CheckpointError, match="no model 'dune' in data/models"):
        checkpoints.committed("dune")


def test_a_model_is_saved_out_of_what_ddp_and_the_compiler_put_around_it(tmp_path):
    class Wrapped(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    checkpoints.save_model(Wrapped(torch.compile(small(1))), tmp_path / "m")
    assert torch.equal(checkpoints.load_model(tmp_path / "m")[0](IDS)[0], small(1)(IDS)[0])
