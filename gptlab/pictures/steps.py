"""What attention does, step by step with real numbers; heads as channels; the cache as it grows."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import FancyArrowPatch, Rectangle

from gptlab.html import BLUE, GREY, INK, PALE, SKY, STONE, ink_on
from gptlab.pictures.style import SERIES, WEIGHTS, Picture, array, canvas, check_tokens, finish, shorten, styled

MOST_TOKENS, MOST_CHANNELS = 10, 256
MOST_CELLS = 48  # channels of a picture in which each is counted
MOST_STEPS = 24


def _matrix(axes, values: np.ndarray, name: str, weights: bool = False, aspect: str = "auto") -> None:
    """One matrix as colours, named with its shape; a score that a mask removed stays white."""
    if weights:
        axes.imshow(values, cmap=WEIGHTS, vmin=0, vmax=1, interpolation="nearest")
    else:
        shown = np.where(np.isfinite(values), values, np.nan)
        most = float(np.nanmax(np.abs(shown))) or 1.0
        axes.imshow(shown, cmap="PuOr", vmin=-most, vmax=most, interpolation="nearest", aspect=aspect)
    axes.set_title(name, fontsize=10, loc="center")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color=STONE)


@styled
def attention_steps(head: Any, x: Any, tokens: Sequence | None = None, keep_mask: Any = None) -> Picture:
    """One head of attention at work: x → query, key, value → scores → weights → the weighted average of the values.

    Purple is above 0, orange below; of the weights, darker blue is more. A pair that the mask removes stays white.

    Args:
        head: a `gptlab.attention.Head`, or its three matrices (W_q, W_k, W_v), each [C, hs].
        x: [T, C], the vectors of one sequence of at most 10 tokens and 256 channels.
        tokens: what to write beside the rows.
        keep_mask: [T, T], boolean, True where a query may attend to a key.

    Raises:
        ValueError: for an x that is no such table, or tokens that do not fit.

    >>> from gptlab import pictures
    >>> import torch
    >>> from gptlab.attention import Head
    >>> print(pictures.describe(pictures.attention_steps(Head(C=6, hs=4), torch.zeros(3, 6))))
    One head of attention: x [3, 6] gives q, k and v, each [3, 4]; scores q @ kᵀ / √4 [3, 3]; softmax makes each row of
    weights add up to 1; weights @ v [3, 4].
    """
    if x.dim() != 2 or not x.numel() or x.shape[0] > MOST_TOKENS or x.shape[1] > MOST_CHANNELS:
        raise ValueError(
            f"x has the shape {list(x.shape)}: give [T, C] with T up to {MOST_TOKENS} and C up to {MOST_CHANNELS}; "
            "of a batch take one sequence, x[0]"
        )
    import torch

    from gptlab.attention import attention_weights

    with torch.no_grad():
        made = (x @ W for W in head) if isinstance(head, tuple) else (head.query(x), head.key(x), head.value(x))
        q, k, v = made
        scores = q @ k.transpose(-2, -1) / k.shape[-1] ** 0.5
        weights = attention_weights(q, k, keep_mask)
        if keep_mask is not None:
            scores = scores.masked_fill(~keep_mask, float("-inf"))
        out = weights @ v
    names = None if tokens is None else [shorten(t, 10) for t in check_tokens(tokens, len(x), "T", "rows")]
    hs = v.shape[-1]
    figure, _ = canvas(9.0, 3.9)
    figure.clear()
    figure.get_layout_engine().set(w_pad=0.16)
    grid = figure.add_gridspec(3, 5, width_ratios=[1.5, 1.0, 1.0, 1.0, 1.0])
    places = {
        "x": (1, 0), "q": (0, 1), "k": (1, 1), "v": (2, 1), "scores": (slice(0, 2), 2),
        "weights": (slice(0, 2), 3), "out": (1, 4),
    }  # fmt: skip
    axes = {name: figure.add_subplot(grid[place]) for name, place in places.items()}
    _matrix(axes["x"], array(x), f"x [T, C = {x.shape[1]}]")
    for name, value, means in (("q", q, "is looking for"), ("k", k, "has"), ("v", v, "passes on")):
        _matrix(axes[name], array(value), f"{name}: what it {means}")
    _matrix(axes["scores"], array(scores), f"scores = q @ kᵀ / √{hs}", aspect="equal")
    _matrix(axes["weights"], array(weights), "softmax: weights", weights=True)
    _matrix(axes["out"], array(out), f"weights @ v [T, hs = {hs}]")
    if names:
        for name in ("x", "out"):
            axes[name].set_yticks(range(len(names)), names, fontsize=9)
            axes[name].tick_params(axis="y", length=0)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for start, end in (("x", "q"), ("x", "k"), ("x", "v"), ("q", "scores"), ("k", "scores"), ("scores", "weights"),
                       ("weights", "out"), ("v", "out")):  # fmt: skip
        _join(figure, axes[start], axes[end])
    key = "purple: above 0    orange: below 0    blue: weight, darker is more"
    figure.text(0.995, 0.02, key, ha="right", va="bottom", fontsize=10, color=GREY)
    mask = " with what the mask removes left white" if keep_mask is not None else ""
    T = len(x)
    return finish(
        figure,
        f"One head of attention: x {list(x.shape)} gives q, k and v, each {list(q.shape)}; scores q @ kᵀ / √{hs} "
        f"[{T}, {T}]{mask}; softmax makes each row of weights add up to 1; weights @ v {list(out.shape)}.",
    )


def _join(figure: Picture, start: Any, end: Any) -> None:
    """An arrow from the right side of one matrix to the left side of another."""
    a, b = start.get_position(), end.get_position()
    names = [label.get_window_extent() for label in end.get_yticklabels() if label.get_text()]
    left = b.x0 if not names else figure.transFigure.inverted().transform((min(box.x0 for box in names), 0))[0]
    y0, y1 = (a.y0 + a.y1) / 2, (b.y0 + b.y1) / 2
    look = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.1, "mutation_scale": 9, "alpha": 0.75}
    path = FancyArrowPatch((a.x1 + 0.004, y0), (left - 0.004, y1), transform=figure.transFigure, **look)
    figure.add_artist(path)


@styled
def heads_in_channels(
    T: int, C: int, H: int, *, cut: Literal["channels", "memory"] = "channels", positions: bool = False, title: str = ""
) -> Picture:
    """How the channels are cut into heads: neighbouring channels of one colour are one head, for every position.

    Args:
        T: positions.
        C: channels.
        H: heads; they divide the channels.
        cut: "channels" is `split_heads`; "memory" is the well-known mistake, a bare `view(B, H, T, hs)`, which gives
            each head the next T · hs numbers in the order of memory.
        positions: whether each cell says the position that it comes from.
        title: over the picture.

    Raises:
        ValueError: for heads that do not divide the channels, more cells than can be seen, or another cut.

    >>> from gptlab import pictures
    >>> print(pictures.describe(pictures.heads_in_channels(T=5, C=12, H=3)))
    x [5, 12] cut into 3 heads of 4 channels: head 0 has channels 0 to 3, head 1 has 4 to 7, head 2 has 8 to 11.
    """
    if T < 1 or H < 1 or C % H:
        raise ValueError(f"C = {C} channels cannot be cut into H = {H} heads of equal size: choose a divisor of {C}")
    if T > 2 * MOST_TOKENS or C > MOST_CELLS:
        raise ValueError(f"[{T}, {C}] is more than the [{2 * MOST_TOKENS}, {MOST_CELLS}] cells that can be seen")
    if cut not in ("channels", "memory"):
        raise ValueError(f"cut={cut!r}: choose 'channels' or 'memory'")
    hs = C // H
    figure, axes = canvas(9.0, 3.0)
    gap, right = 2.0, C + 3.0
    number = np.arange(T * C)  # of each cell of x, in the order of memory
    if cut == "memory":
        owner = number // (T * hs)
        row, column = number % (T * hs) // hs, number % hs
    else:
        owner = number % C // hs
        row, column = number // C, number % hs

    def cell(left: int | float, line: int, colour: str, position: int) -> None:
        look = {"facecolor": colour, "alpha": 0.75, "edgecolor": "white", "linewidth": 1}
        axes.add_patch(Rectangle((left, -line - 1), 1, 1, **look))
        if positions:
            ground = to_hex([0.25 + 0.75 * part for part in to_rgb(colour)])  # as it looks on white
            centred = {"ha": "center", "va": "center_baseline", "fontsize": 10, "color": ink_on(ground)}
            axes.text(left + 0.5, -line - 0.5, f"{position}", **centred)

    for n, head in enumerate(owner.tolist()):
        t, colour = n // C, SERIES[head % len(SERIES)]
        cell(n % C, t, colour, t)
        cell(right + head * (hs + gap) + int(column[n]), int(row[n]), colour, t)
    said = []
    for head in range(H):
        own = (number if cut == "memory" else number % C)[owner == head]
        below = f"{own.min()} – {own.max()}" if len(set(own.tolist())) > 1 else f"{own.min()}"
        at = right + head * (hs + gap) + hs / 2
        axes.text(at, 0.35, f"head {head}", ha="center", va="bottom", fontsize=10)
        axes.text(at, -T - 0.35, below, ha="center", va="top", fontsize=10)
        what = "" if head else "the numbers " if cut == "memory" else "channels "
        said.append(f"head {head} has {what}{own.min()} to {own.max()}")
        if cut == "memory":
            first, last = int(own.min()) // C, int(own.max()) // C
            said[-1] += f", from positions {first} to {last}" if last > first else f", from position {first}"
    axes.text(C / 2, 0.35, f"x  [T = {T}, C = {C}]", ha="center", va="bottom", fontsize=11, weight="bold")
    below = f"numbers 0 – {T * C - 1}, row by row" if cut == "memory" else f"channels 0 – {C - 1}"
    axes.text(C / 2, -T - 0.35, below, ha="center", va="top", fontsize=10)
    axes.text(C + 1.5, -T / 2, "→", ha="center", va="center", fontsize=18)
    end = right + H * (hs + gap) - gap
    axes.set(xlim=(-0.3, end + 0.3), ylim=(-T - 1.6, 1.5), aspect="equal")
    axes.axis("off")
    if title:
        axes.set_title(title)
    figure.set_size_inches(9.0, max(1.6, 9.0 * (T + 3.1) / (end + 0.6)) + (0.3 if title else 0.0))
    so = f"{title}: " if title else ""
    return finish(figure, f"{so}x [{T}, {C}] cut into {H} heads of {hs} channels: {', '.join(said)}.")


@styled
def cache_growth(prompt: int, new: int) -> Picture:
    """What a forward pass computes and what it finds in the KV cache: the prompt at once, then one token a pass.

    Args:
        prompt: tokens in the prompt (prefill).
        new: tokens generated after it, one in each pass (decode).

    Raises:
        ValueError: for no prompt, or more than 24 tokens.

    >>> from gptlab import pictures
    >>> print(pictures.describe(pictures.cache_growth(prompt=4, new=3)))
    The KV cache over 4 forward passes: the first computes keys and values of 4 tokens, each later one of 1 token, and
    finds 4, 5, 6 in the cache. Without a cache they would compute 22 in all, with it 7.
    """
    if prompt < 1 or new < 0 or prompt + new > MOST_STEPS:
        raise ValueError(f"a prompt of {prompt} and {new} new tokens: give at least 1, and at most {MOST_STEPS} in all")
    figure, axes = canvas(9.0, 0.34 * (new + 1) + 1.1)
    for step in range(new + 1):
        held = 0 if step == 0 else prompt + step - 1
        for position in range(prompt + step):
            fresh = position >= held
            look = {"facecolor": BLUE if fresh else SKY, "alpha": 1.0 if fresh else 0.45, "edgecolor": "white"}
            axes.add_patch(Rectangle((position, -step - 1), 1, 1, linewidth=1.2, **look))
            if fresh:
                axes.text(position + 0.5, -step - 0.5, "✓", ha="center", va="center", color="white", fontsize=10)
        called = f"prefill: {prompt} at once" if step == 0 else f"decode: 1 new, {held} found"
        axes.text(prompt + new + 0.4, -step - 0.5, called, ha="left", va="center", fontsize=10)
    axes.add_patch(Rectangle((0, -new - 1), prompt + new, new + 1, fill=False, edgecolor=PALE, linewidth=1))
    axes.text(0, 0.25, "keys and values by position:  ✓ computed in this pass,  light: found in the cache", fontsize=10)
    axes.set(xlim=(-0.2, (prompt + new) * 1.0 + 8), ylim=(-new - 1.2, 0.8))
    axes.axis("off")
    found = ", ".join(str(prompt + i) for i in range(new))
    without = sum(prompt + i for i in range(new + 1))
    later = f", each later one of 1 token, and finds {found} in the cache" if new else ""
    return finish(
        figure,
        f"The KV cache over {new + 1} forward passes: the first computes keys and values of {prompt} tokens{later}. "
        f"Without a cache they would compute {without} in all, with it {prompt + new}.",
    )
