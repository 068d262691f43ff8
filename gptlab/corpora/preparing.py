"""Making shards: a corpus of any size is read piece by piece, tokenized on all cores, and written safely.

A crash, a full disk or a power cut costs a few seconds of work, and never leaves half a shard that looks complete.

Every shard is written under another name and renamed when it is complete; `progress.json` records how far the work is,
and the same call goes on from there. `manifest.json` comes last.
"""

import errno
import hashlib
import json
import math
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gptlab import corpora
from gptlab.corpora.encoding import id_type, tokenize_all
from gptlab.corpora.reading import existing_file, read_pieces, tasks
from gptlab.corpora.shards import MANIFEST, PROGRESS, TOKENIZER, ShardError, Shards, Started, read_json, write_json
from gptlab.corpora.writing import ShardWriter
from gptlab.entrances import guard
from gptlab.tokenizing import Tokenizer

SAVED_EVERY = 5.0  # seconds between two records of the progress
SAMPLED = 1 << 20  # bytes at each end of a file, by whose hash it is recognised
CUTS = 2  # how long texts are cut into pieces; work that was begun with other cuts starts again


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
        sources: names of corpora, and files (see `read_pieces`).
        tokenizer: gives the ids, and the end token between two documents if it has one.
        folder: for the shards; a new one, or one with unfinished shards of the same sources and settings.
        name: of the tokenizer, for the manifest.
        field: where JSON lines and Parquet have the text.
        separator: what stands between two documents of a text.
        validation: fraction of the documents for validation, every 100th for 0.01, spread evenly; of a corpus with too
            few documents, the last part of its tokens.
        shard_tokens: about how many ids a shard has.
        workers: processes that tokenize.
        command: what a person runs to make these shards again.

    Raises:
        ValueError: the folder has shards of other files or settings, or a model; there is no text; a file cannot be
            read.
        FileNotFoundError: a file is not there.
        ShardError: a shard cannot be written.

    >>> import tempfile
    >>> from gptlab.tokenizers import open_tokenizer
    >>> shards = prepare(["fables"], open_tokenizer("bytes"), tempfile.mkdtemp(), validation=0.1)
    >>> shards.tokenizer.decode(shards.train[:12])
    'Long ago, in'
    """
    if not 0 <= validation <= 0.5:
        raise ValueError(f"validation={validation} must be between 0 and 0.5: the rest is what is trained on")
    if shard_tokens < 1 or workers < 1:
        raise ValueError(f"shard_tokens={shard_tokens} and workers={workers} must be at least 1")
    folder = Path(folder)
    made_of = {
        "sources": [_described(source) for source in sources],
        "tokenizer": hashlib.sha256(json.dumps(tokenizer.to_json()).encode()).hexdigest(),
        "field": field, "separator": separator, "validation": validation, "shard_tokens": shard_tokens,
    }  # fmt: skip
    before = read_json(folder / MANIFEST, Started) or read_json(folder / PROGRESS, Started)
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
    if before is not None and before.get("cuts") != CUTS:
        before = None
    state = before or {
        "made_of": made_of, "command": command, "cuts": CUTS, "done": 0, "documents": 0, "characters": 0,
    }  # fmt: skip
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
    """All shards that are not there yet. `state` is updated, and saved every few seconds."""
    made_of = state["made_of"]
    settings = made_of["field"], made_of["separator"], getattr(tokenizer, "split_point", lambda text: 0)
    work = tasks(piece for source in sources for piece in read_pieces(source, *settings))
    for _ in range(state["done"]):
        if next(work, None) is None:  # read again, but not tokenized again
            raise ShardError(f"the files are shorter than they were: delete {str(folder)!r} and prepare them again")
    writers = {
        part: ShardWriter(folder, part, id_type(tokenizer), made_of["shard_tokens"], state.get(part))
        for part in ("train", "validation")
    }
    saved = time.monotonic()
    with ExitStack() as stack:
        for writer in writers.values():
            stack.callback(lambda writer=writer: writer.file.close())
        for ids in tokenize_all(work, tokenizer, folder / TOKENIZER, made_of["validation"], workers):
            completed = [writers["train"].write(ids.train), writers["validation"].write(ids.validation)]
            state["done"] += 1
            state["documents"] += ids.documents
            state["characters"] += ids.characters
            if any(completed) or time.monotonic() - saved > SAVED_EVERY:
                state |= {part: writer.flush() for part, writer in writers.items()}
                write_json(folder / PROGRESS, state)
                saved = time.monotonic()
        if not state["characters"]:
            raise ValueError(f"there is no text in {', '.join(map(str, sources))}: nothing to learn from")
        for part, writer in writers.items():
            writer.close()
            state[part] = {"shards": writer.shards}


def _manifest(tokenizer: Tokenizer, name: str, state: dict[str, Any]) -> dict[str, Any]:
    """What the finished folder holds: every file with its ids and hash, and which ids are which part's."""
    files = {shard["file"]: shard for part in ("train", "validation") for shard in state[part]["shards"]}
    parts = {
        part: [[shard["file"], 0, shard["tokens"]] for shard in state[part]["shards"]]
        for part in ("train", "validation")
    }
    fraction = state["made_of"]["validation"]
    if fraction and not parts["validation"]:  # too few documents to spare one: the end of the text, cut once
        parts["train"], parts["validation"] = _without_end(parts["train"], fraction)
    return {
        "made_of": state["made_of"],
        "command": state["command"],
        "tokenizer": name or type(tokenizer).__name__,
        "vocab_size": tokenizer.vocab_size,
        "end": tokenizer.end,
        "dtype": id_type(tokenizer),
        "documents": state["documents"],
        "characters": state["characters"],
        "tokens": {part: sum(stop - start for _, start, stop in rows) for part, rows in parts.items()},
        "parts": parts,
        "files": files,
    }


def _without_end(rows: list[list], fraction: float) -> tuple[list[list], list[list]]:
    """Cut a row of files in two: all but the last `fraction` of the ids, and these.

    >>> _without_end([["a", 0, 100], ["b", 0, 60]], 0.1)
    ([['a', 0, 100], ['b', 0, 44]], [['b', 44, 60]])
    """
    left = math.ceil(fraction * sum(stop - start for _, start, stop in rows))
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
    """A source in the manifest: its name, and for a file its size and the SHA-256 of its two ends.

    The time of its last change says less: a copy of the folder has another.
    """
    if source in corpora.ENTRIES:
        return [str(source), None]
    path = existing_file(source, "; finished shards that were made of it do without it")
    size = path.stat().st_size
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read(SAMPLED))
        file.seek(max(0, size - SAMPLED))
        digest.update(file.read(SAMPLED))
    return [path.name, size, digest.hexdigest()]


def _same(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether shards were made of the same. Older ones know their files by name and size alone."""
    old, new = before["sources"], now["sources"]
    alike = len(old) == len(new) and all(a == b[: len(a)] for a, b in zip(old, new, strict=True))
    return alike and before | {"sources": new} == now


guard(globals())
