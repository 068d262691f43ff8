"""`train` and `sample` as a reader calls them, and the training race on a text of a few lines."""

import contextlib
import errno
import json
import math
import os
import re
import shlex
import subprocess
import sys
import types

import pytest
import torch
import yaml

from gptlab import checkpoints, commands, gpu, runs, sampling
from gptlab.checkpoints import storage
from gptlab.commands.bench import training as race
from gptlab.commands.sample import sample
from gptlab.commands.train import train
from gptlab.gpu import devices
from gptlab.model import GPT
from gptlab.ranks import SingleProcess
from gptlab.runs import building
from gptlab.runs.program import join
from gptlab.runs.recipes import model_config
from gptlab.runs.records import read
from gptlab.runs.settings import Options
from gptlab.training import History, TrainConfig

TINY = dict(batch_size=2, n_layer=1, n_head=2, n_embd=12, device="cpu")


@pytest.fixture
def text(tmp_path):
    """What is enough to train on a text of a few lines."""
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 60)
    return dict(TINY, corpus=str(tmp_path / "text.txt"), tokens="characters", context=16)


@pytest.mark.parametrize(
    ("parts", "kind", "expected"),
    [
        ("gpt2", "GPT2LMHeadModel", ("layernorm", "learned", "gelu", None)),
        ("llama", "LlamaForCausalLM", ("rmsnorm", "rope", "swiglu", 1)),
        ("modern", "GPTLabForCausalLM", ("layernorm", "rope", "relu2", None)),
    ],
)
def test_a_text_of_your_own_becomes_a_model_that_transformers_opens_and_lets_write(
    tmp_path, monkeypatch, capsys, parts, kind, expected
):
    """The way of the README from its first command to its last, as it is typed."""
    transformers = pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text("".join(f"{n}. The fox asked the hen for a grape.\n\n" for n in range(40)))
    size = "--batch-size 2 --n-layer 1 --n-head 2 --n-embd 16 --context 16 --device cpu --steps 4"
    for command in (
        f"train my.txt --parts {parts} {size} --learning-rate 0.05 --warmup 1 --export saved",
        "sample runs/my --prompt The --max-new-tokens 12 --temperature 0",
        "export runs/my my-model",
    ):
        assert commands.run(command.split()) == 0
    said = capsys.readouterr().out
    assert "step      4" in said and "validation" in said and f"my-model: a {kind} of" in said
    config = checkpoints.load_model(tmp_path / "runs" / "my")[0].config
    assert (config.norm, config.position, config.mlp, config.n_kv_head) == expected
    notes = json.loads((tmp_path / "saved" / "notes.json").read_text())
    assert notes["recipe"]["parts"] == parts and notes["history"]["tokens"] == 4 * 2 * 16

    trust = {"trust_remote_code": True} if parts == "modern" else {}
    write = transformers.pipeline("text-generation", model="my-model", **trust)
    text = write("The")[0]["generated_text"]
    assert text.startswith("The") and len(text) > 3
    model, tokenizer = checkpoints.load_model(tmp_path / "runs" / "my")
    ids = torch.tensor([[tokenizer.end, *tokenizer.encode("The")]])
    ours = sampling.generate(model, ids, 12, temperature=0, stop=tokenizer.end)[0].tolist()
    theirs = write.model.generate(ids, do_sample=False, max_new_tokens=12)[0].tolist()
    assert theirs == ours
    written = tokenizer.decode([id for id in ours if id != tokenizer.end])
    assert written.startswith("The") and len(written) > 3 and f"\n{written}\n" in said


def test_a_recipe_is_trained_with_its_excess_and_its_notes(tmp_path, capsys, monkeypatch):
    really = building.StoryEvaluation
    monkeypatch.setattr(building, "StoryEvaluation", lambda stories, *rest: really(stories[:8], *rest))  # not 256
    short = dict(TINY, vocab_size=300, context=500)  # byte pairs that are learned in a second
    train(Options("fables", folder=tmp_path / "run", steps=2, export=tmp_path / "mine", **short))
    said = capsys.readouterr().out
    assert "step      2" in said and "excess" in said
    notes = json.loads((tmp_path / "mine" / "notes.json").read_text())
    assert notes["recipe"]["training"]["steps"] == 2 and notes["history"]["tokens"] > 200
    sample(tmp_path / "mine", prompt="Once, in a", max_new_tokens=5, n=2)
    assert capsys.readouterr().out.count("Once, in a") == 2


def test_a_model_is_not_exported_over_other_files_and_that_is_said_before_training(tmp_path, text):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("mine")
    for export in (tmp_path / "work", tmp_path / "work" / "thesis.txt"):
        with pytest.raises(checkpoints.CheckpointError, match=r"(holds thesis.txt|is a file).*choose a new folder"):
            train(Options(folder=tmp_path / "run", steps=1, export=export, **text))
    for export in (tmp_path / "run", tmp_path):
        with pytest.raises(ValueError, match=r"would replace the run's own folder .*choose a new folder"):
            train(Options(folder=tmp_path / "run", steps=1, export=export, **text))
    assert (tmp_path / "work" / "thesis.txt").read_text() == "mine" and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_embd": 24}, "n_embd: 12 there, 24 here"),
        ({"corpus": "other.txt"}, r"made with other tokens \(CharTokenizer.*there, .* here\): go on with the --corpus"),
        ({"optimizer": "adamw"}, "states of 2 optimizers and the run has 1"),
    ],
)
def test_a_refused_resumption_changes_nothing(tmp_path, text, changes, words, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.txt").write_text((tmp_path / "text.txt").read_text().replace("q", "Q"))  # as many characters
    train(Options(folder=tmp_path / "run", steps=1, **text))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    assert set(before) == {"config.yaml", "tokenizer.json"}
    with pytest.raises(checkpoints.CheckpointError, match=words):
        train(Options(folder=tmp_path / "run", steps=2, resume=True, **(dict(device="cpu") | changes)))
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()} == before
    train(Options(folder=tmp_path / "run", steps=2, resume=True, device="cpu", learning_rate=0.5))
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["training"]["learning_rate"] == 0.5


def test_a_stopped_run_goes_on_in_the_same_folder(tmp_path, text, capsys):
    train(Options(folder=tmp_path / "run", steps=2, **text))
    train(Options(folder=tmp_path / "run", steps=3, resume=True, device="cpu"))  # the rest is in config.yaml
    assert checkpoints.latest(tmp_path / "run").name == "step-00000003"
    assert "going on after step 2\n" in capsys.readouterr().out
    train(Options(folder=tmp_path / "run", resume=True, device="cpu"))
    assert "going on after step 3; there is nothing left to do, unless --steps gives more" in capsys.readouterr().out


def test_fewer_steps_than_a_run_has_made_are_refused_with_both_numbers(tmp_path, text):
    train(Options(folder=tmp_path / "run", steps=3, **text))
    words = r"run' has made 3 steps already, and --steps is 2: give it more than 3 to go on, or choose another --folder"
    with pytest.raises(ValueError, match=words):
        train(Options(folder=tmp_path / "run", steps=2, resume=True, device="cpu"))


def test_a_lost_tokenizer_is_named_and_made_anew_when_a_run_goes_on(tmp_path, text, capsys):
    train(Options(folder=tmp_path / "run", steps=1, **text))
    path = tmp_path / "run" / "tokenizer.json"
    before = path.read_bytes()
    path.unlink()
    with pytest.raises(checkpoints.CheckpointError, match="n_embd"):  # a refused run leaves things as they are
        train(Options(folder=tmp_path / "run", steps=2, resume=True, n_embd=24, device="cpu"))
    assert not path.exists()
    capsys.readouterr()
    train(Options(folder=tmp_path / "run", steps=2, resume=True, device="cpu"))
    assert f"{str(path)!r} is missing: it is made anew from {text['corpus']!r}" in capsys.readouterr().out
    assert path.read_bytes() == before
    train(Options(folder=tmp_path / "run", steps=3, resume=True, device="cpu"))
    assert "is missing" not in capsys.readouterr().out


def test_a_folder_of_texts_as_a_corpus_points_to_the_way_that_takes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my essays").mkdir()
    (tmp_path / "my essays" / "one.txt").write_text("A fox. " * 300)
    assert commands.run(["train", "--corpus", "my essays", "--steps", "1"]) == 1
    assert "is trained by `python -m gptlab train 'my essays'`" in capsys.readouterr().err


def test_a_text_of_your_own_is_trained_on(tmp_path, text, capsys):
    train(Options("shakespeare", folder=tmp_path / "run", steps=2, **text))
    assert "validation" in capsys.readouterr().out


def test_a_finished_run_is_recorded_with_its_machine(tmp_path, text, capsys):
    own = dict(text, evaluate_every=2, record=tmp_path / "here.json")
    train(Options("shakespeare", folder=tmp_path / "run", steps=6, **own))
    (record,) = read(tmp_path / "here.json")
    assert record.what == "train shakespeare" and record.device == gpu.device_name("cpu") and record.kind == "cpu"
    state = json.loads((checkpoints.latest(tmp_path / "run") / "state.json").read_text())["history"]
    seen = [{name: round(value, 4) for name, value in entry.items()} for entry in state["evaluations"]]
    assert record.tables["evaluations"] == seen and len(seen) == 3
    assert record.curves["validation"] == [[entry["step"], entry["validation"]] for entry in seen]
    numbers = record.numbers
    assert (numbers["steps"], numbers["tokens"], numbers["processes"]) == (6, 6 * 2 * 16, 1)
    assert numbers["tokens/s"] == pytest.approx(state["tokens"] / state["seconds"])
    assert 0 < numbers["MFU of the measured rate"] < 1 and numbers["peak memory (MiB)"] > 50
    assert numbers["best validation"] == min(entry["validation"] for entry in state["evaluations"])
    assert record.curves["training"] == [[n + 1, pytest.approx(l, abs=1e-4)] for n, l in enumerate(state["losses"])]
    assert f"recorded in {tmp_path / 'here.json'}" in capsys.readouterr().out


def test_a_run_that_was_resumed_is_not_recorded(tmp_path, text, capsys):
    own = dict(text, record=tmp_path / "here.json")
    train(Options("shakespeare", folder=tmp_path / "run", steps=1, resume=True, **own))  # nothing to go on from
    assert "there is nothing to resume in" in capsys.readouterr().out
    (tmp_path / "here.json").unlink()
    with pytest.raises(
        ValueError, match=r"from its first step, and .*run' has step-00000001 already: leave out --record, or"
    ):
        train(Options("shakespeare", folder=tmp_path / "run", steps=2, resume=True, **own))
    assert checkpoints.latest(tmp_path / "run").name == "step-00000001" and not (tmp_path / "here.json").exists()


def test_a_record_tells_the_speed_without_the_way_there_and_the_memory_without_the_matrices(
    tmp_path, text, monkeypatch
):
    order = []
    monkeypatch.setattr(gpu, "peak_memory", lambda device: order.append("memory") or 3 * 2**20)
    monkeypatch.setattr(gpu, "matmul_flops", lambda *_, **__: order.append("matrices") or 1e12)
    train(
        Options("shakespeare", folder=tmp_path / "run", steps=6, **dict(text, evaluate_every=2), record=tmp_path / "r")
    )
    (record,) = read(tmp_path / "r")
    assert order[:2] == ["memory", "matrices"]
    numbers, seen = record.numbers, json.loads((tmp_path / "run" / "step-00000006" / "state.json").read_text())
    first, *_, last = seen["history"]["evaluations"]
    assert (numbers["compiled"], numbers["peak memory (MiB)"], first["step"], last["step"]) == (0, 3.0, 2, 6)
    steady = 4 * 2 * 16 / (last["seconds"] - first["seconds"])  # steps, rows, tokens
    assert numbers["tokens/s after the first evaluation"] == pytest.approx(steady)
    shares = numbers["MFU after the first evaluation"], numbers["MFU of the measured rate"]
    assert shares[0] / shares[1] == pytest.approx(steady / numbers["tokens/s"])


def test_a_run_with_one_evaluation_has_one_speed(tmp_path, text):
    train(Options("shakespeare", folder=tmp_path / "run", steps=2, **text, record=tmp_path / "r"))
    (record,) = read(tmp_path / "r")
    assert "tokens/s after the first evaluation" not in record.numbers
    assert "MFU after the first evaluation" not in record.numbers and record.numbers["MFU of the measured rate"] > 0


def test_a_new_run_does_not_begin_where_one_is(tmp_path, text):
    train(Options(folder=tmp_path / "run", steps=1, **text))
    with pytest.raises(ValueError, match=r"has a run already, up to step-00000001: go on with `.*--resume --folder"):
        train(Options(folder=tmp_path / "run", steps=1, **text))


def test_where_nothing_can_be_resumed_no_other_run_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder, said in (
        ("runs/typo", "there is nothing to resume in 'runs/typo', nor is there another run beside it"),
        ("runs/mz", "there is nothing to resume in 'runs/mz'; perhaps you mean 'runs/my': the runs in 'runs' are my"),
    ):
        assert commands.run(["train", "--resume", "--folder", folder, "--steps", "1"]) == 1
        assert said.replace("/", os.sep) in capsys.readouterr().err
        assert not (tmp_path / folder).exists()
        (tmp_path / "runs" / "my").mkdir(parents=True, exist_ok=True)
        (tmp_path / "runs" / "my" / "config.yaml").write_text("corpus: fables")


def test_a_suggested_command_can_be_pasted(tmp_path, text, capsys):
    folder = tmp_path / "my runs"
    assert train(Options(folder=folder, steps=1, **text)) is None
    assert f"sample {shlex.quote(str(folder))}\n" in capsys.readouterr().out
    with pytest.raises(ValueError, match=re.escape(f"--resume --folder {shlex.quote(str(folder))}`")):
        train(Options(folder=folder, steps=1, **text))


def test_a_run_on_another_text_in_the_folder_is_refused_with_both_names(tmp_path, text):
    train(Options(folder=tmp_path / "run", steps=1, **text))
    (tmp_path / "b.txt").write_text("another text " * 100)
    with pytest.raises(ValueError, match=r"has a run on '.*text.txt', up to step-00000001, and this one is on '.*b.tx"):
        train(Options(folder=tmp_path / "run", steps=1, **dict(text, corpus=str(tmp_path / "b.txt"))))


def test_a_run_leaves_its_settings_and_another_begins_with_them(tmp_path, text):
    train(Options(folder=tmp_path / "a", steps=3, seed=5, **text))
    again = Options(config=tmp_path / "a" / "config.yaml", folder=tmp_path / "b", device="cpu")
    train(again)
    assert yaml.safe_load((tmp_path / "a" / "config.yaml").read_text())["seed"] == 5
    states = [json.loads((tmp_path / run / "step-00000003" / "state.json").read_text()) for run in "ab"]
    assert states[0]["history"]["losses"] == states[1]["history"]["losses"]


def test_world_size_alone_is_one_process(tmp_path, text, monkeypatch):
    """Some machines set WORLD_SIZE for their own purposes; only torchrun sets RANK beside it."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    assert train(Options(folder=tmp_path / "run", steps=1, **text)) is None
    assert checkpoints.latest(tmp_path / "run").name == "step-00000001"


LAPTOP = """
import sys
from gptlab import commands

assert commands.run(sys.argv[1:]) == 0
print(*[name for name in sys.modules if name.startswith(("gptlab.cluster", "gptlab.gpu."))])
"""


def test_a_laptop_loads_no_planning_no_roofline_and_no_graphs(tmp_path):
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 60)
    size = "--batch-size 2 --n-layer 1 --n-head 2 --n-embd 12 --context 16 --tokens characters --device cpu"
    words = ["train", "--corpus", str(tmp_path / "text.txt"), "--folder", str(tmp_path / "run"), "--steps", "1"]
    command = [sys.executable, "-c", LAPTOP, *words, *size.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["gptlab.gpu.devices"]


def test_the_options_are_listed_before_torch_is_loaded(tmp_path):
    code = "import sys; from gptlab.commands import train; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr


# ---------------------------------------------------------------------------------------------------------- accidents


def test_a_loss_that_is_not_finite_ends_with_a_word_and_a_usable_checkpoint(tmp_path, text, monkeypatch, capsys):
    really, calls = GPT.forward, []

    def spoilt(self, ids, targets=None, **options):
        logits, loss = really(self, ids, targets, **options)
        calls.append(self.training)
        return logits, loss * math.nan if sum(calls) == 4 else loss

    with monkeypatch.context() as patch:
        patch.setattr(GPT, "forward", spoilt)
        assert train(Options(folder=tmp_path / "run", steps=6, save_every=1, **text)) == 1
    said = capsys.readouterr().err
    assert "train: the loss is nan at step 3 (learning rate" in said and "try a smaller learning rate" in said
    assert "The newest checkpoint is step-00000003" in said and "--resume --folder" in said
    assert train(Options(folder=tmp_path / "run", resume=True, device="cpu")) is None
    assert checkpoints.latest(tmp_path / "run").name == "step-00000006"


def test_a_full_disk_ends_with_a_word_and_a_usable_checkpoint(tmp_path, text, monkeypatch, capsys):
    really, calls = storage.save_file, []

    def full(tensors, path):
        calls.append(path)
        if len(calls) > 5:  # two files in a checkpoint: the third one is cut off in the middle
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        really(tensors, path)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "save_file", full)
        assert train(Options(folder=tmp_path / "run", steps=6, save_every=1, **text)) == 1
    said = capsys.readouterr().err
    assert "No space left on device" in said and "free some space" in said
    assert "The newest checkpoint is step-00000002" in said
    assert not list((tmp_path / "run").glob(".*"))
    assert train(Options(folder=tmp_path / "run", resume=True, device="cpu")) is None


def test_a_run_that_ends_before_its_first_checkpoint_says_that_there_is_none(tmp_path, text, capsys, monkeypatch):
    monkeypatch.setattr(storage, "save_file", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    assert train(Options(folder=tmp_path / "run", steps=3, save_every=1, **text)) == 1
    assert "There is no checkpoint yet" in capsys.readouterr().err


@pytest.mark.parametrize("sync_every", [None, 2])
def test_curves_for_tensorboard_are_written_where_they_are_wanted(tmp_path, text, monkeypatch, sync_every):
    written = []

    class Writer:
        def __init__(self, folder):
            written.append(folder)

        def add_scalar(self, name, value, step):
            written.append((name, step))

        def close(self):
            written.append("closed")

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))
    train(Options(folder=tmp_path / "run", steps=2, tensorboard=True, sync_every=sync_every, **text))
    assert written[0] == str(tmp_path / "run" / "tensorboard") and written[-1] == "closed"
    assert [e for e in written if e[0] == "training/loss"] == [("training/loss", 1), ("training/loss", 2)]
    assert ("evaluation/validation", 2) in written


def test_without_tensorboard_the_wish_is_answered_in_one_sentence(tmp_path, text, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match=r"--tensorboard needs the package tensorboard.*pip install tensorboard"):
        train(Options(folder=tmp_path / "run", steps=2, tensorboard=True, **text))


def test_a_machine_that_cannot_compile_trains_without(tmp_path, text, monkeypatch, capsys):
    def broken(self):
        self._compiled_call_impl = lambda *_: (_ for _ in ()).throw(RuntimeError("no C++ compiler\nmore"))

    losses = []
    for compile in (False, True):
        monkeypatch.setattr(GPT, "compile", broken)
        folder = tmp_path / str(compile)
        train(Options(folder=folder, steps=3, compile=compile, dropout=0.2, **text))
        losses.append(json.loads((folder / "step-00000003" / "state.json").read_text())["history"]["losses"])
    said = capsys.readouterr().out
    assert "torch.compile does not work here, so the run continues without it (no C++ compiler)" in said
    assert losses[0] == losses[1]  # also the dropped numbers are those of a run that never tried


class _Refused(torch.autograd.Function):
    """A loss whose way back fails, as a compiler's may, with an error that says nothing."""

    @staticmethod
    def forward(_, loss):
        return loss.clone()

    @staticmethod
    def backward(*_):
        raise AssertionError


def test_a_compiled_way_back_that_fails_is_given_up_too(tmp_path, text, monkeypatch, capsys):
    def broken(self):
        self._compiled_call_impl = lambda *inputs: (None, _Refused.apply(self._call_impl(*inputs)[1]))

    losses = []
    for compile in (False, True):
        monkeypatch.setattr(GPT, "compile", broken)
        train(Options(folder=tmp_path / str(compile), steps=2, compile=compile, dropout=0.2, **text))
        state = json.loads((tmp_path / str(compile) / "step-00000002" / "state.json").read_text())
        losses.append(state["history"]["losses"])
    assert "so the run continues without it (AssertionError())" in capsys.readouterr().out
    assert losses[0] == losses[1]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_compiled_model_is_tried_as_the_first_step_uses_it(tmp_path, text, monkeypatch, checkpointing):
    calls = []

    def compile(self):
        def tried(ids, targets):
            lean = "forward" in vars(self.blocks[0])
            calls.append((ids.shape, torch.is_autocast_enabled("cpu"), torch.is_grad_enabled(), self.training, lean))
            assert all(parameter.grad is None for parameter in self.parameters())
            return self._call_impl(ids, targets)

        self._compiled_call_impl = tried

    monkeypatch.setattr(GPT, "compile", compile)
    own = dict(
        text,
        batch_size=4,
        gradient_accumulation=4,
        dtype="bfloat16",
        gradient_checkpointing=checkpointing,
        compile=True,
    )
    with pytest.raises(AssertionError):  # the second part of the first batch finds the gradients of the first
        train(Options(folder=tmp_path / "run", steps=1, **own))
    tried, first, _ = calls
    assert tried == first == ((1, 16), True, True, True, checkpointing)


def test_that_a_run_was_compiled_is_recorded(tmp_path, text, monkeypatch):
    monkeypatch.setattr(GPT, "compile", lambda self: None)
    train(Options(folder=tmp_path / "run", steps=1, compile=True, record=tmp_path / "r", **text))
    assert read(tmp_path / "r")[0].numbers["compiled"] == 1


def test_too_little_memory_ends_with_what_helps_and_a_usable_checkpoint(tmp_path, text, monkeypatch, capsys):
    really, calls = GPT.forward, []

    def full(self, ids, targets=None, **options):
        calls.append(self.training)
        if sum(calls) == 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nmore")
        return really(self, ids, targets, **options)

    with monkeypatch.context() as patch:
        patch.setattr(GPT, "forward", full)
        assert train(Options(folder=tmp_path / "run", steps=6, save_every=1, **text)) == 1
    said = capsys.readouterr().err
    assert "train: CUDA out of memory. Tried to allocate 9 GiB.\n" in said and "more\n" not in said
    assert "use a larger --gradient-accumulation, --gradient-checkpointing True, or a smaller --batch-size" in said
    assert "The newest checkpoint is step-00000003" in said
    assert train(Options(folder=tmp_path / "run", resume=True, device="cpu", gradient_accumulation=2)) is None


def test_a_run_that_stalls_ends_well_keeps_its_best_and_says_why(tmp_path, text, monkeypatch, capsys):
    from gptlab.runs import building

    values = iter([3.0, 2.0, 2.5, 2.6])
    monkeypatch.setattr(building, "mean_loss", lambda *_: next(values))
    own = dict(text, evaluate_every=2, best=True, early_stopping=2, export=tmp_path / "exported")
    assert train(Options(folder=tmp_path / "run", steps=50, **own)) is None
    said = capsys.readouterr().out
    assert "stopped early: 2 evaluations without a better validation; the best was 2.000 after step 4; saved by" in said
    notes = json.loads((tmp_path / "run" / "best" / "notes.json").read_text())
    assert notes == {"step": 4, "validation": 2.0} and (tmp_path / "exported" / "model.safetensors").is_file()
    assert train(Options(folder=tmp_path / "run", resume=True)) is None
    assert "nothing left to do, unless --early-stopping gives more" in capsys.readouterr().out


def test_a_run_that_reads_its_losses_late_is_the_same_run(tmp_path, text):
    states = []
    for every in (1, 4):
        train(Options(folder=tmp_path / str(every), steps=6, sync_every=every, evaluate_every=3, **text))
        states.append(json.loads((tmp_path / str(every) / "step-00000006" / "state.json").read_text())["history"])
    assert states[0]["losses"] == states[1]["losses"] and len(states[1]["evaluations"]) == 2


@pytest.mark.parametrize(("given", "asked"), [("cuda", "cuda"), (None, None), ("cpu", "cpu")])
def test_ranks_on_a_machine_without_cuda_ask_for_it_where_it_is_wanted(monkeypatch, given, asked):
    from gptlab.cluster import distributed

    found = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(distributed, "own_device", lambda: None)
    monkeypatch.setattr(distributed, "join", lambda *_: contextlib.nullcontext(SingleProcess()))
    monkeypatch.setattr(devices, "pick_device", lambda prefer: found.append(prefer) or torch.device("cpu"))
    join(Options(device=given), contextlib.ExitStack())
    assert found == [asked]


def test_float16_brings_its_scaler_from_the_command_line(tmp_path, text):
    train(Options(folder=tmp_path / "run", steps=2, dtype="float16", **text))
    state = json.loads((tmp_path / "run" / "step-00000002" / "state.json").read_text())
    assert state["scaler"]["scale"] >= 1.0
    assert torch.isfinite(torch.tensor(state["history"]["losses"])).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sample", "/nowhere/at/all"], "no model in '/nowhere/at/all'"),
        (["train", "--corpus", "shakespere", "--folder", "/nowhere"], "shakespere"),
        (["train", "--n-embd", "30", "--steps", "1", "--folder", "/nowhere"], "C=30"),
        (["train", "fabels"], "no recipe 'fabels'; perhaps you mean 'fables': choose one of fables,"),
        (["train", "fables", "--parallel", "sharded", "--folder", "/nowhere"], "start several with torchrun"),
    ],
)
def test_a_wrong_argument_ends_in_one_clear_line(arguments, words, capsys):
    assert commands.run(arguments) == 1
    assert words in capsys.readouterr().err


def test_the_race_trains_all_in_turns_and_its_targets_are_found(tmp_path):
    (tmp_path / "text.txt").write_text("to be or not to be, that is the question. " * 60)
    recipes = {}
    for name, steps in (("short", 3), ("long", 25)):
        recipe = runs.RECIPES["shakespeare"]
        recipes[name] = runs.Recipe(
            corpus=str(tmp_path / "text.txt"),
            tokens="characters",
            batch_size=2,
            model=recipe.model | dict(context=16, n_layer=1, n_head=2, n_embd=12),
            training=TrainConfig(steps=steps, evaluate_every=0, warmup=1, optimizer="muon"),
        )
    histories = race.race(recipes)
    assert {name: history.steps for name, history in histories.items()} == {"short": 3, "long": 25}
    last = histories["long"].evaluations[-1]
    assert race.seconds_to(histories["long"], last["validation"]) == last["seconds"] > 0
    assert race.seconds_to(histories["long"], 0.0) is None


def test_the_contestants_are_nanogpts_settings_and_ours_of_no_more_parameters():
    recipes = race.contestants()
    theirs = recipes["nanoGPT's recipe"]
    assert (theirs.training.steps, theirs.batch_size, theirs.training.learning_rate) == (2000, 12, 1e-3)
    assert theirs.model == dict(context=64, n_layer=4, n_head=4, n_embd=128, bias=False) and theirs.parts == "gpt2"
    sizes = {name: GPT(model_config(recipe, 65)).count_parameters() for name, recipe in recipes.items()}
    assert max(sizes.values()) == sizes["nanoGPT's recipe"] <= 810_000


def test_seconds_to_a_target_are_those_of_the_first_evaluation_at_or_below_it():
    history = History(
        evaluations=[{"step": i, "seconds": float(i), "validation": v} for i, v in enumerate((3.0, 2.0, 1.0, 2.0))]
    )
    assert race.seconds_to(history, 2.0) == 1.0
