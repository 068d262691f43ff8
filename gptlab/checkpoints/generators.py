"""The random generators of a process: their states as tensors, and back.

A run that continues where it stopped must draw the numbers that it would have drawn: dropout, shuffling, sampling.
"""

import random

import numpy as np
import torch
from torch import Tensor

from gptlab.entrances import guard

ALWAYS = {"cpu", "python", "python.gauss", "numpy", "numpy.gauss"}


def generator_states(device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """The states of all random generators that a run may use, as tensors: torch's, numpy's and Python's.

    Args:
        device: whose generator is among them, beside the CPU's.

    >>> before = generator_states()
    >>> drawn = torch.rand(2), random.random(), np.random.rand()
    >>> restore_generators(before)
    >>> torch.equal(torch.rand(2), drawn[0]), random.random() == drawn[1], np.random.rand() == drawn[2]
    (True, True, True)
    """
    _, words, next_gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    found = {
        "cpu": torch.get_rng_state(),
        "python": torch.tensor(words),
        "python.gauss": torch.tensor([] if next_gauss is None else [next_gauss], dtype=torch.float64),
        "numpy": torch.tensor([*keys.tolist(), position, has_gauss]),
        "numpy.gauss": torch.tensor([cached], dtype=torch.float64),
    }
    kind = torch.device(device).type
    if kind != "cpu":
        found[kind] = getattr(torch, kind).get_rng_state()
    return found


def restore_generators(states: dict[str, Tensor], device: torch.device | str = "cpu") -> None:
    """Put generators back to where `generator_states` found them.

    Args:
        states: what `generator_states` gave. A GPU's generator that isn't in it stays as it is.
        device: whose generator is among them, beside the CPU's.

    Raises:
        ValueError: a state is missing or damaged, naming it.
    """
    if missing := ALWAYS - states.keys():
        raise ValueError(f"there is no state of the random generator {min(missing)!r}")
    kind = torch.device(device).type
    name = "cpu"
    try:
        torch.set_rng_state(states["cpu"])
        name, gauss = "python", states["python.gauss"].tolist()
        random.setstate((3, tuple(states["python"].tolist()), gauss[0] if gauss else None))
        name, (*keys, position, has_gauss) = "numpy", states["numpy"].tolist()
        if len(keys) != 624 or not 0 <= position <= 624:  # numpy believes it, and would read beyond the end
            raise ValueError(f"{len(keys)} words, read up to {position}")
        np.random.set_state(("MT19937", keys, position, has_gauss, float(states["numpy.gauss"])))
        if kind != "cpu" and kind in states:
            name = kind
            getattr(torch, kind).set_rng_state(states[kind])
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"the state of the random generator {name!r} is damaged: {error}") from error


guard(globals())
