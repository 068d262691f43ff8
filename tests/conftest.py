"""For every test run: no network for the tests, and a sandbox for the notebooks' kernels.

`python -m gptlab test` makes the sandbox itself; this is for a plain `pytest`.
"""

import os
import re
import tempfile
from pathlib import Path

import hypothesis

from gptlab.commands import isolation


def pytest_configure(config):
    if "GPTLAB_FAULT" not in os.environ:  # where a fault is planted, the tests are run in a way of their own
        hypothesis.settings.register_profile("course", deadline=None)  # a busy machine is slow, which is not a fault
        hypothesis.settings.load_profile("course")
    os.environ.pop("GPTLAB_OFFLINE", None)  # the tests decide about it; the guard below keeps them offline
    isolation.cut_network()
    twins = str(Path(__file__).resolve().parents[1] / "notebooks" / "text")
    config.option.ignore = [*(config.option.ignore or []), twins]  # else --doctest-modules would import, so run, them
    if isolation.SANDBOX not in os.environ:  # the workers of pytest-xdist inherit it
        folder = tempfile.TemporaryDirectory(prefix="gptlab-", ignore_cleanup_errors=True)
        os.environ.update(isolation.sandboxed(Path(folder.name), {}))
        config.add_cleanup(folder.cleanup)
        config.add_cleanup(lambda: [os.environ.pop(name, None) for name in (isolation.SANDBOX, "IPYTHONDIR")])


def pytest_collection_modifyitems(items):
    """Whole files in the order of their length, so that no long one begins when the others have ended."""
    longest = {}

    def seconds(item):
        if item.path not in longest:
            longest[item.path] = _seconds(item.path)
        return longest[item.path]

    items.sort(key=lambda item: -seconds(item))


# CPU seconds of the test files that take longest, rounded; only their order matters.
_LONG = {"test_mutants": 35, "test_exercises": 60, "test_near_misses": 60, "test_unigram": 40, "test_distributed": 40}


def _seconds(path):
    """How long a file's tests take, roughly: a notebook says it itself, in its first cells."""
    if path.suffix == ".ipynb":
        said = re.search(r"takes about (\d+) seconds", path.read_text(encoding="utf-8"))
        return 100 + int(said[1]) if said else 100
    return _LONG.get(path.stem, 0)
