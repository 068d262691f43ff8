"""Exercises on tensors and batches: axes, broadcasting, products, and every pair of neighbours once."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlab import batches
from gptlab.batches import IGNORE
from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question


def _ids(rng, n: int) -> list[int]:
    """Different ids from 1 on, so that a position can be told from its id."""
    return rng.sample(range(1, 90), n)


def _tensor(rng, *sizes: int) -> Tensor:
    """Small whole numbers, which can be checked with a pencil, of the usual float type."""
    return torch.randint(-4, 8, sizes, generator=torch.Generator().manual_seed(rng.randrange(10**6))).float()


# ---- batches.1 -------------------------------------------------------------------------------------------------------


def inputs_and_targets(ids: list[int]) -> tuple[list[int], list[int]]:
    return ids[:-1], ids[1:]


def _blocks(rng):
    yield from [([5, 6],), ([5, 6, 7],), ([5, 5, 6, 5],)]
    for n in range(4, 12):
        yield (_ids(rng, n),)


def _popped(ids):
    targets = ids[1:]
    ids.pop()
    return ids, targets


_SHIFT = Exercise(
    id="batches.1",
    title="Targets, one later",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="From T + 1 ids make the T inputs and the T targets: the target of each input is the id that follows it.\n\n"
    "Input: `ids`, a `list` of `int`, at least two; leave it as it is. Result: two lists of the same length, "
    "first the inputs, then the targets.",
    signature="def inputs_and_targets(ids: list[int]) -> tuple[list[int], list[int]]",
    inputs=_blocks,
    solution=inputs_and_targets,
    mistakes=[
        Mistake(
            "the targets are the inputs",
            lambda ids: (ids[:-1], ids[:-1]),
            "The model could copy what it reads, and would learn nothing else. The target is one position later.",
        ),
        Mistake(
            "inputs and targets are exchanged",
            lambda ids: (ids[1:], ids[:-1]),
            "Your model would predict the past: what came before each token. The inputs are `ids[:-1]`.",
        ),
        Mistake(
            "the last input has no target",
            lambda ids: (ids, ids[1:]),
            "There is one input more than targets. What follows the last id is not known, so it isn't an input.",
        ),
        Mistake(
            "the last target is the first id",
            lambda ids: (ids, ids[1:] + ids[:1]),
            "A roll puts the first id behind the last one, and so teaches a pair that occurs nowhere in the text.",
        ),
        Mistake(
            "the targets are two later",
            lambda ids: (ids[:-2], ids[2:]),
            "One token is skipped. The target is the very next id: `ids[1:]`.",
        ),
        Mistake(
            "inputs and targets are the same list",
            lambda ids: (ids, ids),
            "The model could copy what it reads, and would learn nothing else. The target is one position later: "
            "`ids[:-1]` and `ids[1:]`.",
        ),
        Mistake(
            "inputs and targets are both shifted",
            lambda ids: (ids[1:], ids[1:]),
            "Only the targets begin one later. The inputs are `ids[:-1]`.",
        ),
        Mistake(
            "the first input has no target",
            lambda ids: (ids[:-1], ids),
            "There is one target more than inputs. The first id follows nothing, so it is no target: `ids[1:]`.",
        ),
        Mistake(
            "only the last id is a target",
            lambda ids: (ids[:-1], [ids[-1]]),
            "A GPT learns at every position: each input has its own target, `ids[1:]`.",
        ),
        Mistake(
            "the last id alone is the target, without a list",
            lambda ids: (ids[:-1], ids[-1]),
            "A GPT learns at every position: each input has its own target, `ids[1:]`.",
        ),
        Mistake(
            "the target is two later than its input",
            lambda ids: (ids[:-1], ids[2:]),
            "One token is skipped, and the last input has no target. The targets are `ids[1:]`.",
        ),
        Mistake(
            "inputs and targets come in pairs",
            lambda ids: list(pairwise(ids)),
            "The pairs are right. Return all inputs as one list, and all targets as another.",
        ),
        Mistake(
            "the text is cut into two halves",
            lambda ids: (ids[: len(ids) // 2], ids[len(ids) // 2 :]),
            "The target of each input is the very next id, so the two lists are the same text, shifted by one.",
        ),
        Mistake(
            "each input is all that came before",
            lambda ids: ([ids[:t] for t in range(1, len(ids))], ids[1:]),
            "That is what a GPT makes of it: it sees the earlier inputs by itself. Here each input is one id.",
        ),
        Mistake(
            "the list that was given loses its last id",
            _popped,
            "`pop` and `del` change the list of the caller. A slice makes a new one: `ids[:-1]`.",
        ),
    ],
    hints=[
        "Write five ids in a row, and the same row below it, moved to the left by one position.",
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
    yield from [([5, 6], 2, 0), ([5, 6], 1, 0), ([5, 6], 3, 0), ([5, 6, 7], 2, 0), ([5, 6, 7], 1, 9)]
    yield from [([5, 6, 7, 8], 2, 0), ([5, 6, 7, 8, 9], 3, 0), ([4, 5, 6, 7, 8], 3, 99), ([5, 0, 5, 0, 6, 0], 2, 0)]
    yield [1, 2, 3, 4, 5, 6, 7], 3, 0
    for n in range(6, 13):
        yield _ids(rng, n), rng.choice([1, 2, 3, 4, 5, 14]), rng.choice([0, 97])


def _wide(ids, T, pad):
    return [pad] * (T - 1) + ids


_WINDOWS = Exercise(
    id="batches.2",
    title="A window that rolls along",
    kind="warm-up",
    minutes=10,
    difficulty=2,
    prompt="For each id but the last, write down the T ids that end with it, padded on the left with `pad` where there "
    "are not enough yet; and the id that comes next.\n\nInput: `ids`, a `list` of `int`, at least two; `T` (1 or "
    "more) and `pad`, each an `int`. Result: a list of windows, each a `list` of T ids, and a list of as many "
    "targets.",
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
            "The token to predict comes right after the last position of a window. Pad on the left.",
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
            "there is one `pad` too many in front",
            lambda ids, T, pad: ([([pad] * T + ids)[n : n + T] for n in range(len(ids))][:-1], ids[1:]),
            "With `[pad] * T` the first window holds no id at all, and every window is one too early for its target.",
        ),
        Mistake(
            "short windows are not padded",
            lambda ids, T, pad: ([ids[max(0, n + 1 - T) : n + 1] for n in range(len(ids) - 1)], ids[1:]),
            "Where there are fewer than T ids yet, put `pad` in front, so that all windows have the same length.",
        ),
        Mistake(
            "a negative start counts from the end",
            lambda ids, T, pad: ([([pad] * T + ids[n + 1 - T : n + 1])[-T:] for n in range(len(ids) - 1)], ids[1:]),
            "For the first windows `n + 1 - T` is negative, and Python counts a negative index from the end. Put "
            "the padding in front of the text first.",
        ),
        Mistake(
            "windows and targets come in pairs",
            lambda ids, T, pad: [(w, ids[n + 1]) for n, w in enumerate(rolling_windows(ids, T, pad)[0])],
            "The pairs are right. Return all windows as one list, and all targets as another.",
        ),
        Mistake(
            "only the windows come back",
            lambda ids, T, pad: rolling_windows(ids, T, pad)[0],
            "The windows are right. Return the targets with them: `windows, ids[1:]`.",
        ),
        Mistake(
            "the targets are one too early",
            lambda ids, T, pad: (rolling_windows(ids, T, pad)[0], ids[:-1]),
            "That is the last id of each window. The target is the id after it: `ids[1:]`.",
        ),
        Mistake(
            "each window has a window of targets",
            lambda ids, T, pad: (
                rolling_windows(ids, T, pad)[0],
                [ids[n + 1 : n + 1 + T] for n in range(len(ids) - 1)],
            ),
            "A rolling window predicts one id: the one that comes next.",
        ),
        Mistake(
            "each window has one id too many",
            lambda ids, T, pad: ([([pad] * T + ids)[n : n + T + 1] for n in range(len(ids) - 1)], ids[1:]),
            "A window has T ids: the slice from n to n + T.",
        ),
        Mistake(
            "only full windows count, without padding",
            lambda ids, T, pad: ([ids[n : n + T] for n in range(len(ids) - T + 1)], ids[T:]),
            "Put `[pad] * (T - 1)` before the text, so that the first ids are targets too; and the last window "
            "has no target.",
        ),
        Mistake(
            "all earlier ids are in the window",
            lambda ids, T, pad: ([[pad] * (T - n - 1) + ids[: n + 1] for n in range(len(ids) - 1)], ids[1:]),
            "A window holds the last T ids: older ones drop out on the left.",
        ),
        Mistake(
            "0 is the padding, whatever `pad` says",
            lambda ids, T, pad: rolling_windows(ids, T, 0),
            "`pad` says which id to use.",
        ),
        Mistake(
            "the windows are backwards",
            lambda ids, T, pad: ([w[::-1] for w in rolling_windows(ids, T, pad)[0]], ids[1:]),
            "The oldest id comes first in a window, and the latest one last.",
        ),
        Mistake(
            "the first id is a target too",
            lambda ids, T, pad: ([([pad] * T + ids)[n : n + T] for n in range(len(ids))], ids[:]),
            "A window ends with an id, so the first window ends with the first id, and the first target is the "
            "second one.",
        ),
        Mistake(
            "there is a target without a window",
            lambda ids, T, pad: (rolling_windows(ids, T, pad)[0][:-1], ids[1:]),
            "N ids have N - 1 pairs of neighbours, and so N - 1 windows: `range(len(ids) - 1)`.",
        ),
    ],
    hints=[
        "Put padding in front of the text, as much as the first window needs to end with the first id.",
        "That is T - 1 times `pad`. Window n is then the slice from n to n + T.",
        "`padded[n : n + T]` for n in `range(len(ids) - 1)`; the targets are `ids[1:]`.",
    ],
    package="gptlab.batches.rolling_windows",
)

# ---- batches.3 -------------------------------------------------------------------------------------------------------


def growing_contexts(ids: list[int], T: int) -> list[tuple[list[int], int]]:
    return [(ids[: t + 1], ids[t + 1]) for t in range(T)]


def _growing_inputs(rng):
    yield from [([5, 6], 1), ([5, 6, 7], 1), ([5, 6, 7], 2), ([5, 6, 7, 8], 2), ([5, 6, 7, 8, 9], 4), ([5, 5, 6, 5], 3)]
    for T in range(2, 9):
        yield _ids(rng, T + rng.choice([1, 3])), T


def _one_context(ids, T):
    context, pairs = [], []
    for t in range(T):
        context.append(ids[t])
        pairs.append((context, ids[t + 1]))
    return pairs


_GROWING = Exercise(
    id="batches.3",
    title="One block, T examples",
    kind="warm-up",
    minutes=10,
    difficulty=1,
    prompt="Write down what a GPT learns from the first T + 1 ids: T pairs of a context and the id after it. The first "
    "context is one id long, the last one T.\n\nInput: `ids`, a `list` of more than T `int`s; `T`, an `int`, 1 or "
    "more. Result: a list of T pairs (context, target), each context a `list`.",
    signature="def growing_contexts(ids: list[int], T: int) -> list[tuple[list[int], int]]",
    inputs=_growing_inputs,
    solution=growing_contexts,
    reference=batches.growing_contexts,
    mistakes=[
        Mistake(
            "the last pair is missing",
            lambda ids, T: [(ids[:t], ids[t]) for t in range(1, T)],
            "A block of T + 1 ids gives T pairs. `range(1, T)` has only T - 1 numbers.",
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
            "Only the latest id is there. A context holds all ids from the first one on.",
        ),
        Mistake(
            "it goes on to the end of the text",
            lambda ids, T: [(ids[: t + 1], ids[t + 1]) for t in range(len(ids) - 1)],
            "T is the longest context. What comes after T + 1 ids belongs to another block.",
        ),
        Mistake(
            "the contexts have one fixed length",
            lambda ids, T: [(ids[:T], ids[T]) for _ in range(T)],
            "This is one pair, T times. The contexts grow from 1 id to T.",
        ),
        Mistake(
            "all contexts are one and the same list",
            _one_context,
            "You append to one list, and every pair holds that same list, which goes on growing. Store a copy: "
            "`ids[: t + 1]`, or `context[:]`.",
        ),
        Mistake(
            "there is one pair too many",
            lambda ids, T: [(ids[: t + 1], ids[t + 1]) for t in range(T + 1)],
            "T pairs are asked for: t runs from 0 to T - 1, `range(T)`.",
        ),
        Mistake(
            "the target is two later",
            lambda ids, T: [(ids[: t + 1], ids[t + 2]) for t in range(T)],
            "One id is skipped. After the context `ids[: t + 1]` comes `ids[t + 1]`.",
        ),
        Mistake(
            "the first pair is missing",
            lambda ids, T: [(ids[: t + 1], ids[t + 1]) for t in range(1, T)],
            "The first context is one id long: t begins at 0.",
        ),
        Mistake(
            "contexts and targets are two lists",
            lambda ids, T: ([ids[: t + 1] for t in range(T)], ids[1 : T + 1]),
            "Contexts and targets are right. Return pairs: `(context, target)` for each.",
        ),
        Mistake(
            "the targets are as long as the contexts",
            lambda ids, T: [(ids[: t + 1], ids[1 : t + 2]) for t in range(T)],
            "The target of a context is one id: the one after its last.",
        ),
        Mistake(
            "the target is a list",
            lambda ids, T: [(ids[: t + 1], [ids[t + 1]]) for t in range(T)],
            "The target is an id, an `int`: `ids[t + 1]`, not a slice.",
        ),
        Mistake(
            "the target is always the last id of the block",
            lambda ids, T: [(ids[: t + 1], ids[T]) for t in range(T)],
            "Each context is followed by its own target: `ids[t + 1]`.",
        ),
        Mistake(
            "the contexts shrink",
            lambda ids, T: [(ids[t:T], ids[T]) for t in range(T)],
            "All contexts begin with the first id, and grow to the right: `ids[: t + 1]`.",
        ),
        Mistake(
            "only neighbours are paired",
            lambda ids, T: [(ids[t], ids[t + 1]) for t in range(T)],
            "That is what a bigram learns. A context is a list of all ids from the first one on.",
        ),
        Mistake(
            "the contexts come in reverse order",
            lambda ids, T: growing_contexts(ids, T)[::-1],
            "The shortest context comes first.",
        ),
        Mistake(
            "the first context is empty, and there is one pair too many",
            lambda ids, T: [(ids[:t], ids[t]) for t in range(T + 1)],
            "Nothing comes before the first id, so it can't be predicted from a context. Begin with one id: "
            "`range(1, T + 1)`.",
        ),
        Mistake(
            "only the contexts come back",
            lambda ids, T: [ids[: t + 1] for t in range(T)],
            "The contexts are right. Return pairs, each with its target: `(ids[: t + 1], ids[t + 1])`.",
        ),
        Mistake(
            "the first context has two ids",
            lambda ids, T: [(ids[: t + 2], ids[t + 2]) for t in range(T)],
            "`ids[: t + 2]` has t + 2 ids. For t = 0 the context is one id, `ids[: t + 1]`.",
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
        (torch.arange(10, 20), [0, 8, 3], 1),
        (torch.tensor([7, 3, 9, 1, 4, 8, 2]), [1, 3], 3),
    ]
    for B in range(2, 6):
        n, T = rng.randrange(20, 40), B + rng.choice([1, 2, 3])
        yield torch.tensor(_ids(rng, n)), [rng.randrange(n - T) for _ in range(B)], T


def _stacked(ids, starts, first, last):
    return torch.stack([ids[s + first : s + last] for s in starts])


def _without_starts(ids, starts, T):
    starts = range(0, len(starts) * T, T)
    return _stacked(ids, starts, 0, T), _stacked(ids, starts, 1, T + 1)


def _to_T(ids, starts, T):
    return torch.stack([ids[s:T] for s in starts]), torch.stack([ids[s + 1 : T + 1] for s in starts])


def _holds_integers(answer, *rest):
    """No part of the result holds floats: ids look up rows of a table, and a loss counts with whole targets."""
    return not any(torch.as_tensor(part).is_floating_point() for part in rest[-1])


_BATCH = Exercise(
    id="batches.4",
    title="A batch out of a long row",
    kind="core",
    minutes=10,
    difficulty=2,
    prompt="Cut B blocks of T ids out of a long row, and their targets, one position later.\n\nShapes: `ids` [N], a "
    "tensor of integers; `starts` a `list` of B positions where a block begins (in any order, and one may occur "
    "twice); `T` an `int`. Result: inputs [B, T] and targets [B, T], two tensors of integers. Every block fits, "
    "its targets too.",
    signature="def get_batch(ids: Tensor, starts: list[int], T: int) -> tuple[Tensor, Tensor]",
    inputs=_batch_inputs,
    solution=get_batch,
    reference=get_batch,  # with properties alone, results would not be compared
    properties=[("inputs and targets are integers", _holds_integers)],
    mistakes=[
        Mistake(
            "ids and targets have become floats",
            lambda ids, starts, T: (_stacked(ids, starts, 0, T).float(), _stacked(ids, starts, 1, T + 1).float()),
            "The numbers are right, but a table can't look up row 3.0. Slices keep the integers of `ids`; give a new "
            "tensor `dtype=torch.long`.",
        ),
        Mistake(
            "the targets are the inputs",
            lambda ids, starts, T: (_stacked(ids, starts, 0, T), _stacked(ids, starts, 0, T)),
            "A model that copies would be perfect on this batch. The targets begin one position later.",
        ),
        Mistake(
            "B and T are exchanged",
            lambda ids, starts, T: (_stacked(ids, starts, 0, T).T, _stacked(ids, starts, 1, T + 1).T),
            "Your shape is [T, B]: a row holds one token of each block. Give each block a row.",
        ),
        Mistake(
            "only the last token has a target",
            lambda ids, starts, T: (_stacked(ids, starts, 0, T), torch.stack([ids[s + T] for s in starts])),
            "That is the batch of a rolling window. A GPT has a target at each of the T positions: [B, T].",
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
                _stacked(ids, [s * T for s in starts], 0, T),
                _stacked(ids, [s * T for s in starts], 1, T + 1),
            ),
            "You multiply by T. A start is a position in the row already.",
        ),
        Mistake(
            "the targets are rolled within their block",
            lambda ids, starts, T: (_stacked(ids, starts, 0, T), _stacked(ids, starts, 0, T).roll(-1, dims=1)),
            "A roll puts the first id of a block behind its last. The last target is the id after the block: cut "
            "it out of `ids`.",
        ),
        Mistake(
            "the batch is one long row",
            lambda ids, starts, T: (_stacked(ids, starts, 0, T).flatten(), _stacked(ids, starts, 1, T + 1).flatten()),
            "`torch.cat` puts the blocks one behind the other, [B·T]. `torch.stack` gives each a row of its own.",
        ),
        Mistake(
            "inputs and targets are exchanged",
            lambda ids, starts, T: (_stacked(ids, starts, 1, T + 1), _stacked(ids, starts, 0, T)),
            "Your model would predict the past. The targets are those that begin at `s + 1`.",
        ),
        Mistake(
            "the blocks are one id short",
            lambda ids, starts, T: (_stacked(ids, starts, 0, T - 1), _stacked(ids, starts, 1, T)),
            "A slice ends before its second number: `ids[s : s + T]` has T ids.",
        ),
        Mistake(
            "the last target is missing",
            lambda ids, starts, T: (_stacked(ids, starts, 0, T), _stacked(ids, starts, 1, T)),
            "A slice ends before its second number: the targets are `ids[s + 1 : s + T + 1]`.",
        ),
        Mistake(
            "the slice ends at T, not at s + T",
            _to_T,
            "`ids[s : T]` ends at position T of the whole row. The block that begins at s ends before `s + T`.",
        ),
        Mistake(
            "the blocks follow each other",
            _without_starts,
            "The starts are not used. Each block begins where `starts` says.",
        ),
        Mistake(
            "the targets are another block's inputs",
            lambda ids, starts, T: (_stacked(ids, starts, 0, T), _stacked(ids, starts, 0, T).roll(-1, dims=0)),
            "You shift the rows of the batch, not the ids: the targets begin at `s + 1` in `ids`.",
        ),
    ],
    hints=[
        "One block first: which slice of `ids` begins at s and is T long?",
        "`torch.stack` makes a table of rows that have the same length.",
        "`torch.stack([ids[s : s + T] for s in starts])`, and the same with s + 1 for the targets.",
    ],
    package="gptlab.batches.Batches.batch",
)

# ---- batches.5 -------------------------------------------------------------------------------------------------------


def block_starts(N: int, T: int) -> list[int]:
    return list(range(0, N - 1, T))


def _starts_inputs(rng):
    yield from [(2, 2), (2, 3), (3, 2), (4, 2), (5, 4), (6, 4), (7, 3), (8, 4), (9, 4), (10, 3), (12, 5), (31, 6)]
    for _ in range(6):
        yield rng.randrange(10, 60), rng.choice([2, 3, 4, 5, 7])


_STARTS = Exercise(
    id="batches.5",
    title="Every pair of neighbours once",
    kind="warm-up",
    minutes=10,
    difficulty=2,
    prompt="A text of N ids is read in blocks of T inputs, each with its T targets one later. Where do the blocks "
    "begin, so that every pair of neighbours is in exactly one of them? The last block may be shorter, but it "
    "may not be empty.\n\nInput: `N` and `T`, each an `int`, at least 2. Result: the positions, counted from "
    "0, in the order of the text, a `list` of `int`.",
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
        ("the blocks come in the order of the text", lambda answer, N, T, result: list(result) == sorted(result)),
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
            "Only full blocks are there. The rest of the text holds pairs too; the last block may be shorter.",
        ),
        Mistake(
            "there is an empty block at the end",
            lambda N, T: list(range(0, N, T)),
            "The last id has no target, so no block can begin with it: stop before N - 1.",
        ),
        Mistake(
            "the blocks overlap",
            lambda N, T: list(range(0, N - 1, max(1, T - 1))),
            "A stride of T - 1 reads some pairs twice.",
        ),
        Mistake(
            "a block begins at every position",
            lambda N, T: list(range(N - 1)),
            "A stride of 1 is right for rolling windows. A block teaches T pairs, so a GPT would see most of them T "
            "times.",
        ),
        Mistake(
            "the blocks are numbered",
            lambda N, T: list(range(-(-(N - 1) // T))),
            "These are the numbers of the blocks. Where does block n begin? At n · T.",
        ),
        Mistake(
            "a last block that lacks only its last target is counted as full",
            lambda N, T: list(range(0, N - T + 1, T)),
            "You count with N ids. A full block needs T + 1 of them, and a shorter block may follow.",
        ),
        Mistake(
            "the blocks begin at 1",
            lambda N, T: list(range(1, N - 1, T)),
            "Position 0 is the first input: the first pair is (0, 1).",
        ),
        Mistake(
            "the first block is missing",
            lambda N, T: list(range(T, N - 1, T)),
            "The first block begins at 0.",
        ),
        Mistake(
            "the last pair is lost",
            lambda N, T: list(range(0, N - 2, T)),
            "The last pair begins at N - 2, and `range` ends before its second number: `range(0, N - 1, T)`.",
        ),
        Mistake(
            "the ends come with the starts",
            lambda N, T: [(s, min(s + T, N - 1)) for s in range(0, N - 1, T)],
            "Only the starts are asked for.",
        ),
        Mistake(
            "the blocks themselves come back",
            lambda N, T: [list(range(s, min(s + T, N - 1))) for s in range(0, N - 1, T)],
            "The blocks are right. Only the first position of each is asked for.",
        ),
        Mistake(
            "only the number of blocks comes back",
            lambda N, T: -(-(N - 1) // T),
            "So many blocks there are. Where does each of them begin?",
        ),
        Mistake(
            "N and T are exchanged",
            lambda N, T: list(range(0, T - 1, N)),
            "The text has N ids, and a block T: `range(0, N - 1, T)`.",
        ),
        Mistake(
            "the stride is T + 1, and the last block may be empty",
            lambda N, T: list(range(0, N, T + 1)),
            "The last id of a block is the first input of the next one, so the stride is T; and the last id has "
            "no target, so stop before N - 1.",
        ),
        Mistake(
            "the blocks begin at 1, and one may be empty",
            lambda N, T: list(range(1, N, T)),
            "Position 0 is the first input: the first pair is (0, 1). And stop before N - 1.",
        ),
        Mistake(
            "`N // T + 1` rounds up too often",
            lambda N, T: [n * T for n in range(N // T + 1)],
            "There are N - 1 pairs, so the number of blocks is (N - 1) / T, rounded up: `range(0, N - 1, T)` "
            "counts right.",
        ),
        Mistake(
            "the full blocks are numbered",
            lambda N, T: list(range(N // T)),
            "These are numbers of blocks. Where does block n begin? At n · T. And the last block may be shorter.",
        ),
        Mistake(
            "the blocks come from the end",
            lambda N, T: list(range(0, N - 1, T))[::-1],
            "Begin at 0, and go on in the order of the text.",
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
    yield (torch.tensor([[[0.0, 10.0], [3.0, 20.0], [6.0, 60.0]]]),)
    yield (torch.tensor([[[1.0, 2.0, 0.0]] * 3 + [[5.0, 2.0, 8.0]], [[0.0, 4.0, 0.0], [0.0, 0.0, 2.0]] * 2]),)
    for sizes in ((2, 3, 4), (3, 5, 2), (4, 2, 3), (2, 6, 5), (5, 3, 4), (3, 4, 6)):
        yield (_tensor(rng, *sizes),)


_CENTRED = Exercise(
    id="batches.6",
    title="Subtract the mean of the sequence",
    kind="warm-up",
    minutes=10,
    difficulty=2,
    prompt="Each sequence has a mean vector: the mean over its T tokens. Subtract it from each of its tokens, for all "
    "sequences at once.\n\nShapes: `x` is a float tensor [B, T, C] (float32), and so is the result. Every "
    "sequence then has the mean 0 in each channel. Leave `x` as it is.",
    signature="def centred(x: Tensor) -> Tensor",
    inputs=_centred_inputs,
    solution=centred,
    reference=lambda x: torch.stack([sequence - sequence.sum(0) / len(sequence) for sequence in x]),
    mistakes=[
        Mistake(
            "the mean is over the channels",
            lambda x: x - x.mean(dim=-1, keepdim=True),
            "That subtracts from each token the mean of its own numbers, as layer normalisation does. Time is axis 1.",
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
            "the averaged axis is gone, and the shapes do not line up",
            lambda x: x - x.mean(dim=1),
            "`x.mean(dim=1)` is [B, C], so, from the right, its B meets T (an axis in front doesn't help). "
            "`keepdim=True` leaves it [B, 1, C].",
        ),
        Mistake(
            "it is the sum, not the mean",
            lambda x: x - x.sum(dim=1, keepdim=True),
            "Divide by T, or take `mean`.",
        ),
        Mistake(
            "the result is the mean",
            lambda x: x.mean(dim=1, keepdim=True),
            "That is what should be subtracted: `x - ...`. The result has the shape of x.",
        ),
        Mistake(
            "the mean is over time and channels",
            lambda x: x - x.mean(dim=(1, 2), keepdim=True),
            "That is one number for each sequence. Each channel has a mean of its own: average over axis 1 alone.",
        ),
        Mistake(
            "the mean is over batch and time",
            lambda x: x - x.mean(dim=(0, 1), keepdim=True),
            "Sequences of a batch have nothing to do with each other. Average over axis 1 alone.",
        ),
        Mistake(
            "the tensor that was given is changed",
            lambda x: x.sub_(x.mean(dim=1, keepdim=True)),
            "`x -= ...` writes into the tensor of the caller. `x - ...` makes a new one.",
        ),
        Mistake(
            "the axis comes back at the end",
            lambda x: x - x.mean(dim=1).unsqueeze(-1),
            "[B, C, 1] doesn't line up with [B, T, C]. The axis of time is axis 1: `unsqueeze(1)`, or `keepdim=True`.",
        ),
        Mistake(
            "the mean is added",
            lambda x: x + x.mean(dim=1, keepdim=True),
            "Subtract it: then the mean over time is 0.",
        ),
        Mistake(
            "the difference has the wrong sign",
            lambda x: x.mean(dim=1, keepdim=True) - x,
            "It is x minus the mean, not the mean minus x.",
        ),
        Mistake(
            "it is also divided by the standard deviation",
            lambda x: (x - x.mean(dim=1, keepdim=True)) / x.std(dim=1, keepdim=True),
            "That is one step more than asked for: subtract the mean, and divide by nothing.",
        ),
        Mistake(
            "it is the median, not the mean",
            lambda x: x - x.median(dim=1, keepdim=True).values,
            "The mean is the sum over the tokens, divided by T.",
        ),
        Mistake(
            "the first token is subtracted, not the mean",
            lambda x: x - x[:, :1],
            "Average over all T tokens: `x.mean(dim=1, keepdim=True)`.",
        ),
        Mistake(
            "the mean covers only the tokens so far",
            lambda x: x - x.cumsum(dim=1) / torch.arange(1, x.shape[1] + 1)[:, None],
            "The mean is over the whole sequence, the later tokens included.",
        ),
        Mistake(
            "the mean is over the channels, and the averaged axis is gone",
            lambda x: x - x.mean(dim=2),
            "Time is axis 1, not 2; and `keepdim=True` leaves the shape [B, 1, C], which lines up.",
        ),
        Mistake(
            "the result is the mean, and the averaged axis is gone",
            lambda x: x.mean(dim=1),
            "That is what should be subtracted: `x - x.mean(dim=1, keepdim=True)`.",
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
    yield torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[3.0, 4.0], [5.0, 6.0], [0.0, 1.0]]])
    yield (
        torch.tensor([[[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]], [[0.0, 1.0, 3.0], [2.0, 0.0, 0.0]]]),
        torch.arange(24.0).reshape(2, 4, 3),
    )
    for B, Tq, Tk, C in ((2, 3, 4, 5), (3, 2, 5, 4), (2, 4, 3, 6), (3, 5, 4, 2), (4, 2, 3, 5)):
        yield _tensor(rng, B, Tq, C), _tensor(rng, B, Tk, C)


def _as_wide_as_q(q, k):
    B, T = len(q), q.shape[1]
    result = q.new_zeros(B, T, T)
    for b in range(B):
        for i in range(T):
            for j in range(T):
                result[b, i, j] = (q[b, i] * k[b, j]).sum()
    return result


_PRODUCTS = Exercise(
    id="batches.7",
    title="All dot products, sequence by sequence",
    kind="core",
    minutes=15,
    difficulty=2,
    prompt="In each sequence b, take the dot product of each of the Tq vectors of `q` with each of the Tk vectors of "
    "`k`: multiply number by number, and add up. Write loops first; then find the one line with `@`.\n\nShapes: "
    "`q` is a float tensor [B, Tq, C] (float32), `k` [B, Tk, C]; the result is [B, Tq, Tk].",
    signature="def all_dot_products(q: Tensor, k: Tensor) -> Tensor",
    inputs=_product_inputs,
    solution=all_dot_products,
    reference=lambda q, k: torch.einsum("bqc,bkc->bqk", q, k),
    mistakes=[
        Mistake(
            "`view` where a transpose is needed",
            lambda q, k: q @ k.reshape(k.shape[0], k.shape[2], k.shape[1]),
            "The shapes fit, but the numbers are in the wrong positions: `view` and `reshape` leave the order in "
            "memory. `k.transpose(-2, -1)` swaps the axes.",
        ),
        Mistake(
            "every sequence meets the first one's keys",
            lambda q, k: q @ k[0].T,
            "You use `k[0]` for all. Sequence b of `q` belongs to sequence b of `k`.",
        ),
        Mistake(
            "the sum runs over the batch as well",
            lambda q, k: torch.einsum("bqc,bkc->qk", q, k),
            "The axis B is gone. Each sequence has products of its own.",
        ),
        Mistake(
            "Tq and Tk are exchanged",
            lambda q, k: k @ q.transpose(-2, -1),
            "Rows belong to `q`, columns to `k`: [B, Tq, Tk]. Yours is the other way round.",
        ),
        Mistake(
            "k is not transposed",
            lambda q, k: q @ k,
            "`@` needs [B, Tq, C] and [B, C, Tk]: the last axis of the first, and the last but one of the second, are "
            "the same.",
        ),
        Mistake(
            "the products are not added up",
            lambda q, k: q[:, :, None, :] * k[:, None, :, :],
            "This is [B, Tq, Tk, C], all products of numbers. A dot product adds them up over C.",
        ),
        Mistake(
            "`.T` turns all axes around",
            lambda q, k: q @ k.T,
            "`k.T` reverses all three axes, the batch included. `k.transpose(-2, -1)` swaps the last two.",
        ),
        Mistake(
            "the batch and the positions are swapped",
            lambda q, k: q @ k.transpose(0, 1),
            "Axis 0 is the batch, and stays where it is. `k.transpose(-2, -1)` swaps the last two.",
        ),
        Mistake(
            "the products are divided by the root of C",
            lambda q, k: q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5,
            "Attention does that, two notebooks from here. The plain dot products are asked for.",
        ),
        Mistake(
            "the products are divided by C",
            lambda q, k: q @ k.transpose(-2, -1) / q.shape[-1],
            "A dot product is a sum, not a mean: no division.",
        ),
        Mistake(
            "the rows are turned into probabilities",
            lambda q, k: (q @ k.transpose(-2, -1)).softmax(dim=-1),
            "Attention does that, two notebooks from here. The plain dot products are asked for.",
        ),
        Mistake(
            "it is the cosine, not the dot product",
            lambda q, k: F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1),
            "Don't divide by the lengths: multiply number by number, and add up.",
        ),
        Mistake(
            "vectors of the same position are paired",
            lambda q, k: (q * k).sum(dim=-1),
            "Each vector of `q` meets each of `k`, not only the one at its own position.",
        ),
        Mistake(
            "the sum runs over the vectors of k",
            lambda q, k: (q[:, :, None] * k[:, None]).sum(dim=2),
            "Of [B, Tq, Tk, C] the last axis must be summed away, C: `sum(dim=-1)`.",
        ),
        Mistake(
            "the sum runs over the vectors of q",
            lambda q, k: (q[:, :, None] * k[:, None]).sum(dim=1),
            "Of [B, Tq, Tk, C] the last axis must be summed away, C: `sum(dim=-1)`.",
        ),
        Mistake(
            "every query meets the keys of all sequences",
            lambda q, k: torch.einsum("bqc,dkc->bqdk", q, k).flatten(2),
            "Sequences of a batch don't mix: sequence b of `q` belongs to sequence b of `k`.",
        ),
        Mistake(
            "all of q is multiplied with all of k",
            lambda q, k: q * k,
            "`*` goes number by number and needs equal shapes. `@` multiplies rows with columns: `q @ "
            "k.transpose(-2, -1)`.",
        ),
        Mistake(
            "`torch.dot` is given whole tensors",
            lambda q, k: torch.dot(q, k),
            "`torch.dot` takes two vectors, such as `q[b, i]` and `k[b, j]`. For all at once use `@`.",
        ),
        Mistake(
            "the result is as wide as q",
            _as_wide_as_q,
            "There is a column for each of the Tk vectors of `k`: j runs over `k.shape[1]`.",
        ),
    ],
    hints=[
        "Three loops, over b, i and j. Inside them, one number is computed: the dot product of `q[b, i]` and `k[b, "
        "j]`.",
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
    yield from [([[5, 6]], 0), ([[5, 6], [5, 6, 7]], 0), ([[5, 6], [7, 8]], 3), ([[5, 6, 7, 8], [5, 6], [1, 2, 3]], 0)]
    # Ids that are equal to the padding, as a target, as an input and as both.
    yield from [
        ([[5, 6, 9], [7, 9]], 9),
        ([[0, 5, 6], [7, 8]], 0),
        ([[5, 0, 0, 6], [0, 8]], 0),
        ([[4, 5, 6], [7, 8]], 2),
    ]
    for B in range(2, 7):
        yield [_ids(rng, rng.randrange(2, 9)) for _ in range(B - 1)] + [_ids(rng, 10)], rng.choice([0, 95])


def _padded(rows, pad, ignore=IGNORE, left=False, shift=1, more=0):
    T = max(map(len, rows)) - 1 + more
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


def _filled_then_masked(rows, pad):
    inputs, targets = _filled_first(rows, pad, pad)
    return inputs, [[IGNORE if y == pad else y for y in ys] for ys in targets]


def _masked_by_input(rows, pad):
    inputs, targets = _padded(rows, pad)
    both = [zip(xs, ys, strict=True) for xs, ys in zip(inputs, targets, strict=True)]
    return inputs, [[IGNORE if x == pad else y for x, y in row] for row in both]


def _masked_by_target(rows, pad):
    inputs, targets = _padded(rows, pad)
    return inputs, [[IGNORE if y == pad else y for y in ys] for ys in targets]


def _padded_in_place(rows, pad):
    inputs, targets = _padded(rows, pad)
    longest = max(map(len, rows))
    for row in rows:
        row += [pad] * (longest - len(row))
    return inputs, targets


_PAD = Exercise(
    id="batches.8",
    title="Texts of different lengths in one batch",
    kind="stretch",
    minutes=15,
    difficulty=2,
    prompt="Make a batch of texts of different lengths. T is one less than the length of the longest; shorter inputs "
    "are padded on the right with `pad`, and where the input is padding, the target is `IGNORE` = -100, which "
    "the loss skips. An id of a text may happen to be equal to `pad`; it is not padding.\n\nInput: `rows`, a "
    "list of lists of `int`, each at least two long (leave them as they are); `pad`, an `int`. Result: inputs "
    "and targets, two lists of B lists, both [B, T].",
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
            "Here it goes to the right, so that the first token of each text is in the first column. (When a model "
            "continues texts, left padding has its uses.)",
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
            "You padded the rows and then cut them, so the last id of a short row became an input. Cut each row "
            "first: its inputs are `row[:-1]`.",
        ),
        Mistake(
            "the rows are padded before they are cut, and padding is learned",
            lambda rows, pad: _filled_first(rows, pad, pad),
            "The last id of a short row became an input, and `pad` its target. Cut each row first, `row[:-1]` and "
            "`row[1:]`; then pad, the targets with `IGNORE`.",
        ),
        Mistake(
            "long texts are cut",
            lambda rows, pad: (
                [row[: min(map(len, rows)) - 1] for row in rows],
                [row[1 : min(map(len, rows))] for row in rows],
            ),
            "You cut all of them to the shortest, and throw text away. Pad them to the length of the longest.",
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
            "The last target of a text is the token that ends it. A model that never learns it never stops.",
        ),
        Mistake(
            "an input that is equal to `pad` is taken for padding",
            _masked_by_input,
            "A text may contain the id `pad` as well. Whether a position is padding depends on the length of its "
            "row, not on the id.",
        ),
        Mistake(
            "a target that is equal to `pad` is taken for padding",
            _masked_by_target,
            "A text may contain the id `pad` as well. Whether a position is padding depends on the length of its "
            "row, not on the id.",
        ),
        Mistake(
            "the inputs are padded with -100",
            lambda rows, pad: _padded(rows, IGNORE),
            "No table has a row -100. Inputs are padded with `pad`; -100 stands for a missing target.",
        ),
        Mistake(
            "`pad` and -100 are exchanged",
            lambda rows, pad: _padded(rows, IGNORE, ignore=pad),
            "Inputs are padded with `pad`, targets with `IGNORE`.",
        ),
        Mistake(
            "0 is the padding, whatever `pad` says",
            lambda rows, pad: _padded(rows, 0),
            "`pad` says which id to use.",
        ),
        Mistake(
            "missing targets are -1",
            lambda rows, pad: _padded(rows, pad, ignore=-1),
            "The loss skips -100, PyTorch's own `ignore_index`. For -1 it would be an error.",
        ),
        Mistake(
            "missing targets are 0",
            lambda rows, pad: _padded(rows, pad, ignore=0),
            "0 is the id of a token, and the model would be trained to write it. Use `IGNORE`, -100.",
        ),
        Mistake(
            "the rows that were given are changed",
            _padded_in_place,
            "`append` and `+=` write into the lists of the caller. `row[:-1] + ...` makes a new list.",
        ),
        Mistake(
            "short rows are not padded",
            lambda rows, pad: ([row[:-1] for row in rows], [row[1:] for row in rows]),
            "A batch is a rectangle, [B, T]: pad the short rows.",
        ),
        Mistake(
            "the targets are not padded",
            lambda rows, pad: (_padded(rows, pad)[0], [row[1:] for row in rows]),
            "The targets are [B, T] as well: put `IGNORE` where the input is padding.",
        ),
        Mistake(
            "inputs and targets come in pairs",
            lambda rows, pad: list(zip(*_padded(rows, pad), strict=True)),
            "The values are right. Return all inputs as one list, and all targets as another.",
        ),
        Mistake(
            "T is the length of the longest row",
            lambda rows, pad: _padded(rows, pad, more=1),
            "The last id of a row is a target only, so the longest row has one input less than ids.",
        ),
        Mistake(
            "the rows are padded before they are cut, and targets are masked by their id",
            _filled_then_masked,
            "The last id of a short row became an input; and an id of the text that is equal to `pad` was taken "
            "for padding. Cut each row first, then pad.",
        ),
        Mistake(
            "inputs and targets are exchanged",
            lambda rows, pad: _padded(rows, pad)[::-1],
            "The inputs come first, then the targets.",
        ),
    ],
    hints=[
        "First the inputs and targets of each row alone, `row[:-1]` and `row[1:]`. How many positions short of T is "
        "each?",
        "`T - (len(row) - 1)` are missing, with `T = max(len(row) for row in rows) - 1`.",
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


class _Seeded(RandomBatches):
    """Seeds its generator and draws its starts in another way."""

    def generator(self, step):
        return torch.Generator().manual_seed(1_000_003 * self.seed + step)

    def starts(self, step):
        return torch.randint(len(self.ids) - self.T, (self.B,), generator=self.generator(step)).tolist()

    def batch(self, step):
        starts = self.starts(step)
        return [self.ids[s : s + self.T] for s in starts], [self.ids[s + 1 : s + self.T + 1] for s in starts]


class _WithoutStep(_Seeded):
    def generator(self, step):
        return torch.Generator().manual_seed(self.seed)


class _WithoutSeed(_Seeded):
    def generator(self, step):
        return torch.Generator().manual_seed(step)


class _SeedPlusStep(_Seeded):
    def generator(self, step):
        return torch.Generator().manual_seed(self.seed + step)


class _Unseeded(_Seeded):
    def generator(self, step):
        return None


class _OneStart(_Seeded):
    def starts(self, step):
        return super().starts(step)[:1] * self.B


class _NextToEachOther(_Seeded):
    def starts(self, step):
        first = super().starts(step)[0]
        return [(first + row) % (len(self.ids) - self.T) for row in range(self.B)]


class _LastNeverSeen(_Seeded):
    def starts(self, step):
        return torch.randint(len(self.ids) - self.T - 1, (self.B,), generator=self.generator(step)).tolist()


class _FirstNeverSeen(_Seeded):
    def starts(self, step):
        return torch.randint(1, len(self.ids) - self.T, (self.B,), generator=self.generator(step)).tolist()


class _TooFar(_Seeded):
    def starts(self, step):
        return torch.randint(len(self.ids) - self.T + 1, (self.B,), generator=self.generator(step)).tolist()


class _OffTheEnd(_Seeded):
    def starts(self, step):
        return torch.randint(len(self.ids), (self.B,), generator=self.generator(step)).tolist()


class _WholeBlocks(_Seeded):
    def starts(self, step):
        return [s // self.T * self.T for s in super().starts(step)]


class _NotShifted(RandomBatches):
    def batch(self, step):
        inputs, _ = super().batch(step)
        return inputs, inputs


class _Exchanged(RandomBatches):
    def batch(self, step):
        return super().batch(step)[::-1]


class _OneBlock(RandomBatches):
    def batch(self, step):
        inputs, targets = super().batch(step)
        return inputs[:1], targets[:1]


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

    first, repeated, backwards = made(seed, steps), made(seed, steps), made(seed, steps[::-1])
    other = made(seed + 1, steps)
    rows = [(x, y) for inputs, targets in first.values() for x, y in zip(inputs, targets, strict=True)]
    mine, others = ({str(batch) for batch in batches.values()} for batches in (first, other))
    beginning = [other[step] for step in range(3)]
    distant = any([*made(seed, range(far, far + 3)).values()] == beginning for far in (1_000, 10_000))
    jumps = {(x[1][0] - x[0][0]) % (len(ids) - T) for x, _ in first.values() if x[1:] and all(x)}
    starts = {x[0] - ids[0] for x, y in rows if len(x) == len(y) == T}
    return {
        "rows in a batch": sorted({len(inputs) for inputs, _ in first.values()}),
        "lengths of inputs": sorted({len(x) for x, _ in rows}),
        "lengths of targets": sorted({len(y) for _, y in rows}),
        "targets minus inputs": sorted({b - a for x, y in rows for a, b in zip(x, y, strict=False)}),
        "the same when repeated": first == repeated,
        "the same in another order": first == backwards,
        "steps differ": len(mine) > len(steps) / 2,
        "seeds differ": first != other,
        "two seeds share their batches": distant or len(mine & others) > len(mine) / 2,
        "from the first row to the second": "varies" if len(jumps) > 1 else sorted(jumps),
        "starts that never occur": sorted(set(range(len(ids) - T)) - starts),
    }


def _resume_inputs(rng):
    yield list(range(100, 108)), 4, 3, 0, list(range(50))
    for n, B, T in ((12, 5, 4), (14, 6, 4)):
        yield list(range(100, 100 + n)), B, T, rng.randrange(50), list(range(50))


_RESUME = Exercise(
    id="batches.9",
    title="Random batches that can be resumed",
    kind="stretch",
    minutes=25,
    difficulty=3,
    prompt="Write a class whose `batch(step)` gives B random blocks of T ids and their targets, and depends on the "
    "seed and the step alone. If you stop a run at step 700 and come back next week, it continues with the "
    "batches of steps 700, 701 …, and not with the first ones again. Another seed gives other batches, not "
    "the same ones at other steps.\n\nInput: `ids`, a `list` of `int`; `B`, `T`, `seed`, each an `int`; `step` "
    "counts from 0. Result of `batch`: inputs [B, T] and targets [B, T], tensors or lists. Every position of "
    "the text can be a start if its block and the target after it fit. Pass the class itself: "
    '`check("batches.9", RandomBatches)`.',
    signature="class RandomBatches:\n    def __init__(self, ids: list[int], B: int, T: int, seed: int): ...\n"
    "    def batch(self, step: int): ...",
    inputs=_resume_inputs,
    solution=RandomBatches,
    use=use_batches,
    properties=[
        (
            "inputs and targets are [B, T]",
            lambda answer, ids, B, T, seed, steps, facts: (
                facts["rows in a batch"] == [B] and facts["lengths of inputs"] == facts["lengths of targets"] == [T]
            ),
        ),
        ("each target is the id after its input", lambda *args: args[-1]["targets minus inputs"] == [1]),
        (
            "a step gives the same batch, whatever was asked before",
            lambda *args: args[-1]["the same when repeated"] and args[-1]["the same in another order"],
        ),
        ("steps give different batches", lambda *args: args[-1]["steps differ"]),
        ("seeds give different batches", lambda *args: args[-1]["seeds differ"]),
        (
            "the batches of another seed are not the same ones at other steps",
            lambda *args: not args[-1]["seeds differ"] or not args[-1]["two seeds share their batches"],
        ),
        (
            "each row of a batch is sampled for itself",
            lambda *args: args[-1]["from the first row to the second"] == "varies",
        ),
        ("every start is sampled sometimes", lambda *args: not args[-1]["starts that never occur"]),
    ],
    mistakes=[
        Mistake(
            "the batch depends on what was sampled before",
            _OneGenerator,
            "With one generator for the whole run, step 700 comes only after 700 others. Make a new one in `batch`, "
            "from the seed and the step.",
        ),
        Mistake(
            "every step gives the same batch",
            _WithoutStep,
            "The step does not reach the generator, so the model sees the same B blocks forever.",
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
            "You sample one start. Sample B of them: `torch.randint(last, (B,), generator=generator)`.",
        ),
        Mistake(
            "the last block is never sampled",
            _LastNeverSeen,
            "`torch.randint(n, …)` gives numbers below n. The last start whose T + 1 ids fit is len(ids) - T - 1, so n "
            "is len(ids) - T.",
        ),
        Mistake(
            "another seed gives the same batches at other steps",
            _SeedPlusStep,
            "With `seed + step`, seed 1 begins where seed 0 is after one step. Keep the two apart, for example "
            "with `1_000_003 * seed + step`.",
        ),
        Mistake(
            "the generator has no seed",
            _Unseeded,
            "Without `manual_seed`, every call continues with the random numbers of the whole program. Make a "
            "generator in `batch`, from the seed and the step.",
        ),
        Mistake(
            "the first block is never sampled",
            _FirstNeverSeen,
            "Positions are counted from 0: the first start is 0.",
        ),
        Mistake(
            "the last start lacks a target",
            _TooFar,
            "A block and its last target need T + 1 ids, so the last start is `len(ids) - T - 1`: sample "
            "below `len(ids) - T`.",
        ),
        Mistake(
            "blocks run off the end",
            _OffTheEnd,
            "A start near the end has no T + 1 ids behind it: sample below `len(ids) - T`.",
        ),
        Mistake(
            "blocks begin at multiples of T only",
            _WholeBlocks,
            "Then the same blocks come again and again. A block may begin at every position whose T + 1 ids fit.",
        ),
        Mistake(
            "inputs and targets are exchanged",
            _Exchanged,
            "The inputs come first, and the targets are one later.",
        ),
        Mistake(
            "a batch has one row",
            _OneBlock,
            "Sample B starts, and cut a block at each.",
        ),
        Mistake(
            "the rows of a batch follow each other",
            _NextToEachOther,
            "You sample one start and take those next to it. Sample B of them: `torch.randint(last, (B,), "
            "generator=generator)`.",
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
        explanation="The axis that is averaged over disappears: one vector of C numbers is left for each sequence.",
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
        explanation="[2, 5, 3] @ [2, 3, 4]: the 3 in the middle is summed away, and each sequence has a product of "
        "its own.",
    ),
    Prediction(
        id="batches.e",
        question="You go from a batch of 4 short blocks to one of 64. How much longer does a step take on your "
        "machine?",
        kind="choice",
        choices=("16 times as long", "less than 16 times as long", "more than 16 times as long"),
        answer="b",
        explanation="Starting an operation has a fixed cost. A small batch leaves the machine idle, so more tokens "
        "share that cost, until the machine is busy.",
    ),
    Prediction(
        id="batches.f",
        question="One block has T = 13 inputs. How many next-token predictions does a GPT learn from it?",
        kind="number",
        answer=13,
        explanation="One at each position: the first from one token, the last from thirteen.",
    ),
]

QUESTIONS = [
    Question(
        about="unigram",
        question="Two models have different tokenizers. When may you compare their nats per token?",
        choices=("always", "if V is the same", "never; compare bits per byte"),
        answer="c",
        explanation="Tokens of two tokenizers differ in length, and bytes do not.",
    ),
    Question(
        about="bpe",
        question="An id is 5. What does that say about its token?",
        choices=("it is more frequent than 6", "its row in the table is row 5", "it is five bytes long"),
        answer="b",
        explanation="An id is the number of a row, counted from 0, and no more than that.",
    ),
    Question(
        about="tokens",
        question="What separates two stories in a row of ids?",
        choices=("a special token with an id of its own", "the text <|endoftext|>", "nothing"),
        answer="a",
        explanation="No text is encoded as that id. If it were text, anybody could type it.",
    ),
]
