"""What the card says of a wrong result is true of it, whatever the result."""

import math
from collections import Counter

import pytest

from gptlab.exercises.relations import relation
from gptlab.exercises.schema import part
from gptlab.exercises.values import difference


@pytest.mark.parametrize(
    ("expected", "got", "said"),
    [
        ([1, 2, 3], [2, 4, 6], "it is the expected result times 2"),
        ([1.0, 2.0], [-1.0, -2.0], "it is the expected result with the opposite sign"),
        ([1, 2, 3], [0, 0, 0], "all of it is 0"),
        ([0.0, 2.0, 4.0], [0.0, 1.0, 2.0], "it is the expected result times 0.5"),
        ([1, 2, 4], [2, 3, 5], "it is the expected result plus 1"),
        ([1, 2, 4], [0, 1, 3], "it is the expected result minus 1"),
        ([[1, 2], [3, 4]], [[1, 3], [2, 4]], "it is the expected result, transposed"),
        ([[1, 2, 3], [4, 5, 6]], [[1, 4], [2, 5], [3, 6]], "it is the expected result, transposed"),
        ([[[1, 2, 3]], [[4, 5, 6]]], [[[1, 2, 3], [4, 5, 6]]], "it is the expected result with axes 0 and 1 exchanged"),
        ([5, 6, 7, 9], [0, 5, 6, 7], "the values stand one position later than expected"),
        ([5, 6, 7, 9], [6, 7, 9, 0], "the values stand one position earlier than expected"),
        ([[1, 2, 3], [4, 5, 6]], [[0, 1, 2], [0, 4, 5]],
         "the values stand one position later than expected along axis 1"),
        ([1, 2, 4], [4, 2, 1], "it is the expected result in reverse order"),
        ("hen", "neh", "it is the expected result in reverse order"),
        ([["a"], ["b"]], [["b"], ["a"]], "it is the expected result in reverse order"),
        ([1, 2, 4, 5], [2, 5, 1, 4], "the parts are the expected ones in another order"),
        ("fox", "ofx", "the parts are the expected ones in another order"),
        (["a", "b", "c"], ["b", "c", "a"], "the parts are the expected ones in another order"),
        ("A fox", "a FOX", "it is the expected text but for upper and lower case"),
        ("a fox", "a  fox\n", "it is the expected text but for spaces and line ends"),
        ([1, 2, 3], [1, 2], "the last of 3 parts is missing"),
        ([1, 2], [1, 2, 2], "after the expected result come 1 more"),
        ([1, 2, 3], [2, 3], "the first of 3 parts is missing"),
        ("fox", " fox", "it is the expected text but for spaces and line ends"),
        ("fox", "afox", "before the expected result come 1 more"),
        ([1, 2, 3, 4], [[1, 2], [3, 4]],
         "the values are the expected ones in the same order, in the shape [2, 2] instead of [4]"),
        ([[1, 2], [3, 4]], [1, 3, 2, 4],
         "the values are the expected ones in another order, in the shape [4] instead of [2, 2]"),
        ({"a": 0, "b": 1}, {0: "a", 1: "b"}, "keys and values are exchanged"),
        ({"a": 1, "b": 3}, {"a": 2, "b": 6}, "of each value: it is the expected one times 2"),
        ([1.0, 2.0], [1.0, math.nan], "NaN stands in 1 of 2 places"),
        ([1, 2, 3], [1, 2, 4], None),
        ([1, 2], [1.0, 2.0], None),
        ([1, 2], "12", None),
        ("a", "b", None),
        ([], [1], None),
        ({}, {1: 2}, None),
        (True, False, None),
        ([[1], [2, 3]], [[2], [4, 6]], None),
    ],
)  # fmt: skip
def test_relations(expected, got, said):
    assert difference(expected, got) is not None
    assert relation([(expected, got)], 0) == said


def test_tensors_and_arrays_have_the_same_relations():
    torch, numpy = pytest.importorskip("torch"), pytest.importorskip("numpy")
    x = torch.arange(24.0).view(2, 3, 4)
    assert relation([(x, 3 * x)], 0) == relation([(x, (3 * x).numpy())], 0) == "it is the expected result times 3"
    assert relation([(x, x.mT)], 0) == "it is the expected result with axes 1 and 2 exchanged"
    assert relation([(x, x.roll(1, 1))], 0) == "the values stand one position later than expected along axis 1"
    assert relation([(x, x.flip(0))], 0) == "it is the expected result in reverse order along axis 0"
    assert relation([(x, x.view(6, 4))], 0).endswith("in the shape [6, 4] instead of [2, 3, 4]")
    assert relation([(x, torch.full_like(x, math.nan))], 0) == "NaN stands in 24 of 24 places"
    assert relation([(numpy.arange(4), numpy.arange(4) + 2)], 0) == "it is the expected result plus 2"
    assert relation([(x, x + torch.eye(3, 4))], 0) is None


def test_one_number_says_nothing_and_two_the_same_thing():
    assert relation([(4, 8)], 0) is None and relation([(4, 8), (5, 6)], 0) is None
    assert relation([(4, 8), (5, 10)], 0) == "it is the expected result times 2"
    assert relation([([1], [3]), ([2], [4])], 0) == "it is the expected result plus 2"
    assert relation([([1, 2], [2, 4]), ([1, 2], [3, 6])], 1) == "on this input it is the expected result times 3"
    assert relation([([1, 2], [2, 4]), ([1, 2], [3, 7])], 0) is None, "it must hold on all inputs"


def test_where_values_differ_first():
    torch = pytest.importorskip("torch")
    x = torch.zeros(2, 3)
    y = x.clone()
    y[1, 1:] = 2.5
    assert difference(x, y) == "2 of 6 values differ, the first at [1, 1]: 2.5, not 0"
    assert difference("fox", "fog") == "it differs first at position 2: 'g', not 'x'"
    assert difference("fox", "foxes") == "it has length 5, not 3, and is the same up to there"
    assert difference(b"ab", b"aa") == "it differs first at position 1: b'a', not b'b'"
    assert difference({"a": [1, 2]}, {"a": [1, 3]}) == "at 'a': at position 1: 3, not 2"
    assert difference({1, 2}, {1}) == "2 is missing" and difference({1}, {1, 2}) == "2 should not be in it"


@pytest.mark.parametrize(
    ("expected", "advice"),
    [
        ("text", 'not text: put "".join(...) around it'), ([1], "not a list: put list(...) around it"),
        ((1,), "not a tuple: put tuple(...) around it"), ({1}, "not a set: put set(...) around it"),
        (1.5, "not a number"), (2, "not an integer"), ({1: 2}, "not a dict"),
    ],
)  # fmt: skip
def test_a_generator_becomes_what_is_expected(expected, advice):
    assert difference(expected, (part for part in "ab")) == f"it is a generator, {advice}"


def test_types_are_called_as_a_prompt_calls_them():
    assert difference(Counter("ab"), 3) == "it is an int, not a dict" and difference({1: 2}, Counter({1: 2})) is None
    assert difference((1, 2), (1, part(lambda: "a".size))).endswith(
        "it raised AttributeError: 'str' object has no attribute 'size'"
    )


def test_a_generator_of_tensors_is_stacked():
    torch = pytest.importorskip("torch")
    assert difference(torch.ones(2), iter([])).endswith("not a tensor: put torch.stack(list(...)) around it")
