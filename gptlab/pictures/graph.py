"""A computational graph, drawn from the computation: inputs on the left, the result on the right."""

from typing import Any

from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from gptlab.html import BLUE, BOX, BOX_EDGE, FRONT, GREY, HERE, INK, RED
from gptlab.pictures.style import Picture, canvas, drawable, finish, styled, tidy

MOST = 40  # values that a picture can hold
WIDE, HIGH = 1.0, 0.62  # of a box, where columns are ACROSS apart and rows 1
ACROSS = 1.75


def _columns(order: list[Any]) -> dict[int, int]:
    """How far to the right each value stands: one step beyond its last parent; an input one step before its first use.

    Args:
        order: the values, parents before their children.
    """
    column: dict[int, int] = {}
    for node in order:
        column[id(node)] = 1 + max((column[id(parent)] for parent in node.parents), default=-1)
    for node in reversed(order):
        uses = [column[id(child)] for child in order if any(parent is node for parent in child.parents)]
        if not node.parents and uses:
            column[id(node)] = min(uses) - 1
    return column


def _rows(order: list[Any], column: dict[int, int]) -> dict[int, float]:
    """How far down each value stands: near its neighbours, and at least one row from others in its column."""
    row = {id(node): 0.0 for node in order}
    children = {id(node): [c for c in order if any(p is node for p in c.parents)] for node in order}
    columns = [[node for node in order if column[id(node)] == c] for c in range(max(column.values()) + 1)]
    for members in columns:
        row |= {id(node): i - (len(members) - 1) / 2 for i, node in enumerate(members)}
    for sweep in range(8):  # to the right and back: each moves towards the middle of what it is joined to
        for members in columns if sweep % 2 else columns[::-1]:
            near = {id(n): [row[id(m)] for m in (n.parents if sweep % 2 else children[id(n)])] for n in members}
            wish = {id(n): sum(near[id(n)]) / len(near[id(n)]) if near[id(n)] else row[id(n)] for n in members}
            members.sort(key=lambda n: wish[id(n)])
            for i, node in enumerate(members):
                above = row[id(members[i - 1])] + 1 if i else -float("inf")
                row[id(node)] = max(wish[id(node)], above)
            shift = sum(row[id(n)] - wish[id(n)] for n in members) / len(members)
            row |= {id(n): row[id(n)] - shift for n in members}
    return row


def _box(axes, node: Any, x: float, y: float, last: bool) -> None:
    """One value: what it is called or what made it, its number, and its gradient."""
    ground = HERE if last else FRONT if node.parents else BOX
    axes.add_patch(
        FancyBboxPatch(
            (x - WIDE / 2, y - HIGH / 2), WIDE, HIGH, boxstyle="round,pad=0.02,rounding_size=0.08",
            facecolor=ground, edgecolor=INK if last else BOX_EDGE, zorder=3,
        )
    )  # fmt: skip
    heading = " = ".join(drawable(part) for part in (node.name, node.operation) if part)
    lines = [(heading or "number", {"weight": "bold", "color": INK}), (tidy(node.data), {"color": INK})]
    lines.append((f"grad {tidy(node.grad)}", {"color": RED}))
    for i, (text, look) in enumerate(lines):
        axes.text(x, y + (i - 1) * 0.2, text, ha="center", va="center", fontsize=10, zorder=4, **look)


@styled
def graph(result: Any, *, title: str = "") -> Picture:
    """The graph of a computation: a box for each value with its number and gradient, an arrow for each use.

    Beside an arrow stands the local derivative: how fast what it points to grows with where it comes from. The gradient
    of a value is the sum, over the arrows that leave it, of the local derivative times the gradient at the arrow's end.

    Args:
        result: a `gptlab.autograd.Value`, or anything with the same `parents`, `slopes`, `data`, `grad`, `operation`,
            `name` and `graph()`.
        title: over the picture.

    Raises:
        ValueError: for a graph of more than 40 values, which nobody could read.

    >>> from gptlab import pictures
    >>> from gptlab.autograd import named
    >>> x, w = named(x=3, w=2)
    >>> y = w * x
    >>> y.backward()
    >>> print(pictures.describe(pictures.graph(y)))
    Computational graph of 3 values: w = 2 (grad 3); x = 3 (grad 2); × of w, x = 6 (grad 1).
    """
    order = result.graph()
    if len(order) > MOST:
        raise ValueError(f"{len(order)} values are more than the {MOST} that a picture can show: draw a smaller part")
    column = _columns(order)
    row = _rows(order, column)
    place = {id(node): (ACROSS * column[id(node)], row[id(node)]) for node in order}
    arrows = _arrows(order, place)
    edges = [y + side * HIGH / 2 for _, y in place.values() for side in (-1, 1)]
    edges += [(start[1] + end[1] + 2 * over) / 2 for start, end, over, _ in arrows]
    low, high, right = min(edges) - 0.15, max(edges) + 0.15, ACROSS * max(column.values()) + WIDE / 2 + 0.1
    figure, axes = canvas((right + WIDE / 2 + 0.1) * 1.05, (high - low) * 1.05 + (0.3 if title else 0))
    axes.set(xlim=(-WIDE / 2 - 0.1, right), ylim=(high, low), title=title)
    axes.axis("off")
    for arrow in arrows:
        _draw_arrow(axes, *arrow)
    for node in order:
        _box(axes, node, *place[id(node)], node is result)
    return finish(figure, _in_words(order, title))


Point = tuple[float, float]


def _arrows(order: list[Any], place: dict[int, Point]) -> list[tuple[Point, Point, float, str]]:
    """Each use of a value: where its arrow starts and ends, how far down it bends half-way, and the local derivative.

    An arrow bends where it would run through a box, or on top of another one from the same value.
    """
    found = []
    for node in order:
        for i, (parent, slope) in enumerate(zip(node.parents, node.slopes, strict=True)):
            (x0, y0), (x1, y1) = place[id(parent)], place[id(node)]
            twice = sum(other is parent for other in node.parents) > 1
            between = [(x, y) for x, y in place.values() if x0 < x < x1]
            hit = any(abs(y0 + (y1 - y0) * (x - x0) / (x1 - x0) - y) < HIGH / 2 + 0.1 for x, y in between)
            over = 0.18 * (2 * i - 1) if twice else -0.8 if hit else 0.0
            found.append(((x0 + WIDE / 2 + 0.02, y0), (x1 - WIDE / 2 - 0.03, y1), over, tidy(slope)))
    return found


def _draw_arrow(axes, start: Point, end: Point, over: float, label: str) -> None:
    """A curve from the right edge of one box to the left edge of another, with its label on it."""
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 2 * over)  # the curve goes half as far
    curve = Path([start, middle, end], [Path.MOVETO, Path.CURVE3, Path.CURVE3])
    look = {"arrowstyle": "-|>", "color": GREY, "linewidth": 1.2, "mutation_scale": 11, "zorder": 2}
    axes.add_patch(FancyArrowPatch(path=curve, **look))
    t = 0.45 if over or end[0] - start[0] < ACROSS else 0.25  # a long arrow has its label near its beginning
    x, y = ((1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c for a, b, c in zip(start, middle, end, strict=True))
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    axes.text(x, y, label, ha="center", va="center", fontsize=10, color=BLUE, bbox=ground, zorder=5)


def _in_words(order: list[Any], title: str) -> str:
    called: dict[int, str] = {}
    said = []
    for number, node in enumerate(order):
        of = f" of {', '.join(called[id(parent)] for parent in node.parents)}" if node.parents else ""
        steps = (node.name, f"{node.operation}{of}")
        made = "".join(f"{step} = " for step in steps if step)
        called[id(node)] = node.name or (f"step {number}" if of else tidy(node.data))
        said.append(f"{made}{tidy(node.data)} (grad {tidy(node.grad)})")
    return f"{title + '. ' if title else ''}Computational graph of {len(order)} values: {'; '.join(said)}."
