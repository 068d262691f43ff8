"""Published weights, found in a folder or a module of `transformers` and copied into a model, one tensor at a time."""

import contextlib
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gptlab import formats
from gptlab.config import GPTConfig
from gptlab.limits import check_fits, least_numbers
from gptlab.pretrained.configs import OWN, read_config
from gptlab.pretrained.layout import HEAD, NAMES, Stored, bare, is_buffer, layout, parameters, shape, some

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOLERATED = 1 << 26  # numbers that a file may lack before its model is not even built
_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class Source(NamedTuple):
    """A model that is to be loaded: shapes and types are known before the first tensor is read.

    Attributes:
        where: the folder or the class, for messages.
        config: of the same model here.
        family: "gpt2", "llama" or "gptlab".
        shapes: of all tensors, by their names in the file.
        dtypes: of all weights.
        tensors: reads them, one after the other.
    """

    where: str
    config: GPTConfig
    family: str
    shapes: dict[str, tuple[int, ...]]
    dtypes: set[torch.dtype]
    tensors: Callable[[], Iterator[tuple[str, Tensor]]]

    @property
    def dtype(self) -> torch.dtype:
        """The one type of the weights.

        Raises:
            ValueError: if there are several.
        """
        if len(self.dtypes) != 1:
            raise ValueError(f"{self.where}: weights of several types {sorted(map(str, self.dtypes))}: pass dtype=...")
        return next(iter(self.dtypes))


class Index(TypedDict):
    """What is needed of `model.safetensors.index.json`: the file of each tensor."""

    weight_map: dict[str, str]


def find(source: Any) -> Source:
    """The model in a folder, or that of a module of `transformers`; errors as for `GPT.from_pretrained`."""
    return _in_folder(Path(source)) if isinstance(source, str | Path) else _in_module(source)


@contextlib.contextmanager
def uninitialised(device: torch.device | str, dtype: torch.dtype) -> Iterator[None]:
    """Inside, new layers have whatever was in memory: to draw random weights takes long, and a file overwrites them.

    Args:
        device: where new tensors are made.
        dtype: the type of new weights.
    """
    random = {torch.nn.init.normal_, torch.nn.init.uniform_, torch.nn.init.kaiming_uniform_}

    class Skip(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            return kwargs["tensor"] if function in random else function(*args, **kwargs)

    usual = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        with torch.device(device), Skip():
            yield
    finally:
        torch.set_default_dtype(usual)


@torch.no_grad()
def fill(model: nn.Module, source: Source) -> None:
    """Copy the weights into a model of the source's configuration.

    Raises:
        ValueError: for tensors that are missing, unknown, or of another shape, by name.
    """
    stored, own = {entry.theirs: entry for entry in layout(model, source.family)}, parameters(model)
    _check(source, stored, own)
    head = None
    for name, tensor in source.tensors():
        name = bare(name, source.family)
        if name in stored:
            parts = [own[part] for part in stored[name].ours]
            tensor = tensor.T if stored[name].transposed else tensor
            for part, piece in zip(parts, tensor.split([len(part) for part in parts]), strict=True):
                part.copy_(piece)
        elif name == HEAD:
            head = tensor
    if head is not None and not torch.equal(head.to(model.head.weight), model.head.weight):
        raise ValueError(f"{source.where}: the weights are tied, but {HEAD} is another table than the tokens'")


def _check(source: Source, stored: dict[str, Stored], own: dict[str, Tensor]) -> None:
    """Refuse what does not fit, before the first tensor is read."""
    names = NAMES[source.family]
    expected = {name: shape(entry, own) for name, entry in stored.items()}
    found = {bare(name, source.family): size for name, size in source.shapes.items()}
    tied = source.config.tie_weights and source.family != OWN
    allowed = {**expected, HEAD: expected[f"{names.table}.weight"]} if tied else expected
    problems = {
        "missing": [name for name in expected if name not in found],
        "unknown": [name for name in found if name not in allowed and not names.buffers.fullmatch(name)],
        "wrong shape": [
            f"{name} is {found[name]}, not {size}" for name, size in allowed.items() if found.get(name, size) != size
        ],
    }
    if any(problems.values()):
        listed = "; ".join(f"{kind}: {some(names)}" for kind, names in problems.items() if names)
        raise ValueError(f"the tensors of {source.where} do not fit its configuration: {listed}")


def _source(where: str, entries: dict[str, Any], *found: Any) -> Source:
    try:
        return Source(where, read_config(entries), entries["model_type"], *found)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _in_module(module: Any) -> Source:
    config = getattr(module, "config", None)
    if not hasattr(config, "to_dict") or not hasattr(module, "state_dict"):
        raise ValueError(f"a {type(module).__name__} cannot be loaded: pass a folder, or a model of transformers")
    state = module.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    dtypes = {tensor.dtype for name, tensor in state.items() if not is_buffer(name)}
    return _source(type(module).__name__, config.to_dict(), shapes, dtypes, lambda: iter(state.items()))


def _in_folder(folder: Path) -> Source:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder {str(folder)!r}. Models are not downloaded here: "
            f"`hf download NAME --local-dir {folder}` (of the package huggingface_hub) gets one"
        )
    if not (folder / CONFIG).exists():
        raise FileNotFoundError(f"there is no {CONFIG} in {str(folder)!r}: is it the folder of a model?")
    entries = formats.read_json(folder / CONFIG, dict[str, Any], most=1 << 24)
    if "model_type" not in entries and "n_layer" in entries:
        raise ValueError(f"{str(folder)!r} holds a model of this course: gptlab.checkpoints.load_model opens it")
    file_of, shapes, dtypes, unsupported = {}, {}, set(), []
    for file in _files(folder):
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 – it is not a dict
                    header = tensors.get_slice(name)
                    file_of[name], shapes[name] = file, tuple(header.get_shape())
                    if header.get_dtype() in _TYPES and not is_buffer(name):
                        dtypes.add(_TYPES[header.get_dtype()])
                    elif not is_buffer(name):
                        unsupported.append(f"{name} ({header.get_dtype()})")
        except SafetensorError as error:
            raise ValueError(f"{str(file)!r} cannot be read ({error}): the file is truncated; get it again") from error
    if unsupported:
        raise ValueError(f"{folder}: weights of a type that is not supported (quantised?): {some(unsupported)}")

    def read() -> Iterator[tuple[str, Tensor]]:
        for name, file in file_of.items():
            with safe_open(file, framework="pt") as opened:  # again for each: an open file keeps what has been read
                yield name, opened.get_tensor(name)

    found = _source(str(folder), entries, shapes, dtypes, read)
    stored, least = sum(map(math.prod, shapes.values())), least_numbers(found.config)
    if least > 2 * stored + TOLERATED:  # what is a little too small is built, and its missing tensors are named
        raise ValueError(
            f"{CONFIG} in {str(folder)!r} describes a model of more than {least:,} numbers, and its files have "
            f"{stored:,}"
        )
    try:
        check_fits(found.config)
    except ValueError as error:
        raise ValueError(f"{CONFIG} in {str(folder)!r}: {error}") from error
    return found


def _files(folder: Path) -> list[Path]:
    """The safetensors files of a folder. Raises FileNotFoundError where one is missing, or there is only a pickle."""
    if (folder / WEIGHTS).exists():  # first, as in transformers: shards of before may have been left beside it
        return [folder / WEIGHTS]
    if (folder / INDEX).exists():
        names = sorted(set(formats.read_json(folder / INDEX, Index, most=1 << 28)["weight_map"].values()))
        strange = [name for name in names if not re.fullmatch(r"[^/\\\0]+\.safetensors", name)]
        if strange:
            raise ValueError(f"{INDEX} of {str(folder)!r} names files that are no safetensors files in it: {strange}")
        missing = [name for name in names if not (folder / name).exists()]
        if missing:
            raise FileNotFoundError(f"shards named in {INDEX} are missing in {str(folder)!r}: {some(missing)}")
        return [folder / name for name in names]
    pickled = sorted(path.name for path in folder.glob("*.bin")) + sorted(path.name for path in folder.glob("*.pt*"))
    if pickled:
        raise FileNotFoundError(
            f"{str(folder)!r} has no {WEIGHTS}, only a pickle ({pickled[0]}). A pickle can run any code when it is "
            "opened, so it is not opened here. Where you trust its author, convert it once: "
            "transformers.AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)"
        )
    raise FileNotFoundError(f"there is no {WEIGHTS} and no {INDEX} in {str(folder)!r}")
