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
# # 03 · SentencePiece
#
# *Give every piece of text a probability, and let the most probable segmentation win. Then open the library that does
# this, and see what each of its settings loses.*
#
# Byte-pair encoding commits itself early. Once two letters have been merged, it never asks whether another way to
# segment the word would have been better. The other well-known tokenizer, Unigram, weighs all ways against each
# other. It is inside T5, ALBERT and XLNet, usually by way of a library called SentencePiece, whose BPE side serves
# Llama 2 and the first Mistral. If you ever met a `▁` in a list of tokens and wondered, this is where it comes from.
# You'll build Unigram with a handful of words. At the end the same few steps, in the package, segment two thousand
# texts exactly as the library does.
#
# **After this notebook you can**
#
# - find the best of sixty million segmentations in under a hundred steps (Viterbi), and sum over all of them (forward),
# - train a Unigram tokenizer: expected counts, pruning, and why it goes from many pieces to few,
# - say what SentencePiece is, and which of its settings give a text back and which don't,
# - compare tokenizers fairly: in bits per byte of text.
#
# **It builds on** notebooks 01 and 02: bytes, bits, vocabulary, merges. **Time:** about 45 minutes to read, and a little
# under two hours for all the exercises. **Running it** takes about 50 seconds on two CPU cores and 500 MB of memory.

# %%
import io
import itertools
import math
import random
import time
from collections import Counter

import sentencepiece

import gptlab
from gptlab import bpe, corpora, downloads, encodings, pictures, tokens, unigram
from gptlab.corpora import fables
from gptlab.exercises import check, compare, hint, predict, progress, quiz, recap, solution
from gptlab.unigram import UnigramTokenizer

# %% tags=["nbval-check-output"]
pictures.pipeline("unigram")

# %% [markdown]
# Three questions about the notebooks before. Replace the dots with letters, as in `quiz("unigram", ["a", "b", "c"])`,
# or go on; nothing depends on it.

# %% tags=["nbval-check-output"]
quiz("unigram", [..., ..., ...])

# %% [markdown]
# ## The question: a merge is never reconsidered
#
# Train BPE on a few lines in which `he` is frequent, `th` less so, and `en` still less. All three become tokens. Now
# encode `then`.

# %% tags=["nbval-check-output"]
merged = bpe.BPETokenizer.train("he\n" * 4 + "th\n" * 3 + "en\n" * 2, vocab_size=259)
print("learned:", [token.decode() for token in merged.ranks if len(token) > 1])
print("then:   ", [merged.token_bytes(id).decode() for id in merged.encode("then")])

# %% [markdown]
# Three tokens, where two would have done: `th` and `en` are both in the vocabulary. BPE joined `he` first, because it
# has the lowest rank, and after that `th` was out of reach. It can't even notice, because it has no number that says
# how good a segmentation is. So let's get one.
#
# ## By hand: a probability for each piece
#
# Give each piece of text a probability. These pieces are made up, and so are their probabilities, which sum to 1. Now
# pretend that a text is made by sampling pieces one after the other, each independently of the others. Then the
# probability of a **segmentation**, one way to cut a text into pieces, is the product of the probabilities of its
# pieces.

# %% tags=["nbval-check-output"]
p = {"t": 0.10, "h": 0.15, "e": 0.20, "n": 0.10, "he": 0.25, "th": 0.05, "en": 0.05, "hen": 0.10}
print("sum:", round(sum(p.values()), 6))
print(f"t | he | n   {0.10 * 0.25 * 0.10:.4f}")
print(f"th | en      {0.05 * 0.05:.4f}")
print(f"t | hen      {0.10 * 0.10:.4f}")

# %% [markdown]
# Now segmentations can be compared: `t | hen` is four times as probable as either of the other two. On a long text
# there is a catch: a product of thousands of small numbers is 0 on a computer. So we work with logarithms, and the
# product becomes a sum.
#
# $$\ln p(x_1 \ldots x_m) = \sum_{i=1}^{m} \ln p(x_i)$$
#
# The logarithm of a piece's probability, $\ln p$, is its **score**. It is 0 for something certain and more negative for
# something less likely. The unit of this natural logarithm is the **nat**, as the bit is the unit of $\log_2$ in
# notebook 01; a bit is $\ln 2 \approx 0.69$ nats. The first exercise is `unigram.2`, and `unigram.1` comes later: the
# numbers are only names.
#
# ### Your turn: How likely is a segmentation?
#
# `unigram.2` · *core* · 5 minutes
#
# Write the formula. The input is a list of one or more pieces and a dict from piece to score; the result is a float, in
# nats. Example: with `{"fo": -2.5, "x": -1.5}`, the pieces `["fo", "x"]` have the score -4.0. As before,
# `hint("unigram.2")` helps when you're stuck, and `solution` shows ours.


# %% tags=["nbval-check-output"]
def segmentation_logprob(pieces: list[str], logp: dict[str, float]) -> float: ...


check("unigram.2", segmentation_logprob)

# %% [markdown]
# The package calls it `unigram.score`. How many segmentations does a text have?

# %%
predict("unigram.a", ...)

# %% [markdown]
# Let's list them all, with a function that calls itself: take each piece that the text can begin with, and combine it
# with every segmentation of the rest. An empty text has one: no pieces. Here every substring is allowed, then only
# those of our model.

# %% tags=["nbval-check-output", "answers-prediction"]
def segmentations(text, logp):
    if not text:
        return [[]]
    beginnings = [text[:end] for end in range(1, len(text) + 1) if text[:end] in logp]
    return [[piece, *rest] for piece in beginnings for rest in segmentations(text[len(piece) :], logp)]


substrings = {"abcde"[i:j]: 0.0 for i in range(5) for j in range(i + 1, 6)}
print("abcde:", len(segmentations("abcde", substrings)), "segmentations")
logp = {piece: math.log(probability) for piece, probability in p.items()}
for pieces in sorted(segmentations("then", logp), key=lambda pieces: unigram.score(pieces, logp), reverse=True):
    print(f"{unigram.score(pieces, logp):6.2f}  {' | '.join(pieces)}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Sixteen. Between two neighbours you cut or you don't, and five characters have four such gaps. If some substrings
# aren't pieces, there are fewer.
# </details>
#
# The best segmentation of `then` is on top. For four characters that settles it. A sentence of a hundred characters
# can have $2^{99}$ segmentations, more than there are atoms in your body, so listing them is hopeless.
#
# ## The lattice
#
# Draw every piece once, above the characters that it covers. A segmentation is then a walk from the left edge to the
# right. This picture is a **lattice**. Trace the dark path, and then another.

# %% tags=["nbval-check-output"]
pictures.lattice("then", logp, best_path=["t", "hen"])

# %% [markdown]
# All walks share their parts. The best way to reach the end of `the` is needed by every walk that continues with `n`,
# but it has to be found only once. So go from left to right, and for each position save one number: the best score of
# any way to get there. Each piece that ends there offers a way:
#
# $$\text{best}(j) = \max_{i < j} \; \big(\text{best}(i) + \ln p(x_{i:j})\big)$$
#
# Here $x_{i:j}$ is `text[i:j]`, and only substrings that are pieces count. Do it with a pencil for `th`: which entry
# of `best` is that, and which pieces compete for it?
#
# <details><summary>Answer</summary>
#
# The one at position 2. Two pieces end there: <code>th</code>, from position 0, and <code>h</code>, from position 1.
# </details>

# %% tags=["nbval-check-output", "answers-prediction"]
at_1 = 0.0 + logp["t"]
at_2 = max(0.0 + logp["th"], at_1 + logp["h"])
at_3 = max(at_1 + logp["he"], at_2 + logp["e"])
at_4 = max(at_1 + logp["hen"], at_2 + logp["en"], at_3 + logp["n"])
print("best to each position:", [round(number, 2) for number in (0.0, at_1, at_2, at_3, at_4)])

# %% [markdown]
# The last number is the score of the best segmentation, the same as on top of the list. To know which pieces it
# consists of, also remember for each position where its winning piece began, and at the end walk back. Andrew Viterbi
# found this in 1967, for decoding error-correcting codes ([paper](https://ieeexplore.ieee.org/document/1054010)); it is
# the **Viterbi algorithm**.
#
# ### Your turn: The best segmentation
#
# `unigram.3` · *core* · 25 minutes
#
# This is the central function of this notebook. Return the segmentation with
# the highest score, without listing all of them: one of the texts has 60 characters. `logp` has every single character
# of the text; no two segmentations are equally good. Example: `best_segmentation("then", logp)` is `["t", "hen"]`.


# %% tags=["nbval-check-output"]
def best_segmentation(text: str, logp: dict[str, float]) -> list[str]: ...


check("unigram.3", best_segmentation)

# %% [markdown]
# The package's version is in the folded output below. It takes the lattice as a list: `arcs[end]` holds (start, score)
# for each piece that ends there. `walk_back` follows the remembered starts from the end.

# %% tags=["answers-prediction"]
gptlab.show(unigram.best_path)

# %% [markdown]
# Its work is the number of positions times the number of pieces that end at each. Now put a sum where the maximum
# was. To add up ways we need the probabilities themselves, and along a way they are multiplied.

# %%
predict("unigram.c", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
def total(text, p):
    ways = [1.0] + [0.0] * len(text)  # for each position: the probability of all ways to get there
    for end in range(1, len(text) + 1):
        for start in range(end):
            ways[end] += ways[start] * p.get(text[start:end], 0.0)
    return ways[-1]


listed = sum(math.exp(unigram.score(pieces, logp)) for pieces in segmentations("then", logp))
print(f"best: {math.exp(at_4):.5f}   all together: {total('then', p):.5f}   listed and added: {listed:.5f}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# All together is larger. The best is one term of the sum, and each other way adds something.
# </details>
#
# This is the **forward sum**. It says how likely the text is, however it is segmented. Our `total` breaks on a long
# text, because its numbers become too small for a computer; exercise unigram.4 repairs that with logarithms.
#
# Put 1 in place of each probability, and the same loop counts the ways. In how many ways can `then`, written ten
# times without a space, be segmented? No piece reaches from one `then` into the next.

# %% tags=["nbval-check-output", "answers-prediction"]
ones = dict.fromkeys(p, 1)
for times in (1, 2, 10):
    print(f"{times:2} × then: {total('then' * times, ones):10,.0f} ways")
print("the best of them:", " ".join(unigram.viterbi("then" * 10, logp)))

# %% [markdown]
# <details><summary>Answer</summary>
#
# Each <code>then</code> is segmented on its own, so the numbers of ways are multiplied: ten factors of 6, which is
# $6^{10}$.
# </details>
#
# Forty positions were enough to find the best of them all. So far the probabilities were made up. The forward sum is
# what we need to learn them.
#
# ## Where the probabilities come from
#
# Here is a corpus of eight words with their counts. A space is written ▁, in front of the word that follows it.

# %% tags=["nbval-check-output"]
words = {"▁fox": 9, "▁foxes": 4, "▁hen": 8, "▁hens": 5, "▁then": 6, "▁the": 12, "▁ox": 4, "▁oxen": 3}
model = unigram.seed_pieces(words, size=60)
print(len(model), "pieces to begin with:", " ".join(sorted(model)))

# %% [markdown]
# These are all characters, ▁ among them, and all substrings that occur more than once and aren't always inside the same
# longer one. That's more than we want to keep, and on purpose. Each has a first rough probability, in proportion to how
# often it occurs times its length.
#
# Now we're in a circle. If we knew how each word is segmented, we could count the pieces. If we knew the
# probabilities, we would know how each word is segmented. We know neither, so we begin with the rough ones and take
# turns:
#
# 1. with the current probabilities, count each piece in **every** segmentation, weighted by how likely that
#    segmentation is. These are the **expected counts**;
# 2. divide the counts by their sum, and take them as the new probabilities.
#
# For one word, listed in full:

# %% tags=["nbval-check-output"]
ways = segmentations("▁ox", model)
weights = [math.exp(unigram.score(way, model)) for way in ways]
counts = Counter()
for way, weight in zip(ways, weights):
    print(f"{weight / sum(weights):6.3f}  {' | '.join(way)}")
    for piece in way:
        counts[piece] += weight / sum(weights)
print({piece: round(count, 3) for piece, count in counts.items()})

# %% [markdown]
# The first column sums to 1. The expected count of a piece adds up the rows that contain it; ▁ is in several of them.
#
# Again, listing works for short words only. But look at one piece at one position, from $i$ to $j$. Every
# segmentation that uses it consists of some way to get to $i$, the piece, and some way to go on from $j$. Summed over
# all of them, the products factor: everything before, times the piece, times everything after. Divided by the sum
# over all segmentations, this is the share of the probability that uses the piece there:
#
# $$\frac{\text{before}(i) \; p(x_{i:j}) \; \text{after}(j)}{\text{before}(n)}$$
#
# Here before is the forward sum from the left, after is the same from the right, and $n$ is the end of the text. The
# module does that, and gives the same.

# %% tags=["nbval-check-output"]
fast = unigram.expected_counts("▁ox", model)
assert fast.keys() == counts.keys()
assert all(math.isclose(fast[piece], counts[piece]) for piece in counts)
print("equal for", len(fast), "pieces")

# %% [markdown]
# Now all words, five rounds. Watch the last column, which should rise from row to row. Between which two rows does it
# rise most?

# %% tags=["nbval-check-output", "answers-prediction"]
before = -math.inf
for round_number in range(5):
    nats = sum(n * unigram.log_total(word, model) for word, n in words.items())
    print(f"round {round_number}: {len(model)} pieces, ln p of all words = {nats:8.2f}")
    assert nats >= before
    before, model = nats, unigram.em_step(words, model)
print({piece: round(math.exp(value), 3) for piece, value in model.items() if value > -5})  # the likeliest

# %% [markdown]
# <details><summary>Answer</summary>
#
# Between the first two, so the first round gains most. The start was a rough guess, frequency times length, and the
# first round already takes into account how the pieces compete with each other. Later rounds polish.
# </details>
#
# Taking turns like this is called **EM**, expectation and maximisation ([Dempster, Laird and Rubin
# 1977](https://www.jstor.org/stable/2984875)). Taking turns alone can never make the words less likely. On the way,
# pieces that are expected less than half a time in the whole corpus are dropped, which can cost a little; single
# characters never are.
#
# With this many pieces every word has become a piece of its own. A small vocabulary can't afford that.
#
# ## Pruning
#
# Which pieces are worth their place? For each, ask two things. How often do the best segmentations use it? And how
# many nats would be lost at each use, if its characters had to be written with the other pieces? The product is the
# **loss** of removing it.

# %% tags=["nbval-check-output"]
used, rows = Counter(), []
for word, n in words.items():
    for piece in unigram.viterbi(word, model):
        used[piece] += n
for piece in (piece for piece in model if len(piece) > 1):
    others = {other: value for other, value in model.items() if other != piece}
    instead = unigram.viterbi(piece, others)
    lost = model[piece] - unigram.score(instead, others)
    rows.append((used[piece] * lost, piece, used[piece], " | ".join(instead), f"{lost:.1f}"))
rows = [(*row, f"{loss:.1f}") for loss, *row in sorted(rows)]  # the smallest loss first
pictures.table(rows, ["piece", "used", "without it", "nats lost per use", "loss (nats)"], align="lrlrr")

# %% [markdown]
# `▁hens` and `▁then` are easy to replace: another piece and one letter. `▁oxen` is rare. `▁the` occurs often, and
# without it the model would have to go character by character, which costs many nats: a letter that no word needs is
# left with a tiny probability. (The loss is an estimate, because it leaves the rest of each word as it was. Exercise
# unigram.6 does better.)
#
# `prune` keeps the pieces of the largest loss and all characters, so that every word can still be written. Remove
# three pieces, and do one more round of EM that drops nothing (`rarest=0.0`):

# %% tags=["nbval-check-output"]
small = unigram.prune(words, model, size=len(model) - 3)
small = unigram.em_step(words, small, rarest=0.0)
for word in words:
    print(f"{word:7} {' | '.join(unigram.viterbi(word, small))}")

# %% [markdown]
# That's the whole training: begin with many pieces, two rounds of EM, drop a quarter, and again until few enough are
# left. Taku Kudo published it in 2018 ([Subword Regularization](https://arxiv.org/abs/1804.10959)). A language model
# that samples each piece without looking at the others is a **Unigram** model, hence the name of the tokenizer.
#
# Why from many to few, when BPE goes from few to many? Because EM only weighs pieces that are there; a piece that
# isn't in the model has no probability and never gets one. Removing is also easier to judge than adding: for a piece
# in use we know how often it is used and what would take its place, whereas the worth of a new piece depends on all
# the others that don't exist yet.
#
# ## The tested block
#
# `gptlab.unigram` has to agree with what listing all segmentations gives. We try it on random models and random
# texts:

# %% tags=["nbval-check-output"]
generator = random.Random(0)
for _ in range(300):
    longer = ["".join(generator.choices("then", k=generator.randint(2, 4))) for _ in range(9)]
    trial = {piece: generator.uniform(-6, -1) for piece in [*"then", *longer]}
    text = "".join(generator.choices("then", k=generator.randint(1, 9)))
    listed = [unigram.score(way, trial) for way in segmentations(text, trial)]
    assert math.isclose(unigram.score(unigram.viterbi(text, trial), trial), max(listed))
    together = sum(math.exp(value) for value in listed)
    assert math.isclose(total(text, {piece: math.exp(value) for piece, value in trial.items()}), together)
    assert math.isclose(math.exp(unigram.log_total(text, trial)), together)
print("Viterbi and the forward sum agree with the list, 300 times")

# %% [markdown]
# Now train it on fables and let it segment the sentence that travels through the course. Below it, BPE with a
# vocabulary of the same size.

# %%
book = corpora.load("fables", quiet=True).text[:200_000]
ours = UnigramTokenizer.train(book, vocab_size=460)
rival = bpe.BPETokenizer.train(book, vocab_size=460)
pictures.tokens(fables.TRAVELLER, ours, rival, ids=False)

# %% [markdown]
# Both spend 256 of their tokens on single bytes, so that no text is unknown. Our Unigram splits at spaces and newlines,
# BPE's pattern also before punctuation, so in the upper row a comma can stick to its word, as in `Once,`. The first ␣
# of the upper row isn't in the text. The tokenizer puts it there, and you'll soon see why.
#
# ## Several segmentations of the same text
#
# Unigram knows the probability of every segmentation, so it can sample one. A model that sees the same word in
# different pieces gets a chance to learn how it is spelled; Kudo calls this **subword regularization**. A
# segmentation of probability $p$ is sampled in proportion to $p^\alpha$, and $\alpha$ says how strongly to prefer the
# probable ones. The tokenizer learns from a part of Python's manual, because fables have so few different words that
# nearly all of them are single pieces.
#
# What do you expect for α = 0, and for a large α?
#
# <details><summary>Answer</summary>
#
# With α = 0 every segmentation is equally likely, so nearly all are strange ones. With a large α the best one wins
# nearly always.
# </details>

# %% tags=["answers-prediction"]
prose = corpora.load("pydocs" if "pydocs" in corpora.available() else "fables", quiet=True).text[:60_000]
documented = UnigramTokenizer.train(prose, vocab_size=256 + len(set(prose)) + 400)  # bytes, characters, longer ones
for alpha in (0.0, 0.1, 0.3, 10.0):
    print(f"α = {alpha}")
    for seed in range(2):
        ids = documented.sample("returning expressions", alpha, random.Random(seed))
        print("    ", " | ".join(documented.pieces[id] for id in ids))

# %% [markdown]
# Are the samples fair? For a short word we can list all segmentations and compare. Here $\alpha$ is 0.5, and the model
# is the rough one from the beginning of the training above, which at this $\alpha$ still leaves all eight ways to cut
# `▁oxen` a chance.

# %% tags=["nbval-check-output"]
rough, generator = unigram.seed_pieces(words, size=60), random.Random(1)
arcs = unigram.lattice("▁oxen", rough)
drawn = Counter(tuple(unigram.sample_path(arcs, 0.5, generator)) for _ in range(20_000))
ways = segmentations("▁oxen", rough)
weights = [math.exp(0.5 * unigram.score(way, rough)) for way in ways]
assert len(drawn) == len(ways)  # none is missing
for way, weight in sorted(zip(ways, weights), key=lambda pair: -pair[1]):
    cuts = tuple(itertools.accumulate(map(len, way), initial=0))  # ▁ox | en is cut at 0, 3, 5
    exact, share = weight / sum(weights), drawn[cuts] / 20_000
    assert abs(share - exact) < 0.015
    print(f"{' | '.join(way):17}  exact {exact:.3f}   sampled {share:.3f}")

# %% [markdown]
# ## SentencePiece is a library
#
# The name causes confusion, so here it is in one place. **SentencePiece** is a program ([Kudo and Richardson
# 2018](https://arxiv.org/abs/1808.06226)). It offers two subword algorithms, Unigram and BPE (on characters rather
# than bytes), and plain characters or words for comparison. "BPE or SentencePiece" compares an algorithm with a
# library. What makes the library special is what it does around the algorithm:
#
# - It reads **raw text**. It needs no list of words and no pattern made for a language, so it works where words
#   aren't separated by spaces. Where they are, a piece doesn't reach across a space by default, nor from one script
#   to another or from letters to digits.
# - It writes a space as ▁ (U+2581) and makes it part of the piece, so that the pieces joined are the text.
# - It may **normalise** the text first: write variants of a character as the plain one. Its rule is close to
#   Unicode's NFKC: `ﬁ`, two letters in one character, a ligature, becomes `fi`, and the full-width `Ａ` becomes `A`.
#   It also turns newlines into spaces.
# - It puts a space in front of the text, the **dummy prefix**, so that the first word is a word like the others.
# - Rare characters need not be in the vocabulary. **Coverage** is the fraction of the training text that the known
#   characters must make up. The others become the unknown token or, with **byte fallback**, their bytes.
#
# Llama 1 and 2 and the first Mistral use its BPE; T5, ALBERT and XLNet use its Unigram; GPT-2, GPT-4 and Llama 3
# don't use it at all. What you have built is Unigram; its BPE is notebook 02's idea on characters, and we don't build
# it again.
#
# ### Your turn: Spaces become visible
#
# `unigram.1` · *warm-up* · 10 minutes
#
# Do what the library does to white space by default. Drop it at both
# ends, turn each run of it into one space, put a space in front of the first word, and write each space as ▁. A text
# without words stays empty. Example: `normalise("  a fox\n ran ")` is `"▁a▁fox▁ran"`.


# %% tags=["nbval-check-output"]
def normalise(text: str) -> str: ...


check("unigram.1", normalise)

# %% [markdown]
# The library reads a text line by line. Of its many settings the next cell fixes three: one thread, no messages, and
# no error if the text has use for fewer pieces than you ask for.


# %% tags=["nbval-check-output"]
def train_sentencepiece(text, vocab_size, **settings):
    file = io.BytesIO()
    settings = {"num_threads": 1, "minloglevel": 2, "hard_vocab_limit": False} | settings
    lines = (line for line in text.split("\n") if line.strip())
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=file, vocab_size=vocab_size, **settings
    )
    return sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())


default = train_sentencepiece(book, 400, model_type="unigram")
print(default.encode("The fox ran.", out_type=str))

# %% [markdown]
# ## Break it: what comes back?

# %%
predict("unigram.b", ...)

# %% [markdown]
# The probe is a line of Python and, on an indented second line, a ligature, a full-width letter and the Chinese
# character for fox. Each row changes one more setting. Spaces are shown as ␣. Compare the second column with the probe,
# character by character.

# %% tags=["nbval-check-output", "answers-prediction"]
print(repr(default.decode(default.encode("the  fox"))), "is what comes back of the fox with two spaces")
probe, lossless, rows = "if x:\n    ﬁＡ狐", {}, []
for setting, value in (
    ("by default", None),
    ("byte_fallback", True),
    ("normalization_rule_name", "identity"),
    ("remove_extra_whitespaces", False),
    ("add_dummy_prefix", False),
):
    lossless |= {} if value is None else {setting: value}
    processor = train_sentencepiece(book, 600, **lossless)
    back = processor.decode(processor.encode(probe))
    first = processor.encode("fox fox", out_type=str)
    name = setting if value is None else f"+ {setting}={value}"
    rows.append([name, repr(back).replace(" ", "␣"), "yes" if back == probe else "no", " ".join(first)])
pictures.table(rows, ["setting", "what comes back", "equal?", "fox fox"])

# %% [markdown]
# <details><summary>Answer</summary>
#
# A text with one space there. By default SentencePiece collapses runs of spaces, and the newline has become a space
# too.
# </details>
#
# Read the rows from the top. By default the indentation, the newline, the ligature (now two letters), the full-width
# letter and the fox are gone; ⁇ is how the unknown token is written. For translating news that was fine; for code it
# isn't. Byte fallback saves the fox. Without normalisation the letters and the newline stay, but the indentation
# shrinks to one space. The fourth row gives everything back. The last one does, too, at a price that the last column
# shows: without the dummy prefix, the same word is segmented differently at the beginning of a text.
#
# Does every text come back now? One character can't. Which?

# %% tags=["nbval-check-output", "answers-prediction"]
for text in ("a\tb", "🦊", "a_b", "a▁b"):
    back = processor.decode(processor.encode(text))
    print(f"{text!r} comes back as {back!r}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# ▁ itself. It stands for a space, so it comes back as one. No setting above changes that, and hardly any text has it.
# </details>
#
# Coverage is the setting that a short probe doesn't show. It drops the rarest characters of the training text. The
# middle row is the library's default.

# %%
rows = []
for coverage in (1.0, 0.9995, 0.98):
    processor = train_sentencepiece(book, 400, character_coverage=coverage)
    ids = processor.encode(book)
    lost = sorted(set(book) - set(processor.decode(ids)) - {"\n"})
    rows.append([coverage, ids.count(processor.unk_id()), "".join(lost) or "none"])
pictures.table(rows, ["coverage", "unknown tokens in the training text", "characters lost"], digits=4)

# %% [markdown]
# ## The same segmentation as the library
#
# Training differs in details. The library, for one, takes a little off each expected count, so that rare pieces vanish
# faster, and its pieces aren't quite those that ours would find. But take over a trained Unigram model, its pieces, its
# scores, its settings, and our code must segment every text as the library does.

# %% tags=["nbval-check-output"]
generator = random.Random(3)
alphabet = [*"abe th.,▁\t\n ", "ﬁ", "é", "狐", "שלום", "👩‍👩‍👧", "  ", " the fox"]
texts = ["".join(generator.choices(alphabet, k=generator.randint(0, 40))) for _ in range(2000)]
texts += [*book[:50_000].split("\n"), "a" * 100_000]
for settings in ({}, {"byte_fallback": True}, lossless):
    processor = train_sentencepiece(book, 600, **settings)
    same = UnigramTokenizer.from_sentencepiece(processor)
    assert all(same.encode(text) == processor.encode(text) for text in texts)
    print(f"all ids equal with {len(settings)} settings changed")

# %% [markdown]
# Even the text of 100,000 letters is equal, and that took care. The library adds up scores in 32-bit numbers, and
# starts it again from 0 when it falls very low, so two segmentations that are almost equally good are decided by
# rounding. Our tokenizer, when it has taken over a model, rounds in the same places.
#
# ## A tokenizer in use, opened
#
# Mistral 7B came out in 2023 with a SentencePiece model of 32,000 BPE pieces. If its file is on this machine, we can
# read it.

# %%
try:
    path = encodings.sentencepiece_model("mistral-7b-v1")
    mistral = sentencepiece.SentencePieceProcessor(model_file=str(path))
except downloads.DownloadError:
    mistral = None
    print("The model of Mistral 7B is not here; python -m gptlab fetch gets it. Everything else goes on.")
if mistral is not None:
    print(f"{mistral.get_piece_size():,} pieces; ids 0 to 2: {mistral.id_to_piece([0, 1, 2])}")
    print("3 to 258 are bytes:", mistral.id_to_piece([3, 4, 13]), "…", mistral.id_to_piece(258))
    merges = [261, 262, 263, 264]
    print("then merges:", mistral.id_to_piece(merges), "with scores", mistral.get_score(merges))
    print("longest:", max(filter(str.isalpha, mistral.id_to_piece(list(range(32_000)))), key=len))
    print(mistral.encode("Ada has 1234 hens.\n    狐", out_type=str))

# %% [markdown]
# Where the file is there, read it like this. First three special tokens: unknown, the beginning of a text, its end.
# The scores of a BPE model aren't log-probabilities. They count the merges, so a score is the rank of notebook 02
# with a minus. Every digit is a token of its own, runs of spaces are pieces, and a newline is a byte, `<0x0A>`.
#
# ### Your turn: Byte fallback
#
# `unigram.7` · *warm-up* · 10 minutes
#
# Byte fallback by hand: write a character that isn't in the
# vocabulary as its UTF-8 bytes, each a piece of its own, in upper-case hexadecimal. Example:
# `with_byte_fallback("a\n", {"a"})` is `["a", "<0x0A>"]`.


# %% tags=["nbval-check-output"]
def with_byte_fallback(text: str, vocabulary: set[str]) -> list[str]: ...


check("unigram.7", with_byte_fallback)

# %% [markdown]
# ## At size: four tokenizers on one corpus
#
# Now the comparison that these two notebooks were made for. The corpus is Python's manual, of the Python that runs
# this: prose, tables and code. Each tokenizer is trained on the first nine tenths and measured on the rest, which is
# **held out**: no training has seen it. (One exception: the characters are listed from the whole text, since an unknown
# one would be an error.) SentencePiece gets the settings of the fourth row above, which give every text back (▁ apart),
# and two more: a higher coverage, and one by which a run of spaces can be a piece, as it can in BPE.

# %%
corpus = "pydocs" if "pydocs" in corpora.available() else "fables"
learn, held = corpora.load(corpus).split(0.9)
keep_all = lossless | {"add_dummy_prefix": True, "character_coverage": 0.9999, "allow_whitespace_only_pieces": True}
makers = {
    "characters": lambda: tokens.CharTokenizer.from_text(learn + held),  # an unknown one would be an error
    "byte-level BPE": lambda: bpe.BPETokenizer.train(learn, 1024),
    "SentencePiece BPE": lambda: train_sentencepiece(learn, 1024, model_type="bpe", **keep_all),
    "SentencePiece Unigram": lambda: train_sentencepiece(learn, 1024, model_type="unigram", **keep_all),
}
contestants, seconds = {}, {}
for name, make in makers.items():
    start = time.perf_counter()
    contestants[name] = make()
    seconds[name] = time.perf_counter() - start

# %%
def tokens_each(tokenizer, text):
    try:
        return f"{len(tokenizer.encode(text)) / len(text):.2f}"
    except ValueError:
        return "error"


def vocab_size(tokenizer):  # a number in our package, a method in SentencePiece
    return tokenizer.vocab_size if isinstance(tokenizer.vocab_size, int) else tokenizer.vocab_size()


rows = []
for name, tokenizer in contestants.items():
    start = time.perf_counter()
    ids = tokenizer.encode(held)
    speed = len(held.encode()) / 1e6 / (time.perf_counter() - start)
    back = "yes" if tokenizer.decode(ids) == held else "no"
    odd = [tokens_each(tokenizer, text) for text in ("狐と鶏が森に住む", " " * 16)]
    per_byte = f"{len(ids) / len(held.encode()):.3f}"
    rows.append([name, vocab_size(tokenizer), per_byte, back, *odd, f"{seconds[name]:.1f}", f"{speed:.1f}"])
header = ["tokenizer", "V", "tokens per byte", "back", "script", "spaces", "train (s)", "MB per second"]
pictures.table(rows, header, caption="script, spaces: tokens per character of 狐と…, of 16 spaces")

# %% [markdown]
# How to read it:
#
# - **tokens per byte**: fewer means a shorter sequence for the model. SentencePiece reads line by line, so a newline
#   is always a byte, a token by itself; in byte-level BPE it can be part of a token.
# - **back**: whether decoding gives the text.
# - **script**: a tokenizer of characters can't write what it hasn't seen. Bytes can, at three tokens per character
#   here. Where the number is a little above three, the dummy prefix has become a token of its own.
# - **spaces**: low where a run of spaces is one token. Remove `allow_whitespace_only_pieces` and see what happens.
# - **MB per second**: SentencePiece is C++, ours is Python with a memory for words.
#
# Fewer tokens aren't a merit in themselves. A vocabulary of whole sentences would need very few, and no model could
# learn it.
#
# ## The fair measure
#
# A language model gives each next token a probability $p$. Its **loss** on that token is $-\ln p$ nats, and the mean
# over a text is the loss of the model. (It is not to be confused with the loss of removing a piece, above.) A loss in
# nats *per token* says nothing across tokenizers, because their tokens differ in length. Divide instead by something
# that is the same for all, the bytes of the text:
#
# $$\text{bits per byte} = \frac{\text{nats per token} \times \text{tokens}}{\ln 2 \times \text{bytes}}$$
#
# Strictly, this charges the model for one segmentation only, the one that its tokenizer chooses. The text could come
# about in other ways, too, and summing over all of them could only raise its probability. But a GPT's probabilities
# depend on the segmentation so far, so for a GPT there is no forward sum. Bits per byte, measured in this way, is
# therefore an upper bound on what the text costs the model.
#
# What else has to be equal? Not the seconds: a busy machine would decide. We train the same tiny GPT on each, for the
# same number of **steps**, so with the same number of tokens, from three seeds. (A larger vocabulary also has a larger
# output layer: here it means roughly 1.7 times as many parameters, and nearly as much more computation, so this isn't
# perfectly fair.) And because longer tokens mean more text per step, we also look at the same runs by the amount of
# text read. You don't have to read the next two cells yet: the GPT and its training are boxes that you'll open in
# notebooks 08 and 10.

# %%
import torch

from gptlab.batches import Batches
from gptlab.evaluation import mean_loss
from gptlab.model import GPT, GPTConfig
from gptlab.training import TrainConfig, run

torch.set_num_threads(1)
STEPS, LOOK = 60, (15, 30, 60)


# %%
def bits_per_byte(tokenizer, seed):
    """Train a tiny GPT; for each step in LOOK the text read so far (kB) and the bits per byte of held-out text."""
    text = held[:10_000]
    ids, held_ids = tokenizer.encode(learn), tokenizer.encode(text)
    torch.manual_seed(seed)
    model = GPT(GPTConfig.modern(vocab_size(tokenizer), context=64, n_layer=2, n_head=4, n_embd=48))
    batches, ordered = Batches(ids, B=16, T=64, seed=seed), Batches(held_ids, B=16, T=64, order="ordered")
    to_bits = (len(held_ids) - 1) / len(text.encode()) / math.log(2)
    kilobytes = 16 * 64 * len(learn.encode()) / len(ids) / 1000  # of text, per step
    config = TrainConfig(STEPS, optimizer="muon", learning_rate=5e-3, warmup=20, decay_fraction=0.0, evaluate_every=0)
    looks = []
    for step, _ in enumerate(run(model, batches, config), start=1):
        if step in LOOK:
            looks.append((step * kilobytes, mean_loss(model, ordered) * to_bits))
    return looks


# %% [markdown]
# Which of the four will need the most bits per byte after these steps? Decide, then run; it takes a while and prints
# a line per tokenizer.
#
# <details><summary>Answer</summary>
#
# Characters, as a rule. The model sees 64 tokens at once. 64 characters are a dozen words; 64 tokens of a larger
# vocabulary are nearly three times as much text, in every step. Whether the other three can be told apart is for the
# spread over the seeds to say.
# </details>

# %% tags=["answers-prediction"]
runs = {}
for name, tokenizer in contestants.items():
    runs[name] = [bits_per_byte(tokenizer, seed) for seed in range(3)]
    final = sorted(looks[-1][1] for looks in runs[name])
    spread = f"three seeds: {final[0]:.2f} to {final[-1]:.2f}"
    print(f"{name:22} {sum(final) / 3:.2f} bits per byte after {STEPS} steps ({spread})")
spans = {name: [f([looks[-1][1] for looks in runs[name]]) for f in (min, max)] for name in runs}
low, high = spans.pop("characters")
print("expected: the fewest bits that any seed needs on characters are more than the most on any other tokenizer")
print("found:   ", "yes" if low > max(most for _, most in spans.values()) else "no; other settings, or a short run?")
order = sorted(spans, key=lambda name: spans[name])  # by the fewest bits
touching = [f"{a} and {b}" for a, b in itertools.combinations(order, 2) if spans[b][0] <= spans[a][1]]
print("the other three, fewest bits first:", ", ".join(order))
print("ranges that touch, so that the order of the two means nothing:", "; ".join(touching) or "none")

# %% [markdown]
# That was at equal steps. Is it only because the others read more text? Here are the means of the three seeds, by the
# amount of text; two short strokes at each mark are the lowest and the highest of the three. Look at the vertical
# distance between the curves where they share an x.

# %%
curves = {
    name: [tuple(sum(values) / 3 for values in zip(*looks)) for looks in zip(*three)] for name, three in runs.items()
}
ranges = {name: [(min(at)[1], max(at)[1]) for at in zip(*three)] for name, three in runs.items()}
pictures.lines(curves, "text read (kB)", "bits per byte of held-out text", ranges=ranges)

# %% [markdown]
# In our run the curve of characters lies above the others wherever they share an x, so the larger vocabularies win even
# at equal text, although the model on characters has then taken more steps. The other three are close together. After
# sixty steps Unigram needs the fewest bits and SentencePiece's BPE the most, but the difference is less than a tenth of
# the distance to the characters, and the curves of the two BPEs run into each other: byte-level BPE has read
# more text in its steps. Where the ranges of two tokenizers touch, this experiment doesn't rank them. (In our run no
# two ranges touch.) Where they don't, the order holds for sixty steps on one corpus, and the next corpus may turn it
# around. So cutting a text into sub-words at all is worth a lot here, and by which method is worth little. What decides
# between them in practice is the rest of the table. Does every text come back, what do spaces cost, and are the
# languages covered that you need?
#
# ## Exercises
#
# Three more, all *stretch*. Each fills in something that the notebook only showed.
#
# ### Your turn: All segmentations together
#
# `unigram.4` · *stretch* · 20 minutes
#
# The forward sum in logarithms. Every single character is in `logp` again. One of
# the texts is so long that its probability is 0 in floating point, so use
# $\ln(e^a + e^b) = m + \ln(e^{a-m} + e^{b-m})$, where $m$ is the larger of the two. The result is a float, in nats.
# Example: `log_total("then", logp)` is the logarithm of the sum that `total` gave above.


# %% tags=["nbval-check-output"]
def log_total(text: str, logp: dict[str, float]) -> float: ...


check("unigram.4", log_total)

# %% [markdown]
# ### Your turn: Expected counts
#
# `unigram.5` · *stretch* · 30 minutes
#
# Expected counts without a list, by the formula with before and after. Plain
# probabilities will do. The result is a dict with exactly the pieces that occur in the text, and one of the texts has
# 60 characters. Example: with `logp = {"a": ln 0.5, "aa": ln 0.25}`, the text `aa` can be cut as a | a or as aa, both
# with 0.25. So the counts are 1.0 for `a` and 0.5 for `aa`.


# %% tags=["nbval-check-output"]
def expected_counts(text: str, logp: dict[str, float]) -> dict[str, float]: ...


check("unigram.5", expected_counts)

# %% [markdown]
# ### Your turn: What a piece is worth
#
# `unigram.6` · *stretch* · 15 minutes
#
# What a piece is worth, without the shortcut of our table: for each word, the best
# score with all pieces minus the best score without this one, times the count of the word, summed up. The other scores
# stay as they are, and so does the dict that you were given. Every single character is in `logp`, and `piece` is a
# longer one, so a word can always be written without it. Example: where no best segmentation uses the piece, the result
# is 0.0.


# %% tags=["nbval-check-output"]
def pruning_loss(words: dict[str, int], logp: dict[str, float], piece: str) -> float: ...


check("unigram.6", pruning_loss)

# %% [markdown]
# An open one, without a check: train a tokenizer like `documented` on `learn`, then the tiny GPT above on a
# segmentation sampled with `documented.sample(learn, alpha=0.2)`, and compare its bits per byte on text with misspelled
# words.

# %%
progress("unigram")

# %%
recap("unigram")

# %% [markdown]
# ## What to remember
#
# 1. Unigram gives each piece a probability; the score of a segmentation is the sum of its pieces' ln p.
# 2. Viterbi finds the best segmentation from left to right, with one number per position. With a sum in place of the
#    maximum you get the probability of all segmentations together.
# 3. Training begins with too many pieces: expected counts, then drop those of the smallest loss, and again.
# 4. SentencePiece is a library with two subword algorithms, BPE and Unigram. By default it doesn't give every text
#    back.
# 5. Compare models across tokenizers in bits per byte, never in nats per token.
#
# **New terms**
#
# | here | meaning | elsewhere this is called |
# |---|---|---|
# | segmentation | one way to cut a text into pieces | tokenization, path |
# | score | ln p of a piece, in nats | log-probability, `get_score` |
# | nat | the unit of the natural logarithm | nats; a bit is 0.69 nats |
# | lattice | all pieces above the characters that they cover | trellis, word graph |
# | Viterbi algorithm | the best path, one number per position | max-product, shortest path |
# | forward sum | the probability of all paths together | forward algorithm, marginal likelihood |
# | EM, expected counts | weigh, count, divide, repeat | expectation–maximisation, E step and M step |
# | Unigram | a tokenizer that weighs segmentations | unigram language model, ULM |
# | subword regularization | training on sampled segmentations | `enable_sampling`, `nbest_size`, `alpha` |
# | dummy prefix | the space in front of a text | `add_dummy_prefix`, `add_prefix_space` |
# | coverage | the fraction of the text that known characters make up | `character_coverage` |
# | byte fallback | unknown characters as bytes | `byte_fallback` |
# | bits per byte | loss that can be compared across tokenizers | bpb |
#
# **Three questions**
#
# 1. A piece is used often, but its characters cost almost the same without it. Does it stay in the vocabulary?
#
# <details><summary>Answer</summary>
# Probably not: the loss is the number of uses times the difference, and the difference is small.
# </details>
#
# 2. Model A has 1.1 nats per token, model B has 3.0, and they have different tokenizers. Which is better?
#
# <details><summary>Answer</summary>
# You can't tell. If a token of B is four times as long as one of A, B is better. Convert to bits per byte.
# </details>
#
# 3. A tokenizer is called "SentencePiece". Which two things do you still have to ask?
#
# <details><summary>Answer</summary>
# Which algorithm, BPE or Unigram; and which settings: normalisation, white space, byte fallback, dummy prefix.
# </details>
#
# **To go deeper:** Kudo, [Subword Regularization](https://arxiv.org/abs/1804.10959) (2018), section 3; Kudo and
# Richardson,
# [SentencePiece](https://arxiv.org/abs/1808.06226) (2018), section 3; Bostrom and Durrett,
# [Byte Pair Encoding is Suboptimal for Language Model Pretraining](https://arxiv.org/abs/2004.03720) (2020). In the
# package, `gptlab/unigram.py` and `gptlab/segmentation.py` from top to bottom.
#
# ## Next
#
# You can turn any text into a sequence of ids. A model can't read a sequence of a million ids at once, and it doesn't
# read one text at a time. [Notebook 04](04_tensors_and_batches.ipynb) cuts the sequence into batches.
