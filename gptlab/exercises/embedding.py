"""Exercises on embeddings: rows of a table, positions, nearest neighbours, and the bigram's best loss."""

import itertools
import math
import random
from collections import Counter

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlab import embedding
from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question


def _generator(rng: random.Random) -> torch.Generator:
    return torch.Generator().manual_seed(rng.randrange(2**31))


def _normal(rng: random.Random, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=_generator(rng))


def _integers(rng: random.Random, below: int, *shape: int) -> Tensor:
    return torch.randint(below, shape, generator=_generator(rng))


_SIZES = ((2, 3, 7, 4), (3, 5, 8, 2), (4, 2, 9, 3), (2, 5, 6, 8), (5, 3, 11, 4))  # B, T, V, C

# ---- embedding.1 -----------------------------------------------------------------------------------------------------


def embed(ids, table):
    return table[ids]  # [B, T, C]


def _embed_inputs(rng):
    table = torch.arange(12.0).reshape(6, 2)
    yield torch.tensor([[1, 0, 1]]), table
    yield torch.tensor([[4, 1, 2]]), table
    yield torch.tensor([[3], [5]]), table
    yield torch.tensor([[0, 5, 5], [2, 0, 3]]), table
    for B, T, V, C in _SIZES:
        yield _integers(rng, V, B, T), _normal(rng, V, C)


_EMBED = Exercise(
    id="embedding.1",
    title="Look up the rows",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="Replace each id by its row of the table.\n\nShapes: `ids` is an integer tensor [B, T], `table` a float "
    "tensor [V, C] (float32). Result: a float tensor [B, T, C].",
    signature='def embed(ids: Int[Tensor, "B T"], table: Float[Tensor, "V C"]) -> Float[Tensor, "B T C"]',
    inputs=_embed_inputs,
    solution=embed,
    reference=lambda ids, table: F.one_hot(ids, len(table)).to(table.dtype) @ table,
    mistakes=[
        Mistake(
            "columns are looked up, not rows",
            lambda ids, table: table[:, ids],
            "`table[:, ids]` takes the columns with these numbers. An id is the number of a row: `table[ids]`.",
        ),
        Mistake(
            "the ids are counted from 1",
            lambda ids, table: table[ids - 1],
            "Id 0 is row 0. With `ids - 1` the id 0 becomes -1, and PyTorch takes the last row without an error.",
        ),
        Mistake(
            "the axis of the channels comes before the axis of time",
            lambda ids, table: table[ids].transpose(1, 2),
            "[B, C, T] is the order of pictures and of convolutions. In this course the channels come last.",
        ),
        Mistake(
            "the batch has been flattened",
            lambda ids, table: table[ids.flatten()],
            "The rows are right, but they are one list of B·T. Without `flatten` the result has axes B and T.",
        ),
        Mistake(
            "the rows of a sequence are added up",
            lambda ids, table: table[ids].sum(dim=1),
            "This is a bag of tokens: one vector for each sequence. Keep a row for each position.",
        ),
        Mistake(
            "columns are looked up, in the transposed table",
            lambda ids, table: table.T[ids],
            "The rows of `table.T` are the columns of the table. An id is the number of a row: `table[ids]`.",
        ),
        Mistake(
            "the ids are one too large",
            lambda ids, table: table[ids + 1],
            "Id 0 is row 0: look up the ids as they are.",
        ),
        Mistake(
            "the rows of a sequence are averaged",
            lambda ids, table: table[ids].mean(dim=1),
            "This is one vector for each sequence. Keep a row for each position.",
        ),
        Mistake(
            "the axis of time comes before the batch",
            lambda ids, table: table[ids].transpose(0, 1),
            "[T, B, C] is the order of old recurrent networks. In this course the batch comes first.",
        ),
        Mistake(
            "time and channels are one axis",
            lambda ids, table: table[ids].flatten(1),
            "[B, T·C] has lost where one row ends and the next begins. The result has three axes.",
        ),
        Mistake(
            "axes of size 1 are gone",
            lambda ids, table: table[ids].squeeze(),
            "`squeeze` removes every axis of size 1, also a batch of one sequence. Leave all three axes.",
        ),
        Mistake(
            "only the first sequence is looked up",
            lambda ids, table: table[ids[0]],
            "The tensor of all ids can stand in the brackets: `table[ids]`.",
        ),
        Mistake(
            "the one-hot tensor holds integers",
            lambda ids, table: F.one_hot(ids, len(table)) @ table,
            "A matrix product wants one dtype on both sides: `.float()` before `@`. Or look the rows up: `table[ids]`.",
        ),
        Mistake(
            "the sequences stay a list",
            lambda ids, table: [table[row] for row in ids],
            "A list of B tensors isn't a tensor. `torch.stack` makes one of it; or put all ids in the brackets at "
            "once.",
        ),
        Mistake(
            "a new table is made",
            lambda ids, table: torch.nn.Embedding(*table.shape)(ids),
            "`nn.Embedding(V, C)` begins with random rows of its own. Use the table that you are given.",
        ),
        Mistake(
            "the ids are multiplied with the table",
            lambda ids, table: ids @ table,
            "An id is a name, not an amount. Look up its row: `table[ids]`.",
        ),
    ],
    hints=[
        "A tensor in the brackets of a tensor picks a row for each of its numbers.",
        "The shape of the result is the shape of what stands in the brackets, and then C.",
        "`table[ids]`",
    ],
)

# ---- embedding.2 -----------------------------------------------------------------------------------------------------


def one_hot(ids, V):
    return (ids[..., None] == torch.arange(V)).float()  # [B, T, V]


def _one_hot_inputs(rng):
    yield torch.tensor([[1, 0, 1]]), 2
    yield torch.tensor([[2, 0, 2]]), 4
    yield torch.tensor([[3], [0]]), 4
    yield torch.tensor([[1, 1], [3, 0], [2, 2]]), 5
    for B, T, V, _ in _SIZES:
        yield _integers(rng, V, B, T), V


def _written(ids, V, by):
    """A one-hot tensor whose 1 is `by` positions further on."""
    return F.one_hot((ids + by) % V, V).float()


def _rows_of_ones(ids, V):
    result = torch.zeros(*ids.shape, V)
    result[ids] = 1.0
    return result


def _all_at_once(ids, V):
    result = torch.zeros(*ids.shape, V)
    result[:, :, ids] = 1.0
    return result


_ONE_HOT = Exercise(
    id="embedding.2",
    title="The same as a product",
    kind="warm-up",
    minutes=10,
    difficulty=2,
    prompt="Write each id as V numbers: 1.0 at the position with the number of the id, 0.0 everywhere else. Multiplied "
    "with the table, this gives the rows that a look-up gives. (`F.one_hot` would do half of it; try without.)\n\n"
    "Shapes: `ids` is an integer tensor [B, T], `V` an `int`. Result: a float tensor [B, T, V] (float32).",
    signature='def one_hot(ids: Int[Tensor, "B T"], V: int) -> Float[Tensor, "B T V"]',
    inputs=_one_hot_inputs,
    solution=one_hot,
    reference=lambda ids, V: F.one_hot(ids, V).float(),
    properties=[
        (
            "with any table, the product is the look-up",
            lambda answer, ids, V, result: torch.equal(result @ torch.eye(V)[:, :3], torch.eye(V)[:, :3][ids]),
        ),
    ],
    mistakes=[
        Mistake(
            "the numbers are not floats",
            lambda ids, V: F.one_hot(ids, V),
            "A matrix product wants one dtype on both sides, and the table holds floats. Put `.float()` at the end.",
        ),
        Mistake(
            "the 1 is one position too far right",
            lambda ids, V: _written(ids, V, 1),
            "Positions are counted from 0: id 0 has its 1 at position 0.",
        ),
        Mistake(
            "a sequence has one vector, with all its tokens in it",
            lambda ids, V: F.one_hot(ids, V).float().sum(dim=1),
            "That counts how often each token occurs, and forgets where. Each position has V numbers of its own.",
        ),
        Mistake(
            "the vocabulary comes before time",
            lambda ids, V: F.one_hot(ids, V).float().transpose(1, 2),
            "[B, V, T] @ [V, C] does not fit. The axis that is summed over comes last: [B, T, V].",
        ),
        Mistake(
            "the position holds the id, not 1",
            lambda ids, V: F.one_hot(ids, V) * ids[..., None].float(),
            "The row would be multiplied by its number. An id is a name, not an amount: write 1.0.",
        ),
        Mistake(
            "the 1 is one position too far left",
            lambda ids, V: _written(ids, V, -1),
            "Positions are counted from 0: id 0 has its 1 at position 0, without `- 1`.",
        ),
        Mistake(
            "the last axis ends with the largest id that occurs",
            lambda ids, V: F.one_hot(ids).float(),
            "V is the size of the vocabulary, whether its last ids occur in this batch or not.",
        ),
        Mistake(
            "the batch has been flattened",
            lambda ids, V: F.one_hot(ids, V).float().flatten(0, 1),
            "The rows are right, but they are one list of B·T. The result has three axes, [B, T, V].",
        ),
        Mistake(
            "every position has a 1 for every id of the batch",
            _all_at_once,
            "`z[:, :, ids] = 1` writes at all positions for each id. Compare each id with 0 to V - 1, or use "
            "`scatter_`.",
        ),
        Mistake(
            "a sequence has one vector, with a 1 for each of its tokens",
            lambda ids, V: F.one_hot(ids, V).amax(dim=1).float(),
            "That says which tokens occur, and forgets where. Each position has V numbers of its own.",
        ),
        Mistake(
            "the rows with these numbers are filled with ones",
            _rows_of_ones,
            "`z[ids]` picks along the first axis, the batch. The 1 belongs into the last axis: compare, or use "
            "`scatter_`.",
        ),
        Mistake(
            "`scatter_` is given ids without a third axis",
            lambda ids, V: torch.zeros(*ids.shape, V).scatter_(2, ids, 1.0),
            "`scatter_` wants as many axes on both sides: `ids[..., None]`, [B, T, 1].",
        ),
        Mistake(
            "the ids are compared with 1 to V",
            lambda ids, V: (ids[..., None] == torch.arange(1, V + 1)).float(),
            "Ids run from 0 to V - 1: `torch.arange(V)`.",
        ),
        Mistake(
            "only the first sequence is written",
            lambda ids, V: F.one_hot(ids[0], V).float(),
            "Every sequence of the batch has T rows: [B, T, V].",
        ),
        Mistake(
            "0 and 1 are exchanged",
            lambda ids, V: 1.0 - F.one_hot(ids, V).float(),
            "1.0 where the position equals the id, 0.0 everywhere else: compare with `==`.",
        ),
        Mistake(
            "all positions up to the id hold 1",
            lambda ids, V: (torch.arange(V) <= ids[..., None]).float(),
            "Only the position of the id itself holds 1.0: compare with `==`.",
        ),
        Mistake(
            "the axis for the comparison is missing",
            lambda ids, V: (ids == torch.arange(V)).float(),
            "[B, T] and [V] line up T with V. Give the ids an axis at the end, `ids[..., None]`, [B, T, 1].",
        ),
    ],
    hints=[
        "Compare each id with the numbers 0 to V - 1.",
        "`ids[..., None]` has the shape [B, T, 1], and `torch.arange(V)` has [V]. What does `==` make of them?",
        "`(ids[..., None] == torch.arange(V)).float()`",
    ],
)

# ---- embedding.3 -----------------------------------------------------------------------------------------------------


def embed_with_positions(ids, tokens, positions, start):
    T = ids.shape[1]
    return tokens[ids] + positions[start : start + T]  # [B, T, C] + [T, C]


def _position_inputs(rng):
    yield torch.tensor([[1, 1, 0]]), torch.tensor([[10.0, 0.0], [20.0, 0.0]]), torch.arange(10.0).reshape(5, 2), 0
    yield (
        torch.tensor([[0, 1]]),
        torch.tensor([[10.0, 0.0], [20.0, 0.0], [30.0, 0.0]]),
        torch.arange(6.0).reshape(3, 2),
        1,
    )
    yield torch.tensor([[1]]), torch.tensor([[10.0, 0.0], [20.0, 0.0]]), torch.arange(10.0).reshape(5, 2), 3
    yield torch.tensor([[1, 1], [1, 0], [0, 0]]), torch.eye(2), torch.arange(12.0).reshape(6, 2), 2
    for B, T, V, C in _SIZES:
        start = rng.randrange(1, 4)
        yield _integers(rng, V, B, T), _normal(rng, V, C), _normal(rng, T + V + 5, C), start


_POSITIONS = Exercise(
    id="embedding.3",
    title="What, and where",
    kind="core",
    minutes=10,
    difficulty=2,
    prompt="Add to each token's row the row of its position. The first id is at position `start`, the next at `start + "
    "1`, in every sequence of the batch alike. (A model that writes token by token calls this with the new token "
    "only, and `start` counts those before it.)\n\nShapes: `ids` is an integer tensor [B, T], `tokens` a float "
    "tensor [V, C], `positions` a float tensor with C columns and at least `start + T` rows, `start` an `int`, 0 "
    "or more. Result: a float tensor [B, T, C].",
    signature='def embed_with_positions(ids: Int[Tensor, "B T"], tokens: Float[Tensor, "V C"],\n'
    '                         positions: Float[Tensor, "N C"], start: int) -> Float[Tensor, "B T C"]',
    inputs=_position_inputs,
    solution=embed_with_positions,
    mistakes=[
        Mistake(
            "the position is the number of the sequence in the batch",
            lambda ids, tokens, positions, start: tokens[ids] + positions[start : start + len(ids)][:, None],
            "Rows [B, 1, C] fit as well, so nothing complained. Two tokens of one sequence then get the same position. "
            "Count along T.",
        ),
        Mistake(
            "`start` is forgotten",
            lambda ids, tokens, positions, start: tokens[ids] + positions[: ids.shape[1]],
            "The first id isn't always at position 0: begin at row `start`.",
        ),
        Mistake(
            "positions are looked up by token, from `start` on",
            lambda ids, tokens, positions, start: tokens[ids] + positions[start + ids],
            "Then the same token gets the same row wherever it occurs. Positions are counted along T: "
            "`positions[start : start + T]`.",
        ),
        Mistake(
            "positions begin one too late",
            lambda ids, tokens, positions, start: tokens[ids] + positions[start + 1 : start + 1 + ids.shape[1]],
            "The first row of the table is row 0: the slice begins at `start`.",
        ),
        Mistake(
            "the two rows are multiplied",
            lambda ids, tokens, positions, start: tokens[ids] * positions[start : start + ids.shape[1]],
            "Token and position are added: `+`, not `*`.",
        ),
        Mistake(
            "all tokens get the position of the first",
            lambda ids, tokens, positions, start: tokens[ids] + positions[start],
            "`positions[start]` is one row. You need T of them: a slice.",
        ),
        Mistake(
            "positions are looked up by token",
            lambda ids, tokens, positions, start: tokens[ids] + positions[ids],
            "Then the same token gets the same row wherever it occurs. Positions are counted along T: "
            "`positions[start : start + T]`.",
        ),
        Mistake(
            "the slice runs to the end of the table",
            lambda ids, tokens, positions, start: tokens[ids] + positions[start:],
            "The table has rows for longer texts too. End the slice at `start + T`.",
        ),
        Mistake(
            "the slice ends at T, not at start + T",
            lambda ids, tokens, positions, start: tokens[ids] + positions[start : ids.shape[1]],
            "`positions[start : T]` has T - start rows. T rows from `start` on end at `start + T`.",
        ),
        Mistake(
            "the slice is one row short",
            lambda ids, tokens, positions, start: tokens[ids] + positions[start : start + ids.shape[1] - 1],
            "A slice ends before its second number: `positions[start : start + T]` has T rows.",
        ),
        Mistake(
            "T is taken from the batch",
            lambda ids, tokens, positions, start: tokens[ids] + positions[start : start + len(ids)],
            "`len(ids)` is B. T is `ids.shape[1]`.",
        ),
        Mistake(
            "the positions line up with the batch",
            lambda ids, tokens, positions, start: tokens[ids] + positions[start : start + ids.shape[1]][:, None],
            "[T, 1, C] lines T up with B. [T, C] lines up with [B, T, C] as it is.",
        ),
        Mistake(
            "all of the table is added",
            lambda ids, tokens, positions, start: tokens[ids] + positions,
            "The table has rows for longer texts too. Take T of them, from `start` on.",
        ),
        Mistake(
            "the positions are put beside the tokens",
            lambda ids, tokens, positions, start: torch.cat(
                [tokens[ids], positions[start : start + ids.shape[1]].expand(len(ids), -1, -1)], -1
            ),
            "`torch.cat` gives 2C channels. Token and position are added.",
        ),
        Mistake(
            "the positions are missing",
            lambda ids, tokens, positions, start: tokens[ids],
            "Add the rows of the positions: `positions[start : start + T]`.",
        ),
        Mistake(
            "only the positions are there",
            lambda ids, tokens, positions, start: positions[start : start + ids.shape[1]].expand(len(ids), -1, -1),
            "Add them to the rows of the tokens, `tokens[ids]`.",
        ),
        Mistake(
            "the positions run backwards",
            lambda ids, tokens, positions, start: tokens[ids] + positions[start : start + ids.shape[1]].flip(0),
            "The first id is at position `start`, and the positions grow from there.",
        ),
    ],
    hints=[
        "Two look-ups and one sum. Which shape do the rows of the positions have?",
        "[B, T, C] + [T, C] works: the rows of the positions are used for each sequence again.",
        "`tokens[ids] + positions[start : start + T]`",
    ],
    package="gptlab.embedding.TokenAndPositionEmbedding.forward",
)

# ---- embedding.4 -----------------------------------------------------------------------------------------------------


def table_gradient(ids, upstream, V):
    gradient = torch.zeros(V, upstream.shape[-1], dtype=upstream.dtype)  # [V, C]
    for b in range(ids.shape[0]):
        for t in range(ids.shape[1]):
            gradient[ids[b, t]] += upstream[b, t]
    return gradient


def _gradient_inputs(rng):
    yield torch.tensor([[1, 0]]), torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), 3
    yield torch.tensor([[1, 0, 1]]), torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]]), 4
    yield torch.tensor([[1], [1]]), torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]]), 3
    yield torch.tensor([[2, 2], [2, 0], [1, 2]]), torch.arange(1.0, 13.0).reshape(3, 2, 2), 5
    for B, T, V, C in _SIZES:
        ids = _integers(rng, V - 2, B, T)
        ids[0, 0] = ids[-1, -1]
        yield ids, _normal(rng, B, T, C), V


def _reference_gradient(ids, upstream, V):
    table = torch.zeros(V, upstream.shape[-1], dtype=upstream.dtype, requires_grad=True)
    return torch.autograd.grad((table[ids] * upstream).sum(), table)[0]


def _last_wins(ids, upstream, V):
    gradient = torch.zeros(V, upstream.shape[-1])
    for i, row in zip(ids.flatten().tolist(), upstream.flatten(0, 1), strict=True):
        gradient[i] = row
    return gradient


def _mean_gradient(ids, upstream, V):
    counts = ids.flatten().bincount(minlength=V).clamp(min=1)
    return _reference_gradient(ids, upstream, V) / counts[:, None]


def _last_of_each_sequence_wins(ids, upstream, V):
    gradient = torch.zeros(V, upstream.shape[-1])
    for row, up in zip(ids, upstream, strict=True):
        gradient[row] += up
    return gradient


def _mean_or_nan(ids, upstream, V):
    return _reference_gradient(ids, upstream, V) / ids.flatten().bincount(minlength=V)[:, None]


def _first_wins(ids, upstream, V):
    return _last_wins(ids.flip(0, 1), upstream.flip(0, 1), V)


_GRADIENT = Exercise(
    id="embedding.4",
    title="Which rows learn?",
    kind="core",
    minutes=15,
    difficulty=2,
    prompt="The backward pass of a look-up. You are given `upstream`: for each position, how the loss changes with "
    "each of the C numbers that were looked up there. Compute the same for the table: a row that was used "
    "several times gets the sum, a row that was not used gets zeros. (Without autograd.)\n\nShapes: `ids` is "
    "an integer tensor [B, T], `upstream` a float tensor [B, T, C] (float32), `V` an `int`. Result: a float "
    "tensor [V, C].",
    signature='def table_gradient(ids: Int[Tensor, "B T"], upstream: Float[Tensor, "B T C"], V: int) '
    '-> Float[Tensor, "V C"]',
    inputs=_gradient_inputs,
    solution=table_gradient,
    reference=_reference_gradient,
    mistakes=[
        Mistake(
            "of a token that occurs twice, the last one wins",
            _last_wins,
            "`gradient[ids] = upstream` overwrites, and so does `gradient[ids] += upstream`: PyTorch adds to each row "
            "once. Go through the positions, or use `index_add_`.",
        ),
        Mistake(
            "a row gets the mean of its uses",
            _mean_gradient,
            "Each use changes the loss on its own, so their effects add up: sum, do not divide.",
        ),
        Mistake(
            "only the first sequence counts",
            lambda ids, upstream, V: _reference_gradient(ids[:1], upstream[:1], V),
            "Every sequence of the batch uses the same table: go through all B of them.",
        ),
        Mistake(
            "the rows that were not used get something",
            lambda ids, upstream, V: upstream.sum(dim=(0, 1)).expand(V, -1).clone(),
            "A row that nobody looked up cannot change the loss: its gradient is zero.",
        ),
        Mistake(
            "the rows are in the order of the positions",
            lambda ids, upstream, V: upstream.flatten(0, 1),
            "The gradient of the table has the table's shape [V, C]: row i belongs to token i.",
        ),
        Mistake(
            "the uses are counted, `upstream` is not used",
            lambda ids, upstream, V: (
                ids.flatten().bincount(minlength=V)[:, None].expand(-1, upstream.shape[-1]).to(upstream.dtype)
            ),
            "A row that was used n times gets n only if the loss is the sum of everything, as in the notebook. In "
            "general each use at (b, t) adds `upstream[b, t]`.",
        ),
        Mistake(
            "of a token that occurs twice, the first one wins",
            _first_wins,
            "Each use of a row adds its share: `+=`, whether the row was used before or not.",
        ),
        Mistake(
            "of a token that occurs twice in a sequence, the last one wins",
            _last_of_each_sequence_wins,
            "`gradient[ids[b]] += upstream[b]` adds to each row once, even if an id occurs twice. Loop over the "
            "positions as well, or use `index_add_`.",
        ),
        Mistake(
            "a row gets the mean of its uses, and 0 / 0 if it has none",
            _mean_or_nan,
            "Each use changes the loss on its own, so their effects add up: don't divide. A row that was not used "
            "gets 0, not NaN.",
        ),
        Mistake(
            "it is divided by the number of positions",
            lambda ids, upstream, V: _reference_gradient(ids, upstream, V) / ids.numel(),
            "If the loss is a mean, `upstream` contains that division already. Add up, and don't divide.",
        ),
        Mistake(
            "it is divided by the batch",
            lambda ids, upstream, V: _reference_gradient(ids, upstream, V) / len(ids),
            "If the loss is a mean, `upstream` contains that division already. Add up, and don't divide.",
        ),
        Mistake(
            "each sequence has a gradient of its own",
            lambda ids, upstream, V: torch.stack(
                [_reference_gradient(i[None], u[None], V) for i, u in zip(ids, upstream, strict=True)]
            ),
            "All sequences use the same table, so their shares are added into one [V, C].",
        ),
        Mistake(
            "the table ends with the largest id that occurs",
            lambda ids, upstream, V: _reference_gradient(ids, upstream, int(ids.max()) + 1),
            "The gradient has the table's shape [V, C], with rows of zeros for tokens that don't occur.",
        ),
        Mistake(
            "the channels are added up",
            lambda ids, upstream, V: _reference_gradient(ids, upstream, V).sum(dim=1),
            "Each of the C numbers of a row has a gradient of its own: [V, C].",
        ),
        Mistake(
            "the gradient is transposed",
            lambda ids, upstream, V: _reference_gradient(ids, upstream, V).T,
            "The gradient has the table's shape [V, C]: row i belongs to token i.",
        ),
        Mistake(
            "a used row gets ones",
            lambda ids, upstream, V: (_reference_gradient(ids, torch.ones_like(upstream), V) > 0).float(),
            "Each use at (b, t) adds `upstream[b, t]` to its row.",
        ),
        Mistake(
            "only the last sequence counts",
            lambda ids, upstream, V: _reference_gradient(ids[-1:], upstream[-1:], V),
            "Every sequence of the batch uses the same table: make the zeros once, before both loops.",
        ),
        Mistake(
            "only the last position of each sequence counts",
            lambda ids, upstream, V: _reference_gradient(ids[:, -1:], upstream[:, -1:], V),
            "Every position looked up a row: go through all T of them.",
        ),
        Mistake(
            "the sign is wrong",
            lambda ids, upstream, V: -_reference_gradient(ids, upstream, V),
            "A gradient says how the loss rises. The optimizer subtracts it, later.",
        ),
    ],
    hints=[
        "Begin with V rows of zeros.",
        "At position (b, t) the row `ids[b, t]` was used. Add `upstream[b, t]` to it.",
        "Two loops, and `gradient[ids[b, t]] += upstream[b, t]` inside.",
    ],
)

# ---- embedding.5 -----------------------------------------------------------------------------------------------------


def waves(T, C):
    table = torch.zeros(T, C)
    for t in range(T):
        for i in range(C // 2):
            angle = t / 10_000 ** (2 * i / C)
            table[t, 2 * i] = math.sin(angle)
            table[t, 2 * i + 1] = math.cos(angle)
    return table


def _waves_inputs(rng):
    yield from [(1, 4), (3, 2), (3, 4), (2, 8), (5, 6)]
    for _ in range(5):
        yield rng.randrange(4, 30), 2 * rng.randrange(3, 16)


def _angles(T, C, exponent):
    return torch.arange(T)[:, None] / 10_000 ** exponent(torch.arange(C // 2), C)


def _interleaved(angles):
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def _column_for_i(T, C):
    angles = torch.arange(T)[:, None] / 10_000 ** (2 * torch.arange(C) / C)
    return torch.where(torch.arange(C) % 2 == 0, angles.sin(), angles.cos())


def _waves_past_the_end(T, C):
    table = torch.zeros(T, C)
    for t in range(T):
        for i in range(C):
            angle = t / 10_000 ** (2 * i / C)
            table[t, 2 * i] = math.sin(angle)
            table[t, 2 * i + 1] = math.cos(angle)
    return table


_WAVES = Exercise(
    id="embedding.5",
    title="Positions as waves",
    kind="stretch",
    minutes=15,
    difficulty=2,
    prompt="Build the table of sinusoidal positions. In the row of position $t$ (0, 1, …, T - 1), column $2i$ holds "
    "$\\sin(t / 10000^{2i/C})$ and column $2i + 1$ the cosine of the same angle, for $i$ = 0, 1, …, C/2 - 1. `C` "
    "is even.\n\nShapes: `T` and `C` are of type `int`. Result: a float tensor [T, C] (float32).",
    signature='def waves(T: int, C: int) -> Float[Tensor, "T C"]',
    inputs=_waves_inputs,
    solution=waves,
    reference=embedding.sinusoidal,
    tolerance=1e-3,
    mistakes=[
        Mistake(
            "all sines come first, then all cosines",
            lambda T, C: torch.cat(
                [_angles(T, C, lambda i, C: 2 * i / C).sin(), _angles(T, C, lambda i, C: 2 * i / C).cos()], 1
            ),
            "A convention that exists (tensor2tensor, the authors' own program, used it), but not the one asked for "
            "here: sine and cosine in turn, column by column.",
        ),
        Mistake(
            "sine and cosine are exchanged",
            lambda T, C: _interleaved(torch.pi / 2 - _angles(T, C, lambda i, C: 2 * i / C)),
            "Even columns hold sines: the row of t = 0 begins with 0, then 1.",
        ),
        Mistake(
            "t is multiplied where it should be divided",
            lambda T, C: _interleaved(torch.arange(T)[:, None] * 10_000 ** (2 * torch.arange(C // 2) / C)),
            "The waves of later columns are longer, so their angle grows more slowly: t / 10000 ** (2 * i / C).",
        ),
        Mistake(
            "the exponent lacks its factor 2",
            lambda T, C: _interleaved(_angles(T, C, lambda i, C: i / C)),
            "There are C / 2 pairs. With i / C the exponents end at a half, and the longest wave is too short: 2i / C.",
        ),
        Mistake(
            "the exponent has its factor 2 twice",
            lambda T, C: _interleaved(_angles(T, C, lambda i, C: 4 * i / C)),
            "If your i already runs 0, 2, 4 …, it is the 2i of the formula: divide by 10000 ** (i / C).",
        ),
        Mistake(
            "sine and cosine of a pair have different angles",
            lambda T, C: torch.where(
                torch.arange(C) % 2 == 0,
                (torch.arange(T)[:, None] / 10_000 ** (torch.arange(C) / C)).sin(),
                (torch.arange(T)[:, None] / 10_000 ** (torch.arange(C) / C)).cos(),
            ),
            "You use the number of the column in place of 2i. Columns 2i and 2i + 1 share one angle.",
        ),
        Mistake(
            "positions are counted from 1",
            lambda T, C: embedding.sinusoidal(T + 1, C)[1:],
            "The first position is t = 0: zeros and ones in turn.",
        ),
        Mistake(
            "every column has the same wave",
            lambda T, C: _interleaved(_angles(T, C, lambda i, C: 0 * i)),
            "The wavelength grows with the column: divide t by 10000 ** (2 * i / C), with `/`, since `2 * i // C` is "
            "always 0.",
        ),
        Mistake(
            "t is multiplied, not divided",
            lambda T, C: _interleaved(
                torch.arange(T)[:, None] * 10_000.0 ** (2 * torch.arange(C // 2).double() / C)
            ).float(),
            "The waves get longer from column to column: divide t by 10000 ** (2 * i / C).",
        ),
        Mistake(
            "the brackets around the exponent are missing",
            lambda T, C: _interleaved(torch.arange(T)[:, None] / 10_000**2 * torch.arange(C // 2) / C),
            "`10_000 ** 2 * i / C` is (10000²) · i / C. Put brackets around the exponent: `10_000 ** (2 * i / C)`.",
        ),
        Mistake(
            "10000 is multiplied with the exponent",
            lambda T, C: _interleaved(torch.arange(T)[:, None] / 10_000 * (2 * torch.arange(C // 2) / C)),
            "The fraction 2i/C is an exponent: `10_000 ** (2 * i / C)`.",
        ),
        Mistake(
            "the exponent is divided by T",
            lambda T, C: _interleaved(_angles(T, C, lambda i, C: 2 * i / T)),
            "The wavelength depends on the column among all C columns: 2 * i / C.",
        ),
        Mistake(
            "each column takes its own number for i",
            _column_for_i,
            "i counts pairs of columns: columns 2i and 2i + 1 share the angle t / 10000 ** (2 * i / C).",
        ),
        Mistake(
            "the base is 1000",
            lambda T, C: _interleaved(torch.arange(T)[:, None] / 1_000 ** (2 * torch.arange(C // 2) / C)),
            "The base is 10,000, with four zeros.",
        ),
        Mistake(
            "all columns are sines",
            lambda T, C: _angles(T, C, lambda i, C: 2 * i / C).sin().repeat_interleave(2, 1),
            "Odd columns hold the cosine of the same angle.",
        ),
        Mistake(
            "the cosines are missing",
            lambda T, C: embedding.sinusoidal(T, C) * (torch.arange(C) % 2 == 0),
            "Odd columns hold the cosine of the same angle: `table[t, 2 * i + 1] = math.cos(angle)`.",
        ),
        Mistake(
            "T and C are exchanged",
            lambda T, C: embedding.sinusoidal(T, C).T,
            "A row for each position, a column for each channel: [T, C].",
        ),
        Mistake(
            "i runs over all columns",
            _waves_past_the_end,
            "Each i fills two columns, 2i and 2i + 1, so i runs to C // 2 - 1: `range(C // 2)`.",
        ),
        Mistake(
            "the row t = 0 is missing",
            lambda T, C: embedding.sinusoidal(T, C)[1:],
            "There are T positions, 0 to T - 1.",
        ),
    ],
    hints=[
        "For one t and one i: which angle? It fills two columns.",
        "`angle = t / 10_000 ** (2 * i / C)`, for i from 0 to C // 2 - 1.",
        "`table[t, 2 * i] = math.sin(angle)` and `table[t, 2 * i + 1] = math.cos(angle)`.",
    ],
    package="gptlab.embedding.sinusoidal",
)

# ---- embedding.6 -----------------------------------------------------------------------------------------------------


def neighbours(table, id, k):
    unit = table / table.norm(dim=1, keepdim=True)  # [V, C], each row of length 1
    similarity = unit @ unit[id]  # [V]
    similarity[id] = -torch.inf
    return similarity.topk(k).indices.tolist()


def _neighbour_inputs(rng):
    table = torch.tensor([[1.0, 0.1], [9.0, 9.5], [0.9, 0.0], [-5.0, 0.2], [1.2, 0.9], [0.1, 2.0]])
    yield torch.tensor([[1.0, 0.0], [-1.0, 0.1], [-1.0, -1.0]]), 0, 2  # all others point the other way
    yield torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), 0, 1  # the only other one points exactly the other way
    yield torch.tensor([[1.0, 1.0], [9.0, 0.0], [1.0, 3.0]]), 0, 1  # a long row, and columns of different size
    yield torch.tensor([[3.0, 0.0], [1.0, 0.0], [1.0, 3.0]]), 1, 1  # one points in the same direction
    yield torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, 0.1], [3.0, -1.0]]), 0, 3
    yield table, 0, 2
    yield table, 4, 3
    yield table, 3, 5
    for V, C in ((9, 3), (14, 4), (20, 5), (30, 3), (25, 6)):
        size = 0.2 + 3 * torch.rand(V, 1, generator=_generator(rng))
        yield _normal(rng, V, C) * size, rng.randrange(V), rng.randrange(3, 6)


def _ranked(score, skip=True):
    def wrong(table, id, k):
        values = score(table, id).clone()
        if skip:
            values[id] = -torch.inf
        return values.topk(k).indices.tolist()

    return wrong


def _cosine(table, id):
    return F.normalize(table, dim=1) @ F.normalize(table, dim=1)[id]


def _masked_cosine(table, id):
    similarity = _cosine(table, id)
    similarity[id] = -torch.inf
    return similarity


def _ranked_with_own(value):
    def wrong(table, id, k):
        similarity = _cosine(table, id)
        similarity[id] = value
        return similarity.topk(k).indices.tolist()

    return wrong


def _row_removed(table, id, k):
    others = torch.cat([table[:id], table[id + 1 :]])
    return (F.normalize(others, dim=1) @ F.normalize(table[id], dim=0)).topk(k).indices.tolist()


def _normalised_in_place(table, id, k):
    table /= table.norm(dim=1, keepdim=True)
    return neighbours(table, id, k)


_NEIGHBOURS = Exercise(
    id="embedding.6",
    title="Nearest neighbours",
    kind="stretch",
    minutes=15,
    difficulty=2,
    prompt="Which k rows of a table point most nearly in the direction of row `id`? Compare by cosine similarity: the "
    "dot product of two rows after each has been divided by its length. The row itself does not count, even if "
    "another row points in the same direction.\n\nShapes: `table` is a float tensor [V, C] (float32) without a "
    "row of zeros, `id` and `k` are of type `int`, k below V. Leave the table as it is. Result: a `list` of k "
    "ids, the most similar first.",
    signature='def neighbours(table: Float[Tensor, "V C"], id: int, k: int) -> list[int]',
    inputs=_neighbour_inputs,
    solution=neighbours,
    reference=_ranked(_cosine),
    tolerance=1e-3,
    mistakes=[
        Mistake(
            "the row itself is in the result",
            _ranked(_cosine, skip=False),
            "Nothing is more similar to a row than the row itself. Set its similarity to minus infinity before you "
            "choose.",
        ),
        Mistake(
            "the dot product is not divided by the lengths",
            _ranked(lambda table, id: table @ table[id]),
            "Long rows then win by their length. Divide each row by its norm first.",
        ),
        Mistake(
            "the least similar come out",
            _ranked(lambda table, id: -_cosine(table, id)),
            "The cosine is largest for the same direction: take the largest, not the smallest.",
        ),
        Mistake(
            "it is the distance, not the angle",
            _ranked(lambda table, id: -(table - table[id]).norm(dim=1)),
            "A short and a long row in one direction are similar by angle and far apart by distance. Both measures are "
            "in use; this exercise asks for the angle.",
        ),
        Mistake(
            "columns are normalised, not rows",
            _ranked(lambda table, id: F.normalize(table, dim=0) @ F.normalize(table, dim=0)[id]),
            "The length of a row is the norm over its C numbers: dim=1.",
        ),
        Mistake(
            "the row itself is only set to 0",
            _ranked_with_own(0.0),
            "A cosine can be negative, and then 0 is the largest. Set it to minus infinity.",
        ),
        Mistake(
            "the row itself is only set to -1",
            _ranked_with_own(-1.0),
            "A cosine of -1 is possible for another row too. Set it to minus infinity.",
        ),
        Mistake(
            "the first of the sorted is taken to be the row itself",
            lambda table, id, k: _cosine(table, id).argsort(descending=True, stable=True)[1 : k + 1].tolist(),
            "A row in the same direction has the cosine 1 as well, and may come first. Exclude `id` itself, not "
            "the first.",
        ),
        Mistake(
            "the most similar comes last",
            lambda table, id, k: neighbours(table, id, k)[::-1],
            "`argsort` sorts upwards. The most similar comes first: `topk`, or `descending=True`.",
        ),
        Mistake(
            "the similarities come back, not the ids",
            lambda table, id, k: _masked_cosine(table, id).topk(k).values.tolist(),
            "`topk` gives values and indices. The ids are the indices.",
        ),
        Mistake(
            "the ids behind the row are shifted",
            _row_removed,
            "Without row `id` the later rows move up by one, and their positions are no longer their ids. Leave "
            "the row in, and set its similarity to minus infinity.",
        ),
        Mistake(
            "the rows are divided by their squared length",
            _ranked(lambda table, id: table / (table**2).sum(dim=1, keepdim=True) @ table[id]),
            "The length is the root of the sum of squares: `table.norm(dim=1, keepdim=True)`.",
        ),
        Mistake(
            "the sign of the cosine is lost",
            _ranked(lambda table, id: _cosine(table, id).abs()),
            "-1 is the opposite direction, not a similar one. Leave out `abs`.",
        ),
        Mistake(
            "the table is changed",
            _normalised_in_place,
            "`table /= ...` writes into the table of the caller. `unit = table / ...` makes a new one.",
        ),
        Mistake(
            "there is one id too many, the row itself",
            lambda table, id, k: _cosine(table, id).topk(k + 1).indices.tolist(),
            "k ids are asked for, without the row itself. Set its similarity to minus infinity, and take `topk(k)`.",
        ),
        Mistake(
            "only the nearest one comes back",
            lambda table, id, k: neighbours(table, id, 1),
            "k ids are asked for: `topk(k)`.",
        ),
    ],
    hints=[
        "Divide each row by its length: `table.norm(dim=1, keepdim=True)` has the shape [V, 1].",
        "One matrix product gives all V cosines: `unit @ unit[id]`. Exclude `id` itself.",
        "`similarity[id] = -torch.inf`, then `similarity.topk(k).indices.tolist()`.",
    ],
)

# ---- embedding.7 -----------------------------------------------------------------------------------------------------


def best_bigram_loss(ids):
    pairs = Counter(itertools.pairwise(ids))
    before = Counter(ids[:-1])
    nats = 0.0
    for (i, _), n in pairs.items():
        p = n / before[i]
        nats += n * math.log(1 / p)  # n times -ln p
    return nats / (len(ids) - 1)


def _counting_inputs(rng):
    yield from [([3, 5],), ([0, 1, 0, 2],), ([0, 0, 1],), ([0, 1, 0, 1, 0, 2],), ([1, 1, 1, 1],)]
    yield ([2, 2, 0, 2, 1, 2, 0],)
    for length in (8, 12, 20, 30, 40, 60):
        yield ([rng.choice([0, 0, 0, 1, 2, 2, 3]) for _ in range(length)],)


def _bigram_wrong(p, log=math.log, weigh=True, total=None):
    def wrong(ids):
        pairs, first, last = Counter(itertools.pairwise(ids)), Counter(ids[:-1]), Counter(ids[1:])
        costs = [(n, -log(p(n, first[i], last[j], len(ids) - 1))) for (i, j), n in pairs.items()]
        if total is not None:
            return sum(n * cost for n, cost in costs) / total(ids)
        return sum(n * cost for n, cost in costs) / (len(ids) - 1) if weigh else sum(c for _, c in costs) / len(costs)

    return wrong


def _last_one_counted(ids):
    pairs, before = Counter(itertools.pairwise(ids)), Counter(ids)
    return -sum(n * math.log(n / before[i]) for (i, _), n in pairs.items()) / (len(ids) - 1)


def _bigram_costs(ids, weight, log=math.log):
    pairs, before = Counter(itertools.pairwise(ids)), Counter(ids[:-1])
    return -sum(weight(n, n / before[i]) * log(n / before[i]) for (i, _), n in pairs.items())


def _smoothed(ids):
    pairs, before, V = Counter(itertools.pairwise(ids)), Counter(ids[:-1]), len(set(ids))
    return -sum(n * math.log((n + 1) / (before[i] + V)) for (i, _), n in pairs.items()) / (len(ids) - 1)


_COUNTING = Exercise(
    id="embedding.7",
    title="The best bigram, without training",
    kind="stretch",
    minutes=20,
    difficulty=3,
    prompt="A bigram model knows one token and predicts the next. What is the smallest mean loss that it can reach "
    "on a text? Count: of all the times that token i was followed by anything, it was followed by j in the "
    "fraction p. Each such pair costs −ln p. Give the mean over all pairs of neighbours in the text.\n\nInput: "
    "`ids`, a `list` of `int`, at least two. Result: a `float`, in nats per token.",
    signature="def best_bigram_loss(ids: list[int]) -> float",
    inputs=_counting_inputs,
    solution=best_bigram_loss,
    tolerance=1e-4,
    mistakes=[
        Mistake(
            "p is the fraction of all pairs",
            _bigram_wrong(lambda n, first, last, N: n / N),
            "n / N is the probability of seeing i and j together. Divide by how often i came first.",
        ),
        Mistake(
            "p is the fraction among what came before j",
            _bigram_wrong(lambda n, first, last, N: n / last),
            "You divide by how often j came second. That predicts backwards: divide by how often i came first.",
        ),
        Mistake(
            "the first token is not used",
            _bigram_wrong(lambda n, first, last, N: last / N),
            "This is a unigram: how frequent is j at all? The bigram asks how frequent it is after i.",
        ),
        Mistake(
            "rare pairs weigh as much as frequent ones",
            _bigram_wrong(lambda n, first, last, N: n / first, weigh=False),
            "A pair that occurs n times costs n times −ln p: multiply by n, and divide by the number of pairs in the "
            "text.",
        ),
        Mistake(
            "it is in bits",
            _bigram_wrong(lambda n, first, last, N: n / first, log=math.log2),
            "Nats take the natural logarithm, `math.log`.",
        ),
        Mistake(
            "the last token counts as one that something follows",
            _last_one_counted,
            "Nothing comes after the last token: `Counter(ids)` counts it once too often. Count `ids[:-1]`.",
        ),
        Mistake(
            "the mean is over the tokens",
            _bigram_wrong(lambda n, first, last, N: n / first, total=len),
            "There is one pair of neighbours fewer than tokens: divide by `len(ids) - 1`.",
        ),
        Mistake(
            "the sign is missing",
            lambda ids: -best_bigram_loss(ids),
            "ln p is negative for p < 1, and a loss is positive: −ln p.",
        ),
        Mistake(
            "it is the loss of the whole text",
            _bigram_wrong(lambda n, first, last, N: n / first, total=lambda ids: 1),
            "Divide by the number of pairs, `len(ids) - 1`.",
        ),
        Mistake(
            "it is the perplexity",
            lambda ids: math.exp(best_bigram_loss(ids)),
            "Perplexity is exp of the loss. The loss itself is asked for.",
        ),
        Mistake(
            "the logarithm is to base 10",
            _bigram_wrong(lambda n, first, last, N: n / first, log=math.log10),
            "Nats take the natural logarithm, `math.log`.",
        ),
        Mistake(
            "each pair is weighted with p, not with how often it occurs",
            lambda ids: _bigram_costs(ids, lambda n, p: p) / (len(ids) - 1),
            "Over the text, a pair occurs n times, so it costs n · (−ln p). Weighting with p forgets how frequent "
            "the first token is.",
        ),
        Mistake(
            "every first token counts the same",
            lambda ids: _bigram_costs(ids, lambda n, p: p) / len(set(ids[:-1])),
            "You average over the different first tokens. Over the text, a frequent one counts more often: weight "
            "each pair with n.",
        ),
        Mistake(
            "each pair is weighted with p, and there is no mean",
            lambda ids: _bigram_costs(ids, lambda n, p: p),
            "Over the text, a pair occurs n times, so it costs n · (−ln p); and the mean divides by the number of "
            "pairs in the text.",
        ),
        Mistake(
            "each pair is weighted with p, and the mean is over the different pairs",
            lambda ids: _bigram_costs(ids, lambda n, p: p) / len(set(itertools.pairwise(ids))),
            "Over the text, a pair occurs n times, so it costs n · (−ln p), and the mean divides by the number of "
            "pairs in the text.",
        ),
        Mistake(
            "the costs are not weighted, and the mean is over the text",
            lambda ids: _bigram_costs(ids, lambda n, p: 1) / (len(ids) - 1),
            "A pair that occurs n times costs n times −ln p: multiply by n.",
        ),
        Mistake(
            "the costs of the different pairs are added up",
            lambda ids: _bigram_costs(ids, lambda n, p: 1),
            "A pair that occurs n times costs n times −ln p; and the mean divides by the number of pairs in the text.",
        ),
        Mistake(
            "one is added to every count",
            _smoothed,
            "Smoothing helps with pairs that are new. The smallest loss on this text comes from the plain counts.",
        ),
        Mistake(
            "p is the mean, and its logarithm comes last",
            lambda ids: -math.log(_bigram_costs(ids, lambda n, p: n * p, log=lambda p: -1) / (len(ids) - 1)),
            "The mean of logarithms isn't the logarithm of the mean: take −ln p of each pair, then the mean.",
        ),
        Mistake(
            "it is the mean probability, not its cost",
            lambda ids: _bigram_costs(ids, lambda n, p: n * p, log=lambda p: -1) / (len(ids) - 1),
            "Each pair costs −ln p: take the logarithm before you average.",
        ),
        Mistake(
            "tokens are counted, not pairs",
            lambda ids: -sum(n / len(ids) * math.log(n / len(ids)) for n in Counter(ids).values()),
            "This is the entropy of single tokens. The bigram predicts j from i: count pairs, and divide by how "
            "often i came first.",
        ),
    ],
    hints=[
        "Two counts: of pairs of neighbours, and of tokens that something follows.",
        "`Counter(zip(ids[:-1], ids[1:]))` and `Counter(ids[:-1])`. The quotient of the two is p.",
        "Sum `-n * math.log(n / before[i])` over the different pairs, and divide by `len(ids) - 1`.",
    ],
)

# ---- embedding.8 -----------------------------------------------------------------------------------------------------


def table_bytes(V, T, C, tied, bytes_each):
    tables = V * C + T * C + (0 if tied else V * C)
    return tables * bytes_each


def _size_inputs(rng):
    yield from [(10, 5, 3, True, 1), (10, 5, 3, False, 1), (10, 5, 3, True, 2), (10, 5, 3, False, 4)]
    yield 50_257, 1024, 768, True, 4
    for _ in range(6):
        yield rng.randrange(50, 900), rng.randrange(8, 40), rng.randrange(5, 64), rng.random() < 0.5, rng.choice((2, 4))


_SIZE = Exercise(
    id="embedding.8",
    title="How large are the tables?",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="A model has a table of V tokens, a table of T learned positions, and at its end a matrix that turns C "
    "channels into V logits. If the weights are tied, that matrix is the token table itself. How many bytes do "
    "they take together?\n\nInput: `V`, `T`, `C` and `bytes_each` (for one number) of type `int`; `tied`, a bool. "
    "Result: an `int`.",
    signature="def table_bytes(V: int, T: int, C: int, tied: bool, bytes_each: int) -> int",
    inputs=_size_inputs,
    solution=table_bytes,
    mistakes=[
        Mistake(
            "a tied table is counted twice",
            lambda V, T, C, tied, bytes_each: (2 * V * C + T * C) * bytes_each,
            "Tied means the same memory, used at both ends. Count it once.",
        ),
        Mistake(
            "the matrix at the end is forgotten",
            lambda V, T, C, tied, bytes_each: (V * C + T * C) * bytes_each,
            "Untied weights have a second matrix with V * C numbers.",
        ),
        Mistake(
            "tied and untied are exchanged",
            lambda V, T, C, tied, bytes_each: (V * C + T * C + (V * C if tied else 0)) * bytes_each,
            "Tied is the smaller one.",
        ),
        Mistake(
            "the positions are forgotten",
            lambda V, T, C, tied, bytes_each: (V * C if tied else 2 * V * C) * bytes_each,
            "Learned positions are a table too, with T rows of C numbers.",
        ),
        Mistake(
            "it counts numbers, not bytes",
            lambda V, T, C, tied, bytes_each: table_bytes(V, T, C, tied, 1),
            "Each number takes `bytes_each` bytes.",
        ),
        Mistake(
            "every position has a table of its own",
            lambda V, T, C, tied, bytes_each: (V * C * T + (0 if tied else V * C)) * bytes_each,
            "Token and position are looked up separately and added: V rows and T rows, not V times T.",
        ),
        Mistake(
            "the positions are forgotten if the weights are tied",
            lambda V, T, C, tied, bytes_each: (V * C if tied else V * C + T * C + V * C) * bytes_each,
            "`a + b if ... else c` is `(a + b) if ... else c`: put brackets around the part that depends on "
            "`tied`. The positions are always there.",
        ),
        Mistake(
            "these are megabytes",
            lambda V, T, C, tied, bytes_each: table_bytes(V, T, C, tied, bytes_each) / 1e6,
            "The exercise asks for bytes, an `int`.",
        ),
        Mistake(
            "these are bits",
            lambda V, T, C, tied, bytes_each: 8 * table_bytes(V, T, C, tied, bytes_each),
            "A byte is 8 bits. The exercise asks for bytes.",
        ),
        Mistake(
            "only the last table is multiplied with the bytes",
            lambda V, T, C, tied, bytes_each: V * C + T * C + (0 if tied else V * C) * bytes_each,
            "`*` binds more tightly than `+`: put brackets around the sum.",
        ),
        Mistake(
            "the matrix at the end has C times C numbers",
            lambda V, T, C, tied, bytes_each: (V * C + T * C + (0 if tied else C * C)) * bytes_each,
            "It turns C channels into V logits: [C, V], which has V * C numbers.",
        ),
        Mistake(
            "the matrix at the end has T times V numbers",
            lambda V, T, C, tied, bytes_each: (V * C + T * C + (0 if tied else T * V)) * bytes_each,
            "It turns C channels into V logits, at every position alike: V * C numbers.",
        ),
        Mistake(
            "the matrix at the end also reads positions",
            lambda V, T, C, tied, bytes_each: (V * C + T * C) * (1 if tied else 2) * bytes_each,
            "Only the token table has a counterpart at the end: V * C numbers more, not T * C.",
        ),
        Mistake(
            "the positions have V columns",
            lambda V, T, C, tied, bytes_each: (V * C + T * V + (0 if tied else V * C)) * bytes_each,
            "A position has a row of C numbers, as a token has, so that the two can be added.",
        ),
        Mistake(
            "the positions take one number each",
            lambda V, T, C, tied, bytes_each: (V * C + T + (0 if tied else V * C)) * bytes_each,
            "A position has a row of C numbers, as a token has, so that the two can be added.",
        ),
        Mistake(
            "the channels are forgotten",
            lambda V, T, C, tied, bytes_each: (V + T + (0 if tied else V)) * bytes_each,
            "Each row has C numbers.",
        ),
        Mistake(
            "the matrix at the end has a bias",
            lambda V, T, C, tied, bytes_each: (V * C + T * C + (0 if tied else V * C + V)) * bytes_each,
            "The matrix alone is counted here (and GPT-2's has no bias).",
        ),
        Mistake(
            "tied weights remove the token table too",
            lambda V, T, C, tied, bytes_each: (T * C if tied else 2 * V * C + T * C) * bytes_each,
            "Tied, there is one table of tokens, used at both ends. Count it once.",
        ),
    ],
    hints=[
        "How many numbers are in a table with V rows of C?",
        "Two tables always, and a third matrix of the size of the first unless tied.",
        "`(V * C + T * C + (0 if tied else V * C)) * bytes_each`",
    ],
)

EXERCISES = [_EMBED, _ONE_HOT, _POSITIONS, _GRADIENT, _WAVES, _NEIGHBOURS, _COUNTING, _SIZE]

PREDICTIONS = [
    Prediction(
        id="embedding.a",
        question="ids has the shape [B = 2, T = 3], the table has [V = 7, C = 4]. What is the shape of table[ids]?",
        kind="shape",
        answer=(2, 3, 4),
        explanation="Each id is replaced by a row of C numbers, so the shape of the ids gets C at its end. V is gone.",
    ),
    Prediction(
        id="embedding.b",
        question="The ids are [[3, 1, 3], [1, 1, 4]] and the table has 7 rows. How many rows get a gradient other than "
        "zero?",
        kind="number",
        answer=3,
        explanation="The rows 1, 3 and 4 were looked up. How often decides how much each gets, not which rows get "
        "something.",
    ),
    Prediction(
        id="embedding.c",
        question="Every row now holds token plus position. You take the mean over the sequence. Does the mean tell "
        "the hen that saw the fox from the fox that saw the hen?",
        kind="choice",
        choices=("yes, each token carries its position", "no, the two means are equal", "only with learned positions"),
        answer="b",
        explanation="The sum can be reordered: first all tokens, then all positions. Both sentences have the same of "
        "each.",
    ),
    Prediction(
        id="embedding.d",
        question="The bigram's table of logits holds zeros, and V is 859. What is the first loss, in nats per token?",
        kind="number",
        answer=round(math.log(859), 2),
        tolerance=0.02,
        explanation="Equal logits are equal probabilities, 1/V each, and -ln(1/V) is ln V.",
    ),
    Prediction(
        id="embedding.e",
        question="One table is used at both ends, with nothing in between: the logit of j after i is the dot product "
        "of rows i and j. What is then the logit of i after j?",
        kind="choice",
        choices=("the same number", "the same with a minus sign", "independent of it"),
        answer="a",
        explanation="A dot product does not change when its two vectors are exchanged.",
    ),
]

QUESTIONS = [
    Question(
        about="tokens",
        question="A vocabulary has V tokens. Which ids are there?",
        choices=("1 to V", "0 to V − 1", "any integer"),
        answer="b",
        explanation="An id is the number of a row, and rows are counted from 0.",
    ),
    Question(
        about="bpe",
        question="What does byte-pair encoding do in one step of its training?",
        choices=(
            "it merges the most frequent pair of neighbours into a new token",
            "it drops the rarest token",
            "it cuts the longest word in two",
        ),
        answer="a",
        explanation="Count the pairs, merge the most frequent one everywhere, and repeat until there are V tokens.",
    ),
    Question(
        about="batches",
        question="A batch has inputs and targets, both of shape [B, T]. What is the target at position t?",
        choices=("the input at t", "the input at t − 1", "the token that follows the input at t"),
        answer="c",
        explanation="Targets are the same text, one token later: each position is asked what comes next.",
    ),
]
