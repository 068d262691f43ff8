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
# # 10 · Training
#
# *You take a model that knows nothing, show it stories, and watch it learn to tell them – with the best possible loss
# in view. Then you do the same with a text of your own.*
#
# **After this notebook you can**
#
# - write the loss, the learning-rate schedule and the training loop from an empty cell,
# - say what momentum, Adam, weight decay and warm-up each do, and tell weight decay and learning-rate decay apart,
# - read a loss curve: how far from perfect it is, whether it overfits, whether it is too good to be true,
# - train, save, reload and sample a model on any text file.
#
# **It builds on** batches (04), the model (08) and backpropagation (09), which computes the gradients that we use
# here. **Reading** takes about 50 minutes without the exercises. **Running** takes about 90 seconds on one quiet CPU
# core and less than 1 GB of memory; half of it is one training run.

# %%
import itertools
import math
import tempfile
import textwrap

import torch
import torch.nn.functional as F

from gptlab import checkpoints, corpora, pictures, sampling, schedule, training
from gptlab.batches import Batches, StoryBatches, split
from gptlab.bpe import BPETokenizer
from gptlab.corpora import fables
from gptlab.evaluation import StoryEvaluation, mean_loss
from gptlab.exercises import check, predict, progress, quiz, recap
from gptlab.model import GPT, GPTConfig
from gptlab.training import TrainConfig

torch.set_num_threads(1)  # matrices this small gain nothing from a second core
_ = torch.manual_seed(0)

# %% tags=["nbval-check-output"]
pictures.pipeline("training")

# %% [markdown]
# Three questions about earlier notebooks, if you like. Replace the dots with your letters, for example
# `quiz("training", ["a", "b", "c"])`.

# %% tags=["nbval-check-output"]
quiz("training", [..., ..., ...])

# %% [markdown]
# ## The question
#
# In notebook 08 you built a whole GPT. It turns token ids into logits, and it has never seen a story. Let's see what
# it has to say. (We use the class from 08 with parts newer than GPT-2's: rotary positions, a different activation
# function, a small convolution. Notebook 12 takes them apart one by one; nothing here depends on them.)

# %%
tokenizer = BPETokenizer.train(fables.book(), vocab_size=859, special_tokens=("<|endoftext|>",))
end = tokenizer.special_tokens["<|endoftext|>"]
V = tokenizer.vocab_size
config = GPTConfig.modern(V, context=160, n_layer=2, n_head=6, n_embd=96, convolution=4)
model = GPT(config)
story = sampling.tell_stories(model, tokenizer, n=1, end=end, max_new_tokens=40)[0]
print(textwrap.fill(repr(story[:150]), width=100))

# %% [markdown]
# Every token is about equally likely. There's no bug to find here: the weights are still the random numbers they were
# initialised with, and nothing has shown the model which of them to change.
#
# Three things are missing: a number that says how bad the model is, a rule that makes the number smaller, and the
# patience to apply it many times.
#
# ## By hand, 1: how surprised is the model?
#
# Take the smallest case that shows the idea. The vocabulary has four tokens, the model gave each of them a logit, and
# the token that really came next is number 2.

# %%
logits = torch.tensor([1.0, 0.0, 2.0, -1.0])
target = 2
p = logits.exp() / logits.exp().sum()
print("probabilities:", [round(x, 3) for x in p.tolist()])
print("surprise:     ", round(-math.log(p[target]), 3), "nats")

# %% [markdown]
# The right token got the largest probability, but the model wasn't certain. We measure its surprise as
#
# $$ -\ln p_{\text{target}} $$
#
# in **nats**, the unit that goes with the natural logarithm. Zero means certain and right; a large number means that
# the model had thought the token nearly impossible. The idea is Claude Shannon's (1948), who used base 2 and so
# counted in bits; one nat is about 1.44 bits.
#
# The mean surprise over many tokens is the **loss**. Libraries call it cross-entropy, and papers often report its
# exponential, the **perplexity**: a model with perplexity 8 hesitates as if it had to choose among 8 equally likely
# tokens.
#
# Here is a number to guess. A model that knows nothing gives every one of V tokens the same probability. What is its
# loss for V = 65?

# %% tags=["nbval-check-output"]
predict("training.a", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
print("by hand:    ", round(-math.log(p[target]), 4))
print("the library:", round(F.cross_entropy(logits[None], torch.tensor([target])).item(), 4))
print("ln 65:      ", round(math.log(65), 4), " ln V:", round(math.log(V), 4))

# %% [markdown]
# <details><summary>Answer</summary>
#
# −ln(1/65) = ln 65, a little above 4. Whenever you train from random weights, look at the first loss. If it isn't near
# ln V, stop and find out why.
# </details>
#
# ### Your turn: The loss, from logits
#
# `training.1` · *core* · 15 minutes
#
# Write it for a whole batch: `logits` is [B, T, V], `targets` is [B, T], and the result is one number, the mean
# surprise over all B·T positions. Don't use `F.cross_entropy`. There's a trap: a logit of 1,000 must not overflow,
# and `exp(1000)` does. The worked example: logits `[[[0, 1, 2]]]` and targets `[[1]]` give
# $\ln(e^0 + e^1 + e^2) - 1 = 1.4076$ nats.


# %% tags=["nbval-check-output"]
def cross_entropy(logits, targets): ...


check("training.1", cross_entropy)

# %% [markdown]
# <details><summary>Our version</summary>
#
# Subtracting the largest logit changes no probability, because it multiplies numerator and denominator by the same
# factor. Afterwards no exponent is above 0. `gather` picks the target's entry at each position.
#
# ```python
# def cross_entropy(logits, targets):
#     shifted = logits - logits.max(dim=-1, keepdim=True).values              # [B, T, V]
#     logp = shifted - shifted.exp().sum(dim=-1, keepdim=True).log()           # [B, T, V]
#     return -logp.gather(-1, targets[..., None]).mean()
# ```
# </details>
#
# ## By hand, 2: which way is down?
#
# Each logit can go up or down. The gradient says, for each of them, how the loss changes when that logit grows a
# little, and for this loss it is surprisingly readable:
#
# $$ \frac{\partial\,\text{loss}}{\partial\,\text{logit}_i} = p_i - y_i, \qquad y_i = 1 \text{ for the target and } 0
# \text{ for all others} $$
#
# Probability minus truth. You derived this in notebook 09, where backpropagation carries it on to every weight of the
# model. Watch the one negative number below: it belongs to the target, whose logit should grow.

# %% tags=["nbval-check-output"]
z = logits.clone().requires_grad_()
F.cross_entropy(z[None], torch.tensor([target])).backward()
y = F.one_hot(torch.tensor(target), 4)
print("by hand: ", [round(x, 4) for x in (p - y).tolist()])
print("autograd:", [round(x, 4) for x in z.grad.tolist()])

# %% [markdown]
# To make the loss smaller, walk against the gradient: `logits -= rate * gradient`. This is **gradient descent**, and
# the factor is the **learning rate**. It's a **hyperparameter**: a number that you choose, like the number of
# layers or heads, whereas the parameters are learned.
#
# If the same token always came next, no rate would be too large, since every step leads towards certainty. Real text
# is different: the same beginning goes on in several ways. So let token 2 come three times out of four and token 0
# otherwise, sampled afresh at each step. This is **stochastic** gradient descent, SGD for short: every step follows
# one example, or a small mini-batch of them, instead of the whole text.
#
# The picture shows the expected loss while three rates work on the same examples. The dotted line is the lowest value
# that is possible. Compare how soon each curve gets near it, and how quietly it stays there.

# %%
series, samples = {}, torch.rand(60, generator=torch.Generator().manual_seed(1)).tolist()
for rate in (0.03, 0.3, 3.0):
    z, points = logits.clone(), []
    for step, u in enumerate(samples):
        p = z.softmax(-1)
        points.append((step, -0.75 * math.log(p[2] + 1e-9) - 0.25 * math.log(p[0] + 1e-9)))
        z = z - rate * (p - F.one_hot(torch.tensor(2 if u < 0.75 else 0), 4))
    series[f"rate {rate:g}"] = points
floor = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
level = {"entropy": floor}
pictures.lines(series, "step", "mean surprise (nats, logarithmic)", level=level, log="y", legend="outside upper center")

# %% tags=["nbval-check-output"]
for name, points in series.items():
    late = [loss for _, loss in points[-20:]]
    print(f"{name:9} from {points[0][1]:.2f} to {sum(late) / 20:.2f} (mean of the last 20), largest {max(late):.2f}")
print(f"entropy   {floor:.2f}")

# %% [markdown]
# The smallest rate is calm and hardly on its way. The middle one gets further down in the same time, but it wobbles:
# each new example pushes it about. The largest is thrown so far by every surprise that it ends worse than it began. So
# a rate has to be large enough to arrive and small enough to settle, and no single number is good at both. That is the
# reason for a schedule, further down.
#
# And no curve goes below the dotted line. A token that is sampled can't be known in advance, and what it costs on
# average is called the **entropy** of its distribution: the **entropy floor** of any loss curve. Keep that line in
# mind. It is why our corpus is made of fables whose entropy we can compute.
#
# ## By hand, 3: better steps
#
# Plain steps have a weakness. Picture the loss as a long, narrow valley: steep from side to side, almost flat along its
# floor. A rate that is safe for the steep direction is hopelessly slow in the flat one. The rule that turns gradients
# into steps is called the **optimizer**. There are two remedies, and modern optimizers combine them.
#
# - **Momentum**: don't follow this step's gradient, follow a running mean of the last ones. What points one way adds
#   up, what flips its sign cancels. Like a heavy ball, it can also roll past the goal and come back.
# - **A rate for each weight**: keep a running mean of the *squared* gradient and divide by its root. Steep directions
#   are slowed down, flat ones sped up.
#
# **Adam** (Kingma and Ba 2014) does both. Its two means are `m` and `v`. Both begin at 0, so in the first steps they
# are too small; dividing by $1 - \beta^t$ corrects that. Read the loop line by line. In the picture below it, thin
# lines join points of equal loss, the cross marks the goal, and all three paths begin at the same point.


# %%
def adam_steps(gradient, start, rate, steps, beta1=0.9, beta2=0.95):
    x, m, v, path = start.clone(), torch.zeros(2), torch.zeros(2), [start.clone()]
    for t in range(1, steps + 1):
        g = gradient(x)
        m = beta1 * m + (1 - beta1) * g  # momentum: which way, on average
        v = beta2 * v + (1 - beta2) * g**2  # how steep, on average
        x = x - rate * (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + 1e-8)
        path.append(x.clone())
    return torch.stack(path)


steep, start = torch.tensor([20.0, 0.05]), torch.tensor([1.0, 4.0])  # loss = (20 x² + 0.05 y²) / 2
adam = adam_steps(lambda x: steep * x, start, rate=0.2, steps=60)
calm = adam_steps(lambda x: steep * x, start, rate=0.2, steps=60, beta1=0.0)
plain = torch.stack([start * (1 - 0.09 * steep) ** t for t in range(61)])
paths = {"plain steps": plain, "Adam": adam, "Adam without momentum": calm}
valley = {name: [(x, y) for x, y in path.tolist()] for name, path in paths.items()}
pictures.valley(lambda x, y: (20 * x**2 + 0.05 * y**2) / 2, valley, "steep direction x", "flat direction y")

# %%
loss_at = {name: (steep * path**2).sum(-1) / 2 for name, path in paths.items()}
falling = {name: [(t, max(y, 1e-10)) for t, y in enumerate(ys.tolist())] for name, ys in loss_at.items()}
pictures.lines(falling, "step", "loss (logarithmic)", log="y")

# %% [markdown]
# The plain steps use nearly the largest rate that doesn't blow up: they bounce across the steep direction and crawl
# along the flat one. Adam covers both directions at about the same speed, then swings past the goal and back. That
# swing is the momentum. Without it (`beta1=0`) the path comes in without a swing, and on this smooth valley it ends far
# closer to the goal. This valley lies exactly along the two axes, so a rate for each weight is all it needs. Momentum
# is meant for valleys that lie askew, and for noisy gradients, where an average says more than the latest example.
#
# Does our function do what the library's does?

# %% tags=["nbval-check-output"]
x = torch.nn.Parameter(start.clone())
library = torch.optim.Adam([x], lr=0.2, betas=(0.9, 0.95))
for _ in range(60):
    x.grad = steep * x.detach()
    library.step()
print("ours and the library's differ by less than 1e-5:", bool((x - adam[-1]).abs().max() < 1e-5))

# %% [markdown]
# ### Weight decay, the W in AdamW
#
# **Weight decay** pulls every weight a little towards 0 at each step, whatever the gradient says: multiply it by $1 -
# \text{rate} \cdot \text{decay}$. A weight stays large only if the gradient keeps pushing it up. A pull towards
# simpler models is a form of **regularization**, a guard against learning a text by heart.
#
# Why does it need a letter of its own? If you add the pull to the gradient, Adam divides it by √v like everything else,
# and weights with large gradients hardly decay. Loshchilov and Hutter (2017) applied it *beside* Adam's step, and
# called the result **AdamW**. PyTorch's `AdamW` does this with a decay of 0.01 unless you say otherwise. With decay 0,
# AdamW *is* Adam. We train without decay in this notebook: `TrainConfig.weight_decay` is 0 by default, because with
# stories that are all new, there's nothing to learn by heart. With your own text, at the end, try another value. Here
# is weight decay alone: on a weight whose gradient is 0.

# %% tags=["nbval-check-output"]
for decay in (0.0, 0.01, 0.1):
    w = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = torch.optim.AdamW([w], lr=0.1, weight_decay=decay)
    for _ in range(100):
        w.grad = torch.zeros(1)
        optimizer.step()
    by_hand = (1 - 0.1 * decay) ** 100
    print(f"weight decay {decay:4}: 1 becomes {w.item():.4f} after 100 steps, by hand {by_hand:.4f}")

# %% [markdown]
# ### Muon
#
# **Muon** (Jordan 2024) treats a whole matrix at once. The averaged gradient of a matrix tends to have a few strong
# directions and many weak ones. How far a matrix stretches along each of its main directions is called a **singular
# value**. Muon replaces the gradient by a matrix with the same directions, but with all singular values near 1, so
# that weak directions are learned as fast as strong ones. Below, the largest is less than twice the smallest.

# %% tags=["nbval-check-output"]
gradient = torch.diag(torch.tensor([8.0, 2.0, 0.5, 0.1]))  # four directions, one much stronger than the rest
matrix = torch.nn.Parameter(torch.zeros(4, 4))
matrix.grad = gradient
torch.optim.Muon([matrix], lr=1.0, weight_decay=0.0, momentum=0.0, nesterov=False).step()
sizes = torch.linalg.svdvals(matrix.detach())
print("the gradient's singular values:", [round(x, 2) for x in torch.linalg.svdvals(gradient).tolist()])
print("in the step, largest / smallest is below 2:", bool(sizes[0] / sizes[-1] < 2))

# %% [markdown]
# Muon is for the matrices inside the blocks. The embedding table stays with AdamW, because its rows are looked up one
# at a time; so do the gains and biases, which aren't matrices. That's why a run with Muon has two learning rates,
# `muon_lr` for the matrices and `learning_rate` for everything else.
#
# ## By hand, 4: small at first, small at the end
#
# At first the running means know nothing, so the rate grows from near 0: the **warm-up**. At the end the jumping
# around the goal should die down, so the rate falls to near 0: the **learning-rate decay**. It shares a word with
# weight decay and nothing else. One shrinks the step, the other the weights.
#
# ### Your turn: Warm up, then decay
#
# `training.4` · *core* · 10 minutes
#
# Ours, which comes in a moment, falls in a straight line. Many published runs let it fall along half a cosine wave.
# Write that one: from step 0 to `warmup` in a straight line, where step 0 already has 1/`warmup` of `highest`; then
# $\frac{1}{2}(1 + \cos \pi x)$, with $x$ from 0 at step `warmup` to 1 at step `steps`, from `highest` down to `lowest`.
# All arguments are numbers. The worked example: with 110 steps, a warm-up of 10, highest 1 and lowest 0, the rate is
# 0.1 at step 0, 1 at step 9 and 0.5 at step 60.


# %% tags=["nbval-check-output"]
def learning_rate(step, steps, warmup, highest, lowest): ...


check("training.4", learning_rate)


# %% [markdown]
# And here is the straight one that we train with. In the picture, look for the three parts: up, level, down.


# %%
def multiplier(step, steps, warmup, decay_fraction):
    if step < warmup:
        return (step + 1) / warmup
    return min(1.0, (steps - step) / (decay_fraction * steps))


settings = dict(learning_rate=8e-3, muon_lr=0.04, warmup=30)
plan = TrainConfig(steps=400, optimizer="muon", evaluate_every=25, **settings)
pictures.rate(plan)

# %% [markdown]
# The picture was drawn by the package's `lr_multiplier`. Is it the same function?

# %% tags=["nbval-check-output"]
ours = [multiplier(step, 400, 30, plan.decay_fraction) for step in range(400)]
theirs = [schedule.lr_multiplier(step, plan) for step in range(400)]
print("equal at every step:", all(math.isclose(a, b) for a, b in zip(ours, theirs, strict=True)))
print("first, highest, last:", round(theirs[0], 4), max(theirs), round(theirs[-1], 4))

# %% [markdown]
# ## The floor
#
# Our fables are generated by a grammar, and each of its choices has a known probability. So every story carries its
# own exact surprise. In the next picture the shade of a word is what it costs a reader who knows the grammar and
# remembers everything before it. Look at the second mention of a name or an animal.

# %%
fable = fables.tell(1, seed=4)[0]
ids = tokenizer.encode(fable.text)
pieces = [tokenizer.token_bytes(i).decode() for i in ids]
starts = [0, *itertools.accumulate(len(piece) for piece in pieces)]
nats = [sum(m.nats for m in fable.choices if a <= m.start < b) for a, b in itertools.pairwise(starts)]
pictures.surprise(pieces, nats, marks=fable.marks)

# %% [markdown]
# There are three kinds of words. **Free choices** are underlined, and the darker they are, the harder to guess: nobody
# can know which animal will live in the valley. **Recalled** facts have a dotted underline: when the animal is named
# again, an attentive reader isn't surprised at all. Everything else is **form**: after *there* only *lived* can come.

# %% tags=["nbval-check-output"]
generated = fables.tell(2000, seed=6)
print(f"this story:                {fable.nats:.2f} nats")
print(f"mean of 2,000 stories:     {sum(f.nats for f in generated) / 2000:.1f} nats")
print(f"the grammar's own entropy: {fables.entropy():.2f} nats")

# %% [markdown]
# The last number is the surprise that a story holds on average for a reader who knows the grammar. Suppose a model
# trains for a very long time. Where does its loss on new stories go?

# %% tags=["nbval-check-output"]
predict("training.b", ...)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Towards the entropy of the grammar, from above, and all the way if the model is large enough. A mean loss below it on
# many new stories means that the test is broken: the model has seen the answers.
# </details>
#
# So the entropy of the grammar is a floor, and the distance to it, the **excess**, is all there is left to learn. Few
# texts let you compute their floor. With this one, every loss curve tells you how far it is from perfect.
#
# ## One run, from beginning to end
#
# A batch holds sixteen stories, one per row. Every story is freshly generated, so none is seen twice. In
# the usual words: the whole run is one epoch, one pass over the data.
#
# ### Your turn: What comes next?
#
# `training.2` · *warm-up* · 5 minutes
#
# At each position the model predicts the token that comes next. Cut `ids`, [B, T + 1], into inputs and targets, both
# [B, T]. The worked example: `[[5, 8, 2]]` gives `[[5, 8]]` and `[[8, 2]]`.


# %% tags=["nbval-check-output"]
def inputs_and_targets(ids): ...


check("training.2", inputs_and_targets)

# %%
stories = fables.tell(plan.steps * 16, seed=1000)
documents = [[*tokenizer.encode(story.text), end] for story in stories]
batches = StoryBatches(documents, B=16, start=end, shuffle=False)
ids, targets = batches.batch(0)
print("ids", tuple(ids.shape), "targets", tuple(targets.shape), "= [B, T]")
print("row 0 reads: ", [tokenizer.decode([i]) for i in ids[0, 1:6].tolist()])
print("and predicts:", [tokenizer.decode([i]) for i in targets[0, 1:6].tolist()])
print("targets of -100, where a shorter row is padded:", int((targets == -100).sum()))

# %% [markdown]
# Rows have different lengths, so the shorter ones are padded. Their targets there are −100, which tells the loss to
# leave them out; otherwise the model would spend its effort on predicting padding.
#
# Now the loop, for one optimizer. (With Muon there are two, each with its own highest rate.) It is what you did by
# hand, with names:
#
# ```python
# for step in range(config.steps):
#     for group in optimizer.param_groups:
#         group["lr"] = config.learning_rate * lr_multiplier(step, config)
#     ids, targets = batches.batch(step)
#     loss = model(ids, targets)[1]                     # how surprised?
#     loss.backward()                                   # which way is down? (notebook 09)
#     nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
#     optimizer.step()                                  # a little that way
#     optimizer.zero_grad()                             # forget this gradient
# ```
#
# One line is new. **Gradient clipping** shortens a gradient that is longer than `max_grad_norm` and keeps its
# direction, so that one strange batch can't throw the model far off.
#
# In the package this loop is `training.run`. It pauses after every step, so you can stop, look at the model and go on;
# `training.with_progress` lets it run for some steps and prints how it goes. (If you don't want to look in between,
# `training.train` does both.) Every 25 steps our function `look` measures how far above the floor the model is on 48
# stories that it never trains on: in total, and for five facts that have to be recalled. Each fable has two animals in
# it. The *finder* finds a thing at a *spot*, the *other* one asks for it, and *home* is where they live.

# %%
judge = StoryEvaluation(fables.tell(48, seed=1), tokenizer, end)
watched = ("home", "spot", "other.animal", "finder.animal", "finder.trait")


def look(model):
    by_fact = judge.by_fact(model)  # nats per story above the floor, for each (kind, fact)
    return judge.summary(by_fact) | {fact: by_fact["recalled", fact] for fact in watched}


torch.manual_seed(1)
model = GPT(config)
running = training.run(model, batches, plan, evaluate=look)
history = training.with_progress(running, steps=150)
print(f"first loss {history.losses[0]:.2f} nats per token; expected: within 0.3 of ln V = {math.log(V):.2f}")

# %% [markdown]
# We've paused after 150 steps. What does it write by now? Here are three stories, each followed by the verdict of
# `fables.read`, which knows the grammar: first whether the *form* is right, then the first contradiction of a fact.
# Where it speaks of the *hero* and the *friend*, it means the first and the second animal of a story, whichever of the
# two turns out to be the finder. Read the stories yourself before you believe it.

# %%
for text in sampling.tell_stories(model, tokenizer, n=3, end=end, seed=3):
    reading = fables.read(text)
    print(textwrap.fill(text, width=100))
    print("    form:", "right" if reading.form_error is None else reading.form_error)
    print("    facts:", reading.contradictions[0] if reading.contradictions else "no contradiction found", "\n")

# %% [markdown]
# Where a story's form is right and its facts aren't, you see a model that has learned *how* fables go before it has
# learned to remember *this* fable. Which words cost it more than they must? Compare the bars marked as recalled with
# the rest.

# %%
pictures.by_fact(judge.by_fact(model), k=10, title="After 150 steps: nats per story above the floor")

# %% [markdown]
# That's a snapshot. Let it go on to the end.

# %%
history = training.with_progress(running, steps=plan.steps - history.steps)
last = history.evaluations[-1]
print(f"{last['excess']:.1f} nats per story above the floor; expected: between 0.5 and 4")
if not 0.5 <= last["excess"] <= 4:
    print("Outside that range: with a changed setting that is your result; otherwise look at the curves below.")

# %%
pictures.excess(history, top=60, fall=False, title="Nats per story above the best possible loss")

# %% [markdown]
# Three layers, from bottom to top: form, recalled facts, free choices. Watch which one vanishes first, and which one
# makes up most of the height for most of the run. Form should be nearly gone long before the run ends, and what
# remains should be mostly recall. So let's look at recall fact by fact, and above all for stretches where a curve is
# nearly level.

# %%
unit = "nats per story above the floor"
pictures.training(history, what=watched, unit=unit, top=4, title="Recall, fact by fact")

# %% [markdown]
# This is the picture of the whole notebook. Several of these curves have a stretch that is nearly level. It is
# clearest for the two animals: there the model knows *that* an animal has to be named, but not which one. There are
# twenty animals, some a little more common than others, and a guess by their frequencies costs about 2.9 nats; compare
# the level at which the two curves wait. Then the curve falls, for some facts to almost nothing. We read each fall as
# the time in which the model finds out how to look back: *this name stood there before, and here is what came with
# it*. The facts don't all drop together, because they aren't equally hard. Where a story is set has one answer; an
# animal or a trait has two candidates per story, and the model has to find the right one of the two. A model that
# knows the two and tosses a fair coin loses ln 2, about 0.69 nats.
#
# Attention heads that do this kind of looking back were described by Elhage et al. (2021), who named them **induction
# heads**. Olsson et al. (2022) saw them form, within a narrow window of training, in models of many sizes. Notebook
# 13, still to come, will look for the heads in ours.
#
# Why does the last nat matter? If recall costs x nats per story, a story is free of slips with a probability of roughly
# exp(−x). At one nat, about two stories out of three have a slip. Compare that with the hundred stories below.
#
# ## Is it any good? A hundred stories

# %%
samples = sampling.tell_stories(model, tokenizer, n=100, end=end, seed=0)
readings = [fables.read(text) for text in samples]
formed = sum(reading.form_error is None for reading in readings)
flawless = sum(reading.error is None for reading in readings)
print(f"right in form:             {formed} of 100; expected: at least 80")
print(f"and without contradiction: {flawless} of 100; expected: between 10 and 80")

# %%
print(textwrap.fill(samples[0], width=100), "\n")
slips = [reading.contradictions[0] for reading in readings if reading.contradictions]
for slip in slips[:4]:
    print("·", slip)

# %% [markdown]
# Those are the mistakes that the curves promised. The model that wrote a story for you in notebook 00 lies in
# `data/models/fables`: the same kind of model, a little wider, after a longer run.
#
# ## Break it: the targets are not shifted
#
# A classic mistake in a training loop is an off-by-one: each position is asked to predict the token that it *sees*. You
# met it in notebook 08 as one fault among eight. What does its loss curve look like?

# %% tags=["nbval-check-output"]
predict("training.c", ...)


# %% tags=["answers-prediction"]
class Unshifted:
    def batch(self, step):
        ids, _ = batches.batch(step)
        return ids, ids  # the mistake


torch.manual_seed(1)
broken = GPT(config)
brief = TrainConfig(steps=40, learning_rate=8e-3, warmup=5, evaluate_every=0)
wrong = training.train(broken, Unshifted(), brief, progress=False)
per_token = fables.entropy() / (sum(map(len, documents)) / len(documents))  # the floor, in nats per token
pictures.training({"targets not shifted": wrong}, floor={"entropy floor": per_token}, log=True)

# %% [markdown]
# <details><summary>Answer</summary>
#
# It falls to almost nothing, far below the floor, because copying is easy. A beautiful curve, and a model that can
# only repeat itself. The first point was a warning already: it is well below ln V, because a model that reads and
# answers with the same table leans towards the token that it sees. **A loss below the floor isn't a success. It is an
# alarm.** Most of the time you don't know the floor; then reading a sample is the test.
# </details>

# %% tags=["nbval-check-output"]
prompt = torch.tensor([[end, *tokenizer.encode("Once")]])
continuation = sampling.generate(broken, prompt, max_new_tokens=5, temperature=0)[0, 1:]
print("below the floor:", wrong.losses[-1] < per_token)
print("how it continues Once:", tokenizer.decode(continuation.tolist()))

# %% [markdown]
# ## What does each knob do?
#
# Which hyperparameter should you tune first? Let's try a smaller model, a second or two per run. Each point is the
# **validation loss**, taken on stories that were not trained on. The horizontal axis is logarithmic, and the dotted
# line is the floor. Where is the curve lowest, and which side of that point is the steep one?

# %%
held_out = [[*tokenizer.encode(f.text), end] for f in fables.tell(32, seed=2)]
validation = StoryBatches(held_out, B=32, start=end, shuffle=False)


def short_run(seed=2, **changes):
    """The validation loss of a small model after a short run."""
    torch.manual_seed(seed)
    small = GPT(GPTConfig.modern(V, 160, n_layer=1, n_head=4, n_embd=64, convolution=4))
    config = TrainConfig(**{"steps": 50, "learning_rate": 8e-3, "warmup": 10, "evaluate_every": 0} | changes)
    training.train(small, StoryBatches(documents, 8, start=end, seed=seed), config, progress=False)
    return mean_loss(small, validation)


tried = (5e-4, 2e-3, 8e-3, 3e-2, 0.2)
points = {"one run each": [(rate, short_run(learning_rate=rate)) for rate in tried]}
level = {"entropy floor": per_token}
pictures.lines(points, "learning rate (logarithmic)", "validation loss (nats per token)", level=level, log="x")

# %% [markdown]
# Too small is very slow, and that side is the steep one here. On the right the curve is almost flat: with one run per
# point, the last difference may be luck. The rate is the first knob to turn, and in factors of two or more: a change
# of ten percent isn't worth a run.
#
# What about the others? Their effects are smaller, so one run each would rank luck. Here are three seeds per setting,
# and the spread beside the mean.

# %%
knobs = {
    "as above": {},
    "no warm-up": dict(warmup=0),
    "no learning-rate decay": dict(decay_fraction=0.0),
    "Muon for the matrices": dict(optimizer="muon", muon_lr=0.04),
}
rows = []
for name, changes in knobs.items():
    losses = [short_run(seed, **changes) for seed in (1, 2, 3)]
    rows.append((name, f"{sum(losses) / 3:.2f}", f"{min(losses):.2f} to {max(losses):.2f}"))
caption = f"validation loss in nats per token after 50 steps; the floor is {per_token:.2f}"
pictures.table(rows, ["setting", "mean of 3", "from … to"], align="lrr", caption=caption)

# %% [markdown]
# Where two ranges overlap, this experiment can't tell the settings apart. Where they don't, it tells you about fifty
# steps of a small model and nothing more. Warm-up and learning-rate decay are habits of long runs and deep models,
# and a run as short as this one may well do as well or better without them. That's worth remembering when you read a
# claim about optimizers: how many seeds, how long, and did each setting get its own best rate?
#
# ## Your own text
#
# So far every story was new. Your own text isn't like that: it has an end, and the model will see it again and again.
# Here is the whole way in nine short cells. Put the path of any text file in place of `"pydocs"`, Python's manual, which
# comes with Python itself. (`"shakespeare"` works too; it is downloaded once.)

# %%
text = corpora.load("pydocs").text[:30_000]  # or corpora.load("my_text.txt").text

# %% [markdown]
# **Tokenize**, with a vocabulary learned from this text, and cut off the last tenth for validation.

# %%
own_tokenizer = BPETokenizer.train(text, vocab_size=500)
seen, unseen = split(own_tokenizer.encode(text), 0.9)
print(f"{len(seen):,} tokens to train on, {len(unseen):,} for validation, V = {own_tokenizer.vocab_size}")

# %% [markdown]
# **Train.** The model is a small GPT-2, with the parts of notebook 08, so that notebook 12 can export it to other
# libraries. `both` measures the loss on a stretch of the training text and on the part that was cut off.

# %%
torch.manual_seed(0)
own = GPT(GPTConfig(own_tokenizer.vocab_size, context=64, n_layer=2, n_head=4, n_embd=96))
own_plan = TrainConfig(steps=140, optimizer="muon", learning_rate=6e-3, warmup=20, evaluate_every=20)
print(f"{own_plan.steps * 16 * 64 / len(seen):.0f} passes over the text")

# %%
parts = {"training": seen[: len(unseen)], "validation": unseen}
measured = {name: Batches(ids, B=16, T=64, order="ordered") for name, ids in parts.items()}


def both(model):
    return {name: mean_loss(model, ids) for name, ids in measured.items()}


own_history = training.train(own, Batches(seen, B=16, T=64), own_plan, evaluate=both)

# %% [markdown]
# **Look at both curves**, and at the gap between them.

# %%
pictures.training(own_history, what=["training", "validation"], unit="nats per token")

# %%
best = min(own_history.evaluations, key=lambda e: e["validation"])
final = own_history.evaluations[-1]
print(f"validation was lowest at step {best['step']}, with {best['validation']:.2f} nats per token")
print(f"at the end: validation {final['validation']:.2f}, training {final['training']:.2f}")
grew = final["validation"] > best["validation"] + 0.02
print("and since then it has risen: overfitting" if grew else "and it has not risen since: a longer run may still help")

# %% [markdown]
# While both curves fall, the model learns something about texts of this kind. Once the training loss goes on falling
# and the validation loss stalls or rises, the model is learning *this* text by heart. That is **overfitting**, and only
# the second curve shows it (the last line above asks only whether validation has *risen*; a stall under a widening gap
# is the same sign): never judge a model on the text it was trained on. The remedies: more text; fewer passes, which
# means stopping where validation was lowest; a smaller model; dropout (08) and weight decay. How much text is enough?
# [Muennighoff et al. (2023)](https://arxiv.org/abs/2305.16264) found that up to about four passes are nearly as good as
# fresh text. For a run as long as ours that would be a text of about a hundred thousand characters.
#
# **Save, reload, generate.** The folder below is temporary; choose one of your own, and the model is still there
# tomorrow.

# %%
folder = f"{tempfile.mkdtemp()}/my_model"
checkpoints.save_model(own, folder, own_tokenizer)

# %%
reloaded, its_tokenizer = checkpoints.load_model(folder)
probe = torch.tensor([seen[:20]])
with torch.no_grad():
    print("the same logits after reloading:", torch.equal(reloaded.eval()(probe)[0], own.eval()(probe)[0]))

# %%
beginning = text.split()[0]  # the first word of the text; any other will do
print(beginning, end="")
prompt = its_tokenizer.encode(beginning)
for piece in sampling.stream(reloaded, its_tokenizer, prompt, max_new_tokens=80, temperature=0.8):
    print(piece, end="", flush=True)

# %% [markdown]
# Don't expect much sense from thirty thousand characters and a few seconds. Look for what it did pick up: line
# lengths, quotation marks, words that exist. The same on the command line, with a longer run and the same kind of
# folder at the end:
#
# ```
# python3 -m gptlab train my_text.txt --parts gpt2
# python3 -m gptlab sample runs/my_text --prompt "Once"
# ```
#
# Notebook 16 starts from a text that you choose, and asks what the model has memorised of it.
#
# ## Exercises
#
# You've done three in the flow; the numbers follow the list in `progress`, not the page. The others are here;
# `hint("training.3")` and `solution("training.3")` help (import them from `gptlab.exercises`).
#
# ### Your turn: Padding does not count
#
# `training.3` · *warm-up* · 10 minutes
#
# `losses` is a float tensor [B, T], `targets` an integer tensor [B, T] in which −100 marks padding. Give the mean loss
# over the targets that count, each token with the same weight whichever row it is in. The worked example: losses
# `[[1, 3, 9], [2, 9, 9]]` with targets `[[4, 7, -100], [5, -100, -100]]` give (1 + 3 + 2) / 3 = 2.


# %% tags=["nbval-check-output"]
def mean_of_counted(losses, targets): ...


check("training.3", mean_of_counted)

# %% [markdown]
# ### Your turn: A gradient that is too long
#
# `training.5` · *stretch* · 10 minutes
#
# All gradients of a model together are one long vector. If it is longer than `longest`, shorten it to that length and
# keep its direction; otherwise leave it. `gradients` is a list of float tensors of any shapes; give new tensors of the
# same shapes. The worked example: `[[3.0], [4.0]]` has length 5, so with `longest` 1 it becomes `[[0.6], [0.8]]`.


# %% tags=["nbval-check-output"]
def clip(gradients, longest): ...


check("training.5", clip)

# %% [markdown]
# ### Your turn: Perplexity
#
# `training.6` · *warm-up* · 5 minutes
#
# e to the power of the mean loss per token. `losses` is a list with the mean loss of each batch in nats per token,
# `counts` a list with the number of tokens in each. The worked example: losses `[0.0, ln 4]` with counts `[1, 1]` give
# a mean of ln 2 and so a perplexity of 2.


# %% tags=["nbval-check-output"]
def perplexity(losses, counts): ...


check("training.6", perplexity)

# %% [markdown]
# ### Your turn: One step of AdamW, by hand
#
# `training.7` · *stretch* · 25 minutes
#
# Give the new `(w, m, v)` after one step; all three and `g` are float tensors of one shape, and `m` and `v` come back
# uncorrected. Unlike our `adam_steps`, this one has weight decay, `w` times $1 - \text{lr} \cdot \text{decay}$ before
# Adam's own step, and an `eps` that matters. `step` is 1 for the first, `betas` a pair. The worked example: w = 1,
# g = 0.5, m = v = 0, step 1, lr 0.1, eps 1e-8 and decay 0.1 give a new w of 1 · 0.99 − 0.1 = 0.89.


# %% tags=["nbval-check-output"]
def adamw_step(w, g, m, v, step, lr, betas, eps, decay): ...


check("training.7", adamw_step)

# %% [markdown]
# ### Your turn: How far above the floor?
#
# `training.8` · *warm-up* · 5 minutes
#
# `story_nats` and `floor_nats` are lists with the model's total loss and the floor of each story, `tokens` their
# lengths. How many nats per token is the model above the floor, over all tokens together? The worked example: losses
# `[30, 24]`, floors `[27, 24]` and lengths `[100, 50]` give 3 / 150 = 0.02.


# %% tags=["nbval-check-output"]
def excess(story_nats, floor_nats, tokens): ...


check("training.8", excess)

# %% [markdown]
# **Without a check (stretch):** can you get below our excess in the same 400 steps? Change one thing in `plan` or in
# `config`, write down what you expect, and run the training cells again – with three seeds, before you believe it.

# %%
progress("training")

# %%
recap("training")

# %% [markdown]
# ## What to remember
#
# - The loss is the mean surprise, −ln p of the token that came. The first one is near ln V.
# - Adam keeps two running means per weight, of the gradient (momentum) and of its square; AdamW adds weight decay, and
#   Muon evens out the directions of a matrix.
# - The learning rate warms up, stays, and decays. That has nothing to do with weight decay.
# - The loss has a floor, the entropy of the text. Below it there's a leak, or a text known by heart.
# - Form comes first. Recall comes later, fact by fact.
# - Judge a model on text it has not seen, and read what it writes.
#
# **New terms, and what they are called elsewhere**
#
# | here | elsewhere |
# |---|---|
# | loss, nats per token | cross-entropy, negative log-likelihood (NLL); its exponential is the perplexity |
# | learning rate | `lr`, step size, η |
# | momentum, `beta1` | first moment; `beta2` belongs to the second moment |
# | weight decay | decoupled L2 regularization, `weight_decay` |
# | learning-rate decay | annealing, cool-down; our three-part schedule is called WSD (warm-up, stable, decay) |
# | gradient clipping | `clip_grad_norm_`, `max_grad_norm` |
# | validation loss | held-out loss, `eval_loss` |
# | epoch | one pass over the data |
# | entropy floor, excess | entropy of the data, reducible loss |
#
# **Three questions**
#
# 1. Why must targets in the padding be ignored?
#
# <details><summary>Answer</summary>
#
# The model would learn to predict padding, and the mean would depend on how long the longest row is.
# </details>
#
# 2. Two models have losses of 0.30 and 0.29 nats per token, and the floor is 0.28. How much better is the second?
#
# <details><summary>Answer</summary>
#
# It has half the excess: 0.01 in place of 0.02.
# </details>
#
# 3. The loss jumps to NaN at step 40. What do you try first?
#
# <details><summary>Answer</summary>
#
# A smaller learning rate or a longer warm-up. `training.run` stops there and names the step, the rate and the norm of
# the gradient.
# </details>
#
# **To go deeper:** Andrej Karpathy, [Let's reproduce GPT-2](https://www.youtube.com/watch?v=l8pRSuU81PU) (2024), the
# part on optimization; Loshchilov and Hutter, [Decoupled Weight Decay Regularization](https://arxiv.org/abs/1711.05101)
# (2017); Olsson et al., [In-context Learning and Induction Heads](https://arxiv.org/abs/2209.11895) (2022), on how such
# heads form; Keller Jordan, [Muon](https://kellerjordan.github.io/posts/muon/) (2024).
#
# ## Next
#
# The model gives a probability to every possible next token, and `tell_stories` sampled from them without a question.
# What happens if you always take the likeliest? Or make the unlikely ones likelier? And does the model really have to
# read the whole story again for each new word? [Notebook 11](11_sampling.ipynb) opens that box.
