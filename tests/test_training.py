"""Training: schedule, optimizers, the loop, exact resume, and the distance to the floor."""

import contextlib
import itertools
import json
import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader

from gptlab import checkpoints
from gptlab.batches import IGNORE, Batch, Batches, StoryBatches
from gptlab.corpora import fables
from gptlab.embedding import BigramLanguageModel
from gptlab.evaluation import StoryEvaluation, mean_loss
from gptlab.model import GPT, GPTConfig
from gptlab.ranks import SingleProcess
from gptlab.schedule import OLD_NAMES, lr_multiplier
from gptlab.tokens import CharTokenizer
from gptlab.train_step import activation_checkpoints, add_gradients, count_targets, micro_batches
from gptlab.training import (
    History,
    NonFiniteLoss,
    TrainConfig,
    run,
    train,
)

IDS = torch.randint(0, 30, (400,), generator=torch.Generator().manual_seed(0)).tolist()


def small_model(**changes) -> GPT:
    torch.manual_seed(1)
    return GPT(GPTConfig.modern(30, 16, n_layer=2, n_head=2, n_embd=12, **changes))


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_rate_rises_in_the_warmup_stays_and_falls_to_the_end():
    config = TrainConfig(steps=200, warmup=20, decay_fraction=0.5)
    factors = [lr_multiplier(step, config) for step in range(200)]
    assert factors[0] == pytest.approx(1 / 20) and max(factors) == 1.0
    assert all(a <= b for a, b in itertools.pairwise(factors[:21]))
    assert factors[20:100] == [1.0] * 80
    assert all(a > b for a, b in itertools.pairwise(factors[100:]))
    assert factors[-1] == pytest.approx(0.01)


def test_the_cosine_ends_at_the_final_part_of_the_rate():
    config = TrainConfig(steps=1000, warmup=0, decay_fraction=1.0, schedule="cosine", min_lr_ratio=0.1)
    assert lr_multiplier(500, config) == pytest.approx(0.55, abs=0.01)
    assert lr_multiplier(999, config) == pytest.approx(0.1, abs=0.001)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_model_learns_a_text_that_repeats(optimizer):
    model = small_model()
    batches = Batches([1, 2, 3, 4, 5] * 60, B=8, T=16)
    history = train(
        model, batches, TrainConfig(steps=80, optimizer=optimizer, learning_rate=0.02, warmup=5), progress=False
    )
    assert history.losses[0] == pytest.approx(math.log(30), abs=0.3)
    assert history.losses[-1] < 0.1


def test_the_first_loss_is_that_of_a_model_that_knows_nothing():
    assert mean_loss(small_model(), Batches(IDS, B=4, T=16, order="ordered")) == pytest.approx(math.log(30), abs=0.1)


def test_mean_loss_counts_each_pair_once_whatever_the_batch_size():
    model = small_model()
    losses = [mean_loss(model, Batches(IDS, B=B, T=7, order="ordered")) for B in (1, 3, 10)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5) == pytest.approx(losses[2], abs=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tmp_path, optimizer):
    config = TrainConfig(steps=12, optimizer=optimizer, warmup=2, save_every=5)
    batches = Batches(IDS, B=3, T=16, seed=4)
    whole = small_model(dropout=0.2)
    torch.manual_seed(7)
    expected = train(whole, batches, config, progress=False)
    stopped = small_model(dropout=0.2)
    torch.manual_seed(7)
    for history in run(stopped, batches, config, folder=tmp_path):
        if history.steps == 7:
            break  # killed between two checkpoints: the one after step 5 is the newest
    torch.manual_seed(99)
    fresh = small_model(dropout=0.2)
    resumed = train(fresh, batches, config, folder=tmp_path, resume=True, progress=False)
    assert resumed.losses == expected.losses
    assert torch.equal(weights(fresh), weights(whole))


def test_resuming_where_nothing_was_saved_starts_from_the_beginning(tmp_path):
    history = train(small_model(), Batches(IDS, B=2, T=8), TrainConfig(steps=3), folder=tmp_path / "new", resume=True)
    assert history.steps == 3


def test_a_loss_that_is_not_a_number_stops_the_run_with_its_circumstances():
    model = small_model()
    with torch.no_grad():
        model.blocks[0].mlp.up.weight[0, 0] = math.nan
    before = weights(model)
    with pytest.raises(NonFiniteLoss, match=r"nan at step 0 \(learning rate .*, gradient norm .*float32\).*smaller"):
        train(model, Batches(IDS, B=2, T=8), TrainConfig(steps=3), progress=False)
    assert torch.equal(weights(model).nan_to_num(), before.nan_to_num())
    with torch.no_grad():
        model.blocks[0].mlp.up.weight[0, 0] = 0.0
    assert train(model, Batches(IDS, B=2, T=8), TrainConfig(steps=1), progress=False).losses[0] < 4  # as if it were new


def test_long_gradients_are_cut_and_their_length_is_written_down():
    model = small_model()
    history = train(
        model, Batches(IDS, B=2, T=8), TrainConfig(steps=2, max_grad_norm=1e-6, optimizer="adamw"), progress=False
    )
    assert all(norm > 1e-3 for norm in history.gradient_norms)


def test_an_infinite_clip_cuts_nothing():
    batches, ends = Batches(IDS, B=2, T=8), []
    for clip in (math.inf, 1e9, 1e-3):
        train(model := small_model(), batches, TrainConfig(steps=2, max_grad_norm=clip, warmup=0), progress=False)
        ends.append(weights(model))
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])


def test_where_no_bar_can_be_drawn_a_few_lines_tell_how_it_goes(capsys):
    batches = Batches(IDS, B=2, T=8)
    plan = TrainConfig(steps=16, evaluate_every=4)
    train(small_model(), batches, plan, evaluate=lambda model: {"excess": 1.25})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8 and lines[0].startswith("step     2  loss 3.")
    assert lines[1].endswith("nats per token  excess 1.250")
    train(small_model(), batches, plan, progress=False)
    assert capsys.readouterr().out == ""


def test_a_history_survives_json():
    history = train(small_model(), Batches(IDS, B=2, T=8), TrainConfig(steps=3), evaluate=lambda m: {"x": 1.5})
    again = History.from_json(history.to_json())
    assert again == history and again.curve("x") == ([3], [1.5])


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd"},
        {"schedule": "square"},
        {"steps": 0},
        {"decay_fraction": 2.0},
        {"gradient_accumulation": 0},
        {"save_total_limit": 0},
        {"max_grad_norm": 0.0},
        {"max_grad_norm": math.nan},
    ],
)
def test_an_impossible_configuration_is_refused_by_name(changes):
    config = TrainConfig()
    for name, value in changes.items():  # past the type checks of these tests
        object.__setattr__(config, name, value)
    with pytest.raises(ValueError, match=next(iter(changes))):
        config.__post_init__()


# ------------------------------------------------------------------------------------------------ batches in parts


def gradients(model: nn.Module, batch: Batch, parts: int) -> tuple[float, torch.Tensor]:
    """Loss and gradient of a batch that is taken in parts."""
    model.zero_grad()
    split = micro_batches(batch, parts)
    weights = [count_targets(part) / count_targets(batch) for part in split]
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    context = torch.autocast("cpu", enabled=False)
    loss = add_gradients(model, split, weights, scaler, lambda: context, SingleProcess())
    return float(loss), torch.cat([p.grad.flatten() for p in model.parameters()])


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=2, max_size=7), parts=st.integers(2, 9))
def test_micro_batches_equal_one_batch_however_uneven_their_texts(lengths, parts):
    draw = torch.Generator().manual_seed(sum(lengths))
    documents = [torch.randint(0, 29, (length,), generator=draw).tolist() for length in lengths]
    batch = StoryBatches(documents, B=len(lengths), start=29, shuffle=False).batch(0)
    model = small_model()
    whole, in_parts = gradients(model, batch, 1), gradients(model, batch, parts)
    assert in_parts[0] == pytest.approx(whole[0], abs=1e-6)
    assert (in_parts[1] - whole[1]).abs().max() < 1e-6


def test_the_mean_of_the_means_would_be_another_gradient():
    batch = StoryBatches([[1], [2, 3, 4, 5, 6, 7, 8, 9]], B=2, start=29, shuffle=False).batch(0)
    model = small_model()
    loss, gradient = gradients(model, batch, 2)
    halves = [gradients(model, part, 1) for part in micro_batches(batch, 2)]
    assert abs(sum(half[0] for half in halves) / 2 - loss) > 1e-3
    assert (sum(half[1] for half in halves) / 2 - gradient).abs().max() > 1e-3


def test_a_run_in_micro_batches_goes_the_same_way():
    documents = [list(range(1, 2 + n % 9)) for n in range(40)]
    batches = StoryBatches(documents, B=6, start=29)
    histories = []
    for parts in (1, 4):
        plan = TrainConfig(steps=6, gradient_accumulation=parts, warmup=1)
        histories.append(train(small_model(), batches, plan, progress=False))
    assert histories[0].losses == pytest.approx(histories[1].losses, abs=1e-5)
    assert histories[0].tokens == histories[1].tokens


def test_a_part_in_which_nothing_counts_spoils_nothing():
    ids = torch.arange(12).view(3, 4)
    targets = (ids + 1).clone()
    targets[1:] = IGNORE
    model = small_model()
    alone, beside = gradients(model, Batch(ids[:1], targets[:1]), 1), gradients(model, Batch(ids, targets), 3)
    assert beside[0] == pytest.approx(alone[0], abs=1e-6) and (beside[1] - alone[1]).abs().max() < 1e-6


def test_a_batch_in_which_nothing_counts_is_refused():
    class Silent:
        def batch(self, step):
            return Batch(torch.zeros(2, 3, dtype=torch.int64), torch.full((2, 3), IGNORE))

    with pytest.raises(ValueError, match=r"no target of step 0 counts.*IGNORE"):
        train(small_model(), Silent(), TrainConfig(steps=1), progress=False)


# ------------------------------------------------------------------------------------------ what one can train on


def test_a_data_loader_trains_like_the_batches_that_it_gives():
    pairs = [Batches(IDS, B=3, T=8, seed=2).batch(step) for step in range(4)]
    rows = [(ids, targets) for batch in pairs for ids, targets in zip(*batch, strict=True)]
    loader, plan = DataLoader(rows, batch_size=3), TrainConfig(steps=6, warmup=1)

    class Repeated:
        def batch(self, step):
            return pairs[step % 4]

    expected = train(small_model(), Repeated(), plan, progress=False)
    assert train(small_model(), loader, plan, progress=False).losses == expected.losses
    assert train(small_model(), pairs, plan, progress=False).losses == expected.losses


def test_a_run_on_batches_that_can_only_be_iterated_is_not_resumed_wrongly(tmp_path):
    pairs = [Batches(IDS, B=3, T=8, seed=2).batch(step) for step in range(4)]
    train(small_model(), pairs, TrainConfig(steps=2), folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match=r"can't be resumed with a list, which cannot .* of step 2: pass .*Batches"):
        train(small_model(), pairs, TrainConfig(steps=4), folder=tmp_path, resume=True, progress=False)


def test_an_evaluation_that_switches_dropout_off_does_not_do_so_for_the_training():
    batches, losses = Batches(IDS, B=3, T=16), []
    for evaluate in (lambda model: {"x": 0.0}, lambda model: {"x": float(model.eval().training)}):
        model = small_model(dropout=0.3)
        torch.manual_seed(7)
        plan = TrainConfig(steps=4, evaluate_every=1, warmup=1)
        losses.append(train(model, batches, plan, evaluate=evaluate, progress=False).losses)
        assert model.training
    assert losses[0] == losses[1]


# ------------------------------------------------------------------------------------------ precision, and less memory


def kept_bytes(model: nn.Module, batch: Batch, wanted: bool) -> int:
    """Bytes that the forward pass keeps for the way back."""
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with activation_checkpoints(model, wanted), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        model(*batch)
    return sum(kept.values())


def test_activation_checkpoints_change_nothing_but_the_memory():
    batches = Batches(IDS, B=4, T=16)
    runs = []
    for checkpointing in (False, True):
        model = small_model(dropout=0.2)
        torch.manual_seed(3)
        plan = TrainConfig(steps=4, gradient_checkpointing=checkpointing, warmup=1)
        runs.append((train(model, batches, plan, progress=False).losses, weights(model)))
        assert "forward" not in vars(model.blocks[0])
    assert runs[0][0] == runs[1][0] and torch.equal(runs[0][1], runs[1][1])
    model = small_model()
    assert kept_bytes(model, batches.batch(0), True) < 0.6 * kept_bytes(model, batches.batch(0), False)


def test_activation_checkpoints_are_the_same_objects_again_and_follow_a_changed_block():
    model, seen = small_model(), []
    for _ in range(2):
        with activation_checkpoints(model):
            seen.append(model.blocks[0].forward)
    assert seen[0] is seen[1]  # what torch.compile has made for them still fits
    copy = deepcopy(model)
    with activation_checkpoints(copy):
        assert copy.blocks[0].forward.args[0].__self__ is copy.blocks[0]
        assert torch.equal(copy(*Batches(IDS, B=2, T=8).batch(0))[1], model(*Batches(IDS, B=2, T=8).batch(0))[1])


class Loud(nn.Module):
    """A model whose loss is so large that its gradients in float16 overflow until the scale has come down."""

    def __init__(self, factor: float):
        super().__init__()
        self.inner, self.factor = small_model(), factor
        self.blocks, self.config = self.inner.blocks, self.inner.config

    def forward(self, ids, targets=None):
        logits, loss = self.inner(ids, targets)
        return logits, loss * self.factor


def test_float16_skips_steps_that_overflow_lowers_the_scale_and_learns():
    model, batches = Loud(1000.0), Batches([1, 2, 3, 4, 5] * 60, B=8, T=16)
    before = weights(model)
    running = run(model, batches, TrainConfig(steps=40, learning_rate=0.02, warmup=1), dtype=torch.float16)
    history = next(running)
    assert not math.isfinite(history.gradient_norms[0]) and torch.equal(weights(model), before)
    losses = [h.losses[-1] for h in running]
    assert losses[-1] < 0.5 * losses[0] and math.isfinite(history.gradient_norms[-1])


def test_float16_that_overflows_at_every_scale_ends_with_a_reason():
    with pytest.raises(NonFiniteLoss, match=r"gradient norm (inf|nan), torch.float16"):
        train(Loud(1e30), Batches(IDS, B=2, T=8), TrainConfig(steps=80), dtype=torch.float16, progress=False)


def test_a_step_that_overflows_is_skipped_by_all_optimizers(tmp_path):
    model, plan, factors = (
        small_model(),
        TrainConfig(steps=2, optimizer="muon", warmup=0, save_every=1),
        [1.0, math.inf],
    )
    table = model.embedding.token.weight  # AdamW's; the gradients of Muon's matrices are finite in both steps
    table.register_hook(lambda gradient: gradient * factors.pop(0))
    history = train(model, Batches(IDS, B=2, T=8), plan, dtype=torch.float16, folder=tmp_path, progress=False)
    assert [math.isfinite(norm) for norm in history.gradient_norms] == [True, False]
    files = [[tmp_path / f"step-0000000{n}" / name for n in (1, 2)] for name in ("model.safetensors", "state.json")]
    before, after = map(load_file, files[0])
    assert all(torch.equal(before[name], after[name]) for name in before)
    scales = [json.loads(path.read_text())["scaler"]["scale"] for path in files[1]]
    assert scales[1] == scales[0] / 2


def test_a_run_can_go_on_in_another_dtype(tmp_path):
    batches, kinds = Batches(IDS, B=2, T=8), (torch.float32, torch.float16, torch.bfloat16, torch.float16)
    for done, dtype in enumerate(kinds):
        plan = TrainConfig(steps=done + 1)
        history = train(small_model(), batches, plan, dtype=dtype, folder=tmp_path, resume=True, progress=False)
        assert history.steps == done + 1 and math.isfinite(history.losses[-1])


def test_a_resumed_float16_run_has_the_scale_that_it_had(tmp_path):
    batches, plan = Batches(IDS, B=3, T=16), TrainConfig(steps=9, warmup=2, save_every=4, optimizer="muon")
    expected = train(Loud(300.0), batches, plan, dtype=torch.float16, progress=False)
    for history in run(Loud(300.0), batches, plan, folder=tmp_path, dtype=torch.float16):
        if history.steps == 6:
            break
    options = dict(folder=tmp_path, resume=True, dtype=torch.float16, progress=False)
    assert train(Loud(300.0), batches, plan, **options).losses == expected.losses
    assert not all(math.isfinite(norm) for norm in expected.gradient_norms)


# ------------------------------------------------------------------------------------------- ending, and going on


def falling(*values):
    """An evaluation that gives these values, one after the other."""
    rest = iter(values)
    return lambda model: {"validation": next(rest)}


@pytest.mark.parametrize("sync_every", [1, 7])
def test_a_run_ends_where_its_evaluations_stall_and_not_before(tmp_path, sync_every):
    plan = TrainConfig(steps=40, evaluate_every=4, warmup=1, early_stopping=2)
    evaluate = falling(3.0, 2.0, 2.5, 1.9, 1.9, 2.1, 0.0)  # the best again is no better
    history = train(
        small_model(), Batches(IDS, B=2, T=8), plan, evaluate=evaluate, folder=tmp_path, sync_every=sync_every,
        progress=False,
    )  # fmt: skip
    assert history.steps == 24 and [e["validation"] for e in history.evaluations] == [3.0, 2.0, 2.5, 1.9, 1.9, 2.1]
    assert checkpoints.latest(tmp_path).name == "step-00000024"


def test_a_run_that_has_stalled_stays_ended_and_with_more_patience_goes_on_as_if_it_never_had(tmp_path):
    batches, values = Batches(IDS, B=2, T=8), (3.0, 2.0, 2.5, 2.6, 1.0, 1.1)
    plan = TrainConfig(steps=24, evaluate_every=4, warmup=1, early_stopping=2)
    expected = train(whole := small_model(), batches, TrainConfig(steps=24, evaluate_every=4, warmup=1), progress=False)
    options = dict(folder=tmp_path, resume=True, progress=False)
    train(small_model(), batches, plan, evaluate=falling(*values), **options)
    again = train(small_model(), batches, plan, evaluate=falling(), **options)  # nothing is evaluated any more
    assert again.steps == 16
    more = TrainConfig(steps=24, evaluate_every=4, warmup=1, early_stopping=3)
    resumed = train(model := small_model(), batches, more, evaluate=falling(*values[4:]), **options)
    assert resumed.steps == 24 and [e["validation"] for e in resumed.evaluations] == list(values)
    assert resumed.losses == expected.losses and torch.equal(weights(model), weights(whole))


def test_early_stopping_is_off_unless_it_is_asked_for():
    plan = TrainConfig(steps=12, evaluate_every=2, warmup=1)
    assert plan.early_stopping == 0
    history = train(small_model(), Batches(IDS, B=2, T=8), plan, evaluate=falling(*range(1, 7)), progress=False)
    assert history.steps == 12


def test_a_run_that_is_asked_to_stop_keeps_a_checkpoint_and_goes_on_as_if_it_had_not(tmp_path):
    plan = TrainConfig(steps=9, warmup=2, save_every=100, evaluate_every=3)
    batches = Batches(IDS, B=3, T=16)

    def drawn(model):  # an evaluation that draws numbers, too
        return {"x": float(torch.rand(())) + np.random.rand()}

    def begin():
        model = small_model(dropout=0.2)
        torch.manual_seed(7), np.random.seed(7)
        return model

    expected = train(begin(), batches, plan, evaluate=drawn, progress=False)
    asked = iter([False] * 5 + [True])
    stopped = train(begin(), batches, plan, evaluate=drawn, folder=tmp_path, stop=lambda: next(asked), progress=False)
    assert stopped.steps == 6 and checkpoints.latest(tmp_path).name == "step-00000006"
    assert len(stopped.evaluations) == 1  # the one that was due then waits: who asks to stop is in a hurry
    torch.manual_seed(99), np.random.seed(99)
    again = train(small_model(dropout=0.2), batches, plan, evaluate=drawn, folder=tmp_path, resume=True, progress=False)
    assert again.losses == expected.losses
    assert [e["x"] for e in again.evaluations] == [e["x"] for e in expected.evaluations]


def test_who_may_stop_the_run_is_told_while_it_measures_and_saves(tmp_path, monkeypatch):
    class Stop:
        now, seen = False, []

        def __call__(self):
            self.seen.append(("step", self.now))
            return False

        @contextlib.contextmanager
        def busy(self):
            self.now = True
            yield
            self.now = False

    stop, really = Stop(), checkpoints.save
    monkeypatch.setattr(checkpoints, "save", lambda *a, **k: stop.seen.append(("save", stop.now)) or really(*a, **k))
    train(
        small_model(), Batches(IDS, B=2, T=8), TrainConfig(steps=1), folder=tmp_path, stop=stop, progress=False,
        evaluate=lambda model: stop.seen.append(("evaluate", stop.now)) or {"x": 0.0},
    )  # fmt: skip
    assert stop.seen == [("step", False), ("evaluate", True), ("save", True)] and not stop.now


def test_a_new_run_does_not_begin_in_the_folder_of_an_old_one(tmp_path):
    batches = Batches(IDS, B=2, T=8)
    train(small_model(), batches, TrainConfig(steps=2), folder=tmp_path, progress=False)
    with pytest.raises(checkpoints.CheckpointError, match=r"has a run already.*step-00000002.*resume it"):
        train(small_model(), batches, TrainConfig(steps=2), folder=tmp_path, progress=False)


def test_weights_that_are_spoilt_never_become_a_checkpoint(tmp_path):
    model, plan = small_model(), TrainConfig(steps=9, save_every=2)
    running = run(model, Batches(IDS, B=2, T=8), plan, folder=tmp_path)
    for history in running:
        if history.steps == 3:
            with torch.no_grad():  # a weight that this loss does not need: the position after the last
                model.blocks[0].norm1.weight.grad = None
                spoilt = nn.Parameter(torch.tensor([math.inf]))
                model.register_parameter("unused", spoilt)
            break
    with pytest.raises(NonFiniteLoss, match=r"a weight is not finite after step 4.*continue from the one before"):
        next(running)
    assert checkpoints.latest(tmp_path).name == "step-00000002"


def test_what_a_killed_process_left_while_saving_is_cleared_away(tmp_path):
    (tmp_path / ".step-00000002-77-0123abcd").mkdir()
    train(small_model(), Batches(IDS, B=2, T=8), TrainConfig(steps=1), folder=tmp_path, resume=True, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


class Oracle(nn.Module):
    """A model that gives the exact probabilities of the fables, character by character."""

    def __init__(self, stories, tokenizer, end, leak=0.0):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))
        self.tables = {}
        for story in stories:
            ids = [*tokenizer.encode(story.text), end]
            nats = torch.full((len(ids),), leak)
            for choice in story.choices:
                nats[choice.start] += choice.nats
            self.tables[tuple([end, *ids[:-1]])] = (ids, nats)
        self.V = max(max(ids) for ids, _ in self.tables.values()) + 1

    def forward(self, ids, targets=None):
        logits = torch.zeros(*ids.shape, self.V)
        for b, row in enumerate(ids.tolist()):
            key = next(key for key in self.tables if tuple(row[: len(key)]) == key)
            for t, (target, nats) in enumerate(zip(*self.tables[key], strict=True)):
                p = math.exp(-float(nats))
                logits[b, t] = math.log((1 - p) / (self.V - 1) + 1e-30)
                logits[b, t, target] = math.log(p)
        return logits, None


@pytest.fixture(scope="module")
def judged():
    stories = fables.tell(6, seed=5)
    tokenizer = CharTokenizer.from_text("".join(story.text for story in stories) + "\n")
    return stories, tokenizer, tokenizer.encode("\n")[0]


def test_a_model_that_knows_the_grammar_stands_on_the_floor(judged):
    stories, tokenizer, end = judged
    numbers = StoryEvaluation(stories, tokenizer, end)(Oracle(stories, tokenizer, end))
    assert numbers["floor"] == pytest.approx(sum(story.nats for story in stories) / 6)
    assert numbers["excess"] == pytest.approx(0.0, abs=1e-3)
    assert max(abs(numbers[kind]) for kind in ("free", "recalled", "form")) < 1e-3


def test_the_excess_is_split_by_what_the_words_are(judged):
    stories, tokenizer, end = judged
    evaluation = StoryEvaluation(stories, tokenizer, end)
    numbers = evaluation(Oracle(stories, tokenizer, end, leak=0.01))  # 0.01 nats too much at every character
    recalled = sum(len(m.text) for story in stories for m in story.marks if m.recalled) / 6
    free = sum(len(m.text) for story in stories for m in story.choices) / 6
    assert numbers["recalled"] == pytest.approx(0.01 * recalled, rel=0.05)
    assert numbers["free"] == pytest.approx(0.01 * free, rel=0.05)
    assert numbers["excess"] == pytest.approx(numbers["free"] + numbers["recalled"] + numbers["form"], abs=1e-6)
    assert numbers["loss"] == pytest.approx(numbers["floor"] + numbers["excess"])


def test_story_losses_do_not_depend_on_the_padding(judged):
    stories, tokenizer, end = judged
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, 600, n_layer=1, n_head=2, n_embd=12))
    together = StoryEvaluation(stories, tokenizer, end).token_losses(model)
    alone = StoryEvaluation(stories[:1], tokenizer, end).token_losses(model)[0]
    assert together[0] == pytest.approx(alone, abs=1e-4)


def test_checkpoints_of_a_run_are_rotated(tmp_path):
    train(BigramLanguageModel(V=30), Batches(IDS, B=2, T=8), TrainConfig(steps=9, save_every=2), folder=tmp_path)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000008", "step-00000009"]
    assert checkpoints.latest(tmp_path).name == "step-00000009"


def test_story_batches_show_each_story_once_an_epoch():
    documents = [[i, 29] for i in range(10)]
    batches = StoryBatches(documents, B=3, start=29, seed=2)
    for epoch in range(2):
        seen = [int(row[1]) for step in range(4) for row in batches.batch(epoch * 4 + step).ids]
        assert sorted(seen) == list(range(10))


@pytest.mark.parametrize(("old", "new"), OLD_NAMES.items())
def test_a_setting_of_the_first_edition_is_known_by_its_old_name_and_warns(old, new):
    value = {"schedule": "cosine", "gradient_checkpointing": True, "decay_fraction": 0.3, "min_lr_ratio": 0.1}.get(
        new, 3
    )
    with pytest.warns(DeprecationWarning, match=rf"TrainConfig\({old}=…\) is now called {new}"):
        config = TrainConfig(**{old: value})
    assert getattr(config, new) == value
