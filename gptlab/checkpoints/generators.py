"""The random generators of a process: their states as tensors, and back.

A run that continues where it stopped must draw the numbers that it would have drawn: dropout, shuffling, sampling.
"""

import random

import numpy as np
import torch
from torch import Tensor


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
        states: what `generator_states` gave; a generator that isn't in it stays as it is.
        device: whose generator is among them, beside the CPU's.
    """
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "python" in states:
        gauss = states["python.gauss"].tolist()
        random.setstate((3, tuple(states["python"].tolist()), gauss[0] if gauss else None))
    if "numpy" in states:
        *keys, position, has_gauss = states["numpy"].tolist()
        np.random.set_state(("MT19937", keys, position, has_gauss, float(states["numpy.gauss"])))
    kind = torch.device(device).type
    if kind != "cpu" and kind in states:
        getattr(torch, kind).set_rng_state(states[kind])
