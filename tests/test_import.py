"""Importing is instant and works from anywhere; imports run one way, down the order of the lessons; modules are short.

An import is an import statement, a string that names a module of ours (`"gptlab.llama"`), or a call that computes the
name of one. The last kind is allowed where `COMPUTED` gives the reason.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gptlab

PACKAGE = Path(gptlab.__file__).parent
LESSONS = tuple(found.topic for found in gptlab.NOTEBOOKS)
# Notebooks use them, lessons and interfaces never.
BESIDE_THE_LESSONS = ("pictures", "exercises", "commands", "lab", "classroom", "site")
GROUND = ("gptlab.files", "gptlab.html")  # the standard library only, and nothing of ours

# Modules that import by a computed name, and why.
COMPUTED = {
    "gptlab": "a module of the course is loaded when it is first used",
    "gptlab.commands": "a command's module is loaded when it is run, by its name",
    "gptlab.commands.bench": "and so is a benchmark's",
    "gptlab.exercises.engine": "`compare` finds the function of the package that an exercise names",
    "gptlab.exercises.registry": "a topic's exercises are loaded by the name of the topic",
}

MODULE = re.compile(r"gptlab(\.\w+)+")  # or something in it: gptlab.bpe.merge
LONGEST = 300  # lines of a module
DATA = re.compile(rf"gptlab\.exercises\.({'|'.join(LESSONS)})")  # exercises are data: texts, stubs and known mistakes


def module_name(path, package):
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(package=PACKAGE):
    """Name and source of every module of the package."""
    return {module_name(path, package): path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}


def docstrings(tree):
    """The nodes of a tree that are docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, documented) and node.body]
    return {id(body[0].value) for body in bodies if isinstance(body[0], ast.Expr)}


def longest_known(dotted, known):
    """The module that a dotted name begins with: gptlab.bpe.merge -> gptlab.bpe; "" if none of ours but the package."""
    parts = dotted.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 1, -1))
    return next((name for name in names if name in known), "")


def imports(name, source, known):
    """The names of all modules that a module imports, anywhere in it; `known` are the package's own."""
    parent = name if any(other.startswith(name + ".") for other in known) else name.rpartition(".")[0]
    found, tree = set(), ast.parse(source)
    prose = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = parent.split(".")[: len(parent.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            inside = {f"{base}.{alias.name}" for alias in node.names} & known
            found |= inside if inside and base in known and len(inside) == len(node.names) else {base, *inside}
        elif isinstance(node, ast.Constant) and id(node) not in prose and MODULE.fullmatch(str(node.value)):
            found.add(longest_known(node.value, known))
    return found - {""}


def computes_a_name(source):
    """Whether a module calls `import_module` or `__import__` with anything but a plain string."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__") and not isinstance(node.args[0], ast.Constant):
                return True
    return False


def part(name):
    """The part of the package that a module is in: gptlab.corpora.fables -> corpora."""
    return [*name.split("."), ""][1]


def import_graph(sources):
    """Which modules of ours each module imports."""
    known = set(sources)
    return {name: (imports(name, source, known) & known) - {name} for name, source in sources.items()}


def violations(sources):
    """Every import that the order forbids, circles apart."""
    known, found = set(sources), []
    for name, source in sources.items():
        here = part(name)
        if computes_a_name(source) and name not in COMPUTED:
            found.append(f"{name} imports by a computed name, for which COMPUTED has no reason")
        for imported in sorted(imports(name, source, known)):
            there, library = part(imported), imported.split(".")[0]
            if library == "matplotlib" and here != "pictures":
                found.append(f"{name} imports {imported}: only pictures draws")
            if name in GROUND and library not in sys.stdlib_module_names:
                found.append(f"{name} imports {imported}: it is for the standard library only")
            if library != "gptlab" or not there:
                continue
            if here in LESSONS and there in LESSONS and LESSONS.index(there) > LESSONS.index(here):
                found.append(f"{name} imports {imported}, a later lesson")
            if here not in BESIDE_THE_LESSONS and there in BESIDE_THE_LESSONS and name != "gptlab.__main__":
                found.append(f"{name} imports {imported}, which stands beside the lessons")
    return found


def circles(graph):
    """The groups of modules that reach each other (Tarjan's strongly connected components with two or more)."""
    found, order, low, stack = [], {}, {}, []

    def visit(node):
        order[node] = low[node] = len(order)
        stack.append(node)
        for following in sorted(graph.get(node, ())):
            if following not in order:
                visit(following)
                low[node] = min(low[node], low[following])
            elif following in stack:
                low[node] = min(low[node], order[following])
        if low[node] == order[node]:
            group = set()
            while node not in group:
                group.add(stack.pop())
            found.extend([group] if len(group) > 1 else [])

    for node in sorted(graph):
        if node not in order:
            visit(node)
    return found


# ------------------------------------------------------------------------------------------------- the package as it is


def test_imports_run_one_way():
    assert violations(modules()) == []


def test_no_imports_run_in_a_circle():
    assert circles(import_graph(modules())) == []


def test_every_reason_for_a_computed_import_is_needed():
    computing = {name for name, source in modules().items() if computes_a_name(source)}
    assert set(COMPUTED) == computing


def test_no_module_is_too_long_to_read_in_one_sitting():
    lengths = {name: len(source.splitlines()) for name, source in modules().items() if not DATA.fullmatch(name)}
    assert {name for name, length in lengths.items() if length > LONGEST} == set()


# --------------------------------------------------------------------------------------------------- planted violations


@pytest.mark.parametrize(
    ("name", "planted", "expected"),
    [
        ("gptlab.tokens", "from gptlab.training import train", "a later lesson"),
        ("gptlab.tokens", "import gptlab.training", "a later lesson"),
        ("gptlab.tokens", "from gptlab import training", "a later lesson"),
        ("gptlab.tokens", "from . import training", "a later lesson"),
        ("gptlab.tokens", "def f():\n    from .training import train", "a later lesson"),
        ("gptlab.tokens", "import_module('gptlab.training')", "a later lesson"),
        ("gptlab.tokens", "KINDS = {'x': ('gptlab.training', 'Thing')}", "a later lesson"),
        ("gptlab.tokens", "f('gptlab.training.train')", "a later lesson"),
        ("gptlab.training", "from gptlab import pictures", "beside the lessons"),
        ("gptlab.training", "x = 'gptlab.exercises'", "beside the lessons"),
        ("gptlab.downloads", "from gptlab.exercises import check", "beside the lessons"),
        ("gptlab.training", "import matplotlib.pyplot as plt", "only pictures draws"),
        ("gptlab.training", "importlib.import_module(f'gptlab.{name}')", "by a computed name"),
        ("gptlab.training", "x = __import__(name)", "by a computed name"),
        ("gptlab.files", "import numpy", "standard library only"),
        ("gptlab.files", "def f():\n    from gptlab.tokens import load", "standard library only"),
    ],
)
def test_a_planted_violation_is_found(name, planted, expected):
    sources = {f"gptlab.{topic}": "" for topic in ("tokens", "training", "pictures", "exercises", "downloads", "files")}
    sources["gptlab"] = ""
    assert violations(sources) == []
    sources[name] += f"\n{planted}\n"
    assert any(expected in found for found in violations(sources)), violations(sources)


@pytest.mark.parametrize("planted", ["from gptlab import downloads", "x = 'gptlab.downloads'"])
def test_a_planted_circle_is_found(planted):
    sources = {"gptlab": "", "gptlab.tokens": planted, "gptlab.downloads": "from gptlab import files"}
    sources["gptlab.files"] = ""
    assert circles(import_graph(sources)) == []
    sources["gptlab.files"] = "import gptlab.tokens"
    assert circles(import_graph(sources)) == [{"gptlab.tokens", "gptlab.downloads", "gptlab.files"}]


def test_what_the_order_allows_is_no_violation():
    sources = {
        "gptlab": "import importlib",
        "gptlab.tokens": "import torch",
        "gptlab.training": '"""gptlab.sampling"""\nfrom gptlab import checkpoints\nfrom gptlab.tokens import load',
        "gptlab.checkpoints": "import safetensors\nraise ValueError('read it with gptlab.training.train')",
        "gptlab.files": "import os",
        "gptlab.sampling": "def f():\n    'gptlab.llama'",
        "gptlab.pictures": "import matplotlib\nfrom gptlab import training",
        "gptlab.pictures.curves": "from . import axes\nimport matplotlib.pyplot",
        "gptlab.pictures.axes": "",
    }
    assert violations(sources) == [] == circles(import_graph(sources))


# ------------------------------------------------------------------------------------------------------------ importing


def run(code, folder, *options):
    done = subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, cwd=folder, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_the_package_loads_nothing_heavy(tmp_path):
    loaded = run("import gptlab, sys; print(*sys.modules)", tmp_path)
    heavy = {"torch", "numpy", "matplotlib", "tiktoken", "sentencepiece", "transformers", "tyro", "regex"}
    assert "gptlab" in loaded and not heavy & set(loaded)
    assert not [name for name in loaded if name.startswith("gptlab.")]


def test_every_module_is_importable_from_any_folder(tmp_path):
    names = [name for name in modules() if not name.endswith("__main__")]
    code = f"import importlib\nfor name in {names}:\n    importlib.import_module(name)\nprint(len({names}))"
    assert run(code, tmp_path) == [str(len(names))]


WITHOUT_LAZY_LOADER = "import sys; sys.modules['lazy_loader'] = None\n"


@pytest.mark.parametrize("before", ["", WITHOUT_LAZY_LOADER])
def test_an_attribute_is_a_module_or_a_tool_or_an_error(before, tmp_path):
    code = before + (
        "import gptlab\n"
        "assert gptlab.files.__name__ == 'gptlab.files' and gptlab.html.escape('<') == '&lt;'\n"
        "assert gptlab.show(gptlab.show).text.startswith('def show')\n"
        "assert not hasattr(gptlab, 'gpus') and not hasattr(gptlab, '__main__')\n"
        "try: gptlab.gpus\n"
        "except AttributeError as error: print(error)\n"
    )
    assert run(code, tmp_path)[-1] == "gpus"


@pytest.mark.parametrize("before", ["", WITHOUT_LAZY_LOADER])
def test_tab_shows_the_lessons_and_the_tools_and_nothing_private(before, tmp_path):
    shown = run(before + "import gptlab; print(*dir(gptlab))", tmp_path)
    written = {topic for topic in LESSONS if (PACKAGE / f"{topic}.py").exists() or (PACKAGE / topic).is_dir()}
    assert written | {"show", "trace", "notebook", "NOTEBOOKS", "pictures", "exercises", "lab", "corpora"} <= set(shown)
    assert not [name for name in shown if name.startswith("_") or name in ("importlib", "pkgutil", "annotations")]


def test_a_lesson_that_is_not_written_is_no_attribute_and_no_failure():
    missing = {topic for topic in LESSONS if not (PACKAGE / f"{topic}.py").exists() and not (PACKAGE / topic).is_dir()}
    assert [topic for topic in missing if hasattr(gptlab, topic)] == []


def test_the_instruments_of_the_notebooks_are_reachable():
    assert gptlab.tracing is gptlab.lab.tracing and gptlab.trace is gptlab.tracing.trace
    assert gptlab.source is gptlab.lab.source and gptlab.show is gptlab.source.show
    assert gptlab.comparison.REACH and gptlab.breaking.FAULTS
    assert set(dir(gptlab.lab)) == {"breaking", "comparison", "source", "tracing"}


# ── Shapes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_shapes_are_checked_in_every_module_that_states_them(pytestconfig):
    """Elsewhere the check of each call would find nothing and make the suite twice as slow."""
    (option,) = [option for option in pytestconfig.getini("addopts") if option.startswith("--jaxtyping-packages=")]
    *checked, checker = option.partition("=")[2].split(",")
    stating = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in sorted(PACKAGE.rglob("*.py"))
        if "from jaxtyping import" in path.read_text(encoding="utf-8")
    ]
    assert checked == stating and checker == "beartype.beartype"
