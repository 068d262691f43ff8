"""What a run shows while it goes on: a bar, a line and a sample at each evaluation, and a word when it memorises."""

import itertools
import math
import sys
from collections.abc import Iterator
from typing import Any

import torch
from tqdm import tqdm

from gptlab import sampling
from gptlab.history import History, best, measure
from gptlab.model import GPT
from gptlab.tokenizing import Tokenizer

PATIENCE = 3  # evaluations in a row above the best, after which a loss is said to rise
SAMPLE = (80, 2, 100)  # of a sample: tokens, lines, characters in a line
_RISES = ("validation", "excess", "training")  # what rises when a model memorises


def is_rising(evaluations: list[dict[str, float | int]], patience: int = PATIENCE) -> bool:
    """Whether the last evaluations have all been worse than the best one.

    >>> is_rising([{"validation": value} for value in (3.0, 2.0, 2.1, 2.2, 2.3)])
    True
    >>> is_rising([{"validation": value} for value in (3.0, 2.1, 2.2, 2.3, 2.0)])
    False
    """
    if len(evaluations) <= patience:
        return False
    lowest = measure(best(evaluations))[1]
    return all(measure(evaluation)[1] > lowest for evaluation in evaluations[-patience:])


def line(history: History) -> str:
    """An evaluation in one line: where the run is, how fast, and the loss in training and in validation.

    The training loss is the mean since the evaluation before.

    >>> line(History([3.0, 2.0], evaluations=[{"step": 2, "seconds": 1.0, "validation": 2.4}], seconds=1.0, tokens=64))
    'step      2      1.0 s        64 tokens/s  training 2.500  validation 2.400'
    """
    newest = history.evaluations[-1]
    since = history.evaluations[-2]["step"] if len(history.evaluations) > 1 else 0
    recent = history.losses[int(since) :] or history.losses[-1:]
    numbers = {name: value for name, value in newest.items() if name not in ("step", "seconds")}
    numbers = {"training": sum(recent) / len(recent)} | numbers
    words = "  ".join(f"{name} {value:.3f}" for name, value in numbers.items())
    speed = history.tokens / max(history.seconds, 1e-9)
    return f"step {history.steps:>6}  {history.seconds:7.1f} s  {speed:8,.0f} tokens/s  {words}"


def sample(model: GPT, tokenizer: Tokenizer, end: int | None) -> str:
    """The beginning of a text that the model writes, two lines at most; "" if nothing says where a text begins.

    Args:
        model: that is being trained; it stays in the mode that it is in, and the run's random numbers stay as they are.
        tokenizer: of the model.
        end: the token before a new text; without one, a newline.
    """
    tokens, lines, width = SAMPLE
    try:
        first = [end] if end is not None else tokenizer.encode("\n")
    except ValueError:  # a text without newlines
        return ""
    generator = torch.Generator().manual_seed(0)
    written = sampling.generate_each(model, [first], tokens, generator=generator, stop=end)[0]
    text = tokenizer.decode([id for id in written[len(first) :] if id != end]).strip()
    wrapped = itertools.chain.from_iterable(_wrapped(part, width) for part in text.splitlines() if part.strip())
    return "\n".join(f"    | {part}" for part in itertools.islice(wrapped, lines))


def _wrapped(text: str, width: int) -> Iterator[str]:
    return (text[i : i + width] for i in range(0, len(text), width))


class Reporter:
    """Shows a growing history; only for the process that prints.

    Args:
        steps: of the whole run.
        quiet: show nothing, as the other ranks of a run do.
        keeps_best: whether the best model is saved, which changes the advice.
    """

    def __init__(self, steps: int, quiet: bool = False, keeps_best: bool = False):
        self.steps, self.quiet, self.keeps_best = steps, quiet, keeps_best
        self.bar: Any = None
        self.warned = False

    def __enter__(self) -> "Reporter":
        # disable=None: a bar on a terminal only, so that a log has lines and nothing else
        disable = True if self.quiet else None
        self.bar = tqdm(total=self.steps, disable=disable, file=sys.stdout, unit="step", leave=False)
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self.quiet or not text:
            return
        if self.bar.disable:
            print(text, flush=True)
        else:
            self.bar.write(text, file=sys.stdout)

    def show(self, history: History) -> None:
        """Move the bar to where the run is."""
        self.bar.update(history.steps - self.bar.n)

    def evaluated(self, history: History, written: str = "") -> None:
        """Show the newest evaluation.

        Args:
            history: so far.
            written: a sample of the model.
        """
        self.say(line(history))
        self.say(written)
        name, value = measure(history.evaluations[-1])
        if name in _RISES and math.isfinite(value) and not self.warned and is_rising(history.evaluations):
            self.warned = True
            step = best(history.evaluations)["step"]
            way = "--best has saved that one" if self.keeps_best else "--best keeps that one"
            self.say(f"{name} is rising: the model is starting to memorise; best at step {step}; {way}")

    def ended(self, history: History, patience: int) -> None:
        """Say why a run has ended before its last step, if it has.

        Args:
            history: of the whole run.
            patience: as for `has_stalled`.
        """
        if history.steps >= self.steps:
            return
        lowest = best(history.evaluations)
        name, value = measure(lowest)
        kept = "saved by --best" if self.keeps_best else "--best would have saved that model"
        self.say(
            f"stopped early: {patience} evaluations without a better {name}; the best was {value:.3f} after step "
            f"{lowest['step']}; {kept}"
        )
