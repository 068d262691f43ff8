"""One way to look into any tokenizer: gptlab's, tiktoken's, SentencePiece's, or a plain list of strings."""

import codecs
from typing import Any, NamedTuple

from gptlab.pictures.style import visible


class Piece(NamedTuple):
    """One token, as a person can look at it.

    Attributes:
        id: of the token.
        shown: its text, with spaces and single bytes made visible.
        data: its bytes; None where they are unknown.
        note: more to say about it, such as its rank.
    """

    id: int
    shown: str
    data: bytes | None
    note: str = ""

    @property
    def is_partial(self) -> bool:
        """Whether these bytes do not make whole characters by themselves."""
        try:
            return self.data is not None and not isinstance(self.data.decode("utf-8"), str)
        except UnicodeDecodeError:
            return True

    @property
    def tooltip(self) -> str:
        """Everything there is to say about this token, in one line."""
        parts = [f"id {self.id}"]
        if self.data is not None:
            unit = "byte" if len(self.data) == 1 else "bytes"
            parts.append(f"{len(self.data)} {unit}: {self.data.hex(' ').upper()}" if self.data else "no bytes")
        return " · ".join([*parts, self.note] if self.note else parts)


def _kind(tokenizer: Any) -> str:
    if hasattr(tokenizer, "token_bytes"):  # first: gptlab's tokenizers also answer to tiktoken's names
        return "gptlab"
    if hasattr(tokenizer, "decode_single_token_bytes"):
        return "tiktoken"
    if hasattr(tokenizer, "id_to_piece") and hasattr(tokenizer, "is_byte"):
        return "sentencepiece"
    if isinstance(tokenizer, (list, tuple)):
        return "list"
    raise TypeError(
        f"{type(tokenizer).__name__} is not a tokenizer that can be shown: give one of gptlab's (with encode and "
        f"token_bytes), a tiktoken.Encoding or a sentencepiece.SentencePieceProcessor"
    )


def piece(tokenizer: Any, id: int) -> Piece:
    """One token of a tokenizer.

    Args:
        tokenizer: any of gptlab's, tiktoken's or sentencepiece's, or a list of strings.
        id: of the token.

    >>> from gptlab.tokens import ByteTokenizer
    >>> piece(ByteTokenizer(), 0xE2).tooltip
    'id 226 · 1 byte: E2'
    >>> piece(["yes", " no"], 1).shown
    '␣no'
    """
    id, kind = int(id), _kind(tokenizer)
    if kind == "list":
        return Piece(id, visible(tokenizer[id]), None)
    if kind == "sentencepiece":
        name = tokenizer.id_to_piece(id)
        if tokenizer.is_byte(id):
            return Piece(id, f"<{int(name[3:-1], 16):02X}>", bytes([int(name[3:-1], 16)]), "byte fallback")
        if tokenizer.is_control(id) or tokenizer.is_unknown(id):
            return Piece(id, name, None, "special")
        score = f"score {tokenizer.get_score(id):.2f}".replace("-", "−")
        return Piece(id, visible(name), name.replace("▁", " ").encode(), score)
    if kind == "tiktoken":
        data = tokenizer.decode_single_token_bytes(id)
        ranks, special = tokenizer._mergeable_ranks, tokenizer._special_tokens
    else:
        data = tokenizer.token_bytes(id)
        ranks, special = getattr(tokenizer, "ranks", {}), getattr(tokenizer, "special_tokens", {})
    if id in getattr(special, "values", list)():
        return Piece(id, visible(data), data, "special")
    return Piece(id, visible(data), data, f"rank {ranks[data]}" if data in ranks else "")


def pieces(tokenizer: Any, text: str) -> list[Piece]:
    """The tokens of a text. The note of a token that is only a part of a character says of which.

    Args:
        tokenizer: any of gptlab's, tiktoken's or sentencepiece's.
        text: to be split.

    Raises:
        TypeError: for a list of strings, which cannot split a text.
    """
    kind = _kind(tokenizer)
    if kind == "list":
        raise TypeError("a list of strings cannot split a text: give a tokenizer with encode")
    ids = tokenizer.encode_ordinary(text) if kind == "tiktoken" else tokenizer.encode(text)
    known: dict[int, Piece] = {}
    found = [known.setdefault(id, piece(tokenizer, id)) if id not in known else known[id] for id in map(int, ids)]
    return _with_characters(found)


def _with_characters(found: list[Piece]) -> list[Piece]:
    """Add "part of the character 狐" where a character is spread over tokens."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    result, waiting = list(found), []
    for i, p in enumerate(found):
        if p.data is None:
            waiting = []
            decoder.reset()
            continue
        character = decoder.decode(p.data)
        if waiting and character and character[0] != "\ufffd":
            for j in [*waiting, i]:
                note = f"a part of the character {character[0]}"
                result[j] = result[j]._replace(note=f"{result[j].note} · {note}" if result[j].note else note)
        if character:
            waiting = []
        if decoder.getstate()[0]:
            waiting.append(i)
    return result


def name_of(tokenizer: Any) -> str:
    """What to call a tokenizer above its row, with V, the size of its vocabulary.

    >>> from gptlab.tokens import ByteTokenizer
    >>> name_of(ByteTokenizer())
    'bytes, V = 256'
    """
    kind = _kind(tokenizer)
    names = {"char": "characters", "word": "words", "byte": "bytes", "bpe": "BPE", "unigram": "Unigram"}
    if kind == "tiktoken":
        return f"{tokenizer.name}, V = {tokenizer.n_vocab:,}"
    if kind == "sentencepiece":
        return f"SentencePiece, V = {tokenizer.get_piece_size():,}"
    name = names.get(getattr(tokenizer, "kind", ""), type(tokenizer).__name__)
    return f"{name}, V = {tokenizer.vocab_size:,}"
