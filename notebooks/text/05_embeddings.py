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
# # 05 Embeddings
#
# *Each token gets a row of numbers of its own. The numbers are learned, and tokens that are used alike end up alike.*
#
# An id is the number of a row and nothing else. Here you fetch that row, you add to it where the token stands, and you
# have what every GPT works with from its first layer to its last. On the way you train your first language model. It is
# one table.
#
# **After this notebook you can**
#
# - turn ids [B, T] into vectors [B, T, C] in two ways, and say why they are the same,
# - say which numbers of a table learn from a batch, and which do not,
# - show that a model without positions cannot tell two orders apart, and mend it in two ways,
# - train a bigram model, and say before the training how good it can become,
# - read a map of trained embeddings, and say what it leaves out.
#
# **It builds on** ids (01), sub-words (02), and [B, T, C], `@` and batches (04). **To run it** takes about 25 seconds on
# two CPU cores and 800 MB of memory.

# %%
import math
import textwrap
import time

import torch
import torch.nn.functional as F

from gptlab import checkpoints, embedding, evaluation, pictures, show, training
from gptlab.batches import StoryBatches
from gptlab.corpora import fables, grammar
from gptlab.embedding import BigramLanguageModel, TokenAndPositionEmbedding
from gptlab.exercises import check, compare, find, hint, predict, progress, quiz, recap, solution  # noqa: F401

torch.set_num_threads(1)  # matrices this small gain little from a second core
_ = torch.manual_seed(5)

# %% tags=["nbval-check-output"]
pictures.pipeline("embedding")

# %% [markdown]
# Three questions about the notebooks before. Put letters in place of the dots, such as `quiz("embedding", ["a", "b", "c"])`; or
# go on, nothing depends on it.

# %% tags=["nbval-check-output"]
quiz("embedding", [..., ..., ...])

# %% [markdown]
# ## The question: which words are like *fox*?
#
# Here is the sentence that travels with you, as ids. The tokenizer belongs to a small model that this course has
# trained on fables. (How it was trained is a box that we open in 10. You need the model itself only near the end.)

# %% tags=["nbval-check-output"]
model, tokenizer = checkpoints.committed("fables")
V = tokenizer.vocab_size
print(fables.TRAVELLER)
print(tokenizer.encode(fables.TRAVELLER))

# %% [markdown]
# A fox is an animal, as a hen is. *Proud* is not. A model that knows this has to learn less: what it has seen of foxes
# helps it with hens. So ask the ids. Which tokens have an id near that of *fox*? And what lies half-way between a fox
# and a hen? (␣ is the blank that belongs to the token.)

# %% tags=["nbval-check-output"]
fox, hen = tokenizer.encode(" fox hen")
near = [tokenizer.decode([id]).replace(" ", "␣") for id in range(fox - 3, fox + 4)]
print(f"fox is {fox}, hen is {hen}")
print("near the fox:  ", near)
print("half-way to hen:", tokenizer.decode([(fox + hen) // 2]).replace(" ", "␣"))

# %% [markdown]
# Among the neighbours is a bear, and you might take heart. But there are a book and a crown as well, and pieces of
# words. Ids were dealt out in the order in which the tokenizer merged its pairs, so what stands side by side was about
# as frequent, and that is all. An id is a name. You cannot average two names, and a larger one is not more of anything.
#
# One number cannot say what a fox is: an animal, a word that can be a hero, a word that follows *the* and something
# like *proud*. Several numbers could.
#
# ## By hand: a row for each token
#
# Give each token $C$ numbers, its channels, and write them into a table $E$ with a row for each of the $V$ tokens. You
# did that in notebook 04, with random numbers. Here is a small table whose numbers you can read: the row of token 3
# holds 3.0, 3.1, 3.2, 3.3.

# %% tags=["nbval-check-output"]
C = 4
table = torch.arange(7)[:, None] + torch.arange(C) / 10  # [V, C]
ids = torch.tensor([[3, 1, 3], [1, 1, 4]])  # [B, T]
print(table)  # a vocabulary of seven tokens for now

# %% [markdown]
# You fetch rows as you did there: put the ids into the brackets. What shape comes out? Write it in place
# of the dots, for example `predict("embedding.a", (7, 4))`, or go on.

# %%
predict("embedding.a", ...)

# %% tags=["answers-prediction", "nbval-check-output"]
x = table[ids]  # [B, T, C]
print(list(x.shape))
print(x)

# %% [markdown]
# <details><summary>Answer</summary>
#
# [2, 3, 4]. Each id was replaced by a row of four numbers. The shape of the ids is still there, with C at its end. The
# 7 is gone: it only says how many rows there were to choose from.
# </details>
#
# Look at the third row of the first block: it is the same as the first, because the id is 3 both times.
#
# ## By hand: the same as a product
#
# Most of what a model does is the `@` of notebook 04, the matrix product. Is a look-up such a thing? Write the id 3 as
# seven numbers: a 1 at place 3, zeros elsewhere. Multiply this row with the table. Every row of the table is multiplied
# by 0, except one.

# %% tags=["nbval-check-output"]
three = torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])  # [V]
print(three @ table)

# %% [markdown]
# A row that is 1 at one place and 0 elsewhere is called **one-hot**. With $h$ for it, the product is
#
# $$x_c = \sum_{v} h_v \, E_{v c}$$
#
# and the only term that is left is the one with $h_v = 1$. Now for all ids at once:

# %% tags=["nbval-check-output"]
hot = (ids[..., None] == torch.arange(7)).float()  # [B, T, V]
product = hot @ table  # [B, T, V] @ [V, C] -> [B, T, C]
print(hot[0])
print("the same as the look-up:", torch.equal(product, table[ids]))

# %%
pictures.shapes(("one-hot", "B T V", hot), "@", ("E", "V C", table), "=", ("x", "B T C", product))

# %% [markdown]
# Why does this matter, if nobody computes it that way? Because now you know that a look-up is a matrix product like any
# other. It can stand at the beginning of a model and be learned like any matrix. The look-up is its cheap form; further
# down you measure how cheap.
#
# Such a row has a name: the **embedding** of the token. The word is used for the whole table, too. Yoshua Bengio and
# others put a learned table like this in front of a neural language model in
# [2003](https://www.jmlr.org/papers/v3/bengio03a.html).
#
# ## By hand: which rows learn?
#
# At first the numbers in the table are random. Training changes them a little, again and again, so that the loss
# becomes smaller: what the model pays for bad predictions (notebook 04). Which of them can it change? Take any number
# that depends on `x` as the loss; here, the sum of all of it. Nudge one number of the table, and see what the loss
# does.

# %% tags=["nbval-check-output"]
for row in (1, 3, 5):
    nudged = table.clone()
    nudged[row, 0] += 1.0
    change = nudged[ids].sum() - table[ids].sum()
    print(f"row {row} up by 1: the loss changes by {change.item():.0f}")

# %% [markdown]
# How much the loss changes for a small change of a number, divided by that change, is the **gradient** at that number.
# PyTorch computes it for all numbers at once: mark the tensor with `requires_grad_()`, and call `backward()` on the
# loss. (How it does this is the subject of notebook 10.) Before you look: how many of the seven rows get a gradient
# that is not zero?

# %%
predict("embedding.b", ...)

# %% tags=["answers-prediction", "nbval-check-output"]
table.requires_grad_()
table[ids].sum().backward()
print(table.grad)
table = table.detach()

# %% [markdown]
# <details><summary>Answer</summary>
#
# Three: the rows 1, 3 and 4. Row 1 was looked up three times, so a change of it counts three times.
# </details>
#
# **A batch teaches only the rows that it looks up.** In every step a frequent token learns, a rare one hardly ever, and
# a token that never occurs keeps the random numbers that it was born with. (That is so for a table that only reads.
# Further down you meet one that writes as well. And what is done with a gradient can move such a row a little: notebook
# 10 has momentum and decay.) How many of this tokenizer's tokens does somebody who reads a thousand fables meet?

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
# The bytes are there so that no text is unknown (notebook 02). The merged ones are stages, such as `Onc` on the way to
# `Once`. Large models have such rows as well, and behave strangely when a text does contain one (Rumbelow and Watkins
# found [SolidGoldMagikarp](https://www.lesswrong.com/posts/aPeJE8bSo6rAFoLqg/solidgoldmagikarp-plus-prompt-generation) in the
# vocabulary of GPT-2 and GPT-3, 2023).
#
# ## Order is lost
#
# You have a row for each token. Now let a model put a sentence together in the plainest way that there is: take the
# mean of its rows. Here is a vocabulary of four words, and two sentences of the same five tokens:

# %% tags=["nbval-check-output"]
words = ["the", "fox", "hen", "saw"]
tokens = torch.tensor([[0.5, 0.1, 0.0], [1.0, -0.5, 0.5], [1.5, 0.5, -1.0], [-1.0, 2.0, 0.5]])  # [V, C]
first = torch.tensor([[words.index(w) for w in "the hen saw the fox".split()]])  # [B, T]
second = torch.tensor([[words.index(w) for w in "the fox saw the hen".split()]])
print("the hen saw the fox:", tokens[first].mean(dim=1).round(decimals=3))
print("the fox saw the hen:", tokens[second].mean(dim=1).round(decimals=3))

# %% [markdown]
# Equal. All that is left is which tokens there were, and how often. That is called a **bag of words**. It is not only
# the mean that is to blame. The rows themselves do not know where they stand: both times the row of the fox is the same
# row. Whatever treats all rows alike, as the attention of the next notebook does, makes the same of the fox in both
# sentences. (The causal mask of notebook 07 gives away a little of the order by itself; Haviv and others,
# [2022](https://arxiv.org/abs/2203.16634), measured how much.)
#
# So write the place into the row. Make a second table with a row for each place, 0, 1, 2, and so on, and add:
#
# $$x_{t} = E[\mathrm{id}_t] + P[t]$$

# %% tags=["nbval-check-output"]
places = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.0, -0.2], [0.2, 0.3, 0.0], [0.0, 0.4, 0.1], [-0.3, 0.0, 0.2]])
T = first.shape[1]
x = tokens[first] + places[:T]  # [B, T, C] + [T, C]: the same places for each sequence
print("the, at place 0:", x[0, 0])
print("the, at place 3:", x[0, 3])

# %% [markdown]
# *The* stands twice in the sentence, and the two rows differ now. The order is in the numbers. Is it enough? Ask the
# mean again.

# %%
predict("embedding.c", ...)

# %% tags=["answers-prediction", "nbval-check-output"]
y = tokens[second] + places[:T]
print("means equal:                          ", torch.allclose(x.mean(dim=1), y.mean(dim=1)))
print("means equal, each row bent beforehand:", torch.allclose(x.relu().mean(dim=1), y.relu().mean(dim=1)))

# %% [markdown]
# <details><summary>Answer</summary>
#
# b, the means are equal. A sum of sums can be sorted: first all tokens, then all places, and both sentences have the
# same of each.
# </details>
#
# The second line shows what helps. `relu` puts 0 for every negative number, as in notebook 04. It does this in each row
# by itself, before the rows come together, and now the order shows. Positions put the order *into* the rows; something
# that looks at each row, and is not a plain sum, has to take it *out*. In a GPT the attention (06) and the MLP (08) do.
#
# ## Two ways to number the places
#
# **Learned.** The table $P$ begins with random numbers and is trained like $E$. GPT-2 does this. It is as plain as it
# can be, and it has a price: there is no row for a place that was not in the table.
#
# **Computed.** Vaswani and others ([2017](https://arxiv.org/abs/1706.03762), section 3.5) write the place as waves,
# some short and some long, like the hands of a clock. The second hand tells one second from the next, the hour hand
# three o'clock from nine, and together they name each second of twelve hours.
#
# $$P_{t,\,2i} = \sin\!\left(\frac{t}{10000^{2i/C}}\right), \qquad P_{t,\,2i+1} = \cos\!\left(\frac{t}{10000^{2i/C}}\right)$$
#
# Column $2i$ is a sine and column $2i+1$ the cosine of the same angle. With $C = 4$ there are two pairs, $i = 0$ with
# the angle $t$ and $i = 1$ with the angle $t/100$. Check the row of $t = 1$ on a pocket calculator (in radians):

# %% tags=["nbval-check-output"]
by_hand = [math.sin(1), math.cos(1), math.sin(1 / 100), math.cos(1 / 100)]
print("by hand:", [round(number, 3) for number in by_hand])
print("package:", [round(number, 3) for number in embedding.sinusoidal(T=2, C=4)[1].tolist()])

# %%
sines = embedding.sinusoidal(T=80, C=32)  # [T, C]
waves = {f"column {i}": list(enumerate(sines[:41, i])) for i in (0, 4, 8)}
pictures.lines(waves, "position t", "value", legend="lower left")

# %% [markdown]
# Three of the columns, at the first places: a short wave, a longer, a long one. Each mark is a number in the table. And
# here is the whole table in colours, a row for each place:

# %%
pictures.rows(sines, y="position t")

# %% [markdown]
# The channels on the left change from place to place, those on the right hardly at all: a cosine stays near 1, a sine
# near 0. No two rows are the same.
#
# Why waves, and why sine and cosine together? Take the dot product of two rows: multiply channel by channel, and add.
# It is large if the two are alike. Does it know how far apart they are?

# %% tags=["nbval-check-output"]
dots = sines @ sines.T  # [T, C] @ [C, T] -> [T, T]
for a, b in ((3, 8), (20, 25), (60, 65), (3, 43), (30, 70)):
    print(f"positions {a:2} and {b:2}, {b - a:2} apart: {dots[a, b]:.3f}")

# %% [markdown]
# It depends on the distance alone. (A pair of columns has the angles $\alpha$ and $\beta$ at the two places, and
# $\sin\alpha \sin\beta + \cos\alpha \cos\beta = \cos(\alpha - \beta)$. That difference is the distance, times a number
# that belongs to the pair of columns.) A model that compares two places by a dot product, as the next notebook will,
# can read off *how far back*, wherever it stands. (It can; it need not. In a model the rows hold the token as well, and
# go through matrices first.) The whole curve comes further down, beside that of a learned table.
#
# ## The tested block
#
# The package's block does all of this. Its option `position` is "learned", "sinusoidal" or "none". As in notebook 04 it
# is a class whose `forward` computes: `block(ids)` runs it. `self.token` and `self.position` are tables,
# `nn.Embedding`. Call one with ids, and it looks up the rows. Its `.weight` is the table itself. (`check_ids` makes
# sure that each id has a row.)

# %%
show(TokenAndPositionEmbedding.forward)

# %% [markdown]
# `start` is the place of the first id. It is 0 unless the tokens before it have been read already, which happens when a
# model writes (notebook 11). Is it the same as your lines, and as PyTorch's own `F.embedding`? Compare on random ids.

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
# Two mistakes deserve an answer that a person understands: an id without a row, and a place without a row.

# %% tags=["nbval-check-output"]
block = TokenAndPositionEmbedding(V=50, T=12, C=6)
for name, ids in {"id 50": torch.tensor([[7, 50]]), "15 places": torch.zeros(1, 15, dtype=torch.long)}.items():
    try:
        block(ids)
    except ValueError as problem:
        print(f"{name}: {problem}")

# %% [markdown]
# ## Break it: places counted along the wrong axis
#
# This mistake passes every test of shapes. [B, 1, C] can be added to [B, T, C] as well as [T, C] can.

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
# A model with it trains without a complaint, and knows nothing of the order. (What that costs, you measure near the
# end.) Two questions expose it, and they are worth asking of every model: does the same token at two places differ? And
# does a sequence give the same alone as in company?

# %% tags=["nbval-check-output"]
for build in (by_time, by_batch):
    twice = build(torch.tensor([[7, 7, 9, 7], [7, 9, 9, 9]]))  # [B, T, C]
    differs = not torch.allclose(twice[0, 0], twice[0, 1])
    alone = torch.allclose(build(ids)[1:], build(ids[1:]))
    print(f"{build.__name__:8}  one token at two places differs: {differs!s:5}  a sequence is the same alone: {alone}")

# %% [markdown]
# ## The first language model: a table
#
# A language model says what comes next. The least that it can look at is one token. So take a table with $V$ rows of
# $V$ numbers: row $i$ says how likely each token is to come after token $i$. Looking up a row is the whole model.
# Because it sees pairs of tokens, it is called a **bigram** model.

# %% [markdown]
# The numbers in a row may be any numbers, also negative ones. They are the logits of notebook 04. **Softmax** makes
# probabilities of them: $e$ to the power of each, which is always positive, divided by the sum of all, so that they add
# up to 1.
#
# Then comes the bill. If the token that really comes next had got the probability $p$, the model pays $-\ln p$. The
# unit of this is the **nat**; notebook 03 had it for its scores. Both steps, for four tokens that could come after
# *the*:

# %% tags=["nbval-check-output"]
logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
powers = logits.exp()
chances = powers / powers.sum()  # the same as logits.softmax(dim=-1)
pays = -chances.log()
assert torch.allclose(F.cross_entropy(logits[None], torch.tensor([1])), pays[1])
columns = (values.tolist() for values in (logits, powers, chances, pays))
heads = ["what could come", "logit", "e to that power", "probability p", "to pay if it comes: −ln p (nats)"]
pictures.table(zip(["mill", "hen", "proud", "lived"], *columns, strict=True), heads)

# %% [markdown]
# The smaller the probability, the larger the bill; a certain token would cost nothing. The mean of this over all
# targets is the loss. `F.cross_entropy` does it all in one call: the `assert` has compared it with the row of the hen.
# (Notebook 10 takes it apart.) It wants one long list of rows, so `forward` lays the sequences of the batch end to end,
# [B · T, V]:

# %%
show(BigramLanguageModel.forward)

# %% [markdown]
# The table begins with zeros. What is its loss before any training, with the $V$ of the fables' tokenizer? You can give
# a formula as your guess, such as `predict("embedding.d", V / 100)`.

# %%
predict("embedding.d", ...)

# %% tags=["answers-prediction", "nbval-check-output"]
batches = StoryBatches(texts, B=64, start=end)
judge = StoryBatches(others, B=50, start=end, shuffle=False)
bigram = BigramLanguageModel(V)
print(f"V = {V}: first loss {evaluation.mean_loss(bigram, judge):.3f} nats a token, ln V = {math.log(V):.3f}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# $\ln V$. Equal logits are equal probabilities, $1/V$ each, and $-\ln(1/V) = \ln V$.
# </details>
#
# And how good can it become? This time you need not guess, and you need not train. The best that a bigram model can do
# is to name, for each token $i$, in which part of all cases each $j$ followed. That can be counted. (Before the first
# token of a story stands the end sign of another, as in notebook 04.)
#
# $$p(j \mid i) = \frac{\mathrm{count}(i, j)}{\mathrm{count}(i)}$$

# %% tags=["nbval-check-output"]
pairs = torch.cat([torch.tensor([[end, *text[:-1]], text]) for text in texts], dim=1)  # [2, N]: i above j
counts = torch.bincount(pairs[0] * V + pairs[1], minlength=V * V).view(V, V)  # the pair (i, j) is number i V + j
p = counts / counts.sum(dim=1, keepdim=True)  # [V, V]; a token that never occurs has 0 / 0 here
best = -p[pairs[0], pairs[1]].log().mean().item()  # the mean over all N pairs
print(f"{pairs.shape[1]:,} pairs, {int((counts > 0).sum()):,} different ones of {V * V:,} that there could be")
print(f"counted: {best:.3f} nats a token is the least that a bigram can pay on these stories")

# %% [markdown]
# Now forget the counts, and train. The loop is a box that we open in 10: it shows the model batch after batch, asks for
# the gradient of the loss, and moves the numbers of the table a little against it. One batch is one step. `TrainConfig`
# says how many steps, how far each goes (`learning_rate`), over how many steps that grows from 0 (`warmup`), and how
# often to measure. *Held out* is the loss on stories that the model is never trained on.

# %%
how = training.TrainConfig(steps=160, learning_rate=0.5, warmup=10, evaluate_every=40)
history = training.train(bigram, batches, how, evaluate=lambda m: {"held out": evaluation.mean_loss(m, judge)})
trained = history.evaluations[-1]["held out"]
assert abs(history.losses[0] - math.log(V)) < 0.01
assert best - 0.05 < trained < best + 0.1

# %%
floor = sum(story.nats for story in held_out) / sum(map(len, others))
lines = {"ln V": math.log(V), "counted": best, "entropy of the fables": floor}
pictures.training(history, floor=lines, smooth=1, unit="nats a token", top=7.2)

# %% [markdown]
# The loss begins at the line of $\ln V$, as it must, and comes to rest on the counted one. Nobody told the model to
# count. Pushed downhill, the table finds nearly the same probabilities:

# %%
lived, the = tokenizer.encode(" lived the")
learned = bigram.table.weight[lived].softmax(dim=-1)
print("after ' lived', counted and learned:")
for id in p[lived].topk(4).indices.tolist():
    print(f"  {tokenizer.decode([id])!r:8} {p[lived, id]:.3f} {learned[id]:.3f}")

# %%
pictures.next_token(bigram.table.weight[the].softmax(dim=-1), tokenizer, title="What follows ' the', says the bigram")

# %% [markdown]
# *The* can be followed by many words, and the model has forgotten what stood before it. So the lowest line in the
# picture of the loss, the **entropy** of the fables, is out of its reach. That line is what somebody would pay who
# knows exactly how the stories are made, and remembers all that was said (notebook 01 had it in bits; 10 explains it).
# Let the bigram tell a story, and you see what is missing:

# %%
generator, id, story = torch.Generator().manual_seed(3), end, []
for _ in range(45):
    chances = bigram.table.weight[id].softmax(dim=-1)  # [V]
    id = int(torch.multinomial(chances, 1, generator=generator))
    story.append(id)
print(textwrap.fill(tokenizer.decode(story).replace("<|endoftext|>", " [end] "), 90))

# %% [markdown]
# Every two neighbours fit together, and the whole does not. Claude Shannon made such sentences, from pairs of words and
# by hand, in [1948](https://people.math.harvard.edu/~ctm/home/text/others/shannon/entropy/entropy.pdf).
#
# ## A table in, a table out
#
# $V$ rows of $V$ numbers are too many. For GPT-2's vocabulary that would be two and a half billion, for pairs alone.
# And the bigram learns about each pair separately: what it knows of foxes does not help it with hens. Now use
# embeddings. One table reads, $V$ rows of $C$ numbers; a second one writes, and turns $C$ numbers into $V$ logits. You
# write this model yourself, as a class of the kind of notebook 04: `__init__` makes the tables, `forward` computes with
# them. (The options are for later.)

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
# `torch.nn.Linear` is the product of notebook 04, here without the vector that is added (`bias=False`). It stores its
# weights the other way round: `Linear(C, V)` keeps [V, C] and computes `x @ weight.T`. So its row $j$ belongs to token
# $j$, and the logit of token $j$ is the dot product of `x` with that row. `Identity` does nothing.
#
# Two tables [V, C], one to read and one to write: why not take the same? With the option `tied` the model has only one.
# That saves half of the numbers. Before you use it, think of a model with nothing between reading and writing:

# %%
predict("embedding.e", ...)

# %% tags=["answers-prediction"]
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

# %%
loss = {name: evaluation.mean_loss(run, judge) for name, run in runs.items()}
numbers = {name: sum(parameter.numel() for parameter in run.parameters()) for name, run in runs.items()}
rows = [("bigram, V rows of V", V * V, f"{trained:.2f}")]
rows += [(name, numbers[name], f"{loss[name]:.2f}") for name in runs]
assert loss["one table, nothing between"] > 1.5 * loss["two tables"]
assert abs(loss["one table, a matrix between"] - loss["two tables"]) < 0.1
pictures.table(rows, ["model", "numbers", "nats a token, held out"])

# %% [markdown]
# <details><summary>Answer</summary>
#
# a. The dot product of rows $i$ and $j$ does not change if the two change places. So *fox* after *proud* gets the same
# logit as *proud* after *fox*.
# </details>
#
# Read the table from above. Two narrow tables do about as well as the full bigram, with a small part of its numbers.
# One table with nothing between fails: it cannot give $j$ after $i$ a high logit without giving the same to $i$ after
# $j$, and the dot product of a row with itself is never negative, so it is hard to say that no token follows itself.
# One matrix between the two, $C \cdot C$ numbers, repairs it. What remains is a model as good as the one with two
# tables, of half the size. In a GPT, much more than one matrix stands between.
#
# This is called **weight tying** (Press and Wolf [2017](https://arxiv.org/abs/1608.05859), Inan and others
# [2017](https://arxiv.org/abs/1611.01462)). They report better losses by it on small corpora. Here it is no better,
# only smaller. GPT-2 ties its weights, and so does the fables' model of this course; Llama 3 with 8 billion parameters
# does not. (A table that writes has no idle rows: every row gets a gradient, because every logit takes part in the
# softmax.)
#
# ## What do positions buy?
#
# The same model once more, with two tables, and now it is told the place: logits from token *plus* position.

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
assert floor < loss["learned"] < 0.7 * loss["two tables"] and loss["sinusoidal"] < 0.7 * loss["two tables"]
pictures.compare(bars, "nats a token, held out", floor={"entropy of the fables": floor})

# %% [markdown]
# That is a lot for an addition. It is more than you will get elsewhere: every fable goes the same way, so the place
# alone tells the model in which sentence it is. In ordinary text it does not. The two kinds of positions come out close
# to each other, as they did for Vaswani and others, who chose the waves in the hope that they would carry on beyond the
# longest text seen in training.
#
# Here is the curve that was promised: how alike two places are, against how far apart they are. The rows have different
# lengths, so divide each by its own before you take the dot product. That is the cosine of the angle between the two: 1
# for the same direction, 0 for a right angle.

# %%
tables = {"waves": embedding.sinusoidal(100, 32), "learned": runs["learned"].read.position.weight.detach()[:100]}
tables["learned, before training"] = 0.1 * torch.randn(100, 32)
curves = {}
for name, P in tables.items():
    P = F.normalize(P, dim=1)  # [T, C], each row of length 1
    dots = P @ P.T  # [T, T]
    curves[name] = [(d, dots.diagonal(d).mean()) for d in range(41)]
pictures.lines(curves, "distance between two positions", "mean cosine of their rows")

# %% [markdown]
# The waves are made so that neighbours are alike; far places still share the long waves, so the curve falls in ripples
# and stays high. The learned table was not told anything: it began as noise, and neighbouring places became alike, most
# likely because what comes next is alike there. (Each point is a mean over all pairs with that distance. For the waves
# they are all equal; for the learned table single pairs lie above and below it.)
#
# ## The question again: which words are like *fox*?
#
# Now open the table of the trained model. It has `model.embedding.token.weight`, $V$ rows of $C$ numbers; nobody told
# it what an animal is. Compare its rows by their cosine, too.

# %% tags=["nbval-check-output"]
table = model.embedding.token.weight.detach()  # [V, C]
unit = F.normalize(table, dim=1)  # each row has length 1
print("table:", list(table.shape))
for word in ("fox", "bell", "forest", "proud", "Ada"):
    cosine = unit @ unit[tokenizer.encode(" " + word)[0]]  # [V]
    closest = cosine.topk(6).indices[1:].tolist()  # without the first, which is the word itself
    said = [f"{tokenizer.decode([id]).strip()} {cosine[id]:.2f}" for id in closest]
    print(f"{word:7}", ", ".join(said))

# %% [markdown]
# The neighbours of an animal are animals, those of a thing are things. *Proud* has *lazy* near it, and *humble* as well,
# its opposite. So alike means *can stand in the same place*, and not *means the same*. John Rupert Firth put it so in
# 1957: you shall know a word by the company it keeps. Between names the cosines are smaller. That makes sense, since a
# model that tells a fable has to keep each name apart from all others.
#
# Is it so for all of them? Look for each word's nearest neighbour among all $V$ tokens, and count how often it is a
# word of the same group. Beside it, the same for a table of random numbers.

# %% tags=["nbval-check-output"]
groups = {"animals": grammar.ANIMALS, "names": grammar.NAMES, "things": grammar.THINGS, "traits": grammar.TRAITS}
id_of = {word: tokenizer.encode(" " + word)[0] for group in groups.values() for word in group}


def neighbours_at_home(table):
    cosine = F.normalize(table, dim=1) @ F.normalize(table, dim=1).T  # [V, V]
    closest = cosine.fill_diagonal_(-2).argmax(dim=1).tolist()  # -2: nobody is a neighbour of their own
    return [sum(closest[id_of[w]] in {id_of[v] for v in group} for w in group) for group in groups.values()]


noise = torch.randn(V, 128, generator=torch.Generator().manual_seed(0))
columns = zip(groups, map(len, groups.values()), neighbours_at_home(table), neighbours_at_home(noise), strict=True)
pictures.table(columns, ["group", "words", "nearest is of the group", "… in a random table"])

# %% [markdown]
# And the idle tokens, which no fable contains? This model is tied, so writing has taught them something after all:

# %% tags=["nbval-check-output"]
seen = sorted(met)
print(f"mean cosine of two tokens that occur:     {(unit[seen] @ unit[seen].T).mean():.2f}")
print(f"mean cosine of two that were never met:   {(unit[idle] @ unit[idle].T).mean():.2f}")

# %% [markdown]
# They learned one thing, and all the same: not to come next. Tokens that are used alike end up alike, and these are
# used alike in never being used.
#
# And now the map, of three of the groups. 128 channels cannot be drawn, so it shows the two directions in which these
# words differ most (their principal components, Pearson 1901).

# %%
chosen = [(word, kind) for kind in ("animals", "names", "things") for word in groups[kind]]
vectors = table[[id_of[word] for word, _ in chosen]]  # [n, C]
pictures.embedding_map(vectors, [word for word, _ in chosen], [kind for _, kind in chosen])

# %% [markdown]
# Three islands, and nobody drew a border. Look at the axes, too: the two directions keep a part of the differences, and
# the larger part is not on this map. Two words that lie side by side here may be far apart in the other channels; that
# *Gus* is beside *Hugo* says nothing. That the islands are apart is real: the table above measured it in all channels.
#
# (This model has no table of positions. It turns its vectors by an angle that depends on the place, inside the
# attention; notebook 12 builds that.)
#
# ## At size: what it costs
#
# You have seen that a look-up is a product. How much cheaper is it? The product with a one-hot row takes $V \cdot C$
# multiplications for each token, nearly all of them by 0. The look-up copies $C$ numbers, however large $V$ is. Here is
# the time for 1,024 tokens with $C = 256$. (The milliseconds are those of one machine.)

# %%
def milliseconds(work, times=20):
    work()  # the first call is slower
    took = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        took.append(1000 * (time.perf_counter() - start))
    return min(took)


# %%
C, rows, lookup, product = 256, [], {}, {}
for size in (1_000, 4_000, 16_000):
    E, ids = torch.randn(size, C), torch.randint(size, (4, 256))  # [V, C], [B, T]
    hot = F.one_hot(ids, size).float()  # [B, T, V]
    lookup[size] = milliseconds(lambda E=E, ids=ids: F.embedding(ids, E))
    product[size] = milliseconds(lambda E=E, hot=hot: hot @ E)
    assert torch.allclose(hot @ E, E[ids], atol=1e-5)
    times = f"{product[size] / lookup[size]:,.0f} ×"
    rows.append((f"{size:,}", f"{hot.nbytes / 2**20:.0f}", f"{product[size]:.2f}", f"{lookup[size]:.2f}", times))
pictures.table(rows, ["V", "one-hot (MiB)", "product (ms)", "look-up (ms)", "product / look-up"], align="rrrrr")

# %% [markdown]
# The product grows with $V$, the look-up hardly does. (A larger table fits worse into the processor's fast memory; that
# is all.) So nobody multiplies, and to read, the size of the vocabulary costs memory and no time. (In training it does
# cost time: PyTorch writes the gradient as a whole table, zeros included, and the step goes through all of it.) At the
# other end of the model it is different anyway: to write, all $V$ logits have to be computed, for every token.
#
# And the memory? `bfloat16` takes two bytes for a number. The sizes are those of the published models.

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
for name, size, C, tied, all_numbers in models:
    one = size * C
    both = one if tied else 2 * one
    megabytes, part = f"{2 * one / 1e6:,.1f}", f"{both / all_numbers:.0%}"
    rows.append((name, f"{size:,}", f"{C:,}", megabytes, "one" if tied else "two", part))
pictures.table(rows, ["model", "V", "C", "a table (MB, bfloat16)", "tables", "of all numbers"], align="lrrrlr")

# %% [markdown]
# In a small model the table is a large part, and tying it saves much. In a very large one it hardly counts: the table
# grows with $C$, the matrices of the layers with $C \cdot C$, and there are more layers.
#
# ## Exercises
#
# Write your code in place of the dots and run the cell. `check` runs it on fresh inputs and names the most likely
# mistake; `hint("embedding.1")` helps, and `solution("embedding.1")` shows one way.

# %%
find("embedding.1")


# %% tags=["nbval-check-output"]
def embed(ids, table): ...


check("embedding.1", embed)

# %%
find("embedding.2")


# %% tags=["nbval-check-output"]
def one_hot(ids, V): ...


check("embedding.2", one_hot)

# %%
find("embedding.3")


# %% tags=["nbval-check-output"]
def embed_with_positions(ids, tokens, positions, start): ...


check("embedding.3", embed_with_positions)

# %%
find("embedding.4")


# %% tags=["nbval-check-output"]
def table_gradient(ids, upstream, V): ...


check("embedding.4", table_gradient)

# %%
find("embedding.5")


# %% tags=["nbval-check-output"]
def waves(T, C): ...


check("embedding.5", waves)

# %%
find("embedding.6")


# %% tags=["nbval-check-output"]
def neighbours(table, id, k): ...


check("embedding.6", neighbours)

# %%
find("embedding.7")


# %% tags=["nbval-check-output"]
def best_bigram_loss(ids): ...


check("embedding.7", best_bigram_loss)

# %%
find("embedding.8")


# %% tags=["nbval-check-output"]
def table_bytes(V, T, C, tied, bytes_each): ...


check("embedding.8", table_bytes)

# %% [markdown]
# An open one, without a check: a bigram sees one token. Build a *trigram* from counts, which sees two, and compute its
# loss on stories that it was not counted on. What do you do with a pair that never occurred? How many numbers would its
# full table have?

# %%
progress()

# %%
recap("embedding")

# %% [markdown]
# ## What to remember
#
# 1. An embedding is a row of a table, looked up by id: [B, T] becomes [B, T, C]. It equals a product with one-hot rows.
# 2. A batch teaches only the rows that it looks up, each as often as it occurs.
# 3. Without positions the order is lost. Token plus position, learned or as waves; counted along T, never along B.
# 4. A bigram is a table of logits: it begins at $\ln V$, and training leads to the counts. The entropy is out of its reach.
# 5. Trained rows are alike for tokens that can stand in the same place. Tied weights read and write with one table.
#
# **Three questions**
#
# 1. `ids` is [4, 10], the table [859, 64]. How many numbers has the result, and how many multiplications did it take?
#
# <details><summary>Answer</summary>
# 4 · 10 · 64 numbers, and no multiplication: rows are copied.
# </details>
#
# 2. A training run begins with a loss of 12, and V is 859. What do you think?
#
# <details><summary>Answer</summary>
# Something is wrong: a model that knows nothing pays ln 859, less than 7. To pay 12 it must be certain of wrong tokens, for
# example because its first logits are far too large.
# </details>
#
# 3. A colleague's embedding gives the right shape. Which two questions do you ask it?
#
# <details><summary>Answer</summary>
# Does the same token differ at two places of one sequence? And does a sequence give the same alone as in a batch?
# </details>
#
# **To go deeper:** Andrej Karpathy, [The spelled-out intro to language modeling: building
# makemore](https://www.youtube.com/watch?v=PaCmpygFfXo) (2022), a bigram by counts and by gradient, on letters. Tomas
# Mikolov and others, [word2vec](https://arxiv.org/abs/1301.3781) (2013). In the package, `gptlab/embedding.py` from top
# to bottom.
#
# ## Next
#
# Each position now knows what stands there and where. None of them knows anything of the others: after *the*, the
# bigram offers every thing that there is, although the story found a lamp two sentences ago. In
# [notebook 06](06_attention.ipynb) the positions begin to talk to each other.
#
# Here is the sentence that travels with you, one station further: a row of the trained table for each of its tokens.
# Find the two rows of *lived*, the two of *the*, and the commas. They are the same wherever they stand, which is what a
# table without positions does.

# %%
ids = torch.tensor([tokenizer.encode(fables.TRAVELLER)])  # [B, T]
x = table[ids]  # [B, T, C]
said = [tokenizer.decode([id]) for id in ids[0].tolist()]
pictures.rows(x[0, :, :48], said, x="channel (the first 48 of 128)", most=2)
