"""Which device, and which precision? First the questions that decide whether training is right, then those of speed.

A device that says it is there may still fail its first kernel (a card newer than the installed torch, a broken driver)
or, on MPS, answer wrongly. So a device is used only after one small batch on it has given what the CPU gives.

>>> device = pick_device("cpu")
>>> device, pick_dtype(device)
(device(type='cpu'), torch.float32)
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from gptlab import corpora
from gptlab.batches import Batches, StoryBatches, split
from gptlab.bpe import BPETokenizer
from gptlab.corpora import fables
from gptlab.model import GPT, GPTConfig
from gptlab.tokens import CharTokenizer, Tokenizer
from gptlab.training import StoryEvaluation, TrainConfig, mean_loss

END = "<|endoftext|>"  # stands between two texts


def one_batch(device: str, torch_module: Any = torch) -> list[torch.Tensor]:
    """A tiny attention, forward and backward, on `device`; its loss and gradient come back on the CPU.

    The numbers are drawn without a random generator, so every device is given the same ones.

    >>> loss, gradient = one_batch("cpu")
    >>> gradient.shape
    torch.Size([8, 4])
    """
    x = torch_module.linspace(-1.0, 1.0, 3 * 5 * 8).reshape(3, 5, 8)  # [B, T, C]
    w = torch_module.linspace(1.0, -0.5, 8 * 4).reshape(8, 4)  # [C, hs]
    x = torch_module.as_tensor(x, device=device)
    w = torch_module.as_tensor(w, device=device).requires_grad_()
    q = x @ w  # [B, T, hs]
    weights = (q @ q.transpose(-2, -1)).softmax(dim=-1)  # [B, T, T]
    loss = (weights @ x).square().mean()
    loss.backward()
    return [loss.detach().cpu(), w.grad.cpu()]


def what_is_wrong(device: str, torch_module: Any = torch) -> str:
    """Why this device cannot be trusted, in a few words; "" if one batch on it agrees with the CPU.

    >>> what_is_wrong("cpu")
    ''
    """
    try:
        found = one_batch(device, torch_module)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        return f"its first kernel failed: {str(error).strip().splitlines()[0] if str(error).strip() else error!r}"
    for name, here, there in zip(("loss", "gradient"), found, one_batch("cpu"), strict=True):
        worst = (here - there).abs().max().item()
        if not worst <= 1e-3:  # written so that NaN counts as wrong
            return f"its answer is wrong: the {name} of one batch differs from the CPU's by {worst:.2g}"
    return ""


def pick_device(prefer: str | torch.device | None = None, torch_module: Any = torch) -> torch.device:
    """The device to train on: CUDA if its first batch is right, else the CPU. MPS only when you ask for it.

    `prefer` is None, "cpu", "cuda", "cuda:1", "mps". What you ask for and cannot have gives the CPU, and one printed
    line that says why. MPS is not chosen by itself because some of its kernels have been silently wrong in some
    releases (see the issues labelled "module: mps" and "correctness (silent)" in PyTorch's tracker).

    >>> pick_device("cpu")
    device(type='cpu')

    Raises:
        ValueError: `prefer` names a kind of device that the course does not use.
    """
    wanted = None if prefer is None else str(prefer)
    kind = "cuda" if wanted is None else wanted.split(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise ValueError(
            f"no device {wanted!r} here: pass 'cpu', 'cuda', 'cuda:1' or 'mps', or nothing to let gptlab pick"
        )
    if kind == "cpu":
        return torch_module.device("cpu")
    there = torch_module.cuda.is_available() if kind == "cuda" else torch_module.backends.mps.is_available()
    problem = what_is_wrong(wanted or kind, torch_module) if there else "torch finds none"
    if not problem:
        return torch_module.device(wanted or kind)
    if there or wanted is not None:
        print(f"Using the CPU, not {wanted or kind}: {problem}. `python -m gptlab doctor` says what helps.")
    return torch_module.device("cpu")


def pick_dtype(device: str | torch.device, torch_module: Any = torch) -> torch.dtype:
    """The precision to train in: bfloat16 on CUDA cards of compute capability 8 or more, float16 on older ones.

    The capability decides, not `torch.cuda.is_bf16_supported()`, which counts emulation and so says True on a T4 (7.5).
    float16 has few exponents: it needs `torch.amp.GradScaler` (Micikevicius et al. 2018, section 3.2); bfloat16 has
    float32's and needs none. On the CPU, and on MPS, float32.

    >>> pick_dtype("cpu")
    torch.float32
    """
    device = torch_module.device(device)
    if device.type != "cuda":
        return torch_module.float32
    major, _minor = torch_module.cuda.get_device_capability(device)
    return torch_module.bfloat16 if major >= 8 else torch_module.float16


# ── One training program: a recipe names a corpus, a model and a way to train; `prepare` makes them real ─────────────


@dataclass(frozen=True)
class Recipe:
    """Everything one run needs, by name; `python -m gptlab train` fills it from the command line.

    Attributes:
        corpus: "fables", "shakespeare", "pydocs", or the path of a text file.
        tokens: "characters", or "bpe" (byte pairs, learned on the corpus).  vocab_size: of "bpe".
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
}  # fmt: skip


class Prepared(NamedTuple):
    """What `prepare` makes of a recipe, ready for `training.train`."""

    model: GPT
    batches: Any
    evaluate: Callable[[GPT], dict[str, float]]
    tokenizer: Tokenizer
    end: int | None  # the token between two texts, where there is one


def prepare(recipe: Recipe, device: str | torch.device = "cpu") -> Prepared:
    """Load the corpus, learn its tokens, build the model and its batches.

    Fables are told afresh, each seen once, and evaluated against their exact surprise on stories never told before.
    Any other text is cut once, 90 % to train on and 10 % to validate on.

    Raises:
        ValueError: for an unknown corpus, or a text shorter than the context.
    """
    torch.manual_seed(recipe.seed)
    if recipe.corpus == "fables":
        return _prepare_fables(recipe, device)
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
    end = tokenizer.special_tokens[END]
    stories = fables.tell(recipe.training.steps * recipe.B, seed=1000 + recipe.seed)
    documents = [[*tokenizer.encode(story.text), end] for story in stories]
    evaluation = StoryEvaluation(fables.tell(256, seed=1), tokenizer, end)
    model = _model(recipe, tokenizer.vocab_size).to(device)
    return Prepared(model, StoryBatches(documents, recipe.B, start=end, shuffle=False), evaluation, tokenizer, end)


def _tokenizer(recipe: Recipe, text: str) -> Tokenizer:
    if recipe.tokens == "characters":
        return CharTokenizer.from_text(text)
    if recipe.tokens == "bpe":
        return BPETokenizer.train(text, recipe.vocab_size, special_tokens=(END,))
    raise ValueError(f"unknown tokens {recipe.tokens!r}: choose 'characters' or 'bpe'")


def _model(recipe: Recipe, vocab_size: int) -> GPT:
    make = GPTConfig.modern if recipe.modern else GPTConfig
    return GPT(make(**{"vocab_size": vocab_size, "context": 64} | recipe.model))
