"""A corpus is loaded by its name or from a file, says what it is, and refuses what is no text with the way out."""

import subprocess
import sys
import types
from pathlib import Path

import pytest

from gptlab import corpora, downloads
from gptlab.corpora import Corpus, available, load, pydocs, shakespeare


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
    if not shakespeare.is_here():
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


def test_the_fables_are_read_from_the_course_or_else_told(bare, monkeypatch):
    told = types.SimpleNamespace(book=lambda: "Once a fox.")
    monkeypatch.setitem(sys.modules, "gptlab.corpora.fables", told)
    monkeypatch.setattr(corpora, "fables", told, raising=False)
    monkeypatch.setattr(corpora, "COMMITTED_FABLES", bare / "fables.txt")
    assert load("fables", quiet=True) == Corpus("Once a fox.", "fables", "told just now")
    (bare / "fables.txt").write_bytes("Long ago a hen – proud.".encode())
    assert load("fables", quiet=True) == Corpus("Long ago a hen – proud.", "fables", "from the course's data folder")


def test_shakespeare_is_the_one_that_is_measured_everywhere(the_plays):
    assert (len(the_plays), len(the_plays.characters)) == (1_115_394, 65)
    assert [len(part) for part in the_plays.split(0.9)] == [1_003_854, 111_540]
    assert the_plays.text.startswith("First Citizen:\nBefore we proceed any further")


def test_shakespeare_is_read_wherever_it_was_found(bare, monkeypatch, capsys):
    text = b"To be, or not to be."
    monkeypatch.setattr(shakespeare, "FILE", changed_to(text))
    (bare / "cache").mkdir()
    (bare / "cache" / "tinyshakespeare.txt").write_bytes(text)
    assert load("shakespeare").text == text.decode()
    assert capsys.readouterr().out == "shakespeare: 20 characters, 10 distinct, from the cache\n"


def changed_to(text: bytes) -> downloads.PublishedFile:
    import dataclasses
    import hashlib

    return dataclasses.replace(shakespeare.FILE, sha256=hashlib.sha256(text).hexdigest(), size=len(text))


def test_without_shakespeare_the_course_is_told_how_to_go_on(bare):
    with pytest.raises(downloads.DownloadError, match=r"fetch shakespeare(.|\n)*The course goes on without it"):
        load("shakespeare")


def test_what_is_available_needs_no_network(bare, monkeypatch):
    assert available() == ["fables", "pydocs"]
    monkeypatch.setattr(shakespeare, "FILE", changed_to(b"To be"))
    (bare / "cache").mkdir()
    (bare / "cache" / "tinyshakespeare.txt").write_bytes(b"To be")
    assert available() == ["fables", "shakespeare", "pydocs"]
    monkeypatch.setattr(pydocs, "is_here", lambda: False)
    assert available() == ["fables", "shakespeare"]


def test_topics_that_are_not_there_are_not_available(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data", None)
    monkeypatch.delitem(sys.modules, "pydoc_data.topics", raising=False)
    assert not pydocs.is_here()


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
    with pytest.raises(ValueError, match=r'empty\.txt holds no text.* a name: "fables", "shakespeare", "pydocs"'):
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
            FileNotFoundError, match=r'There is no file .*stories.* \(looked from .* names "fables", "sha'
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
        ValueError, match=r'There is no corpus "bible"\. The names are "fables", "shakespeare", "pydocs";'
    ):
        load("bible")


# --- the wing


def test_the_corpora_are_imported_when_they_are_asked_for():
    program = "import sys, gptlab.corpora as c; print('urllib.request' in sys.modules, c.pydocs.__name__)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["False", "gptlab.corpora.pydocs"]
    with pytest.raises(AttributeError, match="has no attribute 'sonnets'"):
        _ = corpora.sonnets
