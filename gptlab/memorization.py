"""Does a model know its text by heart? How good its loss is for this text, and how much of it is copied.

A loss says little alone. Compare it with a model that only counts (`NGram`) and with file compressors, all in bits per
byte; then look for memorising itself: passages that a sample shares with the training text, word for word, and how
exposed a secret is that stood in it. (`gptlab.curation` looks at a text before it is learned.)

>>> bits_per_byte(math.log(2), tokens=3, size=6)  # one bit for each of three tokens of two bytes
0.5
"""

import gzip
import lzma
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptlab.batches import IGNORE, Ids, StoryBatches
from gptlab.entrances import Count, NotNegative, guard
from gptlab.model import device_of, evaluating

# ── What a loss is compared with ─────────────────────────────────────────────────────────────────────────────────────


def bits_per_byte(nats_per_token: NotNegative, tokens: Count, size: Count) -> float:
    """A loss that doesn't depend on the tokens: bits for each byte of the text, in UTF-8.

    Args:
        nats_per_token: the mean loss.
        tokens: that it is the mean of.
        size: of the text that they make, in bytes.

    >>> bits_per_byte(math.log(256), tokens=10, size=10)  # every byte equally likely: 8 bits
    8.0
    """
    return nats_per_token * tokens / math.log(2) / size


def compressed(text: str, given: str = "") -> dict[str, float]:
    """What file compressors need for a text, in bits per byte, when they have read another one before it.

    A compressor is a language model, and the other way round: what is expected takes few bits (Shannon 1948; Delétang
    et al. 2024, *Language Modeling Is Compression*). gzip looks back 32 kB, lzma over all.

    Args:
        text: not empty.
        given: what is read first and not counted, such as the training text.

    Raises:
        ValueError: the text is empty.

    >>> compressed("to be or not to be. " * 5)["gzip"] > compressed("to be. " * 9, given="to be. " * 9)["gzip"]
    True
    """
    if not text:
        raise ValueError("the text is empty, so there is no byte to count bits for: pass one with characters")
    before, after = given.encode(), (given + text).encode()
    sizes = {"gzip": lambda data: len(gzip.compress(data, mtime=0)), "lzma": lambda data: len(lzma.compress(data))}
    return {name: 8 * (size(after) - size(before)) / len(text.encode()) for name, size in sizes.items()}


class NGram:
    """A model that counts: what followed the last n - 1 tokens, mixed with what followed fewer.

    Each order k has its say in proportion to how often its context was seen, N, against how many different tokens
    followed it, T: p_k = (count + T · p_{k-1}) / (N + T). This is Witten and Bell's smoothing (1991, method C); below
    the first order every token is equally likely.

    Args:
        ids: what it counts.
        n: tokens of the longest sequence that it counts.
        V: tokens in the vocabulary.

    Raises:
        ValueError: an id is not below V.

    >>> model = NGram([0, 1, 0, 1, 0, 2], n=2, V=3)
    >>> [round(model.probability([0], token), 3) for token in range(3)]
    [0.178, 0.533, 0.289]
    """

    def __init__(self, ids: Ids, n: Count, V: Count):
        row = np.asarray(ids).tolist()
        if row and not 0 <= min(row) <= max(row) < V:
            raise ValueError(f"ids from {min(row)} to {max(row)} do not fit V={V}: pass the vocabulary's size")
        self.n, self.V = n, V
        self.counts: list[dict[tuple[int, ...], Counter]] = []
        for k in range(n):  # the context's length
            table: dict[tuple[int, ...], Counter] = defaultdict(Counter)
            for context, token in zip(_windows(row[:-1] if k else row, k), row[k:], strict=False):
                table[tuple(context)][token] += 1
            self.counts.append(dict(table))

    def probability(self, context: Sequence[int], token: int) -> float:
        """How likely a token is after a context, of which the last n - 1 tokens count.

        Args:
            context: the tokens before.
            token: that may follow.
        """
        p = 1 / self.V
        for k in range(min(self.n, len(context) + 1)):
            seen = self.counts[k].get(tuple(context[len(context) - k :]))
            if seen is None:  # then no longer context was seen either
                break
            N, T = seen.total(), len(seen)
            p = (seen[token] + T * p) / (N + T)
        return p

    def loss(self, ids: Ids) -> float:
        """The mean loss in nats per token, of every token but the first, as a GPT's.

        Args:
            ids: at least two.

        Raises:
            ValueError: there are fewer.
        """
        row = np.asarray(ids).tolist()
        if len(row) < 2:
            raise ValueError(f"{len(row)} ids have no token that follows another: pass at least two")
        found = (self.probability(row[max(0, t - self.n + 1) : t], row[t]) for t in range(1, len(row)))
        return -sum(map(math.log, found)) / (len(row) - 1)


# ── Memorising ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _windows(text: Sequence, n: int) -> Iterator[Sequence]:
    return (text[i : i + n] for i in range(len(text) - n + 1))


def copied(texts: Sequence[str], source: Sequence[str], n: Count = 20) -> float:
    """The fraction of all stretches of n characters in some texts that stand in the source, word for word.

    Measure it on held-out text too: what people write repeats itself, and only more than that is memorised (McCoy et
    al. 2023, *How Much Do Language Models Copy From Their Training Data?*).

    Args:
        texts: that a model wrote.
        source: the documents that it was trained on.
        n: characters of a stretch.

    Raises:
        ValueError: no text has n characters.

    >>> copied(["a sly fox ran"], ["the sly fox slept", "a hen ran"], n=6)
    0.5
    """
    stretches = [stretch for text in texts for stretch in _windows(text, n)]
    if not stretches:
        raise ValueError(f"none of {len(texts)} texts has n={n} characters: pass longer ones, or a smaller n")
    wanted = set(stretches)  # of these few, those that the long source has
    there = {stretch for document in source for stretch in _windows(document, n) if stretch in wanted}
    return sum(stretch in there for stretch in stretches) / len(stretches)


def longest_copy(text: str, source: Sequence[str]) -> str:
    """The longest stretch of a text that stands in the source, word for word.

    Args:
        text: that a model wrote.
        source: the documents that it was trained on.

    >>> longest_copy("a sly fox ran", ["the sly fox slept", "a hen ran"])
    ' sly fox '
    """
    found, low, high = "", 0, len(text)
    while low < high:  # if a stretch of some length is there, a shorter one is too: halve what is left
        n = (low + high + 1) // 2
        wanted = set(_windows(text, n))
        there = next((part for document in source for part in _windows(document, n) if part in wanted), None)
        found, low, high = (there, n, high) if there is not None else (found, low, n - 1)
    return found


@torch.no_grad()
def document_nats(model: nn.Module, documents: Sequence[Ids], start: int) -> list[float]:
    """What each document costs a model, in nats: the loss of all its tokens together.

    Args:
        model: gives (logits, loss) for (ids, targets).
        documents: rows of ids, none longer than the context.
        start: the id that stands before each, as in training.
    """
    found: list[Tensor] = []
    with evaluating(model):
        for ids, targets in StoryBatches(documents, B=64, start=start, shuffle=False):
            logits = model(ids.to(device_of(model)))[0].float().cpu()  # [B, T, V]
            nats = F.cross_entropy(logits.mT, targets, ignore_index=IGNORE, reduction="none")  # [B, T]
            found.extend(nats.sum(dim=1))
    return [float(nats) for nats in found]


def exposure(secret: float, others: Sequence[float]) -> float:
    """How far a secret stands out, in bits: 0 where it ranks last, log₂ of how many there are where it ranks first.

    Put a random secret into the training text, and compare what it costs the model with what others like it cost,
    which it has never seen (Carlini et al. 2019, *The Secret Sharer*). Chance alone gives about one and a half bits.

    Args:
        secret: what it costs the model, in nats.
        others: what each of the others costs.

    Raises:
        ValueError: there are no others.

    >>> exposure(2.0, [5.0, 7.0, 6.0]), exposure(9.0, [5.0, 7.0, 6.0])
    (2.0, 0.0)
    """
    if not others:
        raise ValueError("there are no others to compare the secret with: pass what at least one of them costs")
    rank = 1 + sum(other <= secret for other in others)
    return math.log2(len(others) + 1) - math.log2(rank)


guard(globals())
