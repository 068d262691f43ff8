r"""Where a text is split before byte-pair encoding sees it: no token crosses a boundary between two chunks.

A pattern says what a chunk is: a word with the space before it, some digits, punctuation, white space. First the
patterns of GPT-2, GPT-4, GPT-4o and Llama 3, then the splitting itself.

>>> split("one two", GPT2_PATTERN)
['one', ' two']
"""

import itertools
import re
from collections.abc import Iterable
from functools import cache

import regex

from gptlab.entrances import guard

# `++` and `?+` are the greedy `+` and `?` that never give back what they took: the same chunks, found faster.

# GPT-2: contractions in small letters, words, numbers of any length, punctuation, and a single space before each.
GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
# GPT-4 (cl100k_base): contractions in any case, numbers in threes, a newline closes punctuation and spaces.
GPT4_PATTERN = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"""
    r"""|\s++$|\s*[\r\n]|\s+(?!\S)|\s"""
)
# Llama 3: GPT-4's, in its first wording; they differ only where a text ends in a newline and spaces.
LLAMA3_PATTERN = (
    r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"""
    r"""|\s*[\r\n]+|\s+(?!\S)|\s+"""
)
# GPT-4o (o200k_base): camelCase is split at the hump, marks belong to their letters, a contraction to its word.
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
O200K_PATTERN = (
    rf"""[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"""
    rf"""|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"""
    r"""|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
)


def split(text: str, pattern: str | None = GPT4_PATTERN, special_tokens: Iterable[str] = ()) -> list[str]:
    """Split a text into the chunks that are encoded one by one.

    Args:
        text: the text; joined, the chunks are the text again.
        pattern: what a chunk is; with None the whole text is one chunk.
        special_tokens: these separate chunks and are left out, so that nothing is learned from them or across them.

    Raises:
        ValueError: the pattern leaves out a part of the text, or has capturing groups.

    >>> split("They've won 1000 cups!\\n")
    ['They', "'ve", ' won', ' ', '100', '0', ' cups', '!\\n']
    >>> split("one<|end|>two", special_tokens=["<|end|>"])
    ['one', 'two']
    """
    separators = any_of(special_tokens)
    parts = [text] if separators is None else separators.split(text)[::2]
    if pattern is None:
        return [part for part in parts if part]
    any_text, ascii_text = _compiled(pattern)
    found = [(ascii_text if ascii_text and part.isascii() else any_text).findall(part) for part in parts]
    if pattern not in _PUBLISHED:  # those are known to leave nothing out
        for part, chunks in zip(parts, found, strict=True):
            if sum(map(len, chunks)) != len(part):
                raise _leaves_out(any_text, part)
    return found[0] if len(found) == 1 else list(itertools.chain.from_iterable(found))


def any_of(strings: Iterable[str]) -> regex.Pattern | None:
    """Finds any of the strings, and the longest where several begin; its `split` returns what it found, too.

    None if there are no strings.

    >>> any_of(["<|end|>", "<|end|>of line"]).search("<|end|>of line").group()
    '<|end|>of line'
    """
    longest_first = sorted(strings, key=lambda string: (-len(string), string))
    return regex.compile(f"({'|'.join(map(regex.escape, longest_first))})") if longest_first else None


def last_border(text: str, pattern: str | None) -> int:
    """The last position at which a text can be cut so that both parts have the chunks of the whole, 0 if unknown.

    This holds however the text goes on. The published patterns all end a chunk between a letter or digit and the
    white space or punctuation after it (except an apostrophe, which may begin a contraction), and what a chunk is does
    not depend on the chunks before it. Of a pattern of your own, nothing is known.

    Args:
        text: the beginning of a text.
        pattern: what a chunk is.

    >>> "one, two three"[: last_border("one, two three", GPT4_PATTERN)]
    'one, two'
    """
    found = _BORDER.search(text) if pattern in _PUBLISHED else None
    return found.end() if found else 0


_PUBLISHED = (GPT2_PATTERN, GPT4_PATTERN, LLAMA3_PATTERN, O200K_PATTERN)
_BORDER = regex.compile(r"(?r)[\p{L}\p{N}](?=\s|(?!')\p{P})")  # (?r): searched from the end


@cache
def _compiled(pattern: str) -> tuple[regex.Pattern, re.Pattern | None]:
    """The pattern for any text, and for pure ASCII, where Python's `re` finds the same chunks in half the time."""
    any_text = regex.compile(pattern)
    if any_text.groups:  # findall would return the groups instead of the chunks
        raise ValueError(f"the pattern has {any_text.groups} capturing groups: write (?:…) instead of (…)")
    if pattern not in (GPT2_PATTERN, GPT4_PATTERN, LLAMA3_PATTERN):
        return any_text, None
    ascii_only = re.sub(r"\\p\{([LN])\}(?![^\[]*\])", r"[\\p{\1}]", pattern)  # outside [...] it gets brackets
    ascii_only = ascii_only.replace(r"\p{L}", "A-Za-z").replace(r"\p{N}", "0-9")
    try:
        return any_text, re.compile(ascii_only, re.ASCII)
    except re.error:  # before Python 3.11, `re` has no `++`
        return any_text, None


def _leaves_out(pattern: regex.Pattern, text: str) -> ValueError:
    """The error for a pattern whose chunks are not the whole text, with the first gap."""
    end = 0
    for found in pattern.finditer(text):
        if found.start() > end:
            break
        end = found.end()
    return ValueError(
        f"the pattern leaves out {text[end]!r} at position {end}, so decoding could not give the text back: "
        f"end the pattern with an alternative for everything else, such as '|(?s:.)'"
    )


guard(globals())
