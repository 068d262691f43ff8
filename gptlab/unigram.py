r"""The Unigram tokenizer: of all ways to cut a text into pieces, take the most likely one.

Byte-pair encoding grows a vocabulary by merging. Unigram (Kudo 2018) goes the other way: it begins with too many
pieces, gives each a probability, and drops those that the text can best do without. A text is then cut so that the
product of its pieces' probabilities is largest; and as the model knows how likely *every* cut is, it can sample one.

The way of the notebook begins in `gptlab.segmentation`, `gptlab.em` learns a vocabulary, and here is the tokenizer.
`UnigramTokenizer.from_sentencepiece` opens a model of the library SentencePiece (Kudo and Richardson 2018) and gives
the library's ids for every text. Everywhere, `logp` maps a piece to ln p (its *score*, in nats); a space is ▁ (U+2581).
"""

import codecs
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from typing import TYPE_CHECKING, Any, ClassVar, SupportsIndex

from gptlab import sentencepiece_model
from gptlab.em import em_step, prune, seed_pieces, train_pieces, without_rare_characters
from gptlab.entrances import Whole, guard
from gptlab.merging import ChunkCache
from gptlab.segmentation import (
    SPACE,
    Lattice,
    best_path,
    expected_counts,
    fast_path,
    forward,
    lattice,
    log_total,
    not_covered,
    sample_path,
    score,
    segmentations,
    viterbi,
    words_of,
)
from gptlab.tokenizing import BaseTokenizer, checked_ids, without_surrogates

if TYPE_CHECKING:
    import sentencepiece

__all__ = [
    "Lattice", "UnigramTokenizer", "best_path", "em_step", "expected_counts", "forward", "lattice", "log_total",
    "prune", "sample_path", "score", "seed_pieces", "segmentations", "viterbi", "words_of",
]  # fmt: skip
UNKNOWN_PENALTY = 10.0  # nats below the least likely piece: what a character that no piece covers costs


@dataclass(eq=False)
class UnigramTokenizer(BaseTokenizer):
    """Unigram with ▁ for spaces: trained here, or opened from a model of SentencePiece.

    >>> tokenizer = UnigramTokenizer.train("the fox and the hen and the fox " * 9, 14, byte_fallback=False)
    >>> tokenizer.encode_as_pieces("the fox then")
    ['▁the', '▁fox', '▁the', 'n']
    >>> tokenizer.decode(tokenizer.encode("the fox then"))
    'the fox then'

    Attributes:
        pieces: the vocabulary; the id of a piece is its index in this list.
        scores: ln p of each; None for a piece that is never found in a text: a control token, a byte, the unknown one.
        unknown: the id for characters that no piece covers; with None, such a character is an error.
        dummy_prefix: put a space before the text, so that its first word is a word like the others.
        remove_extra_whitespaces: make one space of several, and none at both ends. Not every text comes back then.
        precompiled_charsmap: SentencePiece's table of characters to replace before encoding; empty for none.
        user_defined_symbols: pieces that are found wherever they occur, before anything else.
        like_sentencepiece: compute as the library does, in 32-bit numbers over the whole text, so that roundings agree.
        unk_surface: how the unknown token is decoded.
        denormalizer_charsmap: SentencePiece's table of characters to replace after decoding; empty for none.
    """

    pieces: list[str]
    scores: list[float | None]
    unknown: Whole | None = None
    dummy_prefix: bool = True
    remove_extra_whitespaces: bool = False
    precompiled_charsmap: bytes = b""
    user_defined_symbols: tuple[str, ...] = ()
    like_sentencepiece: bool = False
    unk_surface: str = " ⁇ "
    denormalizer_charsmap: bytes = b""
    kind: ClassVar[str] = "unigram"

    def __post_init__(self):
        if len(self.pieces) != len(self.scores):
            raise ValueError(f"{len(self.pieces)} pieces, but {len(self.scores)} scores: give one for each piece")
        scored = [(p, s, id) for id, (p, s) in enumerate(zip(self.pieces, self.scores, strict=True)) if s is not None]
        self.logp = {piece: value for piece, value, _ in scored}
        self._id_of = {piece: id for piece, _, id in scored}
        unscored = {piece: id for id, piece in enumerate(self.pieces) if self.scores[id] is None}
        byte_ids = [unscored.get(f"<0x{byte:02X}>") for byte in range(256)]
        self._byte_ids = [] if None in byte_ids else byte_ids
        self._byte_of = {id: byte for byte, id in enumerate(self._byte_ids)}
        not_special = {self.unknown, *self._byte_ids}
        self.special_tokens = {piece: id for piece, id in unscored.items() if id not in not_special}
        self._longest = max(map(len, self.logp), default=1)
        normal = [value for piece, value in self.logp.items() if piece not in self.user_defined_symbols]
        self._unknown_score = sentencepiece_model.single(min(normal, default=0.0) - UNKNOWN_PENALTY)
        # A trie as a dict: each piece with its score, and each beginning of a piece that is not one itself, with None.
        self._trie: dict[str, float | None] = {beginning: None for p in self.logp for beginning in accumulate(p)}
        self._trie |= self.logp
        self._ids_of_word = ChunkCache(self._encode_normalised)

    @classmethod
    def train(
        cls,
        text: str,
        vocab_size: int,
        *,
        byte_fallback: bool = True,
        character_coverage: float = 1.0,
        dummy_prefix: bool = True,
    ) -> "UnigramTokenizer":
        """Learn a vocabulary from a text: the 256 bytes first if `byte_fallback`, then the pieces, the likeliest first.

        Nothing is normalised away: with byte fallback, every text comes back (a ▁ in it as a space).

        Args:
            text: what to learn from.
            vocab_size: V, the bytes included.
            byte_fallback: characters that no piece covers are written as their bytes.
            character_coverage: the fraction of the text, counted in characters, whose characters must be pieces; the
                rarer ones are left to the bytes.
            dummy_prefix: put a space before each text.

        Raises:
            ValueError: the text is empty, or `vocab_size` is too small or too large for it; or `character_coverage` is
                not in (0, 1], or below 1 without byte fallback.
        """
        if not 0 < character_coverage <= 1 or (character_coverage < 1 and not byte_fallback):
            raise ValueError(
                f"character_coverage={character_coverage} must be above 0 and at most 1, and 1 without byte_fallback"
            )
        fallback = [f"<0x{byte:02X}>" for byte in range(256)] if byte_fallback else []
        untrained = cls(fallback, [None] * len(fallback), dummy_prefix=dummy_prefix)
        words = dict(sorted(Counter(words_of(untrained.normalise(text))).items()))  # sums do not depend on the order
        if not words:
            raise ValueError("an empty text has no pieces to learn: pass a text of at least one character")
        size, extra = vocab_size - len(fallback), " and 256 bytes" if fallback else ""
        try:
            logp = train_pieces(without_rare_characters(words, character_coverage), size)
        except ValueError as error:
            raise ValueError(f"vocab_size={vocab_size} means {size} pieces{extra}; {error}") from None
        pieces = sorted(logp, key=lambda piece: (-logp[piece], piece))
        scores = [None] * len(fallback) + [logp[piece] for piece in pieces]
        return cls(fallback + pieces, scores, dummy_prefix=dummy_prefix)

    @classmethod
    def from_sentencepiece(cls, processor: "sentencepiece.SentencePieceProcessor") -> "UnigramTokenizer":
        """A model of SentencePiece with our code: its settings are read, and ids and texts are the library's.

        Args:
            processor: the opened model; a character model is accepted too, for it is Unigram with single characters.

        Raises:
            ValueError: the model is BPE or a word model, or it writes ▁ behind words instead of before them.
        """
        return cls(**sentencepiece_model.unigram_fields(processor))

    @property
    def vocab_size(self) -> int:
        """V, with the bytes and the control tokens."""
        return len(self.pieces)

    # -- text to ids

    def normalise(self, text: str) -> str:
        """What is cut into pieces: characters replaced, extra spaces removed or not, and each space written ▁."""
        return self._normalise(text, self.dummy_prefix) if text else ""

    def _normalise(self, text: str, prefix: bool) -> str:
        rules = self.precompiled_charsmap, self.user_defined_symbols, self.remove_extra_whitespaces
        text = sentencepiece_model.replace_characters(without_surrogates(text), *rules)
        text = (" " * prefix + text).replace(" ", SPACE)
        return text.rstrip(SPACE) if self.remove_extra_whitespaces else text

    def encode(self, text: str) -> list[int]:
        """The ids of the best segmentation. Raises: ValueError at a character that nothing in the vocabulary covers."""
        return self._encode_words(self.normalise(text))

    def _encode_words(self, text: str) -> list[int]:
        if self.like_sentencepiece:
            return self._encode_normalised(text)
        # No piece crosses a border of words, so the best of each are the best of all.
        return [id for word in words_of(text) for id in self._ids_of_word[word]]

    def _encode_normalised(self, text: str) -> list[int]:
        return self._ids(text, fast_path(text, self._trie, self._unknown_score, self.like_sentencepiece))

    def split_point(self, text: str) -> int:
        """Before the last space or newline, where a word ends; with SentencePiece's rules the whole text matters."""
        whole = self.like_sentencepiece or self.remove_extra_whitespaces or self.precompiled_charsmap
        return (
            0 if whole or self.user_defined_symbols else max(0, *(text.rfind(border) for border in (" ", SPACE, "\n")))
        )

    def encode_rest(self, text: str) -> list[int]:
        """The ids of a text that was cut at a `split_point`, from there on: without another dummy prefix."""
        return self._encode_words(self._normalise(text, prefix=False))

    def _ids(self, text: str, cuts: list[int]) -> list[int]:
        """The id of each piece; for a character that is not one, its bytes, or one unknown for all in a row."""
        ids: list[int] = []
        spans = [text[start:end] for start, end in pairwise(cuts)]
        for known, run in groupby(spans, key=self._id_of.__contains__):
            if known:
                ids += [self._id_of[piece] for piece in run]
            elif self._byte_ids:
                ids += [self._byte_ids[byte] for byte in "".join(run).encode("utf-8")]
            elif self.unknown is not None:
                ids.append(self.unknown)
            else:
                character = next(run)
                raise not_covered(character, text.index(character), len(self.logp))
        return ids

    def encode_as_pieces(self, text: str) -> list[str]:
        """The pieces of a text, as they are written in the vocabulary."""
        return [self.pieces[id] for id in self.encode(text)]

    def sample(self, text: str, alpha: float = 1.0, generator: random.Random | None = None) -> list[int]:
        """The ids of a segmentation sampled with probability ∝ p ** alpha, so that a model sees a text in many forms.

        Args:
            text: any text.
            alpha: 1 samples as often as the model says; 0 samples all alike, a large alpha only the best.
            generator: where the random numbers come from.

        Raises:
            ValueError: `alpha` is negative, or nothing in the vocabulary covers a character.
        """
        if alpha < 0:
            raise ValueError(f"alpha={alpha} would prefer unlikely segmentations: give 0 (all alike) or more")
        text = self.normalise(text)
        arcs = lattice(text, self.logp, self._unknown_score, self._longest)
        return self._ids(text, sample_path(arcs, alpha, generator or random.Random()))

    # -- ids to text

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The text of the ids, ▁ as spaces again, without the dummy prefix. Raises: ValueError for an unknown id."""
        return "".join(self.decode_stream(checked_ids(ids, self.vocab_size)))

    def decode_stream(self, ids: Iterable[SupportsIndex]) -> Iterator[str]:
        """`decode` in parts, as the ids arrive; a denormalizer needs the whole text, so then it is one part.

        Args:
            ids: the ids, from the first of the text on.
        """
        parts = filter(None, self._parts(ids))
        if not self.denormalizer_charsmap:
            return parts
        return iter([sentencepiece_model.character_map(self.denormalizer_charsmap).normalize("".join(parts))])

    def _parts(self, ids: Iterable[SupportsIndex]) -> Iterator[str]:
        """The text that each id adds: the bytes of a character only once they are complete."""
        errors = "surrogateescape" if self.like_sentencepiece else "replace"  # there, each wrong byte is one �
        utf8 = codecs.getincrementaldecoder("utf-8")(errors)
        at_start = self.dummy_prefix or self.remove_extra_whitespaces
        for id in map(int, ids):
            if id in self._byte_of:
                yield re.sub(r"[\udc80-\udcff]", "\ufffd", utf8.decode(bytes([self._byte_of[id]])))
                at_start = False
                continue
            yield re.sub(r"[\udc80-\udcff]", "\ufffd", utf8.decode(b"", final=True))
            text = self.token_bytes(id).decode("utf-8")
            if at_start and self.scores[id] is not None:
                text = text.removeprefix(" ")
            at_start = at_start and not text and (self.scores[id] is None or self.remove_extra_whitespaces)
            yield text
        yield re.sub(r"[\udc80-\udcff]", "\ufffd", utf8.decode(b"", final=True))

    def token_bytes(self, id: int) -> bytes:
        """The bytes of one token, with its ▁ as a space; a control token has none."""
        if checked_ids([id], self.vocab_size)[0] == self.unknown:
            return self.unk_surface.encode("utf-8")
        if self.scores[id] is not None:
            return self.pieces[id].replace(SPACE, " ").encode("utf-8")
        return bytes([self._byte_of[id]]) if id in self._byte_of else b""

    # -- files

    def to_json(self) -> dict[str, Any]:
        """All fields; the tables of characters compressed and written in base64."""
        return sentencepiece_model.fields_to_json({name: getattr(self, name) for name in self.__dataclass_fields__})

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "UnigramTokenizer":
        """The tokenizer that `to_json` stored."""
        return cls(**sentencepiece_model.fields_from_json(data))

    def __repr__(self) -> str:
        return f"UnigramTokenizer(V={self.vocab_size}, byte_fallback={bool(self._byte_ids)})"


guard(globals())
