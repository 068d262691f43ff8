"""A page computes what Python computes: its JavaScript, run in node, against the package. And what a page refuses."""

import dataclasses
import json
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from random_texts import texts
from small_models import VARIANTS, small

from gptlab import attention, checkpoints, commands, config, next_token, page, sampling, splitting
from gptlab.bpe import BPETokenizer
from gptlab.chat_template import ChatTemplate
from gptlab.config import GPTConfig, RopeScaling
from gptlab.merging import merge_by_rank
from gptlab.model import GPT
from gptlab.page import assembling, packing, patterns
from gptlab.runs.recipes import Recipe, model_config
from gptlab.tokens import ByteTokenizer, CharTokenizer, WordTokenizer
from gptlab.unigram import UnigramTokenizer

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed, which runs the page's JavaScript here")
FABLES, ASSISTANT = (Path(__file__).parents[1] / "data" / "models" / name for name in ("fables", "assistant"))


def engine(folder, *tasks, options=()):
    """The answers of the page's engine; each task names what is to be done. Options are node's own."""
    path = folder / "tasks.json"
    path.write_text(json.dumps(tasks), encoding="utf-8")
    call = [NODE, *options, str(Path(__file__).with_name("page_engine.mjs")), str(assembling.MODULES), str(path)]
    done = subprocess.run(call, capture_output=True, text=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def carried(model, weights="float16"):
    """What a page carries of a model, after which the model has the same rounded numbers."""
    V = model.config.vocab_size
    packed = packing.pack_weights(model, V, weights)
    with torch.no_grad():
        for name, numbers in packing.rounded(model, V, weights).items():
            model.get_parameter(name).copy_(numbers)
    in_base85 = packing.in_base85(packed.weights)
    return {"config": packing.config_entries(model, V), "tensors": packed.tensors, "weights": in_base85}


def visible(shape):
    """A model whose parameters are all far from zero, so that a wrong one shows."""
    torch.manual_seed(0)
    model = GPT(shape).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.25)
    return model


def of_parts(parts):
    sizes = dict(context=24, n_layer=2, n_head=4, n_embd=32)
    return visible(model_config(Recipe(parts=parts, model=sizes), vocab_size=41))


def ids_of(n, V=40, seed=1):
    return torch.randint(0, V, (n,), generator=torch.Generator().manual_seed(seed)).tolist()


@torch.no_grad()
def logits_of(model, ids):
    return model(torch.tensor([ids]))[0][0]


def assert_close(found, expected, tolerance=2e-5):
    """Equal up to a fraction of the largest number."""
    found = torch.tensor(found).reshape(expected.shape)
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


# ── The model ────────────────────────────────────────────────────────────────────────────────────────────────────────


@needs_node
@pytest.mark.parametrize("parts", ["gpt2", "llama", "modern"])
def test_logits_equal_pytorchs_with_the_parts_of_each_recipe(parts, tmp_path):
    ids, tasks, expected = ids_of(24), [], []
    for weights in ("float16", "int8", "float32"):
        model = of_parts(parts)
        tasks.append(dict(what="forward", data=carried(model, weights), ids=ids))
        expected.append(logits_of(model, ids))
    for answer, logits in zip(engine(tmp_path, *tasks), expected, strict=True):
        assert_close(answer["logits"], logits)
    assert not torch.allclose(expected[0], expected[1], atol=1e-2)  # int8 is coarser, and was compared with its own


OTHER_PARTS = [
    *VARIANTS,
    dict(mlp="gelu_tanh", tie_weights=False, norm="rmsnorm"),
    dict(position="sinusoidal", bias=False, n_embd=36, n_head=4),
    dict(position="none", mlp="relu2", convolution=4, mlp_size=7, mlp_bias=False),
    dict(position="rope", rope_scaling=RopeScaling(factor=4, context=40), rope_theta=50.0, n_kv_head=1),
]


@needs_node
def test_logits_equal_pytorchs_with_every_other_part(tmp_path):
    models, ids = [small(**changes) for changes in OTHER_PARTS], ids_of(12)
    found = engine(tmp_path, *[dict(what="forward", data=carried(model), ids=ids) for model in models])
    for model, answer in zip(models, found, strict=True):
        assert_close(answer["logits"], logits_of(model, ids))


@needs_node
def test_the_committed_models_logits_equal_pytorchs_over_the_whole_context(tmp_path):
    model, tokenizer = checkpoints.load_model(FABLES)
    ids = ([tokenizer.end, *tokenizer.encode((FABLES.parents[1] / "fables.txt").read_text()[:1500])])[:160]
    [found] = engine(tmp_path, dict(what="forward", data=carried(model), ids=ids))
    assert len(ids) == 160
    assert_close(found["logits"], logits_of(model, ids))


@needs_node
def test_the_numbers_are_rounded_to_float16_or_to_steps_of_a_row():
    model = small(n_layer=1)
    exact = dict(model.named_parameters())
    for weights, steps in (("float16", 2**11), ("int8", 2 * 127)):
        for name, numbers in packing.rounded(model, 40, weights).items():
            largest = exact[name].abs().amax(dim=-1, keepdim=True)
            assert ((numbers - exact[name]).abs() <= largest / steps + 1e-7).all()


@needs_node
def test_a_linear_layer_of_any_size_is_pythons_with_simd_and_without(tmp_path):
    tasks, expected, generator = [], [], torch.Generator().manual_seed(0)
    for n, inputs, outputs in ((1, 5, 7), (7, 8, 4), (8, 3, 1), (13, 16, 11), (160, 128, 6), (30, 900, 5), (9, 1, 8)):
        x, weight, bias = (torch.randn(s, generator=generator) for s in ((n, inputs), (outputs, inputs), (outputs,)))
        sizes = dict(inputs=inputs, outputs=outputs, n=n)
        numbers = dict(x=x.flatten().tolist(), weight=weight.flatten().tolist(), bias=bias.tolist())
        tasks.append(dict(what="linear", **numbers, **sizes))
        expected.append(torch.nn.functional.linear(x, weight, bias))
    for options, simd in (((), True), (("--no-expose-wasm",), False)):  # as in a browser without WebAssembly
        for answer, product in zip(engine(tmp_path, *tasks, options=options), expected, strict=True):
            assert_close(answer["out"], product, 2e-6)
            assert answer["simd"] == [simd]


def test_numbers_too_large_for_float16_are_stored_as_float32():
    model = small(n_layer=1)
    torch.nn.init.constant_(model.norm.weight, 1e5)
    entries = packing.pack_weights(model, 40).tensors
    assert {name for name, entry in entries.items() if entry["dtype"] == "float32"} == {"norm.weight"}
    assert packing.rounded(model, 40)["norm.weight"].eq(1e5).all()


@needs_node
def test_a_text_read_part_by_part_has_the_logits_of_one_pass(tmp_path):
    ids, tasks, expected = ids_of(12), [], []
    for changes in VARIANTS:
        model = small(**changes)
        data = carried(model)
        for ends in ([12], [1, 2, 7, 12], range(1, 13)):
            parts = [ids[start:end] for start, end in zip([0, *ends], ends, strict=False)]
            tasks.append(dict(what="parts", data=data, parts=parts))
            expected.append(logits_of(model, ids)[[end - 1 for end in ends]])
    for answer, logits in zip(engine(tmp_path, *tasks), expected, strict=True):
        assert_close(answer["logits"], logits)


@needs_node
def test_greedy_text_equals_pythons_also_past_the_context(tmp_path):
    tasks, expected = [], []
    for changes in VARIANTS:
        model = small(**changes)
        data = carried(model)
        for length in (1, 5, 12, 20):  # one prompt is longer than the context of 12
            tasks.append(dict(what="greedy", data=data, ids=ids_of(length), n=15))
            expected.append(sampling.generate(model, torch.tensor([ids_of(length)]), 15, temperature=0)[0].tolist())
    assert engine(tmp_path, *tasks) == expected


@needs_node
def test_the_committed_model_writes_the_same_fable(tmp_path):
    model, tokenizer = checkpoints.load_model(FABLES)
    data = carried(model)
    ids = [tokenizer.end, *tokenizer.encode("Once, in a dark forest,")]
    expected = sampling.generate(model, torch.tensor([ids]), 120, temperature=0)[0].tolist()
    assert engine(tmp_path, dict(what="greedy", data=data, ids=ids, n=120)) == [expected]


def without_head(model, layer, head):
    hs = model.config.n_embd // model.config.n_head
    model.blocks[layer].attention.output.weight[:, head * hs : (head + 1) * hs] = 0


def without_layer(model, layer):
    for part in (model.blocks[layer].attention.output, model.blocks[layer].mlp.down):
        for parameter in part.parameters():
            parameter.zero_()


def without_positions(model):
    if model.position is not None:
        model.position.cos.fill_(1.0)
        model.position.sin.zero_()
    else:
        model.embedding.position.weight.zero_()


def without_convolution(model):
    for block in model.blocks:
        block.convolution.weight.zero_()


SWITCHED = [
    (dict(heads=["0.1", "1.3"]), lambda model: [without_head(model, 0, 1), without_head(model, 1, 3)]),
    (dict(layers=[0]), lambda model: without_layer(model, 0)),
    (dict(layers=[0, 1]), lambda model: [without_layer(model, 0), without_layer(model, 1)]),
    (dict(positions=False), without_positions),
    (dict(positions=False, heads=["1.0"]), lambda model: [without_positions(model), without_head(model, 1, 0)]),
    (dict(convolution=False), without_convolution),
]


@needs_node
def test_what_is_switched_off_counts_as_zero_weights_in_python(tmp_path):
    tasks, expected, ids = [], [], ids_of(12)
    for changes in ({}, VARIANTS[1], VARIANTS[2]):
        for switches, zero in SWITCHED:
            model = small(**changes)
            if "convolution" in switches and not model.config.convolution:
                continue
            tasks.append(dict(what="forward", data=carried(model), ids=ids, switches=switches))
            before = logits_of(model, ids)
            with torch.no_grad():
                zero(model)
            expected.append(logits_of(model, ids))
            assert not torch.allclose(before, expected[-1], atol=1e-2)
    for answer, logits in zip(engine(tmp_path, *tasks), expected, strict=True):
        assert_close(answer["logits"], logits)
    parts = [dict(task, what="parts", parts=[ids[:5], ids[5:]]) for task in tasks]
    for answer, logits in zip(engine(tmp_path, *parts), expected, strict=True):
        assert_close(answer["logits"], logits[[4, 11]])


def watched(model, ids):
    """The attention weights of each layer and head, [L, H, T, T]."""
    return torch.stack([weights[0] for weights in attention.watch(model, torch.tensor([ids]))])


@needs_node
def test_the_attention_that_is_watched_is_pythons(tmp_path):
    ids, tasks, expected = ids_of(12), [], []
    for changes in VARIANTS:
        model = small(**changes)
        data = carried(model)
        tasks.append(dict(what="forward", data=data, ids=ids, watch=True))
        tasks.append(dict(what="parts", data=data, parts=[ids[:7], ids[7:]], watch=True))
        expected.append(watched(model, ids))
    answers = engine(tmp_path, *tasks)
    for whole, parts, weights in zip(answers[::2], answers[1::2], expected, strict=True):
        assert_close(whole["attention"], weights)
        assert (parts["rows"], parts["keys"]) == (5, 12)
        assert_close(parts["attention"], weights[:, :, 7:])


@needs_node
def test_past_the_context_the_last_tokens_of_the_window_are_watched(tmp_path):
    model, ids = small(), ids_of(20)
    data = carried(model)
    expected = watched(model, ids[-12:])
    [found] = engine(tmp_path, dict(what="parts", data=data, parts=[ids[:17], ids[17:]], watch=True))
    assert (found["rows"], found["keys"]) == (3, 12)
    assert_close(found["attention"], expected[:, :, -3:])


@needs_node
def test_losses_are_those_of_python_and_of_windows_that_overlap_by_half(tmp_path):
    model, ids = small(), ids_of(31)
    data = carried(model)
    short, long, nothing = engine(tmp_path, *[dict(what="losses", data=data, ids=ids[:n]) for n in (12, 31, 1)])
    log_p = logits_of(model, ids[:12]).log_softmax(dim=-1)
    assert_close(short, torch.stack([-log_p[t, ids[t + 1]] for t in range(11)]))
    expected = []
    for done in range(30):  # windows begin at 0, 6, 12, …, and tell about the second half of theirs
        start = max(0, (done - 6) // 6 * 6)
        expected.append(-logits_of(model, ids[start : done + 1]).log_softmax(dim=-1)[-1, ids[done + 1]])
    assert_close(long, torch.stack(expected))
    assert nothing == []


@needs_node
def test_ids_and_lengths_that_do_not_fit_are_refused(tmp_path):
    data = carried(small())
    wrong, long, none = engine(
        tmp_path,
        dict(what="forward", data=data, ids=[1, 40]),
        dict(what="forward", data=data, ids=ids_of(13)),
        dict(what="parts", data=data, parts=[[]]),
    )
    assert wrong["error"] == "token id 40 is not in this vocabulary, whose ids are 0 to 39"
    assert long["error"] == "13 tokens do not fit a context of 12: pass the last 12"
    assert none["error"] == "there is no token to read: feed at least one"


@needs_node
def test_the_error_function_is_pythons(tmp_path):
    numbers = torch.linspace(-7, 7, 501, dtype=torch.float64)
    [found] = engine(tmp_path, dict(what="erf", numbers=numbers.tolist()))
    assert (torch.tensor(found, dtype=torch.float64) - torch.erf(numbers)).abs().max() < 1e-14


# ── Tokenizers ───────────────────────────────────────────────────────────────────────────────────────────────────────


def fable_tokenizer(pattern=splitting.GPT4_PATTERN):
    tokenizer = checkpoints.read_tokenizer(FABLES / "tokenizer.json")
    return BPETokenizer(tokenizer.ranks, pattern, tokenizer.special_tokens)


@needs_node
def test_ids_equal_pythons_on_ten_thousand_texts(tmp_path):
    tokenizer, written = fable_tokenizer(), texts(10_000)
    spec, expected = packing.pack_tokenizer(tokenizer), [tokenizer.encode(text) for text in written]
    rows = [*expected[:2000], tokenizer.encode("\ufefffox"), [0x80, 0xF0, 0x9F, 858, 0xE2, 0x82]]
    found, decoded = engine(
        tmp_path,
        dict(what="encode", tokenizer=spec, texts=written),
        dict(what="decode", tokenizer=spec, rows=rows),
    )
    assert found == expected
    assert decoded == [tokenizer.decode(row) for row in rows]


OWN_PATTERNS = [
    None,
    r"(?s:.)",
    r"\w+|\W",
    r"(?>the|th)?+\p{Lu}*+\d{2,}+|(?:ab|a)++|[^\W\d_]{1,2}?|\x41|(?i:straße|[k-m])|(?s:.)",
    r"(?i:(?-i:A)b|\p{Ll}c)|[]x^-]+|\s+(?=\S)|[\s\S]",
    r"(?!fox)\p{L}{2,4}+|\u0041{1,1}+|(?:\n|.)",
]


@needs_node
def test_every_pattern_splits_as_in_python(tmp_path):
    written = texts(600, seed=1)
    published = [splitting.GPT2_PATTERN, splitting.LLAMA3_PATTERN, splitting.O200K_PATTERN]
    tokenizers = [fable_tokenizer(pattern) for pattern in [*published, *OWN_PATTERNS]]
    tasks = [dict(what="encode", tokenizer=packing.pack_tokenizer(each), texts=written) for each in tokenizers]
    for tokenizer, found in zip(tokenizers, engine(tmp_path, *tasks), strict=True):
        assert found == [tokenizer.encode(text) for text in written], tokenizer.pattern


def other_tokenizers():
    words = "the fox and the hen, and the greedy fox! " * 9
    pieces = ["<unk>", "<s>", "</s>", "▁", "▁the", "fox", "f", "o", "x", "<sep>", "▁▁", "e"]
    scores = [None, None, None, -1.5, -2.0, -2.25, -3.0, -3.1, -3.3, 0.4, -4.0, -2.9]
    taken = dict(unknown=0, user_defined_symbols=("<sep>",), like_sentencepiece=True)
    return [
        ByteTokenizer(),
        WordTokenizer.from_text(words + "x_1 ² straße"),
        UnigramTokenizer.train(words, 256 + 20),
        UnigramTokenizer.train(words, 20, byte_fallback=False, dummy_prefix=False),
        UnigramTokenizer(pieces, scores, **taken),
        UnigramTokenizer(pieces, scores, remove_extra_whitespaces=True, **taken),
        BPETokenizer.train("", 257, special_tokens=["<|endoftext|>"]),
    ]


@needs_node
@pytest.mark.parametrize("tokenizer", other_tokenizers(), ids=lambda tokenizer: tokenizer.kind)
def test_every_kind_of_tokenizer_reads_and_writes_as_in_python(tokenizer, tmp_path):
    written = [text for text in texts(600, seed=2) if encodes(tokenizer, text)]
    draw = random.Random(3)
    rows = [[draw.randrange(tokenizer.vocab_size) for _ in range(draw.randrange(12))] for _ in range(400)]
    ids, spec = list(range(tokenizer.vocab_size)), packing.pack_tokenizer(tokenizer)
    encoded, decoded, tokens = engine(
        tmp_path,
        dict(what="encode", tokenizer=spec, texts=written),
        dict(what="decode", tokenizer=spec, rows=rows),
        dict(what="tokens", tokenizer=spec, ids=ids),
    )
    assert encoded == [tokenizer.encode(text) for text in written] and len(written) > 20
    assert decoded == [tokenizer.decode(row) for row in rows]
    assert (tokens["vocabSize"], tokens["end"]) == (tokenizer.vocab_size, tokenizer.end)
    assert [bytes(found) for found in tokens["bytes"]] == [tokenizer.token_bytes(id) for id in ids]
    assert tokens["texts"] == [tokenizer.token_bytes(id).decode("utf-8", "replace") for id in ids]


def encodes(tokenizer, text):
    """Whether the text is one that this tokenizer accepts; half a pair is for the byte-level ones only."""
    try:
        text.encode("utf-8")
        return bool([*tokenizer.encode(text)]) or not text
    except ValueError:
        return False


@needs_node
def test_characters_and_what_a_vocabulary_lacks(tmp_path):
    tokenizer = CharTokenizer.from_text("the fox 😀", special_tokens=["<|endoftext|>"])
    spec = packing.pack_tokenizer(tokenizer)
    words = packing.pack_tokenizer(WordTokenizer.from_text("the fox", unknown=None))
    encoded, decoded, missing, unheard, unused = engine(
        tmp_path,
        dict(what="encode", tokenizer=spec, texts=["fox 😀", "hot"]),
        dict(what="decode", tokenizer=spec, rows=[list(range(tokenizer.vocab_size))]),
        dict(what="encode", tokenizer=spec, texts=["a hen"]),
        dict(what="encode", tokenizer=words, texts=["the hen"]),
        dict(what="decode", tokenizer=spec, rows=[[99]]),
    )
    assert encoded == [tokenizer.encode("fox 😀"), tokenizer.encode("hot")]
    assert decoded == [tokenizer.decode(range(tokenizer.vocab_size))]
    assert missing["error"] == f'the character "a" is not one of the {tokenizer.vocab_size} that this model knows'
    assert unheard["error"] == 'the word "hen" is not one that this model knows'
    assert unused["error"] == f"token id 99 is not in this vocabulary of {tokenizer.vocab_size}"


@needs_node
def test_a_chunk_of_any_length_is_merged_as_by_rank(tmp_path):
    ranks = {b"a": 97, b"b": 98, b"ab": 256, b"aa": 257, b"aab": 258, b"abab": 259, b"baa": 260}
    draw = random.Random(0)
    chunks = ["".join(draw.choices("ab", k=draw.randrange(1, 90))) for _ in range(300)]
    known = [[token.decode(), id] for token, id in ranks.items()]
    [found] = engine(tmp_path, dict(what="merge", chunks=chunks, ranks=known))
    for chunk, ways in zip(chunks, found, strict=True):
        assert ways == [[part.decode() for part in merge_by_rank(chunk.encode(), ranks)]] * 2


@needs_node
def test_a_hundred_thousand_pasted_characters_are_encoded(tmp_path):
    tokenizer = fable_tokenizer()
    written = ["a" * 100_000, " " * 50_000 + "x", "the fox. " * 11_000, "\n" * 30_000]
    [found] = engine(tmp_path, dict(what="encode", tokenizer=packing.pack_tokenizer(tokenizer), texts=written))
    assert found == [tokenizer.encode(text) for text in written]


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        (r"(?<=a)b|(?s:.)", "(?<"),
        (r"(?P<x>a)|(?s:.)", "(?P"),
        (r"\ba|(?s:.)", r"\b"),
        (r"(?m)^a|(?s:.)", "(?m"),
        (r"\X", r"\X"),
        (r"(?:a){e<=1}|(?s:.)", "{"),
    ],
)
def test_a_pattern_without_translation_is_refused_by_what_it_has(pattern, what):
    with pytest.raises(ValueError, match="a page cannot carry this tokenizer: its pattern") as error:
        packing.pack_tokenizer(fable_tokenizer(pattern))
    assert f"has {what!r}" in str(error.value)


def test_the_character_sets_are_the_members_and_no_others():
    assert patterns.character_set("[b-d]") == "2q 3"
    assert patterns.character_set("s", "i") == "2b 1 v 1 7f 1"  # S, s, and the long s


# ── Sampling ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@needs_node
def test_probabilities_equal_pythons(tmp_path):
    torch.manual_seed(0)
    rows = torch.randn(20, 50) * 3
    settings = [
        dict(temperature=temperature, top_k=top_k, top_p=top_p)
        for temperature in (0, 0.3, 1.0, 2.5)
        for top_k in (None, 1, 7, 99)
        for top_p in (None, 0.1, 0.9, 1.0)
    ]
    names = dict(temperature="temperature", top_k="topK", top_p="topP")
    tasks = [
        dict(what="probabilities", rows=rows.tolist(), options={names[k]: v for k, v in each.items()})
        for each in settings
    ]
    for each, found in zip(settings, engine(tmp_path, *tasks), strict=True):
        assert torch.allclose(
            torch.tensor(found, dtype=torch.float32), next_token.probabilities(rows, **each), atol=1e-6
        ), each


@needs_node
def test_settings_outside_their_range_are_refused(tmp_path):
    wrong = [dict(temperature=-1), dict(topK=0), dict(topP=0), dict(topP=1.5)]
    tasks = [dict(what="probabilities", rows=[[0, 1]], options=options) for options in wrong]
    nothing = dict(what="probabilities", rows=[[None, None]], options={})  # JSON has no NaN; a null becomes 0
    errors = [answer["error"] for answer in engine(tmp_path, *tasks)]
    assert [error.split(" must")[0].split(" leaves")[0] for error in errors] == [
        "temperature -1", "top-k 0", "top-p 0", "top-p 1.5",
    ]  # fmt: skip
    assert engine(tmp_path, nothing) == [[[0.5, 0.5]]]


@needs_node
def test_a_token_is_sampled_as_often_as_its_probability_says(tmp_path):
    numbers = [(i + 0.5) / 1000 for i in range(1000)]
    [found, last] = engine(
        tmp_path,
        dict(what="sample", probabilities=[0.5, 0, 0.125, 0.375, 0], numbers=numbers),
        dict(what="sample", probabilities=[0.5, 0.49, 0], numbers=[0.9999]),
    )
    assert [found.count(id) for id in range(5)] == [500, 0, 125, 375, 0]
    assert last == [1]  # what rounding leaves over goes to no impossible token


def xoshiro(seed, n):
    """xoshiro128** from its description (Blackman & Vigna 2018), for comparison."""
    mask = 0xFFFFFFFF

    def finish(word):
        word = (word ^ word >> 16) * 0x85EBCA6B & mask
        word = (word ^ word >> 13) * 0xC2B2AE35 & mask
        return word ^ word >> 16

    def left(word, bits):
        return (word << bits | word >> 32 - bits) & mask

    a, b, c, d = (finish(seed + i * 0x9E3779B9 & mask) for i in (1, 2, 3, 4))
    words = []
    for _ in range(2 * n):
        words.append(left(b * 5 & mask, 7) * 9 & mask)
        c, d, shifted = c ^ a, d ^ b, b << 9 & mask
        b, a = b ^ c, a ^ d
        c, d = c ^ shifted, left(d, 11)
    return [((high >> 5) * 2**26 + (low >> 6)) / 2**53 for high, low in zip(words[::2], words[1::2], strict=True)]


@needs_node
def test_a_seed_gives_the_same_random_numbers_everywhere(tmp_path):
    seeds = [0, 1, 2**31, 2**32 - 1]
    found = engine(tmp_path, *[dict(what="random", seed=seed, n=1000) for seed in seeds])
    assert found == [xoshiro(seed, 1000) for seed in seeds]
    means = [sum(numbers) / 1000 for numbers in found]
    assert all(abs(mean - 0.5) < 0.03 for mean in means) and len(set(means)) == 4


# ── The page ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def toy(**changes):
    tokenizer = BPETokenizer.train("the fox and the hen " * 9, 265, special_tokens=["<|endoftext|>"])
    sizes = dict(context=12, n_layer=1, n_head=2, n_embd=12) | changes
    return visible(GPTConfig(tokenizer.vocab_size, **sizes)), tokenizer


def test_the_page_of_the_committed_model_is_small_and_knows_its_fables(tmp_path, capsys):
    out = tmp_path / "mine.html"
    assert commands.run(["page", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert f"{out}: " in said and out.resolve().as_uri() in said
    written = out.read_text(encoding="utf-8")
    assert 1_200_000 < len(written.encode()) <= 1_500_000
    data = data_of(written)
    assert data["prompt"].startswith("Once, in a dark forest") and data["fables"]["vices"] and data["chat"] is None
    assert data["about"]["parameters"] == 504_896 and data["about"]["corpus"] == "fables"


def data_of(written):
    [found] = re.findall(r'<script type="application/json" id="gptlab-model">(.*?)</script>', written, re.DOTALL)
    return json.loads(found)


@needs_node
def test_the_whole_script_is_a_module_that_node_can_read(tmp_path):
    (tmp_path / "all.mjs").write_text(assembling.script(assembling.module_files()), encoding="utf-8")
    done = subprocess.run([NODE, "--check", str(tmp_path / "all.mjs")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_every_file_of_the_page_is_part_of_the_installed_package():
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    globs = re.findall(r'"([^"]+)"', re.search(r'^"gptlab\.page" = \[(.*)\]$', project, re.MULTILINE)[1])
    shipped = {path for glob in globs for path in assembling.FOLDER.glob(glob)}
    there = {path for path in assembling.FOLDER.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert there == shipped


def test_a_fine_tuned_model_gets_what_a_conversation_needs():
    data = page.chat_entries(checkpoints.read_tokenizer(ASSISTANT / "tokenizer.json"))
    tokenizer = checkpoints.read_tokenizer(ASSISTANT / "tokenizer.json")
    words = tokenizer.encode_ordinary("Who <|end|>?")
    by_hand = [data["begin"], data["user"], *words, data["end"], data["assistant"]]
    assert by_hand == ChatTemplate(tokenizer).encode([{"role": "user", "content": "Who <|end|>?"}]).ids
    assert data["stops"] == [data["end"], data["begin"]] and data["example"]
    assert page.corpus_of(ASSISTANT) == "requests"


def test_rows_beyond_the_vocabulary_are_left_out():
    model, tokenizer = toy()
    padded = visible(GPTConfig(tokenizer.vocab_size + 7, context=12, n_layer=1, n_head=2, n_embd=12))
    data = page.page_data(padded, tokenizer, "padded")
    assert data["tensors"]["embedding.token.weight"]["shape"] == [tokenizer.vocab_size, 12]
    assert data["config"]["vocab_size"] == tokenizer.vocab_size
    assert page.page_data(model, tokenizer, "x")["fables"] is None


def test_a_first_prompt_is_what_the_model_writes_itself():
    model, tokenizer = toy()
    assert page.first_prompt(model, tokenizer, "fables") == "Once, in a dark forest, there lived Ada the proud fox."
    assert isinstance(page.first_prompt(model, tokenizer), str)
    letters = CharTokenizer.from_text("abc")
    assert (
        page.first_prompt(visible(GPTConfig(3, context=4, n_layer=1, n_head=1, n_embd=4)), letters).strip("abc") == ""
    )


def test_the_corpus_is_found_in_notes_and_in_a_run(tmp_path):
    assert page.corpus_of(FABLES) == "fables" and page.corpus_of(tmp_path) == ""
    settings, checkpoint = tmp_path / "config.yaml", tmp_path / "step-00000006"
    settings.write_text("corpus: fables\ntexts: []\n")
    assert page.corpus_of(tmp_path) == page.corpus_of(checkpoint) == "fables"
    assert page.name_of(checkpoint) == tmp_path.name
    settings.write_text("corpus: fables\ntexts: [fables]\n")  # a file of one's own
    assert page.corpus_of(tmp_path) == ""
    settings.write_text("corpus: [")
    assert page.corpus_of(tmp_path) == ""
    (tmp_path / "notes.json").write_text("[1]")
    assert page.corpus_of(tmp_path) == ""


@needs_node
def test_from_a_text_to_a_page_that_writes_what_python_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("my.txt").write_text("the vole and the owl went out.\n\nthe owl sang to the vole.\n\n" * 60)
    sizes = ["--n-layer", "1", "--n-embd", "16", "--context", "16", "--batch-size", "2"]
    assert commands.run(["train", "my.txt", "--steps", "2", "--folder", "runs/my", *sizes]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "a web page that runs it" in line)
    assert commands.run(line.split("-m gptlab ")[1].split()) == 0  # as it was told
    data = data_of(Path("my.html").read_text(encoding="utf-8"))
    assert data["about"]["name"] == "my" and data["about"]["corpus"] == "my.txt" and data["fables"] is None
    model, tokenizer = checkpoints.load_model("runs/my")
    carried(model)
    ids = tokenizer.encode("the owl")
    expected = sampling.generate(model, torch.tensor([ids]), 30, temperature=0)[0].tolist()
    written, encoded = engine(
        tmp_path,
        dict(what="greedy", data=data, ids=ids, n=30),
        dict(what="encode", tokenizer=data["tokenizer"], texts=["the owl"]),
    )
    assert (written, encoded) == (expected, [ids])


@needs_node
def test_the_benchmark_compares_the_page_with_pytorch(monkeypatch, capsys):
    from gptlab.commands.bench import page as bench

    model, tokenizer = toy()
    monkeypatch.setattr(checkpoints, "committed", lambda name: (model, tokenizer))
    monkeypatch.setattr(bench, "BROWSERS", ())  # tests/test_page_browser.py has the browser
    bench.bench_page(rounds=1)
    said = capsys.readouterr().out
    assert "11 tokens within the context" in said and "16 tokens past the context" in said
    assert len(re.findall(r"JavaScript in node +[\d,]+ +\d+\.\d\d", said)) == 2
    monkeypatch.setattr(bench.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="bench page needs a browser"):
        bench.bench_page(rounds=1)


def test_data_cannot_end_the_script_that_holds_it():
    tokenizer = CharTokenizer.from_text("</script><!--\u2028")
    written = assembling.as_json(packing.pack_tokenizer(tokenizer))
    assert "<" not in written and json.loads(written)["characters"] == tokenizer.characters


# ── What is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


def run_page(capsys, *arguments):
    assert commands.run(["page", *map(str, arguments)]) == 1
    return capsys.readouterr().err


def test_a_folder_without_a_model_is_refused(tmp_path, capsys):
    assert "page: there is no model in" in run_page(capsys, tmp_path, "--out", tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()


def test_a_model_of_unknown_parts_is_refused(tmp_path, capsys):
    model, tokenizer = toy()
    checkpoints.save_model(model, tmp_path / "m", tokenizer)
    entries = tmp_path / "m" / "config.json"
    entries.write_text(entries.read_text().replace('"gelu"', '"mamba"'))
    assert "unknown mlp 'mamba'" in run_page(capsys, tmp_path / "m", "--out", tmp_path / "a.html")
    object.__setattr__(model.config, "mlp", "mamba")  # a part that Python has learned and the page has not
    with pytest.raises(ValueError, match=r"cannot run a model whose mlp is 'mamba': it knows gelu, gelu_tanh, relu2"):
        page.build(model, tokenizer, "x")


def test_every_part_of_a_configuration_is_known_to_the_page_or_refused():
    parts = dict(norm=config.NORMS, position=config.POSITIONS, mlp=config.MLPS)
    assert parts == packing.PARTS  # a new part: write it in JavaScript, test it above, and add it there
    known = {
        "vocab_size", "context", "n_layer", "n_head", "n_embd", "n_kv_head", "mlp_size", "norm", "position", "mlp",
        "bias", "dropout", "tie_weights", "qk_norm", "convolution", "init", "norm_eps", "rope_theta", "rope_scaling",
        "mlp_bias",
    }  # fmt: skip
    assert {field.name for field in dataclasses.fields(GPTConfig)} == known  # a new field: does the page compute it?


def test_what_is_no_gpt_or_more_than_one_is_refused():
    from gptlab.lora import add_lora

    model, tokenizer = toy()
    with pytest.raises(ValueError, match=r"a page runs a GPT of gptlab.model, not a Linear"):
        page.build(torch.nn.Linear(2, 3), tokenizer, "x")
    with pytest.raises(ValueError, match=r"this model differs in 'blocks.*merge what fine-tuning has added"):
        page.build(add_lora(model, rank=2), tokenizer, "x")


def test_a_tokenizer_that_a_page_cannot_carry_is_refused():
    class Odd(ByteTokenizer):
        kind = "odd"

    with pytest.raises(ValueError, match=r"a page cannot carry a Odd: it reads and writes with CharTokenizer"):
        packing.pack_tokenizer(Odd())
    with pytest.raises(ValueError, match=r"it replaces characters by a compiled table"):
        packing.pack_tokenizer(UnigramTokenizer(["a"], [-1.0], precompiled_charsmap=b"x"))


def test_too_large_a_model_is_refused_with_its_size_and_the_limit():
    large = GPTConfig.gpt2("124M")
    with pytest.raises(
        ValueError, match=r"124,000,000 parameters .* about 310 MB with float16, and 24 MB is the limit"
    ):
        packing.check_size(large, 124_000_000)
    with pytest.raises(ValueError, match=r"12,000,000 parameters .* 30 MB .*: store them with int8"):
        packing.check_size(large, 12_000_000)
    packing.check_size(large, 12_000_000, "int8")


def test_the_page_itself_is_held_to_the_limit(monkeypatch):
    monkeypatch.setattr(page, "LARGEST", 1000)
    with pytest.raises(ValueError, match=r"the page would have 0\.\d MB, and 0 MB is the limit"):
        page.build(*toy(), "x")


def test_a_page_replaces_a_page_and_nothing_else(tmp_path, capsys):
    model, tokenizer = toy()
    checkpoints.save_model(model, tmp_path / "m", tokenizer)
    out = tmp_path / "a.html"
    assert commands.run(["page", str(tmp_path / "m"), "--out", str(out)]) == 0
    assert commands.run(["page", str(tmp_path / "m"), "--out", str(out), "--weights", "int8"]) == 0
    assert data_of(out.read_text(encoding="utf-8"))["about"]["weights"] == "int8"
    capsys.readouterr()

    other = tmp_path / "thesis.html"
    other.write_text("<p>my thesis</p>")
    assert "is no page that this command has made" in run_page(capsys, tmp_path / "m", "--out", other)
    assert other.read_text() == "<p>my thesis</p>"
    assert "there is no folder" in run_page(capsys, tmp_path / "m", "--out", tmp_path / "no" / "a.html")
    assert "is a folder: name the file" in run_page(capsys, tmp_path / "m", "--out", tmp_path / "m")


# ── Assembly ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def modules(folder, **sources):
    for name, source in sources.items():
        (folder / f"{name}.js").write_text(source)
    return assembling.script(assembling.module_files(folder))


def test_modules_stand_after_those_that_they_import(tmp_path):
    whole = modules(
        tmp_path,
        a='import {\n  one,\n} from "./b.js";\nconst two = one + 1;\nexport { };\n'.replace("export { };\n", ""),
        b='import { zero } from "./c.js";\nexport const one = zero + 1;\n',
        c="export const zero = 0;\nexport function next(number) {\n  return number;\n}\n",
    )
    assert whole.index("const zero") < whole.index("const one") < whole.index("const two")
    assert "import" not in whole and "export" not in whole


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (dict(a="const x = 1;", b="export function x() {}"), "b.js and a.js both define 'x'"),
        (dict(a='import { b } from "./b.js";', b='import { a } from "./a.js";'), "a.js imports b.js imports a.js"),
        (dict(a='import { b } from "./b.js";'), "a.js imports b.js, and there is no such file"),
        (dict(a='import b from "./c.js";'), "a.js has 'import b from"),
        (dict(a="export default 3;"), "a.js has 'export default 3;'"),
        (dict(a="const { x } = y;"), r"a.js has 'const \{'"),
        (dict(a='const x = "</script>";'), "a.js contains </script"),
    ],
)
def test_what_cannot_be_one_script_is_refused(sources, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        modules(tmp_path, **sources)


def test_a_page_needs_each_place_once():
    with pytest.raises(ValueError, match=r"page\.html has 0 times <!-- style -->, and needs it once"):
        assembling.fill("<p></p>", {"style": "x"})
