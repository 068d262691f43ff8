"""Embeddings: a table looked up by row, for tokens and for positions; and the first language model (lesson 05)."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


def check_ids(ids: Int[Tensor, "B T"], vocab_size: int) -> None:
    """Refuse ids that no table row has, before a GPU would turn them into an unreadable assert.

    Raises:
        ValueError: for an id < 0 or >= V, naming both. (Ids on a GPU are not looked at: that would wait for it.)
    """
    if ids.device.type == "cpu" and ids.numel() and not torch.compiler.is_compiling():
        low, high = (int(x) for x in ids.aminmax())
        if low < 0 or high >= vocab_size:
            raise ValueError(
                f"token id {low if low < 0 else high} is outside the vocabulary [0, {vocab_size}): "
                "encode with the tokenizer that this model was built for"
            )


def sinusoidal(T: int, C: int) -> Float[Tensor, "T C"]:
    """Positions as waves of geometrically growing length, sines and cosines in turn (Vaswani et al. 2017, section 3.5).

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
        V: vocabulary size.  T: the longest context.  C: channels.
        position: "learned" (a second table, GPT-2), "sinusoidal" (fixed waves), or "none".

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
        """`start` is the position of the first id: not 0 when a cache holds the tokens before it.

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
            x = x + self.position.weight[start : start + T]  # [B, T, C]; the rows [T, C] serve each sequence
        elif hasattr(self, "waves"):
            x = x + self.waves[start : start + T]
        return x


class BigramLanguageModel(nn.Module):
    """The first language model: a table whose row i holds the logits of what follows token i.

    >>> logits, loss = BigramLanguageModel(V=5)(torch.tensor([[1, 2, 3]]))
    >>> logits.shape, loss
    (torch.Size([1, 3, 5]), None)
    """

    def __init__(self, V: int):
        super().__init__()
        self.table = nn.Embedding(V, V)
        nn.init.zeros_(self.table.weight)  # at first every token is as likely as every other: the loss is ln V

    def forward(
        self, ids: Int[Tensor, "B T"], targets: Int[Tensor, "B T"] | None = None
    ) -> tuple[Float[Tensor, "B T V"], Float[Tensor, ""] | None]:
        check_ids(ids, self.table.num_embeddings)
        logits = self.table(ids)  # [B, T, V]
        loss = None if targets is None else F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return logits, loss
