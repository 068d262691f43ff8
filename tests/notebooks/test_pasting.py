"""No cell of a notebook is an answer: whatever a reader pastes from it into an exercise must not pass.

A cell is pasted in two ways. Its functions and classes are handed over as they stand, and its lines are put into a
function with the exercise's own signature, which returns what the cell shows or what it last gave a name.
"""

import ast
import contextlib
import copy
import inspect
import io
import random
import textwrap
from functools import cache
from operator import attrgetter
from pathlib import Path

import jupytext
import pytest

import gptlab
from gptlab.exercises import limits, registry
from gptlab.exercises.registry import topics
from gptlab.exercises.running import attempt
from gptlab.exercises.schema import Exercise

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
LITERALS = (ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.UnaryOp, ast.BinOp)


def parsed(source):
    """A cell's code; nothing of a cell that is not Python, such as a magic."""
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.parse("")


def namespace_of(cells):
    """What a cell may refer to: the notebook's imports, its functions and classes, and its literal values."""
    space = {}
    for tree in cells:
        for node in tree.body:
            literal = isinstance(node, ast.Assign) and isinstance(node.value, LITERALS)
            if literal or isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)):
                with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
                    exec(compile(ast.Module([node], []), "<cell>", "exec"), space)
    return space


def answers_in(tree, exercise, space):
    """What can be made of a cell for an exercise."""
    asked = ast.FunctionDef if inspect.isfunction(exercise.solution) else ast.ClassDef
    names = list(inspect.signature(exercise.solution).parameters) if asked is ast.FunctionDef else []
    for node in tree.body:
        if type(node) is asked and node.name in space and (asked is ast.ClassDef or takes(node, len(names))):
            yield node.name, space[node.name]
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    if names and set(names) & read:
        for what, lines in returning(tree):
            source = f"def pasted({', '.join(names)}):\n" + textwrap.indent(lines, "    ")
            own = dict(space)
            with contextlib.suppress(SyntaxError):
                exec(source, own)
                yield what, own["pasted"]


def takes(function, count):
    """Whether a function can be called with so many arguments."""
    possible = len(function.args.args)
    return possible - len(function.args.defaults) <= count and (count <= possible or function.args.vararg is not None)


def returning(tree):
    """The lines of a cell as the body of a function, for each value that it could return."""
    body = [node for node in tree.body if not isinstance(node, (ast.Import, ast.ImportFrom))]
    for number, node in enumerate(body):
        before = body[:number]
        if (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)) or isinstance(node, ast.Expr):
            result = node.value
        else:
            continue
        shown = result.args if isinstance(result, ast.Call) and getattr(result.func, "id", "") == "print" else [result]
        for value in shown:
            lines = ast.Module([*before, ast.Return(value)], [])
            yield ast.unparse(value)[:60], ast.unparse(ast.fix_missing_locations(lines))


def passes(exercise, answer, cases, expected):
    """Whether an answer is right on all inputs; it ends at the first one where it is not."""

    def work():
        for seed, args in enumerate(cases):
            if not attempt(exercise, answer, args, expected(seed), seed).right(exercise.inputs_stay):
                return False
        return True

    with limits.untouched_world():
        return limits.limited(work, 0.5) == ("done", True)


def pasted(path, topic):
    """(exercise, number of the code cell, what of it) for everything that passes.

    A cell that stands after the check is no answer that was in sight: there the course shows its own way.
    """
    sources = [cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code"]
    cells = [parsed(source) for source in sources]
    space = namespace_of(cells)
    for exercise in registry.exercises(topic):
        cases = [tuple(args) for args in exercise.inputs(random.Random(0))]

        @cache
        def expected(number, exercise=exercise, cases=cases):
            return exercise.expected(*copy.deepcopy(cases[number])) if exercise.compares else None

        checked = next((i for i, source in enumerate(sources) if f'check("{exercise.id}"' in source), len(cells))
        for number, tree in enumerate(cells[:checked], 1):
            for what, answer in answers_in(tree, exercise, space):
                if passes(exercise, answer, cases, expected):
                    yield exercise.id, number, what


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a cell that trains is stopped
@pytest.mark.parametrize(
    "lesson", [lesson for lesson in gptlab.NOTEBOOKS if lesson.topic in topics()], ids=attrgetter("file")
)
def test_no_cell_of_a_notebook_answers_one_of_its_exercises(lesson):
    assert not list(pasted(FOLDER / "text" / f"{lesson.file}.py", lesson.topic))


@pytest.mark.parametrize("cell", ["def best(x):\n    return x + 1", "y = 2\nprint(x + 1)", "y = x + 1\nz = 3"])
def test_a_pasted_cell_that_answers_is_found(tmp_path, monkeypatch, cell):
    exercise = Exercise(
        id="counting.1", kind="core", title="", prompt="", signature="", minutes=1, difficulty=1, mistakes=[], hints=[],
        inputs=lambda rng: [(1,), (5,)], solution=lambda x: 1 + x,
    )  # fmt: skip
    monkeypatch.setattr("gptlab.exercises.registry.exercises", lambda topic: [exercise])
    twin = tmp_path / "twin.py"
    twin.write_text(f"# %%\nx = 7\n\n# %%\n{cell}\n")
    assert [(id, number) for id, number, _ in pasted(twin, "counting")] == [("counting.1", 2)]
