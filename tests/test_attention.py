"""Attention: each row is an average, heads do not mix, and the library agrees."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlab.attention import (
    CrossAttention,
    Head,
    MultiHeadAttention,
    attend,
    attention_weights,
    merge_heads,
    split_heads,
)
from gptlab.masking import causal

# B, Tq, Tk, hs, hv: all different, so that no two axes can be mistaken for each other.
SHAPES = st.permutations([2, 3, 4, 5, 7])


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_loops(q, k, v, keep):
    """Attention for one sequence, in loops: the specification."""
    out = torch.zeros(len(q), v.shape[1])
    for t in range(len(q)):
        allowed = [j for j in range(len(k)) if keep[t][j]]
        scores = [sum(float(a * b) for a, b in zip(q[t], k[j], strict=True)) / math.sqrt(len(q[t])) for j in allowed]
        total = sum(math.exp(score) for score in scores)
        for score, j in zip(scores, allowed, strict=True):
            out[t] += math.exp(score) / total * v[j]
    return out


@settings(deadline=None, max_examples=20)
@given(SHAPES, st.integers(0, 10**6))
def test_attend_is_its_loops(shape, seed):
    B, Tq, Tk, hs, hv = shape
    q, k, v = draw(B, Tq, hs, seed=seed), draw(B, Tk, hs, seed=seed + 1), draw(B, Tk, hv, seed=seed + 2)
    keep = draw(B, Tq, Tk, seed=seed + 3) > 0
    expected = torch.stack([by_loops(q[b], k[b], v[b], keep[b]) for b in range(B)])
    assert torch.allclose(attend(q, k, v, keep), expected, atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(SHAPES, st.integers(0, 10**6))
def test_attend_is_the_librarys(shape, seed):
    B, Tq, Tk, hs, H = shape
    q, k, v = (draw(B, H, T, hs, seed=seed + i).requires_grad_() for i, T in enumerate((Tq, Tk, Tk)))
    keep = draw(B, H, Tq, Tk, seed=seed + 3) > -1
    keep[..., 0] = True
    ours, theirs = attend(q, k, v, keep), F.scaled_dot_product_attention(q, k, v, attn_mask=keep)
    assert torch.allclose(ours, theirs, atol=1e-5)
    way = draw(*ours.shape, seed=seed + 4)
    for a, b in zip(
        torch.autograd.grad((ours * way).sum(), (q, k, v)),
        torch.autograd.grad((theirs * way).sum(), (q, k, v)),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-5)


def test_each_row_of_weights_sums_to_one():
    weights = attention_weights(draw(2, 5, 4), draw(2, 7, 4, seed=1))
    assert weights.shape == (2, 5, 7)
    assert torch.allclose(weights.sum(dim=-1), torch.ones(2, 5))


def test_a_row_that_may_attend_to_nothing_is_zero_and_has_finite_gradients():
    q = draw(1, 3, 4).requires_grad_()
    keep = torch.tensor([[True, True], [False, False], [True, False]])
    out = attend(q, draw(1, 2, 4, seed=1), draw(1, 2, 5, seed=2), keep)
    out.sum().backward()
    assert torch.equal(out[0, 1], torch.zeros(5)) and torch.isfinite(q.grad).all()
    assert torch.equal(q.grad[0, 1], torch.zeros(4))


def test_scores_are_scaled_by_the_root_of_the_head_size():
    q = torch.full((1, 1, 16), 1.0)
    k = torch.stack([torch.full((16,), 1.0), torch.zeros(16)])[None]  # scores 16 and 0, scaled 4 and 0
    assert attention_weights(q, k)[0, 0, 0].item() == pytest.approx(1 / (1 + math.exp(-4)), abs=1e-6)


def test_without_positions_attention_does_not_see_order():
    x, order = draw(2, 6, 12), torch.tensor([3, 0, 5, 1, 4, 2])
    torch.manual_seed(0)
    attention = MultiHeadAttention(12, 3)
    assert torch.allclose(attention(x)[:, order], attention(x[:, order]), atol=1e-6)


def test_sequences_of_a_batch_do_not_talk_to_each_other():
    x = draw(3, 6, 12)
    torch.manual_seed(0)
    attention = MultiHeadAttention(12, 4)
    before = attention(x)
    x[1] += 5
    after = attention(x)
    assert (
        torch.equal(after[0], before[0])
        and torch.equal(after[2], before[2])
        and not torch.allclose(after[1], before[1])
    )


def test_heads_split_and_merged_are_the_same_again():
    x = draw(2, 5, 12)
    assert torch.equal(merge_heads(split_heads(x, 3)), x)
    assert torch.equal(split_heads(x, 3)[:, 1], x[:, :, 4:8])


def test_many_heads_are_single_heads_side_by_side():
    torch.manual_seed(0)
    x, many = draw(2, 5, 12), MultiHeadAttention(12, 3)
    keep = causal(5)
    outs = []
    for h in range(3):
        head = Head(12, 4, bias=True)
        rows = slice(4 * h, 4 * h + 4)
        for name in ("query", "key", "value"):
            getattr(head, name).weight.data = getattr(many, name).weight.data[rows]
            getattr(head, name).bias.data = getattr(many, name).bias.data[rows]
        outs.append(head(x, keep))
    expected = many.output(torch.cat(outs, dim=-1))
    assert torch.allclose(many(x, keep), expected, atol=1e-6)
    assert torch.allclose(many(x, is_causal=True), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["self", "cross"])
def test_the_library_with_our_weights_gives_our_result(kind):
    torch.manual_seed(0)
    C, H = 12, 3
    x, memory = draw(2, 5, C), draw(2, 7, C, seed=1)
    source = x if kind == "self" else memory
    ours = MultiHeadAttention(C, H) if kind == "self" else CrossAttention(C, H)
    theirs = torch.nn.MultiheadAttention(C, H, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
        theirs.out_proj.load_state_dict(ours.output.state_dict())
    keep = draw(5, source.shape[1], seed=2) > -0.5
    keep[:, 0] = True
    result = ours(x, keep) if kind == "self" else ours(x, memory, keep)
    expected, _ = theirs(x, source, source, attn_mask=~keep)  # there, True means "drop"
    assert torch.allclose(result, expected, atol=1e-5)


def test_shared_keys_are_copied_keys():
    torch.manual_seed(0)
    x, shared, full = draw(2, 5, 12), MultiHeadAttention(12, 6, n_kv_head=2), MultiHeadAttention(12, 6)
    for name in ("query", "output"):
        getattr(full, name).load_state_dict(getattr(shared, name).state_dict())
    for name in ("key", "value"):
        weight, bias = getattr(shared, name).weight.data, getattr(shared, name).bias.data
        getattr(full, name).weight.data = weight.view(2, 2, 12).repeat_interleave(3, dim=0).flatten(0, 1)
        getattr(full, name).bias.data = bias.view(2, 2).repeat_interleave(3, dim=0).flatten()
    assert torch.allclose(shared(x, is_causal=True), full(x, is_causal=True), atol=1e-6)


@pytest.mark.parametrize(("arguments", "words"), [((10, 3), "C=10.*H=3"), ((12, 6, 4), "H=6.*n_kv_head=4")])
def test_channels_that_cannot_be_shared_evenly_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        MultiHeadAttention(*arguments)


def test_cross_attention_refuses_heads_that_do_not_divide_the_channels():
    with pytest.raises(ValueError, match=r"C=10.*H=4"):
        CrossAttention(10, 4)
