"""Reinforcement learning: make what was rewarded more likely (notebook `reinforcement`).

From top to bottom: the policy gradient, what a reward is compared with, the clipped objective and the distance to the
reference model, all of them as one `Objective` of `gptlab.training`, and `reinforce` and `grpo`, which run it. What is
sampled and judged comes from `gptlab.rollouts` and `gptlab.rewards`.

>>> rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
>>> group_advantages(rewards).round(decimals=2)
tensor([[ 0.8700, -0.8700, -0.8700,  0.8700]])
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gptlab import training
from gptlab.batches import IGNORE
from gptlab.entrances import checked
from gptlab.policy import PolicyConfig
from gptlab.rewards import Completion, Reward
from gptlab.rollout_source import FlatRewards, Rollouts
from gptlab.rollouts import Prompt, Rollout, judge, token_log_probs
from gptlab.schedule import TrainConfig
from gptlab.tokenizing import Tokenizer
from gptlab.training import History

__all__ = [
    "TRAINING", "Completion", "FlatRewards", "Learned", "PolicyConfig", "PolicyObjective", "Prompt", "Reward",
    "Rollout", "Rollouts", "clipped_loss", "group_advantages", "grpo", "judge", "kl_estimate", "leave_one_out",
    "masked_mean", "policy_gradient_loss", "reinforce", "rollouts_for", "token_log_probs",
]  # fmt: skip

# The training of these runs: few steps, each of which costs a round of sampling.
TRAINING = TrainConfig(steps=40, learning_rate=1e-3, warmup=3, decay_fraction=0.5, evaluate_every=0, save_every=10)


# ── The policy gradient ──────────────────────────────────────────────────────────────────────────────────────────────


def policy_gradient_loss(
    log_probs: Float[Tensor, "*batch T"], advantages: Float[Tensor, "*#batch 1"]
) -> Float[Tensor, "*batch T"]:
    """REINFORCE: the loss whose gradient makes sampled tokens likelier, the more so the larger their advantage.

    −A ln π(token), with the gradient −A ∇ ln π (Williams 1992). Its value says nothing: it is made for its gradient.

    Args:
        log_probs: of the sampled tokens under the policy.
        advantages: one for each completion.

    >>> policy_gradient_loss(torch.tensor([[-1.0, -2.0]]), torch.tensor([[0.5]]))
    tensor([[0.5000, 1.0000]])
    """
    return -advantages * log_probs


# ── What a reward is compared with ───────────────────────────────────────────────────────────────────────────────────


def no_baseline(rewards: Float[Tensor, "G N"]) -> Float[Tensor, "G N"]:
    """The rewards themselves."""
    return rewards


def leave_one_out(rewards: Float[Tensor, "G N"]) -> Float[Tensor, "G N"]:
    """Each reward minus the mean of the others in its group: a baseline that adds no bias (Kool et al. 2019).

    >>> leave_one_out(torch.tensor([[1.0, 0.0, 0.0]]))
    tensor([[ 1.0000, -0.5000, -0.5000]])
    """
    N = rewards.shape[1]
    return (rewards - rewards.mean(dim=1, keepdim=True)) * N / (N - 1)


def group_advantages(rewards: Float[Tensor, "G N"], eps: float = 1e-4) -> Float[Tensor, "G N"]:
    """GRPO's: each reward minus the mean of its group, in standard deviations of the group (Shao et al. 2024).

    A group in which all rewards are the same has advantages of 0: it teaches nothing.

    Args:
        rewards: of G groups of N completions of the same prompt.
        eps: added to the standard deviation.
    """
    return (rewards - rewards.mean(dim=1, keepdim=True)) / (rewards.std(dim=1, keepdim=True) + eps)


ADVANTAGES = {"none": no_baseline, "leave_one_out": leave_one_out, "group": group_advantages}


# ── Close to the policy that sampled, and to the reference ───────────────────────────────────────────────────────────


def clipped_loss(
    log_probs: Float[Tensor, "*batch T"],
    behaviour: Float[Tensor, "*batch T"],
    advantages: Float[Tensor, "*#batch 1"],
    clip: float | int | None = 0.2,
) -> Float[Tensor, "*batch T"]:
    """PPO's clipped objective as a loss, token by token (Schulman et al. 2017, eq. 7).

    ρ = π / π_behaviour is how much likelier the token has become since it was sampled. Once it has moved by more than
    `clip` in the direction that the advantage asks for, going on earns nothing, and the gradient is 0. Where the policy
    is still the one that sampled, ρ = 1 and the gradient is that of `policy_gradient_loss`.

    Args:
        log_probs: under the policy that learns.
        behaviour: under the policy that sampled; no gradient goes there.
        advantages: one for each completion.
        clip: None for the ratio alone.

    >>> ln_two = torch.tensor([[0.693147]])
    >>> clipped_loss(ln_two, torch.zeros(1, 1), torch.tensor([[1.0]]))
    tensor([[-1.2000]])
    """
    ratio = (log_probs - behaviour.detach()).exp()
    if clip is None:
        return -advantages * ratio
    return -torch.minimum(advantages * ratio, advantages * ratio.clamp(1 - clip, 1 + clip))


def kl_estimate(
    log_probs: Float[Tensor, "*batch T"], reference: Float[Tensor, "*batch T"]
) -> Float[Tensor, "*batch T"]:
    """An estimate of KL(policy ‖ reference) from sampled tokens: r − 1 − ln r with r = π_reference / π.

    Never negative, 0 where both agree, and on average the KL divergence (Schulman 2020, "k3"; GRPO's penalty).

    >>> kl_estimate(torch.tensor([-1.0, -1.0]), torch.tensor([-1.0, -2.0]))
    tensor([0.0000, 0.3679])
    """
    ln_ratio = reference - log_probs
    return ln_ratio.exp() - 1 - ln_ratio


def masked_mean(
    values: Float[Tensor, "B T"], counts: Bool[Tensor, "B T"], over: str = "completions"
) -> Float[Tensor, ""]:
    """The mean over tokens that count; NaN at any other place changes neither it nor its gradient.

    Args:
        values: one for each token.
        counts: True where a token counts; at least once in each row.
        over: "completions": the mean of the rows' means, as in GRPO, where a token of a long text weighs less.
            "tokens": each token weighs the same (Yu et al. 2025, DAPO).

    >>> values, counts = torch.tensor([[1.0, 1.0], [4.0, 9.0]]), torch.tensor([[True, True], [True, False]])
    >>> masked_mean(values, counts).item(), masked_mean(values, counts, "tokens").item()
    (2.5, 2.0)
    """
    values = torch.where(counts, values, 0.0)
    if over == "tokens":
        return values.sum() / counts.sum()
    return (values.sum(dim=1) / counts.sum(dim=1)).mean()


class PolicyObjective:
    """The loss of a `Rollout`, for `training.run`: clipped, and with the price of leaving the reference model.

    Args:
        config: clip, kl, temperature, and what the mean is over.
    """

    def __init__(self, config: PolicyConfig):
        self.config = config

    def __call__(self, model: nn.Module, batch: Rollout) -> Float[Tensor, ""]:
        """The mean loss of a batch."""
        logits, _ = model(batch.ids)
        new = token_log_probs(logits, batch.targets, self.config.temperature)
        loss = clipped_loss(new, batch.behaviour, batch.advantages[:, None], self.config.clip)
        if self.config.kl:
            loss = loss + self.config.kl * kl_estimate(new, batch.reference)
        return masked_mean(loss, batch.targets != IGNORE, self.config.mean_over)

    def count(self, batch: Rollout) -> int:
        """What the mean is over: completions, or tokens."""
        return len(batch.ids) if self.config.mean_over == "completions" else int((batch.targets != IGNORE).sum())


# ── Runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Learned:
    """What happened in a run.

    Attributes:
        history: of `training.run`; its losses mean little here.
        records: one for each round of sampling, as `Rollouts` writes them.
    """

    history: History
    records: list[dict[str, float]]

    def curve(self, name: str) -> list[float]:
        """One quantity of every round, such as "reward", for a picture."""
        return [record[name] for record in self.records]


def rollouts_for(
    model: nn.Module,
    tokenizer: Tokenizer,
    reward: Callable,
    policy: PolicyConfig,
    *,
    prompts: Sequence[Prompt] | None = None,
    reference: nn.Module | None = None,
    **options: Any,
) -> Rollouts:
    """The source of batches for a policy: stories from the end token on unless there are prompts.

    Args:
        model: the policy.
        tokenizer: of the model.
        reward: a `Reward`.
        policy: its `advantage` decides what a reward is compared with.
        prompts: what is continued.
        reference: of the KL penalty; with `policy.kl` above 0, the model as it is now unless given.
        options: those of `Rollouts`.
    """
    if policy.kl and reference is None:
        reference = copy.deepcopy(model).requires_grad_(False)
    prompts = [Prompt([tokenizer.end])] if prompts is None else prompts
    advantages = ADVANTAGES[policy.advantage]
    return Rollouts(model, tokenizer, prompts, reward, advantages, policy, reference=reference, **options)


@checked
def grpo(
    model: nn.Module,
    tokenizer: Tokenizer,
    reward: Callable,
    config: TrainConfig | None = None,
    policy: PolicyConfig | None = None,
    *,
    progress: bool = True,
    sampling: dict[str, Any] | None = None,
    **options: Any,
) -> Learned:
    """Train a model on a reward by group-relative policy optimization (Shao et al. 2024).

    Each step samples completions, compares each with the others of its group, and makes the better ones likelier.

    Args:
        model: the policy, changed in place.
        tokenizer: of the model.
        reward: a `Reward`.
        config: how to train; `TRAINING` unless given.
        policy: how to sample and compare.
        progress: show how it goes.
        sampling: arguments for `rollouts_for`, such as prompts, B, reference, seed, measure.
        options: those of `training.run`, such as folder and resume.

    Raises:
        FlatRewards: no reward ever differed within a group.
        ValueError: a reward that isn't one finite number for each completion, or settings that don't fit the model.
    """
    config, policy = config or TRAINING, policy or PolicyConfig()
    policy = replace(policy, patience=min(policy.patience, -(-config.steps // policy.updates)))
    rollouts = rollouts_for(model, tokenizer, reward, policy, **(sampling or {}))

    def line(history: History) -> str:
        shown = {name: value for name, value in rollouts.records[-1].items() if name not in ("spread", "ended")}
        words = "  ".join(f"{name} {value:.3g}" for name, value in shown.items())
        return f"step {history.steps:>5}  {words}"

    running = training.run(model, rollouts, config, objective=PolicyObjective(policy), **options)
    history = training.with_progress(running, config.steps, progress, line)
    return Learned(history, rollouts.records)


def reinforce(
    model: nn.Module,
    tokenizer: Tokenizer,
    reward: Callable,
    config: TrainConfig | None = None,
    policy: PolicyConfig | None = None,
    *,
    baseline: bool = True,
    **options: Any,
) -> Learned:
    """Train a model on a reward by REINFORCE (Williams 1992): no standard deviation, no clipping, one update a round.

    Args:
        model: as for `grpo`, like the next three.
        tokenizer: of the model.
        reward: a `Reward`.
        config: how to train.
        policy: how to sample.
        baseline: subtract the mean of the other completions; without, all rewards push.
        options: those of `grpo`.
    """
    plain = dict(advantage="leave_one_out" if baseline else "none", updates=1, clip=None)
    return grpo(model, tokenizer, reward, config, replace(policy or PolicyConfig(), **plain), **options)
