"""What a recipe names, made real: the model, its batches, its evaluation and its tokenizer.

>>> from gptlab.runs.recipes import Recipe
>>> from gptlab.schedule import TrainConfig
>>> setup = build(Recipe(batch_size=2, model=dict(context=110, n_embd=16, n_head=2), training=TrainConfig(steps=1)))
>>> setup.batches.batch(0).ids.shape[0]
2
"""

import functools
import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gptlab import checkpoints, corpora, finetuning
from gptlab.batches import Batches, BatchSource, StoryBatches, split
from gptlab.bpe import BPETokenizer
from gptlab.corpora import fables, requests
from gptlab.corpora.shards import Shards, are_shards
from gptlab.evaluation import StoryEvaluation, mean_loss
from gptlab.limits import check_fits
from gptlab.model import GPT
from gptlab.runs import documents, reinforcing
from gptlab.runs.own_text import LEARNED_FROM
from gptlab.runs.recipes import PREPARED, Recipe, model_config
from gptlab.tokenizing import END_OF_TEXT, Tokenizer
from gptlab.tokens import CharTokenizer
from gptlab.train_step import Objective

MOST_STORIES = 10_000_000  # fables that are made before a run: some hours of work, and some gigabytes
EVALUATED = 1 << 16  # tokens of your text that an evaluation reads: more would say the same


class TrainingSetup(NamedTuple):
    """What `training.train` needs.

    Attributes:
        model: with new weights, on its device.
        batches: what it learns from.
        evaluate: called with the model, it gives named losses.
        tokenizer: that made the batches.
        end: the id of the token between two texts, where there is one.
        about: what was read, in words; "" where the name says it.
        objective: what is made smaller, where it is not the loss of the next token.
    """

    model: GPT
    batches: BatchSource
    evaluate: Callable[[GPT], dict[str, float]]
    tokenizer: Tokenizer
    end: int | None
    about: str = ""
    objective: Objective | None = None


def build(recipe: Recipe, device: str | torch.device = "cpu", verify: bool = True) -> TrainingSetup:
    """Load the corpus, learn its tokens, build the model and its batches.

    New fables are generated, each seen once, and the model is evaluated against the exact entropy of others that it is
    never trained on. Shards stay on the disk, have a tokenizer of their own, and are evaluated on their validation
    part. Any other text is split once, the first 90 % to train on and the last 10 % to validate on. The documents of
    your own `texts` stand between end tokens, so that the model learns where one begins and ends, and are shuffled by
    the seed before they are split, so that validation isn't the end of a book or the newest of your notes.

    Args:
        recipe: what is built.
        device: where the model will be.
        verify: read all shards once, and compare their SHA-256.

    Raises:
        ValueError: for an unknown corpus, or a text shorter than the context.
        FileNotFoundError: a text of your own is not there.
        ShardError: a folder of shards is not finished, or one of them is broken.
    """
    torch.manual_seed(recipe.seed)
    if recipe.texts:
        return _build_texts(recipe, device)
    if recipe.reward is not None:
        return _build_reward(recipe, device)
    if recipe.base is not None or recipe.corpus == "requests":
        return _build_requests(recipe, device)
    if recipe.corpus == "fables":
        return _build_fables(recipe, device)
    if are_shards(recipe.corpus):
        return _build_shards(recipe, device, verify)
    if recipe.corpus == PREPARED:
        raise ValueError(
            f"there are no shards in {PREPARED!r} yet: `gptlab prepare TEXTS` makes them there, or name a folder of "
            "shards with --corpus"
        )
    corpus = corpora.load(recipe.corpus, quiet=True)
    tokenizer = _tokenizer(recipe, corpus.text, special_tokens=())  # no document ends, so no end token is learned
    train_ids, held_out = (torch.tensor(part) for part in split(tokenizer.encode(corpus.text)))
    model = _model(recipe, tokenizer, device)
    T = model.config.context
    batches = Batches(train_ids, recipe.batch_size, T, seed=recipe.seed)
    validation = Batches(held_out, 64, T, order="ordered")
    return TrainingSetup(model, batches, lambda model: {"validation": mean_loss(model, validation)}, tokenizer, None)


def _build_fables(recipe: Recipe, device: str | torch.device) -> TrainingSetup:
    needed = recipe.training.steps * recipe.batch_size
    if needed > MOST_STORIES:
        raise ValueError(
            f"{recipe.training.steps:,} steps of {recipe.batch_size:,} fables are {needed:,} new stories, and at most "
            f"{MOST_STORIES:,} are made: use fewer --steps, a smaller --batch-size, or a text"
        )
    tokenizer = _tokenizer(recipe, fables.book())
    model, end = _model(recipe, tokenizer, device), tokenizer.end
    stories = fables.tell(needed, seed=1000 + recipe.seed)
    documents = [[*tokenizer.encode(story.text), end] for story in stories]
    held_out = fables.tell(256, seed=1)
    longest = max(map(len, [*documents, *(tokenizer.encode(story.text) for story in held_out)]))
    if longest > model.config.context:
        raise ValueError(
            f"the longest fable has {longest} of these tokens, and the context is {model.config.context}: use "
            f"--context {longest}, or more tokens with --vocab-size"
        )
    width = model.config.context if model.device.type == "cuda" else None  # of one shape, a step can be recorded
    batches = StoryBatches(documents, recipe.batch_size, start=end, shuffle=False, T=width)
    evaluation = StoryEvaluation(held_out, tokenizer, end)
    return TrainingSetup(model, batches, evaluation, tokenizer, end)


def _build_requests(recipe: Recipe, device: str | torch.device) -> TrainingSetup:
    """A trained model and conversations: new requests in three rows of four, and in the others the fables it knows."""
    if recipe.base is None or recipe.corpus != "requests":
        raise ValueError(
            f"--base {recipe.base} and --corpus {recipe.corpus}: a trained model is fine-tuned on the corpus "
            "'requests', as the recipe `finetune` says; a new one learns a text without a base"
        )
    base, tokenizer = _unchanged_base(recipe)
    model, template = finetuning.prepare(base, tokenizer)
    tokenizer, steps, fourth = template.tokenizer, recipe.training.steps, recipe.batch_size // 4
    made = requests.make(steps * (recipe.batch_size - fourth), 1000 + recipe.seed, kinds=requests.CURRICULUM)
    asked = [request.conversation for request in made]
    batches: BatchSource = finetuning.ConversationBatches(
        asked, template, recipe.batch_size - fourth, model.config.context, shuffle=False
    )
    if fourth:
        stories = fables.tell(steps * fourth, seed=1000 + recipe.seed)
        documents = [[*tokenizer.encode(story.text), tokenizer.end] for story in stories]
        batches = finetuning.MixedBatches(batches, StoryBatches(documents, fourth, start=tokenizer.end, shuffle=False))
    held_out = [request.conversation for request in requests.make(128, seed=1, held_out=True)]
    unseen = finetuning.ConversationBatches(held_out, template, 64, model.config.context, shuffle=False)
    known = StoryEvaluation(fables.tell(128, seed=1), tokenizer, tokenizer.end)

    def evaluate(model: GPT) -> dict[str, float]:
        return {"validation": mean_loss(model, unseen), "excess": known(model)["excess"]}

    about = f"conversations about fables, and {fourth} fables in each batch of {recipe.batch_size}; from {recipe.base}"
    return TrainingSetup(model.to(device), batches, evaluate, tokenizer, tokenizer.end, about)


def _build_reward(recipe: Recipe, device: str | torch.device) -> TrainingSetup:
    """A trained model that learns from a reward what it should write more of."""
    model, tokenizer = _unchanged_base(recipe)
    batches, evaluate, objective, about = reinforcing.build(recipe, model.to(device), tokenizer)
    return TrainingSetup(model, batches, evaluate, tokenizer, tokenizer.end, about, objective)


def _unchanged_base(recipe: Recipe) -> tuple[GPT, Tokenizer]:
    """The model that a recipe starts from. Raises ValueError where an option would change its sizes."""
    base, tokenizer = open_base(recipe.base)
    if changed := {name: value for name, value in recipe.model.items() if value != getattr(base.config, name)}:
        name, value = next(iter(changed.items()))
        raise ValueError(
            f"--{name.replace('_', '-')} {value}: the model {recipe.base!r}, which the run starts from, has "
            f"{name}={getattr(base.config, name)}, and stays as it is; leave the option out, or train another base"
        )
    return base, tokenizer


def open_base(name: str) -> tuple[GPT, Tokenizer]:
    """A trained model to go on from: a folder with one, or the name of one of the course's.

    Args:
        name: such as "fables".

    Raises:
        CheckpointError: there is none.
        ValueError: it has no tokenizer, or none with a token that ends a text.
    """
    found = checkpoints.load_model(name) if Path(name).is_dir() else checkpoints.committed(name)
    model, tokenizer = found
    if tokenizer is None or tokenizer.end is None:
        raise ValueError(f"the model {name!r} has no tokenizer with an end token: fine-tune one that ends its texts")
    return model, tokenizer


def _build_shards(recipe: Recipe, device: str | torch.device, verify: bool) -> TrainingSetup:
    shards = Shards(recipe.corpus, verify)
    model = _model(recipe, shards.tokenizer, device)
    T = model.config.context
    batches = shards.batches("train", recipe.batch_size, T, seed=recipe.seed)
    part, name = ("validation", "validation") if len(shards.validation) else ("train", "training")
    held_out = shards.batches(part, 16, T, order="ordered")
    steps = min(len(held_out), 50)  # about a million tokens at T = 1024: more would say the same

    def evaluate(model: GPT) -> dict[str, float]:
        return {name: mean_loss(model, held_out, steps)}

    return TrainingSetup(model, batches, evaluate, shards.tokenizer, shards.end)


def _build_texts(recipe: Recipe, device: str | torch.device) -> TrainingSetup:
    texts = documents.read(recipe.texts, recipe.field, recipe.separator)
    characters = sum(map(len, texts))
    learned_from = "\n".join(itertools.islice(texts, _enough(texts)))
    if recipe.tokens == "characters":
        learned_from = "".join(sorted(set().union(*texts)))
    tokenizer = _tokenizer(recipe, learned_from)
    ids = [np.array(tokenizer.encode(text), dtype=np.int32) for text in texts]
    train_ids, held_out = _split_documents(ids, tokenizer.end, recipe.seed)
    model = _model(recipe, tokenizer, device)
    T = model.config.context
    batches = Batches(train_ids, recipe.batch_size, T, seed=recipe.seed)
    validation = Batches(held_out, 64, T, order="ordered")
    steps = max(1, min(len(validation), EVALUATED // (64 * T)))
    what = "characters" if recipe.tokens == "characters" else "byte pairs"
    about = (
        f"{recipe.corpus}: {characters:,} characters in {len(texts):,} documents, read as {what} (V = "
        f"{tokenizer.vocab_size:,}); a tenth of them, drawn by --seed {recipe.seed}, is for validation"
    )
    evaluate = functools.partial(_validation_loss, batches=validation, steps=steps)
    return TrainingSetup(model, batches, evaluate, tokenizer, tokenizer.end, about)


def _split_documents(documents: list[np.ndarray], end: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Nine tenths of the documents to train on, in an order drawn by the seed, and the others; `end` around each.

    A document is cut only where a single one has more than nine tenths of all tokens.
    """
    order = torch.randperm(len(documents), generator=torch.Generator().manual_seed(seed)).tolist()
    sign = np.array([end], dtype=np.int32)
    ids = np.concatenate([*(part for i in order for part in (sign, documents[i])), sign])
    cut = len(split(ids)[0])
    begins = itertools.accumulate(len(documents[i]) + 1 for i in order)
    cut = max((start for start in begins if start <= cut), default=cut)
    return ids[: cut + 1], ids[cut:]


def _validation_loss(model: GPT, batches: Batches, steps: int) -> dict[str, float]:
    return {"validation": mean_loss(model, batches, steps)}


def _enough(texts: list[str]) -> int:
    """How many of the first documents have the characters that byte pairs are learned from."""
    lengths = itertools.accumulate(map(len, texts))
    return next((count for count, length in enumerate(lengths, start=1) if length >= LEARNED_FROM), len(texts))


def _tokenizer(recipe: Recipe, text: str, special_tokens: tuple[str, ...] = (END_OF_TEXT,)) -> Tokenizer:
    if recipe.tokens == "characters":
        return CharTokenizer.from_text(text, special_tokens)
    with warnings.catch_warnings():  # a run prints how many tokens there are
        warnings.filterwarnings("ignore", message="no pair is left")
        return BPETokenizer.train(text, recipe.vocab_size, special_tokens=special_tokens)


def _model(recipe: Recipe, tokenizer: Tokenizer, device: str | torch.device) -> GPT:
    config = model_config(recipe, tokenizer.vocab_size)
    check_fits(config, numbers_per_weight=4)
    return GPT(config).to(device)
