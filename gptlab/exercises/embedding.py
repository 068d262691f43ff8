"""Exercises on embeddings: a table looked up by row, positions, neighbours, and the bigram's best loss."""

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
    yield torch.tensor([[4, 1, 2]]), table
    yield torch.tensor([[3], [5]]), table
    for B, T, V, C in _SIZES:
        yield _integers(rng, V, B, T), _normal(rng, V, C)


_EMBED = Exercise(
    id="embedding.1",
    title="Look up the rows",
    minutes=5,
    difficulty=1,
    prompt="Replace each id by its row of the table.\n\nShapes: `ids` is an integer tensor [B, T], `table` a float "
    "tensor [V, C]. Result: a float tensor [B, T, C].",
    signature='def embed(ids: Int[Tensor, "B T"], table: Float[Tensor, "V C"]) -> Float[Tensor, "B T C"]',
    inputs=_embed_inputs,
    solution=embed,
    reference=lambda ids, table: F.one_hot(ids, len(table)).to(table.dtype) @ table,
    mistakes=[
        Mistake(
            "columns are looked up, not rows",
            lambda ids, table: table[:, ids % table.shape[1]],
            "`table[:, ids]` takes the columns with these numbers. An id is the number of a row: `table[ids]`.",
        ),
        Mistake(
            "the ids are counted from 1",
            lambda ids, table: table[ids - 1],
            "Id 0 is row 0. With `ids - 1` the id 0 becomes -1, and Python takes the last row without a word.",
        ),
        Mistake(
            "the axis of the channels comes before the axis of time",
            lambda ids, table: table[ids].transpose(1, 2),
            "[B, C, T] is the order of pictures and of convolutions. In this course the channels come last.",
        ),
        Mistake(
            "the batch has been flattened",
            lambda ids, table: table[ids.flatten()],
            "The rows are right, and stand in one list of B·T. Without `flatten` the result has B and T of its own.",
        ),
        Mistake(
            "the rows of a sequence are added up",
            lambda ids, table: table[ids].sum(dim=1),
            "This is a bag of tokens: one vector for each sequence. Keep a row for each position.",
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
    yield torch.tensor([[2, 0, 2]]), 4
    yield torch.tensor([[1, 1], [3, 0], [2, 2]]), 5
    for B, T, V, _ in _SIZES:
        yield _integers(rng, V, B, T), V


def _written(ids, V, by):
    """A one-hot tensor whose 1 stands `by` places further on."""
    return F.one_hot((ids + by) % V, V).float()


_ONE_HOT = Exercise(
    id="embedding.2",
    title="The same as a product",
    minutes=10,
    difficulty=2,
    prompt="Write each id as V numbers: 1.0 at the place with the number of the id, 0.0 everywhere else. Multiplied "
    "with the table, this gives the rows that a look-up gives. (Without `F.one_hot`.)\n\nShapes: `ids` is an integer "
    "tensor [B, T], `V` an `int`. Result: a float tensor [B, T, V].",
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
            "the numbers are no floats",
            lambda ids, V: F.one_hot(ids, V),
            "A matrix product wants one dtype on both sides, and the table holds floats. Put `.float()` at the end.",
        ),
        Mistake(
            "the 1 stands one place too far on",
            lambda ids, V: _written(ids, V, 1),
            "Places are counted from 0: id 0 has its 1 at place 0.",
        ),
        Mistake(
            "a sequence has one vector, with all its tokens in it",
            lambda ids, V: F.one_hot(ids, V).float().sum(dim=1),
            "That counts how often each token occurs, and forgets where. Each position has V numbers of its own.",
        ),
        Mistake(
            "the vocabulary stands before the time",
            lambda ids, V: F.one_hot(ids, V).float().transpose(1, 2),
            "[B, V, T] @ [V, C] does not fit. The axis that is summed over comes last: [B, T, V].",
        ),
        Mistake(
            "the place holds the id, not 1",
            lambda ids, V: F.one_hot(ids, V) * ids[..., None].float(),
            "The row would be multiplied by its number. An id is a name, not an amount: write 1.0.",
        ),
    ],
    hints=[
        "Compare each id with the numbers 0 to V - 1.",
        "`ids[..., None]` has the shape [B, T, 1], and `torch.arange(V)` has [V]. What does `==` make of them?",
        "`(ids[..., None] == torch.arange(V)).float()`",
    ],
)

# ---- embedding.3 -----------------------------------------------------------------------------------------------------


def embed_with_positions(ids, tokens, places, start):
    T = ids.shape[1]
    return tokens[ids] + places[start : start + T]  # [B, T, C] + [T, C]


def _place_inputs(rng):
    yield torch.tensor([[1, 1, 0]]), torch.zeros(2, 2), torch.arange(10.0).reshape(5, 2), 0
    yield torch.tensor([[1, 1], [1, 0], [0, 0]]), torch.eye(2), torch.arange(12.0).reshape(6, 2), 2
    for B, T, V, C in _SIZES:
        start = rng.randrange(1, 4)
        yield _integers(rng, V, B, T), _normal(rng, V, C), _normal(rng, T + V + 5, C), start


_PLACES = Exercise(
    id="embedding.3",
    title="What, and where",
    minutes=10,
    difficulty=2,
    prompt="Add to each token's row the row of its place. The first id stands at place `start`, the next at "
    "`start + 1`, in every sequence of the batch alike. (A model that writes token by token calls this with the new "
    "token only, and `start` counts those before it.)\n\nShapes: `ids` is an integer tensor [B, T], `tokens` a float "
    "tensor [V, C], `places` a float tensor with C columns and at least `start + T` rows, `start` an `int`. Result: "
    "[B, T, C].",
    signature='def embed_with_positions(ids: Int[Tensor, "B T"], tokens: Float[Tensor, "V C"],\n'
    '                         places: Float[Tensor, "N C"], start: int) -> Float[Tensor, "B T C"]',
    inputs=_place_inputs,
    solution=embed_with_positions,
    mistakes=[
        Mistake(
            "the place is the number of the sequence in the batch",
            lambda ids, tokens, places, start: tokens[ids] + places[start : start + len(ids)][:, None],
            "Rows [B, 1, C] fit as well, so nothing complained. Two tokens of one sequence then get the same place. "
            "Count along T.",
        ),
        Mistake(
            "`start` is forgotten",
            lambda ids, tokens, places, start: tokens[ids] + places[: ids.shape[1]],
            "The first id does not always stand at place 0: begin at row `start`.",
        ),
        Mistake(
            "places are looked up by token",
            lambda ids, tokens, places, start: tokens[ids] + places[start + ids],
            "Then the same token gets the same row wherever it stands. Look the places up by 0, 1, 2 …, not by ids.",
        ),
        Mistake(
            "places are counted from 1",
            lambda ids, tokens, places, start: tokens[ids] + places[start + 1 : start + 1 + ids.shape[1]],
            "The first row of the table is row 0: the slice begins at `start`.",
        ),
        Mistake(
            "the place is multiplied with the token",
            lambda ids, tokens, places, start: tokens[ids] * places[start : start + ids.shape[1]],
            "The two rows are added.",
        ),
        Mistake(
            "all tokens get the place of the first",
            lambda ids, tokens, places, start: tokens[ids] + places[start],
            "`places[start]` is one row. You need T of them: a slice.",
        ),
    ],
    hints=[
        "Two look-ups and one sum. Which shape do the rows of the places have?",
        "[B, T, C] + [T, C] works: the rows of the places are used for each sequence again.",
        "`tokens[ids] + places[start : start + T]`",
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
    yield torch.tensor([[1, 0, 1]]), torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]]), 4
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


_GRADIENT = Exercise(
    id="embedding.4",
    title="Which rows learn?",
    minutes=15,
    difficulty=2,
    prompt="The way back through a look-up. You are given `upstream`: for each position, how the loss changes with "
    "each of the C numbers that were looked up there. Give the same for the table: a row that was used several times "
    "gets the sum, a row that was not used gets zeros. (With loops, or without autograd at least.)\n\nShapes: `ids` is "
    "an integer tensor [B, T], `upstream` a float tensor [B, T, C], `V` an `int`. Result: [V, C].",
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
            "A row that was used n times gets n if the loss is the sum of all, as in the notebook. In general each use "
            "at (b, t) adds `upstream[b, t]`.",
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
    yield from [(3, 4), (2, 8), (5, 6)]
    for _ in range(5):
        yield rng.randrange(4, 30), 2 * rng.randrange(3, 16)


def _angles(T, C, exponent):
    return torch.arange(T)[:, None] / 10_000 ** exponent(torch.arange(C // 2), C)


def _interleaved(angles):
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


_WAVES = Exercise(
    id="embedding.5",
    title="Positions as waves",
    minutes=15,
    difficulty=2,
    prompt=r"Build the table of sinusoidal positions: $\sin(t / 10000^{2i/C})$ in column $2i$, and the cosine of the "
    "same angle in column $2i + 1$. `C` is even.\n\nShapes: `T` and `C` are of type `int`. Result: a float tensor "
    "[T, C].",
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
            "The length of the wave grows with the column: divide t by 10000 ** (2 * i / C).",
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
    likeness = unit @ unit[id]  # [V]
    likeness[id] = -torch.inf
    return likeness.topk(k).indices.tolist()


def _neighbour_inputs(rng):
    table = torch.tensor([[1.0, 0.1], [9.0, 9.5], [0.9, 0.0], [-5.0, 0.2], [1.2, 0.9], [0.1, 2.0]])
    yield table, 0, 2
    yield table, 4, 3
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


_NEIGHBOURS = Exercise(
    id="embedding.6",
    title="Who is like whom?",
    minutes=15,
    difficulty=2,
    prompt="Which k rows of a table point most nearly in the direction of row `id`? Likeness is the cosine of the "
    "angle: the dot product of the two rows after each has been divided by its length. The row itself does not count."
    "\n\nShapes: `table` is a float tensor [V, C], `id` and `k` are of type `int`. Result: a `list` of k ids, the "
    "most alike first.",
    signature='def neighbours(table: Float[Tensor, "V C"], id: int, k: int) -> list[int]',
    inputs=_neighbour_inputs,
    solution=neighbours,
    reference=_ranked(_cosine),
    mistakes=[
        Mistake(
            "the row itself is its own best neighbour",
            _ranked(_cosine, skip=False),
            "Nothing is more like a row than the row. Give it minus infinity before you choose.",
        ),
        Mistake(
            "the dot product is not divided by the lengths",
            _ranked(lambda table, id: table @ table[id]),
            "Long rows then win by their length. Divide each row by its norm first.",
        ),
        Mistake(
            "the least alike come out",
            _ranked(lambda table, id: -_cosine(table, id)),
            "The cosine is largest for the same direction: take the largest, not the smallest.",
        ),
        Mistake(
            "it is the distance, not the angle",
            _ranked(lambda table, id: -(table - table[id]).norm(dim=1)),
            "A short and a long row in one direction are alike by angle and far apart by distance. Both measures are "
            "in use; this exercise asks for the angle.",
        ),
        Mistake(
            "columns are normalised, not rows",
            _ranked(lambda table, id: F.normalize(table, dim=0) @ F.normalize(table, dim=0)[id]),
            "The length of a row is the norm over its C numbers: dim=1.",
        ),
    ],
    hints=[
        "Divide each row by its length: `table.norm(dim=1, keepdim=True)` has the shape [V, 1].",
        "One matrix product gives all V cosines: `unit @ unit[id]`. Take care of `id` itself.",
        "`likeness[id] = -torch.inf`, then `likeness.topk(k).indices.tolist()`.",
    ],
)

# ---- embedding.7 -----------------------------------------------------------------------------------------------------


def best_bigram_loss(ids):
    pairs = Counter(itertools.pairwise(ids))
    before = Counter(ids[:-1])
    nats = 0.0
    for (i, _), n in pairs.items():
        p = n / before[i]
        nats -= n * math.log(p)
    return nats / (len(ids) - 1)


def _counting_inputs(rng):
    yield ([0, 1, 0, 1, 0, 2],)
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


_COUNTING = Exercise(
    id="embedding.7",
    title="The best bigram, without training",
    minutes=20,
    difficulty=3,
    prompt="A bigram model knows one token and guesses the next. What is the smallest mean loss that it can reach on a "
    "text? Count: of all times that token i was followed by anything, it was followed by j in the part p. Each such "
    "pair costs −ln p. Give the mean over all pairs of neighbours of the text.\n\nInput: `ids`, a `list` of `int`, at "
    "least two. Result: a `float`, in nats a token.",
    signature="def best_bigram_loss(ids: list[int]) -> float",
    inputs=_counting_inputs,
    solution=best_bigram_loss,
    tolerance=1e-4,
    mistakes=[
        Mistake(
            "p is the part of all pairs",
            _bigram_wrong(lambda n, first, last, N: n / N),
            "n / N is the probability of seeing i and j together. Divide by how often i came first.",
        ),
        Mistake(
            "p is the part among what came before j",
            _bigram_wrong(lambda n, first, last, N: n / last),
            "You divide by how often j came second. That guesses backwards: divide by how often i came first.",
        ),
        Mistake(
            "the first token is not used",
            _bigram_wrong(lambda n, first, last, N: last / N),
            "This is a unigram: how frequent is j at all? The bigram asks how frequent it is after i.",
        ),
        Mistake(
            "rare pairs weigh as much as frequent ones",
            _bigram_wrong(lambda n, first, last, N: n / first, weigh=False),
            "A pair that occurs n times is paid n times: multiply by n, and divide by the number of pairs in the text.",
        ),
        Mistake(
            "it is in bits",
            _bigram_wrong(lambda n, first, last, N: n / first, log=math.log2),
            "Nats take the natural logarithm, `math.log`.",
        ),
        Mistake(
            "the last token counts as one that is followed",
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
            "ln p is negative for p < 1. A loss is what is paid: −ln p.",
        ),
        Mistake(
            "it is the loss of the whole text",
            _bigram_wrong(lambda n, first, last, N: n / first, total=lambda ids: 1),
            "Divide by the number of pairs, `len(ids) - 1`.",
        ),
    ],
    hints=[
        "Two counts: of pairs of neighbours, and of tokens that have a neighbour behind them.",
        "`Counter(zip(ids[:-1], ids[1:]))` and `Counter(ids[:-1])`. The quotient of the two is p.",
        "Sum `-n * math.log(n / before[i])` over the different pairs, and divide by `len(ids) - 1`.",
    ],
)

# ---- embedding.8 -----------------------------------------------------------------------------------------------------


def table_bytes(V, T, C, tied, bytes_each):
    tables = V * C + T * C + (0 if tied else V * C)
    return tables * bytes_each


def _size_inputs(rng):
    yield from [(10, 4, 3, True, 1), (10, 4, 3, False, 1), (10, 4, 3, False, 4)]
    yield 50_257, 1024, 768, True, 4
    for _ in range(6):
        yield rng.randrange(50, 900), rng.randrange(8, 40), rng.randrange(5, 64), rng.random() < 0.5, rng.choice((2, 4))


_SIZE = Exercise(
    id="embedding.8",
    title="How large are the tables?",
    minutes=5,
    difficulty=1,
    prompt="A model has a table of V tokens, a table of T learned positions, and at its end a matrix that turns C "
    "channels into V logits. If the weights are tied, that matrix is the table of tokens itself. How many bytes do "
    "they take together?\n\nInput: `V`, `T`, `C` and `bytes_each` (for one number) of type `int`, `tied`, a bool. "
    "Result: an `int`.",
    signature="def table_bytes(V: int, T: int, C: int, tied: bool, bytes_each: int) -> int",
    inputs=_size_inputs,
    solution=table_bytes,
    mistakes=[
        Mistake(
            "a tied table is counted twice",
            lambda V, T, C, tied, bytes_each: (2 * V * C + T * C) * bytes_each,
            "Tied means the same memory: it reads and it writes. Count it once.",
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
            "Token and position are looked up apart and added: V rows and T rows, not V times T.",
        ),
    ],
    hints=[
        "How many numbers has a table with V rows of C?",
        "Two tables always, and a third matrix of the size of the first unless tied.",
        "`(V * C + T * C + (0 if tied else V * C)) * bytes_each`",
    ],
)

EXERCISES = [_EMBED, _ONE_HOT, _PLACES, _GRADIENT, _WAVES, _NEIGHBOURS, _COUNTING, _SIZE]

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
        explanation="The rows 1, 3 and 4 were looked up. How often does not matter for which, only for how much.",
    ),
    Prediction(
        id="embedding.c",
        question="Every row now holds token plus position. You take the mean over the sequence. Does the mean tell "
        "the hen that saw the fox from the fox that saw the hen?",
        kind="choice",
        choices=("yes, each token carries its place", "no, the two means are equal", "only with learned positions"),
        answer="b",
        explanation="A sum of sums can be sorted: all tokens, then all places. Both sentences have the same of each.",
    ),
    Prediction(
        id="embedding.d",
        question="The bigram's table holds zeros, and V is 859. What is the first loss, in nats a token?",
        kind="number",
        answer=round(math.log(859), 2),
        tolerance=0.02,
        explanation="Equal logits are equal probabilities, 1/V each, and -ln(1/V) is ln V.",
    ),
    Prediction(
        id="embedding.e",
        question="One table reads and writes, with nothing in between: the logit of j after i is the dot product of "
        "rows i and j. What is then the logit of i after j?",
        kind="choice",
        choices=("the same number", "the same with a minus", "independent of it"),
        answer="a",
        explanation="A dot product does not change when its two vectors change places.",
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
