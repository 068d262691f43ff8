"""The text twins of the notebooks, as the classroom reads them."""

import pytest

from gptlab.classroom import twins


def test_the_twins_are_read_as_jupytext_reads_them():
    jupytext = pytest.importorskip("jupytext")
    for topic in ("start_here", "attention"):
        theirs = jupytext.read(twins.path(topic)).cells
        ours = twins.cells(topic)
        assert [cell.cell_type for cell in theirs] == [cell.kind for cell in ours]
        assert [cell.source for cell in theirs] == [cell.source for cell in ours]
        assert [tuple(cell.metadata.get("tags", ())) for cell in theirs] == [cell.tags for cell in ours]
