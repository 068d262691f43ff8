"""Exercises on training with many GPUs: shares of a batch and of a model, what dies, budgets, and scaling laws."""

import math

from gptlab import cluster
from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question

# ---- cluster.1 -------------------------------------------------------------------------------------------------------


def own_rows(rows: int, rank: int, ranks: int) -> list[int]:
    share = -(-rows // ranks)  # rounded up
    return list(range(rows))[rank * share : (rank + 1) * share]


def _row_inputs(rng):
    yield from [(4, 0, 2), (4, 1, 2), (5, 0, 2), (5, 1, 2), (7, 0, 3), (7, 1, 3), (7, 2, 3), (2, 2, 3), (9, 0, 1)]
    yield from [(5, 1, 3), (5, 2, 4), (5, 3, 4), (10, 3, 4), (9, 2, 4)]
    for _ in range(4):
        ranks = rng.randrange(2, 7)
        yield rng.randrange(10, 40), rng.randrange(ranks), ranks


def _rows_of(share, begin=lambda rank, share: rank * share, end=lambda rank, share, rows: (rank + 1) * share):
    def wrong(rows, rank, ranks):
        size = share(rows, ranks)
        return list(range(begin(rank, size), min(rows, end(rank, size, rows))))

    return wrong


def _up(rows, ranks):
    return -(-rows // ranks)


def _down(rows, ranks):
    return rows // ranks


def _rest_to_the_last(rows, rank, ranks):
    share = rows // ranks
    return list(range(rank * share, rows if rank == ranks - 1 else (rank + 1) * share))


def _rest_to_the_first(rows, rank, ranks):
    begins = [sum(rows // ranks + (r < rows % ranks) for r in range(before)) for before in (rank, rank + 1)]
    return list(range(*begins))


def _beyond_the_end(rows, rank, ranks):
    share = _up(rows, ranks)
    return list(range(rank * share, (rank + 1) * share))


_ROWS = Exercise(
    id="cluster.1",
    title="Which rows are mine?",
    kind="core",
    minutes=10,
    difficulty=2,
    prompt="A batch of `rows` rows is split among `ranks` processes, numbered from 0. Each takes as many consecutive "
    "rows as `rows / ranks`, **rounded up**, in the order of their numbers; the last ones get what is left, perhaps "
    "nothing. Together they have every row once.\n\nInput: three `int`. Result: a `list` of `int`, the numbers of the "
    "rows of `rank`, counted from 0.",
    signature="def own_rows(rows: int, rank: int, ranks: int) -> list[int]",
    inputs=_row_inputs,
    solution=own_rows,
    mistakes=[
        Mistake(
            "every rank reads everything",
            lambda rows, rank, ranks: list(range(rows)),
            "Then all of them compute the same, and nothing is gained. This mistake is silent: the loss looks right.",
        ),
        Mistake(
            "the share is rounded down",
            _rows_of(_down),
            "Rows are left over that nobody reads. Round up: `-(-rows // ranks)`.",
        ),
        Mistake(
            "the share is rounded to the nearest",
            _rows_of(lambda rows, ranks: round(rows / ranks)),
            "Where that rounds down, rows are left over that nobody reads. Round up: `-(-rows // ranks)`.",
        ),
        Mistake(
            "one is always added to the share",
            _rows_of(lambda rows, ranks: rows // ranks + 1),
            "Where `rows` divides evenly there is nothing to round: `-(-rows // ranks)` or `math.ceil`.",
        ),
        Mistake(
            "the last one gets all the rest",
            _rest_to_the_last,
            "All wait for the rank with the most rows. Rounded up, no rank has more than the first.",
        ),
        Mistake(
            "the first ones get one row more",
            _rest_to_the_first,
            "That is the fairest way (`numpy.array_split`). Here each takes rows / ranks rounded up while there are "
            "any, which is what `torch.chunk` does.",
        ),
        Mistake(
            "it goes beyond the end",
            _beyond_the_end,
            "The batch has only `rows` rows. A slice of `range(rows)` stops there by itself.",
        ),
        Mistake(
            "the last row of each share is missing",
            _rows_of(_up, end=lambda rank, share, rows: (rank + 1) * share - 1),
            "`range` leaves out its end already, so do not subtract 1.",
        ),
        Mistake(
            "each share has a row too many",
            _rows_of(_up, end=lambda rank, share, rows: (rank + 1) * share + 1),
            "The first row of the next rank is not yours: the end is (rank + 1) * share.",
        ),
        Mistake(
            "every share goes on to the end",
            _rows_of(_up, end=lambda rank, share, rows: rows),
            "A rank stops where the next one begins: at (rank + 1) * share.",
        ),
        Mistake(
            "every share begins at row 0",
            _rows_of(_up, begin=lambda rank, share: 0),
            "A rank begins where the one before stops: at rank * share.",
        ),
        Mistake(
            "every rank gets the first share",
            _rows_of(_up, begin=lambda rank, share: 0, end=lambda rank, share, rows: share),
            "You ignore the rank: rank r begins at r * share.",
        ),
        Mistake(
            "rank is the first row",
            _rows_of(_up, begin=lambda rank, share: rank, end=lambda rank, share, rows: rank + share),
            "Rank r begins at row r * share.",
        ),
        Mistake(
            "rows are counted from 1",
            lambda rows, rank, ranks: [row + 1 for row in own_rows(rows, rank, ranks)],
            "The first row has the number 0.",
        ),
        Mistake(
            "the rows are dealt out in turn",
            lambda rows, rank, ranks: list(range(rank, rows, ranks)),
            "That is a fair way, too. Here consecutive rows are asked for, which are read from disk in one go.",
        ),
        Mistake(
            "ranks are counted from 1",
            lambda rows, rank, ranks: list(range(rows))[max(rank - 1, 0) * _up(rows, ranks) : rank * _up(rows, ranks)],
            "Rank 0 has the first rows.",
        ),
        Mistake(
            "the number of rows is returned",
            lambda rows, rank, ranks: len(own_rows(rows, rank, ranks)),
            "The numbers of the rows are asked for, as a list.",
        ),
        Mistake(
            "begin and end are returned",
            lambda rows, rank, ranks: (rank * _up(rows, ranks), min(rows, (rank + 1) * _up(rows, ranks))),
            "The numbers of all the rows are asked for: `list(range(begin, end))`.",
        ),
    ],
    hints=[
        "How many rows has each, rounded up?",
        "Rank r begins at r · share.",
        "`list(range(rows))[rank * share : (rank + 1) * share]`",
    ],
    package="gptlab.cluster.RowsOfRank",
)

# ---- cluster.2 -------------------------------------------------------------------------------------------------------


def sent_bytes(numbers: int, ranks: int, width: int) -> float:
    piece = numbers * width / ranks
    return 2 * (ranks - 1) * piece


def _ring_inputs(rng):
    yield from [(12, 3, 4), (12, 4, 2), (12, 1, 4), (10, 4, 2), (12, 2, 4)]
    for _ in range(4):
        yield rng.randrange(10**6, 10**9), rng.randrange(2, 65), rng.choice((2, 4))


_RING = Exercise(
    id="cluster.2",
    title="What a ring sends",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="`ranks` processes add up their gradients, each of `numbers` numbers of `width` bytes. They stand in a "
    "ring, and each cuts its gradient into as many equal pieces as there are ranks. In every round each rank sends one "
    "piece to its right neighbour and receives one from its left. After `ranks - 1` rounds each rank has the finished "
    "sum of one piece; in `ranks - 1` more rounds the finished pieces are passed on, until everybody has all of them. "
    "How many bytes has each rank sent?\n\nInput: three `int`. Result: a `float`, in bytes, not rounded where the "
    "pieces are uneven.",
    signature="def sent_bytes(numbers: int, ranks: int, width: int) -> float",
    inputs=_ring_inputs,
    solution=sent_bytes,
    mistakes=[
        Mistake(
            "only the sums are made",
            lambda numbers, ranks, width: (ranks - 1) * numbers * width / ranks,
            "After that each rank has one finished piece. As many rounds again pass the finished pieces on.",
        ),
        Mistake(
            "each round sends the whole gradient, or all ranks are counted",
            lambda numbers, ranks, width: 2 * (ranks - 1) * numbers * width,
            "A round sends one piece, the gradient divided by the number of ranks; and one rank is asked for.",
        ),
        Mistake(
            "each rank sends its gradient to all others",
            lambda numbers, ranks, width: (ranks - 1) * numbers * width,
            "That works, and it is what the ring avoids: here a round sends one piece, to one neighbour.",
        ),
        Mistake(
            "there is one round too many in each half",
            lambda numbers, ranks, width: 2 * numbers * width,
            "Each half has `ranks - 1` rounds: a rank's own piece needs no sending. With one rank nothing is sent.",
        ),
        Mistake(
            "the gradient is sent once",
            lambda numbers, ranks, width: numbers * width,
            "That would be the way to one collector. Here there are 2 (ranks - 1) rounds of one piece each.",
        ),
        Mistake(
            "one round is missing",
            lambda numbers, ranks, width: (2 * ranks - 3) * numbers * width / ranks,
            "Both halves have `ranks - 1` rounds.",
        ),
        Mistake(
            "there is one round more than needed",
            lambda numbers, ranks, width: (2 * ranks - 1) * numbers * width / ranks,
            "Both halves have `ranks - 1` rounds: 2 (ranks - 1) in all.",
        ),
        Mistake(
            "these are numbers, not bytes",
            lambda numbers, ranks, width: 2 * (ranks - 1) * numbers / ranks,
            "Each number takes `width` bytes.",
        ),
        Mistake(
            "what is received is counted, too",
            lambda numbers, ranks, width: 4 * (ranks - 1) * numbers * width / ranks,
            "A rank receives as many bytes as it sends. Only what it sends is asked for.",
        ),
        Mistake(
            "the pieces are rounded down",
            lambda numbers, ranks, width: 2 * (ranks - 1) * (numbers // ranks) * width,
            "Where the gradient does not divide evenly, `//` loses some. Use `/`.",
        ),
    ],
    hints=[
        "How large is a piece, and how many rounds are there?",
        "A piece has numbers · width / ranks bytes.",
        "2 · (ranks - 1) rounds of one piece.",
    ],
)

# ---- cluster.3 -------------------------------------------------------------------------------------------------------


def held_bytes(parameters: int, gpus: int, stage: int) -> float:
    weights = 4 * parameters / (gpus if stage >= 3 else 1)
    gradients = 4 * parameters / (gpus if stage >= 2 else 1)
    averages = 8 * parameters / (gpus if stage >= 1 else 1)
    return weights + gradients + averages


def _stage_inputs(rng):
    yield from [(100, 4, stage) for stage in range(4)]
    yield from [(10, 4, 3), (10, 1, 3), (5, 3, 3), (7, 2, 1)]
    for stage in range(4):
        yield rng.randrange(10**6, 10**9), rng.choice((2, 8, 64)), stage


def _stages(first=1, second=2, third=3, averages=8, weights=4, gradients=4, reached=int.__ge__, more=0):
    """Bytes on each GPU with averages sharded from stage `first` on, gradients from `second`, weights from `third`."""

    def wrong(parameters, gpus, stage):
        shares = [gpus if reached(stage, begins) else 1 for begins in (third, second, first)]
        return parameters * (weights / shares[0] + gradients / shares[1] + averages / shares[2] + more)

    return wrong


def _rounded_shares(parameters, gpus, stage):
    weights = 4 * (parameters // gpus if stage >= 3 else parameters)
    gradients = 4 * (parameters // gpus if stage >= 2 else parameters)
    return weights + gradients + 8 * (parameters // gpus if stage >= 1 else parameters)


def _rounded_bytes(parameters, gpus, stage):
    weights = 4 * parameters // (gpus if stage >= 3 else 1)
    gradients = 4 * parameters // (gpus if stage >= 2 else 1)
    return weights + gradients + 8 * parameters // (gpus if stage >= 1 else 1)


_SHARDS = Exercise(
    id="cluster.3",
    title="What each GPU stores",
    kind="core",
    minutes=10,
    difficulty=2,
    prompt="A model of `parameters` numbers is trained with AdamW, everything in float32 (4 bytes per number), on "
    "`gpus` GPUs, each with its own part of the batch. At stage 0 each GPU stores everything: weights, gradients, and "
    "AdamW's two averages. At stage 1 each stores only its share of the averages, 1/`gpus` of them; at stage 2 of the "
    "gradients, too; at stage 3 of the weights, too (Rajbhandari et al. 2020; stage 3 is what FSDP does). How many "
    "bytes is that on each GPU? (Activations are not counted.)\n\n"
    "Input: three `int`, `stage` from 0 to 3. Result: a `float`, in bytes, not rounded where the shares are uneven.",
    signature="def held_bytes(parameters: int, gpus: int, stage: int) -> float",
    inputs=_stage_inputs,
    solution=held_bytes,
    mistakes=[
        Mistake(
            "AdamW stores one average",
            _stages(averages=4),
            "It stores two numbers for each weight, one of the gradient and one of its square: 8 bytes.",
        ),
        Mistake(
            "AdamW's averages are forgotten",
            _stages(averages=0),
            "It stores two numbers for each weight, one of the gradient and one of its square: 8 bytes.",
        ),
        Mistake(
            "the gradients are forgotten",
            _stages(gradients=0),
            "Each weight has a gradient, 4 bytes more, until the step is made.",
        ),
        Mistake(
            "the weights are forgotten",
            _stages(weights=0),
            "Besides gradients and averages there are the weights themselves, 4 bytes each.",
        ),
        Mistake(
            "weights and gradients are in 16 bits",
            _stages(weights=2, gradients=2),
            "That is mixed precision as some frameworks do it. Here everything is in float32: 4 bytes each.",
        ),
        Mistake(
            "weights and gradients are in 16 bits, with a copy of the weights in 32",
            _stages(weights=2, gradients=2, averages=12),
            "That is the paper's mixed precision, 2 + 2 + 12 bytes. Here everything is in float32: 4 + 4 + 8.",
        ),
        Mistake(
            "everything is in 16 bits",
            _stages(weights=2, gradients=2, averages=4),
            "A float32 takes 4 bytes.",
        ),
        Mistake(
            "numbers take 8 bytes",
            _stages(weights=8, gradients=8, averages=16),
            "A float32 takes 4 bytes; 8 would be float64.",
        ),
        Mistake(
            "everything is sharded at once",
            _stages(second=1, third=1),
            "Stage 1 shards only the averages. Gradients follow at 2, weights at 3.",
        ),
        Mistake(
            "it is sharded at stage 0, too",
            _stages(first=0, second=0, third=0),
            "At stage 0 each GPU has a full copy of everything: that is plain data parallelism.",
        ),
        Mistake(
            "sharding begins one stage early",
            _stages(first=0, second=1, third=2),
            "At stage 0 nothing is sharded; averages from 1 on, gradients from 2, weights from 3.",
        ),
        Mistake(
            "sharding begins one stage late",
            _stages(first=2, second=3, third=4),
            "`>=`, not `>`: the averages are sharded from stage 1 on, gradients from 2, weights from 3.",
        ),
        Mistake(
            "each stage shards one thing only",
            _stages(reached=int.__eq__),
            "The stages build on each other: at stage 2 the averages are still sharded. `>=`, not `==`.",
        ),
        Mistake(
            "nothing is ever sharded",
            _stages(first=9, second=9, third=9),
            "From stage 1 on each GPU stores only a share of the averages: divide by `gpus`.",
        ),
        Mistake(
            "the weights are never sharded",
            _stages(third=9),
            "At stage 3 each GPU stores only its share of the weights, and fetches the others block by block.",
        ),
        Mistake(
            "the order is the other way round",
            _stages(first=3, third=1),
            "The averages go first, because they are the largest and nothing needs them during the step.",
        ),
        Mistake(
            "gradients are sharded before the averages",
            _stages(first=2, second=1),
            "The averages go first, because they are the largest and nothing needs them during the step.",
        ),
        Mistake(
            "these are numbers, not bytes",
            _stages(averages=2, weights=1, gradients=1),
            "A float32 takes 4 bytes.",
        ),
        Mistake(
            "the shares are rounded down",
            _rounded_shares,
            "Where the parameters do not divide evenly, `//` loses some. Use `/`.",
        ),
        Mistake(
            "the bytes are rounded down",
            _rounded_bytes,
            "Where the bytes do not divide evenly, `//` loses a fraction. Use `/`.",
        ),
        Mistake(
            "these are the bytes of all GPUs together",
            lambda parameters, gpus, stage: gpus * held_bytes(parameters, gpus, stage),
            "The question is about each GPU alone: do not multiply by their number.",
        ),
    ],
    hints=[
        "Three lines: weights 4 bytes, gradients 4, averages 8, for each parameter.",
        "Each line is divided by `gpus` from its stage on: averages from 1, gradients from 2, weights from 3.",
        "`8 * parameters / (gpus if stage >= 1 else 1)`, and the other two likewise.",
    ],
    package="gptlab.cluster.memory_per_gpu",
)

# ---- cluster.4 -------------------------------------------------------------------------------------------------------


def wasted(interval: float, saving: float, gpus: int, lifetime: float) -> float:
    between = lifetime / gpus  # minutes from one failure of the run to the next
    return saving / interval + interval / 2 / between


def _waste_inputs(rng):
    yield from [(10.0, 1.0, 1, 100.0), (20.0, 1.0, 10, 1000.0), (60.0, 2.0, 8, 24_000.0), (5.0, 4.0, 100, 5000.0)]
    for _ in range(4):
        yield rng.uniform(5, 200), rng.uniform(0.5, 6), rng.choice((64, 512, 4096)), rng.uniform(1e6, 6e6)


def _waste(
    saves=lambda saving, interval: saving / interval,
    lost=lambda interval: interval / 2,
    between=lambda lifetime, gpus: lifetime / gpus,
    total=lambda saves, lost: saves + lost,
):
    def wrong(interval, saving, gpus, lifetime):
        return total(saves(saving, interval), lost(interval) / between(lifetime, gpus))

    return wrong


_WASTE = Exercise(
    id="cluster.4",
    title="How often to save?",
    kind="stretch",
    minutes=10,
    difficulty=2,
    prompt="After every `interval` minutes of work a checkpoint is written. That takes `saving` minutes, in which "
    "nothing is trained. One GPU fails once in `lifetime` minutes on average, independently of the others, and if one "
    "fails, the whole run of `gpus` goes back to its last checkpoint; half of an interval is lost then, on average. "
    "How many minutes are wasted for each minute of work, by saving and by failing together? (Leave out failures that "
    "happen while a checkpoint is written.)\n\nInput: `interval`, `saving` and `lifetime`, each a `float`, and `gpus`, "
    "an `int`. Result: a `float`.",
    signature="def wasted(interval: float, saving: float, gpus: int, lifetime: float) -> float",
    inputs=_waste_inputs,
    solution=wasted,
    mistakes=[
        Mistake(
            "only one GPU can fail",
            _waste(between=lambda lifetime, gpus: lifetime),
            "Any of the GPUs stops the whole run, so failures come `gpus` times as often.",
        ),
        Mistake(
            "more GPUs fail less often",
            _waste(between=lambda lifetime, gpus: lifetime * gpus),
            "With more GPUs something fails more often: the time between two failures is lifetime / gpus.",
        ),
        Mistake(
            "the whole interval is lost",
            _waste(lost=lambda interval: interval),
            "A failure comes somewhere between two checkpoints: half of the interval is lost on average.",
        ),
        Mistake(
            "a quarter of the interval is lost",
            _waste(lost=lambda interval: interval / 4),
            "Half of the interval is lost on average: divide by 2 once.",
        ),
        Mistake(
            "saving is free",
            _waste(saves=lambda saving, interval: 0),
            "Each checkpoint takes `saving` minutes, once in `interval`.",
        ),
        Mistake(
            "nothing ever fails",
            _waste(lost=lambda interval: 0),
            "That is what saving wastes. Add what failures waste: half an interval for each.",
        ),
        Mistake(
            "the minutes of one checkpoint are counted for every minute",
            _waste(saves=lambda saving, interval: saving),
            "A checkpoint is written once in `interval` minutes: saving / interval.",
        ),
        Mistake(
            "saving is upside down",
            _waste(saves=lambda saving, interval: interval / saving),
            "The longer the interval, the less is wasted by saving: saving / interval.",
        ),
        Mistake(
            "the larger of the two counts",
            _waste(total=max),
            "Both are wasted: add them.",
        ),
        Mistake(
            "one is subtracted from the other",
            _waste(total=lambda saves, lost: lost - saves),
            "Both are wasted: add them.",
        ),
        Mistake(
            "the two are multiplied",
            _waste(total=lambda saves, lost: saves * lost),
            "Both are wasted: add them.",
        ),
        Mistake(
            "it is a percentage",
            _waste(total=lambda saves, lost: 100 * (saves + lost)),
            "Minutes for each minute are asked for: 0.05, not 5.",
        ),
        Mistake(
            "it is divided by work and saving together",
            lambda interval, saving, gpus, lifetime: (
                interval * wasted(interval, saving, gpus, lifetime) / (interval + saving)
            ),
            "That is wasted for each minute of work or saving. Divide by the minutes of work alone, `interval`.",
        ),
        Mistake(
            "it is the fraction of all the time",
            _waste(total=lambda saves, lost: (saves + lost) / (1 + saves + lost)),
            "That is wasted for each minute of the whole run, waste included. Divide by the minutes of work alone.",
        ),
        Mistake(
            "these are minutes in an interval",
            lambda interval, saving, gpus, lifetime: interval * wasted(interval, saving, gpus, lifetime),
            "That is wasted in an interval. Divide by its minutes.",
        ),
    ],
    hints=[
        "Two kinds of waste: writing checkpoints, and work that is done twice.",
        "saving / interval for the first. A failure comes every lifetime / gpus minutes, and costs interval / 2.",
        "`saving / interval + interval / 2 / (lifetime / gpus)`",
    ],
)

# ---- cluster.5 -------------------------------------------------------------------------------------------------------


def tokens_needed(loss: float, N: float, E: float, A: float, alpha: float, B: float, beta: float) -> float:
    left = loss - E - A / N**alpha  # what too few tokens may cost
    return (B / left) ** (1 / beta) if left > 0 else math.inf


def _needed_inputs(rng):
    yield from [(2.5, N, 1.0, 10.0, 0.5, 20.0, 0.5) for N in (100.0, 400.0, 25.0)]
    yield 2.5, 25.0, 1.0, 10.0, 0.5, 3.0, 1 / 3  # 1 / beta is whole where no D is enough, so that no power is complex
    law = (1.8172, 482.01, 0.3478, 2085.43, 0.3658)  # Besiroglu et al. 2024
    yield from [(1.97, 70e9, *law), (2.04, 8e9, *law)]
    for above in (0.05, 0.3, -0.02):
        N = 10 ** rng.uniform(8, 11)
        E, A, alpha = rng.uniform(1.5, 2), rng.uniform(300, 500), rng.uniform(0.3, 0.36)
        B, beta = rng.uniform(900, 2000), rng.uniform(0.38, 0.45) if above > 0 else 0.5
        yield E + A / N**alpha + above * rng.uniform(0.8, 1.2), N, E, A, alpha, B, beta


def _needed(
    left=lambda loss, N, E, A, alpha, B, beta: loss - E - A / N**alpha,
    tokens=lambda left, N, A, alpha, B, beta: (B / left) ** (1 / beta),
    never=lambda *law: math.inf,
):
    """The tokens from what is `left` for them, and what is said where nothing is."""

    def wrong(loss, N, E, A, alpha, B, beta):
        rest = left(loss, N, E, A, alpha, B, beta)
        return (tokens if rest > 0 else never)(rest, N, A, alpha, B, beta)

    return wrong


_NEEDED = Exercise(
    id="cluster.5",
    title="How long to train a smaller model?",
    kind="core",
    minutes=10,
    difficulty=2,
    prompt=r"By the law $L = E + A / N^{\alpha} + B / D^{\beta}$, how many tokens $D$ does a model of `N` parameters "
    "have to be trained on to reach the loss `loss`? If no number of tokens is enough, because E and the size alone "
    "already cost more than that, return `math.inf`."
    "\n\nInput: seven `float`, all above 0. Result: a `float`, D, not rounded. "
    "`tokens_needed(2.5, 100.0, 1.0, 10.0, 0.5, 20.0, 0.5)` is `1600.0`.",
    signature="def tokens_needed(loss: float, N: float, E: float, A: float, alpha: float, B: float, beta: float)\n"
    "    -> float",
    inputs=_needed_inputs,
    solution=tokens_needed,
    tolerance=1e-6,
    mistakes=[
        Mistake(
            "a model that is too small gets a number of tokens",
            _needed(never=lambda left, N, A, alpha, B, beta: (B / left) ** (1 / beta)),
            "If E and the size alone cost more than the loss, nothing is left for the tokens: no number of them is "
            "enough, so return `math.inf`.",
        ),
        Mistake(
            "a model that is too small gets a number of tokens, without its sign",
            _needed(never=lambda left, N, A, alpha, B, beta: (B / -left) ** (1 / beta)),
            "`abs` hides that nothing is left for the tokens: no number of them is enough, so return `math.inf`.",
        ),
        Mistake(
            "a model that is too small needs no tokens",
            _needed(never=lambda *law: 0.0),
            "It's the other way round: no number of tokens is enough, so return `math.inf`.",
        ),
        Mistake(
            "the floor is forgotten",
            _needed(left=lambda loss, N, E, A, alpha, B, beta: loss - A / N**alpha),
            "Even a perfect model has the loss E. What is left for the tokens is loss − E − A / N^α.",
        ),
        Mistake(
            "the size costs nothing",
            _needed(left=lambda loss, N, E, A, alpha, B, beta: loss - E),
            "That holds for a model of any size you like. What is left for the tokens is loss − E − A / N^α.",
        ),
        Mistake(
            "every model is too small",
            _needed(left=lambda loss, N, E, A, alpha, B, beta: loss - E - A * N**alpha),
            "You always return infinity. What is left for the tokens is loss − E − A / N^α (a larger model costs "
            "less: divide by N^α); only where that is not above 0, the model is too small.",
        ),
        Mistake(
            "the size is not raised to α",
            _needed(left=lambda loss, N, E, A, alpha, B, beta: loss - E - A / N),
            "The size costs A / N^α: `A / N**alpha`.",
        ),
        Mistake(
            "what is left has the wrong sign",
            _needed(left=lambda loss, N, E, A, alpha, B, beta: E + A / N**alpha - loss),
            "What is left for the tokens is the loss minus what E and the size cost: loss − E − A / N^α.",
        ),
        Mistake(
            "β multiplies where it should be a root",
            _needed(tokens=lambda left, N, A, alpha, B, beta: (B / left) ** beta),
            "D^β = B / left. To get D, raise both sides to 1 / β, not to β.",
        ),
        Mistake(
            "β is forgotten",
            _needed(tokens=lambda left, N, A, alpha, B, beta: B / left),
            "B / left is D^β. Raise it to 1 / β.",
        ),
        Mistake(
            "it is divided by β",
            _needed(tokens=lambda left, N, A, alpha, B, beta: B / left / beta),
            "β is an exponent, so dividing by it doesn't undo it: raise B / left to 1 / β.",
        ),
        Mistake(
            "the fraction is upside down",
            _needed(tokens=lambda left, N, A, alpha, B, beta: (left / B) ** (1 / beta)),
            "B / D^β = left, so D^β = B / left: the less is left, the more tokens it takes.",
        ),
        Mistake(
            "α in place of β",
            _needed(tokens=lambda left, N, A, alpha, B, beta: (B / left) ** (1 / alpha)),
            "α belongs to the parameters. The exponent of the tokens is β.",
        ),
        Mistake(
            "A in place of B",
            _needed(tokens=lambda left, N, A, alpha, B, beta: (A / left) ** (1 / beta)),
            "A belongs to the parameters. The tokens cost B / D^β.",
        ),
        Mistake(
            "B is forgotten",
            _needed(tokens=lambda left, N, A, alpha, B, beta: left ** (-1 / beta)),
            "The tokens cost B / D^β, not 1 / D^β.",
        ),
        Mistake(
            "only B is under the root",
            _needed(tokens=lambda left, N, A, alpha, B, beta: B ** (1 / beta) / left),
            "D^β = B / left: the whole fraction is raised to 1 / β.",
        ),
        Mistake(
            "only what is left is under the root",
            _needed(tokens=lambda left, N, A, alpha, B, beta: B / left ** (1 / beta)),
            "D^β = B / left: the whole fraction is raised to 1 / β.",
        ),
        Mistake(
            "these are tokens per parameter",
            _needed(tokens=lambda left, N, A, alpha, B, beta: (B / left) ** (1 / beta) / N),
            "All tokens are asked for: do not divide by N.",
        ),
        Mistake(
            "these are FLOPs",
            _needed(tokens=lambda left, N, A, alpha, B, beta: 6 * N * (B / left) ** (1 / beta)),
            "The tokens are asked for, D. 6 N D is the work of training on them.",
        ),
    ],
    hints=[
        "How much of the loss is left for the tokens, once E and the size are paid for?",
        "left = loss − E − A / N^α, and B / D^β = left. What if nothing is left?",
        "`(B / left) ** (1 / beta)` if `left` is above 0, else `math.inf`.",
    ],
    package="gptlab.cluster.chinchilla_loss",
)

# ---- cluster.6 -------------------------------------------------------------------------------------------------------


def fit_law(sizes: list[float], losses: list[float], floor: float) -> tuple[float, float]:
    x = [math.log(size) for size in sizes]
    y = [math.log(loss - floor) for loss in losses]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)
    return math.exp(mean_y - slope * mean_x), -slope


def _law_inputs(rng):
    yield [1e4, 4e4, 16e4], [3.0, 2.0, 1.5], 1.0
    yield [1e3, 1e4, 1e5], [5.0, 4.2, 2.1], 1.5
    for runs in (4, 5, 6):
        sizes = [5e3 * 2**i for i in range(runs)]
        A, alpha, floor = rng.uniform(20, 60), rng.uniform(0.2, 0.5), rng.uniform(0.5, 2)
        yield sizes, [floor + A * N**-alpha * math.exp(rng.gauss(0, 0.08)) for N in sizes], floor


def _products(x, y):
    """The sum of the products of the differences from the means."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))


def _slope(x, y):
    return _products(x, y) / _products(x, x)


def _law_variant(
    slope=_slope,
    below=lambda loss, floor: loss - floor,
    log_x=math.log,
    log_y=math.log,
    power=math.exp,
    intercept=lambda mean_x, mean_y, slope: mean_y - slope * mean_x,
    result=lambda A, slope: (A, -slope),
):
    def wrong(sizes, losses, floor):
        x, y = [log_x(size) for size in sizes], [log_y(below(loss, floor)) for loss in losses]
        found = slope(x, y)
        return result(power(intercept(sum(x) / len(x), sum(y) / len(y), found)), found)

    return wrong


def _through_the_first(sizes, losses, floor):
    slope = -fit_law(sizes, losses, floor)[1]
    return math.exp(math.log(losses[0] - floor) - slope * math.log(sizes[0])), -slope


def _through_the_ends(sizes, losses, floor):
    x, y = [math.log(size) for size in sizes], [math.log(loss - floor) for loss in losses]
    slope = (y[-1] - y[0]) / (x[-1] - x[0])
    return math.exp(y[0] - slope * x[0]), -slope


_LAW = Exercise(
    id="cluster.6",
    title="A law from small runs",
    kind="stretch",
    minutes=20,
    difficulty=3,
    prompt=r"Some runs of different sizes $N$ ended at different losses, and the entropy floor $E$ is known. Fit "
    r"$L(N) = E + A / N^{\alpha}$: take natural logarithms, $\ln(L - E) = \ln A - \alpha \ln N$, and find the straight "
    r"line with the least squares of the differences in $\ln(L - E)$. Its slope is the covariance of the two "
    r"logarithms divided by the variance of the first; it goes through both means."
    "\n\nInput: `sizes` and `losses`, "
    "each a `list` of `float`; `floor`, a `float` below all losses. Result: two `float`, A and α.",
    signature="def fit_law(sizes: list[float], losses: list[float], floor: float) -> tuple[float, float]",
    inputs=_law_inputs,
    solution=fit_law,
    reference=lambda sizes, losses, floor: (
        cluster.fit_scaling_law(sizes, losses, floor).A,
        cluster.fit_scaling_law(sizes, losses, floor).alpha,
    ),
    tolerance=1e-6,
    mistakes=[
        Mistake(
            "the floor is forgotten",
            _law_variant(below=lambda loss, floor: loss),
            "What follows the law is what is above the floor. With the floor in it the line bends.",
        ),
        Mistake(
            "the floor is added",
            _law_variant(below=lambda loss, floor: loss + floor),
            "What follows the law is what is **above** the floor: L − E.",
        ),
        Mistake(
            "the logarithms are subtracted",
            _law_variant(below=lambda loss, floor: loss / floor),
            "ln L − ln E is the logarithm of a ratio. Subtract first, then take the logarithm: ln(L − E).",
        ),
        Mistake(
            "the sign of α is wrong",
            _law_variant(result=lambda A, slope: (A, slope)),
            "The slope is negative, because larger models are better; α is minus the slope.",
        ),
        Mistake(
            "A and α are exchanged",
            _law_variant(result=lambda A, slope: (-slope, A)),
            "First A, then α.",
        ),
        Mistake(
            "A is still a logarithm",
            _law_variant(power=lambda value: value),
            "The line begins at ln A: take the exponential.",
        ),
        Mistake(
            "A is turned upside down",
            _law_variant(power=lambda value: math.exp(-value)),
            "The line begins at ln A: A is e to that, not to minus that.",
        ),
        Mistake(
            "two kinds of logarithm are mixed",
            _law_variant(log_x=math.log10, log_y=math.log10),
            "With log10 on both axes the slope is the same, but then A is 10 to that power, not e.",
        ),
        Mistake(
            "two kinds of logarithm are mixed, of base 2",
            _law_variant(log_x=math.log2, log_y=math.log2),
            "With log2 on both axes the slope is the same, but then A is 2 to that power, not e.",
        ),
        Mistake(
            "the sizes are not logarithms",
            _law_variant(log_x=float),
            "Both axes are logarithms: x = ln N as well.",
        ),
        Mistake(
            "the losses are not logarithms",
            _law_variant(log_y=float, power=float),
            "Both axes are logarithms: y = ln(L − E). Then A is e to the intercept.",
        ),
        Mistake(
            "only the smallest and the largest run count",
            _through_the_ends,
            "A line through two points trusts their noise. Least squares uses all runs.",
        ),
        Mistake(
            "the line goes through the first run",
            _through_the_first,
            "The slope is right. The best line goes through both means: ln A = mean y − slope · mean x.",
        ),
        Mistake(
            "the line is fitted the other way round",
            _law_variant(slope=lambda x, y: _products(y, y) / _products(x, y)),
            "You divided by the covariance: that is the line for ln N given the loss. Divide by the variance of ln N.",
        ),
        Mistake(
            "the covariance is divided by the variance of the losses",
            _law_variant(slope=lambda x, y: _products(x, y) / _products(y, y)),
            "The slope says how y changes with x: divide by the variance of x, the first of the two.",
        ),
        Mistake(
            "the covariance is not divided",
            _law_variant(slope=lambda x, y: _products(x, y) / len(x)),
            "Divide the covariance by the variance of ln N.",
        ),
        Mistake(
            "covariance and variance are not counted alike",
            _law_variant(slope=lambda x, y: _slope(x, y) * len(x) / (len(x) - 1)),
            "One is divided by n − 1 and the other by n (`numpy.cov` and `numpy.var` differ in that). Take the same "
            "for both.",
        ),
        Mistake(
            "covariance and variance are not counted alike, the other way round",
            _law_variant(slope=lambda x, y: _slope(x, y) * (len(x) - 1) / len(x)),
            "One is divided by n and the other by n − 1. Take the same for both.",
        ),
        Mistake(
            "it is the correlation",
            _law_variant(slope=lambda x, y: _products(x, y) / math.sqrt(_products(x, x) * _products(y, y))),
            "A correlation is divided by both standard deviations. The slope is divided by the variance of ln N.",
        ),
        Mistake(
            "the means are not subtracted",
            _law_variant(
                slope=lambda x, y: sum(a * b for a, b in zip(x, y, strict=True)) / sum(a * a for a in x),
            ),
            "That is a line through the origin. Covariance and variance are about differences from the means.",
        ),
        Mistake(
            "the intercept is the mean",
            _law_variant(intercept=lambda mean_x, mean_y, slope: mean_y),
            "The mean of y belongs to the mean of x. At ln N = 0 the line is at mean y − slope · mean x.",
        ),
        Mistake(
            "the intercept has the wrong sign",
            _law_variant(intercept=lambda mean_x, mean_y, slope: mean_y + slope * mean_x),
            "The line goes through both means: mean y = ln A + slope · mean x, so **subtract** slope · mean x.",
        ),
    ],
    hints=[
        "Make two lists: x = ln N, y = ln(L − E).",
        "slope = Σ (x − mean x)(y − mean y) / Σ (x − mean x)².",
        "α = −slope, A = exp(mean y − slope · mean x).",
    ],
    package="gptlab.cluster.fit_scaling_law",
)

EXERCISES = [_ROWS, _RING, _SHARDS, _WASTE, _NEEDED, _LAW]

PREDICTIONS = [
    Prediction(
        id="cluster.a",
        question="A run is killed after step 24, with a checkpoint at every tenth step, and resumed. In which digit do "
        "its losses differ from a run that was never killed?",
        kind="choice",
        choices=("the second", "the seventh, by rounding", "in none"),
        answer="c",
        explanation="Weights, averages, step and random numbers are restored, and the data follow from the step.",
    ),
    Prediction(
        id="cluster.b",
        question="Hoffmann et al. (2022): about how many training tokens per parameter make the most of a given amount "
        "of compute?",
        kind="choice",
        choices=("2", "20", "200"),
        answer="b",
        explanation="About 20. GPT-3 had fewer than 2; Llama 3 8B has nearly 2,000, because it is used so much.",
    ),
    Prediction(
        id="cluster.c",
        question="A model with its gradients and AdamW's averages takes 28 GB on one GPU. Eight GPUs train it "
        "together, data parallel, each with a copy of its own. How much does each of them hold?",
        kind="choice",
        choices=("3.5 GB, an eighth", "28 GB, as before", "a little more than 28 GB"),
        answer="b",
        explanation="Each rank has a whole copy of everything. Data parallelism shares the work, not the memory.",
    ),
    Prediction(
        id="cluster.d",
        question="Two ranks read half of a batch each, and their gradients are added up, weighted by tokens. How do "
        "they differ from the gradients of one process that read the whole batch?",
        kind="choice",
        choices=("not at all, or in the last digits", "by a factor of about two", "they are noisier"),
        answer="a",
        explanation="The sum over all rows is the same sum, added up in another order: only rounding differs.",
    ),
]

QUESTIONS = [
    Question(
        about="gpu",
        question="A batch is cut into parts, one after the other, and their gradients are added up. By what is each "
        "weighted?",
        choices=("by nothing: all count alike", "by its number of rows", "by its number of tokens that count"),
        answer="c",
        explanation="The loss is a mean over tokens, so a part with more of them says more.",
    ),
    Question(
        about="gpu",
        question="How many bytes are a weight, its gradient and AdamW's two averages, all in float32?",
        choices=("8", "16", "12"),
        answer="b",
        explanation="Four numbers of 4 bytes each.",
    ),
    Question(
        about="batches",
        question="Why can a run ask for batch number 5,000 without having read the 4,999 before it?",
        choices=(
            "a batch depends on the seed and its number alone",
            "batches are sampled at random from the clock",
            "all batches are the same",
        ),
        answer="a",
        explanation="`batches.batch(step)` computes its rows from the seed and the step, so any step can be the next.",
    ),
]
