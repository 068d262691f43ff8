"""The paths of optimizers through a loss of two parameters."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from gptlab.html import INK, STONE
from gptlab.pictures.style import DASHES, MARKERS, SERIES, Number, Picture, canvas, finish, styled


@styled
def valley(
    loss: Callable[[np.ndarray, np.ndarray], np.ndarray],
    paths: Mapping[str, Sequence[tuple[Number, Number]]],
    x: str = "x",
    y: str = "y",
    title: str = "",
) -> Picture:
    """Paths of optimizers over the contour lines of a loss of two parameters; the cross is where it is least.

    Args:
        loss: the loss at arrays of x and y.
        paths: for each optimizer, the points (x, y) that it came through.
        x: what the horizontal axis is.
        y: what the vertical axis is.
        title: over the picture.

    Raises:
        ValueError: for no path, or one without points.

    >>> from gptlab import pictures
    >>> print(pictures.describe(pictures.valley(lambda x, y: x**2 + y**2, {"SGD": [(2, 1), (1, 0.5)]})))
    Contour lines of a loss of x and y, and the paths over it: SGD from (2, 1) to (1, 0.5) in 1 step, loss 5 to 1.25.
    """
    points = {name: np.asarray(list(path), dtype=float) for name, path in paths.items()}
    if not points or any(p.ndim != 2 or p.shape[1:] != (2,) or not len(p) for p in points.values()):
        raise ValueError("give at least one path, each with points (x, y)")
    everywhere = np.concatenate([*points.values()])
    low, high = everywhere.min(axis=0), everywhere.max(axis=0)
    margin = np.maximum(0.15 * (high - low), 0.1)
    grid = [np.linspace(low[i] - margin[i], high[i] + margin[i], 120) for i in (0, 1)]
    across, up = np.meshgrid(*grid)
    surface = np.asarray(loss(across, up), dtype=float)
    figure, axes = canvas(8.0, 4.2)
    least, most = float(surface.min()), float(surface.max())
    levels = least + (most - least) * np.linspace(0.0, 1.0, 14)[1:] ** 2.5  # denser near the bottom
    axes.contour(across, up, surface, levels=np.unique(levels), colors=STONE, linewidths=0.8, zorder=1)
    for i, (name, p) in enumerate(points.items()):
        look = {"color": SERIES[i], "linestyle": DASHES[i], "marker": MARKERS[i], "markersize": 4, "linewidth": 1.6}
        axes.plot(p[:, 0], p[:, 1], label=name, zorder=3, **look)
        axes.plot(*p[-1], marker=MARKERS[i], markersize=9, color=SERIES[i], zorder=4)
    bottom = np.unravel_index(surface.argmin(), surface.shape)
    axes.plot(across[bottom], up[bottom], marker="+", markersize=14, markeredgewidth=2.5, color=INK, zorder=5)
    axes.set(xlabel=x, ylabel=y, title=title)
    axes.legend()
    said = []
    for name, p in points.items():
        (x0, y0), (x1, y1) = p[0], p[-1]
        begin, end = (float(loss(np.asarray(a), np.asarray(b))) for a, b in ((x0, y0), (x1, y1)))
        steps = f"{len(p) - 1} step{'' if len(p) == 2 else 's'}"
        said.append(f"{name} from ({x0:g}, {y0:g}) to ({x1:.3g}, {y1:.3g}) in {steps}, loss {begin:.3g} to {end:.3g}")
    return finish(figure, f"Contour lines of a loss of {x} and {y}, and the paths over it: {'; '.join(said)}.")
