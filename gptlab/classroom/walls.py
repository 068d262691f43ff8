"""The walls that Linux itself has: a process without a network, without other processes, and with nothing to write on.

These are namespaces, the parts that containers are made of; see user_namespaces(7) and mount_setattr(2) in Linux's
manual. A process that is walled in has given up the rights to change its walls. Standard library only.
"""

import contextlib
import ctypes
import os
import re
import signal
import sys

from gptlab.classroom.sandbox import PACKAGE, Limits

_NEWNS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x00020000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
_BIND, _REC, _PRIVATE = 4096, 16384, 1 << 18
_NOSUID, _NODEV, _NOEXEC = 2, 4, 8
_RDONLY_ATTR, _NOSUID_ATTR, _NODEV_ATTR = 1, 2, 4
_MOUNT_SETATTR, _RECURSIVE = 442, 0x8000
_PDEATHSIG = 1
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


def enter(folder: str, limits: Limits) -> tuple[list[str], int]:
    """Wall this process in, before anything of the submission is read; it may go on as a child of itself.

    Args:
        folder: the one that stays writable.
        limits: the disk it may fill, and what it must not see.

    Returns:
        What is cut off, in words, and the number by which the outside can end it (0: its own).
    """
    if not sys.platform.startswith("linux"):
        return [], 0
    libc = ctypes.CDLL(None, use_errno=True)
    possible = _possible(libc, folder, limits)
    if not possible:
        return [], 0
    reading, writing = os.pipe()
    _own_namespaces(libc)
    child = os.fork()  # the first process of its own list: when it ends, all that it has started ends
    if child:
        _wait_outside(libc, child, reading, writing)
    os.close(writing)
    number = int(os.read(reading, 32) or b"0")
    os.close(reading)
    libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # it does not outlive the process that waits for it
    got = ["no network exists for it", "it sees no process but its own"]
    if possible == "all":
        _own_files(libc, folder, limits)
        got += [f"all files but its own folder are read-only, and that holds {limits.disk} MB"]
    _few_processes()
    _drop_rights(libc)
    os.chdir(folder)
    return got, number


def _possible(libc: ctypes.CDLL, folder: str, limits: Limits) -> str:
    """What this system allows, tried out in a copy of this process: half a wall could not be taken down again."""
    trial = os.fork()
    if not trial:
        code = 2
        with contextlib.suppress(OSError):
            _own_namespaces(libc)
            code = 1
            if not (inner := os.fork()):
                with contextlib.suppress(OSError):
                    _own_files(libc, folder, limits)
                    code = 0
                os._exit(code)
            code = os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1])
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(trial, 0)[1])
    return {0: "all", 1: "namespaces"}.get(code, "")


def _wait_outside(libc: ctypes.CDLL, child: int, reading: int, writing: int) -> None:
    """Wait for the process behind the walls, end as it ends, and let nothing of it stay if the judge is killed."""
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
    libc.prctl(_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    os.write(writing, str(child).encode())
    for channel in (writing, reading, 0, 1):
        os.close(channel)
    status = os.waitpid(child, 0)[1]
    os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


def _own_namespaces(libc: ctypes.CDLL) -> None:
    user, group = os.getuid(), os.getgid()
    _tried(libc.unshare(_NEWUSER | _NEWNS | _NEWIPC | _NEWPID | _NEWNET))
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _own_files(libc: ctypes.CDLL, folder: str, limits: Limits) -> None:
    def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
        _tried(libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()))

    mount("none", "/", "none", _REC | _PRIVATE)
    for device in _DEVICES:
        with contextlib.suppress(OSError):
            mount(device, device, "none", _BIND)
    needed = [sys.prefix, sys.base_prefix, sys.exec_prefix, str(PACKAGE), os.environ.get("GPTLAB_DATA", ""), *sys.path]
    needed = [os.path.realpath(path) for path in needed if path and os.path.realpath(path) != os.path.realpath(folder)]
    for hidden in ("/run", "/tmp", "/var/tmp", "/dev/shm", *limits.hide):  # sockets of other programs are in the first
        hidden = os.path.realpath(hidden)
        if os.path.isdir(hidden) and not any(os.path.commonpath([hidden, path]) == hidden for path in needed):
            mount("tmpfs", hidden, "tmpfs", _NOSUID | _NODEV, "size=64k")
    os.makedirs(folder, exist_ok=True)  # it may have been in a folder that is hidden now
    mount("tmpfs", folder, "tmpfs", _NOSUID | _NODEV, f"size={limits.disk}m,nr_inodes=10000,mode=700")
    try:
        mount("proc", "/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    except OSError:  # a container that hides parts of it: then it has none at all
        mount("tmpfs", "/proc", "tmpfs", _NOSUID | _NODEV | _NOEXEC, "size=4k")
    _set_attributes(libc, "/", _RDONLY_ATTR | _NOSUID_ATTR | _NODEV_ATTR, 0, _RECURSIVE)
    _set_attributes(libc, folder, 0, _RDONLY_ATTR, 0)
    for device in _DEVICES:
        with contextlib.suppress(OSError):
            _set_attributes(libc, device, 0, _NODEV_ATTR, 0)


def _few_processes() -> None:
    """A limit of processes, where they are counted for each namespace (Linux 5.14); it does not hold for root."""
    import resource

    release = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    if release >= (5, 14):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NPROC, (200, 200))


def _set_attributes(libc: ctypes.CDLL, path: str, add: int, remove: int, flags: int) -> None:
    wanted = (ctypes.c_uint64 * 4)(add, remove, 0, 0)  # struct mount_attr
    _tried(libc.syscall(_MOUNT_SETATTR, -100, path.encode(), flags, ctypes.byref(wanted), ctypes.sizeof(wanted)))


def _drop_rights(libc: ctypes.CDLL) -> None:
    """Give up what the new namespaces allowed, for good: a read-only file system could be made writable with it."""
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    for capability in range(64):
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
    header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if libc.capset(ctypes.byref(header), ctypes.byref(nothing)):
        os._exit(3)  # never on with rights that should be gone


def _tried(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
