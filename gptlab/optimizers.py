"""The optimisers: AdamW for most weights, and Muon for the matrices inside the blocks.

From top to bottom: what makes a matrix (nearly) orthogonal without computing a singular value, Muon, and which weight
goes to which optimiser.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gptlab import ranks
from gptlab.entrances import guard
from gptlab.schedule import TrainConfig


def orthogonalize(matrices: Float[Tensor, "n rows columns"], iterations: int = 5) -> Float[Tensor, "n rows columns"]:
    """For each matrix one with the same singular directions, and singular values near 1 (between about 0.7 and 1.2).

    Newton–Schulz iteration: a polynomial in X Xᵀ, applied again and again, that drives every singular value towards 1
    without computing any. The coefficients are Jordan's (2024): they favour speed over an exact 1.

    Args:
        matrices: a stack of matrices of one shape.
        iterations: how often the polynomial is applied.

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
    """Momentum whose update is orthogonalised, matrix by matrix (Jordan et al. 2024).

    Rare directions of a matrix are then learned as fast as common ones. The result is that of `torch.optim.Muon`, as a
    test shows. That one updates one matrix after the other in bfloat16, which processors without matrix units are slow
    at; here matrices of one shape are stacked, in float32 on a CPU.

    Args:
        params: matrices, or groups of them.
        lr: the learning rate; for each matrix it is multiplied by sqrt(max(1, rows / columns)).
        momentum: how much of the running average of gradients stays in each step (Nesterov's).
        weight_decay: how fast the matrices shrink towards 0.
    """

    def __init__(self, params, lr: float | int = 0.02, momentum: float | int = 0.95, weight_decay: float | int = 0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            stacks: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update = self._momentum(parameter, group["momentum"])
                    stacks.setdefault(tuple(update.shape), []).append((parameter, update))
            for pairs in stacks.values():
                stacked = torch.stack([update for _, update in pairs])
                stacked = orthogonalize(stacked.bfloat16() if stacked.is_cuda else stacked)
                for (parameter, _), update in zip(pairs, stacked, strict=True):
                    rows, columns = parameter.shape
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    update = ranks.spread(update.mT if rows > columns else update, like=parameter)
                    parameter.add_(update, alpha=-group["lr"] * max(1, rows / columns) ** 0.5)

    def _momentum(self, parameter: Tensor, momentum: float | int) -> Tensor:
        """The update before it is orthogonalised, with no more rows than columns: then X Xᵀ is the smaller product."""
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        average = state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
        update = ranks.whole(parameter.grad.lerp(average, momentum))  # singular values are those of the whole matrix
        return update.mT if update.shape[0] > update.shape[1] else update


def adamw_groups(parameters: list[Tensor], weight_decay: float | int) -> list[dict]:
    """AdamW's parameter groups: matrices and tables decay, vectors (biases, norms, gains) don't.

    >>> layer = nn.Linear(3, 2)
    >>> [(len(group["params"]), group["weight_decay"]) for group in adamw_groups(list(layer.parameters()), 0.1)]
    [(1, 0.1), (1, 0.0)]
    """
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _muon(matrices: list[Tensor], config: TrainConfig) -> torch.optim.Optimizer:
    return Muon(matrices, lr=config.muon_lr, weight_decay=config.weight_decay)


# For each `TrainConfig.optimizer`, what takes the matrices inside the blocks; None: AdamW, like everything else.
MATRIX_OPTIMIZERS: dict[str, Callable[[list[Tensor], TrainConfig], torch.optim.Optimizer] | None] = {
    "adamw": None,
    "muon": _muon,
}


def make_optimizers(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """The optimizers of a run: one AdamW for everything, or with it another for the matrices inside the blocks.

    An embedding table isn't a matrix in this sense: its rows are looked up, not multiplied.

    Args:
        model: its parameters that require a gradient are optimised.
        config: which optimiser, learning rates, betas and weight decay.
    """

    def is_matrix(name: str, parameter: Tensor) -> bool:
        return name.startswith("blocks.") and parameter.dim() == 2 and "convolution" not in name

    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    for_matrices = MATRIX_OPTIMIZERS[config.optimizer]
    matrices = [p for name, p in named if is_matrix(name, p)] if for_matrices else []
    taken = {id(p) for p in matrices}
    groups = adamw_groups([p for _, p in named if id(p) not in taken], config.weight_decay)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)
    ]
    if for_matrices and matrices:
        optimizers.append(for_matrices(matrices, config))
    return optimizers


guard(globals())
