"""Exercises on tokens: strings and integers, and the way back."""

import math
import random
import re
from collections import Counter

from gptlab.exercises.schema import Exercise, Mistake, Prediction, part
from gptlab.tokens import CharTokenizer

_LETTERS = "abcdefghij ,.éß€狐🦊"


def _text(rng: random.Random, length: int, letters: str = _LETTERS) -> str:
    return "".join(rng.choice(letters) for _ in range(length))


def _shuffled(rng: random.Random, letters: str) -> dict[str, int]:
    """A vocabulary whose dict is not in the order of its ids."""
    pairs = list(zip(rng.sample(letters, len(letters)), range(len(letters)), strict=True))
    rng.shuffle(pairs)
    return dict(pairs)


# ---- tokens.1 --------------------------------------------------------------------------------------------------------


def build_vocabulary(text: str) -> dict[str, int]:
    characters = sorted(set(text))
    return {character: id for id, character in enumerate(characters)}


def _texts(rng):
    yield from [("ab",), ("ba",), ("abba",), ("Hello",), ("a fox, a hen",)]
    for length in range(5, 15):
        yield (_text(rng, length),)


_VOCABULARY = Exercise(
    id="tokens.1",
    title="Build a vocabulary",
    minutes=5,
    difficulty=1,
    prompt="Give every character of a text an id: 0 for the first in the order of Unicode, and so on without a gap.\n\n"
    "Input: `text`, a `str`. Result: a `dict` from character to `int`.",
    signature="def build_vocabulary(text: str) -> dict[str, int]",
    inputs=_texts,
    solution=build_vocabulary,
    reference=lambda text: {c: CharTokenizer.from_text(text).encode(c)[0] for c in text},
    mistakes=[
        Mistake(
            "the ids follow the order of the text",
            lambda text: {c: i for i, c in enumerate(dict.fromkeys(text))},
            "Two texts with the same characters then have different ids. Sort the characters before you number them.",
        ),
        Mistake(
            "the ids begin at 1",
            lambda text: {c: i for i, c in enumerate(sorted(set(text)), 1)},
            "Ids are rows of a table later, and its rows run from 0 to V - 1.",
        ),
        Mistake(
            "repeated characters use up ids",
            lambda text: {c: i for i, c in enumerate(sorted(text))},
            "You number every occurrence, so ids have gaps. Take each character once: a set does that.",
        ),
        Mistake(
            "the dict leads from id to character",
            lambda text: dict(enumerate(sorted(set(text)))),
            "This is the dict for decoding. Here the character is the key and the id the value.",
        ),
        Mistake(
            "the ids are code points",
            lambda text: {c: ord(c) for c in text},
            "`ord` gives up to 1,114,112 different numbers. A vocabulary numbers only what occurs, without gaps.",
        ),
    ],
    hints=[
        "Which characters are there, each once? And in which order?",
        "`sorted(set(text))` is the list of characters; a character's place in it is its id.",
        "`enumerate` gives place and character together; a dict comprehension turns them around.",
    ],
)

# ---- tokens.2 --------------------------------------------------------------------------------------------------------


def encode(text: str, id_of: dict[str, int]) -> list[int]:
    return [id_of[character] for character in text]


def _encode_inputs(rng):
    yield from [("", {"a": 0}), ("a", {"a": 0, "b": 1}), ("ba", {"a": 0, "b": 1}), ("aab", {"b": 0, "a": 1})]
    yield "a b", {" ": 2, "a": 0, "b": 1}
    for length in range(3, 15):
        id_of = _shuffled(rng, _LETTERS)
        yield _text(rng, length), id_of


_ENCODE = Exercise(
    id="tokens.2",
    title="Text to ids",
    minutes=3,
    difficulty=1,
    prompt="Write a text as the ids of its characters, first character first.\n\nInput: `text`, a `str`, and "
    "`id_of`, a "
    "`dict` that has an id for every character of it. Result: a `list` of `int`, as long as the text.",
    signature="def encode(text: str, id_of: dict[str, int]) -> list[int]",
    inputs=_encode_inputs,
    solution=encode,
    mistakes=[
        Mistake(
            "the ids are code points, not those of the vocabulary",
            lambda text, id_of: [ord(c) for c in text],
            "`ord` is Unicode's number for a character. Look the character up in `id_of`.",
        ),
        Mistake(
            "repeated characters are left out",
            lambda text, id_of: [id_of[c] for c in dict.fromkeys(text)],
            "A text is a sequence: the second a is a token as well. Go through the text, not through a set of it.",
        ),
        Mistake(
            "the ids are sorted",
            lambda text, id_of: sorted(id_of[c] for c in text),
            "Order is half of what a text says. Keep the ids in the order of the characters.",
        ),
        Mistake(
            "the ids are text",
            lambda text, id_of: [str(id_of[c]) for c in text],
            "A model does arithmetic with ids: they are of type `int`.",
        ),
        Mistake(
            "spaces are left out",
            lambda text, id_of: [id_of[c] for c in text if c != " "],
            "A space is a character like any other. Without it the way back would give onelongword.",
        ),
    ],
    hints=[
        "One id for each character, in order.",
        "`for character in text` walks through the text; `id_of[character]` is the id.",
        "A list comprehension does both in one line.",
    ],
    package="gptlab.tokens.CharTokenizer.encode",
)

# ---- tokens.3 --------------------------------------------------------------------------------------------------------


def decode(ids: list[int], id_of: dict[str, int]) -> str:
    character_of = {id: character for character, id in id_of.items()}
    return "".join(character_of[id] for id in ids)


def _decode_inputs(rng):
    yield from [([], {"a": 0}), ([0], {"b": 1, "a": 0}), ([1, 0], {"b": 1, "a": 0}), ([0, 0, 1], {"b": 1, "a": 0})]
    for length in range(3, 15):
        id_of = _shuffled(rng, _LETTERS)
        yield [rng.randrange(len(id_of)) for _ in range(length)], id_of


_DECODE = Exercise(
    id="tokens.3",
    title="Ids to text",
    minutes=5,
    difficulty=1,
    prompt="The way back. You have the vocabulary of the way there: it leads from character to id, and its entries may "
    "stand in any order.\n\nInput: `ids`, a `list` of `int`, and `id_of`, a `dict` from character to id. "
    "Result: a `str`.",
    signature="def decode(ids: list[int], id_of: dict[str, int]) -> str",
    inputs=_decode_inputs,
    solution=decode,
    mistakes=[
        Mistake(
            "the characters stay a list",
            lambda ids, id_of: [{i: c for c, i in id_of.items()}[i] for i in ids],
            'A text is expected: `"".join(...)` glues the characters together.',
        ),
        Mistake(
            "there are spaces between the characters",
            lambda ids, id_of: " ".join({i: c for c, i in id_of.items()}[i] for i in ids),
            'You join with `" "`. Join with the empty text, `""`: spaces have their own ids.',
        ),
        Mistake(
            "the order of the dict is taken for the ids",
            lambda ids, id_of: "".join(list(id_of)[i] for i in ids),
            "`list(id_of)[id]` is the entry that was put in as number `id`. Turn the dict around instead.",
        ),
        Mistake(
            "ids are taken for code points",
            lambda ids, id_of: "".join(chr(i) for i in ids),
            "`chr` is the way back from `ord`. These ids come from `id_of`.",
        ),
        Mistake(
            "the text is the wrong way round",
            lambda ids, id_of: "".join({i: c for c, i in id_of.items()}[i] for i in reversed(ids)),
            "The first id is the first character.",
        ),
    ],
    hints=[
        "You need a dict from id to character.",
        "`{id: character for character, id in id_of.items()}` turns the dict around.",
        'Then look up each id, and join what you find with `"".join(...)`.',
    ],
    package="gptlab.tokens.CharTokenizer.decode",
)

# ---- tokens.4 --------------------------------------------------------------------------------------------------------


def encode_words(words: list[str], id_of: dict[str, int], unknown: int) -> list[int]:
    return [id_of.get(word, unknown) for word in words]


def _word_inputs(rng):
    id_of = {"the": 0, "<unk>": 1, "fox": 2, "The": 3}
    yield from [
        ([], id_of, 1),
        (["fox"], id_of, 1),
        (["the"], id_of, 1),
        (["owl"], id_of, 1),
        (["The", "fox"], id_of, 1),
    ]
    yield ["the", "owl", "saw", "the", "fox"], id_of, 1
    known = ["the", "<unk>", "fox", "The", "hen", "saw", "Fox"]
    for length in range(3, 12):
        id_of = {word: id for id, word in enumerate(rng.sample(known, len(known)))}
        words = [rng.choice([*known, "owl", "Owl", "pond", "FOX"]) for _ in range(length)]
        words[rng.randrange(length)] = "pond"
        yield words, id_of, id_of["<unk>"]


def _known_only(words, id_of, unknown):
    return [id_of[word] for word in words if word in id_of]


_UNKNOWN = Exercise(
    id="tokens.4",
    title="A word that nobody has seen",
    minutes=5,
    difficulty=1,
    prompt="A vocabulary of words meets a word that it lacks. Write `unknown` in its place.\n\nInput: `words`, "
    "a `list` "
    "of `str`; `id_of`, a `dict` from word to id; `unknown`, the `int` that stands for all other words. Result: "
    "a `list` "
    "of `int`, one for each word.",
    signature="def encode_words(words: list[str], id_of: dict[str, int], unknown: int) -> list[int]",
    inputs=_word_inputs,
    solution=encode_words,
    mistakes=[
        Mistake(
            "unknown words are left out",
            _known_only,
            "The result is shorter than the text, and nobody can tell where a word is missing. Write `unknown` there.",
        ),
        Mistake(
            "an unknown word is an error",
            lambda words, id_of, unknown: [id_of[word] for word in words],
            "`id_of[word]` raises KeyError for a word that is not there; `id_of.get(word, ...)` has an answer ready.",
        ),
        Mistake(
            "the word with id 0 counts as unknown",
            lambda words, id_of, unknown: [id_of.get(word) or unknown for word in words],
            "`or` takes 0 for nothing. Ask whether the word is there, not whether its id is true.",
        ),
        Mistake(
            "upper and lower case are mixed up",
            lambda words, id_of, unknown: [id_of.get(word.lower(), unknown) for word in words],
            "The and the are two entries of this vocabulary, and it decides: look words up as they are.",
        ),
        Mistake(
            "unknown words become 0",
            lambda words, id_of, unknown: [id_of.get(word, 0) for word in words],
            "0 is the id of a real word here. The id for unknown words is the argument `unknown`.",
        ),
    ],
    hints=[
        "What does `id_of[word]` do with a word that is not in the dict?",
        "`dict.get` takes a second argument: what to answer if the key is missing.",
        "`id_of.get(word, unknown)`, for each word.",
    ],
    package="gptlab.tokens.WordTokenizer.encode",
)

# ---- tokens.5 --------------------------------------------------------------------------------------------------------


def utf8_lengths(text: str) -> list[int]:
    lengths = []
    for character in text:
        point = ord(character)
        lengths.append(1 if point < 0x80 else 2 if point < 0x800 else 3 if point < 0x10000 else 4)
    return lengths


def _utf8_inputs(rng):
    yield from [("",), ("a",), ("é",), ("\x7f\x80",), ("€",), ("\u07ff\u0800",), ("🦊",), ("\uffff\U00010000",)]
    for length in range(3, 10):
        yield (_text(rng, length, "abzßéñЖא\u0800€狐あ🦊𝄞"),)


def _at_most(most):
    return lambda text: [min(most, len(c.encode())) for c in text]


_UTF8 = Exercise(
    id="tokens.5",
    title="How many bytes is a character?",
    minutes=10,
    difficulty=2,
    prompt="UTF-8 writes a character in 1 to 4 bytes, depending on its code point `ord(c)`: below 128 one byte, below "
    "0x800 two, below 0x10000 three, and four from there on. Count without `encode`.\n\nInput: `text`, a `str`. "
    "Result: a "
    "`list` of `int`, the bytes of each character.",
    signature="def utf8_lengths(text: str) -> list[int]",
    inputs=_utf8_inputs,
    solution=utf8_lengths,
    reference=lambda text: [len(c.encode("utf-8")) for c in text],
    mistakes=[
        Mistake(
            "every character is one byte",
            lambda text: [1] * len(text),
            "That is so for English only. Compare `len(text)` with `len(text.encode())` for é.",
        ),
        Mistake(
            "everything outside ASCII is two bytes",
            _at_most(2),
            "Two bytes hold 11 bits, which ends below 0x800. The euro sign and all of Chinese need three.",
        ),
        Mistake(
            "there are no characters of four bytes",
            _at_most(3),
            "From 0x10000 on it takes four: emoji, many historic scripts.",
        ),
        Mistake(
            "a border is off by one",
            lambda text: [1 + sum(ord(c) > border for border in (0x80, 0x800, 0x10000)) for c in text],
            "0x80 itself has two bytes already, 0x800 three, 0x10000 four: compare with `<`, not with `<=`.",
        ),
        Mistake(
            "these are the lengths in UTF-16",
            lambda text: [len(c.encode("utf-16-le")) for c in text],
            "UTF-16 takes 2 or 4 bytes. UTF-8 takes 1 to 4, and 1 for ASCII.",
        ),
        Mistake(
            "one number for the whole text",
            lambda text: len(text.encode()),
            "The total is right. The exercise asks for a list, with a number for each character.",
        ),
    ],
    hints=[
        "`ord(character)` is the code point. Where do the four ranges end?",
        "Compare with 0x80, 0x800 and 0x10000, in this order.",
        "`1 if point < 0x80 else 2 if point < 0x800 else …`, for each character.",
    ],
)

# ---- tokens.6 --------------------------------------------------------------------------------------------------------


def bits_per_character(text: str) -> float:
    counts = Counter(text)
    parts = [count / len(text) for count in counts.values()]
    return -sum(part * math.log2(part) for part in parts)


def _entropy_inputs(rng):
    yield from [("ab",), ("aab",), ("abcd",), ("aaabbc",), ("a fox, a hen",)]
    for length in range(6, 30, 3):
        yield (_text(rng, length, "aaaaabbbcd "),)


def _entropy(log, over=lambda text: 1):
    def wrong(text):
        parts = [count / len(text) for count in Counter(text).values()]
        return -sum(part * log(part) for part in parts) * over(text)

    return wrong


_BITS = Exercise(
    id="tokens.6",
    title="Bits a character",
    minutes=10,
    difficulty=2,
    prompt=r"How many bits does a character of this text cost, if a code gives short words to frequent "
    r"characters? At best "
    r"$-\sum_c p_c \log_2 p_c$, where $p_c$ is the part of all characters that are $c$."
    "\n\nInput: `text`, a `str` that is not empty. Result: a `float`, in bits a character.",
    signature="def bits_per_character(text: str) -> float",
    inputs=_entropy_inputs,
    solution=bits_per_character,
    mistakes=[
        Mistake(
            "the logarithm is natural, so the unit is nats",
            _entropy(math.log),
            "`math.log` counts in nats. Bits need `math.log2`; they are nats divided by ln 2.",
        ),
        Mistake(
            "all characters are taken to be equally frequent",
            lambda text: math.log2(len(set(text))),
            "log2(V) is the price if nothing is known. A frequent character is cheaper: use the counts.",
        ),
        Mistake(
            "these are the bits of the whole text",
            _entropy(math.log2, len),
            "Divide by the number of characters to get bits a character.",
        ),
        Mistake(
            "the sign is missing",
            lambda text: -_entropy(math.log2)(text),
            "The logarithm of a part is negative, and a price is not: put a minus before the sum.",
        ),
        Mistake(
            "rare characters weigh as much as frequent ones",
            lambda text: -sum(math.log2(n / len(text)) for n in Counter(text).values()) / len(set(text)),
            "This is the mean over the vocabulary. The mean over the text weighs each character with its p.",
        ),
        Mistake(
            "the logarithm is to base 10",
            _entropy(math.log10),
            "Bits are logarithms to base 2: `math.log2`.",
        ),
    ],
    hints=[
        "First the counts: `Counter(text)`. A count divided by `len(text)` is p.",
        "A character with the part p costs -log2(p) bits. How often is it paid?",
        "`-sum(p * math.log2(p) for p in parts)`",
    ],
)

# ---- tokens.7 --------------------------------------------------------------------------------------------------------


class Tokenizer:
    def __init__(self, text: str):
        self.characters = sorted(set(text))
        self.vocab_size = len(self.characters)

    def encode(self, text: str) -> list[int]:
        return [self.characters.index(character) for character in text]

    def decode(self, ids: list[int]) -> str:
        return "".join(self.characters[id] for id in ids)


class _FromOne(Tokenizer):
    def encode(self, text):
        return [id + 1 for id in super().encode(text)]

    def decode(self, ids):
        return super().decode([id - 1 for id in ids])


class _Lower(Tokenizer):
    def __init__(self, text):
        super().__init__(text.lower())

    def encode(self, text):
        return super().encode(text.lower())


class _CountsAll(Tokenizer):
    def __init__(self, text):
        super().__init__(text)
        self.vocab_size = len(text)


class _Words:
    def __init__(self, text):
        self.words = sorted(set(text.split()))
        self.vocab_size = len(self.words)

    def encode(self, text):
        return [self.words.index(word) for word in text.split() if word in self.words]

    def decode(self, ids):
        return " ".join(self.words[id] for id in ids)


def use_tokenizer(answer, text, message):
    tokenizer = answer(text)
    ids = part(lambda: list(tokenizer.encode(message)))
    return ids, part(lambda: tokenizer.decode(ids)), part(lambda: tokenizer.vocab_size)


def _tokenizer_inputs(rng):
    yield from [("ab", "ba"), ("aab", "aba"), ("A fox, a hen", "foe"), ("no  way\n", "a\nway  on"[2:]), ("Aa b", "a A")]
    for length in range(6, 16):
        text = _text(rng, length, "abcdefABCDEF ,\n") + "a B"
        yield text, "".join(rng.choice(text) for _ in range(length))


_CLASS = Exercise(
    id="tokens.7",
    title="A tokenizer of your own",
    minutes=15,
    difficulty=2,
    prompt="Put it all into a class. `Tokenizer(text)` learns the characters of a text; `encode` and `decode` "
    "go there and "
    'back without a loss; `vocab_size` is V. Pass the class: `check("tokens.7", Tokenizer)`.\n\nTypes: `encode` '
    "takes a `str` "
    "and gives a `list` of `int` in `range(V)`, `decode` the reverse, `vocab_size` is an `int`.",
    signature="class Tokenizer:\n    def __init__(self, text: str): ...\n    def encode(self, text: str) -> "
    "list[int]: ...\n"
    "    def decode(self, ids: list[int]) -> str: ...",
    inputs=_tokenizer_inputs,
    solution=Tokenizer,
    use=use_tokenizer,
    properties=[
        ("decode gives the message back", lambda answer, text, message, result: result[1] == message),
        ("one id for each character", lambda answer, text, message, result: len(result[0]) == len(message)),
        (
            "every id is an int from 0 to V - 1",
            lambda answer, text, message, result: all(type(i) is int and 0 <= i < len(set(text)) for i in result[0]),
        ),
        (
            "vocab_size is the number of different characters",
            lambda answer, text, message, result: result[2] == len(set(text)),
        ),
    ],
    mistakes=[
        Mistake(
            "the ids begin at 1",
            _FromOne,
            "The largest id is V then, and a table with V rows has no row V. Begin at 0.",
        ),
        Mistake(
            "upper case is lost",
            _Lower,
            "`lower()` cannot be undone: A and a need ids of their own.",
        ),
        Mistake(
            "repeated characters are counted in vocab_size",
            _CountsAll,
            "V is the number of different characters, `len(set(text))`, not the length of the text.",
        ),
        Mistake(
            "it cuts at blanks and loses them",
            _Words,
            "`split()` throws away which blanks stood there, and words that are new. Here a token is a character.",
        ),
    ],
    hints=[
        "What must be remembered from the text? Only its characters, each once, in a fixed order.",
        "Keep `self.characters = sorted(set(text))`: a character's place is its id, and the way back is "
        "`self.characters[id]`.",
        "`encode` is exercise tokens.2, `decode` is exercise tokens.3, and `self.vocab_size = len(self.characters)`.",
    ],
    package="gptlab.tokens.CharTokenizer",
)

# ---- tokens.8 --------------------------------------------------------------------------------------------------------


def split_words(text: str) -> list[str]:
    return re.findall(r"\w+|\W", text)


def _split_inputs(rng):
    yield from [("",), ("a",), ("a b",), ("a.",), ("a  b",), ("fox2, hen\n",)]
    for length in range(5, 15):
        yield (_text(rng, length, "abé2   ,.!\n") + " a, b",)


_SPLIT = Exercise(
    id="tokens.8",
    title="Words, and all that is between them",
    minutes=10,
    difficulty=2,
    prompt="Cut a text into words and single other characters, so that joining the parts gives the text back. A "
    "word is a "
    "run of letters and digits; a space, a newline, a comma are parts of their own.\n\nInput: `text`, a `str`. "
    "Result: a "
    "`list` of `str`.",
    signature="def split_words(text: str) -> list[str]",
    inputs=_split_inputs,
    solution=split_words,
    mistakes=[
        Mistake(
            "blanks are lost",
            str.split,
            "After `split()` nobody knows whether there was one space, two, or a newline.",
        ),
        Mistake(
            "only words are kept",
            lambda text: re.findall(r"\w+", text),
            "Commas and spaces are part of the text too: add an alternative for every other character.",
        ),
        Mistake(
            "runs of other characters stay together",
            lambda text: re.findall(r"\w+|\W+", text),
            "With `\\W+` each mixture of comma and spaces is a token of its own. One character a token, `\\W`, "
            "needs few.",
        ),
        Mistake(
            "empty parts are among the result",
            lambda text: re.split(r"(\W)", text),
            "`re.split` gives an empty text between two borders. `re.findall` gives only what is there.",
        ),
        Mistake(
            "every character is a part",
            list,
            "That is the tokenizer of characters. Letters and digits that touch belong together.",
        ),
    ],
    hints=[
        "`re.findall(pattern, text)` gives all that fits the pattern, in order.",
        "`\\w` is a letter or digit, `\\W` is anything else.",
        "An alternative for each kind of part: `\\w+|\\W`.",
    ],
    package="gptlab.tokens.WordTokenizer.split",
)

EXERCISES = [_VOCABULARY, _ENCODE, _DECODE, _UNKNOWN, _UTF8, _BITS, _CLASS, _SPLIT]

PREDICTIONS = [
    Prediction(
        id="tokens.a",
        question="How many bytes is the word fünf in UTF-8?",
        kind="number",
        answer=5,
        explanation="f, n and f are one byte each, and ü takes two.",
    ),
    Prediction(
        id="tokens.b",
        question="A tokenizer of words has read a long book. It meets a second book. What happens to words that "
        "are new?",
        kind="choice",
        choices=("there are none after a long book", "they become one and the same unknown id", "they get new ids"),
        answer="b",
        explanation="However long the first book, names and rare words are new in the second, and all look alike then.",
    ),
    Prediction(
        id="tokens.c",
        question="An English text has a few characters that are not ASCII. Order the tokenizers by the length of their "
        "sequences, shortest first: bytes, words, characters.",
        kind="order",
        answer=("words", "characters", "bytes"),
        explanation="A word is several characters, and a character at least one byte.",
    ),
]
