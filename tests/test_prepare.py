"""Preparing a corpus: every text comes back from the shards, on any number of processes, after any accident."""

import errno
import gzip
import io
import json
import os
import subprocess
import sys
import tracemalloc
import types

import children
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlab import commands, encodings
from gptlab.batches import Batches
from gptlab.bpe import BPETokenizer
from gptlab.corpora import encoding, preparing, reading, shards
from gptlab.corpora.encoding import tokenize
from gptlab.corpora.preparing import prepare
from gptlab.corpora.reading import Piece, Task, read_pieces, tasks
from gptlab.corpora.shards import Row, ShardError, Shards
from gptlab.splitting import GPT2_PATTERN, GPT4_PATTERN, LLAMA3_PATTERN, O200K_PATTERN
from gptlab.tokenizers import open_tokenizer
from gptlab.tokens import ByteTokenizer, CharTokenizer, WordTokenizer
from gptlab.unigram import UnigramTokenizer

BYTES = open_tokenizer("bytes")
END = BYTES.end
STORIES = [f"Story {n}: a {animal} sat on a mat.\n" for n in range(60) for animal in ("cat", "dog", "hén")]


def text_of(row, tokenizer=BYTES) -> list[str]:
    """The documents that a row of ids holds."""
    documents, held = [], []
    for i in row[:].tolist():
        if i == END:
            documents.append(tokenizer.decode(held))
            held = []
        else:
            held.append(i)
    return documents + ([tokenizer.decode(held)] if held else [])


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "stories.jsonl"
    path.write_text("".join(json.dumps({"text": story}) + "\n" for story in STORIES), encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------------------------------ reading


@settings(max_examples=60, deadline=None)
@given(text=st.text(alphabet="ab1 \n.é", max_size=200), size=st.integers(1, 40))
def test_a_text_read_in_pieces_is_the_text(text, size):
    pieces = list(reading._text_pieces(io.StringIO(text), "a.txt", None, len, size))
    assert "".join(piece.text for piece in pieces) == (text if text.strip() or len(pieces) > 1 else "")
    assert [piece.last for piece in pieces] == [False] * (len(pieces) - 1) + [True] * bool(pieces)


@settings(max_examples=60, deadline=None)
@given(stories=st.lists(st.text(alphabet="ab\n", min_size=1, max_size=40), max_size=6), size=st.integers(1, 30))
def test_documents_between_separators_come_out_one_by_one(stories, size):
    stories = [story.strip("\n") for story in stories if story.strip()]
    pieces = reading._text_pieces(io.StringIO("\n<|end|>\n".join(stories)), "a.txt", "<|end|>", len, size)
    found = "".join(piece.text + ("\0" if piece.last else "") for piece in pieces).split("\0")[:-1]
    assert found == stories


NASTY = "It's one.\n\nTwo!!\n  three\n// four;\n/five\n7 eight\t\n \nnine  '' don'T 12345, été\u0301 中文，狐。\n\n\n"
PATTERNS = {"gpt2": GPT2_PATTERN, "gpt4": GPT4_PATTERN, "gpt4o": O200K_PATTERN, "llama3": LLAMA3_PATTERN}
TOKENIZERS = {
    "characters": CharTokenizer.from_text(NASTY + "ab1 .é<>|end"),
    "words": WordTokenizer.from_text(NASTY),
    "bytes": ByteTokenizer(),
    "unigram": UnigramTokenizer.train(NASTY * 3, 256 + 50),
    "unigram without prefix": UnigramTokenizer.train(NASTY * 3, 256 + 50, dummy_prefix=False),
    "bpe without pattern": BPETokenizer.train(NASTY * 9, 268, pattern=None),
    "bpe, a pattern of one's own": BPETokenizer.train(NASTY * 9, 268, pattern=r"a(?=.*z)|\s+$|(?s:.)"),
} | {name: BPETokenizer.train(NASTY * 9, 268, pattern=pattern) for name, pattern in PATTERNS.items()}
each_tokenizer = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)


def ids_in_pieces(tokenizer, text, size, separator=None):
    pieces = list(reading._text_pieces(io.StringIO(text), "a.txt", separator, tokenizer.split_point, size))
    return len(pieces), tokenize(Task(0, pieces), tokenizer).train.tolist()


@each_tokenizer
def test_wherever_a_long_text_is_cut_its_ids_are_those_of_the_whole(tokenizer):
    most = 0
    for size in range(1, len(NASTY) + 2):
        count, ids = ids_in_pieces(tokenizer, NASTY * 2, size)
        assert ids == tokenizer.encode(NASTY * 2), size
        most = max(most, count)
    can_be_cut = tokenizer.kind != "bpe" or tokenizer.pattern in PATTERNS.values()
    assert most > 10 if can_be_cut else most == 1


@settings(max_examples=200, deadline=None)
@given(
    text=st.text(alphabet="ab1 \n.é'\t中，")
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    size=st.integers(1, 30),
    name=st.sampled_from([name for name in TOKENIZERS if name not in ("characters", "words")]),
)
def test_any_text_read_in_pieces_has_the_ids_of_the_whole(text, size, name):
    text = io.StringIO(text, newline=None).read()  # as a file is read: every line ends in "\n"
    if text.strip():
        assert ids_in_pieces(TOKENIZERS[name], text, size)[1] == TOKENIZERS[name].encode(text)


@settings(max_examples=100, deadline=None)
@given(
    stories=st.lists(st.text(alphabet="ab \n.", min_size=1, max_size=40), min_size=1, max_size=5),
    size=st.integers(1, 30),
    name=st.sampled_from(["bytes", "unigram", "gpt2", "gpt4"]),
)
def test_documents_in_pieces_have_the_ids_of_the_documents(stories, size, name):
    tokenizer = TOKENIZERS[name]
    stories = [story.strip("\n") for story in stories if story.strip()]
    ids = ids_in_pieces(tokenizer, "\n<|end|>\n".join(stories), size, "<|end|>")[1]
    assert ids == [id for story in stories for id in tokenizer.encode(story)]


@pytest.mark.parametrize("name", ["gpt2", "cl100k_base"])
def test_a_text_longer_than_a_piece_is_prepared_as_the_whole(tmp_path, name):
    if name not in encodings.available():
        pytest.skip(f"the file of {name} is not on this machine")
    text = "The fox said nothing.\n\nThe hen, 12345 of them,\n\n  left\n" * 24_000
    assert len(text) > reading.PIECE
    (tmp_path / "a.txt").write_text(text)
    tokenizer = open_tokenizer(name)
    made = prepare([tmp_path / "a.txt"], tokenizer, tmp_path / "out", validation=0.0)
    assert made.train[:].tolist() == [*tokenizer.encode(text), tokenizer.end]


def test_work_that_was_begun_with_other_cuts_starts_again(tmp_path, lines, monkeypatch):
    monkeypatch.setattr(preparing, "tasks", lambda pieces: tasks(pieces, size=300))
    monkeypatch.setattr(preparing, "SAVED_EVERY", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(preparing, "_manifest", None)
        patch.setattr(preparing, "CUTS", 1)
        with pytest.raises(TypeError):
            prepare([lines], BYTES, tmp_path / "out")
    seen, really = [], encoding.tokenize
    monkeypatch.setattr(encoding, "tokenize", lambda task, *rest: seen.append(task.document) or really(task, *rest))
    assert text_of(prepare([lines], BYTES, tmp_path / "out").train)[:3] == STORIES[:3]
    assert seen[0] == 0


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_packed_file_is_read_like_an_open_one(tmp_path, ending):
    line = json.dumps({"body": "héllo"}) + "\n\n"
    path = tmp_path / f"a.jsonl{ending}"
    path.write_bytes(gzip.compress(line.encode()) if ending else line.encode())
    assert list(read_pieces(path, field="body")) == [Piece("héllo", True)]


def test_a_corpus_of_the_course_can_stand_for_a_file():
    documents = list(read_pieces("fables", separator="\n\n"))
    assert len(documents) == 3000 and all(piece.last and piece.text.endswith(".") for piece in documents)


@pytest.mark.parametrize("name", ["STORIES.JSONL", "Stories.Ndjson", "STORIES.JSONL.GZ", "stories.jsonl.GZ"])
def test_endings_in_capitals_mean_the_same(tmp_path, name):
    data = b'{"text": "one"}\n{"text": "two"}\n'
    (tmp_path / name).write_bytes(gzip.compress(data) if name.lower().endswith("gz") else data)
    assert [piece.text for piece in read_pieces(tmp_path / name)] == ["one", "two"]


def test_a_row_without_a_text_is_left_out(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": null}\n{"text": "two"}\n')
    assert [piece.text for piece in read_pieces(tmp_path / "a.jsonl")] == ["one", "two"]


def test_a_folder_is_named_as_such(tmp_path):
    with pytest.raises(IsADirectoryError, match=r"texts' is a folder: name the files in it"):
        (tmp_path / "texts").mkdir()
        list(read_pieces(tmp_path / "texts"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"caf\xe9", r"a.txt is not UTF-8 text: it has the byte 0xe9"),
        ("a.jsonl", b'{"text": "x"}\n{"text"', r"line 2 of a.jsonl is not JSON"),
        (
            "a.jsonl",
            b'{"body": "x", "id": 1}',
            r"line 1 of a.jsonl has no text under 'text', it has 'body', 'id'.*--field",
        ),
        ("a.jsonl", b'["x"]', r"line 1 of a.jsonl has no text under 'text', it has list"),
        ("a.jsonl", b'{"text": 5}', r"line 1 of a.jsonl has a value of type int under 'text', not a text"),
        ("a.jsonl", b'{"text": ["x"]}', r"line 1 of a.jsonl has a value of type list under 'text'"),
        ("a.txt", "one two".encode("utf-16-le"), r"a.txt is not UTF-8 text: 7 of its first 14 characters are NUL"),
        ("a.txt.gz", gzip.compress(b"hello" * 99, mtime=0)[:-9], r"a.txt.gz is not a complete .gz file"),
        ("a.txt.gz", b"hello", r"a.txt.gz is not a complete .gz file"),
    ],
    ids=["bytes", "no JSON", "no field", "no object", "a number", "a list", "UTF-16", "cut gzip", "no gzip"],
)
def test_a_file_that_cannot_be_read_is_named_with_the_place(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=words):
        list(read_pieces(tmp_path / name))


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match=r"no file '/nowhere/a.txt'.*check the path"):
        list(read_pieces("/nowhere/a.txt"))


def test_parquet_without_its_package_is_one_clear_sentence(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"a.parquet is a Parquet file.*no package pyarrow.*pip install pyarrow"):
        list(read_pieces(tmp_path / "a.parquet"))


def test_parquet_is_read_a_few_rows_at_a_time(tmp_path, monkeypatch):
    """With a stand-in for pyarrow that has the few names that are used; the real one follows."""
    asked, wrong = {}, []

    class File:
        schema_arrow = types.SimpleNamespace(names=["id", "text"])

        def __init__(self, path):
            pass

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *_: None  # noqa: E731

        def iter_batches(self, batch_size, columns):
            asked.update(batch_size=batch_size, columns=columns)
            for rows in (["one", None], ["two", ""], *wrong):
                yield types.SimpleNamespace(column=lambda _, rows=rows: types.SimpleNamespace(to_pylist=lambda: rows))

    package = types.ModuleType("pyarrow")
    package.ArrowException, package.parquet = (
        type("ArrowException", (Exception,), {}),
        types.SimpleNamespace(ParquetFile=File),
    )
    monkeypatch.setitem(sys.modules, "pyarrow", package)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    assert [piece.text for piece in read_pieces(tmp_path / "a.parquet")] == ["one", "two"]
    assert asked["columns"] == ["text"] and asked["batch_size"] <= 1024
    wrong.append([["a", "b"]])
    with pytest.raises(ValueError, match=r"a.parquet has values of type list in the column 'text', not texts"):
        list(read_pieces(tmp_path / "a.parquet"))
    with pytest.raises(ValueError, match=r"a.parquet has no column 'body', it has 'id', 'text': pass --field"):
        list(read_pieces(tmp_path / "a.parquet", field="body"))


def test_real_parquet_gives_its_rows(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": STORIES}), tmp_path / "a.parquet", row_group_size=50)
    assert [piece.text for piece in read_pieces(tmp_path / "a.parquet")] == STORIES
    (tmp_path / "b.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(ValueError, match=r"b.parquet cannot be read as Parquet"):
        list(read_pieces(tmp_path / "b.parquet"))


# ------------------------------------------------------------------------------------------------- tokens into shards


def test_every_document_comes_back_and_each_is_in_one_part_only(tmp_path, lines):
    made = prepare([lines], BYTES, tmp_path / "out", validation=0.1, shard_tokens=999)
    train, held_out = text_of(made.train), text_of(made.validation)
    assert held_out == STORIES[9::10] and train == [s for n, s in enumerate(STORIES) if n % 10 != 9]
    assert made.manifest["documents"] == len(STORIES) and made.manifest["characters"] == sum(map(len, STORIES))
    assert len(made.manifest["files"]) > 1


@settings(max_examples=60, deadline=None)
@given(thousandths=st.integers(1, 999), documents=st.integers(0, 5000))
def test_the_share_for_validation_is_exact_for_any_number_of_documents(thousandths, documents):
    kept = [encoding.is_for_validation(n, thousandths / 1000) for n in range(documents)]
    assert sum(kept) == documents * thousandths // 1000


@pytest.mark.parametrize("every", [2, 3, 7, 10, 49, 100, 300])
def test_of_every_few_documents_the_last_is_kept(every):
    assert [n for n in range(1000) if encoding.is_for_validation(n, 1 / every)] == list(range(every - 1, 1000, every))
    assert not encoding.is_for_validation(0, 0)


def test_a_share_that_is_no_whole_part_is_kept_in_full(tmp_path, lines):
    made = prepare([lines], BYTES, tmp_path / "out", validation=0.4)
    assert (len(text_of(made.validation)), len(text_of(made.train))) == (72, 108)


@pytest.mark.parametrize(
    "tokenizer", [BYTES, BPETokenizer.train("".join(STORIES), 300), CharTokenizer.from_text("".join(STORIES))]
)
def test_the_ids_are_the_tokenizers_own(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text("".join(STORIES), encoding="utf-8")
    made = prepare([tmp_path / "a.txt"], tokenizer, tmp_path / "out", validation=0.0)
    end = [] if tokenizer.end is None else [tokenizer.end]
    assert made.train[:].tolist() == tokenizer.encode("".join(STORIES)) + end
    assert made.tokenizer.encode("Story") == tokenizer.encode("Story")


def test_of_a_single_long_text_the_end_is_kept_for_validation(tmp_path):
    text = "".join(STORIES)
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    made = prepare([tmp_path / "a.txt"], BYTES, tmp_path / "out", validation=0.1, shard_tokens=1 << 20)
    whole = [*text.encode(), END]
    cut = len(whole) - len(made.validation)
    assert len(made.validation) == -(-len(whole) // 10)
    assert (made.train[:].tolist(), made.validation[:].tolist()) == (whole[:cut], whole[cut:])


def test_an_end_token_in_the_text_is_text(tmp_path):
    (tmp_path / "a.txt").write_text("one<|endoftext|>two")
    made = prepare([tmp_path / "a.txt"], BYTES, tmp_path / "out", validation=0.0)
    assert (made.train[:] == END).sum() == 1 and text_of(made.train) == ["one<|endoftext|>two"]


def test_a_vocabulary_that_needs_more_than_two_bytes_gets_four(tmp_path):
    large = BPETokenizer(
        {bytes([i]): i for i in range(256)} | {b"ab": 70_000}, special_tokens={"<|endoftext|>": 70_001}
    )
    (tmp_path / "a.txt").write_text("abc")
    made = prepare([tmp_path / "a.txt"], large, tmp_path / "out", validation=0.0)
    assert made.train[:].tolist() == [70_000, 99, 70_001] and made.manifest["dtype"] == "uint32"


@pytest.mark.parametrize(("V", "dtype"), [(65_536, "uint16"), (65_537, "uint32")])
def test_two_bytes_hold_65536_tokens_and_not_one_more(tmp_path, V, dtype):
    tokenizer = BPETokenizer({bytes([i]): i for i in range(256)}, special_tokens={"<|endoftext|>": V - 1})
    (tmp_path / "a.txt").write_text("abc")
    made = prepare([tmp_path / "a.txt"], tokenizer, tmp_path / "out", validation=0.0)
    assert tokenizer.vocab_size == V and made.manifest["dtype"] == dtype and made.train[-1:].tolist() == [V - 1]


def test_two_processes_write_what_one_does(tmp_path, lines, monkeypatch):
    monkeypatch.setattr(preparing, "tasks", lambda pieces: tasks(pieces, size=500))
    made = [prepare([lines], BYTES, tmp_path / str(n), validation=0.1, shard_tokens=999, workers=n) for n in (1, 2)]
    assert made[0].manifest["files"] == made[1].manifest["files"]


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    peaks = []
    for size in (3, 12):
        path = tmp_path / f"{size}.txt"
        path.write_text("a line of text that is nothing but long\n" * 25_000 * size)
        tracemalloc.start()
        for _ in tasks(read_pieces(path)):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 20e6


# ------------------------------------------------------------------------------------------- accidents, and going on


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("after", [1, 5, 11])
def test_stopped_anywhere_it_goes_on_and_the_shards_are_the_same(tmp_path, lines, monkeypatch, after):
    monkeypatch.setattr(preparing, "tasks", lambda pieces: tasks(pieces, size=300))
    expected = prepare([lines], BYTES, tmp_path / "whole", validation=0.1, shard_tokens=999)
    monkeypatch.setattr(preparing, "SAVED_EVERY", 0.0)
    done, really = [], encoding.tokenize

    def stopping(task, tokenizer, fraction=0):
        done.append(task.document)
        if len(done) == after + 1:
            raise Interrupted
        return really(task, tokenizer, fraction)

    monkeypatch.setattr(encoding, "tokenize", stopping)
    with pytest.raises(Interrupted):
        prepare([lines], BYTES, tmp_path / "out", validation=0.1, shard_tokens=999)
    with pytest.raises(ShardError, match=r"no finished shards.*run `the same call` again, and it goes on"):
        Shards(tmp_path / "out")
    done.clear()
    done.append(-1) if after == 1 else None
    monkeypatch.setattr(encoding, "tokenize", really)
    again = prepare([lines], BYTES, tmp_path / "out", validation=0.1, shard_tokens=999)
    assert again.manifest["files"] == expected.manifest["files"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        p.name for p in (tmp_path / "whole").iterdir()
    )


def test_what_was_done_is_not_done_again(tmp_path, lines, monkeypatch):
    monkeypatch.setattr(preparing, "tasks", lambda pieces: tasks(pieces, size=300))
    monkeypatch.setattr(preparing, "SAVED_EVERY", 0.0)
    seen, really = [], encoding.tokenize

    def counting(task, tokenizer, fraction=0):
        seen.append(task.document)
        if len(seen) == 8:
            raise Interrupted
        return really(task, tokenizer, fraction)

    monkeypatch.setattr(encoding, "tokenize", counting)
    with pytest.raises(Interrupted):
        prepare([lines], BYTES, tmp_path / "out")
    prepare([lines], BYTES, tmp_path / "out")
    assert seen[8] == seen[7] and len(set(seen)) == len(seen) - 1


def test_killed_it_leaves_nothing_that_looks_whole_and_goes_on(tmp_path, lines, monkeypatch):
    """kill -9 in the middle of writing, in a process of its own."""
    monkeypatch.setattr(preparing, "tasks", lambda pieces: tasks(pieces, size=300))
    code = (
        "import os, signal, sys\nfrom gptlab.corpora import encoding, preparing\n"
        "from gptlab.tokenizers import open_tokenizer\n"
        "from gptlab.corpora.reading import tasks\npreparing.SAVED_EVERY = 0.0\n"
        "preparing.tasks = lambda pieces: tasks(pieces, 300)\nreally, seen = encoding.tokenize, []\n"
        "def deadly(*arguments):\n    seen.append(1)\n"
        "    if len(seen) == 14: os.kill(os.getpid(), signal.SIGKILL)\n    return really(*arguments)\n"
        "encoding.tokenize = deadly\n"
        "preparing.prepare([sys.argv[1]], open_tokenizer('bytes'), sys.argv[2], shard_tokens=999)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(lines), str(tmp_path / "out")], capture_output=True, text=True
    )
    assert done.returncode == -9, done.stderr
    assert not (tmp_path / "out" / "manifest.json").exists()
    whole = prepare([lines], BYTES, tmp_path / "whole", shard_tokens=999)
    again = prepare([str(lines)], BYTES, tmp_path / "out", shard_tokens=999)
    assert text_of(again.train) == text_of(whole.train)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process that is a copy of this one")
def test_a_process_that_dies_at_any_operation_on_the_disk_is_gone_on_with(tmp_path, lines, monkeypatch):
    monkeypatch.setattr(preparing, "tasks", lambda pieces: tasks(pieces, size=1500))
    monkeypatch.setattr(preparing, "SAVED_EVERY", 0.0)
    settings = dict(validation=0.1, shard_tokens=3000)
    whole = prepare([lines], BYTES, tmp_path / "whole", **settings)
    survived, place = False, 0
    while not survived:
        folder = tmp_path / str(place)
        child = os.fork()
        if not child:
            children.dies_at(place, [(os, "replace"), (os, "fsync"), (os, "unlink")])
            prepare([lines], BYTES, folder, **settings)
            os._exit(7)
        survived = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert prepare([lines], BYTES, folder, **settings).manifest["files"] == whole.manifest["files"], place
        place += 1
    assert place > 20


def test_files_that_have_become_shorter_are_not_gone_on_with(tmp_path, lines, monkeypatch):
    monkeypatch.setattr(preparing, "SAVED_EVERY", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(preparing, "tasks", lambda pieces: tasks(pieces, size=300))
        patch.setattr(preparing, "_manifest", None)
        with pytest.raises(TypeError):
            prepare([lines], BYTES, tmp_path / "out")
    with pytest.raises(ShardError, match=r"shorter than they were: delete .*out"):
        prepare([lines], BYTES, tmp_path / "out")


def test_a_second_call_finds_all_done(tmp_path, lines, monkeypatch):
    first = prepare([lines], BYTES, tmp_path / "out")
    monkeypatch.setattr(encoding, "tokenize", None)
    assert prepare([lines], BYTES, tmp_path / "out").manifest == first.manifest


def break_shard(folder, how):
    path = folder / "train-00000.bin"
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:-7] if how == "short" else bytes([data[0] ^ 1]) + data[1:])


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing", "is not there"),
        ("short", r"has [\d,]+ bytes, not [\d,]+"),
        ("altered", "is not what was written"),
    ],
)
def test_a_broken_shard_is_named_with_the_command_that_makes_it_again(tmp_path, lines, capsys, how, words):
    command = ["prepare", str(lines), "--tokenizer", "bytes", "--out", str(tmp_path / "out"), "--workers", "1"]
    assert commands.run(command) == 0
    good = Shards(tmp_path / "out").train[:].tolist()
    break_shard(tmp_path / "out", how)
    with pytest.raises(ShardError, match=rf"train-00000.bin in .*{words}.*: `.*prepare .*` makes it again"):
        Shards(tmp_path / "out")
    capsys.readouterr()
    assert commands.run(["train", "--corpus", str(tmp_path / "out"), "--folder", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert "train-00000.bin" in said and "makes it again" in said
    assert commands.run(command) == 0
    assert Shards(tmp_path / "out").train[:].tolist() == good


def test_sizes_are_compared_also_where_hashes_are_not(tmp_path, lines):
    prepare([lines], BYTES, tmp_path / "out")
    break_shard(tmp_path / "out", "altered")
    Shards(tmp_path / "out", verify=False)
    break_shard(tmp_path / "out", "short")
    with pytest.raises(ShardError, match="bytes, not"):
        Shards(tmp_path / "out", verify=False)


def test_a_full_disk_ends_with_a_clear_word_and_the_work_goes_on_afterwards(tmp_path, lines, monkeypatch):
    monkeypatch.setattr(preparing, "tasks", lambda pieces: tasks(pieces, size=300))
    monkeypatch.setattr(preparing, "SAVED_EVERY", 0.0)
    whole, really, calls = prepare([lines], BYTES, tmp_path / "whole"), os.fsync, []

    def full(descriptor):
        calls.append(1)
        if len(calls) > 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        really(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ShardError, match=r"could not write .*No space left.*free some space.*goes on from where"):
            prepare([lines], BYTES, tmp_path / "out")
    assert prepare([lines], BYTES, tmp_path / "out").manifest["files"] == whole.manifest["files"]


def test_a_folder_with_other_shards_is_refused_with_what_made_them(tmp_path, lines):
    prepare([lines], BYTES, tmp_path / "out", command="python -m gptlab prepare …")
    with pytest.raises(ValueError, match=r"other files or settings \(made by `python -m gptlab prepare …`\).*another"):
        prepare([lines], BYTES, tmp_path / "out", validation=0.3)


@pytest.mark.parametrize("name", ["config.json", "config.yaml"])
def test_a_model_or_a_run_keeps_its_tokenizer(tmp_path, lines, name):
    CharTokenizer.from_text("abc").save(tmp_path / "mine" / "tokenizer.json")
    (tmp_path / "mine" / name).write_text("{}")
    words = rf"mine' holds a model or a run \({name}\).*tokenizer.json.*choose another --out for the shards"
    with pytest.raises(ValueError, match=words):
        prepare([lines], BYTES, tmp_path / "mine")
    assert open_tokenizer(tmp_path / "mine").vocab_size == 3


@pytest.mark.parametrize("place", [0, -1], ids=["first", "last"])
def test_a_file_that_has_changed_is_noticed_though_name_and_size_are_the_same(tmp_path, monkeypatch, place):
    monkeypatch.setattr(preparing, "SAMPLED", 100)
    path = tmp_path / "a.txt"
    path.write_text("one two three " * 50)
    prepare([path], BYTES, tmp_path / "out")
    (tmp_path / "copy").mkdir()
    path.rename(tmp_path / "copy" / "a.txt")
    os.utime(tmp_path / "copy" / "a.txt", (1, 1))
    prepare([tmp_path / "copy" / "a.txt"], BYTES, tmp_path / "out")  # moved, but the same
    data = bytearray(path.parent.joinpath("copy", "a.txt").read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="shards of other files"):
        prepare([path], BYTES, tmp_path / "out")


def test_shards_that_know_their_files_by_size_alone_are_opened_as_before(tmp_path, lines, monkeypatch):
    made = prepare([lines], BYTES, tmp_path / "out").manifest
    for source in made["made_of"]["sources"]:
        del source[2:]
    shards.write_json(tmp_path / "out" / "manifest.json", made)
    with monkeypatch.context() as patch:
        patch.setattr(encoding, "tokenize", None)
        assert prepare([lines], BYTES, tmp_path / "out").manifest == made
    lines.write_text(lines.read_text() + '{"text": "more"}\n')
    with pytest.raises(ValueError, match="shards of other files"):
        prepare([lines], BYTES, tmp_path / "out")


def test_a_file_that_is_gone_after_preparing_is_what_is_said(tmp_path, lines):
    prepare([lines], BYTES, tmp_path / "out")
    lines.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"no file '.*stories.jsonl'.*check the path; finished shards .* do without"
    ):
        prepare([lines], BYTES, tmp_path / "out")
    assert len(Shards(tmp_path / "out").train)


def test_a_worker_that_dies_is_told_with_what_helps(tmp_path, lines, monkeypatch):
    from concurrent.futures.process import BrokenProcessPool

    class Pool:
        def __init__(self, *_):
            pass

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *_: None  # noqa: E731

        def submit(self, *_):
            raise BrokenProcessPool("died")

    monkeypatch.setattr(encoding, "ProcessPoolExecutor", Pool)
    with pytest.raises(ShardError, match=r"has died, perhaps for lack of memory.*fewer --workers than 2"):
        prepare([lines], BYTES, tmp_path / "out", workers=2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"validation": 0.9}, "validation=0.9 must be between 0 and 0.5"),
        ({"workers": 0}, "workers=0 must be at least 1"),
        ({"shard_tokens": 0}, "shard_tokens=0"),
    ],
)
def test_an_impossible_setting_is_refused(tmp_path, lines, options, words):
    with pytest.raises(ValueError, match=words):
        prepare([lines], BYTES, tmp_path / "out", **options)


def test_a_corpus_without_text_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text(" \n")
    with pytest.raises(ValueError, match=r"there is no text in .*a.txt: nothing to learn from"):
        prepare([tmp_path / "a.txt"], BYTES, tmp_path / "out")


def test_an_unknown_tokenizer_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"no tokenizer 'gpt3': choose 'bytes', 'gpt2'.*or a folder"):
        open_tokenizer("gpt3")


def test_a_tokenizer_is_found_by_file_folder_and_name(tmp_path):
    CharTokenizer.from_text("abc").save(tmp_path / "tokenizer.json")
    for name in (tmp_path, tmp_path / "tokenizer.json"):
        assert open_tokenizer(name).vocab_size == 3
    assert open_tokenizer("fables").vocab_size == 859


# ------------------------------------------------------------------------------------------------------------ reading


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=5), start=st.integers(0, 50), length=st.integers(0, 50))
def test_a_row_of_files_reads_like_one_array(sizes, start, length):
    numbers = np.arange(sum(sizes))
    row = Row(np.split(numbers, np.cumsum(sizes)[:-1]))
    assert len(row) == len(numbers)
    assert row[start : start + length].tolist() == numbers[start : start + length].tolist()


def test_a_row_is_read_in_order():
    with pytest.raises(ValueError, match="step=2"):
        Row([np.arange(5)])[::2]


@pytest.mark.parametrize("order", ["random", "ordered"])
def test_batches_of_shards_are_those_of_one_long_array(order):
    numbers = np.arange(103)
    ours = Batches(Row(np.split(numbers, [7, 50, 51])), B=4, T=5, order=order, seed=3)
    theirs = Batches(numbers, B=4, T=5, order=order, seed=3)
    assert len(ours) == len(theirs)
    for step in range(len(ours) + 2):
        a, b = ours.batch(step), theirs.batch(step)
        assert torch.equal(a.ids, b.ids) and torch.equal(a.targets, b.targets)


def test_only_the_wanted_rows_of_a_batch_are_read():
    class Counting(Row):
        read = 0

        def __getitem__(self, wanted):
            self.read += 1
            return super().__getitem__(wanted)

    row = Counting([np.arange(100)])
    batches = Batches(row, B=6, T=5)
    row.read = 0
    part = batches.rows(3, slice(2, 4))
    assert row.read == 2 and torch.equal(part.ids, batches.batch(3).ids[2:4])


def test_a_part_shorter_than_a_sample_is_refused_with_what_helps(tmp_path):
    (tmp_path / "a.txt").write_text("short")
    made = prepare([tmp_path / "a.txt"], BYTES, tmp_path / "out", validation=0.0)
    with pytest.raises(
        ValueError, match=r"train part of .* has 6 tokens, fewer than one sample of T=64.*smaller context"
    ):
        made.batches("train", 2, 64)


def test_shards_that_nobody_made_are_refused_with_the_way_to_them(tmp_path):
    with pytest.raises(ShardError, match=r"no finished shards in .*make them with `python -m gptlab prepare`"):
        Shards(tmp_path)
    assert not shards.are_shards(tmp_path)


def test_tasks_know_their_documents():
    pieces = [Piece("aaa", False), Piece("b", True), Piece("cc", True), Piece("dddd", True)]
    assert [(task.document, len(task.pieces)) for task in tasks(pieces, size=4)] == [(0, 2), (1, 2)]
    assert list(tasks(pieces, size=99)) == [Task(0, pieces)]


def test_the_command_prepares_what_train_reads(tmp_path, lines, capsys):
    out = str(tmp_path / "out")
    assert commands.run(["prepare", str(lines), "--tokenizer", "bytes", "--out", out, "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "180 documents" in said and f"train --corpus {out}" in said
    small = "--steps 2 --batch-size 2 --context 16 --n-layer 1 --n-head 2 --n-embd 12 --device cpu"
    assert commands.run(["train", "--corpus", out, "--folder", str(tmp_path / "run"), *small.split()]) == 0
    assert "validation" in capsys.readouterr().out


def test_documents_without_a_mark_between_them_are_mentioned(tmp_path, lines, capsys):
    CharTokenizer.from_text("".join(STORIES)).save(tmp_path / "tokenizer.json")
    command = ["prepare", str(lines), "--tokenizer", str(tmp_path), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert commands.run(command) == 0
    assert "no end token" in capsys.readouterr().out


def test_a_separator_is_read_as_a_shell_hands_it_on(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("one\n\ntwo\n\nthree\n")
    command = ["prepare", str(tmp_path / "a.txt"), "--tokenizer", "bytes", "--validation", "0", "--workers", "1"]
    assert commands.run([*command, "--separator", r"\n\n", "--out", str(tmp_path / "out")]) == 0
    assert text_of(Shards(tmp_path / "out").train) == ["one", "two", "three"]
    assert "was not found" not in capsys.readouterr().out
    assert commands.run([*command, "--separator", "---", "--out", str(tmp_path / "other")]) == 0
    assert "The separator '---' was not found: each file is one document." in capsys.readouterr().out


def test_nothing_to_prepare_is_said(capsys):
    assert commands.run(["prepare"]) == 1
    assert "name at least one file" in capsys.readouterr().err
