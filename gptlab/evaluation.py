"""How good a model is: its mean loss on any text, and on fables its distance to the entropy (notebook `training`)."""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from gptlab.batches import IGNORE, BatchSource, StoryBatches, as_batch_source
from gptlab.corpora.fables import Fable
from gptlab.entrances import guard
from gptlab.model import device_of, evaluating
from gptlab.tokens import Tokenizer


@torch.no_grad()
def mean_loss(model: nn.Module, batches: BatchSource | Iterable, steps: int | None = None) -> float:
    """The mean loss in nats per token over one epoch of batches, with dropout off.

    Each token counts once, whichever batch it is in; targets of `IGNORE` do not count.

    Args:
        model: gives (logits, loss) for (ids, targets); it is left in the mode it was in.
        batches: a `BatchSource`, or any iterable of (ids, targets).
        steps: only the first so many batches; all unless given.

    Raises:
        ValueError: where not a single target counts.
    """
    batches = as_batch_source(batches)
    device, steps = device_of(model), len(batches) if steps is None else steps
    total, count = 0.0, 0
    with evaluating(model):
        for step in range(steps):
            ids, targets = batches.batch(step)
            counted = int((targets != IGNORE).sum())
            if counted:  # the mean over no targets would be NaN
                total += float(model(ids.to(device), targets.to(device))[1]) * counted
                count += counted
    if count == 0:
        raise ValueError(
            f"no target in {steps} batches counts, so there is no mean loss: pass steps >= 1 and batches whose targets "
            "are not all IGNORE"
        )
    return total / count


class StoryEvaluation:
    """How far a model is from perfect: its loss on generated stories, minus their exact entropy, in nats per story.

    Called with a model it gives, in nats per story: `loss`, `floor` (the entropy) and their difference `excess`; and
    the excess in three parts that sum to it: `free` (choices that nobody could know: only more than their −ln p
    counts), `recalled` (facts that were stated before: each should cost nothing) and `form` (all other words).

    Args:
        stories: with the probability and the marks of every choice.
        tokenizer: that the model was trained with.
        end: the token that ends a story.
    """

    def __init__(self, stories: Sequence[Fable], tokenizer: Tokenizer, end: int):
        documents = [[*tokenizer.encode(story.text), end] for story in stories]
        self.batches = StoryBatches(documents, B=64, start=end, shuffle=False)
        self.floor = sum(story.nats for story in stories) / len(stories)
        self.stories = stories
        self.kinds = [self._kinds(story, tokenizer, ids) for story, ids in zip(stories, documents, strict=True)]

    @staticmethod
    def _kinds(story: Fable, tokenizer: Tokenizer, ids: Sequence[int]) -> list[tuple[str, str]]:
        """For each token: what it is part of ("free", "recalled" or "form"), and of which fact."""
        kinds, position = [], 0  # in characters
        for i in ids[:-1]:
            text = tokenizer.token_bytes(i).decode("ascii")
            start = position + (
                len(text) - len(text.lstrip()) if text.strip() else 0
            )  # without the space before a word
            mark = next((m for m in story.marks if m.start <= start < m.end), None)
            kinds.append(("form", "") if mark is None else ("recalled" if mark.recalled else "free", mark.fact))
            position += len(text)
        return [*kinds, ("form", "")]  # the end token

    @torch.no_grad()
    def token_losses(self, model: nn.Module) -> list[list[float]]:
        """For each story, the loss at each of its tokens, in nats."""
        rows, device = [], device_of(model)
        with evaluating(model):
            for ids, targets in self.batches:
                logits, _ = model(ids.to(device))
                losses = F.cross_entropy(
                    logits.float().transpose(1, 2), targets.to(device), ignore_index=IGNORE, reduction="none"
                )  # [B, T]
                rows += [row[: int((t != IGNORE).sum())].tolist() for row, t in zip(losses, targets, strict=True)]
        return rows

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Loss, entropy, excess and its three parts, in nats per story."""
        return self.summary(self.by_fact(model))

    def summary(self, by_fact: dict[tuple[str, str], float]) -> dict[str, float]:
        """The numbers of an evaluation, from the excess of each fact."""
        parts = dict.fromkeys(("free", "recalled", "form"), 0.0)
        for (kind, _), nats in by_fact.items():
            parts[kind] += nats
        excess = sum(parts.values())
        return {"loss": self.floor + excess, "floor": self.floor, "excess": excess, **parts}

    def by_fact(self, model: nn.Module) -> dict[tuple[str, str], float]:
        """The excess in nats per story for each (kind, fact), e.g. ("recalled", "finder.name")."""
        total: dict[tuple[str, str], float] = {}
        for story, kinds, losses in zip(self.stories, self.kinds, self.token_losses(model), strict=True):
            for key, nats in zip(kinds, losses, strict=True):
                total[key] = total.get(key, 0.0) + nats / len(self.stories)
            for choice in story.choices:
                key = ("free", choice.fact)
                total[key] = total.get(key, 0.0) - choice.nats / len(self.stories)
        return total


guard(globals())
