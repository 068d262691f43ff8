"""Faster forms of a GPT's parts, for training on a GPU: the model computes the same, and its weights and names stay.

The lesson's model says what is computed, in the simplest way. Two of its products can be had in a better shape:

- **The head.** Its logits, in float32 for the loss, are the largest tensor of a step: for GPT-2's vocabulary 1.6 GB at
  8 × 1024 tokens. `linear_cross_entropy` takes some rows at a time and keeps the gradient instead of the logits, which
  is as much smaller as V is larger than C (Wijmans et al. 2024, "Cut your losses in large-vocabulary language models",
  do the same inside one kernel). And 50,257 columns are an odd number, for which matrix units have slow kernels only;
  the product gets columns of zeros up to the next multiple of 64. They are in no file, no count and no gradient, and
  no token has their ids.
- **Query, key and value** read the same input, so their three products are one, with their weights side by side.

`speed_up` gives a model these forms, by another class for the same object; tests prove them equal to the plain ones.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gptlab.attention import MultiHeadAttention, Rotation, split_heads
from gptlab.batches import IGNORE
from gptlab.cache import KVCache, LayerCache
from gptlab.checks import check_batch, check_targets
from gptlab.entrances import Count, guard
from gptlab.model import GPT

MULTIPLE = 64  # columns of the head's product
LOGITS = 1 << 27  # at most so many exist at once: half a gigabyte in float32


class _LinearCrossEntropy(torch.autograd.Function):
    """The loss and, in the same pass over the logits, both gradients; the backward pass only scales them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, rows: int, multiple: int) -> Tensor:
        V, kind = len(weight), torch.get_autocast_dtype(x.device.type)
        kind = kind if torch.is_autocast_enabled(x.device.type) else x.dtype
        matrix, inputs = weight.to(kind), x.to(kind)  # [V, C], [N, C]
        matrix = F.pad(matrix, (0, 0, 0, -V % multiple)) if V % multiple else matrix  # [V', C]
        learns = any(ctx.needs_input_grad)
        exact = torch.promote_types(kind, torch.float32)
        total = torch.zeros((), dtype=exact, device=x.device)
        x_gradient = torch.empty_like(inputs) if learns else None
        weight_gradient = torch.zeros(weight.shape, dtype=exact, device=x.device) if learns else None
        with torch.autocast(x.device.type, enabled=False):
            for first in range(0, len(inputs), rows):
                some, wanted = inputs[first : first + rows], targets[first : first + rows]
                counts = (wanted != IGNORE)[:, None]  # [rows, 1]
                wanted = wanted.clamp(min=0)[:, None]
                logits = (some @ matrix.mT).to(exact)  # [rows, V']
                logits[:, V:] = -torch.inf  # columns that no token has
                spread = logits.logsumexp(dim=-1, keepdim=True)
                total += torch.where(counts, spread - logits.gather(1, wanted), 0.0).sum()
                if learns:  # softmax minus one at the target
                    gradient = logits.sub_(spread).exp_()
                    gradient.scatter_add_(1, wanted, -torch.ones_like(spread))
                    gradient = gradient.mul_(counts).to(kind)
                    x_gradient[first : first + rows] = gradient @ matrix
                    if kind == exact:
                        weight_gradient.addmm_(gradient[:, :V].mT, some)
                    else:
                        weight_gradient += (gradient.mT @ some)[:V]
        count = (targets != IGNORE).sum()
        if learns:
            ctx.save_for_backward(x_gradient, weight_gradient, count)
        ctx.kinds = (x.dtype, weight.dtype)
        return total / count

    @staticmethod
    def backward(ctx: Any, factor: Tensor) -> tuple:
        x_gradient, weight_gradient, count = ctx.saved_tensors
        scale = factor / count  # here, so that float16 does not lose what is divided by many tokens
        to_x, to_weight = (
            (gradient * scale).to(kind) for gradient, kind in zip((x_gradient, weight_gradient), ctx.kinds, strict=True)
        )
        return to_x, to_weight, None, None, None


def linear_cross_entropy(
    x: Float[Tensor, "N C"],
    weight: Float[Tensor, "V C"],
    targets: Int[Tensor, " N"],
    rows: Count | None = None,
    multiple: Count = 1,
) -> Float[Tensor, ""]:
    """The mean loss of logits x Wᵀ in nats per target, without all logits ever being in memory.

    As `F.cross_entropy(x @ weight.T, targets)`, in float32 or better, with the gradients of x and the weight. The
    product is made in the precision of autocast, where that is on.

    Args:
        x: a vector for each position.
        weight: of the head.
        targets: the token after each; `IGNORE` costs nothing.
        rows: positions at a time; as many as have `LOGITS` logits unless given.
        multiple: the product gets columns of zeros until their number is a multiple of this.

    >>> x, weight = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), torch.tensor([[0.5, -0.5], [0.0, 0.1]])
    >>> linear_cross_entropy(x, weight, torch.tensor([0, 1, 1]), rows=2, multiple=64)
    tensor(0.5772)
    """
    rows = max(1, LOGITS // len(weight)) if rows is None else rows
    return _LinearCrossEntropy.apply(x, weight, targets, rows, multiple)


class FusedAttention(MultiHeadAttention):
    """`MultiHeadAttention` whose queries, keys and values come out of one product."""

    def project(
        self, x: Float[Tensor, "B T C"], rotate: Rotation | None = None, cache: LayerCache | None = None
    ) -> tuple[Float[Tensor, "B H T hs"], Float[Tensor, "B G Tk hs"], Float[Tensor, "B G Tk hs"]]:
        """As there."""
        layers = (self.query, self.key, self.value)
        if not all(type(layer) is nn.Linear for layer in layers):  # LoRA's, or int8's
            return super().project(x, rotate, cache)
        weight = torch.cat([layer.weight for layer in layers])  # [C + 2 G hs, C]
        bias = None if self.query.bias is None else torch.cat([layer.bias for layer in layers])
        sizes = [layer.out_features for layer in layers]
        q, k, v = F.linear(x, weight, bias).split(sizes, dim=-1)
        q = self.query_norm(split_heads(q, self.H))  # [B, H, T, hs]
        k = self.key_norm(split_heads(k, self.n_kv_head))  # [B, G, T, hs]
        v = split_heads(v, self.n_kv_head)
        if rotate is not None:
            q, k = rotate(q), rotate(k)
        if cache is not None:
            k, v = cache.extend(k, v)
        return q, k, v


class FastGPT(GPT):
    """`GPT` that gives no logits in training, only the loss; in evaluation mode it is the plain one."""

    multiple = MULTIPLE
    rows: int | None = None

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        targets: Int[Tensor, "B T"] | None = None,
        *,
        keep_mask: Bool[Tensor, "*#B #T Tk"] | None = None,
        cache: KVCache | None = None,
    ) -> tuple[Float[Tensor, "B T V"] | None, Float[Tensor, ""] | None]:
        """As there; in training with targets None stands for the logits."""
        if targets is None or not self.training or type(self.head) is not nn.Linear:
            return super().forward(ids, targets, keep_mask=keep_mask, cache=cache)
        check_batch(ids)
        check_targets(targets, ids, self.config.vocab_size)
        x = self.hidden(ids, keep_mask, cache).flatten(0, 1)  # [B * T, C]
        wanted = targets.flatten().long()
        return None, linear_cross_entropy(x, self.head.weight, wanted, self.rows, self.multiple)


def speed_up(
    model: GPT, head: bool = True, attention: bool = True, multiple: Count = MULTIPLE, rows: Count | None = None
) -> GPT:
    """Give a model the faster forms, in place; weights, files and generated text stay what they are.

    Args:
        model: that will be trained.
        head: whether the loss is made without all logits at once.
        attention: whether query, key and value are one product.
        multiple: columns of the head's product; 1 adds none.
        rows: positions of which logits exist at once; as for `linear_cross_entropy`.

    >>> from gptlab.config import GPTConfig
    >>> model = speed_up(GPT(GPTConfig(vocab_size=50, context=8, n_layer=1, n_head=2, n_embd=12)))
    >>> ids = torch.tensor([[1, 2, 3]])
    >>> logits, loss = model(ids, ids)
    >>> logits is None, model.eval()(ids)[0].shape
    (True, torch.Size([1, 3, 50]))
    """
    if head and type(model) is GPT:
        model.__class__ = FastGPT
        model.multiple, model.rows = multiple, rows
    for block in model.blocks if attention else ():
        if type(block.attention) is MultiHeadAttention:
            block.attention.__class__ = FusedAttention
    return model


guard(globals())
