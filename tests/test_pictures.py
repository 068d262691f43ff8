"""The pictures show what they were given, say it in words as well, and are the same each time."""

import base64
import itertools
import re
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest
import sentencepiece
import tiktoken
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlab import pictures
from gptlab.bpe import BPETokenizer, train_textbook
from gptlab.corpora import fables
from gptlab.html import escape
from gptlab.merging import merge_by_rank
from gptlab.pictures.bits import marker_length
from gptlab.pictures.style import drawable, visible
from gptlab.schedule import lr_multiplier
from gptlab.tokens import ByteTokenizer, CharTokenizer
from gptlab.training import History, TrainConfig

STORY = fables.tell(1, seed=0)[0]
NASTY = '<b>bold</b> & "quoted" <script>x</script> https://example.org\n\t狐🦊 $5$ | 100 %'
SENTENCE = ["Ada", " the", " fox", " was", " proud", ","]


@pytest.fixture(scope="module")
def bpe():
    return BPETokenizer.train(STORY.text * 3, 300, special_tokens=["<|end|>"])


@pytest.fixture(scope="module")
def sentence_piece(tmp_path_factory):
    path = tmp_path_factory.mktemp("sp") / "m"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([STORY.text] * 20), model_prefix=str(path), vocab_size=320, byte_fallback=True,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_file=f"{path}.model")


def history(steps=40, shift=0.0):
    h = History(seconds=8.0)
    h.losses = [3.0 * 0.9**i + 0.5 + shift for i in range(steps)]
    h.rates, h.gradient_norms = [0.01] * steps, [1.0] * steps
    for step, recalled in ((10, 4.0), (20, 3.9), (30, 0.4), (40, 0.1)):
        parts = {"free": 0.3, "recalled": recalled, "form": 10 / step}
        total = sum(parts.values())
        h.evaluations.append(
            {"step": step, "seconds": step / 5, "loss": 27 + total, "floor": 27.0, "excess": total, **parts}
        )
    return h


def weights(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).softmax(-1)


def every_html(bpe):
    tokenizers = (bpe, CharTokenizer.from_text(NASTY), ByteTokenizer())
    return {
        "tokens": pictures.tokens(NASTY, *tokenizers, names=["<i>", "http://x", "bytes"]),
        "surprise": pictures.surprise(NASTY, np.ones(len(NASTY))),
        "marked": pictures.surprise(STORY.text, np.arange(len(STORY.text)), STORY.marks),
        "merges": pictures.merges(pictures.merge_states(NASTY, train_textbook([NASTY], 4))),
        "attention_table": pictures.attention_table(
            weights(2, 3, 4), ["<b>", "http://", '"'], list("abcd"), ["<i>", "h"]
        ),
        "course_map": pictures.course_map("attention", ready=["start_here", "training"]),
        "pipeline": pictures.pipeline("training"),
        "utf8_bits": pictures.utf8_bits('<"ü€🦊'),
        "table": pictures.table([("<b>", 1.5), ("http://x", None)], ["<u>", "nats"], caption="<script>"),
    }


def every_figure(bpe):
    mask = torch.ones(6, 6).tril().bool()
    return {
        "training": pictures.training(history(), floor=0.5),
        "several": pictures.training({"a": history(), "b": history(shift=1)}, {"x": 0.5}, x="seconds", log=True),
        "evaluated": pictures.training(history(), what=["excess", "recalled"], unit="nats per story"),
        "excess": pictures.excess(history()),
        "excess_log": pictures.excess(history(), log=True, x="seconds"),
        "rate": pictures.rate(TrainConfig(steps=50)),
        "by_fact": pictures.by_fact({("recalled", "hero.name"): 0.5, ("free", "place"): -0.01, ("form", ""): 0.2}, k=2),
        "compare": pictures.compare({"a": 2.0, "b$x$": [1.0, 1.2, 1.1]}, "nats per token", floor=0.9, title="狐"),
        "next_token": pictures.next_token(weights(bpe.vocab_size), bpe, actual=5),
        "surprise_figure": pictures.surprise_figure(NASTY, np.ones(len(NASTY))),
        "lattice": pictures.lattice("the hen", {"t": -3, "he": -2, "the": -1, " ": 0, "n": 0}, ["the", " ", "he", "n"]),
        "merge_tree": pictures.merge_tree(" naïve $", bpe.ranks),
        "shapes": pictures.shapes(("x", "B T C", (2, 7, 400)), "@", torch.zeros(3, 2, 5, 4), "=", ("n", "T", (3,))),
        "attention": pictures.attention(weights(6, 6), SENTENCE, keep_mask=mask),
        "heads": pictures.attention(weights(5, 4, 6), ["狐", "$x$", "\n", ""], SENTENCE),
        "mask": pictures.mask({"causal": mask, "all": torch.ones(2, 5).bool()}),
        "arcs": pictures.arcs(weights(6, 6), SENTENCE, row=-1),
        "embedding_map": pictures.embedding_map(weights(6, 5), SENTENCE, ["a", "b"] * 3),
    }  # fmt: skip


@pytest.fixture(scope="module")
def html(bpe):
    return every_html(bpe)


@pytest.fixture(scope="module")
def figures(bpe):
    return every_figure(bpe)


@pytest.fixture(scope="module")
def files(figures):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a notebook would keep them, on stderr
        return {name: figure.png() for name, figure in figures.items()}


class Reader(HTMLParser):
    """What a browser would make of it: the tags, the text and the tooltips."""

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.text, self.attributes = [], set(), "", []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


# ---- All HTML --------------------------------------------------------------------------------------------------------


def test_html_needs_nothing_that_an_untrusted_notebook_drops(html):
    allowed = {
        "div",
        "span",
        "table",
        "thead",
        "tbody",
        "tr",
        "td",
        "th",
        "caption",
        "details",
        "summary",
        "b",
        "br",
        "small",
        "a",
    }
    for name, shown in html.items():
        reader = Reader(shown._repr_html_())
        assert not reader.open, f"{name}: {reader.open} are never closed"
        assert reader.tags <= allowed, f"{name}: {reader.tags - allowed}"
        assert {key for key, _ in reader.attributes} <= {"style", "title", "href", "colspan", "open"}, name
        for forbidden in ("http", "<script", "<style", "<svg", " id=", "onclick", "<b>bold"):
            assert forbidden not in shown._repr_html_(), f"{name} holds {forbidden}"


@given(st.text())
def test_escaped_text_is_read_as_the_same_text(text):
    reader = Reader(f'<span title="{escape(text)}">{escape(text)}</span>')
    # HTML itself turns NUL and lone surrogates into something else
    same = text if "\0" not in text and "\r" not in text else None
    assert reader.tags == {"span"} and (same is None or reader.text == same or not same.isprintable())


def test_html_and_figures_are_the_same_each_time(bpe, html, figures, files):
    for name, shown in every_html(bpe).items():
        assert (shown.html, repr(shown)) == (html[name].html, repr(html[name])), name
    for name, figure in every_figure(bpe).items():
        assert figure.png() == files[name], name
    assert figures["training"].png() == files["training"]


# ---- All figures -----------------------------------------------------------------------------------------------------


def test_a_figure_shows_itself_once_with_its_alternative_text(figures, files):
    import matplotlib.pyplot as plt

    for name, figure in figures.items():
        assert repr(figure).startswith("<Figure size "), name
        assert len(pictures.describe(figure)) > 30 and "nan" not in pictures.describe(figure), name
        assert len(files[name]) < 60_000 and figure.get_size_inches()[0] <= 9.0, name
    data, metadata = figures["training"]._repr_mimebundle_()
    png, alt = base64.b64encode(files["training"]).decode(), pictures.describe(figures["training"])
    assert set(data) == {"image/png", "text/html", "text/plain"} and data["text/plain"] == repr(figures["training"])
    assert data["image/png"] == png and metadata == {"image/png": {"alt": alt}}
    shown = dict(re.findall(r' (src|alt)="([^"]*)"', data["text/html"]))
    assert shown == {"src": f"data:image/png;base64,{png}", "alt": escape(alt)}
    assert plt.get_fignums() == []  # nothing for the notebook to draw a second time


def test_axes_say_what_they_measure(figures):
    for name in ("training", "several", "evaluated", "excess", "excess_log", "rate", "embedding_map"):
        axes = figures[name].axes[0]
        assert axes.get_xlabel() and axes.get_ylabel(), name
    for name in ("by_fact", "compare", "next_token", "lattice"):
        assert figures[name].axes[0].get_xlabel(), name
    assert "nats per token" in figures["training"].axes[0].get_ylabel()
    assert "nats per story" in figures["excess"].axes[0].get_ylabel()
    assert (figures["training"].axes[0].get_xlabel(), figures["rate"].axes[0].get_xlabel()) == ("step", "step")
    assert figures["rate"].axes[0].get_ylabel() == "learning rate"
    assert "seconds" in figures["several"].axes[0].get_xlabel()
    assert "%" in figures["next_token"].axes[0].get_xlabel()


def test_no_text_of_a_figure_is_too_small(figures, files):
    for name, figure in figures.items():
        for text in figure.findobj(lambda artist: hasattr(artist, "get_fontsize")):
            assert text.get_fontsize() >= 10 or not text.get_text(), f"{name}: {text.get_text()!r}"


# ---- Tokens ----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("ab <&\"'$|.é狐🦊"), max_size=40))
def test_the_text_can_be_read_back_from_the_chips(text):
    plain = repr(pictures.tokens(text, CharTokenizer.from_text(text + "x")))
    body = re.fullmatch(r"(.*)  \(\d+ tokens?\)", plain, re.DOTALL)[1]
    assert re.sub(r"(?<!\\)\|", "", body).replace("\\|", "|") == text
    reader = Reader(pictures.tokens(text, CharTokenizer.from_text(text + "x"), ids=False, names=[""]).html)
    assert reader.text.split("each" if text else "tokens")[1].replace("␣", " ") == text


def test_every_kind_of_tokenizer_is_understood(bpe, sentence_piece):
    ours = tiktoken.Encoding("ours", pat_str=bpe.pattern, mergeable_ranks=bpe.ranks, special_tokens={})
    plain = repr(pictures.tokens("the fox", bpe, ours, sentence_piece, ByteTokenizer()))
    rows = dict(line.split(": ", 1) for line in plain.splitlines())
    assert rows["BPE, V = 300"] == rows["ours, V = 299"]
    assert next(row for name, row in rows.items() if name.startswith("SentencePiece")).startswith("▁")
    assert rows["bytes, V = 256"] == "t|h|e| |f|o|x  (7 tokens)"
    with pytest.raises(TypeError, match="int is not a tokenizer"):
        pictures.tokens("the fox", 3)
    with pytest.raises(ValueError, match="at least one"):
        pictures.tokens("the fox")


def test_a_tooltip_says_id_bytes_and_rank(bpe):
    token = bpe.encode("the")[0]
    shown = pictures.tokens("the", bpe).html
    data = bpe.token_bytes(token)
    assert f'title="id {token} · {len(data)} byte' in shown and data.hex(" ").upper() in shown
    assert f"rank {bpe.ranks[data]}" in shown


def test_a_part_of_a_character_shows_its_bytes_and_says_of_which():
    shown = pictures.tokens("é狐", ByteTokenizer())
    assert repr(shown) == "<C3>|<A9>|<E7>|<8B>|<90>  (5 tokens)"
    assert shown.html.count("a part of the character é") == 2 and shown.html.count("a part of the character 狐") == 3
    assert "dashed" in shown.html and "dashed" not in pictures.tokens("<b>", ByteTokenizer()).html


def test_neighbouring_chips_have_different_colours():
    grounds = re.findall(r"background-color:(#\w+)", pictures.tokens("abcdefgh", ByteTokenizer()).html)
    assert len(set(grounds)) >= 4 and all(a != b for a, b in itertools.pairwise(grounds))


def test_a_long_text_is_cut_and_counted():
    shown = pictures.tokens("x" * 1000, ByteTokenizer(), limit=10)
    assert repr(shown).endswith("… 990 more  (1,000 tokens)") and len(shown.html) < 5000


def test_surprise_shades_by_nats_and_names_the_marks():
    tokens = re.findall(r"\S+|\s", STORY.text)
    nats = [0.0] * len(tokens)
    nats[2] = 4.0
    html = pictures.surprise(tokens, nats, STORY.marks).html
    assert "background-color:#ffffff" in html and "4.00 nats, p = 0.018" in html
    assert any(f"recalled: {mark.fact}" in html for mark in STORY.marks if mark.recalled)
    assert any(f"free choice: {mark.fact}" in html for mark in STORY.choices)
    with pytest.raises(ValueError, match=r"2 tokens, but 3 surprises"):
        pictures.surprise(["a", "b"], [1, 2, 3])


@given(st.binary(max_size=8))
def test_any_bytes_can_be_shown(data):
    assert "\ufffd" not in visible(data) or b"\xef\xbf\xbd" in data
    assert drawable(data).isprintable()


def test_merges_show_each_state_and_what_was_joined():
    lines = repr(pictures.merges(pictures.merge_states("aaabdaaabac", train_textbook(["aaabdaaabac"], 3)))).splitlines()
    assert lines[0] == "0: a|a|a|b|d|a|a|a|b|a|c  (11 tokens)"
    assert lines[1] == "1: a + a → aa: aa|a|b|d|aa|a|b|a|c  (9 tokens)"
    assert len(lines) == 4


def test_the_bits_of_a_character_are_its_markers_and_its_code_point():
    shown = pictures.utf8_bits("Aü€🦊")
    for character, line in zip("Aü€🦊", repr(shown).splitlines(), strict=True):
        bits, _, number = line.partition("=")
        assert int(number.replace(",", "")) == ord(character)
        halves = bits.split()[1:-1]
        assert bytes(int(half.replace("·", ""), 2) for half in halves) == character.encode()
        assert int(bits.split()[-1], 2) == ord(character)
        assert [half.partition("·")[0] for half in halves[1:]] == ["10"] * (len(halves) - 1)
    assert shown.html.count("text-decoration:underline") == 1 + 2 + 3 + 4 + 1  # a marker a byte, and the legend
    for text in ("", "a" * 17):
        with pytest.raises(ValueError, match=f"{len(text)} characters .*: give 1 to 16"):
            pictures.utf8_bits(text)
    with pytest.raises(ValueError, match="byte 255 never occurs"):
        marker_length(255)


def test_the_lattice_counts_the_ways_and_refuses_a_path_that_is_none():
    pieces = {"a": -1.0, "b": -2.0, "ab": -2.5, "abb": -4.0}
    figure = pictures.lattice("abb", pieces, ["ab", "b"])
    assert "dark: the best" in figure.axes[0].get_title(loc="left")
    assert "3 ways" in pictures.describe(figure) and "−4.5" in figure.axes[0].get_title(loc="left")
    with pytest.raises(ValueError, match="must cover the text"):
        pictures.lattice("abb", pieces, ["ab"])
    with pytest.raises(ValueError, match="the best path says 'b'"):
        pictures.lattice("abb", pieces, ["b", "ab"])


def test_the_merge_tree_ends_in_the_tokens_of_the_encoding(bpe):
    for text in ("the", " the hen", "狐", "a"):
        tokens = " | ".join(drawable(token) for token in merge_by_rank(text.encode(), bpe.ranks))
        assert pictures.describe(pictures.merge_tree(text, bpe.ranks)).endswith(f"Tokens: {tokens}.")
    lower_rank_first = pictures.merge_tree("abc", {b"a": 0, b"b": 1, b"c": 2, b"ab": 9, b"bc": 3})
    assert "b + c (rank 3). Tokens: a | bc." in pictures.describe(lower_rank_first)
    with pytest.raises(ValueError, match="41 bytes"):
        pictures.merge_tree("a" * 41, bpe.ranks)


# ---- Curves and bars -------------------------------------------------------------------------------------------------


def test_curves_are_the_history_and_the_floor_is_where_it_is():
    h = history()
    axes = pictures.training(h, floor=0.4321, smooth=1).axes[0]
    curve, floor = axes.lines[0], axes.lines[1]
    assert list(curve.get_ydata()) == h.losses and list(curve.get_xdata()) == list(range(1, 41))
    assert set(floor.get_ydata()) == {0.4321} and any("0.4321" in text.get_text() for text in axes.texts)
    assert axes.get_ylim()[0] < 0.4321


def test_smoothing_keeps_the_mean_and_the_raw_values_beside_it():
    h = history()
    h.losses = [1.0, 3.0] * 50
    raw, smooth = pictures.training(h, smooth=10).axes[0].lines[:2]
    assert list(raw.get_ydata()) == h.losses and abs(smooth.get_ydata()[10:-10] - 2.0).max() < 0.1


def test_seconds_come_from_the_evaluations_and_the_end():
    axes = pictures.training(history(), what="excess", x="seconds").axes[0]
    assert list(axes.lines[0].get_xdata()) == [2.0, 4.0, 6.0, 8.0]
    assert pictures.training(history(), x="seconds", smooth=1).axes[0].lines[0].get_xdata()[-1] == 8.0


def test_a_history_from_its_json_draws_the_same():
    import json

    h = history()
    assert pictures.training(json.loads(h.to_json())).png() == pictures.training(h).png()


def test_what_was_never_measured_is_refused_with_what_was():
    with pytest.raises(ValueError, match=r"no 'validation': choose one of \['excess', 'floor', 'form'"):
        pictures.training(history(), what="validation")
    with pytest.raises(ValueError, match="StoryEvaluation"):
        pictures.excess(History(losses=[1.0]))


def test_the_excess_is_its_parts_and_the_fall_is_found():
    h = history()
    figure = pictures.excess(h)
    assert list(figure.axes[0].lines[0].get_ydata()) == [e["excess"] for e in h.evaluations]
    top = [max(y for _, y in layer.get_paths()[0].vertices) for layer in figure.axes[0].collections[:3]]
    assert top == sorted(top) and np.isclose(top[-1], max(e["excess"] for e in h.evaluations))
    assert "falls fastest between 20 and 30 steps" in pictures.describe(figure)


def test_the_rate_is_the_one_that_training_uses():
    config = TrainConfig(steps=60, warmup=10, decay_fraction=0.5)
    drawn = pictures.rate(config).axes[0].lines[0].get_ydata()
    assert list(drawn) == [config.learning_rate * lr_multiplier(step, config) for step in range(60)]


def test_facts_are_sorted_and_none_is_lost():
    facts = {("recalled", f"fact{i}"): float(i) for i in range(8)} | {("form", ""): 20.0}
    axes = pictures.by_fact(facts, k=4).axes[0]
    widths = [bar.get_width() for bar in axes.patches]
    assert widths[:4] == [20.0, 7.0, 6.0, 5.0] and np.isclose(sum(widths), sum(facts.values()))


def test_compare_draws_means_ranges_and_the_floor():
    axes = pictures.compare({"a": [1.0, 3.0], "b": 1.5}, "nats per token", floor=0.75).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [2.0, 1.5]
    assert list(axes.lines[0].get_xdata()) == [1.0, 3.0] and set(axes.lines[1].get_xdata()) == {0.75}
    assert axes.patches[1].get_facecolor() != axes.patches[0].get_facecolor()  # the best is dark


def test_next_token_shows_the_best_and_the_rest(bpe):
    p = torch.zeros(bpe.vocab_size)
    p[ord("x")], p[ord(" ")], p[0] = 0.5, 0.3, 0.2
    axes = pictures.next_token(p, bpe, k=2).axes[0]
    assert np.allclose([bar.get_width() for bar in axes.patches], [50, 30, 20], atol=1e-4)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["x", "␣", "all 298 others"]
    picture = pictures.next_token(p, bpe, k=2, rest=False)
    axes = picture.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["x", "␣"] and axes.get_xlim()[1] < 60
    assert axes.get_xlabel() == "probability of being next (%); all 298 others together: 20.0 %"
    assert pictures.describe(picture).endswith("all others together 20.0 %.")
    with pytest.raises(ValueError, match="are they logits"):
        pictures.next_token(p * 7, bpe)
    with pytest.raises(ValueError, match="one row"):
        pictures.next_token(p[None], bpe)


def test_a_conversation_shows_the_target_of_every_token_and_pales_what_does_not_count():
    tokenizer = CharTokenizer.from_text("abcde")
    shown = pictures.conversation([0, 1, 4, 2, 3, 4, 4], [-100, -100, -100, 3, 4, -100, -100], tokenizer, end=4)
    assert repr(shown) == "a b e c d* e* · ·  (2 of 8 places count)"
    for kind, count in (("prompt, target -100", 3), ("answer, target 3", 1), ("end, target 4", 1), ("padding", 2)):
        assert shown.html.count(f'title="{kind}') == count
    with pytest.raises(ValueError, match="2 ids and 1 targets"):
        pictures.conversation([0, 1], [1], tokenizer, end=4)
