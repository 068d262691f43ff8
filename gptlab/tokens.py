"""Tokens: a string goes in, integers come out, and decoding them loses nothing.

A model does arithmetic, so text has to become numbers first. A *tokenizer* is the rule for that: it cuts a text into
*tokens* and writes down the *id* of each, an integer from 0 to V - 1, where V is the size of the vocabulary.

Three rules, from the obvious one to the one that never fails:

* `CharTokenizer`: a token is a character. Small V, long sequences, and a character never seen has no id.
* `WordTokenizer`: a token is a word. Short sequences, large V, and most words are unseen sooner or later.
* `ByteTokenizer`: a token is a byte of UTF-8. V = 256 writes every text there is, in the longest sequences of all.

`StreamDecoder` (in `gptlab.streaming`) turns ids into text while they are still arriving. Notebook `bpe` starts from
bytes and grows words out of them.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, SupportsIndex

from gptlab.entrances import guard
from gptlab.streaming import StreamDecoder, stream_decode
from gptlab.tokenizing import (
    END_OF_TEXT,
    BaseTokenizer,
    Tokenizer,
    checked_ids,
    load,
    without_surrogates,
)

__all__ = [
    "END_OF_TEXT", "ByteTokenizer", "CharTokenizer", "StreamDecoder", "Tokenizer", "WordTokenizer", "load",
    "stream_decode",
]  # fmt: skip

# ---- A token is a character ------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class CharTokenizer(BaseTokenizer):
    """One id for each character, in the order of the alphabet (of Unicode).

    >>> tokenizer = CharTokenizer.from_text("hello")
    >>> tokenizer.characters
    'ehlo'
    >>> tokenizer.encode("hole")
    [1, 3, 2, 0]
    >>> tokenizer.decode([1, 3, 2, 0])
    'hole'

    Attributes:
        characters: the vocabulary; the id of a character is its index in this string.
        special_tokens: tokens that control the model, with their ids, which follow those of the characters; no text
            is encoded as one of them.
    """

    characters: str
    special_tokens: Mapping[str, int] = field(default_factory=dict, hash=False)
    kind: ClassVar[str] = "char"
    _id_of: dict[str, int] = field(init=False, compare=False)
    _tokens: list[str] = field(init=False, compare=False)

    def __post_init__(self):
        if len(set(self.characters)) != len(self.characters):
            raise ValueError(
                "a character occurs twice, so its id would be ambiguous: use CharTokenizer.from_text(text)"
            )
        for position, character in enumerate(self.characters):
            if "\ud800" <= character <= "\udfff":
                raise ValueError(
                    f"character {position} of the vocabulary is {character!r}, half of a surrogate pair, which no "
                    f"UTF-8 file can hold: read the text with encoding='utf-8' and errors='replace'"
                )
        first, last = len(self.characters), len(self.characters) + len(self.special_tokens)
        if sorted(self.special_tokens.values()) != list(range(first, last)):
            raise ValueError(
                f"special_tokens={dict(self.special_tokens)}: their ids follow the {first} characters, from {first} on"
            )
        object.__setattr__(self, "_id_of", {character: id for id, character in enumerate(self.characters)})
        names = sorted(self.special_tokens, key=self.special_tokens.__getitem__)
        object.__setattr__(self, "_tokens", [*self.characters, *names])

    @classmethod
    def from_text(cls, text: str, special_tokens: Collection[str] = ()) -> "CharTokenizer":
        """The vocabulary of every character in `text`, then the special tokens.

        Args:
            text: where the characters come from.
            special_tokens: their names, for example `END_OF_TEXT`.

        Raises:
            ValueError: the text is empty.

        >>> CharTokenizer.from_text("hello", special_tokens=[END_OF_TEXT]).end
        4
        """
        if not text:
            raise ValueError("an empty text has no characters to build a vocabulary from: pass at least one")
        characters = "".join(sorted(set(text)))
        return cls(characters, {name: id for id, name in enumerate(special_tokens, start=len(characters))})

    @property
    def vocab_size(self) -> int:
        """V, the number of different characters, and of special tokens if there are any."""
        return len(self._tokens)

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
        return "".join([self._tokens[id] for id in checked_ids(ids, self.vocab_size)])

    def split_point(self, text: str) -> int:
        """The end of the text: each character is encoded by itself."""
        return len(text)

    def to_json(self) -> dict[str, Any]:
        """The characters, in order, and the special tokens if there are any."""
        special = {"special_tokens": dict(self.special_tokens)} if self.special_tokens else {}
        return {"characters": self.characters, **special}

    def __repr__(self) -> str:
        shown = self.characters if len(self.characters) <= 20 else self.characters[:20] + "…"
        special = f", special_tokens={list(self.special_tokens)}" if self.special_tokens else ""
        return f"CharTokenizer(V={self.vocab_size}: {shown!r}{special})"


# ---- A token is a word -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class WordTokenizer(BaseTokenizer):
    r"""One id for each word, and one for each single character between words: spaces, newlines, punctuation.

    Spaces are tokens like any other, so that joining the tokens gives the text back letter for letter. A word that is
    not in the vocabulary becomes `unknown`, and is lost: the one thing that `decode` cannot undo. Nobody can type the
    unknown token: the text "<unk>" is a `<`, a word and a `>`.

    >>> tokenizer = WordTokenizer.from_text("the fox, the hen")
    >>> tokenizer.words
    ['<unk>', ' ', ',', 'fox', 'hen', 'the']
    >>> tokenizer.encode("the hen")
    [5, 1, 4]
    >>> tokenizer.decode(tokenizer.encode("the foxes, the hen"))
    'the <unk>, the hen'

    Attributes:
        words: the vocabulary; the id of a word is its index in this list.
        unknown: the entry that stands for words outside the vocabulary; with None, such a word is an error.
    """

    words: list[str]
    unknown: str | None = "<unk>"
    kind: ClassVar[str] = "word"
    _id_of: dict[str, int] = field(init=False, compare=False)

    def __post_init__(self):
        if len(set(self.words)) != len(self.words):
            raise ValueError("a word occurs twice, so its id would be ambiguous: use WordTokenizer.from_text(text)")
        if self.unknown is not None and self.unknown not in self.words:
            raise ValueError(
                f"the unknown token {self.unknown!r} is not among the {len(self.words)} words: put it first"
            )
        if self.unknown is not None and len(self.split(self.unknown)) < 2:
            raise ValueError(
                f"{self.unknown!r} could stand in a text: give the unknown token a name that is not one word, '<unk>'"
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
        """The vocabulary of every word in `text`, or of the most frequent ones: `unknown`, then words by the alphabet.

        Args:
            text: where the words come from.
            vocab_size: at most so many entries, the unknown token included; of two words that are equally frequent,
                the first in the alphabet stays.
            unknown: the name of the unknown token, or None for no such token.

        Raises:
            ValueError: the text is empty, or `vocab_size` is too small for a single word.
        """
        counts = Counter(cls.split(without_surrogates(text)))
        if not counts:
            raise ValueError("an empty text has no words to build a vocabulary from: pass at least one")
        special = [] if unknown is None else [unknown]
        size = len(counts) if vocab_size is None else vocab_size - len(special)
        if size < 1:
            raise ValueError(f"vocab_size={vocab_size} has no entry for a word: give at least {len(special) + 1}")
        most_frequent = sorted(counts, key=lambda word: (-counts[word], word))[:size]
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

    def split_point(self, text: str) -> int:
        """The last place that is not inside a word, nor at the end of one that may go on."""
        return next((end for end in range(len(text), 0, -1) if re.match(r"\W", text[end - 1])), 0)

    def to_json(self) -> dict[str, Any]:
        """The words, in order, and which of them is the unknown one."""
        return {"words": self.words, "unknown": self.unknown}

    def __repr__(self) -> str:
        return f"WordTokenizer(V={self.vocab_size}, unknown={self.unknown!r})"


# ---- A token is a byte -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ByteTokenizer(BaseTokenizer):
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
        return list(without_surrogates(text).encode("utf-8"))

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The text of the bytes; bytes that are not UTF-8 become U+FFFD, the replacement character."""
        return bytes(checked_ids(ids, self.vocab_size)).decode("utf-8", errors="replace")

    def split_point(self, text: str) -> int:
        """The end of the text: each character is encoded by itself."""
        return len(text)

    def token_bytes(self, id: int) -> bytes:
        """The byte itself. Raises: ValueError for an id outside 0 to 255."""
        return bytes(checked_ids([id], self.vocab_size))

    def to_json(self) -> dict[str, Any]:
        """Nothing: all such tokenizers are alike."""
        return {}


guard(globals())
