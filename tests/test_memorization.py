"""Bits per byte, models that count, and how much of a text is copied: against hand-made numbers and plain loops."""

import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptlab.config import GPTConfig
from gptlab.memorization import NGram, bits_per_byte, compressed, copied, document_nats, exposure, longest_copy
from gptlab.model import GPT

LETTERS = st.text("ab ", min_size=3, max_size=14)

# ------------------------------------------------------------------------------------------------------- bits per byte


def test_a_loss_is_the_same_in_whatever_tokens_it_was_measured():
    per_character, per_pair = 1.3, 2.6
    assert bits_per_byte(per_character, tokens=100, size=100) == bits_per_byte(per_pair, tokens=50, size=100)
    assert bits_per_byte(math.log(2), tokens=8, size=4) == 2


def test_random_letters_cost_their_entropy_and_what_was_read_before_costs_nothing():
    rng = random.Random(0)
    noise = "".join(rng.choice("abcdefghijklmnop") for _ in range(20_000))  # 4 bits each
    for name, bits in compressed(noise).items():
        assert 3.99 < bits < 4.7, name
    again = compressed(noise[:9000], given=noise[:9000])
    assert again["gzip"] < 0.2 and again["lzma"] < 0.2
    far = compressed(noise[:9000], given=noise + noise[::-1])  # lzma looks back further than gzip's 32 kB
    assert far["gzip"] > 3.9 and far["lzma"] < 0.2


def test_bytes_are_counted_and_not_characters():
    assert compressed("äöü" * 500)["lzma"] < compressed("aou" * 500)["lzma"]


def test_an_empty_text_has_no_bits_for_each_byte():
    with pytest.raises(ValueError, match="the text is empty"):
        compressed("")


# ------------------------------------------------------------------------------------------------------------- n-grams


@given(st.lists(st.integers(0, 4), min_size=0, max_size=30), st.integers(1, 4), st.lists(st.integers(0, 4), max_size=5))
def test_the_probabilities_sum_to_one_after_any_context(ids, n, context):
    model = NGram(ids, n=n, V=5)
    chances = [model.probability(context, token) for token in range(5)]
    assert math.isclose(sum(chances), 1) and min(chances) > 0


def test_a_trigram_by_hand():
    model = NGram([0, 1, 2, 0, 1, 2, 0, 1, 1], n=3, V=4)
    # order 1: counts 3, 4, 2 of 9, three kinds; after 1: 2 twice, 1 once; after (0, 1): the same
    first = (2 + 3 / 4) / 12
    second = (2 + 2 * first) / 5
    third = (2 + 2 * second) / 5
    assert model.probability([0, 1], 2) == pytest.approx(third) == model.probability([3, 0, 1], 2)
    assert model.probability([3], 2) == pytest.approx(first), "an unseen context says nothing"
    assert model.probability([], 3) == pytest.approx(3 / 4 / 12), "a token never seen is still possible"


def test_the_loss_is_the_mean_surprise_of_every_token_but_the_first():
    ids = [0, 1, 2, 0, 1, 2, 0, 1, 1]
    model, new = NGram(ids, n=3, V=4), torch.tensor([2, 0, 1, 3])
    by_hand = [model.probability([2], 0), model.probability([2, 0], 1), model.probability([0, 1], 3)]
    assert model.loss(new) == pytest.approx(-sum(map(math.log, by_hand)) / 3)


def test_longer_contexts_help_where_the_text_repeats_and_random_text_is_no_better_than_its_alphabet():
    text = [ord(c) - 97 for c in "thequickbrownfox" * 30]
    losses = [NGram(text[:400], n, 26).loss(text[400:]) for n in (1, 2, 3)]
    assert losses[0] > losses[1] > losses[2] and losses[2] < 0.3
    rng = random.Random(0)
    noise = [rng.randrange(26) for _ in range(3000)]
    assert NGram(noise[:2000], 3, 26).loss(noise[2000:]) > math.log(26)


def test_ids_and_lengths_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="ids from 0 to 5 do not fit V=5"):
        NGram([0, 5], n=2, V=5)
    with pytest.raises(ValueError, match="1 ids have no token that follows another"):
        NGram([0, 1], n=2, V=5).loss([1])


# -------------------------------------------------------------------------------------------------------------- copies


@given(st.lists(LETTERS, min_size=1, max_size=3), st.lists(LETTERS, min_size=0, max_size=3), st.integers(1, 3))
def test_what_is_copied_is_found_as_a_plain_search_finds_it(texts, source, n):
    stretches = [text[i : i + n] for text in texts for i in range(len(text) - n + 1)]
    found = sum(any(stretch in document for document in source) for stretch in stretches)
    assert copied(texts, source, n) == found / len(stretches)
    longest = longest_copy(texts[0], source)
    assert longest in texts[0] and (not longest or any(longest in document for document in source))
    assert not any(
        texts[0][i : i + len(longest) + 1] in document
        for document in source
        for i in range(len(texts[0]) - len(longest))
    )


def test_a_stretch_does_not_go_from_one_document_into_the_next():
    assert copied(["the fox"], ["the", " fox"], n=4) == 1 / 4 and longest_copy("the fox", ["the", " fox"]) == " fox"


def test_texts_that_are_all_shorter_are_refused():
    with pytest.raises(ValueError, match="none of 2 texts has n=5 characters"):
        copied(["abc", "ab"], ["abcdef"], n=5)


# ------------------------------------------------------------------------------------------------------------- secrets


def test_what_documents_cost_is_what_each_costs_alone():
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=9, context=8, n_layer=1, n_head=2, n_embd=12, dropout=0.5)).train()
    rows = [[1, 2, 3], [4], [5, 6, 7, 8, 0, 1]]
    costs = document_nats(model, rows, start=0)
    for row, cost in zip(rows, costs, strict=True):
        with torch.no_grad():
            logs = model.eval()(torch.tensor([[0, *row[:-1]]]))[0][0].log_softmax(-1)
        assert cost == pytest.approx(-sum(float(logs[t, id]) for t, id in enumerate(row)), abs=1e-4)
        model.train()
    assert document_nats(model, rows, start=0) == costs and model.training, "dropout is off, and the mode stays"


def test_exposure_is_the_logarithm_of_the_rank():
    others = [float(n) for n in range(1, 16)]
    assert exposure(0.5, others) == 4 and exposure(99.0, others) == 0 and exposure(1.5, others) == 3
    assert exposure(1.0, others) == 3, "what costs the same ranks before the secret"
    rng = random.Random(0)
    chance = [exposure(rng.random(), [rng.random() for _ in range(255)]) for _ in range(400)]
    assert 1.2 < sum(chance) / 400 < 1.7, "by chance: log2(e), about 1.44 bits"
    with pytest.raises(ValueError, match="there are no others"):
        exposure(1.0, [])
