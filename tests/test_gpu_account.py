"""What a model costs, on paper, against what torch counts and what a step really takes."""

import dataclasses
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from gptlab import gpu, runs, training
from gptlab.fast_forms import speed_up
from gptlab.model import GPT, GPTConfig
from gptlab.optimizers import make_optimizers
from gptlab.train_step import checkpoint_blocks

LLAMA = dict(norm="rmsnorm", position="rope", mlp="swiglu", bias=False, n_kv_head=2, tie_weights=False)
MODERN = dict(position="rope", mlp="relu2", bias=False, qk_norm=True, convolution=3, init="zero")
CONFIGS = {
    "GPT-2": GPTConfig(vocab_size=1000, context=128, n_layer=3, n_head=4, n_embd=96),
    "GPT-2, a large vocabulary": GPTConfig(vocab_size=8000, context=64, n_layer=2, n_head=4, n_embd=64),
    "GPT-2, wide": GPTConfig(vocab_size=300, context=64, n_layer=2, n_head=4, n_embd=256),
    "GPT-2, long": GPTConfig(vocab_size=60, context=400, n_layer=2, n_head=2, n_embd=24),
    "GPT-2, untied": GPTConfig(vocab_size=500, context=64, n_layer=2, n_head=4, n_embd=64, tie_weights=False),
    "sinusoidal": GPTConfig(vocab_size=90, context=48, n_layer=1, n_head=3, n_embd=48, position="sinusoidal"),
    "no positions, small MLP": GPTConfig(vocab_size=90, context=48, n_embd=48, mlp_size=60, position="none"),
    "Llama": GPTConfig(vocab_size=1000, context=128, n_layer=3, n_head=4, n_embd=96, mlp_size=256, **LLAMA),
    "Llama, one key for all": GPTConfig(vocab_size=70, context=96, n_head=8, n_embd=64, **LLAMA | {"n_kv_head": 1}),
    "Llama, normed queries": GPTConfig(vocab_size=900, context=96, n_embd=96, mlp_size=256, qk_norm=True, **LLAMA),
    "modern": GPTConfig(vocab_size=859, context=160, n_layer=2, n_head=8, n_embd=128, **MODERN),
    "modern, deep": GPTConfig(vocab_size=500, context=128, n_layer=6, n_head=4, n_embd=64, **MODERN),
}
NAMES = pytest.mark.parametrize("name", CONFIGS)


def counted_flops(config: GPTConfig, B: int, T: int) -> tuple[float, float]:
    """FLOPs a token that torch counts on the real model: forward, and forward with backward.

    Only the MATH attention is made of products that its counter knows on a CPU: the default one counts as nothing.
    """
    model, ids = GPT(config), torch.randint(config.vocab_size, (B, T))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss = model(ids, ids)[1]
        forward = counter.get_total_flops()
        loss.backward()
    return forward / (B * T), counter.get_total_flops() / (B * T)


# ── Parameters and FLOPs ─────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=25, deadline=None)
@given(
    V=st.integers(5, 90), T=st.integers(3, 20), L=st.integers(1, 3), hs=st.sampled_from([2, 4, 6]),
    heads=st.sampled_from([(1, 1), (4, 4), (4, 2), (6, 1)]), mlp_size=st.sampled_from([None, 7, 40]),
    norm=st.sampled_from(["layernorm", "rmsnorm"]), mlp=st.sampled_from(["gelu", "gelu_tanh", "swiglu", "relu2"]),
    position=st.sampled_from(["learned", "sinusoidal", "none", "rope"]), convolution=st.sampled_from([0, 3]),
    bias=st.booleans(), mlp_bias=st.sampled_from([None, True, False]), tied=st.booleans(), qk_norm=st.booleans(),
)  # fmt: skip
def test_parameters_are_counted_without_building_the_model(
    V, T, L, hs, heads, mlp_size, norm, mlp, position, convolution, bias, mlp_bias, tied, qk_norm
):
    config = GPTConfig(
        vocab_size=V, context=T, n_layer=L, n_head=heads[0], n_kv_head=heads[1], n_embd=hs * heads[0],
        mlp_size=mlp_size, norm=norm, mlp=mlp, position=position, convolution=convolution, bias=bias,
        mlp_bias=mlp_bias, tie_weights=tied, qk_norm=qk_norm,
    )  # fmt: skip
    assert gpu.count_parameters(config) == GPT(config).count_parameters()


@pytest.mark.parametrize(
    ("size", "parameters"),
    [("124M", 124_439_808), ("355M", 354_823_168), ("774M", 774_030_080), ("1558M", 1_557_611_200)],
)
def test_the_published_sizes_of_gpt2(size, parameters):
    assert gpu.count_parameters(GPTConfig.gpt2(size)) == parameters


@NAMES
def test_flops_are_those_that_torch_counts(name):
    config, T = CONFIGS[name], CONFIGS[name].context - 3
    forward, both = counted_flops(config, B=2, T=T)
    assert gpu.flops_per_token(config, T, backward=False) == pytest.approx(forward, rel=0.02)
    assert gpu.flops_per_token(config, T) == pytest.approx(both, rel=0.02)


def test_flops_by_hand():
    config = GPTConfig(vocab_size=50, context=8, n_layer=3, n_head=2, n_embd=12)
    by_part = gpu.flops_by_part(config, T=7)
    assert by_part["projections"] == 3 * 4 * 2 * 12 * 12  # four matrices of 12 × 12, a product and a sum each
    assert by_part["attention"] == 3 * (7 * 2 * 12 + 7 * 2 * 12)  # seven keys: scores, then the average
    assert by_part["mlp"] == 3 * 2 * (12 * 48 + 48 * 12)
    assert by_part["head"] == 2 * 12 * 50


@NAMES
def test_without_attention_it_is_kaplans_rule_of_six(name):
    config = CONFIGS[name]
    parts = gpu.parameters_by_part(dataclasses.replace(config, bias=False, tie_weights=False))
    matrices = parts["attention"] + parts["mlp"] + parts["head"]
    flops = gpu.flops_per_token(config, T=40) - 3 * gpu.flops_by_part(config, T=40)["attention"]
    assert flops == 6 * matrices


@given(T=st.integers(1, 5000), layers=st.integers(1, 9))
def test_only_attention_grows_with_the_length_and_the_head_not_with_the_layers(T, layers):
    config = GPTConfig(vocab_size=50, context=5000, n_layer=layers, n_head=2, n_embd=12)
    one, other = gpu.flops_by_part(config, T), gpu.flops_by_part(config, 2 * T)
    assert other["attention"] == 2 * one["attention"]
    assert {name: one[name] for name in ("projections", "mlp", "head")} == {
        name: other[name] for name in ("projections", "mlp", "head")
    }
    assert one["head"] == 2 * 12 * 50


def test_mfu_by_hand():
    config = GPTConfig(vocab_size=50, context=8, n_layer=1, n_head=2, n_embd=12)
    assert gpu.mfu(1000, config, T=8, peak=3 * 5040 * 1000) == 1.0
    assert gpu.mfu(500.0, config, T=8, peak=3 * 5040 * 1000) == 0.5


# ── The roofline ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_products_are_dense_and_norms_are_thin():
    work = gpu.work_by_part(GPTConfig.gpt2("124M"), B=8, T=1024)
    assert all(work[part].intensity > 300 for part in ("projections", "mlp", "attention", "head"))
    assert all(work[part].intensity < 6 for part in ("norms", "residual", "activation", "loss"))


def test_attention_written_out_moves_the_scores_and_flash_does_not():
    config = GPTConfig.gpt2("124M")
    for T in (256, 1024):
        flash, plain = (gpu.work_by_part(config, 8, T, flash=flash)["attention"] for flash in (True, False))
        assert flash.flops == plain.flops
        assert plain.bytes - flash.bytes == 2 * 12 * 4 * 8 * 12 * T * T
    assert plain.intensity < 64 < flash.intensity


def test_the_flops_of_the_parts_are_those_of_the_account():
    config, B, T = CONFIGS["Llama"], 5, 64
    work, flops = gpu.work_by_part(config, B, T), gpu.flops_by_part(config, T)
    assert {name: work[name].flops for name in flops} == {name: B * T * n for name, n in flops.items()}


def test_one_token_at_a_time_reads_all_weights_for_two_flops_each():
    work = gpu.work_by_part(GPTConfig.gpt2("124M"), B=1, T=1, dtype=torch.float32)
    assert work["mlp"].intensity == pytest.approx(2 / 4, rel=0.01)


@given(rate=st.floats(1e9, 1e15), bandwidth=st.floats(1e9, 1e13), intensity=st.floats(1e-2, 1e4))
def test_under_the_roof_the_smaller_ceiling_counts(rate, bandwidth, intensity):
    roof = gpu.Roofline(rate, bandwidth)
    assert roof.attainable(intensity) == pytest.approx(rate if intensity >= roof.ridge else intensity * bandwidth)
    seconds = roof.seconds(flops=intensity * 1e9, moved=1e9)
    assert intensity * 1e9 / seconds == pytest.approx(roof.attainable(intensity))


def test_this_machine_has_both_ceilings():
    roof = gpu.Roofline.of("cpu")
    assert 1e8 < roof.rate < 1e14 and 1e7 < roof.bandwidth < 1e13
    assert gpu.matmul_flops("cpu", n=8) < roof.rate  # a small product is all overhead


def test_the_time_of_a_work_is_its_median_and_its_first_runs_do_not_count():
    naps = iter([0.2, 0.2, 0.01, 0.01, 0.15])
    assert 0.01 <= gpu.measure(lambda: time.sleep(next(naps)), repeats=3) < 0.1


# ── Memory ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def a_step(config, B, T, dtype, optimizer, checkpointing):
    """A model, its optimizers, and a function that makes one training step, as `training.run` does."""
    model = GPT(config)
    model = checkpoint_blocks(model) if checkpointing else model
    optimizers = make_optimizers(model, training.TrainConfig(optimizer=optimizer))
    ids = torch.randint(config.vocab_size, (B, T))

    def step():
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            loss = model(ids, ids)[1]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for each in optimizers:
            each.step()
        for each in optimizers:
            each.zero_grad(set_to_none=True)

    return model, optimizers, step


@pytest.mark.parametrize(
    ("dtype", "checkpointing"),
    [(torch.float32, False), (torch.bfloat16, False), (torch.float32, True)],
    ids=["float32", "bfloat16", "checkpointed"],
)
@pytest.mark.parametrize(
    ("name", "B", "T", "optimizer"),
    [
        ("GPT-2", 4, 128, "adamw"), ("GPT-2, a large vocabulary", 4, 64, "adamw"), ("GPT-2, wide", 2, 48, "adamw"),
        ("GPT-2, wide", 2, 48, "muon"), ("Llama", 4, 120, "adamw"), ("Llama", 1, 100, "muon"),
        ("Llama, normed queries", 3, 90, "adamw"), ("modern", 16, 104, "muon"), ("modern, deep", 4, 100, "adamw"),
    ],
)  # fmt: skip
def test_predicted_memory_is_measured_memory(name, B, T, optimizer, checkpointing, dtype):
    config = CONFIGS[name]
    model, optimizers, step = a_step(config, B, T, dtype, optimizer, checkpointing)
    step()  # the first makes the optimizers' averages
    measured = gpu.measure_memory(step, model, optimizers)
    predicted = gpu.estimate_memory(config, B, T, dtype, optimizer, checkpointing, device="cpu")
    assert predicted.total == pytest.approx(measured.peak, rel=0.15)
    assert predicted["weights"] == measured.weights
    assert predicted["optimizer"] == pytest.approx(measured.optimizer, rel=0.001)
    assert measured.peak == max(measured.timeline) and measured.gradients == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("name", "rows"), [("GPT-2, a large vocabulary", 32), ("GPT-2", 100), ("modern", 64)])
def test_the_memory_of_a_head_that_has_some_rows_of_logits_is_predicted(name, rows, dtype):
    config, (B, T) = CONFIGS[name], (6, 60)
    model, optimizers, step = a_step(config, B, T, dtype, "adamw", False)
    plain = gpu.estimate_memory(config, B, T, dtype, device="cpu")
    speed_up(model, attention=False, multiple=1, rows=rows)
    step()
    measured = gpu.measure_memory(step, model, optimizers).peak
    predicted = gpu.estimate_memory(config, B, T, dtype, device="cpu", rows=rows)
    assert predicted.total == pytest.approx(measured, rel=0.1)
    assert predicted.total < plain.total


def test_what_the_account_of_the_modern_parts_missed_on_a_gpu_was_a_float32_copy_for_a_square():
    """CUDA's autocast computes a power in float32: each block kept its MLP's activations a second time, twice as wide.

    The records of a GPU were made then. With that copy the account is right; without it no operation makes one.
    """
    config = GPTConfig.modern(50257, 1024, n_layer=12, n_head=12, n_embd=768)
    (card,) = [found for found in runs.recorded() if found.what == "bench gpu"]
    (table,) = [rows for name, rows in card.tables.items() if name.startswith("memory")]
    for row in (row for row in table if row[""].startswith("modern")):
        optimizer = "muon" if "Muon" in row[""] else "adamw"
        now = gpu.estimate_memory(config, row["B"], 1024, torch.bfloat16, optimizer).total
        copy = config.n_layer * row["B"] * 1024 * 4 * (4 * config.n_embd)
        assert now / 2**20 / row["measured MiB"] < 0.91
        assert (now + copy) / 2**20 == pytest.approx(row["measured MiB"], rel=0.002)


class Named(TorchDispatchMode):
    """The names of the operations that torch was asked for."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


@NAMES
def test_no_part_uses_a_power_which_cudas_autocast_would_make_in_float32(name):
    model, ids = GPT(CONFIGS[name]), torch.randint(60, (2, 9))
    for block in model.blocks:
        with Named() as seen, torch.no_grad():
            block.mlp(model.embedding(ids))
        assert not seen.names & {"pow", "square", "exp", "log"}


@NAMES
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_what_the_way_forward_keeps_is_predicted(name, dtype):
    config, B, T = CONFIGS[name], 3, 44
    model, ids = GPT(config), torch.randint(config.vocab_size, (B, T))

    def forward():
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            return model(ids, ids)[1]

    now = gpu.estimate_memory(config, B, T, dtype, device="cpu").moments["loss computed"]
    predicted = now["activations"] + now["16-bit copies"] + 4 * B * T * config.vocab_size  # the loss keeps them once
    assert predicted == pytest.approx(gpu.activation_bytes(forward, model), rel=0.05)


def test_dropout_keeps_its_masks_and_attention_written_out_its_weights():
    config = dataclasses.replace(CONFIGS["GPT-2"], dropout=0.1)  # with dropout the CPU has no flash attention
    model, optimizers, step = a_step(config, 4, 128, torch.float32, "adamw", False)
    step()
    measured = gpu.measure_memory(step, model, optimizers).peak
    assert gpu.estimate_memory(config, 4, 128, flash=False, device="cpu").total == pytest.approx(measured, rel=0.15)


def test_torchs_own_profiler_sees_the_same_peak():
    model, optimizers, step = a_step(CONFIGS["modern"], 4, 100, torch.float32, "adamw", False)
    step()
    measured = gpu.measure_memory(step, model, optimizers)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = measured.weights + measured.optimizer
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    assert measured.peak == pytest.approx(peak, rel=0.03)


def test_checkpointing_changes_the_memory_and_not_the_gradients():
    config = dataclasses.replace(CONFIGS["modern, deep"], init="gpt2")
    gradients, kept = [], []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model, _, _ = a_step(config, 8, 50, torch.float32, "adamw", checkpointing)
        ids = torch.randint(config.vocab_size, (8, 50), generator=torch.Generator().manual_seed(1))
        kept.append(gpu.measure_memory(lambda model=model, ids=ids: model(ids, ids)[1].backward(), model).peak)
        gradients.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert kept[1] < 0.5 * kept[0]


@given(B=st.integers(1, 9), T=st.integers(2, 60))
def test_activations_and_logits_grow_with_the_tokens_and_nothing_else_does(B, T):
    config = CONFIGS["Llama"]
    one, two = (gpu.estimate_memory(config, b, T) for b in (B, 2 * B))
    for line in ("activations", "logits"):
        assert two[line] == 2 * one[line]
    for line in ("weights", "gradients", "optimizer"):
        assert two[line] == one[line]
    assert one["weights"] - 4 * gpu.count_parameters(config) == 4 * 2 * 24 * 128  # sines and cosines of 128 positions
    assert one["gradients"] == 4 * gpu.count_parameters(config)


def test_each_remedy_lowers_its_line():
    config = GPTConfig.gpt2("124M")
    plain = gpu.estimate_memory(config, 12, 1024, flash=False)
    assert gpu.estimate_memory(config, 12, 1024)["activations"] < 0.6 * plain["activations"]
    assert gpu.estimate_memory(config, 12, 1024, torch.bfloat16, flash=False).total < plain.total
    assert (
        gpu.estimate_memory(config, 12, 1024, gradient_checkpointing=True)["activations"] < 0.2 * plain["activations"]
    )
    assert gpu.estimate_memory(config, 12, 1024, optimizer="muon")["optimizer"] < plain["optimizer"]
    assert gpu.estimate_memory(config, 12, 1024, optimizer="sgd")["optimizer"] == 0
    assert gpu.estimate_memory(config, 12, 1024, accumulation=4).total > gpu.estimate_memory(config, 12, 1024).total


def test_the_account_is_a_table_whose_worst_moment_counts():
    memory = gpu.estimate_memory(CONFIGS["GPT-2"], 4, 128)
    assert memory.total == max(memory.at(name) for name in memory.moments) == memory.at(memory.worst)
    rows = repr(memory).splitlines()
    assert rows[0].split()[0] == "MB" and rows[-1].startswith("together")
    assert [row.split("  ")[0].strip() for row in rows[1:-1]] == list(memory.lines)
    assert f"{memory.total / 1e6:,.1f}" in rows[-1]


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(
        ValueError, match=r"no account for the optimizer 'adam': choose one of \['adamw', 'muon', 'sgd'\]"
    ):
        gpu.estimate_memory(CONFIGS["GPT-2"], 4, 128, optimizer="adam")
