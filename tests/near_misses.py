"""Wrong answers that are close: none may pass a check, and none may be given the name of somebody else's mistake.

    python tests/near_misses.py bpe              # of every exercise of a topic: accepted, misnamed, equivalent, stale
    python tests/near_misses.py bpe.2 tokens.8
    python tests/near_misses.py bpe.2 --all      # every near miss, with the name that it is given

"accepted": it passes, on every draw of inputs or on some: add an input that tells it from the right answer, or, if no
permitted input does, write it into `near_misses_equivalent.py` with the reason. "misnamed": on some draws only it does
what a known mistake does: add an input that tells the two apart.
"""

import argparse
import copy
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from mutations import mutants
from near_misses_equivalent import EQUIVALENT

from gptlab.exercises import Exercise, Mistake, every, limits
from gptlab.exercises.answers import usable
from gptlab.exercises.diagnosis import alike
from gptlab.exercises.running import Outcome, attempt
from gptlab.exercises.schema import call
from gptlab.exercises.values import difference, is_tensor

Answer = Callable[..., Any]
DRAWS = 60
_SECONDS = 0.4  # of computing, for one near miss on one draw of inputs; what takes longer is refused as too slow


# ---- Judging many answers fast ---------------------------------------------------------------------------------------


class Draw:
    """One draw of an exercise's inputs, with what is expected and what each known mistake does."""

    def __init__(self, exercise: Exercise, seed: int):
        self.exercise = exercise
        self.cases = [tuple(args) for args in exercise.inputs(random.Random(seed))]
        self._known: dict[str, list[Outcome]] = {}

    @cached_property
    def wanted(self) -> list:
        """The expected results."""
        expect = self.exercise.expected if self.exercise.compares else lambda *args: None
        return [expect(*copy.deepcopy(args)) for args in self.cases]

    def run(self, answer: Answer, seconds: float = _SECONDS) -> list[Outcome]:
        """What an answer does with the inputs, as in a check; not more if it takes too long."""
        done: list[Outcome] = []

        def work():
            function = usable(self.exercise, answer)[0]
            for i in range(len(self.cases)):
                done.append(attempt(self.exercise, function, self.cases[i], self.wanted[i], i))

        end, error, used = "late", None, 0.0
        while end == "late" and used < seconds / 2:  # on a busy machine a thread gets little of its time
            done.clear()
            before = time.process_time()
            end, error = limits.limited(work, seconds)
            used += time.process_time() - before + 1e-3
        if end == "raised":
            raise error
        return done

    def does(self, mistake: Mistake) -> list[Outcome]:
        """What a known mistake does with the inputs."""
        if mistake.name not in self._known:
            self._known[mistake.name] = self.run(mistake.wrong, 10 * self.exercise.seconds)
        return self._known[mistake.name]


@dataclass
class Found:
    """What the checks say to one answer over many draws.

    Attributes:
        passed: on how many draws it passes.
        names: the mistakes that it was called, "" for none, with the number of draws.
        draws: how many there were; 1 if the inputs that never change decide everything.
        slow: whether it was stopped.
    """

    passed: int = 0
    names: dict[str, int] = field(default_factory=dict)
    draws: int = 0
    slow: bool = False

    @property
    def state(self) -> str:
        """accepted, sometimes accepted, misnamed (named on some draws only), named, too slow or refused."""
        if self.passed:
            return "accepted" if self.passed == self.draws else "sometimes accepted"
        if len(self.names) > 1:
            return "misnamed"
        return "named" if any(self.names) else "too slow" if self.slow else "refused"

    def __str__(self) -> str:
        names = ", ".join(f"{name or 'no name'} {n}" for name, n in self.names.items() if name or len(self.names) > 1)
        return f"passes {self.passed} of {self.draws}; {names}" if self.passed else names


class Bench:
    """An exercise whose draws are made once and used for many answers."""

    def __init__(self, exercise: Exercise, draws: int = DRAWS):
        self.exercise, self.draws = exercise, draws
        self._made: dict[int, Draw] = {}
        draws = zip(*(self.draw(seed).cases for seed in range(3)), strict=False)
        same = [all(difference(drawn[0], other, 0.0) is None for other in drawn[1:]) for drawn in draws]
        self.fixed = {i for i, fixed in enumerate(same) if fixed}  # the inputs that never change

    def draw(self, seed: int) -> Draw:
        """The inputs of a seed."""
        if seed not in self._made:
            self._made[seed] = Draw(self.exercise, seed)
        return self._made[seed]

    def judge(self, answer: Answer | Mistake) -> Found:
        """What the checks say to an answer, on as many draws as are needed to be sure.

        The inputs that never change are the same on every draw, and so is what comes of them: an answer that is wrong
        on one of them never passes, and a mistake that does something else on one of them is never named.
        """
        found, rivals, wrong_for_good = Found(), list(self.exercise.mistakes), False
        for seed in range(self.draws):
            draw = self.draw(seed)
            outcomes = draw.does(answer) if isinstance(answer, Mistake) else draw.run(answer)
            wrong = [i for i, outcome in enumerate(outcomes) if not outcome.right(self.exercise.inputs_stay)]
            found.draws += 1
            if len(outcomes) < len(draw.cases):
                found.slow = True
                break
            if not wrong:
                found.passed += 1
                continue
            name = self._name(draw, outcomes, rivals)
            found.names[name] = found.names.get(name, 0) + 1
            if seed == 0:
                wrong_for_good = any(i in self.fixed for i in wrong)
                rivals = [mistake for mistake in rivals if self._same_where_fixed(outcomes, draw.does(mistake))]
            if wrong_for_good and (not rivals or rivals[0] is answer):
                break
        return found

    def _name(self, draw: Draw, outcomes: list[Outcome], mistakes: list[Mistake]) -> str:
        """The mistake that is named, as in `diagnosis`; "" for none."""
        where_matters = all(outcome.raised for outcome in outcomes)
        for mistake in mistakes:
            known = draw.does(mistake)
            pairs = zip(outcomes, known, strict=False)
            if len(known) == len(outcomes) and all(alike(self.exercise, *both, where_matters) for both in pairs):
                return mistake.name
        return ""

    def _same_where_fixed(self, outcomes: list[Outcome], known: list[Outcome]) -> bool:
        return all(alike(self.exercise, outcomes[i], known[i]) for i in self.fixed if i < len(known))


# ---- Near misses -----------------------------------------------------------------------------------------------------


def near_misses(exercise: Exercise) -> list[tuple[str, Answer]]:
    """Every near miss of an exercise with its name: declared ones, changes to the source, and changes to the result."""
    declared = [(f"declared: {_title(answer, n)}", answer) for n, answer in enumerate(exercise.near_misses, start=1)]
    return [*declared, *_wrapped(exercise), *mutants(exercise.solution)]


def _title(answer: Answer, number: int) -> str:
    name = getattr(answer, "__name__", "")
    return f"number {number}" if name in ("", "<lambda>") else name


def _wrapped(exercise: Exercise) -> Iterator[tuple[str, Answer]]:
    """The right function with something done to its arguments or its result."""
    if exercise.use is not call or isinstance(exercise.solution, type):
        return
    right = exercise.solution
    cases = [tuple(args) for args in exercise.inputs(random.Random(0))]
    results = [right(*copy.deepcopy(args)) for args in cases]
    for name, change in _CHANGES.items():
        if any(changes(change, result) for result in results):
            yield name, lambda *args, f=change: f(right(*args))
    if exercise.inputs_stay:
        for name, touch in _TOUCHES.items():
            if any(changes(touch, arg) for args in cases for arg in args):
                yield name, lambda *args, f=touch: (right(*args), [f(arg) for arg in args])[0]
    names = exercise.argument_names(len(cases[0]))
    for at, name in enumerate(names):
        first = cases[0][at]
        if callable(first) or any(len(args) <= at for args in cases):
            continue
        if is_tensor(first):
            yield (
                f"the argument {name} is ignored, it is all ones",
                lambda *args, at=at: right(*args[:at], args[at].new_ones(args[at].shape), *args[at + 1 :]),
            )
            continue
        yield (
            f"the argument {name} is ignored, it is always {first!r:.40}",
            lambda *args, at=at, first=first: right(*args[:at], copy.deepcopy(first), *args[at + 1 :]),
        )
    if any(_empty(arg) for args in cases for arg in args):
        yield "an empty argument is an error", lambda *args: [arg[0] for arg in args if _empty(arg)] or right(*args)


def _empty(arg: Any) -> bool:
    return isinstance(arg, (str, list, bytes)) and not arg


def changes(change: Callable[[Any], Any], value: Any) -> bool:
    """Whether a change to a value can be seen."""
    before, after = copy.deepcopy(value), copy.deepcopy(value)
    try:
        result = change(after)
    except (TypeError, ValueError, IndexError, RuntimeError, AttributeError, OverflowError):
        return False
    return difference(before, after if result is None else result, 0.0) is not None


def _on_tensor(result: Any, change: Callable[[Any], Any]) -> Any:
    """A change to the tensor, or to the first tensor of several."""
    if is_tensor(result):
        return change(result.clone())
    if isinstance(result, tuple) and result and is_tensor(result[0]):
        return (change(result[0].clone()), *result[1:])
    return result


def _row(result, to, of):
    def change(x):
        if x.dim() > 1 and len(x) > 1:
            x[to] = x[of]
        return x

    return _on_tensor(result, change)


def _last_number(result, by):
    def change(x):
        if x.numel() and x.is_floating_point():
            x.view(-1)[-1] += by
        return x

    if isinstance(result, list) and result and isinstance(result[-1], float):
        return [*result[:-1], result[-1] + by]
    return _on_tensor(result, change)


def _scaled(result, by):
    if isinstance(result, float):
        return result * by
    if isinstance(result, list) and result and isinstance(result[0], float):
        return [value * by for value in result]
    return _on_tensor(result, lambda x: x * by if x.is_floating_point() else x)


def _cut(result):
    if isinstance(result, (list, str, bytes)):
        return result[:3]
    return dict(list(result.items())[:3]) if isinstance(result, dict) else result


def _as_float(result):
    if type(result) is int:
        return float(result)
    if isinstance(result, list):
        return [_as_float(value) for value in result]
    return {key: _as_float(value) for key, value in result.items()} if isinstance(result, dict) else result


_CHANGES: dict[str, Callable[[Any], Any]] = {
    "only the first row of the batch is right": lambda r: _row(r, slice(1, None), 0),
    "only the last row of the batch is right": lambda r: _row(r, slice(None, -1), -1),
    "the last number is 0.05 too large": lambda r: _last_number(r, 0.05),
    "the result is 1 % too large": lambda r: _scaled(r, 1.01),
    "the result is negative": lambda r: _scaled(r, -1),
    "positions are moved by one": lambda r: _on_tensor(r, lambda x: x.roll(1, -1) if x.dim() else x),
    "the last axes are exchanged": lambda r: _on_tensor(r, lambda x: x.mT if x.dim() > 1 else x),
    "only three elements": _cut,
    "the last element is missing": lambda r: r[:-1] if isinstance(r, (list, str, bytes)) else r,
    "the last element comes twice": lambda r: r + r[-1:] if isinstance(r, (list, str, bytes)) else r,
    "the wrong way round": lambda r: r[::-1] if isinstance(r, (list, str, bytes)) else r,
    "integers as floats": _as_float,
    "a number as text": lambda r: str(r) if isinstance(r, (int, float)) else r,
    "inside a list": lambda r: [r],
    "printed, not returned": lambda r: print(r),
}


def _appended(arg):
    if isinstance(arg, list):
        arg.append(arg[0] if arg else 0)


def _popped(arg):
    if isinstance(arg, dict) and arg:
        arg.pop(next(iter(arg)))


def _zeroed(arg):
    if is_tensor(arg) and arg.numel():
        arg.view(-1)[-1] = 0


_TOUCHES = {"a list grows": _appended, "a dict loses a key": _popped, "a tensor is overwritten": _zeroed}


# ---- The table -------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """One near miss and what came of it."""

    name: str
    found: Found
    reason: str = ""  # why it is no mistake

    @property
    def fault(self) -> str:
        """What is wrong with the checks; "" if nothing."""
        state = self.found.state
        if self.reason:
            return "" if state == "accepted" else f"stale: declared equivalent, but {state}"
        return state if state in ("accepted", "sometimes accepted", "misnamed") else ""


def rows(exercise: Exercise, most: int | None = None, draws: int = DRAWS) -> Iterator[Row]:
    """Judge the near misses of an exercise.

    Args:
        exercise: the exercise.
        most: a sample of this size of the changes to the source, always the same; all unless given.
        draws: of inputs, for a near miss that the fixed inputs do not decide.
    """
    bench, reasons = Bench(exercise, draws), EQUIVALENT.get(exercise.id, {})
    chosen = near_misses(exercise)
    if most is not None and len(chosen) > most:
        chosen = random.Random(exercise.id).sample(chosen, most)
    for name, answer in chosen:
        yield Row(name, bench.judge(answer), reasons.get(name, ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", help="topics or exercises; everything unless given")
    parser.add_argument("--draws", type=int, default=DRAWS, help="of inputs, at most")
    parser.add_argument("--all", action="store_true", help="every near miss, not only faults")
    options = parser.parse_args()
    total: dict[str, int] = {}
    for exercise in every():
        if options.what and not {exercise.id, exercise.topic} & set(options.what):
            continue
        names = set()
        with limits.untouched_world():
            found = list(rows(exercise, draws=options.draws))
        for row in found:
            names.add(row.name)
            said = row.fault or ("equivalent" if row.reason else row.found.state)
            total[said] = total.get(said, 0) + 1
            if row.fault or options.all:
                print(f"{exercise.id:14} {said:20} {row.name}   {row.found}")
        for name in EQUIVALENT.get(exercise.id, {}).keys() - names:
            print(f"{exercise.id:14} {'stale: no such one':20} {name}")
    print(", ".join(f"{n} {said}" for said, n in sorted(total.items())))


if __name__ == "__main__":
    main()
