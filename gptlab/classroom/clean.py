"""The clean twin of a notebook: headings and stubs, for recall after the lesson and for live coding in it.

What the text explains is gone, and so is what the code does: a function keeps its first line, a cell that made
something says what it was to make. Imports and checks stay, so that the twin runs from top to bottom as it is.

>>> stub("q = x @ W_q\\nk = x @ W_k\\nprint(q.shape)")
'# to make: q, k'
>>> print(stub('def f(x):\\n    return 2 * x\\ny = f(2)\\ncheck("t.1", f)'))
def f(x):
    ...
<BLANKLINE>
check("t.1", f)
<BLANKLINE>
# to make: y
"""

import ast
import re
from typing import Any

_KEPT = {"check", "hint", "quiz", "recap", "progress"}  # calls that ask the reader
_HEADING = re.compile(r"^#{1,6} .+$", re.MULTILINE)


def clean(source: dict[str, Any]) -> dict[str, Any]:
    """A notebook without prose and without what its code does; its cells keep their order and tags.

    Args:
        source: a notebook without outputs.
    """
    cells = []
    for cell in source["cells"]:
        text = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            headings = _HEADING.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL))
            if headings:
                cells.append({**cell, "source": "\n\n".join(headings)})
        elif cell["cell_type"] == "code" and (short := stub(text)):
            cells.append({**cell, "source": short})
    return {**source, "cells": cells}


def stub(code: str) -> str:
    """A cell as a frame to fill: its imports, the first lines of its functions, its checks, and what it was to make.

    Args:
        code: of the cell.
    """
    try:
        tree = ast.parse(code)
    except SyntaxError:  # a line for IPython
        return ""
    kept, made = [], []
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)) or _asks(node):
            kept.append(ast.get_source_segment(code, node) or "")
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            kept.append(_frame(node))
        else:
            made += [name for name in _targets(node) if name not in made and name != "_"]
    parts = _joined(kept)
    return "\n\n".join(filter(None, [parts, f"# to make: {', '.join(made)}" if made else ""]))


def _joined(kept: list[str]) -> str:
    """Imports line by line, and an empty line around everything else."""
    text = ""
    for one in kept:
        both_imports = text.rpartition("\n")[2].startswith(("import ", "from ")) and one.startswith(
            ("import ", "from ")
        )
        text += ("\n" if both_imports else "\n\n") * bool(text) + one
    return text


def _asks(node: ast.stmt) -> bool:
    """A call like `check("attention.1", f)`; of a prediction, only one that needs nothing made before."""
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name)):
        return False
    given = [*node.value.args, *(one.value for one in node.value.keywords)]
    plain = all(isinstance(part, ast.Constant) for one in given for part in ast.walk(one) if isinstance(part, ast.expr))
    return node.value.func.id in _KEPT or (node.value.func.id == "predict" and plain)


def _frame(node: Any) -> str:
    """A function or class with its docstring and dots; of a class, the frames of its methods."""
    if isinstance(node, ast.ClassDef):
        inside = [one for one in node.body if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))]
        body = [ast.parse(_frame(one)).body[0] for one in inside]
    else:
        body = []
    said = ast.get_docstring(node)
    words = [ast.Expr(ast.Constant(said))] if said else []
    node.body = [*words, *(body or [ast.Expr(ast.Constant(...))])]
    node.decorator_list = []
    return ast.unparse(ast.fix_missing_locations(node))


def _targets(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    parts = [part for target in targets for part in ast.walk(target)]  # from left to right
    return [part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)]
