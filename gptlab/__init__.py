"""gptlab: the building blocks of a GPT, one module per notebook, in the order of the course.

Importing `gptlab` is instant: a module (and torch with it) is loaded when it is first used.

>>> import gptlab
>>> gptlab.tokens.CharTokenizer.from_text("abba").encode("ba")
[1, 0]
>>> gptlab.notebook("attention").file
'06_attention'
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from typing import NamedTuple

__version__ = "0.2.0"


class Notebook(NamedTuple):
    """One notebook of the course. Its number is its position in `NOTEBOOKS`, and is written nowhere else.

    Attributes:
        name: of its file, without the number.
        topic: of its module, its tests and its exercises.
        title: as the map of the course shows it.
        idea: in one line.
    """

    name: str
    topic: str
    title: str
    idea: str

    @property
    def number(self) -> int:
        """The position in the course, from 0."""
        return NOTEBOOKS.index(self)

    @property
    def file(self) -> str:
        """The file's name without its ending: "06_attention"."""
        return f"{self.number:02}_{self.name}"


# The course. To add a notebook between two others, add its line here (CONTRIBUTING.md has the other four steps).
NOTEBOOKS = tuple(
    Notebook(*line)
    for line in (
        ("start_here", "start_here", "Start here", "a tiny GPT tells a story; then we ask how"),
        ("tokens", "tokens", "Tokens", "text becomes integers: characters, words, and why neither is enough"),
        ("bpe", "bpe", "Byte-pair encoding", "a vocabulary that grows out of the text"),
        ("sentencepiece", "unigram", "SentencePiece", "two more ways to cut, side by side on the same text"),
        ("tensors_and_batches", "batches", "Tensors and batches", "[B, T, C]: many sequences at once"),
        ("embeddings", "embedding", "Embeddings", "a row of numbers for each token; the first language model"),
        ("attention", "attention", "Attention", "each position decides where to look"),
        ("masking", "masking", "Masking", "which positions may attend to which, in one sequence or in two"),
        ("the_model", "model", "The model", "blocks on a residual stream: exactly GPT-2"),
        ("backpropagation", "backpropagation", "Backpropagation", "the chain rule, and every gradient by hand"),
        ("training", "training", "Training", "from noise to stories, and how far from perfect"),
        ("sampling", "sampling", "Sampling", "from probabilities to words, one at a time"),
        ("from_gpt2_to_llama", "llama", "From GPT-2 to Llama", "four parts swapped, one at a time"),
        ("inside_the_model", "inside_the_model", "Inside the model", "which head knows the name?"),
        ("finetuning", "finetuning", "Fine-tuning", "from a story-teller to one that follows an instruction"),
        ("reinforcement", "reinforcement", "Reinforcement learning", "learning from a reward"),
        ("your_own_gpt", "your_own_gpt", "Your own GPT", "your text, your model, and a page to send to a friend"),
        ("gpu_training", "gpu", "GPU training", "time and memory on one GPU"),
        ("many_gpus", "cluster", "Many GPUs", "data parallel, sharded, and runs that survive"),
    )
)


def notebook(which: int | str | Notebook) -> Notebook:
    """A notebook of the course.

    Args:
        which: its topic, its name, the name of its file, or its number.

    Raises:
        ValueError: there is no such notebook.

    >>> notebook("unigram").title == notebook("03_sentencepiece.ipynb").title == notebook(3).title
    True
    """
    if isinstance(which, Notebook):
        return which
    given = str(which).strip().lower().removesuffix(".ipynb")
    for found in NOTEBOOKS:
        if given in (found.topic, found.name, found.file, str(found.number), f"{found.number:02}"):
            return found
    topics = ", ".join(found.topic for found in NOTEBOOKS)
    raise ValueError(
        f"there is no notebook {which!r}: give a number from 0 to {len(NOTEBOOKS) - 1}, or one of {topics}"
    )


# ── Modules are loaded when they are first used ──────────────────────────────────────────────────────────────────────

try:
    from lazy_loader import attach as _attach
except ModuleNotFoundError:  # `python -m gptlab start` and `test` run before anything is installed

    def _attach(package: str, modules: Iterable[str], attributes: dict[str, list[str]] | None = None):
        """The same as lazy_loader's, without its extras."""
        attributes = attributes or {}
        home = {name: module for module, names in attributes.items() for name in names}

        def load(name: str):
            if name in home:
                return getattr(importlib.import_module(f"{package}.{home[name]}"), name)
            if name in modules:
                return importlib.import_module(f"{package}.{name}")
            raise AttributeError(f"No {package} attribute {name}")

        names = sorted({*modules, *home})
        return load, names.copy, names


__getattr__, _, __all__ = _attach(
    __name__,
    {found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_")},
    {
        "lab": ["breaking", "comparison", "source", "tracing"],
        "lab.source": ["show"],
        "lab.tracing": ["trace"],
    },
)
__all__ = sorted([*__all__, "NOTEBOOKS", "Notebook", "notebook"])


def __dir__() -> list[str]:
    """What `gptlab.<Tab>` shows: the lessons, the tools, and the notebooks' table."""
    return list(__all__)
