"""The course in JupyterLab, in a real browser: a reader runs cells with the keyboard and sees what the course shows.

Chromium opens a server of its own on this machine. `GPTLAB_ALL_BROWSER=1` also runs four whole notebooks cell by cell.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import browsing
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from gptlab.commands import environment, working_copy

ROOT = Path(__file__).resolve().parents[1]
playwright = browsing.api()
pytestmark = [
    *browsing.MARKS,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform == "win32", reason="the server is started as on Linux and macOS"),
]
WHOLE = ("00_start_here", "02_bpe", "06_attention", "14_finetuning")

# Every kind of thing that the course puts on a page, and what a reader does to it.
CELLS = (
    "from gptlab import pictures, show\nfrom gptlab.attention import attend\n"
    "from gptlab.exercises import check, predict\nfrom gptlab.tokens import ByteTokenizer\nimport torch",
    "def rows_of(ids, table): ...\n\n\ncheck('embedding.1', rows_of)",
    "check('embedding.1', lambda ids, table: table[ids - 1])",
    "check('embedding.1', lambda ids, table: table[ids])",
    "predict('tokens.a', ...)",
    "pictures.tokens('strawberry jam', ByteTokenizer())",
    "pictures.attention(torch.ones(4, 4).tril().softmax(-1), list('abcd'))",
    "show(attend)",
    "pictures.course_map('attention')",
    "pictures.table([('loss', 1.2)], ['what', 'nats'])",
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab that serves a reader's copies of the notebooks."""
    folder = tmp_path_factory.mktemp("lab")
    notebook = new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    notebook.cells = [new_code_cell(source) for source in CELLS]
    nbformat.write(notebook, folder / "kinds.ipynb")
    for name in WHOLE:
        source = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
        (folder / f"{name}.ipynb").write_text(json.dumps(working_copy.without_outputs(source)), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = environment.lab_options(folder, folder / "kinds.ipynb", no_browser=True, port=port)
    environment.quiet_jupyter(folder)
    quiet = {"JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTER_CONFIG_PATH": str(folder / "etc" / "jupyter")}
    variables = dict(os.environ, PYTHONPATH=str(ROOT), **quiet)
    command = [sys.executable, "-m", "jupyterlab", *options, "--IdentityProvider.token=", "--ServerApp.log_level=ERROR"]
    command += ["--ServerApp.disable_check_xsrf=True"]  # so that a test may set the theme
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=variables, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/api", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (folder / "server.log").read_text()
                time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def browser():
    with browsing.chromium() as opened:
        yield opened


class Reader:
    """Somebody at a keyboard, before a notebook in JupyterLab at the width of a projector."""

    def __init__(self, browser, lab, notebook, theme="JupyterLab Light"):
        self.page = browser.new_context(viewport={"width": 1024, "height": 768}).new_page()
        self.complaints = []
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._stays_here(request.url, lab))
        _set_theme(lab, theme)
        self.page.goto(f"{lab}/lab/tree/{notebook}?reset")
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
        self.page.get_by_text("| Idle").wait_for(timeout=90_000)  # what is run before the kernel is there gets lost
        self.page.locator(".jp-Notebook .jp-Cell").first.click()
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("Control+Home")

    def _stays_here(self, url, lab):
        if not url.startswith((lab, lab.replace("http", "ws"), "data:", "blob:")):
            self.complaints.append(f"a request left this machine: {url}")

    def runs(self, seconds=60):
        """Shift+Enter, and wait until that cell has its number; the cell's place on the page."""
        cell = self.page.locator(".jp-Notebook .jp-Cell.jp-mod-active")
        number = int(cell.get_attribute("data-windowed-list-index") or 0)
        is_code = "jp-CodeCell" in cell.get_attribute("class")
        self.page.keyboard.press("Shift+Enter")
        done = self.page.locator(f'.jp-Cell[data-windowed-list-index="{number}"]')
        if is_code:
            playwright.expect(done.locator(".jp-InputPrompt")).to_have_text(
                re.compile(r"\[\d+\]:"), timeout=1000 * seconds
            )
        return done


def _set_theme(lab, theme):
    address = f"{lab}/lab/api/settings/@jupyterlab/apputils-extension:themes"
    body = json.dumps({"raw": json.dumps({"theme": theme})}).encode()
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(address, body, headers, method="PUT"), timeout=30).close()


# The contrast of every text in the outputs with the ground behind it, as WCAG 2 computes it.
CONTRAST = """() => {
  const channels = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const c = channels(getComputedStyle(e).backgroundColor);
      if (c.length && (c[3] === undefined || c[3] > 0.99)) return c;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const output of document.querySelectorAll(".jp-Notebook .jp-OutputArea-output")) {
    const walker = document.createTreeWalker(output, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
      if (!text || !element.getClientRects().length || ["STYLE", "SCRIPT"].includes(element.tagName)) continue;
      const style = getComputedStyle(element);
      const [a, b] = [light(channels(style.color)), light(ground(element))].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      const least = /[\\p{L}\\p{N}]/u.test(text) ? 4.5 : 3;  // WCAG asks less of a sign such as ■ than of text
      if (ratio < least) poor.push(`${ratio.toFixed(2)}: ${text.slice(0, 40)} (${style.color})`);
    }
  }
  return poor;
}"""


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_a_reader_sees_cards_chips_and_pictures_with_the_keyboard_alone(browser, lab, theme):
    reader = Reader(browser, lab, "kinds.ipynb", theme)
    reader.runs(120)
    expect = playwright.expect
    expect(reader.runs()).to_contain_text("not attempted yet")
    wrong = reader.runs()
    expect(wrong).to_contain_text("not yet")
    expect(wrong).to_contain_text("the ids are counted from 1")
    expect(reader.runs()).to_contain_text("passed")
    reader.page.keyboard.press("Enter")  # into the cell, to type a guess
    reader.page.keyboard.press("Control+a")
    reader.page.keyboard.type("predict('tokens.a', 'a')")
    reader.page.keyboard.press("Escape")
    expect(reader.runs()).to_contain_text("tokens.a")
    expect(reader.runs()).to_contain_text("14 tokens")
    assert len(reader.runs().locator("img[alt]").get_attribute("alt")) > 30
    expect(reader.runs()).to_contain_text("def attend")
    expect(reader.runs()).to_contain_text("you are here")
    expect(reader.runs()).to_contain_text("loss")
    browsing.keep(reader.page, f"kinds {theme[-5:].strip().lower()}", 3000)
    assert reader.page.evaluate(CONTRAST) == []
    assert reader.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert reader.complaints == []
    reader.page.context.close()


@pytest.mark.skipif(not os.environ.get("GPTLAB_ALL_BROWSER"), reason="GPTLAB_ALL_BROWSER=1 runs whole notebooks")
@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_notebook_runs_cell_by_cell(browser, lab, name):
    source = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    reader = Reader(browser, lab, f"{name}.ipynb")
    for cell in source["cells"]:
        place = reader.runs(300)
        if cell["cell_type"] == "code" and "raises-exception" not in cell["metadata"].get("tags", []):
            playwright.expect(place.locator('[data-mime-type="application/vnd.jupyter.error"]')).to_have_count(0)
    browsing.keep(reader.page, name, 3000)
    assert reader.page.evaluate(CONTRAST) == []
    assert reader.complaints == []
    reader.page.context.close()
