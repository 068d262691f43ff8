"""What holds for Unigram: fast is listed, EM never loses, and every text is cut as SentencePiece cuts it."""

import base64
import io
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gptlab.corpora import fables, pydocs
from gptlab.segmentation import fast_path
from gptlab.sentencepiece_model import user_defined_score
from gptlab.tokens import StreamDecoder, Tokenizer, load, stream_decode
from gptlab.unigram import (
    UnigramTokenizer,
    best_path,
    em_step,
    lattice,
    log_total,
    prune,
    seed_pieces,
    words_of,
)

BOOK = "\n".join(story.text for story in fables.tell(120, seed=3)) + (
    '\nShe said: "It costs 1,234.50 — ﬁne, naïve Ⅻ ½ Ça?"  def f(x):\n        return x  # שלום 你好 é 🦊\n' * 3
)

# random Unicode; and texts of words, blanks, signs of several bytes and emoji of several characters
tricky_text = st.text() | st.lists(
    st.sampled_from(
        [
            *" \n\t\r\x00\x85\u00a0\u200b\u3000▁▁abtheTHEx123٣½ﬁⅫ_.,'é\u0301中",
            "👩‍👩‍👧",
            "🇨🇭",
            "שלום",
            " the",
            "  ",
            " fox named",
        ]
    )
).map("".join)

# ---- Training, step by step ------------------------------------------------------------------------------------------


@given(st.dictionaries(st.text("▁abc", min_size=1, max_size=6), st.integers(1, 9), min_size=1, max_size=6))
def test_a_round_of_em_never_makes_the_words_less_likely(words):
    logp = seed_pieces(words, size=50)

    def nats(logp):
        return sum(count * log_total(word, logp) for word, count in words.items())

    for _ in range(3):
        better = em_step(words, logp, rarest=0.0)
        assert nats(better) >= nats(logp) - 1e-2  # the floor under unused characters may cost a little
        assert math.isclose(sum(map(math.exp, better.values())), 1.0)
        logp = better


def test_pruning_keeps_what_is_used_and_dear_and_every_character():
    logp = {"a": -3.0, "b": -3.0, "c": -3.0, "ab": -2.0, "bc": -5.9, "abc": -9.0}
    assert set(prune({"ab": 5, "bc": 5}, logp, size=4)) == {"a", "b", "c", "ab"}  # 5 × 4.0 against 5 × 0.1
    assert set(prune({"ab": 5, "bc": 5}, logp, size=1)) == {"a", "b", "c"}


def test_a_seed_that_always_stands_in_the_same_longer_one_is_left_out():
    assert {"fox", "fo"} <= set(seed_pieces({"fox": 3, "fog": 2}, 99))
    assert not {"ox", "og"} & set(seed_pieces({"fox": 3, "fog": 2}, 99))


# ---- Sampling --------------------------------------------------------------------------------------------------------


def test_a_large_alpha_draws_the_best_and_samples_give_the_text_back():
    tokenizer, generator = trained(), random.Random(1)
    assert tokenizer.sample("the proud fox", 200.0, generator) == tokenizer.encode("the proud fox")
    cuts = {tuple(tokenizer.sample("the proud fox 狐", 0.1, generator)) for _ in range(30)}
    assert len(cuts) > 3
    assert {tokenizer.decode(ids) for ids in cuts} == {"the proud fox 狐"}
    assert tokenizer.sample("the fox", 0.3, random.Random(7)) == tokenizer.sample("the fox", 0.3, random.Random(7))
    with pytest.raises(ValueError, match="alpha=-1"):
        tokenizer.sample("the", alpha=-1.0)


# ---- A tokenizer trained here ----------------------------------------------------------------------------------------


@cache
def trained(**options) -> UnigramTokenizer:
    return UnigramTokenizer.train(BOOK, 520 if options.get("byte_fallback", True) else 264, **options)


def test_the_vocabulary_is_as_large_as_asked_and_its_probabilities_sum_to_one():
    for tokenizer in (trained(), trained(byte_fallback=False)):
        assert tokenizer.vocab_size in (520, 264) and len(set(tokenizer.pieces)) == tokenizer.vocab_size
        assert math.isclose(sum(math.exp(s) for s in tokenizer.scores if s is not None), 1.0)
        assert isinstance(tokenizer, Tokenizer)


def test_frequent_words_become_one_piece():
    assert trained().encode_as_pieces("the fox lived and the hen lived") == [
        "▁the",
        "▁fox",
        "▁lived",
        "▁and",
        "▁the",
        "▁hen",
        "▁lived",
    ]


@given(tricky_text)
def test_with_byte_fallback_every_text_comes_back(text):
    tokenizer = trained()
    text = text.encode("utf-8", "replace").decode("utf-8").replace("▁", "_")  # a literal ▁ is read as a space
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert trained(dummy_prefix=False).decode(trained(dummy_prefix=False).encode(text)) == text


@given(tricky_text)
def test_the_words_one_by_one_are_the_whole(text):
    tokenizer = trained()
    whole = tokenizer.normalise(text)
    cuts = best_path(lattice(whole, tokenizer.logp, tokenizer._unknown_score))
    listed = sum(tokenizer.logp.get(whole[i:j], tokenizer._unknown_score) for i, j in pairwise(cuts))
    ours = fast_path(whole, tokenizer._trie, tokenizer._unknown_score)
    assert math.isclose(
        listed, sum(tokenizer.logp.get(whole[i:j], tokenizer._unknown_score) for i, j in pairwise(ours)), abs_tol=1e-6
    )
    borders = set(accumulate(map(len, words_of(whole)), initial=0))
    assert borders <= set(ours)


def test_the_bytes_of_the_tokens_joined_are_the_text_behind_the_dummy_prefix():
    tokenizer, text = trained(), "The fox: 狐\n\n  é"
    ids = tokenizer.encode(text)
    assert b"".join(map(tokenizer.token_bytes, ids)) == b" " + text.encode()
    decoder = StreamDecoder(tokenizer)
    assert "".join(decoder.push(id) for id in ids) + decoder.flush() == " " + text


@given(tricky_text)
def test_a_stream_is_what_decode_gives(text):
    for tokenizer in (trained(), trained(dummy_prefix=False)):
        ids = tokenizer.encode(text)
        assert "".join(stream_decode(tokenizer, iter(ids))) == tokenizer.decode(ids)


@given(st.lists(st.integers(0, 519), max_size=12))
def test_a_stream_of_any_ids_is_what_decode_gives(ids):
    tokenizers = [trained(), trained(dummy_prefix=False)]
    for tokenizer in [*tokenizers, *(same_as(name) for name in ("byte fallback", "default"))]:
        ids = [id % tokenizer.vocab_size for id in ids]
        assert "".join(stream_decode(tokenizer, ids)) == tokenizer.decode(ids)


def test_a_character_streams_when_its_last_byte_has_come():
    assert list(stream_decode(trained(), trained().encode("狐a"))) == ["狐", "a"]


@given(tricky_text, tricky_text)
def test_a_text_cut_at_its_split_point_has_the_ids_of_the_whole(head, rest):
    head, rest = (text.encode("utf-8", "replace").decode() for text in (head, rest))
    for tokenizer in (trained(), trained(dummy_prefix=False)):
        if point := tokenizer.split_point(head):
            ids = tokenizer.encode(head[:point]) + tokenizer.encode_rest(head[point:] + rest)
            assert ids == tokenizer.encode(head + rest)
    assert trained().split_point("the fox ran") == len("the fox")
    assert same_as("default").split_point(head) == 0  # its sums are rounded over the whole text


def test_control_tokens_are_special_and_one_of_them_ends_a_text():
    ours = same_as("default")
    assert ours.special_tokens == {"<s>": 1, "</s>": 2} and ours.end == 2
    assert trained().special_tokens == {} and trained().end is None


def test_a_file_of_the_first_edition_opens_with_its_older_names(tmp_path):
    ours = same_as("symbols")
    data = json.loads(json.dumps({"kind": "unigram", **ours.to_json()}))
    theirs = processor("symbols")
    normalizer = sentencepiece_normalizer(theirs)
    data["rules"] = base64.b64encode(zlib.compress(normalizer)).decode()
    data["collapse"], data["symbols"] = data.pop("remove_extra_whitespaces"), data.pop("user_defined_symbols")
    for name in ("precompiled_charsmap", "denormalizer_charsmap", "unk_surface"):
        del data[name]
    (tmp_path / "old.json").write_text(json.dumps(data))
    assert load(tmp_path / "old.json").to_json() == ours.to_json()


def sentencepiece_normalizer(processor) -> bytes:
    """The normaliser's settings as the first edition stored them."""
    import sentencepiece

    as_is = {"add_dummy_prefix": False, "escape_whitespaces": False, "remove_extra_whitespaces": False}
    model = processor.serialized_model_proto()
    return sentencepiece.SentencePieceNormalizer(model_proto=model, **as_is).serialized_model_proto()


def test_what_is_saved_comes_back(tmp_path):
    for tokenizer in (trained(), UnigramTokenizer.from_sentencepiece(processor("default"))):
        tokenizer.save(tmp_path / "unigram.json")
        again = load(tmp_path / "unigram.json")
        assert again.to_json() == tokenizer.to_json()
        assert again.encode("The ﬁne  fox 狐.") == tokenizer.encode("The ﬁne  fox 狐.")


def test_an_empty_text_is_no_tokens_and_nothing_to_learn_from():
    assert trained().encode("") == [] and trained().decode([]) == ""
    with pytest.raises(ValueError, match="an empty text has no pieces to learn"):
        UnigramTokenizer.train("", 300)


def test_a_vocabulary_too_large_for_the_text_says_what_is_possible():
    with pytest.raises(
        ValueError, match=r"vocab_size=9000 means 8744 pieces and 256 bytes.*ask for at most (\d+)"
    ) as told:
        UnigramTokenizer.train("the fox and the hen " * 9, 9000)
    possible = int(str(told.value).split("at most ")[1].split()[0])
    assert UnigramTokenizer.train("the fox and the hen " * 9, 256 + possible).vocab_size == 256 + possible


def test_a_vocabulary_too_small_for_the_characters_says_how_many_there_are():
    with pytest.raises(ValueError, match=r"too few for its 10 different characters: ask for at least 10"):
        UnigramTokenizer.train("the fox and", 8, byte_fallback=False)


@pytest.mark.parametrize(
    ("text", "characters"), [("abcabcabd" * 40, 5), ("----- ===== \n" * 40, 4), ("the fox and the hen " * 9, 11)]
)
def test_every_vocabulary_size_up_to_the_largest_can_be_had(text, characters):
    with pytest.raises(ValueError, match="ask for at most") as refused:
        UnigramTokenizer.train(text, 999, byte_fallback=False)
    largest = int(str(refused.value).split("at most ")[1].split()[0])
    for size in range(characters, largest + 1):
        assert UnigramTokenizer.train(text, size, byte_fallback=False).vocab_size == size
    with pytest.raises(ValueError, match=f"ask for at most {largest} "):
        UnigramTokenizer.train(text, largest + 1, byte_fallback=False)


def test_a_character_that_no_piece_covers_costs_ten_nats_more_than_the_rarest_piece():
    # "b" and the long piece: -(3 + 10) - 0.1; five pairs: 5 × -2.6 = -13.0, which is better by a hair
    pairs, letters = ["bc", "de", "fg", "hi", "jk"], list("cdefghijk")
    pieces = ["<unk>", *letters, *pairs, "cdefghijk"]
    scores = [None, *[-3.0] * len(letters), *[-2.6] * len(pairs), -0.1]
    tokenizer = UnigramTokenizer(pieces, scores, unknown=0, dummy_prefix=False)
    assert tokenizer.encode_as_pieces("bcdefghijk") == pairs
    cheaper = UnigramTokenizer(pieces, [*scores[:-1], 0.1], unknown=0, dummy_prefix=False)
    assert cheaper.encode_as_pieces("bcdefghijk") == ["<unk>", "cdefghijk"]


def test_an_unseen_character_is_an_error_without_bytes_and_names_itself():
    with pytest.raises(ValueError, match=r"character '狐' at position 4"):
        trained(byte_fallback=False).encode("the狐")


def test_coverage_leaves_rare_characters_to_the_bytes():
    rare = UnigramTokenizer.train("the fox and the hen " * 50 + "Ж", 270, character_coverage=0.999)
    assert "Ж" not in rare.pieces and rare.decode(rare.encode("Ж")) == "Ж"
    assert "Ж" in UnigramTokenizer.train("the fox and the hen " * 50 + "Ж", 270).pieces
    with pytest.raises(ValueError, match=r"character_coverage=0\.9"):
        UnigramTokenizer.train("the fox", 20, character_coverage=0.9, byte_fallback=False)


def test_training_does_not_depend_on_the_order_of_the_lines():
    lines = BOOK.split("\n")
    shuffled = random.Random(0).sample(lines, len(lines))
    mine = UnigramTokenizer.train("\n".join(lines), 400, dummy_prefix=False).to_json()
    other = UnigramTokenizer.train("\n".join(shuffled), 400, dummy_prefix=False).to_json()
    assert mine == other


def test_an_id_outside_is_refused():
    with pytest.raises(ValueError, match="id 520"):
        trained().decode([520])


def test_the_module_needs_no_torch():
    code = "import sys, gptlab.unigram; assert not {'torch', 'sentencepiece', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# ---- The same cuts as SentencePiece ----------------------------------------------------------------------------------

SETTINGS = {
    "default": {},
    "byte fallback": {"byte_fallback": True},
    "no dummy prefix": {"add_dummy_prefix": False},
    "identity": {"normalization_rule_name": "identity"},
    "lossless": {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "byte_fallback": True},
    "no dummy prefix, lossless": {
        "normalization_rule_name": "identity", "remove_extra_whitespaces": False, "byte_fallback": True,
        "add_dummy_prefix": False,
    },
    "pieces across spaces": {"split_by_whitespace": False, "remove_extra_whitespaces": False},
    "symbols": {"user_defined_symbols": ["<sep>", "ab", "ﬁ"], "allow_whitespace_only_pieces": True},
    "lower case": {"normalization_rule_name": "nmt_nfkc_cf"},
    "symbols of spaces": {
        "user_defined_symbols": ["▁" * n for n in range(2, 9)], "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
    },
    "a symbol of plain spaces": {"user_defined_symbols": ["  "]},
    "symbols of growing length": {"user_defined_symbols": ["==", "--", "---", "----"]},
    "a table for the letter a": {"normalization_rule_tsv": {"a": "b"}},
    "a table of capitals": {"normalization_rule_tsv": {"a": "A", "e": "E", "the": "THE"}},
    "its own unknown": {"unk_surface": "??"},
    "a table for the way back": {"denormalization_rule_tsv": {"the": "THE"}},
}  # fmt: skip
each_setting = pytest.mark.parametrize("name", SETTINGS)


@cache
def processor(name: str, model_type: str = "unigram"):
    sentencepiece = pytest.importorskip("sentencepiece")
    file, options = io.BytesIO(), dict(SETTINGS[name])
    with tempfile.TemporaryDirectory() as folder:
        for option in ("normalization_rule_tsv", "denormalization_rule_tsv"):
            if table := options.get(option):  # code points in hexadecimal, a tab between the two sides
                rows = ("\t".join(" ".join(f"{ord(c):X}" for c in side) for side in row) for row in table.items())
                options[option] = str(Path(folder, option))
                Path(folder, option).write_text("\n".join(rows) + "\n")
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(BOOK.split("\n")), model_writer=file, vocab_size=600, model_type=model_type,
            hard_vocab_limit=False, minloglevel=2, num_threads=1, **options,
        )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())


@cache
def same_as(name: str) -> UnigramTokenizer:
    return UnigramTokenizer.from_sentencepiece(processor(name))


def assert_same(name: str, text: str) -> None:
    ids = processor(name).encode(text)
    assert same_as(name).encode(text) == ids
    assert same_as(name).normalise(text) == processor(name).normalize(text)
    assert same_as(name).decode(ids) == processor(name).decode(ids)


@each_setting
@given(tricky_text)
@settings(max_examples=60)
def test_any_text_is_cut_as_by_sentencepiece(name, text):
    assume(text.encode("utf-8", "replace").decode() == text)
    assert_same(name, text)


@each_setting
def test_real_texts_are_cut_as_by_sentencepiece(name):
    for line in [*BOOK.split("\n"), *pydocs.topics_text()[:40_000].split("\n")]:
        assert_same(name, line)


@each_setting
def test_odd_texts_are_cut_as_by_sentencepiece(name):
    for text in (
        "",
        " ",
        "▁",
        "  \t ",
        " " * 999,
        "\n\n\n",
        "\x08",  # nothing is left of it, but the dummy prefix
        " \x08 ",
        "مرحبا بالعالم",
        "👩‍👩‍👧🇨🇭" * 9,
        "e\u0301" * 9,
        "<s></s><unk><0x41>",
    ):
        assert_same(name, text)


@pytest.mark.parametrize("name", ["default", "lossless", "pieces across spaces"])
def test_long_texts_are_cut_as_by_sentencepiece_roundings_and_all(name):
    assert_same(name, pydocs.topics_text()[:120_000])


@pytest.mark.parametrize("name", ["default"])
def test_tiny_shakespeare_is_cut_as_by_sentencepiece(name):
    path = Path(os.environ.get("GPTLAB_DATA", "")) / "tinyshakespeare.txt"
    if "GPTLAB_DATA" not in os.environ or not path.is_file():
        pytest.skip("Tiny Shakespeare is not here: set GPTLAB_DATA to a folder that has it")
    for line in path.read_text(encoding="utf-8").split("\n"):
        assert same_as(name).encode(line) == processor(name).encode(line)


@pytest.mark.parametrize("text", ["a", "狐", "the"])
def test_a_hundred_thousand_identical_characters_take_time_in_proportion(text):
    for tokenizer in (trained(), same_as("byte fallback")):
        took = []
        for n in (10_000, 100_000):
            start = time.process_time()
            tokenizer.encode(text * n)
            took.append(time.process_time() - start)
        assert took[1] < 40 * took[0] + 0.5  # quadratic would be 100
    assert same_as("byte fallback").encode(text * 100_000) == processor("byte fallback").encode(text * 100_000)


def test_a_bpe_model_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"type BPE .its scores are ranks.*not Unigram"):
        UnigramTokenizer.from_sentencepiece(processor("default", "bpe"))


def test_a_word_model_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"type WORD .its pieces are whole words.*not Unigram"):
        UnigramTokenizer.from_sentencepiece(processor("default", "word"))


@given(tricky_text)
@settings(max_examples=40)
def test_a_character_model_gives_the_same_ids(text):
    assume(text.encode("utf-8", "replace").decode() == text)
    model = processor("default", "char")
    assert UnigramTokenizer.from_sentencepiece(model).encode(text) == model.encode(text)


@given(st.lists(st.integers(0, 599), max_size=12))
def test_any_ids_are_decoded_as_by_sentencepiece(ids):
    for name in ("default", "byte fallback", "lossless", "its own unknown", "a table for the way back"):
        ids = [id % processor(name).get_piece_size() for id in ids]
        assert same_as(name).decode(ids) == processor(name).decode(ids)


def test_the_rule_for_user_defined_symbols_is_that_of_the_installed_version():
    assert user_defined_score("▁▁", "0.2.0") == user_defined_score("▁▁", "0.1.99") == -0.1
    assert user_defined_score("▁▁", "0.2.3") == user_defined_score("▁▁", "0.3.0") == 0.1 * 5


def test_a_model_with_blanks_behind_words_is_refused():
    sentencepiece = pytest.importorskip("sentencepiece")
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(BOOK.split("\n")), model_writer=file, vocab_size=300, minloglevel=2,
        hard_vocab_limit=False, treat_whitespace_as_suffix=True,
    )  # fmt: skip
    with pytest.raises(ValueError, match="treat_whitespace_as_suffix"):
        UnigramTokenizer.from_sentencepiece(sentencepiece.SentencePieceProcessor(model_proto=file.getvalue()))


def test_samples_of_sentencepiece_and_ours_come_alike():
    theirs, ours = processor("default"), same_as("default")
    n, generator = 3000, random.Random(0)
    drawn = [
        Counter(tuple(theirs.encode("proud", enable_sampling=True, alpha=0.4, nbest_size=-1)) for _ in range(n)),
        Counter(tuple(ours.sample("proud", 0.4, generator)) for _ in range(n)),
    ]
    for way in drawn[0] | drawn[1]:
        assert abs(drawn[0][way] - drawn[1][way]) < 5 * math.sqrt(2 * max(drawn[0][way], drawn[1][way], 10))
