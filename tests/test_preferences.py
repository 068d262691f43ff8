"""Preferences: Bradley and Terry's model, DPO by its formula, reward models, and pairs from what a model writes."""

import math

import numpy as np
import pytest
import torch

from gptlab.batches import IGNORE
from gptlab.model import GPT, GPTConfig
from gptlab.preferences import (
    DPOObjective,
    Pair,
    PairBatches,
    bradley_terry_loss,
    dpo,
    dpo_loss,
    make_pairs,
)
from gptlab.ranks import SingleProcess
from gptlab.reinforcement import judge
from gptlab.reward_model import RewardModel, RewardModelObjective, fit_reward_model
from gptlab.rewards import Completion, rewards_of
from gptlab.schedule import TrainConfig
from gptlab.tokenizing import END_OF_TEXT
from gptlab.tokens import CharTokenizer
from gptlab.train_step import TrainStep

TOKENIZER = CharTokenizer.from_text("abcd", special_tokens=(END_OF_TEXT,))
END = TOKENIZER.end
PAIRS = [Pair([END], [0, 0, END], [1, END]), Pair([END, 2], [0, END], [3, 1, 3, END]), Pair([END], [0, END], [2, 1])]
QUICK = TrainConfig(steps=30, learning_rate=0.01, warmup=0, evaluate_every=0)


def small_model() -> GPT:
    torch.manual_seed(3)
    return GPT(GPTConfig.modern(5, 12, n_layer=1, n_head=2, n_embd=8))


def more_a(completions):
    return [one.text.count("a") / max(1, len(one.text)) for one in completions]


def test_bradley_and_terry_by_hand():
    """A score that is ln 3 larger is preferred three times out of four."""
    chosen, rejected = torch.tensor([math.log(3.0), 5.0]), torch.tensor([0.0, 5.0])
    assert bradley_terry_loss(chosen, rejected).item() == pytest.approx(-(math.log(0.75) + math.log(0.5)) / 2)


def test_the_loss_of_dpo_is_the_published_formula():
    """Rafailov et al. 2023, eq. 7, in NumPy."""
    numbers = np.random.default_rng(0).normal(-40, 5, (4, 6))
    chosen, rejected, reference_chosen, reference_rejected = numbers
    inside = 0.3 * np.log(np.exp(chosen - reference_chosen)) - 0.3 * np.log(np.exp(rejected - reference_rejected))
    expected = -np.mean(np.log(1 / (1 + np.exp(-inside))))
    found = dpo_loss(*(torch.tensor(row) for row in numbers), beta=0.3)
    assert found.item() == pytest.approx(expected, abs=1e-5)


def test_the_objective_of_dpo_equals_the_loop_written_out():
    model, reference = small_model(), small_model()
    with torch.no_grad():
        model.head.weight.add_(0.1 * torch.randn(5, 8, generator=torch.Generator().manual_seed(0)))
    batch = PairBatches(PAIRS, B=3, reference=reference).batch(0)

    def ln_p(which, prompt, completion):
        row, total = [*prompt, *completion], 0.0
        for t in range(len(prompt), len(row)):
            total = total + which(torch.tensor([row[:t]]))[0][0, -1].log_softmax(-1)[row[t]]
        return total

    losses = []
    for prompt, chosen, rejected in PAIRS:
        margins = [ln_p(model, prompt, one) - ln_p(reference, prompt, one) for one in (chosen, rejected)]
        losses.append(-torch.nn.functional.logsigmoid(0.1 * (margins[0] - margins[1])))
    expected = torch.stack(losses).mean()
    found = DPOObjective(0.1)(model, batch)
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)
    gradients = [torch.autograd.grad(loss, model.head.weight, retain_graph=True)[0] for loss in (found, expected)]
    assert torch.allclose(*gradients, atol=1e-5)


def test_dpo_begins_at_ln_two_and_its_first_step_prefers_the_chosen():
    model = small_model()
    batch = PairBatches(PAIRS, B=3, reference=model).batch(0)
    loss = DPOObjective()(model, batch)
    assert loss.item() == pytest.approx(math.log(2), abs=1e-6)
    history = dpo(model, PAIRS, QUICK, progress=False)
    assert history.losses[-1] < 0.5 < history.losses[0]
    assert DPOObjective()(model, batch) < 0.5


@pytest.mark.parametrize("kind", ["dpo", "reward model"])
def test_micro_batches_weigh_pairs_and_not_their_tokens(kind):
    found = []
    for parts in (1, 3):
        base = small_model()
        model, objective = (base, DPOObjective()) if kind == "dpo" else (RewardModel(base), RewardModelObjective())
        batch = PairBatches(PAIRS, B=3, reference=small_model()).batch(0)
        plan = TrainConfig(gradient_accumulation=parts, max_grad_norm=math.inf)
        step = TrainStep(model, plan, torch.float32, SingleProcess(), objective)
        step.gradients(batch, 0)
        found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert torch.allclose(*found, atol=1e-6) and found[0].abs().max() > 1e-5


def test_the_padding_of_a_pair_and_its_prompt_count_nothing():
    batch = PairBatches(PAIRS, B=3, seed=1).batch(0)
    counted = (batch.targets != IGNORE).sum(dim=2).flatten().tolist()
    assert sorted(counted) == sorted([3, 2, 2, 4, 2, 2])
    model = RewardModel(small_model())
    ids = torch.tensor([[4, 0, 1, 2], [4, 0, 1, 3]])
    scores = model(ids, torch.tensor([3, 3]))
    assert scores[0] == scores[1] != model(ids, torch.tensor([4, 4]))[1]


def test_the_order_of_pairs_depends_on_the_seed_and_each_is_seen_once_an_epoch():
    many = [Pair([END], [i % 4, i // 4, END], [END]) for i in range(12)]
    source = PairBatches(many, B=5)
    seen = [tuple(row) for step in range(len(source)) for row in source.batch(step).targets[:, 0].tolist()]
    assert len(set(seen)) == 12 == len(seen)
    assert torch.equal(source.batch(4).ids, PairBatches(many, B=5).batch(4).ids)


def test_a_reward_model_learns_what_is_preferred_and_can_be_a_reward():
    base = small_model()
    pairs = make_pairs(base, TOKENIZER, more_a, 64, max_new_tokens=7)
    model, history = fit_reward_model(base, pairs, QUICK, progress=False)
    assert history.losses[-1] < 0.4 < history.losses[0]
    scores = rewards_of(model.as_reward(TOKENIZER), [Completion("aaa"), Completion("bdc"), Completion("")])
    assert scores[0] > scores[1]
    assert base.head.weight.shape[0] == 5  # the base model stays as it is


def test_pairs_come_from_better_and_worse_completions_and_each_is_used_once():
    pairs = make_pairs(small_model(), TOKENIZER, more_a, 32, max_new_tokens=7)
    shares = [more_a([Completion(TOKENIZER.decode([i for i in one if i != END]))])[0]
              for pair in pairs for one in (pair.chosen, pair.rejected)]  # fmt: skip
    assert all(a > b for a, b in zip(shares[::2], shares[1::2], strict=True)) and 5 < len(pairs) <= 16


def test_dpo_moves_a_model_towards_what_is_preferred_without_sampling():
    model = small_model()
    before = judge(model, TOKENIZER, {"a": more_a}, 64, max_new_tokens=7)["a"]
    dpo(model, make_pairs(model, TOKENIZER, more_a, 128, max_new_tokens=7), QUICK, progress=False)
    assert judge(model, TOKENIZER, {"a": more_a}, 64, max_new_tokens=7)["a"] > before + 0.2


def test_a_run_of_dpo_can_be_resumed(tmp_path):
    plan = TrainConfig(steps=6, warmup=0, save_every=2, evaluate_every=0)
    whole, fresh = small_model(), small_model()
    dpo(whole, PAIRS, plan, B=2, progress=False)
    from gptlab.training import run

    source = PairBatches(PAIRS, 2, reference=small_model())
    for history in run(small_model(), source, plan, objective=DPOObjective(), folder=tmp_path):
        if history.steps == 3:
            break
    dpo(fresh, PAIRS, plan, B=2, progress=False, folder=tmp_path, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), fresh.parameters(), strict=True))


def test_pairs_that_teach_nothing_are_refused():
    with pytest.raises(ValueError, match="0 pairs and B=16"):
        PairBatches([])
    with pytest.raises(ValueError, match="pair 0 has an empty part"):
        PairBatches([Pair([END], [], [1])])
    with pytest.raises(ValueError, match=r"all 8 completions have the reward \[1.0\] of flat"):

        def flat(completions):
            return [1.0] * len(completions)

        make_pairs(small_model(), TOKENIZER, flat, 8, max_new_tokens=7)
    with pytest.raises(ValueError, match="dpo_loss: beta=0 must be a number above 0"):
        dpo_loss(*[torch.zeros(1)] * 4, beta=0)
