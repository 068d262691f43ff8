"""Attention: each query is compared with all keys, and the values are averaged by how well they fit."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gptlab.cache import LayerCache
from gptlab.checks import and_causal, check_heads, check_mask, mask_for_heads
from gptlab.entrances import Fraction, guard

Rotation = Callable[[Tensor], Tensor]  # rotates queries or keys by their positions (notebook `llama`)


def attention_weights(
    q: Float[Tensor, "*batch Tq hs"],
    k: Float[Tensor, "*batch Tk hs"],
    keep_mask: Bool[Tensor, "*#batch #Tq Tk"] | None = None,
) -> Float[Tensor, "*batch Tq Tk"]:
    """How much each query position attends to each key position; each row sums to 1.

    Scaled dot products, softmax over the keys (Vaswani et al. 2017, eq. 1).

    Args:
        q: queries.
        k: keys, of the same head size.
        keep_mask: True where a query may attend to a key; a row that may attend to nothing is all zeros.

    Raises:
        ValueError: for queries and keys of different sizes, or a mask that is not boolean.

    >>> attention_weights(torch.zeros(1, 2, 4), torch.zeros(1, 3, 4))[0, 0]
    tensor([0.3333, 0.3333, 0.3333])
    """
    if q.shape[-1] != k.shape[-1]:
        sizes = f"queries of size {q.shape[-1]} cannot be compared with keys of size {k.shape[-1]}"
        raise ValueError(f"{sizes}: project both to one head size hs")
    check_mask(keep_mask)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # [.., Tq, Tk]
    if keep_mask is None:
        return scores.softmax(dim=-1)
    # The lowest finite number, not -inf: a row with nothing to attend to must not become NaN, nor its gradient.
    scores = scores.masked_fill(~keep_mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1).masked_fill(~keep_mask, 0.0)


def attend(
    q: Float[Tensor, "*batch Tq hs"],
    k: Float[Tensor, "*batch Tk hs"],
    v: Float[Tensor, "*batch Tk hv"],
    keep_mask: Bool[Tensor, "*#batch #Tq Tk"] | None = None,
) -> Float[Tensor, "*batch Tq hv"]:
    """For each query, the average of the values, weighted by `attention_weights`.

    >>> attend(torch.zeros(1, 2, 4), torch.zeros(1, 3, 4), torch.tensor([[[3.0], [6.0], [0.0]]]))[0, 0]
    tensor([3.])
    """
    return attention_weights(q, k, keep_mask) @ v


class Head(nn.Module):
    """One head of self-attention over C channels, of size hs: three projections of each position, and `attend`.

    Args:
        C: channels in.
        hs: head size, the channels out.
        bias: whether the projections have biases.

    >>> Head(C=6, hs=4)(torch.zeros(2, 5, 6)).shape
    torch.Size([2, 5, 4])
    """

    def __init__(self, C: int, hs: int, bias: bool = False):
        super().__init__()
        self.query = nn.Linear(C, hs, bias=bias)  # what am I looking for?
        self.key = nn.Linear(C, hs, bias=bias)  # what do I have?
        self.value = nn.Linear(C, hs, bias=bias)  # what do I pass on?

    def forward(
        self, x: Float[Tensor, "B T C"], keep_mask: Bool[Tensor, "*#B #T T"] | None = None
    ) -> Float[Tensor, "B T hs"]:
        return attend(self.query(x), self.key(x), self.value(x), keep_mask)


def split_heads(x: Float[Tensor, "B T C"], H: int) -> Float[Tensor, "B H T hs"]:
    """Cut the channels into H heads, heads before time. A `view` straight to [B, H, T, hs] would mix them up.

    >>> split_heads(torch.arange(6.0).view(1, 1, 6), H=2)[0, :, 0].tolist()
    [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    """
    B, T, C = x.shape
    return x.view(B, T, H, C // H).transpose(1, 2)  # [B, T, H, hs] -> [B, H, T, hs]


def merge_heads(x: Float[Tensor, "B H T hs"]) -> Float[Tensor, "B T C"]:
    """Put the heads side by side again: the inverse of `split_heads`."""
    return x.transpose(1, 2).flatten(2)  # [B, T, H, hs] -> [B, T, C]


class MultiHeadAttention(nn.Module):
    """H heads side by side, each on its own C / H channels, and a projection that mixes what they found.

    The same as H `Head`s whose outputs are concatenated, in three matrix products instead of 3H, and with
    `scaled_dot_product_attention` for `attend`; tests prove all three equal.

    Args:
        C: channels in and out.
        H: heads; C must be divisible by H.
        n_kv_head: heads of keys and values, each shared by H / n_kv_head queries (Ainslie et al. 2023); H by default.
        bias: whether the projections have biases.
        dropout: the fraction of attention weights that training sets to zero.
        norm: makes a norm for the queries and one for the keys of a head, from the head size (Dehghani et al. 2023).

    Raises:
        ValueError: where the heads do not divide the channels, or the heads of keys the heads of queries.

    >>> MultiHeadAttention(C=12, H=3)(torch.zeros(2, 5, 12), is_causal=True).shape
    torch.Size([2, 5, 12])
    """

    def __init__(
        self,
        C: int,
        H: int,
        n_kv_head: int | None = None,
        bias: bool = True,
        dropout: Fraction = 0.0,
        norm: Callable[[int], nn.Module] | None = None,
    ):
        super().__init__()
        n_kv_head = H if n_kv_head is None else n_kv_head
        check_heads(C, H)
        if n_kv_head < 1 or H % n_kv_head:
            raise ValueError(f"H={H} query heads cannot share n_kv_head={n_kv_head} evenly: choose a divisor of {H}")
        self.H, self.n_kv_head, self.dropout = H, n_kv_head, dropout
        hs = C // H
        self.query = nn.Linear(C, C, bias=bias)
        self.key = nn.Linear(C, n_kv_head * hs, bias=bias)
        self.value = nn.Linear(C, n_kv_head * hs, bias=bias)
        self.output = nn.Linear(C, C, bias=bias)
        self.query_norm = norm(hs) if norm else nn.Identity()
        self.key_norm = norm(hs) if norm else nn.Identity()

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        keep_mask: Bool[Tensor, "*#B #T Tk"] | None = None,
        *,
        is_causal: bool = False,
        rotate: Rotation | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "B T C"]:
        """Attend within x.

        Args:
            x: a vector for each position.
            keep_mask: True where a query may attend to a key: [T, Tk] for all, [B, T, Tk] one per sequence, or
                [B, H, T, Tk] one per head, where B or H may be 1. Where B = H, write all four.
            is_causal: also hide what comes after each position. Alone, it needs no mask in memory.
            rotate: rotates queries and keys by their positions (notebook `llama`).
            cache: keys and values of the positions before x, which are attended to as well (notebook `sampling`).

        Raises:
            ValueError: for a mask that is not boolean, or that could be one per sequence and one per head.
        """
        # Queries, keys and values of all heads.
        q, k, v = self.project(x, rotate, cache)  # [B, H, T, hs], and twice [B, n_kv_head, Tk, hs]

        # The kernel's own causal mask fits where queries and keys are the same positions and nothing else is hidden.
        keep_mask = mask_for_heads(keep_mask, len(x), self.H)
        if is_causal and (keep_mask is not None or q.shape[-2] != k.shape[-2]):
            keep_mask, is_causal = and_causal(keep_mask, q, k), False

        # softmax(q kᵀ / √hs) v, without the [T, Tk] weights ever being in memory.
        dropout, grouped = self.dropout if self.training else 0.0, self.n_kv_head != self.H
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=keep_mask, is_causal=is_causal, dropout_p=dropout, enable_gqa=grouped
        )  # [B, H, T, hs]

        # Heads side by side again, and mixed.
        return self.output(merge_heads(out))  # [B, T, C]

    def project(
        self, x: Float[Tensor, "B T C"], rotate: Rotation | None = None, cache: LayerCache | None = None
    ) -> tuple[Float[Tensor, "B H T hs"], Float[Tensor, "B G Tk hs"], Float[Tensor, "B G Tk hs"]]:
        """Queries, keys and values of all heads (G = n_kv_head): normalised, rotated, and with the cached ones."""
        q = self.query_norm(split_heads(self.query(x), self.H))  # [B, H, T, hs]
        k = self.key_norm(split_heads(self.key(x), self.n_kv_head))  # [B, G, T, hs]
        v = split_heads(self.value(x), self.n_kv_head)  # [B, G, T, hs]
        if rotate is not None:
            q, k = rotate(q), rotate(k)
        if cache is not None:
            k, v = cache.extend(k, v)  # [B, G, Tk, hs]
        return q, k, v

    def weights(
        self,
        x: Float[Tensor, "B T C"],
        keep_mask: Bool[Tensor, "*#B #T T"] | None = None,
        *,
        is_causal: bool = False,
        rotate: Rotation | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "B H T T"]:
        """The weights that `forward`, called like this, averages with. (The fast kernel does not return them.)

        Raises:
            ValueError: for a cache, which cannot be read without being changed.
        """
        if cache is not None:
            raise ValueError("these weights are those of a whole sequence: pass all T tokens at once and no cache")
        q, k, _ = self.project(x, rotate)
        k = k.repeat_interleave(self.H // self.n_kv_head, dim=1)  # [B, n_kv_head, T, hs] -> [B, H, T, hs]
        keep_mask = mask_for_heads(keep_mask, len(x), self.H)
        return attention_weights(q, k, and_causal(keep_mask, q, k) if is_causal else keep_mask)


class CrossAttention(nn.Module):
    """Queries from one sequence, keys and values from another: how a decoder reads an encoder's memory.

    Args:
        C: channels in and out.
        H: heads; C must be divisible by H.
        bias: whether the projections have biases.

    >>> CrossAttention(C=8, H=2)(torch.zeros(3, 5, 8), memory=torch.zeros(3, 7, 8)).shape
    torch.Size([3, 5, 8])
    """

    def __init__(self, C: int, H: int, bias: bool = True):
        super().__init__()
        check_heads(C, H)
        self.H = H
        self.query = nn.Linear(C, C, bias=bias)
        self.key = nn.Linear(C, C, bias=bias)
        self.value = nn.Linear(C, C, bias=bias)
        self.output = nn.Linear(C, C, bias=bias)

    def forward(
        self,
        x: Float[Tensor, "B Tq C"],
        memory: Float[Tensor, "B Tk C"],
        keep_mask: Bool[Tensor, "*#B #Tq Tk"] | None = None,
    ) -> Float[Tensor, "B Tq C"]:
        """Attend from x to the memory; `keep_mask` and errors as for `MultiHeadAttention.forward`."""
        q = split_heads(self.query(x), self.H)  # [B, H, Tq, hs]
        k, v = split_heads(self.key(memory), self.H), split_heads(self.value(memory), self.H)  # [B, H, Tk, hs]
        return self.output(merge_heads(attend(q, k, v, mask_for_heads(keep_mask, len(x), self.H))))

    def weights(
        self,
        x: Float[Tensor, "B Tq C"],
        memory: Float[Tensor, "B Tk C"],
        keep_mask: Bool[Tensor, "*#B #Tq Tk"] | None = None,
    ) -> Float[Tensor, "B H Tq Tk"]:
        """The weights that `forward`, called like this, averages with."""
        q, k = split_heads(self.query(x), self.H), split_heads(self.key(memory), self.H)
        return attention_weights(q, k, mask_for_heads(keep_mask, len(x), self.H))


@torch.no_grad()
def watch(module: nn.Module, *inputs: Any, **options: Any) -> list[Float[Tensor, "B H Tq Tk"]]:
    """Call `module(*inputs, **options)`, and return the weights of each attention inside, in the order of their calls.

    For a GPT that is one [B, H, T, T] per layer. (With dropout, call `module.eval()` first.)

    Args:
        module: anything with `MultiHeadAttention` or `CrossAttention` inside.
        inputs: what it is called with.
        options: what it is called with, by name.

    >>> first, second = watch(nn.Sequential(MultiHeadAttention(6, 2), MultiHeadAttention(6, 3)), torch.randn(4, 5, 6))
    >>> first.shape, second.shape
    (torch.Size([4, 2, 5, 5]), torch.Size([4, 3, 5, 5]))

    Raises:
        ValueError: if no attention was called.
    """
    seen: list[Tensor] = []

    def note(part, args, kwargs):
        seen.append(part.weights(*args, **kwargs))

    parts = [part for part in module.modules() if isinstance(part, MultiHeadAttention | CrossAttention)]
    hooks = [part.register_forward_pre_hook(note, with_kwargs=True) for part in parts]
    try:
        module(*inputs, **options)
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise ValueError(f"{type(module).__name__} called none of its {len(parts)} attentions: there is nothing to see")
    return seen


guard(globals())
