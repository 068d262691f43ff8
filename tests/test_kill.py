"""kill -9, SIGTERM, Ctrl-C: a run of `python -m gptlab train` that is ended at any moment goes on as if it were not.

Real processes and real signals. The kills fall at random moments, some while the process starts, some while it saves.
"""

import json
import os
import random
import signal
import sys
import time

import children
import pytest
import torch
from safetensors.torch import load_file

from gptlab import checkpoints
from gptlab.model import GPT, GPTConfig

pytestmark = children.needs_fork
SEED = 20


@pytest.fixture(autouse=True)
def as_in_a_terminal():
    """Ctrl-C acts: a job that a script starts in the background has SIGINT ignored, and so have its tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 60)
    return path


def arguments(text, folder, *more, steps=170):
    size = "--batch-size 2 --context 16 --n-layer 1 --n-head 2 --n-embd 12 --dropout 0.2 --device cpu"
    how = f"--tokens characters --steps {steps} --save-every 2 --evaluate-every 50"
    options = [*size.split(), *how.split(), *more]  # those of `more` count where both have one
    given = {options[i]: options[i + 1] for i in range(0, len(options), 2)}
    words = [word for option in given.items() for word in option]
    return ["train", "fables", "--corpus", text, "--folder", folder, "--resume", *words]


def state(folder):
    return json.loads((checkpoints.latest(folder) / "state.json").read_text())


def last(folder):
    """How many steps the newest checkpoint has behind it."""
    newest = checkpoints.latest(folder)
    return 0 if newest is None else int(newest.name.removeprefix("step-"))


def equal(a, b):
    """Whether two runs are the same in all that was computed, bit for bit."""
    one, two = state(a), state(b)
    names = ("losses", "rates", "gradient_norms", "tokens")
    assert all(one["history"][name] == two["history"][name] for name in names)
    assert [e["validation"] for e in one["history"]["evaluations"]] == [
        e["validation"] for e in two["history"]["evaluations"]
    ]
    for file in ("model.safetensors", "optimizers.safetensors"):
        left, right = (load_file(checkpoints.latest(folder) / file) for folder in (a, b))
        assert left.keys() == right.keys()
        assert all(left[name].equal(right[name]) for name in left if not name.endswith(("python", "numpy")))


@pytest.fixture(scope="module")
def whole(text, tmp_path_factory):
    """The run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    process = children.start(children.command, arguments(text, folder), folder / "log")
    assert children.finish(process) == [0], (folder / "log").read_text()
    return folder


def stopped_in_a_save(process, folder):
    """Whether a run has been halted while it writes a checkpoint; if it is not writing any, it goes on."""
    if not list(folder.glob(".step-*")):
        assert process.is_alive()
        return False
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(0.01)  # until it has stopped
    if list(folder.glob(".step-*")):
        return True
    os.kill(process.pid, signal.SIGCONT)  # too late: that one was finished
    return False


def test_killed_twenty_times_it_computes_what_it_would_have(text, whole, tmp_path):
    draw, saving, steps = random.Random(SEED), 0, []
    for kill in range(20):
        process = children.start(children.command, arguments(text, tmp_path), tmp_path / "log")
        early = kill % 5 == 4  # anywhere from the first moment on; else some steps later, in a step or between two
        goal = last(tmp_path) + (10 if early else draw.randint(1, 4))
        moment = time.monotonic() + draw.uniform(0.0, 0.4)
        children.wait_for(
            lambda goal=goal, early=early, moment=moment: (
                last(tmp_path) >= goal or (early and time.monotonic() > moment) or not process.is_alive()  # noqa: B023
            )
        )
        if kill % 5 == 0:
            children.wait_for(lambda: stopped_in_a_save(process, tmp_path))  # noqa: B023
        else:
            time.sleep(draw.uniform(0.0, 0.01))
        assert process.is_alive(), (tmp_path / "log").read_text()
        process.kill()
        process.join()
        saving += bool(list(tmp_path.glob(".step-*")))
        steps.append(last(tmp_path))
    assert steps == sorted(steps) and saving > 0 and len(set(steps)) > 10
    process = children.start(children.command, arguments(text, tmp_path), tmp_path / "log")
    assert children.finish(process) == [0], (tmp_path / "log").read_text()
    equal(tmp_path, whole)
    assert not list(tmp_path.glob(".step-*"))  # what the kills left is cleared away


def test_a_run_with_a_reward_that_is_killed_between_two_updates_goes_on_as_if_it_had_not_been(tmp_path):
    _, tokenizer = checkpoints.committed("fables")
    torch.manual_seed(0)
    model = GPT(GPTConfig.modern(tokenizer.vocab_size, 24, n_layer=1, n_head=2, n_embd=8))
    checkpoints.save_model(model, tmp_path / "base", tokenizer)
    size = "--reward cheerful_words --batch-size 8 --group-size 4 --updates 3 --device cpu"
    how = f"--steps 40 --save-every 1 --evaluate-every 0 --base {tmp_path / 'base'}"
    words = ["train", "reinforce", *size.split(), *how.split(), "--resume", "--folder"]
    process = children.start(children.command, [*words, tmp_path / "whole"], tmp_path / "log")
    assert children.finish(process) == [0], (tmp_path / "log").read_text()
    for goal in (4, 11):  # 4 and 11 are the second and the third update of a round
        process = children.start(children.command, [*words, tmp_path / "killed"], tmp_path / "log")
        children.wait_for(lambda goal=goal: last(tmp_path / "killed") >= goal or not process.is_alive())  # noqa: B023
        process.kill()
        process.join()
        assert goal <= last(tmp_path / "killed") < 40
    process = children.start(children.command, [*words, tmp_path / "killed"], tmp_path / "log")
    assert children.finish(process) == [0], (tmp_path / "log").read_text()
    one, two = state(tmp_path / "whole"), state(tmp_path / "killed")
    assert one["history"]["losses"] == two["history"]["losses"] and one["batches"] == two["batches"]
    left, right = (load_file(checkpoints.latest(tmp_path / run) / "model.safetensors") for run in ("whole", "killed"))
    assert all(left[name].equal(right[name]) for name in left)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_run_that_is_asked_to_end_saves_first_and_says_how_to_go_on(text, whole, tmp_path, number):
    process = children.start(children.command, arguments(text, tmp_path, "--save-every", "30"), tmp_path / "log")
    children.wait_for(lambda: last(tmp_path) >= 30)
    children.os.kill(process.pid, number)
    assert children.finish(process) == [128 + number]
    said = (tmp_path / "log").read_text()
    assert f"stopped by {number.name} after step" in said and f"train --resume --folder {tmp_path}` goes on" in said
    assert 30 < last(tmp_path) < 170 and f"after step {last(tmp_path)}." in said
    process = children.start(children.command, ["train", "--resume", "--folder", tmp_path], tmp_path / "log")
    assert children.finish(process) == [0], (tmp_path / "log").read_text()  # all settings are in config.yaml
    equal(tmp_path, whole)


def test_a_second_ctrl_c_ends_it_at_once(tmp_path):
    from gptlab.runs.interruption import StopOnSignal

    with StopOnSignal() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGINT)
        assert stop() and stop.number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):  # afterwards all is as it was
        signal.raise_signal(signal.SIGINT)


def test_before_anything_can_be_saved_a_signal_acts_at_once():
    from gptlab.runs.interruption import StopOnSignal

    with pytest.raises(KeyboardInterrupt), StopOnSignal():
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(SystemExit, match="143"), StopOnSignal():
        signal.raise_signal(signal.SIGTERM)


def busy_for_long(patience, seconds, asks):
    """A run that hears SIGTERM while it measures, and afterwards asks, or does not."""
    from gptlab.runs.interruption import StopOnSignal

    with StopOnSignal(patience) as stop:
        assert not stop()
        with stop.busy():
            children.os.kill(children.os.getpid(), signal.SIGTERM)
            time.sleep(seconds)
        if not asks:
            time.sleep(30)
        children.os._exit(5 if stop() else 6)


@pytest.mark.parametrize(("asks", "code"), [(True, 5), (False, 128 + signal.SIGTERM)])
def test_a_run_that_measures_for_long_is_not_taken_for_one_that_cannot_react(asks, code):
    process = children.start(busy_for_long, 0.3, 1.0, asks)
    assert children.finish(process, seconds=20) == [code]


def test_a_run_that_cannot_react_to_sigterm_is_ended_with_a_reason():
    process = children.start(children.sleep_and_never_ask, 0.3)
    assert children.finish(process, seconds=20) == [128 + signal.SIGTERM]


@pytest.mark.parametrize("early", [False, True])
def test_a_run_that_nobody_reads_any_more_saves_and_ends(text, whole, tmp_path, early):
    """`train | head -1`: the reader is gone when the run prints next, while it trains or before it does."""
    process = children.start(read_one_line_of_it, arguments(text, tmp_path, "--save-every", "1000"), tmp_path, early)
    assert children.finish(process) == [0], (tmp_path / "log").read_text()
    assert (tmp_path / "log").read_text() == ""
    assert last(tmp_path) == 0 if early else 50 < last(tmp_path) < 170  # nothing but the closed pipe has saved
    if not early:
        process = children.start(children.command, ["train", "--resume", "--folder", tmp_path], tmp_path / "log")
        assert children.finish(process) == [0], (tmp_path / "log").read_text()
        equal(tmp_path, whole)


def read_one_line_of_it(arguments, folder, early):
    """Run the command with a pipe for its output that is closed after the first evaluation, or before anything."""
    reader, writer = children.os.pipe()
    child = children.os.fork()
    if not child:
        children.os.close(reader)
        children.os.dup2(children.os.open(folder / "log", children.os.O_WRONLY | children.os.O_CREAT), 2)
        children.os.dup2(writer, 1)
        from gptlab import commands

        code = commands.run(list(map(str, arguments)))
        sys.stdout.flush()
        children.os._exit(code)
    children.os.close(writer)
    said = b""
    while not early and b"step " not in said:
        said += children.os.read(reader, 100)
    children.os.close(reader)
    code = children.os.waitstatus_to_exitcode(children.os.waitpid(child, 0)[1])
    children.os._exit(0 if code == 128 + signal.SIGPIPE else code or 99)


def test_under_nohup_a_closed_terminal_is_nothing():
    from gptlab.runs.interruption import StopOnSignal

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopOnSignal() as stop:
            assert not stop()
            signal.raise_signal(signal.SIGHUP)
            assert not stop()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_output_is_what_it_was_afterwards(capsys):
    from gptlab.runs.interruption import StopOnSignal

    before = sys.stdout, sys.stderr
    with StopOnSignal() as stop:
        print("seen", flush=True)
        assert sys.stdout is not before[0] and not stop()
    assert (sys.stdout, sys.stderr) == before and capsys.readouterr().out == "seen\n"
