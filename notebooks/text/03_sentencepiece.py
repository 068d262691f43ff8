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
# # 03 SentencePiece
#
# *Give every piece of text a probability, and cut a text where the probabilities say. Then open the library that does
# this, and see what each of its switches loses.*
#
# Byte-pair encoding cuts a word in one way and never looks back. Here you build the other well-known tokenizer, which
# weighs all ways against each other. You do it with a handful of words first. At the end the same few steps, in the
# package, cut two thousand texts exactly as the library SentencePiece does.
#
# **After this notebook you can**
#
# - find the best of a million segmentations in a few hundred steps (Viterbi), and sum over all of them (forward),
# - train a Unigram tokenizer: expected counts, pruning, and why the order is from many pieces to few,
# - say what SentencePiece is, and which of its settings give a text back and which do not,
# - compare tokenizers fairly: by bits for each byte of text.
#
# **It builds on** notebooks 01 and 02: bytes, bits, vocabulary, merges. **To run it** takes about 40 seconds on two CPU
# cores and 500 MB of memory.

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
from gptlab.exercises import check, compare, find, hint, predict, progress, quiz, recap, solution  # noqa: F401
from gptlab.unigram import UnigramTokenizer

# %% tags=["nbval-check-output"]
pictures.pipeline("unigram")

# %% [markdown]
# Three questions about the notebooks before. Put letters in place of the dots, such as `quiz("unigram", ["a", "b", "c"])`; or go
# on, nothing depends on it.

# %% tags=["nbval-check-output"]
quiz("unigram", [..., ..., ...])

# %% [markdown]
# ## The question: a merge is never regretted
#
# Train BPE on a few lines in which `he` is frequent, `th` less so, and `en` still less. All three become tokens. Now
# encode `then`.

# %% tags=["nbval-check-output"]
merged = bpe.BPETokenizer.train("he\n" * 4 + "th\n" * 3 + "en\n" * 2, vocab_size=259)
print("learned:", [token.decode() for token in merged.ranks if len(token) > 1])
print("then:   ", [merged.token_bytes(id).decode() for id in merged.encode("then")])

# %% [markdown]
# Three tokens, and two would have done: `th` and `en` are both in the vocabulary. BPE merged `he` first, because that is
# its rank, and after that `th` was no longer possible. It has no number that says how good a cut is, so it cannot compare
# two of them. You need such a number.
#
# ## By hand: a price for each piece
#
# Give each piece a probability. The pieces here are made up, and so are their numbers, which sum to 1.

# %% tags=["nbval-check-output"]
p = {"t": 0.10, "h": 0.15, "e": 0.20, "n": 0.10, "he": 0.25, "th": 0.05, "en": 0.05, "hen": 0.10}
logp = {piece: math.log(probability) for piece, probability in p.items()}
print("sum:", round(sum(p.values()), 6))
for pieces in (["t", "he", "n"], ["th", "en"], ["t", "hen"]):
    product = math.prod(p[piece] for piece in pieces)
    print(f"{' '.join(pieces):8}  p = {product:.4f}   ln p = {sum(logp[piece] for piece in pieces):6.2f}")

# %% [markdown]
# Pretend that a text is made by drawing pieces one after the other, each without regard to the others. Then the
# probability of a cut is the product of its pieces', and its logarithm is a sum:
#
# $$\ln p(x_1 \ldots x_m) = \sum_{i=1}^{m} \ln p(x_i)$$
#
# In code that is `sum(logp[piece] for piece in pieces)`. You work with logarithms because a product of thousands of small
# numbers would be 0 on a computer. A piece's $\ln p$ is its **score**; 0 would be certain, and more negative is less
# likely. The unit of such a natural logarithm is the **nat**, as the bit is that of $\log_2$ in notebook 01: a bit is
# $\ln 2$ nats.
#
# A way to cut a text into pieces is a **segmentation**. How many are there?

# %%
predict("unigram.a", ...)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Sixteen. Between two neighbours you cut or you do not, and there are four such places. If some substrings are no pieces,
# there are fewer.
# </details>
#
# Write all of them down, with a function that calls itself: take each piece that the text can begin with, and every way
# to cut the rest. When nothing is left there is one way to cut it: no pieces.

# %% tags=["nbval-check-output"]
def segmentations(text, logp):
    if not text:
        return [[]]
    beginnings = [text[:end] for end in range(1, len(text) + 1) if text[:end] in logp]
    return [[piece, *rest] for piece in beginnings for rest in segmentations(text[len(piece) :], logp)]


def score(pieces, logp):
    return sum(logp[piece] for piece in pieces)


for pieces in sorted(segmentations("then", logp), key=lambda pieces: score(pieces, logp), reverse=True):
    print(f"{score(pieces, logp):6.2f}  {' | '.join(pieces)}")

# %% [markdown]
# The best cut is on top. For four letters that is all. A sentence of a hundred letters can have more segmentations than
# there are atoms in you, so there must be another way.
#
# ## The lattice
#
# Draw every piece once, over the letters that it covers. A segmentation is a walk from the left edge to the right one.

# %% tags=["nbval-check-output"]
pictures.lattice("then", logp, best_path=["t", "hen"])

# %% [markdown]
# All ways share their parts. The best way to the end of `the` is needed by every way that goes on with `n`, and has to be
# found only once. So go from left to right, and for each place keep one number: the best score of any way to get there.
# Each piece that ends there offers a way:
#
# $$\text{best}(j) = \max_{i < j} \; \big(\text{best}(i) + \ln p(x_{i:j})\big)$$
#
# Here $x_{i:j}$ is `text[i:j]`, and only those count that are pieces.
#
# **Before you run the next cell:** which entry of `best` belongs to `th`, and how many pieces compete for it?
#
# <details><summary>Answer</summary>
#
# The one at place 2. Two pieces end there: <code>th</code>, from place 0, and <code>h</code>, from place 1.
# </details>

# %% tags=["nbval-check-output"]
def viterbi(text, logp):
    best, start_of = [0.0], [0]  # for each place: the best score, and where its last piece begins
    for end in range(1, len(text) + 1):
        starts = [start for start in range(end) if text[start:end] in logp]
        start = max(starts, key=lambda start: best[start] + logp[text[start:end]])
        best.append(best[start] + logp[text[start:end]])
        start_of.append(start)
    pieces, end = [], len(text)
    while end > 0:
        pieces.insert(0, text[start_of[end] : end])
        end = start_of[end]
    return pieces, best


pieces, best = viterbi("then", logp)
print(pieces, "best to each place:", [round(number, 2) for number in best])

# %% [markdown]
# For each place you remember where the winning piece began, and at the end you walk back. Your code tries every start
# before each end. Starts that lie further back than the longest piece can be left out, and then the work is the length
# of the text times the length of the longest piece. Andrew Viterbi found this in 1967, for radio signals
# ([paper](https://ieeexplore.ieee.org/document/1054010)); it is the **Viterbi algorithm**.
#
# Now put a sum where the maximum was. To add up ways you need the probabilities themselves, and along a way they are
# multiplied.

# %%
predict("unigram.c", ...)

# %% tags=["nbval-check-output"]
def total(text, p):
    ways = [1.0] + [0.0] * len(text)  # for each place: the probability of all ways to get there
    for end in range(1, len(text) + 1):
        for start in range(end):
            ways[end] += ways[start] * p.get(text[start:end], 0.0)
    return ways[-1]


listed = sum(math.exp(score(pieces, logp)) for pieces in segmentations("then", logp))
print(f"best: {math.exp(best[-1]):.5f}   all together: {total('then', p):.5f}   listed and added: {listed:.5f}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# All together is larger. The best is one part of the sum, and each other way adds something.
# </details>
#
# This is the **forward sum**. It says how likely the text is, whichever way it is cut. (In a long text the numbers
# become too small for a computer, so the package keeps their logarithms.)
#
# Put 1 in place of each probability, and the same loop counts the ways. *Before you run it:* in how many ways can
# `then`, written ten times without a blank, be cut? No piece reaches from one `then` into the next.

# %% tags=["nbval-check-output"]
ones = dict.fromkeys(p, 1)
for times in (1, 2, 10):
    print(f"{times:2} × then: {total('then' * times, ones):10,.0f} ways")
print("the best of them:", " ".join(viterbi("then" * 10, logp)[0]))

# %% [markdown]
# <details><summary>Answer</summary>
#
# Each <code>then</code> is cut by itself, so the numbers of ways are multiplied: ten times the same factor.
# </details>
#
# Forty places were enough to find the best of them all. You need the forward sum to learn the probabilities, which so
# far were made up.
#
# ## Where the probabilities come from
#
# Here is a corpus of eight words with their counts. A blank is written ▁, at the front of the word that follows it.

# %% tags=["nbval-check-output"]
words = {"▁fox": 9, "▁foxes": 4, "▁hen": 8, "▁hens": 5, "▁then": 6, "▁the": 12, "▁ox": 4, "▁oxen": 3}
model = unigram.seed_pieces(words, size=60)
print(len(model), "pieces to begin with:", " ".join(sorted(model)))

# %% [markdown]
# These are all characters, ▁ among them, and all substrings that occur more than once and are not always inside the
# same longer one. (`size` says how many there may be at most.) Too many, and that is the plan: begin with too many, and
# let most of them go. Each has a first rough probability, in proportion to how often it occurs times how long it is.
#
# If you knew how each word is cut, you would count the pieces. If you knew the probabilities, you would know how each word
# is cut. You know neither. So begin with the rough ones and take turns:
#
# 1. with the probabilities that you have, count each piece in **every** segmentation, weighted by how likely that
#    segmentation is: the **expected counts**;
# 2. let the new probabilities be these counts, divided by their sum.
#
# In small, for one word:

# %% tags=["nbval-check-output"]
ways = segmentations("▁ox", model)
weights = [math.exp(score(way, model)) for way in ways]
counts = Counter()
for way, weight in zip(ways, weights, strict=True):
    print(f"{weight / sum(weights):6.3f}  {' | '.join(way)}")
    for piece in way:
        counts[piece] += weight / sum(weights)
print({piece: round(count, 3) for piece, count in counts.items()})

# %% [markdown]
# The first column sums to 1. A piece's expected count adds up the lines in which it stands: ▁ stands in two of them.
#
# Listing all ways works for short words only. No list is needed if you have two forward sums for each place: one from
# the left, over all ways to get there, and the same from the right, over all ways to go on to the end. The part of the
# ways that use the piece from $i$ to $j$ is
#
# $$\frac{\text{before}(i) \; p(x_{i:j}) \; \text{after}(j)}{\text{before}(n)}$$
#
# where $n$ is the end of the text. The module does that, and gives the same.

# %% tags=["nbval-check-output"]
fast = unigram.expected_counts("▁ox", model)
assert fast.keys() == counts.keys()
assert all(math.isclose(fast[piece], counts[piece]) for piece in counts)
print("equal for", len(fast), "pieces")

# %% [markdown]
# Now for all words, five rounds. **Before you run the next cell:** each round makes the words at least as likely as
# before. In which round do they gain most?
#
# <details><summary>Answer</summary>
#
# In the first. The beginning was a rough guess (frequency times length), and the first round already knows how the pieces
# compete with each other. Later rounds only polish.
# </details>

# %% tags=["nbval-check-output"]
before = -math.inf
for round_number in range(5):
    nats = sum(n * unigram.log_total(word, model) for word, n in words.items())
    print(f"round {round_number}: {len(model)} pieces, ln p of all words = {nats:8.2f}")
    assert nats >= before
    before, model = nats, unigram.em_step(words, model)
print({piece: round(math.exp(value), 3) for piece, value in model.items() if value > -5})  # the likeliest

# %% [markdown]
# Taking turns like this is called **EM**, expectation and maximisation
# ([Dempster, Laird and Rubin 1977](https://www.jstor.org/stable/2984875)). Taking turns alone can never make the words
# less likely. Pieces that are expected less than half a time in the whole corpus are dropped on the way; that may cost a
# little. Single characters are never dropped.
#
# With so many pieces, every word has become a piece of its own, and its probability is its share of the corpus. A small
# vocabulary cannot afford that.
#
# ## Letting go
#
# Which pieces are worth their place? For each ask: how often do the best cuts use it, and how many nats more would its
# letters cost without it? The product is the **loss** of taking it away.

# %% tags=["nbval-check-output"]
used, rows = Counter(), []
for word, n in words.items():
    for piece in viterbi(word, model)[0]:
        used[piece] += n
for piece in (piece for piece in model if len(piece) > 1):
    others = {other: value for other, value in model.items() if other != piece}
    instead = viterbi(piece, others)[0]
    more = model[piece] - score(instead, others)
    rows.append((used[piece] * more, piece, used[piece], " | ".join(instead), f"{more:.1f}"))
rows = [(*row, f"{loss:.1f}") for loss, *row in sorted(rows)]  # the smallest loss first
pictures.table(rows, ["piece", "used", "without it", "costs more (nats)", "loss (nats)"], align="lrlrr")

# %% [markdown]
# `▁hens` and `▁then` have a cheap way out: another piece and one letter. `▁oxen` is rare. `▁the` occurs often, and
# without it you would pay letter by letter, which is dear: a letter that no word needs is left with a tiny probability.
# (The loss is an estimate. It leaves the rest of each word cut as it was; exercise unigram.6 does not.)
#
# `prune` keeps the pieces of the largest loss, and all letters, so that every word can still be written. Take three
# pieces away, and do one more round of EM that drops nothing (`rarest=0.0`):

# %% tags=["nbval-check-output"]
small = unigram.prune(words, model, size=len(model) - 3)
small = unigram.em_step(words, small, rarest=0.0)
for word in words:
    print(f"{word:7} {' | '.join(viterbi(word, small)[0])}")

# %% [markdown]
# That is the whole training: many pieces, two rounds of EM, drop a quarter, again, until few enough are left. Taku Kudo
# published it in 2018 ([Subword Regularization](https://arxiv.org/abs/1804.10959)). A language model that draws each
# piece without looking at the others is a **Unigram** model, and so the tokenizer is called Unigram too. BPE goes from few
# tokens to many, Unigram from many to few.
#
# ## The tested block
#
# `gptlab.unigram` has the same steps. Its Viterbi is short enough to read. It takes a lattice as a list: `arcs[end]`
# holds (start, score) for each piece that ends there. `_walk_back` is the last loop of yours.

# %%
gptlab.show(unigram.best_path)

# %% [markdown]
# It has to give what you built by hand, and what listing all ways gives. Random models and random texts:

# %% tags=["nbval-check-output"]
generator = random.Random(0)
for _ in range(300):
    longer = ["".join(generator.choices("then", k=generator.randint(2, 4))) for _ in range(9)]
    trial = {piece: generator.uniform(-6, -1) for piece in [*"then", *longer]}
    text = "".join(generator.choices("then", k=generator.randint(1, 9)))
    listed = [score(way, trial) for way in segmentations(text, trial)]
    assert math.isclose(score(viterbi(text, trial)[0], trial), max(listed))
    assert math.isclose(unigram.score(unigram.viterbi(text, trial), trial), max(listed))
    together = sum(math.exp(value) for value in listed)
    assert math.isclose(total(text, {piece: math.exp(value) for piece, value in trial.items()}), together)
    assert math.isclose(math.exp(unigram.log_total(text, trial)), together)
print("Viterbi and the forward sum agree with the list, 300 times")

# %% [markdown]
# Now train it on fables, and let it cut the sentence that travels through the course. Under it, BPE with as many tokens.

# %%
book = corpora.load("fables", quiet=True).text[:200_000]
ours = UnigramTokenizer.train(book, vocab_size=460)
rival = bpe.BPETokenizer.train(book, vocab_size=460)
pictures.tokens(fables.TRAVELLER, ours, rival, ids=False)

# %% [markdown]
# Both spend 256 of their tokens on single bytes, so that no text is unknown. Our Unigram cuts at blanks and newlines, and
# BPE's pattern also before punctuation: that is why a comma may stick to a word in one of the rows. The first ␣ of the
# upper row is not in the text; the tokenizer puts it there, and you will soon see why.
#
# ## Several cuts of the same text
#
# Unigram knows the probability of every segmentation, not only of the best. So it can draw one. A model that sees the same
# word cut in different ways gets to see how it is spelled: Kudo's **subword regularization**. A segmentation comes with a
# probability proportional to $p^\alpha$, and the number $\alpha$ says how closely the draw keeps to the model. The
# tokenizer learns from a part of Python's manual: fables have so few different words that nearly all of them are single
# pieces.
#
# **Before you run the next cell:** what do you expect for α = 0, and for a large α?
#
# <details><summary>Answer</summary>
#
# With α = 0 every segmentation is equally likely, so nearly all are strange ones. With a large α the best one wins nearly
# always.
# </details>

# %%
prose = corpora.load("pydocs" if "pydocs" in corpora.available() else "fables", quiet=True).text[:60_000]
documented = UnigramTokenizer.train(prose, vocab_size=256 + len(set(prose)) + 400)  # bytes, letters, longer ones
for alpha in (0.0, 0.1, 0.3, 10.0):
    print(f"α = {alpha}")
    for seed in range(3):
        ids = documented.sample("an unknown expression", alpha, random.Random(seed))
        print("    ", " | ".join(documented.pieces[id] for id in ids))

# %% [markdown]
# Is the draw fair? For a short word you can list all ways and compare. Here $\alpha$ is 0.5. (The model is the rough one
# from the beginning of the training above, because it is in two minds about `▁oxen`.)

# %% tags=["nbval-check-output"]
rough, generator = unigram.seed_pieces(words, size=60), random.Random(1)
arcs = unigram.lattice("▁oxen", rough)
drawn = Counter(tuple(unigram.sample_path(arcs, 0.5, generator)) for _ in range(20_000))
ways = segmentations("▁oxen", rough)
weights = [math.exp(0.5 * score(way, rough)) for way in ways]
assert len(drawn) == len(ways)  # none is missing
for way, weight in sorted(zip(ways, weights, strict=True), key=lambda pair: -pair[1]):
    cuts = tuple(itertools.accumulate(map(len, way), initial=0))  # ▁ox | en is cut at 0, 3, 5
    exact, share = weight / sum(weights), drawn[cuts] / 20_000
    assert abs(share - exact) < 0.015
    print(f"{' | '.join(way):17}  exact {exact:.3f}   drawn {share:.3f}")

# %% [markdown]
# ## SentencePiece is a library
#
# The name causes confusion, so here it is in one place. **SentencePiece** is a program
# ([Kudo and Richardson 2018](https://arxiv.org/abs/1808.06226)). It contains **two** algorithms: BPE, on characters, and
# Unigram. "BPE against SentencePiece" compares an algorithm with a library. What is special to the library is what it does
# around the algorithm:
#
# - It reads **raw text**. It needs no list of words and no pattern for a language, so it works where words have no blanks
#   between them. (Where there are blanks, a piece does not reach across one, unless you allow it.)
# - It writes a blank as ▁ (U+2581) and keeps it in the piece, so that the pieces joined are the text.
# - It may **normalise** the text before. Its rule is close to Unicode's NFKC, which writes variants of a character as the
#   plain one: `ﬁ` (two letters in one sign, a ligature) as `fi`, the wide `Ａ` as `A`. It also turns newlines into blanks.
# - It puts a blank in front of the text (**dummy prefix**), so that the first word is a word like the others.
# - Rare characters need not be in the vocabulary. **Coverage** is the part of the training text that its characters must
#   make up. The others become the unknown token, or, with **byte fallback**, their bytes.
#
# Llama 1 and 2 and the first Mistral use its BPE; T5, ALBERT and XLNet use its Unigram; GPT-2, GPT-4 and Llama 3 do not
# use it at all.
#
# It reads a text line by line. Of its many settings the next cell sets three: one thread of computing, no messages, and
# no error if the text has use for fewer pieces than you ask for.


# %%
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
# Here is a line of Python, a ligature, a full-width letter and a fox in Chinese. Each row changes one setting more.
# Blanks are shown as ␣.

# %% tags=["nbval-check-output"]
probe = "if x:\n    ﬁＡ狐"
lossless = {}
rows = []
for setting, value in (
    ("as it comes", None),
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
# A text with one space there. As it comes, SentencePiece collapses runs of blanks, and the newline has become a blank too.
# </details>
#
# Read the rows from the top. As it comes, the indentation, the newline, the ligature, the full-width letter and the fox
# are gone (⁇ is how the unknown token is written): for translating news that was fine, for code it is not. Byte fallback
# saves the fox. Without normalisation the letters and the newline stay, but the indentation goes. The fourth row gives
# everything back. The last one does so too, and pays otherwise: without the dummy prefix the same word is cut differently
# at the beginning of a text, as the last column shows.
#
# Does every text come back now? *Before you run the next cell:* which one sign cannot?

# %% tags=["nbval-check-output"]
for text in ("a\tb", "🦊", "a_b", "a▁b"):
    back = processor.decode(processor.encode(text))
    print(f"{text!r} comes back as {back!r}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# ▁ itself. It stands for a blank, so it comes back as one. No setting above changes that, and hardly any text has it.
# </details>
#
# Coverage is the setting that you do not see in a short probe. It drops the rarest characters of the training text. The
# middle row is SentencePiece as it comes.

# %%
rows = []
for coverage in (1.0, 0.9995, 0.98):
    processor = train_sentencepiece(book, 400, character_coverage=coverage)
    ids = processor.encode(book)
    lost = sorted(set(book) - set(processor.decode(ids)) - {"\n"})
    rows.append([coverage, ids.count(processor.unk_id()), "".join(lost) or "none"])
pictures.table(rows, ["coverage", "unknown tokens in the training text", "characters lost"], digits=4)

# %% [markdown]
# ## The same cuts as the library
#
# Training differs in details (the library smooths its counts), so its pieces are not quite those that ours would find.
# But take over a trained model, its pieces, its scores, its settings, and our code must cut every text as the library
# does.

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
# One detail makes "every" true, even for a text of 100,000 letters: the library adds up scores in 32-bit numbers, and
# takes the sum back to 0 when it gets large. Two cuts that are almost equally good are decided by rounding there. Our
# tokenizer, when it has taken over a model, rounds in the same places.
#
# ## A tokenizer in use, opened
#
# Mistral 7B came out in 2023 with a SentencePiece model of 32,000 BPE pieces. If its file is on this machine, you can read
# in it.

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
# Where the file is there, read it like this. Three special tokens: unknown, the beginning of a text, its end. The scores
# of a BPE model are no probabilities: they count the merges, so a score is the rank of notebook 02 with a minus. Every
# digit is a token of its own, runs of blanks are pieces, and a newline is a byte, `<0x0A>`.
#
# ## At size: four tokenizers on one corpus
#
# Now the comparison that the two notebooks were made for. The corpus is Python's manual, of the Python that runs this:
# prose, tables and code. Each tokenizer is trained on the first nine tenths, and measured on the rest, which is **held
# out**. SentencePiece gets the settings that give every text back, and one more, so that a run of blanks can be a piece
# as it can in BPE.

# %%
name = "pydocs" if "pydocs" in corpora.available() else "fables"
learn, held = corpora.load(name).split(0.9)
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


rows = []
for name, tokenizer in contestants.items():
    start = time.perf_counter()
    ids = tokenizer.encode(held)
    speed = len(held.encode()) / 1e6 / (time.perf_counter() - start)
    size = tokenizer.vocab_size if isinstance(tokenizer.vocab_size, int) else tokenizer.vocab_size()
    back = "yes" if tokenizer.decode(ids) == held else "no"
    odd = [tokens_each(tokenizer, text) for text in ("狐と鶏が森に住む", "3141592653", " " * 16)]
    per_byte = f"{len(ids) / len(held.encode()):.3f}"
    rows.append([name, size, per_byte, back, *odd, f"{seconds[name]:.1f}", f"{speed:.1f}"])
header = ["tokenizer", "V", "tokens/byte", "back", "script", "digits", "blanks", "train s", "MB/s"]
lengths = {row[0]: float(row[2]) for row in rows}
pictures.table(rows, header, caption="script, digits, blanks: tokens a character of 狐と…, of 3141592653, of 16 blanks")

# %%
pictures.compare(lengths, "tokens for each byte of held-out text (less is less work)")

# %% [markdown]
# How to read it.
#
# - **tokens/byte**: less is a shorter sequence for the model. SentencePiece reads line by line, so a newline is always a
#   byte, a token by itself; in byte-level BPE it can be a part of one.
# - **back**: whether decoding gives the text.
# - **script**: characters cannot write what they have not seen; bytes can, at three tokens a character.
# - **digits**: BPE's pattern, GPT-4's, allows three digits together, if they are frequent.
# - **blanks**: as it comes, SentencePiece pays a token for each. Take `allow_whitespace_only_pieces` out and look at
#   tokens/byte again.
# - A little more than a round number is the dummy prefix: it can be a token of its own.
# - **MB/s**: the two of SentencePiece are C++, ours is Python with a memory of words.
#
# Fewer tokens are no merit in themselves. A vocabulary of whole sentences would need very few, and no model could learn it.
#
# ## The fair measure
#
# A model that reads tokens gives each next token a probability $p$. It pays $-\ln p$ nats for the token that comes, and
# the mean over a text is the **loss** of a model (another loss than that of a piece above). A loss in nats *a token* says
# nothing across tokenizers, because tokens differ in length. Divide by what is the same for all: the bytes of the text.
#
# $$\text{bits per byte} = \frac{\text{nats a token} \times \text{tokens}}{\ln 2 \times \text{bytes}}$$
#
# (This charges for the one cut that the tokenizer takes. The forward sum would add the other cuts, and be a little
# cheaper.)
#
# Now train the same tiny GPT on each, for the same number of seconds. The GPT and its training are boxes that you open in
# notebooks 08 and 10; here it is enough that they learn to say what comes next.

# %%
import torch

from gptlab.batches import Batches
from gptlab.evaluation import mean_loss
from gptlab.model import GPT, GPTConfig
from gptlab.training import TrainConfig, run

torch.set_num_threads(1)  # so that a second of computing is the same for all four


# %%
def bits_per_byte(tokenizer, seconds):
    """Train a GPT for so many seconds of computing; the bits that it needs for a byte of the text held out."""
    ids, held_ids = tokenizer.encode(learn), tokenizer.encode(held[:20_000])
    size = tokenizer.vocab_size if isinstance(tokenizer.vocab_size, int) else tokenizer.vocab_size()
    torch.manual_seed(0)
    model = GPT(GPTConfig.modern(size, context=64, n_layer=2, n_head=4, n_embd=48))
    batches, ordered = Batches(ids, B=16, T=64), Batches(held_ids, B=16, T=64, order="ordered")
    to_bits = (len(held_ids) - 1) / len(held[:20_000].encode()) / math.log(2)
    before = mean_loss(model, ordered) * to_bits
    rates = dict(learning_rate=5e-3, warmup=20, decay_fraction=0.0)
    config = TrainConfig(steps=100_000, optimizer="muon", evaluate_every=0, **rates)
    start = time.process_time()
    steps = 0
    for _ in run(model, batches, config):
        steps += 1
        if time.process_time() - start > seconds:
            break
    return before, mean_loss(model, ordered) * to_bits, steps


# %% [markdown]
# **Before you run the next cell:** which of the four will need the fewest bits after these seconds, and which the most?
#
# <details><summary>Answer</summary>
#
# Characters need the most, as a rule: the model sees 64 tokens at once. 64 characters are a dozen words; 64 tokens
# of a larger vocabulary are nearly three times as much text, in every step. Which of the other three is best depends on
# the seconds and the corpus.
# </details>

# %%
results = {}
print("6 seconds of computing each")
for name, tokenizer in contestants.items():
    before, after, steps = bits_per_byte(tokenizer, seconds=6)
    assert 0.5 < after < before, (name, before, after)
    results[name] = after
    print(f"{name:22} {before:5.2f} bits a byte untrained, {after:5.2f} after {steps} steps")
assert min(results, key=results.get) != "characters"

# %%
pictures.compare(results, "bits for each byte of text (less is better)")

# %% [markdown]
# The untrained numbers differ as well: guessing among $V$ tokens costs about $\ln V$ nats each, and longer tokens mean
# fewer guesses. After training, characters stay behind. The three vocabularies of about a thousand tokens are close to each
# other, and a few seconds on one corpus do not rank them. What decides in practice is the rest of the
# table: does every text come back, what do digits and blanks cost, and are the languages that you need covered.
#
# ## Exercises
#
# As in notebook 01: write in place of the dots, `check`, and `hint("unigram.1")` when stuck.

# %%
find("unigram.1")


# %% tags=["nbval-check-output"]
def normalise(text: str) -> str: ...


check("unigram.1", normalise)

# %%
find("unigram.2")


# %% tags=["nbval-check-output"]
def segmentation_logprob(pieces: list[str], logp: dict[str, float]) -> float: ...


check("unigram.2", segmentation_logprob)

# %%
find("unigram.3")


# %% tags=["nbval-check-output"]
def best_segmentation(text: str, logp: dict[str, float]) -> list[str]: ...


check("unigram.3", best_segmentation)

# %%
find("unigram.4")


# %% tags=["nbval-check-output"]
def log_total(text: str, logp: dict[str, float]) -> float: ...


check("unigram.4", log_total)

# %%
find("unigram.5")


# %% tags=["nbval-check-output"]
def expected_counts(text: str, logp: dict[str, float]) -> dict[str, float]: ...


check("unigram.5", expected_counts)

# %%
find("unigram.6")


# %% tags=["nbval-check-output"]
def pruning_loss(words: dict[str, int], logp: dict[str, float], piece: str) -> float: ...


check("unigram.6", pruning_loss)

# %%
find("unigram.7")


# %% tags=["nbval-check-output"]
def with_byte_fallback(text: str, vocabulary: set[str]) -> list[str]: ...


check("unigram.7", with_byte_fallback)

# %% [markdown]
# An open one, without a check: train `documented` on `learn`, then the tiny GPT above on a segmentation drawn with
# `documented.sample(learn, alpha=0.2)`, and compare its bits per byte on text with misspelled words.

# %%
progress()

# %%
recap("unigram")

# %% [markdown]
# ## What to remember
#
# 1. Unigram gives each piece a probability; the score of a cut is the sum of its pieces' ln p.
# 2. Viterbi finds the best cut from left to right, one number for each place. With a sum in place of the
#    maximum you get the probability of all cuts together.
# 3. Training begins with too many pieces: expected counts, then drop those of the smallest loss, again.
# 4. SentencePiece is a library with two algorithms, BPE and Unigram. As it comes, it does not give every text back.
# 5. Compare models across tokenizers in bits per byte, never in nats per token.
#
# **Three questions**
#
# 1. A piece is used often, but its letters cost almost the same without it. Is it kept?
#
# <details><summary>Answer</summary>
# Rather not: the loss is the number of uses times the difference, and the difference is small.
# </details>
#
# 2. Model A has 1.1 nats a token, model B has 3.0, and they have different tokenizers. Which is better?
#
# <details><summary>Answer</summary>
# It cannot be said. If a token of B is four times as long as one of A, B is better. Convert to bits per byte.
# </details>
#
# 3. A tokenizer is called "SentencePiece". Which two things do you still have to ask?
#
# <details><summary>Answer</summary>
# Which algorithm, BPE or Unigram; and which settings: normalisation, blanks, byte fallback, dummy prefix.
# </details>
#
# **To go deeper:** Kudo, [Subword Regularization](https://arxiv.org/abs/1804.10959) (2018), section 3; Kudo and Richardson,
# [SentencePiece](https://arxiv.org/abs/1808.06226) (2018), section 3; Bostrom and Durrett,
# [Byte Pair Encoding is Suboptimal for Language Model Pretraining](https://arxiv.org/abs/2004.03720) (2020). In the package,
# `gptlab/unigram.py` from top to bottom.
#
# ## Next
#
# You can turn any text into a row of ids. A model does not read a row a megabyte long, and it does not read one text at a
# time. [Notebook 04](04_tensors_and_batches.ipynb) cuts the row into batches.
