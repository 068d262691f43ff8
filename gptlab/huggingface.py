"""The door to the ecosystem: models and tokenizers in and out, in the files that Hugging Face's libraries read.

* `load_model(folder)` makes a `GPT` of a GPT-2 or a Llama;
* `save_model(model, folder, tokenizer)` writes a folder that `AutoModelForCausalLM` and `AutoTokenizer` open: the same
  ids, the same logits, the same text;
* `tokenizer_json(tokenizer)` is a tokenizer of the course as one `tokenizer.json`.

From top to bottom: what a configuration means here and there, which tensor is which, loading, saving, tokenizers.
Tensors lie in safetensors files, everything else in JSON; nothing is ever unpickled, and `transformers` is not needed.
(Torch is imported where weights move: to write a tokenizer none is needed.)
"""

import json
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gptlab import bpe
from gptlab.tokens import Tokenizer

if TYPE_CHECKING:
    import torch

    import gptlab.model

CONFIG, WEIGHTS, INDEX, PICKLE = "config.json", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
FILES = (CONFIG, WEIGHTS, "generation_config.json", "tokenizer.json", "tokenizer_config.json")  # what we write
END = "<|endoftext|>"  # the special token that ends a text

# ---- One model, two configurations -----------------------------------------------------------------------------------

_GPT2_MLP = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu2": "relu2"}
_SILU = ("silu", "swish")
# Options that change what is computed, each with the only value that `GPT` computes.
_ONLY: dict[str, dict[str, Any]] = {
    "gpt2": {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False},
    "llama": {"sliding_window": None, "use_sliding_window": False, "partial_rotary_factor": 1.0},
}
_EVERYWHERE: dict[str, Any] = {"quantization_config": None, "is_encoder_decoder": False, "pruned_heads": {}}


def read_config(entries: dict[str, Any]) -> "gptlab.model.GPTConfig":
    """The configuration of the same model here, from what stands in a `config.json` of a GPT-2 or a Llama.

    Raises:
        ValueError: for another family, or an option that `GPT` does not have, naming it.

    >>> shape = dict(vocab_size=50, n_positions=16, n_embd=12, n_layer=2, n_head=3)
    >>> read_config(dict(model_type="gpt2", **shape)).mlp
    'gelu_tanh'
    """
    family = entries.get("model_type")
    if family not in _ONLY:
        raise ValueError(f"model_type {family!r} is not supported: this course builds 'gpt2' and 'llama'")
    for name, only in (_ONLY[family] | _EVERYWHERE).items():
        value = entries.get(name, only)
        if value != only and value not in (None, [], {}):
            raise ValueError(f"{name}={value!r} is not supported: only {name}={only!r} is")
    missing = [name for name in _NEEDED[family] if entries.get(name) is None]
    if missing:
        raise ValueError(f"the configuration does not say what {', '.join(missing)} should be")
    return _read_gpt2(entries) if family == "gpt2" else _read_llama(entries)


_NEEDED = {
    "gpt2": ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head"),
    "llama": (
        "vocab_size", "max_position_embeddings", "hidden_size", "intermediate_size", "num_hidden_layers",
        "num_attention_heads",
    ),
}  # fmt: skip


def _read_gpt2(entries: dict[str, Any]) -> "gptlab.model.GPTConfig":
    from gptlab.model import GPTConfig

    bend = entries.get("activation_function", "gelu_new")
    if bend not in _GPT2_MLP:
        raise ValueError(f"activation_function={bend!r} is not supported: {', '.join(_GPT2_MLP)} are")
    return GPTConfig(
        vocab_size=entries["vocab_size"],
        context=entries["n_positions"],
        n_layer=entries["n_layer"],
        n_head=entries["n_head"],
        n_embd=entries["n_embd"],
        mlp_size=entries.get("n_inner"),
        mlp=_GPT2_MLP[bend],
        norm_eps=float(entries.get("layer_norm_epsilon", 1e-5)),
        dropout=_dropout({name: entries.get(name, 0.1) for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")}),
        tie_weights=entries.get("tie_word_embeddings", True),
    )


def _read_llama(entries: dict[str, Any]) -> "gptlab.model.GPTConfig":
    from gptlab.model import GPTConfig, RopeScaling

    if (bend := entries.get("hidden_act", "silu")) not in _SILU:
        raise ValueError(f"hidden_act={bend!r} is not supported: SwiGLU's 'silu' is")
    C, H, context = entries["hidden_size"], entries["num_attention_heads"], entries["max_position_embeddings"]
    if (hs := entries.get("head_dim") or C / H) != C / H:
        raise ValueError(f"head_dim={hs} is not supported: here the {H} heads share C={C} channels, {C / H:g} each")
    # transformers 5 writes all of it into rope_parameters; before, there were rope_theta and rope_scaling.
    rope = entries.get("rope_parameters") or entries.get("rope_scaling") or {}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind not in ("default", "llama3"):
        raise ValueError(f"rope type {kind!r} is not supported: 'default' and 'llama3' are")
    if rope.get("partial_rotary_factor") not in (None, 1, 1.0):
        raise ValueError(f"partial_rotary_factor={rope['partial_rotary_factor']} is not supported: all channels turn")
    scaling = None
    if kind == "llama3":
        before = rope.get("original_max_position_embeddings") or context
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
        dropout=_dropout({"attention_dropout": entries.get("attention_dropout") or 0.0}, stream=0.0),
        norm_eps=float(entries.get("rms_norm_eps", 1e-6)),
        rope_theta=rope.get("rope_theta") or entries.get("rope_theta") or 10_000.0,
        rope_scaling=scaling,
        tie_weights=entries.get("tie_word_embeddings", False),
    )


def _dropout(rates: dict[str, float | int], stream: float | None = None) -> float:
    """The one dropout of `GPT`. It plays a part in training only, so several different ones are a warning."""
    different = {*rates.values()} | (set() if stream is None else {stream})
    if len(different) == 1:
        return float(different.pop())
    warnings.warn(f"dropout is 0 here, not {rates}: a GPT has one rate for all its parts", stacklevel=2)
    return 0.0


def write_config(config: "gptlab.model.GPTConfig") -> dict[str, Any]:
    """What stands in the `config.json` of the GPT-2 or Llama that computes the same as a `GPT` of this configuration.

    Positions that are not learned become a table of GPT-2's (sinusoids as they are, none as zeros), and matrices and
    norms without bias get zeros there. Llama has no dropout.

    Raises:
        ValueError: where neither family has the parts, naming them and what can be exported.

    >>> from gptlab.model import GPTConfig
    >>> write_config(GPTConfig(vocab_size=50))["model_type"]
    'gpt2'
    """
    family = _family(config)
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


def _family(config: "gptlab.model.GPTConfig") -> str:
    """The family that has all of a model's parts. Raises: ValueError if none has, with what stands in the way."""
    in_the_way = {
        family: [f"{name}={getattr(config, name)!r}" for name, has in parts.items() if getattr(config, name) not in has]
        for family, parts in _PARTS.items()
    }
    if config.n_kv_head not in (None, config.n_head):
        in_the_way["gpt2"].append(f"n_kv_head={config.n_kv_head}")
    for family, parts in in_the_way.items():
        if not parts:
            return family
    raise ValueError(
        f"neither family of Hugging Face that we write has the parts of this model: GPT-2 has no "
        f"{', '.join(in_the_way['gpt2'])}; Llama has no {', '.join(in_the_way['llama'])}. What can be exported: "
        "norm='layernorm', position='learned' (or 'sinusoidal', 'none'), mlp='gelu' (or 'gelu_tanh', 'relu2') as a "
        "GPT-2, and norm='rmsnorm', position='rope', mlp='swiglu' as a Llama, each without qk_norm and convolution. "
        "Train a model with such parts: GPTConfig(...) without further words is a GPT-2"
    )


# ---- Which tensor is which -------------------------------------------------------------------------------------------


class _Stored(NamedTuple):
    """A tensor of theirs: parameters of ours, one under the other, and maybe the whole of it turned on its side."""

    theirs: str
    ours: tuple[str, ...]
    transposed: bool


_BLOCK: dict[str, list[tuple[str, tuple[str, ...], bool]]] = {
    "gpt2": [  # its matrices are "Conv1D"s: stored [in, out], where nn.Linear has [out, in]
        ("ln_1", ("norm1",), False),
        ("attn.c_attn", ("attention.query", "attention.key", "attention.value"), True),
        ("attn.c_proj", ("attention.output",), True),
        ("ln_2", ("norm2",), False),
        ("mlp.c_fc", ("mlp.widen",), True),
        ("mlp.c_proj", ("mlp.output",), True),
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
        ("mlp.down_proj", ("mlp.output",), False),
    ],
}
# Their names for the rest: a prefix, the table of tokens, a block, the last norm; and what old files hold needlessly.
_NAMES = {
    "gpt2": ("transformer.", "wte", "h", "ln_f", re.compile(r"h\.\d+\.attn\.(masked_)?bias")),
    "llama": ("model.", "embed_tokens", "layers", "norm", re.compile(r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq")),
}
_HEAD = "lm_head.weight"


def _layout(model: "gptlab.model.GPT", family: str) -> list[_Stored]:
    """All tensors of a model's file, in order, without their prefix."""
    own = dict(model.named_parameters())
    _, table, block, norm, _ = _NAMES[family]
    modules = [
        (f"{block}.{i}.{theirs}", tuple(f"blocks.{i}.{name}" for name in ours), transposed)
        for i in range(model.config.n_layer)
        for theirs, ours, transposed in _BLOCK[family]
    ]
    layout = [_Stored(f"{table}.weight", ("embedding.token.weight",), False)]
    if family == "gpt2":
        layout.append(_Stored("wpe.weight", ("embedding.position.weight",), False))
    for theirs, ours, transposed in [*modules, (norm, ("norm",), False)]:
        layout.append(_Stored(f"{theirs}.weight", tuple(f"{name}.weight" for name in ours), transposed))
        if family == "gpt2" or f"{ours[0]}.bias" in own:
            layout.append(_Stored(f"{theirs}.bias", tuple(f"{name}.bias" for name in ours), False))
    if not model.config.tie_weights:
        layout.append(_Stored(_HEAD, ("head.weight",), False))
    return layout


# ---- In --------------------------------------------------------------------------------------------------------------


class _Source(NamedTuple):
    """A model that is to be loaded: shapes and types are known before the first tensor is read."""

    where: str
    config: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    dtypes: set["torch.dtype"]
    tensors: Callable[[], Iterator[tuple[str, "torch.Tensor"]]]


def load_model(
    source: Any, device: "str | torch.device" = "cpu", dtype: "torch.dtype | None" = None
) -> "gptlab.model.GPT":
    """A `GPT` with the weights of a GPT-2 or a Llama, in evaluation mode.

    One tensor is read at a time: besides the new model, memory holds the largest tensor and little more.

    Args:
        source: a folder with `config.json` and `model.safetensors` (or its shards and their index), or a
            `GPT2LMHeadModel` or `LlamaForCausalLM` of `transformers`.
        device: where the model shall be.
        dtype: the type of its numbers; that of the stored ones unless given.

    Raises:
        FileNotFoundError: for a folder that is not there, or has no safetensors file.
        ValueError: for an option that is not supported, or tensors that are missing, unknown, or of another shape;
            all of them by name.
    """
    import torch

    found = _from_folder(Path(source)) if isinstance(source, str | Path) else _from_module(source)
    try:
        config = read_config(found.config)
    except ValueError as error:
        raise ValueError(f"{found.where}: {error}") from error
    family = found.config["model_type"]
    model = _unfilled(config, device, dtype or _one_type(found))
    layout = {stored.theirs: stored for stored in _layout(model, family)}
    own = dict(model.named_parameters())
    _check(found, family, {name: _shape(stored, own) for name, stored in layout.items()})
    head = None
    with torch.no_grad():
        for name, tensor in found.tensors():
            name = _bare(name, family)
            if name in layout:
                parts = [own[part] for part in layout[name].ours]
                tensor = tensor.T if layout[name].transposed else tensor
                for part, piece in zip(parts, tensor.split([len(part) for part in parts]), strict=True):
                    part.copy_(piece)
            elif name == _HEAD:
                head = tensor
    if head is not None and not torch.equal(head.to(model.head.weight), model.head.weight):
        raise ValueError(f"{found.where}: the weights are tied, but {_HEAD} is another table than the tokens'")
    return model.eval()


def _unfilled(
    config: "gptlab.model.GPTConfig", device: "str | torch.device", dtype: "torch.dtype"
) -> "gptlab.model.GPT":
    """A model whose weights are whatever was in memory: to draw them takes long, and the file overwrites them all."""
    import torch
    from torch.overrides import TorchFunctionMode

    from gptlab.model import GPT

    drawing = {torch.nn.init.normal_, torch.nn.init.uniform_, torch.nn.init.kaiming_uniform_}

    class Undrawn(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            return kwargs["tensor"] if function in drawing else function(*args, **kwargs)

    usual = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        with torch.device(device), Undrawn():
            return GPT(config)
    finally:
        torch.set_default_dtype(usual)


def _from_module(module: Any) -> _Source:
    config = getattr(module, "config", None)
    if not hasattr(config, "to_dict") or not hasattr(module, "state_dict"):
        raise ValueError(f"a {type(module).__name__} cannot be loaded: pass a folder, or a model of transformers")
    state = {name.replace("_orig_mod.", ""): tensor for name, tensor in module.state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    dtypes = {tensor.dtype for tensor in state.values()}
    return _Source(type(module).__name__, config.to_dict(), shapes, dtypes, lambda: iter(state.items()))


def _from_folder(folder: Path) -> _Source:
    import torch
    from safetensors import SafetensorError, safe_open

    types = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder {str(folder)!r}. Models are not downloaded here: "
            f"`hf download NAME --local-dir {folder}` (of the package huggingface_hub) gets one"
        )
    if not (folder / CONFIG).exists():
        raise FileNotFoundError(f"there is no {CONFIG} in {str(folder)!r}: is it the folder of a model?")
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if "model_type" not in config and "n_layer" in config:
        raise ValueError(f"{str(folder)!r} holds a model of this course: gptlab.checkpoints.load_model opens it")
    file_of, shapes, dtypes, odd = {}, {}, set(), []
    for file in _files(folder):
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 – it is no dict
                    header = tensors.get_slice(name)
                    file_of[name], shapes[name] = file, tuple(header.get_shape())
                    if header.get_dtype() in types:
                        dtypes.add(types[header.get_dtype()])
                    else:
                        odd.append((name, header.get_dtype()))
        except SafetensorError as error:
            raise ValueError(f"{str(file)!r} cannot be read ({error}): the file is truncated; get it again") from error
    odd = [f"{name} ({kind})" for name, kind in odd if not any(names[4].search(name) for names in _NAMES.values())]
    if odd:
        raise ValueError(f"{folder}: weights of a type that is not supported (quantised?): {_some(odd)}")

    def tensors() -> Iterator[tuple[str, torch.Tensor]]:
        for name, file in file_of.items():
            with safe_open(file, framework="pt") as opened:  # anew for each: an open file keeps what has been read
                yield name, opened.get_tensor(name)

    return _Source(str(folder), config, shapes, dtypes, tensors)


def _files(folder: Path) -> list[Path]:
    """The safetensors files of a folder. Raises: FileNotFoundError where one is missing, or there is a pickle only."""
    if (folder / INDEX).exists():
        names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        strange = [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]
        if strange:
            raise ValueError(f"{INDEX} of {str(folder)!r} names files that are no safetensors files in it: {strange}")
        missing = [name for name in names if not (folder / name).exists()]
        if missing:
            raise FileNotFoundError(f"shards named in {INDEX} are missing in {str(folder)!r}: {_some(missing)}")
        return [folder / name for name in names]
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    pickled = sorted(path.name for path in folder.glob("*.bin")) + sorted(path.name for path in folder.glob("*.pt*"))
    if pickled:
        raise FileNotFoundError(
            f"{str(folder)!r} has no {WEIGHTS}, only a pickle ({pickled[0]}). A pickle can run any code when it is "
            "opened, so it is not opened here. Where you trust its author, convert it once: "
            "transformers.AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)"
        )
    raise FileNotFoundError(f"there is no {WEIGHTS} and no {INDEX} in {str(folder)!r}")


def _one_type(found: _Source) -> "torch.dtype":
    if len(found.dtypes) != 1:
        raise ValueError(f"{found.where}: weights of several types {sorted(map(str, found.dtypes))}: pass dtype=...")
    return next(iter(found.dtypes))


def _bare(name: str, family: str) -> str:
    return name.removeprefix(_NAMES[family][0])


def _shape(stored: _Stored, own: "dict[str, torch.Tensor]") -> tuple[int, ...]:
    """The shape of one of their tensors, from our parameters that are in it."""
    rows = sum(own[name].shape[0] for name in stored.ours)
    shape = (rows, *own[stored.ours[0]].shape[1:])
    return shape[::-1] if stored.transposed else shape


def _check(found: _Source, family: str, expected: dict[str, tuple[int, ...]]) -> None:
    """Refuse what does not fit, before memory is filled with it."""
    needless = _NAMES[family][4]
    stored = {_bare(name, family): shape for name, shape in found.shapes.items()}
    allowed = expected if _HEAD in expected else {**expected, _HEAD: expected[f"{_NAMES[family][1]}.weight"]}
    unknown = [name for name in stored if name not in allowed and not needless.fullmatch(name)]
    wrong = [
        f"{name} is {stored[name]}, not {shape}" for name, shape in allowed.items() if stored.get(name, shape) != shape
    ]
    problems = {"missing": [name for name in expected if name not in stored], "unknown": unknown, "wrong shape": wrong}
    if any(problems.values()):
        said = "; ".join(f"{kind}: {_some(names)}" for kind, names in problems.items() if names)
        raise ValueError(f"the tensors of {found.where} do not fit its configuration: {said}")


def _some(names: Iterable[str], most: int = 5) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


# ---- Out -------------------------------------------------------------------------------------------------------------


def save_model(
    model: "torch.nn.Module", folder: str | Path, tokenizer: Tokenizer | None = None, overwrite: bool = False
) -> None:
    """Write a folder that `AutoModelForCausalLM` and `AutoTokenizer` of `transformers` open, whole or not at all.

    Args:
        model: a GPT whose parts are GPT-2's or Llama's (see `write_config`).
        folder: a new one, or an empty one.
        tokenizer: the model's; without it only the model can be opened.
        overwrite: replace an earlier export that is in the folder.

    Raises:
        ValueError: for a model or a tokenizer that the format cannot express, or two that do not fit each other.
        FileExistsError: if there is something in the folder already.
    """
    from safetensors.torch import save_file

    from gptlab import checkpoints

    model = getattr(model, "module", getattr(model, "_orig_mod", model))  # out of what DDP or the compiler put around
    folder = Path(folder).absolute()
    _check_target(folder, overwrite)
    config = write_config(model.config) | {"torch_dtype": str(model.head.weight.dtype).removeprefix("torch.")}
    texts = {} if tokenizer is None else {"tokenizer.json": tokenizer_json(tokenizer)}
    end = getattr(tokenizer, "special_tokens", {}).get(END)
    if tokenizer is not None and tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} ids, but the model only {model.config.vocab_size}: "
            "pass the tokenizer that the model was trained with"
        )
    marks = {"bos_token_id": end, "eos_token_id": end}
    texts[CONFIG] = _dump(config | marks)
    texts["generation_config.json"] = _dump({**marks, "pad_token_id": end})
    if tokenizer is not None:
        named = {} if end is None else {"bos_token": END, "eos_token": END}
        texts["tokenizer_config.json"] = _dump(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "model_max_length": model.config.context,
                "clean_up_tokenization_spaces": False,
                **named,
            }
        )
    with checkpoints._replacing(folder) as draft:
        for name, text in texts.items():
            (draft / name).write_text(text, encoding="utf-8")
        save_file(_tensors(model, config["model_type"]), draft / WEIGHTS, metadata={"format": "pt"})


def _check_target(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{str(folder)!r} is a file: pass the name of a folder")
    others = sorted(path.name for path in folder.iterdir() if path.name not in FILES)
    if others:
        raise FileExistsError(f"{str(folder)!r} holds other files ({_some(others)}): choose a new folder")
    if any(folder.iterdir()) and not overwrite:
        raise FileExistsError(f"{str(folder)!r} holds a model already: choose a new folder, or pass overwrite=True")


def _dump(entries: dict[str, Any]) -> str:
    return json.dumps(entries, indent=2) + "\n"


def _tensors(model: "gptlab.model.GPT", family: str) -> "dict[str, torch.Tensor]":
    """The model's weights under their names and in their order; zeros for what only they have."""
    import torch

    own = {name.replace("_orig_mod.", ""): p.detach() for name, p in model.named_parameters()}
    if family == "gpt2" and "embedding.position.weight" not in own:
        table = torch.zeros(model.config.context, model.config.n_embd).to(model.head.weight)
        own["embedding.position.weight"] = getattr(model.embedding, "waves", table)
    tensors = {}
    for stored in _layout(model, family):
        parts = []
        for name in stored.ours:
            if name not in own:  # a bias that we do not have: as long as its matrix is high
                weight = own[name.removesuffix("bias") + "weight"]
                own[name] = weight.new_zeros(len(weight))
            parts.append(own[name])
        tensor = torch.cat(parts) if len(parts) > 1 else parts[0]
        tensor = tensor.T if stored.transposed else tensor
        name = stored.theirs if stored.theirs == _HEAD else _NAMES[family][0] + stored.theirs
        tensors[name] = tensor.contiguous().cpu()
    return tensors


# ---- Tokenizers ------------------------------------------------------------------------------------------------------


def tokenizer_json(tokenizer: Tokenizer) -> str:
    """A tokenizer of the course as the text of a `tokenizer.json`; `tokenizers.Tokenizer.from_str` opens it.

    The same ids for every text, and the same text for the ids that a text has. (For bytes that are no UTF-8 the number
    of � may differ.) Special tokens are always read as such: its `encode` is ours with `allowed_special="all"`.

    Raises:
        ValueError: for a tokenizer that the format cannot express exactly, with the reason.

    >>> from gptlab.tokens import CharTokenizer
    >>> json.loads(tokenizer_json(CharTokenizer.from_text("abba")))["model"]["vocab"]
    {'a': 0, 'b': 1}
    """
    kind = getattr(tokenizer, "kind", None)
    if kind not in _WRITERS:
        raise ValueError(
            f"a {type(tokenizer).__name__} cannot be written as tokenizer.json: pass a tokenizer of this course "
            "(BPETokenizer.from_tiktoken makes one of a tiktoken.Encoding)"
        )
    nothing = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"))
    data = {"version": "1.0", **nothing, "added_tokens": [], **_WRITERS[kind](tokenizer)}
    return json.dumps(data, ensure_ascii=False)


def _cut(pattern: str, behavior: str = "Isolated") -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": False}


def _sequence(kind: str, members: list[dict]) -> dict[str, Any]:
    return {"type": "Sequence", kind: members}


def _characters(tokenizer: Any) -> dict[str, Any]:
    return _whole_tokens(list(tokenizer.characters), r"(?m:.)", None)  # (?m) lets the dot match a newline there


def _words(tokenizer: Any) -> dict[str, Any]:
    # Python's \w: letters, numbers of every kind and _. There, \w has accents that stand alone, and not ² or Ⅷ.
    return _whole_tokens(tokenizer.words, r"[\p{L}\p{N}_]+|[^\p{L}\p{N}_]", tokenizer.unknown)


def _whole_tokens(tokens: list[str], pattern: str, unknown: str | None) -> dict[str, Any]:
    """A tokenizer that cuts by a pattern and looks each piece up. What is not there is `unknown`, or an error."""
    absent = "<unk>"
    while unknown is None and absent in tokens:
        absent = f"<{absent}>"
    return {
        "pre_tokenizer": _cut(pattern),
        "decoder": {"type": "Fuse"},
        "model": {
            "type": "WordLevel",
            "vocab": {token: id for id, token in enumerate(tokens)},
            "unk_token": unknown or absent,
        },
    }


def _bytes(tokenizer: Any) -> dict[str, Any]:
    return _pairs(bpe.BPETokenizer({bytes([byte]): byte for byte in range(256)}, pattern=None))


def _pairs(tokenizer: Any) -> dict[str, Any]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    special = sorted(tokenizer.special_tokens.items(), key=lambda item: item[1])
    letters = bpe._in_letters
    return {
        "added_tokens": [{"id": id, "content": token, **flags} for token, id in special],
        "pre_tokenizer": _sequence("pretokenizers", [_cut(for_oniguruma(tokenizer.pattern)), byte_level]),
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,  # a piece that is a token is that token
            "vocab": {letters(token): id for token, id in tokenizer.ranks.items()},
            "merges": [f"{letters(left)} {letters(right)}" for left, right in tokenizer.merges],
        },
    }


def for_oniguruma(pattern: str | None) -> str:
    r"""A pattern in the dialect of `tokenizers`, where `$` is the end of a line and `{1,3}+` says "several times".

    >>> for_oniguruma(r"\d{1,3}+|\s+$")
    '\\d{1,3}|\\s+\\z'
    """
    if pattern is None:
        return r"(?m:.+)"

    def translated(found: re.Match) -> str:
        part = found[0]
        if part == "$":
            return r"\z"
        return part[:-1] if part.endswith("}+") and part[0] == "{" else part

    # escapes and [classes] come first, so that a `$` or `{` in them is left alone
    return re.sub(r"\\.|\[(?:\\.|[^\]])*\]|\{\d+,?\d*\}\+|\$", translated, pattern)


def _unigram(tokenizer: Any) -> dict[str, Any]:
    """Unigram as it is trained here. There, every piece has a score and is found in a text, also one for a byte: a
    score as low as the lowest, and a cut in what would be its name, keep it out."""
    space, has_bytes = "▁", bool(tokenizer._byte_ids)
    control = [
        piece
        for id, (piece, score) in enumerate(zip(tokenizer.pieces, tokenizer.scores, strict=True))
        if score is None and id not in tokenizer._byte_ids
    ]
    if tokenizer.like_sentencepiece or tokenizer.rules or tokenizer.collapse or tokenizer.symbols or control:
        raise ValueError(
            "a tokenizer taken over from SentencePiece cannot be written as tokenizer.json exactly (32-bit sums, rules "
            "for characters, control tokens): one that UnigramTokenizer.train has made can"
        )
    if len(set(tokenizer.pieces)) != len(tokenizer.pieces):
        raise ValueError("a piece is there twice, as itself and as a byte: tokenizer.json has one id for each name")
    lowest = min((score for score in tokenizer.scores if score is not None), default=0.0)
    # The words that training has cut at, so that sums are rounded alike: before each ▁, and around each newline.
    cuts = [_cut(space, "MergedWithNext"), _cut(r"\n")]
    if has_bytes:
        cuts.append(_cut(_inside_a_byte(tokenizer.logp), "MergedWithPrevious"))
    back = [{"type": "Replace", "pattern": {"String": space}, "content": " "}]
    back += [{"type": "ByteFallback"}] if has_bytes else []
    back += [{"type": "Fuse"}]
    back += [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if tokenizer.dummy_prefix else []
    write_spaces = {"type": "Replace", "pattern": {"String": " "}, "content": space}
    prefix = [{"type": "Prepend", "prepend": space}] if tokenizer.dummy_prefix else []
    return {
        "normalizer": _sequence("normalizers", [*prefix, write_spaces]),
        "pre_tokenizer": _sequence("pretokenizers", cuts),
        "decoder": _sequence("decoders", back),
        "model": {
            "type": "Unigram",
            "unk_id": tokenizer._byte_ids[0] if has_bytes else None,  # it asks for one even if bytes stand in for it
            "vocab": [
                [piece, lowest if score is None else score]
                for piece, score in zip(tokenizer.pieces, tokenizer.scores, strict=True)
            ],
            "byte_fallback": has_bytes,
        },
    }


def _inside_a_byte(pieces: Iterable[str]) -> str:
    """A pattern that finds a place in "<0x41>" where no piece crosses: who types this has not typed a byte."""
    together, byte = "\0".join(pieces), "[0-9A-F]{2}>"
    places = {"<0": f"<(?=0x{byte})", "0x": f"(?<=<)0(?=x{byte})", "x[0-9A-F]": f"(?<=<0)x(?={byte})"}
    for crossing, place in places.items():
        if not re.search(crossing, together):
            return place
    raise ValueError("pieces such as '<0x4' stand in the vocabulary: in tokenizer.json they cannot be told from bytes")


_WRITERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "char": _characters,
    "word": _words,
    "byte": _bytes,
    "bpe": _pairs,
    "unigram": _unigram,
}
