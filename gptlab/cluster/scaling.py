"""How large should the model be, and how good will it be? Laws fitted to small runs, and how far to trust them.

>>> f"{chinchilla_tokens(70e9) / 1e12:.1f} trillion tokens for 70 billion parameters"
'1.5 trillion tokens for 70 billion parameters'
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gptlab.entrances import NotNegative, Positive, guard

# Hoffmann et al. 2022, table 3 (approach 1) and table A3 (2 and 3): the best tokens for 1e9 and for 1e12 parameters.
_BEST_TOKENS = {1: (20.2e9, 21.2e12), 2: (20.0e9, 26.5e12), 3: (27.1e9, 94.1e12)}


def chinchilla_tokens(parameters: Positive, approach: int = 1) -> float:
    """The compute-optimal number of tokens for a model of so many parameters (Hoffmann et al. 2022).

    Their three approaches: 1, the best model at each amount of compute, along the curves of many runs; 2, the lowest
    loss among runs that all take the same compute; 3, a formula for the loss fitted to all. The first two say about 20
    tokens per parameter at any size; the third says more for large models, and its fit has been doubted: approach 4
    here is the same formula fitted again by Besiroglu et al. (2024), which agrees with the first two. Between and
    beyond their sizes a power law through their values at 1e9 and 1e12 parameters. This is optimal for training alone:
    a model that will be used a lot is trained on far more, because then a smaller one saves more.

    Args:
        parameters: of the model.
        approach: 1 to 4.

    >>> [f"{chinchilla_tokens(70e9, approach) / 70e9:.0f}" for approach in (1, 2, 3, 4)]
    ['21', '24', '58', '18']

    Raises:
        ValueError: for another approach.
    """
    if approach in _BEST_TOKENS:
        small, large = _BEST_TOKENS[approach]
        return small * (parameters / 1e9) ** (math.log10(large / small) / 3)
    if approach != 4:
        raise ValueError(f"there is no approach {approach}: choose 1, 2 or 3 (Hoffmann et al.) or 4 (Besiroglu et al.)")
    _, A, alpha, B, beta = _LOSS["besiroglu"]
    # The compute is 6 N D. Where more parameters and more tokens gain the same: alpha A / N^alpha = beta B / D^beta.
    return (beta * B / (alpha * A) * parameters**alpha) ** (1 / beta)


# L(N, D) = E + A / N^alpha + B / D^beta: E, A, alpha, B, beta, of Hoffmann et al. 2022 (eq. 10), fitted again in 2024.
_LOSS = {"hoffmann": (1.69, 406.4, 0.34, 410.7, 0.28), "besiroglu": (1.8172, 482.01, 0.3478, 2085.43, 0.3658)}


def chinchilla_loss(
    parameters: Positive, tokens: Positive, fit: Literal["hoffmann", "besiroglu"] = "besiroglu"
) -> float:
    """The loss in nats per token that their formula gives on their data (MassiveText): E + A / N^α + B / D^β.

    Args:
        parameters: N, of the model.
        tokens: D, that it is trained on.
        fit: "hoffmann" (2022), or "besiroglu" (2024).

    >>> round(chinchilla_loss(70e9, 1.4e12), 2), round(chinchilla_loss(280e9, 300e9), 2)  # Chinchilla, Gopher
    (1.97, 2.0)
    """
    E, A, alpha, B, beta = _LOSS[fit]
    return E + A / parameters**alpha + B / tokens**beta


@dataclass(frozen=True)
class ScalingLaw:
    """L(N) = floor + A / N^alpha, fitted to runs; call it with a size for the loss that it expects there.

    Attributes:
        floor: the loss that no size goes below.
        A: the factor of the power law.
        alpha: its exponent.
        sizes: of the runs that it was fitted to.
        losses: of those runs.
        known_floor: whether the floor was given, not fitted too.

    >>> law = ScalingLaw(floor=1.0, A=10.0, alpha=0.5, sizes=(), losses=())
    >>> law(100)
    2.0
    """

    floor: float
    A: float
    alpha: float
    sizes: tuple[float, ...]
    losses: tuple[float, ...]
    known_floor: bool = True

    def __call__(self, size: float | int) -> float:
        return self.floor + self.A * float(size) ** -self.alpha

    def interval(self, size: float | int, confidence: float = 0.95) -> tuple[float, float]:
        """Where the loss of a new run lies with this probability, if the law and the noise stay the same.

        The prediction interval of a straight line: the logarithm of what is above the floor, against the logarithm of
        the size, with Student's t for the few points there are. It grows with the distance from the runs. Where the
        floor was fitted too, there is one degree of freedom less and the floor's own slope joins in: then it is
        approximate. It cannot know whether the law still holds there: check the largest run first, with a fit to the
        others.

        Args:
            size: of the new run.
            confidence: the probability.
        """
        x, y = np.log(self.sizes), np.log(np.maximum(np.array(self.losses) - self.floor, 1e-12))
        above = np.exp(np.log(self.A) - self.alpha * x)
        columns = [np.ones_like(x), x] + ([] if self.known_floor else [1 / above])
        design = np.stack(columns, axis=1)  # [runs, unknowns]: how the logarithm moves with each of them
        there = math.log(size)
        row = np.array([1.0, there] + ([] if self.known_floor else [1 / (self(size) - self.floor)]))
        left = len(x) - design.shape[1]
        residuals = y - np.log(above)
        variance = float(residuals @ residuals) / left
        spread = math.sqrt(variance * (1 + row @ np.linalg.pinv(design.T @ design) @ row))
        reach = student_t(0.5 + confidence / 2, left) * spread
        excess = self(size) - self.floor
        return self.floor + excess * math.exp(-reach), self.floor + excess * math.exp(reach)


def fit_scaling_law(sizes: Sequence[float], losses: Sequence[float], floor: NotNegative | None = None) -> ScalingLaw:
    """The law L(N) = E + A / N^alpha that fits the runs best, by least squares of the logarithm above the floor.

    With a known floor E this is a straight line through the logarithms. Without, every floor below the smallest loss is
    tried, and the one whose law comes nearest to the losses is taken: a fit with three unknowns, which a few noisy runs
    determine badly.

    Args:
        sizes: of the runs.
        losses: of the runs.
        floor: E, if it is known (fables have one: their entropy).

    >>> law = fit_scaling_law([1e6, 2e6, 4e6, 8e6], [3.0, 2.0, 1.5, 1.25], floor=1.0)
    >>> round(law.alpha, 6), round(law(16e6), 6)
    (1.0, 1.125)

    Raises:
        ValueError: with fewer runs than unknowns and one, or a loss at or below the floor.
    """
    N, L = np.asarray(sizes, dtype=float), np.asarray(losses, dtype=float)
    needed = 3 if floor is not None else 4
    if len(N) != len(L) or len(N) < needed:
        raise ValueError(
            f"{len(N)} sizes and {len(L)} losses: give as many of each, at least {needed} "
            f"({needed - 1} unknowns, and one more to see how well they fit)"
        )
    if floor is not None and L.min() <= floor:
        raise ValueError(f"a loss of {L.min():.4g} is not above the floor of {floor:.4g}: the law allows no such loss")
    known = floor is not None
    E = float(floor) if floor is not None else _best_floor(N, L)
    slope, start = (float(found[0]) for found in _line(np.log(N), np.log(L - E)[None]))
    return ScalingLaw(E, math.exp(start), -slope, tuple(N.tolist()), tuple(L.tolist()), known)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and starts of the straight lines nearest to the points (x, y[i]), for each row i of y."""
    centred = x - x.mean()
    slope = (y * centred).sum(axis=-1) / (centred**2).sum()
    return slope, y.mean(axis=-1) - slope * x.mean()


def _best_floor(N: np.ndarray, L: np.ndarray) -> float:
    """The floor between 0 and the smallest loss with the smallest squares of the losses, on finer and finer grids."""
    low, high, x = 0.0, float(L.min()), np.log(N)
    for _ in range(12):
        grid = np.linspace(low, high, 41)[:-1]  # not the smallest loss itself: its logarithm above the floor is -inf
        slope, start = _line(x, np.log(L - grid[:, None]))  # [40] each
        wrong = L - grid[:, None] - np.exp(start[:, None] + slope[:, None] * x)  # [40, runs]
        best = int((wrong**2).sum(axis=-1).argmin())
        low, high = grid[max(0, best - 1)], grid[best + 1] if best + 1 < len(grid) else high
    return float(grid[best])


@functools.lru_cache
def student_t(probability: float, freedom: int) -> float:
    """The value below which Student's t lies with this probability (Student 1908): wider than a bell for few runs.

    >>> round(student_t(0.975, 3), 3), round(student_t(0.975, 1000), 2)
    (3.182, 1.96)
    """
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    u = np.linspace(0.0, math.pi / 2, 200_001)  # t = sqrt(n) tan(u), and then the density is smooth and ends
    density = scale * np.cos(u) ** (freedom - 1)
    total = 0.5 + np.concatenate(([0.0], np.cumsum((density[1:] + density[:-1]) / 2) * (u[1] - u[0])))
    return float(math.sqrt(freedom) * math.tan(np.interp(probability, total, u)))


guard(globals())
