"""What happened in a run, step by step and evaluation by evaluation; and how good its model is."""

import json
from dataclasses import asdict, dataclass, field

from gptlab.entrances import Whole, guard

_MEASURES = ("validation", "excess", "training")  # what a run is judged by: the first that it has


@dataclass
class History:
    """What happened in a run.

    Attributes:
        losses: the loss of each step, in nats per token.
        rates: the learning rate of each step.
        gradient_norms: the norm of each step's gradient, before it was shortened.
        evaluations: one entry for each evaluation, with its step, the seconds until then, and what it measured.
        seconds: time spent on steps, without evaluations and checkpoints.
        tokens: targets that counted, in all steps together.
    """

    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    evaluations: list[dict[str, float | int]] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int = 0

    @property
    def steps(self) -> int:
        """Steps so far."""
        return len(self.losses)

    def curve(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of one evaluated quantity, for a picture."""
        points = [(int(e["step"]), e[name]) for e in self.evaluations if name in e]
        return [step for step, _ in points], [value for _, value in points]

    def to_json(self) -> str:
        """All of it as JSON; `from_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "History":
        """The history that `to_json` wrote."""
        return cls(**json.loads(text))


def measure(evaluation: dict[str, float | int]) -> tuple[str, float | int]:
    """The number that says how good a model is, smaller is better, and its name.

    >>> measure({"step": 50, "seconds": 1.5, "validation": 2.25})
    ('validation', 2.25)
    """
    rest = (name for name in evaluation if name not in ("step", "seconds"))
    name = next((name for name in _MEASURES if name in evaluation), None) or next(rest)
    return name, evaluation[name]


def best(evaluations: list[dict[str, float | int]]) -> dict[str, float | int]:
    """The evaluation with the smallest measure; the first of equal ones."""
    return min(evaluations, key=lambda evaluation: measure(evaluation)[1])


def has_stalled(evaluations: list[dict[str, float | int]], patience: Whole) -> bool:
    """Whether so many evaluations in a row have not improved on the best one before them.

    Args:
        evaluations: of a run so far.
        patience: how many; 0 waits for ever.

    >>> has_stalled([{"validation": value} for value in (3.0, 2.0, 2.1, 2.0)], patience=2)
    True
    >>> has_stalled([{"validation": value} for value in (3.0, 2.0, 2.1, 1.9)], patience=2)
    False
    """
    if not patience or len(evaluations) <= patience:
        return False
    since = len(evaluations) - 1 - evaluations.index(best(evaluations))
    return since >= patience


def has_ended(history: History, steps: int, patience: Whole) -> bool:
    """Whether a run is over: all its steps are made, or its evaluations have stalled.

    Args:
        history: of the run so far.
        steps: of the whole run.
        patience: as for `has_stalled`.

    >>> has_ended(History([2.0, 1.5]), steps=2, patience=0)
    True
    """
    return history.steps >= steps or has_stalled(history.evaluations, patience)


guard(globals(), unchecked=("__init__",))  # a history may hold norms that were not finite
