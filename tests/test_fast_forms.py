"""The faster forms compute what the lesson's model computes: loss, gradient, logits and generated text."""

import copy
import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from gptlab import checkpoints, lora, sampling
from gptlab.batches import IGNORE, Batches
from gptlab.fast_forms import FastGPT, FusedAttention, linear_cross_entropy, speed_up
from gptlab.model import GPT, GPTConfig
from gptlab.training import TrainConfig, train

LLAMA = dict(norm="rmsnorm", position="rope", mlp="swiglu", bias=False, n_kv_head=2, tie_weights=False)
CONFIGS = {
    "GPT-2": GPTConfig(vocab_size=97, context=16, n_layer=2, n_head=4, n_embd=24),
    "Llama": GPTConfig(vocab_size=97, context=16, n_layer=2, n_head=4, n_embd=24, **LLAMA),
    "modern": GPTConfig.modern(97, 16, n_layer=2, n_head=4, n_embd=24),
}


def model(config: GPTConfig) -> GPT:
    made = GPT(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.2, generator=generator)
    return made


def gradient(of: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in of.parameters()])


@settings(max_examples=30, deadline=None)
@given(N=st.integers(1, 9), C=st.integers(2, 6), V=st.integers(2, 70), rows=st.integers(1, 12),
       multiple=st.sampled_from([1, 8, 64]), ignored=st.integers(0, 3), seed=st.integers(0, 99))  # fmt: skip
def test_the_loss_in_parts_and_with_added_columns_is_cross_entropy(N, C, V, rows, multiple, ignored, seed):
    draw = torch.Generator().manual_seed(seed)
    x, weight = torch.randn(N, C, generator=draw).double(), torch.randn(V, C, generator=draw).double()
    targets = torch.randint(V, (N,), generator=draw)
    targets[1 : 1 + ignored] = IGNORE
    found = []
    for fast in (False, True):
        a, b = x.clone().requires_grad_(), weight.clone().requires_grad_()
        if fast:
            loss = linear_cross_entropy(a, b, targets, rows, multiple)
        else:
            loss = F.cross_entropy(a @ b.T, targets, ignore_index=IGNORE)
        (3 * loss).backward()
        found.append((loss.detach(), a.grad, b.grad))
    for plain, ours in zip(*found, strict=True):
        assert (plain - ours).abs().max() < 1e-12


def test_far_logits_neither_overflow_nor_lose_the_target():
    x, weight = torch.tensor([[1.0], [-1.0]]), torch.tensor([[1000.0], [-1000.0], [0.0]])
    loss = linear_cross_entropy(x, weight, torch.tensor([0, 0]), multiple=64)
    assert loss.item() == pytest.approx(1000.0)  # nothing for the first, 2000 nats for the second


@pytest.mark.parametrize("name", CONFIGS)
def test_a_faster_model_has_the_same_loss_gradient_logits_and_text(name):
    plain = model(CONFIGS[name])
    fast = speed_up(copy.deepcopy(plain), rows=7)
    assert type(fast) is FastGPT and type(fast.blocks[1].attention) is FusedAttention
    assert list(fast.state_dict()) == list(plain.state_dict())
    assert fast.count_parameters() == plain.count_parameters()
    ids = torch.randint(97, (3, 12), generator=torch.Generator().manual_seed(0))
    targets = ids.roll(-1, dims=1)
    targets[0, 5:] = IGNORE
    losses = []
    for each in (plain, fast):
        loss = each(ids, targets)[1]
        loss.backward()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert (gradient(plain) - gradient(fast)).abs().max() < 1e-6 * max(1.0, float(gradient(plain).abs().max()))
    plain.eval(), fast.eval()
    assert (plain(ids)[0] - fast(ids)[0]).abs().max() < 1e-5
    assert fast(ids, targets)[1].item() == pytest.approx(losses[0], abs=1e-6)
    assert fast(ids)[0].shape[-1] == 97
    texts = [sampling.generate(each, ids[:1, :4], 8, temperature=0).tolist() for each in (plain, fast)]
    assert texts[0] == texts[1]


class Largest(TorchDispatchMode):
    """The largest float32 tensor that any operation makes, in numbers."""

    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float32:
                self.size = max(self.size, tensor.numel())
        return out


def test_all_logits_never_exist_at_once():
    ids, sizes = torch.randint(500, (4, 16)), []
    for rows in (None, 8):
        fast = GPT(GPTConfig(vocab_size=500, context=16, n_layer=1, n_head=2, n_embd=12))
        fast = fast if rows is None else speed_up(fast, rows=rows)
        with Largest() as largest:
            fast(ids, ids)[1].backward()
        sizes.append(largest.size)
    assert sizes[0] == 4 * 16 * 500
    assert sizes[1] <= 512 * 12  # the table with the rows that were added; some rows of logits are fewer


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_16_bits_the_gradient_is_as_near_as_the_plain_one(dtype):
    plain = model(CONFIGS["GPT-2"])
    ids = torch.randint(97, (3, 12), generator=torch.Generator().manual_seed(0))
    plain(ids, ids)[1].backward()
    exact, errors = gradient(plain), []
    for fast in (False, True):
        each = copy.deepcopy(plain)
        each.zero_grad()
        each = speed_up(each) if fast else each
        with torch.autocast("cpu", dtype=dtype):
            loss = each(ids, ids)[1]
        (loss * 1024).backward()
        errors.append(float((gradient(each) / 1024 - exact).norm() / exact.norm()))
    assert errors[1] < 1.2 * errors[0] + 1e-4


def test_a_run_with_faster_forms_goes_the_same_way_and_its_files_are_the_same(tmp_path):
    ids = torch.randint(0, 97, (400,), generator=torch.Generator().manual_seed(0)).tolist()
    plan, losses = TrainConfig(steps=5, warmup=1, optimizer="muon"), []
    for fast in (False, True):
        learner = model(CONFIGS["modern"])
        learner = speed_up(learner, rows=9) if fast else learner
        folder = tmp_path / str(fast)
        losses.append(train(learner, Batches(ids, B=3, T=16), plan, folder=folder, progress=False).losses)
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    saved = [checkpoints.load_model(tmp_path / name)[0] for name in ("False", "True")]
    assert {type(each) for each in saved} == {GPT}
    assert saved[0].config == saved[1].config


def test_layers_that_are_not_plain_are_called_as_they_are():
    plain = model(CONFIGS["GPT-2"])
    adapted = lora.add_lora(copy.deepcopy(plain), rank=2)
    ids = torch.randint(97, (2, 9))
    expected = adapted(ids, ids)[1].item()
    assert speed_up(adapted)(ids, ids)[1].item() == pytest.approx(expected, abs=1e-6)


COMPILED = """
import torch
from gptlab.fast_forms import speed_up
from gptlab.model import GPT, GPTConfig

torch.manual_seed(0)
fast = speed_up(GPT(GPTConfig(97, 32, n_layer=1, n_head=2, n_embd=16)), rows=20)
ids = torch.randint(97, (3, 12))
compiled = torch.compile(fast, backend="aot_eager", fullgraph=True)
found = []
for way in (fast, compiled):
    fast.zero_grad()
    loss = way(ids, ids)[1]
    loss.backward()
    found.append((loss.item(), torch.cat([p.grad.flatten() for p in fast.parameters()])))
assert abs(found[0][0] - found[1][0]) < 1e-6 and (found[0][1] - found[1][1]).abs().max() < 1e-6
"""


def test_the_compiler_sees_a_faster_model_as_one_graph():
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_batch_in_which_nothing_counts_is_not_a_number_as_before():
    x, weight = torch.ones(2, 3), torch.ones(5, 3)
    assert math.isnan(linear_cross_entropy(x, weight, torch.full((2,), IGNORE)).item())
