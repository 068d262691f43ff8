"""One HTML file that runs a trained GPT in any browser: no server, no network, nothing to install.

`python3 -m gptlab page` calls `write`. The file holds the weights and the tokenizer (`packing`), the forward pass, the
tokenizer and sampling in JavaScript (`javascript/`, one module an idea, named as in Python), and what a reader sees of
them (`page.html`, `page.css`, `javascript/ui/`); `assembling` puts them together.
"""

from pathlib import Path
from typing import Any

from torch import nn

import gptlab
from gptlab import formats, sampling
from gptlab.chat_template import ASSISTANT, MARKS, USER, ChatTemplate
from gptlab.checkpoints.storage import NOTES
from gptlab.corpora import fables
from gptlab.entrances import guard
from gptlab.files import expanded, write_whole
from gptlab.model import GPT
from gptlab.opening import open_model
from gptlab.page import assembling, packing
from gptlab.page.fables_data import fable_rules
from gptlab.page.packing import LARGEST, Weights
from gptlab.runs import config_file
from gptlab.tokenizing import Tokenizer

__all__ = ["LARGEST", "Weights", "build", "page_data", "write"]

_ABOUT_FABLES = ("fables", "requests")  # corpora whose stories follow the grammar
_REQUEST = "Tell a fable about a proud fox and a silver bell."


def build(model: nn.Module, tokenizer: Tokenizer, name: str, weights: Weights = "float16", corpus: str = "") -> str:
    """The page of a model, as the text of an HTML file.

    Args:
        model: a `GPT` of the course.
        tokenizer: that it was trained with.
        name: what the page calls it.
        weights: how they are stored: "float16"; "int8", half as large and a little less exact; or "float32".
        corpus: what it was trained on, if known; with "fables", the page checks its stories.

    Raises:
        ValueError: it is not a GPT, or too large; or a page cannot carry its tokenizer.
    """
    page = assembling.assemble(page_data(model, tokenizer, name, weights, corpus))
    if (size := len(page.encode("utf-8"))) > LARGEST:
        raise ValueError(f"the page would have {size / 1e6:.1f} MB, and {LARGEST / 1e6:.0f} MB is the limit")
    return page


def write(folder: Path, out: Path, weights: Weights = "float16") -> int:
    """Write the page of the model in a folder.

    Args:
        folder: a model's, a training run's, or one with a GPT-2 or a Llama in the format of transformers.
        out: the HTML file; a page of an earlier call may be there, and is replaced.
        weights: as for `build`.

    Returns:
        The size of the page, in bytes.

    Raises:
        ValueError: as for `build`; or `out` is a folder, in a folder that is not there, or a file that is no page.
        gptlab.checkpoints.CheckpointError: there is no model in the folder, or it is damaged.
    """
    out = expanded(out)
    check_out(out)
    model, tokenizer = open_model(folder)
    page = build(model, tokenizer, name_of(folder), weights, corpus_of(folder)).encode("utf-8")
    write_whole(out, page)
    return len(page)


def check_out(out: Path) -> None:
    """Check that a page may be written here.

    Raises:
        ValueError: it is a folder, in a folder that is not there, or a file that is no page of ours.

    >>> check_out(Path("/nowhere/mine.html"))
    Traceback (most recent call last):
    ValueError: there is no folder '/nowhere' to write 'mine.html' into: make it, or choose another place
    """
    if out.is_dir():
        raise ValueError(f"{str(out)!r} is a folder: name the file, such as {str(out / 'mine.html')!r}")
    if not out.parent.is_dir():
        raise ValueError(
            f"there is no folder {str(out.parent)!r} to write {out.name!r} into: make it, or choose another place"
        )
    if out.exists() and not assembling.is_ours(out):
        raise ValueError(
            f"{str(out)!r} is there already, and is no page that this command has made: choose another name"
        )


def page_data(
    model: nn.Module, tokenizer: Tokenizer, name: str, weights: Weights = "float16", corpus: str = ""
) -> dict[str, Any]:
    """What a page carries, apart from its code.

    Args:
        model: as for `build`, like all others.
        tokenizer: that it was trained with.
        name: what the page calls it.
        weights: how they are stored.
        corpus: what it was trained on.
    """
    gpt = packing.check_model(model)
    parameters, V = gpt.count_parameters(), tokenizer.vocab_size
    packing.check_size(gpt.config, parameters, weights)
    packed_tokenizer = packing.pack_tokenizer(tokenizer)
    packed = packing.pack_weights(gpt, V, weights)
    about = {
        "name": name,
        "title": f"{name}: a GPT of {parameters:,} parameters",
        "parameters": parameters,
        "bytes": len(packed.weights),
        "weights": weights,
        "corpus": corpus or None,
        "made_with": f"gptlab {gptlab.__version__}",
    }
    return {
        "about": about,
        "config": packing.config_entries(gpt, V),
        "tensors": packed.tensors,
        "weights": packing.in_base85(packed.weights),
        "tokenizer": packed_tokenizer,
        "prompt": first_prompt(gpt, tokenizer, corpus),
        "fables": fable_rules() if corpus in _ABOUT_FABLES else None,
        "chat": chat_entries(tokenizer),
    }


def name_of(folder: Path) -> str:
    """What a page calls the model in a folder: a run's name, also for a checkpoint in it, or that of the folder.

    Args:
        folder: of the model or the run.

    >>> name_of(Path("/nowhere/runs/my"))
    'my'
    """
    return _run(folder).name


def corpus_of(folder: Path) -> str:
    """The corpus that a model was trained on, as its notes or its run tell; "" if they do not.

    Args:
        folder: of the model or the run.
    """
    try:
        if (folder / NOTES).is_file():
            recipe = formats.read_json(folder / NOTES, dict)["recipe"]
            corpus, own = str(recipe["corpus"]), recipe.get("texts")
        else:
            settings = config_file.from_yaml(_run(folder) / config_file.CONFIG)
            corpus, own = settings.recipe.corpus, settings.recipe.texts
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return ""  # notes are for people: damaged ones stop nothing
    return "" if own and corpus in _ABOUT_FABLES else corpus  # a file of one's own may be called "fables"


def _run(folder: Path) -> Path:
    """The folder of a run, for a checkpoint in it; otherwise the folder itself."""
    folder = folder.resolve()
    beside = (folder / config_file.CONFIG).is_file()
    return folder.parent if not beside and (folder.parent / config_file.CONFIG).is_file() else folder


def first_prompt(model: GPT, tokenizer: Tokenizer, corpus: str = "") -> str:
    """A text that a reader can begin with: of fables their traveller, otherwise the first words that the model writes.

    Args:
        model: the page's.
        tokenizer: its tokenizer.
        corpus: what it was trained on.
    """
    if corpus in _ABOUT_FABLES:
        return fables.TRAVELLER.partition(".")[0] + "."
    try:
        first = [tokenizer.end] if tokenizer.end is not None else tokenizer.encode("\n")
    except ValueError:  # a vocabulary without a newline
        first = [0]
    new = min(12, model.config.context)
    stop = tokenizer.end
    ids = sampling.generate_each(model, [first], new, temperature=0, vocab_size=tokenizer.vocab_size, stop=stop)[0]
    text = tokenizer.decode([id for id in ids[len(first) :] if id != stop]).strip()
    words = text.partition("\n")[0].replace("\ufffd", "").split(" ")
    return " ".join(words[:-1] if len(words) > 1 else words)  # the last word may be cut


def chat_entries(tokenizer: Tokenizer) -> dict[str, Any] | None:
    """What a page needs to hold a conversation as `gptlab.chat_template` writes it; None for a model without one.

    A conversation is `begin`, then for each message its role's token, its text encoded as ordinary text, and `end`;
    then `assistant`, and the model answers until one of `stops`.

    Args:
        tokenizer: of the model.
    """
    if not set(MARKS) <= tokenizer.special_tokens.keys():
        return None
    template, special = ChatTemplate(tokenizer), tokenizer.special_tokens
    return {
        "begin": template.begin,
        "user": special[USER],
        "assistant": special[ASSISTANT],
        "end": template.end,
        "stops": [id for id in (template.end, template.begin) if id is not None],
        "example": _REQUEST,
    }


guard(globals())
