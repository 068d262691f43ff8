"""Exercises on tokens: strings to integers, and back again."""

import math
import random
import re
from collections import Counter
from itertools import groupby

from gptlab.exercises.schema import Exercise, Mistake, Prediction
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
    yield from [("",), ("a",), ("ab",), ("ba",), ("abba",), ("cabc",), ("bA a",), ("é\nz, a",), ("a fox, a hen",)]
    yield ("The owl watched the pond.",)
    for length in range(5, 15):
        yield (_text(rng, length, _LETTERS + "AB\n"),)


_VOCABULARY = Exercise(
    id="tokens.1",
    title="Build a vocabulary",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="Give every different character of a text an id: 0 for the first in Unicode order (the order in which "
    "`sorted` puts them), 1 for the next, and so on without a gap.\n\nInput: `text`, a `str`, which may be empty. "
    "Result: a `dict` from character to `int`.",
    signature="def build_vocabulary(text: str) -> dict[str, int]",
    inputs=_texts,
    solution=build_vocabulary,
    reference=lambda text: {c: CharTokenizer.from_text(text).encode(c)[0] for c in text},
    mistakes=[
        Mistake(
            "the ids follow the order of a set",
            lambda text: {c: i for i, c in enumerate(set(text))},
            "A set has no order: Python may go through it differently in the next run, and your saved ids would mean "
            "other characters. Sort it first.",
        ),
        Mistake(
            "the ids follow the order of the text",
            lambda text: {c: i for i, c in enumerate(dict.fromkeys(text))},
            "Two texts with the same characters then have different ids. Sort the characters before you number them.",
        ),
        Mistake(
            "the ids begin at 1",
            lambda text: {c: i for i, c in enumerate(sorted(set(text)), 1)},
            "Ids will be the rows of a table, and its rows run from 0 to V - 1.",
        ),
        Mistake(
            "the ids run backwards",
            lambda text: {c: i for i, c in enumerate(sorted(set(text), reverse=True))},
            "The first character in Unicode order gets 0, the last one V - 1.",
        ),
        Mistake(
            "the ids are text",
            lambda text: {c: str(i) for i, c in enumerate(sorted(set(text)))},
            "A model does arithmetic with ids: they are of type `int`.",
        ),
        Mistake(
            "repeated characters use up ids",
            lambda text: {c: i for i, c in enumerate(sorted(text))},
            "You number every occurrence, so the ids have gaps. Take each character once: a set does that.",
        ),
        Mistake(
            "repeated characters use up ids, and the first occurrence counts",
            lambda text: {c: sorted(text).index(c) for c in text},
            "`index` looks in a list that still has its duplicates, so the ids have gaps. Number `sorted(set(text))`.",
        ),
        Mistake(
            "an id is a position in the text",
            lambda text: {c: text.index(c) for c in text},
            "`text.index(c)` is where a character first occurs. Its id is its position in the sorted list of "
            "different characters.",
        ),
        Mistake(
            "each occurrence is numbered, and the last one wins",
            lambda text: {c: i for i, c in enumerate(text)},
            "A later occurrence overwrites the id of an earlier one. Number the different characters, sorted.",
        ),
        Mistake(
            "the dict leads from id to character",
            lambda text: dict(enumerate(sorted(set(text)))),
            "This is the dict for decoding. Here the character is the key and the id is the value.",
        ),
        Mistake(
            "the ids are code points",
            lambda text: {c: ord(c) for c in text},
            "`ord` gives up to 1,114,112 different numbers. A vocabulary numbers only what occurs, without gaps.",
        ),
        Mistake(
            "the ids are code points, counted from a",
            lambda text: {c: ord(c) - ord("a") for c in text},
            "That would fit a text of lower-case letters only, and leaves gaps. Number the characters that occur.",
        ),
        Mistake(
            "the ids are code points, counted from the smallest",
            lambda text: {c: ord(c) - ord(min(text)) for c in text},
            "These ids still have gaps. Number the characters that occur: 0, 1, 2 …",
        ),
        Mistake(
            "the values are counts, not ids",
            lambda text: dict(Counter(text)),
            "How often a character occurs is not its name. Number the different characters from 0.",
        ),
        Mistake(
            "the most frequent character comes first",
            lambda text: {c: i for i, (c, _) in enumerate(Counter(text).most_common())},
            "An order by frequency is possible, but not the one asked for: the ids follow the order of `sorted`.",
        ),
        Mistake(
            "upper and lower case share an id",
            lambda text: {c: i for i, c in enumerate(sorted(set(text.lower())))},
            "A and a are two characters. Without an id of its own, A can't come back when you decode.",
        ),
        Mistake(
            "only letters and digits get an id",
            lambda text: {c: i for i, c in enumerate(sorted({c for c in text if c.isalnum()}))},
            "Spaces, commas and newlines are characters too, and the text can't be written without them.",
        ),
        Mistake(
            "spaces and newlines get no id",
            lambda text: {c: i for i, c in enumerate(sorted({c for c in text if not c.isspace()}))},
            "A space is a character like any other: leave it out and all words run together.",
        ),
        Mistake(
            "words get the ids",
            lambda text: {word: i for i, word in enumerate(sorted(set(text.split())))},
            "`text.split()` gives words. A set of the text itself holds its characters.",
        ),
        Mistake(
            "the result is the sorted list, not a dict",
            lambda text: sorted(set(text)),
            "The list is right. Now number it: `enumerate` gives each character together with its position.",
        ),
        Mistake(
            "the result is a list of pairs (id, character)",
            lambda text: list(enumerate(sorted(set(text)))),
            "Make a dict of it, with the character as the key: `{character: id for id, character in ...}`.",
        ),
        Mistake(
            "the result is a list of pairs (character, id)",
            lambda text: [(c, i) for i, c in enumerate(sorted(set(text)))],
            "The pairs are right. `dict(...)` makes the dict of them.",
        ),
        Mistake(
            "the result is the characters as one text",
            lambda text: "".join(sorted(set(text))),
            "The order is right. Now number the characters: `enumerate` gives each together with its position.",
        ),
    ],
    hints=[
        "Which characters are there, each once? And in which order?",
        "`sorted(set(text))` is the list of characters; a character's position in it is its id.",
        "`enumerate` gives position and character together; a dict comprehension turns them around.",
    ],
)

# ---- tokens.2 --------------------------------------------------------------------------------------------------------


def encode(text: str, id_of: dict[str, int]) -> list[int]:
    return [id_of[character] for character in text]


def _encode_inputs(rng):
    two, swapped = {"a": 0, "b": 1}, {"b": 0, "a": 1}
    yield from [("", two), ("a", two), ("ba", two), ("aab", swapped), ("ab", {"b": 1, "a": 0})]
    yield from [("a b", {" ": 2, "a": 0, "b": 1}), ("Aa", {"a": 1, "A": 0}), ("\na\n", {"\n": 1, "a": 0, "b": 2})]
    yield "fox, ox", {"x": 11, "o": 3, "f": 12, ",": 10, " ": 0}
    yield "ca", {"a": 0, "b": 1, "c": 2}
    for length in range(3, 15):
        id_of = _shuffled(rng, _LETTERS)
        yield _text(rng, length), id_of


_ENCODE = Exercise(
    id="tokens.2",
    title="Text to ids",
    kind="warm-up",
    minutes=3,
    difficulty=1,
    prompt="Write a text as the ids of its characters, first character first.\n\nInput: `text`, a `str` that may be "
    "empty, and `id_of`, a `dict` that has an id for every character of it (its entries in any order). Result: a "
    "`list` of `int`, as long as the text.",
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
            "the ids are code points, counted from a",
            lambda text, id_of: [ord(c) - ord("a") for c in text],
            "That numbers the lower-case letters only, and by Unicode. Look the character up in `id_of`.",
        ),
        Mistake(
            "the text gets a vocabulary of its own",
            lambda text, id_of: [sorted(set(text)).index(c) for c in text],
            "You number the characters of this text anew, so the same character gets another id in every text. The "
            "ids are in `id_of`.",
        ),
        Mistake(
            "an id is a position in the text",
            lambda text, id_of: [text.index(c) for c in text],
            "`text.index(c)` says where a character first occurs in this text. Its id is in `id_of`.",
        ),
        Mistake(
            "an id is taken to be a position in the dict",
            lambda text, id_of: [list(id_of).index(c) for c in text],
            "The entries of the dict can be in any order. `id_of[character]` is the id itself.",
        ),
        Mistake(
            "an id is taken to be a position in the sorted vocabulary",
            lambda text, id_of: [sorted(id_of).index(c) for c in text],
            "This vocabulary need not be numbered in sorted order. `id_of[character]` is the id itself.",
        ),
        Mistake(
            "repeated characters are left out",
            lambda text, id_of: [id_of[c] for c in dict.fromkeys(text)],
            "A text is a sequence: the second a is a token as well. Go through the text itself.",
        ),
        Mistake(
            "it goes through a set of the characters",
            lambda text, id_of: [id_of[c] for c in set(text)],
            "A set forgets how often a character occurs, and in which order. Go through the text itself.",
        ),
        Mistake(
            "the ids are sorted",
            lambda text, id_of: sorted(id_of[c] for c in text),
            "Order is half of what a text says. Keep the ids in the order of the characters.",
        ),
        Mistake(
            "the ids are in reverse order",
            lambda text, id_of: [id_of[c] for c in reversed(text)],
            "The first character gives the first id.",
        ),
        Mistake(
            "it goes through the vocabulary, not through the text",
            lambda text, id_of: [i for c, i in id_of.items() if c in text],
            "Then each character comes once, in the order of the dict. Go through the text, and look each "
            "character up.",
        ),
        Mistake(
            "the ids are text",
            lambda text, id_of: [str(id_of[c]) for c in text],
            "A model does arithmetic with ids: they are of type `int`.",
        ),
        Mistake(
            "the ids are joined into one text",
            lambda text, id_of: "".join(str(id_of[c]) for c in text),
            "In `112` nobody can tell the ids 1 and 12 from 11 and 2. Give a list of integers.",
        ),
        Mistake(
            "the ids are joined into one text, with spaces",
            lambda text, id_of: " ".join(str(id_of[c]) for c in text),
            "That is a text about ids. Give a list of integers.",
        ),
        Mistake(
            "spaces are left out",
            lambda text, id_of: [id_of[c] for c in text if c != " "],
            "A space is a character like any other. Without it, decoding would give onelongword.",
        ),
        Mistake(
            "spaces and newlines are left out",
            lambda text, id_of: [id_of[c] for c in text if not c.isspace()],
            "Spaces and newlines are characters like any other. Without them, decoding would give onelongword.",
        ),
        Mistake(
            "words are looked up, not characters",
            lambda text, id_of: [id_of[word] for word in text.split()],
            "`text.split()` gives words, and this vocabulary holds characters. A `for` loop over a text gives its "
            "characters.",
        ),
        Mistake(
            "the whole text is looked up at once",
            lambda text, id_of: [id_of[text]],
            "The vocabulary holds single characters. A `for` loop over a text gives its characters.",
        ),
        Mistake(
            "only the first character is encoded",
            lambda text, id_of: [id_of[text[0]]] if text else None,
            "The `return` stands inside the loop, so it ends with the first character. Collect first, return "
            "afterwards.",
        ),
        Mistake(
            "positions are looked up, not characters",
            lambda text, id_of: [id_of[i] for i in range(len(text))],
            "`range(len(text))` gives 0, 1, 2 …, and the keys of `id_of` are characters. Loop over the text itself.",
        ),
        Mistake(
            "upper case is lost",
            lambda text, id_of: [id_of[c] for c in text.lower()],
            "A and a have ids of their own: look each character up as it is.",
        ),
        Mistake(
            "the result is a dict",
            lambda text, id_of: {c: id_of[c] for c in text},
            "A dict holds each character once. A text is a sequence: give a list, with one id for each character.",
        ),
        Mistake(
            "the result is a list of pairs",
            lambda text, id_of: [(c, id_of[c]) for c in text],
            "Only the ids are asked for: `id_of[character]` for each character.",
        ),
        Mistake(
            "the result is a set",
            lambda text, id_of: {id_of[c] for c in text},
            "A set forgets order and repetitions. Give a list: square brackets.",
        ),
        Mistake(
            "every id is one too large",
            lambda text, id_of: [id_of[c] + 1 for c in text],
            "The ids are in `id_of` as they should come out, counted from 0.",
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
    two = {"b": 1, "a": 0}
    yield from [([], two), ([0], two), ([1, 0], two), ([0, 0, 1], two), ([1, 1], {"a": 1, "b": 0})]
    yield [2, 0, 1, 0], {"x": 1, "f": 2, "o": 0}
    yield [0, 11, 1, 0], {c: i for i, c in reversed([*enumerate("hgfedcba ,.é")])}
    for length in range(3, 15):
        id_of = _shuffled(rng, _LETTERS)
        yield [rng.randrange(len(id_of)) for _ in range(length)], id_of


def _turned(id_of):
    return {i: c for c, i in id_of.items()}


_DECODE = Exercise(
    id="tokens.3",
    title="Ids to text",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="And back again: which text do these ids stand for? You have the vocabulary that encoding used. It leads "
    "from character to id, has the ids 0 to V - 1, and lists its entries in any order.\n\nInput: `ids`, a `list` of "
    "`int` that may be empty, and `id_of`, a `dict` from character to id. Result: a `str`.",
    signature="def decode(ids: list[int], id_of: dict[str, int]) -> str",
    inputs=_decode_inputs,
    solution=decode,
    mistakes=[
        Mistake(
            "the characters stay a list",
            lambda ids, id_of: [_turned(id_of)[i] for i in ids],
            'A text is expected: `"".join(...)` puts the characters together.',
        ),
        Mistake(
            "there are spaces between the characters",
            lambda ids, id_of: " ".join(_turned(id_of)[i] for i in ids),
            'You join with `" "`. Join with the empty text, `""`: spaces have ids of their own.',
        ),
        Mistake(
            "there are commas between the characters",
            lambda ids, id_of: ",".join(_turned(id_of)[i] for i in ids),
            'Join with the empty text, `""`: a comma has an id of its own.',
        ),
        Mistake(
            "the list is printed into a text",
            lambda ids, id_of: str([_turned(id_of)[i] for i in ids]),
            '`str` writes the brackets and quotes as well. `"".join(...)` puts the characters together.',
        ),
        Mistake(
            "an id is taken to be a position in the dict",
            lambda ids, id_of: "".join(list(id_of)[i] for i in ids),
            "`list(id_of)[id]` is the entry that was put in as number `id`, whatever its id is. Turn the dict around "
            "instead.",
        ),
        Mistake(
            "an id is taken to be a position in the sorted vocabulary",
            lambda ids, id_of: "".join(sorted(id_of)[i] for i in ids),
            "`sorted(id_of)` sorts the characters. These ids need not follow that order: turn the dict around instead.",
        ),
        Mistake(
            "the dict is asked for an id",
            lambda ids, id_of: "".join(id_of[i] for i in ids),
            "The keys of `id_of` are characters, so `id_of[0]` is a KeyError. Turn the dict around first.",
        ),
        Mistake(
            "the dict is asked for an id, and has no answer",
            lambda ids, id_of: "".join(id_of.get(i, "") for i in ids),
            "The keys of `id_of` are characters, so it knows no id, and `get` gives nothing. Turn the dict around "
            "first.",
        ),
        Mistake(
            "ids are taken for code points",
            lambda ids, id_of: "".join(chr(i) for i in ids),
            "`chr` undoes `ord`. These ids come from `id_of`.",
        ),
        Mistake(
            "the text is backwards",
            lambda ids, id_of: "".join(_turned(id_of)[i] for i in reversed(ids)),
            "The first id is the first character.",
        ),
        Mistake(
            "repeated ids are left out",
            lambda ids, id_of: "".join(_turned(id_of)[i] for i in dict.fromkeys(ids)),
            "A character can occur many times: go through the ids themselves, not through the different ones.",
        ),
        Mistake(
            "it goes through a set of the ids",
            lambda ids, id_of: "".join(_turned(id_of)[i] for i in set(ids)),
            "A set forgets how often an id occurs, and in which order. Go through the ids themselves.",
        ),
        Mistake(
            "the characters are in the order of the dict",
            lambda ids, id_of: "".join(c for c, i in id_of.items() if i in ids),
            "You go through the vocabulary and ask whether a character occurs. Go through `ids`, so that order and "
            "repetitions survive.",
        ),
        Mistake(
            "the digits of the ids are written",
            lambda ids, id_of: "".join(str(i) for i in ids),
            "`str(0)` is the character 0. Look up which character has the id 0.",
        ),
        Mistake(
            "only the first character comes back",
            lambda ids, id_of: _turned(id_of)[ids[0]] if ids else None,
            "The `return` stands inside the loop, so it ends with the first id. Collect first, return afterwards.",
        ),
        Mistake(
            "only the last character comes back",
            lambda ids, id_of: ([""] + [_turned(id_of)[i] for i in ids])[-1],
            "Each round of the loop overwrites the one before. Append to a list, and join it afterwards.",
        ),
        Mistake(
            "ids are counted from 1",
            lambda ids, id_of: "".join(_turned(id_of)[i - 1] for i in ids),
            "The ids are those of the dict, from 0 to V - 1: look up the id itself.",
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
    yield from [([], id_of, 1), (["fox"], id_of, 1), (["the"], id_of, 1), (["owl"], id_of, 1)]
    yield from [(["The", "fox"], id_of, 1), (["owl", "fox", "hen", "owl"], id_of, 1)]
    yield ["the", "owl", "saw", "the", "fox"], id_of, 1
    yield ["fox", "owl", "FOX", "a"], {"a": 1, "fox": 5, "<unk>": 0}, 7  # `unknown` need not be an entry's id
    yield from [(["a", "owl"], {"a": 0, "fox": 1}, 9), (["The"], {"The": 1, "fox": 0}, 2)]
    known = ["the", "<unk>", "fox", "The", "hen", "saw", "Fox"]
    for length in range(3, 12):
        id_of = {word: id for id, word in enumerate(rng.sample(known, len(known)))}
        words = [rng.choice([*known, "owl", "Owl", "pond", "FOX"]) for _ in range(length)]
        words[rng.randrange(length)] = "pond"
        yield words, id_of, id_of["<unk>"]


def _known_only(words, id_of, unknown):
    return [id_of[word] for word in words if word in id_of]


def _until_unknown(words, id_of, unknown):
    ids = []
    for word in words:
        if word not in id_of:
            return [*ids, unknown]
        ids.append(id_of[word])
    return ids


def _new_words_get_ids(words, id_of, unknown):
    grown = dict(id_of)
    return [grown.setdefault(word, len(grown)) for word in words]


_UNKNOWN = Exercise(
    id="tokens.4",
    title="A word that nobody has seen",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="A vocabulary of words meets a word that it lacks. Write the id `unknown` there.\n\nInput: `words`, a "
    "`list` of `str` that may be empty; `id_of`, a `dict` from word to id; `unknown`, the `int` that stands for every "
    "other word. Result: a `list` of `int`, one for each word.",
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
            "`id_of[word]` raises KeyError for a word that isn't there; `id_of.get(word, ...)` has an answer ready.",
        ),
        Mistake(
            "the word with id 0 counts as unknown",
            lambda words, id_of, unknown: [id_of.get(word) or unknown for word in words],
            "Python takes 0 for false. Ask whether the word is in the dict, not whether its id is true.",
        ),
        Mistake(
            "upper and lower case are mixed up",
            lambda words, id_of, unknown: [id_of.get(word.lower(), unknown) for word in words],
            "The and the are two entries of this vocabulary: look words up as they are.",
        ),
        Mistake(
            "a word is also looked up in lower case",
            lambda words, id_of, unknown: [id_of.get(word, id_of.get(word.lower(), unknown)) for word in words],
            "Owl and owl are different words to this vocabulary. If it lacks the one, that is `unknown`, whatever "
            "it knows of the other.",
        ),
        Mistake(
            "unknown words become 0",
            lambda words, id_of, unknown: [id_of.get(word, 0) for word in words],
            "0 is the id of a real word here. The id for unknown words is the argument `unknown`.",
        ),
        Mistake(
            "unknown words become -1",
            lambda words, id_of, unknown: [id_of.get(word, -1) for word in words],
            "A table has no row -1 (Python would take the last one). The id for unknown words is the argument "
            "`unknown`.",
        ),
        Mistake(
            "unknown words become None",
            lambda words, id_of, unknown: [id_of.get(word) for word in words],
            "Without a second argument `get` answers None. Give it `unknown`.",
        ),
        Mistake(
            "unknown words become text",
            lambda words, id_of, unknown: [id_of.get(word, "<unk>") for word in words],
            "Ids are integers. The id for unknown words is the argument `unknown`.",
        ),
        Mistake(
            "unknown words stay as they are",
            lambda words, id_of, unknown: [id_of.get(word, word) for word in words],
            "The result mixes ids and words. A model takes integers: write `unknown`.",
        ),
        Mistake(
            "the unknown id is looked up, not taken from the argument",
            lambda words, id_of, unknown: [id_of.get(word, id_of["<unk>"]) for word in words],
            "Not every vocabulary has an entry with that name. The argument `unknown` says which id to write.",
        ),
        Mistake(
            "unknown words get new ids",
            _new_words_get_ids,
            "A trained model has no row for a new id. All words that the vocabulary lacks share `unknown`.",
        ),
        Mistake(
            "unknown words get new ids, and the vocabulary is changed",
            lambda words, id_of, unknown: [id_of.setdefault(word, len(id_of)) for word in words],
            "`setdefault` writes into the dict that you were given. Leave the vocabulary alone, and write `unknown`.",
        ),
        Mistake(
            "unknown words become the next free id",
            lambda words, id_of, unknown: [id_of.get(word, len(id_of)) for word in words],
            "`len(id_of)` is the first id that no word has. The id for unknown words is the argument `unknown`.",
        ),
        Mistake(
            "it stops at the first unknown word",
            _until_unknown,
            "One unknown word is no reason to drop the rest: go on to the last word.",
        ),
        Mistake(
            "`unknown` comes at the end, not where the word is missing",
            lambda words, id_of, unknown: (
                _known_only(words, id_of, unknown) + [unknown] * sum(w not in id_of for w in words)
            ),
            "The order of the words must survive: decide for each word, known or unknown, in one loop.",
        ),
        Mistake(
            "repeated words are left out",
            lambda words, id_of, unknown: [id_of.get(word, unknown) for word in dict.fromkeys(words)],
            "Each word of the text is a token, the second the as well. Go through `words` itself.",
        ),
        Mistake(
            "the values are asked, not the keys",
            lambda words, id_of, unknown: [id_of[word] if word in id_of.values() else unknown for word in words],
            "`id_of.values()` holds ids, so no word is found there. `word in id_of` asks the keys.",
        ),
        Mistake(
            "an id is taken to be a position in the dict",
            lambda words, id_of, unknown: [list(id_of).index(word) if word in id_of else unknown for word in words],
            "The entries of the dict can be in any order. `id_of[word]` is the id itself.",
        ),
        Mistake(
            "characters are looked up, not words",
            lambda words, id_of, unknown: [id_of.get(character, unknown) for word in words for character in word],
            "`words` is a list of words already. Look up each word as a whole.",
        ),
    ],
    hints=[
        "What does `id_of[word]` do with a word that isn't in the dict?",
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
    yield from [("",), ("a",), ("aa",), ("é",), ("\x7f\x80",), ("\xff\u0100",), ("€",), ("\u07ff\u0800",), ("🦊",)]
    yield from [("\uffff\U00010000",), ("\u031f\u0320",), ("\u270f\u2710",), ("été",)]
    for length in range(3, 10):
        yield (_text(rng, length, "abzßéñЖא\u0800€狐あ🦊𝄞"),)


def _at_most(most):
    return lambda text: [min(most, len(c.encode())) for c in text]


def _counted(*thresholds, above=lambda point, threshold: point >= threshold):
    return lambda text: [1 + sum(above(ord(c), threshold) for threshold in thresholds) for c in text]


_UTF8 = Exercise(
    id="tokens.5",
    title="How many bytes is a character?",
    kind="stretch",
    minutes=10,
    difficulty=2,
    prompt="UTF-8 writes a character in 1 to 4 bytes, depending on its code point `ord(c)`: one byte below 128, two "
    "below 0x800, three below 0x10000, and four from there on. (`len(c.encode())` would tell you; the exercise is to "
    "do it from the code point alone.)\n\nInput: `text`, a `str` that may be empty. Result: a `list` of `int`, the "
    "number of bytes of each character.",
    signature="def utf8_lengths(text: str) -> list[int]",
    inputs=_utf8_inputs,
    solution=utf8_lengths,
    reference=lambda text: [len(c.encode("utf-8")) for c in text],
    mistakes=[
        Mistake(
            "every character is one byte",
            lambda text: [1] * len(text),
            "That is true of ASCII only. Compare `len(text)` with `len(text.encode())` for é.",
        ),
        Mistake(
            "everything outside ASCII is two bytes",
            _at_most(2),
            "Two bytes hold 11 bits, which ends below 0x800. The euro sign and all of Chinese need three.",
        ),
        Mistake(
            "no character has four bytes",
            _at_most(3),
            "From 0x10000 on it takes four: emoji, many historic scripts.",
        ),
        Mistake(
            "the thresholds are off by one",
            _counted(0x80, 0x800, 0x10000, above=lambda point, threshold: point > threshold),
            "0x80 itself has two bytes already, 0x800 three, 0x10000 four: compare with `<`, not with `<=`.",
        ),
        Mistake(
            "the ranges end one too early",
            _counted(0x7F, 0x7FF, 0xFFFF),
            "0x7F still has one byte, 0x7FF two, 0xFFFF three: compare with `<= 0x7F`, or with `< 0x80`.",
        ),
        Mistake(
            "one byte reaches to 255",
            _counted(0x100, 0x800, 0x10000),
            "A byte has 256 values, but UTF-8 needs its highest bit to mark the longer characters. So one byte holds "
            "128 characters, and é (233) has two.",
        ),
        Mistake(
            "the hexadecimal numbers are read as decimal ones",
            _counted(128, 800, 10000),
            "0x800 is 2,048, and 0x10000 is 65,536. Write them with their `0x`.",
        ),
        Mistake(
            "0x800 is read as decimal",
            _counted(128, 800, 0x10000),
            "0x800 is 2,048. Write it with its `0x`.",
        ),
        Mistake(
            "0x10000 has lost a zero",
            _counted(0x80, 0x800, 0x1000),
            "Three bytes reach up to 0xFFFF, so the next range begins at 0x10000, with four zeros.",
        ),
        Mistake(
            "the bytes of the code point are counted",
            lambda text: [max(1, (ord(c).bit_length() + 7) // 8) for c in text],
            "You ask how many bytes the number itself would take. UTF-8 also spends bits on marking where a character "
            "begins, so it needs more: use the thresholds.",
        ),
        Mistake(
            "these are the lengths in UTF-16",
            lambda text: [len(c.encode("utf-16-le")) for c in text],
            "UTF-16 takes 2 or 4 bytes. UTF-8 takes 1 to 4, and 1 for ASCII.",
        ),
        Mistake(
            "these are the lengths in UTF-32",
            lambda text: [4] * len(text),
            "Only UTF-32 gives every character 4 bytes. In UTF-8 it depends on the code point.",
        ),
        Mistake(
            "no character has one byte",
            _counted(-1, 0x800, 0x10000),
            "Below 128 a character is one byte. If you wrote a second `if` where an `elif` belongs, it overwrites "
            "the first.",
        ),
        Mistake(
            "one number for the whole text",
            lambda text: len(text.encode()),
            "The total is right. The exercise asks for a list, with a number for each character.",
        ),
        Mistake(
            "these are bits",
            lambda text: [8 * len(c.encode()) for c in text],
            "A byte is 8 bits. The exercise asks for bytes.",
        ),
        Mistake(
            "the code points come back",
            lambda text: [ord(c) for c in text],
            "The code point decides how many bytes it takes, but it isn't that number. Compare it with the thresholds.",
        ),
        Mistake(
            "a dict comes back, so each character is there once",
            lambda text: {c: len(c.encode()) for c in text},
            "A list is asked for, with one number for each character of the text, repeated ones included.",
        ),
        Mistake(
            "the bytes themselves come back",
            lambda text: [b for c in text for b in c.encode()],
            "How many bytes are there for each character? The exercise asks for their number, not for their values.",
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
    p = [count / len(text) for count in counts.values()]
    return sum(p_c * math.log2(1 / p_c) for p_c in p)  # log2(1 / p) is -log2(p)


def _entropy_inputs(rng):
    yield from [("a",), ("aa",), ("ab",), ("aab",), ("éa",), ("abcd",), ("aaab",), ("aaabbc",), ("a fox, a hen",)]
    for length in range(6, 30, 3):
        yield (_text(rng, length, "aaaaabbbcd ") + "b",)


def _entropy(log, over=lambda text: 1):
    def wrong(text):
        parts = [count / len(text) for count in Counter(text).values()]
        return -sum(part * log(part) for part in parts) * over(text)

    return wrong


_BITS = Exercise(
    id="tokens.6",
    title="Bits per character",
    kind="stretch",
    minutes=10,
    difficulty=2,
    prompt=r"How many bits does a character of this text cost, if a code gives short words to frequent characters? "
    r"At best $\sum_c p_c \log_2 (1 / p_c)$. The sum runs over the different characters, and $p_c$ is the fraction of "
    "all characters of the text that are $c$. (This is the entropy of the characters.)\n\nInput: `text`, a `str` that "
    "is not empty. Result: a `float`, in bits per character.",
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
            "log2(V) is the cost if nothing is known. A frequent character costs fewer bits: use the counts.",
        ),
        Mistake(
            "these are the bits of the whole text",
            _entropy(math.log2, len),
            "Divide by the number of characters to get bits per character.",
        ),
        Mistake(
            "the minus sign is missing",
            lambda text: -_entropy(math.log2)(text),
            "The logarithm of a fraction is negative, and a cost is not: put a minus before the sum.",
        ),
        Mistake(
            "rare characters weigh as much as frequent ones",
            lambda text: -sum(math.log2(n / len(text)) for n in Counter(text).values()) / len(set(text)),
            "This is the mean over the vocabulary. The mean over the text weighs each character with its p.",
        ),
        Mistake(
            "the factor p is missing",
            lambda text: -sum(math.log2(n / len(text)) for n in Counter(text).values()),
            "You add up what each different character costs, as if each occurred once. Multiply each by how often it "
            "occurs, its p.",
        ),
        Mistake(
            "the sum runs over every occurrence",
            lambda text: -sum(text.count(c) / len(text) * math.log2(text.count(c) / len(text)) for c in text),
            "You go through the text, so a character that occurs n times is added n times. Its p says that already: "
            "go through the different characters.",
        ),
        Mistake(
            "the entropy is divided by the size of the vocabulary",
            _entropy(math.log2, lambda text: 1 / len(set(text))),
            "The factors p add up to 1, so the sum is a mean already. Don't divide again.",
        ),
        Mistake(
            "the entropy is divided by the length of the text",
            _entropy(math.log2, lambda text: 1 / len(text)),
            "The factors p add up to 1, so the sum is a mean already. Don't divide again.",
        ),
        Mistake(
            "p is a fraction of the different characters, not of the text",
            lambda text: -sum(n / len(set(text)) * math.log2(n / len(set(text))) for n in Counter(text).values()),
            "Divide a count by the number of all characters, `len(text)`.",
        ),
        Mistake(
            "the counts are not divided",
            lambda text: -sum(n * math.log2(n) for n in Counter(text).values()),
            "p is a count divided by `len(text)`.",
        ),
        Mistake(
            "the logarithm is of the count",
            lambda text: -sum(n / len(text) * math.log2(n) for n in Counter(text).values()),
            "A logarithm of p is asked for, and p is the count divided by `len(text)`.",
        ),
        Mistake(
            "`//` makes p a whole number",
            lambda text: -sum(n // len(text) * math.log2(n / len(text)) for n in Counter(text).values()),
            "`//` rounds down, so p is 0. Divide with `/`.",
        ),
        Mistake(
            "the logarithm is to base 10",
            _entropy(math.log10),
            "Bits are logarithms to base 2: `math.log2`.",
        ),
        Mistake(
            "each character costs a whole number of bits",
            lambda text: sum(n / len(text) * math.ceil(-math.log2(n / len(text))) for n in Counter(text).values()),
            "A real code has words of whole length. The best possible mean, which is asked for, doesn't round.",
        ),
        Mistake(
            "these are the bits of UTF-8",
            lambda text: 8 * len(text.encode()) / len(text),
            "UTF-8 spends 8 bits on an a however frequent it is. The exercise asks for a code that is made for this "
            "text.",
        ),
        Mistake(
            "it is the perplexity",
            lambda text: 2 ** _entropy(math.log2)(text),
            "2 to the power of the entropy says how many equally frequent characters would be as surprising. The "
            "entropy itself is asked for.",
        ),
        Mistake(
            "the costs are not added up",
            lambda text: [-n / len(text) * math.log2(n / len(text)) for n in Counter(text).values()],
            "These are the parts of the sum. `sum(...)` gives one number.",
        ),
        Mistake(
            "the result is rounded",
            lambda text: round(_entropy(math.log2)(text), 2),
            "Don't round: a check compares all digits.",
        ),
    ],
    hints=[
        "First the counts: `Counter(text)`. A count divided by `len(text)` is p.",
        "A character with the fraction p costs -log2(p) bits. In what fraction of all cases do you pay that?",
        "`-sum(p * math.log2(p) for p in fractions)`",
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


class _FromOneNotBack(Tokenizer):
    def encode(self, text):
        return [id + 1 for id in super().encode(text)]


class _Lower(Tokenizer):
    def __init__(self, text):
        super().__init__(text.lower())

    def encode(self, text):
        return super().encode(text.lower())


class _CountsAll(Tokenizer):
    def __init__(self, text):
        super().__init__(text)
        self.vocab_size = len(text)


class _LargestId(Tokenizer):
    def __init__(self, text):
        super().__init__(text)
        self.vocab_size = len(self.characters) - 1


class _OneTooMany(Tokenizer):
    def __init__(self, text):
        super().__init__(text)
        self.vocab_size = len(self.characters) + 1


class _Repeats(Tokenizer):
    def __init__(self, text):
        self.characters = sorted(text)
        self.vocab_size = len(self.characters)


class _RepeatsCountedOnce(_Repeats):
    def __init__(self, text):
        super().__init__(text)
        self.vocab_size = len(set(text))


class _EachOnce(Tokenizer):
    def encode(self, text):
        return super().encode(dict.fromkeys(text))


class _NoSize:
    def __init__(self, text):
        self.characters = sorted(set(text))

    encode, decode = Tokenizer.encode, Tokenizer.decode


class _SizeIsAMethod(_NoSize):
    def vocab_size(self):
        return len(self.characters)


class _DecodesToAList(Tokenizer):
    def decode(self, ids):
        return [self.characters[id] for id in ids]


class _DecodesWithSpaces(Tokenizer):
    def decode(self, ids):
        return " ".join(self.characters[id] for id in ids)


class _DecodesBackwards(Tokenizer):
    def decode(self, ids):
        return super().decode(ids)[::-1]


class _TextIds(Tokenizer):
    def encode(self, text):
        return [str(id) for id in super().encode(text)]

    def decode(self, ids):
        return super().decode([int(id) for id in ids])


class _CodePoints(Tokenizer):
    def encode(self, text):
        return [ord(character) for character in text]

    def decode(self, ids):
        return "".join(chr(id) for id in ids)


class _RebuiltEachTime(Tokenizer):
    def encode(self, text):
        self.characters = sorted(set(text))
        return super().encode(text)


class _Shared:
    characters: list[str]

    def __init__(self, text):
        _Shared.characters = sorted(set(text))

    encode, decode = Tokenizer.encode, Tokenizer.decode

    @property
    def vocab_size(self):
        return len(self.characters)


class _Positions(Tokenizer):
    def __init__(self, text):
        super().__init__(text)
        self.text = text

    def encode(self, text):
        return [self.text.index(character) for character in text]

    def decode(self, ids):
        return "".join(self.text[id] for id in ids)


class _Words:
    def __init__(self, text):
        self.words = sorted(set(text.split()))
        self.vocab_size = len(self.words)

    def encode(self, text):
        return [self.words.index(word) for word in text.split() if word in self.words]

    def decode(self, ids):
        return " ".join(self.words[id] for id in ids)


def use_tokenizer(answer, text, message):
    """What is true of the tokenizer, in whatever order it numbers its characters.

    A part that is missing or raises fails its own property and no other.
    """
    tokenizer = answer(text)
    if not hasattr(tokenizer, "encode") and not hasattr(tokenizer, "decode"):
        tokenizer.encode(message)  # raises: this is no tokenizer at all
    ids = _encoded(tokenizer, message)
    decoded = _done(lambda: tokenizer.decode(list(ids))) if isinstance(ids, list) else "nothing to decode"
    size = _done(lambda: tokenizer.vocab_size)
    first, both = _encoded(tokenizer, text), _encoded(tokenizer, text + message)
    answer(f"Zz{text}")  # a second tokenizer
    return {
        "decoded": decoded,
        "number of ids": len(ids) if isinstance(ids, list) else ids,
        "smallest and largest id": _span(first),
        "vocab_size": "a method" if callable(size) else size,
        "the same ids in another message": not isinstance(both, list) or both == first + ids,
        "the same ids after a second tokenizer": _encoded(tokenizer, message) == ids,
    }


def _done(work):
    """The result of `work`, or in words why there is none."""
    try:
        return work()
    except Exception as error:
        return re.sub(r"'\w+' object has", "it has", f"{type(error).__name__}: {error}")  # whatever its class is called


def _encoded(tokenizer, text):
    ids = _done(lambda: tokenizer.encode(text))
    return list(ids) if hasattr(ids, "__iter__") and not isinstance(ids, str) else ids


def _span(ids):
    if isinstance(ids, list) and ids and all(type(id) is int for id in ids):
        return [min(ids), max(ids)]
    return ids


def _tokenizer_inputs(rng):
    yield from [("a", ""), ("ab", "ba"), ("aab", "aba"), ("A fox, a hen", "foe"), ("no  way\n", "wa\ny  on"[:-1])]
    yield from [("Aa b", "a A"), ("bbcca", "abc"), ("été", "té")]
    for length in range(6, 16):
        text = _text(rng, length, "abcdefABCDEF ,\n") + "a B"
        yield text, "".join(rng.choice(text) for _ in range(length))


def _in_range(answer, text, message, result):
    span = result["smallest and largest id"]
    return isinstance(span, list) and all(type(id) is int and 0 <= id < len(set(text)) for id in span)


_CLASS = Exercise(
    id="tokens.7",
    title="A tokenizer of your own",
    kind="core",
    minutes=15,
    difficulty=2,
    prompt="Put it all into a class. `Tokenizer(text)` learns the characters of a text that is not empty. `encode` "
    "and `decode` are each other's inverse, and a character has the same id in every message. The attribute "
    '`vocab_size` is V. Pass the class itself: `check("tokens.7", Tokenizer)`.\n\nTypes: `encode` takes a `str` of '
    "known characters and gives a `list` of `int` in `range(V)`; `decode` does the reverse; `vocab_size` is an `int` "
    "(an attribute or a property, not a method).",
    signature="class Tokenizer:\n    def __init__(self, text: str): ...  # sets self.vocab_size\n"
    "    def encode(self, text: str) -> list[int]: ...\n    def decode(self, ids: list[int]) -> str: ...",
    inputs=_tokenizer_inputs,
    solution=Tokenizer,
    use=use_tokenizer,
    properties=[
        ("decode gives the message back", lambda answer, text, message, result: result["decoded"] == message),
        ("one id for each character", lambda answer, text, message, result: result["number of ids"] == len(message)),
        ("every id is an int from 0 to V - 1", _in_range),
        (
            "vocab_size is the number of different characters",
            lambda answer, text, message, result: result["vocab_size"] == len(set(text)),
        ),
        (
            "a character has the same id in every message",
            lambda answer, text, message, result: result["the same ids in another message"],
        ),
        (
            "a second tokenizer does not change the first",
            lambda answer, text, message, result: result["the same ids after a second tokenizer"],
        ),
    ],
    mistakes=[
        Mistake(
            "the ids begin at 1",
            _FromOne,
            "The largest id is V then, and a table with V rows has no row V. Begin at 0.",
        ),
        Mistake(
            "encode counts from 1, decode from 0",
            _FromOneNotBack,
            "`encode` gives ids that are one too large, and `decode` takes them at their word. Count from 0 in both.",
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
            "vocab_size is the largest id",
            _LargestId,
            "With ids from 0 to V - 1 the largest id is V - 1, and `vocab_size` is V: how many characters there are.",
        ),
        Mistake(
            "vocab_size is one too large",
            _OneTooMany,
            "If you count from 0, V is `len(self.characters)`, and the largest id is one less.",
        ),
        Mistake(
            "there is no vocab_size",
            _NoSize,
            "The rest works. Set `self.vocab_size = ...` in `__init__`: the number of different characters.",
        ),
        Mistake(
            "vocab_size is a method",
            _SizeIsAMethod,
            "`tokenizer.vocab_size` is then a function, not a number. Set it in `__init__`, or put `@property` above "
            "the method.",
        ),
        Mistake(
            "decode gives a list",
            _DecodesToAList,
            'A text is expected: `"".join(...)` puts the characters together.',
        ),
        Mistake(
            "decode gives the text backwards",
            _DecodesBackwards,
            "The first id is the first character.",
        ),
        Mistake(
            "decode puts spaces between the characters",
            _DecodesWithSpaces,
            'You join with `" "`. Join with the empty text, `""`: spaces have ids of their own.',
        ),
        Mistake(
            "the ids are code points",
            _CodePoints,
            "`ord` gives ids far above V. An id is the position of a character in the vocabulary of the text.",
        ),
        Mistake(
            "the ids are text",
            _TextIds,
            "A model does arithmetic with ids: they are of type `int`.",
        ),
        Mistake(
            "an id is a position in the text",
            _Positions,
            "Positions in the text run past V and leave gaps. Number the different characters: `sorted(set(text))`.",
        ),
        Mistake(
            "repeated characters use up ids",
            _Repeats,
            "`sorted(text)` has its duplicates still, so there are more ids than characters. Number "
            "`sorted(set(text))`.",
        ),
        Mistake(
            "repeated characters use up ids, though vocab_size counts each once",
            _RepeatsCountedOnce,
            "`sorted(text)` has its duplicates still, so the ids have gaps and run past V. Number `sorted(set(text))`.",
        ),
        Mistake(
            "repeated characters are left out",
            _EachOnce,
            "A message is a sequence: encode every character of it, repeated ones too.",
        ),
        Mistake(
            "every message gets a vocabulary of its own",
            _RebuiltEachTime,
            "`encode` builds the vocabulary anew, so an id means something else in each message. Build it once, in "
            "`__init__`.",
        ),
        Mistake(
            "all tokenizers share one vocabulary",
            _Shared,
            "It belongs to the class, so a second tokenizer overwrites the vocabulary of the first. Put it on the "
            "object: `self.characters = ...` in `__init__`.",
        ),
        Mistake(
            "it cuts at spaces and loses them",
            _Words,
            "`split()` throws away which spaces were there, and words that are new. Here a token is a character.",
        ),
    ],
    hints=[
        "What must be remembered from the text? Only its characters, each once, in a fixed order.",
        "Save `self.characters = sorted(set(text))`: a character's position is its id, and `self.characters[id]` leads "
        "back.",
        "`encode` is exercise tokens.2, `decode` is exercise tokens.3, and `self.vocab_size = len(self.characters)`.",
    ],
    package="gptlab.tokens.CharTokenizer",
)

# ---- tokens.8 --------------------------------------------------------------------------------------------------------


def split_words(text: str) -> list[str]:
    return re.findall(r"\w+|\W", text)


def _split_inputs(rng):
    yield from [("",), ("a",), ("a b",), ("a.",), ("a  b",), (" a",), ("a\nb",), ("Ab",), ("fox2",), ("2 foxes",)]
    yield from [
        ("été",),
        ("don't",),
        ("a'b'c",),
        ("a;b",),
        ("'a'",),
        ("a_b",),
        ("_a",),
        ("a, b",),
        ("a,b!?",),
        ("ab é_2, fox\n\nab",),
    ]
    for length in range(5, 15):
        yield (_text(rng, length, "abAé2_   ,.'!\n") + " aé, b",)


def _runs(of):
    """Runs of characters of which `of` is true stay together; every other character is alone."""

    def wrong(text):
        return [
            part for is_word, run in groupby(text, of) for part in (["".join(run)] if is_word else run)
        ]  # fmt: skip

    return wrong


def _last_word_lost(text):
    parts, word = [], ""
    for part in re.findall(r"\w|\W", text):
        if re.match(r"\w", part):
            word += part
        else:
            parts += [word] * bool(word) + [part]
            word = ""
    return parts


_SPLIT = Exercise(
    id="tokens.8",
    title="Words, and everything between them",
    kind="core",
    minutes=10,
    difficulty=2,
    prompt="Cut a text into words and single other characters, so that joining the parts gives the text back. A word "
    "is a run of letters, digits and underscores, in any script: what `\\w+` matches in a regular expression. Every "
    "other character is a part of its own: a space, a newline, a comma, an apostrophe. So `don't` has three parts."
    "\n\nInput: `text`, a `str` that may be empty. Result: a `list` of `str`; none of them is empty.",
    signature="def split_words(text: str) -> list[str]",
    inputs=_split_inputs,
    solution=split_words,
    mistakes=[
        Mistake(
            "spaces are lost",
            str.split,
            "After `split()` nobody knows whether there was one space, two, or a newline.",
        ),
        Mistake(
            'it splits at " " only, and loses it',
            lambda text: text.split(" "),
            '`split(" ")` drops the spaces, and leaves commas and newlines on their words. Use `re.findall`.',
        ),
        Mistake(
            "only words are left",
            lambda text: re.findall(r"\w+", text),
            "Commas and spaces belong to the text too: add an alternative for every other character.",
        ),
        Mistake(
            "spaces are lost, and punctuation stays",
            lambda text: re.findall(r"\w+|[^\w\s]", text),
            "`[^\\w\\s]` matches everything but words and white space, so spaces and newlines match nothing. Use `\\W` "
            "for every character that is not part of a word.",
        ),
        Mistake(
            "only the other characters that you listed stay",
            lambda text: re.findall(r"\w+|[ ,.!?\n]", text),
            "A list of characters in `[...]` forgets some, such as the apostrophe here. `\\W` matches everything "
            "that `\\w` does not.",
        ),
        Mistake(
            "a newline is lost",
            lambda text: re.findall(r"\w+|.", text),
            "The dot matches any character but a newline. `\\W` matches a newline too.",
        ),
        Mistake(
            "runs of other characters stay together",
            lambda text: re.findall(r"\w+|\W+", text),
            "With `\\W+` each mixture of commas and spaces is a token of its own, and there are many. One character "
            "per token, `\\W`, needs few.",
        ),
        Mistake(
            "runs of spaces stay together",
            lambda text: re.findall(r"\w+|\s+|[^\w\s]", text),
            "`\\s+` makes one part of two spaces. Every character that is not part of a word is alone.",
        ),
        Mistake(
            "runs of punctuation stay together",
            lambda text: re.findall(r"\w+|\s|[^\w\s]+", text),
            "`!?` is two parts here: every character that is not part of a word is alone.",
        ),
        Mistake(
            "runs of spaces and runs of punctuation stay together",
            lambda text: re.findall(r"\w+|\s+|[^\w\s]+", text),
            "Every character that is not part of a word is alone: no `+` behind the other two alternatives.",
        ),
        Mistake(
            "empty parts are in the result",
            lambda text: re.split(r"(\W)", text),
            "`re.split` gives an empty text between two places where it cuts. `re.findall` gives only what is there.",
        ),
        Mistake(
            "runs stay together, and empty parts are in the result",
            lambda text: re.split(r"(\W+)", text),
            "`\\W+` takes a run of other characters as one part, and `re.split` adds empty texts at the ends. Use "
            "`re.findall` with an alternative for each kind of part.",
        ),
        Mistake(
            "punctuation stays with its word",
            lambda text: [part for part in re.split(r"(\s)", text) if part],
            "You cut at white space only, so `fox,` is one part. Every character that is not part of a word is alone.",
        ),
        Mistake(
            "punctuation stays with its word, and runs of spaces together",
            lambda text: re.findall(r"\S+|\s+", text),
            "`\\S+` matches a word with the comma behind it. A comma is a part of its own, and so is each space.",
        ),
        Mistake(
            'it cuts at " " only',
            lambda text: [part for part in re.split("( )", text) if part],
            "Commas, newlines and apostrophes are parts of their own too, not only spaces.",
        ),
        Mistake(
            "digits and letters are cut apart",
            lambda text: re.findall(r"[^\W\d]+|\d+|\W", text),
            "`fox2` is one word: digits and letters that touch belong together.",
        ),
        Mistake(
            "every character is a part",
            list,
            "That is the tokenizer of characters. Letters, digits and underscores that touch belong together.",
        ),
        Mistake(
            "only English letters and digits make words",
            lambda text: re.findall(r"[a-zA-Z0-9]+|[^a-zA-Z0-9]", text),
            "été is one word, and falls apart with `[a-zA-Z0-9]` (and so does a_b). `\\w` knows the letters of all "
            "scripts.",
        ),
        Mistake(
            "only ASCII letters, digits and underscores make words",
            lambda text: re.findall(r"\w+|\W", text, re.ASCII),
            "été is one word, and falls apart with `[a-zA-Z0-9_]`. `\\w` knows the letters of all scripts.",
        ),
        Mistake(
            "only English letters make words",
            lambda text: re.findall(r"[a-zA-Z]+|[^a-zA-Z]", text),
            "Digits, underscores and the letters of other scripts belong to words too: `\\w` matches them all.",
        ),
        Mistake(
            "only lower-case English letters make words",
            lambda text: re.findall(r"[a-z]+|[^a-z]", text),
            "Capitals, digits, underscores and the letters of other scripts belong to words too: `\\w` matches "
            "them all.",
        ),
        Mistake(
            "an underscore is a part of its own",
            _runs(str.isalnum),
            "`isalnum` is false for the underscore. `\\w` counts it as part of a word, and so does this exercise.",
        ),
        Mistake(
            "digits and underscores are parts of their own",
            _runs(str.isalpha),
            "`isalpha` is true of letters only. Digits and underscores belong to words too.",
        ),
        Mistake(
            "an apostrophe stays in its word",
            lambda text: re.findall(r"\w+(?:'\w+)*|\W", text),
            "`don't` has three parts here: don, ', t. An apostrophe is one of the other characters.",
        ),
        Mistake(
            "every apostrophe counts as a letter",
            lambda text: re.findall(r"[\w']+|[^\w']", text),
            "`don't` has three parts here: don, ', t. An apostrophe is one of the other characters.",
        ),
        Mistake(
            "a space stays with the word that follows",
            lambda text: re.findall(r" ?\w+|\W", text),
            "GPT-2 does so, as you'll see in the next notebook. Here a space is a part of its own.",
        ),
        Mistake(
            "upper case is lost",
            lambda text: re.findall(r"\w+|\W", text.lower()),
            "Joined again, the parts must be the text: leave the case as it is.",
        ),
        Mistake(
            "a word at the end is lost",
            _last_word_lost,
            "Your loop adds a word when the next character ends it, and after the last word there is none. Add what "
            "is left after the loop.",
        ),
        Mistake(
            "it cuts only where a word begins or ends",
            lambda text: re.split(r"\b", text),
            "`\\b` matches only where a word begins or ends, so a run such as `, ` stays together (and there are empty "
            "parts at the ends). Use `re.findall`.",
        ),
    ],
    hints=[
        "`re.findall(pattern, text)` gives everything that matches the pattern, in order.",
        "`\\w` matches a letter, a digit or an underscore; `\\W` matches any other character.",
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
        question="A word tokenizer has read a long book. Now it meets a second book. What happens to words that are "
        "new?",
        kind="choice",
        choices=(
            "there are none after a long book",
            "all of them get one and the same id, the one for unknown words",
            "they get new ids",
        ),
        answer="b",
        explanation="However long the first book is, the second has new names and rare words, and all of them look "
        "alike to the model.",
    ),
    Prediction(
        id="tokens.c",
        question="An English text has a few characters that are not ASCII. Order the tokenizers by the length of their "
        "sequences, shortest first: bytes, words, characters.",
        kind="order",
        answer=("words", "characters", "bytes"),
        explanation="A word is several characters on average, and a character takes at least one byte; those that are "
        "not ASCII take more.",
    ),
]
