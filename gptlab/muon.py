"""Muon: momentum whose step is made orthogonal, so that rare directions are learned as fast as common ones (lesson 09).

First what makes a matrix (nearly) orthogonal without computing a singular value, then the optimiser.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from gptlab import checkpoints


def orthogonalize(matrices: Float[Tensor, "n rows columns"], iterations: int = 5) -> Float[Tensor, "n rows columns"]:
    """For each matrix one with the same singular directions, and singular values near 1 (between about 0.7 and 1.2).

    Newton–Schulz iteration: a polynomial in X Xᵀ, applied again and again, that drives every singular value towards 1
    without computing any. The coefficients are Jordan's (2024): they favour speed over an exact 1.

    >>> sizes = torch.linalg.svdvals(orthogonalize(torch.diag(torch.tensor([5.0, 1.0, 0.2]))[None]))
    >>> bool((sizes > 0.6).all() and (sizes < 1.3).all())
    True
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices / matrices.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(iterations):
        gram = x @ x.mT  # [n, rows, rows]
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


class Muon(torch.optim.Optimizer):
    """Momentum whose step is orthogonalised, matrix by matrix (Jordan et al. 2024), so that rare directions are learned
    as fast as common ones.

    `torch.optim.Muon` with the same result, as a test shows; it takes one matrix after the other in bfloat16, which
    processors without matrix units are slow at. Here matrices of one shape go together, in float32 on a CPU.

    Args:
        lr: multiplied by sqrt(max(1, rows / columns)) for each matrix, as there.  momentum: Nesterov's.
    """

    def __init__(self, params, lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                average = state["momentum_buffer"].lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(average, group["momentum"])
                if hasattr(update, "full_tensor"):  # sharded: the directions of a matrix show only in the whole of it
                    update = update.full_tensor()
                update = update.mT if update.shape[0] > update.shape[1] else update  # lying: X Xᵀ is the smaller one
                alike.setdefault(tuple(update.shape), []).append((parameter, update))
            for pairs in alike.values():
                stacked = torch.stack([update for _, update in pairs])
                stacked = orthogonalize(stacked.bfloat16() if stacked.is_cuda else stacked)
                for (parameter, _), update in zip(pairs, stacked, strict=True):
                    rows, columns = parameter.shape
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    update = checkpoints.spread_like(update.mT if rows > columns else update, parameter)
                    parameter.add_(update, alpha=-group["lr"] * max(1, rows / columns) ** 0.5)
