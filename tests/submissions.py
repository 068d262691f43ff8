"""Sixty submissions of the attention notebook: right, with known mistakes, and broken or hostile.

    python tests/submissions.py FOLDER        # writes them all

`SUBMISSIONS` says of each what has to come out. Canaries that a hostile one tries to change lie where `canaries` says.
"""

import ast
import inspect
import json
import sys
import zipfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from gptlab.exercises import registry
from gptlab.exercises.engine import source

IDS = [exercise.id for exercise in registry.exercises("attention")]
NAMES = {id: registry.find(id).solution.__name__ for id in IDS}
IMPORTS = "import math\nimport torch\nimport torch.nn.functional as F\nfrom gptlab.exercises import check"


@dataclass
class Made:
    """A submission and what has to come out.

    Attributes:
        name: of the pupil.
        cells: of code.
        raw: the file itself, where it is no notebook.
        passed: ids that are right.
        mistakes: by id, the known mistake that has to be named.
        problem: a part of what is said of a file that cannot be marked.
        note: a part of what the teacher must be told.
        as_zip: whether it comes in a zip.
        more: files beside it.
    """

    name: str
    cells: list[str] = field(default_factory=list)
    raw: bytes | None = None
    passed: set[str] = field(default_factory=set)
    mistakes: dict[str, str] = field(default_factory=dict)
    problem: str = ""
    note: str = ""
    as_zip: bool = False
    more: dict[str, bytes] = field(default_factory=dict)


def cell(id, code=None, name=""):
    """The cell of an exercise with an answer in it; the course's solution unless given."""
    return f"{code or source(registry.find(id).solution)}\n\n\ncheck({id!r}, {name or NAMES[id]})"


def solved(without=()):
    return [IMPORTS, *(cell(id) for id in IDS if id not in without)]


# ---- Right -----------------------------------------------------------------------------------------------------------

# Other ways to be right, as pupils find them.
ANOTHER = {
    "attention.1": [
        "def average_past(x):\n    return torch.stack([x[:, : t + 1].mean(1) for t in range(x.shape[1])], dim=1)",
        "def average_past(x):\n    n = torch.arange(1, x.shape[1] + 1, device=x.device)\n"
        "    return x.cumsum(1) / n[None, :, None]",
        "average_past = lambda x: x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]",
        "from functools import partial\ndef helper(x, dim):\n    return x.cumsum(dim)\n"
        "def average_past(x):\n    return partial(helper, dim=1)(x) / (torch.arange(x.shape[1]) + 1).view(-1, 1)",
    ],
    "attention.2": [
        "def scaled_scores(x, W_q, W_k):\n    q, k = x @ W_q, x @ W_k\n"
        "    return torch.einsum('bth,bsh->bts', q, k) * q.shape[-1] ** -0.5",
        "class Scores:\n    def scaled_scores(self, x, W_q, W_k):\n        return self.dot(x @ W_q, x @ W_k)\n"
        "    def dot(self, q, k):\n        return q @ k.mT / q.size(-1) ** 0.5\nscaled_scores = Scores().scaled_scores",
    ],
    "attention.3": [
        "def causal_weights(scores):\n    T = scores.shape[-1]\n    bias = torch.full((T, T), -math.inf).triu(1)\n"
        "    return F.softmax(scores + bias, dim=2)",
    ],
    "attention.8": [
        "def layers_needed(T, width):\n    layers = 0\n    while layers * (width - 1) < T - 1:\n        layers += 1\n"
        "    return layers",
        "def layers_needed(T, width):\n    return -(-(T - 1) // (width - 1))",
    ],
}


def right():
    for number in range(20):
        cells = [IMPORTS, "print('hello', 1 / 3)"]
        for at, id in enumerate(IDS):
            ways = [None, *ANOTHER.get(id, [])]
            cells.append(cell(id, ways[(number + at) % len(ways)]))
        if number % 3 == 0:  # a first try that was wrong, and stubs that are left over
            cells.insert(1, f"{IMPORTS}\ncheck('attention.1', lambda x: x)\ncheck('attention.8', ...)")
            cells.append("check('attention.5', ...)")
        if number % 4 == 1:  # a cell that fails, a line for IPython, and a training that nobody waits for
            cells.insert(2, "%matplotlib inline\n!ls\n1 / 0")
            cells.insert(3, "model = None\nwhile model is None:\n    pass")
        if number % 5 == 2:  # all checks at the end, in a loop
            cells = [one.partition("\n\n\ncheck(")[0] for one in cells]
            pairs = ", ".join(f"({id!r}, {NAMES[id]})" for id in IDS)
            cells.append(f"for id, answer in [{pairs}]:\n    print(check(id, answer))")
        yield Made(f"right-{number:02}", cells, passed=set(IDS), as_zip=number % 6 == 5)


# ---- Known mistakes --------------------------------------------------------------------------------------------------


@cache
def declared():
    """What the file of the exercises has: the functions that mistakes use, and the code of each mistake by id."""
    text = Path(sys.modules[registry.find(IDS[0]).solution.__module__].__file__).read_text("utf-8")
    lines, tree = text.splitlines(), ast.parse(text)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    helpers = "\n\n".join("\n".join(lines[node.lineno - 1 : node.end_lineno]) for node in functions)
    wrong = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Exercise":
            named = {key.arg: key.value for key in node.keywords}
            listed = [one for one in named["mistakes"].elts if isinstance(one, ast.Call)]
            wrong[named["id"].value] = [(one.args[0].value, ast.unparse(one.args[1])) for one in listed]
    return f"import random\nfrom collections.abc import Callable\nfrom torch import Tensor\n\n{helpers}", wrong


def with_mistakes():
    helpers, wrong = declared()
    for number in range(20):
        cells, passed, mistakes = [IMPORTS], set(), {}
        for at, id in enumerate(IDS):
            if (number + at) % 3 == 0:
                cells.append(cell(id))
                passed.add(id)
            else:
                mistakes[id], code = wrong[id][(number * 3 + at) % len(wrong[id])]
                function = f"_wrong = {code}\n\n\ndef my_{NAMES[id]}(*args):\n    return _wrong(*args)"
                cells.append(cell(id, f"{helpers}\n\n\n{function}", f"my_{NAMES[id]}"))
        yield Made(f"mistake-{number:02}", cells, passed=passed, mistakes=mistakes)


# ---- Hostile or broken -----------------------------------------------------------------------------------------------


def canaries(folder):
    """Files that must not change, in the folder of the submissions and beside it."""
    return [Path(folder, "canary.txt"), Path(folder).parent / "canary-beside.txt"]


def _answers(body, id="attention.1", setup=""):
    """Right answers, but for one exercise whose answer has this body."""
    inside = "\n".join(f"    {line}" for line in body.splitlines())
    answer = f"{setup}\ndef {NAMES[id]}(*args):\n{inside}"
    return [IMPORTS, *(cell(other, answer if other == id else None) for other in IDS)]


def hostile(folder):
    """Twenty that are broken or mean harm; each may spoil its own marks and nothing else."""
    most = set(IDS) - {"attention.1"}
    targets = [str(path) for path in canaries(folder)]
    delete = (
        f"import os, shutil, pathlib\nfor path in {targets}:\n"
        "    for way in (os.remove, lambda p: open(p, 'w').write('gone'), lambda p: os.rename(p, p + 'x'),\n"
        "                lambda p: shutil.rmtree(os.path.dirname(p)), lambda p: pathlib.Path(p).write_text('gone')):\n"
        "        try:\n            way(path)\n        except BaseException:\n            pass\n"
    )
    by_libc = (
        f"import ctypes\nfor path in {targets}:\n    try:\n        ctypes.pythonapi.unlink(path.encode())\n"
        "    except BaseException:\n        pass\n"
    )
    patched = (
        "from gptlab.exercises import judge, running, values\nimport gptlab.exercises.judge as judge\n"
        "import gptlab.exercises.engine as engine, gptlab.exercises.registry as registry, gptlab.exercises as ex\n"
        "values.difference = running.difference = lambda *a, **k: None\n"
        "judge.assessed = judge.judge = lambda *a, **k: judge.Verdict('passed', 9, 9)\n"
        "engine.judge = judge.judge\nex.check = check = lambda *a, **k: print('passed')\n"
        "torch.allclose = torch.equal = lambda *a, **k: True\n"
    )
    forge = (  # a passed mark, written to every open channel
        "import json, os, struct\n"
        "message = json.dumps({'check': 'attention.1', 'number': 1, 'state': 'passed', 'value': True}).encode()\n"
        "for fd in range(3, 40):\n    try:\n        os.write(fd, struct.pack('>I', len(message)) + message)\n"
        "    except OSError:\n        pass\n"
    )
    flood = (
        "import os\nfor fd in range(3, 40):\n    try:\n        os.write(fd, b'\\xff' * 10**7)\n"
        "    except OSError:\n        pass"
    )
    pickled = (
        "import os\nclass Evil:\n    def __reduce__(self):\n        return (open, (" + repr(targets[0]) + ", 'w'))"
    )
    wrong = "return args[0] * 0 + 7"
    stubs = [IMPORTS, *(cell(id, f"def {NAMES[id]}(*args): return None") for id in IDS)]
    endless_import = "import itertools"
    older = [one.replace("'attention.", "'6.") for one in solved()]
    renamed = [one.replace("'attention.2'", "'attention.22'") for one in solved()]
    bomb = "import os\nfor _ in range(10**6):\n    try:\n        os.fork()\n    except OSError:\n        pass"
    yield Made("endless-loop", _answers("while True:\n    pass"), passed=most)
    yield Made("endless-in-c", _answers("return sum(itertools.count())", setup=endless_import), passed=most)
    yield Made(
        "endless-cell", [*solved(), f"{IMPORTS}\nx = [1]\nwhile x: pass\ncheck('attention.1', x.append)"], passed=most
    )
    yield Made("memory-hog", _answers("return [bytearray(10**9) for _ in range(100)]"), passed=most)
    yield Made("deletes-files", _answers(f"{delete}{wrong}"), passed=most)
    yield Made("deletes-by-libc", _answers(f"{by_libc}{wrong}"), passed=most)
    yield Made("exits", _answers("import os\nos._exit(0)"), passed=most)
    yield Made("exits-politely", [*solved(), "raise SystemExit"], passed=set(IDS))
    yield Made("prints-100-mb", _answers("for _ in range(100):\n    print('x' * 10**6)\n" + wrong), passed=most)
    yield Made("not-json", raw=b"\x89PNG this is no notebook", problem="not JSON")
    yield Made("empty", raw=b"", problem="empty")
    yield Made("huge", raw=b"[" + b" " * (51 << 20) + b"]", problem="MB")
    yield Made("renamed", renamed, passed=set(IDS) - {"attention.2"}, note="no exercise 'attention.22'")
    yield Made("older-release", older, passed=set(IDS), note="older edition")
    yield Made(
        "patched-checker", [IMPORTS, patched, *(cell(id, f"def {NAMES[id]}(*args): return judge") for id in IDS)]
    )
    yield Made("forges-messages", [IMPORTS, cell("attention.1", f"def average_past(*args):\n    {_indent(forge)}")])
    yield Made("floods-the-judge", _answers(flood + "\n" + wrong), passed=most)
    yield Made("pickle", _answers("return Evil()", setup=pickled), passed=most)
    yield Made("fork-bomb", _answers(f"{bomb}\n{wrong}"), passed=most)
    yield Made(
        "fills-the-disk-and-lies",
        [*stubs, "open('progress.json', 'w').write('{\"passed\": true}' * 10**8)\nprint('✓ passed')\nprint('8 of 8')"],
    )


def _indent(text):
    return text.rstrip().replace("\n", "\n    ")


# ---- Writing them ----------------------------------------------------------------------------------------------------


def notebook_of(cells):
    code = [
        {"cell_type": "code", "source": text, "metadata": {}, "outputs": [], "execution_count": None} for text in cells
    ]
    said = {"cell_type": "markdown", "source": "# 06 Attention", "metadata": {}}
    return json.dumps({"cells": [said, *code], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


def every(folder):
    """All sixty."""
    return [*right(), *with_mistakes(), *hostile(folder)]


def write(folder, chosen):
    """Write submissions, as files, folders and zips, with canaries."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in canaries(folder):
        path.write_text("alive")
    for number, one in enumerate(chosen):
        data = notebook_of(one.cells) if one.raw is None else one.raw
        if one.as_zip:
            with zipfile.ZipFile(folder / f"{one.name}.zip", "w") as archive:
                archive.writestr("my_course/06_attention.ipynb", data)
        elif number % 2:
            (folder / one.name).mkdir()
            (folder / one.name / "06_attention.ipynb").write_bytes(data)
        else:
            (folder / f"06_attention_{one.name}.ipynb").write_bytes(data)


if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) == 2 else sys.exit(inspect.cleandoc(__doc__))
    write(where, every(where))
    print(f"{len(every(where))} submissions in {where}")
