"""Every exercise ever declared keeps the same promises, and the engine survives whatever it is given."""

import contextlib
import importlib
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

import gptlab
from gptlab import exercises
from gptlab.exercises import (
    Card,
    Exercise,
    Mistake,
    check,
    compare,
    engine,
    every,
    find,
    hint,
    judge,
    limits,
    predict,
    predictions,
    progress,
    quiz,
    quizzes,
    recap,
    registry,
    solution,
    store,
)  # fmt: skip
from gptlab.exercises.schema import KINDS
from gptlab.exercises.session import session
from gptlab.exercises.values import difference, shown

trial = importlib.import_module("gptlab.exercises.trial")
ALL = every()
FORBIDDEN = re.compile(r"\b(simply|just|obviously)\b|!(?![=\]])", re.IGNORECASE)
by_id = pytest.mark.parametrize("exercise", ALL, ids=lambda exercise: exercise.id)


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    """Each test has its own progress file and its own session."""
    monkeypatch.setenv("GPTLAB_PROGRESS", str(tmp_path / "progress.json"))
    session.reset()
    return tmp_path / "progress.json"


def html(thing):
    return thing._repr_html_()


# ---- What every exercise promises ------------------------------------------------------------------------------------


def test_ids_are_unique_and_count_up_in_each_topic():
    ids = [exercise.id for exercise in ALL]
    assert len(set(ids)) == len(ids)
    for topic in registry.topics():
        own = [exercise.id for exercise in ALL if exercise.topic == topic]
        fewest = 2 if topic == "start_here" else 6  # the first notebook is for looking around
        assert own == [f"{topic}.{i}" for i in range(1, len(own) + 1)] and len(own) >= fewest


@by_id
def test_it_is_declared_completely(exercise):
    assert len(exercise.mistakes) >= 3 and len(exercise.hints) == 3 and exercise.difficulty in (1, 2, 3)
    assert exercise.kind in KINDS and exercise.minutes > 0
    assert f"({exercise.kind}, {exercise.minutes} minutes, " in exercise._repr_markdown_()
    assert len({mistake.name for mistake in exercise.mistakes}) == len(exercise.mistakes)
    assert re.search(r"\[B, T|Shapes: |`(str|int|list|bytes|dict|float)`", exercise.prompt)
    assert exercise.solution.__name__ in exercise.signature
    words = [exercise.title, exercise.prompt, *exercise.hints]
    words += [text for mistake in exercise.mistakes for text in (mistake.name, mistake.tell)]
    said = [re.sub(r"`[^`]*`|\$[^$]*\$", "", text) for text in words]
    assert not [text for text in said if FORBIDDEN.search(text)]
    assert not exercise.package or engine._named(exercise.package)
    assert exercise.title in exercise._repr_markdown_() and exercise.signature in exercise._repr_markdown_()


@by_id
def test_the_solution_passes_on_fresh_inputs(exercise):
    verdict = judge(exercise, exercise.solution)
    assert verdict.state == "passed", verdict


@by_id
def test_an_untouched_stub_is_not_attempted(exercise):
    def not_implemented(*args):
        """Your code here."""
        raise NotImplementedError("your code here")

    def dots(*args): ...

    def gives_dots(*args):
        result = ...
        return result

    for stub in (..., None, NotImplemented, not_implemented, dots, gives_dots, lambda *args: ...):
        card = check(exercise.id, stub)
        assert repr(card) == f"{exercise.id} {exercise.title}: not attempted yet"
        assert "not attempted yet" in html(card)
    assert not store.read()["exercises"]


@by_id
def test_an_answer_that_raises_is_told_what_and_where(exercise):
    def answer(*args):
        return args[999]

    card = repr(check(exercise.id, answer))
    assert "not yet" in card and "runs without an exception (0 of" in card
    assert exercise.topic != "bpe" or "IndexError: tuple index out of range, in the line `return args[999]`" in card


@pytest.mark.parametrize("topic", registry.topics())
def test_the_core_of_a_notebook_takes_at_most_half_an_hour(topic):
    """A pupil who does nothing else has written the idea of the notebook. The first notebook is for looking around."""
    core = [exercise for exercise in registry.exercises(topic) if exercise.kind == "core"]
    assert len(core) in ((1,) if topic == "start_here" else (2, 3))
    assert sum(exercise.minutes for exercise in core) <= 30


def test_importing_the_exercises_loads_nothing_heavy(tmp_path):
    code = "import gptlab.exercises, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert (
        not {"torch", "numpy", "matplotlib", "regex"} & set(done.stdout.split()) and "gptlab.exercises" in done.stdout
    )


# ---- The judge -------------------------------------------------------------------------------------------------------


def double(numbers):
    return [2 * number for number in numbers]


def _double_in_place(numbers):
    numbers[:] = double(numbers)
    return numbers


SMALL = Exercise(
    id="double.1",
    title="Double",
    prompt="Input: a `list` of `int`.",
    signature="def double(numbers: list[int]) -> list[int]",
    kind="warm-up",
    minutes=1,
    difficulty=1,
    inputs=lambda rng: [([n] * n,) for n in range(6)],
    solution=double,
    mistakes=[
        Mistake("added instead", lambda numbers: [2 + number for number in numbers], "Multiply."),
        Mistake("squared", lambda numbers: [number**2 for number in numbers], "Do not square."),
        Mistake("the list twice", lambda numbers: 2 * numbers, "Each number, not the list."),
    ],
    hints=["one", "two", "three"],
    seconds=10,
)


@pytest.fixture
def small(monkeypatch):
    """An exercise that is found by its id, as if it were declared."""
    monkeypatch.setattr(registry, "find", lambda id: SMALL if registry.tidy_id(id) == "double.1" else None)
    return SMALL


def test_the_object_that_is_passed_in_is_run(small):
    def impostor(numbers):
        return numbers

    impostor.__name__ = impostor.__qualname__ = "double"
    assert "not yet" in repr(check("double.1", impostor))
    calls = []
    assert "passed" in repr(check("double.1", lambda numbers: calls.append(1) or double(numbers)))
    assert len(calls) == 6


def test_the_smallest_failing_input_is_shown(small):
    card = repr(check("double.1", lambda numbers: double(numbers) if len(numbers) < 3 else []))
    assert "numbers=[3, 3, 3]" in card and "[6, 6, 6]" in card and "3 of 6 inputs" in card and "length 0, not 3" in card


def test_a_wrong_result_without_a_name_comes_with_what_is_true_of_it(small):
    def said(answer):
        return next(line for line in repr(check("double.1", answer)).splitlines() if "  difference  " in line)

    assert "it is the expected result times 1.5" in said(lambda numbers: [3 * number for number in numbers])
    assert "on this input the last of 2 parts is missing" in said(lambda n: double(n)[:-1] or double(n))
    assert "at position 1: 0, not 6" in said(lambda n: [0 if (i, x) == (1, 6) else x for i, x in enumerate(double(n))])


def test_slow_code_that_is_right_is_told_so(small):
    def slow(numbers):
        time.sleep(0.25 if numbers else 0)
        return double(numbers)

    card = " ".join(repr(check("double.1", slow, seconds=0.6)).split())
    assert "It was right on 3 inputs of 6, but took longer than 0.6 s for all of them" in card
    assert "loop" not in card and "printed" not in card
    card = repr(check("double.1", lambda numbers: time.sleep(0.25) or [], seconds=0.6))
    assert "it has length 0, not 1" in card and "is done within 0.6 s" in card, "what is wrong counts more"


def test_a_class_for_a_function_and_the_other_way_round():
    class count_pairs:
        def __init__(self, ids):
            self.ids = ids

    said = " ".join(repr(check("bpe.1", count_pairs)).split())
    assert "You passed the class count_pairs" in said and 'check("bpe.1", count_pairs)' in said and "itself" in said
    said = " ".join(repr(check("tokens.7", lambda text: text)).split())
    assert "You passed a function. Pass the class itself" in said and 'check("tokens.7", Tokenizer)' in said
    made = registry.find("tokens.7").solution
    assert "passed" in repr(check("tokens.7", lambda text: made(text))), "what makes the right objects is right"
    assert "You passed" not in repr(check("tokens.8", str.split)) + repr(check("bpe.1", dict))


def test_a_mix_of_float32_and_float64_is_explained():
    torch = pytest.importorskip("torch")
    exercise = with_mistakes(
        inputs=lambda rng: [(torch.eye(2, dtype=torch.float64),)],
        solution=lambda x: 2 * x,
    )
    assert "give new ones the dtype of the input" in judge(exercise, lambda x: x @ (2 * torch.eye(2))).remark
    assert judge(exercise, lambda x: x @ torch.eye(3).double()).remark == ""
    assert judge(exercise, lambda x: x @ (2 * torch.eye(2, dtype=x.dtype))).state == "passed"


class Unsayable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize("result", ["meta", "keys", "raises"])
def test_what_was_called_is_not_said_to_be_uncallable(small, result):
    torch = pytest.importorskip("torch")

    class Key:
        __hash__ = object.__hash__

        def __eq__(self, other):
            raise RuntimeError("no key")

    def answer(numbers):
        if result == "raises":
            raise Unsayable
        return torch.zeros(len(numbers), device="meta") if result == "meta" else {Key(): 1}

    card = repr(check("double.1", answer))
    assert "not yet" in card and "could not be called" not in card and "stumbled" not in card


@pytest.mark.skipif(not trial.AVAILABLE, reason="a trial run needs Linux")
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda numbers: sum(itertools.count()), "cannot be interrupted"),
        (lambda numbers: re.match(r"(a+)+$", "a" * 50 + "b"), "cannot be interrupted"),
        (lambda numbers: os._exit(3), "ended Python itself (exit code 3)"),
        (lambda numbers: os.kill(os.getpid(), signal.SIGSEGV), "signal SIGSEGV"),
        (lambda numbers: _sorting(numbers, sys.setrecursionlimit), "RecursionError"),
        (lambda numbers: _sorting(numbers, SET_LIMIT), "SIGSEGV" if sys.version_info < (3, 12) else "not yet"),
    ],
)
def test_what_would_take_the_kernel_down_takes_down_a_copy(small, monkeypatch, answer, said):
    monkeypatch.setattr(trial, "_GRACE", 1.5)
    before = sys.getrecursionlimit()
    card = " ".join(
        repr(check("double.1", answer, seconds=5 if "_sorting" in answer.__code__.co_names else 0.5)).split()
    )
    assert said in card and "not yet" in card, card
    assert sys.getrecursionlimit() == before and sys.setrecursionlimit is SET_LIMIT
    assert "passed" in repr(check("double.1", double))


SET_LIMIT = sys.setrecursionlimit


def _sorting(numbers, set_limit):
    set_limit(10**6)

    def deeper(number):
        return sorted([number], key=deeper)

    return deeper(1)


@pytest.mark.skipif(not trial.AVAILABLE, reason="a trial run needs Linux")
def test_a_copy_that_only_waits_says_nothing_about_an_answer():
    lock = threading.Lock()
    lock.acquire()
    assert trial.trial(lock.acquire, seconds=0) == ("unknown", None)
    assert trial.trial(lambda: [1, 2], seconds=1) == ("reported", [1, 2])
    assert trial.trial(lambda: lambda: 0, seconds=1) == ("unknown", None), "it cannot be pickled"


@pytest.mark.skipif(not trial.AVAILABLE, reason="a trial run needs Linux")
def test_a_copy_computes_although_the_threads_of_torch_are_not_copied():
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        x = torch.ones(400, 400, requires_grad=True)
        (x @ x).softmax(-1).sum().backward()

        def work():
            y = torch.ones(400, 400, requires_grad=True)
            (y @ y).softmax(-1).sum().backward()
            return y.grad.shape[0]

        assert trial.trial(work, seconds=20) == ("reported", 400)
    finally:
        torch.set_num_threads(threads)


def with_mistakes(*wrong, **changes):
    """The small exercise with other known mistakes."""
    mistakes = [Mistake(f.__name__, f, "") for f in wrong]
    return Exercise(**{**vars(SMALL), "mistakes": mistakes, **changes})


def zeros(numbers):
    return [0] * len(numbers)


def named(exercise, answer):
    mistake = judge(exercise, answer).mistake
    return mistake and mistake.name


def test_a_mistake_is_named_only_when_it_does_the_same_on_every_input():
    exercise = with_mistakes(zeros)
    assert named(exercise, lambda numbers: [0] * len(numbers)) == "zeros"
    for right_at in range(1, 6):
        assert named(exercise, lambda n, at=right_at: double(n) if len(n) == at else zeros(n)) is None
    assert named(exercise, lambda numbers: zeros(numbers) or [0]) is None
    assert named(exercise, lambda numbers: numbers.clear() or []) is None


def test_of_two_mistakes_that_fit_the_first_is_named():
    def again(numbers):
        return zeros(numbers)

    assert named(with_mistakes(zeros, again), zeros) == "zeros" and named(with_mistakes(again, zeros), zeros) == "again"


def test_what_an_answer_changes_is_part_of_what_it_does():
    def doubled_in_place(numbers):
        numbers[:] = double(numbers)
        return numbers

    def emptied(numbers):
        result = double(numbers)
        numbers.clear()
        return result

    exercise = with_mistakes(doubled_in_place, emptied)
    assert named(exercise, _double_in_place) == "doubled_in_place"
    assert named(exercise, lambda n: [double(n), n.clear()][0]) == "emptied"
    assert named(exercise, lambda n: [double(n), n.append(0)][0]) is None


def test_exceptions_are_alike_in_type_and_message():
    def by_key(numbers):
        return {}[f"no {len(numbers)}"]

    exercise = with_mistakes(by_key)
    assert named(exercise, lambda numbers: {}["no " + str(len(numbers))]) == "by_key"
    assert named(exercise, lambda numbers: {}["none"]) is None
    assert named(exercise, lambda numbers: [][0]) is None


def test_an_answer_that_only_ever_raises_is_alike_in_its_operation_too():
    torch = pytest.importorskip("torch")

    def product(numbers):
        return torch.ones(2, 3) @ torch.ones(2, 3)

    def by_linear(numbers):
        return torch.nn.functional.linear(torch.ones(2, 3), torch.ones(3, 2))

    exercise = with_mistakes(product)
    assert named(exercise, lambda numbers: torch.matmul(torch.ones(2, 3), torch.ones(2, 3))) == "product"
    assert named(exercise, by_linear) is None, "torch says the same of both"
    assert named(with_mistakes(by_linear), product) is None
    raises = with_mistakes(lambda numbers: torch.zeros(2, 3).transpose(0, 1).view(6))
    assert named(raises, lambda numbers: torch.zeros(2, 3).mT.view(6)) == "<lambda>"
    assert named(raises, lambda numbers: torch.zeros(2, 3).mT.contiguous().view(5)) is None


@pytest.mark.parametrize("lacking", ["encode", "decode", "vocab_size"])
def test_a_class_that_lacks_one_part_is_told_which(lacking):
    class Tokenizer(registry.find("tokens.7").solution):
        @property
        def vocab_size(self):
            if lacking == "vocab_size":
                raise AttributeError("'Tokenizer' object has no attribute 'vocab_size'")
            return len(self.characters)

        @vocab_size.setter
        def vocab_size(self, size):
            pass

    if lacking != "vocab_size":
        setattr(Tokenizer, lacking, property(lambda self: getattr(object(), lacking)))
    card = repr(check("tokens.7", Tokenizer))
    assert f"has no attribute '{lacking}'" in card
    assert card.count("✗ no") == {"encode": 3, "decode": 1, "vocab_size": 1}[lacking], "decode has nothing to decode"


def test_changing_the_input_is_noticed(small):
    card = repr(check("double.1", _double_in_place))
    assert "✗ no  leaves its inputs as they were" in card and "Work on a copy" in card
    assert "  afterwards  numbers=" in card and "  expected  " not in card
    assert judge(Exercise(**{**vars(SMALL), "inputs_stay": False}), _double_in_place).state == "passed"


class Hostile:
    def __eq__(self, other):
        raise RuntimeError("not to be compared")

    def __repr__(self):
        raise RuntimeError("not to be shown")

    __hash__ = None


def _forever(numbers):
    while True:
        pass


def _forever_and_stubborn(numbers):
    while True:
        with contextlib.suppress(Exception):
            time.sleep(0.01)


def _deep(numbers):
    return [*_deep(numbers), 0]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (_forever, "nothing within 0.4 s"),
        (_forever_and_stubborn, "nothing within 0.4 s"),
        (lambda numbers: sys.exit(1), "SystemExit: 1"),
        (lambda numbers: (_ for _ in ()).throw(KeyboardInterrupt), "KeyboardInterrupt"),
        (_deep, "RecursionError"),
        (lambda numbers: (2 * n for n in numbers), "put list(...) around it"),
        (lambda numbers: None if numbers else [], "is a `return` missing"),
        (lambda numbers: str(numbers), "it is text, not a list"),
        (lambda numbers: [0] * 3_000_000, "length 3000000, not"),
        (lambda numbers: [2.0 * n for n in numbers], "not an integer"),
        (lambda numbers: Hostile(), "Hostile"),
        (lambda numbers: [Hostile()] * len(numbers), "Hostile"),
        (lambda: [], "TypeError"),
        (lambda numbers: input("how many?"), "nobody answers during a check"),
        (lambda numbers: 10**6000, "it is an int, not a list"),
        (double([1, 2]), "Pass the function itself, without brackets"),
        ("double", "of type str"),
        (Hostile(), "Pass the function itself"),
        (print, "None"),
        (int, "TypeError"),
        (Hostile, "not yet"),
    ],
)
def test_hostile_answers_are_answered_kindly(small, capsys, answer, said):
    started = time.monotonic()
    card = check("double.1", answer, seconds=0.4 if "forever" in getattr(answer, "__name__", "") else None)
    assert said in repr(card) and "not yet" in repr(card), repr(card)
    assert "stumbled" not in repr(card)
    assert len(repr(card)) < 3000 and html(card)
    assert time.monotonic() - started < 30
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    assert "passed" in repr(check("double.1", double)), "the next check works"
    assert not [thread for thread in threading.enumerate() if thread.name == "gptlab-check"]


def test_what_cannot_be_stopped_is_left_behind(small):
    released = threading.Event()

    def waits(numbers):
        while not released.is_set():
            with contextlib.suppress(BaseException):
                released.wait(0.2)

    try:
        assert "nothing within 0.2 s" in repr(check("double.1", waits, seconds=0.2))
        assert "passed" in repr(check("double.1", double))
    finally:
        released.set()


def test_printed_is_said_only_of_what_was_printed(small):
    for answer in (_forever, lambda numbers: [0] * 10_000_000, double):
        assert "printed" not in repr(check("double.1", answer, seconds=0.3 if answer is _forever else None))


def test_prints_are_swallowed_and_streams_come_back(small, capsys):
    out = sys.stdout

    def answer(numbers):
        print("hello")
        print("there", file=sys.stderr)
        return double(numbers)

    card = check("double.1", answer)
    assert sys.stdout is out and capsys.readouterr() == ("", "")
    assert "passed" in repr(card) and "printed is left out" in repr(card)


def test_random_numbers_go_on_as_if_nothing_had_been_checked(small):
    numpy, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")

    def draws():
        return float(numpy.random.rand()), float(torch.rand(()))

    def answer(numbers):
        random.seed(0), numpy.random.seed(0), torch.manual_seed(0)
        return double(numbers)

    states = numpy.random.get_state(), torch.get_rng_state()
    expected = draws()
    numpy.random.set_state(states[0]), torch.set_rng_state(states[1])
    assert "passed" in repr(check("double.1", answer))
    assert draws() == expected
    with limits.untouched_world():  # the type checks of the tests draw from `random` themselves, so this is done alone
        before = random.getstate()
        with limits.untouched_world():
            random.seed(0)
        assert random.getstate() == before


def test_the_stop_button_ends_a_check_and_nothing_else(small, monkeypatch):
    def pressed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trial, "_received", pressed)
        assert not trial.AVAILABLE or "stopped, because you asked for it" in repr(check("double.1", _forever))
    monkeypatch.setattr(trial, "AVAILABLE", False)
    monkeypatch.setattr(limits, "_wait", pressed)
    assert "stopped, because you asked for it" in repr(check("double.1", _forever))


def test_objects_and_classes_are_answers_too(small):
    class Callable:
        def __call__(self, numbers):
            return double(numbers)

    class Method:
        def double(self, numbers):
            return double(numbers)

    class NeedsMore:
        def __init__(self, more):
            pass

        double = Method.double

    class Empty:
        def double(self, numbers): ...

    for answer in (Callable(), Method(), Method):
        assert "passed" in repr(check("double.1", answer))
    assert "It could not be called at all. TypeError" in repr(check("double.1", NeedsMore))
    assert "not attempted yet" in repr(check("double.1", Empty))


@pytest.mark.parametrize("id", ["99.7", "bpe.33", "", None, 7, "banana", "2.3.4", object(), "…"])
def test_an_unknown_id_is_a_card(id):
    for command in (check, hint, solution, compare):
        assert "There is no exercise" in repr(command(id))
    assert html(check(id))
    assert "bpe.3" in repr(check("bpe.33"))


def test_a_number_is_not_an_id():
    for command in (check, hint, solution, compare):
        said = repr(command(10.10))
        assert "10.1 and 10.10 are the same one: write the id in quotes" in said and 'check("sampling.1"' in said
    assert registry.find(10.10) is None and "passed" in repr(check(registry.find("bpe.2"), find("bpe.2").solution))


def test_an_error_of_the_checker_is_not_the_readers(small, monkeypatch):
    monkeypatch.setattr(engine, "judge", lambda *args, **named: 1 / 0)
    assert "the checker itself has stumbled, not you" in repr(check("double.1", double))


def test_values_are_compared_as_far_as_a_reader_should_care():
    torch, numpy = pytest.importorskip("torch"), pytest.importorskip("numpy")
    third = torch.tensor([1 / 3, 2 / 3])
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert difference(third, third.to(dtype)) is None
    assert difference(third, third + 0.01) and difference(third.double(), third.double() + 1e-4)
    assert difference(third, third[None]) == "its shape is [1, 2], not [2]"
    assert difference([1, 2], torch.tensor([1, 2])) is difference([1, 2], numpy.array([1, 2])) is None
    assert difference(1 / 3, torch.tensor(1 / 3)) is difference(third, [1 / 3, 2 / 3]) is None
    assert difference([1, 2], torch.tensor([1.0, 2.0])) and difference(torch.tensor([1, 2]), torch.tensor([1, 3]))
    assert difference({"a": 1}, {"a": 1, "b": 2}) == "'b' should not be in it"
    assert difference({"a": 1}, {}) == "'a' is missing"
    assert difference(float("nan"), 1.0) and difference(1.0, float("nan"))
    assert difference(third, third * float("nan")) and difference(third, "no") == "it is text, not a tensor"
    assert shown(torch.zeros(2, 3)).endswith("(shape [2, 3], float32)")
    assert len(shown("x" * 10**6)) < 200 and len(shown(list(range(10**6)))) < 200 and len(shown(10**5000)) < 250


# ---- Cards, hints, solutions, comparison -----------------------------------------------------------------------------


def test_html_is_self_contained_and_says_everything_in_words(small):
    cards = [check("double.1", answer) for answer in (double, lambda n: [2 + m for m in n], ..., _double_in_place)]
    cards += [
        check("bpe.2", ALL[0].solution),
        hint("bpe.2"),
        solution("bpe.2"),
        progress(),
        quiz("bpe"),
        quiz("bpe", ["a", "b", "c"]),
    ]
    cards += [compare("double.1", double), predict("tokens.b", "a"), recap("tokens"), check("http")]
    for card in cards:
        text = html(card)
        assert not re.search(r"http|<script|<style|<svg|javascript|\son\w+=|class=", text)
        assert "✗" not in text or "✗ no:" in text or "not yet" in text or "you said" in text or "right" in text
        assert text.count("<div") == text.count("</div>") and text == html(card) and repr(card)
    assert "added instead" in html(cards[1]) and 'role="group" aria-label="double.1 Double: not yet"' in html(cards[1])


def test_values_of_the_reader_are_escaped():
    assert "<b>" not in html(Card("<b>", facts=[("<b>", "<b>")], code=[("<b>", "<b>")])).replace("<b>&lt;b", "&lt;b")


def test_three_hints_come_one_after_the_other():
    said = [repr(hint("bpe.2")) for _ in range(4)]
    for number, text in enumerate(ALL[[e.id for e in ALL].index("bpe.2")].hints):
        assert f"hint {number + 1} of 3" in said[number] and text[:30] in said[number]
    assert "these are all the hints" in said[3]


def test_the_solution_comes_after_an_attempt_or_when_asked_twice():
    assert "try it first" in repr(solution("bpe.2"))
    assert "def merge(ids" in repr(solution("bpe.2"))
    check("bpe.3", ...)
    assert "try it first" in repr(solution("bpe.3"))
    check("bpe.1", lambda ids: {})
    assert "def count_pairs(ids" in repr(solution("bpe.1"))


def test_passing_code_is_laid_beside_the_packages():
    assert "First check" in repr(compare("bpe.2", lambda ids, pair, new_id: ids)) and "not attempted" in repr(
        compare("bpe.2")
    )
    merge = registry.find("bpe.2").solution
    card = compare("bpe.2", merge)
    assert "yours" in repr(card) and "--- gptlab.bpe.merge" in repr(card) and "from left to right" in html(card)
    namespace = {}
    exec("def f(ids, pair, new_id):\n    return merge(ids, pair, new_id)", {"merge": merge}, namespace)
    assert "source of this object is not known" in repr(compare("bpe.2", namespace["f"]))


# ---- Progress --------------------------------------------------------------------------------------------------------


def test_progress_is_kept_in_one_small_file(fresh):
    assert "● 2.2" not in repr(progress())
    check("bpe.2", registry.find("bpe.2").solution)
    check("bpe.3", lambda ids: (0, 0))
    assert done("bpe") == [2] and "○ 1  ● 2  ◐ 3" in repr(progress())
    assert json.loads(fresh.read_text())["exercises"]["bpe.2"] == {"passed": True, "tries": 1}
    check("bpe.2", lambda *args: 0)
    assert done("bpe") == [2], "what was done once stays done"
    assert [path.name for path in fresh.parent.iterdir()] == ["progress.json"]
    assert "done" in html(progress())


def done(topic):
    """The numbers of a topic's exercises that the progress table marks as done."""
    (row,) = [line for line in repr(progress()).splitlines() if line.split()[1:2] == [topic]]
    return [int(number) for number in re.findall(r"● (\d+)", row)]


def test_two_kernels_share_the_file(fresh):
    check("bpe.2", registry.find("bpe.2").solution)
    data = json.loads(fresh.read_text())
    data["exercises"]["tokens.1"] = {"passed": True, "tries": 1}
    fresh.write_text(json.dumps(data))
    check("bpe.3", registry.find("bpe.3").solution)
    assert done("tokens") == [1] and done("bpe") == [2, 3]


def test_the_tally_says_for_each_topic_what_is_done(fresh, monkeypatch):
    assert exercises.tally()["bpe"] == f"0 of {len(registry.exercises('bpe'))} exercises, no guesses yet"
    check("bpe.1", registry.find("bpe.1").solution), check("bpe.2", len)
    predict("bpe.a", 2), predict("bpe.a", 4), predict("bpe.b", find_answer("bpe.b"))
    said = f"1 of {len(registry.exercises('bpe'))} exercises, 1 of 2 guesses right at once"
    assert exercises.tally()["bpe"] == said and list(exercises.tally()) == registry.topics()
    monkeypatch.setattr(store, "read", lambda: 1 / 0)
    assert exercises.tally() == {}


def find_answer(id):
    return registry.find_prediction(id).answer


def test_progress_of_the_first_edition_is_converted(fresh):
    """Its ids had the notebook's number; what a reader has done then is done now."""
    old = {
        "exercises": {"6.2": {"passed": True, "tries": 2}, "14.9": {"passed": False, "tries": 1}},
        "predictions": {"11.b": {"right": False, "missed": True, "first": "a", "answer": "c", "question": "Why?"}},
        "quiz": {"9.1": {"right": True}},
    }
    fresh.write_text(json.dumps({"version": 1, **old}))
    assert done("attention") == [2] and repr(progress()).splitlines()[-2].endswith("◐ 6")
    assert "1 of 1 to look at again" in repr(recap("llama"))
    check("attention.1", registry.find("attention.1").solution)
    new = json.loads(fresh.read_text())
    assert new["version"] == 3 and set(new["exercises"]) == {"attention.1", "attention.2", "cluster.6"}
    assert new["exercises"]["attention.2"] == old["exercises"]["6.2"] and set(new["quiz"]) == {"training.1"}
    assert done("attention") == [1, 2] and "unreadable" not in str(list(fresh.parent.iterdir()))


def test_progress_from_when_one_gpu_and_many_were_one_topic_is_converted(fresh):
    old = {"gpu.1": {"passed": True, "tries": 1}, "gpu.8": {"passed": True, "tries": 3}}
    guess = {"right": False, "missed": True, "first": "a", "answer": "b", "question": "How many?"}
    fresh.write_text(json.dumps({"version": 2, "exercises": old, "predictions": {"gpu.g": guess}, "quiz": {}}))
    assert done("gpu") == [1] and done("cluster") == [1]
    assert "1 of 1 to look at again" in repr(recap("cluster")) and "no guesses" in repr(recap("gpu"))
    check("gpu.9", registry.find("gpu.9").solution)  # as a copy of the old notebook calls it
    new = json.loads(fresh.read_text())
    assert new["version"] == 3 and set(new["exercises"]) == {"gpu.1", "cluster.1", "cluster.6"}


def test_an_id_that_moved_is_never_given_to_something_else():
    ids = {one.id for one in [*ALL, *predictions()]}
    assert not ids & set(registry.MOVED) and set(registry.MOVED.values()) <= ids


@pytest.mark.parametrize("id", ["attention.2", " Attention.2 ", "6.2", "06.2"])
def test_an_id_of_the_first_edition_finds_its_exercise(id):
    assert registry.find(id).id == "attention.2" and registry.find(registry.find(id)).id == "attention.2"


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[1]", b'{"exercises": {"bpe.2": 1}}', b'{"quiz": 3}', b""])
def test_a_file_that_cannot_be_read_is_set_aside(fresh, content):
    fresh.write_bytes(content)
    card = check("bpe.2", registry.find("bpe.2").solution)
    assert "passed" in repr(card) and "could not be read" in repr(card)
    assert fresh.with_name("progress.json.unreadable-1").read_bytes() == content
    assert done("bpe") == [2] and "could not be read" not in repr(progress())


def test_a_folder_that_cannot_be_written_to_is_no_reason_to_stop(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("GPTLAB_PROGRESS", str(tmp_path / "file" / "progress.json"))
    assert "kept until this kernel ends" in repr(check("bpe.2", registry.find("bpe.2").solution))
    again = repr(check("bpe.3", registry.find("bpe.3").solution))
    assert "note:" not in again
    assert done("bpe") == [2, 3]


def test_the_file_can_be_elsewhere_or_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("GPTLAB_PROGRESS", str(tmp_path))
    assert store.place() == tmp_path / "progress.json"
    monkeypatch.setenv("GPTLAB_PROGRESS", "off")
    check("bpe.2", registry.find("bpe.2").solution)
    assert store.place() is None and done("bpe") == [2] and os.listdir(tmp_path) == []
    monkeypatch.delenv("GPTLAB_PROGRESS")
    assert store.place().name == "progress.json"


def nobody(*_):
    raise KeyError("getpwuid(): uid not found: 1234")


@pytest.mark.skipif(os.name == "nt", reason="the users of a system, as POSIX has them")
@pytest.mark.parametrize("named", ["", "~nobody-of-this-name/x"])
def test_without_a_home_every_exercise_is_checked_and_the_reader_is_told_once(monkeypatch, tmp_path, named):
    """docker run -u 1234: no HOME, and no entry in the list of users."""
    import pwd

    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GPTLAB_PROGRESS", named)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr(pwd, "getpwnam", nobody)
    assert store.place() is None
    first, second = (repr(check(f"bpe.{n}", registry.find(f"bpe.{n}").solution)) for n in (2, 3))
    assert "passed" in first and first.count("set GPTLAB_PROGRESS to a file") == 1 and "GPTLAB_PROGRESS" not in second
    assert done("bpe") == [2, 3] and os.listdir(tmp_path) == []


# ---- Predictions, questions, recap -----------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", predictions(), ids=lambda prediction: prediction.id)
def test_every_prediction_can_be_answered(prediction):
    found_out = 0.5 if prediction.kind == "number" else (1, 2)  # what the notebook's cell would compute
    truth = prediction.answer if prediction.answer is not None else found_out
    assert "no guess" in repr(predict(prediction.id, ..., truth)) or prediction.question in repr(predict(prediction.id))
    assert "right" in repr(predict(prediction.id, truth, truth))
    assert prediction.kind in ("choice", "number", "shape", "order") and prediction.explanation
    if prediction.kind == "choice":
        assert [quizzes._choice(prediction.answer, prediction.choices)] == [prediction.answer]
        wrong = [quizzes.letter(i) for i in range(len(prediction.choices)) if quizzes.letter(i) != prediction.answer]
        assert len(wrong) >= 1 and all("you said" in repr(predict(prediction.id, letter)) for letter in wrong)
    assert not FORBIDDEN.search(prediction.question + prediction.explanation)


def test_prediction_ids_are_unique():
    ids = [prediction.id for prediction in predictions()]
    assert len(ids) == len(set(ids)) and all(re.fullmatch(r"[a-z_]+\.[a-z]", id) for id in ids)


@pytest.mark.parametrize(
    ("said", "truth", "right"),
    [
        ((2, 7, 7), (2, 7, 7), True), ("[2, 7, 7]", (2, 7, 7), True), ([7, 2, 7], (2, 7, 7), False),
        (14, (2, 7), False),
        (12, 12, True), ("12", 12, True), ("twelve", 12, False), (11, 12, False), (-12, 12, False), (0, 12, False),
        (["a", "b"], ["a", "b"], True), ("a, b", ["a", "b"], True), ("b > a", ["a", "b"], False), ({}, (1, 2), False),
        ("c", "c", True), (" C ", "c", True), ("d", "c", False), (object(), "c", False),
    ],
)  # fmt: skip
def test_guesses_are_read_in_any_reasonable_form(said, truth, right):
    card = repr(predict("other.b", said, truth))
    assert (": right" in card) is right and ("you said" in card) is not right


def test_a_guess_of_tensors_and_their_shapes():
    torch = pytest.importorskip("torch")
    assert "right" in repr(predict("other.b", (2, 3), torch.zeros(2, 3).shape))
    assert "right" in repr(predict("other.b", 3.0, torch.tensor(3.0)))


def test_a_prediction_in_two_steps():
    assert repr(predict("other.b")) == "other.b: no guess yet"
    assert "noted" in repr(predict("other.b", (2, 4)))
    assert "you said (2, 4); it is (2, 7)" in repr(predict("other.b", truth=(2, 7)))
    assert repr(predict("other.c", truth=(2, 7))) == "other.c: no guess; it is (2, 7)"


@pytest.mark.parametrize("topic", [topic for topic in registry.topics() if gptlab.notebook(topic).number > 1])
def test_three_questions_open_a_notebook(topic):
    questions, place = registry.questions(topic), gptlab.notebook(topic).number
    assert len(questions) == 3
    for n, question in enumerate(questions, start=1):
        assert gptlab.notebook(question.about).number < place and question.answer in "abc"[: len(question.choices)]
        assert "1 of 1 right" in repr(quiz(topic, n, question.answer)) == repr(quiz(place, {n: question.answer}))
        assert not FORBIDDEN.search(question.question + question.explanation)
    answers = [question.answer for question in questions]
    assert "3 of 3 right" in repr(quiz(f"{place:02}", answers)) and "3 of 3" in repr(quiz(topic, *answers))
    assert all(question.question in repr(quiz(topic, [..., ..., ...])) for question in questions)


def test_strange_answers_to_a_quiz_are_survived():
    for strange in ([9, 9, 9], "b", {7: "a"}, [[], {}, object()], 3.5, (1, 2, 3, 4)):
        assert repr(quiz("bpe", strange))
    assert "There is no quiz" in repr(quiz("what")) and "There is no quiz" in repr(quiz(77))
    assert exercises.retrieve is quiz


def test_the_recap_gives_back_what_was_missed():
    assert "no guesses made" in repr(recap("bpe"))
    predict("bpe.a", 2), predict("bpe.b", "b"), quiz("bpe", ["a", "c", ...])
    card = " ".join(repr(recap("02_bpe")).split())
    assert "2 of 4 to look at again" in card and "You said 2; it is 4" in card and "prediction 2.b" not in card
    predict("bpe.a", 4)
    assert "Right since then" in repr(recap("bpe"))
    predict("tokens.a", 5)
    assert "right" in repr(recap("tokens")) and "look at again" not in repr(recap("tokens"))
    assert repr(recap("nonsense")) and repr(recap(None))


def test_untouched_cells_print_little_and_write_nothing(fresh):
    cards = [
        check("bpe.2", ...),
        predict("bpe.a"),
        predict("other.b", ..., 3),
        quiz("bpe"),
        recap("bpe"),
        hint("bpe.2"),
    ]
    assert all(len(repr(card).splitlines()) < 16 for card in cards)
    assert len(repr(progress()).splitlines()) <= len(registry.topics()) + 2
    assert not fresh.exists()


@pytest.mark.parametrize("seed", range(5))
def test_no_two_segmentations_are_equally_good_where_a_prompt_says_so(seed):
    """Otherwise a right answer that breaks the tie in another way is refused."""
    for text, logp in find("unigram.3").inputs(random.Random(seed)):
        best = [[(0.0, ())]]  # for each end of the text its two best segmentations, which no listing could find
        for end in range(1, len(text) + 1):
            ways = [
                (score + logp[text[start:end]], (*pieces, text[start:end]))
                for start in range(end)
                if text[start:end] in logp
                for score, pieces in best[start]
            ]
            best.append(sorted(ways, reverse=True)[:2])
        scores = [score for score, _ in best[-1]]
        assert len(scores) == 1 or scores[0] - scores[1] > 1e-6, (text, best[-1])
