"""Shards: a text as ids on disk, larger than memory if need be; made by `gptlab.corpora.preparing`, opened here.

A folder of shards has `train-00000.bin`, … (bare ids), `tokenizer.json`, and, written last, `manifest.json`, which says
how large each file must be, and its SHA-256. A folder without a manifest is not finished.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np

from gptlab import formats, tokenizers
from gptlab.entrances import Count, Whole, guard
from gptlab.files import write_whole

if TYPE_CHECKING:
    from gptlab.batches import Batches

MANIFEST, PROGRESS, TOKENIZER = "manifest.json", "progress.json", tokenizers.FILE


class ShardError(OSError):
    """A shard is missing or broken, or cannot be written."""


class Shard(TypedDict):
    """A file of ids, in the manifest."""

    file: str
    tokens: Whole
    sha256: str


class Started(TypedDict):
    """What is needed of `progress.json`, and of the manifest, before the work goes on."""

    made_of: dict[str, Any]
    command: str


class Manifest(Started):
    """What `manifest.json` says. A part is a row of pieces of files: [name, first id, the id after the last]."""

    tokenizer: str
    vocab_size: Count
    end: Whole | None
    dtype: Literal["uint16", "uint32"]
    documents: Whole
    characters: Whole
    tokens: dict[str, Whole]
    parts: dict[str, list[list[Any]]]
    files: dict[str, Shard]


def are_shards(folder: str | os.PathLike) -> bool:
    """Whether this is a folder that `prepare` has finished or started."""
    return any((Path(folder) / name).is_file() for name in (MANIFEST, PROGRESS))


class Row:
    """The ids of several memory-mapped files, one after the other, as one array; only what is asked for is read.

    Args:
        files: arrays of ids.

    >>> row = Row([np.arange(5), np.arange(5, 12)])
    >>> len(row), row[3:8].tolist()
    (12, [3, 4, 5, 6, 7])
    """

    def __init__(self, files: Sequence[np.ndarray]):
        self.files = [file for file in files if len(file)]
        self.ends = np.cumsum([len(file) for file in self.files], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.ends[-1]) if self.files else 0

    def __getitem__(self, wanted: slice) -> np.ndarray:
        start, stop, step = wanted.indices(len(self))
        if step != 1:
            raise ValueError(f"step={step}: a row of shards is read in order")
        found = []
        first = int(np.searchsorted(self.ends, start, side="right"))
        for file, end in zip(self.files[first:], self.ends[first:].tolist(), strict=True):
            begin = end - len(file)
            if begin >= stop:
                break
            found.append(file[max(0, start - begin) : stop - begin])
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


class Shards:
    """A folder that `prepare` has finished: `train` and `validation` as rows of ids, `tokenizer`, `manifest`.

    Args:
        folder: where the shards are.
        verify: compare every file's SHA-256 with the manifest, about a second for each gigabyte. Sizes always are.

    Raises:
        ShardError: the folder is not finished, or a shard is missing, of another size, or altered: which, and the
            command that makes it again.
    """

    def __init__(self, folder: str | os.PathLike, verify: bool = True):
        self.folder = Path(folder)
        if not (self.folder / MANIFEST).is_file():
            started = read_json(self.folder / PROGRESS, Started)
            way = (
                f"run `{started['command']}` again, and it goes on"
                if started
                else "make them with `python -m gptlab prepare`"
            )
            raise ShardError(f"there are no finished shards in {str(folder)!r}: {way}")
        self.manifest = _read_manifest(self.folder / MANIFEST)
        self.dtype = np.dtype(self.manifest["dtype"])
        for shard in self.manifest["files"].values():
            if problem := self._what_is_wrong(shard, verify):
                raise ShardError(
                    f"{shard['file']} in {str(folder)!r} {problem}: `{self.manifest['command']}` makes it again"
                )
        self.train, self.validation = (
            Row([self._map(file)[start:stop] for file, start, stop in self.manifest["parts"][part]])
            for part in ("train", "validation")
        )
        self.tokenizer = tokenizers.load(self.folder / TOKENIZER)
        self.end: int | None = self.manifest["end"]

    def _what_is_wrong(self, shard: dict[str, Any], verify: bool) -> str:
        path, size = self.folder / shard["file"], shard["tokens"] * self.dtype.itemsize
        if not path.is_file():
            return "is not there"
        if path.stat().st_size != size:
            return f"has {path.stat().st_size:,} bytes, not {size:,}"
        if not verify:
            return ""
        with open(path, "rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 24):
                digest.update(block)
        return "" if digest.hexdigest() == shard["sha256"] else "is not what was written (its SHA-256 is another)"

    def _map(self, file: str) -> np.ndarray:
        if not self.manifest["files"][file]["tokens"]:
            return np.empty(0, dtype=self.dtype)  # an empty file cannot be mapped
        return np.memmap(self.folder / file, dtype=self.dtype, mode="r")

    def batches(self, part: str, B: int, T: int, order: str = "random", seed: int = 0) -> "Batches":
        """[B, T] batches of a part; a batch is read from the disk when it is asked for.

        Args:
            part: "train" or "validation".
            B: sequences in a batch.
            T: tokens in a sequence.
            order: "random" or "ordered".
            seed: of the random order.

        Raises:
            ValueError: the part is shorter than one sample.
        """
        row = {"train": self.train, "validation": self.validation}[part]
        if len(row) < T + 1:
            raise ValueError(
                f"the {part} part of {str(self.folder)!r} has {len(row)} tokens, fewer than one sample of T={T} and "
                "its target: prepare more text, or choose a smaller context"
            )
        from gptlab.batches import Batches  # here, because it loads torch

        return Batches(row, B, T, order, seed)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count:,} {part}" for part, count in self.manifest["tokens"].items())
        return f"Shards({str(self.folder)!r}: {counts} tokens of {self.manifest['tokenizer']})"


def _read_manifest(path: Path) -> Any:
    """A manifest that fits together, and names files of its own folder only.

    Raises:
        ShardError: it is damaged, or names others.
    """
    manifest = read_json(path, Manifest)
    assert manifest is not None
    files = manifest["files"]
    for name, shard in files.items():
        if name != shard["file"] or Path(name).name != name or not name.endswith(".bin") or "\0" in name:
            raise _damaged(path, f"files.{name} is not the name of a shard in its own folder")
    for part in ("train", "validation"):
        for row in manifest["parts"].get(part, [[]]):
            if formats.problem(row[1:], list[Whole]) or len(row) != 3 or row[0] not in list(files):
                raise _damaged(path, f"parts.{part} has a row {row!r:.60}, not a shard and two positions")
            if not row[1] <= row[2] <= files[row[0]]["tokens"]:
                raise _damaged(path, f"parts.{part} has positions {row[1]} to {row[2]} in {row[0]}")
    return manifest


def _damaged(path: Path, why: object) -> ShardError:
    return ShardError(f"{path.name} in {str(path.parent)!r} is damaged ({why}): delete the folder and prepare it again")


def read_json(path: Path, expected: Any = dict) -> Any:
    """What a file of JSON beside shards says, or None if there is none.

    Args:
        path: the file.
        expected: what it must contain, as `gptlab.formats.problem` has it.

    Raises:
        ShardError: it is damaged.
    """
    try:
        return formats.read_json(path, expected, most=1 << 28) if path.exists() else None
    except ValueError as error:
        raise _damaged(path, str(error).partition("is damaged")[2].lstrip(":, ") or error) from error


def write_json(path: Path, data: Any) -> None:
    """Write all of it or nothing."""
    write_whole(path, json.dumps(data, indent=1) + "\n")


guard(globals())
