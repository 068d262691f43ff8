"""Entrances accept what their annotations say, and refuse the rest in words that name both sides."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gptlab.entrances import Count, Fraction, NotNegative, Positive, Range, Whole, check_fields, checked, explained


@checked
def plan(
    gpus: Count,
    tokens: Positive = 1.0,
    *,
    skip: Whole = 0,
    share: Fraction | None = None,
    clip: Annotated[float, Range(above=0, infinite=True)] = math.inf,
    shape: Literal["linear", "cosine"] = "linear",
    verbose: bool = False,
    name: str | None = None,
):
    return gpus, tokens, skip, share, clip, shape, verbose, name


@pytest.mark.parametrize(
    "given",
    [
        {"gpus": 1}, {"gpus": np.int64(3), "tokens": np.float32(2.5)}, {"gpus": 2, "tokens": 7},
        {"gpus": 1, "share": 0},
        {"gpus": 1, "share": None}, {"gpus": 1, "share": 1.0}, {"gpus": 1, "clip": 1}, {"gpus": 1, "shape": "cosine"},
        {"gpus": 1, "verbose": True, "name": "x"}, {"gpus": 10**30},
    ],
)  # fmt: skip
def test_what_the_annotations_allow_comes_through_unchanged(given):
    got = plan(**given)
    assert all(value is given[name] for name, value in zip(("gpus", "tokens"), got, strict=False) if name in given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gpus": 0}, "plan: gpus=0 must be a whole number of at least 1"),
        ({"gpus": -1}, "gpus=-1 must be"), ({"gpus": 1.0}, r"gpus=1.0 must be a whole number"),
        ({"gpus": True}, "gpus=True"), ({"gpus": "2"}, "gpus='2'"), ({"gpus": None}, "gpus=None"),
        ({"gpus": 1, "tokens": 0}, "tokens=0 must be a number above 0"),
        ({"gpus": 1, "tokens": math.nan}, "tokens=nan"),
        ({"gpus": 1, "tokens": math.inf}, "tokens=inf"), ({"gpus": 1, "tokens": [1]}, r"tokens=\[1\]"),
        ({"gpus": 1, "skip": -1}, "skip=-1 must be a whole number of at least 0"),
        ({"gpus": 1, "share": 1.01}, "share=1.01 must be a number of at least 0 and at most 1 or None"),
        ({"gpus": 1, "clip": 0}, "clip=0 must be a number above 0"), ({"gpus": 1, "clip": math.nan}, "clip=nan"),
        ({"gpus": 1, "shape": "round"}, "shape='round' must be one of 'linear', 'cosine'"),
        ({"gpus": 1, "verbose": "no"}, "verbose='no' must be True or False"),
        ({"gpus": 1, "verbose": 1}, "verbose=1"),
        ({"gpus": 1, "name": 3}, "name=3 must be text or None"),
    ],
)  # fmt: skip
def test_what_they_do_not_allow_is_refused_with_both_sides(given, said):
    with pytest.raises(ValueError, match=said):
        plan(**given)


def test_a_missing_argument_is_answered_with_the_names():
    with pytest.raises(TypeError, match=r"missing a required argument: 'gpus'; its arguments are gpus, \[tokens\]"):
        plan()
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'gpu'; its arguments are gpus"):
        plan(1, gpu=3)


def test_the_fields_of_settings_are_checked_alike():
    @dataclass
    class Settings:
        steps: Count = 3
        rate: NotNegative = 0.1
        other: object = None

        def __post_init__(self):
            check_fields(self)

    assert Settings(5, 0, object()).steps == 5
    with pytest.raises(ValueError, match="Settings: rate=-1 must be a number of at least 0"):
        Settings(rate=-1)
    with pytest.raises(ValueError, match=r"Settings: steps=2.5 must be a whole number of at least 1"):
        Settings(steps=2.5)


# ---- Tensors ---------------------------------------------------------------------------------------------------------


@explained
def scores(
    q: Float[Tensor, "*batch Tq hs"], k: Float[Tensor, "*batch Tk hs"], keep: Bool[Tensor, "Tq Tk"] | None = None
) -> Float[Tensor, "*batch Tq Tk"]:
    product = q @ k.transpose(-2, -1)
    return product if keep is None else product.masked_fill(~keep, 0.0)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 2)

    @property
    def sizes(self):
        return {"C": 6}

    @explained
    def forward(self, ids: Int[Tensor, "B T"], x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T 2"]:
        return self.linear(x) + ids[:, :, None]


Q, K, IDS, X = torch.zeros(3, 4), torch.zeros(5, 4), torch.zeros(2, 3).long(), torch.zeros(2, 3, 6)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: scores(Q[None], torch.zeros(1, 5, 6)), r"^scores: k has hs=6, and q has hs=4: they must agree"),
        (lambda: scores(Q[0], K.int()), r"scores: q has the shape \[4\] and must be \[…batch, Tq, hs\]"),
        (lambda: scores([[1.0]], K), r"q must be a tensor \[…batch, Tq, hs\], and is \[\[1.0\]\]"),
        (lambda: scores(Q, K, torch.zeros(3, 5)), r"keep must hold True and False \(torch.bool\), and holds float32"),
        (lambda: scores(Q, K, torch.ones(3, 6).bool()), r"keep has Tk=6, and k has Tk=5"),
        (lambda: Layer()(IDS[0], X), r"^Layer: ids has the shape \[3\] and must be \[B, T\]: ids\[None\] adds a batch"),
        (lambda: Layer()(IDS, torch.zeros(2, 3, 7)), r"^Layer: x has C=7, and Layer has C=6"),
        (lambda: Layer()(IDS, X.long()), r"x must hold floats, and holds int64"),
        (lambda: Layer()(IDS.to("meta"), X), r"x is on cpu and ids on meta"),
    ],
)
def test_a_wrong_tensor_is_named_with_both_sides(call, said):
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert caught.value.__cause__ is not None  # torch's own words stay at hand


def test_what_is_right_gives_what_the_function_gives():
    q, k = torch.randn(2, 3, 4), torch.randn(2, 5, 4)
    assert torch.equal(scores(q, k), q @ k.transpose(-2, -1))


def test_an_error_with_another_cause_stands_as_it_is():
    @explained
    def broken(x: Float[Tensor, "B T"]) -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        broken(torch.zeros(2, 3))


def test_a_clear_error_from_inside_is_not_explained_twice():
    @explained
    def outer(x: Float[Tensor, "B T hs"]) -> Tensor:
        return scores(x, x[:, :, :2])

    with pytest.raises(ValueError, match=r"^scores: k has hs=2, and q has hs=4"):
        outer(torch.zeros(2, 3, 4))


def test_the_compiler_sees_through_it():
    """In a process without the tests' type checks, which the compiler cannot see through."""
    import subprocess
    import sys

    code = """
import torch
from jaxtyping import Float
from torch import Tensor
from gptlab.entrances import explained

@explained
def twice(x: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    return 2 * x

compiled = torch.compile(twice, backend="eager", fullgraph=True)
assert compiled(torch.ones(2, 3)).sum() == 12
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1500:]
