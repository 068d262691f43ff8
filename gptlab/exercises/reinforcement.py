"""Exercises on reinforcement learning: the policy gradient, baselines, groups, clipping, KL, and preferences."""

import math
import random
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question


def _normal(rng: random.Random, *shape: int, scale: int | float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(rng.randrange(2**31))) * scale


# ---- reinforcement.1 -------------------------------------------------------------------------------------------------


def bandit_step(theta, arm, reward, rate):
    p = theta.softmax(dim=0)
    pulled = torch.zeros_like(theta)
    pulled[arm] = 1.0
    return theta + rate * reward * (pulled - p)  # reward times the gradient of ln p[arm]


def _bandit_inputs(rng):
    yield torch.zeros(3), 2, 6.0, 0.5
    yield torch.tensor([0.0, math.log(3.0)]), 0, 2.0, 1.0
    yield torch.tensor([0.0, math.log(3.0)]), 1, -1.0, 0.1
    for n in (3, 4, 5):
        yield _normal(rng, n), rng.randrange(n), rng.uniform(0.5, 3), rng.uniform(0.1, 1)


def _stepped(gradient: Callable) -> Callable:
    """A step along `gradient(p, onehot of the arm, arm)`, times rate and reward."""

    def wrong(theta, arm, reward, rate):
        p, pulled = theta.softmax(dim=0), F.one_hot(torch.tensor(arm), len(theta)).float()
        return theta + rate * reward * gradient(p, pulled, arm)

    return wrong


_BANDIT = Exercise(
    id="reinforcement.1",
    title="One step on a bandit",
    kind="warm-up",
    minutes=10,
    difficulty=1,
    prompt="A policy chooses arm i with probability softmax(θ)ᵢ. It pulled `arm` and got `reward`. Give θ after one "
    "step of REINFORCE: θ plus rate · reward · the gradient of ln p(arm) with respect to θ. Work the gradient out on "
    "paper; no autograd is needed.\n\nShapes: `theta` [K]; `arm` is an `int`, `reward` and `rate` are floats. "
    "Result: a tensor [K]. Example: θ = [0, 0, 0], arm 2, reward 6, rate 0.5 gives [−1, −1, 2].",
    signature='def bandit_step(theta: Float[Tensor, "K"], arm: int, reward: float, rate: float) -> Float[Tensor, "K"]',
    inputs=_bandit_inputs,
    solution=bandit_step,
    mistakes=[
        Mistake(
            "only the arm that was pulled moves",
            _stepped(lambda p, pulled, arm: pulled),
            "The probabilities sum to 1, so the gradient of ln p(arm) also pushes the others down: onehot(arm) − p.",
        ),
        Mistake(
            "only the arm that was pulled moves, by as much as it should",
            _stepped(lambda p, pulled, arm: pulled * (1 - p)),
            "Its own number is right. But ln p(arm) depends on every θ, so the others move as well: by −p of each.",
        ),
        Mistake(
            "a step down instead of up",
            _stepped(lambda p, pulled, arm: p - pulled),
            "This makes a rewarded arm rarer. A reward is to become larger, so θ moves along the gradient, not against "
            "it.",
        ),
        Mistake(
            "the gradient of p, not of ln p",
            _stepped(lambda p, pulled, arm: p[arm] * (pulled - p)),
            "You have the gradient of p(arm), which is p(arm) times that of ln p(arm). Rare arms would learn too "
            "slowly: they are pulled rarely, and each of their steps would be small as well.",
        ),
        Mistake(
            "divided by p a second time",
            _stepped(lambda p, pulled, arm: (pulled - p) / p[arm]),
            "ln already divides by p(arm): the gradient of ln p(arm) is onehot(arm) − p as it stands.",
        ),
        Mistake(
            "the pulled arm is left out of the pushing down",
            _stepped(lambda p, pulled, arm: pulled - p * (1 - pulled)),
            "The arm that was pulled moves by 1 − p(arm), not by 1: the more certain the policy is, the less there is "
            "to learn.",
        ),
        Mistake(
            "the reward is forgotten",
            lambda theta, arm, reward, rate: _stepped(lambda p, pulled, arm: pulled - p)(theta, arm, 1.0, rate),
            "Multiply by the reward: a pull that paid 6 teaches three times as much as one that paid 2.",
        ),
        Mistake(
            "the rate is forgotten",
            lambda theta, arm, reward, rate: _stepped(lambda p, pulled, arm: pulled - p)(theta, arm, reward, 1.0),
            "Multiply the step by the rate.",
        ),
        Mistake(
            "only the step, without θ",
            lambda theta, arm, reward, rate: bandit_step(theta, arm, reward, rate) - theta,
            "This is how far θ moves. Asked for is where it ends: add θ.",
        ),
    ],
    hints=[
        "ln p(arm) = θ[arm] − ln Σ exp θ. What is the derivative of each part with respect to θᵢ?",
        "The first part gives 1 for i = arm and 0 otherwise; the second gives softmax(θ)ᵢ.",
        "`theta + rate * reward * (onehot - theta.softmax(dim=0))`.",
    ],
)


# ---- reinforcement.2 -------------------------------------------------------------------------------------------------


def leave_one_out(rewards):
    N = rewards.shape[1]
    others = (rewards.sum(dim=1, keepdim=True) - rewards) / (N - 1)  # [G, N]: the mean of the other N - 1
    return rewards - others


def _group_inputs(rng):
    yield (torch.tensor([[1.0, 0.0, 0.0]]),)
    yield (torch.tensor([[1.0, 0.0, 0.0], [6.0, 2.0, 1.0]]),)
    yield (torch.tensor([[5.0, 5.0, 5.0, 5.0], [0.0, 1.0, 1.0, 1.0]]),)
    for G, N in ((3, 4), (2, 5), (4, 2)):
        yield (_normal(rng, G, N) + 2,)


_LEAVE_ONE_OUT = Exercise(
    id="reinforcement.2",
    title="A baseline of the others",
    kind="warm-up",
    minutes=8,
    difficulty=1,
    prompt="Each row of `rewards` belongs to one prompt, with N completions. Give each completion its reward minus the "
    "mean reward of the *other* completions of its row.\n\nShapes: [G, N] in, [G, N] out, N ≥ 2. Example: [[1, 0, 0]] "
    "gives [[1, −0.5, −0.5]].",
    signature='def leave_one_out(rewards: Float[Tensor, "G N"]) -> Float[Tensor, "G N"]',
    inputs=_group_inputs,
    solution=leave_one_out,
    mistakes=[
        Mistake(
            "a completion is in its own baseline",
            lambda r: r - r.mean(dim=1, keepdim=True),
            "You subtract the mean of the whole row. Leave each completion out of its own mean: with itself in it, the "
            "baseline depends on what was sampled, and the gradient shrinks by (N − 1) / N.",
        ),
        Mistake(
            "the sum of the others is divided by N",
            lambda r: r - (r.sum(dim=1, keepdim=True) - r) / r.shape[1],
            "There are N − 1 others.",
        ),
        Mistake(
            "the whole row is divided by N − 1",
            lambda r: r - r.sum(dim=1, keepdim=True) / (r.shape[1] - 1),
            "Take the reward itself out of the sum before you divide by N − 1.",
        ),
        Mistake(
            "the baseline of all prompts together",
            lambda r: r - (r.sum() - r) / (r.numel() - 1),
            "Rows are different prompts, and some are easier. Compare within a row.",
        ),
        Mistake(
            "means of columns",
            lambda r: r - (r.sum(dim=0, keepdim=True) - r) / max(1, r.shape[0] - 1),
            "A column has one completion of each prompt. The completions of one prompt are a row: dim=1.",
        ),
        Mistake(
            "the sign is turned round",
            lambda r: (r.sum(dim=1, keepdim=True) - r) / (r.shape[1] - 1) - r,
            "A reward above the others' mean must give a positive number.",
        ),
        Mistake(
            "only the baseline",
            lambda r: (r.sum(dim=1, keepdim=True) - r) / (r.shape[1] - 1),
            "This is the mean of the others. Subtract it from the reward.",
        ),
    ],
    hints=[
        "What is the sum of the others, if you know the sum of the row?",
        "(row sum − reward) / (N − 1) is the baseline of each completion.",
        "`rewards - (rewards.sum(dim=1, keepdim=True) - rewards) / (N - 1)`.",
    ],
    package="gptlab.reinforcement.leave_one_out",
)


# ---- reinforcement.3 -------------------------------------------------------------------------------------------------


def group_advantages(rewards):
    mean = rewards.mean(dim=1, keepdim=True)
    spread = rewards.std(dim=1, keepdim=True)  # torch's: divided by N - 1
    return (rewards - mean) / (spread + 1e-4)  # a flat group: 0 / 1e-4


_GROUPS = Exercise(
    id="reinforcement.3",
    title="The group-relative advantage",
    kind="core",
    minutes=10,
    difficulty=2,
    prompt="GRPO's advantage: each reward minus the mean of its group, divided by (the group's standard deviation + "
    "0.0001). Take `torch.std` as it is. A group in which all rewards are equal must give zeros, not NaN.\n\nShapes: "
    "`rewards` is [G, N], one group in each row; result [G, N]. Example: [[1, 0, 0]] gives [[1.15, −0.58, −0.58]], "
    "rounded.",
    signature='def group_advantages(rewards: Float[Tensor, "G N"]) -> Float[Tensor, "G N"]',
    inputs=_group_inputs,
    solution=group_advantages,
    mistakes=[
        Mistake(
            "not divided by the spread",
            lambda r: r - r.mean(dim=1, keepdim=True),
            "Divide by the standard deviation of the group (plus 0.0001): then the scale of a reward doesn't matter.",
        ),
        Mistake(
            "divided by the variance",
            lambda r: (r - r.mean(dim=1, keepdim=True)) / (r.var(dim=1, keepdim=True) + 1e-4),
            "The variance has the square of the reward's unit. Divide by its root, the standard deviation.",
        ),
        Mistake(
            "a flat group divides by zero",
            lambda r: (r - r.mean(dim=1, keepdim=True)) / r.std(dim=1, keepdim=True),
            "Where all rewards are equal this is 0 / 0, and one NaN in a batch is a NaN in every weight. Add 0.0001.",
        ),
        Mistake(
            "one mean and one spread for all groups",
            lambda r: (r - r.mean()) / (r.std() + 1e-4),
            "Each row is a group of its own: dim=1, keepdim=True. Otherwise all completions of an easy prompt look "
            "good.",
        ),
        Mistake(
            "the mean of the group and the spread of all",
            lambda r: (r - r.mean(dim=1, keepdim=True)) / (r.std() + 1e-4),
            "The spread, too, is that of the group: `std(dim=1, keepdim=True)`.",
        ),
        Mistake(
            "the mean is not taken off",
            lambda r: r / (r.std(dim=1, keepdim=True) + 1e-4),
            "Subtract the group's mean first: otherwise every completion with a reward above 0 looks good.",
        ),
        Mistake(
            "the spread is divided by N",
            lambda r: (r - r.mean(dim=1, keepdim=True)) / (r.std(dim=1, keepdim=True, correction=0) + 1e-4),
            "This is the standard deviation with N below the root; torch.std by default has N − 1.",
        ),
        Mistake(
            "each minus the mean of the others",
            lambda r: leave_one_out(r) / (r.std(dim=1, keepdim=True) + 1e-4),
            "GRPO subtracts the mean of the whole group, the completion itself included.",
        ),
        Mistake(
            "the sign is turned round",
            lambda r: (r.mean(dim=1, keepdim=True) - r) / (r.std(dim=1, keepdim=True) + 1e-4),
            "A reward above the mean must give a positive advantage.",
        ),
    ],
    hints=[
        "Mean and standard deviation of each row, with keepdim=True so that they line up with the row.",
        "Add 1e-4 to the standard deviation, not to the rewards.",
        "`(rewards - rewards.mean(dim=1, keepdim=True)) / (rewards.std(dim=1, keepdim=True) + 1e-4)`.",
    ],
    package="gptlab.reinforcement.group_advantages",
)


# ---- reinforcement.4 -------------------------------------------------------------------------------------------------


def completion_log_prob(logits, targets, temperature):
    counts = targets != -100
    log_p = (logits / temperature).log_softmax(dim=-1)  # [B, T, V]
    found = log_p.gather(-1, targets.clamp(min=0)[..., None])[..., 0]  # [B, T]
    return torch.where(counts, found, 0.0).sum(dim=1)


def _completion_inputs(rng):
    yield torch.tensor([[[0.0, 0.0], [0.0, math.log(3.0)]]]), torch.tensor([[-100, 1]]), 1.0
    yield torch.tensor([[[0.0, 2.0], [1.0, 0.0], [3.0, 0.0]]]), torch.tensor([[-100, 0, 1]]), 2.0
    yield torch.tensor([[[0.0, 2.0], [1.0, 0.0], [3.0, 0.0]]]), torch.tensor([[-100, 0, -100]]), 0.5
    for B, T, V in ((2, 4, 5), (3, 5, 4)):
        targets = torch.tensor([[rng.randrange(V) for _ in range(T)] for _ in range(B)])
        targets[:, 0] = -100
        targets[0, T - 2 :] = -100
        yield _normal(rng, B, T, V, scale=2.0), targets, rng.choice((0.5, 0.8, 1.5))


def _picked(values: Callable, reduce: Callable | None = None) -> Callable:
    """The values of the targets that count, from `values(logits, temperature)`; the sum of each row by default."""

    def wrong(logits, targets, temperature):
        found = values(logits, temperature).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
        counts = targets != -100
        return torch.where(counts, found, 0.0).sum(dim=1) if reduce is None else reduce(found, counts)

    return wrong


def _tempered(logits: Tensor, temperature: float) -> Tensor:
    return (logits / temperature).log_softmax(dim=-1)


_LOG_PROB = Exercise(
    id="reinforcement.4",
    title="How likely was this completion?",
    kind="core",
    minutes=12,
    difficulty=2,
    prompt="Give ln p of each completion: the sum of ln p of its tokens, at the temperature that it was sampled with. "
    "Logits are divided by the temperature before the softmax. A target of −100 (prompt, padding) counts nothing."
    "\n\nShapes: `logits` [B, T, V], `targets` [B, T]. Result: [B]. Example: logits [[[0, 0], [0, ln 3]]], targets "
    "[[−100, 1]] and temperature 1 give [ln 0.75].",
    signature="def completion_log_prob(\n"
    '    logits: Float[Tensor, "B T V"], targets: Int[Tensor, "B T"], temperature: float\n'
    ') -> Float[Tensor, "B"]',
    inputs=_completion_inputs,
    solution=completion_log_prob,
    mistakes=[
        Mistake(
            "the temperature is forgotten",
            _picked(lambda logits, _: logits.log_softmax(dim=-1)),
            "The tokens were sampled at a temperature, so another distribution chose them. Divide the logits by it.",
        ),
        Mistake(
            "divided by the temperature after the softmax",
            _picked(lambda logits, temperature: logits.log_softmax(dim=-1) / temperature),
            "ln p / temperature is no distribution: it doesn't sum to 1. Divide the logits, then normalise.",
        ),
        Mistake(
            "multiplied by the temperature",
            _picked(lambda logits, temperature: (logits * temperature).log_softmax(dim=-1)),
            "A high temperature flattens: divide.",
        ),
        Mistake(
            "probabilities are added up",
            _picked(lambda logits, temperature: _tempered(logits, temperature).exp()),
            "The probability of a text is a product, so ln p is a sum of logarithms: log_softmax.",
        ),
        Mistake(
            "logits are added up",
            _picked(lambda logits, temperature: logits / temperature),
            "A logit becomes ln p when ln Σ exp of all logits is subtracted: log_softmax.",
        ),
        Mistake(
            "the mean instead of the sum",
            _picked(_tempered, lambda found, counts: torch.where(counts, found, 0.0).sum(1) / counts.sum(1)),
            "This is ln p per token. Asked for is the whole completion.",
        ),
        Mistake(
            "masked places count",
            _picked(_tempered, lambda found, counts: found.sum(dim=1)),
            "A target of −100 is no token. Its position must add 0.",
        ),
        Mistake(
            "it is a loss",
            _picked(lambda logits, temperature: -_tempered(logits, temperature)),
            "ln p is negative (or 0). You give the surprise, −ln p.",
        ),
        Mistake(
            "one number for the batch",
            _picked(_tempered, lambda found, counts: torch.where(counts, found, 0.0).sum()),
            "Each completion needs its own: sum over T only.",
        ),
    ],
    hints=[
        "Divide, log_softmax over V, take the target's entry, add up over T.",
        "`gather` needs valid indices: replace −100 by 0 first, and zero what came from there afterwards.",
        "`(logits / temperature).log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]`, then "
        "`torch.where(targets != -100, …, 0.0).sum(dim=1)`.",
    ],
)


# ---- reinforcement.5 -------------------------------------------------------------------------------------------------


def clipped_objective(new, old, advantage, clip):
    ratio = (new - old).exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def _clip_inputs(rng):
    logs = torch.tensor([math.log(ratio) for ratio in (0.1, 0.75, 1.25, 2.0)])
    quarter = torch.full((4,), math.log(0.25))
    yield quarter + logs, quarter, torch.ones(4), 0.2
    yield quarter + logs, quarter, -torch.ones(4), 0.2
    yield logs - 1, -torch.ones(4), torch.tensor([2.0, -2.0, 3.0, -3.0]), 0.3
    for n in (6, 9):
        old = -_normal(rng, n).abs()
        yield old + _normal(rng, n, scale=0.5), old, _normal(rng, n), rng.choice((0.1, 0.2, 0.3))


_CLIP = Exercise(
    id="reinforcement.5",
    title="The clipped objective",
    kind="stretch",
    minutes=12,
    difficulty=2,
    prompt="PPO's objective for each token, to be made large: min(ρ A, clip(ρ, 1 − ε, 1 + ε) A), where ρ is the "
    "probability of the token under the new policy divided by that under the old one.\n\nShapes: `new` and `old`, ln p "
    "of the tokens, [T]; `advantage`, [T]; `clip`, the ε. Result: [T]. Example: a token that has become twice as "
    "likely has ρ = 2; with ε = 0.2 it gives 1.2 for A = 1, and −2 for A = −1.",
    signature="def clipped_objective(\n"
    '    new: Float[Tensor, "T"], old: Float[Tensor, "T"], advantage: Float[Tensor, "T"], clip: float\n'
    ') -> Float[Tensor, "T"]',
    inputs=_clip_inputs,
    solution=clipped_objective,
    mistakes=[
        Mistake(
            "not clipped",
            lambda new, old, A, clip: (new - old).exp() * A,
            "This is ρ A alone: nothing keeps the policy from going far on one batch.",
        ),
        Mistake(
            "clipped on both sides",
            lambda new, old, A, clip: (new - old).exp().clamp(1 - clip, 1 + clip) * A,
            "A token that has moved the wrong way must be able to come back: the minimum with the unclipped ρ A keeps "
            "that gradient.",
        ),
        Mistake(
            "the maximum of the two",
            lambda new, old, A, clip: torch.maximum(
                (new - old).exp() * A, (new - old).exp().clamp(1 - clip, 1 + clip) * A
            ),
            "Take the minimum: the smaller promise is the careful one. With the maximum the clip never holds anything "
            "back.",
        ),
        Mistake(
            "old over new",
            lambda new, old, A, clip: clipped_objective(old, new, A, clip),
            "ρ = p_new / p_old: it grows when the new policy likes the token better.",
        ),
        Mistake(
            "a difference of logarithms in place of the ratio",
            lambda new, old, A, clip: torch.minimum((new - old) * A, (new - old).clamp(1 - clip, 1 + clip) * A),
            "`new - old` is ln ρ. Take exp.",
        ),
        Mistake(
            "a ratio of logarithms",
            lambda new, old, A, clip: torch.minimum(
                new / old.clamp(max=-1e-9) * A, (new / old.clamp(max=-1e-9)).clamp(1 - clip, 1 + clip) * A
            ),
            "The ratio of probabilities is exp(ln p_new − ln p_old), not ln p_new / ln p_old.",
        ),
        Mistake(
            "the product is clipped, not the ratio",
            lambda new, old, A, clip: torch.minimum(
                (new - old).exp() * A, ((new - old).exp() * A).clamp(1 - clip, 1 + clip)
            ),
            "Clip ρ first and multiply by A afterwards: with A = −1 your limits lie on the wrong side of 0.",
        ),
        Mistake(
            "the sign of a loss",
            lambda new, old, A, clip: -clipped_objective(new, old, A, clip),
            "Asked for is the objective, which is made large. A loss is its negative.",
        ),
        Mistake(
            "clipped from above only",
            lambda new, old, A, clip: torch.minimum((new - old).exp() * A, (new - old).exp().clamp(max=1 + clip) * A),
            "With a negative advantage a token must not fall too far either: clamp at 1 − ε, too.",
        ),
    ],
    hints=[
        "The ratio first: both inputs are logarithms.",
        "Two candidates: ρ A, and A times the ρ that was clamped to [1 − ε, 1 + ε].",
        "`torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)`.",
    ],
)


# ---- reinforcement.6 -------------------------------------------------------------------------------------------------


def kl_estimate(policy, reference):
    ln_r = reference - policy
    return ln_r.exp() - 1 - ln_r


def _kl_inputs(rng):
    yield torch.tensor([-1.0, -1.0]), torch.tensor([-1.0, -2.0])
    yield torch.tensor([-2.0, -0.5, -1.0]), torch.tensor([-1.0, -1.5, -1.0])
    for n in (4, 6):
        policy = -_normal(rng, n).abs()
        yield policy, policy + _normal(rng, n, scale=0.7)


_KL = Exercise(
    id="reinforcement.6",
    title="How far from the reference?",
    kind="warm-up",
    minutes=8,
    difficulty=2,
    prompt="Estimate the KL divergence from sampled tokens, one number for each: r − 1 − ln r, where r is the "
    "probability of the token under the *reference* divided by that under the *policy*.\n\nShapes: `policy` and "
    "`reference`, ln p of the tokens, [T]. Result: [T]; never negative, and 0 where both agree. Example: policy "
    "[−1], reference [−2] gives [0.368].",
    signature='def kl_estimate(policy: Float[Tensor, "T"], reference: Float[Tensor, "T"]) -> Float[Tensor, "T"]',
    inputs=_kl_inputs,
    solution=kl_estimate,
    mistakes=[
        Mistake(
            "the other way round",
            lambda policy, reference: kl_estimate(reference, policy),
            "Here r is policy / reference. On tokens that the *policy* sampled, r = reference / policy has the KL "
            "divergence as its mean; its inverse has not.",
        ),
        Mistake(
            "the plain difference",
            lambda policy, reference: policy - reference,
            "The mean of this is the KL divergence too (k1), but single values can be negative and vary more. Asked "
            "for is r − 1 − ln r.",
        ),
        Mistake(
            "half the square",
            lambda policy, reference: (policy - reference).square() / 2,
            "This is k2, which is biased. Asked for is r − 1 − ln r.",
        ),
        Mistake(
            "the 1 is forgotten",
            lambda policy, reference: (reference - policy).exp() - (reference - policy),
            "Where both agree this gives 1. Subtract 1.",
        ),
        Mistake(
            "ln r has the wrong sign",
            lambda policy, reference: (reference - policy).exp() - 1 + (reference - policy),
            "r − 1 *minus* ln r: then its smallest value is 0, at r = 1.",
        ),
        Mistake(
            "only r − 1",
            lambda policy, reference: (reference - policy).exp() - 1,
            "The mean of r − 1 is 0 whatever the models do. The KL divergence is in −ln r.",
        ),
        Mistake(
            "weighted by the probability",
            lambda policy, reference: policy.exp() * (policy - reference),
            "The tokens were sampled from the policy, so likely ones occur often already. Don't weigh them again.",
        ),
    ],
    hints=[
        "ln r = reference − policy.",
        "r = exp(ln r).",
        "`(reference - policy).exp() - 1 - (reference - policy)`.",
    ],
    package="gptlab.reinforcement.kl_estimate",
)


# ---- reinforcement.7 -------------------------------------------------------------------------------------------------


def dpo_loss(chosen, rejected, reference_chosen, reference_rejected, beta):
    margin = (chosen - reference_chosen) - (rejected - reference_rejected)
    return -F.logsigmoid(beta * margin).mean()


def _dpo_inputs(rng):
    yield *[torch.full((1,), -3.0)] * 4, 0.1
    yield torch.tensor([-8.0]), torch.tensor([-10.0]), torch.tensor([-9.0]), torch.tensor([-9.0]), 0.5
    yield (
        torch.tensor([-8.0, -5.0]),
        torch.tensor([-10.0, -5.0]),
        torch.tensor([-9.0, -4.0]),
        torch.tensor([-8.0, -7.0]),
        0.3,
    )
    for n in (3, 5):
        yield *(_normal(rng, n, scale=3.0) - 40 for _ in range(4)), rng.choice((0.1, 0.2, 0.5))


def _from_margin(margin: Callable, loss: Callable = lambda m, beta: -F.logsigmoid(beta * m).mean()) -> Callable:
    return lambda chosen, rejected, r_chosen, r_rejected, beta: loss(
        margin(chosen, rejected, r_chosen, r_rejected), beta
    )


def _margin(chosen: Tensor, rejected: Tensor, r_chosen: Tensor, r_rejected: Tensor) -> Tensor:
    return (chosen - r_chosen) - (rejected - r_rejected)


_DPO = Exercise(
    id="reinforcement.7",
    title="Direct preference optimization",
    kind="stretch",
    minutes=15,
    difficulty=3,
    prompt="In Bradley and Terry's model, a completion with score s is preferred to one with score t with probability "
    "σ(s − t). DPO takes β ln(π / π_reference) as the score. Give the mean of −ln(probability that the chosen one is "
    "preferred).\n\nShapes: four tensors [B] of ln p of whole completions, and β. Result: a scalar. Where all four "
    "are equal it is ln 2.",
    signature="def dpo_loss(\n"
    '    chosen: Float[Tensor, "B"], rejected: Float[Tensor, "B"],\n'
    '    reference_chosen: Float[Tensor, "B"], reference_rejected: Float[Tensor, "B"], beta: float,\n'
    ') -> Float[Tensor, ""]',
    inputs=_dpo_inputs,
    solution=dpo_loss,
    mistakes=[
        Mistake(
            "the reference is forgotten",
            _from_margin(lambda chosen, rejected, _, __: chosen - rejected),
            "Without the reference, a completion that was unlikely to begin with counts as bad. Subtract "
            "ln π_reference from each.",
        ),
        Mistake(
            "chosen and rejected are swapped",
            _from_margin(lambda *four: -_margin(*four)),
            "This learns to prefer the rejected one: chosen minus rejected.",
        ),
        Mistake(
            "the reference has the wrong sign",
            _from_margin(lambda c, r, rc, rr: (c + rc) - (r + rr)),
            "ln(π / π_reference) is a difference.",
        ),
        Mistake(
            "β outside the sigmoid",
            _from_margin(_margin, lambda m, beta: -beta * F.logsigmoid(m).mean()),
            "β scales the scores, inside the sigmoid. Outside it only scales the learning rate.",
        ),
        Mistake(
            "β is forgotten",
            _from_margin(_margin, lambda m, beta: -F.logsigmoid(m).mean()),
            "Multiply the difference of the scores by β.",
        ),
        Mistake(
            "divided by β",
            _from_margin(_margin, lambda m, beta: -F.logsigmoid(m / beta).mean()),
            "A score is β times the logarithm of the ratio.",
        ),
        Mistake(
            "the logarithm is forgotten",
            _from_margin(_margin, lambda m, beta: -(beta * m).sigmoid().mean()),
            "−σ is no surprise. Take −ln σ: `F.logsigmoid`.",
        ),
        Mistake(
            "not negated",
            _from_margin(_margin, lambda m, beta: F.logsigmoid(beta * m).mean()),
            "ln σ is below 0, and a loss is to be made small. Negate it.",
        ),
        Mistake(
            "a ratio of logarithms",
            _from_margin(lambda c, r, rc, rr: c / rc - r / rr),
            "The inputs are logarithms already: ln(π / π_reference) is their difference, not their quotient.",
        ),
        Mistake(
            "the mean inside the sigmoid",
            _from_margin(_margin, lambda m, beta: -F.logsigmoid(beta * m.mean())),
            "Each pair has a surprise of its own: take the mean of the surprises, not the surprise of the mean.",
        ),
        Mistake(
            "the sum of the pairs",
            _from_margin(_margin, lambda m, beta: -F.logsigmoid(beta * m).sum()),
            "Take the mean over the pairs.",
        ),
    ],
    hints=[
        "Write the two scores first: β (ln π − ln π_reference), for the chosen and for the rejected completion.",
        "−ln σ(score of the chosen − score of the rejected), as `F.logsigmoid`, which doesn't overflow.",
        "`-F.logsigmoid(beta * ((chosen - reference_chosen) - (rejected - reference_rejected))).mean()`.",
    ],
    package="gptlab.preferences.dpo_loss",
)


# ---- reinforcement.8 -------------------------------------------------------------------------------------------------


def teaching_groups(p, N):
    return 1 - p**N - (1 - p) ** N


def _teaching_inputs(rng):
    yield 0.5, 2
    yield 0.25, 2
    yield 0.04, 8
    yield 0.9, 4
    yield 0.3, 3
    for _ in range(3):
        yield rng.uniform(0.05, 0.95), rng.randrange(3, 17)


_TEACHING = Exercise(
    id="reinforcement.8",
    title="How many groups teach anything?",
    kind="core",
    minutes=8,
    difficulty=2,
    prompt="A completion earns reward 1 with probability p, and 0 otherwise. What is the probability that a group of N "
    "independent completions has at least two different rewards in it? (The others give advantages of zero.)\n\n"
    "Input: `p`, a `float`; `N`, an `int` of at least 2. Result: a `float`. Example: p = 0.5, N = 2 gives 0.5.",
    signature="def teaching_groups(p: float, N: int) -> float",
    inputs=_teaching_inputs,
    solution=teaching_groups,
    mistakes=[
        Mistake(
            "groups in which all succeed are counted",
            lambda p, N: 1 - (1 - p) ** N,
            "This is the probability of at least one success. A group in which all succeed teaches nothing either.",
        ),
        Mistake(
            "groups in which all fail are counted",
            lambda p, N: 1 - p**N,
            "This is the probability of at least one failure. A group in which all fail teaches nothing either.",
        ),
        Mistake(
            "the probability of a flat group",
            lambda p, N: p**N + (1 - p) ** N,
            "These are the groups that teach nothing. Asked for are the others.",
        ),
        Mistake(
            "exactly one success",
            lambda p, N: N * p * (1 - p) ** (N - 1),
            "Two or three successes among N differ from the failures as well.",
        ),
        Mistake(
            "the variance of one reward",
            lambda p, N: p * (1 - p),
            "p (1 − p) is the variance of a single reward. It doesn't know how large the group is.",
        ),
        Mistake(
            "both events are multiplied",
            lambda p, N: (1 - p**N) * (1 - (1 - p) ** N),
            "“Not all succeed” and “not all fail” are not independent. Add up the two flat cases, and subtract.",
        ),
        Mistake(
            "added up over the group",
            lambda p, N: N * p,
            "N p is how many successes there are on average, not a probability.",
        ),
    ],
    hints=[
        "When does a group have no difference? There are two ways.",
        "All succeed: pᴺ. All fail: (1 − p)ᴺ. Both can't happen at once.",
        "`1 - p**N - (1 - p)**N`.",
    ],
)

EXERCISES = [_BANDIT, _LEAVE_ONE_OUT, _GROUPS, _LOG_PROB, _CLIP, _KL, _DPO, _TEACHING]

PREDICTIONS = [
    Prediction(
        id="reinforcement.a",
        question="Three arms, all equally likely. Arm 0 is pulled and pays 4, the lowest of the three. What happens to "
        "its probability in this step, without a baseline?",
        kind="choice",
        choices=("it grows", "it stays", "it shrinks"),
        answer="a",
        explanation="4 is positive, and REINFORCE knows nothing of the other arms: it makes likelier whatever was paid "
        "for. Only on average, over many pulls, do the better arms win.",
    ),
    Prediction(
        id="reinforcement.b",
        question="A constant of 100 is added to every reward. What happens to REINFORCE without a baseline?",
        kind="choice",
        choices=(
            "nothing: the best arm is still the best",
            "the mean gradient stays, and its noise grows",
            "the mean gradient grows a hundredfold",
        ),
        answer="b",
        explanation="The mean of the gradient of ln p is zero, so a constant adds nothing on average. But every single "
        "step is now dominated by the 100.",
    ),
    Prediction(
        id="reinforcement.c",
        question="The reward is the number of cheerful words. What will the model write after two dozen updates?",
        kind="choice",
        choices=(
            "stories with happy ends",
            "longer stories with more detail",
            "worse stories, or none at all, stuffed with cheerful words",
        ),
        answer="c",
        explanation="Nobody asked for a story. The reward counts words, and the shortest way to more words is taken.",
    ),
    Prediction(
        id="reinforcement.d",
        question="A model is coherent in 4 stories of 100. How many of 100 groups of 8 have any difference in reward?",
        kind="number",
        answer=28,
        tolerance=0.25,
        explanation="1 − 0.96⁸ is about 0.28; and in most of these a single story has to show what was good.",
    ),
]

QUESTIONS = [
    Question(
        about="sampling",
        question="Logits are divided by the temperature before the softmax. Which temperature leaves the model's own "
        "distribution?",
        choices=("0", "0.5", "1"),
        answer="c",
        explanation="Dividing by 1 changes nothing. At 0 only the best token is left, and nothing would be explored.",
    ),
    Question(
        about="training",
        question="A target of −100 in a batch means …",
        choices=("an unknown token", "a position that costs nothing", "the end of a text"),
        answer="b",
        explanation="The loss skips it: padding, or a prompt that is not to be learned.",
    ),
    Question(
        about="training",
        question="A step of gradient descent moves the weights …",
        choices=(
            "along the gradient of the loss",
            "against the gradient of the loss",
            "at random, and keeps what helps",
        ),
        answer="b",
        explanation="The gradient points to where the loss grows. With a reward in place of a loss, the sign turns.",
    ),
]
