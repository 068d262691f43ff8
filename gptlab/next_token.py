"""From logits to the next token: what reshapes the distribution, and one token drawn from it (notebook `sampling`).

From top to bottom: repetition penalty, top-k, top-p, min-p, all of them in order with the temperature, and the draw.
`gptlab.sampling` repeats it until there is a text.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gptlab.entrances import Count, guard


def penalise(
    logits: Float[Tensor, "*batch V"], seen: Int[Tensor, "*batch T"], penalty: float | int
) -> Float[Tensor, "*batch V"]:
    """Tokens that occur in `seen` become less likely, however often they occur there (Keskar et al. 2019, CTRL).

    A positive logit is divided by the penalty and a negative one multiplied: both go down where it is above 1.

    Args:
        logits: of the next token.
        seen: the tokens of the text so far.
        penalty: above 0; 1 changes nothing.

    Raises:
        ValueError: for a penalty of 0 or below, or another number of rows in `seen`.

    >>> penalise(torch.tensor([2.0, -2.0, 5.0]), seen=torch.tensor([0, 1, 1]), penalty=2)
    tensor([ 1., -4.,  5.])
    """
    if penalty <= 0:
        raise ValueError(f"repetition_penalty={penalty} must be above 0: 1 changes nothing, 1.2 is a usual choice")
    if seen.shape[:-1] != logits.shape[:-1]:
        rows = f"logits of shape {list(logits.shape)} and seen of shape {list(seen.shape)}"
        raise ValueError(f"{rows}: give the text so far of each row")
    found = logits.gather(-1, seen)  # [*batch, T]
    return logits.scatter(-1, seen, torch.where(found < 0, found * penalty, found / penalty))


def keep_top_k(logits: Float[Tensor, "*batch V"], k: int) -> Float[Tensor, "*batch V"]:
    """Only the k largest logits, minus infinity for the others (Fan et al. 2018). Exactly k, even where some tie.

    Args:
        logits: of the next token.
        k: at least 1; V or more keeps all.

    Raises:
        ValueError: for k below 1.

    >>> keep_top_k(torch.tensor([0.0, 1.0, 2.0]), k=2)
    tensor([-inf, 1., 2.])
    """
    if k < 1:
        raise ValueError(f"top_k={k} leaves no token to choose: pass at least 1, or None for all")
    if k >= logits.shape[-1]:
        return logits
    largest, tokens = logits.topk(k, dim=-1)  # [*batch, k] each
    return torch.full_like(logits, -torch.inf).scatter(-1, tokens, largest)


def keep_top_p(logits: Float[Tensor, "*batch V"], p: float | int) -> Float[Tensor, "*batch V"]:
    """The fewest best tokens whose probabilities reach p, including the one that crosses it (Holtzman et al. 2019).

    Args:
        logits: of the next token.
        p: in (0, 1]; 1 keeps all.

    Raises:
        ValueError: for p outside (0, 1].

    >>> keep_top_p(torch.tensor([0.1, 0.6, 0.3]).log(), p=0.7).exp()
    tensor([0.0000, 0.6000, 0.3000])
    """
    if not 0 < p <= 1:
        raise ValueError(f"top_p={p} must lie in (0, 1]: pass None to keep all tokens")
    if p == 1:
        return logits
    ordered, order = logits.float().softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    better = ordered.cumsum(dim=-1) - ordered  # [*batch, V]  what the more likely ones reach without this one
    dropped = torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, better >= p)
    return logits.masked_fill(dropped, -torch.inf)


def keep_min_p(logits: Float[Tensor, "*batch V"], p: float | int) -> Float[Tensor, "*batch V"]:
    """The tokens that are at least p times as likely as the most likely one (Nguyen et al. 2024).

    Args:
        logits: of the next token.
        p: in [0, 1]; 0 keeps all.

    Raises:
        ValueError: for p outside [0, 1].

    >>> keep_min_p(torch.tensor([0.1, 0.6, 0.3]).log(), p=0.4).exp()
    tensor([0.0000, 0.6000, 0.3000])
    """
    if not 0 <= p <= 1:
        raise ValueError(f"min_p={p} must lie in [0, 1]: it is a fraction of the largest probability")
    likely = logits.float().softmax(dim=-1)
    return logits.masked_fill(likely < p * likely.amax(dim=-1, keepdim=True), -torch.inf)


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

    The steps have the order of `transformers`: repetition penalty, temperature, top-k, top-p, min-p. Each sees what the
    one before has left.

    Args:
        logits: of the next token.
        temperature: logits are divided by it; below 1 sharpens, above 1 flattens, 0 leaves only the best token.
        top_k: only the k best tokens stay possible.
        top_p: only the fewest best tokens whose probabilities reach p stay possible.
        min_p: only tokens at least this many times as likely as the best stay possible.
        repetition_penalty: makes the tokens of `seen` less likely; 1 for none.
        seen: the tokens of the text so far; needed for a penalty.

    Raises:
        ValueError: for a setting outside its range, or logits that are not numbers.

    >>> probabilities(torch.tensor([0.0, 1.0, 2.0]), top_k=2)
    tensor([0.0000, 0.2689, 0.7311])
    >>> probabilities(torch.tensor([0.0, 1.0, 2.0]), temperature=0)
    tensor([0., 0., 1.])
    """
    if temperature < 0:
        raise ValueError(f"temperature={temperature} must not be negative; 0 takes the best token each time")
    logits = _finite(logits.float())
    if repetition_penalty != 1:
        if seen is None:
            raise ValueError(f"repetition_penalty={repetition_penalty} needs `seen`, the tokens of the text so far")
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


def _finite(logits: Tensor) -> Tensor:
    """The logits, if every row has a largest one; minus infinity forbids a token, NaN and infinity are mistakes."""
    largest = logits.amax(dim=-1)  # [*batch]
    if not math.isfinite(float(largest.sum())):
        worst = largest[~torch.isfinite(largest)][0].item()
        raise ValueError(
            f"the largest logit is {worst}, so no token can be chosen: are the model's weights finite, and is at least "
            "one token allowed?"
        )
    return logits


def entropy(probabilities: Float[Tensor, "*batch V"]) -> Float[Tensor, "*batch"]:
    """The entropy of a distribution, in nats: −Σ p ln p, where an impossible token counts 0.

    >>> entropy(torch.tensor([0.5, 0.5, 0.0]))
    tensor(0.6931)
    """
    return torch.special.entr(probabilities).sum(dim=-1)


def draw(probabilities: Float[Tensor, "B V"], generator: torch.Generator | None = None) -> Int[Tensor, "B 1"]:
    """One token sampled for each row, on the CPU, so that a seed gives the same text on every device.

    Args:
        probabilities: one distribution per row.
        generator: of the random numbers, on the CPU; PyTorch's own unless given.

    >>> draw(torch.tensor([[0.0, 1.0], [1.0, 0.0]])).tolist()
    [[1], [0]]
    """
    return torch.multinomial(probabilities.cpu(), 1, generator=generator).to(probabilities.device)


@dataclass(frozen=True)
class SamplingOptions:
    """How the next token is chosen: the settings of `probabilities`, which every function below takes by name.

    Attributes:
        temperature: 0 takes the most likely token each time.
        top_k: None for all tokens.
        top_p: None for all tokens.
        min_p: None for all tokens.
        repetition_penalty: 1 for none.
        vocab_size: V of the tokenizer, where the model has more rows than that: ids from V on are never chosen.
    """

    temperature: float | int = 1.0
    top_k: int | None = None
    top_p: float | int | None = None
    min_p: float | int | None = None
    repetition_penalty: float | int = 1.0
    vocab_size: Count | None = None

    @classmethod
    def from_keywords(cls, keywords: dict[str, Any]) -> "SamplingOptions":
        """The options that a function was given by name.

        Raises:
            TypeError: for a name that is not one of them, naming ours.
        """
        refuse_unknown(name for name in keywords if name not in cls.__dataclass_fields__)
        return cls(**keywords)

    def choose(
        self, logits: Float[Tensor, "B V"], seen: Int[Tensor, "B T"], generator: torch.Generator | None = None
    ) -> Int[Tensor, "B 1"]:
        """One token for each row.

        Args:
            logits: of the next token.
            seen: the text so far.
            generator: of the random numbers.
        """
        settings = dict(vars(self))
        V = settings.pop("vocab_size")
        if V is not None and logits.shape[-1] > V:  # 50,304 rows for GPT-2's 50,257 tokens are faster on a GPU
            logits = logits.masked_fill(torch.arange(logits.shape[-1], device=logits.device) >= V, -torch.inf)
        if self.temperature == 0 and self.repetition_penalty == 1:
            return _finite(logits).argmax(dim=-1, keepdim=True)  # greedy: no random number is needed
        return draw(probabilities(logits, **settings, seen=seen), generator)


# ── Keywords of other libraries ──────────────────────────────────────────────────────────────────────────────────────

_OURS = {
    "do_sample": "temperature=0, which takes the best token each time; any other temperature samples",
    "eos_token_id": "stop",
    "pad_token_id": "generate_each, which needs no padding",
    "attention_mask": "generate_each, which takes prompts of different lengths without padding",
    "input_ids": "ids",
    "max_length": "max_new_tokens, which does not count the prompt",
    "max_tokens": "max_new_tokens",
    "num_return_sequences": "one row of ids for each text: ids.repeat(n, 1)",
    "seed": "generator=torch.Generator().manual_seed(seed)",
    "streamer": "stream",
}


def refuse_unknown(names: Iterable[str]) -> None:
    """Answer a keyword that no function of sampling has.

    Raises:
        TypeError: for the first of `names`, with what to use instead.
    """
    for name in names:
        known = ", ".join([*SamplingOptions.__dataclass_fields__, "generator", "stop", "use_cache"])
        raise TypeError(f"there is no setting {name!r} here: use {_OURS.get(name, known)}")


guard(globals())
