"""Watching a model run: torch says what each call costs, Python says which line makes it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from gptlab.lab.tracing.ledger import Ledger, Step, folded, shortened
from gptlab.lab.tracing.letters import first_letters, in_letters, stated, states_several, unify, with_sizes
from gptlab.lab.tracing.statements import is_users, span, statement


def trace(model: Callable, *inputs: Any, letters: dict[str, int] | None = None, **options: Any) -> Ledger:
    """Run `model(*inputs)` once, without gradients, and record what every line of it did.

    Your own functions and modules work as well as the course's. An error inside the model is not raised: the ledger
    ends with the line that failed and with its message.

    Args:
        model: a module or a function.
        inputs: what it is called with.
        letters: the names of sizes, e.g. `dict(B=2, T=7, C=12)`. The config of a `GPT`, the annotations of `forward`
            and the comments of the lines are read too; what you give here counts more.
        options: passed on to the model.

    >>> ledger = trace(torch.nn.Linear(3, 5), torch.zeros(2, 4, 3), letters=dict(B=2, T=4, C=3))
    >>> ledger.steps[-1].letters, ledger.parameters, ledger.flops == 2 * 2 * 4 * 3 * 5
    ('B T 5', 20, True)
    """
    recorder = _Recorder(model, first_letters(model, inputs, letters or {}))
    with torch.no_grad(), torch.random.fork_rng(devices=[]), sdpa_kernel(SDPBackend.MATH), recorder.watching():
        try:
            recorder.ledger.output = model(*inputs, **options)
        except Exception as error:  # a reader's model may fail in any way, and the ledger shows at which line
            recorder.failed(error)
    if isinstance(model, nn.Module):
        recorder.ledger.parameters = sum(p.numel() for p in model.parameters())
    recorder.ledger.steps = folded(recorder.ledger.steps)
    return recorder.ledger


class _Recorder(TorchFunctionMode):
    """Sees each call of a torch function and the end of each statement of the user's, and adds up the calls.

    A running function is known by the `id` of its frame.
    """

    def __init__(self, model: Callable, letters: dict[str, int]):
        super().__init__()
        self.ledger, self.letters = Ledger(), letters
        self.counter = FlopCounterMode(display=False)
        self.names = {id(m): name for name, m in model.named_modules()} if isinstance(model, nn.Module) else {}
        self.open: dict[int, tuple[int, int]] = {}  # per running function: the lines of its present statement
        self.costs: dict[int, Step] = {}  # per running function: what this statement has cost so far
        self.own: dict[int, dict[str, int]] = {}  # per running function: letters that its comments introduced

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within this context, calls and lines are recorded."""
        before = sys.gettrace()  # a debugger's, which is restored afterwards
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
            self.record([*_flat(args), *_flat(kwargs)], made, self.counter.get_total_flops() - before)
        return result

    def record(self, given: list[Any], made: list[Tensor], flops: int) -> None:
        """Add one call of torch to the statement, or to the layer, that made it."""
        frame, layer = self.caller(sys._getframe())
        if layer is not None:  # a layer of torch's own that no line of the user's calls by itself
            step = self.ledger.steps[-1] if self.ledger.steps else None
            name = shortened(" ".join(repr(layer).split()), 60)  # one that holds others prints on several lines
            if step is None or step.module != self.names[id(layer)] or step.expression != name:
                step = Step(self.names[id(layer)], name)
                self.ledger.steps.append(step)
            step.letters = in_letters(tuple(made[-1].shape), self.letters, {})
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

    def caller(self, frame: FrameType | None) -> tuple[FrameType | None, nn.Module | None]:
        """The user's function that is running; and, in a chain of torch's own layers, the one that is running."""
        inner = None
        while frame is not None and not (frame.f_code.co_name == "trace" and frame.f_code.co_filename == __file__):
            if is_users(frame):
                return frame, None
            module = frame.f_locals.get("self")
            if inner is None and id(module) in self.names and isinstance(module, nn.Module):
                inner = module
            elif isinstance(module, nn.Sequential) and inner is not None:
                return None, inner
            frame = frame.f_back
        return None, inner

    # Python's side: which lines there are

    def on_call(self, frame: FrameType, event: str, value: Any) -> Callable | None:
        return self.on_line if is_users(frame) else None

    def on_line(self, frame: FrameType, event: str, value: Any) -> Callable:
        if event == "line":
            lines = span(frame, frame.f_lineno)
            if lines != self.open.get(id(frame)):
                self.finish(frame)
                self.open[id(frame)] = lines
        elif event == "return":
            self.finish(frame, value)
            self.open.pop(id(frame), None)
            self.own.pop(id(frame), None)
        return self.on_line

    def finish(self, frame: FrameType, returned: Any = None) -> None:
        """A statement has ended: write its row, if it computed something or states a shape."""
        lines, step = self.open.get(id(frame)), self.costs.pop(id(frame), None)
        if lines is None:
            return
        text, comment, targets = statement(frame, lines)
        expected = stated(comment)
        if step is None and expected is None:
            return
        found = [frame.f_locals.get(name) for name in targets] if not text.startswith("return") else [returned]
        tensors = [t for t in _flat(found) if isinstance(t, Tensor)]
        if step is None and not tensors:
            return
        step = step or Step("", "")
        step.module, step.expression = self.module_of(frame), text
        if tensors:
            first = states_several(comment) or text.startswith("return")  # the first shape is that of the first result
            step.shape = tuple(tensors[0 if first else -1].shape)
        self.compare(step, frame, expected)
        self.ledger.steps.append(step)

    def module_of(self, frame: FrameType | None) -> str:
        """The dotted name of the module whose method is running; of the caller's in a plain function."""
        while frame is not None:
            name = self.names.get(id(frame.f_locals.get("self")))
            if name is not None:
                return name
            frame = frame.f_back
        return ""

    def compare(self, step: Step, frame: FrameType, expected: list[str] | None) -> None:
        """Write the shape in letters; note where it is not the one that the line's comment states."""
        own = self.own.setdefault(id(frame), {})
        sizes = {name: size for name, size in frame.f_locals.items() if type(size) is int}  # B, T, C = x.shape
        known = {**own, **self.letters, **sizes}
        if expected is not None:
            fits, fresh = unify(expected, step.shape, known)
            if fits:
                own.update(fresh)
                step.letters = " ".join(expected)
                return
            step.problem = f"says {with_sizes(expected, known)}, is {list(step.shape)}"
        step.letters = in_letters(step.shape, self.letters, own)

    def failed(self, error: Exception) -> None:
        """The last row: the line at which the model stopped, and why."""
        level, last = error.__traceback__, None
        while level is not None:
            if is_users(level.tb_frame):
                last = level
            level = level.tb_next
        step = Step("", "")
        if last is not None:
            step.module = self.module_of(last.tb_frame)
            step.expression = statement(last.tb_frame, span(last.tb_frame, last.tb_lineno)).text
        message = str(error).strip().splitlines()
        step.problem = f"stopped here with {type(error).__name__}: {message[0] if message else ''}"
        self.ledger.steps.append(step)


def _flat(value: Any) -> Iterator[Any]:
    """The tensors and others in nested tuples, lists and dicts."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from _flat(item)
    else:
        yield value
