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
# # 08 The model
#
# *Attention, stacked twelve times, learns nothing. Three small parts mend it, and what comes out is GPT-2, to the last
# number.*
#
# You have embeddings (05), attention (06) and masks (07). Here you stack them, watch the stack fail, and find out what
# each of the missing parts is for. Then you build the whole model by hand, count it, and break it in eight ways.
#
# **After this notebook you can**
#
# - write a block and a whole GPT from an empty cell, and prove that it is the same as a tested one,
# - say what the residual stream, the norms and the MLP are for, and measure each claim,
# - name the first loss of any model before you train it,
# - say where the parameters and the work of a model are, and count those of GPT-2 exactly,
# - tell from symptoms which part of a sick model is broken.
#
# **It builds on** embeddings (05), attention (06) and masks (07). **To run it** takes about 80 seconds on two CPU cores
# and 1.2 GB of memory.

# %%
import math
import random
import time
import warnings

import torch
import torch.nn.functional as F
from torch import nn

from gptlab import batches, checkpoints, gpu, huggingface, pictures, show, trace, training
from gptlab.attention import MultiHeadAttention, attend, merge_heads, split_heads, watch
from gptlab.breaking import FAULTS, broken
from gptlab.corpora import fables
from gptlab.embedding import TokenAndPositionEmbedding
from gptlab.exercises import check, find, predict, progress, quiz, recap
from gptlab.masking import assert_causal, causal
from gptlab.model import GPT, MLP, Block, GPTConfig
from gptlab.pictures.style import DASHES, SERIES, canvas, finish

torch.set_num_threads(1)  # matrices this small gain nothing from a second core
torch.manual_seed(8);

# %% tags=["nbval-check-output"]
pictures.pipeline(8)

# %% [markdown]
# Three questions about the notebooks before. Put letters in place of the dots, such as `quiz(8, ["a", "b", "c"])`; or
# go on, nothing depends on it.

# %% tags=["nbval-check-output"]
quiz(8, [..., ..., ...])

# %% [markdown]
# ## The question: is deeper better?
#
# One layer of attention fetches from other places. A second layer could work with what the first has fetched, and a
# third with that. So stack them. Here are the fables, cut into batches, and a model with `L` layers. In each layer every
# position first *listens* (attention, with the causal mask), and then *thinks* for itself: two matrices with something
# bent in between, as in notebook 07. You will look into the thinking further down.

# %%
trained, tokenizer = checkpoints.committed("fables")
V, end = tokenizer.vocab_size, tokenizer.special_tokens["<|endoftext|>"]
ids = []
for story in fables.tell(1500, seed=0):
    ids += [*tokenizer.encode(story.text), end]
text = batches.Batches(ids, B=16, T=24)
floor = fables.entropy() / (len(ids) / 1500)  # nats a token, the best that anybody can do
share = torch.bincount(torch.tensor(ids)) / len(ids)
frequencies = -(share[share > 0] * share[share > 0].log()).sum().item()
print(f"V = {V}; the floor is about {floor:.2f} nats a token")
print(f"who knows only how often each token occurs pays {frequencies:.2f}")


# %%
class Listen(MultiHeadAttention):
    def forward(self, x):
        return super().forward(x, is_causal=True)  # [B, T, C]


def thinking(C):
    return nn.Sequential(nn.Linear(C, 4 * C), nn.GELU(), nn.Linear(4 * C, C))


def replace(x, part, norm):
    return part(x)  # what a part computes takes the place of x


# %%
class Stack(nn.Module):
    def __init__(self, L, way, C=48, H=4):
        super().__init__()
        torch.manual_seed(8)
        self.way, self.embedding, self.head = way, TokenAndPositionEmbedding(V, 24, C), nn.Linear(C, V)
        self.parts = nn.ModuleList(make for _ in range(L) for make in (Listen(C, H), thinking(C)))
        self.norms = nn.ModuleList(nn.LayerNorm(C) for _ in range(2 * L + 1))  # for later
        for p in self.parts.parameters():
            nn.init.xavier_normal_(p) if p.dim() == 2 else nn.init.zeros_(p)

    def forward(self, ids):
        x = self.embedding(ids)  # [B, T, C]
        self.stream = [x]  # kept, so that we can look at it
        for part, norm in zip(self.parts, self.norms, strict=False):
            x = self.way(x, part, norm)  # [B, T, C]
            self.stream.append(x)
        return self.head(self.norms[-1](x) if self.way.__name__ == "pre" else x)  # [B, T, V]


# %% [markdown]
# `parts` holds what listens and what thinks, in turn. Some names you meet further down (`norms`, `pre`). For now the
# `way` is `replace`: each part's result takes the place of what was there. `xavier_normal_` draws the first numbers of a matrix such that its results are
# about as large as its inputs ([Glorot and Bengio 2010](https://proceedings.mlr.press/v9/glorot10a.html)). Everybody
# gets the same hundred batches.


# %%
def learn(model, steps=100, rate=3e-3):
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    losses = []
    for step in range(steps):
        inputs, targets = text.batch(step)  # [B, T] and [B, T]
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


runs = {}
for L in (1, 3, 12):
    runs[f"{L} layer{'s' * (L > 1)}"] = losses = learn(Stack(L, replace))
    print(f"L = {L:2}: {losses[0]:.2f} at first, {sum(losses[-10:]) / 10:.2f} at the end")
assert sum(runs["1 layer"][-10:]) / 10 < 3.5 and sum(runs["12 layers"][-10:]) / 10 > 4.3

# %%
last_ten = {name: sum(losses[-10:]) / 10 for name, losses in runs.items()}
pictures.compare(last_ten, "nats a token", floor={"frequencies alone": frequencies})

# %% [markdown]
# It is the other way round: the deeper, the worse. Twelve layers arrive at the dotted line, which is what somebody pays
# who has counted the tokens and looks at nothing. (Three and twelve have more numbers to learn with, so they
# could do at least as well.) Deep networks had this trouble long before attention; [He et al.
# 2015](https://arxiv.org/abs/1512.03385) called it degradation.
#
# ## By hand: what twelve parts do to a number
#
# Look at the stack before any training. How large is $x$ after each part, and how much does the loss notice if you
# nudge $x$ there? The second is the gradient, which you know from notebook 05.


# %%
def sizes_and_gradients(model):
    inputs, targets = text.batch(0)
    loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
    for x in model.stream:
        x.retain_grad()
    loss.backward()
    sizes = [x.detach().norm(dim=-1).mean().item() for x in model.stream]  # the length of x, a mean over [B, T]
    return sizes, [x.grad.norm().item() for x in model.stream]


sizes, gradients = sizes_and_gradients(Stack(12, replace))
rows = [(n, f"{sizes[n]:.1e}", f"{gradients[n]:.1e}") for n in (0, 6, 12, 18, 24)]
pictures.table(rows, ["parts passed", "size of x", "gradient at x"], align="rrr")

# %% [markdown]
# (3.0e-02 is 3.0 · 10⁻².) Read it from above: the signal becomes smaller by a factor with every few parts. Read it from below: so does the
# gradient, on its way back. What arrives at the first layers is next to nothing, so they do not learn, and what they send up is
# next to nothing, so the others have nothing to learn from.
#
# A pencil is enough to see why. Let a part multiply by 0.5. Two of them give 0.25, and twelve?

# %% tags=["nbval-check-output"]
print("replace, twelve times:", round(0.5**12, 6))

# %% [markdown]
# Now change one thing. What the part computes is not put in place of $x$ but **added** to it: $x + 0.5\,x$. Where are you
# after twelve parts? Write a number in place of the dots, or go on.

# %% tags=["nbval-check-output"]
predict("8.a", ...)

# %% tags=["nbval-check-output"]
x = torch.tensor(1.0, requires_grad=True)
y = x
for _ in range(12):
    y = y + 0.5 * y
y.backward()
print(f"add, twelve times: {y.item():.1f}; and the gradient: {x.grad.item():.1f}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# 1.5 to the power of 12, about 130. Each step multiplies by 1 + 0.5, and so does each step of the gradient on its way
# back.
# </details>
#
# The 1 is the whole trick. $x_{l+1} = x_l + f(x_l)$, so the derivative is $1 + f'(x_l)$: however small $f'$ is, the
# gradient comes through. There is a way from the first layer to the loss on which nothing is multiplied at all.
#
# So here is the second way. One line:


# %%
def add(x, part, norm):
    return x + part(x)


sizes, gradients = sizes_and_gradients(Stack(12, add))
rows = [(n, f"{sizes[n]:.1e}", f"{gradients[n]:.1e}") for n in (0, 6, 12, 18, 24)]
pictures.table(rows, ["parts passed", "size of x", "gradient at x"], align="rrr")

# %% [markdown]
# Nothing vanishes any more. It explodes instead, as your pencil has said: a part whose input has grown adds more, so
# the next one gets more. One gift has come with it, though. What you see in the first column is no longer a chain of
# results, each of which replaces the one before. It is one vector a position that runs through the whole model. Each
# part reads it, and adds something.
#
# The vector is called the **residual stream** (its name is [Elhage et al.'s,
# 2021](https://transformer-circuits.pub/2021/framework/index.html); He et al., above, had the idea, and called what a
# part adds a *residual*).
#
# ## By hand: layer norm
#
# The parts should read the stream without being upset by its size. So norm what they read. Take one position with four
# channels:

# %% tags=["nbval-check-output"]
x = torch.tensor([2.0, 4.0, 6.0, 8.0])  # [C]
mean = x.mean()
variance = ((x - mean) ** 2).mean()  # the mean of 9, 1, 1, 9
print("mean:", mean.item(), " variance:", variance.item(), " root of it:", round(variance.sqrt().item(), 3))
print("normed:", ((x - mean) / variance.sqrt()).numpy().round(3))

# %% [markdown]
# Mean 0, and a spread of 1. Check the first number with a pencil: $(2 - 5) / 2.236$. For a whole batch each position does
# this for itself, over its own channels. Two more things belong to it: a tiny $\epsilon$ under the root, so that four
# equal numbers do not divide by 0; and a **gain** and a **bias** for each channel, both learned, which begin as 1 and 0.
#
# $$\mathrm{norm}(x) = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \cdot g + b$$


# %% tags=["nbval-check-output"]
def layer_norm(x, g, b, eps=1e-5):
    mean = x.mean(dim=-1, keepdim=True)  # [B, T, 1]
    variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)  # [B, T, 1]
    return (x - mean) / (variance + eps).sqrt() * g + b  # [B, T, C]


x, g, b = torch.randn(2, 3, 5), torch.randn(5), torch.randn(5)  # [B, T, C], [C], [C]
print("the library agrees:", torch.allclose(layer_norm(x, g, b), F.layer_norm(x, (5,), g, b), atol=1e-6))

# %% [markdown]
# This is **layer norm** ([Ba, Kiros and Hinton 2016](https://arxiv.org/abs/1607.06450)). What does it do to a stream that
# has grown?

# %% tags=["nbval-check-output"]
predict("8.b", ...)

# %% tags=["nbval-check-output"]
one, zero = torch.ones(5), torch.zeros(5)
print("of x:        ", layer_norm(x, one, zero)[0, 0].numpy().round(3))
print("of 100 times:", layer_norm(100 * x, one, zero)[0, 0].numpy().round(3))

# %% [markdown]
# <details><summary>Answer</summary>
#
# b. The same. Mean and spread grow by the same factor, and it cancels. Only the direction of the stream counts for
# whoever reads it through a norm.
# </details>
#
# **The wrong axis** is the classical mistake. The shapes stay right when the mean runs over time (`dim=1`) in place of
# the channels. Notebook 07's test sees what is wrong with it:

# %% tags=["nbval-check-output"]
table = torch.randn(9, 5)  # [V, C]
for name, dim in {"over the channels": -1, "over time": 1}.items():
    normed = lambda ids, dim=dim: (table[ids] - table[ids].mean(dim, keepdim=True)) / table[ids].std(dim, keepdim=True)
    try:
        assert_causal(normed, torch.tensor([[3, 1, 4, 1, 5]]), vocab_size=9)
        print(f"{name:18} passes")
    except AssertionError as problem:
        print(f"{name:18} {str(problem).split(':')[0]}")

# %% [markdown]
# ## Where to put the norm
#
# There are two places, and the field has used both.
#
# - **Post-norm**: add, then norm the stream: $x \leftarrow \mathrm{norm}(x + f(x))$.
# - **Pre-norm**: norm a copy that the part reads: $x \leftarrow x + f(\mathrm{norm}(x))$. The stream is never normed, so
#   one more norm stands at the end, before the head.


# %%
def post(x, part, norm):
    return norm(x + part(x))


def pre(x, part, norm):
    return x + part(norm(x))


arriving = {way.__name__: sizes_and_gradients(Stack(12, way))[1] for way in (replace, add, post, pre)}
points = {name: list(enumerate(values)) for name, values in arriving.items()}
pictures.lines(points, "parts passed (two a layer)", "gradient at x", log="y")

# %% [markdown]
# Read from the right, where the loss is, to the left, where the gradient has to arrive. `replace` loses it, `add` makes
# it explode, and with either norm it stays in one order of magnitude over all 24 parts. The picture is of random
# numbers before any training. It does not show how well they learn. So let them:

# %%
for way in (add, post, pre):
    runs[way.__name__] = losses = learn(Stack(12, way))
    print(f"{way.__name__:5} 12 layers: {losses[0]:7.2f} at first, {sum(losses[-10:]) / 10:7.2f} at the end")
assert sum(runs["pre"][-10:]) / 10 < 3 < sum(runs["post"][-10:]) / 10

# %% [markdown]
# With pre-norm twelve layers learn, at last, and more than one layer did. With post-norm, at this rate and in these
# hundred steps, they do not. It can be trained: it wants smaller steps at first, a long warm-up (09). [Xiong et al.
# 2020](https://arxiv.org/abs/2002.04745) found the reason. At the start, the gradient of the *last* layer's matrices is
# larger with post-norm than with pre-norm, by a factor that grows as $\sqrt{L}$. Measure it, for the matrix that comes
# last in the stack:

# %%
rows = []
for L in (3, 12, 27):
    norms = []
    for way in (post, pre):
        model = Stack(L, way)
        sizes_and_gradients(model)
        norms.append(model.parts[-1][2].weight.grad.norm().item())
    rows.append((L, *(f"{n:.2f}" for n in norms), f"{norms[0] / norms[1]:.1f}", f"{math.sqrt(L):.1f}"))
pictures.table(rows, ["L", "gradient, post", "gradient, pre", "post / pre", "√L"], align="rrrrr")

# %% [markdown]
# The last two columns grow together. In a pre-norm model the stream gets longer with depth, and the norm at the end
# divides by that length, so each single part matters less, and its gradient is tamer. Which real models use which:

# %% tags=["nbval-check-output"]
rows = [
    ("Transformer (Vaswani et al. 2017)", "post", "LayerNorm"),
    ("GPT-1 (Radford et al. 2018)", "post", "LayerNorm"),
    ("BERT (Devlin et al. 2018)", "post", "LayerNorm"),
    ("GPT-2 (Radford et al. 2019)", "pre", "LayerNorm"),
    ("GPT-3 (Brown et al. 2020)", "pre", "LayerNorm"),
    ("Llama 1, 2, 3 (Touvron et al. 2023; 2024)", "pre", "RMSNorm (notebook 11)"),
]
pictures.table(rows, ["model", "norm", "kind"], align="lll")

# %% [markdown]
# From here on, the norm stands in front.
#
# ## By hand: the MLP
#
# Attention fetches, and a weighted average is all it can make of what it fetches. Who computes with it? Each position
# for itself, in three steps: a matrix that widens from $C$ to $4C$ channels, something that *bends* each number, and a
# matrix that narrows to $C$ again. Here with $C = 2$ and, to keep it small, three channels inside:

# %% tags=["nbval-check-output"]
x = torch.tensor([1.0, 2.0])  # [C]
W1, b1 = torch.tensor([[1.0, -1.0, 2.0], [0.0, 1.0, -2.0]]), torch.tensor([0.0, 0.0, 1.0])  # [C, 3] and [3]
W2, b2 = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([0.0, 0.5])  # [3, C] and [C]
wide = x @ W1 + b1  # [3]
bent = wide.relu()  # [3]  the plainest bend: what is negative becomes 0
print("wide:", wide.tolist(), " bent:", bent.tolist(), " narrow:", (bent @ W2 + b2).tolist())

# %% [markdown]
# The first inner channel asked "how much of the first number is there?", the last asked a question whose answer was
# negative, and was silent. Each inner channel is a question to the stream, with a threshold, and each has an answer to
# write back (a row of $W_2$). Geva et al. [2021](https://arxiv.org/abs/2012.14913) read trained MLPs as such a
# memory.
#
# Why bend at all?

# %% tags=["nbval-check-output"]
predict("8.c", ...)

# %% tags=["nbval-check-output"]
W1, W2, x = torch.randn(6, 24), torch.randn(24, 6), torch.randn(3, 7, 6)  # [C, 4C], [4C, C], [B, T, C]
print("two matrices are one:", torch.allclose((x @ W1) @ W2, x @ (W1 @ W2), atol=1e-3))
print("with a bend:         ", torch.allclose((x @ W1).relu() @ W2, x @ (W1 @ W2), atol=1e-3))

# %% [markdown]
# <details><summary>Answer</summary>
#
# b, nothing. Without the bend the widening is for show.
# </details>
#
# GPT-2 bends more smoothly. It multiplies $h$ by $\Phi(h)$, the part of a normal distribution that lies below $h$: near 0
# for a very negative $h$, one half at 0, near 1 for a large one. This is **GELU** ([Hendrycks and Gimpel
# 2016](https://arxiv.org/abs/1606.08415)).
#
# $$\mathrm{gelu}(h) = h \cdot \Phi(h) = h \cdot \tfrac{1}{2}\left(1 + \mathrm{erf}\frac{h}{\sqrt 2}\right)$$

# %%
h = torch.linspace(-4, 3, 141)
curves = {"ReLU": h.relu(), "GELU": h * 0.5 * (1 + torch.erf(h / math.sqrt(2)))}
assert torch.allclose(curves["GELU"], F.gelu(h), atol=1e-6)
figure, (left, right) = canvas(9.0, 3.2, columns=2)
for i, (name, y) in enumerate(curves.items()):
    left.plot(h, y, color=SERIES[i], linestyle=DASHES[i], label=name)
left.set(xlabel="h", ylabel="bent h")
left.legend()
right.plot(h, F.gelu(h, approximate="tanh") - F.gelu(h), color=SERIES[2])
right.set(xlabel="h", ylabel="GPT-2's GELU − exact GELU")
finish(figure, "Left: ReLU, a corner at 0, and GELU, smooth with a dip below 0. Right: a difference below 0.0005.")

# %% [markdown]
# Left, the two bends: GELU has a soft corner, and a dip to the left of 0. Right, a detail that you need if your numbers
# shall equal GPT-2's: in 2019 `erf` was slow, and GPT-2 was trained with an approximation by `tanh`. The
# difference is small, and a test of equality sees it. In `GPTConfig` the two are called "gelu" and "gelu_tanh". The
# picture shows single numbers, not what thousands of them do together.
#
# The three steps together are called **MLP**, multi-layer perceptron (an old name, older than the transformer, whose
# paper says *feed-forward network*). Here is the package's, and the one property that tells it from attention: a
# position thinks alone.

# %%
show(MLP.forward)

# %% tags=["nbval-check-output"]
think = MLP(GPTConfig(vocab_size=9, n_embd=6, n_head=2), F.gelu)
changed = x.clone()
changed[:, 4] += 1  # one position of seven
moved = (think(x) - think(changed)).abs().amax(dim=(0, 2)) > 0  # [T]
print("moved:", moved.tolist())

# %% [markdown]
# ## The block
#
# Now you have all there is. A **block** is one layer: listen, add, think, add, with a norm in front of each part.
#
# $$x \leftarrow x + \mathrm{attention}(\mathrm{norm}_1(x)) \qquad x \leftarrow x + \mathrm{mlp}(\mathrm{norm}_2(x))$$
#
# The package's has two more things: a convolution, which the models of this course use and GPT-2 does not (11), and
# dropout, which comes in a moment.

# %%
show(Block.forward)

# %% [markdown]
# What does one block cost? `trace` runs a model once and writes down each line with the shape it made, the parameters
# it read, the bytes it wrote and its FLOPs (additions and multiplications in products of matrices). Find the five lines
# that read a matrix, and the one line that has none and works all the same.

# %%
small = GPTConfig(vocab_size=50, context=10, n_layer=1, n_head=3, n_embd=12)
block = Block(small).eval()
x = torch.randn(2, 7, 12)  # [B, T, C]
trace(block, x, is_causal=True, letters=dict(B=2, T=7, C=12, H=3, hs=4))

# %% [markdown]
# Is it what you built by hand, and what the library builds? PyTorch has the block as `nn.TransformerEncoderLayer`. (The
# name says encoder. With a causal mask it is a decoder's, as you know from 07.) With the same numbers inside, all three
# must agree.


# %% tags=["nbval-check-output"]
def by_hand(x, block):
    x = x + block.attention(layer_norm(x, block.norm1.weight, block.norm1.bias), causal(x.shape[1]))  # [B, T, C]
    h = layer_norm(x, block.norm2.weight, block.norm2.bias)  # [B, T, C]
    h = h @ block.mlp.widen.weight.T + block.mlp.widen.bias  # [B, T, 4C]
    h = h * 0.5 * (1 + torch.erf(h / math.sqrt(2)))
    return x + h @ block.mlp.output.weight.T + block.mlp.output.bias  # [B, T, C]


library = nn.TransformerEncoderLayer(12, 3, 48, activation="gelu", norm_first=True, batch_first=True, bias=True).eval()
mine, theirs, qkv = block.attention, library.self_attn, ("query", "key", "value")
with torch.no_grad():
    theirs.in_proj_weight.copy_(torch.cat([getattr(mine, name).weight for name in qkv]))
    theirs.in_proj_bias.copy_(torch.cat([getattr(mine, name).bias for name in qkv]))
    pairs = [(theirs.out_proj, mine.output), (library.linear1, block.mlp.widen), (library.linear2, block.mlp.output)]
    for target, source in [*pairs, (library.norm1, block.norm1), (library.norm2, block.norm2)]:
        target.load_state_dict(source.state_dict())
    expected = block(x, is_causal=True)
    print("by hand:    ", torch.allclose(by_hand(x, block), expected, atol=1e-5))
    print("the library:", torch.allclose(library(x, src_mask=~causal(7)), expected, atol=1e-5))

# %% [markdown]
# ## Dropout
#
# A model that has read the same text many times begins to know it by heart. One remedy is to disturb it while it learns:
# at each step a part $p$ of the numbers, drawn by lot, is set to 0, and nothing may depend on a single one of them.
# This is **dropout** ([Srivastava et al. 2014](https://jmlr.org/papers/v15/srivastava14a.html)). What is left is divided
# by $1 - p$, so that sums stay what they were on average.

# %% tags=["nbval-check-output"]
x, p = torch.ones(100_000), 0.2
dropped = torch.where(torch.rand(100_000) < p, 0.0, x / (1 - p))
print("values:", sorted({round(v, 3) for v in dropped.tolist()}), " mean:", round(dropped.mean().item(), 1))
layer = nn.Dropout(p)
print("training:", sorted({round(v, 3) for v in layer(x).tolist()}))
print("in use:  ", sorted({round(v, 3) for v in layer.eval()(x).tolist()}))

# %% [markdown]
# The last line is the one that people forget: outside training nothing is dropped, and `model.eval()` says so to every
# layer (`model.train()` switches it on again). Whoever measures without it measures a disturbed model. GPT-2 drops a
# tenth in three places: after the embedding, in the attention weights, and on what each part adds. A model that
# reads each text only once, as large ones do today, has little to know by heart, and most of them leave it out.
#
# ## GPT by hand
#
# Here is a whole model of the package, with random numbers, and you rebuild it with nothing but those numbers. `w` is a
# dict from names to tensors.

# %% tags=["nbval-check-output"]
config = GPTConfig(vocab_size=30, context=10, n_layer=2, n_head=3, n_embd=12)
model = GPT(config).eval()
with torch.no_grad():
    for p in model.parameters():
        p.add_(0.2 * torch.randn(p.shape))  # away from the ones and zeros of the beginning, which hide mistakes
w = model.state_dict()
for name in [name for name in w if "blocks.1" not in name]:
    print(f"{name:34} {list(w[name].shape)}")

# %% [markdown]
# Now the parts, each from its tensors. (A linear layer of PyTorch keeps its matrix as [out, in], so `x @ W.T`.)


# %%
def linear(x, name):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(x, name):
    return layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"])  # [B, T, C]


def listen(x, name, H=3):
    q, k, v = (split_heads(linear(x, f"{name}.{part}"), H) for part in ("query", "key", "value"))  # [B, H, T, hs]
    return linear(merge_heads(attend(q, k, v, causal(x.shape[1]))), f"{name}.output")  # [B, T, C]


def think_at(x, name):
    return linear(F.gelu(linear(x, f"{name}.widen")), f"{name}.output")  # [B, T, C] -> [B, T, 4C] -> [B, T, C]


# %% [markdown]
# And the model. Tokens plus positions make the stream, the blocks add to it, a last norm reads it. The **head** turns
# each vector into $V$ logits, one for each token that could come next. In GPT-2 the head is the table of tokens once
# more: the **weights are tied** (05), and the logit of a token is the dot product of the stream with that token's row.


# %% tags=["nbval-check-output"]
def gpt(ids):
    x = w["embedding.token.weight"][ids] + w["embedding.position.weight"][: ids.shape[1]]  # [B, T, C]
    for layer in range(2):
        x = x + listen(norm(x, f"blocks.{layer}.norm1"), f"blocks.{layer}.attention")  # [B, T, C]
        x = x + think_at(norm(x, f"blocks.{layer}.norm2"), f"blocks.{layer}.mlp")  # [B, T, C]
    return norm(x, "norm") @ w["embedding.token.weight"].T  # [B, T, V]


for _ in range(20):
    ids = torch.randint(30, (4, 7))  # [B, T]
    with torch.no_grad():
        assert torch.allclose(gpt(ids), model(ids)[0], atol=1e-4)
print("your GPT is the package's, on 20 random batches; largest logit about", round(gpt(ids).abs().max().item()))
assert_causal(gpt, ids, vocab_size=30)
print("and it does not see the future")

# %%
show(GPT.forward)

# %% [markdown]
# That is the whole of it. The rest of `forward` looks after what can go wrong (a text that is too long, an id without a
# row), the cache of notebook 10, and the loss.
#
# ## The first loss is ln V
#
# A fresh model knows nothing, and it should *know* that it knows nothing. You know $V$. What is the first loss? (A
# logarithm is in order: `math.log(V)`.)

# %% tags=["nbval-check-output"]
predict("8.d", ...)

# %%
inputs, targets = text.batch(0)  # [B, T] and [B, T]
rows = []
for std in (0.002, 0.02, 0.1, 0.3, 1.0):
    torch.manual_seed(8)
    model = GPT(GPTConfig(V, context=24, n_layer=4, n_head=4, n_embd=64))
    with torch.no_grad():
        for p in (p for p in model.parameters() if p.dim() == 2):
            p.normal_(std=std)
        logits, loss = model(inputs, targets)
    rows.append((std, f"{logits.std():.2f}", f"{loss:.2f}", f"{loss - math.log(V):.2f}"))
pictures.table(rows, ["deviation of the weights", "of the logits", "first loss", "above ln V"], align="rrrr")

# %% [markdown]
# <details><summary>Answer</summary>
#
# ln V. With logits near 0 each token gets the probability 1/V, and −ln(1/V) = ln V.
# </details>
#
# From above: numbers that are small enough give logits near 0, and the loss of an honest guess. GPT-2 draws with a
# deviation of 0.02. With large numbers the logits are far apart, so the model is certain, of nonsense, and pays for
# it. Training must first take this certainty back. The last row is no invention: 1.0 is what `nn.Embedding` draws by
# itself if nobody tells it otherwise, and with tied weights the head gets it too.
#
# So the first loss is the cheapest test that there is. Before you train, compare it with $\ln V$. Above it: the
# first numbers are too large. Below it: the model has seen the answer.
#
# GPT-2 does one thing more. Each of the $L$ blocks adds to the stream twice. Independent things add up in their squares,
# so $2L$ of them make the stream longer by a factor that grows as $\sqrt{2L}$. The matrices that write into the stream, and
# no others, therefore begin with $0.02 / \sqrt{2L}$.

# %%
show(GPT._initialise)


# %% [markdown]
# Watch the stream itself. This function notes, at each block, how long the stream is and how long what the two parts
# add.


# %%
@torch.no_grad()
def along_the_stream(model, ids):
    length, seen = lambda x: x.norm(dim=-1).mean().item(), {"stream": [], "attention adds": [], "MLP adds": []}
    hooks = []
    for block in model.blocks:
        hooks.append(block.register_forward_pre_hook(lambda _, args: seen["stream"].append(length(args[0]))))
        hooks.append(block.attention.register_forward_hook(lambda *a: seen["attention adds"].append(length(a[-1]))))
        hooks.append(block.mlp.register_forward_hook(lambda *a: seen["MLP adds"].append(length(a[-1]))))
    model(ids)
    for hook in hooks:
        hook.remove()
    return {name: list(enumerate(values)) for name, values in seen.items()}


torch.manual_seed(8)
deep = GPT(GPTConfig(V, context=24, n_layer=12, n_head=4, n_embd=96)).eval()
scaled = along_the_stream(deep, inputs)
for block in deep.blocks:
    block.attention.output.weight.data *= 24**0.5  # undo the division by √(2L)
    block.mlp.output.weight.data *= 24**0.5
plain = along_the_stream(deep, inputs)
lengths = {**scaled, "stream, not divided": plain["stream"], "MLP adds, not divided": plain["MLP adds"]}
pictures.lines(lengths, "block", "length of the vector (mean over [B, T])")

# %% [markdown]
# Compare the two lines that are called *stream*. With the division, all twelve blocks together add about as much as was
# there at the beginning, and each of them little. Without it the stream is soon made of additions, and the embedding is
# a small part of it. The picture is of the first moment, before any training.
#
# ## Exactly GPT-2
#
# GPT-2 was published in four sizes ([Radford et al.
# 2019](https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)), of which
# you need four numbers each. `GPTConfig.gpt2` has them. To count parameters one need not store any: on PyTorch's device
# `meta` a tensor has a shape and no numbers. At the right is what was published.

# %% tags=["nbval-check-output"]
published = {"124M": 124_439_808, "355M": 354_823_168, "774M": 774_030_080, "1558M": 1_557_611_200}
rows = []
for size, count in published.items():
    config = GPTConfig.gpt2(size)
    with torch.device("meta"):
        built = GPT(config).count_parameters()
    assert built == count == gpu.count_parameters(config)
    rows.append((size, config.n_layer, config.n_head, config.n_embd, f"{built:,}", f"{count:,}"))
pictures.table(rows, ["GPT-2", "L", "H", "C", "parameters of ours", "published"], align="lrrrrr")

# %% [markdown]
# Equal, to the last one. (The paper itself says 117M, 345M, 762M and 1542M. OpenAI's [repository](https://github.com/openai/gpt-2)
# corrects these counts; the published files hold the numbers at the right, and the names 124M to 1558M are OpenAI's.)
#
# Equal counts are not equal models. The library `transformers` has its own GPT-2. Give it random numbers, load them
# through the course's door to that library (opened in 11), and compare the logits. The cell needs `transformers`,
# which the course does not require.

# %%
try:
    with warnings.catch_warnings(action="ignore"):  # it would like to draw its own progress bars
        from transformers import GPT2Config, GPT2LMHeadModel
except ImportError:
    print("transformers is not installed here, so this comparison is left out")
else:
    torch.manual_seed(8)
    sizes = dict(vocab_size=97, n_positions=20, n_embd=36, n_layer=3, n_head=4)
    reference = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)).eval()
    ours = huggingface.load_model(reference).eval()
    ids = torch.randint(97, (2, 15))  # [B, T]
    with torch.no_grad():
        difference = (ours(ids)[0] - reference(ids).logits).abs().max() / reference(ids).logits.abs().max()
    print(f"largest difference, relative to the largest logit, below 1e-5: {bool(difference < 1e-5)}")

# %% [markdown]
# ## At size: where the parameters and the work are
#
# Before you look: which part of GPT-2 124M holds the most parameters?

# %% tags=["nbval-check-output"]
predict("8.e", ...)

# %%
models = {"fables (this course)": trained.config, "GPT-2 124M": GPTConfig.gpt2("124M"),
          "GPT-2 1558M": GPTConfig.gpt2("1558M")}  # fmt: skip
pictures.shares({name: gpu.parameters_by_part(config) for name, config in models.items()}, "parameters")

# %% [markdown]
# <details><summary>Answer</summary>
#
# c. The MLPs have 8 C² numbers in each block, attention has 4 C². The table of tokens is the second in 124M.
# </details>
#
# The table is a matter of $V C$, the blocks of $12 L C^2$. A small model with a large vocabulary is mostly table; a
# large one is mostly MLP. (The head has no share of its own, because it is tied. The fables model has no table of
# positions: it knows them in another way, see 11.) Now the work. For one token, a number of a matrix costs a
# multiplication and an addition, two **FLOPs**; and attention compares with T keys and averages T values.

# %%
work = {"fables, T = 100": gpu.flops_by_part(trained.config, T=100)}
for T in (64, 1024, 16_384):
    work[f"124M, T = {T:,}"] = gpu.flops_by_part(models["GPT-2 124M"], T)
work["1558M, T = 1,024"] = gpu.flops_by_part(models["GPT-2 1558M"], T=1024)
pictures.shares(work, "FLOPs a token")

# %% [markdown]
# Three things to see. The head is free in parameters and not in work. *Attention* proper, queries times keys and weights
# times values, is little at first, and grows with T while everything else stays. (GPT-2 ends at T = 1,024. The long row
# says what would be.) And the projections and the MLP hold their ratio of 1 to 2. The picture counts FLOPs; how fast a
# machine does them is another question (14).
#
# Here it is in milliseconds, with a GPT-2 of full size, its numbers random:

# %%
torch.manual_seed(8)
torch.set_num_threads(2)
giant = GPT(GPTConfig.gpt2("124M")).eval()
rows = []
with torch.no_grad():
    giant(torch.zeros(1, 32, dtype=torch.long))  # once to warm up
    for T in (32, 64, 128):
        ids = torch.randint(50257, (1, T + 1))
        start = time.perf_counter()
        loss = giant(ids[:, :-1], ids[:, 1:])[1]
        took = time.perf_counter() - start
        flops = T * gpu.flops_per_token(giant.config, T, backward=False)
        rows.append((T, f"{flops / 1e9:.1f}", f"{1000 * took:.0f}", f"{flops / took / 1e9:.0f}", f"{loss:.2f}"))
assert abs(loss - math.log(50257)) < 0.5
del giant
torch.set_num_threads(1)
pictures.table(rows, ["T", "GFLOP (10⁹)", "milliseconds", "GFLOP a second", "loss"], align="rrrrr")

# %% [markdown]
# Each row is twice the T, and so about twice the work. (The milliseconds are of one machine, measured once.) Look at the
# last column. GPT-2 has 50,257 tokens, and `math.log(50257)` is 10.82.
#
# ## The break-it lab
#
# Here are eight patients. Each is a small GPT of four blocks in which **one** ingredient is broken, and each gets the
# same 240 batches of fables. (`training.train` is a box that we open in 09.) These are the faults:

# %% tags=["nbval-check-output"]
for fault, what in FAULTS.items():
    print(f"{fault:15} {what}")

# %% [markdown]
# The package breaks them with small changes in `gptlab/breaking.py`. For each patient you get the loss before training,
# after 50 steps, and at the end; and the answers to four questions that the loss does not ask:
#
# - *future*: does `assert_causal` find a leak?
# - *same*: one token is repeated six times. Are the six outputs equal?
# - *sharpest*: how large is the largest attention weight of a query, on average over the blocks? (1: it looks at one token.)
# - *looks*: at how many different tokens do the heads of a block look most, on average?
#
# And it has to write.


# %%
@torch.no_grad()
def examine(model):
    model.eval()
    ids = text.batch(500)[0][:8]  # [B, T]
    try:
        assert_causal(model, ids[:, :8], V)
        future = "hidden"
    except AssertionError:
        future = "seen"
    same = model(torch.full((1, 6), 9))[0][0]  # [6, V]
    equal = "equal" if (same - same[0]).abs().max() < 1e-3 else "differ"
    weights = [layer[:, :, 12:] for layer in watch(model, ids)]  # L times [B, H, 12, T]
    sharpest = torch.stack([layer.amax(dim=-1).mean() for layer in weights[1:]]).mean().item()
    most = torch.cat([layer.argmax(dim=-1).transpose(1, 2).flatten(0, 1) for layer in weights])  # [L·B·12, H]
    looks = sum(len(set(row)) for row in most.tolist()) / len(most)
    written = torch.tensor([tokenizer.encode("Once, in a dark forest,")])  # [1, T]
    n = written.shape[1]
    for _ in range(7):
        written = torch.cat([written, model(written)[0][:, -1:].argmax(dim=-1)], dim=1)
    return future, equal, f"{sharpest:.2f}", f"{looks:.1f}", tokenizer.decode(written[0, n:].tolist())


# %%
plan = training.TrainConfig(steps=240, learning_rate=1e-2, warmup=20, decay=0.5, evaluate_every=0)
table, ends = {}, {}


def admit(name, fault):
    torch.manual_seed(8)
    model = broken(GPTConfig(V, context=24, n_layer=4, n_head=4, n_embd=64), fault)
    losses = training.train(model, text, plan, progress=False).losses
    ends[name] = sum(losses[-20:]) / 20
    course = [f"{loss:.2f}" for loss in (losses[0], sum(losses[45:55]) / 10, ends[name])]
    table[name] = (name, *course, *examine(model))
    print(f"{name} is done")


admit("sound", "nothing")
faults = list(FAULTS)[1:]
random.Random(8).shuffle(faults)  # who is who is drawn by lot
secret = dict(zip("ABCDEFGH", faults, strict=True))
for name in "ABC":
    admit(name, secret[name])

# %%
for name in "DEFGH":
    admit(name, secret[name])

# %%
header = ["", "first", "after 50", "at the end", "future", "same", "sharpest", "looks", "and it writes"]
pictures.table(table.values(), header, align="lrrrllrrl", caption=f"floor {floor:.2f}, ln V {math.log(V):.2f}")

# %% [markdown]
# Take your time. Compare each row with the sound one, column by column, and ask of each fault what it must lead to.
# Then write eight words in place of the dots, for A to H: `predict("8.f", ("mask", "heads", …))`. The answers are folded
# below.

# %% tags=["nbval-check-output"]
predict("8.f", ...)

# %% [markdown]
# <details><summary>Who is who, and how to see it</summary>
#
# - **A is heads**: one head. Its loss looks sound. It looks at one token at a time, where four heads look at several.
# - **B is mask**: the future is seen. Its loss is too good, far below the sound one (train it longer, and it falls below the
#   floor), and it cannot write.
# - **C is initialisation**: the first loss is many times ln V. It recovers, and has lost time.
# - **D is positions**: six equal tokens give six equal outputs. Its loss looks sound, because the causal
#   mask tells it enough about the order (Haviv et al. 2022, see notebook 05). An encoder has no such mask, and would be lost.
# - **E is scale**: the weights are sharper than they should be. Its loss looks sound, because the first numbers are so small
#   that the scores are near 0 with or without the division. With larger heads or larger first numbers, attention would
#   begin by staring at one token (06), and where softmax is certain, no gradient comes through.
# - **F is targets**: a loss of almost 0, and no leak. It has learned to repeat what it was given, and it writes that.
# - **G is residual**: it stops at the frequencies of the tokens, and writes the most frequent one. Whatever it reads, the
#   outputs are equal: nothing comes through.
# - **H is norm**: it learns late, with a wild start. The numbers of the stream are tiny at first, and nothing makes them
#   larger for those who read.
# </details>

# %%
named = {f"{name}: {secret[name]}" if name in secret else name: round(value, 2) for name, value in ends.items()}
assert ends["B"] < 0.9 * ends["sound"] and ends["G"] > 4 and ends["F"] < 0.1
pictures.compare(named, "nats a token, mean of the last 20 steps", floor=floor, best=None)

# %% [markdown]
# Look for the bars that are as long as that of the sound model. Three ingredients are missing in them, and the loss does
# not say so, in ten seconds at this size. Two bars are *too* short. **A loss curve is not a test.** A model is
# tested by questions that have one right answer: is the future hidden, do places differ, does it begin at $\ln V$, does it
# equal a reference. The picture does not show how much the faults would cost a model that is trained for weeks.
#
# ## Real text at size: a trained model, taken apart
#
# Now the other way round: take a model that has learned everything, and remove a part *after* training. The committed
# model has two blocks with eight heads each. (It is built as models of today are, with other positions and another
# bend, and a convolution; notebook 11 takes that apart.) First, its stream on the sentence that travels with you:

# %%
ids = torch.tensor([tokenizer.encode(fables.TRAVELLER)])  # [B, T]
seen = along_the_stream(trained, ids)
rows = [(n, *(f"{values[n][1]:,.0f}" for values in seen.values())) for n in range(2)]
pictures.table(rows, ["block", *seen], align="rrrr")

# %% [markdown]
# In an untrained model the parts add little. Here they have learned to shout: what the first block adds is far longer
# than what it found. Nothing holds them back, since everybody reads the stream through a norm, which sees its direction
# and not its length.
#
# Which block is missed more, if it is taken out and the stream flows past it?

# %% tags=["nbval-check-output"]
predict("8.g", ...)


# %%
evaluation = training.StoryEvaluation(fables.tell(48, seed=7), tokenizer, end)


def without(part, hook, kind="forward"):
    handle = getattr(part, f"register_{kind}_hook")(hook)
    result = evaluation.by_fact(trained)
    handle.remove()
    return result


def silent(part, args, output):
    return torch.zeros_like(output)  # it adds nothing to the stream


results = {"nothing": evaluation.by_fact(trained)}
for n, block in enumerate(trained.blocks):
    results[f"attention of block {n}"] = without(block.attention, silent)
    results[f"MLP of block {n}"] = without(block.mlp, silent)
    results[f"block {n}"] = without(block, lambda part, args, output: args[0])  # what came in goes out
parts = {name: evaluation.summary(result) for name, result in results.items()}
rows = [(name, *(f"{part[kind]:.1f}" for kind in ("form", "recalled", "free", "excess"))) for name, part in parts.items()]
pictures.table(rows, ["taken out", "form", "recalled", "free", "all (nats a story above the floor)"], align="lrrrr")

# %% [markdown]
# <details><summary>Answer</summary>
#
# a, the first, by far. The second reads what the first has written, and meets a stream that it never saw in training.
# </details>
#
# Without block 0 nothing is left. Without the attention of block 1 hardly anything is lost: in this model the first
# layer does nearly all of the listening. (This says what the *trained* model relies on. A model that is trained without
# the part from the beginning finds other ways.) So take out single heads of block 0. Each has its own channels in what is
# merged, and setting them to 0 silences it.


# %%
def without_head(n, head):
    def cut(part, args):
        merged = args[0].clone()  # [B, T, C]  the heads side by side
        merged[..., head * 16 : (head + 1) * 16] = 0  # hs = 16
        return (merged,)

    return without(trained.blocks[n].attention.output, cut, "forward_pre")


heads = {f"head {h}": without_head(0, h) for h in range(8)}
parts = {name: evaluation.summary(result) for name, result in heads.items()}
rows = [(name, *(f"{part[kind]:.1f}" for kind in ("form", "recalled", "free"))) for name, part in parts.items()]
pictures.table(rows, ["silenced, in block 0", "form", "recalled", "free (nats a story above the floor)"], align="lrrr")

# %% [markdown]
# They have divided the work, and nobody told them to. One head is missed for the form of the sentences, another for
# what must be recalled. Take the one whose silence costs the recalled facts most, and ask which facts:

# %%
most = max(parts, key=lambda name: parts[name]["recalled"])
print("missed most for what must be recalled:", most)
pictures.by_fact(heads[most], k=9, title=f"without {most} of block 0")

# %% [markdown]
# The longest bars name the facts that this one head fetches. What the other heads could do in its place, if they were
# given time to learn it, the picture does not show.

# %% [markdown]
# ## Exercises
#
# Write your code in place of the dots and run the cell. `check` runs it on fresh inputs and names the most likely
# mistake; `hint("8.1")` and `solution("8.1")` help (import them from `gptlab.exercises`).

# %%
find("8.1")


# %% tags=["nbval-check-output"]
def norm_each_position(x, gain, bias, eps): ...


check("8.1", norm_each_position)

# %%
find("8.2")


# %% tags=["nbval-check-output"]
def pre_norm_block(x, listen, think, norm1, norm2): ...


check("8.2", pre_norm_block)

# %%
find("8.3")


# %% tags=["nbval-check-output"]
def mlp(x, W1, b1, W2, b2): ...


check("8.3", mlp)

# %%
find("8.4")


# %% tags=["nbval-check-output"]
def count_parameters(V, T, L, C): ...


check("8.4", count_parameters)

# %%
find("8.5")


# %% tags=["nbval-check-output"]
def first_deviation(name, L): ...


check("8.5", first_deviation)

# %%
find("8.6")


# %% tags=["nbval-check-output"]
def gpt_logits(ids, E, P, blocks, norm): ...


check("8.6", gpt_logits)

# %%
find("8.7")


# %% tags=["nbval-check-output"]
def flops_a_token(V, L, C, T): ...


check("8.7", flops_a_token)

# %%
find("8.8")


# %% tags=["nbval-check-output"]
def dropout(x, draws, p, training): ...


check("8.8", dropout)

# %%
find("8.9")


# %% tags=["nbval-check-output"]
def first_loss(logits, targets): ...


check("8.9", first_loss)

# %% [markdown]
# An open one, without a check: add a ninth fault to the lab. Swap the axes in `merge_heads`, share one norm among all
# blocks, double the residual, take post-norm, whatever you have once done by mistake. Write down what you expect in each
# column *before* you run it.

# %%
progress()

# %%
recap(8)

# %% [markdown]
# ## What to remember
#
# 1. Each part reads a normed copy of the stream and *adds* to it. The sum is the way on which the gradient comes back.
# 2. Layer norm: each position over its own channels. In front of the part (pre-norm) since GPT-2; after the sum before.
# 3. A block listens with attention and thinks with an MLP: C to 4C, a bend, back to C. Two thirds of a block are MLP.
# 4. The first loss is ln V. If it is not, find out why before you train.
# 5. Equal counts, equal logits, no leak: a model is tested by questions with one right answer, not by its loss curve.
#
# **Three questions**
#
# 1. A block has C = 100. How many numbers do its matrices hold, biases and norms left out?
#
# <details><summary>Answer</summary>
# 12 C² = 120,000: 4 C² in attention, 8 C² in the MLP.
# </details>
#
# 2. Why does a pre-norm model have one norm after the last block, and a post-norm model has not?
#
# <details><summary>Answer</summary>
# In a pre-norm model nobody has normed the stream itself, so the head would read it at whatever length it has grown to.
# In a post-norm model the last block ends with a norm.
# </details>
#
# 3. Your model begins with a loss of 40, and V is 859. Two days later it is the best model that you have. Was there
# anything wrong?
#
# <details><summary>Answer</summary>
# Yes. It began certain of nonsense, and spent its first steps on taking that back. It recovered; with better first
# numbers it would have been there sooner.
# </details>
#
# **To go deeper:** Andrej Karpathy, [Let's reproduce GPT-2](https://www.youtube.com/watch?v=l8pRSuU81PU) (2024), the first
# hour, in which this notebook's model is typed in; Elhage et al., [A Mathematical Framework for Transformer
# Circuits](https://transformer-circuits.pub/2021/framework/index.html) (2021), on the residual stream. In the package,
# `gptlab/model.py` from top to bottom.
#
# ## Next
#
# The model stands, and it knows nothing. Its loss is ln V, and all that is missing is which numbers should be others.
# You have called an optimiser several times here without a question: *AdamW*, a rate, a warm-up. [Notebook
# 09](09_training.ipynb) opens the box and takes the model from noise to stories.
