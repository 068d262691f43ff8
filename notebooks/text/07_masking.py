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
# # 07 · Masking, self and cross
#
# *One small table of True and False decides whether attention reads or writes – and a test shows when it cheats.*
#
# In notebook 06 one line hid the future, and we moved on. Leave that line out and the model can see the very token that
# it is supposed to predict. The loss becomes wonderful, nothing complains, and the model is worthless. In this notebook
# we first fall into that trap on purpose. Then you build the tables that say who may attend to whom, learn to find a
# leak that no error message reports, and connect two sequences so that one can read the other.
#
# **After this notebook you can**
#
# - write the masks of an encoder and a decoder, and those for padding, windows, prefixes and packed documents, and
#   combine them,
# - say what True means in each of PyTorch's two attentions, and convert a mask for either,
# - prove that a model doesn't see the future, and find the place where it does,
# - use attention with two sources, and train a small translator with it.
#
# **It builds on** batches from notebook 04, embeddings from 05 and attention from 06. **Reading** takes about 60 minutes
# without the exercises. **Running** takes about 30 seconds on two CPU cores and 550 MB of memory.

# %%
import copy
import time

import torch
import torch.nn.functional as F
from torch import nn

from gptlab import batches, checkpoints, masking, pictures, show
from gptlab.attention import CrossAttention, MultiHeadAttention, attend, attention_weights, watch
from gptlab.corpora import fables
from gptlab.embedding import TokenAndPositionEmbedding
from gptlab.evaluation import StoryEvaluation
from gptlab.exercises import check, compare, hint, predict, progress, quiz, recap, solution
from gptlab.masking import assert_causal, causal, documents, padding, prefix, sliding
from gptlab.model import GPT, GPTConfig

torch.set_num_threads(1)  # matrices this small gain nothing from a second core
torch.manual_seed(7);

# %% tags=["nbval-check-output"]
pictures.pipeline("masking")

# %% [markdown]
# Three questions about earlier notebooks to warm up. Replace the dots with letters, as in
# `quiz("masking", ["a", "b", "c"])`, or skip them: nothing below depends on it.

# %% tags=["nbval-check-output"]
quiz("masking", [..., ..., ...])

# %% [markdown]
# ## The question: too good to be true
#
# We take fables again, as one long row of tokens. Their entropy floor is known, because every random choice in them has
# a known probability. Shared out over the tokens, it is the best that any left-to-right reader can do on average. We
# borrow the tokenizer of the course's trained model here; the model itself waits until further down.

# %%
trained, tokenizer = checkpoints.committed("fables")
V, end = tokenizer.vocab_size, tokenizer.special_tokens["<|endoftext|>"]
ids = []
for story in fables.tell(1500, seed=0):
    ids += [*tokenizer.encode(story.text), end]
text = batches.Batches(ids, B=32, T=24)
floor = fables.entropy() / (len(ids) / 1500)  # nats per story, divided by tokens per story
print(f"{len(ids):,} tokens; the floor is about {floor:.2f} nats per token")

# %% [markdown]
# Everything you have built so far goes into a small model: embeddings with positions, one layer of attention, and a last
# layer that gives logits. `GPT` is a closed box until notebook 08. It takes ids and targets and returns logits and the
# loss. Left alone, it hides the future. Here we hand it a table of our own instead, `keep_mask`, which says which query
# may look at which key.
#
# The training loop was a closed box as well until now, and these are its lines: compute the loss, clear the old
# gradients, compute the new ones, and move every parameter a little against its gradient. How far it moves is decided
# by `AdamW`, the subject of notebook 10.


# %%
def learn(keep_mask, steps=300):
    torch.manual_seed(7)
    model = GPT(GPTConfig(V, context=24, n_layer=1, n_head=4, n_embd=64, mlp_size=128))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for step in range(steps):
        inputs, targets = text.batch(step)  # [B, T] and [B, T]: at each position, the token that comes next
        logits, loss = model(inputs, targets, keep_mask=keep_mask)
        optimizer.zero_grad()  # clear the old gradients
        loss.backward()  # compute the new ones
        optimizer.step()  # move every parameter a little
        losses.append(loss.item())
        if step % 100 == 0:
            print(f"step {step}: {loss.item():.2f} nats per token")
    return model, sum(losses[-20:]) / 20  # the mean of the last 20


# %% [markdown]
# First, let every position look at everything.

# %% tags=["nbval-check-output"]
predict("masking.a", ...)

# %% tags=["answers-prediction"]
everything = torch.ones(24, 24, dtype=torch.bool)  # [T, T]  all True: each query may look at each key
seer, seer_loss = learn(everything)
print(f"at the end: {seer_loss:.2f} nats per token; expected: less than the floor, {floor:.2f}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# b. It falls below what is possible. Nobody can know which animal the dice will choose next, and this model doesn't know
# either. It looks.
# </details>
#
# What a loss. So let's have it write: start with the opening of our sentence, take the most probable next token, append
# it, and ask again. Writing needs no gradients, and `@torch.no_grad()` above a function tells PyTorch not to prepare for
# them, which saves time and memory.


# %%
@torch.no_grad()
def go_on(model, start, mask, n=14):
    ids = torch.tensor([tokenizer.encode(start)])  # [1, T]
    for _ in range(n):
        logits, _ = model(ids, keep_mask=mask(ids.shape[1]))  # [1, T, V], and no loss without targets
        best = logits[:, -1].argmax(dim=-1, keepdim=True)  # [1, 1]  the most probable token after the last one
        ids = torch.cat([ids, best], dim=1)  # [1, T + 1]
    return tokenizer.decode(ids[0].tolist())


print(go_on(seer, "Once, in a dark forest,", lambda T: torch.ones(T, T, dtype=torch.bool)))

# %% [markdown]
# It can't write. During training the answer was one position to the right, and the model learned to copy it from
# there. When it writes, there is nothing to the right.
#
# And nothing warned us. The shapes were right, the loss fell, no error appeared. Information that is available in
# training and missing in use is called a **leak**. The future has to be hidden from attention, and then you have to
# prove that it is.
#
# ## By hand: a table of who may look at whom
#
# Four tokens and their scores, computed as in notebook 06: a row for each query, a column for each key. The numbers are
# made up, small enough for a pencil. Look at the row of *Ada*: how much of her weight goes to words that come later?

# %% tags=["nbval-check-output"]
names = ["Ada", "the", "proud", "fox"]
scores = torch.tensor([[2.0, 0, 1, 3], [1, 1, 0, 2], [0, 1, 2, 1], [3, 0, 1, 1]])  # [T, T]
print(scores.softmax(dim=-1).numpy().round(2))

# %% [markdown]
# Most of it lands on *fox*, three positions later. To forbid that, ask one question for every pair: is the key at
# or before the query?

# %% tags=["nbval-check-output"]
keep = torch.tensor([[key <= query for key in range(4)] for query in range(4)])  # [T, T]
print(keep.int().numpy())

# %% [markdown]
# Where the answer is no, the weight must become 0, and the remaining ones must still sum to 1. The softmax turns a score
# $s$ into $e^s$ and divides by the sum of the row, so we need a score with $e^s = 0$. That is minus infinity.
# `masked_fill` writes it wherever its mask is True, and `~` turns *keep* into *hide*:

# %% tags=["nbval-check-output"]
hidden = scores.masked_fill(~keep, -torch.inf)  # write -inf where keep is False
print(hidden.numpy())
weights = hidden.softmax(dim=-1)  # [T, T]
print(weights.numpy().round(2))

# %% [markdown]
# With a pencil: *Ada* sees only herself, so her weight is 1. *the* has two equal scores, so each weight is one half.
# *proud* has the scores 0, 1 and 2, and each step of 1 in the score is a factor of $e$ in the weight.
#
# $$\text{weights} = \mathrm{softmax}\left(\frac{q k^\top}{\sqrt{hs}} + M\right), \qquad M_{ij} = \begin{cases} 0 &
# \text{if } i \text{ may attend to } j \\ -\infty & \text{if not} \end{cases}$$
#
# Here $i$ counts the queries and $j$ the keys. Adding $M$ gives the same weights as `masked_fill`, and papers prefer to
# write it that way; section 3.2.3 of [Attention is all you need](https://arxiv.org/abs/1706.03762) describes it in
# words.

# %%
pictures.attention(weights, names, keep_mask=keep)

# %% [markdown]
# Read one row at a time; the hatched cells are hidden. Each row may see one token more than the row above, so all the
# growing contexts of notebook 04 are here in a single table.
#
# A table that says who may attend to whom is a **mask**. This one is the **causal mask**, named so because a cause comes
# before its effect. In this course a mask is called `keep_mask`, and True means *may attend*. Hold on to that, because
# further down you'll meet a class of PyTorch that means the opposite.
#
# ### Your turn: Nobody sees the future
#
# `masking.1` · *core* · 10 minutes
#
# Build it as a tensor, and a little more generally. There are Tq queries and Tk keys with Tq ≤ Tk, and the queries
# stand at the *last* Tq of the Tk positions. Each may attend to itself and to every position before it. You'll need the
# general form when a model continues a text whose past keys are already computed.
#
# ```python
# def causal_mask(Tq: int, Tk: int) -> Bool[Tensor, "Tq Tk"]: ...
# ```
#
# For example, `causal_mask(2, 4)` is `[[True, True, True, False], [True, True, True, True]]`, and `causal_mask(4, 4)` is
# the table above.


# %% tags=["nbval-check-output"]
def causal_mask(Tq, Tk): ...


check("masking.1", causal_mask)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def causal_mask(Tq, Tk):
#     query = torch.arange(Tk - Tq, Tk)[:, None]  # [Tq, 1]  the positions of the queries, as a column
#     key = torch.arange(Tk)  # [Tk]  the positions of the keys, as a row
#     return key <= query  # [Tq, Tk]
# ```
#
# The package writes the same table as a triangle, `torch.ones(Tq, Tk, dtype=torch.bool).tril(diagonal=Tk - Tq)`.
# </details>
#
# ## One block, two masks
#
# Attention and what follows it form a block: first the positions communicate, then each is processed on its own, and
# both results are added to what was there before. The first part is the attention of notebook 06. The second is a small
# network of two matrices with an activation function between them, called an MLP. Its activation function here, GELU,
# lets large positive numbers through almost unchanged and brings large negative ones close to 0. Since the MLP works at
# each position alone, nothing can leak through it. What it is for and why we add are questions for notebook 08. What
# matters now is that the mask is an argument:

# %%
C, H = 12, 3
attention = MultiHeadAttention(C, H)
mlp = nn.Sequential(nn.Linear(C, 4 * C), nn.GELU(), nn.Linear(4 * C, C))


@torch.no_grad()
def block(x, keep_mask):
    x = x + attention(x, keep_mask)  # [B, T, C]  each position receives from those it may attend to
    return x + mlp(x)  # [B, T, C]  each position on its own


# %% [markdown]
# Run it twice, once with a mask that is True everywhere and once with the causal one; `causal` is the package's
# function for the table you built. To find out who sees whom, we change the *last* of five positions and look which
# outputs move.

# %% tags=["nbval-check-output"]
T = 5
x = torch.randn(2, T, C)  # [B, T, C]
changed = x.clone()
changed[:, -1] += 1
for name, mask in {"all True": torch.ones(T, T, dtype=torch.bool), "causal": causal(T)}.items():
    moved = (block(x, mask) - block(changed, mask)).abs().amax(dim=(0, 2)) > 1e-6  # [T]  in any text and channel
    print(f"{name:8}  moved: {moved.tolist()}")

# %% [markdown]
# With the mask that is True everywhere we have an **encoder** block: all positions see each other. It is made to
# *understand* a text that is complete, and BERT is built from it ([Devlin et al.
# 2018](https://arxiv.org/abs/1810.04805)). With the causal mask we have a **decoder** block: nobody sees the future. It
# is made to *write*, and every GPT is built from it ([Radford et al.
# 2018](https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf)). It is the same
# function with the same weights; only the table differs.
#
# ## One pass, or step by step
#
# Why is the decoder's mask worth so much? Suppose you write a text token by token. Without a mask every new token
# changes all the old positions, so every step is a new computation. With the causal mask nothing old moves. Let's check
# that: feed growing pieces, collect the last output of each, and compare with a single pass over everything.

# %% tags=["nbval-check-output"]
for name, make in {"all True": lambda T: torch.ones(T, T, dtype=torch.bool), "causal": causal}.items():
    full = block(x, make(T))  # [B, T, C]  one pass
    steps = [block(x[:, : t + 1], make(t + 1))[:, -1] for t in range(T)]  # T passes, the last output of each
    same = torch.allclose(full, torch.stack(steps, dim=1), atol=1e-5)
    print(f"{name:8}  one pass equals step by step: {same}")

# %% [markdown]
# Two of the best properties of a GPT are in that last line. Training is efficient, because one pass over T tokens gives
# T predictions, each exactly what a writer would have computed from the past alone. And writing is efficient, because
# the past never has to be computed again, as you'll see in notebook 11.
#
# ## A mask is a question
#
# The causal mask asks: is the key at or before the query? Other questions make other masks. Write the positions
# of the queries as a column and those of the keys as a row, and any comparison of the two gives a [T, T] table.

# %% tags=["nbval-check-output"]
T = 8
query = torch.arange(T)[:, None]  # [T, 1]
key = torch.arange(T)  # [T]
at_or_before = key <= query
question_first = at_or_before | (key < 3)  # `|` is "or": the first three tokens are visible to everybody
print("causal:", int(at_or_before.sum()), "of", T * T, "pairs;  prefix of 3:", int(question_first.sum()))

# %% [markdown]
# Here are both, together with two more from the package. In each, look at the last row: that is what the last token may
# see.

# %%
document = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1])  # the first three tokens are one text, the others another
masks = {"causal": at_or_before, "prefix of 3": question_first}
masks |= {"window of 3": sliding(T, 3), "two texts": documents(document) & causal(T)}
pictures.mask(masks)

# %% [markdown]
# - The **prefix mask** is an encoder at the beginning and a decoder after that: the question is complete, the answer is
#   being written. [Raffel et al. 2020](https://arxiv.org/abs/1910.10683) compare it with others in section 3.2.
# - The **sliding window** forgets: only the last few keys count. Code that skips the hidden pairs does work that grows
#   with T, not with T² ([Longformer, 2020](https://arxiv.org/abs/2004.05150); [Mistral 7B,
#   2023](https://arxiv.org/abs/2310.06825)). Stacked layers still see further than one window, because each passes on
#   what the layer below has found.
# - The **document mask** separates texts that share a row. To train on short texts without wasting positions, you *pack*
#   several of them into one row; [Llama 3](https://arxiv.org/abs/2407.21783) does, and masks them like this.
#
# Before you write one yourself, count the pairs of a smaller one.

# %% tags=["nbval-check-output"]
predict("masking.b", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
print(int(sliding(6, window=3).sum()))

# %% [markdown]
# <details><summary>Answer</summary>
#
# 15. The first row keeps 1, the second 2, the other four 3 each.
# </details>
#
# ### Your turn: A window that slides
#
# `masking.5` · *warm-up* · 5 minutes
#
# Each position may attend to the last `window` positions, itself included, and to nothing after it. Near the beginning
# there are fewer, and the window may be wider than T.
#
# ```python
# def sliding_mask(T: int, window: int) -> Bool[Tensor, "T T"]: ...
# ```
#
# For example, the rows of `sliding_mask(4, 2)`, with 1 for True, are 1000, 1100, 0110 and 0011.


# %% tags=["nbval-check-output"]
def sliding_mask(T, window): ...


check("masking.5", sliding_mask)

# %% [markdown]
# ### Your turn: Several documents in one sequence
#
# `masking.6` · *stretch* · 20 minutes
#
# Several documents are packed one after the other into each row of a batch. Every document ends with the token `end`,
# which belongs to the document that it ends; the last one may be cut off. Build the mask of a decoder in which no
# document sees another.
#
# ```python
# def packed_mask(ids: Int[Tensor, "B T"], end: int) -> Bool[Tensor, "B T T"]: ...
# ```
#
# For example, `packed_mask(torch.tensor([[7, 9, 4, 5]]), end=9)` has the documents 7, 9 and 4, 5, and the rows 1000,
# 1100, 0010 and 0011. It can be done without a loop: how many documents ended before a position?


# %% tags=["nbval-check-output"]
def packed_mask(ids, end): ...


check("masking.6", packed_mask)

# %% [markdown]
# <details><summary>Our versions</summary>
#
# ```python
# def sliding_mask(T, window):
#     back = torch.arange(T)[:, None] - torch.arange(T)  # [T, T]  how far back each key stands
#     return (back >= 0) & (back < window)
#
#
# def packed_mask(ids, end):
#     is_end = ids == end  # [B, T]
#     number = is_end.cumsum(dim=1) - is_end.long()  # [B, T]  how many documents ended before this position
#     same = number[:, :, None] == number[:, None, :]  # [B, T, T]
#     return same & causal(ids.shape[1])
# ```
# </details>
#
# ## Texts of different lengths
#
# The rows of a batch must have equal lengths, so shorter ones are filled up with an id that means nothing. That is
# **padding**, and nobody should attend to it. The question behind this mask is not about a pair of positions but about
# the length of each sequence:

# %% tags=["nbval-check-output"]
T, lengths = 5, torch.tensor([5, 3, 1])  # [B]
for n in lengths.tolist():
    print(f"length {n}:", ["real" if t < n else "padding" for t in range(T)])

# %% [markdown]
# ### Your turn: Nobody attends to padding
#
# `masking.2` · *warm-up* · 5 minutes
#
# Turn that into a mask. It says which *keys* may be attended to, by all queries alike, so it needs only one row per
# sequence. Give it the shape [B, 1, T]: the axis of size 1 stands for all the queries.
#
# ```python
# def padding_mask(lengths: Int[Tensor, " B"], T: int) -> Bool[Tensor, "B 1 T"]: ...
# ```
#
# For example, `padding_mask(torch.tensor([2, 3]), 3)` is `[[[True, True, False]], [[True, True, True]]]`.


# %% tags=["nbval-check-output"]
def padding_mask(lengths, T): ...


check("masking.2", padding_mask)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def padding_mask(lengths, T):
#     real = torch.arange(T) < lengths[:, None]  # [T] against [B, 1] -> [B, T]
#     return real[:, None, :]  # [B, 1, T]
# ```
# </details>
#
# A decoder of padded texts needs two masks at once, and both have to say yes: in Python that is `&`. The package's
# function for the padding is `padding(lengths, T)`. What shape comes out when the two are combined?

# %% tags=["nbval-check-output"]
predict("masking.c", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
both = causal(T) & padding(lengths, T)  # [T, T] & [B, 1, T]
print(list(both.shape))

# %% [markdown]
# <details><summary>Answer</summary>
#
# [3, 5, 5]: one table for each sequence. The missing axis and the axis of size 1 are stretched, by the broadcasting of
# notebook 04.
# </details>

# %%
pictures.mask({f"length {n}": mask for n, mask in zip(lengths.tolist(), both, strict=True)})

# %% [markdown]
# In the tables of the shorter texts entire columns are closed: nobody attends to padding. The *rows* of padding are
# still there. They attend to the real tokens, and what they compute is thrown away.
#
# Now compare only the rows of real tokens with those of the longest text. They are equal, because padding on the right
# lies in the future and the causal mask hides it anyway. In an encoder, or with padding on the left, the padding mask is
# the only one that protects you. Let's test it there. We take the encoder, put something else where the padding is, and
# see whether the real positions move.

# %% tags=["nbval-check-output"]
real = padding(lengths, T)[:, 0]  # [B, T]
x = torch.randn(3, T, C)  # [B, T, C]
other = torch.where(real[:, :, None], x, 100 * torch.randn(3, T, C))  # other numbers, in the padding only
for name, mask in {"without": torch.ones(T, T, dtype=torch.bool), "with": padding(lengths, T)}.items():
    moved = (block(x, mask) - block(other, mask))[real].abs().max()
    print(f"{name:8} the padding mask, real positions moved: {bool(moved > 1e-4)}")

# %% [markdown]
# There is one thing that no mask on attention can do. Positions of padding produce logits like all others, and a loss
# that counts them would train the model to predict padding. The remedy is to replace their *targets* by a number that
# the loss skips. PyTorch's `F.cross_entropy` skips −100 by default, and in the package it is called `batches.IGNORE`.
#
# ### Your turn: No loss for padding
#
# `masking.4` · *warm-up* · 5 minutes
#
# Replace the targets of the padding by −100. The id that fills the sequences up, 0, is also the id of a real token here,
# so go by the lengths, which may be anything from 0 to T.
#
# ```python
# def without_padding(targets: Int[Tensor, "B T"], lengths: Int[Tensor, " B"]) -> Int[Tensor, "B T"]: ...
# ```
#
# For example, `[[5, 0, 7], [8, 0, 0]]` with the lengths `[3, 1]` becomes `[[5, 0, 7], [8, -100, -100]]`.


# %% tags=["nbval-check-output"]
def without_padding(targets, lengths): ...


check("masking.4", without_padding)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def without_padding(targets, lengths):
#     is_padding = torch.arange(targets.shape[1]) >= lengths[:, None]  # [B, T]
#     return targets.masked_fill(is_padding, -100)
# ```
# </details>
#
# Does it do what we want? Compare the last two numbers: the loss with ignored targets, and the loss of the nine real
# positions computed alone.

# %% tags=["nbval-check-output"]
torch.manual_seed(7)
logits, targets = torch.randn(3, T, 11), torch.randint(1, 11, (3, T))  # [B, T, V] and [B, T]
ignored = targets.masked_fill(~real, batches.IGNORE)
alone = F.cross_entropy(logits[real], targets[real])  # [9, V]: the nine real positions
print(f"all positions    {F.cross_entropy(logits.flatten(0, 1), targets.flatten()):.3f}")
print(f"padding ignored  {F.cross_entropy(logits.flatten(0, 1), ignored.flatten()):.3f}")
print(f"real ones alone  {alone:.3f}")

# %% [markdown]
# ## A row with nothing to attend to
#
# Combine enough masks and a row may end up empty: a query that may attend to no key at all. It happens with padding on
# the left under a causal mask, with a window that contains nothing but padding, or when there is no text to read. What
# does the softmax make of a row like that?

# %% tags=["nbval-check-output"]
predict("masking.d", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
q, k = torch.randn(1, 2, 4), torch.randn(1, 3, 4)  # [B, Tq, hs] and [B, Tk, hs]
empty = torch.tensor([[True, True, False], [False, False, False]])  # [Tq, Tk]  the second query has nobody
naive = (q @ k.transpose(-2, -1) / 2).masked_fill(~empty, -torch.inf).softmax(dim=-1)  # [B, Tq, Tk]
print(naive.numpy().round(2))

# %% [markdown]
# <details><summary>Answer</summary>
#
# c. Each weight is $0 / 0$, which computers call **NaN**, "not a number". It is contagious: every sum that contains a
# NaN is NaN, so one such row ruins the loss of the entire batch.
# </details>
#
# ### Your turn: Softmax behind a mask
#
# `masking.3` · *core* · 10 minutes
#
# From scores to weights, behind a mask. Hidden keys get a weight of exactly 0, each row sums to 1, and a row that may
# attend to nothing is all zeros. Scores may lie anywhere between −4000 and 4000.
#
# ```python
# def masked_weights(
#     scores: Float[Tensor, "B Tq Tk"], keep_mask: Bool[Tensor, "B Tq Tk"]
# ) -> Float[Tensor, "B Tq Tk"]: ...
# ```
#
# For example, the scores `[[[1, 2], [0, 3]]]` with the mask `[[[True, False], [False, False]]]` become
# `[[[1, 0], [0, 0]]]`.


# %% tags=["nbval-check-output"]
def masked_weights(scores, keep_mask): ...


check("masking.3", masked_weights)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def masked_weights(scores, keep_mask):
#     lowest = torch.finfo(scores.dtype).min  # the lowest finite number, in place of minus infinity
#     weights = scores.masked_fill(~keep_mask, lowest).softmax(dim=-1)
#     return weights.masked_fill(~keep_mask, 0.0)  # for a row in which everything is hidden
# ```
#
# With a finite number an empty row becomes an equal share for every hidden key, and the last line sets those shares to
# zero. `attend` and `attention_weights` in the package do exactly this.
# </details>
#
# **For the curious; skip it on a first reading.** A popular repair is to write zeros over the NaN with `nan_to_num`. It
# looks as good as ours, as long as you look at the output only. Look at the gradients as well, for two ways of masking
# that give the same weights: `masked_fill`, and adding $M$. The last line is PyTorch's fast
# `F.scaled_dot_product_attention`, or SDPA for short.

# %% tags=["nbval-check-output"]
q, k, v = torch.randn(1, 2, 4), torch.randn(1, 3, 4), torch.randn(1, 3, 4)
parts = [part.requires_grad_() for part in (q, k, v)]
scores = q @ k.transpose(-2, -1) / 2  # [B, Tq, Tk]
filled = scores.masked_fill(~empty, -torch.inf).softmax(dim=-1)
added = (scores + masking.to_additive(empty)).softmax(dim=-1)  # this is M: 0 or minus infinity
ways = {
    "masked_fill": filled @ v,
    "masked_fill, repaired": torch.nan_to_num(filled) @ v,
    "adding M, repaired": torch.nan_to_num(added) @ v,
    "attend": attend(q, k, v, empty),
    "SDPA": F.scaled_dot_product_attention(q, k, v, attn_mask=empty),
}
for name, out in ways.items():
    gradients = torch.autograd.grad(out.sum(), parts, retain_graph=True)  # the scores are needed again
    say = ["NaN" if part.isnan().any() else "fine" for part in (out, *gradients)]
    print(f"{name:22} output {say[0]:5} gradient of q {say[1]:5} of k {say[2]:5} of v {say[3]}")

# %% [markdown]
# Without a repair the NaN is in the output, and it reaches the gradient of every value. The repair does help after
# `masked_fill`, because no gradient flows back through a filled score. After adding $M$ it hides the NaN in the output
# and leaves it in the gradient: the loss looks healthy, and one step of training turns the weights behind the queries and
# keys into NaN. A repair that works only if somebody else built the mask the right way is not a repair. `attend` never
# produces a NaN in the first place, and neither does SDPA in the version of PyTorch that ran here.
#
# ## The tested block
#
# Here are two of the package's masks. `tril` and `triu` keep the lower and the upper triangle of a table, and `diagonal`
# says where the triangle begins.

# %%
show(causal, sliding)

# %% [markdown]
# Do they match what we built by hand, and does attention behind a mask give what the library's attention gives?
# `F.scaled_dot_product_attention` takes a mask with our meaning, or the word `is_causal`. All sizes below are different,
# so that no two axes can be mixed up, and both outputs and gradients are compared.

# %% tags=["nbval-check-output"]
same = {
    "causal": causal(8).equal(at_or_before),
    "prefix": prefix(8, 3).equal(question_first),
    "sliding": sliding(8, 3).equal(at_or_before & (query - key < 3)),
}
print("as by hand:", same)

# %% tags=["nbval-check-output"]
B, H, Tq, Tk, hs = 2, 3, 5, 7, 4
for _ in range(50):
    q, k, v = (torch.randn(B, H, n, hs, requires_grad=True) for n in (Tq, Tk, Tk))
    mask = causal(Tq, Tk) & padding([7, 4], Tk)[:, None]  # [B, 1, Tq, Tk], the 1 for all heads
    ours, theirs = attend(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    assert torch.allclose(ours, theirs, atol=1e-5)
    gradients = [torch.autograd.grad(out.square().sum(), (q, k, v)) for out in (ours, theirs)]
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*gradients, strict=True))
    square = F.scaled_dot_product_attention(k, k, v, is_causal=True)
    assert torch.allclose(square, attend(k, k, v, causal(Tk)), atol=1e-5)
print("50 random inputs: outputs and gradients agree, and is_causal is the causal mask")

# %% [markdown]
# There is a trap here. With fewer queries than keys, where do the queries stand? A model that continues a text asks from
# the *end*, so in your `causal_mask(2, 4)` the last query sees all four keys. `is_causal` puts the queries at the
# *beginning*.

# %% tags=["nbval-check-output"]
q, k, v = torch.randn(1, 1, 2, 4), torch.randn(1, 1, 4, 4), torch.randn(1, 1, 4, 4)
word = F.scaled_dot_product_attention(q, k, v, is_causal=True)
at_the_end, at_the_beginning = causal(2, 4), torch.ones(2, 4, dtype=torch.bool).tril()
print("is_causal puts the queries at the end:      ", torch.allclose(word, attend(q, k, v, at_the_end)))
print("is_causal puts the queries at the beginning:", torch.allclose(word, attend(q, k, v, at_the_beginning)))

# %%
picture = pictures.mask({"causal(2, 4)": at_the_end, "is_causal in PyTorch": at_the_beginning})
picture.axes[0].set_yticklabels(["2", "3"])  # where these two queries stand among the four keys
picture

# %% [markdown]
# With Tq = Tk the two are the same, which is why nobody notices until the keys of the past are cached and only new
# queries come in. That cache is the subject of notebook 11.
#
# ## Two meanings of True
#
# The field has not agreed on what True means, and PyTorch itself has two attentions with opposite answers:

# %% tags=["nbval-check-output"]
rows = [
    ("gptlab, keep_mask", "may be attended to", "[.., Tq, Tk]"),
    ("F.scaled_dot_product_attention, attn_mask", "may be attended to", "[.., Tq, Tk]"),
    ("nn.MultiheadAttention, attn_mask", "is dropped", "[Tq, Tk] or [B * H, Tq, Tk]"),
    ("nn.MultiheadAttention, key_padding_mask", "is dropped", "[B, Tk]"),
    ("both of PyTorch, with floats instead", "(added to the scores: 0 or -inf)", "as above"),
    ("Hugging Face transformers, attention_mask", "1: is a real token", "[B, Tk]"),
]
pictures.table(rows, ["where", "True means: this key ...", "shape"], align="lll")

# %% [markdown]
# ### Your turn: The other convention
#
# `masking.7` · *warm-up* · 5 minutes
#
# Prepare the two masks of a decoder on padded sequences for `nn.MultiheadAttention`: `attn_mask`, which hides the
# future, and `key_padding_mask`, which hides the padding on the right. For this class True means *drop this key*.
#
# ```python
# def library_masks(lengths: Int[Tensor, " B"], T: int) -> tuple[Bool[Tensor, "T T"], Bool[Tensor, "B T"]]: ...
# ```
#
# For example, with 1 for True, `library_masks(torch.tensor([3, 1]), 3)` gives the rows 011, 001, 000 and the rows 000,
# 011.


# %% tags=["nbval-check-output"]
def library_masks(lengths, T): ...


check("masking.7", library_masks)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def library_masks(lengths, T):
#     return ~causal(T), ~padding(lengths, T)[:, 0]
# ```
# </details>
#
# The package's `to_attn_mask` and `to_key_padding_mask` do the conversion and check the shapes. Give both attentions the
# same weights and the same mask, and they agree. What happens if you forget to convert? Watch the last line.

# %% tags=["nbval-check-output"]
C, H, T = 12, 3, 5
ours, theirs = MultiHeadAttention(C, H), nn.MultiheadAttention(C, H, batch_first=True)
with torch.no_grad():
    theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
    theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
    theirs.out_proj.load_state_dict(ours.output.state_dict())
    x, pad = torch.randn(2, T, C), padding([5, 3], T)
    result = ours(x, causal(T) & pad)
    drop = {"attn_mask": masking.to_attn_mask(causal(T)), "key_padding_mask": masking.to_key_padding_mask(pad)}
    print("converted:", torch.allclose(result, theirs(x, x, x, **drop)[0], atol=1e-5))
    numbers = theirs(x, x, x, attn_mask=masking.to_additive(causal(T)))[0]
    print("as floats:", torch.allclose(ours(x, causal(T)), numbers, atol=1e-5))
    wrong = theirs(x, x, x, attn_mask=causal(T))[0]
    print("not converted, NaN at each position:", wrong[0, :, 0].isnan().tolist())

# %% [markdown]
# Given a keep-mask, this class hides the past and shows the future. All positions but the last give healthy-looking
# numbers. The last one has no future to look at, so its row is empty and gives NaN. If you repair that NaN and train
# on, you have a model that sees *only* the future. Shapes can't tell you. Something else must.
#
# ## Break it: three leaks, and what catches them
#
# You know the test already: you changed the last position and looked which outputs moved. Do that for *every* position
# and you get a table of who really sees whom, whatever the code claims. Here is a small model into which leaks can be
# built.


# %%
class Small(nn.Module):
    """One layer of attention on 9 tokens, with a leak if you name one."""

    def __init__(self, leak=""):
        super().__init__()
        torch.manual_seed(7)
        self.leak, self.embedding = leak, TokenAndPositionEmbedding(V=9, T=6, C=12)
        self.query, self.key, self.value = (nn.Linear(12, 12) for _ in range(3))
        self.mix, self.head = nn.Conv1d(12, 12, kernel_size=3, padding=1), nn.Linear(12, 9)

    def forward(self, ids):
        x, T = self.embedding(ids), ids.shape[1]  # [B, T, C]
        q, k, v = self.query(x), self.key(x), self.value(x)
        keep_mask = torch.ones(T, T, dtype=torch.bool).tril(1 if self.leak == "off by one" else 0)
        if self.leak == "mask after softmax":
            x = x + attention_weights(q, k).masked_fill(~keep_mask, 0.0) @ v
        else:
            x = x + attend(q, k, v, keep_mask)
        if self.leak == "convolution":
            x = x + self.mix(x.transpose(1, 2)).transpose(1, 2)  # a filter of three, padded on both sides
        return self.head(x)  # [B, T, V]


# %% [markdown]
# All three leaks are easy to write. The diagonal is off by one. The mask comes after the softmax. And a convolution like
# the one of notebook 06 is padded on both sides, as is usual for images. Before you run the next cell, guess: which of
# the three can you see in the shape of the output, and which of them give away the next token itself?


# %% tags=["answers-prediction"]
@torch.no_grad()
def who_sees_whom(model, ids, V):
    """[T, T], True where the output at the row moves if the token at the column is changed."""
    seen = []
    for t in range(ids.shape[1]):
        changed = ids.clone()
        changed[:, t] = (changed[:, t] + 1) % V
        seen.append((model(changed) - model(ids)).abs().amax(dim=(0, 2)) > 1e-6)  # [T]
    return torch.stack(seen, dim=1)  # [T, T]


some = torch.randint(9, (4, 6))  # [B, T]
leaks = ["", "off by one", "mask after softmax", "convolution"]
picture = pictures.mask({leak or "no leak": who_sees_whom(Small(leak), some, V=9) for leak in leaks})
_ = picture.supxlabel("filled: the output of this row moved when the token of this column changed    ×: it did not")
picture

# %% [markdown]
# <details><summary>Answer</summary>
#
# You see it in none of the shapes: the output is [4, 6, 9] each time. The first and the third give away the next token.
# The second gives away something subtler. The scores of the future were part of the sum that the softmax divided by, so
# how much is missing from a row betrays them.
# </details>
#
# These tables are measured, not declared. Without a leak the upper triangle is empty. *Off by one* and *convolution*
# have one diagonal too many, which is all it takes to copy the answer. *Mask after softmax* moves everything, a little;
# how strong a leak is, the table doesn't show.
#
# ### Your turn: A leak detector
#
# `masking.9` · *stretch* · 30 minutes
#
# Write the test that every language model should pass. Change the tokens of one position at a time, from position 1 on,
# in all sequences at once: id + 1, and 0 after V − 1. Did an output at an earlier position move, in any sequence and any
# channel, by more than 0.0001? Return the first position whose change moves something earlier, together with the first
# position that then moves, or None if nothing does. Leave `ids` as they are.
#
# ```python
# def first_leak(model, ids: Int[Tensor, "B T"], V: int) -> tuple[int, int] | None: ...
# ```
#
# `model` is a function from ids [B, T] to outputs [B, T, C]. For example, a model that outputs at each position the
# embedding of the *next* token leaks at once: changing position 1 moves position 0, so the answer is `(1, 0)`.


# %% tags=["nbval-check-output"]
def first_leak(model, ids, V): ...


check("masking.9", first_leak)

# %% [markdown]
# The package's `assert_causal` is this test in one line, and it names the first place where things go wrong:

# %% tags=["nbval-check-output"]
for leak in leaks:
    try:
        assert_causal(Small(leak), some, vocab_size=9)
        print(f"{leak or 'no leak':20} passes")
    except AssertionError as problem:
        print(f"{leak:20} {str(problem).split(' by ')[0]}")  # by how much differs between machines

# %% [markdown]
# It catches a mask with the meanings swapped as well, and the model from the beginning with the wonderful loss. The
# trained model of the course passes.

# %% tags=["nbval-check-output"]
# True = drop, given to a model for which True means keep; the diagonal saves the last row from being empty
swapped = masking.to_attn_mask(causal(6)) | torch.eye(6, dtype=torch.bool)
short = torch.tensor([tokenizer.encode(fables.TRAVELLER)[:6]])  # [1, 6]
suspects = {
    "polarity swapped": lambda ids: trained(ids, keep_mask=swapped),
    "sees everything": lambda ids: seer(ids, keep_mask=torch.ones(6, 6, dtype=torch.bool)),
    "the trained model": trained,
}
for name, suspect in suspects.items():
    try:
        assert_causal(suspect, short, vocab_size=V)
        print(f"{name:20} passes")
    except AssertionError as problem:
        print(f"{name:20} {str(problem).split(':')[0]}")

# %% [markdown]
# The test has one limit: it sees only what has an effect. A layer whose weights start at zero hides a leak behind it
# until it is trained. So run it on a model with random weights, and again on the trained one. And run it on *every*
# model you build; it costs T passes over a few tokens.
#
# Now back to the beginning, with the mask that was missing there. The weights at the start and the batches are the same.

# %%
writer, writer_loss = learn(causal(24))
print(f"at the end: {writer_loss:.2f} nats per token; expected: between the floor, {floor:.2f}, and 2")
print(go_on(writer, "Once, in a dark forest,", causal))

# %%
losses = {"sees everything": seer_loss, "causal": writer_loss}
pictures.compare(losses, "nats per token", floor={"the entropy floor": floor}, best=None)

# %% [markdown]
# The honest loss is the higher one, and its model can write. Look at the dotted line: below it there is nothing to
# gain, only a leak or a text learned by heart. What lies between the causal bar and the line is what a small model
# hasn't learned in 300 steps, and what 24 tokens of context are too few to know. Notebook 10 closes that gap.
#
# ## At size: what a mask costs
#
# A mask is a [T, T] table. As booleans it takes one byte per entry, as numbers to add it takes four. The scores beneath
# it exist once for every head, of which the 8B model of Llama 3 has 32. So how large does the boolean table get? Answer
# in bytes; a formula will do, as in `predict("masking.f", 2 * 1024)`.

# %% tags=["nbval-check-output"]
predict("masking.f", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
rows = []
for name, T in (("GPT-2", 1024), ("Llama 3", 8192), ("Llama 3.1", 131_072)):
    sizes = [T * T, 4 * T * T, 4 * T * T * 32]  # bytes: boolean, additive, scores of 32 heads
    rows.append((name, f"{T:,}", *(f"{size / 2**30:,.3f}" for size in sizes)))
pictures.table(rows, ["context of", "T", "keep_mask (GiB)", "additive (GiB)", "scores, 32 heads (GiB)"], align="lrrrr")

# %% [markdown]
# <details><summary>Answer</summary>
#
# T times T, about 17 billion bytes or 16 GiB – for a table that one line of code describes. That is about as much as all
# the weights of the 8B model at two bytes each.
# </details>
#
# So don't build it. `is_causal=True` states the rule instead of the table, and the function behind it never has to hold
# all the scores at once. It computes them in small tiles, remembers for each row the sums that its softmax
# needs, discards the tile, and skips the tiles that lie in the future. The idea is known as **flash attention** ([Dao
# et al. 2022](https://arxiv.org/abs/2205.14135)). The result is the same up to rounding, as the random inputs above
# have shown. Here is the time for eight heads. T doubles from row to row, so counting alone would predict a factor of
# four.

# %%
def with_table(q, k, v, mask):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def with_rule(q, k, v, mask):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)  # the table is not used


rows = []
for T in (256, 512, 1024):
    inputs = (*(torch.randn(1, 8, T, 32) for _ in range(3)), causal(T))  # q, k, v [B, H, T, hs] and the mask
    took = []
    for run in (attend, with_table, with_rule):
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            run(*inputs)
            seconds.append(time.perf_counter() - start)
        took.append(f"{1000 * min(seconds):.1f}")  # the best of five
    rows.append((f"{T:,}", *took))
pictures.table(rows, ["T", "written out (ms)", "fast, with a table (ms)", "fast, is_causal (ms)"], align="rrrr")

# %% [markdown]
# These are milliseconds of one machine, measured briefly, so expect them to jump. On the machines that we tried, the
# column *written out* grows faster than four times per row, and the likely reason is memory: [T, T] for eight heads
# soon no longer fits the processor's cache, and every step has to fetch the scores from far away. The fast function
# works tile by tile and stays in the cache, which is the best argument for it. Given a table, it has to fetch that from
# memory as well. This is also why `MultiHeadAttention` has an argument `is_causal` beside `keep_mask`, and why no model
# of this course stores a [T, T] table in its layers.
#
# ### What a window forgets
#
# Let the trained model read stories through sliding windows, and measure what it loses. `StoryEvaluation` works like the
# judge of notebook 06. It sorts the nats above the floor into random choices (*free*), facts that were mentioned before
# (*recalled*), and all other words (*form*). Which of the three suffers first as the window shrinks?


# %%
class Windowed(nn.Module):
    """The trained model behind a sliding window."""

    def __init__(self, window):
        super().__init__()
        self.inner, self.window = trained, window

    def forward(self, ids):
        return self.inner(ids, keep_mask=sliding(ids.shape[1], self.window))


evaluation = StoryEvaluation(fables.tell(40, seed=7), tokenizer, end)
parts = {window: evaluation(Windowed(window)) for window in (32, 48, 64, 96, 160)}
curves = {name: [(window, part[name]) for window, part in parts.items()] for name in ("recalled", "form", "free")}
title = "What a trained model loses behind a window"
pictures.lines(curves, "window (tokens)", "nats per story above the floor", title=title)

# %% [markdown]
# Read it from the right. The widest window holds an entire story, and a somewhat smaller one is as good: what the model
# looks for doesn't lie further back. Then the recalled facts go, because who lived where and what was found are far
# back in the text. *Form* holds out much longer, since most words follow from their neighbours. To be fair to windows,
# this model was trained with a full view; one that is trained with a window can learn to pass information on from layer
# to layer.
#
# ### Two stories in one row
#
# Now pack two stories into one row: the end of one and the beginning of another, since the model takes at most
# `trained.config.context` tokens. Is the second predicted as well as on its own?


# %% tags=["nbval-check-output"]
@torch.no_grad()
def surprise(row, keep_mask=None, model=trained):
    logits, _ = model(torch.tensor([row[:-1]]), keep_mask=keep_mask)  # [1, T, V]
    return F.cross_entropy(logits[0], torch.tensor(row[1:]), reduction="none")  # [T]  nats for each token


one, two = (tokenizer.encode(story.text) for story in fables.tell(2, seed=0))
before, row = one[-74:], [end, *two[:75]]  # `end` says that a story begins
number = torch.tensor([0] * len(before) + [1] * (len(row) - 1))  # [T]  which story this position belongs to
both_masks = documents(number) & causal(len(number))
alone, packed = surprise(row), surprise(before + row)[len(before) :]
separated = surprise(before + row, both_masks)[len(before) :]
for name, nats in {"alone": alone, "packed, causal": packed, "packed, & documents": separated}.items():
    print(f"{name:20} {nats.sum():6.0f} nats")

# %% [markdown]
# Without the document mask the model mixes up the two stories. It was trained on single stories, so this probably hits
# it harder than a model trained on packed rows. With the mask the second story costs about what it costs alone. Is it
# exactly that? Compare token by token.

# %% tags=["nbval-check-output"]
print("exactly the same:", torch.allclose(alone, separated, atol=1e-3))
print("close:           ", torch.allclose(alone, separated, atol=0.3))

# %% [markdown]
# It isn't, so something still leaks. It can't be the position in the row, because the positions of this model say only
# how far apart two tokens are, as notebook 12 explains. But attention is not the only way in which its tokens meet.
# Before each attention it has the small causal convolution that you know from notebook 06, and no attention mask stops
# that at the boundary between the stories. Take it out of a copy of the model. The copy writes bad stories; we only ask
# whether the second story is now the same in both rows.

# %% tags=["nbval-check-output"]
bare = copy.deepcopy(trained)
for layer in bare.blocks:
    layer.convolution = None
apart = surprise(before + row, both_masks, bare)[len(before) :]
print("exactly the same without the convolution:", torch.allclose(surprise(row, model=bare), apart, atol=1e-3))

# %% [markdown]
# A mask governs attention and nothing else. If you pack documents, look at every part that mixes positions.
#
# ## Two sources
#
# So far a sequence looked at itself. Now think of a translator. There is a text in one language, complete, and a text in
# another, being written. Their lengths differ. Who should attend to whom?
#
# The writer has the questions and the complete text has the answers. So we take the queries from one, and the keys and
# values from the other. Nothing else changes; `attend` doesn't even notice.

# %% tags=["nbval-check-output"]
B, Tq, Tk, C, hs = 2, 3, 5, 6, 4
W_q, W_k, W_v = (torch.randn(C, hs) for _ in range(3))
x, memory = torch.randn(B, Tq, C), torch.randn(B, Tk, C)  # what is being written, and what is read
for name, source in {"one source": x, "two sources": memory}.items():
    q, k, v = x @ W_q, source @ W_k, source @ W_v  # [B, Tq, hs] and twice [B, Tk, hs]
    weights = attention_weights(q, k)  # [B, Tq, Tk]
    print(f"{name:12} weights {list(weights.shape)}, result {list(attend(q, k, v).shape)}")

# %%
table = ("weights", "B Tq Tk", (B, Tq, Tk))
pictures.shapes(("q", "B Tq hs", (B, Tq, hs)), "@", ("kᵀ", "B hs Tk", (B, hs, Tk)), "→", table)

# %%
pictures.shapes(table, "@", ("v", "B Tk hs", (B, Tk, hs)), "→", ("result", "B Tq hs", (B, Tq, hs)))

# %% [markdown]
# Follow the letters through both pictures; the first arrow stands for the scaling and the softmax, too. The result has
# one row for each *query*, so it is as long as what is being written. Tk sits in the middle and is summed away. That is
# why the two lengths need not agree, and why examples with Tq = Tk hide mistakes.
#
# With one source it is self-attention, as in notebook 06. With two it is **cross-attention**. What is read is called
# the **memory**. It is complete before the first word is written, so it contains no future and needs no causal mask:
# only its padding is hidden.
#
# ### Your turn: Two sources
#
# `masking.8` · *core* · 10 minutes
#
# Write one head of cross-attention. The queries come from `x`, the keys and the values from `memory`. Each query may
# attend to the whole memory except its padding, which the mask hides; at least one token of each memory is real.
#
# ```python
# def cross_attend(
#     x: Float[Tensor, "B Tq C"], memory: Float[Tensor, "B Tk C"], W_q: Float[Tensor, "C hs"],
#     W_k: Float[Tensor, "C hs"], W_v: Float[Tensor, "C hs"], keep_mask: Bool[Tensor, "B 1 Tk"],
# ) -> Float[Tensor, "B Tq hs"]: ...
# ```
#
# For example, `x = [[[0, 0]]]` asks for nothing in particular. With the memory `[[[2, 0], [4, 2], [9, 9]]]`, three
# identity matrices and the mask `[[[True, True, False]]]` it gets the mean of the two real rows, `[[[3, 1]]]`.


# %% tags=["nbval-check-output"]
def cross_attend(x, memory, W_q, W_k, W_v, keep_mask): ...


check("masking.8", cross_attend)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def cross_attend(x, memory, W_q, W_k, W_v, keep_mask):
#     q, k, v = x @ W_q, memory @ W_k, memory @ W_v  # [B, Tq, hs], and [B, Tk, hs] twice
#     scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5  # [B, Tq, Tk]
#     return scores.masked_fill(~keep_mask, -torch.inf).softmax(dim=-1) @ v  # [B, Tq, hs]
# ```
# </details>
#
# Does the order of the memory's rows matter? Suppose we shuffle it, and shuffle its padding mask in the same way.

# %% tags=["nbval-check-output"]
predict("masking.e", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
cross = CrossAttention(C, H=3)
pad = padding([5, 2], Tk)  # [B, 1, Tk]
order = torch.tensor([3, 0, 4, 1, 2])
result, shuffled = cross(x, memory, pad), memory[:, order]  # [B, Tq, C] and [B, Tk, C]
print("shuffled with its mask, the same:   ", torch.allclose(result, cross(x, shuffled, pad[:, :, order]), atol=1e-5))
print("shuffled without its mask, the same:", torch.allclose(result, cross(x, shuffled, pad), atol=1e-5))

# %% [markdown]
# <details><summary>Answer</summary>
#
# b. Nothing changes as long as the mask goes along: each result is a weighted sum, and a sum doesn't care about the order
# of its terms. So the order of the words has to be written *into* the memory, by the positions of notebook 05.
# </details>
#
# The package's `CrossAttention` is `MultiHeadAttention` with a second source. With equal weights it gives what
# `nn.MultiheadAttention` gives, which takes query, key and value separately:

# %% tags=["nbval-check-output"]
theirs = nn.MultiheadAttention(C, 3, batch_first=True)
with torch.no_grad():
    theirs.in_proj_weight.copy_(torch.cat([cross.query.weight, cross.key.weight, cross.value.weight]))
    theirs.in_proj_bias.copy_(torch.cat([cross.query.bias, cross.key.bias, cross.value.bias]))
    theirs.out_proj.load_state_dict(cross.output.state_dict())
hide = masking.to_key_padding_mask(pad)
print("the library agrees:", torch.allclose(result, theirs(x, memory, memory, key_padding_mask=hide)[0], atol=1e-5))

# %% [markdown]
# ## A translator in half a minute
#
# The task: English number words in, digits out. *four hundred seven* becomes *407*. Both sides vary in length, so
# padding matters. Order matters too. And sometimes a digit must be written that nobody says, such as the 0 of 407.


# %%
def in_words(n):
    units = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    units = [*units.split(), "sixteen", "seventeen", "eighteen", "nineteen"]
    tens = "- - twenty thirty forty fifty sixty seventy eighty ninety"
    if n < 20:
        return [units[n]]
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if n >= size:
            return in_words(n // size) + [name] + (in_words(n % size) if n % size else [])
    return [tens.split()[n // 10]] + ([units[n % 10]] if n % 10 else [])


for n in (7, 407, 312_045):
    print(f"{' '.join(in_words(n))}  →  {n}")

# %% [markdown]
# On the side of the words each word is a token, with 0 for padding. On the side of the digits there are ten digits, 0 to
# 9, and three more tokens: padding, one to start from, and one that says *the end*. The decoder reads the start token
# and the digits so far, and its targets are shifted by one, as in every language model.

# %%
words = ["<pad>", *sorted({word for n in [*range(100), 100, 1000] for word in in_words(n)})]
PAD, START, END = 10, 11, 12


def batch_of(numbers):
    sources = [[words.index(word) for word in in_words(n)] for n in numbers]
    digits = [[int(d) for d in str(n)] for n in numbers]
    Tk, Tq = max(map(len, sources)), max(map(len, digits)) + 1
    source = torch.tensor([s + [0] * (Tk - len(s)) for s in sources])  # [B, Tk]
    inputs = torch.tensor([[START] + d + [PAD] * (Tq - 1 - len(d)) for d in digits])  # [B, Tq]
    targets = torch.tensor([d + [END] + [batches.IGNORE] * (Tq - 1 - len(d)) for d in digits])  # [B, Tq]
    return source, [len(s) for s in sources], inputs, targets


source, lengths, inputs, targets = batch_of([407, 20])
print(f"source, lengths {lengths}\n{source}\ninputs\n{inputs}\ntargets\n{targets}")

# %% [markdown]
# One class makes both kinds of blocks. Each has self-attention and an MLP, and a decoder block reads the memory in
# between. The decoder of a GPT has nothing to read and goes without that step, like the block further up. `LayerNorm`
# shifts and scales the numbers of each position to mean 0 and variance 1. It works at each position alone, and notebook
# 08 shows why it is there.


# %%
class Layer(nn.Module):
    def __init__(self, C, H, reads):
        super().__init__()
        self.norm_self, self.norm_cross, self.norm_mlp = (nn.LayerNorm(C) for _ in range(3))
        self.attention = MultiHeadAttention(C, H)
        self.cross = CrossAttention(C, H) if reads else None
        self.mlp = nn.Sequential(nn.Linear(C, 4 * C), nn.GELU(), nn.Linear(4 * C, C))

    def forward(self, x, keep_mask, memory=None, memory_mask=None):
        x = x + self.attention(self.norm_self(x), keep_mask)  # self-attention: one source
        if self.cross is not None:
            x = x + self.cross(self.norm_cross(x), memory, memory_mask)  # cross-attention: two sources
        return x + self.mlp(self.norm_mlp(x))  # [B, Tq, C]


# %% [markdown]
# And the two together form an **encoder–decoder**. Look for the three masks: padding in the encoder, causal in the
# decoder, and padding again where the decoder reads the memory. The padding of the digits needs no mask: it is on the
# right, where the causal mask hides it anyway, and its targets are ignored.


# %%
class EncoderDecoder(nn.Module):
    def __init__(self, C=64, H=4):
        super().__init__()
        self.source = TokenAndPositionEmbedding(len(words), 12, C)  # V, and at most 12 words
        self.target = TokenAndPositionEmbedding(13, 8, C)  # ten digits and three more, at most 8 positions
        self.encoder, self.decoder = Layer(C, H, reads=False), Layer(C, H, reads=True)
        self.head = nn.Sequential(nn.LayerNorm(C), nn.Linear(C, 13))

    def encode(self, source, lengths):
        pad = padding(lengths, source.shape[1])  # [B, 1, Tk]
        return self.encoder(self.source(source), pad), pad  # [B, Tk, C]  all words of the source see each other

    def forward(self, source, lengths, inputs):
        memory, pad = self.encode(source, lengths)
        x = self.decoder(self.target(inputs), causal(inputs.shape[1]), memory, pad)  # [B, Tq, C]
        return self.head(x)  # [B, Tq, 13]


# %% [markdown]
# Before training comes the test: does the decoder see digits that it has yet to write? We hold the source fixed and
# change only the digits.

# %% tags=["nbval-check-output"]
torch.manual_seed(7)
translator = EncoderDecoder()
source, lengths, inputs, targets = batch_of([407, 20, 312_045])
assert_causal(lambda ids: translator(source, lengths, ids), inputs, vocab_size=13)
print("the decoder sees no digit before it is written")

# %% [markdown]
# We train on random numbers below a million. Some of the numbers from a thousand on are held out and never occur in
# training; of those below a thousand the model meets nearly all. The loss should begin near $\ln 13$, the surprise of a
# reader who knows nothing about 13 tokens. `OneCycleLR` lets the learning rate rise and then fall, for reasons that
# notebook 10 explains.


# %%
def random_numbers(n, generator):
    size = torch.randint(1, 7, (n,), generator=generator)  # up to 1 to 6 digits
    return [int(torch.randint(10 ** int(s), (1,), generator=generator)) for s in size]


held_out = sorted({n for n in random_numbers(400, torch.Generator().manual_seed(1)) if n >= 1000})
secret, generator = set(held_out), torch.Generator().manual_seed(2)
steps, losses = 600, []
optimizer = torch.optim.AdamW(translator.parameters(), lr=4e-3)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps, pct_start=0.1)
for step in range(steps):
    source, lengths, inputs, targets = batch_of([n for n in random_numbers(96, generator) if n not in secret])
    logits = translator(source, lengths, inputs)  # [B, Tq, 13]
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=batches.IGNORE)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    losses.append(loss.item())
    if step % 100 == 0:
        print(f"step {step}: {loss.item():.3f} nats per digit")
print(f"last: {losses[-1]:.3f}; expected: less than 0.2")

# %% [markdown]
# Now let it write numbers that it has never met, digit by digit, all of them in one batch.


# %%
@torch.no_grad()
def translate(numbers, hide_padding=True):
    source, lengths, _, _ = batch_of(numbers)
    if not hide_padding:
        lengths = [source.shape[1]] * len(numbers)
    written = torch.full((len(numbers), 1), START)  # [B, 1]
    for _ in range(7):
        best = translator(source, lengths, written)[:, -1].argmax(dim=-1, keepdim=True)  # [B, 1]
        written = torch.cat([written, best], dim=1)
    rows = [[*row, END] for row in written[:, 1:].tolist()]
    return ["".join(str(digit) for digit in row[: row.index(END)]) for row in rows]


answers = translate(held_out)
right = sum(answer == str(n) for answer, n in zip(answers, held_out, strict=True)) / len(held_out)
for n, answer in list(zip(held_out, answers, strict=True))[:: len(held_out) // 5]:
    print(f"{' '.join(in_words(n)):70} {answer}")
print(f"{len(held_out)} held-out numbers, exactly right: {right:.1%} (expected: more than 90 %)")

# %% [markdown]
# Where does it look while it writes? `watch` from notebook 06 collects the weights of every attention inside a model, in
# the order in which they are called. The last is the cross-attention, [B, H, Tq, Tk]: for each digit that comes next, how
# the attention is shared among the words. Read the picture one row at a time, from the top.


# %%
def cross_weights(n):
    source, lengths, inputs, _ = batch_of([n])
    encoder, decoder, cross = watch(translator, source, lengths, inputs)
    return cross[0]  # [H, Tq, Tk]


n = 312_045
weights = cross_weights(n)
next_digits = [*(f"→{d}" for d in str(n)), "→end"]
pictures.attention(weights.mean(dim=0), next_digits, in_words(n), title="mean of the four heads")

# %% [markdown]
# To write this digit, it looks at these words. Another machine may round differently and end up with other shades of
# the same habit: the first digit tends to look at the first word, and further down the dark cells tend to move to the
# right. Nobody told the model which word belongs to which digit. A table like this is an **alignment**, and learning it
# is how attention came into translation ([Bahdanau, Cho and Bengio 2014](https://arxiv.org/abs/1409.0473)). Find the
# zero, too. No word says it, so its row has to get it from the words around the gap.
#
# Is this one number an accident? Count how often the first digit looks most at the first word.

# %%
first = [int(cross_weights(n).mean(dim=0)[0].argmax()) == 0 for n in held_out[::2]]
print(f"the first digit looks at the first word in {sum(first)} of {len(first)} numbers (expected: more than 60 %)")

# %% [markdown]
# Here are the four heads one by one. They share the work, and not all of them need be tidy.

# %%
pictures.attention(weights, next_digits, in_words(n))

# %% [markdown]
# The pictures show where this layer looks. They don't show what the words of the memory have already exchanged inside the
# encoder, so a glance at *thousand* may be a question about the whole number.
#
# Two measurements to finish. First, we shuffle the memory together with its mask inside the trained model.

# %% tags=["nbval-check-output"]
source, lengths, inputs, _ = batch_of([407, 20, 312_045])
with torch.no_grad():
    memory, pad = translator.encode(source, lengths)
    order = torch.randperm(source.shape[1], generator=torch.Generator().manual_seed(3))
    x, keep_mask = translator.target(inputs), causal(inputs.shape[1])
    plain = translator.decoder(x, keep_mask, memory, pad)
    shuffled = translator.decoder(x, keep_mask, memory[:, order], pad[:, :, order])
print("shuffled memory, the same result:", torch.allclose(plain, shuffled, atol=1e-4))

# %% [markdown]
# Second, we stop hiding the padding of the source, in a batch that mixes short numbers with long ones. The weights of
# the model are the same in both lines.

# %%
mixed = [*held_out[:60], *range(20, 80)]  # long and short numbers in one batch
for name, hide in {"hidden": True, "visible": False}.items():
    share = sum(a == str(n) for a, n in zip(translate(mixed, hide), mixed, strict=True)) / len(mixed)
    print(f"padding {name:8} exactly right: {share:.0%}")

# %% [markdown]
# If the second line is lower, that is the padding at work: without its mask, what a number becomes depends on which other
# numbers happen to be in the batch.
#
# The transformer began as an encoder–decoder, and T5 and the speech recogniser Whisper are built this way. The models
# that chat are decoders alone. They put the question before the answer, in one sequence, and let one causal
# self-attention do both jobs.
#
# ## More exercises
#
# If you skipped the ones on the way, go back to **masking.1**, **masking.3** and **masking.8**. Throughout, True means
# *may attend*, except in masking.7.
#
# *Stretch, open at the top, without a check:* take the positions away from the translator's source, with
# `position="none"` in its `TokenAndPositionEmbedding`, and train again. Which numbers does it get wrong now, and which
# does it still get right? Then think of two numbers that are made of the same words.

# %%
progress("masking")

# %%
recap("masking")

# %% [markdown]
# ## What to remember
#
# 1. A mask says which query may attend to which key. Here True means *may attend*; `nn.MultiheadAttention` means the
#    opposite.
# 2. Masks go on the scores, before the softmax, and combine with `&`. An empty row should give zeros, never NaN.
# 3. Encoder and decoder are the same block with two masks. With the causal one, a full pass equals step by step.
# 4. Shapes can't see a leak. Change one token, and nothing before it may move: run `assert_causal` on every model.
# 5. In cross-attention the queries come from what is being written, the keys and values from the memory, and only the
#    padding of the memory is hidden.
#
# **New terms**
#
# | here | in one line | elsewhere this is called |
# |---|---|---|
# | leak | information that is there in training and missing in use | data leakage, label leakage |
# | `keep_mask`, True = may attend | which query may attend to which key | `attn_mask` in SDPA; the inverse of `attn_mask` in `nn.MultiheadAttention` |
# | causal mask | nobody sees the future | look-ahead mask, subsequent mask, autoregressive mask |
# | additive mask, $M$ | 0 or minus infinity, added to the scores | attention bias |
# | prefix mask | the beginning is visible to all | prefix-LM mask |
# | sliding window | only the last few keys | local attention, banded attention |
# | document mask | packed texts don't see each other | block-diagonal mask, intra-document masking |
# | padding | fills short sequences up | `pad_token`; its mask is `key_padding_mask` in PyTorch |
# | encoder, decoder | a block without and with the causal mask | bidirectional and causal (autoregressive) transformer |
# | cross-attention, memory | queries from one sequence, keys and values from another | encoder–decoder attention; `encoder_hidden_states` in Hugging Face |
# | alignment | which output belongs to which input | |
# | flash attention | attention tile by tile, without the whole table | one of the kernels behind SDPA |
#
# **Three questions**
#
# 1. Padding is hidden as keys. Why must its targets be ignored as well?
#
# <details><summary>Answer</summary>
#
# The padded positions still ask, and still give logits. A loss that counts them trains the model to predict padding.
# </details>
#
# 2. A friend's model has a loss below the entropy of its text. What do you do first?
#
# <details><summary>Answer</summary>
#
# Change one token and see whether an output before it moves. A loss below the floor is a leak, or a text learned by
# heart.
# </details>
#
# 3. x is [2, 3, 8], the memory is [2, 7, 8], there are two heads. What are the shapes of the weights and of the result?
#
# <details><summary>Answer</summary>
#
# The weights are [2, 2, 3, 7], that is B, H, Tq and Tk. The result is [2, 3, 8], like x.
# </details>
#
# **To go deeper:** Vaswani et al., [Attention is all you need](https://arxiv.org/abs/1706.03762) (2017), section 3.2.3,
# where all three uses of attention fit on half a page. Sasha Rush, [The Annotated
# Transformer](https://nlp.seas.harvard.edu/annotated-transformer/), for an encoder–decoder line by line. In the package,
# read `gptlab/masking.py` from top to bottom.
#
# ## Next
#
# You have embeddings, heads and masks. Three parts of a block you have used without asking: the adding, the LayerNorm and
# the MLP. What does each of them do when there are not two layers but twelve? [Notebook 08](08_the_model.ipynb) takes the
# block apart, and builds the whole model.
#
# Our sentence, one step further on its way, and a last look at the two models from the beginning while they read it. For
# the first model we show the head that looks most at the next token; in the second no head can, so we show its first.
# Compare the cells above the diagonal. On the left there is weight in the future, where the answers are; on the right
# there is never any.

# %%
ids = torch.tensor([tokenizer.encode(fables.TRAVELLER)[:14]])  # [1, T]  the first of its two sentences
T, heads = ids.shape[1], []
for model, mask in ((seer, torch.ones(T, T, dtype=torch.bool)), (writer, causal(T))):
    weights = watch(model, ids, keep_mask=mask)[0][0]  # [H, T, T]
    ahead = weights.diagonal(offset=1, dim1=-2, dim2=-1).mean(dim=-1)  # [H]  weight one step to the right
    heads.append(weights[int(ahead.argmax())])
    print(f"weight on the next token, on average: {ahead.max():.2f}")
labels = [tokenizer.decode([id]).strip() for id in ids[0].tolist()]
pictures.attention(torch.stack(heads), labels, head_names=["sees everything", "causal"])
