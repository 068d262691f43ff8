"""Four ways to look back at equal size: only attention knows what was said beyond the window."""

from dataclasses import replace

import pytest
import torch

from gptlab.batches import StoryBatches
from gptlab.corpora import fables
from gptlab.lab.comparison import KINDS, RATES, REACH, FarAndNear, StoryWords, distances, last, make, what
from gptlab.masking import assert_causal
from gptlab.tokens import Tokenizer
from gptlab.training import train

WORDS = StoryWords()
STEPS, B = 160, 16


@pytest.fixture(scope="module")
def telling():
    stories = fables.tell(STEPS * B, seed=1000)
    documents = [[*WORDS.encode(story.text), WORDS.end] for story in stories]
    return StoryBatches(documents, B, start=WORDS.end, shuffle=False)


@pytest.fixture(scope="module")
def judge():
    return FarAndNear(fables.tell(48, seed=1), WORDS, WORDS.end)


def costs(kind, seed, telling, judge):
    """The numbers of an evaluation after a short training: nats a story."""
    torch.manual_seed(seed)
    model = make(kind, WORDS.vocab_size)
    history = train(model, telling, replace(RATES, steps=STEPS, evaluate_every=0), evaluate=judge, progress=False)
    return history.evaluations[-1]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_of_facts_beyond_the_window_only_attention_knows(seed, telling, judge):
    cost = {kind: costs(kind, seed, telling, judge) for kind in ("bigram", "window", "convolution", "attention")}
    far = {kind: c["far"] for kind, c in cost.items()}
    near = {kind: c["near"] for kind, c in cost.items()}
    assert min(far["bigram"], far["window"], far["convolution"]) > 25
    assert far["attention"] < 0.5 * min(far["window"], far["convolution"])
    assert max(near["window"], near["convolution"]) < 0.6 * near["bigram"] and near["attention"] < 2
    assert cost["attention"]["excess"] < 0.5 * min(cost["window"]["excess"], cost["convolution"]["excess"])
    assert all(c["excess"] > 0 for c in cost.values())  # nobody is better than the floor


def test_they_have_equally_many_parameters():
    sizes = [sum(p.numel() for p in make(kind, WORDS.vocab_size).parameters()) for kind in KINDS]
    assert max(sizes) < 1.03 * min(sizes)


@pytest.mark.parametrize("kind", KINDS)
def test_none_of_them_sees_the_future(kind):
    torch.manual_seed(0)
    model = make(kind, V=50)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    assert_causal(model, torch.randint(50, (2, 20)), vocab_size=50)


@pytest.mark.parametrize(
    ("kind", "reach"), [("bigram", 1), ("window", REACH), ("convolution", REACH), ("attention", 29)]
)
def test_each_sees_as_far_back_as_it_says(kind, reach):
    torch.manual_seed(0)
    model, ids = make(kind, V=50), torch.randint(50, (1, 30))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    for back in range(1, 30):
        changed = ids.clone()
        changed[0, 30 - back] = (changed[0, 30 - back] + 1) % 50
        moved = (model(changed)[0][0, -1] - model(ids)[0][0, -1]).abs().max() > 1e-6
        assert bool(moved) == (back <= reach), back


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"unknown kind 'lstm'.*'attention'"):
        make("lstm", V=5)


def test_last_lays_neighbours_side_by_side():
    x = torch.randn(2, 5, 3)
    side = last(x, 4)
    for t in range(5):
        for back in range(4):
            expected = x[:, t - back] if t >= back else torch.zeros(2, 3)
            assert torch.equal(side[:, t, 3 * (3 - back) : 3 * (4 - back)], expected)


# ── The words, and how far back they reach ───────────────────────────────────────────────────────────────────────────


def test_stories_of_any_telling_are_words_and_come_back():
    assert isinstance(WORDS, Tokenizer)
    for story in fables.tell(200, seed=77):
        ids = WORDS.encode(story.text)
        assert WORDS.decode(ids) == story.text == b"".join(map(WORDS.token_bytes, ids)).decode()


def test_a_word_of_no_fable_is_refused():
    with pytest.raises(ValueError, match="' quantum'"):
        WORDS.encode("Once, in a quantum forest")


@pytest.mark.parametrize(
    ("fact", "finder", "same"),
    [
        ("finder", "hero", "hero.name"),
        ("finder.trait", "friend", "friend.trait"),
        ("other.name", "hero", "friend.name"),
        ("other.animal", "friend", "hero.animal"),
        ("finder.kind", "hero", "hero.kind"),
        ("thing.use", "hero", "thing"),
        ("home", "hero", "home"),
    ],
)
def test_forms_of_a_fact_have_one_name(fact, finder, same):
    assert what(fact, {"finder": finder}) == same


def test_a_recalled_word_stood_where_the_distance_says():
    """Names and animals are recalled as the same word; so the word that many tokens back must be that word."""
    seen = 0
    for story in fables.tell(50, seed=3):
        ids = WORDS.encode(story.text)
        for number, (fact, back) in distances(story, WORDS).items():
            if fact.partition(".")[2] in ("name", "animal") or fact == "spot":
                assert WORDS.decode([ids[number]]).strip() == WORDS.decode([ids[number - back]]).strip()
                assert ids[number] not in ids[number - back + 1 : number]
                seen += 1
    assert seen > 300


def test_far_and_near_are_all_that_is_recalled(judge):
    found = judge(make("bigram", WORDS.vocab_size))
    assert found["far"] + found["near"] == pytest.approx(found["recalled"]) and min(found["far"], found["near"]) > 0
