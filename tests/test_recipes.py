"""Recipes: what a name stands for, and what is built from it."""

import dataclasses

import pytest

from gptlab import runs, training
from gptlab.corpora import fables
from gptlab.model import GPT
from gptlab.runs.recipes import model_config


def brief(recipe: runs.Recipe, **changes) -> runs.Recipe:
    """A recipe cut down to a few steps of a tiny model."""
    small = dict(n_layer=1, n_head=2, n_embd=12)
    few = dataclasses.replace(recipe.training, steps=2, warmup=1, evaluate_every=0)
    return dataclasses.replace(recipe, batch_size=2, model=recipe.model | small, training=few, **changes)


def test_a_recipe_on_a_text_of_yours_trains_on_its_beginning_and_validates_on_its_end(tmp_path):
    (tmp_path / "text.txt").write_text("abcd" * 300 + "xyz" * 40)
    prepared = runs.build(brief(runs.RECIPES["shakespeare"], corpus=str(tmp_path / "text.txt")))
    history = training.train(
        prepared.model, prepared.batches, training.TrainConfig(steps=2), evaluate=prepared.evaluate
    )
    assert prepared.tokenizer.vocab_size == 7 and prepared.end is None
    seen = {i for step in range(50) for i in prepared.batches.batch(step).ids.flatten().tolist()}
    assert set(prepared.tokenizer.decode(sorted(seen))) == set("abcd")  # 90 % of the text ends before the first x
    assert history.evaluations[-1]["validation"] > 0


def test_the_fables_of_a_recipe_are_told_afresh_and_measured_against_their_floor():
    prepared = runs.build(brief(runs.RECIPES["fables"]))
    ids = prepared.batches.batch(0).ids
    assert ids[0, 0] == prepared.end and len(prepared.batches) == 2
    story = prepared.tokenizer.decode(prepared.batches.documents[0][:-1])
    assert fables.read(story).error is None
    assert prepared.evaluate(prepared.model)["floor"] == pytest.approx(fables.entropy(), abs=0.5)


@pytest.mark.parametrize("name", [name for name, recipe in runs.RECIPES.items() if recipe.base is None])
def test_every_recipe_names_a_model_that_can_be_built(name):
    recipe = runs.RECIPES[name]
    model = GPT(model_config(recipe, 65))
    assert model.config.context == recipe.model["context"]
    assert (recipe.parts == "modern") == (model.config.position == "rope")


def test_the_cpu_recipes_have_the_size_that_they_are_compared_at():
    sizes = [GPT(model_config(runs.RECIPES[name], 65)).count_parameters() for name in ("nanogpt-cpu", "shakespeare")]
    assert all(size <= 810_000 for size in sizes)
    assert GPT(model_config(runs.RECIPES["nanogpt-gpu"], 65)).count_parameters() == pytest.approx(10.75e6, rel=0.01)


def test_a_recipe_that_names_an_unknown_corpus_is_refused():
    with pytest.raises((ValueError, FileNotFoundError), match="fabels"):
        runs.build(brief(runs.RECIPES["shakespeare"], corpus="fabels"))


def test_a_text_shorter_than_the_context_is_refused_with_both_numbers(tmp_path):
    (tmp_path / "short.txt").write_text("to be or not to be")
    with pytest.raises(ValueError, match=r"16 tokens is shorter than one sample of T=64"):
        runs.build(brief(runs.RECIPES["shakespeare"], corpus=str(tmp_path / "short.txt")))
