"""How good a model is: its mean loss on any text, and on fables its distance to the best loss there is (lesson 09)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from gptlab.batches import IGNORE, StoryBatches
from gptlab.corpora.fables import Fable
from gptlab.model import device_of
from gptlab.tokens import Tokenizer


@torch.no_grad()
def mean_loss(model: nn.Module, batches, steps: int | None = None) -> float:
    """The mean loss in nats a token over all batches of one walk (or the first `steps`), dropout off."""
    was_training = model.training
    model.eval()
    total = count = 0
    for step in range(len(batches) if steps is None else steps):
        ids, targets = (part.to(device_of(model)) for part in batches.batch(step))
        counted = int((targets != IGNORE).sum())
        total += float(model(ids, targets)[1]) * counted
        count += counted
    model.train(was_training)
    return total / count


class StoryEvaluation:
    """How far a model is from perfect: its nats a story on told stories, minus their exact surprise.

    Called with a model it gives, in nats a story: `loss`, `floor` and their difference `excess`; and the excess in
    three parts that sum to it: `free` (choices that nobody could know: only more than their −ln p counts),
    `recalled` (facts that were stated before: each should cost nothing) and `form` (all other words).
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
        kinds, at = [], 0
        for i in ids[:-1]:
            text = tokenizer.token_bytes(i).decode("ascii")
            start = at + (len(text) - len(text.lstrip()) if text.strip() else 0)  # a word brings its space along
            mark = next((m for m in story.marks if m.start <= start < m.end), None)
            kinds.append(("form", "") if mark is None else ("recalled" if mark.recalled else "free", mark.fact))
            at += len(text)
        return [*kinds, ("form", "")]  # the end token

    @torch.no_grad()
    def token_losses(self, model: nn.Module) -> list[list[float]]:
        """For each story, the surprise at each of its tokens, in nats."""
        was_training = model.training
        model.eval()
        rows = []
        for step in range(len(self.batches)):
            ids, targets = (part.to(device_of(model)) for part in self.batches.batch(step))
            logits, _ = model(ids)
            losses = F.cross_entropy(logits.float().transpose(1, 2), targets, ignore_index=IGNORE, reduction="none")
            rows += [row[: int((t != IGNORE).sum())].tolist() for row, t in zip(losses, targets, strict=True)]
        model.train(was_training)
        return rows

    def __call__(self, model: nn.Module) -> dict[str, float]:
        return self.summary(self.by_fact(model))

    def summary(self, by_fact: dict[tuple[str, str], float]) -> dict[str, float]:
        """The numbers of an evaluation from what each fact costs."""
        parts = dict.fromkeys(("free", "recalled", "form"), 0.0)
        for (kind, _), nats in by_fact.items():
            parts[kind] += nats
        excess = sum(parts.values())
        return {"loss": self.floor + excess, "floor": self.floor, "excess": excess, **parts}

    def by_fact(self, model: nn.Module) -> dict[tuple[str, str], float]:
        """The excess in nats a story for each (kind, fact), e.g. ("recalled", "finder.name")."""
        total: dict[tuple[str, str], float] = {}
        for story, kinds, losses in zip(self.stories, self.kinds, self.token_losses(model), strict=True):
            for key, nats in zip(kinds, losses, strict=True):
                total[key] = total.get(key, 0.0) + nats / len(self.stories)
            for choice in story.choices:
                key = ("free", choice.fact)
                total[key] = total.get(key, 0.0) - choice.nats / len(self.stories)
        return total
