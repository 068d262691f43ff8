"""Try faults one after the other in a copy of the clone, the working directory: a line of JSON for each.

`python -m gptlab mutate` starts this. It must not import gptlab itself: each child process does, with the fault in it.
"""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path


def work(task: dict, answers) -> None:
    """Plant each fault, run its tests, and put the source back."""
    import hypothesis
    import pytest  # noqa: F401 -- loaded once, before the children are forked
    import torch  # noqa: F401
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)  # that it fails is enough: nothing is shrunk
    hypothesis.settings.register_profile("faults", phases=phases, deadline=None, database=None)
    hypothesis.settings.load_profile("faults")
    os.environ["GPTLAB_FAULT"] = "planted"
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # each child would spend seconds on plugins that it doesn't need
    for fault in task["faults"]:
        path = Path(fault["module"])
        source = path.read_text(encoding="utf-8")
        path.write_text(mutate_code(source, get_operator(fault["operator"])(), fault["occurrence"]), encoding="utf-8")
        try:
            killers = (first_failure(tests, task["seconds"]) for tests in related(fault["module"]))
            killer = next((killer for killer in killers if killer), None)
        finally:
            path.write_text(source, encoding="utf-8")
        print(json.dumps({"killed_by": killer}), file=answers, flush=True)


def related(module: str) -> list[list[str]]:
    """The tests for a module, in turns: its own with its examples, then those that name it or import it."""
    parts = Path(module).with_suffix("").parts[1:]
    dotted = ".".join(("gptlab", *parts))
    named = [f"tests/test_{'_'.join(parts[i:])}.py" for i in range(len(parts))]
    named += [f"tests/test_{'_'.join(parts[:i])}.py" for i in range(len(parts), 0, -1)]
    own = [name for name in dict.fromkeys(named) if Path(name).exists()]
    others = []
    for path in sorted(Path("tests").glob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if str(path) not in own and (dotted in text or f"import {parts[-1]}" in text or f"{parts[-1]}." in text):
            others.append(str(path))
    return [[*own, module], *([others] if others else [])]


class First:
    """Notices which test failed first."""

    def __init__(self):
        self.failed = []

    def pytest_runtest_logreport(self, report):
        self.failed += [report.nodeid] if report.failed else []

    def pytest_collectreport(self, report):
        self.failed += [report.nodeid] if report.failed else []


def first_failure(tests: list[str], seconds: int) -> str | None:
    """Run tests in a child process: the first that failed, "too slow", or None if all passed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.setsid()  # so that all it starts can be ended together
        os.write(writer, _outcome(tests).encode())
        os._exit(0)
    os.close(writer)
    said = "too slow"
    with contextlib.suppress(TimeoutError), os.fdopen(reader) as pipe:
        signal.alarm(seconds)
        said = pipe.read() or "the test process died"
    signal.alarm(0)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None if said == "passed" else said


def _outcome(tests: list[str]) -> str:
    import pytest

    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    first = First()
    # The shape checker stays off: a fault must be caught by what the tests say about values.
    options = ["-x", "-q", "-o", "addopts=", "--doctest-modules", "-p", "no:cacheprovider"]
    try:
        code = int(pytest.main([*options, *tests], plugins=[first]))
    except BaseException as error:
        return f"pytest raised {error!r}"
    return first.failed[0] if first.failed else "passed" if code in (0, 5) else f"pytest ended with {code}"


def _late(*_):
    raise TimeoutError


if __name__ == "__main__":
    own_output = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.signal(signal.SIGALRM, _late)
    work(json.loads(sys.stdin.read()), own_output)
