"""Sampling: from logits to the next token, again and again (lesson 10).

From top to bottom: what reshapes the logits (repetition penalty, temperature, top-k, top-p, min-p), one token drawn, a
text; then the cache that makes it fast and must not change the answer.
"""

import operator
from collections.abc import Collection, Iterator, Sequence
from typing import SupportsIndex

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gptlab.model import GPT, GPTConfig, device_of
from gptlab.tokens import StreamDecoder, Tokenizer

Stop = SupportsIndex | Collection[SupportsIndex] | None  # a token that ends a text, or one of several

# ── From logits to a distribution ────────────────────────────────────────────────────────────────────────────────────


def penalise(
    logits: Float[Tensor, "*batch V"], seen: Int[Tensor, "*batch T"], penalty: float | int
) -> Float[Tensor, "*batch V"]:
    """Tokens that stand in `seen` get less likely, once, however often they stand there (Keskar et al. 2019, CTRL).

    A positive logit is divided by the penalty and a negative one multiplied: both go down where it is above 1.

    >>> penalise(torch.tensor([2.0, -2.0, 5.0]), seen=torch.tensor([0, 1, 1]), penalty=2)
    tensor([ 1., -4.,  5.])
    """
    if penalty <= 0:
        raise ValueError(f"repetition_penalty={penalty} must be above 0: 1 changes nothing, 1.2 is a usual choice")
    said = logits.gather(-1, seen)  # [*batch, T]
    return logits.scatter(-1, seen, torch.where(said < 0, said * penalty, said / penalty))


def keep_top_k(logits: Float[Tensor, "*batch V"], k: int) -> Float[Tensor, "*batch V"]:
    """Only the k largest logits, minus infinity for the others (Fan et al. 2018). Exactly k, also where some tie.

    >>> keep_top_k(torch.tensor([0.0, 1.0, 2.0]), k=2)
    tensor([-inf, 1., 2.])
    """
    if k < 1:
        raise ValueError(f"top_k={k} leaves no token to choose: pass at least 1, or None for all")
    if k >= logits.shape[-1]:
        return logits
    kept, where = logits.topk(k, dim=-1)  # [*batch, k]
    return torch.full_like(logits, -torch.inf).scatter(-1, where, kept)


def keep_top_p(logits: Float[Tensor, "*batch V"], p: float | int) -> Float[Tensor, "*batch V"]:
    """The fewest best tokens whose probabilities reach p, the one that crosses it among them (Holtzman et al. 2019).

    >>> keep_top_p(torch.tensor([0.1, 0.6, 0.3]).log(), p=0.7).exp()
    tensor([0.0000, 0.6000, 0.3000])
    """
    if not 0 < p <= 1:
        raise ValueError(f"top_p={p} must lie in (0, 1]: pass None to keep all tokens")
    if p == 1:
        return logits
    ordered, order = logits.float().softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    better = ordered.cumsum(dim=-1) - ordered  # [*batch, V]  what the better ones reach without this one
    dropped = torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, better >= p)
    return logits.masked_fill(dropped, -torch.inf)


def keep_min_p(logits: Float[Tensor, "*batch V"], p: float | int) -> Float[Tensor, "*batch V"]:
    """The tokens that are at least p times as likely as the likeliest (Nguyen et al. 2024).

    >>> keep_min_p(torch.tensor([0.1, 0.6, 0.3]).log(), p=0.4).exp()
    tensor([0.0000, 0.6000, 0.3000])
    """
    if not 0 <= p <= 1:
        raise ValueError(f"min_p={p} must lie in [0, 1]: it is a share of the largest probability")
    chances = logits.float().softmax(dim=-1)
    return logits.masked_fill(chances < p * chances.amax(dim=-1, keepdim=True), -torch.inf)


def probabilities(
    logits: Float[Tensor, "*batch V"],
    temperature: float | int = 1.0,
    top_k: int | None = None,
    top_p: float | int | None = None,
    min_p: float | int | None = None,
    repetition_penalty: float | int = 1.0,
    seen: Int[Tensor, "*batch T"] | None = None,
) -> Float[Tensor, "*batch V"]:
    """The distribution that the next token is drawn from.

    What is asked for happens in the order of `transformers`: repetition penalty, temperature, top-k, top-p, min-p. Each
    sees what the one before has left.

    Args:
        temperature: logits are divided by it; below 1 sharpens, above 1 flattens, 0 leaves only the best token.
        top_k: only the k best tokens stay possible.
        top_p: only the fewest best tokens whose probabilities reach p stay possible.
        min_p: only tokens at least this many times as likely as the best stay possible.
        repetition_penalty: makes the tokens of `seen` less likely; 1 for none.

    >>> probabilities(torch.tensor([0.0, 1.0, 2.0]), top_k=2)
    tensor([0.0000, 0.2689, 0.7311])
    >>> probabilities(torch.tensor([0.0, 1.0, 2.0]), temperature=0)
    tensor([0., 0., 1.])
    """
    if temperature < 0:
        raise ValueError(f"temperature={temperature} must not be negative; 0 takes the best token each time")
    logits = logits.float()
    if repetition_penalty != 1:
        if seen is None:
            raise ValueError(f"repetition_penalty={repetition_penalty} needs `seen`, the ids that count as said")
        logits = penalise(logits, seen, repetition_penalty)
    if temperature < torch.finfo(logits.dtype).tiny:  # 0, or too near to divide by
        return torch.zeros_like(logits).scatter(-1, logits.argmax(dim=-1, keepdim=True), 1.0)
    if temperature != 1:
        logits = (logits - logits.amax(dim=-1, keepdim=True)) / temperature  # the best is 0: no overflow
    if top_k is not None:
        logits = keep_top_k(logits, top_k)
    if top_p is not None:
        logits = keep_top_p(logits, top_p)
    if min_p is not None:
        logits = keep_min_p(logits, min_p)
    return logits.softmax(dim=-1)


def entropy(chances: Float[Tensor, "*batch V"]) -> Float[Tensor, "*batch"]:
    """The mean surprise of a draw, in nats: −Σ p ln p, where a token that cannot come counts 0.

    >>> entropy(torch.tensor([0.5, 0.5, 0.0]))
    tensor(0.6931)
    """
    return torch.special.entr(chances).sum(dim=-1)


def draw(chances: Float[Tensor, "B V"], generator: torch.Generator | None = None) -> Int[Tensor, "B 1"]:
    """One token for each row. Drawn on the CPU, so that a seed gives the same text on every device.

    >>> draw(torch.tensor([[0.0, 1.0], [1.0, 0.0]])).tolist()
    [[1], [0]]
    """
    return torch.multinomial(chances.cpu(), 1, generator=generator).to(chances.device)


# ── The cache ────────────────────────────────────────────────────────────────────────────────────────────────────────


class LayerCache:
    """The keys and values of one layer so far, and the last inputs of its convolution."""

    def __init__(self, room: int):
        self.room = room
        self.reset()

    def reset(self) -> None:
        self.length = 0
        self.k = self.v = self.window = None

    def extend(
        self, k: Float[Tensor, "B H T hs"], v: Float[Tensor, "B H T hs"]
    ) -> tuple[Float[Tensor, "B H Tk hs"], Float[Tensor, "B H Tk hs"]]:
        """Append new keys and values, and return all there are."""
        B, H, T, hs = k.shape
        end = self._end(B, T)
        if self.k is None:
            self.k, self.v = k.new_empty(B, H, self.room, hs), v.new_empty(B, H, self.room, hs)
        self.k[:, :, self.length : end], self.v[:, :, self.length : end] = k, v
        self.length = end
        return self.k[:, :, :end], self.v[:, :, :end]  # [B, H, Tk, hs]: views, nothing is copied

    def _end(self, B: int, T: int) -> int:
        """Where T new tokens of B sequences would end. Raises: ValueError where they do not fit."""
        end, held = self.length + T, B if self.k is None else self.k.shape[0]
        if held != B:
            raise ValueError(f"the cache holds B={held} sequences and was given {B}: make one for each batch")
        if end > self.room:
            raise ValueError(f"the cache has room for {self.room} tokens, not {end}: build KVCache(model, room={end})")
        return end

    def extend_window(self, x: Float[Tensor, "B T C"], width: int) -> Float[Tensor, "B Tw C"]:
        """The last `width - 1` inputs (zeros at the beginning) and the new ones."""
        self._end(*x.shape[:2])  # before anything is remembered
        if self.window is None:
            self.window = x.new_zeros(x.shape[0], width - 1, x.shape[2])
        window = torch.cat((self.window, x), dim=1)
        self.window = window[:, window.shape[1] - (width - 1) :].clone()  # not a view that keeps a whole prompt alive
        return window


class KVCache:
    """What a model has computed about the past: pass it along, and give the model only the new tokens.

    It is possible because of causality: a later token changes nothing about an earlier one's keys and values.

    Args:
        room: the tokens that it can hold; the model's whole context unless given.

    >>> model = GPT(GPTConfig(vocab_size=50, context=8, n_layer=1, n_head=2, n_embd=12)).eval()
    >>> cache, ids = KVCache(model), torch.tensor([[4, 7, 1]])
    >>> model(ids[:, :2], cache=cache)[0].shape, model(ids[:, 2:], cache=cache)[0].shape
    (torch.Size([1, 2, 50]), torch.Size([1, 1, 50]))
    >>> cache.length, cache.bytes == cache_bytes(model.config, T=8)
    (3, True)
    """

    def __init__(self, model: GPT, room: int | None = None):
        context = model.config.context
        room = context if room is None else room
        if not 1 <= room <= context:
            raise ValueError(f"room={room} must lie between 1 and the model's context, {context}")
        self.room, self.length = room, 0
        self.layers = [LayerCache(room) for _ in model.blocks]

    def reset(self) -> None:
        """Forget everything, to begin with another text."""
        self.length = 0
        for layer in self.layers:
            layer.reset()

    @property
    def bytes(self) -> int:
        """The memory it holds now: nothing before its first use, and then room for all its tokens."""
        held = [t for layer in self.layers for t in (layer.k, layer.v, layer.window) if t is not None]
        return sum(t.numel() * t.element_size() for t in held)


def cache_bytes(config: GPTConfig, T: int, B: int = 1, width: int = 4) -> int:
    """What the cache of B sequences of T tokens costs, in bytes: 2 L n_kv_head hs numbers a token, for keys and values.

    Args:
        width: bytes a number: 4 for float32, 2 for bfloat16.

    >>> cache_bytes(GPTConfig.gpt2("124M"), T=1024)
    75497472
    """
    hs = config.n_embd // config.n_head
    a_token = 2 * config.n_layer * (config.n_kv_head or config.n_head) * hs
    window = config.n_layer * max(0, config.convolution - 1) * config.n_embd
    return B * (T * a_token + window) * width


# ── A text ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def steps(
    model: nn.Module,
    ids: Int[Tensor, "B T"],
    max_new_tokens: int,
    temperature: float | int = 1.0,
    top_k: int | None = None,
    top_p: float | int | None = None,
    generator: torch.Generator | None = None,
    stop: Stop = None,
    use_cache: bool = True,
    min_p: float | int | None = None,
    repetition_penalty: float | int = 1.0,
    lengths: Sequence[int] | None = None,
) -> Iterator[Int[Tensor, "B 1"]]:
    """The new tokens one after the other; a row that has said `stop` (a token, or one of several) goes on saying it.

    The model sees the last `context` tokens. While everything fits, a cache saves the work. Beyond, the window slides:
    each token then stands at another position than before, nothing can be kept, and every step is a full pass.

    `lengths` is for rows whose prompts end early: the steps begin where the shortest ends, and a longer one's step
    gives its own next token until it is through. So all rows always stand at the same position, and no padding is seen.
    """
    (B, T), context = ids.shape, model.config.context
    start = T if lengths is None else min(lengths, default=0)
    if start == 0:
        raise ValueError("there is no token to go on from: pass at least one, such as the end token of a text before")
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens={max_new_tokens} must not be negative")
    text = torch.cat((ids, ids.new_zeros(B, max_new_tokens)), dim=1)  # [B, T + new]: filled in as we go
    causal = use_cache and type(model) is GPT  # a subclass may hear the future: what it knew of the past would change
    cache = KVCache(model, min(context, text.shape[1])) if causal else None
    shape = dict(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=repetition_penalty)
    stops = None if stop is None else torch.tensor([*_stops(stop)], dtype=torch.long, device=ids.device)
    prompt = None if lengths is None else torch.tensor(list(lengths), device=ids.device)[:, None]  # [B, 1]
    finished = torch.zeros(B, 1, dtype=torch.bool, device=ids.device)
    token, was_training = None, model.training
    model.eval()
    try:
        for now in range(start, text.shape[1]):
            cache = cache if now <= context else None
            with torch.no_grad():
                if cache is None:
                    logits, _ = model(text[:, max(0, now - context) : now])
                else:
                    logits, _ = model(text[:, cache.length : now], cache=cache)  # what it has not seen yet
            seen = text[:, :now] if repetition_penalty != 1 else None
            last, token = token, _choose(logits[:, -1], generator, seen=seen, **shape)
            if last is not None and (stops is not None or prompt is not None):
                token = torch.where(finished, last, token)
            if prompt is not None:
                token = torch.where(now < prompt, text[:, now : now + 1], token)  # still reading its own prompt
                finished |= now + 1 >= prompt + max_new_tokens
            if stops is not None:
                said = torch.isin(token, stops)
                finished |= said if prompt is None else said & (now >= prompt)
            text[:, now : now + 1] = token
            yield token
            if (stops is not None or prompt is not None) and bool(finished.all()):
                return
    finally:
        model.train(was_training)


def _stops(stop: Stop) -> set[int]:
    """The tokens that end a text, where one, several or none are given."""
    try:
        return set() if stop is None else {operator.index(stop)}
    except TypeError:
        return {operator.index(token) for token in stop}


def _choose(logits: Float[Tensor, "B V"], generator: torch.Generator | None, **shape) -> Int[Tensor, "B 1"]:
    if shape["temperature"] == 0 and shape["repetition_penalty"] == 1:
        return logits.argmax(dim=-1, keepdim=True)  # greedy: nothing to draw
    return draw(probabilities(logits, **shape), generator)


def generate(
    model: nn.Module,
    ids: Int[Tensor, "B T"],
    max_new_tokens: int,
    temperature: float | int = 1.0,
    top_k: int | None = None,
    top_p: float | int | None = None,
    generator: torch.Generator | None = None,
    stop: Stop = None,
    use_cache: bool = True,
    min_p: float | int | None = None,
    repetition_penalty: float | int = 1.0,
) -> Int[Tensor, "B Tall"]:
    """`ids` and up to `max_new_tokens` more; ends early when every row has said `stop`.

    The settings are those of `probabilities`. Past the model's context it sees the last `context` tokens (see `steps`).

    >>> model = GPT(GPTConfig(vocab_size=50, context=8, n_layer=1, n_head=2, n_embd=12))
    >>> generate(model, torch.tensor([[1, 2]]), max_new_tokens=10, temperature=0).shape
    torch.Size([1, 12])
    """
    shape = dict(min_p=min_p, repetition_penalty=repetition_penalty)
    new = list(steps(model, ids, max_new_tokens, temperature, top_k, top_p, generator, stop, use_cache, **shape))
    return torch.cat([ids, *new], dim=1)


def generate_each(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop: Stop = None,
    **options,
) -> list[list[int]]:
    """Prompts of different lengths as one batch: each with its own continuation, as if it had been alone.

    Lists in, lists out; a row ends after `max_new_tokens` of its own, or with its first `stop`. The options are those
    of `generate`. (Padded ids become such lists with `unpad`.)

    >>> model = GPT(GPTConfig(vocab_size=50, context=8, n_layer=1, n_head=2, n_embd=12))
    >>> [len(row) for row in generate_each(model, [[1], [1, 2, 3]], max_new_tokens=4)]
    [5, 7]
    """
    lengths = [len(prompt) for prompt in prompts]
    if not lengths:
        return []
    longest = max(lengths)
    device = device_of(model)
    ids = torch.tensor([[*prompt, *[0] * (longest - len(prompt))] for prompt in prompts], device=device)  # [B, T]
    new = list(steps(model, ids, max_new_tokens, stop=stop, lengths=lengths, **options))
    columns = torch.cat([ids[:, : min(lengths)], *new], dim=1).tolist()
    stops = _stops(stop)
    rows = []
    for row, length in zip(columns, lengths, strict=True):
        row = row[: length + max_new_tokens]
        end = next((i + 1 for i in range(length, len(row)) if row[i] in stops), len(row))
        rows.append(row[:end])
    return rows


def unpad(ids: Int[Tensor, "B T"], keep: Bool[Tensor, "B T"]) -> list[list[int]]:
    """The rows of a padded batch without their padding, wherever it stands; `keep` is True for real tokens.

    >>> unpad(torch.tensor([[0, 4, 7], [5, 0, 0]]), torch.tensor([[False, True, True], [True, False, False]]))
    [[4, 7], [5]]
    """
    return [row[real].tolist() for row, real in zip(ids, keep, strict=True)]


def stream(
    model: nn.Module,
    tokenizer: Tokenizer,
    prompt: list[int],
    max_new_tokens: int,
    stop: Stop = None,
    **options,
) -> Iterator[str]:
    """Text as it is written, piece by piece; a character whose bytes are still arriving is held back."""
    decoder = StreamDecoder(tokenizer)
    stops = _stops(stop)
    ids = torch.tensor([prompt], device=device_of(model))
    for token in steps(model, ids, max_new_tokens, stop=stop, **options):
        if int(token) in stops:
            break
        yield decoder.push(int(token))
    yield decoder.flush()


def tell_stories(
    model: nn.Module, tokenizer: Tokenizer, n: int, end: int, seed: int = 0, max_new_tokens: int = 200, **options
) -> list[str]:
    """`n` stories from nothing but the end token of the story before, as one batch."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.full((n, 1), end, device=device_of(model))
    rows = generate(model, start, max_new_tokens, generator=generator, stop=end, **options)[:, 1:].tolist()
    return [tokenizer.decode(row[: row.index(end)] if end in row else row) for row in rows]
