"""Sampling: from logits to the next token, again and again (lesson 10).

From top to bottom: logits to probabilities (temperature, top-k, top-p), one token drawn, a text; then the cache that
makes it fast and must not change the answer.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gptlab.model import GPT
from gptlab.tokens import StreamDecoder, Tokenizer


def probabilities(
    logits: Float[Tensor, "*batch V"],
    temperature: float | int = 1.0,
    top_k: int | None = None,
    top_p: float | int | None = None,
) -> Float[Tensor, "*batch V"]:
    """The distribution that the next token is drawn from.

    Args:
        temperature: logits are divided by it; below 1 sharpens, above 1 flattens, 0 leaves only the best token.
        top_k: only the k best tokens stay possible (Fan et al. 2018).
        top_p: only the fewest best tokens whose probabilities reach p stay possible (Holtzman et al. 2019).

    >>> probabilities(torch.tensor([0.0, 1.0, 2.0]), top_k=2)
    tensor([0.0000, 0.2689, 0.7311])
    >>> probabilities(torch.tensor([0.0, 1.0, 2.0]), temperature=0)
    tensor([0., 0., 1.])
    """
    if temperature < 0:
        raise ValueError(f"temperature={temperature} must not be negative; 0 takes the best token each time")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k={top_k} leaves no token to choose: pass at least 1, or None for all")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p={top_p} must lie in (0, 1]: pass None to keep all tokens")
    logits = logits.float()
    if temperature == 0:
        best = logits.argmax(dim=-1, keepdim=True)
        return torch.zeros_like(logits).scatter(-1, best, 1.0)
    logits = logits / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        kept = logits.topk(top_k, dim=-1).indices  # exactly k, also where several tokens tie
        logits = torch.full_like(logits, -torch.inf).scatter(-1, kept, logits.gather(-1, kept))
    chances = logits.softmax(dim=-1)
    if top_p is not None:
        ordered, order = chances.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(dim=-1) - ordered  # what the better ones already reach
        ordered = ordered.masked_fill(before >= top_p, 0.0)
        chances = torch.zeros_like(chances).scatter(-1, order, ordered)
        chances = chances / chances.sum(dim=-1, keepdim=True)
    return chances


def draw(chances: Float[Tensor, "B V"], generator: torch.Generator | None = None) -> Int[Tensor, "B 1"]:
    """One token for each row. Drawn on the CPU, so that a seed gives the same text on every device."""
    return torch.multinomial(chances.cpu(), 1, generator=generator).to(chances.device)


class LayerCache:
    """The keys and values of one layer so far, and the last inputs of its convolution."""

    def __init__(self, context: int):
        self.context, self.length = context, 0
        self.k = self.v = self.window = None

    def extend(
        self, k: Float[Tensor, "B H T hs"], v: Float[Tensor, "B H T hs"]
    ) -> tuple[Float[Tensor, "B H Tk hs"], Float[Tensor, "B H Tk hs"]]:
        """Append new keys and values, and return all there are."""
        B, H, T, hs = k.shape
        if self.k is None:
            self.k, self.v = k.new_empty(B, H, self.context, hs), v.new_empty(B, H, self.context, hs)
        end = self.length + T
        self.k[:, :, self.length : end], self.v[:, :, self.length : end] = k, v
        self.length = end
        return self.k[:, :, :end], self.v[:, :, :end]

    def extend_window(self, x: Float[Tensor, "B T C"], width: int) -> Float[Tensor, "B Tw C"]:
        """The last `width - 1` inputs (zeros at the beginning) and the new ones."""
        if self.window is None:
            self.window = x.new_zeros(x.shape[0], width - 1, x.shape[2])
        window = torch.cat((self.window, x), dim=1)
        self.window = window[:, window.shape[1] - (width - 1) :]
        return window


class KVCache:
    """What a model has computed about the past: pass it along, and give the model only the new tokens.

    It is possible because of causality: a later token changes nothing about an earlier one's keys and values.
    """

    def __init__(self, model: GPT):
        self.context, self.length = model.config.context, 0
        self.layers = [LayerCache(model.config.context) for _ in model.blocks]


def steps(
    model: nn.Module,
    ids: Int[Tensor, "B T"],
    max_new_tokens: int,
    temperature: float | int = 1.0,
    top_k: int | None = None,
    top_p: float | int | None = None,
    generator: torch.Generator | None = None,
    stop: int | None = None,
    use_cache: bool = True,
) -> Iterator[Int[Tensor, "B 1"]]:
    """The new tokens one after the other; a row that has said `stop` goes on saying it.

    The model sees the last `context` tokens: while everything fits a cache saves the work, beyond it does not.
    """
    if ids.shape[1] == 0:
        raise ValueError("there is no token to go on from: pass at least one, such as the end token of a text before")
    context = model.config.context
    was_training = model.training
    model.eval()
    cache = KVCache(model) if use_cache and isinstance(model, GPT) else None
    finished = torch.zeros(ids.shape[0], 1, dtype=torch.bool, device=ids.device)
    new = ids[:, -context:]
    try:
        for _ in range(max_new_tokens):
            with torch.no_grad():
                if cache is not None and cache.length + new.shape[1] <= context:
                    logits, _ = model(new, cache=cache)
                else:
                    cache = None
                    logits, _ = model(ids[:, -context:])
            token = draw(probabilities(logits[:, -1], temperature, top_k, top_p), generator)
            if stop is not None:
                token = token.masked_fill(finished, stop)
                finished |= token == stop
            ids, new = torch.cat((ids, token), dim=1), token
            yield token
            if bool(finished.all()):
                return
    finally:
        model.train(was_training)


def generate(
    model: nn.Module,
    ids: Int[Tensor, "B T"],
    max_new_tokens: int,
    temperature: float | int = 1.0,
    top_k: int | None = None,
    top_p: float | int | None = None,
    generator: torch.Generator | None = None,
    stop: int | None = None,
    use_cache: bool = True,
) -> Int[Tensor, "B Tall"]:
    """`ids` and up to `max_new_tokens` more; ends early when every row has said `stop`.

    >>> from gptlab.model import GPTConfig
    >>> model = GPT(GPTConfig(vocab_size=50, context=8, n_layer=1, n_head=2, n_embd=12))
    >>> generate(model, torch.tensor([[1, 2]]), max_new_tokens=10, temperature=0).shape
    torch.Size([1, 12])
    """
    new = list(steps(model, ids, max_new_tokens, temperature, top_k, top_p, generator, stop, use_cache))
    return torch.cat([ids, *new], dim=1)


def stream(
    model: nn.Module, tokenizer: Tokenizer, prompt: list[int], max_new_tokens: int, stop: int | None = None, **options
) -> Iterator[str]:
    """Text as it is written, piece by piece; a character whose bytes are still arriving is held back."""
    decoder = StreamDecoder(tokenizer)
    ids = torch.tensor([prompt], device=next(model.parameters()).device)
    for token in steps(model, ids, max_new_tokens, stop=stop, **options):
        if int(token) == stop:
            break
        yield decoder.push(int(token))
    yield decoder.flush()


def tell_stories(
    model: nn.Module, tokenizer: Tokenizer, n: int, end: int, seed: int = 0, max_new_tokens: int = 200, **options
) -> list[str]:
    """`n` stories from nothing but the end token of the story before, as one batch."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.full((n, 1), end, device=next(model.parameters()).device)
    rows = generate(model, start, max_new_tokens, generator=generator, stop=end, **options)[:, 1:].tolist()
    return [tokenizer.decode(row[: row.index(end)] if end in row else row) for row in rows]
