"""Recipes: a corpus, a model and a way to train, under a name. `gptlab.runs.build` makes them real.

>>> RECIPES["fables"].training.optimizer
'muon'
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from gptlab.config import GPTConfig
from gptlab.entrances import Count, Seed, check_fields
from gptlab.policy import PolicyConfig
from gptlab.schedule import TrainConfig

Reward = Literal["happy_end", "coherent", "happy_and_coherent", "cheerful_words", "granted"]  # of `gptlab.rewards`
SIZES = ("context", "n_layer", "n_head", "n_embd", "dropout")  # what a model keeps when its parts are exchanged


@dataclass(frozen=True)
class Recipe:
    """Everything that one run needs, by name.

    Attributes:
        corpus: "fables", "shakespeare", "pydocs", a text file, or a folder that `gptlab prepare` has made.
        tokens: "characters", or "bpe" (byte pairs, learned on the corpus); shards have their own.
        vocab_size: how many tokens "bpe" learns.
        batch_size: sequences in a batch, of all processes together.
        seed: of the weights and of the order of the batches.
        parts: the parts of the model: those of GPT-2, those of Llama, or "modern", which learns fastest at this size.
        model: fields of `GPTConfig` that differ from what `parts` says.
        training: how to train.
        texts: files and folders of your own to train on, in place of the corpus; `runs.documents` reads them.
        field: where JSON lines and Parquet have the text.
        separator: what stands between two documents of your text, such as "---" or "\\n\\n\\n"; unless given, blank
            lines in a single text, and of several texts each is a document.
        base: a trained model to start from, a folder or the name of one of the course's; its sizes and tokens stay.
        reward: what the base is trained with by reinforcement, in place of a text: a happy end, coherence, both, many
            cheerful words (a careless one), or requests granted (by a base that was fine-tuned on them).
        policy: how completions are sampled and compared, where there is a reward.

    Raises:
        ValueError: for unknown tokens or parts, a batch of no sequences, or a reward without a base.
    """

    corpus: str = "fables"
    tokens: Literal["characters", "bpe"] = "bpe"
    vocab_size: Count = 859
    batch_size: Count = 16
    seed: Seed = 0
    parts: Literal["gpt2", "llama", "modern"] = "modern"
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    training: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    texts: tuple[str, ...] = ()
    field: str = "text"
    separator: str | None = None
    base: str | None = None
    reward: Reward | None = None
    policy: PolicyConfig | None = None

    def __post_init__(self):
        for name, known in (("tokens", ("characters", "bpe")), ("parts", ("gpt2", "llama", "modern"))):
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}: choose one of {', '.join(known)}")
        check_fields(self)
        if self.reward is not None and self.base is None:
            raise ValueError(
                f"--reward {self.reward} needs a trained model to start from, such as `--base fables`: a new one "
                "writes nothing that could be rewarded"
            )
        if self.reward is None and self.policy is not None:
            raise ValueError("settings of a policy (such as --kl) are for a run with a reward: choose a --reward")

    def with_parts(self, parts: str) -> "Recipe":
        """The same recipe with other parts: sizes stay, and what was set for the old parts goes.

        >>> RECIPES["fables"].with_parts("gpt2").model
        {'context': 160, 'n_layer': 2, 'n_head': 8, 'n_embd': 128}
        """
        sizes = {name: value for name, value in self.model.items() if name in SIZES}
        return dataclasses.replace(self, parts=parts, model=sizes)


def model_config(recipe: Recipe, vocab_size: int) -> GPTConfig:
    """The configuration of a recipe's model.

    Args:
        recipe: whose.
        vocab_size: of its tokenizer.

    >>> config = model_config(Recipe(parts="llama", model=dict(n_head=4, n_embd=48)), vocab_size=100)
    >>> config.norm, config.position, config.mlp, config.n_kv_head, config.mlp_size
    ('rmsnorm', 'rope', 'swiglu', 2, 128)

    Raises:
        ValueError: for sizes that don't fit together, or an unknown part.
    """
    settings = {"vocab_size": vocab_size, "context": 64} | recipe.model
    if recipe.parts == "modern":
        return GPTConfig.modern(**settings)
    if recipe.parts == "gpt2":
        return GPTConfig(**settings)
    plain = GPTConfig(**settings)
    llama = dict(
        norm="rmsnorm",
        position="rope",
        mlp="swiglu",
        mlp_size=8 * plain.n_embd // 3,  # three matrices instead of two: as many parameters as with 4 C
        n_kv_head=plain.n_head // 2 if plain.n_head % 2 == 0 else plain.n_head,
        bias=False,
    )
    return GPTConfig(**(llama | settings))


PREPARED = "runs/shards"  # where `gptlab prepare` puts its shards, unless it is told otherwise

ABOUT = {  # what each recipe is for
    "fables": "short stories whose best possible loss is known (the default)",
    "shakespeare": "Tiny Shakespeare on a laptop, at nanogpt-cpu's size",
    "shakespeare-gpu": "Tiny Shakespeare on a GPU, at nanogpt-gpu's size",
    "nanogpt-cpu": "nanoGPT's settings for a laptop, to compare with",
    "nanogpt-gpu": "nanoGPT's settings for a GPU, to compare with",
    "fables-gpu": "short stories on a GPU: six times the model, six times the stories",
    "gpt2-124M": "GPT-2's smallest size, on any corpus that `gptlab prepare` has made",
    "finetune": "from the model of fables to an assistant that does what you ask",
    "reinforce": "from the model of fables to one whose stories end well, by a reward",
}
_SHAKESPEARE = dict(corpus="shakespeare", tokens="characters")
_NANOGPT = dict(
    learning_rate=1e-3, warmup=100, decay_fraction=1.0, schedule="cosine", min_lr_ratio=0.1, betas=(0.9, 0.99),
    weight_decay=0.1, evaluate_every=250,
)  # fmt: skip
RECIPES: dict[str, Recipe] = {
    "fables": Recipe(
        model=dict(context=160, n_layer=2, n_head=8, n_embd=128, convolution=4),
        training=TrainConfig(
            steps=1000, optimizer="muon", learning_rate=8e-3, muon_lr=0.04, warmup=30, evaluate_every=50
        ),
    ),
    # The CPU settings of nanoGPT's README, and its GPU settings (Karpathy 2022), with GPT-2's parts.
    "nanogpt-cpu": Recipe(
        **_SHAKESPEARE,
        batch_size=12,
        parts="gpt2",
        model=dict(context=64, n_layer=4, n_head=4, n_embd=128, bias=False),
        training=TrainConfig(steps=2000, **_NANOGPT),
    ),
    "nanogpt-gpu": Recipe(
        **_SHAKESPEARE,
        batch_size=64,
        parts="gpt2",
        model=dict(context=256, n_layer=6, n_head=6, n_embd=384, bias=False, dropout=0.2),
        training=TrainConfig(steps=5000, **_NANOGPT),
    ),
    "shakespeare": Recipe(
        **_SHAKESPEARE,
        batch_size=24,
        model=dict(context=64, n_layer=3, n_head=4, n_embd=144, mlp_size=288, convolution=4),
        training=TrainConfig(
            steps=930, optimizer="muon", learning_rate=8e-3, muon_lr=0.03, warmup=20, evaluate_every=93
        ),
    ),
    # As large as nanogpt-gpu and as long a context, with the newer parts and a fifth of its steps. It needs dropout:
    # without it the validation loss stops at 1.54 while the training loss goes on falling (data/recorded). On an H200,
    # with dropout 0.2 and 1,000 steps, it was best after 800 (1.4596, then 1.4626) with a training loss of 1.17: so it
    # has a little more dropout, and the learning rate falls from the beginning and is 0 where that run was best.
    "shakespeare-gpu": Recipe(
        **_SHAKESPEARE,
        batch_size=64,
        model=dict(context=256, n_layer=6, n_head=6, n_embd=384, convolution=4, dropout=0.25),
        training=TrainConfig(
            steps=800, optimizer="muon", learning_rate=6e-3, muon_lr=0.03, warmup=20, decay_fraction=1.0,
            weight_decay=0.1, evaluate_every=50,
        ),
    ),
    "fables-gpu": Recipe(
        batch_size=64,
        model=dict(context=160, n_layer=4, n_head=8, n_embd=256, convolution=4),
        training=TrainConfig(
            steps=1500, optimizer="muon", learning_rate=6e-3, muon_lr=0.03, warmup=50, evaluate_every=150
        ),
    ),
    # nanoGPT's settings for GPT-2 (Karpathy 2022): half a million tokens in a batch, 32 sequences at a time, and 20
    # tokens for each parameter (Hoffmann et al. 2022), about an hour and a half on an H100.
    "gpt2-124M": Recipe(
        corpus=PREPARED,
        batch_size=512,
        parts="gpt2",
        model=dict(context=1024, n_layer=12, n_head=12, n_embd=768, mlp="gelu_tanh", bias=False),
        training=TrainConfig(
            steps=4800, learning_rate=6e-4, warmup=700, decay_fraction=1.0, schedule="cosine", min_lr_ratio=0.1,
            betas=(0.9, 0.95), weight_decay=0.1, gradient_accumulation=16, evaluate_every=250,
        ),
    ),
    # A quarter of each batch are fables as in the pre-training, so that the model does not forget them.
    "finetune": Recipe(
        corpus="requests",
        base="fables",
        batch_size=8,
        training=TrainConfig(
            steps=1500, optimizer="muon", learning_rate=1e-2, muon_lr=0.05, warmup=20, evaluate_every=500
        ),
    ),
    "reinforce": Recipe(
        base="fables",
        reward="happy_and_coherent",
        batch_size=64,
        policy=PolicyConfig(updates=2),
        training=TrainConfig(
            steps=44, learning_rate=2e-3, warmup=3, decay_fraction=0.5, evaluate_every=22, save_every=10
        ),
    ),
}  # fmt: skip
