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
# # 14 · GPU training
#
# *You run one training program on whatever machine you have, measure what it does with it, stop it in the middle, and
# let it go on as if nothing had happened.*

# %%
from gptlab import pictures

pictures.pipeline("14_gpu_training")

# %% [markdown]
# **What you can do after it:** choose a device and a precision and say why; time a computation so that the number is
# true; predict how much memory a training step takes; stop and resume a run exactly; and estimate how long a larger
# model would take before you start it.
#
# **What it builds on:** the model (08) and training (09).
#
# **Cost:** about two minutes on two CPU cores, under 2 GB. With an NVIDIA card the same cells choose larger sizes.
#
# **This is the first form of the notebook.** Training on several GPUs at once, and a recorded run of a real one, are
# to come. Until then every speed below is measured on the machine that runs it, unless a source is named, and the
# outputs that you see come from a CPU.

# %%
import dataclasses
import json
import math
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

import gptlab
from gptlab import checkpoints, corpora, gpu, training
from gptlab.exercises import predict
from gptlab.model import GPT, GPTConfig

_ = torch.manual_seed(0)

# %% [markdown]
# ## The question
#
# The smallest GPT-2 has the architecture of notebook 08 and 124 million numbers. Could you train it, here?
#
# Count the work. For each number of the model and each token of the text, a training step makes about six
# multiplications or additions: two on the way forward, four on the way back
# ([Kaplan et al. 2020](https://arxiv.org/abs/2001.08361), section 2.1). With N numbers and D tokens that is
#
# $$ \text{work} \approx 6\,N\,D $$
#
# nanoGPT ([Karpathy 2022](https://github.com/karpathy/nanoGPT)) trains it on about 300 billion tokens. And how much work
# does this machine do in a second? We time one large multiplication of matrices.

# %%
x = torch.rand(512, 512)
x @ x  # the first time is slower: not counted
began = time.perf_counter()
for _ in range(10):
    x @ x
rate = 10 * 2 * 512**3 / (time.perf_counter() - began)  # 512³ products, and as many sums
work = 6 * 124e6 * 300e9
print(f"here: about {rate / 1e9:,.0f} thousand million operations a second")
print(f"so it would take {work / rate / 3600 / 24 / 365:,.0f} years")

# %% [markdown]
# That is the failure that this notebook is about. nanoGPT's README says four days, on eight A100 cards. What do they do
# differently, how would you know that it is true, and what can you do with the machine that you have?

# %% [markdown]
# ## By hand, 1: which device?
#
# The simplest question has a trap. A program may be told that a GPU is there, and the first real computation fails, or
# comes back wrong. So `pick_device` does not ask. It computes one small attention, forward and backward, and compares
# the loss and the gradient with those of the CPU.

# %%
device = gpu.pick_device()
dtype = gpu.pick_dtype(device)
print("device:", device, "  precision:", dtype, "  threads:", torch.get_num_threads())

# %% tags=["nbval-check-output"]
here, there = gpu.one_batch("cpu"), gpu.one_batch(device.type)
close = [bool((a - b).abs().max() < 1e-3) for a, b in zip(here, there, strict=True)]
print("loss as on the CPU:", close[0], "  gradient as on the CPU:", close[1])

# %% [markdown]
# On a CPU the test compares the CPU with itself, and so it passes. `pick_device` takes CUDA (an NVIDIA card) where
# the test is passed, else the CPU. Apple's MPS is taken only if you ask, `pick_device("mps")`, because some of its
# operations have been silently wrong in some releases; then too the test decides.

# %% [markdown]
# ## By hand, 2: how large is a number?
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
# *Before you run the next cell:* what is 256 + 1 in bfloat16, with 7 bits of digits?

# %% tags=["nbval-check-output"]
total = torch.tensor(256.0, dtype=torch.bfloat16) + 1
predict("14.a", ..., total.item())

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
# `GradScaler` does that, and finds the number by trial. bfloat16 has the sizes of float32 and needs none.
#
# So `pick_dtype` takes bfloat16 on CUDA cards that compute in it (compute capability 8 and above: A100, RTX 30 and
# newer), float16 with the scaler on older ones, and float32 on the CPU. In all cases the weights stay in float32; only
# the products of matrices are made in 16 bits. The name for this is **mixed precision**, and PyTorch's word is
# `autocast`.

# %% [markdown]
# ## Break it: a clock that is read too early
#
# Before we measure, the mistake that everybody makes once. A GPU works **asynchronously**: the call only puts the work
# into a queue and returns, and Python goes on. Here is such a device, made of one thread, so that you can see it on any
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
print(f"read too early: {10 * 2 * 768**3 / too_early / 1e12:8.2f} million million operations a second")
print(f"after waiting:  {10 * 2 * 768**3 / true / 1e12:8.2f}")

# %% [markdown]
# The first number is a wonder, and nonsense: it says how fast work can be *ordered*. A rate above what the maker of the
# card promises is always this mistake. Whoever times a GPU must wait for it: `torch.cuda.synchronize()`.

# %% tags=["nbval-check-output"]
def synchronize(device):
    """Wait until the device has done all that it was given. A CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds(work, repeats=5):
    """The fastest of some runs; the first, in which things are set up, is not counted."""
    times = []
    for _ in range(1 + repeats):
        synchronize(device)
        began = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - began)
    return min(times[1:])


print("the clock was read too early:", too_early < 0.5 * true)

# %% [markdown]
# Now the true rates of this machine, for each precision.

# %%
n = 768 if device.type == "cpu" else 8192
rates = {}
for kind in (torch.float32, torch.bfloat16, torch.float16):
    a = torch.rand(n, n, device=device).to(kind)
    rates[str(kind)[6:]] = 2 * n**3 / seconds(lambda a=a: a @ a) / 1e9
peak = rates[str(dtype)[6:]]
unit = "thousand million operations a second (GFLOP/s)"
pictures.compare(rates, unit, best="high", title=f"Products of {n} × {n} matrices on {device}")

# %% [markdown]
# A GPU of the last years does many times more in 16 bits than in 32, because it has parts that multiply small blocks of
# 16-bit numbers at once. A CPU often has no such parts, and then 16 bits gain nothing, or lose. That is the reason why
# `pick_dtype` leaves a CPU at float32.

# %% [markdown]
# ## One program, two sizes
#
# A **recipe** names everything that a run needs: corpus, tokens, model, training. `gpu.prepare` makes it real on a
# device, and `training.run` is the loop of notebook 09. Nothing in them asks for a GPU. What we change between machines
# are sizes.

# %%
SIZES = {
    "cpu": dict(steps=600, B=8, n_layer=2, n_head=4, n_embd=64),
    "cuda": dict(steps=1000, B=64, n_layer=4, n_head=8, n_embd=256),
}
size = dict(SIZES["cuda" if device.type == "cuda" else "cpu"])
plan = dataclasses.replace(gpu.RECIPES["fables"].training, steps=size.pop("steps"), evaluate_every=100)
recipe = dataclasses.replace(gpu.RECIPES["fables"], B=size.pop("B"), training=plan)
recipe = dataclasses.replace(recipe, model=recipe.model | size)
print(f"{device.type} sizes: {plan.steps} steps of {recipe.B} stories, {recipe.model}")

# %% [markdown]
# On a CPU the sizes are such that you need not wait for more than a minute, and the run ends before it is good. On CUDA
# they are such that the card has something to do: large matrices, many stories at once.

# %%
prepared = gpu.prepare(recipe, device)
N = prepared.model.count_parameters()
print(f"{N:,} numbers, on {prepared.model.device}\n")
model, batches = prepared.model, prepared.batches
for history in training.run(model, batches, plan, evaluate=prepared.evaluate, dtype=dtype):
    if history.steps % plan.evaluate_every == 0:
        speed, excess = history.tokens / history.seconds, history.evaluations[-1]["excess"]
        print(f"step {history.steps:5} {excess:6.1f} nats a story above the floor {speed:8,.0f} tokens a second")

# %%
first = history.losses[0]
print(f"the first loss: {first:.2f} nats a token; ln V: {math.log(prepared.tokenizer.vocab_size):.2f}")
print(f"the last evaluation: {excess:.1f} nats a story above the floor, expected: between 0 and 18")
assert abs(first - math.log(prepared.tokenizer.vocab_size)) < 0.3 and 0 < excess < 18

# %% [markdown]
# The clock counts only the steps, not the evaluations. It is honest on a GPU, too, although nothing in `training.run`
# says `synchronize`: each step reads its loss as a Python number, and to read it is to wait.
#
# *Before you run the next cell:* of the rate that you measured for one multiplication, which part does training reach? A
# tenth, a half, nearly all?

# %%
speed = history.tokens / history.seconds
share = 6 * N * speed / (peak * 1e9)
predict("14.b", ..., round(share, 2))

# %% [markdown]
# <details><summary>What the number means</summary>
#
# It is the **utilisation** (the *model FLOPs utilisation* of
# [Chowdhery et al. 2022](https://arxiv.org/abs/2204.02311), but over the rate that we measured, not the one that a maker
# promises). The rest of the time goes to what is not a large product: norms, softmax, looking up rows, moving numbers to
# and fro, and Python itself. Small models use little of a machine; good programs for large ones reach about a half.
# (Counting is rough here. The 6 N leaves out the products inside attention, and it takes the embedding table in full, which
# works once, at the logits.)
# </details>

# %% tags=["nbval-check-output"]
print("between nothing and all:", 0 < share < 1)

# %% [markdown]
# ### The same picture of the floor

# %%
pictures.excess(history, fall=False, title=f"{plan.steps} steps on {device.type}: above the best possible loss")

# %% [markdown]
# The picture is that of notebook 09, whatever the machine. Form is learned at once. The recalled facts fall quickly at
# first, and on a CPU the run ends on the level part after it, where they are most of what is left. What comes next takes
# more steps and a wider model. Here is the same program after the run that made the model of notebook 00, as it was
# recorded. Its height is logarithmic, so that you can see all of it.

# %%
data = Path(gptlab.__file__).parents[1] / "data"
notes = json.loads((data / "models" / "fables" / "notes.json").read_text(encoding="utf-8"))
title = f"The recorded run of data/models/fables: {notes['minutes']} minutes on two CPU cores"
pictures.excess(notes["history"], log=True, fall=False, title=title)

# %% [markdown]
# You find the level part, and after it the fall of the recalled facts that notebook 09 is about. After that, what is left
# is mostly the free choices: how often exactly each animal and each thing occurs.

# %% [markdown]
# ## What a larger batch costs
#
# *Before you run it:* with twice as many stories in a batch, how much longer does a step take here? And on a GPU with ten
# thousand arithmetic units?

# %%
width, per_second = 104, {}
sizes = (1, 2, 4, 8, 16, 32) if device.type == "cpu" else (1, 4, 16, 64, 256, 1024)
for B in sizes:
    ids = torch.randint(prepared.tokenizer.vocab_size, (B, width), device=device)

    def step(ids=ids):
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            loss = prepared.model(ids, targets=ids)[1]
        loss.backward()

    per_second[f"B = {B}"] = B * width / seconds(step, repeats=2)
prepared.model.zero_grad()
pictures.compare(per_second, "tokens a second, forward and backward", best="high", digits=2)

# %% [markdown]
# <details><summary>The answer</summary>
#
# On a CPU the rate rises at first and is soon level: then twice the stories take twice the time. On a GPU small batches
# leave most units idle, and the rate rises with B for long, almost for free. **What a GPU changes is not the speed of one
# step but how much fits into it.** A batch that is too small is the commonest reason for a slow GPU.
# </details>

# %% [markdown]
# More stories a step are not the same as more steps: notebook 09 measured what each is worth.

# %% [markdown]
# ## Stop, and go on exactly
#
# A run of four days will be interrupted: a power cut, a quota, a laptop that is closed. A **checkpoint** holds what is
# needed to go on. We run sixty steps in one go, then again with an accident after fifty. (This part runs on the CPU on
# every machine: there the same arithmetic gives the same bits. On a GPU some sums are added in changing order, and two
# runs agree to a few digits.)

# %%
config = GPTConfig.modern(prepared.tokenizer.vocab_size, 160, n_layer=2, n_head=4, n_embd=64, convolution=4)
brief = dataclasses.replace(plan, steps=60, warmup=5, evaluate_every=0, save_every=20)
folder = Path(tempfile.mkdtemp())


def new_model():
    torch.manual_seed(0)
    return GPT(config)


whole = training.train(new_model(), prepared.batches, brief, progress=False)
running = training.run(new_model(), prepared.batches, brief, folder=folder)
killed = training.watch(running, steps=50, progress=False)
del running  # the accident: nobody asks for step 51 any more

# %% tags=["nbval-check-output"]
print("steps done:        ", killed.steps)
print("checkpoints:       ", [path.name for path in sorted(folder.iterdir())])
print("files in the newest:", [path.name for path in sorted(checkpoints.latest(folder).iterdir())])

# %% [markdown]
# Ten steps are lost, for a checkpoint was written every twenty. *Before you run the next cell:* we build everything anew,
# and even set all weights to zero before we resume. In which digit will the losses differ?

# %% tags=["nbval-check-output"]
model = new_model()
for parameter in model.parameters():
    parameter.data.zero_()
resumed = training.train(model, prepared.batches, brief, folder=folder, resume=True, progress=False)
differences = [abs(a - b) for a, b in zip(resumed.losses, whole.losses, strict=True)]
predict("14.c", ..., "in none" if max(differences) == 0.0 else f"{max(differences):.1e}")

# %% [markdown]
# <details><summary>Why this works</summary>
#
# Four things are kept: the weights, the averages of the optimisers, the number of the step, and the state of the random
# numbers. The order of the data need not be kept: `batches.batch(step)` depends on the step alone (notebook 04). And a
# checkpoint is written to a folder beside the others and renamed when it is complete, so that an accident while writing
# spoils nothing.
# </details>
#
# ### Break it: keep the weights only
#
# Load the weights, call `train` again: many programs do it like this. The averages are empty, the schedule begins anew,
# and so does the data.

# %%
weights_only, _ = checkpoints.load_model(folder / "step-00000040")
again = training.train(weights_only.train(), prepared.batches, brief, progress=False)
naive = whole.losses[:40] + again.losses[:20]
apart = {"resumed exactly": resumed.losses, "weights only": naive}
apart = {name: [a - b for a, b in zip(losses, whole.losses, strict=True)] for name, losses in apart.items()}
curves = {name: training.History(losses=losses) for name, losses in apart.items()}
title = "Distance to the run without an accident"
pictures.training(curves, smooth=1, unit="difference in loss (nats a token)", title=title)

# %% tags=["nbval-check-output"]
print("exactly as if nothing had happened:", resumed.losses == whole.losses)
print("weights only, the same at step 41: ", naive[40] == whole.losses[40])

# %% [markdown]
# The second curve is another run: it warms up again, and it reads the first stories for the second time. In sixty steps
# that costs little. In a run of days it is a jump in the curve that nobody can explain afterwards, and a schedule that
# ends in the wrong place.

# %% [markdown]
# ## Where the memory goes
#
# When a GPU stops with *out of memory*, it helps to know the account. A training step holds four things. Three depend on
# the model alone; in float32 a number takes 4 bytes.
#
# | what | how much |
# |---|---|
# | weights | 4 bytes for each number |
# | gradients | 4 bytes for each number |
# | optimiser | AdamW keeps two averages: 8 bytes. Muon keeps one: 4 |
# | activations | everything that the way forward must keep for the way back |
#
# The last cannot be read off the model. But PyTorch lets us watch what it keeps.


# %%
def activations(model, ids):
    """Bytes that the way forward keeps for the way back, the weights not counted."""
    own, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()  # each piece of memory once
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(ids, targets=ids)[1]  # noqa: F841 (while it lives, so does all that it keeps)
        return sum(kept.values())


model, ids = new_model(), torch.randint(config.vocab_size, (16, 104))
optimizers = training.make_optimizers(model, plan)
model(ids, targets=ids)[1].backward()
for optimizer in optimizers:
    optimizer.step()

# %% [markdown]
# *Before you run the next cell:* our small model, 16 stories of 104 tokens. Which of the four is the largest, and by how
# much?

# %%
states = [t for o in optimizers for state in o.state.values() for t in state.values() if torch.is_tensor(t)]
numbers = model.count_parameters()
account = {
    "weights": 4 * numbers / 1e6,
    "gradients": sum(p.grad.numel() * 4 for p in model.parameters()) / 1e6,
    "optimiser": sum(t.numel() * t.element_size() for t in states) / 1e6,
    "activations": activations(model, ids) / 1e6,
}
pictures.compare(account, "megabytes", best=None, title="One training step of the small model")

# %% [markdown]
# <details><summary>The answer</summary>
#
# The activations, by far. That is typical of small models with many tokens a step, and it holds for large ones, too,
# unless something is done about it.
# </details>

# %% tags=["nbval-check-output"]
twice = activations(model, torch.cat((ids, ids))) / activations(model, ids)
print("activations, with twice the stories:", f"{twice:.1f} times")
print("bytes for each number, its gradient and AdamW:", 4 + 4 + 8)

# %% [markdown]
# So that is what to do when memory runs out: a smaller B, for the activations grow with B and all else does not; 16 bits,
# which halve most of them; or forgetting some and computing them again on the way back
# ([Chen et al. 2016](https://arxiv.org/abs/1604.06174)).
#
# And GPT-2? We need not build all of it. We take its sizes with one block and with two; the difference is what each of
# the other ten adds.

# %%
gpt2 = dataclasses.replace(GPTConfig.gpt2("124M"), dropout=0.0)  # nanoGPT trains it without dropout
ids = torch.randint(gpt2.vocab_size, (1, 96))
one, two = (activations(GPT(dataclasses.replace(gpt2, n_layer=n)), ids) / 96 for n in (1, 2))
a_token = one + (gpt2.n_layer - 1) * (two - one)
tokens = 12 * 1024  # nanoGPT: 12 rows of 1,024 tokens at once on each card
account = {"weights, gradients, AdamW": 16 * 124_439_808 / 1e9, "activations, B = 12": a_token * tokens / 1e9}
pictures.compare(account, "gigabytes", best=None, title="One step of GPT-2 124M in float32, T = 1,024")

# %% [markdown]
# That is an estimate, for a whole model from two small ones, and it takes an attention that does not keep its weights
# (*flash attention*, [Dao et al. 2022](https://arxiv.org/abs/2205.14135)), as PyTorch's does.

# %% [markdown]
# ## The yardstick: Shakespeare
#
# Fables are to understand with. To compare with the world, one takes Tiny Shakespeare, character by character. nanoGPT's
# README gives two numbers for it, losses on the tenth of the text that was held back: 1.88 for its CPU settings (about
# three minutes on a laptop, 2,000 steps of 12 rows of 64 characters), 1.4697 for its GPU settings (about three minutes on
# an A100). On a CPU our `shakespeare` recipe takes the same rows of 64 characters, a smaller model (three layers in
# place of four), the newer parts of notebook 11, and Muon; on a GPU the cell takes nanoGPT's GPU settings as they are,
# and stops earlier.

# %%
nanogpt = {"nanoGPT, CPU settings": 1.88, "nanoGPT, GPU settings": 1.4697}
if device.type == "cuda":
    play, changes = gpu.RECIPES["nanogpt-gpu"], dict(steps=1000, evaluate_every=100)
else:
    play, changes = gpu.RECIPES["shakespeare"], dict(steps=270, evaluate_every=90)
    play = dataclasses.replace(play, B=12)  # 12 rows of 64 characters, as in nanoGPT's CPU settings
plan = dataclasses.replace(play.training, **changes)

plays = None
if "shakespeare" in corpora.available():
    scene = gpu.prepare(play, device)
    for plays in training.run(scene.model, scene.batches, plan, evaluate=scene.evaluate, dtype=dtype):
        if plays.steps % plan.evaluate_every == 0:
            loss = plays.evaluations[-1]["validation"]
            print(f"step {plays.steps:5}  validation {loss:.3f} nats a character  {plays.seconds:5.1f} s")
else:
    print("Tiny Shakespeare is not here, so we go on without it. `python -m gptlab fetch` gets it.")

# %%
options = dict(what=["loss", "validation"], unit="nats a character", top=3, title="Tiny Shakespeare")
pictures.training(plays, floor=nanogpt, **options) if plays else print("no run, no picture")

# %% [markdown]
# The dotted lines are no floors; nobody knows the entropy of Shakespeare. They are what others have reached. Two
# conventions to know before you compare: nanoGPT estimates its loss on some random pieces of the held-out part, we take
# all of it once; and it reports the best evaluation of a run, we show each.
#
# A short run here stands next to a number from another machine. What may be compared is the loss after a number of steps
# of the same size, not the seconds.

# %% [markdown]
# ## Long runs, outside a notebook
#
# A notebook is no place for hours. The same program has a command, which keeps checkpoints and goes on from them:
#
# ```
# python -m gptlab train fables --folder runs/fables --steps 3000
# python -m gptlab train fables --folder runs/fables --steps 3000 --resume
# python -m gptlab train nanogpt-gpu --folder runs/shakespeare --device cuda
# python -m gptlab train --help
# ```
#
# **What a GPU changes**, in one place:
#
# | | CPU | GPU |
# |---|---|---|
# | precision | float32 | products in bfloat16 (or float16 with a scaler), weights in float32 |
# | batch | as small as the learning allows | as large as the memory allows |
# | clock | read at once | wait first |
# | repeating a run | the same bits | the same to a few digits |
# | memory | that of the machine | that of the card, and an error when it is full |
# | the program | the same | the same |
#
# Two things are to come in this notebook: several GPUs at once, and a recorded run on a real one.

# %% [markdown]
# ## Exercises
#
# Both are open; write down what you expect before you run them.
#
# **14.1** Find the B at which your machine does the most tokens a second, for a model with `n_embd=256`. Then find the B
# that reaches an excess of 12 nats a story in the fewest *seconds*. Are they the same?
#
# **14.2** Change `matrix_rate` or the width in `SIZES` so that the CPU run ends lower in the same time. Run it with three
# seeds (`dataclasses.replace(recipe, seed=1)`) before you believe it.

# %% [markdown]
# ## What to remember
#
# - Work is about 6 N D. Divide it by a rate that you have measured, and you know the days before you start.
# - bfloat16 has the sizes of float32 and few digits; float16 has more digits and needs a scaler. Sums and weights stay in
#   float32.
# - A GPU returns before it is done. Wait, then read the clock.
# - Weights, gradients and AdamW take 16 bytes a number; activations grow with the tokens of a step, and are often more.
# - To resume exactly takes weights, optimisers, step and random numbers.
#
# <details><summary>Somebody measures 2,000 million million operations a second on a card that promises 300. What happened?</summary>
# The clock was read before the card was done. Synchronize before each reading.
# </details>
# <details><summary>Out of memory. You halve B. Which of the four parts becomes smaller?</summary>
# The activations, by half. Weights, gradients and optimiser stay.
# </details>
# <details><summary>A loss becomes NaN in float16 and not in bfloat16. Why might that be?</summary>
# Something became larger than 65,504, the largest float16. bfloat16 reaches as far as float32.
# </details>
#
# **Deeper:** Horace He, *Making Deep Learning Go Brrrr From First Principles* (2022), on where the time goes; PyTorch's
# notes *CUDA semantics*, the section on asynchronous execution; Karpathy's `train.py` in nanoGPT.

# %% [markdown]
# ## Next
#
# One device is measured and full. How do several share one model, so that the sum of what they compute is the same as if
# one had done it all? That part of this notebook is still to be written.
