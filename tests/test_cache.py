"""The KV cache: it changes nothing but the time, and a call that fails changes nothing in it."""

import pytest
import torch
from small_models import VARIANTS, draw_ids, small

from gptlab.cache import KVCache, LayerCache, cache_bytes
from gptlab.llama import llama_config
from gptlab.model import GPTConfig


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("chunks", [[12], [1] * 12, [5, 4, 3], [1, 11], [10, 2]])
def test_the_cache_gives_the_logits_of_the_full_pass(changes, chunks):
    model, ids = small(**changes), draw_ids(3, 12)
    expected, cache, done = model(ids)[0], KVCache(model), 0
    for size in chunks:
        logits, _ = model(ids[:, done : done + size], cache=cache)
        done += size
        assert torch.allclose(logits, expected[:, done - size : done], atol=1e-5 * expected.abs().max().item())


def test_what_the_cache_holds_does_not_change_when_more_comes():
    model, ids = small(position="rope", n_kv_head=2), draw_ids(2, 9)
    short, long = KVCache(model), KVCache(model)
    model(ids[:, :4], cache=short)
    model(ids, cache=long)
    for a, b in zip(short.layers, long.layers, strict=True):
        assert torch.allclose(a.k[:, :, :4], b.k[:, :, :4], atol=1e-5)
        assert torch.allclose(a.v[:, :, :4], b.v[:, :, :4], atol=1e-5)


@pytest.mark.parametrize("changes", VARIANTS)
def test_a_reset_cache_is_a_new_one(changes):
    model, cache = small(**changes), None
    cache = KVCache(model)
    model(draw_ids(3, 7), cache=cache)
    cache.reset()
    ids = draw_ids(2, 5).flip(1)
    assert cache.bytes == cache.length == 0
    assert torch.allclose(model(ids, cache=cache)[0], model(ids)[0], atol=1e-5)


@pytest.mark.parametrize("changes", VARIANTS)
def test_past_its_length_a_cache_refuses_and_stays_as_it_was(changes):
    model, ids = small(**changes), draw_ids(2, 12)
    full = KVCache(model)
    model(ids, cache=full)
    with pytest.raises(ValueError, match="T=13 tokens do not fit the context of 12"):
        model(ids[:, :1], cache=full)
    assert full.length == 12
    narrow = KVCache(model, max_length=5)
    model(ids[:, :4], cache=narrow)
    with pytest.raises(ValueError, match="at most 5 tokens, not 6: build KVCache\\(model, max_length=6"):
        model(ids[:, 4:6], cache=narrow)
    assert torch.allclose(model(ids[:, 4:5], cache=narrow)[0], model(ids[:, :5])[0][:, -1:], atol=1e-5)


@pytest.mark.parametrize("length", [0, 13])
def test_a_length_beyond_the_context_is_refused(length):
    with pytest.raises(ValueError, match=f"max_length={length} must lie between 1 and"):
        KVCache(small(), max_length=length)


@pytest.mark.parametrize("changes", VARIANTS)
def test_a_cache_of_another_batch_is_refused(changes):
    model, cache = small(**changes), None
    cache = KVCache(model)
    model(draw_ids(3, 4), cache=cache)
    for B in (1, 2):  # one row would be broadcast silently
        with pytest.raises(ValueError, match=f"holds B=3 sequences and was given {B}"):
            model(draw_ids(B, 1), cache=cache)


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_bytes_of_a_cache_are_those_of_its_configuration(changes, dtype):
    model = small(**changes).to(dtype)
    cache = KVCache(model, max_length=7)
    model(draw_ids(3, 5), cache=cache)
    assert cache.bytes == cache_bytes(model.config, T=7, B=3, width=dtype.itemsize) > 0


def test_the_cache_of_known_models_by_hand():
    assert cache_bytes(GPTConfig.gpt2("124M"), T=1, width=2) == 2 * 12 * 768 * 2
    assert cache_bytes(llama_config("8B"), T=1, width=2) == 128 * 1024  # 32 layers, 8 heads of 128, k and v, 2 bytes
    assert cache_bytes(llama_config("8B", n_kv_head=32), T=1, width=2) == 512 * 1024


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("filled", [0, 5])
@pytest.mark.parametrize("layer", [0, 1])
def test_a_pass_that_fails_in_any_layer_leaves_the_cache_as_it_was(changes, filled, layer):
    model, ids, cache = small(**changes), draw_ids(2, 12), None
    cache = KVCache(model)
    if filled:
        model(ids[:, :filled], cache=cache)
    held = cache.bytes
    mlp = model.blocks[layer].mlp

    def fail(*_):
        raise RuntimeError("out of memory")

    hook = mlp.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        model(draw_ids(2, 8).flip(1)[:, :4], cache=cache)
    hook.remove()
    assert cache.length == filled and cache.bytes == held
    assert all(part.length == filled for part in cache.layers)
    expected = model(ids)[0][:, filled:]
    assert torch.allclose(model(ids[:, filled:], cache=cache)[0], expected, atol=1e-5 * expected.abs().max().item())


def test_a_first_pass_that_fails_does_not_fix_the_number_of_sequences():
    model = small()
    cache, wrong = KVCache(model), torch.ones(3, 4, 9, dtype=torch.bool)  # nine keys, where there are four
    with pytest.raises((RuntimeError, ValueError)):
        model(draw_ids(3, 4), keep_mask=wrong, cache=cache)
    ids = draw_ids(2, 4)
    assert torch.allclose(model(ids, cache=cache)[0], model(ids)[0], atol=1e-5)


def test_targets_that_are_refused_leave_the_cache_as_it_was():
    model, ids = small(), draw_ids(2, 4)
    cache = KVCache(model)
    with pytest.raises(ValueError, match="target 40 is outside"):
        model(ids, torch.full_like(ids, 40), cache=cache)
    assert cache.length == 0 and torch.allclose(model(ids, cache=cache)[0], model(ids)[0], atol=1e-5)


def test_a_layer_keeps_what_was_written_once_it_is_told_to():
    layer, k, v = LayerCache(5), torch.randn(2, 3, 4, 6), torch.randn(2, 3, 4, 6)
    layer.extend(-k[:, :, :2], -v[:, :, :2])  # never kept
    layer.extend(k[:, :, :3], v[:, :, :3])
    layer.advance(3)
    found = layer.extend(k[:, :, 3:], v[:, :, 3:])
    assert torch.equal(found[0], k) and torch.equal(found[1], v)
