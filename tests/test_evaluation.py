"""Evaluation: every token counts once, and the model is left in the mode it was in."""

import math

import pytest
import torch

from gptlab.batches import IGNORE, Batch, Batches, StoryBatches
from gptlab.corpora import fables
from gptlab.embedding import BigramLanguageModel
from gptlab.evaluation import StoryEvaluation, mean_loss
from gptlab.model import GPT, GPTConfig
from gptlab.tokens import CharTokenizer
from gptlab.training import TrainConfig, train

DOCUMENTS = [[1, 2, 3, 4], [5], [2, 2], [4, 3, 2, 1, 0]]


def bigram(V: int = 6) -> BigramLanguageModel:
    model = BigramLanguageModel(V)
    torch.nn.init.normal_(model.table.weight, generator=torch.Generator().manual_seed(0))
    return model


def by_hand(model: BigramLanguageModel, documents: list[list[int]], start: int) -> float:
    surprise = -model.table.weight.detach().log_softmax(-1)
    pairs = [pair for row in documents for pair in zip([start, *row], row, strict=False)]
    return sum(float(surprise[a, b]) for a, b in pairs) / len(pairs)


@pytest.mark.parametrize("B", [1, 2, 3, 4])
def test_the_mean_loss_counts_every_token_once_however_it_is_batched(B):
    batches = StoryBatches(DOCUMENTS, B=B, start=0, shuffle=False)
    assert mean_loss(bigram(), batches) == pytest.approx(by_hand(bigram(), DOCUMENTS, start=0), rel=1e-5)


def test_the_first_steps_and_any_iterable_can_be_measured():
    model, batches = bigram(), StoryBatches(DOCUMENTS, B=1, start=0, shuffle=False)
    assert mean_loss(model, batches, steps=2) == pytest.approx(by_hand(model, DOCUMENTS[:2], start=0), rel=1e-5)
    pairs = [tuple(batches.batch(step)) for step in range(4)]
    assert mean_loss(model, pairs) == pytest.approx(mean_loss(model, batches))
    assert mean_loss(model, torch.utils.data.DataLoader(pairs, batch_size=None)) == pytest.approx(
        mean_loss(model, pairs)
    )


def test_a_batch_in_which_nothing_counts_changes_nothing():
    silent = Batch(torch.zeros(2, 3, dtype=torch.long), torch.full((2, 3), IGNORE))
    pairs = list(StoryBatches(DOCUMENTS, B=2, start=0, shuffle=False))
    assert mean_loss(bigram(), [silent, *pairs, silent]) == pytest.approx(mean_loss(bigram(), pairs))
    for batches, steps in (([silent, silent], None), (pairs, 0), ([], None)):
        with pytest.raises(ValueError, match=r"no target in \d batches counts.*not all IGNORE"):
            mean_loss(bigram(), batches, steps)


class Failing(torch.nn.Module):
    def __init__(self, inside):
        super().__init__()
        self.inside, self.calls = inside, 0

    def forward(self, ids, targets=None):
        self.calls += 1
        if self.calls > 1:
            raise RuntimeError("out of memory")
        return self.inside(ids, targets)


def test_an_evaluation_that_fails_leaves_every_module_in_its_mode():
    inside = GPT(GPTConfig(vocab_size=6, context=8, n_layer=2, n_head=2, n_embd=12, dropout=0.5))
    inside.blocks[0].eval()
    stories = fables.tell(70, seed=3)
    tokenizer = CharTokenizer.from_text("".join(story.text for story in stories) + "|")
    teller = GPT(GPTConfig(tokenizer.vocab_size, context=3000, n_layer=1, n_head=1, n_embd=2))
    story_loss = StoryEvaluation(stories, tokenizer, tokenizer.encode("|")[0])
    for model, evaluate in (
        (Failing(inside), lambda model: mean_loss(model, StoryBatches(DOCUMENTS, B=1, start=0))),
        (Failing(teller), story_loss),
    ):
        before = [module.training for module in model.modules()]
        with pytest.raises(RuntimeError, match="out of memory"):
            evaluate(model)
        assert model.calls == 2 and [module.training for module in model.modules()] == before and any(before)


def test_dropout_is_off_while_a_model_is_measured():
    model = GPT(GPTConfig(vocab_size=6, context=8, n_layer=1, n_head=2, n_embd=12, dropout=0.9)).train()
    batches = Batches([1, 2, 3, 4, 5] * 9, B=2, T=7, order="ordered")
    assert mean_loss(model, batches) == mean_loss(model, batches) == mean_loss(model.eval(), batches)


def test_dropout_is_off_while_stories_are_measured_and_on_again_after():
    stories = fables.tell(3, seed=3)
    tokenizer = CharTokenizer.from_text("".join(story.text for story in stories) + "|")
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, context=1000, n_layer=1, n_head=1, n_embd=4, dropout=0.9)).train()
    measure = StoryEvaluation(stories, tokenizer, tokenizer.encode("|")[0])
    assert measure(model) == measure(model) and model.training
    assert measure(model.eval()) == measure(model) and not model.training


class Uniform(torch.nn.Module):
    """Every character is equally likely."""

    def __init__(self, V):
        super().__init__()
        self.V = V

    def forward(self, ids, targets=None):
        return torch.zeros(*ids.shape, self.V), None


def test_the_excess_of_a_model_that_knows_nothing_is_what_all_its_tokens_cost_less_the_entropy():
    stories = fables.tell(5, seed=3)
    tokenizer = CharTokenizer.from_text("".join(story.text for story in stories) + "|")
    numbers = StoryEvaluation(stories, tokenizer, tokenizer.encode("|")[0])(Uniform(tokenizer.vocab_size))
    tokens = sum(len(story.text) + 1 for story in stories) / 5
    floor = sum(story.nats for story in stories) / 5
    assert numbers["floor"] == pytest.approx(floor)
    assert numbers["loss"] == pytest.approx(tokens * math.log(tokenizer.vocab_size), rel=1e-5)
    assert numbers["excess"] == pytest.approx(numbers["loss"] - floor)
    assert numbers["free"] + numbers["recalled"] + numbers["form"] == pytest.approx(numbers["excess"])


def test_training_goes_on_in_training_mode_after_an_evaluation_that_leaves_the_other():
    modes = []

    class Noted(BigramLanguageModel):
        def forward(self, ids, targets=None):
            modes.append(self.training)
            return super().forward(ids, targets)

    def evaluate(model):
        model.eval()
        return {"x": 0.0}

    model = Noted(5)
    train(
        model, Batches([1, 2, 3, 4] * 9, B=2, T=3), TrainConfig(steps=4, evaluate_every=1), evaluate=evaluate,
        progress=False,
    )  # fmt: skip
    assert modes == [True] * 4
