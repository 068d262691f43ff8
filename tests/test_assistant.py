"""The committed assistant does what it is asked, in small; `bench finetuning` measures it at length."""

from pathlib import Path

import pytest
import torch

from gptlab import checkpoints, finetuning
from gptlab.chat_template import ChatTemplate, PlainText
from gptlab.corpora import fables, requests
from gptlab.evaluation import StoryEvaluation

FOLDER = Path(__file__).parents[1] / "data" / "models" / "assistant"


@pytest.fixture(scope="module")
def assistant():
    model, tokenizer = checkpoints.committed("assistant")
    return model, ChatTemplate(tokenizer)


def share(model, template, asked):
    generator = torch.Generator().manual_seed(0)
    return finetuning.granted(model, template, asked, temperature=0.5, generator=generator)["all"]


def test_it_is_small_and_says_how_it_was_made():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 4_000_000
    assert (FOLDER / "notes.json").is_file()


def test_it_grants_requests_that_are_like_nothing_it_was_trained_on_and_the_base_model_grants_none(assistant):
    asked = requests.make(40, seed=31, held_out=True)
    base, tokenizer = checkpoints.committed("fables")
    assert share(base, PlainText(tokenizer), asked[:10]) < 0.05
    assert share(*assistant, asked) >= 0.75  # four of five standard deviations below what it reaches


def test_it_has_forgotten_little_of_the_fables(assistant):
    base, tokenizer = checkpoints.committed("fables")
    known = StoryEvaluation(fables.tell(48, seed=1), tokenizer, tokenizer.end)
    assert known(assistant[0])["loss"] < 1.05 * known(base)["loss"]
