"""Making shards: a corpus of any size is read piece by piece, tokenized on all cores, and written safely.

A crash, a full disk or a power cut costs a few seconds of work, and never leaves half a shard that looks whole.

Every shard is written under another name and renamed when it is whole; `progress.json` notes how far the work is; the
same call goes on from there. `manifest.json` comes last.
"""

import errno
import hashlib
import json
import math
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gptlab import tokens
from gptlab.corpora.reading import NAMES, Task, read, tasks
from gptlab.corpora.shards import MANIFEST, PROGRESS, TOKENIZER, ShardError, Shards, read_json, write_json
from gptlab.tokens import Tokenizer

ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>")  # the token between two documents, by its usual names
PUBLISHED = ("gpt2", "cl100k_base", "o200k_base", "llama3")
SAVED_EVERY = 5.0  # seconds between two notes of how far it is
KNOWN_BY = 1 << 20  # bytes at each end of a file, by whose hash it is told from another


# ── Tokenizing: in this process, or in several ───────────────────────────────────────────────────────────────────────


def open_tokenizer(name: str | os.PathLike) -> Tokenizer:
    """A tokenizer by name ("bytes", "gpt2", "cl100k_base", "o200k_base", "llama3"), or from a file or folder.

    A folder is a trained model, a run, or other shards; "fables" is the one of the course's own model.

    >>> open_tokenizer("bytes")
    BPETokenizer(V=257, special_tokens=['<|endoftext|>'])

    Raises:
        ValueError: for a name that is neither known nor a path.
    """
    if name == "bytes":
        from gptlab.bpe import BPETokenizer

        return BPETokenizer.train("", 257, special_tokens=ENDS[:1])
    if name in PUBLISHED:
        from gptlab import encodings
        from gptlab.bpe import BPETokenizer

        return BPETokenizer.from_tiktoken(encodings.load(str(name)))
    committed = Path(__file__).resolve().parents[2] / "data" / "models" / str(name)
    for path in (Path(name), Path(name) / TOKENIZER, committed / TOKENIZER):
        if path.is_file():
            return tokens.load(path)
    raise ValueError(
        f"there is no tokenizer {str(name)!r}: choose 'bytes', {', '.join(map(repr, PUBLISHED))}, "
        f"or a folder with a {TOKENIZER}, or the path of one"
    )


def end_token(tokenizer: Tokenizer) -> int | None:
    """The id of the token that stands between two documents, or None if the tokenizer has none."""
    special = getattr(tokenizer, "special_tokens", {})
    return next((special[name] for name in ENDS if name in special), None)


class Ids(NamedTuple):
    """What a task becomes: the ids to learn from, those to be asked about, and how much it was."""

    train: np.ndarray
    validation: np.ndarray
    documents: int
    characters: int


def held_out(document: int, share: float | int) -> bool:
    """Whether a document, counted from 0, is for validation: of the first n, n · share rounded down are.

    >>> [document for document in range(10) if held_out(document, 0.4)]
    [2, 4, 7, 9]
    """
    part, of = Fraction(share).limit_denominator(10**9).as_integer_ratio()  # 0.4 itself, not the float beside it
    return (document + 1) * part // of > document * part // of


def tokenize(task: Task, tokenizer: Tokenizer, share: float | int = 0) -> Ids:
    """The ids of a task, an end token after each document; a `share` of the documents is for validation.

    >>> from gptlab.corpora.reading import Piece
    >>> ids = tokenize(Task(0, [Piece("ab", True), Piece("c", True)]), open_tokenizer("bytes"), share=0.5)
    >>> ids.train.tolist(), ids.validation.tolist(), ids.documents
    ([97, 98, 256], [99, 256], 2)
    """
    end, dtype = end_token(tokenizer), id_type(tokenizer)
    parts: dict[bool, list[int]] = {False: [], True: []}
    document = task.document
    into = parts[held_out(document, share)]
    for piece in task.pieces:
        into += tokenizer.encode(piece.text)
        if piece.last:
            into += [] if end is None else [end]
            document += 1
            into = parts[held_out(document, share)]
    rows = (np.array(parts[asked], dtype=dtype) for asked in (False, True))
    return Ids(*rows, document - task.document, sum(len(piece.text) for piece in task.pieces))


def id_type(tokenizer: Tokenizer) -> str:
    """Two bytes an id where they are enough for the vocabulary, else four."""
    return "uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32"


_TOKENIZER: Tokenizer | None = None  # of a worker process


def _open_worker(path: str) -> None:
    global _TOKENIZER
    _TOKENIZER = tokens.load(path)


def _work(task: Task, share: float) -> Ids:
    return tokenize(task, _TOKENIZER, share)


def _all_ids(work: Iterator[Task], tokenizer: Tokenizer, path: Path, share: float, workers: int) -> Iterator[Ids]:
    """Tokenize tasks, several at once, in their order; only a few are in memory at a time."""
    if workers == 1:
        yield from (tokenize(task, tokenizer, share) for task in work)
        return
    waiting: deque[Future] = deque()
    with ProcessPoolExecutor(workers, get_context("spawn"), _open_worker, (str(path),)) as pool:
        try:
            for task in work:
                waiting.append(pool.submit(_work, task, share))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise ShardError(
                "a process that was tokenizing has died, perhaps for lack of memory: run the same command again, "
                f"with fewer --workers than {workers}; it goes on from where it stopped"
            ) from error
        finally:
            for future in waiting:
                future.cancel()


# ── Writing: shards that are whole, or are not there ─────────────────────────────────────────────────────────────────


class _Writer:
    """The shards of one part ("train", "validation"): written under another name, and renamed when they are whole."""

    def __init__(self, folder: Path, part: str, dtype: str, size: int, state: dict[str, Any] | None):
        self.folder, self.part, self.dtype, self.size = folder, part, np.dtype(dtype), size
        self.shards: list[dict[str, Any]] = list(state["shards"]) if state else []
        self._open(state["open"] if state else 0)

    @property
    def name(self) -> str:
        return f"{self.part}-{len(self.shards):05d}.bin"

    def _open(self, count: int) -> None:
        """Begin a shard, or go on with one after `count` ids; what was written after the last note is written again."""
        unfinished, self.count, self.hash = self.folder / f".{self.name}.part", count, hashlib.sha256()
        if count and not unfinished.exists() and (self.folder / self.name).exists():
            os.replace(self.folder / self.name, unfinished)  # it was whole, but nobody had noted it yet
        self.file = open(unfinished, "rb+" if count else "wb")  # noqa: SIM115
        left = count * self.dtype.itemsize
        while left and (block := self.file.read(min(left, 1 << 24))):
            self.hash.update(block)
            left -= len(block)
        if left:
            raise ShardError(f"{str(unfinished)!r} is shorter than was noted: delete the folder and prepare it again")
        self.file.truncate(count * self.dtype.itemsize)

    def write(self, ids: np.ndarray) -> bool:
        """Write a row of ids; True if that made a shard whole."""
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
        """Let everything reach the disk; where this part stands now."""
        self.file.flush()
        os.fsync(self.file.fileno())
        return {"shards": self.shards, "open": self.count}

    def close(self) -> None:
        """Make the shard that is being written a whole one, if it has any ids."""
        self.flush()
        self.file.close()
        unfinished = self.folder / f".{self.name}.part"
        if self.count:
            os.replace(unfinished, self.folder / self.name)
            self.shards.append({"file": self.name, "tokens": self.count, "sha256": self.hash.hexdigest()})
        else:
            unfinished.unlink()


def prepare(
    sources: Sequence[str | os.PathLike],
    tokenizer: Tokenizer,
    folder: str | Path,
    *,
    name: str = "",
    field: str = "text",
    separator: str | None = None,
    validation: float = 0.01,
    shard_tokens: int = 1 << 27,
    workers: int = 1,
    command: str = "the same call",
) -> Shards:
    """Tokenize files into shards, and open them. Called again it goes on where it was stopped, or finds all done.

    Args:
        name: of the tokenizer, for the manifest.  field, separator: as for `read`.
        validation: part of the documents that is kept for validation, every 100th for 0.01, spread evenly; of a corpus
            with too few documents, the last part of its tokens.
        shard_tokens: about how many ids a shard has.  workers: processes that tokenize.
        command: what a person runs to make these shards again.

    Raises:
        ValueError: the folder has shards of other files or settings, or a model; there is no text; a file cannot be
            read.
        FileNotFoundError: a file is not there.
        ShardError: a shard cannot be written.

    >>> import tempfile
    >>> shards = prepare(["fables"], open_tokenizer("bytes"), tempfile.mkdtemp(), validation=0.1)
    >>> shards.tokenizer.decode(shards.train[:12])
    'Long ago, in'
    """
    if not 0 <= validation <= 0.5:
        raise ValueError(f"validation={validation} must be between 0 and 0.5: the rest is what is learned from")
    if shard_tokens < 1 or workers < 1:
        raise ValueError(f"shard_tokens={shard_tokens} and workers={workers} must be at least 1")
    folder = Path(folder)
    made_of = {
        "sources": [_described(source) for source in sources],
        "tokenizer": hashlib.sha256(json.dumps(tokenizer.to_json()).encode()).hexdigest(),
        "field": field, "separator": separator, "validation": validation, "shard_tokens": shard_tokens,
    }  # fmt: skip
    before = read_json(folder / MANIFEST) or read_json(folder / PROGRESS)
    if before is None and (found := [name for name in ("config.json", "config.yaml") if (folder / name).is_file()]):
        raise ValueError(
            f"{str(folder)!r} holds a model or a run ({found[0]}), whose {TOKENIZER} would be replaced: choose another "
            "--out for the shards"
        )
    if before is not None and not _same(before["made_of"], made_of):
        raise ValueError(
            f"{str(folder)!r} has shards of other files or settings (made by `{before['command']}`): "
            "choose another folder, or delete this one"
        )
    if before is not None and "parts" in before:
        try:
            return Shards(folder)
        except ShardError as error:
            print(f"{error}: that is what happens now.", flush=True)
            before = None
    state = before or {"made_of": made_of, "command": command, "done": 0, "documents": 0, "characters": 0}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        tokenizer.save(folder / TOKENIZER)
        _write(sources, tokenizer, folder, state, workers)
        write_json(folder / MANIFEST, _manifest(tokenizer, name, state))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        raise ShardError(
            f"could not write to {str(folder)!r} ({error.strerror}): free some space and run the same command again; "
            "it goes on from where it stopped"
        ) from error
    (folder / PROGRESS).unlink(missing_ok=True)
    return Shards(folder, verify=False)


def _write(sources: Sequence, tokenizer: Tokenizer, folder: Path, state: dict[str, Any], workers: int) -> None:
    """All shards that are not there yet. `state` goes along, and is noted on disk every few seconds."""
    made_of = state["made_of"]
    work = tasks(piece for source in sources for piece in read(source, made_of["field"], made_of["separator"]))
    for _ in range(state["done"]):
        if next(work, None) is None:  # read again, but not tokenized again
            raise ShardError(f"the files are shorter than they were: delete {str(folder)!r} and prepare them again")
    makers = {
        part: _Writer(folder, part, id_type(tokenizer), made_of["shard_tokens"], state.get(part))
        for part in ("train", "validation")
    }
    noted = time.monotonic()
    with ExitStack() as stack:
        for writer in makers.values():
            stack.callback(lambda writer=writer: writer.file.close())
        for ids in _all_ids(work, tokenizer, folder / TOKENIZER, made_of["validation"], workers):
            whole = [makers["train"].write(ids.train), makers["validation"].write(ids.validation)]
            state["done"] += 1
            state["documents"] += ids.documents
            state["characters"] += ids.characters
            if any(whole) or time.monotonic() - noted > SAVED_EVERY:
                state |= {part: writer.flush() for part, writer in makers.items()}
                write_json(folder / PROGRESS, state)
                noted = time.monotonic()
        if not state["characters"]:
            raise ValueError(f"there is no text in {', '.join(map(str, sources))}: nothing to learn from")
        for part, writer in makers.items():
            writer.close()
            state[part] = {"shards": writer.shards}


def _manifest(tokenizer: Tokenizer, name: str, state: dict[str, Any]) -> dict[str, Any]:
    """What the finished folder holds: every file with its ids and hash, and which ids are which part's."""
    files = {shard["file"]: shard for part in ("train", "validation") for shard in state[part]["shards"]}
    parts = {
        part: [[shard["file"], 0, shard["tokens"]] for shard in state[part]["shards"]]
        for part in ("train", "validation")
    }
    share = state["made_of"]["validation"]
    if share and not parts["validation"]:  # too few documents to spare one: the end of the text, cut once
        parts["train"], parts["validation"] = _without_end(parts["train"], share)
    return {
        "made_of": state["made_of"],
        "command": state["command"],
        "tokenizer": name or type(tokenizer).__name__,
        "vocab_size": tokenizer.vocab_size,
        "end": end_token(tokenizer),
        "dtype": id_type(tokenizer),
        "documents": state["documents"],
        "characters": state["characters"],
        "tokens": {part: sum(stop - start for _, start, stop in rows) for part, rows in parts.items()},
        "parts": parts,
        "files": files,
    }


def _without_end(rows: list[list], share: float) -> tuple[list[list], list[list]]:
    """Cut a row of files in two: all but the last `share` of the ids, and these.

    >>> _without_end([["a", 0, 100], ["b", 0, 60]], 0.1)
    ([['a', 0, 100], ['b', 0, 44]], [['b', 44, 60]])
    """
    left = math.ceil(share * sum(stop - start for _, start, stop in rows))
    head, tail = list(rows), []
    while left:
        file, start, stop = head.pop()
        cut = max(start, stop - left)
        tail.insert(0, [file, cut, stop])
        left -= stop - cut
        if cut > start:
            head.append([file, start, cut])
    return head, tail


def _described(source: str | os.PathLike) -> list:
    """A source as the manifest knows it: its name, and of a file its size and the SHA-256 of its two ends.

    The time of its last change says less: a copy of the folder has another.
    """
    if source in NAMES:
        return [str(source), None]
    path = Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {str(path)!r} (looked from {Path.cwd()}): check the path; finished shards that were "
            "made of it do without it"
        )
    size = path.stat().st_size
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read(KNOWN_BY))
        file.seek(max(0, size - KNOWN_BY))
        digest.update(file.read(KNOWN_BY))
    return [path.name, size, digest.hexdigest()]


def _same(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether shards were made of the same. Older ones know their files by name and size alone."""
    old, new = before["sources"], now["sources"]
    alike = len(old) == len(new) and all(a == b[: len(a)] for a, b in zip(old, new, strict=True))
    return alike and before | {"sources": new} == now
