"""Notebooks run where they cannot cheat: in an empty folder, with the network cut off.

A notebook that works only in its own folder, or only online, fails for somebody. So `python -m gptlab test` and
`python -m gptlab notebooks` give each kernel a sandbox: IPython runs a start-up file, which moves the kernel into a
fresh temporary folder, sets `GPTLAB_OFFLINE=1`, and lets sockets connect to this machine only. Programs that a
notebook starts inherit the variables: proxies at a closed port, and `GPTLAB_OFFLINE`.

`tests/conftest.py` uses `cut_network` for the unit tests too, rather than pytest-socket: that one guards neither
`connect_ex` nor `sendto`, raises no OSError (so code that copes with a dead network would fail), and does not reach
kernels. Standard library only.
"""

import ipaddress
import os
import socket
import tempfile
from pathlib import Path

SANDBOX = "GPTLAB_SANDBOX"  # the folder for everything that kernels leave behind; its presence says "isolate yourself"
_CLOSED = "http://127.0.0.1:9"  # the "discard" port, where nobody listens
_STARTUP = '__import__("gptlab.commands.isolation", fromlist=["enter"]).enter()\n'  # leaves no name in the notebook


class NetworkCutOff(ConnectionError):
    """Something tried to reach another machine. An OSError, so that code which copes with a dead network copes here."""


def sandboxed(folder: Path, variables: dict[str, str]) -> dict[str, str]:
    """A copy of `variables` with which every IPython kernel enters a sandbox when it starts.

    Args:
        folder: where the sandboxes are made.
        variables: of the environment.
    """
    startup = folder / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True, exist_ok=True)
    (startup / "00-isolation.py").write_text(_STARTUP, encoding="utf-8")
    return {**variables, "IPYTHONDIR": str(folder / "ipython"), SANDBOX: str(folder)}


def enter() -> None:
    """Move this process into a fresh folder and cut it off from the network; each kernel does this first."""
    os.chdir(tempfile.mkdtemp(dir=os.environ[SANDBOX], prefix="run-"))
    os.environ["GPTLAB_PROGRESS"] = os.path.join(
        os.getcwd(), "progress.json"
    )  # the reader's own progress stays as it is
    os.environ["GPTLAB_OFFLINE"] = "1"
    for scheme in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ[scheme] = os.environ[scheme.upper()] = _CLOSED
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "localhost,127.0.0.1,::1"
    cut_network()


def stays_here(host: object) -> bool:
    """Whether a host is this machine.

    >>> stays_here("127.0.0.1"), stays_here("::1"), stays_here("localhost"), stays_here("example.org")
    (True, True, True, False)
    """
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if not isinstance(host, str) or host in ("", "localhost", socket.gethostname()):
        return True
    try:
        address = ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def cut_network() -> None:
    """Let this process reach its own machine only: anything else fails at once, looking up a name included."""
    if getattr(socket.socket, "_gptlab_cut_off", False):
        return

    def guard(function, address_at: int, host_of):
        def guarded(*arguments, **named):
            address = arguments[address_at] if len(arguments) > address_at else None
            host = host_of(address)
            if not stays_here(host):
                raise NetworkCutOff(f"the network is cut off here: {host} was requested")
            return function(*arguments, **named)

        return guarded

    def host_of(address):
        return address[0] if isinstance(address, tuple) and address else None  # a Unix socket has a path, no host

    for method, position in (("connect", 1), ("connect_ex", 1), ("sendto", -1)):
        setattr(socket.socket, method, guard(getattr(socket.socket, method), position, host_of))
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        setattr(socket, name, guard(getattr(socket, name), 0, lambda host: host))
    socket.socket._gptlab_cut_off = True
