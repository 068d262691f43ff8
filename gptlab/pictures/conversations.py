"""A conversation as a row of chips, coloured by what each token is to the loss."""

from collections.abc import Iterable

from gptlab.html import CHIP, CHIPS, PALE, ROW, SLATE, WHITE, Html, element, escape, span
from gptlab.pictures import adapter

# What a token can be, with its ground: the answer stands out, what the loss leaves out is pale.
GROUNDS = {"prompt": WHITE, "mark": CHIPS[0], "answer": CHIPS[1], "end": CHIPS[2], "padding": PALE}


def conversation(ids: Iterable[int], targets: Iterable[int], tokenizer, end: int, ignore: int = -100) -> Html:
    """Which tokens of a padded row the loss counts: each token with the target that the position before it had.

    Args:
        ids: of one row of a batch.
        targets: of the same row.
        tokenizer: whose ids these are.
        end: the token that ends a message, which also pads the row.
        ignore: the target that doesn't count.

    Raises:
        ValueError: if there are not as many targets as ids.

    >>> from gptlab.tokens import CharTokenizer
    >>> conversation([0, 1, 2, 2], [-100, 2, -100, -100], CharTokenizer.from_text("abc"), end=2)
    a b c* · ·  (1 of 5 places counts)
    """
    ids, targets = list(map(int, ids)), list(map(int, targets))
    if len(ids) != len(targets):
        raise ValueError(f"{len(ids)} ids and {len(targets)} targets: give the targets of the same row")
    last = max((t + 1 for t, target in enumerate(targets) if target != ignore), default=len(ids))
    special = set(getattr(tokenizer, "special_tokens", {}).values())
    row = [(ids[0], ignore), *zip([*ids[1:], end], targets, strict=True)]  # a token, and the target that names it
    chips, plain, counted = [], [], 0
    for place, (id, target) in enumerate(row):
        counts = target != ignore
        id = target if counts else id  # the last target of a full row is no input
        kind = _kind(place > last, counts, id, end, special)
        shown = adapter.piece(tokenizer, id).shown
        words = f"{kind}, target {target}" if place else f"{kind}, no position before it"
        under = "<br>" + element("small", str(target) if place else "–", f"font-size:11px;color:{SLATE}")
        style = f"display:inline-block;text-align:center;margin:1px;padding:1px 2px;background-color:{GROUNDS[kind]}"
        chips.append(element("span", (escape(shown) or "&nbsp;") + under, style, title=words))
        plain.append("·" if kind == "padding" else shown.replace("␣", " ") + "*" * counts)
        counted += counts
    key = " ".join(span(name, f"{CHIP};padding:1px 6px;background-color:{GROUNDS[name]}") for name in GROUNDS)
    total = f"{counted} of {len(row)} places {'counts' if counted == 1 else 'count'}"
    legend = element(
        "div", f"{key} &nbsp; below each token: its target &nbsp; {total}", "font-size:13px;margin-top:8px"
    )
    body = element("div", "".join(chips), f"{ROW};background-color:{WHITE};padding:6px")
    return Html(f"<div>{body}{legend}</div>", f"{' '.join(plain)}  ({total})")


def _kind(is_padding: bool, counts: bool, id: int, end: int, special: set[int]) -> str:
    if is_padding:
        return "padding"
    if counts:
        return "end" if id == end else "answer"
    return "mark" if id in special else "prompt"
