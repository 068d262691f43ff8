r"""Where a text is cut before byte-pair encoding sees it: no token may cross these borders (lesson 02).

A pattern says what a piece is: a word with the space before it, some digits, some signs, some white space. First the
patterns of GPT-2, GPT-4 and Llama 3, then the cutting, then what makes it fast.

>>> split("one two", GPT2_PATTERN)
['one', ' two']
"""

import bisect
import codecs
import itertools
import re
import threading
from collections.abc import Callable, Iterable
from functools import cache

import regex

# `++` and `?+` are the greedy `+` and `?` that never give back what they took: the same pieces, found faster.

# GPT-2: contractions in small letters, words, numbers of any length, punctuation, and a single space before each.
GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
# GPT-4 (cl100k_base): contractions in any case, numbers in threes, a newline closes punctuation and spaces.
GPT4_PATTERN = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"""
    r"""|\s++$|\s*[\r\n]|\s+(?!\S)|\s"""
)
# Llama 3: GPT-4's, in its first wording; they part only where a text ends in a newline and spaces.
LLAMA3_PATTERN = (
    r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"""
    r"""|\s*[\r\n]+|\s+(?!\S)|\s+"""
)


def split(text: str, pattern: str | None = GPT4_PATTERN, special_tokens: Iterable[str] = ()) -> list[str]:
    """Cut a text into the pieces that are encoded one by one; without a pattern the text is one piece.

    Special tokens separate and are left out: nothing is learned from them or across them.

    >>> split("They've won 1000 cups!\\n")
    ['They', "'ve", ' won', ' ', '100', '0', ' cups', '!\\n']
    >>> split("one<|end|>two", special_tokens=["<|end|>"])
    ['one', 'two']
    """
    find = _whole if pattern is None else _finder(pattern)
    borders = any_of(special_tokens)
    if borders is None:
        return find(text)
    return [piece for part in borders.split(text) for piece in find(part)]


def any_of(strings: Iterable[str]) -> regex.Pattern | None:
    """Finds any of the strings, and the longest where several begin; None if there is nothing to find.

    >>> any_of(["<|end|>", "<|end|>of line"]).search("<|end|>of line").group()
    '<|end|>of line'
    """
    longest_first = sorted(strings, key=lambda string: (-len(string), string))
    return regex.compile("|".join(map(regex.escape, longest_first))) if longest_first else None


def _whole(text: str) -> list[str]:
    return [text] if text else []


@cache
def _finder(pattern: str) -> Callable[[str], list[str]]:
    """The function that cuts a text by the pattern, and makes sure that nothing falls between the pieces."""
    any_text = regex.compile(pattern)
    if any_text.groups:  # findall would give the groups instead of the pieces
        raise ValueError(f"the pattern has {any_text.groups} capturing groups: write (?:…) instead of (…)")
    ascii_text, disguisable = _ascii_twin(pattern), _asks_for_kinds_only(pattern)

    def find(text: str) -> list[str]:
        if ascii_text is not None and text.isascii():
            pieces = ascii_text.findall(text)
        elif ascii_text is not None and disguisable and not any(character in text for character in _LIKE_ASCII):
            disguised, runs = _disguise(text)
            pieces = _undisguise(ascii_text.findall(disguised), text, runs)
        else:
            pieces = any_text.findall(text)
        if sum(map(len, pieces)) != len(text):
            lost = _first_gap(any_text, text)
            raise ValueError(
                f"the pattern leaves out {text[lost]!r} at position {lost}, so decoding could not give the text back: "
                f"end the pattern with an alternative for everything else, such as '|(?s:.)'"
            )
        return pieces

    return find


def _first_gap(pattern: regex.Pattern, text: str) -> int:
    end = 0
    for found in pattern.finditer(text):
        if found.start() > end:
            break
        end = found.end()
    return end


# ---- Fast: Python's own `re` knows no \p{L}, and takes half the time -------------------------------------------------

_IN_ASCII = {r"\p{L}": "A-Za-z", r"\p{N}": "0-9"}
_CLASS = re.compile(r"\[(?:\\.|[^\]])*\]|\\p\{[LN]\}")


def _ascii_twin(pattern: str) -> re.Pattern | None:
    """The pattern for texts in plain ASCII, where Python's own `re` finds the same pieces in less than half the time.

    None where `re` does not know a part of the pattern (`regex` has more), or is too old for `++` (before 3.11).
    """
    if "[[" in pattern:
        return None

    def letters(found: re.Match) -> str:
        part = found[0]
        if part in _IN_ASCII:
            return f"[{_IN_ASCII[part]}]"
        for name, characters in _IN_ASCII.items():
            part = part.replace(name, characters)
        return part

    try:
        return re.compile(_CLASS.sub(letters, pattern), re.ASCII)
    except re.error:
        return None


def _asks_for_kinds_only(pattern: str) -> bool:
    r"""Whether the pattern asks of a character outside ASCII only if it is a letter (\p{L}), a number (\p{N}) or white
    space (\s), and does not name the four characters that stand for these and for all others.

    Then the borders stay where they are if such a character is exchanged for another of its kind.
    """
    bare = pattern.replace(r"\p{L}", "").replace(r"\p{N}", "")
    escaped = re.search(r"\\[^sSrn'|.()\[\]{}?*+\\-]", bare)
    classes = [found[0][1:-1] for found in re.finditer(r"\[(?:\\.|[^\]])*\]", bare)]
    ranges = any("-" in inside or inside.startswith(":") for inside in classes)
    return pattern.isascii() and not escaped and not ranges and not {*_STAND_INS.values()} & {*bare.lower()}


def _disguise(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text in plain ASCII, each other character exchanged for the one that stands for its kind; and where."""
    _found.runs = []
    return text.encode("ascii", errors="gptlab-disguise").decode("ascii"), _found.runs


def _undisguise(pieces: list[str], text: str, runs: list[tuple[int, int]]) -> list[str]:
    """The pieces as the text has them; most are so already, and only the others are cut out of it again."""
    ends = list(itertools.accumulate(map(len, pieces)))
    for start, end in runs:
        i = bisect.bisect_right(ends, start)
        while i < len(pieces) and ends[i] - len(pieces[i]) < end:
            pieces[i] = text[ends[i] - len(pieces[i]) : ends[i]]
            i += 1
    return pieces


_LIKE_ASCII = "\u017f\u212a\u0130\u0131"  # equal to s, k and i when case is ignored
_STAND_INS = {r"\p{L}": "x", r"\p{N}": "0", r"\s": "\t", r"(?s:.)": "\x01"}
_found = threading.local()  # what the error handler of `_disguise` has exchanged


@cache
def _stand_in(character: str) -> str:
    return next(stand_in for kind, stand_in in _STAND_INS.items() if regex.match(kind, character))


def _exchange(error: UnicodeError) -> tuple[str, int]:
    """The handler that `str.encode` calls for each run of characters outside ASCII: it knows of no quicker search."""
    _found.runs.append((error.start, error.end))
    return "".join(map(_stand_in, error.object[error.start : error.end])), error.end


codecs.register_error("gptlab-disguise", _exchange)
