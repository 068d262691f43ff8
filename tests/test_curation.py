"""What stands twice, what is private, and a split in which nothing stands on both sides."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptlab.corpora import romeo
from gptlab.curation import duplicates, private_data, split_documents, without_duplicates
from gptlab.runs import documents

WORDS = st.lists(st.sampled_from(["a fox", "A  Fox", "a hen", "a\ncrow", "an owl", "an eel"]), min_size=2, max_size=12)


def kinds(text):
    return [(found.kind, found.text) for found in private_data([text])]


# ---------------------------------------------------------------------------------------------------------- duplicates


def test_case_and_white_space_make_no_difference_and_letters_do():
    assert duplicates(["A fox.", "a hen.", "a\n fox. ", "a fox", "A HEN."]) == [[0, 2], [1, 4]]
    assert duplicates(["ß", "ss", "SS"]) == [[0, 1, 2]] and duplicates([]) == []


def test_of_each_group_the_first_stays_in_its_place():
    assert without_duplicates(["b", "a", "B", "c", "a"]) == ["b", "a", "c"]


def test_the_play_has_the_duplicates_that_were_counted_by_hand():
    speeches = documents.read([romeo.PATH])
    said = {speeches[group[0]].replace("\n", " ") for group in duplicates(speeches)}
    assert "ABRAHAM: Do you bite your thumb at us, sir?" in said and "PETER: Anon!" in said
    assert len(without_duplicates(speeches)) == 840 - 7


# -------------------------------------------------------------------------------------------------------- private data


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Mail to Ada.Lovelace+news@mail.example.co.uk, please.", [("e-mail", "Ada.Lovelace+news@mail.example.co.uk")]),
        ("Call +44 20 7946 0018, or", [("phone number", "+44 20 7946 0018")]),
        ("(020) 7946-0018.", [("phone number", "(020) 7946-0018")]),
        ("030/901820 and 555-867-5309", [("phone number", "030/901820"), ("phone number", "555-867-5309")]),
        ("GB82 WEST 1234 5698 7654 32 is an account", [("IBAN", "GB82 WEST 1234 5698 7654 32")]),
        ("card 4111 1111 1111 1111", [("card number", "4111 1111 1111 1111")]),
        ("from 192.168.17.4:", [("IP address", "192.168.17.4")]),
    ],
)  # fmt: skip
def test_what_is_private_is_found_and_named(text, found):
    assert kinds(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "On 2026-11-28, 28.11.2026 and 11/28/2026 nothing happened.",
        "GB82 WEST 1234 5698 7654 33 has wrong check digits",
        "4111 1111 1111 1112 has a wrong check digit",
        "version 1.2.3.4.5 or 10.2",
        "In 1595 he wrote 3 plays of 24,000 words; 1,115,394 characters.",
        "a@b, @everyone and x = 3.14159265358979",
    ],
)
def test_what_looks_a_little_like_it_is_left_alone(text):
    assert kinds(text) == []


def test_each_finding_knows_its_document_and_the_play_has_none():
    found = private_data(["nothing", "ada@example.org", "bo@example.org"])
    assert [(one.text, one.document) for one in found] == [("ada@example.org", 1), ("bo@example.org", 2)]
    assert private_data(documents.read([romeo.PATH])) == []


# ---------------------------------------------------------------------------------------------------------- splitting


@given(WORDS, st.floats(0.05, 0.95), st.integers(0, 99))
def test_nothing_is_lost_and_nothing_that_says_the_same_is_on_both_sides(texts, fraction, seed):
    def tidied(part):
        return {" ".join(text.casefold().split()) for text in part}

    if len(tidied(texts)) < 2:
        with pytest.raises(ValueError, match=r"of 1 different documents leaves one side empty"):
            split_documents(texts, fraction, seed)
        return
    training, validation = split_documents(texts, fraction, seed)
    assert sorted(training + validation) == sorted(texts) and training and validation
    assert not tidied(training) & tidied(validation)


def test_the_fraction_is_of_characters_and_the_seed_decides():
    rng = random.Random(0)
    texts = [f"{i} " + "x" * rng.randrange(5, 50) for i in range(300)]
    training, validation = split_documents(texts, 0.8, seed=3)
    total = sum(map(len, texts))
    assert 0.8 * total <= sum(map(len, training)) < 0.8 * total + 60
    assert split_documents(texts, 0.8, seed=3) == (training, validation) != split_documents(texts, 0.8, seed=4)
    places = [texts.index(text) for text in validation]
    assert min(places) < 60 and max(places) > 240, "validation comes from everywhere"


def test_a_fraction_that_leaves_a_side_empty_is_refused():
    with pytest.raises(ValueError, match=r"fraction=1.0 of 2 different documents leaves one side empty"):
        split_documents(["a", "b"], 1.0)
