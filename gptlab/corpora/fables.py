"""Fables told by a grammar whose every choice has a known probability, so that each story carries its exact surprise.

The best any language model can do on a text is the surprise of the text under the process that wrote it (Shannon 1948).
For books nobody knows that process; here it is `gptlab.corpora.grammar`. `tell` draws stories and their −ln p in nats;
`read` inverts the telling and gives the same number, or says where a text stops being a fable or contradicts itself.

>>> fable = tell(1, seed=0)[0]
>>> reading = read(fable.text)
>>> reading.error is None and math.isclose(reading.nats, fable.nats)
True
"""

import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from typing import NamedTuple

from gptlab.corpora import grammar

SEPARATOR = "\n\n"  # between two stories of a book

# The beginning that travels through the course: every notebook follows these words a station further.
TRAVELLER = "Once, in a dark forest, there lived Ada the proud fox. Nearby lived Bo the patient hen."


class Mark(NamedTuple):
    """A stretch `text[start:end]` of a story that states a fact: drawn there (it costs `nats`) or recalled."""

    fact: str
    text: str
    start: int
    end: int
    nats: float
    recalled: bool


@dataclass(frozen=True)
class Fable:
    """A told story: its text, its exact surprise −ln p in nats, its facts, and where in the text they stand."""

    text: str
    nats: float
    facts: dict[str, str] = field(repr=False)
    marks: tuple[Mark, ...] = field(repr=False)

    @property
    def choices(self) -> tuple[Mark, ...]:
        """The marks that were drawn: their nats sum to the story's."""
        return tuple(mark for mark in self.marks if not mark.recalled)


class Contradiction(NamedTuple):
    """A place where a story says something else than it said before."""

    fact: str
    start: int
    expected: str
    found: str

    def __str__(self) -> str:
        place, fact = f"at character {self.start}", _in_words(self.fact)
        if self.expected.startswith("another than"):
            return f"{place}: {fact} repeats the hero's, {self.found!r}"
        return f"{place}: {fact} was {self.expected!r}, but here it is {self.found!r}"


@dataclass(frozen=True)
class Reading:
    """What `read` found: the nats of a flawless story (`inf` otherwise), its facts, and what is wrong with it.

    `form_error` is the first place where the text is no fable any more, `contradictions` are the places where its form
    is right and its content is not; `error` is the first of them all in words, or None.
    """

    nats: float
    facts: dict[str, str]
    marks: tuple[Mark, ...]
    contradictions: tuple[Contradiction, ...] = ()
    form_error: str | None = None

    @property
    def error(self) -> str | None:
        """The first thing that is wrong, and where; None for a story that could have been told."""
        return str(self.contradictions[0]) if self.contradictions else self.form_error


def tell(n: int, seed: int) -> list[Fable]:
    """`n` stories, the same for a seed on every Python (only `random.Random(seed).random()` is drawn from).

    The first stories of a longer telling are those of a shorter one.

    >>> [fable.text[:20] for fable in tell(2, seed=7)] == [fable.text[:20] for fable in tell(3, seed=7)[:2]]
    True
    """
    if n < 0:
        raise ValueError(f"cannot tell {n} stories: pass n >= 0")
    draw = random.Random(seed).random
    return [_Telling(draw).tell() for _ in range(n)]


def book(n: int = 3000, seed: int = 0) -> str:
    """`n` stories as one text, a blank line between two; `book()` is the committed data/fables.txt."""
    return SEPARATOR.join(fable.text for fable in tell(n, seed)) + "\n"


def read(text: str) -> Reading:
    """Invert the telling: the facts and the nats of a story, or the first place where it goes wrong, and how.

    >>> story = tell(1, seed=0)[0].text
    >>> name = read(story).facts["finder.name"]
    >>> print(read(story.replace(f"said {name}", "said Nobody")).error)  # doctest: +ELLIPSIS
    at character ...: a fable goes on with ... but here stands 'Nobody, for the ...'
    """
    return _Reading(text).read()


def entropy() -> float:
    """The exact mean surprise of a story in nats: the floor under every model's loss.

    >>> stories = tell(2000, seed=1)
    >>> abs(sum(fable.nats for fable in stories) / 2000 - entropy()) < 0.2
    True
    """
    total = 0.0
    for fact, table in grammar.TABLES.items():
        rival = _rival(fact)
        if rival is None:
            total += _entropy(table)
        else:  # the friend never repeats the hero: one entropy for each thing that the hero may be
            weight = sum(table.values())
            total += sum(
                w / weight * _entropy({k: v for k, v in table.items() if k != left}) for left, w in table.items()
            )
    return total


def count() -> int:
    """How many different stories there are.

    >>> count() > 10**9
    True
    """
    return math.prod(len(table) - (_rival(fact) is not None) for fact, table in grammar.TABLES.items())


# ── How a story goes: both the teller and the reader walk this path ──────────────────────────────────────────────────


class _Mention(NamedTuple):
    name: str  # as in the template: "hero.trait", "home.look", "finder.name"


@cache
def _pieces(template: str) -> tuple[str | _Mention, ...]:
    """A template cut at its braces: literal text and mentions in turn, without empty literals."""
    parts = re.split(r"\{([^}]*)\}", template)
    return tuple(_Mention(part) if i % 2 else part for i, part in enumerate(parts) if i % 2 or part)


def _rival(fact: str) -> str | None:
    """The fact whose value this one may not repeat."""
    return "hero." + fact.removeprefix("friend.") if fact.startswith("friend.") else None


def _entropy(table: dict[str, int]) -> float:
    total = sum(table.values())
    return -sum(weight / total * math.log(weight / total) for weight in table.values())


def _in_words(fact: str) -> str:
    return "the " + fact.replace(".", "'s ")


class _Options(NamedTuple):
    texts: tuple[str, ...]
    values: tuple[str, ...]
    nats: tuple[float, ...]
    cumulated: tuple[float, ...]  # of probabilities; the last is 1


@cache
def _table_options(fact: str, mention: str, without: str | None) -> _Options:
    form = grammar.FORMS.get(mention)
    table = {value: weight for value, weight in grammar.TABLES[fact].items() if value != without}
    texts = tuple(form[value] if form else value for value in table)
    return _options(texts, tuple(table), tuple(table.values()))


def _options(texts: tuple[str, ...], values: tuple[str, ...], weights: tuple[int, ...]) -> _Options:
    total = sum(weights)
    cumulated = (*accumulate(weight / total for weight in weights[:-1]), 1.0)
    return _Options(texts, values, tuple(-math.log(weight / total) for weight in weights), cumulated)


class _Story:
    """The facts so far, and what a mention means in the light of them."""

    def __init__(self):
        self.facts: dict[str, str] = {}

    def options(self, mention: str) -> tuple[str, _Options] | None:
        """The fact that this mention draws, with its options; None where it recalls."""
        if mention == "finder.name" and "finder" not in self.facts:
            names = tuple(self.facts[f"{role}.name"] for role in grammar.ROLES)
            return "finder", _options(names, tuple(grammar.ROLES), tuple(grammar.ROLES.values()))
        fact = mention.rpartition(".")[0] if mention in grammar.FORMS else mention
        if fact in self.facts:
            return None
        rival = _rival(fact)
        return fact, _table_options(fact, mention, self.facts[rival] if rival else None)

    def state(self, fact: str, value: str) -> None:
        """Write down a drawn fact, and what follows from it."""
        facts = self.facts
        facts[fact] = value
        if fact == "finder":
            other = "friend" if value == "hero" else "hero"
            for quality in ("name", "trait", "animal"):
                facts[f"finder.{quality}"] = facts[f"{value}.{quality}"]
                facts[f"other.{quality}"] = facts[f"{other}.{quality}"]
            facts["finder.kind"] = "vice" if facts["finder.trait"] in grammar.VICES else "virtue"

    def recalled(self, mention: str) -> str:
        """The text of a fact that has been stated."""
        if mention in grammar.FORMS:
            return grammar.FORMS[mention][self.facts[mention.rpartition(".")[0]]]
        return self.facts[mention]

    def walk(self) -> Iterator[tuple[str, str | dict[str, str]]]:
        """The steps of the story: ("literal", text), ("mention", name), ("branch:" + fact, table)."""
        for part in grammar.STORY:
            if isinstance(part, str):
                template = part
            else:
                fact, table = part
                template = table[(yield "branch:" + fact, table) or self.facts[fact]]
            for piece in _pieces(template):
                yield ("mention", piece.name) if isinstance(piece, _Mention) else ("literal", piece)


def _first_word(template: str) -> str:
    """A branch is known by its first word: what follows costs nothing more."""
    return re.match(r"\S+", template)[0]


class _Telling(_Story):
    def __init__(self, draw):
        super().__init__()
        self.draw, self.parts, self.length, self.marks = draw, [], 0, []

    def tell(self) -> Fable:
        for step, what in self.walk():
            if step == "literal":
                self.say(what)
            elif step == "mention":
                drawn = self.options(what)
                if drawn is None:
                    self.say(self.recalled(what), what)
                else:
                    fact, options = drawn
                    at = self.draw()
                    i = next(i for i, edge in enumerate(options.cumulated) if at < edge)
                    self.state(fact, options.values[i])
                    self.say(options.texts[i], fact, options.nats[i], recalled=False)
            else:
                fact = step.removeprefix("branch:")
                word = _first_word(what[self.facts[fact]])
                self.marks.append(Mark(fact, word, self.length, self.length + len(word), 0.0, True))
        nats = math.fsum(mark.nats for mark in self.marks)
        return Fable("".join(self.parts), nats, self.facts, tuple(self.marks))

    def say(self, text: str, fact: str = "", nats: float = 0.0, recalled: bool = True) -> None:
        if fact:
            self.marks.append(Mark(fact, text, self.length, self.length + len(text), nats, recalled))
        self.parts.append(text)
        self.length += len(text)


class _NoFable(Exception):
    """The text cannot go on like this."""


class _Reading(_Story):
    def __init__(self, text: str):
        super().__init__()
        self.text, self.at, self.marks, self.contradictions = text.rstrip(), 0, [], []

    def read(self) -> Reading:
        form_error = None
        try:
            self.follow()
            if self.at < len(self.text):
                raise _NoFable(f"at character {self.at}: the fable has ended, but here stands {self.here()!r}")
        except _NoFable as error:
            form_error = str(error)
        flawless = form_error is None and not self.contradictions
        nats = math.fsum(mark.nats for mark in self.marks) if flawless else math.inf
        return Reading(nats, self.facts, tuple(self.marks), tuple(self.contradictions), form_error)

    def follow(self) -> None:
        walk = self.walk()
        step = next(walk, None)
        while step is not None:
            kind, what = step
            taken = None
            if kind == "literal":
                self.expect(what)
            elif kind == "mention":
                self.mention(what)
            else:
                taken = self.branch(kind.removeprefix("branch:"), what)
            try:
                step = walk.send(taken)
            except StopIteration:
                step = None

    def expect(self, literal: str) -> None:
        literal = literal.rstrip() if self.at + len(literal) > len(self.text) else literal
        if not self.text.startswith(literal, self.at):
            agreed = next(
                (i for i, (a, b) in enumerate(zip(literal, self.text[self.at :], strict=False)) if a != b), None
            )
            agreed = len(self.text) - self.at if agreed is None else agreed
            self.at += literal.rfind(" ", 0, agreed + 1) + 1 if agreed else 0  # point at the whole word
            self.refuse((literal[literal.rfind(" ", 0, agreed + 1) + 1 :] if agreed else literal).strip())
        self.at += len(literal)

    def mention(self, name: str) -> None:
        drawn = self.options(name)
        if drawn is None:
            self.recall(name)
            return
        fact, options = drawn
        found = self.matching(options.texts)
        if found is not None:
            i = options.texts.index(found)
            self.state(fact, options.values[i])
            self.mark(fact, found, options.nats[i], recalled=False)
            return
        rival = _rival(fact)
        if rival and self.matching((self.facts[rival],)):
            self.contradict(fact, f"another than {self.facts[rival]}", self.facts[rival])
            self.state(fact, self.facts[rival])
        elif fact == "finder" and (found := self.matching(grammar.NAMES)):
            self.contradict("finder.name", " or ".join(options.texts), found)
            self.state(fact, "hero")
        else:
            self.refuse(" or ".join(options.texts[:3]) + (" or …" if len(options.texts) > 3 else ""))
        self.at += len(found or self.facts[fact])

    def recall(self, name: str) -> None:
        expected = self.recalled(name)
        if self.matching((expected,)):
            self.mark(name, expected, 0.0, recalled=True)
            return
        found = self.matching(self.alternatives(name))
        if found is None:
            self.refuse(expected)
        self.contradict(name, expected, found)
        self.at += len(found)

    def branch(self, fact: str, table: dict[str, str]) -> str:
        expected = self.facts[fact]
        for value in (expected, *table):
            word = _first_word(table[value])
            if self.matching((word,)):
                if value == expected:
                    self.marks.append(Mark(fact, word, self.at, self.at + len(word), 0.0, True))
                else:
                    self.contradict(fact, f"{_first_word(table[expected])} ({expected})", f"{word} ({value})")
                return value
        self.refuse(_first_word(table[expected]))

    def alternatives(self, name: str) -> tuple[str, ...]:
        """What else could stand in this place of a fable."""
        if name in grammar.FORMS:
            return tuple(grammar.FORMS[name].values())
        role, _, quality = name.partition(".")
        return tuple(grammar.TABLES[f"hero.{quality}" if role in ("finder", "other", "friend") else name])

    def matching(self, texts) -> str | None:
        """The one of `texts` that stands here as whole words."""
        for text in texts:
            end = self.at + len(text)
            if self.text.startswith(text, self.at) and not self.text[end : end + 1].isalnum():
                return text
        return None

    def mark(self, fact: str, text: str, nats: float, recalled: bool) -> None:
        self.marks.append(Mark(fact, text, self.at, self.at + len(text), nats, recalled))
        self.at += len(text)

    def contradict(self, fact: str, expected: str, found: str) -> None:
        self.contradictions.append(Contradiction(fact, self.at, expected, found))

    def here(self) -> str:
        """The next few words, for a message."""
        words = self.text[self.at : self.at + 40]
        return words if len(words) < 40 else words.rpartition(" ")[0]

    def refuse(self, expected: str):
        if self.at >= len(self.text):
            raise _NoFable(f"at character {self.at}: a fable goes on with {expected!r}, but the text ends")
        raise _NoFable(f"at character {self.at}: a fable goes on with {expected!r}, but here stands {self.here()!r}")


if __name__ == "__main__":  # python -m gptlab.corpora.fables > data/fables.txt
    print(book(), end="")
