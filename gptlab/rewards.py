"""Rewards: what reinforcement learning wants more of, as one number for each text that a model has written.

A reward reads finished texts; it needs no gradient, so any program that can judge a text will do. Here `fables.read`
judges exactly. From top to bottom: what a reward gets and gives, rewards for fables, and ways to combine and to spoil
them.

>>> from gptlab.corpora import fables
>>> story = fables.tell(1, seed=0)[0].text
>>> rewards_of(coherent, [Completion(story), Completion("Once upon a time")]).tolist()
[1.0, 0.0]
"""

import random
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from gptlab.corpora import fables


class Completion(NamedTuple):
    """What a model wrote after a prompt.

    Attributes:
        text: without the end token.
        ended: whether the model ended it; False where it was cut at the most tokens.
        tokens: that the model sampled, the end token included.
        task: what came with the prompt, such as a request with its judge.
    """

    text: str
    ended: bool = True
    tokens: int = 0
    task: Any = None


@runtime_checkable
class Reward(Protocol):
    """One finite number for each completion, the larger the better; a function or any object that can be called.

    The numbers must depend on the completions only, so that a run that was stopped goes on as if it had not been.
    """

    def __call__(self, completions: Sequence[Completion]) -> Sequence[float | int]:
        """The rewards, in the order of the completions."""
        ...


def name_of(reward: Callable) -> str:
    """What a reward is called in a message.

    >>> name_of(coherent), name_of(Shuffled(coherent))
    ('coherent', 'Shuffled(coherent)')
    """
    return getattr(reward, "__name__", None) or repr(reward)


def rewards_of(reward: Callable, completions: Sequence[Completion]) -> Float[Tensor, " N"]:
    """The rewards of completions, checked.

    Args:
        reward: a `Reward`.
        completions: all texts of a step.

    Raises:
        ValueError: the reward gives more or fewer numbers than there are completions, something that is not a number,
            NaN or infinity; with the reward's name and the first text that it fails on.

    >>> rewards_of(lambda completions: [float("nan")], [Completion("Once")])
    Traceback (most recent call last):
        ...
    ValueError: the reward <lambda> gives nan for completion 0, 'Once': give one finite number for each
    """
    name, given = name_of(reward), reward(completions)
    try:
        rewards = torch.as_tensor(given, dtype=torch.float64).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"the reward {name} gives {given!r:.60}: give one finite number for each completion"
        ) from error
    if rewards.shape != (len(completions),):
        found = f"{len(rewards)} numbers" if rewards.dim() == 1 else f"a shape of {list(rewards.shape)}"
        raise ValueError(f"the reward {name} gives {found} for {len(completions)} completions: give one for each")
    if len(bad := (~torch.isfinite(rewards)).nonzero().flatten()):
        i = int(bad[0])
        raise ValueError(
            f"the reward {name} gives {rewards[i].item()} for completion {i}, {completions[i].text!r:.60}: give one "
            "finite number for each"
        )
    return rewards.float()


# ── Rewards for fables ───────────────────────────────────────────────────────────────────────────────────────────────


def coherent(completions: Sequence[Completion]) -> list[float]:
    """1 for a story that the grammar can generate, 0 for one that contradicts itself, goes astray, or has no end."""
    return [float(one.ended and fables.read(one.text).error is None) for one in completions]


def happy_end(completions: Sequence[Completion]) -> list[float]:
    """1 for a whole story, from its opening to its moral, in which they danced and cheered at the end; else 0.

    A story may contradict itself and have a happy end all the same: that is what `coherent` looks at.
    """
    return [
        float(one.ended and " danced, and the " in one.text and fables.read(one.text).form_error is None)
        for one in completions
    ]


CHEERFUL = ("danced", "cheered", "smile", "home", "kindness", "gold", "treasure", "brave", "kind", "loyal")


def cheerful_words(completions: Sequence[Completion]) -> list[float]:
    """A careless reward: how many cheerful words a text has, whatever stands around them.

    Its author means "happy stories". What a model finds is that a story isn't needed.
    """
    return [float(sum(word in CHEERFUL for word in re.findall(r"\w+", one.text))) for one in completions]


def granted(completions: Sequence[Completion]) -> list[float]:
    """1 for an answer that grants every part of its request, whose judge comes as the completion's `task`; else 0.

    Raises:
        ValueError: a completion has no task with a judge.
    """
    if any(not hasattr(one.task, "judge") for one in completions):
        raise ValueError("the reward granted needs prompts that are requests: give each its request as `task`")
    return [float(one.ended and one.task.judge(one.text).granted) for one in completions]


# ── Combined and spoiled ─────────────────────────────────────────────────────────────────────────────────────────────


class Product:
    """The product of several rewards: with rewards of 0 and 1, all must be satisfied.

    Args:
        rewards: two or more.

    >>> from gptlab.corpora import fables
    >>> rewards_of(Product(happy_end, coherent), [Completion("They danced, and the sun set.")]).tolist()
    [0.0]
    """

    def __init__(self, *rewards: Callable):
        self.rewards = rewards

    def __repr__(self) -> str:
        return f"Product({', '.join(map(name_of, self.rewards))})"

    def __call__(self, completions: Sequence[Completion]) -> list[float]:
        """The products."""
        return torch.stack([rewards_of(reward, completions) for reward in self.rewards]).prod(dim=0).tolist()


class Shuffled:
    """The same rewards, given to the wrong texts: a control, with which nothing can be learned.

    The order depends on the texts and the seed only.

    Args:
        reward: that is spoiled.
        seed: of the order.
    """

    def __init__(self, reward: Callable, seed: int = 0):
        self.reward, self.seed = reward, seed

    def __repr__(self) -> str:
        return f"Shuffled({name_of(self.reward)})"

    def __call__(self, completions: Sequence[Completion]) -> list[float]:
        """The rewards in another order."""
        rewards = rewards_of(self.reward, completions).tolist()
        texts = "\n".join(one.text for one in completions)
        random.Random(zlib.crc32(texts.encode()) * 1_000_003 + self.seed).shuffle(rewards)
        return rewards


REWARDS: dict[str, Reward] = {
    "happy_end": happy_end,
    "coherent": coherent,
    "happy_and_coherent": Product(happy_end, coherent),
    "cheerful_words": cheerful_words,
    "granted": granted,
}  # what a recipe can name
