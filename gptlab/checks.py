"""What a model is given is checked here, in words, before a GPU could turn it into an unreadable assertion.

Masks are also brought into the shape that attention needs.
"""

import torch
from jaxtyping import Int
from torch import Tensor

from gptlab.batch_source import IGNORE


def check_batch(ids: Int[Tensor, "B T"]) -> None:
    """Refuse ids that are not a batch of integers.

    Args:
        ids: token ids.

    Raises:
        ValueError: for another shape than [B, T], and for numbers that are not integers.
    """
    if ids.dim() != 2:
        raise ValueError(
            f"ids of shape {list(ids.shape)}: a model reads a batch, [B, T]; one sequence [T] is ids[None]"
        )
    if ids.is_floating_point() or ids.dtype == torch.bool:
        raise ValueError(f"ids are {ids.dtype}, not integers: pass token ids, such as ids.long()")


def check_ids(ids: Int[Tensor, "B T"], vocab_size: int) -> None:
    """Refuse ids that no row of a table has.

    Args:
        ids: token ids.
        vocab_size: V, the number of distinct tokens.

    Raises:
        ValueError: for an id < 0 or >= V, naming both (values on a GPU are not looked at: that would wait for it); and
            for what is not a batch of integers.
    """
    check_batch(ids)
    if (outside := _outside(ids, vocab_size)) is not None:
        raise ValueError(
            f"token id {outside} is outside the vocabulary [0, {vocab_size}): "
            "encode with the tokenizer that this model was built for"
        )


def check_targets(targets: Int[Tensor, "B T"], ids: Int[Tensor, "B T"], vocab_size: int) -> None:
    """Refuse targets that do not fit their ids, or are no tokens of the vocabulary and not `IGNORE` either.

    Args:
        targets: the token after each id, or `IGNORE`.
        ids: the inputs they belong to.
        vocab_size: V, the number of distinct tokens.

    Raises:
        ValueError: naming both sides. (Values on a GPU are not looked at: that would wait for it.)
    """
    if targets.shape != ids.shape:
        raise ValueError(
            f"targets of shape {list(targets.shape)} for ids of shape {list(ids.shape)}: one target for each id"
        )
    if targets.is_floating_point() or targets.dtype == torch.bool:
        raise ValueError(f"targets are {targets.dtype}, not integers: pass token ids, such as targets.long()")
    if (outside := _outside(targets, vocab_size, ignore=IGNORE)) is not None:
        raise ValueError(
            f"target {outside} is outside the vocabulary [0, {vocab_size}): a target that should cost nothing is "
            f"gptlab.batches.IGNORE, {IGNORE}"
        )


def check_mask(mask: Tensor | None, name: str = "keep_mask") -> None:
    """Refuse a mask of 0 and 1 as numbers: they would be added to the scores and hide nothing.

    Args:
        mask: where a query may attend to a key; None is no mask.
        name: what the message calls it.

    Raises:
        ValueError: for a mask of another type than bool, naming it.

    >>> check_mask(torch.ones(2, 2))
    Traceback (most recent call last):
        ...
    ValueError: keep_mask is torch.float32, not torch.bool: 0 and 1 would be added to the scores, not drop anything. ...
    """
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(
            f"{name} is {mask.dtype}, not torch.bool: 0 and 1 would be added to the scores, not drop anything. "
            'Pass mask.bool() where 1 means "may attend", or mask == 0 where 0 does'
        )


def mask_for_heads(keep_mask: Tensor | None, B: int, H: int) -> Tensor | None:
    """A mask that fits scores of [B, H, Tq, Tk].

    Args:
        keep_mask: [Tq, Tk] and four axes stay as they are; [B, Tq, Tk] gets an axis for the heads.
        B: sequences.
        H: heads.

    Raises:
        ValueError: for a mask that is not boolean, or of three axes whose first is not B, or could also be H.

    >>> mask_for_heads(torch.ones(3, 5, 5, dtype=torch.bool), B=3, H=2).shape
    torch.Size([3, 1, 5, 5])
    """
    check_mask(keep_mask)
    if keep_mask is None or keep_mask.dim() != 3:
        return keep_mask
    first, Tq, _ = keep_mask.shape
    # With Tq = 1 it is the same for all queries, as padding is: one per sequence.
    if first not in (1, B) or (first == H > 1 and Tq > 1):
        raise ValueError(
            f"keep_mask of shape {list(keep_mask.shape)} with B={B} sequences and H={H} heads: pass "
            "keep_mask[:, None] for one mask per sequence, or keep_mask[None] for one mask per head"
        )
    return keep_mask[:, None]  # [B, Tq, Tk] -> [B, 1, Tq, Tk]


def and_causal(keep_mask: Tensor | None, q: Tensor, k: Tensor) -> Tensor:
    """A mask joined with the causal one; with more keys than queries, the queries are the last of them.

    >>> and_causal(None, q=torch.zeros(2, 4), k=torch.zeros(3, 4)).int().tolist()
    [[1, 1, 0], [1, 1, 1]]
    """
    Tq, Tk = q.shape[-2], k.shape[-2]
    causal = torch.ones(Tq, Tk, dtype=torch.bool, device=q.device).tril(Tk - Tq)
    return causal if keep_mask is None else keep_mask & causal


def check_heads(C: int, H: int) -> None:
    """Refuse heads that do not divide the channels.

    Raises:
        ValueError: naming both.
    """
    if H < 1 or C % H:
        raise ValueError(f"C={C} channels cannot be split evenly among H={H} heads: choose H >= 1, a divisor of C")


def _outside(ids: Tensor, vocab_size: int, ignore: int | None = None) -> int | None:
    """One id that is not in [0, V), or None; on a CPU only, and not while compiling."""
    if ids.device.type != "cpu" or torch.compiler.is_compiling():
        return None
    ids = ids if ignore is None else ids[ids != ignore]
    if ids.numel() == 0:
        return None
    low, high = (int(i) for i in ids.aminmax())
    return low if low < 0 else high if high >= vocab_size else None
