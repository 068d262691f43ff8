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
# # 06 Attention
#
# *Each token asks a question, every token before it may answer, and the answers are averaged by how well they fit.*
#
# So far each position knows what stands there, and nothing of the others. Here they begin to talk. You build it in
# small steps, from an average that a pencil can do to the eight heads of a trained model, and at the end you measure
# what it buys.
#
# **After this notebook you can**
#
# - write attention from an empty cell: queries, keys, values, scale, softmax, heads,
# - say at every step which shape you hold, and which axis asks,
# - say what attention can do that a convolution cannot, and what it costs,
# - name the facts that a model with a window can never know, and show it in numbers,
# - read a picture of attention weights, and say what it leaves out.
#
# **It builds on** `@` and [B, T, C] (04), embeddings and the bigram (05). **To run it** takes about 45 seconds on two CPU
# cores and 650 MB of memory; most of it is five small trainings near the end.

# %%
import math
import textwrap

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

import gptlab
from gptlab import checkpoints, pictures, show, training
from gptlab.attention import CrossAttention, MultiHeadAttention, attend, attention_weights, split_heads, watch
from gptlab.batches import StoryBatches
from gptlab.corpora import fables
from gptlab.exercises import check, compare, find, hint, predict, progress, quiz, recap, solution  # noqa: F401
from gptlab.lab import comparison

torch.set_num_threads(1)  # matrices this small gain little from a second core
_ = torch.manual_seed(6)

# %% tags=["nbval-check-output"]
pictures.pipeline("attention")

# %% [markdown]
# Three questions about the notebooks before. Put letters in place of the dots, such as `quiz("attention", ["a", "b", "c"])`; or
# go on, nothing depends on it.

# %% tags=["nbval-check-output"]
quiz("attention", [..., ..., ...])

# %% [markdown]
# ## The question: which animal is Bo?
#
# Our sentence, and how the story goes on. The last word is missing, and you know it: it is the animal that Bo is.

# %% tags=["nbval-check-output"]
scene = " One windy morning, Bo found a silver bell by the mill."
scene += ' "May I ring the bell?" asked Ada. "Yes, Ada," said Bo, for the'
print(fables.TRAVELLER)
print(scene.strip().replace(' "May', '\n"May'), "...")

# %% [markdown]
# What does the bigram of notebook 05 say? It looks at one token, the last. Trained to its end it is a table of
# counts, so we count, in stories told for this purpose.
#
# For this, and for the experiment near the end, we put the tokenizer of the last notebooks aside. `StoryWords` makes
# one token of each word with the blank before it, and of each run of signs. It knows the words of fables and no
# others, so its table is small, and "how many tokens back" is almost "how many words back".

# %%
words = comparison.StoryWords()
V, end = words.vocab_size, words.end
stories = fables.tell(300 * 16, seed=1000)  # 300 batches of 16, for the experiment near the end
documents = [[*words.encode(story.text), end] for story in stories]
counts = torch.zeros(V * V)
for ids in documents:
    ids = torch.tensor(ids)
    counts += torch.bincount(ids[:-1] * V + ids[1:], minlength=V * V)  # the pair (i, j) is number i V + j
counts = counts.view(V, V)  # row i: what came after token i
asked = words.encode(fables.TRAVELLER + scene)
after = counts[asked[-1]] / counts[asked[-1]].sum()
print("the last tokens:", [words.decode([id]) for id in asked[-6:]], " V =", V)
pictures.next_token(after, words.pieces, k=8, title="What follows ' the', says the bigram")

# %% [markdown]
# After *the* often comes a well or a mill or a bell: all true, and of no use here. And the *hen*? She stands in the
# text. How far back?

# %% tags=["nbval-check-output"]
back = len(asked) - max(i for i, id in enumerate(asked) if words.decode([id]) == " hen")
print(f"the bigram gives ' hen' {100 * after[words.id_of[' hen']]:.1f} %")
print(f"the answer stands {back} tokens before the gap; the bigram looks at 1")

# %% [markdown]
# So a position must get something from those before it. The plainest way to get something from many is to take their
# average.
#
# ## By hand: average the past
#
# Four words, two channels, and numbers for a pencil. For each position we want the mean of its own row and all rows
# before it: never of those after it, for they are what a language model has to predict.

# %% tags=["nbval-check-output"]
tokens = ["Bo", "the", "patient", "hen"]
x = torch.tensor([[2.0, 0.0], [0.0, 4.0], [4.0, 2.0], [2.0, 6.0]])  # [T, C]
T, C = x.shape
by_loop = torch.zeros(T, C)
for t in range(T):
    by_loop[t] = x[: t + 1].mean(dim=0)  # rows 0 to t
print(by_loop)

# %% [markdown]
# Check the last row: $(2 + 0 + 4 + 2) / 4 = 2$ and $(0 + 4 + 2 + 6) / 4 = 3$.
#
# A loop over positions is slow, and it hides what happens. A mean is a sum of rows, each times a weight. Written as a
# matrix with one row of weights for each position, the whole loop is one product `@`. Which weights? Let T be 5 for a
# moment: what are the **last two** numbers of the matrix's **third** row?

# %%
predict("attention.a", ...)

# %% tags=["nbval-check-output"]
seen = torch.ones(T, T).tril()  # row t: a one for each position that t may see
weights = seen / seen.sum(dim=-1, keepdim=True)  # [T, T], each row sums to 1
print(weights)
print("the same as the loop:", torch.allclose(weights @ x, by_loop))  # [T, T] @ [T, C] -> [T, C]

# %% [markdown]
# <details><summary>Answer</summary>
#
# 0 and 0. The third position averages three rows, each by 1/3. What comes later has the weight 0.
# </details>
#
# `tril` keeps the lower triangle. The zeros above the diagonal are the future. Here is such a matrix for a longer line.

# %%
line = "Nearby lived Bo the patient hen".split()
triangle = torch.ones(6, 6).tril()
pictures.attention(triangle / triangle.sum(dim=-1, keepdim=True), line, title="Averaging the past")

# %% [markdown]
# Each row is one word that asks, each column one that is looked at. Dark is much, and each row sums to 1.
#
# With a batch nothing changes: `@` applies the same [T, T] to each sequence. (Three sequences of four words with two
# channels; no two sizes are alike, so that no axis can be mistaken for another.)

# %% tags=["nbval-check-output"]
batch = torch.stack([x, 2 * x, x.flip(1)])  # [B, T, C]
out = weights @ batch  # [T, T] @ [B, T, C] -> [B, T, C]
print("batch", list(batch.shape), "→ out", list(out.shape))
print("first sequence as before:", torch.equal(out[0], weights @ x))

# %% [markdown]
# ## By hand: not everybody counts the same
#
# An average treats all alike. *The* has as much to say as *hen*. We want to choose the weights, and they must never be
# negative and sum to 1 in each row. You know a function that makes such numbers out of any others: softmax (05).
#
# $$ w_{ts} = \frac{e^{\,\text{score}_{ts}}}{\sum_{r} e^{\,\text{score}_{tr}}} $$
#
# The **score** says how much position $t$ cares for position $s$. It may be any number. (The sum runs over all
# positions $r$, so that row $t$ sums to 1.) Equal scores give equal weights. The future gets the score $-\infty$,
# because $e^{-\infty} = 0$. If all other scores are 0, this is the average again:

# %% tags=["nbval-check-output"]
keep = torch.ones(T, T, dtype=torch.bool).tril()  # True: t may look at s
scores = torch.zeros(T, T)
same = scores.masked_fill(~keep, -math.inf).softmax(dim=-1)  # each row sums to 1
print("zero scores are the average:", torch.allclose(same, weights))
scores[3, 0] = 2.0  # let "hen" care for "Bo"
weights = scores.masked_fill(~keep, -math.inf).softmax(dim=-1)
print("the row of 'hen':", [round(w, 3) for w in weights[3].tolist()])

# %% [markdown]
# $e^2$ is about 7.4, so *Bo* gets 7.4 shares where the three others get one each. Mind the axis: `dim=-1` runs over the
# columns, the words that are looked at. Each row shares 1 among them.
#
# ## By hand: scores from content
#
# Who sets the scores? Nobody can write them down for each sentence. They must come out of the words.
#
# Let each position ask a question and offer a label. The question is its **query**: what am I looking for? The label is
# its **key**: what do I have? Where a question meets a fitting label, their dot product is large. And let each position
# have ready what it hands over if it is asked: its **value**.
#
# Here are five words, with all three written by hand. The last *Bo* wants to know his animal. Two channels are enough
# for questions and labels: "it is Ada's" and "it is Bo's". Values have three: fox, hen, and none. (All five words are
# past or present for the last one, so nothing must be hidden here.)

# %% tags=["nbval-check-output"]
tokens = ["Ada", "fox", "Bo", "hen", "Bo"]
keys = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 0.0], [0.0, 2.0], [0.0, 0.0]])  # [T, hs]
values = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]])  # [T, hv]
query = torch.tensor([0.0, 2.0])  # [hs]  the last Bo: what is Bo's?
scores = keys @ query  # [T]
weights = scores.softmax(dim=-1)  # [T]
for token, score, weight in zip(tokens, scores, weights):
    print(f"{token:4} score {score:.0f}  weight {weight:.3f}")
print("received (fox, hen, none):", [round(r, 3) for r in (weights @ values).tolist()])

# %% [markdown]
# Check it with a pencil: the score of *hen* is $0 \cdot 0 + 2 \cdot 2 = 4$, and $e^4 / (e^4 + 4) \approx 0.93$. Bo
# asked, the hen answered, and what arrives at Bo's place is almost all *hen*. If the query were `[2, 0]`, it would be
# the fox.
#
# Notice that nothing here depends on *where* the hen stands. And we cheated: how can a hen's key say that she is
# Bo's, if her row in the table is the same in every story? Keep both in mind, they return in the experiment.
#
# Now for all positions at once, and without writing anything by hand. Each position has its row $x_t$ of $C$ numbers,
# from the embedding. Query, key and value are made from this row, by three matrices that training will find. We take
# the tokenizer and the trained rows of notebook 05 and, for now, random matrices.

# %% tags=["nbval-check-output"]
model, tokenizer = checkpoints.committed("fables")
text = ["Nearby lived Bo the patient hen.", "Nearby lived Ada the proud fox."]
ids = torch.tensor([tokenizer.encode(" " + line) for line in text])  # [B, T]
tokens = [tokenizer.decode([id]).strip() for id in ids[0].tolist()]
x = model.embedding.token.weight.detach()[ids]  # [B, T, C]
B, T, C = x.shape
hs = 4  # how many numbers a query has; "head size", and you will see why
W_q, W_k, W_v = torch.randn(3, C, hs, generator=torch.Generator().manual_seed(1)) * 2 / math.sqrt(C)
q = x @ W_q  # [B, T, C] @ [C, hs] -> [B, T, hs]  what am I looking for?
k = x @ W_k  # [B, T, hs]  what do I have?
v = x @ W_v  # [B, T, hs]  what do I hand over?
print("x", list(x.shape), " q, k, v", list(q.shape))

# %% [markdown]
# Every query must meet every key of its own sequence. The product of a row of `q` with a row of `k` is a score, so turn
# `k` on its side. `transpose(-2, -1)` swaps the last two axes, and leaves the batch where it is:
#
# $$ \text{score}_{ts} = q_t \cdot k_s \qquad\text{is}\qquad \texttt{q @ k.transpose(-2, -1)} $$
#
# *Before you run the next cell:* `x` has B = 2 sequences of T = 7 tokens, and hs = 4. What is `scores.shape`? Which
# of its two 7s is the one that asks? (Write for example `predict("attention.b", (2, 4, 7))`.)

# %%
predict("attention.b", ...)

# %% tags=["nbval-check-output"]
scores = q @ k.transpose(-2, -1)  # [B, T, hs] @ [B, hs, T] -> [B, T, T]
print(list(scores.shape))
print("row 5, column 2:", torch.allclose(scores[0, 5, 2], q[0, 5] @ k[0, 2], atol=1e-6))

# %%
pictures.shapes(("q", "B T hs", q), "@", ("k turned", "B hs T", k.transpose(-2, -1)), "=", ("scores", "B T T", scores))

# %% [markdown]
# <details><summary>Answer</summary>
#
# [2, 7, 7]. The first 7 asks, the second is asked: row t holds how well each label answers t's question.
# </details>
#
# The hs of both is summed over and gone. The two Ts are both time: rows ask, columns are asked. From here on it is
# what you had: no future, softmax, average.

# %%
keep = torch.ones(T, T, dtype=torch.bool).tril()
weights = scores.masked_fill(~keep, -math.inf).softmax(dim=-1)  # [B, T, T]
out = weights @ v  # [B, T, T] @ [B, T, hs] -> [B, T, hs]
pictures.attention(weights[0], tokens, keep_mask=keep, title="Random matrices: who looks at whom")

# %% [markdown]
# Look at the row of *hen*. Some weights are large and some small, and the words decide which. None of it is learned
# yet: the matrices are random, and the pattern is an accident. Further down you train such matrices, and the accident
# becomes a habit.
#
# This is **attention**: a weighted average of values, whose weights come from queries and keys. Bahdanau and others
# ([2014](https://arxiv.org/abs/1409.0473)) made it for translation; Vaswani and others
# ([2017](https://arxiv.org/abs/1706.03762)) built a whole model of it, in the words query, key and value.
#
# One thing is still missing: a number under the scores.
#
# ## Why √hs?
#
# A score is a sum of hs products. The more there are, the larger the sum becomes. How much? Let the numbers in
# queries and keys be independent, with mean 0 and variance 1. What is the variance of a score if hs = 64?

# %%
predict("attention.c", ...)


# %%
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
# About 64: each of the 64 products has the variance 1, and variances of independent numbers add up.
# </details>
#
# The variance is hs. Its root, $\sqrt{hs}$, is the usual size of a score, so dividing by it makes the variance 1 for
# every hs.
#
# $$ \text{scores} = \frac{q\,k^\top}{\sqrt{hs}} \qquad\text{is}\qquad
# \texttt{q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])} $$
#
# Why does the size matter? Softmax takes $e$ to the power of each score, and makes huge differences of large ones.
# How many keys share the attention then? The entropy of a row of weights, $-\sum_s w_s \ln w_s$, tells it: it is $\ln
# 32$ if all 32 get the same, and 0 if one gets everything. Here it is for three divisors. With eight heads, the whole
# model has C = 8 hs.

# %%
divisors = {"divided by 1": lambda hs: 1, "divided by √hs": math.sqrt, "divided by √C": lambda hs: math.sqrt(8 * hs)}
entropy = {name: [] for name in divisors}
for name, divisor in divisors.items():
    for hs in sizes:
        w = random_scores(hs, divisor(hs)).softmax(dim=-1)  # [n, T]
        in_nats = -(w * w.clamp(min=1e-30).log()).sum(dim=-1)  # [n]; never ln 0
        entropy[name].append((hs, in_nats.mean()))
alike, title = {"all 32 keys alike": math.log(32)}, "How many keys share the attention?"
pictures.lines(entropy, "hs", "entropy of a row (nats)", level=alike, log="x", title=title)

# %% [markdown]
# Undivided, with a large hs, one key takes nearly all, by accident, before anything is learned. And it stays like
# that. If the score of a key grows by a very little $d$, its weight grows by $w (1 - w)\, d$. For $w = 0.5$ that is a
# quarter of $d$, for $w = 0.999$ or $0.001$ only a thousandth. So where a weight is almost 0 or almost 1, the
# gradient is almost nothing, and training has nothing to go by. (This is the argument of Vaswani and others, in their
# section 3.2.1.) The sum of $w (1 - w)$ over a row, for hs = 256:

# %%
for name, divisor in divisors.items():
    w = random_scores(256, divisor(256)).softmax(dim=-1)
    print(f"{name:15} {(w * (1 - w)).sum(dim=-1).mean():.2f}")

# %% [markdown]
# Then why not divide by even more? $\sqrt{C}$, with the width of the whole model, is a common mistake: a head adds up
# only hs numbers. (Andrej Karpathy makes it in the lecture named at the end, and corrects it below the video.)
# Nothing breaks. But attention starts flatter than it should, close to the plain average, and a model that was
# trained with the right divisor gives wrong answers with this one. You will see the difference further down.
#
# ## Many heads
#
# One row of weights is one look. But *hen* may want to know two things at once: whose animal it is, and what the
# place is like. One average mixes them. So let several attentions run side by side, each with queries, keys and
# values of its own. Each is called a **head**. To keep the cost the same, each of H heads gets C / H channels: this
# is hs, the head size.
#
# First as a loop. The matrices are [C, C]; head h uses its own hs columns of each.

# %% tags=["nbval-check-output"]
B, T, C, H = 2, 7, 12, 3
hs = C // H  # 4
x = torch.randn(B, T, C)
W_q, W_k, W_v, W_o = torch.randn(4, C, C) / math.sqrt(C)
keep = torch.ones(T, T, dtype=torch.bool).tril()
found = []
for h in range(H):
    own = slice(h * hs, (h + 1) * hs)  # the columns of this head
    q, k, v = x @ W_q[:, own], x @ W_k[:, own], x @ W_v[:, own]  # [B, T, hs] each
    scores = q @ k.transpose(-2, -1) / math.sqrt(hs)  # [B, T, T]
    found.append(scores.masked_fill(~keep, -math.inf).softmax(dim=-1) @ v)  # [B, T, hs]
by_loop = torch.cat(found, dim=-1)  # [B, T, C]: the heads side by side
print("each head", list(found[0].shape), "→ side by side", list(by_loop.shape))

# %% [markdown]
# Now without the loop. `@` treats every axis before the last two as a batch. So if the heads become an axis in front
# of time, [B, H, T, hs], the lines above work on all of them at once. To get there: cut the last axis into H pieces
# of hs, then swap heads and time.

# %% tags=["nbval-check-output"]
q, k, v = (
    (x @ W).view(B, T, H, hs).transpose(1, 2)  # [B, T, C] -> [B, T, H, hs] -> [B, H, T, hs]
    for W in (W_q, W_k, W_v)
)
scores = q @ k.transpose(-2, -1) / math.sqrt(hs)  # [B, H, T, T]
heads = scores.masked_fill(~keep, -math.inf).softmax(dim=-1) @ v  # [B, H, T, hs]
at_once = heads.transpose(1, 2).reshape(B, T, C)  # back: [B, T, H, hs] -> [B, T, C]
print("the same as the loop:", torch.allclose(at_once, by_loop, atol=1e-6))

# %%
pictures.shapes(("x @ W", "B T C", x), "→", ("view", "B T H hs", (B, T, H, hs)), "→", ("q", "B H T hs", q))

# %% [markdown]
# Why the detour? `view(B, H, T, hs)` gives the same shape in one step. Put numbers into it that say where they come
# from: position 3, channel 1 is 301.

# %% tags=["nbval-check-output"]
labelled = 100 * torch.arange(5)[:, None] + torch.arange(6)  # [T, C]: T = 5, C = 6
labelled = labelled[None]  # [B, T, C], B = 1
print("right, head 0:", labelled.view(1, 5, 3, 2).transpose(1, 2)[0, 0].tolist())
print("wrong, head 0:", labelled.view(1, 3, 5, 2)[0, 0].tolist())

# %% [markdown]
# The right head 0 has channels 0 and 1 of all five positions. The wrong one has all channels of position 0, then most
# of position 1: its "time" is no time. `view` only reads the numbers in their order, and cuts them anew. The shape is
# right, so no test of shapes finds it.
#
# ### Mixing what they found
#
# Side by side, each channel still belongs to one head. A last matrix $W_o$, the **output projection**, lets every
# channel of the result use all heads. Which channels move if only head 1 finds something else?

# %% tags=["nbval-check-output"]
other = by_loop.clone()
other[:, :, hs : 2 * hs] += 1  # head 1 finds something else
print("before W_o:", (other - by_loop).abs().amax(dim=(0, 1)).gt(1e-6).int().tolist())
print("after W_o: ", (other @ W_o - by_loop @ W_o).abs().amax(dim=(0, 1)).gt(1e-6).int().tolist())

# %% [markdown]
# ### All of it, and its ledger
#
# As a model of torch it is a dozen lines, all of them yours. (`Linear` is the product with a matrix; `-1` lets `view`
# find hs.)


# %%
class Heads(nn.Module):
    """Attention with H heads. Each position looks at itself and back."""

    def __init__(self, C, H):
        super().__init__()
        self.H = H
        self.query, self.key, self.value, self.output = (nn.Linear(C, C, bias=False) for _ in range(4))

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
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
# The ledger of notebook 04 runs it once, and would mark a comment that lies.

# %% tags=["nbval-check-output"]
gptlab.trace(Heads(C, H), x, letters={"B": B, "T": T, "C": C, "H": H, "hs": C // H})

# %% [markdown]
# Two lines hold T twice, `scores` and `weights`. They read no parameters: what they multiply comes from the text,
# both times.
#
# ## The tested block
#
# This is what you built, as the package has it. `keep_mask` is your `keep`; notebook 07 is about it. The only new thing
# is care for a row that may attend to nothing.

# %%
show(attention_weights, attend)

# %% [markdown]
# And the heads. `project` does your first three lines, and `scaled_dot_product_attention` is PyTorch's own `attend`.
# Its fast ways never write the whole [T, T] down at once, which saves time and memory. (`dropout` is for notebook 08,
# `cache` for 11, `rotate` and `enable_gqa` for 12. Here they do nothing.)

# %%
show(split_heads, MultiHeadAttention.forward)

# %% [markdown]
# Are they the same, yours, the package's, and the library's? The library also has a module, `nn.MultiheadAttention`.
# We copy your matrices into both. (A `Linear` keeps its matrix transposed, hence `.T`. And mind the mask: for this
# module True means *drop*, for the function `scaled_dot_product_attention` it means *keep*.)

# %% tags=["nbval-check-output"]
ours = MultiHeadAttention(C, H, bias=False)
theirs = nn.MultiheadAttention(C, H, bias=False, batch_first=True)
with torch.no_grad():
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
# Keys and values may also come from another text than the queries, with another length. Nothing in the formula minds.
# This is cross-attention, `CrossAttention` in the package, and belongs to notebook 07:

# %% tags=["nbval-check-output"]
answers = CrossAttention(C, H)(x, memory=torch.randn(B, 11, C))  # 7 positions ask, 11 others answer
print("x", list(x.shape), "asks 11 others →", list(answers.shape))

# %% [markdown]
# ## Break it: four ways to be almost right
#
# Each of these gives the right shape, and each is a mistake that people make. Two questions expose the first three:
# do rows sum to 1, and does a change in the future move the past? The fourth keeps both promises. Only the comparison
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
later = k.clone()
later[:, :, -1] += 3  # the last key is another one: nothing before it may notice
q_later = q.clone()
q_later[:, :, -1] += 3  # nor may a question asked later change what was answered before
expected, rows = attend(q, k, v, keep), []
for how in ("nothing broken", "mask after softmax", "no mask", "softmax over queries", "scaled by √C"):
    w, out = broken(q, k, v, how)
    moved = (broken(q_later, later, v, how)[1] - out)[:, :, :-1].abs().max() > 1e-6
    sums = torch.allclose(w.sum(dim=-1), torch.ones(B, H, T), atol=1e-5)
    facts = (sums, not moved, torch.allclose(out, expected, atol=1e-5))
    rows.append([how, *("yes" if fact else "NO" for fact in facts)])
pictures.table(rows, ["", "rows sum to 1", "blind to the future", "equal to attend"], align="lccc")

# %% [markdown]
# Look at *mask after softmax*. Its future weights are zero, and still the future is felt: it had its share when the
# shares were dealt, and what it took is missing. In a picture of the weights every zero is in its place. That is why
# notebook 07 tests for leaks by changing the future, and never by looking at zeros.
#
# ## Attention and convolution
#
# There is an older way to let neighbours talk. A **convolution** slides one filter along the sequence: at every place
# the same small matrix for "one back", another for "two back", and so on. (LeCun and others, 1989, for images.) What
# is the difference? Shuffle the words. Either each word gets the result that it had before, at its new place, or its
# result is another one. (The filter here is three wide: the word before, the word itself, the word after.)

# %% tags=["nbval-check-output"]
order = torch.tensor([4, 0, 6, 2, 5, 1, 3])
filtered = nn.Conv1d(C, C, kernel_size=3, padding=1, bias=False)
place = torch.randn(T, C)  # a vector for each position, as in notebook 05
blocks = {
    "convolution": lambda x: filtered(x.transpose(1, 2)).transpose(1, 2),  # it wants [B, C, T]
    "attention": ours,  # all positions talk: no mask here
    "attention with positions": lambda x: ours(x + place),
}
for name, block in blocks.items():
    only_shuffled = torch.allclose(block(x[:, order]), block(x)[:, order], atol=1e-5)
    print(f"{name:25} each word has its old result: {only_shuffled}")

# %% [markdown]
# A convolution knows the place and not the content: its weights are fixed, and *one back* is always treated alike.
# Attention knows the content and not the place: its weights are made anew from every text, and to it a sentence is a
# bag of words. Positions must be added, and then the order counts. (A causal mask gives a hint of the order as well:
# the first word sees one word, the last sees all.)
#
# ### Reach
#
# How far can one position hear? The gradient (05) tells: if an input moves the last output, its gradient is not zero.
# Here are stacks of convolutions of width 4 (`comparison.Convolution`), and one layer of attention, on 20 positions.

# %%
inputs = torch.randn(1, 20, C, requires_grad=True)


def heard(block):
    """How many positions move the output at the last one."""
    (gradient,) = torch.autograd.grad(block(inputs)[0, -1].sum(), inputs)
    return int((gradient[0].abs().sum(dim=-1) > 0).sum())


reach = {"convolutions": []}
for L in (1, 2, 4, 6):
    stack = nn.Sequential(*(comparison.Convolution(C, n=4) for _ in range(L)))
    reach["convolutions"].append((L, heard(stack)))
reach["attention"] = [(1, heard(lambda x: ours(x, is_causal=True)))]
pictures.lines(reach, "layers", "positions that the last one hears", level={"all": 20}, legend="lower right")

# %% [markdown]
# Each layer of convolution adds three positions. Attention hears everything in one. A gradient that has to go through
# many layers fades, or has to be carried with care; the **path** from the first word to the last is what counts. And
# the price? Attention writes a score for every pair of positions, so its cost grows with $T^2$. The ledger counts
# both, for one sequence with C = 64, and eight heads. (A MFLOP is a million additions or multiplications; *of all* is
# what the whole stack of convolutions needs.)

# %% tags=["nbval-check-output"]
rows, attention, convolution = [], Heads(64, 8), comparison.Convolution(64, n=4)
for length in (128, 256, 512, 1024):
    sample = torch.randn(1, length, 64)
    one, other = (gptlab.trace(block, sample).flops / 1e6 for block in (convolution, attention))
    layers = math.ceil((length - 1) / 3)
    scores_mb = 8 * length**2 * 4 / 1e6  # eight heads, four bytes a number
    rows.append([length, layers, f"{one:.0f}", f"{layers * one:,.0f}", f"{other:.0f}", f"{scores_mb:.1f}"])
header = ["T", "convolutions to hear all", "MFLOP of one", "of all", "of one attention", "its scores (MB)"]
pictures.table(rows, header, align="r" * 6)

# %% [markdown]
# Twice the text: a convolution takes twice the work, attention's scores take four times the memory, and its work
# comes nearer and nearer to four times. But to hear a thousand positions, the convolutions must stand hundreds deep,
# and all together they work far more. (One may also leave gaps, which double from layer to layer: a *dilated*
# convolution, as in WaveNet, van den Oord and others, [2016](https://arxiv.org/abs/1609.03499). It hears far with few
# layers, and still treats each place alike, whatever stands there.)
#
# ## Talk stays inside a sequence
#
# `@` over a batch does the same thing B times. So what happens if one word of the second of three sequences changes?

# %%
predict("attention.d", ...)

# %% tags=["nbval-check-output"]
three = torch.randn(3, 7, C)  # [B, T, C]
changed = three.clone()
changed[1, 4] += 1  # one word of the second sequence
moved = (ours(changed, keep) - ours(three, keep)).abs().amax(dim=-1) > 1e-6  # [B, T]
print(moved.int())

# %% [markdown]
# <details><summary>Answer</summary>
#
# Of the second only, and there from the changed position on: the mask hides it from those before. Two stories of one
# batch never hear of each other.
# </details>
#
# ## What attention buys
#
# Now the experiment, with the tokens of `StoryWords` again. Four models learn to tell fables. They differ in how they
# look back. All else is the same: the stories and their order, the number of steps, the optimiser and its rates, and
# the number of parameters within three per cent. (Their widths are not the same: each spends its parameters where its
# way of looking back needs them. And the rates were chosen for attention; the curves below show whether the others
# would need more time. How training works is a box that we open in 10.)
#
# - **bigram**: notebook 05's table. It looks at one token.
# - **window**: the vectors of the last 13 tokens side by side, through a hidden layer (Bengio and others,
#   [2003](https://www.jmlr.org/papers/v3/bengio03a.html)).
# - **convolution**: four layers of width 4. They reach 13 tokens too.
# - **attention**: one layer, eight heads, and a small layer after it for each position on its own. No positions: it is the
#   bag of words from above. But so that it can know what stands *beside* a word, each position first takes in its three
#   neighbours, by a convolution.
#
# The last point deserves honesty, so we add a fifth model, **attention alone**, without the neighbours.

# %% tags=["nbval-check-output"]
rows = []
for kind in comparison.KINDS:
    size = sum(p.numel() for p in comparison.make(kind, V).parameters())
    sees = {"bigram": "1", "window": "13", "convolution": "13"}.get(kind, "all")
    rows.append([kind, sees, size])
pictures.table(rows, ["model", "tokens it sees", "parameters"])

# %% [markdown]
# This is the part of the attention model that looks back.

# %%
show(comparison.Attention.forward)

# %% [markdown]
# Line by line: `norm1` brings each row to the same usual size, so that no number grows out of hand (08). `earlier(h,
# i)` is the row that stood i places before, and `weight` says channel by channel how much of it is added: the
# neighbours. Then attention. The last line is a small layer as in the ledger of notebook 04, for each position on its
# own: `up`, the activation function `relu`, and `output`. `x +` means that each step adds what it found to what was there.
#
# ### Which facts are out of reach?
#
# The program that tells fables throws dice for each fact: a name, an animal, a thing, a place. We call this a
# **draw**. Nobody can know what comes, so a draw costs every model something: one of twenty equally likely animals
# costs $\ln 20$, about 3 nats. The sum over all draws of a story is the **floor**; on average nobody can pay less.
# (It is the entropy of notebooks 01 and 05.) Later the story says its facts again. A fact that is *recalled* should
# cost nothing, to somebody who can look back far enough.

# %% tags=["nbval-check-output"]
told = fables.tell(1, seed=4)[0]
print(textwrap.fill(told.text, 90))

# %% [markdown]
# How far must one look? For some facts, the place where it is longest ago that they were last told. (The *finder* is the
# one of the two who finds the thing, the *other* is the other one. A drum is there to *beat*, and a *windy* morning
# brings the *wind*: these are recalled too.)

# %% tags=["nbval-check-output"]
pieces = [words.decode([id]).strip() for id in words.encode(told.text)]
places = sorted(comparison.distances(told, words).items(), key=lambda found: found[1][1])  # the longest ago comes last
farthest = {fact: (place, back) for place, (fact, back) in places}
rows = []
for fact in ("thing.use", "other.name", "spot", "finder.animal", "weather.noun", "other.animal", "home"):
    place, back = farthest[fact]
    before = " ".join(pieces[place - 3 : place])
    rows.append([before, pieces[place], fact, back, "yes" if back <= 13 else "no"])
pictures.table(rows, ["after", "comes", "which recalls", "tokens back", "in a window of 13"])

# %% [markdown]
# `comparison.FarAndNear` adds up what the recalled words cost, in nats a story: **near** ones, whose fact was last told
# within the 13 tokens, and **far** ones. Everything else is **form** (words that are always the same) and **free** (the
# random draws, of which only what exceeds the floor is counted).
#
# *Before you run it:* which of the models can know the animal of somebody who was introduced forty words before?

# %%
predict("attention.e", ...)


# %%
judge = comparison.FarAndNear(fables.tell(64, seed=1), words, end)
batches = StoryBatches(documents, B=16, start=end, shuffle=False)
trained, history = {}, {}


def learn(kind, model=None):
    torch.manual_seed(0)
    model = comparison.make(kind, V) if model is None else model
    trained[kind] = model
    history[kind] = training.train(model, batches, comparison.RATES, evaluate=judge, progress=False)
    last = history[kind].evaluations[-1]
    print(f"{kind:15}  loss {last['loss']:5.1f}  far {last['far']:4.1f} nats a story", flush=True)


for kind in ("bigram", "window", "convolution"):
    learn(kind)

# %%
learn("attention")

# %%
learn("attention alone")

# %%
curves = {kind: history[kind] for kind in comparison.KINDS}
unit = "nats a story above the floor"
pictures.training(curves, what="far", unit=unit, top=110, title="Facts recalled from beyond the window")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Only attention. The bigram, the window and the convolution fall at first: they learn *what kind* of word comes, and
# how frequent each is. Then they lie almost flat, and no training can bring them down: what they would need is not in
# what they see.
# </details>
#
# The same in bars: all that a story costs, and the floor.

# %%
final = {kind: run.evaluations[-1] for kind, run in history.items()}
losses = {kind: numbers["loss"] for kind, numbers in final.items()}
pictures.compare(losses, "nats a story", floor={"the floor": judge.floor}, title="About 74,000 parameters each")

# %% [markdown]
# ### Loss by loss
#
# The sum hides who is good at what. Each column is a part of what lies above the floor.

# %%
names = ("form", "free", "near", "far")
rows = [[kind, *(f"{numbers[name]:.2f}" for name in (*names, "excess"))] for kind, numbers in final.items()]
pictures.table(rows, ["nats a story above the floor", *names, "all"], align="lrrrrr")

# %% [markdown]
# - **Form**: the bigram is bad even at this, because after *the* it cannot know which *the* this is. The others need a few
#   words for it, and have them.
# - **Free**: a draw costs what it must, and no way of looking back makes it cheaper. Still the window and the convolution pay
#   more than attention. Nearly all of that is the draw of who finds the thing: it is one of two names, and to know which two,
#   one has to look back.
# - **Near**: inside the window, the window and the convolution recall most of it. For such facts nobody needs attention.
# - **Far**: here they pay for guessing, and attention hardly pays. This column is almost the whole difference.
# - **Attention alone** lies between. It reaches every word, but often what it needs stands *beside* the word that it can
#   recognise. Here is the cheat of the beginning again: to know that a hen is Bo's, the hen must have heard the name before her.
#   In one layer without neighbours she has not, and the *the* that asks has not heard after which word it stands. Two layers
#   with positions can do it (the first hands the name to the hen), and so can one with a little convolution in front. The two
#   are no rivals: each does what the other cannot.

# %%
others = [final[kind] for kind in ("bigram", "window", "convolution")]
assert all(numbers["excess"] > 0 for numbers in final.values()), "below the floor: the test would be broken"
assert min(numbers["far"] for numbers in others) > 25
assert final["attention"]["far"] < 0.25 * min(numbers["far"] for numbers in others)
assert max(final[kind]["near"] for kind in ("window", "convolution")) < 0.6 * final["bigram"]["near"]
assert final["attention"]["near"] < 2
print("bands: all above the floor; far facts known to attention only; near ones to whoever sees 13 tokens")

# %% [markdown]
# And fact by fact, counting only what was last told beyond the window. The numbers are nats a story: 0 is perfect
# knowledge, and who guesses between two equal chances once a story pays $\ln 2$, about 0.7.

# %%
watched = ("home", "spot", "weather.noun", "other.name", "finder.animal", "other.animal", "other.trait")
cost = {}
for kind, trained_model in trained.items():
    for (fact, back), nats in judge.by_distance(trained_model).items():
        if back > judge.reach:
            cost[fact, kind] = cost.get((fact, kind), 0.0) + sum(nats) / len(judge.stories)
rows = [[fact, *(f"{cost[fact, kind]:.2f}" for kind in comparison.KINDS)] for fact in watched]
pictures.table(rows, ["fact, told beyond the window", *comparison.KINDS], align="l" + "r" * 5)

# %% [markdown]
# The columns of the window and the convolution are the prices of guessing: *other.animal* is one of nineteen animals,
# *spot* one of eight places. (The two never have the same animal. *Other.name* is said more than once.) Attention pays almost nothing where a fact was
# told once and plainly, and a little where it must find out first who of the two is meant.
#
# What this does **not** show: that attention is better at everything, or at every size. These stories were made to
# need memory, and their sentences stand in almost fixed places. A window of a hundred tokens, or a dilated
# convolution, could learn to recall *by place* here. An exercise at the end asks you to try.
#
# ### The habit
#
# The matrices began as random numbers. Where does the last word of our scene look, before training and after? Of the
# eight heads we take the one that looks at *hen* the most. An arc leads from the word that asks to those that it
# looks at.

# %%
torch.manual_seed(0)
begins = watch(comparison.make("attention", V), torch.tensor([[end, *asked]]))[0][0]  # [H, T, T]
learned = watch(trained["attention"], torch.tensor([[end, *asked]]))[0][0]
labels = ["begin", *(words.decode([id]).strip() for id in asked)]
hen = labels.index("hen")
head = int(learned[:, -1, hen].argmax())
before, after = (float(w[head, -1, hen]) for w in (begins, learned))
print(f"weight of the last word on 'hen', head {head}: {before:.2f} before training, {after:.2f} after")
pictures.arcs(learned[head], labels, row=-1, title=f"After training, head {head}: where the last word looks")

# %% [markdown]
# One head has the habit that Bo's question needs. If another word gets a share of it, look which: it is usually the
# other animal. `watch` is how we saw it: it runs any model, and collects the weights of every attention inside.
#
# ## Heads of a real model
#
# Here are all heads of the model that told you a story in notebook 00, on the sentence that travels with you. It has
# two layers of eight heads. This is the first.

# %%
end_of_text = tokenizer.special_tokens["<|endoftext|>"]
ids = torch.tensor([[end_of_text, *tokenizer.encode(fables.TRAVELLER)]])  # [B, T]
looks = [weights[0] for weights in watch(model, ids)]  # for each layer [H, T, T]
labels = ["begin", *(tokenizer.decode([id]).strip() for id in ids[0, 1:].tolist())]
pictures.attention(looks[0], labels, head_names=[f"layer 0, head {head}" for head in range(8)])

# %% [markdown]
# All at a glance. Dark cells on the diagonal are words that look at themselves, those beside it look at neighbours.
# Dark cells in the first columns look at the beginning of the text. That often means *nothing to see here*: the
# weights of a row must go somewhere, since they sum to 1. (Xiao and others, [2023](https://arxiv.org/abs/2309.17453),
# call it an attention sink.)
#
# In the second layer (layer 1, since they are counted from 0), take the heads that look at *Bo* the most, once from
# *patient* and once from *hen*. Four words ask: the traits and the animals. Point at a cell to read it, and open the
# second head with its triangle.

# %%
bo, patient, hen = (labels.index(word) for word in ("Bo", "patient", "hen"))
chosen = [int(looks[1][:, row, bo].argmax()) for row in (patient, hen)]
names = [f"layer 1, head {head}" for head in chosen]
four = [labels.index("proud"), labels.index("fox"), patient, hen]
pictures.attention_table(looks[1][chosen][:, four, :-1], [labels[i] for i in four], labels[:-1], head_names=names)

# %% [markdown]
# One head ties both traits to their names, the other both animals. Nobody has told the heads to share the work like
# that. Is this how the model knows whose the hen is? It cannot be: layer 1 is its last, and no layer comes after it
# that could ask the hen what she heard. A picture of weights can look like an explanation and be none.
#
# ### Bo's question
#
# So look at the end of our scene, where Bo's question is asked, and take the head of layer 0 that looks at *hen* the
# most. Then exchange the two names after the first two sentences, and nothing else. Does the head follow?


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
# And is it a habit, or luck with one scene? In a hundred other stories, how often does this head look the most at the
# animal of the one who speaks?

# %%
right = 0
for story in fables.tell(100, seed=5):
    begun = story.text[: story.text.index(", for the ")] + ", for the"
    ids = torch.tensor([[end_of_text, *tokenizer.encode(begun)]])
    most = int(watch(model, ids)[0][0, head, -1].argmax())
    right += tokenizer.decode([int(ids[0, most])]).strip() == story.facts["finder.animal"]
print(f"layer 0, head {head}: the right animal in {right} of 100 stories")

# %% [markdown]
# That is Bo's question, learned by a head that nobody told about it. How can it know whose animal it is, in the first
# layer? Like the fourth model of the experiment: each position takes in its three neighbours before it asks (08). *Bo
# the patient hen*: the name stands three words before the animal. *Bo, for the*: and three before the gap.
#
# What do weights not show? How large the values are that they multiply: a weight of 0.9 on a value of almost nothing
# moves almost nothing. And what the rest of the model makes of it. Weights are where a head looks, and no proof of
# what the model thinks (Jain and Wallace, [2019](https://arxiv.org/abs/1902.10186)). The honest test is to change the
# text and see whether the answer changes, as you did here with the names, and notebook 00 with the hen and the wolf.
#
# Does each row sum to 1, and does nobody look ahead? Of all heads:

# %% tags=["nbval-check-output"]
every = torch.stack(looks)  # [L, H, T, T]
print("layers, heads, T, T:", list(every.shape))
print("rows sum to 1:", torch.allclose(every.sum(dim=-1), torch.ones(every.shape[:-1]), atol=1e-4))
print("looks ahead:  ", bool(every.triu(diagonal=1).any()))

# %% [markdown]
# ## Exercises
#
# Write your code in place of the dots and run the cell. `check` runs it on fresh inputs and names the most likely
# mistake. `hint("attention.1")` gives a hint, again for the next one; `solution("attention.1")` shows one way to do it.

# %%
find("attention.1")


# %% tags=["nbval-check-output"]
def average_past(x): ...


check("attention.1", average_past)

# %%
find("attention.2")


# %% tags=["nbval-check-output"]
def scaled_scores(x, W_q, W_k): ...


check("attention.2", scaled_scores)

# %%
find("attention.3")


# %% tags=["nbval-check-output"]
def causal_weights(scores): ...


check("attention.3", causal_weights)

# %%
find("attention.4")


# %% tags=["nbval-check-output"]
def my_attend(q, k, v, keep_mask): ...


check("attention.4", my_attend)

# %%
find("attention.5")


# %% tags=["nbval-check-output"]
def my_split_heads(x, H): ...


check("attention.5", my_split_heads)

# %%
find("attention.6")


# %% tags=["nbval-check-output"]
def my_merge_heads(x): ...


check("attention.6", my_merge_heads)

# %%
find("attention.7")


# %% tags=["nbval-check-output"]
def multi_head(x, W_q, W_k, W_v, W_o, H): ...


check("attention.7", multi_head)

# %%
find("attention.8")


# %% tags=["nbval-check-output"]
def layers_needed(T, width): ...


check("attention.8", layers_needed)

# %% [markdown]
# An open one, without a check: give the window more room. `wide = comparison.LookingBack(V, 24,
# [comparison.Window(24, n=110, hidden=26)])` has about as many parameters and sees whole stories; `learn("wide
# window", wide)` trains it. Or write a convolution with gaps. How much of the *far* column does it win, and how does
# it fare on stories with one sentence more at the beginning?

# %%
progress()

# %%
recap("attention")

# %% [markdown]
# ## What to remember
#
# 1. Attention is a weighted average of values. Its weights come from the content: softmax of query · key, over the keys.
# 2. `q @ k.transpose(-2, -1) / math.sqrt(hs)` is [B, T, T]: rows ask, columns are asked. The root of hs, never of C.
# 3. Mask the scores, before the softmax. Cut heads with `view(B, T, H, hs).transpose(1, 2)`, and merge them the same way back.
# 4. A convolution knows places and hears its neighbours; attention knows content, hears all in one layer, and pays $T^2$.
# 5. Of our models of equal size, only those with attention know a fact beyond the window. It never looks into another sequence.
#
# **Three questions**
#
# 1. `weights.sum(dim=-2)` is all ones, `weights.sum(dim=-1)` is not. What happened?
#
# <details><summary>Answer</summary>
# The softmax ran over the queries. Each key deals out its attention, where each query should.
# </details>
#
# 2. C = 768, H = 12. By what do you divide the scores, and how many parameters do more heads cost?
#
# <details><summary>Answer</summary>
# By 8, the root of 64. None: the four matrices are [C, C] for any number of heads.
# </details>
#
# 3. You shuffle the words of a text, and a model of attention without positions and without a mask gives the same vectors,
# shuffled. Is it broken?
#
# <details><summary>Answer</summary>
# No. That is what attention is: it sees a set. Add positions, or let neighbours in by a convolution.
# </details>
#
# **To go deeper:** Vaswani and others, [Attention Is All You Need](https://arxiv.org/abs/1706.03762) (2017), sections
# 3.2 and 4, the latter compares it with convolutions. Andrej Karpathy, [Let's build
# GPT](https://www.youtube.com/watch?v=kCc8FmEb1nY) (2023), from the chapter "version 1: averaging past context" to
# "multi-headed self-attention", goes from averages to heads as you did. In the package, `gptlab/attention.py` from
# top to bottom.
#
# ## Next
#
# All through this notebook you wrote one line about the future and went on: `masked_fill(~keep, -math.inf)`. Forget
# it once and the model cheats, with a wonderful loss. Which masks are there, what does True mean, and how do you
# prove that nothing leaks? That is [notebook 07](07_masking.ipynb).
#
# The sentence that travels with you, one station further: traits and animals look back at their names, with the two
# heads of layer 1 from above.

# %%
back = torch.zeros_like(looks[1][0])  # [T, T]
for head, asking in zip(chosen, (["proud", "patient"], ["fox", "hen"])):
    rows = [labels.index(word) for word in asking]
    back[rows] = looks[1][head, rows]
pictures.arcs(back, labels, least=0.3, title="Layer 1: whose trait, whose animal?")
