"""One training program: a recipe names a corpus, a model and a way to train; `prepare` makes them real.

>>> RECIPES["fables"].training.steps
1000
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from gptlab import corpora
from gptlab.batches import Batches, StoryBatches, split
from gptlab.bpe import BPETokenizer
from gptlab.corpora import fables
from gptlab.corpora.shards import Shards, are_shards
from gptlab.evaluation import StoryEvaluation, mean_loss
from gptlab.model import GPT, GPTConfig
from gptlab.tokens import END_OF_TEXT as END
from gptlab.tokens import CharTokenizer, Tokenizer
from gptlab.training import TrainConfig


@dataclass(frozen=True)
class Recipe:
    """Everything one run needs, by name; `python -m gptlab train` fills it from the command line.

    Attributes:
        corpus: "fables", "shakespeare", "pydocs", the path of a text file, or a folder that `gptlab prepare` has made.
        tokens: "characters", or "bpe" (byte pairs, learned on the corpus); shards have their own.
        vocab_size: of "bpe".
        B: sequences in a batch.  seed: of the weights and of the order of the batches.
        model: changes to the model's configuration, as `GPTConfig` names them.
        training: how to train.
    """

    corpus: str = "fables"
    tokens: str = "bpe"
    vocab_size: int = 859
    B: int = 16
    seed: int = 0
    modern: bool = True
    model: dict[str, Any] = field(default_factory=dict)
    training: TrainConfig = field(default_factory=TrainConfig)


FABLES = Recipe(
    model=dict(context=160, n_layer=2, n_head=8, n_embd=128, convolution=4),
    training=TrainConfig(
        steps=1000, optimizer="muon", learning_rate=8e-3, matrix_rate=0.04, warmup=30, evaluate_every=50
    ),
)
_SHAKESPEARE = dict(corpus="shakespeare", tokens="characters")
RECIPES: dict[str, Recipe] = {
    "fables": FABLES,
    # The CPU settings of nanoGPT's README, and its GPU settings (Karpathy 2022), with GPT-2's parts.
    "nanogpt-cpu": Recipe(
        **_SHAKESPEARE,
        B=12,
        modern=False,
        model=dict(context=64, n_layer=4, n_head=4, n_embd=128, bias=False),
        training=TrainConfig(
            steps=2000, learning_rate=1e-3, warmup=100, decay=1.0, shape="cosine", final=0.1, betas=(0.9, 0.99),
            weight_decay=0.1, evaluate_every=250,
        ),
    ),
    "nanogpt-gpu": Recipe(
        **_SHAKESPEARE,
        B=64,
        modern=False,
        model=dict(context=256, n_layer=6, n_head=6, n_embd=384, bias=False, dropout=0.2),
        training=TrainConfig(
            steps=5000, learning_rate=1e-3, warmup=100, decay=1.0, shape="cosine", final=0.1, betas=(0.9, 0.99),
            weight_decay=0.1, evaluate_every=250,
        ),
    ),
    "shakespeare": Recipe(
        **_SHAKESPEARE,
        B=24,
        model=dict(context=64, n_layer=3, n_head=4, n_embd=144, mlp_size=288, convolution=4),
        training=TrainConfig(
            steps=930, optimizer="muon", learning_rate=8e-3, matrix_rate=0.03, warmup=20, evaluate_every=93
        ),
    ),
    # As large as nanogpt-gpu and as long a context, with the newer parts and a fifth of its steps. It needs dropout:
    # without it the validation loss stops at 1.54 while the training loss goes on falling (data/recorded).
    "shakespeare-gpu": Recipe(
        **_SHAKESPEARE,
        B=64,
        model=dict(context=256, n_layer=6, n_head=6, n_embd=384, convolution=4, dropout=0.2),
        training=TrainConfig(
            steps=1000, optimizer="muon", learning_rate=6e-3, matrix_rate=0.03, warmup=20, weight_decay=0.1,
            evaluate_every=50,
        ),
    ),
}  # fmt: skip


class Prepared(NamedTuple):
    """What `prepare` makes of a recipe, ready for `training.train`."""

    model: GPT
    batches: Any
    evaluate: Callable[[GPT], dict[str, float]]
    tokenizer: Tokenizer
    end: int | None  # the token between two texts, where there is one


def prepare(recipe: Recipe, device: str | torch.device = "cpu", verify: bool = True) -> Prepared:
    """Load the corpus, learn its tokens, build the model and its batches.

    Fables are told afresh, each seen once, and evaluated against their exact surprise on stories never told before.
    Shards stay on the disk, have tokens of their own, and are evaluated on their validation part. Any other text is cut
    once, 90 % to train on and 10 % to validate on.

    Args:
        verify: read all shards once, and compare their SHA-256.

    Raises:
        ValueError: for an unknown corpus, or a text shorter than the context.
        ShardError: a folder of shards is not finished, or one of them is broken.
    """
    torch.manual_seed(recipe.seed)
    if recipe.corpus == "fables":
        return _prepare_fables(recipe, device)
    if are_shards(recipe.corpus):
        return _prepare_shards(recipe, device, verify)
    corpus = corpora.load(recipe.corpus, quiet=True)
    tokenizer = _tokenizer(recipe, corpus.text)
    train_ids, held_out = (torch.tensor(part) for part in split(tokenizer.encode(corpus.text)))
    model = _model(recipe, tokenizer.vocab_size).to(device)
    T = model.config.context
    batches = Batches(train_ids, recipe.B, T, seed=recipe.seed)
    validation = Batches(held_out, 64, T, order="ordered")
    return Prepared(model, batches, lambda model: {"validation": mean_loss(model, validation)}, tokenizer, None)


def _prepare_fables(recipe: Recipe, device: str | torch.device) -> Prepared:
    tokenizer = _tokenizer(recipe, fables.book())
    end = tokenizer.end
    stories = fables.tell(recipe.training.steps * recipe.B, seed=1000 + recipe.seed)
    documents = [[*tokenizer.encode(story.text), end] for story in stories]
    evaluation = StoryEvaluation(fables.tell(256, seed=1), tokenizer, end)
    model = _model(recipe, tokenizer.vocab_size).to(device)
    return Prepared(model, StoryBatches(documents, recipe.B, start=end, shuffle=False), evaluation, tokenizer, end)


def _prepare_shards(recipe: Recipe, device: str | torch.device, verify: bool) -> Prepared:
    shards = Shards(recipe.corpus, verify)
    model = _model(recipe, shards.tokenizer.vocab_size).to(device)
    T = model.config.context
    batches = shards.batches("train", recipe.B, T, seed=recipe.seed)
    part = "validation" if len(shards.validation) else "train"
    held_out = shards.batches(part, 16, T, order="ordered")
    steps = min(len(held_out), 50)  # about a million tokens at T = 1024: more would say the same
    name = "validation" if part == "validation" else "training"
    return Prepared(
        model, batches, lambda model: {name: mean_loss(model, held_out, steps)}, shards.tokenizer, shards.end
    )


def _tokenizer(recipe: Recipe, text: str) -> Tokenizer:
    if recipe.tokens == "characters":
        return CharTokenizer.from_text(text)
    if recipe.tokens == "bpe":
        return BPETokenizer.train(text, recipe.vocab_size, special_tokens=(END,))
    raise ValueError(f"unknown tokens {recipe.tokens!r}: choose 'characters' or 'bpe'")


def _model(recipe: Recipe, vocab_size: int) -> GPT:
    make = GPTConfig.modern if recipe.modern else GPTConfig
    return GPT(make(**{"vocab_size": vocab_size, "context": 64} | recipe.model))
