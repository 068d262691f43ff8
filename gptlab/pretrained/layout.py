"""Which tensor is which: the names in files of GPT-2, Llama and exports, and the parameters of `GPT`."""

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import nn

HEAD = "lm_head.weight"


class Stored(NamedTuple):
    """One tensor of theirs.

    Attributes:
        theirs: its name, without the family's prefix.
        ours: the parameters it holds, one under the other.
        transposed: whether it is stored [in, out], where ours are [out, in].
    """

    theirs: str
    ours: tuple[str, ...]
    transposed: bool


class Names(NamedTuple):
    """What a family calls the rest.

    Attributes:
        prefix: before all names but the head's; files may leave it out.
        table: the token embedding.
        block: what the blocks' names begin with.
        norm: the last norm.
        buffers: what old files hold besides the weights.
    """

    prefix: str
    table: str
    block: str
    norm: str
    buffers: re.Pattern[str]


NAMES = {
    "gpt2": Names("transformer.", "wte", "h", "ln_f", re.compile(r"h\.\d+\.attn\.(masked_)?bias")),
    "llama": Names(
        "model.", "embed_tokens", "layers", "norm", re.compile(r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq")
    ),
    "gptlab": Names("", "embedding.token", "blocks", "norm", re.compile(r"embedding\.waves\.weight")),
}

_BLOCK: dict[str, list[tuple[str, tuple[str, ...], bool]]] = {
    "gpt2": [  # its matrices are "Conv1D"s: stored [in, out], where nn.Linear has [out, in]
        ("ln_1", ("norm1",), False),
        ("attn.c_attn", ("attention.query", "attention.key", "attention.value"), True),
        ("attn.c_proj", ("attention.output",), True),
        ("ln_2", ("norm2",), False),
        ("mlp.c_fc", ("mlp.up",), True),
        ("mlp.c_proj", ("mlp.down",), True),
    ],
    "llama": [
        ("input_layernorm", ("norm1",), False),
        ("self_attn.q_proj", ("attention.query",), False),
        ("self_attn.k_proj", ("attention.key",), False),
        ("self_attn.v_proj", ("attention.value",), False),
        ("self_attn.o_proj", ("attention.output",), False),
        ("post_attention_layernorm", ("norm2",), False),
        ("mlp.gate_proj", ("mlp.gate",), False),
        ("mlp.up_proj", ("mlp.up",), False),
        ("mlp.down_proj", ("mlp.down",), False),
    ],
}


def parameters(model: "nn.Module") -> dict[str, Any]:
    """A model's parameters by name, without the prefix that `torch.compile` adds."""
    return {name.replace("_orig_mod.", ""): parameter for name, parameter in model.named_parameters()}


def layout(model: "nn.Module", family: str) -> list[Stored]:
    """All tensors of a model's file, in order.

    Args:
        model: a `GPT`.
        family: "gpt2", "llama", or "gptlab", where each tensor is one parameter under its own name.
    """
    own, names = parameters(model), NAMES[family]
    if family == "gptlab":
        return [Stored(name, (name,), False) for name in own]
    modules = [
        (f"{names.block}.{i}.{theirs}", tuple(f"blocks.{i}.{name}" for name in ours), transposed)
        for i in range(model.config.n_layer)
        for theirs, ours, transposed in _BLOCK[family]
    ]
    tensors = [Stored(f"{names.table}.weight", ("embedding.token.weight",), False)]
    if family == "gpt2":
        tensors.append(Stored("wpe.weight", ("embedding.position.weight",), False))
    for theirs, ours, transposed in [*modules, (names.norm, ("norm",), False)]:
        tensors.append(Stored(f"{theirs}.weight", tuple(f"{name}.weight" for name in ours), transposed))
        if family == "gpt2" or f"{ours[0]}.bias" in own:
            tensors.append(Stored(f"{theirs}.bias", tuple(f"{name}.bias" for name in ours), False))
    if not model.config.tie_weights:
        tensors.append(Stored(HEAD, ("head.weight",), False))
    return tensors


def shape(stored: Stored, own: dict[str, Any]) -> tuple[int, ...]:
    """The shape of one of their tensors, from our parameters that are in it."""
    rows = sum(own[name].shape[0] for name in stored.ours)
    found = (rows, *own[stored.ours[0]].shape[1:])
    return found[::-1] if stored.transposed else found


def bare(name: str, family: str) -> str:
    """A name in a file without what the family, `torch.compile` or DistributedDataParallel put in front.

    >>> bare("module._orig_mod.transformer.wte.weight", "gpt2")
    'wte.weight'
    """
    return name.replace("_orig_mod.", "").removeprefix("module.").removeprefix(NAMES[family].prefix)


def is_buffer(name: str) -> bool:
    """Whether it is a buffer of old files: it holds no weights, and its type does not count."""
    return any(names.buffers.search(name) for names in NAMES.values())


def some(names: Any, most: int = 5) -> str:
    """The first few names, and how many more there are.

    >>> some("abcdefg")
    'a, b, c, d, e and 2 more'
    """
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
