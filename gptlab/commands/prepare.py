"""`python -m gptlab prepare`: turn texts of any size into shards of token ids that `train` can read."""

import os
import shlex
import time
from pathlib import Path

import tyro

from gptlab.commands import environment


def prepare(
    files: tyro.conf.Positional[tuple[str, ...]],
    /,
    tokenizer: str = "gpt2",
    out: Path = Path("runs/shards"),
    field: str = "text",
    separator: str | None = None,
    validation: float = 0.01,
    shard_tokens: int = 1 << 27,
    workers: int | None = None,
) -> None:
    """Tokenize texts of any size into memory-mapped shards, on all cores; then train with --corpus and that folder.

    Stopped, it goes on when it is called again. Called again when all is done, it checks every shard, and makes them
    again if one is broken.

    Args:
        files: text files (one document each), .jsonl (one a line), .parquet (one a row), or .gz of these; or fables,
            shakespeare, pydocs.
        tokenizer: bytes, gpt2, cl100k_base, o200k_base, llama3, or a folder with a tokenizer.json.
        out: the folder for the shards.
        field: where JSON lines and Parquet have the text.
        separator: what stands between two documents in a text file, for example "<|endoftext|>".
        validation: part of the documents that is kept for validation.
        shard_tokens: about how many tokens a shard has.
        workers: processes that tokenize; one for each core unless given.
    """
    from gptlab.corpora import preparing

    if not files:
        raise ValueError("name at least one file to prepare")
    options = {"tokenizer": tokenizer, "out": out, "field": field, "separator": separator, "validation": validation}
    defaults = {"field": "text", "separator": None, "validation": 0.01}
    given = [(name, str(value)) for name, value in options.items() if value != defaults.get(name, ...)]
    given += [("shard-tokens", str(shard_tokens))] if shard_tokens != 1 << 27 else []
    words = [*files, *(word for name, value in given for word in (f"--{name}", value))]
    began = time.perf_counter()
    shards = preparing.prepare(
        files,
        preparing.open_tokenizer(tokenizer),
        out,
        name=tokenizer,
        field=field,
        separator=separator,
        validation=validation,
        shard_tokens=shard_tokens,
        workers=workers or os.cpu_count() or 1,
        command=f"{environment.python_call()} prepare {shlex.join(words)}",
    )
    made = shards.manifest
    seconds = time.perf_counter() - began
    print(
        f"{made['documents']:,} documents, {made['characters']:,} characters, "
        + ", ".join(f"{count:,} tokens for {part}" for part, count in made["tokens"].items())
        + f" ({made['dtype']}, {len(made['files'])} files, {seconds:.1f} s)"
    )
    if made["end"] is None and made["documents"] > 1:
        print("The tokenizer has no <|endoftext|>: the documents follow each other without a mark between them.")
    print(f"kept in {out}; train on it with `{environment.python_call()} train --corpus {out}`")
