"""The parts of lesson 11: each does what its formula says."""

import math

import pytest
import torch

from gptlab.llama import RMSNorm, RotaryPositions, ShortConvolution, SwiGLU, rope_angles, rotate, squared_relu
from gptlab.model import GPTConfig


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_rms_norm_is_the_librarys():
    norm = RMSNorm(6, eps=1e-5)
    norm.weight.data = draw(6, seed=1)
    x = draw(2, 3, 6)
    expected = torch.nn.functional.rms_norm(x, (6,), norm.weight, eps=1e-5)
    assert torch.allclose(norm(x), expected, atol=1e-6)


@pytest.mark.parametrize("pairing", ["halves", "interleaved"])
def test_rotation_keeps_lengths_and_only_the_distance_counts(pairing):
    angles, q, k = rope_angles(8, T=40), draw(8), draw(8, seed=1)

    def score(i: int, j: int) -> float:
        return float(rotate(q[None], angles[i : i + 1], pairing) @ rotate(k[None], angles[j : j + 1], pairing).T)

    assert score(9, 4) == pytest.approx(score(35, 30), abs=1e-4) != pytest.approx(score(9, 5), abs=1e-2)
    assert rotate(q[None], angles[7:8], pairing).norm().item() == pytest.approx(q.norm().item(), abs=1e-5)


def test_the_two_pairings_differ_by_a_permutation_of_channels():
    x, angles = draw(5, 8), rope_angles(8, T=5)
    order = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])  # halves -> neighbours
    assert torch.allclose(rotate(x, angles)[:, order], rotate(x[:, order], angles, "interleaved"), atol=1e-6)
    assert not torch.allclose(rotate(x, angles), rotate(x, angles, "interleaved"), atol=1e-2)


def test_an_unknown_pairing_is_refused():
    with pytest.raises(ValueError, match="'thirds'"):
        rotate(draw(2, 4), rope_angles(4, 2), "thirds")


@pytest.mark.parametrize("start", [0, 3])
def test_the_table_of_turns_is_rotate(start):
    x = draw(2, 3, 5, 8)
    turn = RotaryPositions(8, 16)(start, 5)
    assert torch.allclose(turn(x), rotate(x, rope_angles(8, 16)[start : start + 5]), atol=1e-6)


def test_swiglu_is_its_formula():
    torch.manual_seed(0)
    mlp, x = SwiGLU(GPTConfig(5, n_embd=12, mlp_size=20)), draw(2, 3, 12)
    gate, up = mlp.gate(x), mlp.up(x)
    assert torch.allclose(mlp(x), mlp.output(gate / (1 + torch.exp(-gate)) * up), atol=1e-6)


def test_squared_relu_is_its_formula():
    assert squared_relu(torch.tensor([-2.0, 0.0, 3.0])).tolist() == [0.0, 0.0, 9.0]


def test_the_short_convolution_is_the_librarys_and_sees_no_future():
    layer, x = ShortConvolution(6, 3), draw(2, 7, 6)
    layer.weight.data = draw(3, 6, seed=1)
    kernel = layer.weight.flip(0).T[:, None]  # [C, 1, width]: the library's last entry weighs the present
    padded = torch.nn.functional.pad(x.transpose(1, 2), (2, 0))
    expected = x + torch.nn.functional.conv1d(padded, kernel, groups=6).transpose(1, 2)
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_frequencies_fall_geometrically_from_one_radian_a_token():
    angles = rope_angles(8, T=2, theta=10_000.0)[1]
    assert angles.tolist() == pytest.approx([1.0, 0.1, 0.01, 0.001], rel=1e-5)
    assert math.isclose(rope_angles(4, 3)[2, 0].item(), 2.0)
