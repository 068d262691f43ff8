"""Pictures of tensors and attention show the numbers given; tables and maps can be read without seeing them."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

import gptlab
from gptlab import NOTEBOOKS, pictures
from gptlab.pictures.style import tidy

SENTENCE = ["Ada", " the", " fox", " was", " proud", ","]


def weights(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).softmax(-1)


def test_the_heat_map_is_the_weights():
    w = weights(3, 4, 6)
    figure = pictures.attention(w, list("abcd"), SENTENCE)
    for head, axes in zip(w, figure.axes, strict=False):
        assert np.allclose(axes.images[0].get_array(), head)
    assert "query" in figure.get_supylabel() and "key" in figure.get_supxlabel()
    alone = pictures.attention(w[0], list("abcd"), SENTENCE)
    assert [t.get_text() for t in alone.axes[0].get_xticklabels()] == ["Ada", "␣the", "␣fox", "␣was", "␣proud", ","]
    assert [t.get_text() for t in alone.axes[0].get_yticklabels()] == list("abcd")
    assert "query" in alone.axes[0].get_ylabel() and "key" in alone.axes[0].get_xlabel()


def test_attention_takes_any_dtype_and_gradients():
    w = weights(2, 6, 6)
    want = pictures.attention(w.bfloat16().float(), SENTENCE).png()
    assert pictures.attention(w.bfloat16().requires_grad_(), SENTENCE).png() == want


@pytest.mark.parametrize("draw", [pictures.attention, pictures.attention_table])
def test_wrong_shapes_are_refused_with_the_two_numbers(draw):
    with pytest.raises(ValueError, match=r"5 tokens for 6 columns of weights \(Tk\)"):
        draw(weights(4, 6), list("abcd"), list("abcde"))
    with pytest.raises(ValueError, match=r"\[2, 3, 4, 6\].*weights\[0\]"):
        draw(weights(2, 3, 4, 6), list("abcd"), SENTENCE)
    with pytest.raises(ValueError, match="at most 60"):
        draw(weights(70, 70), ["x"] * 70)


def test_the_table_of_attention_holds_each_weight():
    w = weights(3, 6)
    shown = pictures.attention_table(w, ["a", "b", "c"], SENTENCE)
    for q, row in zip("abc", w, strict=True):
        for key, value in zip(SENTENCE, row, strict=True):
            assert f'title="{q} → {key.replace(" ", "␣")}: {value:.3f}"' in shown.html
    assert repr(shown).splitlines()[0].startswith("a: ")


def test_arcs_go_from_the_row_that_asks():
    w = torch.eye(6) * 0.5
    w[4, 1] = 0.5
    figure = pictures.arcs(w, SENTENCE, row=4)
    assert len(figure.axes[0].patches) == 1 and "␣proud to ␣the 0.50" in pictures.describe(figure)
    with pytest.raises(ValueError, match="row 6 of 6"):
        pictures.arcs(w, SENTENCE, row=6)
    with pytest.raises(ValueError, match="one head"):
        pictures.arcs(weights(2, 6, 6), SENTENCE)


def test_a_mask_is_filled_where_it_keeps():
    keep = torch.ones(4, 6).tril().bool()
    axes = pictures.mask(keep).axes[0]
    assert ((axes.images[0].get_array() > 0) == keep.numpy()).all() and len(axes.lines) == int((~keep).sum())
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("query (position)", "key (position)")
    assert len(axes.get_xticks()) == 6 and len(axes.get_yticks()) == 4
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {0.0}  # positions are short, words are not
    turned = pictures.mask(keep, list("abcd"), [f"word {i}" for i in range(6)]).axes[0]
    assert {label.get_rotation() for label in turned.get_xticklabels()} == {90.0}
    with pytest.raises(ValueError, match=r"keep_mask\[0\]"):
        pictures.mask(keep[None])


def test_rows_are_the_table_with_white_at_zero():
    table = torch.tensor([[0.5, -2.0, 0.0], [1.0, 0.25, 0.0]], requires_grad=True)
    figure = pictures.rows(table, [" fox", " hen"])
    image = figure.axes[0].images[0]
    assert np.allclose(image.get_array(), table.detach()) and image.get_clim() == (-2.0, 2.0)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["␣fox", "␣hen"]
    assert "2 rows by 3 columns, values from −2 to 1. ␣fox: 0.5 −2 0; ␣hen: 1 0.25 0." in pictures.describe(figure)
    large = pictures.describe(pictures.rows(torch.zeros(2, 50), [" fox", " hen"], title="Two animals"))
    assert large.startswith("Two animals. Heat map") and large.endswith("Rows: ␣fox, ␣hen.")
    assert pictures.rows(torch.zeros(80, 4), y="position", most=3).axes[0].images[0].get_clim() == (-3, 3)
    assert pictures.rows(torch.zeros(2, 4)).axes[0].images[0].get_clim() == (-1, 1)


def test_rows_refuses_what_is_no_table():
    with pytest.raises(ValueError, match=r"\[2, 3, 4\].*x\[0\]"):
        pictures.rows(torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match=r"3 tokens for 2 rows \(n\)"):
        pictures.rows(torch.zeros(2, 4), list("abc"))
    with pytest.raises(ValueError, match="at most 60"):
        pictures.rows(torch.zeros(70, 4), ["x"] * 70)


def test_shapes_say_letters_and_real_sizes():
    figure = pictures.shapes(("x", "B T C", (2, 7, 4)), "→", ("logits", "B T V", torch.zeros(2, 7, 5000)))
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {"B = 2", "T = 7", "C = 4", "V = 5,000", "→"} <= texts
    assert pictures.describe(figure) == (
        "Tensors drawn as blocks: x [B = 2, T = 7, C = 4] → logits [B = 2, T = 7, V = 5,000]."
    )
    with pytest.raises(ValueError, match=r"2 letters \(B T\) for the sizes \[2, 7, 4\]"):
        pictures.shapes(("x", "B T", (2, 7, 4)))
    with pytest.raises(ValueError, match="no block"):
        pictures.shapes("→")


@pytest.mark.parametrize(
    "sizes", [(2, 7, 4), (2, 3, 7, 4), (8, 256, 768), (1, 1, 1), (3,), (), (5, 20), (4, 5, 6, 7, 8)]
)
def test_nothing_in_a_block_is_written_over_something_else(sizes):
    letters = ["B", "H", "L", "T", "C"][-len(sizes) :] if sizes else []
    figure = pictures.shapes(("x", " ".join(letters), sizes), "→", ("y", " ".join(letters), sizes))
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [t for t in figure.axes[0].texts if t.get_text() not in "⋯⋮"]
    boxes = [t.get_window_extent(renderer) for t in texts]
    for i, a in enumerate(boxes):
        for j, b in enumerate(boxes[:i]):
            overlap = min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
            assert not overlap, (texts[i].get_text(), texts[j].get_text())


def test_the_map_keeps_distances_of_what_lies_in_a_plane():
    flat = torch.randn(9, 2, generator=torch.Generator().manual_seed(1)).double()
    frame = torch.linalg.qr(torch.randn(7, 7, generator=torch.Generator().manual_seed(2)).double())[0][:2]
    figure = pictures.embedding_map(flat @ frame + 3.0, [str(i) for i in range(9)])
    drawn = figure.axes[0].collections[0].get_offsets().data
    assert np.allclose(np.linalg.norm(drawn[:, None] - drawn, axis=-1), torch.cdist(flat, flat), atol=1e-6)
    assert "100 % of the variance" in pictures.describe(figure)
    plain = pictures.embedding_map(flat, [str(i) for i in range(9)], measure="differences")
    assert "of the differences" in plain.axes[0].get_xlabel() and "of the differences" in pictures.describe(plain)
    assert len(figure.axes[0].texts) == 9


@pytest.mark.parametrize("spread", [0.35, 0.2])
@pytest.mark.parametrize("seed", [0, 1])
def test_labels_of_crowded_points_cover_neither_each_other_nor_a_point(seed, spread):
    centres = torch.tensor([[-1.0, 1.2], [3.0, 0.0], [-1.0, -1.5]]).repeat_interleave(19, 0)
    points = centres + spread * torch.randn(57, 2, generator=torch.Generator().manual_seed(seed))
    words = ["fox", "harbour", "Ada", "stubborn", "oak"]
    labels = [f"{words[i % 5]}{i}" for i in range(57)]
    figure = pictures.embedding_map(points, labels, [f"group {i // 19}" for i in range(57)])
    renderer, axes = FigureCanvasAgg(figure).get_renderer(), figure.axes[0]
    boxes = [text.get_window_extent(renderer) for text in axes.texts]
    assert [text.get_text() for text in axes.texts] == labels
    for i, a in enumerate(boxes):
        assert axes.bbox.x0 < a.x0 and a.x1 < axes.bbox.x1 and axes.bbox.y0 < a.y0 and a.y1 < axes.bbox.y1
        for j, b in enumerate(boxes[:i]):
            overlap = min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 2
            assert not overlap, (labels[i], labels[j])
        for x, y in axes.transData.transform(np.vstack([c.get_offsets().data for c in axes.collections])):
            assert not (a.x0 < x < a.x1 and a.y0 < y < a.y1), labels[i]


def test_a_label_that_stands_apart_is_joined_to_its_point():
    crowd = 0.004 * torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
    far = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    figure = pictures.embedding_map(torch.cat([crowd, far]), [f"word{i}" for i in range(14)])
    joined = [line.get_xydata() for line in figure.axes[0].lines if len(line.get_xydata()) == 2]
    points = figure.axes[0].collections[0].get_offsets().data
    begins = [line[0] for line in joined if np.abs(points - line[0]).sum(-1).min() < 1e-6]
    assert len(begins) >= 5


# ---- Maps and tables -------------------------------------------------------------------------------------------------


def test_the_map_of_the_course_links_what_can_be_opened():
    shown = pictures.course_map("06_attention", ready=["tokens", "attention", "llama"])
    for s in NOTEBOOKS:
        assert (f'href="{s.file}.ipynb"' in shown.html) == (s.topic in ("tokens", "llama"))
        assert f"{s.number:02d} {s.title}" in repr(shown)
    assert shown.html.count("you are here") == 1 and repr(shown).count("▶") == 1
    with pytest.raises(ValueError, match="from 0 to 18"):
        pictures.course_map(19)


def test_the_map_shows_the_figures_that_it_is_given():
    shown = pictures.course_map("cluster", figures={"attention": "3 of <8>", "unknown": "never shown"})
    assert shown.html.count("3 of &lt;8&gt;") == 1 and "never shown" not in shown.html
    assert "each position decides where to look (3 of <8>)" in repr(shown) and repr(shown).count("(3 of") == 1


def test_the_map_links_the_notebooks_that_are_written():
    folder = Path(gptlab.__file__).parents[1] / "notebooks"
    links = set(re.findall(r'href="([^"]+)"', pictures.course_map().html))
    assert links == {path.name for path in folder.glob("[!.]*.ipynb")}


@pytest.mark.parametrize("here", [found.topic for found in NOTEBOOKS[1:]])
def test_every_notebook_has_its_place_in_the_pipeline(here):
    assert "**" in repr(pictures.pipeline(here)) and pictures.pipeline(here).html.count("#F9C86B") >= 1


def test_no_place_is_marked_where_none_is_given():
    assert "**" not in repr(pictures.pipeline()) and "▶" not in repr(pictures.course_map())


def test_a_table_is_tidy_and_aligned():
    shown = pictures.table(
        [{"model": "bigram", "nats": torch.tensor(2.10049), "ok": True}, {"model": "attention", "nats": 1}]
    )
    assert repr(shown).splitlines() == [
        "model      nats  ok",
        "---------  ----  ---",
        "bigram      2.1  yes",
        "attention     1  –",
    ]
    assert "text-align:right" in shown.html
    assert repr(pictures.table([(2.1, "x"), (1.31, None), (7, "y")])).split() == ["2.10", "x", "1.31", "–", "7", "y"]
    with pytest.raises(ValueError, match="row 1 has 1 cells"):
        pictures.table([(1, 2), (3,)])
    with pytest.raises(ValueError, match="align='lr'"):
        pictures.table([(1, 2, 3)], align="lr")


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0, "0"), (-0.0, "0"), (1e-9, "1.00e−09"), (123456.7, "123,457"), (-1.25, "−1.25"), (float("nan"), "nan"),
     (float("-inf"), "−∞"), (np.float32(0.5), "0.5"), (np.int64(7), "7"), (True, "yes"), (99.96, "100")],
)  # fmt: skip
def test_numbers_are_tidy(number, text):
    assert tidy(number) == text
