"""The page's reader of fables finds what the course's reader finds in any text: facts, places and words."""

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest

import gptlab
from gptlab.corpora import fables
from gptlab.page.fables_data import fable_rules

SOURCE = Path(gptlab.__file__).parent / "page" / "javascript" / "fables.js"
PROGRAM = """
import { readFileSync } from "node:fs";
const { rules, texts } = JSON.parse(readFileSync(0, "utf-8"));
process.stdout.write(JSON.stringify(texts.map((text) => readFable(text, rules))));
"""
ODD = (
    "",
    " ",
    "\n \n",
    "Once",
    "Once,",
    "Once, in a",
    "🦊 Once, in a dark forest",
    "Long ago, in a dark castle",
    "\x1f\x85",
)


def page_reads(texts):
    """What the page's reader says of each text."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node, which runs JavaScript, is not installed")
    program = SOURCE.read_text(encoding="utf-8") + PROGRAM
    data = json.dumps({"rules": fable_rules(), "texts": texts})
    done = subprocess.run(
        [node, "--input-type=module", "--eval", program], input=data, capture_output=True, encoding="utf-8", timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def form_error(place):
    """The page's finding in the words of the course's reader."""
    if place is None:
        return None
    at, expected, found = place["start"], place["expected"], place["found"]
    if expected is None:
        return f"at character {at}: the fable has ended, but the text goes on with {found!r}"
    here = "the text ends" if found is None else f"the text says {found!r}"
    return f"at character {at}: a fable goes on with {expected!r}, but {here}"


def damaged(story, draw):
    """A story with one flaw: a word of another story, a letter, a cut, a repetition, a character of another script."""
    words = story.split(" ")
    at = draw.randrange(len(words))
    kind = draw.randrange(6)
    if kind == 0:
        words[at] = draw.choice(fables.tell(1, draw.randrange(1000))[0].text.split(" "))
    elif kind == 1:
        words[at] = words[at][:-1] + draw.choice("aeßé🦊２")
    elif kind == 2:
        return story[: draw.randrange(len(story))]
    elif kind == 3:
        words[at:at] = [words[at]]
    elif kind == 4:
        other = draw.randrange(len(words))
        words[at], words[other] = words[other], words[at]
    else:
        return story + draw.choice([" And", "\n", " \n\n", "🦊", " " + story])
    return " ".join(words)


def mixed(draw):
    """A story whose every fact may be contradicted: the sentences of several stories in turn."""
    stories = [fable.text.split(". ") for fable in fables.tell(3, draw.randrange(10**6))]
    return ". ".join(draw.choice(sentences) for sentences in zip(*stories, strict=False))


def assert_same(texts):
    for text, page in zip(texts, page_reads(texts), strict=True):
        course = fables.read(text)
        assert page["facts"] == course.facts, text
        found = [(mark["fact"], mark["text"], mark["start"], mark["end"], mark["recalled"]) for mark in page["marks"]]
        assert found == [(m.fact, m.text, m.start, m.end, m.recalled) for m in course.marks], text
        wrong = [(c["fact"], c["start"], c["expected"], c["found"]) for c in page["contradictions"]]
        assert wrong == [tuple(contradiction) for contradiction in course.contradictions], text
        assert form_error(page["formError"]) == course.form_error, text


def test_stories_without_a_flaw_are_read_alike():
    stories = [fable.text for fable in fables.tell(200, seed=5)]
    assert_same(stories)
    assert all(page["formError"] is None and not page["contradictions"] for page in page_reads(stories[:20]))


def test_damaged_stories_are_read_alike():
    draw = random.Random(0)
    texts = [damaged(fable.text, draw) for fable in fables.tell(400, seed=6)]
    texts += [mixed(draw) for _ in range(300)]
    assert_same([*texts, *ODD])
    readings = [fables.read(text) for text in texts]
    assert sum(bool(reading.contradictions) for reading in readings) > 100  # the flaws are of both kinds
    assert sum(reading.form_error is not None for reading in readings) > 100


def test_what_a_model_writes_is_read_alike():
    import torch

    from gptlab import checkpoints, sampling

    torch.set_num_threads(1)
    folder = Path(gptlab.__file__).parents[1] / "data" / "models" / "fables"
    model, tokenizer = checkpoints.load_model(folder)
    texts = sampling.tell_stories(model, tokenizer, 60, tokenizer.end, seed=1, temperature=1.3)
    assert_same(texts)
    assert any(fables.read(text).error for text in texts)


def test_the_choices_of_a_story_are_those_of_its_grammar():
    story = fables.tell(1, seed=3)[0]
    page = page_reads([story.text])[0]
    choices = [mark for mark in page["marks"] if not mark["recalled"]]
    assert [mark["fact"] for mark in choices] == [mark.fact for mark in story.choices]
    friend = next(mark for mark in choices if mark["fact"] == "friend.animal")
    assert story.facts["hero.animal"] not in friend["values"] and story.facts["friend.animal"] in friend["texts"]
