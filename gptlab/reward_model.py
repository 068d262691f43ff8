"""A reward model: a GPT with one number for a head, which learns from pairs what people prefer.

With it, what nobody can program becomes a reward (Christiano et al. 2017): `as_reward` gives it to
`gptlab.reinforcement`.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gptlab.batches import IGNORE
from gptlab.model import GPT, device_of, evaluating, unwrapped
from gptlab.preferences import TRAINING, Pair, PairBatch, PairBatches, PairObjective, bradley_terry_loss, run_pairs
from gptlab.rewards import Completion
from gptlab.rollouts import as_batch
from gptlab.schedule import TrainConfig
from gptlab.tokenizing import Tokenizer
from gptlab.training import History


class RewardModel(nn.Module):
    """A GPT whose head gives one number: read at the last token of a text (before its end token), the text's score.

    Args:
        base: a trained GPT; its layers are copied, and only the head is new.
        seed: of the head's weights.
    """

    def __init__(self, base: GPT, seed: int = 0):
        super().__init__()
        self.body = copy.deepcopy(unwrapped(base))
        self.body.head = nn.Linear(base.config.n_embd, 1, bias=False)
        weights = torch.randn(1, base.config.n_embd, generator=torch.Generator().manual_seed(seed))
        self.body.head.weight = nn.Parameter((0.02 * weights).to(device_of(base)))
        self.config = base.config

    def forward(self, ids: Int[Tensor, "B T"], lengths: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The score of each text, read at its last token; what stands behind that is not seen."""
        scores, _ = self.body(ids)  # [B, T, 1]
        return scores[torch.arange(len(ids), device=ids.device), lengths - 1, 0]

    def as_reward(self, tokenizer: Tokenizer, end: int | None = None) -> Callable[[Sequence[Completion]], list[float]]:
        """A `Reward` that reads stories with this model, each with the end token before it.

        Args:
            tokenizer: of the base model.
            end: the tokenizer's unless given.
        """
        end = tokenizer.end if end is None else end

        @torch.no_grad()
        def learned_reward(completions: Sequence[Completion]) -> list[float]:
            rows = [[end, *tokenizer.encode(one.text)][: self.config.context] for one in completions]
            ids, _ = as_batch([row[:1] for row in rows], [[*row, 0] for row in rows])
            lengths, device = torch.tensor([len(row) for row in rows]), device_of(self)
            with evaluating(self):
                return self(ids.to(device), lengths.to(device)).float().tolist()

        return learned_reward


class RewardModelObjective(PairObjective):
    """Bradley and Terry's loss of a `RewardModel`, for `training.run`."""

    def __call__(self, model: nn.Module, batch: PairBatch) -> Float[Tensor, ""]:
        """The mean loss of a batch of pairs, in nats per pair."""
        ids, targets = batch.ids.flatten(0, 1), batch.targets.flatten(0, 1)
        places = torch.arange(1, ids.shape[1] + 1, device=ids.device)
        lengths = torch.where(targets != IGNORE, places, 0).amax(dim=1)  # [2 B]  up to the token before the end token
        scores = model(ids, lengths).view(-1, 2)
        return bradley_terry_loss(scores[:, 0], scores[:, 1])


def fit_reward_model(
    base: GPT,
    pairs: Sequence[Pair],
    config: TrainConfig | None = None,
    *,
    B: int = 16,
    seed: int = 0,
    progress: bool = True,
    **options: Any,
) -> tuple[RewardModel, History]:
    """Learn from pairs what is preferred: a model that gives scores.

    Args:
        base: a GPT whose layers the reward model starts with; it stays as it is.
        pairs: what is preferred to what.
        config: how to train; `TRAINING` unless given.
        B: pairs in a batch.
        seed: of their order and of the new head.
        progress: show how it goes.
        options: those of `training.run`.
    """
    model = RewardModel(base, seed)
    history = run_pairs(
        model, PairBatches(pairs, B, seed=seed), config or TRAINING, RewardModelObjective(), progress, options
    )
    return model, history
