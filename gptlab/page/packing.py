"""A model and its tokenizer as what a page carries: numbers in base 85, everything else as JSON.

What the entries mean stands here, and `javascript/model.js` and `javascript/tokenizer.js` read them.
"""

import base64
import dataclasses
import re
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from gptlab.byte_level import to_printable
from gptlab.config import GPTConfig
from gptlab.entrances import guard
from gptlab.model import GPT, unwrapped
from gptlab.page.patterns import character_set, translated
from gptlab.tokenizers import BPETokenizer, ByteTokenizer, CharTokenizer, UnigramTokenizer, WordTokenizer
from gptlab.tokenizing import Tokenizer

Weights = Literal["float16", "int8", "float32"]
BYTES = {"float16": 2, "int8": 1, "float32": 4}  # of one number
LARGEST = 24_000_000  # bytes of a page: a browser opens it in a second or two, and a mailbox takes it
_CHARACTERS = 5 / 4  # for a byte, in base 85
# What javascript/model.js can compute. A part that Python learns later is refused here until it is written there too.
PARTS = {
    "norm": ("layernorm", "rmsnorm"),
    "position": ("learned", "sinusoidal", "none", "rope"),
    "mlp": ("gelu", "gelu_tanh", "relu2", "swiglu"),
}
_TRAINING_ONLY = ("dropout", "init", "mlp_size", "mlp_bias")  # what a finished model no longer needs to know


class Packed(NamedTuple):
    """The weights of a model as bytes.

    Attributes:
        tensors: for each name its shape, its dtype, and where it begins ("offset"); for int8 also where its scales do.
        weights: all of them, little-endian, filled up with zeros to a multiple of four bytes.
    """

    tensors: dict[str, dict[str, Any]]
    weights: bytes


# ── Weights ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def config_entries(model: GPT, vocab_size: int) -> dict[str, Any]:
    """The shape of a model with nothing left to default: `head_size` and `n_kv_head` are always numbers.

    Args:
        model: whose.
        vocab_size: V of the tokenizer; rows of the model beyond it are never chosen, and left out.
    """
    config = model.config
    entries = {name: value for name, value in dataclasses.asdict(config).items() if name not in _TRAINING_ONLY}
    return entries | {
        "vocab_size": min(vocab_size, config.vocab_size),
        "n_kv_head": config.n_kv_head or config.n_head,
        "head_size": config.n_embd // config.n_head,
    }


def check_model(model: nn.Module) -> GPT:
    """The model itself, if a page can run it.

    Raises:
        ValueError: it is not a GPT of the course, or has an unknown part, or weights beside or instead of a GPT's.

    >>> check_model(nn.Linear(2, 3))
    Traceback (most recent call last):
    ValueError: a page runs a GPT of gptlab.model, not a Linear
    """
    model = unwrapped(model)
    if type(model) is not GPT:
        raise ValueError(f"a page runs a GPT of gptlab.model, not a {type(model).__name__}")
    for what, known in PARTS.items():
        if (part := getattr(model.config, what)) not in known:
            raise ValueError(f"a page cannot run a model whose {what} is {part!r}: it knows {', '.join(known)}")
    with torch.device("meta"):
        expected = GPT(model.config).state_dict()
    there = model.state_dict()
    if strange := sorted(there.keys() ^ expected.keys()):
        raise ValueError(
            f"a page runs the parts of a GPT and no others, and this model differs in {strange[0]!r}: merge what "
            "fine-tuning has added (gptlab.lora.merge), or save the model anew"
        )
    return model


def check_size(config: GPTConfig, numbers: int, weights: Weights = "float16") -> None:
    """Refuse a model that is too large for a page, before anything is computed.

    Args:
        config: of the model.
        numbers: its parameters.
        weights: how they are stored.

    Raises:
        ValueError: with the size and the limit, and whether int8 would do.

    >>> check_size(GPTConfig.gpt2(), 124_000_000)
    Traceback (most recent call last):
    ValueError: 124,000,000 parameters of GPT(L=12, C=768) make a page of about 310 MB with float16, and 24 MB is ...
    """
    size = numbers * BYTES[weights] * _CHARACTERS
    if size <= LARGEST:
        return
    fits = weights != "int8" and numbers * _CHARACTERS <= LARGEST
    way = "store them with int8" if fits else "take a smaller model"
    raise ValueError(
        f"{numbers:,} parameters of GPT(L={config.n_layer}, C={config.n_embd}) make a page of about "
        f"{size / 1e6:.0f} MB with {weights}, and {LARGEST / 1e6:.0f} MB is the limit: {way}"
    )


def pack_weights(model: GPT, vocab_size: int, weights: Weights = "float16") -> Packed:
    """The parameters of a model as bytes.

    With "int8" the matrices are stored as whole numbers from -127 to 127, each row with a scale of its own, and what
    has no rows as float16. A tensor with numbers too large for float16 is stored as float32.

    Args:
        model: as `check_model` gives it.
        vocab_size: V of the tokenizer.
        weights: "float16", "int8" or "float32".
    """
    tensors, parts, offset = {}, [], 0
    for name, parameter in _named(model, vocab_size).items():
        dtype = weights if parameter.dim() > 1 or weights != "int8" else "float16"
        if dtype == "float16" and not parameter.half().isfinite().all():
            dtype = "float32"
        entry: dict[str, Any] = {"shape": list(parameter.shape), "dtype": dtype, "offset": offset}
        if dtype == "int8":
            scales = _scales(parameter)
            stored = [(parameter / scales).round().to(torch.int8), scales]
            entry["scales"] = offset + parameter.numel()
        else:
            stored = [parameter.to(getattr(torch, dtype))]
        tensors[name] = entry
        for tensor in stored:
            parts.append(tensor.contiguous().numpy().astype(_little_endian(tensor)).tobytes())
            offset += len(parts[-1])
    return Packed(tensors, b"".join(parts) + bytes(-offset % 4))


def rounded(model: GPT, vocab_size: int, weights: Weights = "float16") -> dict[str, Tensor]:
    """The parameters as a page has them: stored and read again. A test compares the page with a model that has these.

    Args:
        model: as `check_model` gives it.
        vocab_size: V of the tokenizer.
        weights: how they are stored.
    """
    packed = pack_weights(model, vocab_size, weights)
    found = {}
    for name, entry in packed.tensors.items():
        numbers = _read(packed.weights, entry["offset"], entry["shape"], entry["dtype"])
        if "scales" in entry:
            numbers = numbers * _read(packed.weights, entry["scales"], [entry["shape"][0], 1], "float32")
        found[name] = numbers
    return found


def _named(model: GPT, vocab_size: int) -> dict[str, Tensor]:
    """Each parameter once, by its name, on the CPU; tables with a row for each token have V rows."""
    tables = ("embedding.token.weight", "head.weight")
    found = {name: parameter.detach().float().cpu() for name, parameter in model.named_parameters()}
    return {name: tensor[:vocab_size] if name in tables else tensor for name, tensor in found.items()}


def _scales(matrix: Tensor) -> Tensor:
    largest = matrix.abs().amax(dim=1, keepdim=True)  # [rows, 1]
    return torch.where(largest > 0, largest / 127, 1.0)


def _little_endian(tensor: Tensor) -> str:
    return {torch.float16: "<f2", torch.float32: "<f4", torch.int8: "i1"}[tensor.dtype]


def _read(data: bytes, offset: int, shape: list[int], dtype: str) -> Tensor:
    count = torch.Size(shape).numel()
    kind = getattr(torch, dtype)
    return torch.frombuffer(bytearray(data), dtype=kind, count=count, offset=offset).reshape(shape).float()


# ── Tokenizers ───────────────────────────────────────────────────────────────────────────────────────────────────────


def pack_tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    """A tokenizer as JSON: its kind, its vocabulary, its special tokens, and how it splits a text.

    Args:
        tokenizer: of the course.

    Raises:
        ValueError: a page cannot carry it, naming its kind or what is special about it.

    >>> from gptlab.tokens import CharTokenizer
    >>> pack_tokenizer(CharTokenizer.from_text("abba", special_tokens=["<|endoftext|>"]))
    {'kind': 'char', 'end': 2, 'characters': 'ab', 'special': ['<|endoftext|>']}
    """
    for kind, write in _WRITERS.items():
        if type(tokenizer) is kind:
            return {"kind": tokenizer.kind, "end": tokenizer.end, **write(tokenizer)}
    known = ", ".join(kind.__name__ for kind in _WRITERS)
    raise ValueError(f"a page cannot carry a {type(tokenizer).__name__}: it reads and writes with {known}")


def _characters(tokenizer: CharTokenizer) -> dict[str, Any]:
    special = sorted(tokenizer.special_tokens, key=tokenizer.special_tokens.__getitem__)
    return {"characters": tokenizer.characters, "special": special}


def _words(tokenizer: WordTokenizer) -> dict[str, Any]:
    pattern = {"parts": [0, "+|[^]"], "sets": [character_set(r"\w", library=re)]}
    return {"words": list(tokenizer.words), "unknown": tokenizer.unknown, "pattern": pattern}


def _bytes(tokenizer: ByteTokenizer) -> dict[str, Any]:
    return {}


def _byte_pairs(tokenizer: BPETokenizer) -> dict[str, Any]:
    tokens: list[str | None] = [None] * tokenizer.vocab_size  # a published vocabulary leaves some ids unused
    for token, id in tokenizer.ranks.items():
        tokens[id] = to_printable(token)
    pattern = None if tokenizer.pattern is None else translated(tokenizer.pattern)
    return {"tokens": tokens, "special": dict(tokenizer.special_tokens), "pattern": pattern}


def _unigram(tokenizer: UnigramTokenizer) -> dict[str, Any]:
    if tokenizer.precompiled_charsmap or tokenizer.denormalizer_charsmap:
        raise ValueError(
            "a page cannot carry this UnigramTokenizer: it replaces characters by a compiled table of SentencePiece's; "
            "train one with UnigramTokenizer.train, or with SentencePiece and normalization_rule_name='identity'"
        )
    return {
        "pieces": tokenizer.pieces,
        "scores": tokenizer.scores,
        "unknown": tokenizer.unknown,
        "unknownScore": tokenizer._unknown_score,
        "unknownSurface": tokenizer.unk_surface,
        "byteIds": tokenizer._byte_ids,
        "symbols": list(tokenizer.user_defined_symbols),
        "dummyPrefix": tokenizer.dummy_prefix,
        "removeExtraSpaces": tokenizer.remove_extra_whitespaces,
        "likeSentencepiece": tokenizer.like_sentencepiece,
    }


_WRITERS: dict[type, Any] = {
    CharTokenizer: _characters,
    WordTokenizer: _words,
    ByteTokenizer: _bytes,
    BPETokenizer: _byte_pairs,
    UnigramTokenizer: _unigram,
}


def in_base85(data: bytes) -> str:
    r"""Bytes as a text in base 85, which takes 25% more characters than bytes, where base64 takes 33%.

    The digits are those of RFC 1924, with a comma for `<`, so that nothing has to be escaped in HTML.

    Args:
        data: a multiple of four bytes.

    >>> in_base85(b"\x00\x00\x00\x01")
    '00001'
    """
    return base64.b85encode(data).decode("ascii").replace("<", ",")


guard(globals())
