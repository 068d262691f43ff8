"""How a story goes: the path through the grammar that both the generator and the parser of fables walk.

A template is cut into literal text and mentions of facts. The first mention of a fact draws it from its table, every
later one recalls it.
"""

import math
import re
from collections.abc import Iterator
from functools import cache
from itertools import accumulate
from typing import NamedTuple

from gptlab.corpora import grammar


class Mark(NamedTuple):
    """A stretch `text[start:end]` of a story that states a fact.

    Attributes:
        fact: its name in the grammar, such as "hero.trait".
        text: the words that state it.
        start: the position of the first character.
        end: the position behind the last character.
        nats: what the draw costs, -ln p; 0 where the fact is recalled.
        recalled: whether the fact was drawn before.
    """

    fact: str
    text: str
    start: int
    end: int
    nats: float
    recalled: bool


class Mention(NamedTuple):
    """A fact as a template mentions it.

    Attributes:
        name: "hero.trait", "home.look", "finder.name".
    """

    name: str


@cache
def parts_of(template: str) -> tuple[str | Mention, ...]:
    """A template cut at its braces: literal text and mentions in turn, without empty literals."""
    parts = re.split(r"\{([^}]*)\}", template)
    return tuple(Mention(part) if i % 2 else part for i, part in enumerate(parts) if i % 2 or part)


def rival(fact: str) -> str | None:
    """The fact whose value this one may not repeat."""
    return "hero." + fact.removeprefix("friend.") if fact.startswith("friend.") else None


class Options(NamedTuple):
    """What a mention can draw.

    Attributes:
        texts: the words for each value.
        values: of the fact.
        nats: -ln p of each.
        cumulated: sums of the probabilities from the first on; the last is 1.
    """

    texts: tuple[str, ...]
    values: tuple[str, ...]
    nats: tuple[float, ...]
    cumulated: tuple[float, ...]


@cache
def _table_options(fact: str, mention: str, without: str | None) -> Options:
    form = grammar.FORMS.get(mention)
    table = {value: weight for value, weight in grammar.TABLES[fact].items() if value != without}
    texts = tuple(form[value] if form else value for value in table)
    return _options(texts, tuple(table), tuple(table.values()))


def _options(texts: tuple[str, ...], values: tuple[str, ...], weights: tuple[int, ...]) -> Options:
    total = sum(weights)
    cumulated = (*accumulate(weight / total for weight in weights[:-1]), 1.0)
    return Options(texts, values, tuple(-math.log(weight / total) for weight in weights), cumulated)


class Story:
    """The facts so far, and what a mention means in the light of them."""

    def __init__(self):
        self.facts: dict[str, str] = {}

    def options(self, mention: str) -> tuple[str, Options] | None:
        """The fact that this mention draws, with its options; None where it recalls."""
        if mention == "finder.name" and "finder" not in self.facts:
            names = tuple(self.facts[f"{role}.name"] for role in grammar.ROLES)
            return "finder", _options(names, tuple(grammar.ROLES), tuple(grammar.ROLES.values()))
        fact = mention.rpartition(".")[0] if mention in grammar.FORMS else mention
        if fact in self.facts:
            return None
        other = rival(fact)
        return fact, _table_options(fact, mention, self.facts[other] if other else None)

    def state(self, fact: str, value: str) -> None:
        """Record a drawn fact, and what follows from it."""
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
            for piece in parts_of(template):
                yield ("mention", piece.name) if isinstance(piece, Mention) else ("literal", piece)


def first_word(template: str) -> str:
    """A branch is known by its first word: what follows costs nothing more."""
    return re.match(r"\S+", template)[0]
