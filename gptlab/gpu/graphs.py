"""A GPU that doesn't wait for Python: work recorded once as a CUDA graph, then replayed; a training step, or a token.

A step of a small model is hundreds of tiny kernels, and to start one from Python takes longer than to run it. A CUDA
graph starts them all at once (PyTorch 1.10, Nguyen et al. 2021). It repeats exactly what was recorded, on the same
memory, so nothing may change its shape. `Replayed` does it to any work of this kind, such as a step of
`gptlab.queued_steps`. For generating, `GraphedDecoder` makes a step of this kind: the cache has its full size from the
start, the position of the token is a tensor, and a mask hides what isn't written yet. Without CUDA the same step runs
as it is.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gptlab.cache import KVCache, LayerCache
from gptlab.entrances import guard
from gptlab.model import GPT


class Replayed:
    """Work that always does the same on the same memory; after a few calls it is a recorded graph.

    Each call does the work once, recorded or not. The first ones run as they are, on a stream of their own as CUDA
    requires: kernels are chosen and compiled, and memory that stays is allocated. Then the work is recorded, which
    computes nothing, and replayed. If recording fails, the work goes on as it is.

    Args:
        work: without arguments and results: it reads tensors and writes to tensors. It may not wait for the device.
        say: where to report that it cannot be recorded.
        warmup: calls before it is recorded.
        cuda: torch.cuda, or a test's stand-in.
    """

    def __init__(
        self, work: Callable[[], None], say: Callable[[str], None] = print, warmup: int = 3, cuda: Any = torch.cuda
    ):
        self.work, self.say, self.left, self.cuda = work, say, warmup, cuda
        self.graph: Any = None
        self.fails = False

    def __call__(self) -> None:
        """Do the work once."""
        if self.graph is None and not self.fails and self.left == 0:
            self._record()
        if self.graph is not None:
            self.graph.replay()
        elif self.fails:
            self.work()
        else:
            self.left -= 1
            aside = self.cuda.Stream()
            aside.wait_stream(self.cuda.current_stream())
            with self.cuda.stream(aside):
                self.work()
            self.cuda.current_stream().wait_stream(aside)

    def _record(self) -> None:
        graph = self.cuda.CUDAGraph()
        try:
            with self.cuda.graph(graph):
                self.work()
        except RuntimeError as error:
            self.fails = True
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            self.say(f"the step cannot be recorded as a CUDA graph, so it is told kernel by kernel ({reason})")
        else:
            self.graph = graph


class StaticLayer(LayerCache):
    """A layer's cache at its full size, written in place.

    Args:
        filled: the cache of the layer after the prompt.
        position: where the next token's keys and values go, a tensor of one number.
    """

    def __init__(self, filled: LayerCache, position: Int[Tensor, " 1"]):
        super().__init__(filled.max_length)
        self.k, self.v, self.window, self.position = filled.k, filled.v, filled.window, position
        self.k[:, :, filled.length :], self.v[:, :, filled.length :] = 0, 0  # unwritten memory may hold NaN

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write the keys and values of one token; the whole cache comes back."""
        self.k.index_copy_(2, self.position, k)
        self.v.index_copy_(2, self.position, v)
        return self.k, self.v  # [B, H, max_length, hs]

    def extend_window(self, x: Tensor, width: int) -> Tensor:
        """Write what the short convolution reads of one token; the whole window comes back."""
        window = torch.cat((self.window, x), dim=1)  # [B, width, C]
        self.window.copy_(window[:, 1:])
        return window


class GraphedDecoder:
    """Greedy decoding, a step of fixed shape for each token; on CUDA a recorded graph.

    Args:
        model: what generates, in evaluation mode afterwards.
        ids: the prompt, [B, T]; it is read at once, with an ordinary cache.
        max_length: tokens that prompt and continuation may have together; the model's context unless given.

    >>> from gptlab.config import GPTConfig
    >>> model = GPT(GPTConfig(vocab_size=50, context=12, n_layer=1, n_head=2, n_embd=12)).eval()
    >>> GraphedDecoder(model, torch.tensor([[4, 7, 1]])).generate(5).shape
    torch.Size([1, 8])

    Raises:
        ValueError: for a prompt that fills `max_length`, or more new tokens than fit it.
    """

    def __init__(self, model: GPT, ids: Int[Tensor, "B T"], max_length: int | None = None):
        self.model, self.ids = model.eval(), ids
        cache = KVCache(model, max_length)
        if ids.shape[1] >= cache.max_length:
            raise ValueError(
                f"a prompt of {ids.shape[1]} tokens fills the cache of {cache.max_length}: shorten it, or pass a "
                "larger max_length"
            )
        self.max_length = cache.max_length
        with torch.no_grad():
            logits, _ = model(ids, cache=cache)
            self.position = torch.tensor([ids.shape[1]], device=ids.device)
            self.layers = [StaticLayer(layer, self.position) for layer in cache.layers]
            self.token = logits[:, -1].argmax(dim=-1, keepdim=True)  # [B, 1]
        self.graph = None

    def _logits(self) -> Float[Tensor, "B V"]:
        """What follows `token` at `position`: the same work as `GPT.forward` with a cache, at fixed shapes."""
        model, position = self.model, self.position
        x = model.embedding.token(self.token)  # [B, 1, C]
        if model.embedding.position is not None:
            x = x + model.embedding.position(position)
        elif hasattr(model.embedding, "waves"):
            x = x + model.embedding.waves[position]
        rotate = None
        if model.position is not None:
            rotate = model.position.rotation(model.position.cos[position], model.position.sin[position])
        keys = torch.arange(self.max_length, device=position.device)
        keep_mask = (keys <= position)[None, None]  # [1, 1, max_length]
        for block, layer in zip(model.blocks, self.layers, strict=True):
            x = block(x, keep_mask, rotate=rotate, cache=layer)
        return model.head(model.norm(x))[:, -1]

    def step(self) -> Float[Tensor, "B V"]:
        """Generate one token; the logits that decided it."""
        logits = self._logits()
        self.token.copy_(logits.argmax(dim=-1, keepdim=True))
        self.position += 1
        return logits

    def _record(self) -> None:
        """Warm up on another stream, as CUDA requires, then record; and undo what the warm-up changed."""
        token, position = self.token.clone(), self.position.clone()
        windows = [None if layer.window is None else layer.window.clone() for layer in self.layers]

        def undo() -> None:
            self.token.copy_(token)
            self.position.copy_(position)
            for layer, window in zip(self.layers, windows, strict=True):
                if window is not None:
                    layer.window.copy_(window)

        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(2):
                self.step()
                undo()
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.step()
        undo()

    @torch.no_grad()
    def generate(self, max_new_tokens: int) -> Int[Tensor, "B T_new"]:
        """The prompt and `max_new_tokens` more. It works once: then the cache is full.

        Raises:
            ValueError: more tokens than fit `max_length`.
        """
        if self.ids.shape[1] + max_new_tokens > self.max_length:
            raise ValueError(
                f"{self.ids.shape[1]} + {max_new_tokens} tokens do not fit max_length={self.max_length}: "
                "ask for fewer, or pass a larger max_length (up to the model's context)"
            )
        if self.ids.is_cuda and self.graph is None and max_new_tokens > 1:
            self._record()
        new = [self.token.clone()][:max_new_tokens]
        while len(new) < max_new_tokens:
            if self.graph is None:
                self.step()
            else:
                self.graph.replay()
            new.append(self.token.clone())
        return torch.cat([self.ids, *new], dim=1)


guard(globals())
