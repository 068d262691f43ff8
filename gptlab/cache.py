"""The KV cache: what a model has computed about the past, so that the next token costs one token's work.

A layer writes new keys and values behind those it has, into memory that is allocated once. They count only when
`KVCache.advance` is called, at the end of a forward pass: a pass that fails halfway leaves the cache as it was.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gptlab.config import GPTConfig
from gptlab.entrances import guard


class LayerCache:
    """The keys and values of one layer, and the last inputs of its convolution.

    Args:
        max_length: the tokens it can hold.

    >>> layer = LayerCache(max_length=4)
    >>> k, v = layer.extend(torch.ones(1, 2, 3, 5), torch.ones(1, 2, 3, 5))
    >>> layer.advance(3)
    >>> layer.extend(torch.ones(1, 2, 1, 5), torch.ones(1, 2, 1, 5))[0].shape
    torch.Size([1, 2, 4, 5])
    """

    def __init__(self, max_length: int):
        self.max_length = max_length
        self.reset()

    def reset(self) -> None:
        """Forget everything, the memory included."""
        self.length = 0
        self.k = self.v = self.window = self._next_window = None

    def extend(
        self, k: Float[Tensor, "B H T hs"], v: Float[Tensor, "B H T hs"]
    ) -> tuple[Float[Tensor, "B H Tk hs"], Float[Tensor, "B H Tk hs"]]:
        """All keys and values so far, the new ones included. They are kept once `advance` is called.

        Raises:
            ValueError: for another batch size than before, or more tokens than fit.
        """
        B, H, T, hs = k.shape
        end = self._end(B, T)
        if self.length == 0:
            self.k, self.v = k.new_empty(B, H, self.max_length, hs), v.new_empty(B, H, self.max_length, hs)
        self.k[:, :, self.length : end], self.v[:, :, self.length : end] = k, v
        return self.k[:, :, :end], self.v[:, :, :end]  # [B, H, Tk, hs]: views, nothing is copied

    def extend_window(self, x: Float[Tensor, "B T C"], width: int) -> Float[Tensor, "B Tw C"]:
        """The last `width - 1` inputs (zeros at the beginning) and the new ones, for a convolution.

        Raises:
            ValueError: as for `extend`.
        """
        self._end(*x.shape[:2])
        past = x.new_zeros(x.shape[0], width - 1, x.shape[2]) if self.window is None else self.window
        window = torch.cat((past, x), dim=1)  # [B, width - 1 + T, C]
        self._next_window = window[:, window.shape[1] - (width - 1) :].clone()  # a view would keep a whole prompt alive
        return window

    def advance(self, T: int) -> None:
        """Keep the T tokens that were written last."""
        self.length += T
        self.window, self._next_window = self._next_window, None

    def keep_rows(self, rows: Int[Tensor, "n"]) -> None:
        """Go on with some of the sequences only."""
        self.k, self.v, self.window = (None if t is None else t[rows] for t in (self.k, self.v, self.window))

    def _end(self, B: int, T: int) -> int:
        """Where T new tokens of B sequences end. Raises ValueError where they do not fit."""
        held = B if self.length == 0 else self.batch_size
        if held != B:
            raise ValueError(f"the cache holds B={held} sequences and was given {B}: make one for each batch")
        end = self.length + T
        if end > self.max_length:
            raise ValueError(
                f"the cache holds at most {self.max_length} tokens, not {end}: build KVCache(model, max_length={end})"
            )
        return end

    @property
    def batch_size(self) -> int:
        """B, the sequences it holds; 0 before its first use."""
        return 0 if self.k is None else self.k.shape[0]


class KVCache:
    """What a model has computed about the past: pass it along, and give the model only the new tokens.

    It is possible because of causality: a later token changes nothing about an earlier one's keys and values.

    Args:
        model: a `GPT`, or any model with its `config` and `blocks`.
        max_length: the tokens that it can hold; the model's whole context unless given.

    Attributes:
        length: the tokens it holds.
        max_length: the tokens it can hold.
        layers: one `LayerCache` for each block.

    Raises:
        ValueError: for a `max_length` beyond the model's context, or below 1.

    >>> from gptlab.model import GPT
    >>> model = GPT(GPTConfig(vocab_size=50, context=8, n_layer=1, n_head=2, n_embd=12)).eval()
    >>> cache, ids = KVCache(model), torch.tensor([[4, 7, 1]])
    >>> model(ids[:, :2], cache=cache)[0].shape, model(ids[:, 2:], cache=cache)[0].shape
    (torch.Size([1, 2, 50]), torch.Size([1, 1, 50]))
    >>> cache.length, cache.bytes == cache_bytes(model.config, T=8)
    (3, True)
    """

    def __init__(self, model: nn.Module, max_length: int | None = None):
        context = model.config.context
        max_length = context if max_length is None else max_length
        if not 1 <= max_length <= context:
            raise ValueError(f"max_length={max_length} must lie between 1 and the model's context, {context}")
        self.max_length, self.length = max_length, 0
        self.layers = [LayerCache(max_length) for _ in model.blocks]

    def advance(self, T: int) -> None:
        """Keep the T tokens that a forward pass has written into all layers."""
        self.length += T
        for layer in self.layers:
            layer.advance(T)

    def keep_rows(self, rows: Int[Tensor, "n"]) -> None:
        """Go on with some of the sequences only, for example those that have not come to their end.

        Args:
            rows: their numbers in the batch, in the order in which they will stand.
        """
        for layer in self.layers:
            layer.keep_rows(rows)

    def reset(self) -> None:
        """Forget everything, to begin with another text."""
        self.length = 0
        for layer in self.layers:
            layer.reset()

    @property
    def bytes(self) -> int:
        """The memory it holds: nothing before its first use, and then that of `max_length` tokens."""
        if self.length == 0:
            return 0
        held = [t for layer in self.layers for t in (layer.k, layer.v, layer.window) if t is not None]
        return sum(t.numel() * t.element_size() for t in held)


def cache_bytes(config: GPTConfig, T: int, B: int = 1, width: int = 4) -> int:
    """The memory of a cache, in bytes: for each token 2 L n_kv_head hs numbers, half of them keys, half values.

    Args:
        config: of the model.
        T: tokens in a sequence.
        B: sequences.
        width: bytes per number: 4 for float32, 2 for bfloat16.

    >>> cache_bytes(GPTConfig.gpt2("124M"), T=1024)
    75497472
    """
    hs = config.n_embd // config.n_head
    per_token = 2 * config.n_layer * (config.n_kv_head or config.n_head) * hs
    window = config.n_layer * max(0, config.convolution - 1) * config.n_embd
    return B * (T * per_token + window) * width


guard(globals())
