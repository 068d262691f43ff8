"""Every docstring can be read by a parser: one parameter a line, and none that does not exist.

Editors, `tyro`'s help texts and documentation tools all read Google style with `docstring_parser` or something like it.
"""

import ast
import re
from pathlib import Path

import pytest
from docstring_parser import DocstringStyle, parse

import gptlab

PACKAGE = Path(gptlab.__file__).parent
SECTION = re.compile(r"(Args|Attributes):")
SECOND = re.compile(
    r"(?:\s{2,}|[.;:,)] +)`?\*{0,2}[A-Za-z_]\w*(?:, [A-Za-z_]\w*)*`?: "
)  # "x: one thing.  y: another one"


def definitions(tree, path=()):
    """Each public function and class of a module with its dotted name, the methods of public classes included."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield ".".join([*path, node.name]), node
            if isinstance(node, ast.ClassDef):
                yield from definitions(node, (*path, node.name))


def parameters(function):
    """The names of a function's parameters."""
    given = function.args
    more = [extra for extra in (given.vararg, given.kwarg) if extra is not None]
    return {argument.arg for argument in [*given.posonlyargs, *given.args, *given.kwonlyargs, *more]}


def attributes(node):
    """The names that a class gives to itself or to its objects."""
    names = set()
    for inner in ast.walk(node):
        if isinstance(inner, (ast.FunctionDef, ast.ClassDef)):
            names.add(inner.name)
        elif isinstance(inner, ast.Attribute) and getattr(inner.value, "id", "") == "self":
            names.add(inner.attr)
        elif isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
            names.add(inner.target.id)
        elif isinstance(inner, ast.Assign):
            names |= {target.id for target in inner.targets if isinstance(target, ast.Name)}
    return names


def sections(text):
    """The lines of the sections that name parameters: each with its kind and whether it begins a description."""
    kind, deeper = None, None
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if found := SECTION.fullmatch(line.strip()):
            kind, outer, deeper = found[1], indent, None
        elif kind and line.strip():
            if indent <= outer:
                kind = None
                continue
            deeper = indent if deeper is None else deeper
            yield kind, line.strip(), indent == deeper


def complaints(node):
    """What a parser would miss or invent in the docstring of a function or class."""
    text = ast.get_docstring(node)
    if text is None:
        return []
    if isinstance(node, ast.ClassDef):
        constructors = [inner for inner in node.body if getattr(inner, "name", "") == "__init__"]
        known = attributes(node)
        allowed = {"Args": parameters(constructors[0]) if constructors else known, "Attributes": known}
    else:
        allowed = {"Args": parameters(node), "Attributes": set()}
    parsed = {p.arg_name.lstrip("*") for p in parse(text, DocstringStyle.GOOGLE).params}
    found = []
    for kind, line, begins in sections(text):
        name = line.partition(":")[0].strip().lstrip("*")
        if begins and name not in allowed[kind]:
            found.append(f"{kind} documents {name!r}, which does not exist")
        elif begins and name not in parsed:
            found.append(f"a parser does not find {name!r}")
        rest = line.partition(":")[2] if begins else line
        names = {found for second in SECOND.findall(rest) for found in re.findall(r"\w+", second)}
        if names & allowed[kind]:
            found.append(f"{sorted(names & allowed[kind])} is on the line of another one: {line!r}")
    return found


def all_complaints(sources):
    """For each public function and class whose docstring a parser misreads: why."""
    found = {}
    for module, source in sources.items():
        for name, node in definitions(ast.parse(source)):
            if wrong := complaints(node):
                found[f"{module}.{name}"] = wrong
    return found


def test_every_docstring_is_read_by_a_parser_as_by_a_person():
    sources = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        sources[".".join(part for part in parts if part != "__init__")] = path.read_text(encoding="utf-8")
    assert all_complaints(sources) == {}


def of_function(*lines):
    body = "\n".join(f"        {line}" for line in lines)
    return f'def f(x, y, *more, size=1, **options):\n    """Do it.\n\n    Args:\n{body}\n    """\n'


def of_class(*lines, section="Attributes"):
    body = "\n".join(f"        {line}" for line in lines)
    return (
        f'class C:\n    """It.\n\n    {section}:\n{body}\n    """\n\n    x: int = 0\n\n'
        "    def __init__(self, size):\n        self.y = size\n"
    )


@pytest.mark.parametrize(
    "source",
    [
        of_function("x: one thing.", "y: another, e.g. dict(x=1): the", "    rest of it.", "options: passed on."),
        of_function("x: with a ratio, 1: 2, in it", "size: as here: so"),
        of_function("more: any", "size: of it"),
        of_class("x: a field.", "y: set by the constructor"),
        of_class("size: of it", section="Args"),
        "def f(x):\n    pass\n",
        'def f(x):\n    """One line."""\n',
    ],
)
def test_a_good_docstring_is_left_in_peace(source):
    assert all_complaints({"m": source}) == {}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (of_function("x: one thing.  y: another."), "['y'] is on the line of another one"),
        (of_function("x: one thing. y: another."), "['y'] is on the line of another one"),
        (of_function("x: one thing that is", "    long.  size: another."), "['size'] is on the line of another one"),
        (of_function("x, y: both."), "documents 'x, y', which does not exist"),
        (of_function("z: nothing."), "documents 'z', which does not exist"),
        (of_class("x: a field.  y: another."), "['y'] is on the line of another one"),
        (of_class("z: nothing."), "documents 'z', which does not exist"),
        (of_class("x: not of the constructor", section="Args"), "documents 'x', which does not exist"),
        (of_class("x: a field").replace("    def __init__", '    def g(self, a):\n        """G.\n\n        Args:\n'
         '            b: it\n        """\n\n    def __init__'), "documents 'b', which does not exist"),
    ],
)  # fmt: skip
def test_a_planted_fault_is_found(source, expected):
    (wrong,) = all_complaints({"m": source}).values()
    assert any(expected in complaint for complaint in wrong), wrong
