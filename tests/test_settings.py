"""Settings: each is declared once, and the command line, the file and the recipe agree on it."""

import dataclasses
import io
from contextlib import redirect_stdout

import pytest
import tyro
from hypothesis import given
from hypothesis import strategies as st

from gptlab import commands, runs
from gptlab.model import GPTConfig
from gptlab.runs.recipes import Recipe, model_config
from gptlab.runs.settings import Options, Settings, from_yaml, option_names, sentences, settings_from, to_yaml
from gptlab.training import TrainConfig


def parsed(*words: str):
    """What `python -m gptlab train` would be given."""
    return tyro.cli(Options, args=list(words))


# ------------------------------------------------------------------------------------------------------- command line


@pytest.mark.parametrize("kind", [Settings, Recipe, GPTConfig, TrainConfig])
def test_every_setting_is_an_option_with_a_sentence(kind):
    options = {field.name for field in dataclasses.fields(Options)}
    said = sentences(kind)
    assert set(option_names(kind)) <= options
    assert [name for name in option_names(kind) if not said.get(name)] == []


def test_the_help_has_each_setting_once_with_its_own_sentence():
    with redirect_stdout(io.StringIO()) as shown, pytest.raises(SystemExit):
        commands.run(["train", "--help"])
    words = " ".join(shown.getvalue().replace("│", " ").split())
    for name in ("--steps", "--n-layer", "--batch-size", "--gradient-accumulation", "--parts", "--norm", "--compile"):
        assert words.count(f" {name} ") >= 1, name
    assert "the last fraction of the run, 0 to 1, in which the learning rate falls." in words
    assert "(default: the recipe's)" in words


def test_every_kind_of_setting_can_be_given():
    words = "fables --steps 7 --betas 0.5 0.6 --gradient-checkpointing True --n-layer 9 --batch-size 3 --dtype bfloat16"
    settings = settings_from(parsed(*words.split()))
    recipe, how = settings.recipe, settings.recipe.training
    assert (how.steps, how.betas, how.gradient_checkpointing) == (7, (0.5, 0.6), True)
    assert (recipe.model["n_layer"], recipe.batch_size, settings.dtype) == (9, 3, "bfloat16")
    unchanged = runs.RECIPES["fables"]
    assert (recipe.seed, how.muon_lr, recipe.model["n_embd"]) == (unchanged.seed, unchanged.training.muon_lr, 128)


def test_zero_and_false_are_settings_like_any_other(tmp_path):
    recipe = dataclasses.replace(runs.RECIPES["shakespeare-gpu"], seed=5)
    (tmp_path / "c.yaml").write_text(to_yaml(Settings(recipe, compile=True)))
    words = "--dropout 0 --seed 0 --compile False --warmup 0 --weight-decay 0 --convolution 0 --evaluate-every 0"
    settings = settings_from(parsed("--config", str(tmp_path / "c.yaml"), *words.split()))
    recipe, how = settings.recipe, settings.recipe.training
    assert (recipe.model["dropout"], recipe.seed, settings.compile, recipe.model["convolution"]) == (0.0, 0, False, 0)
    assert (how.warmup, how.weight_decay, how.evaluate_every) == (0, 0.0, 0)


def test_other_parts_keep_the_sizes_and_drop_what_was_set_for_the_old_parts():
    recipe = settings_from(parsed("shakespeare", "--parts", "gpt2", "--n-layer", "2")).recipe
    config = model_config(recipe, 65)
    assert config == GPTConfig(65, context=64, n_layer=2, n_head=4, n_embd=144)


def test_the_four_parts_are_chosen_one_by_one():
    words = "nanogpt-cpu --norm rmsnorm --position rope --mlp swiglu --n-kv-head 2"
    config = model_config(settings_from(parsed(*words.split())).recipe, 65)
    assert (config.norm, config.position, config.mlp, config.n_kv_head) == ("rmsnorm", "rope", "swiglu", 2)
    assert (config.n_layer, config.bias) == (4, False)


def test_the_same_parts_again_change_nothing():
    assert settings_from(parsed("shakespeare", "--parts", "modern")) == settings_from(parsed("shakespeare"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(parts="bert"), "unknown parts 'bert': choose one of gpt2, llama, modern"),
        (dict(tokens="words"), "unknown tokens 'words': choose one of characters, bpe"),
        (dict(batch_size=0), "batch_size=0 must be a whole number of at least 1"),
    ],
)
def test_an_impossible_recipe_is_refused_by_name(changes, words):
    recipe = Recipe()
    for name, value in changes.items():  # past the type checks of these tests
        object.__setattr__(recipe, name, value)
    with pytest.raises(ValueError, match=words):
        recipe.__post_init__()


# --------------------------------------------------------------------------------------------------------- config.yaml


@pytest.mark.parametrize("name", runs.RECIPES)
def test_the_settings_of_every_recipe_survive_their_file(tmp_path, name):
    settings = Settings(runs.RECIPES[name], dtype="bfloat16", compile=True)
    (tmp_path / "config.yaml").write_text(to_yaml(settings))
    assert from_yaml(tmp_path / "config.yaml") == settings
    assert settings_from(Options(config=tmp_path / "config.yaml")) == settings


@given(rate=st.floats(1e-9, 10), steps=st.integers(1, 10**9), beta=st.floats(0, 1, exclude_max=True))
def test_numbers_survive_the_file_to_the_last_digit(tmp_path_factory, rate, steps, beta):
    path = tmp_path_factory.getbasetemp() / "numbers.yaml"
    how = TrainConfig(learning_rate=rate, steps=steps, betas=(beta, beta))
    path.write_text(to_yaml(Settings(Recipe(training=how))))
    assert from_yaml(path).recipe.training == how


def test_numbers_are_understood_as_people_write_them(tmp_path):
    (tmp_path / "c.yaml").write_text(
        "batch_size: 3\ntraining:\n  learning_rate: 1e-3\n  max_grad_norm: 2\n  betas: [0, 0.5]\nmodel:\n"
    )
    recipe = from_yaml(tmp_path / "c.yaml").recipe
    how = recipe.training
    assert (recipe.batch_size, how.learning_rate, how.max_grad_norm, how.betas) == (3, 0.001, 2.0, (0.0, 0.5))


FIRST_EDITION = """
corpus: shakespeare
tokens: characters
vocab_size: 859
B: 24
seed: 3
modern: false
model: {context: 64, n_layer: 3, bias: false}
training:
  {steps: 930, optimizer: muon, learning_rate: 0.008, matrix_rate: 0.03, warmup: 20, decay: 0.5, shape: cosine,
   final: 0.1, betas: [0.9, 0.99], weight_decay: 0.1, clip: 2.0, accumulate: 2, checkpointing: true, evaluate_every: 93,
   save_every: 100, keep: 3}
dtype: bfloat16
compile: true
"""


def test_a_file_of_the_first_edition_is_read(tmp_path):
    (tmp_path / "config.yaml").write_text(FIRST_EDITION)
    training = TrainConfig(
        steps=930, optimizer="muon", learning_rate=0.008, muon_lr=0.03, warmup=20, decay_fraction=0.5,
        schedule="cosine", min_lr_ratio=0.1, betas=(0.9, 0.99), weight_decay=0.1, max_grad_norm=2.0,
        gradient_accumulation=2, gradient_checkpointing=True, evaluate_every=93, save_every=100, save_total_limit=3,
    )  # fmt: skip
    model = dict(context=64, n_layer=3, bias=False)
    recipe = Recipe("shakespeare", "characters", 859, 24, 3, parts="gpt2", model=model, training=training)
    assert from_yaml(tmp_path / "config.yaml") == Settings(recipe, "bfloat16", True)
    (tmp_path / "modern.yaml").write_text("modern: true")
    assert from_yaml(tmp_path / "modern.yaml").recipe.parts == "modern"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("corpsu: fables", "unknown entry corpsu; perhaps you mean corpus"),
        ("training: {step: 5}", "unknown entry training.step; perhaps you mean training.steps"),
        ("training: {zzz: 5}", "unknown entry training.zzz$"),
        ("model: {n_layers: 5}", "unknown entry model.n_layers; perhaps you mean model.n_layer"),
        ("model: {vocab_size: 5}", "unknown entry model.vocab_size; perhaps you mean vocab_size"),
        ("steps: 5", "unknown entry steps; perhaps you mean training.steps"),
        ("training: {steps: many}", "training.steps is 'many', which is not a whole number"),
        ("training: {steps: 1.5}", "training.steps is 1.5, which is not a whole number"),
        ("training: {max_grad_norm: true}", "training.max_grad_norm is True, which is not a number"),
        ("training: {max_grad_norm: much}", "training.max_grad_norm is 'much', which is not a number"),
        ("training: {betas: [1]}", "training.betas is .1., which is not a list of 2 numbers"),
        ("training: {optimizer: sgd}", "training.optimizer is 'sgd': choose one of adamw, muon"),
        ("model: {bias: 1}", "model.bias is 1, which is not true or false"),
        ("modern: perhaps", "modern is 'perhaps', which is not true or false"),
        ("parts: bert", "parts is 'bert': choose one of gpt2, llama, modern"),
        ("dtype: int8", "dtype is 'int8': choose one of float32, bfloat16, float16"),
        ("training: {steps: 0}", "steps=0 must be a whole number of at least 1"),
        ("a: [", "is not a file of settings in YAML"),
        ("just words", "has no entries"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path, content, words):
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(ValueError, match=words):
        from_yaml(tmp_path / "c.yaml")
