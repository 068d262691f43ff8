"""Recipes: what a name stands for, and what is built from it."""

import dataclasses
import re
import typing

import pytest
import torch

from gptlab import checkpoints, runs, training
from gptlab.batches import IGNORE, StoryBatches
from gptlab.corpora import fables
from gptlab.corpora.preparing import prepare
from gptlab.model import GPT, GPTConfig
from gptlab.policy import PolicyConfig
from gptlab.rewards import REWARDS
from gptlab.runs import building
from gptlab.runs.recipes import Reward, model_config
from gptlab.tokenizers import open_tokenizer

GPT_PARAMETERS = 124_439_808  # of the published model


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


@pytest.mark.parametrize("kind", ["a text", "shards"])
def test_what_a_recipe_validates_on_it_is_not_trained_on(tmp_path, monkeypatch, kind):
    """The text counts upwards, so two parts that share nothing share no number."""
    source = tmp_path / "text.txt"
    source.write_text("\n\n".join(f"{n:05}" for n in range(400)))
    if kind == "shards":
        source = tmp_path / "shards"
        prepare([tmp_path / "text.txt"], open_tokenizer("bytes"), source, validation=0.1)
    recipe = brief(runs.RECIPES["shakespeare"], corpus=str(source))
    prepared = runs.build(dataclasses.replace(recipe, model=recipe.model | dict(context=8)))
    measured = []
    monkeypatch.setattr(building, "mean_loss", lambda model, batches, steps=None: measured.append(batches) or 0.0)
    prepared.evaluate(prepared.model)
    numbers = [
        set(re.findall(r"\d{5}", prepared.tokenizer.decode([int(id) for id in part])))
        for part in (batches.ids[:] for batches in (prepared.batches, *measured))
    ]
    assert len(numbers[0]) > 300 and len(numbers[1]) > 30 and not numbers[0] & numbers[1]


def test_fables_are_measured_on_stories_that_no_seed_trains_on(monkeypatch):
    asked, really = [], fables.tell
    monkeypatch.setattr(
        fables, "tell", lambda n, seed: asked.append((n, seed)) or really(4 if n == 256 else n, seed=seed)
    )
    monkeypatch.setattr(
        fables, "book", lambda: fables.COMMITTED.read_text(encoding="utf-8")
    )  # telling it takes a while
    recipe = brief(runs.RECIPES["fables"], tokens="characters")
    prepared = runs.build(dataclasses.replace(recipe, model=recipe.model | {"context": 500}, seed=3))
    (trained, seed), (evaluated, other) = asked[-2:]
    assert (trained, evaluated) == (4, 256) and seed == 1003 and other == 1
    learned = {prepared.tokenizer.decode(document[:-1]) for document in prepared.batches.documents}
    assert not learned & {story.text for story in prepared.evaluate.stories}


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
    with torch.device("meta"):  # one has a hundred million weights
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


# ── Runs with a reward ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def chatterer(tmp_path_factory):
    """A folder with a tiny model that writes any words of the fables' tokenizer."""
    _, tokenizer = checkpoints.committed("fables")
    torch.manual_seed(0)
    model = GPT(GPTConfig.modern(tokenizer.vocab_size, 24, n_layer=1, n_head=2, n_embd=8))
    folder = tmp_path_factory.mktemp("chatterer")
    checkpoints.save_model(model, folder, tokenizer)
    return folder


def rewarded(base, **changes) -> runs.Recipe:
    recipe = runs.RECIPES["reinforce"]
    few = dataclasses.replace(recipe.training, steps=4, warmup=0, evaluate_every=0)
    policy = PolicyConfig(group_size=4, updates=2)
    settings = dict(base=str(base), reward="cheerful_words", batch_size=8, training=few, policy=policy) | changes
    return dataclasses.replace(recipe, **settings)


def test_a_recipe_with_a_reward_starts_from_its_base_and_writes_what_it_learns_from(chatterer, monkeypatch):
    monkeypatch.setattr(runs.reinforcing, "EVALUATED", 8)
    recipe = rewarded(chatterer)
    setup = runs.build(recipe)
    batch = setup.batches.batch(0)
    assert batch.ids.shape[0] == 8 and (batch.ids[:, 0] == setup.end).all()
    assert setup.batches.config.max_new_tokens == 24  # as many as the context has room for
    history = training.train(setup.model, setup.batches, recipe.training, objective=setup.objective, progress=False)
    assert history.steps == 4 and len(setup.batches.records) == 2
    measured = setup.evaluate(setup.model)
    assert list(measured) == ["unrewarded", "reward", "coherent", "tokens"]


def test_the_rewards_that_a_recipe_can_name_are_those_that_there_are():
    assert set(typing.get_args(Reward)) == set(REWARDS)


def test_recipes_with_a_reward_that_cannot_work_are_refused(chatterer):
    with pytest.raises(ValueError, match="--reward coherent needs a trained model"):
        runs.Recipe(reward="coherent")
    with pytest.raises(ValueError, match="are for a run with a reward"):
        runs.Recipe(policy=PolicyConfig())
    with pytest.raises(ValueError, match="knows no conversations"):
        runs.build(rewarded(chatterer, reward="granted"))
    with pytest.raises(ValueError, match="--n-layer 3: the model"):
        runs.build(rewarded(chatterer, model={"n_layer": 3}))


def test_the_settings_of_a_policy_go_through_the_command_line_and_yaml(tmp_path):
    settings = runs.settings_from(runs.Options(("reinforce",), kl=0.02, group_size=8, reward="coherent"))
    assert (settings.recipe.policy.kl, settings.recipe.policy.updates, settings.recipe.reward) == (0.02, 2, "coherent")
    (tmp_path / "config.yaml").write_text(runs.to_yaml(settings))
    assert runs.from_yaml(tmp_path / "config.yaml") == settings
    with pytest.raises(ValueError, match="choose a --reward"):
        runs.settings_from(runs.Options(("fables",), kl=0.02))
    (tmp_path / "config.yaml").write_text("base: fables\nreward: coherent\npolicy:\n  clipp: 0.1\n")
    with pytest.raises(ValueError, match=r"unknown entry policy.clipp; perhaps you mean policy.clip"):
        runs.from_yaml(tmp_path / "config.yaml")


def test_finetuning_starts_from_a_trained_model_and_mixes_requests_with_fables():
    recipe = runs.RECIPES["finetune"]
    few = dataclasses.replace(recipe, batch_size=4, training=dataclasses.replace(recipe.training, steps=2))
    setup = runs.build(few)
    base, tokenizer = checkpoints.committed("fables")
    assert setup.model.config == dataclasses.replace(base.config, vocab_size=tokenizer.vocab_size + 3)
    ids, targets = setup.batches.batch(1)
    assert (ids == setup.tokenizer.special_tokens["<|user|>"]).any(dim=1).tolist() == [True] * 3 + [False]
    assert targets[3, 0] == ids[3, 1] and (targets[:3, 0] == IGNORE).all()
    with pytest.raises(ValueError, match=r"--n-layer 3: the model 'fables'.*n_layer=2"):
        runs.build(dataclasses.replace(few, model={"n_layer": 3}))
    with pytest.raises(ValueError, match=r"--base None and --corpus requests"):
        runs.build(dataclasses.replace(few, base=None))
    with pytest.raises(checkpoints.CheckpointError, match=r"no model 'fabels'.*'fables'"):
        runs.build(dataclasses.replace(few, base="fabels"))


def test_gpt2_trains_on_any_corpus_that_was_prepared_and_says_where_it_looks(tmp_path):
    recipe = brief(runs.RECIPES["gpt2-124M"])
    with pytest.raises(ValueError, match=r"no shards in .* yet: `gptlab prepare TEXTS` makes them .*--corpus"):
        runs.build(recipe)
    (tmp_path / "text.txt").write_text("one two three four. " * 400)
    prepare([tmp_path / "text.txt"], open_tokenizer("bytes"), tmp_path / "shards", validation=0.1)
    small = dataclasses.replace(recipe, corpus=str(tmp_path / "shards"), model=recipe.model | dict(context=32))
    setup = runs.build(small)
    assert setup.model.config.vocab_size == setup.tokenizer.vocab_size
    assert training.train(setup.model, setup.batches, small.training, evaluate=setup.evaluate).evaluations


def test_the_124M_of_the_recipe_are_gpt2s_without_biases():
    recipe, published = runs.RECIPES["gpt2-124M"], GPTConfig.gpt2("124M")
    ours = model_config(recipe, published.vocab_size)
    assert ours == dataclasses.replace(published, bias=False, dropout=0.0)
    tokens = recipe.training.steps * recipe.batch_size * ours.context
    assert tokens / GPT_PARAMETERS == pytest.approx(20, rel=0.02)
    assert recipe.batch_size // recipe.training.gradient_accumulation == 32


def test_fables_on_a_gpu_are_the_same_stories_in_batches_of_one_shape():
    recipe = brief(runs.RECIPES["fables-gpu"])
    setup = runs.build(recipe)
    documents, end = setup.batches.documents, setup.end
    wide = StoryBatches(documents, 2, start=end, shuffle=False, T=160)
    for step in range(2):
        narrow, padded = setup.batches.batch(step), wide.batch(step)
        T = narrow.ids.shape[1]
        assert padded.ids.shape == (2, 160) and torch.equal(padded.ids[:, :T], narrow.ids)
        assert torch.equal(padded.targets[:, :T], narrow.targets) and (padded.targets[:, T:] == IGNORE).all()
    with pytest.raises(ValueError, match=r"the longest document has \d+ tokens, and T=9: pass a T of at least"):
        StoryBatches(documents, 2, start=end, T=9)


def test_shakespeare_on_a_gpu_ends_where_the_recorded_run_was_best():
    """The record is of 1,000 steps; after the best of them the validation loss rose while the training loss fell."""
    (run,) = [found for found in runs.recorded() if found.what == "train shakespeare-gpu" and found.kind == "cuda"]
    best = min(run.tables["evaluations"], key=lambda entry: entry["validation"])
    training_loss = dict(run.curves["training"])
    assert training_loss[1000] < training_loss[best["step"]] - 0.05
    assert runs.RECIPES["shakespeare-gpu"].training.steps == best["step"]
