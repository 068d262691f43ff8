"""What every tokenizer of the course can do, and what all of them share: special tokens, tiktoken's names, files.

`Tokenizer` is the interface that the later lessons rely on. `BaseTokenizer` gives a class the rest of it once it can
encode and decode; a file is opened by the kind that stands in it, and a class registers its
kind when it is defined. The notebooks `tokens`, `bpe` and `unigram` write the tokenizers.
"""

import json
import os
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, SupportsIndex, runtime_checkable

import gptlab
from gptlab import formats, saved_tokenizers
from gptlab.entrances import guard
from gptlab.files import write_whole

END_OF_TEXT = "<|endoftext|>"  # the special token that ends a document: GPT-2's, GPT-4's and this course's
END_TOKENS = (END_OF_TEXT, "<|end_of_text|>", "</s>")  # and its names in Llama 3 and in SentencePiece


@runtime_checkable
class Tokenizer(Protocol):
    """What every tokenizer of the course can do, and all that the later lessons ask of one."""

    @property
    def vocab_size(self) -> int:
        """V: every id is in `range(V)`, so a table with V rows has a row for each."""
        ...

    @property
    def special_tokens(self) -> Mapping[str, int]:
        """Tokens that control the model and are never text, with their ids; empty if there are none."""
        ...

    @property
    def end(self) -> int | None:
        """The id of the token that ends a document, or None if the vocabulary has no such token."""
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


# ---- Texts and ids that are checked ----------------------------------------------------------------------------------


def checked_ids(ids: Iterable[SupportsIndex], vocab_size: int) -> list[int]:
    """`ids` as a list of int, each of them in `range(vocab_size)`.

    Python would take -1 for "the last one" and say nothing; a GPU would stop with an unreadable assert.

    Args:
        ids: a list, or one row of a tensor or an array.
        vocab_size: V of the tokenizer.

    Raises:
        ValueError: an id is not in the vocabulary (which one, and at which position), or these are several rows.

    >>> checked_ids((2, 0), vocab_size=3)
    [2, 0]
    """
    ids = ids.tolist() if hasattr(ids, "tolist") else list(ids)
    if ids and isinstance(ids[0], list):
        raise ValueError(f"these are {len(ids)} rows of ids, not one: use decode_batch, or decode each row")
    if ids and (min(ids) < 0 or max(ids) >= vocab_size):
        position, id = next((i, id) for i, id in enumerate(ids) if not 0 <= id < vocab_size)
        raise ValueError(
            f"id {id} (position {position}) is not in this vocabulary of V={vocab_size}, whose ids are 0 to "
            f"{vocab_size - 1}: were these ids made by another tokenizer?"
        )
    return ids


def without_surrogates(text: str) -> str:
    r"""`text` as UTF-8 can write it: half of a surrogate pair, which is not a character, becomes U+FFFD.

    >>> without_surrogates("a\ud83d!") == "a\ufffd!"
    True
    """
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# ---- What the tokenizers share ---------------------------------------------------------------------------------------


class BaseTokenizer:
    """The base class of the course's tokenizers; a subclass writes `encode`, `decode` and `vocab_size`.

    Attributes:
        kind: the name of the class in saved files, such as "bpe".
        special_tokens: tokens that control the model and are never text, with their ids.
    """

    kind: ClassVar[str]
    special_tokens: Mapping[str, int] = MappingProxyType({})

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        if "kind" in vars(cls):
            _CLASS_OF[cls.kind] = cls

    @property
    def end(self) -> int | None:
        """The id of the token that ends a document, or None if there is no such token."""
        return next((self.special_tokens[name] for name in END_TOKENS if name in self.special_tokens), None)

    def token_bytes(self, id: int) -> bytes:
        """The UTF-8 of one token. Raises: ValueError for an id outside the vocabulary."""
        return self.decode([id]).encode("utf-8")

    # -- a long text, part by part

    def split_point(self, text: str) -> int:
        """The last position at which the beginning of a long text can be cut without changing any id.

        The ids of `text[:point]`, followed by `encode_rest` of what comes after it, are the ids of the whole text,
        however it goes on. 0 means that the tokenizer has to see more of the text.
        """
        return 0

    def encode_rest(self, text: str) -> list[int]:
        """The ids of a text that was cut at a `split_point`, from there on."""
        return self.encode(text)

    # -- tiktoken's names for the same things

    @property
    def n_vocab(self) -> int:
        """`vocab_size`, as tiktoken calls it."""
        return self.vocab_size

    @property
    def eot_token(self) -> int | None:
        """`end`, as tiktoken calls it."""
        return self.end

    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of a text in which special tokens are text like any other."""
        return self.encode(text)

    def encode_batch(self, texts: Iterable[str], **options: Any) -> list[list[int]]:
        """The ids of several texts.

        Args:
            texts: the texts; they may differ in length.
            **options: what `encode` takes beside the text.

        >>> from gptlab.tokens import ByteTokenizer
        >>> ByteTokenizer().encode_batch(["a", "bc"])
        [[97], [98, 99]]
        """
        return [self.encode(text, **options) for text in texts]

    def decode_batch(self, batch: Iterable[Iterable[SupportsIndex]], **options: Any) -> list[str]:
        """The texts of several rows of ids.

        Args:
            batch: rows of ids; they may differ in length.
            **options: what `decode` takes beside the ids.

        >>> from gptlab.tokens import ByteTokenizer
        >>> ByteTokenizer().decode_batch([[97], [98, 99]])
        ['a', 'bc']
        """
        return [self.decode(ids, **options) for ids in batch]

    def decode_single_token_bytes(self, id: int) -> bytes:
        """`token_bytes`, as tiktoken calls it. Raises: ValueError if there is no such id."""
        return self.token_bytes(id)

    # -- files

    def to_json(self) -> dict[str, Any]:
        """What has to be stored to build this tokenizer again."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, data: dict[str, Any]):
        """The tokenizer that `to_json` stored."""
        return cls(**data)

    def to_huggingface_json(self) -> str:
        """This tokenizer as the text of a `tokenizer.json`; see `gptlab.huggingface.tokenizer_json`."""
        return gptlab.huggingface.tokenizer_json(self)

    def save(self, path: str | os.PathLike) -> None:
        """Write one JSON file that a person can read, all of it or nothing: a killed run leaves the old file intact.

        Args:
            path: the file; missing folders above it are made.
        """
        data = {"kind": self.kind, **self.to_json()}
        write_whole(path, json.dumps(data, ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike):
        """Open a saved tokenizer of this kind.

        Args:
            path: a file that `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: `save` did not write the file, or the tokenizer in it is of another kind.
        """
        tokenizer = load(path)
        if not isinstance(tokenizer, cls):
            raise ValueError(
                f"{path} holds a tokenizer of kind {tokenizer.kind!r}, not {cls.kind!r}: use gptlab.tokens.load"
            )
        return tokenizer


_CLASS_OF: dict[str, type[BaseTokenizer]] = {}  # by kind; each class enters itself when its module is imported


def load(path: str | os.PathLike) -> Tokenizer:
    """Open a saved tokenizer of any kind whose class has been imported.

    `gptlab.tokenizers.load` is this function with every class of the course imported.

    Args:
        path: a file that `save` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: `save` did not write the file, or the class of its kind has not been imported.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from gptlab.tokens import CharTokenizer
    >>> path = Path(tempfile.mkdtemp()) / "abc.json"
    >>> CharTokenizer.from_text("abc").save(path)
    >>> load(path)
    CharTokenizer(V=3: 'abc')
    """
    try:
        data = formats.read_json(path, Any, most=saved_tokenizers.LARGEST)
    except ValueError as error:  # not UTF-8, or not JSON
        raise ValueError(f"{path} is not a saved tokenizer: {error}") from error
    kind = data.pop("kind", None) if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in _CLASS_OF:
        raise ValueError(
            f"{path} is not a tokenizer that can be opened here: its kind is {kind!r}, and the kinds known so far are "
            f"{', '.join(_CLASS_OF)}; `from gptlab.tokenizers import load` knows all kinds of the course"
        )
    try:
        if problem := saved_tokenizers.problem(kind, data):
            raise ValueError(problem)
        return _CLASS_OF[kind].from_json(data)
    except Exception as error:  # whatever a damaged file makes the class stumble over
        raise ValueError(
            f"{path} is not a complete tokenizer of kind {kind!r}, a field is missing, unknown or wrong "
            f"({type(error).__name__}: {error}): save the tokenizer again"
        ) from error


guard(globals())
