"""A text of your own: read as documents, trained on as its length asks for, and written from at the end."""

import json
import re
import sys

import pytest
import torch
import yaml

from gptlab import checkpoints, commands, runs, training
from gptlab.commands.sample import sample
from gptlab.model import GPT
from gptlab.runs import documents, own_text, program, reporting
from gptlab.runs.recipes import model_config
from gptlab.runs.settings import CONFIG, Options, run_folder, settings_from, to_yaml
from gptlab.tokenizing import END_OF_TEXT
from gptlab.tokens import CharTokenizer

TINY = dict(n_layer=1, n_head=2, n_embd=12, context=16, batch_size=2, device="cpu")
WORDS = [word for name, value in TINY.items() for word in (f"--{name.replace('_', '-')}", str(value))]
PARAGRAPH = "The fox asked the hen for a grape, and the hen said that she had none.\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder with a text of 30 paragraphs in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text("\n".join(f"{n}. {PARAGRAPH}" for n in range(30)), encoding="utf-8")
    return tmp_path


def train(*words):
    return commands.run(["train", *map(str, words), *WORDS])


# ------------------------------------------------------------------------------------------------------- the whole way


@pytest.mark.parametrize("parts", ["gpt2", "llama", "modern"])
def test_a_text_becomes_a_model_that_writes(folder, parts, capsys):
    assert train("my.txt", "--steps", 3, "--parts", parts) == 0
    said = capsys.readouterr().out
    first, second = said.splitlines()[:2]
    assert first.startswith("my.txt: 2,") and "in 30 documents, read as characters (V =" in first
    assert "1 layers, 12 channels, context 16), 3 steps on cpu" in second and "--n-layer" in second
    assert "training" in said and "validation" in said and " sample runs" in said and " export runs" in said
    assert yaml.safe_load((folder / "runs" / "my" / CONFIG).read_text())["parts"] == parts
    sample(folder / "runs" / "my", max_new_tokens=5)
    model, tokenizer = checkpoints.load_model(folder / "runs" / "my")
    assert tokenizer.end is not None and model.config.vocab_size == tokenizer.vocab_size


def test_the_end_token_stands_between_documents_in_training(folder):
    for tokens in ("characters", "bpe"):
        setup = runs.build(settings_from(Options(("my.txt",), context=16, vocab_size=300, tokens=tokens)).recipe)
        ids = setup.batches.ids
        end = setup.tokenizer.end
        assert setup.end == end and ids[0] == end
        beginnings = [setup.tokenizer.decode(ids[i + 1 : i + 12]) for i in (ids[:-12] == end).nonzero()[0]]
        assert len(beginnings) > 20 and all(text[0].isdigit() for text in beginnings)
        assert END_OF_TEXT not in setup.tokenizer.decode([id for id in ids.tolist() if id != end])


@pytest.mark.parametrize("tokens", ["characters", "bpe"])
def test_validation_is_a_tenth_of_the_documents_from_everywhere_and_that_is_said(folder, tokens):
    (folder / "my.txt").write_text("\n\n".join(f"<{n}> {PARAGRAPH}" for n in range(100)))
    parts = {}
    for seed in (0, 1):
        options = Options(("my.txt",), context=16, tokens=tokens, vocab_size=300, seed=seed)
        setup = runs.build(settings_from(options).recipe)
        held_out = setup.evaluate.keywords["batches"].ids
        texts = [
            setup.tokenizer.decode([id for id in ids.tolist() if id != setup.end])
            for ids in (setup.batches.ids, held_out)
        ]
        assert setup.batches.ids[0] == setup.batches.ids[-1] == held_out[0] == held_out[-1] == setup.end
        learned, validated = ([int(n) for n in re.findall(r"<(\d+)>", text)] for text in texts)
        assert sorted(learned + validated) == list(range(100)) and 9 <= len(validated) <= 11
        assert min(validated) < 50 and max(validated) >= 50 and validated != sorted(validated)
        assert setup.about.endswith(f"a tenth of them, drawn by --seed {seed}, is for validation")
        parts[seed] = validated
    assert parts[0] != parts[1]


def test_the_end_token_is_learned(folder):
    """After a few steps it is expected where a paragraph ends, far more than an untrained model would."""
    (folder / "my.txt").write_text("abc.\n\n" * 300)
    setup = runs.build(
        settings_from(Options(("my.txt",), steps=60, context=16, n_layer=1, n_head=2, n_embd=12, dropout=0.0)).recipe
    )
    how = training.TrainConfig(steps=60, learning_rate=0.02, warmup=5)
    training.train(setup.model, setup.batches, how, progress=False)
    with torch.no_grad():
        ids = torch.tensor([[setup.end, *setup.tokenizer.encode("abc.")]])
        chances = setup.model.eval()(ids)[0].softmax(-1)[0]
    assert chances[-1, setup.end] > 0.5 and chances[0, setup.tokenizer.encode("a")[0]] > 0.5


def test_a_second_text_has_its_own_folder_and_its_name_can_be_used_once(folder, capsys):
    (folder / "two").mkdir()
    (folder / "two" / "my.txt").write_text((folder / "my.txt").read_text() * 2)
    (folder / "other one.txt").write_text((folder / "my.txt").read_text())
    assert train("my.txt", "--steps", 1) == train("other one.txt", "--steps", 1) == 0
    assert sorted(path.name for path in (folder / "runs").iterdir()) == ["my", "other one"]
    assert "sample 'runs/other one'" in capsys.readouterr().out.replace("\\", "/")
    assert train("two/my.txt", "--steps", 1) == 1
    assert "has a run on 'my.txt', up to step-00000001, and this one is on 'two/my.txt'" in capsys.readouterr().err
    assert train("my.txt", "--steps", 2, "--resume") == 0
    assert train("other one.txt", "--steps", 2, "--resume", "--folder", "runs/my") == 1
    assert "is on 'my.txt', not on 'other one.txt'" in capsys.readouterr().err


def test_no_python_warning_is_shown_of_a_text_that_runs_out_of_pairs(folder, recwarn, capsys):
    assert train("my.txt", "--steps", 1, "--vocab-size", 5000) == 0
    assert "read as byte pairs (V = 3" in capsys.readouterr().out
    assert not [w for w in recwarn if "no pair is left" in str(w.message)]


def test_best_keeps_the_model_of_the_best_evaluation(folder, monkeypatch, capsys):
    values = iter([3.0, 1.0, 2.0, 2.5, 2.6, 2.7])
    monkeypatch.setattr("gptlab.runs.building.mean_loss", lambda *_: next(values))
    assert train("my.txt", "--steps", 6, "--evaluate-every", 1, "--best", "--export", "out") == 0
    said = capsys.readouterr().out
    sentence = "validation is rising: the model is starting to memorise; best at step 2; --best has saved that one"
    assert said.count(sentence) == 1
    best = folder / "runs" / "my" / "best"
    assert json.loads((best / "notes.json").read_text()) == {"step": 2, "validation": 1.0}
    assert f"sample {best.relative_to(folder)}" in said
    of_best, exported = (checkpoints.load_model(path)[0] for path in (best, folder / "out"))
    last = checkpoints.load_model(folder / "runs" / "my")[0]
    assert torch.equal(of_best.head.weight, exported.head.weight)
    assert not torch.equal(of_best.head.weight, last.head.weight)
    values = iter([1.5])
    assert train("my.txt", "--steps", 7, "--resume", "--best") == 0  # a worse one doesn't replace it
    assert json.loads((best / "notes.json").read_text())["step"] == 2


def test_best_is_refused_for_a_model_in_parts(tmp_path):
    options = Options(best=True, parallel="sharded")
    with pytest.raises(ValueError, match="--best saves a model that is whole, and --parallel sharded has parts"):
        program.execute(options, settings_from(Options()), tmp_path, runs.StopOnSignal())


# ------------------------------------------------------------------------------------------------------------ the rule


def test_longer_texts_have_larger_models_and_every_plan_can_be_built():
    sizes = []
    for characters in (2_000, 20_000, 200_000, 2_000_000, 20_000_000, 100_000_000):
        recipe = own_text.plan(characters, alphabet=80)
        vocab_size = 81 if recipe.tokens == "characters" else recipe.vocab_size
        sizes.append(GPT(model_config(recipe, vocab_size)).count_parameters())
        assert recipe.tokens == ("characters" if characters <= 200_000 else "bpe")
        seen = recipe.training.steps * recipe.batch_size * recipe.model["context"]
        work = 6 * sizes[-1] * seen  # floating-point operations: 2 for each weight forward, 4 backward
        assert work / 30e9 < 600, "more than ten minutes at 30 GFLOP/s"
        assert characters * 0.9 > recipe.model["context"]
    assert sizes == sorted(sizes) and sizes[0] < 150_000 and sizes[-1] < 2_500_000


def test_a_large_alphabet_asks_for_byte_pairs():
    assert own_text.plan(50_000, alphabet=3_000).tokens == "bpe"
    assert own_text.plan(50_000, alphabet=100).tokens == "characters"


def test_a_text_that_is_too_short_is_refused_with_what_it_needs(folder, capsys):
    (folder / "short.txt").write_text("to be or not to be")
    assert train("short.txt") == 1
    said = capsys.readouterr().err
    assert "the text has 18 characters, and a model needs at least 1,000 to learn from" in said
    assert own_text.plan(1000, 20) and not (folder / "runs").exists()


def test_every_choice_can_be_overridden(folder):
    recipe = settings_from(Options(("my.txt",), tokens="bpe", n_layer=5, context=32, steps=9, dropout=0.0)).recipe
    model = recipe.model
    assert (recipe.tokens, model["n_layer"], model["context"], recipe.training.steps) == ("bpe", 5, 32, 9)
    assert model["dropout"] == 0 and settings_from(Options(("my.txt",), vocab_size=300)).recipe.tokens == "bpe"


# ----------------------------------------------------------------------------------------------------------- documents


def test_what_a_document_is(tmp_path):
    one, two = tmp_path / "one.txt", tmp_path / "two.md"
    one.write_text("  First.\nIts second line.\n\n \n\nThird.\n")
    two.write_text("x\n\ny")
    assert documents.read([one]) == ["  First.\nIts second line.", "Third."]
    assert documents.read([one], separator="") == [one.read_text()]
    assert documents.read([one, two]) == documents.read([tmp_path]) == [one.read_text(), two.read_text()]
    assert documents.read([one], separator=r"\nIts") == ["  First.", " second line.\n\n \n\nThird."]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"said": text}) + "\n" for text in ("a\n\nb", "", "c")))
    assert documents.read([rows], field="said") == ["a\n\nb", "c"]
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "no.txt").write_text("not this")
    assert len(documents.files_of(tmp_path)) == 2


@pytest.mark.parametrize("text", ["word " * 3000, "a line\n" * 3000, "字" * 9000, "x" * 399 + "\n" + "y" * 9000])
def test_long_documents_are_cut_and_nothing_is_lost(text):
    parts = documents.evened([text])
    assert "".join(parts) == text and len(parts) >= 20 and max(map(len, parts)) <= 4000
    assert documents.evened(["short"] * 50) == ["short"] * 50


def test_rows_of_parquet_are_documents(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": ["one", "two"]}), tmp_path / "t.parquet")
    assert documents.read([tmp_path / "t.parquet"]) == ["one", "two"]


def test_a_folder_without_texts_and_a_file_without_text_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no file named \*.txt or \*.md"):
        documents.read([tmp_path])
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(ValueError, match=r"there is no text in .*empty.txt"):
        documents.read([tmp_path / "empty.txt"])


# ------------------------------------------------------------------------------------------------------- command line


def test_where_a_run_goes():
    names = {("fables",): "fables", (): "fables", ("a/b/my.txt",): "my", ("rows.jsonl.gz",): "rows"}
    for words, name in names.items():
        options = Options(words) if name == "fables" else Options(corpus=words[0])
        assert run_folder(options).parts == ("runs", name)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(recipe=("nowhere.txt",)), "there is no file 'nowhere.txt'"),
        (dict(recipe=("my.txt", "fables")), "'fables' is a recipe, and so is alone"),
        (dict(recipe=("my.txt",), corpus="other.txt"), "two texts: 'my.txt' and --corpus 'other.txt'"),
        (dict(recipe=("my.txt",), config="c.yaml"), "--config has a text of its own: leave out 'my.txt'"),
        (dict(recipe=("fables",), separator="--"), "--separator is for a text of yours, and this run is on 'fables'"),
        (dict(recipe=("shards",)), "'shards' holds shards, not a text: train on them with `--corpus shards`"),
    ],
)
def test_what_cannot_be_meant_is_refused(folder, options, words):
    (folder / "shards").mkdir()
    (folder / "shards" / "manifest.json").write_text("{}")
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        settings_from(Options(**options))


def test_the_settings_of_a_text_survive_their_file(folder):
    settings = settings_from(Options(("my.txt",), separator=r"\n---\n"))
    (folder / CONFIG).write_text(to_yaml(settings))
    assert settings_from(Options(config=folder / CONFIG)) == settings
    assert settings.recipe.texts == ("my.txt",) and settings.recipe.separator == r"\n---\n"
    assert settings_from(Options(config=folder / CONFIG, corpus="fables")).recipe.texts == ()


# ----------------------------------------------------------------------------------------------------------- reporting


def test_a_sample_has_two_lines_and_leaves_the_run_as_it_was(folder):
    setup = runs.build(settings_from(Options(("my.txt",), n_layer=1, n_head=2, n_embd=12, context=16)).recipe)
    state, mode = torch.get_rng_state(), setup.model.training
    written = reporting.sample(setup.model, setup.tokenizer, setup.end)
    assert 0 < len(written.splitlines()) <= 2 and all(line.startswith("    | ") for line in written.splitlines())
    assert torch.equal(torch.get_rng_state(), state) and setup.model.training == mode


def test_a_terminal_has_a_bar_with_the_time_left(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with reporting.Reporter(steps=4) as report:
        report.show(runs.program.History([3.0, 2.0]))
        report.say("a line")
        shown = str(report.bar)
    assert "2/4" in shown and "<" in shown and "a line\n" in capsys.readouterr().out


def test_a_log_has_lines_only(capsys):
    with reporting.Reporter(steps=4) as report:
        report.show(runs.program.History([3.0, 2.0]))
        report.say("a line")
    assert capsys.readouterr().out == "a line\n"


def test_prepare_says_of_a_short_text_that_train_does_better(folder, capsys):
    assert commands.run(["prepare", "my.txt", "--tokenizer", "bytes", "--out", "shards", "--workers", "1"]) == 0
    assert " train my.txt` does this better" in capsys.readouterr().out


def test_a_character_tokenizer_with_an_end_token_is_written_for_other_libraries():
    tokenizers = pytest.importorskip("tokenizers")
    own = CharTokenizer.from_text("a fox\n", special_tokens=[END_OF_TEXT])
    theirs = tokenizers.Tokenizer.from_str(own.to_huggingface_json())
    assert theirs.encode("fox a\n").ids == own.encode("fox a\n") and theirs.token_to_id(END_OF_TEXT) == own.end
    assert theirs.decode(own.encode("fox a\n")) == "fox a\n"
