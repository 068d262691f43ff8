"""Fables from a grammar whose every choice has a known probability, so that each story carries its exact surprise.

The best any language model can do on a text is the surprise of the text under the process that wrote it (Shannon 1948).
For books nobody knows that process; here it is `gptlab.corpora.grammar`. `tell` generates stories and their -ln p in
nats; `read` (in `gptlab.corpora.parsing`) inverts this and gives the same number, or says where a text stops being a
fable or contradicts itself.

>>> fable = tell(1, seed=0)[0]
>>> reading = read(fable.text)
>>> reading.error is None and math.isclose(reading.nats, fable.nats)
True
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gptlab.corpora import grammar
from gptlab.corpora.parsing import Contradiction, Reading, read
from gptlab.corpora.registry import Entry, register
from gptlab.corpora.story import Mark, Options, Story, first_word, rival
from gptlab.entrances import guard

__all__ = [
    "SEPARATOR", "TRAVELLER", "Contradiction", "Fable", "Mark", "Reading", "book", "count", "entropy", "read", "tell",
    "tell_with",
]  # fmt: skip

COMMITTED = Path(__file__).resolve().parents[2] / "data" / "fables.txt"
SEPARATOR = "\n\n"  # between two stories of a book

# The beginning that travels through the course: every notebook follows these words a station further.
TRAVELLER = "Once, in a dark forest, there lived Ada the proud fox. Nearby lived Bo the patient hen."


@dataclass(frozen=True)
class Fable:
    """A generated story.

    Attributes:
        text: the story.
        nats: its exact surprise, -ln p.
        facts: what was drawn, by the names of the grammar.
        marks: where in the text the facts are.
    """

    text: str
    nats: float
    facts: dict[str, str] = field(repr=False)
    marks: tuple[Mark, ...] = field(repr=False)

    @property
    def choices(self) -> tuple[Mark, ...]:
        """The marks that were drawn: their nats sum to the story's."""
        return tuple(mark for mark in self.marks if not mark.recalled)


def tell(n: int, seed: int) -> list[Fable]:
    """Generate stories, the same for a seed on every Python (only `random.Random(seed).random()` is drawn from).

    Args:
        n: how many; the first stories are the same for a larger n.
        seed: other seeds, other stories.

    Raises:
        ValueError: n is negative.

    >>> [fable.text[:20] for fable in tell(2, seed=7)] == [fable.text[:20] for fable in tell(3, seed=7)[:2]]
    True
    """
    if n < 0:
        raise ValueError(f"cannot generate {n} stories: pass n >= 0")
    draw = random.Random(seed).random
    return [_Generator(draw).generate() for _ in range(n)]


def tell_with(facts: Mapping[str, str], draw: Callable[[], float]) -> Fable:
    """Generate a story in which some facts are given; the others are drawn as always.

    Args:
        facts: by the names of the grammar, such as {"hero.animal": "fox", "finder": "hero"}.
        draw: gives numbers from 0 to 1, such as `random.Random(0).random`; one for each fact that is not given.

    Raises:
        ValueError: a fact is not drawn in any story, or cannot have this value there, naming both.

    >>> tell_with({"hero.animal": "snail", "finder": "hero"}, random.Random(0).random).facts["finder.animal"]
    'snail'
    """
    if unknown := sorted(facts.keys() - grammar.TABLES.keys()):
        raise ValueError(f"the fact {unknown[0]!r} is never drawn: choose among {', '.join(grammar.TABLES)}")
    return _Generator(draw, facts).generate()


def book(n: int = 3000, seed: int = 0) -> str:
    """Stories as one text, with an empty line between two; `book()` is the committed data/fables.txt.

    Args:
        n: how many stories.
        seed: other seeds, other stories.
    """
    return SEPARATOR.join(fable.text for fable in tell(n, seed)) + "\n"


def entropy() -> float:
    """The exact mean surprise of a story in nats: the entropy, which no model's loss can be below.

    >>> stories = tell(2000, seed=1)
    >>> abs(sum(fable.nats for fable in stories) / 2000 - entropy()) < 0.2
    True
    """
    total = 0.0
    for fact, table in grammar.TABLES.items():
        other = rival(fact)
        if other is None:
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
    return math.prod(len(table) - (rival(fact) is not None) for fact, table in grammar.TABLES.items())


def _entropy(table: dict[str, int]) -> float:
    total = sum(table.values())
    return -sum(weight / total * math.log(weight / total) for weight in table.values())


class _Generator(Story):
    def __init__(self, draw, given=None):
        super().__init__()
        self.draw, self.parts, self.length, self.marks = draw, [], 0, []
        self.given = given or {}

    def generate(self) -> Fable:
        for step, what in self.walk():
            if step == "literal":
                self.write(what)
            elif step == "mention":
                drawn = self.options(what)
                if drawn is None:
                    self.write(self.recalled(what), what)
                else:
                    fact, options = drawn
                    i = self.choose(fact, options)
                    self.state(fact, options.values[i])
                    self.write(options.texts[i], fact, options.nats[i], recalled=False)
            else:
                fact = step.removeprefix("branch:")
                word = first_word(what[self.facts[fact]])
                self.marks.append(Mark(fact, word, self.length, self.length + len(word), 0.0, True))
        nats = math.fsum(mark.nats for mark in self.marks)
        return Fable("".join(self.parts), nats, self.facts, tuple(self.marks))

    def choose(self, fact: str, options: Options) -> int:
        """Which of the options a fact takes: the given one, or one that is drawn."""
        if fact not in self.given:
            at = self.draw()
            return next(i for i, edge in enumerate(options.cumulated) if at < edge)
        if (value := self.given[fact]) not in options.values:
            raise ValueError(f"the fact {fact} cannot be {value!r} here: choose among {', '.join(options.values)}")
        return options.values.index(value)

    def write(self, text: str, fact: str = "", nats: float = 0.0, recalled: bool = True) -> None:
        if fact:
            self.marks.append(Mark(fact, text, self.length, self.length + len(text), nats, recalled))
        self.parts.append(text)
        self.length += len(text)


# ── The corpus ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _read() -> tuple[str, str]:
    if COMMITTED.is_file():
        return COMMITTED.read_text("utf-8"), "from the course's data folder"
    return book(), "generated just now"


ENTRY = register(Entry(name="fables", about="stories from a grammar with a known entropy; always here", read=_read))


guard(globals())
