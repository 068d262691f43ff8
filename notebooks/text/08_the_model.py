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
# *Twelve layers, one upon the other, learn less than one. A sum and a norm mend it, and what comes out is GPT-2, to the
# last number.*
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
# **It builds on** embeddings (05), attention (06) and masks (07). **To run it** takes about 60 seconds on two CPU cores
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
from gptlab.corpora import fables
from gptlab.embedding import TokenAndPositionEmbedding
from gptlab.evaluation import StoryEvaluation
from gptlab.exercises import check, find, predict, progress, quiz, recap
from gptlab.lab.breaking import FAULTS, broken
from gptlab.masking import assert_causal, causal
from gptlab.model import GPT, MLP, Block, GPTConfig
from gptlab.pictures.style import DASHES, SERIES, canvas, finish

torch.set_num_threads(1)  # matrices this small gain nothing from a second core
torch.manual_seed(8);

# %% tags=["nbval-check-output"]
pictures.pipeline("model")

# %% [markdown]
# Three questions about the notebooks before. Put letters in place of the dots, such as `quiz("model", ["a", "b", "c"])`; or
# go on, nothing depends on it.

# %% tags=["nbval-check-output"]
quiz("model", [..., ..., ...])

# %% [markdown]
# ## The question: is deeper better?
#
# One layer of attention fetches from other places. A second layer could work with what the first has fetched, and a
# third with that. So stack them. Here are the fables, cut into batches, and a model with `L` layers. In each layer
# every position first *listens* (attention, with the causal mask), and then *thinks* for itself: two matrices with
# something bent in between, as in notebook 07. You will look into the thinking further down.

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


class Think(nn.Module):
    def __init__(self, C):
        super().__init__()
        self.up, self.down = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))  # [B, T, C] -> [B, T, 4C] -> [B, T, C]


# %% [markdown]
# These are the two **parts** of a layer. `F.gelu` is the bend. The stack holds $2L$ parts, a listening one and a
# thinking one in turn, and sends $x$ through them. *How* it does so is the question of this notebook, so we keep that
# in a function of its own, the `way`. The first way is the plain one: what a part computes takes the place of $x$.


# %%
def replace(x, part):
    return part(x)


class Stack(nn.Module):
    def __init__(self, L, way, C=48, H=4):
        super().__init__()
        torch.manual_seed(8)
        self.embedding = TokenAndPositionEmbedding(V, 24, C)
        self.head = nn.Linear(C, V)
        self.parts = nn.ModuleList()
        for _ in range(L):
            self.parts.extend([Listen(C, H), Think(C)])
        for p in self.parts.parameters():
            nn.init.xavier_normal_(p) if p.dim() == 2 else nn.init.zeros_(p)
        self.way, self.last = way, nn.Identity()  # before the head: nothing, for now

    def forward(self, ids):
        x = self.embedding(ids)  # [B, T, C]
        self.stream = [x]  # kept, so that we can look at it
        for part in self.parts:
            x = self.way(x, part)  # [B, T, C]
            self.stream.append(x)
        return self.head(self.last(x))  # [B, T, V]


# %% [markdown]
# `xavier_normal_` draws the first numbers of a matrix such that neither its results nor the gradients become much
# larger or smaller than what came in ([Glorot and Bengio 2010](https://proceedings.mlr.press/v9/glorot10a.html)).
# Every model gets the same hundred batches.


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
    losses = learn(Stack(L, replace))
    runs["1 layer" if L == 1 else f"{L} layers"] = losses
    print(f"L = {L:2}: {losses[0]:.2f} at first, {sum(losses[-10:]) / 10:.2f} at the end")
assert sum(runs["1 layer"][-10:]) / 10 < 3.5 and sum(runs["12 layers"][-10:]) / 10 > 4.3

# %%
last_ten = {name: sum(losses[-10:]) / 10 for name, losses in runs.items()}
pictures.compare(last_ten, "nats a token", floor={"frequencies alone": frequencies})

# %% [markdown]
# It is the other way round: the deeper, the worse. Twelve layers arrive at the dotted line, which is what somebody pays
# who has counted the tokens and looks at nothing. (Three and twelve have more numbers to learn with, so
# they should do at least as well.) Deep networks had this trouble long before attention; [He et al.
# 2015](https://arxiv.org/abs/1512.03385) called it degradation.
#
# ## By hand: what twelve parts do to a number
#
# Look at the stack before any training. How large is $x$ after each part, and how much does the loss notice if you
# nudge $x$ there? The second is the gradient, which you know from notebook 05. (PyTorch's `.norm()` is the length of a
# vector. The *norm* that you meet below is another thing.)


# %%
def sizes_and_gradients(model):
    inputs, targets = text.batch(0)
    loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
    for x in model.stream:
        x.retain_grad()
    loss.backward()
    sizes = [x.detach().norm(dim=-1).mean().item() for x in model.stream]  # a mean over [B, T]
    return sizes, [x.grad.norm().item() for x in model.stream]  # over the whole batch


sizes, gradients = sizes_and_gradients(Stack(12, replace))
rows = [(n, f"{sizes[n]:.1e}", f"{gradients[n]:.1e}") for n in (0, 6, 12, 18, 24)]
pictures.table(rows, ["parts passed", "size of x", "gradient at x"], align="rrr")

# %% [markdown]
# (1.0e-02 is 1.0 · 10⁻², one hundredth.) Read it from above: $x$ becomes smaller by some factor with every few parts.
# Read it from below: so does the gradient, on its way back. What arrives at the first layers is next to nothing, so
# they do not learn, and what they send up is next to nothing, so the others have nothing to learn from.
#
# The matrices are not to blame, their first numbers were chosen with care. But attention takes averages, and the
# average of vectors that point in different directions is shorter than they are. And the bend takes away about half
# of a small number. A pencil is enough to see what follows. Let a part multiply by 0.5. Two of them give 0.25, and
# twelve?

# %% tags=["nbval-check-output"]
print("replace, twelve times:", round(0.5**12, 6))

# %% [markdown]
# Now change one thing. What the part computes is not put in place of $x$ but **added** to it: $x + 0.5\,x$. Where are
# you after twelve parts? Write a number in place of the dots, or go on.

# %% tags=["nbval-check-output"]
predict("model.a", ...)

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
# gradient comes through. There is a path from the first layer to the last on which it is multiplied by 1 and nothing
# else.
#
# So here is the second way. One line:


# %%
def add(x, part):
    return x + part(x)


sizes, gradients = sizes_and_gradients(Stack(12, add))
rows = [(n, f"{sizes[n]:.1e}", f"{gradients[n]:.1e}") for n in (0, 6, 12, 18, 24)]
pictures.table(rows, ["parts passed", "size of x", "gradient at x"], align="rrr")

# %% [markdown]
# Nothing vanishes any more. It explodes instead, as your pencil has said: a part whose input has grown adds more, so
# the next one gets more. One gift has come with it, though. $x$ is no longer a chain of results, each of which replaces
# the one before. It is one vector a position that runs through the whole model. Each part reads it, and adds something.
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
root = variance.sqrt()
print("mean:", mean.item(), " variance:", variance.item(), " root of it:", round(root.item(), 3))
print("normed:", ((x - mean) / root).numpy().round(3))

# %% [markdown]
# Mean 0, and a spread (a standard deviation) of 1. Check the first number with a pencil: $(2 - 5) / 2.236$. For a
# whole batch each position does this for itself, over its own channels. Two more things belong to it: a tiny
# $\epsilon$ under the root, so that four equal numbers do not divide by 0; and a **gain** and a **bias** for each
# channel, both learned, which begin as 1 and 0.
#
# $$\mathrm{norm}(x) = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \cdot g + b$$
#
# Here $\mu$ is the mean and $\sigma^2$ the variance of the position's channels, $g$ the gain and $b$ the bias.


# %% tags=["nbval-check-output"]
def layer_norm(x, g, b, eps=1e-5):
    mean = x.mean(dim=-1, keepdim=True)  # [B, T, 1]
    variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)  # [B, T, 1]
    return (x - mean) / (variance + eps).sqrt() * g + b  # [B, T, C]


x, g, b = torch.randn(2, 3, 5), torch.randn(5), torch.randn(5)  # [B, T, C], [C], [C]
theirs = F.layer_norm(x, (5,), g, b)  # [B, T, C]
print("the library agrees:", torch.allclose(layer_norm(x, g, b), theirs, atol=1e-6))

# %% [markdown]
# This is **layer norm** ([Ba, Kiros and Hinton 2016](https://arxiv.org/abs/1607.06450)). What does it do to a stream
# that has grown?

# %% tags=["nbval-check-output"]
predict("model.b", ...)

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

    def centred(ids, dim=dim):
        x = table[ids]  # [B, T, C]
        return (x - x.mean(dim, keepdim=True)) / x.std(dim, keepdim=True)

    try:
        assert_causal(centred, torch.tensor([[3, 1, 4, 1, 5]]), vocab_size=9)
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
#
# Two more ways, then. They need norms, so `normed` gives each part of a stack one of its own, with its own gain and
# bias.


# %%
def post(x, part):
    return part.norm(x + part(x))


def pre(x, part):
    return x + part(part.norm(x))


def normed(stack, C=48):
    for part in stack.parts:
        part.norm = nn.LayerNorm(C)
    if stack.way is pre:
        stack.last = nn.LayerNorm(C)  # the one at the end
    return stack


arriving = {}
for way in (replace, add, post, pre):
    arriving[way.__name__] = sizes_and_gradients(normed(Stack(12, way)))[1]
points = {name: list(enumerate(values)) for name, values in arriving.items()}
pictures.lines(points, "parts passed (two a layer)", "gradient at x", log="y")

# %% [markdown]
# Read from the right, where the loss is, to the left, where the gradient has to arrive. `replace` loses it, `add` makes
# it explode, and with either norm it stays in one order of magnitude over all 24 parts. The picture is of random
# numbers before any training. It does not show how well they learn. So let them:

# %%
for way in (add, post, pre):
    runs[way.__name__] = losses = learn(normed(Stack(12, way)))
    end_loss = sum(losses[-10:]) / 10
    print(f"{way.__name__:5} 12 layers: {losses[0]:7.2f} at first, {end_loss:7.2f} at the end")
assert sum(runs["pre"][-10:]) / 10 < 3 < sum(runs["post"][-10:]) / 10

# %% [markdown]
# With pre-norm twelve layers learn, at last, and more than one layer did. With post-norm, at this rate and in these
# hundred steps, they do not. It can be trained: it wants smaller steps at first, a long warm-up (10). [Xiong et al.
# 2020](https://arxiv.org/abs/2002.04745) found a reason. At the start, the gradient of the *last* layer's matrices is
# larger with post-norm than with pre-norm, by a factor that grows as $\sqrt{L}$. Measure it, for the matrix that comes
# last in the stack:

# %%
rows = []
for L in (3, 12, 27):
    last = []
    for way in (post, pre):
        model = normed(Stack(L, way))
        sizes_and_gradients(model)
        last.append(model.parts[-1].down.weight.grad.norm().item())
    after_post, after_pre = last
    ratio = f"{after_post / after_pre:.1f}"
    rows.append((L, f"{after_post:.2f}", f"{after_pre:.2f}", ratio, f"{math.sqrt(L):.1f}"))
header = ["L", "gradient, post", "gradient, pre", "post / pre", "√L"]
pictures.table(rows, header, align="rrrrr")

# %% [markdown]
# The last two columns grow together, though not exactly (each model is drawn once). In a pre-norm model the stream
# gets longer with depth, and the norm at the end divides by that length, so each single part matters less, and its
# gradient is tamer. Which real models use which:

# %% tags=["nbval-check-output"]
rows = [
    ("Transformer (Vaswani et al. 2017)", "post", "LayerNorm"),
    ("GPT-1 (Radford et al. 2018)", "post", "LayerNorm"),
    ("BERT (Devlin et al. 2018)", "post", "LayerNorm"),
    ("GPT-2 (Radford et al. 2019)", "pre", "LayerNorm"),
    ("GPT-3 (Brown et al. 2020)", "pre", "LayerNorm"),
    ("Llama 1 and 2 (Touvron et al. 2023)", "pre", "RMSNorm (notebook 11)"),
    ("Llama 3 (Grattafiori et al. 2024)", "pre", "RMSNorm (notebook 11)"),
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
W1 = torch.tensor([[1.0, -1.0, 2.0], [0.0, 1.0, -2.0]])  # [C, 3]
W2 = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])  # [3, C]
b1, b2 = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 0.5])  # [3] and [C]
wide = x @ W1 + b1  # [3]
bent = wide.relu()  # [3]  the plainest bend: what is negative becomes 0
print("wide:", wide.tolist(), " bent:", bent.tolist(), " narrow:", (bent @ W2 + b2).tolist())

# %% [markdown]
# An inner channel is a column of $W_1$. The first asked "how much of the first number is there?". The last computed
# $1 \cdot 2 + 2 \cdot (-2) + 1$ (do it with a pencil), which is negative, so it was silent. Each inner channel is a
# question to the stream, with a threshold, and each has an answer to write back (a row of $W_2$). Geva et al.
# [2021](https://arxiv.org/abs/2012.14913) read trained MLPs as such a memory.
#
# Why bend at all?

# %% tags=["nbval-check-output"]
predict("model.c", ...)

# %% tags=["nbval-check-output"]
W1, W2 = torch.randn(6, 24), torch.randn(24, 6)  # [C, 4C] and [4C, C]
x = torch.randn(3, 7, 6)  # [B, T, C]
print("two matrices are one:", torch.allclose((x @ W1) @ W2, x @ (W1 @ W2), atol=1e-3))
print("with a bend:         ", torch.allclose((x @ W1).relu() @ W2, x @ (W1 @ W2), atol=1e-3))

# %% [markdown]
# <details><summary>Answer</summary>
#
# b, nothing. Without the bend the widening is for show.
# </details>
#
# GPT-2 bends more smoothly. It multiplies $h$ by $\Phi(h)$, the part of a normal distribution that lies below $h$:
# near 0 for a very negative $h$, one half at 0, near 1 for a large one. This is **GELU** ([Hendrycks and Gimpel
# 2016](https://arxiv.org/abs/1606.08415)).
#
# $$\mathrm{gelu}(h) = h \cdot \Phi(h) = h \cdot \tfrac{1}{2}\left(1 + \mathrm{erf}\frac{h}{\sqrt 2}\right)$$
#
# `erf`, the error function, is an S-shaped curve from −1 to 1 that every library of mathematics has.

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
alt = "Left: ReLU, a corner at 0, and GELU, smooth with a dip below 0. Right: a difference below 0.0005."
finish(figure, alt)

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
think = MLP(GPTConfig(vocab_size=9, n_embd=6, n_head=2))
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
# The package's has two more things: a convolution, which the models of this course use and GPT-2 does not (12), and
# dropout, which comes in a moment.

# %%
show(Block.forward)

# %% [markdown]
# What does one block cost? `trace` (04) runs a model once and writes down each line with the shape it made, the
# parameters it read, the bytes it wrote and its FLOPs (the multiplications and additions in products of matrices).
# Find the five lines that read a matrix, and the one line that reads none and has FLOPs all the same. (`query_norm`,
# `key_norm` and `n_kv_head` belong to newer models, see 11. Here they change nothing.)

# %%
small = GPTConfig(vocab_size=50, context=10, n_layer=1, n_head=3, n_embd=12)
block = Block(small).eval()
x = torch.randn(2, 7, 12)  # [B, T, C]
trace(block, x, is_causal=True, letters=dict(B=2, T=7, C=12, H=3, hs=4))

# %% [markdown]
# Step 12 reads two matrices, those of the MLP. The line without a matrix is attention proper: queries meet keys,
# weights meet values, and all of these were computed from the text.
#
# Is the block what you built by hand, and what the library builds? PyTorch has the block as
# `nn.TransformerEncoderLayer`. (The name says encoder. With a causal mask it is a decoder's, as you know from 07.)
# With the same numbers inside, all three must agree.


# %% tags=["nbval-check-output"]
def by_hand(x, block):
    h = layer_norm(x, block.norm1.weight, block.norm1.bias)  # [B, T, C]
    x = x + block.attention(h, causal(x.shape[1]))  # [B, T, C]  attention is from notebook 06
    h = layer_norm(x, block.norm2.weight, block.norm2.bias)  # [B, T, C]
    h = h @ block.mlp.up.weight.T + block.mlp.up.bias  # [B, T, 4C]
    h = h * 0.5 * (1 + torch.erf(h / math.sqrt(2)))
    return x + h @ block.mlp.down.weight.T + block.mlp.down.bias  # [B, T, C]


settings = dict(activation="gelu", norm_first=True, batch_first=True)
library = nn.TransformerEncoderLayer(12, 3, 48, **settings).eval()
mine, theirs = block.attention, library.self_attn
qkv = (mine.query, mine.key, mine.value)  # the library keeps these three in one tensor
pairs = {theirs.out_proj: mine.output, library.norm1: block.norm1, library.norm2: block.norm2,
         library.linear1: block.mlp.up, library.linear2: block.mlp.down}  # fmt: skip
with torch.no_grad():
    theirs.in_proj_weight.copy_(torch.cat([part.weight for part in qkv]))
    theirs.in_proj_bias.copy_(torch.cat([part.bias for part in qkv]))
    for target, source in pairs.items():
        target.load_state_dict(source.state_dict())
    expected = block(x, is_causal=True)
    print("by hand:    ", torch.allclose(by_hand(x, block), expected, atol=1e-5))
    print("the library:", torch.allclose(library(x, src_mask=~causal(7)), expected, atol=1e-5))

# %% [markdown]
# ## Dropout
#
# A model that has read the same text many times begins to know it by heart. One remedy is to disturb it while it
# learns: at each step a part $p$ of the numbers, drawn by lot, is set to 0, and nothing may depend on a single one of
# them. This is **dropout** ([Srivastava et al. 2014](https://jmlr.org/papers/v15/srivastava14a.html)). What is left
# is divided by $1 - p$, so that sums stay what they were on average.


# %% tags=["nbval-check-output"]
def values(x):
    return sorted({round(v, 3) for v in x.tolist()})  # each value once


x, p = torch.ones(100_000), 0.2
dropped = torch.where(torch.rand(100_000) < p, 0.0, x / (1 - p))
print("by hand: ", values(dropped), " mean:", round(dropped.mean().item(), 1))
layer = nn.Dropout(p)
print("training:", values(layer(x)))
print("in use:  ", values(layer.eval()(x)))

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
        p.add_(0.2 * torch.randn(p.shape))  # the first ones and zeros would hide mistakes
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
    three = [linear(x, f"{name}.{part}") for part in ("query", "key", "value")]  # [B, T, C] each
    q, k, v = (split_heads(y, H) for y in three)  # [B, H, T, hs] each
    found = merge_heads(attend(q, k, v, causal(x.shape[1])))  # [B, T, C]
    return linear(found, f"{name}.output")  # [B, T, C]


def think_at(x, name):
    wide = F.gelu(linear(x, f"{name}.up"))  # [B, T, 4C]
    return linear(wide, f"{name}.down")  # [B, T, C]


# %% [markdown]
# And the model. Tokens plus positions make the stream, the blocks add to it, a last norm reads it. Then comes the
# head of the model (not one of attention's heads, which share the word). It turns each vector into $V$ logits, one
# for each token that could come next. In GPT-2 the weights are tied (05): the head is the table of tokens once more,
# `head.weight` in the list above is `embedding.token.weight` under a second name. The logit of a token is the dot
# product of the normed stream with that token's row.


# %% tags=["nbval-check-output"]
def gpt(ids):
    E, P = w["embedding.token.weight"], w["embedding.position.weight"]  # [V, C] and [context, C]
    x = E[ids] + P[: ids.shape[1]]  # [B, T, C]
    for block in ("blocks.0", "blocks.1"):
        x = x + listen(norm(x, f"{block}.norm1"), f"{block}.attention")  # [B, T, C]
        x = x + think_at(norm(x, f"{block}.norm2"), f"{block}.mlp")  # [B, T, C]
    return norm(x, "norm") @ E.T  # [B, T, V]


for _ in range(20):
    ids = torch.randint(30, (4, 7))  # [B, T]
    with torch.no_grad():
        assert torch.allclose(gpt(ids), model(ids)[0], atol=1e-4)
print("your GPT is the package's, on 20 random batches")
print("largest logit about", round(gpt(ids).abs().max().item()))
assert_causal(gpt, ids, vocab_size=30)
print("and it does not see the future")

# %% [markdown]
# Now the package's own. Three of its lines are yours: the one with `embedding`, the one with `block(…)`, the one with
# `head`.

# %%
show(GPT.forward)

# %% [markdown]
# The rest looks after a text that is too long, the cache of notebook 11 (`cache`, `past`), the positions of notebook 12
# (`rotate`), and the loss.
#
# ## The first loss
#
# A fresh model knows nothing, and it should *know* that it knows nothing. You know $V$. What is the first loss? (You
# may let Python calculate: put an expression in place of the dots.)

# %% tags=["nbval-check-output"]
predict("model.d", ...)

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
header = ["deviation of the weights", "of the logits", "first loss", "above ln V"]
pictures.table(rows, header, align="rrrr")

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
# first numbers are too large. Clearly below it: the model has seen the answer.
#
# GPT-2 does one thing more. Each of the $L$ blocks adds to the stream twice. Independent things add up in their
# squares, so $2L$ of them make the stream longer by a factor that grows as $\sqrt{2L}$. The matrices that write into
# the stream, and no others, therefore begin with $0.02 / \sqrt{2L}$.

# %%
show(GPT._initialise)


# %% [markdown]
# Watch the stream itself. For that you need a **hook**: a function of yours that PyTorch calls whenever a module
# runs. A *forward hook* is handed the module, its inputs and its output. A *forward pre-hook* comes before, with the
# module and its inputs. The next function notes, at each block, how long the stream is and how long what the two
# parts add.


# %%
@torch.no_grad()
def along_the_stream(model, ids):
    seen, hooks = {"stream": [], "attention adds": [], "MLP adds": []}, []

    def note(name, x):
        seen[name].append(x.norm(dim=-1).mean().item())  # its length, a mean over [B, T]

    for block in model.blocks:
        hooks += [
            block.register_forward_pre_hook(lambda part, args: note("stream", args[0])),
            block.attention.register_forward_hook(lambda part, args, y: note("attention adds", y)),
            block.mlp.register_forward_hook(lambda part, args, y: note("MLP adds", y)),
        ]
    model(ids)
    for hook in hooks:
        hook.remove()
    return {name: list(enumerate(values)) for name, values in seen.items()}


# %%
torch.manual_seed(8)
deep = GPT(GPTConfig(V, context=24, n_layer=12, n_head=4, n_embd=96)).eval()
lengths = along_the_stream(deep, inputs)
for block in deep.blocks:
    block.attention.output.weight.data *= (2 * 12) ** 0.5  # undo the division by √(2L)
    block.mlp.down.weight.data *= (2 * 12) ** 0.5
plain = along_the_stream(deep, inputs)
for name in ("stream", "MLP adds"):
    lengths[f"{name}, not divided"] = plain[name]
pictures.lines(lengths, "block", "length of the vector (mean over [B, T])")

# %% [markdown]
# Compare the two lines that are called *stream*. With the division, the stream arrives at the last block less than one
# and a half times as long as it began: all that was added is about as long as the embedding, and two vectors of equal
# length at a right angle make one that is $\sqrt 2$ times as long. Without the division the stream is soon made of
# additions, and the embedding is a small part of it. The picture is of the first moment, before any training.
#
# ## Exactly GPT-2
#
# GPT-2 was published in four sizes ([Radford et al.
# 2019](https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)), which
# differ in three numbers: layers, heads, channels. `GPTConfig.gpt2` has them. To count parameters one need not store
# any: on PyTorch's device `meta` a tensor has a shape and no numbers. At the right is what was published.

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
# Equal, to the last one. (The paper itself says 117M, 345M, 762M and 1542M. OpenAI's
# [repository](https://github.com/openai/gpt-2) corrects these counts; the published files hold the numbers at the
# right, and the names 124M to 1558M are OpenAI's.)
#
# Equal counts are not equal models. The library `transformers` has its own GPT-2. Give it random numbers, load them
# through the course's door to that library (opened in 12), and compare the logits. The cell needs `transformers`,
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
        theirs = reference(ids).logits  # [B, T, V]
        difference = (ours(ids)[0] - theirs).abs().max() / theirs.abs().max()
    print("largest difference, relative to the largest logit, below 1e-5:", bool(difference < 1e-5))

# %% [markdown]
# ## At size: where the parameters and the work are
#
# Before you look: which part of GPT-2 124M holds the most parameters?

# %% tags=["nbval-check-output"]
predict("model.e", ...)

# %%
models = {"fables (this course)": trained.config, "GPT-2 124M": GPTConfig.gpt2("124M"),
          "GPT-2 1558M": GPTConfig.gpt2("1558M")}  # fmt: skip
by_part = {name: gpu.parameters_by_part(config) for name, config in models.items()}
pictures.shares(by_part, "parameters")

# %% [markdown]
# <details><summary>Answer</summary>
#
# c. The MLPs have 8 C² numbers in each block, attention has 4 C². The table of tokens is the second in 124M.
# </details>
#
# The table is a matter of $V C$, the blocks of $12 L C^2$. The fewer the channels and the larger the vocabulary, the
# more of a model is table; a large model is mostly MLP. (The head has no share of its own, because it is tied. The
# fables model has no table of positions: it knows them in another way, see 11. Norms and convolution are too few to
# be seen.)
#
# Now the work. For one token, a number of a matrix costs a multiplication and an addition, two FLOPs; and attention
# compares with T keys and averages T values. In the next picture *projections* are attention's four matrices, and
# *attention* is the rest of it.

# %%
work = {"fables, T = 100": gpu.flops_by_part(trained.config, T=100)}
for T in (64, 1024, 16_384):
    work[f"124M, T = {T:,}"] = gpu.flops_by_part(models["GPT-2 124M"], T)
work["1558M, T = 1,024"] = gpu.flops_by_part(models["GPT-2 1558M"], T=1024)
pictures.shares(work, "FLOPs a token")

# %% [markdown]
# Three things to see. The head is free in parameters and not in work. *Attention* proper, queries times keys and
# weights times values, is little at first, and grows with T while everything else stays. (GPT-2 ends at T = 1,024.
# The row with more says what would be.) And the projections and the MLP hold their ratio of 1 to 2. The picture
# counts FLOPs; how fast a machine does them is another question (17).
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
        speed = flops / took / 1e9  # in GFLOP a second
        rows.append((T, f"{flops / 1e9:.1f}", f"{1000 * took:.0f}", f"{speed:.0f}", f"{loss:.2f}"))
assert abs(loss - math.log(50257)) < 0.5
del giant
torch.set_num_threads(1)
header = ["T", "GFLOP (10⁹)", "milliseconds", "GFLOP a second", "loss"]
pictures.table(rows, header, align="rrrrr")

# %% [markdown]
# Each row is twice the T, and so about twice the work. The time need not double: large products keep a machine busier
# than small ones, as at the knee in 04. (It is one machine, shared with others, measured once.) Look at the last
# column. GPT-2 has 50,257 tokens, and `math.log(50257)` is 10.82. The model begins a little above, because its many
# channels let the logits differ somewhat.
#
# ## The break-it lab
#
# Here are eight patients. Each is a small GPT of four blocks in which **one** ingredient is broken, and each gets the
# same 240 batches of fables. (`training.train` is a box that we open in 10.) These are the faults:

# %% tags=["nbval-check-output"]
for fault, what in FAULTS.items():
    print(f"{fault:15} {what}")

# %% [markdown]
# The package breaks them with small changes in `gptlab/lab/breaking.py`. For each patient you get the loss before training,
# after 50 steps, and at the end; and the answers to four questions that the loss does not ask:
#
# - *future*: does `assert_causal` find a leak?
# - *same*: one token is repeated six times. Are the six outputs equal?
# - *sharpest*: how large is the largest attention weight of a query, on average over the blocks after the first? (1: it
#   looks at one token.)
# - *looks*: each head of a block has a token that it looks at most. How many different ones are they, on average?
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
    most = [layer.argmax(dim=-1).transpose(1, 2).flatten(0, 1) for layer in weights]
    most = torch.cat(most)  # [L·B·12, H]
    looks = sum(len(set(row)) for row in most.tolist()) / len(most)
    written = torch.tensor([tokenizer.encode("Once, in a dark forest,")])  # [1, T]
    n = written.shape[1]
    for _ in range(7):
        written = torch.cat([written, model(written)[0][:, -1:].argmax(dim=-1)], dim=1)
    wrote = tokenizer.decode(written[0, n:].tolist())
    return future, equal, f"{sharpest:.2f}", f"{looks:.1f}", wrote


# %%
schedule = dict(learning_rate=1e-2, warmup=20, decay_fraction=0.5)  # these words are for 10
plan = training.TrainConfig(steps=240, evaluate_every=0, **schedule)
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
header = ["", "first", "after 50", "at the end", "future", "same", "sharpest", "looks", "it writes"]
caption = f"floor {floor:.2f}, ln V {math.log(V):.2f}"
pictures.table(table.values(), header, align="lrrrllrrl", caption=caption)

# %% [markdown]
# Take your time. Compare each row with the sound one, column by column, and ask of each fault what it must lead to.
# Then write eight words in place of the dots, for A to H: `predict("model.f", ("mask", "heads", …))`. The answers are
# folded below, and the picture after them gives them away.

# %% tags=["nbval-check-output"]
predict("model.f", ...)

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
# - **F is targets**: a loss of almost 0, and no leak. It has learned to repeat what it was given, and it writes that. Even its
#   first loss is below ln V: the stream begins as the row of the very token that it should name, and the head is tied.
# - **G is residual**: it stops at the frequencies of the tokens, and writes the most frequent one. Whatever it reads, the
#   outputs are equal: nothing comes through.
# - **H is norm**: it learns late. After 50 steps it knows no more than G, and yet it arrives. The numbers of the stream are
#   tiny at first, and nothing makes them larger for those who read.
# </details>

# %%
named = {"sound": round(ends["sound"], 2)}
for name, fault in secret.items():
    named[f"{name}: {fault}"] = round(ends[name], 2)
assert ends["B"] < 0.9 * ends["sound"] and ends["G"] > 4 and ends["F"] < 0.1
pictures.compare(named, "nats a token, mean of the last 20 steps", floor=floor, best=None)

# %% [markdown]
# Look for the bars that are as long as that of the sound model. Three ingredients are missing in them, and the loss
# does not say so, in ten seconds at this size. Two bars are *too* short. **A loss curve is not a test.** A model is
# tested by questions that have one right answer: is the future hidden, do places differ, does it begin at $\ln V$,
# does it equal a reference. The picture does not show how much the faults would cost a model that is trained for
# weeks.
#
# ## Real text at size: a trained model, taken apart
#
# Now the other way round: take a model that has learned nearly all there is to know, and remove a part *after*
# training. The model that comes with the course has two blocks with eight heads each. (It is built as models of today
# are, with other positions and another bend, and a convolution; notebook 12 takes that apart.) First, its stream on
# the sentence that travels with you:

# %%
ids = torch.tensor([tokenizer.encode(fables.TRAVELLER)])  # [B, T]
seen = along_the_stream(trained, ids)
rows = [(n, *(f"{values[n][1]:,.0f}" for values in seen.values())) for n in range(2)]
pictures.table(rows, ["block", *seen], align="rrrr")

# %% [markdown]
# In an untrained model the parts add little. Here they have learned to shout: what the first block adds is far longer
# than what it found. Little holds them back, since everybody reads the stream through a norm, which sees its direction
# and not its length.
#
# To take a part out, use a hook once more: what a forward hook returns takes the place of the module's output. The
# cost is split as in 07: *form* (words that grammar and plot fix), *recalled* (facts that were told before) and
# *free* (random draws, of which a part is unavoidable; here is what goes beyond it).
#
# Which block is missed more, if it is taken out and the stream flows past it?

# %% tags=["nbval-check-output"]
predict("model.g", ...)


# %%
evaluation = StoryEvaluation(fables.tell(48, seed=7), tokenizer, end)


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
    # a whole block: what came in goes out
    results[f"block {n}"] = without(block, lambda part, args, output: args[0])


# %%
def table_of_costs(what, results):
    rows = []
    for name, result in results.items():
        cost = evaluation.summary(result)
        rows.append((name, *(f"{cost[k]:.1f}" for k in ("form", "recalled", "free", "excess"))))
    header, caption = [what, "form", "recalled", "free", "all"], "nats a story above the floor"
    return pictures.table(rows, header, align="lrrrr", caption=caption)


table_of_costs("taken out", results)

# %% [markdown]
# <details><summary>Answer</summary>
#
# a, the first, by far. The second reads what the first has written, and meets a stream that it never saw in training.
# </details>
#
# Without block 0 nothing is left. Without the attention of block 1 hardly anything is lost: in this model the first
# layer does nearly all of the listening. (This says what the *trained* model relies on. A model that is trained
# without the part from the beginning finds other ways.) So take out single heads of block 0. Each has its own
# channels in what is merged, and setting them to 0 silences it.


# %%
def without_head(n, head):
    def cut(part, args):
        merged = args[0].clone()  # [B, T, C]  the heads side by side
        merged[..., head * 16 : (head + 1) * 16] = 0  # hs = 16
        return (merged,)

    return without(trained.blocks[n].attention.output, cut, "forward_pre")


heads = {f"head {h}": without_head(0, h) for h in range(8)}
table_of_costs("silenced, in block 0", heads)

# %% [markdown]
# They have divided the work, and nobody told them to. One head is missed for the form of the sentences, another for
# what must be recalled. Take the one whose silence costs the recalled facts most, and ask which facts:

# %%
most = max(heads, key=lambda name: evaluation.summary(heads[name])["recalled"])
print("missed most for what must be recalled:", most)
pictures.by_fact(heads[most], k=9, title=f"without {most} of block 0")

# %% [markdown]
# The longest bars name the facts that this one head fetches. What the other heads could do in its place, if they were
# given time to learn it, the picture does not show.

# %% [markdown]
# ## Exercises
#
# Write your code in place of the dots and run the cell. `check` runs it on fresh inputs and names the most likely
# mistake; `hint("model.1")` and `solution("model.1")` help (import them from `gptlab.exercises`).

# %%
find("model.1")


# %% tags=["nbval-check-output"]
def norm_each_position(x, gain, bias, eps): ...


check("model.1", norm_each_position)

# %%
find("model.2")


# %% tags=["nbval-check-output"]
def pre_norm_block(x, attention, mlp, norm1, norm2): ...


check("model.2", pre_norm_block)

# %%
find("model.3")


# %% tags=["nbval-check-output"]
def mlp(x, W1, b1, W2, b2): ...


check("model.3", mlp)

# %%
find("model.4")


# %% tags=["nbval-check-output"]
def count_parameters(V, T, L, C): ...


check("model.4", count_parameters)

# %%
find("model.5")


# %% tags=["nbval-check-output"]
def first_deviation(name, L): ...


check("model.5", first_deviation)

# %%
find("model.6")


# %% tags=["nbval-check-output"]
def gpt_logits(ids, E, P, blocks, norm): ...


check("model.6", gpt_logits)

# %%
find("model.7")


# %% tags=["nbval-check-output"]
def flops_per_token(V, L, C, T): ...


check("model.7", flops_per_token)

# %%
find("model.8")


# %% tags=["nbval-check-output"]
def dropout(x, draws, p, training): ...


check("model.8", dropout)

# %%
find("model.9")


# %% tags=["nbval-check-output"]
def first_loss(logits, targets): ...


check("model.9", first_loss)

# %% [markdown]
# An open one, without a check: add a ninth fault to the lab. Swap the axes in `merge_heads`, share one norm among all
# blocks, double the residual, take post-norm, whatever you have once done by mistake. Write down what you expect in
# each column *before* you run it.

# %%
progress()

# %%
recap("model")

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
# **To go deeper:** Andrej Karpathy, [Let's reproduce GPT-2](https://www.youtube.com/watch?v=l8pRSuU81PU) (2024), the
# first hour, in which this notebook's model is typed in; Elhage et al., [A Mathematical Framework for Transformer
# Circuits](https://transformer-circuits.pub/2021/framework/index.html) (2021), on the residual stream. In the
# package, `gptlab/model.py` from top to bottom.
#
# ## Next
#
# The model stands, and it knows nothing. Its loss is ln V, and all that is missing is which numbers should be others.
# You have called an optimiser several times here without a question: *AdamW*, a rate, a warm-up. [Notebook
# 10](10_training.ipynb) opens the box and takes the model from noise to stories.
