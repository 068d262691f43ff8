"""Marks from afar are the judge's marks; what comes back from a submission is data, which is right or wrong."""

import copy
import json
import os
import random
import types

import numpy as np
import pytest
import torch

from gptlab.classroom import answering, channel, remote, slicing, wire
from gptlab.exercises import registry
from gptlab.exercises.judge import Run, assessed, judge


class Near(remote.Remote):
    """An answer in this process, asked through the same messages."""

    def __init__(self, exercise, answer):
        super().__init__(None, None, 0.0)
        self.exercise, self.answer, self.inputs = exercise, answer, []

    def ask(self, **message):
        message = json.loads(channel.pack(message)[4:])
        seed = f"{remote.SEED}:{self.exercise.id}"
        args = [answering._argument(one, self.exercise, self.inputs, seed) for one in message["args"]]
        return json.loads(channel.pack(answering._result(self.exercise, self.answer, message, args))[4:])


def from_afar(exercise, answer):
    cases = [tuple(args) for args in exercise.inputs(random.Random(f"{remote.SEED}:{exercise.id}"))]
    wanted = [exercise.expected(*copy.deepcopy(args)) if exercise.compares else None for args in cases]
    near = Near(exercise, answer)
    pairs = enumerate(zip(cases, wanted, strict=True))
    outcomes = [remote.outcome_of(exercise, near, n, args, expected, n) for n, (args, expected) in pairs]
    return assessed(exercise, near, cases, wanted, Run("done", outcomes), 5.0)


def told(verdict):
    return verdict.state, verdict.mistake.name if verdict.mistake else "", verdict.right, verdict.total


# Inputs that are functions, models or devices; answers that are classes; properties in place of a result.
SPECIAL = ["masking.9", "model.2", "backpropagation.1", "backpropagation.7", "gpu.2", "tokens.7", "batches.9", "bpe.1"]


@pytest.mark.parametrize("id", [*(f"attention.{n}" for n in range(1, 9)), *SPECIAL, "batches.5"])
def test_an_answer_gets_the_same_verdict_from_afar_as_in_the_notebook(id):
    exercise = registry.find(id)
    mistakes = exercise.mistakes if id == "attention.1" else exercise.mistakes[:4]
    for answer in (exercise.solution, *(mistake.wrong for mistake in mistakes)):
        here = judge(exercise, answer, random.Random(f"{remote.SEED}:{exercise.id}"))
        assert told(from_afar(exercise, answer)) == told(here), answer


# ------------------------------------------------------------------------------------------------------------- the wire

VALUES = [
    None, True, 3, -(2**70), 0.1, "é\n", b"\x00\xff", bytearray(b"a"), (1, (2,)), [1, [2]], {"a": {1, 2}, (1, 2): None},
    frozenset({3}), ..., {}, [], (), "",
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_plain_values_come_back_as_they_were(value):
    found = wire.decode(json.loads(json.dumps(wire.encode(value))))
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int64", "bool", "uint8"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 4)])
def test_tensors_come_back_with_their_shape_dtype_and_gradient(dtype, shape):
    tensor = torch.arange(24)[: max(1, int(np.prod(shape)))].to(getattr(torch, dtype))
    tensor = tensor[: int(np.prod(shape))].reshape(shape) if shape else tensor[0]
    tensor = tensor.requires_grad_(tensor.is_floating_point())
    found = wire.decode(wire.encode(tensor))
    assert found.dtype == tensor.dtype and found.shape == tensor.shape and torch.equal(found, tensor)
    assert found.requires_grad == tensor.requires_grad


def test_not_a_number_and_infinity_come_back():
    found = wire.decode(json.loads(json.dumps(wire.encode([float("nan"), float("-inf"), torch.tensor(float("nan"))]))))
    assert found[0] != found[0] and found[1] == float("-inf") and found[2].isnan()


class Evil:
    def __reduce__(self):
        return (print, ("this code has run",))

    def __repr__(self):
        raise SystemExit


def test_an_object_arrives_as_a_stand_in_and_runs_nothing(capsys):
    found = wire.decode(wire.encode([Evil]))[0]
    assert isinstance(found, wire.StandIn) and found != wire.decode(wire.encode([Evil]))[0]
    assert type(wire.decode(wire.encode(i for i in range(3)))) is types.GeneratorType
    assert "has run" not in capsys.readouterr().out
    with pytest.raises(wire.Unsendable):
        wire.encode([print], strict=True)


@pytest.mark.parametrize("message", [
    {"t": "pickle", "v": ""}, {"t": "tensor", "n": "float32", "shape": [10**9], "v": ""}, {"t": "int", "v": "zz"},
    {"t": "tensor", "n": "__class__", "shape": [], "v": ""}, {"t": "tensor", "n": "float32", "shape": [-1], "v": ""},
    {"t": "set", "v": [[1]]}, {"t": "dict", "v": 3}, {"v": 1}, {"t": ["tuple"]}, {"t": "constant", "v": "exit"},
    {"t": "bytes", "v": 7}, {"t": "tensor", "n": "float32", "shape": [1], "v": "AAA"},
])  # fmt: skip
def test_what_encode_never_writes_is_refused(message):
    with pytest.raises(wire.WireError):
        wire.decode(message)


def test_a_value_that_is_nested_without_end_is_refused_and_one_with_too_many_parts():
    endless = []
    endless.append(endless)
    found = wire.decode(wire.encode(endless))
    while isinstance(found, list):
        (found,) = found
    assert isinstance(found, wire.StandIn)
    with pytest.raises(wire.WireError, match="more than 200,000 parts"):
        wire.encode(list(range(300_000)))
    with pytest.raises(wire.WireError, match="are read"):
        channel.pack({"text": "x" * (wire.LARGEST + 1)})


def test_an_exception_is_of_pythons_own_class_or_of_a_new_one():
    assert isinstance(wire.exception("ValueError", "no"), ValueError)
    assert type(wire.exception("SystemExit", "no")).__mro__[1] is Exception
    assert type(wire.exception("a b", "no")).__name__ == "Error"


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x02[]", b"\x00\x00\x00\x03{a}", b"\x00\x00\x10\x00" + b"[" * 4096]
)
def test_a_message_that_is_damaged_is_named(data):
    reading, writing = os.pipe()
    os.write(writing, data)
    with pytest.raises(wire.WireError):
        channel.Receiver(reading).next(2.0)
    os.close(writing)


def test_a_message_that_does_not_come_is_late_and_a_closed_pipe_is_an_end():
    reading, writing = os.pipe()
    incoming = channel.Receiver(reading)
    os.write(writing, b"\x00\x00\x00\x05ab")
    with pytest.raises(TimeoutError):
        incoming.next(0.05)
    os.close(writing)
    with pytest.raises(EOFError):
        incoming.next(2.0)


# ------------------------------------------------------------------------------------- which statements an answer needs


def run_of(*cells):
    return [statement.text for statement in slicing.needed(list(enumerate(cells))).statements]


def test_only_what_an_answer_needs_is_run_and_in_order():
    assert run_of("import os\nx = 1", "os.remove('a')", "x = 2", "def f(): return x", "check('a.1', f)") == [
        "x = 1", "x = 2", "def f():\n    return x", "check('a.1', f)",
    ]  # fmt: skip


@pytest.mark.parametrize(("before", "needed"), [
    ("y = []\ny.append(3)", True), ("y = {}\ny['a'] = 3", True), ("y = 1\nif y:\n    y = 2", True),
    ("y = 0\nfor i in range(3):\n    y += i", True),
    ("y = 0\nz = 4", False), ("y = []\nfill(y)", True), ("y = 3\nprint(y)", False),
])  # fmt: skip
def test_what_changes_a_name_is_needed_and_what_reads_it_is_not(before, needed):
    last = before.rstrip().splitlines()[1]
    found = "\n".join(run_of(before, "check('a.1', y)"))
    assert (last in found) == needed


def test_the_seed_of_torch_counts_for_whoever_uses_torch_and_a_drawing_does_not():
    found = run_of(
        "import torch", "torch.manual_seed(6)", "draw(torch.ones(3))", "def f(): return torch.rand(1)\ncheck('a.1', f)"
    )
    assert "torch.manual_seed(6)" in found and not any("draw" in text for text in found)


def test_a_check_inside_a_function_or_a_loop_is_found():
    assert "g()" in run_of("def f(): pass\ndef g(): check('a.1', f)", "g()")
    assert len(run_of("f = max\nfor id in ('a.1', 'a.2'):\n    check(id, f)")) == 2


def test_a_cell_that_is_no_python_is_reported_and_lines_for_ipython_are_left_out():
    plan = slicing.needed(
        [(1, "def f(:"), (2, "%time\n!rm -r x\nf = 2\ncheck('a.1', f)"), (3, "\0"), (4, "%%bash\nls")]
    )
    assert [number for number, _ in plan.unreadable] == [1, 3] and len(plan.statements) == 2


def test_code_that_hides_what_it_does_is_run():
    assert "exec('f = max')" in run_of("exec('f = max')", "check('a.1', f)")
    assert "from math import *" in run_of("from math import *", "check('a.1', lambda x: sqrt(x))")
