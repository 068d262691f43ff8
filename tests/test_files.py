"""A file or folder is written whole or not at all: by several at once, on a full disk, and by a process that dies."""

import errno
import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import children
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlab import files
from gptlab.files import WriteError, replacing, write_whole

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process that is a copy of this one")
posix = pytest.mark.skipif(sys.platform == "win32", reason="limits and modes are a matter of POSIX")


def content(folder):
    """Every file under a folder, hidden ones too, with what is in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fill(folder, text):
    with replacing(folder) as draft:
        for name in ("one", "two"):
            (draft / name).write_text(text)


# --------------------------------------------------------------------------------------------------------------- a file


@settings(max_examples=30, deadline=None)
@given(data=st.one_of(st.binary(), st.text(st.characters(codec="utf-8"))))
def test_what_is_written_is_what_was_given(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("new") / "missing" / "folder" / "a.bin"
    write_whole(path, "something longer, which was there before")
    write_whole(path, data)
    assert path.read_bytes() == (data.encode() if isinstance(data, str) else data)
    assert content(path.parent).keys() == {"a.bin"}


def test_a_text_that_utf8_cannot_store_leaves_the_file_as_it_was(tmp_path):
    write_whole(tmp_path / "a", "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "a", "\ud800")
    assert content(tmp_path) == {"a": b"old"}


def test_eight_hundred_writes_of_one_file_at_once_never_fail_and_never_mix(tmp_path):
    path, wrong, over = tmp_path / "a", [], threading.Event()
    texts = [f"{number:03}" * 7000 for number in range(8)]
    write_whole(path, texts[0])

    def read():
        while not over.is_set():
            if path.read_text() not in texts:
                wrong.append("torn")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with ThreadPoolExecutor(8) as writers:  # an exception in any of the calls is raised by list()
            list(writers.map(lambda number: write_whole(path, texts[number % 8]), range(800)))
    finally:
        over.set()
        reader.join()
    assert not wrong and path.read_text() in texts
    assert content(tmp_path).keys() == {"a"}


@needs_fork
@pytest.mark.parametrize("before", [None, "old"])
def test_a_process_that_dies_anywhere_in_writing_leaves_the_old_file_or_the_new(tmp_path, before):
    operations = [(os, "replace"), (os, "fsync"), (os, "unlink"), (os, "open"), (os, "listdir"), (Path, "open")]
    survived, place, seen = False, 0, set()
    while not survived:
        folder = tmp_path / str(place)
        folder.mkdir()
        if before is not None:
            (folder / "a").write_text(before)
        child = os.fork()
        if not child:
            children.dies_at(place, operations)
            write_whole(folder / "a", "new")
            os._exit(7)
        survived = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        found = (folder / "a").read_text() if (folder / "a").exists() else None
        assert found in (before, "new")
        seen.add(found)
        place += 1
    assert seen == {before, "new"} and found == "new" and place > 4


def test_a_file_reaches_the_disk_before_it_gets_its_name_and_the_name_after_it(tmp_path, monkeypatch):
    done = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (done.append(stat.S_IFMT(os.fstat(number).st_mode)), sync(number)))
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("named"), rename(*names)))
    write_whole(tmp_path / "a", "new")
    assert done == [stat.S_IFREG, "named", *([stat.S_IFDIR] if os.name == "posix" else [])]


@posix
def test_a_full_disk_is_told_with_the_file_asked_for_and_leaves_the_old_one(tmp_path):
    (tmp_path / "a").write_text("old")
    code = (
        "import resource, signal, sys; from gptlab.files import write_whole\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_whole(sys.argv[1], 'new' * 1000)\n"
        "except OSError as error: print(error, error.strerror, error.filename, sep='|')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], capture_output=True, text=True, check=True)
    message, reason, name = done.stdout.strip().split("|")
    assert message.startswith(f"could not write {tmp_path / 'a'} (File too large): free some space or choose another")
    assert message.endswith("what was there before is unchanged")
    assert (reason, name) == ("File too large", str(tmp_path / "a"))
    assert content(tmp_path) == {"a": b"old"}


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"could not write .*file.a \(") as caught:
        write_whole(tmp_path / "file" / "a", "new")
    assert caught.value.errno in (errno.ENOTDIR, errno.EEXIST)


@pytest.mark.parametrize("at", ["replace", "fsync"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_nothing_beside_the_file(tmp_path, monkeypatch, at, error):
    write_whole(tmp_path / "a", "old")

    def failing(*_):
        raise error

    monkeypatch.setattr(os, at, failing)
    with pytest.raises((WriteError, KeyboardInterrupt)):
        write_whole(tmp_path / "a", "new")
    assert content(tmp_path) == {"a": b"old"}


@posix
def test_a_file_is_as_readable_as_the_system_makes_new_files(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a", "new")
        with replacing(tmp_path / "folder") as draft:
            (draft / "b").touch(0o600)  # as safetensors makes its files
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "folder", "folder/b")]
    assert modes == [0o640, 0o750, 0o640]


def test_what_a_dead_process_left_long_ago_is_removed_and_nothing_else(tmp_path):
    dead = [".a-1-00000000.part", ".a-1-00000000", ".a-2-00000001.old"]
    alive = [".a-3-00000000.part", "a-1-00000000.part", ".b-1-00000000.part", ".a-b-1-00000000.part", ".a-note.part"]
    for name in dead + alive:
        (tmp_path / name).touch()
        if name != alive[0]:
            os.utime(tmp_path / name, (0, 0))
    write_whole(tmp_path / "a", "new")
    assert content(tmp_path).keys() == {"a", *alive}


# ------------------------------------------------------------------------------------------------------------- a folder


def test_a_folder_is_replaced_with_all_that_was_in_it(tmp_path):
    fill(tmp_path / "m", "old")
    (tmp_path / "m" / "third").touch()
    with replacing(tmp_path / "m") as draft:
        (draft / "inner").mkdir()
        (draft / "inner" / "new").write_text("new")
        assert (tmp_path / "m" / "one").read_text() == "old"
    assert content(tmp_path) == {"m/inner/new": b"new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_raises_leaves_the_folder_as_it_was(tmp_path, error):
    fill(tmp_path / "m", "old")
    with pytest.raises(error), replacing(tmp_path / "m") as draft:
        (draft / "one").write_text("new")
        raise error
    assert content(tmp_path) == {"m/one": b"old", "m/two": b"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("in_one_step", [True, False])
def test_many_replacements_of_one_folder_at_once_never_fail_and_never_mix(tmp_path, monkeypatch, in_one_step):
    if not in_one_step:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    with ThreadPoolExecutor(4) as writers:
        list(writers.map(lambda number: fill(tmp_path / "m", str(number % 4)), range(80)))
    assert len(set(content(tmp_path).values())) == 1 and content(tmp_path).keys() == {"m/one", "m/two"}


@pytest.mark.parametrize("before", [None, "old"])
def test_a_slower_writer_tries_again_though_a_third_has_moved_the_folder_of_the_faster(tmp_path, monkeypatch, before):
    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    folder, put, met = tmp_path / "m", os.replace, []
    if before is not None:
        fill(folder, before)

    def replace(source, target):
        if target == folder and not met:
            met.append(target)
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))  # and is gone when one looks
        put(source, target)

    monkeypatch.setattr(os, "replace", replace)
    fill(folder, "new")
    assert met and content(tmp_path) == {"m/one": b"new", "m/two": b"new"}


@needs_fork
@pytest.mark.parametrize("in_one_step", [True, False])
@pytest.mark.parametrize("before", [None, "old"])
def test_a_process_that_dies_anywhere_in_replacing_leaves_the_old_folder_or_the_new(
    tmp_path, monkeypatch, before, in_one_step
):
    if not in_one_step:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    elif not files._exchange(tmp_path, tmp_path):
        pytest.skip("this disk cannot exchange two names")
    operations = [(os, "replace"), (os, "fsync"), (os, "chmod"), (os, "mkdir"), (files, "_exchange")]
    operations.append((files.shutil, "rmtree"))
    survived, place, seen = False, 0, set()
    while not survived:
        folder = tmp_path / str(place)
        if before is not None:
            fill(folder / "m", before)
        child = os.fork()
        if not child:
            children.dies_at(place, operations)
            fill(folder / "m", "new")
            os._exit(7)
        survived = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        if not in_one_step and not (folder / "m").exists():
            files._restore(folder / "m")  # what the next `replacing` begins with
        found = {path.read_text() for path in (folder / "m").glob("*")} if (folder / "m").exists() else {None}
        assert found in ({before}, {"new"})
        assert found == {None} or len(list((folder / "m").iterdir())) == 2
        seen |= found
        place += 1
    assert seen == {before, "new"} and found == {"new"} and place > 5


def test_the_next_replacement_restores_a_folder_that_was_lost_between_two_steps(tmp_path):
    fill(tmp_path / ".m-1-00000000.old", "old")
    with pytest.raises(ValueError), replacing(tmp_path / "m"):
        raise ValueError
    assert content(tmp_path) == {"m/one": b"old", "m/two": b"old"}


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, monkeypatch):
    fill(tmp_path / "m", "old")
    rename = os.replace

    def failing(source, target):
        if Path(target).name == "m" and not str(source).endswith(".old"):
            raise OSError(errno.EIO, "broken")
        return rename(source, target)

    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(WriteError, match=r"could not write .*m \(broken\)"):
        fill(tmp_path / "m", "new")
    assert content(tmp_path) == {"m/one": b"old", "m/two": b"old"}


def test_a_file_in_the_place_of_the_folder_is_not_replaced(tmp_path):
    (tmp_path / "m").write_text("a file")
    with pytest.raises(WriteError, match="could not write"):
        fill(tmp_path / "m", "new")
    assert content(tmp_path) == {"m": b"a file"}
