"""config.yaml: the settings of a run as a file, written beside its checkpoints and read with every entry checked."""

import contextlib
import dataclasses
import difflib
import json
import types
import typing
from pathlib import Path
from typing import Any, Literal

from gptlab.accepted import short
from gptlab.config import GPTConfig, RopeScaling
from gptlab.policy import PolicyConfig
from gptlab.runs.options import NOT_OPTIONS, Settings, kinds, option_names
from gptlab.runs.recipes import Recipe, model_config
from gptlab.schedule import OLD_NAMES, TrainConfig

CONFIG = "config.yaml"  # beside the checkpoints: the settings of the run
_OLD_NAMES = {"B": "batch_size"}  # of the first edition; those of `training` are `schedule.OLD_NAMES`


def to_yaml(settings: Settings) -> str:
    """The settings as config.yaml holds them.

    >>> from gptlab.runs.recipes import RECIPES
    >>> print(to_yaml(Settings(RECIPES["fables"])).splitlines()[1])
    corpus: fables
    """
    import yaml

    entries = dataclasses.asdict(settings.recipe) | {"dtype": settings.dtype, "compile": settings.compile}
    text = yaml.safe_dump(json.loads(json.dumps(entries)), sort_keys=False)
    return "# gptlab train --config FILE starts with these settings\n" + text


LONGEST = 100_000  # characters of a config.yaml; to_yaml writes about a thousand


def _load_yaml(path: Path) -> Any:
    """What a file of YAML says, {} if nothing; without `&` and `*`, with which ten lines can mean a billion.

    Raises:
        ValueError: it is no file, or not YAML in UTF-8, or too long, or nested too deeply.
    """
    import yaml

    if not path.is_file():
        raise ValueError(f"{str(path)!r} is {'a folder' if path.is_dir() else 'not there'}: --config takes a file")
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LONGEST + 1)
        if len(text) > LONGEST:
            raise ValueError(f"it has more than {LONGEST:,} characters")
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > 8 or isinstance(event, yaml.AliasEvent):
                raise ValueError("its entries are nested too deeply" if depth > 8 else "it has an alias, `*`")
        return yaml.safe_load(text) or {}
    except (ValueError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{path} is not a file of settings in YAML: {said}") from error


def from_yaml(path: Path) -> Settings:
    """The settings that a file holds; an entry that is left out has its default.

    Raises:
        ValueError: the file isn't YAML, or has an entry that is unknown, or of the wrong kind.
    """
    entries = _load_yaml(path)
    if not isinstance(entries, dict):
        raise ValueError(f"{path} has no entries: write one per line, such as `corpus: fables`")
    if "modern" in entries:
        modern = _convert(f"{path}: modern", entries.pop("modern"), bool)
        entries.setdefault("parts", "modern" if modern else "gpt2")
    model, training, policy = (entries.pop(name, None) or {} for name in ("model", "training", "policy"))
    for name, section in (("model", model), ("training", training), ("policy", policy)):
        if not isinstance(section, dict):
            raise ValueError(f"{path}: {name} is {short(section)}: write its entries in lines of their own below it")
    entries = {_OLD_NAMES.get(name, name): value for name, value in entries.items()}
    training = {OLD_NAMES.get(name, name): value for name, value in training.items()}
    whole = {name: entries.pop(name) for name in option_names(Settings) if name in entries}
    checked = _checked(path, "", entries, Recipe), _checked(path, "model.", model, GPTConfig)
    learning = _checked(path, "training.", training, TrainConfig)
    rewarded = _checked(path, "policy.", policy, PolicyConfig)
    try:
        how = PolicyConfig(**rewarded) if policy else None
        recipe = Recipe(**checked[0], model=checked[1], training=TrainConfig(**learning), policy=how)
        model_config(recipe, vocab_size=1)  # whether its sizes fit together
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Settings(recipe, **_checked(path, "", whole, Settings))


_SECTIONS = {"": (Recipe, Settings), "model.": (GPTConfig,), "training.": (TrainConfig,), "policy.": (PolicyConfig,)}
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


def _checked(path: Path, prefix: str, entries: dict[str, Any], kind: type) -> dict[str, Any]:
    """The entries of a section, each of the type that the field has.

    Raises:
        ValueError: naming an entry that is unknown, with the nearest that isn't, or that has the wrong type.
    """
    hints = typing.get_type_hints(kind)
    for name in entries:
        if name not in hints or name in NOT_OPTIONS[kind] - {"rope_scaling", "texts"}:
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
    allowed = kinds(hint)
    if value is None and types.NoneType in allowed:
        return None
    for kind in allowed:
        if typing.get_origin(kind) is Literal:
            if value in typing.get_args(kind):
                return value
            raise ValueError(f"{where} is {short(value)}: choose one of {', '.join(typing.get_args(kind))}")
        if kind == tuple[str, ...] and isinstance(value, list) and all(isinstance(part, str) for part in value):
            return tuple(value)
        if typing.get_origin(kind) is tuple and isinstance(value, list) and len(value) == len(typing.get_args(kind)):
            return tuple(_convert(where, v, part) for v, part in zip(value, typing.get_args(kind), strict=True))
        if kind is RopeScaling:
            return kind.from_entries(value, f"{where}: ")
        if type(value) is kind:
            return value
    if float in allowed and isinstance(value, int | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            return float(value)
    if tuple[str, ...] in allowed:
        words = "a list of names"
    elif typing.get_origin(allowed[0]) is tuple:
        words = f"a list of {len(typing.get_args(allowed[0]))} numbers"
    else:
        words = _WORDS[float if float in allowed else allowed[0]]
    raise ValueError(f"{where} is {short(value)}, which is not {words}")
