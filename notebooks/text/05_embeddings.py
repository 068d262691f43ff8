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
# # 05 · Embeddings
#
# *Each token gets a row of numbers of its own. The numbers are learned, and tokens that are used alike end up alike.*
#
# A model that has read a lot about foxes should know something about hens. Both are animals, both can be proud or
# patient, both can find a lamp in a story. But a model doesn't see words. It sees ids: *fox* is 467 and *hen* is 462, and
# neither number says anything about the other. In this notebook every token gets a description that a model can learn,
# and so does every position. That is what a GPT works with from its first layer to its last. On the way you'll train your
# first language model, which is a single table.
#
# **After this notebook you can**
#
# - turn ids [B, T] into vectors [B, T, C] in two ways, and say why they are the same,
# - say which numbers of a table learn from a batch, and which don't,
# - show that a model without positions can't tell two orders apart, and repair it in two ways,
# - train a bigram model, and say before the training how good it can become,
# - read a map of trained embeddings, and say what it leaves out.
#
# **It builds on** ids from notebook 01, sub-words from 02, and [B, T, C], `@` and batches from 04. **Reading** takes about
# 55 minutes without the exercises. **Running** takes about 25 seconds on two CPU cores and 800 MB of memory.

# %%
import math
import textwrap
import time
from collections import Counter

import torch
import torch.nn.functional as F

from gptlab import checkpoints, embedding, evaluation, pictures, training
from gptlab.batches import StoryBatches
from gptlab.corpora import fables, grammar
from gptlab.embedding import BigramLanguageModel, TokenAndPositionEmbedding
from gptlab.exercises import check, compare, hint, predict, progress, quiz, recap, solution

torch.set_num_threads(1)  # matrices this small gain little from a second core
torch.manual_seed(5);

# %% tags=["nbval-check-output"]
pictures.pipeline("embedding")

# %% [markdown]
# Three questions about earlier notebooks to warm up. Replace the dots with letters, as in
# `quiz("embedding", ["a", "b", "c"])`, or skip them: nothing below depends on it.

# %% tags=["nbval-check-output"]
quiz("embedding", [..., ..., ...])

# %% [markdown]
# ## The question: which words are like *fox*?
#
# Here is the text that travels with us, as ids. The tokenizer belongs to the small model that this course has trained on
# fables. We'll look inside that model near the end.

# %% tags=["nbval-check-output"]
model, tokenizer = checkpoints.committed("fables")
V = tokenizer.vocab_size
print(fables.TRAVELLER)
print(tokenizer.encode(fables.TRAVELLER))

# %% [markdown]
# A fox is an animal, and so is a hen; *proud* isn't. Let's ask the ids. Which tokens have an id near that of *fox*, and
# what lies half-way between a fox and a hen? A space that belongs to a token is shown as ␣.

# %% tags=["nbval-check-output"]
fox, hen = tokenizer.encode(" fox hen")
near = [tokenizer.decode([id]).replace(" ", "␣") for id in range(fox - 3, fox + 4)]
print(f"fox is {fox}, hen is {hen}")
print("near the fox:  ", near)
print("half-way to hen:", tokenizer.decode([(fox + hen) // 2]).replace(" ", "␣"))

# %% [markdown]
# There is a bear among the neighbours, and you might take heart. But there are a book and a crown as well, and pieces
# of words. Ids were given out in the order in which the tokenizer merged its pairs, so two neighbours come from pairs
# that were about equally frequent, and that's all they have in common. An id is a name. You can't average two names,
# and a larger one isn't more of anything.
#
# One number can't say what a fox is: an animal, a possible hero, a word that likes to follow *the proud*. Several
# numbers could.
#
# ## By hand: a row for each token
#
# So give each token $C$ numbers, its channels, and write them into a table $E$ with one row for each of the $V$ tokens.
# Here's a small table whose numbers you can read at a glance: the row of token 3 holds 3.0, 3.1, 3.2, 3.3.

# %% tags=["nbval-check-output"]
C = 4
table = torch.arange(7)[:, None] + torch.arange(C) / 10  # [V, C], a vocabulary of seven tokens for now
ids = torch.tensor([[3, 1, 3], [1, 1, 4]])  # [B, T]
print(table)

# %% [markdown]
# ### Your turn: Look up the rows
#
# `embedding.1` · *warm-up* · 5 minutes
#
# Replace each id by its row of the table.
#
# ```python
# def embed(ids: Int[Tensor, "B T"], table: Float[Tensor, "V C"]) -> Float[Tensor, "B T C"]: ...
# ```
#
# For example, with the table above, `embed(torch.tensor([[2, 0]]), table)` is
# `[[[2.0, 2.1, 2.2, 2.3], [0.0, 0.1, 0.2, 0.3]]]`.
#
# Replace the dots with your code and run the cell. `check` tries it on fresh inputs and names the most likely mistake;
# `hint("embedding.1")` gives one hint at a time, and `solution("embedding.1")` shows one way.


# %% tags=["nbval-check-output"]
def embed(ids, table): ...


check("embedding.1", embed)

# %% [markdown]
# What shape comes out for our `ids`? Replace `...` with your guess, for example `predict("embedding.a", (7, 4))`.

# %% tags=["nbval-check-output"]
predict("embedding.a", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
x = table[ids]
print(list(x.shape))
print(x)

# %% [markdown]
# <details><summary>Answer</summary>
#
# [2, 3, 4], that is [B, T, C]. Each id was replaced by a row of four numbers. The shape of the ids is still there, with C
# at its end. The 7 is gone: it only says how many rows there were to choose from. Putting the ids into the brackets,
# `table[ids]`, is the whole function.
# </details>
#
# Look at the first and the third row of the first sequence. They are the same, because the id is 3 both times.
#
# Such a row is called the **embedding** of its token, and the word is used for the whole table, too. Yoshua Bengio and
# others put a learned table like this in front of a neural language model in
# [2003](https://www.jmlr.org/papers/v3/bengio03a.html).
#
# ## A look-up is a product
#
# Notebook 04 said that nearly all the work of a model is the matrix product `@`. Is a look-up the exception? Write the id
# 3 as seven numbers, a 1 at position 3 and zeros elsewhere. A row like this is called **one-hot**. Now multiply it with
# the table. Every row of the table gets multiplied by 0, except one:

# %% tags=["nbval-check-output"]
three = torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])  # [V]
print(three @ table)

# %% [markdown]
# There is row 3. With $h$ for the one-hot row, the product is
#
# $$x_c = \sum_{v} h_v \, E_{v c}$$
#
# and the only term left is the one with $h_v = 1$.
#
# ### Your turn: The same as a product
#
# `embedding.2` · *warm-up* · 10 minutes
#
# Write each id as V numbers, 1.0 at the position of the id and 0.0 everywhere else. `F.one_hot` would do half of it; try
# without.
#
# ```python
# def one_hot(ids: Int[Tensor, "B T"], V: int) -> Float[Tensor, "B T V"]: ...
# ```
#
# For example, `one_hot(torch.tensor([[2, 0]]), 3)` is `[[[0., 0., 1.], [1., 0., 0.]]]`.


# %% tags=["nbval-check-output"]
def one_hot(ids, V): ...


check("embedding.2", one_hot)

# %% [markdown]
# Whatever way you found, here it is with PyTorch's own function, for all our ids at once:

# %% tags=["nbval-check-output"]
hot = F.one_hot(ids, 7).float()  # [B, T, V]
product = hot @ table  # [B, T, V] @ [V, C] -> [B, T, C]
print(hot[0])
print("the same as the look-up:", torch.equal(product, table[ids]))

# %%
pictures.shapes(("one-hot", "B T V", hot), "@", ("E", "V C", table), "=", ("x", "B T C", product))

# %% [markdown]
# Nobody computes it that way, so why does it matter? Because now you know that a look-up is a matrix product like any
# other. It can stand at the beginning of a model and be learned like any matrix. The look-up is its fast form, and
# further down we measure how fast.
#
# ## Which rows learn?
#
# At first the numbers in the table are random. Training changes them a little, again and again, so that the loss gets
# smaller. Which of them *can* it change? As a stand-in for the loss, take the sum of all of `x`. Nudge one number of the
# table, and see what the sum does.

# %% tags=["nbval-check-output"]
for row in (1, 3, 5):
    nudged = table.clone()
    nudged[row, 0] += 1.0
    change = nudged[ids].sum() - table[ids].sum()
    print(f"row {row} up by 1: the loss changes by {change.item():.0f}")

# %% [markdown]
# How much the loss changes for a tiny change of a number, divided by that change, is the **gradient** of the loss with
# respect to that number. PyTorch computes it for all numbers at once: mark the tensor with `requires_grad_()`, and call
# `backward()` on the loss. Notebook 09 shows how that works. Here it's enough that it agrees with our nudges. How many of
# the seven rows get a gradient other than zero?

# %% tags=["nbval-check-output"]
predict("embedding.b", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
table.requires_grad_()
table[ids].sum().backward()
print(table.grad)
table = table.detach()  # an ordinary tensor again

# %% [markdown]
# <details><summary>Answer</summary>
#
# Three: rows 1, 3 and 4. Row 1 was looked up three times, so a change of it counts three times.
# </details>
#
# ### Your turn: Which rows learn?
#
# `embedding.4` · *core* · 15 minutes
#
# Write this backward pass yourself, without autograd. You get `upstream`: for each position, how the loss changes with
# each of the C numbers that were looked up there. Compute the same for the table. A row that was used several times gets
# the sum, and a row that wasn't used gets zeros.
#
# ```python
# def table_gradient(
#     ids: Int[Tensor, "B T"], upstream: Float[Tensor, "B T C"], V: int
# ) -> Float[Tensor, "V C"]: ...
# ```
#
# For example, with ids `[[1, 1, 0]]`, upstream `[[[2., 0.], [3., 1.], [4., 4.]]]` and V = 3, the result is
# `[[4., 4.], [5., 1.], [0., 0.]]`.


# %% tags=["nbval-check-output"]
def table_gradient(ids, upstream, V): ...


check("embedding.4", table_gradient)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def table_gradient(ids, upstream, V):
#     gradient = torch.zeros(V, upstream.shape[-1])  # [V, C]
#     for b in range(ids.shape[0]):
#         for t in range(ids.shape[1]):
#             gradient[ids[b, t]] += upstream[b, t]
#     return gradient
# ```
#
# The one-line version `gradient[ids] += upstream` is a famous trap: where an id occurs twice, only one of the two
# additions survives.
# </details>
#
# So **a batch teaches only the rows that it looks up**. A frequent token learns in every step, a rare one hardly ever,
# and a token that never occurs gets no gradient at all. Is that a rare case? Let's count how many of our tokenizer's
# tokens occur in a thousand fables.

# %% tags=["nbval-check-output"]
end = tokenizer.special_tokens["<|endoftext|>"]


def encode(stories):
    return [[*tokenizer.encode(story.text), end] for story in stories]


documents, held_out = fables.tell(3000, seed=0), fables.tell(200, seed=1)
texts, others = encode(documents), encode(held_out)
met = {id for text in texts[:1000] for id in text}
idle = [id for id in range(V) if id not in met]
single = sum(id < 256 for id in idle)
merged = len(idle) - single
print(f"{len(met)} of {V} rows are ever looked up; idle are {single} single bytes and {merged} merged tokens")

# %% [markdown]
# The bytes are there so that no text is unknown, as you remember from notebook 02. The merged tokens are stages on the
# way to longer ones, such as `Onc` to `Once`. Large models have such rows as well, and behave strangely when a text does
# contain one: Rumbelow and Watkins found
# [SolidGoldMagikarp](https://www.lesswrong.com/posts/aPeJE8bSo6rAFoLqg/solidgoldmagikarp-plus-prompt-generation) in the
# vocabulary of GPT-2 and GPT-3 in 2023.
#
# ## Order is lost
#
# We have a row for each token. Now let a model combine the rows of a sentence in the plainest possible way, by their
# mean. Here is a vocabulary of four words, and two sentences made of the same five tokens. It matters a great deal who
# sees whom. Compare the two means.

# %% tags=["nbval-check-output"]
words = ["the", "fox", "hen", "saw"]
tokens = torch.tensor([[0.5, 0.1, 0.0], [1.0, -0.5, 0.5], [1.5, 0.5, -1.0], [-1.0, 2.0, 0.5]])  # [V, C]
first = torch.tensor([[words.index(w) for w in "the hen saw the fox".split()]])  # [B, T]
second = torch.tensor([[words.index(w) for w in "the fox saw the hen".split()]])
print("the hen saw the fox:", tokens[first].mean(dim=1).round(decimals=3))
print("the fox saw the hen:", tokens[second].mean(dim=1).round(decimals=3))

# %% [markdown]
# Equal. All that's left is which tokens there were and how often, a **bag of words**. And the mean isn't the only one
# to blame. The rows themselves don't know where they stand, so anything that treats all rows alike, as attention without a
# mask does in the next notebook, gets the same result for the fox in both sentences.
#
# The repair is to write the position into the row. Make a second table $P$ with a row for each position 0, 1, 2 and so
# on, and add:
#
# $$x_{t} = E[\mathrm{id}_t] + P[t]$$
#
# ### Your turn: What, and where
#
# `embedding.3` · *core* · 10 minutes
#
# Add to each token's row the row of its position. The first id is at position `start`, the next at `start + 1`, in every
# sequence of the batch alike. You'll need `start` when a model writes: then it gets the new token only, and `start`
# counts those before it.
#
# ```python
# def embed_with_positions(
#     ids: Int[Tensor, "B T"], tokens: Float[Tensor, "V C"], positions: Float[Tensor, "N C"], start: int
# ) -> Float[Tensor, "B T C"]: ...
# ```
#
# For example, with ids `[[1, 1]]`, tokens `[[0., 0.], [5., 6.]]`, positions `[[.1, .1], [.2, .2], [.3, .3]]` and start = 1,
# the result is `[[[5.2, 6.2], [5.3, 6.3]]]`.


# %% tags=["nbval-check-output"]
def embed_with_positions(ids, tokens, positions, start): ...


check("embedding.3", embed_with_positions)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def embed_with_positions(ids, tokens, positions, start):
#     T = ids.shape[1]
#     return tokens[ids] + positions[start : start + T]  # [B, T, C] + [T, C]
# ```
# </details>
#
# On our sentence, with five positions made up by hand, watch the word *the*, which occurs twice:

# %% tags=["nbval-check-output"]
positions = torch.tensor([[0.3, 0.0, 0.1], [0.1, 0.0, -0.2], [0.2, 0.3, 0.0], [0.0, 0.4, 0.1], [-0.3, 0.0, 0.2]])
T = first.shape[1]
x = tokens[first] + positions[:T]  # [B, T, C] + [T, C]: the same positions for each sequence
print("the, at position 0:", x[0, 0])
print("the, at position 3:", x[0, 3])

# %%
sums = torch.stack([tokens[0], positions[0], x[0, 0], tokens[0], positions[3], x[0, 3]])
picture = pictures.rows(sums, ["E[the]", "P[0]", "x[0]", "E[the]", "P[3]", "x[3]"], y="")
picture.axes[0].set_xticks(range(3))
picture

# %% [markdown]
# Read the picture from the top, three rows at a time: token plus position gives `x`. The rows of the token are the same, the
# rows of the position differ, and so do the two sums. The order is in the numbers now. Is that enough? Ask the mean again.

# %% tags=["nbval-check-output"]
predict("embedding.c", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
y = tokens[second] + positions[:T]
print("means equal:                        ", torch.allclose(x.mean(dim=1), y.mean(dim=1)))
print("means equal, with relu on each row: ", torch.allclose(x.relu().mean(dim=1), y.relu().mean(dim=1)))

# %% [markdown]
# <details><summary>Answer</summary>
#
# b, the means are equal. A sum of sums can be reordered: first all tokens, then all positions, and both sentences have
# the same of each.
#
# The second line shows what helps. `relu` replaces negative numbers with 0, in each row by itself, *before* the rows
# come together. After that the order shows.
# </details>
#
# So positions put the order *into* the rows, and something that isn't a plain sum has to take it *out*. In a GPT that's
# the job of attention (06) and the MLP (08).
#
# ## Two ways to number the positions
#
# **Learned positions** are the simplest choice: the table $P$ starts with random numbers and is trained like $E$. GPT-2
# does this. The price is that there's no row for a position beyond the end of the table.
#
# **Sinusoidal positions** are computed. Vaswani and others ([2017](https://arxiv.org/abs/1706.03762), section 3.5) write
# the position as waves, some short and some long, like the hands of a clock. The second hand tells one second from the
# next, the hour hand tells three o'clock from nine, and together they name every second of twelve hours.
#
# $$P_{t,\,2i} = \sin\!\left(\frac{t}{10000^{2i/C}}\right), \qquad P_{t,\,2i+1} = \cos\!\left(\frac{t}{10000^{2i/C}}\right)$$
#
# Column $2i$ is a sine, and column $2i+1$ the cosine of the same angle. With $C = 4$ there are two pairs: $i = 0$ with the
# angle $t$, and $i = 1$ with the angle $t/100$. You can check the row of $t = 1$ on a pocket calculator, in radians:

# %% tags=["nbval-check-output"]
by_hand = [math.sin(1), math.cos(1), math.sin(1 / 100), math.cos(1 / 100)]
print("by hand:", [round(number, 3) for number in by_hand])
print("package:", [round(number, 3) for number in embedding.sinusoidal(T=2, C=4)[1].tolist()])

# %% [markdown]
# ### Your turn: Positions as waves
#
# `embedding.5` · *stretch* · 15 minutes
#
# Build the whole table from the formula, for positions 0 to T − 1 and an even C. The line above is a worked example: row 1
# of `waves(2, 4)`.
#
# ```python
# def waves(T: int, C: int) -> Float[Tensor, "T C"]: ...
# ```


# %% tags=["nbval-check-output"]
def waves(T, C): ...


check("embedding.5", waves)

# %% [markdown]
# Here are three columns at the first forty positions: a short wave, a longer one and a still longer one.

# %%
sines = embedding.sinusoidal(T=80, C=32)  # [T, C]
columns = {f"column {i}": list(enumerate(sines[:40, i])) for i in (0, 4, 8)}
picture = pictures.lines(columns, "position t", "value", legend="upper right")
picture.axes[0].set_ylim(top=1.8)  # room for the legend
picture

# %% [markdown]
# Each marker is a number in the table. And this is the whole table as colours, with a row for each position. Compare the
# channels on the left with those on the right.

# %%
pictures.rows(sines, y="position t")

# %% [markdown]
# On the left they change from position to position, on the right hardly at all: there a cosine stays near 1 and a sine
# near 0. No two rows are the same.
#
# But why waves, and why sine and cosine together? Take the dot product of two rows, which is large when the two are alike.
# Does it know how far apart they are?

# %% tags=["nbval-check-output"]
dots = sines @ sines.T  # [T, C] @ [C, T] -> [T, T]
for a, b in ((3, 8), (20, 25), (60, 65), (3, 43), (30, 70)):
    print(f"positions {a:2} and {b:2}, {b - a:2} apart: {dots[a, b]:.3f}")

# %% [markdown]
# It depends on the distance alone. If a pair of columns has the angles $\alpha$ and $\beta$ at two positions, then
# $\sin\alpha \sin\beta + \cos\alpha \cos\beta = \cos(\alpha - \beta)$, and the difference of the angles is the distance
# times a number that belongs to the pair. So a model that compares positions by dot products, as the next notebook's
# will, can respond to *how far apart* two positions are, wherever they stand. It can; nothing forces it to. Further
# down we'll draw the whole curve beside that of a learned table.
#
# ## The tested block
#
# In the package, `TokenAndPositionEmbedding` does all of this, with `position` set to "learned", "sinusoidal" or
# "none". It is a class whose method `forward` computes; calling the object, `block(ids)`, runs it. Without its checks,
# `forward` is three lines (with learned positions; the waves, which aren't trained, are added in the same way):
#
# ```python
# x = self.token(ids)  # [B, T, C]
# if self.position is not None:
#     x = x + self.position.weight[start : start + T]  # [B, T, C] + [T, C]
# ```
#
# `self.token` and `self.position` are tables of the kind `nn.Embedding`: called with ids they look up rows, and `.weight`
# is the table itself. Is it the same as your lines, and as PyTorch's own `F.embedding`? We compare on random ids.

# %% tags=["nbval-check-output"]
for position in ("learned", "sinusoidal", "none"):
    block = TokenAndPositionEmbedding(V=50, T=12, C=6, position=position)
    E, P = block.token.weight, torch.zeros(12, 6)  # [V, C] and [T, C]
    if position == "learned":
        P = block.position.weight
    if position == "sinusoidal":
        P = embedding.sinusoidal(12, 6)
    for start in range(4):
        ids = torch.randint(50, (3, 9))  # [B, T]
        yours = E[ids] + P[start : start + 9]
        library = F.embedding(ids, E) + F.embedding(torch.arange(start, start + 9), P)
        assert torch.equal(block(ids, start=start), yours) and torch.equal(yours, library)
    print(f"{position:10}  equal, with start = 0, 1, 2 and 3")

# %% [markdown]
# Two requests have no answer: an id without a row, and a position without a row. A good error says which it was and what
# to do about it.

# %% tags=["nbval-check-output"]
block = TokenAndPositionEmbedding(V=50, T=12, C=6)
for name, ids in {"id 50": torch.tensor([[7, 50]]), "15 positions": torch.zeros(1, 15, dtype=torch.long)}.items():
    try:
        block(ids)
    except ValueError as problem:
        print(f"{name}: {problem}")

# %% [markdown]
# ## Break it: positions along the wrong axis
#
# Here's a mistake that passes every test of shapes, because [B, 1, C] can be added to [B, T, C] as well as [T, C] can.

# %% tags=["nbval-check-output"]
B, T, C = 3, 5, 6
E, P = torch.randn(50, C), torch.randn(12, C)


def by_time(ids):
    return E[ids] + P[torch.arange(ids.shape[1])]  # [B, T, C] + [T, C]


def by_batch(ids):
    return E[ids] + P[torch.arange(ids.shape[0])][:, None]  # [B, T, C] + [B, 1, C]


ids = torch.randint(50, (B, T))
print("shapes:", list(by_time(ids).shape), list(by_batch(ids).shape))

# %% [markdown]
# A model with `by_batch` trains without complaint and knows nothing of the order. Two questions expose it, and they are
# worth asking of every model. Does the same token differ at two positions? And does a sequence give the same result alone
# as in company?

# %% tags=["nbval-check-output"]
for build in (by_time, by_batch):
    twice = build(torch.tensor([[7, 7, 9, 7], [7, 9, 9, 9]]))  # [B, T, C]
    differs = not torch.allclose(twice[0, 0], twice[0, 1])
    alone = torch.allclose(build(ids)[1:], build(ids[1:]))
    said = f"one token at two positions differs: {differs!s:5}  a sequence is the same alone: {alone}"
    print(f"{build.__name__:8}  {said}")

# %% [markdown]
# ## The first language model: a table
#
# A language model predicts the next token. The least it can look at is one token, so take a table with $V$ rows of $V$
# numbers: row $i$ says how well each token would fit after token $i$. Looking up a row is the whole model. Because it sees
# pairs of tokens, it is called a **bigram** model.
#
# The numbers in a row may be anything, negative ones included; they are the logits of notebook 04. We need probabilities.
# **Softmax** makes them: take $e$ to the power of each logit, which is always positive, and divide by the sum of all, so
# that they add up to 1.
#
# Then comes the verdict. If the token that really follows had the probability $p$, the model's penalty is $-\ln p$, in
# **nats**, the unit that you know from notebook 03. Here are both steps for four tokens that could come after *the*.
# Compare the last two columns.

# %% tags=["nbval-check-output"]
logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
powers = logits.exp()
chances = powers / powers.sum()
penalties = -chances.log()
columns = (values.tolist() for values in (logits, powers, chances, penalties))
heads = ["what could come", "logit", "e to that power", "probability p", "−ln p (nats)"]
pictures.table(zip(["mill", "hen", "proud", "lived"], *columns, strict=True), heads)

# %% [markdown]
# The smaller the probability, the larger the penalty; a certain token would cost nothing. The mean of this over all
# targets is the loss, the **cross-entropy**. PyTorch has both steps built in:

# %% tags=["nbval-check-output"]
print("softmax the same:      ", torch.allclose(logits.softmax(dim=-1), chances))
print("cross-entropy of *hen*:", round(F.cross_entropy(logits[None], torch.tensor([1])).item(), 2))

# %% [markdown]
# `F.cross_entropy` wants one long list of rows, so the model in the package puts the sequences of a batch end to end,
# [B · T, V]. `IGNORE` is the −100 of notebook 04. Its `forward`, without the checks:
#
# ```python
# logits = self.table(ids)  # [B, T, V]
# return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
# ```
#
# The table starts with zeros. What is its loss before any training, with the $V$ of our tokenizer? A formula is welcome
# as a guess, `predict("embedding.d", V / 100)` for example.

# %% tags=["nbval-check-output"]
predict("embedding.d", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
batches = StoryBatches(texts, B=64, start=end)
judge = StoryBatches(others, B=50, start=end, shuffle=False)  # stories that the model is never trained on
bigram = BigramLanguageModel(V)
print(f"V = {V}: first loss {evaluation.mean_loss(bigram, judge):.3f} nats per token, ln V = {math.log(V):.3f}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# $\ln V$. Equal logits are equal probabilities, $1/V$ each, and $-\ln(1/V) = \ln V$.
# </details>
#
# ### How good can it become?
#
# This time you don't have to guess, and you don't have to train. The best that a bigram can do is to know, for each token
# $i$, in what fraction of all cases $j$ came next. That can be counted:
#
# $$p(j \mid i) = \frac{\mathrm{count}(i, j)}{\mathrm{count}(i)}$$
#
# ### Your turn: The best bigram, without training
#
# `embedding.7` · *stretch* · 20 minutes
#
# What is the smallest mean loss that a bigram can reach on a text? Each pair of neighbours (i, j) costs −ln p with the p
# of the formula. Give the mean over all pairs, in nats per token.
#
# ```python
# def best_bigram_loss(ids: list[int]) -> float: ...
# ```
#
# For example, in `[1, 2, 1, 3]` the 1 is followed by 2 once and by 3 once, and the 2 always by 1. The three pairs cost
# ln 2, 0 and ln 2, so the result is 2/3 · ln 2 ≈ 0.462.


# %% tags=["nbval-check-output"]
def best_bigram_loss(ids): ...


check("embedding.7", best_bigram_loss)

# %% [markdown]
# For our stories, the first token of each follows the end token of another, as in notebook 04.

# %% tags=["nbval-check-output"]
count, before = Counter(), Counter()  # of the pairs (i, j), and of the tokens i in front
for text in texts:
    for i, j in zip([end, *text[:-1]], text, strict=True):
        count[i, j] += 1
        before[i] += 1
penalty = sum(n * -math.log(n / before[i]) for (i, j), n in count.items())
best = penalty / count.total()
print(f"{count.total():,} pairs, {len(count):,} different ones of {V * V:,} that there could be")
print(f"counted: no bigram can get below {best:.3f} nats per token on these stories")

# %% [markdown]
# Now forget the counts and train. The training loop is a box that you'll open in notebook 10. It shows the model batch
# after batch, computes the gradient of the loss, and moves each number of the table a little against it. `TrainConfig`
# says how many batches (`steps`), how far each move goes (`learning_rate`), over how many steps that distance grows from
# 0 (`warmup`), and how often to measure on the held-out stories. Watch where the loss starts, and where it comes to rest.

# %%
how = training.TrainConfig(steps=160, learning_rate=0.5, warmup=10, evaluate_every=40)
history = training.train(bigram, batches, how, evaluate=lambda m: {"held out": evaluation.mean_loss(m, judge)})
trained = history.evaluations[-1]["held out"]
print(f"held out: {trained:.2f} nats per token; expected: between {best - 0.05:.2f} and {best + 0.1:.2f}")

# %%
floor = sum(story.nats for story in held_out) / sum(map(len, others))
lines = {"ln V": math.log(V), "counted": best, "entropy of the fables": floor}
pictures.training(history, floor=lines, smooth=1, unit="nats per token", top=7.2)

# %% [markdown]
# The loss starts at $\ln V$, as it must, and comes to rest near the counted line. A single step may dip below that line,
# because its loss is measured on one batch, and some batches are easier than the whole. Nobody told the model to count.
# Pushed downhill, the table finds nearly the same probabilities:

# %%
lived, the = tokenizer.encode(" lived the")
learned = bigram.table.weight[lived].softmax(dim=-1)
print("after ' lived', counted and learned:")
for id, n in Counter({j: n for (i, j), n in count.items() if i == lived}).most_common(4):
    print(f"  {tokenizer.decode([id])!r:8} {n / before[lived]:.3f} {learned[id]:.3f}")

# %%
after_the = bigram.table.weight[the].softmax(dim=-1)  # [V]
pictures.next_token(after_the, tokenizer, rest=False, title="What follows ' the', says the bigram")

# %% [markdown]
# *The* can be followed by many words, and the model never saw what came before it. So the lowest line in the picture of
# the training, the **entropy** of the fables, is out of its reach. That line is what you'd pay in nats if you knew exactly
# how the stories are made and remembered all that was said; notebook 01 had it in bits.
#
# Let the bigram write a story, and you see what's missing. At each step `torch.multinomial` samples one token with
# the probabilities that it is given.

# %%
generator, id, story = torch.Generator().manual_seed(3), end, []
for _ in range(45):
    chances = bigram.table.weight[id].softmax(dim=-1)  # [V]
    id = int(torch.multinomial(chances, 1, generator=generator))
    story.append(id)
print(textwrap.fill(tokenizer.decode(story).replace("<|endoftext|>", " [end] "), 90))

# %% [markdown]
# Any two neighbours fit together, and the whole makes no sense. Claude Shannon produced such sentences by hand, from
# pairs of words, in [1948](https://people.math.harvard.edu/~ctm/home/text/others/shannon/entropy/entropy.pdf).
#
# ## A table in, a table out
#
# $V$ rows of $V$ numbers are a lot. For GPT-2's vocabulary it would be two and a half billion, for pairs alone. And the
# bigram learns each pair separately: what it knows about foxes doesn't help it with hens, which is where we came in.
#
# Embeddings fix both. One table reads: $V$ rows of $C$ numbers. A second one writes: it turns $C$ numbers into $V$ logits.
# In the class below, `__init__` makes the tables and `forward` uses them. Its options are for the experiments that follow.

# %%
class ReadAndWrite(torch.nn.Module):
    def __init__(self, C, position="none", middle=False, tied=False):
        super().__init__()
        self.read = TokenAndPositionEmbedding(V, T=120, C=C, position=position)
        self.middle = torch.nn.Linear(C, C, bias=False) if middle else torch.nn.Identity()
        self.write = torch.nn.Linear(C, V, bias=False)  # a table [V, C] again
        if tied:
            self.write.weight = self.read.token.weight  # one and the same
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, std=0.1)

    def forward(self, ids, targets):
        logits = self.write(self.middle(self.read(ids)))  # [B, T] -> [B, T, C] -> [B, T, V]
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten())


# %% [markdown]
# `torch.nn.Linear` is the product of notebook 04; `bias=False` leaves out the vector that it would add. It stores its
# weights transposed: `Linear(C, V)` has a table [V, C] and computes `x @ weight.T`. So row $j$ of that table belongs to
# token $j$, and the logit of token $j$ is the dot product of `x` with that row. `Identity` does nothing.
#
# Now there are two tables [V, C], one to read and one to write. Why not use the same one for both? That would save half
# of the parameters, and it's what the option `tied` does. Before you try it, think about a model with nothing between
# reading and writing:

# %% tags=["nbval-check-output"]
predict("embedding.e", ...)

# %%
plan = training.TrainConfig(steps=120, learning_rate=0.03, warmup=10)
small = StoryBatches(texts, B=16, start=end)
kinds = {
    "two tables": {},
    "one table, nothing between": {"tied": True},
    "one table, a matrix between": {"tied": True, "middle": True},
}
runs = {}
for name, options in kinds.items():
    torch.manual_seed(1)
    runs[name] = ReadAndWrite(C=32, **options)
    training.train(runs[name], small, plan, progress=False)
    print("trained:", name)

# %% tags=["answers-prediction"]
loss = {name: evaluation.mean_loss(run, judge) for name, run in runs.items()}
sizes = {name: sum(parameter.numel() for parameter in run.parameters()) for name, run in runs.items()}
rows = [("bigram, V rows of V", V * V, f"{trained:.2f}")]
rows += [(name, sizes[name], f"{loss[name]:.2f}") for name in runs]
worse = loss["one table, nothing between"] / loss["two tables"]
print(f"with nothing between, one table has {worse:.1f} times the loss of two; expected: more than 1.5 times")
pictures.table(rows, ["model", "parameters", "nats per token, held out"])

# %% [markdown]
# <details><summary>Answer</summary>
#
# a, the same number. The dot product of rows $i$ and $j$ doesn't change if the two change places. So *fox* after *proud*
# gets the same logit as *proud* after *fox*.
# </details>
#
# Read the table from the top. Two narrow tables should do about as well as the full bigram, with a small fraction of its
# parameters. One table with nothing between fails. It can't give $j$ after $i$ a high logit without giving the same to $i$
# after $j$. And the dot product of a row with itself is never negative, so it's hard to say that a token doesn't follow
# itself. One matrix in between, $C \cdot C$ parameters, repairs both, and the model is half the size of the one with two
# tables. In a GPT there is much more than one matrix in between.
#
# Using one table for both is called **weight tying** (Press and Wolf [2017](https://arxiv.org/abs/1608.05859), Inan and
# others [2017](https://arxiv.org/abs/1611.01462)). They report better losses with it on small corpora; our single run
# doesn't test that. GPT-2 ties its weights, and so does this course's model of the fables; Llama 3 with 8 billion
# parameters doesn't. A table that writes has no idle rows, by the way: every logit takes part in the softmax, so every
# row gets a gradient.
#
# ## What do positions buy?
#
# The model with two tables once more, and this time it knows the position: its logits come from token *plus* position.

# %%
for position in ("learned", "sinusoidal"):
    torch.manual_seed(1)
    runs[position] = ReadAndWrite(C=32, position=position)
    training.train(runs[position], small, plan, progress=False)
    loss[position] = evaluation.mean_loss(runs[position], judge)
    print("trained:", position, "positions")

# %%
bars = {"nothing learned": math.log(V), "without positions": loss["two tables"]}
bars |= {f"{position} positions": loss[position] for position in ("learned", "sinusoidal")}
most = 0.7 * loss["two tables"]
for position in ("learned", "sinusoidal"):
    print(f"{position}: {loss[position]:.2f} nats per token; expected: between {floor:.2f} and {most:.2f}")
pictures.compare(bars, "nats per token, held out", floor={"entropy of the fables": floor}, best=None)

# %% [markdown]
# That is a lot for an addition, and more than you'll get elsewhere. Every fable takes the same course, so the position
# alone nearly tells the model which sentence it is in. In ordinary text it doesn't. Vaswani and others found the two
# kinds of positions about equally good. They chose the waves, hoping that these would carry on beyond the longest text
# seen in training.
#
# Here is the curve we promised: how alike two positions are, against how far apart they are. Rows have different lengths,
# so we divide each by its own first, which is what `F.normalize` does. The dot product is then the **cosine similarity**:
# 1 for the same direction, 0 for a right angle. `dots.diagonal(d)` picks all pairs that are d apart, and each point is
# their mean.

# %%
tables = {"waves": embedding.sinusoidal(100, 32), "learned": runs["learned"].read.position.weight.detach()[:100]}
tables["learned, before training"] = 0.1 * torch.randn(100, 32)
curves = {}
for name, P in tables.items():
    P = F.normalize(P, dim=1)  # [T, C], each row of length 1
    dots = P @ P.T  # [T, T]
    curves[name] = [(d, dots.diagonal(d).mean()) for d in range(40)]
pictures.lines(curves, "distance between two positions", "mean cosine of their rows")

# %% [markdown]
# The waves are made so that neighbours are alike. Distant positions still share the long waves, so the curve falls in
# ripples and stays high. The learned table wasn't told anything. It began as noise, like the third curve, and if its own
# curve is now higher at small distances, training has found out that neighbouring positions need similar rows, most
# likely because similar things come next there.
#
# ## The question again: which words are like *fox*?
#
# Now open the table of the trained model, `model.embedding.token.weight`: $V$ rows of $C$ numbers, and nobody told it what
# an animal is. Again we compare rows by their cosine similarity.
#
# ### Your turn: Nearest neighbours
#
# `embedding.6` · *stretch* · 15 minutes
#
# Which k rows of a table point most nearly in the direction of row `id`? The row itself doesn't count, even if another
# row points in exactly the same direction. No row is all zeros. Return k ids, the most similar first, and leave the table
# unchanged.
#
# ```python
# def neighbours(table: Float[Tensor, "V C"], id: int, k: int) -> list[int]: ...
# ```
#
# For example, with the table `[[1., 0.], [0., 2.], [5., 1.]]`, `neighbours(table, 0, 1)` is `[2]`: row 2 is longer than
# row 0, but points almost the same way.


# %% tags=["nbval-check-output"]
def neighbours(table, id, k): ...


check("embedding.6", neighbours)

# %% [markdown]
# In the next cell, `topk(6)` finds the six largest cosines. For these five words the largest is the word itself, so we
# drop the first. Your function can't rely on that: where another row points in exactly the same direction, the row itself
# need not come first.

# %% tags=["nbval-check-output"]
table = model.embedding.token.weight.detach()  # [V, C]
unit = F.normalize(table, dim=1)  # each row has length 1
print("table:", list(table.shape))
for word in ("fox", "bell", "forest", "proud", "Ada"):
    cosine = unit @ unit[tokenizer.encode(" " + word)[0]]  # [V]
    closest = cosine.topk(6).indices[1:].tolist()
    print(f"{word:7}", ", ".join(f"{tokenizer.decode([id]).strip()} {cosine[id]:.2f}" for id in closest))

# %% [markdown]
# The neighbours of an animal are animals, those of a thing are things. *Proud* has *lazy* near it, and also *humble*,
# its opposite. So alike means *can be used in the same position*, not *means the same*. The linguist John Rupert Firth
# put it this way in 1957: you shall know a word by the company it keeps. Between names the cosines are smaller, perhaps
# because a model that writes fables must never confuse two names.
#
# Does it hold for all of them? For each word we look for the nearest neighbour among all $V$ tokens, and count how often
# it belongs to the same group. The last column has the same count for a table of random numbers.

# %% tags=["nbval-check-output"]
groups = {"animals": grammar.ANIMALS, "names": grammar.NAMES, "things": grammar.THINGS, "traits": grammar.TRAITS}
id_of = {word: tokenizer.encode(" " + word)[0] for group in groups.values() for word in group}


def nearest(table):
    """For each row, the id of the most similar other row."""
    unit = F.normalize(table, dim=1)
    cosine = unit @ unit.T  # [V, V]
    cosine.fill_diagonal_(-2)  # below any cosine, so that no row finds itself
    return cosine.argmax(dim=1).tolist()


def at_home(closest, group):
    """How many words of a group have their nearest neighbour in it."""
    return sum(closest[id_of[word]] in {id_of[other] for other in group} for word in group)


closest = nearest(table)
by_chance = nearest(torch.randn(V, 128, generator=torch.Generator().manual_seed(0)))
counts = [(name, len(group), at_home(closest, group), at_home(by_chance, group)) for name, group in groups.items()]
pictures.table(counts, ["group", "words", "nearest is in the group", "… in a random table"])

# %% [markdown]
# Nearly all are at home. Only some of the names have their nearest neighbour elsewhere:

# %% tags=["nbval-check-output"]
names = {id_of[name] for name in grammar.NAMES}
for name in grammar.NAMES:
    if closest[id_of[name]] not in names:
        print(f"{name:5} →", tokenizer.decode([closest[id_of[name]]]).strip())

# %% [markdown]
# And the idle tokens, which none of our thousand fables contained? This model is tied, so writing has taught them
# something after all:

# %% tags=["nbval-check-output"]
seen = sorted(met)
print(f"mean cosine of two tokens that occur:   {(unit[seen] @ unit[seen].T).mean():.2f}")
print(f"mean cosine of two that never occur:    {(unit[idle] @ unit[idle].T).mean():.2f}")

# %% [markdown]
# They have all learned the same single thing: not to come next. Tokens that are used alike end up alike, and these are
# alike in never being used.
#
# Now a map, of the animals, the things and the first ten names. 128 channels can't be drawn, so it shows the two
# directions in which these words differ most, their **principal components** (Pearson 1901). Before you look at the
# points, look at the axes: they say how much of the differences is on the map at all. Their unit, **variance**, is the
# square of notebook 04's standard deviation.

# %%
shown = {"animals": grammar.ANIMALS, "names": list(grammar.NAMES)[:10], "things": grammar.THINGS}
chosen = [(word, kind) for kind, group in shown.items() for word in group]
vectors = table[[id_of[word] for word, _ in chosen]]  # [n, C]
pictures.embedding_map(vectors, [word for word, _ in chosen], [kind for _, kind in chosen])

# %% [markdown]
# Three islands, and nobody drew a coastline. But the larger part of the differences is not on this map. Two words that lie
# side by side here may be far apart in the directions that it leaves out. The reverse is safe: leaving directions out can
# only shorten a distance, so the islands are at least this far apart in all 128 channels. Who is nearest to whom, only the
# table above can say.
#
# ## At size: what it costs
#
# A look-up is a product. How much faster is it? The product with a one-hot row takes $V \cdot C$ multiplications for each
# token, nearly all of them by 0. The look-up copies $C$ numbers, however large $V$ is. Here is the time for 1,024 tokens
# with $C = 256$. Watch how each column changes with $V$.

# %%
def milliseconds(work, *inputs, times=20):
    work(*inputs)  # the first call is slower
    took = []
    for _ in range(times):
        start = time.process_time()  # counts this program's work alone, whatever else the computer does
        work(*inputs)
        took.append(1000 * (time.process_time() - start))
    return min(took)


# %%
C, lookup, product = 256, [], []
for size in (1_000, 2_000, 4_000, 8_000, 16_000):
    E, ids = torch.randn(size, C), torch.randint(size, (4, 256))  # [V, C], [B, T]
    hot = F.one_hot(ids, size).float()  # [B, T, V]
    lookup.append((size, milliseconds(F.embedding, ids, E)))
    product.append((size, milliseconds(torch.matmul, hot, E)))
    print(f"V = {size:6,}: product {product[-1][1]:6.2f} ms, look-up {lookup[-1][1]:5.2f} ms")
pictures.lines({"product": product, "look-up": lookup}, "V, tokens in the vocabulary", "milliseconds", log="xy")

# %% [markdown]
# The product should grow in step with $V$. The look-up copies equally many numbers at every $V$ and stays far below it;
# if it slows down for the largest tables, the likely reason is that they no longer fit the processor's cache. So for
# reading, the size of the vocabulary costs memory and next to no time. At the other end of the model it's different:
# for writing, all $V$ logits have to be computed for every token.
#
# And the memory?
#
# ### Your turn: How large are the tables?
#
# `embedding.8` · *warm-up* · 5 minutes
#
# A model has a table of V tokens, a table of T learned positions, and at its end a matrix that turns C channels into V
# logits. If the weights are tied, that matrix *is* the token table. How many bytes do they take together, with
# `bytes_each` for each number?
#
# ```python
# def table_bytes(V: int, T: int, C: int, tied: bool, bytes_each: int) -> int: ...
# ```
#
# For example, `table_bytes(10, 4, 3, True, 2)` is 84: 30 numbers for the tokens and 12 for the positions, two bytes each.


# %% tags=["nbval-check-output"]
def table_bytes(V, T, C, tied, bytes_each): ...


check("embedding.8", table_bytes)

# %% [markdown]
# Here are the token tables of published models, with two bytes per number (`bfloat16`). Look at the last column.

# %% tags=["nbval-check-output"]
models = [
    ("fables, this course", V, 128, True, model.count_parameters()),
    ("GPT-2, smallest", 50_257, 768, True, 124_439_808),
    ("GPT-2, largest", 50_257, 1600, True, 1_557_611_200),
    ("Llama 3.2 1B", 128_256, 2048, True, 1_235_814_400),
    ("Llama 3 8B", 128_256, 4096, False, 8_030_261_248),
    ("Llama 3 70B", 128_256, 8192, False, 70_553_706_496),
]
rows = []
for name, size, C, tied, parameters in models:
    one = size * C
    both = one if tied else 2 * one
    megabytes, share = f"{2 * one / 1e6:,.1f}", f"{both / parameters:.0%}"
    rows.append((name, f"{size:,}", f"{C:,}", megabytes, "one" if tied else "two", share))
pictures.table(rows, ["model", "V", "C", "one table (MB, bfloat16)", "tables", "of all parameters"], align="lrrrlr")

# %% [markdown]
# In a small model the table is a large share, and tying it saves a lot. In a very large one it hardly counts: the table
# grows with $C$, the matrices of the layers with $C \cdot C$, and there are more layers.
#
# ## More exercises
#
# If you skipped the ones on the way, go back to **embedding.3** and **embedding.4** first.
#
# *Stretch, open at the top, without a check:* a bigram sees one token. Build a *trigram* from counts, which sees two, and
# compute its loss on stories that it wasn't counted on. What do you do with a pair that never occurred? How many numbers
# would its full table have?

# %%
progress("embedding")

# %%
recap("embedding")

# %% [markdown]
# ## What to remember
#
# 1. An embedding is a row of a table, looked up by id: [B, T] becomes [B, T, C]. It equals a product with one-hot rows.
# 2. A batch teaches only the rows that it looks up, each as often as it occurs.
# 3. Without positions the order is lost. Add token and position, learned or as waves, counted along T and never along B.
# 4. A bigram is a table of logits: it begins at $\ln V$, and training leads to the counts. The entropy is out of reach.
# 5. Trained rows are alike for tokens that can be used in the same position. Tied weights read and write with one table.
#
# **New terms**
#
# | here | in one line | elsewhere this is called |
# |---|---|---|
# | embedding | a token's row of numbers, or the whole table | token embedding, `wte`, `embed_tokens`, word vector |
# | one-hot | 1 at one position, 0 elsewhere | indicator vector |
# | gradient | how the loss changes with a number | `.grad`, derivative, slope |
# | bag of words | which tokens, without their order | BoW |
# | learned positions | a trained row for each position | absolute position embedding, `wpe` |
# | sinusoidal positions | computed waves | positional encoding |
# | bigram | predicts from one token | first-order Markov model, 2-gram |
# | softmax | logits become probabilities | normalised exponential |
# | cross-entropy | the mean of −ln p over the targets | negative log-likelihood (NLL), log loss |
# | entropy | what perfect predictions would cost | entropy rate, irreducible loss |
# | weight tying | one table reads and writes | `tie_word_embeddings`, shared embeddings |
# | cosine similarity | do two rows point the same way? | `F.cosine_similarity` |
# | principal components | the directions in which points differ most | PCA |
#
# **Three questions**
#
# 1. `ids` is [4, 10], the table [859, 64]. How many numbers does the result have, and how many multiplications
# did it take?
#
# <details><summary>Answer</summary>
#
# 4 · 10 · 64 numbers, and no multiplication: rows are copied.
# </details>
#
# 2. A training run begins with a loss of 12, and V is 859. What do you think?
#
# <details><summary>Answer</summary>
#
# Something is wrong. A model that knows nothing has a loss of ln 859, less than 7. To get 12 it must be confident of wrong
# tokens, for example because its first logits are far too large.
# </details>
#
# 3. A colleague's embedding gives the right shape. Which two questions do you ask it?
#
# <details><summary>Answer</summary>
#
# Does the same token differ at two positions of one sequence? And does a sequence give the same alone as in a batch?
# </details>
#
# **To go deeper:** Andrej Karpathy, [The spelled-out intro to language modeling: building
# makemore](https://www.youtube.com/watch?v=PaCmpygFfXo) (2022), a bigram by counts and by gradient, on characters; Tomas
# Mikolov and others, [word2vec](https://arxiv.org/abs/1301.3781) (2013); Haviv and others,
# [2022](https://arxiv.org/abs/2203.16634), on how much of the order a causal model finds out without any positions. In
# the package, `gptlab/embedding.py` from top to bottom.
#
# ## Next
#
# Here is our sentence, one station further: a row of the trained table for each of its tokens. Find the two rows of
# *lived*, the two of *the*, and the commas.

# %%
ids = torch.tensor([tokenizer.encode(fables.TRAVELLER)])  # [B, T]
x = table[ids]  # [B, T, C]
said = [tokenizer.decode([id]) for id in ids[0].tolist()]
pictures.rows(x[0, :, :48], said, x="channel (the first 48 of 128)", most=2)

# %% [markdown]
# They are the same wherever they occur, because this model's table contains no positions. Instead, its attention rotates
# vectors by an angle that depends on the position, which notebook 12 builds.
#
# With token plus position, each row says which token it is and where. None of them knows anything about the others. After
# *the*, the bigram offers every thing there is, even if somebody found a lamp two sentences ago. In
# [notebook 06](06_attention.ipynb) the positions begin to communicate.
