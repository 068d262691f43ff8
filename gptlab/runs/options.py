"""The options of `python -m gptlab train`, made from the dataclasses that declare the settings.

A setting's name, type, default and sentence stand in the dataclass that it belongs to: `Recipe`, `GPTConfig`,
`TrainConfig`, `Settings`, or `Job` for what doesn't change the result.
"""

import dataclasses
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import docstring_parser
import tyro

from gptlab.config import GPTConfig
from gptlab.policy import PolicyConfig
from gptlab.runs.recipes import ABOUT, RECIPES, Recipe
from gptlab.schedule import TrainConfig


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
        recipe: your text (a file, several, a folder of .txt and .md, .jsonl or .parquet), or a recipe's name.
        config: settings to start with instead: the config.yaml of another run, or your own.
        folder: where to save checkpoints and config.yaml; runs/ and the name of the text or recipe, unless given.
        resume: continue from the last checkpoint in the folder, exactly as if nothing had stopped.
        export: where to save the finished model with its tokenizer, e.g. data/models/mine.
        record: a file to add the finished run to as a record, with the device, the date and the commit; for a run that
            was not resumed.
        tensorboard: write curves for TensorBoard into the folder, too.
        device: cpu, cuda or mps; unless given, CUDA where it works, else the CPU.
        parallel: with torchrun, what the processes share: data (DDP), or also the weights, sharded (FSDP2).
        best: save also the model with the lowest validation loss, in the folder `best` of the run.
        sync_every: steps that a GPU makes before their losses are read; 20 on CUDA and 1 elsewhere, unless given.
        verify: read all shards once and compare their SHA-256 before training on them.
    """

    recipe: tyro.conf.Positional[tuple[str, ...]] = ()
    config: Path | None = None
    folder: Path | None = None
    resume: bool = False
    export: Path | None = None
    record: Path | None = None
    tensorboard: bool = False
    device: str | None = None
    parallel: Literal["data", "sharded"] = "data"
    best: bool = False
    sync_every: int | None = None
    verify: bool = True


# ── The options of the command line, made from the dataclasses ───────────────────────────────────────────────────────

# For each dataclass the fields that aren't options of their own.
NOT_OPTIONS = {
    Settings: {"recipe"},
    Recipe: {"model", "training", "texts", "policy"},
    GPTConfig: {"vocab_size", "rope_scaling"},  # the tokenizer knows the first
    TrainConfig: set(),
    PolicyConfig: set(),
}


def option_names(kind: type) -> list[str]:
    """The fields of a dataclass that the command line can set.

    >>> option_names(Settings)
    ['dtype', 'compile']
    """
    return [part.name for part in dataclasses.fields(kind) if part.name not in NOT_OPTIONS[kind]]


def sentences(kind: type) -> dict[str, str]:
    """What a dataclass's docstring says about each of its fields.

    >>> sentences(Settings)["recipe"]
    'corpus, model and training.'
    """
    parsed = docstring_parser.parse(kind.__doc__ or "")
    return {part.arg_name: " ".join((part.description or "").split()) for part in parsed.params}


# The options in the order of `--help`: what most runs need, then the rest by what it is about.
_COMMON = ("steps", "folder", "resume", "best", "parts")
_TEXT = ("corpus", "tokens", "vocab_size", "separator", "field", "base", "config")


def _make_options() -> tuple[type, dict[str, type]]:
    """A flat dataclass of all options, where None leaves a setting as it is; and the same options in groups."""
    made: dict[str, tuple[str, Any, Any]] = {}
    help_of, hints = sentences(Job), typing.get_type_hints(Job, include_extras=True)
    for part in dataclasses.fields(Job):
        words: dict[str, Any] = {"help": help_of[part.name]}
        if part.name == "recipe":
            words |= {"metavar": "TEXT|RECIPE", "help_behavior_hint": f"({_recipes_in_words()})"}
        elif part.default is None:
            words |= {"metavar": _metavar(hints[part.name]), "help_behavior_hint": ""}
        made[part.name] = (part.name, Annotated[hints[part.name], tyro.conf.arg(**words)], part.default)
    for kind in NOT_OPTIONS:
        help_of, hints = sentences(kind), typing.get_type_hints(kind)
        for name in option_names(kind):
            about = tyro.conf.arg(
                help=help_of.get(name, ""),
                metavar=_metavar(hints[name]),
                help_behavior_hint="(default: the recipe's)",
            )
            made[name] = (name, Annotated[_readable(hints[name]) | None, about], None)
    names = {"common": _COMMON, "text": _TEXT, "model": option_names(GPTConfig)}
    names["training"] = [*option_names(TrainConfig), "batch_size", "seed"]
    names["policy"] = ["reward", *option_names(PolicyConfig)]
    named = {name for group in names.values() for name in group}
    names["run"] = [name for name in made if name not in named and name != "recipe"]
    groups, used = {}, {"recipe"}
    for group, members in names.items():
        chosen = [made[name] for name in members if name not in used]
        groups[group] = _dataclass(f"{group.capitalize()}Options", chosen)
        used |= set(members)
    options = _dataclass("Options", list(made.values()))
    options.__doc__ = "What the command line says; None leaves a setting as the recipe, or the config.yaml, has it."
    return options, groups


def _dataclass(name: str, made: list[tuple[str, Any, Any]]) -> type:
    fields = [(name, hint, dataclasses.field(default=default)) for name, hint, default in made]
    found = dataclasses.make_dataclass(name, fields, frozen=True, namespace={"__module__": __name__})
    found.__doc__ = " "  # else --help would show its signature
    return found


def _recipes_in_words() -> str:
    """Each recipe with what it is for, as `--help` lists them."""
    return "recipes: " + "; ".join(f"{name}: {ABOUT[name]}" for name in RECIPES)


_WORDS = {bool: "True|False", int: "WHOLE NUMBER", float: "NUMBER", str: "WORD", Path: "PATH"}


def _metavar(hint: Any) -> str:
    """What a person gives for an option of this type.

    >>> _metavar(int | None), _metavar(Literal["a", "b"] | None)
    ('WHOLE NUMBER', 'a|b')
    """
    kind = _readable(hint)
    if typing.get_origin(kind) is Literal:
        return "|".join(map(str, typing.get_args(kind)))
    if typing.get_origin(kind) is tuple:
        return " ".join(_metavar(part) for part in typing.get_args(kind))
    return _WORDS[kind]


def _readable(hint: Any) -> Any:
    """A type as the command line shows it: a number that may be whole is a number, and None is left out."""
    if typing.get_origin(hint) is tuple:
        return tuple[tuple(_readable(part) for part in typing.get_args(hint))]
    members = set(kinds(hint)) - {types.NoneType}
    members -= {int} if float in members else set()
    (kind,) = members
    return kind


def kinds(hint: Any) -> tuple:
    """The members of a union, or the one type there is."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


Options, _GROUPS = _make_options()
_UNSET = {name: group() for name, group in _GROUPS.items()}


def from_groups(
    recipe: Options.__annotations__["recipe"] = (),
    common: tyro.conf.OmitArgPrefixes[_GROUPS["common"]] = _UNSET["common"],
    text: tyro.conf.OmitArgPrefixes[_GROUPS["text"]] = _UNSET["text"],
    model: tyro.conf.OmitArgPrefixes[_GROUPS["model"]] = _UNSET["model"],
    training: tyro.conf.OmitArgPrefixes[_GROUPS["training"]] = _UNSET["training"],
    policy: tyro.conf.OmitArgPrefixes[_GROUPS["policy"]] = _UNSET["policy"],
    run: tyro.conf.OmitArgPrefixes[_GROUPS["run"]] = _UNSET["run"],
) -> Any:
    """The options from the groups in which `--help` shows them."""
    given = {
        name: value for group in (common, text, model, training, policy, run) for name, value in vars(group).items()
    }
    return Options(recipe=recipe, **given)
