"""Writing shards that are complete or not there: under another name first, renamed when all of it is on the disk."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from gptlab.corpora.shards import ShardError


class ShardWriter:
    """The shards of one part, each written under another name and renamed when it is complete.

    Args:
        folder: where the shards are.
        part: "train" or "validation".
        dtype: of the stored ids.
        size: about how many ids a shard has.
        state: what `flush` returned, to go on from there; None to start.
    """

    def __init__(self, folder: Path, part: str, dtype: str, size: int, state: dict[str, Any] | None):
        self.folder, self.part, self.dtype, self.size = folder, part, np.dtype(dtype), size
        self.shards: list[dict[str, Any]] = list(state["shards"]) if state else []
        self._open(state["open"] if state else 0)

    @property
    def name(self) -> str:
        return f"{self.part}-{len(self.shards):05d}.bin"

    def _open(self, count: int) -> None:
        """Start a shard, or go on after `count` ids; what was written after the last `flush` is written again."""
        unfinished, self.count, self.hash = self.folder / f".{self.name}.part", count, hashlib.sha256()
        if count and not unfinished.exists() and (self.folder / self.name).exists():
            os.replace(self.folder / self.name, unfinished)  # it was complete, but that was not recorded yet
        self.file = open(unfinished, "rb+" if count else "wb")  # noqa: SIM115
        left = count * self.dtype.itemsize
        while left and (block := self.file.read(min(left, 1 << 24))):
            self.hash.update(block)
            left -= len(block)
        if left:
            raise ShardError(
                f"{str(unfinished)!r} is shorter than was recorded: delete the folder and prepare it again"
            )
        self.file.truncate(count * self.dtype.itemsize)

    def write(self, ids: np.ndarray) -> bool:
        """Write a row of ids; True if that completed a shard."""
        data = ids.astype(self.dtype).tobytes()
        self.file.write(data)
        self.hash.update(data)
        self.count += len(ids)
        if self.count < self.size:
            return False
        self.close()
        self._open(0)
        return True

    def flush(self) -> dict[str, Any]:
        """Let everything reach the disk.

        Returns:
            The state to go on from: the finished shards, and how many ids of the open one are written.
        """
        self.file.flush()
        os.fsync(self.file.fileno())
        return {"shards": self.shards, "open": self.count}

    def close(self) -> None:
        """Finish the shard that is being written, if it has any ids."""
        self.flush()
        self.file.close()
        unfinished = self.folder / f".{self.name}.part"
        if self.count:
            os.replace(unfinished, self.folder / self.name)
            self.shards.append({"file": self.name, "tokens": self.count, "sha256": self.hash.hexdigest()})
        else:
            unfinished.unlink()
