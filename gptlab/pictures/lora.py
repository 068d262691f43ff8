"""A layer with LoRA: the matrix that is frozen, the two thin ones that learn, and their sum."""

from typing import Any

from matplotlib.patches import FancyArrowPatch, Rectangle

from gptlab.html import HERE, INK, PALE, SLATE, STONE, STRIPE
from gptlab.pictures.style import Picture, canvas, finish, styled, tidy

LARGEST = 1.8  # the longest side of W, in inches; the other sides are drawn to the same scale
THINNEST = 0.09  # a side may not be drawn thinner, or its outline would hide what is inside it
UPPER, LOWER = 1.45, -1.35  # how high the two ways run
LEFT, SUM, RIGHT = 0.75, 7.0, 7.75  # where x ends, where both ways are added, and where y begins


def _checked(layer: Any) -> None:
    from gptlab.lora import LoRALinear  # PyTorch is loaded here: most pictures need none of it

    if not isinstance(layer, LoRALinear):
        raise TypeError(
            f"pictures.lora draws a LoRALinear, not a {type(layer).__name__}: pass LoRALinear(linear, rank=8), or a "
            f"layer of a model from add_lora, such as adapted.blocks[0].attention.query"
        )


def _arrow(axes, *points: tuple[float, float]) -> None:
    """A line through some points, with its head at the last."""
    axes.plot(*zip(*points[:-1], strict=True), color=INK, linewidth=1.3, solid_capstyle="butt", zorder=1)
    look = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.3, "mutation_scale": 11, "zorder": 1}
    axes.add_patch(FancyArrowPatch(*points[-2:], shrinkA=0, shrinkB=0, **look))


def _operation(axes, x: float, y: float, text: str, shape: str) -> None:
    box = {"boxstyle": f"{shape},pad=0.35", "facecolor": "white", "edgecolor": INK}
    axes.text(x, y, text, ha="center", va="center", fontsize=11, weight="bold", color=INK, bbox=box, zorder=4)


def _matrix(axes, x: float, y: float, sides: tuple[float, float], lines: tuple[str, ...], learns: bool) -> None:
    """A matrix around (x, y), and what is said of it beneath."""
    width, height = sides
    # What learns has a thick edge and a ground; what is frozen is hatched, so that no colour is needed to tell them.
    look = (
        {"facecolor": HERE, "edgecolor": INK, "linewidth": 2.0}
        if learns
        else {"facecolor": STRIPE, "edgecolor": STONE, "hatch": "//", "linewidth": 1.0}
    )
    axes.add_patch(Rectangle((x - width / 2, y - height / 2), width, height, zorder=3, **look))
    for i, text in enumerate(lines):
        bold = {"weight": "bold"} if not i else {}
        axes.text(x, y - height / 2 - 0.19 - 0.22 * i, text, ha="center", va="center", fontsize=10, color=INK, **bold)


@styled
def lora(layer: Any) -> Picture:
    """The two ways through a layer with LoRA: through the frozen W, and through A and B, which learn.

    Each matrix is as wide and as high as it has columns and rows, so that areas compare numbers of parameters.

    Args:
        layer: a `LoRALinear`, on its own or of a model from `add_lora`.

    Raises:
        TypeError: for another layer, such as a plain `nn.Linear`.

    >>> import torch
    >>> from gptlab import pictures
    >>> from gptlab.lora import LoRALinear
    >>> picture = pictures.lora(LoRALinear(torch.nn.Linear(64, 32, bias=False), rank=4))
    >>> pictures.describe(picture)[:91]
    'A layer with LoRA. x [.., C = 64] goes two ways. One is W [D = 32, C = 64], 2,048 parameter'
    """
    _checked(layer)
    (r, C), D = layer.A.shape, layer.B.shape[0]
    frozen, learned = layer.linear.weight.numel(), layer.A.numel() + layer.B.numel()
    bias = 0 if layer.linear.bias is None else layer.linear.bias.numel()
    scale, share = tidy(layer.scale), f"{100 * learned / frozen:.3g} %"
    side = {n: max(THINNEST, LARGEST * n / max(C, D)) for n in (C, D, r)}
    exact = LARGEST * min(C, D, r) / max(C, D) >= THINNEST

    figure, axes = canvas(9.0, 5.0)
    middle, A, B, times = (UPPER + LOWER) / 2, 2.35, 4.55, 6.1
    W = (LEFT + SUM) / 2
    fork = LEFT + 0.35
    for y in (UPPER, LOWER):
        _arrow(axes, (LEFT, middle), (fork, middle), (fork, y), ((W if y == UPPER else A) - side[C] / 2, y))
    _arrow(axes, (W + side[C] / 2, UPPER), (SUM, UPPER), (SUM, middle + 0.18))
    _arrow(axes, (A + side[C] / 2, LOWER), (B - side[r] / 2, LOWER))
    _arrow(axes, (B + side[r] / 2, LOWER), (times, LOWER), (SUM, LOWER), (SUM, middle - 0.18))
    _arrow(axes, (SUM, middle), (RIGHT, middle))

    beside = (f"and a bias of {bias:,}, also frozen",) if bias else ()
    of_w = (f"W  [D = {D:,}, C = {C:,}]", f"{frozen:,} parameters, frozen", *beside)
    _matrix(axes, W, UPPER, (side[C], side[D]), of_w, learns=False)
    of_a = (f"A  [r = {r:,}, C = {C:,}]", f"{layer.A.numel():,} parameters learn")
    _matrix(axes, A, LOWER, (side[C], side[r]), of_a, learns=True)
    of_b = (f"B  [D = {D:,}, r = {r:,}]", f"{layer.B.numel():,} parameters learn")
    _matrix(axes, B, LOWER, (side[r], side[D]), of_b, learns=True)
    _operation(axes, times, LOWER, f"× {scale}", "round")
    axes.text(times, LOWER - 0.42, "alpha / r", ha="center", va="center", fontsize=10, color=INK)
    _operation(axes, SUM, middle, "+", "circle")
    ends = (LEFT - 0.08, "right", "x", f"[.., C = {C:,}]"), (RIGHT + 0.08, "left", "y", f"[.., D = {D:,}]")
    for x, ha, name, shape in ends:
        axes.text(x, middle + 0.12, name, ha=ha, va="center", fontsize=12, weight="bold", color=INK)
        axes.text(x, middle - 0.14, shape, ha=ha, va="center", fontsize=10, color=INK)
    narrow = f"[.., r = {r:,}]"
    between = (A + side[C] / 2 + B - side[r] / 2) / 2
    axes.text(between, LOWER + 0.16, narrow, ha="center", va="center", fontsize=10, color=INK)

    counted = f"{r:,} · ({C:,} + {D:,}) = {learned:,} parameters learn, {share} as many as the {frozen:,} in W."
    merged = f"Merged, W + {scale} · B A is one W [D = {D:,}, C = {C:,}] again, and nothing is left to add."
    drawn = "Drawn to scale: areas compare numbers of parameters."
    if not exact:
        drawn = "Drawn to scale, except that the thinnest sides would be thinner still."
    bottom = LOWER - max(side[D], side[r]) / 2 - 0.75
    axes.plot([-0.45, 8.95], [bottom, bottom], color=PALE, linewidth=1.0)
    axes.text(-0.4, bottom - 0.25, counted, va="center", fontsize=11, weight="bold", color=INK)
    axes.text(-0.4, bottom - 0.55, merged, va="center", fontsize=11, color=INK)
    axes.text(-0.4, bottom - 0.84, drawn, va="center", fontsize=10, color=SLATE)
    low, high = bottom - 1.0, UPPER + side[D] / 2 + 0.1
    axes.set(xlim=(-0.5, 9.0), ylim=(low, high), aspect="equal")
    axes.axis("off")
    figure.set_size_inches(9.0, 9.0 * (high - low) / 9.5)
    return finish(
        figure,
        f"A layer with LoRA. x {ends[0][3]} goes two ways. One is {of_w[0].replace('  ', ' ')}, {', '.join(of_w[1:])}. "
        f"The other is {of_a[0]}, {of_a[1]}, which makes it narrow, {narrow}, then {of_b[0]}, {of_b[1]}, then times "
        f"{scale} (alpha / r). Both are added to y {ends[1][3]}. {counted} {merged}",
    )
