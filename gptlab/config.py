"""What decides the shape of a model: `GPTConfig`, and the names of the parts that it chooses among.

Standard library only. `gptlab.parts` builds what a configuration names, `gptlab.model` puts it together.
"""

import json
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Annotated, Any

from gptlab.entrances import Count, NotNegative, Range, check_fields, guard

# The parts to choose among. GPT-2 has the first of each; the others come with notebook `llama`.
NORMS = ("layernorm", "rmsnorm")
POSITIONS = ("learned", "sinusoidal", "none", "rope")
MLPS = ("gelu", "gelu_tanh", "relu2", "swiglu")
INITS = ("gpt2", "zero")

# The deepest published models have some hundred layers and read some ten million tokens; what is far beyond is a slip.
Layers = Annotated[int, Range(least=1, most=10_000)]
Context = Annotated[int, Range(least=1, most=1 << 26)]


@dataclass(frozen=True)
class RopeScaling:
    """How Llama 3.1 stretches rotary positions over a longer context than it was first trained with.

    Attributes:
        factor: frequencies too low to complete a turn within `context` tokens are divided by it.
        low: a frequency with fewer turns than this within `context` is divided by `factor`.
        high: a frequency with more turns than this within `context` is left unchanged.
        context: the context length of the original training, in tokens.

    Raises:
        ValueError: for a factor or context below 1, or unless 0 < low < high.

    >>> RopeScaling(factor=8).context
    8192
    """

    factor: float | int
    low: float | int = 1.0
    high: float | int = 4.0
    context: int = 8192

    def __post_init__(self):
        check_fields(self)
        if self.factor < 1 or not 0 < self.low < self.high or self.context < 1:
            raise ValueError(f"{self}: factor and context must be at least 1, and 0 < low < high")

    @classmethod
    def from_entries(cls, entries: Any, where: str = "") -> "RopeScaling":
        """The stretching that a file describes.

        Args:
            entries: by the names above.
            where: words before "rope_scaling" in an error.

        Raises:
            ValueError: they are not such entries, or one is unknown, missing, or not a number.
        """
        _check_entries(cls, entries, f"{where}rope_scaling")
        return cls(**entries)


@dataclass(frozen=True)
class GPTConfig:
    """Everything that decides the shape of a model. The defaults are GPT-2's parts at a size for a laptop.

    Attributes:
        vocab_size: V, the number of distinct tokens.
        context: T, the longest sequence, in tokens.
        n_layer: L, the number of blocks.
        n_head: H, the number of query heads.
        n_embd: C, the number of channels of the residual stream; divisible by H.
        n_kv_head: heads of keys and values, shared by groups of query heads; H unless given.
        mlp_size: width of the MLP's hidden layer; 4 C unless given.
        norm: "layernorm" (GPT-2) or "rmsnorm" (Llama).
        position: "learned" (GPT-2), "sinusoidal", "none" or "rope" (Llama).
        mlp: "gelu", "gelu_tanh" (GPT-2), "relu2" or "swiglu" (Llama).
        bias: whether the matrices and LayerNorm have biases.
        dropout: the fraction of activations that training sets to zero, in [0, 1).
        tie_weights: whether the head uses the token embedding's table.
        qk_norm: whether queries and keys are normalised.
        convolution: width in tokens of a short convolution before attention; 0 for none.
        init: "gpt2" (normal, 0.02), or "zero": each block starts as the identity, with zero output projections.
        norm_eps: added under the root of each norm, against division by zero.
        rope_theta: base of the rotary frequencies; a larger one makes them rotate more slowly.
        rope_scaling: Llama 3.1's stretching of the rotary positions; None for none.
        mlp_bias: whether the MLP's matrices have biases; like `bias` unless given.

    Raises:
        ValueError: for sizes that do not fit together, and for an unknown part, naming those there are.

    >>> GPTConfig(vocab_size=100, context=32, n_embd=30, n_head=4)
    Traceback (most recent call last):
        ...
    ValueError: C=30 channels cannot be split evenly among H=4 heads: choose n_embd a multiple of n_head
    """

    vocab_size: Count
    context: Context = 256
    n_layer: Layers = 4
    n_head: Count = 4
    n_embd: Count = 128
    n_kv_head: Count | None = None
    mlp_size: Count | None = None
    norm: str = "layernorm"
    position: str = "learned"
    mlp: str = "gelu"
    bias: bool = True
    dropout: float = 0.0
    tie_weights: bool = True
    qk_norm: bool = False
    convolution: Annotated[int, Range(least=0, most=1000)] = 0
    init: str = "gpt2"
    norm_eps: NotNegative = 1e-5
    rope_theta: float | int = 10_000.0
    rope_scaling: RopeScaling | None = None
    mlp_bias: bool | None = None

    def __post_init__(self):
        check_fields(self)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must lie in [0, 1): it is the fraction that training drops")
        if not self.rope_theta > 0:
            raise ValueError(f"rope_theta={self.rope_theta} must be above 0: 10000 is usual")
        if self.n_embd % self.n_head:
            raise ValueError(
                f"C={self.n_embd} channels cannot be split evenly among H={self.n_head} heads: "
                "choose n_embd a multiple of n_head"
            )
        if self.n_head % (self.n_kv_head or self.n_head):
            raise ValueError(f"H={self.n_head} heads cannot share n_kv_head={self.n_kv_head} evenly: choose a divisor")
        for name, known in (("norm", NORMS), ("position", POSITIONS), ("mlp", MLPS), ("init", INITS)):
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}: choose one of {list(known)}")

    @classmethod
    def gpt2(cls, size: str = "124M") -> "GPTConfig":
        """One of the four published GPT-2 models (Radford et al. 2019).

        Args:
            size: "124M", "355M", "774M" or "1558M".

        Raises:
            ValueError: for a size that was not published, with those that were.

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
        """The recipe that learns fastest at this size; notebook `llama` takes it apart.

        Rotary positions, squared ReLU, normalised queries and keys, a three-token convolution, and blocks that start
        as the identity.

        Args:
            vocab_size: V, the number of distinct tokens.
            context: T, the longest sequence, in tokens.
            changes: fields of `GPTConfig` that replace those of the recipe.

        >>> GPTConfig.modern(vocab_size=50, context=16, convolution=4).convolution
        4
        """
        recipe = dict(position="rope", mlp="relu2", bias=False, qk_norm=True, convolution=3, init="zero")
        return cls(vocab_size=vocab_size, context=context, **(recipe | changes))

    def to_json(self) -> str:
        """All fields as JSON; `from_json` reads it."""
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
            entries["rope_scaling"] = RopeScaling.from_entries(entries["rope_scaling"], "the configuration's ")
        return cls(**entries)


def _check_entries(kind: type, entries: Any, where: str) -> None:
    if not isinstance(entries, dict):
        raise ValueError(f"{where} has no entries with names, such as factor or n_layer")
    if unknown := set(entries) - {field.name for field in fields(kind)}:
        raise ValueError(f"{where} has entries this version does not know: {sorted(unknown)}")
    if missing := [field.name for field in fields(kind) if field.default is MISSING and field.name not in entries]:
        raise ValueError(f"{where} does not say what {', '.join(missing)} should be")


guard(globals())
