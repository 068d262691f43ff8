"""Damaged checkpoints: each ends in one sentence with the file and the way out, and none is trained on in silence."""

import json
import random
import subprocess
import sys

import children
import pytest
import torch
from damaging import changed, entries
from safetensors.torch import load_file, save_file

from gptlab import checkpoints, training
from gptlab.batches import Batches
from gptlab.checkpoints import CheckpointError, storage
from gptlab.model import GPT, GPTConfig
from gptlab.schedule import TrainConfig
from gptlab.tokens import CharTokenizer

FILES = ("config.json", "model.safetensors", "optimizers.safetensors", "state.json")
BATCHES = Batches([n * n % 11 for n in range(30)], B=2, T=8)


def small() -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(11, 8, n_layer=1, n_head=2, n_embd=12))


def go_on(folder, steps=3):
    plan = TrainConfig(steps=steps, optimizer="muon", save_every=1)
    return training.train(small(), BATCHES, plan, folder=folder, resume=True, progress=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of two steps and its two checkpoints, as bytes."""
    folder = tmp_path_factory.mktemp("whole")
    go_on(folder, steps=2)
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def run(whole, tmp_path):
    """That run, in a folder to damage."""
    for name, content in whole.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def first_edition(folder):
    """Its checkpoints had no hashes."""
    for path in folder.glob("*/SHA256SUMS"):
        path.unlink()


def refused(folder, file):
    """The run isn't resumed, the file is named, and so is the checkpoint before it; all files are as they were."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match=rf"step-00000002/{file}' .*go on from step-00000001") as caught:
        go_on(folder)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


# ------------------------------------------------------------------------------------------------------------- hashes


def test_a_checkpoint_carries_the_hash_of_each_file_as_sha256sum_reads_it(run):
    lines = (run / "step-00000002" / "SHA256SUMS").read_text().splitlines()
    assert [line[64:] for line in lines] == [f"  {name}" for name in FILES]
    if sys.platform == "linux":
        done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=run / "step-00000002", capture_output=True)
        assert done.returncode == 0


@pytest.mark.parametrize("file", FILES)
def test_one_flipped_bit_anywhere_is_noticed_and_so_is_a_missing_file(run, file):
    path, draw = run / "step-00000002" / file, random.Random(file)
    sound = path.read_bytes()
    for _ in range(5):
        place = draw.randrange(len(sound))
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1 << draw.randrange(8)]) + sound[place + 1 :])
        refused(run, file)
    path.unlink()
    if file == "state.json":  # it is written last, and makes a checkpoint of a folder
        assert checkpoints.latest(run).name == "step-00000001"
    else:
        refused(run, file)
    path.write_bytes(sound)
    assert go_on(run).steps == 3


def test_a_flipped_bit_in_the_weights_is_noticed_where_a_model_is_opened(run):
    path = run / "step-00000002" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(CheckpointError, match=r"model.safetensors.*SHA-256.*go on from step-00000001"):
        checkpoints.load_model(run)


def test_a_checkpoint_without_hashes_is_opened_as_before(run):
    first_edition(run)
    assert checkpoints.load_model(run)[0].config.n_embd == 12
    assert go_on(run).steps == 3 and (run / "step-00000003" / "SHA256SUMS").is_file()


def test_the_older_checkpoint_that_is_named_is_a_sound_one(run):
    (run / "step-00000001" / "model.safetensors").write_bytes(b"")
    (run / "step-00000002" / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="there is no older checkpoint that is sound: take a copy"):
        go_on(run)


def test_nothing_is_deleted_before_the_newest_has_been_read_back(run, monkeypatch):
    really = storage.write_sums

    def a_disk_that_forgets(draft):
        really(draft)
        (draft / "model.safetensors").write_bytes(b"zeros")

    monkeypatch.setattr(storage, "write_sums", a_disk_that_forgets)
    with pytest.raises(CheckpointError, match=r"step-00000003/model.safetensors.*go on from step-00000002"):
        go_on(run)
    assert len(storage.complete(run)) == 3  # and not two


# -------------------------------------------------------------------------------------- what is in them, without hashes


def test_a_state_of_another_shape_is_refused_before_an_optimizer_reads_beyond_it(run):
    """A fused AdamW would: a segmentation fault, or the numbers of somebody else."""
    first_edition(run)
    path = run / "step-00000002" / "optimizers.safetensors"
    tensors = load_file(path)
    changes = {
        "0.0.exp_avg": (torch.zeros(1, 1), r"exp_avg of weight 0 \(embedding.token.weight\) is torch.float32 \[1, 1\]"),
        "0.1.exp_avg_sq": (
            torch.zeros(8, 12, dtype=torch.int8),
            r"torch.int8 \[8, 12\], and must be torch.float32 \[8, 12",
        ),
        "0.0.step": (torch.zeros(11, 12), r"must be torch.float32 \[\]"),
        "1.0.momentum_buffer": (torch.zeros(()), r"momentum_buffer of weight 0 \(blocks.0.*must be torch.float32 \["),
        "0.99.exp_avg": (torch.zeros(1), "of weight 99, and has"),
        "7.0.exp_avg": (torch.zeros(1), "'7.0.exp_avg' belongs to no optimizer"),
        "0.0.other": (torch.zeros(1), r"'other'.* is saved of weight 0"),
        "random.0.cpu": (torch.zeros(3), "random generator 'cpu' is damaged"),
        "random.0.numpy": (torch.full((626,), 10**9), "random generator 'numpy' is damaged: 624 words, read up to 10"),
    }
    for name, (tensor, said) in changes.items():
        save_file({**tensors, name: tensor}, path)
        with pytest.raises(CheckpointError, match=rf"optimizers.safetensors.*{said}.*go on from step-00000001"):
            go_on(run)
    for name in ("0.0.exp_avg", "random.0.python"):
        save_file({other: tensor for other, tensor in tensors.items() if other != name}, path)
        with pytest.raises(CheckpointError, match=r"optimizers.safetensors.*go on from step-00000001"):
            go_on(run)
    weights = load_file(run / "step-00000002" / "model.safetensors")
    save_file({name: w.to(torch.int8) for name, w in weights.items()}, run / "step-00000002" / "model.safetensors")
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"does not fit this model: blocks.*of torch.int8"):
        go_on(run)


def opened(folder):
    """Whether the run could be resumed; anything but a `CheckpointError` is a failure of this test."""
    running = training.run(small(), BATCHES, TrainConfig(steps=3, optimizer="muon"), folder=folder, resume=True)
    try:
        return next(running).steps == 2
    except CheckpointError as error:
        assert "\n" not in str(error)
        return False
    finally:
        running.close()


@pytest.mark.parametrize("file", ["config.json", "state.json"])
def test_every_entry_removed_or_replaced_ends_in_a_documented_error_or_in_a_run(run, file):
    first_edition(run)
    path, draw = run / "step-00000002" / file, random.Random(5)
    sound = json.loads(path.read_text())
    places = [
        place for place in entries(sound) if "param_groups" not in place or place[-1] in ("param_groups", "params")
    ]
    needed = {"vocab_size", "step", "optimizers", "history", *sound.get("history", ()), "scaler", "params", "seconds"}
    for place in places:
        for change in ("removed", draw.choice([None, "x", -1, [[1]], {}])):
            path.write_text(json.dumps(changed(sound, place, change)))
            may_be_absent = change != "removed" or place[-1] not in needed
            assert not opened(run) or may_be_absent, (place, change)


@pytest.mark.parametrize("file", FILES)
def test_flipped_bytes_without_a_hash_end_in_a_documented_error_or_in_a_run(run, file):
    first_edition(run)
    path, draw = run / "step-00000002" / file, random.Random(file)
    sound = path.read_bytes()
    header = len(sound) if file.endswith(".json") else 8 + int.from_bytes(sound[:8], "little")
    ends = set()
    for _ in range(30):
        place = draw.randrange(header)
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1 << draw.randrange(8)]) + sound[place + 1 :])
        ends.add(opened(run))
    assert False in ends


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[1]", b"null", b"[" * 100_000, b'{"step": 1e400}', b"9" * 5000]
)
@pytest.mark.parametrize("file", ["config.json", "state.json"])
def test_content_that_is_no_state_and_no_configuration(run, file, content):
    first_edition(run)
    (run / "step-00000002" / file).write_bytes(content)
    refused(run, file)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"step": 1}, "step=1 is that of step-00000001"),
        ({"history": {"losses": []}}, "there is no entry history.rates"),
        ({"scaler": {"scale": "x"}}, "scaler.scale='x' must be a number"),
        ({"optimizers": [{"state": {}}, 3]}, r"there is no entry optimizers\[0\].param_groups"),
    ],
)
def test_an_entry_of_the_state_is_named(run, changes, said):
    first_edition(run)
    path = run / "step-00000002" / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(CheckpointError, match=said):
        go_on(run)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("losses", [1.0], r"history.losses has 1 entries after 2 steps"),
        ("evaluations", [{"step": 1}], "evaluations has no step or no seconds"),
        ("dokens", 5, "the entry history.dokens is not known"),
        ("gradient_norms", [float("inf"), float("nan")], None),  # as a run in float16 has them
    ],
)
def test_a_history_that_is_not_that_of_its_run(run, name, change, said):
    first_edition(run)
    path = run / "step-00000002" / "state.json"
    state = json.loads(path.read_text())
    state["history"][name] = change
    path.write_text(json.dumps(state))
    if said is None:
        assert go_on(run).steps == 3
        return
    with pytest.raises(CheckpointError, match=said):
        go_on(run)


def test_a_configuration_that_is_larger_than_its_weights_takes_no_memory_and_no_time(tmp_path):
    checkpoints.save_model(small(), tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    sound = json.loads(path.read_text())
    for name in ("n_layer", "vocab_size", "context", "mlp_size"):
        path.write_text(json.dumps({**sound, name: 10**9}))
        said = r"config.json.*(more than [\d,]+ numbers, and model.safetensors has|must be a whole number of)"
        with pytest.raises(CheckpointError, match=said):
            checkpoints.load_model(tmp_path / "m")


@pytest.mark.parametrize("content", [b"", b"\xff", b"[1]", b'{"kind": "characters"}', b"[" * 100_000])
def test_a_damaged_tokenizer_beside_a_model_is_named(tmp_path, content):
    checkpoints.save_model(small(), tmp_path / "m", CharTokenizer.from_text("abc"))
    (tmp_path / "m" / "tokenizer.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer.json' holds no tokenizer \(.*go back to a copy"):
        checkpoints.load_model(tmp_path / "m")


# ----------------------------------------------------------------------------------------------------- two processes


def hold(folder):
    """Another process that trains there."""
    with checkpoints.locked(folder):
        (folder / "held").touch()
        children.time.sleep(60)


@children.needs_fork
def test_a_second_process_is_refused_at_the_start_and_a_killed_one_holds_nothing(tmp_path):
    process = children.start(hold, tmp_path)
    children.wait_for((tmp_path / "held").exists)
    with pytest.raises(
        CheckpointError, match=r"another process is training in .*wait until it ends or end it, or choose"
    ):
        go_on(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "held"}
    process.kill()
    process.join()
    assert go_on(tmp_path, steps=1).steps == 1
    assert {path.name for path in tmp_path.iterdir()} == {"step-00000001", "held"}


def test_the_same_process_may_go_on_while_an_older_loop_is_still_open(tmp_path):
    plan = TrainConfig(steps=3, save_every=1)
    running = training.run(small(), BATCHES, plan, folder=tmp_path)
    next(running)
    assert training.train(small(), BATCHES, plan, folder=tmp_path, resume=True, progress=False).steps == 3
    running.close()
    assert not (tmp_path / ".lock").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"could not write in '.*file' \(.*\).*choose another folder"):
        go_on(tmp_path / "file")


def test_the_newest_checkpoint_is_found_although_it_is_replaced_while_we_look(run, monkeypatch):
    """The folder is listed, then another process saves step 3 and deletes what was listed."""
    storage.delete(run / "step-00000001")
    really, calls = storage.Path.exists, []

    def meanwhile(path):
        if not calls:
            (run / "step-00000002").rename(run / "step-00000003")
        calls.append(path)
        return really(path)

    monkeypatch.setattr(storage.Path, "exists", meanwhile)
    assert checkpoints.latest(run).name == "step-00000003"


def test_only_what_this_program_made_is_cleared_away(tmp_path):
    names = (".step-00000002-77-0123abcd", ".step-00000003-77-0123abcd.old", ".step-mine", ".step-00000002-abc")
    for name in names:
        (tmp_path / name).mkdir()
    checkpoints.remove_temporary(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".step-mine", ".step-00000002-abc", "step-00000003"}
