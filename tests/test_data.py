"""The committed model is what data/README.md says of it."""

from pathlib import Path

import pytest
import torch

from gptlab import checkpoints, sampling
from gptlab.corpora import fables
from gptlab.evaluation import StoryEvaluation

FOLDER = Path(__file__).parents[1] / "data" / "models" / "fables"


@pytest.fixture(scope="module")
def teller():
    model, tokenizer = checkpoints.committed("fables")
    return model, tokenizer, tokenizer.special_tokens["<|endoftext|>"]


def test_it_is_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 4_000_000


def test_it_is_at_most_four_tenths_of_a_nat_a_story_above_perfect(teller):
    model, tokenizer, end = teller
    numbers = StoryEvaluation(fables.tell(150, seed=123), tokenizer, end)(model)
    assert 0.0 < numbers["excess"] < 0.4


def test_seven_of_ten_of_its_stories_are_flawless_and_almost_all_are_right_in_form(teller):
    model, tokenizer, end = teller
    readings = [fables.read(text) for text in sampling.tell_stories(model, tokenizer, 100, end, seed=11)]
    assert sum(reading.form_error is None for reading in readings) >= 95
    assert sum(reading.error is None for reading in readings) >= 70


def test_it_recalls_what_is_told_at_the_beginning_until_the_end(teller):
    model, tokenizer, end = teller
    story = fables.tell(1, seed=8)[0]
    last_home = [mark for mark in story.marks if mark.fact == "home" and mark.recalled][-1]
    prompt = [end, *tokenizer.encode(story.text[: last_home.start - 1])]
    chances = sampling.probabilities(model(torch.tensor([prompt]))[0][0, -1])
    assert tokenizer.decode([int(chances.argmax())]).strip() == story.facts["home"]
    assert chances.max() > 0.95
