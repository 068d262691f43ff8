"""Which statements of a notebook its answers need: the definitions before a check, and no training run of a minute.

A notebook is run for its answers. What a check reaches, by the names in it, is executed in order; all other statements
are left out, so that thirty notebooks take minutes, and a cell that nobody needs cannot do anything.

>>> cells = [(0, "import math\\nprint('hello')\\nx = 2\\nx = 3"), (1, "def f(n): return n * x"), (2, "check('t.1', f)")]
>>> [statement.text for statement in needed(cells).statements]
['x = 2', 'x = 3', 'def f(n):\\n    return n * x', "check('t.1', f)"]
"""

import ast
import re
import symtable
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

_ALWAYS = {"exec", "eval", "globals", "locals", "vars", "setattr", "delattr", "__import__", "get_ipython"}
_HARMLESS = {"print", "display"}  # calls that change nothing of what they are given


@dataclass
class Statement:
    """A statement on the top level of a cell.

    Attributes:
        cell: the number of its cell.
        tree: what is compiled.
        sets: names that it binds whatever happens.
        touches: names that it may bind or change.
        reads: names that it reads when it runs.
        later: names that its functions read when they are called.
        checks: whether it calls `check`.
    """

    cell: int
    tree: ast.stmt
    sets: set[str] = field(default_factory=set)
    touches: set[str] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)
    later: set[str] = field(default_factory=set)
    checks: bool = False

    @property
    def text(self) -> str:
        """Its source, as Python writes it."""
        return ast.unparse(self.tree)


@dataclass
class Plan:
    """What is run, and which cells could not be read.

    Attributes:
        statements: in the order of the notebook.
        unreadable: cell number and reason, for cells that are no Python.
    """

    statements: list[Statement]
    unreadable: list[tuple[int, str]]


def needed(cells: Sequence[tuple[int, str]]) -> Plan:
    """The statements that the checks of a notebook need, in order.

    Args:
        cells: number and source of each code cell.
    """
    found: list[Statement] = []
    unreadable = []
    for number, source in cells:
        try:
            found += _statements(number, source)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            unreadable.append((number, f"{type(error).__name__}: {str(error)[:120]}"))
    _leave_modules_alone(found)
    _mark_checks(found)
    chosen: set[int] = set()
    for root, statement in enumerate(found):
        if statement.checks:
            chosen |= _reached(found, root)
    return Plan([found[i] for i in sorted(chosen)], unreadable)


def _reached(found: list[Statement], root: int) -> set[int]:
    """The statements that one needs: of what runs at once, the last that bound it; of what functions read, all."""
    chosen, todo, done = {root}, [(name, root, True) for name in found[root].reads], set()
    todo += [(name, root, False) for name in found[root].later]
    unseen = {i for i in range(root) if _acts_unseen(found[i])}
    todo += [(name, root, False) for i in unseen for name in found[i].reads | found[i].later]
    chosen |= unseen
    while todo:
        name, before, at_once = todo.pop()
        if (name, before, at_once) in done:
            continue
        done.add((name, before, at_once))
        for i in range(before - 1, -1, -1):
            one = found[i]
            if name in one.sets or name in one.touches:
                chosen.add(i)
                todo += [(read, i, True) for read in one.reads]
                todo += [(read, root, False) for read in one.later]
                if at_once and name in one.sets and name not in one.touches:
                    break
    return chosen


def _acts_unseen(statement: Statement) -> bool:
    """Whether a statement binds or changes names that cannot be read off its text."""
    return bool((statement.reads | statement.later) & _ALWAYS) or "*" in statement.sets


def _leave_modules_alone(found: list[Statement]) -> None:
    """`draw(torch.ones(3))` does not change torch; `torch.manual_seed(1)` does."""
    imported = (one for one in found if isinstance(one.tree, (ast.Import, ast.ImportFrom)))
    modules = {name for one in imported for name in one.sets}
    for statement in found:
        if not isinstance(statement.tree, (ast.Import, ast.ImportFrom)):
            set_up = re.search(r"^(_ = )?[\w.]+\.(set_\w+|\w*seed\w*)\(|^[\w.]+\.[\w.]+ = ", statement.text)
            statement.touches -= set() if set_up else modules - statement.sets
    # A name that a statement binds itself is not a module's any more, and stays.


def _mark_checks(found: list[Statement]) -> None:
    """Also a function that checks makes the statement that calls it one that checks."""
    callers: set[str] = set()
    grown = True
    while grown:
        grown = False
        for statement in found:
            inside = statement.reads | statement.later
            if isinstance(statement.tree, (ast.FunctionDef, ast.ClassDef)):
                if (statement.checks or inside & callers) and statement.tree.name not in callers:
                    callers.add(statement.tree.name)
                    grown = True
            elif not statement.checks and inside & callers:
                statement.checks = grown = True


# ---- Reading a cell --------------------------------------------------------------------------------------------------


def without_magics(source: str) -> str:
    """A cell as Python: lines for IPython (`%time`, `!ls`, `?show`) become `pass`.

    >>> without_magics("%%time\\nx = 1\\nif x:\\n    !ls")
    'pass\\nx = 1\\nif x:\\n    pass'
    """
    first = source.lstrip().partition("\n")[0]
    if first.startswith("%%") and not re.match(r"%%(time|timeit|capture)\b", first):
        return ""
    return re.sub(r"(?m)^(\s*)(?:[%!?].*|[\w.]+\?+\s*)$", r"\1pass", source)


def _statements(number: int, source: str) -> Iterator[Statement]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(source)
        except SyntaxError:
            tree = ast.parse(without_magics(source))
        for node in tree.body:
            yield _statement(number, node)


def _statement(number: int, node: ast.stmt) -> Statement:
    statement = Statement(number, node)
    table = symtable.symtable(ast.unparse(node), "cell", "exec")
    bound = set()
    for symbol in table.get_symbols():
        name = symbol.get_name()
        if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
            bound.add(name)
        if symbol.is_referenced():
            statement.reads.add(name)
    for inner in _inner(table):
        for symbol in inner.get_symbols():
            if symbol.is_global():
                statement.later.add(symbol.get_name())
                if symbol.is_declared_global() and symbol.is_assigned():
                    statement.touches.add(symbol.get_name())
    if isinstance(
        node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign)
    ) or (isinstance(node, ast.AnnAssign) and node.value is not None):
        statement.sets |= bound
    else:  # in a branch or a loop: perhaps
        statement.touches |= bound
    if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
        statement.sets.add("*")
    if isinstance(node, ast.ClassDef):  # its body runs at once
        statement.reads |= statement.later
    statement.touches |= set(_changed(node))
    statement.checks = any(_is_check(part) for part in ast.walk(node))
    return statement


def _inner(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for child in table.get_children():
        yield child
        yield from _inner(child)


def _is_check(node: ast.AST) -> bool:
    """Whether this calls a `check` with the id of an exercise."""
    if not isinstance(node, ast.Call) or not (node.args or node.keywords):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name == "check"


def _changed(node: ast.stmt) -> Iterable[str]:
    """Names of objects that a statement may change: `x[0] = 1`, `model.a = 2`, `found.append(3)`, `fill(x)`."""
    for part in ast.walk(node):
        if isinstance(part, (ast.Attribute, ast.Subscript)) and isinstance(part.ctx, (ast.Store, ast.Del)):
            yield from _base(part)
        elif isinstance(part, ast.Expr) and isinstance(part.value, ast.Call) and not _is_check(part.value):
            call = part.value
            if getattr(call.func, "id", "") in _HARMLESS:
                continue
            if isinstance(call.func, ast.Attribute):
                yield from _base(call.func)
            for argument in call.args:
                yield from _base(argument)
        elif isinstance(part, ast.Assign) and isinstance(part.value, ast.Call):
            only = [target.id for target in part.targets if isinstance(target, ast.Name)]
            if only == ["_"] and isinstance(part.value.func, ast.Attribute):
                yield from _base(part.value.func)


def _base(node: ast.AST) -> Iterator[str]:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred)):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id


class _Listening(ast.NodeTransformer):
    """Puts a function of ours in the place of every `check`, whatever the notebook has made of that name."""

    def __init__(self, name: str):
        self.name = name

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not _is_check(node):
            return node
        ours = ast.Name(self.name, ast.Load())
        kept = ast.Lambda(ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[]), node.func)
        return ast.copy_location(ast.Call(ours, [kept, *node.args], node.keywords), node)


def listening(statement: ast.stmt, name: str) -> ast.Module:
    """A statement in which `check(id, answer)` calls `name(the check, id, answer)` instead.

    Args:
        statement: of a cell.
        name: of the function that listens.
    """
    return ast.fix_missing_locations(ast.Module([_Listening(name).visit(statement)], []))
