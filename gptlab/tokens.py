"""Lesson 01, tokens: a string goes in, integers come out, and the way back loses nothing.

A model does arithmetic, so text has to become numbers first. A *tokenizer* is the rule for that: it cuts a text into
*tokens* and writes down the *id* of each, an integer from 0 to V - 1, where V is the size of the vocabulary.

Three rules, from the obvious one to the one that never fails:

* `CharTokenizer`: a token is a character. Small V, long sequences, and a character never seen has no id.
* `WordTokenizer`: a token is a word. Short sequences, large V, and most words are unseen sooner or later.
* `ByteTokenizer`: a token is a byte of UTF-8. V = 256 writes every text there is, in the longest sequences of all.

Lesson 02 starts from bytes and grows words out of them.
"""

import codecs
import importlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, SupportsIndex, runtime_checkable

from gptlab.files import write_whole

__all__ = [
    "ByteTokenizer", "CharTokenizer", "StreamDecoder", "Tokenizer", "WordTokenizer", "load", "stream_decode",
]  # fmt: skip


@runtime_checkable
class Tokenizer(Protocol):
    """What every tokenizer of the course can do, and all that the later lessons ask of one."""

    @property
    def vocab_size(self) -> int:
        """V: every id is in `range(V)`, so a table with V rows has a row for each."""
        ...

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, first token first."""
        ...

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The text that `ids` stand for."""
        ...

    def token_bytes(self, id: int) -> bytes:
        """The bytes (UTF-8) that one id stands for. They may be a part of a character only."""
        ...


# ---- What the tokenizers share: ids that are checked, and files that can be opened again -----------------------------


def checked_ids(ids: Iterable[SupportsIndex], vocab_size: int) -> list[int]:
    """`ids` as a list, or a `ValueError` that says which one the vocabulary does not have.

    Python would take -1 for "the last one" and say nothing; a GPU would stop with an unreadable assert. A row of a
    tensor or of an array is welcome; a whole batch is not one text.

    >>> checked_ids((2, 0), vocab_size=3)
    [2, 0]
    """
    ids = ids.tolist() if hasattr(ids, "tolist") else list(ids)
    if ids and isinstance(ids[0], list):
        raise ValueError(
            f"these are {len(ids)} rows of ids, not one: decode them one by one, [decode(row) for row in ids]"
        )
    if ids and (min(ids) < 0 or max(ids) >= vocab_size):
        position, id = next((i, id) for i, id in enumerate(ids) if not 0 <= id < vocab_size)
        raise ValueError(
            f"id {id} (position {position}) is not in this vocabulary of V={vocab_size}, whose ids are 0 to "
            f"{vocab_size - 1}: were these ids made by another tokenizer?"
        )
    return ids


def whole_characters(text: str) -> str:
    r"""`text` as UTF-8 can write it: a half of a surrogate pair, which is no character, becomes U+FFFD.

    >>> whole_characters("a\ud83d!") == "a\ufffd!"
    True
    """
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class SavedAsJson:
    """Gives a tokenizer `save` and `load`: one JSON file that a person can read, with its `kind` written first."""

    kind: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """What has to be written down to build this tokenizer again."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, data: dict[str, Any]):
        """The tokenizer that `to_json` wrote down."""
        return cls(**data)

    def save(self, path: str | os.PathLike) -> None:
        """Write the tokenizer to `path`, whole or not at all: a run that is killed leaves the old file as it was."""
        data = {"kind": self.kind, **self.to_json()}
        write_whole(path, json.dumps(data, ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike):
        """Open a tokenizer of this kind that was saved. Raises: ValueError if the file holds another kind."""
        tokenizer = load(path)
        if not isinstance(tokenizer, cls):
            raise ValueError(
                f"{path} holds a tokenizer of kind {tokenizer.kind!r}, not {cls.kind!r}: use gptlab.tokens.load"
            )
        return tokenizer


# Each kind by the name of its class: a later lesson's module is imported when a file asks for it, not before.
_KINDS = {
    "char": ("gptlab.tokens", "CharTokenizer"),
    "word": ("gptlab.tokens", "WordTokenizer"),
    "byte": ("gptlab.tokens", "ByteTokenizer"),
    "bpe": ("gptlab.bpe", "BPETokenizer"),
    "unigram": ("gptlab.unigram", "UnigramTokenizer"),
}


def load(path: str | os.PathLike) -> Tokenizer:
    """Open any tokenizer that was saved, whatever its kind.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not one that `save` wrote.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "abc.json"
    >>> CharTokenizer.from_text("abc").save(path)
    >>> load(path)
    CharTokenizer(V=3: 'abc')
    """
    known = ", ".join(_KINDS)
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # no UTF-8, or no JSON
        raise ValueError(f"{path} is not a saved tokenizer: it is not JSON ({error})") from error
    kind = data.pop("kind", None) if isinstance(data, dict) else None
    if kind not in _KINDS:
        raise ValueError(f"{path} is not a tokenizer of this course: its kind is {kind!r}, and the kinds are {known}")
    module, name = _KINDS[kind]
    return getattr(importlib.import_module(module), name).from_json(data)


# ---- A token is a character ------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class CharTokenizer(SavedAsJson):
    """One id for each character, in the order of the alphabet (of Unicode).

    >>> tokenizer = CharTokenizer.from_text("hello")
    >>> tokenizer.characters
    'ehlo'
    >>> tokenizer.encode("hole")
    [1, 3, 2, 0]
    >>> tokenizer.decode([1, 3, 2, 0])
    'hole'
    """

    characters: str  # the id of a character is its place in here
    kind: ClassVar[str] = "char"
    _id_of: dict[str, int] = field(init=False, compare=False)

    def __post_init__(self):
        if len(set(self.characters)) != len(self.characters):
            raise ValueError(
                "a character is there twice, so its id would be unclear: use CharTokenizer.from_text(text)"
            )
        for position, character in enumerate(self.characters):
            if "\ud800" <= character <= "\udfff":
                raise ValueError(
                    f"character {position} of the vocabulary is {character!r}, half of a surrogate pair, which no "
                    f"UTF-8 file can hold: read the text with encoding='utf-8' and errors='replace'"
                )
        object.__setattr__(self, "_id_of", {character: id for id, character in enumerate(self.characters)})

    @classmethod
    def from_text(cls, text: str) -> "CharTokenizer":
        """The vocabulary of every character in `text`. Raises: ValueError if the text is empty."""
        if not text:
            raise ValueError("an empty text has no characters to make a vocabulary of: give a text of at least one")
        return cls("".join(sorted(set(text))))

    @property
    def vocab_size(self) -> int:
        """V, the number of different characters."""
        return len(self.characters)

    def encode(self, text: str) -> list[int]:
        """One id for each character. Raises: ValueError at the first character that the vocabulary lacks."""
        try:
            return [self._id_of[character] for character in text]
        except KeyError as error:
            missing = error.args[0]
        raise ValueError(
            f"character {missing!r} at position {text.index(missing)} is not one of the {self.vocab_size} in this "
            f"vocabulary: build it from a text that has the character, or take the character out, or use bytes "
            f"(gptlab.tokens.ByteTokenizer, gptlab.bpe), which can write every text"
        )

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The exact inverse of `encode`. Raises: ValueError for an id outside the vocabulary."""
        return "".join([self.characters[id] for id in checked_ids(ids, self.vocab_size)])

    def token_bytes(self, id: int) -> bytes:
        """The UTF-8 of one character, 1 to 4 bytes. Raises: ValueError for an id outside the vocabulary."""
        return self.decode([id]).encode("utf-8")

    def to_json(self) -> dict[str, Any]:
        """The characters, in order."""
        return {"characters": self.characters}

    def __repr__(self) -> str:
        shown = self.characters if self.vocab_size <= 20 else self.characters[:20] + "…"
        return f"CharTokenizer(V={self.vocab_size}: {shown!r})"


# ---- A token is a word -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class WordTokenizer(SavedAsJson):
    r"""One id for each word, and one for each single character between words: spaces, newlines, punctuation.

    Spaces are tokens like any other, so that joining the tokens gives the text back letter for letter. A word that is
    not in the vocabulary becomes `unknown`, and is lost: the one thing that `decode` cannot undo. Nobody can type the
    unknown token: the text "<unk>" is a `<`, a word and a `>`. With `unknown=None` such a word is an error instead.

    >>> tokenizer = WordTokenizer.from_text("the fox, the hen")
    >>> tokenizer.words
    ['<unk>', ' ', ',', 'fox', 'hen', 'the']
    >>> tokenizer.encode("the hen")
    [5, 1, 4]
    >>> tokenizer.decode(tokenizer.encode("the foxes, the hen"))
    'the <unk>, the hen'
    """

    words: list[str]  # the id of a word is its place in here
    unknown: str | None = "<unk>"
    kind: ClassVar[str] = "word"
    _id_of: dict[str, int] = field(init=False, compare=False)

    def __post_init__(self):
        if len(set(self.words)) != len(self.words):
            raise ValueError("a word is there twice, so its id would be unclear: use WordTokenizer.from_text(text)")
        if self.unknown is not None and self.unknown not in self.words:
            raise ValueError(
                f"the unknown token {self.unknown!r} is not among the {len(self.words)} words: put it first"
            )
        if self.unknown is not None and len(self.split(self.unknown)) < 2:
            raise ValueError(
                f"{self.unknown!r} could stand in a text: name the unknown token so that no word is it: '<unk>'"
            )
        object.__setattr__(self, "_id_of", {word: id for id, word in enumerate(self.words)})

    @staticmethod
    def split(text: str) -> list[str]:
        r"""Runs of letters and digits, and every other character alone; joined again they are the text.

        >>> WordTokenizer.split("It's  2 pm.")
        ['It', "'", 's', ' ', ' ', '2', ' ', 'pm', '.']
        """
        return re.findall(r"\w+|\W", text)

    @classmethod
    def from_text(cls, text: str, vocab_size: int | None = None, unknown: str | None = "<unk>") -> "WordTokenizer":
        """The vocabulary of every word in `text`, or of the most frequent ones, if `vocab_size` sets a limit.

        The limit counts the unknown token too. Words are in alphabetical order after it; of two words that are
        equally frequent, the first in the alphabet is kept.

        Raises:
            ValueError: the text is empty, or `vocab_size` leaves no room for a word.
        """
        counts = Counter(cls.split(whole_characters(text)))
        if not counts:
            raise ValueError("an empty text has no words to make a vocabulary of: give a text of at least one")
        special = [] if unknown is None else [unknown]
        room = len(counts) if vocab_size is None else vocab_size - len(special)
        if room < 1:
            raise ValueError(f"vocab_size={vocab_size} leaves no room for a word: give at least {len(special) + 1}")
        most_frequent = sorted(counts, key=lambda word: (-counts[word], word))[:room]
        return cls(special + sorted(most_frequent), unknown)

    @property
    def vocab_size(self) -> int:
        """V, the number of different words, the unknown token included."""
        return len(self.words)

    def encode(self, text: str) -> list[int]:
        """One id for each word or character between. Raises: ValueError at an unknown word if `unknown` is None."""
        if self.unknown is not None:
            unknown_id = self._id_of[self.unknown]
            return [self._id_of.get(word, unknown_id) for word in self.split(text)]
        try:
            return [self._id_of[word] for word in self.split(text)]
        except KeyError as error:
            missing = error.args[0]
        words = self.split(text)
        position = len("".join(words[: words.index(missing)]))
        raise ValueError(
            f"word {missing!r} at position {position} is not one of the {self.vocab_size} in this vocabulary: build it "
            f"from a text that has the word, or allow unknown='<unk>', or use gptlab.bpe, which can write every word"
        )

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The exact inverse of `encode` for known words. Raises: ValueError for an id outside the vocabulary."""
        return "".join([self.words[id] for id in checked_ids(ids, self.vocab_size)])

    def token_bytes(self, id: int) -> bytes:
        """The UTF-8 of one word. Raises: ValueError for an id outside the vocabulary."""
        return self.decode([id]).encode("utf-8")

    def to_json(self) -> dict[str, Any]:
        """The words, in order, and which of them is the unknown one."""
        return {"words": self.words, "unknown": self.unknown}

    def __repr__(self) -> str:
        return f"WordTokenizer(V={self.vocab_size}, unknown={self.unknown!r})"


# ---- A token is a byte -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ByteTokenizer(SavedAsJson):
    """One id for each byte of UTF-8 (Thompson and Pike 1992): V = 256, nothing to learn, and no text is unknown.

    >>> ByteTokenizer().encode("Aé€")
    [65, 195, 169, 226, 130, 172]
    >>> ByteTokenizer().decode([65, 195, 169])
    'Aé'
    """

    kind: ClassVar[str] = "byte"

    @property
    def vocab_size(self) -> int:
        """V = 256, the values that a byte can have."""
        return 256

    def encode(self, text: str) -> list[int]:
        """The bytes of the text: 1 for an English letter, 2 for é, 3 for €, 4 for most emoji."""
        return list(whole_characters(text).encode("utf-8"))

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The text of the bytes; bytes that are no UTF-8 become U+FFFD, the replacement character."""
        return bytes(checked_ids(ids, self.vocab_size)).decode("utf-8", errors="replace")

    def token_bytes(self, id: int) -> bytes:
        """The byte itself. Raises: ValueError for an id outside 0 to 255."""
        return bytes(checked_ids([id], self.vocab_size))

    def to_json(self) -> dict[str, Any]:
        """Nothing: all such tokenizers are alike."""
        return {}


# ---- Reading along while a model is still writing --------------------------------------------------------------------


class StreamDecoder:
    """Turns ids into text one at a time, and holds back a character until all of its bytes have come.

    One token is not one character: an emoji can be four tokens, and three of them are no text yet. Decoding each
    token alone would show � for them.

    >>> decoder = StreamDecoder(ByteTokenizer())
    >>> [decoder.push(id) for id in ByteTokenizer().encode("a€!")]
    ['a', '', '', '€', '!']
    >>> decoder.flush()
    ''
    """

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, id: int) -> str:
        """The text that is certain once this id has come; often one token's, sometimes none, sometimes two's."""
        return self._utf8.decode(self.tokenizer.token_bytes(id))

    def flush(self) -> str:
        """What is left at the end (� for a character that never became whole); the decoder is as new afterwards."""
        left = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return left


def stream_decode(tokenizer: Tokenizer, ids: Iterable[SupportsIndex]) -> Iterator[str]:
    """The text of `ids`, piece by piece as they arrive; joined, the pieces are `tokenizer.decode(ids)`.

    >>> list(stream_decode(ByteTokenizer(), [104, 105, 226, 130, 172]))
    ['h', 'i', '€']
    """
    decoder = StreamDecoder(tokenizer)
    for id in ids:
        if piece := decoder.push(int(id)):
            yield piece
    if piece := decoder.flush():
        yield piece
