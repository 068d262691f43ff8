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
# # 08 · The model
#
# *Stack twelve layers and they learn less than one. A sum and a normalisation repair that, and what comes out is
# GPT-2, to the last parameter.*
#
# You have embeddings (05), attention (06) and masks (07). Here you stack them, watch the stack fail, and find out what
# each missing part is for. Then you build the whole model by hand, count it, and break it in eight ways.
#
# **After this notebook you can**
#
# - write a block and a whole GPT from an empty cell, and prove that it equals a tested one,
# - say what the residual stream, layer norm and the MLP are for, and measure each claim,
# - predict the first loss of any model before you train it,
# - say where a model's parameters and work are, and count those of GPT-2 exactly,
# - tell from its symptoms which part of a model is broken.
#
# **Reading** takes about 60 minutes without the exercises. **Running** takes about 60 seconds on two CPU cores and
# 1.2 GB of memory.

# %%
import math
import random
import time
import warnings

import torch
import torch.nn.functional as F
from torch import nn

from gptlab import batches, checkpoints, gpu, huggingface, pictures, show, training
from gptlab.attention import MultiHeadAttention, attend, merge_heads, split_heads, watch
from gptlab.corpora import fables
from gptlab.embedding import TokenAndPositionEmbedding
from gptlab.evaluation import StoryEvaluation
from gptlab.exercises import check, predict, progress, quiz, recap
from gptlab.lab.breaking import FAULTS, broken
from gptlab.masking import assert_causal, causal
from gptlab.model import GPT, MLP, Block, GPTConfig
from gptlab.pictures.style import DASHES, SERIES, canvas, finish

torch.set_num_threads(1)  # matrices this small gain nothing from a second core
_ = torch.manual_seed(8)

# %% tags=["nbval-check-output"]
pictures.pipeline("model")

# %% [markdown]
# Three questions about earlier notebooks, if you like. Replace the dots with letters, for example
# `quiz("model", ["a", "b", "c"])`.

# %% tags=["nbval-check-output"]
quiz("model", [..., ..., ...])

# %% [markdown]
# ## The question: is deeper better?
#
# One layer of attention fetches information from other positions. A second layer could work with what the first one
# fetched, and a third with the result of that. GPT-2's smallest version has twelve. So let's stack some and see.
#
# First the data: fables, cut into batches, and two numbers to judge a loss by. One is the entropy floor. The other is
# the loss of a model that knows how often each token occurs and nothing else.

# %%
trained, tokenizer = checkpoints.committed("fables")
V, end = tokenizer.vocab_size, tokenizer.special_tokens["<|endoftext|>"]
ids = []
for story in fables.tell(1500, seed=0):
    ids += [*tokenizer.encode(story.text), end]
text = batches.Batches(ids, B=16, T=24)
floor = fables.entropy() / (len(ids) / 1500)  # nats per token, the best that is possible
share = torch.bincount(torch.tensor(ids)) / len(ids)
frequencies = -(share[share > 0] * share[share > 0].log()).sum().item()
print(f"V = {V}; the entropy floor is about {floor:.2f} nats per token")
print(f"a model that knows only the frequencies of tokens has a loss of {frequencies:.2f}")

# %% [markdown]
# Each layer has two **sublayers**: attention with the causal mask, and then a small network that processes every
# position on its own, two matrices with a nonlinear function between them. You saw one in notebook 07; we'll look
# inside further down.


# %%
class Attend(MultiHeadAttention):
    def forward(self, x):
        return super().forward(x, is_causal=True)  # [B, T, C]


class Process(nn.Module):
    def __init__(self, C):
        super().__init__()
        self.up, self.down = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))  # [B, T, C] -> [B, T, 4C] -> [B, T, C]


# %% [markdown]
# A stack of $L$ layers sends $x$ through $2L$ sublayers. *How* it does so is the question of this notebook, so that
# part is a function of its own, `way`. The first way is the obvious one: the output of a sublayer replaces $x$.


# %%
def replace(x, sublayer):
    return sublayer(x)


class Stack(nn.Module):
    def __init__(self, L, way, C=48, H=4):
        super().__init__()
        torch.manual_seed(8)
        self.embedding = TokenAndPositionEmbedding(V, 24, C)
        self.head = nn.Linear(C, V)
        self.sublayers = nn.ModuleList()
        for _ in range(L):
            self.sublayers.extend([Attend(C, H), Process(C)])
        for p in self.sublayers.parameters():
            nn.init.xavier_normal_(p) if p.dim() == 2 else nn.init.zeros_(p)
        self.way, self.last = way, nn.Identity()  # before the head: nothing, for now

    def forward(self, ids):
        x = self.embedding(ids)  # [B, T, C]
        self.stream = [x]  # saved, so that we can look at it
        for sublayer in self.sublayers:
            x = self.way(x, sublayer)  # [B, T, C]
            self.stream.append(x)
        return self.head(self.last(x))  # [B, T, V]


# %% [markdown]
# `xavier_normal_` samples the first weights of a matrix so that neither outputs nor gradients become much larger or
# smaller than what came in ([Glorot and Bengio 2010](https://proceedings.mlr.press/v9/glorot10a.html)). All models
# train on the same hundred batches. Watch the loss at the end as the stack gets deeper.


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


def at_the_end(losses):
    return sum(losses[-10:]) / 10


for L in (1, 3, 12):
    losses = learn(Stack(L, replace))
    print(f"L = {L:2}: {losses[0]:.2f} at first, {at_the_end(losses):.2f} at the end")
print(f"expected: below 3.5 for one layer, and near {frequencies:.2f} (frequencies alone) for twelve")

# %% [markdown]
# The deeper, the worse. Three and twelve layers have more parameters, so they should do at least as well. Instead
# twelve layers end no better than a model that has counted the tokens and looks at nothing.
#
# ## By hand: what happens on the way
#
# Look at the stack before any training. How long is $x$ after each sublayer, and how much does the loss notice if you
# nudge $x$ there? The second is the gradient from notebook 05. Twelve layers are 24 sublayers, so the table goes from
# 0 to 24. Its numbers are in scientific notation: 1.0e-02 means 1.0 · 10⁻², one hundredth. Read the second column
# downwards, and the third one *upwards*, because that's the way the gradient travels.


# %%
def sizes_and_gradients(model):
    inputs, targets = text.batch(0)
    loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
    for x in model.stream:
        x.retain_grad()
    loss.backward()
    sizes = [x.detach().norm(dim=-1).mean().item() for x in model.stream]  # mean length of a vector
    return sizes, [x.grad.norm().item() for x in model.stream]  # over the whole batch


def size_table(way):
    sizes, gradients = sizes_and_gradients(Stack(12, way))
    rows = [(n, f"{sizes[n]:.1e}", f"{gradients[n]:.1e}") for n in (0, 6, 12, 18, 24)]
    return pictures.table(rows, ["sublayers passed", "length of x", "gradient at x"], align="rrr")


size_table(replace)

# %% [markdown]
# Every few sublayers $x$ shrinks by some factor, and going backward the gradient shrinks too. What arrives at the
# first layers is next to nothing, so they don't learn. What they send up is next to nothing as well, so the later
# layers have nothing to learn from.
#
# The trouble is old and has a name, the **vanishing gradient** ([Hochreiter
# 1991](https://people.idsia.ch/~juergen/SeppHochreiter1991ThesisAdvisorSchmidhuber.pdf)). The matrices are the smaller
# part of it; they were initialised with care. But attention takes averages, and an average of vectors that point in
# different directions is shorter than they are. And `F.gelu`, the function between the two matrices, which we'll look
# at further down, cuts any number near 0 roughly in half.
#
# A pencil is enough to see what follows. Suppose every sublayer multiplies by 0.5. Two of them give 0.25, and twelve?

# %% tags=["nbval-check-output"]
print("replace, twelve times:", round(0.5**12, 6))

# %% [markdown]
# Now change one thing. The sublayer's output no longer replaces $x$, it is **added** to it: $x + 0.5\,x$. What is $x$
# multiplied by after twelve of these? Replace the dots with a number.

# %% tags=["nbval-check-output"]
predict("model.a", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
x = torch.tensor(1.0, requires_grad=True)
y = x
for _ in range(12):
    y = y + 0.5 * y
y.backward()
print(f"add, twelve times: {y.item():.1f}; and the gradient: {x.grad.item():.1f}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# 1.5 to the power of 12, about 130. Each step multiplies by 1 + 0.5, and so does each step of the gradient going
# backward.
# </details>
#
# That 1 is the whole trick. If a sublayer multiplies a number by $f$, adding its output multiplies by $1 + f$, and
# the gradient going backward is multiplied by the same $1 + f$. However small $f$ is, the gradient gets through:
# there is a path from the last layer to the first on which it is multiplied by 1 and nothing else. This is a
# **residual connection**, also called a skip connection ([He et al. 2015](https://arxiv.org/abs/1512.03385)). He and
# colleagues had a related trouble, very deep networks that trained badly although their gradients were healthy, and
# the same cure.
#
# As code it is one line. Compare the table with the last one.


# %%
def add(x, sublayer):
    return x + sublayer(x)


size_table(add)

# %% [markdown]
# Nothing vanishes any more. Now it explodes, as the pencil predicted: a sublayer with a larger input adds more, so the
# next one adds more still. But look at what we've gained. $x$ is no longer a chain of results that replace each other.
# It's one vector per position that runs through the whole model; each sublayer reads it and adds something. This
# vector is called the **residual stream** ([Elhage et al.
# 2021](https://transformer-circuits.pub/2021/framework/index.html)).
#
# ```
#        ids
#         │
#   token + position embedding
#         │
#         ├────► norm ─► attention ──┐
#         │                          │
#         ⊕ ◄────────────────────────┘      one block;
#         │                                 repeated L times
#         ├────► norm ─► MLP ────────┐
#         │                          │
#         ⊕ ◄────────────────────────┘
#         │
#        norm ─► head ─► logits
# ```
#
# That's the map of this notebook, the vertical line being the stream. Two boxes are still unexplained: *norm*, which
# cures the explosion, and the *MLP*.
#
# ## By hand: layer norm
#
# A sublayer should be able to read the stream without being upset by its length. So we rescale a copy before it is
# read. Take one position with four channels:

# %% tags=["nbval-check-output"]
x = torch.tensor([2.0, 4.0, 6.0, 8.0])  # [C]
mean = x.mean()
variance = ((x - mean) ** 2).mean()  # the mean of 9, 1, 1, 9
root = variance.sqrt()
print("mean:", mean.item(), " variance:", variance.item(), " standard deviation:", round(root.item(), 3))
print("normalised:", ((x - mean) / root).numpy().round(3))

# %% [markdown]
# The result has mean 0 and standard deviation 1. Check the first number with a pencil: $(2 - 5) / 2.236$. In a batch
# every position does this for itself, over its own channels. Two details complete it: a tiny $\epsilon$ under the root,
# so that four equal numbers don't lead to a division by 0; and a **gain** $g$ and a **bias** $b$ for each channel, both
# learned, which start at 1 and 0.
#
# $$\mathrm{norm}(x) = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \cdot g + b$$
#
# Here $\mu$ is the mean and $\sigma^2$ the variance of the position's channels. This is **layer norm** ([Ba, Kiros and
# Hinton 2016](https://arxiv.org/abs/1607.06450)).
#
# ### Your turn: Layer norm by hand
#
# `model.1` · *core* · 10 minutes
#
# `x` is [B, T, C], `gain` and `bias` are [C], `eps` is a number; the result is [B, T, C]. The worked example is the
# cell above: `[[[2, 4, 6, 8]]]` with gains 1, biases 0 and a tiny eps gives `[[[-1.342, -0.447, 0.447, 1.342]]]`.


# %% tags=["nbval-check-output"]
def norm_each_position(x, gain, bias, eps): ...


check("model.1", norm_each_position)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def norm_each_position(x, gain, bias, eps):
#     distance = x - x.mean(dim=-1, keepdim=True)                  # [B, T, C] − [B, T, 1]
#     variance = (distance**2).mean(dim=-1, keepdim=True)          # [B, T, 1]
#     return distance / (variance + eps).sqrt() * gain + bias      # [B, T, C]
# ```
#
# `keepdim=True` keeps the axis of size 1, so that the subtraction broadcasts over the channels.
# </details>
#
# PyTorch has it as `F.layer_norm`, which we use from here on. What does it do to a stream that has grown a
# hundredfold?

# %% tags=["nbval-check-output"]
predict("model.b", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
x = torch.tensor([2.0, 4.0, 6.0, 8.0])
print("of x:        ", F.layer_norm(x, (4,)).numpy().round(3))
print("of 100 times:", F.layer_norm(100 * x, (4,)).numpy().round(3))

# %% [markdown]
# <details><summary>Answer</summary>
#
# b, the same. Mean and standard deviation grow by the same factor, which cancels. A sublayer that reads through layer
# norm sees the direction of the stream and not its length.
# </details>
#
# **Break it.** The classic mistake is the wrong axis: a mean over time, `dim=1`, in place of the channels. The shapes
# stay right, nothing crashes, and the model has a leak, because the mean over time contains the future. The leak test
# from notebook 07 notices.

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
# - **Post-norm**: add, then normalise the stream itself: $x \leftarrow \mathrm{norm}(x + f(x))$.
# - **Pre-norm**: normalise a copy, which the sublayer reads: $x \leftarrow x + f(\mathrm{norm}(x))$. The stream is
#   never normalised, so there has to be one more norm at the end, before the head.
#
# That makes two more ways. In the picture, start at the right, where the loss is, and follow each curve to the left,
# where the gradient has to arrive.


# %%
def post(x, sublayer):
    return sublayer.norm(x + sublayer(x))


def pre(x, sublayer):
    return x + sublayer(sublayer.norm(x))


def with_norms(stack, C=48):
    for sublayer in stack.sublayers:
        sublayer.norm = nn.LayerNorm(C)  # each has a gain and a bias of its own
    if stack.way is pre:
        stack.last = nn.LayerNorm(C)  # the one at the end
    return stack


arriving = {}
for way in (replace, add, post, pre):
    arriving[way.__name__] = sizes_and_gradients(with_norms(Stack(12, way)))[1]
points = {name: list(enumerate(values)) for name, values in arriving.items()}
pictures.lines(points, "sublayers passed (two per layer)", "gradient at x", log="y")

# %% [markdown]
# `replace` loses the gradient, `add` makes it explode, and with either norm it changes little over all 24 sublayers.
# That is before any training, and a healthy gradient isn't yet a model that learns. So let them.

# %%
for way in (add, post, pre):
    losses = learn(with_norms(Stack(12, way)))
    print(f"{way.__name__:5} 12 layers: {losses[0]:7.2f} at first, {at_the_end(losses):7.2f} at the end")
print("expected: pre below 3, post above 3")

# %% [markdown]
# With `add` alone, the head reads a stream that has grown out of all proportion: the loss starts in the hundreds and
# climbs. With pre-norm twelve layers learn at last, and better than one bare layer did (to be fair, that one had
# neither sum nor norm: try `with_norms(Stack(1, pre))`). With post-norm, at this rate and in a hundred steps, they
# don't.
#
# Why not, when the gradient arrives safely in both? Post-norm models can be trained, and the first transformers were:
# with longer runs, and with a warm-up, a learning rate that starts small, which notebook 10 explains. [Xiong et al.
# 2020](https://arxiv.org/abs/2002.04745) offer a reason: at the start, the gradient of the *last* layer's matrices is
# larger with post-norm than with pre-norm, by a factor that grows like $\sqrt{L}$, and with large gradients a large rate
# is unstable. We can check the factor for the very last matrix. Compare the last two columns.

# %%
rows = []
for L in (3, 12, 27):
    last = []
    for way in (post, pre):
        model = with_norms(Stack(L, way))
        sizes_and_gradients(model)
        last.append(model.sublayers[-1].down.weight.grad.norm().item())
    after_post, after_pre = last
    ratio = f"{after_post / after_pre:.1f}"
    rows.append((L, f"{after_post:.2f}", f"{after_pre:.2f}", ratio, f"{math.sqrt(L):.1f}"))
header = ["L", "gradient, post", "gradient, pre", "post / pre", "√L"]
pictures.table(rows, header, align="rrrrr")

# %% [markdown]
# They grow together, though not exactly; each model is initialised only once. In a pre-norm model the stream gets
# longer with depth and the norm at the end divides by that length, so each single sublayer counts for less and its
# gradient is tamer. Real models have moved from one to the other:

# %% tags=["nbval-check-output"]
rows = [
    ("Transformer (Vaswani et al. 2017)", "post", "LayerNorm"),
    ("GPT-1 (Radford et al. 2018)", "post", "LayerNorm"),
    ("BERT (Devlin et al. 2018)", "post", "LayerNorm"),
    ("GPT-2 (Radford et al. 2019)", "pre", "LayerNorm"),
    ("GPT-3 (Brown et al. 2020)", "pre", "LayerNorm"),
    ("Llama 1 and 2 (Touvron et al. 2023)", "pre", "RMSNorm (notebook 12)"),
    ("Llama 3 (Grattafiori et al. 2024)", "pre", "RMSNorm (notebook 12)"),
]
pictures.table(rows, ["model", "norm", "kind"], align="lll")

# %% [markdown]
# From here on, the norm comes first.
#
# ## By hand: the MLP
#
# Attention fetches, and all it can make of what it fetches is a weighted average. What computes with the result? A small
# network that every position runs on its own, in three steps: an **up-projection**, a matrix from $C$ to $4C$
# channels; an **activation function**, applied to each number; and a **down-projection** back to $C$. It's called the
# **MLP**, for multi-layer perceptron, or the *feed-forward network* in the transformer paper.
#
# Here it is with $C = 2$ and, to stay small, three channels inside. The activation is the plainest there is, **ReLU**,
# which turns negative numbers into 0. Follow the third channel.

# %% tags=["nbval-check-output"]
x = torch.tensor([1.0, 2.0])  # [C]
W1 = torch.tensor([[1.0, -1.0, 2.0], [0.0, 1.0, -2.0]])  # [C, 3]
W2 = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])  # [3, C]
b1, b2 = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 0.5])  # [3] and [C]
up = x @ W1 + b1  # [3]
active = up.relu()  # [3]
print("up:", up.tolist(), " after ReLU:", active.tolist(), " down:", (active @ W2 + b2).tolist())

# %% [markdown]
# An inner channel is a column of $W_1$. The third computed $1 \cdot 2 + 2 \cdot (-2) + 1 = -1$, which is negative, so
# it contributes nothing. You can read each inner channel as a question put to the stream, with a threshold, and the
# matching row of $W_2$ as what to write back if the answer is yes. [Geva et al.
# 2021](https://arxiv.org/abs/2012.14913) found trained MLPs that work as a memory of this kind.
#
# Why have an activation function at all?

# %% tags=["nbval-check-output"]
predict("model.c", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
W1, W2 = torch.randn(6, 24), torch.randn(24, 6)  # [C, 4C] and [4C, C]
x = torch.randn(3, 7, 6)  # [B, T, C]
print("without activation, two matrices equal one:", torch.allclose((x @ W1) @ W2, x @ (W1 @ W2), atol=1e-3))
print("with ReLU between them:                    ", torch.allclose((x @ W1).relu() @ W2, x @ (W1 @ W2), atol=1e-3))

# %% [markdown]
# <details><summary>Answer</summary>
#
# b, nothing. Without an activation function the 4 C channels are for show.
# </details>
#
# GPT-2's activation function is smoother. It multiplies $h$ by $\Phi(h)$, the fraction of the standard normal
# distribution that lies below $h$: near 0 for a very negative $h$, one half at 0, near 1 for a large one. This is
# **GELU** ([Hendrycks and Gimpel 2016](https://arxiv.org/abs/1606.08415)).
#
# $$\mathrm{gelu}(h) = h \cdot \Phi(h) = h \cdot \tfrac{1}{2}\left(1 + \mathrm{erf}\frac{h}{\sqrt 2}\right)$$
#
# `erf`, the error function, is an S-shaped curve from −1 to 1. On the left below, look near $h = 0$.

# %%
h = torch.linspace(-4, 3, 141)
curves = {"ReLU": h.relu(), "GELU": h * 0.5 * (1 + torch.erf(h / math.sqrt(2)))}
assert torch.allclose(curves["GELU"], F.gelu(h), atol=1e-6)
figure, (left, right) = canvas(9.0, 3.2, columns=2)
for i, (name, y) in enumerate(curves.items()):
    left.plot(h, y, color=SERIES[i], linestyle=DASHES[i], label=name)
left.set(xlabel="h", ylabel="activation of h")
left.legend()
right.plot(h, F.gelu(h, approximate="tanh") - F.gelu(h), color=SERIES[2])
right.set(xlabel="h", ylabel="GPT-2's GELU − exact GELU")
alt = "Left: ReLU, a corner at 0, and GELU, smooth with a dip below 0. Right: a difference below 0.0005."
finish(figure, alt)

# %% [markdown]
# GELU has a soft corner and a small dip to the left of 0. The right-hand picture matters if you want your numbers to
# equal GPT-2's: its authors used an approximation by `tanh`. The difference is tiny, and a test of equality sees it.
# In `GPTConfig` the two are called "gelu" and "gelu_tanh".
#
# Here is the package's MLP, and a check of the one property that sets it apart from attention. We change one position
# of seven. Which ones move?

# %%
show(MLP.forward)

# %% tags=["nbval-check-output"]
process = MLP(GPTConfig(vocab_size=9, n_embd=6, n_head=2))
changed = x.clone()
changed[:, 4] += 1
moved = (process(x) - process(changed)).abs().amax(dim=(0, 2)) > 0  # [T]
print("moved:", moved.tolist())

# %% [markdown]
# ## The block
#
# That's all there is. A **block**, or layer, is attention and MLP, each with a norm before it and a residual
# connection around it:
#
# $$x \leftarrow x + \mathrm{attention}(\mathrm{norm}_1(x)) \qquad x \leftarrow x + \mathrm{mlp}(\mathrm{norm}_2(x))$$
#
# ### Your turn: A pre-norm block
#
# `model.2` · *warm-up* · 10 minutes
#
# All four parts are given, as functions from [B, T, C] to [B, T, C]. Return a new tensor and leave `x` as it is. The
# worked example, with numbers in place of tensors: if both norms divide by 2, attention adds 1 and the MLP
# multiplies by 10, then 4 becomes 4 + (4/2 + 1) = 7 and then 7 + 10 · 7/2 = 42.


# %% tags=["nbval-check-output"]
def pre_norm_block(x, attention, mlp, norm1, norm2): ...


check("model.2", pre_norm_block)

# %% [markdown]
# <details><summary>Our version</summary>
#
# The package's `Block.forward`, with its options left out, is this:
#
# ```python
# x = x + self.attention(self.norm1(x), is_causal=True)
# return x + self.mlp(self.norm2(x))
# ```
# </details>
#
# Where are a block's parameters? Count them for a small one, C = 12, and see how many times $C^2$ each part holds.

# %% tags=["nbval-check-output"]
small = GPTConfig(vocab_size=50, context=10, n_layer=1, n_head=3, n_embd=12)
block = Block(small).eval()
rows = []
for name in ("norm1", "attention", "norm2", "mlp"):
    count = sum(p.numel() for p in getattr(block, name).parameters())
    matrices = sum(p.numel() for p in getattr(block, name).parameters() if p.dim() == 2)
    rows.append((name, count, f"{matrices / 12**2:.0f} C²"))
pictures.table(rows, ["part", "parameters", "in matrices"], align="lrr")

# %% [markdown]
# Two thirds of the numbers in a block's matrices belong to the MLP. The rest of attention, queries meeting keys and
# weights meeting values, has no parameters at all: everything in it is computed from the text.
#
# Is the block really what you built by hand, and is it what PyTorch builds? PyTorch calls it
# `nn.TransformerEncoderLayer`, and with a causal mask this encoder layer becomes a GPT's (07). If all three get the
# same weights, they must agree. The long part of the second cell copies the weights from our names to PyTorch's. A
# `state_dict` is a dict from the names of a module's weights to their tensors, and `load_state_dict` puts such tensors
# in.


# %%
def normalise(x, module):
    return F.layer_norm(x, x.shape[-1:], module.weight, module.bias)  # [B, T, C]


def by_hand(x, block):
    x = x + block.attention(normalise(x, block.norm1), causal(x.shape[1]))  # attention is from notebook 06
    h = normalise(x, block.norm2) @ block.mlp.up.weight.T + block.mlp.up.bias  # [B, T, 4C]
    h = h * 0.5 * (1 + torch.erf(h / math.sqrt(2)))
    return x + h @ block.mlp.down.weight.T + block.mlp.down.bias  # [B, T, C]


# %% tags=["nbval-check-output"]
x = torch.randn(2, 7, 12)  # [B, T, C]
settings = dict(activation="gelu", norm_first=True, batch_first=True)
library = nn.TransformerEncoderLayer(12, 3, 48, **settings).eval()
mine, theirs = block.attention, library.self_attn
qkv = (mine.query, mine.key, mine.value)  # PyTorch stores these three in one tensor
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
# learns: at each step a random fraction $p$ of the numbers is set to 0, so that nothing may depend on a single one of
# them. This is **dropout** ([Srivastava et al. 2014](https://jmlr.org/papers/v15/srivastava14a.html)). What remains is
# divided by $1 - p$, which keeps sums the same on average. Look at the last line of the output.


# %% tags=["nbval-check-output"]
def distinct(x):
    return sorted({round(v, 3) for v in x.tolist()})


x, p = torch.ones(100_000), 0.2
dropped = torch.where(torch.rand(100_000) < p, 0.0, x / (1 - p))
print("by hand:  ", distinct(dropped), " mean:", round(dropped.mean().item(), 1))
layer = nn.Dropout(p)
print("training: ", distinct(layer(x)))
print("inference:", distinct(layer.eval()(x)))

# %% [markdown]
# People forget that last line. During **inference**, when a model is used and not trained, nothing may be dropped,
# and `model.eval()` says so to every layer; `model.train()` switches dropout on again. If you measure without
# `eval()`, you measure a disturbed model.
#
# GPT-1's paper dropped a tenth in three places, and Hugging Face's GPT-2 has that as its default: after the embedding,
# in the attention weights, and on what each sublayer adds. OpenAI's published GPT-2 code has no dropout at all.
# Large models that read each text only once have little to learn by heart, and most of them leave it out.

# %% [markdown]
# ## GPT by hand
#
# Now the whole model. Here is a small one from the package, with random weights, and we'll rebuild it from nothing but
# those weights. `w` is its `state_dict`. The second block has the same names as the first, so we print only the first
# block's.

# %% tags=["nbval-check-output"]
config = GPTConfig(vocab_size=30, context=10, n_layer=2, n_head=3, n_embd=12)
model = GPT(config).eval()
with torch.no_grad():
    for p in model.parameters():
        p.add_(0.2 * torch.randn(p.shape))  # gains of 1 and biases of 0 would hide mistakes
w = model.state_dict()
for name in [name for name in w if "blocks.1" not in name]:
    print(f"{name:34} {list(w[name].shape)}")

# %% [markdown]
# Each part, from its tensors. A linear layer of PyTorch stores its matrix as [out, in], hence the `.T`.


# %%
def linear(x, name):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(x, name):
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])  # [B, T, C]


def attention(x, name, H=3):
    three = [linear(x, f"{name}.{part}") for part in ("query", "key", "value")]  # [B, T, C] each
    q, k, v = (split_heads(y, H) for y in three)  # [B, H, T, hs] each
    found = merge_heads(attend(q, k, v, causal(x.shape[1])))  # [B, T, C]
    return linear(found, f"{name}.output")  # [B, T, C]


def mlp_at(x, name):
    return linear(F.gelu(linear(x, f"{name}.up")), f"{name}.down")  # [B, T, C] -> [B, T, 4C] -> [B, T, C]


# %% [markdown]
# Now the path through them. Tokens plus positions start the stream, the blocks add to it, and a last norm reads it. Then
# comes the output head of the model, which has nothing to do with the heads of attention. It turns each vector
# into $V$ logits, one for each token that could come next. In GPT-2 it is **tied** to the token table (05), so the
# logit of a token is the dot product of the normalised stream with that token's row. In the list above, `head.weight`
# and `embedding.token.weight` are one tensor under two names.
#
# ### Your turn: GPT from its parts
#
# `model.6` · *core* · 15 minutes
#
# `ids` is [B, T]; `E` is the token table [V, C] and `P` the position table [context, C], with at least T rows;
# `blocks` is a list of functions and `norm` one function, all from [B, T, C] to [B, T, C]. A block already contains
# its residual connections. Return logits, [B, T, V]. The worked example has C = 1: tokens `E = [[1], [3]]`, positions
# `P = [[0], [10]]`, one block that doubles and a norm that changes nothing. The ids `[[1, 0]]` make a stream of
# `[[[3], [11]]]`, then `[[[6], [22]]]`, and the logits are `[[[6, 18], [22, 66]]]`.


# %% tags=["nbval-check-output"]
def gpt_logits(ids, E, P, blocks, norm): ...


check("model.6", gpt_logits)

# %% [markdown]
# <details><summary>Our version, for the model above</summary>
#
# It's the `gpt` of the next cell, with `w` in place of arguments. The two lines in its loop are one block.
# </details>


# %% tags=["nbval-check-output"]
def gpt(ids):
    x = w["embedding.token.weight"][ids] + w["embedding.position.weight"][: ids.shape[1]]  # [B, T, C]
    for block in ("blocks.0", "blocks.1"):
        x = x + attention(norm(x, f"{block}.norm1"), f"{block}.attention")  # [B, T, C]
        x = x + mlp_at(norm(x, f"{block}.norm2"), f"{block}.mlp")  # [B, T, C]
    return norm(x, "norm") @ w["head.weight"].T  # [B, T, V]


for _ in range(20):
    ids = torch.randint(30, (4, 7))  # [B, T]
    with torch.no_grad():
        assert torch.allclose(gpt(ids), model(ids)[0], atol=1e-4)
print("the GPT by hand equals the package's, on 20 random batches")
assert_causal(gpt, ids, vocab_size=30)
print("and it does not see the future")

# %% [markdown]
# The package's `GPT.forward` is longer, because it checks its arguments and serves the cache of notebook 11 and the
# positions of notebook 12. The lines that do the work are yours:
#
# ```python
# x = self.dropout(self.embedding(ids))
# for block in self.blocks:
#     x = block(x, is_causal=True)
# logits = self.head(self.norm(x))
# ```
#
# ## The first loss
#
# An untrained model knows nothing, and it should *know* that it knows nothing. The vocabulary here has 859 tokens. What
# is the first loss? You may let Python calculate it and replace the dots with an expression.

# %% tags=["nbval-check-output"]
predict("model.d", ...)

# %% tags=["answers-prediction"]
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
# Read the table from the top. Small weights give logits near 0, and the loss of an honest guess. Large weights spread
# the logits, so the model is certain of nonsense, and training must first undo that certainty. The last row isn't
# far-fetched: for tables, 1.0 is PyTorch's default (`nn.Embedding`), and with tied weights the head gets it too.
#
# So the first loss is the cheapest test there is. Before you train, compare it with $\ln V$. Well above it, the
# initial weights are too large; clearly below it, the model has seen the answer.
#
# What does GPT-2 do? nanoGPT, Hugging Face's GPT-2 and this course use a standard deviation of 0.02; OpenAI's own code
# has 0.01 for the positions. The paper adds one idea. Each of the $L$ blocks adds to the stream twice, and for
# independent vectors the squared lengths add up, on average, so $2L$ additions make the stream longer by a factor that
# grows like $\sqrt{2L}$. For that reason the matrices that write into the stream, and no others, are initialised with
# $0.02/\sqrt{2L}$:
#
# ```python
# for name, parameter in model.named_parameters():
#     if parameter.dim() == 2:
#         writes = name.endswith(("output.weight", "down.weight"))
#         nn.init.normal_(parameter, std=0.02 / (2 * L) ** 0.5 if writes else 0.02)
# ```
#
# To see the effect we need to look inside a running model. A **hook** is a function of yours that PyTorch calls
# whenever a module runs. A *forward hook* gets the module, its inputs and its output; a *forward pre-hook* runs
# before, with the module and its inputs. The next function notes, at each block, how long the stream is and how long
# the vectors are that the two sublayers add.


# %%
@torch.no_grad()
def along_the_stream(model, ids):
    seen, hooks = {"stream": [], "attention adds": [], "MLP adds": []}, []

    def note(name, x):
        seen[name].append(x.norm(dim=-1).mean().item())  # its length, a mean over [B, T]

    for block in model.blocks:
        hooks += [
            block.register_forward_pre_hook(lambda module, args: note("stream", args[0])),
            block.attention.register_forward_hook(lambda module, args, y: note("attention adds", y)),
            block.mlp.register_forward_hook(lambda module, args, y: note("MLP adds", y)),
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
# Compare the two curves called *stream*. With the division the stream grows only gently: all additions together are
# about as long as the embedding, and two vectors of equal length at a right angle make one that is $\sqrt 2$ times as
# long. Without it the additions soon dominate, and the embedding is a small share of what the last block reads.
#
# ## Exactly GPT-2
#
# GPT-2 was published in four sizes ([Radford et al.
# 2019](https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)), which
# differ in three numbers: layers, heads, channels. To count parameters we needn't store any: on PyTorch's device
# `meta` a tensor has a shape and no contents. Compare the last two columns digit by digit.

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
# Equal, to the last one. And this is the smallest of the four, drawn from its configuration, with the parameters of
# each part. Read it from the bottom up; the line on the left is the residual stream.

# %%
pictures.architecture(GPTConfig.gpt2("124M"), names=["GPT-2"])

# %% [markdown]
# If you look the sizes up in the paper you'll find 117M, 345M, 762M and 1542M; OpenAI's
# [repository](https://github.com/openai/gpt-2) corrects these, and the published files agree with the table.
#
# Equal counts don't prove equal models. The library `transformers` has its own GPT-2, so we give it random weights,
# load them into ours (notebook 12 shows how), and compare the logits. The cell skips itself where `transformers`
# isn't installed.

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
# Which part of GPT-2 124M holds the most parameters?

# %% tags=["nbval-check-output"]
predict("model.e", ...)

# %% tags=["answers-prediction"]
models = {"fables (this course)": trained.config, "GPT-2 124M": GPTConfig.gpt2("124M"),
          "GPT-2 1558M": GPTConfig.gpt2("1558M")}  # fmt: skip
by_part = {name: gpu.parameters_by_part(config) for name, config in models.items()}
pictures.shares(by_part, "parameters")

# %% [markdown]
# <details><summary>Answer</summary>
#
# c. The MLPs have 8 C² parameters in each block, attention has 4 C². In 124M the table of tokens comes second.
# </details>
#
# The table has $V C$ parameters, the blocks about $12 L C^2$. The fewer the channels and the larger the vocabulary,
# the more of a model is table; a large model is mostly MLP. The head doesn't show, because it is tied, and the fables
# model has no table of positions at all (12).
#
# Now the work, in **FLOPs**, floating-point operations. For each token, a parameter of a matrix costs a multiplication
# and an addition. Attention proper, comparing with T keys and averaging T values, comes on top. In the next picture
# *projections* are attention's four matrices and *attention* is the rest. Watch that rest as T grows.

# %%
work = {"fables, T = 100": gpu.flops_by_part(trained.config, T=100)}
for T in (64, 1024, 16_384):
    work[f"124M, T = {T:,}"] = gpu.flops_by_part(models["GPT-2 124M"], T)
work["1558M, T = 1,024"] = gpu.flops_by_part(models["GPT-2 1558M"], T=1024)
pictures.shares(work, "FLOPs per token")

# %% [markdown]
# Three things to see. The head has no parameters of its own, but it costs work. Attention proper is little at first
# and grows with T while everything else stays the same. (GPT-2 ends at T = 1,024; the longer row shows what a longer
# context would cost.) And projections and MLP keep their ratio of 1 to 2.
#
# And in milliseconds, with a GPT-2 of full size and random weights? Each row has twice the T of the last, so about
# twice the work. Does it take twice the time? Each is timed only once, so don't trust a wild number.

# %%
torch.manual_seed(8)
torch.set_num_threads(2)
giant = GPT(GPTConfig.gpt2("124M")).eval()
rows = []
with torch.no_grad():
    giant(torch.zeros(1, 32, dtype=torch.long))  # once, as a warm-up
    for T in (32, 64, 128):
        ids = torch.randint(50257, (1, T + 1))
        started = time.perf_counter()
        loss = giant(ids[:, :-1], ids[:, 1:])[1]
        took = time.perf_counter() - started
        flops = T * gpu.flops_per_token(giant.config, T, backward=False)
        speed = flops / took / 1e9  # in GFLOP per second
        rows.append((T, f"{flops / 1e9:.1f}", f"{1000 * took:.0f}", f"{speed:.0f}", f"{loss:.2f}"))
del giant
torch.set_num_threads(1)
header = ["T", "GFLOP (10⁹)", "milliseconds", "GFLOP per second", "loss"]
pictures.table(rows, header, align="rrrrr")

# %% [markdown]
# On a quiet machine you'd expect the time to less than double from row to row, because large matrix products keep a
# machine busier than small ones, as at the knee in notebook 04. Does your table say otherwise, perhaps even that a
# longer text was *faster*? Then the machine was probably busy with something else for a while, and the times tell you
# about that and not about GPT-2. Run the cell again before you believe it; a single measurement is worth little.
#
# And the last column? GPT-2 has 50,257 tokens, and ln 50,257 is 10.82. The model should begin near that, a little
# above it because its many channels let the logits differ somewhat.
#
# ## The break-it lab
#
# Here are eight small GPTs of four blocks, and in each **one** ingredient is broken. Each trains on the same 240
# batches of fables (notebook 10 explains `training.train`). These are the faults:

# %% tags=["nbval-check-output"]
for fault, what in FAULTS.items():
    print(f"{fault:15} {what}")

# %% [markdown]
# For each model you get the loss before training, after 50 steps and at the end, and the answers to four questions
# that the loss doesn't ask:
#
# - *future*: does the leak test find that the future is seen?
# - *same*: one token is repeated six times. Are the six outputs equal? They shouldn't be, if positions count.
# - *sharpest*: how much of its attention does a query give to its favourite token, on average? At 1.00 it looks at one
#   token only; at 0.25 it spreads over at least four.
# - *looks*: the four heads of a block each have a favourite token. How many different favourites are there, on
#   average? With 4.0 every head looks somewhere else; with 1.0 they all look at the same place.
#
# Finally each model has to write a few words.


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
    return future, equal, f"{sharpest:.2f}", f"{looks:.1f}", tokenizer.decode(written[0, n:].tolist())


# %%
schedule = dict(learning_rate=1e-2, warmup=20, decay_fraction=0.5)  # notebook 10 explains these
plan = training.TrainConfig(steps=240, evaluate_every=0, **schedule)
table, ends = {}, {}


def admit(name, fault):
    torch.manual_seed(8)
    model = broken(GPTConfig(V, context=24, n_layer=4, n_head=4, n_embd=64), fault)
    losses = training.train(model, text, plan, progress=False).losses
    ends[name] = sum(losses[-20:]) / 20
    course = [f"{loss:.2f}" for loss in (losses[0], sum(losses[45:55]) / 10, ends[name])]
    table[name] = (name, *course, *examine(model))
    print(name, end=" ", flush=True)


admit("intact", "nothing")
faults = list(FAULTS)[1:]
random.Random(8).shuffle(faults)  # which model has which fault is random
secret = dict(zip("ABCDEFGH", faults, strict=True))
for name in "ABC":
    admit(name, secret[name])

# %%
for name in "DEFGH":
    admit(name, secret[name])

# %%
header = ["", "first", "after 50", "at the end", "future", "same", "sharpest", "looks", "it writes"]
caption = f"entropy floor {floor:.2f}, ln V {math.log(V):.2f}, all losses in nats per token"
pictures.table(table.values(), header, align="lrrrllrrl", caption=caption)

# %% [markdown]
# Take your time. Compare each row with the intact one, column by column, and ask what each fault must lead to. Then
# replace the dots with eight words, for A to H: `predict("model.f", ("mask", "heads", …))`.

# %% tags=["nbval-check-output"]
predict("model.f", ...)

# %% tags=["answers-prediction"]
named = {"intact": round(ends["intact"], 2)}
for name, fault in secret.items():
    named[f"{name}: {fault}"] = round(ends[name], 2)
print("expected: mask well below intact, targets below 0.1, residual above 4")
pictures.compare(named, "nats per token, mean of the last 20 steps", best=None)

# %% [markdown]
# <details><summary>Who is who, and how to tell</summary>
#
# - **A is heads**: there is only one. Its loss hardly differs. Four heads have several favourites among the tokens;
#   one head has one favourite.
# - **B is mask**: it sees the future. Its loss is too good (trained for longer, it can even fall below the floor),
#   and it can't write.
# - **C is initialisation**: the first loss is several times ln V. It recovers, but has lost time.
# - **D is positions**: six equal tokens give six equal outputs. Its loss hardly differs, because the causal mask
#   reveals enough about the order ([Haviv et al. 2022](https://arxiv.org/abs/2203.16634)). An encoder has no such
#   mask.
# - **E is scale**: the scores aren't divided by the root of the head size. In *sharpest* it stands out: by now a query
#   looks at almost one token only. Its loss hardly differs, because with initial weights this small the scores are
#   near 0 either way. With larger heads or weights, attention would start by staring at one token (06), and where
#   softmax is certain, hardly any gradient gets through.
# - **F is targets**: a loss of almost 0, and no leak. It has learned to repeat what it reads, and writes accordingly.
#   Even its first loss is below ln V: the stream begins as the row of the very token it should name, and the head is
#   tied.
# - **G is residual**: it stops near the frequencies of the tokens and writes the most frequent one. Whatever it reads,
#   the outputs are equal: nothing comes through.
# - **H is norm**: it learns late. After 50 steps it knows no more than G, and yet it arrives. The numbers in the
#   stream are tiny at first, and nothing makes them larger for the sublayers that read them.
# </details>
#
# Now look for the bars that are about as long as the intact one. Those models each lack an ingredient, and at this
# size, after a few seconds of training, the loss doesn't show it. Two bars are *clearly* too short. **A loss curve is
# not a test.** You test a model with questions that have one right answer: is the future hidden, do positions matter,
# does it begin at $\ln V$, does it equal a reference? What these faults would cost a model that trains for weeks, a
# run of seconds can't say.
#
# ## A trained model, taken apart
#
# Now the other way round: take a model that has learned nearly all there is to learn about fables, and remove a part
# *after* training. This is called **ablation**. The model that comes with the course has two blocks with eight heads
# each; its positions, activation function and convolution are those of notebook 12. First its stream, on the sentence
# that travels with you. Compare what the blocks add with what they find.

# %%
ids = torch.tensor([tokenizer.encode(fables.TRAVELLER)])  # [B, T]
seen = along_the_stream(trained, ids)
rows = [(n, *(f"{values[n][1]:,.0f}" for values in seen.values())) for n in range(2)]
pictures.table(rows, ["block", *seen], align="rrrr")

# %% [markdown]
# In an untrained model the sublayers add little. Here, all but the attention of block 1 add far more than they found.
# Nothing keeps the lengths down, because every reader goes through a norm, which sees the direction of the stream and
# not its length.
#
# To take a part out, use a hook once more: whatever a forward hook returns replaces the module's output. The cost is
# split into three kinds. *Form* is words that grammar and plot determine, *recalled* is facts that were stated earlier
# in the story, and *free* is random choices, of which we count only what exceeds their entropy.
#
# If you take out a whole block, so that the stream flows past it, which one is missed more?

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


# %% tags=["answers-prediction"]
def table_of_costs(what, results):
    rows = []
    for name, result in results.items():
        cost = evaluation.summary(result)
        rows.append((name, *(f"{cost[k]:.1f}" for k in ("form", "recalled", "free", "excess"))))
    header, caption = [what, "form", "recalled", "free", "all"], "nats per story above the entropy floor"
    return pictures.table(rows, header, align="lrrrr", caption=caption)


table_of_costs("taken out", results)

# %% [markdown]
# <details><summary>Answer</summary>
#
# a, the first, by far. The second block reads what the first one wrote, and without it meets a stream that it never
# saw in training.
# </details>
#
# Without block 0 nothing is left. Without the attention of block 1 comparatively little is lost: in this model the
# first layer does nearly all the fetching. That says what *this trained* model relies on; one that trains without the
# part from the start may find other ways. So let's look closer and silence single heads of block 0. Each head has its
# own 16 channels in the merged result, and setting them to 0 removes it. Compare the *form* and the *recalled* column.


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
# They have divided the work, though nothing in the training asked for it. One head is missed for the form of the
# sentences, another for what must be recalled. Take the one whose silence costs recall most. Which facts does it
# fetch?

# %%
most = max(heads, key=lambda name: evaluation.summary(heads[name])["recalled"])
print("missed most for what must be recalled:", most)
pictures.by_fact(heads[most], k=9, title=f"Without {most} of block 0: nats per story above the floor")

# %% [markdown]
# The longest bars name those facts; the *finder* is the animal that found the thing. The solid blue bar is all of
# *form* together, the words that state no fact.
#
# ## Exercises
#
# You've done three in the flow; the numbers follow the list in `progress`, not the page. For the others,
# `hint("model.3")` and `solution("model.3")` help (import them from `gptlab.exercises`).
#
# ### Your turn: Up, GELU, down
#
# `model.3` · *stretch* · 15 minutes
#
# Compute an MLP with the exact GELU, by hand, with `torch.erf`. `x` is [B, T, C], `W1` is [C, W], `b1` is [W], `W2` is
# [W, C], `b2` is [C], to be used as `x @ W1`; the result is [B, T, C]. The worked example: x = `[[[1]]]`,
# W1 = `[[1, 0]]`, W2 = `[[1], [1]]` and biases 0 give gelu(1) + gelu(0) = 0.8413.


# %% tags=["nbval-check-output"]
def mlp(x, W1, b1, W2, b2): ...


check("model.3", mlp)

# %% [markdown]
# ### Your turn: How many parameters?
#
# `model.4` · *stretch* · 15 minutes
#
# For a GPT-2 with V tokens, T positions, L blocks and C channels; everything has a bias except the tables, each of
# the two norms of a block and the one at the end has gain and bias, and the head is tied. All arguments and the result
# are `int`. The worked example: V = 50,257, T = 1,024, L = 12, C = 768 give 124,439,808.


# %% tags=["nbval-check-output"]
def count_parameters(V, T, L, C): ...


check("model.4", count_parameters)

# %% [markdown]
# ### Your turn: Initialisation by name
#
# `model.5` · *warm-up* · 10 minutes
#
# From a parameter's name, such as "blocks.3.mlp.up.weight", and the number of blocks L, give its standard deviation:
# 0.02 for matrices and tables (positions too), 0.02 divided by the root of 2L for the two kinds that write into the
# stream, `….attention.output.weight` and `….mlp.down.weight`, and `None` for biases and norms. The worked example:
# `first_deviation("blocks.0.mlp.down.weight", 8)` is 0.005.


# %% tags=["nbval-check-output"]
def first_deviation(name, L): ...


check("model.5", first_deviation)

# %% [markdown]
# ### Your turn: How much work is a token?
#
# `model.7` · *stretch* · 15 minutes
#
# Count the FLOPs of the forward pass per token, products of matrices only, a multiply-add as 2: attention's four
# matrices and the MLP's two in each of L layers, the head, and attention proper with T keys and T values. `V`, `L`,
# `C`, `T` and the result are `int`. The worked example: V = 5, L = 1, C = 2, T = 3 give 96 for the matrices of the
# layer, 24 for attention proper and 20 for the head: 140.


# %% tags=["nbval-check-output"]
def flops_per_token(V, L, C, T): ...


check("model.7", flops_per_token)

# %% [markdown]
# ### Your turn: Dropout
#
# `model.8` · *warm-up* · 10 minutes
#
# `x` and `draws` are float tensors [B, T, C]. In training, a number whose draw is below `p` becomes 0 and the others
# are divided by 1 − p; outside training, return `x` unchanged. The worked example: x = `[[[3, 6]]]`, draws `[[[0.1,
# 0.7]]]` and p = 0.25 give `[[[0, 8]]]` in training.


# %% tags=["nbval-check-output"]
def dropout(x, draws, p, training): ...


check("model.8", dropout)

# %% [markdown]
# ### Your turn: Before the first step
#
# `model.9` · *stretch* · 15 minutes
#
# The check that every training run should begin with. `logits` is [B, T, V], `targets` is [B, T]. Return "too large"
# if the mean loss is more than 10 % above ln V, "too small" if it is more than 10 % below, otherwise "as it should
# be". The worked example: logits that are all 0 give "as it should be", whatever the targets.


# %% tags=["nbval-check-output"]
def first_loss(logits, targets): ...


check("model.9", first_loss)

# %% [markdown]
# **Without a check (stretch):** add a ninth fault to the lab. Swap the axes in `merge_heads`, share one norm among all
# blocks, double the residual, use post-norm, or repeat whatever you once did by mistake. Write down what you expect in
# each column *before* you run it.

# %%
progress("model")

# %%
recap("model")

# %% [markdown]
# ## What to remember
#
# 1. Each sublayer reads a normalised copy of the stream and *adds* to it. The sum is the path on which gradients
#    travel back.
# 2. Layer norm: each position over its own channels. In GPT-2 and most models since, it comes before the sublayer
#    (pre-norm); in earlier models it came after the sum (post-norm).
# 3. A block is attention plus MLP: C to 4C, activation, back to C. Two thirds of its parameters are MLP.
# 4. The first loss is near ln V. If it isn't, find out why before you train.
# 5. Equal counts, equal logits, no leak: you test a model with questions that have one right answer, not with its
#    loss.
#
# **New terms, and what they are called elsewhere**
#
# | here | elsewhere |
# |---|---|
# | block, layer | transformer block, decoder layer; `h` in GPT-2's code |
# | residual connection, residual stream | skip connection, shortcut |
# | layer norm, gain and bias | `nn.LayerNorm`, weight and bias; γ and β |
# | pre-norm, post-norm | pre-LN, post-LN; `norm_first` in PyTorch |
# | MLP | feed-forward network, FFN, position-wise FFN |
# | up-projection, down-projection | `c_fc` and `c_proj` in GPT-2, `up_proj` and `down_proj` in Llama |
# | activation function | nonlinearity |
# | head (of the model) | LM head, unembedding |
# | inference | prediction, evaluation mode |
#
# **Three questions**
#
# 1. A block has C = 100. How many parameters are in its matrices, biases and norms left out?
#
# <details><summary>Answer</summary>
#
# 12 C² = 120,000: 4 C² in attention, 8 C² in the MLP.
# </details>
#
# 2. Why does a pre-norm model need one norm after the last block, and a post-norm model doesn't?
#
# <details><summary>Answer</summary>
#
# In a pre-norm model the stream itself was never normalised, so the head would read it at whatever length it has grown
# to. In a post-norm model the last block ends with a norm.
# </details>
#
# 3. Your model begins with a loss of 40, and V is 859. Two days later it is the best model that you have. Was anything
# wrong?
#
# <details><summary>Answer</summary>
#
# Yes. It began certain of nonsense and spent its first steps undoing that. It recovered; with better initial weights
# it would have arrived sooner.
# </details>
#
# **To go deeper:** Andrej Karpathy, [Let's reproduce GPT-2](https://www.youtube.com/watch?v=l8pRSuU81PU) (2024), the
# first hour, in which this notebook's model is typed in; Elhage et al., [A Mathematical Framework for Transformer
# Circuits](https://transformer-circuits.pub/2021/framework/index.html) (2021), on the residual stream. In the
# package, `gptlab/model.py` from top to bottom.
#
# ## Next
#
# The model stands, and it knows nothing. Its loss is ln V, and to lower it we must know, for each of its parameters,
# which way to turn it. You've called `loss.backward()` several times here without a question. [Notebook
# 09](09_backpropagation.ipynb) opens that box, and [notebook 10](10_training.ipynb) then takes the model from noise to
# stories.
