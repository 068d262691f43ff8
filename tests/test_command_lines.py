"""Wrong command lines: each ends with exit code 1 or 2 and a sentence on stderr, and none with a traceback or never."""

import json
import os
import shutil
import string
import subprocess
import sys

import pytest

from gptlab import commands, ranks
from gptlab.cluster import distributed
from gptlab.commands import failures
from gptlab.runs import building

SMALL = "--batch-size 2 --n-layer 1 --n-head 2 --n-embd 12 --context 16 --tokens characters --device cpu"
SMALL_SHARDS = SMALL.replace("--tokens characters ", "")
RUN = f"train my.txt --folder new {SMALL} --steps 1"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with everything that can be named by mistake, and a run of two steps."""
    here = tmp_path_factory.mktemp("place")
    files = {
        "my.txt": b"the quick brown fox jumps over the lazy dog. " * 60,
        "afile": b"x",
        "short.txt": b"hi",
        "empty.txt": b"",
        "binary.txt": bytes(range(128, 256)) * 20,
        "deep.jsonl": b"[" * 100_000,
        "three.jsonl": b'{"text": 3}\n',
        "some.jsonl": b'{"text": "hello"}\n',
        "bad.parquet": b"x",
        "bad.gz": b"x",
        "shards/manifest.json": b"{}",
        "outside/manifest.json": json.dumps(
            {
                "made_of": {}, "command": "rm -r", "tokenizer": "x", "vocab_size": 9, "end": None, "dtype": "uint16",
                "documents": 1, "characters": 1, "tokens": {}, "parts": {"train": [["/etc/passwd", 0, 1]]},
                "files": {"/etc/passwd": {"file": "/etc/passwd", "tokens": 1, "sha256": ""}},
            }
        ).encode(),
        "folder/picture.png": b"",
    }  # fmt: skip
    for name, content in files.items():
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_bytes(content)
    before = os.getcwd()
    os.chdir(here)
    try:
        assert commands.run(f"train my.txt --folder run {SMALL} --steps 2".split()) == 0
        for name, missing in (("no_tokenizer", "tokenizer.json"), ("no_settings", "config.yaml")):
            shutil.copytree("run", name)
            (here / name / missing).unlink()
    finally:
        os.chdir(before)
    return here


def ended(line, capsys):
    """The exit code, and what was said on stderr."""
    capsys.readouterr()
    try:
        code = commands.run(line if isinstance(line, list) else line.split())
    except SystemExit as end:
        code = end.code
    return code, capsys.readouterr().err


def refused(line, said, capsys, lines=1):
    code, err = ended(line, capsys)
    assert code in (1, 2), (line, code)
    assert "Traceback" not in err and "[Errno" not in err, (line, err)
    assert said in " ".join(err.split()), (line, err)
    assert code == 2 or err.count("\n") <= lines, err  # tyro's own words, with code 2, are in a frame


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


WRONG = {
    # Numbers that no run can have.
    f"{RUN} --steps 2": "--steps is given twice",
    f"train my.txt {SMALL} --steps 0": "steps=0 must be a whole number of at least 1",
    f"train my.txt {SMALL} --steps nan": "--steps",
    f"train my.txt {SMALL} --steps 1e9": "--steps",
    "train fables --steps 1000000000 --device cpu": "16,000,000,000 new stories, and at most 10,000,000",
    f"{RUN} --learning-rate nan": "learning_rate=nan must be a number of at least 0",
    f"{RUN} --learning-rate inf": "learning_rate=inf",
    f"{RUN} --learning-rate -1": "learning_rate=-1.0",
    f"{RUN} --min-lr-ratio nan": "min_lr_ratio=nan must be a number of at least 0 and at most 1",
    f"{RUN} --warmup -5": "warmup=-5",
    f"{RUN} --weight-decay -1": "weight_decay=-1.0",
    f"{RUN} --evaluate-every -1": "evaluate_every=-1",
    f"{RUN} --save-every -1": "save_every=-1",
    f"{RUN} --save-total-limit 0": "save_total_limit=0",
    f"{RUN} --betas 0.9 nan": "betas=(0.9, nan) must be a tuple of 2 values, a number of at least 0 and below 1",
    f"{RUN} --betas 0.9": "--betas",
    f"{RUN} --dropout nan": "dropout=nan",
    f"{RUN} --norm-eps nan": "norm_eps=nan",
    f"{RUN} --seed 99999999999999999999999999": "and at most 4294967295",
    f"{RUN} --vocab-size -5": "vocab_size=-5",
    f"{RUN} --convolution 1000000": "convolution=1000000",
    f"{RUN} --optimizer sgd": "adamw",
    f"{RUN} --parts t5": "modern",
    RUN.replace("--device cpu", "--device tpu"): "no device 'tpu'",
    RUN.replace("--batch-size 2", "--batch-size 0"): "batch_size=0",
    RUN.replace("--batch-size 2", "--batch-size 1000000000000"): "not enough memory",
    RUN.replace("--n-embd 12", "--n-embd 13"): "C=13 channels cannot be split",
    RUN.replace("--n-embd 12", "--n-embd 10000000"): "and this machine has",
    RUN.replace("--n-layer 1", "--n-layer 1000000000"): "at most 10000",
    RUN.replace("--context 16", "--context 1000000000"): "at most 67108864",
    RUN.replace("--context 16", "--context 60000000 --position learned --mlp-size 9999999").replace(
        "embd 12", "embd 1200"
    ): "needs at least",
    # Texts, files and folders.
    "train fabels": "perhaps you mean 'fables'",
    "train nothere.txt": "there is no file 'nothere.txt'",
    "train my.txt my.txt": "'my.txt' is named twice",
    "train my.txt fables": "'fables' is a recipe",
    "train my.txt --corpus my.txt": "two texts",
    "train folder": "the folder 'folder' has no file named *.txt or *.md",
    "train binary.txt": "not UTF-8 text",
    "train empty.txt": "there is no text in empty.txt",
    "train short.txt": "2 characters, and a model needs at least 1,000",
    "train deep.jsonl": "line 1 of deep.jsonl is not JSON",
    "train three.jsonl": "line 1 of three.jsonl has a value of type int",
    "train bad.gz": "not a complete .gz file",
    "train shards": "holds shards, not a text",
    "train ~nosuchuser/x.txt": "the home folder of a user that is not known here",
    "train --corpus folder": "is a folder",
    "train --corpus ~nosuchuser/x.txt": "the home folder of a user that is not known here",
    "train --config folder": "'folder' is a folder: --config takes a file",
    "train --config nothere.yaml": "'nothere.yaml' is not there",
    "train --config binary.txt": "binary.txt is not a file of settings in YAML",
    f"train --corpus shards --folder new {SMALL_SHARDS} --steps 1": "manifest.json in 'shards' is damaged (there is no",
    f"train --corpus outside --folder new {SMALL_SHARDS} --steps 1": "not the name of a shard in its own folder",
    RUN.replace("--folder new", "--folder afile"): "could not write in 'afile'",
    RUN.replace("--folder new", "--folder " + "x" * 300): "(File name too long)",
    f"{RUN} --export afile": "'afile' is a file",
    f"{RUN} --record folder": "--record 'folder' is a folder",
    f"{RUN} --record my.txt": "'my.txt' is not a file of records",
    f"{RUN} --parallel sharded": "start several with torchrun",
    # Runs that go on.
    "train --resume --folder run --steps 1": "steps already, and --steps is 1",
    "train --resume --folder nowhere": "there is nothing to resume in 'nowhere'",
    "train --resume --folder no_settings --steps 3": "has checkpoints and no config.yaml",
    # Models.
    "sample nothere": "there is no model in 'nothere'",
    "sample my.txt": "there is no model in 'my.txt'",
    "sample no_tokenizer": "has no tokenizer.json",
    "sample run --temperature nan": "temperature=nan must be a number of at least 0",
    "sample run --repetition-penalty nan": "repetition_penalty=nan",
    "sample run --top-k 0": "top_k=0",
    "sample run --top-p 2": "top_p=2.0",
    "sample run --n -1": "n=-1",
    "sample run --max-new-tokens -1": "max_new_tokens=-1",
    "sample run --seed 99999999999999999999999999": "at most 4294967295",
    "sample run --n 1 --n=2": "--n is given twice",
    "sample run --prompt é": "character 'é' at position 0 is not one of",
    "export nothere out": "there is no model in 'nothere'",
    "export run": "Missing",
    "export run run": "is the model itself",
    "export run afile": "is a file",
    "export run folder": "holds other files (picture.png)",
    # Shards.
    "prepare": "name at least one file",
    "prepare folder": "'folder' is a folder: name the files in it",
    "prepare binary.txt --tokenizer bytes --out p": "not UTF-8 text",
    "prepare deep.jsonl --tokenizer bytes --out p": "line 1 of deep.jsonl is not JSON",
    "prepare some.jsonl --tokenizer bytes --out p --field zz": "no text under 'zz', it has 'text'",
    "prepare my.txt --tokenizer bytes --out afile": "'afile' is there already",
    "prepare my.txt --tokenizer bytes --out afile/x": "'afile/x' has a file where a folder is needed",
    "prepare my.txt --tokenizer zz": "there is no tokenizer 'zz'",
    "prepare my.txt --tokenizer binary.txt": "binary.txt is not a saved tokenizer",
    "prepare my.txt --tokenizer bytes --out p --validation nan": "validation=nan",
    "prepare my.txt --tokenizer bytes --out p --shard-tokens 0": "shard_tokens=0 must be",
    "prepare my.txt --tokenizer bytes --out p --workers -1": "workers=-1 must be",
    "prepare my.txt --tokenizer bytes --out p --workers 100000": "workers=100000 must be",
    "prepare my.txt --tokenizer bytes --out shards": "manifest.json in 'shards' is damaged",
    "prepare my.txt --tokenizer bytes --out run": "'run' holds a model or a run",
    "prepare ~nosuchuser/x --tokenizer bytes --out p": "the home folder of a user that is not known here",
    # The rest.
    "trian": "perhaps you mean 'train'",
    "fetch zz": "shakespeare",
    "progress extra": "extra",
    "reset zz": "zz",
    "bench zz": "zz",
    "mutate zz": "zz",
    "notebooks zz": "no notebook begins with 'zz'",
}  # fmt: skip


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_command_line_is_answered_in_one_sentence(line, here, capsys):
    refused(line, WRONG[line], capsys)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", ""], "the name of the text is empty"),
        (["train", "--corpus", ""], "the name of the text is empty"),
        (["train", "--corpus", "a\0b"], "the character NUL"),
        (["export", "run", "a\0b"], "the character NUL"),
        (["sample", ""], "there is no model in '.'"),
    ],
)
def test_names_that_no_file_has(words, said, here, capsys):
    refused(words, said, capsys)


@pytest.mark.parametrize("variable", ["GPTLAB_DATA", "GPTLAB_CACHE"])
@pytest.mark.parametrize("line", ["fetch shakespeare", f"train shakespeare --folder new {SMALL} --steps 1"])
def test_a_variable_that_names_the_home_of_nobody_is_named(variable, line, here, capsys, monkeypatch):
    monkeypatch.setenv("GPTLAB_OFFLINE", "1")
    monkeypatch.delenv("GPTLAB_DATA", raising=False)
    monkeypatch.setenv(variable, "~nosuchuser/x")
    refused(line, f"{variable}='~nosuchuser/x' begins with the home folder", capsys)


@pytest.mark.parametrize(("rank", "world_size"), [("5", "2"), ("2", "2"), ("x", "2"), ("-1", "2"), ("0", "x")])
def test_a_rank_outside_of_its_world_does_not_wait(rank, world_size, monkeypatch):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", world_size)
    assert ranks.is_one_of_several()
    with pytest.raises(distributed.RankLost, match=f"RANK={rank} and WORLD_SIZE={world_size} do not fit"):
        distributed.join("cpu").__enter__()


def test_closed_streams_stop_nothing():
    """Of a process without a terminal, stdin, stdout and stderr can be missing altogether."""
    call = f"{sys.executable} -m gptlab trian <&- >&- 2>&-"
    assert subprocess.run(call, shell=True, timeout=100, check=False).returncode == 2


def test_fables_that_are_longer_than_the_context_are_named_with_the_option(here, capsys, monkeypatch):
    monkeypatch.setattr(building.fables, "book", lambda: string.printable)  # the real one takes seconds
    refused(f"train fables --folder new {SMALL} --steps 1", "and the context is 16: use --context", capsys)


def test_nothing_that_was_refused_has_left_a_run_behind(here):
    assert not (here / "new").exists() or not any((here / "new").glob("step-*"))
    assert (here / "afile").read_bytes() == b"x" and not (here / "p" / "manifest.json").exists()


def test_a_mistake_of_the_course_keeps_its_traceback():
    assert failures.in_words(KeyError("dtype")) is None
    assert failures.in_words(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None


def test_an_option_behind_two_dashes_is_a_name():
    assert failures.repeated(["--", "--steps", "--steps"]) is None
    assert failures.repeated(["--n_head", "2", "--n-head", "3"]) == "--n-head"
