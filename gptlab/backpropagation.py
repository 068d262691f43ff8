"""Backpropagation: the chain rule, walked backward through a whole GPT (Rumelhart, Hinton & Williams 1986).

Three modules in the order of the notebook. `gptlab.autograd` has `Value`, a number that can be differentiated, and the
measured slope that judges everything else. `gptlab.backward` has the backward pass of each operation. This one puts
them together: `backward_gpt` finds the gradient of every parameter of a GPT with GPT-2's parts, without autograd. At
the end stands what shows how far a gradient gets: its norm at each point of its path.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gptlab import backward
from gptlab.attention import merge_heads, split_heads
from gptlab.autograd import Value, named, numerical_gradient, slope
from gptlab.checks import check_batch, check_targets
from gptlab.config import GPTConfig
from gptlab.model import GPT, Block

__all__ = [
    "BACKWARD", "Value", "backward_gpt", "block_backward", "block_forward", "gradient_norms", "named",
    "numerical_gradient", "parts_of", "refuse_unknown_parts", "set_gradients", "slope",
]  # fmt: skip

Saved = dict[str, Tensor]  # what a forward pass keeps because its backward pass needs it

# The operations of a GPT whose backward pass is more than a copy, by name; `backward_gpt` uses yours in place of ours.
BACKWARD: dict[str, Callable[..., Any]] = {
    "embedding": backward.embedding_backward,
    "linear": backward.linear_backward,
    "gelu": backward.gelu_backward,
    "gelu_tanh": backward.gelu_tanh_backward,
    "layer_norm": backward.layer_norm_backward,
    "attention": backward.attention_backward,
    "cross_entropy": backward.cross_entropy_backward,
}


# ── One block ────────────────────────────────────────────────────────────────────────────────────────────────────────


def block_forward(x: Float[Tensor, "B T C"], block: Block) -> tuple[Float[Tensor, "B T C"], Saved]:
    """What a block makes of the residual stream, and every tensor that its backward pass will need.

    Args:
        x: the residual stream.
        block: with GPT-2's parts.
    """
    attend, mlp = block.attention, block.mlp
    saved = {"x": x, "h1": _norm(x, block.norm1)}
    for name in ("query", "key", "value"):
        saved[name] = split_heads(_linear(saved["h1"], getattr(attend, name)), attend.H)  # [B, H, T, hs]
    saved["found"] = merge_heads(backward.attention(saved["query"], saved["key"], saved["value"]))  # [B, T, C]
    saved["middle"] = x + _linear(saved["found"], attend.output)
    saved["h2"] = _norm(saved["middle"], block.norm2)
    saved["up"] = _linear(saved["h2"], mlp.up)  # [B, T, 4C]
    saved["active"] = mlp.activation(saved["up"])
    return saved["middle"] + _linear(saved["active"], mlp.down), saved


def block_backward(
    dy: Float[Tensor, "B T C"],
    block: Block,
    saved: Saved,
    activation: str = "gelu",
    using: Mapping[str, Callable[..., Any]] = BACKWARD,
) -> tuple[Float[Tensor, "B T C"], dict[str, Tensor]]:
    """Backward of `block_forward`, its lines in reverse order: (dx, the gradients of the block's parameters by name).

    Args:
        dy: gradient of the stream after the block.
        block: the same as before.
        saved: what the forward pass kept.
        activation: the name of the MLP's activation function, as in `GPTConfig.mlp`.
        using: the backward functions, by the names of `BACKWARD`.
    """
    found: dict[str, Tensor] = {}

    def linear(dy: Tensor, x: Tensor, name: str) -> Tensor:
        dx, found[f"{name}.weight"], found[f"{name}.bias"] = using["linear"](
            dy, x, block.get_parameter(f"{name}.weight")
        )
        return dx

    def norm(dy: Tensor, x: Tensor, name: str) -> Tensor:
        layer = block.get_submodule(name)
        dx, found[f"{name}.weight"], found[f"{name}.bias"] = using["layer_norm"](dy, x, layer.weight, layer.eps)
        return dx

    # The MLP. A residual path copies the gradient: one copy goes through the part, the other past it.
    dactive = linear(dy, saved["active"], "mlp.down")
    dup = using[activation](dactive, saved["up"])
    dmiddle = dy + norm(linear(dup, saved["h2"], "mlp.up"), saved["middle"], "norm2")

    # Attention. The same h1 made queries, keys and values, so three gradients add up.
    dfound = split_heads(linear(dmiddle, saved["found"], "attention.output"), block.attention.H)  # [B, H, T, hs]
    dqkv = using["attention"](dfound, saved["query"], saved["key"], saved["value"])
    dh1 = sum(
        linear(merge_heads(d), saved["h1"], f"attention.{name}")
        for d, name in zip(dqkv, ("query", "key", "value"), strict=True)
    )
    return dmiddle + norm(dh1, saved["x"], "norm1"), found


def _linear(x: Tensor, layer: nn.Linear) -> Tensor:
    return backward.linear(x, layer.weight, layer.bias)


def _norm(x: Tensor, layer: nn.LayerNorm) -> Tensor:
    return backward.layer_norm(x, layer.weight, layer.bias, layer.eps)


# ── The whole model ──────────────────────────────────────────────────────────────────────────────────────────────────


@torch.no_grad()
def backward_gpt(
    model: GPT,
    ids: Int[Tensor, "B T"],
    targets: Int[Tensor, "B T"],
    yours: Mapping[str, Callable[..., Any]] | None = None,
) -> dict[str, Tensor]:
    """The gradient of the loss with respect to every parameter of a GPT, by name: `loss.backward()` without autograd.

    Args:
        model: with GPT-2's parts; dropout must be off.
        ids: token ids.
        targets: the token after each position; `IGNORE` (-100) costs nothing.
        yours: backward functions of your own, by the names of `BACKWARD`; ours do the rest.

    Raises:
        ValueError: for a part that has no backward pass here, with the name of each; for an operation that is not in
            `BACKWARD`; and for one of yours that returns nothing.

    >>> model = GPT(GPTConfig(vocab_size=50, context=8, n_layer=2, n_head=2, n_embd=12))
    >>> ids, targets = torch.tensor([[1, 2, 3]]), torch.tensor([[2, 3, 4]])
    >>> gradients = backward_gpt(model, ids, targets)
    >>> model(ids, targets)[1].backward()
    >>> all(torch.allclose(gradients[name], p.grad, atol=1e-6) for name, p in model.named_parameters())
    True
    """
    refuse_unknown_parts(model)
    check_batch(ids)
    check_targets(targets, ids, model.config.vocab_size)
    using, T, most = _with_yours(yours or {}), ids.shape[1], model.config.context
    if ids.shape[1] > most:
        raise ValueError(f"T={T} tokens do not fit the context of {most}: pass at most {most} of them")

    # Forward, and every block keeps what it will need.
    table, positions = model.embedding.token.weight, model.embedding.position.weight
    x = backward.embedding(ids, table) + positions[:T]  # [B, T, C]
    kept = []
    for block in model.blocks:
        x, saved = block_forward(x, block)
        kept.append(saved)
    normed = _norm(x, model.norm)
    logits = backward.linear(normed, model.head.weight)  # [B, T, V]

    # Backward, from the loss to the embedding.
    dlogits = using["cross_entropy"](logits, targets)
    dnormed, dhead, _ = using["linear"](dlogits, normed, model.head.weight)
    dx, dweight, dbias = using["layer_norm"](dnormed, x, model.norm.weight, model.norm.eps)
    found = {"norm.weight": dweight, "norm.bias": dbias, "head.weight": dhead}
    for layer in reversed(range(len(model.blocks))):
        dx, of_block = block_backward(dx, model.blocks[layer], kept[layer], model.config.mlp, using)
        found |= {f"blocks.{layer}.{name}": d for name, d in of_block.items()}
    found["embedding.position.weight"] = torch.zeros_like(positions)
    found["embedding.position.weight"][:T] = backward.sum_to(dx, positions[:T].shape)
    found["embedding.token.weight"] = using["embedding"](dx, ids, len(table))
    if model.config.tie_weights:  # one table, used twice: at both ends of the model, and both gradients count
        found["embedding.token.weight"] = found["embedding.token.weight"] + found["head.weight"]
    return {name: found[name] for name, _ in model.named_parameters()}


def refuse_unknown_parts(model: nn.Module) -> None:
    """Say which parts of a model have no backward pass here.

    Raises:
        ValueError: with each option of the configuration that differs from GPT-2's, or dropout that is on.
    """
    if not isinstance(model, GPT):
        raise ValueError(f"{type(model).__name__} is no gptlab.model.GPT, the only model whose backward pass is here")
    config: GPTConfig = model.config
    known = {
        "norm": ("layernorm",), "position": ("learned",), "mlp": ("gelu", "gelu_tanh"), "qk_norm": (False,),
        "convolution": (0,), "n_kv_head": (None, config.n_head),
    }  # fmt: skip
    unknown = [
        f"{name}={getattr(config, name)!r}" for name, values in known.items() if getattr(config, name) not in values
    ]
    if unknown:
        raise ValueError(
            f"there is no backward pass here for {', '.join(unknown)}: use loss.backward(), or build the model with "
            "GPT-2's parts, GPTConfig's defaults"
        )
    if config.dropout and model.training:
        raise ValueError(f"dropout={config.dropout} is on, and drops at random: call model.eval() first")


def _with_yours(yours: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Our backward functions, with yours in place of those of the same name."""
    if unknown := sorted(set(yours) - set(BACKWARD)):
        raise ValueError(f"there is no operation {', '.join(unknown)}: choose among {', '.join(BACKWARD)}")

    def tested(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            result = function(*args)
            if result is None:
                raise ValueError(f"your backward pass of {name!r} returned nothing: write it, or leave it out")
            return result

        return call

    return BACKWARD | {name: tested(name, function) for name, function in yours.items()}


def set_gradients(model: nn.Module, gradients: Mapping[str, Tensor]) -> None:
    """Put gradients where `loss.backward()` would put them, so that any optimizer can take its step.

    Args:
        model: any.
        gradients: one for each parameter, by its name.

    Raises:
        ValueError: for a parameter without a gradient, or a gradient without a parameter.
    """
    parameters = dict(model.named_parameters())
    if different := sorted(set(parameters) ^ set(gradients)):
        raise ValueError(f"{different} stand in the model or among the gradients, not in both: pass one for each")
    for name, parameter in parameters.items():
        parameter.grad = gradients[name].clone()


# ── How far a gradient gets ──────────────────────────────────────────────────────────────────────────────────────────


def gradient_norms(
    parts: Iterable[Callable[[Tensor], Tensor]],
    x: Float[Tensor, "*shape"],
    loss: Callable[[Tensor], Tensor] = torch.sum,
    *,
    residual: bool = False,
) -> list[float]:
    """The norm of the gradient at each point of its path: at x, and after each part, the last one nearest the loss.

    Args:
        parts: functions that x goes through in turn.
        x: what the first part is given.
        loss: from what comes out at the end to one number.
        residual: whether what a part computes is added to x, or takes its place.

    >>> halve = lambda x: 0.5 * x
    >>> gradient_norms([halve, halve], torch.ones(1)), gradient_norms([halve, halve], torch.ones(1), residual=True)
    ([0.25, 0.5, 1.0], [2.25, 1.5, 1.0])
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        path: Sequence[Tensor] = [x]
        for part in parts:
            path = [*path, path[-1] + part(path[-1]) if residual else part(path[-1])]
        gradients = torch.autograd.grad(loss(path[-1]), path)
    return [gradient.norm().item() for gradient in gradients]


def parts_of(model: GPT, *, norms: bool = True) -> list[Callable[[Tensor], Tensor]]:
    """The parts that a GPT adds to its residual stream, in order: attention and MLP of each block.

    For `gradient_norms`, which can send x through them with and without the residual connections.

    Args:
        model: with GPT-2's parts.
        norms: whether each part normalises what it reads, as in the model.
    """
    refuse_unknown_parts(model)
    parts: list[Callable[[Tensor], Tensor]] = []
    for block in model.blocks:
        norm1, norm2 = (block.norm1, block.norm2) if norms else (nn.Identity(), nn.Identity())
        parts.append(lambda x, norm=norm1, attend=block.attention: attend(norm(x), is_causal=True))
        parts.append(lambda x, norm=norm2, mlp=block.mlp: mlp(norm(x)))
    return parts
