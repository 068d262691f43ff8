"""Exercises for the first notebook: the likeliest token, and the loop that writes."""

import random

from gptlab.exercises.schema import Exercise, Mistake, Prediction

_WORDS = ("fox", "hen", "crow", "hare", "goat", "wolf", "bear", "frog")

# ---- start_here.1 ----------------------------------------------------------------------------------------------------


def likeliest(probability: dict[str, float]) -> str:
    return max(probability, key=probability.get)


def _probabilities(rng: random.Random):
    yield from [({"fox": 1.0},), ({"fox": 0.25, "hen": 0.75},), ({"hen": 0.75, "fox": 0.25},)]
    yield from [({"hen": 0.5, "fox": 0.3, "crow": 0.2},), ({"crow": 0.2, "fox": 0.3, "hen": 0.5},)]
    yield from [({"fox": 0.3, "crow": 0.5, "hen": 0.2},), ({"an": 0.6, "orchard": 0.4},)]
    for length in range(3, 9):
        weights = rng.sample(range(1, 100), length)
        yield (dict(zip(rng.sample(_WORDS, length), (w / sum(weights) for w in weights), strict=True)),)


_LIKELIEST = Exercise(
    id="start_here.1",
    title="The likeliest token",
    kind="warm-up",
    minutes=2,
    difficulty=1,
    prompt="A model gives every token a probability. Which token is the likeliest?\n\nInput: `probability`, a `dict` "
    "from token (a `str`) to its probability (a `float`); it isn't empty, and no two are equal. Result: the token, a "
    "`str`.",
    signature="def likeliest(probability: dict[str, float]) -> str",
    inputs=_probabilities,
    solution=likeliest,
    mistakes=[
        Mistake(
            "the last token in the alphabet is taken",
            lambda probability: max(probability),
            "`max` of a dict compares its keys, as text. Tell it what to compare: `max(..., key=...)`.",
        ),
        Mistake(
            "the first token in the alphabet is taken",
            lambda probability: min(probability),
            "`min` of a dict compares its keys, as text. The values hold the probabilities.",
        ),
        Mistake(
            "the least likely token is taken",
            lambda probability: min(probability, key=probability.get),
            "You have found the smallest probability. The likeliest token has the largest.",
        ),
        Mistake(
            "the probability comes back, not the token",
            lambda probability: max(probability.values()),
            "That is how likely it is. Which token has this probability?",
        ),
        Mistake(
            "the token comes back with its probability",
            lambda probability: max(probability.items(), key=lambda item: item[1]),
            "The first half of this pair is the answer: only the token is asked for.",
        ),
        Mistake(
            "the first entry is taken",
            lambda probability: next(iter(probability)),
            "The entries of the dict can be in any order. Compare their values.",
        ),
        Mistake(
            "the last entry is taken",
            lambda probability: list(probability)[-1],
            "The entries of the dict can be in any order. Compare their values.",
        ),
        Mistake(
            "all tokens come back, sorted",
            lambda probability: sorted(probability, key=probability.get, reverse=True),
            "The order is right, and its first element is the answer.",
        ),
    ],
    hints=[
        "You need the key whose value is the largest.",
        "`max` takes a function that says what to compare: `max(things, key=function)`.",
        "`probability.get` is that function: it gives each token its probability.",
    ],
)

# ---- start_here.2 ----------------------------------------------------------------------------------------------------


def write_on(tokens: list[str], after: dict[str, str], n: int, end: str) -> list[str]:
    text = list(tokens)
    for _ in range(n):
        following = after[text[-1]]
        if following == end:
            break
        text.append(following)
    return text


def _chain(*words: str) -> dict[str, str]:
    """After each word the next one, and after the last the first."""
    return dict(zip(words, (*words[1:], words[0]), strict=True))


def _loops(rng: random.Random):
    story = _chain(".", "the", "fox", "ran")
    yield from [(["the"], story, 1, "."), (["the"], story, 0, "."), (["the"], story, 2, "."), (["the"], story, 3, ".")]
    yield from [(["the"], story, 9, "."), (["ran"], story, 2, "."), (["ran", "the"], story, 2, ".")]
    yield from [(["the", "ran"], story, 4, "."), ([".", "the", "fox"], story, 1, "."), (["the"], story, 5, "!")]
    yield ["hen", "crow"], {"hen": "crow", "crow": "hen", "!": "hen"}, 4, "!"
    for length in range(4, 9):
        words = rng.sample(_WORDS, length)
        begin = words[1 : rng.randrange(2, length)]
        yield begin, _chain(*words), rng.randrange(2, length + 2), words[0]


def _new(tokens, after, n, end):
    return write_on(tokens, after, n, end)[len(tokens) :]


def _from_the_same(tokens, after, n, end):
    text, following = list(tokens), after[tokens[-1]]
    for _ in range(n):
        if following == end:
            break
        text.append(following)
    return text


def _with_end(tokens, after, n, end):
    text = list(tokens)
    for _ in range(n):
        text.append(after[text[-1]])
        if text[-1] == end:
            break
    return text


def _never_stops(tokens, after, n, end):
    text = list(tokens)
    for _ in range(n):
        text.append(after[text[-1]])
    return text


def _skips_end(tokens, after, n, end):
    text = _never_stops(tokens, after, n, end)
    return text[: len(tokens)] + [token for token in text[len(tokens) :] if token != end]


def _from_the_first(tokens, after, n, end):
    text, last = list(tokens), tokens[0]
    for _ in range(n):
        last = after[last]
        if last == end:
            break
        text.append(last)
    return text


def _until_end(tokens, after, n, end):
    text = list(tokens)
    while after[text[-1]] != end and len(text) < 40:
        text.append(after[text[-1]])
    return text


_LOOP = Exercise(
    id="start_here.2",
    title="The loop that writes",
    kind="core",
    minutes=8,
    difficulty=2,
    prompt="Let a very forgetful model write: it sees only the last token, and `after[token]` is what it puts next. "
    "Append one token after the other, `n` of them at most. When the model wants to write `end`, stop, and leave `end` "
    "out.\n\nInput: `tokens`, a `list` of `str`, not empty, which must stay as it is; `after`, a `dict` from token to "
    "next token; `n`, an `int`; `end`, a `str`. Result: a `list` of `str`, the given tokens and the new ones.",
    signature="def write_on(tokens: list[str], after: dict[str, str], n: int, end: str) -> list[str]",
    inputs=_loops,
    solution=write_on,
    mistakes=[
        Mistake(
            "every new token follows the last token of the prompt",
            _from_the_same,
            "You ask the model once. Ask it again each time, with the token that you appended last.",
        ),
        Mistake(
            "the end token is part of the result",
            _with_end,
            "Look at the token before you append it: at `end` the loop is over.",
        ),
        Mistake(
            "it writes on after the end token",
            _never_stops,
            "`end` says that the story is over. Leave the loop there: `break`.",
        ),
        Mistake(
            "the end token is left out, and the next story follows",
            _skips_end,
            "Leaving `end` out is not enough: the loop must stop there, or a second story begins.",
        ),
        Mistake(
            "it goes on from the first token of the prompt",
            _from_the_first,
            "The next token follows the last one, `text[-1]`, not the first.",
        ),
        Mistake(
            "only the new tokens come back",
            _new,
            "The new tokens are right. Put the given ones before them.",
        ),
        Mistake(
            "the limit n is ignored",
            _until_end,
            "Some models never write `end`. After `n` new tokens the loop is over, come what may.",
        ),
        Mistake(
            "one token is missing",
            lambda tokens, after, n, end: write_on(tokens, after, max(0, n - 1), end),
            "A loop over `range(n)` runs n times. Did you begin it at 1?",
        ),
        Mistake(
            "one token too many",
            lambda tokens, after, n, end: write_on(tokens, after, n + 1, end),
            "At most `n` new tokens: a loop over `range(n)` runs n times.",
        ),
        Mistake(
            "n counts the given tokens too",
            lambda tokens, after, n, end: write_on(tokens, after, max(0, n - len(tokens)), end),
            "`n` is the number of new tokens, however many were given.",
        ),
        Mistake(
            "the tokens come back as one text",
            lambda tokens, after, n, end: " ".join(write_on(tokens, after, n, end)),
            "A list of tokens is asked for: don't join it.",
        ),
        Mistake(
            "the result is the last token only",
            lambda tokens, after, n, end: write_on(tokens, after, n, end)[-1],
            "Collect the tokens in a list, and return the list.",
        ),
    ],
    hints=[
        "Copy the list first. Then, n times: ask for the next token, and append it.",
        "`after[text[-1]]` is the next token. Compare it with `end` before you append it.",
        "`for _ in range(n):`, in it `following = after[text[-1]]`, `if following == end: break`, `append`.",
    ],
)

EXERCISES = [_LIKELIEST, _LOOP]

PREDICTIONS = [
    Prediction(
        id="start_here.a",
        question="No fable contains the word quantum. What does the tokenizer do with it?",
        kind="choice",
        choices=(
            "it stops with an error",
            "it leaves the word out",
            "it spells the word, in smaller pieces",
        ),
        answer="c",
        explanation="Nothing is ever unknown: what is rare is spelled out.",
    ),
    Prediction(
        id="start_here.b",
        question="Which word comes next?",
        kind="choice",
        choices=("fox", "hen", "bell"),
        answer="b",
        explanation="Bo is speaking, and Bo is the hen.",
    ),
    Prediction(
        id="start_here.c",
        question="Now Ada answers. Where will the same head look from the last word?",
        kind="choice",
        choices=("at hen again", "at fox", "at bell"),
        answer="b",
        explanation="It looks for the animal of the one who speaks, and Ada is the fox.",
    ),
    Prediction(
        id="start_here.d",
        question="One word is changed, far back: Bo was a patient wolf. What will the model put after the last the?",
        kind="choice",
        choices=("still hen", "wolf", "it cannot decide between the two"),
        answer="b",
        explanation="Attention reads the word where it stands, more than thirty tokens back.",
    ),
]
