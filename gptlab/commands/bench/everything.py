"""Everything that waits for a GPU, in fifteen minutes: `python -m gptlab bench gpu --everything --record FILE`.

What is written for CUDA is tested with stand-ins; what only a card can say is asked here, in the order of what matters
most, so that a card that is lent for five minutes has told the first things. Each order has a time limit of its own and
runs in a process of its own: one that fails or takes too long leaves the others.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Order(NamedTuple):
    """One thing to measure.

    Attributes:
        what: in words.
        arguments: of `python -m`.
        seconds: after which it is ended.
    """

    what: str
    arguments: tuple[str, ...]
    seconds: int


def orders(record: Path, folder: Path) -> list[Order]:
    """What is done, in this order.

    Args:
        record: a file that the figures are added to.
        folder: where runs leave their checkpoints.

    >>> [order.what for order in orders(Path("card.json"), Path("runs"))][:2]
    ['training and generating against peers, row by row', 'Tiny Shakespeare: to 1.47 in 6 s, best 1.45']
    """

    def train(recipe: str, *options: str) -> tuple[str, ...]:
        to = ("--folder", str(folder / recipe), "--record", str(record))
        return ("gptlab", "train", recipe, "--compile", "True", *options, *to)

    tests = [f"tests/test_{name}.py" for name in ("gpu_graphs", "gpu", "queued_steps", "fast_forms", "sampling")]
    return [
        Order(
            "training and generating against peers, row by row",
            ("gptlab", "bench", "gpu", "--seconds", "170", "--record", str(record)),
            230,
        ),
        Order("Tiny Shakespeare: to 1.47 in 6 s, best 1.45", train("shakespeare-gpu", "--best", "True"), 60),
        Order("nanoGPT's recipe, beside it", train("nanogpt-gpu", "--early-stopping", "4"), 80),
        Order("the CUDA branches of the tests", ("pytest", "-q", "-x", *tests), 120),
        Order("fables at a GPU's size", train("fables-gpu", "--best", "True"), 150),
        Order("the other rows of the benchmark", ("gptlab", "bench", "gpu", "--seconds", "240"), 300),
    ]


def bench_everything(
    record: Path, folder: Path, seconds: float = 900, run: Callable[..., subprocess.CompletedProcess] = subprocess.run
) -> list[str]:
    """Carry out the orders one after the other, and print how each ended; those come back.

    Args:
        record: a file that the figures are added to.
        folder: where runs leave their checkpoints.
        seconds: for all together; an order that has less than half of its time left is not begun.
        run: starts a process and waits for it; a test brings its own.
    """
    end, ended = time.perf_counter() + seconds, []
    for order in orders(record, folder):
        limit = min(order.seconds, end - time.perf_counter())
        print(f"\n── {order.what}\n$ python -m {' '.join(order.arguments)}", flush=True)
        if limit < order.seconds / 2:
            how = "not begun: the time is up"
        else:
            started = time.perf_counter()
            try:
                code = run([sys.executable, "-m", *order.arguments], timeout=limit, check=False).returncode
                how = "done" if code == 0 else f"ended with code {code}"
            except subprocess.TimeoutExpired:
                how = "ended by its time limit"
            how += f" after {time.perf_counter() - started:.0f} s"
        ended.append(f"{order.what}: {how}")
        print(f"── {how}", flush=True)
    print("\n" + "\n".join(ended) + f"\n\nthe figures are in {record}")
    return ended
