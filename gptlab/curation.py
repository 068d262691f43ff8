"""Texts before they are learned: what stands in them twice, what is private, and a split that leaks nothing.

Data curation, as it is called where it is somebody's work, decides what a model can learn and what it should not. What
it has learned by heart is measured in `gptlab.memorization`. Notebook `your_own_gpt` uses both.

>>> training, validation = split_documents(["A fox.", "A hen.", "A fox.", "A crow."], fraction=0.6)
>>> set(training) & set(validation)
set()
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gptlab.entrances import Seed, guard

# ── What stands there twice ──────────────────────────────────────────────────────────────────────────────────────────


def duplicates(documents: Sequence[str]) -> list[list[int]]:
    """Groups of documents that say the same, as positions; upper case and white space make no difference.

    What stands twice in a text is learned twice as fast, and is memorised first (Lee et al. 2022, *Deduplicating
    Training Data Makes Language Models Better*).

    Args:
        documents: the texts.

    >>> duplicates(["A fox.", "A hen.", "a  fox."])
    [[0, 2]]
    """
    groups = defaultdict(list)
    for position, text in enumerate(documents):
        groups[_tidied(text)].append(position)
    return [group for group in groups.values() if len(group) > 1]


def without_duplicates(documents: Sequence[str]) -> list[str]:
    """The documents in order, of each group of `duplicates` only the first.

    Args:
        documents: the texts.

    >>> without_duplicates(["A fox.", "A hen.", "a  fox."])
    ['A fox.', 'A hen.']
    """
    later = {position for group in duplicates(documents) for position in group[1:]}
    return [text for position, text in enumerate(documents) if position not in later]


def _tidied(text: str) -> str:
    return " ".join(text.casefold().split())


# ── What is private ──────────────────────────────────────────────────────────────────────────────────────────────────


class Private(NamedTuple):
    """Something that looks like private data.

    Attributes:
        kind: "e-mail", "IBAN", "card number", "IP address" or "phone number".
        text: as it is written.
        document: the position of the document that it is in.
    """

    kind: str
    text: str
    document: int


_DATE = re.compile(r"(?:19|20)\d\d[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:19|20)\d\d")
_KINDS = {  # in the order in which they are looked for: what one has taken, the next ones leave alone
    "e-mail": re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "IBAN": re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b"),
    "card number": re.compile(r"(?<![\w+])\d(?:[ -]?\d){12,18}(?!\w)"),
    "IP address": re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\w)"),
    "phone number": re.compile(r"(?<!\w)(?:\+|\(0|0|\(\d{3}\)|\d{3}[ .-])[\d ()/.-]{4,18}\d(?!\w)"),
}


def private_data(documents: Sequence[str]) -> list[Private]:
    """What looks like an e-mail address, an account, a card, a network address or a phone number.

    A search for patterns: it misses what is written in another way, and it knows no names and no addresses of houses.
    An empty list is no proof.

    Args:
        documents: the texts.

    >>> for found in private_data(["Write to ada@example.org or call 020 7946 0018.", "Born on 28.11.2026."]):
    ...     print(found.kind, found.text, found.document)
    e-mail ada@example.org 0
    phone number 020 7946 0018 0
    """
    return [Private(kind, text, i) for i, document in enumerate(documents) for kind, text in _private(document)]


def _private(document: str) -> Iterator[tuple[str, str]]:
    taken: list[tuple[int, int]] = [found.span() for found in _DATE.finditer(document)]
    for kind, pattern in _KINDS.items():
        for found in pattern.finditer(document):
            start, end = found.span()
            if all(end <= a or b <= start for a, b in taken) and _is_plausible(kind, found[0]):
                taken.append((start, end))
                yield kind, found[0]


def _is_plausible(kind: str, text: str) -> bool:
    """Whether the check digits are right, where a kind has some, and the length is."""
    digits = [int(sign) for sign in text if sign.isdigit()]
    if kind == "card number":  # Luhn's sum: every second digit from the right is doubled
        doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
        return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0
    if kind == "IBAN":  # ISO 13616: the number that letters and digits make leaves 1 when divided by 97
        moved = text.replace(" ", "")[4:] + text[:4]
        return int("".join(str(int(sign, 36)) for sign in moved)) % 97 == 1
    if kind == "IP address":
        return all(int(part) < 256 for part in text.split("."))
    return kind != "phone number" or 7 <= len(digits) <= 15


# ── What to validate on ──────────────────────────────────────────────────────────────────────────────────────────────


def split_documents(documents: Sequence[str], fraction: float = 0.9, seed: Seed = 0) -> tuple[list[str], list[str]]:
    """Whole documents to train on and to validate on, sampled by the seed; what says the same is on one side.

    A document that is cut, or that has its double on the other side, would be validated on what was trained on.

    Args:
        documents: at least two that differ.
        fraction: of the characters, at least, to train on; between 0 and 1.
        seed: of the order.

    Raises:
        ValueError: one side would be empty.

    >>> [len(part) for part in split_documents(["one", "two", "six", "ten"], fraction=0.75)]
    [3, 1]
    """
    groups = defaultdict(list)
    for text in documents:
        groups[_tidied(text)].append(text)
    if not 0 < fraction < 1 or len(groups) < 2:
        raise ValueError(
            f"fraction={fraction} of {len(groups)} different documents leaves one side empty: pass at least two that "
            "differ, and a fraction between 0 and 1"
        )
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    wanted = fraction * sum(map(len, documents))
    training, taken = [], 0
    while len(order) > 1 and taken < wanted:
        group = order.pop()
        training, taken = training + group, taken + sum(map(len, group))
    return training, [text for group in order for text in group]


guard(globals())
