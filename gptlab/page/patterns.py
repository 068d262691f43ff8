r"""Patterns of tokenizers in JavaScript: the same chunks in every browser, whatever version of Unicode it knows.

JavaScript's regular expressions have no `++` and, in most browsers, no `(?i:…)`; their `\s` has other spaces, and their
`\p{L}` is as old or new as the browser. So each part that matches one character is asked which characters it matches in
Python, and the page gets the answer as a set. What repeats and groups them is written anew.

>>> translated(r"[0-9]++|x")
{'parts': [0, '+(?!', 0, ')|x'], 'sets': ['1c a']}
"""

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import regex

from gptlab.entrances import guard

# A quantifier, and whether it is lazy or possessive; then everything that matches one character, and a group's opening.
_QUANTIFIER = re.compile(r"(\*|\+|\?|\{(\d+)(?:(,)(\d*))?\})([?+]?)")
_ONE_CHARACTER = re.compile(
    r"\\(?:[pP](?:\{[^}]*\}|[A-Za-z])|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[dDsSwWnrtfvae]|[^A-Za-z0-9])"
    r"|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]])*\]|\."
)
_GROUP = re.compile(r"\((?:\?(?:(=|!|>)|([is]*)(?:-([is]+))?:))?")
_END = "(?![^])"  # nothing comes any more: in JavaScript, [^] is any character
_ANCHORS = {"^": "(?<![^])", "$": rf"(?=\n?{_END})", r"\A": "(?<![^])", r"\Z": _END, r"\z": _END}


@cache
def _every_character() -> str:
    """All of Unicode in order, without the halves of surrogate pairs, which no text has."""
    return "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))


def character_set(pattern: str, flags: str = "", library: Any = regex) -> str:
    r"""The characters that a pattern for one character matches: how many are left out and how many are in, in base 36.

    Args:
        pattern: such as `\p{L}`, `[^a-z]` or `s`.
        flags: "i" for either case, "s" to let a dot match newlines.
        library: `regex`, or `re` for a pattern that is used with it.

    >>> character_set("[a-cx]")
    '2p 3 k 1'
    """
    compiled = library.compile(f"(?{flags}:{pattern})+")
    lengths, at = [], 0
    for found in compiled.finditer(_every_character()):
        first, last = ord(found[0][0]), ord(found[0][-1])
        lengths += [first - at, last + 1 - first]
        at = last + 1
    return " ".join(map(_base36, lengths))


def _base36(number: int) -> str:
    digits = ""
    while number or not digits:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits


@cache
def translated(pattern: str) -> dict[str, list]:
    """A pattern for the library `regex` as a page carries it.

    Args:
        pattern: of a tokenizer.

    Returns:
        "parts": parts of a regular expression of JavaScript, where a number stands for a set; "sets": the sets, as
        `character_set` writes them.

    Raises:
        ValueError: the pattern has something that a page cannot carry, naming it.
    """
    reader = _Reader(pattern)
    while reader.at < len(pattern):
        reader.step()
    parts: list[str | int] = []
    for part in reader.parts:
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        else:
            parts.append(part)
    return {"parts": parts, "sets": list(reader.sets)}


@dataclass
class _Reader:
    """Reads a pattern from left to right.

    Attributes:
        pattern: what is read.
        at: the position.
        parts: what has been written.
        sets: those used so far, with their numbers.
        flags: in force here, and in the groups around.
        opened: where in `parts` each open group began, and how it ends.
        atom: where in `parts` the last part began that can be repeated; None if there is none.
        groups: how many groups were given a name, to stand for `(?>…)`.
    """

    pattern: str
    at: int = 0
    parts: list[str | int] = field(default_factory=list)
    sets: dict[str, int] = field(default_factory=dict)
    flags: list[str] = field(default_factory=lambda: [""])
    opened: list[tuple[int, str]] = field(default_factory=list)
    atom: int | None = None
    groups: int = 0

    def step(self) -> None:
        rest = self.pattern[self.at :]
        if self.atom is not None and (found := _QUANTIFIER.match(rest)):
            self.repeat(*found.groups())
        elif found := _GROUP.match(rest):
            self.open(found)
        elif found := re.match(r"\)|\||\\[AZz]|[\^$]", rest):
            self.close_or_anchor(found[0])
        elif found := _ONE_CHARACTER.match(rest):
            self.single(found[0])
        elif rest[0] in "\\*+?{}[]":
            raise _not_carried(self.pattern, found[0] if (found := re.match(r"\\.", rest)) else rest[0])
        else:
            found = re.match(r"(?s:.)", rest)
            self.literal(found[0])
        self.at += len(found[0])

    def literal(self, character: str) -> None:
        if self.flags[-1].count("i"):
            self.single(regex.escape(character))
            return
        self.atom = len(self.parts)
        plain = (character.isascii() and character.isalnum()) or character in " '<>\"=!:;,"
        self.parts.append(character if plain else f"\\u{{{ord(character):x}}}")

    def single(self, pattern: str) -> None:
        members = character_set(pattern, self.flags[-1])
        self.atom = len(self.parts)
        self.parts.append(self.sets.setdefault(members, len(self.sets)))

    def open(self, found: re.Match) -> None:
        looks, on, off = found.groups()
        if found[0] == "(":
            raise _not_carried(self.pattern, self.pattern[self.at : self.at + 3])
        kept = set(self.flags[-1]) | set(on or "")
        self.flags.append("".join(sorted(kept - set(off or ""))))
        if looks == ">":
            self.opened.append((len(self.parts), self.atomic()))
            self.parts.append(f"(?:(?=(?<a{self.groups}>")
        else:
            self.opened.append((len(self.parts), ")"))
            self.parts.append(f"(?{looks or ':'}")
        self.atom = None

    def atomic(self) -> str:
        """How an atomic group ends: what was seen ahead is taken as it was."""
        self.groups += 1
        return f"))\\k<a{self.groups}>)"

    def close_or_anchor(self, symbol: str) -> None:
        self.atom = None
        if symbol == ")":
            self.flags.pop()
            self.atom, end = self.opened.pop()
            self.parts.append(end)
        else:
            self.parts.append(_ANCHORS.get(symbol, symbol))

    def repeat(self, symbol: str, least: str | None, comma: str | None, most: str | None, kind: str) -> None:
        """A quantifier behind what was read last; a possessive one does not give back what it took."""
        start, self.atom = self.atom, None
        what = self.parts[start:]
        if kind != "+":
            self.parts.append(symbol + kind)
        elif len(what) > 1:
            self.groups += 1
            name = f"a{self.groups}"
            self.parts[start:] = [f"(?:(?=(?<{name}>", *what, symbol, f"))\\k<{name}>)"]
        elif (least is None and symbol != "?") or (comma and not most):
            self.parts += [symbol, "(?!", *what, ")"]
        else:  # as many as are allowed, or else all that there are
            low, high = (0, 1) if symbol == "?" else (int(least), int(most or least))
            fewer = [*what, f"{{{low},{high - 1}}}"] if high > 1 else []
            fewer = ["|", *fewer, "(?!", *what, ")"] if low < high else []
            self.parts[start:] = ["(?:", *what, f"{{{high}}}", *fewer, ")"]


def _not_carried(pattern: str, what: str) -> ValueError:
    return ValueError(
        f"a page cannot carry this tokenizer: its pattern {pattern!r:.80} has {what!r}, for which there is no "
        "translation to JavaScript; train one with GPT4_PATTERN, GPT2_PATTERN or LLAMA3_PATTERN of gptlab.splitting"
    )


guard(globals())
