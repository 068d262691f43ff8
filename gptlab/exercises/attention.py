"""Exercises on attention: averages of the past, queries and keys, softmax, heads, reach."""

import math
import random

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question


def _normal(rng: random.Random, *shape: int, scale: int | float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(rng.randrange(2**31))) * scale


# ---- attention.1 -----------------------------------------------------------------------------------------------------


def average_past(x):
    T = x.shape[1]
    seen = torch.ones(T, T).tril()  # row t: a one for each position that t may see
    weights = seen / seen.sum(dim=-1, keepdim=True)  # [T, T], each row sums to 1
    return weights @ x  # [T, T] @ [B, T, C] -> [B, T, C]


def _past_inputs(rng):
    yield (torch.tensor([[[2.0], [4.0]]]),)
    yield (torch.tensor([[[2.0, 0.0], [0.0, 4.0], [4.0, 2.0]], [[1.0, 1.0], [3.0, 5.0], [2.0, 6.0]]]),)
    for B, T, C in ((2, 4, 3), (3, 5, 2), (2, 6, 4), (4, 3, 5)):
        yield (_normal(rng, B, T, C),)


def _without_itself(x):
    T = x.shape[1]
    seen = torch.ones(T, T).tril(-1)
    return seen / seen.sum(dim=-1, keepdim=True).clamp(min=1) @ x


def _before_t(x):
    return torch.stack([x[:, :t].mean(dim=1) for t in range(x.shape[1])], dim=1)


_PAST = Exercise(
    id="attention.1",
    title="Average the past",
    minutes=10,
    difficulty=1,
    prompt="At each position: the mean of its own vector and all before it. Once with a loop, then try it as one "
    "product with a lower-triangular matrix.\n\nShapes: `x` is a float tensor [B, T, C]. Result: a tensor [B, T, C].",
    signature='def average_past(x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]',
    inputs=_past_inputs,
    solution=average_past,
    reference=lambda x: x.cumsum(dim=1) / torch.arange(1, x.shape[1] + 1)[:, None],
    mistakes=[
        Mistake(
            "the future is included",
            lambda x: x.mean(dim=1, keepdim=True).expand_as(x),
            "Every position gets the mean of all. Position t may use positions 0 to t only.",
        ),
        Mistake(
            "a position leaves itself out",
            _without_itself,
            "The past of position t includes t: its row of the triangle has t + 1 ones.",
        ),
        Mistake(
            "the slice ends before t",
            _before_t,
            "`x[:, :t]` stops before t, and at t = 0 it is empty: the mean of nothing is NaN. Take `x[:, : t + 1]`.",
        ),
        Mistake(
            "it is a sum, not a mean",
            lambda x: x.cumsum(dim=1),
            "Divide each row by the number of positions in it, so that the weights of a row sum to 1.",
        ),
        Mistake(
            "all rows are divided by T",
            lambda x: x.cumsum(dim=1) / x.shape[1],
            "Row t has t + 1 positions, not T. Divide each row by its own sum (`keepdim=True` helps).",
        ),
        Mistake(
            "the average runs over the batch",
            lambda x: x.cumsum(dim=0) / torch.arange(1, x.shape[0] + 1)[:, None, None],
            "Axis 0 is the batch: you mix different texts. Time is axis 1.",
        ),
        Mistake(
            "the triangle is the upper one",
            lambda x: x.flip(1).cumsum(dim=1).flip(1) / torch.arange(x.shape[1], 0, -1)[:, None],
            "Each position averages what comes after it. `tril` keeps what is on and below the diagonal.",
        ),
    ],
    hints=[
        "With a loop: `x[:, : t + 1].mean(dim=1)` is the result at position t.",
        "`torch.ones(T, T).tril()` has a one wherever row t may see column s.",
        "Divide it by `.sum(dim=-1, keepdim=True)`, and multiply: `weights @ x`.",
    ],
)

# ---- attention.2 -----------------------------------------------------------------------------------------------------


def scaled_scores(x, W_q, W_k):
    q = x @ W_q  # [B, T, C] @ [C, hs] -> [B, T, hs]
    k = x @ W_k  # [B, T, hs]
    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # [B, T, hs] @ [B, hs, T] -> [B, T, T]


def _score_inputs(rng):
    yield (
        torch.tensor([[[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]]),
        torch.tensor([[1.0], [3.0]]),
        torch.tensor([[2.0], [1.0]]),
    )
    for B, T, C, hs in ((2, 3, 6, 4), (3, 4, 5, 2), (2, 5, 7, 3), (2, 7, 12, 4)):
        yield _normal(rng, B, T, C), _normal(rng, C, hs), _normal(rng, C, hs)


def _scores(x, W_q, W_k):
    return (x @ W_q) @ (x @ W_k).transpose(-2, -1)


_SCORES = Exercise(
    id="attention.2",
    title="Questions meet labels",
    minutes=10,
    difficulty=1,
    prompt="Make queries and keys of `x`, and give the scaled score of each query with each key: row t, column s is "
    "how well the key at s answers the query at t.\n\nShapes: `x` is a float tensor [B, T, C], `W_q` and `W_k` are "
    "[C, hs]. Result: a tensor [B, T, T].",
    signature='def scaled_scores(x: Float[Tensor, "B T C"], W_q: Float[Tensor, "C hs"], W_k: Float[Tensor, "C hs"]) '
    '-> Float[Tensor, "B T T"]',
    inputs=_score_inputs,
    solution=scaled_scores,
    mistakes=[
        Mistake(
            "scaled by √C instead of √hs",
            lambda x, W_q, W_k: _scores(x, W_q, W_k) / math.sqrt(x.shape[-1]),
            "A score is a sum over the hs numbers of a query, so its variance grows with hs, not with C.",
        ),
        Mistake(
            "not scaled",
            _scores,
            "Divide by √hs, or the scores of long queries are so large that softmax picks a single position.",
        ),
        Mistake(
            "divided by hs, without the root",
            lambda x, W_q, W_k: _scores(x, W_q, W_k) / W_q.shape[1],
            "The variance is hs, so the usual size of a score is its root, √hs.",
        ),
        Mistake(
            "queries and keys are swapped",
            lambda x, W_q, W_k: _scores(x, W_k, W_q) / math.sqrt(W_q.shape[1]),
            "Your matrix is the transpose of the right one: rows ask, columns are asked.",
        ),
        Mistake(
            "the queries meet themselves",
            lambda x, W_q, W_k: _scores(x, W_q, W_q) / math.sqrt(W_q.shape[1]),
            "You used `W_q` twice. What a position looks for and what it offers are two different things.",
        ),
        Mistake(
            "scaled by √T",
            lambda x, W_q, W_k: _scores(x, W_q, W_k) / math.sqrt(x.shape[1]),
            "`shape[1]` is T, the length of the text. The size of a query is the last axis of `q`.",
        ),
    ],
    hints=[
        "`q = x @ W_q` has the shape [B, T, hs], and `k` likewise.",
        "`k.transpose(-2, -1)` is [B, hs, T]; the product of the two is [B, T, T].",
        "`q.shape[-1]` is hs. Divide by `math.sqrt` of it.",
    ],
)

# ---- attention.3 -----------------------------------------------------------------------------------------------------


def causal_weights(scores):
    T = scores.shape[-1]
    keep = torch.ones(T, T, dtype=torch.bool).tril()  # [T, T], True = may attend
    return scores.masked_fill(~keep, -math.inf).softmax(dim=-1)  # each row sums to 1


def _weight_inputs(rng):
    yield (torch.zeros(1, 2, 2),)
    yield (torch.tensor([[[1.0, 2.0, 0.0], [0.0, 1.0, 3.0], [2.0, 0.0, 1.0]]]),)
    for B, T in ((2, 3), (3, 4), (2, 5), (4, 6)):
        yield (_normal(rng, B, T, T, scale=1.5),)


_CAUSAL = Exercise(
    id="attention.3",
    title="From scores to weights",
    minutes=10,
    difficulty=2,
    prompt="Turn scores into weights: nothing on the future, and each row sums to 1.\n\nShapes: `scores` is a float "
    "tensor [B, T, T], rows ask and columns are asked. Result: a tensor [B, T, T].",
    signature='def causal_weights(scores: Float[Tensor, "B T T"]) -> Float[Tensor, "B T T"]',
    inputs=_weight_inputs,
    solution=causal_weights,
    mistakes=[
        Mistake(
            "the mask comes after the softmax",
            lambda scores: scores.softmax(-1).tril(),
            "The rows no longer sum to 1: the future has taken its share first, and so it is felt. Mask the scores.",
        ),
        Mistake(
            "the future gets the score 0",
            lambda scores: scores.tril().softmax(-1),
            "exp(0) is 1, so a score of 0 is a share like any other. No share at all is a score of minus infinity.",
        ),
        Mistake(
            "the future is included",
            lambda scores: scores.softmax(-1),
            "Row t must have zeros in all columns after t.",
        ),
        Mistake(
            "the softmax runs over the queries",
            lambda scores: scores.masked_fill(~torch.ones_like(scores).tril().bool(), -math.inf).softmax(-2),
            "Your columns sum to 1. Each query shares its attention among the keys: softmax over the last dimension.",
        ),
        Mistake(
            "the softmax runs over the batch",
            lambda scores: scores.softmax(0).tril(),
            "Dimension 0 is the batch. Each row of keys must sum to 1: the last dimension.",
        ),
        Mistake(
            "the past is hidden instead of the future",
            lambda scores: scores.masked_fill(~torch.ones_like(scores).triu().bool(), -math.inf).softmax(-1),
            "keep and drop are swapped: `tril` is what a position may see, `triu` begins with itself and goes on.",
        ),
        Mistake(
            "minus infinity is multiplied by 0",
            lambda scores: (scores.tril() - math.inf * torch.ones_like(scores).triu(1)).softmax(-1),
            "Infinity times 0 is NaN, not 0, and one NaN spoils its row. Use `masked_fill` or `torch.where`.",
        ),
        Mistake(
            "what is left is not shared anew, but divided by the sum of the scores",
            lambda scores: scores.tril() / scores.tril().sum(-1, keepdim=True),
            "Scores may be negative, and may sum to nothing. Take exp first; that is what softmax does.",
        ),
    ],
    hints=[
        "A score of minus infinity becomes a weight of exactly 0.",
        "`torch.ones(T, T, dtype=torch.bool).tril()` is True where a row may attend.",
        "`scores.masked_fill(~keep, -math.inf)`, then `.softmax(dim=-1)`.",
    ],
)

# ---- attention.4 -----------------------------------------------------------------------------------------------------


def attend(q, k, v, keep_mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # [B, Tq, Tk]
    weights = scores.masked_fill(~keep_mask, -math.inf).softmax(dim=-1)  # [B, Tq, Tk]
    return weights @ v  # [B, Tq, Tk] @ [B, Tk, hs] -> [B, Tq, hs]


def _attend_inputs(rng):
    yield torch.ones(1, 1, 1), torch.ones(1, 2, 1), torch.tensor([[[3.0], [5.0]]]), torch.ones(1, 2, dtype=torch.bool)
    yield (
        torch.tensor([[[4.0, 0.0]]]),
        torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]]),
        torch.tensor([[[1.0, 2.0], [8.0, 4.0], [2.0, 6.0]]]),
        torch.tensor([[True, True, False]]),
    )
    for B, Tq, Tk, hs in ((2, 3, 5, 4), (3, 5, 4, 2), (2, 4, 6, 3), (2, 3, 7, 5)):
        keep = _normal(rng, Tq, Tk) > 0
        keep[:, 0] = True
        keep[0, 1:] = False
        keep[-1, 1] = True
        yield _normal(rng, B, Tq, hs), _normal(rng, B, Tk, hs), _normal(rng, B, Tk, hs), keep


def _raw(q, k):
    return q @ k.transpose(-2, -1)


def _masked(scores, keep):
    return scores.masked_fill(~keep, -math.inf)


_ATTEND = Exercise(
    id="attention.4",
    title="Attend",
    minutes=15,
    difficulty=2,
    prompt="All of it: scores, scale, mask, softmax, and the weighted average of the values. Every row of the mask "
    "keeps at least one key.\n\nShapes: `q` is a float tensor [B, Tq, hs], `k` and `v` are [B, Tk, hs], `keep_mask` is "
    "boolean, [Tq, Tk], and True means *may attend*. Result: a tensor [B, Tq, hs].",
    signature='def attend(q: Float[Tensor, "B Tq hs"], k: Float[Tensor, "B Tk hs"], v: Float[Tensor, "B Tk hs"], '
    'keep_mask: Bool[Tensor, "Tq Tk"]) -> Float[Tensor, "B Tq hs"]',
    inputs=_attend_inputs,
    solution=attend,
    reference=lambda q, k, v, keep_mask: F.scaled_dot_product_attention(q, k, v, attn_mask=keep_mask),
    mistakes=[
        Mistake(
            "the values are forgotten",
            lambda q, k, v, keep: _masked(_raw(q, k) / math.sqrt(q.shape[-1]), keep).softmax(-1),
            "These are the weights. What a position receives is their product with the values: `weights @ v`.",
        ),
        Mistake(
            "the keys are averaged instead of the values",
            lambda q, k, v, keep: _masked(_raw(q, k) / math.sqrt(q.shape[-1]), keep).softmax(-1) @ k,
            "A key is only the label. What is handed over is the value.",
        ),
        Mistake(
            "keep and drop are swapped",
            lambda q, k, v, keep: _masked(_raw(q, k) / math.sqrt(q.shape[-1]), ~keep).softmax(-1) @ v,
            "`masked_fill` fills where its mask is True. True in `keep_mask` means may attend: fill at `~keep_mask`.",
        ),
        Mistake(
            "the mask is left out",
            lambda q, k, v, keep: (_raw(q, k) / math.sqrt(q.shape[-1])).softmax(-1) @ v,
            "Keys that may not be attended to still have a share. Use `keep_mask` before the softmax.",
        ),
        Mistake(
            "the mask comes after the softmax",
            lambda q, k, v, keep: (_raw(q, k) / math.sqrt(q.shape[-1])).softmax(-1).masked_fill(~keep, 0.0) @ v,
            "Then the weights of a row sum to less than 1. Mask the scores, with minus infinity.",
        ),
        Mistake(
            "the softmax runs over the queries",
            lambda q, k, v, keep: _masked(_raw(q, k) / math.sqrt(q.shape[-1]), keep).softmax(-2).nan_to_num() @ v,
            "For each query the weights over the *keys* must sum to 1: the last dimension.",
        ),
        Mistake(
            "the scores are not scaled",
            lambda q, k, v, keep: _masked(_raw(q, k), keep).softmax(-1) @ v,
            "Divide by √hs before the softmax.",
        ),
    ],
    hints=[
        "Scores [B, Tq, Tk], weights [B, Tq, Tk], result [B, Tq, hs].",
        "`q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])`, then fill with `-math.inf` where `~keep_mask`.",
        "`.softmax(dim=-1) @ v`.",
    ],
    package="gptlab.attention.attend",
)

# ---- attention.5 -----------------------------------------------------------------------------------------------------


def split_heads(x, H):
    B, T, C = x.shape
    return x.view(B, T, H, C // H).transpose(1, 2)  # [B, T, H, hs] -> [B, H, T, hs]


def _split_inputs(rng):
    yield torch.arange(8.0).view(1, 2, 4), 2
    yield torch.arange(24.0).view(1, 4, 6), 3
    for B, T, H, hs in ((2, 3, 4, 5), (3, 5, 2, 4), (2, 4, 3, 2)):
        yield _normal(rng, B, T, H * hs), H


_SPLIT = Exercise(
    id="attention.5",
    title="Cut into heads",
    minutes=10,
    difficulty=2,
    prompt="Cut the C channels of every position into H heads: head 0 gets the first hs = C / H channels, head 1 the "
    "next, and so on.\n\nShapes: `x` is a float tensor [B, T, C], `H` an `int` that divides C. Result: a tensor "
    "[B, H, T, hs].",
    signature='def split_heads(x: Float[Tensor, "B T C"], H: int) -> Float[Tensor, "B H T hs"]',
    inputs=_split_inputs,
    solution=split_heads,
    reference=lambda x, H: torch.stack(x.chunk(H, dim=-1), dim=1),
    mistakes=[
        Mistake(
            "a view straight to [B, H, T, hs]",
            lambda x, H: x.reshape(x.shape[0], H, x.shape[1], -1),
            "The shape is right and the contents are mixed up: head 0 holds all channels of the first few positions. "
            "Cut the last axis first, then swap two axes.",
        ),
        Mistake(
            "heads come after time",
            lambda x, H: x.reshape(*x.shape[:2], H, -1),
            "You have [B, T, H, hs]. Heads must stand before time, so that `@` works within one head.",
        ),
        Mistake(
            "channels are dealt out like cards",
            lambda x, H: x.reshape(*x.shape[:2], -1, H).permute(0, 3, 1, 2),
            "Head 0 got the channels 0, H, 2H … It should get the first hs: cut into [H, hs], not [hs, H].",
        ),
        Mistake(
            "time and channels are swapped",
            lambda x, H: x.reshape(*x.shape[:2], H, -1).permute(0, 2, 3, 1),
            "You have [B, H, hs, T]. Swap axes 1 and 2 only.",
        ),
        Mistake(
            "each head gets all channels",
            lambda x, H: x[:, None].expand(-1, H, -1, -1),
            "Each head works on its own C / H channels.",
        ),
    ],
    hints=[
        "First [B, T, H, hs]: it is the last axis that is cut in two.",
        "`x.view(B, T, H, C // H)` does that.",
        "`.transpose(1, 2)` brings heads before time.",
    ],
    package="gptlab.attention.split_heads",
)

# ---- attention.6 -----------------------------------------------------------------------------------------------------


def merge_heads(x):
    B, H, T, hs = x.shape
    return x.transpose(1, 2).reshape(B, T, H * hs)  # [B, T, H, hs] -> [B, T, C]


def _merge_inputs(rng):
    yield (torch.arange(8.0).view(1, 2, 2, 2),)
    yield (torch.arange(24.0).view(1, 2, 4, 3),)
    for B, H, T, hs in ((2, 3, 4, 5), (3, 2, 5, 4), (2, 4, 3, 2)):
        yield (_normal(rng, B, H, T, hs),)


_MERGE = Exercise(
    id="attention.6",
    title="Lay the heads side by side",
    minutes=5,
    difficulty=1,
    prompt="The way back: what the heads found, side by side again at each position.\n\nShapes: `x` is a float tensor "
    "[B, H, T, hs]. Result: a tensor [B, T, C] with C = H · hs.",
    signature='def merge_heads(x: Float[Tensor, "B H T hs"]) -> Float[Tensor, "B T C"]',
    inputs=_merge_inputs,
    solution=merge_heads,
    reference=lambda x: torch.cat(x.unbind(1), dim=-1),
    mistakes=[
        Mistake(
            "reshaped without swapping the axes back",
            lambda x: x.reshape(x.shape[0], x.shape[2], -1),
            "The first positions now hold pieces of one head at several times. Bring time before heads first.",
        ),
        Mistake(
            "the heads are added",
            lambda x: x.sum(dim=1),
            "The sum has hs channels, and nobody can tell the heads apart any more. Lay them side by side.",
        ),
        Mistake(
            "the heads are averaged",
            lambda x: x.mean(dim=1),
            "The mean has hs channels. Lay the heads side by side, C of them.",
        ),
        Mistake(
            "the channels of the heads alternate",
            lambda x: x.permute(0, 2, 3, 1).flatten(2),
            "Channel 0 of all heads, then channel 1 of all … Each head's channels must stay together.",
        ),
        Mistake(
            "the heads are still an axis",
            lambda x: x.transpose(1, 2).contiguous(),
            "You have [B, T, H, hs]. Flatten the last two axes into one of C.",
        ),
    ],
    hints=[
        "It undoes attention.5, in the opposite order.",
        "First `x.transpose(1, 2)`: [B, T, H, hs].",
        "Then `.reshape(B, T, H * hs)`. (`view` refuses: after a transpose the numbers do not lie in a row.)",
    ],
    package="gptlab.attention.merge_heads",
)

# ---- attention.7 -----------------------------------------------------------------------------------------------------


def multi_head(x, W_q, W_k, W_v, W_o, H):
    B, T, C = x.shape
    q, k, v = (
        (x @ W).view(B, T, H, C // H).transpose(1, 2)  # [B, T, C] -> [B, H, T, hs]
        for W in (W_q, W_k, W_v)
    )
    scores = q @ k.transpose(-2, -1) / math.sqrt(C // H)  # [B, H, T, T]
    keep = torch.ones(T, T, dtype=torch.bool).tril()
    weights = scores.masked_fill(~keep, -math.inf).softmax(dim=-1)  # [B, H, T, T]
    heads = (weights @ v).transpose(1, 2).reshape(B, T, C)  # [B, H, T, hs] -> [B, T, C]
    return heads @ W_o


def _many_inputs(rng):
    yield (torch.tensor([[[1.0, 2.0], [3.0, 5.0], [0.0, 1.0]]]), *(_normal(rng, 2, 2) for _ in range(4)), 2)
    for B, T, H, hs in ((2, 3, 2, 4), (3, 5, 3, 2), (2, 7, 4, 3), (2, 5, 2, 6)):
        C = H * hs
        yield (_normal(rng, B, T, C), *(_normal(rng, C, C, scale=C**-0.5) for _ in range(4)), H)


def _many(x, W_q, W_k, W_v, W_o, H, scale=None, cut=None, causal=True, merge=None, project=True):
    """The whole of it, with one part replaced."""
    cut = cut or split_heads
    q, k, v = (cut(x @ W, H) for W in (W_q, W_k, W_v))
    T = x.shape[1]
    scores = q @ k.transpose(-2, -1) / (scale or math.sqrt(q.shape[-1]))
    if causal:
        scores = scores.masked_fill(~torch.ones(T, T, dtype=torch.bool).tril(), -math.inf)
    heads = (merge or merge_heads)(scores.softmax(-1) @ v)
    return heads @ W_o if project else heads


def _library(x, W_q, W_k, W_v, W_o, H):
    q, k, v = (torch.stack((x @ W).chunk(H, dim=-1), dim=1) for W in (W_q, W_k, W_v))
    heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return torch.cat(heads.unbind(1), dim=-1) @ W_o


def _transpose_of_4d(x, W_q, W_k, W_v, W_o, H):
    q, k, v = (split_heads(x @ W, H) for W in (W_q, W_k, W_v))
    return q @ k.transpose(1, 2) @ v


_MANY = Exercise(
    id="attention.7",
    title="Many heads, all of it",
    minutes=25,
    difficulty=3,
    prompt="Causal attention with H heads, and the output projection `W_o` at the end. Each head scales by the root of "
    "its own size.\n\nShapes: `x` is a float tensor [B, T, C], the four matrices are [C, C], `H` is an `int` that "
    "divides C. Result: a tensor [B, T, C].",
    signature="def multi_head(x, W_q, W_k, W_v, W_o, H)",
    inputs=_many_inputs,
    solution=multi_head,
    reference=_library,
    mistakes=[
        Mistake(
            "scaled by √C instead of √hs",
            lambda *a: _many(*a, scale=math.sqrt(a[0].shape[-1])),
            "Each head adds up only hs = C / H products. Divide by the root of hs.",
        ),
        Mistake(
            "the heads are cut by a view",
            lambda *a: _many(*a, cut=lambda x, H: x.reshape(x.shape[0], H, x.shape[1], -1)),
            "`view(B, H, T, hs)` mixes positions and channels. `view(B, T, H, hs)`, then `transpose(1, 2)`.",
        ),
        Mistake(
            "the heads are not merged back",
            lambda *a: _many(*a, merge=lambda x: x.reshape(x.shape[0], x.shape[2], -1)),
            "Before the reshape to [B, T, C], swap heads and time back: `transpose(1, 2)`.",
        ),
        Mistake(
            "the output projection is left out",
            lambda *a: _many(*a, project=False),
            "The heads lie side by side, and have not been mixed: multiply by `W_o`.",
        ),
        Mistake(
            "the future is included",
            lambda *a: _many(*a, causal=False),
            "No position may look at later ones: mask the scores before the softmax.",
        ),
        Mistake(
            "transpose(1, 2) on four axes",
            _transpose_of_4d,
            "With heads, axes 1 and 2 are heads and time. The last two are meant: `k.transpose(-2, -1)`.",
        ),
        Mistake(
            "one head",
            lambda x, W_q, W_k, W_v, W_o, H: _many(x, W_q, W_k, W_v, W_o, 1),
            "H is not used: all C channels form a single head here.",
        ),
    ],
    hints=[
        "Project, split into heads, attend, merge, project. Exercises 6.4 to 6.6 are its parts.",
        "The mask [T, T] and `@` treat all axes before the last two as a batch, so 6.4 works on [B, H, T, hs] as well.",
        "`scores` is [B, H, T, T], over `math.sqrt(C // H)`; at the end `.transpose(1, 2).reshape(B, T, C) @ W_o`.",
    ],
    package="gptlab.attention.MultiHeadAttention",
)

# ---- attention.8 -----------------------------------------------------------------------------------------------------


def layers_needed(T: int, width: int) -> int:
    return math.ceil((T - 1) / (width - 1))


def _reach_inputs(rng):
    yield from [(2, 2), (4, 4), (5, 4), (13, 4), (7, 3), (8, 3), (100, 4)]
    for _ in range(10):
        yield rng.randrange(2, 2000), rng.randrange(2, 12)


_REACH = Exercise(
    id="attention.8",
    title="How many layers until it hears?",
    minutes=10,
    difficulty=1,
    prompt="A causal convolution of `width` sees the present position and the `width - 1` before it; stacked, each "
    "layer sees further. How many layers must stand on each other before the last of `T` positions hears the first? "
    "(Attention needs one.)\n\nInput: `T` and `width`, each an `int` of at least 2. Result: an `int`.",
    signature="def layers_needed(T: int, width: int) -> int",
    inputs=_reach_inputs,
    solution=layers_needed,
    mistakes=[
        Mistake(
            "each layer is thought to add its whole width",
            lambda T, width: math.ceil(T / width),
            "The present position is counted again in every layer: each layer adds width - 1.",
        ),
        Mistake(
            "rounded down",
            lambda T, width: (T - 1) // (width - 1),
            "A part of a layer is a layer: round up.",
        ),
        Mistake(
            "one layer too many",
            lambda T, width: math.ceil((T - 1) / (width - 1)) + 1,
            "The first layer sees width - 1 places back already.",
        ),
        Mistake(
            "the distance is T",
            lambda T, width: math.ceil(T / (width - 1)),
            "From the last of T positions to the first it is T - 1 steps.",
        ),
        Mistake(
            "the reach doubles with each layer",
            lambda T, width: math.ceil(math.log(T, width) - 1e-9),
            "That is a convolution with growing gaps (dilated). Without gaps each layer adds the same number.",
        ),
    ],
    hints=[
        "Draw width 3: after one layer, which positions reach position 10? And after two?",
        "L layers see L · (width - 1) positions back, and the present one.",
        "The smallest L with L · (width - 1) ≥ T - 1: divide and round up.",
    ],
)

EXERCISES = [_PAST, _SCORES, _CAUSAL, _ATTEND, _SPLIT, _MERGE, _MANY, _REACH]

PREDICTIONS = [
    Prediction(
        id="attention.a",
        question="The averages of the past are a matrix times x. T = 5. What are the last two numbers of the matrix's "
        "third row?",
        kind="choice",
        choices=("1/5 and 1/5", "1/3 and 1/3", "0 and 0", "1/2 and 1/2"),
        answer="c",
        explanation="The third position averages the first three: 1/3, 1/3, 1/3, and nothing of what comes later.",
    ),
    Prediction(
        id="attention.b",
        question="x has B = 2 sequences of T = 7 tokens, and queries and keys have hs = 4 numbers. What is the shape "
        "of q @ k.transpose(-2, -1)?",
        kind="shape",
        answer=(2, 7, 7),
        explanation="[2, 7, 4] @ [2, 4, 7]: the 4 is summed over. Rows ask, columns are asked.",
    ),
    Prediction(
        id="attention.c",
        question="Queries and keys have hs = 64 independent numbers of mean 0 and variance 1. What is the variance of "
        "their dot product?",
        kind="number",
        answer=64.0,
        tolerance=0.05,
        explanation="It is a sum of 64 independent products, each of variance 1, and variances add up.",
    ),
    Prediction(
        id="attention.d",
        question="In a batch of three sequences, one word of the second is changed. Of which sequences does the output "
        "of attention move?",
        kind="choice",
        choices=("of all three", "of the second and the third", "of the second only"),
        answer="c",
        explanation="Scores are made within one sequence. B is only an axis along which the same is done many times.",
    ),
    Prediction(
        id="attention.e",
        question="Four models of equal size learn to tell fables. Which of them can know the animal of somebody who "
        "was introduced forty words before?",
        kind="choice",
        choices=("all that were trained long enough", "the window and attention", "attention only"),
        answer="c",
        explanation="A bigram sees one word, the window and the convolutions thirteen. Training gives them no more.",
    ),
]

QUESTIONS = [
    Question(
        about="embedding",
        question="What does a bigram model know of a text when it predicts the next token?",
        choices=("the last token", "the last two tokens", "all tokens so far"),
        answer="a",
        explanation="It looks up one row of a table: that of the last token.",
    ),
    Question(
        about="batches",
        question="x has the shape [B, T, C]. What is x[1, 3]?",
        choices=("the fourth channel of every token", "the vector of the fourth token of the second sequence",
                 "the second token of the fourth sequence"),
        answer="b",
        explanation="The first axis is the sequence, the second the position; what is left is C numbers.",
    ),
    Question(
        about="batches",
        question="What is the shape of a product `[3, 5, 2] @ [3, 2, 4]`?",
        choices=("[3, 5, 4]", "[5, 4]", "[3, 2, 2]"),
        answer="a",
        explanation="For each of the 3, a [5, 2] matrix times a [2, 4] matrix: the 2 is summed over.",
    ),
]  # fmt: skip
