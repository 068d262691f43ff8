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
# # 17 GPU training
#
# *You measure where the time and the memory of a training step go, change one thing after the other, and train on
# whatever machine you have: this one, one with a GPU, or two thousand on paper.*
#
# Nothing new is added to the model here. Everything is about the machine under it. Each part first measures, then
# changes one thing, and measures again, so that at the end you can say of each trick what it is for and what it brings
# **on your machine**.
#
# **After this notebook you can**
#
# - time a computation so that the number is true, and say whether arithmetic or memory limits it,
# - choose a device and a precision, and say why,
# - predict the memory of a training step line by line, check it, and make it smaller in three ways,
# - stop a run, kill it, and resume it so that no digit differs,
# - train on several processes, with whole copies or with shards, and prove that they compute what one does,
# - estimate days, cards and the next loss of a larger model before you pay for it.
#
# **It builds on** batches (04), attention (06), the model (08), training (10) and the parts of Llama (12). **To run
# it** takes about a minute and a half on two CPU cores and 950 MB of memory.
#
# **Which machine?** Any. Every number that a cell prints without a source was measured where the cell ran, on the
# machine and the day that it names below. With an NVIDIA card the same cells choose larger sizes and should take a few
# minutes more; by the account below, a card with 8 GB is enough. Without one you see all of the arithmetic, and there
# are five things that you cannot see: the speed of 16 bits and of TF32, `torch.compile`, a CUDA graph, the memory of a
# card, and several cards at work. Where one of them would stand, the cell says so.

# %%
import dataclasses
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

# %%
from gptlab import attention, checkpoints, cluster, corpora, gpu, pictures, runs, sampling, show, training
from gptlab.batches import IGNORE, Batches, StoryBatches, write_tokens
from gptlab.corpora import fables
from gptlab.evaluation import StoryEvaluation
from gptlab.exercises import check, find, hint, predict, progress, quiz, recap, solution
from gptlab.lab.comparison import StoryWords
from gptlab.llama import llama_config
from gptlab.masking import causal
from gptlab.model import GPT, GPTConfig
from gptlab.optimizers import make_optimizers
from gptlab.train_step import add_gradients, checkpoint_blocks
from gptlab.training import TrainConfig

pictures.pipeline("gpu")

# %% [markdown]
# Three questions about earlier notebooks, if you like. Replace the dots with your letters.

# %%
quiz("gpu", [..., ..., ...])

# %% [markdown]
# ## The question: could you train GPT-2 here?
#
# The smallest GPT-2 has 124 million numbers. Count the work. For each number of the model and each token of the text, a
# training step makes about six multiplications or additions: two on the way forward, four on the way back
# ([Kaplan et al. 2020](https://arxiv.org/abs/2001.08361), section 2.1). With N numbers and D tokens that is
#
# $$ \text{work} \approx 6\,N\,D $$
#
# nanoGPT ([Karpathy 2022](https://github.com/karpathy/nanoGPT)) trains it on about 300 billion tokens. How much work
# does one core of this machine's processor do in a second? You time one large multiplication of matrices. (On a CPU
# this notebook uses one core: times are steadier, and later two processes get a core each. A GPU, if there is one,
# gets its turn in a minute.)

# %%
_ = torch.manual_seed(0)
torch.set_num_threads(1)
x = torch.rand(768, 768)
x @ x  # the first time is slower: not counted
began = time.perf_counter()
for _ in range(5):
    x @ x
rate = 5 * 2 * 768**3 / (time.perf_counter() - began)  # 768³ products, and as many sums
work = 6 * 124e6 * 300e9
print(f"one CPU core here: about {rate / 1e9:,.0f} billion operations per second")
print(f"so it would take {work / rate / 3600 / 24 / 365:,.0f} years")

# %% [markdown]
# That is the failure that this notebook is about. nanoGPT's README (December 2022) says about four days, on eight A100
# cards of NVIDIA's. What do they do differently, how would you know that it is true, and what can you do with the
# machine that you have?
#
# One such multiplication or addition of two numbers with a fractional part is called a **FLOP** (floating-point
# operation), and a rate is written in FLOP/s: billions of them are GFLOP/s, trillions TFLOP/s.
#
# ## By hand, 1: which device?
#
# The simplest question has a trap. A program may be told that a GPU is there, and the first real computation fails, or
# comes back wrong. So `pick_device` does not stop at asking. It computes one small attention, forward and backward, and
# compares the loss and the gradient with those of the CPU.

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
# On a CPU the test compares the CPU with itself, and so it passes. `pick_device` takes CUDA (an NVIDIA card) where the
# test is passed, else the CPU. You have a card, and the line says `cpu`? Then torch cannot reach it, and
# `python -m gptlab doctor` says why: often the build of torch is one for CPUs only. Apple's MPS is taken only if you
# ask, `pick_device("mps")`, because some of its operations have been silently wrong in some releases; then too the test
# decides. Which precision, and why, comes below.
#
# ## The patient
#
# All measurements need something to measure. We take fables with the word tokens of notebook 06, and a small GPT with
# the parts of notebook 12. Nothing in the program asks for a GPU. What changes between machines are sizes,
# and one more thing: the large model has a head of its own. These blocks begin as the identity, so with tied weights
# its first guess would be the token that it has read last, and with so many channels it would be sure of it: a first
# loss of about 10, far above ln V.

# %%
words = StoryWords()
V, end = words.vocab_size, words.end
both = dict(context=160, convolution=4, n_head=8)
for_cpu = GPTConfig.modern(V, n_layer=1, n_embd=96, mlp_size=192, **both)
for_gpu = GPTConfig.modern(V, n_layer=4, n_embd=512, mlp_size=2048, tie_weights=False, **both)
config, steps, B = (for_gpu, 1000, 64) if on_gpu else (for_cpu, 800, 8)


def documents(n, seed):
    return [[*words.encode(story.text), end] for story in fables.tell(n, seed=seed)]


def new_model(config=config, device=device, seed=0):
    torch.manual_seed(seed)
    return GPT(config).to(device)


T = round(statistics.mean(len(ids) for ids in documents(200, seed=2)))
print(f"B = {B} stories of about T = {T} tokens; {gpu.count_parameters(config):,} numbers; V = {V}")

# %% [markdown]
# ## Break it: a clock that is read too early
#
# Before you measure, the mistake that everybody makes once. A GPU works **asynchronously**: a call only puts work into
# a queue and returns, and Python goes on. Here is such a device, made of one thread, so that you can see it on any
# machine.

# %%
queue = ThreadPoolExecutor(max_workers=1)  # it takes work, and does it later
a = torch.rand(768, 768)
queue.submit(torch.matmul, a, a).result()

began = time.perf_counter()
jobs = [queue.submit(torch.matmul, a, a) for _ in range(10)]
too_early = time.perf_counter() - began
for job in jobs:
    job.result()  # wait until it is done
true = time.perf_counter() - began
print(f"read too early: {10 * 2 * 768**3 / too_early / 1e12:8.2f} TFLOP/s")
print(f"after waiting:  {10 * 2 * 768**3 / true / 1e12:8.2f} TFLOP/s")

# %% tags=["nbval-check-output"]
print("the clock was read too early:", too_early < 0.5 * true)

# %% [markdown]
# The first number is a wonder, and nonsense: it says how fast work can be *ordered*. And a real card?

# %%
if on_gpu:
    a = torch.rand(8192, 8192, device=device)
    a @ a  # the first time is slower, here too
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(10):
        a @ a
    too_early = time.perf_counter() - began
    torch.cuda.synchronize()
    true = time.perf_counter() - began
    for name, seconds in (("read too early:", too_early), ("after waiting: ", true)):
        print(f"{name} {10 * 2 * 8192**3 / seconds / 1e12:8.1f} TFLOP/s")
else:
    print("no CUDA here: a GPU would print the same two lines")

# %% [markdown]
# A rate above what the maker of the card promises is nearly always this mistake. So wait before you start the clock and
# before you read it; leave out the first runs, in which memory is claimed and kernels are chosen (a **kernel** is a
# program that runs on the device); and take the median, for one slow run must not count. The package's clock does these
# three things:

# %%
show(gpu.measure, gpu.synchronize)

# %% [markdown]
# ## By hand, 2: two ceilings
#
# Why is one operation slow and another fast? A machine has two limits. It can do so many FLOP/s, and it can move so
# many bytes a second between its memory and the place where the arithmetic is. Take a pencil. Adding two vectors of n
# numbers is n FLOPs, and 3 n numbers travel (two in, one out) of 4 bytes each. Multiplying two n × n matrices is
# $2n^3$ FLOPs, and $3n^2$ numbers travel.
#
# The FLOPs for each byte that travels are the **arithmetic intensity**. *Before you run the cell:*

# %%
predict("gpu.b", ...)

# %% tags=["answers-prediction", "nbval-check-output"]
rows = [("adding two vectors, any n", f"{1 / (3 * 4):.2f}")]
for n in (6, 12, 96, 768, 8192):
    rows.append((f"product of two {n} × {n} matrices", f"{2 * n**3 / (3 * n**2 * 4):,.0f}"))
rows.append(("one row times a 768 × 768 matrix", f"{2 * 768**2 / ((768**2 + 2 * 768) * 4):.2f}"))
pictures.table(rows, ["work, in float32", "FLOPs for each byte"], align="lr")

# %% [markdown]
# <details><summary>Answer</summary>
#
# b, twice as many: n / 6. Eight times the FLOPs, four times the numbers, so each number is used twice as often.
# </details>
#
# Look at the last row. It is what a model does when it writes one token (notebook 11): every weight travels, and is
# used for two FLOPs. And now the two limits of this machine, measured: a large product, and a large copy.

# %%
roof = gpu.Roofline(
    rate=max(gpu.matmul_flops(device, dtype, repeats=1) for _ in range(20)),  # a ceiling is the best that was seen
    bandwidth=max(gpu.bandwidth(device, repeats=1) for _ in range(8)),
)
print(f"arithmetic: {roof.rate / 1e9:,.0f} GFLOP/s in {str(dtype)[6:]}")
print(f"memory:     {roof.bandwidth / 1e9:,.1f} GB/s")
print(f"where they meet: {roof.ridge:.1f} FLOPs for each byte")
print(f"GPT-2 at this rate, which no run reaches: {6 * 124e6 * 300e9 / roof.rate / 3600 / 24:,.0f} days")

# %% [markdown]
# Work with fewer FLOPs for each byte than at that point waits for memory: faster arithmetic would gain nothing. Work
# with more of them waits for arithmetic. In one formula,
#
# $$ \text{FLOP/s at most} = \min(\text{rate},\ \text{intensity} \cdot \text{bandwidth}) $$
#
# which is the method `roof.attainable`. Drawn over the intensity it looks like a roof, and its name is the **roofline**
# (Williams, Waterman and Patterson 2009). For comparison, what NVIDIA promises of its cards. These are data sheets, not
# measurements, and for 16 bits:

# %% tags=["nbval-check-output"]
rows = []
for name, year in (("T4", 2018), ("A100", 2020), ("H100", 2022), ("H200", 2023)):
    card = cluster.GPUS[name]
    figures = f"{card.peak / 1e12:.0f}", f"{card.bandwidth / 1e9:,.0f}", f"{card.peak / card.bandwidth:.0f}"
    rows.append((f"{name} ({year})", *figures))
pictures.table(rows, ["card", "TFLOP/s promised", "GB/s promised", "FLOPs a byte where they meet"], align="lrrr")

# %% [markdown]
# Where do the parts of a GPT stand under it? `gpu.work_by_part` counts FLOPs and bytes of each part of one forward
# pass; the next cells also run each part by itself, for one block and the head behind it, and time it.

# %%
wide, rows_at_once = GPTConfig(5000, context=512, n_layer=1, n_head=6, n_embd=384), 8
if on_gpu:
    wide, rows_at_once = GPTConfig(20000, context=1024, n_layer=1, n_head=12, n_embd=768), 16
counted = gpu.work_by_part(wide, rows_at_once, wide.context, dtype)
N, C, H = rows_at_once * wide.context, wide.n_embd, wide.n_head


def made(*shape):
    return torch.randn(*shape, device=device).to(dtype)


# %%
x, y, hidden, logits = made(N, C), made(N, C), made(N, 4 * C), made(N, wide.vocab_size)
qkv, out, up, down, head = made(C, 3 * C), made(C, C), made(C, 4 * C), made(4 * C, C), made(C, wide.vocab_size)
q = made(rows_at_once, H, wide.context, C // H)  # [B, H, T, hs]
targets = torch.randint(wide.vocab_size, (N,), device=device)
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

# %%
taken = {name: often * gpu.measure(work, device, repeats=5, warmup=1) for name, (work, often) in parts.items()}
points = {name: (counted[name].intensity, counted[name].flops / seconds) for name, seconds in taken.items()}
del logits, hidden, targets
pictures.roofline(roof, points, title=f"One block and the head on {device}, N = {N:,} tokens, C = {C}")

# %% [markdown]
# Look at the two groups. The products of matrices stand far on the right, under the flat ceiling. Norms, activation,
# residual sums and the loss stand on the left, where memory decides: from about a tenth of a FLOP to a few FLOPs for
# each byte. A marker below the roof has lost time to something else; one *above* the slope has found its numbers in a
# cache, a small fast memory that the measured copy was too large for. (Or somebody else used the machine while one of
# the two was measured.) The counts are of one kernel for each part, and PyTorch may use several.
#
# What does that mean for a step? Three ways to share the same work:

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
# The small things are next to nothing in FLOPs, and much in bytes; the time lies in between. (The number at the end of
# a bar is its whole, in the unit that stands before it.) On a GPU, whose arithmetic has grown faster than its memory
# for years (compare the last column of the table above), the small things weigh more. Two kinds of remedies follow from
# this picture: make the products cheaper, with fewer bits; and move fewer bytes, by doing several small things in one
# kernel.

# %% [markdown]
# ## By hand, 3: how large is a number?
#
# A **float32** has 32 bits: one for the sign, 8 for the size (the exponent), 23 for the digits. Half as many bits are
# half the memory and half the way to carry, so one would like 16. There are two ways to save them.

# %% tags=["nbval-check-output"]
rows = []
for kind in (torch.float32, torch.bfloat16, torch.float16):
    info = torch.finfo(kind)
    digits = round(-math.log2(info.eps))
    of_size = info.bits - 1 - digits  # one is for the sign
    rows.append((str(kind)[6:], info.bits // 8, of_size, digits, f"{info.max:.1e}", f"{info.tiny:.1e}"))
header = ["name", "bytes", "bits of size", "bits of digits", "largest", "smallest in full precision"]
pictures.table(rows, header, align="lrrrrr")

# %% [markdown]
# **bfloat16** (Google Brain; [Kalamkar et al. 2019](https://arxiv.org/abs/1905.12322)) keeps all bits of the size and
# gives up digits. **float16** (the older standard, IEEE 754-2008) gives up some of both.
#
# There is a third saving, which saves no memory. NVIDIA's cards since 2020 can multiply float32 matrices with 10 bits
# of digits and keep all 8 of the size; sums are made in float32. That is **TF32**, a way of multiplying, not of
# storing.
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
# After 256 come 258 and 260: with seven digits behind the leading one, the step at 256 is 2. The 1 is lost. Adding many
# small things to a large one goes wrong in 16 bits, and that is why sums, the softmax, the loss and the weights
# themselves stay in float32.
# </details>

# %% tags=["nbval-check-output"]
small, large = 1e-8, 70_000.0
for kind in (torch.bfloat16, torch.float16):
    tiny, huge = torch.tensor(small).to(kind).item(), torch.tensor(large).to(kind).item()
    print(f"{str(kind)[6:]:9} 1e-8 becomes {tiny:.2g}, 70,000 becomes {huge:,.0f}")
scaled = (torch.tensor(small) * 2**16).to(torch.float16)
print("float16, multiplied by 65,536 first and divided after:", f"{scaled.item() / 2**16:.2g}")

# %% [markdown]
# Some gradients are that small. In float16 they vanish, unless the loss is first multiplied by a large number and the
# gradients divided by it in the end ([Micikevicius et al. 2018](https://arxiv.org/abs/1710.03740)); PyTorch's
# `GradScaler` does that, and finds the number by trial (exercise gpu.6). bfloat16 has the sizes of float32 and needs
# none.
#
# So `pick_dtype` takes bfloat16 on CUDA cards that compute in it (of **compute capability** 8 and above, as NVIDIA
# counts its generations: A100, RTX 30 and newer), float16 with the scaler on older ones, and float32 on the CPU. In all
# cases the weights stay in float32; only the products of matrices are made in 16 bits. The name for this is **mixed
# precision**, and PyTorch's word is `autocast`.
#
# ### What it does to speed and to the loss
#
# First the products alone, then a real run of thirty steps in each precision, from the same weights and with the same
# stories. (TF32 exists on NVIDIA's cards only: without one there are three bars. The first ten steps are not timed:
# they are the warm-up.)

# %%
n = 768 if not on_gpu else 8192
kinds = (torch.float32, torch.bfloat16, torch.float16)
rates = {str(kind)[6:]: gpu.matmul_flops(device, kind, n) / 1e9 for kind in kinds}
if on_gpu and torch.cuda.get_device_capability(device) >= (8, 0):
    torch.set_float32_matmul_precision("high")
    rates["TF32"] = gpu.matmul_flops(device, torch.float32, n) / 1e9
    torch.set_float32_matmul_precision("highest")
pictures.compare(rates, "GFLOP/s", best="high", title=f"Products of {n} × {n} matrices on {device}")

# %%
brief = TrainConfig(steps=30, optimizer="muon", learning_rate=0.02, muon_lr=0.05, warmup=10, evaluate_every=0)
told = StoryBatches(documents(30 * B, seed=5), B, start=end, shuffle=False)
rows, exact = [], None
for kind in (torch.float32, torch.bfloat16, torch.float16):
    for history in training.run(new_model(), told, brief, dtype=kind):
        if history.steps == 10:
            warm = history.tokens, history.seconds
    exact = exact or history
    apart = max(abs(a - b) for a, b in zip(history.losses, exact.losses, strict=True))
    scaler = "yes" if kind == torch.float16 else "no"
    speed = (history.tokens - warm[0]) / (history.seconds - warm[1])
    losses = f"{history.losses[0]:.3f}", f"{history.losses[-1]:.3f}", f"{apart:.3f}"
    rows.append((str(kind)[6:], scaler, f"{speed:,.0f}", *losses))
header = ["products in", "scaler", "tokens per second", "first loss", "last loss", "farthest from float32"]
pictures.table(rows, header, align="llrrrr")

# %% [markdown]
# Read the last three columns first. The farthest that 16 bits are from float32 is a small part of what thirty steps
# gain, and they end at nearly the same place. Then the speed. A GPU of the last years does many times more in 16 bits
# than in 32, because it has parts that multiply small blocks of 16-bit numbers at once. (For the A100, NVIDIA's data
# sheet of 2020 promises 312 TFLOP/s in 16 bits, 156 in TF32 and 19.5 in float32.) A CPU often has no such parts, and
# then 16 bits gain little in a product and lose in a whole step. That is the reason why `pick_dtype` leaves a CPU at
# float32.

# %% [markdown]
# ## Attention without its weights
#
# Notebook 06 wrote attention out, and this is what PyTorch's own gives. They agree.

# %% tags=["nbval-check-output"]
q, k, v = (torch.randn(2, 3, 10, 4) for _ in range(3))  # [B, H, T, hs]
ours = attention.attend(q, k, v, causal(10))
fast = F.scaled_dot_product_attention(q, k, v, is_causal=True)
print("equal within 1e-6:", bool((ours - fast).abs().max() < 1e-6))

# %% [markdown]
# They do not cost the same. Written out, the weights [B, H, T, T] are made, and kept for the way back. *Before you run
# the next cell:* T doubles.

# %%
predict("gpu.c", ...)

# %% tags=["answers-prediction"]
lengths, shape = ((512, 1024, 2048, 4096), (1, 8, 64)) if on_gpu else ((128, 256, 512, 1024), (1, 4, 32))
batch_of, heads, hs = shape
kept = {"written out": [], "one kernel": []}
times = {"written out": [], "one kernel": []}
for length in lengths:
    holder = torch.nn.Module()  # it holds q, k and v as a model its weights, so that these are not counted
    for name in "qkv":
        setattr(holder, name, torch.nn.Parameter(torch.randn(batch_of, heads, length, hs, device=device)))
    three, keep = (holder.q, holder.k, holder.v), causal(length, device=device)
    ways = {
        "written out": lambda three=three, keep=keep: attention.attend(*three, keep).sum(),
        "one kernel": lambda three=three: F.scaled_dot_product_attention(*three, is_causal=True).sum(),
    }
    for name, way in ways.items():
        kept[name].append((length, gpu.activation_bytes(way, holder) / 1e6))
        seconds = gpu.measure(lambda way=way: way().backward(), device, repeats=5, warmup=1)
        times[name].append((length, 1e3 * seconds))
pictures.lines(kept, "T (tokens)", "kept for the way back (MB)", log="xy")

# %%
pictures.lines(times, "T (tokens)", "forward and backward (ms)", log="xy")

# %% tags=["nbval-check-output"]
for name, measured in kept.items():
    print(f"{name:12} twice the length keeps {measured[-1][1] / measured[-2][1]:.1f} times as much")

# %% [markdown]
# <details><summary>Answer</summary>
#
# c: four times as much when it is written out. The one kernel keeps its inputs, its output and one number for each
# query, and so twice as much. Its time still grows with the square of T, for every score is still computed (with
# a causal mask, every score that counts); it saves the way to memory.
# </details>
#
# How can a softmax be made without its row? Take the keys in pieces. Keep, for each query, the highest score so far,
# the sum of the exponentials, and the average under way; when a higher score turns up, shrink what you have.


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
# The way back makes the scores of each piece again, from q, k and two kept numbers. With pieces that fit into the
# small fast memory of a GPU, this is **flash attention** ([Dao et al. 2022](https://arxiv.org/abs/2205.14135); the
# running softmax is Milakov and Gimelshein's, 2018). It does more FLOPs than the plain way, and is faster. After the
# roofline you know why.

# %% [markdown]
# ## Many small operations
#
# To start an operation costs time, too, whatever its size. Add two vectors, short ones and long ones:

# %%
lengths = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, *([10_000_000] if on_gpu else [])]
row = []
for n in lengths:
    a = torch.ones(n, device=device)
    many = 200 if n < 100_000 else 10
    row.append((n, 1e6 * gpu.measure(lambda a=a, many=many: [a + a for _ in range(many)], device, repeats=5) / many))
pictures.lines({"a + a": row}, "numbers in the vector", "time of one addition (µs)", log="xy")

# %%
model = new_model()
ids = torch.randint(V, (B, T), device=device)


def both_ways():
    with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        loss = model(ids, ids)[1]
    loss.backward()


in_a_step = len(gpu.measure_memory(both_ways, model).timeline)
model.zero_grad()
spent = gpu.measure(both_ways, device, repeats=5, warmup=2)
print(f"forward and backward: {in_a_step} operations; {1e3 * spent:.1f} ms")
print(f"to start them at the price of the smallest addition: {in_a_step * row[0][1] / 1e3:.1f} ms")

# %% [markdown]
# Look at the flat part of the line. On a CPU core an addition of about a thousand numbers takes as long as an addition
# of one. The operations of this model are larger than that, so starting them is a small part of its step. On a GPU the
# flat part reaches much further, because it adds many thousands of numbers at once, while Python starts the kernels one
# by one, each for longer than a CPU's. Where the second printed time comes near the first, starting is what you pay
# for; so it is with small models and small batches on a GPU.
#
# Two remedies, both for a GPU in the first place.
#
# **torch.compile** (Ansel et al. 2024) reads the operations of your model, joins neighbours into one kernel (a norm, an
# activation and a sum become one pass over memory), and keeps the result. It takes its time at the first call, half a
# minute and more, so on a CPU it is off here.

# %%
if on_gpu:
    model.compile()
    try:
        compiled = gpu.measure(both_ways, device, repeats=5, warmup=3)
        print(f"as it is {1e3 * spent:.1f} ms, compiled {1e3 * compiled:.1f} ms for the same step")
    except Exception as error:  # it needs a C++ compiler and Triton
        print("torch.compile does not work here:", str(error).strip().splitlines()[0])
else:
    print("no CUDA here: nothing is compiled and nothing is timed")

# %% [markdown]
# **CUDA graphs** (in PyTorch since 1.10, 2021) record a row of kernels once, and then start all of them with one call.
# The recording repeats exactly what it did, on the same memory, so nothing may change its shape. Writing tokens with a
# cache is the place for it: each step is hundreds of tiny kernels. The cache gets its full size from the start, the
# place of the token is a tensor, and a mask hides what is not written yet. `GraphedDecoder` is that step. On CUDA it
# is recorded, elsewhere it runs as it is, and it must say the same either way.

# %% tags=["nbval-check-output"]
teller, tokenizer = checkpoints.committed("fables")
prompt = torch.tensor([[tokenizer.special_tokens["<|endoftext|>"], *tokenizer.encode(fables.TRAVELLER[:40])]])
with torch.no_grad():
    plain = sampling.generate(teller, prompt, 20, temperature=0)
    fixed = gpu.GraphedDecoder(teller, prompt, max_length=prompt.shape[1] + 20).generate(20)
print("the same tokens:", torch.equal(plain, fixed))

# %%
if on_gpu:
    teller, prompt = teller.to(device), prompt.to(device)
    with torch.no_grad():
        slow = gpu.measure(lambda: sampling.generate(teller, prompt, 100, temperature=0), device, repeats=3)
        recorded = gpu.measure(lambda: gpu.GraphedDecoder(teller, prompt).generate(100), device, repeats=3)
        plain = sampling.generate(teller, prompt, 20, temperature=0)
        fixed = gpu.GraphedDecoder(teller, prompt).generate(20)
    print("recorded, the same tokens:", torch.equal(plain, fixed))
    print(f"100 tokens: {1e3 * slow:.0f} ms with a cache, {1e3 * recorded:.0f} ms with a graph, recording included")
else:
    print("no CUDA here, so no graph is recorded and nothing is timed")

# %% [markdown]
# ### The optimiser is made of small operations, too
#
# AdamW is a dozen operations for each parameter tensor. PyTorch has it three times: as a loop over the tensors, with
# one call for many tensors (`foreach`), and with one kernel for all of it (`fused`). Same arithmetic:

# %% tags=["nbval-check-output"]
ways = {"loop": dict(foreach=False), "foreach": dict(foreach=True), "fused": dict(fused=True)}
moved, milliseconds = {}, {}
model = new_model()
both_ways()
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
pictures.compare(milliseconds, "one AdamW step (ms)", title=f"{gpu.count_parameters(config):,} numbers on {device}")

# %% [markdown]
# All training in this course has used the fused one. It is the cheapest improvement of all: one word.

# %% [markdown]
# ## How large a batch?
#
# *Before you run it:* with twice as many stories in a batch, how much longer does a step take here? And on a GPU with
# ten thousand arithmetic units?

# %%
model = new_model()
sizes, rates = (1, 2, 4, 8, 16, 32) if not on_gpu else (1, 4, 16, 64, 256), []
for rows_at_once in sizes:
    ids = torch.randint(V, (rows_at_once, T), device=device)
    rates.append((rows_at_once, rows_at_once * T / gpu.measure(both_ways, device, repeats=5, warmup=2)))
model.zero_grad()
pictures.lines({"forward and backward": rates}, "stories in a batch, B", "tokens per second", log="x")

# %% [markdown]
# <details><summary>The answer</summary>
#
# On a CPU the rate rises at first and is soon level: then twice the stories take twice the time. On a GPU small
# batches leave most units idle, and the rate rises with B for long, almost for free. **What a GPU changes is not the
# speed of one step but how much fits into it.** A batch that is too small is the commonest reason for a slow GPU.
# </details>
#
# More stories a step are not the same as more steps. Up to some size a larger batch makes a better gradient; beyond
# it, the gradient is good enough and more is wasted (McCandlish et al. 2018 call it the critical batch size). So speed
# alone does not choose B.
#
# ### A large batch on a small card
#
# And if the batch that you want does not fit? Cut it into parts, and add up their gradients before the step:
# **gradient accumulation**. Take two rows, one long and one short. `IGNORE` marks targets that do not count.

# %%
tiny = GPTConfig(vocab_size=11, context=9, n_layer=1, n_head=2, n_embd=12)
ids = torch.randint(11, (2, 9), generator=torch.Generator().manual_seed(1))
targets = ids.roll(-1, dims=1)
targets[1, 3:] = IGNORE  # 9 targets count in the first row, 3 in the second


def gradient(rows, weigh=1.0):
    model = new_model(tiny, "cpu")
    (weigh * model(ids[rows], targets[rows])[1]).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


# %%
predict("gpu.e", ...)

# %% tags=["answers-prediction", "nbval-check-output"]
whole = gradient(slice(0, 2))
parts_of_it = [slice(0, 1), slice(1, 2)]
mean_of_means = sum(gradient(rows, 1 / 2) for rows in parts_of_it)
by_tokens = sum(gradient(rows, n / 12) for rows, n in zip(parts_of_it, (9, 3), strict=True))
print("mean of the two means:  equal to the whole batch:", bool((mean_of_means - whole).abs().max() < 1e-6))
print("weighed by their tokens: equal to the whole batch:", bool((by_tokens - whole).abs().max() < 1e-6))

# %% [markdown]
# <details><summary>Answer to the prediction</summary>
#
# Ten times. Each part gets half of the weight: a sixth for each of 3 tokens, a sixtieth for each of 30.
# </details>
#
# The first line is the mistake. Each part's loss is a mean over its own tokens, so a token of the short row would count
# three times as much as one of the long row. The library `transformers` did this until October 2024, and hardly anybody
# noticed, because the loss still falls. The package weighs by tokens. (`own` is how many targets of a part count,
# `counted` how many of the whole batch; `ranks` and `scaler` are the subjects of later and earlier parts of this
# notebook.)

# %%
show(add_gradients)

# %% [markdown]
# In a `TrainConfig` it is one word, `gradient_accumulation=4`. A batch of stories of different lengths, at once and in
# four parts (the small model, on the CPU, on every machine):

# %% tags=["nbval-check-output"]
losses_in = {}
for parts in (1, 4):
    how = dataclasses.replace(brief, steps=6, gradient_accumulation=parts)
    on_cpu = StoryBatches(told.documents, 8, start=end, shuffle=False)
    losses_in[parts] = training.train(new_model(for_cpu, "cpu"), on_cpu, how, progress=False).losses
apart = max(abs(a - b) for a, b in zip(losses_in[1], losses_in[4], strict=True))
print("six steps, at once and in four parts, the same losses within 1e-4:", apart < 1e-4)

# %% [markdown]
# ## Where the memory goes
#
# When a GPU stops with *out of memory*, it helps to know the account. A training step holds four things. Three depend
# on the model alone; in float32 a number takes 4 bytes.
#
# | what | how much |
# |---|---|
# | weights | 4 bytes for each number |
# | gradients | 4 bytes for each number |
# | optimiser | AdamW keeps two averages: 8 bytes. Muon keeps one: 4 |
# | **activations** | everything that the way forward must keep for the way back |
#
# The last cannot be read off the model. How much does one block keep for each token? A product keeps its input, a norm
# its input, attention its queries, keys, values and output, an activation function its input. For GPT-2's block, in
# numbers of C: 2 for the norms, 2 for what they give to the products, 3 + 1 for attention, 4 + 4 in the MLP. *Before
# you run the next cell:*

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
# Now the whole step. `gpu.estimate_memory` makes the account from the configuration alone, line by line, at five
# moments of the step. (*Workspace* is what single operations need for themselves.) `gpu.measure_memory` follows every
# tensor of a real step from its making to its end. (Both for the CPU, on every machine, so that the figures are the
# same everywhere.)

# %% tags=["nbval-check-output"]
estimate = gpu.estimate_memory(block, B=8, T=104, device="cpu")
print(estimate)


# %%
def measured_step(block, gradient_checkpointing=False, device="cpu", B=8, T=104):
    """The memory of a training step, the operations of its way forward, and its seconds."""
    model = new_model(block, device)
    model = checkpoint_blocks(model) if gradient_checkpointing else model
    (optimizer,) = make_optimizers(model, TrainConfig())
    ids = torch.randint(V, (B, T), device=device)

    def step():
        model(ids, ids)[1].backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()  # the optimiser makes its averages in the first one
    seconds = gpu.measure(step, device, repeats=5, warmup=1)
    forward = len(gpu.measure_memory(lambda: model(ids, ids), model).timeline)
    return gpu.measure_memory(step, model, [optimizer]), forward, seconds


real, forward, seconds = measured_step(block)
pictures.memory_timeline({"alive": real}, {"predicted peak": estimate.total}, marks={"the loss is known": forward})

# %% [markdown]
# <details><summary>Answer to the prediction</summary>
#
# d, the activations, by far. That is typical of small models with many tokens per step, and it holds for large ones, too,
# unless something is done about it.
# </details>
#
# Read the picture from left to right. On the way forward it climbs, four steps for four blocks. At the top is the loss,
# whose gradient over all logits [B, T, V] comes on top of all. On the way back it comes down block by block, and the
# gradients of the weights take the place of the activations. The grey ground is what stays between steps.

# %% tags=["nbval-check-output"]
print("predicted within 15 % of measured:", abs(estimate.total / real.peak - 1) < 0.15)
print("bytes for each number, its gradient and AdamW:", 4 + 4 + 8)

# %% [markdown]
# On a card PyTorch counts for itself, `torch.cuda.max_memory_allocated`. Does the account hold there, for the larger
# model?

# %%
if on_gpu:
    promised = gpu.estimate_memory(config, B=B, T=T, device="cuda").total
    on_card, _, _ = measured_step(config, device=device, B=B, T=T)
    print(f"float32, B = {B}: predicted {promised / 1e6:,.0f} MB, measured on the card {on_card.peak / 1e6:,.0f} MB")
else:
    print("no CUDA here: the picture above is the CPU's, and a card's memory cannot be measured")

# %% [markdown]
# ### Forget, and compute again
#
# **Activation checkpointing** ([Chen et al. 2016](https://arxiv.org/abs/1604.06174)): each block keeps its input only.
# When the way back comes to it, the block runs forward again and keeps everything, for itself alone.

# %%
again, _, seconds_again = measured_step(block, gradient_checkpointing=True)
pictures.memory_timeline({"all kept": real, "computed again": again})

# %%
rows = [
    ("all kept", f"{real.peak / 1e6:.1f}", f"{1e3 * seconds:.0f}"),
    ("computed again", f"{again.peak / 1e6:.1f}", f"{1e3 * seconds_again:.0f}"),
]
pictures.table(rows, ["activations", "peak (MB)", "a step (ms)"], align="lrr")


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
# About a third more work in FLOPs (forward is one of three thirds, and is done twice), for less memory; the more
# blocks, the more is saved. In `TrainConfig` it is one word, `gradient_checkpointing=True`.
#
# ### And GPT-2?
#
# The account needs no model, so you can ask it for one that would not fit here. GPT-2 124M, sequences of 1,024 tokens,
# in four ways: what is in the memory of a card at the worst moment, and how many sequences fit into one of 24 GB, of
# which 22 can be used?

# %% tags=["nbval-check-output"]
gpt2 = dataclasses.replace(GPTConfig.gpt2("124M"), dropout=0.0)  # nanoGPT trains it without dropout
account = {
    "plain, float32": dict(dtype=torch.float32, flash=False),
    "flash, float32": dict(dtype=torch.float32),
    "flash, bfloat16": dict(dtype=torch.bfloat16),
    "and checkpointing": dict(dtype=torch.bfloat16, gradient_checkpointing=True),
}
wholes, rows = {}, []
for name, how in account.items():
    memory = gpu.estimate_memory(gpt2, B=12, T=1024, **how)
    wholes[name] = {line: size / 1e9 for line, size in memory.moments[memory.worst].items()}
    most = max(b for b in range(1, 64) if gpu.estimate_memory(gpt2, B=b, T=1024, **how).total < 22e9)
    rows.append((name, f"{memory.total / 1e9:.1f}", most))
pictures.table(rows, ["GPT-2 124M, T = 1,024", "GB for B = 12", "largest B in 22 GB"], align="lrr")

# %%
pictures.shares(wholes, "GB", title="GPT-2 124M, B = 12, T = 1,024: the worst moment, predicted")

# %% [markdown]
# Look at what is left when the activations are gone: the logits. GPT-2 has 50,257 of them for each token, and the loss
# wants them in float32, with their gradient. So when memory runs out, there are these ways, each for one line of the
# account: a smaller B with accumulation (activations, logits), 16 bits (up to half of the activations), flash attention
# (its weights), checkpointing (all but the inputs of blocks), and several cards that share the rest, below.
#
# ## Keeping the GPU fed
#
# A device that waits for its next batch is as slow as the disk. How long does a batch take, compared with a step?
# Three ways to get one: tell and encode B stories when they are needed; cut B rows out of a file of ids
# (`Batches.from_file`, notebook 04: the file is **memory-mapped**, only the pages that are touched are read); and the
# way forward and back, for comparison.

# %%
folder = Path(tempfile.mkdtemp())
written = write_tokens(folder / "words.bin", documents(1000, seed=3))
on_disk = Batches.from_file(folder / "words.bin", B=B, T=T)
model, ids, number = new_model(), on_disk.batch(0).ids.to(device), iter(range(10_000))
milliseconds = {
    "tell and encode": 1e3 * gpu.measure(lambda: documents(B, seed=next(number)), repeats=5),
    "rows of a file": 1e3 * gpu.measure(lambda: on_disk.batch(next(number)), repeats=5),
    "forward and backward": 1e3 * gpu.measure(both_ways, device, repeats=5),
}
print(f"{written:,} ids in a file of {(folder / 'words.bin').stat().st_size:,} bytes")
pictures.compare(milliseconds, f"milliseconds, B = {B}")

# %% [markdown]
# On a slow device the first bar is short beside the last, and little would be won. The faster the device, the longer it
# looks. So what can be done once (telling, encoding) is not done at each step: `python -m gptlab prepare` writes such
# files, in parallel, for a corpus of any size. And what remains can be hidden. While the device computes a step, a
# second thread fetches the next batch: it is **prefetched**. To see it, take a disk that is slow on purpose.


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

    def fetch(self, step):
        batch = self.source.batch(step)
        return [part.pin_memory() for part in batch] if on_gpu else batch

    def batch(self, step):
        ready = self.coming.pop(step, None) or self.pool.submit(self.fetch, step)
        self.coming[step + 1] = self.pool.submit(self.fetch, step + 1)
        return ready.result()


# %%
how, fed = dataclasses.replace(brief, steps=12), {}
for name, source in {"at once": on_disk, "slow": Slow(), "slow, prefetched": Prefetched(Slow())}.items():
    fed[name] = training.train(new_model(), source, how, dtype=dtype, progress=False)
pictures.compare({name: 1e3 * h.seconds / h.steps for name, h in fed.items()}, "a step (ms), waiting included")

# %% tags=["nbval-check-output"]
ahead = Prefetched(on_disk)
print("the same batches:", all(torch.equal(ahead.batch(n)[0], on_disk.batch(n)[0]) for n in range(5)))

# %% [markdown]
# What the wait has cost is gone where the step is longer than the wait; where it is shorter, a part is left, and more
# threads or larger reads are needed. On CUDA the cell also **pins** the memory: the system may not move it, and the
# card can fetch it by itself. (That Python does not wait for the copy either, one says with `non_blocking=True`. For
# batches of ids, a few kilobytes, it is not worth the care.)

# %% [markdown]
# ## How much of the machine do you use?
#
# Tokens a second say how fast you are, not how good. For that you need to know what the tokens cost. Count the
# products of one block of GPT-2 for one token: four matrices [C, C] in attention, two of [C, 4C] and [4C, C] in the
# MLP, each number once multiplied and once added; and in attention itself T keys and T values. Then the head.

# %% tags=["nbval-check-output"]
L, C, T_gpt2, V_gpt2 = 12, 768, 1024, 50257
forward = L * (2 * 12 * C * C + 2 * 2 * T_gpt2 * C) + 2 * C * V_gpt2
print(f"by hand, forward and backward: {3 * forward:,} FLOPs per token")
print(f"the package:                   {gpu.flops_per_token(gpt2, T=1024):,}")
print(f"the rule 6 N:                  {6 * gpu.count_parameters(gpt2):,}")

small_one, ids = new_model(block, "cpu"), torch.randint(V, (2, 104))
with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
    small_one(ids, ids)[1].backward()
ratio = gpu.flops_per_token(block, T=104) / (counter.get_total_flops() / ids.numel())
print(f"the package / what torch counts on a small model: {ratio:.3f}")

# %% [markdown]
# The rule 6 N leaves out attention, and counts the position table, which multiplies nothing. For long sequences the
# difference grows. Now divide what the model needed by what the machine could have done in the same time:
#
# $$ \text{utilisation} = \frac{\text{tokens per second} \cdot \text{FLOPs per token}}{\text{FLOP/s of the machine}} $$
#
# The name is **MFU**, model FLOPs utilisation ([Chowdhery et al. 2022](https://arxiv.org/abs/2204.02311)). Two
# conventions: papers divide by the rate that the maker of the card promises; here we divide by the one that you have
# measured, which gives a larger MFU. And FLOPs that the model did not need, such as those of checkpointing, do not
# count.
#
# ## One run, from nothing
#
# Everything together. *Before you run it:* of the rate that you measured for one multiplication, which part will
# training of the small model reach? A tenth, a half, nearly all?

# %%
rates = dict(learning_rate=0.02, muon_lr=0.05, warmup=20)
rates |= dict(learning_rate=0.005, muon_lr=0.03) if on_gpu else {}  # a wider model takes smaller steps
plan = TrainConfig(steps=steps, optimizer="muon", evaluate_every=steps // 8, **rates)
batches = StoryBatches(documents(steps * B, seed=1000), B, start=end, shuffle=False)
judge = StoryEvaluation(fables.tell(128, seed=1), words, end)
model = new_model()
running = training.run(model, batches, plan, evaluate=judge, dtype=dtype)
stories = {0: sampling.tell_stories(model, words, n=16, end=end, seed=4)}

# %%
def go_on(until):
    for history in running:
        if history.steps % plan.evaluate_every == 0:
            speed, excess = history.tokens / history.seconds, history.evaluations[-1]["excess"]
            print(f"step {history.steps:5} {excess:6.1f} nats per story above the floor {speed:8,.0f} tokens per second")
        if history.steps in (steps // 16, steps // 4, steps):
            stories[history.steps] = sampling.tell_stories(model, words, n=16, end=end, seed=4)
        if history.steps == until:
            return history


history = go_on(until=steps // 4)
early = history.tokens / history.seconds

# %% [markdown]
# That was the first quarter. The words are in place; what is still missing, mostly, is the memory for what was told.
# (So it is with the small model. The large one, with larger batches, may be past it.)

# %%
history = go_on(until=5 * steps // 8)

# %%
history = go_on(until=steps)

# %%
first = history.losses[0]
print(f"the first loss: {first:.2f} nats per token; ln V: {math.log(V):.2f}")
excess = history.evaluations[-1]["excess"]
print(f"the last evaluation: {excess:.1f} nats per story above the floor, expected: between 0 and 6")
assert abs(first - math.log(V)) < 0.3 and 0 < excess < 6

# %% [markdown]
# The clock counts only the steps, not the evaluations. It is honest on a GPU, too, although nothing in `training.run`
# says `synchronize`: each step reads its loss as a Python number, and to read it is to wait.
#
# At four moments of the run the model has told sixteen stories. `fables.read` knows the grammar and finds what is
# wrong.

# %%
for at, told_then in stories.items():
    wrong = [fables.read(text).error for text in told_then]
    text = told_then[1]
    print(f"— after {at} steps, {wrong.count(None)} of {len(wrong)} stories are without a fault. One:")
    print(textwrap.fill(text[:330] + ("…" if len(text) > 330 else ""), width=100))
    print("  (no fault)" if wrong[1] is None else f"  ({wrong[1][:110]})", "\n")

# %%
pictures.excess(history, fall=False, title=f"{steps} steps on {device}: above the best possible loss")

# %% [markdown]
# Form is learned at once: the stories look like stories before they make sense. The recalled facts come later. The
# height of the picture is the distance to the entropy of the grammar, so there is nothing below its ground. (Where its
# top is cut off, the first values are far higher; they stand in the lines above.)

# %%
speed = history.tokens / history.seconds
share = gpu.mfu(speed, config, T, peak=roof.rate)
predict("gpu.h", ..., round(share, 2))

# %% [markdown]
# <details><summary>What the number means</summary>
#
# It is the MFU over the measured rate. The rest of the time goes to what is not a large product: norms, softmax,
# looking up rows, starting operations, the optimiser (Muon's own products are not counted, for the model did not ask
# for them), and padding, which is computed and teaches nothing. Small models use little of a machine; good programs
# for large ones reach about a half.
# </details>

# %% [markdown]
# A forecast, made from the first quarter of the run and checked against its end: the work of the whole run, divided by
# the rate of the first quarter. (Where others share the machine, the two may differ.) It is the division that every
# plan below is made of.

# %% tags=["answers-prediction"]
work = gpu.flops_per_token(config, T) * history.tokens
foretold = work / (roof.rate * gpu.mfu(early, config, T, peak=roof.rate))
print(f"foretold after a quarter: {foretold:.1f} s of training; it took {history.seconds:.1f} s")

# %% [markdown]
# ## Stop, kill, resume
#
# A run of four days will be interrupted: a power cut, a quota, a laptop that is closed. A **checkpoint** holds what is
# needed to go on. We do it to a real program in a process of its own, the command of the course. First the run that
# nothing happens to, forty steps in this notebook. (All of this part runs on the CPU on every machine: there the same
# arithmetic gives the same bits. On a GPU some sums are added in changing order, and two runs agree to a few digits.)

# %%
base = runs.RECIPES["fables"]
how = dataclasses.replace(base.training, steps=40, save_every=10, evaluate_every=0)
modest = dataclasses.replace(base, batch_size=6, model=base.model | dict(n_embd=32, n_head=4), training=how)


def fresh():
    return runs.build(modest, "cpu")


unharmed = fresh()
whole = training.train(unharmed.model, unharmed.batches, how, progress=False)
print(f"forty steps, nothing happened: the loss falls from {whole.losses[0]:.2f} to {whole.losses[-1]:.2f}")

# %% [markdown]
# The same settings as a command:

# %%
SETTINGS = "fables --steps 40 --batch-size 6 --n-embd 32 --n-head 4 --save-every 10 --evaluate-every 0"
ARGUMENTS = ["train", *SETTINGS.split(), "--device", "cpu", "--dtype", "float32"]
threads = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}  # as here: the same sums, in the same order


# %%
def start(*more):
    """Start `python -m gptlab train …` beside this notebook."""
    command = [sys.executable, "-m", "gptlab", *ARGUMENTS, *map(str, more)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=threads)


def wait_for(run, step, seconds=150):
    """Wait until a run has a checkpoint of this step or a later one."""
    end = time.monotonic() + seconds
    while (newest := checkpoints.latest(run)) is None or int(newest.name.split("-")[1]) < step:
        if time.monotonic() > end:
            raise TimeoutError(f"no checkpoint of step {step} after {seconds} s")
        time.sleep(0.002)


run = folder / "killed"
process = start("--folder", run)
wait_for(run, step=10)
process.terminate()  # SIGTERM: please end, as a scheduler says it
said, _ = process.communicate(timeout=100)
print(f"exit code {process.returncode};", said.strip().splitlines()[-1].split(". ")[0])

# %% [markdown]
# Asked politely, it finished its step, wrote a checkpoint and left. Now it goes on, and is killed (`kill -9`): no
# question is asked, and nothing can be saved. (Windows knows no such requests: there both are killed at once, and the
# exit codes are others.)

# %%
stopped_at = int(checkpoints.latest(run).name.split("-")[1])
process = start("--folder", run, "--resume")
wait_for(run, step=stopped_at + 1)
process.kill()  # SIGKILL
process.communicate(timeout=100)
newest = checkpoints.latest(run)
print(f"exit code {process.returncode}; the newest checkpoint is {newest.name}, with these files:")
print(*sorted(path.name for path in newest.iterdir()))

# %%
predict("gpu.f", ...)

# %% [markdown]
# We build everything anew here, set all weights to zero, so that you can see that they are replaced, and resume.

# %% tags=["answers-prediction", "nbval-check-output"]
rebuilt = fresh()
for parameter in rebuilt.model.parameters():
    parameter.data.zero_()
resumed = training.train(rebuilt.model, rebuilt.batches, how, folder=run, resume=True, progress=False)
print("steps:", resumed.steps)
print("exactly as if nothing had happened:", resumed.losses == whole.losses)

# %% [markdown]
# <details><summary>Why this works</summary>
#
# c, in none. Four things are kept: the weights, the averages of the optimisers, the number of the step, and the state
# of the random numbers. The order of the data need not be kept: `batches.batch(step)` depends on the step alone
# (notebook 04). And a checkpoint is written to a folder beside the others and renamed when it is complete, so that an
# accident while writing spoils nothing.
# </details>
#
# ### Break it: keep the weights only
#
# Load the weights, call `train` again: many programs do it like this. The averages are empty, the schedule begins anew,
# and so does the data.

# %%
halfway = dataclasses.replace(how, steps=40, save_every=20, save_total_limit=2)
unharmed = fresh()
training.train(unharmed.model, unharmed.batches, halfway, folder=folder / "halfway", progress=False)
weights_only, _ = checkpoints.load_model(folder / "halfway" / "step-00000020")
anew = training.train(weights_only.train(), unharmed.batches, how, progress=False)
naive = whole.losses[:20] + anew.losses[:20]
apart = {"resumed exactly": resumed.losses, "weights only": naive}
apart = {name: [a - b for a, b in zip(losses, whole.losses, strict=True)] for name, losses in apart.items()}
curves = {name: training.History(losses=losses) for name, losses in apart.items()}
title = "Distance to the run without an accident"
pictures.training(curves, smooth=1, unit="difference in loss (nats per token)", top=1.2, title=title)

# %% tags=["nbval-check-output"]
print("weights only, the same at step 21: ", naive[20] == whole.losses[20])

# %% [markdown]
# The second curve is another run: it warms up again, and it reads the first stories for the second time. You see what
# it has lost by then. In a run of days it is a jump in the curve that nobody can explain afterwards, and a schedule
# that ends in the wrong place.

# %% [markdown]
# ## Many GPUs
#
# One device is measured and full. How do several share one model, so that the sum of what they compute is the same as
# if one had done it all?
#
# You have the answer already. Gradient accumulation cut a batch into parts *one after the other*, and added the
# gradients, weighed by tokens. Now let the parts be computed *at the same time*, each by a process of its own, with
# its own copy of the model. Such a process is called a **rank**. After the way back they add up their gradients; then
# all make the same step, and the copies stay equal. The name is **data parallel** training.
#
# ### By hand
#
# Here is the whole program of a rank. `all_reduce` adds a tensor up over all ranks and gives everybody the sum.

# %%
PROGRAM = """
import sys
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from gptlab.batches import Batches
from gptlab.model import GPT, GPTConfig

dist.init_process_group("gloo")                        # the ranks find each other
rank, ranks = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)                                   # the same weights everywhere
model = GPT(GPTConfig(vocab_size=11, context=9, n_layer=2, n_head=2, n_embd=12))
ids, targets = Batches([n * n % 11 for n in range(200)], B=6, T=9).batch(0)
own = torch.arange(6).tensor_split(ranks)[rank]        # this rank's rows
model(ids[own], targets[own])[1].backward()
for parameter in model.parameters():
    dist.all_reduce(parameter.grad)                    # the sum over all ranks
    parameter.grad /= ranks                            # equal parts here: so this is their mean
print(f"rank {rank} of {ranks} read rows {own.tolist()}")
if rank == 0:
    save_file({name: p.grad for name, p in model.named_parameters()}, sys.argv[1])
dist.destroy_process_group()
"""
_ = (folder / "rank.py").write_text(PROGRAM)

# %% [markdown]
# Never start ranks inside the process of a notebook. **torchrun**, PyTorch's own starter, runs beside it: it starts the
# processes, tells each its number, and ends all of them when one fails. `cluster.launch` calls it with a time
# limit. On a CPU the ranks talk through *gloo*, on NVIDIA cards through *NCCL*: there that word is
# another, and each rank puts its model and its rows on a card of its own.

# %% tags=["nbval-check-output"]
launched = cluster.launch([str(folder / "rank.py"), str(folder / "gradients")], world_size=2, time_limit=600)
print(*sorted(re.findall(r"rank \d of \d read rows \[.*?\]", launched.output)), sep="\n")
torch.manual_seed(0)
alone = GPT(GPTConfig(vocab_size=11, context=9, n_layer=2, n_head=2, n_embd=12))
ids, targets = Batches([n * n % 11 for n in range(200)], B=6, T=9).batch(0)
alone(ids, targets)[1].backward()
together = load_file(folder / "gradients")
worst = max(float((p.grad - together[name]).abs().max()) for name, p in alone.named_parameters())
print("gradients of two ranks equal those of one within 1e-6:", worst < 1e-6)

# %% [markdown]
# In the package, `cluster.RowsOfRank` is the line `own = …` (each rank reads only its own rows), and PyTorch's
# `DistributedDataParallel` is the loop over the parameters: it begins to send while the way back is still under way.
#
# ### What it costs, and sharding
#
# Every rank holds everything: weights, gradients, averages. A model that does not fit on one card does not fit on a
# thousand like this. So let each rank keep only its share of all three, its **shard**, and fetch the weights of a
# block from the others when it comes to that block ([Rajbhandari et al. 2020](https://arxiv.org/abs/1910.02054), ZeRO
# stage 3). PyTorch calls it **FSDP**, fully sharded data parallel; its second form, FSDP2, is the function
# `fully_shard`. Here is GPT-2's largest, with 16 bytes a number and a 16-bit copy of its matrices:

# %% tags=["nbval-check-output"]
rows = []
for ranks in (1, 8, 64):
    layouts = [cluster.Layout(data=ranks, shard=stage) for stage in ((0, 3) if ranks > 1 else (0,))]
    for layout in layouts:
        memory = cluster.memory_per_gpu(GPTConfig.gpt2("1558M"), layout, sequences=64, T=1024)
        held = sum(memory[line] for line in ("weights", "gradients", "optimiser", "16-bit copies"))
        rows.append((ranks, "all sharded" if layout.shard else "whole copies", f"{held / 1e9:.1f}"))
pictures.table(rows, ["GPUs", "GPT-2 1558M", "GB on each, activations not counted"], align="rlr")

# %% [markdown]
# ### A rank that dies
#
# With many machines something always breaks. (Llama 3's 405B was interrupted 466 times in 54 days: Llama team 2024,
# section 3.3.4.) A good run notices at once, says who died, and leaves a checkpoint to go on from. We train with two
# ranks, and the second one kills itself as soon as it sees a checkpoint.

# %%
DEADLY = """
import os, signal, sys, threading, time
from gptlab import checkpoints, commands

def die_after_the_first_checkpoint():
    while checkpoints.latest(sys.argv[1]) is None:
        time.sleep(0.01)
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))  # SIGTERM: what Windows has

if os.environ["RANK"] == "1":
    threading.Thread(target=die_after_the_first_checkpoint, daemon=True).start()
sys.exit(commands.run(sys.argv[2:]))
"""
_ = (folder / "deadly.py").write_text(DEADLY)
run = folder / "two"
launched = cluster.launch([str(folder / "deadly.py"), str(run), *ARGUMENTS, "--folder", str(run)], time_limit=600)
print(f"{launched.reason}; exit code {launched.code}")
print(next((line.split(" (")[0] for line in launched.output.splitlines() if "lost another rank" in line), ""))
print("the newest checkpoint:", checkpoints.latest(run).name)

# %% [markdown]
# And now we go on from that checkpoint with two ranks again, this time **sharded**. A checkpoint holds whole tensors,
# and a batch means the same on any number of ranks, so a run may change both.

# %% tags=["nbval-check-output"]
command = ["-m", "gptlab", *ARGUMENTS, "--folder", str(run), "--resume", "--parallel", "sharded"]
launched = cluster.launch(command, world_size=2, time_limit=600)
state = json.loads((checkpoints.latest(run) / "state.json").read_text(encoding="utf-8"))
losses = state["history"]["losses"]
apart = max(abs(a - b) for a, b in zip(losses, whole.losses, strict=True))
print("exit code:", launched.code, launched.reason, "  steps:", len(losses), "  ranks at the end:", state["world_size"])
print("two ranks, one killed, resumed sharded; all losses within 1e-4 of one process:", apart < 1e-4)

# %% [markdown]
# Not equal to the last bit: two ranks add their gradients in another order than one. But no step was lost, and nothing
# was read twice.
#
# Where there are several GPUs, the next cell trains on all of them, through NCCL.

# %%
cards = torch.cuda.device_count()
if cards > 1:
    command = ["-m", "gptlab", "train", "fables", "--steps", "200", "--folder", str(folder / "cards")]
    launched = cluster.launch(command, world_size=cards, time_limit=600)
    print(launched.output or launched.reason)
else:
    print("one GPU here," if cards else "no CUDA here,", "so nothing is shared between GPUs")

# %% [markdown]
# ### The commands
#
# One machine, all its GPUs; the same with shards:
#
# ```
# torchrun --standalone --nproc-per-node gpu -m gptlab train nanogpt-gpu --folder runs/eight
# torchrun --standalone --nproc-per-node gpu -m gptlab train nanogpt-gpu --folder runs/eight --resume --parallel sharded
# ```
#
# Two hosts without a scheduler: the same line on each. The folder lies on a disk that both see.
#
# ```
# torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint host1:29500 --rdzv-id mine \
#     -m gptlab train nanogpt-gpu --folder /shared/runs/sixteen --resume
# ```
#
# With Slurm, a file for `sbatch`. Its SIGTERM comes 90 seconds before the time is over, the run keeps a checkpoint,
# the job goes back into the queue, and `--resume` goes on (or begins, where there is nothing yet):
#
# ```
# #SBATCH --nodes=2 --ntasks-per-node=1 --gpus-per-node=8 --cpus-per-task=32 --time=04:00:00
# #SBATCH --signal=TERM@90 --requeue
# first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node 8 --rdzv-id "$SLURM_JOB_ID" \
#     --rdzv-backend c10d --rdzv-endpoint "$first:29500" \
#     -m gptlab train nanogpt-gpu --folder /shared/runs/"$SLURM_JOB_ID" --resume
# ```
#
# What has been tried for this notebook is the first kind, with two processes on a CPU, in the cells above. The lines
# for several GPUs, several hosts and Slurm have not been run.
#
# ## Past this machine, on paper
#
# You have everything that a plan needs: FLOPs, bytes, a rate and a utilisation. `cluster.plan` puts them together for any
# configuration and any number of cards. It tries every way to spread the model over them: copies, shards, matrices
# that are cut (**tensor parallel**, Shoeybi et al. 2019), blocks that are dealt out (**pipeline parallel**, Huang et
# al. 2019), and takes the fastest that fits. First nanoGPT's four days:

# %% tags=["nbval-check-output"]
def print_plan(found):
    for line in str(found).splitlines():
        print(textwrap.fill(line, width=100, subsequent_indent=" " * 8))


print_plan(cluster.plan(GPTConfig.gpt2("124M"), gpus=8, gpu="A100", tokens=300e9, T=1024, mfu=0.35))

# %% [markdown]
# nanoGPT's README says about four days. But the `mfu` is an input here, a usual value. (Left out, it is a guess of the
# planner.) How good is such a plan? Compare with runs whose figures were published.

# %% tags=["nbval-check-output"]
gpt3 = GPTConfig(vocab_size=50257, context=2048, n_layer=96, n_head=96, n_embd=12288)
h100 = dict(gpu="H100", T=8192, mfu=400 / 989)  # 400 TFLOP/s on each, of 989 (Llama team 2024, table 4)
published = [  # the plan, and the GPU hours that were published
    ("GPT-3", cluster.plan(gpt3, 10_000, "V100", tokens=300e9, batch_tokens=3.2e6, mfu=24.6 / 125), 10_000 * 14.8 * 24),
    ("Llama 3.1 405B", cluster.plan(llama_config("405B"), 16_384, tokens=15.6e12, batch_tokens=2**24, **h100), 30.84e6),
    ("Llama 3.1 70B", cluster.plan(llama_config("3.1-70B"), 2048, tokens=15e12, batch_tokens=4e6, **h100), 7.0e6),
    ("Llama 3.1 8B", cluster.plan(llama_config("3.1-8B"), 2048, tokens=15e12, batch_tokens=4e6, **h100), 1.46e6),
]
rows = []
for name, found, hours in published:
    numbers = f"{found.parameters / 1e9:.1f}", f"{found.flops:.2e}", f"{found.gpu_hours:,.0f}", f"{hours:,.0f}"
    rows.append((name, *numbers, f"{found.gpu_hours / hours:.2f}"))
header = ["run", "parameters (10⁹)", "FLOPs", "GPU hours, planned", "published", "ratio"]
pictures.table(rows, header, align="lrrrrr")

# %% [markdown]
# Sources: GPT-3, [Brown et al. 2020](https://arxiv.org/abs/2005.14165) for sizes, Patterson et al. 2021, table 4, for
# 24.6 TFLOP/s measured on each of 10,000 V100, and 14.8 days; Llama 3.1's model card and [Llama team
# 2024](https://arxiv.org/abs/2407.21783).
#
# Read the last column honestly. The first two rows are within 15 %, because the speed that those runs reached was
# published, and the plan was given it. The last two are not. For the 8B and the 70B no speed was published; with that
# of the 405B they would have been done much sooner than they were. **Parameters, FLOPs and memory follow from the
# configuration. Hours follow only from a speed that somebody has measured.** A plan without a measured speed is a
# guess.
#
# And the layout that the planner advises for the 405B:

# %% tags=["nbval-check-output"]
print_plan(published[1][1])

# %% [markdown]
# The real run used another one: tensor 8, pipeline 16, data 128 (their table 4). Both cut matrices inside a **node**
# (one machine with its eight GPUs), where the links are fast, and shard the optimiser. The planner leaves out that many
# small messages are slow, and that hardware breaks.
#
# ### How large, on how many tokens?
#
# The work 6 N D is fixed by your budget. Should the model be large and see little, or be small and see much? Hoffmann
# et al. ([2022](https://arxiv.org/abs/2203.15556)) trained over 400 models to find out.

# %%
predict("gpu.g", ...)

# %% tags=["answers-prediction", "nbval-check-output"]
rows = []
for parameters, name in ((124e6, "GPT-2"), (8e9, "Llama 3 8B"), (70e9, "Chinchilla"), (175e9, "GPT-3")):
    best = [cluster.chinchilla_tokens(parameters, approach) for approach in (1, 2, 4)]
    rows.append((name, f"{parameters / 1e9:g}", *(f"{tokens / parameters:.0f}" for tokens in best)))
header = ["size of", "parameters (10⁹)", "approach 1", "approach 2", "approach 4"]
pictures.table(rows, header, align="lrrrr")

# %% [markdown]
# The table says how many tokens for each parameter. Approaches 1 and 2 are two of their ways to look at their runs;
# the third has been corrected since ([Besiroglu et al. 2024](https://arxiv.org/abs/2404.10102), called 4 here). About
# 20, at all sizes. The formula of the last one, $L = E + A/N^{\alpha} + B/D^{\beta}$, drawn for three budgets:

# %%
curves = {}
for budget in (1e19, 1e20, 1e21):
    millions = (50, 100, 200, 400, 800, 1600, 3200, 6400, 12800)
    points = [(n, cluster.chinchilla_loss(n * 1e6, budget / (6 * n * 1e6))) for n in millions]
    curves[f"10^{math.log10(budget):.0f} FLOPs"] = points
title = "The work is the same along each line"
pictures.lines(curves, "parameters N (millions)", "loss (nats per token)", log="x", title=title)

# %% [markdown]
# Each line has a lowest point: left of it the model is too small for its tokens, right of it it has seen too few. The
# lines are the formula on *their* data, not a measurement of ours. And "best" means best for the price of training
# alone. A model that many people use is trained on far more tokens, because a smaller one is cheaper to run for ever:
# Llama 3 8B saw about 1,900 tokens for each of its parameters.
#
# ## A law from small runs
#
# Can you foretell the loss of a model that you have not trained? Train a ladder of small ones, four sizes, two seeds
# each (a seed chooses first weights and stories), all for the same number of steps. The floor E is known here: it is
# the entropy of fables. So two numbers are left to fit,
#
# $$ L(N) = E + \frac{A}{N^{\alpha}} $$
#
# and in logarithms, of $L - E$ against $N$, that is a straight line. (Llama's and GPT-4's makers did this with larger
# ladders, and without knowing the floor.)


# %%
def rung(channels, seed):
    """Train one small model for eighty steps; its size, and its loss in nats per story."""
    made = GPTConfig.modern(V, 160, n_layer=1, n_head=4, n_embd=channels, mlp_size=2 * channels, convolution=4)
    how = TrainConfig(steps=80, optimizer="muon", learning_rate=0.03, muon_lr=0.08, warmup=10, evaluate_every=0)
    model = new_model(made, "cpu", seed=seed)
    stories = StoryBatches(documents(80 * 8, seed=1000 + seed), 8, start=end, shuffle=False)
    *_, history = training.run(model, stories, how, evaluate=judge)
    return gpu.count_parameters(made), history.evaluations[-1]["loss"]


ladder = []
for channels in (16, 24, 32, 48):
    ladder += [rung(channels, seed) for seed in (1, 2)]
    print(f"C = {channels}: {ladder[-1][0]:,} numbers, losses " + ", ".join(f"{loss:.1f}" for _, loss in ladder[-2:]))

# %% [markdown]
# Before you go beyond the ladder, test the method inside it: hide the largest rung, fit the law to the others, and see
# whether it foretells what you hid. The interval is where a new run should lie in 95 of 100 cases, if the law holds.

# %%
known = cluster.fit_scaling_law(*zip(*ladder[:6], strict=True), floor=judge.floor)
low, high = known.interval(ladder[6][0])
print(f"hidden rung: foretold {known(ladder[6][0]):.1f}, between {low:.1f} and {high:.1f};", end=" ")
print("found", ", ".join(f"{loss:.1f}" for _, loss in ladder[6:]))

law = cluster.fit_scaling_law(*zip(*ladder, strict=True), floor=judge.floor)
next_size = gpu.count_parameters(GPTConfig.modern(V, 160, n_layer=1, n_head=4, n_embd=64, mlp_size=128, convolution=4))
low, high = law.interval(next_size)
print(f"E = {law.floor:.1f}, α = {law.alpha:.2f}")
print(f"{next_size:,} numbers: foretold {law(next_size):.1f}, between {low:.1f} and {high:.1f}")

# %% [markdown]
# Only now is the next size trained.

# %%
found = [rung(64, seed) for seed in (1, 2)]
inside = sum(low <= loss <= high for _, loss in found)
print("found", ", ".join(f"{loss:.1f}" for _, loss in found), f"- inside the interval: {inside} of {len(found)}")
measured = ladder + found
lines = {
    "the law": [(N, law(N) - law.floor) for N, _ in measured[::2]],
    "seed 1": [(N, loss - law.floor) for N, loss in measured[::2]],
    "seed 2": [(N, loss - law.floor) for N, loss in measured[1::2]],
}
x, y = "parameters N", "above the floor (nats per story)"
pictures.lines(lines, x, y, log="xy", at={"fitted up to here": ladder[-1][0]})

# %% [markdown]
# Left of the upright line are the runs that the law has seen, right of it the ones that it foretold. How good was the
# forecast, one size up? Do not trust it much further. These runs end before the fall of the recalled facts (notebook
# 10). A larger model may begin to fall within eighty steps, with one seed and not with another, and the runs scatter
# (an open exercise, at the end). A law knows nothing of what has not happened yet in any of its runs, and the interval
# knows the noise of these eight.
#
# ## The yardstick: Shakespeare
#
# Fables are to understand with. To compare with the world, one takes Tiny Shakespeare, character by character.
# nanoGPT's README (2022 and 2023) gives two numbers for it, losses on the tenth of the text that was held back: 1.88
# for its CPU settings (about three minutes on a MacBook "or other cheap computer", 2,000 steps of 12 rows of 64
# characters), 1.4697 for its GPU settings (about three minutes on one A100, 5,000 steps of 64 rows of 256 characters).
# Our recipes have the newer parts of notebook 12, and Muon. On a CPU the cell takes the same rows of 64 characters and
# a model of three layers in place of four; on a GPU the recipe `shakespeare-gpu`, a model as large as nanoGPT's with
# the same context.

# %%
nanogpt = {"nanoGPT, CPU settings": 1.88, "nanoGPT, GPU settings": 1.4697}
if on_gpu:
    play, changes = runs.RECIPES["shakespeare-gpu"], {}
else:
    play, changes = runs.RECIPES["shakespeare"], dict(steps=270, evaluate_every=135)
    play = dataclasses.replace(play, batch_size=12)  # 12 rows of 64 characters, as in nanoGPT's CPU settings
plan = dataclasses.replace(play.training, **changes)

plays, acting = None, iter(())
if "shakespeare" in corpora.available():
    scene = runs.build(play, device)
    acting = training.run(scene.model, scene.batches, plan, evaluate=scene.evaluate, dtype=dtype)
else:
    print("Tiny Shakespeare is not here, so we go on without it. `python -m gptlab fetch` gets it.")

# %%
def act(until):
    global plays
    for plays in acting:
        if plays.steps % plan.evaluate_every == 0:
            loss = plays.evaluations[-1]["validation"]
            print(f"step {plays.steps:5}  validation {loss:.3f} nats per character  {plays.seconds:5.1f} s")
        if plays.steps == until:
            return


act(until=plan.steps // 2)

# %%
act(until=plan.steps)

# %%
options = dict(what=["loss", "validation"], unit="nats per character", top=3, title="Tiny Shakespeare")
pictures.training(plays, floor=nanogpt, **options) if plays else print("no run, no picture")

# %% [markdown]
# The dotted lines are no floors; nobody knows the entropy of Shakespeare. They are what others have reached. Two
# conventions to know before you compare: nanoGPT estimates its loss on some random pieces of the held-out part, we take
# all of it once; and it reports the best evaluation of a run, we show each.
#
# A short run here stands next to a number from another machine. What may be compared is the loss after a number of
# steps of the same size, not the seconds.
#
# ## Recorded runs of other machines
#
# Beside your own figures should stand those of machines that you do not have, recorded with the machine's name, the
# date, the command and the commit. **As this notebook is published, none of its own figures comes from a GPU, and no
# record of one is here yet**: its outputs were made on the processor and the day that stand near the top, and what is
# said of GPUs has a source or is said without figures. The branches for a GPU were written and read without one. If
# one of them fails on yours, that is a bug; please report it.
#
# What is recorded so far is a run that takes longer than a notebook should: a model as large as nanoGPT's for a GPU,
# on two cores of a CPU, on purpose without dropout (notebook 08).

# %%
records = runs.recorded()
print(*records, sep="\n\n") if records else print("no recorded run in data/recorded yet")

# %%
for record in records:
    if record.curves:
        late = {name: [point for point in points if point[0] > 30] for name, points in record.curves.items()}
        title = f"RECORDED, {record.date}: {record.what}, {record.kind}"
        display(pictures.lines(late, *record.axes, title=title))
    for name, rows in record.tables.items():
        if name != "evaluations":
            display(pictures.table(rows, caption=f"RECORDED on {record.device}, {record.date}: {name}"))

# %% [markdown]
# (The picture leaves out the first thirty steps.) The further the two curves of that run part, the more it knows the
# text by heart: it has ten times as many numbers as the text has characters, and sees it four times. Dropout keeps it
# from that, for more steps. The recipe `shakespeare-gpu` has it, and twice the steps with twice the rows; on these two
# cores they would have taken hours. So whether it gets below nanoGPT's 1.4697 is not known yet.
#
# Whoever has a GPU can make the records that are missing. The first two commands train at nanoGPT's GPU settings and
# with the recipe above, the third measures training and generating against another library; each keeps its figures with
# all that one must know to believe them:
#
# ```
# python -m gptlab train nanogpt-gpu --compile True --record data/recorded/mine.json
# python -m gptlab train shakespeare-gpu --compile True --record data/recorded/mine.json
# python -m gptlab bench gpu --record data/recorded/mine.json
# ```
#
# ## Long runs, outside a notebook
#
# A notebook is no place for hours. The command that you have killed above keeps checkpoints and goes on from them,
# from any text that `prepare` has cut into files:
#
# ```
# python -m gptlab prepare --help
# python -m gptlab train fables --folder runs/fables --steps 3000
# python -m gptlab train fables --folder runs/fables --steps 3000 --resume
# python -m gptlab train --help
# ```
#
# **What a GPU changes**, in one place:
#
# | | CPU | GPU |
# |---|---|---|
# | precision | float32 | products in bfloat16 (or float16 with a scaler), weights in float32 |
# | batch | as small as the learning allows | as large as the memory allows |
# | small operations | cheap to start | joined by `torch.compile`, or recorded |
# | clock | read at once | wait first |
# | repeating a run | the same bits | the same to a few digits |
# | memory | that of the machine | that of the card, and an error when it is full |
# | the program | the same | the same |

# %% [markdown]
# ## Exercises
#
# Replace the dots by your function. `find("gpu.1")` shows the whole task, `hint("gpu.1")` helps.

# %%
find("gpu.1")


# %% tags=["nbval-check-output"]
def days(parameters, tokens, gpus, peak, mfu): ...


check("gpu.1", days)

# %%
find("gpu.2")


# %% tags=["nbval-check-output"]
def seconds_of(device, repeats, warmup): ...


check("gpu.2", seconds_of)

# %%
find("gpu.3")


# %% tags=["nbval-check-output"]
def attainable(m, k, n, width, rate, bandwidth): ...


check("gpu.3", attainable)

# %%
find("gpu.4")


# %% tags=["nbval-check-output"]
def flops_per_token(V, C, L, T): ...


check("gpu.4", flops_per_token)

# %%
find("gpu.5")


# %% tags=["nbval-check-output"]
def add_up(gradients, counts): ...


check("gpu.5", add_up)

# %%
find("gpu.6")


# %% tags=["nbval-check-output"]
def unscale(gradient, scale, good, grow_after): ...


check("gpu.6", unscale)

# %%
find("gpu.7")


# %% tags=["nbval-check-output"]
def held_bytes(parameters, gpus, stage): ...


check("gpu.7", held_bytes)

# %%
find("gpu.8")


# %% tags=["nbval-check-output"]
def own_rows(rows, rank, ranks): ...


check("gpu.8", own_rows)

# %%
find("gpu.9")


# %% tags=["nbval-check-output"]
def fit_law(sizes, losses, floor): ...


check("gpu.9", fit_law)

# %% [markdown]
# **Open**, and write down what you expect before you run them:
#
# - Find the B that reaches an excess of 5 nats per story in the fewest *seconds* here. Is it the B with the most
#   tokens per second?
# - Train the rungs C = 96 and C = 128 with three seeds, and put them beside the law. Where does it break? In which of
#   the three parts (`form`, `recalled`, `free`) of the evaluation do you see it?
# - Make the step of the patient faster without changing its losses in the third digit. Measure each change alone.

# %%
progress("gpu")

# %%
recap("gpu")

# %% [markdown]
# ## What to remember
#
# 1. Wait, then read the clock. FLOPs for each byte say which of two ceilings counts; work is about 6 N D.
# 2. bfloat16 has the sizes of float32 and few digits; float16 needs a scaler. Sums and weights stay in float32.
# 3. Weights, gradients and AdamW take 16 bytes a number; activations grow with tokens, logits with V. Cut the batch,
#    keep 16 bits, do not keep attention's weights, or compute again.
# 4. To resume exactly takes weights, optimisers, step and random numbers, in a checkpoint that appears in one piece.
# 5. Ranks share a batch and add up gradients, weighed by tokens; shards share the memory. Hours follow only from a
#    measured speed, and a law holds no further than it was tested.
#
# **Three questions**
#
# 1. Somebody measures 2,000 TFLOP/s on a card that promises 300. What happened?
#
# <details><summary>Answer</summary>
# The clock was read before the card was done. Synchronize before each reading.
# </details>
#
# 2. Out of memory. You halve B and accumulate two parts. Which lines of the account become smaller?
#
# <details><summary>Answer</summary>
# Activations and logits, by half. Weights, gradients and optimiser stay.
# </details>
#
# 3. A loss becomes NaN in float16 and not in bfloat16. Why might that be?
#
# <details><summary>Answer</summary>
# Something became larger than 65,504, the largest float16. bfloat16 reaches as far as float32.
# </details>
#
# **To read on:** Horace He, *Making Deep Learning Go Brrrr From First Principles* (2022), on where the time goes; the
# *Ultra-Scale Playbook* of Hugging Face (2025), on many GPUs; Karpathy's `train.py` in nanoGPT.
#
# ## Next
#
# The road from a string to a trained model ends here. The model tells stories, and it does not listen: ask it for a
# fable about an owl, and it tells what it likes. How does a story-teller learn to follow a wish? That is
# the subject of notebook 14 (to come).
