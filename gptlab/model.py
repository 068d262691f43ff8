"""The whole model: embedding, blocks on a residual stream, and a head that gives logits (lesson 08).

`GPTConfig` names the parts (`norm`, `position`, `mlp`, `n_kv_head`); `PARTS` resolves the names. GPT-2's parts stand
here; lesson 11 (`gptlab.llama`) adds its own, so that "from GPT-2 to Llama" is four words in a configuration.
"""

import importlib
import json
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, fields

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gptlab.attention import MultiHeadAttention
from gptlab.batches import IGNORE
from gptlab.embedding import TokenAndPositionEmbedding
from gptlab.masking import causal

PARTS: dict[str, dict[str, Callable]] = {"norm": {}, "position": {}, "mlp": {}, "convolution": {}}


def part(kind: str, name: str) -> Callable:
    """The maker of a part by its name, e.g. `part("norm", "layernorm")`.

    Raises:
        ValueError: for a name that no lesson has registered, with the names there are.
    """
    if name not in PARTS[kind]:
        importlib.import_module("gptlab.llama")  # a later lesson that adds parts; asked for by name only
    if name not in PARTS[kind]:
        raise ValueError(f"unknown {kind} {name!r}: choose one of {sorted(PARTS[kind])}")
    return PARTS[kind][name]


@dataclass(frozen=True)
class RopeScaling:
    """How Llama 3.1 stretches rotary positions over a longer context than it was first trained with (lesson 11).

    Attributes:
        factor: waves too long to be seen whole in `context` tokens turn this many times slower.
        low, high: a wave that fits fewer than `low` times into `context` is slowed; more than `high`, left as it is.
        context: the context of the training before.
    """

    factor: float | int
    low: float | int = 1.0
    high: float | int = 4.0
    context: int = 8192

    def __post_init__(self):
        if self.factor < 1 or not 0 < self.low < self.high or self.context < 1:
            raise ValueError(f"{self}: factor and context must be at least 1, and 0 < low < high")


@dataclass(frozen=True)
class GPTConfig:
    """Everything that decides the shape of a model. The defaults are GPT-2's parts at a size for a laptop.

    Attributes:
        vocab_size: V, distinct tokens.  context: T, the longest sequence, in tokens.
        n_layer: L, blocks.  n_head: H, query heads.  n_embd: C, channels; divisible by H.
        n_kv_head: heads of keys and values; H unless given (grouped queries share them).
        mlp_size: width inside the MLP; 4 C unless given.
        norm, position, mlp: names of parts. GPT-2: "layernorm", "learned", "gelu". Llama: "rmsnorm", "rope", "swiglu".
        bias: of all matrices and of LayerNorm.  mlp_bias: of the MLP's matrices; like `bias` unless given.
        qk_norm: normalise queries and keys.  convolution: mix the last n tokens before attention; 0 for none.
        init: "gpt2" (normal, 0.02), or "zero": each block starts as the identity (its output projections are zero).
        rope_theta, rope_scaling: how slowly rotary positions turn.

    >>> GPTConfig(vocab_size=100, context=32, n_embd=30, n_head=4)
    Traceback (most recent call last):
        ...
    ValueError: C=30 channels cannot be shared evenly by H=4 heads: choose n_embd a multiple of n_head
    """

    vocab_size: int
    context: int = 256
    n_layer: int = 4
    n_head: int = 4
    n_embd: int = 128
    n_kv_head: int | None = None
    mlp_size: int | None = None
    norm: str = "layernorm"
    position: str = "learned"
    mlp: str = "gelu"
    bias: bool = True
    dropout: float = 0.0
    tie_weights: bool = True
    qk_norm: bool = False
    convolution: int = 0
    init: str = "gpt2"
    norm_eps: float = 1e-5
    rope_theta: float | int = 10_000.0
    rope_scaling: RopeScaling | None = None
    mlp_bias: bool | None = None

    def __post_init__(self):
        for name in ("vocab_size", "context", "n_layer", "n_head", "n_embd", "n_kv_head", "mlp_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if self.convolution < 0:
            raise ValueError(f"convolution={self.convolution} must be at least 0, which is none")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must lie in [0, 1): it is the share that training leaves out")
        if not self.rope_theta > 0:
            raise ValueError(f"rope_theta={self.rope_theta} must be above 0: 10000 is usual")
        if self.n_embd % self.n_head:
            raise ValueError(
                f"C={self.n_embd} channels cannot be shared evenly by H={self.n_head} heads: "
                "choose n_embd a multiple of n_head"
            )
        if self.n_head % (self.n_kv_head or self.n_head):
            raise ValueError(f"H={self.n_head} heads cannot share n_kv_head={self.n_kv_head} evenly: choose a divisor")
        if self.init not in ("gpt2", "zero"):
            raise ValueError(f"unknown init {self.init!r}: choose 'gpt2' or 'zero'")
        for kind in ("norm", "position", "mlp"):
            part(kind, getattr(self, kind))

    @classmethod
    def gpt2(cls, size: str = "124M") -> "GPTConfig":
        """The four published GPT-2 models (Radford et al. 2019): "124M", "355M", "774M", "1558M".

        >>> GPTConfig.gpt2("124M").n_layer
        12
        """
        sizes = {"124M": (12, 12, 768), "355M": (24, 16, 1024), "774M": (36, 20, 1280), "1558M": (48, 25, 1600)}
        if size not in sizes:
            raise ValueError(f"unknown GPT-2 size {size!r}: choose one of {list(sizes)}")
        n_layer, n_head, n_embd = sizes[size]
        return cls(
            vocab_size=50257, context=1024, n_layer=n_layer, n_head=n_head, n_embd=n_embd, mlp="gelu_tanh", dropout=0.1
        )

    @classmethod
    def modern(cls, vocab_size: int, context: int, **changes) -> "GPTConfig":
        """The recipe that learns fastest at this size: rotary positions, squared ReLU, normed queries and keys,
        a three-token convolution, blocks that start as the identity. Lesson 11 takes it apart."""
        recipe = dict(position="rope", mlp="relu2", bias=False, qk_norm=True, convolution=3, init="zero")
        return cls(vocab_size=vocab_size, context=context, **(recipe | changes))

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "GPTConfig":
        """The configuration that `to_json` wrote.

        Raises:
            ValueError: for an entry that this version does not know, or one that is missing, naming it.
        """
        entries = json.loads(text)
        _check_entries(cls, entries, "the configuration")
        if entries.get("rope_scaling") is not None:
            _check_entries(RopeScaling, entries["rope_scaling"], "the configuration's rope_scaling")
            entries["rope_scaling"] = RopeScaling(**entries["rope_scaling"])
        return cls(**entries)


def _check_entries(kind: type, entries: dict, where: str) -> None:
    if unknown := set(entries) - {field.name for field in fields(kind)}:
        raise ValueError(f"{where} has entries this version does not know: {sorted(unknown)}")
    if missing := [field.name for field in fields(kind) if field.default is MISSING and field.name not in entries]:
        raise ValueError(f"{where} does not say what {', '.join(missing)} should be")


class MLP(nn.Module):
    """What each position does on its own: widen, bend, narrow."""

    def __init__(self, config: GPTConfig, bend: Callable[[Tensor], Tensor]):
        super().__init__()
        width = config.mlp_size or 4 * config.n_embd
        bias = config.bias if config.mlp_bias is None else config.mlp_bias
        self.bend = bend
        self.widen = nn.Linear(config.n_embd, width, bias=bias)
        self.output = nn.Linear(width, config.n_embd, bias=bias)

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        return self.output(self.bend(self.widen(x)))  # [B, T, C] -> [B, T, 4C] -> [B, T, C]


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


PARTS["norm"]["layernorm"] = lambda size, config: nn.LayerNorm(size, eps=config.norm_eps, bias=config.bias)
PARTS["mlp"]["gelu"] = lambda config: MLP(config, F.gelu)
PARTS["mlp"]["gelu_tanh"] = lambda config: MLP(config, _gelu_tanh)
for _name in ("learned", "sinusoidal", "none"):  # added to the tokens once; nothing is left to do inside attention
    PARTS["position"][_name] = lambda config: None


class Block(nn.Module):
    """One layer: every position listens to the others, then thinks for itself; both are *added* to the stream.

    The norm stands before each part (pre-norm, as in GPT-2 and Llama), so that the stream itself is never rescaled.
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        norm = part("norm", config.norm)
        self.norm1 = norm(config.n_embd, config)
        self.convolution = part("convolution", "short")(config) if config.convolution else None
        self.attention = MultiHeadAttention(
            config.n_embd,
            config.n_head,
            n_kv_head=config.n_kv_head,
            bias=config.bias,
            dropout=config.dropout,
            norm=(lambda size: norm(size, config)) if config.qk_norm else None,
        )
        self.norm2 = norm(config.n_embd, config)
        self.mlp = part("mlp", config.mlp)(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Float[Tensor, "B T C"], keep_mask: Bool[Tensor, "*#B #T Tk"] | None = None, **attention
    ) -> Float[Tensor, "B T C"]:
        h = self.norm1(x)
        if self.convolution is not None:
            h = self.convolution(h, cache=attention.get("cache"))
        x = x + self.dropout(self.attention(h, keep_mask, **attention))
        return x + self.dropout(self.mlp(self.norm2(x)))


class GPT(nn.Module):
    """A decoder-only transformer: ids [B, T] in, logits [B, T, V] out; position t predicts the token at t + 1.

    >>> model = GPT(GPTConfig(vocab_size=50, context=8, n_layer=2, n_head=2, n_embd=12))
    >>> logits, loss = model(torch.tensor([[1, 2, 3]]), targets=torch.tensor([[2, 3, 4]]))
    >>> logits.shape
    torch.Size([1, 3, 50])
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        added = config.position if config.position in ("learned", "sinusoidal") else "none"
        self.embedding = TokenAndPositionEmbedding(config.vocab_size, config.context, config.n_embd, added)
        self.position = part("position", config.position)(config)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = part("norm", config.norm)(config.n_embd, config)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if config.tie_weights:
            self.head.weight = self.embedding.token.weight
        self._initialise()

    def _initialise(self) -> None:
        """GPT-2: normal with deviation 0.02, and less for what is added to the stream by each of 2L parts."""
        if self.device.type == "meta":
            return  # shapes only: how large is it? There are no numbers to draw
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2 or "convolution" in name:
                continue  # norms come as ones; a convolution has its own beginning
            if not name.endswith("output.weight"):
                nn.init.normal_(parameter, std=0.02)
            elif self.config.init == "zero":
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=0.02 / (2 * self.config.n_layer) ** 0.5)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        targets: Int[Tensor, "B T"] | None = None,
        *,
        keep_mask: Bool[Tensor, "*#B #T Tk"] | None = None,
        cache=None,
    ) -> tuple[Float[Tensor, "B T V"], Float[Tensor, ""] | None]:
        """Logits for what follows each position, and the mean loss in nats a token where `targets` are given.

        Targets of `IGNORE` cost nothing. `keep_mask` replaces the causal mask. `cache` (lesson 10) holds the past.
        A mask binds attention only: a convolution still mixes neighbours across documents and padding.

        Raises:
            ValueError: for a sequence longer than the context, or an id outside the vocabulary.
        """
        T, past = ids.shape[1], 0 if cache is None else cache.length
        if past + T > self.config.context:
            raise ValueError(
                f"T={past + T} tokens do not fit the context of {self.config.context}: "
                f"pass the last {self.config.context}, or build GPTConfig(context={past + T})"
            )
        is_causal = keep_mask is None and past == 0
        if keep_mask is None and past and T > 1:
            keep_mask = causal(T, past + T, device=ids.device)
        rotate = None if self.position is None else self.position(past, T)
        x = self.dropout(self.embedding(ids, start=past))  # [B, T, C]
        for layer, block in enumerate(self.blocks):
            layer_cache = None if cache is None else cache.layers[layer]
            x = block(x, keep_mask, is_causal=is_causal, rotate=rotate, cache=layer_cache)
        logits = self.head(self.norm(x))  # [B, T, V]
        if cache is not None:
            cache.length = past + T
        if targets is None:
            return logits, None
        exact = logits.flatten(0, 1).to(torch.promote_types(logits.dtype, torch.float32))  # [B * T, V]
        return logits, F.cross_entropy(exact, targets.flatten(), ignore_index=IGNORE)

    def count_parameters(self) -> int:
        """How many numbers the model learns; tied weights are counted once.

        >>> GPT(GPTConfig(vocab_size=50, context=8, n_layer=1, n_head=2, n_embd=12)).count_parameters()
        2604
        """
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def device(self) -> torch.device:
        return self.head.weight.device


def device_of(model: nn.Module) -> torch.device:
    """Where a model's weights are, of any model; the CPU for one that has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
