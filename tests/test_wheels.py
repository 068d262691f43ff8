"""Setting up with the small torch, and from a folder of wheels: what pip is told, and what is said when it fails."""

import functools
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

from gptlab import commands
from gptlab.commands import environment, installation, wheels

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def pip(tmp_path, monkeypatch):
    """A clone, and a pip that only writes down what it was asked; `pip.fails` is what it says when it fails."""
    (tmp_path / "requirements.txt").write_text("# torch is large\ntorchless\ntorch>=2.9,<2.14\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / ".venv").mkdir()
    state = SimpleNamespace(path=tmp_path, calls=[], fails="", cuda=True)

    def run(command, **_):
        if "-c" in command and "version.py" in command[-1]:
            return SimpleNamespace(returncode=int(state.cuda))
        if "install" in command or "download" in command:
            state.calls.append(command[command.index("pip") + 2 :])
            if state.fails:
                Path(command[command.index("--log") + 1]).write_text(state.fails)
        return SimpleNamespace(returncode=int(bool(state.fails)))

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(environment, "clone", lambda: tmp_path)
    monkeypatch.setattr(environment, "create", lambda venv: None)
    monkeypatch.setattr(environment, "works", lambda python: True)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    return state


# ------------------------------------------------------------------------------------------------------ the small torch


def test_on_linux_the_torch_for_the_cpu_comes_from_its_own_index_and_first(pip):
    environment.prepare(pip.path, cpu=True)
    first, second, third = pip.calls
    assert first[-5:] == [
        "--no-deps", "--force-reinstall", "--index-url", installation.CPU_INDEX, "torch>=2.9,<2.14",
    ]  # fmt: skip
    assert second[-3:-1] == ["-r", "requirements.txt"] and third[-2:] == ["-e", "."]
    assert not any(installation.CPU_INDEX in call for call in (second, third))


def test_a_torch_for_the_cpu_is_kept(pip):
    pip.cuda = False
    environment.prepare(pip.path, cpu=True)
    assert len(pip.calls) == 2 and environment.stamp(pip.path / ".venv")["cpu"] is True


def test_without_the_option_pip_chooses(pip):
    environment.prepare(pip.path)
    assert not any(installation.CPU_INDEX in call for call in pip.calls)
    assert "cpu" not in environment.stamp(pip.path / ".venv")


def test_the_choice_is_remembered_when_the_course_is_updated(pip):
    environment.prepare(pip.path, cpu=True)
    environment.prepare(pip.path)
    assert len(pip.calls) == 3, "nothing new, and yet something was installed"
    (pip.path / "requirements.txt").write_text("torch>=2.10\n")
    environment.prepare(pip.path, extra="test")
    assert pip.calls[3][-2:] == [installation.CPU_INDEX, "torch>=2.10"]


def test_the_option_comes_later_than_the_first_start(pip):
    environment.prepare(pip.path)
    environment.prepare(pip.path, cpu=True)
    assert [installation.CPU_INDEX in call for call in pip.calls] == [False, False, True, False, False]


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_elsewhere_the_option_changes_nothing_and_says_so(pip, system, monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", system)
    environment.prepare(pip.path, cpu=True)
    assert len(pip.calls) == 2 and "--cpu changes nothing here" in capsys.readouterr().out
    assert "cpu" not in environment.stamp(pip.path / ".venv")


def test_both_commands_take_the_option_and_pass_the_others_on(pip, monkeypatch, capsys):
    asked, started = [], []
    monkeypatch.setattr(environment, "prepare", lambda root, extra="", cpu=False: asked.append((extra, cpu)) or root)
    monkeypatch.setattr(environment, "first_notebook", lambda root: root)
    monkeypatch.setattr(environment, "run_to_its_end", lambda command, *_, **__: started.append(command) or 0)
    monkeypatch.setattr(environment.os, "execve", lambda _, command, __: started.append(command), raising=False)
    monkeypatch.chdir(pip.path)
    environment.main("start", ["--cpu", "--ip=0.0.0.0"])
    environment.main("test", ["--cpu", "-k", "masking"])
    environment.main("test", ["-k", "cpu"])
    assert asked == [("", True), ("test", True), ("test", False)]
    assert not any("--cpu" in command for command in started) and started[-2][-2:] == ["-k", "masking"]
    environment.main("test", ["--help"])
    assert "--cpu" in capsys.readouterr().out


def test_after_an_interruption_the_command_that_goes_on_has_the_option(pip, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(environment, "prepare", interrupted)
    assert environment.main("start", ["--cpu"]) == 130
    assert "start --cpu` continues where it stopped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("cuda", "hip", "small"), [("None", "None", True), ("'13.0'", "None", False), ("None", "'6'", 0)]
)
def test_a_build_is_recognised_without_loading_torch(tmp_path, monkeypatch, cuda, hip, small):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise SystemExit(7)")
    (tmp_path / "torch" / "version.py").write_text(f"cuda = {cuda}\nhip = {hip}\n")
    monkeypatch.setattr(installation, "child_environment", lambda: os.environ | {"PYTHONPATH": str(tmp_path)})
    assert installation.has_cpu_torch(Path(sys.executable)) == bool(small)


# ---------------------------------------------------------------------------------------- a folder of wheels, made here


@functools.cache
def names(*arguments):
    return {Requirement(line).name for line in wheels.requirements(*arguments)}


def test_each_platform_gets_what_its_own_conditions_ask_for():
    linux, windows, mac = (names(platform, HERE, False) for platform in ("linux", "windows", "macos"))
    assert linux - windows == {"pexpect", "ptyprocess"} and windows - linux == {"colorama", "pywinpty"}
    assert mac - linux == {"appnope"} and not linux - mac
    assert {"torch", "setuptools", "jupyterlab", "numpy"} <= linux & windows & mac


def test_where_torch_for_cuda_is_installed_its_libraries_are_not_collected(monkeypatch):
    really = importlib.metadata.requires
    cuda = ["triton==3", "cuda-bindings", 'nvidia-cublas; platform_system == "Linux"', "filelock"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: cuda if name == "torch" else really(name))
    found = {Requirement(line).name for line in wheels.requirements("linux", HERE, False)}
    assert "filelock" in found and not {name for name in found if name.startswith(("nvidia", "triton", "cuda"))}


def test_the_versions_are_those_that_are_installed_or_those_that_are_allowed_for_another_python():
    lines = wheels.requirements("windows", HERE, False)
    (torch,) = (line for line in lines if Requirement(line).name == "torch")
    assert f"=={importlib.metadata.version('torch').partition('+')[0]}" in torch and "+" not in torch
    other = wheels.requirements(None, "3.99", False)
    assert [line for line in other if line.startswith("torch<")] == ["torch<2.14,>=2.9"]
    assert "ruff" in names(None, None, True) - names(None, None, False)


def test_one_command_asks_pip_for_wheels_of_the_platform_only(pip, capsys):
    words = ["wheels", "--platform", "windows", "--python", "3.12", "--into", str(pip.path / "w")]
    assert commands.run(words) == 0
    (call,) = pip.calls
    assert {"--no-deps", "--only-binary=:all:"} <= set(call)  # pip's own search would evaluate this system's conditions
    assert call[call.index("--platform") + 1] == "win_amd64" and call[call.index("--python-version") + 1] == "3.12"
    assert call[call.index("--extra-index-url") + 1] == installation.CPU_INDEX
    assert call[call.index("--dest") + 1] == str(pip.path / "w") and any("pywinpty" in word for word in call)
    assert "PIP_NO_INDEX=1 PIP_FIND_LINKS=w python3 -m gptlab start" in capsys.readouterr().out


def test_for_this_machine_nothing_has_to_be_named(pip):
    assert commands.run(["wheels"]) == 0
    assert not {"--platform", "--python-version"} & set(pip.calls[0])


def test_the_tags_of_linux_reach_back_so_that_older_wheels_are_found():
    tags = wheels.options("linux-arm64", "3.12")
    assert {"manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64", "linux_aarch64"} <= set(tags)


def test_what_cannot_be_collected_is_said(pip, monkeypatch, capsys):
    assert commands.run(["wheels", "--python", "3"]) == 1
    assert "python='3' is no version of Python: give two numbers, such as 3.12" in capsys.readouterr().err
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=2))
    assert commands.run(["wheels"]) == 2 and "pip could not get all of them" in capsys.readouterr().out

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    assert commands.run(["wheels"]) == 1 and "the course is not installed: run `" in capsys.readouterr().err


# --------------------------------------------------------------------------------------- a folder of wheels, used there

REMEDY = f"gptlab wheels --platform linux --python {HERE}` makes the folder `wheels` for this one: copy its files into"


@pytest.fixture
def offline(pip, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "wheels")
    monkeypatch.setattr(installation.platform, "machine", lambda: "x86_64")
    return pip


def refusal(pip):
    with pytest.raises(installation.CannotGoOn) as error:
        environment.prepare(pip.path)
    said = str(error.value)
    assert said.count("`wheels`") == 1 and REMEDY in said and "another Python (" not in said and "Remove" not in said
    return said


def test_a_folder_that_is_not_there_or_empty_is_named_before_pip_runs(offline):
    assert f"there is no folder {offline.path / 'wheels'}" in refusal(offline)
    (offline.path / "wheels").mkdir()
    assert f"the folder {offline.path / 'wheels'} holds no wheels" in refusal(offline)
    assert offline.calls == []


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("numpy-2.0-cp312-cp312-win_amd64.whl", "there is no such file"),
        ("tiktoken-0.8-cp312-cp312-win_amd64.whl", "there is tiktoken-0.8-cp312-cp312-win_amd64.whl, which is for ano"),
    ],
)
def test_a_folder_for_another_machine_says_what_it_has_and_how_to_make_the_right_one(offline, file, words):
    (offline.path / "wheels").mkdir()
    (offline.path / "wheels" / file).touch()
    offline.fails = "ERROR: No matching distribution found for tiktoken<1,>=0.8"
    assert f"pip needs tiktoken<1,>=0.8, and in {offline.path / 'wheels'} {words}" in refusal(offline)


def test_no_index_and_no_folder_is_nowhere(offline, monkeypatch):
    monkeypatch.delenv("PIP_FIND_LINKS")
    offline.fails = "ERROR: No matching distribution found for torch"
    assert "so pip looked for torch nowhere: unset it" in refusal(offline)


def test_a_full_folder_is_used(offline):
    (offline.path / "wheels").mkdir()
    (offline.path / "wheels" / "torch-2.13.0-cp312-cp312-win_amd64.whl").touch()
    environment.prepare(offline.path)
    assert len(offline.calls) == 2


@pytest.mark.parametrize(("system", "name", "machine", "found"), [
    ("linux", "posix", "x86_64", "linux"), ("linux", "posix", "aarch64", "linux-arm64"),
    ("darwin", "posix", "arm64", "macos"), ("win32", "nt", "AMD64", "windows"),
])  # fmt: skip
def test_a_machine_is_called_what_the_command_calls_it(monkeypatch, system, name, machine, found):
    fake = SimpleNamespace(name=name)
    monkeypatch.setattr(installation, "os", fake)
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(installation.platform, "machine", lambda: machine)
    assert installation.this_platform() == found and found in wheels.MACHINES
