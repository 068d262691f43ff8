"""Attention: each position asks, all answer, and the answers are averaged by how well they fit (lesson 06).

From top to bottom: the weights, the weighted average, one head, many heads, two sources instead of one; and a way to
watch where the attentions inside a model look.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


def attention_weights(
    q: Float[Tensor, "*batch Tq hs"],
    k: Float[Tensor, "*batch Tk hs"],
    keep_mask: Bool[Tensor, "*#batch #Tq Tk"] | None = None,
) -> Float[Tensor, "*batch Tq Tk"]:
    """How much each query position attends to each key position; each row sums to 1.

    Scaled dot products, softmax over the keys (Vaswani et al. 2017, eq. 1).
    `keep_mask` is True where a query may attend; a row that may attend to nothing is all zeros.

    >>> attention_weights(torch.zeros(1, 2, 4), torch.zeros(1, 3, 4))[0, 0]
    tensor([0.3333, 0.3333, 0.3333])
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # [.., Tq, Tk]
    if keep_mask is None:
        return scores.softmax(dim=-1)
    # The lowest finite number, not -inf: a row with nothing to attend to must not give NaN, in its gradient neither.
    scores = scores.masked_fill(~keep_mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1).masked_fill(~keep_mask, 0.0)


def attend(
    q: Float[Tensor, "*batch Tq hs"],
    k: Float[Tensor, "*batch Tk hs"],
    v: Float[Tensor, "*batch Tk hv"],
    keep_mask: Bool[Tensor, "*#batch #Tq Tk"] | None = None,
) -> Float[Tensor, "*batch Tq hv"]:
    """For each query, the average of the values, weighted by how well their keys fit.

    >>> attend(torch.zeros(1, 2, 4), torch.zeros(1, 3, 4), torch.tensor([[[3.0], [6.0], [0.0]]]))[0, 0]
    tensor([3.])
    """
    return attention_weights(q, k, keep_mask) @ v


class Head(nn.Module):
    """One head of self-attention over C channels, of size hs: three views of each position, and `attend`.

    >>> Head(C=6, hs=4)(torch.zeros(2, 5, 6)).shape
    torch.Size([2, 5, 4])
    """

    def __init__(self, C: int, hs: int, bias: bool = False):
        super().__init__()
        self.query = nn.Linear(C, hs, bias=bias)  # what am I looking for?
        self.key = nn.Linear(C, hs, bias=bias)  # what do I have?
        self.value = nn.Linear(C, hs, bias=bias)  # what do I hand over?

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
    """Lay the heads side by side again: the inverse of `split_heads`."""
    return x.transpose(1, 2).flatten(2)  # [B, T, H, hs] -> [B, T, C]


def _for_all_heads(keep_mask: Tensor | None) -> Tensor | None:
    """A mask [B, Tq, Tk] as [B, 1, Tq, Tk], the same for every head; one of [Tq, Tk] fits as it is."""
    return keep_mask[:, None] if keep_mask is not None and keep_mask.dim() == 3 else keep_mask


class MultiHeadAttention(nn.Module):
    """H heads side by side, each on its own C / H channels, and a projection that mixes what they found.

    The same computation as H `Head`s whose outputs are concatenated, in three matrix products instead of 3H, and
    with `scaled_dot_product_attention` for `attend`; tests prove all three equal.

    Args:
        C: channels in and out.  H: heads; C must be divisible by H.
        n_kv_head: heads of keys and values, each shared by H / n_kv_head queries (Ainslie et al. 2023); H by default.
        norm: makes a norm for the queries and one for the keys of a head, from the head size (Dehghani et al. 2023).
    """

    def __init__(
        self,
        C: int,
        H: int,
        n_kv_head: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        norm: Callable[[int], nn.Module] | None = None,
    ):
        super().__init__()
        n_kv_head = H if n_kv_head is None else n_kv_head
        if H < 1 or C % H:
            raise ValueError(f"C={C} channels cannot be shared evenly by H={H} heads: choose H >= 1, a divisor of C")
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
        rotate: Callable[[Tensor], Tensor] | None = None,
        cache=None,
    ) -> Float[Tensor, "B T C"]:
        """Attend within x. `is_causal` says "the causal mask" without building it.

        `rotate` turns queries and keys by their positions (lesson 11); `cache` remembers keys and values (lesson 10).
        """
        q, k, v = self.project(x, rotate, cache)
        out = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=_for_all_heads(keep_mask),
            is_causal=is_causal,
            dropout_p=self.dropout if self.training else 0.0,
            enable_gqa=self.n_kv_head != self.H,
        )
        return self.output(merge_heads(out))

    def project(
        self, x: Float[Tensor, "B T C"], rotate: Callable[[Tensor], Tensor] | None = None, cache=None
    ) -> tuple[Float[Tensor, "B H T hs"], Float[Tensor, "B G Tk hs"], Float[Tensor, "B G Tk hs"]]:
        """Queries, keys and values of all heads (G = n_kv_head), normed, rotated, and with what the cache remembers."""
        q = self.query_norm(split_heads(self.query(x), self.H))  # [B, H, T, hs]
        k = self.key_norm(split_heads(self.key(x), self.n_kv_head))  # [B, n_kv_head, T, hs]
        v = split_heads(self.value(x), self.n_kv_head)
        if rotate is not None:
            q, k = rotate(q), rotate(k)
        if cache is not None:
            k, v = cache.extend(k, v)  # [B, n_kv_head, Tk, hs]
        return q, k, v

    def weights(
        self,
        x: Float[Tensor, "B T C"],
        keep_mask: Bool[Tensor, "*#B #T T"] | None = None,
        *,
        is_causal: bool = False,
        rotate: Callable[[Tensor], Tensor] | None = None,
        cache=None,
    ) -> Float[Tensor, "B H T T"]:
        """The weights that `forward`, called like this, averages with. (The fast kernel does not hand them out.)

        Raises:
            ValueError: for a cache, which cannot be read without being changed.
        """
        if cache is not None:
            raise ValueError("these weights are those of a whole sequence: pass all T tokens at once and no cache")
        q, k, _ = self.project(x, rotate)
        k = k.repeat_interleave(self.H // self.n_kv_head, dim=1)  # [B, n_kv_head, T, hs] -> [B, H, T, hs]
        if is_causal:
            keep_mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=x.device).tril()
        return attention_weights(q, k, _for_all_heads(keep_mask))


class CrossAttention(nn.Module):
    """Queries from one sequence, keys and values from another: how a decoder reads an encoder's memory.

    >>> CrossAttention(C=8, H=2)(torch.zeros(3, 5, 8), memory=torch.zeros(3, 7, 8)).shape
    torch.Size([3, 5, 8])
    """

    def __init__(self, C: int, H: int, bias: bool = True):
        super().__init__()
        if H < 1 or C % H:
            raise ValueError(f"C={C} channels cannot be shared evenly by H={H} heads: choose H >= 1, a divisor of C")
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
        q = split_heads(self.query(x), self.H)  # [B, H, Tq, hs]
        k, v = split_heads(self.key(memory), self.H), split_heads(self.value(memory), self.H)  # [B, H, Tk, hs]
        return self.output(merge_heads(attend(q, k, v, _for_all_heads(keep_mask))))

    def weights(
        self,
        x: Float[Tensor, "B Tq C"],
        memory: Float[Tensor, "B Tk C"],
        keep_mask: Bool[Tensor, "*#B #Tq Tk"] | None = None,
    ) -> Float[Tensor, "B H Tq Tk"]:
        """The weights that `forward`, called like this, averages with."""
        q, k = split_heads(self.query(x), self.H), split_heads(self.key(memory), self.H)
        return attention_weights(q, k, _for_all_heads(keep_mask))


@torch.no_grad()
def watch(module: nn.Module, *inputs, **options) -> list[Float[Tensor, "B H Tq Tk"]]:
    """Call `module(*inputs, **options)`, and give the weights of each attention inside, in the order of their calls.

    For a GPT that is one [B, H, T, T] a layer. (With dropout, call `module.eval()` first.)

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
