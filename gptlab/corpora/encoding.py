"""Tokenizing a corpus: tasks become rows of ids, in this process or in several."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gptlab import tokenizers
from gptlab.corpora.reading import Task
from gptlab.corpora.shards import ShardError
from gptlab.entrances import guard
from gptlab.tokenizing import BaseTokenizer, Tokenizer


class Ids(NamedTuple):
    """What a task becomes.

    Attributes:
        train: the ids to train on.
        validation: the ids to validate on.
        documents: how many documents ended in the task.
        characters: how long its texts were.
    """

    train: np.ndarray
    validation: np.ndarray
    documents: int
    characters: int


def is_for_validation(document: int, fraction: float | int) -> bool:
    """Whether a document is for validation: of the first n, n · fraction rounded down are.

    Args:
        document: its number, from 0.
        fraction: of the documents.

    >>> [document for document in range(10) if is_for_validation(document, 0.4)]
    [2, 4, 7, 9]
    """
    part, of = Fraction(fraction).limit_denominator(10**9).as_integer_ratio()  # 0.4 itself, not the float beside it
    return (document + 1) * part // of > document * part // of


def tokenize(task: Task, tokenizer: Tokenizer, fraction: float | int = 0) -> Ids:
    """The ids of a task, an end token after each document.

    Args:
        task: pieces of documents.
        tokenizer: gives the ids, and the end token if it has one.
        fraction: of the documents, for validation.

    >>> from gptlab.corpora.reading import Piece
    >>> bytes_only = tokenizers.open_tokenizer("bytes")
    >>> ids = tokenize(Task(0, [Piece("ab"), Piece("c")]), bytes_only, fraction=0.5)
    >>> ids.train.tolist(), ids.validation.tolist(), ids.documents
    ([97, 98, 256], [99, 256], 2)
    """
    parts: dict[bool, list[int]] = {False: [], True: []}
    document = task.document
    for piece in task.pieces:
        ids = parts[is_for_validation(document, fraction)]
        encode = tokenizer.encode if piece.first or not isinstance(tokenizer, BaseTokenizer) else tokenizer.encode_rest
        ids += encode(piece.text)
        if piece.last:
            ids += [] if tokenizer.end is None else [tokenizer.end]
            document += 1
    train, validation = (np.array(parts[asked], dtype=id_type(tokenizer)) for asked in (False, True))
    return Ids(train, validation, document - task.document, sum(len(piece.text) for piece in task.pieces))


def id_type(tokenizer: Tokenizer) -> str:
    """The type of the stored ids: two bytes where they are enough for the vocabulary, else four."""
    return "uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32"


# ── In several processes ─────────────────────────────────────────────────────────────────────────────────────────────

_TOKENIZER: Tokenizer | None = None  # of a worker process


def _open_worker(path: str) -> None:
    global _TOKENIZER
    _TOKENIZER = tokenizers.load(path)


def _work(task: Task, fraction: float) -> Ids:
    return tokenize(task, _TOKENIZER, fraction)


def tokenize_all(
    work: Iterator[Task], tokenizer: Tokenizer, path: Path, fraction: float, workers: int
) -> Iterator[Ids]:
    """Tokenize tasks, several at once, in their order; only a few are in memory at a time.

    Args:
        work: the tasks.
        tokenizer: for this process.
        path: where the same tokenizer is saved, for the others.
        fraction: of the documents, for validation.
        workers: how many processes; 1 is this one.

    Raises:
        ShardError: one of the processes died.
    """
    if workers == 1:
        yield from (tokenize(task, tokenizer, fraction) for task in work)
        return
    waiting: deque[Future] = deque()
    with ProcessPoolExecutor(workers, get_context("spawn"), _open_worker, (str(path),)) as pool:
        try:
            for task in work:
                waiting.append(pool.submit(_work, task, fraction))
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


guard(globals())
