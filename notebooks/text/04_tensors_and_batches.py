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
# # 04 · Tensors and batches
#
# *How ragged text becomes a rectangular block of numbers, without losing a single pair of neighbours.*
#
# Multiply numbers in a Python loop, pair by pair, and your computer seems slow. Let it multiply a million pairs with
# one command, and it is many times faster. A GPT is only practical because nearly all of its work can be put that way.
# But such commands work on rectangular blocks of numbers, and text isn't rectangular: one story is short, the next is
# long. This notebook brings the two together. In the first half you learn to think in blocks. In the second half you
# cut a whole book of stories into them, and at the end you measure what that buys you.
#
# **After this notebook you can**
#
# - read a shape such as [B, T, C] and say what each axis means for text,
# - predict the shape of a sum, a mean and a product, and have Python check the shapes in your own functions,
# - cut a text into training samples in two ways, and say why GPT's way costs so much less,
# - build batches that miss nothing, and that a training run can resume at any step,
# - measure how large a batch should be.
#
# **It builds on** tokens, ids and special tokens from notebooks 01 to 03. **Reading** takes about 55 minutes without the
# exercises; there is a good place for a break in the middle. **Running** takes about 15 seconds on two CPU cores and
# 750 MB of memory.

# %%
import math
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import gptlab
from gptlab import batches, checkpoints, corpora, gpu, pictures
from gptlab.corpora import fables
from gptlab.exercises import check, compare, hint, predict, progress, quiz, recap, solution

torch.manual_seed(4);

# %% tags=["nbval-check-output"]
pictures.pipeline("batches")

# %% [markdown]
# Three questions about earlier notebooks to warm up. Replace the dots with letters, as in
# `quiz("batches", ["a", "b", "c"])`, or skip them: nothing below depends on it.

# %% tags=["nbval-check-output"]
quiz("batches", [..., ..., ...])

# %% [markdown]
# ## The question: two sentences that don't stack
#
# The text that travels with us through the course has two sentences. Here they are as ids. The tokenizer is the one from
# notebook 00, and the small trained model that comes with it can wait until near the end.

# %% tags=["nbval-check-output"]
model, tokenizer = checkpoints.committed("fables")
first = fables.TRAVELLER.split(". ")[0] + "."
second = fables.TRAVELLER[len(first) :]
rows = [tokenizer.encode(part) for part in (first, second)]
for row in rows:
    print(len(row), "ids:", row)

# %% [markdown]
# We'd like to give both to a model at once. For that they have to become one block of numbers. The library that
# computes with such blocks is PyTorch, and its name in Python is `torch`. Let's ask it.

# %% tags=["raises-exception"]
torch.tensor(rows)

# %% [markdown]
# It refuses, because one row has 14 ids and the other has 7. A block of numbers can't have a ragged edge.
#
# So what would we have to do to our text to make it fit? Before we can answer that, we need to know what blocks are good
# for and which mistakes they invite. Keep the error in mind: near the end of the notebook, these two sentences will
# stack.
#
# ## First half: thinking in blocks
#
# ## By hand: a block and its axes
#
# For now we cheat, and take the first five tokens of each sentence.

# %% tags=["nbval-check-output"]
ids = torch.tensor([row[:5] for row in rows])  # [B, T]
B, T = ids.shape
print(ids)
print("shape:", list(ids.shape))

# %% [markdown]
# Such a block is called a **tensor**: numbers arranged along one or more directions, without a ragged edge. Each
# direction is an **axis**, and the sizes of the axes, in order, are the tensor's **shape**.
#
# This tensor has two axes. The first says which text we mean. Its size is written $B$, for **batch**, the texts that are
# processed together. The second says which position in the text, and its size is $T$, for time. The shape is [B, T]. With
# a word for each id, it looks like this:

# %% tags=["nbval-check-output"]
def words(some_ids):
    """The tokens of a row, each as text."""
    return [tokenizer.decode([int(i)]).strip() for i in some_ids]


pictures.table([[f"text b = {b}", *words(ids[b])] for b in range(B)], ["", *(f"t = {t}" for t in range(T))])

# %% [markdown]
# Square brackets pick things out, one index per axis. Watch the shapes in the next output: a number makes its axis
# disappear, while a colon takes everything along the axis and keeps it. When no axis is left, the shape is [] and the
# tensor is a single number.

# %% tags=["nbval-check-output"]
print("ids[1]     ", list(ids[1].shape), "  ", words(ids[1]))
print("ids[1, 2]  ", list(ids[1, 2].shape), "   ", words([ids[1, 2]]))
print("ids[:, 0]  ", list(ids[:, 0].shape), "  ", words(ids[:, 0]))
print("ids[:, 3:] ", list(ids[:, 3:].shape), words(ids[0, 3:]), words(ids[1, 3:]))

# %% [markdown]
# ### A third axis
#
# An id is the number of a row in a table, as you know from notebook 01. When we look up the row of each id, every id
# turns into a row of numbers, a **vector**. The numbers in a vector are called **channels**, and there are $C$ of them.
# Here $C$ is 3 and the numbers are random; where better ones come from is the subject of notebook 05.
#
# Note the index in `table[ids]`. It is itself a tensor, and each id in it is replaced by its row of the table.

# %% tags=["nbval-check-output"]
C = 3
table = torch.randn(tokenizer.vocab_size, C).round(decimals=1)  # [V, C], random numbers
x = table[ids]  # [B, T, C]
print("shape:", list(x.shape))
print("the vector of", words([ids[0, 4]])[0], "in text 0:", [round(v, 1) for v in x[0, 4].tolist()])

# %%
pictures.shapes(("ids", "B T", ids), "→", ("x = table[ids]", "B T C", x))

# %% [markdown]
# Each cell on the left has become a row of three cells on the right, and the two sheets, one behind the other, are our
# two texts.
#
# You will see [B, T, C] on almost every line of a GPT, so it's worth knowing what each axis means:
#
# | axis | an index says | neighbours along it | who mixes along it |
# |---|---|---|---|
# | B | which text | are strangers: texts of a batch must never influence each other | nothing in the model |
# | T | which position in the text | come before and after each other; order matters | attention (06) |
# | C | which number of a vector | have no order of their own | nearly all other layers |
#
# ### What goes away, and what stays
#
# A mean takes an axis away; `dim` says which one. Here is the first guess of this notebook. Replace `...` with a shape,
# written as a list: `predict("batches.a", [1, 2])`, for example.

# %% tags=["nbval-check-output"]
predict("batches.a", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
mean = x.mean(dim=1)
print("x.mean(dim=1) has the shape", list(mean.shape))
by_hand = (x[0, 0] + x[0, 1] + x[0, 2] + x[0, 3] + x[0, 4]) / 5
print("the same as the mean of five vectors:", torch.allclose(mean[0], by_hand))

# %% [markdown]
# <details><summary>Answer</summary>
#
# [2, 3], that is [B, C]. The time axis is gone, and one vector is left for each text. Negative numbers count from the
# end, so `dim=-1` would average the three numbers of each vector and leave [B, T].
# </details>
#
# `allclose` compares all numbers and tolerates rounding. Its sibling `equal`, which you'll meet below, tolerates nothing.
#
# ## Broadcasting: when shapes differ
#
# Two tensors of the same shape are added number by number. What if the shapes differ? Suppose we want to tell every
# vector which position it is at, and have one vector for each of the T positions. That is [B, T, C] plus [T, C].
# Models really do this, and notebook 05 shows why.

# %% tags=["nbval-check-output"]
positions = torch.arange(T * C).reshape(T, C) / 10  # [T, C]
added = x + positions  # [B, T, C] + [T, C] -> [B, T, C]

by_loop = torch.zeros(B, T, C)
for b in range(B):
    for t in range(T):
        by_loop[b, t] = x[b, t] + positions[t]
print("x + positions equals the loop:", torch.equal(added, by_loop))

# %%
pictures.shapes(("x", "B T C", x), "+", ("positions", "T C", positions), "=", ("added", "B T C", added))

# %% [markdown]
# Both sheets of `x` got the same [T, C] added. No copy was made: the same numbers were read twice. This is
# **broadcasting**, a smaller tensor used again and again along the axes it lacks. Its rule comes from
# [NumPy](https://numpy.org/doc/stable/user/basics.broadcasting.html) and is short:
#
# 1. Write the two shapes below each other so that their *right* ends line up.
# 2. In each column the sizes must be equal, or one of them must be 1 or missing.
# 3. A 1, or a gap, is repeated as often as the other side needs.
#
# Now line up [2, 1, 3] and [5, 1].

# %% tags=["nbval-check-output"]
predict("batches.b", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
a, b = torch.zeros(2, 1, 3), torch.zeros(5, 1)
print(" a      [2, 1, 3]")
print(" b         [5, 1]")
print(" a + b ", list((a + b).shape))

# %% [markdown]
# <details><summary>Answer</summary>
#
# [2, 5, 3]. From the right: 3 meets 1, 1 meets 5, and 2 meets a gap.
# </details>
#
# The rule has a trap. Say you want to multiply each *text* by a weight of its own, so the weights are [B]. As long as B
# and T differ, torch refuses. In its message, a *dimension* is an axis, and a *non-singleton* one has a size other than 1.
# Now look at the second line, where the two sizes happen to be equal.

# %% tags=["nbval-check-output"]
weights = torch.tensor([1, 100])  # [B]
try:
    torch.ones(2, 5) * weights
except RuntimeError as problem:
    print("B = 2, T = 5:", problem)
square = torch.ones(2, 2, dtype=torch.long)
print("B = 2, T = 2:", (square * weights).tolist(), "  meant:", (square * weights[:, None]).tolist())

# %% [markdown]
# In the square, the weights silently went to the *positions*, because the right ends were lined up. That's why this
# course gives B, T and C different sizes wherever it can: with equal ones, a mistake gives a wrong result of the right
# shape.
#
# The cure is in the last expression. `weights[:, None]` puts a new axis of size 1 where the `None` is, so [B] becomes
# [B, 1], and then the rule does what we mean.
#
# ### Your turn: Subtract the mean of the sequence
#
# `batches.6` · *warm-up* · 10 minutes
#
# Each text has a mean vector, the mean over its T tokens. Subtract it from every one of its tokens, for all texts at
# once. Leave `x` itself unchanged. In the signature, `Float[Tensor, "B T C"]` stands for a tensor of floats with the axes
# B, T and C; further down, Python will read these annotations too.
#
# ```python
# def centred(x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]: ...
# ```
#
# For example, `centred(torch.tensor([[[1., 4.], [3., 0.]]]))` is `[[[-1., 2.], [1., -2.]]]`: the mean vector of the only
# text is [2, 2].
#
# Replace the dots with your code and run the cell. `check` tries it on fresh inputs and names the most likely mistake,
# `hint("batches.6")` gives one hint at a time, and `solution("batches.6")` shows one way to do it.


# %% tags=["nbval-check-output"]
def centred(x): ...


check("batches.6", centred)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def centred(x):
#     return x - x.mean(dim=1, keepdim=True)  # [B, T, C] - [B, 1, C]
# ```
#
# `keepdim=True` leaves the averaged axis in place with size 1, so that broadcasting finds it. `x.mean(dim=1)[:, None]`
# is the same. Without either, [B, C] lines up from the right and its B meets T.
# </details>
#
# ## Views and copies
#
# A tensor stores its numbers in one long row of memory. The shape is only a way of reading that row. Sounds harmless?

# %% tags=["nbval-check-output"]
predict("batches.c", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
row = torch.arange(10)
as_table = row.view(2, 5)
as_table[0, 0] = 99
print(row)

# %% [markdown]
# <details><summary>Answer</summary>
#
# b, it is 99. There is one row of memory and there are two ways to read it.
# </details>
#
# A tensor that reads another tensor's memory is a **view**; one with memory of its own is a **copy**. A view costs next
# to nothing however large the tensor is, but writing into it changes the original. A tensor's **stride** tells how it
# reads its row of memory: how many numbers to move ahead for one step along each axis. Compare the stride of `ids` with
# that of `ids.T`, which swaps the two axes.

# %% tags=["nbval-check-output"]
def described(name, t):
    same = t.untyped_storage().data_ptr() == ids.untyped_storage().data_ptr()  # where the row of memory begins
    kind = "itself" if t is ids else "view" if same else "copy"
    return [name, str(list(t.shape)), str(t.stride()), kind, " ".join(words(t.flatten()[:4]))]


ways = {
    "ids": ids, "ids[0]": ids[0], "ids[:, 1:3]": ids[:, 1:3], "ids.T": ids.T, "ids.view(5, 2)": ids.view(5, 2),
    "ids[[0, 1]]": ids[[0, 1]], "ids + 0": ids + 0, "ids.clone()": ids.clone(),
}  # fmt: skip
header = ["", "shape", "stride", "view or copy", "its first four tokens"]
pictures.table([described(*way) for way in ways.items()], header, align="lllll")

# %% [markdown]
# Slices and transposes are views; arithmetic and lists of indices make copies. Two lines have the shape [5, 2], and
# they are not the same tensor. `ids.T` swaps the axes: its strides are those of `ids` in the other order.
# `ids.view(5, 2)` leaves the row of memory as it is and cuts it elsewhere. Row by row:

# %% tags=["nbval-check-output"]
for t in range(T):
    print(f"row {t}:   ids.T  {' | '.join(words(ids.T[t])):18}  ids.view(5, 2)  {' | '.join(words(ids.view(5, 2)[t]))}")

# %% [markdown]
# In `ids.T` each column is a text. In the view both texts are torn up, and row 2 holds the end of one and the beginning
# of the other. There's no error and no warning, because the shape is right, which makes this one of the most common
# silent mistakes in deep learning. So use `view` to cut or join axes that are neighbours in memory, and `transpose` to
# swap two axes. `reshape` is `view` where that is possible and makes a copy where it isn't.
#
# ## Products: `@` over batches
#
# Nearly all the work of a model is one operation. Multiply two vectors number by number and add up the results: that is
# their **dot product**. The **matrix product** `@` is a whole table of dot products. Below, every vector of `x` meets
# each of the four columns of `w`. Think of the columns as four words that might come next, so $V = 4$, and of each dot
# product as a score for one of them.
#
# $$y_{b,t,v} = \sum_{c} x_{b,t,c}\, w_{c,v}$$

# %% tags=["nbval-check-output"]
V = 4
w = torch.randn(C, V)  # [C, V]
y = x @ w  # [B, T, C] @ [C, V] -> [B, T, V]

by_loop = torch.zeros(B, T, V)
for b in range(B):
    for t in range(T):
        for v in range(V):
            by_loop[b, t, v] = sum(x[b, t, c] * w[c, v] for c in range(C))
print("shape:", list(y.shape), "  the loops agree:", torch.allclose(y, by_loop, atol=1e-5))

# %%
pictures.shapes(("x", "B T C", x), "@", ("w", "C V", w), "=", ("y", "B T V", y))

# %% [markdown]
# The C in the middle is gone, because we summed over it. The axes in front of it, B and T, came through untouched.
#
# We can also count the work. The innermost line runs B·T·V times, and each time it computes a dot product of C numbers.
# Each of these numbers costs one multiplication and one addition, so the whole product takes $2\,B\,T\,C\,V$ **FLOPs**,
# floating-point operations.
#
# ### Every vector meets every other
#
# Both sides of a product may have a batch axis. Then each text has a product of its own: text 0 with text 0, text 1 with
# text 1. Imagine that each text has $T_q$ questions and $T_k$ things that might answer them, all of them vectors of $C$
# numbers, and we want to know how well each question fits each thing. That's a dot product for every pair, and it is half
# of attention, as you'll see in notebook 06. The letters q and k come from there.
#
# ### Your turn: All dot products, sequence by sequence
#
# `batches.7` · *core* · 15 minutes
#
# In each text, take the dot product of each of the Tq vectors of `q` with each of the Tk vectors of `k`. Start with
# loops if you like, then look for the one line with `@`.
#
# ```python
# def all_dot_products(q: Float[Tensor, "B Tq C"], k: Float[Tensor, "B Tk C"]) -> Float[Tensor, "B Tq Tk"]: ...
# ```
#
# For example, with `q = [[[1., 2.]]]` and `k = [[[3., 0.], [1., 1.]]]` the result is `[[[3., 3.]]]`, since
# 1·3 + 2·0 = 3 and 1·1 + 2·1 = 3.


# %% tags=["nbval-check-output"]
def all_dot_products(q, k): ...


check("batches.7", all_dot_products)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def all_dot_products(q, k):
#     return q @ k.transpose(-2, -1)  # [B, Tq, C] @ [B, C, Tk] -> [B, Tq, Tk]
# ```
#
# The two C must be next to each other, so `k` has to be turned: `k.transpose(-2, -1)` swaps its last two axes and
# leaves the batch alone. `.T` would reverse *all* axes, the batch included.
# </details>
#
# Whether or not you found the one line, here it is on random numbers. The signature gave you the letters of the result.
# Which sizes will it have?

# %% tags=["nbval-check-output"]
predict("batches.d", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
q, k = torch.randn(2, 5, 3), torch.randn(2, 4, 3)  # [B, Tq, C], [B, Tk, C]
products = q @ k.transpose(-2, -1)
one_by_one = torch.stack([q[b] @ k[b].T for b in range(2)])  # one product for each text, stacked
by_sum = torch.einsum("bqc,bkc->bqk", q, k)
print("shape:", list(products.shape))
print("text by text the same:", torch.allclose(products, one_by_one, atol=1e-5))
print("einsum says the same: ", torch.allclose(products, by_sum, atol=1e-5))

# %% tags=["answers-prediction"]
k_turned = k.transpose(-2, -1)  # [B, C, Tk]
pictures.shapes(("q", "B Tq C", q), "@", ("k turned", "B C Tk", k_turned), "=", ("products", "B Tq Tk", products))

# %% [markdown]
# <details><summary>Answer</summary>
#
# [2, 5, 4]. [2, 5, 3] meets [2, 3, 4], and the 3 in the middle is summed over.
# </details>
#
# The last check used `einsum`, which takes the formula itself: the letters of the inputs, an arrow, the letters of the
# result. A letter that is missing on the right is summed over.
#
# ## Let Python check the shapes
#
# You have now seen two mistakes that give the right shape. Many more give a wrong one, and the error appears far away
# from its cause. A comment such as `# [B, T, C]` helps, until it lies. The library
# [jaxtyping](https://docs.kidger.site/jaxtyping/) (Patrick Kidger, 2022) lets you write the shape where Python can read
# it. The next two lines are commands to the notebook rather than Python. They switch the checking on for every function
# that you define below, *in this notebook only*; another notebook that wants it needs the same two lines.

# %%
# %load_ext jaxtyping
# %jaxtyping.typechecker beartype.beartype

# %% tags=["nbval-check-output"]
from jaxtyping import Float, Int


def scores(x: Float[Tensor, "B T C"], w: Float[Tensor, "C V"]) -> Float[Tensor, "B T V"]:
    return x @ w


print(list(scores(x, w).shape))

# %% [markdown]
# `Float` or `Int` says what kind of numbers it holds, `Tensor` that it is one of torch's, and the letters name the axes. A
# letter may stand for any size, but for the same one everywhere in a call. Now we hand over `w` turned the wrong way:

# %%
try:
    scores(x, w.T)
except TypeError as problem:
    print(problem)

# %% [markdown]
# Read such a message in three places. *parameter 'w'* says where the problem is. *Actual value* and *Expected type* say
# what arrived and what should have; `f32` means 32-bit floats. And the last lines list the sizes that the letters had by
# then: C had already got its size from `x`, so a `w` whose first axis has another size can't fit.
#
# Results are checked too. The next function promises one vector per text, but averages over the wrong axis:

# %%
def mean_of_each_text(x: Float[Tensor, "B T C"]) -> Float[Tensor, "B C"]:
    return x.mean(dim=0)


try:
    mean_of_each_text(x)
except TypeError as problem:
    print("\n".join(str(problem).splitlines()[:3]))

# %% [markdown]
# Python alone would have let this through: the result does have two axes. Only the size of the first one gives it away,
# and with B = T nothing would have.
#
# That's the first half. We can read blocks, add them, multiply them and check them, and it all works for two thousand
# texts as it does for two. This is a good place for a break.
#
# ## Second half: getting text into blocks
#
# Back to the error at the top. Text is ragged and blocks are not, so we need to cut or fill. But where do we cut? That
# depends on what the model is supposed to learn from the pieces.
#
# ## One sample: a context and a target
#
# A language model learns to predict the **next** token. So a training sample consists of a **context**, some tokens of
# the text, and a **target**, the token that comes right after them. Here's the smallest version of it, where every
# token has its successor as the target.
#
# ### Your turn: Targets, one later
#
# `batches.1` · *warm-up* · 5 minutes
#
# From T + 1 ids, make the T inputs and the T targets: the target of each input is the id that follows it. `ids` is a list
# with at least two ids; leave it unchanged. Return two lists of the same length, inputs first.
#
# ```python
# def inputs_and_targets(ids: list[int]) -> tuple[list[int], list[int]]: ...
# ```
#
# For example, `inputs_and_targets([5, 6, 7])` is `([5, 6], [6, 7])`.


# %% tags=["nbval-check-output"]
def inputs_and_targets(ids: list[int]): ...


check("batches.1", inputs_and_targets)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def inputs_and_targets(ids):
#     return ids[:-1], ids[1:]
# ```
# </details>
#
# How long is the context, though? There are two answers, and the difference between them is one of the reasons why GPTs
# can be trained at all.
#
# ### A window that rolls along
#
# The older answer: take the last few tokens, always the same number, and predict the next one. Near the beginning there
# aren't enough tokens yet, so we fill up on the left with **padding**, an id that stands for no word.
#
# ### Your turn: A window that rolls along
#
# `batches.2` · *warm-up* · 10 minutes
#
# For each id but the last, make a window: the T ids that end with it, padded on the left with `pad` where there aren't
# enough. Its target is the id that comes next. Return the list of windows and the list of targets.
#
# ```python
# def rolling_windows(ids: list[int], T: int, pad: int) -> tuple[list[list[int]], list[int]]: ...
# ```
#
# For example, `rolling_windows([5, 6, 7], 2, 0)` is `([[0, 5], [5, 6]], [6, 7])`.


# %% tags=["nbval-check-output"]
def rolling_windows(ids: list[int], T: int, pad: int): ...


check("batches.2", rolling_windows)

# %% [markdown]
# Here is what it does with our first sentence and a window of four. The dots are padding. Follow the word *forest*
# through the rows until it drops out on the left.

# %% tags=["nbval-check-output"]
sentence = rows[0]
end = tokenizer.special_tokens["<|endoftext|>"]  # also serves as the padding: any id that isn't a word will do
window = 4
padded = [end] * (window - 1) + sentence
for n in range(len(sentence) - 1):
    shown = ["·" if i == end else tokenizer.decode([i]).strip() for i in padded[n : n + window]]
    print(f"{' '.join(f'{word:>7}' for word in shown)}  →  {words([sentence[n + 1]])[0]}")

# %% [markdown]
# This is a **rolling window**. All samples have the same size, so $N$ of them stack into a tensor [N, T], with $T$ the
# size of the window. The best-known early neural language model reads this way (Bengio, Ducharme, Vincent and Jauvin,
# [A Neural Probabilistic Language Model](https://www.jmlr.org/papers/v3/bengio03a.html), 2003). But what falls out of the
# window is forgotten: when the model has to predict *proud*, it no longer sees that we are in a forest.
#
# ### One block, many contexts
#
# A GPT reads a whole block at once. At *every* position it predicts the next token, from the token there and those before.

# %% tags=["nbval-check-output"]
predict("batches.f", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
T = len(sentence) - 1
for t in range(T):
    context, target = sentence[: t + 1], sentence[t + 1]
    print(f"{tokenizer.decode(context):>54}  →  {words([target])[0]}")
print(f"T = {T} positions, and as many samples")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Thirteen: one at each position of the block.
# </details>
#
# So a block of $T$ tokens with its targets holds $T$ training samples, whose contexts grow from one token to $T$. And $T$
# is the longest context that the model ever sees, its context window.
#
# ### Your turn: One block, T examples
#
# `batches.3` · *warm-up* · 10 minutes
#
# Write this as a function: from the first T + 1 ids, make the list of T pairs (context, target).
#
# ```python
# def growing_contexts(ids: list[int], T: int) -> list[tuple[list[int], int]]: ...
# ```
#
# For example, `growing_contexts([5, 6, 7], 2)` is `[([5], 6), ([5, 6], 7)]`.


# %% tags=["nbval-check-output"]
def growing_contexts(ids: list[int], T: int): ...


check("batches.3", growing_contexts)

# %% [markdown]
# Now both ways side by side, on the same sentence. Each row is a sample, and its filled cells are the tokens it reads.

# %%
sees_all = torch.ones(T, T, dtype=torch.bool).tril()  # [T, T]  True on the diagonal and to its left
sees_four = sees_all & ~sees_all.tril(-window)  # and no further back than the window
both = pictures.mask({"rolling window of 4": sees_four, "one block": sees_all}, words(sentence[:T]))
for axes, ylabel in zip(both.axes, ("sample, named by its last token", ""), strict=False):
    axes.set(xlabel="token of the text", ylabel=ylabel)
both.supxlabel("filled: the sample reads it    ×: it does not", fontsize=10, color="#767676")
both.alt = f"Two grids, {T} samples by {T} tokens. Left a band of four along the diagonal, right the whole triangle."
both

# %% [markdown]
# On the left no row has more than four filled cells, and the first three have fewer, because there the padding was. On
# the right each row has one more than the row above. What the picture doesn't show is the cost. How many tokens must the
# model process for each target?

# %% tags=["nbval-check-output"]
rows_of_cost = [
    ("rolling window of 4", T * window, T, f"{window}"),
    (f"rolling window of {T}", T * T, T, f"{T}"),
    ("one block", T, T, "1"),
]
pictures.table(rows_of_cost, ["contexts", "tokens processed", "targets", "tokens per target"])

# %% [markdown]
# A rolling window processes each token again in every window that contains it. The block processes each token once and
# learns at every position. For GPT-2, whose $T$ is 1,024, that is a factor of a thousand.
#
# There are two catches. The first targets of a block have to be predicted from very little. And the trick works only
# if the model keeps each position from looking at what comes after it, which is the subject of notebook 07.
#
# ### The tested block
#
# The package has both functions. Are they what you built by hand? NumPy cuts windows as well, so we ask it, too.

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(4)
for _ in range(200):
    some = rng.integers(1, 50, size=rng.integers(2, 30)).tolist()
    size = int(rng.integers(1, 9))
    contexts, targets = batches.rolling_windows(some, size, pad=0)  # [N, T], [N]
    wide = [0] * (size - 1) + some
    assert contexts.tolist() == [wide[n : n + size] for n in range(len(some) - 1)] and targets.tolist() == some[1:]
    assert np.array_equal(contexts, np.lib.stride_tricks.sliding_window_view(wide, size)[:-1])
    block = batches.growing_contexts(some, len(some) - 1)
    assert block == [(some[: t + 1], some[t + 1]) for t in range(len(some) - 1)]
print("200 random texts: by hand, in the package and in NumPy the same")

# %% [markdown]
# The package's windows hold a small surprise that the first half has prepared. Look at how many numbers they have, and
# how many are in memory, where an id takes eight bytes:

# %% tags=["nbval-check-output"]
contexts, _ = batches.rolling_windows(list(range(10_000)), T=64, pad=0)
print(f"{contexts.numel():,} numbers to read, {contexts.untyped_storage().nbytes() // 8:,} in memory")
print("stride:", contexts.stride())

# %% [markdown]
# They are a view. Moving one window ahead, or one token ahead, is the same single step through memory, so overlapping
# windows read the same numbers. This saves memory, but no processing.
#
# ## From a whole book to blocks
#
# Now we do it with all the fables at once. They form one long row, each followed by the end token. An id and the id
# after it are a **pair of neighbours**, and every such pair is something to learn.

# %% tags=["nbval-check-output"]
stories = corpora.load("fables", quiet=True).text.strip().split(fables.SEPARATOR)
book = [i for story in stories for i in [*tokenizer.encode(story), end]]
print(f"{len(stories):,} stories, {len(book):,} ids, {len(book) - 1:,} pairs of neighbours")

# %% [markdown]
# In one long row there is no raggedness left. We can cut it into blocks of equal length, without caring where a story
# ends: a block may begin in the middle of one and run on into the next, and the end token tells the model so.
#
# ### Your turn: Every pair of neighbours once
#
# `batches.5` · *warm-up* · 10 minutes
#
# A text of N ids is read in blocks of T inputs, each with its T targets one position later. Return the starts of the
# blocks, in order, so that every pair of neighbours is in exactly one of them. The last block may be shorter, but not
# empty. Watch the boundaries between blocks.
#
# ```python
# def block_starts(N: int, T: int) -> list[int]: ...
# ```
#
# For example, a text of 6 ids has 5 pairs of neighbours, and `block_starts(6, 3)` is `[0, 3]`: the first block holds
# three pairs and the second holds two.


# %% tags=["nbval-check-output"]
def block_starts(N: int, T: int): ...


check("batches.5", block_starts)

# %% [markdown]
# One answer is tempting and wrong. A block needs $T + 1$ ids, because the last input has a target too. So should the next
# block begin $T + 1$ ids later, or only $T$? We try both on a text of twelve ids, whose values are their positions.

# %% tags=["nbval-check-output"]
text, T = list(range(12)), 4
for distance in (5, 4):
    inputs = [text[s : s + T] for s in range(0, len(text) - 1, distance)]
    targets = [text[s + 1 : s + T + 1] for s in range(0, len(text) - 1, distance)]
    pairs = {(i, j) for xs, ys in zip(inputs, targets, strict=True) for i, j in zip(xs, ys, strict=False)}
    lost = [(i, i + 1) for i in range(11) if (i, i + 1) not in pairs]
    print(f"{distance} ids later: inputs {inputs}, lost: {lost}")

# %% [markdown]
# With $T + 1$, which looks so natural, a pair is lost between any two blocks. With $T$, two blocks share one id: the
# last target of one is the first input of the next. No pair is lost, and none is read twice.
#
# ### B blocks side by side
#
# Now stack $B$ blocks, and the result has the shape that we wanted from the start: [B, T]. `torch.stack` turns a list of
# tensors of equal shape into one tensor, with a new axis in front.
#
# ### Your turn: A batch out of a long row
#
# `batches.4` · *core* · 10 minutes
#
# Cut B blocks of T ids out of the long row `ids` [N], and their targets, one position later. `starts` lists the B
# positions where the blocks begin, in any order and not always different. Every block fits, and so do its targets. Return
# two integer tensors.
#
# ```python
# def get_batch(ids: Int[Tensor, "N"], starts: list[int], T: int) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]: ...
# ```
#
# For example, `get_batch(torch.arange(10), [6, 0], 3)` is `[[6, 7, 8], [0, 1, 2]]` and `[[7, 8, 9], [1, 2, 3]]`.


# %% tags=["nbval-check-output"]
def get_batch(ids: Tensor, starts: list[int], T: int): ...


check("batches.4", get_batch)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def get_batch(ids, starts, T):
#     x = torch.stack([ids[s : s + T] for s in starts])  # [B, T]
#     y = torch.stack([ids[s + 1 : s + T + 1] for s in starts])  # [B, T]
#     return x, y
# ```
# </details>
#
# `Batches` in the package does the same. With `order="ordered"` it walks through the text from the first id to the last.
# Look at the last row of targets.

# %% tags=["nbval-check-output"]
small = batches.Batches(text, B=2, T=4, order="ordered")
for step in range(len(small)):
    print(f"step {step}: ids {small.batch(step).ids.tolist()}, targets {small.batch(step).targets.tolist()}")

# %% [markdown]
# Eleven pairs don't fill three blocks of four, so the last block is padded on the right. Its input is filled up with 0,
# and the target of that position is −100. This number is `batches.IGNORE`, torch's own convention: the **loss**, a
# model's average penalty for its predictions, leaves such positions out.
#
# The subtitle promised that no pair of neighbours gets lost. We count, over the whole book. For this the ids are replaced
# by their positions, so that no two pairs look alike.

# %% tags=["nbval-check-output"]
numbered = np.arange(len(book))
walk = batches.Batches(numbered, B=8, T=48, order="ordered")
seen = Counter()
for step in range(len(walk)):
    ids, targets = walk.batch(step)  # [B, T], [B, T]
    real = targets != batches.IGNORE
    assert torch.equal(ids[real] + 1, targets[real])
    seen.update(ids[real].tolist())
print(f"{len(walk)} steps, {len(seen):,} pairs, each of them read this many times: {set(seen.values())}")

# %% [markdown]
# Every pair, exactly once. One such pass through the whole text is called an **epoch**.
#
# For *measuring* a model that's what you want. For *training*, many programs sample instead, `Batches` by default among
# them: each step takes B random starts anywhere in the text. So blocks don't begin at the same positions every time, and
# a batch mixes different parts of the book. What does that do to our promise? We take as many random steps as the walk
# had, and count again.

# %% tags=["nbval-check-output"]
sampled = batches.Batches(numbered, B=8, T=48, seed=1)
seen = Counter()
for step in range(len(walk)):
    seen.update(sampled.batch(step).ids.flatten().tolist())
often = Counter(seen[position] for position in range(len(book) - 1))
shares = [(times, f"{often[times] / (len(book) - 1):.1%}") for times in range(5)]
pictures.table(shares, ["times read", "share of the pairs"], align="rr")

# %% [markdown]
# More than a third of the pairs have never been read, and others several times. Nothing is wrong here. Throw as many
# balls at random as there are boxes, and about 37 % of the boxes stay empty. Over many epochs it evens out, and long
# training runs rarely care; other programs shuffle the blocks of a walk and miss none.
#
# ### A run that can be resumed
#
# Training runs stop halfway: a power cut, a time limit. When yours goes on, it should continue with the batches that it
# hasn't seen. If all batches come from one random generator, you'd have to bring it back into the very state it had at
# that step. Can we do without?
#
# ### Your turn: Random batches that can be resumed
#
# `batches.9` · *stretch* · 25 minutes
#
# Write a class whose `batch(step)` gives B random blocks of T ids and their targets, and depends on the seed and the step
# alone. Stopped at step 700 and resumed next week, it goes on with the batches of steps 700, 701 and so on. Another seed
# must give other batches, and not the same ones at shifted steps. Every position can be a start if its block and the
# target after it fit. Inputs and targets are [B, T], tensors or lists. As a source of chance you may use torch's
# `torch.Generator().manual_seed(n)`, handed to `torch.randint` as `generator=`, or Python's `random.Random(n)`: both give
# the same numbers again for the same n.
#
# ```python
# class RandomBatches:
#     def __init__(self, ids: list[int], B: int, T: int, seed: int): ...
#     def batch(self, step: int): ...  # inputs [B, T] and targets [B, T]
# ```
#
# For example, `RandomBatches(ids, 2, 3, seed=1).batch(5)` gives the same blocks on every call, whatever was asked for
# before. Pass the class itself to `check`.


# %% tags=["nbval-check-output"]
class RandomBatches:
    def __init__(self, ids: list[int], B: int, T: int, seed: int): ...

    def batch(self, step: int): ...


check("batches.9", RandomBatches)

# %% [markdown]
# Does the package's class keep that promise?

# %% tags=["nbval-check-output"]
through = [sampled.batch(step).ids for step in range(10)]
resumed = batches.Batches(numbered, B=8, T=48, seed=1)  # a new object, on another day
print("step 7 is the same again:", torch.equal(resumed.batch(7).ids, through[7]))
print("step 8 differs from it:  ", not torch.equal(through[8], through[7]))
other = batches.Batches(numbered, B=8, T=48, seed=2)
print("another seed differs:    ", not torch.equal(other.batch(7).ids, through[7]))

# %% [markdown]
# <details><summary>How it does that</summary>
#
# It makes a new generator in every step, from the seed and the step:
#
# ```python
# generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
# return torch.randint(len(self.ids) - self.T, (self.B,), generator=generator).tolist()
# ```
#
# The large factor keeps two seeds apart for a million steps. With `seed + step`, seed 1 at step 0 would sample what
# seed 0 samples at step 1.
# </details>
#
# ## The two sentences, at last
#
# Sometimes every text should have a row of its own, as the fables do in notebook 10. Then there is raggedness after all,
# and the answer is padding.
#
# ### Your turn: Texts of different lengths in one batch
#
# `batches.8` · *stretch* · 15 minutes
#
# Make a batch of texts of different lengths. T is one less than the length of the longest. Shorter inputs are padded on
# the right with `pad`; where the input is padding, the target is −100. An id of a text may happen to equal `pad`, and
# then it isn't padding. Each row has at least two ids; leave the rows unchanged. Return inputs and targets as lists.
#
# ```python
# def pad_batch(rows: list[list[int]], pad: int) -> tuple[list[list[int]], list[list[int]]]: ...
# ```
#
# For example, `pad_batch([[5, 6, 7], [8, 9]], 0)` is `([[5, 6], [8, 0]], [[6, 7], [9, -100]])`.


# %% tags=["nbval-check-output"]
def pad_batch(rows: list[list[int]], pad: int): ...


check("batches.8", pad_batch)

# %% [markdown]
# The package's `StoryBatches` does this. Its `start` is what comes before the first token, the end token of the previous
# story, so that the first token is a target too and a model learns how stories begin. Here are the two rows that
# couldn't be stacked at the top:

# %% tags=["nbval-check-output"]
both_rows = batches.StoryBatches([[*row, end] for row in rows], B=2, start=end, shuffle=False).batch(0)
print("shape:", list(both_rows.ids.shape))
print("targets of the second sentence:", both_rows.targets[1].tolist())

# %% [markdown]
# They stack. The second row has the targets of its words and its end token, which the model *should* learn, and then
# positions that don't count. Do they really not count? We fill them with something else and ask the trained model for
# its loss. If the padding is harmless, nothing changes.

# %% tags=["nbval-check-output"]
ids, targets = both_rows
refilled = torch.where(targets == batches.IGNORE, 99, ids)  # another id wherever the target is -100
with torch.no_grad():
    _, loss = model(ids, targets)
    _, refilled_loss = model(refilled, targets)
print("ids changed:", int((ids != refilled).sum()), "  loss the same:", torch.allclose(loss, refilled_loss, atol=1e-5))

# %% [markdown]
# Seven ids changed and the loss did not move. Two things work together here: the targets at those positions are ignored,
# and a GPT never looks ahead, so padding on the right can't influence the words before it.
#
# That answers the question from the top. To turn ragged text into a block, put everything into one long row and cut it,
# or give each text a row of its own and pad.
#
# ## Break it
#
# The best-known mistake with batches is to forget the shift of the targets. Here is a batch with that mistake and one
# without. How often would a parrot be right, a model that understands nothing and repeats what it has read?

# %% tags=["nbval-check-output"]
ids, targets = batches.Batches(book, B=16, T=48, seed=3).batch(0)
for name, aims in (("targets not shifted", ids), ("targets one later", targets)):
    print(f"{name:20} the parrot is right at {(ids == aims).float().mean():6.1%} of the positions")

# %% [markdown]
# With unshifted targets a training run looks wonderful. Copying is all there is to learn, so the loss falls towards zero,
# and then the model can't say a thing. Be suspicious of a loss that is too good. The quickest check needs no training at
# all: print one row of ids and its targets as text.

# %% tags=["nbval-check-output"]
print("ids:    ", " ".join(words(ids[0, :12])))
print("targets:", " ".join(words(targets[0, :12])))

# %% [markdown]
# The second line is the first one, moved to the left by a token. That is what you want to see.
#
# A quieter mistake is to shuffle before you split. Part of a text is always held out to measure a model on what it hasn't
# read: the **validation** set. What if you cut rolling windows first, shuffle them, and hold out a tenth? How many of the
# held-out tokens has the model already seen in training?

# %% tags=["nbval-check-output"]
contexts, targets = batches.rolling_windows(numbered[:20_000], T=48, pad=20_000)  # a padding that isn't a position
order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))
train_windows, held_windows = order[2_000:], order[:2_000]
read = set(contexts[train_windows].flatten().tolist()) | set(targets[train_windows].tolist())
leaked = sum(int(t) in read for t in targets[held_windows])
print(f"shuffled, then split: {leaked / len(held_windows):.1%} of the held-out tokens were read in training")

train, held = batches.split(numbered[:20_000], 0.9)
print(f"split, then cut:      {len(set(train) & set(held)) / len(held):.1%}")

# %% [markdown]
# Every token is in dozens of windows, so nearly every held-out token was also read elsewhere, and the measurement says
# nothing. Split the text once, before you do anything else. `batches.split` does it.
#
# ## At size: how large should a batch be?
#
# So far $B$ was whatever we liked. One text at a time would do; for a large corpus, all of them at once would need more
# memory than there is. What lies between is called a **mini-batch**, or batch for short, and there are two reasons to take
# more than one text. We can measure both.
#
# ### Reason one: throughput
#
# The trained model of the fables now works as it does in training. A training step runs **forward**, from the ids to the
# loss, and then **backward** through the same operations, to find out how each parameter should change. For the backward
# pass it has to store what it computed in the forward pass. For each $B$ we measure how many tokens it gets through per
# second, its **throughput**, and how many bytes it stores. First your guess:

# %% tags=["nbval-check-output"]
predict("batches.e", ...)

# %%
device = gpu.pick_device()
torch.set_num_threads(1)
clock = time.process_time if device.type == "cpu" else time.perf_counter  # on a CPU: the time of this program alone
model, T = model.to(device), 24


def train_on(ids, targets):
    """A training step without the update at its end."""
    model.zero_grad()  # forget the gradients of the step before
    _, loss = model(ids, targets)  # forward
    loss.backward()  # backward
    gpu.synchronize(device)  # a GPU works behind our back: wait until it is done


def seconds_per_step(ids, targets):
    """The mean over about a third of a second, at least three steps; the first, slower one doesn't count."""
    train_on(ids, targets)
    steps, start = 0, clock()
    while steps < 3 or clock() - start < 1 / 3:
        train_on(ids, targets)
        steps += 1
    return (clock() - start) / steps


# %% tags=["answers-prediction"]
sizes = [1, 2, 4, 8, 16, 32, 64, 128]
if device.type != "cpu":
    sizes += [256, 512, 1024, 2048]
took, stored = {}, {}  # seconds per step, and bytes stored for the backward pass, for each B
for B in sizes:
    batch = [part.to(device) for part in batches.Batches(book, B, T).batch(0)]
    took[B] = seconds_per_step(*batch)
    stored[B] = gpu.activation_bytes(lambda inputs=batch: model(*inputs)[1], model)
speed = {B: B * T / took[B] for B in took}  # tokens per second
print("measured on", "one CPU core" if device.type == "cpu" else device)
print(f"B = 64 takes {took[64] / took[4]:.1f} times as long as B = 4; expected: less than 16 times")
rows_of_speed = [(B, f"{1000 * took[B]:.1f}", f"{speed[B]:,.0f}", f"{stored[B] / 1e6:.1f}") for B in took]
pictures.table(rows_of_speed, ["B", "milliseconds per step", "tokens per second", "MB stored"], align="rrrr")

# %% tags=["answers-prediction"]
knee = min(B for B in speed if speed[B] > 0.8 * max(speed.values()))
curve = {"throughput": list(speed.items())}
picture = pictures.lines(curve, "B, texts in a batch", "tokens per second", at={"knee": knee}, log="x")
picture.axes[0].set_ylim(bottom=0)
picture

# %% [markdown]
# <details><summary>Answer</summary>
#
# b, usually less than 16 times as long. Every operation has a fixed cost before it does any work: Python calls torch,
# torch picks a routine, the weights are fetched from memory. With few texts this cost is a large share of the time; with
# many it is divided among them. And there is more work of the same kind to do at once, which processors are built for: a
# CPU core multiplies several numbers per instruction (**vector computation**), and a GPU has thousands of arithmetic
# units to keep busy.
# </details>
#
# From each point to the next, the batch doubles. Apart from bumps, the curve rises steeply at first and then flattens.
# Once the machine is busy all the time, twice the batch takes at least about twice as long, and the largest batches may
# even lose some speed again. The place where the rise ends is called the **knee**. The vertical line puts it, by a
# convention of this course, at the first $B$ with 80 % of the best throughput. It depends on the machine and the model
# together, and on a GPU it comes much later.
#
# The last column of the table has no knee: twice the batch, twice the bytes. On a GPU, memory may run out before the knee
# is reached. So make a batch as large as the knee suggests and the memory allows. If it should be larger still, it is
# processed in parts, one after the other, as you'll see in notebook 17.
#
# ### Reason two: a steadier estimate
#
# What we compute from a batch is an estimate of what the whole book would say. For the fables we can check how good such
# an estimate is, because we know one number of each story exactly: how much surprise it carries, which notebook 01
# counted in bits and notebook 03 in nats. How far is the mean over $B$ stories from the mean over all of them?
#
# The usual measure of such distances is the **standard deviation** $\sigma$: square the distances from the mean, average
# the squares, take the root. Compare the last two numbers of each line.

# %% tags=["nbval-check-output"]
nats = torch.tensor([story.nats for story in fables.tell(4096, seed=4)])
generator = torch.Generator().manual_seed(0)
print(f"one story has {nats.mean():.1f} nats on average, with σ = {nats.std():.2f}")
for B in (1, 4, 16, 64, 256):
    means = nats[torch.randint(len(nats), (2000, B), generator=generator)].mean(dim=1)  # [2000]
    print(f"B = {B:3}: means of batches have σ = {means.std():.2f}; σ / √B is {nats.std() / math.sqrt(B):.2f}")

# %% [markdown]
# Four times the batch, half the error: the mean of $B$ independent samples is typically off by about $\sigma /
# \sqrt{B}$. The first few texts help most. The same holds for the direction in which training changes the parameters,
# so beyond some size each further text buys little (McCandlish, Kaplan and others, [An Empirical Model of Large-Batch
# Training](https://arxiv.org/abs/1812.06162), 2018).
#
# How large are real batches? GPT-2 was trained with $B = 512$ and $T = 1024$ (Radford and others 2019, section 2.3),
# half a million tokens. Here are three of the tensors of its smallest version, with eight bytes for an id and four for
# a float, torch's defaults.

# %% tags=["nbval-check-output"]
B, T, C, V = 512, 1024, 768, 50_257
print(f"ids     [B, T]     {B * T * 8 / 1e9:8.3f} GB")
print(f"x       [B, T, C]  {B * T * C * 4 / 1e9:8.3f} GB")
print(f"logits  [B, T, V]  {B * T * V * 4 / 1e9:8.3f} GB")

# %% [markdown]
# The ids weigh next to nothing. The last line is a score for each of the $V$ tokens at each position; these scores are
# called **logits**. This one tensor is larger than the memory of most GPUs, before anything else is in there. That's why
# such batches are split over many GPUs, or processed in parts.
#
# ## Two tools for later
#
# You can skip this section on a first reading. Both tools return in later notebooks.
#
# ### A text larger than memory
#
# Our book is a list in memory; a corpus of a trillion tokens can't be. So its ids are written to a file, two bytes each,
# and the file is opened as a **memory map**: it looks like an array, but the operating system only fetches the parts
# that are read. A batch from it is the same batch.

# %% tags=["nbval-check-output"]
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "ids.bin")
    count = batches.write_tokens(path, [np.array(book)])
    mapped = batches.Batches.from_file(path, B=8, T=48).batch(700).ids
    print(f"{count:,} ids in a file of {path.stat().st_size:,} bytes")
print("the same batch as from memory:", torch.equal(mapped, batches.Batches(book, B=8, T=48).batch(700).ids))

# %% [markdown]
# Two bytes hold ids below 65,536, enough for GPT-2 but not for Llama 3, and `write_tokens` refuses an id that doesn't
# fit. The file holds bare numbers, so read with the wrong width it contains other tokens, and nothing in it can tell you.
#
# ### A ledger of shapes
#
# Where do all those bytes and FLOPs come from? `gptlab.trace` runs a model once and writes down every line. In torch, a
# model is a class with a method `forward` that computes. Its building blocks here are `nn.Embedding`, which is a table to
# look up, and `nn.Linear`, which is a product `@` with a table of weights plus a vector; `relu` replaces negative numbers
# with 0. The numbers inside them are the model's **parameters**, which training will change.

# %%
class Guess(nn.Module):
    """Predict the next token from this token alone."""

    def __init__(self, V, C, hidden):
        super().__init__()  # torch wants this line first
        self.table = nn.Embedding(V, C)
        self.inner = nn.Linear(C, hidden)
        self.scores = nn.Linear(hidden, V)

    def forward(self, ids: Int[Tensor, "B T"]):
        x = self.table(ids)  # [B, T, C]
        h = self.inner(x).relu()  # [B, T, C]
        return self.scores(h)  # [B, T, V]


# %% tags=["nbval-check-output"]
ids = batches.Batches(book, B=2, T=7).batch(0).ids
ledger = gptlab.trace(Guess(V=859, C=12, hidden=48), ids, letters={"B": 2, "T": 7, "C": 12, "V": 859})
ledger

# %% [markdown]
# One line is marked. Its comment says [B, T, C], copied from the line above, but the tensor is wider than C. The code is
# right and the comment lies. jaxtyping couldn't notice, because it looks at what goes into a function and what comes out,
# while `trace` reads the lines in between. The column *bytes* counts every tensor that a line makes, so the marked line has
# its product and then its `relu`. And the FLOPs are those of our formula, once per product:

# %% tags=["nbval-check-output"]
B, T, C, hidden, V = 2, 7, 12, 48, 859
by_formula = 2 * B * T * C * hidden + 2 * B * T * hidden * V
print(f"2·B·T·C·hidden + 2·B·T·hidden·V = {by_formula:,}, in the ledger {ledger.flops:,}")

# %% [markdown]
# ## More exercises
#
# If you skipped the ones on the way, go back to **batches.7** and **batches.4** first. You can add letters to the stubs,
# `Int[Tensor, "B T"]` for example; then jaxtyping names a wrong shape before `check` compares numbers.
#
# *Stretch, open at the top, without a check:* change `Batches` so that it shuffles the blocks of a walk in each epoch
# instead of sampling starts, and still depends on seed and step alone. Count the pairs again. Then let each epoch begin
# at a random offset, so that the blocks aren't always the same. What happens to the pairs at the two ends of the text?

# %%
progress("batches")

# %%
recap("batches")

# %% [markdown]
# ## What to remember
#
# 1. [B, T, C]: which text, which position, which number of the vector. Texts of a batch never influence each other.
# 2. Shapes line up from the right. A view shares memory; `view` cuts anew, `transpose` swaps axes.
# 3. `@` sums over the axis in the middle and leaves the axes in front alone: [B, T, C] @ [C, V] is [B, T, V].
# 4. A block of T + 1 ids holds T samples with growing contexts. Blocks that begin T apart contain every pair of
#    neighbours once.
# 5. Make a batch as large as the knee suggests and the memory allows, and let it depend on seed and step alone.
#
# **New terms**
#
# | here | in one line | elsewhere this is called |
# |---|---|---|
# | tensor, axis, shape | a block of numbers, its directions, their sizes | array (NumPy); dimension, dim; size |
# | B, T, C | texts, positions, channels | batch size; sequence length, `seq_len`, L; hidden size, `d_model`, D |
# | broadcasting | a smaller tensor repeated along missing axes | the same everywhere |
# | view, copy, stride | shared memory, own memory, steps through it | NumPy counts strides in bytes |
# | dot product, matrix product | multiply and add; a table of these | inner product; matmul, GEMM |
# | FLOPs | floating-point operations | FLOP/s or FLOPS is a speed, operations per second |
# | context, target | what the model sees, what it should predict | input, label |
# | rolling window | a context of fixed size | sliding window, n-gram context |
# | context window | the longest context, $T$ | block size, `n_ctx`, `max_position_embeddings` |
# | padding, `IGNORE` | filling, and the target that doesn't count | `pad_token`; `ignore_index`, −100 |
# | epoch | one pass through the text | the same everywhere |
# | mini-batch, throughput | texts per step, tokens per second | batch; tokens/s |
# | validation set | text held out for measuring | dev set, held-out set |
# | logits | a score per token of the vocabulary | unnormalised log-probabilities |
# | memory map | a file that reads like an array | mmap, `np.memmap` |
#
# **Three questions**
#
# 1. `x` is [B, T, C] and `g` is [C]. What does `x * g` do, and what would it do with a `g` of shape [T]?
#
# <details><summary>Answer</summary>
#
# It multiplies each channel by a number of its own, at every position of every text. A [T] would meet C from the right:
# an error if T ≠ C, and silently the wrong thing if they are equal. `g[:, None]` is [T, 1] and does what is meant.
# </details>
#
# 2. Why does a GPT's block need T + 1 ids for T samples?
#
# <details><summary>Answer</summary>
#
# The last input has a target too, the id after it. It is the first input of the next block.
# </details>
#
# 3. A training loss falls to almost nothing in two minutes. What do you look at first?
#
# <details><summary>Answer</summary>
#
# A row of ids and its targets, as text, one above the other. Are the targets one later? If they are, check whether a
# position can see what comes after it.
# </details>
#
# **To go deeper:** Andrej Karpathy, [Let's build GPT](https://www.youtube.com/watch?v=kCc8FmEb1nY) (2023), from 14:27 on, the
# data loader and batches; Edward Yang, [PyTorch internals](http://blog.ezyang.com/2019/05/pytorch-internals/) (2019), on
# strides. In the package, `gptlab/batches.py` from top to bottom.
#
# ## Next
#
# Today's vectors were random. A model has to find numbers for each token that are good for something. And it has to
# know which position a token is at, which `table[ids]` doesn't tell it. [Notebook 05](05_embeddings.ipynb) does
# both, and trains the first language model.
