"""A ledger of a forward pass: each line of code that made a tensor, with its shape, its cost, and what it claimed.

`trace` runs a model once and writes down, for every line of Python that computed something: the shape in letters and
in numbers, the parameters used, the bytes made and the FLOPs spent. Where a line says in a comment what shape it makes
(`x = self.up(x)  # [B, T, C]`), and the shape is another one, the ledger marks it: comments lie, shapes do not.
"""

import ast
import functools
import html
import linecache
import re
import sys
import sysconfig
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

_LIBRARIES = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")} | {
    str(Path(torch.__file__).parents[1])
}
_COMPREHENSIONS = ("<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>")
_SHAPE = re.compile(r"\[([^\[\]]*)\]")


@dataclass
class Step:
    """One line of code, and the tensor that it made.

    Attributes:
        module: where in the model, e.g. "blocks.0.attention".  expression: the line.  shape: of its last result.
        letters: the shape in letters, e.g. "B T C"; a size without a letter stays a number.
        parameters: how many the line read.  bytes: of memory it made; 0 for a view.  flops: of its matrix products.
        times: how many layers in a row do the same, this one included.  problem: what is not as it was said to be.
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
    """What `trace` found: `steps` in the order of the computation, the `output`, and the first `problem`, if any."""

    steps: list[Step] = field(default_factory=list)
    output: Any = None
    parameters: int = 0

    @property
    def flops(self) -> int:
        """FLOPs of all matrix products (two for each multiply-add); what works number by number is not counted."""
        return sum(step.flops * step.times for step in self.steps)

    @property
    def bytes(self) -> int:
        """Bytes of all tensors made on the way (not all alive at once)."""
        return sum(step.bytes * step.times for step in self.steps)

    @property
    def problem(self) -> str | None:
        """The first place where a shape departs from what was expected."""
        return next((f"step {i}: {s.problem}" for i, s in enumerate(self.steps, 1) if s.problem), None)

    def rows(self) -> list[list[str]]:
        """The ledger as text, a list for each step."""
        made = []
        for i, step in enumerate(self.steps, 1):
            sizes = f"[{', '.join(map(str, step.shape))}]" if step.expression else ""
            letters = f"[{', '.join(step.letters.split())}]" if step.letters else ""
            where = step.module + (f"  (× {step.times})" if step.times > 1 else "")
            numbers = [f"{n:,}" if n else "" for n in (step.parameters, step.bytes, step.flops)]
            made.append([str(i), where, step.expression, letters, sizes, *numbers])
        return made

    def _table(self) -> tuple[list[str], list[list[str]], list[str]]:
        head = ["step", "module", "line", "letters", "shape", "parameters", "bytes", "FLOPs"]
        total = ["", "", "in all", "", "", f"{self.parameters:,}", f"{self.bytes:,}", f"{self.flops:,}"]
        return head, self.rows(), total

    def __repr__(self) -> str:
        head, rows, total = self._table()
        rows = [[*row[:2], _cut(row[2], 44), *row[3:]] for row in rows]
        widths = [max(len(row[i]) for row in [head, *rows, total]) for i in range(len(head))]
        right = (0, 5, 6, 7)

        def line(row: list[str]) -> str:
            cells = (c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
            return "  ".join(cells).rstrip()

        lines = [line(head), "  ".join("-" * w for w in widths)]
        for step, row in zip(self.steps, rows, strict=True):
            lines.append(line(row))
            if step.problem:
                lines.append(f"{'':>{widths[0]}}  ✗ {step.problem}")
        return "\n".join([*lines, "  ".join("-" * w for w in widths), line(total)])

    def _repr_html_(self) -> str:
        head, rows, total = self._table()

        def row(cells: list[str], tag: str = "td", background: str = "") -> str:
            made = ""
            for i, cell in enumerate(cells):
                side = "right" if i in (0, 5, 6, 7) else "left"
                text = html.escape(_cut(cell, 60) if i == 2 else cell)
                text = f'<code style="font-size:12px">{text}</code>' if i in (2, 3, 4) and tag == "td" else text
                made += f'<{tag} style="text-align:{side};padding:2px 6px;white-space:nowrap">{text}</{tag}>'
            return f'<tr style="{background}">{made}</tr>'

        body = ""
        for step, cells in zip(self.steps, rows, strict=True):
            body += row(cells, background="background:#fde0dc;color:#222" if step.problem else "")
            if step.problem:
                said = f'<td></td><td colspan="7" style="text-align:left">✗ {html.escape(step.problem)}</td>'
                body += f'<tr style="background:#fde0dc;color:#222">{said}</tr>'
        return f"<table><thead>{row(head, 'th')}</thead><tbody>{body}</tbody><tfoot>{row(total, 'th')}</tfoot></table>"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def trace(model: Callable, *inputs: Any, letters: dict[str, int] | None = None, **options: Any) -> Ledger:
    """Run `model(*inputs)` once, without gradients, and write down what every line of it did.

    Your own functions and modules work as well as the course's. An error inside the model is not raised: the ledger
    ends with the line that failed and with what it said.

    Args:
        letters: what sizes are called, e.g. `dict(B=2, T=7, C=12)`. The config of a `GPT`, the annotations of
            `forward` and the comments of the lines are read too; what you give here counts more.
        options: passed on to the model.

    >>> ledger = trace(torch.nn.Linear(3, 5), torch.zeros(2, 4, 3), letters=dict(B=2, T=4, C=3))
    >>> ledger.steps[-1].letters, ledger.parameters, ledger.flops == 2 * 2 * 4 * 3 * 5
    ('B T 5', 20, True)
    """
    recorder = _Recorder(model, _first_letters(model, inputs, letters or {}))
    with torch.no_grad(), torch.random.fork_rng(devices=[]), sdpa_kernel(SDPBackend.MATH), recorder.watching():
        try:
            recorder.ledger.output = model(*inputs, **options)
        except Exception as error:  # a reader's model may fail in any way: the place where it does is what is asked for
            recorder.failed(error)
    if isinstance(model, nn.Module):
        recorder.ledger.parameters = sum(p.numel() for p in model.parameters())
    recorder.ledger.steps = _folded(recorder.ledger.steps)
    return recorder.ledger


class _Recorder(TorchFunctionMode):
    """Sees each call of a torch function and each line of the user's that ends, and books the one on the other."""

    def __init__(self, model: Callable, letters: dict[str, int]):
        super().__init__()
        self.ledger, self.letters = Ledger(), letters
        self.counter = FlopCounterMode(display=False)
        self.names = {id(m): name for name, m in model.named_modules()} if isinstance(model, nn.Module) else {}
        self.open: dict[int, tuple[int, int]] = {}  # per running function: the lines of the statement it is at
        self.costs: dict[int, Step] = {}  # per running function: what that statement has cost so far
        self.own: dict[int, dict[str, int]] = {}  # per running function: letters that its comments introduced

    @contextmanager
    def watching(self):
        """Within this context, calls and lines are booked."""
        before = sys.gettrace()  # a debugger's, which gets its place back
        with self.counter, self:
            sys.settrace(self.on_call)
            try:
                yield
            finally:
                sys.settrace(before)

    # Torch's side: what a call costs

    def __torch_function__(self, function, types, args=(), kwargs=None):
        before = self.counter.get_total_flops()
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        made = [t for t in _flat(result) if isinstance(t, Tensor)]
        if made and not (made[-1].dim() == 0 and not made[-1].is_floating_point()):
            self.book([*_flat(args), *_flat(kwargs)], made, self.counter.get_total_flops() - before)
        return result

    def book(self, given: list, made: list[Tensor], flops: int) -> None:
        frame, layer = self.place(sys._getframe())
        if layer is not None:  # a layer of torch's own that no line of the user's calls by itself
            step = self.ledger.steps[-1] if self.ledger.steps else None
            said = _cut(" ".join(repr(layer).split()), 60)  # one that holds others prints on several lines
            if step is None or step.module != self.names[id(layer)] or step.expression != said:
                step = Step(self.names[id(layer)], said)
                self.ledger.steps.append(step)
            step.letters = _in_letters(tuple(made[-1].shape), self.letters, {})
        elif frame is not None:
            step = self.costs.setdefault(id(frame), Step("", ""))
        else:
            return
        old = {t.untyped_storage().data_ptr() for t in given if isinstance(t, Tensor)}
        new = {t.untyped_storage().data_ptr(): t for t in made}
        step.parameters += sum(t.numel() for t in given if isinstance(t, nn.Parameter))
        step.bytes += sum(t.untyped_storage().nbytes() for where, t in new.items() if where not in old)
        step.flops += flops
        step.shape = tuple(made[-1].shape)

    def place(self, frame: Any) -> tuple[Any, nn.Module | None]:
        """The user's function that is running; and, in a chain of torch's own layers, the one that is at work."""
        inner = None
        while frame is not None and not (frame.f_code.co_name == "trace" and frame.f_code.co_filename == __file__):
            if _is_users(frame):
                return frame, None
            module = frame.f_locals.get("self")
            if inner is None and id(module) in self.names and isinstance(module, nn.Module):
                inner = module
            elif isinstance(module, nn.Sequential) and inner is not None:
                return None, inner
            frame = frame.f_back
        return None, inner

    # Python's side: which lines there are

    def on_call(self, frame: Any, event: str, value: Any) -> Callable | None:
        return self.on_line if _is_users(frame) else None

    def on_line(self, frame: Any, event: str, value: Any) -> Callable:
        if event == "line":
            span = _span(frame, frame.f_lineno)
            if span != self.open.get(id(frame)):
                self.finish(frame)
                self.open[id(frame)] = span
        elif event == "return":
            self.finish(frame, value)
            self.open.pop(id(frame), None)
            self.own.pop(id(frame), None)
        return self.on_line

    def finish(self, frame: Any, returned: Any = None) -> None:
        """A statement has ended: write its row, if it computed something or says what shape it has."""
        span, step = self.open.get(id(frame)), self.costs.pop(id(frame), None)
        if span is None:
            return
        text, comment, targets = _statement(frame, span)
        said = _said(comment)
        if step is None and said is None:
            return
        found = [frame.f_locals.get(name) for name in targets] if not text.startswith("return") else [returned]
        tensors = [t for t in _flat(found) if isinstance(t, Tensor)]
        if step is None and not tensors:
            return
        step = step or Step("", "")
        step.module, step.expression = self.module_of(frame), text
        if tensors:
            several = len(_SHAPE.findall(re.split(r"->|→", comment)[-1])) > 1  # the first stands for the first
            step.shape = tuple(tensors[0 if several or text.startswith("return") else -1].shape)
        self.compare(step, frame, said)
        self.ledger.steps.append(step)

    def module_of(self, frame: Any) -> str:
        """The dotted name of the module whose method is running; of the caller's in a plain function."""
        while frame is not None:
            name = self.names.get(id(frame.f_locals.get("self")))
            if name is not None:
                return name
            frame = frame.f_back
        return ""

    def compare(self, step: Step, frame: Any, said: list[str] | None) -> None:
        """Write the shape in letters; note where it is not the one that the line's comment says."""
        own = self.own.setdefault(id(frame), {})
        sizes = {name: size for name, size in frame.f_locals.items() if type(size) is int}  # B, T, C = x.shape
        known = {**own, **self.letters, **sizes}
        if said is not None:
            fits, fresh = _unify(said, step.shape, known)
            if fits:
                own.update(fresh)
                step.letters = " ".join(said)
                return
            step.problem = f"says [{', '.join(said)}]{_numbers(said, known)}, is {list(step.shape)}"
        step.letters = _in_letters(step.shape, self.letters, own)

    def failed(self, error: Exception) -> None:
        """The last row: the line at which the model stopped, and why."""
        place, last = error.__traceback__, None
        while place is not None:
            if _is_users(place.tb_frame):
                last = place
            place = place.tb_next
        step = Step("", "")
        if last is not None:
            step.module = self.module_of(last.tb_frame)
            step.expression = _statement(last.tb_frame, _span(last.tb_frame, last.tb_lineno))[0]
        said = str(error).strip().splitlines()
        step.problem = f"stopped here with {type(error).__name__}: {said[0] if said else ''}"
        self.ledger.steps.append(step)


def _flat(value: Any):
    """The tensors and others in nested tuples, lists and dicts."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from _flat(item)
    else:
        yield value


@functools.cache
def _is_users_file(name: str) -> bool:
    """Whether a file is the course's or the reader's: not this one, nor Python's, nor a library's."""
    if name.startswith("<"):
        return name.startswith(("<ipython", "<doctest", "<stdin"))
    path = Path(name)
    if path.parent == Path(__file__).parent or Path(__file__).parent in path.parents:
        return path != Path(__file__)
    return not any(Path(folder) in path.parents for folder in _LIBRARIES)


def _is_users(frame: Any) -> bool:
    """Whether a frame runs a function that a person wrote for a model; a comprehension belongs to its function."""
    return _is_users_file(frame.f_code.co_filename) and frame.f_code.co_name not in _COMPREHENSIONS


_statements: dict[tuple[str, int], list[tuple[int, int, tuple[str, ...]]]] = {}


def _known_statements(frame: Any) -> tuple[list[str], list[tuple[int, int, tuple[str, ...]]]]:
    """The lines of a frame's file, and of each of its statements: first and last line, names assigned to."""
    name = frame.f_code.co_filename
    source = linecache.getlines(name, frame.f_globals)
    key = (name, hash("".join(source)))
    if key not in _statements:
        simple = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Expr, ast.Assert)
        found = []
        for node in ast.walk(ast.parse("".join(source)) if source else ast.Module([], [])):
            if isinstance(node, simple):
                targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
                names = [n.id for t in targets if t is not None for n in ast.walk(t) if isinstance(n, ast.Name)]
                found.append((node.lineno, node.end_lineno, tuple(names)))
        _statements[key] = sorted(found, key=lambda span: span[1] - span[0])
    return source, _statements[key]


def _span(frame: Any, line: int) -> tuple[int, int]:
    """First and last line of the statement that stands at a line."""
    return next(((a, b) for a, b, _ in _known_statements(frame)[1] if a <= line <= b), (line, line))


def _statement(frame: Any, span: tuple[int, int]) -> tuple[str, str, tuple[str, ...]]:
    """A statement on one line, the comment behind it, and the names that it assigns to."""
    source, statements = _known_statements(frame)
    names = next((names for a, b, names in statements if (a, b) == span), ())
    text, comments = [], [""]
    for raw in source[span[0] - 1 : span[1]]:
        code, _, comment = raw.rstrip().partition(" #") if not raw.lstrip().startswith("#") else ("", "", "")
        text.append(code.strip())
        comments.append(comment.strip())
    return re.sub(r"(?<=[(\[]) | (?=[)\]])", "", " ".join(filter(None, text))), comments[-1], names


def _said(comment: str) -> list[str] | None:
    """The letters in a comment such as `[B, T, C]` or `[B, T, C] -> [B, H, T, hs]`: what the line makes comes last."""
    arrows = re.split(r"->|→", comment)
    found = _SHAPE.findall(arrows[-1]) or (_SHAPE.findall(comment) if len(arrows) == 1 else [])
    if not found or not comment.lstrip("# ").startswith("["):
        return None
    parts = [part.strip() for part in found[0].split(",")]
    return (
        [p for p in parts if p] if all(re.fullmatch(r"\.\.\.?|…|\*\w+|[\w /+*()-]+", p) for p in parts if p) else None
    )


def _size(letter: str, known: dict[str, int]) -> int | None:
    """What `4C`, `T - 1` or `C / H` is, if its letters are known."""
    text = re.sub(r"(?<![\w.])(\d+)\s*([A-Za-z])", r"\1*\2", letter)
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError:
        return None
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    allowed = (ast.Expression, ast.BinOp, ast.Name, ast.Constant, ast.Load, ast.operator)
    if not names <= set(known) or not all(isinstance(node, allowed) for node in ast.walk(tree)):
        return None
    value = eval(compile(tree, "<shape>", "eval"), {"__builtins__": {}}, known)  # letters and arithmetic only
    return int(value) if value == int(value) else None


def _unify(said: list[str], shape: tuple[int, ...], known: dict[str, int]) -> tuple[bool, dict[str, int]]:
    """Whether a shape is what was said, and the letters that this taught."""
    if said and re.fullmatch(r"\.\.\.?|…|\*\w+", said[0]):
        said = said[1:]
        if len(shape) < len(said):
            return False, {}
        shape = shape[len(shape) - len(said) :]
    if len(said) != len(shape):
        return False, {}
    fresh: dict[str, int] = {}
    for letter, size in zip(said, shape, strict=True):
        expected = _size(letter, known | fresh)
        if expected is None and letter.isidentifier():
            fresh[letter] = size
        elif expected is not None and expected != size:
            return False, {}
    return True, fresh


def _numbers(said: list[str], known: dict[str, int]) -> str:
    sizes = [_size(letter, known) for letter in said]
    return f" = [{', '.join('?' if s is None else str(s) for s in sizes)}]" if any(s is not None for s in sizes) else ""


def _in_letters(shape: tuple[int, ...], known: dict[str, int], own: dict[str, int]) -> str:
    """Letters for sizes: those of the whole model first, then the function's own; the number where none fits."""
    said = []
    for i, size in enumerate(shape):
        names = [n for n, v in known.items() if v == size > 1] or [n for n, v in own.items() if v == size > 1]
        said.append("B" if i == 0 and "B" in names else "/".join(names) or str(size))
    return " ".join(said)


def _first_letters(model: Callable, inputs: tuple, given: dict[str, int]) -> dict[str, int]:
    """Letters from what is given, the annotations of `forward`, and the configuration of a model of the course."""
    letters = dict(given)
    function = getattr(type(model), "forward", None) if isinstance(model, nn.Module) else model
    annotations = [a for name, a in getattr(function, "__annotations__", {}).items() if name != "return"]
    for annotation, value in zip(annotations, inputs, strict=False):
        said = getattr(annotation, "dim_str", "").split()
        if isinstance(value, Tensor) and len(said) == value.dim():
            letters |= {k: v for k, v in zip(said, value.shape, strict=True) if k.isidentifier() and k not in letters}
    config = getattr(model, "config", None)
    if all(hasattr(config, name) for name in ("n_embd", "n_head", "vocab_size")):
        own = {"C": config.n_embd, "V": config.vocab_size, "H": config.n_head, "hs": config.n_embd // config.n_head}
        letters |= {k: v for k, v in own.items() if k not in letters}
    return letters


def _folded(steps: list[Step]) -> list[Step]:
    """Layers of a list that do the same are written once, with how many there are: blocks.0 … blocks.11."""

    def layer(step: Step) -> tuple[str, int] | None:
        match = re.match(r"(.*?\.?)(\d+)(?=\.|$)", step.module)
        return (match[1], int(match[2])) if match else None

    def same(a: Step, b: Step) -> bool:
        parts = ("expression", "shape", "letters", "parameters", "bytes", "flops", "problem")
        return all(getattr(a, part) == getattr(b, part) for part in parts)

    runs: list[tuple[Any, list[Step]]] = []
    for step in steps:
        if runs and layer(step) is not None and runs[-1][0] == layer(step):
            runs[-1][1].append(step)
        else:
            runs.append((layer(step), [step]))
    kept: list[tuple[Any, list[Step]]] = []
    for key, run in runs:
        last = kept[-1] if kept else (None, [])
        alike = key is not None and last[0] is not None and key[0] == last[0][0] and len(run) == len(last[1])
        if alike and all(same(a, b) for a, b in zip(run, last[1], strict=True)):
            for step in last[1]:
                step.times += 1
        else:
            kept.append((key, run))
    return [step for _, run in kept for step in run]
