"""Decoding at fixed shapes gives what decoding gives: the step that a CUDA graph repeats is right."""

import pytest
import torch

from gptlab import sampling
from gptlab.gpu.graphs import GraphedDecoder
from gptlab.model import GPT, GPTConfig

VARIANTS = [
    {},
    {"position": "sinusoidal"},
    {"norm": "rmsnorm", "position": "rope", "mlp": "swiglu", "n_kv_head": 2, "bias": False},
    {"position": "rope", "qk_norm": True, "convolution": 3, "mlp": "relu2"},
]


def model(**changes):
    torch.manual_seed(4)
    made = GPT(GPTConfig(**(dict(vocab_size=40, context=24, n_layer=2, n_head=4, n_embd=24) | changes))).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)  # large enough that no two tokens are nearly as good
    return made


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("T", [1, 5])
@torch.no_grad()
def test_each_step_gives_the_logits_of_a_full_pass(changes, T):
    made = model(**changes)
    ids = torch.randint(40, (3, T), generator=torch.Generator().manual_seed(T))
    decoder = GraphedDecoder(made, ids, max_length=14)
    text = ids
    for _ in range(8):
        text = torch.cat((text, decoder.token), dim=1)
        assert torch.allclose(decoder.step(), made(text)[0][:, -1], atol=1e-4)


@pytest.mark.parametrize("changes", VARIANTS)
def test_the_text_is_that_of_generate(changes):
    made, ids = model(**changes), torch.tensor([[3, 1, 4], [1, 5, 9]])
    assert GraphedDecoder(made, ids).generate(20).tolist() == sampling.generate(made, ids, 20, temperature=0).tolist()


def test_memory_that_was_never_written_cannot_spoil_the_answer(monkeypatch):
    """What is hidden by the mask has weight 0, and 0 × NaN is NaN: so it must be cleared."""
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda self, *size: torch.full(size, torch.nan))
    made = model()
    assert GraphedDecoder(made, torch.tensor([[3, 1, 4]])).step().isfinite().all()


def test_too_many_tokens_are_refused_with_both_numbers():
    with pytest.raises(ValueError, match="a prompt of 6 tokens fills the cache of 6"):
        GraphedDecoder(model(), torch.zeros(1, 6, dtype=torch.long), max_length=6)
    with pytest.raises(ValueError, match=r"3 \+ 22 tokens do not fit max_length=24"):
        GraphedDecoder(model(), torch.zeros(1, 3, dtype=torch.long)).generate(22)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph needs CUDA")
@pytest.mark.parametrize("changes", VARIANTS)
def test_the_recorded_graph_gives_the_same_text(changes):
    made, ids = model(**changes).cuda(), torch.tensor([[3, 1, 4], [1, 5, 9]]).cuda()
    assert GraphedDecoder(made, ids).generate(20).tolist() == sampling.generate(made, ids, 20, temperature=0).tolist()
