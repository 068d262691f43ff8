"""How a whole is shared among its parts, for several wholes side by side."""

from collections.abc import Mapping

from gptlab.html import GREY, INK, PALE
from gptlab.pictures.style import SERIES, Number, Picture, canvas, finish, styled, tidy

HATCH = ("", "//", "..", "\\\\", "xx", "--", "oo")
COLOURS = (*SERIES[:6], GREY)
# The parts of a model look the same in every picture; other names take the looks that are left, in their order.
LOOKS = {"embedding": 0, "projections": 1, "attention": 2, "mlp": 3, "head": 4, "position": 5, "norms": 6}


@styled
def shares(wholes: Mapping[str, Mapping[str, Number]], unit: str = "", *, title: str = "") -> Picture:
    """One bar for each whole, all of one length, divided into the shares (%) of its parts, with its sum at the end.

    Args:
        wholes: from a name to a dict from part to number. A part that is 0 everywhere is left out.
        unit: of the numbers.
        title: over the picture.

    Raises:
        ValueError: for nothing to draw, a negative number, or a whole whose parts sum to 0.

    >>> from gptlab import pictures
    >>> print(pictures.describe(pictures.shares({"small": {"table": 60, "blocks": 40}}, "parameters")))
    Shares of a whole, in %. small (100 parameters): table 60, blocks 40.
    """
    if not wholes:
        raise ValueError("no whole to draw: give a dict from a name to a dict from part to number")
    for name, parts in wholes.items():
        if any(value < 0 for value in parts.values()) or not sum(parts.values()) > 0:
            raise ValueError(f"{name!r} cannot be shared: its parts {dict(parts)} must be at least 0, and not all 0")
    kinds = list(dict.fromkeys(kind for parts in wholes.values() for kind in parts))
    kinds = [kind for kind in kinds if any(parts.get(kind, 0) for parts in wholes.values())]
    figure, axes = canvas(9.0, 0.46 * len(wholes) + 1.5)
    left, described = dict.fromkeys(wholes, 0.0), []
    free = [i for i in range(7) if i not in {LOOKS.get(kind) for kind in kinds}] or list(range(7))
    others = [kind for kind in kinds if kind not in LOOKS]
    for kind in kinds:
        i = LOOKS[kind] if kind in LOOKS else free[others.index(kind) % len(free)]
        widths = [100 * parts.get(kind, 0) / sum(parts.values()) for parts in wholes.values()]
        bars = axes.barh(
            range(len(wholes)), widths, left=list(left.values()), color=COLOURS[i], hatch=HATCH[i],
            edgecolor="white", height=0.72, label=kind,
        )  # fmt: skip
        for name, bar, width in zip(wholes, bars, widths, strict=True):
            left[name] += width
            if width >= 4:
                axes.annotate(
                    f"{width:.0f} %", (bar.get_x() + width / 2, bar.get_y() + 0.36), ha="center", va="center",
                    fontsize=10, color=INK, bbox={"facecolor": "white", "edgecolor": PALE, "pad": 1.2},
                )  # fmt: skip
    for row, (name, parts) in enumerate(wholes.items()):
        total = f"{_short(sum(parts.values()))} {unit}".strip()
        axes.annotate(total, (100, row), xytext=(6, 0), textcoords="offset points", va="center", fontsize=10)
        shown = ", ".join(f"{kind} {tidy(100 * parts.get(kind, 0) / sum(parts.values()), 2)}" for kind in kinds)
        described.append(f"{name} ({total}): {shown}")
    axes.set_yticks(range(len(wholes)), list(wholes))
    axes.set(xlabel="share (%)", xlim=(0, 100), ylim=(len(wholes) - 0.5, -0.5), title=title)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside lower center", ncols=min(len(kinds), 6), fontsize=10)
    return finish(figure, f"Shares of a whole, in %. {'; '.join(described)}.")


def _short(value: Number) -> str:
    """A large number with its word: 124 million.

    >>> _short(124_439_808), _short(812), _short(1_557_611_200), _short(12_500)
    ('124 million', '812', '1.56 billion', '12.5 thousand')
    """
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if value >= size:
            return f"{tidy(value / size, 3)} {word}"
    return tidy(value, 3)
