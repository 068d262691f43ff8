"""Embeddings: a row of a table, looked up; positions by time and not by batch."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from unchecked import unchecked

from gptlab.batches import IGNORE
from gptlab.embedding import BigramLanguageModel, TokenAndPositionEmbedding, sinusoidal

__all__ = ["unchecked"]
IDS = torch.tensor([[3, 3, 1], [0, 2, 3]])


def some_ids(B, T, V, seed):
    return torch.randint(V, (B, T), generator=torch.Generator().manual_seed(seed))


@given(B=st.integers(1, 3), T=st.integers(1, 7), V=st.integers(1, 20), seed=st.integers(0, 1000))
def test_looking_up_a_row_is_a_one_hot_product_forward_and_backward(B, T, V, seed):
    embedding = TokenAndPositionEmbedding(V=V, T=7, C=4, position="none")
    ids = some_ids(B, T, V, seed)
    one_hot = torch.zeros(B, T, V)
    for b in range(B):
        for t in range(T):
            one_hot[b, t, ids[b, t]] = 1.0
    looked_up, product = embedding(ids), one_hot @ embedding.token.weight
    assert torch.allclose(looked_up, product)
    weight = torch.randn_like(looked_up)
    gradients = [torch.autograd.grad((x * weight).sum(), embedding.token.weight)[0] for x in (looked_up, product)]
    assert torch.allclose(*gradients, atol=1e-6)


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "none"])
@given(seed=st.integers(0, 1000), changed=st.integers(0, 2))
def test_items_of_a_batch_do_not_touch_each_other(position, seed, changed):
    embedding = TokenAndPositionEmbedding(V=9, T=8, C=6, position=position)
    ids = some_ids(3, 5, 9, seed)
    other = ids.clone()
    other[changed] = (ids[changed] + 1) % 9
    same = (embedding(ids) == embedding(other)).all(dim=-1).all(dim=-1)
    assert same.tolist() == [b != changed for b in range(3)]
    alone = torch.cat([embedding(row[None]) for row in ids])
    assert torch.equal(embedding(ids), alone)


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "none"])
def test_each_row_is_its_token_plus_its_place(position):
    embedding = TokenAndPositionEmbedding(V=5, T=4, C=6, position=position)
    places = {"learned": lambda: embedding.position.weight, "sinusoidal": lambda: sinusoidal(4, 6)}
    place = places.get(position, lambda: torch.zeros(4, 6))()
    x = embedding(IDS)
    for b in range(2):
        for t in range(3):
            assert torch.equal(x[b, t], embedding.token.weight[IDS[b, t]] + place[t])


def test_without_positions_a_sequence_is_a_bag():
    embedding = TokenAndPositionEmbedding(V=5, T=4, C=6, position="none")
    assert torch.equal(embedding(IDS.flip(1)), embedding(IDS).flip(1))
    placed = TokenAndPositionEmbedding(V=5, T=4, C=6)
    assert not torch.allclose(placed(IDS.flip(1)), placed(IDS).flip(1))


@pytest.mark.parametrize("position", ["learned", "sinusoidal"])
def test_the_same_token_at_two_positions_differs_and_in_two_sequences_does_not(position):
    x = TokenAndPositionEmbedding(V=5, T=4, C=6, position=position)(torch.tensor([[3, 3, 1], [3, 2, 1]]))
    assert not torch.allclose(x[0, 0], x[0, 1])
    assert torch.equal(x[0, 0], x[1, 0]) and torch.equal(x[0, 2], x[1, 2])


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "none"])
def test_a_later_start_moves_the_positions(position):
    embedding = TokenAndPositionEmbedding(V=5, T=4, C=6, position=position)
    assert torch.equal(embedding(IDS)[:, 1:], embedding(IDS[:, 1:], start=1))


def test_only_the_rows_that_were_used_get_a_gradient():
    embedding = TokenAndPositionEmbedding(V=5, T=4, C=6)
    embedding(torch.tensor([[3, 1]])).sum().backward()
    assert embedding.token.weight.grad.abs().sum(dim=1).gt(0).tolist() == [False, True, False, True, False]


def test_waves_are_those_of_the_paper():
    table = sinusoidal(5, 6)
    for t in range(5):
        for i in range(3):
            assert table[t, 2 * i] == pytest.approx(float(torch.tensor(t / 10000 ** (2 * i / 6)).sin()), abs=1e-6)
            assert table[t, 2 * i + 1] == pytest.approx(float(torch.tensor(t / 10000 ** (2 * i / 6)).cos()), abs=1e-6)


@pytest.mark.parametrize("C", [8, 7])
def test_waves_are_worked_out_in_full_whatever_the_default_type_is(C):
    expected = sinusoidal(1024, C)
    torch.set_default_dtype(torch.bfloat16)
    try:
        found = sinusoidal(1024, C)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found, expected.bfloat16())


def test_waves_by_hand():
    assert sinusoidal(2, 4)[1].tolist() == pytest.approx([0.841471, 0.540302, 0.0099998, 0.99995], abs=1e-5)
    assert sinusoidal(4, 2)[3].tolist() == pytest.approx([0.14112, -0.98999], abs=1e-5)


@given(T=st.integers(2, 40), C=st.integers(1, 20).map(lambda n: 2 * n))
def test_the_dot_product_of_two_waves_depends_on_their_distance_only(T, C):
    table = sinusoidal(T, C)
    dots = table @ table.T
    for distance in range(T):
        diagonal = dots.diagonal(distance)
        assert torch.allclose(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-3)
    assert torch.allclose(dots.diagonal(), torch.full((T,), C / 2), atol=1e-4)


@given(T=st.integers(1, 9), C=st.integers(1, 9).map(lambda n: 2 * n - 1))
def test_an_odd_number_of_channels_ends_with_a_sine(T, C):
    table, frequencies = sinusoidal(T, C), [10_000 ** (-2 * i / C) for i in range(C)]
    assert table.shape == (T, C)
    assert table[:, -1].tolist() == pytest.approx([math.sin(t * frequencies[C // 2]) for t in range(T)], abs=1e-5)


@pytest.mark.parametrize("position", ["learned", "sinusoidal"])
def test_a_sequence_longer_than_the_context_is_refused_with_both_numbers(position):
    embedding = TokenAndPositionEmbedding(V=5, T=4, C=6, position=position)
    message = r"positions 0 to 5 do not fit a context of 4 \(0 to 3\): pass the last 4 ids, or .* with T=6"
    with pytest.raises(ValueError, match=message):
        embedding(torch.zeros(1, 6, dtype=torch.long))
    with pytest.raises(ValueError, match="positions 3 to 4 do not fit a context of 4"):
        embedding(torch.zeros(1, 2, dtype=torch.long), start=3)
    assert embedding(torch.zeros(1, 4, dtype=torch.long)).shape == (1, 4, 6)


def test_without_positions_there_is_no_longest_sequence_but_none_begins_before_0():
    embedding = TokenAndPositionEmbedding(V=5, T=4, C=6, position="none")
    assert embedding(torch.zeros(1, 9, dtype=torch.long)).shape == (1, 9, 6)
    with pytest.raises(ValueError, match="positions -1 to -1"):
        embedding(torch.zeros(1, 1, dtype=torch.long), start=-1)


def test_the_waves_are_not_learned_and_not_saved():
    embedding = TokenAndPositionEmbedding(V=5, T=4, C=6, position="sinusoidal")
    assert [name for name, _ in embedding.named_parameters()] == list(embedding.state_dict()) == ["token.weight"]


def test_the_first_loss_of_a_bigram_model_is_ln_v():
    loss = BigramLanguageModel(V=7)(IDS, IDS.flip(0))[1]
    assert loss.item() == pytest.approx(math.log(7), abs=1e-6)


def test_a_bigram_model_sees_the_last_token_only():
    model = BigramLanguageModel(V=5)
    torch.nn.init.normal_(model.table.weight)
    for b in range(2):
        for t in range(3):
            assert torch.equal(model(IDS)[0][b, t], model.table.weight[IDS[b, t]])


def test_a_bigram_model_learns_the_counts():
    ids = torch.tensor([[0, 1, 0, 1, 0, 2]])
    model = BigramLanguageModel(V=3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.2)
    for _ in range(300):
        optimizer.zero_grad()
        model(ids[:, :-1], ids[:, 1:])[1].backward()
        optimizer.step()
    chances = model(ids)[0][0, 0].softmax(dim=-1)
    assert chances.tolist() == pytest.approx([0, 2 / 3, 1 / 3], abs=0.02)


@pytest.mark.parametrize("bad", [-1, 5])
@pytest.mark.parametrize("make", [lambda: TokenAndPositionEmbedding(5, 4, 6), lambda: BigramLanguageModel(5)])
def test_an_id_outside_the_vocabulary_is_refused_with_both_numbers(make, bad):
    with pytest.raises(ValueError, match=rf"token id {bad} is outside the vocabulary \[0, 5\)"):
        make()(torch.tensor([[1, bad]]))


def test_an_unknown_kind_of_position_is_refused():
    with pytest.raises(ValueError, match="'rotary'"):
        TokenAndPositionEmbedding(5, 4, 6, position="rotary")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (
            torch.tensor([1, 2]),
            r"ids of shape \[2\]: a model reads a batch, \[B, T\]; one sequence \[T\] is ids\[None\]",
        ),
        (torch.zeros(2, 3), r"ids are torch.float32, not integers"),
        (torch.ones(2, 3, dtype=torch.bool), r"ids are torch.bool, not integers"),
    ],
)
def test_what_is_not_a_batch_of_ids_is_refused(ids, words):
    for model in (BigramLanguageModel(5), TokenAndPositionEmbedding(V=5, T=8, C=4)):
        with pytest.raises(ValueError, match=words):
            model(ids)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (torch.tensor([[0, -1, 2], [1, 1, 1]]), r"target -1 is outside the vocabulary \[0, 4\).*IGNORE, -100"),
        (torch.tensor([[0, 4, 2], [1, 1, 1]]), r"target 4 is outside the vocabulary \[0, 4\)"),
        (IDS[:, :2], r"targets of shape \[2, 2\] for ids of shape \[2, 3\]"),
        (IDS.float(), r"targets are torch.float32, not integers"),
    ],
)
def test_targets_that_cannot_be_are_refused(targets, words):
    with pytest.raises(ValueError, match=words):
        BigramLanguageModel(4)(IDS, targets)


def test_targets_of_32_bits_and_targets_to_ignore_count_as_they_should():
    model, targets = BigramLanguageModel(4), torch.tensor([[1, IGNORE, 0], [3, 2, IGNORE]])
    torch.nn.init.normal_(model.table.weight)
    logits, loss = model(IDS, targets)
    real = targets != IGNORE
    expected = -logits.log_softmax(-1)[real, targets[real]].mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.equal(model(IDS.int(), targets.int())[1], loss)
