"""Exercises on fine-tuning: conversations as tokens, which of them count, packed rows, and LoRA."""

import random
from collections.abc import Callable

import torch
from torch import Tensor

from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question


def _normal(rng: random.Random, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(rng.randrange(2**31)))


# ---- finetuning.1 ----------------------------------------------------------------------------------------------------


def render(messages):
    text = "".join(f"<|{message['role']}|>{message['content']}<|end|>" for message in messages)
    if messages[-1]["role"] == "user":
        text += "<|assistant|>"  # the model goes on from here
    return text


def _messages(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def _render_inputs(rng):
    yield (_messages("Hi"),)
    yield (_messages("Hi", "Hello."),)
    yield (_messages("Who?", "A fox.", "Where?"),)
    words = ("fox", "hen", "bell", "mill", "proud", "kind")
    for count in (1, 2, 3, 4, 5):
        yield (_messages(*[" ".join(rng.sample(words, 2)) for _ in range(count)]),)


def _turns(messages, turn: Callable, between: str = "", after: str = "") -> str:
    text = between.join(turn(message["role"], message["content"]) for message in messages) + after
    return text + "<|assistant|>" * (messages[-1]["role"] == "user")


_RENDER = Exercise(
    id="finetuning.1",
    title="Write a conversation",
    kind="warm-up",
    minutes=4,
    difficulty=1,
    prompt="Write a conversation as one text. Before each message stands the mark of its role, `<|user|>` or "
    "`<|assistant|>`, and after it `<|end|>`, without spaces. If the user spoke last, the text ends with "
    "`<|assistant|>`, because it is the model's turn.\n\nInput: `messages`, a `list` of `dict` with `'role'` and "
    "`'content'`, at least one. Result: a `str`. `[{'role': 'user', 'content': 'Hi'}]` becomes "
    "`'<|user|>Hi<|end|><|assistant|>'`.",
    signature="def render(messages: list[dict[str, str]]) -> str",
    inputs=_render_inputs,
    solution=render,
    mistakes=[
        Mistake(
            "the assistant's turn is never opened",
            lambda messages: "".join(f"<|{m['role']}|>{m['content']}<|end|>" for m in messages),
            "After the user's last message the model must know that it is its turn: `<|assistant|>` at the end.",
        ),
        Mistake(
            "the assistant's turn is opened after its own answer, too",
            lambda messages: "".join(f"<|{m['role']}|>{m['content']}<|end|>" for m in messages) + "<|assistant|>",
            "Where the assistant has answered already, it is the user's turn. Look at the role of the last message.",
        ),
        Mistake(
            "no message ends",
            lambda messages: _turns(messages, lambda role, text: f"<|{role}|>{text}"),
            "Each message is followed by `<|end|>`: it is how a model learns to stop.",
        ),
        Mistake(
            "the end stands between messages only",
            lambda messages: _turns(messages, lambda role, text: f"<|{role}|>{text}", between="<|end|>"),
            "`join` puts the end between two messages. The last one ends as well.",
        ),
        Mistake(
            "only the last message ends",
            lambda messages: _turns(messages, lambda role, text: f"<|{role}|>{text}", after="<|end|>"),
            "Every message is followed by `<|end|>`, not the conversation.",
        ),
        Mistake(
            "only answers end",
            lambda messages: _turns(
                messages, lambda role, text: f"<|{role}|>{text}" + "<|end|>" * (role == "assistant")
            ),
            "The user's messages are followed by `<|end|>` as well.",
        ),
        Mistake(
            "every message is the user's",
            lambda messages: _turns(messages, lambda role, text: f"<|user|>{text}<|end|>"),
            "Each message has the mark of its own role: `message['role']`.",
        ),
        Mistake(
            "there are spaces around the text",
            lambda messages: _turns(messages, lambda role, text: f"<|{role}|> {text} <|end|>"),
            "A space is a token like any other, and here it belongs to nobody. The text follows the mark directly.",
        ),
        Mistake(
            "the role is not a special token",
            lambda messages: _turns(messages, lambda role, text: f"{role}{text}<|end|>"),
            "The mark of a role is written `<|user|>`: a plain word could be anybody's.",
        ),
    ],
    hints=[
        "One message is a mark, its text, and `<|end|>`. What comes after the last one?",
        "An f-string writes a mark from a role: f\"<|{message['role']}|>\".",
        "Join the turns, then add `<|assistant|>` if `messages[-1]['role'] == 'user'`.",
    ],
)

# ---- finetuning.2 ----------------------------------------------------------------------------------------------------


def encode(messages, marks):
    ids, counts = [], []
    for role, words in messages:
        is_answer = role == "assistant"
        ids += [marks[role], *words, marks["end"]]
        counts += [False] + [is_answer] * len(words) + [is_answer]  # the mark is given; the end has to be written
    return ids, counts


def _talk(rng: random.Random, count: int, most: int = 5) -> list[tuple[str, list[int]]]:
    return [
        (("user", "assistant")[i % 2], [rng.randrange(10, 99) for _ in range(rng.randint(1, most))])
        for i in range(count)
    ]


_MARKS = {"user": 1, "assistant": 2, "end": 3}


def _encode_inputs(rng):
    yield [("user", [10, 11]), ("assistant", [12, 13, 14])], _MARKS
    yield [("user", [10])], _MARKS
    yield [("user", [10]), ("assistant", [11]), ("user", [12]), ("assistant", [13, 14])], _MARKS
    for count in (2, 3, 4, 5, 6):
        marks = dict(zip(("user", "assistant", "end"), rng.sample(range(100, 120), 3), strict=True))
        yield _talk(rng, count), marks


def _encoded(turn: Callable) -> Callable:
    """Message by message: `turn(role, words, is_last)` says which of mark, words and end count."""

    def wrong(messages, marks):
        ids, counts = [], []
        for number, (role, words) in enumerate(messages):
            first, middle, last = turn(role, number == len(messages) - 1)
            ids += [marks[role], *words, marks["end"]]
            counts += [first, *[middle] * len(words), last]
        return ids, counts

    return wrong


_ENCODE = Exercise(
    id="finetuning.2",
    title="Encode a conversation, message by message",
    kind="core",
    minutes=10,
    difficulty=2,
    prompt="Put a conversation together from the ids of its messages, and say which tokens the model has to learn to "
    "write. Each message is the mark of its role, its words, and the end token. The model learns the assistant's "
    "words and the end after them. It does not learn the mark before them, which is given to it, and nothing of the "
    "user's.\n\nInput: `messages`, a `list` of pairs (role, ids of the words); `marks`, a `dict` with the ids of "
    "`'user'`, `'assistant'` and `'end'`. Result: two lists of one length, the ids and, for each, True or False. "
    "`[('user', [10]), ('assistant', [11])]` with the marks 1, 2 and 3 becomes `[1, 10, 3, 2, 11, 3]` and `[False, "
    "False, False, False, True, True]`. If the user spoke last, the ids end with the end of that message: unlike "
    "`finetuning.1`, this function opens no new turn.",
    signature="def encode(messages: list[tuple[str, list[int]]],\n"
    "           marks: dict[str, int]) -> tuple[list[int], list[bool]]",
    inputs=_encode_inputs,
    solution=encode,
    mistakes=[
        Mistake(
            "the end is not learned",
            _encoded(lambda role, last: (False, role == "assistant", False)),
            "A model that never learns to write the end token never stops. The end after an answer counts.",
        ),
        Mistake(
            "the mark of the role is learned",
            _encoded(lambda role, last: (role == "assistant",) * 3),
            "`<|assistant|>` is put there by the program that asks: the model reads it and never has to write it.",
        ),
        Mistake(
            "everything is learned",
            _encoded(lambda role, last: (True, True, True)),
            "The model would learn to write the user's messages. Only the assistant's words and their end count.",
        ),
        Mistake(
            "all words and ends are learned, whoever spoke",
            _encoded(lambda role, last: (False, True, True)),
            "The user's words and the end after them are read, not written.",
        ),
        Mistake(
            "nothing is learned",
            _encoded(lambda role, last: (False, False, False)),
            "The assistant's words and the end after them count: True.",
        ),
        Mistake(
            "the user's messages are learned",
            _encoded(lambda role, last: (False, role == "user", role == "user")),
            "It is the other way round: the assistant's words count.",
        ),
        Mistake(
            "every end is learned",
            _encoded(lambda role, last: (False, role == "assistant", True)),
            "The end of the user's message is the user's. Only the end after an answer counts.",
        ),
        Mistake(
            "only the last message is learned",
            _encoded(lambda role, last: (False, last and role == "assistant", last and role == "assistant")),
            "Every answer of the conversation counts, the earlier ones too.",
        ),
        Mistake(
            "no message ends",
            lambda messages, marks: (
                [id for role, words in messages for id in (marks[role], *words)],
                [c for role, words in messages for c in (False, *[role == "assistant"] * len(words))],
            ),
            "After the words of each message comes `marks['end']`.",
        ),
        Mistake(
            "the assistant's turn is opened after the user's last message",
            lambda messages, marks: tuple(
                found + [more] * (messages[-1][0] == "user")
                for found, more in zip(encode(messages, marks), (marks["assistant"], False), strict=True)
            ),
            "That is right when the model is asked for an answer, as in `finetuning.1`. Here the ids end with the last "
            "message.",
        ),
        Mistake(
            "there is no mark before a message",
            lambda messages, marks: (
                [id for _, words in messages for id in (*words, marks["end"])],
                [c for role, words in messages for c in [role == "assistant"] * (len(words) + 1)],
            ),
            "Each message begins with the mark of its role, `marks[role]`.",
        ),
    ],
    hints=[
        "Two lists grow side by side: for every id that you add, add one True or False.",
        "A message adds 1 + len(words) + 1 ids: the mark (never counted), the words, the end.",
        "`is_answer = role == 'assistant'`; counts grow by `[False] + [is_answer] * (len(words) + 1)`.",
    ],
)

# ---- finetuning.3 ----------------------------------------------------------------------------------------------------


def masked_targets(ids, counts):
    targets = [id if counted else -100 for id, counted in zip(ids, counts, strict=True)]
    return ids[:-1], targets[1:]  # position t predicts what stands at t + 1


def _target_inputs(rng):
    yield [5, 6, 7, 8], [False, False, True, True]
    yield [5, 6, 7, 8, 9, 4], [False, True, True, False, False, True]
    yield [5, 6, 0, 8], [False, False, True, False]
    for count in (2, 4, 6, 4, 2):
        marks = dict(zip(("user", "assistant", "end"), rng.sample(range(100, 120), 3), strict=True))
        yield encode(_talk(rng, count), marks)


def _shifted(target: Callable) -> Callable:
    """`target(ids, counts, t)` is the target of position t."""
    return lambda ids, counts: (ids[:-1], [target(ids, counts, t) for t in range(len(ids) - 1)])


_TARGETS = Exercise(
    id="finetuning.3",
    title="Targets that count",
    kind="core",
    minutes=8,
    difficulty=2,
    prompt="From a conversation as ids, and for each id whether the model learns to write it, make inputs and targets. "
    "The target of a position is the next id if that one counts, and -100 if it doesn't. The last id isn't an input, "
    "because nothing follows it.\n\nInput: `ids` and `counts`, each a `list`, of one length of at least 2. Result: two "
    "lists, one shorter. `[5, 6, 7, 8]` with `[False, False, True, True]` becomes `[5, 6, 7]` and `[-100, 7, 8]`.",
    signature="def masked_targets(ids: list[int], counts: list[bool]) -> tuple[list[int], list[int]]",
    inputs=_target_inputs,
    solution=masked_targets,
    package="gptlab.finetuning.masked_targets",
    mistakes=[
        Mistake(
            "the mask is not shifted with the targets",
            _shifted(lambda ids, counts, t: ids[t + 1] if counts[t] else -100),
            "You ask whether the input counts. It is the target that has to: `counts[t + 1]` belongs to `ids[t + 1]`. "
            "As it is, the first word of an answer is never learned.",
        ),
        Mistake(
            "the targets are not shifted",
            lambda ids, counts: (ids[:-1], [i if c else -100 for i, c in zip(ids, counts, strict=True)][:-1]),
            "Each position would predict itself, which it can see. Its target is the next id.",
        ),
        Mistake(
            "every target counts",
            lambda ids, counts: (ids[:-1], ids[1:]),
            "Where the next id doesn't count, the target is -100.",
        ),
        Mistake(
            "what counts is masked, and the rest learned",
            _shifted(lambda ids, counts, t: -100 if counts[t + 1] else ids[t + 1]),
            "It is the other way round: True means that the id is learned.",
        ),
        Mistake(
            "masked targets are 0",
            _shifted(lambda ids, counts, t: ids[t + 1] if counts[t + 1] else 0),
            "0 is a token, and the model would learn to write it. -100 is what the loss leaves out.",
        ),
        Mistake(
            "masked targets are -1",
            _shifted(lambda ids, counts, t: ids[t + 1] if counts[t + 1] else -1),
            "PyTorch's loss leaves out -100 unless told otherwise; -1 is an error to it.",
        ),
        Mistake(
            "masked targets are left out",
            lambda ids, counts: (ids[:-1], [i for i, c in zip(ids[1:], counts[1:], strict=True) if c]),
            "There is one target for each input: a masked one is -100, not nothing.",
        ),
        Mistake(
            "the end of an answer is not learned",
            _shifted(
                lambda ids, counts, t: ids[t + 1] if counts[t + 1] and t + 2 < len(ids) and counts[t + 2] else -100
            ),
            "The last id of an answer is its end token, and it counts. Without it the model never stops.",
        ),
        Mistake(
            "the last id is still an input",
            lambda ids, counts: (ids, [i if c else -100 for i, c in zip(ids[1:], counts[1:], strict=True)]),
            "Nothing follows the last id, so it has no target and can't be an input: `ids[:-1]`.",
        ),
        Mistake(
            "the inputs lose their first id",
            lambda ids, counts: (ids[1:], [i if c else -100 for i, c in zip(ids[1:], counts[1:], strict=True)]),
            "The inputs begin at the first id and end before the last; the targets begin at the second.",
        ),
    ],
    hints=[
        "First write the targets without a shift: the id itself, or -100. Then shift.",
        "`[id if counted else -100 for id, counted in zip(ids, counts)]` goes with the ids themselves.",
        "Inputs are all but the last, `ids[:-1]`; targets all but the first, `targets[1:]`.",
    ],
)

# ---- finetuning.4 ----------------------------------------------------------------------------------------------------


def masked_mean(losses, targets):
    return losses[targets != -100].mean()


def _mean_inputs(rng):
    nan = float("nan")
    yield torch.tensor([[9.0, 2.0, 4.0]]), torch.tensor([[-100, 7, 8]])
    yield torch.tensor([[9.0, 2.0, 4.0], [5.0, 6.0, 9.0]]), torch.tensor([[7, 3, 8], [-100, 0, -100]])
    yield torch.tensor([[nan, 2.0, 4.0]]), torch.tensor([[-100, 7, 0]])
    for B, T in ((2, 5), (3, 4), (4, 7), (2, 9)):
        losses = _normal(rng, B, T).abs() + 0.1
        targets = torch.tensor([[rng.choice((-100, rng.randrange(50))) for _ in range(T)] for _ in range(B)])
        targets[:, 0], targets[0, 1:3] = 5, 4  # each row has one that counts, and the first row more
        targets[1:, -1] = -100
        yield losses, targets


def _kept(targets: Tensor) -> Tensor:
    return targets != -100


def _zeroed(losses: Tensor, targets: Tensor) -> Tensor:
    return losses.masked_fill(~_kept(targets), 0.0)


_MEAN = Exercise(
    id="finetuning.4",
    title="The mean over what counts",
    kind="warm-up",
    minutes=6,
    difficulty=2,
    prompt="The loss of a batch is the mean over all its targets that count, each token weighing the same. Whatever "
    "stands at the other places must not matter, even if it is NaN.\n\nShapes: `losses` is a float tensor [B, T], "
    "the loss of each token; `targets` is an integer tensor [B, T] with -100 where nothing counts. At least one target "
    "counts. Result: a tensor with one number. Losses `[[9, 2, 4]]` with targets `[[-100, 7, 8]]` give 3.",
    signature='def masked_mean(losses: Float[Tensor, "B T"], targets: Int[Tensor, "B T"]) -> Float[Tensor, ""]',
    inputs=_mean_inputs,
    solution=masked_mean,
    mistakes=[
        Mistake(
            "the mask is ignored",
            lambda losses, targets: losses.mean(),
            "This is the mean over all places. Only those count whose target is not -100.",
        ),
        Mistake(
            "masked places count as zeros",
            lambda losses, targets: _zeroed(losses, targets).mean(),
            "You divide by all B · T places, so that more padding makes the loss smaller. Divide by how many count.",
        ),
        Mistake(
            "a NaN gets through",
            lambda losses, targets: (losses * _kept(targets)).sum() / _kept(targets).sum(),
            "NaN times zero is NaN. Choose the places that count (`losses[targets != -100]`) instead of multiplying.",
        ),
        Mistake(
            "a mean of the rows' means",
            lambda losses, targets: (_zeroed(losses, targets).sum(dim=1) / _kept(targets).sum(dim=1)).mean(),
            "A token in a short answer weighs more than one in a long one. Take one mean over all tokens that count.",
        ),
        Mistake(
            "a sum, not a mean",
            lambda losses, targets: _zeroed(losses, targets).sum(),
            "Divide by the number of targets that count.",
        ),
        Mistake(
            "divided by the number of rows",
            lambda losses, targets: _zeroed(losses, targets).sum() / len(losses),
            "This is the loss per conversation: a long answer would weigh more. Divide by the targets that count.",
        ),
        Mistake(
            "the masked places, and not the others",
            lambda losses, targets: losses[targets == -100].mean(),
            "-100 marks what doesn't count: `targets != -100`.",
        ),
        Mistake(
            "token 0 is taken for padding",
            lambda losses, targets: losses[targets > 0].mean(),
            "0 is a token like any other. Only -100 is left out.",
        ),
        Mistake(
            "NaN is skipped, and not what is masked",
            lambda losses, targets: losses.nanmean(),
            "`nanmean` hides a loss that is really broken, and counts the masked places that aren't NaN.",
        ),
        Mistake(
            "one number for each row",
            lambda losses, targets: _zeroed(losses, targets).sum(dim=1) / _kept(targets).sum(dim=1),
            "The result is one number for the batch, over all rows.",
        ),
    ],
    hints=[
        "Which places count? A comparison gives a boolean tensor.",
        "A tensor can be indexed with a boolean one of its shape: what comes back is a row of the chosen numbers.",
        "`losses[targets != -100]`, and the mean of that.",
    ],
)

# ---- finetuning.5 ----------------------------------------------------------------------------------------------------


def pack(lengths, T):
    rows, room = [], []
    for i, length in enumerate(lengths):
        fitting = [row for row in range(len(rows)) if length <= room[row]]
        if fitting:
            row = fitting[0]
        else:
            row = len(rows)
            rows.append([])
            room.append(T)
        rows[row].append(i)
        room[row] -= length
    return rows


def _pack_inputs(rng):
    yield [3, 4, 2, 1], 5
    yield [3, 4, 2], 6
    yield [6, 3, 2], 8
    yield [5], 5
    yield [1, 2, 3, 4, 5], 5
    for count in (6, 9, 12, 15):
        T = rng.randint(8, 14)
        yield [rng.randint(1, T) for _ in range(count)], T


def _packed(choose: Callable, order: Callable = lambda lengths: range(len(lengths)), show: Callable | None = None):
    """Each in turn into the row that `choose(rows with enough room, their room)` names."""

    def wrong(lengths, T):
        rows, room = [], []
        for i in order(lengths):
            found = choose(room, lengths[i])
            if found is None:
                rows.append([])
                room.append(T)
                found = len(rows) - 1
            rows[found].append(i)
            room[found] -= lengths[i]
        return rows if show is None else show(rows, lengths)

    return wrong


def _first(room, length):
    return next((row for row, free in enumerate(room) if length <= free), None)


def _next(room, length):
    return len(room) - 1 if room and length <= room[-1] else None


_PACK = Exercise(
    id="finetuning.5",
    title="Pack them",
    kind="stretch",
    minutes=12,
    difficulty=3,
    prompt="Pack conversations into rows of T tokens. Take them in their order, and put each into the first row that "
    "has room for all of it; where there is none, begin a new row. (This is called first fit.)\n\nInput: `lengths`, a "
    "`list` of their lengths in tokens, none above T; `T`, an `int`. Result: a `list` of rows, each a `list` of the "
    "numbers of its conversations, counted from 0. `[3, 4, 2, 1]` with T = 5 becomes `[[0, 2], [1, 3]]`.",
    signature="def pack(lengths: list[int], T: int) -> list[list[int]]",
    inputs=_pack_inputs,
    solution=pack,
    mistakes=[
        Mistake(
            "only the last row is filled",
            _packed(_next),
            "An earlier row may still have room. Look through all rows, from the first.",
        ),
        Mistake(
            "one conversation in each row",
            _packed(lambda room, length: None),
            "This is padding, not packing: a row takes as many as fit.",
        ),
        Mistake(
            "a row is never filled to the last token",
            _packed(lambda room, length: next((r for r, free in enumerate(room) if length < free), None)),
            "A conversation that fits exactly does fit: `length <= room`.",
        ),
        Mistake(
            "the fullest row that fits",
            _packed(
                lambda room, length: min(
                    (r for r, free in enumerate(room) if length <= free), key=lambda r: room[r], default=None
                )
            ),
            "This is best fit, which wastes a little less. Asked is the first row that has room.",
        ),
        Mistake(
            "the last row that fits",
            _packed(lambda room, length: next((r for r in reversed(range(len(room))) if length <= room[r]), None)),
            "Look through the rows from the first one on.",
        ),
        Mistake(
            "the longest come first",
            _packed(_first, order=lambda lengths: sorted(range(len(lengths)), key=lambda i: -lengths[i])),
            "Sorting packs better, and changes the order. Take them as they come.",
        ),
        Mistake(
            "the shortest come first",
            _packed(_first, order=lambda lengths: sorted(range(len(lengths)), key=lambda i: lengths[i])),
            "Take them in the order in which they are given.",
        ),
        Mistake(
            "lengths instead of numbers",
            _packed(_first, show=lambda rows, lengths: [[lengths[i] for i in row] for row in rows]),
            "A row lists which conversations it has (0, 1, 2 …), not how long they are.",
        ),
        Mistake(
            "counted from 1",
            _packed(_first, show=lambda rows, lengths: [[i + 1 for i in row] for row in rows]),
            "The first conversation has the number 0.",
        ),
        Mistake(
            "how many are in each row",
            _packed(_first, show=lambda rows, lengths: [len(row) for row in rows]),
            "A row is the list of its conversations, not their count.",
        ),
    ],
    hints=[
        "Remember for each row how many tokens are still free.",
        "For each conversation, go through the rows in order and stop at the first with `length <= room[row]`.",
        "If none has room, append an empty row with room T; then append the number and subtract the length.",
    ],
)

# ---- finetuning.6 ----------------------------------------------------------------------------------------------------


def separate(ids, begin):
    T = ids.shape[1]
    number = (ids == begin).cumsum(dim=1)  # [B, T]: one more where a document begins
    same = number[:, :, None] == number[:, None, :]  # [B, T, T]
    return same & torch.ones(T, T, dtype=torch.bool).tril()


def _separate_inputs(rng):
    yield torch.tensor([[9, 5, 6, 9, 7]]), 9
    yield torch.tensor([[9, 5, 9, 6], [9, 9, 5, 6]]), 9
    for B, T in ((2, 5), (3, 7), (2, 8), (4, 6)):
        ids = torch.tensor([[rng.choice((0, 3, 4, 5, 6)) for _ in range(T)] for _ in range(B)])
        ids[:, 0] = 0
        ids[0, 2:4] = torch.tensor([0, 5])
        ids[1, 3:] = 4
        yield ids, 0


def _tril(ids: Tensor, diagonal: int = 0) -> Tensor:
    return torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril(diagonal)


def _compared(number: Callable) -> Callable:
    def wrong(ids, begin):
        of = number(ids == begin)
        return (of[:, :, None] == of[:, None, :]) & _tril(ids)

    return wrong


_SEPARATE = Exercise(
    id="finetuning.6",
    title="Packed, and still alone",
    kind="stretch",
    minutes=12,
    difficulty=3,
    prompt="Several documents are packed into each row; each begins with the token `begin`. Which positions may a "
    "position attend to? To itself and to earlier ones, and only within its own document.\n\nShapes: `ids` is an "
    "integer tensor [B, T] whose rows begin with `begin`. Result: a boolean tensor [B, T, T], True where the position "
    "of the row may attend to the position of the column. For `[[9, 5, 9]]` with `begin` 9 the rows are `[True, False, "
    "False]`, `[True, True, False]` and `[False, False, True]`.",
    signature='def separate(ids: Int[Tensor, "B T"], begin: int) -> Bool[Tensor, "B T T"]',
    inputs=_separate_inputs,
    solution=separate,
    mistakes=[
        Mistake(
            "the future is visible",
            lambda ids, begin: (ids == begin).cumsum(dim=1)[:, :, None] == (ids == begin).cumsum(dim=1)[:, None, :],
            "Within a document a position attends to itself and to earlier ones. Add a lower triangle with `&`.",
        ),
        Mistake(
            "other documents are visible",
            lambda ids, begin: _tril(ids).expand(len(ids), -1, -1).clone(),
            "This is the causal mask alone: a document reads all that were packed before it.",
        ),
        Mistake(
            "a document begins after its first token",
            _compared(lambda starts: starts.cumsum(dim=1) - starts.long()),
            "The token `begin` belongs to the document that it begins: the number goes up at it, not after it.",
        ),
        Mistake(
            "a position does not see itself",
            lambda ids, begin: separate(ids, begin) & _tril(ids, -1),
            "The diagonal belongs to the mask: `tril()`, not `tril(-1)`.",
        ),
        Mistake(
            "the past and the future are exchanged",
            lambda ids, begin: separate(ids, begin).mT,
            "Rows are the positions that attend, columns what they attend to: the lower triangle, not the upper.",
        ),
        Mistake(
            "documents are counted down the batch",
            _compared(lambda starts: starts.cumsum(dim=0)),
            "`cumsum(dim=0)` adds up over the rows of the batch. A document ends along time, axis 1.",
        ),
        Mistake(
            "nothing is added up",
            _compared(lambda starts: starts.long()),
            "Two positions that don't begin a document look the same, whichever they are in. Number the documents "
            "with `cumsum`.",
        ),
        Mistake(
            "what is forbidden, and not what is allowed",
            lambda ids, begin: ~separate(ids, begin),
            "True means that a position may attend (some libraries have it the other way round).",
        ),
        Mistake(
            "the mask of the first row for all",
            lambda ids, begin: separate(ids[:1], begin),
            "Each row is packed in its own way, so each has its own mask: [B, T, T].",
        ),
    ],
    hints=[
        "Give each position the number of its document. Then two positions may see each other if the numbers agree.",
        "`(ids == begin).cumsum(dim=1)` goes up by one at each beginning.",
        "`number[:, :, None] == number[:, None, :]` is [B, T, T]; `&` it with a lower triangle of True.",
    ],
)

# ---- finetuning.7 ----------------------------------------------------------------------------------------------------


def lora_linear(x, W, A, B, alpha):
    rank = A.shape[0]
    return x @ W.T + (alpha / rank) * ((x @ A.T) @ B.T)


def _lora_inputs(rng):
    one = torch.tensor
    yield one([[[1.0, 2.0]]]), one([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), one([[1.0, 1.0], [0.0, 1.0]]), one(
        [[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]
    ), 6.0  # fmt: skip
    for batch, T, C, D, rank, alpha in ((2, 3, 4, 6, 2, 8.0), (3, 2, 6, 5, 3, 2.0), (2, 4, 5, 7, 4, 10.0)):
        yield _normal(rng, batch, T, C), _normal(rng, D, C), _normal(rng, rank, C), _normal(rng, D, rank), alpha


def _scaled(scale: Callable) -> Callable:
    return lambda x, W, A, B, alpha: x @ W.T + scale(alpha, A, B) * (x @ A.T @ B.T)


_LORA = Exercise(
    id="finetuning.7",
    title="LoRA, the forward pass",
    kind="core",
    minutes=8,
    difficulty=2,
    prompt="A linear layer computes `x @ W.T`. Beside the frozen W stand two thin matrices A and B, and their product "
    "is multiplied by alpha / r, where r is the rank, the number of rows of A: y = W x + (alpha / r) B A x for every "
    "position.\n\nShapes: `x` is a float tensor [B, T, C], `W` is [D, C], `A` is [r, C], `B` is [D, r], `alpha` is a "
    "number. Result: a tensor [B, T, D]. With one position, one channel and rank 1, x = 2, W = 3, A = 1, B = 5 and "
    "alpha = 4 give 6 + 4 · 10 = 46.",
    signature='def lora_linear(x: Float[Tensor, "batch T C"], W: Float[Tensor, "D C"], A: Float[Tensor, "r C"],\n'
    '                B: Float[Tensor, "D r"], alpha: float) -> Float[Tensor, "batch T D"]',
    inputs=_lora_inputs,
    solution=lora_linear,
    mistakes=[
        Mistake(
            "the product is not scaled",
            _scaled(lambda alpha, A, B: 1.0),
            "The product is multiplied by alpha / r.",
        ),
        Mistake(
            "scaled by alpha alone",
            _scaled(lambda alpha, A, B: alpha),
            "Divide alpha by the rank: then another rank needs no other learning rate.",
        ),
        Mistake(
            "divided by the rank, without alpha",
            _scaled(lambda alpha, A, B: 1 / A.shape[0]),
            "The factor is alpha / r, and not 1 / r.",
        ),
        Mistake(
            "multiplied by the rank",
            _scaled(lambda alpha, A, B: alpha * A.shape[0]),
            "alpha is divided by the rank.",
        ),
        Mistake(
            "the rank over alpha",
            _scaled(lambda alpha, A, B: A.shape[0] / alpha),
            "It is the other way round: alpha / r.",
        ),
        Mistake(
            "divided by the root of the rank",
            _scaled(lambda alpha, A, B: alpha / A.shape[0] ** 0.5),
            "There is such a variant (rsLoRA), but the original divides by the rank itself.",
        ),
        Mistake(
            "divided by the width of the input",
            _scaled(lambda alpha, A, B: alpha / A.shape[1]),
            "`A.shape[1]` is C. The rank is the number of rows of A: `A.shape[0]`.",
        ),
        Mistake(
            "divided by the width of the output",
            _scaled(lambda alpha, A, B: alpha / B.shape[0]),
            "`B.shape[0]` is D. The rank is the number of columns of B, or of rows of A.",
        ),
        Mistake(
            "W is left out",
            lambda x, W, A, B, alpha: alpha / A.shape[0] * (x @ A.T @ B.T),
            "The frozen layer still computes: the product is added to `x @ W.T`.",
        ),
        Mistake(
            "only W",
            lambda x, W, A, B, alpha: x @ W.T,
            "What is learned stands in A and B: add their scaled product.",
        ),
        Mistake(
            "W is scaled as well",
            lambda x, W, A, B, alpha: alpha / A.shape[0] * (x @ W.T + x @ A.T @ B.T),
            "Only the product of A and B is scaled. With B = 0 the layer must be the one it was.",
        ),
        Mistake(
            "the product is subtracted",
            _scaled(lambda alpha, A, B: -alpha / A.shape[0]),
            "It is added.",
        ),
    ],
    hints=[
        "First compress every position to r numbers with A, then expand them to D with B.",
        "`x @ A.T` is [B, T, r], and that `@ B.T` is [B, T, D].",
        "`x @ W.T + (alpha / A.shape[0]) * (x @ A.T @ B.T)`.",
    ],
)

# ---- finetuning.8 ----------------------------------------------------------------------------------------------------


def add_rows(table, n):
    mean = table.mean(dim=0)  # [C]: the average token
    return torch.cat([table, mean.expand(n, -1)])


def _row_inputs(rng):
    yield torch.tensor([[1.0, 2.0], [3.0, 6.0]]), 1
    yield torch.tensor([[1.0, 2.0], [3.0, 6.0], [5.0, 1.0]]), 2
    for V, C, n in ((4, 3, 2), (5, 2, 3), (3, 6, 1), (6, 4, 5)):
        yield _normal(rng, V, C), n


def _with_rows(new: Callable) -> Callable:
    return lambda table, n: torch.cat([table, new(table, n)])


_ROWS = Exercise(
    id="finetuning.8",
    title="Rows for new tokens",
    kind="warm-up",
    minutes=4,
    difficulty=1,
    prompt="The special tokens are new to a pre-trained model: its embedding table has no rows for them. Add n rows at "
    "the end. Each starts as the mean of all old rows, the vector of an average token.\n\nShapes: `table` is a float "
    "tensor [V, C], `n` an integer of at least 1. Result: a tensor [V + n, C], whose first V rows are the old ones. "
    "`[[1, 2], [3, 6]]` with n = 1 becomes `[[1, 2], [3, 6], [2, 4]]`.",
    signature='def add_rows(table: Float[Tensor, "V C"], n: int) -> Float[Tensor, "V+n C"]',
    inputs=_row_inputs,
    solution=add_rows,
    mistakes=[
        Mistake(
            "the new rows are zeros",
            _with_rows(lambda table, n: torch.zeros(n, table.shape[1])),
            "A row of zeros is no average token: as a row of the head it gives the logit 0, which may be far too much.",
        ),
        Mistake(
            "the new rows are ones",
            _with_rows(lambda table, n: torch.ones(n, table.shape[1])),
            "The new rows are the mean of the old ones.",
        ),
        Mistake(
            "the last row is copied",
            _with_rows(lambda table, n: table[-1:].repeat(n, 1)),
            "That is one particular token. Take the mean of all.",
        ),
        Mistake(
            "one number for all channels",
            _with_rows(lambda table, n: table.mean().expand(n, table.shape[1])),
            "`.mean()` without `dim` mixes the channels. Each channel has its own mean: `dim=0`.",
        ),
        Mistake(
            "a sum, not a mean",
            _with_rows(lambda table, n: table.sum(dim=0).expand(n, -1)),
            "Divide by the number of tokens, V.",
        ),
        Mistake(
            "the new rows come first",
            lambda table, n: torch.cat([table.mean(dim=0).expand(n, -1), table]),
            "The old ids must keep their rows: the new ones come behind them.",
        ),
        Mistake(
            "only one row is added",
            lambda table, n: torch.cat([table, table.mean(dim=0, keepdim=True)]),
            "There are n new tokens, and each needs a row.",
        ),
        Mistake(
            "only the new rows",
            lambda table, n: table.mean(dim=0).expand(n, -1).clone(),
            "The old rows stay, in front: `torch.cat` puts the two together.",
        ),
        Mistake(
            "only the largest of each channel",
            _with_rows(lambda table, n: table.max(dim=0).values.expand(n, -1)),
            "Take the mean over the tokens, not the maximum.",
        ),
    ],
    hints=[
        "What is the mean over the tokens? Which axis goes away?",
        "`table.mean(dim=0)` is [C]; `.expand(n, -1)` shows it as n rows.",
        "`torch.cat` of the old table and the n equal rows.",
    ],
)

EXERCISES = [_RENDER, _ENCODE, _TARGETS, _MEAN, _PACK, _SEPARATE, _LORA, _ROWS]

PREDICTIONS = [
    Prediction(
        id="finetuning.a",
        question='The model that tells fables reads "Tell a fable about a proud crab and a rusty key." What does it '
        "write next?",
        kind="choice",
        choices=("a fable about a proud crab", "a fable, about somebody else or in pieces", "nothing"),
        answer="b",
        explanation="It continues texts, and none of those that it has read began with a request. Nothing in its "
        "training says that the words before a fable decide what is in it.",
    ),
    Prediction(
        id="finetuning.b",
        question="A request has 20 tokens, with its mark and its end. The answer has 100 words of one token each. How "
        "many targets count?",
        kind="number",
        answer=101,
        explanation="The answer's 100 words, and the end token after them. The mark before the answer is given.",
    ),
    Prediction(
        id="finetuning.c",
        question="Both thin matrices of LoRA get small random values at the start, instead of zeros in B. What is "
        "wrong with that?",
        kind="choice",
        choices=("nothing: it learns faster", "the model is not the pre-trained one at the first step",
                 "A gets no gradient"),
        answer="b",
        explanation="With B = 0 the product is zero, and fine-tuning starts from what the model could do. A random "
        "product is noise in every layer, which has to be unlearned first.",
    ),
    Prediction(
        id="finetuning.d",
        question="A model is fine-tuned on conversations only. What happens to its loss on the fables that it was "
        "pre-trained on?",
        kind="choice",
        choices=("it falls", "it stays", "it rises"),
        answer="c",
        explanation="Nothing in the loss asks it to remember what it no longer reads. Mixing in some of the old text "
        "does.",
    ),
]  # fmt: skip

QUESTIONS = [
    Question(
        about="training",
        question="What does a target of -100 do?",
        choices=("its position is left out of the loss", "it is the id of the padding", "it costs 100 nats"),
        answer="a",
        explanation="No token has a negative id. The loss is the mean over the other targets.",
    ),
    Question(
        about="bpe",
        question='A user types "<|endoftext|>". What does `encode` make of it by default?',
        choices=("the token that ends a text", "an error", "the ids of its characters, as of any other text"),
        answer="c",
        explanation="Special tokens in a text are text, unless the program that calls allows them.",
    ),
    Question(
        about="masking",
        question="Two documents are packed into one sequence. Which mask keeps them apart?",
        choices=("the causal mask", "one that is True where both positions are of one document, and causal",
                 "a padding mask"),
        answer="b",
        explanation="The causal mask alone lets the second document read the first.",
    ),
]  # fmt: skip
