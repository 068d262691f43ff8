"""How a vocabulary is learned and used: BPE's merges one by one, and the lattice of a Unigram model."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from matplotlib.patches import FancyBboxPatch

from gptlab.html import (
    BLACK,
    BLUE,
    BOX,
    CHIP,
    GREY,
    HERE,
    INK,
    ROW,
    SILVER,
    WHITE,
    Html,
    element,
    escape,
    row,
    span,
    table,
)  # fmt: skip
from gptlab.pictures.style import Number, Picture, canvas, drawable, finish, styled, visible

LONGEST = 40  # characters in a lattice


def merge_states(text: str, merges: Iterable) -> list[tuple[list[bytes], tuple[bytes, bytes] | None, int | None]]:
    """What `merges` needs, from a text and the merges of `gptlab.bpe.train_textbook` (or `train_fast`).

    Args:
        text: to be merged step by step.
        merges: each with `pair`, `new_id` and `count`.

    >>> from gptlab.bpe import train_textbook
    >>> [len(tokens) for tokens, pair, count in merge_states("aaabdaaabac", train_textbook(["aaabdaaabac"], 3))]
    [11, 9, 7, 5]
    """
    from gptlab.bpe import merge

    known = {i: bytes([i]) for i in range(256)}
    ids = list(text.encode("utf-8"))
    states: list = [([known[i] for i in ids], None, None)]
    for step in merges:
        known[step.new_id] = known[step.pair[0]] + known[step.pair[1]]
        ids = merge(ids, tuple(step.pair), step.new_id)
        states.append(([known[i] for i in ids], (known[step.pair[0]], known[step.pair[1]]), step.count))
    return states


def merges(steps: Sequence[Sequence], limit: int = 60) -> Html:
    """Byte-pair encoding step by step: a row per merge, with the pair that was joined and the text after it.

    Args:
        steps: for each row `(tokens, pair)` or `(tokens, pair, count)`; the pair of the first row is None. The tokens
            are strings or bytes. `merge_states` makes them.
        limit: tokens shown in a row; the rest is counted.

    >>> merges([(["a", "b", "a", "b"], None), (["ab", "ab"], ("a", "b"))])
    0: a|b|a|b  (4 tokens)
    1: a + b → ab: ab|ab  (2 tokens)
    """
    rows, plain = [], []
    cell = f"padding:3px 8px;text-align:left;vertical-align:top;background-color:{WHITE};color:{BLACK};font-size:14px"
    for number, step in enumerate(steps):
        tokens, pair, count = [*step, None, None][:3]
        shown = [visible(token) for token in tokens]
        new = None if pair is None else visible(pair[0]) + visible(pair[1])
        if pair is not None and isinstance(pair[0], bytes):
            new = visible(pair[0] + pair[1])
        title = "" if pair is None else f"{visible(pair[0])} + {visible(pair[1])} → {new}"
        often = "" if count is None else f"{count} ×"
        chip = "display:inline-block;margin:1px;padding:1px 2px;background-color:"
        looks = (chip + (f"{HERE};font-weight:bold" if token == new else BOX) for token in shown[:limit])
        chips = "".join(map(span, shown[:limit], looks))
        chips += f" … {len(shown) - limit:,} more" if len(shown) > limit else ""
        rows.append(
            row([
                element("td", str(number), cell),
                element("td", span(title or "the bytes", CHIP), f"{cell};white-space:nowrap"),
                element("td", often, f"{cell};text-align:right;white-space:nowrap"),
                element("td", chips, f"{cell};{ROW}"),
                element("td", f"{len(shown):,}", f"{cell};text-align:right"),
            ])
        )  # fmt: skip
        more = f"|… {len(shown) - limit:,} more" if len(shown) > limit else ""
        plain.append(
            f"{number}: {title + ': ' if title else ''}{'|'.join(shown[:limit])}{more}"
            f"  ({len(shown):,} token{'' if len(shown) == 1 else 's'})"
        )
    names = ("step", "joined pair", "found", "the text now", "tokens")
    head = row(element("th", escape(name), f"{cell};border-bottom:1px solid {GREY}") for name in names)
    return Html(table(rows, [head]), "\n".join(plain))


@styled
def merge_tree(chunk: str | bytes, ranks: Mapping[bytes, int]) -> Picture:
    """How byte-pair encoding builds the tokens of a word: its bytes below, and a node for each merge.

    A node is as high as its step, so the order in which the pairs were merged reads from the bottom to the top. What
    has nothing above it is a token of the result, and is dark.

    Args:
        chunk: at most 40 bytes.
        ranks: the bytes of each token and its rank.

    Raises:
        ValueError: for a chunk that is empty or has more than 40 bytes.

    >>> from gptlab import pictures
    >>> print(pictures.describe(merge_tree("hat", {b"h": 0, b"a": 1, b"t": 2, b"at": 3, b"hat": 4})))
    A tree of 2 merges over 'hat': a + t (rank 3), h + at (rank 4). Tokens: hat.
    """
    data = chunk.encode("utf-8") if isinstance(chunk, str) else bytes(chunk)
    if not 0 < len(data) <= LONGEST:
        raise ValueError(f"a tree over {len(data)} bytes cannot be read: give 1 to {LONGEST} bytes")
    parts = [(data[i : i + 1], i + 0.5, 0) for i in range(len(data))]  # each with its place
    nodes, edges, said = list(parts), [], []
    while True:
        joined = [(ranks.get(a[0] + b[0]), i) for i, (a, b) in enumerate(pairwise(parts))]
        possible = [(rank, i) for rank, i in joined if rank is not None]
        if not possible:
            break
        rank, i = min(possible)
        left, right = parts[i : i + 2]
        new = (left[0] + right[0], (left[1] + right[1]) / 2, len(said) + 1)
        edges += [(left, new), (right, new)]
        nodes.append(new)
        said.append(f"{drawable(left[0])} + {drawable(right[0])} (rank {rank:,})")
        parts[i : i + 2] = [new]
    figure, axes = canvas(min(9.0, max(4.5, 0.8 * len(data))), 0.55 * (len(said) + 1) + 0.8)
    for (_, x, y), (_, above, top) in edges:
        axes.plot([x, x, above], [y, top, top], color=GREY, linewidth=1.2, zorder=1)
    for node in nodes:
        token, x, y = node
        last = node in parts
        label = drawable(token) + (f"  {ranks[token]:,}" if y else "")
        look = {"boxstyle": "round,pad=0.3", "facecolor": BLUE if last else BOX, "edgecolor": BLUE if last else GREY}
        axes.text(
            x, y, label, ha="center", va="center", fontsize=11, family="DejaVu Sans Mono", bbox=look, zorder=2,
            color="white" if last else INK, weight="bold" if last else "normal",
        )  # fmt: skip
    axes.set(xlim=(0, len(data)), ylim=(-0.6, len(said) + 0.6), xticks=[], yticks=range(1, len(said) + 1))
    axes.set(ylabel="merge", xlabel="dark: a token of the result; number: rank")
    axes.spines[["left", "bottom"]].set_visible(False)
    tokens = " | ".join(drawable(token) for token, _, _ in parts)
    merged = ", ".join(said) or "none"
    return finish(figure, f"A tree of {len(said)} merges over {drawable(data)!r}: {merged}. Tokens: {tokens}.")


def _placed(text: str, pieces) -> list[tuple[int, int, float]]:
    """Each piece as (start, end, score), everywhere it occurs in the text."""
    if not isinstance(pieces, Mapping):
        pieces = list(pieces)
        if all(len(p) == 3 for p in pieces):
            return [(int(start), int(end), float(score)) for start, end, score in pieces]
        pieces = dict(pieces)
    return [
        (start, start + len(piece), float(score))
        for piece, score in pieces.items()
        for start in range(len(text) - len(piece) + 1)
        if piece and text.startswith(piece, start)
    ]


def _path(text: str, best_path: Iterable) -> set[tuple[int, int]]:
    spans, at = set(), 0
    for part in best_path:
        start, end = (at, at + len(part)) if isinstance(part, str) else (int(part[0]), int(part[1]))
        if start != at or (isinstance(part, str) and text[start:end] != part):
            raise ValueError(f"the best path says {part!r} at character {at}, where the text has {text[at : at + 8]!r}")
        spans.add((start, end))
        at = end
    if at != len(text):
        raise ValueError(f"the best path ends at character {at} of {len(text)}: it must cover the text")
    return spans


@styled
def lattice(
    text: str, pieces_with_scores: Mapping[str, Number] | Iterable, best_path: Iterable | None = None
) -> Picture:
    """All segmentations of a text at once: every piece of the vocabulary over the characters it covers, with its score.

    A segmentation is a path from the left edge to the right one, piece after piece; its score is the sum (ln p, in
    nats). The best path is dark and bold.

    Args:
        text: at most 40 characters.
        pieces_with_scores: a dict from piece to score, or a list of (start, end, score).
        best_path: the pieces of the best path, in order, or their (start, end).

    Raises:
        ValueError: for a text longer than 40 characters, or a path that does not spell the text.
    """
    if not 0 < len(text) <= LONGEST:
        raise ValueError(f"a lattice of {len(text)} characters cannot be read: give a text of 1 to {LONGEST}")
    placed = sorted(_placed(text, pieces_with_scores), key=lambda p: (p[1] - p[0], p[0]))
    best = _path(text, best_path) if best_path is not None else set()
    lanes: list[list[tuple[int, int]]] = []
    where = {}
    for start, end, _ in placed:  # short pieces near the text; the next free lane otherwise
        free = (i for i, lane in enumerate(lanes) if all(end <= s or e <= start for s, e in lane))
        lane = next(free, len(lanes))
        if lane == len(lanes):
            lanes.append([])
        lanes[lane].append((start, end))
        where[start, end] = lane
    width = min(9.0, max(4.5, 0.62 * len(text) + 0.6))
    figure, axes = canvas(width, 0.52 * (len(lanes) + 1) + 0.75)
    for x in range(len(text) + 1):
        axes.axvline(x, color=SILVER, linewidth=0.8, linestyle=":", zorder=0)
    for x, character in enumerate(text):
        axes.text(x + 0.5, -0.75, drawable(character), family="DejaVu Sans Mono", fontsize=13, ha="center", va="center")
    points = width / (len(text) + 0.3) * 72  # per character
    for start, end, score in placed:
        chosen, y = (start, end) in best, where[start, end]
        box = FancyBboxPatch(
            (start + 0.06, y - 0.36), end - start - 0.12, 0.72, boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=BLUE if chosen else BOX,
            edgecolor=BLUE if chosen else GREY, linewidth=1.5 if chosen else 0.8,
        )  # fmt: skip
        axes.add_patch(box)
        number = f"{score:.1f}".replace("-", "−")
        label = f"{drawable(text[start:end])}  {number}" if end - start > 1 and points * (end - start) > 75 else number
        axes.text(
            (start + end) / 2, y, label, ha="center", va="center", fontsize=10, color="white" if chosen else INK,
            weight="bold" if chosen else "normal",
        )  # fmt: skip
    axes.set(xlim=(-0.1, len(text) + 0.1), ylim=(-1.2, len(lanes) - 0.4), yticks=[])
    axes.set_xticks(range(len(text) + 1))
    axes.set_xlabel("where a piece may begin or end (characters); number: score, ln p in nats")
    axes.spines[["left", "bottom"]].set_visible(False)
    ways = [1] + [0] * len(text)
    for end in range(1, len(text) + 1):
        ways[end] = sum(ways[s] for s, e, _ in placed if e == end)
    alt = f"A lattice of {len(placed)} pieces over {drawable(text)!r}: {ways[-1]:,} ways to cut it."
    if best:
        total = sum(score for s, e, score in placed if (s, e) in best)
        axes.set_title(f"{ways[-1]:,} ways to cut it; dark: the best, ln p = {total:.1f} nats".replace("-", "−"))
        alt += f" The best is {' | '.join(drawable(text[s:e]) for s, e in sorted(best))}, ln p = {total:.1f} nats."
    return finish(figure, alt)
