"""How a policy is trained with rewards: the settings of `gptlab.reinforcement`.

Standard library only, so that a command line can list the settings at once.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from gptlab.entrances import Count, NotNegative, Positive, Range, check_fields


@dataclass(frozen=True)
class PolicyConfig:
    """How completions are sampled, judged against each other, and learned from.

    Attributes:
        group_size: completions of the same prompt; each is judged against the others of its group.
        max_new_tokens: a completion is cut after so many tokens.
        temperature: of sampling; the policy that is trained is the one at this temperature.
        advantage: what a completion's reward is compared with: "none" (nothing), "leave_one_out" (the mean of the
            others in its group), or "group" (the mean of its group, in standard deviations of the group: GRPO).
        updates: how many updates each set of completions is used for; from the second on, the policy that learns is
            not the one that sampled, and clipping matters.
        clip: how far the ratio of the two may move from 1 and still be rewarded for it; None for no limit.
        kl: how much a nat of distance from the reference model costs, for each token; 0 for no reference.
        mean_over: whether a loss is the mean over completions, each the mean over its tokens, or over all tokens.
        patience: the run is refused if no reward differs within any group in so many first rounds.

    Raises:
        ValueError: for a setting outside its range, naming it.

    >>> PolicyConfig(kl=-1)
    Traceback (most recent call last):
        ...
    ValueError: PolicyConfig: kl=-1 must be a number of at least 0
    """

    group_size: Annotated[int, Range(least=2)] = 16
    max_new_tokens: Count = 159
    temperature: Positive = 1.0
    advantage: Literal["none", "leave_one_out", "group"] = "group"
    updates: Count = 1
    clip: Positive | None = 0.2
    kl: NotNegative = 0.0
    mean_over: Literal["completions", "tokens"] = "completions"
    patience: Count = 5

    def __post_init__(self):
        check_fields(self)
