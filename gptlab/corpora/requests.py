"""Requests about fables, each with an answer and a judge: what supervised fine-tuning learns from, and is graded by.

A request is what a user might say: "Tell a fable about a proud fox and a silver bell." Its answer comes
from the grammar of the fables, and its judge reads what a model answered and says, part by part, whether that was
granted. Some phrasings and some combinations of trait and animal are held out, so that a test can ask for what no
training example has shown.

>>> request = make(1, seed=0)[0]
>>> request.judge(request.answer).granted
True
>>> request.judge("I cannot.").granted
False
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from gptlab.corpora import fables, grammar
from gptlab.corpora.fables import Fable, read

Message = dict[str, str]  # {"role": "user", "content": "Tell a fable."}


class Judgement(NamedTuple):
    """What a judge found.

    Attributes:
        parts: each part of the request in words, and whether the answer grants it.
    """

    parts: dict[str, bool]

    @property
    def granted(self) -> bool:
        """Whether the answer grants every part."""
        return all(self.parts.values())


@dataclass(frozen=True)
class Request:
    """One request, with an answer that grants it.

    Attributes:
        kind: one of `KINDS`.
        text: what the user says.
        answer: what a good assistant could answer; for most kinds it is one answer of many.
        judge: from an answer to what it grants.
        before: the messages before this request, where it is a follow-up question.
    """

    kind: str
    text: str
    answer: str
    judge: Callable[[str], Judgement] = field(repr=False)
    before: tuple[Message, ...] = ()

    @property
    def prompt(self) -> list[Message]:
        """The conversation up to the user's request, for a model to answer."""
        return [*self.before, {"role": "user", "content": self.text}]

    @property
    def conversation(self) -> list[Message]:
        """The whole conversation, for a model to learn from."""
        return [*self.prompt, {"role": "assistant", "content": self.answer}]


# Several ways to say the same. The last of each kind is held out: no training example has it.
PHRASINGS: dict[str, tuple[str, ...]] = {
    "about": (
        "Tell a fable about a {trait} {animal} and a {look} {thing}.",
        "Tell me a story about a {trait} {animal} who found a {look} {thing}.",
        "A fable, please, about a {trait} {animal} with a {look} {thing}.",
        "I would like a fable with a {look} {thing} and a {trait} {animal}.",
        "Please tell me of a {trait} {animal} and a {look} {thing}.",
    ),
    "moral": (
        "Tell a fable whose moral is: {moral}",
        "Tell me a story with this moral: {moral}",
        "A fable, please, with the moral: {moral}",
        "I would like a fable whose moral is: {moral}",
        "Please tell me a story whose moral is: {moral}",
    ),
    "ending": (
        "Tell a fable with a {mood} end.",
        "Tell me a story which has a {mood} end.",
        "A fable, please, with a {mood} end.",
        "I would like a fable which has a {mood} end.",
        "Please tell me a story with a {mood} end.",
    ),
    "continue": (
        "{beginning} How does it go on?",
        "{beginning} Tell me how it goes on.",
        "How does this fable go on? {beginning}",
        "{beginning} I would like to know how it goes on.",
        "{beginning} Please tell me how this fable goes on.",
    ),
    "who": (
        "{story} Who found the {thing}?",
        "{story} Tell me who found the {thing}.",
        "Who found the {thing} in this fable? {story}",
        "{story} I would like to know who found the {thing}.",
        "{story} Please tell me who found the {thing}.",
    ),
}
KINDS = tuple(PHRASINGS)
CURRICULUM = ("about", "about", "about", "moral", "ending", "continue", "continue", "who")  # the hardest most often
SOUND = "a fable without a contradiction"  # what a judge calls it; two foxes in one fable are one
MOODS = {"virtue": "happy", "vice": "sad"}


def make(n: int, seed: int, held_out: bool = False, kinds: Sequence[str] = KINDS) -> list[Request]:
    """`n` requests, the same for a seed on every Python.

    Args:
        n: how many; the first requests are the same for a larger n.
        seed: other seeds, other requests.
        held_out: only phrasings and combinations that training never shows; otherwise only the others.
        kinds: the kinds to choose from, each as likely as the others.

    Raises:
        ValueError: for a negative number, no kinds, or a kind that does not exist.
    """
    if n < 0:
        raise ValueError(f"cannot make {n} requests: pass n of at least 0")
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise ValueError(f"unknown kind of request {unknown[0]!r}: choose from {', '.join(KINDS)}")
    if not kinds:
        raise ValueError(f"there is no kind of request to choose from: pass some of {', '.join(KINDS)}")
    draw = random.Random(seed).random
    return [_make(kinds[int(draw() * len(kinds))], draw, held_out) for _ in range(n)]


def is_held_out(trait: str, animal: str) -> bool:
    """Whether a combination is saved for testing: one in five, spread evenly over traits and animals.

    >>> sum(is_held_out(trait, animal) for trait in grammar.TRAITS for animal in grammar.ANIMALS)
    48
    """
    return (list(grammar.TRAITS).index(trait) * 2 + list(grammar.ANIMALS).index(animal)) % 5 == 0


def _make(kind: str, draw: Callable[[], float], held_out: bool) -> Request:
    # A story that is asked for is about the one who finds the thing, and names that one first.
    given = {"finder": "hero"} if kind in ("about", "moral", "ending") else {}
    story = _story(given, draw, held_out)
    return _MAKERS[kind](_phrasing(kind, draw, held_out), story, draw, held_out)


def _story(given: dict[str, str], draw: Callable[[], float], held_out: bool) -> Fable:
    while True:  # until the finder is on the wanted side
        story = fables.tell_with(given, draw)
        if is_held_out(story.facts["finder.trait"], story.facts["finder.animal"]) == held_out:
            return story


def _phrasing(kind: str, draw: Callable[[], float], held_out: bool) -> str:
    choices = PHRASINGS[kind][-1:] if held_out else PHRASINGS[kind][:-1]
    return choices[int(draw() * len(choices))]


# ---- The kinds: each makes a request from a phrasing and a story -----------------------------------------------------


def _about(phrasing: str, story: Fable, *_) -> Request:
    facts = story.facts
    wanted = {"trait": facts["finder.trait"], "animal": facts["finder.animal"], "thing": facts["thing"]}
    text = phrasing.format(look=grammar.THING_LOOKS[facts["thing"]], **wanted)
    roles = ("finder",) if "who found" in phrasing else tuple(grammar.ROLES)
    return Request("about", text, story.text, partial(_grants_facts, wanted, roles))


def _grants_facts(wanted: dict[str, str], roles: Sequence[str], answer: str) -> Judgement:
    reading = read(answer.strip())
    found, who = reading.facts, (wanted["trait"], wanted["animal"])
    return Judgement(
        {
            SOUND: reading.error is None,
            f"a {' '.join(who)}": who in [(found.get(f"{role}.trait"), found.get(f"{role}.animal")) for role in roles],
            f"a {wanted['thing']}": found.get("thing") == wanted["thing"],
        }
    )


def _moral(phrasing: str, story: Fable, *_) -> Request:
    moral = grammar.MORALS[story.facts["finder.trait"]]
    return Request("moral", phrasing.format(moral=moral), story.text, partial(_grants_moral, moral))


def _grants_moral(moral: str, answer: str) -> Judgement:
    right = {SOUND: read(answer.strip()).error is None}
    return Judgement(right | {f"the moral: {moral}": answer.rstrip().endswith(f"Moral: {moral}")})


def _ending(phrasing: str, story: Fable, *_) -> Request:
    kind = story.facts["finder.kind"]
    return Request("ending", phrasing.format(mood=MOODS[kind]), story.text, partial(_grants_ending, kind))


def _grants_ending(kind: str, answer: str) -> Judgement:
    reading = read(answer.strip())
    right = {SOUND: reading.error is None}
    return Judgement(right | {f"a {MOODS[kind]} end": reading.facts.get("finder.kind") == kind})


def _continue(phrasing: str, story: Fable, *_) -> Request:
    beginning, found, rest = story.text.partition(" One ")  # the day on which somebody finds something
    text = phrasing.format(beginning=beginning)
    return Request("continue", text, found.lstrip() + rest, partial(_goes_on, beginning))


def _goes_on(beginning: str, answer: str) -> Judgement:
    reading = read(f"{beginning} {answer.strip()}")
    return Judgement({"the rest of this fable, without a contradiction": reading.error is None})


def _who(phrasing: str, story: Fable, draw: Callable[[], float], held_out: bool) -> Request:
    """A question about a story: one that the user gives, or, as often, one that the assistant has told before."""
    thing, before = story.facts["thing"], ()
    answer = f"{story.facts['finder.name']} found the {thing}."
    told = story.text
    if draw() < 0.5:
        wish = _phrasing("ending", draw, held_out).format(mood=MOODS[story.facts["finder.kind"]])
        before, told = ({"role": "user", "content": wish}, {"role": "assistant", "content": story.text}), ""
    text = phrasing.format(story=told, thing=thing).strip()
    return Request("who", text, answer, partial(_says, answer), before)


def _says(wanted: str, answer: str) -> Judgement:
    return Judgement({f"the answer {wanted!r}": answer.strip() == wanted})


_MAKERS: dict[str, Callable[..., Request]] = {
    "about": _about,
    "moral": _moral,
    "ending": _ending,
    "continue": _continue,
    "who": _who,
}
