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
# # 18 · Many GPUs
#
# *Several processes train one model together, and compute what one would have computed alone. The run survives when one
# of them dies. What you can't run, you plan on paper. It is the last notebook of the course.*
#
# **After this notebook you can**
#
# - split a batch among processes and prove that their gradient is the gradient of the whole,
# - say what they send to each other, and what each of them must store, with whole copies or with shards,
# - kill a run and resume it so that no digit differs, or with another number of processes so that no step is missing,
# - estimate the days and the cards of a run before you pay for it, and say which part of the estimate is a guess,
# - choose between a larger model and a smaller one that is trained for longer, and predict the loss of a larger model
#   from smaller runs.
#
# **It builds on** training (10) and above all on GPU training (17): gradient accumulation, where the memory goes, MFU.
# **It takes** about 50 minutes to read and about a minute and a half to run on two CPU cores, with 1 GB of memory in
# each of at most three processes. No GPU is needed. Two processes on two CPU cores run the same program that would run
# on eight cards.

# %%
import copy
import dataclasses
import json
import math
import re
import shutil
import tempfile
import textwrap
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

# %%
from gptlab import checkpoints, cluster, gpu, pictures, runs, sampling, training
from gptlab.batches import Batches, StoryBatches
from gptlab.corpora import fables
from gptlab.evaluation import StoryEvaluation
from gptlab.exercises import check, hint, predict, progress, quiz, recap, solution, tally
from gptlab.lab.comparison import StoryWords
from gptlab.llama import llama_config
from gptlab.model import GPT, GPTConfig
from gptlab.training import TrainConfig

torch.set_num_threads(1)  # a core for each of two processes
_ = torch.manual_seed(0)
pictures.pipeline("cluster")

# %% [markdown]
# Three questions about earlier notebooks, if you like. Replace the dots with your letters.

# %%
quiz("cluster", [..., ..., ...])

# %% [markdown]
# ## The question: what if one isn't enough?
#
# Notebook 17 filled one device. Now take GPT-2 in its smallest and in its largest size, and the best single card that
# this course has a record of. What would 300 billion tokens take there, at the utilisation that was recorded?

# %%
bench = next((record for record in runs.recorded() if record.what == "bench gpu" and record.kind == "cuda"), None)
rate, mfu, source = 700, 0.5, "no record is here, so these are usual values"
if bench:
    rate = next(value for name, value in bench.numbers.items() if "rate in" in name)  # TFLOP/s
    trained = [row for table in bench.tables.values() for row in table if row.get("") == "gptlab"]
    mfu = next((row["MFU of the measured rate"] for row in trained if "MFU of the measured rate" in row), mfu)
    source = f"RECORDED on {bench.device}, {bench.date}, {bench.command.split('  #')[0]}"
print(f"{source}: {rate:.0f} TFLOP/s, of which a run reached {mfu:.0%}")
for size in ("124M", "1558M"):
    config = GPTConfig.gpt2(size)
    seconds = 300e9 * gpu.flops_per_token(config, T=1024) / (rate * 1e12 * mfu)
    held = 16 * gpu.count_parameters(config) / 1e9
    print(f"GPT-2 {size}: {seconds / 3600 / 24:.0f} days; {held:.0f} GB before the first activation is stored")

# %% [markdown]
# About a week for the smallest, about three months for the largest, and that one is from 2019. Today's largest models
# are hundreds of times as large. Their weights, gradients and averages don't fit on any card at all, and in months of
# running something will break. So there are three problems: share the *work*, share the *memory*, and survive. We take
# them in turn.
#
# ## Share the work
#
# You have the main idea already. Gradient accumulation cut a batch into parts *one after the other* and added up the
# gradients, weighted by tokens. Now let the parts be computed *at the same time*, each by a process of its own with its
# own copy of the model. Such a process is called a **rank**. After the backward pass the ranks add up their gradients
# in the same way, then all take the same step, and so the copies stay equal. This is **data parallelism**.
#
# *Before you run the next cell:*

# %%
predict("cluster.d", ...)

# %% tags=["answers-prediction", "nbval-check-output"]
toy = GPTConfig(vocab_size=11, context=9, n_layer=2, n_head=2, n_embd=12)
ids, targets = Batches([n * n % 11 for n in range(200)], B=6, T=9).batch(0)


def gradients_of(rows):
    """The gradients of one rank: the same first weights everywhere, its own rows."""
    torch.manual_seed(0)
    model = GPT(toy)
    model(ids[rows], targets[rows])[1].backward()
    return {name: p.grad for name, p in model.named_parameters()}


alone, first, second = gradients_of([0, 1, 2, 3, 4, 5]), gradients_of([0, 1, 2]), gradients_of([3, 4, 5])
apart = max(float(((first[name] + second[name]) / 2 - alone[name]).abs().max()) for name in alone)
print("two halves, put together, equal to the whole within 1e-6:", apart < 1e-6)

# %% [markdown]
# <details><summary>Answer</summary>
#
# a. It is the same sum in another order. Each rank's loss is a mean over its own tokens, so its gradient is weighted by
# its share of the tokens, here ½. Without the weights the sum would be twice as large as it should be.
# </details>
#
# The two "ranks" took turns in one process. For real ones the first question is who reads what. With 7 rows and 3
# ranks, a share is 7 / 3 rounded up: rows 0, 1, 2, then 3, 4, 5, and the last rank gets row 6. The mistake to avoid is
# silent: if every rank reads everything, the loss looks perfectly fine, and you pay for three machines to do the work
# of one.

# %% [markdown]
# ### Your turn: Which rows are mine?
#
# `cluster.1` · *core* · 10 minutes
#
# A batch of `rows` rows is split among `ranks` processes, numbered from 0. Each takes as many consecutive rows as `rows
# / ranks`, **rounded up**, in the order of their numbers; the last ones get what is left, perhaps nothing. Together
# they have every row once.
#
# Input: three `int`. Result: a `list` of `int`, the numbers of the rows of `rank`, counted from 0.
#
# ```python
# def own_rows(rows: int, rank: int, ranks: int) -> list[int]
# ```


# %% tags=["nbval-check-output"]
def own_rows(rows, rank, ranks): ...


check("cluster.1", own_rows)

# %% [markdown]
# Now the real thing. Here is the complete program that each rank runs. `all_reduce` adds a tensor up over all ranks and
# gives everybody the sum; it is the only line in which the ranks exchange numbers.

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
folder = Path(tempfile.mkdtemp())
_ = (folder / "rank.py").write_text(PROGRAM)

# %% [markdown]
# Never start ranks inside the process of a notebook, because one that hangs takes your session with it. **torchrun**,
# PyTorch's own launcher, runs beside it: it starts the processes, tells each its rank, and ends all of them when one
# fails. `cluster.launch` calls it with a time limit. On a CPU the ranks talk through *gloo*; on NVIDIA cards that word
# would be *NCCL*, and each rank would put its model and its rows on a card of its own. Starting takes a few seconds,
# because each rank imports torch.

# %% tags=["nbval-check-output"]
launched = cluster.launch([str(folder / "rank.py"), str(folder / "gradients")], world_size=2, time_limit=300)
print(*sorted(re.findall(r"rank \d of \d read rows \[.*?\]", launched.output)), sep="\n")
together = load_file(folder / "gradients")
worst = max(float((alone[name] - together[name]).abs().max()) for name in alone)
print("gradients of two ranks equal those of one within 1e-6:", worst < 1e-6)

# %% [markdown]
# In the package, `cluster.RowsOfRank` does the work of the line `own = …`, and PyTorch's `DistributedDataParallel` that
# of the loop over the parameters. It is a little smarter: it begins to send while the backward pass is still under way.
#
# ### What does adding up cost?
#
# Every rank has a gradient as large as the model, and in the end every rank must know the sum. If each sends its
# gradient to all others, the traffic grows with the number of ranks. There is a better way. Let the ranks stand in a
# ring and cut their gradients into as many pieces as there are ranks. In each round every rank sends *one piece* to its
# right neighbour. Watch how it goes with three ranks, whose gradients are 1, 2, 3, then 10, 20, 30, and 100, 200, 300.
# In the first two rounds what arrives is added, in the last two it replaces what was there.

# %% tags=["nbval-check-output"]
state = torch.tensor([[1, 2, 3], [10, 20, 30], [100, 200, 300]])  # [rank, piece]
ranks = len(state)
table = [("at first", *map(str, state.tolist()))]
for number in range(2 * (ranks - 1)):
    before = state.clone()
    for rank in range(ranks):
        piece, right = (rank - number) % ranks, (rank + 1) % ranks
        sent = before[rank, piece]
        state[right, piece] = before[right, piece] + sent if number < ranks - 1 else sent
    table.append((f"round {number + 1}", *map(str, state.tolist())))
pictures.table(table, ["after", "rank 0 has", "rank 1 has", "rank 2 has"], align="llll")

# %% [markdown]
# Everybody ends with 111, 222, 333. Three numbers on three ranks made four rounds of one number each. So how many bytes
# does one rank send in general? Twelve numbers of 4 bytes on 3 ranks are 64 bytes from each.

# %% [markdown]
# ### Your turn: What a ring sends
#
# `cluster.2` · *warm-up* · 5 minutes
#
# `ranks` processes add up their gradients, each of `numbers` numbers of `width` bytes. They stand in a ring, and each
# cuts its gradient into as many equal pieces as there are ranks. In every round each rank sends one piece to its right
# neighbour and receives one from its left. After `ranks - 1` rounds each rank has the finished sum of one piece; in
# `ranks - 1` more rounds the finished pieces are passed on, until everybody has all of them. How many bytes has each
# rank sent?
#
# Input: three `int`. Result: a `float`, in bytes, not rounded where the pieces are uneven.
#
# ```python
# def sent_bytes(numbers: int, ranks: int, width: int) -> float
# ```


# %% tags=["nbval-check-output"]
def sent_bytes(numbers, ranks, width): ...


check("cluster.2", sent_bytes)

# %% [markdown]
# Look at both lines for GPT-2's gradients. One rises with every rank; the other levels off below twice the size of the
# gradient, whether eight cards train or eight thousand.

# %%
size = 4 * gpu.count_parameters(GPTConfig.gpt2("124M")) / 1e9  # GB of gradients in float32
counts = (2, 4, 8, 16, 32, 64, 128)
traffic = {
    "to all others": [(n, (n - 1) * size) for n in counts],
    "around a ring": [(n, 2 * (n - 1) / n * size) for n in counts],
}
pictures.lines(traffic, "ranks", "GB that each rank sends in a step", log="xy", title="GPT-2 124M, float32 gradients")

# %% [markdown]
# This **ring all-reduce** (Patarasuk and Yuan 2009) is why data parallelism scales. It doesn't make the traffic free:
# links inside one machine carry hundreds of gigabytes per second, links between machines about a tenth of that, and a
# step that is shorter than the sending waits for it. Large batches help, because they make a step longer and the
# gradient no larger.
#
# ## Share the memory
#
# *Before you go on:*

# %%
predict("cluster.c", ...)

# %% [markdown]
# Must every rank store everything? AdamW's averages, for example, are needed once per step, each by the rank that
# updates that weight. So let each rank store only its share of them, a **shard**, and update only that part. The same
# can be done with the gradients, and even with the weights: a rank fetches the weights of a block from the others when
# it comes to that block, and forgets them afterwards ([Rajbhandari et al. 2020](https://arxiv.org/abs/1910.02054), who
# call these ZeRO stages 1, 2 and 3).
#
# Take a model of 100 parameters on 4 GPUs. Everything on each is 1,600 bytes. With sharded averages it is 400 + 400 +
# 200; at stage 3 it is 400 in all.

# %% [markdown]
# ### Your turn: What each GPU stores
#
# `cluster.3` · *core* · 10 minutes
#
# A model of `parameters` numbers is trained with AdamW, everything in float32 (4 bytes per number), on `gpus` GPUs, each
# with its own part of the batch. At stage 0 each GPU stores everything: weights, gradients, and AdamW's two averages.
# At stage 1 each stores only its share of the averages, 1/`gpus` of them; at stage 2 of the gradients, too; at stage 3
# of the weights, too (Rajbhandari et al. 2020; stage 3 is what FSDP does). How many bytes is that on each GPU?
# (Activations are not counted.)
#
# Input: three `int`, `stage` from 0 to 3. Result: a `float`, in bytes, not rounded where the shares are uneven.
#
# ```python
# def held_bytes(parameters: int, gpus: int, stage: int) -> float
# ```


# %% tags=["nbval-check-output"]
def held_bytes(parameters, gpus, stage): ...


check("cluster.3", held_bytes)

# %% tags=["answers-prediction", "nbval-check-output"]
rows = []
for ranks in (1, 8, 64):
    layouts = [cluster.Layout(data=ranks, shard=stage) for stage in ((0, 3) if ranks > 1 else (0,))]
    for layout in layouts:
        memory = cluster.memory_per_gpu(GPTConfig.gpt2("1558M"), layout, sequences=64, T=1024)
        held = sum(memory[line] for line in ("weights", "gradients", "optimizer", "16-bit copies"))
        rows.append((ranks, "all sharded" if layout.shard else "whole copies", f"{held / 1e9:.1f}"))
pictures.table(rows, ["GPUs", "GPT-2 1558M", "GB on each, activations not counted"], align="rlr")

# %% [markdown]
# <details><summary>Answer to the prediction</summary>
#
# b. With whole copies, each of 8 or of 64 cards holds as much as a single one would. Data parallelism shares the work,
# but not the memory.
# </details>
#
# The planner counts 16 bytes per parameter and a 16-bit copy of the matrices for the products. PyTorch calls stage 3
# **FSDP**, fully sharded data parallel; its second form, FSDP2, is the function `fully_shard`. The result stays the
# same except for rounding, as you'll see below in a run that changes from copies to shards on the way.
#
# ## Runs that survive
#
# A run of four days is likely to be interrupted: a power cut, a quota, a laptop that is closed. A **checkpoint** holds
# what is needed to go on. What is that? Let's find out by breaking things. First a small run that nothing happens to.
# All of this part runs on the CPU on every machine: there the same arithmetic gives the same bits, while a GPU adds
# some sums in changing order, so two runs there agree only to a few digits.

# %%
base = runs.RECIPES["fables"]
how = dataclasses.replace(base.training, steps=40, save_every=10, save_total_limit=4, evaluate_every=0)
small = dataclasses.replace(base, batch_size=6, model=base.model | dict(n_embd=32, n_head=4), training=how)
setup = runs.build(small, "cpu")


def fresh():
    """A model with the first weights of this run."""
    return copy.deepcopy(setup.model)


whole = training.train(fresh(), setup.batches, how, progress=False)
print(f"forty steps, nothing happened: the loss falls from {whole.losses[0]:.2f} to {whole.losses[-1]:.2f}")

# %% [markdown]
# Now the same run, with a checkpoint at every tenth step, and an accident after step 24.

# %%
halted = folder / "halted"
accident = training.run(fresh(), setup.batches, how, folder=halted)
for history in accident:
    if history.steps == 24:
        break
accident.close()
newest = checkpoints.latest(halted)
print(f"the newest checkpoint is {newest.name}, with these files:")
print(*sorted(path.name for path in newest.iterdir()))

# %%
predict("cluster.a", ...)

# %% [markdown]
# To make sure that nothing is left over, we set all weights of a fresh model to zero, and resume.

# %% tags=["answers-prediction", "nbval-check-output"]
empty = fresh()
for parameter in empty.parameters():
    parameter.data.zero_()
resumed = training.train(empty, setup.batches, how, folder=halted, resume=True, progress=False)
print("steps:", resumed.steps)
print("exactly as if nothing had happened:", resumed.losses == whole.losses)

# %% [markdown]
# <details><summary>Why this works</summary>
#
# c, in none. Four things are stored: the weights, the averages of the optimizers, the number of the step, and the state
# of the random numbers. The order of the data needn't be stored, because `batches.batch(step)` depends on the step
# alone (notebook 04). And a checkpoint is written to a folder beside the others and renamed when it is complete, so
# that an accident while writing spoils nothing.
# </details>
#
# ### Break it: save the weights only
#
# Load the weights and call `train` again: that's how many programs do it. The averages are empty, the schedule begins
# anew, and so does the data. Look at how far the second curve is from the run that nothing happened to.

# %%
weights_only, _ = checkpoints.load_model(newest)  # step 20
again = training.train(weights_only.train(), setup.batches, how, progress=False)
naive = whole.losses[:20] + again.losses[:20]
apart = {"resumed exactly": resumed.losses, "weights only": naive}
apart = {name: [a - b for a, b in zip(losses, whole.losses, strict=True)] for name, losses in apart.items()}
curves = {name: training.History(losses=losses) for name, losses in apart.items()}
title = "Distance to the run without an accident"
pictures.training(curves, smooth=1, unit="difference in loss (nats per token)", title=title)

# %% tags=["nbval-check-output"]
print("weights only, the same at step 21:", naive[20] == whole.losses[20])

# %% [markdown]
# It has become a different run: it warms up again, and it reads the first stories again. In a run of several days that
# leaves a jump in the curve that nobody can explain afterwards, and a schedule that ends in the wrong place.
#
# ### How often to save?
#
# With many machines something always breaks. Llama 3's 405B, on 16,384 GPUs, was interrupted 466 times in 54 days, nine
# times out of ten unplanned (Llama team 2024, section 3.3.4). Saving often costs time; saving rarely costs more work
# when something fails. Suppose that a checkpoint takes 1 minute and is made every 10 minutes, and that a single GPU
# fails once in 100 minutes. Then saving wastes 0.1 of a minute for each minute of work, and failing wastes 5 minutes in
# 100, another 0.05.

# %% [markdown]
# ### Your turn: How often to save?
#
# `cluster.4` · *stretch* · 10 minutes
#
# After every `interval` minutes of work a checkpoint is written. That takes `saving` minutes, in which nothing is
# trained. One GPU fails once in `lifetime` minutes on average, independently of the others, and if one fails, the whole
# run of `gpus` goes back to its last checkpoint; half of an interval is lost then, on average. How many minutes are
# wasted for each minute of work, by saving and by failing together? (Leave out failures that happen while a checkpoint
# is written.)
#
# Input: `interval`, `saving` and `lifetime`, each a `float`, and `gpus`, an `int`. Result: a `float`.
#
# ```python
# def wasted(interval: float, saving: float, gpus: int, lifetime: float) -> float
# ```


# %% tags=["nbval-check-output"]
def wasted(interval, saving, gpus, lifetime): ...


check("cluster.4", wasted)

# %% [markdown]
# Now with Llama's figures, and two minutes for a checkpoint, which is our assumption. Look for the lowest point of the
# sum, and compare it with the square root that is printed above the picture.

# %%
between = 54 * 24 * 60 / 466  # minutes from one interruption to the next
minutes = (5, 7, 10, 14, 20, 28, 40, 57, 80, 113, 160)
lost = {
    "saving": [(m, 100 * 2 / m) for m in minutes],
    "work done twice": [(m, 100 * m / 2 / between) for m in minutes],
    "together": [(m, 100 * (2 / m + m / 2 / between)) for m in minutes],
}
best = math.sqrt(2 * 2 * between)
years = between * 16384 / 60 / 24 / 365  # of one among 16,384
print(f"an interruption every {between:.0f} minutes, as if each GPU failed once in {years:.0f} years")
print(f"√(2 · 2 · {between:.0f}) = {best:.0f} minutes")
pictures.lines(lost, "minutes between checkpoints", "wasted (% of the work)", log="x")

# %% [markdown]
# The lowest point lies where both costs are equal. Set the two terms equal and you find the interval $\sqrt{2 \cdot
# \text{saving} \cdot \text{between}}$, which is J. W. Young's formula of 1974. It is as if each GPU failed once in
# several years; among sixteen thousand, one then fails every few hours. The real checkpoints must have been quicker
# than ours, since the team reports that more than 90 % of the time was useful.
#
# ### A rank that dies
#
# A good run notices a dead rank at once, says who died, and leaves a checkpoint to continue from. Two ranks now train
# with the command of the course, and the second one kills itself as soon as it sees a checkpoint. `SIGKILL` is `kill
# -9`: the process isn't asked, and can't save anything.

# %%
SETTINGS = "fables --steps 40 --batch-size 6 --n-embd 32 --n-head 4 --save-every 10 --evaluate-every 0"
ARGUMENTS = ["train", *SETTINGS.split(), "--device", "cpu", "--dtype", "float32"]
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
launched = cluster.launch([str(folder / "deadly.py"), str(run), *ARGUMENTS, "--folder", str(run)], time_limit=300)
print(f"{launched.reason}; exit code {launched.code}")
print(next((line.split(" (")[0] for line in launched.output.splitlines() if "lost another rank" in line), ""))
print("the newest checkpoint:", checkpoints.latest(run).name)

# %% [markdown]
# A checkpoint holds whole tensors, and a batch means the same on any number of ranks. So a run may continue on fewer
# ranks, on more, or with another layout. We do two things with what the dead run left. First, one process alone takes
# over, here in the notebook:

# %% tags=["nbval-check-output"]
shutil.copytree(run, folder / "one")
survivor = training.train(fresh(), setup.batches, how, folder=folder / "one", resume=True, progress=False)
apart = max(abs(a - b) for a, b in zip(survivor.losses, whole.losses, strict=True))
print("two ranks, one killed, then one alone; all losses within 1e-4 of one process:", apart < 1e-4)

# %% [markdown]
# Second, two ranks take over, and from now on they hold shards in place of copies:

# %% tags=["nbval-check-output"]
command = ["-m", "gptlab", *ARGUMENTS, "--folder", str(run), "--resume", "--parallel", "sharded"]
launched = cluster.launch(command, world_size=2, time_limit=300)
state = json.loads((checkpoints.latest(run) / "state.json").read_text(encoding="utf-8"))
losses = state["history"]["losses"]
apart = max(abs(a - b) for a, b in zip(losses, whole.losses, strict=True))
print("exit code:", launched.code, launched.reason, "  steps:", len(losses), "  ranks at the end:", state["world_size"])
print("two ranks, one killed, then two with shards; all losses within 1e-4 of one process:", apart < 1e-4)

# %% [markdown]
# They aren't equal to the last bit, because two ranks add their gradients in another order than one. But no step is
# missing, and no batch counted twice.
#
# ### The commands
#
# One machine with all its GPUs; the same with shards:
#
# ```
# torchrun --standalone --nproc-per-node gpu -m gptlab train nanogpt-gpu --folder runs/eight
# torchrun --standalone --nproc-per-node gpu -m gptlab train nanogpt-gpu \
#     --folder runs/eight --resume --parallel sharded
# ```
#
# Two hosts without a scheduler: the same line on each. The folder lies on a disk that both can see.
#
# ```
# torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint host1:29500 --rdzv-id mine \
#     -m gptlab train nanogpt-gpu --folder /shared/runs/sixteen --resume
# ```
#
# With Slurm, a file for `sbatch`. Its SIGTERM comes 90 seconds before the time is over, and the run saves a
# checkpoint. Submit the file again, and `--resume` continues; the first time it begins from nothing. After a node has
# failed, `--requeue` lets Slurm put the job back into the queue by itself. The file's first line is `#!/bin/bash`, and
# then:
#
# ```
# #SBATCH --nodes=2 --ntasks-per-node=1 --gpus-per-node=8 --cpus-per-task=32 --time=04:00:00
# #SBATCH --signal=TERM@90 --requeue
# first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node 8 --rdzv-id "$SLURM_JOB_ID" \
#     --rdzv-backend c10d --rdzv-endpoint "$first:29500" \
#     -m gptlab train nanogpt-gpu --folder /shared/runs/mine --resume
# ```
#
# What has been tried for this notebook is one machine, with two processes on a CPU, in the cells above. The lines for
# several GPUs, several hosts and Slurm have not been run.
#
# ## Beyond this machine, on paper
#
# You have everything that a plan needs: FLOPs, bytes, a rate and a utilisation. `cluster.plan` puts them together for
# any configuration and any number of cards. It tries four ways to spread the model over them, also combined: copies,
# shards, **tensor parallel**, where each card holds a slice of every matrix (Shoeybi et al. 2019), and **pipeline
# parallel**, where each holds some of the blocks and passes activations on (Huang et al. 2019). It takes the fastest
# layout that fits. First nanoGPT's GPT-2, trained on eight A100:

# %% tags=["nbval-check-output"]
def print_plan(found):
    for line in str(found).splitlines():
        print(textwrap.fill(line, width=100, subsequent_indent=" " * 8))


print_plan(cluster.plan(GPTConfig.gpt2("124M"), gpus=8, gpu="A100", tokens=300e9, T=1024, mfu=0.35))

# %% [markdown]
# nanoGPT's README says about four days, and notebook 17 came to 3.0, by the rule of 6 N, which leaves attention out.
# But the `mfu` is an input here, a usual value; leave it out, and the planner guesses one. How good is such a plan?
# Let's compare it with runs whose figures were published. Read the last column.

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
    figures = f"{found.parameters / 1e9:.1f}", f"{found.flops:.2e}", f"{found.gpu_hours:,.0f}", f"{hours:,.0f}"
    rows.append((name, *figures, f"{found.gpu_hours / hours:.2f}"))
header = ["run", "parameters (10⁹)", "FLOPs", "GPU hours, planned", "published", "ratio"]
pictures.table(rows, header, align="lrrrrr")

# %% [markdown]
# Sources: GPT-3, [Brown et al. 2020](https://arxiv.org/abs/2005.14165) for sizes, Patterson et al. 2021, table 4, for
# 24.6 TFLOP/s measured on each of 10,000 V100, and 14.8 days; Llama 3.1's model card and [Llama team
# 2024](https://arxiv.org/abs/2407.21783).
#
# The first two rows are within 15 %, because the speed that those runs reached was published and the plan was given it.
# GPT-3's 14.8 days are its FLOPs divided by that speed, so its row tests the FLOPs only. The last two rows are not
# within 15 %. For the 8B and the 70B no speed was published, and at the speed of the 405B they would have taken far
# fewer hours than they did. **Parameters, FLOPs and memory follow from the configuration. Hours follow only from a
# speed that somebody has measured.** A plan without a measured speed is a guess.
#
# And the layout that the planner advises for the 405B?

# %% tags=["nbval-check-output"]
print_plan(published[1][1])

# %% [markdown]
# *Checkpointing* in that plan is the activation checkpointing of notebook 17. The waiting is part of the time, since an
# MFU from a real run includes it. The real run used another layout: tensor 8, pipeline 16, data 128 (their table 4).
# Both cut matrices only inside a **node**, which is one machine with its eight GPUs, where the links are fast, and both
# shard the optimizer. The planner leaves out that many small messages are slow, and that hardware breaks.
#
# ## How large, on how many tokens?
#
# Your budget fixes the work, $6 N D$ for N parameters and D tokens. Should the model be large and see few tokens, or be
# small and see many? Hoffmann et al. ([2022](https://arxiv.org/abs/2203.15556)) trained over 400 models to find out.

# %%
predict("cluster.b", ...)

# %% tags=["answers-prediction", "nbval-check-output"]
rows = []
for parameters, name in ((124e6, "GPT-2"), (8e9, "Llama 3 8B"), (70e9, "Chinchilla"), (175e9, "GPT-3")):
    best = [cluster.chinchilla_tokens(parameters, approach) for approach in (1, 2, 4)]
    rows.append((name, f"{parameters / 1e9:g}", *(f"{tokens / parameters:.0f}" for tokens in best)))
header = ["size of", "parameters (10⁹)", "approach 1", "approach 2", "approach 4"]
pictures.table(rows, header, align="lrrrr")

# %% [markdown]
# b, about 20: each entry is a number of tokens per parameter. Approaches 1 and 2 are two ways in which they analysed
# their runs. Their third was corrected later ([Besiroglu et al. 2024](https://arxiv.org/abs/2404.10102)) and is called
# 4 here.
#
# So a budget buys a certain N and D, which you worked out in the second exercise of notebook 16. But that pair is best
# for the price of *training* alone. Once people use the model, every token that it reads or writes takes about 2 N
# FLOPs, so a smaller model saves money each time. Could a smaller one be made as good by training it for longer? The
# same authors fitted a formula to their runs that can tell:
#
# $$ L = E + \frac{A}{N^{\alpha}} + \frac{B}{D^{\beta}} . $$
#
# It adds up what the text costs even a perfect model, what too few parameters cost, and what too few tokens cost.
# Suppose that E = 1, A = 10, B = 20 and α = β = ½. A model of 400 parameters reaches a loss of 2.5 with 400 tokens,
# since 1 + 10/20 + 20/20 = 2.5. For one of 100 parameters the size alone costs 10/10 = 1, which leaves 0.5 for the
# tokens, so it needs 1,600 of them: 20/40 = 0.5. And for one of 25 parameters the size alone costs 2. It never gets
# there, however long you train it.

# %% [markdown]
# ### Your turn: How long to train a smaller model?
#
# `cluster.5` · *core* · 10 minutes
#
# By the law $L = E + A / N^{\alpha} + B / D^{\beta}$, how many tokens $D$ does a model of `N` parameters have to be
# trained on to reach the loss `loss`? If no number of tokens is enough, because E and the size alone already cost more
# than that, return `math.inf`.
#
# Input: seven `float`, all above 0. Result: a `float`, D, not rounded. For the model of 100 parameters above,
# `tokens_needed(2.5, 100.0, 1.0, 10.0, 0.5, 20.0, 0.5)` is `1600.0`.
#
# ```python
# def tokens_needed(loss: float, N: float, E: float, A: float, alpha: float, B: float, beta: float)
#     -> float
# ```


# %% tags=["nbval-check-output"]
def tokens_needed(loss, N, E, A, alpha, B, beta): ...


check("cluster.5", tokens_needed)

# %% [markdown]
# How much does the split matter? Here is the formula for three budgets, with the constants of the corrected fit. The
# work is the same along each line, and each has a lowest point: to its left the model is too small for its tokens, to
# its right the model has seen too few. Now start at the lowest point of one of the upper two lines and go straight to
# the left until you meet the line below it. That is your exercise: a smaller model with the same loss, for more
# training.

# %%
curves = {}
for power, budget in {"10¹⁹": 1e19, "10²⁰": 1e20, "10²¹": 1e21}.items():
    millions = (50, 100, 200, 400, 800, 1600, 3200, 6400, 12800)
    points = [(n, cluster.chinchilla_loss(n * 1e6, budget / (6 * n * 1e6))) for n in millions]
    curves[f"{power} FLOPs"] = points
title = "The same work along each line"
pictures.lines(curves, "parameters N (millions)", "loss (nats per token)", log="x", title=title)

# %% [markdown]
# The lines are the formula on *their* data, not a measurement of ours. Models that many people use lie far to the left
# of the lowest point, because what the longer training costs is saved again each time they are used: Llama 3 8B saw
# about 1,900 tokens for each of its parameters.
#
# ## A law from small runs
#
# Can you predict the loss of a model that you haven't trained? The makers of large models have to, because they can
# afford to train them only once. Train a ladder of small ones, all for the same number of steps, and look at how the
# loss depends on the size. Here the floor E is known, the entropy of fables, so two numbers are left to fit:
#
# $$ L(N) = E + \frac{A}{N^{\alpha}} \qquad\Longleftrightarrow\qquad \ln(L - E) = \ln A - \alpha \ln N . $$
#
# In logarithms that is a straight line. Three runs of sizes $10^4$, $4 \cdot 10^4$ and $16 \cdot 10^4$ with losses 3, 2
# and 1.5, and a floor of 1: each factor of four halves what is above the floor, so α = ½, and A = 200. One thing is
# left out: at a fixed number of steps the law above has a constant more, $B / D^{\beta}$. We take the entropy as the
# floor all the same, which is one more reason not to go far beyond the ladder.

# %% [markdown]
# ### Your turn: A law from small runs
#
# `cluster.6` · *stretch* · 20 minutes
#
# Some runs of different sizes $N$ ended at different losses, and the entropy floor $E$ is known. Fit $L(N) = E + A /
# N^{\alpha}$: take natural logarithms, $\ln(L - E) = \ln A - \alpha \ln N$, and find the straight line with the least
# squares of the differences in $\ln(L - E)$. Its slope is the covariance of the two logarithms divided by the variance
# of the first; it goes through both means.
#
# Input: `sizes` and `losses`, each a `list` of `float`; `floor`, a `float` below all losses. Result: two `float`, A and
# α.
#
# ```python
# def fit_law(sizes: list[float], losses: list[float], floor: float) -> tuple[float, float]
# ```


# %% tags=["nbval-check-output"]
def fit_law(sizes, losses, floor): ...


check("cluster.6", fit_law)

# %% [markdown]
# Now a real ladder: four sizes with two seeds each, where a seed decides the first weights and the stories.

# %%
words = StoryWords()
V, end = words.vocab_size, words.end
judge = StoryEvaluation(fables.tell(96, seed=1), words, end)


def rung_config(C):
    return GPTConfig.modern(V, 160, n_layer=1, n_head=4, n_embd=C, mlp_size=2 * C, convolution=4)


def rung(C, seed):
    """Train one small model for eighty steps; its size, and its loss in nats per story."""
    plan = TrainConfig(steps=80, optimizer="muon", learning_rate=0.03, muon_lr=0.08, warmup=10, evaluate_every=0)
    torch.manual_seed(seed)
    model = GPT(rung_config(C))
    documents = [[*words.encode(story.text), end] for story in fables.tell(80 * 8, seed=1000 + seed)]
    stories = StoryBatches(documents, 8, start=end, shuffle=False)
    *_, history = training.run(model, stories, plan, evaluate=judge)
    return gpu.count_parameters(model.config), history.evaluations[-1]["loss"]


ladder = []
for C in (16, 24, 32, 48):
    ladder += [rung(C, seed) for seed in (1, 2)]
    print(f"C = {C}: {ladder[-1][0]:,} parameters, losses " + ", ".join(f"{loss:.1f}" for _, loss in ladder[-2:]))

# %% [markdown]
# Before you go beyond the ladder, test the method inside it. Hide the largest rung, fit the law to the others, and see
# whether it predicts what you hid. The interval is where a new run should lie in 95 of 100 cases, if the law holds.

# %%
known = cluster.fit_scaling_law(*zip(*ladder[:6], strict=True), floor=judge.floor)
low, high = known.interval(ladder[6][0])
print(f"hidden rung: predicted {known(ladder[6][0]):.1f}, between {low:.1f} and {high:.1f};", end=" ")
print("found", ", ".join(f"{loss:.1f}" for _, loss in ladder[6:]))

law = cluster.fit_scaling_law(*zip(*ladder, strict=True), floor=judge.floor)
next_size = gpu.count_parameters(rung_config(64))
low, high = law.interval(next_size)
print(f"E = {law.floor:.1f}, α = {law.alpha:.2f}")
print(f"{next_size:,} parameters: predicted {law(next_size):.1f}, between {low:.1f} and {high:.1f}")

# %% [markdown]
# The forecast is made. Only now do we train the next size.

# %%
found = [rung(64, seed) for seed in (1, 2)]
inside = sum(low <= loss <= high for _, loss in found)
print("found", ", ".join(f"{loss:.1f}" for _, loss in found), f"- inside the interval: {inside} of {len(found)}")
measured = ladder + found
sizes = [N for N, _ in measured[::2]]
lines = {
    "the law, with 95 % intervals": [(N, law(N) - law.floor) for N in sizes],
    "seed 1": [(N, loss - law.floor) for N, loss in measured[::2]],
    "seed 2": [(N, loss - law.floor) for N, loss in measured[1::2]],
}
intervals = {"the law, with 95 % intervals": [[edge - law.floor for edge in law.interval(N)] for N in sizes]}
x, y, limit = "parameters N", "above the floor (nats per story)", {"fitted up to here": ladder[-1][0]}
pictures.lines(lines, x, y, ranges=intervals, apart=["seed 1", "seed 2"], log="xy", at=limit)

# %% [markdown]
# Left of the upright line are the runs that the law has seen, right of it the ones that it predicted. The thin bars say
# where a new run should lie in 95 of 100 cases, if the law holds. How good was the forecast, one size up? In our run
# both new models came out a little below the law, and well inside its interval. Don't trust it much further. These runs
# end before the recalled facts are learned (notebook 10), and that can come rather suddenly: a larger model may get
# there within eighty steps with one seed and not with another. A law knows nothing of what hasn't happened yet in any
# of its runs, and the interval reflects only the noise of these eight.
#
# ## Long runs, outside a notebook
#
# A notebook isn't the place for hours of training. The command that you killed above saves checkpoints and continues
# from them, on the course's texts, on yours, or on any number of files that `prepare` has turned into tokens:
#
# ```
# python3 -m gptlab prepare --help
# python3 -m gptlab train fables --folder runs/fables --steps 3000
# python3 -m gptlab train fables --folder runs/fables --steps 3000 --resume
# python3 -m gptlab train --help
# ```

# %% [markdown]
# ## Exercises
#
# You have met six: rows of a rank (1), what a ring sends (2), what each GPU stores (3), how often to save (4), how long
# to train a smaller model (5), and a law from small runs (6). `hint("cluster.3")` helps, and `solution("cluster.3")`
# shows ours. And three that are open:
#
# - *stretch:* Train the rungs C = 96 and C = 128 with three seeds, and put them beside the law. Where does it break,
#   and in which of the three parts (`form`, `recalled`, `free`) of the evaluation do you see it?
# - *stretch:* Plan a run of your own: a model, a corpus, cards that you could rent, and their price per hour. Which of
#   your inputs did somebody measure?
# - *stretch:* Change `PROGRAM` so that the two ranks have parts with different numbers of tokens, and make the
#   gradients equal again.

# %%
progress("cluster")

# %% [markdown]
# ## What you have built
#
# In notebook 01 two sentences set out: *Once, in a dark forest, there lived Ada the proud fox. Nearby lived Bo the
# patient hen.* Send them through everything once more. There is nothing in it that wasn't built by hand on the way.
# Read the table from top to bottom and ask of each line: how is this computed?

# %%
model, tokenizer = checkpoints.committed("fables")
config, stop = model.config, tokenizer.special_tokens["<|endoftext|>"]
pieces = tokenizer.encode(fables.TRAVELLER)
ids = torch.tensor([[stop, *pieces]])  # [1, T]
began = time.perf_counter()
with torch.no_grad():
    logits, loss = model(ids[:, :-1], ids[:, 1:])
    took = time.perf_counter() - began
    probabilities = model(ids)[0][0, -1].softmax(dim=-1)
    onward = sampling.generate(model, ids, 12, temperature=0)[0, ids.shape[1] :].tolist()
shown, T = " ".join(repr(tokenizer.decode([i])) for i in pieces[:4]), ids.shape[1]
stations = [
    (1, f"a text of {len(fables.TRAVELLER)} characters, {len(fables.TRAVELLER.encode())} bytes"),
    (2, f"{len(pieces)} tokens of a vocabulary of {tokenizer.vocab_size}: {shown} …"),
    (4, f"a batch [B, T] = {list(ids.shape)} of ids: {ids[0, :4].tolist()} …"),
    (5, f"vectors [B, T, C] = {[*ids.shape, config.n_embd]}"),
    (6, f"{config.n_layer} × {config.n_head} heads, each with a table [T, T] of who attends to whom"),
    (7, f"of its {T * T} entries, {T * (T + 1) // 2} may be used: no token sees the future"),
    (8, f"{model.count_parameters():,} parameters; logits [B, T, V] = {list(logits.shape)}"),
]

# %%
clueless, likeliest = math.log(config.vocab_size), int(probabilities.argmax())
stations += [
    (10, f"{float(loss):.2f} nats per token on these sentences; a model that knows nothing: {clueless:.2f}"),
    (11, f"next, with probability {float(probabilities.max()):.2f}: {tokenizer.decode([likeliest])!r}"),
    (11, f"and so on, always the likeliest: {tokenizer.decode(onward)!r}"),
    (17, f"{gpu.flops_per_token(config, T=len(pieces), backward=False):,} FLOPs per token; {1e3 * took:.1f} ms here"),
    (18, f"two ranks, one killed, two again: the losses within {apart:.0e} of one process"),
    (18, f"a loss predicted between {low:.1f} and {high:.1f}; found {found[0][1]:.1f} and {found[1][1]:.1f}"),
]
rows = [(f"{number:02}", what) for number, what in stations]
pictures.table(rows, ["notebook", "two sentences, all the way"], align="ll")

# %% [markdown]
# And here is the whole course on one line, with what you have done at each stop: exercises solved, and guesses that
# were right at once. It is read from your own progress file, so in the published notebook it is empty. An empty stop
# isn't a debt. It is a place to come back to.

# %%
pictures.course_map("cluster", figures=tally())

# %% [markdown]
# ### What to read next
#
# You can now read what the field reads. Some of it in a good order, with the notebook that prepared you:
#
# - **Code.** Karpathy's [nanoGPT](https://github.com/karpathy/nanoGPT) (after 10) and
#   [nanochat](https://github.com/karpathy/nanochat), which goes all the way to a chat model (after 15). You will find
#   every part, under the names in the last section of each notebook.
# - **Where it began.** Vaswani et al. 2017, [*Attention Is All You Need*](https://arxiv.org/abs/1706.03762) (after 07).
#   Read it as a colleague: what would you do differently today? Notebook 12 has four answers.
# - **A whole large model.** Llama team 2024, [*The Llama 3 Herd of Models*](https://arxiv.org/abs/2407.21783), and
#   DeepSeek 2024, [*DeepSeek-V3 Technical Report*](https://arxiv.org/abs/2412.19437) (after 17 and 18). They are long,
#   and you can now follow most of their pages.
# - **Machines.** Hugging Face's *Ultra-Scale Playbook* (2025) and *How to Scale Your Model* by Austin et al. (2025),
#   both free and online (after this one).
# - **What goes on inside.** Elhage et al. 2021, *A Mathematical Framework for Transformer Circuits* (after 06 and 08).
# - **Another teacher.** Raschka, *Build a Large Language Model (From Scratch)* (2024); Stanford's course CS336,
#   *Language Modeling from Scratch*, whose assignments are the next size up.
#
# ### What to build next
#
# Reading is half of it. Each of these is a week or two, and each starts from a file of this course:
#
# - **A model of your own texts**, large enough to be useful: your e-mails, your language, your code. `python3 -m gptlab
#   train my.txt` is the beginning; a careful split, early stopping and an honest look at what it memorised are the
#   work.
# - **A mixture of experts**: eight MLPs in a block instead of one, and a router that sends each token to two of them.
#   `gptlab/parts.py`, and a test that it equals one MLP when all experts are the same.
# - **A faster decoder**: speculative decoding, in which a small model proposes and a large one checks, so that the text
#   is exactly what the large one alone would have written. `gptlab/sampling.py`, and notebook 11's property test.
# - **An assistant for one task**, fine-tuned (14), rewarded (15), and measured against the prompt that you would have
#   used otherwise. Decide what counts as better before you train.
# - **A notebook for this course.** Something confused you on the way, and then you understood it. Write it down the way
#   you wish you had read it: `CONTRIBUTING.md` says how a notebook is made.

# %% [markdown]
# ## What to remember
#
# - Ranks share a batch and add up their gradients, weighted by tokens; in a ring each sends less than twice the
#   gradient's size, however many they are.
# - Data parallelism shares the work. Shards share the memory too, and change the result by no more than rounding.
# - To resume exactly takes weights, optimizers, step and random numbers, in a checkpoint that appears in one piece.
# - FLOPs and memory follow from a configuration. Hours follow only from a speed that somebody has measured.
# - About 20 tokens per parameter make the most of a training budget; a model that is used a lot gets many more. A law
#   from small runs holds as far as it was tested.
#
# **New terms**, and what they are called elsewhere. Rank, world size · data parallelism (DDP,
# `DistributedDataParallel`) · torchrun (elastic launch) · all-reduce, ring all-reduce · gloo, NCCL · shard, ZeRO stages
# (DeepSpeed), FSDP, `fully_shard` · checkpoint, resume (`resume_from_checkpoint`) · tensor and pipeline parallelism
# (model parallelism) · node · GPU hours · compute-optimal, Chinchilla-optimal · scaling law, irreducible loss (our
# floor) · prediction interval.
#
# <details><summary>A run on 8 GPUs reaches the same loss curve as on one, in the same time. What is wrong?</summary>
# Most likely every rank reads every row. The loss looks right, and nothing is gained.
# </details>
# <details><summary>After a restart the loss jumps up, and falls back within some hundred steps. What was missing?</summary>
# The optimizers' averages, and perhaps the step, so that the learning rate warmed up again.
# </details>
# <details><summary>Somebody's plan says 12 days on 64 cards. Which one question do you ask?</summary>
# At which measured speed, or MFU, on which machine. All else follows from the configuration.
# </details>
#
# **Deeper:** Rajbhandari et al. 2020, *ZeRO*, sections 3 to 5; Hoffmann et al. 2022, *Training Compute-Optimal Large
# Language Models*; in the package, `gptlab/cluster/distributed.py` from top to bottom.

# %%
recap("cluster")

# %% [markdown]
# ## Next
#
# There is no notebook after this one. You began with a sentence and a question: how does a machine learn to go on from
# here? You know the answer now, down to the last gradient, and there is no box left in it that you haven't opened. What
# you build with that is the part of the story that nobody has told yet.
