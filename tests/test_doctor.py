"""Every message of the doctor, on machines that are pretended."""

import os
import subprocess
from types import SimpleNamespace

import pytest
from test_gpu import A100, NO_KERNEL, T4, fake_torch

from gptlab.commands import doctor
from gptlab.commands.doctor import Finding


def levels(findings):
    return [finding.level for finding in findings]


def the_problem(findings):
    (problem,) = [finding for finding in findings if finding.level == "problem"]
    assert problem.fix, "a problem without its remedy"
    return problem


def test_python():
    assert levels(doctor.check_python((3, 12, 1))) == ["ok"]
    assert "3.9.18 is too old: the course needs 3.10" in the_problem(doctor.check_python((3, 9, 18))).text


@pytest.mark.parametrize(
    ("version", "level", "said"),
    [
        ("2.13.0+cpu", "ok", "torch 2.13.0+cpu"),
        ("2.9.0", "ok", "torch 2.9.0"),
        ("2.15.1", "note", "newer than the tests have seen"),
        ("2.8.0", "problem", "torch 2.8.0 is too old: the course needs torch<2.14,>=2.9"),
        (None, "problem", "torch is not installed"),
    ],
)
def test_packages_against_their_ranges(version, level, said):
    (finding,) = doctor.check_packages(["torch>=2.9,<2.14"], installed={"torch": version}.get)
    assert finding.level == level and said in finding.text
    assert bool(finding.fix) == (level == "problem")


def test_the_installed_packages_are_those_of_the_requirements():
    names = [finding.text.split()[0] for finding in doctor.check_packages(doctor._requirements())]
    assert {"torch", "tiktoken", "sentencepiece", "matplotlib", "nbval", "jupyterlab"} <= set(names)
    assert not {"pytest", "transformers"} & set(names)  # of the test extra, not of the course


def test_a_package_that_does_not_exist_has_no_version():
    assert doctor.installed_version("gptlab-no-such-package") is None


def test_a_machine_without_a_card():
    findings = doctor.check_device(fake_torch(built_for=None, version="2.13.0+cpu"))
    assert levels(findings) == ["ok", "note"]
    assert "no CUDA device" in findings[1].text


@pytest.mark.parametrize(("card", "dtype"), [(A100, "bfloat16"), (T4, "float16")])
def test_a_card_that_works(card, dtype):
    findings = doctor.check_device(fake_torch(cuda=[card]), card=card[0])
    assert levels(findings) == ["ok", "ok"]
    assert f"a batch agrees with the CPU; trains in {dtype}" in findings[1].text


def test_each_of_several_cards_is_tried():
    findings = doctor.check_device(fake_torch(cuda=[A100, T4]))
    assert "cuda:0 NVIDIA A100" in findings[1].text and "cuda:1 Tesla T4" in findings[2].text


def test_a_build_for_cpus_beside_a_card():
    found = the_problem(doctor.check_device(fake_torch(built_for=None, version="2.13.0+cpu"), card="Tesla T4"))
    assert "Tesla T4 is here, but torch 2.13.0+cpu is a build for CPUs only" in found.text
    assert "--force-reinstall torch" in found.fix


def test_a_driver_that_is_too_old():
    found = the_problem(doctor.check_device(fake_torch(), card="Tesla T4"))
    assert "cannot reach it" in found.text and "update the NVIDIA driver" in found.fix


def test_a_card_newer_than_the_build():
    found = the_problem(doctor.check_device(fake_torch(cuda=[("B200", (10, 0))], fails=NO_KERNEL), card="B200"))
    assert "B200 (capability 10.0) fails with torch for CUDA 12.8" in found.text and "no kernel image" in found.text
    assert "DSA" not in found.text  # one line
    assert "a CUDA version that knows this card" in found.fix


def test_a_card_that_answers_wrongly():
    assert "its answer is wrong" in the_problem(doctor.check_device(fake_torch(cuda=[A100], wrong=0.1))).text


def test_mps_right_and_wrong():
    assert 'pick_device("mps")' in doctor.check_device(fake_torch(mps=True))[-1].text
    wrong = doctor.check_device(fake_torch(mps=True, wrong=0.1))[-1]
    assert wrong.level == "note" and "MPS is here and is not used: its answer is wrong" in wrong.text


def test_a_cpu_that_fails(monkeypatch):
    monkeypatch.setattr("gptlab.gpu.what_is_wrong", lambda device, torch_module: "its first kernel failed: SIGILL")
    found = the_problem(doctor.check_device(fake_torch()))
    assert "the CPU fails" in found.text and "SIGILL" in found.text


@pytest.mark.parametrize(
    "error", [ImportError("No module named 'torch'"), OSError("[WinError 126] c10.dll"), OSError()]
)
def test_a_torch_that_cannot_be_imported(error):
    found = the_problem(doctor.check_device(error))
    assert "torch cannot be imported" in found.text and "-m gptlab start" in found.fix


@pytest.mark.parametrize(
    ("printed", "code", "name"),
    [("Tesla T4\nTesla T4\n", 0, "Tesla T4"), ("", 0, ""), ("No devices were found", 6, "")],
)
def test_the_card_is_what_nvidia_smi_says(printed, code, name, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda program: "nvidia-smi")
    answer = SimpleNamespace(stdout=printed, returncode=code)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    assert doctor.nvidia_card() == name


@pytest.mark.parametrize("error", [OSError(), subprocess.TimeoutExpired("nvidia-smi", 20)])
def test_an_nvidia_smi_that_hangs_or_fails_is_no_card(error, monkeypatch):
    def run(*_, **__):
        raise error

    monkeypatch.setattr(doctor.shutil, "which", lambda program: "nvidia-smi")
    monkeypatch.setattr(subprocess, "run", run)
    assert doctor.nvidia_card() == ""
    monkeypatch.setattr(doctor.shutil, "which", lambda program: None)
    assert doctor.nvidia_card() == ""


def test_files_found_and_how_to_get_the_others():
    found, missing = doctor.check_files({"shakespeare": "from the cache, a/b", "gpt2": None})
    assert str(found) == "ok       shakespeare: from the cache, a/b"
    assert missing.level == "note" and missing.fix == "python -m gptlab fetch gpt2"


def test_looking_for_files_downloads_nothing(monkeypatch, tmp_path):
    for name in ("GPTLAB_DATA", "GPTLAB_OFFLINE", "TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GPTLAB_CACHE", str(tmp_path))
    assert doctor._find_published()["shakespeare"] is None
    assert "GPTLAB_OFFLINE" not in os.environ and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("free", "level"), [(10**7, "problem"), (10**9, "note"), (10**11, "ok")])
def test_room_on_the_disk(free, level):
    assert levels(doctor.check_disk(free)) == [level]


@pytest.mark.parametrize(("total", "level"), [(None, "note"), (2 * 10**9, "note"), (16 * 10**9, "ok")])
def test_memory(total, level):
    assert levels(doctor.check_memory(total)) == [level]


def test_the_borders_of_disk_and_memory_are_where_the_numbers_say():
    disk = [levels(doctor.check_disk(free)) for free in (199_999_999, 200_000_000, 1_999_999_999, 2_000_000_000)]
    assert disk == [["problem"], ["note"], ["note"], ["ok"]]
    assert [levels(doctor.check_memory(total)) for total in (3_500_000_000, 3_500_000_001)] == [["note"], ["ok"]]


def test_memory_of_this_machine_is_known():
    assert doctor.total_memory() > 10**8


@pytest.mark.parametrize("command", [["python", "-m", "ipykernel"], ["/venv/bin/python3", "-m"]])
def test_the_kernel_of_this_python(command):
    assert levels(doctor.check_kernel(command, "/venv/bin/python")) == ["ok"]


def test_a_kernel_of_another_python_or_none():
    other = the_problem(doctor.check_kernel(["/usr/bin/python3", "-m"], "/venv/bin/python"))
    assert "is another Python: /usr/bin/python3" in other.text
    assert "no kernel 'python3'" in the_problem(doctor.check_kernel(None, "/venv/bin/python")).text


def test_the_exit_code_is_one_with_a_problem(capsys):
    assert doctor.report([Finding("ok", "a"), Finding("note", "b", "c")]) == 0
    assert "All is well." in capsys.readouterr().out
    assert doctor.report([Finding("problem", "a", "b"), Finding("problem", "c", "d")]) == 1
    assert capsys.readouterr().out.endswith("problem  c\n         -> d\n2 problems found.\n")


def test_a_check_that_breaks_is_reported_and_the_others_go_on(monkeypatch):
    def faint(version):
        raise KeyError("dizzy")

    monkeypatch.setattr(doctor, "check_python", faint)
    findings = doctor.examine()
    assert "a check broke: KeyError: 'dizzy'" in findings[0].text
    assert len(findings) > 10


def test_a_data_folder_that_is_none_is_a_problem_and_then_not_all_is_well(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("GPTLAB_DATA", str(tmp_path / "typo"))
    monkeypatch.setattr(doctor, "check_device", lambda *_: [])
    findings = doctor.examine()
    (found,) = [finding for finding in findings if "GPTLAB_DATA names" in finding.text]
    assert found.level == "problem" and str(tmp_path / "typo") in found.text and "fetch --into FOLDER" in found.fix
    assert doctor.report(findings) == 1 and "All is well" not in capsys.readouterr().out
    assert levels(doctor.check_data(str(tmp_path))) == ["ok"] and doctor.check_data("") == []
    (tmp_path / "file").touch()
    assert (
        levels(doctor.check_data(str(tmp_path / "file"))) == levels(doctor.check_data("~nobody-there/x")) == ["problem"]
    )


def test_where_the_package_is_not_installed_its_list_of_requirements_counts(monkeypatch):
    def absent(name):
        raise doctor.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.importlib.metadata, "requires", absent)
    findings = doctor.check_packages(doctor._requirements())
    names = [finding.text.split()[0] for finding in findings]
    assert {"torch", "tiktoken", "jupyterlab", "numpy"} <= set(names) and "pytest" not in names
