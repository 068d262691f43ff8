"""What a recipe with a reward reads: rollouts of the model itself, and how they are judged."""

from collections.abc import Callable
from dataclasses import replace

from gptlab.chat_template import MARKS, ChatTemplate
from gptlab.corpora import requests
from gptlab.model import GPT
from gptlab.policy import PolicyConfig
from gptlab.reinforcement import PolicyObjective, Prompt, Rollouts, judge, rollouts_for
from gptlab.rewards import REWARDS, coherent
from gptlab.runs.recipes import Recipe
from gptlab.tokenizing import Tokenizer

STORIES = ("about", "moral", "ending")  # the kinds of requests that are answered with a story
EVALUATED = 128  # completions


def build(
    recipe: Recipe, model: GPT, tokenizer: Tokenizer, judged: int | None = None
) -> tuple[Rollouts, Callable[[GPT], dict[str, float]], PolicyObjective, str]:
    """The batches, the evaluation and the objective of a recipe with a reward, and what the run does in words.

    Args:
        recipe: with a reward.
        model: on its device.
        tokenizer: of the model.
        judged: completions in an evaluation; `EVALUATED` unless given.

    Raises:
        ValueError: requests are to be granted by a model that was not fine-tuned on conversations.
    """
    judged = EVALUATED if judged is None else judged
    reward, policy = REWARDS[recipe.reward], recipe.policy or PolicyConfig()
    prompts, unseen, end = [Prompt([tokenizer.end])], None, tokenizer.end
    if recipe.reward == "granted":
        template = _template(recipe, tokenizer)
        asked = requests.make(
            recipe.training.steps * recipe.batch_size // policy.group_size, 2000 + recipe.seed, kinds=STORIES
        )
        held_out = requests.make(judged, seed=1, held_out=True, kinds=STORIES)
        prompts, unseen = ([Prompt(template.encode(one.prompt).ids, one) for one in many] for many in (asked, held_out))
        end = template.end
    longest = max(len(prompt.ids) for prompt in [*prompts, *(unseen or [])])
    policy = replace(policy, max_new_tokens=max(1, min(policy.max_new_tokens, model.config.context - longest + 1)))
    rollouts = rollouts_for(
        model, tokenizer, reward, policy, prompts=prompts, B=recipe.batch_size, end=end, seed=recipe.seed
    )
    rewards = {"reward": reward} | ({} if recipe.reward == "granted" else {"coherent": coherent})

    def evaluate(model: GPT) -> dict[str, float]:
        found = judge(
            model, tokenizer, rewards, judged, prompts=unseen or prompts, max_new_tokens=policy.max_new_tokens,
            end=end, seed=1_000_000,
        )  # fmt: skip
        return {"unrewarded": 1 - found["reward"], **found}  # first what a good run makes small

    about = (
        f"the model {recipe.base!r} writes {recipe.batch_size} completions a round, and {recipe.reward} is rewarded; "
        f"{policy.updates} updates from each"
    )
    return rollouts, evaluate, PolicyObjective(policy), about


def _template(recipe: Recipe, tokenizer: Tokenizer) -> ChatTemplate:
    if not set(MARKS) <= set(tokenizer.special_tokens):
        raise ValueError(
            f"--reward granted: the model {recipe.base!r} knows no conversations: make one that does with "
            "`gptlab train finetune`, and name its folder with --base"
        )
    return ChatTemplate(tokenizer)
