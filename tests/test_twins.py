"""What the notebooks' texts say agrees with what is declared."""

import pytest

from gptlab.classroom import twins
from gptlab.exercises import every, registry

SHOWN_BY_FIND = {  # their texts need not say it: the card of `find` stands in the notebook
    topic for topic in twins.written() if any("find(" in cell.source for cell in twins.cells(topic))
}


@pytest.mark.parametrize("topic", twins.written())
def test_a_notebook_says_kind_and_minutes_as_they_are_declared(topic):
    said = twins.marked(topic)
    for exercise in registry.exercises(topic):
        kind, minutes = said.pop(exercise.id, ("", None))
        assert kind == exercise.kind or (not kind and topic in SHOWN_BY_FIND), exercise.id
        assert minutes == exercise.minutes or (minutes is None and topic in SHOWN_BY_FIND), exercise.id
    assert not said, "the text marks exercises that do not exist"


def test_every_exercise_of_a_notebook_is_set_in_it():
    for exercise in every():
        if exercise.topic in twins.written() and exercise.topic != "cluster":
            assert any(f'check("{exercise.id}"' in cell.source for cell in twins.cells(exercise.topic)), exercise.id


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**Exercise `bpe.1` · warm-up · 2 minutes.** Do.", ("warm-up", 2)),
        ("**bpe.1** · *core* · 10 minutes, and **bpe.2** · *warm-up* · 5 minutes", ("core", 10)),
        ("**`bpe.1` The title of it** · *stretch* · 15 minutes", ("stretch", 15)),
        ("**Exercise bpe.1** (*core*, 25 minutes, and the central function)", ("core", 25)),
        ("Three more, all *stretch*.\n\n**Exercise bpe.1** (20 minutes).", ("stretch", 20)),
        ("### Your turn: merge *(core, 10 minutes)*", ("core", 10)),
        ("You have met pairs (1, *stretch*) and more.", ("stretch", None)),
        ("**Exercise bpe.1** (20 minutes).", ("", 20)),
    ],
)
def test_the_ways_to_mark_an_exercise_are_understood(monkeypatch, text, expected):
    made = [twins.Cell("markdown", text, ()), twins.Cell("code", 'check("bpe.1", pairs)', ())]
    monkeypatch.setattr(twins, "cells", lambda topic: tuple(made))
    assert twins.marked("bpe")["bpe.1"] == expected


def test_the_twins_are_read_as_jupytext_reads_them():
    jupytext = pytest.importorskip("jupytext")
    for topic in ("start_here", "attention"):
        theirs = jupytext.read(twins.path(topic)).cells
        ours = twins.cells(topic)
        assert [cell.cell_type for cell in theirs] == [cell.kind for cell in ours]
        assert [cell.source for cell in theirs] == [cell.source for cell in ours]
        assert [tuple(cell.metadata.get("tags", ())) for cell in theirs] == [cell.tags for cell in ours]
