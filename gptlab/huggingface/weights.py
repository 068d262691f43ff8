"""Weights in and out: which tensor is which, loading a folder or a module, saving a folder."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gptlab.huggingface.configs import read_config, write_config
from gptlab.huggingface.tokenizers import tokenizer_json
from gptlab.tokens import Tokenizer

if TYPE_CHECKING:
    import torch

    import gptlab.model

CONFIG, WEIGHTS, INDEX, PICKLE = "config.json", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
FILES = (CONFIG, WEIGHTS, "generation_config.json", "tokenizer.json", "tokenizer_config.json")  # what we write

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
    own = {name.replace("_orig_mod.", "") for name, _ in model.named_parameters()}
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
    dtypes = {tensor.dtype for name, tensor in state.items() if not _needless(name)}
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
                    if header.get_dtype() in types and not _needless(name):
                        dtypes.add(types[header.get_dtype()])
                    elif not _needless(name):
                        odd.append(f"{name} ({header.get_dtype()})")
        except SafetensorError as error:
            raise ValueError(f"{str(file)!r} cannot be read ({error}): the file is truncated; get it again") from error
    if odd:
        raise ValueError(f"{folder}: weights of a type that is not supported (quantised?): {_some(odd)}")

    def tensors() -> Iterator[tuple[str, torch.Tensor]]:
        for name, file in file_of.items():
            with safe_open(file, framework="pt") as opened:  # anew for each: an open file keeps what has been read
                yield name, opened.get_tensor(name)

    return _Source(str(folder), config, shapes, dtypes, tensors)


def _files(folder: Path) -> list[Path]:
    """The safetensors files of a folder. Raises: FileNotFoundError where one is missing, or there is a pickle only."""
    if (folder / WEIGHTS).exists():  # first, as in transformers: shards of before may have been left beside it
        return [folder / WEIGHTS]
    if (folder / INDEX).exists():
        names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        strange = [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]
        if strange:
            raise ValueError(f"{INDEX} of {str(folder)!r} names files that are no safetensors files in it: {strange}")
        missing = [name for name in names if not (folder / name).exists()]
        if missing:
            raise FileNotFoundError(f"shards named in {INDEX} are missing in {str(folder)!r}: {_some(missing)}")
        return [folder / name for name in names]
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


def _needless(name: str) -> bool:
    """Whether it is a buffer of old files: no weight, and without a say in the type."""
    return any(names[4].search(name) for names in _NAMES.values())


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

    while (inner := model._modules.get("module", model._modules.get("_orig_mod"))) is not None:
        model = inner  # out of what DDP and the compiler put around
    folder = Path(folder).absolute()
    _check_parts(model)
    _check_target(folder, overwrite)
    config = write_config(model.config) | {"torch_dtype": str(model.head.weight.dtype).removeprefix("torch.")}
    texts = {} if tokenizer is None else {"tokenizer.json": tokenizer_json(tokenizer)}
    end = None if tokenizer is None else tokenizer.end
    if tokenizer is not None and tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} ids, but the model only {model.config.vocab_size}: "
            "pass the tokenizer that the model was trained with"
        )
    marks = {"bos_token_id": end, "eos_token_id": end}
    texts[CONFIG] = _dump(config | marks)
    texts["generation_config.json"] = _dump({**marks, "pad_token_id": end})
    if tokenizer is not None:
        name = next((token for token, id in tokenizer.special_tokens.items() if id == end), None)
        named = {} if name is None else {"bos_token": name, "eos_token": name}
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


def _check_parts(model: "torch.nn.Module") -> None:
    """Refuse what is no GPT, or one whose parts are not those of its configuration: it would be saved as another."""
    import torch

    from gptlab.model import GPT

    if not isinstance(model, GPT):
        raise ValueError(f"a {type(model).__name__} cannot be exported: pass a GPT")
    with torch.device("meta"):
        sound = {name: type(part) for name, part in GPT(model.config).named_modules()}
    own = {name.replace("._orig_mod", ""): type(part) for name, part in model.named_modules()}
    other = [
        f"{name or 'the model'} is {own[name].__name__ if name in own else 'missing'}, not {kind.__name__}"
        for name, kind in sound.items()
        if own.get(name) is not kind
    ]
    if other:
        raise ValueError(f"the parts are not those of the configuration: {_some(other)}. Export the sound model")


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
