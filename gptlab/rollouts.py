"""Completions of a policy: sampled, with the probability of each token, and as a batch to learn from.

`gptlab.rollout_source` makes one for every step of a run.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gptlab.batches import IGNORE
from gptlab.entrances import Positive, checked
from gptlab.model import device_of, evaluating
from gptlab.rewards import Completion, rewards_of
from gptlab.sampling import generate_each
from gptlab.tokenizing import Tokenizer


class Prompt(NamedTuple):
    """What the policy continues.

    Attributes:
        ids: at least one token.
        task: what the reward needs to know about it.
    """

    ids: Sequence[int]
    task: Any = None


class Rollout(NamedTuple):
    """Completions as a batch: B rows, each a prompt and what the policy wrote after it, padded on the right.

    Attributes:
        ids: what the model reads.
        targets: the sampled token that follows, the end token included; `IGNORE` in the prompt and in the padding.
        behaviour: ln p of each sampled token under the policy that sampled it; 0 where no target counts.
        reference: the same under the reference model, or once more `behaviour` without one.
        advantages: of each completion, against the others.
    """

    ids: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T"]
    behaviour: Float[Tensor, "B T"]
    reference: Float[Tensor, "B T"]
    advantages: Float[Tensor, " B"]


@checked
def token_log_probs(
    logits: Float[Tensor, "B T V"], targets: Int[Tensor, "B T"], temperature: Positive = 1.0
) -> Float[Tensor, "B T"]:
    """ln p of each target, and 0 where the target is `IGNORE`.

    Only the logits of targets that count are read, so that a NaN at a masked position reaches no gradient: multiplied
    by a mask of zeros, it would.

    Args:
        logits: of the token after each position.
        targets: that token.
        temperature: that they were sampled with.

    >>> token_log_probs(torch.zeros(1, 3, 4), torch.tensor([[IGNORE, 2, 0]]))
    tensor([[ 0.0000, -1.3863, -1.3863]])
    """
    counts = targets != IGNORE
    wanted = logits[counts].float() / temperature  # [tokens that count, V]
    found = wanted.log_softmax(dim=-1).gather(-1, targets[counts][:, None]).squeeze(-1)
    return torch.zeros_like(logits[..., 0], dtype=found.dtype).masked_scatter(counts, found)


def as_batch(
    prompts: Sequence[Sequence[int]], rows: Sequence[Sequence[int]]
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """Inputs and targets of completions: only what follows a prompt counts, and the padding never does.

    Which tokens are padding is decided by the length, not by an id: an end token that is also used to pad is learned.

    Args:
        prompts: the ids of each.
        rows: each prompt with its completion.

    >>> ids, targets = as_batch([[7, 8], [7]], [[7, 8, 1, 9], [7, 9]])
    >>> ids.tolist(), targets.tolist()
    ([[7, 8, 1], [7, 0, 0]], [[-100, 1, 9], [9, -100, -100]])
    """
    T = max(len(row) for row in rows) - 1
    ids, targets = torch.zeros((len(rows), T), dtype=torch.long), torch.full((len(rows), T), IGNORE)
    for b, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
        ids[b, : len(row) - 1] = torch.tensor(row[:-1])
        targets[b, len(prompt) - 1 : len(row) - 1] = torch.tensor(row[len(prompt) :])
    return ids, targets


@torch.no_grad()
def log_probs(
    model: nn.Module, ids: Int[Tensor, "B T"], targets: Int[Tensor, "B T"], temperature: float | int = 1.0
) -> Float[Tensor, "B T"]:
    """ln p of each target under a model, without a gradient and with dropout off, on the CPU."""
    device, found = device_of(model), []
    with evaluating(model):
        for part, wanted in zip(ids.split(64), targets.split(64), strict=True):
            found.append(token_log_probs(model(part.to(device))[0], wanted.to(device), temperature).cpu())
    return torch.cat(found)


def complete(
    model: nn.Module,
    tokenizer: Tokenizer,
    prompts: Sequence[Prompt],
    end: int,
    max_new_tokens: int,
    temperature: float | int = 1.0,
    seed: int = 0,
) -> tuple[list[Completion], list[list[int]]]:
    """One completion for each prompt, sampled from all tokens; and the rows of ids, prompts included.

    Args:
        model: the policy.
        tokenizer: that it was trained with.
        prompts: of any lengths.
        end: the token that ends a completion.
        max_new_tokens: a completion is cut after so many.
        temperature: of sampling.
        seed: of the random numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = [list(prompt.ids) for prompt in prompts]
    rows = generate_each(model, ids, max_new_tokens, generator=generator, stop=end, temperature=temperature)
    completions = []
    for prompt, row in zip(prompts, rows, strict=True):
        new = row[len(prompt.ids) :]
        ended = new[-1] == end
        text = tokenizer.decode(new[:-1] if ended else new)
        completions.append(Completion(text, ended, len(new), prompt.task))
    return completions, rows


def judge(
    model: nn.Module,
    tokenizer: Tokenizer,
    rewards: dict[str, Callable],
    n: int = 256,
    *,
    prompts: Sequence[Prompt] | None = None,
    max_new_tokens: int = 159,
    end: int | None = None,
    temperature: float | int = 1.0,
    seed: int = 0,
) -> dict[str, float]:
    """The mean of each reward over completions of a model, and their mean length in tokens.

    Args:
        model: that writes.
        tokenizer: of the model.
        rewards: by name.
        n: how many completions; each prompt is used equally often, give or take one.
        prompts: stories from the end token on unless given.
        max_new_tokens: of each completion.
        end: the tokenizer's unless given.
        temperature: of sampling.
        seed: of the samples.
    """
    prompts = [Prompt([tokenizer.end])] if prompts is None else prompts
    chosen = [prompts[i % len(prompts)] for i in range(n)]
    end = tokenizer.end if end is None else end
    completions, _ = complete(model, tokenizer, chosen, end, max_new_tokens, temperature, seed)
    found = {name: rewards_of(reward, completions).mean().item() for name, reward in rewards.items()}
    return found | {"tokens": sum(one.tokens for one in completions) / n}
