"""LoRA: fine-tune a small addition to each matrix, and leave the matrix itself as it is (notebook `finetuning`).

A matrix W of a pre-trained model stays frozen, and a product of two thin ones is learned beside it:
y = W x + (alpha / rank) B A x, with A [rank, in] and B [out, rank] (Hu et al. 2021, eq. 3). B starts at zero, so that
the model begins as the one it was; in the end the product can be added to W, and nothing is left to compute.

>>> from gptlab.config import GPTConfig
>>> model = add_lora(GPT(GPTConfig(vocab_size=50, context=8, n_layer=2, n_head=2, n_embd=12)), rank=2)
>>> count_trainable(model), count_trainable(merge(model))
(864, 4488)
"""

import copy
import math
from collections.abc import Collection, Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gptlab.entrances import Positive
from gptlab.model import GPT

PARTS = ("attention", "mlp")  # of a block: which have matrices that LoRA can stand beside


class LoRALinear(nn.Module):
    """A linear layer that stays as it is, and beside it a product of two thin matrices that learns.

    Args:
        linear: the layer; it is frozen.
        rank: rows of A and columns of B.
        alpha: the product is multiplied by alpha / rank, so that another rank needs no other learning rate.

    Raises:
        ValueError: the rank is below 1, or larger than the matrix, where the product would save nothing.

    >>> layer = LoRALinear(nn.Linear(6, 4), rank=2)
    >>> layer(torch.ones(3, 6)).shape, [tuple(p.shape) for p in layer.parameters() if p.requires_grad]
    (torch.Size([3, 4]), [(2, 6), (4, 2)])
    """

    def __init__(self, linear: nn.Linear, rank: int = 8, alpha: Positive | None = None):
        super().__init__()
        largest = min(linear.in_features, linear.out_features)
        if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= largest:
            raise ValueError(
                f"rank={rank!r} does not fit a matrix of {linear.out_features} x {linear.in_features}: choose a whole "
                f"number from 1 to {largest}; small ones such as 8 are the point of it"
            )
        alpha = 2 * rank if alpha is None else alpha
        if not 0 < alpha < math.inf:
            raise ValueError(f"alpha={alpha} must be above 0: the product is multiplied by alpha / rank")
        self.linear = linear.requires_grad_(False)
        like = dict(device=linear.weight.device, dtype=linear.weight.dtype)
        self.A = nn.Parameter(torch.randn(rank, linear.in_features, **like) / math.sqrt(linear.in_features))
        self.B = nn.Parameter(torch.zeros(linear.out_features, rank, **like))
        self.scale = alpha / rank

    def forward(self, x: Float[Tensor, "*batch fan_in"]) -> Float[Tensor, "*batch fan_out"]:
        """W x + scale · B A x; never as the large product B A, which would cost as much as W."""
        return self.linear(x) + self.scale * F.linear(
            F.linear(x, self.A), self.B
        )  # [.., in] -> [.., rank] -> [.., out]

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """One linear layer that computes the same."""
        linear = copy.deepcopy(self.linear).requires_grad_(True)
        linear.weight += self.scale * (self.B @ self.A)
        return linear


class TokenRows(nn.Module):
    """Some rows of a table as parameters of their own: those of tokens that the model has never read.

    Nothing has taught it what they mean, and no product of thin matrices in the blocks can make up for that.

    Args:
        table: the whole table, which stays as it is.
        tokens: the ids whose rows learn.
    """

    def __init__(self, table: Float[Tensor, "V C"], tokens: Sequence[int]):
        super().__init__()
        self.register_buffer("tokens", torch.tensor(tokens, device=table.device), persistent=False)
        self.rows = nn.Parameter(table.detach()[self.tokens])

    def forward(self, table: Float[Tensor, "V C"]) -> Float[Tensor, "V C"]:
        """The table with these rows exchanged."""
        return table.index_copy(0, self.tokens, self.rows)


def unread_tokens(known: Iterable[Sequence[int]], to_read: Iterable[Sequence[int]]) -> list[int]:
    """The ids that a model is to read and has never read, in order: their embeddings were never an input.

    Args:
        known: texts like those that it was trained on, as ids.
        to_read: what it will be fine-tuned on, as ids.

    >>> unread_tokens([[3, 4, 3], [5]], [[4, 9, 5], [7]])
    [7, 9]
    """
    return sorted(set().union(*to_read) - set().union(*known))


def add_lora(
    model: GPT,
    rank: int = 8,
    alpha: Positive | None = None,
    where: Collection[str] = PARTS,
    new_tokens: int = 0,
    tokens: Collection[int] = (),
) -> GPT:
    """A copy of a model of which only LoRA's matrices and the rows of some tokens learn; at first it computes the same.

    It is trained and saved in checkpoints as any other model; `merge` makes a plain GPT of it.

    Args:
        model: which is left as it is.
        rank: of each product.
        alpha: as for `LoRALinear`; twice the rank unless given.
        where: the parts of a block whose matrices get one, of "attention" and "mlp".
        new_tokens: how many rows at the end of the embedding table are those of new tokens, and learn too.
        tokens: ids of others whose rows learn, such as `unread_tokens` gives.

    Raises:
        ValueError: for a rank that does not fit, an unknown part or none, more new tokens than the table has, or an id
            that is not in it.
    """
    if unknown := [part for part in where if part not in PARTS] or not where:
        said = f"unknown part {unknown[0]!r}" if where else "no part to adapt"
        raise ValueError(f"{said}: choose from {', '.join(PARTS)}")
    V = model.config.vocab_size
    if not 0 <= new_tokens < V:
        raise ValueError(f"new_tokens={new_tokens} of a table with V={V} rows: choose from 0 to {V - 1}")
    if outside := [id for id in tokens if not 0 <= id < V]:
        raise ValueError(f"token {outside[0]} is not in a table with V={V} rows: choose ids from 0 to {V - 1}")
    if any(isinstance(module, LoRALinear) for module in model.modules()):
        raise ValueError("the model has LoRA already: merge it first")
    adapted = copy.deepcopy(model).requires_grad_(False)
    for block in adapted.blocks:
        for part in where:
            for name, linear in list(getattr(block, part).named_children()):
                if isinstance(linear, nn.Linear):
                    setattr(getattr(block, part), name, LoRALinear(linear, rank, alpha))
    if learning := sorted({*tokens, *range(V - new_tokens, V)}):
        rows = TokenRows(adapted.embedding.token.weight, learning)
        parametrize.register_parametrization(adapted.embedding.token, "weight", rows)
        own = rows if model.config.tie_weights else TokenRows(adapted.head.weight, learning)
        parametrize.register_parametrization(adapted.head, "weight", own)
    return adapted


@torch.no_grad()
def merge(model: GPT) -> GPT:
    """A plain GPT that computes what a model with LoRA does, with each product added to its matrix.

    Args:
        model: of `add_lora`; it is left as it is.
    """
    plain = copy.deepcopy(model)
    for parent, name, layer in list(_adapted(plain)):
        setattr(parent, name, layer.merged())
    if parametrize.is_parametrized(plain.embedding.token):
        V, C = plain.config.vocab_size, plain.config.n_embd
        tables = plain.embedding.token.weight.clone(), plain.head.weight.clone()
        plain.embedding.token, plain.head = nn.Embedding(V, C), nn.Linear(C, V, bias=False)
        plain.embedding.token.weight, plain.head.weight = map(nn.Parameter, tables)
        if plain.config.tie_weights:
            plain.head.weight = plain.embedding.token.weight
    return plain.requires_grad_(True).train(model.training)


def count_trainable(model: nn.Module) -> int:
    """How many parameters learn; shared ones are counted once.

    >>> count_trainable(nn.Linear(3, 2).requires_grad_(False))
    0
    """
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _adapted(model: nn.Module) -> Iterator[tuple[nn.Module, str, LoRALinear]]:
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, LoRALinear):
                yield parent, name, child
