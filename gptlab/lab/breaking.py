"""A GPT with one ingredient taken out, to see what it was good for: the break-it lab of the notebook on the model.

`FAULTS` names what can be missing; `broken` builds the model. Everything else about it is as in the intact model, down
to the weights that a seed gives it, so whatever differs in a run comes from the fault alone.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from gptlab.batches import IGNORE
from gptlab.model import GPT, Block, GPTConfig

FAULTS = {
    "nothing": "the intact model",
    "mask": "every position sees the whole text, including the future",
    "scale": "scores are not divided by the root of the head size",
    "residual": "each part replaces the residual stream instead of adding to it",
    "norm": "no layer norm, in the blocks or at the end",
    "positions": "no position is added to the tokens",
    "heads": "one head instead of several",
    "initialisation": "the default weights of PyTorch's layers",
    "targets": "the target at t is the token at t, not the one after it",
}


class _Unmasked(GPT):
    def forward(self, ids, targets=None, *, keep_mask=None, cache=None):
        T = ids.shape[1]
        everything = torch.ones(T, T, dtype=torch.bool, device=ids.device)  # [T, T]
        return super().forward(ids, targets, keep_mask=everything if keep_mask is None else keep_mask, cache=cache)


class _SameToken(GPT):
    def forward(self, ids, targets=None, *, keep_mask=None, cache=None):
        return super().forward(
            ids,
            None if targets is None else torch.where(targets == IGNORE, targets, ids),
            keep_mask=keep_mask,
            cache=cache,
        )


class _AsPyTorchDraws(GPT):
    def _initialise(self) -> None:
        """Leave the weights as the layers drew them."""


class _Replacing(Block):
    def forward(self, x, keep_mask=None, **attention):
        h = self.norm1(x)
        if self.convolution is not None:
            h = self.convolution(h, cache=attention.get("cache"))
        x = self.dropout(self.attention(h, keep_mask, **attention))  # [B, T, C]
        return self.dropout(self.mlp(self.norm2(x)))


class _Times(nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def broken(config: GPTConfig, fault: str = "nothing") -> GPT:
    """The model of a configuration, with one of `FAULTS` in it.

    Args:
        config: of the intact model.
        fault: what is missing.

    >>> config = GPTConfig(vocab_size=50, context=8, n_layer=2, n_head=2, n_embd=12)
    >>> broken(config, "norm").norm
    Identity()

    Raises:
        ValueError: for an unknown fault, naming those there are.
    """
    if fault not in FAULTS:
        raise ValueError(f"unknown fault {fault!r}: choose one of {list(FAULTS)}")
    if fault == "heads":
        config = replace(config, n_head=1, n_kv_head=None)
    model = {"mask": _Unmasked, "targets": _SameToken, "initialisation": _AsPyTorchDraws}.get(fault, GPT)(config)
    if fault == "positions":
        model.embedding.position = model.position = None
        model.embedding._buffers.pop("waves", None)
    if fault == "norm":
        model.norm = nn.Identity()
    for layer, block in enumerate(model.blocks):
        if fault == "norm":
            block.norm1 = block.norm2 = nn.Identity()
        elif (
            fault == "scale"
        ):  # undo the division: the last thing that attention does to the queries is to normalise them
            root = math.sqrt(config.n_embd // config.n_head)
            block.attention.query_norm = nn.Sequential(block.attention.query_norm, _Times(root))
        elif fault == "residual":
            model.blocks[layer] = _Replacing(config)
            model.blocks[layer].load_state_dict(block.state_dict())
    return model
