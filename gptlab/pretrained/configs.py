"""What a configuration means here and there: `GPTConfig`, and the entries of config.json for GPT-2, Llama and the rest.

A model with parts that neither family has is written with the course's own `model_type`, "gptlab": the fields of
`GPTConfig`, and in `auto_map` the file beside the weights from which `transformers` builds the model.
"""

import warnings
from dataclasses import asdict, fields
from typing import Any

from gptlab import formats
from gptlab.config import GPTConfig, RopeScaling
from gptlab.entrances import Count, Fraction, NotNegative, Positive, guard

_GPT2_MLP = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu2": "relu2"}
_SILU = ("silu", "swish")
# Options that change what is computed, each with the only value that `GPT` computes.
_ONLY: dict[str, dict[str, Any]] = {
    "gpt2": {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False},
    "llama": {"sliding_window": None, "use_sliding_window": False, "partial_rotary_factor": 1.0},
}
OWN = "gptlab"  # the model_type of what is neither
MODELING = f"modeling_{OWN}.py"  # the file with its class
# `transformers` converts entries of these names into others of its own, so ours are written under other ones.
_RENAMED = {"rope_theta": "rope_base", "rope_scaling": "rope_stretch"}
_EVERYWHERE: dict[str, Any] = {"quantization_config": None, "is_encoder_decoder": False, "pruned_heads": {}}


def read_config(entries: dict[str, Any]) -> GPTConfig:
    """The configuration of the same model here, from the entries of a `config.json` of a GPT-2, a Llama, or an export.

    Args:
        entries: what the file holds.

    Raises:
        ValueError: for another family, or an option that `GPT` does not have, naming it.

    >>> shape = dict(vocab_size=50, n_positions=16, n_embd=12, n_layer=2, n_head=3)
    >>> read_config(dict(model_type="gpt2", **shape)).mlp
    'gelu_tanh'
    """
    family = entries.get("model_type")
    if not isinstance(family, str) or family not in _READERS:
        raise ValueError(
            f"model_type {family!r} is not supported: this course builds 'gpt2' and 'llama', and reads its own '{OWN}'"
        )
    for name, only in (_ONLY.get(family, {}) | _EVERYWHERE).items():
        value = entries.get(name, only)
        if value != only and value not in (None, [], {}):
            raise ValueError(f"{name}={value!r} is not supported: only {name}={only!r} is")
    missing = [name for name in _NEEDED[family] if entries.get(name) is None]
    if missing:
        raise ValueError(f"the configuration does not say what {', '.join(missing)} should be")
    for name, kind in _KINDS.items():
        if entries.get(name) is not None and (problem := formats.problem(entries[name], kind, name)):
            raise ValueError(f"the configuration has {problem}")
    return _READERS[family](entries)


_NEEDED = {
    "gpt2": ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head"),
    "llama": (
        "vocab_size", "max_position_embeddings", "hidden_size", "intermediate_size", "num_hidden_layers",
        "num_attention_heads",
    ),
    OWN: ("vocab_size", "context", "n_layer", "n_head", "n_embd"),
}  # fmt: skip


# What an entry must be where it stands; None means that it is left out.
_KINDS: dict[str, Any] = {
    **dict.fromkeys(
        (
            "vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner", "max_position_embeddings", "context",
            "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
            "head_dim", "original_max_position_embeddings", "n_kv_head", "mlp_size",
        ),
        Count,
    ),
    **dict.fromkeys(("layer_norm_epsilon", "rms_norm_eps", "norm_eps", "rope_theta", "rope_base"), NotNegative),
    **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop", "attention_dropout", "dropout"), Fraction),
    **dict.fromkeys(("tie_word_embeddings", "attention_bias", "mlp_bias", "bias", "tie_weights", "qk_norm"), bool),
    **dict.fromkeys(("activation_function", "hidden_act", "norm", "position", "mlp"), str),
    **dict.fromkeys(("rope_scaling", "rope_parameters", "rope_stretch"), dict[str, float | int | str | bool | None]),
}  # fmt: skip


def _read_gpt2(entries: dict[str, Any]) -> GPTConfig:
    activation = entries.get("activation_function", "gelu_new")
    if activation not in _GPT2_MLP:
        raise ValueError(f"activation_function={activation!r} is not supported: {', '.join(_GPT2_MLP)} are")
    return GPTConfig(
        vocab_size=entries["vocab_size"],
        context=entries["n_positions"],
        n_layer=entries["n_layer"],
        n_head=entries["n_head"],
        n_embd=entries["n_embd"],
        mlp_size=entries.get("n_inner"),
        mlp=_GPT2_MLP[activation],
        norm_eps=float(entries.get("layer_norm_epsilon", 1e-5)),
        dropout=_dropout({name: entries.get(name, 0.1) for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")}),
        tie_weights=entries.get("tie_word_embeddings", True),
    )


def _read_llama(entries: dict[str, Any]) -> GPTConfig:
    if (activation := entries.get("hidden_act", "silu")) not in _SILU:
        raise ValueError(f"hidden_act={activation!r} is not supported: SwiGLU's 'silu' is")
    C, H, context = entries["hidden_size"], entries["num_attention_heads"], entries["max_position_embeddings"]
    if (hs := entries.get("head_dim") or C / H) != C / H:  # both are whole numbers above 0 by now
        raise ValueError(f"head_dim={hs} is not supported: here the {H} heads share C={C} channels, {C / H:g} each")
    # transformers 5 writes all of it into rope_parameters; before, there were rope_theta and rope_scaling.
    # Where both stand, rope_scaling counts there.
    rope = entries.get("rope_scaling") or entries.get("rope_parameters") or {}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind not in ("default", "llama3"):
        raise ValueError(f"rope type {kind!r} is not supported: 'default' and 'llama3' are")
    if rope.get("partial_rotary_factor") not in (None, 1, 1.0):
        raise ValueError(f"partial_rotary_factor={rope['partial_rotary_factor']} is not supported: all channels rotate")
    scaling = None
    if kind == "llama3":
        if missing := [name for name in ("factor", "low_freq_factor", "high_freq_factor") if rope.get(name) is None]:
            raise ValueError(f"rope type 'llama3' does not say what {', '.join(missing)} should be")
        there = "original_max_position_embeddings"
        before = entries.get(there) or rope.get(there) or context
        for name in ("factor", "low_freq_factor", "high_freq_factor"):
            if problem := formats.problem(rope[name], Positive, f"rope_scaling.{name}"):
                raise ValueError(f"the configuration has {problem}")
        scaling = RopeScaling(rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"], before)
    return GPTConfig(
        vocab_size=entries["vocab_size"],
        context=context,
        n_layer=entries["num_hidden_layers"],
        n_head=H,
        n_embd=C,
        n_kv_head=entries.get("num_key_value_heads"),
        mlp_size=entries["intermediate_size"],
        norm="rmsnorm",
        position="rope",
        mlp="swiglu",
        bias=entries.get("attention_bias", False),
        mlp_bias=entries.get("mlp_bias", False),
        dropout=_dropout({"attention_dropout": entries.get("attention_dropout") or 0.0}, residual=0.0),
        norm_eps=float(entries.get("rms_norm_eps", 1e-6)),
        rope_theta=rope.get("rope_theta") or entries.get("rope_theta") or 10_000.0,
        rope_scaling=scaling,
        tie_weights=entries.get("tie_word_embeddings", False),
    )


def _read_own(entries: dict[str, Any]) -> GPTConfig:
    """What `_write_own` wrote; `transformers` may have added entries, and left out none."""
    known = {field.name: _RENAMED.get(field.name, field.name) for field in fields(GPTConfig) if field.name != "init"}
    own = {name: entries[there] for name, there in known.items() if there in entries}
    try:
        if (stretch := own.get("rope_scaling")) is not None:
            own["rope_scaling"] = RopeScaling.from_entries(stretch, "the configuration's ")
        return GPTConfig(**own)
    except TypeError as error:  # an entry of another kind: text where a number belongs
        raise ValueError(f"an entry of the configuration is not what it should be ({error})") from error


_READERS = {"gpt2": _read_gpt2, "llama": _read_llama, OWN: _read_own}


def _write_own(config: GPTConfig) -> dict[str, Any]:
    return {
        "model_type": OWN,
        "architectures": ["GPTLabForCausalLM"],
        "auto_map": {
            "AutoConfig": f"modeling_{OWN}.GPTLabConfig",
            "AutoModelForCausalLM": f"modeling_{OWN}.GPTLabForCausalLM",
        },
        **{_RENAMED.get(name, name): value for name, value in asdict(config).items() if name != "init"},
    }


def _dropout(rates: dict[str, float | int], residual: float | None = None) -> float:
    """The one dropout rate of `GPT`. It matters in training only, so several different ones are only a warning."""
    different = {*rates.values()} | (set() if residual is None else {residual})
    if len(different) == 1:
        return float(different.pop())
    warnings.warn(f"dropout is 0 here, not {rates}: a GPT has one rate for all its parts", stacklevel=2)
    return 0.0


def write_config(config: GPTConfig) -> dict[str, Any]:
    """The `config.json` of the GPT-2 or Llama that computes the same as a `GPT` of this configuration, or of our own.

    Positions that are not learned become a table of GPT-2's (sinusoids as they are, none as zeros), and matrices and
    norms without bias get zeros there. Llama has no dropout. Other parts need the file that `auto_map` names.

    Args:
        config: of any model of the course; how it was initialised is not written.

    >>> write_config(GPTConfig(vocab_size=50))["model_type"]
    'gpt2'
    >>> write_config(GPTConfig.modern(vocab_size=50, context=16))["auto_map"]["AutoConfig"]
    'modeling_gptlab.GPTLabConfig'
    """
    family = family_of(config)
    if family == OWN:
        return _write_own(config)
    shared = {"vocab_size": config.vocab_size, "tie_word_embeddings": config.tie_weights, "use_cache": True}
    if family == "gpt2":
        return shared | {
            "model_type": "gpt2",
            "architectures": ["GPT2LMHeadModel"],
            "n_positions": config.context,
            "n_embd": config.n_embd,
            "n_layer": config.n_layer,
            "n_head": config.n_head,
            "n_inner": config.mlp_size,
            "activation_function": next(theirs for theirs, ours in _GPT2_MLP.items() if ours == config.mlp),
            "layer_norm_epsilon": config.norm_eps,
            **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), config.dropout),
        }
    scaling = config.rope_scaling and {
        "rope_type": "llama3",
        "factor": float(config.rope_scaling.factor),
        "low_freq_factor": float(config.rope_scaling.low),
        "high_freq_factor": float(config.rope_scaling.high),
        "original_max_position_embeddings": config.rope_scaling.context,
    }
    return shared | {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "max_position_embeddings": config.context,
        "hidden_size": config.n_embd,
        "intermediate_size": config.mlp_size or 4 * config.n_embd,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_kv_head or config.n_head,
        "head_dim": config.n_embd // config.n_head,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_theta": float(config.rope_theta),
        "rope_scaling": scaling,
        "attention_bias": config.bias,
        "mlp_bias": config.bias if config.mlp_bias is None else config.mlp_bias,
    }


# What each family has, by the names of `GPTConfig`.
_PARTS: dict[str, dict[str, tuple]] = {
    "gpt2": {
        "norm": ("layernorm",),
        "position": ("learned", "sinusoidal", "none"),
        "mlp": ("gelu_tanh", "gelu", "relu2"),
        "qk_norm": (False,),
        "convolution": (0,),
    },
    "llama": {
        "norm": ("rmsnorm",),
        "position": ("rope",),
        "mlp": ("swiglu",),
        "qk_norm": (False,),
        "convolution": (0,),
    },
}


def family_of(config: GPTConfig) -> str:
    """The family that has all parts of a model: "gpt2", "llama", or else "gptlab", this course's own.

    >>> family_of(GPTConfig(vocab_size=50)), family_of(GPTConfig.modern(vocab_size=50, context=16))
    ('gpt2', 'gptlab')
    """
    for family, parts in _PARTS.items():
        shares_heads = config.n_kv_head not in (None, config.n_head)
        if all(getattr(config, name) in has for name, has in parts.items()) and not (family == "gpt2" and shares_heads):
            return family
    return OWN


guard(globals())
