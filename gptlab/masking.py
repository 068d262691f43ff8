"""Masks: who may listen to whom (lesson 07).

One convention everywhere: `keep_mask` is boolean, and **True means "may attend"**, as in PyTorch's
`scaled_dot_product_attention`. (`nn.MultiheadAttention` means the opposite: there True drops a key.) Two masks are
joined with `&`. A row that may attend to nothing gives zeros, and finite gradients.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def causal(T: int, Tk: int | None = None, device: torch.device | str | None = None) -> Bool[Tensor, "T Tk"]:
    """Each position sees itself and the past: the mask of a decoder.

    With `Tk > T` the T queries are the *last* T of Tk positions, as when a cache holds the keys of the others.

    >>> causal(3).int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    >>> causal(2, 4).int().tolist()
    [[1, 1, 1, 0], [1, 1, 1, 1]]
    """
    Tk = T if Tk is None else Tk
    if Tk < T:
        raise ValueError(f"{T} queries are more than {Tk} keys: a causal mask needs a key for each query, Tk >= T")
    return torch.ones(T, Tk, dtype=torch.bool, device=device).tril(diagonal=Tk - T)


def padding(
    lengths: Sequence[int] | Int[Tensor, " B"], T: int, device: torch.device | str | None = None
) -> Bool[Tensor, "B 1 T"]:
    """Nobody listens to padding: of sequence b only the first `lengths[b]` of T keys may be attended to.

    >>> padding([2, 3], 3).int().tolist()
    [[[1, 1, 0]], [[1, 1, 1]]]
    """
    lengths = torch.as_tensor(lengths, device=device)
    if bool((lengths > T).any()) or bool((lengths < 0).any()):
        raise ValueError(f"lengths {lengths.tolist()} must lie between 0 and T={T}")
    return (torch.arange(T, device=lengths.device) < lengths[:, None])[:, None, :]


def sliding(T: int, window: int, device: torch.device | str | None = None) -> Bool[Tensor, "T T"]:
    """Each position sees itself and the `window - 1` before it (Longformer, Beltagy et al. 2020; Mistral 7B).

    >>> sliding(4, window=2).int().tolist()
    [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    """
    if window < 1:
        raise ValueError(f"window={window} leaves nothing to attend to: pass at least 1")
    return causal(T, device=device).triu(diagonal=1 - window)


def assert_causal(
    model: Callable[[Tensor], Tensor], ids: Int[Tensor, "B T"], vocab_size: int, tolerance: float = 1e-4
) -> None:
    """Change one token at a time: nothing before it may move. Shape tests cannot see a leak; this can.

    `model` maps ids [B, T] to something with a time axis, [B, T, ...]: logits, or a `(logits, loss)` pair.

    Raises:
        AssertionError: naming the changed position and the earlier one whose output moved.
    """

    def output(ids: Tensor) -> Tensor:
        result = model(ids)
        return (result[0] if isinstance(result, tuple) else result).detach()

    before = output(ids)
    for t in range(1, ids.shape[1]):
        changed = ids.clone()
        changed[:, t] = (changed[:, t] + 1) % vocab_size
        moved = (output(changed)[:, :t] - before[:, :t]).abs().flatten(2).amax(dim=(0, 2))  # [t]
        if moved.max() > tolerance:
            first = int((moved > tolerance).nonzero()[0])
            raise AssertionError(
                f"the future leaks: changing the token at position {t} moved the output at position {first} "
                f"by {moved[first]:.3g}"
            )
