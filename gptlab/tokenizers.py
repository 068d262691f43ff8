"""Every kind of tokenizer of the course: a saved one is opened here, and a published one is found by its name.

`gptlab.tokens` must not know the classes of later lessons, so `gptlab.tokens.load` opens the kinds that have been
imported; this module imports them all.
"""

import os
from pathlib import Path

from gptlab import encodings
from gptlab.bpe import BPETokenizer
from gptlab.tokenizing import END_OF_TEXT, Tokenizer, load
from gptlab.tokens import ByteTokenizer, CharTokenizer, WordTokenizer
from gptlab.unigram import UnigramTokenizer

__all__ = [
    "BPETokenizer", "ByteTokenizer", "CharTokenizer", "UnigramTokenizer", "WordTokenizer", "load", "open_tokenizer",
]  # fmt: skip

FILE = "tokenizer.json"  # beside a model, in a run, among shards


def open_tokenizer(name: str | os.PathLike) -> Tokenizer:
    """A tokenizer by its name, or from a file or folder.

    Args:
        name: "bytes" (with an end token), a published vocabulary ("gpt2", "cl100k_base", "o200k_base", "llama3"), the
            path of a saved tokenizer, a folder that has one (a model, a run, shards), or a model of the course
            ("fables").

    Raises:
        ValueError: the name is neither known nor a path.

    >>> open_tokenizer("bytes")
    BPETokenizer(V=257, special_tokens=['<|endoftext|>'])
    """
    if name == "bytes":
        return BPETokenizer.train("", 257, special_tokens=[END_OF_TEXT])
    if name in encodings.NAMES:
        return BPETokenizer.from_tiktoken(encodings.load(str(name)))
    models = Path(__file__).resolve().parents[1] / "data" / "models"
    for path in (Path(name), Path(name) / FILE, models / str(name) / FILE):
        if path.is_file():
            return load(path)
    raise ValueError(
        f"there is no tokenizer {str(name)!r}: choose 'bytes', {', '.join(map(repr, encodings.NAMES))}, "
        f"or a folder with a {FILE}, or the path of one"
    )
