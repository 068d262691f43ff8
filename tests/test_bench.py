"""The benchmarks run, at a size of toys, and compare like with like. What they measure is read, never asserted."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gptlab import gpu

pytest.importorskip("transformers", reason="the peer of these benchmarks")


@pytest.fixture
def small_peer(monkeypatch):
    """GPT-2 as small as it gets, in the place of the one with 124M parameters."""
    from gptlab.commands.bench import generate, step

    toy = dict(vocab_size=97, n_positions=64, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    for bench in (generate, step):
        monkeypatch.setattr(bench, "MODEL", toy)


@pytest.fixture(autouse=True)
def known_choices(monkeypatch):
    monkeypatch.setattr(gpu, "pick_weights", lambda device="cpu": "int8")
    monkeypatch.setattr(gpu, "pick_matrix_dtype", lambda device="cpu": torch.bfloat16)
    monkeypatch.setattr(gpu, "matmul_flops", lambda device, dtype: 1e12)
    monkeypatch.setattr(gpu, "bandwidth", lambda device: 2e10)
    monkeypatch.setattr(gpu, "pick_device", lambda: torch.device("cpu"))


def ratios(printed, *names):
    """The number in the column `ratio` for each line that begins with one of the names."""
    lines = [line for line in printed.splitlines() if line.startswith(names)]
    return [
        float(word) for line in lines for word in line.replace("   ", "  ").split("  ") if word.strip()[:4] == "1.00"
    ]


def assert_faster_is_more(printed):
    """The ratios of a table are its speeds over that of the first line."""
    found = re.findall(r"^(?:transformers|gptlab), .*? {2,}([\d.]+) +([\d.]+)\b", printed, re.MULTILINE)
    (first, _), *_ = rows = [(float(speed), float(ratio)) for speed, ratio in found]
    assert len(rows) >= 3
    for speed, ratio in rows:
        assert ratio == pytest.approx(speed / first, rel=0.05, abs=0.02)


def test_generating_is_compared_on_the_same_weights_and_text(small_peer, monkeypatch, capsys):
    from gptlab.commands.bench import generate

    monkeypatch.setattr(generate, "NEW", 8)
    monkeypatch.setattr(generate, "LONG", 32)
    generate.bench_generate(rounds=1)
    printed = capsys.readouterr().out
    assert "8 of 8 with float32" in printed
    assert_faster_is_more(printed)
    assert ratios(printed, "transformers, cache, float32") == [1.0]
    assert "int8 weights (picked here)" in printed and "without: " in printed


def test_steps_are_compared_from_the_same_beginning(small_peer, monkeypatch, capsys):
    """The first losses of all contestants in float32 are the same number: same weights, same batch."""
    from gptlab.commands.bench import step

    monkeypatch.setattr(step, "T", 12)
    monkeypatch.setattr(step, "V", 97)
    step.bench_step(rounds=1)
    printed = capsys.readouterr().out
    losses = [line.split()[-1] for line in printed.splitlines() if "float32" in line]
    assert len(losses) == 3 and len(set(losses)) == 1
    assert_faster_is_more(printed)
    assert "gptlab, bfloat16 (picked here)" in printed


TOY = dict(vocab_size=97, n_positions=64, n_embd=16, n_layer=2, n_head=2)


@pytest.fixture
def toy(monkeypatch):
    """`bench gpu` with a model that takes no time, and with plenty of it."""
    from gptlab.commands.bench import gpu as bench

    size = bench.Size(model=TOY, T=12, batches=(3, 2), new=8, compile=False)
    monkeypatch.setitem(bench.SIZES, "cpu", size)
    return bench


def test_what_was_measured_is_kept_with_its_machine_and_a_machine_without_a_gpu_says_so(tmp_path, toy, capsys):
    from gptlab.commands.bench import bench
    from gptlab.runs import records

    bench("gpu", record=tmp_path / "here.json", seconds=1000)
    printed = capsys.readouterr().out
    assert "No GPU here" in printed and "compiled: no" in printed and "time is up" not in printed
    assert len(ratios(printed, "transformers")) == 3  # training at two batch sizes, and generating
    assert printed.count("the same") == 3  # the texts of all three
    (record,) = records.read(tmp_path / "here.json")
    assert record.what == "bench gpu" and record.kind == "cpu" and record.device == gpu.device_name()
    assert record.numbers["matmul rate in float32 (TFLOP/s)"] == 1 and record.numbers["memory bandwidth (GB/s)"] == 20
    training, small, generating, memory, others = record.tables.values()
    assert len(memory) == 7 and all(0.85 < row["ratio"] < 1.15 for row in memory)
    assert [row[""].strip() for row in training] == [
        "transformers", "gptlab, as train has it", "nanoGPT's step", "gptlab, the lesson's model",
        "with one product for q, k, v", "with a padded head", "with the loss in parts", "with all of these, queued",
    ]  # fmt: skip
    assert {row["B"] for row in training} == {3} and [row["B"] for row in others] == [2, 2]
    assert [row[""] for row in small] == ["read after each step", "queued, read after 4"]
    assert small[0]["first loss"] == small[1]["first loss"]
    assert [row[""] for row in generating] == ["transformers", "gptlab", "gptlab, graph"]


def test_what_did_fit_is_kept_where_the_memory_is_full(tmp_path, toy, monkeypatch, capsys):
    from gptlab.commands.bench import contestants
    from gptlab.runs import records

    def full(setting):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(contestants, "nanogpt", full)
    toy.bench_gpu(rounds=1, record=tmp_path / "here.json", seconds=1000)
    assert "after 2 rows the memory of this device is full" in capsys.readouterr().out
    tables = list(records.read(tmp_path / "here.json")[0].tables.values())
    assert [len(rows) for rows in tables] == [2, 2, 3, 7, 2]


def test_a_time_limit_leaves_out_the_last_and_each_row_is_kept_at_once(tmp_path, toy, monkeypatch, capsys):
    from gptlab.runs import records

    clocks = []

    class Slow(toy.Clock):  # each row takes ten seconds of its time
        def __init__(self, seconds):
            self.passed = 0.0
            super().__init__(seconds, now=lambda: self.passed)
            clocks.append(self)

    kept = []

    def spent(record, path):
        clocks[0].passed += 10.0
        kept.append(sum(map(len, record.tables.values())))

    monkeypatch.setattr(toy, "Clock", Slow)
    monkeypatch.setattr(records, "add", spent)
    toy.bench_gpu(rounds=1, record=tmp_path / "here.json", quick=True)
    printed = capsys.readouterr().out
    assert clocks[0].seconds == 60 and 60 <= clocks[0].passed <= 70
    assert kept == list(range(1, len(kept) + 1))  # row by row
    assert "the rest of this table is left out" in printed
    (line,) = [line for line in printed.splitlines() if "; left out: " in line]
    assert "training at other batch sizes" in line and printed.count("training at other batch sizes") == 1
    assert printed.index("transformers") < printed.index("gptlab, as train has it")


def test_the_limits_of_other_benchmarks_are_refused():
    from gptlab.commands.bench import bench

    with pytest.raises(ValueError, match=r"bench step has no --quick: leave it out, or choose `bench gpu`"):
        bench("step", quick=True)


def test_everything_that_waits_for_a_gpu_is_done_in_order_within_the_time(tmp_path, capsys):
    from gptlab.commands.bench import everything
    from gptlab.runs.recipes import RECIPES

    started = []

    def run(command, timeout, check):
        started.append((command[2:4], timeout))
        if "nanogpt-gpu" in command:
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, 1 if "pytest" in command else 0)

    ended = everything.bench_everything(tmp_path / "card.json", tmp_path / "runs", run=run)
    assert [how.rpartition(": ")[2].rpartition(" after")[0] for how in ended] == [
        "done", "done", "ended by its time limit", "ended with code 1", "done", "done",
    ]  # fmt: skip
    planned = everything.orders(tmp_path / "card.json", tmp_path)
    assert sum(order.seconds for order in planned) <= 1000
    recipes = [order.arguments[2] for order in planned if order.arguments[1] == "train"]
    assert set(recipes) <= set(RECIPES)
    assert all(Path(name).is_file() for order in planned for name in order.arguments if name.startswith("tests/"))
    started.clear()
    ended = everything.bench_everything(tmp_path / "card.json", tmp_path / "runs", seconds=1, run=run)
    assert started == [] and all("not begun: the time is up" in how for how in ended)


LOOKING = """
import torch
from gptlab.commands.bench import contestants
from gptlab.commands.bench.contestants import Setting, Size

graphs = []

def look(graph, inputs):
    graphs.append((graph.print_readable(print_output=False), [i for i in inputs if not isinstance(i, torch.Tensor)]))
    return graph.forward

compiled = torch.compile
torch.compile = lambda f, dynamic: compiled(f, dynamic=dynamic, backend=look)
model = dict(vocab_size=97, n_positions=64, n_embd=16, n_layer=1, n_head=2)
for B in (2, 3):
    setting = Setting(torch.device("cpu"), torch.float32, Size(model, T=12, batches=(2, 3), new=4, compile=True), B)
    losses = [make(setting).step() for make in (contestants.transformers, contestants.plain, contestants.nanogpt)]
    assert abs(losses[0] - losses[1]) < 1e-4
assert len(graphs) == 6, f"{len(graphs)} graphs: one for each model and batch size was meant"
for text, sizes in graphs:
    assert not sizes, f"sizes are left open: {sizes}"
    assert "cross_entropy" in text and "scaled_dot_product_attention" in text
    assert "attn_mask = None" in text and "is_causal = True" in text, text
"""


def test_the_compiled_comparison_is_of_like_with_like():
    """Each contestant is one graph, with its loss and no mask, for one batch size (in a process without type checks,
    which the compiler cannot see through)."""
    done = subprocess.run([sys.executable, "-c", LOOKING], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_unlike_losses_are_not_compared(toy, monkeypatch):
    from gptlab.commands.bench import contestants

    models = contestants.models

    def other(size, device):
        theirs, ours = models(size, device)
        torch.nn.init.normal_(ours.embedding.token.weight, std=3.0)
        return theirs, ours

    monkeypatch.setattr(contestants, "models", other)
    with pytest.raises(ArithmeticError, match="this compares unlike things"):
        toy.bench_gpu(rounds=1, seconds=1000)


def test_what_a_bench_cannot_do_is_refused_with_the_bench_that_can():
    from gptlab.commands.bench import bench

    with pytest.raises(ValueError, match=r"bench step makes no record: leave out --record"):
        bench("step", record=Path("x.json"))
    with pytest.raises(ValueError, match=r"bench step has no seeds: leave out --part"):
        bench("step", part="LoRA")
    with pytest.raises(ValueError, match=r"unknown part 'dpo' of bench reinforcement: .*DPO"):
        bench("reinforcement", part="dpo")
    with pytest.raises(ValueError, match=r"unknown part 'lora' of bench finetuning: choose full or LoRA"):
        bench("finetuning", part="lora")


def test_fine_tuning_is_measured_way_by_way_and_recorded_seed_by_seed(monkeypatch, capsys, tmp_path):
    from gptlab.commands.bench import finetuning
    from gptlab.runs import records

    monkeypatch.setattr(finetuning.fables, "tell", lambda n, seed, tell=finetuning.fables.tell: tell(min(n, 12), seed))
    path = tmp_path / "made.json"
    finetuning.bench_finetuning(seeds=1, seed=3, part="LoRA", record=path, asked=2, steps=1)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("seed 3  LoRA")]
    trained = float(re.search(r"([\d.]+)% of the parameters  1 steps", line)[1]) / 100
    (made,) = records.read(path)
    (row,) = made.tables["LoRA"]
    assert row["seed"] == 3 and 0 <= row["granted, all"] <= 1 and row["trained"] == pytest.approx(trained, abs=1e-3)


def test_what_rewards_change_is_printed_and_recorded_for_each_part_and_seed(monkeypatch, capsys, tmp_path):
    import dataclasses

    from gptlab import runs
    from gptlab.commands.bench import reinforcement
    from gptlab.runs import records

    recipe = runs.RECIPES["reinforce"]
    few = dataclasses.replace(recipe.training, steps=1)
    monkeypatch.setitem(runs.RECIPES, "reinforce", dataclasses.replace(recipe, batch_size=16, training=few))
    monkeypatch.setattr(reinforcement, "JUDGED", 8)
    path = tmp_path / "made.json"
    reinforcement.bench_reinforcement(seeds=1, seed=3, part="preference", record=path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("seed 3  preference happy")
    assert lines[2] == "bars that are not kept: happy ends 90 %"  # after one step
    (row,) = records.read(path)[0].tables["preference"]
    assert row["seed"] == 3 and {"happy, before", "happy, after", "coherent, after"} < row.keys()
