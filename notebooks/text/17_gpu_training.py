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
# # 17 · GPU training
#
# *You find out where the time and the memory of a training step go, change one thing after another, and train on
# whatever machine you have, with the figures of a real GPU beside your own.*
#
# The model doesn't change in this notebook. Everything is about the machine underneath. We measure, change one thing,
# and measure again, so that in the end you can say what each trick is for, and what it gains *on your machine*.
#
# **After this notebook you can**
#
# - time a computation correctly, and say whether arithmetic or memory limits it,
# - choose a device and a precision, and give your reasons,
# - explain what fused attention, `torch.compile` and CUDA graphs save, and when they save nothing,
# - predict the memory of a training step line by line, check it, and shrink it in three ways,
# - say how much of a machine a run uses, and how long the next one will take.
#
# **It builds on** batches (04), attention (06), the model (08), training (10) and the parts of Llama (12). **It takes**
# about 70 minutes to read, and about a minute and a half to run on two CPU cores, with 1 GB of memory. With an NVIDIA
# card the same cells choose larger sizes and take a few minutes; 8 GB of card memory are enough.

# %%
import dataclasses
import math
import statistics
import tempfile
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

# %%
from gptlab import attention, checkpoints, cluster, gpu, pictures, runs, sampling, training
from gptlab.batches import IGNORE, Batches, StoryBatches, write_tokens
from gptlab.corpora import fables
from gptlab.evaluation import StoryEvaluation
from gptlab.exercises import check, hint, predict, progress, quiz, recap, solution
from gptlab.lab.comparison import StoryWords
from gptlab.masking import causal
from gptlab.model import GPT, GPTConfig
from gptlab.optimizers import make_optimizers
from gptlab.train_step import checkpoint_blocks
from gptlab.training import TrainConfig

torch.set_num_threads(1)  # on a CPU we measure one core: times are steadier
_ = torch.manual_seed(0)
pictures.pipeline("gpu")

# %% [markdown]
# Three questions about earlier notebooks, if you like. Replace the dots with your letters.

# %%
quiz("gpu", [..., ..., ...])

# %% [markdown]
# ## The question: could you train GPT-2 here?
#
# The smallest GPT-2 has 124 million parameters. How much work is it to train? Every parameter takes part in one
# multiplication and one addition for each token: two operations in the forward pass, and twice as many in the backward
# pass, which needs a product for the gradient of the input and another for that of the weight
# ([Kaplan et al. 2020](https://arxiv.org/abs/2001.08361), section 2.1). With N parameters and D tokens that is
#
# $$ \text{work} \approx 6\,N\,D . $$
#
# One multiplication or addition of two floating-point numbers is a **FLOP**, a floating-point operation. A rate is
# written in FLOP/s: billions of them are GFLOP/s, trillions TFLOP/s. nanoGPT ([Karpathy
# 2022](https://github.com/karpathy/nanoGPT)) trains GPT-2 on about 300 billion tokens. Let's time one large matrix
# product on one core, and divide.

# %%
x = torch.rand(768, 768)
x @ x  # the first time is slower, so it isn't counted
began = time.perf_counter()
for _ in range(5):
    x @ x
rate = 5 * 2 * 768**3 / (time.perf_counter() - began)  # 768³ products, and as many sums
work = 6 * 124e6 * 300e9
print(f"one CPU core here: about {rate / 1e9:,.0f} GFLOP/s")
print(f"training GPT-2 on it would take {work / rate / 3600 / 24 / 365:,.0f} years")

# %% [markdown]
# That's years on the fastest of cores, and decades or a century on most. nanoGPT's README (December 2022) says about
# four days, on eight A100 cards. What do they do differently, how would you know that it is true, and what can you do
# with the machine that you have?
#
# Before anything else, turn that division into a tool. A data sheet says that an A100 can do 312 TFLOP/s in 16 bits.
# Nobody reaches that; let's say that a run gets 35 % of it. Then eight of them need
#
# $$ \frac{6 \cdot 124 \cdot 10^6 \cdot 300 \cdot 10^9}{8 \cdot 312 \cdot 10^{12} \cdot 0.35}\ \text{seconds} = 3.0\ \text{days}. $$

# %% [markdown]
# ### Your turn: How many days?
#
# `gpu.1` · *warm-up* · 5 minutes
#
# Before you pay for a run: how many days will it take? A step takes about six floating-point operations per parameter
# and token (forward and backward together). Each of the `gpus` could do `peak` of them per second, and the run reaches
# the fraction `mfu` of that (a number between 0 and 1).
#
# Input: `parameters`, `tokens`, `peak`, `mfu`, each a `float`, and `gpus`, an `int`. Result: a `float`, in days.
#
# ```python
# def days(parameters: float, tokens: float, gpus: int, peak: float, mfu: float) -> float
# ```


# %% tags=["nbval-check-output"]
def days(parameters, tokens, gpus, peak, mfu): ...


check("gpu.1", days)

# %% [markdown]
# ## Which device?
#
# The simplest question has a trap. Torch may say that a GPU is there, and then the first real computation fails, or
# comes back wrong. So `pick_device` doesn't stop at asking. It computes one small attention, forward and backward, and
# compares loss and gradient with those of the CPU.

# %%
device = gpu.pick_device()
on_gpu = device.type == "cuda"
dtype = gpu.pick_dtype(device)
print("device:", device, "  precision:", str(dtype)[6:], "  sizes for a GPU" if on_gpu else "  sizes for one CPU core")
print(f"measured on: {gpu.device_name(device)}, torch {torch.__version__}, {date.today()}")

# %% tags=["nbval-check-output"]
here, there = gpu.one_batch("cpu"), gpu.one_batch(device.type)
close = [bool((a - b).abs().max() < 1e-3) for a, b in zip(here, there, strict=True)]
print("loss as on the CPU:", close[0], "  gradient as on the CPU:", close[1])

# %% [markdown]
# You have an NVIDIA card, and the line says `cpu`? Then torch can't reach it; `python3 -m gptlab doctor` says why. Often
# the installed build of torch is one for CPUs only. Apple's MPS is taken only if you ask, `pick_device("mps")`, because
# some of its operations have been silently wrong in some releases. Even then the comparison decides.
#
# ### The machine that you may not have
#
# A figure in this notebook was measured where the cell ran, on the machine named above, unless it says **RECORDED**.
# Records come from somebody else's GPU. Each carries its device, the day, the command and the commit, because a figure
# without its machine says nothing. These are the records that come with the course:

# %%
recorded = {record.what: record for record in runs.recorded() if record.kind == "cuda"}
bench = recorded.get("bench gpu")
for record in recorded.values():
    print(*str(record).splitlines()[:3], sep="\n")


def number(record, words):
    """The single figure of a record whose name has these words."""
    return next(value for name, value in record.numbers.items() if words in name)


def recorded_table(words):
    """A table of the recorded benchmark, with its origin over it."""
    name = next((name for name in bench.tables if words in name), None) if bench else None
    if name is None:
        return f"there is no record of {words} on a GPU in data/recorded"
    return pictures.table(bench.tables[name], caption=f"RECORDED on {bench.device}, {bench.date}: {name}")


# %% [markdown]
# ### Something to measure
#
# We take fables with the word tokens of notebook 06, and a small GPT with the parts of notebook 12. Nothing in the
# program asks for a GPU; the two versions differ in their sizes, and in one detail. The larger model doesn't share its
# output matrix with the embedding. Its blocks begin as the identity, so with tied weights and that many channels it
# would start out by predicting, with great confidence, the token that it read last.

# %%
words = StoryWords()
V, end = words.vocab_size, words.end
both = dict(context=160, convolution=4, n_head=8)
for_cpu = GPTConfig.modern(V, n_layer=1, n_embd=96, mlp_size=192, **both)
for_gpu = GPTConfig.modern(V, n_layer=4, n_embd=512, mlp_size=2048, tie_weights=False, **both)
config, steps, B = (for_gpu, 1000, 64) if on_gpu else (for_cpu, 800, 8)


def documents(n, seed):
    return [[*words.encode(story.text), end] for story in fables.tell(n, seed=seed)]


def new_model(config=config, device=device, seed=1):
    torch.manual_seed(seed)
    return GPT(config).to(device)


T = round(statistics.mean(len(ids) for ids in documents(200, seed=2)))
print(f"B = {B} stories of about T = {T} tokens; {gpu.count_parameters(config):,} parameters; V = {V}")

# %% [markdown]
# ## Break it: a clock that is read too early
#
# Before you measure, make the mistake that everybody makes once. A GPU works **asynchronously**: a call only puts work
# into a queue and returns, and Python goes on. So that you can see it on any machine, here is a stand-in for such a
# device, made of one thread. It multiplies ten pairs of matrices. Compare the two rates; where there is a real card,
# two more lines show what it does.

# %%
queue = ThreadPoolExecutor(max_workers=1)  # it takes work, and does it later


def two_readings(n, start, wait, times=10):
    """FLOP/s of products of n × n, read off when they have been started, and when they are done."""
    start(), wait()  # the first time is slower
    began = time.perf_counter()
    for _ in range(times):
        start()
    too_early = time.perf_counter() - began
    wait()
    done = time.perf_counter() - began
    return [times * 2 * n**3 / seconds for seconds in (too_early, done)]


a = torch.rand(768, 768)
readings = {"thread": two_readings(768, lambda: queue.submit(torch.matmul, a, a), lambda: queue.submit(int).result())}
if on_gpu:
    large = torch.rand(8192, 8192, device=device)
    readings["card"] = two_readings(8192, lambda: large @ large, torch.cuda.synchronize)
for name, (early, late) in readings.items():
    print(f"{name}, read too early: {early / 1e12:8.2f} TFLOP/s")
    print(f"{name}, after waiting:  {late / 1e12:8.2f} TFLOP/s")

# %% tags=["nbval-check-output"]
print("the clock was read too early:", all(early > 2 * late for early, late in readings.values()))

# %% [markdown]
# The first number is spectacular and meaningless: it says how fast work can be *queued*. A rate above what the maker of
# a card promises is nearly always this mistake.
#
# So wait before you start the clock, and wait before you read it. The first runs aren't counted, because memory is
# allocated in them and kernels are chosen; a **kernel** is a program that runs on the device. Of the others you take
# the median, so that one disturbed run doesn't matter. Suppose that three runs take 3.0, 0.5 and 0.6 seconds and the
# first is the warm-up: the answer is 0.55.

# %% [markdown]
# ### Your turn: Read the clock at the right time
#
# `gpu.2` · *core* · 15 minutes
#
# `device.start()` launches some work and returns a millisecond later, before the work is done; `device.wait()` returns
# when all that was launched is done; `device.clock()` is the time. Something that others have launched may still be
# running when you come. Do the work `warmup` times without counting it, then `repeats` times, time each of these by
# itself (with nothing else running), and return the **median** of their seconds. The median of an even number of runs
# is the mean of the middle two.
#
# Input: a `device`, and two `int`: `repeats`, at least 1, and `warmup`, at least 0. Result: a `float`, in seconds.
#
# ```python
# def seconds_of(device: SlowDevice, repeats: int, warmup: int) -> float
# ```


# %% tags=["nbval-check-output"]
def seconds_of(device, repeats, warmup): ...


check("gpu.2", seconds_of)

# %% [markdown]
# <details><summary>Our version</summary>
#
# `gptlab.gpu.measure` is the same five steps, with `torch.cuda.synchronize` in the place of `wait`:
#
# ```python
# for run in range(warmup + repeats):
#     synchronize(device)
#     started = time.perf_counter()
#     work()
#     synchronize(device)
#     if run >= warmup:
#         times.append(time.perf_counter() - started)
# return statistics.median(times)
# ```
# </details>
#
# ## Two ceilings
#
# Why is one operation slow and another fast? A machine has two limits. It can do only so many FLOPs per second, and
# move only so many bytes per second between its memory and the place where the arithmetic happens. Adding two vectors
# of n numbers is n FLOPs, while 3n numbers travel, two in and one out, of 4 bytes each. Multiplying two n × n matrices
# is $2n^3$ FLOPs, while only $3n^2$ numbers travel.
#
# The number of FLOPs per byte moved is called the **arithmetic intensity**. *Before you run the next cell:*

# %%
predict("gpu.b", ...)

# %% tags=["answers-prediction", "nbval-check-output"]
rows = [("adding two vectors, any n", f"{1 / (3 * 4):.2f}")]
for n in (6, 12, 96, 768, 8192):
    rows.append((f"product of two {n} × {n} matrices", f"{2 * n**3 / (3 * n**2 * 4):,.0f}"))
rows.append(("one row times a 768 × 768 matrix", f"{2 * 768**2 / ((768**2 + 2 * 768) * 4):.2f}"))
pictures.table(rows, ["work, in float32", "FLOPs per byte"], align="lr")

# %% [markdown]
# <details><summary>Answer</summary>
#
# b, twice as many: n / 6. Eight times the FLOPs on four times the numbers, so each number is used twice as often.
# </details>
#
# Look at the last row. That is a model writing one token (notebook 11): every weight travels, and is used for two
# FLOPs.
#
# Now put the two limits together. If computing and moving go on at the same time, the slower one decides:
#
# $$ \text{FLOP/s} \le \min(\text{rate},\ \text{intensity} \cdot \text{bandwidth}) $$
#
# Drawn against the intensity this looks like a roof, and is called the **roofline** (Williams, Waterman and Patterson
# 2009). A machine with 100 GFLOP/s and 10 GB/s has its **ridge**, the point where the slope meets the flat part, at 10
# FLOPs per byte. Left of the ridge work waits for memory, and faster arithmetic would gain nothing; right of it work
# waits for arithmetic. For one row times a [4, 3] matrix in float32, on a machine with 1 byte per second and all the
# arithmetic in the world, 24 FLOPs meet 76 bytes: 0.32 FLOP/s.

# %% [markdown]
# ### Your turn: Under which ceiling?
#
# `gpu.3` · *core* · 10 minutes
#
# A matrix [m, k] is multiplied by one of [k, n]. Both are read from memory once, the result is written once, and a
# number takes `width` bytes. The machine does at most `rate` FLOP/s, and moves at most `bandwidth` bytes per second.
# How many FLOP/s can this product reach at most, if computing and moving go on at the same time? (A multiplication and
# the addition after it are 2 FLOPs.)
#
# Input: four `int` and two `float`. Result: a `float`, in FLOP/s.
#
# ```python
# def attainable(m: int, k: int, n: int, width: int, rate: float, bandwidth: float) -> float
# ```


# %% tags=["nbval-check-output"]
def attainable(m, k, n, width, rate, bandwidth): ...


check("gpu.3", attainable)

# %% [markdown]
# Now the two limits of this machine, measured with a large product and a large copy. A ceiling is the best that a
# machine can do, so here we take the maximum of several tries; the average in the first cell may be well below it.

# %%
roof = gpu.Roofline(
    rate=max(gpu.matmul_flops(device, dtype, repeats=1) for _ in range(20)),
    bandwidth=max(gpu.bandwidth(device, repeats=1) for _ in range(8)),
)
print(f"arithmetic: {roof.rate / 1e9:,.0f} GFLOP/s in {str(dtype)[6:]}")
print(f"memory:     {roof.bandwidth / 1e9:,.1f} GB/s")
print(f"the ridge:  {roof.ridge:.1f} FLOPs per byte")

# %% [markdown]
# And cards? The first four rows are what NVIDIA's data sheets promise for dense matrices in 16 bits. The last is what
# was measured on the recorded card, so that you can see how much of the promise is kept.

# %%
rows = []
for name, year in (("T4", 2018), ("A100", 2020), ("H100", 2022), ("H200", 2023)):
    card = cluster.GPUS[name]
    rows.append((f"{name} ({year}), promised", card.peak / 1e12, card.bandwidth / 1e9))
if bench:
    measured = number(bench, "rate in"), number(bench, "bandwidth")
    rows.append((f"{bench.device}, RECORDED {bench.date}", *measured))
rows = [(name, f"{rate:,.0f}", f"{speed:,.0f}", f"{1000 * rate / speed:.0f}") for name, rate, speed in rows]
pictures.table(rows, ["card", "TFLOP/s", "GB/s", "ridge (FLOPs per byte)"], align="lrrr")

# %% [markdown]
# Compare the last column with the ridge of a CPU core, about ten (yours is above, if you run on one). A card needs many
# more FLOPs per byte before its arithmetic is busy; most of the tricks in this notebook exist for that reason.
#
# Where do the parts of a GPT stand? `gpu.work_by_part` counts FLOPs and bytes for each part of a forward pass, and the
# next cells run each part by itself, for one block and the head, and time it.

# %%
wide, rows_at_once = GPTConfig(5000, context=512, n_layer=1, n_head=6, n_embd=384), 8
if on_gpu:
    wide, rows_at_once = GPTConfig(20000, context=1024, n_layer=1, n_head=12, n_embd=768), 16
counted = gpu.work_by_part(wide, rows_at_once, wide.context, dtype)
N, C, H = rows_at_once * wide.context, wide.n_embd, wide.n_head


def made(*shape):
    return torch.randn(*shape, device=device).to(dtype)


x, y, hidden, logits = made(N, C), made(N, C), made(N, 4 * C), made(N, wide.vocab_size)
qkv, out, up, down, head = made(C, 3 * C), made(C, C), made(C, 4 * C), made(4 * C, C), made(C, wide.vocab_size)
q = made(rows_at_once, H, wide.context, C // H)  # [B, H, T, hs]
targets = torch.randint(wide.vocab_size, (N,), device=device)

# %%
parts = {  # the work, and how often it occurs in the count
    "projections": (lambda: (x @ qkv, x @ out), 1),
    "attention": (lambda: F.scaled_dot_product_attention(q, q, q), 1),
    "mlp": (lambda: x @ up @ down, 1),
    "head": (lambda: x @ head, 1),
    "activation": (lambda: F.gelu(hidden), 1),
    "norms": (lambda: F.layer_norm(x, (C,)), 3),
    "residual": (lambda: x + y, 2),
    "loss": (lambda: F.cross_entropy(logits, targets), 1),
}
taken = {name: often * gpu.measure(work, device, repeats=3, warmup=1) for name, (work, often) in parts.items()}
points = {name: (counted[name].intensity, counted[name].flops / seconds) for name, seconds in taken.items()}
del logits, hidden, targets
pictures.roofline(roof, points, title=f"One block and the head on {device}, N = {N:,} tokens, C = {C}")

# %% [markdown]
# Two groups. The matrix products stand far to the right, under the flat ceiling. Norms, activation, residual sums and
# the loss stand on the left, where memory decides. A marker below the roof has lost time to something else; one *above*
# the slope found its numbers in a cache, a small fast memory that the measured copy was too large for. If the loss lies
# far below, here is a part of the reason: the count lets it read the logits once, while PyTorch also takes an
# exponential of each and writes a second matrix of that size, the log-probabilities.
#
# What does that mean for the whole? Here is the share of each part, counted in three ways. Look at the small parts,
# first in FLOPs and then in bytes:

# %%
def gathered(values):
    """The shares of the parts, with norms and residual sums as one."""
    return {name: values[name] for name in list(parts)[:5]} | {
        "norms, residual": values["norms"] + values["residual"],
        "loss": values["loss"],
    }


shared = {
    "FLOPs": gathered({name: counted[name].flops for name in parts}),
    "bytes": gathered({name: counted[name].bytes for name in parts}),
    "nanoseconds": gathered({name: 1e9 * taken[name] for name in parts}),
}
pictures.shares(shared, title=f"One block and the head, forward, on {device}")

# %% [markdown]
# Together they are next to nothing in FLOPs, a great deal of the bytes, and their time lies in between. Two kinds of
# remedies follow: make the products cheaper, with fewer bits per number, or move fewer bytes, by doing several small
# things in one kernel. We take them in this order.

# %% [markdown]
# ## How large is a number?
#
# A **float32** has 32 bits: one for the sign, 8 for the exponent, which says how large the number is, and 23 for its
# digits, the **mantissa**. Half as many bits would be half the memory and half the traffic. There are two ways to save
# them.

# %% tags=["nbval-check-output"]
rows = []
for kind in (torch.float32, torch.bfloat16, torch.float16):
    info = torch.finfo(kind)
    digits = round(-math.log2(info.eps))
    exponent = info.bits - 1 - digits  # one is for the sign
    rows.append((str(kind)[6:], info.bits // 8, exponent, digits, f"{info.max:.1e}", f"{info.tiny:.1e}"))
header = ["name", "bytes", "exponent bits", "mantissa bits", "largest", "smallest in full precision"]
pictures.table(rows, header, align="lrrrrr")

# %% [markdown]
# **bfloat16** (Google Brain; [Kalamkar et al. 2019](https://arxiv.org/abs/1905.12322)) keeps the whole exponent and
# shortens the mantissa. **float16**, the older standard (IEEE 754-2008), gives up some of both. And there is a third
# saving, which saves no memory: since 2020 NVIDIA's cards can multiply float32 matrices with only 10 bits of mantissa.
# That is **TF32**, a way of multiplying, not of storing.
#
# *Before you run the next cell:*

# %%
predict("gpu.a", ...)

# %% tags=["answers-prediction", "nbval-check-output"]
total = torch.tensor(256.0, dtype=torch.bfloat16) + 1
print("256 + 1 =", total.item())

# %% [markdown]
# <details><summary>Why</summary>
#
# After 256 come 258 and 260: with seven bits after the leading one, the step at 256 is 2, and the 1 is lost.
# </details>
#
# Adding many small things to a large one goes wrong in 16 bits. That is why sums, the softmax, the loss and the weights
# themselves stay in float32, and only matrix products are computed in 16 bits. The name is **mixed precision**, and
# PyTorch's word for it is `autocast`. What happens to very small and very large numbers?

# %% tags=["nbval-check-output"]
small, large = 1e-8, 70_000.0
for kind in (torch.bfloat16, torch.float16):
    tiny, huge = torch.tensor(small).to(kind).item(), torch.tensor(large).to(kind).item()
    print(f"{str(kind)[6:]:9} 1e-8 becomes {tiny:.2g}, 70,000 becomes {huge:,.0f}")

# %% [markdown]
# Some gradients are that small, and in float16 they vanish. The cure is to multiply the loss by a large number, the
# scale, and to divide the gradients by it in the end ([Micikevicius et al. 2018](https://arxiv.org/abs/1710.03740)).
# How large? Nobody knows in advance, so the **loss scaler** (`GradScaler` in PyTorch) finds out by trial. A gradient of
# 8 with scale 4 is really 2; after some such steps in a row the scale doubles. A gradient of infinity means that the
# scale was too large: this step is skipped, and the scale halved. (The numbers of the exercises aren't in the order of
# the notebook.)

# %% [markdown]
# ### Your turn: The loss scaler of float16
#
# `gpu.6` · *stretch* · 20 minutes
#
# The loss was multiplied by `scale`, so that small gradients do not vanish in float16. If every number of the gradient
# is finite, divide it by `scale` (the one that the loss was multiplied by) and count one good step; when the count
# reaches `grow_after`, the next scale is twice as large and the count begins at 0 again. If any number is infinite or
# NaN, the step is skipped: return None for the gradient, half the scale, and the count 0.
#
# Shapes: `gradient` is a float32 tensor of any shape; leave it unchanged. `scale` is a `float`; `good`, the good steps
# so far, an `int` with 0 ≤ `good` < `grow_after`. Result: three things, the gradient or None, the next scale, the next
# count.
#
# ```python
# def unscale(gradient: Tensor, scale: float, good: int, grow_after: int)
#     -> tuple[Tensor | None, float, int]
# ```


# %% tags=["nbval-check-output"]
def unscale(gradient, scale, good, grow_after): ...


check("gpu.6", unscale)

# %% [markdown]
# bfloat16 reaches as far as float32 and needs none of this. So `pick_dtype` takes bfloat16 on cards that compute in it
# (A100, RTX 30 and newer; NVIDIA calls that **compute capability** 8), float16 with a scaler on older ones, and float32
# on the CPU.
#
# What does it gain? Here are thirty real steps in each precision, from the same weights and on the same stories; the
# first ten are the warm-up and not timed. The last three columns come first: did the learning change? Then compare the
# second column, one large product, with the third, a whole step.

# %%
brief = TrainConfig(steps=30, optimizer="muon", learning_rate=0.02, muon_lr=0.05, warmup=10, evaluate_every=0)
material = StoryBatches(documents(30 * B, seed=5), B, start=end, shuffle=False)
rows, exact = [], None
for kind in (torch.float32, torch.bfloat16, torch.float16):
    for history in training.run(new_model(), material, brief, dtype=kind):
        if history.steps == 10:
            warm = history.tokens, history.seconds
    exact = exact or history
    apart = max(abs(a - b) for a, b in zip(history.losses, exact.losses, strict=True))
    product = gpu.matmul_flops(device, kind, 8192 if on_gpu else 768, repeats=3)
    speed = (history.tokens - warm[0]) / (history.seconds - warm[1])
    losses = f"{history.losses[0]:.3f}", f"{history.losses[-1]:.3f}", f"{apart:.3f}"
    rows.append((str(kind)[6:], f"{product / 1e9:,.0f}", f"{speed:,.0f}", *losses))
header = ["products in", "large product (GFLOP/s)", "tokens per second", "first loss", "last loss", "largest gap"]
pictures.table(rows, header, align="lrrrrr")

# %% [markdown]
# The losses in 16 bits stray from those in float32 by a small fraction of what thirty steps gain. As for speed, it
# depends on the machine. Each figure is one short reading, so on a busy machine it can lie far below the ceiling that
# you measured above (which was for one precision). A recent GPU has units that multiply small blocks of 16-bit numbers
# at once: for the A100, NVIDIA's data sheet of 2020 promises 312 TFLOP/s in 16 bits, 156 in TF32 and 19.5 in float32.
# Some CPUs have such units and some don't. And even where the large product gains, a step of a small model may lose,
# because its weights and activations are converted again and again. A faster product is not yet a faster step.
#
# ## Attention without its weights
#
# In notebook 06 we wrote attention out step by step. PyTorch's own function, `scaled_dot_product_attention` or
# **SDPA**, gives the same result:

# %% tags=["nbval-check-output"]
q, k, v = (torch.randn(2, 3, 10, 4) for _ in range(3))  # [B, H, T, hs]
ours = attention.attend(q, k, v, causal(10))
fast = F.scaled_dot_product_attention(q, k, v, is_causal=True)
print("equal within 1e-6:", bool((ours - fast).abs().max() < 1e-6))

# %% [markdown]
# The two don't cost the same. Written out, the weights [B, H, T, T] are made, and stored for the backward pass. *Before
# you run the next cell:* T doubles.

# %%
predict("gpu.c", ...)

# %% tags=["answers-prediction"]
lengths, shape = ((512, 1024, 2048, 4096), (1, 8, 64)) if on_gpu else ((128, 256, 512, 1024), (1, 4, 32))
batch_of, heads, hs = shape
stored = {"written out": [], "one kernel": []}
times = {"written out": [], "one kernel": []}
for length in lengths:
    holder = torch.nn.Module()  # it holds q, k and v as a model holds its weights, so that these are not counted
    for name in "qkv":
        setattr(holder, name, torch.nn.Parameter(torch.randn(batch_of, heads, length, hs, device=device)))
    three, keep = (holder.q, holder.k, holder.v), causal(length, device=device)
    ways = {
        "written out": lambda three=three, keep=keep: attention.attend(*three, keep).sum(),
        "one kernel": lambda three=three: F.scaled_dot_product_attention(*three, is_causal=True).sum(),
    }
    for name, way in ways.items():
        stored[name].append((length, gpu.activation_bytes(way, holder) / 1e6))
        seconds = gpu.measure(lambda way=way: way().backward(), device, repeats=3, warmup=1)
        times[name].append((length, 1e3 * seconds))
pictures.lines(stored, "T (tokens)", "stored for the backward pass (MB)", log="xy")

# %% tags=["nbval-check-output"]
for name, measured in stored.items():
    print(f"{name:12} twice the length stores {measured[-1][1] / measured[-2][1]:.1f} times as much")

# %% [markdown]
# <details><summary>Answer</summary>
#
# c, nearly four times as much when it is written out. The single kernel stores its inputs, its output and one number
# per query, so twice the length takes it only twice as much.
# </details>
#
# And the time? Every score that counts is still computed, so the work of both grows with the square of T. What the
# kernel saves is traffic. Single points may stick out on a busy machine.

# %%
pictures.lines(times, "T (tokens)", "forward and backward (ms)", log="xy")

# %% [markdown]
# But how can you take a softmax without having the whole row? In pieces. For each query keep the highest score so far,
# the sum of the exponentials, and the running average. When a higher score turns up, scale down what you have.


# %% tags=["nbval-check-output"]
def in_pieces(q, k, v, piece):
    """softmax(q kᵀ / √hs) v for q [Tq, hs], never holding more than [Tq, piece] scores."""
    highest, total = torch.full((len(q), 1), -torch.inf), torch.zeros(len(q), 1)
    average = torch.zeros(len(q), v.shape[1])
    for some_k, some_v in zip(k.split(piece), v.split(piece), strict=True):
        scores = q @ some_k.T / math.sqrt(q.shape[-1])  # [Tq, piece]
        higher = torch.maximum(highest, scores.max(dim=1, keepdim=True).values)  # [Tq, 1]
        shrink, weights = (highest - higher).exp(), (scores - higher).exp()
        total = total * shrink + weights.sum(dim=1, keepdim=True)
        average = average * shrink + weights @ some_v  # [Tq, hs]
        highest = higher
    return average / total


q, k, v = torch.randn(5, 4), torch.randn(13, 4), torch.randn(13, 4)
print("equal within 1e-6:", bool((in_pieces(q, k, v, piece=3) - attention.attend(q, k, v)).abs().max() < 1e-6))

# %% [markdown]
# In the backward pass the scores of each piece are computed again from q and k, and the one number stored per query,
# the logarithm of its `total` with `highest` added, turns them into weights. With pieces that fit into the small fast
# memory of a GPU, this is **flash attention** ([Dao et al. 2022](https://arxiv.org/abs/2205.14135); the running softmax
# is Milakov and Gimelshein's, 2018). It does *more* FLOPs than the plain way, and is faster. After the roofline you
# know why.
#
# ## Many small operations
#
# Starting an operation costs time too, whatever its size. Add two vectors, short ones and long ones, and look for the
# flat part of the line:

# %%
lengths = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, *([10_000_000] if on_gpu else [])]
row = []
for n in lengths:
    a = torch.ones(n, device=device)
    many = 200 if n < 100_000 else 10
    row.append((n, 1e6 * gpu.measure(lambda a=a, many=many: [a + a for _ in range(many)], device, repeats=3) / many))
pictures.lines({"a + a": row}, "numbers in the vector", "time of one addition (µs)", log="xy")

# %%
model = new_model()
ids = torch.randint(V, (B, T), device=device)


def forward_and_backward():
    with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        loss = model(ids, ids)[1]
    loss.backward()


in_a_step = len(gpu.measure_memory(forward_and_backward, model).timeline)
model.zero_grad()
spent = gpu.measure(forward_and_backward, device, repeats=5, warmup=2)
print(f"forward and backward: {in_a_step} operations; {1e3 * spent:.1f} ms")
print(f"to start so many, at the price of the smallest addition: {in_a_step * row[0][1] / 1e3:.1f} ms")

# %% [markdown]
# On a CPU core an addition of about a thousand numbers takes hardly longer than an addition of one, and the operations
# of a model are larger than that, so starting them is a small part of its step. On a GPU the flat part reaches much
# further, because the card adds many thousands of numbers at once, while Python starts its kernels one by one. A step
# in which starting takes longer than computing is called **launch-bound**.
#
# That is common in small models. The table can't prove it, because waiting for memory looks the same in it. For each
# run of the recorded card the table has the time of a step, and the time that its arithmetic alone would have needed at
# the measured rate. Look for the run that wastes least.

# %%
rows = []
for run in recorded.values():
    if "tokens" in run.numbers:  # a training run
        took = 1e3 * number(run, "seconds of training") / number(run, "steps")
        rows.append((run.what, number(run, "parameters"), took, took * number(run, "MFU")))
for row_of in (row for table in bench.tables.values() for row in table) if bench else ():
    if row_of.get("") == "gptlab" and "MFU of the measured rate" in row_of:
        took, mfu = 1e3 * row_of["B"] * 1024 / row_of["tokens/s"], row_of["MFU of the measured rate"]
        rows.append((f"GPT-2, B = {row_of['B']}", number(bench, "param"), took, took * mfu))
rows = [(name, f"{size / 1e6:.0f}", f"{took:.1f}", f"{needed:.1f}") for name, size, took, needed in rows]
header = ["RECORDED, compiled", "million parameters", "a step (ms)", "its arithmetic alone (ms)"]
pictures.table(rows, header, align="llrr")

# %% [markdown]
# The two small models leave the card's arithmetic units idle for most of each step, although they are compiled. GPT-2,
# with 32 sequences of 1,024 tokens, keeps them busy for more than half. There are two remedies, both meant for GPUs,
# and those runs use only the first.
#
# **torch.compile** (Ansel et al. 2024) reads the operations of your model and joins neighbours into one kernel, so that
# a norm, an activation and a sum become a single pass over memory. The first call is slow, often half a minute or more,
# so it isn't run here on a CPU.

# %%
if on_gpu:
    model.compile()
    try:
        compiled = gpu.measure(forward_and_backward, device, repeats=5, warmup=3)
        print(f"as it is {1e3 * spent:.1f} ms, compiled {1e3 * compiled:.1f} ms for the same step")
    except Exception as error:  # it needs a C++ compiler and Triton
        print("torch.compile does not work here:", str(error).strip().splitlines()[0])
recorded_table("training")

# %% [markdown]
# Two libraries train GPT-2 on the recorded card, both compiled, with the same batch: Hugging Face's `transformers` and
# this course. They are about equally fast, and the difference is small beside what either of them leaves unused.
#
# **CUDA graphs** (in PyTorch since 1.10, 2021) record a sequence of kernels once, and then start all of them with one
# call. The recording repeats exactly what it did, on the same memory, so nothing may change its shape. Generating with
# a cache is the place for it, since each token is hundreds of tiny kernels. The cache gets its full size from the
# start, the position is a tensor, and a mask hides what isn't written yet. `GraphedDecoder` is that step; on CUDA it is
# recorded, elsewhere it runs as it is, and in float32 the tokens must be the same either way.

# %% tags=["nbval-check-output"]
storyteller, tokenizer = checkpoints.committed("fables")
prompt = torch.tensor([[tokenizer.special_tokens["<|endoftext|>"], *tokenizer.encode(fables.TRAVELLER[:40])]])
with torch.no_grad():
    plain = sampling.generate(storyteller, prompt, 20, temperature=0)
    fixed = gpu.GraphedDecoder(storyteller, prompt, max_length=prompt.shape[1] + 20).generate(20)
print("the same tokens:", torch.equal(plain, fixed))

# %%
if on_gpu:
    storyteller, prompt = storyteller.to(device), prompt.to(device)
    with torch.no_grad():
        cached = gpu.measure(lambda: sampling.generate(storyteller, prompt, 100, temperature=0), device, repeats=3)
        graphed = gpu.measure(lambda: gpu.GraphedDecoder(storyteller, prompt).generate(100), device, repeats=3)
    print(f"100 tokens: {1e3 * cached:.0f} ms with a cache, {1e3 * graphed:.0f} ms with a graph, recording included")
recorded_table("generating")

# %% [markdown]
# That is GPT-2, one text at a time. The graph is several times as fast as the same loop without it. *Other from token …
# on* is honest bookkeeping: in 16 bits two programs round differently, and where two tokens are almost equally likely,
# the texts diverge.
#
# A training step can be recorded, too, and the course's command does so. On CUDA, `train --compile True` records a
# whole compiled step as one graph, updates all of Muon's matrices together, and reads the losses of twenty steps at
# once (`--sync-every`), because reading a number from a GPU means waiting for it. The records above are older than
# that, so they don't show what it gains.
#
# The optimizer is made of small operations, too. AdamW is a dozen of them for each tensor. PyTorch has it three times:
# as a loop over the tensors, with one call for many tensors (`foreach`), and in one kernel (`fused`). Same arithmetic:

# %% tags=["nbval-check-output"]
ways = {"loop": dict(foreach=False), "foreach": dict(foreach=True), "fused": dict(fused=True)}
moved, milliseconds = {}, {}
model = new_model()
forward_and_backward()
gradients = [p.grad for p in model.parameters()]
for name, way in ways.items():
    model = new_model()
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        parameter.grad = gradient.clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, **way)
    optimizer.step()
    moved[name] = model.head.weight.detach().clone()
    milliseconds[name] = 1e3 * gpu.measure(optimizer.step, device, repeats=5)
apart = max(float((moved[name] - moved["loop"]).abs().max()) for name in ways)
print("the same weights after a step, within 1e-6:", apart < 1e-6)

# %%
pictures.compare(milliseconds, "one AdamW step (ms)", title=f"{gpu.count_parameters(config):,} parameters on {device}")

# %% [markdown]
# On a CPU, where an operation is cheap to start, `foreach` gains nothing and may even lose. On a GPU each operation of
# the loop would have to be launched. `gptlab`'s own training takes the fused one; it costs one word.
#
# ## How large a batch?
#
# *Before you run it:* with twice as many stories in a batch, how much longer does a step take here? And on a GPU with
# ten thousand arithmetic units?

# %%
model = new_model()
sizes, rates = (1, 2, 4, 8, 16, 32) if not on_gpu else (1, 4, 16, 64, 256), []
for rows_at_once in sizes:
    ids = torch.randint(V, (rows_at_once, T), device=device)
    rates.append((rows_at_once, rows_at_once * T / gpu.measure(forward_and_backward, device, repeats=3, warmup=1)))
model.zero_grad()
pictures.lines({"forward and backward": rates}, "stories in a batch, B", "tokens per second", log="x", bottom=0)

# %% [markdown]
# <details><summary>Answer</summary>
#
# On a CPU core the rate rises by a small factor, unevenly on a busy machine, and the gain runs out early: then twice
# the stories take twice the time. On a GPU small batches leave most units idle, so the rate rises with B, almost for
# free, until they are busy. **What a GPU changes is not the speed of one step but how much fits into it.** A batch that
# is too small is a common reason for a slow GPU.
# </details>
#
# More stories per step aren't the same as more steps, though. Up to some size a larger batch makes a better gradient;
# beyond it the gradient is good enough, and more is wasted. McCandlish et al. (2018) call that size the critical batch
# size. So speed alone doesn't choose B.
#
# ### A large batch on a small card
#
# And if the batch you want doesn't fit? Cut it into parts, and add up their gradients before the step. That is
# **gradient accumulation**. Take two rows, one long and one short; `IGNORE` marks targets that don't count.

# %%
tiny = GPTConfig(vocab_size=11, context=9, n_layer=1, n_head=2, n_embd=12)
ids = torch.randint(11, (2, 9), generator=torch.Generator().manual_seed(1))
targets = ids.roll(-1, dims=1)
targets[1, 3:] = IGNORE  # 9 targets count in the first row, 3 in the second


def gradient(rows):
    """The gradient of the mean loss of some rows, all parameters in one vector."""
    model = new_model(tiny, "cpu")
    model(ids[rows], targets[rows])[1].backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


whole, long, short = gradient(slice(0, 2)), gradient(slice(0, 1)), gradient(slice(1, 2))

# %% [markdown]
# We have the gradient of the whole batch and of its two parts. The obvious way to put the parts together is to take
# their mean. *Before you see whether that is right:*

# %%
predict("gpu.e", ...)

# %% tags=["answers-prediction", "nbval-check-output"]
print("mean of the two means, equal to the whole batch:", bool(((long + short) / 2 - whole).abs().max() < 1e-6))

# %% [markdown]
# <details><summary>Answer to the prediction</summary>
#
# Ten times. Each part gets half of the weight: a sixth for each of 3 tokens, a sixtieth for each of 30.
# </details>
#
# So the obvious way is wrong. Each part's loss is a mean over its own tokens, so a token of the short row counts for
# more than one of the long row. `transformers` did this until October 2024, and hardly anybody noticed, because the
# loss still falls. What is right? If two parts have gradients 2 and 8, and 1 and 3 tokens that count, the gradient of
# the whole batch is 6.5.

# %% [markdown]
# ### Your turn: A large batch in small parts
#
# `gpu.5` · *warm-up* · 10 minutes
#
# A batch did not fit, so it was cut into parts. For each part you have the gradient of its **mean** loss, and the
# number of tokens that counted in it, at least 1. Give the gradient of the mean loss of the whole batch. (This is
# gradient accumulation.)
#
# Shapes: `gradients` is a `list` of float32 tensors of one shape, `counts` a `list` of `int`. Result: one tensor of
# that shape; leave the given ones unchanged.
#
# ```python
# def add_up(gradients: list[Tensor], counts: list[int]) -> Tensor
# ```


# %% tags=["nbval-check-output"]
def add_up(gradients, counts): ...


check("gpu.5", add_up)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# total = sum(counts)
# return sum(gradient * (count / total) for gradient, count in zip(gradients, counts))
# ```
# </details>
#
# In a `TrainConfig` it is one word, `gradient_accumulation=4`. A batch of stories of different lengths, at once and in
# four parts, on the CPU on every machine:

# %% tags=["nbval-check-output"]
losses_in = {}
for in_parts in (1, 4):
    how = dataclasses.replace(brief, steps=4, gradient_accumulation=in_parts)
    on_cpu = StoryBatches(material.documents, 8, start=end, shuffle=False)
    losses_in[in_parts] = training.train(new_model(for_cpu, "cpu"), on_cpu, how, progress=False).losses
apart = max(abs(a - b) for a, b in zip(losses_in[1], losses_in[4], strict=True))
print("four steps, at once and in four parts, the same losses within 1e-4:", apart < 1e-4)

# %% [markdown]
# ## Where the memory goes
#
# When a GPU stops with *out of memory*, it helps to know what filled it. A training step holds four things. Three of
# them depend on the model alone; in float32 a number takes 4 bytes.
#
# | what | how much |
# |---|---|
# | weights | 4 bytes per parameter |
# | gradients | 4 bytes per parameter |
# | optimizer | AdamW stores two averages: 8 bytes. Muon stores one: 4 |
# | **activations** | everything that the forward pass must store for the backward pass |
#
# The last line can't be read off the model. What does one block store for each token? A product stores its input, a
# norm its input, attention its queries, keys, values and output, an activation function its input. For GPT-2's block,
# in multiples of C: 2 for the norms, 2 for what they give to the products, 3 + 1 for attention, 4 + 4 in the MLP.
# *Before you run the next three cells:*

# %%
predict("gpu.d", ...)

# %% tags=["answers-prediction", "nbval-check-output"]
block = GPTConfig(vocab_size=V, context=128, n_layer=4, n_head=4, n_embd=96)
by_hand = 2 + 2 + 3 + 1 + 4 + 4
counted = gpu.block_activations(block, T=104, device="cpu") / (4 * 96)
print(f"by hand {by_hand} times C, counted {counted:.0f} times C")
one, two = (
    gpu.activation_bytes(lambda m=m: m(ids, ids)[1], m)
    for ids in [torch.randint(V, (8, 104))]
    for m in (new_model(dataclasses.replace(block, n_layer=n), "cpu") for n in (1, 2))
)
print(f"measured, for one block more: {(two - one) / (8 * 104 * 4 * 96):.0f} times C")

# %% [markdown]
# Now the whole step. `gpu.estimate_memory` predicts its memory from the configuration alone, line by line, at five
# moments of the step; *workspace* is what single operations need for themselves. `gpu.measure_memory` follows every
# tensor of a real step from its birth to its end. Both are for the CPU here, so that the figures are the same
# everywhere.

# %% tags=["nbval-check-output"]
estimate = gpu.estimate_memory(block, B=8, T=104, device="cpu")
print(estimate)


# %%
def measured_step(block, gradient_checkpointing=False, device="cpu", B=8, T=104):
    """The memory of a training step, the operations of its forward pass, and its seconds."""
    model = new_model(block, device)
    model = checkpoint_blocks(model) if gradient_checkpointing else model
    (optimizer,) = make_optimizers(model, TrainConfig())
    ids = torch.randint(V, (B, T), device=device)

    def step():
        model(ids, ids)[1].backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()  # the optimizer makes its averages in the first one
    seconds = gpu.measure(step, device, repeats=5, warmup=1)
    forward = len(gpu.measure_memory(lambda: model(ids, ids), model).timeline)
    return gpu.measure_memory(step, model, [optimizer]), forward, seconds


real, forward, seconds = measured_step(block)
pictures.memory_timeline({"alive": real}, {"predicted peak": estimate.total}, marks={"the loss is known": forward})

# %% [markdown]
# <details><summary>Answer to the prediction</summary>
#
# d, the activations, by far. That is typical of small models with many tokens per step, and, as you will see, of GPT-2
# with plain attention.
# </details>
#
# Read the picture from left to right. In the forward pass memory climbs, four steps for four blocks. At the top is the
# loss, whose gradient over all logits [B, T, V] comes on top of everything else. In the backward pass it falls block by
# block, while the gradients of the weights take the place of the activations. The grey area is what stays between two
# steps.

# %% tags=["nbval-check-output"]
print("predicted within 15 % of measured:", abs(estimate.total / real.peak - 1) < 0.15)
print("bytes for each parameter, its gradient and AdamW:", 4 + 4 + 8)

# %% [markdown]
# On a card PyTorch counts for itself, `torch.cuda.max_memory_allocated`. Does the estimate hold there? Look at the last
# column: 1 is a perfect prediction, and below 1 the card needed more than we said.

# %%
if on_gpu:
    promised = gpu.estimate_memory(config, B=B, T=T, device="cuda").total
    on_card, _, _ = measured_step(config, device=device, B=B, T=T)
    print(f"float32, B = {B}: predicted {promised / 1e6:,.0f} MB, measured on the card {on_card.peak / 1e6:,.0f} MB")
recorded_table("memory")

# %% [markdown]
# GPT-2 is predicted to a fraction of a percent. With the modern parts the estimate of that day came out about ten
# percent short, which told us where to look. The activation function of those parts is a square, `relu(x).square()`,
# and on CUDA autocast computes powers in float32: the square was stored a second time, at twice the size, and nobody
# had noticed. Written as a product of a tensor with itself it stays in 16 bits, and that is how the package has it now.
# A prediction that is checked can be wrong in a useful way.
#
# ### Forget, and compute again
#
# **Activation checkpointing** ([Chen et al. 2016](https://arxiv.org/abs/1604.06174)) stores only the input of each
# block. When the backward pass comes to a block, that block alone runs forward again and stores everything it needs.

# %%
again, _, seconds_again = measured_step(block, gradient_checkpointing=True)
print(f"everything stored: peak {real.peak / 1e6:.1f} MB, a step {1e3 * seconds:.0f} ms")
print(f"computed again:    peak {again.peak / 1e6:.1f} MB, a step {1e3 * seconds_again:.0f} ms")
pictures.memory_timeline({"everything stored": real, "computed again": again})


# %% tags=["nbval-check-output"]
def gradients_of(gradient_checkpointing):
    model = new_model(block, "cpu")
    model = checkpoint_blocks(model) if gradient_checkpointing else model
    ids = torch.randint(V, (8, 104), generator=torch.Generator().manual_seed(2))
    model(ids, ids)[1].backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


print("the same gradients:", bool((gradients_of(False) - gradients_of(True)).abs().max() < 1e-6))
print("blocks run forward in a step: 4 before,", 4 + 4, "now")

# %% [markdown]
# This buys memory with about a third more FLOPs, because the forward pass is a third of a step's work and is done
# twice; the time may grow by more or less, and in a short reading on a busy machine it may even seem to shrink. The
# more blocks, the more is saved. In `TrainConfig` it is one word, `gradient_checkpointing=True`.
#
# ### And GPT-2?
#
# The estimate needs no model in memory, so you can ask for one that wouldn't fit here. Take GPT-2 124M and sequences of
# 1,024 tokens. What fills the memory of a card at the worst moment, and how many sequences fit into one with 24 GB, of
# which 22 can be used?

# %% tags=["nbval-check-output"]
gpt2 = dataclasses.replace(GPTConfig.gpt2("124M"), dropout=0.0)  # nanoGPT trains it without dropout
account = {
    "plain, float32": dict(dtype=torch.float32, flash=False),
    "flash, float32": dict(dtype=torch.float32),
    "flash, bfloat16": dict(dtype=torch.bfloat16),
    "and checkpointing": dict(dtype=torch.bfloat16, gradient_checkpointing=True),
}
wholes = {}
for name, how in account.items():
    memory = gpu.estimate_memory(gpt2, B=12, T=1024, **how)
    wholes[name] = {line: size / 1e9 for line, size in memory.moments[memory.worst].items()}
    most = max(b for b in range(1, 64) if gpu.estimate_memory(gpt2, B=b, T=1024, **how).total < 22e9)
    print(f"{name:18} {memory.total / 1e9:5.1f} GB for B = 12; at most B = {most} in 22 GB")

# %%
pictures.shares(wholes, "GB", title="GPT-2 124M, B = 12, T = 1,024: the worst moment, predicted")

# %% [markdown]
# Look at what is left when the activations are gone: the logits. GPT-2 has 50,257 of them per token, and the loss wants
# them in float32, with their gradient. So when memory runs out there are these ways, each for one or two lines of the
# table:
#
# - a smaller B with accumulation, for activations and logits,
# - 16 bits, which can halve the activations,
# - flash attention, for the attention weights,
# - checkpointing, for all but the blocks' inputs,
# - a loss computed on some rows at a time, so that all logits never exist together (`gptlab.fast_forms`, which the
#   training command uses on a card),
# - several cards that share the rest, which is notebook 18.
#
# ## Keeping the GPU fed
#
# A device that waits for its next batch is as slow as the disk. How long does a batch take, compared with a step?
# Either generate and encode B stories when they are needed, or cut B rows out of a file of ids. The file is
# **memory-mapped** (notebook 04), which means that only the pages that are touched are read.

# %%
folder = Path(tempfile.mkdtemp())
write_tokens(folder / "words.bin", documents(1000, seed=3))
on_disk = Batches.from_file(folder / "words.bin", B=B, T=T)
model, ids, seeds = new_model(), on_disk.batch(0).ids.to(device), iter(range(10_000))
milliseconds = {
    "generate and encode": 1e3 * gpu.measure(lambda: documents(B, seed=next(seeds)), repeats=5),
    "rows of a file": 1e3 * gpu.measure(lambda: on_disk.batch(next(seeds)), repeats=5),
    "forward and backward": 1e3 * gpu.measure(forward_and_backward, device, repeats=5),
}
pictures.compare(milliseconds, f"milliseconds, B = {B}", best=None)

# %% [markdown]
# The faster the device, the longer the first bar looks beside the last. So `python3 -m gptlab prepare` writes such
# files, in parallel, for a corpus of any size. And what remains can be hidden: while the device computes a step, a
# second thread fetches the next batch. It is **prefetched**. To see what that is worth, take a disk that is slow on
# purpose.


# %%
class Slow:
    """A source of batches with a wait before each, as of a far disk."""

    def batch(self, step):
        time.sleep(0.015)
        return on_disk.batch(step)


class Prefetched:
    """The batch that was ordered at the last call; and the next one is ordered."""

    def __init__(self, source):
        self.source, self.pool, self.coming = source, ThreadPoolExecutor(max_workers=1), {}

    def batch(self, step):
        ready = self.coming.pop(step, None) or self.pool.submit(self.source.batch, step)
        self.coming[step + 1] = self.pool.submit(self.source.batch, step + 1)
        return ready.result()


# %%
how, fed = dataclasses.replace(brief, steps=12), {}
sources = {"at once": on_disk, "slow": Slow(), "slow, prefetched": Prefetched(Slow())}
for _ in range(3):  # the first round is also the warm-up
    for name, source in sources.items():
        history = training.train(new_model(), source, how, dtype=dtype, progress=False)
        fed[name] = min(fed.get(name, math.inf), 1e3 * history.seconds / history.steps)
pictures.compare(fed, "a step (ms), waiting included, the best of three rounds")

# %% tags=["nbval-check-output"]
ahead = Prefetched(on_disk)
print("the same batches:", all(torch.equal(ahead.batch(n)[0], on_disk.batch(n)[0]) for n in range(5)))

# %% [markdown]
# If a step takes longer than the wait, prefetching hides every wait but the first. Otherwise part of it is left, and
# more threads or larger reads help. A dozen steps are a short reading, so each bar is the best of three rounds; on a
# busy machine even that may be disturbed.
#
# ## How much of the machine do you use?
#
# Tokens per second say how fast you are, but not how much of the machine you use. For that you have to know what a
# token costs. It helps to count for yourself before you look. With one block, C = 2, T = 3 and V = 5, the six matrices
# of the block have $4 \cdot 4 + 2 \cdot 16 = 48$ entries, attention meets 3 keys and averages 3 values of 2 channels
# (12), the head has 10. That is 70 multiplications and as many additions; forward and backward, three times that, 420
# FLOPs per token.

# %% [markdown]
# ### Your turn: FLOPs per token, by hand
#
# `gpu.4` · *stretch* · 15 minutes
#
# Count the FLOPs of GPT-2's matrix products for **one token** in a sequence of T, forward and backward. A block has
# four matrices [C, C] in its attention, then two in its MLP, [C, 4C] and [4C, C]; in attention itself the query of the
# token meets T keys, and T values are averaged. At the end comes the head, [C, V]. A multiplication and its addition
# are 2 FLOPs, and the backward pass costs twice the forward pass. (Looking up a row of the embedding is not a product.
# Attention is counted in full, without the causal half.)
#
# Input: V, C, L, T, each an `int`. Result: an `int`.
#
# ```python
# def flops_per_token(V: int, C: int, L: int, T: int) -> int
# ```


# %% tags=["nbval-check-output"]
def flops_per_token(V, C, L, T): ...


check("gpu.4", flops_per_token)

# %% [markdown]
# And for GPT-2? By hand, from the package, by the rule of 6 N, and counted by torch on a small model:

# %% tags=["nbval-check-output"]
matrices, attending, last = 12 * (4 + 8) * 768**2, 12 * 2 * 1024 * 768, 768 * 50257
print(f"by hand:      {3 * 2 * (matrices + attending + last):,} FLOPs per token")
print(f"the package:  {gpu.flops_per_token(gpt2, T=1024):,}")
print(f"the rule 6 N: {6 * gpu.count_parameters(gpt2):,}")

# %% tags=["nbval-check-output"]
small_one, ids = new_model(block, "cpu"), torch.randint(V, (2, 104))
with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
    small_one(ids, ids)[1].backward()
ratio = gpu.flops_per_token(block, T=104) / (counter.get_total_flops() / ids.numel())
print(f"the package / what torch counts on a small model: {ratio:.3f}")

# %% [markdown]
# The rule of 6 N leaves out attention, and counts the position table, which multiplies nothing. For long sequences the
# difference grows. Now divide what the model needed by what the machine could have done in the same time:
#
# $$ \text{utilisation} = \frac{\text{tokens per second} \cdot \text{FLOPs per token}}{\text{FLOP/s of the machine}} $$
#
# The name is **MFU**, model FLOPs utilisation ([Chowdhery et al. 2022](https://arxiv.org/abs/2204.02311)). There are
# two conventions. Papers divide by the rate that the maker of the card promises; here we divide by the rate that was
# measured, which gives a larger MFU. FLOPs that the model didn't need, such as those of checkpointing, don't count.
#
# ## One run, from nothing
#
# Now everything together, on your machine. *Before you run it:* of the rate that you measured for one large product,
# what fraction will training of the small model reach?

# %%
predict("gpu.h", ...)

# %%
rates = dict(learning_rate=0.005, muon_lr=0.03) if on_gpu else dict(learning_rate=0.02, muon_lr=0.05)
plan = TrainConfig(steps=steps, optimizer="muon", evaluate_every=steps // 8, warmup=20, **rates)
batches = StoryBatches(documents(steps * B, seed=1000), B, start=end, shuffle=False)
judge = StoryEvaluation(fables.tell(128, seed=1), words, end)
model = new_model()
untrained = {"step": 0, **judge(model)}
running = training.run(model, batches, plan, evaluate=judge, dtype=dtype)
stories = {}


def go_on(until):
    for history in running:
        if history.steps % plan.evaluate_every == 0:
            speed, excess = history.tokens / history.seconds, history.evaluations[-1]["excess"]
            print(f"step {history.steps:5} {excess:6.1f} nats per story above the floor {speed:9,.0f} tokens/s")
        if history.steps in (steps // 4, steps):
            stories[history.steps] = sampling.tell_stories(model, words, n=16, end=end, seed=4)
        if history.steps == until:
            return history


history = go_on(until=steps // 4)
early = history.tokens / history.seconds

# %% [markdown]
# That was the first quarter. You'll see a story from this moment below: most words are in place; what is mostly missing
# is the memory for what was said earlier in a story. The larger model of a GPU, with its larger batches, may be past
# that point already.

# %%
history = go_on(until=5 * steps // 8)

# %%
history = go_on(until=steps)

# %%
print(f"the first loss: {history.losses[0]:.2f} nats per token; ln V = {math.log(V):.2f} (expected: about the same)")
excess = history.evaluations[-1]["excess"]
print(f"the last evaluation: {excess:.1f} nats per story above the floor (expected: between 0.2 and 5)")
for at, written in stories.items():
    wrong = [fables.read(text).error for text in written]
    print(f"\n— after {at} steps, {wrong.count(None)} of {len(wrong)} stories are without a fault. One:")
    print(textwrap.fill(written[1][:330] + ("…" if len(written[1]) > 330 else ""), width=100))
    print("  (no fault)" if wrong[1] is None else f"  ({wrong[1][:110]})")

# %%
from_zero = dataclasses.replace(history, evaluations=[untrained, *history.evaluations])
pictures.excess(from_zero, log=True, fall=False, title=f"{steps} steps on {device}: above the best possible loss")

# %% [markdown]
# The picture begins before the first step, and its heights are logarithmic. Form is learned first: it costs most at the
# start and next to nothing at the first evaluation, so the stories look like stories before they make sense. The
# recalled facts take much longer. How many stories end up without a fault varies with the seed and the machine; the
# loss varies less. All heights are measured from the entropy of the grammar, the best loss that is possible.
#
# The clock counted the steps only, not the evaluations. And your guess?

# %% tags=["answers-prediction"]
share = gpu.mfu(history.tokens / history.seconds, config, T, peak=roof.rate)
answered = predict("gpu.h", truth=round(share, 2))
answered

# %% [markdown]
# <details><summary>What the number means</summary>
#
# It is the MFU over the measured rate. The rest of the time goes to what is not a large product: products too small to
# run at that rate, norms, softmax, looking up rows, starting operations, the optimizer, whose own products aren't
# counted because the model didn't ask for them, and padding, which is computed and teaches nothing. Small models use
# little of a machine.
# </details>
#
# With it you can predict how long a run will take: the work of the whole run, divided by what the first quarter
# reached. Every plan in notebook 18 comes from this division.

# %%
work = gpu.flops_per_token(config, T) * history.tokens
predicted = work / (roof.rate * gpu.mfu(early, config, T, peak=roof.rate))
print(f"predicted after a quarter: {predicted:.1f} s of training; it took {history.seconds:.1f} s")

# %% [markdown]
# ## The real card beside it
#
# Fables are for understanding. To compare with others, take Tiny Shakespeare, character by character. nanoGPT's README
# (2022 and 2023) gives a loss of 1.4697 for its GPU settings, on the tenth of the text that was held out, after about
# three minutes on one A100: 5,000 steps of 64 rows of 256 characters. Two recipes of this course were recorded on a
# card: `nanogpt-gpu`, which has nanoGPT's settings, and `shakespeare-gpu`, a model of the same size with the parts of
# notebook 12 and Muon. A third record comes from two CPU cores: `shakespeare-gpu` with half the batch, about half the
# steps and no dropout (notebook 08). The picture has the two runs of the card. Look at where each line is lowest; the
# table after it has all three.

# %%
curves, rows = {}, []
for run in runs.recorded():
    if "evaluations" not in run.tables:
        continue
    entries, name = run.tables["evaluations"], f"{run.what.removeprefix('train ')}, {run.kind.upper()}"
    if run.kind == "cuda":
        curves[name] = [(entry["seconds"], entry["validation"]) for entry in entries]
    best = min(entries, key=lambda entry: entry["validation"])
    speed, reached = f"{number(run, 'tokens/s'):,.0f}", f"{best['seconds']:.1f}"
    last = f"{entries[-1]['validation']:.3f}"
    rows.append((name, run.date, speed, best["step"], reached, f"{best['validation']:.3f}", last))
level = {"nanoGPT's README": 1.4697}
x, y = "seconds of training", "validation loss (nats per character)"
title = f"RECORDED on {', '.join(sorted({run.device for run in recorded.values()}))}"
pictures.lines(curves, x, y, level=level, title=title) if curves else "there is no record of a GPU here"

# %%
header = ["RECORDED run", "day", "tokens per second", "best at step", "after seconds", "best loss", "last loss"]
pictures.table(rows, header, align="lrrrrrr")

# %% [markdown]
# The card reaches nanoGPT's figure, to three digits, in seconds; two CPU cores worked for many minutes and stopped well
# above it. Other programs were running on them at the same time, so those times are too long, but a factor of two
# wouldn't change the picture. The recipe with the newer parts gets as far in fewer steps. And a run that goes on past
# its best gets worse: `nanogpt-gpu` had learned what it could from a million characters, and from then on it learned
# them by heart. That is overfitting, and on a fast machine you meet it sooner. `train --early-stopping 3` ends a run
# after three evaluations without a new best.
#
# Two conventions differ. nanoGPT estimates its loss on random pieces of the held-out part, while we take all of it
# once; and nanoGPT reports the best evaluation of a run. The line across the picture isn't a floor: nobody knows the
# entropy of Shakespeare.
#
# With a GPU you can make such records. Each command stores its figures with the device, the date and the commit. The
# recipe `shakespeare-gpu` has been tuned since its record was made, so its figures will differ:
#
# ```
# python3 -m gptlab train nanogpt-gpu --compile True --record data/recorded/mine.json
# python3 -m gptlab train shakespeare-gpu --compile True --record data/recorded/mine.json
# python3 -m gptlab bench gpu --record data/recorded/mine.json
# ```
#
# ## What a GPU changes
#
# | | CPU | GPU |
# |---|---|---|
# | precision | float32 | products in bfloat16 (or float16 with a scaler), weights in float32 |
# | batch | as small as the learning allows | as large as the memory allows |
# | small operations | cheap to start | joined by `torch.compile`, or recorded in a graph |
# | clock | read at once | wait first |
# | repeating a run | the same bits, on the same kind of CPU | the same to a few digits |
# | memory | that of the machine | that of the card, and an error when it is full |
# | the program | the same | the same |

# %% [markdown]
# ## Exercises
#
# You have met six: the days of a run (1), a clock that waits (2), the two ceilings (3), FLOPs per token (4), a batch in
# parts (5), and the loss scaler (6). `hint("gpu.3")` helps, and `solution("gpu.3")` shows ours. And three that are
# open; write down what you expect before you run them:
#
# - *stretch:* Find the B that reaches an excess of 5 nats per story in the fewest *seconds* here. Is it the B with the
#   most tokens per second?
# - *stretch:* Make the step of the example model faster without changing its losses in the third digit. Measure each
#   change alone.
# - *stretch:* Draw the roofline picture for a single row of one token. Which parts move, and where to?

# %%
progress("gpu")

# %% [markdown]
# ## What to remember
#
# - Wait, then read the clock. FLOPs per byte say which of two ceilings counts; the work of a run is about 6 N D.
# - bfloat16 reaches as far as float32 with fewer digits; float16 needs a scaler. Sums and weights stay in float32.
# - Attention in one kernel stores no weights. A small model on a fast card is often launch-bound: compile it, record
#   it, or give it more per step.
# - Weights, gradients and AdamW take 16 bytes per parameter; activations grow with tokens, logits with V.
# - Parts of a batch are weighted by their tokens. MFU says what fraction of the machine you use.
#
# **New terms**, and what they are called elsewhere. FLOP, FLOP/s · asynchronous execution, synchronize · kernel ·
# arithmetic intensity (operational intensity) · roofline, ridge · mantissa (significand) · bfloat16, float16, TF32 ·
# mixed precision (AMP, `autocast`, `bf16=True` in `transformers`) · loss scaler (`GradScaler`) · SDPA, flash attention
# (`attn_implementation="flash_attention_2"`) · launch-bound (CPU-bound, overhead-bound) · `torch.compile` (kernel
# fusion) · CUDA graph (`mode="reduce-overhead"`) · gradient accumulation (`gradient_accumulation_steps`) · activations
# · activation checkpointing (gradient checkpointing, rematerialisation) · prefetching · MFU · critical batch size.
#
# <details><summary>Somebody measures 2,000 TFLOP/s on a card that promises 300. What happened?</summary>
# The clock was read before the card was done. Synchronize before each reading.
# </details>
# <details><summary>Out of memory. You halve B and accumulate two parts. Which lines of the account shrink?</summary>
# Activations and logits, by half. Weights and optimizer stay, but the gradients of the first part are now alive at the
# peak of the second.
# </details>
# <details><summary>A loss becomes NaN in float16 and not in bfloat16. Why might that be?</summary>
# Something became larger than 65,504, the largest float16. bfloat16 reaches as far as float32.
# </details>
#
# **Deeper:** Horace He, *Making Deep Learning Go Brrrr From First Principles* (2022), on where the time goes; Dao et
# al. 2022, *FlashAttention*, sections 2 and 3; Karpathy's `train.py` in nanoGPT, which you can now read from top to
# bottom.

# %%
recap("gpu")

# %% [markdown]
# ## Next
#
# One device is measured, and full. But GPT-2 took four days on *eight* cards, and larger models don't fit on one at
# all. How do several machines share one model, so that what they compute together is what one would have computed
# alone? And what happens when one of them dies on the third day? That is notebook 18, the last one.
