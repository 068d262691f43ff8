"""Reinforcement learning: what is trained is what was sampled, the formulas, exact resume, and rewards that teach."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from gptlab import next_token
from gptlab.batches import IGNORE
from gptlab.model import GPT, GPTConfig
from gptlab.policy import PolicyConfig
from gptlab.ranks import SingleProcess
from gptlab.reinforcement import (
    ADVANTAGES,
    PolicyObjective,
    clipped_loss,
    group_advantages,
    grpo,
    judge,
    kl_estimate,
    leave_one_out,
    masked_mean,
    policy_gradient_loss,
    reinforce,
    rollouts_for,
)
from gptlab.rewards import Shuffled
from gptlab.rollout_source import FlatRewards
from gptlab.rollouts import Prompt, Rollout, as_batch, complete, log_probs, token_log_probs
from gptlab.schedule import TrainConfig
from gptlab.tokenizing import END_OF_TEXT
from gptlab.tokens import CharTokenizer
from gptlab.train_step import TrainStep

TOKENIZER = CharTokenizer.from_text("abcd", special_tokens=(END_OF_TEXT,))
END = TOKENIZER.end
SMALL = PolicyConfig(group_size=4, max_new_tokens=7)
QUICK = TrainConfig(steps=6, learning_rate=0.02, warmup=0, evaluate_every=0, save_every=1)


def small_model(**changes) -> GPT:
    torch.manual_seed(3)
    return GPT(GPTConfig.modern(5, 12, n_layer=1, n_head=2, n_embd=8, **changes))


def more_a(completions):
    """The share of the letter a."""
    return [one.text.count("a") / max(1, len(one.text)) for one in completions]


def weights(model) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


class Fixed(torch.nn.Module):
    """A model whose logits are given."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, ids):
        return self.logits, None


def some_rollout(model, seed=0, n=8) -> Rollout:
    """Completions with noise in the probabilities, as if the policy had moved since it sampled."""
    prompts = [Prompt([END]), Prompt([END, 0, 1])] * (n // 2)
    _, rows = complete(model, TOKENIZER, prompts, END, 7, seed=seed)
    ids, targets = as_batch([[END], [END, 0, 1]] * (n // 2), rows)
    behaviour, noise = log_probs(model, ids, targets), torch.Generator().manual_seed(seed)
    moved = [behaviour + 0.3 * torch.randn(behaviour.shape, generator=noise) for _ in range(2)]
    return Rollout(ids, targets, *moved, torch.randn(n, generator=noise))


# ── What is trained is what was sampled ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.6])
def test_the_log_probabilities_that_are_trained_are_those_that_were_sampled_with(monkeypatch, temperature):
    drawn, draw = [], next_token.draw

    def recording(probabilities, generator=None):
        token = draw(probabilities, generator)
        drawn.append(probabilities.gather(1, token).log())
        return token

    monkeypatch.setattr(next_token, "draw", recording)
    model = small_model()
    prompts = [Prompt([END]), Prompt([END, 2, 1])] * 8
    completions, rows = complete(model, TOKENIZER, prompts, END, 7, temperature, seed=5)
    ids, targets = as_batch([prompt.ids for prompt in prompts], rows)
    sampled_with = torch.cat(drawn, dim=1)  # [B, positions after the shortest prompt]
    counts, T = targets != IGNORE, targets.shape[1]
    trained = token_log_probs(model(ids)[0], targets, temperature)
    assert (trained - sampled_with[:, :T])[counts].abs().max() < 1e-5
    assert (targets[counts] == END).sum() == sum(one.ended for one in completions) > 3  # the end token is among them
    assert {one.ended for one in completions} == {True, False}


def test_only_what_the_policy_wrote_counts_and_padding_is_known_by_its_length():
    ids, targets = as_batch([[END, 1], [END]], [[END, 1, 2, END], [END, END]])
    assert ids.tolist() == [[END, 1, 2], [END, 0, 0]]
    assert targets.tolist() == [[IGNORE, 2, END], [END, IGNORE, IGNORE]]


def test_the_end_token_receives_gradient_even_where_its_id_is_that_of_the_padding():
    ids, targets = as_batch([[4]], [[4, 1, 0]])  # the end token is 0, and 0 is what rows are padded with
    ids, targets = (torch.cat([part, torch.full((1, 2), fill)], dim=1) for part, fill in ((ids, 0), (targets, IGNORE)))
    logits = torch.zeros(1, 4, 5, requires_grad=True)
    loss = policy_gradient_loss(token_log_probs(logits, targets), torch.ones(1, 1))
    masked_mean(loss, targets != IGNORE).backward()
    assert logits.grad[0, 1, 0] < 0  # a step makes the end token likelier
    assert (logits.grad[0, 2:] == 0).all()


def test_nan_at_masked_places_changes_neither_loss_nor_gradient():
    batch = some_rollout(small_model())
    counts = batch.targets != IGNORE
    logits = torch.randn(*batch.ids.shape, 5)

    def loss_and_gradient(fill):
        given = torch.nn.Parameter(logits.masked_fill(~counts[..., None], fill))
        behaviour, reference = (part.masked_fill(~counts, fill) for part in (batch.behaviour, batch.reference))
        dirty = batch._replace(behaviour=behaviour, reference=reference)
        loss = PolicyObjective(PolicyConfig(kl=0.1))(Fixed(given), dirty)
        loss.backward()
        return loss.detach(), given.grad

    for clean, dirty in zip(loss_and_gradient(0.0), loss_and_gradient(math.nan), strict=True):
        assert torch.equal(clean, dirty) and torch.isfinite(dirty).all()


# ── The formulas ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mean_over", ["completions", "tokens"])
def test_the_gradient_of_grpo_equals_the_loop_written_out(mean_over):
    """Shao et al. 2024, eq. 3 and 4, completion by completion and token by token, in float64."""
    model = small_model().double()
    batch = some_rollout(small_model())
    config = PolicyConfig(clip=0.2, kl=0.05, mean_over=mean_over, temperature=1.3)
    PolicyObjective(config)(model, batch).backward()
    fast = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    model.zero_grad()
    per_completion, clipped = [], 0
    for i in range(len(batch.ids)):
        terms = []
        for t in range(batch.ids.shape[1]):
            if batch.targets[i, t] == IGNORE:
                continue
            logits = model(batch.ids[i : i + 1, : t + 1])[0][0, -1] / 1.3
            ln_p = logits[batch.targets[i, t]] - logits.exp().sum().log()
            ratio, A = (ln_p - batch.behaviour[i, t]).exp(), batch.advantages[i]
            bounded = min(max(ratio, torch.tensor(0.8)), torch.tensor(1.2))
            clipped += bool(bounded * A < ratio * A)
            r = (batch.reference[i, t] - ln_p).exp()
            terms.append(min(ratio * A, bounded * A) - 0.05 * (r - r.log() - 1))
        per_completion.append(torch.stack(terms))
    means = torch.stack([terms.mean() for terms in per_completion]).mean()
    loss = -means if mean_over == "completions" else -torch.cat(per_completion).mean()
    loss.backward()
    slow = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    assert clipped > 1
    assert (fast - slow).abs().max() < 1e-6 < slow.abs().max()


def test_a_step_on_a_bandit_by_hand():
    """Three arms with logits 0: π = 1/3 each. Arm 2 was pulled and paid 6, so θ moves by 6 (onehot(2) − 1/3)."""
    theta = torch.zeros(1, 1, 3, requires_grad=True)
    ln_p = token_log_probs(theta, torch.tensor([[2]]))
    policy_gradient_loss(ln_p, torch.tensor([[6.0]])).sum().backward()
    assert -theta.grad.flatten() == pytest.approx(torch.tensor([-2.0, -2.0, 4.0]))


def test_a_baseline_of_the_others_keeps_the_mean_gradient_and_shrinks_its_variance():
    """All pairs of pulls of a three-armed bandit, each with its probability: nothing is estimated."""
    theta, pays = torch.tensor([0.5, 0.0, -1.0]), torch.tensor([5.0, 6.0, 7.0])
    p = theta.softmax(0)
    exact = p * (pays - (p * pays).sum())  # ∇ of the expected reward
    for name, variance_bound in (("none", 12.0), ("leave_one_out", 1.0)):
        mean, second = torch.zeros(3), 0.0
        for arms in itertools.product(range(3), repeat=2):
            A = ADVANTAGES[name](pays[list(arms)][None])[0]
            gradient = sum(a * (torch.eye(3)[arm] - p) for a, arm in zip(A, arms, strict=True)) / 2
            mean += p[arms[0]] * p[arms[1]] * gradient
            second += p[arms[0]] * p[arms[1]] * float(gradient @ gradient)
        assert mean == pytest.approx(exact, abs=1e-5)
        variance = second - float(mean @ mean)
        assert variance < variance_bound if name != "none" else variance > 5


def test_group_advantages_compare_within_a_group_and_forget_the_scale():
    rewards = torch.tensor([[1.0, 0.0, 0.0], [30.0, 10.0, 20.0]])
    advantages = group_advantages(rewards)
    assert advantages == pytest.approx(torch.tensor([[1.1547, -0.5774, -0.5774], [1.0, -1.0, 0.0]]), abs=1e-3)
    assert (group_advantages(torch.full((2, 4), 3.0)) == 0).all()
    assert leave_one_out(rewards)[1] == pytest.approx(torch.tensor([15.0, -15.0, 0.0]))


@pytest.mark.parametrize(
    ("ratio", "A", "gradient"), [(1.3, 1.0, 0), (0.7, 1.0, -0.7), (0.7, -1.0, 0), (1.3, -1.0, 1.3)]
)
def test_clipping_stops_only_what_has_gone_far_enough(ratio, A, gradient):
    ln_p = torch.tensor([math.log(ratio)], requires_grad=True)
    clipped_loss(ln_p, torch.zeros(1), torch.tensor([A]), 0.2).sum().backward()
    assert ln_p.grad.item() == pytest.approx(gradient)


def test_where_the_policy_is_the_one_that_sampled_clipping_is_reinforce():
    ln_p = torch.randn(3, 4, requires_grad=True)
    A = torch.randn(3, 1)
    (one,) = torch.autograd.grad(clipped_loss(ln_p, ln_p.detach(), A).sum(), ln_p)
    (other,) = torch.autograd.grad(policy_gradient_loss(ln_p, A).sum(), ln_p)
    assert torch.allclose(one, other)


def test_the_kl_estimate_is_never_negative_and_on_average_the_divergence():
    p, q = (torch.randn(9, generator=torch.Generator().manual_seed(seed)).log_softmax(0) for seed in (0, 1))
    estimates = kl_estimate(p, q)
    assert (estimates >= 0).all()
    assert float((p.exp() * estimates).sum()) == pytest.approx(float((p.exp() * (p - q)).sum()), abs=1e-6)
    assert (kl_estimate(p, p) == 0).all()


@pytest.mark.parametrize("mean_over", ["completions", "tokens"])
def test_micro_batches_give_the_gradient_of_the_whole_batch(mean_over):
    batch, found = some_rollout(small_model()), []
    for parts in (1, 3):
        config, model = TrainConfig(gradient_accumulation=parts, max_grad_norm=math.inf), small_model()
        step = TrainStep(
            model, config, torch.float32, SingleProcess(), PolicyObjective(PolicyConfig(mean_over=mean_over))
        )
        loss, _, tokens = step.gradients(batch, 0)
        found.append((loss, torch.cat([parameter.grad.flatten() for parameter in model.parameters()])))
        assert tokens == int((batch.targets != IGNORE).sum())
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-6)


# ── Runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("updates", "stopped"), [(1, 3), (2, 2), (2, 3)])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path, updates, stopped):
    policy, sampling = replace(SMALL, updates=updates, kl=0.1), dict(B=8, seed=2)
    plan = replace(QUICK, steps=4)
    whole = small_model()
    expected = grpo(whole, TOKENIZER, more_a, plan, policy, progress=False, sampling=sampling)
    half = small_model()
    source = rollouts_for(half, TOKENIZER, more_a, policy, **sampling)
    from gptlab.training import run

    for history in run(half, source, plan, objective=PolicyObjective(policy), folder=tmp_path):
        if history.steps == stopped:
            break
    fresh = small_model()
    resumed = grpo(
        fresh, TOKENIZER, more_a, plan, policy, progress=False, sampling=sampling, folder=tmp_path, resume=True
    )
    assert torch.equal(weights(fresh), weights(whole))
    assert resumed.records == expected.records and len(expected.records) == 4 // updates
    assert resumed.history.losses == expected.history.losses


@pytest.mark.parametrize("name", ["grpo", "reinforce", "shuffled"])
def test_a_reward_is_learned_and_a_shuffled_one_is_not(name):
    model, plan = small_model(), replace(QUICK, steps=12, learning_rate=0.04)
    how = reinforce if name == "reinforce" else grpo
    reward = Shuffled(more_a) if name == "shuffled" else more_a
    how(model, TOKENIZER, reward, plan, SMALL, progress=False, sampling=dict(B=16))
    share = judge(model, TOKENIZER, {"a": more_a}, 64, max_new_tokens=7)["a"]
    assert share < 0.45 if name == "shuffled" else share > 0.6  # a fifth before


def test_a_strong_pull_to_the_reference_keeps_the_policy_where_it_was():
    distances = []
    for kl in (0.001, 10.0):
        plan, policy = replace(QUICK, steps=8), replace(SMALL, kl=kl)
        learned = grpo(small_model(), TOKENIZER, more_a, plan, policy, progress=False, sampling=dict(B=8))
        distances.append(learned.curve("kl")[-1])
    assert distances[1] < distances[0] / 3


def test_rewards_that_never_differ_are_refused_by_name():
    def constant(completions):
        return [0.5] * len(completions)

    said = []
    with pytest.raises(FlatRewards, match=r"reward constant is the same within each of 2 groups of 4 in all 5 rounds"):
        grpo(small_model(), TOKENIZER, constant, QUICK, SMALL, progress=False, sampling=dict(B=8, say=said.append))
    assert len(said) == 1 and "round 0: the reward constant" in said[0]
    with pytest.raises(FlatRewards, match="all 2 rounds"):  # a short run does not end silently
        grpo(small_model(), TOKENIZER, constant, replace(QUICK, steps=2), SMALL, progress=False, sampling=dict(B=8))


def test_a_flat_round_among_others_is_counted_and_said_and_changes_no_weight():
    rounds = itertools.count()

    def sometimes(completions):
        return [0.0] * len(completions) if next(rounds) in (1, 2) else more_a(completions)

    said, plan = [], replace(QUICK, steps=4)
    learned = grpo(
        small_model(), TOKENIZER, sometimes, plan, SMALL, progress=False, sampling=dict(B=8, say=said.append)
    )
    assert learned.curve("flat")[1:3] == [2, 2] and learned.history.gradient_norms[1] == 0
    assert len(said) == 1 and "round 1" in said[0]


def test_lines_of_progress_tell_the_reward(capsys):
    grpo(small_model(), TOKENIZER, more_a, replace(QUICK, steps=2), SMALL, sampling=dict(B=8))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].startswith("step     1  reward 0.")


def test_prompts_are_gone_through_in_an_order_of_the_seed():
    prompts = [Prompt([END, letter], task=letter) for letter in range(4)]
    seen = []

    def watch(completions):
        seen.append([one.task for one in completions[::4]])
        return more_a(completions)

    source = rollouts_for(small_model(), TOKENIZER, watch, SMALL, prompts=prompts, B=8)
    source.batch(0), source.batch(1), source.batch(0)
    assert sorted(seen[0] + seen[1]) == [0, 1, 2, 3] and seen[2] == seen[0]


# ── Entrances ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (dict(kl=-0.1), "kl=-0.1 must be a number of at least 0"),
        (dict(kl=math.nan), "kl=nan"),
        (dict(clip=0), "clip=0 must be"),
        (dict(group_size=1), "group_size=1 must be a whole number of at least 2"),
        (dict(temperature=0), "temperature=0"),
        (dict(updates=0), "updates=0"),
    ],
)
def test_a_setting_outside_its_range_is_named(setting, words):
    with pytest.raises(ValueError, match=words):
        PolicyConfig(**setting)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(B=6), "B=6 completions cannot be divided into groups of 4"),
        (dict(prompts=[]), "at least one prompt"),
        (dict(prompts=[Prompt([])]), "a prompt has no token"),
        (dict(prompts=[Prompt([END] * 8)]), r"a prompt of 8 tokens and 7 new ones.*context of 12.*max_new_tokens=5"),
    ],
)
def test_what_cannot_be_sampled_is_refused_with_both_numbers(change, words):
    with pytest.raises(ValueError, match=words):
        rollouts_for(small_model(), TOKENIZER, more_a, SMALL, **{"B": 8, **change})


def test_models_and_tokenizers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"dropout=0.1: the probabilities"):
        rollouts_for(small_model(dropout=0.1), TOKENIZER, more_a, SMALL, B=8)
    with pytest.raises(ValueError, match="V=5 tokens and the tokenizer 4"):
        rollouts_for(small_model(), CharTokenizer.from_text("abcd"), more_a, SMALL, B=8, end=0)
    with pytest.raises(ValueError, match="no end token"):
        rollouts_for(small_model(), CharTokenizer.from_text("abcde"), more_a, SMALL, B=8, prompts=[Prompt([0])])


def test_a_second_update_without_its_round_is_refused():
    source = rollouts_for(small_model(), TOKENIZER, more_a, replace(SMALL, updates=3), B=8)
    with pytest.raises(ValueError, match="step 4 is update 1 of a round that was not sampled here: begin at 3"):
        source.batch(4)
