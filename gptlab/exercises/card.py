"""Cards: what the reader sees. Text in a terminal and for a test, HTML with inline styles in a notebook.

A sign and a word always say the same as a colour does, and a screen reader meets only text. No script, no style sheet,
nothing loaded: a card looks the same in a notebook that is not trusted yet.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field

_WIDTH = 100
_INK = "color:#111111"
_MONO = "font-family:'DejaVu Sans Mono',Consolas,Menlo,monospace;font-size:13px"
_EDGES = {"good": "#009E73", "bad": "#D55E00", "plain": "#767676"}
_SIGNS = {"good": "✓", "bad": "✗", "plain": "○"}


def _marked(text: str) -> str:
    """Escaped text, in which what stands between backticks is set as code."""
    from gptlab.pictures.html import escape

    parts = [escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:  # a backtick without a partner is a backtick
        return escape(text)
    return "".join(f'<code style="{_MONO}">{part}</code>' if i % 2 else part for i, part in enumerate(parts))


@dataclass(repr=False)
class Card:
    """One answer of the engine to the reader.

    Attributes:
        head: one line that says it all (in advice, `x` is code).  mood: "good", "bad" or "plain".
        checks: (holds, statement).  facts: (name, value); the value is code unless `prose`.
        advice: (bold part, text).  code: (title, source), side by side.  foot: what to do next.
    """

    head: str
    mood: str = "plain"
    checks: Sequence[tuple[bool, str]] = ()
    facts: Sequence[tuple[str, str]] = ()
    advice: Sequence[tuple[str, str]] = ()
    code: Sequence[tuple[str, str]] = ()
    foot: str = ""
    prose: bool = False
    notices: Sequence[str] = field(default=())

    def __repr__(self) -> str:
        lines = [self.head if self.mood == "plain" else f"{_SIGNS[self.mood]} {self.head}"]
        lines += [f"  {'✓ yes' if holds else '✗ no '} {statement}" for holds, statement in self.checks]
        width = max((len(name) for name, _ in self.facts), default=0)
        lines += [f"  {name.ljust(width)}  {value}" for name, value in self.facts]
        for bold, text in self.advice:
            said = f"{bold} {text}".strip()
            lines += textwrap.wrap(said, _WIDTH, initial_indent="  ", subsequent_indent="  ")
        for title, source in self.code:
            lines += [f"  --- {title}", *(f"  {line}".rstrip() for line in source.rstrip().splitlines())]
        lines += textwrap.wrap(self.foot, _WIDTH, initial_indent="  ", subsequent_indent="  ")
        return "\n".join([*lines, *(f"  note: {notice}" for notice in self.notices)])

    def _repr_html_(self) -> str:
        from gptlab.pictures.html import escape

        sign = "" if self.mood == "plain" else f"{_SIGNS[self.mood]} "
        parts = [f'<div style="font-weight:bold">{escape(sign + self.head)}</div>']
        for holds, statement in self.checks:
            parts.append(f"<div>{'✓ yes:' if holds else '✗ no:'} {escape(statement)}</div>")
        rows = "".join(
            f'<tr style="background-color:#ffffff"><th scope="row" style="text-align:left;padding:2px 12px 2px 0px;'
            f'{_INK};vertical-align:top;font-size:14px;font-weight:bold">{escape(name)}</th><td style="text-align:left;'
            f"padding:2px 0px;{_INK};{'font-size:14px' if self.prose else _MONO};"
            f'white-space:pre-wrap">{escape(value)}</td></tr>'
            for name, value in self.facts
        )
        if rows:
            parts.append(f'<table style="border-collapse:collapse;margin:4px 0px"><tbody>{rows}</tbody></table>')
        for bold, text in self.advice:
            parts.append(f'<div style="margin:4px 0px"><b>{_marked(bold)}</b> {_marked(text)}</div>')
        if self.code:
            parts.append(self._code())
        if self.foot:
            parts.append(f'<div style="color:#444444">{escape(self.foot)}</div>')
        parts += [f'<div style="color:#444444">note: {escape(notice)}</div>' for notice in self.notices]
        return (
            f'<div role="group" aria-label="{escape(self.head)}" style="border-left:5px solid {_EDGES[self.mood]};'
            f"background-color:#ffffff;{_INK};padding:6px 12px;margin:4px 0px;font-size:14px;line-height:1.5;"
            f'max-width:1000px">{"".join(parts)}</div>'
        )

    def _code(self) -> str:
        from gptlab.pictures.html import escape

        share = 100 // len(self.code)
        cells = "".join(
            f'<td style="vertical-align:top;text-align:left;font-size:14px;width:{share}%;'
            f'padding:4px 8px 4px 0px;{_INK}">'
            f"<b>{escape(title)}</b>"
            f'<pre style="{_MONO};{_INK};background-color:#F3F7FA;padding:6px;margin:2px 0px;white-space:pre-wrap;'
            f'text-align:left">{escape(source.rstrip())}</pre></td>'
            for title, source in self.code
        )
        row = f'<tr style="background-color:#ffffff">{cells}</tr>'
        return f'<table style="width:100%;border-collapse:collapse"><tbody>{row}</tbody></table>'
