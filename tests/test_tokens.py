"""What holds for every tokenizer of notebook `tokens`, and for reading a model's words as they come."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptlab.tokens import (
    END_OF_TEXT,
    ByteTokenizer,
    CharTokenizer,
    StreamDecoder,
    Tokenizer,
    WordTokenizer,
    load,
    stream_decode,
)

FABLE = "The fox said: “No!”\n\nThe  hen\tsaid nothing — and left. 🦊é"
ALL = [CharTokenizer.from_text(FABLE), WordTokenizer.from_text(FABLE), ByteTokenizer()]
each_tokenizer = pytest.mark.parametrize("tokenizer", ALL, ids=lambda tokenizer: type(tokenizer).__name__)

# letters, white space of all kinds, control characters, emoji made of several characters, marks that join
tricky_text = st.text() | st.lists(
    st.sampled_from([*" \n\t\r\x00\x1c\x85\u00a0aZ9_'é\u0301", "👩‍👩‍👧", "🇨🇭", "שלום"])
).map("".join)


@given(tricky_text.filter(bool))
def test_characters_give_the_same_text_back(text):
    tokenizer = CharTokenizer.from_text(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(tricky_text.filter(bool))
def test_words_give_the_same_text_back_spaces_and_all(text):
    tokenizer = WordTokenizer.from_text(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(tricky_text)
def test_bytes_give_every_text_back_without_having_seen_it(text):
    assert ByteTokenizer().decode(ByteTokenizer().encode(text)) == text


@given(tricky_text.filter(bool))
def test_ids_are_exactly_the_numbers_from_zero_to_v_minus_one(text):
    assert set(CharTokenizer.from_text(text).encode(text)) == set(range(CharTokenizer.from_text(text).vocab_size))
    words = WordTokenizer.from_text(text, unknown=None)
    assert set(words.encode(text)) == set(range(words.vocab_size))


@given(st.text(min_size=1).flatmap(lambda text: st.tuples(st.just(text), st.permutations(text))))
def test_the_vocabulary_does_not_depend_on_the_order_of_the_text(text_and_shuffled):
    text, shuffled = text_and_shuffled
    assert CharTokenizer.from_text(text) == CharTokenizer.from_text("".join(shuffled))


@each_tokenizer
def test_the_bytes_of_the_tokens_joined_are_the_bytes_of_the_text(tokenizer):
    assert isinstance(tokenizer, Tokenizer)
    assert b"".join(tokenizer.token_bytes(id) for id in tokenizer.encode(FABLE)) == FABLE.encode("utf-8")


@each_tokenizer
def test_an_empty_text_is_no_tokens(tokenizer):
    assert tokenizer.encode("") == []
    assert tokenizer.decode([]) == ""


def test_ids_of_hello_by_hand():
    # alphabet: e h l o
    assert CharTokenizer.from_text("hello").encode("hello") == [1, 0, 2, 2, 3]


def test_ids_of_words_by_hand():
    # after <unk>, alphabet: space, comma, full stop, a, b
    assert WordTokenizer.from_text("b, a.").encode("a b, c.") == [4, 1, 5, 2, 1, 0, 3]


def test_a_limited_vocabulary_keeps_the_most_frequent_words():
    tokenizer = WordTokenizer.from_text("to be or not to be to", vocab_size=4)
    assert tokenizer.words == ["<unk>", " ", "be", "to"]
    assert tokenizer.decode(tokenizer.encode("or to")) == "<unk> to"


def test_nobody_can_type_the_unknown_token():
    tokenizer = WordTokenizer.from_text("< unk > <unk>")
    assert tokenizer._id_of["<unk>"] not in tokenizer.encode("<unk>")
    assert tokenizer.decode(tokenizer.encode("<unk>")) == "<unk>"
    with pytest.raises(ValueError, match="could stand in a text"):
        WordTokenizer.from_text("a", unknown="unk")


# ---- Errors that teach -----------------------------------------------------------------------------------------------


def test_a_missing_character_is_named_with_its_place_and_the_way_out():
    with pytest.raises(ValueError, match=r"'x' at position 2 .* 2 in this vocabulary.*build it from a text"):
        CharTokenizer.from_text("ab").encode("abx")


def test_a_missing_word_is_named_with_its_place_in_characters():
    with pytest.raises(ValueError, match=r"'cat' at position 4 .*unknown='<unk>'"):
        WordTokenizer.from_text("the fox", unknown=None).encode("the cat")


@each_tokenizer
@pytest.mark.parametrize("wrong", [-1, "V"])
def test_an_id_outside_the_vocabulary_is_refused(tokenizer, wrong):
    V = tokenizer.vocab_size
    id = V if wrong == "V" else wrong
    for decode in (lambda: tokenizer.decode([0, id]), lambda: tokenizer.token_bytes(id)):
        with pytest.raises(ValueError, match=rf"id {id} \(position \d\) is not in this vocabulary of V={V}"):
            decode()


@pytest.mark.parametrize("kind", [CharTokenizer, WordTokenizer])
def test_no_vocabulary_can_be_made_of_nothing(kind):
    with pytest.raises(ValueError, match="empty text"):
        kind.from_text("")


def test_a_vocabulary_without_an_entry_for_a_word_is_refused():
    with pytest.raises(ValueError, match="give at least 2"):
        WordTokenizer.from_text("a b", vocab_size=1)


def test_half_of_a_surrogate_pair_is_refused_where_a_file_could_not_hold_it():
    with pytest.raises(ValueError, match="surrogate"):
        CharTokenizer.from_text("a\ud83d")
    assert ByteTokenizer().decode(ByteTokenizer().encode("a\ud83d")) == "a\ufffd"


def test_a_row_of_an_array_decodes_and_a_batch_says_what_to_do():
    tokenizer = CharTokenizer.from_text("abc")
    assert tokenizer.decode(np.array([2, 0])) == "ca"
    with pytest.raises(ValueError, match="2 rows of ids, not one: use decode_batch"):
        tokenizer.decode(np.zeros((2, 3), dtype=int))


# ---- What all tokenizers share ---------------------------------------------------------------------------------------


@each_tokenizer
def test_tiktokens_names_give_what_ours_give(tokenizer):
    texts = [FABLE, "", FABLE[:8]]
    rows = [tokenizer.encode(text) for text in texts]
    assert tokenizer.n_vocab == tokenizer.vocab_size
    assert tokenizer.encode_ordinary(FABLE) == rows[0]
    assert tokenizer.encode_batch(texts) == rows
    assert tokenizer.decode_batch(rows) == texts
    assert [tokenizer.decode_single_token_bytes(id) for id in rows[2]] == [tokenizer.token_bytes(id) for id in rows[2]]


@each_tokenizer
def test_a_vocabulary_without_special_tokens_has_no_end(tokenizer):
    assert dict(tokenizer.special_tokens) == {} and tokenizer.end is None and tokenizer.eot_token is None


@each_tokenizer
@given(head=tricky_text, rest=tricky_text)
def test_a_text_cut_at_its_split_point_has_the_ids_of_the_whole(tokenizer, head, rest):
    if isinstance(tokenizer, CharTokenizer):
        tokenizer = CharTokenizer.from_text(head + rest + "a")
    head, rest = (text.encode("utf-8", "replace").decode() for text in (head, rest))
    point = tokenizer.split_point(head)
    assert 0 <= point <= len(head)
    ids = tokenizer.encode(head[:point]) + tokenizer.encode_rest(head[point:] + rest)
    assert ids == tokenizer.encode(head + rest)


def test_long_texts_are_cut_where_no_token_stands():
    assert CharTokenizer.from_text("ab").split_point("abba") == ByteTokenizer().split_point("abba") == 4
    assert WordTokenizer.from_text("ab").split_point("the fox, fo") == len("the fox, ")  # the next letter may be x
    assert WordTokenizer.from_text("ab").split_point("fo") == 0


# ---- Files -----------------------------------------------------------------------------------------------------------


@each_tokenizer
def test_a_saved_tokenizer_opens_as_the_same_one(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "new folder" / "tokenizer.json")
    again = load(tmp_path / "new folder" / "tokenizer.json")
    assert again == tokenizer and type(again) is type(tokenizer)
    assert again.encode(FABLE) == tokenizer.encode(FABLE)
    assert type(tokenizer).load(tmp_path / "new folder" / "tokenizer.json") == tokenizer


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "tokenizer.json"
    old = CharTokenizer.from_text("old")
    old.save(path)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(OSError, match="full"):
        CharTokenizer.from_text("new").save(path)
    assert load(path) == old
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]


@pytest.mark.parametrize(
    "content",
    ["not json", json.dumps({"kind": "morse"}), json.dumps([1]), json.dumps({"model": {}}), '{"kind": ["char"]}'],
)
def test_a_file_of_another_make_is_refused(tmp_path, content):
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(ValueError, match=r"other\.json is not a"):
        load(tmp_path / "other.json")


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "char"},
        {"kind": "char", "characters": "ab", "id_of": {}},
        {"kind": "char", "characters": 7},
        {"kind": "char", "characters": "aa"},
    ],
    ids=["a field is missing", "a field too many", "another type", "impossible"],
)
def test_a_damaged_file_is_refused_by_its_name(tmp_path, data):
    (tmp_path / "damaged.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"(?s)damaged\.json is not a complete tokenizer of kind 'char'.*save the tok"):
        load(tmp_path / "damaged.json")


def test_a_byte_order_mark_of_an_editor_does_no_harm(tmp_path):
    (tmp_path / "t.json").write_text(json.dumps({"kind": "byte"}), encoding="utf-8-sig")
    assert load(tmp_path / "t.json") == ByteTokenizer()


def test_lesson_01_alone_opens_its_own_kinds_and_says_who_knows_the_others(tmp_path):
    from gptlab.bpe import BPETokenizer

    BPETokenizer.train("", 256).save(tmp_path / "bpe.json")
    CharTokenizer.from_text("a").save(tmp_path / "char.json")
    code = (
        "import sys; from gptlab import tokens; print(tokens.load(sys.argv[1]))\n"
        "try: tokens.load(sys.argv[2])\nexcept ValueError as error: print(error)\n"
        "from gptlab import tokenizers; print(tokenizers.load(sys.argv[2]))"
    )
    files = [str(tmp_path / "char.json"), str(tmp_path / "bpe.json")]
    done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True)
    char, refused, bpe = done.stdout.splitlines()
    assert char == "CharTokenizer(V=1: 'a')" and bpe == "BPETokenizer(V=256, special_tokens=[])"
    assert "its kind is 'bpe', and the kinds known so far are char, word, byte; `from gptlab.tokenizers" in refused


def test_a_file_of_another_kind_says_how_to_open_it(tmp_path):
    CharTokenizer.from_text("a").save(tmp_path / "t.json")
    with pytest.raises(ValueError, match=r"'char', not 'word'.*gptlab\.tokens\.load"):
        WordTokenizer.load(tmp_path / "t.json")


# ---- Streaming -------------------------------------------------------------------------------------------------------


@given(tricky_text)
def test_a_character_still_arriving_is_never_shown_broken(text):
    pieces = list(stream_decode(ByteTokenizer(), ByteTokenizer().encode(text)))
    assert pieces == list(text)  # bytes come one by one, so each piece is exactly one character


@given(st.lists(st.integers(0, 255)))
def test_a_stream_says_the_same_as_decoding_at_once_even_for_bytes_that_are_no_text(ids):
    assert "".join(stream_decode(ByteTokenizer(), ids)) == ByteTokenizer().decode(ids)


def test_a_character_that_never_becomes_whole_appears_at_the_end_only():
    decoder = StreamDecoder(ByteTokenizer())
    assert [decoder.push(id) for id in "🦊".encode()[:3]] == ["", "", ""]
    assert decoder.flush() == "\ufffd"
    assert decoder.push(ord("a")) == "a"  # as new


@each_tokenizer
def test_every_tokenizer_can_be_streamed(tokenizer):
    assert "".join(stream_decode(tokenizer, iter(tokenizer.encode(FABLE)))) == FABLE


def test_the_lesson_needs_neither_torch_nor_the_lesson_after_it():
    code = "import sys, gptlab.tokens; sys.exit(any(name in sys.modules for name in ('torch', 'gptlab.bpe', 'regex')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_character_vocabulary_can_have_an_end_token_that_no_text_is_encoded_as(tmp_path):
    tokenizer = CharTokenizer.from_text("<|endoftext|>", special_tokens=[END_OF_TEXT])
    assert tokenizer.end == tokenizer.vocab_size - 1 == len(tokenizer.characters)
    assert tokenizer.end not in tokenizer.encode(END_OF_TEXT)
    assert tokenizer.decode([tokenizer.end]) == END_OF_TEXT
    tokenizer.save(tmp_path / "t.json")
    assert load(tmp_path / "t.json") == tokenizer != CharTokenizer.from_text("<|endoftext|>")
    assert "endoftext" in repr(tokenizer)
    with pytest.raises(ValueError, match="their ids follow the 2 characters, from 2 on"):
        CharTokenizer("ab", {END_OF_TEXT: 1})
