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
# *You take a model that knows nothing, show it stories, and watch it learn to tell them, with the best possible loss
# drawn into every curve.*

# %%
from gptlab import pictures

pictures.pipeline("training")

# %% [markdown]
# **What you can do after it:** write the loss, the schedule and the training loop from an empty cell; read a loss curve;
# say how far a model is from perfect; and tell from two numbers what it still gets wrong.
#
# **What it builds on:** batches (04), the model (08). Sampling, which we use to let the model tell a story, is a box that
# we open in 10.
#
# **Cost:** about two minutes on two CPU cores from top to bottom, most of it one training run; under 1 GB of memory.

# %% [markdown]
# Three questions about earlier notebooks, if you like. Put your letters in place of the dots.

# %%
from gptlab.exercises import check, find, hint, predict, quiz, recap, solution  # noqa: F401

quiz("training", [..., ..., ...])

# %%
import itertools
import math
import textwrap

import torch
import torch.nn.functional as F

from gptlab import sampling, schedule, training
from gptlab.batches import StoryBatches
from gptlab.bpe import BPETokenizer
from gptlab.corpora import fables
from gptlab.evaluation import StoryEvaluation, mean_loss
from gptlab.model import GPT, GPTConfig
from gptlab.training import TrainConfig

_ = torch.manual_seed(0)

# %% [markdown]
# ## The question
#
# You have built a model in notebook 08. It turns token ids into logits, and it has never seen a story. (`GPT` below
# is that model.) Here is what it tells you.

# %%
tokenizer = BPETokenizer.train(fables.book(), vocab_size=859, special_tokens=("<|endoftext|>",))
end = tokenizer.special_tokens["<|endoftext|>"]
V = tokenizer.vocab_size
config = GPTConfig.modern(V, context=160, n_layer=2, n_head=8, n_embd=128, convolution=4)
model = GPT(config)
story = sampling.tell_stories(model, tokenizer, n=1, end=end, max_new_tokens=40)[0]
print(textwrap.fill(repr(story[:150]), width=100))

# %% [markdown]
# Every token comes out as often as every other. Nothing is wrong with the code. The numbers inside the model are still
# the random ones it began with, and nobody has told it which of them to change.
#
# So three things are missing: a number that says how bad the model is, a way to make that number smaller, and the
# patience to do it many times.

# %% [markdown]
# ## By hand, 1: how surprised is the model?
#
# Take the smallest case. The vocabulary has four tokens, the model has given one logit to each, and the token that
# really came next is number 2.

# %%
logits = torch.tensor([1.0, 0.0, 2.0, -1.0])
target = 2
p = logits.exp() / logits.exp().sum()
print("probabilities:", [round(x, 3) for x in p.tolist()])
print("surprise:     ", round(-math.log(p[target]), 3), "nats")

# %% [markdown]
# The model gave the right token the largest probability, and it was not certain. We measure its surprise as
#
# $$ -\ln p_{\text{target}} $$
#
# in **nats**: 0 if it was certain and right, large if it had thought the token impossible. (With a logarithm of base 2
# the unit would be bits; one nat is about 1.44 bits. The idea is Shannon's, 1948.)
#
# The mean surprise over many tokens is the **loss**, and its name in the library is *cross-entropy*.
#
# *Before you run the next cell:* a model that knows nothing gives each of V tokens the same probability, 1/V. What is its
# loss for V = 65?

# %%
predict("training.a", ...)

# %% [markdown]
# <details><summary>The answer</summary>
#
# −ln(1/65) = ln 65, a little above 4. Whenever you start a training, look at the first loss: if it is not near ln V, stop
# and find out why.
# </details>

# %% tags=["nbval-check-output"]
print("by hand:    ", round(-math.log(p[target]), 4))
print("the library:", round(F.cross_entropy(logits[None], torch.tensor([target])).item(), 4))
print("ln 65:      ", round(math.log(65), 4), " ln V:", round(math.log(tokenizer.vocab_size), 4))

# %% [markdown]
# ## By hand, 2: which way is down?
#
# Each logit can go up or down. The **gradient** says, for each, how the loss changes when that logit grows a little. For
# this loss it has a form that you can read:
#
# $$ \frac{\partial\,\text{loss}}{\partial\,\text{logit}_i} = p_i - [\,i = \text{target}\,] $$
#
# The probability that a token got, minus 1 for the one that was right. PyTorch finds the same without being told.

# %% tags=["nbval-check-output"]
z = logits.clone().requires_grad_()
F.cross_entropy(z[None], torch.tensor([target])).backward()
by_hand = p.clone()
by_hand[target] -= 1
print("by hand: ", [round(x, 4) for x in by_hand.tolist()])
print("autograd:", [round(x, 4) for x in z.grad.tolist()])

# %% [markdown]
# To make the loss smaller, walk against the gradient: `logits -= rate * gradient`. The **learning rate** is the length
# of the step. The cell takes twenty steps with each of three rates.

# %%
curves = {}
for rate in (0.1, 1.0, 12.0):
    z, curves[f"rate {rate}"] = logits.clone(), training.History()
    for _ in range(20):
        p = z.softmax(-1)
        curves[f"rate {rate}"].losses.append(-math.log(p[target]))
        z = z - rate * (p - F.one_hot(torch.tensor(target), 4))
pictures.training(curves, smooth=1, unit="surprise (nats)", title="One prediction, three learning rates")

# %% [markdown]
# With one target there is no rate that is too large: certainty is the optimum, and every step leads towards it. Real
# text is different, because the same beginning goes on in several ways. Let the token be 2 three times out of four, and
# 0 otherwise, drawn anew at each step.

# %%
curves, draws = {}, torch.rand(60, generator=torch.Generator().manual_seed(1))
for rate in (0.1, 1.0, 12.0):
    z, curves[f"rate {rate}"] = logits.clone(), training.History()
    for u in draws.tolist():
        p = z.softmax(-1)
        expected = -0.75 * math.log(p[2] + 1e-9) - 0.25 * math.log(p[0] + 1e-9)
        curves[f"rate {rate}"].losses.append(expected)
        z = z - rate * (p - F.one_hot(torch.tensor(2 if u < 0.75 else 0), 4))
floor = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
best = {"nobody can do better": floor}
pictures.training(curves, floor=best, smooth=1, unit="mean surprise (nats)", top=6)

# %% [markdown]
# What to see: the smallest rate is still on its way. The middle one arrives early, and trembles. The largest jumps
# over the goal each time that the draw changes, often out of the picture. And no curve goes below the dotted line: a
# token that is drawn by lot cannot be known, and what it costs on average is called the **entropy** of the draw. Keep
# that line in mind. It is the reason why we tell our own stories.

# %% [markdown]
# ## By hand, 3: better steps
#
# The plain step has a weakness. (To see it we take a loss of two weights, shaped like a long valley; its formula is
# in the code.) Where one direction is steep and another flat, a rate that is safe for the first is slow in the
# second. **AdamW** (Kingma & Ba 2014; Loshchilov & Hutter 2017) keeps two running averages for each weight, of its
# gradient and of its square, and divides the one by the root of the other. Every weight then moves about as far as
# every other.

# %%
def adam_steps(gradient, start, rate, steps, beta1=0.9, beta2=0.95):
    x, m, v, path = start.clone(), torch.zeros(2), torch.zeros(2), [start.clone()]
    for t in range(1, steps + 1):
        g = gradient(x)
        m = beta1 * m + (1 - beta1) * g  # where to
        v = beta2 * v + (1 - beta2) * g**2  # how steep, on average
        x = x - rate * (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + 1e-8)
        path.append(x.clone())
    return torch.stack(path)


steep = torch.tensor([20.0, 0.05])  # loss = (20 x² + 0.05 y²) / 2
adam = adam_steps(lambda x: steep * x, torch.tensor([1.0, 4.0]), rate=0.2, steps=60)
plain = torch.stack([torch.tensor([1.0, 4.0]) * (1 - 0.09 * steep) ** t for t in range(61)])
loss_at = {"plain steps": (steep * plain**2).sum(-1) / 2, "AdamW": (steep * adam**2).sum(-1) / 2}
runs = {name: training.History(losses=losses.tolist()) for name, losses in loss_at.items()}
pictures.training(runs, smooth=1, unit="loss", log=True)

# %% [markdown]
# The plain steps use nearly the largest rate that does not blow up in the steep direction, and crawl in the flat one.
# AdamW comes close to the goal much sooner. Then it swings past it and back, because its steps stay about as
# long as before: that is what a falling rate is for, and the next part brings it. First, the proof that the function
# above does what the library does.

# %% tags=["nbval-check-output"]
x = torch.nn.Parameter(torch.tensor([1.0, 4.0]))
library = torch.optim.AdamW([x], lr=0.2, betas=(0.9, 0.95), weight_decay=0.0)
for _ in range(60):
    x.grad = steep * x.detach()
    library.step()
print("ours and the library's differ by less than 1e-5:", bool((x - adam[-1]).abs().max() < 1e-5))

# %% [markdown]
# **Muon** (Jordan 2024) does for a whole matrix what AdamW does for single numbers. The averaged gradient of a matrix
# usually has a few strong directions, and many weak ones. (How far a matrix stretches along each of its main
# directions is called a **singular value**.) Muon replaces it by the nearest matrix whose singular values are all
# about 1, so that the rare directions are learned as fast as the common ones.

# %% tags=["nbval-check-output"]
matrix = torch.nn.Parameter(torch.zeros(6, 4))
gradient = torch.diag(torch.tensor([8.0, 2.0, 0.5, 0.1]))
matrix.grad = F.pad(gradient, (0, 0, 0, 2))
torch.optim.Muon([matrix], lr=1.0, weight_decay=0.0, momentum=0.0, nesterov=False).step()
sizes = torch.linalg.svdvals(matrix.detach())
print("singular values of the gradient:", [round(x, 2) for x in torch.linalg.svdvals(gradient).tolist()])
print("of the step, largest : smallest below 2:", bool(sizes[0] / sizes[-1] < 2))

# %% [markdown]
# The gradient's largest direction was eighty times its smallest; in the step they are alike. Muon is for the matrices
# inside the blocks. The embedding table stays with AdamW, because its rows are looked up one at a time; so do norms
# and biases, which are no matrices.

# %% [markdown]
# ## By hand, 4: small at first, small at the end
#
# At first the averages know nothing, so the rate grows from zero: the **warm-up**. At the end the jumping around the
# goal should die down, so the rate falls to zero: the **decay**. In between it stays high.

# %%
def factor(step, steps, warmup, decay):
    if step < warmup:
        return (step + 1) / warmup
    return min(1.0, (steps - step) / (decay * steps))


rates = dict(learning_rate=8e-3, muon_lr=0.04, warmup=30)
how = TrainConfig(steps=900, optimizer="muon", evaluate_every=25, **rates)
pictures.rate(how)

# %% [markdown]
# That picture is drawn by the package's `lr_multiplier`. It does what `factor` above does.

# %% tags=["nbval-check-output"]
ours = [factor(step, 900, 30, how.decay_fraction) for step in range(900)]
theirs = [schedule.lr_multiplier(step, how) for step in range(900)]
print("equal at every step:", all(math.isclose(a, b) for a, b in zip(ours, theirs, strict=True)))
print("first, highest, last:", round(theirs[0], 4), max(theirs), round(theirs[-1], 4))

# %% [markdown]
# ## The floor
#
# Our stories are told by a grammar, and each of its choices has a known probability. So a story carries its own exact
# surprise. Here is one. The shade of a word is what it costs somebody who knows the grammar and has read all before it.

# %%
fable = fables.tell(1, seed=4)[0]
ids = tokenizer.encode(fable.text)
pieces = [tokenizer.token_bytes(i).decode() for i in ids]
starts = [0, *itertools.accumulate(len(piece) for piece in pieces)]
nats = [sum(m.nats for m in fable.choices if a <= m.start < b) for a, b in itertools.pairwise(starts)]
pictures.surprise(pieces, nats, marks=fable.marks)

# %% [markdown]
# Three kinds of words. **Free choices** are underlined, and the darker, the harder to guess: nobody can know which
# animal will live in the valley. **Recalled** facts are underlined with dots: the second time the animal is named, a
# reader who paid attention pays nothing. All the rest is **form**: after *there* nothing but *lived* can come.

# %% tags=["nbval-check-output"]
told = fables.tell(2000, seed=6)
print(f"this story:                {fable.nats:.2f} nats")
print(f"mean of 2,000 stories:     {sum(f.nats for f in told) / 2000:.1f} nats")
print(f"the grammar's own entropy: {fables.entropy():.2f} nats")

# %% [markdown]
# That last number is the **floor**. No model, however large, can have a smaller mean loss on new stories. The distance
# to it, the **excess**, is all that is left to learn.
#
# *Before you run on:* a model is trained for very long. Where does its loss on new stories go?

# %%
predict("training.b", ...)

# %% [markdown]
# <details><summary>The answer</summary>
#
# To the entropy of the grammar, from above. A loss below it would mean that the test is broken: the model has seen the
# answers.
# </details>

# %% [markdown]
# ## The tested block: one run
#
# A batch holds sixteen stories, one a row. Each row's target at position t is the token at t + 1; what pads the shorter
# rows is marked with −100, and costs nothing. Every story is told afresh, so none is seen twice.

# %%
stories = fables.tell(900 * 16, seed=1000)
documents = [[*tokenizer.encode(story.text), end] for story in stories]
batches = StoryBatches(documents, B=16, start=end, shuffle=False)
judge = StoryEvaluation(fables.tell(96, seed=1), tokenizer, end)
ids, targets = batches.batch(0)
print("ids", tuple(ids.shape), "targets", tuple(targets.shape), "= [B, T]")
print("row 0 reads: ", [tokenizer.decode([i]) for i in ids[0, 1:6].tolist()])
print("and predicts:", [tokenizer.decode([i]) for i in targets[0, 1:6].tolist()])

# %% [markdown]
# The loop itself is what you did by hand, with names. This is the heart of `training.run`, without its book-keeping:
#
# ```python
# for step in range(config.steps):
#     for group in optimizer.param_groups:
#         group["lr"] = config.learning_rate * lr_multiplier(step, config)
#     ids, targets = batches.batch(step)
#     loss = model(ids, targets)[1]                              # how surprised?
#     loss.backward()                                            # which way is down?
#     nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)  # not longer than this
#     optimizer.step()                                           # a little that way
#     optimizer.zero_grad()                                      # forget the gradient
# ```
#
# Every 25 steps we stop and ask how far above the floor it is, on stories that it never sees: in all, and for five of
# the facts that must be recalled. *Home* is where the two live, *spot* where the thing was found; *finder* is the one
# who found it, and *other* the one who did not. After 250 steps we look.

# %%
watched = ("home", "spot", "other.animal", "finder.animal", "finder.trait")


def look(model):
    by_fact = judge.by_fact(model)
    return judge.summary(by_fact) | {fact: by_fact["recalled", fact] for fact in watched}


torch.manual_seed(1)
model = GPT(config)
running = training.run(model, batches, how, evaluate=look)
history = training.with_progress(running, steps=250)
print(f"first loss {history.losses[0]:.2f} nats a token, ln V {math.log(tokenizer.vocab_size):.2f}")
assert abs(history.losses[0] - math.log(tokenizer.vocab_size)) < 0.3

# %%
early = sampling.tell_stories(model, tokenizer, n=1, end=end, seed=3)[0]
print(textwrap.fill(early, width=100))
print("\nread:", fables.read(early).error)

# %% [markdown]
# It speaks fable. The sentences stand in the right order, quotation marks open and close, each thing is used as one
# uses it. And it forgets: compare the names, the animals and the spot at the end with those at the beginning. The
# reader of the grammar, `fables.read`, names the first place.
#
# Which words cost it more than they must?

# %%
pictures.by_fact(judge.by_fact(model), k=10, title="After 250 steps: nats a story above the floor")

# %% [markdown]
# Form costs little, and most free choices cost almost what they must. The longest bars are recall. (*Finder.kind* is
# whether the finder has a virtue or a vice: it decides between yes and no.) Go on to the end.

# %%
history = training.with_progress(running, steps=how.steps - history.steps)
last = history.evaluations[-1]
print(f"{last['excess']:.1f} nats a story above the floor, after {history.seconds:.0f} s of training")
assert 0.0 < last["excess"] < 2.5

# %%
pictures.excess(history, top=30, fall=False, title="Nats a story above the best possible loss")

# %% [markdown]
# Form is learned at once. Free choices cost something for long, but not much: the model has to count how often a fox
# is a fox. The largest part, almost to the end, is recall. Look at it fact by fact.

# %%
unit = "nats a story above the floor"
pictures.training(history, what=watched, unit=unit, top=3.5, title="Recall, fact by fact")

# %% [markdown]
# This is the picture of the whole notebook. Most recalled facts do not get better little by little. For a while such
# a fact costs as much as a guess: the model knows *that* an animal must be named here, and not which. Then it falls, and
# soon it is almost free. We read each fall as the moment in which the model has found out how to look back: *this
# name stood there before, and here is what stood beside it*. Some facts pause half-way. If the model knows that it is
# one of the two in the story, and tosses a fair coin, the fact costs ln 2; if it has a good guess, less.
# *Finder.trait* comes to rest below that height, and is not free at the end. Olsson et al. (2022) found such falls in
# large models, and called the heads that cause them induction heads.
#
# Why does the last nat matter? A story is free of contradictions with a probability of roughly exp(−x), where x is
# the part of the excess that belongs to recall: with one nat of it, about two stories out of three have a slip.

# %%
pictures.by_fact(judge.by_fact(model), k=10, title="At the end: nats a story above the floor")

# %% [markdown]
# ## Is it any good? Let it tell a hundred stories

# %%
samples = sampling.tell_stories(model, tokenizer, n=100, end=end, seed=0)
readings = [fables.read(text) for text in samples]
flawless = sum(reading.error is None for reading in readings)
formed = sum(reading.form_error is None for reading in readings)
print("right in form: ", "at least 95" if formed >= 95 else formed, "of 100")
print("of these, without any contradiction:", flawless)
assert formed >= 95 and flawless >= 5

# %%
print(textwrap.fill(samples[0], width=100), "\n")
slips = [reading.contradictions[0] for reading in readings if reading.contradictions]
for slip in slips[:4]:
    print("·", slip)

# %% [markdown]
# Those are the mistakes that the bars above promised. `data/models/fables`, which told you a story in notebook 00, is the
# same model after a longer run.

# %% [markdown]
# ## Break it: the targets are not shifted
#
# The commonest mistake in a training loop is one place too few. Let each position predict the token that it *sees*.
#
# *Before you run it:* what will the loss do?

# %%
predict("training.c", ...)


# %%
class Unshifted:
    def batch(self, step):
        ids, _ = batches.batch(step)
        return ids, ids  # the mistake


torch.manual_seed(1)
broken = GPT(config)
brief = TrainConfig(steps=60, learning_rate=8e-3, warmup=5, evaluate_every=0)
wrong = training.train(broken, Unshifted(), brief, progress=False)
a_token = fables.entropy() / (sum(map(len, documents)) / len(documents))
pictures.training({"targets not shifted": wrong}, floor={"floor, a token": a_token}, log=True)

# %% [markdown]
# <details><summary>The answer</summary>
#
# It falls to almost nothing, far below the floor. Copying is easy. A beautiful curve, and a model that can only
# repeat itself. (The first point is a warning already: it is well below ln V, because a model that reads and answers
# with the same table leans towards the token that it sees.) **A loss below the floor is no success. It is an alarm.**
# Most of the time you do not know the floor; then reading a sample is the test.
# </details>

# %% tags=["nbval-check-output"]
prompt = torch.tensor([[end, *tokenizer.encode("Once")]])
said = sampling.generate(broken, prompt, max_new_tokens=5, temperature=0)[0, 1:]
print("below the floor:", wrong.losses[-1] < a_token)
print("it goes on from Once:", tokenizer.decode(said.tolist()))

# %% [markdown]
# ## At size: what does each knob do?
#
# A smaller model, a few seconds for each run, one knob at a time. Lower is better; the number is the loss in nats a token
# on stories that were not trained on, and the dotted line is the floor.

# %%
held_out = [[*tokenizer.encode(f.text), end] for f in fables.tell(64, seed=2)]
validation = StoryBatches(held_out, B=32, start=end, shuffle=False)


def short_run(B=8, **changes):
    """The held-out loss of a small model after a short run."""
    torch.manual_seed(2)
    small = GPT(GPTConfig.modern(V, 160, n_layer=1, n_head=4, n_embd=64, convolution=4))
    plan = {"steps": 100, "learning_rate": 8e-3, "warmup": 10, "evaluate_every": 0} | changes
    batches = StoryBatches(documents, B, start=end, seed=1)
    training.train(small, batches, TrainConfig(**plan), progress=False)
    return mean_loss(small, validation)


tried = (5e-4, 2e-3, 8e-3, 3e-2, 0.2)
rates = {f"learning rate {rate:g}": short_run(learning_rate=rate) for rate in tried}
lowest = {"floor": a_token}
pictures.compare(rates, "nats a token", floor=lowest, title="Learning rate, 100 steps of AdamW")

# %% [markdown]
# Too small is slow, too large does harm, and the good ones lie between, closer to the edge where the harm begins. The
# rate is the first knob to turn, always, and in factors of two or more: a step of ten percent is not worth a run.

# %%
others = {
    "AdamW, B = 8": rates["learning rate 0.008"],
    "no warm-up": short_run(warmup=0),
    "no decay": short_run(decay_fraction=0.0),
    "B = 2, four times the steps": short_run(B=2, steps=400, learning_rate=4e-3),
    "B = 32, a quarter of the steps": short_run(B=32, steps=25, learning_rate=1.6e-2, warmup=3),
    "Muon for the matrices": short_run(optimizer="muon", muon_lr=0.04),
}
pictures.compare(others, "nats a token", floor=lowest, title="Other knobs, 800 stories each")

# %% [markdown]
# Each differs from the first in one thing (a batch of another size also gets a rate that fits it), and all have seen
# equally many stories. A batch of two gives many noisy steps, a batch of thirty-two a few good ones; in a run as
# short as this the few are too few. Warm-up and decay gain nothing here: they are for longer runs and larger models.
# The matrix optimiser is worth the most.
#
# These are short runs with one seed. Before you believe a difference of a few hundredths, run it with three.

# %% [markdown]
# ## At size: too few stories
#
# Show the same forty stories again and again. The loss on them goes below the floor, which is possible, because a story
# that you know by heart has no surprise left.

# %%
few = documents[:40]
seen = StoryBatches(few, B=40, start=end, shuffle=False)
torch.manual_seed(2)
small = GPT(GPTConfig.modern(V, 160, n_layer=2, n_head=4, n_embd=64, convolution=4))


def both(model):
    return {"seen": mean_loss(model, seen), "new": mean_loss(model, validation)}


plan = TrainConfig(steps=240, optimizer="muon", learning_rate=8e-3, warmup=10, evaluate_every=20)
over = training.train(small, StoryBatches(few, 8, start=end), plan, evaluate=both, progress=False)
pictures.training(over, floor={"floor": a_token}, what=["seen", "new"], unit="nats a token", top=3)

# %% tags=["nbval-check-output"]
first, worst = over.evaluations[0], over.evaluations[-1]
best = min(entry["new"] for entry in over.evaluations)
print("seen stories end below the floor:", worst["seen"] < a_token)
print("new stories end above their best:", worst["new"] > best)

# %% [markdown]
# The two curves part. From there on the model learns those forty stories and no longer how fables go. This is
# **over-fitting**, and it is why the loss is always taken on text that was kept apart. With fresh stories at each step,
# as in our run above, it cannot happen.

# %% [markdown]
# ## Exercises
#
# Replace the dots by your code. `find("training.1")` shows the whole task, `hint("training.1")` helps, and each check
# runs your function on fresh inputs and names the mistake if it is a usual one.

# %%
find("training.1")


# %% tags=["nbval-check-output"]
def cross_entropy(logits, targets): ...


check("training.1", cross_entropy)

# %%
find("training.2")


# %% tags=["nbval-check-output"]
def inputs_and_targets(ids): ...


check("training.2", inputs_and_targets)

# %%
find("training.3")


# %% tags=["nbval-check-output"]
def mean_of_counted(losses, targets): ...


check("training.3", mean_of_counted)

# %%
find("training.4")


# %% tags=["nbval-check-output"]
def learning_rate(step, steps, warmup, highest, lowest): ...


check("training.4", learning_rate)

# %%
find("training.5")


# %% tags=["nbval-check-output"]
def clip(gradients, longest): ...


check("training.5", clip)

# %%
find("training.6")


# %% tags=["nbval-check-output"]
def perplexity(losses, counts): ...


check("training.6", perplexity)

# %%
find("training.7")


# %% tags=["nbval-check-output"]
def adamw_step(w, g, m, v, step, lr, betas, eps, decay): ...


check("training.7", adamw_step)

# %%
find("training.8")


# %% tags=["nbval-check-output"]
def excess(story_nats, floor_nats, tokens): ...


check("training.8", excess)

# %% [markdown]
# **Open:** can you get below our excess in the same 900 steps? Change one thing in `how` or in `config`, run the two
# training cells again, and write down what you expected before you look.

# %% [markdown]
# ## What to remember
#
# - The loss is the mean surprise, −ln p of what came. The first one is near ln V.
# - A step against the gradient makes it smaller; AdamW makes the steps alike for all weights, Muon for all directions of
#   a matrix; the rate grows, stays, and falls.
# - A loss has a floor, the entropy of the text. Below it there is no success, only a leak or a text known by heart.
# - Form comes first. Recall comes later, fact by fact, and most facts in one fall.
# - Judge a model on text it has not seen, and read what it writes.
#
# <details><summary>Why must targets that pad be ignored, and not be some token?</summary>
# The model would learn to predict padding, and the mean would depend on how long the longest row is.
# </details>
# <details><summary>Two models have losses of 0.30 and 0.29 nats a token, and the floor is 0.28. How much better is the second?</summary>
# Half of all that can be gained is gained: the excess fell from 0.02 to 0.01.
# </details>
# <details><summary>The loss jumps to NaN at step 40. What do you try first?</summary>
# A smaller learning rate or a longer warm-up. `training.run` stops there and says step, rate and gradient norm.
# </details>
#
# **Deeper:** Andrej Karpathy, *Let's reproduce GPT-2*, the part on optimisation; Olsson et al. 2022, *In-context learning
# and induction heads*, on the fall; Keller Jordan's *Muon* (2024).

# %%
recap("training")

# %% [markdown]
# ## Next
#
# The model gives a probability to each next token, and `tell_stories` draws from them. What happens if you always take
# the likeliest? Or make the unlikely ones likelier? And must the model read the whole story again for each new word?
# Notebook 11 opens that box.
