r"""Lesson 03, the Unigram tokenizer: of all ways to cut a text, take the most likely one.

Byte-pair encoding grows a vocabulary by merging. Unigram (Kudo 2018) goes the other way: it begins with too many
pieces, gives each a probability, and drops those that the text can best do without. A text is then cut so that the
product of its pieces' probabilities is largest; and as the model knows how likely *every* cut is, it can sample one.

The way of its notebook begins in `gptlab.segmentation`: the score of a segmentation, all segmentations, the lattice
that holds them, the best path, the sum over all paths, a sample, expected counts. Here follow EM, pruning, and the
tokenizer.
`UnigramTokenizer.from_sentencepiece` takes over a model of the library SentencePiece (Kudo and Richardson 2018) and
cuts every text as the library does.

Everywhere, `logp` leads from a piece to ln p (its *score*, in nats), and a space is written ▁ (U+2581).
"""

import base64
import math
import random
import re
import zlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, groupby, pairwise
from typing import TYPE_CHECKING, Any, ClassVar, SupportsIndex

from gptlab.segmentation import (
    LONGEST,
    Lattice,
    best_path,
    expected_counts,
    forward,
    lattice,
    log_total,
    not_covered,
    sample_path,
    score,
    segmentations,
    viterbi,
    walk_back,
)
from gptlab.tokens import SavedAsJson, checked_ids, whole_characters

if TYPE_CHECKING:
    import sentencepiece

__all__ = [
    "Lattice", "UnigramTokenizer", "best_path", "em_step", "expected_counts", "forward", "lattice", "log_total",
    "prune", "sample_path", "score", "seed_pieces", "segmentations", "viterbi", "words_of",
]  # fmt: skip

SPACE = "▁"
UNKNOWN_PENALTY = 10.0  # nats below the least likely piece: what a character that no piece covers costs

# ---- Training: many pieces at first, fewer and better ones in the end ------------------------------------------------


def words_of(text: str) -> list[str]:
    """A text with ▁ for its spaces, cut before each ▁ and around each newline. No piece will cross these borders.

    >>> words_of("▁the▁fox\\n▁▁ran")
    ['▁the', '▁fox', '\\n', '▁', '▁ran']
    """
    return re.findall(rf"\n|{SPACE}[^{SPACE}\n]*|[^{SPACE}\n]+", text)


def seed_pieces(words: Mapping[str, int], size: int) -> dict[str, float]:
    """The pieces to begin with and their ln p: all characters, and the substrings that occur often and are long.

    One that only ever occurs inside the same longer one is left out: nothing could be written better with it.

    >>> sorted(seed_pieces({"fox": 3, "fog": 2}, size=6))
    ['f', 'fo', 'fox', 'g', 'o', 'x']
    """
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for start in range(len(word)):
            for end in range(start + 1, min(start + LONGEST, len(word)) + 1):
                counts[word[start:end]] += count
    inside = {piece[:-1] for piece, count in counts.items() if counts[piece[:-1]] == count}
    inside |= {piece[1:] for piece, count in counts.items() if counts[piece[1:]] == count}
    characters = {piece: count for piece, count in counts.items() if len(piece) == 1}
    worth = {p: n * len(p) for p, n in counts.items() if len(p) > 1 and n > 1 and p not in inside}
    best = sorted(worth, key=lambda piece: (-worth[piece], piece))[: max(0, size - len(characters))]
    return _log_shares(characters | {piece: worth[piece] for piece in best})


def _log_shares(counts: Mapping[str, int | float]) -> dict[str, float]:
    total = math.log(sum(counts.values()))
    return {piece: math.log(count) - total for piece, count in counts.items()}


def em_step(words: Mapping[str, int], logp: Mapping[str, float], rarest: float = 0.5) -> dict[str, float]:
    """One round of EM: count the pieces that the model expects to use, and let these counts be the new model.

    As long as nothing is dropped, the probability of the words does not fall by it (Dempster, Laird and Rubin 1977).
    Pieces expected less than `rarest` times are dropped, characters never.
    """
    counts: defaultdict[str, float] = defaultdict(float)
    for word, count in words.items():
        for piece, expected in expected_counts(word, logp).items():
            counts[piece] += count * expected
    floor = 1e-3  # a character that is never used alone must stay possible
    kept = {piece: max(counts.get(piece, 0.0), floor) for piece in logp}
    return _log_shares({piece: n for piece, n in kept.items() if len(piece) == 1 or counts.get(piece, 0.0) >= rarest})


def prune(words: Mapping[str, int], logp: Mapping[str, float], size: int) -> dict[str, float]:
    """Keep the characters and the pieces whose loss would cost most, `size` in all.

    What a piece is worth: how often the best segmentations use it, times what its letters cost more without it.

    >>> sorted(prune({"abc": 9, "ab": 1}, {"a": -3.0, "b": -3.0, "c": -3.0, "ab": -2.0, "bc": -2.5}, size=4))
    ['a', 'ab', 'b', 'c']
    """
    used: Counter[str] = Counter()
    for word, count in words.items():
        for piece in viterbi(word, logp):
            used[piece] += count
    loss = {}
    for piece in (piece for piece in logp if len(piece) > 1):
        arcs = lattice(piece, logp)
        arcs[-1] = [(start, step) for start, step in arcs[-1] if start > 0]  # without the piece itself
        without = score((piece[i:j] for i, j in pairwise(best_path(arcs))), logp)
        loss[piece] = used[piece] * (logp[piece] - without)
    room = size - (len(logp) - len(loss))
    kept = set(sorted(loss, key=lambda piece: (-loss[piece], piece))[: max(0, room)])
    return {piece: value for piece, value in logp.items() if len(piece) == 1 or piece in kept}


def train_pieces(words: Mapping[str, int], size: int) -> dict[str, float]:
    """`size` pieces with their ln p: seed, then EM twice and drop a quarter of the pieces, until few enough are left.

    Raises:
        ValueError: the words have more characters, or fewer pieces, than `size`.
    """
    characters = len(set().union(*words))
    if size < characters:
        raise ValueError(
            f"too few for its {characters} different characters: ask for at least {characters} (and the 256 bytes with "
            f"byte_fallback), or lower the coverage, so that rare characters become bytes"
        )
    logp = seed_pieces(words, 8 * size)
    while True:
        for _ in range(2):
            logp = em_step(words, logp)
        if len(logp) <= 1.1 * size:
            break
        logp = prune(words, logp, max(int(1.1 * size), int(0.75 * len(logp))))
    if len(logp) < size:
        raise ValueError(
            f"the text has use for {len(logp)} only: ask for at most {len(logp)} (and the 256 bytes with "
            f"byte_fallback), or give a longer text"
        )
    return em_step(words, prune(words, logp, size), rarest=0.0)


# ---- The tokenizer ---------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class UnigramTokenizer(SavedAsJson):
    """Unigram with ▁ for spaces: trained here, or taken over from a model of SentencePiece.

    >>> tokenizer = UnigramTokenizer.train("the fox and the hen and the fox " * 9, 14, byte_fallback=False)
    >>> tokenizer.cut("the fox then")
    ['▁the', '▁fox', '▁the', 'n']
    >>> tokenizer.decode(tokenizer.encode("the fox then"))
    'the fox then'

    Attributes:
        pieces: the id of a piece is its place in here.
        scores: ln p of each; None for one that no text is cut into: a control token, a byte, the unknown token.
        unknown: the id for characters that no piece covers; None: such a character is an error.
        dummy_prefix: put a space before the text, so that its first word is a word like the others.
        collapse: make one space of several, and none of those at both ends. Does not give every text back.
        rules: SentencePiece's compiled table of characters to be replaced first; empty for none.
        symbols: pieces that are cut out wherever they stand (SentencePiece's user-defined symbols).
        like_sentencepiece: add up scores in 32-bit numbers over the whole text, so that roundings fall as there.
    """

    pieces: list[str]
    scores: list[float | None]
    unknown: int | None = None
    dummy_prefix: bool = True
    collapse: bool = False
    rules: bytes = b""
    symbols: tuple[str, ...] = ()
    like_sentencepiece: bool = False
    kind: ClassVar[str] = "unigram"

    def __post_init__(self):
        if len(self.pieces) != len(self.scores):
            raise ValueError(f"{len(self.pieces)} pieces, but {len(self.scores)} scores: give one for each piece")
        scored = [(p, s, id) for id, (p, s) in enumerate(zip(self.pieces, self.scores, strict=True)) if s is not None]
        self.logp = {piece: value for piece, value, _ in scored}
        self._id_of = {piece: id for piece, _, id in scored}
        self._byte_ids = _byte_ids(self.pieces, self.scores)
        self._longest = max(map(len, self.logp), default=1)
        normal = [value for piece, value in self.logp.items() if piece not in self.symbols]
        self._unknown_score = _single(min(normal, default=0.0) - UNKNOWN_PENALTY)
        # A trie as a dict: each piece with its score, and each beginning of a piece that is none, with None.
        self._trie: dict[str, float | None] = {beginning: None for p in self.logp for beginning in accumulate(p)}
        self._trie |= self.logp
        self._ids_of_word: dict[str, list[int]] = {}

    @classmethod
    def train(
        cls, text: str, vocab_size: int, *, byte_fallback: bool = True, coverage: float = 1.0, dummy_prefix: bool = True
    ) -> "UnigramTokenizer":
        """Learn a vocabulary from a text. Nothing is normalised away: with byte fallback, every text comes back (a ▁ in
        it as a space).

        Ids: the 256 bytes first if `byte_fallback`, then the pieces, the likeliest first. `coverage` is the part of the
        text (counted in characters) whose characters must be pieces; rarer ones are left to the bytes.

        Raises:
            ValueError: the text is empty, or `vocab_size` is too small or too large for it; or `coverage` is not in
                (0, 1], or below 1 without byte fallback.
        """
        if not 0 < coverage <= 1 or (coverage < 1 and not byte_fallback):
            raise ValueError(f"coverage={coverage} must be above 0 and at most 1, and 1 if byte_fallback is off")
        fallback = [f"<0x{byte:02X}>" for byte in range(256)] if byte_fallback else []
        untrained = cls(fallback, [None] * len(fallback), dummy_prefix=dummy_prefix)
        words = dict(sorted(Counter(words_of(untrained.normalise(text))).items()))  # sums do not depend on the order
        if not words:
            raise ValueError("an empty text has no pieces to learn: give a text of at least one character")
        for rare in _rare_characters(words, coverage):
            parts: Counter[str] = Counter()
            for word, count in words.items():
                for part in filter(None, word.split(rare)):
                    parts[part] += count
            words = parts
        try:
            logp = train_pieces(words, vocab_size - len(fallback))
        except ValueError as error:
            extra = " and 256 bytes" if fallback else ""
            raise ValueError(
                f"vocab_size={vocab_size} means {vocab_size - len(fallback)} pieces{extra}; {error}"
            ) from None
        pieces = sorted(logp, key=lambda piece: (-logp[piece], piece))
        scores = [None] * len(fallback) + [logp[piece] for piece in pieces]
        return cls(fallback + pieces, scores, dummy_prefix=dummy_prefix)

    @classmethod
    def from_sentencepiece(cls, processor: "sentencepiece.SentencePieceProcessor") -> "UnigramTokenizer":
        """The same tokenizer with our code. The library's table of replaced characters is used as it is (NFKC is long).

        Raises:
            ValueError: the model is not a Unigram model, or it puts ▁ behind words instead of before them.
        """
        ids = range(processor.get_piece_size())
        no_text = [any(f(id) for f in (processor.is_control, processor.is_unknown, processor.is_byte)) for id in ids]
        scores = [
            None if no or processor.is_unused(id) else processor.get_score(id)
            for id, no in zip(ids, no_text, strict=True)
        ]
        given = [value for value in scores if value is not None and value != 0.0]
        if all(value.is_integer() for value in given):
            raise ValueError("the scores of this model are ranks (0, -1, -2, …), so it is BPE: only Unigram has ln p")
        if processor.normalize("a") == "a" + SPACE:
            raise ValueError("this model was trained with treat_whitespace_as_suffix, which is not supported here")
        pieces = [processor.id_to_piece(id) for id in ids]
        symbols = tuple(pieces[id] for id in ids if scores[id] == 0.0)
        return cls(
            pieces,
            [-0.1 if value == 0.0 else value for value in scores],  # what the library gives a user-defined symbol
            unknown=processor.unk_id(),
            dummy_prefix=processor.normalize("a") == SPACE + "a",
            collapse=processor.normalize("a  a").count(SPACE + SPACE) == 0,
            rules=_character_rules(processor.serialized_model_proto()),
            symbols=symbols,
            like_sentencepiece=True,
        )

    @property
    def vocab_size(self) -> int:
        """V, with the bytes and the control tokens."""
        return len(self.pieces)

    # -- text to ids

    def normalise(self, text: str) -> str:
        """What is cut: characters replaced by the rules, spaces collapsed or not, and each written ▁."""
        if not text:
            return ""
        text = whole_characters(text)
        if self.rules:
            parts = re.split("(" + "|".join(map(re.escape, sorted(self.symbols, key=len, reverse=True))) + ")", text)
            parts = parts if self.symbols else [text]
            text = "".join(p if p in self.symbols else _character_map(self.rules).normalize(p) for p in parts)
        if self.collapse:
            text = re.sub(" +", " ", text).lstrip(" ")
        text = (" " * self.dummy_prefix + text).replace(" ", SPACE)
        return text.rstrip(SPACE) if self.collapse else text

    def encode(self, text: str) -> list[int]:
        """The ids of the best segmentation. Raises: ValueError at a character that nothing in the vocabulary covers."""
        text = self.normalise(text)
        if self.like_sentencepiece:
            return self._ids(text, self._best_cuts(text))
        ids: list[int] = []
        for word in words_of(text):  # no piece crosses a border of words, so the best of each are the best of all
            if word not in self._ids_of_word:
                if len(self._ids_of_word) > 1 << 16:
                    self._ids_of_word.clear()
                self._ids_of_word[word] = self._ids(word, self._best_cuts(word))
            ids += self._ids_of_word[word]
        return ids

    def _best_cuts(self, text: str) -> list[int]:
        """`best_path`, fast: one pass, no lattice in memory, and a piece is read no further than any could go on."""
        n, trie = len(text), self._trie
        best = array("f" if self.like_sentencepiece else "d", [-math.inf]) * (n + 1)  # "f" rounds what is put into it
        best[0], rounded, start_of, reach = 0.0, best[:1], [0] * (n + 1), 0
        for start in range(n):
            if self.like_sentencepiece and best[start] < -100_000:  # a fresh start before 32 bits become too coarse
                best[start : reach + 1] = array("f", [value - best[start] for value in best[start : reach + 1]])
            here, end, goes_on = best[start], start, True
            while goes_on and end < n:
                end += 1
                piece = text[start:end]
                goes_on = piece in trie
                step = trie.get(piece)
                if step is None and end == start + 1:
                    step = self._unknown_score
                if step is not None:
                    reach = max(reach, end)
                    rounded[0] = here + step
                    if rounded[0] > best[end]:
                        best[end], start_of[end] = rounded[0], start
        return walk_back(start_of)

    def _ids(self, text: str, cuts: list[int]) -> list[int]:
        """The id of each piece; of a character that is none, its bytes, or one unknown for all that stand together."""
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

    def cut(self, text: str) -> list[str]:
        """The pieces of a text, as they stand in the vocabulary."""
        return [self.pieces[id] for id in self.encode(text)]

    def sample(self, text: str, alpha: float = 1.0, generator: random.Random | None = None) -> list[int]:
        """The ids of a segmentation drawn with probability ∝ p ** alpha, so that a model sees a text in many forms.

        Raises: ValueError if `alpha` is negative, or for a character that nothing in the vocabulary covers.
        """
        if alpha < 0:
            raise ValueError(f"alpha={alpha} would prefer unlikely segmentations: give 0 (all alike) or more")
        text = self.normalise(text)
        cuts = sample_path(
            lattice(text, self.logp, self._unknown_score, self._longest), alpha, generator or random.Random()
        )
        return self._ids(text, cuts)

    # -- ids to text

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The text of the ids, ▁ as spaces again, without the dummy prefix. Raises: ValueError for an unknown id."""
        ids = checked_ids(ids, self.vocab_size)
        parts = [self.token_bytes(id) for id in ids]
        for place, id in enumerate(ids) if self.dummy_prefix or self.collapse else ():
            if self.scores[id] is not None:
                parts[place] = parts[place].removeprefix(b" ")
            if parts[place] or (self.scores[id] is not None and not self.collapse):
                break
        return b"".join(parts).decode("utf-8", errors="replace")

    def token_bytes(self, id: int) -> bytes:
        """The bytes of one token, with its ▁ as a space. Control tokens have none; unknown is " ⁇ " as there."""
        (id,) = checked_ids([id], self.vocab_size)
        if id == self.unknown:
            return " ⁇ ".encode()
        if self.scores[id] is not None:
            return self.pieces[id].replace(SPACE, " ").encode("utf-8")
        return bytes([int(self.pieces[id][3:5], 16)]) if id in self._byte_ids else b""

    # -- files

    def to_json(self) -> dict[str, Any]:
        """All fields; the table of rules packed and written in base64."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "rules"}
        return fields | {"rules": base64.b64encode(zlib.compress(self.rules, 9)).decode()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "UnigramTokenizer":
        """The tokenizer that `to_json` wrote down."""
        rules = zlib.decompress(base64.b64decode(data["rules"]))
        return cls(**(data | {"rules": rules, "symbols": tuple(data["symbols"])}))

    def __repr__(self) -> str:
        return f"UnigramTokenizer(V={self.vocab_size}, byte_fallback={bool(self._byte_ids)})"


# ---- Small helpers ---------------------------------------------------------------------------------------------------


def _single(number: float) -> float:
    """The nearest 32-bit number."""
    return array("f", [number])[0]


def _byte_ids(pieces: list[str], scores: list[float | None]) -> list[int]:
    """The ids of the pieces <0x00> to <0xFF>, or none if the vocabulary cannot write bytes."""
    unscored = {piece: id for id, piece in enumerate(pieces) if scores[id] is None}
    ids = [unscored.get(f"<0x{byte:02X}>") for byte in range(256)]
    return [] if None in ids else ids


def _rare_characters(words: Mapping[str, int], coverage: float) -> list[str]:
    """The characters that are left when the most frequent ones make up `coverage` of the text."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    ranked = sorted(counts, key=lambda character: (-counts[character], character))
    enough = coverage * sum(counts.values()) - 1e-9
    before = accumulate((counts[character] for character in ranked), initial=0)
    return [character for character, covered in zip(ranked, before, strict=False) if covered >= enough]


def _character_rules(model_proto: bytes) -> bytes:
    """The part of a SentencePiece model that says which characters are replaced; nothing where none are."""
    import sentencepiece

    as_is = {"add_dummy_prefix": False, "escape_whitespaces": False, "remove_extra_whitespaces": False}
    rules = sentencepiece.SentencePieceNormalizer(model_proto=model_proto, **as_is).serialized_model_proto()
    return rules if len(rules) > 1000 else b""  # identity has no table


@cache
def _character_map(rules: bytes) -> "sentencepiece.SentencePieceNormalizer":
    """SentencePiece's own replacing of characters, without anything about spaces."""
    import sentencepiece

    return sentencepiece.SentencePieceNormalizer(
        model_proto=rules, add_dummy_prefix=False, escape_whitespaces=False, remove_extra_whitespaces=False
    )
