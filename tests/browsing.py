"""A real Chromium for the tests that open one: where to find it, and what it needs beside it.

`GPTLAB_SCREENSHOTS=FOLDER` keeps pictures of what the tests have opened, to be looked at.
"""

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from gptlab.commands.bench.page import BROWSERS

CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
_MODULES = [str(Path(__file__).parents[1] / "node_modules"), *os.environ.get("NODE_PATH", "").split(os.pathsep)]
AXE = next((path for folder in _MODULES if (path := Path(folder) / "axe-core" / "axe.min.js").is_file()), None)

_MISSING = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed; its package is called chromium")


def in_a_browser(test):
    """Mark a test that opens Chromium; it is skipped, with a word, where there is none."""
    return pytest.mark.browser(_MISSING(test))


MARKS = [pytest.mark.browser, _MISSING]  # the same, for a whole file


def api():
    """Playwright, which drives the browser; the test, or its file, is skipped without it."""
    return pytest.importorskip("playwright.sync_api", reason="playwright is not installed, which drives a browser")


@contextlib.contextmanager
def chromium():
    """A browser, closed at the end."""
    with api().sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def keep(tab, name, height):
    """Keep a picture of a page, if pictures are wanted: as high as said, at its own width."""
    if folder := os.environ.get("GPTLAB_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        tab.set_viewport_size({"width": tab.viewport_size["width"], "height": height})
        tab.wait_for_timeout(800)  # until all of it is drawn
        tab.screenshot(path=Path(folder) / f"{name}.png")
