"""Experiments and instruments of the notebooks: what the course takes apart, and what it looks inside with.

`comparison` trains four ways to look back at equal size, `breaking` takes one ingredient out of a GPT, `tracing`
records a forward pass line by line, and `source` shows code as the package has it. The lessons do not need any of them.
"""

from gptlab import _attach

__getattr__, __dir__, __all__ = _attach(__name__, ["breaking", "comparison", "source", "tracing"])
