"""`python -m gptlab fetch`: get the files of the course ahead of the lesson, or for a machine without a network."""

from pathlib import Path
from typing import Literal

import tyro

from gptlab import corpora, downloads, encodings

EVERY = (*(name for name, entry in corpora.ENTRIES.items() if entry.file), *encodings.FETCHABLE)
UNTRIED = ("not there", "not asked, because GPTLAB_OFFLINE is set")  # true of every file: said once, or not at all
Name = Literal[("all", *EVERY)]  # type: ignore[valid-type]  (the registry says which)


def fetch(names: tyro.conf.Positional[tuple[Name, ...]] = ("all",), into: Path | None = None) -> None:
    """Get the published files of the course, and say of each where it is.

    Looks in the folder GPTLAB_DATA, in the cache, and in tiktoken's caches first; what is not there is downloaded,
    checked by its SHA-256, and stored in the cache. The fables and the trained models come with the course.

    Args:
        names: What to get: texts (shakespeare), vocabularies (gpt2, cl100k_base, o200k_base), a SentencePiece model
            (mistral-7b-v1), or all of them.
        into: A folder to fill instead of the cache, for a machine without a network: copy it there and set GPTLAB_DATA
            to it.
    """
    chosen = EVERY if not names or "all" in names else tuple(dict.fromkeys(names))
    width, missing = max(map(len, chosen)), []
    for name in chosen:
        try:
            found = get(name, into)
        except downloads.DownloadError as error:
            missing.append(error)
            print(f"{name:<{width}}  missing", flush=True)
        else:
            print(f"{name:<{width}}  {found.where}: {found.path}", flush=True)
    if missing:
        raise SystemExit("\n" + remedies(missing))


def remedies(missing: list[downloads.DownloadError]) -> str:
    """What was tried for the files that are missing, and what helps, said once for all of them.

    Args:
        missing: the error of each.
    """
    if len(missing) == 1:
        return str(missing[0])
    names = " ".join(error.file.command for error in missing if error.file.command)
    lines = [f"{len(missing)} files are missing and could not be downloaded: {names}"]
    if downloads.offline():
        lines += ["GPTLAB_OFFLINE is set, so no source was asked for them."]
    tried = [(error.file.path, *attempt) for error in missing for attempt in error.tried]
    tried = [f"  - {file}: {place}: {why}" for file, place, why in tried if why not in UNTRIED]
    lines += ["Tried:", *tried] * bool(tried)
    command = f"python -m gptlab fetch {names}"
    lines += ["What helps:"] + ["  - allow downloads: unset GPTLAB_OFFLINE"] * downloads.offline()
    lines += [
        f"  - on this machine, once it has a network: {command}",
        f"  - on another machine: {command} --into FOLDER, then copy FOLDER here and set GPTLAB_DATA to it",
        "  - one file by hand: the command with its name alone says where it belongs, and its SHA-256",
    ]
    return "\n".join(lines)


def get(name: str, into: Path | None = None) -> downloads.Found:
    """One published file, from this machine or else downloaded.

    Args:
        name: one of `EVERY`.
        into: a folder to fill instead of the cache.

    Raises:
        gptlab.downloads.DownloadError: it is not on this machine and could not be downloaded.
    """
    entry = corpora.ENTRIES.get(name)
    return encodings.fetch(name, into=into) if entry is None else downloads.fetch(entry.file, into=into)
