"""Exercises on masking: who may attend to whom, the other conventions, two sources, and a leak."""

import math
import random
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlab import masking
from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question


def _generator(rng: random.Random) -> torch.Generator:
    return torch.Generator().manual_seed(rng.randrange(2**31))


def _normal(rng: random.Random, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=_generator(rng))


def _ones(*shape: int) -> Tensor:
    return torch.ones(*shape, dtype=torch.bool)


def _additive(keep: Tensor) -> Tensor:
    return torch.zeros(keep.shape).masked_fill(~keep, -math.inf)


# A mask of numbers compares equal to one of True and False, but attention would add it to the scores.
_BOOLEAN = ("is boolean, dtype torch.bool", lambda answer, *rest: rest[-1].dtype == torch.bool)
_NUMBERS = (
    "The pattern is right. But `~` and `masked_fill` want True and False, and attention would add numbers to the "
    "scores: compare, or give it `dtype=torch.bool`."
)
_ADDED = "These are numbers to add to the scores, 0 and minus infinity. Here a mask is boolean, True = may attend."
_OTHER_CONVENTION = "This is the other convention, that of `nn.MultiheadAttention`. Here True means may attend."


# ---- masking.1 -------------------------------------------------------------------------------------------------------


def causal_mask(Tq, Tk):
    query = torch.arange(Tk - Tq, Tk)[:, None]  # [Tq, 1]  the positions of the queries: the last Tq of Tk
    key = torch.arange(Tk)  # [Tk]
    return key <= query  # [Tq, Tk]


def _causal_inputs(rng):
    yield from [(2, 3), (3, 3), (1, 3), (2, 5), (3, 5), (4, 4)]
    for _ in range(4):
        Tq = rng.randint(2, 6)
        yield Tq, Tq + rng.randint(0, 4)


_CAUSAL = Exercise(
    id="masking.1",
    title="Nobody sees the future",
    kind="core",
    minutes=10,
    difficulty=1,
    prompt="Build the mask of a decoder. The Tq queries stand at the last Tq of Tk positions, and each may attend to "
    "itself and to every position before it. (With Tq = Tk this is the lower triangle. With fewer queries than keys "
    "it is the mask of a model that continues a text: the keys of the past are there already.)\n\nInput: `Tq` and "
    "`Tk`, two `int` with 1 ≤ Tq ≤ Tk. Result: a boolean tensor [Tq, Tk], True = may attend.",
    signature='def causal_mask(Tq: int, Tk: int) -> Bool[Tensor, "Tq Tk"]',
    inputs=_causal_inputs,
    solution=causal_mask,
    reference=masking.causal,
    properties=[_BOOLEAN],
    mistakes=[
        Mistake(
            "the queries stand at the beginning of the keys",
            lambda Tq, Tk: _ones(Tq, Tk).tril(),
            "The first query is not at position 0: it stands at Tk - Tq, and sees all keys up to there. Shift the "
            "triangle, `tril(diagonal=Tk - Tq)`.",
        ),
        Mistake(
            "the queries stand at the beginning of the keys, and the mask holds numbers",
            lambda Tq, Tk: torch.ones(Tq, Tk).tril(),
            "The first query stands at position Tk - Tq, and sees all keys up to there: `tril(diagonal=Tk - Tq)`. And "
            "a mask holds True and False: give `torch.ones` a `dtype=torch.bool`.",
        ),
        Mistake(
            "the shift has the wrong sign",
            lambda Tq, Tk: _ones(Tq, Tk).tril(Tq - Tk),
            "With more keys than queries each query sees more, so the diagonal moves to the right: `Tk - Tq`.",
        ),
        Mistake(
            "the past is hidden, not the future",
            lambda Tq, Tk: _ones(Tq, Tk).triu(Tk - Tq),
            "Row t is the query at t. Its keys are at smaller or equal positions: the lower triangle, `tril`.",
        ),
        Mistake(
            "the past is hidden, and the queries stand at the beginning",
            lambda Tq, Tk: _ones(Tq, Tk).triu(),
            "The keys of a query are at smaller or equal positions: the lower triangle, `tril`. And the first query "
            "stands at position Tk - Tq.",
        ),
        Mistake(
            "each position sees one step into the future",
            lambda Tq, Tk: _ones(Tq, Tk).tril(Tk - Tq + 1),
            "The diagonal is off by one. One step is enough to copy the answer: the next token is what is asked for.",
        ),
        Mistake(
            "a position does not see itself",
            lambda Tq, Tk: _ones(Tq, Tk).tril(Tk - Tq - 1),
            "The token at t is known when the one at t + 1 is predicted: the diagonal may be attended to.",
        ),
        Mistake("True means hidden", lambda Tq, Tk: ~masking.causal(Tq, Tk), _OTHER_CONVENTION),
        Mistake(
            "True means hidden, and the queries stand at the beginning",
            lambda Tq, Tk: _ones(Tq, Tk).triu(1),
            "True means may attend here: the lower triangle. And the first query stands at position Tk - Tq: "
            "`tril(diagonal=Tk - Tq)`.",
        ),
        Mistake("the mask holds numbers", lambda Tq, Tk: masking.causal(Tq, Tk).float(), _NUMBERS),
        Mistake("the mask is one to add", lambda Tq, Tk: _additive(masking.causal(Tq, Tk)), _ADDED),
        Mistake(
            "there is a row for each key",
            lambda Tq, Tk: _ones(Tk, Tk).tril(),
            "You have [Tk, Tk]. There are Tq queries, the last ones: keep the last Tq rows.",
        ),
        Mistake(
            "the keys of the past are missing",
            lambda Tq, Tk: _ones(Tq, Tq).tril(),
            "You have [Tq, Tq]. There are Tk keys, and every query sees the Tk - Tq that stand before the queries.",
        ),
        Mistake(
            "rows and columns are swapped",
            lambda Tq, Tk: masking.causal(Tq, Tk).T,
            "You have [Tk, Tq]. Rows are queries, columns are keys.",
        ),
        Mistake(
            "everything may be attended to",
            _ones,
            "Nothing is hidden. The key at s may be attended to by the query at t if s ≤ t.",
        ),
    ],
    hints=[
        "Write down the position of each query and of each key. When may the one see the other?",
        "The queries stand at Tk - Tq, …, Tk - 1, and the keys at 0, …, Tk - 1.",
        "`torch.arange(Tk) <= torch.arange(Tk - Tq, Tk)[:, None]`",
    ],
    package="gptlab.masking.causal",
)

# ---- masking.2 -------------------------------------------------------------------------------------------------------


def padding_mask(lengths, T):
    return (torch.arange(T) < lengths[:, None])[:, None, :]  # [B, 1, T]


def _length_inputs(rng):
    yield torch.tensor([2, 3]), 3
    yield torch.tensor([1, 4, 2]), 4
    yield torch.tensor([0, 5]), 5
    for B, T in ((2, 6), (4, 7), (3, 5)):
        yield torch.randint(0, T + 1, (B,), generator=_generator(rng)), T
    yield torch.tensor([3, 1, 6, 2]), 6


def _real(lengths: Tensor, T: int) -> Tensor:
    return torch.arange(T) < lengths[:, None]  # [B, T]


_NO_AXIS = (
    "[T] against [B] does not fit: broadcasting lines up the last axes. Put the lengths into a column, "
    "`lengths[:, None]`, and compare [B, 1] with [T]."
)

_PADDING = Exercise(
    id="masking.2",
    title="Nobody attends to padding",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="The sequences of a batch have different lengths, and the shorter ones are padded on the right. Build the "
    "mask that hides the padding from all queries, in a shape that can be joined with a [T, T] mask by `&`.\n\n"
    "Shapes: `lengths` is an integer tensor [B], each from 0 to T; `T` is an `int`. Result: a boolean tensor "
    "[B, 1, T], True = may attend.",
    signature='def padding_mask(lengths: Int[Tensor, " B"], T: int) -> Bool[Tensor, "B 1 T"]',
    inputs=_length_inputs,
    solution=padding_mask,
    reference=masking.padding,
    properties=[_BOOLEAN],
    mistakes=[
        Mistake(
            "the rows are hidden, not the columns",
            lambda lengths, T: _real(lengths, T)[:, :, None],
            "[B, T, 1] silences the queries that are padding, and every query still attends to them. Keys are the last "
            "axis.",
        ),
        Mistake(
            "the axis of the queries is missing",
            _real,
            "[B, T] & [T, T] takes B for the number of queries, and fails, or is silently wrong if B = T. Put an axis "
            "of size 1 between: `[:, None, :]`.",
        ),
        Mistake("lengths and positions do not line up", lambda lengths, T: torch.arange(T) < lengths, _NO_AXIS),
        Mistake("positions and lengths do not line up", lambda lengths, T: lengths > torch.arange(T), _NO_AXIS),
        Mistake(
            "the first token of the padding can be attended to",
            lambda lengths, T: (torch.arange(T) <= lengths[:, None])[:, None, :],
            "A sequence of length 2 has the positions 0 and 1: `<`, not `<=`.",
        ),
        Mistake(
            "the last real token is hidden",
            lambda lengths, T: (torch.arange(1, T + 1) < lengths[:, None])[:, None, :],
            "A sequence of length 2 has the positions 0 and 1, and both are smaller than 2: count from 0.",
        ),
        Mistake("True means padding", lambda lengths, T: (~_real(lengths, T))[:, None, :], _OTHER_CONVENTION),
        Mistake(
            "True means padding, and the axis of the queries is missing",
            lambda lengths, T: ~_real(lengths, T),
            "This is `key_padding_mask` of `nn.MultiheadAttention`. Here True means may attend, and the shape is "
            "[B, 1, T], so that it can be joined with a [T, T] mask.",
        ),
        Mistake(
            "the padding is taken to be on the left",
            lambda lengths, T: (torch.arange(T) >= T - lengths[:, None])[:, None, :],
            "Here the text comes first and the padding after it.",
        ),
        Mistake(
            "the queries of the padding are hidden as well",
            lambda lengths, T: _real(lengths, T)[:, :, None] & _real(lengths, T)[:, None, :],
            "You have [B, T, T]. A row for every query is not needed: only keys are hidden, from all queries alike, "
            "[B, 1, T].",
        ),
        Mistake(
            "the axis of the queries is written out",
            lambda lengths, T: _real(lengths, T)[:, None, :].expand(-1, T, -1),
            "You have [B, T, T], T equal rows. An axis of size 1 says the same, and broadcasts: [B, 1, T].",
        ),
        Mistake(
            "the new axis stands in front",
            lambda lengths, T: _real(lengths, T)[None],
            "You have [1, B, T]. The axis of size 1 stands for the queries, between B and T: `[:, None, :]`.",
        ),
        Mistake(
            "there is an axis for the heads as well",
            lambda lengths, T: _real(lengths, T)[:, None, None, :],
            "You have [B, 1, 1, T], which suits scores [B, H, T, T]. Asked for is [B, 1, T].",
        ),
        Mistake(
            "the causal mask is joined already",
            lambda lengths, T: masking.padding(lengths, T) & masking.causal(T),
            "You have [B, T, T], with the future hidden too. Only the padding is to be hidden here, [B, 1, T].",
        ),
        Mistake("the mask holds numbers", lambda lengths, T: masking.padding(lengths, T).float(), _NUMBERS),
        Mistake("the mask is one to add", lambda lengths, T: _additive(masking.padding(lengths, T)), _ADDED),
    ],
    hints=[
        "Position t of sequence b is real if t is smaller than its length.",
        "`torch.arange(T)` is [T] and `lengths[:, None]` is [B, 1]; comparing them gives [B, T].",
        "`[:, None, :]` puts an axis of size 1 where the queries are.",
    ],
    package="gptlab.masking.padding",
)

# ---- masking.3 -------------------------------------------------------------------------------------------------------


def masked_weights(scores, keep_mask):
    lowest = torch.finfo(scores.dtype).min
    weights = scores.masked_fill(~keep_mask, lowest).softmax(dim=-1)  # [B, Tq, Tk]
    return weights.masked_fill(~keep_mask, 0.0)  # a row with nothing to attend to


def _score_inputs(rng):
    yield torch.tensor([[[0.0, 1.0, 2.0], [1.0, 0.0, 3.0]]]), torch.tensor([[[True, True, False], [True, False, True]]])
    yield (
        torch.tensor([[[1.0, 2.0], [0.0, 3.0], [2.0, 0.0]]]),
        torch.tensor([[[True, False], [False, False], [True, True]]]),
    )
    yield (  # large ones: exp of them is 0 or infinite, and -100 or -1000 is not low
        torch.tensor(
            [[[100, 101, 0], [-18, 88, -19], [-3000, -3001, 0], [-500, 5, -501], [-6, -7, 0]]], dtype=torch.float32
        ),
        torch.tensor([[[1, 1, 0], [1, 0, 1], [1, 1, 0], [1, 0, 1], [1, 1, 0]]]).bool(),
    )
    for B, Tq, Tk in ((2, 3, 4), (3, 2, 5), (2, 3, 5), (3, 4, 2)):
        keep = _normal(rng, B, Tq, Tk) > -0.3
        keep[:, 0] = True  # every key is attended to by one query at least
        keep[:, 1, 0], keep[:, 1, 1] = True, False
        keep[0, 1] = False  # and one query attends to nothing
        yield _normal(rng, B, Tq, Tk) * 2, keep


def _leave(weights: Tensor, keep: Tensor) -> Tensor:
    return weights


def _zero(weights: Tensor, keep: Tensor) -> Tensor:
    return weights.masked_fill(~keep, 0.0)


def _filled(fill: int | float, dim: int = -1, after: Callable = _leave) -> Callable:
    return lambda scores, keep_mask: after(scores.masked_fill(~keep_mask, fill).softmax(dim), keep_mask)


def _opposite(fill: int | float, after: Callable = _leave) -> Callable:
    return lambda scores, keep_mask: _filled(fill, after=after)(scores, ~keep_mask)


def _shared(numbers: Callable, divide: Callable) -> Callable:
    """Numbers made from the scores, zeros where nothing may be attended to, and each row over its sum."""

    def wrong(scores, keep_mask):
        kept = numbers(scores).masked_fill(~keep_mask, 0.0)
        return divide(kept, kept.sum(dim=-1, keepdim=True))

    return wrong


def _softmax(scores: Tensor) -> Tensor:
    return scores.softmax(-1)


_NOT_LOW = "exp of it is not 0, and a score may be lower than it. Fill with a number far below all scores."
_EXP = (
    "exp(100) is too large for float32, and exp(-3000) is 0: infinity or 0 divided by itself is NaN. Subtract each "
    "row's maximum first; `softmax` does."
)

_WEIGHTS = Exercise(
    id="masking.3",
    title="Softmax behind a mask",
    kind="core",
    minutes=10,
    difficulty=2,
    prompt="From scores to weights, with a mask. What may not be attended to gets a weight of exactly 0, and each row "
    "sums to 1. A row that may attend to nothing is all zeros. Scores may be large, anything from −4000 to 4000.\n\n"
    "Shapes: `scores` is a float tensor [B, Tq, Tk], scaled already; `keep_mask` is a boolean tensor [B, Tq, Tk], "
    "True = may attend. Result: a float tensor [B, Tq, Tk].",
    signature='def masked_weights(scores: Float[Tensor, "B Tq Tk"], keep_mask: Bool[Tensor, "B Tq Tk"]) '
    '-> Float[Tensor, "B Tq Tk"]',
    inputs=_score_inputs,
    solution=masked_weights,
    mistakes=[
        Mistake(
            "a row with nothing to attend to is NaN",
            _filled(-math.inf),
            "Softmax of nothing but minus infinity divides 0 by 0. Set such rows to 0, best without passing through "
            "NaN, whose gradient would be NaN too.",
        ),
        Mistake(
            "a row with nothing to attend to averages all keys",
            _filled(-1e9),
            "If all scores are equally low, softmax gives them equal weights: an average of what may not be seen. "
            "Set the weights to 0 once more, after the softmax.",
        ),
        Mistake(
            "the mask comes after the softmax",
            lambda scores, keep_mask: scores.softmax(-1).masked_fill(~keep_mask, 0.0),
            "The rows no longer sum to 1, and what is left still depends on the hidden scores, which were part of the "
            "denominator. Mask the scores, before the softmax.",
        ),
        Mistake(
            "divided a second time, after the softmax",
            _shared(_softmax, lambda kept, total: (kept / total).nan_to_num()),
            "Where a hidden score is far above the rest, the others round to 0, and no division brings them back. "
            "Mask the scores, before the softmax.",
        ),
        Mistake(
            "divided a second time, after the softmax, and by 0",
            _shared(_softmax, lambda kept, total: kept / total),
            "A row with nothing to attend to is 0 / 0, NaN, and so is one whose hidden score is far above the rest. "
            "Mask the scores, before the softmax, and set the weights to 0 after it.",
        ),
        Mistake(
            "exp without subtracting the maximum",
            _shared(torch.exp, lambda kept, total: kept / total.clamp(min=1e-9)),
            _EXP,
        ),
        Mistake(
            "exp without subtracting the maximum, and 1e-9 added to the sums",
            _shared(torch.exp, lambda kept, total: kept / (total + 1e-9)),
            _EXP,
        ),
        Mistake(
            "exp without subtracting the maximum, and rows divided by 0",
            _shared(torch.exp, lambda kept, total: kept / total),
            _EXP,
        ),
        Mistake(
            "exp without subtracting the maximum, and NaN set to 0",
            _shared(torch.exp, lambda kept, total: (kept / total).nan_to_num()),
            _EXP,
        ),
        Mistake(
            "hidden scores become 0",
            _filled(0.0),
            "A score of 0 (or 1e-9, or a score times the mask) is a weight of exp(0) = 1 before the division. Only "
            "minus infinity, or a number far below all, is a weight of 0.",
        ),
        Mistake(
            "hidden scores become 0, and their weights too",
            _filled(0.0, after=_zero),
            "A score of 0 takes its share, exp(0) = 1, before you set the weight to 0, so that the rows do not sum to "
            "1. Fill with a number far below all scores.",
        ),
        *(
            Mistake(f"hidden scores become {fill:g}{said}", _filled(fill, after=after), _NOT_LOW)
            for fill in (-10.0, -100.0, -1000.0)
            for said, after in (("", _leave), (", and their weights 0", _zero))
        ),
        Mistake(
            "the kept keys are hidden",
            _opposite(-math.inf),
            "True means may attend: fill where the mask is False, `~keep_mask`.",
        ),
        Mistake(
            "the kept keys are hidden, and NaN is set to 0",
            _opposite(-1e9, after=_zero),
            "True means may attend: fill where the mask is False, `~keep_mask`, both before and after the softmax.",
        ),
        Mistake(
            "the kept keys are hidden, with a finite number",
            _opposite(-1e9),
            "True means may attend: fill where the mask is False, `~keep_mask`.",
        ),
        Mistake(
            "the softmax runs over the queries",
            _filled(-math.inf, dim=-2),
            "Each query shares its attention among the keys, and keys are the last axis: `dim=-1`.",
        ),
        Mistake(
            "the softmax runs over the batch",
            _filled(-math.inf, dim=0),
            "Dimension 0 is the batch. Each query shares its attention among the keys, the last axis: `dim=-1`.",
        ),
        Mistake(
            "the softmax runs over the batch, and NaN is set to 0",
            _filled(-1e9, dim=0, after=_zero),
            "Dimension 0 is the batch. Each query shares its attention among the keys, the last axis: `dim=-1`.",
        ),
        Mistake(
            "minus infinity is multiplied by 0",
            lambda scores, keep_mask: (scores + ~keep_mask * -math.inf).softmax(-1),
            "False times infinity is NaN, not 0, and one NaN spoils its row. Use `masked_fill` or `torch.where`.",
        ),
        Mistake(
            "the softmax is missing",
            lambda scores, keep_mask: scores.masked_fill(~keep_mask, -math.inf),
            "These are masked scores. `softmax(dim=-1)` makes weights of them.",
        ),
        Mistake(
            "the scores that were given are changed",
            lambda scores, keep_mask: _zero(scores.masked_fill_(~keep_mask, -1e9).softmax(-1), keep_mask),
            "The weights are right, but you wrote into the caller's tensor. `masked_fill`, without the underscore at "
            "its end, gives a new one.",
        ),
    ],
    hints=[
        "Hidden scores must become so low that exp of them is 0. Before the softmax, not after.",
        "`scores.masked_fill(~keep_mask, torch.finfo(scores.dtype).min)` and then `softmax(dim=-1)`.",
        "One more `masked_fill(~keep_mask, 0.0)`, on the weights, for the rows in which all scores were that low.",
    ],
    package="gptlab.attention.attention_weights",
)

# ---- masking.4 -------------------------------------------------------------------------------------------------------


def without_padding(targets, lengths):
    is_padding = torch.arange(targets.shape[1]) >= lengths[:, None]  # [B, T]
    return targets.masked_fill(is_padding, -100)


def _target_inputs(rng):
    yield torch.tensor([[4, 0, 0], [5, 6, 7]]), torch.tensor([1, 3])
    yield torch.tensor([[0, 3, 0, 0], [0, 0, 0, 0]]), torch.tensor([3, 0])
    for B, T in ((2, 5), (3, 4), (4, 6)):
        lengths = torch.randint(1, T + 1, (B,), generator=_generator(rng))
        lengths[0], lengths[-1] = T - 2, T - 1
        targets = torch.randint(0, 4, (B, T), generator=_generator(rng))
        targets[-1, T - 2] = 0  # a real token with the padding's id, at the end
        yield targets.masked_fill(_is_padding(targets, lengths), 0), lengths


def _is_padding(targets: Tensor, lengths: Tensor) -> Tensor:
    return torch.arange(targets.shape[1]) >= lengths[:, None]  # [B, T]


def _in_place(targets, lengths):
    targets[_is_padding(targets, lengths)] = -100
    return targets


def _from_the_last_real(targets, lengths):
    changed = targets.clone()
    for row, length in zip(changed, lengths.tolist(), strict=True):
        row[length - 1 :] = -100
    return changed


def _trailing_zeros(targets, lengths):
    real_follows = (targets != 0).flip(1).cumsum(1).flip(1) > 0
    return targets.masked_fill(~real_follows, -100)


_TARGETS = Exercise(
    id="masking.4",
    title="No loss for padding",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="A mask hides the padding from the other positions. What is predicted *at* the padding must not count "
    "either: replace the targets of the padding by -100, which `F.cross_entropy` ignores. The id that fills the "
    "sequences up, 0, is also the id of a real token, so go by the lengths.\n\nShapes: `targets` is an integer tensor "
    "[B, T], `lengths` an integer tensor [B], each from 0 to T. Result: a new integer tensor [B, T].",
    signature='def without_padding(targets: Int[Tensor, "B T"], lengths: Int[Tensor, " B"]) -> Int[Tensor, "B T"]',
    inputs=_target_inputs,
    solution=without_padding,
    mistakes=[
        Mistake(
            "every token with the padding's id is left out",
            lambda targets, lengths: targets.masked_fill(targets == 0, -100),
            "A real token has the id 0 as well, and the model would never learn to predict it. Where padding begins is "
            "in `lengths`.",
        ),
        Mistake(
            "zeros at the end are taken for padding",
            _trailing_zeros,
            "A text may end with a real token whose id is 0. Where padding begins is in `lengths`.",
        ),
        Mistake(
            "the first padding is still learned",
            lambda targets, lengths: targets.masked_fill(torch.arange(targets.shape[1]) > lengths[:, None], -100),
            "A sequence of length 2 has the positions 0 and 1, and padding begins at 2: `>=`.",
        ),
        Mistake(
            "the last real token is left out",
            lambda targets, lengths: targets.masked_fill(_is_padding(targets, lengths - 1), -100),
            "Position length - 1 is real: often it is the end token, and a model that never learns it never stops.",
        ),
        Mistake(
            "the last real token is left out, by a slice",
            _from_the_last_real,
            "Position length - 1 is real: `[length:]` begins with the padding, `[length - 1:]` one too early.",
        ),
        Mistake(
            "the text is ignored, and the padding learned",
            lambda targets, lengths: targets.masked_fill(~_is_padding(targets, lengths), -100),
            "The other way round: `masked_fill` writes where its mask is True, which should be the padding.",
        ),
        Mistake(
            "the targets that were given are changed",
            _in_place,
            "The caller still needs them. `masked_fill` gives a new tensor; before you write into one, `clone()` it.",
        ),
        Mistake(
            "the padding becomes -1",
            lambda targets, lengths: targets.masked_fill(_is_padding(targets, lengths), -1),
            "`F.cross_entropy` ignores -100 unless it is told another number, and would stumble over a class -1.",
        ),
        Mistake(
            "the padding stays 0",
            lambda targets, lengths: targets.masked_fill(_is_padding(targets, lengths), 0),
            "The loss counts a target of 0 like any other id. It ignores -100.",
        ),
        Mistake(
            "the padding becomes minus infinity",
            lambda targets, lengths: targets.masked_fill(_is_padding(targets, lengths), -math.inf),
            "Targets are integers, which have no infinity. What the loss ignores is -100.",
        ),
        Mistake(
            "lengths and positions do not line up",
            lambda targets, lengths: targets.masked_fill(torch.arange(targets.shape[1]) >= lengths, -100),
            _NO_AXIS,
        ),
        Mistake(
            "positions and lengths do not line up",
            lambda targets, lengths: targets.masked_fill(lengths <= torch.arange(targets.shape[1]), -100),
            _NO_AXIS,
        ),
        Mistake(
            "the mask has an axis for queries",
            lambda targets, lengths: targets.masked_fill(_is_padding(targets, lengths)[:, None, :], -100),
            "Targets are [B, T], and have no queries. With a mask of [B, 1, T] each sequence meets the mask of every "
            "other one: [B, B, T].",
        ),
    ],
    hints=[
        "Which positions are padding? Those at the length and after it.",
        "`torch.arange(targets.shape[1]) >= lengths[:, None]` is [B, T].",
        "`targets.masked_fill(is_padding, -100)`",
    ],
)

# ---- masking.5 -------------------------------------------------------------------------------------------------------


def sliding_mask(T, window):
    distance = torch.arange(T)[:, None] - torch.arange(T)  # [T, T]  how far back the key stands
    return (distance >= 0) & (distance < window)


def _window_inputs(rng):
    yield from [(4, 2), (5, 3), (6, 2), (5, 1), (4, 4), (3, 5), (7, 3)]
    for T in (6, 7, 8):
        yield T, rng.randint(2, T - 2)


def _distance(T: int) -> Tensor:
    return torch.arange(T)[:, None] - torch.arange(T)


def _within(low: Callable, high: Callable) -> Callable:
    """Keep the distances from `low(window)` to `high(window)`, the ends included."""
    return lambda T, window: (_distance(T) >= low(window)) & (_distance(T) <= high(window))


_SLIDING = Exercise(
    id="masking.5",
    title="A window that slides",
    kind="warm-up",
    minutes=5,
    difficulty=2,
    prompt="Each position may attend to the last `window` positions, itself included, and to nothing after it. Near "
    "the beginning there are fewer.\n\nInput: `T` and `window`, two `int` of at least 1; the window may be wider than "
    "T. Result: a boolean tensor [T, T], True = may attend.",
    signature='def sliding_mask(T: int, window: int) -> Bool[Tensor, "T T"]',
    inputs=_window_inputs,
    solution=sliding_mask,
    reference=masking.sliding,
    properties=[_BOOLEAN],
    mistakes=[
        Mistake(
            "the window is one too wide",
            _within(lambda window: 0, lambda window: window),
            "The position itself is one of them: `window - 1` before it, distances 0 to window - 1.",
        ),
        Mistake(
            "the window is one too narrow",
            _within(lambda window: 0, lambda window: window - 2),
            "The position itself and `window - 1` before it: distances 0 to window - 1, so `distance < window`.",
        ),
        Mistake(
            "the window ends before the position",
            _within(lambda window: 1, lambda window: window),
            "Distance 0 counts: the position itself is the last of its window.",
        ),
        Mistake(
            "the position does not see itself",
            _within(lambda window: 1, lambda window: window - 1),
            "The distance 0 counts: the token at t is known when the next one is predicted.",
        ),
        Mistake(
            "the window opens to both sides",
            _within(lambda window: 1 - window, lambda window: window - 1),
            "The distance must not be negative either: what comes later is the future.",
        ),
        Mistake(
            "the future is not hidden",
            _within(lambda window: -math.inf, lambda window: window - 1),
            "Only what is too far back is hidden. It is still a decoder: the distance must be at least 0 as well.",
        ),
        Mistake(
            "the window has no end",
            lambda T, window: masking.causal(T),
            "This is the causal mask alone. Hide what is `window` or more positions back as well.",
        ),
        Mistake(
            "only what is outside the window can be seen",
            lambda T, window: masking.causal(T) & (_distance(T) >= window),
            "The distance must be *below* `window`. As it is, a position sees the far past only, and not itself.",
        ),
        Mistake(
            "all see the same last positions",
            lambda T, window: masking.causal(T) & (torch.arange(T) >= T - window),
            "This window stands still at the end of the sequence. It should end at each query: count from the query.",
        ),
        Mistake(
            "the windows stand still, side by side",
            lambda T, window: masking.causal(T) & (torch.arange(T)[:, None] // window == torch.arange(T) // window),
            "You cut the text into blocks of `window`. The window should move along with the query, and end at it.",
        ),
        Mistake(
            "the future is seen, not the past",
            lambda T, window: masking.sliding(T, window).T,
            "Rows are queries and columns are keys: distance = position of the query minus position of the key.",
        ),
        Mistake("True means hidden", lambda T, window: ~masking.sliding(T, window), _OTHER_CONVENTION),
        Mistake("the mask holds numbers", lambda T, window: masking.sliding(T, window).float(), _NUMBERS),
        Mistake("the mask is one to add", lambda T, window: _additive(masking.sliding(T, window)), _ADDED),
        Mistake(
            "two conditions joined with `and`",
            lambda T, window: (_distance(T) >= 0) and (_distance(T) < window),
            "`and` asks whether a whole tensor is True. `&` joins them element by element; put each condition in "
            "brackets.",
        ),
    ],
    hints=[
        "How far back does the key stand? That is a [T, T] tensor of differences.",
        "`torch.arange(T)[:, None] - torch.arange(T)`: rows are queries, columns keys.",
        "Keep where the distance is at least 0 and below `window`; join the two conditions with `&`.",
    ],
    package="gptlab.masking.sliding",
)

# ---- masking.6 -------------------------------------------------------------------------------------------------------


def packed_mask(ids, end):
    is_end = ids == end  # [B, T]
    number = is_end.cumsum(dim=1) - is_end.long()  # [B, T]  how many documents ended before this token
    same = number[:, :, None] == number[:, None, :]  # [B, T, T]
    return same & torch.ones_like(same).tril()


def _packed_inputs(rng):
    yield torch.tensor([[5, 9, 6, 7]]), 9  # four positions, so that a card shows all three tables row by row
    yield torch.tensor([[5, 9, 6, 7, 9]]), 9
    yield torch.tensor([[1, 0, 2, 3, 0, 4], [1, 2, 3, 0, 4, 5]]), 0
    yield torch.tensor([[1, 2, 3, 1], [0, 2, 3, 4]]), 0
    yield torch.tensor([[1, 0, 0, 2, 3]]), 0
    for B, T in ((2, 6), (3, 7), (2, 8)):
        ids = torch.randint(1, 8, (B, T), generator=_generator(rng))
        ids[0, 1] = ids[1, 3] = ids[0, 4] = 0
        yield ids, 0


def _before(is_end: Tensor) -> Tensor:
    return is_end.cumsum(1) - is_end.long()


def _documents_of(number: Callable) -> Callable:
    """The right mask, but for the numbers of the documents."""
    return lambda ids, end: masking.documents(number(ids == end)) & masking.causal(ids.shape[1])


def _compared_without_queries(ids, end):
    number = _before(ids == end)
    return (number[:, None] == number) & masking.causal(ids.shape[1])


_PACKED = Exercise(
    id="masking.6",
    title="Several documents in one sequence",
    kind="stretch",
    minutes=20,
    difficulty=3,
    prompt="To waste no positions, several documents are packed one after the other into a sequence. Each ends with "
    "the token `end`, which belongs to the document that it ends; the last one may be cut off. Build the mask of a "
    "decoder in which no document sees another.\n\nShapes: `ids` is an integer tensor [B, T], `end` an `int`. Result: "
    "a boolean tensor [B, T, T], True = may attend.",
    signature='def packed_mask(ids: Int[Tensor, "B T"], end: int) -> Bool[Tensor, "B T T"]',
    inputs=_packed_inputs,
    solution=packed_mask,
    reference=packed_mask,  # with properties alone, results would not be compared
    properties=[_BOOLEAN],
    mistakes=[
        Mistake(
            "the end token belongs to the next document",
            _documents_of(lambda is_end: is_end.cumsum(1)),
            "`cumsum` counts the end token itself. Subtract it: how many documents ended *before* this token?",
        ),
        Mistake(
            "the count is rolled round",
            _documents_of(lambda is_end: is_end.cumsum(1).roll(1, dims=1)),
            "Shifting by one is right, but `roll` brings the last count round to the first position, where it should "
            "be 0.",
        ),
        Mistake(
            "the documents do not see each other, but see their own future",
            lambda ids, end: masking.documents(_before(ids == end)),
            "It is still a decoder: join it with the causal mask.",
        ),
        Mistake(
            "the future is seen, not the past",
            lambda ids, end: masking.documents(_before(ids == end)) & masking.causal(ids.shape[1]).T,
            "`triu` keeps what comes later. Join with the lower triangle, `tril`.",
        ),
        Mistake(
            "a position does not see itself",
            lambda ids, end: masking.documents(_before(ids == end)) & masking.causal(ids.shape[1]).tril(-1),
            "The diagonal may be attended to: the token at t is known when the next one is predicted.",
        ),
        Mistake(
            "documents are not kept apart",
            lambda ids, end: masking.causal(ids.shape[1]).expand(*ids.shape, ids.shape[1]),
            "This is the causal mask alone (comparing the numbers with ≥ comes to the same). Two positions see each "
            "other if the numbers of their documents are equal.",
        ),
        Mistake(
            "documents are counted along the batch",
            _documents_of(lambda is_end: is_end.cumsum(0) - is_end.long()),
            "Count along the time, `dim=1`. The sequences of a batch know nothing of each other.",
        ),
        Mistake(
            "only the end tokens are hidden",
            lambda ids, end: masking.causal(ids.shape[1]) & (ids != end)[:, None, :],
            "Hiding the boundary does not hide what stands before it. Positions with equal document numbers see each "
            "other.",
        ),
        Mistake(
            "the end tokens are hidden as well",
            lambda ids, end: packed_mask(ids, end) & (ids != end)[:, None, :],
            "The end token is a part of its document, and may be attended to like any other.",
        ),
        Mistake(
            "numbers are not compared in pairs",
            _compared_without_queries,
            "`number[:, None] == number` compares the sequences of the batch with each other, [B, B, T]. Queries and "
            "keys need an axis each: `number[:, :, None] == number[:, None, :]`.",
        ),
        Mistake("True means hidden", lambda ids, end: ~packed_mask(ids, end), _OTHER_CONVENTION),
        Mistake("the mask holds numbers", lambda ids, end: packed_mask(ids, end).float(), _NUMBERS),
        Mistake("the mask is one to add", lambda ids, end: _additive(packed_mask(ids, end)), _ADDED),
    ],
    hints=[
        "Give each position the number of its document: how many documents ended before it?",
        "`is_end.cumsum(dim=1) - is_end.long()` is that number, [B, T].",
        "Compare `number[:, :, None]` with `number[:, None, :]`, and join with the lower triangle.",
    ],
    package="gptlab.masking.documents",
)

# ---- masking.7 -------------------------------------------------------------------------------------------------------


def library_masks(lengths, T):
    attn_mask = torch.ones(T, T, dtype=torch.bool).triu(diagonal=1)  # [T, T]  True = drop: the future
    key_padding_mask = torch.arange(T) >= lengths[:, None]  # [B, T]  True = drop: padding
    return attn_mask, key_padding_mask


def _library_inputs(rng):
    yield torch.tensor([2, 3]), 3
    yield torch.tensor([1, 4, 2]), 4
    for B, T in ((2, 5), (3, 6), (4, 5)):
        lengths = torch.randint(1, T + 1, (B,), generator=_generator(rng))
        lengths[0] = T - 2
        yield lengths, T


def _pair(
    causal: Callable = lambda T: _ones(T, T).triu(1),
    padding: Callable = lambda lengths, T: ~_real(lengths, T),
) -> Callable:
    """The two masks, one of them replaced."""
    return lambda lengths, T: (causal(T), padding(lengths, T))


_LIBRARY = Exercise(
    id="masking.7",
    title="The other convention",
    kind="warm-up",
    minutes=5,
    difficulty=2,
    prompt="Prepare the two masks of a decoder on padded sequences for `nn.MultiheadAttention`, which takes them as "
    "two arguments: `attn_mask` [T, T], which hides the future, and `key_padding_mask` [B, T], which hides the "
    "padding (on the right). For this class True means: drop this key.\n\nShapes: `lengths` is an integer tensor [B], "
    "each from 1 to T; `T` is an `int`. Result: a tuple of two boolean tensors, [T, T] and [B, T], in this order.",
    signature='def library_masks(lengths: Int[Tensor, " B"], T: int) -> tuple[Bool[Tensor, "T T"], Bool[Tensor, "B '
    'T"]]',
    inputs=_library_inputs,
    solution=library_masks,
    reference=lambda lengths, T: (
        masking.to_attn_mask(masking.causal(T)),
        masking.to_key_padding_mask(masking.padding(lengths, T)),
    ),
    properties=[
        ("both are boolean, dtype torch.bool", lambda *all: {part.dtype for part in all[-1]} == {torch.bool}),
    ],
    mistakes=[
        Mistake(
            "both masks are the wrong way round",
            _pair(masking.causal, _real),
            "These are keep-masks. `nn.MultiheadAttention` wants the opposite: invert both with `~`.",
        ),
        Mistake(
            "the causal one is the wrong way round",
            _pair(causal=masking.causal),
            "The padding is right. The causal mask keeps the past here and must drop the future: `~`, or "
            "`triu(diagonal=1)`.",
        ),
        Mistake(
            "the one for padding is the wrong way round",
            _pair(padding=_real),
            "The causal mask is right. In `key_padding_mask` True stands where the padding is.",
        ),
        Mistake(
            "a position does not see itself",
            _pair(causal=lambda T: _ones(T, T).triu()),
            "`triu()` begins at the diagonal and drops it too; the first row would have nothing to attend to. "
            "`diagonal=1`.",
        ),
        Mistake(
            "the past is dropped",
            _pair(causal=lambda T: _ones(T, T).tril(-1)),
            "True stands where a key is dropped, and that is the future: above the diagonal, `triu(diagonal=1)`.",
        ),
        Mistake(
            "one step of the future is seen",
            _pair(causal=lambda T: _ones(T, T).triu(2)),
            "The next token is the first of the future, one above the diagonal: `triu(diagonal=1)`.",
        ),
        Mistake(
            "the results are in the wrong order",
            lambda lengths, T: library_masks(lengths, T)[::-1],
            "First `attn_mask` [T, T], then `key_padding_mask` [B, T].",
        ),
        Mistake(
            "the first padding is not dropped",
            _pair(padding=lambda lengths, T: torch.arange(T) > lengths[:, None]),
            "A sequence of length 2 has the positions 0 and 1, and padding begins at 2: `>=`.",
        ),
        Mistake(
            "the last real token is dropped",
            _pair(padding=lambda lengths, T: torch.arange(T) >= lengths[:, None] - 1),
            "Position length - 1 is the last real one: padding begins at `length`.",
        ),
        Mistake(
            "the padding is taken to be on the left",
            _pair(padding=lambda lengths, T: torch.arange(T) < T - lengths[:, None]),
            "Here the text comes first and the padding after it.",
        ),
        Mistake(
            "the padding has an axis too many",
            _pair(padding=lambda lengths, T: (~_real(lengths, T))[:, None, :]),
            "This class adds the axis of the queries itself: it wants [B, T], not [B, 1, T].",
        ),
        Mistake(
            "the padding is put into both",
            lambda lengths, T: (~(masking.causal(T) & masking.padding(lengths, T)), ~_real(lengths, T)),
            "`attn_mask` is [T, T], the same for all sequences. The padding goes into `key_padding_mask` alone.",
        ),
        Mistake(
            "lengths and positions do not line up",
            _pair(padding=lambda lengths, T: torch.arange(T) >= lengths),
            _NO_AXIS,
        ),
        Mistake(
            "positions and lengths do not line up",
            _pair(padding=lambda lengths, T: lengths <= torch.arange(T)),
            _NO_AXIS,
        ),
        Mistake(
            "the causal mask is one to add",
            _pair(causal=lambda T: _additive(masking.causal(T))),
            "A mask of 0 and minus infinity works in this class too, but boolean ones are asked for: True = drop.",
        ),
        Mistake(
            "a mask holds numbers",
            lambda lengths, T: tuple(mask.float() for mask in library_masks(lengths, T)),
            "The pattern is right. But this class would add numbers to the scores, and both masks must be boolean: "
            "compare, or give `torch.ones` a `dtype=torch.bool`.",
        ),
    ],
    hints=[
        "What does each of the two drop? The future; the padding.",
        "`gptlab.masking` has the keep-masks: invert them, and look at the shapes.",
        "`torch.ones(T, T, dtype=torch.bool).triu(diagonal=1)` and `torch.arange(T) >= lengths[:, None]`",
    ],
)

# ---- masking.8 -------------------------------------------------------------------------------------------------------


def cross_attend(x, memory, W_q, W_k, W_v, keep_mask):
    q = x @ W_q  # [B, Tq, hs]  the queries come from the target
    k, v = memory @ W_k, memory @ W_v  # [B, Tk, hs]  keys and values from the memory
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5  # [B, Tq, Tk]
    return scores.masked_fill(~keep_mask, -torch.inf).softmax(dim=-1) @ v  # [B, Tq, hs]


def _cross_inputs(rng):
    yield (
        torch.tensor([[[1.0], [-2.0]]]),
        torch.tensor([[[3.0], [1.0], [2.0]]]),
        torch.tensor([[1.0, 0.0, 2.0, 0.0]]),
        torch.tensor([[0.0, 1.0, 1.0, 0.0]]),
        torch.tensor([[1.0, 2.0, 0.0, 3.0]]),
        torch.tensor([[[True, True, False]]]),
    )
    yield (  # scores up to 1200, and the highest are hidden: exp of them is infinite
        torch.tensor([[[100.0], [-60.0], [1.0], [0.0]], [[-200.0], [30.0], [2.0], [-1.0]]]),
        torch.tensor([[[6.0], [-3.0], [12.0]], [[2.0], [-4.0], [5.0]]]),
        torch.tensor([[1.0]]),
        torch.tensor([[1.0]]),
        torch.tensor([[2.0]]),
        torch.tensor([[[True, True, False]], [[True, True, True]]]),
    )
    for B, Tq, Tk, C, hs in ((2, 3, 5, 4, 6), (3, 4, 2, 5, 3), (2, 5, 7, 6, 4), (4, 3, 6, 7, 2)):
        lengths = torch.randint(1, Tk + 1, (B,), generator=_generator(rng))
        lengths[0], lengths[1] = Tk - 1, Tk
        weights = (_normal(rng, C, hs) for _ in range(3))
        yield _normal(rng, B, Tq, C), _normal(rng, B, Tk, C), *weights, masking.padding(lengths, Tk)


def _weigh(scores: Tensor, keep: Tensor) -> Tensor:
    return scores.masked_fill(~keep, -math.inf).softmax(-1)


def _unmasked(scores: Tensor, keep: Tensor) -> Tensor:
    return scores.softmax(-1)


def _exp_shares(scores: Tensor, keep: Tensor) -> Tensor:
    e = scores.exp() * keep
    return e / e.sum(dim=-1, keepdim=True)


def _cross(
    q: str = "x",
    k: str = "memory",
    v: str = "memory",
    weigh: Callable = _weigh,
    divisor: Callable = lambda x, q, k: math.sqrt(q.shape[-1]),
    product: Callable = lambda q, k: q @ k.transpose(-2, -1),
    average: Callable = lambda weights, v: weights @ v,
) -> Callable:
    """Cross-attention with one part replaced: where q, k and v come from, or what is done with them."""

    def wrong(x, memory, W_q, W_k, W_v, keep_mask):
        source = {"x": x, "memory": memory}
        queries, keys, values = source[q] @ W_q, source[k] @ W_k, source[v] @ W_v
        return average(weigh(product(queries, keys) / divisor(x, queries, keys), keep_mask), values)

    return wrong


_CROSS = Exercise(
    id="masking.8",
    title="Two sources",
    kind="core",
    minutes=10,
    difficulty=2,
    prompt="One head of cross-attention. The queries come from the target `x`, the keys and the values from "
    "`memory`. Each query may attend to the whole memory except its padding, which the mask hides; at least one token "
    "of each memory is real.\n\nShapes: `x` is a float tensor [B, Tq, C], `memory` is [B, Tk, C], each of `W_q`, "
    "`W_k`, `W_v` is [C, hs], to be used as `x @ W_q`, and `keep_mask` is a boolean tensor [B, 1, Tk], True = may "
    "attend. Result: a float tensor [B, Tq, hs].",
    signature='def cross_attend(x: Float[Tensor, "B Tq C"], memory: Float[Tensor, "B Tk C"], W_q: Float[Tensor, "C '
    'hs"],\n'
    '                 W_k: Float[Tensor, "C hs"], W_v: Float[Tensor, "C hs"], keep_mask: Bool[Tensor, "B 1 Tk"],\n'
    '                 ) -> Float[Tensor, "B Tq hs"]',
    inputs=_cross_inputs,
    solution=cross_attend,
    reference=lambda x, memory, W_q, W_k, W_v, keep_mask: F.scaled_dot_product_attention(
        x @ W_q, memory @ W_k, memory @ W_v, attn_mask=keep_mask
    ),
    mistakes=[
        Mistake(
            "keys from the target meet the mask of the memory",
            _cross("x", "x", "x"),
            "The mask has a column for each token of the memory, and so must the scores: the keys (and the values) "
            "come from `memory`, the queries from `x`.",
        ),
        Mistake(
            "keys and values come from the target",
            _cross("x", "x", "x", weigh=_unmasked),
            "This is self-attention, and the memory is never read. Take k and v from `memory`.",
        ),
        Mistake(
            "the memory asks, and the target is read",
            _cross("memory", "x", "x", weigh=_unmasked),
            "The result has a row for each token of the memory. Queries come from `x`, keys and values from `memory`.",
        ),
        Mistake(
            "the queries come from the memory",
            _cross(q="memory"),
            "The memory attends to itself, and the target plays no part. Queries come from `x`.",
        ),
        Mistake(
            "the values come from the target",
            _cross(v="x"),
            "Each weight belongs to a token of the memory, so that token's value is what it multiplies: "
            "`memory @ W_v`.",
        ),
        Mistake(
            "the values are the memory itself",
            lambda x, memory, W_q, W_k, W_v, keep: (
                _weigh((x @ W_q) @ (memory @ W_k).transpose(-2, -1) / math.sqrt(W_q.shape[1]), keep) @ memory
            ),
            "The values are made from the memory by a matrix of their own: `memory @ W_v`, [B, Tk, hs].",
        ),
        Mistake(
            "the values are forgotten",
            _cross(average=lambda weights, v: weights),
            "These are the weights, [B, Tq, Tk]. What a query receives is `weights @ v`.",
        ),
        Mistake(
            "keys and values have changed places",
            lambda x, memory, W_q, W_k, W_v, keep_mask: cross_attend(x, memory, W_q, W_v, W_k, keep_mask),
            "W_k makes the keys, which are compared with the queries; W_v makes the values, which are averaged.",
        ),
        Mistake(
            "queries and keys have changed their matrices",
            lambda x, memory, W_q, W_k, W_v, keep_mask: cross_attend(x, memory, W_k, W_q, W_v, keep_mask),
            "W_q makes queries of `x`, W_k makes keys of `memory`.",
        ),
        Mistake(
            "padding of the memory can be attended to",
            _cross(weigh=_unmasked),
            "The mask is not used. Padding would take part of the attention.",
        ),
        Mistake(
            "the kept keys are hidden",
            _cross(weigh=lambda scores, keep: _weigh(scores, ~keep)),
            "True means may attend: fill where the mask is False, `~keep_mask`. As it is, only padding is attended to.",
        ),
        Mistake(
            "the memory is masked as if it were the future",
            _cross(weigh=lambda scores, keep: _weigh(scores, keep & _ones(*scores.shape[1:]).tril())),
            "The memory is complete before the first word is written: every query may see all of it. No causal mask "
            "here.",
        ),
        Mistake(
            "the mask comes after the softmax",
            _cross(weigh=lambda scores, keep: scores.softmax(-1) * keep),
            "The padding has taken its share before it is hidden, and the rows sum to less than 1. Mask the scores.",
        ),
        Mistake(
            "hidden scores become 0",
            _cross(weigh=lambda scores, keep: (scores * keep).softmax(-1)),
            "exp(0) is 1, so a score of 0 (or a score times the mask) gets a share. Fill with minus infinity.",
        ),
        Mistake(
            "exp without subtracting the maximum",
            _cross(weigh=_exp_shares),
            "exp of a score above 88 is too large for float32, and infinity divided by itself is NaN. Subtract each "
            "row's maximum first; `softmax` does.",
        ),
        Mistake(
            "the softmax runs over the queries",
            _cross(weigh=lambda scores, keep: scores.masked_fill(~keep, -math.inf).softmax(-2)),
            "For each query the weights over the keys must sum to 1: the last dimension. (A column of padding is all "
            "minus infinity, and becomes NaN.)",
        ),
        Mistake(
            "the scores are divided by √C",
            _cross(divisor=lambda x, q, k: math.sqrt(x.shape[-1])),
            "The dot products run over hs numbers: divide by the root of hs, `q.shape[-1]`.",
        ),
        Mistake(
            "the scores are not divided",
            _cross(divisor=lambda x, q, k: 1.0),
            "Scores are sums of hs products: divide by the root of hs before the softmax.",
        ),
        Mistake(
            "divided by hs, without the root",
            _cross(divisor=lambda x, q, k: q.shape[-1]),
            "The usual size of a score is √hs: divide by the root.",
        ),
        Mistake(
            "the scores are divided by √Tk",
            _cross(divisor=lambda x, q, k: math.sqrt(k.shape[1])),
            "Tk is how many keys there are. The dot products run over hs numbers: divide by the root of hs.",
        ),
        Mistake(
            "the keys are not transposed",
            _cross(product=lambda q, k: q @ k),
            "[B, Tq, hs] @ [B, Tk, hs] does not fit. Swap the last two axes of k: `k.transpose(-2, -1)`.",
        ),
        Mistake(
            "the matrices are applied as `nn.Linear` does",
            lambda x, memory, W_q, W_k, W_v, keep_mask: x @ W_q.T,
            "`nn.Linear` stores [out, in] and transposes it. Here `W_q` is [C, hs]: `x @ W_q`.",
        ),
    ],
    hints=[
        "It is attention as you know it. Only the keys and values come from another source.",
        "q from `x`, k and v from `memory`; the scores are [B, Tq, Tk].",
        "Fill the scores with minus infinity where `~keep_mask`, softmax over the last axis, times v.",
    ],
    package="gptlab.attention.attend",
)

# ---- masking.9 -------------------------------------------------------------------------------------------------------


def first_leak(model, ids, V):
    before = model(ids)
    for t in range(1, ids.shape[1]):
        changed = ids.clone()
        changed[:, t] = (changed[:, t] + 1) % V
        moved = ((model(changed) - before).abs() > 1e-4)[:, :t].flatten(2).any(dim=2).any(dim=0)  # [t]
        if moved.any():
            return t, int(moved.nonzero()[0])
    return None


class _Leaky:
    """A model that sums up the past, with a few wires from a later position to earlier ones.

    A leak is (sequence, from, to, {channel: size}): the size is added while the token at `from` is one above its first
    value, which is what an answer should make of it. All numbers are small multiples of 1/1024, so that nothing is
    lost in rounding and the smallest leak is far above every tolerance.
    """

    def __init__(self, table: Tensor, ids: Tensor, leaks: list[tuple[int, int, int, dict[int, float]]]):
        self.table, self.leaks = table, leaks
        self.changed = (ids + 1) % len(table)

    def __deepcopy__(self, memo: dict) -> "_Leaky":
        return self  # it has no state that an answer could change, and a copy would count as another input

    def __call__(self, ids: Tensor) -> Tensor:
        out = self.table[ids].cumsum(dim=1)  # [B, T, C]
        for sequence, sender, receiver, channels in self.leaks:
            for channel, size in channels.items():
                out[sequence, receiver, channel] += size * (ids[sequence, sender] == self.changed[sequence, sender])
        return out

    def __repr__(self) -> str:
        wires = [f"{sender} to {receiver} in sequence {b}" for b, sender, receiver, _ in self.leaks]
        return f"<a model that leaks from {' and '.join(wires)}>" if wires else "<a model without a leak>"


_EVERY = {0: 1.0, 1: 1.0, 2: 1.0}
_LEAKS = (  # B, T, leaks
    (2, 3, []),
    (1, 5, [(0, 3, 1, _EVERY)]),  # two steps back, in all channels
    (2, 3, [(1, 1, 0, {0: 1.0})]),  # the first position that can leak
    (2, 4, [(1, 3, 0, {1: 1.0})]),  # from the last position to the first, into one channel of the last sequence
    (3, 5, [(1, 3, 2, {0: 1.0})]),  # the middle sequence, one step
    (2, 5, [(0, 3, 0, {2: 1.0}), (0, 3, 2, {2: 1.0})]),  # two receivers in the first sequence
    (2, 6, [(0, 4, 2, {0: 1.0, 1: -1.0})]),  # opposite signs in two channels
    (2, 5, [(0, 3, 1, {0: 1.0}), (1, 3, 1, {0: -1.0})]),  # opposite signs in two sequences
    (2, 5, [(1, 2, 1, {2: 2.0**-10})]),  # a small one
    (2, 6, [(0, 4, 1, {1: 1.0}), (1, 3, 2, {1: 1.0})]),  # two sequences, two positions
    (2, 6, [(0, 4, 3, {1: 1.0}), (1, 4, 1, {1: 1.0})]),  # the same position, two receivers
    (2, 4, [(1, 2, 0, {1: -1.0})]),  # one that only makes a number smaller
    (3, 6, []),
)


def _model_inputs(rng):
    for number, (B, T, leaks) in enumerate(_LEAKS):
        yield _leaky(rng, B, T, leaks, V=7 + 2 * (number % 3), last_id=number % 2 == 0)
    for _ in range(2):
        B, T = rng.choice(((2, 5), (3, 7)))
        sender = rng.randrange(2, T)
        leak = (rng.randrange(B), sender, rng.randrange(sender), {rng.randrange(3): 1.0})
        yield _leaky(rng, B, T, [leak], V=9, last_id=rng.random() < 0.5)


def _leaky(rng: random.Random, B: int, T: int, leaks: list, V: int, last_id: bool) -> tuple:
    """A model, ids and V; with `last_id` the token that leaks is V - 1, so that id + 1 goes round."""
    ids = torch.randint(2, V - 2, (B, T), generator=_generator(rng))
    ids[0, -1] = V - 1
    for sequence, sender, _, _ in leaks:
        ids[sequence, sender] = V - 1 if last_id else 3
    table = torch.randint(1, 9, (V, 3), generator=_generator(rng)) / 8
    return _Leaky(table + torch.arange(V)[:, None] * 2.0**-7, ids, leaks), ids, V


def _vary(ids: Tensor, t: int, V: int) -> Tensor:
    """A copy in which the tokens at t are other ones."""
    changed = ids.clone()
    changed[:, t] = (changed[:, t] + 1) % V
    return changed


def _any(difference: Tensor) -> Tensor:
    return (difference != 0).flatten(2).any(dim=2).any(dim=0)  # [B, T, C] -> [T]


def _first(t: int, moved: Tensor) -> tuple[int, int]:
    return t, int(moved.nonzero()[0])


def _search(
    changed_at: Callable[[int], Iterable[int]] = lambda T: range(1, T),
    looked_at: Callable[[int], slice] = lambda t: slice(t),
    vary: Callable = _vary,
    moved_where: Callable = _any,
    found: Callable = _first,
) -> Callable:
    """The search, with one part replaced."""

    def wrong(model, ids, V):
        before = model(ids)
        for t in changed_at(ids.shape[1]):
            moved = moved_where((model(vary(ids, t, V)) - before)[:, looked_at(t)])
            if moved.any():
                return found(t, moved)
        return None

    return wrong


def _set(new: Callable) -> Callable:
    """Another way to change the tokens at t: `new(their ids, V)`."""

    def vary(ids, t, V):
        changed = ids.clone()
        changed[:, t] = new(changed[:, t], V)
        return changed

    return vary


def _from_t_on(ids, t, V):
    changed = ids.clone()
    changed[:, t:] = (changed[:, t:] + 1) % V
    return changed


def _pile_up(copied: bool) -> Callable:
    def wrong(model, ids, V):
        before, changed = model(ids), ids.clone() if copied else ids
        for t in range(1, ids.shape[1]):
            changed[:, t] = (changed[:, t] + 1) % V
            moved = _any((model(changed) - before)[:, :t])
            if moved.any():
                return _first(t, moved)
        return None

    return wrong


def _one_step(model, ids, V):
    before = model(ids)
    for t in range(1, ids.shape[1]):
        if (model(_vary(ids, t, V)) != before)[:, t - 1].any():
            return t, t - 1
    return None


def _sequence_by_sequence(model, ids, V):
    before = model(ids)
    for b in range(len(ids)):
        for t in range(1, ids.shape[1]):
            moved = _any((model(_vary(ids, t, V)) - before)[b : b + 1, :t])
            if moved.any():
                return _first(t, moved)
    return None


def _earliest_receiver(model, ids, V):
    before, pairs = model(ids), []
    for t in range(1, ids.shape[1]):
        moved = _any((model(_vary(ids, t, V)) - before)[:, :t])
        pairs += [(int(s), t) for s in moved.nonzero()]
    return min(pairs)[::-1] if pairs else None


_LEAK = Exercise(
    id="masking.9",
    title="A leak detector",
    kind="stretch",
    minutes=30,
    difficulty=3,
    prompt="Write the test that every language model should pass. Change the tokens of one position at a time, from "
    "position 1 on, in all sequences at once (id + 1, and 0 after V - 1), and look whether an output at an earlier "
    "position moved, in any sequence and any channel, by more than 0.0001. Leave `ids` as they are.\n\nInput: `model`, "
    "a function from ids [B, T] to outputs [B, T, C]; `ids`, an integer "
    "tensor [B, T]; `V`, an `int`, the size of the vocabulary. Result: a tuple of two `int`, the first position whose "
    "change moves something earlier, and the first position that then moves; or None if nothing does.",
    signature='def first_leak(model, ids: Int[Tensor, "B T"], V: int) -> tuple[int, int] | None',
    inputs=_model_inputs,
    solution=first_leak,
    mistakes=[
        Mistake(
            "the position itself is looked at",
            _search(looked_at=lambda t: slice(t + 1)),
            "The output at t may change with the token at t, and should, and so may all later ones. Look at positions "
            "before t: `[:, :t]`.",
        ),
        Mistake(
            "position 0 is not looked at",
            _search(looked_at=lambda t: slice(1, t), found=lambda t, moved: (t, int(moved.nonzero()[0]) + 1)),
            "The future can leak to the first position as to any other: look at `[:, :t]`.",
        ),
        Mistake(
            "only position 0 is looked at",
            _search(looked_at=lambda t: slice(1)),
            "A leak may go to any position before t: `[:, :t]`.",
        ),
        Mistake(
            "only a leak of one step is found",
            _one_step,
            "You compare position t - 1 only. The future can leak further: compare all positions before t.",
        ),
        Mistake(
            "only the last token is changed",
            _search(changed_at=lambda T: [T - 1]),
            "A leak between two positions in the middle stays unseen. Change each position in turn.",
        ),
        Mistake(
            "the last token is never changed",
            _search(changed_at=lambda T: range(1, T - 1)),
            "`range(1, T - 1)` ends before the last position, T - 1. Take `range(1, T)`.",
        ),
        Mistake(
            "only the first sequence is looked at",
            _search(moved_where=lambda difference: _any(difference[:1])),
            "A leak in another sequence of the batch is a leak too.",
        ),
        Mistake(
            "only the last sequence is looked at",
            _search(moved_where=lambda difference: _any(difference[-1:])),
            "A leak in another sequence of the batch is a leak too.",
        ),
        Mistake(
            "only the first channel is looked at",
            _search(moved_where=lambda difference: _any(difference[:, :, :1])),
            "A leak into another channel is a leak too: `any` over the last axis.",
        ),
        Mistake(
            "only what moves in every channel counts",
            _search(moved_where=lambda difference: (difference != 0).all(dim=2).any(dim=0)),
            "A leak into a single channel is a leak too: `any` over the last axis, not `all`.",
        ),
        Mistake(
            "only what moves in every sequence counts",
            _search(moved_where=lambda difference: (difference != 0).any(dim=2).all(dim=0)),
            "A leak in one sequence is a leak: `any` over the batch, not `all`.",
        ),
        Mistake(
            "the channels are added up",
            _search(moved_where=lambda difference: _any(difference.sum(-1, keepdim=True))),
            "A sum or a mean over the channels can stay the same while they move in opposite directions. Ask of each "
            "number whether it moved, and join with `any`.",
        ),
        Mistake(
            "the sequences are added up",
            _search(moved_where=lambda difference: _any(difference.sum(0, keepdim=True))),
            "A sum or a mean over the batch can stay the same while sequences move in opposite directions. Ask of each "
            "number whether it moved, and join with `any`.",
        ),
        Mistake(
            "sequences and channels are added up",
            _search(moved_where=lambda difference: _any(difference.sum((0, 2), keepdim=True))),
            "A sum or a mean can stay the same while its parts move in opposite directions. Ask of each number whether "
            "it moved, and join with `any`.",
        ),
        Mistake(
            "small leaks are overlooked",
            _search(moved_where=lambda difference: _any(difference.abs() > 0.01)),
            "The limit is too high: asked for is 0.0001, and a leak of a thousandth is a leak, too.",
        ),
        Mistake(
            "only what grows counts",
            _search(moved_where=lambda difference: _any(difference.clamp(min=0))),
            "A number that moves may get smaller, too. Compare the absolute difference, `.abs()`.",
        ),
        Mistake(
            "the last position that moves",
            _search(found=lambda t, moved: (t, int(moved.nonzero()[-1]))),
            "Asked for is the first position that moves: `moved.nonzero()[0]`.",
        ),
        Mistake(
            "the first position of the first sequence that moves",
            _search(
                moved_where=lambda difference: (difference != 0).any(dim=2),
                found=lambda t, moved: (t, int(moved.nonzero()[0, 1])),
            ),
            "`nonzero()` of [B, t] goes through the sequences in turn. Join them with `any(dim=0)` first, and then "
            "take the first position.",
        ),
        Mistake(
            "sequence by sequence",
            _sequence_by_sequence,
            "The first leak of the first sequence that has one is not the first position: a later sequence may leak "
            "at a smaller t. Loop over the positions, and look at all sequences at once.",
        ),
        Mistake(
            "the earliest position that ever moves",
            _earliest_receiver,
            "Asked for is the first position whose *change* moves something, and then what moves. Return at the first "
            "t that leaks.",
        ),
        Mistake(
            "the two positions are in the wrong order",
            _search(found=lambda t, moved: _first(t, moved)[::-1]),
            "First the position that was changed, then the one that moved.",
        ),
        Mistake(
            "only the changed position is returned",
            _search(found=lambda t, moved: t),
            "A tuple of two is asked for: the position that was changed, and the first one that moved.",
        ),
        Mistake(
            "a changed id leaves the vocabulary",
            _search(vary=_set(lambda ids, V: ids + 1)),
            "V - 1 plus 1 is V, and no table has a row V. `% V` leads back to 0.",
        ),
        Mistake(
            "the last id stays what it is",
            _search(vary=_set(lambda ids, V: (ids + 1).clamp(max=V - 1))),
            "Clamped, V - 1 stays V - 1: that token has not changed, and its leak stays unseen. `% V` leads back to 0.",
        ),
        Mistake(
            "tokens are set to 0",
            _search(vary=_set(lambda ids, V: torch.zeros_like(ids))),
            "A token that is 0 already does not change, and the task says what to change it to: id + 1, and 0 after "
            "V - 1.",
        ),
        Mistake(
            "all tokens from t on are changed",
            _search(vary=_from_t_on),
            "Change one position at a time, `changed[:, t]`. As it is, a leak from further on is found too early.",
        ),
        Mistake(
            "the changes pile up",
            _pile_up(copied=False),
            "You write into the ids that were given, so the next round starts from changed ones, and a position seems "
            "to move that was changed before. Begin each round with a copy: `ids.clone()`.",
        ),
        Mistake(
            "the changes pile up in one copy",
            _pile_up(copied=True),
            "One copy for all rounds: the next one starts from changed ids, and a position seems to move that was "
            "changed before. Begin each round with a fresh `ids.clone()`.",
        ),
    ],
    hints=[
        "Run the model twice: on the ids, and on a copy in which one position was changed.",
        "`((model(changed) - before).abs() > 1e-4)[:, :t]` is [B, t, C]; `any` over B and C leaves [t].",
        "The first True of the [t] is `int(moved.nonzero()[0])`; return it with t, and None after the loop.",
    ],
    package="gptlab.masking.assert_causal",
)

EXERCISES = [_CAUSAL, _PADDING, _WEIGHTS, _TARGETS, _SLIDING, _PACKED, _LIBRARY, _CROSS, _LEAK]

PREDICTIONS = [
    Prediction(
        id="masking.a",
        question="A small model may attend to every token, also to those that come after. It is trained to predict the "
        "next token. What happens to its loss?",
        kind="choice",
        choices=("it stays above the floor", "it falls below the floor", "it does not fall at all"),
        answer="b",
        explanation="The next token stands in front of it. It learns to copy, and copying needs no knowledge of "
        "stories.",
    ),
    Prediction(
        id="masking.b",
        question="How many pairs does a sliding mask with T = 6 and a window of 3 keep?",
        kind="number",
        answer=15,
        explanation="The first row keeps 1, the second 2, and each of the other four keeps 3.",
    ),
    Prediction(
        id="masking.c",
        question="causal(5) is [5, 5], padding([5, 3, 1], 5) is [3, 1, 5]. They are joined with &. What is the shape?",
        kind="shape",
        answer=(3, 5, 5),
        explanation="The axis of size 1 is stretched to 5 queries, and the missing axis in front to 3 sequences.",
    ),
    Prediction(
        id="masking.d",
        question="A row of the mask keeps nothing, so all its scores are minus infinity. What does softmax make of "
        "them?",
        kind="choice",
        choices=("zeros", "equal weights", "not numbers: NaN"),
        answer="c",
        explanation="Each weight is exp(-inf) divided by a sum of such terms, 0 divided by 0.",
    ),
    Prediction(
        id="masking.e",
        question="The memory of a cross-attention is shuffled, and its padding mask is shuffled in the same way. "
        "What happens to the output?",
        kind="choice",
        choices=("it is shuffled in the same way", "it stays the same", "it becomes another one"),
        answer="b",
        explanation="A weighted sum does not depend on the order of its terms. Where a word stood must be written "
        "into the memory.",
    ),
    Prediction(
        id="masking.f",
        question="A boolean mask takes a byte for each pair. How many bytes is [T, T] at T = 131,072, the context of "
        "Llama 3.1?",
        kind="number",
        answer=131_072**2,
        tolerance=0.1,
        explanation="T times T is 17 billion bytes, 16 GiB: about as much as all the weights of its 8B model in bf16.",
    ),
]

QUESTIONS = [
    Question(
        about="attention",
        question="The scores are [B, Tq, Tk]. Over which axis does the softmax of attention run?",
        choices=("over B", "over the queries, Tq", "over the keys, Tk"),
        answer="c",
        explanation="Each query shares its attention among the keys, so each row over Tk sums to 1.",
    ),
    Question(
        about="embedding",
        question="What does attention know of the order of the tokens, with no positions added and no mask?",
        choices=("nothing", "which token is next to which", "all of it"),
        answer="a",
        explanation="Shuffle the input, and the output is shuffled in the same way. That is why positions are "
        "embedded.",
    ),
    Question(
        about="batches",
        question="A block of T = 8 tokens, with its targets. How many next tokens does a GPT learn to predict from it?",
        choices=("1", "7", "8"),
        answer="c",
        explanation="One at each position, each from a context that is one token longer.",
    ),
]
