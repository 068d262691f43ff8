"""The whole model: embedding, blocks on a residual stream, and a head that gives logits (notebook `model`).

`GPTConfig` names the parts (`norm`, `position`, `mlp`, `n_kv_head`), `gptlab.parts` builds them, and `GPT` puts them
together, so that "from GPT-2 to Llama" is four words in a configuration.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gptlab.attention import MultiHeadAttention, Rotation
from gptlab.batches import IGNORE
from gptlab.cache import KVCache, LayerCache
from gptlab.checks import check_batch, check_mask, check_targets
from gptlab.config import GPTConfig, RopeScaling
from gptlab.embedding import TokenAndPositionEmbedding
from gptlab.entrances import guard
from gptlab.parts import MLP, ShortConvolution, make_mlp, make_norm, make_rotation
from gptlab.pretrained import reading

__all__ = ["GPT", "MLP", "Block", "GPTConfig", "RopeScaling", "current_names", "device_of", "evaluating", "unwrapped"]


class Block(nn.Module):
    """One layer: each position attends to the others, then an MLP processes it; both *add* to the residual stream.

    The norm stands before each part (pre-norm, as in GPT-2 and Llama), so that the stream itself is never rescaled.

    Args:
        config: of the model.

    >>> Block(GPTConfig(vocab_size=50, n_head=2, n_embd=12))(torch.zeros(3, 5, 12), is_causal=True).shape
    torch.Size([3, 5, 12])
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.norm1 = make_norm(config, config.n_embd)
        self.convolution = ShortConvolution(config.n_embd, config.convolution) if config.convolution else None
        self.attention = MultiHeadAttention(
            config.n_embd,
            config.n_head,
            n_kv_head=config.n_kv_head,
            bias=config.bias,
            dropout=config.dropout,
            norm=(lambda size: make_norm(config, size)) if config.qk_norm else None,
        )
        self.norm2 = make_norm(config, config.n_embd)
        self.mlp = make_mlp(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        keep_mask: Bool[Tensor, "*#B #T Tk"] | None = None,
        *,
        is_causal: bool = False,
        rotate: Rotation | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "B T C"]:
        """The residual stream after this layer; the arguments are those of `MultiHeadAttention`."""
        h = self.norm1(x)
        if self.convolution is not None:
            h = self.convolution(h, cache)
        x = x + self.dropout(self.attention(h, keep_mask, is_causal=is_causal, rotate=rotate, cache=cache))
        return x + self.dropout(self.mlp(self.norm2(x)))


class GPT(nn.Module):
    """A decoder-only transformer: ids [B, T] in, logits [B, T, V] out; position t predicts the token at t + 1.

    Args:
        config: sizes and parts.

    >>> model = GPT(GPTConfig(vocab_size=50, context=8, n_layer=2, n_head=2, n_embd=12))
    >>> logits, loss = model(torch.tensor([[1, 2, 3]]), targets=torch.tensor([[2, 3, 4]]))
    >>> logits.shape
    torch.Size([1, 3, 50])
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        added = config.position if config.position in ("learned", "sinusoidal") else "none"
        self.embedding = TokenAndPositionEmbedding(config.vocab_size, config.context, config.n_embd, added)
        self.position = make_rotation(config)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = make_norm(config, config.n_embd)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if config.tie_weights:
            self.head.weight = self.embedding.token.weight
        self._initialise()

    @classmethod
    def from_pretrained(
        cls, source: Any, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
    ) -> "GPT":
        """A model with the weights of a published GPT-2 or Llama, in evaluation mode.

        One tensor is read at a time: besides the new model, memory holds the largest tensor and little more.

        Args:
            source: a folder with `config.json` and `model.safetensors` (or its shards and their index), or a
                `GPT2LMHeadModel` or `LlamaForCausalLM` of `transformers`.
            device: where the weights will be.
            dtype: the type of the weights; that of the stored ones unless given.

        Raises:
            FileNotFoundError: for a folder that is not there, or has no safetensors file.
            ValueError: for an option that is not supported, or tensors that are missing, unknown, or of another shape;
                all of them by name.
        """
        found = reading.find(source)
        with reading.uninitialised(device, dtype or found.dtype):
            model = cls(found.config)
        reading.fill(model, found)
        return model.eval()

    def _initialise(self) -> None:
        """GPT-2's: normal with deviation 0.02; smaller for the 2L matrices whose output is added to the stream."""
        if self.device.type == "meta":
            return  # shapes only: there are no weights to draw
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2 or "convolution" in name:
                continue  # norms start as ones, and a convolution has initialised itself
            if not name.endswith(("output.weight", "down.weight")):
                nn.init.normal_(parameter, std=0.02)
            elif self.config.init == "zero":
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=0.02 / (2 * self.config.n_layer) ** 0.5)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        targets: Int[Tensor, "B T"] | None = None,
        *,
        keep_mask: Bool[Tensor, "*#B #T Tk"] | None = None,
        cache: KVCache | None = None,
    ) -> tuple[Float[Tensor, "B T V"], Float[Tensor, ""] | None]:
        """Logits for what follows each position, and the mean loss in nats per token where `targets` are given.

        A mask binds attention only: a convolution still mixes neighbours across documents and padding.

        Args:
            ids: token ids.
            targets: the token after each position; `IGNORE` (-100) costs nothing, and even a NaN there changes nothing.
            keep_mask: True where a query may attend to a key, in place of the causal mask: [T, T] for every sequence,
                or [B, T, T].
            cache: what was computed about the tokens before; `ids` continue them (notebook `sampling`).

        Raises:
            ValueError: for a sequence longer than the context, an id or a target outside the vocabulary, a mask that is
                not boolean, or a cache that is full or holds another batch. The cache is then as it was.
        """
        if targets is not None:
            check_batch(ids)
            check_targets(targets, ids, self.config.vocab_size)
        logits = self.head(self.hidden(ids, keep_mask, cache))  # [B, T, V]
        if targets is None:
            return logits, None
        targets = targets.flatten().long()  # [B * T]
        counted = logits.flatten(0, 1).masked_fill((targets == IGNORE)[:, None], 0.0)  # so that no NaN there gets out
        exact = counted.to(torch.promote_types(logits.dtype, torch.float32))  # [B * T, V]
        return logits, F.cross_entropy(exact, targets, ignore_index=IGNORE)

    def hidden(
        self,
        ids: Int[Tensor, "B T"],
        keep_mask: Bool[Tensor, "*#B #T Tk"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "B T C"]:
        """What the head reads: the residual stream after the last block, normalised.

        Args:
            ids: token ids.
            keep_mask: as for `forward`.
            cache: as for `forward`.

        Raises:
            ValueError: as for `forward`.
        """
        check_batch(ids)
        check_mask(keep_mask)
        T, past = ids.shape[1], 0 if cache is None else cache.length
        if past + T > self.config.context:
            raise ValueError(
                f"T={past + T} tokens do not fit the context of {self.config.context}: "
                f"pass the last {self.config.context}, or build GPTConfig(context={past + T})"
            )
        if keep_mask is not None and keep_mask.dim() == 3:
            keep_mask = keep_mask[:, None]  # [B, 1, T, Tk]: a mask of a model is the same for all heads
        is_causal = keep_mask is None and T > 1  # a single new token may attend to all that the cache holds
        rotate = None if self.position is None else self.position(past, T)

        x = self.dropout(self.embedding(ids, start=past))  # [B, T, C]
        for layer, block in enumerate(self.blocks):
            layer_cache = None if cache is None else cache.layers[layer]
            x = block(x, keep_mask, is_causal=is_causal, rotate=rotate, cache=layer_cache)
        if cache is not None:
            cache.advance(T)
        return self.norm(x)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As for every module of PyTorch; weights of the first edition are found by their old names, too."""
        return super().load_state_dict(current_names(state_dict), *args, **kwargs)

    def count_parameters(self) -> int:
        """How many parameters the model has; tied weights are counted once.

        >>> GPT(GPTConfig(vocab_size=50, context=8, n_layer=1, n_head=2, n_embd=12)).count_parameters()
        2604
        """
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.head.weight.device


# ── Any model ────────────────────────────────────────────────────────────────────────────────────────────────────────


def device_of(model: nn.Module) -> torch.device:
    """Where a model's weights are, of any model; the CPU for one that has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside DistributedDataParallel and `torch.compile`, which put a module of theirs around it.

    >>> model = GPT(GPTConfig(vocab_size=50, context=8, n_layer=1, n_head=2, n_embd=12))
    >>> unwrapped(model) is model
    True
    """
    while (inner := model._modules.get("module", model._modules.get("_orig_mod"))) is not None:
        model = inner
    return model


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode (no dropout); afterwards each module is in the mode it was in.

    >>> model = nn.Dropout()
    >>> with evaluating(model):
    ...     model.training
    False
    >>> model.training
    True
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


# ── Files of the first edition ───────────────────────────────────────────────────────────────────────────────────────

_OLD_NAMES = {"mlp.widen.": "mlp.up.", "mlp.output.": "mlp.down."}
Value = TypeVar("Value")


def current_names(weights: Mapping[str, Value]) -> dict[str, Value]:
    """Weights by today's names, also where a file of the first edition calls them otherwise.

    What `torch.compile` and DistributedDataParallel put in front of a name is left out.

    >>> current_names({"blocks.0.mlp.widen.weight": 1, "blocks.0.mlp.output.bias": 2, "module.norm.weight": 3})
    {'blocks.0.mlp.up.weight': 1, 'blocks.0.mlp.down.bias': 2, 'norm.weight': 3}
    """
    renamed = {}
    for name, value in weights.items():
        name = name.replace("_orig_mod.", "").removeprefix("module.")
        for old, new in _OLD_NAMES.items():
            name = name.replace(old, new)
        renamed[name] = value
    return renamed


guard(globals())
