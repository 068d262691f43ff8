"""Training: schedule, optimisers, the loop, exact resume, and the distance to the floor."""

import itertools
import math

import pytest
import torch
from torch import nn

from gptlab import checkpoints
from gptlab.batches import Batches, StoryBatches
from gptlab.corpora import fables
from gptlab.embedding import BigramLanguageModel
from gptlab.model import GPT, GPTConfig
from gptlab.tokens import CharTokenizer
from gptlab.training import (
    History,
    Muon,
    NonFiniteLoss,
    StoryEvaluation,
    TrainConfig,
    make_optimizers,
    mean_loss,
    orthogonalize,
    rate_factor,
    run,
    train,
)

IDS = torch.randint(0, 30, (400,), generator=torch.Generator().manual_seed(0)).tolist()


def small_model(**changes) -> GPT:
    torch.manual_seed(1)
    return GPT(GPTConfig.modern(30, 16, n_layer=2, n_head=2, n_embd=12, **changes))


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_rate_rises_in_the_warmup_stays_and_falls_to_the_end():
    config = TrainConfig(steps=200, warmup=20, decay=0.5)
    factors = [rate_factor(step, config) for step in range(200)]
    assert factors[0] == pytest.approx(1 / 20) and max(factors) == 1.0
    assert all(a <= b for a, b in itertools.pairwise(factors[:21]))
    assert factors[20:100] == [1.0] * 80
    assert all(a > b for a, b in itertools.pairwise(factors[100:]))
    assert factors[-1] == pytest.approx(0.01)


def test_the_cosine_ends_at_the_final_part_of_the_rate():
    config = TrainConfig(steps=1000, warmup=0, decay=1.0, shape="cosine", final=0.1)
    assert rate_factor(500, config) == pytest.approx(0.55, abs=0.01)
    assert rate_factor(999, config) == pytest.approx(0.1, abs=0.001)


def test_muon_gets_the_matrices_inside_the_blocks_and_nothing_else():
    model = small_model()
    adamw, muon = make_optimizers(model, TrainConfig(optimizer="muon"))
    names = {id(p): name for name, p in model.named_parameters()}
    matrices = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    others = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert matrices | others == set(names.values()) and not matrices & others
    assert "blocks.0.mlp.widen.weight" in matrices and "blocks.1.attention.query.weight" in matrices
    assert {"embedding.token.weight", "blocks.0.convolution.weight", "blocks.0.norm1.weight"} <= others


def test_our_muon_is_the_librarys_up_to_its_bfloat16():
    shapes = [(8, 8), (8, 8), (8, 32), (32, 8), (12, 5)]
    draw = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=draw) for shape in shapes]
    ours, theirs = ([nn.Parameter(p.clone()) for p in start] for _ in range(2))
    optimizers = Muon(ours, lr=0.1, weight_decay=0.2), torch.optim.Muon(theirs, lr=0.1, weight_decay=0.2)
    for _ in range(4):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=draw)
            b.grad = a.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for a, b, before in zip(ours, theirs, start, strict=True):
        assert (a - b).norm() < 0.03 * (b - before).norm()


def test_orthogonalised_matrices_keep_their_directions_and_lose_their_sizes():
    matrices = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    sizes = torch.linalg.svdvals(orthogonalize(matrices))
    assert sizes.min() > 0.5 and sizes.max() < 1.3
    u, _, v = torch.linalg.svd(matrices[0], full_matrices=False)
    turned = u.T @ orthogonalize(matrices)[0] @ v.T
    assert (turned - torch.diag(turned.diag())).abs().max() < 1e-4


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_model_learns_a_text_that_repeats(optimizer):
    model = small_model()
    batches = Batches([1, 2, 3, 4, 5] * 60, B=8, T=16)
    history = train(
        model, batches, TrainConfig(steps=80, optimizer=optimizer, learning_rate=0.02, warmup=5), progress=False
    )
    assert history.losses[0] == pytest.approx(math.log(30), abs=0.3)
    assert history.losses[-1] < 0.1


def test_the_first_loss_is_that_of_a_model_that_knows_nothing():
    assert mean_loss(small_model(), Batches(IDS, B=4, T=16, order="ordered")) == pytest.approx(math.log(30), abs=0.1)


def test_mean_loss_counts_each_pair_once_whatever_the_batch_size():
    model = small_model()
    losses = [mean_loss(model, Batches(IDS, B=B, T=7, order="ordered")) for B in (1, 3, 10)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5) == pytest.approx(losses[2], abs=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tmp_path, optimizer):
    config = TrainConfig(steps=12, optimizer=optimizer, warmup=2, save_every=5)
    batches = Batches(IDS, B=3, T=16, seed=4)
    whole = small_model(dropout=0.2)
    torch.manual_seed(7)
    expected = train(whole, batches, config, progress=False)
    stopped = small_model(dropout=0.2)
    torch.manual_seed(7)
    for history in run(stopped, batches, config, folder=tmp_path):
        if history.steps == 7:
            break  # killed between two checkpoints: the one after step 5 is the newest
    torch.manual_seed(99)
    fresh = small_model(dropout=0.2)
    resumed = train(fresh, batches, config, folder=tmp_path, resume=True, progress=False)
    assert resumed.losses == expected.losses
    assert torch.equal(weights(fresh), weights(whole))


def test_resuming_where_nothing_was_saved_starts_from_the_beginning(tmp_path):
    history = train(small_model(), Batches(IDS, B=2, T=8), TrainConfig(steps=3), folder=tmp_path / "new", resume=True)
    assert history.steps == 3


def test_a_loss_that_is_not_a_number_stops_the_run_with_its_circumstances():
    model = small_model()
    with torch.no_grad():
        model.blocks[0].mlp.widen.weight[0, 0] = math.nan
    before = weights(model)
    with pytest.raises(NonFiniteLoss, match=r"nan at step 0 \(learning rate .*, gradient norm .*float32\).*smaller"):
        train(model, Batches(IDS, B=2, T=8), TrainConfig(steps=3), progress=False)
    assert torch.equal(weights(model).nan_to_num(), before.nan_to_num())


def test_long_gradients_are_cut_and_their_length_is_written_down():
    model = small_model()
    history = train(model, Batches(IDS, B=2, T=8), TrainConfig(steps=2, clip=1e-6, optimizer="adamw"), progress=False)
    assert all(norm > 1e-3 for norm in history.gradient_norms)


def test_where_no_bar_can_be_drawn_a_few_lines_tell_how_it_goes(capsys):
    batches = Batches(IDS, B=2, T=8)
    plan = TrainConfig(steps=16, evaluate_every=4)
    train(small_model(), batches, plan, evaluate=lambda model: {"excess": 1.25})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8 and lines[0].startswith("step     2  loss 3.")
    assert lines[1].endswith("nats a token  excess 1.250")
    train(small_model(), batches, plan, progress=False)
    assert capsys.readouterr().out == ""


def test_a_history_survives_json():
    history = train(small_model(), Batches(IDS, B=2, T=8), TrainConfig(steps=3), evaluate=lambda m: {"x": 1.5})
    again = History.from_json(history.to_json())
    assert again == history and again.curve("x") == ([3], [1.5])


@pytest.mark.parametrize("changes", [{"optimizer": "sgd"}, {"shape": "square"}, {"steps": 0}, {"decay": 2.0}])
def test_an_impossible_configuration_is_refused_by_name(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        TrainConfig(**changes)


class Oracle(nn.Module):
    """A model that gives the exact probabilities of the fables, character by character."""

    def __init__(self, stories, tokenizer, end, leak=0.0):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))
        self.tables = {}
        for story in stories:
            ids = [*tokenizer.encode(story.text), end]
            nats = torch.full((len(ids),), leak)
            for choice in story.choices:
                nats[choice.start] += choice.nats
            self.tables[tuple([end, *ids[:-1]])] = (ids, nats)
        self.V = max(max(ids) for ids, _ in self.tables.values()) + 1

    def forward(self, ids, targets=None):
        logits = torch.zeros(*ids.shape, self.V)
        for b, row in enumerate(ids.tolist()):
            key = next(key for key in self.tables if tuple(row[: len(key)]) == key)
            for t, (target, nats) in enumerate(zip(*self.tables[key], strict=True)):
                p = math.exp(-float(nats))
                logits[b, t] = math.log((1 - p) / (self.V - 1) + 1e-30)
                logits[b, t, target] = math.log(p)
        return logits, None


@pytest.fixture(scope="module")
def judged():
    stories = fables.tell(6, seed=5)
    tokenizer = CharTokenizer.from_text("".join(story.text for story in stories) + "\n")
    return stories, tokenizer, tokenizer.encode("\n")[0]


def test_a_model_that_knows_the_grammar_stands_on_the_floor(judged):
    stories, tokenizer, end = judged
    numbers = StoryEvaluation(stories, tokenizer, end)(Oracle(stories, tokenizer, end))
    assert numbers["floor"] == pytest.approx(sum(story.nats for story in stories) / 6)
    assert numbers["excess"] == pytest.approx(0.0, abs=1e-3)
    assert max(abs(numbers[kind]) for kind in ("free", "recalled", "form")) < 1e-3


def test_the_excess_is_split_by_what_the_words_are(judged):
    stories, tokenizer, end = judged
    evaluation = StoryEvaluation(stories, tokenizer, end)
    numbers = evaluation(Oracle(stories, tokenizer, end, leak=0.01))  # 0.01 nats too much at every character
    recalled = sum(len(m.text) for story in stories for m in story.marks if m.recalled) / 6
    free = sum(len(m.text) for story in stories for m in story.choices) / 6
    assert numbers["recalled"] == pytest.approx(0.01 * recalled, rel=0.05)
    assert numbers["free"] == pytest.approx(0.01 * free, rel=0.05)
    assert numbers["excess"] == pytest.approx(numbers["free"] + numbers["recalled"] + numbers["form"], abs=1e-6)
    assert numbers["loss"] == pytest.approx(numbers["floor"] + numbers["excess"])


def test_story_losses_do_not_depend_on_the_padding(judged):
    stories, tokenizer, end = judged
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, 600, n_layer=1, n_head=2, n_embd=12))
    together = StoryEvaluation(stories, tokenizer, end).token_losses(model)
    alone = StoryEvaluation(stories[:1], tokenizer, end).token_losses(model)[0]
    assert together[0] == pytest.approx(alone, abs=1e-4)


def test_checkpoints_of_a_run_are_rotated(tmp_path):
    train(BigramLanguageModel(V=30), Batches(IDS, B=2, T=8), TrainConfig(steps=9, save_every=2), folder=tmp_path)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000008", "step-00000009"]
    assert checkpoints.latest(tmp_path).name == "step-00000009"


def test_story_batches_show_each_story_once_an_epoch():
    documents = [[i, 29] for i in range(10)]
    batches = StoryBatches(documents, B=3, start=29, seed=2)
    for epoch in range(2):
        seen = [int(row[1]) for step in range(4) for row in batches.batch(epoch * 4 + step).ids]
        assert sorted(seen) == list(range(10))
