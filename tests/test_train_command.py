"""`train` and `sample` as a reader calls them, and the training race on a text of a few lines."""

import json

import pytest

from gptlab import commands, gpu
from gptlab.commands.bench import training as race
from gptlab.commands.sample import sample
from gptlab.commands.train import train
from gptlab.training import History

TINY = dict(batch_size=2, n_layer=1, n_head=2, n_embd=12)


def test_a_trained_model_is_exported_and_writes(tmp_path, capsys):
    train("fables", folder=tmp_path / "run", steps=2, export=tmp_path / "mine", device="cpu", **TINY)
    said = capsys.readouterr().out
    assert "step      2" in said and "excess" in said
    notes = json.loads((tmp_path / "mine" / "notes.json").read_text())
    assert notes["recipe"]["training"]["steps"] == 2 and notes["history"]["tokens"] > 200
    sample(tmp_path / "mine", prompt="Once, in a", max_new_tokens=5, n=2)
    written = capsys.readouterr().out
    assert written.count("Once, in a") == 2


def test_a_stopped_run_goes_on_in_the_same_folder(tmp_path, capsys):
    train("fables", folder=tmp_path, steps=2, device="cpu", **TINY)
    train("fables", folder=tmp_path, steps=3, resume=True, device="cpu", **TINY)
    assert (tmp_path / "step-00000003").is_dir()


def test_a_text_of_your_own_is_trained_on(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 60)
    train("shakespeare", folder=tmp_path / "run", corpus=str(tmp_path / "text.txt"), steps=2, context=16, **TINY)
    assert "validation" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sample", "/nowhere/at/all"], "no model in '/nowhere/at/all'"),
        (["train", "--corpus", "shakespere"], "shakespere"),
        (["train", "--n-embd", "30", "--steps", "1"], "C=30"),
    ],
)
def test_a_wrong_argument_ends_in_one_clear_line(arguments, words, capsys):
    assert commands.run(arguments) == 1
    assert words in capsys.readouterr().out


def test_the_race_trains_all_in_turns_and_its_targets_are_found(tmp_path):
    (tmp_path / "text.txt").write_text("to be or not to be, that is the question. " * 60)
    recipes = {}
    for name, steps in (("short", 3), ("long", 25)):
        recipe = gpu.RECIPES["shakespeare"]
        recipes[name] = gpu.Recipe(
            corpus=str(tmp_path / "text.txt"),
            tokens="characters",
            B=2,
            model=recipe.model | dict(context=16, n_layer=1, n_head=2, n_embd=12),
            training=gpu.TrainConfig(steps=steps, evaluate_every=0, warmup=1, optimizer="muon"),
        )
    histories = race.race(recipes)
    assert {name: history.steps for name, history in histories.items()} == {"short": 3, "long": 25}
    last = histories["long"].evaluations[-1]
    assert race.seconds_to(histories["long"], last["validation"]) == last["seconds"] > 0
    assert race.seconds_to(histories["long"], 0.0) is None


def test_the_contestants_are_nanogpts_settings_and_ours_of_no_more_parameters():
    recipes = race.contestants()
    theirs = recipes["nanoGPT's recipe"]
    assert (theirs.training.steps, theirs.B, theirs.training.learning_rate) == (2000, 12, 1e-3)
    assert theirs.model == dict(context=64, n_layer=4, n_head=4, n_embd=128, bias=False) and not theirs.modern
    sizes = {name: gpu._model(recipe, 65).count_parameters() for name, recipe in recipes.items()}
    assert max(sizes.values()) == sizes["nanoGPT's recipe"] <= 810_000


def test_seconds_to_a_target_are_those_of_the_first_evaluation_at_or_below_it():
    history = History(
        evaluations=[{"step": i, "seconds": float(i), "validation": v} for i, v in enumerate((3.0, 2.0, 1.0, 2.0))]
    )
    assert race.seconds_to(history, 2.0) == 1.0
