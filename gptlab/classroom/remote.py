"""An answer that lives in another process, held to the inputs and results of this one.

What is tried, what is expected and who has passed is known here only. The other process gets inputs and returns
results, as data.
"""

import contextlib
import copy
import random
import time
from typing import Any

from gptlab.classroom import channel, sandbox, wire
from gptlab.exercises.judge import FAILED, Run, Verdict, assessed
from gptlab.exercises.running import Outcome, Raised, compared
from gptlab.exercises.schema import Exercise
from gptlab.exercises.values import difference, shown

SEED = "classroom"  # the inputs are the same for everybody, and in every run
PATIENCE = 2.0  # times the exercise's own limit: a machine that is busy must not change a mark


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
