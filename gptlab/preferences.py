"""Preferences: which of two texts is better, a reward model learned from that, and DPO, which needs none.

From top to bottom: pairs, Bradley and Terry's model, direct preference optimization, and pairs made from what a model
writes. Nothing is sampled while they train. A model that learns scores from pairs is in `gptlab.reward_model`.

>>> bradley_terry_loss(torch.tensor([1.0]), torch.tensor([1.0]))
tensor(0.6931)
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gptlab import training
from gptlab.entrances import Count, Positive, checked
from gptlab.rewards import name_of, rewards_of
from gptlab.rollouts import Prompt, as_batch, complete, log_probs, token_log_probs
from gptlab.schedule import TrainConfig
from gptlab.tokenizing import Tokenizer
from gptlab.training import History

TRAINING = TrainConfig(steps=40, learning_rate=5e-4, warmup=3, decay_fraction=0.5, evaluate_every=0)


class Pair(NamedTuple):
    """Two completions of the same prompt, of which one is preferred.

    Attributes:
        prompt: token ids, at least one.
        chosen: the ids of the better one, its end token included.
        rejected: the ids of the other.
    """

    prompt: Sequence[int]
    chosen: Sequence[int]
    rejected: Sequence[int]


class PairBatch(NamedTuple):
    """B pairs, the chosen completion first.

    Attributes:
        ids: prompts and completions, padded on the right.
        targets: the token that follows; `IGNORE` in the prompt and in the padding.
        reference: ln p of each completion under the reference model; 0 without one.
    """

    ids: Int[Tensor, "B 2 T"]
    targets: Int[Tensor, "B 2 T"]
    reference: Float[Tensor, "B 2"]


class PairBatches:
    """Batches of pairs, in an order that depends on the seed; the same for a step whenever it is asked for.

    Args:
        pairs: to learn from.
        B: pairs in a batch.
        reference: a model whose ln p of each completion is computed once, for DPO.
        seed: of the order.

    Raises:
        ValueError: there are no pairs, B is below 1, or a prompt or a completion is empty.
    """

    def __init__(self, pairs: Sequence[Pair], B: int = 16, reference: nn.Module | None = None, seed: int = 0):
        if not pairs or B < 1:
            raise ValueError(f"{len(pairs)} pairs and B={B}: pass at least one pair, and a B of at least 1")
        if empty := [i for i, pair in enumerate(pairs) if not all(map(len, pair))]:
            raise ValueError(f"pair {empty[0]} has an empty part: a prompt and both completions need a token each")
        self.B, self.seed = min(B, len(pairs)), seed
        prompts = [pair.prompt for pair in pairs for _ in range(2)]
        rows = [[*pair.prompt, *one] for pair in pairs for one in (pair.chosen, pair.rejected)]
        ids, targets = as_batch(prompts, rows)
        self.lengths = torch.tensor([len(row) - 1 for row in rows]).view(-1, 2)
        scores = torch.zeros(len(rows)) if reference is None else log_probs(reference, ids, targets).sum(dim=1)
        self.all = PairBatch(*(part.view(len(pairs), 2, *part.shape[1:]) for part in (ids, targets, scores)))

    def __len__(self) -> int:
        return -(-len(self.all.ids) // self.B)

    def batch(self, step: int) -> PairBatch:
        """The pairs of a step; the last of an epoch may be fewer."""
        epoch, place = divmod(step, len(self))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        chosen = torch.randperm(len(self.all.ids), generator=generator)[place * self.B : (place + 1) * self.B]
        T = int(self.lengths[chosen].max())
        return PairBatch(self.all.ids[chosen, :, :T], self.all.targets[chosen, :, :T], self.all.reference[chosen])


# ── Bradley and Terry ────────────────────────────────────────────────────────────────────────────────────────────────


def bradley_terry_loss(chosen: Float[Tensor, " B"], rejected: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """−ln σ(r_chosen − r_rejected): how surprised somebody is who believes in these scores (Bradley and Terry 1952).

    Args:
        chosen: the scores of the preferred completions.
        rejected: those of the others; only the differences matter.
    """
    return -F.logsigmoid(chosen - rejected).mean()


class PairObjective:
    """What the objectives of pairs have in common."""

    def count(self, batch: PairBatch) -> int:
        """The pairs: each weighs the same, however long."""
        return len(batch.ids)


# ── Direct preference optimization ───────────────────────────────────────────────────────────────────────────────────


@checked
def dpo_loss(
    chosen: Float[Tensor, " B"],
    rejected: Float[Tensor, " B"],
    reference_chosen: Float[Tensor, " B"],
    reference_rejected: Float[Tensor, " B"],
    beta: Positive = 0.1,
) -> Float[Tensor, ""]:
    """DPO: Bradley and Terry's loss, where β ln(π / π_reference) is the score (Rafailov et al. 2023, eq. 7).

    The policy is its own reward model: it must prefer the chosen completion by more than the reference does.

    Args:
        chosen: ln π of the preferred completions, summed over their tokens.
        rejected: the same of the others.
        reference_chosen: ln π_reference of the preferred ones.
        reference_rejected: the same of the others.
        beta: how expensive it is to leave the reference model.

    >>> zero = torch.zeros(1)
    >>> dpo_loss(zero, zero, zero, zero)
    tensor(0.6931)
    """
    return bradley_terry_loss(beta * (chosen - reference_chosen), beta * (rejected - reference_rejected))


class DPOObjective(PairObjective):
    """The loss of `dpo_loss` on a `PairBatch`, for `training.run`.

    Args:
        beta: as for `dpo_loss`.
    """

    def __init__(self, beta: float | int = 0.1):
        self.beta = beta

    def __call__(self, model: nn.Module, batch: PairBatch) -> Float[Tensor, ""]:
        """The mean loss of a batch of pairs, in nats per pair."""
        ids, targets = batch.ids.flatten(0, 1), batch.targets.flatten(0, 1)
        scores = token_log_probs(model(ids)[0], targets).sum(dim=1).view(-1, 2)  # [B, 2]
        return dpo_loss(scores[:, 0], scores[:, 1], batch.reference[:, 0], batch.reference[:, 1], self.beta)


@checked
def dpo(
    model: nn.Module,
    pairs: Sequence[Pair],
    config: TrainConfig | None = None,
    beta: Positive = 0.1,
    *,
    B: Count = 16,
    seed: int = 0,
    progress: bool = True,
    **options: Any,
) -> History:
    """Train a model on preferences by DPO, in place; as it is when it comes in, it is the reference.

    Args:
        model: the policy.
        pairs: what is preferred to what.
        config: how to train; `TRAINING` unless given.
        beta: as for `dpo_loss`.
        B: pairs in a batch.
        seed: of their order.
        progress: show how it goes.
        options: those of `training.run`, such as folder and resume.
    """
    config = config or TRAINING
    batches = PairBatches(pairs, B, reference=model, seed=seed)
    return run_pairs(model, batches, config, DPOObjective(beta), progress, options)


def run_pairs(
    model: nn.Module,
    batches: PairBatches,
    config: TrainConfig,
    objective: PairObjective,
    progress: bool,
    options: dict[str, Any],
) -> History:
    """Train on pairs and show the loss of a pair.

    Args:
        model: what is trained.
        batches: of pairs.
        config: how.
        objective: what is made smaller.
        progress: show how it goes.
        options: those of `training.run`.
    """
    running = training.run(model, batches, config, objective=objective, **options)
    line = lambda history: f"step {history.steps:>5}  loss {history.losses[-1]:.3f} nats per pair"  # noqa: E731
    return training.with_progress(running, config.steps, progress, line)


# ── Pairs from what a model writes ───────────────────────────────────────────────────────────────────────────────────


def make_pairs(
    model: nn.Module,
    tokenizer: Tokenizer,
    preference: Callable,
    n: int,
    *,
    prompt: Prompt | None = None,
    max_new_tokens: int = 159,
    seed: int = 0,
) -> list[Pair]:
    """Pairs of completions of a model, of which a reward prefers one; where both are equal, nobody learns anything.

    Args:
        model: that writes.
        tokenizer: of the model.
        preference: a `Reward`, in the place of a person who says which is better.
        n: how many completions are sampled; each is in at most one pair, so there are at most n / 2.
        prompt: a story from the end token on unless given.
        max_new_tokens: of each completion.
        seed: of the samples.

    Raises:
        ValueError: no completion is better than another.
    """
    prompt = Prompt([tokenizer.end]) if prompt is None else prompt
    completions, rows = complete(model, tokenizer, [prompt] * n, tokenizer.end, max_new_tokens, seed=seed)
    scores = rewards_of(preference, completions).tolist()
    start, ranked = len(prompt.ids), sorted(range(n), key=lambda i: -scores[i])
    couples = [(a, b) for a, b in zip(ranked, ranked[::-1], strict=True) if scores[a] > scores[b]]
    if not couples:
        raise ValueError(
            f"all {n} completions have the reward {scores[:1]} of {name_of(preference)}, so none is preferred: sample "
            "more, or use another preference"
        )
    return [Pair(prompt.ids, rows[a][start:], rows[b][start:]) for a, b in couples]
