"""The process of one submission: it runs the cells that its answers need, and maps inputs to results when asked.

Nothing that this process says is believed but the results themselves: which inputs are tried, what is expected and who
has passed is decided in another process (`marking`), which reads results as data. So whatever a submission does to the
checker, to torch or to Python in here, it can only spoil its own answers.
"""

import builtins
import copy
import linecache
import os
import random
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from gptlab.classroom import sandbox, walls

LISTENER = "__gptlab_answer__"
_ID = re.compile(r"\s*(\w+\.\w+)\s*", re.ASCII)


class Channel:
    """The pipes to the judge, taken away from standard input and output, which lead nowhere afterwards."""

    def __init__(self):
        self._input, self._output = os.fdopen(os.dup(0), "rb"), os.dup(1)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)

    def receive(self) -> dict[str, Any]:
        """The next message of the judge."""
        from gptlab.classroom.channel import receive_blocking

        return receive_blocking(self._input)

    def send(self, **message: Any) -> None:
        """A message to the judge."""
        from gptlab.classroom.channel import pack

        data = pack(message)
        while data:
            data = data[os.write(self._output, data) :]


def main() -> None:
    """Wall this process in, run the notebook, and answer the judge's questions at each check."""
    channel = Channel()
    order = channel.receive()
    limits = sandbox.Limits(**order["limits"])
    folder = os.getcwd()
    protection, number = walls.enter(folder, limits)
    import numpy  # noqa: F401  (before the limit of memory is set)
    import torch

    from gptlab.classroom import slicing
    from gptlab.exercises import engine, registry

    torch.set_num_threads(1)
    for topic in order["topics"]:
        registry.declarations(topic)
    protection += sandbox.limit(limits)
    sandbox.refuse(folder)
    warnings.simplefilter("ignore")
    plan = slicing.needed([(number, source) for number, source in order["cells"]])
    channel.send(hello=protection, process=number, unreadable=plan.unreadable)
    notebook = Notebook(channel, order)
    sys.modules["gptlab.exercises"].check = engine.check = notebook.check
    notebook.run(plan.statements, dict(order["cells"]))
    channel.send(end=True)


class Notebook:
    """The cells of a submission, as they run.

    Attributes:
        checks: how many calls of `check` there have been.
    """

    def __init__(self, channel: Channel, order: dict[str, Any]):
        self.channel, self.checks = channel, 0
        self._skipped_cells, self._skipped_checks = set(order["skip_cells"]), set(order["skip_checks"])
        self._seed = order["seed"]
        self.module = types.ModuleType("__main__")
        self.module.display = lambda *_, **__: None

    def run(self, statements: Iterable[Any], sources: dict[int, str]) -> None:
        """Execute statements in order; one that raises ends its cell, and the next cell goes on.

        Args:
            statements: as `slicing.needed` gives them.
            sources: the text of each cell, for messages that quote a line.
        """
        from gptlab.classroom import slicing
        from gptlab.exercises.running import described

        sys.modules["__main__"] = self.module
        failed: set[int] = set()
        for statement in statements:
            cell = statement.cell
            if cell in failed or cell in self._skipped_cells:
                continue
            self.channel.send(cell=cell)
            name = f"<cell {cell}>"
            lines = sources[cell].splitlines(keepends=True)
            linecache.cache[name] = (len(sources[cell]), None, lines, name)
            vars(self.module)[LISTENER] = self.heard
            vars(self.module)["__builtins__"] = builtins
            try:
                exec(compile(slicing.listening(statement.tree, LISTENER), name, "exec"), vars(self.module))
            except BaseException as error:
                failed.add(cell)
                self.channel.send(failed=cell, text=described(error))

    def heard(self, theirs: Callable[[], Any], *arguments: Any, **named: Any) -> Any:
        """What a call of `check` in a cell does here; a function of that name which is the pupil's own is called.

        Args:
            theirs: gives what the notebook calls `check`.
            arguments: of the call.
            named: of the call.
        """
        id = named.get("id", arguments[0] if arguments else None)
        said = str(getattr(id, "id", id))
        if isinstance(id, float) or not _ID.fullmatch(said):
            return theirs()(*arguments, **named)
        return self.check(*arguments, **named)

    def check(self, id: object = "", answer: Any = ..., *_: Any, **__: Any) -> None:
        """Ask the judge, in the place of the course's own `check`.

        Args:
            id: of the exercise.
            answer: the function or class.
        """
        self.checks += 1
        if self.checks in self._skipped_checks:
            return
        from gptlab.exercises import registry
        from gptlab.exercises.answers import untouched, usable

        said = str(getattr(id, "id", id))[:80]
        exercise = registry.find(said)
        if exercise is None or untouched(answer):
            self.channel.send(check=said, number=self.checks, untouched=True)
            return
        self.channel.send(check=said, number=self.checks)
        try:
            function, problem = usable(exercise, answer)
        except BaseException as error:
            function, problem = None, f"It could not be called at all. {type(error).__name__}"
        self.channel.send(problem=problem[:300])
        if not problem:
            self._serve(exercise, function)

    def _serve(self, exercise: Any, function: Callable[..., Any]) -> None:
        inputs: list[tuple] = []
        while (message := self.channel.receive())["do"] != "go on":
            args = [_argument(one, exercise, inputs, f"{self._seed}:{exercise.id}") for one in message["args"]]
            reply = _result(exercise, function, message, args)
            self.channel.send(**reply)


def _argument(message: Any, exercise: Any, inputs: list[tuple], seed: str) -> Any:
    """An argument; one that does not travel is made here, from the same seed."""
    from gptlab.classroom.wire import decode

    if isinstance(message, dict) and message["t"] == "input":
        if not inputs:
            inputs += [tuple(args) for args in exercise.inputs(random.Random(seed))]
        return copy.deepcopy(inputs[message["case"]][message["at"]])
    return decode(message)


def _result(exercise: Any, function: Callable[..., Any], message: dict[str, Any], args: list) -> dict[str, Any]:
    from gptlab.classroom.wire import WireError, encode
    from gptlab.exercises.running import described, raised, seed_everything

    reply: dict[str, Any] = {}
    try:
        if message["do"] == "use":
            seed_everything(message["seed"])
            value = exercise.use(function, *args)
        else:
            value = function(*args)
        reply["value"] = encode(value)
    except BaseException as error:  # SystemExit is an answer too, a wrong one
        found = raised(error)
        reply = {"raised": [found.type[:80], found.message[:1000], list(found.operation)], "text": described(error)}
    try:
        reply["given"] = [_after(*pair) for pair in zip(args, message["args"], strict=True)]
    except WireError as error:
        return {"raised": ["WireError", str(error), ["", ""]], "text": str(error), "given": []}
    return reply


def _after(one: Any, was: Any) -> list | None:
    """An argument as the answer left it, if it has changed; of a model or a function that is not known."""
    from gptlab.classroom.wire import encode

    made_here = isinstance(was, dict) and was["t"] == "input"
    after = was if made_here else encode(one)
    return None if after == was else [after]


if __name__ == "__main__":
    main()
