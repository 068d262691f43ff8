"""Sampling: what each knob leaves possible, and a cache that changes nothing but the time."""

import pytest
import torch

from gptlab.bpe import BPETokenizer
from gptlab.model import GPT, GPTConfig
from gptlab.sampling import KVCache, generate, probabilities, stream, tell_stories

LOGITS = torch.tensor([0.0, 3.0, 1.0, 2.0])
VARIANTS = [
    {},
    {"position": "rope", "n_kv_head": 2, "norm": "rmsnorm", "mlp": "swiglu"},
    {"position": "rope", "qk_norm": True, "convolution": 3, "mlp": "relu2"},
]


def small(**changes) -> GPT:
    torch.manual_seed(0)
    model = GPT(GPTConfig(40, 12, **{"n_layer": 2, "n_head": 4, "n_embd": 24, **changes})).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.25)
    return model


def draw_ids(B: int, T: int) -> torch.Tensor:
    return torch.randint(0, 40, (B, T), generator=torch.Generator().manual_seed(1))


def test_temperature_sharpens_and_flattens():
    cold, plain, hot = (probabilities(LOGITS, temperature=t)[1].item() for t in (0.5, 1.0, 2.0))
    assert cold > plain > hot > 0.25
    assert torch.allclose(probabilities(LOGITS), LOGITS.softmax(-1))
    assert probabilities(LOGITS, temperature=0).tolist() == [0, 1, 0, 0]


def test_top_k_leaves_exactly_the_k_best_also_when_they_tie():
    assert probabilities(LOGITS, top_k=2).gt(0).tolist() == [False, True, False, True]
    assert int(probabilities(torch.zeros(5), top_k=3).gt(0).sum()) == 3
    assert torch.allclose(probabilities(LOGITS, top_k=9), LOGITS.softmax(-1))


def test_top_p_leaves_the_fewest_that_reach_p():
    chances = LOGITS.softmax(-1)  # about 0.03, 0.64, 0.09, 0.24
    assert probabilities(LOGITS, top_p=0.6).gt(0).tolist() == [False, True, False, False]
    assert probabilities(LOGITS, top_p=0.7).gt(0).tolist() == [False, True, False, True]
    assert torch.allclose(probabilities(LOGITS, top_p=1.0), chances)
    assert torch.allclose(probabilities(LOGITS, top_p=0.7)[1], chances[1] / (chances[1] + chances[3]))


def test_every_distribution_sums_to_one():
    logits = torch.randn(3, 40, generator=torch.Generator().manual_seed(0))
    for options in ({"top_k": 5}, {"top_p": 0.3}, {"temperature": 0.1, "top_k": 7, "top_p": 0.9}, {"temperature": 0}):
        assert torch.allclose(probabilities(logits, **options).sum(-1), torch.ones(3))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": -1.0}, "temperature=-1"),
        ({"top_k": 0}, "top_k=0"),
        ({"top_p": 0.0}, "top_p=0"),
        ({"top_p": 1.5}, "1.5"),
    ],
)
def test_impossible_knobs_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        probabilities(LOGITS, **options)


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("chunks", [[12], [1] * 12, [5, 4, 3], [1, 11]])
def test_the_cache_gives_the_logits_of_the_full_pass(changes, chunks):
    model, ids = small(**changes), draw_ids(3, 12)
    expected, cache, done = model(ids)[0], KVCache(model), 0
    for size in chunks:
        logits, _ = model(ids[:, done : done + size], cache=cache)
        done += size
        assert torch.allclose(logits, expected[:, done - size : done], atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("length", [1, 5, 11, 12, 15])
def test_generation_with_and_without_the_cache_is_the_same_also_past_the_context(changes, length):
    model, ids = small(**changes), draw_ids(2, length)
    with_cache = generate(model, ids, 9, generator=torch.Generator().manual_seed(3))
    without = generate(model, ids, 9, generator=torch.Generator().manual_seed(3), use_cache=False)
    assert torch.equal(with_cache, without) and with_cache.shape == (2, length + 9)


def test_a_seed_gives_the_same_text_and_another_seed_another():
    model, ids = small(), draw_ids(2, 3)
    texts = [generate(model, ids, 8, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(texts[0], texts[1]) and not torch.equal(texts[0], texts[2])


def test_a_row_that_has_stopped_stays_stopped_and_all_stopped_ends():
    model, ids = small(), draw_ids(4, 3)
    out = generate(model, ids, 60, generator=torch.Generator().manual_seed(0), stop=7)[:, 3:]
    for row in out.tolist():
        if 7 in row:
            assert set(row[row.index(7) :]) == {7}
    first = int(generate(model, ids[:1], 1, temperature=0)[0, -1])  # what it says first ends it at once
    assert generate(model, ids[:1], 60, temperature=0, stop=first).shape[1] == 3 + 1


def test_generating_leaves_the_model_in_the_mode_it_was_in():
    model = small(dropout=0.5).train()
    assert torch.equal(
        generate(model, draw_ids(1, 2), 4, temperature=0), generate(model, draw_ids(1, 2), 4, temperature=0)
    )
    assert model.training


def test_nothing_to_go_on_from_is_refused():
    with pytest.raises(ValueError, match="no token to go on from"):
        generate(small(), torch.zeros(1, 0, dtype=torch.long), 3)


def test_a_stream_is_the_generated_text_in_pieces():
    tokenizer = BPETokenizer.train("the fox and the hen — ß 狐", 260, special_tokens=("<end>",))
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, 32, n_layer=1, n_head=2, n_embd=12)).eval()
    prompt = tokenizer.encode("the")
    pieces = list(stream(model, tokenizer, prompt, 20, generator=torch.Generator().manual_seed(5)))
    ids = generate(model, torch.tensor([prompt]), 20, generator=torch.Generator().manual_seed(5))[0, len(prompt) :]
    assert "".join(pieces) == tokenizer.decode(ids.tolist())


def test_stories_end_at_the_end_token():
    tokenizer = BPETokenizer.train("abab", 258, special_tokens=("<end>",))
    end = tokenizer.special_tokens["<end>"]
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, 300, n_layer=1, n_head=2, n_embd=12))
    stories = tell_stories(model, tokenizer, 3, end, max_new_tokens=250)
    assert len(stories) == 3 and not any("<end>" in story for story in stories)
