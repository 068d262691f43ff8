"""Exercises on masking: who may listen to whom, the other conventions, two sources, and a leak."""

import math
import random

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlab import attention, masking
from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question


def _generator(rng: random.Random) -> torch.Generator:
    return torch.Generator().manual_seed(rng.randrange(2**31))


def _normal(rng: random.Random, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=_generator(rng))


def _ones(*shape: int) -> Tensor:
    return torch.ones(*shape, dtype=torch.bool)


# A mask of numbers compares equal to one of True and False, but attention would add it to the scores.
_BOOLEAN = ("is boolean, dtype torch.bool", lambda answer, *rest: rest[-1].dtype == torch.bool)


# ---- masking.1 -------------------------------------------------------------------------------------------------------


def causal_mask(Tq, Tk):
    query = torch.arange(Tk - Tq, Tk)[:, None]  # [Tq, 1]  the places of the queries: the last Tq of Tk
    key = torch.arange(Tk)  # [Tk]
    return key <= query  # [Tq, Tk]


def _causal_inputs(rng):
    yield from [(3, 3), (2, 4), (4, 4), (1, 3), (3, 5)]
    for _ in range(4):
        Tq = rng.randint(2, 6)
        yield Tq, Tq + rng.randint(0, 4)


_CAUSAL = Exercise(
    id="masking.1",
    title="Nobody sees the future",
    minutes=10,
    difficulty=1,
    prompt="Build the mask of a decoder. The Tq queries are the last Tq of Tk positions, and each may attend to "
    "itself and "
    "to all before it. (With Tq = Tk this is the lower triangle. With fewer queries than keys it is the "
    "mask of a model that writes on: the keys of the past are there already.)\n\nInput: `Tq` and `Tk`, two `int` "
    "with Tq ≤ "
    "Tk. Result: a boolean tensor [Tq, Tk], True = may attend.",
    signature='def causal_mask(Tq: int, Tk: int) -> Bool[Tensor, "Tq Tk"]',
    inputs=_causal_inputs,
    solution=causal_mask,
    reference=masking.causal,
    properties=[_BOOLEAN],
    mistakes=[
        Mistake(
            "the past is hidden, not the future",
            lambda Tq, Tk: _ones(Tq, Tk).triu(Tk - Tq),
            "Row t is the query at t. Its keys are those with a smaller or equal place: the lower triangle, `tril`.",
        ),
        Mistake(
            "each position sees one step into the future",
            lambda Tq, Tk: _ones(Tq, Tk).tril(Tk - Tq + 1),
            "The diagonal is off by one. One step is enough to copy the answer: the next token is what is asked for.",
        ),
        Mistake(
            "a position does not see itself",
            lambda Tq, Tk: _ones(Tq, Tk).tril(Tk - Tq - 1),
            "The token at t is known when the one at t + 1 is asked for: the diagonal belongs to it.",
        ),
        Mistake(
            "True means hidden",
            lambda Tq, Tk: ~masking.causal(Tq, Tk),
            "This is the other convention, that of `nn.MultiheadAttention`. Here True means may attend.",
        ),
        Mistake(
            "the queries stand at the beginning of the keys",
            lambda Tq, Tk: _ones(Tq, Tk).tril(),
            "The first query is not the first of all positions: it stands at Tk - Tq, and sees all keys up to there.",
        ),
    ],
    hints=[
        "Write the place of each query, and the place of each key. When may the one see the other?",
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


_PADDING = Exercise(
    id="masking.2",
    title="Nobody listens to padding",
    minutes=10,
    difficulty=1,
    prompt="The sequences of a batch have different lengths, and the shorter ones are filled up on the right. Hide "
    "what was "
    "filled in from all queries, in a shape that joins with a [T, T] mask by `&`.\n\nShapes: `lengths` is an integer "
    "tensor [B], `T` an `int`. Result: a boolean tensor [B, 1, T], True = may attend.",
    signature='def padding_mask(lengths: Int[Tensor, " B"], T: int) -> Bool[Tensor, "B 1 T"]',
    inputs=_length_inputs,
    solution=padding_mask,
    reference=masking.padding,
    properties=[_BOOLEAN],
    mistakes=[
        Mistake(
            "the rows are hidden, not the columns",
            lambda lengths, T: (torch.arange(T) < lengths[:, None])[:, :, None],
            "[B, T, 1] silences the queries that are padding, and everybody still listens to them. Keys are the last "
            "axis.",
        ),
        Mistake(
            "the axis of the queries is missing",
            lambda lengths, T: torch.arange(T) < lengths[:, None],
            "[B, T] & [T, T] takes B for the number of queries, and fails, or is wrong without a word if B = T. Put "
            "a 1 between.",
        ),
        Mistake(
            "the first token of the padding is heard",
            lambda lengths, T: (torch.arange(T) <= lengths[:, None])[:, None, :],
            "A sequence of length 2 has the positions 0 and 1: `<`, not `<=`.",
        ),
        Mistake(
            "True means padding",
            lambda lengths, T: (torch.arange(T) >= lengths[:, None])[:, None, :],
            "This is the other convention, `key_padding_mask` of `nn.MultiheadAttention`. Here True means may attend.",
        ),
        Mistake(
            "the padding is taken to be on the left",
            lambda lengths, T: (torch.arange(T) >= T - lengths[:, None])[:, None, :],
            "Here the text comes first and the padding after it. (On the left is right too, if everybody agrees.)",
        ),
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
    for B, Tq, Tk in ((2, 3, 4), (3, 2, 5), (2, 4, 3)):
        keep = _normal(rng, B, Tq, Tk) > -0.3
        keep[..., 0] = True
        keep[:, 0, -1] = False
        yield _normal(rng, B, Tq, Tk) * 2, keep
    for B, Tq, Tk in ((2, 3, 5), (3, 4, 2)):
        keep = _normal(rng, B, Tq, Tk) > 0
        keep[0, 1] = False
        yield _normal(rng, B, Tq, Tk) - 2, keep


def _filled(value, dim=-1):
    return lambda scores, keep_mask: scores.masked_fill(~keep_mask, value).softmax(dim)


_WEIGHTS = Exercise(
    id="masking.3",
    title="Softmax behind a mask",
    minutes=15,
    difficulty=2,
    prompt="From scores to weights, with a mask. What may not be attended to gets a weight of exactly 0, and each "
    "row sums "
    "to 1. A row that may attend to nothing is all zeros.\n\nShapes: `scores` is a float tensor [B, Tq, Tk], already "
    "scaled; `keep_mask` is a boolean tensor [B, Tq, Tk], True = may attend. Result: a float tensor [B, Tq, Tk].",
    signature='def masked_weights(scores: Float[Tensor, "B Tq Tk"], keep_mask: Bool[Tensor, "B Tq Tk"]) '
    '-> Float[Tensor, "B Tq Tk"]',
    inputs=_score_inputs,
    solution=masked_weights,
    mistakes=[
        Mistake(
            "a row with nothing to attend to is NaN",
            _filled(-math.inf),
            "Softmax of nothing but minus infinity divides 0 by 0. Set such rows to 0, without passing through NaN.",
        ),
        Mistake(
            "a row with nothing to attend to listens to all",
            _filled(-1e9),
            "If all scores are equally low, softmax gives them equal weights: an average of what may not be seen. "
            "Set the "
            "weights to 0 once more, after the softmax.",
        ),
        Mistake(
            "the mask comes after the softmax",
            lambda scores, keep_mask: scores.softmax(-1).masked_fill(~keep_mask, 0.0),
            "The rows no longer sum to 1, and what is left still depends on the hidden scores, which stood in the "
            "sum below "
            "the fraction. Mask the scores, before the softmax.",
        ),
        Mistake(
            "hidden scores become 0",
            _filled(0.0),
            "A score of 0 is a weight of exp(0) = 1 before the division. Only minus infinity, or a number far below "
            "all, is "
            "a weight of 0.",
        ),
        Mistake(
            "the kept keys are hidden",
            lambda scores, keep_mask: (
                scores.masked_fill(keep_mask, torch.finfo(scores.dtype).min).softmax(-1).masked_fill(keep_mask, 0.0)
            ),
            "True means may attend: fill where the mask is False, `~keep_mask`.",
        ),
        Mistake(
            "the softmax runs over the queries",
            lambda scores, keep_mask: (
                scores.masked_fill(~keep_mask, torch.finfo(scores.dtype).min).softmax(-2).masked_fill(~keep_mask, 0.0)
            ),
            "Each query shares its attention among the keys, and keys are the last axis: `dim=-1`.",
        ),
    ],
    hints=[
        "Hidden scores must become so low that exp of them is 0. Before the softmax, not after.",
        "`scores.masked_fill(~keep_mask, torch.finfo(scores.dtype).min)` and then `softmax(dim=-1)`.",
        "One `masked_fill(~keep_mask, 0.0)` more, on the weights, for the rows in which all scores were that low.",
    ],
    package="gptlab.attention.attention_weights",
)

# ---- masking.4 -------------------------------------------------------------------------------------------------------


def without_padding(targets, lengths):
    is_padding = torch.arange(targets.shape[1]) >= lengths[:, None]  # [B, T]
    return targets.masked_fill(is_padding, -100)


def _target_inputs(rng):
    yield torch.tensor([[4, 0, 0], [5, 6, 7]]), torch.tensor([1, 3])
    yield torch.tensor([[0, 3, 0, 0]]), torch.tensor([3])
    for B, T in ((2, 5), (3, 4), (4, 6)):
        lengths = torch.randint(1, T + 1, (B,), generator=_generator(rng))
        lengths[0] = T - 2
        targets = torch.randint(0, 4, (B, T), generator=_generator(rng))
        yield targets.masked_fill(torch.arange(T) >= lengths[:, None], 0), lengths


def _in_place(targets, lengths):
    targets[torch.arange(targets.shape[1]) >= lengths[:, None]] = -100
    return targets


_TARGETS = Exercise(
    id="masking.4",
    title="No loss for padding",
    minutes=5,
    difficulty=1,
    prompt="A mask keeps the others from listening to padding. What the padding itself says must not count either: "
    "write -100, "
    "which `F.cross_entropy` ignores, over the targets of padding. The id that fills the sequences up, 0, is also the "
    "id of a real token, so go by the lengths.\n\nShapes: `targets` is an integer tensor [B, T], `lengths` an integer "
    "tensor [B]. Result: a new integer tensor [B, T].",
    signature='def without_padding(targets: Int[Tensor, "B T"], lengths: Int[Tensor, " B"]) -> Int[Tensor, "B T"]',
    inputs=_target_inputs,
    solution=without_padding,
    mistakes=[
        Mistake(
            "every token with the padding's id is left out",
            lambda targets, lengths: targets.masked_fill(targets == 0, -100),
            "A real token has the id 0 as well, and the model would never learn to say it. Where padding begins is "
            "in `lengths`.",
        ),
        Mistake(
            "the first padding is still learned",
            lambda targets, lengths: targets.masked_fill(torch.arange(targets.shape[1]) > lengths[:, None], -100),
            "A sequence of length 2 has the positions 0 and 1, and padding begins at 2: `>=`.",
        ),
        Mistake(
            "the last real token is left out",
            lambda targets, lengths: targets.masked_fill(torch.arange(targets.shape[1]) >= lengths[:, None] - 1, -100),
            "Position length - 1 is real: often it is the end token, and a model that never learns it never stops.",
        ),
        Mistake(
            "the text is ignored, and the padding learned",
            lambda targets, lengths: targets.masked_fill(torch.arange(targets.shape[1]) < lengths[:, None], -100),
            "The other way round: `masked_fill` writes where its mask is True, which should be the padding.",
        ),
        Mistake(
            "the targets that were given are changed",
            _in_place,
            "Whoever called still needs theirs. `masked_fill` gives a new tensor.",
        ),
    ],
    hints=[
        "Which positions are padding? Those whose place is not below the length.",
        "`torch.arange(targets.shape[1]) >= lengths[:, None]` is [B, T].",
        "`targets.masked_fill(is_padding, -100)`",
    ],
)

# ---- masking.5 -------------------------------------------------------------------------------------------------------


def sliding_mask(T, window):
    distance = torch.arange(T)[:, None] - torch.arange(T)  # [T, T]  how far back the key stands
    return (distance >= 0) & (distance < window)


def _window_inputs(rng):
    yield from [(4, 2), (5, 3), (6, 2), (5, 1), (4, 4)]
    for T in (6, 7, 8):
        yield T, rng.randint(2, T - 2)


_SLIDING = Exercise(
    id="masking.5",
    title="A window that slides",
    minutes=10,
    difficulty=2,
    prompt="Each position may attend to the last `window` positions, itself included, and to nothing after it. Near "
    "the "
    "beginning there are fewer.\n\nInput: `T` and `window`, two `int`. Result: a boolean tensor [T, T], True = may "
    "attend.",
    signature='def sliding_mask(T: int, window: int) -> Bool[Tensor, "T T"]',
    inputs=_window_inputs,
    solution=sliding_mask,
    reference=masking.sliding,
    properties=[_BOOLEAN],
    mistakes=[
        Mistake(
            "the window is one too wide",
            lambda T, window: masking.sliding(T, window + 1),
            "The position itself is one of them: `window - 1` before it, distances 0 to window - 1.",
        ),
        Mistake(
            "the window opens to both sides",
            lambda T, window: (torch.arange(T)[:, None] - torch.arange(T)).abs() < window,
            "The distance must not be negative either: what comes later is the future.",
        ),
        Mistake(
            "all see the same last positions",
            lambda T, window: masking.causal(T) & (torch.arange(T) >= T - window),
            "This window stands still at the end of the sequence. It should end at each query: count from the query.",
        ),
        Mistake(
            "the past is hidden, not the future",
            lambda T, window: masking.sliding(T, window).T,
            "Rows are queries and columns are keys: distance = place of the query minus place of the key.",
        ),
        Mistake(
            "the position does not see itself",
            lambda T, window: masking.sliding(T, window) & ~torch.eye(T, dtype=torch.bool),
            "The distance 0 counts: the token at t is known when the next one is asked for.",
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
    yield torch.tensor([[5, 9, 6, 7, 9]]), 9
    yield torch.tensor([[1, 0, 2, 3, 0, 4], [1, 2, 3, 0, 4, 5]]), 0
    yield torch.tensor([[1, 2, 3], [0, 2, 3]]), 0
    for B, T in ((2, 6), (3, 7), (2, 8)):
        ids = torch.randint(1, 8, (B, T), generator=_generator(rng))
        ids[0, 1] = ids[1, 3] = ids[0, 4] = 0
        yield ids, 0


def _documents_of(number):
    def wrong(ids, end):
        return masking.documents(number(ids == end)) & masking.causal(ids.shape[1])

    return wrong


_PACKED = Exercise(
    id="masking.6",
    title="Several documents in one sequence",
    minutes=20,
    difficulty=3,
    prompt="So as not to waste positions, several documents stand one after the other in a sequence, and each ends "
    "with the token "
    "`end`, which belongs to the document that it ends. Build the mask of a decoder in which no document sees "
    "another.\n\n"
    "Shapes: `ids` is an integer tensor [B, T], `end` an `int`. Result: a boolean tensor [B, T, T], True = may attend.",
    signature='def packed_mask(ids: Int[Tensor, "B T"], end: int) -> Bool[Tensor, "B T T"]',
    inputs=_packed_inputs,
    solution=packed_mask,
    reference=packed_mask,
    properties=[_BOOLEAN],
    mistakes=[
        Mistake(
            "the end token belongs to the next document",
            _documents_of(lambda is_end: is_end.cumsum(1)),
            "`cumsum` counts the end token itself. Subtract it: how many documents ended before this token?",
        ),
        Mistake(
            "the documents do not see each other, but see their own future",
            lambda ids, end: masking.documents((ids == end).cumsum(1) - (ids == end).long()),
            "It is still a decoder: join it with the causal mask.",
        ),
        Mistake(
            "documents are not kept apart",
            lambda ids, end: masking.causal(ids.shape[1]).expand(*ids.shape, ids.shape[1]),
            "This is the causal mask alone. Number the documents, and compare the numbers.",
        ),
        Mistake(
            "documents are counted along the batch",
            _documents_of(lambda is_end: is_end.cumsum(0) - is_end.long()),
            "Count along the time, `dim=1`. The sequences of a batch know nothing of each other.",
        ),
        Mistake(
            "only the end tokens are hidden",
            lambda ids, end: masking.causal(ids.shape[1]) & (ids != end)[:, None, :],
            "Hiding the border does not hide what stands behind it. Positions of equal document numbers see each "
            "other.",
        ),
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


def _keep_causal(lengths, T):
    return masking.causal(T), torch.arange(T) >= lengths[:, None]


_LIBRARY = Exercise(
    id="masking.7",
    title="The other convention",
    minutes=10,
    difficulty=2,
    prompt="Prepare the two masks of a decoder on padded sequences for `nn.MultiheadAttention`, which takes them "
    "apart: "
    "`attn_mask` [T, T] and `key_padding_mask` [B, T]. For this class True means: drop this key.\n\nShapes: "
    "`lengths` is an "
    "integer tensor [B], `T` an `int`. Result: a tuple of two boolean tensors, [T, T] and [B, T].",
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
            lambda lengths, T: (masking.causal(T), masking.padding(lengths, T)[:, 0]),
            "These are keep-masks. `nn.MultiheadAttention` wants the opposite: invert both with `~`.",
        ),
        Mistake(
            "the causal one is the wrong way round",
            _keep_causal,
            "The padding is right. The causal mask keeps the past here and must drop the future: `~`, or "
            "`triu(diagonal=1)`.",
        ),
        Mistake(
            "the one for padding is the wrong way round",
            lambda lengths, T: (~masking.causal(T), masking.padding(lengths, T)[:, 0]),
            "The causal mask is right. In `key_padding_mask` True stands where the padding is.",
        ),
        Mistake(
            "a position does not see itself",
            lambda lengths, T: (_ones(T, T).triu(), torch.arange(T) >= lengths[:, None]),
            "`triu()` begins at the diagonal and drops it too; the first row would have nothing to attend to. "
            "`diagonal=1`.",
        ),
        Mistake(
            "the padding has an axis too many",
            lambda lengths, T: (~masking.causal(T), ~masking.padding(lengths, T)),
            "This class adds the axis of the queries itself: it wants [B, T], not [B, 1, T].",
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
    q = x @ W_q  # [B, Tq, hs]  the target asks
    k, v = memory @ W_k, memory @ W_v  # [B, Tk, hs]  the memory answers
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # [B, Tq, Tk]
    return scores.masked_fill(~keep_mask, -math.inf).softmax(dim=-1) @ v  # [B, Tq, hs]


def _cross_inputs(rng):
    for B, Tq, Tk, C, hs in ((1, 2, 3, 4, 5), (2, 3, 5, 4, 6), (3, 4, 2, 5, 3), (2, 5, 7, 6, 4), (4, 3, 6, 7, 2)):
        lengths = torch.randint(1, Tk + 1, (B,), generator=_generator(rng))
        lengths[0] = Tk - 1
        weights = (_normal(rng, C, hs) for _ in range(3))
        yield _normal(rng, B, Tq, C), _normal(rng, B, Tk, C), *weights, masking.padding(lengths, Tk)


def _cross(asks="x", answers="memory", hands="memory", causal=False, masked=True, size=None):
    def wrong(x, memory, W_q, W_k, W_v, keep_mask):
        source = {"x": x, "memory": memory}
        q, k, v = source[asks] @ W_q, source[answers] @ W_k, source[hands] @ W_v
        scores = q @ k.transpose(-2, -1) / (math.sqrt(q.shape[-1]) if size is None else size(x))
        if masked:
            keep_mask = keep_mask & _ones(*scores.shape[1:]).tril() if causal else keep_mask
            scores = scores.masked_fill(~keep_mask, -math.inf)
        return scores.softmax(-1) @ v

    return wrong


_CROSS = Exercise(
    id="masking.8",
    title="Two sources",
    minutes=15,
    difficulty=2,
    prompt="One head of cross-attention. The target `x` asks, and the memory answers: keys and values come from it. "
    "Each "
    "query may attend to the whole memory except its padding; the mask says where that is.\n\nShapes: `x` is a float "
    "tensor "
    "[B, Tq, C], `memory` is [B, Tk, C], each of `W_q`, `W_k`, `W_v` is [C, hs], and `keep_mask` is a boolean tensor "
    "[B, 1, "
    "Tk]. Result: a float tensor [B, Tq, hs].",
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
            "the memory asks, and the target answers",
            _cross("memory", "x", "x", masked=False),
            "The result has a row for each token of the memory. Whoever reads asks: the query comes from `x`.",
        ),
        Mistake(
            "keys and values come from the target",
            _cross("x", "x", "x", masked=False),
            "This is self-attention, and the memory is never read. Take k and v from `memory`.",
        ),
        Mistake(
            "padding of the memory is heard",
            _cross(masked=False),
            "The mask is not used. Tokens that were filled in would take part of the attention.",
        ),
        Mistake(
            "the kept keys are hidden",
            lambda x, memory, W_q, W_k, W_v, keep_mask: _cross()(x, memory, W_q, W_k, W_v, ~keep_mask),
            "True means may attend: fill where the mask is False, `~keep_mask`. As it is, only padding is heard.",
        ),
        Mistake(
            "the memory is masked as if it were the future",
            _cross(causal=True),
            "The memory is complete before the first word is written: every query may see all of it. No causal mask "
            "here.",
        ),
        Mistake(
            "the scores are divided by the root of C",
            _cross(size=lambda x: math.sqrt(x.shape[-1])),
            "The dot products run over hs numbers: divide by the root of hs, `q.shape[-1]`.",
        ),
        Mistake(
            "the scores are not divided",
            _cross(size=lambda x: 1.0),
            "Scores are sums of hs products: divide by the root of hs before the softmax.",
        ),
        Mistake(
            "keys and values have changed places",
            lambda x, memory, W_q, W_k, W_v, keep_mask: attention.attend(
                x @ W_q, memory @ W_v, memory @ W_k, keep_mask
            ),
            "W_k makes the labels that are compared with the query, W_v what is handed over.",
        ),
    ],
    hints=[
        "It is attention as you know it. Only the source of keys and values is another one.",
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
        moved = (model(changed) != before)[:, :t].flatten(2).any(dim=2).any(dim=0)  # [t]
        if moved.any():
            return t, int(moved.nonzero()[0])
    return None


def _toy(table, ahead, receiver):
    """A model that sums up the past; position `receiver` also gets something from `ahead` positions later."""

    def model(ids):
        x = table[ids]  # [B, T, C]
        out = x.cumsum(dim=1)
        if receiver is not None:
            out[-1, receiver] += x[-1, receiver + ahead]
        return out

    return model


def _model_inputs(rng):
    for B, T, ahead, receiver in (
        (2, 5, 1, None), (3, 6, 1, 2), (2, 7, 3, 1), (2, 5, 4, 0), (3, 8, 2, 4), (2, 6, 2, 0), (2, 7, 1, 5),
    ):  # fmt: skip
        V = 9
        table = torch.randint(1, 2**20, (V, 3), generator=_generator(rng)).double()
        ids = torch.randint(0, V, (B, T), generator=_generator(rng))
        ids[:, T - 1] = V - 1
        yield _toy(table, ahead, receiver), ids, V


def _search(changed_places, keep, vary=lambda ids, V: (ids + 1) % V, batch=slice(None)):
    def wrong(model, ids, V):
        before = model(ids)
        for t in changed_places(ids.shape[1]):
            changed = ids.clone()
            changed[:, t] = vary(changed[:, t], V)
            moved = (model(changed) != before)[batch, keep(t)].flatten(2).any(dim=2).any(dim=0)
            if moved.any():
                return t, int(moved.nonzero()[0])
        return None

    return wrong


def _pile_up(model, ids, V):
    before = model(ids)
    for t in range(1, ids.shape[1]):
        ids[:, t] = (ids[:, t] + 1) % V
        moved = (model(ids) != before)[:, :t].flatten(2).any(dim=2).any(dim=0)
        if moved.any():
            return t, int(moved.nonzero()[0])
    return None


_LEAK = Exercise(
    id="masking.9",
    title="A detector of leaks",
    minutes=30,
    difficulty=3,
    prompt="Write the test that every language model should pass. Change the tokens of one position at a time, from "
    "position 1 "
    "on (id + 1, and 0 after V - 1), and look whether an output before it moved, in any sequence of the "
    "batch.\n\nInput: `model`, a "
    "function from ids [B, T] to outputs [B, T, C]; `ids`, an integer tensor [B, T]; `V`, an `int`, the size of the "
    "vocabulary. "
    "Result: a tuple of two `int`, the first position whose change moves something earlier, and the first position "
    "that moves; or None if nothing does.",
    signature='def first_leak(model, ids: Int[Tensor, "B T"], V: int) -> tuple[int, int] | None',
    inputs=_model_inputs,
    solution=first_leak,
    mistakes=[
        Mistake(
            "the position itself is looked at",
            _search(lambda T: range(1, T), lambda t: slice(0, t + 1)),
            "The output at t may change with the token at t, and should. Look at positions before t: `[:, :t]`.",
        ),
        Mistake(
            "only the last token is changed",
            _search(lambda T: [T - 1], lambda t: slice(0, t)),
            "A leak of one step between two positions in the middle stays unseen. Change each position in turn.",
        ),
        Mistake(
            "only the first sequence is looked at",
            _search(lambda T: range(1, T), lambda t: slice(0, t), batch=slice(0, 1)),
            "You look at the first sequence only. A leak in another one of the batch is a leak too.",
        ),
        Mistake(
            "only a leak of one step is found",
            lambda model, ids, V: next(
                (
                    (t, t - 1)
                    for t in range(1, ids.shape[1])
                    if (model(torch.cat([ids[:, :t], (ids[:, t : t + 1] + 1) % V, ids[:, t + 1 :]], 1)) != model(ids))[
                        :, t - 1
                    ].any()
                ),
                None,
            ),
            "You compare position t - 1 only. The future can leak further: compare all positions before t.",
        ),
        Mistake(
            "a changed id leaves the vocabulary",
            _search(lambda T: range(1, T), lambda t: slice(0, t), vary=lambda ids, V: ids + 1),
            "V - 1 plus 1 is V, and no table has a row V. `% V` leads back to 0.",
        ),
        Mistake(
            "the changes pile up",
            _pile_up,
            "You write into the ids that were given, so the next round starts from changed ones, and a position seems "
            "to move that moved before. Begin each round with a copy: `ids.clone()`.",
        ),
    ],
    hints=[
        "Run the model twice: on the ids, and on a copy in which one position was changed.",
        "`(model(changed) != before)[:, :t]` is [B, t, C]; `any` over B and C leaves [t].",
        "The first True of the [t] is `int(moved.nonzero()[0])`; return it with t, and None after the loop.",
    ],
    package="gptlab.masking.assert_causal",
)

EXERCISES = [_CAUSAL, _PADDING, _WEIGHTS, _TARGETS, _SLIDING, _PACKED, _LIBRARY, _CROSS, _LEAK]

PREDICTIONS = [
    Prediction(
        id="masking.a",
        question="A small model may look at every token, also at those that come after. It is trained to name the "
        "next token. What "
        "does its loss do?",
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
        explanation="The 1 is stretched to 5 queries, and the missing axis in front to 3 sequences.",
    ),
    Prediction(
        id="masking.d",
        question="A row of the mask keeps nothing. The scores there are all minus infinity. What does softmax make "
        "of them?",
        kind="choice",
        choices=("zeros", "equal weights", "no numbers: NaN"),
        answer="c",
        explanation="Each weight is exp(-inf) divided by a sum of such, 0 divided by 0.",
    ),
    Prediction(
        id="masking.e",
        question="The memory of a cross-attention is shuffled, and its padding mask is shuffled in the same way. "
        "What does the output do?",
        kind="choice",
        choices=("it is shuffled in the same way", "it stays the same", "it is another one"),
        answer="b",
        explanation="A weighted sum does not care about the order of its terms. Where a word stood must be written "
        "into the memory.",
    ),
    Prediction(
        id="masking.f",
        question="A boolean mask takes a byte for each pair. How many bytes is [T, T] at T = 131,072, the context of "
        "Llama 3.1?",
        kind="number",
        answer=131_072**2,
        tolerance=0.1,
        explanation="T times T is 17 thousand million: 17 GB, about as much as all weights of its 8B model in bf16.",
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
        question="What does attention know of the order of the tokens, if no positions are added?",
        choices=("nothing", "which token is next to which", "all of it"),
        answer="a",
        explanation="Shuffle the input, and the output is shuffled in the same way. That is why positions are "
        "embedded.",
    ),
    Question(
        about="batches",
        question="A block of T = 8 tokens, with its targets. How many next tokens does a GPT learn to name from it?",
        choices=("1", "7", "8"),
        answer="c",
        explanation="One at each position, each from a context that is one token longer.",
    ),
]
