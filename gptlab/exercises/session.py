"""What is remembered until the kernel ends."""

from dataclasses import dataclass, field
from typing import Any

KINDS = ("exercises", "predictions", "quiz")


def _nothing() -> dict[str, dict[str, dict[str, Any]]]:
    return {kind: {} for kind in KINDS}


@dataclass
class Session:
    """What a reader has done in this kernel.

    >>> here = Session(hints_given={"bpe.3": 2})
    >>> here.reset()
    >>> here.hints_given
    {}

    Attributes:
        hints_given: how many hints of each exercise.
        tried: exercises that were checked.
        solutions_asked: exercises whose solution was asked for once without an attempt.
        guesses: by the id of the prediction; they wait for the truth.
        unsaved: progress that could not be written to the file: kind, then id, then what is known.
        notices: what the reader should know about the file.
        noticed: those that the reader has seen.
    """

    hints_given: dict[str, int] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)
    solutions_asked: set[str] = field(default_factory=set)
    guesses: dict[str, Any] = field(default_factory=dict)
    unsaved: dict[str, dict[str, dict[str, Any]]] = field(default_factory=_nothing)
    notices: list[str] = field(default_factory=list)
    noticed: set[str] = field(default_factory=set)

    def reset(self) -> None:
        """Forget everything, as in a fresh kernel."""
        for memory in (self.hints_given, self.tried, self.solutions_asked, self.guesses, self.notices, self.noticed):
            memory.clear()
        for known in self.unsaved.values():
            known.clear()


session = Session()
