"""Fuzzed files: every entry removed or replaced, bytes flipped, cut and nested, and each reader ends in its own error.

What a reader may raise is written beside it. Anything else fails here: a KeyError, a TypeError, a RecursionError, a
decoder's own words without the file, an allocation that nobody asked for. (`state.json` and the tensors of checkpoints
are fuzzed in `test_damage.py`.)
"""

import contextlib
import itertools
import json
import random
import tracemalloc
from typing import Any, NamedTuple

import pytest
import torch
from damaging import changed, entries
from safetensors.torch import save_file

from gptlab import checkpoints, formats, huggingface, tokenizers
from gptlab.bpe import BPETokenizer
from gptlab.checkpoints import CheckpointError
from gptlab.config import GPTConfig
from gptlab.corpora.preparing import prepare
from gptlab.corpora.shards import ShardError, Shards
from gptlab.exercises import store
from gptlab.model import GPT
from gptlab.pretrained import configs, reading
from gptlab.runs.config_file import from_yaml, to_yaml
from gptlab.runs.records import read as read_records
from gptlab.runs.settings import Options, settings_from
from gptlab.tokens import CharTokenizer, WordTokenizer
from gptlab.unigram import UnigramTokenizer

STRANGE = [None, True, -1, 2.5, 10**9, 10**30, 1e400, float("nan"), "x", "", [], {}, [[1]], {"a": {"b": 1}}, "a" * 500]
PLAIN = ["", "null", "3", '"x"', "[]", "{}", "[1]", "[" * 100_000, '{"a":' * 100_000, "9" * 5000, "\x00", "NaN"]


def variants(sound: bytes, draw: random.Random, flips: int = 25):
    """Damaged forms of a file of JSON, always the same ones."""
    data = json.loads(sound)
    for path in entries(data):
        for change in ("removed", *draw.sample(STRANGE, 2)):
            yield json.dumps(changed(data, path, change)).encode()
    for _ in range(flips):
        place = draw.randrange(len(sound))
        yield sound[:place] + bytes([sound[place] ^ 1 << draw.randrange(8)]) + sound[place + 1 :]
        yield sound[:place]
    yield from (content.encode() for content in PLAIN)
    yield from (b"\xff\xfe", b"\xef\xbb\xbf" + sound)


class Format(NamedTuple):
    """A kind of file: its name, a maker of a folder with a sound one, its reader, and what that may raise."""

    file: str
    make: Any
    read: Any
    errors: tuple[type[Exception], ...]


def small_gpt(**changes):
    torch.manual_seed(0)
    return GPT(GPTConfig(**(dict(vocab_size=11, context=8, n_layer=1, n_head=2, n_embd=12) | changes)))


def a_model(folder):
    checkpoints.save_model(small_gpt(), folder)


def weights_only(folder):
    folder.mkdir()
    save_file({"transformer.wte.weight": torch.zeros(11, 12)}, folder / "model.safetensors")


def theirs(entries):
    def make(folder):
        weights_only(folder)
        (folder / "config.json").write_text(json.dumps(entries))

    return make


GPT2 = dict(model_type="gpt2", vocab_size=11, n_positions=8, n_embd=12, n_layer=1, n_head=2, n_inner=None,
            activation_function="gelu_new", layer_norm_epsilon=1e-5, resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1,
            tie_word_embeddings=True, scale_attn_weights=True)  # fmt: skip
LLAMA = dict(model_type="llama", vocab_size=11, max_position_embeddings=8, hidden_size=12, intermediate_size=16,
             num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, hidden_act="silu", rms_norm_eps=1e-6,
             rope_theta=1e4, head_dim=6, attention_bias=False, attention_dropout=0.0,
             rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                               original_max_position_embeddings=8))  # fmt: skip
OWN = configs.write_config(GPTConfig.modern(vocab_size=11, context=8, n_embd=12, n_head=2, n_layer=1))


def an_index(folder):
    theirs(GPT2)(folder)
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": {"transformer.wte.weight": "a.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def a_tokenizer(tokenizer, hugging_face=False):
    def make(folder):
        folder.mkdir()
        if hugging_face:
            (folder / "tokenizer.json").write_text(huggingface.tokenizer_json(tokenizer), encoding="utf-8")
        else:
            tokenizer.save(folder / "tokenizer.json")

    return make


def some_shards(folder):
    text = folder.with_name("text.txt")
    text.write_text("one\n\ntwo\n\nthree\n\nfour")
    prepare([text], tokenizers.open_tokenizer("bytes"), folder, separator="\n\n", validation=0.25)


def some_progress(folder):
    folder.mkdir()
    entry = {"passed": True, "attempts": 2, "mistakes": ["a"]}
    known = {
        "version": 2,
        "exercises": {"attention.2": entry},
        "predictions": {},
        "quiz": {"attention.a": {"right": 1}},
    }
    (folder / "progress.json").write_text(json.dumps(known))


def read_progress(path):
    before = path.read_bytes()
    found = store._from_disk(path)
    if found is None:  # a newer course has written it: it stays as it is
        assert path.read_bytes() == before
        return
    assert set(found) == {"exercises", "predictions", "quiz"}
    assert all(isinstance(entry, dict) for part in found.values() for entry in part.values())


def some_records(folder):
    folder.mkdir()
    record = dict(what="x", device="d", kind="cpu", date="2026-01-01", command="c", commit="0", versions={"torch": "2"},
                  numbers={"steps": 1}, tables={"t": [{"a": 1}]}, curves={"c": [[1, 2]]}, axes={})  # fmt: skip
    (folder / "records.json").write_text(json.dumps([record]))


BPE = BPETokenizer.train("low lower lowest " * 9, 264, special_tokens=["<|end|>"])
UNIGRAM = UnigramTokenizer.train("the fox and the hen and the fox " * 9, 266)
FORMATS = {
    "a model's config.json": Format(
        "config.json", a_model, lambda p: checkpoints.load_model(p.parent), (CheckpointError,)
    ),
    "GPT-2's config.json": Format("config.json", theirs(GPT2), lambda p: reading.find(p.parent), (ValueError,)),
    "Llama's config.json": Format("config.json", theirs(LLAMA), lambda p: reading.find(p.parent), (ValueError,)),
    "an export's config.json": Format("config.json", theirs(OWN), lambda p: reading.find(p.parent), (ValueError,)),
    "an index of weights": Format(
        "model.safetensors.index.json", an_index, lambda p: reading.find(p.parent), (ValueError, FileNotFoundError)
    ),
    **{
        f"a tokenizer of kind {tokenizer.kind}": Format(
            "tokenizer.json", a_tokenizer(tokenizer), tokenizers.load, (ValueError,)
        )
        for tokenizer in (BPE, UNIGRAM, CharTokenizer.from_text("abc"), WordTokenizer.from_text("a fox"))
    },
    **{
        f"Hugging Face's tokenizer of kind {tokenizer.kind}": Format(
            "tokenizer.json", a_tokenizer(tokenizer, True), huggingface.load_tokenizer, (ValueError,)
        )
        for tokenizer in (BPE, UNIGRAM, CharTokenizer.from_text("abc"))
    },
    "a manifest of shards": Format("manifest.json", some_shards, lambda p: Shards(p.parent), (ShardError,)),
    "a file of progress": Format("progress.json", some_progress, read_progress, ()),
    "a file of records": Format("records.json", some_records, read_records, (ValueError,)),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_file_ends_in_a_documented_error(kind, tmp_path):
    format, draw = FORMATS[kind], random.Random(kind)
    folder = tmp_path / "here"
    format.make(folder)
    path = folder / format.file
    sound = path.read_bytes()
    format.read(path)
    refused = seen = 0
    for content in variants(sound, draw):
        path.write_bytes(content)
        seen += 1
        try:
            format.read(path)
        except format.errors as error:
            refused += 1
            assert type(error) not in (UnicodeDecodeError, json.JSONDecodeError), content[:200]
            assert str(error) and len(str(error)) < 3000, content[:200]
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}, of {content[:300]!r}") from error
    assert seen > 60 and (refused > seen // 3 or not format.errors)


def test_a_damaged_config_yaml_ends_in_a_documented_error(tmp_path):
    import yaml

    path, draw = tmp_path / "config.yaml", random.Random(3)
    sound = to_yaml(settings_from(Options())).encode()
    path.write_bytes(sound)
    assert from_yaml(path) == settings_from(Options())
    contents = []
    for content in variants(json.dumps(yaml.safe_load(sound)).encode(), draw, flips=0):
        with contextlib.suppress(ValueError, RecursionError):  # some variants are no JSON
            contents.append(yaml.safe_dump(json.loads(content)).encode())
    assert len(contents) > 60
    for _ in range(60):
        place = draw.randrange(len(sound))
        contents += [sound[:place] + bytes([sound[place] ^ 1 << draw.randrange(8)]) + sound[place + 1 :]]
    bomb = "a: &a [x, x]\n" + "".join(
        f"{new}: &{new} [*{old}, *{old}]\n" for old, new in itertools.pairwise("abcdefghi")
    )
    contents += [
        b"[" * 3000,
        b"\xff",
        b"!!python/object/apply:os.getcwd []",
        b"? [a]\n: 3",
        bomb.encode(),
        b"a" * 200_000,
    ]
    refused = 0
    for content in contents:
        path.write_bytes(content)
        try:
            from_yaml(path)
        except ValueError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error), content[:200]
    assert len(contents) > 150 and refused > len(contents) // 3


@pytest.mark.parametrize("name", ["../up.safetensors", "/etc/a.safetensors", "a\0.safetensors", "..", "", "a.bin"])
def test_an_index_names_files_of_its_own_folder_only(name, tmp_path):
    an_index(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": name}}))
    with pytest.raises(ValueError, match="names files that are no safetensors files in it"):
        reading.find(tmp_path / "m")


@pytest.mark.parametrize("name", ["../up.bin", "/etc/a.bin", "a\0.bin", "..", "passwd"])
def test_a_manifest_names_shards_of_its_own_folder_only(name, tmp_path):
    some_shards(tmp_path / "s")
    path = tmp_path / "s" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = {"file": name, "tokens": 1, "sha256": ""}
    path.write_text(json.dumps(manifest))
    with pytest.raises(
        ShardError, match=r"manifest.json in .* is damaged \(files.* not the name of a shard in its own"
    ):
        Shards(tmp_path / "s")


@pytest.mark.parametrize("entries", [GPT2, LLAMA, OWN])
@pytest.mark.parametrize("value", [10**9, -1, 0, float("nan"), "12", [12]])
def test_an_absurd_size_takes_no_time_and_no_memory(entries, value, tmp_path):
    sizes = [name for name, size in entries.items() if type(size) is int and name not in ("convolution", "mlp_bias")]
    for n, name in enumerate(name for name in sizes if "original" not in name):
        folder = tmp_path / str(n)
        theirs({**entries, name: value})(folder)
        tracemalloc.start()
        try:
            with pytest.raises(ValueError):
                reading.find(folder)
            assert tracemalloc.get_traced_memory()[1] < 10**7
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"special_tokens": {"<|end|>": 10**12}}, r"special_tokens.<\|end\|>=1000000000000 must be a whole number"),
        ({"special_tokens": {"<|end|>": -1}}, "=-1 must be a whole number of at least 0"),
        ({"special_tokens": {"<|end|>": 256.5}}, "=256.5 must be a whole number"),
        ({"pattern": "(("}, "missing"),
        ({"pattern": 3}, "pattern=3 must be text or None"),
    ],
)
def test_ids_that_no_table_has_a_row_for(change, said, tmp_path):
    a_tokenizer(BPE)(tmp_path / "t")
    path = tmp_path / "t" / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=said):
        tokenizers.load(path).encode("a")


def test_a_table_that_unpacks_to_a_whole_memory_is_refused(tmp_path):
    import base64
    import zlib

    a_tokenizer(UNIGRAM)(tmp_path / "t")
    path = tmp_path / "t" / "tokenizer.json"
    bomb = base64.b64encode(zlib.compress(bytes(1 << 27))).decode()
    path.write_text(json.dumps({**json.loads(path.read_text()), "precompiled_charsmap": bomb}))
    with pytest.raises(ValueError, match="a table of characters is cut, or larger than 67,108,864 bytes"):
        tokenizers.load(path)


def test_a_file_that_is_longer_than_its_format_is_not_read(tmp_path):
    (tmp_path / "long.json").write_bytes(b" " * 2000)
    with pytest.raises(ValueError, match=r"long.json' has 2,000 bytes, and such a file has at most 1,000"):
        formats.read_json(tmp_path / "long.json", most=1000)


def test_t5s_tokenizer_is_refused_by_name(tmp_path):
    """Unigram with SentencePiece's rules: a table of characters before it, and ▁ put before every word."""
    t5 = {
        "version": "1.0", "added_tokens": [{"id": 1, "content": "</s>", "special": True}],
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": "ALQCAACEAAAA"},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "post_processor": None, "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
        "model": {"type": "Unigram", "unk_id": 2, "vocab": [["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], ["▁", -2.0]],
                  "byte_fallback": False},
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(t5))
    with pytest.raises(ValueError, match=r"SentencePiece's \(T5 has them\).*UnigramTokenizer.from_sentencepiece"):
        huggingface.load_tokenizer(tmp_path)
