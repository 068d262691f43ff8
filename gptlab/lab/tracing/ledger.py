"""What a trace found: one step for each line that computed something, shown as text or as HTML."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gptlab.html import ALARM, INK, element, escape, row, table

_HEAD = ("step", "module", "line", "letters", "shape", "parameters", "bytes", "FLOPs")
_NUMBERS = (0, 5, 6, 7)  # the columns that are aligned to the right
_LINE, _CODE = 2, (2, 3, 4)


@dataclass
class Step:
    """One line of code, and the tensor that it made.

    Attributes:
        module: where in the model, e.g. "blocks.0.attention".
        expression: the line.
        shape: of its last result.
        letters: the shape in letters, e.g. "B T C"; a size without a letter stays a number.
        parameters: how many the line read.
        bytes: of memory it allocated; 0 for a view.
        flops: of its matrix products.
        times: how many layers in a row do the same, this one included.
        problem: how the result differs from what the comment says; None if it does not.
    """

    module: str
    expression: str
    shape: tuple[int, ...] = ()
    letters: str = ""
    parameters: int = 0
    bytes: int = 0
    flops: int = 0
    times: int = 1
    problem: str | None = None


@dataclass
class Ledger:
    """What `trace` found.

    Attributes:
        steps: in the order of the computation.
        output: what the model returned; None if it failed.
        parameters: how many the model has.
    """

    steps: list[Step] = field(default_factory=list)
    output: Any = None
    parameters: int = 0

    @property
    def flops(self) -> int:
        """FLOPs of all matrix products (two for each multiply-add); elementwise operations are not counted."""
        return sum(step.flops * step.times for step in self.steps)

    @property
    def bytes(self) -> int:
        """Bytes of all tensors that were made (not all alive at once)."""
        return sum(step.bytes * step.times for step in self.steps)

    @property
    def problem(self) -> str | None:
        """The first step whose shape differs from what was expected, and how."""
        return next((f"step {i}: {s.problem}" for i, s in enumerate(self.steps, 1) if s.problem), None)

    def rows(self) -> list[list[str]]:
        """The ledger as text, a list for each step."""
        written = []
        for i, step in enumerate(self.steps, 1):
            sizes = f"[{', '.join(map(str, step.shape))}]" if step.expression else ""
            letters = f"[{', '.join(step.letters.split())}]" if step.letters else ""
            where = step.module + (f"  (× {step.times})" if step.times > 1 else "")
            numbers = [f"{n:,}" if n else "" for n in (step.parameters, step.bytes, step.flops)]
            written.append([str(i), where, step.expression, letters, sizes, *numbers])
        return written

    def _total(self) -> list[str]:
        return ["", "", "in all", "", "", f"{self.parameters:,}", f"{self.bytes:,}", f"{self.flops:,}"]

    def __repr__(self) -> str:
        rows = [[*cells[:_LINE], shortened(cells[_LINE], 44), *cells[_LINE + 1 :]] for cells in self.rows()]
        total = self._total()
        widths = [max(map(len, column)) for column in zip(_HEAD, *rows, total, strict=True)]

        def line(cells: Iterable[str]) -> str:
            pads = (str.rjust if i in _NUMBERS else str.ljust for i in range(len(widths)))
            return "  ".join(pad(cell, width) for pad, cell, width in zip(pads, cells, widths, strict=True)).rstrip()

        rule = "  ".join("-" * width for width in widths)
        lines = [line(_HEAD), rule]
        for step, cells in zip(self.steps, rows, strict=True):
            lines.append(line(cells))
            if step.problem:
                lines.append(f"{'':>{widths[0]}}  ✗ {step.problem}")
        return "\n".join([*lines, rule, line(total)])

    def _repr_html_(self) -> str:
        body = []
        for step, cells in zip(self.steps, self.rows(), strict=True):
            ground = f"background-color:{ALARM};color:{INK}" if step.problem else ""
            body.append(_html_row(cells, "td", ground))
            if step.problem:
                complaint = element("td", f"✗ {escape(step.problem)}", "text-align:left", colspan=len(_HEAD) - 1)
                body.append(row([element("td"), complaint], ground))
        return table(body, [_html_row(_HEAD, "th")], [_html_row(self._total(), "th")], style="")


def _html_row(cells: Iterable[str], tag: str, style: str = "") -> str:
    written = []
    for i, cell in enumerate(cells):
        text = escape(shortened(cell, 60) if i == _LINE else cell)
        text = element("code", text, "font-size:12px") if i in _CODE and tag == "td" else text
        side = "right" if i in _NUMBERS else "left"
        written.append(element(tag, text, f"text-align:{side};padding:2px 6px;white-space:nowrap"))
    return row(written, style)


def shortened(text: str, length: int) -> str:
    """The text, or so much of it as fits.

    Args:
        text: a line of code.
        length: characters, the dots included.

    >>> shortened("x = self.up(x)", 8)
    'x = sel…'
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def folded(steps: list[Step]) -> list[Step]:
    """Write the layers of a list that do the same once, with how many they are: blocks.0 … blocks.11.

    >>> [(step.module, step.times) for step in folded([Step(f"blocks.{i}.mlp", "x + h") for i in range(3)])]
    [('blocks.0.mlp', 3)]
    """
    runs: list[tuple[Any, list[Step]]] = []  # the steps of one layer after another
    for step in steps:
        if runs and _layer(step) is not None and runs[-1][0] == _layer(step):
            runs[-1][1].append(step)
        else:
            runs.append((_layer(step), [step]))
    different: list[tuple[Any, list[Step]]] = []
    for layer, run in runs:
        before, last = different[-1] if different else (None, [])
        siblings = layer is not None and before is not None and layer[0] == before[0] and len(run) == len(last)
        if siblings and all(_same(a, b) for a, b in zip(run, last, strict=True)):
            for step in last:
                step.times += 1
        else:
            different.append((layer, run))
    return [step for _, run in different for step in run]


def _layer(step: Step) -> tuple[str, int] | None:
    """The list of layers that a step is in, and the layer's number: ("blocks.", 3)."""
    match = re.match(r"(.*?\.?)(\d+)(?=\.|$)", step.module)
    return (match[1], int(match[2])) if match else None


def _same(one: Step, other: Step) -> bool:
    parts = ("expression", "shape", "letters", "parameters", "bytes", "flops", "problem")
    return all(getattr(one, part) == getattr(other, part) for part in parts)
