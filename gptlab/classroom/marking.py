"""Mark one submission: its code runs walled in elsewhere, and is held here to the course's own inputs and results.

    python -m gptlab.classroom.marking < order.json > marks.json

is what `grading` starts, once for each submission, so that even a judge that stumbles costs one row.
"""

import contextlib
import copy
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gptlab.classroom import channel, sandbox, wire
from gptlab.exercises import registry
from gptlab.exercises.judge import FAILED, PASSED, UNTOUCHED, Run, Verdict, assessed
from gptlab.exercises.running import Outcome, Raised, compared
from gptlab.exercises.schema import Exercise
from gptlab.exercises.values import difference, shown

SEED = "classroom"  # the inputs are the same for everybody, and in every run
STARTING = 90.0  # seconds that Python and torch may take to load on a slow machine
CELL = 20.0  # seconds for a statement outside of a check
PATIENCE = 2.0  # times the exercise's own limit: a machine that is busy must not change a mark
MOST_STARTS = 12
MOST_CHECKS = 60


@dataclass
class Marks:
    """What became of a submission.

    Attributes:
        exercises: by id: state, known mistake, its advice, inputs right and in all, remark, facts.
        unknown: ids of checks that the course does not have.
        remarks: what else the teacher should know.
        protection: what was cut off while it ran.
        seconds: how long it took.
    """

    exercises: dict[str, dict[str, Any]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    protection: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Lost(Exception):
    """The submission's process has not answered: it is late, or it has ended."""


class Remote:
    """An answer in another process. Properties of an exercise may call it like the answer itself."""

    def __init__(self, process: sandbox.Process, incoming: channel.Receiver, until: float):
        self.process, self.incoming, self.until, self.lost = process, incoming, until, ""

    def ask(self, **message: Any) -> dict[str, Any]:
        """One question, and its reply.

        Args:
            message: what to do.

        Raises:
            Lost: there is none.
        """
        try:
            if self.lost:
                raise Lost
            left = max(0.0, self.until - time.monotonic())
            self.process.send(channel.pack(message), left)
            return self.incoming.next(max(0.0, self.until - time.monotonic()))
        except TimeoutError:
            self.lost = "late"
        except EOFError:
            self.lost = "ended"
        except wire.WireError as error:
            self.lost = str(error)
        raise Lost(self.lost)

    def __call__(self, *args: Any) -> Any:
        reply = self.ask(do="call", args=[wire.encode(one) for one in args])
        if "raised" in reply:
            kind, message, _ = _described(reply)
            raise wire.exception(kind, message)
        return wire.decode(reply.get("value"))


def _described(reply: dict[str, Any]) -> tuple[str, str, tuple[str, str]]:
    try:
        kind, message, (one, other) = reply["raised"]
    except (TypeError, ValueError):
        raise wire.WireError("no exception") from None
    return str(kind)[:80], str(message)[:1000], (str(one)[:200], str(other)[:200])


def outcome_of(exercise: Exercise, remote: Remote, case: int, args: tuple, expected: Any, seed: int) -> Outcome:
    """What an answer in another process does with one input.

    Args:
        exercise: the exercise that it answers.
        remote: the answer.
        case: the number of the input.
        args: the input.
        expected: the right result.
        seed: of the random numbers.

    Raises:
        Lost: it did not reply.
        gptlab.classroom.wire.WireError: the reply is damaged.
    """
    sent = [_sendable(one, case, at) for at, one in enumerate(args)]
    reply = remote.ask(do="use", case=case, args=sent, seed=seed)
    after = reply.get("given")
    if not isinstance(after, list) or len(after) != len(args):
        after = [None] * len(args)
    given = tuple(_left(one, way, now) for one, way, now in zip(args, sent, after, strict=True))
    if "raised" in reply:
        kind, message, operation = _described(reply)
        text = shown(str(reply.get("text", "")), 400)[1:-1]
        changed = difference(args, given, 1e-12) is not None
        return Outcome(raised=Raised(kind, message, operation), message=text, given=given, changed=changed, text=text)
    found = compared(exercise, remote, args, expected, wire.decode(reply.get("value")), given)
    if remote.lost:  # while a property was tried
        raise Lost(remote.lost)
    return found


def _sendable(value: Any, case: int, at: int) -> Any:
    try:
        return wire.encode(value, strict=True)
    except wire.Unsendable:  # a model, a function: made there, from the same seed
        return {"t": "input", "case": case, "at": at}


def _left(value: Any, sent: Any, now: Any) -> Any:
    """An argument as the answer left it; an object that was made there is taken to be as it was."""
    if not isinstance(now, list) or not now or (isinstance(sent, dict) and sent["t"] == "input"):
        return copy.deepcopy(value)
    return wire.decode(now[0])


def judged(
    exercise: Exercise, process: sandbox.Process, incoming: channel.Receiver, until: float
) -> tuple[Verdict, str]:
    """The verdict on an answer that waits in another process, and why that process is lost, if it is.

    Args:
        exercise: the exercise.
        process: the submission's.
        incoming: what it writes.
        until: when all of the submission must be done.
    """
    seconds = max(10.0, PATIENCE * exercise.seconds)
    cases = [tuple(args) for args in exercise.inputs(random.Random(f"{SEED}:{exercise.id}"))]
    wanted = [exercise.expected(*copy.deepcopy(args)) if exercise.compares else None for args in cases]
    remote = Remote(process, incoming, min(until, time.monotonic() + seconds))
    run = Run("done", [])
    try:
        run.problem = str(incoming.next(seconds).get("problem", ""))[:300]
        for number, (args, expected) in enumerate(zip(cases, wanted, strict=True)):
            if run.problem:
                break
            run.outcomes.append(outcome_of(exercise, remote, number, args, expected, number))
    except (Lost, TimeoutError, EOFError, wire.WireError) as error:
        lost = remote.lost or {TimeoutError: "late", EOFError: "ended"}.get(type(error), str(error))
        if lost == "late":
            run.end = "late"
            return assessed(exercise, remote, cases, wanted, run, seconds), "late"
        said = "It ended Python itself." if lost == "ended" else f"What it sent could not be read: {lost}."
        return Verdict(FAILED, total=len(cases), remark=said), lost
    verdict = assessed(exercise, remote, cases, wanted, run, seconds)
    if not run.problem:
        with contextlib.suppress(EOFError, TimeoutError):
            process.send(channel.pack({"do": "go on"}), 5.0)
    return verdict, ""


class Marker:
    """Runs a submission, again from the start where a cell or an answer took its process down, without that one.

    Attributes:
        marks: what is known so far.
        left: seconds that it may still run.
        until: when the present run has to be over; 0 while it loads.
        skip_cells: cells that are left out.
        done_checks: checks that have been answered, by their place in the order of all.
        started: how often.
    """

    def __init__(self, cells: Sequence[tuple[int, str]], topics: Sequence[str], limits: sandbox.Limits, seconds: float):
        self.cells, self.topics, self.limits = list(cells), list(topics), limits
        self.marks, self.left, self.until = Marks(), seconds, 0.0
        self.skip_cells: set[int] = set()
        self.done_checks: set[int] = set()
        self.started = 0

    def mark(self) -> Marks:
        """Everything about the submission."""
        began = time.monotonic()
        while self.started < MOST_STARTS:
            self.started += 1
            if self.left <= 0:
                self.marks.remarks.append("It took too long in all; what comes after that is not marked.")
                break
            if self._once():
                break
        else:
            self.marks.remarks.append(f"It took Python down {MOST_STARTS} times; the rest is not marked.")
        self.marks.seconds = time.monotonic() - began
        return self.marks

    def _once(self) -> bool:
        """Run it until its end, or until it has to be started again."""
        process = sandbox.Process("gptlab.classroom.answering")
        at: int | None = None
        self.until = 0.0
        try:
            incoming = channel.Receiver(process.output)
            process.send(channel.pack({
                "cells": self.cells, "topics": self.topics, "limits": sandbox.as_dict(self.limits), "seed": SEED,
                "skip_cells": sorted(self.skip_cells), "skip_checks": sorted(self.done_checks),
            }), STARTING)  # fmt: skip
            hello = incoming.next(STARTING)
            self.until = time.monotonic() + self.left  # loading torch is not the submission's time
            process.inner = int(hello.get("process", 0))
            self.marks.protection = [str(line)[:200] for line in hello.get("hello", [])]
            if self.started == 1:
                self.marks.remarks += [f"Cell {c} is no Python ({why})." for c, why in hello.get("unreadable", [])[:5]]
            while time.monotonic() < self.until:
                message = incoming.next(max(0.1, min(CELL, self.until - time.monotonic())))
                if "end" in message:
                    return True
                if "cell" in message:
                    at = int(message["cell"])
                elif "failed" in message and self.started == 1 and len(self.marks.remarks) < 8:
                    self.marks.remarks.append(f"Cell {int(message['failed'])} stops: {str(message.get('text'))[:300]}")
                elif "check" in message and not self._check(message, process, incoming):
                    return False
            raise TimeoutError
        except TimeoutError:
            late = bool(self.until) and time.monotonic() > self.until
            return False if late else self._without(at, "runs without an end")
        except (EOFError, wire.WireError, TypeError, ValueError, LookupError, ArithmeticError) as error:
            return self._without(at, "ends Python" if isinstance(error, EOFError) else "disturbs the judge")
        finally:
            self.left = self.until - time.monotonic() if self.until else 0.0
            process.end()

    def _without(self, cell: int | None, what: str) -> bool:
        if cell is None or cell in self.skip_cells:
            self.marks.remarks.append("Its process could not be used.")
            return True
        self.skip_cells.add(cell)
        self.marks.remarks.append(f"Cell {cell} {what}; it is left out.")
        return False

    def _check(self, message: dict[str, Any], process: sandbox.Process, incoming: channel.Receiver) -> bool:
        """Judge one answer; False if its process is lost."""
        number, id = int(message["number"]), str(message["check"])[:80]
        if number in self.done_checks or len(self.done_checks) >= MOST_CHECKS:
            raise ValueError("more checks than there are answers")
        self.done_checks.add(number)
        exercise = registry.find(id)
        if exercise is None:
            if id not in self.marks.unknown:
                self.marks.unknown.append(id)
            return True
        if registry.tidy_id(id) != id.strip().lower():
            self.marks.remarks.append(f"Its check has the id of an older edition, {id}: marked as {exercise.id}.")
        if message.get("untouched"):
            self.marks.exercises.setdefault(exercise.id, _entry(Verdict(UNTOUCHED)))
            return True
        verdict, lost = judged(exercise, process, incoming, self.until)
        self.marks.exercises[exercise.id] = _entry(verdict)
        return not lost


def _entry(verdict: Verdict) -> dict[str, Any]:
    mistake = verdict.mistake
    return {
        "state": verdict.state, "mistake": mistake.name if mistake else "", "tell": mistake.tell if mistake else "",
        "right": verdict.right, "total": verdict.total, "remark": verdict.remark[:600],
        "facts": [[name, text[:600]] for name, text in verdict.facts],
    }  # fmt: skip


def main() -> None:
    """Read an order from standard input, and write its marks."""
    order = json.load(sys.stdin)
    limits = sandbox.Limits(**order["limits"])
    marks = Marker([tuple(cell) for cell in order["cells"]], order["topics"], limits, order["seconds"]).mark()
    json.dump(vars(marks), sys.stdout)


__all__ = ["FAILED", "PASSED", "UNTOUCHED", "Marker", "Marks", "judged", "outcome_of"]

if __name__ == "__main__":
    main()
