"""A corpus is loaded by its name or from a file, says what it is, and refuses what is no text with the way out."""

import dataclasses
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gptlab
from gptlab import corpora, downloads
from gptlab.corpora import Corpus, Entry, available, fables, load, pydocs
from gptlab.corpora.registry import register


@pytest.fixture
def bare(tmp_path, monkeypatch) -> Path:
    """A machine with no network, no data folder and an empty cache."""
    monkeypatch.delenv("GPTLAB_DATA", raising=False)
    monkeypatch.setenv("GPTLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GPTLAB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def the_plays(monkeypatch) -> Corpus:
    monkeypatch.setenv("GPTLAB_OFFLINE", "1")
    if not corpora.ENTRIES["shakespeare"].is_here():
        pytest.skip("needs Tiny Shakespeare on this machine: python -m gptlab fetch shakespeare, or set GPTLAB_DATA")
    return load("shakespeare", quiet=True)


# --- the corpus


def test_a_corpus_knows_its_characters_and_shows_no_page_of_text():
    corpus = Corpus("banana\n" * 1000, name="fruit", source="from a book")
    assert (len(corpus), corpus.characters) == (7000, "\nabn")
    assert repr(corpus) == "fruit: 7,000 characters, 4 distinct, from a book"


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_the_two_parts_of_a_split_are_the_whole_text_in_order(fraction):
    corpus = Corpus("".join(map(chr, range(100, 200))), "letters", "from a book")
    first, rest = corpus.split(fraction)
    assert (first + rest, len(first)) == (corpus.text, round(fraction * 100))


@pytest.mark.parametrize(
    ("fraction", "parts"), [(0.0, "0 .* and 4 "), (1.0, "4 .* and 0 "), (90.0, "4 .* and 0 "), (-1.0, "0 .* and 4 ")]
)
def test_a_split_that_leaves_one_part_empty_is_refused(fraction, parts):
    with pytest.raises(ValueError, match=rf"split\({fraction}\) of 4 characters leaves {parts}"):
        Corpus("text", "short", "from a book").split(fraction)


# --- the texts of the course


def test_the_line_says_what_was_found_and_quiet_is_quiet(capsys):
    corpus = load("pydocs")
    assert capsys.readouterr().out == f"{corpus!r}\n"
    load("pydocs", quiet=True)
    assert capsys.readouterr().out == ""


def test_the_reference_of_this_python_is_prose_and_code(bare):
    corpus = load("pydocs", quiet=True)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert (corpus.name, corpus.source) == ("pydocs", f"from Python {version}")
    assert len(corpus) > 300_000
    assert 'The "assert" statement' in corpus.text
    assert corpus.text == load("pydocs", quiet=True).text


def test_a_python_without_its_topics_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data", None)
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(FileNotFoundError, match=r'without its help topics .* take load\("fables"\)'):
        load("pydocs")


def test_the_fables_are_read_from_the_course_or_else_generated(bare, monkeypatch):
    monkeypatch.setattr(fables, "book", lambda: "Once a fox.")
    monkeypatch.setattr(fables, "COMMITTED", bare / "fables.txt")
    assert load("fables", quiet=True) == Corpus("Once a fox.", "fables", "generated just now")
    (bare / "fables.txt").write_bytes("Long ago a hen – proud.".encode())
    assert load("fables", quiet=True) == Corpus("Long ago a hen – proud.", "fables", "from the course's data folder")


def test_shakespeare_is_the_one_that_is_measured_everywhere(the_plays):
    assert (len(the_plays), len(the_plays.characters)) == (1_115_394, 65)
    assert [len(part) for part in the_plays.split(0.9)] == [1_003_854, 111_540]
    assert the_plays.text.startswith("First Citizen:\nBefore we proceed any further")


def test_romeo_and_juliet_is_always_here_and_the_same(bare):
    play = load("romeo", quiet=True).text
    known = "daf75ba27c60f42b32c77b4a77d3bbd98c0bd5d3f3ee3e47376bfa9687b8cde7"
    assert hashlib.sha256(play.encode()).hexdigest() == known and play == corpora.romeo.PATH.read_text("utf-8")


def test_romeo_and_juliet_is_a_part_of_tiny_shakespeare(the_plays):
    assert load("romeo", quiet=True).text.rstrip("\n") in the_plays.text


def test_shakespeare_is_read_wherever_it_was_found(bare, monkeypatch, capsys):
    text = b"To be, or not to be."
    publish_instead(monkeypatch, text)
    (bare / "cache").mkdir()
    (bare / "cache" / "tinyshakespeare.txt").write_bytes(text)
    assert load("shakespeare").text == text.decode()
    assert capsys.readouterr().out == "shakespeare: 20 characters, 10 distinct, from the cache\n"


def publish_instead(monkeypatch, text: bytes) -> None:
    """Let the published file of Shakespeare's plays be another one."""
    entry = corpora.ENTRIES["shakespeare"]
    file = dataclasses.replace(entry.file, sha256=hashlib.sha256(text).hexdigest(), size=len(text))
    monkeypatch.setitem(corpora.ENTRIES, "shakespeare", dataclasses.replace(entry, file=file))


def test_without_shakespeare_the_course_is_told_how_to_go_on(bare):
    with pytest.raises(downloads.DownloadError, match=r"fetch shakespeare(.|\n)*The course goes on without it"):
        load("shakespeare")


def test_what_is_available_needs_no_network(bare, monkeypatch):
    assert available() == ["fables", "pydocs", "romeo"]
    publish_instead(monkeypatch, b"To be")
    (bare / "cache").mkdir()
    (bare / "cache" / "tinyshakespeare.txt").write_bytes(b"To be")
    assert available() == ["fables", "pydocs", "romeo", "shakespeare"]
    monkeypatch.setitem(sys.modules, "pydoc_data", None)
    monkeypatch.delitem(sys.modules, "pydoc_data.topics", raising=False)
    assert available() == ["fables", "romeo", "shakespeare"]


def test_topics_that_are_not_there_are_not_available(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data", None)
    monkeypatch.delitem(sys.modules, "pydoc_data.topics", raising=False)
    assert not pydocs.topics_are_here() and not pydocs.ENTRY.is_here()


# --- a file of the reader's


def test_any_utf8_file_is_a_corpus(bare, capsys):
    (bare / "notes.txt").write_bytes("Grüße, 世界 🦊".encode())
    assert load("notes.txt").text == load(bare / "notes.txt", quiet=True).text == "Grüße, 世界 🦊"
    assert capsys.readouterr().out == "notes.txt: 11 characters, 10 distinct, from your file\n"


def test_line_ends_and_byte_order_mark_of_windows_are_no_characters_of_the_text(bare):
    (bare / "notes.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert load("notes.txt", quiet=True).text == "one\ntwo\n"


def test_a_known_name_wins_over_a_file_and_a_path_means_the_file(bare):
    (bare / "pydocs").write_text("mine")
    assert load("pydocs", quiet=True).source.startswith("from Python")
    assert load("./pydocs", quiet=True).text == load(Path("pydocs"), quiet=True).text == "mine"


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_a_file_without_text_is_refused(bare, data):
    (bare / "empty.txt").write_bytes(data)
    with pytest.raises(
        ValueError, match=r'empty\.txt holds no text.* a name: "fables", "pydocs", "romeo", "shakespeare"'
    ):
        load("empty.txt")


def test_a_file_that_is_not_utf8_is_refused_with_a_line_that_converts_it(bare):
    (bare / "old.txt").write_bytes("ein Café".encode("latin-1"))
    with pytest.raises(ValueError, match=r"old\.txt is not UTF-8 text: its byte 0xe9 at 7 ") as caught:
        load("old.txt")
    exec(str(caught.value).rpartition("convert it: ")[2], {"Path": Path})
    assert load("new.txt", quiet=True).text == "ein Café"


def test_a_missing_file_is_refused_with_the_place_where_it_was_looked_for(bare):
    for name in ("stories.txt", "texts/stories", Path("stories")):
        with pytest.raises(
            FileNotFoundError, match=r'There is no file .*stories.* \(looked from .* names "fables", "pyd'
        ):
            load(name)


def test_a_folder_is_no_text(bare):
    (bare / "texts").mkdir()
    with pytest.raises(ValueError, match="texts is a folder: give the path of one text file in it"):
        load("texts")


def test_an_unknown_name_lists_the_known_ones(bare):
    with pytest.raises(
        ValueError, match=r'There is no corpus "Shakespear"\. Did you mean "shakespeare"\? .*"fables", '
    ):
        load("Shakespear")
    with pytest.raises(
        ValueError, match=r'There is no corpus "bible"\. The names are "fables", "pydocs", "romeo", "shakespeare";'
    ):
        load("bible")


@pytest.mark.parametrize("text", ["one two three", "Grüße, Welt"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_its_mark_is_not_taken_for_text(bare, text, encoding):
    (bare / "notes.txt").write_bytes(text.encode(encoding))
    with pytest.raises(
        ValueError, match=r"notes\.txt is not UTF-8 text: (its byte|\d+ of its first \d+ characters are NUL)"
    ):
        load("notes.txt")


def test_a_stray_nul_is_a_character_of_the_text(bare):
    (bare / "notes.txt").write_text("a NUL: \0, and many letters")
    assert "\0" in load("notes.txt", quiet=True).text


@pytest.mark.parametrize("name", ["a.jsonl", "B.JSONL", "c.parquet", "d.txt.gz"])
def test_a_file_that_is_not_plain_text_is_given_to_prepare(bare, name):
    (bare / name).write_text('{"text": "one"}')
    with pytest.raises(ValueError, match=rf"{name} is not plain text: `python -m gptlab prepare` reads"):
        load(name)


# --- the registry


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match=r"there is a corpus 'fables' already .*choose another name"):
        register(Entry("fables", "another"))


def test_the_corpora_are_modules_and_nothing_heavy_is_imported():
    program = "import sys, gptlab.corpora as c; print(*({'urllib.request', 'numpy', 'torch'} & {*sys.modules})); "
    program += "print(c.pydocs.__name__)"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["gptlab.corpora.pydocs"]
    with pytest.raises(AttributeError, match="has no attribute 'sonnets'"):
        _ = corpora.sonnets


POEM = "The fox ran home.\n" * 40
PLANTED = f"""
from gptlab.corpora.registry import Entry, register
from gptlab.downloads import PublishedFile, Url

ENTRY = register(
    Entry(
        name="poems",
        about="forty lines about a fox",
        file=PublishedFile(
            "poems.txt", {hashlib.sha256(POEM.encode()).hexdigest()!r}, {len(POEM)},
            sources=(Url("https://example.org/poems.txt"),), command="poems",
        ),
    )
)
"""


def test_a_corpus_planted_as_one_file_and_one_line_works_everywhere(tmp_path, monkeypatch):
    package = Path(gptlab.__file__).parent
    shutil.copytree(package, tmp_path / "gptlab", ignore=shutil.ignore_patterns("__pycache__", "exercises", "pictures"))
    folder = tmp_path / "gptlab" / "corpora"
    (folder / "poems.py").write_text(PLANTED)
    lines = (folder / "__init__.py").read_text().splitlines(keepends=True)
    (at,) = [i for i, line in enumerate(lines) if line.startswith("from gptlab.corpora import fables")]
    lines[at] = lines[at].replace("import fables, ", "import fables, poems, ")
    (folder / "__init__.py").write_text("".join(lines))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "poems.txt").write_text(POEM)
    program = (
        "from gptlab import commands, corpora\n"
        "from gptlab.commands import doctor\n"
        "assert 'poems' in corpora.available()\n"
        f"assert corpora.load('poems', quiet=True).text == {POEM!r}\n"
        "assert commands.run(['prepare', 'poems', '--tokenizer', 'bytes', '--out', 'shards', '--workers', '1']) == 0\n"
        "assert commands.run(['fetch', 'poems']) in (0, None)\n"
        "print(*doctor.check_files(doctor._find_published()), sep='\\n')\n"
    )
    environment = {"PYTHONPATH": str(tmp_path), "GPTLAB_DATA": str(tmp_path / "data"), "GPTLAB_OFFLINE": "1"}
    for name, value in (environment | {"GPTLAB_CACHE": str(tmp_path / "cache")}).items():
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "saved in shards" in done.stdout
    assert f"poems  from GPTLAB_DATA: {tmp_path / 'data' / 'poems.txt'}" in done.stdout
    assert f"ok       poems: from GPTLAB_DATA, {tmp_path / 'data' / 'poems.txt'}" in done.stdout
