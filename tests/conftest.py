"""For every test run: no network for the tests, and a sandbox for the notebooks' kernels.

`python -m gptlab test` makes the sandbox itself; this is for a plain `pytest`.
"""

import os
import tempfile
from pathlib import Path

from gptlab.commands import isolation


def pytest_configure(config):
    os.environ.pop("GPTLAB_OFFLINE", None)  # the tests decide about it; the guard below keeps them offline
    isolation.cut_network()
    twins = str(Path(__file__).resolve().parents[1] / "notebooks" / "text")
    config.option.ignore = [*(config.option.ignore or []), twins]  # else --doctest-modules would import, so run, them
    if isolation.SANDBOX not in os.environ:  # the workers of pytest-xdist inherit it
        folder = tempfile.TemporaryDirectory(prefix="gptlab-", ignore_cleanup_errors=True)
        os.environ.update(isolation.sandboxed(Path(folder.name), {}))
        config.add_cleanup(folder.cleanup)
        config.add_cleanup(lambda: [os.environ.pop(name, None) for name in (isolation.SANDBOX, "IPYTHONDIR")])
