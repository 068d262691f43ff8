"""Attention: each row is an average, heads do not mix, and loops and the library agree, forward and backward."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from unchecked import unchecked

from gptlab.attention import (
    CrossAttention,
    Head,
    MultiHeadAttention,
    attend,
    attention_weights,
    merge_heads,
    split_heads,
    watch,
)
from gptlab.cache import LayerCache
from gptlab.checkpoints import committed
from gptlab.masking import causal, padding
from gptlab.model import GPT, GPTConfig

__all__ = ["unchecked"]

# Five sizes, all different, so that no two axes can be mistaken for each other.
SHAPES = st.permutations([2, 3, 4, 5, 7])
SEEDS = st.integers(0, 10**6)
# How far a result may be from float64's, relative to the largest number of it: bfloat16 keeps 8 bits.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 5e-2}
DTYPES = pytest.mark.parametrize("dtype", list(TOLERANCE), ids=lambda dtype: str(dtype)[6:])


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def leaves(*tensors: torch.Tensor, dtype: torch.dtype) -> list[torch.Tensor]:
    """Copies with gradients; float64 ones have the same numbers as `dtype` has room for."""
    return [t.detach().to(dtype).requires_grad_() for t in tensors]


def assert_same(found, expected, dtype, what=""):
    found, expected = found.detach().double(), expected.detach().double()
    assert found.shape == expected.shape, what
    worst = (found - expected).abs().max() / expected.abs().max().clamp(min=1e-2)
    assert worst <= TOLERANCE[dtype], f"{what}: {worst:.2g}"


def assert_same_gradients(ours, theirs, inputs, reference_inputs, dtype):
    """Pull both results in one random direction: every input must be pulled the same way."""
    way = draw(*ours.shape, seed=99)
    found = torch.autograd.grad((ours.double() * way).sum(), inputs)
    expected = torch.autograd.grad((theirs.double() * way).sum(), reference_inputs)
    for number, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert_same(a, b, dtype, f"gradient {number}")


def weights_by_loops(q, k, keep):
    """Attention weights of one sequence, in loops: the specification."""
    rows = []
    for t in range(len(q)):
        scores = [sum(q[t, c] * k[j, c] for c in range(q.shape[1])) / math.sqrt(q.shape[1]) for j in range(len(k))]
        fits = [scores[j].exp() if keep[t][j] else 0 * scores[j] for j in range(len(k))]
        rows.append(torch.stack([fit / sum(fits) if keep[t].any() else 0 * fit for fit in fits]))
    return torch.stack(rows)


def attend_by_loops(q, k, v, keep):
    weights = weights_by_loops(q, k, keep)
    return torch.stack([sum(weights[t, j] * v[j] for j in range(len(k))) for t in range(len(q))])


def heads_by_loops(module, x, source, keep):
    """The whole of a self- or cross-attention, one sequence and one head after the other."""
    C, H, out = x.shape[-1], module.H, []
    hs, shared = C // H, H // getattr(module, "n_kv_head", H)
    for b in range(len(x)):
        found = []
        for h in range(H):
            own, common = slice(h * hs, h * hs + hs), slice(h // shared * hs, h // shared * hs + hs)
            q = x[b] @ module.query.weight[own].T + module.query.bias[own]
            k = source[b] @ module.key.weight[common].T + module.key.bias[common]
            v = source[b] @ module.value.weight[common].T + module.value.bias[common]
            found.append(attend_by_loops(q, k, v, keep[b]))
        out.append(torch.cat(found, dim=-1) @ module.output.weight.T + module.output.bias)
    return torch.stack(out)


# ── The two functions, against loops and against the library ─────────────────────────────────────────────────────────


@settings(deadline=None, max_examples=15)
@given(SHAPES, SEEDS, st.sampled_from(list(TOLERANCE)))
def test_attention_is_its_loops_forward_and_backward(shape, seed, dtype):
    B, Tq, Tk, hs, hv = shape
    q, k, v = leaves(
        draw(B, Tq, hs, seed=seed), draw(B, Tk, hs, seed=seed + 1), draw(B, Tk, hv, seed=seed + 2), dtype=dtype
    )
    q64, k64, v64 = leaves(q, k, v, dtype=torch.float64)
    keep = draw(B, Tq, Tk, seed=seed + 3) > -0.3
    weights = torch.stack([weights_by_loops(q64[b], k64[b], keep[b]) for b in range(B)])
    result = torch.stack([attend_by_loops(q64[b], k64[b], v64[b], keep[b]) for b in range(B)])
    assert_same(attention_weights(q, k, keep), weights, dtype)
    assert_same_gradients(attention_weights(q, k, keep), weights, [q, k], [q64, k64], dtype)
    assert_same(attend(q, k, v, keep), result, dtype)
    assert_same_gradients(attend(q, k, v, keep), result, [q, k, v], [q64, k64, v64], dtype)


@settings(deadline=None, max_examples=15)
@given(SHAPES, SEEDS, st.sampled_from(list(TOLERANCE)), st.booleans())
def test_attend_is_the_librarys_forward_and_backward(shape, seed, dtype, masked):
    B, Tq, Tk, hs, H = shape
    q, k, v = leaves(*(draw(B, H, T, hs, seed=seed + i) for i, T in enumerate((Tq, Tk, Tk))), dtype=dtype)
    theirs = leaves(q, k, v, dtype=torch.float64)
    keep = draw(B, H, Tq, Tk, seed=seed + 3) > -1
    keep[..., 0] = True
    keep = keep if masked else None
    result, expected = attend(q, k, v, keep), F.scaled_dot_product_attention(*theirs, attn_mask=keep)
    assert result.dtype == dtype
    assert_same(result, expected, dtype)
    assert_same_gradients(result, expected, [q, k, v], theirs, dtype)


def test_scores_are_scaled_by_the_root_of_the_head_size():
    q = torch.full((1, 1, 16), 1.0)
    k = torch.stack([torch.full((16,), 1.0), torch.zeros(16)])[None]  # scores 16 and 0, scaled 4 and 0
    assert attention_weights(q, k)[0, 0, 0].item() == pytest.approx(1 / (1 + math.exp(-4)), abs=1e-6)


def test_an_average_worked_out_by_hand():
    q, k = torch.tensor([[2.0, 0.0, 0.0, 0.0]]), torch.eye(4)[:2] * math.log(3)  # scaled scores ln 3 and 0
    assert attention_weights(q, k)[0].tolist() == pytest.approx([0.75, 0.25])
    assert attend(q, k, torch.tensor([[8.0], [4.0]])).item() == pytest.approx(7.0)


# ── What is true of every attention ──────────────────────────────────────────────────────────────────────────────────


@settings(deadline=None, max_examples=25)
@given(SHAPES, SEEDS)
def test_each_row_is_shared_among_the_keys_it_may_see(shape, seed):
    B, Tq, Tk, hs, H = shape
    q, k = 3 * draw(B, H, Tq, hs, seed=seed), draw(B, H, Tk, hs, seed=seed + 1)
    keep = draw(B, H, Tq, Tk, seed=seed + 2) > 0
    weights = attention_weights(q, k, keep)
    assert (weights[~keep] == 0).all() and (weights[keep] > 0).all()
    assert torch.allclose(weights.sum(dim=-1), keep.any(dim=-1).float(), atol=1e-5)
    assert torch.allclose(attention_weights(q, k).sum(dim=-1), torch.ones(B, H, Tq), atol=1e-5)


def test_a_row_that_may_attend_to_nothing_is_zero_and_has_finite_gradients():
    q = draw(1, 3, 4).requires_grad_()
    keep = torch.tensor([[True, True], [False, False], [True, False]])
    out = attend(q, draw(1, 2, 4, seed=1), draw(1, 2, 5, seed=2), keep)
    out.sum().backward()
    assert torch.equal(out[0, 1], torch.zeros(5)) and torch.isfinite(q.grad).all()
    assert torch.equal(q.grad[0, 1], torch.zeros(4))


def make(kind: str, C: int = 24, H: int = 6):
    torch.manual_seed(0)
    if kind == "cross":
        return CrossAttention(C, H)
    return MultiHeadAttention(C, H, n_kv_head=3 if kind == "grouped" else None)


KINDS = pytest.mark.parametrize("kind", ["self", "grouped", "cross"])


@KINDS
@settings(deadline=None, max_examples=10)
@given(order=st.permutations(range(7)), seed=SEEDS)
def test_without_positions_attention_does_not_see_order(kind, order, seed):
    module, x, memory = make(kind), draw(2, 5, 24, seed=seed), draw(2, 7, 24, seed=seed + 1)
    if kind == "cross":  # shuffled memory: the same answers; shuffled questions: the answers are shuffled
        assert torch.allclose(module(x, memory[:, order]), module(x, memory), atol=1e-5)
        assert torch.allclose(module(x.flip(1), memory), module(x, memory).flip(1), atol=1e-5)
    else:
        assert torch.allclose(module(memory[:, order]), module(memory)[:, order], atol=1e-5)


@KINDS
@settings(deadline=None, max_examples=10)
@given(b=st.integers(0, 2), seed=SEEDS)
def test_sequences_of_a_batch_do_not_talk_to_each_other(kind, b, seed):
    module, x, memory = make(kind), draw(3, 5, 24, seed=seed), draw(3, 7, 24, seed=seed + 1)

    def result():
        return module(x, memory) if kind == "cross" else module(memory)

    before = result()
    memory[b] += 5
    moved = (result() - before).abs().amax(dim=(1, 2)) > 1e-6
    assert moved.tolist() == [i == b for i in range(3)]


@KINDS
@settings(deadline=None, max_examples=10)
@given(t=st.integers(0, 6), seed=SEEDS)
def test_under_a_causal_mask_nothing_moves_before_a_changed_position(kind, t, seed):
    module, x = make(kind), draw(2, 7, 24, seed=seed)
    changed = x.clone()
    changed[:, t] += draw(24, seed=seed + 1)

    def results(x):
        if kind == "cross":
            return [module(draw(2, 7, 24, seed=5), x, causal(7))]
        return [module(x, causal(7)), module(x, is_causal=True), module(x, causal(7).expand(2, 7, 7))]

    for before, after in zip(results(x), results(changed), strict=True):
        moved = (after - before).abs().amax(dim=(0, 2)) > 1e-6
        assert moved.tolist() == [i >= t for i in range(7)]


# ── Heads ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_heads_split_and_merged_are_the_same_again():
    x = draw(2, 5, 12)
    assert torch.equal(merge_heads(split_heads(x, 3)), x)
    assert torch.equal(split_heads(x, 3)[:, 1], x[:, :, 4:8])


def test_a_view_straight_to_heads_is_something_else():
    x = draw(2, 5, 12)
    assert not torch.equal(x.view(2, 3, 5, 4), split_heads(x, 3))


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


@DTYPES
@KINDS
def test_a_module_is_its_loops_forward_and_backward(kind, dtype):
    module = make(kind).to(dtype)
    reference = copy.deepcopy(module).double()
    x, memory = leaves(draw(2, 5, 24), draw(2, 7, 24, seed=1), dtype=dtype)
    x64, memory64 = leaves(x, memory, dtype=torch.float64)
    keep = draw(2, 5, 7 if kind == "cross" else 5, seed=2) > -0.5
    keep[..., 0] = True
    inputs, inputs64 = ([x, memory], [x64, memory64]) if kind == "cross" else ([x], [x64])
    result = module(*inputs, keep)
    expected = heads_by_loops(reference, x64, inputs64[-1], keep)
    assert result.dtype == dtype
    assert_same(result, expected, dtype)
    used, used64 = [*inputs, *module.parameters()], [*inputs64, *reference.parameters()]
    # The bias of the keys adds the same to all scores of a row, so its true gradient is 0: rounding is all there is.
    keys = [i for i, p in enumerate(used) if p is module.key.bias]
    used, used64 = ([p for i, p in enumerate(ps) if i not in keys] for ps in (used, used64))
    assert_same_gradients(result, expected, used, used64, dtype)


@DTYPES
@pytest.mark.parametrize("kind", ["self", "cross"])
def test_the_library_with_our_weights_gives_our_result_forward_and_backward(kind, dtype):
    C, H = 12, 3
    ours = make(kind, C, H).to(dtype)
    theirs = torch.nn.MultiheadAttention(C, H, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
        theirs.out_proj.load_state_dict(ours.output.state_dict())
    x, memory = leaves(draw(2, 5, C), draw(2, 7, C, seed=1), dtype=dtype)
    x64, memory64 = leaves(x, memory, dtype=torch.float64)
    inputs, inputs64 = ([x, memory], [x64, memory64]) if kind == "cross" else ([x], [x64])
    keep = draw(5, inputs[-1].shape[1], seed=2) > -0.5
    keep[:, 0] = True
    source = inputs64[-1]
    # There, True means "drop".
    expected, weights = theirs(x64, source, source, attn_mask=~keep, average_attn_weights=False)
    assert_same(ours(*inputs, keep), expected, dtype)
    assert_same(ours.weights(*inputs, keep), weights, dtype)
    assert_same_gradients(ours(*inputs, keep), expected, inputs, inputs64, dtype)
    (matrix,) = torch.autograd.grad(ours(*inputs, keep).sum(), [ours.value.weight])
    (stacked,) = torch.autograd.grad(theirs(x64, source, source, attn_mask=~keep)[0].sum(), [theirs.in_proj_weight])
    assert_same(matrix, stacked[2 * C :], dtype)


@DTYPES
@KINDS
def test_a_module_is_the_librarys_kernel_between_projections(kind, dtype):
    """The same projections, heads cut by `unflatten`, and `scaled_dot_product_attention` in float64 between them."""
    module = make(kind).to(dtype)
    reference = copy.deepcopy(module).double()
    x, memory = leaves(draw(2, 5, 24), draw(2, 7, 24, seed=1), dtype=dtype)
    inputs = [x, memory] if kind == "cross" else [x]
    inputs64 = leaves(*inputs, dtype=torch.float64)
    asking, asked = inputs64[0], inputs64[-1]  # the same for self-attention
    q = reference.query(asking).unflatten(-1, (6, 4)).movedim(2, 1)
    k = reference.key(asked).unflatten(-1, (-1, 4)).movedim(2, 1)
    v = reference.value(asked).unflatten(-1, (-1, 4)).movedim(2, 1)
    k, v = (part.repeat_interleave(6 // part.shape[1], dim=1) for part in (k, v))
    heads = F.scaled_dot_product_attention(q, k, v)
    expected = reference.output(torch.cat(heads.unbind(1), dim=-1))
    assert_same(module(*inputs), expected, dtype)
    assert_same_gradients(module(*inputs), expected, inputs, inputs64, dtype)


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((10, 3), "C=10.*H=3"), ((12, 6, 4), "H=6.*n_kv_head=4"), ((8, 0), "C=8.*H=0 heads: choose H >= 1"),
        ((8, -2), "C=8.*H=-2"), ((8, 2, 0), "H=2.*n_kv_head=0.*divisor of 2"), ((8, 2, -2), "H=2.*n_kv_head=-2"),
    ],
)  # fmt: skip
def test_channels_that_cannot_be_shared_evenly_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        MultiHeadAttention(*arguments)


def test_cross_attention_refuses_heads_that_do_not_divide_the_channels():
    with pytest.raises(ValueError, match=r"C=10.*H=4"):
        CrossAttention(10, 4)
    with pytest.raises(ValueError, match=r"C=8.*H=0"):
        CrossAttention(8, 0)


# ── Masks and dropout of a module ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["self", "grouped"])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_forward_averages_with_the_weights_that_are_shown_for_every_mask(kind, is_causal, masked):
    module, x = make(kind), draw(2, 5, 24)
    keep = (draw(2, 5, 5, seed=2) > -0.5) if masked else None
    weights = module.weights(x, keep, is_causal=is_causal)
    v = split_heads(module.value(x), module.n_kv_head).repeat_interleave(6 // module.n_kv_head, dim=1)
    assert torch.allclose(module.output(merge_heads(weights @ v)), module(x, keep, is_causal=is_causal), atol=1e-6)
    seen = torch.ones(2, 1, 5, 5, dtype=torch.bool) if keep is None else keep[:, None]
    seen = seen & causal(5) if is_causal else seen
    assert torch.equal(weights > 0, seen.expand(2, 6, 5, 5))


def test_with_a_cache_the_causal_queries_are_the_last_of_the_keys():
    module, x, layer = make("grouped"), draw(2, 7, 24), LayerCache(7)
    expected = module(x, is_causal=True)
    first = module(x[:, :4], is_causal=True, cache=layer)
    layer.advance(4)
    rest = module(x[:, 4:], is_causal=True, cache=layer)
    assert torch.allclose(torch.cat((first, rest), dim=1), expected, atol=1e-6)


def test_dropout_drops_weights_in_training_only():
    torch.manual_seed(0)
    plain, x = MultiHeadAttention(12, 3), draw(2, 40, 12)
    noisy = MultiHeadAttention(12, 3, dropout=0.5)
    noisy.load_state_dict(plain.state_dict())
    once, again = noisy(x), noisy(x)
    assert not torch.allclose(once, again, atol=1e-3)
    assert torch.equal(noisy.eval()(x), plain(x))
    # What is kept weighs twice as much, so that the mean over many draws is the output without dropout.
    mean = torch.stack([noisy.train()(x) for _ in range(2000)]).mean(0)
    assert (mean - plain(x)).abs().max() < 0.1 * (once - plain(x)).abs().max()


@pytest.mark.parametrize("kind", ["self", "cross"])
def test_a_mask_per_sequence_and_a_mask_per_head_are_told_apart(kind):
    C, H = 12, 3
    module, x = make(kind, C, H) if kind == "cross" else MultiHeadAttention(C, H), draw(3, 5, 12)
    inputs = (x, x) if kind == "cross" else (x,)
    keep = (draw(3, 5, 5, seed=1) > 0) | torch.eye(5, dtype=torch.bool)
    both = "for one mask per sequence, or keep_mask.None. for one mask per head"
    for call in (module, module.weights):
        with pytest.raises(ValueError, match=rf"shape \[3, 5, 5\] with B=3 sequences and H=3 heads: .*{both}"):
            call(*inputs, keep)
        with pytest.raises(ValueError, match=r"shape \[2, 5, 5\] with B=3 sequences"):
            call(*inputs, keep[:2])
    padded = padding([5, 3, 1], 5)  # [3, 1, 5]: there is no padding per head, so this is one per sequence
    assert torch.equal(module(*inputs, padded), module(*inputs, padded[:, None]))
    per_sequence, per_head = module(*inputs, keep[:, None]), module(*inputs, keep[None])
    for b in range(3):
        alone = module(*(y[b : b + 1] for y in inputs), keep[b])
        assert torch.allclose(per_sequence[b], alone[0], atol=1e-6)
    weights = module.weights(*inputs, keep[None])
    assert torch.equal(weights > 0, keep.expand(3, 3, 5, 5))
    assert not torch.allclose(per_sequence, per_head, atol=1e-3)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.uint8])
def test_a_mask_of_zeros_and_ones_is_refused_at_every_entrance(dtype):
    keep, x = causal(5).to(dtype), draw(2, 5, 24)
    model = GPT(GPTConfig(vocab_size=50, context=8, n_layer=1, n_head=2, n_embd=12))
    cross, own = make("cross"), make("self")
    for call in (
        lambda: attention_weights(x, x, keep), lambda: attend(x, x, x, keep), lambda: Head(24, 6)(x, keep),
        lambda: own(x, keep), lambda: own(x, keep, is_causal=True), lambda: own.weights(x, keep),
        lambda: cross(x, x, keep), lambda: cross.weights(x, x, keep), lambda: own(x, keep.expand(2, 5, 5)),
        lambda: model(torch.zeros(2, 5, dtype=torch.long), keep_mask=keep),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rf"keep_mask is {dtype}, not torch.bool.*added to the scores.*mask.bool"):
            call()


@pytest.mark.usefixtures("unchecked")
def test_queries_and_keys_of_two_sizes_are_refused_with_both():
    for function in (attention_weights, lambda q, k: attend(q, k, k)):
        with pytest.raises(ValueError, match="queries of size 4 cannot be compared with keys of size 6"):
            function(draw(2, 5, 4), draw(2, 5, 6))


# ── Watching where a model looks ─────────────────────────────────────────────────────────────────────────────────────


@KINDS
def test_the_weights_that_a_module_shows_are_those_it_averages_with(kind):
    module, x, memory = make(kind), draw(2, 5, 24), draw(2, 7, 24, seed=1)
    keep = draw(2, 5, 7 if kind == "cross" else 5, seed=2) > -0.5
    inputs = (x, memory) if kind == "cross" else (x,)
    weights = module.weights(*inputs, keep)
    v = split_heads(module.value(inputs[-1]), 3 if kind == "grouped" else 6)
    v = v.repeat_interleave(6 // v.shape[1], dim=1)
    assert torch.allclose(module.output(merge_heads(weights @ v)), module(*inputs, keep), atol=1e-6)
    assert torch.equal(watch(module, *inputs, keep)[0], weights)


def test_a_model_is_watched_with_its_norms_rotations_and_shared_heads():
    torch.manual_seed(0)
    config = GPTConfig.modern(50, context=16, n_layer=2, n_head=6, n_kv_head=2, n_embd=24, init="gpt2", convolution=3)
    model, ids = GPT(config), torch.randint(50, (2, 11))
    torch.nn.init.normal_(model.blocks[0].attention.query_norm.weight)
    found = watch(model, ids)
    x, rotate = model.embedding(ids), model.position(0, 11)
    for block, weights in zip(model.blocks, found, strict=True):
        a, h = block.attention, block.convolution(block.norm1(x))
        q = rotate(a.query_norm(a.query(h).view(2, 11, 6, 4).transpose(1, 2)))
        k = rotate(a.key_norm(a.key(h).view(2, 11, 2, 4).transpose(1, 2)))
        by_hand = torch.zeros(2, 6, 11, 11)
        for head in range(6):
            scores = (q[:, head] @ k[:, head // 3].mT / 2).masked_fill(~causal(11), -math.inf)
            by_hand[:, head] = scores.softmax(-1)
        assert torch.allclose(weights, by_hand, atol=1e-6)
        assert torch.allclose(weights.sum(-1), torch.ones(2, 6, 11), atol=1e-5) and not weights.triu(1).any()
        x = block(x, is_causal=True, rotate=rotate)


def test_watching_changes_nothing_and_ends():
    model, tokenizer = committed("fables")
    ids = torch.tensor([tokenizer.encode("Once, in a dark forest, there lived Ada")])
    with torch.no_grad():
        before = model(ids)[0]
        looks = watch(model, ids)
        assert torch.equal(model(ids)[0], before)
    assert [w.shape for w in looks] == [(1, model.config.n_head, *ids.shape[1:] * 2)] * model.config.n_layer
    assert not any(part._forward_pre_hooks for part in model.modules())
    with pytest.raises(ValueError, match="fit the context"):
        watch(model, torch.zeros(1, 1000, dtype=torch.long))
    assert not any(part._forward_pre_hooks for part in model.modules())


def test_a_mask_of_the_callers_is_seen():
    module, x, keep = make("self"), draw(2, 5, 24), torch.eye(5, dtype=torch.bool)
    (weights,) = watch(module, x, keep_mask=keep)
    assert torch.equal(weights, torch.eye(5).expand(2, 6, 5, 5))


def test_what_cannot_be_watched_is_said():
    with pytest.raises(ValueError, match="Linear called none of its 0 attentions"):
        watch(torch.nn.Linear(3, 4), draw(2, 3))
    with pytest.raises(ValueError, match="no cache"):
        make("self").weights(draw(2, 5, 24), cache=LayerCache(5))
