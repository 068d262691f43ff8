"""Rollouts as a source of batches: the policy writes, a reward judges, and both become what the next step learns from.

A `BatchSource` like any other, except that its batches are sampled from the model that is being trained. What a round
samples depends on the weights, the seed and the round's number, so a run that was stopped goes on as if it had not
been.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gptlab.batches import IGNORE
from gptlab.model import unwrapped
from gptlab.policy import PolicyConfig
from gptlab.rewards import Completion, name_of, rewards_of
from gptlab.rollouts import Prompt, Rollout, as_batch, complete, log_probs
from gptlab.tokenizing import Tokenizer

Advantages = Callable[[Float[Tensor, "G N"]], Float[Tensor, "G N"]]  # from the rewards of each group


class FlatRewards(ValueError):
    """All completions of every group got the same reward, round after round: there is nothing to learn from."""


class Rollouts:
    """Batches of completions that the model writes while it learns.

    Args:
        model: the policy; its weights at the time of a step decide what is sampled.
        tokenizer: that it was trained with.
        prompts: that are continued, in an order that depends on the seed; a single one is continued in every group.
        reward: a `Reward`.
        advantages: from the rewards of each group to what is learned from.
        config: how to sample.
        B: completions in a round, in groups of `config.group_size`.
        end: the token that ends a completion; the tokenizer's unless given.
        reference: a model that the policy should stay close to.
        seed: of the samples and of the order of the prompts.
        measure: from the completions of a round to named numbers for its record, such as the share that is coherent.
        say: where to report rounds without any difference.

    Attributes:
        records: one for each round: `reward` (mean), `spread` (the mean standard deviation in a group), `flat` (groups
            without any difference), `tokens` and `ended` (mean length, share that ended), `kl` (nats per token to the
            reference), and what `measure` gave.

    Raises:
        ValueError: B isn't a multiple of the group size, a prompt and a completion don't fit the context, the model has
            dropout, or another vocabulary than the tokenizer.
        FlatRewards: from `batch`, when no reward differs within any group in the first `config.patience` rounds.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Tokenizer,
        prompts: Sequence[Prompt],
        reward: Callable,
        advantages: Advantages,
        config: PolicyConfig,
        *,
        B: int = 128,
        end: int | None = None,
        reference: nn.Module | None = None,
        seed: int = 0,
        measure: Callable[[Sequence[Completion]], dict[str, float]] | None = None,
        say: Callable[[str], None] = print,
    ):
        self.model, self.tokenizer, self.prompts, self.reward = model, tokenizer, list(prompts), reward
        self.advantages, self.config, self.B, self.reference = advantages, config, B, reference
        self.end, self.seed, self.measure, self.say = tokenizer.end if end is None else end, seed, measure, say
        self.records: list[dict[str, float]] = []
        self._step, self._round, self._orders = -1, None, {}
        self._check()

    def _check(self) -> None:
        config, settings = self.config, unwrapped(self.model).config
        if self.B < 1 or self.B % config.group_size:
            raise ValueError(f"B={self.B} completions cannot be divided into groups of {config.group_size}: choose a "
                             f"multiple of group_size={config.group_size}")  # fmt: skip
        if self.end is None:
            raise ValueError("the tokenizer has no end token, so no completion would end: pass end=")
        longest = max((len(prompt.ids) for prompt in self.prompts), default=0)
        if min((len(prompt.ids) for prompt in self.prompts), default=0) == 0:
            raise ValueError("a prompt has no token, or there is none: pass at least one prompt of at least one token")
        if longest + config.max_new_tokens - 1 > settings.context:
            raise ValueError(
                f"a prompt of {longest} tokens and {config.max_new_tokens} new ones do not fit the context of "
                f"{settings.context}: pass PolicyConfig(max_new_tokens={max(1, settings.context - longest + 1)}), or "
                "shorter prompts"
            )
        if settings.dropout:
            raise ValueError(
                f"dropout={settings.dropout}: the probabilities that are trained would not be those that were sampled "
                "with; pass a model without dropout"
            )
        if settings.vocab_size != self.tokenizer.vocab_size:
            raise ValueError(
                f"the model has V={settings.vocab_size} tokens and the tokenizer {self.tokenizer.vocab_size}: a token "
                "that can be sampled must have a text"
            )

    def batch(self, step: int) -> Rollout:
        """The batch of a step: new completions, or for a further update those of the round that it belongs to."""
        number, update = divmod(step, self.config.updates)
        if update == 0:
            self._round = self._sample(number)
        elif self._round is None or self._step // self.config.updates != number:
            raise ValueError(f"step {step} is update {update} of a round that was not sampled here: begin at "
                             f"{number * self.config.updates}, or load the state of a checkpoint")  # fmt: skip
        self._step = step
        return self._round

    def _sample(self, number: int) -> Rollout:
        """A round: sample, judge, compare, and write down what happened."""
        N, temperature = self.config.group_size, self.config.temperature
        prompts = [self._prompt(number * (self.B // N) + g) for g in range(self.B // N) for _ in range(N)]
        seed = self.seed * 1_000_003 + number
        completions, rows = complete(
            self.model, self.tokenizer, prompts, self.end, self.config.max_new_tokens, temperature, seed
        )
        rewards = rewards_of(self.reward, completions)
        groups = rewards.view(-1, N)  # [G, N]
        ids, targets = as_batch([prompt.ids for prompt in prompts], rows)
        behaviour = log_probs(self.model, ids, targets, temperature)
        reference = behaviour
        if self.reference is not None:
            reference = log_probs(self.reference, ids, targets, temperature)
        counted = int((targets != IGNORE).sum())
        record = {
            "reward": rewards.mean().item(),
            "spread": groups.std(dim=1).mean().item(),
            "flat": float((groups == groups[:, :1]).all(dim=1).sum()),
            "tokens": counted / len(rows),
            "ended": sum(one.ended for one in completions) / len(rows),
            "kl": (behaviour - reference).sum().item() / counted,
        }
        self.records[number:] = [record | (self.measure(completions) if self.measure else {})]
        self._refuse_flat(groups)
        return Rollout(ids, targets, behaviour, reference, self.advantages(groups).flatten())

    def _prompt(self, position: int) -> Prompt:
        """The prompt of a group, when all prompts are gone through again and again, each time in another order."""
        epoch, place = divmod(position, len(self.prompts))
        if epoch not in self._orders:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._orders[epoch] = torch.randperm(len(self.prompts), generator=generator).tolist()
        return self.prompts[self._orders[epoch][place]]

    def _refuse_flat(self, groups: Float[Tensor, "G N"]) -> None:
        """Say once that a round has nothing to compare; refuse a run in which no round ever had.

        Raises:
            FlatRewards: with the reward and its value.
        """
        G = len(groups)
        flat = [record["flat"] == G for record in self.records]
        if not flat[-1]:
            return
        what = f"the reward {name_of(self.reward)} is the same within each of {G} groups of {groups.shape[1]}"
        if all(flat) and len(flat) >= self.config.patience:
            raise FlatRewards(
                f"{what} in all {len(flat)} rounds so far ({groups.mean():.3g} on average in the last), so nothing can "
                "be learned: choose larger groups, a higher temperature, an easier task, or a reward with degrees"
            )
        if sum(flat) == 1:
            self.say(f"round {len(flat) - 1}: {what}, so this step teaches nothing (said once; records count them)")

    # ── What a checkpoint needs to know ──────────────────────────────────────────────────────────────────────────────

    def state_dict(self) -> dict[str, Any]:
        """The records and, between two updates with the same completions, these; as JSON can hold them."""
        open_round = self._round is not None and (self._step + 1) % self.config.updates
        rollout = {name: value.tolist() for name, value in self._round._asdict().items()} if open_round else None
        return {"step": self._step, "records": self.records, "round": rollout}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._step, self.records, rollout = state["step"], list(state["records"]), state["round"]
        self._round = None if rollout is None else Rollout(**{name: torch.tensor(row) for name, row in rollout.items()})
