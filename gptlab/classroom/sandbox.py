"""A process for code that nobody has read: what it may use, and what it cannot reach.

What is cut off depends on the system, and `walls.enter` says what it got, so that the report can say it too.

| | Linux | macOS | Windows |
|---|---|---|---|
| time, in all and for each cell and answer | yes | yes | yes |
| its own empty folder and home, none of the teacher's variables | yes | yes | yes |
| processor seconds, size of a file, memory | yes | yes, memory not | no |
| network | none exists for it | Python refuses | Python refuses |
| writing elsewhere, disk in all | all else is read-only, 64 MB | Python refuses | Python refuses |
| other processes, other submissions | not visible | visible | visible |

"Python refuses" means an audit hook: it stops what a pupil would write by mistake or in jest, and does not stop
somebody who knows how to get around it. The first column needs user namespaces, which some systems forbid (Ubuntu from
24.04 unless its setting `kernel.apparmor_restrict_unprivileged_userns` is 0; many containers): then Linux is as macOS,
with memory limited. No level protects against a fault in the operating system's kernel, and none hides what the
machine's user may read: without a network it can only come back as text in the report. Standard library only.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]  # the folder that `gptlab` is imported from


@dataclass(frozen=True)
class Limits:
    """What a submission may use.

    Attributes:
        memory: MB, beyond what Python and torch take.
        disk: MB in its folder, and in one file.
        cpu: seconds of processor time.
        hide: folders that it must not see, such as that of all submissions.
    """

    memory: int = 2000
    disk: int = 64
    cpu: int = 120
    hide: Sequence[str] = ()


# ---- From outside ----------------------------------------------------------------------------------------------------


class Process:
    """A Python process in a folder of its own, with pipes to it; `end` leaves nothing of it.

    Attributes:
        inner: the number of the process inside its own list of processes, as it is seen from outside; 0 if none.
    """

    def __init__(self, module: str):
        self.folder = tempfile.mkdtemp(prefix="gptlab-submission-")
        self.inner = 0
        own_group = {"start_new_session": True} if os.name == "posix" else {}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, cwd=self.folder, env=variables(self.folder), **own_group,
            )  # fmt: skip
        except OSError:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.output = self._process.stdout.fileno()

    def send(self, data: bytes, seconds: float) -> None:
        """Write to its standard input.

        Args:
            data: a message.
            seconds: in which it must be taken, since a pipe holds little.

        Raises:
            EOFError: the process has ended.
            TimeoutError: it does not read.
        """
        failed: list[OSError] = []

        def write() -> None:
            try:
                self._process.stdin.write(data)
                self._process.stdin.flush()
            except (OSError, ValueError) as error:
                failed.append(error)

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            raise TimeoutError
        if failed:
            raise EOFError

    def end(self) -> str:
        """Kill it and all that it has started, and delete its folder; says how it ended, if it did so itself."""
        code = self._process.poll()
        if os.name == "posix":
            with contextlib.suppress(OSError):
                if self.inner and code is None:
                    os.kill(self.inner, signal.SIGKILL)
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
        elif code is None:
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(self._process.pid)], capture_output=True)
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError, ValueError, RuntimeError):
                stream.close()
        _delete(self.folder)
        return _ending(self._process.returncode if code is None else code)


def _delete(folder: str) -> None:
    for path, _, _ in os.walk(folder):  # a submission may have taken the rights of its own folders away
        with contextlib.suppress(OSError):
            os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _ending(code: int) -> str:
    code = code - 128 if code > 128 and os.name == "posix" else -code if code < 0 else 0
    names = {signal.SIGSEGV: "a crash", getattr(signal, "SIGXCPU", -1): "too much processor time"}
    return names.get(code, "")


def variables(folder: str) -> dict[str, str]:
    """The environment of a submission: what Python needs to start, and nothing of the teacher's.

    Args:
        folder: its home.

    >>> variables("here")["HOME"], "DISPLAY" in variables("here")
    ('here', False)
    """
    kept = ("SYSTEMROOT", "WINDIR", "LD_LIBRARY_PATH", "GPTLAB_DATA")
    found = {name: os.environ[name] for name in kept if name in os.environ}
    if "GPTLAB_DATA" in found:
        found["GPTLAB_DATA"] = os.path.abspath(found["GPTLAB_DATA"])
    return found | {
        "HOME": folder, "USERPROFILE": folder, "TMPDIR": folder, "TEMP": folder, "TMP": folder,
        "PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONPATH": str(PACKAGE), "PYTHONUTF8": "1", "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
        "MPLBACKEND": "agg", "GPTLAB_PROGRESS": "off", "GPTLAB_OFFLINE": "1",
    }  # fmt: skip


# ---- From inside: limits, and what Python refuses --------------------------------------------------------------------


def limit(limits: Limits) -> list[str]:
    """Set the limits of this process, after the large imports, whose memory is not counted.

    Args:
        limits: of memory, files and time.

    Returns:
        What is limited, in words.
    """
    try:
        import resource
    except ImportError:  # Windows
        return []
    wanted = [
        ("RLIMIT_CPU", limits.cpu, f"{limits.cpu} s of processor time"),
        ("RLIMIT_FSIZE", limits.disk << 20, f"{limits.disk} MB in a file"),
        ("RLIMIT_CORE", 0, ""), ("RLIMIT_NOFILE", 256, ""),
    ]  # fmt: skip
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + (limits.memory << 20)
            wanted += [("RLIMIT_AS", most, f"{limits.memory} MB of memory")]
    got = []
    for name, most, words in wanted:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            resource.setrlimit(getattr(resource, name), (most, most))
            got += [words] * bool(words)
    if hasattr(signal, "SIGXFSZ"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file that is too large is an OSError, not an end
    return got


_REFUSED = ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo",
            "socket.gethostbyname", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn",
            "os.fork", "os.forkpty", "os.startfile", "pty.spawn", "os.kill", "os.killpg", "signal.pthread_kill",
            "ctypes.dlopen", "winreg.CreateKey", "winreg.DeleteKey", "winreg.SetValue")  # fmt: skip
_PATHS = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.link", "os.symlink",
          "os.truncate", "os.utime", "os.chflags", "os.setxattr", "os.removexattr", "shutil.rmtree")  # fmt: skip


def refuse(folder: str) -> None:
    """Let Python refuse what reaches out of a folder: files, sockets, processes. It cannot be switched off again.

    Args:
        folder: where writing is allowed.
    """
    inside = os.path.realpath(folder)
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    real, join, cwd, path_types = os.path.realpath, os.path.commonpath, os.getcwd, (str, bytes, os.PathLike)

    def stays(path: object) -> bool:
        if not isinstance(path, path_types):
            return True  # a number: a file that is open already
        where = real(os.fsdecode(path))
        return where == os.devnull or join([inside, where]) == inside

    def hook(event: str, arguments: tuple) -> None:
        if event in _REFUSED:
            raise PermissionError(f"{event}: not in a submission")
        if event == "open":
            path, mode, flags = (*arguments, None, None, None)[:3]
            writes = any(letter in mode for letter in "wax+") if isinstance(mode, str) else bool((flags or 0) & writing)
            if writes and not stays(path):
                raise PermissionError(f"{os.fsdecode(path)}: a submission writes into its own folder only")
        elif event in _PATHS and not all(stays(path) for path in arguments if not isinstance(path, int)):
            raise PermissionError(f"{event}: a submission changes its own folder only")

    with contextlib.suppress(OSError):
        cwd()
    sys.addaudithook(hook)


def as_dict(limits: Limits) -> dict:
    """The limits as JSON can write them."""
    return asdict(limits) | {"hide": list(limits.hide)}
