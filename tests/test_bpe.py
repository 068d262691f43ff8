"""What holds for byte-pair encoding: fast is textbook, no text is lost, and the ids are those of the published ones."""

import os
import random
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlab import bpe, huggingface, merging
from gptlab.bpe import (
    GPT2_PATTERN,
    GPT4_PATTERN,
    LLAMA3_PATTERN,
    BPETokenizer,
    encode_textbook,
    merge_by_heap,
    merge_by_rank,
    split,
    train_fast,
    train_textbook,
)
from gptlab.tokens import StreamDecoder, Tokenizer, load, stream_decode

PATTERNS = {"gpt2": GPT2_PATTERN, "gpt4": GPT4_PATTERN, "llama3": LLAMA3_PATTERN, "none": None}
each_pattern = pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)

TEXT = (
    "The fox wasn't late; the FOX'S 12345 kites aren't here!\n\n  for i in range(10):\n\t\tprint(i)  \n"
    "Ça va? naïve café — „größer“ 👩‍👩‍👧🦊 你好世界, שלום עולם, e\u0301 \r\n\r\n   the fox, the fox, the end   \n  "
)

# random Unicode; and words made of few letters, spaces, digits, marks and emoji, so that tokens of every kind occur
tricky_text = (
    st.text()
    | st.text(alphabet="ab '\n")
    | st.lists(
        st.sampled_from(
            [*" \n\t\r\x00\x1c\x85\u00a0\u200b\u3000sStTlLvVeE123٣½_'.,!é\u0301ſK中", "👩‍👩‍👧", "🇨🇭", "שלום", TEXT]
        )
    ).map("".join)
)
few_letters = st.text(alphabet="abc ", max_size=60)


@cache
def small(pattern: str | None = GPT4_PATTERN) -> BPETokenizer:
    return BPETokenizer.train(TEXT, 359, pattern=pattern, special_tokens=["<|end|>", "<|end|>er", "<|user|>"])


@cache
def textbook_merges() -> list[bpe.Merge]:
    return train_textbook(split(TEXT), 100)  # as many as `small` has


@cache
def published(name: str):
    """The encoding as tiktoken has it, with its ranks from the test data; nothing is downloaded."""
    tiktoken = pytest.importorskip("tiktoken")
    folder = Path(os.environ.get("GPTLAB_DATA", "")) / "tiktoken"
    if "GPTLAB_DATA" not in os.environ or not folder.is_dir():
        pytest.skip(f"the ranks of {name} are not here: set GPTLAB_DATA to a folder that has tiktoken/")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
        return tiktoken.get_encoding(name)


# ---- Training --------------------------------------------------------------------------------------------------------


def test_karpathys_example_by_hand():
    # aaabdaaabac: aa (4 times, counting overlaps), then ab or Za (2 each; the smaller ids first), then the rest of it
    tokenizer = BPETokenizer.train("aaabdaaabac", 256 + 3, pattern=None)
    assert tokenizer.merges == [(b"a", b"a"), (b"a", b"b"), (b"aa", b"ab")]
    assert tokenizer.encode("aaabdaaabac") == [258, ord("d"), 258, ord("a"), ord("c")]


@given(st.lists(few_letters, max_size=5), st.integers(0, 40))
def test_the_fast_trainer_finds_what_the_textbook_finds_where_ties_abound(pieces, steps):
    assert train_fast(pieces, steps) == train_textbook(pieces, steps)


@given(tricky_text, st.sampled_from(list(PATTERNS.values())))
@settings(max_examples=50)
def test_the_fast_trainer_finds_what_the_textbook_finds_on_any_text(text, pattern):
    assert train_fast(split(text, pattern), 30) == train_textbook(split(text, pattern), 30)


@given(st.lists(few_letters, max_size=8).flatmap(lambda words: st.tuples(st.just(words), st.permutations(words))))
def test_merges_do_not_depend_on_the_order_of_the_text(words_and_shuffled):
    words, shuffled = words_and_shuffled
    assert train_fast(words, 20) == train_fast(shuffled, 20)


def test_in_a_tie_the_smaller_ids_are_merged_first():
    assert [step.pair for step in train_textbook(["zy", "ab", "ba"], 3)] == [(97, 98), (98, 97), (122, 121)]


def test_running_out_of_pairs_stops_early_and_says_so():
    with pytest.warns(UserWarning, match=r"after 1 of 44 merges: the vocabulary has 257 tokens, not 300"):
        tokenizer = BPETokenizer.train("ab", 300)
    assert tokenizer.vocab_size == 257


def test_an_empty_text_gives_the_bytes_without_a_complaint():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenizer = BPETokenizer.train("", 256)
    assert tokenizer.vocab_size == 256
    assert tokenizer.encode("") == [] and tokenizer.decode([]) == ""
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT


def test_the_vocabulary_is_as_large_as_asked_with_special_tokens_last():
    tokenizer = small()
    assert tokenizer.vocab_size == 359
    assert sorted(tokenizer.special_tokens.values()) == [356, 357, 358]


def test_nothing_is_learned_from_or_across_special_tokens():
    tokenizer = BPETokenizer.train("ab<|end|>abab" * 50, 259, pattern=None, special_tokens=["<|end|>"])
    assert tokenizer.merges == [(b"a", b"b"), (b"ab", b"ab")]


# ---- Encoding and decoding -------------------------------------------------------------------------------------------


@given(tricky_text, st.sampled_from(list(PATTERNS.values())))
def test_every_text_comes_back(text, pattern):
    tokenizer = small(pattern)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode(tokenizer.encode(text, allowed_special="all")) == text


@given(tricky_text)
def test_by_rank_gives_what_the_merges_give_in_their_order(text):
    tokenizer, merges = small(), textbook_merges()
    assert tokenizer.encode(text) == [id for piece in split(text) for id in encode_textbook(piece, merges)]


@given(st.binary(max_size=200) | st.text(alphabet="abc").map(str.encode), few_letters)
def test_the_heap_gives_what_the_plain_loop_gives(piece, text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ranks = BPETokenizer.train(text, 300, pattern=None).ranks
    assert merge_by_heap(piece, ranks) == merge_by_rank(piece, ranks)


def test_a_chunk_that_is_a_token_is_that_token_though_no_merge_leads_to_it():
    # as " việc" in Llama 3: its bytes are a token, and no two tokens joined are it
    ranks = BPETokenizer.train("", 256).ranks | {b"abc": 256}
    tokenizer = BPETokenizer(ranks)
    assert merge_by_rank(b"abc", ranks) == [b"a", b"b", b"c"]
    assert tokenizer.encode("abc") == [256]
    assert tokenizer.encode("abcd") == [*b"abcd"]  # but of a longer chunk it is no part


@given(tricky_text, tricky_text, st.sampled_from(list(PATTERNS.values())))
def test_a_text_cut_at_its_split_point_has_the_ids_of_the_whole(head, rest, pattern):
    tokenizer = small(pattern)
    head, rest = (text.encode("utf-8", "replace").decode() for text in (head, rest))
    point = tokenizer.split_point(head)
    assert tokenizer.encode(head[:point]) + tokenizer.encode_rest(head[point:] + rest) == tokenizer.encode(head + rest)
    assert point == 0 or pattern is not None


@pytest.mark.parametrize("letters", ["a", "ab", "abc"])
def test_a_long_line_without_spaces_takes_work_in_proportion_to_its_length(letters):
    class Counted(dict):
        looked_up = 0

        def get(self, *args):
            Counted.looked_up += 1
            return super().get(*args)

    rng = random.Random(0)
    piece = "".join(rng.choices(letters, k=100_000)).encode()
    ranks = Counted(BPETokenizer.train("".join(rng.choices(letters, k=3_000)), 262, pattern=None).ranks)
    assert b"".join(merge_by_heap(piece, ranks)) == piece
    assert Counted.looked_up < 4 * len(piece)


@pytest.mark.timeout(30)
def test_a_hundred_thousand_times_the_same_character():
    text = "a" * 100_000
    tokenizer = BPETokenizer.train(text, 256 + 12)  # one piece: the trainer, too, must not walk through it every time
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(text)) < 100


def test_the_memory_of_pieces_is_bounded(monkeypatch):
    monkeypatch.setattr(merging.ChunkCache, "FULL", 10)
    tokenizer = BPETokenizer.train(TEXT, 300)
    words = " ".join(f"word{n}" for n in range(1000)) + " " + "a" * 1000
    assert tokenizer.decode(tokenizer.encode(words)) == words
    assert len(tokenizer._ids_of_chunk) <= 10
    assert all(len(piece) <= merging.ChunkCache.LONG for piece in tokenizer._ids_of_chunk)


def test_what_a_caller_does_to_its_ids_does_not_change_the_next_answer():
    tokenizer = small()
    first = tokenizer.encode("fox")
    first.append(0)
    assert tokenizer.encode("fox") == first[:-1]


def test_half_of_a_surrogate_pair_becomes_the_replacement_character():
    assert small().decode(small().encode("a\ud83db")) == "a\ufffdb"
    assert small().decode(small().encode("\ud83e\udd8a")) == "🦊"


@given(st.lists(st.integers(0, 255), max_size=20))
def test_any_ids_decode_and_their_bytes_are_exact(ids):
    tokenizer = small()
    assert tokenizer.decode_bytes(ids) == bytes(ids)
    assert tokenizer.decode(ids) == bytes(ids).decode("utf-8", errors="replace")
    assert "".join(stream_decode(tokenizer, ids)) == tokenizer.decode(ids)


def test_encode_after_decode_need_not_give_the_ids_back():
    tokenizer = BPETokenizer.train("foxfoxfox", 258, pattern=None)
    ids = [ord("f"), ord("o"), ord("x")]
    assert tokenizer.encode(tokenizer.decode(ids)) != ids


@given(tricky_text)
def test_a_stream_never_shows_a_broken_character(text):
    decoder = StreamDecoder(tokenizer := small())
    shown = ""
    for id in tokenizer.encode(text):
        shown += decoder.push(id)
        assert text.startswith(shown)
    assert shown == text and decoder.flush() == ""


# ---- Special tokens --------------------------------------------------------------------------------------------------


@given(tricky_text)
def test_special_tokens_are_allowed_and_disallowed_as_in_tiktoken(text):
    tiktoken = pytest.importorskip("tiktoken")
    assert tiktoken
    ours = BPETokenizer.train(TEXT, 300, special_tokens=["<|endoftext|>", "<|user|>"])
    theirs = ours.to_tiktoken("small")
    text = text.encode("utf-8", "replace").decode() + "<|user|>hi"
    for allowed in ("all", set(), {"<|user|>"}, {"<|endoftext|>"}):
        for disallowed in ("all", (), ["<|user|>"], {"<|endoftext|>", "hi"}):
            found = []
            for tokenizer in (ours, theirs):
                try:
                    found.append(tokenizer.encode(text, allowed_special=allowed, disallowed_special=disallowed))
                except ValueError:
                    found.append("refused")
            assert found[0] == found[1], (allowed, disallowed)


def test_tiktokens_names_give_what_tiktoken_gives():
    pytest.importorskip("tiktoken")
    ours = BPETokenizer.train(TEXT, 300, special_tokens=["<|endoftext|>", "<|user|>"])
    theirs = ours.to_tiktoken("small")
    texts = [TEXT, "", "the fox<|user|>"]
    assert (ours.n_vocab, ours.eot_token) == (theirs.n_vocab, theirs.eot_token) == (300, ours.end)
    assert ours.encode_ordinary(texts[2]) == theirs.encode_ordinary(texts[2]) == ours.encode(texts[2])
    assert ours.encode_batch(texts, allowed_special="all") == theirs.encode_batch(texts, allowed_special="all")
    rows = [ours.encode(text, disallowed_special=()) for text in texts]
    assert ours.decode_batch(rows) == theirs.decode_batch(rows) == texts
    assert all(ours.decode_single_token_bytes(id) == theirs.decode_single_token_bytes(id) for id in range(300))


@pytest.mark.parametrize("name", ["<|endoftext|>", "<|end_of_text|>", "</s>"])
def test_the_end_token_goes_by_its_usual_names(name):
    tokenizer = BPETokenizer.train("", 258, special_tokens=["<|user|>", name])
    assert tokenizer.end == tokenizer.special_tokens[name] == 257
    assert small().end is None


def test_special_tokens_that_begin_alike_are_not_given_to_tiktoken():
    pytest.importorskip("tiktoken")
    with pytest.raises(ValueError, match=r"'<\|end\|>' begins '<\|end\|>er', and tiktoken may find either"):
        small().to_tiktoken("small")


def test_a_special_token_that_a_user_types_is_text():
    tokenizer = small()
    assert not set(tokenizer.encode("bye<|end|>")) & set(tokenizer.special_tokens.values())
    assert tokenizer.encode("bye<|end|>") == tokenizer.encode("bye<|end|>", allowed_special=set())


def test_all_or_some_special_tokens_can_be_allowed():
    tokenizer = small()
    end, user = tokenizer.special_tokens["<|end|>"], tokenizer.special_tokens["<|user|>"]
    assert tokenizer.encode("<|user|>hi<|end|>", allowed_special="all") == [user, *tokenizer.encode("hi"), end]
    some = tokenizer.encode("<|user|>hi<|end|>", allowed_special={"<|end|>"})
    assert some == [*tokenizer.encode("<|user|>hi"), end]


def test_of_two_special_tokens_the_longer_is_read():
    tokenizer = small()
    assert tokenizer.encode("<|end|>er", allowed_special="all") == [tokenizer.special_tokens["<|end|>er"]]


def test_a_special_token_can_be_refused_with_its_place():
    with pytest.raises(ValueError, match=r"'<\|end\|>' at position 3.*disallowed_special=\(\)"):
        small().encode("bye<|end|>", allowed_special="raise")
    assert small().encode("bye", allowed_special="raise") == small().encode("bye")


def test_a_mode_or_a_token_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="give 'none' or 'all'"):
        small().encode("x", allowed_special="<|end|>")
    with pytest.raises(ValueError, match=r"\['<\|stop\|>'\] are not special tokens of this vocabulary"):
        small().encode("x", allowed_special={"<|stop|>"})


# ---- Errors that teach -----------------------------------------------------------------------------------------------


def test_a_vocabulary_too_small_for_the_bytes_is_refused():
    with pytest.raises(ValueError, match=r"vocab_size=256 is too small.*at least 257"):
        BPETokenizer.train("x", 256, special_tokens=["<|end|>"])


@pytest.mark.parametrize("id", [-1, 359])
def test_an_id_outside_the_vocabulary_is_refused(id):
    with pytest.raises(ValueError, match=rf"id {id} \(position 1\) is not in this vocabulary of V=359"):
        small().decode([0, id])


def test_an_id_that_is_left_unused_is_refused():
    bytes_only = BPETokenizer.train("", 256).ranks
    tokenizer = BPETokenizer(bytes_only, special_tokens={"<|end|>": 300})
    assert tokenizer.vocab_size == 301
    with pytest.raises(ValueError, match="id 270 is one of those"):
        tokenizer.token_bytes(270)


def test_vocabularies_that_cannot_work_are_refused():
    ranks = BPETokenizer.train("", 256).ranks
    with pytest.raises(ValueError, match="same id"):
        BPETokenizer(ranks, special_tokens={"<|end|>": 7})
    with pytest.raises(ValueError, match=r"255 of the 256 bytes"):
        BPETokenizer({b"a": 0})
    with pytest.raises(ValueError, match="empty special token"):
        BPETokenizer(ranks, special_tokens={"": 256})
    with pytest.raises(ValueError, match="a collection of texts"):
        BPETokenizer.train("x", 300, special_tokens="<|end|>")


# ---- Files and other libraries ---------------------------------------------------------------------------------------


@each_pattern
def test_a_saved_tokenizer_opens_as_the_same_one(pattern, tmp_path):
    tokenizer = small(pattern)
    tokenizer.save(tmp_path / "bpe.json")
    assert load(tmp_path / "bpe.json") == tokenizer == BPETokenizer.load(tmp_path / "bpe.json")
    assert load(tmp_path / "bpe.json").encode(TEXT, allowed_special="all") == tokenizer.encode(
        TEXT, allowed_special="all"
    )
    assert isinstance(tokenizer, Tokenizer)


def test_the_256_letters_for_bytes_are_those_of_gpt2():
    letters = bpe.bytes_to_unicode()
    assert len(set(letters.values())) == 256
    assert "".join(letters[byte] for byte in b" \n\t\x00\xff\xad!~") == "ĠĊĉĀÿŃ!~"
    assert not any(letter.isspace() for letter in letters.values())


@pytest.fixture(scope="module", params=PATTERNS.values(), ids=PATTERNS)
def ours_and_tiktokens(request):
    pytest.importorskip("tiktoken")
    ours = BPETokenizer.train(TEXT, 359, pattern=request.param, special_tokens=["<|end|>", "<|user|>"])
    return ours, ours.to_tiktoken("small")


@given(text=tricky_text)
def test_same_ids_as_tiktoken_with_our_ranks(ours_and_tiktokens, text):
    ours, theirs = ours_and_tiktokens
    assert ours.encode(text) == theirs.encode_ordinary(text)
    text = f"{text}<|end|>{text}<|user|>"
    assert ours.encode(text, allowed_special="all") == theirs.encode(text, allowed_special="all")
    assert BPETokenizer.from_tiktoken(theirs).ranks == ours.ranks


@pytest.fixture(scope="module", params=PATTERNS.values(), ids=PATTERNS)
def ours_and_huggingfaces(request):
    tokenizers = pytest.importorskip("tokenizers")
    return small(request.param), tokenizers.Tokenizer.from_str(huggingface.tokenizer_json(small(request.param)))


@given(text=tricky_text)
def test_same_ids_as_huggingface_from_our_tokenizer_json(ours_and_huggingfaces, text):
    ours, theirs = ours_and_huggingfaces
    ids = theirs.encode(text + "<|end|>" + TEXT).ids
    assert ids == ours.encode(text + "<|end|>" + TEXT, allowed_special="all")
    assert theirs.decode(ids, skip_special_tokens=False) == ours.decode(ids)


# ---- The published vocabularies --------------------------------------------------------------------------------------


@cache
def ours(name: str) -> BPETokenizer:
    return BPETokenizer.from_tiktoken(published(name))


both = pytest.mark.parametrize("name", ["gpt2", "cl100k_base"])


@both
@given(text=tricky_text)
def test_same_ids_as_tiktoken_on_any_text(name, text):
    assert ours(name).encode(text) == published(name).encode_ordinary(text)


@both
def test_same_ids_as_tiktoken_on_shakespeare_and_on_this_file(name):
    shakespeare = Path(os.environ.get("GPTLAB_DATA", "")) / "tinyshakespeare.txt"
    for file in [Path(__file__), Path(bpe.__file__), *([shakespeare] if shakespeare.is_file() else [])]:
        text = file.read_text(encoding="utf-8")
        assert ours(name).encode(text) == published(name).encode_ordinary(text)


@both
def test_same_ids_as_tiktoken_on_a_hundred_thousand_times_the_same(name):
    for unit in ("a", " ", "\n", "é"):
        text = unit * (100_000 // len(unit.encode()))
        assert ours(name).encode(text) == published(name).encode_ordinary(text)


def test_the_patterns_here_are_the_published_ones():
    assert published("gpt2")._pat_str == GPT2_PATTERN
    assert published("cl100k_base")._pat_str == GPT4_PATTERN


def test_ids_of_gpt2_that_everyone_knows():
    published("gpt2")
    assert ours("gpt2").encode("Hello world") == [15496, 995]
    assert ours("gpt2").encode("<|endoftext|>", allowed_special="all") == [50256]
    assert ours("gpt2").vocab_size == 50257


def test_the_merges_of_gpt2_are_worked_out_from_its_ranks():
    published("gpt2")
    merges = ours("gpt2").merges
    assert len(merges) == 50_000
    assert merges[:3] == [(b" ", b"t"), (b" ", b"a"), (b"h", b"e")]  # the first lines of its vocab.bpe


def test_the_lesson_does_not_need_torch():
    code = "import sys, gptlab.bpe; sys.exit('torch' in sys.modules or 'tiktoken' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
