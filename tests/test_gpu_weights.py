"""Weights in fewer bytes: nearly the same logits, the the same text, a quarter of the memory."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gptlab import gpu, sampling
from gptlab.gpu import Int8Linear, weights
from gptlab.model import GPT, GPTConfig


@given(st.integers(1, 70), st.integers(1, 40), st.integers(1, 40), st.booleans(), st.booleans())
def test_an_int8_layer_gives_nearly_what_the_layer_gave(size, outputs, rows, bias, kernel):
    """Within what rounding to 127 steps and bfloat16 allow, for any shape, with the kernel and without."""
    torch.manual_seed(size * outputs)
    layer, x = nn.Linear(size, outputs, bias=bias), torch.randn(rows, size)
    with pytest.MonkeyPatch.context() as patch:
        if not kernel:
            patch.setattr(weights, "has_int8", lambda: False)
        found = Int8Linear(layer)(x)
    step = layer.weight.abs().amax(dim=1) / 127  # [out]
    bound = 0.5 * step * x.abs().sum(dim=1, keepdim=True) + 0.01 * (x.abs() @ layer.weight.abs().T) + 1e-2
    assert ((found - layer(x)).abs() <= bound).all()


def test_each_output_has_its_own_scale():
    """With one scale for all, the row of small weights would be rounded to nothing."""
    layer = nn.Linear(16, 2, bias=False)
    layer.weight.data = torch.tensor([[100.0], [0.01]]).expand(2, 16).clone()
    found = Int8Linear(layer)(torch.ones(1, 16))
    assert found[0].tolist() == pytest.approx([1600, 0.16], rel=0.01)


def model():
    torch.manual_seed(1)
    return GPT(GPTConfig(vocab_size=60, context=24, n_layer=2, n_head=2, n_embd=32)).eval()


def test_the_quantized_model_is_a_copy_and_the_model_stays():
    original = model()
    before = {name: p.clone() for name, p in original.named_parameters()}
    light = gpu.quantize(original)
    assert not any(isinstance(m, nn.Linear) for m in light.modules())
    assert all(torch.equal(p, before[name]) for name, p in original.named_parameters())
    assert light.embedding.token.weight is original.embedding.token.weight  # shared: not held twice
    ids = torch.arange(12).view(1, 12)
    error = (light(ids)[0] - original(ids)[0]).norm() / original(ids)[0].norm()
    assert 0 < error < 0.05


def test_its_matrices_take_a_quarter_of_the_bytes():
    original, light = model(), gpu.quantize(model())
    full = sum(m.weight.nbytes for m in original.modules() if isinstance(m, nn.Linear))
    few = sum(m.weight.nbytes for m in light.modules() if isinstance(m, Int8Linear))
    assert few * 4 == full


def test_it_generates_with_a_cache_what_it_generates_without():
    light, ids = gpu.quantize(model()), torch.tensor([[3, 1, 4]])
    logits = light(ids)[0][0, -1].topk(2).values
    assert logits[0] - logits[1] > 1e-3  # no near tie at the first token
    cached = sampling.generate(light, ids, 1, temperature=0)
    assert cached.tolist() == sampling.generate(light, ids, 1, temperature=0, use_cache=False).tolist()


def test_the_machine_decides_and_a_kernel_that_is_missing_is_not_used(monkeypatch):
    weights.pick_weights.cache_clear()
    monkeypatch.setattr(weights, "has_int8", lambda: False)
    assert gpu.pick_weights("cpu") in ("float32", "bfloat16")
    weights.pick_weights.cache_clear()


def test_bfloat16_is_picked_for_matrices_only_where_it_is_faster(monkeypatch):
    """A clock that says bfloat16 is fast, then one that says it is slow."""
    for slow, expected in ((torch.float32, torch.bfloat16), (torch.bfloat16, torch.float32)):
        now = [0.0]

        def linear(x, weight, slow=slow, now=now):
            now[0] += 2.0 if x.dtype is slow else 1.0

        monkeypatch.setattr(weights.F, "linear", linear)
        monkeypatch.setattr(weights.time, "perf_counter", lambda now=now: now[0])
        weights.pick_matrix_dtype.cache_clear()
        assert gpu.pick_matrix_dtype("cpu") is expected
    weights.pick_matrix_dtype.cache_clear()
