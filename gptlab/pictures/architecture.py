"""A whole GPT as a picture, drawn from its configuration: every part with its shape and its parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from gptlab.config import GPTConfig
from gptlab.html import BOX, BOX_EDGE, CHIPS, FRONT, HERE, INK, PALE, STRIPE
from gptlab.pictures.style import SERIES, Picture, canvas, finish, styled

WIDE, HIGH, STEP = 4.1, 0.62, 0.95  # a box, and from one row to the next
ACROSS = 6.0  # from one model to the next
MOST_HEADS = 64


def _shapes_of(config: GPTConfig) -> Any:
    """The model without its numbers. PyTorch is loaded here: most pictures need none of it."""
    import torch

    from gptlab.model import GPT

    with torch.device("meta"):
        return GPT(config)


def _count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def short(n: int) -> str:
    """A number of parameters as one says it.

    >>> short(124_439_808), short(8_030_261_248), short(768), short(49_152)
    ('124M', '8.03B', '768', '49.2k')
    """
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if n >= size:
            return f"{n / size:.3g}{letter}"
    return str(n)


@dataclass(frozen=True)
class _Part:
    """One box: what it is called, its shape, how many parameters it has, and of what kind it is."""

    text: str
    shape: str
    parameters: int
    kind: str

    @property
    def small(self) -> str:
        counted = f"{short(self.parameters)} parameters" if self.parameters else "no parameters of its own"
        return f"{self.shape} · {counted}" if self.shape else counted


ADD = _Part("+", "", 0, "add")


def _attention(config: GPTConfig, parameters: int) -> _Part:
    shared = config.n_kv_head or config.n_head
    heads = f"{config.n_head} heads" if config.n_head > 1 else "1 head"
    heads += f", {shared} for k and v" if shared != config.n_head else ""
    extras = [", RoPE"] if config.position == "rope" else []
    extras += [", q and k normed"] if config.qk_norm else []
    return _Part("".join(["attention", *extras]), heads, parameters, "mix")


def _parts(config: GPTConfig) -> tuple[list[_Part], list[_Part], list[_Part]]:
    """From the bottom up: before the blocks, in each of them, and after."""
    model = _shapes_of(config)
    block, C, V = model.blocks[0], config.n_embd, config.vocab_size
    tokens = _count(model.embedding.token)
    before = [_Part("token embedding", f"[V = {V:,}, C = {C:,}]", tokens, "table")]
    if config.position == "learned":
        added = _count(model.embedding) - tokens
        before.append(_Part("+ position embedding", f"[T = {config.context:,}, C]", added, "table"))
    elif config.position == "sinusoidal":
        before.append(_Part("+ sine waves of the position", "", 0, "table"))
    norm = {"layernorm": "LayerNorm", "rmsnorm": "RMSNorm"}[config.norm]
    hidden = block.mlp.up.out_features
    matrices = ": gate, up, down" if hasattr(block.mlp, "gate") else ""  # the shape alone hides that there are three
    inside = [_Part(norm, "", _count(block.norm1), "norm")]
    if block.convolution is not None:
        text = f"convolution over {config.convolution} tokens"
        inside.append(_Part(text, "", _count(block.convolution), "mix"))
    inside += [
        _attention(config, _count(block.attention)),
        ADD,
        _Part(norm, "", _count(block.norm2), "norm"),
        _Part(f"MLP, {config.mlp}{matrices}", f"{C:,} → {hidden:,} → {C:,}", _count(block.mlp), "mlp"),
        ADD,
    ]
    head = _Part("head", f"[C = {C:,}, V = {V:,}]", _count(model.head), "table")
    if config.tie_weights:
        head = _Part("head: the token embedding again", "[C, V]", 0, "table")
    return before, inside, [_Part(norm, "", _count(model.norm), "norm"), head]


COLOURS = {"table": FRONT, "norm": "white", "mix": CHIPS[0], "mlp": HERE}


def _box(axes, x: float, y: float, part: _Part) -> None:
    shape = {"boxstyle": "round,pad=0.02,rounding_size=0.08", "edgecolor": BOX_EDGE, "zorder": 3}
    ground = FancyBboxPatch((x - WIDE / 2, y - HIGH / 2), WIDE, HIGH, facecolor=COLOURS[part.kind], **shape)
    axes.add_patch(ground)
    axes.text(x, y + 0.12, part.text, ha="center", va="center", fontsize=10, weight="bold", color=INK, zorder=4)
    axes.text(x, y - 0.15, part.small, ha="center", va="center", fontsize=9, color=INK, zorder=4)


def _arrow(axes, start: tuple[float, float], end: tuple[float, float], head: bool = True) -> None:
    look = {"arrowstyle": "-|>" if head else "-", "color": INK, "linewidth": 1.3, "mutation_scale": 10, "zorder": 2}
    axes.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, **look))


def _model(axes, left: float, config: GPTConfig, name: str) -> float:
    """One model, drawn upwards from y = 0; gives how high it is."""
    before, inside, after = _parts(config)
    stream, x = left + 0.35, left + 0.95 + WIDE / 2  # the residual stream runs beside the boxes
    y = 0.0
    axes.text(stream, y, "ids  [B, T]", ha="left", va="center", fontsize=10, weight="bold", color=INK)
    bottom = y + 0.2
    for part in before:
        y += STEP * 0.85
        _box(axes, x, y, part)
        _arrow(axes, (x - WIDE / 2, y), (stream, y))
    axes.text(stream + 0.1, y + 0.58, "x  [B, T, C]", fontsize=10, weight="bold", color=INK, va="center")
    low = y + 0.88
    y = low - 0.35
    entered = 0.0
    for part in inside:
        if part is ADD:
            axes.text(stream, y, "+", ha="center", va="center", fontsize=13, weight="bold", zorder=6, color=INK)
            axes.plot([stream], [y], marker="o", markersize=13, color="white", markeredgecolor=INK, zorder=5)
            _arrow(axes, (x - WIDE / 2, y), (stream + 0.17, y))
            entered = 0.0
            continue
        y += STEP * 0.8 + (0.0 if entered else 0.25)
        if not entered:
            entered = y - HIGH / 2 - 0.2
            _arrow(axes, (stream, entered), (x, entered), head=False)
            _arrow(axes, (x, entered), (x, y - HIGH / 2))
        else:
            _arrow(axes, (x, y - STEP * 0.8 + HIGH / 2), (x, y - HIGH / 2))
        _box(axes, x, y, part)
    high = y + HIGH / 2 + 0.2
    frame = {"facecolor": STRIPE, "edgecolor": PALE, "zorder": 0}
    axes.add_patch(Rectangle((left, low - 0.05), WIDE + 1.7, high - low + 0.05, **frame))
    axes.text(
        left + WIDE + 1.38,
        (low + high) / 2,
        f"× {config.n_layer}",
        fontsize=13,
        weight="bold",
        ha="center",
        va="center",
    )
    y = high - 0.1
    for part in after:
        y += STEP * 0.85
        _box(axes, x, y, part)
    _arrow(axes, (stream, bottom), (stream, high + STEP * 0.85 - 0.1), head=False)
    _arrow(axes, (stream, high + STEP * 0.85 - 0.1), (x - WIDE / 2, high + STEP * 0.85 - 0.1))
    _arrow(axes, (x, y - STEP * 0.85 + HIGH / 2), (x, y - HIGH / 2))
    _arrow(axes, (x, y + HIGH / 2), (x, y + HIGH / 2 + 0.3))
    y += HIGH / 2 + 0.5
    axes.text(x, y, f"logits  [B, T, V = {config.vocab_size:,}]", ha="center", fontsize=10, weight="bold", va="center")
    total = _shapes_of(config).count_parameters()
    axes.text(left, y + 0.55, f"{name}{': ' if name else ''}{short(total)} parameters", fontsize=12, weight="bold")
    return y + 0.9


def _in_words(config: GPTConfig, name: str) -> str:
    before, inside, after = ("; ".join(f"{p.text}, {p.small}" for p in g if p is not ADD) for g in _parts(config))
    return f"{name or 'A GPT'}: {before}; {config.n_layer} blocks of {inside}; {after}."


@styled
def architecture(*models: Any, names: Sequence[str] = ()) -> Picture:
    """Each part of a GPT as a box with its parameters, along the residual stream; several models side by side.

    The boxes inside the grey frame are one block, which is repeated. What a block computes is added to the stream.

    Args:
        models: one or two, each a `GPTConfig` or a model that has one as its `config`.
        names: what to call them.

    Raises:
        ValueError: for none or more than two, or a name too few.

    >>> from gptlab import pictures
    >>> from gptlab.config import GPTConfig
    >>> picture = pictures.architecture(GPTConfig.gpt2("124M"), names=["GPT-2"])
    >>> pictures.describe(picture)[:75]
    'GPT-2: token embedding, [V = 50,257, C = 768] · 38.6M parameters; + positio'
    """
    configs = [getattr(model, "config", model) for model in models]
    if not 1 <= len(configs) <= 2 or (names and len(names) != len(configs)):
        raise ValueError(f"{len(configs)} models and {len(names)} names: give one or two models, and a name for each")
    called = list(names) or [""] * len(configs)
    figure, axes = canvas(4.5 * len(configs), 8.2)
    tops = [_model(axes, ACROSS * i, config, called[i]) for i, config in enumerate(configs)]
    axes.set(xlim=(-0.1, ACROSS * len(configs) - 0.2), ylim=(-0.3, max(tops)), aspect="equal")
    axes.axis("off")
    width = min(9.0, 4.4 * len(configs))
    figure.set_size_inches(width, width * (max(tops) + 0.3) / (ACROSS * len(configs) - 0.1))
    return finish(figure, " ".join(_in_words(*pair) for pair in zip(configs, called, strict=True)))


@styled
def shared_heads(n_head: int, *n_kv_head: int) -> Picture:
    """Which query heads share one head of keys and values: a line for each query head.

    As many of each is multi-head attention (MHA), one for all is multi-query attention (MQA), and what lies between is
    grouped-query attention (GQA).

    Args:
        n_head: H, the number of query heads.
        n_kv_head: heads of keys and values; a picture beside the next for each number.

    Raises:
        ValueError: for numbers that do not divide H, or heads too many to draw.

    >>> from gptlab import pictures
    >>> print(pictures.describe(pictures.shared_heads(4, 4, 2, 1)))
    4 query heads over 4 heads of keys and values (MHA), over 2 (GQA, groups of 2), over 1 (MQA).
    """
    if not n_kv_head or any(not 1 <= n <= n_head or n_head % n for n in n_kv_head):
        raise ValueError(f"H = {n_head} heads cannot share {list(n_kv_head)} evenly: choose divisors of {n_head}")
    if n_head * len(n_kv_head) > MOST_HEADS:
        raise ValueError(f"{n_head} heads in {len(n_kv_head)} pictures are more than the {MOST_HEADS} that fit a page")
    figure, axes = canvas(9.0, 2.5)
    x, said = 0.0, []
    for shared in n_kv_head:
        group = n_head // shared
        kind = "MHA" if group == 1 else "MQA" if shared == 1 else "GQA"
        for head in range(n_head):
            colour = SERIES[(head // group) % len(SERIES)]
            middle = x + (head // group) * group + (group - 1) / 2
            axes.plot([x + head, middle], [1.0, 0.0], color=colour, linewidth=1.6, zorder=1)
            _small(axes, x + head, 1.0, "q", colour)
            _small(axes, middle, 0.0, "k v", colour)
        axes.text(x + (n_head - 1) / 2, 1.55, f"{kind}: {shared} of keys and values", ha="center", fontsize=11)
        said.append(f"over {shared}{' heads of keys and values' if not said else ''} ({kind}" + (
            f", groups of {group})" if kind == "GQA" else ")"
        ))  # fmt: skip
        x += n_head + 0.8
    axes.set(xlim=(-0.7, x - 1.1), ylim=(-0.45, 1.85))
    axes.axis("off")
    return finish(figure, f"{n_head} query heads {', '.join(said)}.")


def _small(axes, x: float, y: float, text: str, colour: str) -> None:
    box = {"boxstyle": "round,pad=0.3", "facecolor": BOX, "edgecolor": colour, "linewidth": 2.0}
    axes.text(x, y, text, ha="center", va="center", fontsize=10, color=INK, bbox=box, zorder=3)
