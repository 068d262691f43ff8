"""Exercises on tensors and batches: axes, broadcasting, products, and every pair of neighbours once."""

import torch
from torch import Tensor

from gptlab import batches
from gptlab.batches import IGNORE
from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question


def _ids(rng, n: int) -> list[int]:
    """Different ids from 1 on, so that a place can be told from its id."""
    return rng.sample(range(1, 90), n)


def _tensor(rng, *sizes: int) -> Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(rng.randrange(10**6)), dtype=torch.float64)


# ---- batches.1 -------------------------------------------------------------------------------------------------------


def inputs_and_targets(ids: list[int]) -> tuple[list[int], list[int]]:
    return ids[:-1], ids[1:]


def _blocks(rng):
    yield from [([5, 6],), ([5, 6, 7],), ([5, 5, 6, 5],)]
    for n in range(4, 12):
        yield (_ids(rng, n),)


_SHIFT = Exercise(
    id="batches.1",
    title="Targets, one later",
    minutes=5,
    difficulty=1,
    prompt="From T + 1 ids make the T inputs and the T targets: the target of each input is the id that follows it."
    "\n\nInput: `ids`, a `list` of `int`, at least two. Result: two lists of the same length, inputs and targets.",
    signature="def inputs_and_targets(ids: list[int]) -> tuple[list[int], list[int]]",
    inputs=_blocks,
    solution=inputs_and_targets,
    mistakes=[
        Mistake(
            "the targets are the inputs",
            lambda ids: (ids[:-1], ids[:-1]),
            "The model could copy what it reads, and would learn nothing else. The target stands one place later.",
        ),
        Mistake(
            "inputs and targets have changed places",
            lambda ids: (ids[1:], ids[:-1]),
            "Your model predicts the past: what stood before each token. The inputs are `ids[:-1]`.",
        ),
        Mistake(
            "the last input has no target",
            lambda ids: (ids, ids[1:]),
            "There is one input more than targets. What follows the last id is not known, so it is no input.",
        ),
        Mistake(
            "the last target is the first id",
            lambda ids: (ids, ids[1:] + ids[:1]),
            "A roll puts the first id behind the last one, and so teaches a pair that stands nowhere in the text.",
        ),
        Mistake(
            "the targets are two later",
            lambda ids: (ids[:-2], ids[2:]),
            "One token is skipped. The target is the very next id: `ids[1:]`.",
        ),
    ],
    hints=[
        "Write five ids in a row, and the same row below it, moved to the left by one place.",
        "Which id of the block is never an input? Which one is never a target?",
        "Inputs: all but the last, `ids[:-1]`. Targets: all but the first.",
    ],
)

# ---- batches.2 -------------------------------------------------------------------------------------------------------


def rolling_windows(ids: list[int], T: int, pad: int) -> tuple[list[list[int]], list[int]]:
    padded = [pad] * (T - 1) + ids
    windows = [padded[n : n + T] for n in range(len(ids) - 1)]
    return windows, ids[1:]


def _windows_inputs(rng):
    yield from [([5, 6], 3, 0), ([5, 6, 7, 8], 2, 0), ([5, 6, 7, 8, 9], 3, 0), ([4, 5, 6, 7, 8], 3, 99)]
    for n in range(6, 13):
        yield _ids(rng, n), rng.choice([2, 3, 4, 5]), rng.choice([0, 97])


def _wide(ids, T, pad):
    return [pad] * (T - 1) + ids


_WINDOWS = Exercise(
    id="batches.2",
    title="A window that rolls along",
    minutes=10,
    difficulty=2,
    prompt="For each id but the last, write down the T ids that end with it, filled up on the left with `pad` where "
    "there are not so many yet; and the id that comes next.\n\nInput: `ids`, a `list` of `int`, at least two; `T` and "
    "`pad`, each an `int`. Result: a list of windows, each a `list` of T ids, and a list of as many targets.",
    signature="def rolling_windows(ids: list[int], T: int, pad: int) -> tuple[list[list[int]], list[int]]",
    inputs=_windows_inputs,
    solution=rolling_windows,
    reference=lambda ids, T, pad: tuple(part.tolist() for part in batches.rolling_windows(ids, T, pad)),
    mistakes=[
        Mistake(
            "the last window is lost",
            lambda ids, T, pad: ([_wide(ids, T, pad)[n : n + T] for n in range(len(ids) - 2)], ids[1:-1]),
            "The last id is a target as well. N ids have N - 1 pairs of neighbours, and so N - 1 windows.",
        ),
        Mistake(
            "the windows begin when the first one is full",
            lambda ids, T, pad: ([ids[n : n + T] for n in range(len(ids) - T)], ids[T:]),
            "The first tokens are never targets then. Put `[pad] * (T - 1)` before the text.",
        ),
        Mistake(
            "the padding is on the right",
            lambda ids, T, pad: (
                [(ids[max(0, n - T) : n] + [pad] * T)[:T] for n in range(1, len(ids))],
                ids[1:],
            ),
            "The token to predict comes next to the last place of a window. Fill up on the left.",
        ),
        Mistake(
            "there is a window without a target",
            lambda ids, T, pad: ([_wide(ids, T, pad)[n : n + T] for n in range(len(ids))], ids[1:]),
            "After the last id nothing is known, so no window ends with it.",
        ),
        Mistake(
            "the window jumps by T",
            lambda ids, T, pad: (
                [_wide(ids, T, pad)[n : n + T] for n in range(0, len(ids) - 1, T)],
                [ids[n + 1] for n in range(0, len(ids) - 1, T)],
            ),
            "Between two windows you skip T - 1 targets. A window moves on by one.",
        ),
        Mistake(
            "the target is in its window",
            lambda ids, T, pad: ([_wide(ids, T, pad)[n : n + T] for n in range(1, len(ids))], ids[1:]),
            "The last id of a window is the one before the target. Yours shows the answer.",
        ),
        Mistake(
            "there are T pads in front",
            lambda ids, T, pad: ([([pad] * T + ids)[n : n + T] for n in range(len(ids))][:-1], ids[1:]),
            "With T pads the first window holds no id at all, and every target is one too early for its window.",
        ),
    ],
    hints=[
        "Put pads in front of the text, so many that the first window ends with the first id.",
        "That is T - 1 pads. Window n is then the slice from n to n + T.",
        "`padded[n : n + T]` for n in `range(len(ids) - 1)`; the targets are `ids[1:]`.",
    ],
    package="gptlab.batches.rolling_windows",
)

# ---- batches.3 -------------------------------------------------------------------------------------------------------


def growing_contexts(ids: list[int], T: int) -> list[tuple[list[int], int]]:
    return [(ids[: t + 1], ids[t + 1]) for t in range(T)]


def _growing_inputs(rng):
    yield from [([5, 6], 1), ([5, 6, 7], 2), ([5, 6, 7, 8], 2), ([5, 6, 7, 8, 9], 4)]
    for T in range(2, 9):
        yield _ids(rng, T + rng.choice([1, 3])), T


_GROWING = Exercise(
    id="batches.3",
    title="One block, T lessons",
    minutes=10,
    difficulty=1,
    prompt="Write down what a GPT learns from the first T + 1 ids: T pairs of a context and the id after it. The first "
    "context is one id long, the last one T.\n\nInput: `ids`, a `list` of more than T `int`s; `T`, an `int`. Result: a "
    "list of T pairs (context, target), each context a `list`.",
    signature="def growing_contexts(ids: list[int], T: int) -> list[tuple[list[int], int]]",
    inputs=_growing_inputs,
    solution=growing_contexts,
    reference=batches.growing_contexts,
    mistakes=[
        Mistake(
            "the last lesson is lost",
            lambda ids, T: [(ids[:t], ids[t]) for t in range(1, T)],
            "A block of T + 1 ids gives T lessons. `range(1, T)` has only T - 1 numbers.",
        ),
        Mistake(
            "the first context is empty",
            lambda ids, T: [(ids[:t], ids[t]) for t in range(T)],
            "Nothing comes before the first id, so it cannot be predicted from a context. Begin with one id.",
        ),
        Mistake(
            "the target is in its context",
            lambda ids, T: [(ids[: t + 1], ids[t]) for t in range(T)],
            "The target is the last id of your context. It must be the one after it, `ids[t + 1]`.",
        ),
        Mistake(
            "each context is one id",
            lambda ids, T: [([ids[t]], ids[t + 1]) for t in range(T)],
            "Only the latest id is kept. A context holds all ids from the first one on.",
        ),
        Mistake(
            "it goes on to the end of the text",
            lambda ids, T: [(ids[: t + 1], ids[t + 1]) for t in range(len(ids) - 1)],
            "T is the longest context. What comes after T + 1 ids belongs to another block.",
        ),
        Mistake(
            "the contexts have one fixed length",
            lambda ids, T: [(ids[:T], ids[T]) for _ in range(T)],
            "This is one lesson, T times. The contexts grow from 1 id to T.",
        ),
    ],
    hints=[
        "Write down the pairs of 5 6 7 8 with T = 3 by hand. There are three.",
        "For t from 0 to T - 1, the context is the first t + 1 ids.",
        "`(ids[: t + 1], ids[t + 1])` for t in `range(T)`.",
    ],
    package="gptlab.batches.growing_contexts",
)

# ---- batches.4 -------------------------------------------------------------------------------------------------------


def get_batch(ids: Tensor, starts: list[int], T: int) -> tuple[Tensor, Tensor]:
    x = torch.stack([ids[s : s + T] for s in starts])  # [B, T]
    y = torch.stack([ids[s + 1 : s + T + 1] for s in starts])  # [B, T]
    return x, y


def _batch_inputs(rng):
    yield from [
        (torch.arange(10, 20), [0, 4], 3),
        (torch.arange(10, 20), [6, 0, 6], 2),
        (torch.arange(10, 20), [5], 4),
    ]
    for B in range(2, 6):
        n, T = rng.randrange(20, 40), B + rng.choice([1, 2, 3])
        yield torch.tensor(_ids(rng, n)), [rng.randrange(n - T) for _ in range(B)], T


def _stacked(ids, starts, first, last):
    return torch.stack([ids[s + first : s + last] for s in starts])


_BATCH = Exercise(
    id="batches.4",
    title="A batch out of a long row",
    minutes=10,
    difficulty=2,
    prompt="Cut B blocks of T ids out of a long row, and their targets.\n\nShapes: `ids` [N], a tensor of integers; "
    "`starts` a `list` of B places where a block begins; `T` an `int`. Result: inputs [B, T] and targets [B, T], two "
    "tensors. Every block fits, its targets too.",
    signature="def get_batch(ids: Tensor, starts: list[int], T: int) -> tuple[Tensor, Tensor]",
    inputs=_batch_inputs,
    solution=get_batch,
    mistakes=[
        Mistake(
            "the targets are the inputs",
            lambda ids, starts, T: (_stacked(ids, starts, 0, T), _stacked(ids, starts, 0, T)),
            "A model that copies would be perfect on this batch. The targets begin one place later.",
        ),
        Mistake(
            "B and T have changed places",
            lambda ids, starts, T: (_stacked(ids, starts, 0, T).T, _stacked(ids, starts, 1, T + 1).T),
            "Your shape is [T, B]: a row holds one token of each block. Give each block a row.",
        ),
        Mistake(
            "only the last token has a target",
            lambda ids, starts, T: (_stacked(ids, starts, 0, T), torch.stack([ids[s + T] for s in starts])),
            "That is the batch of a rolling window. A GPT has a target at each of the T places: [B, T].",
        ),
        Mistake(
            "the targets are two later",
            lambda ids, starts, T: (
                _stacked(ids, starts, 0, T),
                torch.stack([ids.roll(-2)[s : s + T] for s in starts]),
            ),
            "One token is skipped: begin the targets at `s + 1`.",
        ),
        Mistake(
            "the inputs have T + 1 tokens",
            lambda ids, starts, T: (_stacked(ids, starts, 0, T + 1), _stacked(ids, starts, 1, T + 1)),
            "A block has T + 1 ids, and the last one is a target only.",
        ),
        Mistake(
            "the starts are block numbers",
            lambda ids, starts, T: (
                torch.stack([ids.repeat(T + 1)[s * T : s * T + T] for s in starts]),
                torch.stack([ids.repeat(T + 1)[s * T + 1 : s * T + T + 1] for s in starts]),
            ),
            "You multiply by T. A start is a place in the row already.",
        ),
    ],
    hints=[
        "One block first: which slice of `ids` begins at s and is T long?",
        "`torch.stack` puts rows of one length on top of each other.",
        "`torch.stack([ids[s : s + T] for s in starts])`, and the same with s + 1 for the targets.",
    ],
    package="gptlab.batches.Batches.batch",
)

# ---- batches.5 -------------------------------------------------------------------------------------------------------


def block_starts(N: int, T: int) -> list[int]:
    return list(range(0, N - 1, T))


def _starts_inputs(rng):
    yield from [(2, 3), (5, 4), (6, 4), (7, 3), (9, 4), (10, 3), (12, 5), (31, 6)]
    for _ in range(6):
        yield rng.randrange(10, 60), rng.choice([2, 3, 4, 5, 7])


_STARTS = Exercise(
    id="batches.5",
    title="Every pair of neighbours once",
    minutes=10,
    difficulty=2,
    prompt="A text of N ids is read in blocks of T inputs, each with its T targets one later. Where do the blocks "
    "begin, so that every pair of neighbours is in exactly one of them? The last block may be shorter, but not empty."
    "\n\nInput: `N` and `T`, each an `int`, N at least 2. Result: a `list` of `int`.",
    signature="def block_starts(N: int, T: int) -> list[int]",
    inputs=_starts_inputs,
    solution=block_starts,
    properties=[
        (
            "every pair of neighbours is in exactly one block",
            lambda answer, N, T, result: (
                sorted((i, i + 1) for s in result for i in range(s, min(s + T, N - 1)))
                == [(i, i + 1) for i in range(N - 1)]
            ),
        ),
        ("no block is empty", lambda answer, N, T, result: all(0 <= s < N - 1 for s in result)),
    ],
    mistakes=[
        Mistake(
            "the stride is T + 1",
            lambda N, T: list(range(0, N - 1, T + 1)),
            "A block reads T + 1 ids, and its last one is the first input of the next block. With a stride of T + 1 "
            "you lose one pair between two blocks.",
        ),
        Mistake(
            "the last block is lost",
            lambda N, T: list(range(0, N - T, T)),
            "Only full blocks are kept. The rest of the text holds pairs too; a shorter block is padded.",
        ),
        Mistake(
            "there is an empty block at the end",
            lambda N, T: list(range(0, N, T)),
            "The last id has no target, so no block can begin with it: stop at N - 1.",
        ),
        Mistake(
            "the blocks overlap",
            lambda N, T: list(range(0, N - 1, max(1, T - 1))),
            "A stride of T - 1 reads some pairs twice.",
        ),
        Mistake(
            "a block begins at every place",
            lambda N, T: list(range(N - 1)),
            "A stride of 1 is right for rolling windows. A GPT's block teaches T pairs, so it would see each T times.",
        ),
    ],
    hints=[
        "How many pairs of neighbours does a text of N ids have? How many does a full block teach?",
        "The block at s teaches the pairs that begin at s, s + 1 … s + T - 1. So the next one begins at s + T.",
        "`range(0, N - 1, T)`: the last pair begins at N - 2.",
    ],
)

# ---- batches.6 -------------------------------------------------------------------------------------------------------


def centred(x: Tensor) -> Tensor:
    return x - x.mean(dim=1, keepdim=True)


def _centred_inputs(rng):
    for sizes in ((2, 3, 4), (3, 5, 2), (4, 2, 3), (2, 6, 5), (5, 3, 4), (3, 4, 6)):
        yield (_tensor(rng, *sizes),)


_CENTRED = Exercise(
    id="batches.6",
    title="Take away the mean of the sequence",
    minutes=10,
    difficulty=2,
    prompt="Each sequence has a mean vector: the mean over its T tokens. Take it away from each of its tokens, for "
    "all sequences at once.\n\nShapes: `x` [B, T, C] in, [B, T, C] out. "
    "Every sequence then has the mean 0 in each channel.",
    signature="def centred(x: Tensor) -> Tensor",
    inputs=_centred_inputs,
    solution=centred,
    reference=lambda x: torch.stack([sequence - sequence.sum(0) / len(sequence) for sequence in x]),
    mistakes=[
        Mistake(
            "the mean is over the channels",
            lambda x: x - x.mean(dim=-1, keepdim=True),
            "That takes from each token the mean of its own numbers, as layer normalisation does. Time is axis 1.",
        ),
        Mistake(
            "the mean is over the batch",
            lambda x: x - x.mean(dim=0, keepdim=True),
            "Sequences of a batch have nothing to do with each other. Axis 0 is the batch, axis 1 is time.",
        ),
        Mistake(
            "the mean is over everything",
            lambda x: x - x.mean(),
            "This is one number for the whole batch. You want C numbers for each sequence: [B, 1, C].",
        ),
        Mistake(
            "the axis has gone, and the shapes do not line up",
            lambda x: x - x.mean(dim=1),
            "`x.mean(dim=1)` is [B, C], and from the right its B meets T. `keepdim=True` keeps it [B, 1, C].",
        ),
        Mistake(
            "it is the sum and not the mean",
            lambda x: x - x.sum(dim=1, keepdim=True),
            "Divide by T, or take `mean`.",
        ),
        Mistake(
            "the result is the mean",
            lambda x: x.mean(dim=1, keepdim=True),
            "That is what is to be taken away. The result has the shape of x.",
        ),
    ],
    hints=[
        "Which of the axes 0, 1, 2 is time?",
        "`x.mean(dim=1)` is [B, C]. What must its shape be, to line up with [B, T, C] from the right?",
        "[B, 1, C], which `keepdim=True` gives.",
    ],
)

# ---- batches.7 -------------------------------------------------------------------------------------------------------


def all_dot_products(q: Tensor, k: Tensor) -> Tensor:
    B, Tq, Tk = len(q), q.shape[1], k.shape[1]
    result = q.new_zeros(B, Tq, Tk)
    for b in range(B):
        for i in range(Tq):
            for j in range(Tk):
                result[b, i, j] = (q[b, i] * k[b, j]).sum()
    return result


def _product_inputs(rng):
    for B, Tq, Tk, C in ((2, 3, 4, 5), (3, 2, 5, 4), (2, 4, 3, 6), (3, 5, 4, 2), (4, 2, 3, 5)):
        yield _tensor(rng, B, Tq, C), _tensor(rng, B, Tk, C)


_PRODUCTS = Exercise(
    id="batches.7",
    title="All dot products, sequence by sequence",
    minutes=15,
    difficulty=2,
    prompt="In each sequence b, multiply each of the Tq vectors of `q` with each of the Tk vectors of `k`: number by "
    "number, and add up. Write loops first; then find the one line with `@`.\n\nShapes: `q` [B, Tq, C], "
    "`k` [B, Tk, C]; result [B, Tq, Tk].",
    signature="def all_dot_products(q: Tensor, k: Tensor) -> Tensor",
    inputs=_product_inputs,
    solution=all_dot_products,
    reference=lambda q, k: torch.einsum("bqc,bkc->bqk", q, k),
    mistakes=[
        Mistake(
            "view where a transpose is needed",
            lambda q, k: q @ k.reshape(k.shape[0], k.shape[2], k.shape[1]),
            "The shapes fit, and the numbers are in the wrong places: `view` and `reshape` keep the order in memory. "
            "`k.transpose(-2, -1)` swaps the axes.",
        ),
        Mistake(
            "every sequence meets the first one",
            lambda q, k: q @ k[0].T,
            "You use `k[0]` for all. Sequence b of `q` belongs to sequence b of `k`.",
        ),
        Mistake(
            "the sum runs over the batch as well",
            lambda q, k: torch.einsum("bqc,bkc->qk", q, k),
            "The axis B is gone. Each sequence has products of its own.",
        ),
        Mistake(
            "Tq and Tk have changed places",
            lambda q, k: k @ q.transpose(-2, -1),
            "Rows belong to `q`, columns to `k`. Yours is the other way round.",
        ),
        Mistake(
            "k is not turned",
            lambda q, k: q @ k,
            "`@` needs [B, Tq, C] and [B, C, Tk]: the last axis of the first, and the last but one of the second, are "
            "the same.",
        ),
        Mistake(
            "the products are not added up",
            lambda q, k: q[:, :, None, :] * k[:, None, :, :],
            "This is [B, Tq, Tk, C], all products of numbers. A dot product adds them up over C.",
        ),
    ],
    hints=[
        "Three loops, over b, i and j. Inside them stands one number: the dot product of `q[b, i]` and `k[b, j]`.",
        "`(q[b, i] * k[b, j]).sum()`; write it into `result[b, i, j]`.",
        "In one line: `q @ k.transpose(-2, -1)`, [B, Tq, C] @ [B, C, Tk].",
    ],
)

# ---- batches.8 -------------------------------------------------------------------------------------------------------


def pad_batch(rows: list[list[int]], pad: int) -> tuple[list[list[int]], list[list[int]]]:
    T = max(len(row) for row in rows) - 1
    inputs = [row[:-1] + [pad] * (T + 1 - len(row)) for row in rows]
    targets = [row[1:] + [IGNORE] * (T + 1 - len(row)) for row in rows]
    return inputs, targets


def _pad_inputs(rng):
    yield from [([[5, 6], [5, 6, 7]], 0), ([[5, 6, 7, 8], [5, 6], [1, 2, 3]], 0), ([[5, 6, 9], [7, 9]], 9)]
    for B in range(2, 7):
        yield [_ids(rng, rng.randrange(2, 9)) for _ in range(B - 1)] + [_ids(rng, 10)], rng.choice([0, 95])


def _padded(rows, pad, ignore=IGNORE, left=False, shift=1):
    T = max(map(len, rows)) - 1
    fill = [T + 1 - len(row) for row in rows]
    inputs = [[*row[:-1]] for row in rows]
    targets = [[*row[1:]] if shift else [*row[:-1]] for row in rows]
    if left:
        return [[pad] * n + r for r, n in zip(inputs, fill)], [[ignore] * n + r for r, n in zip(targets, fill)]  # noqa: B905
    return [r + [pad] * n for r, n in zip(inputs, fill)], [r + [ignore] * n for r, n in zip(targets, fill)]  # noqa: B905


def _whole_rows(rows, pad):
    T = max(map(len, rows))
    fill = [T - len(row) for row in rows]
    inputs = [row + [pad] * n for row, n in zip(rows, fill, strict=True)]
    return inputs, [row[1:] + [IGNORE] * (n + 1) for row, n in zip(rows, fill, strict=True)]


def _filled_first(rows, pad, ignore):
    fill = [max(map(len, rows)) - len(row) for row in rows]
    inputs = [(row + [pad] * n)[:-1] for row, n in zip(rows, fill, strict=True)]
    return inputs, [(row + [ignore] * n)[1:] for row, n in zip(rows, fill, strict=True)]


_PAD = Exercise(
    id="batches.8",
    title="Texts of different lengths in one batch",
    minutes=15,
    difficulty=2,
    prompt="Make a batch of texts of different lengths. T is one less than the longest; shorter inputs are filled up "
    "on the right with `pad`, and where the input is padding, the target is `IGNORE` = -100, which costs nothing."
    "\n\nInput: `rows`, a list of lists of `int`, each at least two long; `pad`, an `int`. Result: inputs and "
    "targets, two lists of B lists, both [B, T].",
    signature="def pad_batch(rows: list[list[int]], pad: int) -> tuple[list[list[int]], list[list[int]]]",
    inputs=_pad_inputs,
    solution=pad_batch,
    mistakes=[
        Mistake(
            "padding is learned",
            lambda rows, pad: _padded(rows, pad, ignore=pad),
            "Your targets hold `pad` where there is no text. The model is then trained to write padding.",
        ),
        Mistake(
            "the padding is on the left",
            lambda rows, pad: _padded(rows, pad, left=True),
            "Here it goes to the right: the first token of each text then stands in the first column. (When a model "
            "writes on, left padding has its uses.)",
        ),
        Mistake(
            "the targets are the inputs",
            lambda rows, pad: _padded(rows, pad, shift=0),
            "The target is the id that follows: `row[1:]`.",
        ),
        Mistake(
            "T is one too many",
            _whole_rows,
            "The last id of a row is a target only, so the longest row has one input less than ids.",
        ),
        Mistake(
            "a short row ends with an input that has no target",
            lambda rows, pad: _filled_first(rows, pad, IGNORE),
            "You filled the rows up and then cut them, so the last id of a short row became an input. Cut each row "
            "first: its inputs are `row[:-1]`.",
        ),
        Mistake(
            "the rows are filled up before they are cut, and padding is learned",
            lambda rows, pad: _filled_first(rows, pad, pad),
            "The last id of a short row became an input, and `pad` its target. Cut each row first, `row[:-1]` and "
            "`row[1:]`; then fill up, the targets with `IGNORE`.",
        ),
        Mistake(
            "long texts are cut",
            lambda rows, pad: (
                [row[: min(map(len, rows)) - 1] for row in rows],
                [row[1 : min(map(len, rows))] for row in rows],
            ),
            "You cut all to the shortest, and throw text away. Fill up to the longest.",
        ),
        Mistake(
            "the last token of each short text is ignored",
            lambda rows, pad: (
                _padded(rows, pad)[0],
                [
                    [i if t + 1 < len(row) - 1 or len(row) == max(map(len, rows)) else IGNORE for t, i in enumerate(ys)]
                    for row, ys in zip(rows, _padded(rows, pad)[1], strict=True)
                ],
            ),
            "The last target of a text is the sign that ends it. A model that never learns it never stops.",
        ),
    ],
    hints=[
        "First the inputs and targets of each row alone, `row[:-1]` and `row[1:]`. How many places are missing?",
        "The row lacks `T - (len(row) - 1)` places, with `T = max(len(row) for row in rows) - 1`.",
        "`row[:-1] + [pad] * missing` for the inputs, `row[1:] + [IGNORE] * missing` for the targets.",
    ],
    package="gptlab.batches.StoryBatches",
)

# ---- batches.9 -------------------------------------------------------------------------------------------------------


class RandomBatches:
    def __init__(self, ids: list[int], B: int, T: int, seed: int):
        self.ids, self.B, self.T, self.seed = ids, B, T, seed

    def batch(self, step: int) -> tuple[list[list[int]], list[list[int]]]:
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + step)
        last = len(self.ids) - self.T  # a block and its last target need T + 1 ids
        starts = torch.randint(last, (self.B,), generator=generator).tolist()
        inputs = [self.ids[s : s + self.T] for s in starts]
        return inputs, [self.ids[s + 1 : s + self.T + 1] for s in starts]


class _OneGenerator(RandomBatches):
    def __init__(self, ids, B, T, seed):
        super().__init__(ids, B, T, seed)
        self.generator = torch.Generator().manual_seed(seed)

    def starts(self, step):
        return torch.randint(len(self.ids) - self.T, (self.B,), generator=self.generator).tolist()

    def batch(self, step):
        starts = self.starts(step)
        return [self.ids[s : s + self.T] for s in starts], [self.ids[s + 1 : s + self.T + 1] for s in starts]


class _WithoutStep(_OneGenerator):
    def starts(self, step):
        return torch.randint(
            len(self.ids) - self.T, (self.B,), generator=torch.Generator().manual_seed(self.seed)
        ).tolist()


class _WithoutSeed(_OneGenerator):
    def starts(self, step):
        return torch.randint(len(self.ids) - self.T, (self.B,), generator=torch.Generator().manual_seed(step)).tolist()


class _NotShifted(RandomBatches):
    def batch(self, step):
        inputs, _ = super().batch(step)
        return inputs, inputs


class _OneStart(_OneGenerator):
    def starts(self, step):
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + step)
        return torch.randint(len(self.ids) - self.T, (1,), generator=generator).tolist() * self.B


class _LastNeverSeen(_OneGenerator):
    def starts(self, step):
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + step)
        return torch.randint(len(self.ids) - self.T - 1, (self.B,), generator=generator).tolist()


def _lists(batch):
    inputs, targets = (
        part.tolist() if hasattr(part, "tolist") else [list(map(int, row)) for row in part] for part in batch
    )
    return inputs, targets


def use_batches(answer, ids, B, T, seed, steps):
    """What is true of the batches. Which blocks are drawn is the reader's affair, so facts are compared, not blocks."""

    def made(seed, steps):
        batches = answer(list(ids), B, T, seed)
        return {step: _lists(batches.batch(step)) for step in steps}

    first, again, other = made(seed, steps), made(seed, steps[::-1]), made(seed + 1, steps)
    rows = [(x, y) for inputs, targets in first.values() for x, y in zip(inputs, targets, strict=True)]
    return {
        "shape [B, T]": all(len(inputs) == B for inputs, _ in first.values()) and all(len(x) == T for x, _ in rows),
        "targets one later": all(y == list(range(x[0] + 1, x[0] + T + 1)) for x, y in rows),
        "the same when asked again": first == again,
        "steps differ": len({str(batch) for batch in first.values()}) > len(steps) / 2,
        "seeds differ": first != other,
        "rows differ": any(len({str(x) for x in inputs}) > 1 for inputs, _ in first.values()),
        "every start occurs": {x[0] for x, _ in rows} == set(ids[: len(ids) - T]),
    }


def _resume_inputs(rng):
    for n, B, T in ((9, 4, 3), (12, 5, 4), (16, 3, 6), (14, 6, 4), (15, 4, 7)):
        yield list(range(100, 100 + n)), B, T, rng.randrange(50), list(range(60))


def _holds(fact):
    return lambda *args: args[-1][fact]


_RESUME = Exercise(
    id="batches.9",
    title="Random batches that can be taken up again",
    minutes=25,
    difficulty=3,
    prompt="Write a class whose `batch(step)` gives B random blocks of T ids and their targets, and depends on the "
    "seed and the step alone. Whoever stops at step 700 and comes back next week gets the batches of step 700, 701 …, "
    "and not the first ones again.\n\nInput: `ids`, a `list` of `int`; `B`, `T`, `seed`, each an `int`. Result of "
    "`batch`: inputs [B, T] and targets [B, T], tensors or lists. Every place of the text can be a start if its block "
    'and the target after it fit. Pass the class: `check("batches.9", RandomBatches)`.',
    signature="class RandomBatches:\n    def __init__(self, ids: list[int], B: int, T: int, seed: int): ...\n"
    "    def batch(self, step: int): ...",
    inputs=_resume_inputs,
    solution=RandomBatches,
    use=use_batches,
    properties=[
        ("inputs and targets are [B, T]", _holds("shape [B, T]")),
        ("each target is the id after its input", _holds("targets one later")),
        ("a step gives the same batch, whatever was asked before", _holds("the same when asked again")),
        ("steps give different batches", _holds("steps differ")),
        ("seeds give different batches", _holds("seeds differ")),
        ("the rows of a batch are drawn one by one", _holds("rows differ")),
        ("every start is drawn sometimes", _holds("every start occurs")),
    ],
    mistakes=[
        Mistake(
            "the batch depends on what was drawn before",
            _OneGenerator,
            "One generator for the whole run gives step 700 only after 700 draws. Make a new one in `batch`, from the "
            "seed and the step.",
        ),
        Mistake(
            "every step gives the same batch",
            _WithoutStep,
            "The step does not reach the generator, so the model sees the same B blocks for ever.",
        ),
        Mistake(
            "the seed changes nothing",
            _WithoutSeed,
            "Two runs with different seeds read the same. Mix the seed into the generator, for example "
            "`1_000_003 * seed + step`.",
        ),
        Mistake("the targets are the inputs", _NotShifted, "The targets of a block begin at `s + 1`."),
        Mistake(
            "all rows of a batch are the same",
            _OneStart,
            "You draw one start. Draw B of them: `torch.randint(last, (B,), generator=generator)`.",
        ),
        Mistake(
            "the last block is never drawn",
            _LastNeverSeen,
            "`torch.randint(n, …)` gives numbers below n. The last start whose T + 1 ids fit is len(ids) - T - 1, so n "
            "is len(ids) - T.",
        ),
    ],
    hints=[
        "What must `batch(700)` know, in order to be the same today and next week? The seed and the step, no more.",
        "In `batch`: `generator = torch.Generator().manual_seed(1_000_003 * self.seed + step)`.",
        "`torch.randint(len(ids) - T, (B,), generator=generator).tolist()` are the starts; then as in batches.4.",
    ],
    package="gptlab.batches.Batches",
)

EXERCISES = [_SHIFT, _WINDOWS, _GROWING, _BATCH, _STARTS, _CENTRED, _PRODUCTS, _PAD, _RESUME]

PREDICTIONS = [
    Prediction(
        id="batches.a",
        question="x is [B, T, C] = [2, 5, 3]. What is the shape of x.mean(dim=1), the mean over time?",
        kind="shape",
        answer=(2, 3),
        explanation="The axis that is averaged over disappears: one vector of C numbers is left for each text.",
    ),
    Prediction(
        id="batches.b",
        question="a is [2, 1, 3] and b is [5, 1]. What is the shape of a + b?",
        kind="shape",
        answer=(2, 5, 3),
        explanation="Line them up from the right: 3 meets 1, 1 meets 5, 2 meets nothing. A 1 or a gap is repeated.",
    ),
    Prediction(
        id="batches.c",
        question="row = torch.arange(10); table = row.view(2, 5); table[0, 0] = 99. What is row[0] now?",
        kind="choice",
        choices=("still 0", "99", "an error"),
        answer="b",
        explanation="A view is another way to look at the same memory, so both change.",
    ),
    Prediction(
        id="batches.d",
        question="q is [2, 5, 3] and k is [2, 4, 3]. What is the shape of q @ k.transpose(-2, -1)?",
        kind="shape",
        answer=(2, 5, 4),
        explanation="[2, 5, 3] @ [2, 3, 4]: the 3 in the middle is summed away, and each text keeps its own product.",
    ),
    Prediction(
        id="batches.e",
        question="A batch is 16 times as large. The machine was not yet busy. How much longer does a step take?",
        kind="choice",
        choices=("16 times", "less than 16 times", "more than 16 times"),
        answer="b",
        explanation="Every operation has a fixed cost, which is shared by more tokens, until the machine is busy.",
    ),
    Prediction(
        id="batches.f",
        question="One block has T = 13 inputs. How many next-token predictions does a GPT learn from it?",
        kind="number",
        answer=13,
        explanation="One at each place: the first from one token, the last from thirteen.",
    ),
]

QUESTIONS = [
    Question(
        about="unigram",
        question="Two models have different tokenizers. When may you compare their nats a token?",
        choices=("always", "if V is the same", "never; compare bits a byte"),
        answer="c",
        explanation="Tokens of two tokenizers differ in length, and bytes do not.",
    ),
    Question(
        about="bpe",
        question="An id is 5. What does that say about its token?",
        choices=("it is more frequent than 6", "its row in the table is row 5", "it is five bytes long"),
        answer="b",
        explanation="An id is the number of a row, counted from 0, and a name otherwise.",
    ),
    Question(
        about="tokens",
        question="What stands between two stories in a row of ids?",
        choices=("a special token with an id of its own", "the text <|endoftext|>", "nothing"),
        answer="a",
        explanation="An id that no text leads to. As text, anybody could type it.",
    ),
]
