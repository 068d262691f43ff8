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
# # 11 · Sampling
#
# *A model gives every possible next token a probability. Somebody still has to choose.*
#
# If you have ever moved a slider called *temperature*, or wondered why the same prompt gives a different answer the
# second time, you have met the subject of this notebook. None of it is inside the model. The weights stay exactly as
# they are, and yet one way of choosing gives the same story forever, another gives a new story each time, and a third
# gives word salad.
#
# We'll build the ways of choosing that everybody uses and measure what each of them costs. Then we'll make generation
# fast, with a cache that must not change a single word.
#
# **After this notebook you can**
#
# - sample a token from a distribution, and check that the dice are fair,
# - write temperature, top-k, top-p and min-p, and say what each does to a distribution,
# - say in numbers how good and how varied the generated stories are,
# - explain why a cache of keys and values is possible, what it costs in bytes, and how to prove that it changes
#   nothing.
#
# **It builds on** attention (06), masks (07), the model (08) and training (10). **Reading it** takes about 60 minutes
# without the exercises. **Running it** takes about a minute on two CPU cores and 850 MB of memory.

# %%
import math
import statistics
import textwrap
import time

import torch

from gptlab import checkpoints, masking, pictures, sampling, show, tokens
from gptlab.corpora import fables, grammar
from gptlab.exercises import check, hint, predict, progress, quiz, recap, solution
from gptlab.llama import llama_config
from gptlab.model import GPT, GPTConfig
from gptlab.pictures.style import MARKERS, SERIES, canvas, finish

torch.manual_seed(0)
torch.set_grad_enabled(False)  # nothing is trained here
torch.set_num_threads(1)  # for tensors as small as these, and for steady timings
pictures.pipeline("sampling")

# %% [markdown]
# Three questions about earlier notebooks to warm up. Replace the dots with your letters.

# %%
quiz("sampling", [..., ..., ...])

# %% [markdown]
# ## The question: which token next?
#
# Here is a slightly wider version of notebook 10's model, trained for longer, and the sentence that travels with us,
# cut off at a place where it can go on in many ways.

# %% tags=["nbval-check-output"]
model, tokenizer = checkpoints.committed("fables")
end = tokenizer.special_tokens["<|endoftext|>"]
V = tokenizer.vocab_size
sentence = fables.TRAVELLER
prompt = sentence[: sentence.index(" proud")]
print(prompt, "…")


def logits_after(text):
    ids = torch.tensor([[end, *tokenizer.encode(text)]])  # [1, T]  a story begins after the end of another
    return model(ids)[0][0, -1]  # [1, T, V] -> [V]: the last position says what comes next


# %% [markdown]
# What does the model say to that? Each bar is the probability of one possible next token; the bar at the bottom is
# everything else together.

# %%
actual = tokenizer.encode(" proud")[0]
p = logits_after(prompt).softmax(-1)
pictures.next_token(p, tokenizer, k=13, actual=actual)

# %% [markdown]
# Twelve traits share nearly all of the probability, and the hundreds of other tokens get next to nothing. That is all a
# language model ever tells you. It doesn't say *proud*. So who does?
#
# The obvious choice is to take the most likely token, every time. Let's see what happens.

# %% tags=["nbval-check-output"]
ids = [end]
while len(ids) < 120:
    logits, _ = model(torch.tensor([ids]))  # [1, T, V]
    best = int(logits[0, -1].argmax())
    if best == end:
        break
    ids.append(best)
story = tokenizer.decode(ids[1:])
print(textwrap.fill(story, width=100))

# %% [markdown]
# A whole story, from *Once* to the moral. Always taking the most likely token is called **greedy decoding**. Now let
# the package generate twenty stories that way; its `tell_stories` takes `temperature=0` to mean greedy, and the word
# temperature will get its meaning soon. How many different stories will there be?

# %%
predict("sampling.a", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
greedy = sampling.tell_stories(model, tokenizer, n=20, end=end, temperature=0)
print("different stories:", len(set(greedy)))
print("the same as yours:", greedy[0] == story)
print("the grammar's reader says:", fables.read(story).error)

# %% [markdown]
# <details><summary>Answer</summary>
#
# One. The same beginning has the same most likely token, at every step.
# </details>

# %% [markdown]
# And that one story has a mistake in it. `fables.read` is a parser for the grammar behind the corpus, and it has
# noticed that both animals are foxes; in a fable they are never of the same kind. Look at the place where it happens:

# %%
wrong = fables.read(story).contradictions[0]
before = story[: wrong.start].rstrip()
fox = tokenizer.encode(" fox")[0]
print("…", before[-40:])
pictures.next_token(logits_after(before).softmax(-1), tokenizer, k=8, actual=fox)

# %% [markdown]
# The model has not learned this rule of the grammar. Although *fox* came before, it gives *fox* about the share that
# foxes have among all animals. That share is small: more than nine times out of ten, another animal would come. But it
# happens to be the largest of twenty small shares, so greedy decoding makes the mistake *every single time*. Rolling
# dice would make it only rarely.
#
# So the most likely token is not the safe choice that it seems to be. Greedy also hides what the model knows: that
# there are twelve traits and twenty animals. What we want is text as varied as the model believes it should be – and no
# more varied than that.

# %% [markdown]
# ## By hand, 1: roll the dice
#
# Lay the probabilities side by side on a line from 0 to 1. A random number between 0 and 1 falls somewhere on that
# line, and the token whose segment it hits is the one we take. With four tokens you can do it with a pencil:

# %% tags=["nbval-check-output"]
chances = torch.tensor([0.45, 0.3, 0.2, 0.05])
edges = chances.cumsum(0)
print("the segments end at", [round(edge, 2) for edge in edges.tolist()])
for u in (0.1, 0.62, 0.97):
    print("the number", u, "hits token", int((u >= edges).sum()))

# %% [markdown]
# The id is the number of segments that end at or before the random number. Long segments are hit often and short ones
# seldom, each in proportion to its probability. Choosing this way is called **sampling**.
#
# Are the dice fair? Let's sample ten thousand times at our place and count, with PyTorch's own function for it,
# `torch.multinomial`. Because these stories come from a grammar, there is a third number to compare with: how often the
# grammar itself picks each trait.

# %%
n = 10_000
generator = torch.Generator().manual_seed(1)
picked = torch.multinomial(p, n, replacement=True, generator=generator)
counts = torch.bincount(picked, minlength=V)
weights = grammar.TABLES["hero.trait"]
rows = []
for id in p.topk(12).indices.tolist():
    trait = tokenizer.decode([id]).strip()
    truth = weights[trait] / sum(weights.values())
    rows.append((trait, f"{p[id]:.1%}", f"{counts[id] / n:.1%}", f"{truth:.1%}"))
pictures.table(rows, ["trait", "the model says", "sampled", "the grammar"])

# %% [markdown]
# First compare the two columns in the middle: they should differ only by luck. How much luck is normal? For a
# probability $p$ and $n$ samples, the counted fraction is typically off by about $\sqrt{p (1 - p) / n}$. We'll need
# this **standard error** once more at the end of the notebook.

# %% tags=["nbval-check-output"]
error = (p * (1 - p) / n).sqrt()  # [V]  how far a fair count is off, typically
off = ((counts / n - p) / error)[p > 0.01].abs()
print("each count is within four standard errors:", bool((off < 4).all()))

# %% [markdown]
# The dice are fair. The column on the right is close to the others without being the same: this is what the model has
# not learned perfectly. Fair dice reproduce whatever is in the model, errors included.
#
# How varied is a distribution? Take the surprise of each token, $-\ln p$, and average it over what gets sampled:
#
# $$ H = -\sum_i p_i \ln p_i $$
#
# You met this quantity in notebook 10, where the **entropy** of the grammar was the floor under every loss. Here it
# describes a single choice. It is 0 if one token is certain and $\ln n$ if $n$ tokens are equally likely, which means
# that $e^H$ answers a simple question: a choice among how many?

# %% tags=["nbval-check-output"]
by_hand = -sum(x * math.log(x) for x in p.tolist() if x > 0)
fair = torch.tensor(list(weights.values())) / sum(weights.values())
print(f"the model:    {by_hand:.2f} nats, a choice among {math.exp(by_hand):.1f} equally likely tokens")
print(f"the grammar:  {sampling.entropy(fair):.2f} nats, among {sampling.entropy(fair).exp():.1f}")
print(f"twelve equal: {math.log(12):.2f} nats")

# %% [markdown]
# ## By hand, 2: temperature
#
# Greedy is always the same, and sampling is as varied as the model. Between the two there should be a dial. Divide
# every logit $z_i$ by a number before the softmax:
#
# $$ p_i = \frac{e^{z_i / \tau}}{\sum_j e^{z_j / \tau}} $$
#
# The number $\tau$ is the **temperature**; the letter $T$ is taken. The name comes from physics, where the formula is
# Boltzmann's of 1868 and says how molecules share their energy: the hotter, the more evenly. Ackley, Hinton and
# Sejnowski brought it to neural networks in 1985.
#
# *Before you run on:* one token is four times as likely as another. How many times as likely is it at $\tau = 0.5$?

# %%
predict("sampling.b", ...)

# %% [markdown]
# ### Your turn: Sharper or flatter
#
# `sampling.1` · *warm-up* · 2 minutes
#
# Turn logits into probabilities at a temperature. `logits` is a float32 tensor [B, V] with numbers between −1,000 and
# 1,000, and `temperature` a number of at least 0.01. Return a tensor [B, V] whose rows sum to 1.
#
# ```python
# def with_temperature(logits: Float[Tensor, "B V"], temperature: float) -> Float[Tensor, "B V"]
# ```
#
# For example, logits `[[0.0, 1.0]]` at temperature 2 give `[[0.3775, 0.6225]]`. Replace the dots with your code. If you
# get stuck, `hint("sampling.1")` helps a little, `solution("sampling.1")` completely; so it is with every exercise
# here.

# %% tags=["nbval-check-output"]
def with_temperature(logits, temperature): ...


check("sampling.1", with_temperature)

# %% [markdown]
# Now the guess, with numbers. Watch the ratio in the last column.

# %% tags=["nbval-check-output", "answers-prediction"]
logits = torch.tensor([math.log(4), 0.0])
for temperature in (0.5, 1.0, 2.0):
    a, b = (logits / temperature).softmax(-1).tolist()
    print(f"temperature {temperature}: {a:.3f} and {b:.3f}, so {a / b:.0f} to 1")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Sixteen. Dividing the logits by 0.5 doubles their difference. The ratio of two probabilities is $e$ to the power of
# that difference, so it gets squared; at temperature 2 you get its square root.
# </details>

# %% [markdown]
# And here is what a temperature does at our place in the story. The dashed outlines are the probabilities before. Look
# at the grey bar at the bottom of each panel.

# %%
z = logits_after(prompt)  # [V]
P = sampling.probabilities  # logits and settings in, a distribution out; we'll look inside it below
hot = {f"temperature {t}": P(z, temperature=t) for t in (0.5, 1.5, 3)}
pictures.reshaped(P(z), hot, tokenizer)

# %% [markdown]
# At 0.5 the common traits gain and the rare ones lose. At 1.5 all twelve become more alike, which is what we were
# after. At 3 something else has happened. Each of the other tokens still gets very little, but there are hundreds of
# them, and together they have grown into a large share: *Ada the of*, *Ada the drum*. A story takes that risk again
# with every token.

# %% tags=["nbval-check-output"]
for t in (0.5, 1, 1.5, 3):
    q = P(z, temperature=t)
    loss = -(q * P(z).log()).sum()  # the model's mean surprise at what is sampled
    tail = 1 - q[P(z) > 0.01].sum()
    print(f"temperature {t:<3}  entropy {sampling.entropy(q):.2f}  loss {loss:.2f} nats  no trait: {tail:6.2%}")

# %% [markdown]
# Entropy says how varied the choice is; loss, how surprised the model itself would be at what was chosen. At
# temperature 1 the two agree, because the model's own beliefs are being sampled. Below 1 the model is less surprised
# than usual, and above 1 it surprises itself. The last column is the probability that no trait comes at all.
#
# That is the trouble with temperature: it can't make twelve good tokens more alike without waking up hundreds of bad
# ones. What we'd like to get rid of is the **tail**, the many unlikely tokens that add up to something.

# %% [markdown]
# ## By hand, 3: cut off the tail
#
# **Top-k** (Fan et al. 2018) is the bluntest way to do it: only the k most likely tokens stay possible. Give all others
# a logit of minus infinity, and the softmax gives them a probability of exactly 0 and shares the rest out.
#
# ### Your turn: Only the k best
#
# `sampling.2` · *warm-up* · 5 minutes
#
# `logits` is a float32 tensor [B, V], no two alike in a row; `k` is an `int` from 1 to V, both included. Return the
# probabilities of what is left, a tensor [B, V] in the order of the ids: in each row k of them are above 0, and they
# sum to 1.
#
# ```python
# def top_k(logits: Float[Tensor, "B V"], k: int) -> Float[Tensor, "B V"]
# ```
#
# For example, logits `[[1.0, 3.0, 2.0]]` and k = 2 give `[[0.0, 0.7311, 0.2689]]`.

# %% tags=["nbval-check-output"]
def top_k(logits, k): ...


check("sampling.2", top_k)

# %% [markdown]
# Ours, with numbers that you can check in your head. The threshold is the k-th largest logit:

# %% tags=["nbval-check-output"]
small = torch.tensor([0.1, 0.5, 0.05, 0.3, 0.05]).log()  # logits whose softmax you can see
kth = small.topk(2).values[-1]
print([round(x, 3) for x in small.masked_fill(small < kth, -torch.inf).softmax(-1).tolist()])

# %% [markdown]
# The weakness of top-k shows when the same k has to serve at three different places. The last three columns count the
# tokens that stay; compare them with the column *above 1 %*, which is roughly how many deserve to.

# %% tags=["nbval-check-output"]
places = {
    "… in a dark forest, there": sentence[: sentence.index(" lived")],
    "… there lived Ada the": prompt,
    "… there lived Ada the proud": prompt + " proud",
}
rows = []
for name, text in places.items():
    q = P(logits_after(text))
    left = [int((P(logits_after(text), **s) > 0).sum()) for s in ({"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.1})]
    rows.append((name, f"{sampling.entropy(q):.2f}", int((q > 0.01).sum()), *left))
pictures.table(rows, ["place", "entropy (nats)", "above 1 %", "top-k 5", "top-p 0.9", "min-p 0.1"])

# %% [markdown]
# After *there* nothing but *lived* can come, and top-k keeps four wrong tokens beside it. They are harmless until a
# high temperature gives them some probability. After *Ada the* twelve can come, and top-k throws seven of them away. No
# single k fits both of these places. The two columns on the right adapt, so let's build them.
#
# **Top-p** (Holtzman et al. 2019), also called **nucleus sampling**, keeps the fewest tokens whose probabilities reach
# p. Sort the tokens, add up from the most likely down, and stop as soon as the sum reaches p. How many of 0.5, 0.3,
# 0.15 and 0.05 stay with p = 0.7?

# %%
predict("sampling.c", ...)

# %% [markdown]
# ### Your turn: The fewest that reach p
#
# `sampling.3` · *core* · 15 minutes
#
# `logits` is a float32 tensor [B, V], `p` a number above 0 and at most 1. In each row, the token with which the sum
# reaches p stays, together with all the more likely ones; the others go. So at least one token always stays, and with p
# = 1 all of them do. Return the probabilities of what is left, a tensor [B, V] whose rows sum to 1, in the order of the
# ids – not in sorted order. Where tokens are dropped, no two are equally likely, and no sum comes so near to p that
# rounding would decide.
#
# ```python
# def top_p(logits: Float[Tensor, "B V"], p: float) -> Float[Tensor, "B V"]
# ```
#
# For example, the logits `[[ln 0.15, ln 0.5, ln 0.05, ln 0.3]]` and p = 0.9 give `[[0.158, 0.526, 0, 0.316]]`: the
# sum is 0.8 with two tokens and 0.95 with three.

# %% tags=["nbval-check-output"]
def top_p(logits, p): ...


check("sampling.3", top_p)

# %% [markdown]
# Ours on four numbers. The trick is to ask of each token what the *better* ones reach without it; if they have reached
# p already, it isn't needed.

# %% tags=["nbval-check-output", "answers-prediction"]
chances = torch.tensor([0.15, 0.5, 0.05, 0.3])
ordered, order = chances.sort(descending=True)
better = ordered.cumsum(0) - ordered  # what the better ones reach without this one
stays = ordered.masked_fill(better >= 0.7, 0.0)
print("sorted:         ", [round(x, 2) for x in ordered.tolist()])
print("before each one:", [round(x, 2) for x in better.tolist()])
print("what stays:     ", [round(x, 2) for x in stays.tolist()])
back = torch.zeros(4).scatter(0, order, stays)  # each to its own id again
print("the new chances:", [round(x, 3) for x in (back / back.sum()).tolist()])

# %% [markdown]
# <details><summary>Answer</summary>
#
# Two. 0.5 is not enough, and with 0.3 the sum is 0.8. The token that crosses p stays.
# </details>

# %% [markdown]
# Where the model is certain, top-p keeps one token; where it hesitates, many. At our place it nevertheless drops two
# real traits, because the others reach p without them.
#
# **Min-p** (Nguyen et al. 2024) compares each token with the best one instead: keep what is at least p times as likely
# as the most likely token, with a small p such as 0.1. It shares nothing but the letter with the p of top-p.
#
# ### Your turn: Not too far below the best
#
# `sampling.4` · *warm-up* · 5 minutes
#
# `logits` is a float32 tensor [B, V], `p` a number above 0 and at most 1. A token stays if its probability is at least
# p times that of the most likely token *of its row*. Return a tensor [B, V] whose rows sum to 1.
#
# ```python
# def min_p(logits: Float[Tensor, "B V"], p: float) -> Float[Tensor, "B V"]
# ```
#
# For example, the logits `[[ln 0.1, ln 0.6, ln 0.3]]` and p = 0.4 give `[[0, 0.667, 0.333]]`: the limit is 0.24.

# %% tags=["nbval-check-output"]
def min_p(logits, p): ...


check("sampling.4", min_p)

# %% [markdown]
# On the four numbers from above, with p = 0.2:

# %% tags=["nbval-check-output"]
limit = 0.2 * chances.max()
print(f"of {[round(x, 2) for x in chances.tolist()]}, what reaches {limit:.2f} stays:", (chances >= limit).tolist())

# %% [markdown]
# All three cuts at our place. Count the real traits that each panel loses.

# %%
cuts = {"top-k 5": P(z, top_k=5), "top-p 0.9": P(z, top_p=0.9), "min-p 0.1": P(z, min_p=0.1)}
pictures.reshaped(P(z), cuts, tokenizer)

# %% [markdown]
# The tail is gone in all three panels; what differs is how many real traits went with it. Don't read this as a victory
# of min-p. It fits so well because here every right token is common and every wrong one rare. Real text has no such
# gap, and whether min-p beats top-p in large models is disputed ([Schaeffer et al.
# 2025](https://arxiv.org/abs/2506.13681)).

# %% [markdown]
# ## By hand, 4: repetition
#
# Greedy decoding has one more disease, and you have probably seen it: the text gets stuck and says the same thing over
# and over. The simplest model that we have shows why. Take the bigram of notebook 05, a table that counts which token
# follows which in a book of fables. It looks at the last token only. So as soon as a token comes for the second time,
# everything that followed it must follow again. (The 0.01 in the code keeps the logarithm of a count of 0 finite.)

# %% tags=["nbval-check-output"]
book = torch.tensor(tokenizer.encode(fables.book()))
pairs = torch.bincount(book[:-1] * V + book[1:], minlength=V * V).view(V, V)  # [V, V]  a followed by b: row a, column b
bigram = (pairs + 0.01).log()  # [V, V]  a row of logits for each token


def greedy_bigram(penalty, new=34):
    said = tokenizer.encode(" Ada")
    for _ in range(new):
        row = sampling.penalise(bigram[said[-1]], torch.tensor(said), penalty)
        said.append(int(row.argmax()))
    return tokenizer.decode(said)


for penalty in (1, 1.5):
    print(textwrap.fill(f"penalty {penalty}: {greedy_bigram(penalty)}", width=90))

# %% [markdown]
# A penalty of 1 changes nothing, and the text runs in a circle. GPT-2 did the same (Holtzman et al. 2019), under
# greedy decoding and under beam search, the subject of exercise `sampling.10`. The **repetition penalty** (Keskar et
# al. 2019) breaks the circle by making every token that already occurs in the text less likely: its logit is divided
# by the penalty.
#
# That sentence has a bug. If a logit is negative, dividing −1 by 2 gives −0.5, which is *more*. So today's libraries,
# ours included, repair the rule of the paper and multiply a negative logit instead:

# %% tags=["nbval-check-output"]
some = torch.tensor([2.0, -1.0, 3.0])
print("tokens 0 and 1 occurred before:", sampling.penalise(some, seen=torch.tensor([0, 1]), penalty=2).tolist())

# %% [markdown]
# Even so the rule is a little odd. Add 10 to every logit and the softmax gives the same probabilities as before, but
# the penalty now gives different ones, because it depends on which logits are above 0.
#
# It also has a price, because a story repeats its names for good reason. Below is a place where only one name can be
# right: Bo has the lamp, so it must be the other one who asks for it. What does a penalty do to that name?

# %%
passage = sentence + ' One windy morning, Bo found a brass lamp by the mill. "May I light the lamp?" asked'
seen = torch.tensor([end, *tokenizer.encode(passage)])
recall = logits_after(passage)
strong = {f"penalty {x}": P(recall, repetition_penalty=x, seen=seen) for x in (1.5, 2, 3)}
print(textwrap.fill(passage, width=100), "…")
pictures.reshaped(P(recall), strong, tokenizer, k=5)

# %% [markdown]
# The right name occurs in the text already, so the penalty lowers it, and names that nobody has mentioned gain. The
# model is very sure here; a penalty of 1.1 or 1.2, as people use it, would hardly show. You'd notice it where text
# *has* to repeat itself and the model is less sure: in code, in tables, in names.

# %% [markdown]
# ## The tested block
#
# The package puts all of this into one function. Order matters, because each step sees only what the one before has
# left: first the penalty, then the temperature, then the cuts. That is also the order of `transformers`, the library
# most people use, and the tests of this course compare the two step by step.
#
# Top-p feels the order most. If a high temperature has woken up the tail, the tail is a large share of what p counts.
# So how many tokens stay at our place, where twelve are right? Watch the second line.

# %% tags=["nbval-check-output"]
for setting in ({"top_k": 12}, {"top_p": 0.9}, {"min_p": 0.1}):
    stay = [int((P(z, temperature=t, **setting) > 0).sum()) for t in (1, 2, 3)]
    print(f"{setting!s:14} at temperature 1, 2, 3: {stay}")

# %% [markdown]
# Top-k and min-p hold at all three *here*. Only top-k is immune in general: at temperature $\tau$, min-p keeps
# whatever was at least $0.1^\tau$ times as likely as the best, and at other places that lets more in. Top-p breaks at
# temperature 3: with so heavy a tail, it needs more than a hundred tokens to reach 0.9.
#
# Of the package's functions, top-p is the one worth reading; the lines that matter are the same as yours. The first two
# checks are what a tested block adds: an error that says what to do, and the case where rounding could go wrong.

# %%
show(sampling.keep_top_p)

# %% [markdown]
# Is it really the same? On two hundred batches of random logits, beside the lines from above:

# %% tags=["nbval-check-output"]
for seed in range(200):
    x = 2 * torch.randn(3, 23, generator=torch.Generator().manual_seed(seed))  # [B, V]
    warm = (x / 1.3).softmax(-1)
    assert torch.allclose(P(x, temperature=1.3), warm)
    cut = x.masked_fill(x < x.topk(5).values[:, -1:], -torch.inf)
    assert torch.allclose(P(x, top_k=5), cut.softmax(-1))
    rare = warm.masked_fill(warm < 0.1 * warm.amax(-1, keepdim=True), 0)
    assert torch.allclose(P(x, temperature=1.3, min_p=0.1), rare / rare.sum(-1, keepdim=True))
    ordered, order = warm.sort(descending=True)
    ordered = ordered.masked_fill(ordered.cumsum(-1) - ordered >= 0.8, 0)
    back = torch.zeros(3, 23).scatter(-1, order, ordered)
    assert torch.allclose(P(x, temperature=1.3, top_p=0.8), back / back.sum(-1, keepdim=True))
print("200 batches of random logits: the same")

# %% [markdown]
# ## Break it: the token that crosses p
#
# Top-p is easy to get wrong by one. Suppose you drop a token as soon as the sum **including it** is above p:

# %% tags=["nbval-check-output"]
def off_by_one(chances, p):
    ordered, order = chances.sort(descending=True)
    stays = ordered.masked_fill(ordered.cumsum(0) > p, 0.0)  # the mistake
    back = torch.zeros_like(chances).scatter(0, order, stays)
    return back / back.sum()


for name in ("… there lived Ada the", "… in a dark forest, there"):
    logits = logits_after(places[name])
    right, wrong = P(logits, top_p=0.9), off_by_one(P(logits), 0.9)
    stay = f"right: {int((right > 0).sum()):2} stay   wrong: {int((wrong > 0).sum()):2} stay, which sum to"
    print(f"{name:26} {stay} {wrong.sum():.2f}")

# %% [markdown]
# Where many tokens share the probability, you'd hardly notice one trait fewer. Where the model is certain, the only
# good token crosses p all by itself and gets dropped; nothing is left, and 0 / 0 is *nan*, not a number. So always test
# a top-p on a distribution in which one token has nearly everything.

# %% [markdown]
# ## The second question: why so slow?
#
# In the greedy loop at the top, the model read the whole text again for every new token. How much work is that for a
# prompt of 20 tokens and 100 new ones? PyTorch calls a *hook* whenever the model runs; ours counts the tokens that go
# in.

# %% tags=["nbval-check-output"]
def count_tokens(**options):
    passed = []
    hook = model.register_forward_pre_hook(lambda module, inputs: passed.append(inputs[0].shape[1]))
    sampling.generate(model, torch.full((1, 20), end), max_new_tokens=100, temperature=0, **options)
    hook.remove()
    return f"{sum(passed):,} tokens in {len(passed)} passes"


print("without a cache:", count_tokens(use_cache=False))

# %% [markdown]
# Nearly all of them have been through the model before. Do they really have to go again? Think of what a token leaves
# behind for the tokens after it: in each attention layer a **key** and a **value**, and in a plain GPT nothing else.
# If those are still the same when the text has grown, we can store them.
#
# *Before you look:* somebody replaces one token in the middle of a text. Which keys and values of layer 2 change? The
# cell that answers hands the model an empty `KVCache`, in which every layer leaves its keys and values as `k` and `v`.

# %%
predict("sampling.d", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
torch.manual_seed(3)
plain = GPT(GPTConfig(V, context=32, n_layer=3, n_head=2, n_embd=24)).eval()  # any GPT; its weights do not matter
ids = torch.tensor([tokenizer.encode(sentence.split(". ")[0] + ".")])  # [1, T]
other = ids.clone()
other[0, -3] = tokenizer.encode(" kind")[0]  # in place of proud
first, second = sampling.KVCache(plain), sampling.KVCache(plain)
plain(ids, cache=first)
plain(other, cache=second)
for number, (a, b) in enumerate(zip(first.layers, second.layers, strict=True), 1):
    T = ids.shape[1]
    differ = (a.k - b.k).abs() + (a.v - b.v).abs()  # [B, H, capacity, hs]
    moved = differ[:, :, :T].amax((0, 1, 3)) > 1e-6  # [T]  at which positions is anything different?
    same = tokenizer.decode(ids[0, ~moved].tolist())
    print(f"layer {number}: changed {tokenizer.decode(other[0, moved].tolist())!r:14} not changed {same!r}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Its own, and those of every token after it. In layer 1 a key depends on its own token and position only. From layer 2
# on, every later position has attended to the changed one: *fox* and the full stop are the same tokens as before, and
# no longer mean the same. No earlier position has attended to it, because of the causal mask of notebook 07.
# </details>

# %% [markdown]
# Replacing a token is the hard case. Appending one is the easy case: **nothing that was there changes.** In a model
# without the causal mask, such as BERT, every new word would change all the others, and storing them would be
# pointless.
#
# ## By hand, 5: one head with a cache
#
# ### Your turn: One head with a cache
#
# `sampling.8` · *core* · 15 minutes
#
# One new token arrives at an attention head that has cached the keys and values of all tokens before it. Append the new
# key and value, let the new query attend to all of them, **its own key included**, with scores divided by √hs as
# always, and return what the next token will need. `q`, `k` and `v` are float32 tensors [hs] of the new token; `keys`
# and `values` are [T, hs], of the T ≥ 1 tokens before it, in order. Return three tensors: the output [hs], and the new
# keys and values [T + 1, hs].
#
# ```python
# def attend_to_all(q: Float[Tensor, "hs"], k: Float[Tensor, "hs"], v: Float[Tensor, "hs"],
#                   keys: Float[Tensor, "T hs"], values: Float[Tensor, "T hs"])
#     -> tuple[Float[Tensor, "hs"], Float[Tensor, "T+1 hs"], Float[Tensor, "T+1 hs"]]
# ```
#
# For example, a query of zeros scores 0 with every key. With `values` `[[1.0, 2.0]]` and the new `v` `[3.0, 4.0]`, the
# output is their mean, `[2.0, 3.0]`.

# %% tags=["nbval-check-output"]
def attend_to_all(q, k, v, keys, values): ...


check("sampling.8", attend_to_all)

# %% [markdown]
# Here is ours for five tokens. First all at once, with the mask of notebook 07; then token by token, where each new
# query meets the keys that are stored, its own among them. Every line should end in *True*.

# %% tags=["nbval-check-output"]
T, hs = 5, 3
q, k, v = torch.randn(3, T, hs, generator=torch.Generator().manual_seed(0))  # [T, hs] each
scores = (q @ k.T / math.sqrt(hs)).masked_fill(~torch.ones(T, T).tril().bool(), -torch.inf)  # [T, T]
at_once = scores.softmax(-1) @ v  # [T, hs]

keys, values = torch.empty(0, hs), torch.empty(0, hs)
for t in range(T):
    keys, values = torch.cat((keys, k[t : t + 1])), torch.cat((values, v[t : t + 1]))  # [t + 1, hs]
    weights = (keys @ q[t] / math.sqrt(hs)).softmax(0)  # [t + 1]: no mask, the future is not there
    print(f"token {t}: {t + 1} keys, the same output: {torch.allclose(weights @ values, at_once[t], atol=1e-6)}")

# %% [markdown]
# Queries are not stored, because each of them is used once. The stored keys and values of all layers are called the
# **KV cache**. Two words come with it. Reading the prompt fills the cache, all tokens in one pass; that is **prefill**.
# Then the new tokens go through the model one at a time; that is **decode**. Running a trained model like this is
# called inference, as opposed to training.
#
# The picture shows a prompt of five tokens and the passes after it. Dark cells are computed in that pass, light cells
# are read from the cache. Without a cache, every light cell would be dark.

# %%
pictures.cache_growth(prompt=5, new=4)

# %% [markdown]
# In code the model needs two small changes: positions are counted from where the cache ends, and a query attends to
# everything that the cache hands back. Your greedy loop becomes this one. Only one argument is new, and `new` holds a
# single token after the first pass.

# %% tags=["nbval-check-output"]
cache, new = sampling.KVCache(model), torch.tensor([[end]])
said = []
while len(said) < 120:
    logits, _ = model(new, cache=cache)  # only what it has not seen
    best = int(logits[0, -1].argmax())
    if best == end:
        break
    said.append(best)
    new = torch.tensor([[best]])  # [1, 1]
print("the same story:", tokenizer.decode(said) == story)
print("tokens in the cache:", cache.length)

# %% [markdown]
# How many tokens go through the model now, for a prompt of 20 and 100 new ones?

# %%
predict("sampling.e", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
print("without a cache:", count_tokens(use_cache=False))
print("with a cache:   ", count_tokens())

# %% [markdown]
# <details><summary>Answer</summary>
#
# 119. Twenty at once, and then one for each new token except the last, which nobody has to read.
# </details>

# %% [markdown]
# **The cache must not change the answer**, not even a little: a wrong position or a missing key gives texts that are
# *nearly* right, which is the worst kind of wrong. So we compare logits at every position, for a text that is read at
# once, token by token, and in pieces.

# %% tags=["nbval-check-output"]
ids = torch.tensor([[end, *tokenizer.encode(fables.tell(1, seed=4)[0].text)]] * 2)  # [2, T]
ids[1] = ids[1].roll(5)  # another text of the same length
full, _ = model(ids)  # [2, T, V]
T = ids.shape[1]
for name, sizes in {"at once": [T], "one by one": [1] * T, "in pieces": [7, 1, 20, T - 28]}.items():
    cache = sampling.KVCache(model)
    parts = [model(part, cache=cache)[0] for part in ids.split(sizes, dim=1)]
    close = (torch.cat(parts, dim=1) - full).abs().max() < 1e-5 * full.abs().max()
    print(f"{name:10} within 1e-5 of the full pass: {bool(close)}")

# %% [markdown]
# They need not be equal to the last bit, because a matrix product of another shape may add its numbers in another
# order. One detail for later: this model also has a small convolution in front of its attention, the kind you know from
# notebook 06, and the cache stores its last inputs too.
#
# ## What it saves
#
# To see the time, take a larger model. It is untrained, which doesn't matter, since the time does not depend on the
# values of the weights. How long does one more token take when so many come before it? Each time is the median of a few
# runs. Look at the shapes of the two curves rather than at the milliseconds, which belong to one busy machine.

# %%
torch.manual_seed(0)
bigger = GPT(GPTConfig(V, context=1024, n_layer=4, n_head=8, n_embd=512)).eval()
print(f"{bigger.count_parameters() / 1e6:.1f} million parameters")


def milliseconds(ids, times, cache=None):
    took = []
    for _ in range(times):
        start = time.perf_counter()
        bigger(ids, cache=cache)
        took.append(1000 * (time.perf_counter() - start))
    return statistics.median(took)


# %%
slow, fast, prefill = [], [], []
for T in (32, 64, 128, 256, 512, 1000):
    ids = torch.randint(V, (1, T))
    bigger(ids)  # the first pass of a size is slower, and not counted
    slow.append((T, milliseconds(ids, times=3)))
    cache = sampling.KVCache(bigger)
    prefill.append((T, milliseconds(ids, times=1, cache=cache)))
    fast.append((T, milliseconds(ids[:, :1], times=15, cache=cache)))
times = {"without a cache": slow, "with a cache": fast}
pictures.lines(times, "tokens before it", "time for one more token (ms)", log="xy", legend="upper left")

# %% [markdown]
# Both axes are logarithmic. Without a cache, the time of one token grows with the length of the text, so a whole text
# costs the square of its length, or more. With a cache it hardly changes at these lengths: the layers process one
# token, and only attention, a small part of the work here, still looks at all the others.
#
# There is a second surprise in these measurements. Reading a prompt and writing an answer are not equally fast. Compare
# the two *per token* columns:

# %%
rows = []
for (T, whole), (_, one) in zip(prefill[-3:], fast[-3:], strict=True):
    rows.append((T, f"{whole:.0f}", f"{whole / T:.2f}", f"{one:.1f}", f"{one * T / whole:.0f} ×"))
head = ["T", "prefill (ms)", "prefill (ms per token)", "decode (ms per token)", "decode : prefill"]
pictures.table(rows, head, align="rrrrr")

# %% [markdown]
# The arithmetic per token is nearly the same. But prefill fetches each weight from memory once for all T tokens, while
# decode fetches every weight again for a single one. In large models decode waits for memory, not for arithmetic ([Pope
# et al. 2022](https://arxiv.org/abs/2211.05102)); in one as small as this, Python's own overhead adds to it. That is
# also why a chat service answers many people in one batch: the weights come from memory once for all of them.
#
# ## What it costs
#
# A cache trades memory for time, so let's write down the bill. Each token leaves a key and a value in each of $L$
# layers, for each of `n_kv_head` heads, $hs$ numbers each. In the models so far, `n_kv_head` was the number of heads,
# $H$. Others let several query heads share one head of keys and values; notebook 12 shows how.
#
# ### Your turn: What a cache costs
#
# `sampling.9` · *warm-up* · 5 minutes
#
# How many bytes hold the keys and values of B texts of T tokens? A head has `n_embd / n_head` numbers (this divides
# evenly), and a number takes `width` bytes. Input: seven `int`. Result: an `int`.
#
# ```python
# def cache_bytes(n_layer: int, n_head: int, n_kv_head: int, n_embd: int, T: int, B: int, width: int) -> int
# ```
#
# For example, 1 layer with 4 heads of 2 numbers, of which 2 have keys and values, for 3 tokens of 1 text at 4 bytes per
# number: 96 bytes.

# %% tags=["nbval-check-output"]
def cache_bytes(n_layer, n_head, n_kv_head, n_embd, T, B, width): ...


check("sampling.9", cache_bytes)

# %% [markdown]
# As a formula:
#
# $$ \text{bytes} = 2 \cdot L \cdot n_\text{kv} \cdot hs \cdot T \cdot B \cdot \text{width} $$
#
# Llama 3 8B has 32 layers, 32 query heads, and 8 heads of keys and values, each with an $hs$ of 128. How large is its
# cache for one text of 8,192 tokens, at two bytes per number?

# %%
predict("sampling.f", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
configs = {
    "fables": (model.config, 4),
    "GPT-2 124M": (GPTConfig.gpt2("124M"), 4),
    "Llama 3 8B": (llama_config("8B"), 2),
    "Llama 3 8B, 32 heads of keys": (llama_config("8B", n_kv_head=32), 2),
}
rows, cost = [], {}
for name, (config, width) in configs.items():
    T = config.context
    cost[name] = sampling.cache_bytes(config, T, width=width)
    kv_heads, hs = config.n_kv_head or config.n_head, config.n_embd // config.n_head
    per_token = 2 * config.n_layer * kv_heads * hs * width / 1024
    rows.append((name, width, f"{per_token:,.0f}", f"{T:,}", f"{cost[name] / 2**20:,.1f}"))
pictures.table(rows, ["model", "bytes per number", "KiB per token", "context", "MiB per full text"], align="lrrrr")

# %% [markdown]
# <details><summary>Answer</summary>
#
# About 1 GB: 128 KiB per token, times 8,192. KiB, MiB and GiB count in steps of 1,024.
# </details>

# %% [markdown]
# A gigabyte for one text, and every text needs its own. Take a graphics card with 80 GB, load the weights of Llama 3 8B
# onto it, and fill the rest with caches. How many full texts fit?

# %% tags=["nbval-check-output"]
with torch.device("meta"):  # shapes only, no numbers
    count = GPT(llama_config("8B")).count_parameters()
free = 80e9 - 2 * count
print(f"weights: {2 * count / 1e9:.1f} GB of 80")
for name in list(configs)[2:]:
    print(f"{name:30} {int(free // cost[name]):3} texts at once")

# %% [markdown]
# Sharing heads makes room for four times as many texts (Shazeer 2019; [Ainslie et al.
# 2023](https://arxiv.org/abs/2305.13245)). And does our own cache really hold as many bytes as the formula says?

# %% tags=["nbval-check-output"]
cache = sampling.KVCache(model, max_length=100)  # for 100 tokens; the whole context unless you say so
model(torch.full((3, 7), end), cache=cache)
L, H, hs = model.config.n_layer, model.config.n_head, model.config.n_embd // model.config.n_head
print(f"the formula says {2 * L * H * hs * 100 * 3 * 4:,} bytes")
print(f"the last inputs of the convolution: {cache.layers[0].window.numel() * L * 4:,}")
print(f"the cache holds {cache.bytes:,}: the sum")
assert cache.bytes == sampling.cache_bytes(model.config, T=100, B=3)

# %% [markdown]
# It does. The memory is reserved at the first use rather than token by token, so nothing ever has to be moved.
#
# ## When the text outgrows the context
#
# Sooner or later a chat is longer than the context window. The model was never trained on positions so far out, and it
# refuses:

# %% tags=["nbval-check-output"]
try:
    model(torch.full((1, model.config.context + 1), end))
except ValueError as refusal:
    print(refusal)

# %% [markdown]
# `generate` goes on all the same. It shows the model the last `context` tokens and computes a full pass for every new
# token, so past that point generation is slow again. Couldn't we keep the cache, drop the oldest keys and values, and
# carry on?
#
# What would be wrong with that? One suspect is position: in the shortened text, every token has moved to the front.
# The other is subtler. The keys that we'd keep were computed while the oldest tokens were still there. Let's separate
# the two on a passage that is short enough to compute everything: its first 15 tokens drop out, and we look at the
# distribution after the last one. To put the rest at its old positions, we hand the model a cache that claims to hold
# 15 tokens and holds none.

# %% tags=["nbval-check-output"]
ids, n = seen[None], 15  # [1, T]  the passage with the lamp, and how many tokens drop out
T = ids.shape[1]
print("gone:", repr(tokenizer.decode(ids[0, 1:n].tolist())))


def last(ids, **options):
    return model(ids, **options)[0][0, -1].softmax(-1)  # [V]


recomputed = last(ids[:, n:])  # what generate does: a fresh pass over the rest
cache = sampling.KVCache(model)
cache.length = n  # a cache that counts n tokens and holds none: the rest at its old positions
elsewhere = last(ids[:, n:], keep_mask=masking.causal(T - n), cache=cache)
mask = masking.causal(T)
mask[-1, :n] = False  # the last token no longer sees what is gone; the others did
old_keys = last(ids, keep_mask=mask)
for name, q in {"fresh pass, old positions": elsewhere, "old keys and values": old_keys}.items():
    print(f"{name:26} more than a hundredth of the probability moved:", bool((q - recomputed).abs().sum() / 2 > 0.01))

# %% [markdown]
# Position is innocent. This model rotates its queries and keys (notebook 12), so only distances count. With GPT-2's
# learned positions it would be guilty as well. What really stands in the way is that from layer 2 on, the old keys and
# values carry traces of tokens that are gone, so they are not what a fresh pass over the shortened text would compute.
#
# Whether that is a bug or a feature depends on the training. A model trained with a sliding window, the mask of
# notebook 07, has learned to work with exactly such traces, and for it the cheap way is the right one: Mistral 7B
# overwrites its oldest keys in a *rolling cache* ([Jiang et al. 2023](https://arxiv.org/abs/2310.06825)). Ours was not
# trained that way, so `generate` takes the slow way, whose answer is exactly the model's. Either way, the model has
# forgotten the beginning.
#
# ## Break it: a cache that nobody emptied
#
# A service has answered one person. The next one comes, and somebody forgot `cache.reset()`. Read the first text below
# closely.

# %% tags=["nbval-check-output"]
def go_on(text, cache, new=37):
    ids, said = torch.tensor([[end, *tokenizer.encode(text)]]), []
    for _ in range(new):
        logits, _ = model(ids, cache=cache)
        ids = logits[:, -1:].argmax(-1)  # [1, 1]
        said.append(int(ids))
    return textwrap.fill(text + tokenizer.decode(said), width=90)


cache = sampling.KVCache(model)
private = "Once, in a lonely island, there lived Zeb the loyal crab. Nearby lived Yara the stubborn snail."
model(torch.tensor([[end, *tokenizer.encode(private)]]), cache=cache)  # what the first person wrote
print("not emptied:", go_on("Long ago, in a", cache), sep="\n")
cache.reset()
print("emptied:", go_on("Long ago, in a", cache), sep="\n")

# %% [markdown]
# There is *Yara*, of whom the second person has never heard. No error, no warning, only a text that is a little worse
# than usual – and a service that has handed one person's secrets to another. What catches it is the check from above:
# logits with the cache must be those of a full pass over **this** text.
#
# ## Prompts of different lengths
#
# A batch is a tensor [B, T], but prompts come in all lengths. The first idea is to pad the short ones, as in training.
# Let's try it on the left and on the right, greedy, and compare with each prompt alone.

# %% tags=["nbval-check-output"]
prompts = ["Once, in a dark forest, there lived Ada the proud fox. Nearby", "Long ago, in a", "Once"]
rows = [[end, *tokenizer.encode(text)] for text in prompts]
longest = max(map(len, rows))
left = torch.tensor([[end] * (longest - len(row)) + row for row in rows])  # [B, T]
right = torch.tensor([row + [end] * (longest - len(row)) for row in rows])
alone = [sampling.generate(model, torch.tensor([row]), 9, temperature=0)[0, len(row) :].tolist() for row in rows]
for name, ids in {"left": left, "right": right}.items():
    new = sampling.generate(model, ids, 9, temperature=0)[:, longest:].tolist()
    same = ["as alone" if a == b else "wrong" for a, b in zip(new, alone, strict=True)]
    print(f"padded on the {name + ':':6} {', '.join(same)}; the last goes on {tokenizer.decode(new[-1])!r}")
print("alone, the last goes on", repr(tokenizer.decode(alone[-1])))

# %% [markdown]
# Only the longest prompt, which needed no padding, is right. The others have read tokens that nobody wrote; padded on
# the right, the model even goes on from one of them. There are two cures. One is to pad on the left, mask the padding,
# *and* give each row its own positions. `transformers` does this, and each of the three is easy to forget.
#
# The other cure never lets anyone see padding, and is what Meta's first Llama code did. All rows advance together,
# starting where the shortest prompt ends. A row whose prompt is longer ignores the sampled token and takes the next
# token of its own prompt, until it has none left.

# %% tags=["nbval-check-output"]
together = sampling.generate_each(model, rows, max_new_tokens=9, temperature=0)
for row, said, expected in zip(rows, together, alone, strict=True):
    print("as alone:" if said[len(row) :] == expected else "wrong:", tokenizer.decode(said[1:]))

# %% [markdown]
# The price is that a long prompt beside a short one is read token by token. Large services go further: a new text takes
# the place of one that has ended while the rest of the batch continues (Yu et al. 2022), and caches are cut into pages,
# like the memory of a computer ([Kwon et al. 2023](https://arxiv.org/abs/2309.06180)).
#
# ## Streaming
#
# Nobody likes to wait for a whole text, so `stream` hands out each piece as soon as it exists. The cell prints a bar
# between the pieces to make them visible.

# %%
generator = torch.Generator().manual_seed(7)
start = [end, *tokenizer.encode(sentence)]
for piece in sampling.stream(model, tokenizer, start, 40, stop=end, top_p=0.9, generator=generator):
    print(piece, end="|", flush=True)

# %% [markdown]
# The two bars at the end aren't a mistake. The 40 tokens were used up, and the last piece is whatever the stream was
# still holding back; here that is nothing.
#
# Why would it hold anything back? A token can be less than a character, as you saw in notebook 01. Then `stream` waits
# until the character is complete. Watch the fox, which takes four tokens:

# %% tags=["nbval-check-output"]
decoder = tokens.StreamDecoder(tokenizer)
print([decoder.push(id) for id in tokenizer.encode("a 🦊!")])

# %% [markdown]
# A text ends when the model produces a **stop token**, here the end token, or when it has used up the number of tokens
# that you allow.
#
# That's all you need to write together with your model. Paste this into a new cell, begin a fable, and press Enter on
# an empty line to stop:
#
# ```python
# while opening := input("> "):
#     ids = [end, *tokenizer.encode(opening)]
#     for piece in sampling.stream(model, tokenizer, ids, 100, stop=end, min_p=0.05):
#         print(piece, end="", flush=True)
#     print()
# ```

# %% [markdown]
# ## At size: quality against variety
#
# Now the question that all these settings are about. We want stories that are right **and** varied. For most models you
# can't measure the first, and have nothing to compare the second with; for the fables you have both.
#
# - *Right:* `fables.read` finds the first place where a story breaks the grammar or contradicts itself.
# - *Varied:* each token was sampled from a distribution $q$, whatever the settings made of it. Add up $-\ln q$ over a
#   story, average over stories, and you have an estimate of the entropy of the whole generator, in nats per story. The
#   grammar itself has a known one.
#
# A *family* is one knob at several values. Its stories are generated as one batch, `n` rows for each value, and the
# cache makes that quick. It is the decoding loop from above, with the surprises added up on the way.

# %%
def generate_family(family, n, new=125):
    """For each setting n stories: their tokens [n, new], and for each story its sum of -ln q."""
    token, generator = torch.full((len(family) * n, 1), end), torch.Generator().manual_seed(0)
    cache, columns = sampling.KVCache(model, max_length=new), []
    nats, over = torch.zeros(len(token)), torch.zeros(len(token), dtype=torch.bool)
    for _ in range(new):
        groups = model(token, cache=cache)[0][:, -1].split(n)  # for each setting [n, V]
        q = torch.cat([P(logits, **setting) for logits, setting in zip(groups, family, strict=True)])
        token = sampling.draw(q, generator)  # [settings * n, 1]
        surprise = -q.gather(-1, token)[:, 0].log()  # at the tokens that were sampled
        nats += surprise.masked_fill(over, 0.0)  # a story that is over adds no more
        over |= token[:, 0] == end
        columns.append(token)
    return torch.cat(columns, dim=1).split(n), nats.split(n)


# %% [markdown]
# Then every story is read. One that does not end within the allowed tokens counts as a mistake.


# %%
def is_right(row):
    return end in row and fables.read(tokenizer.decode(row[: row.index(end)])).error is None


def measure(family, n):
    """For each setting: variety in nats per story, the percentage of stories without a mistake, a label."""
    points = []
    for ids, nats, setting in zip(*generate_family(family, n), family, strict=True):
        right = sum(is_right(row) for row in ids.tolist())
        points.append((float(nats.mean()), 100 * right / n, str(next(iter(setting.values())))))
    return points


# %%
def knob(name, *values, **others):
    return [{name: value} | others for value in values]


families = {
    "temperature": knob("temperature", 0.2, 0.6, 1, 1.2, 1.5),
    "top-p": knob("top_p", 0.3, 0.6, 0.9),
    "top-k": knob("top_k", 2, 8),
    "min-p 0.1, temperature": knob("temperature", 2, 3, min_p=0.1),
}
n, curves = 160, {}
for name, family in families.items():
    curves[name] = measure(family, n)
    print(f"{name}: {len(family)} settings, {n} stories each")

# %% [markdown]
# Now the picture this notebook has been heading for. Up is better, right is more varied. The number beside a point is
# its setting, and the whisker is one standard error up and down: each point is a count, and a count has the luck of the
# dice in it.

# %%
figure, axes = canvas(7.8, 4.6)
sides = [(6, 7), (-22, 7), (8, -12), (7, 5)]  # where each family writes its settings
crowded = {("temperature", "0.6"): (-8, 21), ("temperature", "1"): (-3, 22), ("top-p", "0.9"): (-4, -30)}
for (name, points), colour, marker, side in zip(curves.items(), SERIES, MARKERS, sides, strict=False):
    xs, ys, labels = zip(*points, strict=True)
    errors = [math.sqrt(y * (100 - y) / n) for y in ys]  # percentage points
    axes.errorbar(xs, ys, errors, color=colour, marker=marker, capsize=3, label=name)
    for x, y, label in points:
        axes.annotate(label, (x, y), xytext=crowded.get((name, label), side), textcoords="offset points", color=colour)
for name, x in {"the grammar": fables.entropy(), "ln of all its stories": math.log(fables.count())}.items():
    axes.axvline(x, color="black", linewidth=1, linestyle=":" if name == "the grammar" else "--", label=name)
axes.set(xlabel="variety: entropy (nats per story)", ylabel="stories without a mistake (%)", ylim=(40, 100))
axes.legend(loc="upper right", fontsize=9)
alt = "; ".join(f"{name}: {y:.0f} % at {x:.1f} nats ({label})" for name, ps in curves.items() for x, y, label in ps)
finish(figure, f"Quality against variety. {alt}.")

# %% [markdown]
# Which differences are larger than luck? For two counts, each with its own error, ask for at least two of the largest
# errors between them. That is the least to ask: a difference of two counts is off by √2 times as much as one of them.

# %% tags=["nbval-check-output"]
worst = 100 * math.sqrt(0.5 * 0.5 / n)
print(f"a point's height is typically off by up to {worst:.1f} percentage points")
height = {name: {label: y for _, y, label in points} for name, points in curves.items()}
claims = [
    ("temperature", "1.5", "temperature", "1"),
    ("temperature", "1.5", "min-p 0.1, temperature", "2"),
    ("top-k", "2", "top-k", "8"),
    ("top-p", "0.3", "top-p", "0.9"),
]
for name, low, other, high in claims:
    gap = height[other][high] - height[name][low]
    print(f"{name} {low} is below {other} {high} by two errors or more:", gap > 2 * worst)

# %% [markdown]
# With that in mind, take the curves one by one.
#
# - *Temperature:* above 1 the curve falls, because the tail takes over, and part of what counts as variety there is
#   nonsense. Below 1 variety is lost; whether anything is gained for it is within the whiskers. Greedy, at temperature
#   0, involves no dice and writes one story, which has a mistake: it sits at zero in both directions.
# - *Top-p* and *top-k* give up variety. Small values also make *more* mistakes, for the reason that you saw with
#   greedy: the few tokens that are left may all be wrong.
# - *Min-p* cuts off the tail, and so a temperature of 2 does far less harm with it than 1.5 does without. Compare
#   points one above the other, though: temperatures a little above 1, without any cut, reach the same variety, and
#   there our picture shows no advantage of min-p.
#
# To the right of the dotted line, the generator is more varied than the grammar. A little of that can be right, with
# rare animals coming as often as common ones. The dashed line says how far that can go: if every story that exists came
# equally often, the entropy would be the logarithm of their number.

# %% tags=["nbval-check-output"]
print(f"the grammar: {fables.entropy():.1f} nats; all its stories equally likely: {math.log(fables.count()):.1f} nats")

# %% [markdown]
# Settings clearly to the right of the dashed line must produce texts that aren't fables at all; there is no other way
# to get so much variety.
#
# The picture is about one small model of one simple language. For a large model there is no `fables.read`; people judge
# the texts instead, or another model does.
#
# So which setting should you use? For one short answer that has to be right, a low temperature, with an eye on the
# mistakes that greedy makes every time. For many good texts, a temperature of 0.7 to 1. Many people add a light cut,
# such as top-p 0.9 or min-p 0.05 to 0.1, though our picture shows no gain from it. And always report what you used,
# because a model's score depends on it.

# %% [markdown]
# ## More exercises
#
# All of these are *stretch*: pick what tempts you. The numbers follow the list in `progress`, not the page.
#
# ### Your turn: Less of the same
#
# `sampling.5` · *stretch* · 15 minutes
#
# Make the tokens in `seen` less likely: a logit above 0 is divided by the penalty, one below 0 is multiplied by it. A
# token that occurs three times is lowered once. `logits` is a float32 tensor [B, V], `seen` an integer tensor [B, T]
# with T at least 1, `penalty` a number above 1. Return the new logits [B, V], and leave the given ones unchanged.
#
# ```python
# def penalise(logits: Float[Tensor, "B V"], seen: Int[Tensor, "B T"], penalty: float) -> Float[Tensor, "B V"]
# ```
#
# For example, logits `[[2.0, -1.0, 3.0]]`, seen `[[0, 1, 1]]` and penalty 2 give `[[1.0, -2.0, 3.0]]`.

# %% tags=["nbval-check-output"]
def penalise(logits, seen, penalty): ...


check("sampling.5", penalise)

# %% [markdown]
# ### Your turn: One token from one random number
#
# `sampling.6` · *stretch* · 15 minutes
#
# Our first by-hand cell ignored two rare cases. Lay the probabilities side by side on a line from 0 to 1, in the order
# of the ids; a segment includes its left end and not its right one. `probabilities` is a `list` of `float`, `u` a
# `float` with 0 ≤ u < 1; return the id that u hits, an `int`. A token of probability 0 must never come. And the
# probabilities may sum to a little less than 1 (three times 0.3333, or ten times 0.1): if `u` lies above the sum,
# return the last token that is possible.
#
# ```python
# def draw(probabilities: list[float], u: float) -> int
# ```
#
# For example, `[0.5, 0.0, 0.5]` and u = 0.5 give 2.

# %% tags=["nbval-check-output"]
def draw(probabilities, u): ...


check("sampling.6", draw)

# %% [markdown]
# ### Your turn: Sample with noise and a maximum
#
# `sampling.7` · *stretch* · 15 minutes
#
# You can sample without adding anything up: give each logit its own noise, and take the largest. If $u$ is uniform
# between 0 and 1, the noise is $-\ln(-\ln u)$ (Gumbel 1954), and each token wins with exactly its softmax probability.
# `logits` and `uniform` are float32 tensors [B, V], all of `uniform` strictly between 0 and 1. Return the ids, an
# integer tensor [B].
#
# ```python
# def gumbel_draw(logits: Float[Tensor, "B V"], uniform: Float[Tensor, "B V"]) -> Int[Tensor, "B"]
# ```
#
# For example, logits `[[0.0, 1.0]]` with uniform `[[0.9, 0.1]]` give `[0]`: 0 + 2.25 beats 1 − 0.83.

# %% tags=["nbval-check-output"]
def gumbel_draw(logits, uniform): ...


check("sampling.7", gumbel_draw)

# %% [markdown]
# ### Your turn: Beam search
#
# `sampling.10` · *stretch* · 30 minutes
#
# Greedy takes the best token each time and may miss the best **text**. Follow `width` texts at once: start with the
# `width` most likely first tokens; in each step extend each text by every token, add up log-probabilities, and keep the
# best `width` of all the longer texts. At the end return the best one. (Lowerre 1976, for speech; for a long time the
# usual way in machine translation, where one best answer is wanted.)
#
# The model is a table: `first` is a float32 tensor [V], ln p of the first token; `table` is [V, V], and `table[a, b]`
# is ln p of b after a. `length` and `width` are `int`, at least 1; `width` may be larger than V, and then all V texts
# are kept. Return a `list` of `length` ids.
#
# ```python
# def beam_search(first: Float[Tensor, "V"], table: Float[Tensor, "V V"], length: int, width: int) -> list[int]
# ```
#
# For example, `first` with probabilities 0.6 and 0.4, and after token 0 both with 0.5, after token 1 token 0 with 0.9:
# width 1 gives `[0, 0]` or `[0, 1]` with probability 0.3, width 2 gives `[1, 0]` with 0.36.

# %% tags=["nbval-check-output"]
def beam_search(first, table, length, width): ...


check("sampling.10", beam_search)

# %% [markdown]
# **Open · *stretch*:** find settings that lie above all the curves of the picture, with an entropy of at least 26 nats.
# Add a family to `families` and run its cell and the picture's again. Write down what you expect before you look, and
# say at the end how sure you are.

# %%
progress("sampling")

# %%
recap("sampling")

# %% [markdown]
# ## What to remember
#
# 1. A model gives probabilities; choosing is up to you. Greedy gives one text forever, sampling follows the model's
#    beliefs.
# 2. Temperature divides the logits: below 1 sharper, above 1 flatter, and a flat distribution has a heavy tail.
# 3. Top-k keeps a number of tokens, top-p a share of the probability, min-p whatever is near the best.
# 4. Causality makes the KV cache possible. It costs $2 \cdot L \cdot n_\text{kv} \cdot hs$ numbers per token and never
#    changes the answer.
# 5. Prefill reads the prompt in one pass; decode writes token by token and, in large models, waits for memory.
#
# | new here | elsewhere this is called |
# |---|---|
# | greedy decoding, `temperature=0` | `do_sample=False` in `transformers` |
# | sampling | multinomial or ancestral sampling |
# | temperature, top-k, top-p, min-p | `temperature`, `top_k`, `top_p`, `min_p`; top-p is also nucleus sampling |
# | repetition penalty | `repetition_penalty`; *frequency* and *presence penalty* subtract instead |
# | tail | low-probability or unreliable tail |
# | KV cache, `KVCache` | `past_key_values`, `DynamicCache` in `transformers` |
# | prefill, decode | prompt processing, token generation |
# | stop token | `eos_token`, EOS, end-of-sequence token |
# | standard error | binomial standard error |
#
# **Three questions**
#
# 1. At which temperature does a model's mean surprise at its own text equal the entropy of the choice?
#
# <details><summary>Answer</summary>
#
# At 1, without any cut: then it is sampled from the distribution that it believes in.
# </details>
#
# 2. Top-p with p = 0.9, and the most likely token has 0.95. How many tokens stay?
#
# <details><summary>Answer</summary>
#
# One. It crosses p at once, and the token that crosses stays.
# </details>
#
# 3. Why are keys and values cached, and queries not?
#
# <details><summary>Answer</summary>
#
# Every later token compares its query with the old keys and mixes the old values. An old query has done its work.
# </details>

# %% [markdown]
# **To go deeper:** Ari Holtzman et al., [The Curious Case of Neural Text
# Degeneration](https://arxiv.org/abs/1904.09751) (2019), on why the most likely text is not a good one. Angela Fan et
# al. [2018](https://arxiv.org/abs/1805.04833) for top-k, Minh Nguyen et al. [2024](https://arxiv.org/abs/2407.01082)
# for min-p, Nitish Keskar et al. [2019](https://arxiv.org/abs/1909.05858) for the penalty, Noam Shazeer
# [2019](https://arxiv.org/abs/1911.02150) on what decoding costs. In the package, read `gptlab/next_token.py` and
# `gptlab/cache.py`, then `gptlab/sampling.py`.
#
# ## Next
#
# Llama 3 8B's cache is four times smaller than it would be with one head of keys per query head, and Llama has three
# more parts that GPT-2 lacks. What is each of them good for? [Notebook 12](12_from_gpt2_to_llama.ipynb) swaps them in,
# one at a time.
