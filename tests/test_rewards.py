"""Rewards: one finite number for each completion, what the house's rewards see, and a control that teaches nothing."""

import math
from types import SimpleNamespace

import pytest
import torch

from gptlab.corpora import fables
from gptlab.rewards import (
    REWARDS,
    Completion,
    Product,
    Reward,
    Shuffled,
    cheerful_words,
    coherent,
    granted,
    happy_end,
    name_of,
    rewards_of,
)

STORIES = fables.tell(12, seed=3)
COMPLETIONS = [Completion(story.text) for story in STORIES]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([1.0, math.nan], r"the reward broken gives nan for completion 1, 'two'"),
        ([math.inf, 1.0], r"gives inf for completion 0, 'one'"),
        ([1.0], r"gives 1 numbers for 2 completions"),
        ([1.0, 2.0, 3.0], r"gives 3 numbers for 2 completions"),
        ([[1.0], [2.0]], r"gives a shape of \[2, 1\] for 2"),
        (1.0, r"gives a shape of \[\] for 2"),
        (["good", "bad"], r"gives \['good', 'bad'\]: give one finite number"),
        (None, r"gives None: give one"),
    ],
)
def test_a_reward_that_is_not_one_finite_number_for_each_is_refused_by_name(given, words):
    def broken(completions):
        return given

    with pytest.raises(ValueError, match=words):
        rewards_of(broken, [Completion("one"), Completion("two")])


def test_rewards_may_come_as_a_tensor_or_as_whole_numbers():
    two = [Completion("one"), Completion("two")]
    assert rewards_of(lambda completions: torch.tensor([1, 2]), two).tolist() == [1.0, 2.0]
    assert rewards_of(lambda completions: (True, False), two).tolist() == [1.0, 0.0]


def test_every_story_of_the_grammar_is_coherent_and_its_end_follows_from_its_finder():
    assert coherent(COMPLETIONS) == [1.0] * 12
    assert happy_end(COMPLETIONS) == [float(story.facts["finder.kind"] == "virtue") for story in STORIES]


def test_a_contradiction_a_missing_end_and_a_cut_text_are_not_coherent():
    text, weather = STORIES[0].text, STORIES[0].facts["finder.name"]
    assert coherent([Completion(text.replace(f"said {weather}", "said Zed"))]) == [0.0]
    assert coherent([Completion(text[:-30])]) == [0.0]
    assert coherent([Completion(text, ended=False)]) == [0.0]


def test_a_happy_end_needs_a_whole_story_but_not_a_coherent_one():
    happy = next(story.text for story in STORIES if story.facts["finder.kind"] == "virtue")
    sad = next(story.text for story in STORIES if story.facts["finder.kind"] == "vice")
    start, rest = happy.split(" danced, and the ")
    wrong = sad.split(" found it, and the ")[0] + " danced, and the " + rest  # a vice, and they cheer all the same
    assert happy_end([Completion(happy), Completion(sad)]) == [1.0, 0.0]
    assert happy_end([Completion("They danced, and the village cheered for Ada.")]) == [0.0]
    assert coherent([Completion(wrong)]) == [0.0]
    assert start


def test_the_careless_reward_likes_a_heap_of_words_better_than_any_story():
    best = max(cheerful_words(COMPLETIONS))
    assert cheerful_words([Completion("danced danced cheered smile " * 3)])[0] == 12 > best


def test_a_request_is_granted_by_its_own_judge_and_one_without_a_judge_is_refused():
    request = SimpleNamespace(judge=lambda text: SimpleNamespace(granted=text == "yes"))
    asked = [Completion("yes", task=request), Completion("no", task=request), Completion("yes", False, task=request)]
    assert granted(asked) == [1.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="granted needs prompts that are requests"):
        granted([Completion("yes")])


def test_a_product_wants_everything():
    both = Product(happy_end, coherent)
    expected = [a * b for a, b in zip(happy_end(COMPLETIONS), coherent(COMPLETIONS), strict=True)]
    assert both(COMPLETIONS) == expected and name_of(both) == "Product(happy_end, coherent)"


def test_shuffled_rewards_are_the_same_numbers_elsewhere_and_the_same_again_for_the_same_texts():
    shuffled, plain = Shuffled(happy_end), happy_end(COMPLETIONS)
    assert sorted(shuffled(COMPLETIONS)) == sorted(plain) and shuffled(COMPLETIONS) != plain
    assert shuffled(COMPLETIONS) == shuffled(COMPLETIONS) != Shuffled(happy_end, seed=1)(COMPLETIONS)


def test_every_named_reward_keeps_the_protocol():
    assert all(isinstance(reward, Reward) for reward in REWARDS.values())
