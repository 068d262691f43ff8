"""Sampling: what each knob leaves possible, and a cache that changes nothing but the time."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import VARIANTS, draw_ids, small
from unchecked import unchecked

from gptlab import sampling
from gptlab.bpe import BPETokenizer
from gptlab.lab.breaking import broken
from gptlab.model import GPT, GPTConfig
from gptlab.sampling import (
    SamplingOptions,
    draw,
    entropy,
    generate,
    generate_each,
    keep_min_p,
    keep_top_p,
    penalise,
    probabilities,
    stream,
    tell_stories,
)

__all__ = ["unchecked"]
LOGITS = torch.tensor([0.0, 3.0, 1.0, 2.0])


def test_temperature_sharpens_and_flattens():
    cold, plain, hot = (probabilities(LOGITS, temperature=t)[1].item() for t in (0.5, 1.0, 2.0))
    assert cold > plain > hot > 0.25
    assert torch.allclose(probabilities(LOGITS), LOGITS.softmax(-1))
    assert probabilities(LOGITS, temperature=0).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("temperature", [1e-37, 1e-39, 1e-300])
def test_a_temperature_next_to_nothing_takes_the_best_too(temperature):
    logits = torch.tensor([[50.0, 40.0, -torch.inf], [-90.0, -1e30, 3e38]])
    assert probabilities(logits, temperature=temperature).tolist() == [[1, 0, 0], [0, 0, 1]]


def test_top_k_leaves_exactly_the_k_best_also_when_they_tie():
    assert probabilities(LOGITS, top_k=2).gt(0).tolist() == [False, True, False, True]
    assert int(probabilities(torch.zeros(5), top_k=3).gt(0).sum()) == 3
    assert torch.allclose(probabilities(LOGITS, top_k=9), LOGITS.softmax(-1))


def test_top_p_leaves_the_fewest_that_reach_p():
    likely = LOGITS.softmax(-1)  # about 0.03, 0.64, 0.09, 0.24
    assert probabilities(LOGITS, top_p=0.6).gt(0).tolist() == [False, True, False, False]
    assert probabilities(LOGITS, top_p=0.7).gt(0).tolist() == [False, True, False, True]
    assert torch.allclose(probabilities(LOGITS, top_p=1.0), likely)
    assert torch.allclose(probabilities(LOGITS, top_p=0.7)[1], likely[1] / (likely[1] + likely[3]))


def test_every_distribution_sums_to_one():
    logits = torch.randn(3, 40, generator=torch.Generator().manual_seed(0))
    for options in ({"top_k": 5}, {"top_p": 0.3}, {"temperature": 0.1, "top_k": 7, "top_p": 0.9}, {"temperature": 0}):
        assert torch.allclose(probabilities(logits, **options).sum(-1), torch.ones(3))


def test_min_p_leaves_what_is_not_too_far_below_the_best():
    likely = LOGITS.softmax(-1)  # about 0.03, 0.64, 0.09, 0.24
    assert probabilities(LOGITS, min_p=0.3).gt(0).tolist() == [False, True, False, True]
    assert probabilities(LOGITS, min_p=0.1).gt(0).tolist() == [False, True, True, True]
    assert torch.allclose(probabilities(LOGITS, min_p=0), likely)
    assert probabilities(LOGITS, min_p=1).tolist() == [0, 1, 0, 0]


def test_top_p_of_one_keeps_all_also_where_a_sum_of_many_rounds_above_one():
    logits = torch.randn(50_000, generator=torch.Generator().manual_seed(0))
    assert bool((probabilities(logits, top_p=1.0) > 0).all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_probabilities_are_summed_exactly_whatever_the_type_of_the_logits(dtype):
    logits = (torch.randn(4, 5000, generator=torch.Generator().manual_seed(0)) * 2).to(dtype)
    for keep, p in ((keep_top_p, 0.9), (keep_min_p, 0.013)):
        found = keep(logits, p)
        assert found.dtype == dtype and torch.equal(found.float(), keep(logits.float(), p))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(1.01, 3.0))
def test_a_penalty_lowers_what_was_said_and_nothing_else(seed, penalty):
    torch.manual_seed(seed)
    logits, seen = torch.randn(2, 9) * 3, torch.randint(9, (2, 4))
    after = penalise(logits, seen, penalty)
    said = torch.zeros(2, 9, dtype=torch.bool).scatter(1, seen, True)
    assert bool((after[said] < logits[said]).all()) and torch.equal(after[~said], logits[~said])
    assert torch.equal(after, penalise(logits, torch.cat((seen, seen), 1), penalty))  # how often does not matter


def test_entropy_is_the_logarithm_of_the_choices_where_all_are_alike():
    rows = torch.tensor([[0.25, 0.25, 0.25, 0.25, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0]])
    assert torch.allclose(entropy(rows), torch.tensor([math.log(4), 0.0]))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from([0.3, 1, 1.7]), st.none() | st.integers(1, 30),
    st.none() | st.floats(0.05, 0.99), st.none() | st.floats(0.001, 0.9), st.sampled_from([1.0, 1.3, 0.8]),
)  # fmt: skip
def test_the_same_distribution_as_the_processors_of_transformers(seed, temperature, top_k, top_p, min_p, penalty):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    logits, seen = torch.randn(3, 23) * 2, torch.randint(23, (3, 6))
    theirs = [transformers.RepetitionPenaltyLogitsProcessor(penalty)]
    theirs += [transformers.TemperatureLogitsWarper(float(temperature))]
    if top_k is not None:
        theirs.append(transformers.TopKLogitsWarper(top_k))
    if top_p is not None:
        theirs.append(transformers.TopPLogitsWarper(top_p))
    if min_p is not None:
        theirs.append(transformers.MinPLogitsWarper(min_p))
    expected = transformers.LogitsProcessorList(theirs)(seen, logits.clone()).softmax(-1)
    ours = probabilities(logits, temperature, top_k, top_p, min_p, penalty, seen)
    assert torch.allclose(ours, expected, atol=1e-6)


def test_tokens_are_drawn_as_often_as_their_probabilities_say():
    likely = probabilities(torch.randn(1, 12, generator=torch.Generator().manual_seed(2)), top_p=0.95)
    n = 40_000
    drawn = draw(likely.expand(n, -1).contiguous(), torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn[:, 0], minlength=12)
    possible = likely[0] > 0
    assert int(counts[~possible].sum()) == 0
    expected = n * likely[0][possible]
    chi_square = float(((counts[possible] - expected) ** 2 / expected).sum())
    assert chi_square < 3.5 * int(possible.sum())  # its mean is the number of tokens less one


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": -1.0}, "temperature=-1"),
        ({"top_k": 0}, "top_k=0"),
        ({"top_p": 0.0}, "top_p=0"),
        ({"top_p": 1.5}, "1.5"),
        ({"min_p": -0.1}, "min_p=-0.1"),
        ({"min_p": 1.1}, "a fraction of the largest"),
        ({"repetition_penalty": 0.0, "seen": torch.tensor([1])}, "repetition_penalty=0"),
        ({"repetition_penalty": 1.2}, "needs `seen`"),
    ],
)
def test_impossible_knobs_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        probabilities(LOGITS, **options)


PROMPTS = [[3], [5, 6, 7, 8, 9, 10], [11, 12], [5, 1, 2]]


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("new", [0, 1, 4, 9])  # 6 + 9 is past the context of 12
def test_a_batch_of_different_lengths_says_what_each_row_says_alone(changes, new):
    model = small(**changes)
    alone = [generate(model, torch.tensor([prompt]), new, temperature=0)[0].tolist() for prompt in PROMPTS]
    assert generate_each(model, PROMPTS, new, temperature=0) == alone
    assert generate_each(model, PROMPTS, new, temperature=0, use_cache=False) == alone


def test_rows_of_different_lengths_end_with_their_own_stop_and_not_with_one_in_the_prompt():
    model = small()
    alone = [generate(model, torch.tensor([p]), 9, temperature=0)[0].tolist() for p in PROMPTS]
    for stops in ({alone[0][3]}, {alone[1][-1], alone[3][4]}, {5}):
        expected = []
        for row, prompt in zip(alone, PROMPTS, strict=True):
            end = [i for i in range(len(prompt), len(row)) if row[i] in stops]
            expected.append(row[: end[0] + 1] if end else row)
        assert generate_each(model, PROMPTS, 9, temperature=0, stop=stops) == expected


def test_each_of_several_stop_tokens_ends_a_row():
    model, ids = small(), draw_ids(5, 3)
    free = generate(model, ids, 8, generator=torch.Generator().manual_seed(4))[:, 3:]
    stops = {int(free[0, 2]), int(free[1, 4])}
    stopped = generate(model, ids, 8, generator=torch.Generator().manual_seed(4), stop=stops)[:, 3:]
    for before, after in zip(free.tolist(), stopped.tolist(), strict=True):
        first = next((i for i, token in enumerate(before) if token in stops), len(before) - 1)
        assert after[: first + 1] == before[: first + 1]
        assert set(after[first + 1 :]) <= {before[first]}


def test_one_stop_token_may_come_as_any_kind_of_integer():
    model, ids = small(), draw_ids(1, 3)
    stop = int(generate(model, ids, 4, temperature=0)[0, 5])
    expected = generate(model, ids, 8, temperature=0, stop=stop)
    assert expected.shape[1] < 3 + 8
    for kind in (np.int64, torch.tensor, lambda i: {np.int64(i)}, lambda i: torch.tensor([i, i]), lambda i: [i, i]):
        assert torch.equal(generate(model, ids, 8, temperature=0, stop=kind(stop)), expected)
        assert generate_each(model, ids.tolist(), 8, temperature=0, stop=kind(stop)) == expected.tolist()
    assert generate(model, ids, 8, temperature=0, stop=set()).shape[1] == 3 + 8


def test_a_model_that_may_see_the_future_is_read_without_a_cache():
    sound, sick, ids = small(), broken(small().config, "mask").eval(), draw_ids(9, 5)
    for parameter in sound.parameters():
        torch.nn.init.normal_(parameter)
    sick.load_state_dict(sound.state_dict())
    expected = generate(sick, ids, 7, temperature=0, use_cache=False)
    assert torch.equal(generate(sick, ids, 7, temperature=0), expected)
    assert not torch.equal(generate(sound, ids, 7, temperature=0), expected)


def test_a_penalty_counts_the_prompt_and_what_was_generated():
    model, ids = small(), draw_ids(1, 4)
    row = generate(model, ids, 8, temperature=0, repetition_penalty=1e6)[0].tolist()
    assert len(set(row)) == len(set(ids[0].tolist())) + 8  # nothing comes twice


def test_no_new_tokens_and_fewer():
    model, ids = small(), draw_ids(2, 3)
    assert torch.equal(generate(model, ids, 0), ids)
    with pytest.raises(ValueError, match="max_new_tokens=-1"):
        generate(model, ids, -1)
    with pytest.raises(ValueError, match="no token to continue from"):
        generate_each(model, [[1, 2], []], 3)
    assert generate_each(model, [], 3) == []


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("length", [1, 5, 11, 12, 15])
def test_generation_with_and_without_the_cache_is_the_same_also_past_the_context(changes, length):
    model, ids = small(**changes), draw_ids(2, length)
    with_cache = generate(model, ids, 9, generator=torch.Generator().manual_seed(3))
    without = generate(model, ids, 9, generator=torch.Generator().manual_seed(3), use_cache=False)
    assert torch.equal(with_cache, without) and with_cache.shape == (2, length + 9)


def test_a_seed_gives_the_same_text_and_another_seed_another():
    model, ids = small(), draw_ids(2, 3)
    texts = [generate(model, ids, 8, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(texts[0], texts[1]) and not torch.equal(texts[0], texts[2])


def test_a_row_that_has_stopped_stays_stopped_and_all_stopped_ends():
    model, ids = small(), draw_ids(4, 3)
    out = generate(model, ids, 60, generator=torch.Generator().manual_seed(0), stop=7)[:, 3:]
    for row in out.tolist():
        if 7 in row:
            assert set(row[row.index(7) :]) == {7}
    first = int(generate(model, ids[:1], 1, temperature=0)[0, -1])  # what it says first ends it at once
    assert generate(model, ids[:1], 60, temperature=0, stop=first).shape[1] == 3 + 1


@pytest.mark.parametrize("use_cache", [True, False])
def test_rows_that_have_stopped_are_read_no_further_and_change_nothing(use_cache, monkeypatch):
    model, ids, read = small(), draw_ids(9, 3), []
    stops = list(range(0, 11, 2))  # a likely end: rows stop at different steps
    model.register_forward_hook(lambda module, args, out: read.append(len(args[0])))

    def run():
        read.clear()
        seeded = torch.Generator().manual_seed(0)
        return generate(model, ids, 60, generator=seeded, stop=stops, use_cache=use_cache), list(read)

    fast, rows = run()
    monkeypatch.setattr(sampling._Reader, "drop", lambda self, finished: int((~finished).sum()))
    slow, all_rows = run()
    assert torch.equal(fast, slow)
    assert set(all_rows) == {9} and rows[0] == 9 and rows == sorted(rows, reverse=True) and 1 <= rows[-1] <= 2


def test_generating_leaves_the_model_in_the_mode_it_was_in():
    model = small(dropout=0.5).train()
    assert torch.equal(
        generate(model, draw_ids(1, 2), 4, temperature=0), generate(model, draw_ids(1, 2), 4, temperature=0)
    )
    assert model.training


def test_nothing_to_go_on_from_is_refused():
    with pytest.raises(ValueError, match="no token to continue from"):
        generate(small(), torch.zeros(1, 0, dtype=torch.long), 3)


def test_a_stream_is_the_generated_text_in_pieces():
    tokenizer = BPETokenizer.train("the fox and the hen — ß 狐", 260, special_tokens=("<end>",))
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, 32, n_layer=1, n_head=2, n_embd=12)).eval()
    prompt = tokenizer.encode("the")
    pieces = list(stream(model, tokenizer, prompt, 20, generator=torch.Generator().manual_seed(5)))
    ids = generate(model, torch.tensor([prompt]), 20, generator=torch.Generator().manual_seed(5))[0, len(prompt) :]
    assert "".join(pieces) == tokenizer.decode(ids.tolist())


def test_stories_end_at_the_end_token():
    tokenizer = BPETokenizer.train("abab", 258, special_tokens=("<end>",))
    end = tokenizer.special_tokens["<end>"]
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, 60, n_layer=1, n_head=2, n_embd=12))
    stories = tell_stories(model, tokenizer, 30, end, max_new_tokens=50)
    assert len(stories) == 30 and not any("<end>" in story for story in stories)


def test_the_command_passes_its_settings_on(capsys):
    from gptlab import checkpoints
    from gptlab.commands.sample import sample

    model, tokenizer = checkpoints.committed("fables")
    ids = [tokenizer.special_tokens["<|endoftext|>"], *tokenizer.encode("Once")]
    options = dict(temperature=1.7, min_p=0.05, repetition_penalty=1.4)
    sample(prompt="Once", max_new_tokens=20, seed=3, **options)
    row = generate(model, torch.tensor([ids]), 20, generator=torch.Generator().manual_seed(3), **options)[
        0, 1:
    ].tolist()
    assert capsys.readouterr().out.strip() == tokenizer.decode(row).split("<|endoftext|>")[0].strip()


# ---- The same as transformers ----------------------------------------------------------------------------------------


def reference(family: str):
    """A small model of `transformers`, its random weights so large that one token stands out; ours with the same."""
    transformers = pytest.importorskip("transformers")
    from gptlab.huggingface import load_model

    torch.manual_seed(5)
    plain = {"bos_token_id": None, "eos_token_id": None, "initializer_range": 0.3}
    if family == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=61, n_positions=32, n_embd=24, n_layer=2, n_head=4, **plain, resid_pdrop=0, embd_pdrop=0,
            attn_pdrop=0,
        )  # fmt: skip
        theirs = transformers.GPT2LMHeadModel(config)
    else:
        config = transformers.LlamaConfig(
            vocab_size=61, max_position_embeddings=32, hidden_size=24, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, intermediate_size=40, tie_word_embeddings=False, **plain,
        )  # fmt: skip
        theirs = transformers.LlamaForCausalLM(config)
    return theirs.eval(), load_model(theirs).eval()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_ids_equal_those_of_transformers(family, penalty):
    theirs, ours = reference(family)
    ids = torch.randint(61, (3, 5), generator=torch.Generator().manual_seed(1))
    expected = theirs.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=27, do_sample=False, repetition_penalty=penalty,
        pad_token_id=0,
    )  # fmt: skip
    assert torch.equal(generate(ours, ids, 27, temperature=0, repetition_penalty=penalty), expected)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_left_padded_batch_says_the_same_as_in_transformers(family):
    theirs, ours = reference(family)
    ids = torch.randint(1, 61, (3, 6), generator=torch.Generator().manual_seed(2))
    keep = torch.arange(6) >= torch.tensor([[0], [4], [2]])
    expected = theirs.generate(
        ids * keep, attention_mask=keep.long(), max_new_tokens=12, do_sample=False, pad_token_id=0
    )  # fmt: skip
    prompts = [row[real].tolist() for row, real in zip(ids, keep, strict=True)]
    assert [row[-12:] for row in generate_each(ours, prompts, 12, temperature=0)] == expected[:, 6:].tolist()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_every_step_of_transformers_draws_from_our_distribution(family):
    theirs, _ = reference(family)
    ids = torch.randint(61, (2, 5), generator=torch.Generator().manual_seed(1))
    shape = dict(temperature=0.8, top_k=20, top_p=0.9, min_p=0.02, repetition_penalty=1.3)
    torch.manual_seed(0)
    out = theirs.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=True, **shape, pad_token_id=0,
        return_dict_in_generate=True, output_scores=True, output_logits=True,
    )  # fmt: skip
    for i, (logits, scores) in enumerate(zip(out.logits, out.scores, strict=True)):
        ours = probabilities(logits, **shape, seen=out.sequences[:, : 5 + i])
        assert torch.allclose(ours, scores.softmax(-1), atol=1e-6)


# ---- Ties, mistakes, and what users of other libraries type ----------------------------------------------------------


def test_top_p_ends_exactly_where_p_is_reached():
    logits = torch.zeros(3, 4)  # four tokens of exactly a quarter each
    for p, kept in ((0.25, 1), (0.5, 2), (0.75, 3), (0.51, 3)):
        assert keep_top_p(logits, p).isfinite().sum(-1).tolist() == [kept] * 3


@pytest.mark.parametrize("options", [{"temperature": 0}, {}, {"top_k": 3}, {"temperature": 0, "repetition_penalty": 2}])
@pytest.mark.parametrize("broken_weight", [torch.nan, torch.inf])
def test_a_model_whose_weights_are_not_numbers_does_not_write(options, broken_weight):
    model = small()
    with torch.no_grad():
        model.norm.bias[0] = broken_weight
    with pytest.raises(ValueError, match=r"the largest logit is (nan|inf), so no token can be chosen: are the model's"):
        generate(model, draw_ids(2, 3), 4, **options)


def test_logits_without_any_possible_token_are_refused():
    with pytest.raises(ValueError, match=r"largest logit is -inf.*at least one token allowed"):
        probabilities(torch.full((5,), -torch.inf))
    with pytest.raises(ValueError, match="largest logit is nan"):
        probabilities(torch.tensor([1.0, torch.nan, 0.0]))
    assert probabilities(torch.tensor([-torch.inf, 2.0])).tolist() == [0, 1]


def test_settings_may_come_by_position_up_to_the_generator():
    model, ids = small(), draw_ids(2, 3)
    by_name = generate(
        model, ids, 6, temperature=0.7, top_k=9, top_p=0.8, generator=torch.Generator().manual_seed(2), min_p=0.01
    )
    by_position = generate(model, ids, 6, 0.7, 9, 0.8, torch.Generator().manual_seed(2), min_p=0.01)
    assert torch.equal(by_name, by_position)
    with pytest.raises(TypeError, match="positional"):
        generate(model, ids, 6, 0.7, 9, 0.8, torch.Generator(), 7)


@pytest.mark.usefixtures("unchecked")
def test_a_number_in_the_place_of_the_generator_is_explained():
    with pytest.raises(ValueError, match=r"generator=0\.05 must be a torch\.Generator .*by name, such as min_p"):
        generate(small(), draw_ids(1, 3), 3, 1.0, 50, 0.9, 0.05)


@pytest.mark.parametrize(
    ("keyword", "ours"),
    [
        ("do_sample", "temperature=0"), ("eos_token_id", "stop"), ("max_length", "max_new_tokens"),
        ("attention_mask", "generate_each"), ("seed", "generator=torch.Generator"), ("pad_token_id", "generate_each"),
        ("num_beams", "temperature, top_k, top_p, min_p, repetition_penalty, vocab_size, generator, stop, use_cache"),
    ],
)  # fmt: skip
def test_a_keyword_of_another_library_is_answered_with_ours(keyword, ours):
    model, tokenizer = small(), BPETokenizer.train("ab", 256)
    for call in (
        lambda **options: generate(model, draw_ids(1, 3), 3, **options),
        lambda **options: generate_each(model, [[1, 2]], 3, **options),
        lambda **options: list(stream(model, tokenizer, [1], 3, **options)),
    ):
        with pytest.raises(TypeError, match=f"no setting '{keyword}' here: use .*{re.escape(ours)}"):
            call(**{keyword: 1})


def test_options_are_the_settings_of_one_token():
    logits, seen = torch.randn(3, 9, generator=torch.Generator().manual_seed(0)), torch.tensor([[1], [2], [3]])
    options = SamplingOptions(temperature=0.5, top_k=4, repetition_penalty=1.5)
    expected = draw(
        probabilities(logits, temperature=0.5, top_k=4, repetition_penalty=1.5, seen=seen),
        torch.Generator().manual_seed(1),
    )
    assert torch.equal(options.choose(logits, seen, torch.Generator().manual_seed(1)), expected)
    assert torch.equal(SamplingOptions(temperature=0).choose(logits, seen), logits.argmax(-1, keepdim=True))


def test_a_model_inside_a_wrapper_writes_what_it_writes_alone():
    model, wrapper = small(dropout=0.5).train(), torch.nn.Module()
    wrapper.add_module("module", model)  # as DistributedDataParallel holds it
    ids = draw_ids(2, 3)
    assert torch.equal(generate(wrapper, ids, 5, temperature=0), generate(model, ids, 5, temperature=0))
    assert model.training
