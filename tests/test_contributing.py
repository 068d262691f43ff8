"""What CONTRIBUTING.md says to do is enough: each recipe is followed here in a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture
def copy(tmp_path):
    """The package in a folder of its own, as a contributor has it."""
    shutil.copytree(ROOT / "gptlab", tmp_path / "gptlab", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "data").symlink_to(ROOT / "data", target_is_directory=True)
    return tmp_path


def run(folder, code):
    """Run code with the copy as the package; what it prints."""
    variables = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=variables)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def edit(path, before, after):
    """Replace one piece of a file; it must stand there exactly once."""
    source = path.read_text(encoding="utf-8")
    assert source.count(before) == 1, f"{before!r} stands {source.count(before)} times in {path.name}"
    path.write_text(source.replace(before, after), encoding="utf-8")


def section(title):
    """The numbered steps under a heading."""
    (body,) = re.findall(rf"^## {title}\n(.*?)(?=^## )", TEXT, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"^\d\. ", body, flags=re.MULTILINE)


@pytest.mark.parametrize("title", ["To add a notebook", "To add a corpus", "To add an optimizer", "To add an exercise"])
def test_each_recipe_has_five_steps(title):
    assert len(section(title)) == 5


def test_every_file_that_is_named_is_there():
    named = re.findall(r"`((?:gptlab|tests|notebooks|data)/[\w./]+)`", TEXT)
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists() and not re.search("TOPIC|NAME|NN_", path)] == []


def test_names_of_the_glossary_are_names_of_the_package():
    table = TEXT.split("## Glossary")[1].split("\n## ")[0]
    ours = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    names = {name for cell in ours for name in re.findall(r"`(\w+)`", cell)}
    package = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "gptlab").rglob("*.py"))
    assert len(names) > 15 and [name for name in sorted(names) if not re.search(rf"\b{name}\b", package)] == []


def test_an_optimizer_is_added_in_three_places(copy):
    package = copy / "gptlab"
    edit(
        package / "optimizers.py",
        '    "muon": _muon,\n',
        '    "muon": _muon,\n    "plain": lambda matrices, _: torch.optim.SGD(matrices, lr=0.02, momentum=0.9),\n',
    )
    edit(package / "schedule.py", 'Literal["adamw", "muon"] = "adamw"', 'Literal["adamw", "muon", "plain"] = "adamw"')
    edit(package / "gpu" / "memory.py", '"sgd": (0, 0)}', '"sgd": (0, 0), "plain": (4, 8)}')
    code = """
from gptlab import checkpoints, gpu
from gptlab.batches import Batches
from gptlab.model import GPT, GPTConfig
from gptlab.training import TrainConfig, train
import torch

def model():
    torch.manual_seed(0)
    return GPT(GPTConfig(vocab_size=11, context=8, n_layer=2, n_head=2, n_embd=12))

def trained(**changes):
    how = TrainConfig(optimizer="plain", warmup=0, decay_fraction=0, save_every=2, **changes)
    m = model()
    return m, train(m, Batches(list(range(11)) * 9, 3, 8), how, progress=False, **where)

where = {}
whole, history = trained(steps=4)
where = {"folder": "run"}
trained(steps=2)
where["resume"] = True
again, _ = trained(steps=4)
assert history.losses[-1] < history.losses[0]
assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
assert gpu.estimate_memory(whole.config, B=3, T=8, optimizer="plain").moments
"""
    run(copy, code)
    offered = run(
        copy, "import sys; sys.argv = ['gptlab', 'train', '--help']; from gptlab.__main__ import main; main()"
    )
    assert "plain" in offered


def test_an_exercise_is_added_by_one_object(copy):
    file = copy / "gptlab" / "exercises" / "embedding.py"
    source = file.read_text(encoding="utf-8")
    source += """

def triple(n):
    return 3 * n


EXERCISES.append(
    Exercise(
        id="embedding.99", title="Triple", kind="warm-up", minutes=2, difficulty=1, prompt="Three times `n`, an `int`.",
        signature="def triple(n: int) -> int", inputs=lambda rng: [(0,), (1,), (2,), (rng.randrange(9),)],
        solution=triple, hints=["a", "b", "c"],
        mistakes=[Mistake("doubled", lambda n: 2 * n, "Three times."), Mistake("cubed", lambda n: n**3, "Times 3."),
                  Mistake("added", lambda n: n + 3, "Multiply.")],
    )
)
"""
    file.write_text(source, encoding="utf-8")
    said = run(copy, "from gptlab.exercises import check; print(check('embedding.99', lambda n: 2 * n))")
    assert "Most likely: doubled." in said


def test_a_notebook_is_added_by_one_line_in_the_table(copy):
    package = copy / "gptlab"
    line = '        ("attention", "attention", "Attention", '
    edit(package / "__init__.py", line, '        ("between", "between", "Between", "a new idea"),\n' + line)
    code = "import gptlab; print(gptlab.notebook('between').file, gptlab.notebook('attention').file)"
    assert run(copy, code).split() == ["06_between", "07_attention"]


def test_the_citation_names_this_version_and_licence():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    said = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert f'version = "{said["version"]}"' in project and f'license = {{ text = "{said["license"]}" }}' in project
    assert {"cff-version", "message", "title", "authors"} <= set(said)  # what the format asks for
