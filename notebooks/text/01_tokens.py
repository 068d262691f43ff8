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
# # 01 Tokens
#
# *A string goes in, integers come out, and the way back loses nothing.*
#
# A language model multiplies and adds. It cannot multiply a letter. Here you build the first station of every GPT: the
# rule that turns a text into integers, and the integers into the text again. You build it three times, once for
# characters, once for words, once for bytes, and you see where each of them hurts.
#
# **After this notebook you can**
#
# - turn any text into integers and back, with code of your own,
# - say what a vocabulary of characters, of words and of bytes costs, and measure it,
# - read UTF-8 bit by bit,
# - recognise the commonest silent mistake: the right ids read with the wrong vocabulary.
#
# **It builds on** Python and school algebra, and on no other notebook. **To run it** takes about 10 seconds on two CPU
# cores and 310 MB of memory.

# %%
import math
import re
import tempfile
import time
from pathlib import Path

import numpy as np

import gptlab
from gptlab import bpe, corpora, pictures, tokens
from gptlab.corpora import fables
from gptlab.exercises import check, compare, find, hint, predict, progress, recap, solution  # noqa: F401

# %% [markdown]
# This is the way of a text through a GPT, and where you are on it. The map comes back at the top of every notebook. You
# need only its first three boxes today.

# %%
pictures.pipeline("tokens")

# %% [markdown]
# ## The question: how do you multiply a sentence?
#
# This is how a story begins. The stories of this course are fables, a few thousand of them, told by a program.

# %% tags=["nbval-check-output"]
sentence = fables.TRAVELLER
print(sentence)

# %% [markdown]
# A model is going to read it. Everything that a model does is arithmetic on numbers such as 0.5. So, what is half of
# this sentence?

# %% tags=["raises-exception"]
0.5 * sentence

# %% [markdown]
# Python is right to refuse. The text has to become numbers first, and afterwards the numbers that the model gives back
# have to become text. Which numbers?
#
# Python has an answer ready. Each character has a number in **Unicode**, the list of all the characters that people
# write with. That number is called its **code point**, and `ord` tells it:

# %% tags=["nbval-check-output"]
print("ord:", [ord(character) for character in "Ada 🦊"])
print("code points that Unicode has room for:", 0x110000)

# %% [markdown]
# These are integers, but poor ones for a model. A model keeps a row of numbers for each integer that can occur. With
# code points that would be more than a million rows, and a story uses a few dozen of them. You want small integers
# without gaps.
#
# ## By hand: one integer for each character
#
# Take a text that you can check with a pencil. List each different character once, and number the list.

# %% tags=["nbval-check-output"]
text = "a fox, a hen"
characters = sorted(set(text))
id_of = {character: id for id, character in enumerate(characters)}
V = len(characters)
print(id_of)
print("V =", V)

# %% [markdown]
# `set` keeps each character once. `sorted` puts them into the order of Unicode: the blank first, then the comma, then
# the letters. Without `sorted` the order of a Python set of strings would change from run to run, and so would your
# numbers.
#
# The way there looks up each character. The way back turns the dict around.

# %% tags=["nbval-check-output"]
ids = [id_of[character] for character in text]
character_of = {id: character for character, id in id_of.items()}
back = "".join(character_of[id] for id in ids)
print(ids)
print(repr(back))
assert back == text

# %% [markdown]
# That is all. Now the names, which you will read everywhere:
#
# - The pieces that a text is cut into are its **tokens**. Here a token is a character.
# - The integer of a token is its **id**.
# - All tokens together are the **vocabulary**, and $V$ is how many there are.
# - The way there is to **encode**, the way back to **decode**. A rule for both is a **tokenizer**.
#
# Nothing is lost on the way there and back:
#
# $$\mathrm{decode}(\mathrm{encode}(\text{text})) = \text{text}$$
#
# which is the line `assert back == text`. And every id is at least 0 and smaller than $V$. Mathematicians write this
# range $[0, V)$: the square bracket lets 0 in, the round one keeps $V$ out. Python writes it `range(V)`.
#
# Here is the same as a picture: a chip for each token, its id under it. A blank is drawn as ␣. (`CharTokenizer` is the
# course's version of your lines. You open it further down.)

# %% tags=["nbval-check-output"]
pictures.tokens(text, tokens.CharTokenizer.from_text(text))

# %% [markdown]
# **Why from 0 to V − 1?** Because an id is the number of a row. A model has a table with $V$ rows, and the first thing
# that it does with an id is to fetch that row. Notebook 05 is about this table. Here is a small one, with two numbers
# in each row, made up for the purpose. `np.arange` counts up, and `reshape` lays the numbers out in rows of two. The
# comment `[V, 2]` is the shape: V rows, 2 columns. A list of ids in the brackets fetches a row for each.

# %% tags=["nbval-check-output"]
table = np.arange(2 * V).reshape(V, 2) / 10  # [V, 2]
print("the first three ids:", ids[:3])
print("their rows:")
print(table[ids[:3]])

# %% tags=["raises-exception"]
table[V]

# %% [markdown]
# Rows 0 to V − 1 are there, row V is not. On your machine this is a readable error. On a GPU, the graphics card that
# large models run on, it can be a crash with a message that nobody understands, so the course checks ids before they
# get that far.
#
# An id is a name and not an amount. The character with id 8 is not twice the one with id 4; they are two rows. (The
# rows above grow with the id only because they were made by counting. The rows of a model do not.) Shuffle the
# numbering, shuffle the rows with it, and nothing changes.
#
# **Before you run the next cell:** the vocabulary comes from `a fox, a hen`. What happens with `a wolf`?

# %% tags=["raises-exception", "nbval-check-output"]
[id_of[character] for character in "a wolf"]

# %% [markdown]
# <details><summary>Answer</summary>
#
# The `a` and the blank have ids. The `w` was not in the text, so it has none, and Python stops there. `l` would be
# next.
# </details>
#
# The cure for a missing letter is a longer text. All the fables together contain every letter that a fable needs:

# %% tags=["nbval-check-output"]
book = corpora.load("fables", quiet=True).text
chars = tokens.CharTokenizer.from_text(book)
print(f"{len(book):,} characters, of which {chars.vocab_size} are different:")
print(repr(chars.characters))

# %% [markdown]
# It is no cure for `é`, `7` or `🦊`. And there is a second price. Count what the model has to read:

# %% tags=["nbval-check-output"]
print(f"{len(sentence)} characters, {len(chars.encode(sentence))} tokens")

# %% [markdown]
# A model reads a limited number of tokens at once. You will meet that number as $T$. It also works harder for a longer
# sequence: in the part called attention, twice as many tokens are four times the work (notebook 06). And it has to put
# together anew, every time, that `f`, `o`, `x` in this order are an animal.
#
# ## By hand: one integer for each word
#
# So make the pieces longer. A word is a run of letters and digits; everything else, each blank and each comma, is a
# piece of its own, so that nothing is lost. In Python's pattern language `\w` is a letter, a digit or an underscore,
# `\w+` a run of them, and `\W` any other character.

# %% tags=["nbval-check-output"]
pieces = re.findall(r"\w+|\W", sentence)
vocabulary = sorted(set(pieces))
id_of_word = {word: id for id, word in enumerate(vocabulary)}
print(vocabulary)
print([id_of_word[piece] for piece in pieces][:13])
assert "".join(pieces) == sentence

# %% [markdown]
# The rest is what you did before, with words in place of characters. Compare the two on the first sentence. Each
# vocabulary comes from all the fables, and the words got one token more, `<unk>` with id 0, which you meet in a minute.

# %% tags=["nbval-check-output"]
words = tokens.WordTokenizer.from_text(book)
first = sentence.split(". ")[0] + "."
pictures.tokens(first, chars, words)

# %% [markdown]
# Far fewer tokens, and $V$ is still small. Is this the answer? The fables are a small world: a few animals,
# a few places. Real books are not like that.

# %%
predict("tokens.b", ...)

# %% [markdown]
# Put your letter in place of the dots, `predict("tokens.b", "a")` for example, or go on. Nothing depends on it. The book is
# the reference manual of your Python, cut into two halves. (The numbers depend on your version of Python.)

# %%
manual = tokens.WordTokenizer.split(corpora.load("pydocs", quiet=True).text)
half = len(manual) // 2
known = set(manual[:half])
later = {word for word in manual[half:] if word.isalnum()}
new = sorted(later - known)
print(f"different words in the second half: {len(later):,}, of which new: {len(new):,}")
print("some of them:", ", ".join(new[:: len(new) // 8]))

# %% [markdown]
# <details><summary>Answer</summary>
#
# b. A vocabulary is fixed before the second book is opened, and for every word that it lacks there is one and the same
# id: the **unknown** token, by custom written `<unk>`. The count above says how many words of a second half it
# swallows.
# </details>
#
# Reading more does not end it. Here is the size of the vocabulary after the first thousand pieces of the manual, ten
# thousand, and so on.

# %%
rows = []
for n in (1_000, 10_000, 100_000, len(manual)):
    rows.append((n, len(set("".join(manual[:n]))), len(set(manual[:n]))))
pictures.table(rows, ["pieces read", "different characters", "different words and signs"])

# %%
growth = {f"{n:,} words": len(set(manual[:n])) for n in (1_000, 3_000, 10_000, 30_000, 100_000) if n <= len(manual)}
pictures.compare(growth, "different words after so many", best=None)

# %% [markdown]
# The characters come to rest. The words go on and on, more slowly, without a last one (Harold Heaps 1978, see [Heaps'
# law](https://en.wikipedia.org/wiki/Heaps%27_law)). So some words will always be unknown, and what is unknown is lost:

# %% tags=["nbval-check-output"]
for message in ("The fox found a kite.", "The fox fuond a kite.", "The fox paid 250 for it."):
    print(words.decode(words.encode(message)))

# %% [markdown]
# A misspelling, a number, a new verb: all of them look alike to the model, and it can never write one. This is worse
# than an error, because nothing stops.
#
# ## By hand: one integer for each byte
#
# Is there a vocabulary that is small and from which nothing is missing? Your computer has used one all the time. Every
# text that you save is a row of **bytes**. A byte is eight **bits**, each of them 0 or 1, and so one of 256 values. The
# rule from characters to bytes is **UTF-8**, and in Python `text.encode()` applies it. Before you look at it, a guess:

# %%
predict("tokens.a", ...)

# %% tags=["nbval-check-output"]
print(list("fünf".encode()), "length", len("fünf".encode()))

# %% [markdown]
# <details><summary>Answer</summary>
#
# Five: the letters f, n and f are one byte each, and the ü takes two.
# </details>
#
# Look at the bits of characters that need one, two, three and four bytes:

# %% tags=["nbval-check-output"]
rows = []
for character in "Aü€🦊":
    data = character.encode("utf-8")
    bits = " ".join(f"{byte:08b}" for byte in data)
    rows.append((character, f"{ord(character):,}", str(list(data)), bits))
pictures.table(rows, ["character", "code point", "bytes", "bits"], align="lrll")

# %% [markdown]
# Read the bits from the left:
#
# - A byte that begins with `0` is a character by itself. These are the 128 characters of **ASCII**, enough for English.
# - A byte that begins with `110`, `1110` or `11110` opens a character of two, three or four bytes: count the ones.
# - A byte that begins with `10` goes on with a character.
#
# What is left of the bits is the code point. You can do it with a pencil, for ü. Three signs of Python work on bits:
# `point >> 6` drops the last six, `point & 0b111111` keeps only the last six, and `|` lays two patterns over each
# other.

# %% tags=["nbval-check-output"]
point = ord("ü")
print(f"{point} in bits: {point:011b}")
opening = 0b110_00000 | (point >> 6)  # 110, and the upper five bits
following = 0b10_000000 | (point & 0b111111)  # 10, and the lower six
print("by hand:", [opening, following], " Python:", list("ü".encode()))

# %% [markdown]
# Ken Thompson and Rob Pike designed this on a placemat in a diner, one evening in 1992 ([Pike's
# account](https://www.cl.cam.ac.uk/~mgk25/ucs/utf-8-history.txt)). Now take the bytes as ids. $V$ is 256, there is
# nothing to learn from a text, and no text is unknown, in any script, with any misspelling. What does it cost? (An
# order is given like this: `predict("tokens.c", "bytes, words, characters")`.)

# %%
predict("tokens.c", ...)

# %% tags=["nbval-check-output"]
says = "“Très bien”, said the fox: “Ça va.”"
print("words:     ", len(tokens.WordTokenizer.split(says)))
print("characters:", len(says))
print("bytes:     ", len(says.encode("utf-8")))

# %% [markdown]
# <details><summary>Answer</summary>
#
# Words, characters, bytes. Most words are several characters, a character is one byte or more. Here the accents and the
# curved quotation marks take two or three. In ASCII alone the last two are equal.
# </details>
#
# One more thing is new with bytes: a token can be less than a character. When a model writes, its tokens come one by
# one. Decode each alone, and you get � where a character is not complete. You have to hold the bytes back until the
# character is whole, which is what the package's `StreamDecoder` does.

# %% tags=["nbval-check-output"]
raw = tokens.ByteTokenizer()
decoder = tokens.StreamDecoder(raw)
arriving = raw.encode("Ça 🦊.")
print("ids:     ", arriving)
print("alone:   ", [raw.decode([id]) for id in arriving])
print("in time: ", [decoder.push(id) for id in arriving])

# %% [markdown]
# The dashed frames in the next picture mark such parts of characters. Point at one to read which character it belongs
# to.

# %% tags=["nbval-check-output"]
pictures.tokens("Ça 🦊.", raw)

# %% [markdown]
# ## What each of them costs
#
# Put them side by side on texts that are not fables. A fourth one joins them: **sub-words**, pieces of words that were
# found in the fables by a method that notebook 02 opens. Until then it is a closed box.

# %% tags=["nbval-check-output"]
subwords = bpe.BPETokenizer.train(book, vocab_size=512)
texts = {
    "a fable": "The fox found a kite.",
    "misspelled": "Teh fxo fuond a ktie.",
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
# Read the table column by column. The two columns *no id* and *lost* are what the vocabularies of characters and of
# words cannot write at all. The bytes have no such column: they can write everything, and pay with length. The
# sub-words have none either, and on a fable they are even shorter than the words, because a blank goes into the word
# that follows it.
#
# This has a price, too. On scripts that the sub-words have not seen they fall back to bytes, and a Greek reader
# pays several tokens for what an English reader gets for one. The tokenizers of real models have this unfairness too;
# notebook 02 measures it.
#
# ## A token that nobody can type
#
# A model that tells a story has to be able to say *the end*. And when stories stand one after the other, something must
# stand between them that is no text, or else the model could not tell a border from a word. The cure is one more id.

# %% tags=["nbval-check-output"]
stories = ["a fox, a hen", "a hen"]
end = V  # the first id that no character has
stream = []
for story in stories:
    stream += [id_of[character] for character in story] + [end]
print(stream)
print("V is now", V + 1)

# %% [markdown]
# Such an id is a **special token**. It has a name, so that people can talk about it: GPT-2 calls it `<|endoftext|>`,
# and so does this course. The name is for people only. Writing it into the text instead would be a mistake, because
# then whoever types these characters ends the story:

# %% tags=["nbval-check-output"]
anyone = tokens.CharTokenizer.from_text("a fox<|endoftext|>")
typed = anyone.encode("<|endoftext|>")
print("as text, the name is", len(typed), "tokens that anybody can type:", typed)

# %% [markdown]
# As an id of its own it is one token, and no text leads to it. Notebook 02 shows what happens to programs that mix the
# two up.
#
# ## The tested block
#
# The package has what you built. Its `encode` is your line, with an error that says what to do:

# %%
gptlab.show(tokens.CharTokenizer.encode)

# %% [markdown]
# Is it the same as yours? Compare it on random texts, with your lines and with a third opinion: NumPy's `unique` sorts
# the different elements of a list and numbers them.

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(1)
letters = list("abcdefghij ,.éß€狐🦊")
for _ in range(300):
    t = "".join(rng.choice(letters, size=rng.integers(1, 40)))
    yours = {character: id for id, character in enumerate(sorted(set(t)))}
    theirs = np.unique(list(t), return_inverse=True)[1].tolist()
    ours = tokens.CharTokenizer.from_text(t)
    assert ours.encode(t) == [yours[character] for character in t] == theirs
    assert ours.decode(theirs) == t
print("300 random texts: the same ids three times, and the way back")

# %% [markdown]
# All tokenizers of this course can do the same four things: `encode`, `decode`, `vocab_size`, and `token_bytes`, the
# bytes that one id stands for. So a model does not have to know which one it gets. Three of the four keep every text
# that they can write; the words are the exception that you have seen.

# %% tags=["nbval-check-output"]
everyone = {"characters": chars, "words": words, "bytes": raw, "sub-words": subwords}
strange = "  two  blanks,\n\ta tab, \x00, and a fox"
for name, tokenizer in everyone.items():
    assert isinstance(tokenizer, tokens.Tokenizer)
    try:
        answer = tokenizer.decode(tokenizer.encode(strange)) == strange
    except ValueError as problem:
        answer = str(problem).split(":")[0]
    print(f"{name:10}  {answer}")

# %% [markdown]
# ## Break it: the right ids, the wrong vocabulary
#
# This mistake is easy to make. You train a model. Later you build the vocabulary again, from a file to which
# somebody has added a line with digits in it. The text to decode has no digits. What comes out?

# %% tags=["nbval-check-output"]
ids = chars.encode(sentence)
rebuilt = tokens.CharTokenizer.from_text(book + "0123456789")
print(rebuilt.decode(ids))

# %% [markdown]
# No error, no warning. The digits stand before the letters in Unicode, so in the new vocabulary every letter has moved
# on by ten places. The blank, the comma and the full stop stand before the digits, and have stayed. Ids mean nothing
# without the vocabulary that made them, and the ids do not tell which one that was.
#
# The check that exposes it is a comparison of the vocabularies. The habit that prevents it is to save the vocabulary
# beside the model, and to load it, never to build it again.

# %% tags=["nbval-check-output"]
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "tokenizer.json")
    chars.save(path)
    loaded = tokens.load(path)
print("loaded is what was saved:", loaded == chars)
print("rebuilt is what was saved:", rebuilt == chars)

# %% [markdown]
# ## At size: all fables
#
# Now the whole book. For each tokenizer: the size of its vocabulary, how many tokens a story takes, and how much of the
# book fits into one look of a model that reads 256 tokens at once.

# %% tags=["nbval-check-output"]
tales = book.strip().split(fables.SEPARATOR)
length = {name: len(tokenizer.encode(book)) / len(tales) for name, tokenizer in everyone.items()}
rows = []
for name, tokenizer in everyone.items():
    n = length[name]
    bytes_each = len(book.encode()) / len(tales) / n
    rows.append((name, tokenizer.vocab_size, f"{n:.0f}", f"{bytes_each:.2f}", f"{256 / n:.1f}"))
pictures.table(rows, ["a token is a", "V", "tokens a story", "bytes a token", "stories in 256 tokens"])

# %%
pictures.compare(length, "tokens a story (shorter is less work for the model)", digits=3)

# %% [markdown]
# Many of the words' tokens are blanks. The sub-words take the blank into the word, and so are shorter still.
#
# The other price is the table: $V$ rows of $C$ numbers, each of which has to be learned. A model of this course with
# $C = 64$ needs `V * 64` of them. GPT-2 has $V = 50{,}257$ and $C = 768$. How much of the smallest GPT-2, with its 124
# million numbers in all, is that table?

# %% tags=["nbval-check-output"]
for name, tokenizer in everyone.items():
    print(f"{name:10}  {tokenizer.vocab_size * 64:>10,} numbers")
print(f"{'GPT-2':10}  {50_257 * 768:>10,} numbers, {50_257 * 768 / 124.4e6:.0%} of the model")

# %% [markdown]
# What does the work itself cost? Encoding looks up each piece once, so the time should grow in step with the text. Each
# row reads twice the text of the row above. (The milliseconds are those of one machine, and each is measured once:
# expect the times to double only roughly, and the small ones to jump.)

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
# And what does a tokenizer know about stories? Suppose you send a story to a friend, each token in $\log_2 V$ bits,
# which is what it takes to tell $V$ things apart. Here is the length of that message, and below it the shortest message
# that there can be on average. The less probable a choice, the more bits it takes to tell it: $\log_2 (1/p)$ bits at
# the probability $p$, so one bit for the toss of a coin. For these stories the sum is known exactly, because the
# program that tells them knows how probable each of its choices was. (`fables.entropy()` is this sum with the natural
# logarithm. Dividing by `math.log(2)` turns it into bits.)

# %% tags=["nbval-check-output"]
for name, tokenizer in everyone.items():
    print(f"{name:18} {length[name] * math.log2(tokenizer.vocab_size):6,.0f} bits a story")
print(f"{'the shortest':18} {fables.entropy() / math.log(2):6,.0f} bits a story")

# %%
bits = {name: length[name] * math.log2(tokenizer.vocab_size) for name, tokenizer in everyone.items()}
pictures.compare(bits, "bits a story", floor={"the shortest": fables.entropy() / math.log(2)})

# %% [markdown]
# Longer pieces make the message shorter, because what always stands together is sent at once. The gap that remains is
# what a model has to learn: which word follows which, and what was said before. No tokenizer closes it. A tokenizer
# gives the model pieces to work with, and must not lose anything. The lowest line comes back in notebook 10: no model
# of these stories can get below it.
#
# ## Exercises
#
# Write your code in place of the dots and run the cell. `check` runs it on fresh inputs and names the most likely
# mistake. `hint("tokens.1")` gives a hint, again for the next one; `solution("tokens.1")` shows one way to do it; and when you
# have passed, `compare("tokens.1", build_vocabulary)` lays your code beside the course's.

# %%
find("tokens.1")


# %% tags=["nbval-check-output"]
def build_vocabulary(text: str) -> dict[str, int]: ...


check("tokens.1", build_vocabulary)

# %%
find("tokens.2")


# %% tags=["nbval-check-output"]
def encode(text: str, id_of: dict[str, int]) -> list[int]: ...


check("tokens.2", encode)

# %%
find("tokens.3")


# %% tags=["nbval-check-output"]
def decode(ids: list[int], id_of: dict[str, int]) -> str: ...


check("tokens.3", decode)

# %%
find("tokens.4")


# %% tags=["nbval-check-output"]
def encode_words(words: list[str], id_of: dict[str, int], unknown: int) -> list[int]: ...


check("tokens.4", encode_words)

# %%
find("tokens.5")


# %% tags=["nbval-check-output"]
def utf8_lengths(text: str) -> list[int]: ...


check("tokens.5", utf8_lengths)

# %%
find("tokens.6")


# %% tags=["nbval-check-output"]
def bits_per_character(text: str) -> float: ...


check("tokens.6", bits_per_character)

# %%
find("tokens.7")


# %% tags=["nbval-check-output"]
class Tokenizer:
    def __init__(self, text: str): ...
    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: list[int]) -> str: ...


check("tokens.7", Tokenizer)

# %%
find("tokens.8")


# %% tags=["nbval-check-output"]
def split_words(text: str) -> list[str]: ...


check("tokens.8", split_words)

# %% [markdown]
# An open one, without a check: take a text in a language that you know and that is not English, and repeat the section
# *What each of them costs* with it. Which tokenizer would you choose for a model that reads both?

# %%
progress()

# %%
recap("tokens")

# %% [markdown]
# ## What to remember
#
# 1. A tokenizer turns a text into ids in $[0, V)$ and back, without a loss. An id is a row number, not an amount.
# 2. Characters: small $V$, long sequences, and a character that was not seen has no id.
# 3. Words: short sequences, large $V$, and there is always a word that was not seen. What is unknown is lost.
# 4. Bytes: $V = 256$ writes every text, in the longest sequences. A token may be a part of a character.
# 5. Ids mean nothing without their vocabulary: save it with the model. A special token is an id that no text leads to.
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
# It depends on the tokenizer: 4 if a token is a character, 5 if it is a byte, 1 if it is a word.
# </details>
#
# 3. A model writes the bytes 240 and 159. What do you show to the reader?
#
# <details><summary>Answer</summary>
# Nothing yet. 240 is <code>11110000</code> in bits, it opens a character of four bytes. Two more must come.
# </details>
#
# **To go deeper:** Andrej Karpathy, [Let's build the GPT Tokenizer](https://www.youtube.com/watch?v=zduSFxRajkE)
# (2024), from minute 14:56 on, for strings, Unicode and UTF-8. Linting Xue et al.,
# [ByT5](https://arxiv.org/abs/2105.13626) (2022), for models that read bytes. In the package, `gptlab/tokens.py` from
# top to bottom: it is this notebook again.
#
# ## Next
#
# Words are too many and bytes are too long. The sub-words were short **and** able to write everything. Where do such
# pieces come from? [Notebook 02](02_bpe.ipynb) finds them in the text itself, with a method that you can do with a
# pencil.
#
# Here is the sentence that travels with you from now on: its characters, words, bytes and sub-words. In each notebook
# it goes one station further on the map, until a model has read it, and continues it.

# %% tags=["nbval-check-output"]
pictures.tokens(sentence, chars, words, raw, subwords)
