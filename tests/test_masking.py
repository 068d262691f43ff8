"""Masks: True may attend; and a test that sees the future leak."""

import pytest
import torch

from gptlab.masking import assert_causal, causal, padding, sliding
from gptlab.model import GPT, GPTConfig

IDS = torch.randint(0, 20, (2, 7), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("T", "Tk"), [(5, 5), (2, 7), (1, 4)])
def test_a_causal_mask_keeps_the_past_and_the_present(T, Tk):
    mask = causal(T, Tk)
    for i in range(T):
        for j in range(Tk):
            assert bool(mask[i, j]) == (j <= i + Tk - T)


def test_more_queries_than_keys_are_refused():
    with pytest.raises(ValueError, match="5 queries are more than 3 keys"):
        causal(5, 3)


@pytest.mark.parametrize("window", [1, 3, 6, 9])
def test_a_sliding_mask_keeps_the_last_few(window):
    mask = sliding(6, window)
    for i in range(6):
        for j in range(6):
            assert bool(mask[i, j]) == (0 <= i - j < window)


def test_an_empty_window_is_refused():
    with pytest.raises(ValueError, match="window=0"):
        sliding(4, 0)


def test_padding_is_heard_by_nobody():
    mask = padding([1, 3], T=3) & causal(3)
    assert mask.int().tolist() == [[[1, 0, 0], [1, 0, 0], [1, 0, 0]], [[1, 0, 0], [1, 1, 0], [1, 1, 1]]]
    with pytest.raises(ValueError, match=r"lengths \[4\].*T=3"):
        padding([4], T=3)


@pytest.mark.parametrize("changes", [{}, {"position": "rope"}, {"convolution": 3, "qk_norm": True, "position": "rope"}])
def test_no_position_of_the_model_sees_the_future(changes):
    torch.manual_seed(0)
    model = GPT(GPTConfig(20, 8, n_layer=2, n_head=2, n_embd=12, **changes)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # also the convolution, which starts as zeros
    assert_causal(model, IDS, vocab_size=20)


def all_seeing(model):
    return lambda ids: model(ids, keep_mask=torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool))


def one_ahead(model):
    return lambda ids: model(ids, keep_mask=torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril(1))


def averaged(model):
    return lambda ids: model(ids)[0] + 0.01 * model(ids)[0].mean(dim=1, keepdim=True)


@pytest.mark.parametrize("leak", [all_seeing, one_ahead, averaged])
def test_each_planted_leak_is_found(leak):
    torch.manual_seed(0)
    model = GPT(GPTConfig(20, 8, n_layer=2, n_head=2, n_embd=12)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    with pytest.raises(AssertionError, match=r"the future leaks: changing the token at position \d+ moved"):
        assert_causal(leak(model), IDS, vocab_size=20)
