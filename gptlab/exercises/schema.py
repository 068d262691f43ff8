"""What an exercise, a prediction and a quiz question are: data and small functions, declared in one place."""

import inspect
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

KINDS = {
    "warm-up": "a first small step; skip it if it bores you",
    "core": "the idea of the notebook, written by you: up to three, at most half an hour together",
    "stretch": "for more than one evening",
}


@dataclass(frozen=True)
class Mistake:
    """A known wrong answer.

    Attributes:
        name: what is wrong, in a few words.
        wrong: an implementation that makes the mistake.
        tell: advice for the reader who made it.
    """

    name: str
    wrong: Callable[..., Any]
    tell: str


class Failed:
    """Stands for a part of a result that raised: equal to nothing, not even to itself."""

    def __init__(self, error: Exception):
        self.error = error

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None

    def __repr__(self) -> str:
        return f"{type(self.error).__name__}: {self.error}"


def part(get: Callable[[], Any]) -> Any:
    """One part of what a `use` returns, so that a part that raises leaves the others as they are.

    >>> part(lambda: len("abc")), part(lambda: "abc".size)
    (3, AttributeError: 'str' object has no attribute 'size')
    """
    try:
        return get()
    except Exception as error:
        return Failed(error)


def call(answer: Callable[..., Any], *args: Any) -> Any:
    """How an answer is used unless its exercise says otherwise: it is called."""
    return answer(*args)


@dataclass(frozen=True, repr=False, kw_only=True)
class Exercise:
    """One exercise, with all that is needed to set it, check it, explain it and solve it.

    Attributes:
        id: topic and number, "bpe.3".
        title: a few words.
        prompt: the task, with the types or shapes of input and result.
        kind: one of `KINDS`: "warm-up", "core" or "stretch".
        minutes: for a reader who meets it first.
        difficulty: 1, 2 or 3.
        signature: name, arguments and result with their types or shapes, as the reader should write them.
        inputs: from a `random.Random`, tuples of arguments; small ones first, and such that every mistake shows.
        solution: a function (or class) whose source is shown to the reader.
        mistakes: three or more. A mistake is named if an answer does the same as it on every input; of two that fit,
            the first.
        hints: three, each giving away more than the one before.
        reference: what gives the expected result, the solution unless given. Plain loops, or a library.
        properties: (statement in words, predicate(answer, *args, result)). With properties and no reference, only they
            are checked.
        use: how the answer is called, `use(answer, *args)`; for a class, this makes an object and asks it something.
        tolerance: relative; by the dtype unless given.
        seconds: the time limit of a check.
        inputs_stay: whether an answer that changes its inputs is wrong.
        package: dotted name of gptlab's version.
        near_misses: answers that are wrong but close, for the tests: none may pass, and none may be given the name of a
            mistake that it does not make.
    """

    id: str
    title: str
    prompt: str
    signature: str
    kind: str
    minutes: int
    difficulty: int
    inputs: Callable[[random.Random], Iterable[tuple]]
    solution: Callable[..., Any]
    mistakes: Sequence[Mistake]
    hints: Sequence[str]
    reference: Callable[..., Any] | None = None
    properties: Sequence[tuple[str, Callable[..., Any]]] = ()
    use: Callable[..., Any] = call
    tolerance: int | float | None = None
    seconds: int | float = 5.0
    inputs_stay: bool = True
    package: str = ""
    near_misses: Sequence[Callable[..., Any]] = ()

    @property
    def topic(self) -> str:
        """What it is about, which names its notebook."""
        return self.id.partition(".")[0]

    @property
    def compares(self) -> bool:
        """Whether results are compared with expected ones (or only held to properties)."""
        return self.reference is not None or not self.properties

    def expected(self, *args: Any) -> Any:
        """The right result for these arguments."""
        return self.use(self.reference or self.solution, *args)

    def argument_names(self, count: int) -> list[str]:
        """What the arguments are called, for the card."""
        function = self.solution if self.use is call else self.use
        names = list(inspect.signature(function).parameters)[0 if self.use is call else 1 :]
        return names if len(names) == count else [f"argument {i + 1}" for i in range(count)]

    def _repr_markdown_(self) -> str:
        stars = "●" * self.difficulty + "○" * (3 - self.difficulty)
        how = f"{self.kind}, {self.minutes} minutes, difficulty {self.difficulty} of 3 {stars}"
        head = f"**{self.id} {self.title}** ({how})"
        return f"{head}\n\n{self.prompt.strip()}\n\n```python\n{self.signature}\n```"

    def __repr__(self) -> str:
        return f"Exercise({self.id}: {self.title})"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A question before the cell that answers it.

    `kind` is "choice", "number", "shape" or "order". Choices are lettered a, b, c …; their `answer` is a letter. For
    the other kinds `answer` may be left out: then the notebook gives the `truth` that it has computed.
    `tolerance` is how far, relatively, a number may be off and still count.
    """

    id: str
    question: str
    kind: str
    explanation: str
    choices: Sequence[str] = ()
    answer: Any = None
    tolerance: int | float = 0.0

    @property
    def topic(self) -> str:
        """What it is about, which names its notebook."""
        return self.id.partition(".")[0]


@dataclass(frozen=True, kw_only=True)
class Question:
    """One of the three questions that open a notebook, about an earlier one (`about`); choices as in `Prediction`."""

    about: str  # a topic
    question: str
    choices: Sequence[str]
    answer: str
    explanation: str
