"""Mark one submission: its code runs walled in elsewhere, and is held here to the course's own inputs and results.

    python -m gptlab.classroom.marking < order.json > marks.json

is what `grading` starts, once for each submission, so that even a judge that stumbles costs one row.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gptlab.classroom import channel, sandbox, wire
from gptlab.classroom.remote import SEED, judged
from gptlab.exercises import registry
from gptlab.exercises.judge import UNTOUCHED, Verdict

STARTING = 90.0  # seconds that Python and torch may take to load on a slow machine
CELL = 20.0  # seconds for a statement outside of a check
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


class Marker:
    """Runs a submission, again from the start where a cell or an answer took its process down, without that one.

    Attributes:
        marks: what is known so far.
        left: seconds that it may still run.
        until: when the present run has to be over; 0 while it loads.
        skip_cells: cells that are left out.
        done_checks: checks that have been answered, by their place in the order of all.
        older: ids of an older edition, and what they are now.
        started: how often.
    """

    def __init__(self, cells: Sequence[tuple[int, str]], topics: Sequence[str], limits: sandbox.Limits, seconds: float):
        self.cells, self.topics, self.limits = list(cells), list(topics), limits
        self.marks, self.left, self.until = Marks(), seconds, 0.0
        self.skip_cells: set[int] = set()
        self.done_checks: set[int] = set()
        self.older: dict[str, str] = {}
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
        if self.older:
            pairs = ", ".join(f"{id} is {now}" for id, now in self.older.items())
            self.marks.remarks.append(f"Its checks have ids of an older edition: {pairs}.")
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
            self.older[id] = exercise.id
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


if __name__ == "__main__":
    main()
