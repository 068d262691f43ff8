"""Embeddings: a table looked up by row, for tokens and for positions; and the first language model."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gptlab.batches import IGNORE
from gptlab.checks import check_ids, check_targets
from gptlab.entrances import guard


def sinusoidal(T: int, C: int) -> Float[Tensor, "T C"]:
    """Positions as waves of geometrically growing length, sines and cosines in turn (Vaswani et al. 2017, section 3.5).

    Args:
        T: positions, from 0.
        C: channels.

    >>> sinusoidal(2, 4)[0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    position = torch.arange(T, dtype=torch.float32)[:, None]
    frequency = torch.exp(torch.arange(0, C, 2, dtype=torch.float32) * (-math.log(10_000.0) / C))  # 10000 ** (-2i / C)
    table = torch.zeros(T, C)
    table[:, 0::2] = torch.sin(position * frequency)
    table[:, 1::2] = torch.cos(position * frequency)[:, : C // 2]  # an odd C ends with a sine
    return table


class TokenAndPositionEmbedding(nn.Module):
    """What a token is plus where it stands: [B, T] ids to [B, T, C].

    Args:
        V: vocabulary size.
        T: the longest context, in tokens.
        C: channels.
        position: "learned" (a second table, GPT-2), "sinusoidal" (fixed waves), or "none".

    Raises:
        ValueError: for another `position`.

    >>> TokenAndPositionEmbedding(V=10, T=6, C=4)(torch.tensor([[7, 7, 7]])).shape
    torch.Size([1, 3, 4])
    """

    def __init__(self, V: int, T: int, C: int, position: str = "learned"):
        super().__init__()
        if position not in ("learned", "sinusoidal", "none"):
            raise ValueError(f"unknown position {position!r}: choose 'learned', 'sinusoidal' or 'none'")
        self.context = T
        self.knows_positions = position != "none"
        self.token = nn.Embedding(V, C)
        self.position = nn.Embedding(T, C) if position == "learned" else None
        if position == "sinusoidal":
            self.register_buffer("waves", sinusoidal(T, C), persistent=False)

    def forward(self, ids: Int[Tensor, "B T"], start: int = 0) -> Float[Tensor, "B T C"]:
        """The vector of each token, with its position's added.

        Args:
            ids: token ids.
            start: the position of the first id: not 0 when a cache holds the tokens before it.

        Raises:
            ValueError: for an id outside the vocabulary, or a position outside the context.
        """
        check_ids(ids, self.token.num_embeddings)
        T = ids.shape[1]
        if start < 0 or (self.knows_positions and start + T > self.context):
            raise ValueError(
                f"positions {start} to {start + T - 1} do not fit a context of {self.context} (0 to "
                f"{self.context - 1}): pass the last {self.context} ids, or build the embedding with T={start + T}"
            )
        x = self.token(ids)  # [B, T, C]
        if self.position is not None:
            x = x + self.position.weight[start : start + T]  # [B, T, C]; the rows [T, C] are added to each sequence
        elif hasattr(self, "waves"):
            x = x + self.waves[start : start + T]
        return x


class BigramLanguageModel(nn.Module):
    """The first language model: a table whose row i holds the logits of what follows token i.

    Args:
        V: vocabulary size.

    >>> logits, loss = BigramLanguageModel(V=5)(torch.tensor([[1, 2, 3]]))
    >>> logits.shape, loss
    (torch.Size([1, 3, 5]), None)
    """

    def __init__(self, V: int):
        super().__init__()
        self.table = nn.Embedding(V, V)
        nn.init.zeros_(self.table.weight)  # at first all tokens are equally likely: the loss is ln V

    def forward(
        self, ids: Int[Tensor, "B T"], targets: Int[Tensor, "B T"] | None = None
    ) -> tuple[Float[Tensor, "B T V"], Float[Tensor, ""] | None]:
        """Logits for what follows each token, and the mean loss in nats per token where `targets` are given.

        Args:
            ids: token ids.
            targets: the token after each; `IGNORE` (-100) costs nothing.

        Raises:
            ValueError: for an id or a target outside the vocabulary.
        """
        check_ids(ids, self.table.num_embeddings)
        logits = self.table(ids)  # [B, T, V]
        if targets is None:
            return logits, None
        check_targets(targets, ids, self.table.num_embeddings)
        targets = targets.flatten().long()  # [B * T]
        counted = logits.flatten(0, 1).masked_fill((targets == IGNORE)[:, None], 0.0)  # so that no NaN there gets out
        return logits, F.cross_entropy(counted, targets, ignore_index=IGNORE)


guard(globals())
