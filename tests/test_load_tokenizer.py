"""Tokenizers of Hugging Face's with our code: the ids of their library on any text, or a refusal that says why."""

import json
import random
from functools import cache
from pathlib import Path

import pytest

from gptlab import encodings
from gptlab.bpe import GPT2_PATTERN, LLAMA3_PATTERN, BPETokenizer
from gptlab.byte_level import to_printable
from gptlab.corpora import fables
from gptlab.huggingface import load_tokenizer, tokenizer_json
from gptlab.tokens import ByteTokenizer, CharTokenizer, WordTokenizer
from gptlab.unigram import UnigramTokenizer

theirs = pytest.importorskip("tokenizers")

TEXT = (
    "The fox's den, 2024: don't look! It'll rain; WE'VE seen 12345 of them.\r\n\n"
    "    def load(x):\n\treturn x + 1  \n Einen schönen Tag ☃ 狐狸跑了 — ½ Ⅷ 😀👩‍👩‍👧 <|endoftext|> <unk> <0x41>\n"
) * 4
LONG = TEXT.replace("<0", "< 0") + fables.book()[:4000]
SPECIAL = ["<|endoftext|>", "<|user|>"]


def any_texts(n: int = 150):
    """Pieces of the text, and characters from everywhere, joined at random."""
    rng = random.Random(0)
    pieces = [
        *TEXT.split(" "),
        " ",
        "  ",
        "\n",
        "\r\n",
        "'S",
        "'ſ",
        "\u00a0",
        "\u2028",
        "é",
        "e\u0301",
        "▁",
        "\x00",
        "\x85",
    ]
    for _ in range(n):
        chosen = [rng.choice(pieces) for _ in range(rng.randrange(8))]
        chosen += [chr(rng.choice([rng.randrange(32, 0xD800), rng.randrange(0x1F300, 0x1F650)])) for _ in range(2)]
        rng.shuffle(chosen)
        yield "".join(chosen)


def gpt2_style(**model) -> dict:
    """Trained by their library, as GPT-2's tokenizer.json is."""
    tokenizer = theirs.Tokenizer(theirs.models.BPE(**model))
    tokenizer.pre_tokenizer = theirs.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = theirs.decoders.ByteLevel()
    tokenizer.post_processor = theirs.processors.ByteLevel(trim_offsets=False)
    return trained(tokenizer)


def llama3_style(pattern: str = LLAMA3_PATTERN) -> dict:
    """A Split in front, a chunk that is a token is that token, and a token before each text."""
    tokenizer = theirs.Tokenizer(theirs.models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = theirs.pre_tokenizers.Sequence(
        [
            theirs.pre_tokenizers.Split(theirs.Regex(pattern), behavior="isolated", invert=False),
            theirs.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = theirs.decoders.ByteLevel()
    data = trained(tokenizer)
    first = {"SpecialToken": {"id": SPECIAL[0], "type_id": 0}}
    data["post_processor"] = {
        "type": "TemplateProcessing", "single": [first, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [],
        "special_tokens": {SPECIAL[0]: {"id": SPECIAL[0], "ids": [0], "tokens": [SPECIAL[0]]}},
    }  # fmt: skip
    return data


def trained(tokenizer) -> dict:
    alphabet = theirs.pre_tokenizers.ByteLevel.alphabet()
    trainer = theirs.trainers.BpeTrainer(
        vocab_size=420, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    return json.loads(tokenizer.to_str())


QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
FILES = {
    "gpt2": gpt2_style,
    "llama3": llama3_style,
    "qwen-pattern": lambda: llama3_style(QWEN),
    "ours-gpt2": lambda: exported(BPETokenizer.train(LONG, 400, GPT2_PATTERN, SPECIAL)),
    "ours-gpt4": lambda: exported(BPETokenizer.train(LONG, 400, special_tokens=SPECIAL)),
    "ours-one-chunk": lambda: exported(BPETokenizer.train(TEXT, 300, None)),
    "ours-bytes": lambda: exported(ByteTokenizer()),
    "ours-unigram": lambda: exported(UnigramTokenizer.train(LONG, 420)),
    "ours-unigram-plain": lambda: exported(UnigramTokenizer.train(LONG, 140, byte_fallback=False, dummy_prefix=False)),
    "ours-words": lambda: exported(WordTokenizer.from_text(TEXT)),
    "ours-characters": lambda: exported(CharTokenizer.from_text(TEXT)),
}


def exported(tokenizer) -> dict:
    return json.loads(tokenizer_json(tokenizer))


@cache
def file(name: str) -> str:
    return json.dumps(FILES[name]())


def read(data: dict | str, folder: Path):
    (folder / "tokenizer.json").write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return load_tokenizer(folder)


@pytest.mark.parametrize("name", FILES)
def test_any_text_has_the_ids_of_their_library(name, tmp_path):
    ours, library = read(file(name), tmp_path), theirs.Tokenizer.from_str(file(name))
    assert ours.vocab_size == library.get_vocab_size()
    options = {"allowed_special": "all"} if isinstance(ours, BPETokenizer) else {}
    for text in [TEXT, "", *any_texts()]:
        try:
            ids = ours.encode(text, **options)
        except ValueError:  # a character that the vocabulary does not have
            with pytest.raises(Exception, match=r"UNK|unk_id"):
                library.encode(text)
            continue
        assert library.encode(text, add_special_tokens=False).ids == ids
        assert library.decode(ids, skip_special_tokens=False) == ours.decode(ids)


@pytest.mark.parametrize("name", FILES)
def test_what_their_library_writes_again_is_read_again(name, tmp_path):
    library = theirs.Tokenizer.from_str(file(name))
    library.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path / "tokenizer.json").encode(TEXT) == read(file(name), tmp_path).encode(TEXT)


def test_gpt2s_two_files_are_one_tokenizer(tmp_path):
    model = json.loads(file("gpt2"))["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    ours, library = load_tokenizer(tmp_path), theirs.Tokenizer.from_str(file("gpt2"))
    assert ours.special_tokens == {token: library.token_to_id(token) for token in SPECIAL} and ours.end == 0
    for text in any_texts(40):
        assert ours.encode(text, allowed_special="all") == library.encode(text).ids


@pytest.mark.skipif("gpt2" not in encodings.available(), reason="GPT-2's vocabulary is not on this machine")
def test_gpt2s_own_vocabulary_goes_out_and_in(tmp_path):
    tokenizer = BPETokenizer.from_tiktoken(encodings.load("gpt2"))
    again = read(tokenizer_json(tokenizer), tmp_path)
    assert again == tokenizer


# ---- Refused by name -------------------------------------------------------------------------------------------------


def swapped(data):
    merges = data["model"]["merges"]
    merges[3], merges[20] = merges[20], merges[3]


def without(data):
    del data["model"]["merges"][5]


def normalised(data):
    data["normalizer"] = {"type": "NFC"}


def prefixed(data):
    data["pre_tokenizer"]["add_prefix_space"] = True


def stripped(data):
    data["added_tokens"][1]["lstrip"] = True


def plain(data):
    data["added_tokens"][1]["special"] = False


def dropped_out(data):
    data["model"]["dropout"] = 0.1


def unreachable(data):
    data["model"]["vocab"]["abcdefgh"] = len(data["model"]["vocab"])


def strange(data):
    data["model"]["vocab"]["日"] = len(data["model"]["vocab"])


def by_metaspace(data):
    data["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}


def with_fallback(data):
    data["model"]["byte_fallback"] = True


def bytes_missing(data):
    del data["model"]["vocab"][to_printable(b"\xff")]


def another_model(data):
    data["model"]["type"] = "WordPiece"


def twice(data):
    data["added_tokens"][0]["id"] = 7


def no_model(data):
    del data["model"]


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("gpt2", swapped, "not in the order of the ids"),
        ("gpt2", without, "and its merges do not"),
        ("gpt2", normalised, "normalizer of type 'NFC'"),
        ("gpt2", prefixed, "add_prefix_space=True"),
        ("gpt2", stripped, r"'<\|user\|>' has lstrip"),
        ("gpt2", plain, r"'<\|user\|>' is not special"),
        ("gpt2", dropped_out, r"dropout=0\.1"),
        ("gpt2", unreachable, r"no merge leads to b'abcdefgh', and it has not ignore_merges"),
        ("gpt2", strange, "the token '日' is not written in bytes"),
        ("gpt2", by_metaspace, r"\['Metaspace'\] are not ByteLevel"),
        ("gpt2", with_fallback, "only byte-level BPE"),
        ("gpt2", bytes_missing, "1 of the 256 bytes have no id"),
        ("gpt2", another_model, "'WordPiece' is none of BPE, Unigram, WordLevel"),
        ("gpt2", twice, "has two ids"),
        ("gpt2", no_model, "not a complete tokenizer"),
        ("ours-unigram", normalised, "its normalizer.*from_sentencepiece"),
        ("ours-unigram", by_metaspace, r"its pre_tokenizer \('Metaspace'\)"),
        ("ours-words", by_metaspace, "pre_tokenizer|not a complete tokenizer"),
    ],
)
def test_what_would_give_other_ids_is_refused_by_name(name, change, words, tmp_path):
    data = json.loads(file(name))
    change(data)
    with pytest.raises(ValueError, match=words) as refused:
        read(data, tmp_path)
    assert str(tmp_path / "tokenizer.json") in str(refused.value)


@pytest.mark.parametrize("pattern", [r"\w+|\W", r"[a-z&&[^x]]+|\p{L}", r"\d{1,3}+|\D", r"^a|(?s:.)", r"(a)|(?m:.)"])
def test_a_pattern_that_may_mean_something_else_here_is_refused(pattern, tmp_path):
    data = json.loads(file("llama3"))
    data["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": pattern}
    with pytest.raises(ValueError, match="may mean something else"):
        read(data, tmp_path)


def test_what_is_no_tokenizer_of_theirs_is_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no tokenizer\.json in .*no vocab\.json with merges\.txt"):
        load_tokenizer(tmp_path)
    CharTokenizer.from_text("ab").save(tmp_path / "tokenizer.json")
    with pytest.raises(ValueError, match=r"of this course: gptlab\.tokenizers\.load"):
        load_tokenizer(tmp_path)
    for text in ("[1]", "null", '{"model": 5}', '{"model"', '{"model": {"type": ["BPE"]}}'):
        with pytest.raises(ValueError, match=r"tokenizer\.json"):
            read(text, tmp_path)
