"""A tokenizer of the course as one tokenizer.json: the same ids and the same text in Hugging Face's `tokenizers`."""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from gptlab.bpe import BPETokenizer
from gptlab.byte_level import to_printable
from gptlab.entrances import guard
from gptlab.tokenizing import Tokenizer


def tokenizer_json(tokenizer: Tokenizer) -> str:
    """A tokenizer of the course as the text of a `tokenizer.json`; `tokenizers.Tokenizer.from_str` opens it.

    The same ids for every text, and the same text for the ids that a text has. (For bytes that are not UTF-8 the number
    of � may differ.) Special tokens are always read as such: its `encode` is ours with `allowed_special="all"`.

    Args:
        tokenizer: one of the course's five kinds.

    Raises:
        ValueError: for a tokenizer that the format cannot express exactly, with the reason.

    >>> from gptlab.tokens import CharTokenizer
    >>> json.loads(tokenizer_json(CharTokenizer.from_text("abba")))["model"]["vocab"]
    {'a': 0, 'b': 1}
    """
    kind = getattr(tokenizer, "kind", None)
    if kind not in _WRITERS:
        raise ValueError(
            f"a {type(tokenizer).__name__} cannot be written as tokenizer.json: pass a tokenizer of this course "
            "(BPETokenizer.from_tiktoken makes one of a tiktoken.Encoding)"
        )
    nothing = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"))
    data = {"version": "1.0", **nothing, "added_tokens": [], **_WRITERS[kind](tokenizer)}
    return json.dumps(data, ensure_ascii=False)


def _split(pattern: str, behavior: str = "Isolated") -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": False}


def _sequence(kind: str, members: list[dict]) -> dict[str, Any]:
    return {"type": "Sequence", kind: members}


def _characters(tokenizer: Any) -> dict[str, Any]:
    added = {"added_tokens": _added(tokenizer)} if tokenizer.special_tokens else {}
    return {**_whole_tokens(list(tokenizer.characters), r"(?m:.)", None), **added}  # (?m): the dot matches a newline


def _words(tokenizer: Any) -> dict[str, Any]:
    # Python's \w: letters, numbers of every kind and _. There, \w has accents that stand alone, and not ² or Ⅷ.
    return _whole_tokens(tokenizer.words, r"[\p{L}\p{N}_]+|[^\p{L}\p{N}_]", tokenizer.unknown)


def _whole_tokens(tokens: list[str], pattern: str, unknown: str | None) -> dict[str, Any]:
    """A tokenizer that splits by a pattern and looks each part up. What is not there is `unknown`, or an error."""
    absent = "<unk>"
    while unknown is None and absent in tokens:
        absent = f"<{absent}>"
    return {
        "pre_tokenizer": _split(pattern),
        "decoder": {"type": "Fuse"},
        "model": {
            "type": "WordLevel",
            "vocab": {token: id for id, token in enumerate(tokens)},
            "unk_token": unknown or absent,
        },
    }


def _bytes(tokenizer: Any) -> dict[str, Any]:
    return _pairs(BPETokenizer({bytes([byte]): byte for byte in range(256)}, pattern=None))


def _added(tokenizer: Any) -> list[dict[str, Any]]:
    """The special tokens, in the order of their ids."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    special = sorted(tokenizer.special_tokens.items(), key=lambda item: item[1])
    return [{"id": id, "content": token, **flags} for token, id in special]


def _pairs(tokenizer: Any) -> dict[str, Any]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    vocab = {to_printable(token): id for token, id in tokenizer.ranks.items()}
    if taken := [token for token in tokenizer.special_tokens if token in vocab]:
        raise ValueError(
            f"the special tokens {taken} are written like tokens of the vocabulary, and tokenizer.json has one id for "
            "each name: choose names that cannot be a token, such as '<|endoftext|>'"
        )
    return {
        "added_tokens": _added(tokenizer),
        "pre_tokenizer": _sequence("pretokenizers", [_split(for_oniguruma(tokenizer.pattern)), byte_level]),
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,  # a chunk that is a token is that token
            "vocab": vocab,
            "merges": [f"{to_printable(left)} {to_printable(right)}" for left, right in tokenizer.merges],
        },
    }


def for_oniguruma(pattern: str | None) -> str:
    r"""A pattern in the dialect of `tokenizers`, where `$` is the end of a line and `{1,3}+` means "several times".

    >>> for_oniguruma(r"\d{1,3}+|\s+$")
    '\\d{1,3}|\\s+\\z'
    """
    if pattern is None:
        return r"(?m:.+)"

    def translated(found: re.Match) -> str:
        part = found[0]
        if part == "$":
            return r"\z"
        return part[:-1] if part.endswith("}+") and part[0] == "{" else part

    # escapes and [classes] come first, so that a `$` or `{` in them is left alone
    return re.sub(r"\\.|\[(?:\\.|[^\]])*\]|\{\d+,?\d*\}\+|\$", translated, pattern)


def _unigram(tokenizer: Any) -> dict[str, Any]:
    """Unigram as it is trained here. There, every piece has a score and is found in a text, also one for a byte: a
    score as low as the lowest, and a split in what would be its name, keep it out."""
    space, has_bytes = "▁", bool(tokenizer._byte_ids)
    control = [
        piece
        for id, (piece, score) in enumerate(zip(tokenizer.pieces, tokenizer.scores, strict=True))
        if score is None and id not in tokenizer._byte_ids
    ]
    if (
        tokenizer.like_sentencepiece
        or tokenizer.precompiled_charsmap
        or tokenizer.remove_extra_whitespaces
        or tokenizer.user_defined_symbols
        or control
    ):
        raise ValueError(
            "a tokenizer taken over from SentencePiece cannot be written as tokenizer.json exactly (32-bit sums, rules "
            "for characters, control tokens): one that UnigramTokenizer.train has made can"
        )
    if len(set(tokenizer.pieces)) != len(tokenizer.pieces):
        raise ValueError("a piece is there twice, as itself and as a byte: tokenizer.json has one id for each name")
    lowest = min((score for score in tokenizer.scores if score is not None), default=0.0)
    # The words that training has cut at, so that sums are rounded alike: before each ▁, and around each newline.
    cuts = [_split(space, "MergedWithNext"), _split(r"\n")]
    if has_bytes:
        cuts.append(_split(_inside_a_byte(tokenizer.logp), "MergedWithPrevious"))
    back = [{"type": "Replace", "pattern": {"String": space}, "content": " "}]
    back += [{"type": "ByteFallback"}] if has_bytes else []
    back += [{"type": "Fuse"}]
    back += [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if tokenizer.dummy_prefix else []
    write_spaces = {"type": "Replace", "pattern": {"String": " "}, "content": space}
    prefix = [{"type": "Prepend", "prepend": space}] if tokenizer.dummy_prefix else []
    return {
        "normalizer": _sequence("normalizers", [*prefix, write_spaces]),
        "pre_tokenizer": _sequence("pretokenizers", cuts),
        "decoder": _sequence("decoders", back),
        "model": {
            "type": "Unigram",
            "unk_id": tokenizer._byte_ids[0] if has_bytes else None,  # it asks for one even if bytes stand in for it
            "vocab": [
                [piece, lowest if score is None else score]
                for piece, score in zip(tokenizer.pieces, tokenizer.scores, strict=True)
            ],
            "byte_fallback": has_bytes,
        },
    }


def _inside_a_byte(pieces: Iterable[str]) -> str:
    """A pattern that finds a place in "<0x41>" where no piece crosses: who types this has not typed a byte."""
    together, byte = "\0".join(pieces), "[0-9A-F]{2}>"
    places = {"<0": f"<(?=0x{byte})", "0x": f"(?<=<)0(?=x{byte})", "x[0-9A-F]": f"(?<=<0)x(?={byte})"}
    for crossing, place in places.items():
        if not re.search(crossing, together):
            return place
    raise ValueError("pieces such as '<0x4' stand in the vocabulary: in tokenizer.json they cannot be told from bytes")


_WRITERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "char": _characters,
    "word": _words,
    "byte": _bytes,
    "bpe": _pairs,
    "unigram": _unigram,
}


guard(globals())
