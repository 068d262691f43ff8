"""Batches of conversations: which targets count, and rows that are padded, packed or mixed (notebook `finetuning`).

A conversation becomes tokens in `gptlab.chat_template`. Here they become a `BatchSource`, so that the training loop
stays what it is.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gptlab.batches import IGNORE, Batch, BatchSource, Epochs
from gptlab.chat_template import ChatTemplate, Conversation, Encoded
from gptlab.entrances import Count, checked
from gptlab.masking import causal, documents
from gptlab.model import GPT

# ── Which targets count ──────────────────────────────────────────────────────────────────────────────────────────────


def masked_targets(encoded: Encoded) -> tuple[list[int], list[int]]:
    """The inputs of a conversation, and the token after each of them where that is one to be learned.

    A target counts when the token itself is the assistant's. So the first word of an answer is learned at the
    <|assistant|> before it, and the end token at the last word.

    Args:
        encoded: of `ChatTemplate.encode`.

    >>> masked_targets(Encoded([7, 8, 9, 5], [False, False, True, True]))
    ([7, 8, 9], [-100, 9, 5])
    """
    ids, counts = encoded
    targets = [id if counted else IGNORE for id, counted in zip(ids, counts, strict=True)]
    return ids[:-1], targets[1:]


def masked_loss(logits: Float[Tensor, "B T V"], targets: Int[Tensor, "B T"]) -> Float[Tensor, ""]:
    """The mean loss over the targets that count; whatever stands at the other places, even NaN, has no part in it.

    `F.cross_entropy(…, ignore_index=IGNORE)` gives the same mean, but a NaN in an ignored place gets into its gradient.

    Args:
        logits: of a model.
        targets: with `IGNORE` where nothing is to be learned.

    Raises:
        ValueError: no target counts.

    >>> masked_loss(torch.zeros(1, 2, 4), torch.tensor([[IGNORE, 3]]))
    tensor(1.3863)
    """
    counts = targets != IGNORE  # [B, T]
    if not counts.any():
        raise ValueError(f"no target counts: all {targets.numel()} are IGNORE, so there is nothing to learn")
    return F.cross_entropy(logits[counts], targets[counts])  # [n, V] and [n]: only the n that count


# ── Batches ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class ConversationBatches(Epochs):
    """Conversations as batches, a `BatchSource`: padded, one in each row, or packed, as many as fit.

    Padding has `IGNORE` as its target, so it costs nothing whatever its id is. Packed conversations need a model that
    sees only its own one: `SeparateDocuments` is made for that.

    Args:
        conversations: as `ChatTemplate` takes them, each with an answer at its end.
        template: that encodes them.
        B: rows in a batch.
        context: the longest row, in tokens that the model reads.
        pack: put whole conversations one after the other into a row, as long as they fit.
        shuffle: whether to draw the order of each epoch from (seed, epoch).
        seed: of the orders.

    Raises:
        ValueError: there are no conversations; one has no answer, or is longer than the context; or B is below 1.
    """

    @checked
    def __init__(
        self,
        conversations: Sequence[Conversation],
        template: ChatTemplate,
        B: Count,
        context: Count,
        pack: bool = False,
        shuffle: bool = True,
        seed: int = 0,
    ):
        if not conversations:
            raise ValueError("there are no conversations to learn from: pass at least one")
        self.B, self.context, self.shuffle, self.seed, self.pad = B, context, shuffle, seed, template.end
        pairs = [masked_targets(template.encode(conversation)) for conversation in conversations]
        for number, (ids, targets) in enumerate(pairs):
            if all(target == IGNORE for target in targets):
                raise ValueError(f"conversation {number} has no answer to learn from: its last message is the user's")
            if len(ids) > context:
                raise ValueError(
                    f"conversation {number} has {len(ids) + 1} tokens, its answer included, and a model with "
                    f"context={context} reads {context}: shorten it, leave it out, or choose a model with more context"
                )
        self.rows = _packed(pairs, context) if pack else pairs
        self._epoch, self._order = -1, list(range(len(self.rows)))

    def __len__(self) -> int:
        """Steps in one epoch."""
        return -(-len(self.rows) // self.B)

    def batch(self, step: int) -> Batch:
        """The batch of a step; the same for the same step, whatever was read before."""
        if step < 0:
            raise ValueError(f"step={step}: steps are counted from 0")
        epoch, position = divmod(step, len(self))
        if self.shuffle and epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._epoch, self._order = epoch, torch.randperm(len(self.rows), generator=generator).tolist()
        chosen = self._order[position * self.B : (position + 1) * self.B]
        return _padded([self.rows[i] for i in chosen], self.pad)


class MixedBatches:
    """Rows of several sources in each batch: conversations, and beside them some of the text of the pre-training.

    A model that learns only to answer forgets some of what it knew (McCloskey and Cohen 1989 called it catastrophic
    interference); the usual remedy is to go on showing it.

    Args:
        sources: whose batches of a step are put together, the shorter rows padded.

    >>> from gptlab.batches import StoryBatches
    >>> one = StoryBatches([[5, 6, 9]], B=1, start=9)
    >>> MixedBatches(one, StoryBatches([[7, 9]], B=1, start=9)).batch(0).targets.tolist()
    [[5, 6, 9], [7, 9, -100]]
    """

    def __init__(self, *sources: BatchSource):
        self.sources = sources

    def batch(self, step: int) -> Batch:
        """The batch of a step: the rows of each source's batch of that step."""
        batches = [source.batch(step) for source in self.sources]
        rows = [(ids.tolist(), targets.tolist()) for batch in batches for ids, targets in zip(*batch, strict=True)]
        return _padded(rows, pad=0)


def _packed(pairs: Sequence[tuple[list[int], list[int]]], T: int) -> list[tuple[list[int], list[int]]]:
    """Rows of whole conversations, each put into the first row that has room for it."""
    rows: list[tuple[list[int], list[int]]] = []
    for ids, targets in pairs:
        row = next((row for row in rows if len(row[0]) + len(ids) <= T), None)
        if row is None:
            rows.append(row := ([], []))
        row[0].extend(ids)
        row[1].extend(targets)
    return rows


def _padded(rows: Sequence[tuple[list[int], list[int]]], pad: int) -> Batch:
    T = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([[*ids, *[pad] * (T - len(ids))] for ids, _ in rows])
    targets = torch.tensor([[*targets, *[IGNORE] * (T - len(targets))] for _, targets in rows])
    return Batch(ids, targets)


class SeparateDocuments(nn.Module):
    """A model that reads packed rows as if each document stood alone: no position attends to another document.

    The losses are those of padded rows where positions are relative (RoPE) or absent. Learned positions count on
    through a row, and a convolution still sees its last few neighbours: then they are nearly the same.

    Args:
        model: what reads.
        begin: the token that each document begins with.
    """

    def __init__(self, model: GPT, begin: int):
        super().__init__()
        self.model, self.begin = model, begin
        self.config = model.config

    def forward(
        self, ids: Int[Tensor, "B T"], targets: Int[Tensor, "B T"] | None = None
    ) -> tuple[Float[Tensor, "B T V"], Float[Tensor, ""] | None]:
        """Logits and loss, as of the model, each document by itself."""
        return self.model(ids, targets, keep_mask=self.keep_mask(ids))

    def keep_mask(self, ids: Int[Tensor, "B T"]) -> Bool[Tensor, "B T T"]:
        """True where a position may attend: to earlier ones of its own document."""
        numbers = (ids == self.begin).cumsum(dim=1)  # [B, T]: goes up by one where a document begins
        return documents(numbers) & causal(ids.shape[1], device=ids.device)
