"""Masks: True may attend, masks join with &, the library's conventions, and a test that sees the future leak."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlab.attention import MultiHeadAttention, attend
from gptlab.masking import (
    assert_causal,
    causal,
    documents,
    padding,
    prefix,
    sliding,
    to_additive,
    to_attn_mask,
    to_key_padding_mask,
)
from gptlab.model import GPT, GPTConfig

IDS = torch.randint(0, 20, (2, 7), generator=torch.Generator().manual_seed(0))
SIZES = st.integers(1, 9)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def written_out(may_attend, T: int, Tk: int) -> list[list[bool]]:
    """A mask in loops: the specification of each mask is a question about a query and a key."""
    return [[bool(may_attend(query, key)) for key in range(Tk)] for query in range(T)]


# ---- Each mask, by the question that it answers ----------------------------------------------------------------------


@given(SIZES, st.integers(0, 6))
def test_a_causal_mask_keeps_the_past_and_the_present(T, more):
    mask = causal(T, T + more)
    assert mask.dtype == torch.bool
    assert mask.tolist() == written_out(lambda query, key: key <= query + more, T, T + more)
    assert torch.equal(mask, causal(T + more)[more:])  # the last T of T + more positions


@given(SIZES, st.integers(1, 12))
def test_a_sliding_mask_keeps_the_last_few(T, window):
    assert sliding(T, window).tolist() == written_out(lambda query, key: 0 <= query - key < window, T, T)


@given(SIZES)
def test_a_window_of_the_whole_length_is_causal_and_a_window_of_one_sees_itself(T):
    assert torch.equal(sliding(T, T), causal(T))
    assert torch.equal(sliding(T, 1), torch.eye(T, dtype=torch.bool))


@given(SIZES, st.data())
def test_a_prefix_mask_keeps_the_prefix_and_the_past(T, data):
    n = data.draw(st.integers(0, T))
    assert prefix(T, n).tolist() == written_out(lambda query, key: key < n or key <= query, T, T)


@given(SIZES)
def test_prefixes_lie_between_a_decoder_and_an_encoder(T):
    assert torch.equal(prefix(T, 0), causal(T)) and torch.equal(prefix(T, 1), causal(T))
    assert prefix(T, T).all()


@given(SIZES, st.data())
def test_padding_is_heard_by_nobody(T, data):
    lengths = data.draw(st.lists(st.integers(0, T), min_size=1, max_size=4))
    mask = padding(lengths, T)
    assert mask.shape == (len(lengths), 1, T)
    assert torch.equal(mask, padding(torch.tensor(lengths), T))
    for b, length in enumerate(lengths):
        assert mask[b].tolist() == written_out(lambda query, key, length=length: key < length, 1, T)


@given(st.lists(st.lists(st.integers(-3, 3), min_size=5, max_size=5), min_size=1, max_size=3))
def test_documents_do_not_see_each_other(numbers):
    mask = documents(torch.tensor(numbers))
    for b, row in enumerate(numbers):
        assert mask[b].tolist() == written_out(lambda query, key, row=row: row[query] == row[key], 5, 5)
        assert torch.equal(mask[b], documents(torch.tensor(row)))


@settings(deadline=None)
@given(st.integers(2, 8), st.data())
def test_masks_join_by_and(T, data):
    n, window = data.draw(st.integers(0, T)), data.draw(st.integers(1, T))
    lengths = data.draw(st.lists(st.integers(0, T), min_size=3, max_size=3))
    numbers = torch.tensor(
        data.draw(st.lists(st.lists(st.integers(0, 2), min_size=T, max_size=T), min_size=3, max_size=3))
    )
    mask = causal(T) & sliding(T, window) & prefix(T, n) & padding(lengths, T) & documents(numbers)
    assert mask.shape == (3, T, T)
    for b in range(3):
        row = numbers[b].tolist()
        expected = written_out(
            lambda query, key, b=b, row=row: 0 <= query - key < window and key < lengths[b] and row[query] == row[key],
            T,
            T,
        )
        assert mask[b].tolist() == expected


def test_a_padded_causal_mask_by_hand():
    mask = padding([1, 3], T=3) & causal(3)
    assert mask.int().tolist() == [[[1, 0, 0], [1, 0, 0], [1, 0, 0]], [[1, 0, 0], [1, 1, 0], [1, 1, 1]]]


def test_packed_documents_by_hand():
    mask = documents(torch.tensor([0, 0, 1, 1, 1])) & causal(5)
    assert mask.int().tolist() == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 1, 1, 1]]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: causal(5, 3), "5 queries are more than 3 keys"),
        (lambda: sliding(4, 0), "window=0 leaves nothing"),
        (lambda: padding([4], T=3), r"lengths \[4\] must lie between 0 and T=3"),
        (lambda: padding([2, -1], T=3), r"lengths \[2, -1\]"),
        (lambda: prefix(4, 5), "n=5 does not fit into T=4"),
        (lambda: prefix(4, -1), "n=-1 does not fit"),
        (lambda: documents(torch.zeros(2, 3, 4, dtype=torch.long)), r"shape \[2, 3, 4\].*\[T\] or \[B, T\]"),
    ],
)
def test_a_mask_that_cannot_be_is_refused(ask, words):
    with pytest.raises(ValueError, match=words):
        ask()


# ---- What a mask does to attention -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6))
def test_the_content_of_padding_changes_nothing(seed):
    B, T, C, lengths = 3, 6, 12, [6, 4, 1]
    torch.manual_seed(seed)
    attention, x = MultiHeadAttention(C, 4), draw(B, T, C, seed=seed)
    real = padding(lengths, T)[:, 0]  # [B, T]
    other = torch.where(real[..., None], x, 100 * draw(B, T, C, seed=seed + 1))
    mask = padding(lengths, T)
    assert torch.allclose(attention(x, mask)[real], attention(other, mask)[real], atol=1e-5)
    assert not torch.allclose(attention(x)[real], attention(other)[real], atol=1e-2)


def test_a_packed_document_is_as_if_it_stood_alone():
    torch.manual_seed(0)
    attention, x = MultiHeadAttention(12, 3), draw(1, 7, 12)
    packed = attention(x, documents(torch.tensor([[0, 0, 0, 1, 1, 1, 1]])) & causal(7))
    assert torch.allclose(packed[:, :3], attention(x[:, :3], causal(3)), atol=1e-6)
    assert torch.allclose(packed[:, 3:], attention(x[:, 3:], causal(4)), atol=1e-6)


def test_a_full_masked_pass_is_the_step_by_step_one():
    torch.manual_seed(0)
    model = GPT(GPTConfig(20, 8, n_layer=2, n_head=2, n_embd=12)).eval()
    full = model(IDS)[0]
    for t in range(IDS.shape[1]):
        assert torch.allclose(model(IDS[:, : t + 1])[0][:, -1], full[:, t], atol=1e-5)


def test_the_models_own_mask_is_the_causal_one():
    torch.manual_seed(0)
    model = GPT(GPTConfig(20, 8, n_layer=2, n_head=2, n_embd=12)).eval()
    assert torch.allclose(model(IDS)[0], model(IDS, keep_mask=causal(7))[0], atol=1e-5)


# ---- The other conventions -------------------------------------------------------------------------------------------


def library(C: int, H: int, ours: MultiHeadAttention) -> torch.nn.MultiheadAttention:
    theirs = torch.nn.MultiheadAttention(C, H, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
        theirs.out_proj.load_state_dict(ours.output.state_dict())
    return theirs


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6))
def test_the_same_mask_for_multihead_attention(seed):
    B, T, C, H = 2, 5, 12, 3
    torch.manual_seed(seed)
    ours, x = MultiHeadAttention(C, H), draw(B, T, C, seed=seed)
    theirs = library(C, H, ours)
    one = (draw(T, T, seed=seed + 1) > 0) | torch.eye(T, dtype=torch.bool)
    each = (draw(B, T, T, seed=seed + 2) > 0) | torch.eye(T, dtype=torch.bool)
    pad = padding([T, 3], T)
    for keep_mask, arguments in [
        (one, {"attn_mask": to_attn_mask(one)}),
        (one, {"attn_mask": to_additive(one)}),
        (each, {"attn_mask": to_attn_mask(each, H)}),
        (pad, {"key_padding_mask": to_key_padding_mask(pad)}),
        (causal(T) & pad, {"attn_mask": to_attn_mask(causal(T)), "key_padding_mask": to_key_padding_mask(pad)}),
    ]:
        assert torch.allclose(ours(x, keep_mask), theirs(x, x, x, **arguments)[0], atol=1e-5), list(arguments)
    assert not torch.allclose(ours(x, one), theirs(x, x, x, attn_mask=one)[0], atol=1e-3) or one.all()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6))
def test_an_additive_mask_is_the_boolean_one(seed):
    q, k, v = draw(2, 3, 5, 4, seed=seed), draw(2, 3, 7, 4, seed=seed + 1), draw(2, 3, 7, 6, seed=seed + 2)
    keep_mask = draw(2, 3, 5, 7, seed=seed + 3) > 0
    keep_mask[..., 2] = True
    additive = F.scaled_dot_product_attention(q, k, v, attn_mask=to_additive(keep_mask))
    assert torch.allclose(additive, attend(q, k, v, keep_mask), atol=1e-5)
    joined = to_additive(keep_mask) + to_additive(causal(5, 7))
    assert torch.equal(joined, to_additive(keep_mask & causal(5, 7)))


def test_an_additive_mask_has_the_dtype_that_is_asked_for():
    mask = to_additive(causal(2), torch.bfloat16)
    assert mask.dtype == torch.bfloat16 and mask.tolist() == [[0.0, -torch.inf], [0.0, 0.0]]


def test_true_drops_in_multihead_attention():
    assert to_attn_mask(causal(3)).int().tolist() == [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    assert to_key_padding_mask(padding([1, 3], 3)).int().tolist() == [[0, 1, 1], [0, 0, 0]]
    keep_mask = torch.tensor([[[True, False, True]], [[False, True, True]]])
    drop = [[[False, True, False]]] * 2 + [[[True, False, False]]] * 2  # the two heads of a sequence side by side
    assert to_attn_mask(keep_mask, H=2).tolist() == drop


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: to_attn_mask(torch.ones(3, 3)), "keep_mask is torch.float32, not torch.bool"),
        (lambda: to_key_padding_mask(torch.ones(2, 1, 3)), "keep_mask is torch.float32"),
        (lambda: to_additive(torch.ones(3, 3)), "keep_mask is torch.float32"),
        (lambda: to_attn_mask(padding([1, 2], 3)), r"shape \[2, 1, 3\] has a batch axis.*pass H"),
        (lambda: to_attn_mask(causal(3)[None, None]), r"shape \[1, 1, 3, 3\].*takes \[Tq, Tk\] or \[B, Tq, Tk\]"),
        (lambda: to_key_padding_mask(causal(3)), r"shape \[3, 3\] has a row for each query"),
        (lambda: to_key_padding_mask(causal(3)[None]), r"shape \[1, 3, 3\] has a row for each query"),
    ],
)
def test_what_cannot_be_converted_is_refused(ask, words):
    with pytest.raises(ValueError, match=words):
        ask()


# ---- A test that sees the future leak --------------------------------------------------------------------------------


def small(**changes) -> GPT:
    torch.manual_seed(0)
    model = GPT(GPTConfig(20, 8, n_layer=2, n_head=2, n_embd=12, **changes)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # also the convolution, which starts as zeros
    return model


@pytest.mark.parametrize(
    "changes",
    [{}, {"position": "rope"}, {"convolution": 3, "qk_norm": True, "position": "rope"}, {"position": "sinusoidal"}],
)
def test_no_position_of_the_model_sees_the_future(changes):
    assert_causal(small(**changes), IDS, vocab_size=20)


@pytest.mark.parametrize("keep_mask", [sliding(7, 3), prefix(7, 1), documents(torch.arange(7) // 4) & causal(7)])
def test_masks_within_the_causal_one_do_not_leak(keep_mask):
    model = small()
    assert_causal(lambda ids: model(ids, keep_mask=keep_mask), IDS, vocab_size=20)


def all_seeing(model):
    return lambda ids: model(ids, keep_mask=torch.ones(7, 7, dtype=torch.bool))


def one_ahead(model):
    return lambda ids: model(ids, keep_mask=torch.ones(7, 7, dtype=torch.bool).tril(1))


def swapped(model):
    return lambda ids: model(ids, keep_mask=to_attn_mask(causal(7)) | torch.eye(7, dtype=torch.bool))


def a_prefix(model):
    return lambda ids: model(ids, keep_mask=prefix(7, 3))


def both_ways(model):
    return lambda ids: model(ids, keep_mask=documents(torch.arange(7) // 4))


def averaged(model):
    return lambda ids: model(ids)[0] + 0.01 * model(ids)[0].mean(dim=1, keepdim=True)


def normalised_over_time(model):
    return lambda ids: F.layer_norm(model(ids)[0].transpose(1, 2), (7,)).transpose(1, 2)


def padded_on_both_sides(model):
    weight = torch.full((20, 1, 3), 0.1)
    return lambda ids: F.conv1d(model(ids)[0].transpose(1, 2), weight, padding=1, groups=20).transpose(1, 2)


def masked_after_the_softmax(model):
    def attention(ids):
        x = model(ids)[0]  # [B, T, V]
        return (x @ x.transpose(1, 2)).softmax(-1).masked_fill(~causal(7), 0.0) @ x

    return attention


LEAKS = [
    all_seeing, one_ahead, swapped, a_prefix, both_ways, averaged, normalised_over_time, padded_on_both_sides,
    masked_after_the_softmax,
]  # fmt: skip


@pytest.mark.parametrize("leak", LEAKS)
def test_each_planted_leak_is_found(leak):
    with pytest.raises(AssertionError, match=r"the future leaks: changing the token at position \d+ moved"):
        assert_causal(leak(small()), IDS, vocab_size=20)


@given(st.integers(1, 6), st.data())
@settings(deadline=None, max_examples=30)
def test_a_leak_from_one_position_to_one_other_is_named(t, data):
    first = data.draw(st.integers(0, t - 1))

    def model(ids):
        out = ids.double().cumsum(dim=1)
        out[1, first] += 0.01 * ids[1, t]  # in the second sequence only
        return out

    with pytest.raises(AssertionError, match=f"at position {t} moved the output at position {first} by"):
        assert_causal(model, IDS, vocab_size=20)


def test_a_model_of_numbers_that_are_none_does_not_pass():
    def model(ids):
        return torch.where(ids.max() > 18, torch.nan, ids.double())

    with pytest.raises(AssertionError, match="moved the output at position 0 by nan"):
        assert_causal(model, IDS.clamp(max=18), vocab_size=20)


def test_words_that_a_model_forbids_are_no_leak():
    model = small()
    forbidden = torch.zeros(20).masked_fill(torch.arange(20) == 3, -torch.inf)
    assert_causal(lambda ids: model(ids)[0] + forbidden, IDS, vocab_size=20)


@pytest.mark.parametrize(
    ("model", "ids", "vocab_size", "words"),
    [
        (small(), IDS[:, :1], 20, "T=1: there is no future to leak"),
        (small(), IDS, 1, "vocab_size=1: a token cannot be changed"),
        (lambda ids: small()(ids)[0][:, -1], IDS, 20, r"output \[2, 20\] does not begin with \[B, T\] = \[2, 7\]"),
        (small(dropout=0.5).train(), IDS, 20, r"two different outputs: switch dropout off with model.eval\(\)"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(model, ids, vocab_size, words):
    with pytest.raises(ValueError, match=words):
        assert_causal(model, ids, vocab_size)


def test_the_model_is_left_as_it_was():
    model, before = small(), IDS.clone()
    assert_causal(model, IDS, vocab_size=20)
    assert torch.equal(IDS, before) and all(parameter.grad is None for parameter in model.parameters())


def test_every_mask_can_be_built_on_a_device():
    for make in (causal, padding, sliding, prefix):
        assert "device" in inspect.signature(make).parameters
    assert documents(torch.tensor([0, 1])).device.type == "cpu"
    assert causal(3, device="meta").device.type == "meta"
    assert prefix(3, 1, device="meta").device.type == sliding(3, 1, device="meta").device.type == "meta"
