"""Reading fables: the inverse of generating them, which finds every flaw and says where it is.

>>> from gptlab.corpora import fables
>>> fable = fables.tell(1, seed=0)[0]
>>> reading = read(fable.text)
>>> reading.error is None and math.isclose(reading.nats, fable.nats)
True
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from gptlab.corpora import grammar
from gptlab.corpora.story import Mark, Story, first_word, rival


class Contradiction(NamedTuple):
    """A place where a story says something else than it said before.

    Attributes:
        fact: its name in the grammar.
        start: the position in the text.
        expected: what was said before.
        found: what is said here.
    """

    fact: str
    start: int
    expected: str
    found: str

    def __str__(self) -> str:
        place, fact = f"at character {self.start}", "the " + self.fact.replace(".", "'s ")
        if self.expected.startswith("another than"):
            return f"{place}: {fact} repeats the hero's, {self.found!r}"
        return f"{place}: {fact} was {self.expected!r}, but here it is {self.found!r}"


@dataclass(frozen=True)
class Reading:
    """What `read` found.

    Attributes:
        nats: of a flawless story, its exact surprise -ln p; `inf` otherwise.
        facts: what the story says, by the names of the grammar.
        marks: where in the text the facts are.
        contradictions: the places where the form is right and the content is not.
        form_error: the first place where the text is not a fable any more, or None.
    """

    nats: float
    facts: dict[str, str]
    marks: tuple[Mark, ...]
    contradictions: tuple[Contradiction, ...] = ()
    form_error: str | None = None

    @property
    def error(self) -> str | None:
        """The first thing that is wrong, and where; None for a story that the grammar can generate."""
        return str(self.contradictions[0]) if self.contradictions else self.form_error


def read(text: str) -> Reading:
    """The facts and the nats of a story, or the first place where it goes wrong, and how.

    Args:
        text: one story; white space at its end does not matter.

    >>> from gptlab.corpora import fables
    >>> story = fables.tell(1, seed=0)[0].text
    >>> name = read(story).facts["finder.name"]
    >>> print(read(story.replace(f"said {name}", "said Nobody")).error)  # doctest: +ELLIPSIS
    at character ...: a fable goes on with ... but the text says 'Nobody, for the ...'
    """
    return _Parser(text).parse()


class _NotAFable(Exception):
    """A fable cannot go on like this."""


class _Parser(Story):
    def __init__(self, text: str):
        super().__init__()
        self.text, self.at, self.marks, self.contradictions = text.rstrip(), 0, [], []

    def parse(self) -> Reading:
        form_error = None
        try:
            self.follow()
            if self.at < len(self.text):
                said = f"the fable has ended, but the text goes on with {self.here()!r}"
                raise _NotAFable(f"at character {self.at}: {said}")
        except _NotAFable as error:
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
        other = rival(fact)
        if other and self.matching((self.facts[other],)):
            self.contradict(fact, f"another than {self.facts[other]}", self.facts[other])
            self.state(fact, self.facts[other])
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
            word = first_word(table[value])
            if self.matching((word,)):
                if value == expected:
                    self.marks.append(Mark(fact, word, self.at, self.at + len(word), 0.0, True))
                else:
                    self.contradict(fact, f"{first_word(table[expected])} ({expected})", f"{word} ({value})")
                return value
        self.refuse(first_word(table[expected]))

    def alternatives(self, name: str) -> tuple[str, ...]:
        """What else could be mentioned at this place of a fable."""
        if name in grammar.FORMS:
            return tuple(grammar.FORMS[name].values())
        role, _, quality = name.partition(".")
        return tuple(grammar.TABLES[f"hero.{quality}" if role in ("finder", "other", "friend") else name])

    def matching(self, texts) -> str | None:
        """The one of `texts` that is here, as complete words."""
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
            raise _NotAFable(f"at character {self.at}: a fable goes on with {expected!r}, but the text ends")
        said = f"a fable goes on with {expected!r}, but the text says {self.here()!r}"
        raise _NotAFable(f"at character {self.at}: {said}")
