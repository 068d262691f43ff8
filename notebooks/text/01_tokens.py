# ---
# jupyter:
#   jupytext:
#     formats: ipynb,text//py:percent
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 · Tokens
#
# *Text in, integers out, and back again without losing anything.*
#
# Language models have some odd weaknesses. Here are five:
#
# 1. In 2024, chatbots that could pass exams told people that *strawberry* has two r's.
# 2. They write essays about arithmetic, and get long additions wrong.
# 3. A single space at the end of a prompt can make the answer worse.
# 4. There was a word, ` SolidGoldMagikarp`, that GPT-3 could not repeat when asked to.
# 5. For GPT-4, the same sentence costs several times as much in Hindi as in English.
#
# All five go back, wholly or in good part, to the same place. It isn't in the neural network, the part of the model
# that calculates, but in the step before it, where the text is cut into pieces. In this notebook you build that step
# three times, once for characters, once for words, once for bytes, and see where each version hurts. Along the way
# you'll look into the real vocabularies of GPT-2 and GPT-4, and explain the five.
#
# **After this notebook you can**
#
# - turn any text into integers and back, with code of your own,
# - say what a vocabulary of characters, of words and of bytes costs, and measure it,
# - read UTF-8 bit by bit,
# - look at how a real model cuts a prompt, and see trouble coming,
# - recognise a mistake that nothing warns you about: the right ids, read with the wrong vocabulary.
#
# **It builds on** Python and school algebra, and on nothing that you must have read before.
#
# **Time:** about 45 minutes to read, and an hour for all the exercises. It runs in about 20 seconds on two CPU cores,
# and takes less than 1 GB of memory.

# %%
import math
import re
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

import gptlab
from gptlab import bpe, checkpoints, corpora, downloads, encodings, pictures, sampling, tokens
from gptlab.corpora import fables
from gptlab.exercises import check, compare, hint, predict, progress, recap, solution

# %% [markdown]
# This is how a text travels through a GPT, and where you are. The map comes back at the top of every notebook. Today
# you need only its first three boxes.

# %%
pictures.pipeline("tokens")

# %% [markdown]
# ## The question: how do you multiply a sentence?
#
# This is how one of our stories begins. A small program generates them. It can produce more than two trillion different
# ones, and the course comes with a book of three thousand.

# %% tags=["nbval-check-output"]
sentence = fables.TRAVELLER
print(sentence)

# %% [markdown]
# A model is going to read it. But all that a model can do is arithmetic, with numbers such as 0.5. So what is half of
# this sentence?

# %% tags=["raises-exception"]
0.5 * sentence

# %% [markdown]
# Python is right to refuse. The text has to become numbers before the model sees it, and whatever numbers the model
# gives back have to become text again. Which numbers?
#
# Python has some ready. **Unicode** is the list of all the characters that people write with, and each character has a
# number in it, its **code point**. `ord` tells you which:

# %% tags=["nbval-check-output"]
print("ord:", [ord(character) for character in "Ada 🦊"])
print("code points that Unicode has room for:", f"{0x110000:,}")

# %% [markdown]
# They are integers, but not good ones for a model. A model has a row of learned numbers for each integer that might
# come up. With code points that would be more than a million rows, of which a fable uses a few dozen. We want small
# integers without gaps.
#
# ## By hand: one integer for each character
#
# Let's take a text so short that you can do it with a pencil. Write down each different character once, in the order
# that Python's `sorted` uses: the space comes first, then the comma, then the letters. Now number them, starting from
# 0.

# %% tags=["nbval-check-output"]
text = "a fox, a hen"
id_of = {" ": 0, ",": 1, "a": 2, "e": 3, "f": 4, "h": 5, "n": 6, "o": 7, "x": 8}
ids = [2, 0, 4, 7, 8, 1, 0, 2, 0, 5, 3, 6]
V = len(id_of)
for character, id in zip(text, ids, strict=True):
    assert id_of[character] == id  # no slip of the pencil
print(f"{len(ids)} characters, {len(ids)} integers, V = {V}")

# %% [markdown]
# That's the whole idea. Here are the names for it, which you will meet in every paper and every library:
#
# - The pieces that a text is cut into are its **tokens**. Here a token is a character.
# - The integer that stands for a token is its **id**.
# - The **vocabulary** is the set of all tokens, and $V$ is its size.
# - To **encode** is to turn text into ids; to **decode** is to turn ids into text.
# - A **tokenizer** is a rule that does both.
#
# And here is the picture that we'll use for it, a chip for each token with its id below. A space is drawn as ␣.

# %% tags=["nbval-check-output"]
pictures.tokens(text, tokens.CharTokenizer.from_text(text), names=["characters"])

# %% [markdown]
# ### Now you: a tokenizer in three functions
#
# You have done it by hand for one text. Now write it for any text. Replace the dots with your code and run the cell:
# `check` tries it on fresh inputs, and if something is wrong, the card shows the smallest case that fails and, where it
# can tell, names the mistake. `hint("tokens.1")` gives a hint, and another one if you ask again. `solution("tokens.1")`
# shows one way to do it, and `compare("tokens.1", build_vocabulary)` puts yours next to it. The numbers of the
# exercises are only names, and they don't come in order: after 3 you'll meet 8.
#
# ### Your turn: Build a vocabulary
#
# `tokens.1` · *warm-up* · 5 minutes
#
# Give every different character of a text an id: 0 for the first one in
# sorted order, 1 for the next, and so on. The text may be empty. `build_vocabulary("abba")` is `{"a": 0, "b": 1}`.


# %% tags=["nbval-check-output"]
def build_vocabulary(text: str) -> dict[str, int]: ...


check("tokens.1", build_vocabulary)

# %% [markdown]
# ### Your turn: Text to ids
#
# `tokens.2` · *warm-up* · 3 minutes
#
# Encode: one id for each character, in order.
# `encode("aab", {"b": 0, "a": 1})` is `[1, 1, 0]`.


# %% tags=["nbval-check-output"]
def encode(text: str, id_of: dict[str, int]) -> list[int]: ...


check("tokens.2", encode)

# %% [markdown]
# ### Your turn: Ids to text
#
# `tokens.3` · *warm-up* · 5 minutes
#
# Decode: which text do these ids stand for? You get the same dict, from
# character to id, its entries in any order. `decode([2, 0, 1, 0], {"x": 1, "f": 2, "o": 0})` is `"foxo"`.


# %% tags=["nbval-check-output"]
def decode(ids: list[int], id_of: dict[str, int]) -> str: ...


check("tokens.3", decode)

# %% [markdown]
# <details><summary>Our versions</summary>
#
# ```python
# def build_vocabulary(text):
#     characters = sorted(set(text))                      # each character once, in a fixed order
#     return {character: id for id, character in enumerate(characters)}
#
# def encode(text, id_of):
#     return [id_of[character] for character in text]
#
# def decode(ids, id_of):
#     character_of = {id: character for character, id in id_of.items()}
#     return "".join(character_of[id] for id in ids)
# ```
#
# Why sort? A Python set of strings can come in a different order each time you start Python. Without `sorted` your
# numbers would change from one run to the next.
# </details>
#
# What we ask of every tokenizer, in one line, is that nothing gets lost:
#
# $$\mathrm{decode}(\mathrm{encode}(\text{text})) = \text{text}$$
#
# And every id is at least 0 and less than $V$. Mathematicians write that range as $[0, V)$, where the square bracket
# includes the 0 and the round one excludes $V$; Python writes `range(V)`.
#
# ### Why from 0 to V − 1?
#
# Because an id is the number of a row. A model has a table with $V$ rows, and the first thing that it does with an id
# is to fetch that row. Notebook 05 is about this table. Here is a toy version with two numbers in each row.
# `np.arange` counts up, `reshape` arranges the numbers in rows of two, and the comment `[V, 2]` is the shape: V rows,
# 2 columns. A list of ids in the brackets fetches one row for each of them.

# %% tags=["nbval-check-output"]
table = np.arange(2 * V).reshape(V, 2) / 10  # [V, 2]
print("the first three ids:", ids[:3])
print("their rows:")
print(table[ids[:3]])

# %% tags=["raises-exception"]
table[V]

# %% [markdown]
# Rows 0 to V − 1 exist, row V doesn't. Here you get a readable error. On a GPU, the kind of chip that large models run
# on, the same slip can end in a crash with a message that nobody understands, so this course checks ids before they get
# that far.
#
# An id is a label, not an amount. The character with id 8 isn't twice the one with id 4; they are two different rows.
# Renumber the characters, rearrange the rows to match, and nothing changes. (The rows above grow with the id only
# because we filled the table by counting.)
#
# Our vocabulary came from `a fox, a hen`. What will it do with `a wolf`? Decide before you run the cell.

# %% tags=["raises-exception", "nbval-check-output"]
tokens.CharTokenizer.from_text(text).encode("a wolf")

# %% [markdown]
# <details><summary>What happened</summary>
#
# The `a` and the space have ids. The `w` wasn't in the text, so it has none, and that's where it stops.
# </details>
#
# The cure for a missing letter is a longer text. All our fables together contain every letter that a fable needs:

# %% tags=["nbval-check-output"]
book = corpora.load("fables", quiet=True).text
chars = tokens.CharTokenizer.from_text(book)
print(f"{len(book):,} characters, of which {chars.vocab_size} are different:")
print(repr(chars.characters))

# %% [markdown]
# But it's no cure for `é`, `7` or `🦊`. And characters have a second price, which you'll see when you count what the
# model has to read:

# %% tags=["nbval-check-output"]
print(f"{len(sentence)} characters, {len(chars.encode(sentence))} tokens")

# %% [markdown]
# One token per character is a lot. A model can take in only so many tokens at once; that limit is its **context
# window**. It also works harder on a longer text: in the part called attention, twice as many tokens are up to four
# times the work (notebook 06). And it has to work out again and again that `f`, `o`, `x`, in this order, make an
# animal.
#
# ## One integer for each word
#
# So let's make the pieces longer, and give every word an id. First we need to find the words. A word is a run of
# letters and digits; everything else, each space and each comma, becomes a piece of its own, so that nothing gets
# lost: `a fox, a hen` turns into `a`, `␣`, `fox`, `,`, `␣`, `a`, `␣`, `hen`.
#
# Python's pattern language, regular expressions, can do this in one line. `re.findall` returns everything in a text
# that matches a pattern, from left to right. A `+` means *one or more*, and `|` means *or*:

# %% tags=["nbval-check-output"]
print(re.findall(r"[aeiou]+|\d", "route 66, a queue"))

# %% [markdown]
# That found runs of vowels, or single digits. You need three more symbols: `\w` matches a letter of any script, a
# digit or an underscore; `\W` matches any other character; and the `r` before the quotes tells Python to leave the
# backslashes alone.
#
# ### Your turn: Words, and everything between them
#
# `tokens.8` · *core* · 10 minutes
#
# Cut a text into words and single other characters. A word is what `\w+` matches. No piece is empty, `"".join(pieces)`
# gives the text back, and an empty text gives an empty list. Example: `split_words("It's  2 pm.")` is `["It", "'", "s",
# " ", " ", "2", " ", "pm", "."]`.


# %% tags=["nbval-check-output"]
def split_words(text: str) -> list[str]: ...


check("tokens.8", split_words)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def split_words(text):
#     return re.findall(r"\w+|\W", text)
# ```
# </details>
#
# The rest is what you did before, with words in place of characters. Here are the two side by side, on the first part
# of our sentence. Each vocabulary was made from all the fables. Look at the lengths.

# %% tags=["nbval-check-output"]
words = tokens.WordTokenizer.from_text(book)
first = sentence.split(". ")[0] + "."
pictures.tokens(first, chars, words, names=["characters", "words"])

# %% [markdown]
# Far fewer tokens, and $V$ is still small. So is this the answer? Fables are a small world, with a few animals and a
# few places. Real books aren't like that. Before we open one, make a guess: replace the dots with your letter, for
# example `predict("tokens.b", "a")`, and run the cell.

# %%
predict("tokens.b", ...)

# %% [markdown]
# The book is the reference manual of Python, cut into two halves. We make a vocabulary from the first half, and look
# for words in the second half that it doesn't have. (The numbers depend on your version of Python.)

# %% tags=["answers-prediction"]
manual = tokens.WordTokenizer.split(corpora.load("pydocs", quiet=True).text)
half = len(manual) // 2
known = set(manual[:half])
later = {word for word in manual[half:] if word.isalnum()}
new = sorted(later - known)
print(f"different words in the second half: {len(later):,}, of which new: {len(new):,}")
print("some of them:", ", ".join(new[:: len(new) // 8]))

# %% [markdown]
# <details><summary>What happened</summary>
#
# b. The vocabulary is fixed before the second half is opened, and the model has no rows for words that come later. So
# every word that is missing gets one and the same id. The count says how many different words it swallows.
# </details>
#
# That one id belongs to the **unknown token**, usually written `<unk>`: the token that stands for everything the
# vocabulary lacks. In our word tokenizer it has id 0.
#
# Would a longer book help? Let's watch the vocabulary grow while the manual is read, and compare it with the
# characters. Each point has read twice as much as the one before it, and both axes are *logarithmic*: the same distance
# is always the same factor.

# %%
sizes = [len(manual) // 2**halvings for halvings in range(8, -1, -1)]  # each twice the one before
growth = {
    "different words": [(n, len(set(manual[:n]))) for n in sizes],
    "different characters": [(n, len(set("".join(manual[:n])))) for n in sizes],
}
pictures.lines(growth, "words and other pieces read", "size of the vocabulary", log="xy", legend="upper left")

# %% [markdown]
# The characters level off: there are only so many of them. The words keep rising, and nearly in a straight line. On
# these axes that means that each doubling of the text multiplies the vocabulary by about the same factor, less than
# two, so new words come more slowly as the book goes on, but without an end in sight. Harold Heaps described this in
# 1978, and it holds for many languages ([Heaps' law](https://en.wikipedia.org/wiki/Heaps%27_law)). So there will always
# be unknown words. Here is what that does to a message:

# %% tags=["nbval-check-output"]
for message in ("The fox found a kite.", "The fox fuond a kite.", "The fox paid 250 for it."):
    print(words.decode(words.encode(message)))

# %% [markdown]
# A typo, a number, a new verb: to the model they all look the same, and it can never write one of them. Worse, nothing
# stops and nothing warns you. The information is gone before the model has started.
#
# ### Your turn: A word that nobody has seen
#
# `tokens.4` · *warm-up* · 5 minutes
#
# Encode a list of words; a word that isn't in the vocabulary becomes
# the id `unknown`. With `id_of = {"the": 0, "<unk>": 1, "fox": 2}`, `encode_words(["the", "owl"], id_of, unknown=1)`
# is `[0, 1]`.


# %% tags=["nbval-check-output"]
def encode_words(words: list[str], id_of: dict[str, int], unknown: int) -> list[int]: ...


check("tokens.4", encode_words)

# %% [markdown]
# ## One integer for each byte
#
# Is there a small vocabulary from which nothing is missing? Your computer has been using one all along. Every file is a
# sequence of **bytes**. A byte is eight **bits**, each of them 0 or 1, which makes 256 possible values. The rule that
# turns characters into bytes is **UTF-8**, and in Python it's `text.encode()`. A guess before you see it:

# %%
predict("tokens.a", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
print(list("fünf".encode()), "length", len("fünf".encode()))

# %% [markdown]
# <details><summary>What happened</summary>
#
# Five. The letters f, n and f take one byte each, and the ü takes two.
# </details>
#
# How does a program that reads those five bytes know that the second and third belong together? It's written into the
# bits. In the next picture, look at the leftmost bits of each byte, dark and underlined.

# %% tags=["nbval-check-output"]
pictures.utf8_bits("Aü€🦊")

# %% [markdown]
# - A byte that starts with `0` is a character by itself. These are the 128 characters of **ASCII**, the older standard
#   that was enough for English.
# - A byte that starts with `110`, `1110` or `11110` opens a character of two, three or four bytes: count the ones.
# - A byte that starts with `10` continues the character before it.
#
# All the other bits, the framed ones, are the code point when you read them from left to right. You can do it with a
# pencil, for ü. Its code point, 252, is 128 + 64 + 32 + 16 + 8 + 4, in binary `11111100`. Two bytes have room for 5 and
# 6 digits, eleven in all, so fill up with zeros in front: `00011` and `111100`; put `110` before the first group and
# `10` before the second.

# %% tags=["nbval-check-output"]
print(f"{ord('ü')} in bits: {ord('ü'):011b}")
print("by hand:", [0b110_00011, 0b10_111100], " Python:", list("ü".encode()))

# %% [markdown]
# Ken Thompson and Rob Pike designed this on a placemat in a diner, one evening in 1992 ([Pike's
# account](https://www.cl.cam.ac.uk/~mgk25/ucs/utf-8-history.txt)).
#
# ### Your turn: How many bytes is a character?
#
# `tokens.5` · *stretch* · 10 minutes
#
# How many bytes does each character of a text take? Work it out from
# its code point: one byte below `0x80`, two below `0x800`, three below `0x10000`, four from there on. (A number that
# starts with `0x` is written in base 16; `0x80` is 128.) `utf8_lengths("aü€🦊")` is `[1, 2, 3, 4]`.


# %% tags=["nbval-check-output"]
def utf8_lengths(text: str) -> list[int]: ...


check("tokens.5", utf8_lengths)

# %% [markdown]
# Now let the bytes themselves be the ids. $V$ is 256, there is nothing to learn from a text, and no text is unknown,
# in any script, with any typo. What does it cost? An order is given like this: `predict("tokens.c", "bytes, words,
# characters")`.

# %%
predict("tokens.c", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
says = "“Très bien”, said the fox: “Ça va.”"
print("words:     ", len(tokens.WordTokenizer.split(says)))
print("characters:", len(says))
print("bytes:     ", len(says.encode("utf-8")))

# %% [markdown]
# <details><summary>What happened</summary>
#
# Words, characters, bytes. Most words are several characters, and a character is at least one byte. Here the accented
# letters take two bytes and the curly quotation marks three. In plain ASCII the last two would be equal.
# </details>
#
# Bytes bring one new difficulty: a token can be less than a character. A model writes its tokens one at a time. If
# you decode each of them alone, you get a � wherever a character isn't complete yet. You have to hold the bytes back
# until it is, and that is what the package's `StreamDecoder` does. Compare the last two lines:

# %% tags=["nbval-check-output"]
raw = tokens.ByteTokenizer()
decoder = tokens.StreamDecoder(raw)
arriving = raw.encode("Ça 🦊.")
print("ids:      ", arriving)
print("alone:    ", [raw.decode([id]) for id in arriving])
print("held back:", [decoder.push(id) for id in arriving])

# %% [markdown]
# In the picture, a dashed frame marks a token that is only a part of a character. Point at one to see which.

# %% tags=["nbval-check-output"]
pictures.tokens("Ça 🦊.", raw, names=["bytes"])

# %% [markdown]
# ## What each of them costs
#
# Let's put the three side by side on texts that aren't fables. A fourth joins them: **sub-words**, frequent pieces of
# words. They were found in the fables by a method that you'll build in notebook 02; for now they are a closed box. In
# the table, watch two columns: *no id* counts the characters that the character vocabulary lacks, and *lost* the
# words that the word vocabulary lacks.

# %% tags=["nbval-check-output"]
subwords = bpe.BPETokenizer.train(book, vocab_size=512)
texts = {
    "a fable": "The fox found a kite.",
    "typos": "Teh fxo fuond a ktie.",
    "a number": "The fox paid 31415 for it.",
    "code": "for i in range(8):\n    print(i)",
    "Greek": "Η αλεπού βρήκε έναν αετό.",
    "Japanese": "狐が凧を見つけた。",
    "emoji": "🦊🪁",
}
rows = []
for name, t in texts.items():
    lacks = sum(character not in chars.characters for character in t)
    lost = words.encode(t).count(0)
    short = len(subwords.encode(t))
    rows.append([name, len(t), lacks, len(words.encode(t)), lost, len(raw.encode(t)), short])
pictures.table(rows, ["text", "characters", "no id", "words", "lost", "bytes", "sub-words"])

# %% [markdown]
# Bytes can write everything, at the price of length. Sub-words can write everything too, because in an emergency they
# fall back to single bytes, and a fable takes even fewer of them than of words, because a space is part of the word
# after it. On Greek and Japanese they have nothing better to offer than bytes: no piece of those scripts was ever
# frequent in a book of English fables. Remember those two rows: they are puzzle 5.
#
# ## The five puzzles
#
# GPT-2, GPT-4 and nearly all models of today use sub-words. We can look at theirs, because the vocabularies are
# published. The next cell loads two of them. (They are found on this machine or downloaded once. If neither works,
# the cells of this section have little to show, and our output is in the repository's copy of this notebook.)

# %%
published = {}
for model_name, encoding in {"GPT-2": "gpt2", "GPT-4": "cl100k_base"}.items():
    try:
        published[model_name] = encodings.load(encoding)
    except (ImportError, downloads.DownloadError):
        print(f"{model_name}'s vocabulary is not on this machine, and could not be downloaded")


def cut(text):
    """The chips of a text in each published vocabulary."""
    return pictures.tokens(text, *published.values(), names=list(published)) if published else "no vocabulary here"


print("V:", {name: f"{encoding.n_vocab:,}" for name, encoding in published.items()})

# %% [markdown]
# **Puzzle 1: the r's in *strawberry*.** Look for the word *strawberry* in what the model gets to see, and count its r's
# there.

# %%
cut("How many r are in strawberry? Spell it: s t r a w b e r r y")

# %% [markdown]
# The question contains the whole word as one token, and that's one integer. Nothing about this integer says that
# there are three r's in it, any more than the number of a bus says how many seats it has. The model can only know the
# spelling if some text that it read happened to spell it out. With spaces between them, the letters are tokens of
# their own, and now there is something to count. That's the well-known trick, and many models have been taught to use
# it.
#
# Notice that a word isn't even cut in the same way each time. At the beginning of a text there is no space before it:

# %%
cut("strawberry Strawberry STRAWBERRY")

# %% [markdown]
# **Puzzle 2: arithmetic.** When you add two numbers on paper, you write the ones under the ones, the tens under the
# tens. Look where the digits of these numbers are cut.

# %%
cut("480 + 481 = 961, 1234 + 5678 = 6912, 31415 + 927 = 32342")

# %% [markdown]
# In GPT-2's vocabulary a number is one token or several, cut wherever some digits happened to be frequent together in
# the text that it was built from. A token doesn't tell the model whether its last digit counts ones, tens or thousands.
# GPT-4 cuts digits in groups of up to three from the left, which is more regular, but look at 1234: its groups are 123
# and 4, so the digit for the thousands shares a token with the one for the tens. Adding such tokens means learning a
# large table of special cases. Here is the damage in one line: how GPT-2 cuts all the numbers from 1000 to 9999,
# without a space in front (with one, the counts differ: notebook 02).

# %%
if "GPT-2" in published:
    gpt2 = published["GPT-2"]
    shapes = Counter(" + ".join(str(len(gpt2.decode([id]))) for id in gpt2.encode(str(n))) for n in range(1000, 10_000))
    print("digits in each token:", dict(shapes.most_common()))

# %% [markdown]
# **Puzzle 3: the space at the end.** A space belongs to the word after it. So what happens to a prompt that ends in
# one?

# %%
cut("The hen found a bell. The hen found ")

# %% [markdown]
# There it is, at the very end, alone. What does a model make of it? Let's ask the small one from notebook 00, with our
# sentence and with the same sentence plus a space. It takes the likeliest token each time. Read the two continuations.

# %%
model, own = checkpoints.committed("fables")
for prompt in (sentence, sentence + " "):
    prompt_ids = [own.special_tokens["<|endoftext|>"], *own.encode(prompt)]
    pieces = sampling.stream(model, own, prompt_ids, 16, temperature=0)
    print(f"{prompt[-13:]!r} is continued with {''.join(pieces)!r}")
seen = own.encode(book)
print(f"of {len(seen):,} tokens in the book, a space alone: {seen.count(own.encode(' ')[0])}")

# %% [markdown]
# The second continuation skips a word: there is no *One*. In every text that the model has read, a space came glued
# to a word. So the lone space doesn't say "a word is about to start". It is a strange token where a word should be,
# and the model took it for that word. The last line tells you how strange: in the whole book this token never occurs.
# (Large models have met lone spaces, so they stumble less. It's still a good habit not to end a prompt with one.)
#
# **Puzzle 4: the word that could not be said.** Look at the first chip of GPT-2.

# %%
cut(" SolidGoldMagikarp is a strange word")

# %% [markdown]
# GPT-2's vocabulary has a token for this name, which belonged to a user of Reddit. How can a model have a token and be
# unable to use it? The likely explanation: a vocabulary is built from one pile of text, and the model is trained on
# another. If the name is frequent in the first pile and filtered out of the second, its row in the table is hardly ever
# trained. GPT-3 has the same vocabulary. Asked to repeat such a word, it dodged the request, insulted the person who
# asked, or said something else ([Rumbelow and Watkins
# 2023](https://www.lesswrong.com/posts/aPeJE8bSo6rAFoLqg/solidgoldmagikarp-plus-prompt-generation)). Since then, a
# token that is in the vocabulary but hardly occurs in training has been called a **glitch token**. You have met one
# already: the lone space in our own model.
#
# **Puzzle 5: the price of a language.** Here is how Article 1 of the Universal Declaration of Human Rights begins, in
# six languages. You pay for a commercial model per token, and its context window is counted in tokens too.

# %%
rights = {
    "English": "All human beings are born free and equal in dignity and rights.",
    "German": "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "French": "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "Greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "Hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "Japanese": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
}
rows = []
for language, t in rights.items():
    counts = [len(encoding.encode(t)) for encoding in published.values()]
    rows.append((language, len(t), len(t.encode()), *counts))
pictures.table(rows, ["language", "characters", "bytes", *(f"tokens of {name}" for name in published)])

# %% [markdown]
# In GPT-2's column, Hindi takes more than ten times as many tokens as English, for the same sentence. So it would
# cost more than ten times as much, and the context window would hold a tenth of the text. GPT-4's vocabulary has
# twice as many tokens. It narrows the gap and doesn't close it. The reason is the one that you saw with our own
# sub-words: what was rare in the text that the vocabulary came from falls to pieces. Notebook 02 shows how the pieces
# are chosen.
#
# ## A token that nobody can type
#
# A model that writes a story has to be able to say *the end*. And when stories stand one after the other in the
# training text, something must separate them that isn't text, or the model couldn't tell a boundary from a word. The
# solution is one more id.

# %% tags=["nbval-check-output"]
end = V  # the first id that no character has
hen = [2, 0, 5, 3, 6]  # "a hen"
stream = [*ids, end, *hen, end]  # "a fox, a hen", then "a hen"
print(stream)
print("V is now", V + 1)

# %% [markdown]
# Such an id is a **special token**: a token that controls the model, and that no text should be encoded as. It has a
# name, so that people can talk about it. GPT-2 calls this one `<|endoftext|>`, and so do we. But the name is only for
# people. Putting those characters into the text itself would be a mistake, because then anyone who types them could end
# the story:

# %% tags=["nbval-check-output"]
anyone = tokens.CharTokenizer.from_text("a fox<|endoftext|>")
typed = anyone.encode("<|endoftext|>")
print("as text, the name is", len(typed), "tokens that anybody can type:", typed)

# %% [markdown]
# As an id of its own it's a single token, and typed text doesn't lead to it unless a program lets it. Notebook 02 shows
# how programs that confuse the two can be attacked.
#
# ## A tokenizer of your own
#
# Time to put it all into one object.
#
# ### Your turn: A tokenizer of your own
#
# `tokens.7` · *core* · 15 minutes
#
# `Tokenizer(text)` learns the characters of a text that isn't empty.
# `encode` and `decode` undo each other, and a character has the same id in every message. The attribute `vocab_size`
# is V, a number that you set in `__init__`. For example, `Tokenizer("abba").vocab_size` is 2.


# %% tags=["nbval-check-output"]
class Tokenizer:
    def __init__(self, text: str): ...  # sets self.vocab_size
    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: list[int]) -> str: ...


check("tokens.7", Tokenizer)

# %% [markdown]
# The package's version is called `CharTokenizer`. The heart of its `encode` is one line, and the rest is an error
# message that says what you can do:

# %%
gptlab.show(tokens.CharTokenizer.encode)

# %% [markdown]
# Does it do the right thing? Let's ask for a second opinion. NumPy's `unique` also sorts the different elements of a
# list and numbers them. We compare the two on random texts, and decode as well.

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(1)
letters = list("abcdefghij ,.éß€狐🦊")
for _ in range(300):
    t = "".join(rng.choice(letters, size=rng.integers(1, 40)))
    theirs = np.unique(list(t), return_inverse=True)[1].tolist()
    ours = tokens.CharTokenizer.from_text(t)
    assert ours.encode(t) == theirs
    assert ours.decode(theirs) == t
print("300 random texts: the same ids as NumPy, and the same text back")

# %% [markdown]
# All tokenizers in this course offer the same four things: `encode`, `decode`, `vocab_size`, and `token_bytes`, the
# bytes that one id stands for. A model doesn't have to know which one it gets. Do they all give a strange text back
# unharmed?

# %% tags=["nbval-check-output"]
everyone = {"characters": chars, "words": words, "bytes": raw, "sub-words": subwords}
strange = "  two  spaces,\n\ta tab, \x00, and a fox"
for name, tokenizer in everyone.items():
    try:
        answer = "comes back" if tokenizer.decode(tokenizer.encode(strange)) == strange else "something is lost"
    except ValueError as problem:
        answer = "an error: " + str(problem).split(":")[0]
    print(f"{name:10}  {answer}")

# %% [markdown]
# Characters refuse what they can't write, words lose it without a sound, and the other two write everything.
#
# ## Break it: the right ids, the wrong vocabulary
#
# This mistake is easy to make. You train a model. Weeks later you build the vocabulary again, from a file to which
# somebody has added a line with digits. The text that you decode has no digits in it. What comes out?

# %% tags=["nbval-check-output"]
saved_ids = chars.encode(sentence)
rebuilt = tokens.CharTokenizer.from_text(book + "0123456789")
print(rebuilt.decode(saved_ids))

# %% [markdown]
# No error, no warning. Digits come before letters in Unicode, so in the new vocabulary every letter has moved by ten
# places. The space, the comma and the full stop come before the digits, and have stayed. Ids mean nothing without the
# vocabulary that made them, and the ids themselves don't say which one that was.
#
# A comparison of the two vocabularies exposes it. The habit that prevents it: save the vocabulary with the model, and
# load it. Never build it again.

# %% tags=["nbval-check-output"]
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "tokenizer.json")
    chars.save(path)
    loaded = tokens.load(path)
print("loaded is what was saved:", loaded == chars)
print("rebuilt is what was saved:", rebuilt == chars)

# %% [markdown]
# ## At size: all the fables
#
# Now the whole book. For each tokenizer: the size of its vocabulary, how many tokens the average story takes, and how
# many stories fit into a context window of 256 tokens.

# %% tags=["nbval-check-output"]
stories = book.strip().split(fables.SEPARATOR)
length = {name: len(tokenizer.encode(book)) / len(stories) for name, tokenizer in everyone.items()}
rows = []
for name, tokenizer in everyone.items():
    n = length[name]
    bytes_each = len(book.encode()) / len(stories) / n
    rows.append((name, tokenizer.vocab_size, f"{n:.0f}", f"{bytes_each:.2f}", f"{256 / n:.1f}"))
pictures.table(rows, ["a token is a", "V", "tokens per story", "bytes per token", "stories in 256 tokens"])

# %% [markdown]
# Many of the word tokenizer's tokens are spaces. Sub-words put the space into the word, so there are fewer of them
# still.
#
# But a larger vocabulary needs a larger table, of $V$ rows with $C$ numbers each, and all of them have to be learned.
# A model of this course might have $C = 64$. The smallest GPT-2 has $V = 50{,}257$, $C = 768$, and 124 million
# numbers in all. How much of it is the table?

# %% tags=["nbval-check-output"]
for name, tokenizer in everyone.items():
    print(f"{name:10}  {tokenizer.vocab_size * 64:>10,} numbers")
print(f"{'GPT-2':10}  {50_257 * 768:>10,} numbers, {50_257 * 768 / 124.4e6:.0%} of the model")

# %% [markdown]
# And the time? Encoding goes through the text once, so it should grow in step with the text. Each row below reads twice
# as much as the row above. Each time was measured once, on a machine that may have been busy with something else, and
# so a factor in the table can be well off two: look at the trend, and at which column is slow.

# %%
rows = []
for part in (len(book) // 4, len(book) // 2, len(book)):
    took = []
    for tokenizer in everyone.values():
        start = time.perf_counter()
        tokenizer.encode(book[:part])
        took.append(f"{1000 * (time.perf_counter() - start):.0f}")
    rows.append([f"{part:,}", *took])
pictures.table(rows, ["characters read", *(f"{name} (ms)" for name in everyone)], align="rrrrr")

# %% [markdown]
# ## How much does a tokenizer know?
#
# One last measurement, and it leads to an idea that will carry us through the whole course. Suppose that you send a
# story to a friend, token by token. How many bits do you need?
#
# If there are 8 tokens, 3 bits can tell them apart, because $2 \cdot 2 \cdot 2 = 8$. The number of twos that multiply
# to $V$ is written $\log_2 V$; it needn't be whole. For $V$ tokens it takes $\log_2 V$ bits per token. But that treats
# all tokens as equally likely, and they aren't. If you agree on short code words for frequent tokens and longer ones
# for rare tokens, the message gets shorter. The best you can do for a token with probability $p$ is $\log_2 (1/p)$
# bits: 1 bit for heads or tails ($p = 1/2$), 3 bits for one of eight ($p = 1/8$), and nearly nothing for what was going
# to happen anyway.
#
# Take the text `aaab`. Three quarters of it are `a`, one quarter is `b`:

# %% tags=["nbval-check-output"]
bits_a, bits_b = math.log2(1 / (3 / 4)), math.log2(1 / (1 / 4))
print(f"an a costs {bits_a:.3f} bits, a b costs {bits_b:.3f} bits")
print(f"on average {3 / 4 * bits_a + 1 / 4 * bits_b:.3f} bits per character, where log2(V) is 1")

# %% [markdown]
# Each cost was multiplied by how often it occurs, and the products were added up. That average is called the
# **entropy**, in bits. You can compute it for any text in exercise `tokens.6`.
#
# Now the stories. For each tokenizer, there is a bar for the message in which every token takes $\log_2 V$ bits. Below
# them, if you can see it, is the shortest message possible on average. We know it exactly, because the program that
# generates the fables knows the probability of each choice it makes. (`fables.entropy()` uses the natural logarithm,
# and dividing by `math.log(2)` turns it into bits.)

# %%
bits = {name: round(length[name] * math.log2(tokenizer.vocab_size)) for name, tokenizer in everyone.items()}
bits["the shortest"] = round(fables.entropy() / math.log(2))
pictures.compare(bits, "bits per story", digits=4)

# %% [markdown]
# Compare the first and the third bar. Characters and bytes give the same number of tokens here, since the fables are
# ASCII, but each byte is charged 8 bits, for 256 values of which the fables use only a few dozen. Words and sub-words
# do better, since whatever always occurs together is sent as one token.
#
# And still there is a wide gap down to the last bar. That gap is what a model has to learn: which word follows which,
# and what was said before. No tokenizer closes it. A tokenizer provides good pieces, and must not lose anything. You'll
# meet that last number again in notebook 10, in nats, as the floor of every training run: on stories that it hasn't
# seen, no model can get below it, except by luck.
#
# ### Your turn: Bits per character
#
# `tokens.6` · *stretch* · 10 minutes
#
# How many bits per character does a text cost, with the best code for
# its own characters? For each different character $c$, let $p_c$ be the fraction of the text that is $c$. The answer
# is $\sum_c p_c \log_2 (1 / p_c)$, where the sum runs over the different characters. The text isn't empty.
# `bits_per_character("ab")` is `1.0`, and for `"aaab"` you have seen the answer above.


# %% tags=["nbval-check-output"]
def bits_per_character(text: str) -> float: ...


check("tokens.6", bits_per_character)

# %% [markdown]
# **Stretch, open-ended.** Take a paragraph in a language that you know and that isn't English. Run it through `cut`,
# and through the loop of *What each of them costs*. Which tokenizer would you choose for a model that reads both
# languages? Then look for glitch tokens of your own: which tokens of `own` never occur in `seen`?
#
# This is where you stand:

# %%
progress("tokens")

# %%
recap("tokens")

# %% [markdown]
# ## What to remember
#
# 1. A tokenizer turns text into ids in $[0, V)$ and back, without losing anything. An id is a row number, not an
#    amount.
# 2. Characters: small $V$, long sequences, and a character that it hasn't seen has no id.
# 3. Words: short sequences, large $V$, and there is always another word that it hasn't seen. What is unknown is lost.
# 4. Bytes: with $V = 256$ you can write every text, in the longest sequences. A token may be a part of a character.
# 5. A model sees ids, not letters. Spelling, digits, spaces at the end, rare tokens and other scripts go wrong there
#    first. And ids mean nothing without their vocabulary: save it with the model.
#
# | new term | Elsewhere this is called |
# |---|---|
# | token, id | piece (SentencePiece); `input_ids`, token index |
# | vocabulary, $V$ | `vocab`, `vocab_size`, `n_vocab` (tiktoken) |
# | encode, decode | tokenize, detokenize |
# | unknown token | `<unk>`, `[UNK]`, `unk_token`, out-of-vocabulary (OOV) |
# | special token | control token, added token; `<\|endoftext\|>`, `<s>`, `[CLS]` |
# | context window | context length, `n_positions`, `max_position_embeddings`, block size |
# | glitch token | under-trained token |
# | code point, UTF-8, byte, bit, ASCII, entropy | the same everywhere |
#
# **Three questions**
#
# 1. A vocabulary has $V = 300$ tokens. Is 300 one of its ids?
#
# <details><summary>Answer</summary>
# No. The ids are 0 to 299. A table with 300 rows has no row 300.
# </details>
#
# 2. `len("fünf")` is 4 and `len("fünf".encode())` is 5. Which of the two is the number of tokens?
#
# <details><summary>Answer</summary>
# It depends on the tokenizer: 4 if a token is a character, 5 if it's a byte, 1 if it's a word.
# </details>
#
# 3. A model writes the bytes 240 and 159. What do you show to the reader?
#
# <details><summary>Answer</summary>
# Nothing yet. 240 is <code>11110000</code> in bits, so it opens a character of four bytes. Two more must come.
# </details>
#
# **To go deeper:** Andrej Karpathy, [Let's build the GPT Tokenizer](https://www.youtube.com/watch?v=zduSFxRajkE)
# (2024), from minute 14:56 on, for strings, Unicode and UTF-8. Linting Xue et al.,
# [ByT5](https://arxiv.org/abs/2105.13626) (2022), for models that read bytes. In the package, `gptlab/tokens.py` from
# top to bottom: it's this notebook again.
#
# ## Next
#
# There are too many words, and byte sequences are too long. Sub-words were short **and** able to write everything.
# Where do such pieces come from? In [notebook 02](02_bpe.ipynb) you find them in the text itself, with a method that
# you can do with a pencil.
#
# Here is the sentence that travels with you from now on, in characters, words, bytes and sub-words. In each notebook it
# goes one stop further on the map, until a model has read it, and continues it.

# %% tags=["nbval-check-output"]
pictures.tokens(sentence, chars, words, raw, subwords, names=list(everyone))
