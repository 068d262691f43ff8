"""Hugging Face: GPT-2 and Llama of `transformers` are our `GPT`, both ways; what does not fit is refused by name."""

import copy
import dataclasses
import json
import os
import pickle
import subprocess
import sys
import tempfile
import textwrap
import unicodedata
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from gptlab import checkpoints, commands, huggingface, llama, sampling
from gptlab.bpe import GPT2_PATTERN, BPETokenizer
from gptlab.commands.export import export
from gptlab.corpora import fables
from gptlab.embedding import BigramLanguageModel
from gptlab.huggingface import load_model, read_config, save_model, tokenizer_json, write_config
from gptlab.lab.breaking import broken
from gptlab.model import GPT, GPTConfig, RopeScaling
from gptlab.runs import recipes
from gptlab.tokens import ByteTokenizer, CharTokenizer, WordTokenizer
from gptlab.unigram import UnigramTokenizer

HOME = tempfile.TemporaryDirectory()  # transformers copies the code of an export there
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HOME=HOME.name)
try:
    import transformers
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
except ImportError:
    transformers = None
NEW = transformers is not None and int(transformers.__version__.split(".")[0]) >= 5
needs_transformers = pytest.mark.skipif(transformers is None, reason="transformers is not installed (extra: test)")

TEXT = fables.book()[:6000]
LLAMA = dict(norm="rmsnorm", position="rope", mlp="swiglu", bias=False)


def shake(module: torch.nn.Module, seed: int = 0):
    """Weights, biases and norms at random and large enough that each of them matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.normal_(std=0.2, generator=generator)
            if parameter.dim() == 1 and name.endswith("weight"):
                parameter.add_(1.0)  # a norm
    return module.eval()


def small(**changes) -> GPT:
    return shake(
        GPT(GPTConfig(**{"vocab_size": 31, "context": 16, "n_layer": 2, "n_head": 4, "n_embd": 24, **changes}))
    )


@torch.no_grad()
def assert_same_logits(ours: GPT, theirs: torch.nn.Module, seed: int = 0):
    T = ours.config.context
    ids = torch.randint(ours.config.vocab_size, (3, T), generator=torch.Generator().manual_seed(seed))
    expected = theirs(ids)
    expected = expected[0] if isinstance(expected, tuple) else expected.logits
    assert (ours(ids)[0] - expected).abs().max() <= 1e-5 * expected.abs().max()


# ---- The same logits -------------------------------------------------------------------------------------------------


@st.composite
def gpt2_models(draw):
    H, hs = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    config = transformers.GPT2Config(
        vocab_size=draw(st.integers(3, 97)),
        n_positions=draw(st.integers(1, 21)),
        n_embd=H * hs,
        n_layer=draw(st.integers(1, 3)),
        n_head=H,
        n_inner=draw(st.none() | st.integers(1, 70)),
        activation_function=draw(st.sampled_from(["gelu_new", "gelu", "gelu_pytorch_tanh", "relu2"])),
        layer_norm_epsilon=draw(st.sampled_from([1e-5, 1e-2])),
        tie_word_embeddings=draw(st.booleans()),
        bos_token_id=None,
        eos_token_id=None,
    )
    return shake(transformers.GPT2LMHeadModel(config), seed=draw(st.integers(0, 99)))


@st.composite
def llama_models(draw):
    groups, shared, half = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 5))
    H, context = groups * shared, draw(st.integers(1, 40))
    scaling = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
    scaling["original_max_position_embeddings"] = draw(st.integers(1, context))
    config = transformers.LlamaConfig(
        vocab_size=draw(st.integers(3, 97)),
        max_position_embeddings=context,
        hidden_size=2 * half * H,
        intermediate_size=draw(st.integers(1, 70)),
        num_hidden_layers=draw(st.integers(1, 3)),
        num_attention_heads=H,
        num_key_value_heads=groups,
        rms_norm_eps=draw(st.sampled_from([1e-6, 1e-2])),
        rope_theta=draw(st.sampled_from([50.0, 10_000.0])),
        rope_scaling=draw(st.sampled_from([None, scaling])),
        attention_bias=draw(st.booleans()),
        mlp_bias=draw(st.booleans()),
        tie_word_embeddings=draw(st.booleans()),
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )
    return shake(transformers.LlamaForCausalLM(config), seed=draw(st.integers(0, 99)))


def there_and_back(theirs: torch.nn.Module):
    """Loaded as an object, loaded from a folder, and saved to be opened there: the same logits each time."""
    ours = load_model(theirs)
    assert_same_logits(ours, theirs)
    assert ours.count_parameters() == sum(parameter.numel() for parameter in theirs.parameters())
    assert not ours.training and (ours.head.weight is ours.embedding.token.weight) == ours.config.tie_weights
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(f"{folder}/theirs")
        assert_same_logits(load_model(f"{folder}/theirs"), theirs)
        save_model(ours, f"{folder}/ours")
        opened = transformers.AutoModelForCausalLM.from_pretrained(f"{folder}/ours")
        assert type(opened) is type(theirs)
        assert_same_logits(ours, opened)
        again = load_model(f"{folder}/ours")
    assert again.config == ours.config
    assert_same_logits(again, theirs)


if transformers is not None:

    @given(theirs=gpt2_models())
    @settings(max_examples=32, deadline=None)
    def test_any_gpt2_gives_the_same_logits_loaded_and_saved(theirs):
        there_and_back(theirs)

    @given(theirs=llama_models())
    @settings(max_examples=32, deadline=None)
    def test_any_llama_gives_the_same_logits_loaded_and_saved(theirs):
        there_and_back(theirs)

    @given(
        position=st.sampled_from(["learned", "sinusoidal", "none"]),
        mlp=st.sampled_from(["gelu", "gelu_tanh", "relu2"]),
        bias=st.booleans(),
        mlp_bias=st.none() | st.booleans(),
        tie_weights=st.booleans(),
    )
    @settings(max_examples=15, deadline=None)
    def test_what_gpt2_lacks_or_has_too_much_is_written_as_zeros_or_waves(**parts):
        ours = small(**parts, mlp_size=20)
        with tempfile.TemporaryDirectory() as folder:
            save_model(ours, f"{folder}/ours")
            assert_same_logits(ours, transformers.AutoModelForCausalLM.from_pretrained(f"{folder}/ours"))
            assert_same_logits(load_model(f"{folder}/ours"), ours)


def tiny_llama(**changes):
    shape = dict(hidden_size=24, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4, vocab_size=31)
    shape |= dict(num_key_value_heads=2, max_position_embeddings=16)
    return shake(transformers.LlamaForCausalLM(transformers.LlamaConfig(**(shape | changes))))


@needs_transformers
def test_rotations_of_the_wrong_pairing_fail_the_same_comparison(monkeypatch):
    theirs = tiny_llama()
    ours = load_model(theirs)
    assert_same_logits(ours, theirs)

    def interleaved(self, start, T):
        angles = llama.rope_angles(6, 16)[start : start + T]
        return lambda x: llama.rotate(x, angles, "interleaved")

    monkeypatch.setattr(llama.RotaryPositions, "forward", interleaved)
    with pytest.raises(AssertionError):
        assert_same_logits(ours, theirs)
    with torch.no_grad():  # the rows of queries and keys in the order of the other pairing: right again
        for block in ours.blocks:
            block.attention.query.weight.copy_(llama.to_interleaved(block.attention.query.weight, H=4))
            block.attention.key.weight.copy_(llama.to_interleaved(block.attention.key.weight, H=2))
    assert_same_logits(ours, theirs)


@needs_transformers
def test_llama_31_rotates_its_long_context_as_there():
    scaling = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
    scaling["original_max_position_embeddings"] = 8192
    shape = dict(hidden_size=128, num_attention_heads=1, num_key_value_heads=1, rope_theta=500_000.0)
    theirs = tiny_llama(**shape, max_position_embeddings=131072, rope_scaling=scaling).model.rotary_emb
    ours = load_model(tiny_llama(**shape, max_position_embeddings=131072, rope_scaling=scaling)).position
    cos, sin = theirs(torch.zeros(1), torch.arange(131072)[None])
    assert torch.equal(ours.cos, cos[0]) and torch.equal(ours.sin[:, 64:], sin[0, :, 64:])


STRETCH = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
SHORT = STRETCH | dict(original_max_position_embeddings=16)
BEFORE = "original_max_position_embeddings"


@pytest.mark.parametrize(
    ("entries", "theta", "context"),
    [
        (dict(rope_scaling=SHORT, rope_parameters=dict(rope_type="default", rope_theta=7.0)), 1e4, 16),
        (dict(rope_scaling=SHORT, rope_parameters=dict(rope_theta=7.0), rope_theta=5.0), 5.0, 16),
        (dict(rope_scaling=None, rope_parameters=dict(SHORT, rope_theta=7.0), rope_theta=5.0), 7.0, 16),
        ({"rope_scaling": SHORT, BEFORE: 32}, 1e4, 32),
        ({"rope_parameters": dict(SHORT, rope_theta=7.0), BEFORE: 32}, 7.0, 32),
        ({"rope_parameters": STRETCH, BEFORE: 32}, 1e4, 32),
        ({"rope_parameters": STRETCH}, 1e4, 64),
    ],
)
def test_where_two_entries_speak_of_rotations_the_same_one_counts_as_there(entries, theta, context, tmp_path):
    save_model(small(**LLAMA, context=64), tmp_path / "model")
    del_both = dict.fromkeys(("rope_scaling", "rope_theta"))
    written = {**json.loads((tmp_path / "model" / "config.json").read_text()), **del_both}
    written = {name: value for name, value in (written | entries).items() if value is not None}
    (tmp_path / "model" / "config.json").write_text(json.dumps(written))
    ours = load_model(tmp_path / "model")
    assert (ours.config.rope_theta, ours.config.rope_scaling) == (theta, RopeScaling(8.0, 1.0, 4.0, context))
    if NEW:  # older ones do not know rope_parameters
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
        assert torch.equal(ours.position.cos, theirs.model.rotary_emb(torch.zeros(1), torch.arange(64)[None])[0][0])


@needs_transformers
@pytest.mark.parametrize("parts", [{}, LLAMA | {"n_kv_head": 2}], ids=["gpt2", "llama"])
def test_a_model_of_the_course_is_a_citizen_there(parts, tmp_path):
    tokenizer = BPETokenizer.train(TEXT, 300, special_tokens=["<|endoftext|>", "<|user|>"])
    ours = small(vocab_size=300, context=48, **parts)
    save_model(ours, tmp_path / "mine", tokenizer)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "mine")
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "mine")
    text = "def load(folder):\n    return  None , for<|endoftext|>two<|user|>"
    ids = tokenizer.encode(text, allowed_special="all")
    assert their_tokenizer(text).input_ids == ids
    assert their_tokenizer.decode(ids) == tokenizer.decode(ids)
    assert (their_tokenizer.eos_token_id, theirs.generation_config.eos_token_id) == (298, 298)
    assert their_tokenizer.model_max_length == 48
    prompt = torch.tensor([tokenizer.encode("def load")])
    mine = sampling.generate(ours, prompt, 20, temperature=0, stop=298)
    assert theirs.generate(prompt, max_new_tokens=20, do_sample=False).tolist() == mine.tolist()
    assert {path.name for path in (tmp_path / "mine").iterdir()} == set(huggingface.FILES)  # no code of ours
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]  # nothing is left of the draft


@needs_transformers
def test_a_model_that_ends_its_text_ends_it_there_too(tmp_path):
    tokenizer = BPETokenizer.train("", 257, special_tokens=["<|endoftext|>"])
    ours = small(vocab_size=257)
    prompt = torch.tensor([[104, 105]])
    said = sampling.generate(ours, prompt, 10, temperature=0)[0, 4]
    with torch.no_grad():  # the third token that it says becomes the end
        weight = ours.embedding.token.weight
        weight[[256, int(said)]] = weight[[int(said), 256]]
    save_model(ours, tmp_path / "mine", tokenizer)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "mine")
    mine = sampling.generate(ours, prompt, 10, temperature=0, stop=256)
    assert mine.shape[1] < 12 and mine[0, -1] == 256
    assert theirs.generate(prompt, max_new_tokens=10, do_sample=False).tolist() == mine.tolist()


@needs_transformers
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_numbers_keep_their_type_unless_another_is_asked_for(dtype, tmp_path):
    theirs = tiny_llama().to(dtype)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_model(tmp_path / "theirs")
    assert {parameter.dtype for parameter in ours.parameters()} == {dtype}
    assert torch.equal(ours.head.weight, theirs.lm_head.weight)
    save_model(ours, tmp_path / "ours")
    assert transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", torch_dtype="auto").dtype == dtype
    single = load_model(tmp_path / "theirs", dtype=torch.float32)
    assert_same_logits(single, type(theirs).from_pretrained(tmp_path / "theirs", torch_dtype=torch.float32))


# ---- Files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with a Llama whose head is tied to its table of tokens."""
    save_model(small(**LLAMA), tmp_path / "model")
    return tmp_path / "model"


def rewrite(folder: Path, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def reconfigure(folder: Path, **changes):
    entries = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(entries | changes))


def shard(folder: Path):
    """Two shards and their index instead of one file."""
    tensors = load_file(folder / "model.safetensors")
    names = list(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, members in parts.items():
        save_file({name: tensors[name] for name in members}, folder / file)
    index = {"weight_map": {name: file for file, members in parts.items() for name in members}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()


def test_a_model_is_loaded_from_its_class_as_well(folder):
    expected = load_model(folder)
    found = GPT.from_pretrained(folder, dtype=torch.float64)
    assert found.head.weight.dtype == torch.float64
    assert not found.training and found.config == expected.config
    assert_same_logits(GPT.from_pretrained(str(folder)), expected)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
def test_what_the_compiler_and_ddp_put_in_front_of_names_in_a_file_is_understood(prefix, tmp_path):
    model = small()
    save_model(model, tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    save_file({f"{prefix}{name}": tensor for name, tensor in load_file(file).items()}, file)
    assert_same_logits(load_model(tmp_path / "model"), model)


def test_shards_are_one_model(folder):
    whole = load_model(folder)
    shard(folder)
    parts = load_model(str(folder))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))


def test_a_whole_file_goes_before_the_shards_that_were_left_beside_it(folder):
    whole, file = load_model(folder), (folder / "model.safetensors").read_bytes()
    rewrite(folder, lambda tensors: [tensor.mul_(3) for tensor in tensors.values()])
    shard(folder)
    (folder / "model.safetensors").write_bytes(file)
    assert_same_logits(load_model(folder), whole)
    if transformers is not None:
        assert_same_logits(whole, transformers.AutoModelForCausalLM.from_pretrained(folder))


def test_a_missing_shard_and_one_from_elsewhere_are_named(folder):
    shard(folder)
    (folder / "b.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"missing.*b\.safetensors"):
        load_model(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "../a.safetensors"}}')
    with pytest.raises(ValueError, match=r"no safetensors files in it.*\.\./a\.safetensors"):
        load_model(folder)


def test_files_without_prefix_and_with_old_buffers_are_understood(folder):
    expected = load_model(folder)

    def as_it_was(tensors):
        for name in list(tensors):
            tensors[name.removeprefix("model.")] = tensors.pop(name)
        tensors["layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(3)
        tensors["lm_head.weight"] = tensors["embed_tokens.weight"].clone()

    rewrite(folder, as_it_was)
    assert_same_logits(load_model(folder), expected)


def test_a_tied_head_that_is_stored_all_the_same_may_come_first(folder):
    expected = load_model(folder)
    rewrite(folder, lambda tensors: tensors.update({"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}))
    assert_same_logits(load_model(folder), expected)


def test_the_masks_in_old_files_of_gpt2_are_no_weights(tmp_path):
    ours = small()
    save_model(ours, tmp_path / "model")
    rewrite(
        tmp_path / "model",
        lambda tensors: tensors.update({"transformer.h.0.attn.bias": torch.ones(1, 1, 16, 16, dtype=torch.uint8)}),
    )
    assert_same_logits(load_model(tmp_path / "model"), ours)


@pytest.mark.parametrize(
    ("parts", "buffer"),
    [({}, "transformer.h.0.attn.masked_bias"), (LLAMA, "model.layers.0.self_attn.rotary_emb.inv_freq")],
)
def test_what_old_files_hold_needlessly_has_no_say_in_the_type(parts, buffer, tmp_path):
    save_model(small(**parts).bfloat16(), tmp_path / "model")
    rewrite(tmp_path / "model", lambda tensors: tensors.update({buffer: torch.ones(3)}))
    assert load_model(tmp_path / "model").head.weight.dtype == torch.bfloat16


@needs_transformers
def test_nor_has_such_a_buffer_of_a_module():
    theirs = tiny_llama().bfloat16()
    theirs.model.layers[0].self_attn.rotary_emb = torch.nn.Module()
    theirs.model.layers[0].self_attn.rotary_emb.register_buffer("inv_freq", torch.ones(3))
    assert load_model(theirs).head.weight.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("model.layers.1.mlp.up_proj.weight"), r"missing: layers\.1\.mlp\.up_proj\.weight"),
        (lambda t: t.update({"model.layers.0.extra": torch.ones(2)}), r"unknown: layers\.0\.extra"),
        (
            lambda t: t.update({"model.norm.weight": torch.ones(25)}),
            r"wrong shape: norm\.weight is \(25,\), not \(24,\)",
        ),
        (lambda t: t.update({"lm_head.weight": torch.ones(31, 24)}), "weights are tied, but lm_head"),
        (lambda t: t.update({"model.norm.weight": torch.ones(24).half()}), "several types.*float16.*float32"),
        (
            lambda t: t.update({"model.norm.weight": torch.ones(24, dtype=torch.int8)}),
            r"quantised.*norm\.weight \(I8\)",
        ),
        (lambda t: [t.pop(name) for name in list(t)[:9]], r"missing: .* and 4 more"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(change, words, folder):
    rewrite(folder, change)
    with pytest.raises(ValueError, match=words):
        load_model(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "mistral"}, "model_type 'mistral'.*'gpt2' and 'llama'.*'gptlab'"),
        ({"sliding_window": 4096}, "sliding_window=4096"),
        ({"hidden_act": "relu"}, "hidden_act='relu'"),
        ({"head_dim": 8}, "head_dim=8.*4 heads share C=24 channels, 6 each"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope type 'linear'"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "rope type 'yarn'"),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, r"partial_rotary_factor=0\.5"),
        ({"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, "what low_freq_factor, high_freq_factor should"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"vocab_size": None}, "vocab_size"),
        ({"num_key_value_heads": 3}, "n_kv_head=3"),
    ],
)
def test_an_option_that_changes_what_is_computed_is_refused_by_name(changes, words, folder):
    reconfigure(folder, **changes)
    with pytest.raises(ValueError, match=words) as refused:
        load_model(folder)
    assert str(folder) in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True"),
        ({"scale_attn_weights": False}, "scale_attn_weights=False"),
        ({"add_cross_attention": True}, "add_cross_attention=True"),
        ({"activation_function": "silu"}, "activation_function='silu'.*gelu_new"),
        ({"n_head": 5}, "C=24.*H=5"),
    ],
)
def test_the_same_for_gpt2(changes, words):
    with pytest.raises(ValueError, match=words):
        read_config(write_config(small().config) | changes)


def test_several_rates_of_dropout_are_a_warning():
    entries = write_config(GPTConfig(31, dropout=0.25))
    assert read_config(entries).dropout == 0.25
    with pytest.warns(UserWarning, match=r"dropout is 0 here.*attn_pdrop"):
        assert read_config(entries | {"attn_pdrop": 0.0}).dropout == 0.0
    with pytest.warns(UserWarning, match=r"attention_dropout"):
        assert read_config(write_config(small(**LLAMA).config) | {"attention_dropout": 0.1}).dropout == 0.0


def test_a_pickle_is_never_opened(folder):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(folder / "exploded"),))

    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(FileNotFoundError, match=r"pytorch_model\.bin.*any code.*save_pretrained"):
        load_model(folder)
    assert not (folder / "exploded").exists()


def test_what_is_no_model_is_told_apart(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder 'gpt2'.*hf download"):
        load_model("gpt2")
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        load_model(tmp_path)
    with pytest.raises(ValueError, match="a Linear cannot be loaded"):
        load_model(torch.nn.Linear(2, 3))
    checkpoints.save_model(small(), tmp_path / "ours")
    with pytest.raises(ValueError, match=r"a model of this course: gptlab\.checkpoints\.load_model"):
        load_model(tmp_path / "ours")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="truncated"):
        load_model(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors"):
        load_model(folder)


MEASURE = """
import re, sys, torch
from gptlab.huggingface import load_model
from gptlab.model import GPT, GPTConfig
with torch.device("meta"):
    GPT(GPTConfig(5))
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = peak()
model = load_model(sys.argv[1])
print((peak() - before) / sum(p.numel() * p.element_size() for p in model.parameters()))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc")
@pytest.mark.parametrize("parts", [{}, LLAMA], ids=["gpt2", "llama"])
def test_loading_needs_little_more_memory_than_the_model(parts, tmp_path):
    with torch.device("meta"):
        model = GPT(GPTConfig(4001, 16, n_layer=7, n_head=4, n_embd=512, **parts)).to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)
    model.head.weight = model.embedding.token.weight
    save_model(model, tmp_path / "model")
    done = subprocess.run([sys.executable, "-c", MEASURE, tmp_path / "model"], capture_output=True, text=True)
    assert 0.9 < float(done.stdout) < 1.6, done.stderr  # with the file's copy of all weights it would be 2


# ---- What is written, and what is not --------------------------------------------------------------------------------


MODERN = dict(position="rope", mlp="relu2", bias=False, qk_norm=True, convolution=3)  # GPTConfig.modern's
OWN = {
    "modern": MODERN,
    "fables": dict(MODERN, convolution=4, dropout=0.1),
    "rotated-gelu": dict(position="rope", tie_weights=False, mlp_size=20),
    "waves": dict(position="sinusoidal", norm="rmsnorm", convolution=2, mlp="gelu_tanh"),
    "shared-heads": dict(n_kv_head=2, qk_norm=True, mlp_bias=False),
    "stretched": dict(LLAMA, qk_norm=True, rope_theta=50.0, rope_scaling=RopeScaling(4.0, 1.0, 3.0, 8)),
    "llama-without-positions": dict(LLAMA, position="none", n_kv_head=1),
    "convolution-of-one": dict(convolution=1, norm_eps=1e-2),
}


def opened(folder: Path) -> torch.nn.Module:
    """The model in an export, as transformers opens it."""
    return transformers.AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()


@needs_transformers
@pytest.mark.parametrize("parts", OWN.values(), ids=OWN)
def test_parts_that_neither_family_has_are_exported_with_their_code(parts, tmp_path):
    ours = small(context=24, **parts)
    save_model(ours, tmp_path / "mine")
    theirs = opened(tmp_path / "mine")
    assert type(theirs).__name__ == "GPTLabForCausalLM"
    assert_same_logits(ours, theirs)
    prompt = torch.tensor([[3, 1, 4], [1, 5, 9]])
    expected = sampling.generate(ours, prompt, 12, temperature=0).tolist()
    for use_cache in (True, False):
        assert theirs.generate(prompt, max_new_tokens=12, do_sample=False, use_cache=use_cache).tolist() == expected
    for source in (tmp_path / "mine", theirs):
        again = load_model(source)
        filled = {name: getattr(again.config, name) for name in ("n_kv_head", "mlp_size", "mlp_bias")}
        assert again.config == dataclasses.replace(ours.config, **(filled if source is theirs else {}))
        assert_same_logits(again, theirs)


@needs_transformers
def test_what_transformers_saves_again_is_read_back(tmp_path):
    ours = small(**OWN["fables"])
    save_model(ours, tmp_path / "mine")
    opened(tmp_path / "mine").save_pretrained(tmp_path / "theirs")
    assert_same_logits(load_model(tmp_path / "theirs"), ours)


@needs_transformers
@pytest.mark.parametrize("name", ["modern", "waves", "rotated-gelu"])
def test_prompts_padded_on_the_left_and_beams_are_continued_there(name, tmp_path):
    ours = small(context=24, **OWN[name])
    save_model(ours, tmp_path / "mine")
    theirs = opened(tmp_path / "mine")
    prompts = [[7, 8, 9, 10, 11], [5, 6]]
    expected = sampling.generate_each(ours, prompts, 6, temperature=0)
    padded, mask = torch.tensor([prompts[0], [0, 0, 0, *prompts[1]]]), torch.tensor([[1] * 5, [0, 0, 0, 1, 1]])
    new = theirs.generate(padded, attention_mask=mask, max_new_tokens=6, do_sample=False, pad_token_id=0)
    assert [row[5:] for row in new.tolist()] == [row[-6:] for row in expected]
    beams = [
        theirs.generate(padded[:1], max_new_tokens=6, num_beams=3, do_sample=False, use_cache=use_cache).tolist()
        for use_cache in (True, False)
    ]
    assert beams[0] == beams[1]


@needs_transformers
@pytest.mark.parametrize("parts", ["gpt2", "llama", "modern"])
def test_the_first_line_that_everybody_types_writes_with_each_kind_of_parts(parts, tmp_path):
    tokenizer = CharTokenizer.from_text("the fox and the hen\n")
    recipe = recipes.Recipe(parts=parts, model=dict(context=12, n_layer=1, n_head=2, n_embd=16))
    model = shake(GPT(recipes.model_config(recipe, vocab_size=tokenizer.vocab_size + 3)))  # three rows of padding
    checkpoints.save_model(model, tmp_path / "run", tokenizer)
    export(tmp_path / "run", tmp_path / "mine")
    trust = {"trust_remote_code": True} if parts == "modern" else {}
    write = transformers.pipeline("text-generation", model=str(tmp_path / "mine"), **trust)
    text = write("the")[0]["generated_text"]
    assert text.startswith("the") and len(text) == 12  # to the end of the context and no further
    theirs = write.model.generate(torch.tensor([tokenizer.encode("the")]), do_sample=False)
    ours = sampling.generate(
        model, torch.tensor([tokenizer.encode("the")]), 9, temperature=0, vocab_size=tokenizer.vocab_size
    )
    assert theirs.tolist() == ours.tolist() and tokenizer.decode(ours[0])
    assert write.tokenizer.model_max_length == 12


@needs_transformers
def test_a_text_beyond_the_context_is_refused_there_in_words(tmp_path):
    save_model(small(**MODERN), tmp_path / "mine")
    with pytest.raises(ValueError, match="T=17 tokens do not fit the context of 16"):
        opened(tmp_path / "mine")(torch.zeros(1, 17, dtype=torch.long))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_layer": None}, "does not say what n_layer should be"),
        ({"n_head": "four"}, "not what it should be|n_head"),
        ({"rope_stretch": {"factor": 2, "speed": 3}}, "speed"),
        ({"norm": "batchnorm"}, "unknown norm 'batchnorm'"),
    ],
)
def test_an_export_whose_configuration_was_changed_is_refused_by_name(changes, words, tmp_path):
    save_model(small(**MODERN), tmp_path / "mine")
    reconfigure(tmp_path / "mine", **changes)
    with pytest.raises(ValueError, match=words):
        load_model(tmp_path / "mine")


def test_nothing_is_overwritten_unasked(tmp_path):
    (tmp_path / "mine").mkdir()
    save_model(small(), tmp_path / "mine")  # an empty folder is as good as none
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_model(small(), tmp_path / "mine")
    other = small(n_layer=1)
    save_model(other, tmp_path / "mine", overwrite=True)
    assert_same_logits(load_model(tmp_path / "mine"), other)
    (tmp_path / "mine" / "thesis.txt").write_text("three years")
    with pytest.raises(FileExistsError, match=r"other files \(thesis\.txt\)"):
        save_model(other, tmp_path / "mine", overwrite=True)
    with pytest.raises(FileExistsError, match="is a file"):
        save_model(other, tmp_path / "mine" / "thesis.txt")


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_model_of_the_course_or_from_elsewhere_is_never_overwritten(overwrite, tmp_path, capsys):
    checkpoints.save_model(small(), tmp_path / "mine", CharTokenizer.from_text("the fox"))
    save_model(small(), tmp_path / "gpt2")
    rewrite(tmp_path / "gpt2", lambda tensors: None)  # the same weights, written by another program
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    for name in ("mine", "gpt2"):
        with pytest.raises(FileExistsError, match="not an earlier export, so it is not replaced"):
            save_model(small(n_layer=1), tmp_path / name, overwrite=overwrite)
    options = ["--overwrite"] * overwrite
    assert commands.run(["export", str(tmp_path / "mine"), str(tmp_path / "." / "mine"), *options]) == 1
    assert "is the model itself" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_a_save_that_fails_leaves_nothing_and_what_was_there(tmp_path, monkeypatch):
    first = small()
    save_model(first, tmp_path / "mine")
    monkeypatch.setattr(huggingface.weights, "_tensors", lambda *_: {}["disk full"])
    with pytest.raises(KeyError):
        save_model(small(n_layer=1), tmp_path / "mine", overwrite=True)
    assert_same_logits(load_model(tmp_path / "mine"), first)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="256 ids, but the model only 31"):
        save_model(small(), tmp_path / "mine", ByteTokenizer())


def test_what_the_compiler_and_ddp_have_wrapped_is_unwrapped(tmp_path):
    model = small()
    for name in ("_orig_mod", "module"):  # what torch.compile calls it, and DistributedDataParallel
        wrapper = torch.nn.Module()
        wrapper.add_module(name, model)
        save_model(wrapper, tmp_path / name)
        assert_same_logits(load_model(tmp_path / name), model)


def test_a_model_with_compiled_parts_is_saved_with_its_biases(tmp_path):
    sound = small(**{**LLAMA, "bias": True})
    blocks, both = copy.deepcopy(sound), torch.nn.Module()
    for i, block in enumerate(blocks.blocks):
        blocks.blocks[i] = torch.compile(block)
    both.module = torch.compile(copy.deepcopy(sound))  # as DDP holds what was compiled before
    for name, model in {"blocks": blocks, "both": both}.items():
        save_model(model, tmp_path / name)
        assert_same_logits(load_model(tmp_path / name), sound)


@pytest.mark.parametrize(
    ("fault", "parts", "words"),
    [
        ("mask", {}, "the model is _Unmasked, not GPT"),
        ("scale", {}, r"blocks\.0\.attention\.query_norm is Sequential, not Identity"),
        ("residual", {}, r"blocks\.0 is _Replacing, not Block"),
        ("norm", LLAMA, r"blocks\.0\.norm1 is Identity, not RMSNorm"),
        ("positions", LLAMA, "position is missing, not RotaryPositions"),
    ],
)
def test_a_model_with_other_parts_than_its_configuration_says_is_not_saved_as_a_sound_one(
    fault, parts, words, tmp_path
):
    config = small(**parts).config
    with pytest.raises(ValueError, match=rf"not those of the configuration: .*{words}.*Export the sound model"):
        save_model(broken(config, fault), tmp_path / "mine")
    with pytest.raises(ValueError, match="a BigramLanguageModel cannot be exported: pass a GPT"):
        save_model(BigramLanguageModel(5), tmp_path / "mine")
    assert not any(tmp_path.iterdir())


def test_every_configuration_that_is_written_is_read_back_as_it_was():
    scaling = RopeScaling(factor=4.0, low=1.5, high=3.0, context=8)
    for parts in ({}, {"tie_weights": False, "mlp_size": 7, "mlp": "gelu_tanh", "norm_eps": 1e-3, "dropout": 0.3}):
        config = GPTConfig(31, 16, **parts)
        assert read_config(write_config(config)) == config
    for parts in ({}, {"n_kv_head": 2, "mlp_size": 7, "rope_theta": 3e5, "rope_scaling": scaling, "mlp_bias": True}):
        config = GPTConfig(31, 16, **LLAMA, **parts)
        filled = {"n_kv_head": 4, "mlp_size": 512, "mlp_bias": False} | parts  # written down there
        assert read_config(write_config(config)) == GPTConfig(31, 16, **LLAMA, **filled)


# ---- Tokenizers ------------------------------------------------------------------------------------------------------

MIXED = TEXT[:1200] + "Einen schönen Tag ☃ über ² Ⅷ! '’…\t\r\n\n  <unk> <0x41>"
TOKENIZERS = {
    "char": lambda: CharTokenizer.from_text(MIXED),
    "word": lambda: WordTokenizer.from_text(MIXED),
    "word-known": lambda: WordTokenizer.from_text(MIXED, unknown=None),
    "byte": ByteTokenizer,
    "bpe": lambda: BPETokenizer.train(MIXED, 400, GPT2_PATTERN),
    "bpe-whole": lambda: BPETokenizer.train(MIXED, 300, None),
    "unigram": lambda: UnigramTokenizer.train(MIXED, 430),
    "unigram-characters": lambda: UnigramTokenizer.train(MIXED, 150, byte_fallback=False),
    "unigram-as-it-is": lambda: UnigramTokenizer.train(MIXED.replace("<0", "< 0"), 430, dummy_prefix=False),
    "unigram-bytes-learned": lambda: UnigramTokenizer.train("<0 <0 <0 <0 ax bx " * 9, 265),
}


@cache
def both(name: str):
    tokenizers = pytest.importorskip("tokenizers")
    return TOKENIZERS[name](), tokenizers.Tokenizer.from_str(tokenizer_json(TOKENIZERS[name]()))


old = unicodedata.ucd_3_2_0  # a character younger than a library's tables is no letter to it yet
characters = st.characters(exclude_categories=("Cs",)).filter(lambda c: old.category(c) != "Cn")
texts = st.lists(
    st.sampled_from(MIXED.split(" ")) | st.sampled_from([" ", "  ", "\n", "▁", "<0x41>", "<unk>", "é"]) | characters
).map("".join)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=texts)
@settings(max_examples=60, deadline=None)
def test_each_tokenizer_gives_the_same_ids_and_text_there(name, text):
    ours, theirs = both(name)
    try:
        ids = ours.encode(text)
    except ValueError:  # a character that it does not have: there it is an error too
        with pytest.raises(Exception, match=r"UNK|unk_id"):
            theirs.encode(text)
        return
    assert theirs.encode(text).ids == ids
    assert theirs.decode(ids, skip_special_tokens=False) == ours.decode(ids)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_and_for_the_text_that_it_learned(name):
    ours, theirs = both(name)
    ids = ours.encode(MIXED.replace("<0", "< 0"))
    assert theirs.encode(MIXED.replace("<0", "< 0")).ids == ids
    assert theirs.decode(ids, skip_special_tokens=False) == ours.decode(ids)
    assert theirs.get_vocab_size() == ours.vocab_size


@needs_transformers
@pytest.mark.parametrize("name", TOKENIZERS)
def test_auto_tokenizer_opens_each(name, tmp_path):
    ours = TOKENIZERS[name]()
    save_model(small(vocab_size=ours.vocab_size), tmp_path / "mine", ours)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "mine")
    for text in (" ".join(MIXED.split(" ")[:12]), " ".join(MIXED.split(" ")[-8:]), ""):
        ids = ours.encode(text)
        assert theirs(text).input_ids == ids
        assert theirs.decode(ids) == ours.decode(ids)


def test_no_piece_crosses_a_border_of_words_there_either():
    tokenizers = pytest.importorskip("tokenizers")
    ours = UnigramTokenizer(["▁", "a", "b", "\n", "a▁b", "a\n", "\nb"], [-9.0, -9.0, -9.0, -9.0, -1.0, -1.0, -1.0])
    theirs = tokenizers.Tokenizer.from_str(tokenizer_json(ours))
    assert theirs.encode("a b\na").ids == ours.encode("a b\na") == [0, 1, 0, 2, 3, 1]


def test_what_tokenizer_json_cannot_say_is_refused():
    for special in ("#", "é", "Ġ"):  # as tokenizer.json writes the bytes 35, 233 and 32
        with pytest.raises(ValueError, match=rf"special tokens \['{special}'\] are written like tokens"):
            tokenizer_json(BPETokenizer.train("a", 257, special_tokens=[special]))
    spm = UnigramTokenizer(["<unk>", "▁", "a"], [None, -1.0, -2.0], unknown=0, like_sentencepiece=True)
    with pytest.raises(ValueError, match="SentencePiece cannot be written"):
        tokenizer_json(spm)
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    with pytest.raises(ValueError, match="twice"):
        tokenizer_json(UnigramTokenizer([*fallback, "a", "<0x41>"], [None] * 256 + [-1.0, -2.0]))
    with pytest.raises(ValueError, match=r"cannot be told from bytes"):
        tokenizer_json(UnigramTokenizer([*fallback, "<0", "0x", "x4"], [None] * 256 + [-1.0, -2.0, -3.0]))


class Foreign(ByteTokenizer):
    kind = "foreign"


def test_a_tokenizer_from_elsewhere_is_refused():
    with pytest.raises(ValueError, match=r"a Foreign cannot be written.*from_tiktoken"):
        tokenizer_json(Foreign())


def test_writing_a_tokenizer_needs_no_torch():
    code = (
        "import sys; from gptlab import bpe, huggingface as hf; hf.tokenizer_json(bpe.BPETokenizer.train('aa', 257)); "
    )
    code += "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- The command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_tokenizer", [True, False])
def test_the_command_exports_a_model(with_tokenizer, tmp_path, capsys):
    tokenizer = CharTokenizer.from_text("the fox and the hen") if with_tokenizer else None
    model = small(vocab_size=13)
    checkpoints.save_model(model, tmp_path / "run", tokenizer)
    export(tmp_path / "run", tmp_path / "mine")
    said = capsys.readouterr().out
    assert f"GPT2LMHeadModel of {model.count_parameters():,} parameters" in said
    assert ("AutoTokenizer.from_pretrained" in said) == with_tokenizer
    assert ("no tokenizer.json" in said) != with_tokenizer
    assert_same_logits(load_model(tmp_path / "mine"), model)
    if transformers is not None:
        opened = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "mine")
        assert_same_logits(model, opened)


def test_the_command_answers_what_cannot_be_with_one_line_and_exports_the_fables(tmp_path, capsys):
    assert commands.run(["export", str(tmp_path / "nothing"), str(tmp_path / "mine")]) == 1
    assert "export: there is no model in" in capsys.readouterr().err
    teller = Path(huggingface.__file__).parents[2] / "data" / "models" / "fables"
    assert commands.run(["export", str(teller), str(tmp_path / "mine")]) == 0
    said = capsys.readouterr().out
    assert "GPTLabForCausalLM of 504,896 parameters" in said and said.count("trust_remote_code=True") == 3
    code = [line for line in said.splitlines() if line.startswith("    ")]
    compile(textwrap.dedent("\n".join(code)), "example", "exec")  # it can be pasted
