"""Generating in a page: the JavaScript of `python -m gptlab page` in a browser, against PyTorch on one core.

The same model, the same number of tokens, sampled alike. Both take turns, so that whatever else the machine does hits
both; the median of the rounds counts. Without Chromium and playwright, node runs the same code (both have V8 inside).
"""

import contextlib
import importlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from gptlab import checkpoints, page, sampling
from gptlab.model import GPT
from gptlab.page import assembling

NEW, BEYOND = 128, 16  # tokens within the context, and past it
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# `open` takes a page's data; `speed` the tokens to begin with and how many to sample, and gives the seconds.
_SCRIPT = """
let benchModel = null;
globalThis.open = (data) => {
  benchModel = loadModel(data);
};
globalThis.speed = (ids, n) => {
  const random = makeRandom(0);
  const session = new Session(benchModel);
  let logits = session.feed(ids);
  const start = performance.now();
  for (let i = 0; i < n; i++) logits = session.feed([sample(filteredProbabilities(logits), random)]);
  return (performance.now() - start) / 1000;
};
"""
_LOOP = """
import { createInterface } from "node:readline";
for await (const line of createInterface({ input: process.stdin })) {
  const { call, given } = JSON.parse(line);
  console.log(JSON.stringify(globalThis[call](...given) ?? null));
}
"""

Run = Callable[[list[int], int], float]  # the tokens to begin with, how many to sample -> seconds


def bench_page(rounds: int = 5) -> None:
    """Print tokens per second of both, and the ratio, within the model's context and past it.

    Args:
        rounds: turns of each; their median counts.

    Raises:
        ValueError: there is no browser, and no node either.
    """
    model, tokenizer = checkpoints.committed("fables")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _javascript(page.page_data(model, tokenizer, "fables")) as (where, in_page):
            runs = {
                "PyTorch, one core (sampling.generate)": _in_pytorch(model),
                f"the page's JavaScript in {where}": in_page,
            }
            context, first = model.config.context, [tokenizer.end]
            print(f"the committed model, {model.count_parameters():,} parameters, context {context}")
            within = min(NEW, context - 1)
            _compare(f"{within} tokens within the context", runs, first, within, rounds)
            full = (first * context)[:context]
            _compare(f"{BEYOND} tokens past the context (every one reads the whole window)", runs, full, BEYOND, rounds)
        _print_opening(page.build(model, tokenizer, "fables"), rounds)
    finally:
        torch.set_num_threads(threads)


def _compare(title: str, runs: dict[str, Run], ids: list[int], new: int, rounds: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            spent = run(ids, new)
            if turn:  # the first one only warms up
                seconds[name].append(spent)
    medians = {name: statistics.median(spent) for name, spent in seconds.items()}
    peer = next(iter(medians.values()))
    print(f"\n{title:<64}{'tokens/s':>9}{'ratio':>8}")
    for name, spent in medians.items():
        print(f"{name:<64}{new / spent:>9.0f}{peer / spent:>8.2f}")


def _in_pytorch(model: GPT) -> Run:
    """`sampling.generate`, timed from the second token on, as the page is: reading the prompt is another matter."""

    def run(ids: list[int], new: int) -> float:
        generator, spent = torch.Generator().manual_seed(0), []
        for n in (1, new + 1):
            start = time.perf_counter()
            sampling.generate(model, torch.tensor([ids]), n, generator=generator)
            spent.append(time.perf_counter() - start)
        return spent[1] - spent[0]

    return run


def _browser() -> tuple[Any, str] | None:
    """playwright and a browser for it, where both are there."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    with contextlib.suppress(ModuleNotFoundError):
        return (importlib.import_module("playwright.sync_api"), browser) if browser else None
    return None


def _print_opening(written: str, rounds: int) -> None:
    """Print how long a page takes from its opening to its first prediction, each time in a fresh browser."""
    found = _browser()
    if found is None:
        return
    ready = []
    with tempfile.TemporaryDirectory() as folder, found[0].sync_playwright() as started:
        path = Path(folder, "page.html")
        path.write_text(written, encoding="utf-8")
        for _ in range(rounds):
            with _window(started, found[1]) as window:
                sheet = window.new_page()
                sheet.goto(path.as_uri())
                sheet.wait_for_function("() => performance.getEntriesByName('gptlab-ready').length")
                ready.append(sheet.evaluate("performance.getEntriesByName('gptlab-ready')[0].startTime"))
    print(
        f"\nfrom opening the page to its first prediction: {statistics.median(ready):.0f} ms, at most {max(ready):.0f}"
    )


@contextlib.contextmanager
def _window(started: Any, browser: str) -> Iterator[Any]:
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    window = started.chromium.launch(executable_path=browser, args=["--no-sandbox"] if root else [])
    try:
        yield window
    finally:
        window.close()


@contextlib.contextmanager
def _javascript(data: dict[str, Any]) -> Iterator[tuple[str, Run]]:
    """The engine of the page with a model in it, in a browser or in node, and the name of where it runs."""
    engine = [path for path in assembling.module_files() if path.parent == assembling.MODULES]
    script = assembling.script(engine) + _SCRIPT
    found, node = _browser(), shutil.which("node")
    with contextlib.ExitStack() as stack:
        if found:
            yield "Chromium", stack.enter_context(_in_chromium(*found, script, data))
            return
        if node is None:
            raise ValueError(
                "bench page needs a browser (Chromium, with `pip install playwright`) or node: install one"
            )
        yield "node", stack.enter_context(_in_node(node, script, data))


@contextlib.contextmanager
def _in_chromium(playwright: Any, browser: str, script: str, data: dict[str, Any]) -> Iterator[Run]:
    with playwright.sync_playwright() as started, _window(started, browser) as window:
        sheet = window.new_page()
        sheet.set_content(f'<script type="module">{script}</script>')
        sheet.wait_for_function("() => globalThis.speed")
        sheet.evaluate("(data) => globalThis.open(data)", data)
        yield lambda ids, new: sheet.evaluate("([ids, n]) => globalThis.speed(ids, n)", [ids, new])


@contextlib.contextmanager
def _in_node(node: str, script: str, data: dict[str, Any]) -> Iterator[Run]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bench.mjs")
        path.write_text(script + _LOOP, encoding="utf-8")
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")
        with subprocess.Popen([node, str(path)], **pipes) as process:

            def call(name: str, *given: Any) -> Any:
                process.stdin.write(json.dumps({"call": name, "given": given}) + "\n")
                process.stdin.flush()
                return json.loads(process.stdout.readline())

            try:
                call("open", data)
                yield lambda ids, new: call("speed", ids, new)
            finally:
                process.stdin.close()
