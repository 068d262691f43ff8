"""`python -m gptlab prepare`: turn texts of any size into shards of token ids that `train` can read."""

import os
import shlex
import time
from pathlib import Path
from typing import Annotated

import tyro

from gptlab.commands import environment
from gptlab.entrances import Count, Range, checked

Workers = Annotated[int, Range(least=1, most=1024)]
SMALL = 2_000_000  # characters of a text that `train` reads as it is


@checked
def prepare(
    files: tyro.conf.Positional[tuple[str, ...]],
    /,
    tokenizer: str = "gpt2",
    out: Path = Path("runs/shards"),
    field: str = "text",
    separator: str | None = None,
    validation: float = 0.01,
    shard_tokens: Count = 1 << 27,
    workers: Workers | None = None,
) -> None:
    """Tokenize texts of any size into memory-mapped shards, on all cores; then train with --corpus and that folder.

    Stopped, it goes on when it is called again. Called again when all is done, it checks every shard, and makes them
    again if one is broken.

    Args:
        files: text files (one document each), .jsonl (one per line), .parquet (one per row), or .gz of these; or a
            corpus by its name, such as fables.
        tokenizer: bytes, gpt2, cl100k_base, o200k_base, llama3, or a folder with a tokenizer.json.
        out: the folder for the shards.
        field: where JSON lines and Parquet have the text.
        separator: what stands between two documents in a text file, for example "<|endoftext|>", or "\\n\\n" for an
            empty line.
        validation: fraction of the documents for validation.
        shard_tokens: about how many tokens a shard has.
        workers: processes that tokenize; one for each core unless given.
    """
    from gptlab import corpora, tokenizers
    from gptlab.corpora import preparing
    from gptlab.corpora.reading import unescaped

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
        tokenizers.open_tokenizer(tokenizer),
        out,
        name=tokenizer,
        field=field,
        separator=None if separator is None else unescaped(separator),
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
    if separator is not None and made["documents"] <= len(files):
        print(f"The separator {separator!r} was not found: each file is one document.")
    if made["end"] is None and made["documents"] > 1:
        print("The tokenizer has no end token: the documents follow each other without a mark between them.")
    if made["characters"] < SMALL and not set(files) & set(corpora.ENTRIES):
        call = f"{environment.python_call()} train {shlex.join(files)}"
        print(f"So short a text needs no shards: `{call}` does this better, with tokens learned from the text itself.")
    print(f"saved in {out}; train on it with `{environment.python_call()} train --corpus {shlex.quote(str(out))}`")
