"""gptlab: the building blocks of a GPT, one module a lesson, in the order of the notebooks.

Importing `gptlab` is instant: a lesson's module (and torch with it) is loaded when it is first used.

>>> import gptlab
>>> gptlab.tokens.CharTokenizer.from_text("abba").encode("ba")
[1, 0]
"""

import importlib

__version__ = "0.1.0"

_LESSONS = (
    "tokens", "bpe", "unigram", "batches", "embedding", "attention", "masking", "model",
    "training", "sampling", "llama", "finetuning", "reinforcement", "gpu",
)  # fmt: skip
_LABORATORIES = ("comparison", "breaking")  # what notebooks 06 and 08 take apart, to measure what the parts do
_ROOMS = (
    "splitting",
    "segmentation",
    "muon",
    "evaluation",
)  # too large for lessons 02, 03 and 09
_DOORS = ("downloads", "encodings", "huggingface", "checkpoints")
_WINGS = ("corpora", "pictures", "exercises", "commands")
_TOOLS = {"show": "source", "trace": "tracing"}  # two functions that are asked for everywhere


def __getattr__(name: str):
    """Load a module of the course, or `show` and `trace`, when first asked for."""
    if name in _LESSONS + _LABORATORIES + _ROOMS + _DOORS + _WINGS:
        return importlib.import_module(f"gptlab.{name}")
    if name in _TOOLS:
        return getattr(importlib.import_module(f"gptlab.{_TOOLS[name]}"), name)
    raise AttributeError(f"module 'gptlab' has no attribute {name!r}")
