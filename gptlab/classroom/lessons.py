"""What an experienced teacher would write beside each notebook, from `lessons.yaml`; the rest is counted in `sheets`.

It is written by hand, as text. Titles of sections are as in the notebook, and a test finds those that no longer exist.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("lessons.yaml")


class Lesson(NamedTuple):
    """The human part of a notebook's teaching sheet.

    Attributes:
        opening: what to ask or do before anybody opens the notebook; two minutes.
        project: (title of a section, what to show there and why), in order.
        discuss: (question, what to listen for in the answers).
        skip: titles of sections that a class with little time can leave out.
    """

    opening: str
    project: tuple[tuple[str, str], ...] = ()
    discuss: tuple[tuple[str, str], ...] = ()
    skip: tuple[str, ...] = ()


@cache
def lessons() -> dict[str, Lesson]:
    """For each topic, what is written beside its notebook.

    >>> len(lessons()["attention"].discuss)
    3
    """
    import yaml

    return {
        topic: Lesson(
            said["opening"],
            tuple((one["section"], one["show"]) for one in said.get("project", ())),
            tuple((one["ask"], one["listen for"]) for one in said.get("discuss", ())),
            tuple(said.get("skip", ())),
        )
        for topic, said in yaml.safe_load(FILE.read_text(encoding="utf-8")).items()
    }
