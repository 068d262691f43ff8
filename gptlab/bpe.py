r"""Byte-pair encoding: a vocabulary that grows out of the text it has seen.

Start with bytes, so that no text is unknown. Find the pair of neighbours that occurs most often, give it a new id,
write that id wherever the pair occurs; repeat. Frequent words end up as one token, rare ones as a few, and any text
can still be encoded (Gage 1994; for words Sennrich, Haddow and Birch 2016; on bytes Radford et al. 2019).

The way of the notebook: a text is split (`gptlab.splitting`); then the merges, slow as in a textbook and fast, to train
and to encode (`gptlab.merging`); then, here, a tokenizer that has it all and exchanges vocabularies with `tiktoken`.

The **tie rule**: of two pairs that occur equally often, the pair of smaller ids is merged first. Ids do not depend on
where in the text something occurs, so the same counts give the same merges.
"""

import itertools
import warnings
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, SupportsIndex

from gptlab.byte_level import bytes_to_unicode, from_printable, to_printable
from gptlab.entrances import guard
from gptlab.merging import (
    ChunkCache,
    Merge,
    count_pairs,
    encode_textbook,
    merge,
    merge_by_heap,
    merge_by_rank,
    recover_merges,
    train_fast,
    train_textbook,
)
from gptlab.splitting import GPT2_PATTERN, GPT4_PATTERN, LLAMA3_PATTERN, any_of, last_border, split
from gptlab.tokenizing import BaseTokenizer, checked_ids, without_surrogates

if TYPE_CHECKING:
    import tiktoken

__all__ = [
    "GPT2_PATTERN", "GPT4_PATTERN", "LLAMA3_PATTERN",
    "BPETokenizer", "Merge", "bytes_to_unicode", "count_pairs", "encode_textbook", "merge",
    "merge_by_heap", "merge_by_rank", "split", "train_fast", "train_textbook",
]  # fmt: skip


@dataclass
class BPETokenizer(BaseTokenizer):
    """Byte-pair encoding with special tokens: trained here, or with a published vocabulary such as GPT-2's.

    >>> tokenizer = BPETokenizer.train("low lower lowest " * 9, vocab_size=260, special_tokens=["<|end|>"])
    >>> tokenizer
    BPETokenizer(V=260, special_tokens=['<|end|>'])
    >>> [tokenizer.token_bytes(id) for id in tokenizer.encode("slow")]
    [b's', b'low']
    >>> tokenizer.decode(tokenizer.encode("snow ☃"))
    'snow ☃'

    Attributes:
        ranks: the bytes of each token and its id; a smaller id was merged earlier.
        pattern: what a chunk is; no token crosses the border between two. With None, a text is one chunk.
        special_tokens: tokens that control the model, with their ids; `encode` reads them only if it is told to.
    """

    ranks: dict[bytes, int]
    pattern: str | None = GPT4_PATTERN
    special_tokens: dict[str, int] = field(default_factory=dict)
    kind: ClassVar[str] = "bpe"

    def __post_init__(self):
        self._bytes_of = {id: token for token, id in self.ranks.items()}
        self._bytes_of |= {id: token.encode("utf-8") for token, id in self.special_tokens.items()}
        if len(self._bytes_of) != len(self.ranks) + len(self.special_tokens):
            raise ValueError("two tokens have the same id: give each special token an id that no other token has")
        self._vocab_size = max(self._bytes_of, default=-1) + 1
        missing = [byte for byte in range(256) if bytes([byte]) not in self.ranks]
        if missing:
            raise ValueError(
                f"{len(missing)} of the 256 bytes have no id (the first: {missing[0]}): some text would be lost"
            )
        if "" in self.special_tokens:
            raise ValueError("an empty special token would match everywhere: give it a name, such as '<|endoftext|>'")
        self._ids_of_chunk = ChunkCache(self._encode_chunk)

    @classmethod
    def train(
        cls,
        text: str,
        vocab_size: int,
        pattern: str | None = GPT4_PATTERN,
        special_tokens: Collection[str] = (),
    ) -> "BPETokenizer":
        """Learn a vocabulary from a text: 256 bytes, then merges in the order found, then the special tokens.

        A text that runs out of pairs gives a smaller vocabulary, and a warning that says so; an empty text gives the
        256 bytes.

        Args:
            text: what to learn from.
            vocab_size: V, the bytes and the special tokens included.
            pattern: what a chunk is (see `gptlab.splitting`); with None, tokens may contain spaces and anything else.
            special_tokens: their names; nothing is learned from them where they occur in the text.

        Raises:
            ValueError: `vocab_size` is too small for the bytes and the special tokens.
        """
        if isinstance(special_tokens, str):
            raise ValueError(f"special_tokens is a list of names: write special_tokens=[{special_tokens!r}]")
        special_tokens = list(dict.fromkeys(special_tokens))
        steps = vocab_size - 256 - len(special_tokens)
        if steps < 0:
            raise ValueError(
                f"vocab_size={vocab_size} is too small for 256 bytes and {len(special_tokens)} special tokens: "
                f"give at least {256 + len(special_tokens)}"
            )
        merges = train_fast(split(without_surrogates(text), pattern, special_tokens), steps)
        tokens = [bytes([byte]) for byte in range(256)]
        for step in merges:
            tokens.append(tokens[step.pair[0]] + tokens[step.pair[1]])
        if len(merges) < steps:
            warnings.warn(
                f"no pair is left after {len(merges)} of {steps} merges: the vocabulary has "
                f"{len(tokens) + len(special_tokens)} tokens, not {vocab_size}; a longer text would give more",
                stacklevel=2,
            )
        special = {token: id for id, token in enumerate(special_tokens, start=len(tokens))}
        return cls({token: id for id, token in enumerate(tokens)}, pattern, special)

    @property
    def vocab_size(self) -> int:
        """V: one more than the largest id. A published vocabulary may leave ids unused; a table has rows for them."""
        return self._vocab_size

    @cached_property
    def merges(self) -> list[tuple[bytes, bytes]]:
        """The pairs of tokens that are merged, in the order of their ranks (see `recover_merges`)."""
        return recover_merges(self.ranks)

    # -- text to ids

    def encode(
        self,
        text: str,
        allowed_special: str | Collection[str] = "none",
        disallowed_special: str | Collection[str] = (),
    ) -> list[int]:
        """The ids of a text.

        What if the text contains `<|endoftext|>`? If a user typed it, it must not end anything. So special tokens are
        text like any other unless you allow them. (tiktoken takes the same two arguments, and disallows "all" unless
        told otherwise: there, such a text is an error.)

        Args:
            text: any text.
            allowed_special: the special tokens that become their own ids, "none", "all", or a set of them: for texts
                that your program has put together. "raise" allows none and disallows all.
            disallowed_special: special tokens that must not occur: a collection, or "all" for those not allowed.

        Raises:
            ValueError: the text contains a disallowed token, or an allowed one does not exist.

        >>> tokenizer = BPETokenizer.train("", 257, special_tokens=["<|end|>"])
        >>> tokenizer.encode("<|end|>")
        [60, 124, 101, 110, 100, 124, 62]
        >>> tokenizer.encode("<|end|>", allowed_special="all")
        [256]
        """
        text = without_surrogates(text)
        if allowed_special == "raise":
            allowed_special, disallowed_special = "none", "all"
        allowed = self._named(allowed_special)
        if unknown := set(allowed) - set(self.special_tokens):
            raise ValueError(
                f"{sorted(unknown)} are not special tokens of this vocabulary, which has {list(self.special_tokens)}"
            )
        disallowed = self._named(disallowed_special)
        disallowed = set(disallowed) - set(allowed) if disallowed_special == "all" else disallowed
        if disallowed and (found := any_of(disallowed).search(text)):
            raise ValueError(
                f"the text contains the special token {found.group()!r} at position {found.start()}: encode it as text "
                f"with disallowed_special=(), or as a control token with allowed_special='all' or a set of tokens"
            )
        if not allowed:
            return self.encode_ordinary(text)
        ids: list[int] = []
        for part in any_of(allowed).split(text):  # text, special token, text, special token, …, text
            ids += [self.special_tokens[part]] if part in allowed else self.encode_ordinary(part)
        return ids

    def _named(self, which: str | Collection[str]) -> Collection[str]:
        """The special tokens that "none", "all" or a collection of them means."""
        if not isinstance(which, str):
            return which
        if which not in ("none", "all"):
            raise ValueError(
                f"{which!r}: give 'none' or 'all', or a set of special tokens ({{{which!r}}} for this one)"
            )
        return self.special_tokens if which == "all" else ()

    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of a text in which special tokens are text like any other."""
        chunks = split(without_surrogates(text), self.pattern)
        return list(itertools.chain.from_iterable(map(self._ids_of_chunk.__getitem__, chunks)))

    def _encode_chunk(self, chunk: str) -> list[int]:
        """A chunk that is a token is that token, also one that no merge leads to (Llama 3 has such tokens)."""
        data = chunk.encode("utf-8")
        if data in self.ranks:
            return [self.ranks[data]]
        parts = merge_by_rank(data, self.ranks) if len(data) < 64 else merge_by_heap(data, self.ranks)
        return [self.ranks[part] for part in parts]

    def split_point(self, text: str) -> int:
        """Between two chunks, if the pattern is a published one; of another pattern nothing is known."""
        return last_border(text, self.pattern)

    # -- ids to text

    def decode(self, ids: Iterable[SupportsIndex], errors: str = "replace") -> str:
        """The text of the ids.

        Args:
            ids: ids of this vocabulary.
            errors: what becomes of bytes that are not a complete character: "replace" gives �, "strict" an error.

        Raises:
            ValueError: an id is not in the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", errors=errors)

    def decode_bytes(self, ids: Iterable[SupportsIndex]) -> bytes:
        """The bytes of the ids, exactly. Raises: ValueError if an id is not in the vocabulary."""
        ids = checked_ids(ids, self.vocab_size)
        try:
            return b"".join([self._bytes_of[id] for id in ids])
        except KeyError as error:
            raise ValueError(
                f"id {error.args[0]} is one of those that this vocabulary of V={self.vocab_size} leaves unused: "
                f"a model that was trained with it never generates it"
            ) from None

    def token_bytes(self, id: int) -> bytes:
        """The bytes of one token, perhaps only a part of a character. Raises: ValueError if there is no such id."""
        return self.decode_bytes([id])

    # -- to and from other libraries, and files

    @classmethod
    def from_tiktoken(cls, encoding: "tiktoken.Encoding") -> "BPETokenizer":
        """A `tiktoken.Encoding` with our code: the same ranks, pattern and special tokens, and equal ids."""
        return cls(dict(encoding._mergeable_ranks), encoding._pat_str, dict(encoding._special_tokens))

    def to_tiktoken(self, name: str) -> "tiktoken.Encoding":
        """This tokenizer as a `tiktoken.Encoding`, with equal ids for every text.

        Args:
            name: what the encoding is called.

        Raises:
            ValueError: a special token begins another; tiktoken does not promise which of the two it finds.
            ImportError: tiktoken is not installed.
        """
        import tiktoken

        names = sorted(self.special_tokens)
        if begins := next(((a, b) for a, b in itertools.pairwise(names) if b.startswith(a)), None):
            raise ValueError(
                f"the special token {begins[0]!r} begins {begins[1]!r}, and tiktoken may find either where both could "
                "be: give one of them another name"
            )
        # without a pattern: one chunk, whatever it holds
        pattern = r"(?s:.+)" if self.pattern is None else self.pattern
        return tiktoken.Encoding(
            name, pat_str=pattern, mergeable_ranks=dict(self.ranks), special_tokens=dict(self.special_tokens)
        )

    def to_json(self) -> dict[str, Any]:
        """Pattern, special tokens, and the ranks, with bytes written as `bytes_to_unicode` says."""
        ranks = {to_printable(token): id for token, id in self.ranks.items()}
        return {"pattern": self.pattern, "special_tokens": self.special_tokens, "ranks": ranks}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "BPETokenizer":
        """The tokenizer that `to_json` stored."""
        ranks = {from_printable(token): id for token, id in data["ranks"].items()}
        return cls(ranks, data["pattern"], data["special_tokens"])

    def __repr__(self) -> str:
        return f"BPETokenizer(V={self.vocab_size}, special_tokens={list(self.special_tokens)})"


guard(globals())
