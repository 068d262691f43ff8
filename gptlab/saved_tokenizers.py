"""What a tokenizer.json of the course must contain, for each kind of tokenizer; `gptlab.tokenizing.load` asks for it.

The limits are far above every published vocabulary, and far below what fills a machine's memory: a table with a row
for each id and a dictionary with every beginning of a piece have to fit.

>>> problem("bpe", {"ranks": {"a": 97}, "pattern": None, "special_tokens": {"<|end|>": 10**12}})
'special_tokens.<|end|>=1000000000000 must be a whole number of at least 0 and at most 16777215'
"""

from typing import Annotated, Any, TypedDict

from gptlab import formats
from gptlab.entrances import Range, Whole

LARGEST = 1 << 28  # bytes of a file; the largest published ones have some 30 million
LONGEST = 2000  # characters of a piece; SentencePiece's own default is at most 16
UNPACKED = 1 << 26  # bytes of an unpacked table of characters; SentencePiece's own has half a million
TokenId = Annotated[int, Range(least=0, most=(1 << 24) - 1)]


class BPE(TypedDict):
    """Of a `BPETokenizer`; the bytes of a token are written as printable characters."""

    ranks: dict[str, TokenId]
    pattern: str | None
    special_tokens: dict[str, TokenId]


class _Characters(TypedDict):
    characters: str


class Characters(_Characters, total=False):
    """Of a `CharTokenizer`."""

    special_tokens: dict[str, TokenId]


class Words(TypedDict):
    """Of a `WordTokenizer`."""

    words: list[str]
    unknown: str | None


class _Unigram(TypedDict):
    pieces: list[str]
    scores: list[float | int | None]


class Unigram(_Unigram, total=False):
    """Of a `UnigramTokenizer`; tables of characters are packed with zlib, and in base64."""

    unknown: Whole | None
    dummy_prefix: bool
    remove_extra_whitespaces: bool
    like_sentencepiece: bool
    user_defined_symbols: list[str]
    unk_surface: str
    precompiled_charsmap: str
    denormalizer_charsmap: str


_KINDS: dict[str, Any] = {"bpe": BPE, "char": Characters, "word": Words, "unigram": Unigram}


def problem(kind: str, data: dict[str, Any]) -> str:
    """What is wrong with the content of a file, naming the entry; "" if nothing is.

    Args:
        kind: of the tokenizer.
        data: the rest of the file.
    """
    found = formats.problem(data, _KINDS.get(kind, dict))
    if not found and kind == "unigram" and (longest := max(map(len, data["pieces"]), default=0)) > LONGEST:
        return f"a piece has {longest:,} characters, and {LONGEST:,} are the most"
    return found or (_problem_of_pattern(data["pattern"]) if kind == "bpe" else "")


def _problem_of_pattern(pattern: str | None) -> str:
    import regex  # here, because it is needed for this kind only

    try:
        regex.compile(pattern or "")
    except regex.error as error:
        return f"pattern={pattern!r:.80} is not a regular expression: {error}"
    return ""
