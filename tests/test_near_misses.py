"""No wrong answer passes a check because it is close, and none is given the name of a mistake that it does not make."""

import os
import random
import time

import pytest
from mutations import mutants
from near_misses import DRAWS, Bench, near_misses, rows
from near_misses_equivalent import EQUIVALENT

from gptlab.exercises import Exercise, Mistake, every, limits

ALL = every()
EVERY_ONE = os.environ.get("GPTLAB_ALL_NEAR_MISSES") == "1"
by_id = pytest.mark.parametrize("exercise", ALL, ids=lambda exercise: exercise.id)


def draws_for(exercise: Exercise, seconds: float = 3.0) -> int:
    """How many draws of inputs fit into 3 seconds of computing: 60, or fewer for expensive exercises, at least 3."""
    bench = Bench(exercise, 1)
    started = time.process_time()
    draw = bench.draw(3)
    for mistake in exercise.mistakes:
        draw.does(mistake)
    return max(3, min(DRAWS, int(seconds / (time.process_time() - started + 1e-9))))


@by_id
def test_every_known_mistake_is_named_on_every_draw(exercise):
    with limits.untouched_world():
        bench = Bench(exercise, draws_for(exercise))
        for mistake in exercise.mistakes:
            found = bench.judge(mistake)
            assert not found.passed and set(found.names) == {mistake.name}, (mistake.name, str(found))


@by_id
def test_no_near_miss_passes_or_is_given_another_ones_name(exercise):
    with limits.untouched_world():
        most = None if EVERY_ONE else 14
        faults = [(row.name, row.fault) for row in rows(exercise, most, DRAWS if EVERY_ONE else 3) if row.fault]
    assert not faults


@by_id
def test_declared_near_misses_are_refused_without_a_name(exercise):
    with limits.untouched_world():
        bench = Bench(exercise, 5)
        found = [bench.judge(answer) for answer in exercise.near_misses]
    assert all(one.state in ("refused", "too slow") for one in found), [str(one) for one in found]


def test_every_equivalent_near_miss_exists():
    known = {exercise.id: {name for name, _ in near_misses(exercise)} for exercise in ALL if exercise.id in EQUIVALENT}
    assert [(id, name) for id, names in EQUIVALENT.items() for name in names if name not in known.get(id, ())] == []


# ---- The bench itself ------------------------------------------------------------------------------------------------


def total(numbers):
    result = 0
    for number in numbers[1:]:
        result = result + number
    return result


def an_exercise(inputs, *wrong):
    return Exercise(
        id="total.1", title="", prompt="", signature="", kind="core", minutes=1, difficulty=1,
        inputs=inputs, solution=total,
        mistakes=[Mistake(f.__name__, f, "") for f in wrong], hints=[],
    )  # fmt: skip


def test_small_changes_to_the_source_are_made_one_at_a_time():
    found = dict(mutants(total))
    assert found["1 -> 2 in `for number in numbers[1:]:`"]([1, 2, 3, 4]) == 7
    assert found["result + number -> result - number in `result = result + number`"]([1, 2, 3, 4]) == -9
    assert found["numbers[1:] -> numbers[:] in `for number in numbers[1:]:`"]([1, 2, 3, 4]) == 10
    assert total([1, 2, 3, 4]) == 9 and len(found) == len(list(mutants(total)))


def faults(exercise):
    with limits.untouched_world():
        return {row.name: row.fault for row in rows(exercise, draws=20) if row.fault}


def test_weak_inputs_are_found():
    assert "integers as floats" not in faults(an_exercise(lambda rng: [([3, 4, 5],)]))
    weak = faults(an_exercise(lambda rng: [([0, 0],)]))
    assert weak["result + number -> result - number in `result = result + number`"] == "accepted"
    lucky = faults(an_exercise(lambda rng: [([0, 0],), ([0, rng.choice([0, 1])],)]))
    assert lucky["result + number -> result - number in `result = result + number`"] == "sometimes accepted"


def test_a_name_that_comes_and_goes_is_found():
    def from_the_second(numbers):
        return sum(numbers[2:])

    def at_most_three(numbers):
        return sum(numbers[2:5])

    def some(rng):
        return [([1, 2, 3],), (list(range(rng.choice([3, 6]))),)]

    with limits.untouched_world():
        assert Bench(an_exercise(some, from_the_second), 20).judge(at_most_three).state == "misnamed"
        fixed = an_exercise(lambda rng: [*some(rng)[:1], (list(range(9)),), *some(rng)[1:]], from_the_second)
        assert Bench(fixed, 20).judge(at_most_three).state == "refused"
        assert Bench(fixed, 20).judge(from_the_second).state == "named"


def test_a_near_miss_that_never_ends_is_too_slow():
    def forever(numbers):
        while True:
            random.random()

    with limits.untouched_world():
        assert Bench(an_exercise(lambda rng: [([1, 2],)])).judge(forever).state == "too slow"
