"""Masks: which positions may attend to which (notebook `masking`).

One convention everywhere: `keep_mask` is boolean, and **True means "may attend"**, as in PyTorch's
`scaled_dot_product_attention`. (`nn.MultiheadAttention` means the opposite: there True drops a key.) Masks are joined
with `&`, and broadcast: [T, T] & [B, 1, T] is [B, T, T]. A row that may attend to nothing gives zeros, and finite
gradients.

From top to bottom: the masks, how to convert them for other conventions, and a test that finds a leak from the future.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from gptlab.checks import check_mask
from gptlab.entrances import NotNegative, guard

Device = torch.device | str | None


def causal(T: int, Tk: int | None = None, device: Device = None) -> Bool[Tensor, "T Tk"]:
    """Each position sees itself and the past: the mask of a decoder.

    Args:
        T: queries.
        Tk: keys, T unless given; with more of them, the queries are the *last* T of Tk positions, as when a cache holds
            the keys of the others.
        device: where the mask is made.

    Raises:
        ValueError: for fewer keys than queries.

    >>> causal(3).int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    >>> causal(2, 4).int().tolist()
    [[1, 1, 1, 0], [1, 1, 1, 1]]
    """
    Tk = T if Tk is None else Tk
    if Tk < T:
        raise ValueError(f"{T} queries are more than {Tk} keys: a causal mask needs a key for each query, Tk >= T")
    return torch.ones(T, Tk, dtype=torch.bool, device=device).tril(diagonal=Tk - T)


def padding(lengths: Sequence[int] | Int[Tensor, " B"], T: int, device: Device = None) -> Bool[Tensor, "B 1 T"]:
    """No position attends to padding: of sequence b only the first `lengths[b]` of T keys may be attended to.

    Args:
        lengths: of each sequence, in tokens.
        T: of the padded batch.
        device: where the mask is made.

    Raises:
        ValueError: for a length that is not in [0, T].

    >>> padding([2, 3], 3).int().tolist()
    [[[1, 1, 0]], [[1, 1, 1]]]
    """
    lengths = torch.as_tensor(lengths, device=device)
    if bool((lengths > T).any()) or bool((lengths < 0).any()):
        raise ValueError(f"lengths {lengths.tolist()} must lie between 0 and T={T}")
    return (torch.arange(T, device=lengths.device) < lengths[:, None])[:, None, :]


def sliding(T: int, window: int, device: Device = None) -> Bool[Tensor, "T T"]:
    """Each position sees itself and the `window - 1` before it (Longformer, Beltagy et al. 2020; Mistral 7B).

    Args:
        T: positions.
        window: at least 1.
        device: where the mask is made.

    Raises:
        ValueError: for a window below 1.

    >>> sliding(4, window=2).int().tolist()
    [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    """
    if window < 1:
        raise ValueError(f"window={window} leaves nothing to attend to: pass at least 1")
    return causal(T, device=device).triu(diagonal=1 - window)


def prefix(T: int, n: int, device: Device = None) -> Bool[Tensor, "T T"]:
    """The first n positions see each other, the rest is causal: a prefix language model (T5, Raffel et al. 2020).

    Args:
        T: positions.
        n: length of the prefix, from 0 to T.
        device: where the mask is made.

    Raises:
        ValueError: for a prefix that does not fit.

    >>> prefix(4, n=2).int().tolist()
    [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    """
    if not 0 <= n <= T:
        raise ValueError(f"a prefix of n={n} does not fit into T={T} positions: choose n from 0 to {T}")
    keep_mask = causal(T, device=device)
    keep_mask[:, :n] = True  # every position sees the whole prefix
    return keep_mask


def documents(ids_of_documents: Int[Tensor, "*B T"]) -> Bool[Tensor, "*B T T"]:
    """Documents packed into one sequence do not see each other; two positions do if their numbers are equal.

    In both directions: `documents(...) & causal(T)` is the mask of a decoder that reads packed documents.

    Args:
        ids_of_documents: for each position, the number of its document.

    Raises:
        ValueError: for numbers that are not [T] or [B, T].

    >>> documents(torch.tensor([5, 5, 8])).int().tolist()
    [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    """
    if ids_of_documents.dim() not in (1, 2):
        raise ValueError(
            f"document numbers of shape {list(ids_of_documents.shape)}: give one per position, [T] or [B, T]"
        )
    return ids_of_documents[..., :, None] == ids_of_documents[..., None, :]


def to_attn_mask(keep_mask: Shaped[Tensor, "*B Tq Tk"], H: int | None = None) -> Bool[Tensor, "*X Tq Tk"]:
    """A keep_mask as `attn_mask` of `nn.MultiheadAttention`, where True means "drop this key".

    Args:
        keep_mask: [Tq, Tk], or [B, Tq, Tk] with each size written out (`expand` does that).
        H: heads, for a mask with a batch axis: that library wants [B * H, Tq, Tk], one for each head of each sequence.

    Raises:
        ValueError: for a mask that is not boolean, or of another shape.

    >>> to_attn_mask(causal(3)).int().tolist()
    [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    """
    check_mask(keep_mask)
    if keep_mask.dim() == 2:
        return ~keep_mask
    if keep_mask.dim() != 3:
        raise ValueError(
            f"keep_mask of shape {list(keep_mask.shape)}: nn.MultiheadAttention takes [Tq, Tk] or [B, Tq, Tk]"
        )
    if H is None:
        raise ValueError(
            f"keep_mask of shape {list(keep_mask.shape)} has a batch axis, for which nn.MultiheadAttention wants "
            "[B * H, Tq, Tk]: pass H, its number of heads"
        )
    return ~keep_mask.repeat_interleave(H, dim=0)  # [B * H, Tq, Tk], the heads of a sequence next to each other


def to_key_padding_mask(keep_mask: Shaped[Tensor, "*B Tq Tk"]) -> Bool[Tensor, "B Tk"]:
    """A mask that is the same for all queries, such as `padding`, as `key_padding_mask`: True = drop this key.

    Args:
        keep_mask: [B, 1, Tk].

    Raises:
        ValueError: for a mask that is not boolean, or has a row for each query.

    >>> to_key_padding_mask(padding([2, 3], 3)).int().tolist()
    [[0, 0, 1], [0, 0, 0]]
    """
    check_mask(keep_mask)
    if keep_mask.dim() != 3 or keep_mask.shape[1] != 1:
        raise ValueError(
            f"keep_mask of shape {list(keep_mask.shape)} has a row for each query, and a key_padding_mask has one for "
            "all: give [B, 1, Tk], as padding(lengths, Tk) does, and the rest as attn_mask"
        )
    return ~keep_mask[:, 0]


def to_additive(keep_mask: Shaped[Tensor, "*B Tq Tk"], dtype: torch.dtype = torch.float32) -> Float[Tensor, "*B Tq Tk"]:
    """A keep_mask as numbers to add to the scores: 0 for a key that may be attended to, minus infinity for another.

    Two of them are joined with `+`. A row of nothing but minus infinity turns a plain softmax into NaN.

    Args:
        keep_mask: of any shape.
        dtype: of the numbers.

    Raises:
        ValueError: for a mask that is not boolean.

    >>> to_additive(causal(2)).tolist()
    [[0.0, -inf], [0.0, 0.0]]
    """
    check_mask(keep_mask)
    return torch.zeros(keep_mask.shape, dtype=dtype, device=keep_mask.device).masked_fill(~keep_mask, -torch.inf)


def assert_causal(
    model: Callable[[Tensor], Tensor | tuple], ids: Int[Tensor, "B T"], vocab_size: int, tolerance: NotNegative = 1e-4
) -> None:
    """Change one token at a time: nothing before it may move. Shape tests cannot see a leak; this can.

    It finds what has an effect: a layer whose weights are zero at first hides a leak behind it.

    Args:
        model: maps ids [B, T] to something with a time axis, [B, T, ...]: logits, or a `(logits, loss)` pair.
        ids: at least two tokens long.
        vocab_size: V, so that a changed token is still one of the vocabulary.
        tolerance: how far an output may move by rounding alone.

    Raises:
        AssertionError: naming the changed position and the earlier one whose output moved.
        ValueError: where there is nothing to test: one token, a vocabulary of one, no time axis, dropout switched on.

    >>> assert_causal(lambda ids: ids.cumsum(dim=1), torch.tensor([[1, 2, 3]]), vocab_size=5)
    >>> assert_causal(lambda ids: ids.roll(-1, dims=1), torch.tensor([[1, 2, 3]]), vocab_size=5)
    Traceback (most recent call last):
        ...
    AssertionError: the future leaks: changing the token at position 1 moved the output at position 0 by 1
    """
    B, T = ids.shape
    if T < 2:
        raise ValueError(f"T={T}: there is no future to leak; pass at least 2 tokens")
    if vocab_size < 2:
        raise ValueError(f"vocab_size={vocab_size}: a token cannot be changed into another one; it must be at least 2")

    def output(ids: Tensor) -> Tensor:
        result = model(ids)
        result = (result[0] if isinstance(result, tuple) else result).detach()
        if result.shape[:2] != ids.shape:
            raise ValueError(f"the output {list(result.shape)} does not begin with [B, T] = {list(ids.shape)}")
        return result.reshape(B, T, -1).double()

    before = output(ids)
    if not torch.equal(before, output(ids)) and not before.isnan().any():
        raise ValueError("the same ids gave two different outputs: switch dropout off with model.eval()")
    for t in range(1, T):
        changed = ids.clone()
        changed[:, t] = (changed[:, t] + 1) % vocab_size
        after = output(changed)[:, :t]
        # Equal infinities have not moved; a NaN counts as moved, because it hides what moved.
        moved = torch.where(after == before[:, :t], 0.0, (after - before[:, :t]).abs()).amax(dim=(0, 2))  # [t]
        leaked = ~(moved <= tolerance)
        if leaked.any():
            first = int(leaked.nonzero()[0])
            raise AssertionError(
                f"the future leaks: changing the token at position {t} moved the output at position {first} "
                f"by {moved[first]:.3g}"
            )


guard(globals())
