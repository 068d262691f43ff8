"""The settings of a SentencePiece model, read from its file, so that nothing has to be guessed from its behaviour.

A model is one message in the format of Protocol Buffers. Only what a tokenizer needs is read: the pieces with their
scores and types, and the entries of the trainer's and the normaliser's settings.
"""

import base64
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from gptlab.saved_tokenizers import UNPACKED

if TYPE_CHECKING:
    import sentencepiece


class PieceType(IntEnum):
    """What a piece is for. Text is encoded as normal and user-defined pieces only."""

    NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


class Piece(NamedTuple):
    """An entry of the vocabulary.

    Attributes:
        text: the piece, with ▁ for its spaces.
        score: ln p in a Unigram model.
        type: what it is for.
    """

    text: str
    score: float
    type: PieceType


class Settings(NamedTuple):
    """What a SentencePiece model says of itself.

    Attributes:
        pieces: the vocabulary, in the order of the ids.
        model_type: "unigram", "bpe", "word" or "char".
        add_dummy_prefix: a space is put before each text.
        remove_extra_whitespaces: several spaces become one, and none stays at the ends.
        treat_whitespace_as_suffix: ▁ is written behind words.
        precompiled_charsmap: the table of characters to replace before encoding; empty for none.
        denormalizer_charsmap: the table of characters to replace after decoding; empty for none.
        unk_surface: how the unknown token is decoded.
    """

    pieces: list[Piece]
    model_type: str
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    treat_whitespace_as_suffix: bool
    precompiled_charsmap: bytes
    denormalizer_charsmap: bytes
    unk_surface: str


def read_settings(model: bytes) -> Settings:
    """The settings of a model.

    Args:
        model: the content of a `.model` file, or `processor.serialized_model_proto()`.
    """
    pieces, sections = [], {}
    for number, value in _fields(model):
        if number == 1:
            entry = dict(_fields(value))
            type = PieceType(entry.get(3, PieceType.NORMAL))
            pieces.append(Piece(entry.get(1, b"").decode("utf-8"), entry.get(2, 0.0), type))
        elif number in (2, 3, 5):  # trainer, normaliser, denormaliser
            sections[number] = dict(_fields(value))
    trainer, normalizer, denormalizer = (sections.get(number, {}) for number in (2, 3, 5))
    return Settings(
        pieces,
        model_type={1: "unigram", 2: "bpe", 3: "word", 4: "char"}[trainer.get(3, 1)],
        add_dummy_prefix=bool(normalizer.get(3, True)),
        remove_extra_whitespaces=bool(normalizer.get(4, True)),
        treat_whitespace_as_suffix=bool(trainer.get(24, False)),
        precompiled_charsmap=normalizer.get(2, b""),
        denormalizer_charsmap=denormalizer.get(2, b""),
        unk_surface=trainer.get(44, " ⁇ ".encode()).decode("utf-8"),
    )


def user_defined_score(piece: str, version: str) -> float:
    """The score that the library gives a user-defined symbol, which a model's file does not have.

    Args:
        piece: the symbol.
        version: of the installed library; the rule changed after 0.2.1.

    >>> user_defined_score("<sep>", "0.2.1"), user_defined_score("<sep>", "0.2.3")
    (-0.1, 0.4)
    """
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdecimal())
    return -0.1 if numbers <= (0, 2, 1) else 0.1 * (len(piece.encode("utf-8")) - 1)


def unigram_fields(processor: "sentencepiece.SentencePieceProcessor") -> dict[str, Any]:
    """What `gptlab.unigram.UnigramTokenizer` needs to give the ids and texts of a model.

    Args:
        processor: the opened model.

    Raises:
        ValueError: the model is BPE or a word model, or it writes ▁ behind words instead of before them.
    """
    import sentencepiece

    settings = read_settings(processor.serialized_model_proto())
    if settings.model_type not in ("unigram", "char"):
        reason = {"bpe": "its scores are ranks", "word": "its pieces are whole words"}[settings.model_type]
        raise ValueError(
            f"this model is of the type {settings.model_type.upper()} ({reason}), not Unigram: "
            "use it through the library, or train one with model_type='unigram'"
        )
    if settings.treat_whitespace_as_suffix:
        raise ValueError("this model was trained with treat_whitespace_as_suffix, which is not supported here")
    scores: list[float | None] = []
    for piece in settings.pieces:
        if piece.type == PieceType.USER_DEFINED:
            scores.append(single(user_defined_score(piece.text, sentencepiece.__version__)))
        else:
            scores.append(piece.score if piece.type == PieceType.NORMAL else None)
    return {
        "pieces": [piece.text for piece in settings.pieces],
        "scores": scores,
        "unknown": processor.unk_id(),
        "dummy_prefix": settings.add_dummy_prefix,
        "remove_extra_whitespaces": settings.remove_extra_whitespaces,
        "precompiled_charsmap": settings.precompiled_charsmap,
        "user_defined_symbols": tuple(p.text for p in settings.pieces if p.type == PieceType.USER_DEFINED),
        "like_sentencepiece": True,
        "unk_surface": settings.unk_surface,
        "denormalizer_charsmap": settings.denormalizer_charsmap,
    }


def single(number: float) -> float:
    """The nearest 32-bit number: the library computes with these."""
    return struct.unpack("f", struct.pack("f", number))[0]


@cache
def character_map(charsmap: bytes) -> "sentencepiece.SentencePieceNormalizer":
    """SentencePiece's own replacement of characters, without anything about spaces.

    Args:
        charsmap: a compiled table, as the library writes it into its models.

    Raises:
        ImportError: sentencepiece is not installed.
    """
    import sentencepiece

    settings = b"\x12" + _varint(len(charsmap)) + charsmap  # field 2 of the normaliser's settings …
    model = b"\x1a" + _varint(len(settings)) + settings  # … which are field 3 of a model
    return sentencepiece.SentencePieceNormalizer(
        model_proto=model, add_dummy_prefix=False, escape_whitespaces=False, remove_extra_whitespaces=False
    )


def replace_characters(text: str, charsmap: bytes, symbols: Sequence[str], remove_extra_whitespaces: bool) -> str:
    """The library's normalisation, but for the dummy prefix and the spaces at the end.

    Args:
        text: any text.
        charsmap: the table of characters to replace, empty for none.
        symbols: user-defined symbols, which no rule changes.
        remove_extra_whitespaces: make one space of several, and none at the start.

    >>> replace_characters(" a   b", b"", [], remove_extra_whitespaces=True)
    'a b'
    """
    parts = [text]  # text, symbol, text, symbol, …, text
    if symbols:
        parts = re.split(f"({'|'.join(map(re.escape, sorted(symbols, key=len, reverse=True)))})", text)
    if charsmap:
        parts[::2] = [character_map(charsmap).normalize(part) for part in parts[::2]]
    if remove_extra_whitespaces:
        parts[::2] = [re.sub(" +", " ", part) for part in parts[::2]]
        after_space = True
        for i, part in enumerate(parts):
            parts[i] = part.lstrip(" ") if after_space else part
            after_space = parts[i].endswith(" ") if parts[i] else after_space
    return "".join(parts)


# ---- Fields of a tokenizer in a JSON file ----------------------------------------------------------------------------

_OLDER_NAMES = {
    "collapse": "remove_extra_whitespaces", "rules": "precompiled_charsmap", "symbols": "user_defined_symbols",
}  # fmt: skip


def fields_to_json(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a tokenizer with tables of characters compressed and written in base64."""
    return {
        name: base64.b64encode(zlib.compress(value, 9)).decode() if isinstance(value, bytes) else value
        for name, value in fields.items()
    }


def fields_from_json(data: dict[str, Any]) -> dict[str, Any]:
    """The fields that `fields_to_json` wrote, or an older version of it, whose names were others."""
    fields = {_OLDER_NAMES.get(name, name): value for name, value in data.items()}
    for name in {"precompiled_charsmap", "denormalizer_charsmap"} & fields.keys():
        fields[name] = _unpacked(fields[name])
    if data.get("rules"):  # there, the table was stored inside the normaliser's settings
        fields["precompiled_charsmap"] = read_settings(fields["precompiled_charsmap"]).precompiled_charsmap
    return fields | {"user_defined_symbols": tuple(fields.get("user_defined_symbols", ()))}


def _unpacked(text: str) -> bytes:
    """Bytes that were packed with zlib and written in base64, unless a few of them mean a whole memory of zeros."""
    unpacking = zlib.decompressobj()
    found = unpacking.decompress(base64.b64decode(text), UNPACKED)
    if unpacking.unconsumed_tail or not unpacking.eof:
        raise ValueError(f"a table of characters is cut, or larger than {UNPACKED:,} bytes")
    return found


# ---- The format: each field is a number, a type and a value ----------------------------------------------------------


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message: (number, an int, a float or bytes)."""
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        number, type = key >> 3, key & 7
        if type == 0:
            value, at = _read_varint(message, at)
        elif type == 2:
            size, at = _read_varint(message, at)
            value, at = message[at : at + size], at + size
        elif type in (1, 5):
            size = 8 if type == 1 else 4
            value, at = struct.unpack("<d" if size == 8 else "<f", message[at : at + size])[0], at + size
        else:
            raise ValueError(f"this is not a SentencePiece model: at byte {at} it has a field of type {type}")
        yield number, value


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """An integer of variable length, 7 bits in each byte, and the position behind it."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _varint(value: int) -> bytes:
    """An integer as `_read_varint` reads it."""
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
