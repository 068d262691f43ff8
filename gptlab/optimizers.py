"""The optimizers: AdamW for most weights, and Muon for the matrices inside the blocks.

From top to bottom: what makes a matrix (nearly) orthogonal without computing a singular value, Muon, and which weight
goes to which optimizer.
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
    at; here all matrices move together: one call for every average, one for every weight, and those of one shape (lying
    or standing) are orthogonalised as one stack, in float32 on a CPU. A GPU takes longer to be told of a small matrix
    than to multiply it.

    Where `found_inf` is set to a tensor, as torch's fused optimizers have it, a step in which it is 1 changes nothing,
    and nobody has to wait for the device to know. A learning rate may be a tensor too: a recorded step reads it anew.

    Args:
        params: matrices, or groups of them.
        lr: the learning rate; for each matrix it is multiplied by sqrt(max(1, rows / columns)).
        momentum: how much of the running average of gradients stays in each step (Nesterov's).
        weight_decay: how fast the matrices shrink towards 0.
    """

    found_inf: Tensor | None = None

    def __init__(self, params, lr: float | int = 0.02, momentum: float | int = 0.95, weight_decay: float | int = 0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.orthogonalize = orthogonalize  # torch.compile's form of it, in a compiled run

    @torch.no_grad()
    def step(self) -> None:
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            if parameters := [parameter for parameter in group["params"] if parameter.grad is not None]:
                self._move(parameters, self._directions(self._momentum(parameters, group["momentum"])), group)

    def _momentum(self, parameters: list[Tensor], momentum: float | int) -> list[Tensor]:
        """The updates before they are orthogonalised; each is a whole matrix, because its singular values are."""
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        averages = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        gradients = [parameter.grad for parameter in parameters]
        if any(ranks.is_sharded(parameter) for parameter in parameters):
            pairs = list(zip(averages, gradients, strict=True))
            return [ranks.whole(g.lerp(average.lerp_(g, 1 - momentum), momentum)) for average, g in pairs]
        if self.found_inf is not None:  # an average that moves towards itself stays
            gradients = unless(self.found_inf, gradients, averages)
        torch._foreach_lerp_(averages, gradients, 1 - momentum)
        return list(torch._foreach_lerp(gradients, averages, momentum))

    def _directions(self, updates: list[Tensor]) -> list[Tensor]:
        """Each update orthogonalised. A standing matrix is laid down before: then X Xᵀ is the smaller product."""
        done = list(updates)
        for lying in dict.fromkeys(tuple(sorted(update.shape)) for update in updates):
            of_shape = [i for i, update in enumerate(updates) if tuple(sorted(update.shape)) == lying]
            standing = [i for i in of_shape if updates[i].shape[0] > updates[i].shape[1]]
            others = [i for i in of_shape if updates[i].shape[0] <= updates[i].shape[1]]
            stacked = torch.stack([updates[i].mT for i in standing] + [updates[i] for i in others])
            found = self.orthogonalize(stacked.bfloat16() if stacked.is_cuda else stacked).to(stacked.dtype)
            raised = found[: len(standing)].mT.contiguous()  # of one layout with the weights that it is added to
            for i, direction in zip([*standing, *others], [*raised, *found[len(standing) :]], strict=True):
                done[i] = direction
        return done

    def _move(self, parameters: list[Tensor], directions: list[Tensor], group: dict) -> None:
        """Decay the weights, then add the directions, one call for each factor that the learning rate has."""
        lr, decay, weights = group["lr"], group["weight_decay"], [ranks.local(p) for p in parameters]
        moves = 1 if self.found_inf is None else 1 - self.found_inf  # 0 where nothing may change
        if decay:
            kept = 1 - lr * decay * (moves.double() if isinstance(moves, Tensor) else 1)
            torch._foreach_mul_(weights, kept.float() if isinstance(kept, Tensor) else kept)
        if self.found_inf is not None:
            directions = torch._foreach_mul(directions, moves)
        directions = [
            ranks.local(ranks.spread(direction, like=p)) for direction, p in zip(directions, parameters, strict=True)
        ]
        factors = [max(1, parameter.shape[0] / parameter.shape[1]) ** 0.5 for parameter in parameters]
        for factor in dict.fromkeys(factors):
            chosen = [i for i, found in enumerate(factors) if found == factor]
            some, toward = [weights[i] for i in chosen], [directions[i] for i in chosen]
            if isinstance(lr, Tensor):
                torch._foreach_sub_(some, torch._foreach_mul(toward, lr * factor))
            else:
                torch._foreach_add_(some, toward, alpha=-lr * factor)


def unless(spoilt: Tensor, values: list[Tensor], instead: list[Tensor]) -> list[Tensor]:
    """The values where `spoilt` is 0, and where it is 1 what stands instead of each; like shapes in one call.

    A product with 0 would not do: what is not a number stays so.

    >>> unless(torch.tensor(1.0), [torch.tensor([torch.nan])], [torch.tensor([2.0])])
    [tensor([2.])]
    """
    chosen, spoilt = list(values), spoilt > 0
    for shape in dict.fromkeys(value.shape for value in values):
        where = [i for i, value in enumerate(values) if value.shape == shape]
        stacks = (torch.stack([many[i] for i in where]) for many in (instead, values))
        for i, value in zip(where, torch.where(spoilt, *stacks).unbind(), strict=True):
            chosen[i] = value
    return chosen


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
        config: which optimizer, learning rates, betas and weight decay.
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
