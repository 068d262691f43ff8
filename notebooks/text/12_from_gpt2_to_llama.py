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
# # 12 From GPT-2 to Llama
#
# *Exchange four parts, one at a time, and GPT-2 has become Llama.*
#
# GPT-2 is from 2019, Llama 3 from 2024. Between them lie five years and, from the largest GPT-2 to the largest Llama, a
# factor of more than two hundred in size. Of the parts of the model only four were exchanged. Here you take them one
# after the other: why somebody was not content with the old part, the new one by hand in a few lines, and what it does to
# the loss, measured. Some of it will surprise you.
#
# **After this notebook you can**
#
# - write RMSNorm, rotary positions, SwiGLU and grouped queries from an empty cell,
# - say what each is for, what it costs, and what it did to a loss that you measured yourself,
# - count the parameters of Llama 2 and 3 exactly, and the bytes of their caches,
# - take a model that you have trained out of this course, into the files that the rest of the world uses.
#
# **It builds on** attention (06), the model (08), training (10) and the cache (11). **To run it** takes about 50 seconds
# on two CPU cores and 900 MB of memory; most of it is seven small trainings.

# %%
import math
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

from gptlab import attention, checkpoints, gpu, huggingface, llama, masking, pictures, sampling, show, training
from gptlab.batches import StoryBatches
from gptlab.corpora import fables
from gptlab.evaluation import StoryEvaluation
from gptlab.exercises import check, compare, find, hint, predict, progress, quiz, recap, solution  # noqa: F401
from gptlab.llama import llama_config
from gptlab.model import GPT, MLP, GPTConfig, RopeScaling
from gptlab.parts import make_mlp
from gptlab.pictures.style import SERIES, canvas, finish
from gptlab.training import TrainConfig

torch.manual_seed(0)
torch.set_num_threads(1)  # these matrices are so small that a second core would mostly wait
pictures.pipeline("llama")

# %% [markdown]
# Three questions about earlier notebooks, if you like. Put your letters in place of the dots.

# %%
quiz("llama", [..., ..., ...])

# %% [markdown]
# ## The question: what is in a Llama?
#
# Take two models of the same small shape. One has the parts of GPT-2 that you built in 08, the other those of Llama 3.
# Can the first read the weights of the second?

# %% tags=["nbval-check-output"]
shape = dict(vocab_size=50, context=32, n_layer=1, n_head=4, n_embd=24)
old = GPT(GPTConfig(**shape))
new = GPT(llama_config("8B", **shape, n_kv_head=2, mlp_size=64))
try:
    old.load_state_dict(new.state_dict())
except RuntimeError as refusal:
    print(str(refusal).splitlines()[0], "…")

# %% [markdown]
# No. Here is every tensor in which they differ, by name and shape. (A dash: it is not there.)

# %% tags=["nbval-check-output"]
a, b = ({name: tuple(p.shape) for name, p in model.state_dict().items()} for model in (old, new))
weights = [name for name in a | b if a.get(name) != b.get(name) and not name.endswith("bias")]
rows = [(name, a.get(name), b.get(name)) for name in sorted(weights)]
pictures.table(rows, ["tensor", "GPT-2", "Llama"], align="lrr")

# %% tags=["nbval-check-output"]
biases = [[name for name in tensors if name.endswith("bias")] for tensors in (a, b)]
print(f"and biases: {len(biases[0])} in GPT-2, {len(biases[1])} in Llama")

# %% [markdown]
# Everything else is what you know: the stream, the two additions in a block, pre-norm, the head at the end. In the table
# you can read the plan of this notebook:
#
# - the table of **positions** is gone, and nothing has come in its place;
# - **keys and values** are smaller than queries (a query matrix has one shape in both, so it is not in the table);
# - the **MLP** has three matrices: where one widened, there are now a *gate* and an *up*;
# - the **norms** look alike, until you look at the biases: theirs are gone as well.
#
# (One thing does not show in shapes. GPT-2 uses its table of tokens once more as its head. In Llama 3 table and head are
# two matrices, except in its smallest models. In this notebook's trainings they stay tied.)
#
# ## The scales
#
# A reason for each exchange is easily told. To know what it is worth, you need scales: the same stories, the same
# number of steps, the same rates, and models of nearly the same size. Only the part changes. As in 10, the number is
# the **excess**: nats a story above the floor, on stories that were never seen.

# %%
_, tokenizer = checkpoints.committed("fables")
end, V = tokenizer.special_tokens["<|endoftext|>"], tokenizer.vocab_size
steps, each = 250, 8  # stories in each step
told = [[*tokenizer.encode(story.text), end] for story in fables.tell(steps * each, seed=1000)]
judge = StoryEvaluation(fables.tell(64, seed=1), tokenizer, end)
rates = dict(optimizer="muon", learning_rate=0.03, muon_lr=0.04, warmup=20)
plan = TrainConfig(steps=steps, evaluate_every=50, **rates)
runs, models = {}, {}


# %%
def weigh(name, config, seed=0, times=1):
    """Train a model of this configuration, and say how far it is above the floor."""
    torch.manual_seed(seed)
    model = models[name] = GPT(config)
    for matrix in model.blocks.parameters():
        if matrix.dim() == 2:
            matrix.data *= times  # 1, until further down
    batches = StoryBatches(told, each, start=end, seed=seed)
    runs[name] = training.train(model, batches, plan, evaluate=judge, progress=False)
    excess = runs[name].evaluations[-1]["excess"]
    print(f"{name}: {model.count_parameters():,} parameters, {excess:.1f} nats a story above the floor")
    assert abs(runs[name].losses[0] - math.log(V)) < 0.4 and 3 < excess < 60


# %% [markdown]
# The first one weighed is GPT-2 itself: two layers, four heads, $C = 48$, an MLP of $4C$. It begins without biases,
# because Llama has none; what is left to exchange are four parts. It is weighed twice, with two **seeds**: other numbers
# at the start, another order of the stories, and nothing else.

# %%
gpt2 = GPTConfig(V, context=160, n_layer=2, n_head=4, n_embd=48, bias=False)
weigh("GPT-2", gpt2)

# %%
weigh("GPT-2, other seed", gpt2, seed=1)
seeds = [runs[name].evaluations[-1]["excess"] for name in ("GPT-2", "GPT-2, other seed")]
print(f"the seed alone: {abs(seeds[0] - seeds[1]):.1f} nats a story")

# %% [markdown]
# Keep that last number in mind. A difference between two parts that is no larger says nothing yet. (It is large because
# of what you saw in 10: recall comes in a fall, and *when* it falls is partly luck.)
#
# ## Part 1: RMSNorm
#
# Layer norm, from 08, does two things to each vector of the stream. It takes off the mean, and it divides by the size of
# what is left. Are both needed? A vector of four numbers:

# %% tags=["nbval-check-output"]
x = torch.tensor([1.0, -2.0, 3.0, 6.0])
centred = x - x.mean()
layer = centred / centred.square().mean().sqrt()
rms = x / x.square().mean().sqrt()
print("mean taken off, then divided:", [round(v, 3) for v in layer.tolist()])
print("only divided:                ", [round(v, 3) for v in rms.tolist()])
print("mean square of the second:   ", round(float(rms.square().mean()), 3))

# %% [markdown]
# The second line divides by the root of the mean of the squares, and does nothing else:
#
# $$ \mathrm{rms}(x) = \sqrt{\tfrac{1}{C} \sum_c x_c^2 + \varepsilon}, \qquad y_c = w_c \, \frac{x_c}{\mathrm{rms}(x)} $$
#
# in code `weight * x / (x.square().mean(-1, keepdim=True) + eps).sqrt()`. That is **RMSNorm** ([Zhang and Sennrich
# 2019](https://arxiv.org/abs/1910.07467)). Their idea: what a norm is good for is that the size of the numbers can be
# relied on. Where their middle lies matters little; the matrix that reads them can learn to cope. $\varepsilon$, `eps` in
# code, is a small number that keeps a vector of zeros from being divided by zero.
#
# *Before you run on:* multiply $x$ by 10. What does RMSNorm make of it?

# %%
predict("llama.a", ...)

# %% tags=["nbval-check-output"]
def rms_norm(x, weight, eps):
    return weight * x / (x.square().mean(-1, keepdim=True) + eps).sqrt()


print([round(v, 3) for v in rms_norm(10 * x, torch.ones(4), eps=0.0).tolist()])

# %% [markdown]
# <details><summary>Answer</summary>
#
# The same. The root mean square is ten times as large, too. Only the direction of the vector is left.
# </details>
#
# See the difference in the plane. Fourteen vectors of two numbers each, as arrows, and what each norm makes of
# them:

# %%
before = torch.randn(14, 2, generator=torch.Generator().manual_seed(5))  # 14 vectors, C = 2
after = {"before": before, "RMSNorm": rms_norm(before, torch.ones(2), 0.0)}
after["layer norm"] = F.layer_norm(before, (2,), eps=0)
figure, panels = canvas(8.5, 3.1, 1, 3, sharex=True, sharey=True)
for axes, (name, points) in zip(panels, after.items(), strict=True):
    for i, (a, b) in enumerate(points.tolist()):
        axes.plot([0, a], [0, b], color=SERIES[i % 6], marker="o", markevery=[1], linewidth=1)
    axes.set(title=name, xlabel="channel 0", aspect="equal")
panels[0].set_ylabel("channel 1")
finish(figure, "Fourteen arrows before, on a circle after RMSNorm, and on two points after layer norm.")

# %% [markdown]
# RMSNorm puts the tip of every arrow onto a circle and keeps its direction. Layer norm takes the mean off first, and of
# two channels nothing remains but a sign: all arrows fall onto two. What the picture does not show is how little this
# is with many channels. Layer norm gives up one direction, *all channels alike*, of $C$; here that was one of two.
#
# What is saved? Count. And because counting is not timing, time it as well:

# %% tags=["nbval-check-output"]
for name, norm in {"layer norm": torch.nn.LayerNorm(768), "RMSNorm": llama.RMSNorm(768)}.items():
    print(f"{name:10} C = 768: {sum(p.numel() for p in norm.parameters()):,} numbers")

# %%
x = torch.randn(8, 256, 768)  # [B, T, C]
weight, bias = torch.ones(768), torch.zeros(768)
ways = {
    "layer norm, the library's": lambda: F.layer_norm(x, (768,), weight, bias),
    "RMSNorm, the library's": lambda: F.rms_norm(x, (768,), weight, 1e-5),
    "RMSNorm, by hand": lambda: rms_norm(x, weight, 1e-5),
}
rows = [(name, f"{1000 * gpu.measure(way):.1f}") for name, way in ways.items()]
pictures.table(rows, ["norm of [8, 256, 768]", "ms"])

# %% [markdown]
# RMSNorm has half the numbers, and on paper it takes one mean less of each vector. Whether you notice depends on who
# wrote it: done by hand, each step walks through memory again, and one well-made piece of machine code beats it,
# whatever it computes. On a CPU torch has such a piece for layer norm; its RMSNorm is put together from steps, like
# yours. On paper and on the clock are two questions. (Milliseconds of one machine and one version of torch.)
#
# And the loss?

# %%
rms_config = replace(gpt2, norm="rmsnorm")
weigh("+ RMSNorm", rms_config)

# %% [markdown]
# Compare the change with the difference that the seed made. The authors of RMSNorm promised no better loss: as good,
# and simpler. (The count of numbers has not changed, because our GPT-2 began without biases.) T5 used it in 2019, and
# today nearly every open model does: Llama, Mistral, Qwen, Gemma, DeepSeek.
#
# The tested block, and the check that it computes what yours does, and the library's, on random vectors, large and small
# (with the small ones, $\varepsilon$ counts):

# %%
show(llama.RMSNorm)

# %% tags=["nbval-check-output"]
for seed in range(100):
    generator = torch.Generator().manual_seed(seed)
    x, norm = torch.randn(2, 5, 12, generator=generator), llama.RMSNorm(12)  # [B, T, C]
    x = x / 10 ** (seed % 4)
    norm.weight.data = torch.randn(12, generator=generator)
    assert torch.allclose(norm(x), rms_norm(x, norm.weight, 1e-5), atol=1e-5)
    assert torch.allclose(norm(x), F.rms_norm(x, (12,), norm.weight, eps=1e-5), atol=1e-5)
print("100 random inputs: all three give the same")

# %% [markdown]
# (Its `float()` is for streams whose numbers have 16 bits, see notebook 17: the squares are summed in 32 bits even
# then. Two conventions to know: Llama 2 and 3 have $\varepsilon = 10^{-5}$, Llama 1 7B had $10^{-6}$; and Gemma
# multiplies by $1 + w$.)
#
# ## Part 2: rotary positions
#
# GPT-2 adds a learned row for each place to the token (notebook 05). Each place is learned for itself, and nothing tells
# the model that places 7 and 8 are as far apart as 47 and 48. And what of a place that no story of the training ever
# reached? Move the new stories further down, and look. (A cache that says "so many tokens came before", and holds none of
# them, moves a text without changing it.)

# %%
@torch.no_grad()
def loss_at(model, place):
    """The mean loss on new stories, in nats a token, when their first token stands at `place`."""
    ids, targets = judge.batches.batch(0)  # [B, T]
    cache = sampling.KVCache(model)
    cache.length = place  # it counts so many tokens, and holds none
    logits, _ = model(ids, keep_mask=masking.causal(ids.shape[1]), cache=cache)  # [B, T, V]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100).item()


places = (0, 2, 10, 25, 50)
moved = {"learned rows": [(place, loss_at(models["GPT-2"].eval(), place)) for place in places]}
pictures.lines(moved, "place of the first token", "loss on new stories (nats a token)")

# %% [markdown]
# The same stories, word for word, and two places further down the model has begun to stumble. A good part of what it has
# learned is not *who stands next to whom*, but *what usually stands at place 40*. And the rows beyond the longest story
# were never looked up, so no story has taught them anything.
#
# What you would want: **the score of a query and a key should depend on how far apart they are, and on nothing else.**
# Can one turn a dot product into that?
#
# ### By hand: one pair
#
# Two numbers are an arrow in the plane. Turn the arrow of a query, against the clock, by an angle for each place: at
# place 1 by $\omega$ (omega, in radians; `frequency` in code), at place 2 by $2\omega$, at place $t$ by $t\,\omega$.
# Turn the arrows of the keys by the same rule. Trigonometry says where the tip $(a, b)$ goes:
#
# $$ a' = a \cos(t\omega) - b \sin(t\omega), \qquad b' = a \sin(t\omega) + b \cos(t\omega) $$

# %% tags=["nbval-check-output"]
def turn(pair, t, frequency=0.35):
    a, b = pair
    cos, sin = math.cos(t * frequency), math.sin(t * frequency)
    return a * cos - b * sin, a * sin + b * cos


q, k = (1.0, 0.2), (0.75, -0.3)
for t in range(4):
    print(f"place {t}: the query becomes ({turn(q, t)[0]:6.3f}, {turn(q, t)[1]:6.3f})")

# %%
figure, axes = canvas(6.5, 5.0)
for name, pair, t in (("key", k, 1), ("query", q, 3), ("key", k, 8), ("query", q, 10)):
    tip, colour = turn(pair, t), SERIES[name == "key"]
    axes.annotate("", tip, (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 2.5})
    axes.annotate(f"{name} at {t}", [1.25 * number for number in tip], ha="center", va="center")
for radius, j, i in ((0.3, 1, 3), (0.4, 8, 10)):  # an arc from the key at j to the query at i
    (a, b), (c, d) = turn(k, j), turn(q, i)
    start, wide = math.atan2(b, a), math.acos((a * c + b * d) / math.hypot(a, b) / math.hypot(c, d))
    arc = [start + wide * step / 30 for step in range(31)]
    axes.plot([radius * math.cos(x) for x in arc], [radius * math.sin(x) for x in arc], "k:")
axes.set(xlim=(-1.6, 1.6), ylim=(-1.0, 1.4), aspect="equal", xlabel="first number", ylabel="second number")
finish(figure, "Four arrows. From the key at 1 to the query at 3 is as wide an angle as from 8 to 10.")

# %% [markdown]
# Compare the two dotted arcs, from the key at 1 to the query at 3, and from the key at 8 to the query at 10. The second
# two arrows were turned much further. But in each pair the query was turned two places more than its key, so the angle
# between them is the same, and lengths never change. A dot product sees nothing but these: two lengths, and the angle
# between.
#
# *Before you run on:* a query at place 5 looks back to a key at place 2. Move both 100 places on. What happens to their
# dot product?

# %%
predict("llama.b", ...)

# %% tags=["nbval-check-output"]
def score(i, j):
    (a, b), (c, d) = turn(q, i), turn(k, j)
    return a * c + b * d


for i, j in ((5, 2), (105, 102), (3, 0), (6, 2), (106, 102)):
    print(f"query at {i:3}, key at {j:3}, distance {i - j}: {score(i, j):9.6f}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Nothing. Both have been turned further by the same angle. Only the distance counts, and another distance gives another
# number.
# </details>
#
# In the language of 06: turning is a product with a matrix $R_t$, and $(R_i q) \cdot (R_j k) = q \cdot R_{j-i}\, k$. The
# place has gone, the distance has stayed.
#
# ### By hand: many pairs
#
# One pair is not enough. After a whole turn it begins again, and near and far look alike, as on a clock with one hand. A
# head has more channels: $hs$ of them, which make $hs/2$ pairs. So give each pair its own speed, like hands of a clock.
# Pair $i$ turns at each step by
#
# $$ \omega_i = \frac{1}{\theta^{\,2i/hs}}, \qquad i = 0, 1, \dots, \tfrac{hs}{2} - 1 $$
#
# radians. The **base** $\theta$ (theta, `rope_theta` in `GPTConfig`) is 10,000 at first. Pair 0 turns by a whole radian
# at each token, the last one hardly at all.

# %% tags=["nbval-check-output"]
hs, theta = 12, 10_000.0
frequencies = 1 / theta ** (torch.arange(0, hs, 2) / hs)  # [hs / 2]
for i, w in enumerate(frequencies.tolist()):
    print(f"pair {i}: {w:.4f} radians a token, a whole turn in {2 * math.pi / w:8,.0f} tokens")

# %%
t = torch.arange(41)
figure, axes = canvas(8.0, 3.4)
for i, style in zip((0, 1, 2, 4), ("-", "--", "-.", ":"), strict=True):
    axes.plot(t, (t * frequencies[i]).cos(), style, color=SERIES[i], label=f"pair {i}")
axes.set(xlabel="place (tokens)", ylabel="cosine of the angle")
axes.legend(loc="lower left", ncols=4, bbox_to_anchor=(0, 1))
finish(figure, "Waves: pair 0 goes round every 6 tokens, pair 1 every 29, pair 2 slowly, pair 4 hardly at all.")

# %% [markdown]
# Fast hands tell neighbours apart and know nothing of what is far. Slow hands know the rough distance and cannot tell
# neighbours apart. Together they are a clock. This is **RoPE**, rotary position embedding (Jianlin Su and others,
# [2021](https://arxiv.org/abs/2104.09864)). You have seen these waves before: those of 05 have the same formula, with
# $C$ in place of $hs$. There they were **added** to the token, once. Here they **turn** queries and keys, in every
# layer, and the values stay as they are, because what is handed over should not depend on the place.
#
# Now for a whole head at once. Which channels make a pair? Here the first half goes with the second: channel $i$ with
# channel $i + hs/2$.

# %%
def rotate_halves(x, angles):
    a, b = x.chunk(2, dim=-1)  # [..., T, hs / 2] each
    cos, sin = angles.cos(), angles.sin()  # [T, hs / 2]
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)  # [..., T, hs]


T = 60
angles = torch.arange(T)[:, None] * frequencies  # [T, 1] * [hs / 2] -> [T, hs / 2]
generator = torch.Generator().manual_seed(1)
q, k = torch.randn(2, hs, generator=generator)
Q, K = (rotate_halves(v.expand(T, hs), angles) for v in (q, k))  # one query and one key, at all places
scores = Q @ K.T  # [T, T]  row: place of the query, column: place of the key

# %%
behind = {f"query at {t}": [(t - j, float(scores[t, j])) for j in range(0, t + 1, 2)] for t in (58, 40)}
pictures.lines(behind, "distance from the query back to the key (tokens)", "q · k")

# %% [markdown]
# One and the same query and key, at every two places. The two curves lie on each other: the score knows the distance
# and nothing else. In this curve distances differ, so attention *can* prefer the neighbour, or the word four back.
# Which it prefers is learned, in $q$ and $k$; the picture, with random ones, does not show that. (You may read that
# scores fall with the distance. For a key equal to its query they do, by and large; for any two others, as here, they
# need not.)
#
# ### Two pairings
#
# There is a second way to pair: neighbours, channel $2i$ with channel $2i + 1$. It is as good. And it is the cause of
# many lost days, because both are in use:
#
# - **interleaved** (neighbours): the RoFormer paper, Meta's own Llama files, GPT-J;
# - **halves**: Hugging Face's Llama, Mistral and Qwen, GPT-NeoX, and this course.
#
# With a head of eight channels these are the pairs:

# %% tags=["nbval-check-output"]
rows = [(i, f"{i} and {i + 4}", f"{2 * i} and {2 * i + 1}") for i in range(4)]
pictures.table(rows, ["pair", "halves", "interleaved"], align="rll")

# %% [markdown]
# The channels of a query have no order of their own: they are what the rows of the query matrix make them. So a model
# trained with one pairing can be run with the other, if you reorder the **rows** of its query and key matrices, head by
# head. From neighbours to halves the new order is $0, 2, 4, \dots, 1, 3, 5, \dots$

# %% tags=["nbval-check-output"]
H, C = 2, 16
print("new order:", llama.to_halves(torch.arange(16), H).tolist())
x = torch.randn(5, C, generator=generator)  # [T, C]
W_q, W_k = torch.randn(2, C, C, generator=generator)
turns = llama.rope_angles(C // H, 5)


def head_scores(W_q, W_k, pairing):
    q, k = ((x @ W.T).view(5, H, C // H).transpose(0, 1) for W in (W_q, W_k))  # [H, T, hs]
    return llama.rotate(q, turns, pairing) @ llama.rotate(k, turns, pairing).transpose(1, 2)  # [H, T, T]


meta = head_scores(W_q, W_k, "interleaved")
moved_rows = head_scores(llama.to_halves(W_q, H), llama.to_halves(W_k, H), "halves")
unmoved = head_scores(W_q, W_k, "halves")
print("with halves, rows as they were: the same scores?", torch.allclose(meta, unmoved, atol=1e-3))
print("with halves, rows reordered:                    ", torch.allclose(meta, moved_rows, atol=1e-3))

# %% [markdown]
# ### The tested block
#
# You know all of it but `scaling`, which is `None` here and comes near the end.

# %%
show(llama.rope_frequencies, llama.rotate, llama.to_halves)

# %% [markdown]
# Who can check it? Meta's code knows nothing of cosines: it takes each pair of neighbours as one complex number and
# multiplies it by $e^{i t \omega}$, which turns it. That is a second way to the same thing, and torch has complex
# numbers. (If you have not met them, read on at the printed line.) `RotaryPositions` is what a model holds: a table of
# all turns, asked for a stretch of places.

# %% tags=["nbval-check-output"]
for seed in range(50):
    x = torch.randn(2, 3, 7, 10, generator=torch.Generator().manual_seed(seed))  # [B, H, T, hs]
    turns = llama.rope_angles(10, 7)
    spin = torch.polar(torch.ones_like(turns), turns)  # [T, hs / 2]  e^(i t w)
    complex_ = torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (5, 2))) * spin).flatten(-2)
    assert torch.allclose(llama.rotate(x, turns, "interleaved"), complex_, atol=1e-5)
    assert torch.allclose(llama.rotate(x, turns), rotate_halves(x, turns), atol=1e-6)
    stretch = llama.RotaryPositions(10, 20)(start=13, T=7)(x)  # as the model calls it, for tokens 13 to 19
    assert torch.allclose(stretch, rotate_halves(x, llama.rope_angles(10, 20)[13:]), atol=1e-5)
print("50 random inputs: the same")

# %% [markdown]
# And the scales:

# %%
rope_config = replace(rms_config, position="rope")
weigh("+ RoPE", rope_config)

# %% [markdown]
# Fewer numbers, because the table is gone, and a better loss, though not by much more than a seed can do. (Four seeds
# come further down.) Here is the picture from above once more, with the new model in it.

# %%
moved["RoPE"] = [(place, loss_at(models["+ RoPE"].eval(), place)) for place in places]
pictures.lines(moved, "place of the first token", "loss on new stories (nats a token)")

# %% tags=["nbval-check-output"]
first, last = moved["RoPE"][0][1], moved["RoPE"][-1][1]
print("RoPE, 50 places further down: the same loss?", math.isclose(first, last, rel_tol=1e-4))
first, last = moved["learned rows"][0][1], moved["learned rows"][-1][1]
print("learned rows, 50 places further down: the same loss?", math.isclose(first, last, rel_tol=0.1))

# %% [markdown]
# ### Beyond the trained context
#
# RoPE has no last row. So can the model read texts of any length? Take the course's well-trained fables model, which
# uses RoPE. It has seen one story at a time, a hundred tokens or so. Give it eight stories in a row, and look at the
# loss, stretch by stretch. Beside it: stories one at a time, each moved to the place where such a stretch begins.

# %%
teller, _ = checkpoints.committed("fables")
wide = GPT(replace(teller.config, context=1024)).eval()
wide.load_state_dict(teller.state_dict())  # the same weights: RoPE has none
stories = [[*tokenizer.encode(story.text), end] for story in fables.tell(12 * 8, seed=5)]
rows = [[end, *sum(stories[8 * r : 8 * r + 8], [])] for r in range(12)]
n = 8 * 102  # a story has about so many tokens, and no row fewer than n + 1
ids = torch.tensor([row[: n + 1] for row in rows])  # [B, T + 1]
with torch.no_grad():
    logits, _ = wide(ids[:, :-1])  # [B, T, V]
losses = F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none").mean(0)  # [T]


# %%
in_a_row = [(102 * (i + 1), float(piece.mean())) for i, piece in enumerate(losses.split(102))]
alone = [(102 * (i + 1), loss_at(wide, 102 * i)) for i in range(8)]
lengths = {"eight stories in a row": in_a_row, "each story alone, at that place": alone}
pictures.lines(lengths, "place of the last token of a stretch", "loss (nats a token)", legend="center right")

# %% [markdown]
# A story alone costs the same at any place. In a row, from the second story on, the loss is much higher. So the places
# are not the trouble. Two things are new for the model: the **distances**, because between a query and a key 300 tokens
# back are angles that never came up in training; and the other stories in sight. The picture does not part the two.
# RoPE does not refuse a longer text, but that is no promise that the model reads it well. Longer texts have to be
# trained for; how Llama 3.1 does it comes further down.

# %% [markdown]
# ## Break it: the wrong pairing
#
# You have loaded a file, all shapes fit, and nobody told you about the two pairings. The fables model, trained with
# halves, now turns neighbours. What happens?

# %%
predict("llama.c", ...)

# %% tags=["nbval-check-output"]
turns = llama.rope_angles(16, 160)  # hs = 16, for this model's context
teller.position.forward = lambda start, T: lambda x: llama.rotate(x, turns[start : start + T], "interleaved")
wrong = judge(teller)["excess"]
print("more than a hundred nats a story above the floor:", wrong > 100)
print(sampling.tell_stories(teller, tokenizer, n=1, end=end, seed=3, max_new_tokens=24)[0])

# %% [markdown]
# <details><summary>Answer</summary>
#
# A salad of the words of fables, without any error or warning. Every head looks at wrong places.
# </details>
#
# The check that exposes it is a comparison of logits with the model that the weights came from; a test of shapes cannot.
# The cure is the new order of rows, here in the other direction, from halves to neighbours. (This model also norms its
# queries and keys, with a weight for each channel of a head; these move along. More about that at the end.)

# %% tags=["nbval-check-output"]
for block in teller.blocks:
    heads = block.attention
    for weight in (heads.query.weight, heads.key.weight):
        weight.data = llama.to_interleaved(weight.data, H=8)
    for weight in (heads.query_norm.weight, heads.key_norm.weight):
        weight.data = llama.to_interleaved(weight.data, H=1)
right = judge(teller)["excess"]
print(f"rows reordered: {right:.2f} nats a story above the floor, as it came: {judge(wide)['excess']:.2f}")

# %% [markdown]
# ## Part 3: an MLP with a gate
#
# The MLP of 08 widens, bends and narrows: `down(gelu(up(x)))`. Each of the $4C$ numbers in the middle decides for
# itself whether it is heard: below zero hardly, above zero as it is. Could another number decide that?
#
# Make two numbers from the same vector, with a row of weights for each. One is what would be said, `up`. The other says
# how much of it comes through, the **gate**. The gate is bent first, in the third line; its formula comes below. Four
# such pairs:

# %% tags=["nbval-check-output"]
up = torch.tensor([2.0, 2.0, 2.0, -3.0])
gate = torch.tensor([4.0, 0.0, -4.0, 4.0])
opened = gate * torch.sigmoid(gate)
print("gate, bent:    ", [round(v, 2) for v in opened.tolist()])
print("comes through: ", [round(v, 2) for v in (opened * up).tolist()])

# %% [markdown]
# An open gate lets the 2 through (larger, even), a gate at 0 lets nothing through, a negative one almost nothing. And −3
# comes through as a negative number, which a GELU would have cut away. The bend is $\mathrm{silu}(z) = z \cdot
# \sigma(z)$, with $\sigma(z) = 1 / (1 + e^{-z})$; it is also called *swish*, and looks like GELU:

# %%
z = torch.linspace(-4, 2.5, 131)
bends = {"GELU": F.gelu(z), "silu": z * torch.sigmoid(z), "squared ReLU": F.relu(z).square()}
figure, axes = canvas(6.5, 3.4)
for (name, bent), style, colour in zip(bends.items(), ("-", "--", "-."), SERIES, strict=False):
    axes.plot(z, bent, style, color=colour, label=name)
axes.set(xlabel="z", ylabel="bent", ylim=(-0.5, 3))
axes.legend(loc="upper left")
finish(figure, "GELU and silu, nearly alike with a dip below 0; squared ReLU, 0 up to 0, then a parabola.")

# %% [markdown]
# (The third comes at the end of this notebook.) All together, with three matrices, this is **SwiGLU**, a *gated linear
# unit* with *swish*:
#
# $$ \mathrm{SwiGLU}(x) = W_\text{down} \big( \mathrm{silu}(W_\text{gate}\, x) \odot W_\text{up}\, x \big) $$
#
# where $\odot$ multiplies number by number. In code `down(F.silu(gate(x)) * up(x))`. Gates of this kind are from [Dauphin
# and others (2016)](https://arxiv.org/abs/1612.08083); that they help a transformer was found by Noam Shazeer
# ([2020](https://arxiv.org/abs/2002.05202)), whose paper explains it like this: "We offer no explanation as to why these
# architectures seem to work; we attribute their success, as all else, to divine benevolence."
#
# It would be no fair comparison to give it three matrices of the old size. With a width of $4C$ the old MLP has $2
# \cdot C \cdot 4C$ numbers. *How wide may the new one be, for $C = 192$?*

# %%
predict("llama.d", ...)

# %% tags=["nbval-check-output"]
for C in (48, 192, 4096):
    print(f"C = {C:5}: 4C = {4 * C:6}, with a gate {8 * C / 3:10.1f}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# 512. Three matrices of width $W$ hold $3\,C\,W$ numbers, so $W = \tfrac{8}{3} C$, two thirds of $4C$.
# </details>
#
# Llama 2 7B has $C = 4096$, takes the whole number and rounds it up to a multiple of 256, which makes 11,008. Llama 3 8B
# went wider, to 14,336.

# %%
show(llama.SwiGLU)

# %% tags=["nbval-check-output"]
mlp = llama.SwiGLU(replace(gpt2, mlp_size=128))
x = torch.randn(2, 5, 48)  # [B, T, C]
G, U, D = mlp.gate.weight, mlp.up.weight, mlp.down.weight
g = x @ G.T  # [B, T, W]
by_hand = (g * torch.sigmoid(g) * (x @ U.T)) @ D.T  # [B, T, C]
library = F.linear(F.silu(F.linear(x, G)) * F.linear(x, U), D)
print("by hand: ", torch.allclose(mlp(x), by_hand, atol=1e-6))
print("library: ", torch.allclose(mlp(x), library, atol=1e-6))
old_mlp = MLP(gpt2)
print("numbers: ", *(f"{sum(p.numel() for p in m.parameters()):,}" for m in (old_mlp, mlp)))

# %%
swiglu_config = replace(rope_config, mlp="swiglu", mlp_size=128)
weigh("+ SwiGLU", swiglu_config)

# %% [markdown]
# That is a surprise. As many numbers, and the loss is **worse**, by more than the seeds differ. Before you blame
# Shazeer, or a bug: how large is what the two MLPs say, before any training? The cell draws all their matrices with
# GPT-2's standard deviation, 0.02, at three widths, and feeds them numbers of size 1.

# %%
rows = []
for C in (48, 768, 2048):
    x, said = torch.randn(1, 30, C), []
    for kind, width in (("gelu", 4 * C), ("swiglu", 8 * C // 3)):
        mlp = make_mlp(GPTConfig(9, n_embd=C, mlp=kind, mlp_size=width, bias=False))
        for matrix in mlp.parameters():
            torch.nn.init.normal_(matrix, std=0.02)
        said.append(mlp(x).std().item())
    rows.append((C, f"{said[0]:.4f}", f"{said[1]:.4f}", f"{said[0] / said[1]:.1f} ×"))
pictures.table(rows, ["C", "GELU says", "SwiGLU says", "GELU : SwiGLU"])

# %% [markdown]
# Here is a reason. The gate multiplies two numbers. Where both are small, as they are at the start in a narrow model,
# the product is tiny, and so is its gradient. GPT-2 used 0.02 at widths from 768 to 1,600, and there the two are much
# nearer to each other. In our model the gated MLP begins almost silent. You can test this. Multiply every matrix of the
# blocks by 4 at the start, which is the root of 768 / 48, and so makes what comes out of them as large as in GPT-2:

# %%
weigh("+ SwiGLU, 4 × as large at the start", swiglu_config, times=4)

# %% [markdown]
# Better, and still not as good as the old MLP in so few steps. So the start is a part of the reason and not all of it.
# Keep the lesson: **a part that is better in large models need not be better in yours, and a comparison compares the
# settings, too.** Shazeer's models had a width of 768, and trained for half a million steps.
#
# ## Part 4: fewer keys than queries
#
# Notebook 11 ended with a bill: each token leaves a key and a value in every layer and every head, and whoever writes
# long texts for many people pays with memory. Queries are not kept. So here is an idea: keep all the heads that ask,
# and let several of them share one head that answers.
#
# Four heads of queries, two of keys and values. Heads 0 and 1 read the first, heads 2 and 3 the second:

# %% tags=["nbval-check-output"]
B, H, G, T, hs = 3, 4, 2, 5, 6
generator = torch.Generator().manual_seed(0)
q = torch.randn(B, H, T, hs, generator=generator)
k, v = torch.randn(2, B, G, T, hs, generator=generator)
shared_k, shared_v = (t.repeat_interleave(H // G, dim=1) for t in (k, v))  # [B, G, T, hs] -> [B, H, T, hs]
out = attention.attend(q, shared_k, shared_v, masking.causal(T))  # [B, H, T, hs]
print("out:", tuple(out.shape))
library = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
print("the library's enable_gqa gives the same:", torch.allclose(out, library, atol=1e-6))

# %% [markdown]
# That is **grouped-query attention** ([Ainslie and others 2023](https://arxiv.org/abs/2305.13245)), and `G` is
# `n_kv_head` in `GPTConfig`. With one head of keys for all it is **multi-query attention**, four years older ([Shazeer
# 2019](https://arxiv.org/abs/1911.02150)). With `G = H` it is what you had.
#
# One word of that cell is easy to get wrong. `repeat` also copies:

# %% tags=["nbval-check-output"]
heads = torch.arange(G)
print("repeat_interleave:", heads.repeat_interleave(H // G).tolist())
print("repeat:           ", heads.repeat(H // G).tolist())
mixed = attention.attend(q, *(t.repeat(1, H // G, 1, 1) for t in (k, v)), masking.causal(T))
print("same shape:", mixed.shape == out.shape, "  same numbers:", torch.allclose(mixed, out))

# %% [markdown]
# With `repeat`, head 1 of the queries reads the second keys. A model trained like that from the start would not mind.
# Published weights do.
#
# How much is saved? Llama 3 70B has 64 heads of queries and 8 of keys and values. How many times smaller is its cache?

# %%
predict("llama.e", ...)

# %%
tokens = (1024, 8192, 32768, 131072)
cost = {}
for size, heads in (("70B", 64), ("70B", 8), ("8B", 32), ("8B", 8)):
    config = llama_config(size, n_kv_head=heads)
    cost[f"{size}, {heads} heads of keys"] = [(T, sampling.cache_bytes(config, T, width=2) / 2**30) for T in tokens]
card = {"one 80 GB card": 80e9 / 2**30}
pictures.lines(cost, "tokens in the cache of one text", "GiB (2 bytes a number)", log="xy", level=card)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Eight times. Only the heads of keys and values are kept.
# </details>
#
# Both axes are logarithmic, and all four lines rise alike: the cache grows with the text, shared or not. Sharing moves
# the whole line down. At 131,072 tokens, Llama 3.1's context, the cache of one text of the 70B model would not fit
# onto four such cards with a head of keys for each query; shared, it takes about half of one. What the
# picture does not show are the weights, which take room as well.

# %%
llama_like = replace(swiglu_config, n_kv_head=2)
weigh("+ grouped queries", llama_like)

# %% tags=["nbval-check-output"]
for name, config in {"H heads of keys": swiglu_config, "half as many": llama_like}.items():
    kib = sampling.cache_bytes(config, T=config.context) / 1024
    count = gpu.parameters_by_part(config)["attention"]
    print(f"{name:16} cache {kib:.0f} KiB a text, attention {count:,} numbers")

# %% [markdown]
# Half the cache, and fewer numbers in the matrices of keys and values. The loss has changed by no more than a seed can
# change it. That is the trade in large models, too: nobody shares heads for the loss, but for the memory. And here you
# are: this model is a Llama.
#
# ## All four, and the seeds
#
# Here are the runs of this notebook, step by step.

# %%
chain = ("GPT-2", "+ RMSNorm", "+ RoPE", "+ SwiGLU", "+ grouped queries")
curves = {name: [(e["step"], e["excess"]) for e in runs[name].evaluations] for name in chain}
pictures.lines(curves, "step", "nats a story above the floor")

# %% [markdown]
# One run of each is one draw. The same runs with four seeds each were made beforehand with this notebook's `weigh`, and
# their results are written down in the next cell, seed 0 first. (On another machine sums are rounded in another order, so
# your own seed 0 may differ.) A bar is a mean, the thin line reaches from the best seed to the worst.

# %%
recorded = {
    "GPT-2": (21.4, 17.2, 18.1, 20.1),
    "+ RMSNorm": (19.9, 18.1, 16.9, 19.4),
    "+ RoPE": (15.1, 12.6, 13.6, 14.3),
    "+ SwiGLU": (31.4, 32.8, 35.8, 20.5),
    "+ grouped queries: a Llama": (35.4, 20.4, 30.9, 31.7),
    "+ RoPE, 4 × at the start": (10.9, 12.5, 12.2, 12.3),
    "+ SwiGLU, 4 × at the start": (20.1, 16.1, 20.3, 19.9),
}
pictures.compare(recorded, "nats a story above the floor", best=None)

# %% [markdown]
# Now you can say of each part what it did, and how sure that is.
#
# - **RMSNorm:** the two ranges overlap. Four seeds cannot tell it from layer norm, and that is what its authors promise.
# - **RoPE:** its worst seed is better than the best seed without it. That is an effect.
# - **SwiGLU:** worse in runs as short as these. But look at the width of its line: for most seeds recall has not fallen
#   yet, for one it has. A mean over such runs describes none of them.
# - **Grouped queries:** nearly the same range as the bar above it. No effect that could be told from luck.
#
# The last two bars are the test of the start. Larger matrices at the start help the old MLP a little and the gated one a
# lot, as the explanation said, and do not make the two equal. Does it catch up if it has more time? Two seeds, four times
# as many steps:

# %%
longer = {
    "GPT-2": (6.4, 4.5),
    "+ RMSNorm": (5.0, 4.3),
    "+ RoPE": (4.4, 8.0),
    "+ SwiGLU": (10.1, 9.9),
    "+ grouped queries: a Llama": (10.2, 9.4),
}
pictures.compare(longer, "nats a story above the floor, after 1,000 steps", best=None)

# %% [markdown]
# With four times the steps, the head start of RoPE is used up: it learned recall sooner, and in these two seeds not
# better. For the gated models the fall has come, every time, and they are still behind. So on our scales one part
# helped early, one cost something, and two cannot be seen in the loss.
#
# Why then did Llama take all four? Not for models of a hundred thousand numbers. RMSNorm is simpler. RoPE knows
# distances, which the picture of the moved stories showed better than any loss, and can be stretched to longer texts.
# Grouped queries pay the memory's bill. And SwiGLU won in Shazeer's tables, at his size and at his length of training.
# **A measurement holds where it was made.** Whoever builds at another size measures again.

# %% [markdown]
# ## At size: the real ones
#
# A published Llama is one configuration. Which fields of it differ from GPT-2's?

# %% tags=["nbval-check-output"]
fields = ["vocab_size", "context", "n_layer", "n_embd", "n_head", "n_kv_head", "mlp_size"]
fields += ["norm", "position", "mlp", "bias", "tie_weights", "rope_theta"]
four = [GPTConfig.gpt2("124M"), *(llama_config(size) for size in ("2-7B", "8B", "405B"))]
rows = [(name, *(str(getattr(config, name)) for config in four)) for name in fields]
pictures.table(rows, ["field", "GPT-2 124M", "Llama 2 7B", "Llama 3 8B", "Llama 3.1 405B"], align="lrrrr")

# %% [markdown]
# `None` means *as many as heads of queries*, or *4C*. Down to `mlp_size` these are sizes; then come the parts. (GPT-2
# does not use its `rope_theta`.) Note `n_kv_head`: Llama 2 7B has as many heads of keys as of queries. Among the
# published Llama 2 models only the largest shares them; of Llama 3 all do.
#
# Is it exactly Llama? The publishers counted their parameters. Build each model on the **meta device**, where a tensor
# has a shape and no numbers, and count.

# %% tags=["nbval-check-output"]
published = {"2-7B": 6_738_415_616, "8B": 8_030_261_248, "70B": 70_553_706_496, "405B": 405_853_388_800}
for size, expected in published.items():
    with torch.device("meta"):
        count = GPT(llama_config(size)).count_parameters()
    print(f"{size:5} {count:>15,}  as published: {count == expected}")

# %% [markdown]
# To the last one. 405 billion numbers in four bytes each would be 1.6 terabytes; on the meta device they take none.
#
# *Before you run on:* Llama 3 has a vocabulary of 128,256 tokens. What part of the 8B model are its table and its head?

# %%
predict("llama.f", ...)

# %% tags=["nbval-check-output"]
rows = []
for name, config in zip(("GPT-2 124M", "Llama 2 7B", "Llama 3 8B", "Llama 3.1 405B"), four, strict=True):
    parts = gpu.parameters_by_part(config)
    others = [parts[name] for name in ("position", "attention", "mlp", "norms")]
    shares = [parts["embedding"] + parts["head"], *others]
    rows.append((name, *(f"{100 * share / sum(parts.values()):.3f}" for share in shares)))
head = ["percent of", "table and head", "positions", "attention", "MLP", "norms"]
pictures.table(rows, head, align="lrrrrr")

# %% [markdown]
# <details><summary>Answer</summary>
#
# About 13 percent. In the smallest GPT-2 the table alone is almost a third.
# </details>
#
# Follow the rows down. As a model grows, more and more of it is MLP, all the more with shared keys; and the norms, which
# opened this notebook, are next to nothing. To save numbers was never their purpose.
#
# ### The same logits
#
# Equal counts prove little: a model that turns the wrong pairs has the same count. So compare what comes out, with a
# Llama made by `transformers`, the library that most people use, with random weights and an odd shape. The course does
# not need this library; without it, the cell says so and goes on.

# %%
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a progress bar that it would like to draw
        import transformers
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
except ImportError:
    transformers = None
    print("transformers is not installed: this comparison is left out")
else:
    shape = dict(vocab_size=97, hidden_size=60, intermediate_size=88, num_hidden_layers=3)
    heads = dict(num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=40)
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape, **heads)).eval()
    ours = huggingface.load_model(theirs)
    ids = torch.randint(97, (2, 33), generator=torch.Generator().manual_seed(0))  # [B, T]
    with torch.no_grad():
        a, b = ours(ids)[0], theirs(ids).logits  # [B, T, V]
    off = float((a - b).abs().max() / b.abs().max())
    print(f"largest difference, relative to the largest logit: {off:.0e}")
    assert off < 1e-5

# %% [markdown]
# That is rounding. The tests of the course do this for dozens of shapes, tied and untied, with scaled positions, and in
# both directions.
#
# ### Longer texts: how Llama 3.1 slows the slow hands
#
# Llama 3 was trained on 8,192 tokens, Llama 3.1 reads 131,072. What is in the way are the slow pairs. A hand that goes
# round many times within 8,192 tokens has been seen in every position. A hand that was still on its first round has not:
# further on come angles that were never there. So slow down those, and only those, by a factor of 8. In between it goes
# over smoothly. The dotted line says how many tokens were seen at first.

# %%
kinds = {"Llama 2": (1e4, None), "Llama 3": (5e5, None), "Llama 3.1": (5e5, RopeScaling(factor=8))}
waves = {}
for name, (theta, scaling) in kinds.items():
    turns = 2 * math.pi / llama.rope_frequencies(128, theta, scaling)  # [hs / 2]  tokens for a whole turn
    waves[name] = [(i, float(turns[i])) for i in range(0, 64, 3)]
seen = {"seen": 8192}
axes = ("pair of channels (of a head with 128)", "tokens for one whole turn")
pictures.lines(waves, *axes, log="y", level=seen, legend="upper left")

# %% tags=["nbval-check-output"]
plain, slowed = (llama.rope_frequencies(128, 500_000.0, s) for s in (None, RopeScaling(factor=8)))
by = plain / slowed
print("pairs left as they are:", int((by < 1.0001).sum()), " slowed 8 times:", int((by > 7.999).sum()))
print("in between:", [round(x, 2) for x in by[(by > 1.0001) & (by < 7.999)].tolist()])

# %% [markdown]
# Two tricks are in this picture. From Llama 2 to 3 the base $\theta$ grew from 10,000 to 500,000, which makes the whole
# line steeper: more slow hands. And Llama 3.1 leaves Llama 3's line where hands take longer than 2,048 tokens for a
# turn, and has parted from it by a factor of 8 where they take longer than 8,192. A text 16 times as long still brings
# some angles that were never there. So this came without new parameters, but not without new training: hundreds of
# billions of tokens, in six steps of growing length ([Dubey and others 2024](https://arxiv.org/abs/2407.21783), section
# 3.4.2). The idea of treating fast and slow pairs differently is from a forum post and from YaRN ([Peng and others
# 2023](https://arxiv.org/abs/2309.00071)).
#
# ## The door
#
# Your last model is a Llama in every part. So it can leave the course: `save_model` writes a folder of a configuration,
# the weights in **safetensors** (numbers and names, nothing that could be run when it is opened), and the tokenizer.
# What is in it?

# %% tags=["nbval-check-output"]
folder = tempfile.TemporaryDirectory()
model = models["+ grouped queries"].eval()
huggingface.save_model(model, f"{folder.name}/my-llama", tokenizer)
again = huggingface.load_model(f"{folder.name}/my-llama")
prompt = torch.tensor([[end, *tokenizer.encode(fables.TRAVELLER)]])  # [1, T]
with torch.no_grad():
    print("loaded again, the same logits:", torch.equal(again(prompt)[0], model(prompt)[0]))
print("files:", ", ".join(sorted(path.name for path in Path(f"{folder.name}/my-llama").iterdir())))

# %% [markdown]
# Now as a stranger would open it, who has never heard of `gptlab`: `AutoModelForCausalLM`, `AutoTokenizer`, greedy.

# %%
ours = sampling.generate(model, prompt, max_new_tokens=24, temperature=0)[0, 1:].tolist()
print(tokenizer.decode(ours))
if transformers is None:
    print("transformers is not installed: nobody else reads it here")
else:
    path = f"{folder.name}/my-llama"
    stranger = transformers.AutoModelForCausalLM.from_pretrained(path).eval()
    reader = transformers.AutoTokenizer.from_pretrained(path)
    ids = reader("<|endoftext|>" + fables.TRAVELLER, return_tensors="pt")
    said = stranger.generate(**ids, max_new_tokens=24, do_sample=False)[0, 1:]
    print(f"{type(stranger).__name__} says the same: {reader.decode(said) == tokenizer.decode(ours)}")
folder.cleanup()

# %% [markdown]
# The sentence that travels with you, continued by a Llama of your own making. It is a small and hurried one, and it may
# have forgotten who lives where; the form is right. With `python -m gptlab export` the same is done from the command
# line, and `load_model` goes the other way: it opens the folder of a real Llama, if you have one and the memory for it.
#
# What happens with a model that has a part that neither family knows? It gets an architecture of its own. The folder then
# brings the code of the model along, and `transformers` runs it if you say `trust_remote_code=True`:

# %% tags=["nbval-check-output"]
print(huggingface.write_config(GPTConfig.modern(V, 160))["architectures"][0])

# %% [markdown]
# ## What came after
#
# That last configuration is the course's own recipe, which trains the fables models elsewhere. (It kept layer norm:
# at this size you saw no difference.) It has four parts that Llama does not have. You meet each in one line; you can
# read them in `gptlab/llama.py` and `gptlab/model.py`.
#
# - **Normed queries and keys** (`qk_norm`; [Dehghani and others 2023](https://arxiv.org/abs/2302.05442)): a norm on
#   each query and key, of the model's own kind, before they are turned, so that scores cannot grow without limit. Qwen
#   3, Gemma 3 and OLMo 2 have it.
# - **Squared ReLU** ([So and others 2021](https://arxiv.org/abs/2109.08668)): $\max(0, z)^2$ in place of GELU, in an
#   MLP without a gate. Found by a search among many formulas.
# - **A short convolution** before attention ([Poli and others 2023](https://arxiv.org/abs/2302.10866)): each token
#   takes in its last few neighbours, each channel by itself, so that attention need not find them. You have met
#   convolutions in 06.
# - **Blocks that begin as nothing** (`init="zero"`): the last matrix of each part starts at zero, so that a block adds
#   nothing at first and the stream is only the tokens.

# %% tags=["nbval-check-output"]
x = torch.tensor([[[1.0], [10.0], [100.0], [0.0]]])  # [B, T, C] = [1, 4, 1]
convolution = llama.ShortConvolution(C=1, width=3)
convolution.weight.data = torch.tensor([[0.0], [0.5], [0.1]])  # itself, one back, two back
mixed = [round(v, 1) for v in convolution(x).flatten().tolist()]
print("each plus half of the one before and a tenth of the one before that:", mixed)
print("squared ReLU of -2, 0, 3:", llama.squared_relu(torch.tensor([-2.0, 0.0, 3.0])).tolist())
silent = GPT(GPTConfig.modern(V, 160, n_layer=2, n_head=4, n_embd=48))
ids = torch.tensor([tokenizer.encode("Once, in a dark forest")])
tokens = silent.embedding(ids)  # [B, T, C]
print("a block of init='zero' adds nothing:", torch.equal(silent.blocks[0](tokens), tokens))

# %% [markdown]
# What are they worth, each added to our Llama, on the same scales? (Recorded like the others, with four seeds; squared
# ReLU takes the place of SwiGLU, at $4C$.)

# %%
added = {
    "our Llama": (35.4, 20.4, 30.9, 31.7),
    "with normed queries and keys": (35.3, 32.8, 32.4, 18.0),
    "with squared ReLU": (25.8, 33.8, 36.8, 32.4),
    "with a short convolution": (34.1, 33.4, 31.0, 35.9),
    "with init='zero'": (34.3, 40.4, 34.9, 38.7),
    "with all four": (34.4, 34.3, 30.5, 22.7),
}
pictures.compare(added, "nats a story above the floor", best=None)

# %% [markdown]
# In so short a run, none of them can be told from luck: the lines overlap. Where one seed stands out, recall has fallen
# in it and not yet in the others. That is no verdict on the parts. It is one on runs of 250 steps, and on bars that are
# shown without a thin line. The course chose its recipe in longer runs of a wider model, which you can repeat with
# `python -m gptlab train`.

# %% [markdown]
# ## Exercises
#
# Replace the dots by your function. `find("llama.1")` shows the whole task, `hint("llama.1")` helps.

# %%
find("llama.1")


# %% tags=["nbval-check-output"]
def normalise(x, weight, eps): ...


check("llama.1", normalise)

# %%
find("llama.2")


# %% tags=["nbval-check-output"]
def turn_pair(a, b, position, frequency): ...


check("llama.2", turn_pair)

# %%
find("llama.3")


# %% tags=["nbval-check-output"]
def rope_frequencies(hs, theta): ...


check("llama.3", rope_frequencies)

# %%
find("llama.4")


# %% tags=["nbval-check-output"]
def turn_all(x, start, theta): ...


check("llama.4", turn_all)

# %%
find("llama.5")


# %% tags=["nbval-check-output"]
def neighbours_to_halves(weight, H): ...


check("llama.5", neighbours_to_halves)

# %%
find("llama.6")


# %% tags=["nbval-check-output"]
def swiglu(x, gate, up, down): ...


check("llama.6", swiglu)

# %%
find("llama.7")


# %% tags=["nbval-check-output"]
def share(k, H): ...


check("llama.7", share)

# %%
find("llama.8")


# %% tags=["nbval-check-output"]
def longest(memory, parameters, n_layer, n_head, n_kv_head, n_embd, B, width): ...


check("llama.8", longest)

# %%
find("llama.9")


# %% tags=["nbval-check-output"]
def count(V, L, H, n_kv_head, C, W, tied): ...


check("llama.9", count)

# %%
find("llama.10")


# %% tags=["nbval-check-output"]
def gated_width(C, multiple): ...


check("llama.10", gated_width)

# %% [markdown]
# **Open:** does SwiGLU catch up? Choose a number of steps, a width or a start of your own, write down what you expect,
# and weigh both MLPs with three seeds each. What would you need to see to change your mind?

# %%
progress()

# %% [markdown]
# ## What to remember
#
# 1. RMSNorm divides by the root mean square and leaves the mean alone. As good as layer norm, and simpler.
# 2. RoPE turns queries and keys by an angle for each place; the score knows only the distance. Two pairings are in use,
#    and the wrong one is silent.
# 3. SwiGLU: one matrix says what, another how much. At equal numbers it is $\tfrac{8}{3} C$ wide. Better in Shazeer's
#    large runs, not in our short ones.
# 4. Grouped queries share heads of keys and values: the cache is H / n_kv_head times smaller. `repeat_interleave`, not
#    `repeat`.
# 5. Compare with several seeds, or say nothing. Equal counts and equal logits are facts; a difference of two runs is
#    one draw.
#
# **Three questions**
#
# 1. A friend loads Llama weights. All shapes fit, the loss is terrible, and nothing raises an error. What do you look
#    at first?
#
# <details><summary>Answer</summary>
# The pairing of RoPE, then the order of the shared heads. Both fit in every shape. Compare logits with the original,
# layer by layer: the first layer that differs is the place.
# </details>
#
# 2. Why are keys turned before they go into the cache, and need not be turned again later?
#
# <details><summary>Answer</summary>
# A key is turned by its own place, which never changes. The distance arises in the dot product, with whichever query
# comes.
# </details>
#
# 3. H = 32, n_kv_head = 8. By what factor does the work of the scores shrink?
#
# <details><summary>Answer</summary>
# By none: every head of queries still meets every key. Only the cache, and the matrices that make keys and values, are
# smaller.
# </details>
#
# **To go deeper:** Hugo Touvron and others, [LLaMA](https://arxiv.org/abs/2302.13971) (2023), section 2.2, where three
# of the four parts stand in twelve lines; Jianlin Su and others, [RoFormer](https://arxiv.org/abs/2104.09864) (2021),
# section 3; Noam Shazeer, [GLU Variants Improve Transformer](https://arxiv.org/abs/2002.05202) (2020), a few pages
# only. In the package, `gptlab/llama.py` from top to bottom.

# %%
recap("llama")

# %% [markdown]
# ## Next
#
# You can build and count every model of this family, and yours fits into a few seconds. The real ones took months on
# thousands of GPUs. What does it take to train one at speed: precision, memory, many devices? [Notebook
# 17](17_gpu_training.ipynb) begins with the machine that you have.
