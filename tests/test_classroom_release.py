"""What pupils get: notebooks without outputs, clean twins, all that they need, and one command that works offline.

With GPTLAB_INSTALL=1 the whole way is gone: wheels are collected, and everything after that has no network.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from gptlab import NOTEBOOKS, commands
from gptlab.classroom import clean, grading, release, submissions
from gptlab.commands import environment, installation, wheels
from gptlab.exercises import registry

ROOT = Path(__file__).resolve().parents[1]
TAG = f"cp{sys.version_info[0]}{sys.version_info[1]}"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A release of two notebooks, unpacked."""
    folder = tmp_path_factory.mktemp("release")
    manifest = release.make(["attention", "0"], folder / "course.zip")
    with zipfile.ZipFile(folder / "course.zip") as archive:
        archive.extractall(folder)
    return SimpleNamespace(zip=folder / "course.zip", course=folder / release.TOP, manifest=manifest)


def cells(path):
    return json.loads(path.read_text("utf-8"))["cells"]


def test_a_release_has_the_chosen_notebooks_without_outputs_and_a_clean_twin_of_each(made):
    for folder in ("notebooks", "clean"):
        assert [path.name for path in sorted((made.course / folder).iterdir())] == [
            "00_start_here.ipynb", "06_attention.ipynb",
        ]  # fmt: skip
        for path in (made.course / folder).iterdir():
            code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
            assert code and not any(cell["outputs"] or cell["execution_count"] for cell in code)


def test_the_manifest_says_what_it_was_made_of(made):
    manifest = json.loads((made.course / "release.json").read_text("utf-8"))
    assert (
        manifest
        == made.manifest
        == release.read_manifest(made.zip)
        == release.read_manifest(made.course / "release.json")
    )
    ids = [exercise.id for exercise in registry.exercises("attention")]
    assert sorted(manifest["notebooks"]["06_attention"]["exercises"]) == ids
    assert manifest["exercises"]["attention.1"] == release.exercise_hash("attention.1") != ""
    working = json.loads((made.course / "notebooks" / "06_attention.ipynb").read_text("utf-8"))
    assert working["metadata"]["gptlab"] == {"release": manifest["release"], "notebook": "06_attention"}


def test_a_release_brings_the_package_its_data_and_nothing_of_the_workshop(made):
    assert (made.course / "data" / "models" / "fables" / "model.safetensors").is_file()
    assert (made.course / "gptlab" / "attention.py").is_file() and (made.course / "pyproject.toml").is_file()
    assert not (made.course / "tests").exists() and not list(made.course.rglob("__pycache__"))
    assert "`python3 -m gptlab start`" in (made.course / "README.md").read_text("utf-8")


def test_the_same_course_gives_the_same_zip(made, tmp_path):
    release.make(["0", "06_attention"], tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == made.zip.read_bytes()


def test_the_vocabularies_that_a_notebook_names_come_along(tmp_path, monkeypatch):
    from gptlab.commands import fetch

    asked = []

    def get(name, into):
        asked.append(name)
        if name == "o200k_base":
            raise fetch.downloads.DownloadError(SimpleNamespace(path="x", command=name), [], into)
        (into / f"{name}.bin").write_bytes(b"x")

    monkeypatch.setattr(fetch, "get", get)
    monkeypatch.setattr(fetch.downloads.DownloadError, "__init__", lambda self, *_: None)
    manifest = release.make(["bpe"], tmp_path / "course.zip")
    assert {"gpt2", "cl100k_base", "o200k_base"} <= set(asked) and "gpt2.bin" in manifest["class-data"]
    assert manifest["not there"] == ["o200k_base"]


def test_another_release_is_told_apart(made, tmp_path, monkeypatch, capsys):
    manifest = made.manifest | {"exercises": {"attention.1": "0", "attention.2": release.exercise_hash("attention.2")}}
    (tmp_path / "release.json").write_text(json.dumps(manifest))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ada.ipynb").touch()
    monkeypatch.chdir(tmp_path)
    assert commands.run(["classroom", "grade", "in", "--release", "release.json"]) == 0
    assert "Changed since that release, and marked as they are now: attention.1\n" in capsys.readouterr().out
    old = submissions.Submission("Ada", "ada.ipynb", problem="the file is empty", made_of="0.1-old")
    assert "made from release 0.1-old" in grading.grade([old], grading.Settings(), "0.2-new")[0].notes[0]


# ------------------------------------------------------------------------------------------------------ the clean twins


@pytest.mark.parametrize("found", NOTEBOOKS, ids=lambda one: one.file)
def test_a_clean_twin_has_every_check_and_no_prose_and_no_solution(found):
    path = ROOT / "notebooks" / f"{found.file}.ipynb"
    if not path.exists():
        pytest.skip("still to come")
    source = json.loads(path.read_text("utf-8"))
    twin = clean.clean(source)
    for cell in twin["cells"]:
        if cell["cell_type"] == "markdown":
            assert all(line.startswith("#") for line in cell["source"].split("\n") if line)
        else:
            compile(cell["source"], found.file, "exec")
    code, whole = (
        "\n".join("".join(cell["source"]) for cell in nb["cells"] if cell["cell_type"] == "code")
        for nb in (twin, source)
    )
    assert code.count("check(") == whole.count("check(") and len(code) < len(whole) / 2


def test_the_clean_twin_of_attention_runs_from_top_to_bottom(made, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPTLAB_PROGRESS", "off")
    names = {}
    for cell in cells(made.course / "clean" / "06_attention.ipynb"):
        if cell["cell_type"] == "code":
            exec(cell["source"], names)
    assert "average_past" in names


# ----------------------------------------------------------------------------------------------------------- the wheels


def test_wheels_are_collected_for_each_system_and_packed(tmp_path, monkeypatch, capsys):
    asked = []

    def download(platform, python, into):
        asked.append((platform, python))
        into.mkdir(exist_ok=True)
        (into / f"torch-2.13.0-{TAG}-{platform}.whl").write_bytes(b"x")
        return 0

    monkeypatch.setattr(wheels, "download", download)
    monkeypatch.chdir(tmp_path)
    words = ["release", "attention", "--wheels", "w", "--platform", "linux", "windows", "macos", "--python", "3.12"]
    assert commands.run(["classroom", *words]) == 0
    assert asked == [("linux", "3.12"), ("windows", "3.12"), ("macos", "3.12")]
    with zipfile.ZipFile(tmp_path / "course.zip") as archive:
        assert sum(name.startswith("course/wheels/torch-") for name in archive.namelist()) == 3
        assert "No network is needed" in archive.read("course/README.md").decode()
    monkeypatch.setattr(wheels, "download", lambda *_: 7)
    assert commands.run(["classroom", *words]) == 7


@pytest.mark.parametrize(
    ("wheel", "offline"), [(f"torch-2.13.0+cpu-{TAG}-{TAG}-x.whl", "1"), ("torch-2-cp2-x.whl", None)]
)
def test_a_release_is_installed_from_its_own_wheels_where_they_are_for_this_python(
    wheel, offline, tmp_path, monkeypatch
):
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "GPTLAB_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    (tmp_path / "wheels").mkdir()
    (tmp_path / "class-data").mkdir()
    (tmp_path / "wheels" / wheel).touch()
    installation.use_release(tmp_path)
    assert "PIP_FIND_LINKS" not in os.environ, "a clone is no release, whatever lies in its folder `wheels`"
    (tmp_path / "release.json").write_text("{}")
    installation.use_release(tmp_path)
    assert (os.environ.get("PIP_NO_INDEX"), os.environ["PIP_FIND_LINKS"]) == (offline, "wheels")
    assert os.environ["GPTLAB_DATA"] == str(tmp_path / "class-data")


def test_the_first_notebook_that_is_there_is_opened(made):
    assert environment.working_copy.first(made.course).name == "00_start_here.ipynb"
    assert environment.working_copy.first(made.course.parent).name == "00_start_here.ipynb"


# ------------------------------------------------------------------------------ from the zip to the first executed cell


def offline_variables(course):
    """The variables of a pupil: none of ours, and pip knows no index but what the release brings."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TMPDIR", "LANG") if name in os.environ}
    return kept | {"HOME": str(course), "PIP_CONFIG_FILE": os.devnull, "PIP_CACHE_DIR": str(course / "cache")}


def without_network():
    """What cuts a command off from every network, where the system lets us."""
    if sys.platform.startswith("linux") and shutil.which("unshare"):
        command = ["unshare", "--user", "--map-root-user", "--net"]
        if subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    return []


def start_and_run(course, variables):
    """The one command of a pupil, then the first cells of the notebook that it has laid."""
    start = [*without_network(), sys.executable, "-m", "gptlab", "start", "--version"]  # JupyterLab's, and no server
    done = subprocess.run(start, cwd=course, env=variables, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and done.stdout.strip()[-1].isdigit(), done.stdout[-3000:] + done.stderr[-3000:]
    first = [cell for cell in cells(course / "my_course" / "06_attention.ipynb") if cell["cell_type"] == "code"][:2]
    code = "\n".join("".join(cell["source"]) for cell in first) + "\nprint(gptlab.__file__)"
    python = installation.python_in(course / ".venv")
    ran = subprocess.run(
        [*without_network(), str(python), "-c", code], cwd=course / "my_course", env=variables, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    assert ran.stdout.strip() == str(course / "gptlab" / "__init__.py"), ran.stderr[-3000:]


@pytest.mark.skipif(os.name == "nt", reason="the environment is made by hand here, as Linux and macOS lay it out")
def test_one_command_leads_from_the_zip_to_the_first_cell(made, tmp_path):
    """The packages are those that are installed here already, by a link; pip installs the course and has no index."""
    course = tmp_path / "course"
    shutil.copytree(made.course, course)
    (course / "notebooks" / "00_start_here.ipynb").unlink()
    (course / "wheels").mkdir()
    (course / "wheels" / f"torch-0-{TAG}-{TAG}-any.whl").touch()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(course / ".venv")], check=True)
    (site,) = (course / ".venv" / "lib").glob("python*/site-packages")
    packages = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (site / "installed-already.pth").write_text("\n".join(packages))
    start_and_run(course, offline_variables(course))


@pytest.mark.skipif(not os.environ.get("GPTLAB_INSTALL"), reason="minutes, and a network to fetch the wheels with")
def test_everything_is_installed_from_the_wheels_of_the_release(tmp_path):
    """GPTLAB_WHEELS may name a folder that is filled already."""
    folder, ours = os.environ.get("GPTLAB_WHEELS"), installation.this_platform()
    fill = [] if folder else ["--platform", ours]
    words = ["release", "attention", "--out", "course.zip", "--wheels", folder or "wheels", *fill]
    subprocess.run([sys.executable, "-m", "gptlab", "classroom", *words], cwd=tmp_path, check=True, timeout=600)
    with zipfile.ZipFile(tmp_path / "course.zip") as archive:
        archive.extractall(tmp_path)
    course = tmp_path / release.TOP
    start_and_run(course, offline_variables(course))
