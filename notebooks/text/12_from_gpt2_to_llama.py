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
# # 12 · From GPT-2 to Llama
#
# *Swap four parts, one at a time, and GPT-2 has become Llama.*
#
# Open the configuration file of almost any model that was released in the last few years, and you'll find the same
# parts in it: RMSNorm, RoPE, SwiGLU, grouped queries. GPT-2, which you built in notebook 08, has none of them. GPT-2 is
# from 2019, Llama 3 from 2024; between the largest of each lies a factor of more than two hundred in size. And yet only
# four kinds of parts were exchanged.
#
# We'll take them one after the other: why somebody wanted to replace the old part, the new one by hand in a few lines,
# and what it does to the loss, measured. Not everything you'll measure is what the papers promise.
#
# **After this notebook you can**
#
# - write RMSNorm, rotary positions, SwiGLU and grouped queries from an empty cell,
# - say what each is for, what it costs, and what it did to a loss that you measured yourself,
# - count the parameters of Llama 2 and 3 exactly, and the bytes of their caches,
# - save a model that you have trained in the files that the rest of the world uses.
#
# **It builds on** attention (06), the model (08), training (10) and the cache (11). **Reading it** takes about an hour
# without the exercises. **Running it** takes about a minute on two CPU cores and 900 MB of memory; most of that is
# seven small training runs.

# %%
import copy
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
from gptlab.exercises import check, hint, predict, progress, quiz, recap, solution
from gptlab.llama import llama_config
from gptlab.model import GPT, MLP, GPTConfig, RopeScaling
from gptlab.parts import make_mlp
from gptlab.pictures.style import SERIES, canvas, finish
from gptlab.training import TrainConfig

torch.manual_seed(0)
torch.set_num_threads(1)  # these matrices are so small that a second core would mostly wait
pictures.pipeline("llama")

# %% [markdown]
# Three questions about earlier notebooks to warm up. Replace the dots with your letters.

# %%
quiz("llama", [..., ..., ...])

# %% [markdown]
# ## The question: what is in a Llama?
#
# Take two models of the same small shape, one with the parts of GPT-2 that you built in notebook 08, the other with
# those of Llama 3. Could the first load the weights of the second? Not one block of them: here is every weight matrix
# in which the two differ, by name and shape. A dash means that it isn't there.

# %% tags=["nbval-check-output"]
shape = dict(vocab_size=50, context=32, n_layer=1, n_head=4, n_embd=24)
old = GPT(GPTConfig(**shape))
new = GPT(llama_config("8B", **shape, n_kv_head=2, mlp_size=64))
a, b = ({name: tuple(p.shape) for name, p in model.state_dict().items()} for model in (old, new))
weights = [name for name in a | b if a.get(name) != b.get(name) and not name.endswith("bias")]
rows = [(name, a.get(name), b.get(name)) for name in sorted(weights)]
pictures.table(rows, ["tensor", "GPT-2", "Llama"], align="lrr")

# %% tags=["nbval-check-output"]
biases = [[name for name in tensors if name.endswith("bias")] for tensors in (a, b)]
print(f"and biases: {len(biases[0])} in GPT-2, {len(biases[1])} in Llama")

# %% [markdown]
# Everything else is what you know: the residual stream, the two additions in a block, normalisation before each part,
# the head at the end. You can read the plan of this notebook off the table:
#
# | part | GPT-2 | Llama | seen in the table |
# |---|---|---|---|
# | normalisation | layer norm | **RMSNorm** | only in the biases: they are gone |
# | position | a learned row per position, added once | **RoPE**, in every layer | the table of positions is gone |
# | MLP | up, GELU, down | **SwiGLU**: gate, up, down | three matrices in place of two |
# | attention | as many heads of keys as of queries | **grouped queries** | `key` and `value` are smaller |
#
# One thing doesn't show in shapes. GPT-2 uses its token embedding a second time, as its head. In Llama 3, embedding and
# head are two matrices, except in the smallest models. In this notebook's training runs they stay tied.
#
# ## A fair comparison
#
# A reason for each exchange is easily given. To know what it's worth we need a measurement: the same stories, the same
# number of steps, the same learning rates, and models of nearly the same size, with only one part changed. As in
# notebook 10, the result is the **excess**: nats per story above the entropy floor, on stories the model has never
# seen.

# %%
_, tokenizer = checkpoints.committed("fables")
end, V = tokenizer.special_tokens["<|endoftext|>"], tokenizer.vocab_size
steps, each = 250, 8  # stories in each step
corpus = [[*tokenizer.encode(story.text), end] for story in fables.tell(steps * each, seed=1000)]
judge = StoryEvaluation(fables.tell(64, seed=1), tokenizer, end)
rates = dict(optimizer="muon", learning_rate=0.03, muon_lr=0.04, warmup=20)
plan = TrainConfig(steps=steps, evaluate_every=50, **rates)
runs, models = {}, {}


# %%
def measure(name, config, seed=0, times=1, expected=(3, 60)):
    """Train a model of this configuration, and say how far it is above the floor."""
    torch.manual_seed(seed)
    model = models[name] = GPT(config)
    for matrix in model.blocks.parameters():
        if matrix.dim() == 2:
            matrix.data *= times  # 1, until further down
    batches = StoryBatches(corpus, each, start=end, seed=seed)
    runs[name] = training.train(model, batches, plan, evaluate=judge, progress=False)
    excess = runs[name].evaluations[-1]["excess"]
    print(f"{name}: {model.count_parameters():,} parameters, {excess:.1f} nats per story above the floor")
    low, high = expected
    note = "" if low < excess < high else ", and this run is outside: did you change a setting?"
    print(f"(expected between {low} and {high}{note})")


# %% [markdown]
# Our starting point is GPT-2 itself: two layers, four heads, $C = 48$, an MLP of width $4C$. We leave out the biases
# from the start, because Llama has none, so that exactly four parts remain to be exchanged. It is trained twice with
# two **seeds**: different random weights at the start, a different order of the stories, and nothing else. Watch how
# much that alone changes.

# %%
gpt2 = GPTConfig(V, context=160, n_layer=2, n_head=4, n_embd=48, bias=False)
measure("GPT-2", gpt2)

# %%
measure("GPT-2, other seed", gpt2, seed=1)
seeds = [runs[name].evaluations[-1]["excess"] for name in ("GPT-2", "GPT-2, other seed")]
print(f"the seed alone: {abs(seeds[0] - seeds[1]):.1f} nats per story")

# %% [markdown]
# Keep that last number in mind. A difference between two parts that is no larger than a difference between two seeds
# says nothing yet. Seeds matter this much because of what you saw in notebook 10: recall often comes in steep drops,
# and *when* they come is partly luck.
#
# ## Part 1: RMSNorm
#
# The layer norm of notebook 08 does two things to each vector of the stream: it subtracts the mean, and it divides by
# the size of what is left. Do we need both? Biao Zhang and Rico Sennrich asked that in
# [2019](https://arxiv.org/abs/1910.07467). Their answer: what helps training is that the *size* of the vectors can be
# relied on. Where their mean lies matters little, because the matrix that reads them can learn to cope.
#
# Dividing by the root of the mean of the squares, and nothing else, is **RMSNorm**:
#
# $$ \mathrm{rms}(x) = \sqrt{\tfrac{1}{C} \sum_c x_c^2 + \varepsilon}, \qquad y_c = w_c \, \frac{x_c}{\mathrm{rms}(x)} $$
#
# The weight $w_c$ is learned, one per channel. $\varepsilon$, `eps` in code, is a small number that keeps a vector of
# zeros from being divided by zero.
#
# *Before you run on:* multiply $x$ by 10. What does RMSNorm make of it, with $\varepsilon = 0$?

# %%
predict("llama.a", ...)

# %% [markdown]
# ### Your turn: RMSNorm
#
# `llama.1` · *warm-up* · 5 minutes
#
# Divide each vector by the root of the mean of its squares, with `eps` added to that mean, and multiply each channel by
# its weight. `x` is a float32 tensor [B, T, C], `weight` is [C], `eps` a number; where `eps` is 0, no vector
# is all zeros. Return a tensor [B, T, C].
#
# ```python
# def normalise(x: Float[Tensor, "B T C"], weight: Float[Tensor, "C"], eps: float) -> Float[Tensor, "B T C"]
# ```
#
# For example, the vector `[3.0, 4.0]` with weights of 1 and eps 0 gives `[0.849, 1.131]`: the mean square is 12.5. If
# you get stuck, `hint("llama.1")` helps a little, `solution("llama.1")` completely; so it is with every exercise here.

# %% tags=["nbval-check-output"]
def normalise(x, weight, eps): ...


check("llama.1", normalise)

# %% [markdown]
# Both kinds of normalisation on a vector of four numbers, without a weight. The last line is the guess.

# %% tags=["nbval-check-output", "answers-prediction"]
def divided(x):
    return x / x.square().mean(-1, keepdim=True).sqrt()


x = torch.tensor([1.0, -2.0, 3.0, 6.0])
print("mean subtracted, then divided:", [round(v, 3) for v in divided(x - x.mean()).tolist()])
print("only divided:                 ", [round(v, 3) for v in divided(x).tolist()])
print("mean square of the second:    ", round(float(divided(x).square().mean()), 3))
print("10 x, only divided:           ", [round(v, 3) for v in divided(10 * x).tolist()])

# %% [markdown]
# <details><summary>Answer</summary>
#
# The same result. The root mean square is ten times as large, too. Only the direction of the vector is left.
# </details>

# %% [markdown]
# You can see the difference in the plane. Below are fourteen vectors of two channels each, as arrows, and what each
# normalisation makes of them. Watch the tips.

# %%
before = torch.randn(14, 2, generator=torch.Generator().manual_seed(5))  # 14 vectors, C = 2
after = {"before": before, "RMSNorm": divided(before), "layer norm": F.layer_norm(before, (2,), eps=0)}
figure, panels = canvas(8.5, 3.1, 1, 3, sharex=True, sharey=True)
for axes, (name, points) in zip(panels, after.items(), strict=True):
    for i, (a, b) in enumerate(points.tolist()):
        axes.plot([0, a], [0, b], color=SERIES[i % 6], marker="o", markevery=[1], linewidth=1)
    axes.set(title=name, xlabel="channel 0", aspect="equal")
panels[0].set_ylabel("channel 1")
finish(figure, "Fourteen arrows before, on a circle after RMSNorm, and on two points after layer norm.")

# %% [markdown]
# RMSNorm moves the tip of every arrow onto a circle and keeps its direction. Layer norm subtracts the mean first, and
# of two channels nothing remains but a sign, so all the arrows fall onto two points. Don't let the picture scare you
# away from layer norm: it gives up one direction, *all channels alike*, out of $C$. Here that was one of two; in GPT-2
# it is one of 768.
#
# What do we save? Parameters are easy to count, and time has to be measured, because the two don't always agree:

# %% tags=["nbval-check-output"]
for name, norm in {"layer norm": torch.nn.LayerNorm(768), "RMSNorm": llama.RMSNorm(768)}.items():
    print(f"{name:10} C = 768: {sum(p.numel() for p in norm.parameters()):,} parameters")

# %%
x = torch.randn(8, 256, 768)  # [B, T, C]
weight, bias = torch.ones(768), torch.zeros(768)
ways = {
    "layer norm, the library's": lambda: F.layer_norm(x, (768,), weight, bias),
    "RMSNorm, the library's": lambda: F.rms_norm(x, (768,), weight, 1e-5),
    "RMSNorm, by hand": lambda: weight * divided(x),
}
rows = [(name, f"{1000 * gpu.measure(way):.1f}") for name, way in ways.items()]
pictures.table(rows, ["normalisation of [8, 256, 768]", "ms"])

# %% [markdown]
# RMSNorm has half the parameters, and on paper it needs one mean less per vector. Whether you notice depends on who
# wrote the code. In the version by hand, each step walks through memory again; a fused kernel walks through it once, if
# the library has one for your machine. So the order of the three rows differs between machines and versions of torch,
# and may surprise you. What is simpler on paper isn't always faster on the clock.
#
# And the loss?

# %%
rms_config = replace(gpt2, norm="rmsnorm")
measure("+ RMSNorm", rms_config)

# %% [markdown]
# Compare the change with the difference that the seed alone made. The authors of RMSNorm never promised a better loss;
# they promised a comparable loss in less time. T5 used it in 2019, and today nearly every open model does: Llama,
# Mistral, Qwen, Gemma, DeepSeek.
#
# The tested block, and the check that it computes what the formula and the library do, on random vectors large and
# small. With the small ones, $\varepsilon$ counts.

# %%
show(llama.RMSNorm.forward)

# %% tags=["nbval-check-output"]
for seed in range(100):
    generator = torch.Generator().manual_seed(seed)
    x, norm = torch.randn(2, 5, 12, generator=generator), llama.RMSNorm(12)  # [B, T, C]
    x = x / 10 ** (seed % 4)
    w = norm.weight.data = torch.randn(12, generator=generator)
    by_hand = w * x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    assert torch.allclose(norm(x), by_hand, atol=1e-5)
    assert torch.allclose(norm(x), F.rms_norm(x, (12,), w, eps=1e-5), atol=1e-5)
print("100 random inputs: all three give the same")

# %% [markdown]
# The `float()` in it is for streams of 16-bit numbers, which notebook 17 uses: even then the squares are summed in 32
# bits. Two conventions to know when you load other people's weights: Llama 2 and 3 have $\varepsilon = 10^{-5}$ where
# Llama 1 7B had $10^{-6}$, and Gemma multiplies by $1 + w$ instead of $w$.
#
# ## Part 2: rotary positions
#
# GPT-2 adds a learned row for each position to the token (notebook 05). Every position is learned by itself, so nothing
# tells the model that positions 7 and 8 are as far apart as 47 and 48. And what of a position that no story in training
# ever reached? Let's start the evaluation stories at later positions and look at the loss. We need a small trick for
# that: the model counts positions from the end of its cache, so an empty cache that *claims* to hold 10 tokens moves a
# story by 10 positions without changing a word of it.

# %%
@torch.no_grad()
def loss_at(model, position):
    """The mean loss on new stories, in nats per token, when their first token is at `position`."""
    ids, targets = judge.batches.batch(0)  # [B, T]
    cache = sampling.KVCache(model)
    cache.length = position  # it counts so many tokens, and holds none
    logits, _ = model(ids, keep_mask=masking.causal(ids.shape[1]), cache=cache)  # [B, T, V]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100).item()


positions = (0, 2, 10, 25, 50)
moved = {"learned rows": [(t, loss_at(models["GPT-2"].eval(), t)) for t in positions]}
pictures.lines(moved, "position of the first token", "loss on new stories (nats per token)")

# %% [markdown]
# The same stories, word for word, and moving them is enough to ruin the model. What it has learned is tied to the
# positions at which it learned it. And the rows beyond the longest story were never used, so no story has taught them
# anything.
#
# What we'd like instead is this: **the score of a query and a key should depend on how far apart they are, and on
# nothing else.** Can a dot product be made to do that?
#
# ### By hand: one pair of channels
#
# Two numbers are an arrow in the plane. Rotate the arrow of a query counterclockwise by an angle for each position: at
# position 1 by $\omega$ (omega, in radians; `frequency` in code), at position 2 by $2\omega$, at position $t$ by
# $t\,\omega$. Rotate the arrows of the keys by the same rule. Trigonometry says where the tip $(a, b)$ goes:
#
# $$ a' = a \cos(t\omega) - b \sin(t\omega), \qquad b' = a \sin(t\omega) + b \cos(t\omega) $$
#
# ### Your turn: Rotate one pair
#
# `llama.2` · *warm-up* · 5 minutes
#
# Rotate the pair (a, b) of a token at `position` counterclockwise, by `position` times `frequency` radians. `a`, `b`
# and `frequency` are of type `float`, `position` is an `int` counted from 0. Return the new pair, a `tuple` of two
# `float`.
#
# ```python
# def turn_pair(a: float, b: float, position: int, frequency: float) -> tuple[float, float]
# ```
#
# For example, (1, 0) at position 2 with frequency π/4 becomes (0, 1), apart from rounding: two eighths of a turn.

# %% tags=["nbval-check-output"]
def turn_pair(a, b, position, frequency): ...


check("llama.2", turn_pair)

# %% [markdown]
# Ours, for one query and one key that we'll keep for a while:

# %% tags=["nbval-check-output"]
def turn(pair, t, frequency=0.35):
    a, b = pair
    cos, sin = math.cos(t * frequency), math.sin(t * frequency)
    return a * cos - b * sin, a * sin + b * cos


q, k = (1.0, 0.2), (0.75, -0.3)
for t in range(4):
    print(f"position {t}: the query becomes ({turn(q, t)[0]:6.3f}, {turn(q, t)[1]:6.3f})")

# %% [markdown]
# Now put them at two pairs of positions. Compare the two dotted arcs, from the key at 1 to the query at 3, and from the
# key at 8 to the query at 10.

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
# The second two arrows were rotated much further than the first two. But within each pair the query was rotated two
# positions more than its key, so the angle between them is the same, and rotating never changes a length. A dot product
# sees nothing else: two lengths and the angle between.
#
# *Before you run on:* a query at position 5 looks back to a key at position 2. Move both 100 positions further. What
# happens to their dot product?

# %%
predict("llama.b", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
def score(i, j):
    (a, b), (c, d) = turn(q, i), turn(k, j)
    return a * c + b * d


for i, j in ((5, 2), (105, 102), (3, 0), (6, 2), (106, 102)):
    print(f"query at {i:3}, key at {j:3}, distance {i - j}: {score(i, j):9.6f}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Nothing. Both have been rotated further by the same angle. Only the distance counts, and another distance gives
# another number.
# </details>

# %% [markdown]
# In the language of notebook 06, rotating is a product with a matrix $R_t$, and $(R_i q) \cdot (R_j k) = q \cdot
# R_{j-i}\, k$. The positions have cancelled; only their difference is left.
#
# ### By hand: many pairs
#
# One pair is not enough, because after a full turn it starts over, and near and far look alike, as on a clock with a
# single hand. But a head has $hs$ channels, which make $hs/2$ pairs. So give each pair its own speed, like the hands of
# a clock. From one position to the next, pair $i$ rotates by
#
# $$ \omega_i = \frac{1}{\theta^{\,2i/hs}}, \qquad i = 0, 1, \dots, \tfrac{hs}{2} - 1 $$
#
# radians. The **base** $\theta$ (theta, `rope_theta` in `GPTConfig`) was 10,000 at first. Pair 0 rotates by a whole
# radian per token, the last pair hardly at all.
#
# ### Your turn: From fast to slow
#
# `llama.3` · *warm-up* · 5 minutes
#
# Return the frequencies of all pairs, a float tensor [hs / 2]. `hs` is an even `int` of at least 4, `theta` a `float`
# above 1.
#
# ```python
# def rope_frequencies(hs: int, theta: float) -> Float[Tensor, "hs/2"]
# ```
#
# For example, hs = 4 and theta = 100 give `[1.0, 0.1]`.

# %% tags=["nbval-check-output"]
def rope_frequencies(hs, theta): ...


check("llama.3", rope_frequencies)

# %% [markdown]
# For a head of twelve channels:

# %% tags=["nbval-check-output"]
hs, theta = 12, 10_000.0
frequencies = 1 / theta ** (torch.arange(0, hs, 2) / hs)  # [hs / 2]
for i, w in enumerate(frequencies.tolist()):
    print(f"pair {i}: {w:.4f} radians per token, a full turn in {2 * math.pi / w:8,.0f} tokens")

# %%
t = torch.linspace(0, 40, 401)  # finer than whole positions, so that the waves are round
figure, axes = canvas(8.0, 3.4)
for i, style in zip((0, 1, 2, 4), ("-", "--", "-.", ":"), strict=True):
    axes.plot(t, (t * frequencies[i]).cos(), style, color=SERIES[i], label=f"pair {i}")
axes.set(xlabel="position (tokens)", ylabel="cosine of the angle")
axes.legend(loc="lower left", ncols=4, bbox_to_anchor=(0, 1))
finish(figure, "Waves: pair 0 goes round every 6 tokens, pair 1 every 29, pair 2 slowly, pair 4 hardly at all.")

# %% [markdown]
# The fast hands tell neighbours apart and know nothing of what is far away. The slow hands know the rough distance and
# can't tell neighbours apart. Together they make a clock. This is **RoPE**, rotary position embedding ([Su et al.
# 2021](https://arxiv.org/abs/2104.09864)).
#
# You have seen these waves before: those of notebook 05 have the same formula, with $C$ in place of $hs$. There they
# were **added** to the token, once. Here they **rotate** queries and keys, in every layer. Values are left alone,
# because what a token passes on shouldn't depend on where it stands.
#
# ### A whole head at once
#
# Which channels make a pair? Here the first half goes with the second: channel $i$ with channel $i + hs/2$.
#
# ### Your turn: Rotate several tokens
#
# `llama.4` · *core* · 15 minutes
#
# You have the queries of one head, for tokens at positions `start`, `start + 1`, … (with a cache, a text continues
# where it left off). Rotate them counterclockwise with that pairing and the frequencies $1 / \theta^{2i / hs}$. `x` is
# a float32 tensor [T, hs], hs even and at least 4; `start` an `int` of at least 0, `theta` a number. Return a tensor
# [T, hs].
#
# ```python
# def turn_all(x: Float[Tensor, "T hs"], start: int, theta: float) -> Float[Tensor, "T hs"]
# ```
#
# For example, `[[1.0, 2.0, 0.0, 0.0]]` with start = 1 and theta = 100 becomes `[[0.540, 1.990, 0.841, 0.200]]`: the
# pair of channels 0 and 2 rotates by 1 radian, the pair of 1 and 3 by a tenth of it.

# %% tags=["nbval-check-output"]
def turn_all(x, start, theta): ...


check("llama.4", turn_all)

# %% [markdown]
# Ours takes the angles ready-made. Below, one and the same query and key stand at all of 60 positions, and we collect
# every score. If the idea works, the scores of a query at 58 and of a query at 40 must be one curve, drawn against the
# distance.

# %%
def rotate_halves(x, angles):
    a, b = x.chunk(2, dim=-1)  # [..., T, hs / 2] each
    cos, sin = angles.cos(), angles.sin()  # [T, hs / 2]
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)  # [..., T, hs]


T = 60
angles = torch.arange(T)[:, None] * frequencies  # [T, 1] * [hs / 2] -> [T, hs / 2]
generator = torch.Generator().manual_seed(1)
q, k = torch.randn(2, hs, generator=generator)
Q, K = (rotate_halves(v.expand(T, hs), angles) for v in (q, k))  # one query and one key, at all positions
scores = Q @ K.T  # [T, T]  row: position of the query, column: position of the key

# %%
behind = {f"query at {t}": [(t - j, float(scores[t, j])) for j in range(0, t + 1, 2)] for t in (58, 40)}
pictures.lines(behind, "distance from the query back to the key (tokens)", "q · k")

# %% [markdown]
# The two curves lie on top of each other: the score knows the distance and nothing else. And because different
# distances give different scores, attention *can* prefer the neighbour, or the word four back. Which it prefers is
# learned, in $q$ and $k$; with random ones, as here, the wiggles mean nothing. You may read elsewhere that scores fall
# off with distance. For a key that equals its query they do, by and large; for any two others they need not.
#
# ### Two pairings
#
# There is a second way to pair channels: neighbours, channel $2i$ with channel $2i + 1$. It works as well as the first.
# And it has cost people many days, because both are in use:
#
# - **interleaved** (neighbours): the RoFormer paper, Meta's own Llama files, GPT-J;
# - **halves**: Hugging Face's Llama, Mistral and Qwen, GPT-NeoX, and this course.
#
# With a head of eight channels these are the pairs:

# %% tags=["nbval-check-output"]
rows = [(i, f"{i} and {i + 4}", f"{2 * i} and {2 * i + 1}") for i in range(4)]
pictures.table(rows, ["pair", "halves", "interleaved"], align="rll")

# %% [markdown]
# The channels of a query have no order of their own; they are whatever the rows of the query matrix make them. So a
# model trained with one pairing can be run with the other, if you reorder the **rows** of its query and key matrices,
# head by head. From neighbours to halves the new order is $0, 2, 4, \dots, 1, 3, 5, \dots$ (writing that function is
# exercise `llama.5`). The last two lines say whether it works:

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
# The function that rotates, in both pairings:

# %%
show(llama.rotate)

# %% [markdown]
# Who can check it? Meta's code doesn't know any cosines. It takes each pair of neighbours as one complex number and
# multiplies it by $e^{i t \omega}$, which rotates it: a second way to the same result. If you haven't met complex
# numbers, read on at the printed line. `RotaryPositions` is what a model holds, a table of all angles that is asked for
# a range of positions.

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
# And the loss:

# %%
rope_config = replace(rms_config, position="rope")
measure("+ RoPE", rope_config)

# %% [markdown]
# There are fewer parameters, because the table is gone. Whether the loss is better by more than a seed can do is hard
# to say from one run; four seeds follow further down. The picture of the moved stories needs no second seed. Here it is
# again, with the new model in it:

# %%
moved["RoPE"] = [(t, loss_at(models["+ RoPE"].eval(), t)) for t in positions]
pictures.lines(moved, "position of the first token", "loss on new stories (nats per token)")

# %% tags=["nbval-check-output"]
first, last = moved["RoPE"][0][1], moved["RoPE"][-1][1]
print("RoPE, 50 positions further down: the same loss?", math.isclose(first, last, rel_tol=1e-4))
first, last = moved["learned rows"][0][1], moved["learned rows"][-1][1]
print("learned rows, 50 positions further down: the same loss?", math.isclose(first, last, rel_tol=0.1))

# %% [markdown]
# ### Beyond the trained context
#
# RoPE has no last row. So can the model read texts of any length? Take the course's well-trained fables model, which
# uses RoPE. In training it saw one story at a time, a hundred tokens or so. We give it eight stories in a row and look
# at the loss, one stretch of 102 tokens after the other; a story has about so many. Beside it: stories one at a time,
# each moved to the position where a stretch begins.

# %%
fable_model, _ = checkpoints.committed("fables")
wide = GPT(replace(fable_model.config, context=1024)).eval()
wide.load_state_dict(fable_model.state_dict())  # the same weights: RoPE has none
stories = [[*tokenizer.encode(story.text), end] for story in fables.tell(12 * 8, seed=5)]
rows = [[end, *sum(stories[8 * r : 8 * r + 8], [])] for r in range(12)]
n = 8 * 102  # no row has fewer than n + 1 tokens
ids = torch.tensor([row[: n + 1] for row in rows])  # [B, T + 1]
with torch.no_grad():
    logits, _ = wide(ids[:, :-1])  # [B, T, V]
losses = F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none").mean(0)  # [T]


# %%
in_a_row = [(102 * (i + 1), float(piece.mean())) for i, piece in enumerate(losses.split(102))]
alone = [(102 * (i + 1), loss_at(wide, 102 * i)) for i in range(8)]
lengths = {"eight stories in a row": in_a_row, "each story alone, at that position": alone}
pictures.lines(lengths, "position of the last token of a stretch", "loss (nats per token)", legend="center right")

# %% [markdown]
# A story alone costs the same at any position. In a row, the loss is much higher from the second story on. So positions
# are not the trouble. Two other things are new for the model: **distances**, because the angles between a query and a
# key 300 tokens back never came up in training, and the other stories in sight. The picture can't tell the two apart.
# Either way, RoPE doesn't *refuse* a longer text, but that doesn't promise that the model reads it well. Long texts have
# to be trained for; further down you'll see how Llama 3.1 does it.
#
# ## Break it: the wrong pairing
#
# You have downloaded weights in the format of Meta's files, whose rows are ordered for pairs of neighbours. All shapes
# fit your model, which rotates halves, and nobody told you that there are two pairings. What happens?

# %%
predict("llama.c", ...)

# %% [markdown]
# Let's act it out with the course's fables model. First its rows are put into the order of Meta's files. This model
# also normalises its queries and keys, with a weight per channel of a head, and these move along; more about that at
# the end.

# %%
def reorder(model, order):
    """Reorder everything that belongs to the channels of queries and keys."""
    for block in model.blocks:
        heads = block.attention
        for weight in (heads.query.weight, heads.key.weight):
            weight.data = order(weight.data, H=model.config.n_head)
        for weight in (heads.query_norm.weight, heads.key_norm.weight):
            weight.data = order(weight.data, H=1)


downloaded = copy.deepcopy(fable_model)
reorder(downloaded, llama.to_interleaved)  # the file, in Meta's order

# %% tags=["nbval-check-output", "answers-prediction"]
wrong = judge(downloaded)["excess"]
print("more than a hundred nats per story above the floor:", wrong > 100)

# %% tags=["answers-prediction"]
print(sampling.tell_stories(downloaded, tokenizer, n=1, end=end, seed=3, max_new_tokens=24)[0])

# %% [markdown]
# <details><summary>Answer</summary>
#
# Words of fables, soon thrown together at random, without any error or warning. The heads attend to wrong positions.
# </details>

# %% [markdown]
# No test of shapes can catch this. What catches it is a comparison of logits with the model that the weights came from.
# The cure is to put the rows into the other order:

# %% tags=["nbval-check-output"]
reorder(downloaded, llama.to_halves)
right, original = judge(downloaded)["excess"], judge(fable_model)["excess"]
print(f"rows reordered: {right:.2f} nats per story above the floor, the original: {original:.2f}")

# %% [markdown]
# ## Part 3: an MLP with a gate
#
# The MLP of notebook 08 has an up-projection, an activation function and a down-projection: `down(gelu(up(x)))`. Each
# of the $4C$ numbers in the middle decides for itself whether it gets through: below zero hardly, above zero as it is.
# What if *another* number decided that?
#
# Make two numbers from the same vector, with a row of weights for each. One, `up`, is the content. The other, the
# **gate**, says how much of the content comes through. The gate first goes through an activation function of its own,
# $\mathrm{silu}(z) = z \cdot \sigma(z)$ with $\sigma(z) = 1 / (1 + e^{-z})$, also called *swish*. Here are four such
# pairs; compare the first with the last.

# %% tags=["nbval-check-output"]
up = torch.tensor([2.0, 2.0, 2.0, -3.0])
gate = torch.tensor([4.0, 0.0, -4.0, 4.0])
opened = gate * torch.sigmoid(gate)
print("silu of the gate:", [round(v, 2) for v in opened.tolist()])
print("comes through:   ", [round(v, 2) for v in (opened * up).tolist()])

# %% [markdown]
# An open gate lets the 2 through, even enlarged. A gate at 0 lets nothing through, a very negative one almost nothing.
# And −3 comes through as a negative number, which a GELU would have cut off. As curves, GELU and silu have the same
# shape; the third one, squared ReLU, comes up again at the end of this notebook.

# %%
z = torch.linspace(-4, 2.5, 131)
functions = {"GELU": F.gelu(z), "silu": z * torch.sigmoid(z), "squared ReLU": F.relu(z).square()}
figure, axes = canvas(6.5, 3.4)
for (name, y), style, colour in zip(functions.items(), ("-", "--", "-."), SERIES, strict=False):
    axes.plot(z, y, style, color=colour, label=name)
axes.set(xlabel="z", ylabel="activation function of z", ylim=(-0.5, 3))
axes.legend(loc="upper left")
finish(figure, "GELU and silu, nearly alike with a dip below 0; squared ReLU, 0 up to 0, then a parabola.")

# %% [markdown]
# Put together, with three matrices, this is **SwiGLU**, a *gated linear unit* with *swish*:
#
# $$ \mathrm{SwiGLU}(x) = W_\text{down} \big( \mathrm{silu}(W_\text{gate}\, x) \odot W_\text{up}\, x \big) $$
#
# where $\odot$ multiplies number by number. Gates of this kind are from [Dauphin et al.
# 2016](https://arxiv.org/abs/1612.08083). That they help a transformer was found by Noam Shazeer
# ([2020](https://arxiv.org/abs/2002.05202)), whose paper explains it like this: "We offer no explanation as to why
# these architectures seem to work; we attribute their success, as all else, to divine benevolence."
#
# ### Your turn: An MLP with a gate
#
# `llama.6` · *core* · 10 minutes
#
# `x` is a float32 tensor [B, T, C]; `gate` and `up` are [W, C] and `down` is [C, W], as `nn.Linear` stores its weight
# (so `x @ gate.T`). Return a tensor [B, T, C].
#
# ```python
# def swiglu(x: Float[Tensor, "B T C"], gate: Float[Tensor, "W C"], up: Float[Tensor, "W C"],
#            down: Float[Tensor, "C W"]) -> Float[Tensor, "B T C"]
# ```
#
# For example, with B = T = C = W = 1 and x = 2, gate = 2, up = 1, down = 3 the result is 23.57: silu(4) = 3.93, times
# 2, times 3.

# %% tags=["nbval-check-output"]
def swiglu(x, gate, up, down): ...


check("llama.6", swiglu)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# return (F.silu(x @ gate.T) * (x @ up.T)) @ down.T
# ```
#
# With modules in place of matrices it is one line of the package: `self.down(F.silu(self.gate(x)) * self.up(x))`.
# </details>

# %% [markdown]
# It wouldn't be a fair comparison to give it three matrices of the old size. At width $4C$ the old MLP has $2 \cdot C
# \cdot 4C$ parameters. *How wide may the new one be, for $C = 192$?*

# %%
predict("llama.d", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
for C in (48, 192, 4096):
    print(f"C = {C:5}: 4C = {4 * C:6}, with a gate {8 * C / 3:10.1f}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# 512. Three matrices of width $W$ hold $3\,C\,W$ parameters, so $W = \tfrac{8}{3} C$, two thirds of $4C$.
# </details>

# %% [markdown]
# Llama 2 7B has $C = 4096$; it takes the whole number and rounds it up to a multiple of 256, which makes 11,008. Llama
# 3 8B went wider, to 14,336. The package's module against the formula, the library, and the count of parameters:

# %% tags=["nbval-check-output"]
mlp = llama.SwiGLU(replace(gpt2, mlp_size=128))
x = torch.randn(2, 5, 48)  # [B, T, C]
G, U, D = mlp.gate.weight, mlp.up.weight, mlp.down.weight
g = x @ G.T  # [B, T, W]
by_hand = (g * torch.sigmoid(g) * (x @ U.T)) @ D.T  # [B, T, C]
library = F.linear(F.silu(F.linear(x, G)) * F.linear(x, U), D)
print("as by hand:       ", torch.allclose(mlp(x), by_hand, atol=1e-6))
print("as in the library:", torch.allclose(mlp(x), library, atol=1e-6))
old_mlp = MLP(gpt2)
print("parameters, old and new:", *(f"{sum(p.numel() for p in m.parameters()):,}" for m in (old_mlp, mlp)))

# %%
swiglu_config = replace(rope_config, mlp="swiglu", mlp_size=128)
measure("+ SwiGLU", swiglu_config)

# %% [markdown]
# Compare that with the run before it. In all four of our seeds the gated MLP came out **worse**, with exactly as many
# parameters: its best seed is behind the worst one without a gate. Before you blame Shazeer, or suspect a bug: how
# large is the output of the two MLPs before any training? The next cell fills all their matrices with GPT-2's standard
# deviation, 0.02, at three widths, and feeds them numbers of size 1. Follow the last column downwards.

# %%
rows = []
for C in (48, 768, 2048):
    x, sizes = torch.randn(1, 30, C), []
    for kind, width in (("gelu", 4 * C), ("swiglu", 8 * C // 3)):
        mlp = make_mlp(GPTConfig(9, n_embd=C, mlp=kind, mlp_size=width, bias=False))
        for matrix in mlp.parameters():
            torch.nn.init.normal_(matrix, std=0.02)
        sizes.append(mlp(x).std().item())
    rows.append((C, f"{sizes[0]:.4f}", f"{sizes[1]:.4f}", f"{sizes[0] / sizes[1]:.1f} ×"))
pictures.table(rows, ["C", "output, GELU", "output, SwiGLU", "GELU : SwiGLU"])

# %% [markdown]
# Here is a possible reason. The gate multiplies two numbers. Where both are small, as they are at the start in a narrow
# model, the product is tiny, so the block adds next to nothing at first. (A small gradient alone wouldn't matter to
# Muon, which ignores its size.) GPT-2 used 0.02 at widths from 768 to 1,600, and there the two outputs are much nearer
# to each other. In our model the gated MLP starts out almost silent. That can be tested: multiply every matrix of the
# blocks by 4 at the start, which is the square root of 768 / 48. A sum of $C$ random products grows like $\sqrt{C}$
# (notebook 06), so what comes out of the matrices is as large as in GPT-2.

# %%
measure("+ SwiGLU, 4 × as large at the start", swiglu_config, times=4)

# %% [markdown]
# In our runs that closed a good part of the gap and not all of it, so the start explains some of the difference. Take
# the lesson with you: **a part that is better in large models need not be better in yours, and a comparison always
# compares the settings, too.** Shazeer's models were 768 wide and trained for half a million steps.
#
# ## Part 4: fewer keys than queries
#
# Notebook 11 ended with a bill. Each token leaves a key and a value in every layer and every head, and a service that
# generates long texts for many people pays for that in memory. Queries aren't stored, so they cost nothing there. Which
# suggests a trade: keep all the query heads, and let several of them share one head of keys and values.

# %%
pictures.shared_heads(4, 4, 2, 1)

# %% [markdown]
# The middle one is **grouped-query attention** ([Ainslie et al. 2023](https://arxiv.org/abs/2305.13245)); its number of
# key heads, G, is `n_kv_head` in `GPTConfig`. The one on the right is **multi-query attention**, four years older
# ([Shazeer 2019](https://arxiv.org/abs/1911.02150)). The one on the left is what you have had since notebook 06.
#
# ### Your turn: One head of keys for several of queries
#
# `llama.7` · *core* · 5 minutes
#
# There are G heads of keys and H query heads, H a multiple of G, and neighbouring query heads share: with G = 2 and H =
# 6, query heads 0, 1, 2 read the first keys and heads 3, 4, 5 the second. `k` is a float32 tensor [B, G, T, hs], `H` an
# `int`. Return the keys as every query head sees them, a tensor [B, H, T, hs].
#
# ```python
# def share(k: Float[Tensor, "B G T hs"], H: int) -> Float[Tensor, "B H T hs"]
# ```
#
# For example, with T = hs = 1, keys `[[[[5.0]], [[7.0]]]]` and H = 4 give 5, 5, 7, 7.

# %% tags=["nbval-check-output"]
def share(k, H): ...


check("llama.7", share)

# %% [markdown]
# In the cell below, heads 0 and 1 read the first keys and values, heads 2 and 3 the second. Everything else is the
# attention that you know.

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
# One word of that cell is easy to get wrong, because PyTorch's `repeat` also copies:

# %% tags=["nbval-check-output"]
heads = torch.arange(G)
print("repeat_interleave:", heads.repeat_interleave(H // G).tolist())
print("repeat:           ", heads.repeat(H // G).tolist())
mixed = attention.attend(q, *(t.repeat(1, H // G, 1, 1) for t in (k, v)), masking.causal(T))
print("same shape:", mixed.shape == out.shape, "  same numbers:", torch.allclose(mixed, out))

# %% [markdown]
# With `repeat`, query head 1 reads the second keys. A model trained like that from the start wouldn't mind. Published
# weights do.
#
# How much does sharing save? Llama 3 70B has 64 query heads and 8 heads of keys and values. How many times smaller is
# its cache than with 64 of each?

# %%
predict("llama.e", ...)

# %% tags=["answers-prediction"]
tokens = (1024, 8192, 32768, 131072)
cost = {}
for size, heads in (("70B", 64), ("70B", 8), ("8B", 32), ("8B", 8)):
    config = llama_config(size, n_kv_head=heads)
    cost[f"{size}, {heads} heads of keys"] = [(T, sampling.cache_bytes(config, T, width=2) / 2**30) for T in tokens]
card = {"one 80 GB card": 80e9 / 2**30}
pictures.lines(cost, "tokens in the cache of one text", "GiB (2 bytes per number)", log="xy", level=card)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Eight times. Only the heads of keys and values are cached.
# </details>

# %% [markdown]
# Both axes are logarithmic, and all four lines rise alike: the cache grows with the text, shared or not. Sharing moves
# the whole line down. At 131,072 tokens, the context of Llama 3.1, the cache of one text, in a 70B model with a head of
# keys for every query head, wouldn't fit into four such cards; with shared heads it takes about half of one. The
# weights come on top of that.

# %%
llama_like = replace(swiglu_config, n_kv_head=2)
measure("+ grouped queries", llama_like)

# %% tags=["nbval-check-output"]
for name, config in {"H heads of keys": swiglu_config, "half as many": llama_like}.items():
    kib = sampling.cache_bytes(config, T=config.context) / 1024
    count = gpu.parameters_by_part(config)["attention"]
    print(f"{name:16} cache {kib:.0f} KiB per text, attention {count:,} parameters")

# %% [markdown]
# Half the cache, and fewer parameters in the matrices of keys and values. Now compare the change in the loss with the
# difference between two seeds. That's the trade in large models, too: nobody shares heads to get a better loss; it is
# done for the memory. And with that, this model is a Llama.
#
# ## All four, and the seeds
#
# Here are the runs of this notebook, one curve per step of the way. Watch *when* each curve falls rather than only
# where it ends.

# %%
chain = ("GPT-2", "+ RMSNorm", "+ RoPE", "+ SwiGLU", "+ grouped queries")
curves = {name: [(e["step"], e["excess"]) for e in runs[name].evaluations] for name in chain}
pictures.lines(curves, "step", "nats per story above the floor")

# %% [markdown]
# One run of each is one roll of the dice. The numbers in the next cell were **made beforehand** with this notebook's
# `measure`: four seeds for each model after 250 steps, seed 0 first, and two seeds after 1,000 steps. Your own seed 0
# may differ, now and then by several nats, because other machines round their sums in another order. Every dot is one
# run. Where two rows of dots overlap, don't believe in a difference.

# %%
recorded = {
    "GPT-2": ((21.4, 17.2, 18.1, 20.1), (6.4, 4.5)),
    "+ RMSNorm": ((19.9, 18.1, 16.9, 19.4), (5.0, 4.3)),
    "+ RoPE": ((15.1, 12.6, 13.6, 14.3), (4.4, 8.0)),
    "+ SwiGLU": ((31.4, 32.8, 35.8, 20.5), (10.1, 9.9)),
    "+ grouped queries: a Llama": ((35.4, 20.4, 30.9, 31.7), (10.2, 9.4)),
    "+ RoPE, 4 × at the start": ((10.9, 12.5, 12.2, 12.3), ()),
    "+ SwiGLU, 4 × at the start": ((20.1, 16.1, 20.3, 19.9), ()),
}
figure, axes = canvas(8.5, 3.6)
for row, (short, long) in enumerate(recorded.values()):
    axes.plot(short, [row] * len(short), "o", color=SERIES[0], markersize=8, label="" if row else "250 steps")
    axes.plot(long, [row] * len(long), "D", color=SERIES[5], markersize=7, label="" if row else "1,000 steps")
axes.set_yticks(range(len(recorded)), list(recorded))
axes.set(xlabel="nats per story above the floor", xlim=(0, 38), ylim=(len(recorded) - 0.4, -0.6))
axes.grid(axis="y")
axes.legend(loc="lower right", title="made beforehand")
ranges = "; ".join(f"{name} {min(short)} to {max(short)}" for name, (short, _) in recorded.items())
finish(figure, f"A dot for each recorded run, in nats per story above the floor. After 250 steps: {ranges}.")

# %% [markdown]
# Now you can say what each part did, and how sure that is. First the circles, 250 steps:
#
# - **RMSNorm:** the dots overlap. Four seeds can't tell it from layer norm, which is what its authors promise for the loss.
# - **RoPE:** its worst seed is better than the best one without it. That is an effect.
# - **SwiGLU:** worse in runs as short as these. But look how far its dots are spread: one seed is more than ten nats
#   ahead of the others. A mean over such runs would describe none of them.
# - **Grouped queries:** nearly the same range as the row above. If there is an effect, it can't be told from
#   luck.
#
# The last two rows test the explanation about the start. Larger matrices help the old MLP a little and the gated one a
# lot, as they should if the explanation is right, and they don't make the two equal.
#
# Now the diamonds, four times as many steps. RoPE's head start is used up: it had learned recall sooner, and in these
# two seeds not better. The gated models have come much closer, and they are still behind. So at our size one part
# helped early, one cost something, and two can't be seen in the loss.
#
# Why then did Llama take all four? Not for models of a hundred thousand parameters. RMSNorm is simpler. RoPE knows
# distances, which the moved stories showed better than any training curve could, and it can be stretched to longer
# texts. Grouped queries save memory. And SwiGLU won in Shazeer's tables, at his size and his length of training. **A
# measurement holds where it was made.** If you build at another size, measure again.

# %% [markdown]
# ## At size: the real ones
#
# A published Llama is one configuration. Which of its fields differ from GPT-2's?

# %% tags=["nbval-check-output"]
fields = ["vocab_size", "context", "n_layer", "n_embd", "n_head", "n_kv_head", "mlp_size"]
fields += ["norm", "position", "mlp", "bias", "tie_weights", "rope_theta"]
four = [GPTConfig.gpt2("124M"), *(llama_config(size) for size in ("2-7B", "8B", "405B"))]
rows = [(name, *(str(getattr(config, name)) for config in four)) for name in fields]
pictures.table(rows, ["field", "GPT-2 124M", "Llama 2 7B", "Llama 3 8B", "Llama 3.1 405B"], align="lrrrr")

# %% [markdown]
# Down to `mlp_size` these are sizes, below come the parts. `None` means the default: as many heads of keys as of
# queries, and a width of $4C$. GPT-2 has no use for its `rope_theta`. Look at `n_kv_head`: Llama 2 7B doesn't share. Of
# the published Llama 2 models only the largest does; of Llama 3, all do.
#
# Drawn side by side, each from its configuration:

# %%
pictures.architecture(GPTConfig.gpt2("124M"), llama_config("8B"), names=["GPT-2", "Llama 3 8B"])

# %% [markdown]
# Is it exactly Llama? The publishers counted their parameters, so let's count ours. On the **meta device** a tensor has
# a shape and no numbers, which is fortunate, because 405 billion numbers of four bytes would take 1.6 terabytes.

# %% tags=["nbval-check-output"]
published = {"2-7B": 6_738_415_616, "8B": 8_030_261_248, "70B": 70_553_706_496, "405B": 405_853_388_800}
for size, expected in published.items():
    with torch.device("meta"):
        count = GPT(llama_config(size)).count_parameters()
    print(f"{size:5} {count:>15,}  as published: {count == expected}")

# %% [markdown]
# Equal to the last parameter.
#
# *Before you run on:* Llama 3 has a vocabulary of 128,256 tokens. What fraction of the 8B model are its embedding and
# its head?

# %%
predict("llama.f", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
def percent(part, whole):
    return "–" if not part else f"{100 * part / whole:.1f}" if part > whole / 2000 else "< 0.1"


rows = []
for name, config in zip(("GPT-2 124M", "Llama 2 7B", "Llama 3 8B", "Llama 3.1 405B"), four, strict=True):
    parts = gpu.parameters_by_part(config)
    columns = [parts["embedding"] + parts["head"], *(parts[key] for key in ("position", "attention", "mlp", "norms"))]
    rows.append((name, *(percent(column, sum(parts.values())) for column in columns)))
head = ["percent of", "embedding and head", "positions", "attention", "MLP", "norms"]
pictures.table(rows, head, align="lrrrrr")

# %% [markdown]
# <details><summary>Answer</summary>
#
# About 13 percent. In the smallest GPT-2, the embedding alone is almost a third.
# </details>

# %% [markdown]
# Follow the rows down. As a model grows, its embedding matters less and less. What's left is two thirds MLP in GPT-2
# and Llama 2, and more in Llama 3, where keys are shared and the MLP is wider. And the norms, which opened this
# notebook, are next to nothing; saving parameters was never their purpose.
#
# ### The same logits
#
# Equal counts prove little: a model that rotates the wrong pairs has the same count. So let's compare what comes out
# with a Llama made by `transformers`, the library most people use, with random weights and an odd shape. The course
# doesn't need this library; if it is missing, the cell says so and goes on.

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
# That is rounding. The tests of the course do the same for dozens of shapes, tied and untied, with scaled positions,
# and in both directions.
#
# ### Longer texts: how Llama 3.1 slows down the slow hands
#
# Llama 3 was trained on 8,192 tokens, Llama 3.1 reads 131,072. What stands in the way are the slow pairs. A hand that
# goes round many times within 8,192 tokens has been seen at every angle. A hand that was still on its first round has
# not: further on come angles that never occurred. So slow down those hands by a factor of 8, leave alone those that go
# round more than four times, and slow the few in between by something in between. In the picture, the dotted line is
# the 8,192 tokens of the original training. Compare the two lines of Llama 3 above and below it.

# %%
kinds = {"Llama 2": (1e4, None), "Llama 3": (5e5, None), "Llama 3.1": (5e5, RopeScaling(factor=8))}
waves = {}
for name, (theta, scaling) in kinds.items():
    turns = 2 * math.pi / llama.rope_frequencies(128, theta, scaling)  # [hs / 2]  tokens for a full turn
    waves[name] = [(i, float(turns[i])) for i in range(0, 64, 3)]
seen = {"seen": 8192}
axes = ("pair of channels (of a head with 128)", "tokens for one full turn")
pictures.lines(waves, *axes, log="y", level=seen, legend="upper left")

# %% tags=["nbval-check-output"]
plain, slowed = (llama.rope_frequencies(128, 500_000.0, s) for s in (None, RopeScaling(factor=8)))
by = plain / slowed
print("pairs left as they are:", int((by < 1.0001).sum()), " slowed 8 times:", int((by > 7.999).sum()))
print("in between:", [round(x, 2) for x in by[(by > 1.0001) & (by < 7.999)].tolist()])

# %% [markdown]
# There are two tricks in this picture. From Llama 2 to 3 the base $\theta$ grew from 10,000 to 500,000, which makes the
# whole line steeper: more slow hands. Llama 3.1 then leaves Llama 3's line where a full turn takes longer than 2,048
# tokens, and is a factor of 8 above it where a turn takes longer than 8,192.
#
# A text 16 times as long still brings some angles that never occurred. So the long context came without new parameters
# but not without new training: hundreds of billions of tokens, in six stages of growing length ([Grattafiori et al.
# 2024](https://arxiv.org/abs/2407.21783), section 3.4.2). The idea of treating fast and slow pairs differently comes
# from a forum post and from YaRN ([Peng et al. 2023](https://arxiv.org/abs/2309.00071)).
#
# ## Taking your model elsewhere
#
# Your last model is a Llama in every part, so other programs can open it. `save_model` writes a folder with the
# configuration, the tokenizer, and the weights as **safetensors**, a format that holds numbers and names and nothing
# that could run when the file is opened.

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
# Now open it as a stranger would who has never heard of `gptlab`: `AutoModelForCausalLM`, `AutoTokenizer`, greedy.

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
    print(f"{type(stranger).__name__} generates the same: {reader.decode(said) == tokenizer.decode(ours)}")
folder.cleanup()

# %% [markdown]
# That is the sentence that travels with us, continued by a Llama of your own making. It's a small and hurried one, so
# don't be surprised if it has forgotten who is in the story. On the command line, `python3 -m gptlab export` does the
# same. And `load_model` goes the other way: it opens the folder of a real Llama, if you have one and the memory for it.
#
# What if a model has a part that neither family knows? Then it gets an architecture of its own. The folder brings the
# model's code along, and `transformers` runs it if you say `trust_remote_code=True`:

# %% tags=["nbval-check-output"]
print(huggingface.write_config(GPTConfig.modern(V, 160))["architectures"][0])

# %% [markdown]
# ## What came after
#
# That last configuration is the course's own recipe, with which its fables models are trained. It keeps layer norm and
# RoPE, and has four parts that Llama doesn't have. Here is each in a few words; the code is in `gptlab/parts.py` and
# `gptlab/model.py`.
#
# - **Normalised queries and keys** (`qk_norm`; [Dehghani et al. 2023](https://arxiv.org/abs/2302.05442)): each query
#   and key is normalised before it is rotated, so that scores can't grow without limit. Qwen 3, Gemma 3 and OLMo 2 have
#   it.
# - **Squared ReLU** ([So et al. 2021](https://arxiv.org/abs/2109.08668)): $\max(0, z)^2$ in place of GELU, in an MLP
#   without a gate. It was found by an automatic search.
# - **A short convolution** before attention ([Poli et al. 2023](https://arxiv.org/abs/2302.10866)): each token takes in
#   its last few neighbours, each channel by itself, and adds them to what it is, so that attention need not find them.
#   You met convolutions in notebook 06.
# - **Blocks that begin as nothing** (`init="zero"`): the last matrix of each part starts at zero, so a block adds
#   nothing at first and the residual stream holds only the tokens.

# %% tags=["nbval-check-output"]
x = torch.tensor([[[1.0], [10.0], [100.0], [0.0]]])  # [B, T, C] = [1, 4, 1]
convolution = llama.ShortConvolution(C=1, width=3)
convolution.weight.data = torch.tensor([[0.0], [0.5], [0.1]])  # itself, one back, two back
mixed = [round(v, 1) for v in convolution(x).flatten().tolist()]
print("each plus half of the one before and a tenth of the one before that:", mixed)
print("squared ReLU of -2, 0, 3:", llama.squared_relu(torch.tensor([-2.0, 0.0, 3.0])).tolist())
silent = GPT(GPTConfig.modern(V, 160, n_layer=2, n_head=4, n_embd=48))
ids = torch.tensor([tokenizer.encode("Once, in a dark forest")])
embedded = silent.embedding(ids)  # [B, T, C]
print("a block of init='zero' adds nothing:", torch.equal(silent.blocks[0](embedded), embedded))

# %% [markdown]
# What is each worth, added to our Llama? These were **made beforehand** as well: 250 steps, four seeds, and squared
# ReLU takes the place of SwiGLU, at $4C$. Compare the last two columns of any two rows.

# %%
added = {
    "our Llama": (35.4, 20.4, 30.9, 31.7),
    "with normalised queries and keys": (35.3, 32.8, 32.4, 18.0),
    "with squared ReLU": (25.8, 33.8, 36.8, 32.4),
    "with a short convolution": (34.1, 33.4, 31.0, 35.9),
    "with init='zero'": (34.3, 40.4, 34.9, 38.7),
    "with all four": (34.4, 34.3, 30.5, 22.7),
}
rows = [(name, *(f"{f(seeds):.1f}" for f in (min, max))) for name, seeds in added.items()]
pictures.table(rows, ["nats per story above the floor", "best seed", "worst seed"], align="lrr")

# %% [markdown]
# Each of them overlaps with our Llama, so runs of 250 steps can't tell any of the four from luck, for better or worse.
# Read that as a statement about the test, not about the parts: it is too short to see what they do. Nothing in this
# notebook shows that the course's recipe is better than a Llama, and if you want to know, you have everything you need
# to find out. Train both for longer, with three seeds each.

# %% [markdown]
# ## More exercises
#
# ### Your turn: From neighbours to halves
#
# `llama.5` · *stretch* · 15 minutes
#
# The rows of a query matrix were trained for pairs of neighbours: within each head, rows 2i and 2i + 1 belong together.
# Reorder them for pairs of halves: within each head, row 2i moves to row i, and row 2i + 1 to row i + hs/2. `weight` is
# a float32 tensor [C, n] whose rows are those of H heads, one head after the other, with an even number hs of rows
# each; `H` is an `int`. Return a tensor [C, n].
#
# ```python
# def neighbours_to_halves(weight: Float[Tensor, "C n"], H: int) -> Float[Tensor, "C n"]
# ```
#
# For example, with one head the rows 0, 1, 2, 3 come in the order 0, 2, 1, 3.

# %% tags=["nbval-check-output"]
def neighbours_to_halves(weight, H): ...


check("llama.5", neighbours_to_halves)

# %% [markdown]
# ### Your turn: How long may the texts be?
#
# `llama.8` · *stretch* · 15 minutes
#
# A device holds the weights, each once, and beside them the KV caches of B texts of equal length. How many tokens can
# each text have, at most? Weights and cache take `width` bytes per number; a head has `n_embd / n_head` numbers. All
# inputs are `int`, `memory` in bytes; the weights fit. Return an `int`, rounded down.
#
# ```python
# def longest(memory: int, parameters: int, n_layer: int, n_head: int, n_kv_head: int, n_embd: int,
#             B: int, width: int) -> int
# ```
#
# For example, memory 1,000, 100 parameters, 1 layer, 4 heads of 2 numbers, 2 of them with keys and values, 3 texts,
# width 2: 800 bytes are left; one more token in each of the 3 texts costs 3 · 16 = 48 bytes; 800 / 48 rounds down to 16
# tokens for each text.

# %% tags=["nbval-check-output"]
def longest(memory, parameters, n_layer, n_head, n_kv_head, n_embd, B, width): ...


check("llama.8", longest)

# %% [markdown]
# ### Your turn: Count a Llama
#
# `llama.9` · *stretch* · 20 minutes
#
# How many parameters does a Llama have? An embedding of V rows of C; L layers with attention (matrices [C, C] for the
# queries and the output; keys and values with `n_kv_head` heads of C / H numbers), SwiGLU of width W, and two norms;
# one more norm at the end; and a head [V, C], which is the embedding itself where the weights are `tied`. No biases
# anywhere. `tied` is a `bool`, everything else an `int`. Return an `int`.
#
# ```python
# def count(V: int, L: int, H: int, n_kv_head: int, C: int, W: int, tied: bool) -> int
# ```
#
# For example, V = 5, L = 1, H = 2, n_kv_head = 1, C = 4, W = 3, tied: 48 for attention, 36 for the MLP, 12 for three
# norms and 20 for the embedding make 116.

# %% tags=["nbval-check-output"]
def count(V, L, H, n_kv_head, C, W, tied): ...


check("llama.9", count)

# %% [markdown]
# ### Your turn: As wide as the budget allows
#
# `llama.10` · *stretch* · 10 minutes
#
# How wide is an MLP with a gate for as many parameters as one with two matrices and $4C$? Take 8 C / 3, **rounded
# down** to a whole number, and round that **up** to the next multiple of `multiple`, because GPUs like round sizes; a
# width that is a multiple already stays. `C` and `multiple` are `int`. Return an `int`.
#
# ```python
# def gated_width(C: int, multiple: int) -> int
# ```
#
# For example, C = 4096 and 256 give 11,008, the width of Llama 2 7B.

# %% tags=["nbval-check-output"]
def gated_width(C, multiple): ...


check("llama.10", gated_width)

# %% [markdown]
# **Open · *stretch*:** does SwiGLU catch up? Choose a number of steps, a width or a start of your own, write down what
# you expect, and measure both MLPs with three seeds each. What would you need to see to change your mind?

# %%
progress("llama")

# %% [markdown]
# ## What to remember
#
# 1. RMSNorm divides by the root mean square and leaves the mean alone. In our runs its loss was no different from layer
#    norm's, and it is simpler.
# 2. RoPE rotates queries and keys by an angle per position; the score knows only the distance. Two pairings are in use,
#    and the wrong one is silent.
# 3. SwiGLU has one matrix for the content and another for how much of it comes through. With equally many parameters it
#    is $\tfrac{8}{3} C$ wide. It was better in Shazeer's large runs and worse in our short ones.
# 4. Grouped queries share heads of keys and values: the cache is H / n_kv_head times smaller. `repeat_interleave`, not
#    `repeat`.
# 5. Compare with several seeds, or say nothing. Equal counts and equal logits are facts; a difference between two runs
#    is one roll of the dice.
#
# | new here | elsewhere this is called |
# |---|---|
# | RMSNorm | `LlamaRMSNorm`, `nn.RMSNorm`; `eps` is `rms_norm_eps` in a Llama's configuration |
# | RoPE, rotary positions | rotary (position) embedding, `rotary_emb`; the base is `rope_theta` |
# | halves, interleaved | `rotate_half` or NeoX style; GPT-J style |
# | SwiGLU, gate, up, down | `gate_proj`, `up_proj`, `down_proj`; `w1`, `w3`, `w2` in Meta's files |
# | silu | swish, `hidden_act: "silu"` |
# | grouped-query attention, `n_kv_head` | GQA, `num_key_value_heads`; with one head MQA |
# | excess | excess loss, reducible loss; for ordinary texts the floor is only estimated |
# | seed | random seed, run |
#
# **Three questions**
#
# 1. A friend loads Llama weights. All shapes fit, the loss is terrible, and nothing raises an error. What do you look
#    at first?
#
# <details><summary>Answer</summary>
#
# The pairing of RoPE, then the order of the shared heads. Both fit in every shape. Compare logits with the original,
# layer by layer: the first layer that differs is the place.
# </details>
#
# 2. Why are keys rotated before they go into the cache, and never again later?
#
# <details><summary>Answer</summary>
#
# A key is rotated by its own position, which never changes. The distance arises in the dot product, with whichever
# query comes.
# </details>
#
# 3. H = 32, n_kv_head = 8. By what factor does the work of computing scores shrink?
#
# <details><summary>Answer</summary>
#
# By none: every query head still meets every key. Only the cache, and the matrices that make keys and values, are
# smaller.
# </details>

# %% [markdown]
# **To go deeper:** Hugo Touvron et al., [LLaMA](https://arxiv.org/abs/2302.13971) (2023), section 2.2, where three of
# the four parts are described in twelve lines; Jianlin Su et al., [RoFormer](https://arxiv.org/abs/2104.09864) (2021),
# section 3; Noam Shazeer, [GLU Variants Improve Transformer](https://arxiv.org/abs/2002.05202) (2020), a few pages
# only. In the package, `gptlab/parts.py` and `gptlab/llama.py`.

# %%
recap("llama")

# %% [markdown]
# ## Next
#
# You can build and count every model of this family, and yours trains in seconds. But all that it does is continue a
# text. [Notebook 14](14_finetuning.ipynb) turns such a model into one that does what you ask.
#
# And the real ones took months on thousands of GPUs. What does it take to train one at speed: precision, memory, many
# devices? [Notebook 17](17_gpu_training.ipynb) begins with the machine that you have, and
# [notebook 18](18_many_gpus.ipynb) goes on to many.
