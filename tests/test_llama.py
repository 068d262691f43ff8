"""The parts of notebook `llama`: each does what its formula says."""

import math
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptlab.llama import (
    RMSNorm,
    RotaryPositions,
    ShortConvolution,
    SwiGLU,
    llama_config,
    rope_angles,
    rope_frequencies,
    rotate,
    squared_relu,
    to_halves,
    to_interleaved,
)
from gptlab.model import GPT, GPTConfig, RopeScaling


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


@given(H=st.integers(1, 4), half=st.integers(1, 5), C=st.integers(1, 7), seed=st.integers(0, 99))
def test_queries_and_keys_of_one_pairing_score_alike_in_the_other_after_the_permutation(H, half, C, seed):
    hs, T = 2 * half, 9
    query, key, x = draw(H * hs, C, seed=seed), draw(H * hs, C, seed=seed + 1), draw(T, C, seed=seed + 2)

    def scores(q, k, pairing):
        q, k = ((x @ w.T).view(T, H, hs).transpose(0, 1) for w in (q, k))  # [H, T, hs]
        return rotate(q, rope_angles(hs, T), pairing) @ rotate(k, rope_angles(hs, T), pairing).transpose(1, 2)

    expected = scores(query, key, "interleaved")
    found = scores(to_halves(query, H), to_halves(key, H), "halves")
    assert torch.allclose(found, expected, atol=1e-4)
    if half > 1:
        assert not torch.allclose(scores(query, key, "halves"), expected, atol=1e-4)
    assert torch.equal(to_interleaved(to_halves(query, H), H), query)
    assert torch.equal(to_halves(query, H)[:, 0], to_halves(query[:, 0], H))  # a bias goes the same way


def test_an_odd_head_size_has_a_channel_without_a_partner():
    with pytest.raises(ValueError, match="hs=5 channels of a head cannot be paired"):
        RotaryPositions(5, 8)


def test_llama_31_lowers_the_low_frequencies_only():
    # With theta = 100 and 8 channels, one step turns 1, 10^-½, 10^-1 and 10^-3/2 radians. Within 100 steps these are
    # 15.9, 5.03, 1.59 and 0.503 turns: left, left, between 1 and 4, slowed.
    plain, scaled = (rope_frequencies(8, 100.0, scaling) for scaling in (None, RopeScaling(8, context=100)))
    assert scaled[:2].tolist() == plain[:2].tolist()
    fast = (100 * 0.1 / (2 * math.pi) - 1) / 3
    assert scaled[2].item() == pytest.approx(0.1 * (fast + (1 - fast) / 8), rel=1e-5)
    assert scaled[3].item() == pytest.approx(10**-1.5 / 8, rel=1e-5)
    assert torch.equal(rope_angles(8, 5, 100.0, RopeScaling(8, context=100))[4], 4 * scaled)


@pytest.mark.parametrize("start", [0, 3])
def test_the_table_of_rotations_is_rotate(start):
    x = draw(2, 3, 5, 8)
    rotation = RotaryPositions(8, 16)(start, 5)
    assert torch.allclose(rotation(x), rotate(x, rope_angles(8, 16)[start : start + 5]), atol=1e-6)


def test_positions_beyond_the_table_are_refused():
    positions = RotaryPositions(8, 5)
    assert positions(3, 2)(draw(2, 3, 2, 8)).shape == (2, 3, 2, 8)
    for start, T, last in ((4, 3, 6), (10, 1, 10)):  # one row would be broadcast silently, none would be nothing
        with pytest.raises(ValueError, match=rf"positions {start} to {last} do not fit the table of 5.*T={start + T}"):
            positions(start, T)


def test_swiglu_is_its_formula():
    torch.manual_seed(0)
    mlp, x = SwiGLU(GPTConfig(5, n_embd=12, mlp_size=20)), draw(2, 3, 12)
    gate, up = mlp.gate(x), mlp.up(x)
    assert torch.allclose(mlp(x), mlp.down(gate / (1 + torch.exp(-gate)) * up), atol=1e-6)


def test_squared_relu_is_its_formula():
    assert squared_relu(torch.tensor([-2.0, 0.0, 3.0])).tolist() == [0.0, 0.0, 9.0]


def test_the_short_convolution_is_the_librarys_and_sees_no_future():
    layer, x = ShortConvolution(6, 3), draw(2, 7, 6)
    layer.weight.data = draw(3, 6, seed=1)
    kernel = layer.weight.flip(0).T[:, None]  # [C, 1, width]: the library's last entry weighs the present
    padded = torch.nn.functional.pad(x.transpose(1, 2), (2, 0))
    expected = x + torch.nn.functional.conv1d(padded, kernel, groups=6).transpose(1, 2)
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_a_convolution_of_one_position_scales_each_channel():
    layer, x = ShortConvolution(6, 1), draw(2, 7, 6)
    assert torch.allclose(layer(x), x * (1 + layer.weight[0]), atol=1e-6)


def test_frequencies_fall_geometrically_from_one_radian_a_token():
    angles = rope_angles(8, T=2, theta=10_000.0)[1]
    assert angles.tolist() == pytest.approx([1.0, 0.1, 0.01, 0.001], rel=1e-5)
    assert math.isclose(rope_angles(4, 3)[2, 0].item(), 2.0)


PUBLISHED = {  # counted by the publishers, from the tensors of their files
    "2-7B": 6_738_415_616,
    "2-13B": 13_015_864_320,
    "2-70B": 68_976_648_192,
    "8B": 8_030_261_248,
    "70B": 70_553_706_496,
    "405B": 405_853_388_800,
    "3.1-8B": 8_030_261_248,
    "3.1-70B": 70_553_706_496,
    "3.2-1B": 1_235_814_400,
    "3.2-3B": 3_212_749_824,
    "3.3-70B": 70_553_706_496,
}


def by_hand(V: int, L: int, H: int, n_kv_head: int, C: int, width: int, tied: bool) -> int:
    """Parameters of a Llama: per layer queries and output, keys and values, three matrices of the MLP, two norms."""
    layer = 2 * C * C + 2 * C * (C // H) * n_kv_head + 3 * C * width + 2 * C
    return L * layer + V * C * (1 if tied else 2) + C


@pytest.mark.parametrize(("size", "parameters"), PUBLISHED.items())
def test_llama_has_the_published_number_of_parameters(size, parameters):
    config = llama_config(size)
    with torch.device("meta"):
        assert GPT(config).count_parameters() == parameters
    shape = (config.n_layer, config.n_head, config.n_kv_head, config.n_embd, config.mlp_size)
    assert by_hand(config.vocab_size, *shape, config.tie_weights) == parameters


def test_the_largest_llama_starts_at_once_when_only_its_shape_is_wanted():
    with torch.device("meta"):
        GPT(GPTConfig(5))  # what torch imports the first time does not count
        began = time.process_time()
        model = GPT(llama_config("405B"))
    assert time.process_time() - began < 1.5
    assert {t.device.type for t in [*model.parameters(), *model.buffers()]} == {"meta"}


def test_what_changed_between_the_generations():
    assert (llama_config("2-7B").context, llama_config("8B").context, llama_config("3.1-8B").context) == (
        4096,
        8192,
        131072,
    )
    assert llama_config("8B") == llama_config("3-8B") and llama_config("405B") == llama_config("3.1-405B")
    assert llama_config("8B").rope_scaling is None and llama_config("3.2-1B").rope_scaling.factor == 32
    assert llama_config("8B", n_layer=2, context=64).context == 64


@pytest.mark.parametrize("size", ["7B", "2-8B", "4-8B", "", "3.1-"])
def test_a_llama_that_was_not_published_is_refused_with_those_that_were(size):
    with pytest.raises(ValueError, match=rf"unknown Llama '{size}'.*405B.*3\.2-1B"):
        llama_config(size)
