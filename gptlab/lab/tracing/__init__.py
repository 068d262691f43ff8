"""A ledger of a forward pass: each line of code that made a tensor, with its shape, its cost, and what it claimed.

`trace` runs a model once and records, for every line of Python that computed something: the shape in letters and in
numbers, the parameters used, the bytes allocated and the FLOPs spent. Where the comment of a line states a shape
(`x = self.up(x)  # [B, T, C]`) and the result has another one, the ledger marks it: comments lie, shapes do not.

`recorder` watches the model run, `statements` finds the line that is running, `letters` compares shapes with what
comments say, and `ledger` holds the result and shows it.
"""

from gptlab.lab.tracing.ledger import Ledger, Step
from gptlab.lab.tracing.recorder import trace

__all__ = ["Ledger", "Step", "trace"]
