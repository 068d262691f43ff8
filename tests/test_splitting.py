"""Splitting a text before byte-pair encoding: nothing is lost, and the quick way splits where the pattern does."""

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from gptlab.splitting import (
    GPT2_PATTERN,
    GPT4_PATTERN,
    LLAMA3_PATTERN,
    O200K_PATTERN,
    any_of,
    last_border,
    split,
)

PUBLISHED = (GPT2_PATTERN, GPT4_PATTERN, LLAMA3_PATTERN)
AS_IN_GPT4O = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}]*[\p{Ll}\p{M}]+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+|(?s:.)"
OTHERS = (
    AS_IN_GPT4O, r"[a-zé]+|(?s:.)", r"x+|\p{L}|(?s:.)", r"[a-y]+|(?s:.)", r"\w+|\W",
    r"(?i)k+|\p{L}+|(?s:.)", r"\b.|(?s:.)",
)  # fmt: skip
# ASCII, letters that are equal to s, k and i when case is ignored, white space and numbers of every kind, marks, emoji
CHARACTERS = (
    " \n\r\t'sSlLxXkKiI1aA.!\x00\x01\x0b\x1c\x1f\x85\u00a0\u2028\u3000\u017f\u212a\u0130\u0131ßéǅª٣½²Ⅷ中\u0301\u200d🦊"
)

any_text = st.text() | st.text(alphabet=CHARACTERS)


@given(any_text, st.sampled_from([*PUBLISHED, None]))
def test_pieces_joined_are_the_text(text, pattern):
    assert "".join(split(text, pattern)) == text


@given(any_text | st.text(alphabet=[chr(code) for code in range(128)]), st.sampled_from([*PUBLISHED, *OTHERS]))
def test_every_text_is_cut_where_the_pattern_cuts_it(text, pattern):
    assert split(text, pattern) == regex.findall(pattern, text)


@given(any_text, any_text, st.sampled_from([*PUBLISHED, O200K_PATTERN]))
def test_at_the_last_border_both_parts_have_the_chunks_of_the_whole_however_it_goes_on(text, rest, pattern):
    border = last_border(text, pattern)
    assert split(text[:border], pattern) + split(text[border:] + rest, pattern) == split(text + rest, pattern)


def test_every_border_between_a_word_and_what_follows_is_found_from_the_end():
    text = "one, two  three\n\nfour's 5"
    borders, end = [], len(text)
    while end := last_border(text[:end], GPT4_PATTERN):
        borders.append(text[end - 1 : end + 1])
    assert borders == ["s ", "e\n", "o ", "e,"]
    assert last_border(text, r"\p{L}+|(?s:.)") == last_border(text, None) == 0  # nothing is known of such a pattern


def test_the_patterns_differ_where_the_lesson_says():
    text = "x = 12345\n    y'LL"
    assert split(text, GPT2_PATTERN) == ["x", " =", " 12345", "\n   ", " y", "'", "LL"]
    assert split(text, GPT4_PATTERN) == ["x", " =", " ", "123", "45", "\n", "   ", " y", "'LL"]


@pytest.mark.parametrize(("text", "lost"), [("ab\ncd", r"'\\n'"), ("ßé, ", "','")])
def test_a_pattern_that_loses_text_is_refused_with_the_place(text, lost):
    with pytest.raises(ValueError, match=f"leaves out {lost} at position 2"):
        split(text, r"\p{L}+")


def test_a_pattern_with_groups_is_refused():
    with pytest.raises(ValueError, match="1 capturing groups"):
        split("ab", r"(a)|b")


def test_the_longest_special_token_is_found_and_none_in_nothing():
    assert any_of(["<a>", "<a>b"]).findall("<a>b<a>") == ["<a>b", "<a>"]
    assert any_of([]) is None


def test_the_benchmark_has_a_row_for_each_script(capsys):
    from gptlab.commands.bench import scripts, tokenizers

    scripts.bench_scripts(tokenizers._in_turn, tokenizers._encoders, characters=2_000, rounds=1)
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row[:16].strip() for row in rows[-6:]] == list(scripts.SENTENCES)
    texts = scripts.script_texts(2_000)
    assert texts["English"].isascii() and not any(text.isascii() for name, text in texts.items() if name != "English")
