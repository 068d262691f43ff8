"""Embeddings: a row of a table, looked up; positions by time and not by batch."""

import pytest
import torch

from gptlab.embedding import BigramLanguageModel, TokenAndPositionEmbedding, sinusoidal

IDS = torch.tensor([[3, 3, 1], [0, 2, 3]])


def test_looking_up_a_row_is_a_one_hot_product():
    embedding = TokenAndPositionEmbedding(V=5, T=4, C=6, position="none")
    one_hot = torch.nn.functional.one_hot(IDS, 5).float()
    assert torch.allclose(embedding(IDS), one_hot @ embedding.token.weight)


@pytest.mark.parametrize("position", ["learned", "sinusoidal"])
def test_the_same_token_at_two_positions_differs_and_in_two_sequences_does_not(position):
    x = TokenAndPositionEmbedding(V=5, T=4, C=6, position=position)(torch.tensor([[3, 3, 1], [3, 2, 1]]))
    assert not torch.allclose(x[0, 0], x[0, 1])
    assert torch.equal(x[0, 0], x[1, 0]) and torch.equal(x[0, 2], x[1, 2])


def test_a_later_start_moves_the_positions():
    embedding = TokenAndPositionEmbedding(V=5, T=4, C=6)
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
