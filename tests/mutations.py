"""Small changes to the source of a function, one at a time: an axis, a sign, an off-by-one, a term left out."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

_SWAPPED: dict[type, tuple[type, ...]] = {
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div,), ast.Div: (ast.Mult,), ast.Pow: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,), ast.Mod: (ast.FloorDiv,), ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt, ast.LtE), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,),
    ast.And: (ast.Or,), ast.Or: (ast.And,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
_NAMES = {
    "min": "max", "max": "min", "argmax": "argmin", "argmin": "argmax", "any": "all", "all": "any", "tril": "triu",
    "triu": "tril", "cos": "sin", "sin": "cos", "log": "log2", "log2": "log", "mean": "sum", "sum": "mean",
    "floor": "ceil", "ceil": "floor", "softmax": "log_softmax", "log_softmax": "softmax", "amax": "amin",
    "index": "rindex", "find": "rfind", "append": "insert",
    "zeros": "ones", "ones": "zeros", "rsqrt": "sqrt", "log1p": "log", "cumsum": "cumprod", "repeat": "tile",
    "most_common": "elements",
}  # fmt: skip
_DROPPED = {
    "sqrt", "exp", "log", "abs", "sorted", "reversed", "list", "set", "float", "int", "clone", "copy", "deepcopy",
    "contiguous", "softmax", "transpose", "masked_fill", "clamp", "flip", "tril", "lower", "strip", "dict", "min",
    "max", "round", "item", "sigmoid", "tanh", "silu", "gelu", "rsqrt", "pow", "square", "unsqueeze", "squeeze",
}  # fmt: skip


_NO_CODE = ("annotation", "returns", "decorator_list", "args")


def mutants(function: Callable[..., Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Each mutant of a function or class, with what was changed in words that stay the same.

    >>> import random
    >>> print(next(name for name, _ in mutants(random.Random.uniform)))
    a + (b - a) * self.random() -> a - (b - a) * self.random() in `return a + (b - a) * self.random()`
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    namespace = vars(sys.modules[function.__module__])
    seen: dict[str, int] = {}
    for described, put in _edits(tree):
        restore = put()
        try:
            code = compile(ast.fix_missing_locations(tree), "<mutant>", "exec")
        except (SyntaxError, ValueError, TypeError):
            continue
        finally:
            restore()
        seen[described] = seen.get(described, 0) + 1
        number = f" ({seen[described]})" if seen[described] > 1 else ""
        yield described + number, _defined(code, namespace, function.__name__)


def _defined(code: Any, namespace: dict, name: str) -> Callable[..., Any]:
    own = dict(namespace)
    exec(code, own)
    return own[name]


def _edits(tree: ast.Module) -> Iterator[tuple[str, Callable[[], Callable[[], None]]]]:
    """Every change: what it is called, and a function that makes it and returns the one that takes it back."""
    definition = tree.body[0]
    arguments = [a.arg for node in ast.walk(definition) if isinstance(node, ast.FunctionDef) for a in node.args.args]
    for statement, holder, field, index, child in _children(definition):
        for new in _instead(child, arguments):
            ast.copy_location(new, child)
            ast.fix_missing_locations(new)
            if ast.unparse(new) == ast.unparse(child):
                continue
            line = ast.unparse(statement).splitlines()[0]
            described = f"{_short(child)} -> {_short(new)} in `{line}`"
            yield described, lambda h=holder, f=field, i=index, c=child, n=new: _put(h, f, i, c, n)


def _short(node: ast.AST) -> str:
    if isinstance(node, ast.If):
        return f"if {ast.unparse(node.test)}"
    return "nothing" if isinstance(node, ast.Pass) else ast.unparse(node).replace("\n", " ")


def _put(holder: ast.AST, field: str, index: int | None, old: ast.AST, new: ast.AST) -> Callable[[], None]:
    def set_to(node: ast.AST) -> None:
        if index is None:
            setattr(holder, field, node)
        else:
            getattr(holder, field)[index] = node

    set_to(new)
    return lambda: set_to(old)


def _children(root: ast.AST) -> Iterator[tuple[ast.AST, ast.AST, str, int | None, ast.AST]]:
    """(statement, holder, field, index, child) of every node that is code: no annotations, no docstrings."""

    def walk(statement, holder):
        for field, value in ast.iter_fields(holder):
            if isinstance(holder, (ast.FunctionDef, ast.AnnAssign)) and field in _NO_CODE:
                continue
            for index, child in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(child, ast.AST) or isinstance(child, (ast.expr_context, ast.operator, ast.unaryop)):
                    continue
                if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                    continue
                own = child if isinstance(child, ast.stmt) else statement
                yield own, holder, field, index if isinstance(value, list) else None, child
                if isinstance(child, ast.keyword) and child.arg == "strict":
                    continue
                if not (isinstance(child, ast.UnaryOp) and isinstance(child.operand, ast.Constant)):
                    yield from walk(own, child)

    yield from walk(root, root)


def _constant(value: Any) -> ast.expr:
    return ast.parse(repr(value), mode="eval").body


def _instead(node: ast.AST, arguments: list[str]) -> list[ast.AST]:
    """What may stand in the place of a node."""
    kind = type(node).__name__
    return list(_RULES[kind](node, arguments)) if kind in _RULES else []


def _constants(node: ast.Constant, arguments):
    value = node.value
    if isinstance(value, bool):
        yield _constant(not value)
    elif isinstance(value, int):
        yield _constant(value + 1)
        if value > 0:
            yield _constant(value - 1)
    elif isinstance(value, float):
        yield _constant(1.0 if value == 0 else value * (2 if value > 1e-3 else 1e5))
    elif value == "":
        yield _constant(" ")


def _unary(node: ast.UnaryOp, arguments):
    if not isinstance(node.operand, ast.Constant) or type(node.operand.value) is not int:
        yield node.operand  # of an axis, 1 for -1 is most often the same axis
    if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant) and type(node.operand.value) is int:
        yield _constant(-node.operand.value - 1)
        yield _constant(1 - node.operand.value)


def _binary(node: ast.BinOp, arguments):
    for other in _SWAPPED.get(type(node.op), ()):
        yield ast.BinOp(node.left, other(), node.right)
    yield node.left
    if not isinstance(node.op, (ast.Div, ast.FloorDiv, ast.Pow, ast.Mod)):
        yield node.right
    if isinstance(node.op, (ast.MatMult, ast.Sub, ast.Div)):
        yield ast.BinOp(node.right, node.op, node.left)
    if isinstance(node.op, ast.MatMult):
        yield ast.BinOp(node.left, ast.MatMult(), ast.Attribute(node.right, "mT", ast.Load()))
    in_place = {ast.Add: "add_", ast.Sub: "sub_", ast.Mult: "mul_", ast.Div: "div_"}.get(type(node.op))
    if in_place and isinstance(node.left, ast.Name) and node.left.id in arguments:
        yield ast.Call(ast.Attribute(node.left, in_place, ast.Load()), [node.right], [])


def _compare(node: ast.Compare, arguments):
    for other in _SWAPPED.get(type(node.ops[0]), ()):
        yield ast.Compare(node.left, [other(), *node.ops[1:]], node.comparators)


def _bool(node: ast.BoolOp, arguments):
    yield ast.BoolOp(_SWAPPED[type(node.op)][0](), node.values)
    yield from node.values


def _call(node: ast.Call, arguments):
    called = node.func
    name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
    own = isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id in arguments
    if own and name in ("masked_fill", "clamp", "scatter", "index_fill", "abs", "exp"):
        yield ast.Call(ast.Attribute(called.value, f"{name}_", ast.Load()), node.args, node.keywords)
    if name in _NAMES:
        other = _NAMES[name]
        function = ast.Attribute(called.value, other, ast.Load()) if isinstance(called, ast.Attribute) else None
        yield ast.Call(function or ast.Name(other, ast.Load()), node.args, node.keywords)
    if name in _DROPPED and not (name == "list" and node.args and ast.unparse(node.args[0]).startswith("range(")):
        if isinstance(called, ast.Attribute) and ast.unparse(called.value) not in _LIBRARIES:
            yield called.value
        elif node.args:
            yield node.args[0]
    if len(node.args) == 2 and name not in _ORDER_IS_FREE and not isinstance(node.args[1], ast.Starred):
        yield ast.Call(called, node.args[::-1], node.keywords)
    for keyword in node.keywords:
        if keyword.arg in _KEYWORDS or (keyword.arg == "dim" and name in _OVER_ALL):
            yield ast.Call(called, node.args, [other for other in node.keywords if other is not keyword])
    if name == "range" and not isinstance(node.args[-1], ast.Constant):
        end = node.args[-1 if len(node.args) < 3 else 1]
        for op in (ast.Add, ast.Sub):
            moved = [ast.BinOp(arg, op(), ast.Constant(1)) if arg is end else arg for arg in node.args]
            yield ast.Call(called, moved, node.keywords)


_LIBRARIES = {"torch", "F", "torch.nn.functional", "math", "copy", "np", "numpy", "re", "random"}
_ORDER_IS_FREE = {"transpose", "swapaxes", "min", "max", "isclose", "zip"}
_KEYWORDS = {"keepdim", "key", "reverse", "minlength", "default"}
_OVER_ALL = {"sum", "mean", "any", "all", "max", "min", "prod", "amax", "amin", "norm", "argmax", "argmin"}


def _subscript(node: ast.Subscript, arguments):
    if isinstance(node.slice, ast.Slice):
        for field in ("lower", "upper", "step"):
            bound = getattr(node.slice, field)
            parts = {name: getattr(node.slice, name) for name in ("lower", "upper", "step")}
            if bound is not None:
                yield ast.Subscript(node.value, ast.Slice(**{**parts, field: None}), node.ctx)
                if field != "step" and not isinstance(bound, (ast.Constant, ast.UnaryOp)):
                    for op in (ast.Add, ast.Sub):
                        moved = ast.BinOp(bound, op(), ast.Constant(1))
                        yield ast.Subscript(node.value, ast.Slice(**{**parts, field: moved}), node.ctx)


def _choice(node: ast.IfExp, arguments):
    yield node.body
    yield node.orelse


def _branch(node: ast.If, arguments):
    yield ast.If(ast.Constant(True), node.body, node.orelse)
    yield ast.If(ast.Constant(False), node.body, node.orelse)


def _comprehension(node: ast.comprehension, arguments):
    if node.ifs:
        yield ast.comprehension(node.target, node.iter, node.ifs[1:], node.is_async)


def _update(node: ast.AugAssign, arguments):
    yield ast.Pass()
    for other in _SWAPPED.get(type(node.op), ()):
        yield ast.AugAssign(node.target, other(), node.value)
    if isinstance(node.target, ast.Name):
        yield ast.Assign([node.target], node.value)


def _removed(node: ast.stmt, arguments):
    yield ast.Pass()


_RULES: dict[str, Callable[[Any, list[str]], Iterator[ast.AST]]] = {
    "Constant": _constants, "UnaryOp": _unary, "BinOp": _binary, "Compare": _compare, "BoolOp": _bool, "Call": _call,
    "Subscript": _subscript, "IfExp": _choice, "If": _branch, "comprehension": _comprehension, "AugAssign": _update,
    "Expr": _removed, "Break": _removed, "Continue": _removed,
}  # fmt: skip
