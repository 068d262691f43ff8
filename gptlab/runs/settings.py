"""The settings of a run: what a recipe, a text, a config.yaml and the command line say together.

`settings_from` puts them together for a run, and config.yaml holds the result. The options of the command line are in
`gptlab.runs.options`.
"""

import dataclasses
import difflib
import json
import shlex
import types
import typing
from pathlib import Path
from typing import Any, Literal

from gptlab.config import GPTConfig
from gptlab.policy import PolicyConfig
from gptlab.runs import own_text
from gptlab.runs.options import NOT_OPTIONS, Job, Options, Settings, option_names, sentences
from gptlab.runs.options import kinds as _kinds
from gptlab.runs.recipes import RECIPES, Recipe
from gptlab.schedule import OLD_NAMES, TrainConfig

__all__ = [
    "CONFIG", "Job", "Options", "Settings", "from_yaml", "option_names", "run_folder", "sentences", "settings_from",
    "to_yaml",
]  # fmt: skip

CONFIG = "config.yaml"  # beside the checkpoints: the settings of the run


def settings_from(options: Any) -> Settings:
    """The settings to start with (a recipe, a file, or those of the run to continue), and what the options change.

    Args:
        options: of the command line, as `Options` has them.

    >>> settings = settings_from(Options(steps=7, dropout=0.0, parts="gpt2"))
    >>> settings.recipe.training.steps, settings.recipe.model["dropout"], settings.recipe.parts
    (7, 0.0, 'gpt2')

    Raises:
        ValueError: there is no such recipe, a text is too short, or a setting is outside its range.
        FileNotFoundError: there is no such text.
    """
    settings = _start(options)
    given = {name: value for name, value in vars(options).items() if value is not None}

    def changes(kind: type) -> dict[str, Any]:
        return {name: given[name] for name in option_names(kind) if name in given}

    recipe = settings.recipe
    if "parts" in given and given["parts"] != recipe.parts:
        recipe = recipe.with_parts(given["parts"])
    if "corpus" in given:
        recipe = dataclasses.replace(recipe, texts=())
    if not recipe.texts and (unused := [name for name in ("separator", "field") if name in given]):
        raise ValueError(f"--{unused[0]} is for a text of yours, and this run is on {recipe.corpus!r}: `train FILE`")
    if (
        recipe.texts and "vocab_size" in given and "tokens" not in given
    ):  # a wish for so many tokens is one for byte pairs
        recipe = dataclasses.replace(recipe, tokens="bpe")
    model = recipe.model | changes(GPTConfig)
    training = dataclasses.replace(recipe.training, **changes(TrainConfig))
    policy = recipe.policy
    if new := changes(PolicyConfig):
        policy = dataclasses.replace(policy or PolicyConfig(), **new)
    recipe = dataclasses.replace(recipe, model=model, training=training, policy=policy, **changes(Recipe))
    return dataclasses.replace(settings, recipe=recipe, **changes(Settings))


def run_folder(options: Any) -> Path:
    """Where the run is: the folder that was given, or one of the name of its text, corpus or recipe.

    >>> run_folder(Options(("shakespeare",))).as_posix(), run_folder(Options(corpus="texts/my.txt")).as_posix()
    ('runs/shakespeare', 'runs/my')
    """
    if options.folder is not None:
        return options.folder
    texts, recipe = _text_or_recipe(options)
    source = texts[0] if texts else options.corpus
    if source is None:
        return Path("runs", recipe or "fables")
    folder = Path("runs", own_text.name_of(source))
    return folder.with_name(folder.name + "-model") if folder.resolve() == Path(source).resolve() else folder


def _text_or_recipe(options: Any) -> tuple[tuple[str, ...], str | None]:
    """What the words of the command line are: texts of your own, or the name of a recipe.

    Raises:
        ValueError: they are neither, or both, or a text is named twice.
        FileNotFoundError: one of several, or what looks like a file, is not there.
    """
    words = (options.recipe,) if isinstance(options.recipe, str) else tuple(options.recipe or ())
    if len(words) == 1 and words[0] in RECIPES:
        return (), words[0]
    recipes = [word for word in words if word in RECIPES and not Path(word).exists()]
    if recipes:
        raise ValueError(f"{recipes[0]!r} is a recipe, and so is alone: name texts only, or give it `--corpus FILE`")
    for word in words:
        path = Path(word).expanduser()
        if path.exists():
            continue
        if len(words) > 1 or path.suffix or path.name != word:
            raise FileNotFoundError(f"there is no file {word!r} (looked from {Path.cwd()}): check the path")
        close = difflib.get_close_matches(word, RECIPES, n=1)
        guess = f"; perhaps you mean {close[0]!r}" if close else ""
        known = ", ".join(RECIPES)
        raise ValueError(f"there is no recipe {word!r}{guess}: choose one of {known}, or name a text file of yours")
    if words and options.corpus is not None:
        raise ValueError(f"two texts: {words[0]!r} and --corpus {options.corpus!r}: name one of them")
    if words and options.config is not None:
        raise ValueError(f"--config has a text of its own: leave out {words[0]!r}, or use --corpus to exchange it")
    return words, None


def _start(options: Any) -> Settings:
    """The settings before the options change them."""
    texts, recipe = _text_or_recipe(options)
    if options.config is not None:
        return from_yaml(options.config)
    folder = run_folder(options)
    saved = folder / CONFIG
    if texts:
        return _own(texts, options, saved)
    if recipe is None and options.resume and saved.is_file():
        return from_yaml(saved)
    if recipe is None and options.resume and options.corpus is None:
        raise ValueError(f"there is nothing to resume in {str(folder)!r}{_runs_beside(folder)}")
    return Settings(RECIPES[recipe or "fables"])


def _own(texts: tuple[str, ...], options: Any, saved: Path) -> Settings:
    """The settings for texts of one's own: those of the run to continue, or planned from their length."""
    from gptlab.corpora.shards import are_shards
    from gptlab.runs import documents

    if shards := next((text for text in texts if are_shards(text)), None):
        raise ValueError(f"{shards!r} holds shards, not a text: train on them with `--corpus {shlex.quote(shards)}`")
    if options.resume and saved.is_file():
        return _same_text(from_yaml(saved), texts, saved.parent)
    field, separator = options.field or "text", options.separator
    read = documents.read(texts, field, separator)
    recipe = own_text.plan(sum(map(len, read)), len(set().union(*read)))
    return Settings(dataclasses.replace(recipe, corpus=own_text.title(texts), texts=texts))


def _same_text(settings: Settings, texts: tuple[str, ...], folder: Path) -> Settings:
    """The settings of a run that goes on, whose text may have moved, but must have the same name.

    Raises:
        ValueError: the run is on another text.
    """
    here = own_text.title(texts)
    if settings.recipe.corpus != here:
        raise ValueError(
            f"the run in {str(folder)!r} is on {settings.recipe.corpus!r}, not on {here!r}: name that one, or choose "
            "another --folder"
        )
    return dataclasses.replace(settings, recipe=dataclasses.replace(settings.recipe, texts=texts))


def _runs_beside(folder: Path) -> str:
    """In words, which runs could have been meant."""
    beside = sorted(path.parent.name for path in folder.parent.glob(f"*/{CONFIG}")) if folder.parent.is_dir() else []
    if not beside:
        return ", nor is there another run beside it: leave out --resume to start one"
    close = difflib.get_close_matches(folder.name, beside, n=1, cutoff=0.5)
    guess = f"; perhaps you mean {str(folder.parent / close[0])!r}" if close else ""
    return f"{guess}: the runs in {str(folder.parent)!r} are {', '.join(beside[:8])}"


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
    model, training, policy = (entries.pop(name, None) or {} for name in ("model", "training", "policy"))
    entries = {_OLD_NAMES.get(name, name): value for name, value in entries.items()}
    training = {OLD_NAMES.get(name, name): value for name, value in training.items()}
    whole = {name: entries.pop(name) for name in option_names(Settings) if name in entries}
    recipe = Recipe(
        **_checked(path, "", entries, Recipe),
        model=_checked(path, "model.", model, GPTConfig),
        training=TrainConfig(**_checked(path, "training.", training, TrainConfig)),
        policy=PolicyConfig(**_checked(path, "policy.", policy, PolicyConfig)) if policy else None,
    )
    return Settings(recipe, **_checked(path, "", whole, Settings))


_SECTIONS = {"": (Recipe, Settings), "model.": (GPTConfig,), "training.": (TrainConfig,), "policy.": (PolicyConfig,)}
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word", tuple: "a list of numbers"}


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
    kinds = _kinds(hint)
    if value is None and types.NoneType in kinds:
        return None
    for kind in kinds:
        if typing.get_origin(kind) is Literal:
            if value in typing.get_args(kind):
                return value
            raise ValueError(f"{where} is {value!r}: choose one of {', '.join(typing.get_args(kind))}")
        if kind == tuple[str, ...] and isinstance(value, list) and all(isinstance(part, str) for part in value):
            return tuple(value)
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
