"""Importing is instant and works from anywhere, and imports run one way: down the stairs of the lessons."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gptlab

PACKAGE = Path(gptlab.__file__).parent
LESSONS = gptlab._LESSONS
BESIDE_THE_STAIRS = ("pictures", "exercises", "commands")  # notebooks use them, lessons and doors never


def module_name(path, package):
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(package=PACKAGE):
    """Name and source of every module of the package."""
    return {module_name(path, package): path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}


def imports(name, source, known):
    """The names of all modules that a module imports, anywhere in it; `known` are the package's own."""
    parent = name if any(other.startswith(name + ".") for other in known) else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = parent.split(".")[: len(parent.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            inside = {f"{base}.{alias.name}" for alias in node.names} & known
            found |= inside if inside and base in known and len(inside) == len(node.names) else {base, *inside}
    return found


def room(name):
    """The room of the house that a module is in: gptlab.corpora.fables -> corpora."""
    return [*name.split("."), ""][1]


def violations(sources):
    """Every import that the house forbids."""
    known, found, graph = set(sources), [], {}
    for name, source in sources.items():
        here = room(name)
        graph[name] = set()
        for imported in sorted(imports(name, source, known)):
            there = room(imported)
            if imported.split(".")[0] == "matplotlib" and here != "pictures":
                found.append(f"{name} imports {imported}: only pictures draws")
            if imported.split(".")[0] != "gptlab" or not there:
                continue
            if imported in known and imported != name:
                graph[name].add(imported)
            if here in LESSONS and there in LESSONS and LESSONS.index(there) > LESSONS.index(here):
                found.append(f"{name} imports {imported}, a later lesson")
            if here not in BESIDE_THE_STAIRS and there in BESIDE_THE_STAIRS and name != "gptlab.__main__":
                found.append(f"{name} imports {imported}, which stands beside the stairs")
    return found + [f"a circle: {' -> '.join(circle)}" for circle in circles(graph)]


def circles(graph):
    """The circles in a graph, each found once by depth-first search."""
    found, done = [], set()

    def visit(node, path):
        if node in path:
            found.append([*path[path.index(node) :], node])
        elif node not in done:
            for following in sorted(graph.get(node, ())):
                visit(following, [*path, node])
            done.add(node)

    for node in sorted(graph):
        visit(node, [])
    return found


def test_imports_run_one_way():
    assert violations(modules()) == []


@pytest.mark.parametrize(
    ("name", "planted", "said"),
    [
        ("gptlab.tokens", "from gptlab.training import train", "a later lesson"),
        ("gptlab.tokens", "import gptlab.training", "a later lesson"),
        ("gptlab.tokens", "from gptlab import training", "a later lesson"),
        ("gptlab.tokens", "from . import training", "a later lesson"),
        ("gptlab.tokens", "def f():\n    from .training import train", "a later lesson"),
        ("gptlab.training", "from gptlab import pictures", "beside the stairs"),
        ("gptlab.downloads", "from gptlab.exercises import check", "beside the stairs"),
        ("gptlab.training", "import matplotlib.pyplot as plt", "only pictures draws"),
        ("gptlab.tokens", "from gptlab import downloads", "a circle"),
    ],
)
def test_a_planted_violation_is_found(name, planted, said):
    sources = {f"gptlab.{room}": "" for room in ("tokens", "training", "pictures", "exercises")}
    sources |= {"gptlab": "", "gptlab.downloads": "from gptlab.tokens import CharTokenizer"}
    assert violations(sources) == []
    sources[name] += f"\n{planted}\n"
    assert any(said in found for found in violations(sources)), violations(sources)


def test_what_the_house_allows_is_no_violation():
    sources = {
        "gptlab": "import importlib",
        "gptlab.tokens": "import torch",
        "gptlab.training": "from gptlab import checkpoints\nfrom gptlab.tokens import CharTokenizer",
        "gptlab.checkpoints": "import safetensors",
        "gptlab.pictures": "import matplotlib\nfrom gptlab import training",
        "gptlab.pictures.curves": "from . import axes\nimport matplotlib.pyplot",
        "gptlab.pictures.axes": "",
    }
    assert violations(sources) == []


def run(code, folder):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, timeout=120)
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


def test_an_attribute_is_a_module_or_an_error():
    assert gptlab.gpu.__name__ == "gptlab.gpu"
    with pytest.raises(AttributeError, match="no attribute 'gpus'"):
        _ = gptlab.gpus
