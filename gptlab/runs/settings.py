"""The settings of a run: what a recipe, a config.yaml and the command line say, each setting declared once.

A setting's name, type, default and sentence stand in the dataclass that it belongs to: `Recipe`, `GPTConfig`,
`TrainConfig`, `Settings`, or `Job` for what doesn't change the result. The options of `python -m gptlab train` are made
from those (`Options`), and so are the entries of config.yaml.
"""

import dataclasses
import difflib
import json
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import docstring_parser
import tyro

from gptlab.config import GPTConfig
from gptlab.runs.recipes import RECIPES, Recipe
from gptlab.schedule import OLD_NAMES, TrainConfig

CONFIG = "config.yaml"  # beside the checkpoints: the settings of the run


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a run computes; config.yaml holds it.

    Attributes:
        recipe: corpus, model and training.
        dtype: of the matrix products; unless given, what suits the device. float16 brings a gradient scaler.
        compile: let torch.compile make kernels for this model; if that fails, the run continues without.
    """

    recipe: Recipe
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    compile: bool = False


@dataclass(frozen=True)
class Job:
    """Where a run starts from, where it runs, and what it leaves. Nothing here changes what it computes.

    Attributes:
        recipe: which settings to start with: fables (the default), shakespeare, shakespeare-gpu, nanogpt-cpu or
            nanogpt-gpu.
        config: settings to start with instead: the config.yaml of another run, or your own.
        folder: where to save checkpoints and config.yaml; runs/ and the name of the recipe, unless given.
        resume: continue from the last checkpoint in the folder, exactly as if nothing had stopped.
        export: where to save the finished model with its tokenizer, e.g. data/models/mine.
        record: a file to add the finished run to as a record, with the device, the date and the commit; for a run that
            was not resumed.
        tensorboard: write curves for TensorBoard into the folder, too.
        device: cpu, cuda or mps; unless given, CUDA where it works, else the CPU.
        parallel: with torchrun, what the processes share: data (DDP), or also the weights, sharded (FSDP2).
        verify: read all shards once and compare their SHA-256 before training on them.
    """

    recipe: tyro.conf.Positional[str | None] = None
    config: Path | None = None
    folder: Path | None = None
    resume: bool = False
    export: Path | None = None
    record: Path | None = None
    tensorboard: bool = False
    device: str | None = None
    parallel: Literal["data", "sharded"] = "data"
    verify: bool = True


# ── The options of the command line, made from the dataclasses ───────────────────────────────────────────────────────

# For each dataclass the fields that aren't options of their own.
_NESTED = {
    Settings: {"recipe"},
    Recipe: {"model", "training"},
    GPTConfig: {"vocab_size", "rope_scaling"},  # the tokenizer knows the first
    TrainConfig: set(),
}


def option_names(kind: type) -> list[str]:
    """The fields of a dataclass that the command line can set.

    >>> option_names(Settings)
    ['dtype', 'compile']
    """
    return [part.name for part in dataclasses.fields(kind) if part.name not in _NESTED[kind]]


def sentences(kind: type) -> dict[str, str]:
    """What a dataclass's docstring says about each of its fields.

    >>> sentences(Settings)["recipe"]
    'corpus, model and training.'
    """
    parsed = docstring_parser.parse(kind.__doc__ or "")
    return {part.arg_name: " ".join((part.description or "").split()) for part in parsed.params}


def _make_options() -> type:
    """A flat dataclass: the fields of `Job`, and those of all settings, where None leaves a setting as it is."""
    help_of, hints = sentences(Job), typing.get_type_hints(Job, include_extras=True)
    made: list[tuple[str, Any, Any]] = [
        (part.name, Annotated[hints[part.name], tyro.conf.arg(help=help_of[part.name])], part.default)
        for part in dataclasses.fields(Job)
    ]
    for kind in _NESTED:
        help_of, hints = sentences(kind), typing.get_type_hints(kind)
        for name in option_names(kind):
            about = tyro.conf.arg(help=help_of.get(name, ""), help_behavior_hint="(default: the recipe's)")
            made.append((name, Annotated[_readable(hints[name]) | None, about], None))
    fields = [(name, hint, dataclasses.field(default=default)) for name, hint, default in made]
    options = dataclasses.make_dataclass("Options", fields, frozen=True, namespace={"__module__": __name__})
    options.__doc__ = "What the command line says; None leaves a setting as the recipe, or the config.yaml, has it."
    return options


def _readable(hint: Any) -> Any:
    """A type as the command line shows it: a number that may be whole is a number, and None is left out."""
    if typing.get_origin(hint) is tuple:
        return tuple[tuple(_readable(part) for part in typing.get_args(hint))]
    kinds = set(_kinds(hint)) - {types.NoneType}
    kinds -= {int} if float in kinds else set()
    (kind,) = kinds
    return kind


def _kinds(hint: Any) -> tuple:
    """The members of a union, or the one type there is."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


Options = _make_options()


def settings_from(options: Any) -> Settings:
    """The settings to start with (a recipe, a file, or those of the run to continue), and what the options change.

    Args:
        options: of the command line, as `Options` has them.

    >>> settings = settings_from(Options(steps=7, dropout=0.0, parts="gpt2"))
    >>> settings.recipe.training.steps, settings.recipe.model["dropout"], settings.recipe.parts
    (7, 0.0, 'gpt2')

    Raises:
        ValueError: there is no such recipe, or a setting is outside its range.
    """
    settings = _start(options)
    given = {name: value for name, value in vars(options).items() if value is not None}

    def changes(kind: type) -> dict[str, Any]:
        return {name: given[name] for name in option_names(kind) if name in given}

    recipe = settings.recipe
    if "parts" in given and given["parts"] != recipe.parts:
        recipe = recipe.with_parts(given["parts"])
    model = recipe.model | changes(GPTConfig)
    training = dataclasses.replace(recipe.training, **changes(TrainConfig))
    recipe = dataclasses.replace(recipe, model=model, training=training, **changes(Recipe))
    return dataclasses.replace(settings, recipe=recipe, **changes(Settings))


def _start(options: Any) -> Settings:
    """The settings before the options change them."""
    saved = (options.folder or Path("runs/fables")) / CONFIG
    if options.config is not None:
        return from_yaml(options.config)
    if options.recipe is None and options.resume and saved.is_file():
        return from_yaml(saved)
    name = options.recipe or "fables"
    if name not in RECIPES:
        close = difflib.get_close_matches(name, RECIPES, n=1)
        guess = f"; perhaps you mean {close[0]!r}" if close else ""
        raise ValueError(f"there is no recipe {name!r}{guess}: choose one of {', '.join(RECIPES)}")
    return Settings(RECIPES[name])


# ── config.yaml ──────────────────────────────────────────────────────────────────────────────────────────────────────

_OLD_NAMES = {"B": "batch_size"}  # of the first edition; those of `training` are `schedule.OLD_NAMES`


def to_yaml(settings: Settings) -> str:
    """The settings as config.yaml holds them.

    >>> print(to_yaml(Settings(RECIPES["fables"])).splitlines()[1])
    corpus: fables
    """
    import yaml

    entries = dataclasses.asdict(settings.recipe) | {"dtype": settings.dtype, "compile": settings.compile}
    text = yaml.safe_dump(json.loads(json.dumps(entries)), sort_keys=False)
    return "# gptlab train --config FILE starts with these settings\n" + text


def from_yaml(path: Path) -> Settings:
    """The settings that a file holds; an entry that is left out has its default.

    Raises:
        ValueError: the file isn't YAML, or has an entry that is unknown, or of the wrong kind.
    """
    import yaml

    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(entries, dict):
        raise ValueError(f"{path} has no entries: write one per line, such as `corpus: fables`")
    if "modern" in entries:
        modern = _convert(f"{path}: modern", entries.pop("modern"), bool)
        entries.setdefault("parts", "modern" if modern else "gpt2")
    model, training = (entries.pop(name, None) or {} for name in ("model", "training"))
    entries = {_OLD_NAMES.get(name, name): value for name, value in entries.items()}
    training = {OLD_NAMES.get(name, name): value for name, value in training.items()}
    whole = {name: entries.pop(name) for name in option_names(Settings) if name in entries}
    recipe = Recipe(
        **_checked(path, "", entries, Recipe),
        model=_checked(path, "model.", model, GPTConfig),
        training=TrainConfig(**_checked(path, "training.", training, TrainConfig)),
    )
    return Settings(recipe, **_checked(path, "", whole, Settings))


_SECTIONS = {"": (Recipe, Settings), "model.": (GPTConfig,), "training.": (TrainConfig,)}
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word", tuple: "a list of numbers"}


def _checked(path: Path, prefix: str, entries: dict[str, Any], kind: type) -> dict[str, Any]:
    """The entries of a section, each of the type that the field has.

    Raises:
        ValueError: naming an entry that is unknown, with the nearest that isn't, or that has the wrong type.
    """
    hints = typing.get_type_hints(kind)
    for name in entries:
        if name not in hints or name in _NESTED[kind] - {"rope_scaling"}:
            known = {option: f"{section}{option}" for section, kinds in _SECTIONS.items()
                     for owner in kinds for option in option_names(owner)}  # fmt: skip
            close = difflib.get_close_matches(str(name), known, n=1)
            guess = f"; perhaps you mean {known[close[0]]}" if close else ""
            raise ValueError(f"{path}: unknown entry {prefix}{name}{guess}")
    return {name: _convert(f"{path}: {prefix}{name}", value, hints[name]) for name, value in entries.items()}


def _convert(where: str, value: Any, hint: Any) -> Any:
    """A value from YAML as the type of a field. `1e-3` becomes a number here, though YAML takes it for a word.

    Raises:
        ValueError: it is of another type.
    """
    kinds = _kinds(hint)
    if value is None and types.NoneType in kinds:
        return None
    for kind in kinds:
        if typing.get_origin(kind) is Literal:
            if value in typing.get_args(kind):
                return value
            raise ValueError(f"{where} is {value!r}: choose one of {', '.join(typing.get_args(kind))}")
        if typing.get_origin(kind) is tuple and isinstance(value, list) and len(value) == len(typing.get_args(kind)):
            return tuple(_convert(where, v, part) for v, part in zip(value, typing.get_args(kind), strict=True))
        if dataclasses.is_dataclass(kind) and isinstance(value, dict):
            return kind(**value)
        if type(value) is kind:
            return value
    if float in kinds and isinstance(value, int | str) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    kind = tuple if typing.get_origin(kinds[0]) is tuple else float if float in kinds else kinds[0]
    raise ValueError(f"{where} is {value!r}, which is not {_WORDS.get(kind, 'of the right kind')}")
