"""Steps that are queued on the device: the same run, nobody waits, and what goes wrong late does no harm."""

import math
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from gptlab import checkpoints, checks
from gptlab.batches import Batch, Batches, StoryBatches
from gptlab.model import GPT, GPTConfig
from gptlab.queued_steps import StepQueue, can_queue
from gptlab.ranks import SingleProcess
from gptlab.schedule import TrainConfig
from gptlab.train_step import TrainStep
from gptlab.training import NonFiniteLoss, run, train

IDS = torch.randint(0, 30, (400,), generator=torch.Generator().manual_seed(0)).tolist()
BATCHES = Batches(IDS, B=3, T=16, seed=4)


def small_model(**changes) -> GPT:
    torch.manual_seed(1)
    return GPT(GPTConfig.modern(30, 16, n_layer=2, n_head=2, n_embd=12, **changes))


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def queue_for(model: GPT, record=None, **how) -> StepQueue:
    plan = TrainConfig(warmup=0, **how)
    return StepQueue(TrainStep(model, plan, torch.float32, SingleProcess()), record)


class Explosive(nn.Module):
    """A model whose loss is infinite or not a number in one of its steps."""

    def __init__(self, at: int, factor: float):
        super().__init__()
        self.inner, self.at, self.factor, self.calls = small_model(), at, factor, 0
        self.blocks, self.config = self.inner.blocks, self.inner.config

    def forward(self, ids, targets=None):
        logits, loss = self.inner(ids, targets)
        self.calls += self.training
        return logits, loss * (self.factor if self.calls == self.at + 1 and self.training else 1.0)


@pytest.mark.parametrize("how", [{"optimizer": "adamw"}, {"optimizer": "muon", "weight_decay": 0.1},
                                 {"optimizer": "muon", "gradient_accumulation": 2}])  # fmt: skip
def test_a_run_that_reads_its_losses_late_is_the_same_run_bit_for_bit(how):
    plan, runs = TrainConfig(steps=13, warmup=2, evaluate_every=5, **how), []
    for every in (1, 4, 100):
        model = small_model(dropout=0.2)
        torch.manual_seed(7)
        history = train(
            model, BATCHES, plan, evaluate=lambda m: {"x": float(weights(m).sum())}, sync_every=every, progress=False
        )
        times = [entry.pop("seconds") for entry in history.evaluations]
        assert times == sorted(times)
        runs.append((history.losses, history.rates, history.gradient_norms, history.tokens, history.evaluations))
        runs.append(weights(model).tolist())
    assert runs[0] == runs[2] == runs[4] and runs[1] == runs[3] == runs[5]


def test_the_losses_come_in_batches_and_when_something_is_due(tmp_path):
    plan = TrainConfig(steps=14, warmup=1, evaluate_every=6, save_every=9)
    seen = [
        (h.steps, len(h.evaluations))
        for h in run(small_model(), BATCHES, plan, evaluate=lambda m: {"x": 1.0}, folder=tmp_path, sync_every=4)
    ]
    assert seen == [(4, 0), (6, 1), (9, 1), (12, 2), (14, 3)]
    assert checkpoints.latest(tmp_path).name == "step-00000014"


def test_a_run_that_is_asked_to_stop_reads_at_once_and_goes_on_bit_for_bit(tmp_path):
    plan = TrainConfig(steps=12, warmup=2, optimizer="muon")
    expected = train(whole := small_model(), BATCHES, plan, progress=False)
    asked = iter([False] * 5 + [True])
    stopped = train(
        small_model(), BATCHES, plan, folder=tmp_path, stop=lambda: next(asked), sync_every=10, progress=False
    )
    assert stopped.steps == 6 and checkpoints.latest(tmp_path).name == "step-00000006"
    resumed = train(again := small_model(), BATCHES, plan, folder=tmp_path, resume=True, sync_every=3, progress=False)
    assert resumed.losses == expected.losses and torch.equal(weights(again), weights(whole))


@pytest.mark.parametrize("factor", [math.nan, math.inf])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_weights_and_history_end_before_a_loss_that_is_noticed_late(optimizer, factor):
    plan, good = TrainConfig(steps=20, warmup=0, optimizer=optimizer), Explosive(99, 1.0)
    for history in run(good, BATCHES, plan):
        if history.steps == 5:
            break
    bad, seen = Explosive(5, factor), []
    with pytest.raises(NonFiniteLoss, match=r"is (nan|inf) at step 5 \(learning rate .*float32\)"):
        for history in run(bad, BATCHES, plan, sync_every=10):
            seen.append(history)
    assert torch.equal(weights(bad), weights(good)) and bad.calls == 10  # five steps ran on, and changed nothing


def test_no_spoilt_checkpoint_is_written(tmp_path):
    plan = TrainConfig(steps=30, warmup=0, save_every=4, optimizer="muon")
    with pytest.raises(NonFiniteLoss, match="at step 9"):
        train(Explosive(9, math.nan), BATCHES, plan, folder=tmp_path, sync_every=100, progress=False)
    assert checkpoints.latest(tmp_path).name == "step-00000008"
    saved = load_file(tmp_path / "step-00000008" / "model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in saved.values())


def test_a_queued_step_reads_nothing_back(monkeypatch):
    """In fake tensors there are shapes and no values, so whatever asks for a value fails."""
    monkeypatch.setattr(checks, "_outside", lambda *args, **options: None)  # it looks at ids on a CPU only
    with FakeTensorMode():
        queue = queue_for(small_model(), optimizer="muon", weight_decay=0.1)
        ids = torch.zeros(3, 16, dtype=torch.int64)
        for step in range(3):
            queue.step.set_rates(step)
            queue._work([Batch(ids, ids)], [1.0])
        with pytest.raises(DataDependentOutputException):
            float(queue.outcome[0])


def test_a_recorded_step_sees_each_batch_and_each_learning_rate():
    plan, made = TrainConfig(steps=9, warmup=4, optimizer="muon", weight_decay=0.1), []

    def record(work):
        made.append(work)
        return work

    train(plain := small_model(), BATCHES, plan, progress=False)
    history = train(repeated := small_model(), BATCHES, plan, record=record, sync_every=3, progress=False)
    assert len(made) == 1 and history.steps == 9
    assert (weights(plain) - weights(repeated)).abs().max() < 1e-6


def test_a_batch_of_another_shape_is_not_repeated():
    documents = [list(range(1, 2 + n % 9)) for n in range(40)]
    batches, plan = StoryBatches(documents, B=6, start=29, shuffle=False), TrainConfig(steps=7, warmup=1)
    calls = []

    def record(work):
        return lambda: (calls.append(1), work())

    train(plain := small_model(), batches, plan, progress=False)
    train(repeated := small_model(), batches, plan, record=record, progress=False)
    same = [batches.batch(step).ids.shape == batches.batch(0).ids.shape for step in range(7)]
    assert len(calls) == sum(same) < 7
    assert (weights(plain) - weights(repeated)).abs().max() < 1e-6


def test_the_optimizers_are_as_they_were_after_a_queued_step():
    queue = queue_for(small_model(), record=lambda work: work, optimizer="muon")
    queue.add(BATCHES.batch(0), 0)
    for optimizer in queue.step.optimizers:
        assert "found_inf" not in vars(optimizer)
        assert all(isinstance(group["lr"], float) for group in optimizer.param_groups)


def test_float16_several_processes_and_unknown_optimizers_are_not_queued():
    class Two(SingleProcess):
        world_size = 2

    plan, model = TrainConfig(), small_model()
    assert can_queue(TrainStep(model, plan, torch.float32, SingleProcess()))
    assert not can_queue(TrainStep(model, plan, torch.float16, SingleProcess()))
    assert not can_queue(TrainStep(model, plan, torch.float32, Two()))
    other = TrainStep(model, plan, torch.float32, SingleProcess())
    other.optimizers = [torch.optim.SGD(model.parameters())]
    assert not can_queue(other)


# ── How many operations a step is ────────────────────────────────────────────────────────────────────────────────────

# In a process of its own, because the compiler can't see through the type checks of these tests.
COUNT = """
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from gptlab import gpu, optimizers
from gptlab.batches import Batch
from gptlab.model import GPT, GPTConfig
from gptlab.queued_steps import StepQueue
from gptlab.ranks import SingleProcess
from gptlab.runs.compiling import compile_update
from gptlab.schedule import TrainConfig
from gptlab.train_step import TrainStep

torch.manual_seed(0)
model = GPT(GPTConfig.modern(30, 16, n_layer=6, n_head=2, n_embd=12))
step = TrainStep(model, TrainConfig(optimizer="muon", weight_decay=0.1, warmup=0), torch.float32, SingleProcess())
matrices = step.optimizers[1].param_groups[0]["params"]
ids = torch.randint(30, (3, 16))

def one_by_one():
    \"\"\"What Muon asked of torch before: one matrix after the other, but for the products.\"\"\"
    stacks = {}
    for p in matrices:
        average = state[p].lerp_(p.grad, 0.05)
        update = p.grad.lerp(average, 0.95)
        update = update if p.shape[0] <= p.shape[1] else update.mT
        stacks.setdefault(tuple(update.shape), []).append((p, update))
    for pairs in stacks.values():
        stacked = optimizers.orthogonalize(torch.stack([update for _, update in pairs]))
        for (p, _), update in zip(pairs, stacked):
            update = update if p.shape[0] <= p.shape[1] else update.mT
            p.mul_(1 - 0.02 * 0.1).add_(update, alpha=-0.02 * max(1, p.shape[0] / p.shape[1]) ** 0.5)

backend = CompileCounterWithBackend("aot_eager")
compile_update(step, backend=backend)
step.fill_gradients([Batch(ids, ids)], [1.0])
state = {p: torch.zeros_like(p) for p in matrices}
before = [p.detach().clone() for p in matrices]
step.set_rates(0)
with torch.no_grad():
    muon = step.optimizers[1]
    muon.step()
    ours = [p.detach().clone() for p in matrices]
    for p, old in zip(matrices, before):
        p.copy_(old)
    slow = gpu.count_operations(one_by_one)
assert all((a - b).abs().max() < 1e-6 for a, b in zip(ours, matrices))
fast = gpu.count_operations(muon.step)
print("Muon:", slow, "operations one by one,", fast, "together;", backend.frame_count, "graphs")
assert backend.frame_count == 2  # one for each of the two shapes that lying matrices have here
assert 5 * fast <= slow, (fast, slow)

# The whole step, from the batch to the updated weights. A compiled function counts once: on a GPU it is a graph, or can
# be recorded as one with the rest.
for optimizer in ("adamw", "muon"):
    torch._dynamo.reset()
    model = GPT(GPTConfig(30, context=16, n_layer=4, n_head=2, n_embd=12))
    step = TrainStep(model, TrainConfig(optimizer=optimizer, warmup=0), torch.float32, SingleProcess())
    queue, counted = StepQueue(step), []
    for compiled in (False, True):
        if compiled:
            backend = CompileCounterWithBackend("aot_eager")
            model.compile(backend=backend)
            compile_update(step, backend="aot_eager")
        for number in range(3):
            queue.add(Batch(ids, ids), number)
        counted.append(gpu.count_operations(lambda: queue.add(Batch(ids, ids), 3)))
    print(optimizer, *counted, backend.frame_count)
    assert 5 * counted[1] <= counted[0] and backend.frame_count == 1, counted
"""


def test_a_compiled_step_and_its_update_are_a_fifth_of_the_operations_that_they_were():
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("Muon:") and len(done.stdout.splitlines()) == 3
