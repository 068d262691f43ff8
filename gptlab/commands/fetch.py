"""`python -m gptlab fetch`: get the files of the course ahead of the lesson, or for a machine without a network."""

from pathlib import Path
from typing import Literal

import tyro

from gptlab import downloads, encodings
from gptlab.corpora import shakespeare

Name = Literal["all", "shakespeare", "gpt2", "cl100k_base", "o200k_base", "mistral-7b-v1"]
EVERY: tuple[Name, ...] = ("shakespeare", "gpt2", "cl100k_base", "o200k_base", "mistral-7b-v1")


def fetch(names: tyro.conf.Positional[tuple[Name, ...]] = ("all",), into: Path | None = None) -> None:
    """Get the published files of the course, and say of each where it is.

    Looks in the folder GPTLAB_DATA, in the cache, and in tiktoken's caches first; what is not there is downloaded,
    checked by its SHA-256, and stored in the cache. The fables and the trained models come with the course.

    Args:
        names: What to get: a text (shakespeare), vocabularies (gpt2, cl100k_base, o200k_base), a SentencePiece model
            (mistral-7b-v1), or all of them.
        into: A folder to fill instead of the cache, for a machine without a network: copy it there and set GPTLAB_DATA
            to it.
    """
    chosen = EVERY if not names or "all" in names else tuple(dict.fromkeys(names))
    width, missing = max(map(len, chosen)), []
    for name in chosen:
        try:
            found = _get(name, into)
        except downloads.DownloadError as error:
            missing.append(error)
            print(f"{name:<{width}}  missing")
        else:
            print(f"{name:<{width}}  {found.where}: {found.path}")
    if missing:
        raise SystemExit("\n" + "\n\n".join(map(str, missing)))


def _get(name: Name, into: Path | None) -> downloads.Found:
    if name == "shakespeare":
        return downloads.fetch(shakespeare.FILE, into=into)
    return encodings.fetch(name, into=into)
