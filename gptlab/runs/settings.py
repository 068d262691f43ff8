"""The settings of a run: what a recipe, a text, a config.yaml and the command line say together.

`settings_from` puts them together for a run, and config.yaml holds the result (`gptlab.runs.config_file`). The
options of the command line are in `gptlab.runs.options`.
"""

import dataclasses
import difflib
import shlex
from pathlib import Path
from typing import Any

from gptlab.config import GPTConfig
from gptlab.files import expanded
from gptlab.policy import PolicyConfig
from gptlab.runs import own_text
from gptlab.runs.config_file import CONFIG, from_yaml, to_yaml
from gptlab.runs.options import Job, Options, Settings, option_names, sentences
from gptlab.runs.recipes import RECIPES, Recipe
from gptlab.schedule import TrainConfig

__all__ = [
    "CONFIG", "Job", "Options", "Settings", "from_yaml", "option_names", "run_folder", "sentences", "settings_from",
    "to_yaml",
]  # fmt: skip


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
    if "" in (*words, options.corpus):
        raise ValueError("the name of the text is empty: name a file, a folder or a recipe")
    if twice := next((word for word in words if words.count(word) > 1), None):
        raise ValueError(f"{twice!r} is named twice: name each text once")
    if len(words) == 1 and words[0] in RECIPES:
        return (), words[0]
    recipes = [word for word in words if word in RECIPES and not Path(word).exists()]
    if recipes:
        raise ValueError(f"{recipes[0]!r} is a recipe, and so is alone: name texts only, or give it `--corpus FILE`")
    for word in words:
        path = expanded(word)
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
        if any(folder.glob("step-*/state.json")):
            raise ValueError(
                f"{str(folder)!r} has checkpoints and no {CONFIG}, so nobody knows which settings they belong to: put "
                "the file back, or name the text or recipe and the options that the run was started with, too"
            )
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
