"""Cards: what the reader sees. Text in a terminal and for a test, HTML with inline styles in a notebook.

A sign and a word always say the same as a colour does, and a screen reader meets only text. No script, no style sheet,
nothing loaded: a card looks the same in a notebook that is not trusted yet.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from gptlab.html import BLACK, GREEN, GREY, MONO, RED, SLATE, STRIPE, TABLE, WHITE, element, escape, row, table

_WIDTH = 100
_INK = f"color:{BLACK}"
_CODE = f"{MONO};font-size:13px"
_EDGES = {"good": GREEN, "bad": RED, "plain": GREY}
_SIGNS = {"good": "✓", "bad": "✗", "plain": "○"}


def _marked(text: str) -> str:
    """Escaped text, in which what is between backticks is set as code."""
    parts = [escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:  # a backtick without a partner is a backtick
        return escape(text)
    return "".join(element("code", part, _CODE) if i % 2 else part for i, part in enumerate(parts))


@dataclass(repr=False)
class Card:
    """One answer of the engine to the reader.

    Attributes:
        head: one line that says it all.
        mood: "good", "bad" or "plain".
        checks: (holds, statement) of each property that was checked.
        facts: (name, value); the value is code unless `prose`.
        advice: (bold part, text); in both, `x` is code.
        code: (title, source), side by side.
        foot: what to do next.
        prose: whether the values of the facts are text.
        notices: what the reader should know besides, such as progress that cannot be written.

    >>> Card("bpe.1 Count pairs: passed", "good", checks=[(True, "counts every pair")])
    ✓ bpe.1 Count pairs: passed
      ✓ yes counts every pair
    """

    head: str
    mood: str = "plain"
    checks: Sequence[tuple[bool, str]] = ()
    facts: Sequence[tuple[str, str]] = ()
    advice: Sequence[tuple[str, str]] = ()
    code: Sequence[tuple[str, str]] = ()
    foot: str = ""
    prose: bool = False
    notices: Sequence[str] = ()

    def __repr__(self) -> str:
        lines = [self.head if self.mood == "plain" else f"{_SIGNS[self.mood]} {self.head}"]
        lines += [f"  {'✓ yes' if holds else '✗ no '} {statement}" for holds, statement in self.checks]
        width = max((len(name) for name, _ in self.facts), default=0)
        lines += [f"  {name.ljust(width)}  {value}" for name, value in self.facts]
        for bold, text in self.advice:
            sentence = f"{bold} {text}".strip()
            lines += textwrap.wrap(sentence, _WIDTH, initial_indent="  ", subsequent_indent="  ")
        for title, source in self.code:
            lines += [f"  --- {title}", *(f"  {line}".rstrip() for line in source.rstrip().splitlines())]
        lines += textwrap.wrap(self.foot, _WIDTH, initial_indent="  ", subsequent_indent="  ")
        return "\n".join([*lines, *(f"  note: {notice}" for notice in self.notices)])

    def _repr_html_(self) -> str:
        sign = "" if self.mood == "plain" else f"{_SIGNS[self.mood]} "
        parts = [element("div", escape(sign + self.head), "font-weight:bold")]
        for holds, statement in self.checks:
            parts.append(element("div", f"{'✓ yes:' if holds else '✗ no:'} {escape(statement)}"))
        if self.facts:
            parts.append(self._facts())
        for bold, text in self.advice:
            parts.append(element("div", f"<b>{_marked(bold)}</b> {_marked(text)}", "margin:4px 0px"))
        if self.code:
            parts.append(self._code())
        small = [self.foot] * bool(self.foot) + [f"note: {notice}" for notice in self.notices]
        parts += [element("div", escape(text), f"color:{SLATE}") for text in small]
        style = (
            f"border-left:5px solid {_EDGES[self.mood]};background-color:{WHITE};{_INK};padding:6px 12px;"
            "margin:4px 0px;font-size:14px;line-height:1.5;max-width:1000px"
        )
        return element("div", "".join(parts), style, role="group", aria_label=self.head)

    def _facts(self) -> str:
        name_style = f"text-align:left;padding:2px 12px 2px 0px;{_INK};vertical-align:top;font-size:14px"
        look = "font-size:14px" if self.prose else _CODE
        style = f"text-align:left;padding:2px 0px;{_INK};{look};white-space:pre-wrap"
        return table(
            row([
                element("th", escape(name), f"{name_style};font-weight:bold", scope="row"),
                element("td", escape(value), style),
            ])
            for name, value in self.facts
        )  # fmt: skip

    def _code(self) -> str:
        style = f"vertical-align:top;text-align:left;font-size:14px;width:{100 // len(self.code)}%;{_INK}"
        look = f"{_CODE};{_INK};background-color:{STRIPE};padding:6px;margin:2px 0px;white-space:pre-wrap"
        cells = (
            element(
                "td",
                f"<b>{escape(title)}</b>" + element("pre", escape(source.rstrip()), f"{look};text-align:left"),
                f"{style};padding:4px 8px 4px 0px",
            )
            for title, source in self.code
        )
        return table([row(cells)], style=f"width:100%;{TABLE}")
