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
# # 04 Tensors and batches
#
# *One long row of ids becomes blocks with two axes, then three; and every pair of neighbours is read exactly once.*
#
# A model does not read one token after the other. It reads a block of many texts at many places at once, because that is
# what computers are fast at. Here you learn to think in such blocks: what each direction in them means, which operations
# mix which numbers, and how a whole book is cut into them without losing a token.
#
# **After this notebook you can**
#
# - read a shape such as [B, T, C] and say what each axis means for text,
# - predict the shape of a sum, a mean and a product, and have Python check your own functions,
# - cut a text into contexts in two ways, and say why GPT's way is cheaper,
# - build batches that miss nothing, that can be taken up again at any step, and that need not fit into memory,
# - measure how large a batch should be.
#
# **It builds on** notebooks 01 to 03: tokens, ids, special tokens. **To run it** takes about 15 seconds on two CPU
# cores and 750 MB of memory.

# %%
import math
import tempfile
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import gptlab
from gptlab import batches, checkpoints, corpora, gpu, pictures
from gptlab.corpora import fables
from gptlab.exercises import check, compare, find, hint, predict, progress, quiz, recap, solution  # noqa: F401

torch.manual_seed(4);

# %% tags=["nbval-check-output"]
pictures.pipeline("batches")

# %% [markdown]
# Three questions about the notebooks before. Put letters in place of the dots, such as `quiz("batches", ["a", "b", "c"])`; or go
# on, nothing depends on it.

# %% tags=["nbval-check-output"]
quiz("batches", [..., ..., ...])

# %% [markdown]
# ## The question: two sentences that do not stack
#
# Here is the sentence that travels through this course, as two rows of ids. The tokenizer is the one of notebook 00:
# sub-words that were learned from fables. (`committed` also gives a small trained model. It stays closed until you
# measure its speed.)

# %% tags=["nbval-check-output"]
model, tokenizer = checkpoints.committed("fables")
first = fables.TRAVELLER.split(". ")[0] + "."
second = fables.TRAVELLER[len(first) :]
rows = [tokenizer.encode(part) for part in (first, second)]
for row in rows:
    print(len(row), "ids:", row)

# %% [markdown]
# You want to give both to a model at once. Lists of lists are slow, so they are put into a block of numbers. The library
# for that is PyTorch, whose name in Python is `torch`.

# %% tags=["raises-exception"]
torch.tensor(rows)

# %% [markdown]
# It refuses: the rows are not equally long. A block of numbers has no ragged edge. So there are two questions for today.
# What can you do with blocks? And how does a text, which is never as long as you want it to be, get into one?
#
# ## By hand: a block and its axes
#
# Take five tokens of each sentence, so that the rows are equally long.

# %% tags=["nbval-check-output"]
ids = torch.tensor([row[:5] for row in rows])  # [B, T]
B, T = ids.shape
print(ids)
print("shape:", list(ids.shape))

# %% [markdown]
# A block of numbers without a ragged edge is a **tensor**. Each of its directions is an **axis**, and the sizes of its
# axes, in order, are its **shape**. This one has two axes. The first says which text, and its size has the letter $B$,
# for **batch**: the texts that are computed together. The second says which place in the text, and its size is $T$, for
# time. A shape is written [B, T]. A word for each number shows what the axes mean:

# %% tags=["nbval-check-output"]
def words(some_ids):
    """The tokens of a row, each as text."""
    return [tokenizer.decode([int(i)]).strip() for i in some_ids]


pictures.table([[f"text b = {b}", *words(ids[b])] for b in range(B)], ["", *(f"t = {t}" for t in range(T))])

# %% [markdown]
# An index chooses along the first axis, a second one along the second. Each number makes its axis disappear. A colon takes
# everything along its axis, and `3:` everything from 3 on; these keep it. Where no axis is left, the shape is [] and the
# tensor is one number.

# %% tags=["nbval-check-output"]
print("ids[1]     ", list(ids[1].shape), "  ", words(ids[1]))
print("ids[1, 2]  ", list(ids[1, 2].shape), "   ", words([ids[1, 2]]))
print("ids[:, 0]  ", list(ids[:, 0].shape), "  ", words(ids[:, 0]))
print("ids[:, 3:] ", list(ids[:, 3:].shape), words(ids[0, 3:]), words(ids[1, 3:]))

# %% [markdown]
# ### A third axis
#
# In notebook 01 an id was the number of a row in a table. Look up the row of each of these ids, and each id becomes a
# row of numbers: a **vector**. How many numbers it has is $C$, for **channels**. Here $C$ is 3 and the numbers are
# random (`randn` draws them). Notebook 05 is about better ones. The index in `table[ids]` is a whole tensor: each id in
# it is replaced by its row of the table.

# %% tags=["nbval-check-output"]
C = 3
table = torch.randn(tokenizer.vocab_size, C).round(decimals=1)  # [V, C]
x = table[ids]  # [B, T, C]
print("shape:", list(x.shape))
print("the vector of", words([ids[0, 4]])[0], "in text 0:", [round(v, 1) for v in x[0, 4].tolist()])

# %%
pictures.shapes(("ids", "B T", ids), "→", ("x = table[ids]", "B T C", x))

# %% [markdown]
# Each cell on the left has become a row of three cells on the right. The sheets that stand behind each other are the
# texts. The picture shows sizes and letters; it does not show the numbers themselves.
#
# You will see [B, T, C] on almost every line of a GPT, so it is worth knowing what each axis means for text:
#
# | axis | an index says | neighbours along it | who mixes along it |
# |---|---|---|---|
# | B | which text | are strangers: texts of a batch must never influence each other | nothing in the model |
# | T | which place in the text | stand before and after each other; order matters | attention (06) |
# | C | which number of a vector | stand in no order of their own | nearly all other layers |
#
# ### What goes away, and what stays
#
# Sums and means take an axis away. You say which one with `dim`. Guess before you look. A shape is given as a list,
# `predict("batches.a", [1, 2])` for example.

# %%
predict("batches.a", ...)

# %% tags=["nbval-check-output"]
mean = x.mean(dim=1)  # [B, C]
print("x.mean(dim=1) has the shape", list(mean.shape))
by_hand = (x[0, 0] + x[0, 1] + x[0, 2] + x[0, 3] + x[0, 4]) / 5
print("the same as the mean of five vectors:", torch.allclose(mean[0], by_hand))

# %% [markdown]
# (`allclose` compares all numbers and forgives rounding. `equal`, which you meet below, forgives nothing.)
#
# <details><summary>Answer</summary>
#
# [2, 3], that is [B, C]. The axis of time is gone, and one vector stays for each text. `dim=-1` would count from the end
# and average the three numbers of each vector: [B, T].
# </details>
#
# ## Broadcasting: shapes that are not equal
#
# Two tensors of the same shape are added number by number. What if the shapes differ? Suppose that you want to tell each
# vector where it stands, and have a vector for each of the T places. (Models do this; notebook 05 shows why.)

# %% tags=["nbval-check-output"]
places = torch.arange(T * C).reshape(T, C) / 10  # [T, C]
added = x + places  # [B, T, C] + [T, C] -> [B, T, C]

by_loop = torch.zeros(B, T, C)
for b in range(B):
    for t in range(T):
        by_loop[b, t] = x[b, t] + places[t]
print("x + places is the loop:", torch.equal(added, by_loop))

# %%
pictures.shapes(("x", "B T C", x), "+", ("places", "T C", places), "=", ("added", "B T C", added))

# %% [markdown]
# The two sheets of `x` each got the same [T, C]. No copy was made for it: the same numbers were read twice. This is
# **broadcasting**, and its rule is short. (torch took it from
# [NumPy](https://numpy.org/doc/stable/user/basics.broadcasting.html).)
#
# 1. Write both shapes so that their *right* ends stand below each other.
# 2. In each column the sizes must be equal, or one of them is 1, or missing.
# 3. A 1, or a gap, is repeated as often as the other needs it.
#
# A 1 can be made: `a[:, None]` puts a new axis of size 1 where the `None` stands.

# %%
predict("batches.b", ...)

# %% tags=["nbval-check-output"]
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
# The rule has a trap. You want to weigh each *text* by a number of its own, so the weights are [B]. With B and T
# different, torch refuses (a *dimension* is an axis, and *non-singleton* is one whose size is not 1). Now see what it does
# when they happen to be equal:

# %% tags=["nbval-check-output"]
weights = torch.tensor([1, 100])  # [B]
try:
    torch.ones(2, 5) * weights
except RuntimeError as problem:
    print("B = 2, T = 5:", problem)
square = torch.ones(2, 2, dtype=torch.long)
print("B = 2, T = 2:", (square * weights).tolist(), "  meant:", (square * weights[:, None]).tolist())

# %% [markdown]
# In the square the weights went to the *places*, without a word: the right ends were lined up. This is why in this
# course B, T and C are always different numbers, except here. With equal ones a mistake gives a result of the right
# shape. The cure for this one is `weights[:, None]`, which is [B, 1].
#
# ## Views and copies
#
# A tensor keeps its numbers in one long row of memory. Its shape is only a way of reading that row.

# %%
predict("batches.c", ...)

# %% tags=["nbval-check-output"]
row = torch.arange(10)
as_table = row.view(2, 5)
as_table[0, 0] = 99
print(row)

# %% [markdown]
# <details><summary>Answer</summary>
#
# 99. There is one row of memory and two ways to read it.
# </details>
#
# A tensor that reads memory of another one is a **view**; a tensor with memory of its own is a **copy**. A view costs
# next to nothing, however large the tensor is, and whoever writes into it writes into the other one. How a tensor reads
# its row of memory is told by its **stride**: how many numbers to go on for one step along each axis.

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
# Slices and transposes are views; arithmetic and lists of indices make copies. Now look at the two lines with the shape
# [5, 2]. `ids.T` swaps the axes: its strides are those of `ids` in the other order. `ids.view(5, 2)` keeps the row of
# memory as it is and cuts it elsewhere. Same shape, same numbers, different tensors:

# %% tags=["nbval-check-output"]
for t in range(T):
    print(f"row {t}:   ids.T  {' | '.join(words(ids.T[t])):18}  ids.view(5, 2)  {' | '.join(words(ids.view(5, 2)[t]))}")

# %% [markdown]
# In `ids.T` a column is a text. In the view the texts are torn up, and row 2 holds the end of one and the beginning of
# the other. No error, no warning: the shape is right. It is a common mistake, and a silent one. Use `view` to cut or
# join axes that are neighbours in memory, and `transpose` to swap two axes, which you name. (`.T` does it for a tensor
# with two. `reshape` is `view` where that is
# possible, and a copy where it is not.)
#
# ## Products: `@` over batches
#
# Nearly all the work of a model is one operation. Multiply two vectors number by number and add up: their **dot
# product**. The matrix product `@` is a table of dot products. Here each vector of `x` meets each of the four columns of
# `w`. The vectors have C numbers, and so have the columns. Let the four columns stand for four words that could come
# next, so $V = 4$.
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
# The C in the middle is gone: it was summed over. The axes before it, B and T, came through untouched. The line in the
# innermost loop runs B·T·V times over C numbers, and each costs one multiplication and one addition. So this product
# takes $2\,B\,T\,C\,V$ operations with numbers, called **FLOPs** (floating-point operations). By convention the very
# first addition of each sum counts too.
#
# Both sides may have a batch axis. Then each text has a product of its own, text 0 with text 0, text 1 with text 1. Here
# `q` has five vectors for each text and `k` has four. Where time comes twice with two sizes, the course writes $T_q$ and
# $T_k$ (the names q and k come from notebook 06). Every vector of `q` is to meet every vector of `k`, so `k` has to be
# turned: `k.transpose(-2, -1)` swaps its last two axes. Negative numbers count from the end.

# %%
predict("batches.d", ...)

# %% tags=["nbval-check-output"]
q, k = torch.randn(2, 5, 3), torch.randn(2, 4, 3)  # [B, Tq, C], [B, Tk, C]
products = q @ k.transpose(-2, -1)  # [B, Tq, C] @ [B, C, Tk] -> [B, Tq, Tk]
one_by_one = torch.stack([q[b] @ k[b].T for b in range(2)])  # a product for each text, put behind each other
by_sum = torch.einsum("bqc,bkc->bqk", q, k)
print("shape:", list(products.shape))
print("text by text the same:", torch.allclose(products, one_by_one, atol=1e-5))
print("einsum says the same: ", torch.allclose(products, by_sum, atol=1e-5))

# %%
k_turned = k.transpose(-2, -1)  # [B, C, Tk]
pictures.shapes(("q", "B Tq C", q), "@", ("k turned", "B C Tk", k_turned), "=", ("products", "B Tq Tk", products))

# %% [markdown]
# <details><summary>Answer</summary>
#
# [2, 5, 4]. [2, 5, 3] meets [2, 3, 4], and the 3 in the middle is summed over.
# </details>
#
# The last opinion is that of `einsum`, which takes the formula itself: letters of the inputs, an arrow, letters of the
# result. A letter that does not come back is summed over. Keep `q @ k.transpose(-2, -1)` in mind. In notebook 06 it is
# half of attention.
#
# ## From now on, shapes are checked
#
# You have seen two mistakes that give the right shape, and there are many more that give a wrong one far away from where
# it hurts. A comment such as `# [B, T, C]` helps until it lies. The library
# [jaxtyping](https://docs.kidger.site/jaxtyping/) (Patrick Kidger 2022) lets you write the shape where Python can see
# it. The next two lines are commands to the notebook, not Python, and switch it on: every function that you define in a cell
# below is checked whenever it is called. (The checking is done by a second library, beartype.)

# %%
# %load_ext jaxtyping
# %jaxtyping.typechecker beartype.beartype

# %% tags=["nbval-check-output"]
from jaxtyping import Float, Int


def scores(x: Float[Tensor, "B T C"], w: Float[Tensor, "C V"]) -> Float[Tensor, "B T V"]:
    return x @ w


print(list(scores(x, w).shape))

# %% [markdown]
# `Float` or `Int` says what kind of numbers, `Tensor` that it is torch's, and the letters name the axes. A letter must
# have the same size everywhere in one call. Which size that is does not matter. Now hand over `w` turned the wrong way:

# %%
try:
    scores(x, w.T)
except TypeError as problem:
    print(problem)
    assert "parameter 'w'" in str(problem) and "C=3" in str(problem)

# %% [markdown]
# Read such a message in three places:
#
# - *parameter 'w'*: where it is,
# - *Actual value* against *Expected type*: what came (`f32` are numbers with a fraction, 32 bits each) and what should
#   have come,
# - the last lines: what the letters stood for when the check failed. C had its size already, from `x`, and the first
#   axis of `w` has another one.
#
# The lines between repeat the call and your letters. Their *-> Any* does not mean that you promised nothing. The inputs are
# checked first, as if anything could come out, and the result in a step of its own. That step can find mistakes that Python
# lets through. This function should give one vector for each text, and averages over the wrong axis:

# %%
def mean_of_each_text(x: Float[Tensor, "B T C"]) -> Float[Tensor, "B C"]:
    return x.mean(dim=0)


try:
    mean_of_each_text(x)
except TypeError as problem:
    print("\n".join(str(problem).splitlines()[:3]))
    assert "return value" in str(problem)

# %% [markdown]
# The result has two axes, as promised, and the first has the wrong size. With B = T no check could have seen it.
#
# ## Context, in two ways
#
# Now the second question: how does a text get into blocks? What a model learns is to say the **next** token. A training
# sample is therefore a **context**, some tokens of a text, and a **target**, the token that comes after them. There are
# two ways to cut contexts out of a text. Look at both on the first sentence.
#
# ### A window that rolls along
#
# Take the last four tokens, whatever they are, and say the next. At the beginning there are not four yet, so fill up with
# a sign that means *nothing*. Any id that stands for no word will do; the end sign of these fables is one. It serves as
# the filling, `pad`, too.

# %% tags=["nbval-check-output"]
sentence = rows[0]
end = tokenizer.special_tokens["<|endoftext|>"]
pad, window = end, 4
padded = [pad] * (window - 1) + sentence
for n in range(len(sentence) - 1):
    context, target = padded[n : n + window], sentence[n + 1]
    shown = ["·" if i == pad else tokenizer.decode([i]).strip() for i in context]
    print(f"{' '.join(f'{word:>7}' for word in shown)}  →  {words([target])[0]}")

# %% [markdown]
# This is a **rolling window**. Each row is one sample, of a fixed size, so $N$ samples stack into a tensor [N, T], where
# $T$ is now the size of the window. The filling `·` is **padding**. The best-known early neural language model reads like
# this (Bengio, Ducharme, Vincent and Jauvin, [A Neural Probabilistic Language
# Model](https://www.jmlr.org/papers/v3/bengio03a.html), 2003). What falls out of the window is forgotten: when it has to
# say *proud*, the model no longer sees that this is a forest.
#
# ### One block, many contexts
#
# A GPT reads the whole block and says, at *each* of its places, what comes next, from what stood there and before.

# %%
predict("batches.f", ...)

# %% tags=["nbval-check-output"]
T = len(sentence) - 1
for t in range(T):
    context, target = sentence[: t + 1], sentence[t + 1]
    print(f"{tokenizer.decode(context):>54}  →  {words([target])[0]}")
print(f"T = {T} places, and as many samples")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Thirteen: one at each place of the block.
# </details>
#
# One block of $T$ tokens and its targets is $T$ training samples, whose contexts grow from one token to $T$. $T$ is also
# the longest context that the model ever sees. Here are both ways, the same sentence in each. A row is a sample, and
# its filled cells are the tokens that it reads.

# %%
sees_all = torch.ones(T, T, dtype=torch.bool).tril()  # [T, T] True on the diagonal and to its left
sees_four = sees_all & ~sees_all.tril(-window)  # … and no further back than the window
both = pictures.mask({"rolling window of 4": sees_four, "one block": sees_all}, words(sentence[:T]))
# The rest writes on the picture, which belongs to notebook 07, the words that you know today.
for axes in both.axes:
    axes.set(xlabel="token of the text", ylabel="")
both.axes[0].set_ylabel("sample, named by its last token")
both.supxlabel("filled: the sample reads it    ×: it does not", fontsize=10, color="#767676")
both.alt = f"Two grids, {T} samples by {T} tokens. Left a band of four along the diagonal, right the whole triangle."
both

# %% [markdown]
# On the left every sample has at most four filled cells, and the first three have fewer: there the padding was. On the
# right each row has one more than the row above. The picture does not show the price. How many tokens does a model read
# for each target?

# %% tags=["nbval-check-output"]
targets = len(sentence) - 1
rows_of_cost = [
    ("rolling window of 4", targets * window, targets, f"{window}"),
    (f"rolling window of {T}", targets * T, targets, f"{T}"),
    ("one block", T, targets, "1"),
]
pictures.table(rows_of_cost, ["contexts", "tokens read", "targets", "tokens read a target"])

# %% [markdown]
# A rolling window reads each token again and again, once for every window that it is in. The block reads each token
# once, and learns at each place. For GPT-2, whose $T$ is 1,024, the difference is a factor of a thousand. It works only
# because the model keeps each place from looking at what comes after it, which is the subject of notebook 07. (Reading is
# not all of the work. Inside a GPT each place also looks back at the others, and notebook 06 counts that.) And the block
# has a price at its beginning: its first targets are guessed from very little.
#
# ### The tested block: both ways
#
# The package has both, with what you did by hand at the end of each. (`Ids` stands for a list, an array or a tensor of
# ids, the `_check` lines refuse what makes no sense, and `unfold(0, T, 1)` gives all windows of T along axis 0, one step
# apart.)

# %%
gptlab.show(batches.rolling_windows, batches.growing_contexts)

# %% [markdown]
# Are they what you built by hand? And what do the libraries say? NumPy has a function for windows, too.

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
print("200 random texts: by hand, in the package, and in NumPy the same")

# %% [markdown]
# Where is the memory of all these windows? `unfold` in the source above makes a view: a window that overlaps the next
# one reads the same numbers.

# %% tags=["nbval-check-output"]
contexts, _ = batches.rolling_windows(list(range(10_000)), T=64, pad=0)
print(f"{contexts.numel():,} numbers to read, {contexts.untyped_storage().nbytes() // 8:,} in memory")
print("stride:", contexts.stride())

# %% [markdown]
# The stride says how: one window on, or one token on, is the same single step through memory.
#
# ## From one long row to batches
#
# Now a whole book. All fables stand in one row, each followed by the end sign. Each id and the id after it are a **pair of
# neighbours**, and each pair is something to learn.

# %% tags=["nbval-check-output"]
stories = corpora.load("fables", quiet=True).text.strip().split(fables.SEPARATOR)
book = [i for story in stories for i in [*tokenizer.encode(story), end]]
print(f"{len(stories):,} stories, {len(book):,} ids, {len(book) - 1:,} pairs of neighbours")

# %% [markdown]
# Cut it into blocks. A block of $T$ inputs needs $T + 1$ ids, because the last input has a target too. Where does the next
# block begin? Try it on a text of twelve ids, whose values are their places, with $T = 4$. The distance from one start to
# the next is called stride too.

# %% tags=["nbval-check-output"]
text, T = list(range(12)), 4
for stride in (5, 4):
    inputs = [text[s : s + T] for s in range(0, len(text) - 1, stride)]
    targets = [text[s + 1 : s + T + 1] for s in range(0, len(text) - 1, stride)]
    pairs = {(i, j) for xs, ys in zip(inputs, targets, strict=True) for i, j in zip(xs, ys, strict=False)}
    lost = [(i, i + 1) for i in range(11) if (i, i + 1) not in pairs]
    print(f"stride {stride}: inputs {inputs}, lost: {lost}")

# %% [markdown]
# A block covers $T + 1$ ids and teaches $T$ pairs. With a stride of $T$ two blocks share one id: the last target of one is
# the first input of the next. Nothing is lost and nothing is read twice. With a stride of $T + 1$, which looks so natural,
# a pair is lost between any two blocks. `Batches` does this for you, $B$ blocks at a time:

# %% tags=["nbval-check-output"]
small = batches.Batches(text, B=2, T=4, order="ordered")
for step in range(len(small)):
    print(f"step {step}: ids {small.batch(step).ids.tolist()}, targets {small.batch(step).targets.tolist()}")

# %% [markdown]
# The last block is shorter than the others. The tensor has no ragged edge, so there is padding on the right: the input is
# filled up with 0, and the target of that place is −100. This number is `batches.IGNORE`, and it is torch's own
# convention: the loss of a language model leaves such places out. (The **loss** is what a model pays for bad predictions,
# averaged over the targets. You meet it in notebook 05.)
#
# Nothing here asks where a story ends. In the book a block begins in the middle of one story and may run on into the
# next; the end sign between them tells the model so.
#
# Now count, over the whole book: how often is each pair of neighbours read?

# %% tags=["nbval-check-output"]
places = np.arange(len(book))  # each id is its own place, so that no two pairs look alike
walk = batches.Batches(places, B=8, T=48, order="ordered")
seen = Counter()
for step in range(len(walk)):
    ids, targets = walk.batch(step)  # [B, T], [B, T]
    kept = targets != batches.IGNORE
    assert torch.equal(ids[kept] + 1, targets[kept])
    seen.update(ids[kept].tolist())
print(f"{len(walk)} steps, {len(seen):,} pairs, times that they were read: {set(seen.values())}")
assert len(seen) == len(book) - 1 and set(seen.values()) == {1}

# %% [markdown]
# Every pair once. (`tests/test_batches.py` asserts this for texts, $B$ and $T$ of any size.)
#
# This order is what you want for measuring a model: each token counts once. For training, one draws. A step takes $B$
# starts at random, anywhere in the text, so that the blocks do not begin at the same places each time and a batch holds
# different parts of the book.

# %% tags=["nbval-check-output"]
drawn = batches.Batches(places, B=8, T=48, seed=1)
seen = Counter()
for step in range(len(walk)):  # as many steps as the walk had
    seen.update(drawn.batch(step).ids.flatten().tolist())
often = Counter(seen[place] for place in range(len(book) - 1))

n, p = 8 * len(walk), 48 / (len(book) - 48)  # blocks drawn; the chance that one of them holds a given pair
shares = []
for times in range(5):
    by_chance = math.comb(n, times) * p**times * (1 - p) ** (n - times)
    shares.append((times, f"{often[times] / (len(book) - 1):.1%}", f"{by_chance:.1%}"))
pictures.table(shares, ["times read", "share of the pairs", "by chance"], align="rrr")

# %% [markdown]
# After as many steps as one walk, more than a third of the pairs has never been read, and others several times. Nothing is
# wrong with the draw. A text of $N$ ids has $N - T$ starts, and $T$ of them give a block with a certain pair in it, so
# one block holds the pair with the chance $p = T / (N - T)$. All $n$ blocks miss it with the chance $(1 - p)^n$. Here $p$
# is nearly $1 / n$, and then this is nearly $1 / e$. The last column works it out for each number of times.
#
# Over many walks it evens out, except at the two ends of the text: the very first pair is only in the block that begins
# with it. (Some programs draw, as this one does; others shuffle the blocks of a walk, and miss none.)
#
# ### Taken up again
#
# A training run stops: a power cut, a limit of time. It must go on with the batches that it has not seen. `batch(step)`
# depends on the seed and the step, and on nothing else. So of the batches nothing has to be saved but these two numbers.

# %% tags=["nbval-check-output"]
through = [drawn.batch(step).ids for step in range(10)]
resumed = batches.Batches(places, B=8, T=48, seed=1)  # a new object, on another day
print("step 7 again:", torch.equal(resumed.batch(7).ids, through[7]))
print("step 8 is another:", not torch.equal(through[8], through[7]))
print("another seed is another:", not torch.equal(batches.Batches(places, 8, 48, seed=2).batch(7).ids, through[7]))

# %%
gptlab.show(batches.Batches.batch)

# %% [markdown]
# A new generator in each step is the whole secret. The large factor keeps two seeds apart: without it, seed 1 at step 0
# would draw what seed 0 draws at step 1. (`_batch` cuts each row of $T + 1$ ids into inputs and targets, and pads.) One
# generator for the whole run, which is easier to think of, is right until the first resume: then step 700 draws what
# step 0 drew. It is exercise batches.9.
#
# ### Larger than memory
#
# The book is a list in memory. A corpus of a trillion tokens is not. So its ids are written to a file, two bytes each,
# and the file is opened as a **memory map**: it looks like an array, and the operating system fetches the parts that are
# read. Here a large file of random ids is read in both ways. `tracemalloc` counts the bytes that Python and NumPy take.

# %%
def cost(opened):
    """One batch, the milliseconds until it was there, and the bytes that were taken at most."""
    tracemalloc.start()
    start = time.perf_counter()
    ids = opened().batch(700).ids
    took, most = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return ids, f"{1000 * took:.1f}", f"{most:,}"


with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "ids.bin")
    count = batches.write_tokens(path, (rng.integers(0, 859, size=100_000) for _ in range(100)))
    whole, *cost_whole = cost(lambda: batches.Batches(np.fromfile(path, "uint16"), B=8, T=48))
    mapped, *cost_mapped = cost(lambda: batches.Batches.from_file(path, B=8, T=48))
assert torch.equal(whole, mapped)
costs = [("read at once", *cost_whole), ("mapped", *cost_mapped)]
pictures.table(costs, [f"{count:,} ids", "milliseconds to a batch", "bytes taken"], align="lrr")

# %% [markdown]
# Both give the same batch. The map takes what the batch needs: $B$ pieces of $T + 1$ ids, and a little around them. (The
# system keeps parts of the file in memory of its own. They are not counted here, and it gives them up when others need
# the room.)
#
# Two bytes hold ids below 65,536, which is enough for GPT-2 and not for Llama 3. `write_tokens` refuses an id that does not
# fit, because otherwise it would become another id. And the file holds bare numbers: read it with the wrong width, and
# they are other tokens. Nothing in it can tell, as with the vocabulary of notebook 01.

# %% tags=["nbval-check-output"]
written = np.array(rows[1], dtype="uint16")
print("written:", written.tolist())
first_six = written.tobytes()[:12]
print("the first six, read as four bytes each:", np.frombuffer(first_six, dtype="uint32").tolist())

# %% [markdown]
# ### The two sentences, at last
#
# Where each text should have a row of its own, as fables have in notebook 10, `StoryBatches` puts them below each other,
# and fills up on the right. `start` is what stands before the first token: the end sign of the story before. So the
# first token is a target too, and a model learns how stories begin.

# %% tags=["nbval-check-output"]
both_rows = batches.StoryBatches([[*row, end] for row in rows], B=2, start=end, shuffle=False).batch(0)
print("shape:", list(both_rows.ids.shape))
print("targets of the second sentence:", both_rows.targets[1].tolist())

# %% [markdown]
# These are the two rows that were refused at the top. The second has the targets of its words and of its end sign, which
# the model *should* learn, and then places that cost nothing. See that they cost nothing. Give each token at each place
# a random score, as a model would that knows nothing. Ask torch's loss function for tokens, `cross_entropy` (notebook 05
# opens it), what each place pays, and what it gives as the loss:

# %% tags=["nbval-check-output"]
guesses = torch.randn(*both_rows.ids.shape, tokenizer.vocab_size)  # [B, T, V]
flat, aims = guesses.flatten(0, 1), both_rows.targets.flatten()  # [B * T, V], [B * T]
pays = nn.functional.cross_entropy(flat, aims, reduction="none")  # [B * T], each place by itself
kept = aims != batches.IGNORE
print("padded places pay", pays[~kept].tolist())
mean = nn.functional.cross_entropy(flat, aims)
print("the loss is the mean over the others:", torch.allclose(mean, pays[kept].mean()))

# %% [markdown]
# ## Break it
#
# The best-known mistake of this notebook: the targets are not shifted. Here is a batch with it, and one without. A model
# that understands nothing and repeats what it has read, how often is it right?

# %% tags=["nbval-check-output"]
ids, targets = batches.Batches(book, B=16, T=48, seed=3).batch(0)
unshifted = ids.clone()
for name, aims in (("targets not shifted", unshifted), ("targets one later", targets)):
    print(f"{name:20} the parrot is right at {(ids == aims).float().mean():6.1%} of the places")

# %% [markdown]
# With unshifted targets a training run looks wonderful. Copying is all that there is to learn, so the loss falls towards
# zero, and the model can say nothing. Be suspicious of a loss that is too good. For fables you know the shortest message
# that there can be (notebook 01); on stories that it has not read, no model gets below it on average. The quickest check
# needs no training at all. Print ids and targets of one row as text, one above the other:

# %% tags=["nbval-check-output"]
print("ids:    ", " ".join(words(ids[0, :12])))
print("targets:", " ".join(words(targets[0, :12])))

# %% [markdown]
# The second line is the first one, moved to the left by a token. That is what you want to see.
#
# A quieter mistake is to shuffle before you split. Part of a text is always kept aside, to measure a model on what it has
# not read: the **validation** set. If you cut rolling windows first, shuffle them, and put a tenth aside, what has the
# model already read?

# %% tags=["nbval-check-output"]
contexts, targets = batches.rolling_windows(places[:20_000], T=48, pad=-1)
order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))
train_windows, held_windows = order[2_000:], order[:2_000]
read = set(contexts[train_windows].flatten().tolist()) | set(targets[train_windows].tolist())
leaked = sum(int(t) in read for t in targets[held_windows])
print(f"shuffled, then split: {leaked / len(held_windows):.1%} of the held-out tokens were read in training")

train, held = batches.split(places[:20_000], 0.9)
print(f"split, then cut:      {len(set(train) & set(held)) / len(held):.1%}")

# %% [markdown]
# Each token is in dozens of windows, so nearly every held-out token was read elsewhere, and the measurement says nothing. A
# text is cut once, before anything else. `batches.split` does that, and refuses to leave one side empty.
#
# ## At size: how large should a batch be?
#
# One text at a time would do. All at once would need more memory than there is. What lies between them is called a
# **mini-batch**, or batch for short. There are two reasons to take more than one text. Measure both.
#
# ### Reason one: speed
#
# Here the small trained GPT of the fables works as in training (you open it in notebook 08). A step of training goes
# **forward**, from the ids to the loss, and then **backward** through the same lines, to find out in which direction each of
# its weights, the numbers that it learns, should move. For the way back it has to keep what it computed on the way there.
# For each $B$ you measure how many tokens it gets through in a second, and how many bytes it keeps. First a guess:

# %%
predict("batches.e", ...)

# %%
device = gpu.pick_device()
clock = time.process_time if device.type == "cpu" else time.perf_counter  # on a CPU, only what this program computes
torch.set_num_threads(1)  # one core of it
model, T = model.to(device), 24


def train_on(ids: Int[Tensor, "B T"], targets: Int[Tensor, "B T"]):
    """A step of training without the move at its end."""
    model.zero_grad()  # forget the step before
    _, loss = model(ids, targets)  # forward
    loss.backward()  # backward
    gpu.synchronize(device)  # a GPU only notes down what to do: wait until it is done


# %%
def seconds(work, *inputs):
    """The mean over as many runs as take a third of a second. The first run is slower and does not count."""
    work(*inputs)
    runs, start = 0, clock()
    while runs < 3 or clock() - start < 1 / 3:
        work(*inputs)
        runs += 1
    return (clock() - start) / runs


# %%
took, kept = {}, {}  # seconds of a step, and bytes kept for the way back, for each B
for B in [1, 2, 4, 8, 16, 32, 64, 128] + [256, 512, 1024, 2048] * (device.type != "cpu"):
    ids, targets = (part.to(device) for part in batches.Batches(book, B, T).batch(0))
    took[B] = seconds(train_on, ids, targets)
    kept[B] = gpu.activation_bytes(lambda ids=ids, targets=targets: model(ids, targets)[1], model)
speed = {B: B * T / took[B] for B in took}  # tokens a second
print("measured on", "one CPU core" if device.type == "cpu" else device)
rows_of_speed = [(B, f"{1000 * took[B]:.1f}", f"{speed[B]:,.0f}", f"{kept[B] / 1e6:.1f}") for B in took]
pictures.table(rows_of_speed, ["B", "milliseconds a step", "tokens a second", "MB kept"], align="rrrr")

# %%
knee = min(B for B in speed if speed[B] > 0.8 * max(speed.values()))
print(f"B = 16 takes {took[16] / took[1]:.1f} times as long as B = 1")
curve = {"speed": list(speed.items())}
picture = pictures.lines(curve, "B, texts in a batch", "tokens a second", at={"knee": knee}, log="x")
picture.axes[0].set_ylim(bottom=0)
picture

# %% [markdown]
# <details><summary>Answer</summary>
#
# Less than 16 times, as long as the machine is not busy.
# </details>
#
# The line rises steeply, bends, and is then nearly level. (Each mark on the lower axis is twice the one before.) Every
# operation has a fixed cost before it does any work: Python calls torch, torch picks a routine, the weights are fetched.
# With one text this cost is most of the time, and with many it is shared. Once the machine computes all the time, twice the
# batch takes twice as long. The bend between the two is the **knee**. The upright line puts it, by a convention of this
# course, at the first $B$ with 80 % of the best speed. It is a property of the machine and the model together. A GPU has
# thousands of arithmetic units to keep busy, so there the knee comes much later. (What the picture does not show: seconds
# to a good model, which is not the same as tokens a second.)
#
# The last column of the table knows no knee: twice the batch, twice the bytes, and on a GPU it is memory that runs out
# first. So a batch is as large as the knee asks and the memory allows. (More than that is done in parts, one after the
# other: notebook 17.)
#
# ### Reason two: a steadier opinion
#
# What is computed from a batch is an estimate of what the whole book would say. You know one number of each story exactly:
# how many nats it takes to tell it (notebooks 01 and 03). How far is the mean over $B$ stories from the mean over all? The
# usual measure of such distances is the **standard deviation** $\sigma$, in torch `std`: square the distances from the
# mean, take their mean, and then the root. (torch divides by one less than their number, which matters for few only.)

# %% tags=["nbval-check-output"]
nats = torch.tensor([story.nats for story in fables.tell(4096, seed=4)])
generator = torch.Generator().manual_seed(0)
print(f"one story costs {nats.mean():.1f} nats on average, with σ = {nats.std():.2f}")
for B in (1, 4, 16, 64, 256):
    means = nats[torch.randint(len(nats), (2000, B), generator=generator)].mean(dim=1)  # [2000]
    print(f"B = {B:3}: means of batches have σ = {means.std():.2f}; σ / √B is {nats.std() / math.sqrt(B):.2f}")

# %% [markdown]
# Four times the batch, half the error: the mean of $B$ independent draws is off by $\sigma / \sqrt{B}$. The first few
# texts help most. The same holds for the direction in which training moves the weights, so beyond some size a larger batch
# buys little for each further text (McCandlish, Kaplan and others, [An Empirical Model of Large-Batch
# Training](https://arxiv.org/abs/1812.06162), 2018).
#
# What do others take? GPT-2 was trained on batches of $B = 512$ with $T = 1024$ (Radford and others 2019, section 2.3), half
# a million tokens. Work out the tensors of its smallest version. Count eight bytes for an id and four for a number with a
# fraction, which is what torch takes if you ask for nothing else.

# %% tags=["nbval-check-output"]
B, T, C, V = 512, 1024, 768, 50_257
print(f"ids     [B, T]     {B * T * 8 / 1e9:8.3f} GB")
print(f"x       [B, T, C]  {B * T * C * 4 / 1e9:8.3f} GB")
print(f"logits  [B, T, V]  {B * T * V * 4 / 1e9:8.3f} GB")

# %% [markdown]
# The ids weigh next to nothing. The scores of all $V$ tokens at each place are called **logits**, and this one tensor is
# more than most GPUs hold, before anything else is in them. Whoever trains such a model cuts the batch into small parts, for
# many GPUs or for one after the other.
#
# ## Your own ledger
#
# Where do all those bytes come from? `gptlab.trace` runs a model once and writes down each line: its shape in letters and in
# numbers, the weights it reads, the bytes it makes, its FLOPs. It takes your own models. In torch a model is a class whose
# `forward` computes; `nn.Embedding` is a table, `nn.Linear` a product with weights plus a vector, and `relu` puts 0 for
# every negative number. (The weights are also called **parameters**, as in the ledger's head. FLOPs are counted for
# products alone; adding the vector and `relu` are too little work to matter.)

# %%
class Guess(nn.Module):
    """Say the next token from this one token alone, through a layer in between."""

    def __init__(self, V, C, hidden):
        super().__init__()
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
# One line is marked. Its comment says [B, T, C], and the tensor is wider than C. The code is right and the comment lies: it
# was copied from the line above. A comment like this is worse than none. jaxtyping could not find it, because it looks at what
# goes into a function and what comes out; `trace` looks at the lines in between. Check the FLOPs with the formula from above:

# %% tags=["nbval-check-output"]
B, T, C, hidden, V = 2, 7, 12, 48, 859
print(ledger.problem)
by_formula = 2 * B * T * C * hidden + 2 * B * T * hidden * V
print(f"2·B·T·C·hidden + 2·B·T·hidden·V = {by_formula:,}, in the ledger {ledger.flops:,}")

# %% [markdown]
# ## Exercises
#
# Write your code in place of the dots and run the cell. `check` runs it on fresh inputs and names the most likely mistake.
# `hint("batches.1")` gives a hint, again for the next one; `solution("batches.1")` shows one way. The stubs carry no letters. Add them
# if you like, `Int[Tensor, "B T"]` for example, and jaxtyping names a wrong shape before `check` compares numbers.

# %%
find("batches.1")


# %% tags=["nbval-check-output"]
def inputs_and_targets(ids: list[int]): ...


check("batches.1", inputs_and_targets)

# %%
find("batches.2")


# %% tags=["nbval-check-output"]
def rolling_windows(ids: list[int], T: int, pad: int): ...


check("batches.2", rolling_windows)

# %%
find("batches.3")


# %% tags=["nbval-check-output"]
def growing_contexts(ids: list[int], T: int): ...


check("batches.3", growing_contexts)

# %%
find("batches.4")


# %% tags=["nbval-check-output"]
def get_batch(ids: Tensor, starts: list[int], T: int): ...


check("batches.4", get_batch)

# %%
find("batches.5")


# %% tags=["nbval-check-output"]
def block_starts(N: int, T: int): ...


check("batches.5", block_starts)

# %%
find("batches.6")


# %% tags=["nbval-check-output"]
def centred(x: Tensor): ...


check("batches.6", centred)

# %%
find("batches.7")


# %% tags=["nbval-check-output"]
def all_dot_products(q: Tensor, k: Tensor): ...


check("batches.7", all_dot_products)

# %%
find("batches.8")


# %% tags=["nbval-check-output"]
def pad_batch(rows: list[list[int]], pad: int): ...


check("batches.8", pad_batch)

# %%
find("batches.9")


# %% tags=["nbval-check-output"]
class RandomBatches:
    def __init__(self, ids: list[int], B: int, T: int, seed: int): ...

    def batch(self, step: int): ...


check("batches.9", RandomBatches)

# %%
progress()

# %%
recap("batches")

# %% [markdown]
# ## What to remember
#
# 1. [B, T, C]: which text, which place, which number of the vector. Texts of a batch never influence each other.
# 2. Shapes line up from the right. A view shares memory; `view` cuts anew, `transpose` swaps axes.
# 3. `@` sums over the axis in the middle and leaves the axes before it alone: [B, T, C] @ [C, V] is [B, T, V].
# 4. A block of T + 1 ids is T samples with growing contexts. With stride T, every pair of neighbours is read once.
# 5. A batch is as large as the knee asks and the memory allows, and depends on seed and step alone.
#
# **Three questions**
#
# 1. `x` is [B, T, C] and `g` is [C]. What does `x * g` do, and what would it do with a `g` of shape [T]?
#
# <details><summary>Answer</summary>
# It multiplies each channel by a number of its own, at every place of every text. A [T] would meet C from the right: an
# error if T ≠ C, and silently the wrong thing if they are equal. <code>g[:, None]</code> is [T, 1] and does what is meant.
# </details>
#
# 2. Why does a GPT's block need T + 1 ids for T samples?
#
# <details><summary>Answer</summary>
# The last input has a target too, which is the id after it. It is the first input of the next block.
# </details>
#
# 3. A training loss falls to almost nothing in two minutes. What do you look at first?
#
# <details><summary>Answer</summary>
# A row of ids and its targets, as text, one above the other. Are the targets one later? If they are, see whether a place
# can look at what comes after it.
# </details>
#
# **To go deeper:** Andrej Karpathy, [Let's build GPT](https://www.youtube.com/watch?v=kCc8FmEb1nY) (2023), from 14:27 on, the
# data loader and batches; Edward Yang, [PyTorch internals](http://blog.ezyang.com/2019/05/pytorch-internals/) (2019), on
# strides. In the package, `gptlab/batches.py` from top to bottom.
#
# ## Next
#
# The vectors of today were random. A model has to find numbers for each token that are good for something, and to find out
# where in the text a token stands, which `table[ids]` does not tell. [Notebook 05](05_embeddings.ipynb) does both, and
# trains the first language model.
