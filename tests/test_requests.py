"""Requests about fables: each has an answer that grants it, and a judge that is not easily pleased."""

import itertools

import pytest

from gptlab.corpora import fables, grammar, requests

SOME = [*requests.make(150, seed=0), *requests.make(150, seed=0, held_out=True)]


def test_every_answer_grants_its_request_and_no_other_kind_of_answer_does():
    for request, other in itertools.pairwise(SOME):
        assert request.judge(request.answer).granted, request
        assert not request.judge("").granted
        assert not request.judge(request.answer[: len(request.answer) // 2]).granted
        if request.answer != other.answer and request.kind not in ("ending", "moral"):
            assert not request.judge(other.answer).granted, (request, other)


def test_a_judge_says_which_part_was_not_granted():
    request = next(request for request in SOME if request.kind == "about")
    facts = fables.read(request.answer).facts
    other = next(word for word in grammar.TRAITS if word not in (facts["hero.trait"], facts["friend.trait"]))
    parts = request.judge(request.answer.replace(f"the {facts['hero.trait']} ", f"the {other} ", 1)).parts
    wanted = f"a {facts['hero.trait']} {facts['hero.animal']}"
    assert parts == {"a fable without a contradiction": False, wanted: False, f"a {facts['thing']}": True}


@pytest.mark.parametrize("quality", ["animal", "trait", "name"])
def test_two_of_one_kind_or_character_or_name_are_a_contradiction(quality):
    draw = iter([0.3] * 20).__next__
    story = fables.tell_with({"finder": "hero", "hero.trait": "kind"}, draw)
    judge = next(r for r in requests.make(9, seed=0, kinds=["ending"]) if "happy" in r.text).judge
    hero, friend = (story.facts[f"{role}.{quality}"] for role in ("hero", "friend"))
    assert judge(story.text).granted and not judge(story.text.replace(f" {friend}", f" {hero}")).granted


def test_who_is_to_find_the_thing_must_find_it():
    asked = requests.make(60, seed=3, kinds=["about"])
    one, other = (next(r for r in asked if word in r.text) for word in ("who found", "A fable"))
    for request, right in ((one, False), (other, True)):
        facts = fables.read(request.answer).facts
        wanted = {f"friend.{name}": facts[f"finder.{name}"] for name in ("trait", "animal")}
        rest = {"hero.trait": "clever", "hero.animal": "duck", "finder": "hero", "thing": facts["thing"]}
        assert "duck" not in wanted.values() and "clever" not in wanted.values()
        story = fables.tell_with(wanted | rest, iter([0.3] * 20).__next__)
        assert request.judge(story.text).granted == right


def test_no_training_request_has_a_phrasing_or_a_combination_that_is_held_out():
    train = {request.text for request in requests.make(2000, seed=1)}
    asked = requests.make(300, seed=1, held_out=True)
    assert all("Please tell me" in request.text for request in asked)
    assert not any("Please tell me of" in text or "Please tell me wh" in text for text in train)
    assert not any("Please tell me a story" in text or "Please tell me how" in text for text in train)
    for request in requests.make(400, seed=2, kinds=["about"]):
        facts = fables.read(request.answer).facts
        assert not requests.is_held_out(facts["finder.trait"], facts["finder.animal"])
    for request in requests.make(100, seed=2, held_out=True, kinds=["about"]):
        facts = fables.read(request.answer).facts
        assert requests.is_held_out(facts["finder.trait"], facts["finder.animal"])


def test_a_question_is_about_a_story_that_the_user_or_the_assistant_told():
    asked = [request for request in SOME if request.kind == "who"]
    follow_up = [request for request in asked if request.before]
    assert 0.3 < len(follow_up) / len(asked) < 0.7
    for request in asked:
        story = request.before[-1]["content"] if request.before else request.text
        name, _, _, thing = request.answer.rstrip(".").split()
        assert f"{name} found a" in story and f" {thing} by the" in story
        assert [turn["role"] for turn in request.conversation] == ["user", "assistant"] * (1 + bool(request.before))


def test_the_same_seed_gives_the_same_requests_and_a_longer_list_begins_with_a_shorter():
    texts = [request.conversation for request in requests.make(9, seed=4)]
    assert texts[:5] == [request.conversation for request in requests.make(5, seed=4)]
    assert texts != [request.conversation for request in requests.make(9, seed=5)]


@pytest.mark.parametrize(
    ("options", "words"),
    [({"n": -1}, "-1 requests"), ({"n": 1, "kinds": ["poem"]}, "'poem'.*about"), ({"n": 1, "kinds": []}, "no kind")],
)
def test_what_cannot_be_made_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        requests.make(seed=0, **options)


def test_a_story_with_given_facts_has_them_and_draws_the_others():
    draw = iter([0.3] * 20).__next__
    story = fables.tell_with({"hero.animal": "crab", "thing": "key", "finder": "friend"}, draw)
    facts = fables.read(story.text).facts
    assert (facts["hero.animal"], facts["thing"], facts["finder"]) == ("crab", "key", "friend")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"hero.colour": "red"}, "'hero.colour' is never drawn.*hero.trait"),
        ({"hero.animal": "dragon"}, "hero.animal cannot be 'dragon'.*fox"),
        ({"hero.animal": "fox", "friend.animal": "fox"}, "friend.animal cannot be 'fox'"),
    ],
)
def test_facts_that_no_story_has_are_refused(facts, words):
    with pytest.raises(ValueError, match=words):
        fables.tell_with(facts, lambda: 0.5)
