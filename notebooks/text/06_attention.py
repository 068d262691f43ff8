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
# # 06 · Attention
#
# *Every token asks a question, every earlier token may answer, and the answers are averaged by how well they fit.*
#
# Up to now each position of our sequence knew its own token and nothing about the others. In this notebook
# they start to communicate. We begin with an average that you can check with a pencil, change it in four small steps,
# and end up with the multi-head attention of a GPT. Then we measure what it buys: we give five models of the same size
# the same stories, and watch which facts some of them can never know.
#
# **After this notebook you can**
#
# - write attention from an empty cell: queries, keys, values, the scale, the softmax, the heads,
# - say at every step which shape you hold, and which axis belongs to the queries,
# - explain what attention can do that a convolution can't, and what it costs,
# - name the facts that a model with a fixed window will never know, and show it with a measurement,
# - read a picture of attention weights, and say what it does not show.
#
# **It builds on** `@` and [B, T, C] from notebook 04, and on embeddings, softmax and the bigram from notebook 05.
# **Reading** takes about 55 minutes without the exercises. **Running** takes about 45 seconds on two CPU cores and
# 650 MB of memory; most of that is five small trainings near the end.

# %%
import math
import textwrap
from collections import Counter
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

import gptlab
from gptlab import checkpoints, pictures, show, training
from gptlab.attention import MultiHeadAttention, attend, merge_heads, split_heads, watch
from gptlab.batches import StoryBatches
from gptlab.corpora import fables
from gptlab.exercises import check, compare, hint, predict, progress, quiz, recap, solution
from gptlab.lab import comparison

torch.set_num_threads(1)  # matrices this small gain little from a second core
_ = torch.manual_seed(6)

# %% tags=["nbval-check-output"]
pictures.pipeline("attention")

# %% [markdown]
# Three questions about earlier notebooks to warm up. Replace the dots with letters, as in
# `quiz("attention", ["a", "b", "c"])`, or skip them: nothing below depends on it.

# %% tags=["nbval-check-output"]
quiz("attention", [..., ..., ...])

# %% [markdown]
# ## The question: which animal is Bo?
#
# Here is the sentence that we have followed since notebook 00, and how its story goes on. The last word is missing. You
# know it without effort: it is whatever animal Bo is.

# %% tags=["nbval-check-output"]
scene = " One windy morning, Bo found a silver bell by the mill."
scene += ' "May I ring the bell?" asked Ada. "Yes, Ada," said Bo, for the'
print(fables.TRAVELLER)
print(scene.strip().replace(' "May', '\n"May'), "...")

# %% [markdown]
# What would the bigram model of notebook 05 say? It looks at one token only, the last, and trained to perfection it
# becomes a table of counts. So let's count: in 4,800 generated stories, what came right after *the*? We cut the text
# into words, because then "how many tokens back" means "how many words back".

# %% tags=["nbval-check-output"]
words = comparison.StoryWords()  # cuts a story into its words, each with the space before it, and punctuation
stories = fables.tell(300 * 16, seed=1000)
followers = Counter()
for story in stories:
    followers.update(after for this, after in pairwise(words.split(story.text)) if this == " the")
for word, n in [*followers.most_common(5), (" hen", followers[" hen"])]:
    print(f"the{word:10} {100 * n / followers.total():4.1f} %")

# %% [markdown]
# The favourites are all reasonable, and none is of use here. The hen is far down the list, yet she is in the text. How
# far back?

# %% tags=["nbval-check-output"]
asked = words.split(fables.TRAVELLER + scene)
back = len(asked) - max(i for i, word in enumerate(asked) if word == " hen")
print(f"the answer stands {back} tokens before the gap; the bigram looks at 1")

# %% [markdown]
# A bigram can't know, however long we train it: the answer isn't in what it sees. So each position needs to receive
# something from the positions before it. What is the plainest way to receive something from many others? Take their
# average.
#
# ## By hand: average the past
#
# Four words with two channels each, and numbers small enough for a pencil. For every position we want the mean of its own row
# and of all the rows before it. Rows that come later stay out, because they are what a language model has to predict.

# %% tags=["nbval-check-output"]
tokens = ["Bo", "the", "patient", "hen"]
x = torch.tensor([[2.0, 0.0], [0.0, 4.0], [4.0, 2.0], [2.0, 6.0]])  # [T, C]
T, C = x.shape
by_loop = torch.zeros(T, C)
for t in range(T):
    by_loop[t] = x[: t + 1].mean(dim=0)  # rows 0 to t
print(by_loop)

# %% [markdown]
# Check the last row with a pencil: $(2 + 0 + 4 + 2) / 4 = 2$ and $(0 + 4 + 2 + 6) / 4 = 3$.
#
# There is a better way to write this, and the rest of the notebook grows out of it. A mean is a sum of rows, each
# multiplied by a weight. Put the weights of each position into one row of a matrix, and the whole loop becomes a single
# product with `@`. What do those rows look like? Make a guess before you run the cell after it. To answer, replace
# `...`, for example with `predict("attention.a", "b")`.

# %% tags=["nbval-check-output"]
predict("attention.a", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
weights = torch.zeros(T, T)  # one row of weights for each position
for t in range(T):
    weights[t, : t + 1] = 1 / (t + 1)
print(weights)
print("the same as the loop:", torch.allclose(weights @ x, by_loop))  # [T, T] @ [T, C] -> [T, C]

# %% [markdown]
# <details><summary>Answer</summary>
#
# 0 and 0. The matrix above has T = 4; with T = 5 its third row would get one more zero. The third position averages
# three rows with the weight 1/3 each. Whatever comes later has the weight 0, and that is how the future is kept out.
# </details>
#
# Remember how to read this matrix, because every attention picture in this course is read the same way: a row belongs
# to the position that collects, a column to the position it collects from, and each row sums to 1. The zeros above
# the diagonal are the future.
#
# ### Your turn: Average the past
#
# `attention.1` · *warm-up* · 5 minutes
#
# Do the same for a whole batch and without a loop. At each position, compute the mean of its own vector and of all the
# vectors before it. A tool that helps: `torch.ones(T, T).tril()` keeps the lower triangle of a matrix of ones and
# writes zeros above it. And a [T, T] matrix times [B, T, C] applies the same matrix to every sequence.
#
# ```python
# def average_past(x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]: ...
# ```
#
# For example, `[[[2, 0], [0, 4], [4, 2]]]` becomes `[[[2, 0], [1, 2], [2, 2]]]`.
#
# Replace the dots with your code and run the cell. `check` runs it on fresh inputs and names the mistake if it knows
# it. `hint("attention.1")` gives a hint, and a stronger one each time; `solution("attention.1")` shows one way to do
# it, and `compare("attention.1", average_past)` puts yours beside ours.


# %% tags=["nbval-check-output"]
def average_past(x): ...


check("attention.1", average_past)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def average_past(x):
#     T = x.shape[1]
#     seen = torch.ones(T, T).tril()  # row t: a one for each position that t may see
#     weights = seen / seen.sum(dim=-1, keepdim=True)  # [T, T], each row sums to 1
#     return weights @ x  # [T, T] @ [B, T, C] -> [B, T, C]
# ```
#
# `keepdim=True` leaves the row sums in a column, [T, 1], so that broadcasting divides each *row* by its own sum.
# </details>
#
# ## By hand: not every word matters equally
#
# A plain average gives *the* as much say as *hen*. We would rather choose the weights. Whatever we choose, they must
# not be negative, and each row must sum to 1 – and you already know a function that turns any numbers into such
# weights: the softmax from notebook 05. So we give each pair of positions a **score**, any number that says how much
# the one matters to the other, and let the softmax do the rest:
#
# $$ w_{ts} = \frac{e^{\,\text{score}_{ts}}}{\sum_{r} e^{\,\text{score}_{tr}}} $$
#
# Watch three rows: equal scores, one score that stands out, and a score of minus infinity.

# %% tags=["nbval-check-output"]
inf = math.inf
for row in ([0.0, 0, 0, 0], [2.0, 0, 0, 0], [0.0, 0, -inf, -inf]):
    print(row, "→", [round(w, 3) for w in torch.tensor(row).softmax(dim=-1).tolist()])

# %% [markdown]
# Equal scores give the plain average back. In the second row $e^2$ is about 7.4, so the first word gets 7.4 shares
# where the others get one each. The third row is the trick that makes a language model possible: because
# $e^{-\infty} = 0$, a position whose score is minus infinity gets a weight of exactly 0. It is the row of *the* in *Bo
# the patient hen*, which may see *Bo* and itself, and nothing that comes later.
#
# ### Your turn: From scores to weights
#
# `attention.3` · *warm-up* · 5 minutes
#
# Turn a table of scores into weights that ignore the future. Row $t$ may use columns 0 to $t$; every later column gets
# exactly 0, and each row sums to 1. Scores may be large, anything from −4000 to 4000. Two tools:
# `scores.masked_fill(hidden, value)` writes `value` wherever the boolean tensor `hidden` is True, and `~` swaps True
# and False.
#
# ```python
# def causal_weights(scores: Float[Tensor, "B T T"]) -> Float[Tensor, "B T T"]: ...
# ```
#
# For example, `[[[1, 9], [3, 3]]]` becomes `[[[1, 0], [0.5, 0.5]]]`.


# %% tags=["nbval-check-output"]
def causal_weights(scores): ...


check("attention.3", causal_weights)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def causal_weights(scores):
#     T = scores.shape[-1]
#     keep = torch.ones(T, T, dtype=torch.bool).tril()  # [T, T], True: t may look at s
#     return scores.masked_fill(~keep, -math.inf).softmax(dim=-1)
# ```
#
# Mind the axis. `dim=-1` runs over the columns, so each row shares a total of 1 among the words it looks at.
# </details>
#
# ## By hand: scores from content
#
# Who decides the scores? We can't write them down for every sentence in the world, so they have to come out of the
# words themselves. The idea that made it work is a little like a library. Every position states what it is looking for:
# its **query**. Every position also puts a label on itself that says what it has: its **key**. Where a query meets a
# matching key, their dot product is large, and that is the score. And every position has something ready to hand over
# when it is asked: its **value**.
#
# Here are five words, with keys and values written by hand, and one query: the last *Bo* wants to know his animal. Two
# channels are enough for queries and keys, meaning "belongs to Ada" and "belongs to Bo". Their number is called hs in the
# comments, for a reason that comes later. The values have three channels, for *fox*, *hen* and *neither*. Nothing needs
# hiding, since every word here is past or present for the last one.

# %% tags=["nbval-check-output"]
tokens = ["Ada", "fox", "Bo", "hen", "Bo"]
keys = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 0.0], [0.0, 2.0], [0.0, 0.0]])  # [T, hs]
values = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]])  # [T, 3]
query = torch.tensor([0.0, 2.0])  # [hs]  the last Bo asks: what belongs to Bo?
scores = keys @ query  # [T]
weights = scores.softmax(dim=-1)  # [T]
for token, score, weight in zip(tokens, scores, weights):
    print(f"{token:4} score {score:.0f}  weight {weight:.3f}")
print("received (fox, hen, neither):", [round(r, 3) for r in (weights @ values).tolist()])

# %% [markdown]
# With a pencil: the score of *hen* is $0 \cdot 0 + 2 \cdot 2 = 4$, and $e^4 / (e^4 + 4) \approx 0.93$. Bo asked, the hen
# answered, and what arrives at Bo's position is almost pure *hen*. Change the query to `[2, 0]` and run it again: now
# he receives the fox.
#
# Two things deserve a second look. Nothing in this computation depends on *where* the hen is: she could be two
# words back or two thousand. And we cheated. How can the hen's key say that she belongs to Bo, when her row in the
# embedding table is the same in every story? Keep both in mind; they come back when we train.
#
# Now for all positions at once, with nothing written by hand. Each position has its embedding $x_t$, a row of $C$
# numbers. Query, key and value are made from that row by three matrices, and training will find good ones. For now they
# are random, divided by √C so that queries and keys come out about as large as the embeddings; the factor 2 in front only
# makes the picture below easier to see. The tokenizer and the trained embeddings are those of notebook 05.

# %% tags=["nbval-check-output"]
model, tokenizer = checkpoints.committed("fables")
text = ["Nearby lived Bo the patient hen.", "Nearby lived Ada the proud fox."]
ids = torch.tensor([tokenizer.encode(" " + line) for line in text])  # [B, T]
tokens = [tokenizer.decode([id]).strip() for id in ids[0].tolist()]
x = model.embedding.token.weight.detach()[ids]  # [B, T, C]
B, T, C = x.shape
hs = 4  # how many numbers a query has: the "head size", for a reason that comes later
W_q, W_k, W_v = 2 * torch.randn(3, C, hs, generator=torch.Generator().manual_seed(1)) / math.sqrt(C)
q = x @ W_q  # [B, T, C] @ [C, hs] -> [B, T, hs]  what am I looking for?
k = x @ W_k  # [B, T, hs]  what do I have?
v = x @ W_v  # [B, T, hs]  what do I hand over?
print("x", list(x.shape), " q, k, v", list(q.shape))

# %% [markdown]
# Every query has to meet every key of its own sequence. The dot product of a row of `q` with a row of `k` is a score,
# so we lay `k` on its side and multiply. `transpose(-2, -1)` swaps the last two axes and leaves the batch alone:
#
# $$ \text{score}_{ts} = q_t \cdot k_s \qquad\text{is}\qquad \texttt{q @ k.transpose(-2, -1)} $$
#
# Which shape comes out, and which of its axes belongs to the queries? Answer with something like
# `predict("attention.b", (2, 4, 7))`.

# %% tags=["nbval-check-output"]
predict("attention.b", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
scores = q @ k.transpose(-2, -1)  # [B, T, hs] @ [B, hs, T]
print(list(scores.shape))
print("row 5, column 2 is query 5 · key 2:", torch.allclose(scores[0, 5, 2], q[0, 5] @ k[0, 2], atol=1e-6))

# %% tags=["answers-prediction"]
pictures.shapes(("q", "B T hs", q), "@", ("kᵀ", "B hs T", k.transpose(-2, -1)), "=", ("scores", "B T T", scores))

# %% [markdown]
# <details><summary>Answer</summary>
#
# [2, 7, 7]. The first 7 belongs to the queries, the second to the keys: row t holds how well each key answers the query
# at t. The hs of both is summed over, and gone.
# </details>
#
# From here on there is nothing new: hide the future, softmax, average. Look at the row of *hen* in the picture.

# %%
keep = torch.ones(T, T, dtype=torch.bool).tril()
weights = scores.masked_fill(~keep, -math.inf).softmax(dim=-1)  # [B, T, T]
pictures.attention(weights[0], tokens, keep_mask=keep, title="Random matrices: who looks at whom")

# %%
out = weights @ v  # [B, T, T] @ [B, T, hs] -> [B, T, hs]
pictures.shapes(("weights", "B T T", weights), "@", ("v", "B T hs", v), "=", ("out", "B T hs", out))

# %% [markdown]
# Some weights in the row of *hen* are large and some are small, and the words decide which. None of it is learned yet:
# the matrices are random, so the pattern is an accident. Later we train such matrices, and the accident becomes a habit.
# The second picture is the last step: each row of `weights` mixes the rows of `v` into one row of the result.
#
# This is **attention**: a weighted average of values, with weights that come from queries and keys. When all three are
# made from the same sequence, as here, it is called **self-attention**. Here is the whole thing on one page:
#
# ```
#                   x  [B, T, C]
#         ┌──────────────┼──────────────┐
#       @ W_q          @ W_k          @ W_v
#         │              │              │
#    q [B, T, hs]   k [B, T, hs]   v [B, T, hs]        what I look for · what I have · what I hand over
#         └──────┬───────┘              │
#            q @ kᵀ                     │
#                │                      │
#       scores [B, T, T]                │              how well does key s fit query t?
#                │                      │
#     hide the future, softmax          │
#                │                      │
#       weights [B, T, T]               │              each row sums to 1
#                └──────────┬───────────┘
#                     weights @ v
#                           │
#                  out [B, T, hs]                      what each position received
# ```
#
# And here is the same page with the numbers of our sentence, one coloured cell for each. Follow the row of *hen*, the last
# but one, from left to right. The picture is one step ahead of the text: its scores are already divided by √4, the root of
# hs, so its weights are more even than those of the heat map above. Why anyone would do that is the next question. Purple
# is positive, orange negative; the weights, which are never negative, are blue.

# %%
pictures.attention_steps((W_q, W_k, W_v), x[0], tokens, keep)

# %% [markdown]
# Think of the positions as people in a room who pass notes. The weights decide who reads whose note, and how closely.
# Drawn as a graph, arrows lead to each position from itself and from every position before it, and a weight says how much
# travels along its arrow. Everything else in GPT-2 works on each position alone; attention is the one part where positions communicate. Bahdanau,
# Cho and Bengio introduced it for translation in [2014](https://arxiv.org/abs/1409.0473). Vaswani and seven colleagues
# built an entire model from it in [2017](https://arxiv.org/abs/1706.03762), in the vocabulary of query, key and value.
#
# One piece is still missing: we have to divide the scores by √hs. Let's see what goes wrong without it.
#
# ## Why √hs?
#
# A score is a sum of hs products, so longer queries give larger scores. How much larger? We need one word for "how
# spread out": the **variance** of some numbers is the square of their standard deviation from notebook 04. And one
# fact: if numbers are *independent*, so that knowing one tells you nothing about another, then the variance of their
# sum is the sum of their variances. What follows for a score?

# %% tags=["nbval-check-output"]
predict("attention.c", ...)


# %% tags=["answers-prediction"]
def random_scores(hs, divisor, T=32, n=2000):
    """[n, T]: n times, a random query meets T random keys."""
    q, k = torch.randn(n, 1, hs), torch.randn(n, T, hs)
    return (q @ k.transpose(-2, -1) / divisor).squeeze(1)  # [n, 1, T] -> [n, T]


rows, sizes = [], (4, 16, 64, 256)
for hs in sizes:
    undivided, divided = random_scores(hs, 1), random_scores(hs, math.sqrt(hs))
    rows.append([hs, f"{undivided.var():.1f}", f"{divided.var():.2f}"])
pictures.table(rows, ["hs", "variance of the scores", "divided by √hs"], align="rrr")

# %% [markdown]
# <details><summary>Answer</summary>
#
# About 64. Each of the 64 products has the variance 1, and the variances of independent numbers add up.
# </details>
#
# The variance of a score is about hs, so its typical size is √hs. Dividing by that brings every head size back to 1:
#
# $$ \text{scores} = \frac{q\,k^\top}{\sqrt{hs}} $$
#
# Why should the size matter at all? Because softmax raises $e$ to the power of each score, and turns a difference of 16
# into a factor of nine million. How many keys still get a share then? A good measure is the entropy of a row of weights,
# $-\sum_s w_s \ln w_s$. It is $\ln 32$ when 32 keys get the same, and 0 when one key takes everything. In the plot,
# compare three divisors. The third, √C, uses the width of the whole model, which for eight heads is C = 8 hs.

# %%
divisors = {"divided by 1": lambda hs: 1, "divided by √hs": math.sqrt, "divided by √C": lambda hs: math.sqrt(8 * hs)}
entropy = {name: [] for name in divisors}
for name, divisor in divisors.items():
    for hs in sizes:
        w = random_scores(hs, divisor(hs)).softmax(dim=-1)  # [n, T]
        in_nats = -(w * w.clamp(min=1e-30).log()).sum(dim=-1)  # [n]; the clamp avoids the logarithm of 0
        entropy[name].append((hs, in_nats.mean()))
alike, title = {"all 32 keys alike": math.log(32)}, "How many keys share the attention?"
pictures.lines(entropy, "hs", "entropy of a row (nats)", level=alike, log="x", title=title)

# %% [markdown]
# Without a divisor, a large head gives nearly everything to a single key, by accident, before it has learned anything.
# Worse, it has a hard time getting away from there. When the score of a key rises by a tiny $d$, its weight rises by
# $w (1 - w)\, d$. At $w = 0.5$ that is a quarter of $d$; at $w = 0.999$ or $w = 0.001$ it is a thousandth. So where
# weights are close to 0 or 1 hardly any gradient gets through, and training has little to go on. This is the argument
# that Vaswani and colleagues give in section 3.2.1. Here is the sum of $w (1 - w)$ over a row, for hs = 256:

# %%
for name, divisor in divisors.items():
    w = random_scores(256, divisor(256)).softmax(dim=-1)
    print(f"{name:15} {(w * (1 - w)).sum(dim=-1).mean():.2f}")

# %% [markdown]
# Then why not divide by even more? √C is a well-known slip, because a head adds up only hs numbers, never all C of
# them. Andrej Karpathy made it in the lecture linked at the end, and corrected it below the video. Nothing crashes, but
# attention starts out flatter than it should, close to the plain average, and weights that were trained with the right
# divisor give wrong results with this one.
#
# ### Your turn: Queries meet keys
#
# `attention.2` · *core* · 10 minutes
#
# Make queries and keys from `x`, and compute the scaled score of each query with each key. No mask and no softmax yet.
#
# ```python
# def scaled_scores(
#     x: Float[Tensor, "B T C"], W_q: Float[Tensor, "C hs"], W_k: Float[Tensor, "C hs"]
# ) -> Float[Tensor, "B T T"]: ...
# ```
#
# An example with hs = 4: `x = [[[1, 0], [0, 2]]]`, `W_q = [[1, 0, 1, 0], [0, 1, 0, 0]]` and
# `W_k = [[2, 1, 2, 0], [0, 1, 0, 1]]`. The queries are [1, 0, 1, 0] and [0, 2, 0, 0], the keys are [2, 1, 2, 0] and
# [0, 2, 0, 2], and the result is `[[[2, 0], [1, 2]]]`.


# %% tags=["nbval-check-output"]
def scaled_scores(x, W_q, W_k): ...


check("attention.2", scaled_scores)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def scaled_scores(x, W_q, W_k):
#     q = x @ W_q  # [B, T, C] @ [C, hs] -> [B, T, hs]
#     k = x @ W_k  # [B, T, hs]
#     return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # [B, T, hs] @ [B, hs, T] -> [B, T, T]
# ```
# </details>
#
# ### Your turn: Attend
#
# `attention.4` · *core* · 10 minutes
#
# This is the one to remember. Put the whole thing together: scores, scale, mask, softmax, and the weighted average of
# the values. The number of queries and the number of keys may differ, Tq and Tk. The mask comes from outside, and True
# means *may attend*. Every row of it keeps at least one key, and scaled scores may lie anywhere between −4000 and 4000.
#
# ```python
# def my_attend(
#     q: Float[Tensor, "B Tq hs"], k: Float[Tensor, "B Tk hs"], v: Float[Tensor, "B Tk hs"],
#     keep_mask: Bool[Tensor, "Tq Tk"],
# ) -> Float[Tensor, "B Tq hs"]: ...
# ```
#
# A query of zeros finds all keys equally good. So `q = [[[0, 0]]]`, `k = [[[1, 2], [3, 4], [5, 6]]]`,
# `v = [[[2, 0], [4, 2], [9, 9]]]` and `keep_mask = [[True, True, False]]` give the mean of the first two values,
# `[[[3, 1]]]`.


# %% tags=["nbval-check-output"]
def my_attend(q, k, v, keep_mask): ...


check("attention.4", my_attend)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def my_attend(q, k, v, keep_mask):
#     scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # [B, Tq, Tk]
#     weights = scores.masked_fill(~keep_mask, -math.inf).softmax(dim=-1)  # [B, Tq, Tk], each row sums to 1
#     return weights @ v  # [B, Tq, Tk] @ [B, Tk, hs] -> [B, Tq, hs]
# ```
#
# Three lines, and the third only averages. The package's `attend`, which we use from here on, is the same with checks
# of its inputs and some care for a row that may attend to nothing.
# </details>
#
# ## Many heads
#
# One row of weights is one way of looking. But *hen* may want to know two things at the same time, whose animal it is
# and what the forest is like, and a single average would blend the two answers. So we run several attentions side by
# side, each with its own queries, keys and values. Each of them is called a **head**. To keep the cost the same, every
# one of the H heads gets C / H channels, and that is where the name *head size* comes from.
#
# The plainest way to build it is a loop in which every head has three small matrices of its own, [C, hs]:

# %% tags=["nbval-check-output"]
B, T, C, H = 2, 7, 12, 3
hs = C // H  # 4
x = torch.randn(B, T, C)
keep = torch.ones(T, T, dtype=torch.bool).tril()
matrices = torch.randn(H, 3, C, hs) / math.sqrt(C)  # for each head: its W_q, W_k and W_v
found = [attend(x @ W_q, x @ W_k, x @ W_v, keep) for W_q, W_k, W_v in matrices]  # H times [B, T, hs]
by_loop = torch.cat(found, dim=-1)  # [B, T, C]: the heads side by side
print("each head", list(found[0].shape), "→ side by side", list(by_loop.shape))

# %% [markdown]
# A loop over heads wastes a computer that would rather do one large product than three small ones. So put the small
# matrices side by side into one of shape [C, C]: its first hs columns belong to head 0, the next hs to head 1, and so
# on. One product `x @ W` then gives the queries of all heads, next to each other in the last axis.
#
# What does the cut look like? Neighbouring channels of one colour become one head:

# %%
pictures.heads_in_channels(T, C, H)

# %% [markdown]
# What remains is to make the heads an axis of their own. `@` treats every axis before the last two as a batch, so if we
# get to [B, H, T, hs], the `attend` you have written works on all heads at once. Cutting the last axis is easy:
# `x.view(B, T, H, hs)` reads the same numbers in the same order, and each row of C becomes H pieces of hs.
#
# ### Your turn: Split into heads
#
# `attention.5` · *core* · 10 minutes
#
# Split the C channels of every position into H heads: head 0 gets the first hs channels, head 1 the next hs, and so on.
#
# ```python
# def my_split_heads(x: Float[Tensor, "B T C"], H: int) -> Float[Tensor, "B H T hs"]
# ```
#
# For example, `[[[10, 11, 12, 13], [20, 21, 22, 23]]]` has one sequence, two positions and four channels. With H = 2,
# head 0 is `[[10, 11], [20, 21]]` and head 1 is `[[12, 13], [22, 23]]`.
#
# ### Your turn: Merge the heads
#
# `attention.6` · *warm-up* · 5 minutes
#
# Now the inverse: put the heads side by side again. Merging what was split gives the original back.
#
# ```python
# def my_merge_heads(x: Float[Tensor, "B H T hs"]) -> Float[Tensor, "B T C"]
# ```


# %% tags=["nbval-check-output"]
def my_split_heads(x, H): ...


check("attention.5", my_split_heads)


# %% tags=["nbval-check-output"]
def my_merge_heads(x): ...


check("attention.6", my_merge_heads)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def my_split_heads(x, H):
#     B, T, C = x.shape
#     return x.view(B, T, H, C // H).transpose(1, 2)  # [B, T, C] -> [B, T, H, hs] -> [B, H, T, hs]
#
#
# def my_merge_heads(x):
#     B, H, T, hs = x.shape
#     return x.transpose(1, 2).reshape(B, T, H * hs)  # [B, H, T, hs] -> [B, T, H, hs] -> [B, T, C]
# ```
#
# After a transpose the numbers no longer lie in memory in the order in which we read them. `view` refuses a
# tensor like that; `reshape` first copies it into order.
# </details>
#
# Why the detour through a transpose, when `view(B, H, T, hs)` gives the same shape in one step? Look where the numbers
# go. In both pictures a cell is one channel of one position. Its colour is the head in which it ends up, as above, and its
# number is the position that it comes from. On the right are the heads, three blocks of the same shape either way. Read
# them row by row: row 0 should come from position 0, row 1 from position 1, and so on.

# %%
title = "view(B, T, H, hs), then transpose: each head gets its own channels"
pictures.heads_in_channels(T, C, H, positions=True, title=title)

# %%
title = "view(B, H, T, hs): each head gets positions"  # the first third of all numbers, in the order of memory
pictures.heads_in_channels(T, C, H, cut="memory", positions=True, title=title)

# %% [markdown]
# The right way cuts columns: every head sees all positions, through channels of its own. The wrong way cuts roughly by
# rows: head 0 gets everything about the first positions and nothing about the rest, and what looks like its second
# position is still the first. The shape is the same, so no test of shapes will ever find this mistake. Now without the
# loop:

# %% tags=["nbval-check-output"]
W_q, W_k, W_v = (torch.cat([*matrices[:, part]], dim=-1) for part in range(3))  # [C, C] each: head beside head
q, k, v = (split_heads(x @ W, H) for W in (W_q, W_k, W_v))  # [B, H, T, hs] each
at_once = merge_heads(attend(q, k, v, keep))  # [B, H, T, hs] -> [B, T, C]
print("the same as the loop:", torch.allclose(at_once, by_loop, atol=1e-6))

# %% [markdown]
# ### Mixing what the heads found
#
# Side by side, every channel still belongs to one head. A last [C, C] matrix $W_o$, the **output projection**, lets
# every channel of the result draw on all heads. Which channels move if only head 1 finds something different?

# %% tags=["nbval-check-output"]
W_o = torch.randn(C, C) / math.sqrt(C)
other = by_loop.clone()
other[:, :, hs : 2 * hs] += 1  # head 1 finds something else
print("before W_o:", (other - by_loop).abs().amax(dim=(0, 1)).gt(1e-6).int().tolist())
print("after W_o: ", (other @ W_o - by_loop @ W_o).abs().amax(dim=(0, 1)).gt(1e-6).int().tolist())

# %% [markdown]
# ### Your turn: Multi-head attention
#
# `attention.7` · *stretch* · 25 minutes
#
# All of it in one function: project, split into heads, attend without seeing the future, merge, and multiply by `W_o`.
# Each head divides its scores by the root of its own size, hs = C / H. You may call the functions that you wrote above.
#
# ```python
# def multi_head(
#     x: Float[Tensor, "B T C"], W_q: Float[Tensor, "C C"], W_k: Float[Tensor, "C C"], W_v: Float[Tensor, "C C"],
#     W_o: Float[Tensor, "C C"], H: int,
# ) -> Float[Tensor, "B T C"]: ...
# ```
#
# A case that you can check in your head: if every position of `x` holds the same vector, each average is that vector,
# whatever the weights are. So with the identity matrix for `W_v` and `W_o` the result is `x` itself.


# %% tags=["nbval-check-output"]
def multi_head(x, W_q, W_k, W_v, W_o, H): ...


check("attention.7", multi_head)

# %% [markdown]
# As a PyTorch module it looks like this. `nn.Linear` is the product with a matrix, and the `-1` lets `view` work out hs
# by itself. Read it line by line: apart from the class around them, every line is a step of an exercise above.


# %%
class Heads(nn.Module):
    """Attention with H heads. Each position looks at itself and back."""

    def __init__(self, C, H):
        super().__init__()
        self.H = H
        self.query, self.key, self.value, self.output = (nn.Linear(C, C, bias=False) for _ in range(4))

    def forward(self, x):  # [B, T, C]
        B, T, _ = x.shape
        q = self.query(x).view(B, T, self.H, -1).transpose(1, 2)  # [B, H, T, hs]
        k = self.key(x).view(B, T, self.H, -1).transpose(1, 2)  # [B, H, T, hs]
        v = self.value(x).view(B, T, self.H, -1).transpose(1, 2)  # [B, H, T, hs]
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # [B, H, T, T]
        keep = torch.ones(T, T, dtype=torch.bool).tril()  # [T, T]
        weights = scores.masked_fill(~keep, -math.inf).softmax(dim=-1)  # [B, H, T, T]
        found = weights @ v  # [B, H, T, hs]
        return self.output(found.transpose(1, 2).flatten(2))  # [B, T, C]


# %% [markdown]
# The ledger of notebook 04 runs it once and counts. Look for two things: where T appears twice, and which lines have FLOPs
# but no parameters.

# %% tags=["nbval-check-output"]
gptlab.trace(Heads(C, H), x, letters={"B": B, "T": T, "C": C, "H": H, "hs": C // H})

# %% [markdown]
# Three lines hold T twice: `scores`, `keep` and `weights`. `keep` is one small table of booleans for everybody, but the
# other two exist for every head of every sequence, and they are why long texts are expensive. And two lines have FLOPs
# but no parameters: `scores`, where queries meet keys, and `found`, where weights meet values. Everything that training
# can change sits in the four projections. The column *bytes* counts every tensor that a line makes: for `scores` the product
# and then the quotient.
#
# ## The tested block
#
# Is what we built what everybody else means by attention? We compare three more versions on the same input: the
# package's `MultiHeadAttention`, PyTorch's module `nn.MultiheadAttention`, and PyTorch's function
# `scaled_dot_product_attention`, which on most machines avoids holding the whole [T, T] table and is what real models
# call. There are two conventions to mind. A `Linear` stores its matrix transposed, hence `.T`. And for
# `nn.MultiheadAttention` a True in the mask means *drop*, while for the function, as for us, it means *keep*. Notebook
# 07 is about that trap.

# %% tags=["nbval-check-output"]
ours = MultiHeadAttention(C, H, bias=False)
theirs = nn.MultiheadAttention(C, H, bias=False, batch_first=True)
with torch.no_grad():  # we only compare, so PyTorch need not prepare for gradients
    for part, W in zip((ours.query, ours.key, ours.value, ours.output), (W_q, W_k, W_v, W_o)):
        part.weight.copy_(W.T)
    theirs.in_proj_weight.copy_(torch.cat([W_q.T, W_k.T, W_v.T]))
    theirs.out_proj.weight.copy_(W_o.T)
    yours = by_loop @ W_o  # [B, T, C]
    packages, librarys = ours(x, keep), theirs(x, x, x, attn_mask=~keep)[0]
print("gptlab's module:      ", torch.allclose(packages, yours, atol=1e-5))
print("nn.MultiheadAttention:", torch.allclose(librarys, yours, atol=1e-5))
function = F.scaled_dot_product_attention(q, k, v, attn_mask=keep)  # [B, H, T, hs]
print("the fast function:    ", torch.allclose(function, attend(q, k, v, keep), atol=1e-5))

# %% [markdown]
# All three agree. The package's splitting and merging are as short as yours:

# %%
show(split_heads, merge_heads)

# %% [markdown]
# ## Break it: four ways to be almost right
#
# Each of these gives the right shape, and each is a mistake that people really make. Two questions expose the first
# three: do the rows sum to 1, and does a change in the future move the past? The fourth passes both. Only a comparison
# with another implementation finds it.


# %%
def broken(q, k, v, how):
    keep = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
    hs = q.shape[-1]
    divisor = math.sqrt(q.shape[1] * hs) if how == "scaled by √C" else math.sqrt(hs)  # C is H · hs
    scores = q @ k.transpose(-2, -1) / divisor  # [B, H, T, T]
    if how == "mask after softmax":
        w = scores.softmax(dim=-1).masked_fill(~keep, 0.0)
    elif how == "no mask":
        w = scores.softmax(dim=-1)
    else:
        w = scores.masked_fill(~keep, -math.inf).softmax(dim=-2 if how == "softmax over queries" else -1)
    return w, w @ v


# %% tags=["nbval-check-output"]
later, q_later = k.clone(), q.clone()
later[:, :, -1] += 3  # the last key changes, and so does the last query:
q_later[:, :, -1] += 3  # nothing before them may notice
expected, rows = attend(q, k, v, keep), []
for how in ("nothing broken", "mask after softmax", "no mask", "softmax over queries", "scaled by √C"):
    w, out = broken(q, k, v, how)
    moved = (broken(q_later, later, v, how)[1] - out)[:, :, :-1].abs().max() > 1e-6
    sums = torch.allclose(w.sum(dim=-1), torch.ones(B, H, T), atol=1e-5)
    facts = (sums, not moved, torch.allclose(out, expected, atol=1e-5))
    rows.append([how, *("yes" if fact else "NO" for fact in facts)])
pictures.table(rows, ["", "rows sum to 1", "blind to the future", "equal to attend"], align="lccc")

# %% [markdown]
# Look at *mask after softmax*. Its future weights are all zero, and still the future shows through: it took its share
# when the softmax divided the cake, and that share is now missing. In a picture of the weights every zero would be in
# its proper cell. That is why notebook 07 tests for leaks by changing the future, never by looking for zeros.
#
# ## Attention and convolution
#
# There is an older way to let neighbours communicate. A **convolution** slides one small filter along the sequence: one
# fixed matrix for "one back", another for "two back", the same at every position. Yann LeCun and colleagues made it
# famous for images in 1989. What is the difference to attention? Shuffle the words and see. Either each word keeps its
# old result, at its new position, or it gets a different one. The filter here is three wide: the word before, the word
# itself, the word after.

# %% tags=["nbval-check-output"]
order = torch.tensor([4, 0, 6, 2, 5, 1, 3])
filtered = nn.Conv1d(C, C, kernel_size=3, padding=1, bias=False)
place = torch.randn(T, C)  # a vector for each position, as in notebook 05
blocks = {
    "convolution": lambda x: filtered(x.transpose(1, 2)).transpose(1, 2),  # it expects [B, C, T]
    "attention": ours,  # without a mask, so that all positions see each other
    "attention with positions": lambda x: ours(x + place),
}
for name, block in blocks.items():
    only_shuffled = torch.allclose(block(x[:, order]), block(x)[:, order], atol=1e-5)
    print(f"{name:25} each word keeps its old result: {only_shuffled}")

# %% [markdown]
# A convolution knows about position and not about content: its weights are fixed, and *one back* is always treated the
# same. Attention knows about content and not about position: its weights are computed afresh from every text, and to it
# a sentence is a bag of words. That is why GPT-2 adds positions to its embeddings. A causal mask, which
# notebook 07 is about, gives a hint of the order as well, since the first word sees one word and the last sees all.
#
# ### Your turn: How many layers to reach the first token?
#
# `attention.8` · *warm-up* · 5 minutes
#
# A causal convolution of `width` sees the present position and the `width - 1` before it. Stack several, and each layer
# reaches further back. How many layers does it take until the last of `T` positions depends on the first?
#
# ```python
# def layers_needed(T: int, width: int) -> int: ...
# ```
#
# With width 3, five positions need 2 layers and six positions need 3.


# %% tags=["nbval-check-output"]
def layers_needed(T, width): ...


check("attention.8", layers_needed)

# %% [markdown]
# <details><summary>Our version</summary>
#
# Each layer adds `width - 1` positions, and from the last to the first it is `T - 1` steps. A part of a layer is a
# layer, so we round up: `math.ceil((T - 1) / (width - 1))`.
# </details>
#
# ### Reach
#
# Now measure it. Which inputs have any influence on the last output? Ask for the gradient, as in notebook 05: an input
# that can move the output has a gradient other than zero. `torch.autograd.grad(output, inputs)` returns it as a tuple
# with one entry for each input. We stack convolutions of width 4 and compare them with a single layer of attention, on
# 20 positions.

# %%
inputs = torch.randn(1, 20, C, requires_grad=True)


def reached(block):
    """How many positions can move the output at the last one."""
    (gradient,) = torch.autograd.grad(block(inputs)[0, -1].sum(), inputs)  # one entry, unpacked
    return int((gradient[0].abs().sum(dim=-1) > 0).sum())


reach = {"convolutions of width 4": []}
for L in (1, 2, 4, 6):
    stack = nn.Sequential(*(comparison.Convolution(C, n=4) for _ in range(L)))
    reach["convolutions of width 4"].append((L, reached(stack)))
reach["attention"] = [(1, reached(lambda x: ours(x, is_causal=True)))]
pictures.lines(reach, "layers", "positions that reach the last one", level={"all": 20}, legend="lower right")

# %% [markdown]
# Each layer of convolution adds three positions. Attention reaches everything in one step, so the path from the first
# word to the last has length 1, however long the text is. A gradient that has to travel through many layers fades, or
# has to be carried with care, so short paths are worth a lot.
#
# And the price? Attention computes a score for every pair of positions, so its cost grows with $T^2$. The ledger counts
# the work for one sequence with C = 64 and eight heads, in millions of additions and multiplications, or MFLOP.

# %% tags=["nbval-check-output"]
rows, attention, convolution = [], Heads(64, 8), comparison.Convolution(64, n=4)
for length in (128, 256, 512, 1024):
    sample = torch.randn(1, length, 64)
    one, all_heads = (gptlab.trace(block, sample).flops / 1e6 for block in (convolution, attention))
    layers = math.ceil((length - 1) / 3)  # to reach from the last position to the first
    scores_mb = 8 * length**2 * 4 / 1e6  # eight heads, four bytes per score
    rows.append([length, f"{all_heads:.0f}", f"{scores_mb:.1f}", f"{one:.0f}", layers, f"{layers * one:,.0f}"])
header = ["T", "attention (MFLOP)", "its scores (MB)", "one convolution (MFLOP)", "layers to reach all", "their MFLOP"]
pictures.table(rows, header, align="r" * 6)

# %% [markdown]
# Go down a column: when the text gets twice as long, one convolution does twice the work, attention's scores take four
# times the memory, and attention's work grows by a factor that gets closer and closer to four. But to reach across a
# thousand positions the convolutions must be stacked hundreds deep, and the whole stack works far harder. There is a
# middle way, a *dilated* convolution, whose filter has gaps that double from layer to layer. WaveNet used it for sound
# (van den Oord and colleagues, [2016](https://arxiv.org/abs/1609.03499)). It reaches far with few layers, and still
# treats every position the same, whatever is there.
#
# ## Attention stays inside a sequence
#
# In a batch, `@` does the same thing B times. So suppose that one word of the second of three sequences changes. Who
# notices?

# %% tags=["nbval-check-output"]
predict("attention.d", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
three = torch.randn(3, 7, C)  # [B, T, C]
changed = three.clone()
changed[1, 4] += 1  # one word of the second sequence
moved = (ours(changed, keep) - ours(three, keep)).abs().amax(dim=-1) > 1e-6  # [B, T]
print(moved.int())

# %% [markdown]
# <details><summary>Answer</summary>
#
# Only the second sequence, and there only from the changed position on: the mask hides the change from those before it.
# Two stories in one batch never learn of each other.
# </details>
#
# ## What attention buys
#
# Now the experiment. Five models learn to generate fables, and what we compare is how each of them looks back.
#
# - **bigram**: notebook 05's table. It sees one token.
# - **window**: the vectors of the last 13 tokens side by side, through a small layer with a ReLU (notebook 04), as in
#   Bengio and colleagues' language model of [2003](https://www.jmlr.org/papers/v3/bengio03a.html).
# - **convolution**: four layers of width 4, which reach 13 tokens as well.
# - **attention**: one layer with eight heads, and a small layer after it that works on each position alone. It has no
#   positions, so it is nearly the bag of words from above. To let it know what is *next to* a word, each position first
#   adds up its own vector and those of its three neighbours to the left: a little convolution.
# - **attention alone**: the same without those neighbours, so that we can see what the convolution contributes.
#
# How training works stays a closed box until notebook 10: an optimizer changes the parameters, by steps whose size is
# set by its learning rates. Everything but the model should be equal, and nearly everything is. The stories, their
# order, the number of steps, the optimizer and its learning rates are the same for all, and so is the number of
# parameters, within three percent. Two things are not the same, and you should know them. Each model has a width of its
# own, so that the parameter counts agree. And the learning rates were chosen for attention, which also normalises its
# queries and keys; but no rate can supply what is not in a model's input.

# %% tags=["nbval-check-output"]
V, end = words.vocab_size, words.end
rows = []
for kind in comparison.KINDS:
    size = sum(p.numel() for p in comparison.make(kind, V).parameters())
    sees = {"bigram": "1", "window": "13", "convolution": "13"}.get(kind, "all")
    rows.append([kind, sees, size])
pictures.table(rows, ["model", "tokens it sees", "parameters"])

# %% [markdown]
# This is the part of the attention model that looks back. In its four lines, `norm1` brings each vector to the same
# typical size, `earlier(h, i)` fetches the vector from i positions before, and `weight` says for each channel how much
# of it to add. Then comes attention, and at the end the small layer, which the code calls MLP: an up-projection, a ReLU
# that is squared, and a projection back. Every `x +` adds what was found to what was there before.

# %%
show(comparison.Attention.forward)

# %% [markdown]
# ### Which facts are out of reach?
#
# The program that generates fables rolls dice for every fact: a name, an animal, a thing, a place. Nobody can know the
# outcome in advance, so each roll costs every model something: if twenty animals were equally likely, one would cost
# $\ln 20$, about 3 nats. The sum of all these unavoidable costs is the entropy floor that you know from notebooks 01
# and 05, and on average no model can do better. Later in the story the same facts come up again. A fact that is
# *recalled* should cost nothing – to a model that can look back far enough.

# %% tags=["nbval-check-output"]
example = fables.tell(1, seed=4)[0]
print(textwrap.fill(example.text, 90))

# %% [markdown]
# How far is far enough? For seven facts of this story, the table shows the word that recalls it and how many tokens
# before it the fact was last mentioned. Compare the fourth column with 13.

# %% tags=["nbval-check-output"]
meaning = {
    "thing.use": "what a drum is for", "other.name": "the name of the one who asks", "spot": "the place of the find",
    "finder.animal": "the finder's animal", "weather.noun": "the weather", "other.animal": "the other's animal",
    "home": "where they all live", "other.trait": "the other's trait",
}  # fmt: skip
pieces = [piece.strip() for piece in words.split(example.text)]
places = sorted(comparison.distances(example, words).items(), key=lambda found: found[1][1])  # the farthest comes last
farthest = {fact: (place, back) for place, (fact, back) in places}
rows = []
for fact in list(meaning)[:7]:
    place, back = farthest[fact]
    inside = "yes" if back <= 13 else "no"
    rows.append([" ".join(pieces[place - 3 : place]), pieces[place], meaning[fact], back, inside])
pictures.table(rows, ["after", "comes", "which recalls", "tokens back", "in a window of 13"])

# %% [markdown]
# So the recalled words fall into two groups: **near** ones, whose fact was last mentioned within the last 13 tokens,
# and **far** ones. We'll add up what each group costs, in nats per story. Before you run the training, which of the
# models can know the animal of somebody who was introduced forty words ago?

# %% tags=["nbval-check-output"]
predict("attention.e", ...)


# %% tags=["answers-prediction"]
judge = comparison.FarAndNear(fables.tell(64, seed=1), words, end)  # 64 stories that nobody trains on
documents = [[*words.encode(story.text), end] for story in stories]
batches = StoryBatches(documents, B=16, start=end, shuffle=False)
trained, history = {}, {}
expected = dict.fromkeys(("bigram", "window", "convolution"), "above 25")
expected |= {"attention": "below 9", "attention alone": "somewhere in between"}


def learn(kind, model=None):
    torch.manual_seed(0)
    trained[kind] = comparison.make(kind, V) if model is None else model
    history[kind] = training.train(trained[kind], batches, comparison.RATES, evaluate=judge, progress=False)
    far, hoped = history[kind].evaluations[-1]["far"], expected.get(kind, "who knows")
    print(f"{kind:15}  far facts cost {far:4.1f} nats per story (expected: {hoped})", flush=True)


for kind in ("bigram", "window", "convolution"):
    learn(kind)

# %% tags=["answers-prediction"]
learn("attention")

# %% tags=["answers-prediction"]
learn("attention alone")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Only the two with attention. The bigram, the window and the convolution can't see that far, and training can't give
# them what is not in their input.
# </details>
#
# Watch the curves. At first all of them fall, because all of them learn *what kind* of word comes next and how
# frequent each is. Which of them go on falling?

# %%
curves = {kind: history[kind] for kind in comparison.KINDS}
unit = "nats per story above the floor"
pictures.training(curves, what="far", unit=unit, top=110, title="Facts recalled from beyond the window")

# %% [markdown]
# Three of the curves level off far above the floor. The flat end alone proves little, since the learning rate falls to
# 0 there. The reason is that what they would need is not in what they see.
#
# ### Where the nats go
#
# Let's split everything above the floor into four parts. *Near* and *far* you know. *Form* is the words that are always
# the same, and *free* is the rolls of the dice, of which only the excess over the unavoidable cost counts. This is one
# run for each model; the large differences are what to read here, not the digits.

# %%
final = {kind: run.evaluations[-1] for kind, run in history.items()}
names = ("form", "free", "near", "far")
rows = [[kind, *(f"{numbers[name]:.2f}" for name in (*names, "excess"))] for kind, numbers in final.items()]
pictures.table(rows, ["nats per story above the floor:", *names, "all"], align="lrrrrr")

# %% tags=["nbval-check-output"]
far = {kind: numbers["far"] for kind, numbers in final.items()}
near = {kind: numbers["near"] for kind, numbers in final.items()}
best_guess = min(far[kind] for kind in ("bigram", "window", "convolution"))
claims = {
    "every model stays above the floor": all(numbers["excess"] > 0 for numbers in final.values()),
    "far facts are out of reach for the bigram, the window and the convolution": best_guess > 25,
    "far facts are cheap for attention": far["attention"] < 0.25 * best_guess,
    "near facts: the window and the convolution recall many": max(near["window"], near["convolution"])
    < 0.6 * near["bigram"],
}
for claim, holds in claims.items():
    print(f"{'as expected' if holds else 'NOT AS EXPECTED':15}  {claim}")

# %% [markdown]
# - **Form**: the bigram struggles even here, because after *the* it can't tell which *the* this is. A few words of
#   context settle that, and the other models have them.
# - **Free**: nothing can make a roll of the dice cheaper. If the window and the convolution pay more here than attention,
#   the likely reason is one roll: which of the two characters finds the thing. To know the two names at all, a model has
#   to look back.
# - **Near**: inside the window, the window and the convolution recall most of what there is to recall. For such facts
#   nobody needs attention.
# - **Far**: here they have to guess, and attention does not. For the window and the convolution, most of the difference
#   comes from this column.
# - **Attention alone** lands in between. It reaches every word, but what it needs is often *next to* the word it can
#   recognise. Remember our cheat from the beginning. For the hen's key to say that she belongs to Bo, the hen must
#   first have received something from the name before her. In a single layer without neighbours she hasn't. Two layers
#   with positions can do it, because the first passes the name on to the hen, and so can one layer with a little
#   convolution in front. Attention and convolution aren't rivals: each does what
#   the other can't.
#
# Fact by fact, counting only what was last mentioned beyond the window: 0 is perfect knowledge, and guessing between
# two equally likely answers once per story costs $\ln 2$, about 0.7 nats.

# %%
cost = {}
for kind, trained_model in trained.items():
    for (fact, back), nats in judge.by_distance(trained_model).items():
        if back > judge.reach:
            cost[fact, kind] = cost.get((fact, kind), 0.0) + sum(nats) / len(judge.stories)
rows = [[meaning[fact], *(f"{cost[fact, kind]:.2f}" for kind in comparison.KINDS)] for fact in list(meaning)[1:]]
pictures.table(rows, ["nats per story, beyond the window", *comparison.KINDS], align="l" + "r" * 5)

# %% [markdown]
# In the columns of the window and the convolution you see the price of guessing. The other's animal is one of twenty,
# some more frequent than others, and the entropy of that roll is 2.9. Attention pays next to nothing for facts that
# were mentioned once and plainly, and a little where it must first find out which of the two characters is meant.
# *Attention alone* may know some facts as well as that and guess others like the window. Why it learned the one and not
# the other, a single run doesn't tell.
#
# What this does **not** show is that attention is better at everything, or at every size. These stories were made to
# need memory, and their sentences come at nearly fixed positions, so a window of a hundred tokens or a dilated
# convolution could learn to recall *by position*. An exercise at the end invites you to try.
#
# ### From accident to habit
#
# The matrices of the attention model began as random numbers. Where does the last word of our scene look, before and
# after training? Of its eight heads we pick the one that now looks at *hen* the most. An arc leads from the word that
# asks to the words it looks at.

# %%
torch.manual_seed(0)
scene_ids = torch.tensor([[end, *words.encode(fables.TRAVELLER + scene)]])  # [B, T]
begins = watch(comparison.make("attention", V), scene_ids)[0][0]  # [H, T, T]
learned = watch(trained["attention"], scene_ids)[0][0]
labels = ["begin", *(word.strip() for word in asked)]
hen = labels.index("hen")
head = int(learned[:, -1, hen].argmax())
before, after = (float(w[head, -1, hen]) for w in (begins, learned))
print(f"weight of the last word on 'hen', head {head}: {before:.2f} before training, {after:.2f} after")
pictures.arcs(learned[head], labels, row=-1, title=f"After training, head {head}: where the last word looks")

# %% [markdown]
# There is a head that looks where Bo's question is answered, and nobody programmed it. If another word gets a share as
# well, see whether it is the other animal. We saw all this through `watch`, which runs any model and collects the weights
# of every attention inside it.
#
# ## Heads of a real model
#
# Now the model that wrote a story for you in notebook 00. It has two layers of eight heads, and like our fourth model
# it blends each position with the three to its left before it attends. GPT-2 has no such convolution; notebook 12 comes
# back to it. Here are two heads of the first layer of our model, on the beginning of our sentence: the one that looks most
# at its own position, and the one that looks most at the very first token.

# %%
end_of_text = tokenizer.special_tokens["<|endoftext|>"]
ids = torch.tensor([[end_of_text, *tokenizer.encode(fables.TRAVELLER)]])  # [B, T]
looks = [weights[0] for weights in watch(model, ids)]  # for each layer [H, T, T]
labels = ["begin", *(tokenizer.decode([id]).strip() for id in ids[0, 1:].tolist())]
itself = int(looks[0].diagonal(dim1=-2, dim2=-1).mean(dim=-1).argmax())  # [H, T] -> [H]
first = int(looks[0][:, 1:, 0].mean(dim=-1).argmax())
n = labels.index(".") + 1  # the first of the two sentences
names = [f"layer 0, head {head}" for head in (itself, first)]
pictures.attention(looks[0][[itself, first], :n, :n], labels[:n], head_names=names)

# %% [markdown]
# Read the left one along its diagonal: a dark cell there is a word that looks at itself. In the right one, look down
# the first column. Weight on the first token often means *nothing to see here*: the weights of a row have to go
# somewhere, since they sum to 1. Guangxuan Xiao and colleagues named it an attention sink in
# [2023](https://arxiv.org/abs/2309.17453). Both heads are typical in one respect: you can put part of what they
# do into words, and the rest is untidy.
#
# Some are surprisingly neat. In the second layer, take the head that looks at *Bo* the most from *patient*, and the one
# that does so from *hen*. Do they do the same for Ada's trait and for her animal?

# %%
bo, patient, hen = (labels.index(word) for word in ("Bo", "patient", "hen"))
trait_head, animal_head = (int(looks[1][:, row, bo].argmax()) for row in (patient, hen))
rows = []
for word, head in (("proud", trait_head), ("patient", trait_head), ("fox", animal_head), ("hen", animal_head)):
    w = looks[1][head, labels.index(word)]  # [T]
    rows.append([word, f"layer 1, head {head}", labels[int(w.argmax())], f"{w.max():.2f}"])
pictures.table(rows, ["from", "head", "looks most at", "weight"], align="lllr")

# %% [markdown]
# One head ties both traits to their names, and one head ties both animals to theirs. Nobody asked them to divide the
# work like that. It is tempting to say: so this is how the model knows whose the hen is. But it can't be. This is the
# last layer, and no layer comes after it that could ask the hen what she found. A picture of weights can look like an
# explanation and be none.
#
# ### Bo's question
#
# So let's look at the end of our scene, where the question is really asked. We take the head of layer 0 that looks at
# *hen* the most. Then we swap the two names in everything after the first two sentences, and change nothing else. If the
# head does what we think, it should now look at the fox.


# %%
def at_the_end(text):
    """Where each head of layer 0 looks from the last word, the words, and the most probable next one."""
    ids = torch.tensor([[end_of_text, *tokenizer.encode(fables.TRAVELLER + text)]])  # [B, T]
    pieces = [tokenizer.decode([id]).strip() for id in ids[0].tolist()]
    logits, _ = model(ids)  # [B, T, V]
    return watch(model, ids)[0][0, :, -1], pieces, tokenizer.decode([int(logits[0, -1].argmax())])


w, pieces, _ = at_the_end(scene)  # w: [H, T]
head = int(w[:, pieces.index("hen")].argmax())
exchanged = scene.replace("Bo", "@").replace("Ada", "Bo").replace("@", "Ada")
rows = []
for finder, text in (("Bo", scene), ("Ada", exchanged)):
    w, pieces, answer = at_the_end(text)
    shares = [f"{w[head, pieces.index(animal)]:.2f}" for animal in ("fox", "hen")]
    rows.append([finder, *shares, answer])
pictures.table(rows, ["who finds the bell", f"head {head} on fox", "on hen", "the model says"])

# %% [markdown]
# It follows the name. Is that a habit, or luck with one scene? In a hundred other stories, how often does this head
# look the most at the animal of the one who speaks?

# %%
right = 0
for story in fables.tell(100, seed=5):
    begun = story.text[: story.text.index(", for the ")] + ", for the"
    ids = torch.tensor([[end_of_text, *tokenizer.encode(begun)]])
    most = int(watch(model, ids)[0][0, head, -1].argmax())
    right += tokenizer.decode([int(ids[0, most])]).strip() == story.facts["finder.animal"]
print(f"layer 0, head {head}: the right animal in {right} of 100 stories")

# %% [markdown]
# That is Bo's question, answered by a head that worked it out from stories alone. Look at its number: this is the head
# that we met in the heat map as the one that looks most at itself. A head need not have a single job.
#
# How can it know whose animal it is, already in the first layer? Because of the little convolution. In *Bo the patient
# hen* the name comes three tokens before the animal, and in *Bo, for the* it comes three tokens before the last *the*,
# where the model has to answer. Both positions have taken in the name, and the head only has to match the two.
#
# What do weights not show? They don't show how large the values are that they multiply, and a weight of 0.9 on a value
# close to zero moves next to nothing. They don't show what the rest of the model does with the result either. Sarthak
# Jain and Byron Wallace made this point in a paper with the title *Attention is not explanation*
# ([2019](https://arxiv.org/abs/1902.10186)). The honest test is to change the text and see whether the answer changes,
# as we did with the names.
#
# A last check on all sixteen heads at once: does each row sum to 1, and does nobody look ahead?

# %% tags=["nbval-check-output"]
every = torch.stack(looks)  # [L, H, T, T]
print("layers, heads, T, T:", list(every.shape))
print("rows sum to 1:", torch.allclose(every.sum(dim=-1), torch.ones(every.shape[:-1]), atol=1e-4))
print("looks ahead:  ", bool(every.triu(diagonal=1).any()))

# %% [markdown]
# ## More exercises
#
# If you skipped the ones on the way, go back to **attention.2**, **attention.4** and **attention.5**: if you can write
# those three from an empty cell, you have understood this notebook.
#
# *Stretch, open-ended, without a check:* give the window more capacity. This model has about as many parameters as the
# others and sees whole stories:
#
# ```python
# wide = comparison.LookingBack(V, 24, [comparison.Window(24, n=110, hidden=26)])
# learn("wide window", wide)
# ```
#
# How much of the *far* column does it win back? Then try a convolution with gaps.

# %%
progress("attention")

# %%
recap("attention")

# %% [markdown]
# ## What to remember
#
# 1. Attention is a weighted average of values. The weights come from the content: a softmax of query · key, over the
#    keys.
# 2. `q @ k.transpose(-2, -1) / math.sqrt(hs)` is [B, T, T]: rows are queries, columns are keys. Divide by the root of
#    hs, never of C.
# 3. Mask the scores, before the softmax. Split heads with `view(B, T, H, hs).transpose(1, 2)`, and merge them by the
#    same steps in reverse.
# 4. A convolution knows positions and sees its neighbours. Attention knows content, sees everything in one layer, and
#    pays for it with $T^2$.
# 5. Of our models of equal size, only those with attention knew a fact beyond the window.
#
# **New terms**
#
# | here | in one line | elsewhere this is called |
# |---|---|---|
# | query, key, value | what a position looks for, has, and hands over | `q_proj`, `k_proj`, `v_proj` in Llama; one fused `c_attn` in GPT-2; Q, K, V in papers |
# | score | how well a key fits a query, before the softmax | attention logit, `attn_scores` |
# | attention weights | the scores after the softmax; each row sums to 1 | attention probabilities, `attn_probs`; attention pattern in interpretability |
# | self-attention | queries, keys and values from the same sequence | intra-attention in older papers |
# | head, H | one of several attentions side by side | `n_head`, `num_attention_heads` |
# | head size, hs | channels of one head, C / H | `head_dim`, `d_head`, $d_k$ |
# | output projection, `W_o` | mixes what the heads found | `c_proj` in GPT-2, `o_proj` in Llama, `out_proj` in PyTorch |
# | `attend` | scores, mask, softmax, average | scaled dot-product attention, SDPA |
# | convolution | one fixed filter over neighbours, the same at every position | `nn.Conv1d` |
# | variance | the square of the standard deviation | $\sigma^2$, `var` |
#
# **Three questions**
#
# 1. `weights.sum(dim=-2)` is all ones, `weights.sum(dim=-1)` is not. What happened?
#
# <details><summary>Answer</summary>
#
# The softmax ran over the queries. Each key hands out its attention, when each query should.
# </details>
#
# 2. C = 768, H = 12. By what do you divide the scores, and how many parameters do more heads cost?
#
# <details><summary>Answer</summary>
#
# By 8, the root of 64. More heads cost no parameters: the four matrices are [C, C] for any number of heads.
# </details>
#
# 3. You shuffle the words of a text, and a model of attention without positions and without a mask gives the same
# vectors, shuffled. Is it broken?
#
# <details><summary>Answer</summary>
#
# No. That is what attention is: it sees a set, not a sequence. Add positions, or let neighbours in by a convolution.
# </details>
#
# **To go deeper:** Vaswani and colleagues, [Attention Is All You Need](https://arxiv.org/abs/1706.03762) (2017),
# sections 3.2 and 4; the latter compares attention with convolutions. Andrej Karpathy, [Let's build
# GPT](https://www.youtube.com/watch?v=kCc8FmEb1nY) (2023), from the chapter "version 1: averaging past context" to
# "multi-headed self-attention", climbs the same ladder. In the package, read `gptlab/attention.py` from top to bottom.
#
# ## Next
#
# All through this notebook we wrote one line about the future and moved on: `masked_fill(~keep, -math.inf)`. Forget it
# once, and the model cheats, with a wonderful loss. Which masks are there, what does True mean, and how do you prove
# that nothing leaks? That is [notebook 07](07_masking.ipynb).
#
# Our sentence, one step further on its way: traits and animals look back at their names, drawn from the two neat heads
# of layer 1.

# %%
back = torch.zeros_like(looks[1][0])  # [T, T]
for head, asking in ((trait_head, ["proud", "patient"]), (animal_head, ["fox", "hen"])):
    rows = [labels.index(word) for word in asking]
    back[rows] = looks[1][head, rows]
pictures.arcs(back, labels, least=0.3, title="Layer 1: whose trait, whose animal?")
