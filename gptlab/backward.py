"""The backward pass of every operation in a GPT, by hand: for each function, a second one that goes the other way.

A forward function gets tensors and returns `y`. Its backward function gets `dy`, the gradient of the loss with respect
to `y`, and returns the gradients with respect to what went in: `dx`, `dweight` and so on. A `d` in front of a name
always means *the gradient of the loss with respect to*, and has the shape of what the name stands for.

From top to bottom: sums and copies, products, the MLP's activation function, the norm, softmax and the loss, attention.
Every pair is tested against `torch.autograd` and against differences (`gptlab.autograd.numerical_gradient`).
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gptlab.attention import attention_weights
from gptlab.batches import IGNORE
from gptlab.entrances import explained
from gptlab.masking import causal

# ── Sums and copies ──────────────────────────────────────────────────────────────────────────────────────────────────


def add_backward(dy: Float[Tensor, "*shape"]) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """Backward of `a + b` for two tensors of one shape: both get the gradient as it is. So it is at a residual path.

    Args:
        dy: gradient of the sum.

    >>> add_backward(torch.tensor([0.5, -2.0]))
    (tensor([ 0.5000, -2.0000]), tensor([ 0.5000, -2.0000]))
    """
    return dy, dy


def sum_to(dy: Float[Tensor, "*shape"], shape: tuple[int, ...] | torch.Size) -> Tensor:
    """Backward of broadcasting: what was copied along an axis gets the sum of its copies' gradients.

    Args:
        dy: gradient of the large tensor.
        shape: of the small one, which broadcasting stretched.

    Raises:
        ValueError: for a shape that does not broadcast to that of `dy`.

    >>> sum_to(torch.ones(2, 5, 3), (3,))
    tensor([10., 10., 10.])
    """
    shape = tuple(shape)
    ends = dy.shape[dy.dim() - len(shape) :] if len(shape) <= dy.dim() else ()
    if len(ends) != len(shape) or any(n not in (1, size) for n, size in zip(shape, ends, strict=True)):
        raise ValueError(f"{list(shape)} does not broadcast to {list(dy.shape)}: give the shape before broadcasting")
    dy = dy.sum(dim=tuple(range(dy.dim() - len(shape)))) if dy.dim() > len(shape) else dy  # axes put in front
    copied = tuple(axis for axis, n in enumerate(shape) if n != dy.shape[axis])
    return dy.sum(dim=copied, keepdim=True) if copied else dy


def embedding(ids: Int[Tensor, "*batch"], table: Float[Tensor, "V C"]) -> Float[Tensor, "*batch C"]:
    """The row of each id."""
    return table[ids]


@explained
def embedding_backward(dy: Float[Tensor, "*batch C"], ids: Int[Tensor, "*batch"], V: int) -> Float[Tensor, "V C"]:
    """Backward of `embedding`: a row's gradient is the sum over all places where it was used; other rows get zero.

    Args:
        dy: gradient of the rows that were looked up.
        ids: which rows.
        V: how many rows the table has.

    >>> embedding_backward(torch.tensor([[1.0], [10.0], [100.0]]), torch.tensor([2, 0, 2]), V=4).T
    tensor([[ 10.,   0., 101.,   0.]])
    """
    return dy.new_zeros(V, dy.shape[-1]).index_add_(0, ids.flatten(), dy.reshape(-1, dy.shape[-1]))


# ── Products ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def matmul_backward(
    dy: Float[Tensor, "*batch M N"], a: Float[Tensor, "*batch M K"], b: Float[Tensor, "*batch K N"]
) -> tuple[Float[Tensor, "*batch M K"], Float[Tensor, "*batch K N"]]:
    """Backward of `a @ b`: two more products, and the shapes alone say which.

    Args:
        dy: gradient of the product.
        a: the left factor.
        b: the right factor.

    >>> matmul_backward(torch.ones(1, 1), torch.tensor([[2.0, 3.0]]), torch.tensor([[5.0], [7.0]]))[0]
    tensor([[5., 7.]])
    """
    return dy @ b.transpose(-2, -1), a.transpose(-2, -1) @ dy


def linear(
    x: Float[Tensor, "*batch C"], weight: Float[Tensor, "O C"], bias: Float[Tensor, " O"] | None = None
) -> Float[Tensor, "*batch O"]:
    """A linear layer: `x @ weight.T + bias`, with the matrix as PyTorch stores it, [out, in]."""
    y = x @ weight.T  # [*batch, O]
    return y if bias is None else y + bias


@explained
def linear_backward(
    dy: Float[Tensor, "*batch O"], x: Float[Tensor, "*batch C"], weight: Float[Tensor, "O C"]
) -> tuple[Float[Tensor, "*batch C"], Float[Tensor, "O C"], Float[Tensor, " O"]]:
    """Backward of `linear`: (dx, dweight, dbias).

    The matrix and the bias were used at every position, so their gradients are sums over all positions.

    Args:
        dy: gradient of the output.
        x: what went in.
        weight: the matrix.

    >>> dx, dweight, dbias = linear_backward(torch.ones(2, 1), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.ones(1, 2))
    >>> dweight, dbias
    (tensor([[4., 6.]]), tensor([2.]))
    """
    rows, drows = x.flatten(0, -2), dy.flatten(0, -2)  # [N, C] and [N, O]: all positions of all sequences
    return dy @ weight, drows.T @ rows, drows.sum(dim=0)


# ── Activation function and norm ─────────────────────────────────────────────────────────────────────────────────────


def gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """x times the share of a standard normal distribution below x (Hendrycks & Gimpel 2016)."""
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def gelu_backward(dy: Float[Tensor, "*shape"], x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Backward of `gelu`: the slope at x is the share below x, plus x times the height of the bell curve at x.

    Args:
        dy: gradient of the output.
        x: what went in.

    >>> gelu_backward(torch.ones(3), torch.tensor([-9.0, 0.0, 9.0])).round(decimals=4).abs()
    tensor([0.0000, 0.5000, 1.0000])
    """
    share = 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    bell = torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return dy * (share + x * bell)


def gelu_tanh(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """GELU by its approximation with tanh, as GPT-2 computes it."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_tanh_backward(dy: Float[Tensor, "*shape"], x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Backward of `gelu_tanh`: the product rule, and the chain rule through the tanh.

    Args:
        dy: gradient of the output.
        x: what went in.
    """
    tanh = torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    inner = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)  # the slope of what the tanh is given
    return dy * (0.5 * (1 + tanh) + 0.5 * x * (1 - tanh**2) * inner)


def layer_norm(
    x: Float[Tensor, "*batch C"],
    weight: Float[Tensor, " C"],
    bias: Float[Tensor, " C"] | None = None,
    eps: float = 1e-5,
) -> Float[Tensor, "*batch C"]:
    """Each position over its own channels: mean 0, variance 1, then a learned weight and bias (Ba et al. 2016).

    Args:
        x: what is normalised.
        weight: the gain of each channel.
        bias: of each channel; None for none.
        eps: added to the variance, against division by zero.
    """
    y = _normalised(x, eps)[0] * weight
    return y if bias is None else y + bias


@explained
def layer_norm_backward(
    dy: Float[Tensor, "*batch C"], x: Float[Tensor, "*batch C"], weight: Float[Tensor, " C"], eps: float = 1e-5
) -> tuple[Float[Tensor, "*batch C"], Float[Tensor, " C"], Float[Tensor, " C"]]:
    """Backward of `layer_norm`: (dx, dweight, dbias).

    Mean and variance depend on every channel, so two parts of the gradient cannot come through: the one that would move
    all channels alike (the mean is taken away again) and the one along x itself (its length is divided out).

    Args:
        dy: gradient of the output.
        x: what went in.
        weight: the gain of each channel.
        eps: as in `layer_norm`.

    >>> dx, _, _ = layer_norm_backward(torch.randn(2, 5, 4), x := torch.randn(2, 5, 4), torch.ones(4))
    >>> bool(dx.sum(dim=-1).abs().max() < 1e-4)
    True
    """
    normed, inverse = _normalised(x, eps)  # [*batch, C] and [*batch, 1]
    dnormed = dy * weight
    shift = dnormed.mean(dim=-1, keepdim=True)  # what would move all channels alike
    stretch = (dnormed * normed).mean(dim=-1, keepdim=True)  # what would make x longer
    dx = inverse * (dnormed - shift - normed * stretch)
    return dx, sum_to(dy * normed, weight.shape), sum_to(dy, weight.shape)


def _normalised(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x with mean 0 and variance 1 over the channels, and what it was multiplied by for that."""
    centred = x - x.mean(dim=-1, keepdim=True)
    inverse = (centred.square().mean(dim=-1, keepdim=True) + eps).rsqrt()  # [*batch, 1]
    return centred * inverse, inverse


# ── Softmax and the loss ─────────────────────────────────────────────────────────────────────────────────────────────


def softmax_backward(dp: Float[Tensor, "*batch V"], p: Float[Tensor, "*batch V"]) -> Float[Tensor, "*batch V"]:
    """Backward of `p = softmax(x)` over the last axis: each entry's gradient, compared with the average one.

    Raising one logit takes probability from all the others. So what counts is not whether the loss would like this
    probability to grow, but whether it would like that more than it does on average.

    Args:
        dp: gradient of the probabilities.
        p: the probabilities.

    >>> softmax_backward(torch.tensor([1.0, 0.0]), torch.tensor([0.25, 0.75]))
    tensor([ 0.1875, -0.1875])
    """
    return p * (dp - (dp * p).sum(dim=-1, keepdim=True))


def cross_entropy(logits: Float[Tensor, "*batch V"], targets: Int[Tensor, "*batch"]) -> Float[Tensor, ""]:
    """The mean of -ln p(target) in nats per token, over the targets that are not `IGNORE`."""
    counted = targets != IGNORE
    found = logits.log_softmax(dim=-1).gather(-1, targets.clamp(min=0).long()[..., None]).squeeze(-1)  # [*batch]
    return -found[counted].mean()


def cross_entropy_backward(
    logits: Float[Tensor, "*batch V"], targets: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch V"]:
    """The gradient of `cross_entropy` with respect to the logits: the probabilities, minus 1 at the target, over N.

    N is the number of targets that count. Nothing comes from above: here the backward pass begins.

    Args:
        logits: of each position.
        targets: the right token at each position; `IGNORE` (-100) costs nothing, and its logits get no gradient.

    >>> cross_entropy_backward(torch.zeros(1, 4), torch.tensor([2]))
    tensor([[ 0.2500,  0.2500, -0.7500,  0.2500]])
    """
    counted = (targets != IGNORE)[..., None]  # [*batch, 1]
    d = logits.softmax(dim=-1)  # [*batch, V]
    d = d.scatter_add(-1, targets.clamp(min=0).long()[..., None], -torch.ones_like(d[..., :1]))
    return d * counted / counted.sum()


# ── Attention ────────────────────────────────────────────────────────────────────────────────────────────────────────


def attention(
    q: Float[Tensor, "*batch T hs"], k: Float[Tensor, "*batch T hs"], v: Float[Tensor, "*batch T hv"]
) -> Float[Tensor, "*batch T hv"]:
    """Causal self-attention of heads side by side: each query averages the values at its position and before."""
    return attention_weights(q, k, causal(q.shape[-2], device=q.device)) @ v


@explained
def attention_backward(
    dy: Float[Tensor, "*batch T hv"],
    q: Float[Tensor, "*batch T hs"],
    k: Float[Tensor, "*batch T hs"],
    v: Float[Tensor, "*batch T hv"],
) -> tuple[Float[Tensor, "*batch T hs"], Float[Tensor, "*batch T hs"], Float[Tensor, "*batch T hv"]]:
    """Backward of `attention`: (dq, dk, dv). Two products and a softmax, each undone in turn.

    The mask needs no line: a weight that is 0 lets no gradient through, since `softmax_backward` multiplies by it.

    Args:
        dy: gradient of what the heads found.
        q: queries.
        k: keys.
        v: values.
    """
    weights = attention_weights(q, k, causal(q.shape[-2], device=q.device))  # [*batch, T, T]
    dweights, dv = matmul_backward(dy, weights, v)
    dscores = softmax_backward(dweights, weights) / math.sqrt(q.shape[-1])
    return dscores @ k, dscores.transpose(-2, -1) @ q, dv
