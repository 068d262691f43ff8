"""Models in and out: a folder that Hugging Face's libraries open, and back."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptlab.entrances import guard
from gptlab.huggingface.tokenizers import tokenizer_json
from gptlab.pretrained.configs import MODELING, OWN, write_config
from gptlab.pretrained.layout import HEAD, NAMES, layout, parameters, some
from gptlab.tokens import Tokenizer

if TYPE_CHECKING:
    import torch

    import gptlab.model

CONFIG, WEIGHTS = "config.json", "model.safetensors"
FILES = (CONFIG, WEIGHTS, "generation_config.json", "tokenizer.json", "tokenizer_config.json")  # what we write
_MARK = {"format": "pt", "exported_by": "gptlab"}  # in the header of the weights: what may be overwritten


def load_model(
    source: Any, device: "str | torch.device" = "cpu", dtype: "torch.dtype | None" = None
) -> "gptlab.model.GPT":
    """`GPT.from_pretrained`: a `GPT` with the weights of a GPT-2, a Llama or an export, in evaluation mode.

    Args:
        source: a folder with `config.json` and `model.safetensors` (or its shards and their index), or a
            `GPT2LMHeadModel`, `LlamaForCausalLM` or `GPTLabForCausalLM` of `transformers`.
        device: where the weights will be.
        dtype: the type of the weights; that of the stored ones unless given.

    Raises:
        FileNotFoundError: for a folder that is not there, or has no safetensors file.
        ValueError: for an option that is not supported, or tensors that are missing, unknown, or of another shape;
            all of them by name.
    """
    from gptlab.model import GPT

    return GPT.from_pretrained(source, device, dtype)


def is_folder(folder: str | Path) -> bool:
    """Whether a folder holds a model in Hugging Face's format: its config.json names a kind of model.

    >>> is_folder("/nowhere")
    False
    """
    try:
        return "model_type" in json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def save_model(
    model: "torch.nn.Module", folder: str | Path, tokenizer: Tokenizer | None = None, overwrite: bool = False
) -> None:
    """Write a folder that `AutoModelForCausalLM` and `AutoTokenizer` of `transformers` open, completely or not at all.

    Where neither GPT-2 nor Llama has the model's parts, the file `modeling_gptlab.py` is copied beside the weights, and
    `transformers` asks for `trust_remote_code=True` to run it.

    Args:
        model: a GPT.
        folder: a new one, or an empty one.
        tokenizer: the one the model was trained with; without it only the model can be opened.
        overwrite: whether to replace an earlier export in the folder; nothing else is ever replaced.

    Raises:
        ValueError: for a model that is no sound GPT, a tokenizer that the format cannot express, or two that do not fit
            each other.
        FileExistsError: if there is something in the folder already.
    """
    from safetensors.torch import save_file

    from gptlab import checkpoints
    from gptlab.model import unwrapped

    model = unwrapped(model)
    folder = Path(folder).absolute()
    _check_parts(model)
    _check_target(folder, overwrite)
    if tokenizer is not None and tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} ids, but the model only {model.config.vocab_size}: "
            "pass the tokenizer that the model was trained with"
        )
    config = write_config(model.config)
    texts = _texts(config | {"torch_dtype": str(model.head.weight.dtype).removeprefix("torch.")}, model, tokenizer)
    if config["model_type"] == OWN:
        texts[MODELING] = Path(__file__).with_name(MODELING).read_text(encoding="utf-8")
    with checkpoints.replacing(folder) as draft:
        for name, text in texts.items():
            (draft / name).write_text(text, encoding="utf-8")
        save_file(_tensors(model, config["model_type"]), draft / WEIGHTS, metadata=_MARK)


def _texts(config: dict[str, Any], model: "gptlab.model.GPT", tokenizer: Tokenizer | None) -> dict[str, str]:
    """The files beside the weights: the model, how it writes, its tokenizer, and its chat template."""
    from gptlab import chat_template

    end = None if tokenizer is None else tokenizer.end
    stops, layout = end, {}
    if tokenizer is not None and set(chat_template.MARKS) <= tokenizer.special_tokens.keys():  # it holds conversations
        chat = chat_template.ChatTemplate(tokenizer)
        stops, layout = [end, chat.end], {"chat_template": chat.jinja()}
    marks = {"bos_token_id": end, "eos_token_id": stops}
    writing = {**marks, "pad_token_id": end, "max_length": model.config.context}  # prompt and new tokens together
    if tokenizer is not None and tokenizer.vocab_size < model.config.vocab_size:  # rows that no token has
        writing["suppress_tokens"] = list(range(tokenizer.vocab_size, model.config.vocab_size))
    texts = {CONFIG: _dump(config | marks), "generation_config.json": _dump(writing)}
    if tokenizer is not None:
        name = next((token for token, id in tokenizer.special_tokens.items() if id == end), None)
        named = {} if name is None else {"bos_token": name, "eos_token": name}
        texts["tokenizer.json"] = tokenizer_json(tokenizer)
        texts["tokenizer_config.json"] = _dump(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "model_max_length": model.config.context,
                "clean_up_tokenization_spaces": False,
                **named,
                **layout,
            }
        )
    return texts


def _check_parts(model: "torch.nn.Module") -> None:
    """Refuse what is not a GPT, or has other parts than its configuration says: it would be saved as another model."""
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
        raise ValueError(f"the parts are not those of the configuration: {some(other)}. Export the sound model")


def _check_target(folder: Path, overwrite: bool) -> None:
    """Refuse to write where anything would be lost but an earlier export."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{str(folder)!r} is a file: pass the name of a folder")
    found = sorted(path.name for path in folder.iterdir())
    if others := [name for name in found if name not in (*FILES, MODELING)]:
        raise FileExistsError(f"{str(folder)!r} holds other files ({some(others)}): choose a new folder")
    if found and not _is_export(folder):
        raise FileExistsError(
            f"{str(folder)!r} holds a model that is not an earlier export, so it is not replaced, with or without "
            "overwrite: choose a new folder"
        )
    if found and not overwrite:
        raise FileExistsError(
            f"{str(folder)!r} holds an export already: choose a new folder, or replace it with overwrite=True "
            "(--overwrite on the command line)"
        )


def _is_export(folder: Path) -> bool:
    """Whether `save_model` wrote the weights in a folder."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / WEIGHTS, framework="pt") as tensors:
            return (tensors.metadata() or {}) == _MARK
    except (SafetensorError, OSError):
        return False


def _dump(entries: dict[str, Any]) -> str:
    return json.dumps(entries, indent=2) + "\n"


def _tensors(model: "gptlab.model.GPT", family: str) -> "dict[str, torch.Tensor]":
    """The model's weights under their names and in their order; zeros for what only they have."""
    import torch

    own = {name: parameter.detach() for name, parameter in parameters(model).items()}
    tensors = {}
    if family == OWN and model.config.position == "sinusoidal":
        tensors["embedding.waves.weight"] = model.embedding.waves.to(model.head.weight).contiguous().cpu()
    if family == "gpt2" and "embedding.position.weight" not in own:
        table = torch.zeros(model.config.context, model.config.n_embd).to(model.head.weight)
        own["embedding.position.weight"] = getattr(model.embedding, "waves", table)
    for stored in layout(model, family):
        parts = []
        for name in stored.ours:
            if name not in own:  # a bias that we do not have: one for each row of its matrix
                weight = own[name.removesuffix("bias") + "weight"]
                own[name] = weight.new_zeros(len(weight))
            parts.append(own[name])
        tensor = torch.cat(parts) if len(parts) > 1 else parts[0]
        tensor = tensor.T if stored.transposed else tensor
        name = stored.theirs if stored.theirs == HEAD else NAMES[family].prefix + stored.theirs
        tensors[name] = tensor.contiguous().cpu()
    return tensors


guard(globals())
