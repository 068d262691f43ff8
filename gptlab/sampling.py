"""Sampling: the next token, again and again, until there is a text (notebook `sampling`).

How one token is chosen stands in `gptlab.next_token`, the KV cache in `gptlab.cache`; both can be had from here too.
"""

import operator
from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, Any, SupportsIndex

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gptlab.cache import KVCache, LayerCache, cache_bytes
from gptlab.checks import check_batch
from gptlab.entrances import Range, guard
from gptlab.model import GPT, device_of, evaluating, unwrapped
from gptlab.next_token import (
    SamplingOptions,
    draw,
    entropy,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalise,
    probabilities,
    refuse_unknown,
)  # fmt: skip
from gptlab.tokens import StreamDecoder, Tokenizer

__all__ = [
    "KVCache", "LayerCache", "SamplingOptions", "cache_bytes", "draw", "entropy", "generate", "generate_each",
    "keep_min_p", "keep_top_k", "keep_top_p", "penalise", "probabilities", "stream", "tell_stories",
]  # fmt: skip

Stop = Annotated[SupportsIndex, Range(least=0)] | Collection[SupportsIndex] | None  # what ends a text


class _Reader:
    """Gives the logits of the next token of a growing text, and reads each token once while everything fits.

    The model sees the last `context` tokens. Beyond, the window slides: each token then stands at another position than
    before, nothing that was cached is valid, and every step is a full pass. Rows that have finished are not read.
    """

    def __init__(self, model: nn.Module, length: int, use_cache: bool):
        self.model, self.context = model, model.config.context
        is_causal = type(model) is GPT  # a subclass may attend to the future, which would change what is cached
        self.cache = KVCache(model, min(self.context, length)) if use_cache and is_causal else None
        self.rows = None  # those that are read; all of them at first

    @torch.no_grad()
    def __call__(self, text: Int[Tensor, "B T"]) -> Float[Tensor, "B V"]:
        if self.rows is None:
            return self._logits(text)
        read = self._logits(text[self.rows])  # [n, V]
        return read.new_zeros(len(text), read.shape[1]).index_copy(0, self.rows, read)

    def drop(self, finished: Bool[Tensor, "B 1"]) -> int:
        """Stop reading rows that have finished, once they are half of those read; how many go on comes back."""
        going_on = (~finished[:, 0]).nonzero()[:, 0]
        read = torch.arange(len(finished), device=finished.device) if self.rows is None else self.rows
        if 0 < len(going_on) <= len(read) // 2:  # not at each end: what the cache holds is copied here
            if self.cache is not None:
                self.cache.keep_rows(torch.searchsorted(read, going_on))
            self.rows = going_on
        return len(going_on)

    def _logits(self, text: Int[Tensor, "n T"]) -> Float[Tensor, "n V"]:
        if text.shape[1] > self.context:
            self.cache = None
        if self.cache is None:
            return self.model(text[:, -self.context :])[0][:, -1]
        return self.model(text[:, self.cache.length :], cache=self.cache)[0][:, -1]  # reads only what is new


class _Rows:
    """Which rows of a batch are still in their prompt, which are writing, and which have finished.

    All rows stand at the same position, so no padding is ever seen: while one still reads its prompt, others write.
    """

    def __init__(self, lengths: Int[Tensor, "B 1"], max_new_tokens: int, stop: Stop):
        self.lengths, self.ends = lengths, lengths + max_new_tokens
        self.stops = torch.tensor([*_stops(stop)], dtype=torch.long, device=lengths.device)
        self.finished, self.last = torch.zeros_like(lengths, dtype=torch.bool), torch.zeros_like(lengths)
        self.end_early, self.uneven = stop is not None, bool((lengths != lengths[0]).any())

    def settle(self, token: Int[Tensor, "B 1"], prompt: Int[Tensor, "B 1"], position: int) -> Int[Tensor, "B 1"]:
        """What each row has at a position: its prompt's token, the chosen one, or once more the one that ended it."""
        if self.end_early or self.uneven:
            token = torch.where(self.finished, self.last, token)
        if self.uneven:
            token = torch.where(position < self.lengths, prompt, token)
            self.finished |= position + 1 >= self.ends
        if self.end_early:
            self.finished |= (position >= self.lengths) & torch.isin(token, self.stops)
        self.last = token
        return token


def _steps(
    model: nn.Module,
    ids: Int[Tensor, "B T"],
    lengths: Sequence[int],
    max_new_tokens: int,
    options: SamplingOptions,
    generator: torch.Generator | None,
    stop: Stop,
    use_cache: bool,
) -> Iterator[Int[Tensor, "B 1"]]:
    """The tokens one after the other, from where the shortest prompt ends; a finished row repeats its last one."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ValueError(
            f"generator={generator!r} is not a torch.Generator: after top_p pass everything by name, such as min_p=..."
        )
    start = min(lengths, default=0)
    if start == 0:
        raise ValueError("there is no token to continue from: pass at least one, such as the end token of a text")
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens={max_new_tokens} must not be negative")

    # The text as it will be, filled in from left to right.
    model = unwrapped(model)
    text = torch.cat((ids, ids.new_zeros(len(ids), max_new_tokens)), dim=1)  # [B, T + new]
    reader = _Reader(model, text.shape[1], use_cache)
    rows = _Rows(torch.tensor(lengths, device=ids.device)[:, None], max_new_tokens, stop)

    with evaluating(model):
        for position in range(start, text.shape[1]):
            logits = reader(text[:, :position])  # [B, V]
            token = options.choose(logits, text[:, :position], generator)  # [B, 1]
            here = slice(position, position + 1)  # a row that still reads its prompt, or has ended, takes another token
            text[:, here] = rows.settle(token, text[:, here], position)
            yield text[:, here]

            if rows.end_early and not reader.drop(rows.finished):
                return


def generate(
    model: nn.Module,
    ids: Int[Tensor, "B T"],
    max_new_tokens: int,
    temperature: float | int = 1.0,
    top_k: int | None = None,
    top_p: float | int | None = None,
    generator: torch.Generator | None = None,
    *,
    min_p: float | int | None = None,
    repetition_penalty: float | int = 1.0,
    vocab_size: int | None = None,
    stop: Stop = None,
    use_cache: bool = True,
    **unknown: Any,
) -> Int[Tensor, "B Tall"]:
    """`ids` and up to `max_new_tokens` more. Past the model's context it sees the last `context` tokens.

    Args:
        model: a `GPT`, or another model with `config.context` that gives (logits, loss).
        ids: the prompts, all of one length; `generate_each` takes different ones.
        max_new_tokens: ends earlier when every row has come to `stop`.
        temperature: as for `probabilities`, like the next two.
        top_k: None for all tokens.
        top_p: None for all tokens.
        generator: of the random numbers, so that a seed gives the same text again.
        min_p: as for `probabilities`.
        repetition_penalty: as for `probabilities`; counts the prompt and what was generated.
        vocab_size: V of the tokenizer, if the model has more rows than that: ids from V on are never chosen.
        stop: a token, or several, that end a row; a row that has ended repeats it.
        use_cache: False computes every step from the beginning, with the same result.

    Raises:
        ValueError: for an empty prompt, a setting outside its range, or a model whose logits are not numbers.
        TypeError: for a keyword of another library, naming ours.

    >>> from gptlab.config import GPTConfig
    >>> model = GPT(GPTConfig(vocab_size=50, context=8, n_layer=1, n_head=2, n_embd=12))
    >>> generate(model, torch.tensor([[1, 2]]), max_new_tokens=10, temperature=0).shape
    torch.Size([1, 12])
    """
    refuse_unknown(unknown)
    options = SamplingOptions(temperature, top_k, top_p, min_p, repetition_penalty, vocab_size)
    check_batch(ids)
    new = list(_steps(model, ids, [ids.shape[1]] * len(ids), max_new_tokens, options, generator, stop, use_cache))
    return torch.cat([ids, *new], dim=1)


def generate_each(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    generator: torch.Generator | None = None,
    stop: Stop = None,
    use_cache: bool = True,
    **options: Any,
) -> list[list[int]]:
    """Prompts of different lengths as one batch: each with its own continuation, as if it had been alone.

    Lists in, lists out; a row ends after `max_new_tokens` of its own, or with its first `stop`.

    Args:
        model: as for `generate`.
        prompts: token ids, at least one in each.
        max_new_tokens: for each row.
        generator: as for `generate`.
        stop: as for `generate`.
        use_cache: as for `generate`.
        options: those of `SamplingOptions`.

    >>> from gptlab.config import GPTConfig
    >>> model = GPT(GPTConfig(vocab_size=50, context=8, n_layer=1, n_head=2, n_embd=12))
    >>> [len(row) for row in generate_each(model, [[1], [1, 2, 3]], max_new_tokens=4)]
    [5, 7]
    """
    settings, lengths = SamplingOptions.from_keywords(options), [len(prompt) for prompt in prompts]
    if not lengths:
        return []
    longest, device = max(lengths), device_of(model)
    ids = torch.tensor([[*prompt, *[0] * (longest - len(prompt))] for prompt in prompts], device=device)  # [B, T]
    new = list(_steps(model, ids, lengths, max_new_tokens, settings, generator, stop, use_cache))
    columns = torch.cat([ids[:, : min(lengths)], *new], dim=1).tolist()
    stops, rows = _stops(stop), []
    for row, length in zip(columns, lengths, strict=True):
        row = row[: length + max_new_tokens]
        end = next((i + 1 for i in range(length, len(row)) if row[i] in stops), len(row))
        rows.append(row[:end])
    return rows


def stream(
    model: nn.Module,
    tokenizer: Tokenizer,
    prompt: list[int],
    max_new_tokens: int,
    *,
    generator: torch.Generator | None = None,
    stop: Stop = None,
    use_cache: bool = True,
    **options: Any,
) -> Iterator[str]:
    """Text as it is written, piece by piece; a character whose bytes are still arriving is held back.

    Args:
        model: as for `generate`.
        tokenizer: that the model was trained with.
        prompt: token ids, at least one; the text begins after them.
        max_new_tokens: ends earlier at `stop`, which is not part of the text.
        generator: as for `generate`.
        stop: as for `generate`.
        use_cache: as for `generate`.
        options: those of `SamplingOptions`.
    """
    options.setdefault("vocab_size", tokenizer.vocab_size)
    settings, decoder, stops = SamplingOptions.from_keywords(options), StreamDecoder(tokenizer), _stops(stop)
    ids = torch.tensor([prompt], device=device_of(model))
    for token in _steps(model, ids, [len(prompt)], max_new_tokens, settings, generator, stop, use_cache):
        if int(token) in stops:
            break
        yield decoder.push(int(token))
    yield decoder.flush()


def tell_stories(
    model: nn.Module,
    tokenizer: Tokenizer,
    n: int,
    end: int,
    seed: int = 0,
    max_new_tokens: int = 200,
    **options: Any,
) -> list[str]:
    """`n` texts from nothing but the end token of the text before, as one batch.

    Args:
        model: as for `generate`.
        tokenizer: that the model was trained with.
        n: how many.
        end: the token that ends a text.
        seed: of the random numbers.
        max_new_tokens: for each text.
        options: those of `SamplingOptions`.
    """
    generator = torch.Generator().manual_seed(seed)
    start = torch.full((n, 1), end, device=device_of(model))
    options.setdefault("vocab_size", tokenizer.vocab_size)
    rows = generate(model, start, max_new_tokens, generator=generator, stop=end, **options)[:, 1:].tolist()
    return [tokenizer.decode(row[: row.index(end)] if end in row else row) for row in rows]


def _stops(stop: Stop) -> set[int]:
    """The tokens that end a text, where one, several or none are given."""
    try:
        return set() if stop is None else {operator.index(stop)}
    except TypeError:
        return {operator.index(token) for token in stop}


guard(globals())
