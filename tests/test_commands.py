"""The commands: `start` and `test` before anything is installed, the list of commands, and the notebooks' sandbox."""

import functools
import importlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from gptlab import __main__ as entry
from gptlab import commands
from gptlab.commands import environment, installation, isolation, notebooks
from gptlab.files import write_whole

ROOT = Path(__file__).resolve().parents[1]


def python(*arguments, **options):
    """Run this Python; the output of both kinds comes back as text."""
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, **({"cwd": ROOT} | options)
    )


# ------------------------------------------------------------------------------------------------- the list of commands


def test_without_a_command_all_are_listed(capsys):
    assert commands.run([]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in commands.COMMANDS)


def test_an_unknown_command_lists_the_known_and_guesses(capsys):
    assert commands.run(["trian"]) == 2
    text = capsys.readouterr().err
    assert "perhaps you mean 'train'" in text
    assert all(name in text for name in commands.COMMANDS)


def test_the_list_needs_no_package_at_all():
    done = python("-S", "-m", "gptlab", "--help")  # -S: no site-packages
    assert done.returncode == 0 and "start" in done.stdout, done.stderr


def test_start_and_test_import_the_standard_library_only():
    code = "import gptlab.__main__, gptlab.commands.environment, gptlab.commands.isolation"
    assert python("-S", "-c", code).returncode == 0


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_each_command_explains_itself(name):
    done = python("-m", "gptlab", name, "--help", env={**os.environ, "COLUMNS": "100"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "usage" in done.stdout.lower() and len(done.stdout.splitlines()) > 3


def documented():
    """The lines of README, CONTRIBUTING and notebooks that a reader is to type, with their file."""
    told = re.compile(
        r"(?:# )? *(?:\$ )?(?:(?:srun )?torchrun .*|python3? )?-m gptlab "
        r"((?:train|bench|prepare|export|sample|fetch|wheels|doctor)\b.*)"
    )
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "notebooks" / "text").glob("*.py"))):
        text = re.sub(r" \\\n#? *", " ", path.read_text(encoding="utf-8"))  # a backslash goes on in the next line
        for line in text.splitlines():
            if (found := told.fullmatch(line)) and "--help" not in line:
                yield path.name, found[1]


def test_every_command_that_the_texts_tell_to_type_is_understood(monkeypatch):
    called, lines, wrong = [], list(documented()), []
    for name in {line.split()[0] for _, line in lines}:
        module = importlib.import_module(f"gptlab.commands.{name}")
        really = getattr(module, name)
        said = functools.wraps(really)(lambda *words, name=name, **options: called.append(name))
        monkeypatch.setattr(module, name, said)
    for file, line in lines:
        try:
            commands.run(shlex.split(line, comments=True))
        except SystemExit:  # with a reason, which pytest shows
            wrong.append(f"{file}: {line}")
    assert not wrong
    assert len(called) == len(lines) >= 8 and {"train", "bench"} <= set(called)


def test_an_old_python_is_told_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "version_info", (3, 8, 18, "final", 0))
    assert entry.main(["start"]) == 1
    assert "needs Python 3.10 or newer, and this is Python 3.8" in capsys.readouterr().out


def command_that(action, monkeypatch):
    """Make `doctor` do `action`."""
    monkeypatch.setitem(sys.modules, "gptlab.commands.doctor", SimpleNamespace(doctor=action))


def raising(error):
    def action() -> None:
        """Raise."""
        raise error

    return action


@pytest.mark.parametrize("error", [ValueError("no corpus 'fabels'"), FileNotFoundError("no corpus 'fabels'")])
def test_bad_input_is_one_sentence_not_a_traceback(error, monkeypatch, capsys):
    command_that(raising(error), monkeypatch)
    assert commands.run(["doctor"]) == 1
    assert capsys.readouterr().err == "doctor: no corpus 'fabels'\n"
    monkeypatch.setenv("GPTLAB_DEBUG", "1")
    with pytest.raises(type(error)):
        commands.run(["doctor"])


def test_an_interrupted_command_says_so(monkeypatch, capsys):
    command_that(raising(KeyboardInterrupt()), monkeypatch)
    assert commands.run(["doctor"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_commands_number_is_the_exit_code_and_nothing_else_is(monkeypatch):
    for returned, code in ((3, 3), (None, 0), ("a history", 0), (True, 0)):
        command_that(lambda returned=returned: returned, monkeypatch)
        monkeypatch.setattr("tyro.cli", lambda command, **_: command())
        assert commands.run(["doctor"]) == code


def test_a_missing_package_names_the_way_to_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(environment, "clone", lambda: tmp_path)
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert commands.run(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "has no package 'tyro'" in text and "-m gptlab start" in text


def test_a_missing_module_of_our_own_is_not_hidden(monkeypatch):
    monkeypatch.setitem(sys.modules, "gptlab.commands.doctor", None)
    with pytest.raises(ModuleNotFoundError):
        commands.run(["doctor"])


def test_a_bare_python_passes_the_command_on_to_the_environment(monkeypatch, tmp_path):
    called = []
    (tmp_path / ".venv").mkdir()
    environment.write_stamp(tmp_path / ".venv", {"fingerprint": "x", "extras": []})
    monkeypatch.setattr(environment, "clone", lambda: tmp_path)
    monkeypatch.setitem(sys.modules, "tyro", None)
    monkeypatch.setattr(subprocess, "call", lambda command: called.append(command) or 7)
    assert commands.run(["doctor"]) == 7
    assert called == [[str(environment.python_in(tmp_path / ".venv")), "-m", "gptlab", "doctor"]]


# -------------------------------------------------------------------------------------------------------- environment


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A clone whose environment is only pretended; `root.log` lists what was done to it."""
    (tmp_path / "requirements.txt").write_text("torch\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    log = []

    def make(venv):
        venv.mkdir(exist_ok=True)
        (venv / "python runs").touch()
        log.append("make")

    monkeypatch.setattr(environment, "create", make)
    monkeypatch.setattr(environment, "works", lambda python: (tmp_path / ".venv" / "python runs").exists())
    monkeypatch.setattr(environment, "install", lambda root, python, extras, cpu: log.append(("install", extras)))
    return SimpleNamespace(path=tmp_path, log=log, venv=tmp_path / ".venv")


def test_a_second_run_installs_nothing(root):
    environment.prepare(root.path)
    assert root.log == ["make", ("install", [])]
    environment.prepare(root.path)
    assert len(root.log) == 2


def test_tests_add_their_extra_and_start_keeps_it(root):
    environment.prepare(root.path)
    environment.prepare(root.path, extra="test")
    environment.prepare(root.path)
    assert root.log == ["make", ("install", []), ("install", ["test"])]


@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml"])
def test_a_new_requirement_is_installed(root, name):
    environment.prepare(root.path, extra="test")
    (root.path / name).write_text("changed\n")
    environment.prepare(root.path)
    assert root.log[-1] == ("install", ["test"])


def test_a_moved_clone_is_installed_anew(root):
    environment.prepare(root.path)
    stamp = environment.stamp(root.venv)
    environment.write_stamp(root.venv, stamp | {"fingerprint": "of another folder"})
    environment.prepare(root.path)
    assert root.log.count(("install", [])) == 2


def test_an_interrupted_installation_goes_on(root, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    environment.prepare(root.path)
    (root.path / "requirements.txt").write_text("numpy\n")
    with monkeypatch.context() as patch:
        patch.setattr(environment, "install", interrupted)
        with pytest.raises(KeyboardInterrupt):
            environment.prepare(root.path)
    assert environment.stamp(root.venv) == {}
    environment.prepare(root.path)
    assert root.log == ["make", ("install", []), ("install", [])]


def test_a_broken_interpreter_is_made_anew(root):
    environment.prepare(root.path)
    (root.venv / "python runs").unlink()
    environment.prepare(root.path)
    assert root.log == ["make", ("install", [])] * 2


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_half_a_stamp_is_no_stamp(tmp_path, content):
    (tmp_path / environment.STAMP).write_text(content)
    assert environment.stamp(tmp_path) == {}


def test_too_little_room_is_refused_before_anything_is_made(root, monkeypatch):
    monkeypatch.setattr(installation.shutil, "disk_usage", lambda path: SimpleNamespace(free=4 * 10**8))
    with pytest.raises(environment.CannotGoOn, match=r"0\.4 GB are free .* need about 3 GB"):
        environment.prepare(root.path)
    assert root.log == []


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_a_python_without_venv_names_the_debian_package(missing):
    text = installation.missing_venv(find=lambda name: None if name == missing else object(), version=(3, 12))
    assert f"no `{missing}`" in text and "apt install python3-venv" in text and "python3.12-venv" in text


def test_a_complete_python_has_venv():
    assert installation.missing_venv() == ""


def test_ensurepip_missing_only_when_it_runs_is_noticed(tmp_path, monkeypatch):
    said = SimpleNamespace(returncode=1, stdout="ensurepip is not available", stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: said)
    with pytest.raises(environment.CannotGoOn, match="apt install python3-venv"):
        installation.create(tmp_path / ".venv")


def test_another_failure_of_venv_is_quoted(tmp_path, monkeypatch):
    said = SimpleNamespace(returncode=1, stdout="", stderr="Error: the moon is full")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: said)
    with pytest.raises(environment.CannotGoOn, match="the moon is full"):
        installation.create(tmp_path / ".venv")


def test_a_folder_that_is_no_environment_is_left_alone(tmp_path):
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "diary.txt").write_text("mine")
    with pytest.raises(environment.CannotGoOn, match="is not a virtual environment"):
        installation.create(tmp_path / ".venv")
    assert (tmp_path / ".venv" / "diary.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "The disk is full"),
        ("OSError: [WinError 112] There is not enough space on the disk", "The disk is full"),
        ("OSError: [Errno 122] Disk quota exceeded", "The disk is full"),
        ("NewConnectionError('<x>: Failed to establish a new connection: [Errno -3] Temporary failure')", "README.md"),
        ("NameResolutionError(...)\nERROR: No matching distribution found for torch", "could not reach"),
        ("ERROR: No matching distribution found for tiktoken<1,>=0.8", "no build of tiktoken<1,>=0.8 for Python"),
        ("something else", ""),
    ],
)
def test_pips_commonest_failures_are_put_into_a_sentence(said, answer):
    found = installation.why_it_failed(said, free=10**8)
    assert answer in found and bool(answer) == bool(found)


def pip_that_fails(monkeypatch, tmp_path, words):
    def run(command, **_):
        if "install" in command:
            Path(command[command.index("--log") + 1]).write_text(words)
            return SimpleNamespace(returncode=1)
        return SimpleNamespace(returncode=0)

    (tmp_path / ".venv").mkdir()
    monkeypatch.setattr(subprocess, "run", run)


def test_a_failed_pip_stops_with_its_reason(monkeypatch, tmp_path):
    pip_that_fails(monkeypatch, tmp_path, "NameResolutionError")
    with pytest.raises(environment.CannotGoOn, match="could not reach its package source"):
        installation.install(tmp_path, Path("python"), [])


def test_a_failed_pip_without_a_known_reason_names_its_log(monkeypatch, tmp_path):
    pip_that_fails(monkeypatch, tmp_path, "?")
    with pytest.raises(environment.CannotGoOn, match=installation.PIP_LOG):
        installation.install(tmp_path, Path("python"), [])


def test_what_is_installed_is_requirements_extra_and_the_package_itself(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(subprocess, "run", lambda c, **k: calls.append(c) or SimpleNamespace(returncode=0))
    installation.install(tmp_path, Path("python"), ["test"])
    assert calls[1][-3:] == ["-r", "requirements.txt", installation.SETUPTOOLS]
    assert calls[2][-3:] == ["--no-build-isolation", "-e", ".[test]"]


def test_outside_of_a_clone_the_way_back_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(installation, "__file__", str(tmp_path / "a" / "b" / "installation.py"))
    assert environment.main("start", []) == 1
    text = capsys.readouterr().out
    assert "requirements.txt" in text and "the folder that you cloned" in text


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(environment, "prepare", interrupted)
    assert environment.main("test", []) == 130
    assert "test` continues where it stopped" in capsys.readouterr().out


def test_nothing_of_another_python_leaks_in_and_our_variables_pass(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, value in {"PYTHONPATH": "x", "PYTHONHOME": "y", "PIP_USER": "1", "GPTLAB_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GPTLAB_DATA", "texts")
    found = environment.child_environment()
    assert not {"PYTHONPATH", "PYTHONHOME"} & set(found)
    assert (found["PIP_USER"], found["GPTLAB_OFFLINE"]) == ("0", "1")
    assert Path(found["GPTLAB_DATA"]) == tmp_path / "texts"  # a kernel with another folder must find it too


def test_an_interpreter_that_does_not_run_does_not_answer(tmp_path):
    assert not environment.works(tmp_path / "python")
    assert environment.works(Path(sys.executable))


def test_jupyterlab_opens_the_first_notebook_and_asks_nobody(tmp_path):
    first = tmp_path / "my_course" / "00_start_here.ipynb"
    options = environment.lab_options(tmp_path, first, no_browser=True, port=8899)
    assert {"--no-browser", "--port=8899", "--LabApp.default_url=/lab/tree/notebooks"} <= set(options)
    first.parent.mkdir()
    first.touch()
    options = environment.lab_options(tmp_path, first, no_browser=False, port=None)
    assert "--LabApp.default_url=/lab/tree/my_course/00_start_here.ipynb" in options
    assert not [option for option in options if option.startswith(("--no-browser", "--port"))]


def test_start_opens_the_readers_own_copy_or_the_committed_one_where_none_can_be_written(tmp_path, capsys):
    (tmp_path / "notebooks").mkdir()
    committed = tmp_path / "notebooks" / "00_start_here.ipynb"
    shutil.copy(ROOT / "notebooks" / committed.name, committed)
    assert environment.first_notebook(tmp_path) == tmp_path / "my_course" / committed.name
    shutil.rmtree(tmp_path / "my_course")
    (tmp_path / "my_course").write_text("a file in the way")
    assert environment.first_notebook(tmp_path) == committed
    assert "The notebooks of the course are opened instead" in capsys.readouterr().out


def test_a_notebook_is_laid_again_from_the_terminal(tmp_path, monkeypatch, capsys):
    from gptlab.commands import reset as command

    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "06_attention.ipynb", tmp_path / "notebooks")
    monkeypatch.setattr(command.environment, "clone", lambda: tmp_path)
    assert commands.run(["reset", "attention"]) == 0
    assert "my_course/06_attention.ipynb is as in the course." in capsys.readouterr().out
    assert commands.run(["reset", "attention"]) == 0
    assert "Your copy is now called 06_attention-mine-1.ipynb" in capsys.readouterr().out
    assert commands.run(["reset", "atention"]) == 1 and "no notebook 'atention'" in capsys.readouterr().err


def test_progress_is_shown_in_the_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GPTLAB_PROGRESS", str(tmp_path / "mine.json"))
    assert commands.run(["progress"]) == 0
    said = capsys.readouterr().out
    assert "06 attention" in said and f"stored in {tmp_path / 'mine.json'}" in said


def test_the_news_are_off_and_a_readers_own_setting_stays(tmp_path):
    environment.quiet_jupyter(tmp_path)
    file = tmp_path / "etc/jupyter/labconfig/default_setting_overrides.json"
    assert json.loads(file.read_text())["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"
    file.write_text("{}")
    environment.quiet_jupyter(tmp_path)
    assert file.read_text() == "{}"


def test_start_becomes_jupyterlab(monkeypatch, tmp_path):
    seen = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "clone", lambda: tmp_path)
    monkeypatch.setattr(environment, "prepare", lambda root, cpu: Path("python"))
    run = (lambda program, command, variables: seen.append(command)) if os.name == "posix" else None
    monkeypatch.setattr(environment.os, "execve", run, raising=False)
    monkeypatch.setattr(environment, "run_to_its_end", lambda command, variables: seen.append(command) or 0)
    environment.start(["--port", "8899", "--ip=0.0.0.0"])
    assert seen[0][:3] == ["python", "-m", "jupyterlab"]
    assert "--port=8899" in seen[0] and seen[0][-1] == "--ip=0.0.0.0"


def test_tests_run_all_paths_with_what_the_caller_adds(monkeypatch, tmp_path):
    seen = {}

    def run(command, variables, folder):
        seen.update(command=command, variables=variables, folder=folder)
        seen["sandbox was there"] = Path(variables[isolation.SANDBOX]).is_dir()
        return 5

    monkeypatch.setattr(environment, "clone", lambda: tmp_path)
    monkeypatch.setattr(environment, "prepare", lambda root, extra, cpu: Path("python"))
    monkeypatch.setattr(environment, "run_to_its_end", run)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert environment.main("test", ["-k", "masking"]) == 5
    assert seen["command"][:3] == ["python", "-m", "pytest"] and seen["command"][-2:] == ["-k", "masking"]
    assert {"--nbval-lax", "--nbval-cell-timeout=660", "--dist=loadfile"} <= set(seen["command"])
    assert seen["variables"]["OMP_NUM_THREADS"] == "1" and seen["folder"] == tmp_path
    assert seen["sandbox was there"] and not Path(seen["variables"][isolation.SANDBOX]).exists()


def test_the_exit_code_of_the_program_comes_back():
    assert environment.run_to_its_end([sys.executable, "-c", "raise SystemExit(5)"], dict(os.environ)) == 5


def test_ci_runs_the_command_of_the_readme():
    command = "python3 -m gptlab test"
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert command in lines and lines[-1] == "exit $?" and lines[lines.index(command) + 1] == lines[-1]


# --------------------------------------------------------------------------------------------------------- isolation


def test_no_test_reaches_the_network():
    with pytest.raises(isolation.NetworkCutOff, match=r"93\.184\.216\.34"):
        socket.create_connection(("93.184.216.34", 80), timeout=5)
    with pytest.raises(isolation.NetworkCutOff, match=r"example\.org"):
        socket.getaddrinfo("example.org", 80)
    with pytest.raises(isolation.NetworkCutOff), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"?", ("93.184.216.34", 53))
    with pytest.raises(isolation.NetworkCutOff), socket.socket() as plain:
        plain.connect_ex(("93.184.216.34", 80))


def test_this_machine_is_reached_as_before():
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].sendall(b"here"), daemon=True).start()
        with socket.create_connection(("localhost", server.getsockname()[1]), timeout=5) as client:
            assert client.recv(4) == b"here"


@pytest.mark.parametrize("host", ["10.0.0.1", "8.8.8.8", "2001:db8::1", "fe80::1%eth0", "example.org", b"example.org"])
def test_other_machines_are_elsewhere(host):
    assert not isolation.stays_here(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "", None, "0.0.0.0"])
def test_this_machine_is_here(host):
    assert isolation.stays_here(host)


ISOLATED = [
    "import gptlab, os, pathlib, socket, urllib.request\nprint(list(pathlib.Path.cwd().iterdir()))",
    "print(os.environ['GPTLAB_OFFLINE'], pathlib.Path.cwd().parent == pathlib.Path(os.environ['GPTLAB_SANDBOX']))",
    "try:\n    socket.create_connection(('93.184.216.34', 80), 5)\nexcept OSError as e:\n    print(type(e).__name__)",
    "try:\n    urllib.request.urlopen('http://example.org')\nexcept OSError:\n    print('no network')",
]
EXPECTED = ["[]\n", "1 True\n", "NetworkCutOff\n", "no network\n"]


def notebook_of(sources, printed):
    cells = [
        new_code_cell(
            source,
            execution_count=count,
            metadata={"tags": ["nbval-check-output"]},
            outputs=[new_output("stream", name="stdout", text=text)],
        )
        for count, (source, text) in enumerate(zip(sources, printed, strict=True), 1)
    ]
    return new_notebook(cells=cells, metadata={"kernelspec": dict(notebooks.KERNEL)})


def nbval(folder, *paths):
    options = [option for option in environment.PYTEST_OPTIONS if option.startswith("--nbval")]
    variables = isolation.sandboxed(folder / "sandbox", environment.child_environment())
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={folder}", *options, *map(str, paths)]
    return python(*command, env=variables, cwd=folder)


def test_nbval_runs_notebooks_in_an_empty_folder_without_a_network(tmp_path):
    nbformat.write(notebook_of(ISOLATED, EXPECTED), tmp_path / "good.ipynb")
    done = nbval(tmp_path, tmp_path / "good.ipynb")
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout + done.stderr


def test_nbval_finds_an_output_that_changed(tmp_path):
    nbformat.write(notebook_of(["print(6 * 7)"], ["41\n"]), tmp_path / "bad.ipynb")
    done = nbval(tmp_path, tmp_path / "bad.ipynb")
    assert done.returncode == 1 and "Cell outputs differ" in done.stdout, done.stdout + done.stderr


# --------------------------------------------------------------------------------------------------------- notebooks


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A notebook that was written as a text twin and then built from it."""
    folder = tmp_path_factory.mktemp("course") / "notebooks"
    (folder / "text").mkdir(parents=True)
    cells = [*ISOLATED, "2 + 3", "from IPython.display import Image, display\nImage(data=PIXEL, format='png')"]
    pixel = (
        "# %%\nimport base64\nPIXEL = base64.b64decode('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
        "+A8AAQUBAScY42YAAAAASUVORK5CYII=')\n\n"
    )
    text = "# %% [markdown]\n# # A course\n\n" + pixel
    text += "\n\n".join(f'# %% tags=["nbval-check-output"]\n{source}' for source in cells[:-1])
    (folder / "text" / "01_a.py").write_text(text + f'\n\n# %% alt="one pixel"\n{cells[-1]}\n', encoding="utf-8")
    done = python("-m", "gptlab", "notebooks", "01", "--from-text", "--folder", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    return SimpleNamespace(folder=folder, path=folder / "01_a.ipynb", said=done.stdout)


def test_a_notebook_is_built_from_its_text(executed):
    notebook = nbformat.read(executed.path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, 8))
    assert [cell.outputs[0].text for cell in code[1:5]] == EXPECTED
    assert code[5].outputs[0].data["text/plain"] == "5"
    assert code[1].metadata.tags == ["nbval-check-output"]


def test_time_and_memory_are_reported(executed):
    assert "01_a: " in executed.said and " s, peak memory of its kernel " in executed.said


def test_the_alt_text_of_a_cell_reaches_its_picture(executed):
    last = nbformat.read(executed.path, as_version=4).cells[-1]
    assert last.outputs[0].metadata["image/png"]["alt"] == "one pixel"


def test_running_twice_gives_the_same_files(executed):
    before = [path.read_bytes() for path in (executed.path, notebooks.twin_of(executed.path))]
    assert notebooks.notebooks(("01",), folder=executed.folder) == 0
    assert [path.read_bytes() for path in (executed.path, notebooks.twin_of(executed.path))] == before


def test_jupytext_itself_pairs_the_two_files():
    from jupytext.config import load_jupytext_config
    from jupytext.paired_paths import paired_paths

    path = ROOT / "notebooks" / "01_tokens.ipynb"
    formats = load_jupytext_config(str(path)).default_formats(str(path))
    assert formats == notebooks.FORMATS
    paired = [Path(found) for found, _ in paired_paths(str(path), "ipynb", formats)]
    assert paired == [path, notebooks.twin_of(path)]


def test_syncing_keeps_the_outputs_of_unchanged_cells(executed, tmp_path):
    folder = tmp_path / "notebooks"
    path = folder / "01_a.ipynb"
    write_whole(path, executed.path.read_text(encoding="utf-8"))
    twin = notebooks.twin_of(executed.path).read_text(encoding="utf-8")
    write_whole(notebooks.twin_of(path), twin.replace("2 + 3", "2 + 4").replace("A course", "The course"))
    assert notebooks.notebooks((), from_text=True, sync_only=True, folder=folder) == 0
    cells = nbformat.read(path, as_version=4).cells
    assert cells[0].source == "# The course"
    assert cells[2].outputs and not cells[6].outputs


def test_what_changes_from_run_to_run_is_taken_out():
    notebook = notebook_of(["1 + 1", "1 + 1"], ["", ""])
    notebook.metadata.update(widgets={}, language_info={"version": "3.11.7"})
    notebook.cells[0].metadata.update(execution={"iopub.status.busy": "now"}, scrolled=True)
    notebooks.tidy(notebook)
    assert set(notebook.metadata) == {"jupytext", "kernelspec", "language_info"}
    assert "version" not in notebook.metadata.language_info
    assert notebook.cells[0].metadata == {"tags": ["nbval-check-output"]}
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == 2
    notebooks.tidy(notebook)
    assert [cell.id for cell in notebook.cells] == ids
    assert "jupytext_version:" not in notebooks.twin_text(notebook)


def test_a_failing_notebook_is_named_and_its_file_left_alone(tmp_path, capsys):
    path = tmp_path / "02_b.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell("# B"), new_code_cell("1 / 0")]), path)
    before = path.read_bytes()
    assert notebooks.notebooks((), folder=tmp_path) == 1
    text = capsys.readouterr().out
    assert "ZeroDivisionError" in text and "failed: 02_b" in text
    assert path.read_bytes() == before and not notebooks.twin_of(path).exists()


def test_a_name_that_no_notebook_has_is_refused(executed):
    with pytest.raises(ValueError, match=r"no notebook begins with '77' .* 01_a"):
        notebooks.chosen(executed.folder, ("77",), from_text=False)


def test_notebooks_are_chosen_by_number_or_name_in_order(tmp_path):
    for name in ("02_b", "01_a", "10_c"):
        (tmp_path / f"{name}.ipynb").touch()
    (tmp_path / ".01_a.ipynb.123.part").touch()
    stems = lambda *names: [path.stem for path in notebooks.chosen(tmp_path, names, from_text=False)]  # noqa: E731
    assert stems() == ["01_a", "02_b", "10_c"]
    assert stems("10", "01_a.ipynb") == ["01_a", "10_c"]


@pytest.mark.parametrize("tool", ["jupytext", "nbclient"])
def test_missing_tools_are_named(tool, monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, tool, None)
    assert notebooks.notebooks((), folder=tmp_path) == 1
    assert f"{tool} is not installed" in capsys.readouterr().out
