"""Which known mistake an answer makes. A wrong name is worse than none, so it must agree on every input."""

from gptlab.exercises.running import Outcome, attempt
from gptlab.exercises.schema import Exercise, Mistake
from gptlab.exercises.values import difference


def known_mistake(exercise: Exercise, cases: list[tuple], wanted: list, outcomes: list[Outcome]) -> Mistake | None:
    """The first known mistake that does the same as the answer on all inputs, the right ones included.

    Args:
        exercise: the exercise, with its mistakes.
        cases: the inputs.
        wanted: the expected results.
        outcomes: what the answer did with each input.
    """
    where_matters = all(outcome.raised for outcome in outcomes)
    for mistake in exercise.mistakes:
        known = (
            attempt(exercise, mistake.wrong, args, expected, seed)
            for seed, (args, expected) in enumerate(zip(cases, wanted, strict=True))
        )
        # `known` is lazy: most mistakes disagree on one of the first inputs, and the rest is never run.
        if all(alike(exercise, *both, where_matters) for both in zip(outcomes, known, strict=True)):
            return mistake
    return None


def alike(exercise: Exercise, theirs: Outcome, known: Outcome, where_matters: bool = False) -> bool:
    """Whether two answers do the same with one input.

    Exceptions agree in type and message; with `where_matters`, for an answer that only ever raises and so shows nothing
    else of itself, the operation that raised is compared as well.
    """
    if (theirs.raised is None) != (known.raised is None) or theirs.changed != known.changed:
        return False
    if theirs.changed and difference(known.given, theirs.given, exercise.tolerance) is not None:
        return False
    if theirs.raised is not None and known.raised is not None:
        same = (theirs.raised.type, theirs.raised.message) == (known.raised.type, known.raised.message)
        return same and (not where_matters or theirs.raised.operation == known.raised.operation)
    if theirs.broken != known.broken or (theirs.different is None) != (known.different is None):
        return False
    return difference(known.value, theirs.value, exercise.tolerance) is None
