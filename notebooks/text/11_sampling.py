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
# # 11 Sampling
#
# *A model gives a probability to every possible next token. You choose one, and then again, and it becomes a text.*
#
# How to choose is not part of the model. The same numbers tell one story for ever, or a new one each time, or nonsense.
# Here you build the ways to choose that everybody uses, and measure what each of them costs. Then you make it fast,
# with a memory that must not change a single word.
#
# **After this notebook you can**
#
# - draw a token from a distribution, and test whether your dice are fair,
# - write temperature, top-k, top-p, min-p and the repetition penalty, and say what each does to a distribution,
# - say how good and how varied a teller is, in numbers,
# - explain why a cache of keys and values is possible, what it costs in bytes, and check that it changes nothing.
#
# **It builds on** attention (06), masks (07), the model (08) and training (10). **To run it** takes about 30 seconds on
# two CPU cores and 850 MB of memory.

# %%
import math
import statistics
import textwrap
import time

import torch

from gptlab import checkpoints, pictures, sampling, show, tokens
from gptlab.corpora import fables, grammar
from gptlab.exercises import check, compare, find, hint, predict, progress, quiz, recap, solution  # noqa: F401
from gptlab.llama import llama_config
from gptlab.model import GPT, GPTConfig

torch.manual_seed(0)
torch.set_grad_enabled(False)  # nothing is trained here
torch.set_num_threads(1)  # for tensors as small as these, and for steady times
pictures.pipeline("sampling")

# %% [markdown]
# Three questions about earlier notebooks, if you like. Put your letters in place of the dots.

# %%
quiz("sampling", [..., ..., ...])

# %% [markdown]
# ## The question: what shall it say?
#
# This is the small model of notebook 10 after a longer training, and the sentence that travels with you, up to a place
# where it can go on in many ways.

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


# %%
actual = tokenizer.encode(" proud")[0]
p = logits_after(prompt).softmax(-1)
pictures.next_token(p, tokenizer, k=13, actual=actual)

# %% [markdown]
# Twelve traits share nearly all of the probability, and the other tokens of the vocabulary get almost nothing. This is
# all that the model says. It does not say *proud*. So who decides?
#
# The first idea is to take the likeliest, each time.

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
# A story, from beginning to end. This way to choose is called **greedy**. Now let it tell twenty, with the package's
# `tell_stories`, whose `temperature=0` means greedy (the word comes below). How many different ones do you get?

# %%
predict("sampling.a", ...)

# %% tags=["nbval-check-output"]
greedy = sampling.tell_stories(model, tokenizer, n=20, end=end, temperature=0)
print("different stories:", len(set(greedy)))
print("the same as yours:", greedy[0] == story)
print("read:", fables.read(story).error)

# %% [markdown]
# <details><summary>Answer</summary>
#
# One. The same beginning, the same likeliest token, each time.
# </details>
#
# And it has a mistake, which `fables.read`, the reader of the grammar, has found. A fable's two animals are never of
# the same kind, and here both are foxes. Look at the place where it happens.

# %%
wrong = fables.read(story).contradictions[0]
before = story[: wrong.start].rstrip()
fox = tokenizer.encode(" fox")[0]
print("…", before[-40:])
pictures.next_token(logits_after(before).softmax(-1), tokenizer, k=8, actual=fox)

# %% [markdown]
# The model has not learned this rule of the grammar. It gives the fox the probability that a fox has among all animals,
# whoever stood there before, and that is small. But it is the largest of twenty small ones, and so greedy makes the
# mistake every time. Whoever draws by lot makes it rarely.
#
# So the likeliest next token is not the safe choice that it seems. It also misses what the model knows: that there are
# twelve traits and twenty animals. You want a choice that is as varied as the model says, and no more.

# %% [markdown]
# ## By hand, 1: draw
#
# Lay the probabilities side by side on a line from 0 to 1. A random number between 0 and 1 falls onto it, and the token
# whose piece it hits is drawn. With four tokens you can do it with a pencil:

# %% tags=["nbval-check-output"]
chances = torch.tensor([0.45, 0.3, 0.2, 0.05])
edges = chances.cumsum(0)
print("the pieces end at", [round(edge, 2) for edge in edges.tolist()])
for u in (0.1, 0.62, 0.97):
    print("the number", u, "hits token", int((u >= edges).sum()))

# %% [markdown]
# How many pieces end at or before the number? That is the id. A long piece is hit often, a short one seldom, each in
# proportion to its probability. Drawing like this is called **sampling**.
#
# Are the dice fair? Draw ten thousand times at our place and count. PyTorch's own function for it is
# `torch.multinomial`. And because a grammar tells these stories, you know a third number: how often the grammar itself
# chooses each trait.

# %%
n = 10_000
generator = torch.Generator().manual_seed(1)
drawn = torch.multinomial(p, n, replacement=True, generator=generator)
counts = torch.bincount(drawn, minlength=V)
weights = grammar.TABLES["hero.trait"]
rows = []
for id in p.topk(12).indices.tolist():
    trait = tokenizer.decode([id]).strip()
    truth = weights[trait] / sum(weights.values())
    rows.append((trait, f"{p[id]:.1%}", f"{counts[id] / n:.1%}", f"{truth:.1%}"))
pictures.table(rows, ["trait", "the model says", "drawn", "the grammar"])

# %% tags=["nbval-check-output"]
error = (p * (1 - p) / n).sqrt()  # [V]  how far a fair count is off, typically
off = ((counts / n - p) / error)[p > 0.01].abs()
print("each count is within four of its typical errors:", bool((off < 4).all()))

# %% [markdown]
# What was drawn agrees with what the model says, as well as ten thousand draws can. (For a probability $p$ and $n$
# draws, the share that is counted is typically off by about $\sqrt{p (1 - p) / n}$. You need this once more, at the
# end.) The column of the grammar is near, and not the same: this is what the model has not learned perfectly. Fair dice
# give back what is in the model, its errors among it.
#
# How varied is a distribution? Take the surprise of each token, $-\ln p$, and its mean over what is drawn:
#
# $$ H = -\sum_i p_i \ln p_i $$
#
# That is the **entropy** of the draw; in 10 the entropy of the grammar was the floor. It is 0 where one token is
# certain, and $\ln n$ where $n$ tokens are equally likely. So $e^H$ reads as *among how many*:

# %% tags=["nbval-check-output"]
by_hand = -sum(x * math.log(x) for x in p.tolist() if x > 0)
fair = torch.tensor(list(weights.values())) / sum(weights.values())
print(f"the model:   {by_hand:.2f} nats, as among {math.exp(by_hand):.1f} equal ones")
print(f"the grammar: {sampling.entropy(fair):.2f} nats, as among {sampling.entropy(fair).exp():.1f}")
print(f"twelve equal ones: {math.log(12):.2f} nats")

# %% [markdown]
# ## By hand, 2: temperature
#
# Between *always the likeliest* and *as the model says* there should be something. Divide each logit $z_i$ by a number
# before the softmax:
#
# $$ p_i = \frac{e^{z_i / \tau}}{\sum_j e^{z_j / \tau}} $$
#
# in code `(logits / temperature).softmax(-1)`. The number $\tau$ is the **temperature**. (The letter $T$ is taken.) The
# name is from physics, where the formula is Boltzmann's of 1868, for how molecules share their energy; Ackley, Hinton
# and Sejnowski brought it to neural networks in 1985.
#
# *Before you run on:* one token is four times as likely as another. How many times at $\tau = 0.5$?

# %%
predict("sampling.b", ...)

# %% tags=["nbval-check-output"]
logits = torch.tensor([math.log(4), 0.0])
for temperature in (0.5, 1.0, 2.0):
    a, b = (logits / temperature).softmax(-1).tolist()
    print(f"temperature {temperature}: {a:.3f} and {b:.3f}, so {a / b:.0f} to 1")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Sixteen. Dividing the logits by 0.5 doubles their difference, and the ratio of two probabilities is $e$ to the power
# of that difference, so it is squared. At 2 you get the root.
# </details>
#
# Here is what it does to our place. The dashed outlines are the probabilities before.

# %%
z = logits_after(prompt)  # [V]
P = sampling.probabilities  # logits and settings in, the distribution out; its code comes below
hot = {f"temperature {t}": P(z, temperature=t) for t in (0.5, 1.5, 3)}
pictures.reshaped(P(z), hot, tokenizer)

# %% [markdown]
# To the left the common traits gain and the rare ones lose. In the middle all twelve become more alike. Now look at the
# grey bar to the right. Each of the other tokens gets very little, but there are hundreds of them, and together they
# have taken a large part: *Ada the of*, *Ada the drum*. And a story runs this risk again with every token.

# %% tags=["nbval-check-output"]
for t in (0.5, 1, 1.5, 3):
    q = P(z, temperature=t)
    loss = -(q * P(z).log()).sum()  # the model's mean surprise at what is drawn
    tail = 1 - q[P(z) > 0.01].sum()
    print(f"temperature {t:<3}  entropy {sampling.entropy(q):.2f}  loss {loss:.2f} nats  no trait: {tail:6.2%}")

# %% [markdown]
# The entropy says how varied the draw is. The loss is how surprised the model itself would be, on average, at what was
# drawn. At temperature 1 they are equal: it draws what it believes. Below, it is less surprised than usual, and above,
# it surprises itself. The last column is the probability that no trait comes at all.
#
# This is the trouble with a temperature. It cannot make the twelve traits more alike without waking up the hundreds
# that are wrong. What you want to cut off is the **tail**.

# %% [markdown]
# ## By hand, 3: cut off the tail
#
# **The k likeliest** (Fan et al. 2018). Find the k-th largest logit; what is smaller gets minus infinity, so that the
# softmax gives it a probability of exactly 0 and shares the rest out.

# %% tags=["nbval-check-output"]
small = torch.tensor([0.1, 0.5, 0.05, 0.3, 0.05]).log()  # logits whose softmax you can see
kth = small.topk(2).values[-1]
print([round(x, 3) for x in small.masked_fill(small < kth, -torch.inf).softmax(-1).tolist()])

# %% [markdown]
# That is **top-k**. Its weakness shows when you use the same k at three places. The last three columns count the tokens
# that stay:

# %% tags=["nbval-check-output"]
places = {
    "… in a dark forest, there": sentence[: sentence.index(" lived")],
    "… there lived Ada the": prompt,
    "… there lived Ada the proud": prompt + " proud",
}
rows = []
for name, text in places.items():
    q = P(logits_after(text))
    kept = [int((P(logits_after(text), **s) > 0).sum()) for s in ({"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.1})]
    rows.append((name, f"{sampling.entropy(q):.2f}", int((q > 0.01).sum()), *kept))
pictures.table(rows, ["place", "entropy", "above 1 %", "top-k 5", "top-p 0.9", "min-p 0.1"])

# %% [markdown]
# After *there* nothing but *lived* can come, and top-k keeps four wrong tokens beside it. (They have hardly any
# probability, until a high temperature gives them some.) After *Ada the* twelve can come, and it throws seven of them
# away. One number cannot fit both. The two columns on the right know better. Here is how.
#
# **The fewest that reach p** (Holtzman et al. 2019). Sort, add up from the likeliest down, and stop as soon as the sum
# reaches p. How many of 0.5, 0.3, 0.15, 0.05 stay with p = 0.7?

# %%
predict("sampling.c", ...)

# %% tags=["nbval-check-output"]
chances = torch.tensor([0.15, 0.5, 0.05, 0.3])
ordered, order = chances.sort(descending=True)
better = ordered.cumsum(0) - ordered  # what the better ones reach without this one
kept = ordered.masked_fill(better >= 0.7, 0.0)
print("in order: ", [round(x, 2) for x in ordered.tolist()], "before each:", [round(x, 2) for x in better.tolist()])
print("they stay:", [round(x, 2) for x in kept.tolist()])
back = torch.zeros(4).scatter(0, order, kept)  # each to its own id again
print("the draw: ", [round(x, 3) for x in (back / back.sum()).tolist()])

# %% [markdown]
# <details><summary>Answer</summary>
#
# Two. 0.5 is not enough, and with 0.3 the sum is 0.8. The token that crosses p stays.
# </details>
#
# That is **top-p**, also called nucleus sampling. Where the model is certain it keeps one token, where it hesitates it
# keeps many. But at our place it drops two real traits, because the others reach p without them.
#
# **Not too far below the best** (Nguyen et al. 2024). Keep what is at least p times as likely as the likeliest, with a
# small p such as 0.1. That is **min-p**, and it is one line. (This p is not the p of top-p. In the cell it is 0.2.)

# %% tags=["nbval-check-output"]
limit = 0.2 * chances.max()
print(f"of {[round(x, 2) for x in chances.tolist()]}, what reaches {limit:.2f} stays:", (chances >= limit).tolist())

# %%
cuts = {"top-k 5": P(z, top_k=5), "top-p 0.9": P(z, top_p=0.9), "min-p 0.1": P(z, min_p=0.1)}
pictures.reshaped(P(z), cuts, tokenizer)

# %% [markdown]
# The tail is out in all three panels. What differs is how many real traits go with it. This is one place of one small
# model: the last panel fits so well because here the right tokens are all common and the wrong ones all rare. Real text
# has no such gap, and whether min-p is better than top-p in large models is disputed ([Schaeffer et al.
# 2025](https://arxiv.org/abs/2506.13681)).

# %% [markdown]
# ## By hand, 4: repetition
#
# Greedy has one more disease. Take the simplest model there is, the bigram of notebook 05, which looks at the last
# token only: a table that counts which token follows which, in a book of fables. Greedy on it must run in circles: as
# soon as a token comes for the second time, all that followed it follows again.

# %% tags=["nbval-check-output"]
book = torch.tensor(tokenizer.encode(fables.book()))
pairs = torch.zeros(V, V)
pairs.index_put_((book[:-1], book[1:]), torch.ones(len(book) - 1), accumulate=True)  # one more for each pair
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
# A penalty of 1 changes nothing, and the text runs in a circle. GPT-2 did so too, with greedy and with beam search,
# which is exercise sampling.10 (Holtzman et al. 2019). The **repetition penalty** (Keskar et al. 2019) makes the tokens that
# stand in the text already less likely, and so breaks the circle. It divides a logit by the penalty, if the logit is
# positive. And if it is negative? Dividing −1 by 2 gives −0.5, which is more. So a negative one is multiplied.

# %% tags=["nbval-check-output"]
some = torch.tensor([2.0, -1.0, 3.0])
print("token 0 and token 1 were said:", sampling.penalise(some, seen=torch.tensor([0, 1]), penalty=2).tolist())

# %% [markdown]
# (One oddity: the softmax does not care if you add the same number to all logits, and this penalty does, because it
# asks which of them are above 0.)
#
# It has a price. A story repeats its names for good reason. Here is a place where only one name can be right: Bo has
# the lamp, so it is the other one who asks for it. What does a penalty do to that name?

# %%
tale = sentence + ' One windy morning, Bo found a brass lamp by the mill. "May I light the lamp?" asked'
seen = torch.tensor([end, *tokenizer.encode(tale)])
recall = logits_after(tale)
strong = {f"penalty {x}": P(recall, repetition_penalty=x, seen=seen) for x in (1.5, 2, 3)}
print(textwrap.fill(tale, width=100), "…")
pictures.reshaped(P(recall), strong, tokenizer, k=5)

# %% [markdown]
# The name stood there before, so it is lowered, and names that nobody has mentioned gain. The model is very sure here,
# and a penalty of 1.1 or 1.2, as people use it, would not show. It shows where a text has to repeat and the model is
# less sure: in code, in tables, in names.

# %% [markdown]
# ## The tested block
#
# The package has one function for all of it. The order matters, because each step sees what the one before has left:
# first the penalty, then the temperature, then the cuts. It is the order of `transformers`, the library that most
# people use, and the tests of this course compare with it, step by step.
#
# Top-p is the one that feels it. If a temperature of 3 has woken up the tail, the tail is a large part of what p
# counts. How many tokens stay at our place, where twelve are right?

# %% tags=["nbval-check-output"]
for setting in ({"top_k": 12}, {"top_p": 0.9}, {"min_p": 0.1}):
    stay = [int((P(z, temperature=t, **setting) > 0).sum()) for t in (1, 2, 3)]
    print(f"{setting!s:14} at temperature 1, 2, 3: {stay}")

# %% [markdown]
# Top-k and min-p hold, and can be combined with a high temperature. Top-p bursts.

# %%
show(sampling.keep_top_k, sampling.keep_top_p, sampling.keep_min_p, sampling.probabilities)

# %% [markdown]
# Is it what you built? On random logits, with the lines from above:

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
# Top-p is easy to get wrong by one. Drop a token as soon as the sum **with** it is above p:

# %% tags=["nbval-check-output"]
def off_by_one(chances, p):
    ordered, order = chances.sort(descending=True)
    kept = ordered.masked_fill(ordered.cumsum(0) > p, 0.0)  # the mistake
    back = torch.zeros_like(chances).scatter(0, order, kept)
    return back / back.sum()


for name in ("… there lived Ada the", "… in a dark forest, there"):
    logits = logits_after(places[name])
    right, wrong = P(logits, top_p=0.9), off_by_one(P(logits), 0.9)
    stay = f"right: {int((right > 0).sum()):2} stay   wrong: {int((wrong > 0).sum()):2} stay, which sum to"
    print(f"{name:26} {stay} {wrong.sum():.2f}")

# %% [markdown]
# Where many tokens share the probability, one trait fewer is hard to notice. Where the model is certain, the only token
# crosses p at once and is dropped, nothing is left, and 0 / 0 is *nan*, not a number. So test a top-p on a distribution
# in which one token has nearly everything.

# %% [markdown]
# ## The second question: why so slow?
#
# In the greedy loop at the top the model read everything again for each new token. Count what that is, for a prompt of
# 20 tokens and 100 new ones. (The hook looks on whenever the model is called.)

# %% tags=["nbval-check-output"]
def count_tokens(**options):
    passed = []
    hook = model.register_forward_pre_hook(lambda module, inputs: passed.append(inputs[0].shape[1]))
    sampling.generate(model, torch.full((1, 20), end), max_new_tokens=100, temperature=0, **options)
    hook.remove()
    return f"{sum(passed):,} tokens in {len(passed)} passes"


print("without a memory:", count_tokens(use_cache=False))

# %% [markdown]
# Nearly all of them have been through it before. Must they go again? Think of what a token leaves behind for those
# after it: in each attention layer, its **key** and its **value**. If they are still the same when the text has grown,
# they can be kept.
#
# *Before you look:* somebody exchanges one token in the middle. Which keys and values of layer 2 change?

# %%
predict("sampling.d", ...)

# %% tags=["nbval-check-output"]
torch.manual_seed(3)
plain = GPT(GPTConfig(V, context=32, n_layer=3, n_head=2, n_embd=24)).eval()  # any GPT; its weights do not matter
ids = torch.tensor([tokenizer.encode(sentence.split(". ")[0] + ".")])  # [1, T]
other = ids.clone()
other[0, -3] = tokenizer.encode(" kind")[0]  # in place of proud
kept, changed = sampling.KVCache(plain), sampling.KVCache(plain)
plain(ids, cache=kept)
plain(other, cache=changed)
for number, (a, b) in enumerate(zip(kept.layers, changed.layers, strict=True), 1):
    T = ids.shape[1]
    differ = (a.k - b.k).abs() + (a.v - b.v).abs()  # [B, H, room, hs]
    moved = differ[:, :, :T].amax((0, 1, 3)) > 1e-6  # [T]  at which positions is anything different?
    same = tokenizer.decode(ids[0, ~moved].tolist())
    print(f"layer {number}: changed {tokenizer.decode(other[0, moved].tolist())!r:14} not changed {same!r}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Its own, and those after it. In layer 1 a key depends on its own token and place only. From layer 2 on, every later
# position has listened to the changed one: *fox* and the full stop are the same tokens as before, and do not mean the
# same any more. No earlier position has listened, because of the causal mask of notebook 07.
# </details>
#
# Exchanging a token is the hard case. Adding one at the end is the easy one: **nothing that was there changes.** In a
# model without the mask, such as BERT, every new word would change all, and nothing could be kept.
#
# ## By hand, 5: one head with a memory
#
# The queries, keys and values of five tokens. Once all at once, with the mask; and once token by token, where each new
# query meets the keys that have been kept, its own among them.

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
# The queries are not kept: each is used once. What is kept, the keys and values of all layers, is called the **KV
# cache**. In the package a layer's part of it is a piece of memory with room for the whole text, into which the new
# rows are written:

# %%
show(sampling.LayerCache.extend)

# %% [markdown]
# The model does the rest with two small changes: positions are counted from where the cache ends, and a token's query
# attends to all that the cache hands back. Reading the prompt fills it, all at once; this is called **prefill**. Then
# each new token goes through alone; this is called **decode**. Your greedy loop becomes:

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

# %% tags=["nbval-check-output"]
print("without a cache:", count_tokens(use_cache=False))
print("with a cache:   ", count_tokens())

# %% [markdown]
# <details><summary>Answer</summary>
#
# 119. Twenty at once, and then one for each new token except the last, which nobody has to read.
# </details>
#
# **It must not change the answer.** Not by a little, either: a wrong position or a key too few gives texts that are
# nearly right. So the logits are compared, at each position, for a prompt read at once, token by token, and in pieces.

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
# (Equal to the last bit they are not: a matrix product of another shape adds its numbers in another order. This model
# also has a small convolution before its attention, as you know it from 06, and notebook 12 says why; the cache keeps
# its last inputs as well.)
#
# ## What it saves
#
# Take a larger model. It is not trained, because the time does not depend on the values of the weights. How long does
# one more token take, when so many stand before it? Each time is the middle one of a few runs.

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
# Both axes are logarithmic. Without a cache the time of one token grows with the text, so a whole text costs the square
# of its length, or more. With a cache it stays nearly the same: the layers see one token, and only the attention looks
# at all the others. (These are milliseconds of one machine that had other things to do as well; look at the shape.)
#
# One more thing is in these numbers. Reading a prompt and writing one are not alike:

# %%
rows = []
for (T, whole), (_, one) in zip(prefill[-3:], fast[-3:], strict=True):
    rows.append((T, f"{whole:.0f}", f"{whole / T:.2f}", f"{one:.1f}", f"{one * T / whole:.0f} ×"))
head = ["T", "prefill (ms)", "prefill, a token (ms)", "decode, a token (ms)", "decode : prefill"]
pictures.table(rows, head, align="rrrrr")

# %% [markdown]
# The arithmetic for a token is nearly the same. But prefill fetches each weight from memory once for all T tokens, and
# decode fetches every weight again for a single one. In large models decode waits for memory, not for arithmetic ([Pope
# et al. 2022](https://arxiv.org/abs/2211.05102)); in one as small as this, Python's own time is a part of it too. This
# is why a service answers many people in one batch: the weights come once for all of them.
#
# ## What it costs
#
# Count the numbers that one token leaves behind: a key and a value, in each of $L$ layers, for each of `n_kv_head`
# heads, of size $hs$ each. Times $T$ tokens, $B$ texts, and the bytes of a number:
#
# $$ \text{bytes} = 2 \cdot L \cdot n_\text{kv} \cdot hs \cdot T \cdot B \cdot \text{width} $$
#
# In many models `n_kv_head` is $H$. Others let several query heads share one head of keys and values, and notebook 12
# shows how. Llama 3 8B has 32 layers, 32 query heads, and 8 heads of keys and values, each with an $hs$ of 128. How
# large is its cache, for one text of 8,192 tokens and two bytes a number?

# %%
predict("sampling.f", ...)

# %% tags=["nbval-check-output"]
known = {
    "fables": (model.config, 4),
    "GPT-2 124M": (GPTConfig.gpt2("124M"), 4),
    "Llama 3 8B": (llama_config("8B"), 2),
    "Llama 3 8B, 32 heads of keys": (llama_config("8B", n_kv_head=32), 2),
}
rows, cost = [], {}
for name, (config, width) in known.items():
    T = config.context
    cost[name] = sampling.cache_bytes(config, T, width=width)
    kv_heads, hs = config.n_kv_head or config.n_head, config.n_embd // config.n_head
    a_token = 2 * config.n_layer * kv_heads * hs * width / 1024
    rows.append((name, width, f"{a_token:,.0f}", f"{T:,}", f"{cost[name] / 2**20:,.1f}"))
pictures.table(rows, ["model", "bytes a number", "KiB a token", "context", "MiB a full text"], align="lrrrr")

# %% [markdown]
# <details><summary>Answer</summary>
#
# About 1 GB: 128 KiB a token, times 8,192. (KiB, MiB and GiB count in steps of 1,024.)
# </details>
#
# A gigabyte for one text, and every text needs its own. Take a graphics card with 80 GB, put the weights of
# Llama 3 8B onto it, and fill the rest with caches. How many full texts fit?

# %% tags=["nbval-check-output"]
with torch.device("meta"):  # shapes only, no numbers
    count = GPT(llama_config("8B")).count_parameters()
free = 80e9 - 2 * count
print(f"weights: {2 * count / 1e9:.1f} GB of 80")
for name in list(known)[2:]:
    print(f"{name:30} {int(free // cost[name]):3} texts at once")

# %% [markdown]
# Sharing heads is what makes room for four times as many (Shazeer 2019; [Ainslie et al.
# 2023](https://arxiv.org/abs/2305.13245)). The package counts what a cache really holds. Is it what the formula says?

# %% tags=["nbval-check-output"]
cache = sampling.KVCache(model, max_length=100)  # for 100 tokens; the whole context unless you say so
model(torch.full((3, 7), end), cache=cache)
L, H, hs = model.config.n_layer, model.config.n_head, model.config.n_embd // model.config.n_head
print(f"the formula says {2 * L * H * hs * 100 * 3 * 4:,} bytes")
print(f"the last inputs of the convolution: {cache.layers[0].window.numel() * L * 4:,}")
print(f"the cache holds {cache.bytes:,}: the sum")
assert cache.bytes == sampling.cache_bytes(model.config, T=100, B=3)

# %% [markdown]
# It does. The room is taken at the first use and not token by token, so that nothing has to be moved later. And when
# the text is longer than the context? The model has never learned a position so far out, and it refuses:

# %% tags=["nbval-check-output"]
try:
    model(torch.full((1, model.config.context + 1), end))
except ValueError as refusal:
    print(refusal)

# %% [markdown]
# `generate` goes on all the same: past the context it shows the model the last tokens, as many as fit. Then every token
# stands at another position than before, the kept keys are worth nothing, and each step is a full pass again. That is
# slow, and it has forgotten the beginning. There is no free way out; notebook 12 shows how Llama stretches its
# positions.
#
# ## Break it: a cache that was not emptied
#
# A service has answered one person. The next one comes, and somebody forgot `cache.reset()`.

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
# Look for *Yara* in the first text. The second person has never heard of her. No error, no warning; the text is a
# little worse than usual, and a service that does this has told one person's secrets to another. The check is the one
# from above: the logits with the cache must be those of the full pass over **this** text.
#
# ## Texts of different lengths
#
# One batch is a tensor [B, T], and prompts have different lengths. The first idea is to pad the short ones, as in
# training. Try it on the left and on the right, greedy, and compare with each prompt alone.

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
    print(f"padded on the {name + ':':6} {', '.join(same)}; the last says {tokenizer.decode(new[-1])!r}")
print("alone, the last says", repr(tokenizer.decode(alone[-1])))

# %% [markdown]
# Only the longest prompt, which has no padding, is right. The others have read tokens that nobody wrote, and on the
# right the model even goes on from one of them. There are two cures. One is to pad on the left, to mask the padding,
# and to give each row its own positions; `transformers` does this, and each of the three is easy to forget.
#
# The other lets nobody see any padding, and is what Meta's first Llama code did. All rows walk in step. The steps begin
# where the shortest prompt ends, and a row whose prompt is longer takes its own next token instead of the drawn one,
# until it is through.

# %% tags=["nbval-check-output"]
together = sampling.generate_each(model, rows, max_new_tokens=9, temperature=0)
for row, said, expected in zip(rows, together, alone, strict=True):
    print("as alone:" if said[len(row) :] == expected else "wrong:", tokenizer.decode(said[1:]))

# %% [markdown]
# The price: a long prompt beside a short one is read token by token. Large services go further, and let a new text take
# the place of one that has ended in the middle of a batch (Yu et al. 2022), with caches cut into pages, like the memory
# of a computer ([Kwon et al. 2023](https://arxiv.org/abs/2309.06180)).
#
# ## As it is written
#
# Nobody likes to wait for a whole text. `stream` hands out each piece as soon as it is there. The cell prints them with
# a bar between, so that you see them.

# %%
generator = torch.Generator().manual_seed(7)
start = [end, *tokenizer.encode(sentence)]
for piece in sampling.stream(model, tokenizer, start, 40, stop=end, top_p=0.9, generator=generator):
    print(piece, end="|", flush=True)

# %% [markdown]
# A token can be less than a character, as you saw in 01. Then `stream` holds it back until the character is whole:

# %% tags=["nbval-check-output"]
decoder = tokens.StreamDecoder(tokenizer)
print([decoder.push(id) for id in tokenizer.encode("a 🦊!")])

# %% [markdown]
# A text ends when the model says a **stop token**, here the end token, or after the number of tokens that you allow.
#
# ## At size: quality against variety
#
# Now the question that all the settings are about. You want stories that are right **and** varied. With the fables you
# can measure both.
#
# - *Right:* `fables.read` reads a story and finds the first place that is no fable, or that contradicts what was said.
# - *Varied:* each token was drawn from a distribution $q$, whatever the settings made of it. The mean over stories of
#   the sum of $-\ln q$ is near the entropy of the teller, in nats a story. The grammar itself has a known one.
#
# A family is one knob at several values. Its stories are told as one batch, a group of `n` rows for each value, and the
# cache makes it quick. First the telling. It is the loop from above, and it adds up the surprises on the way.

# %%
def tell(family, n, new=125):
    """For each setting n stories: their tokens [n, new], and for each story its sum of -ln q."""
    token, generator = torch.full((len(family) * n, 1), end), torch.Generator().manual_seed(0)
    cache, columns = sampling.KVCache(model, max_length=new), []
    nats, over = torch.zeros(len(token)), torch.zeros(len(token), dtype=torch.bool)
    for _ in range(new):
        groups = model(token, cache=cache)[0][:, -1].split(n)  # for each setting [n, V]
        q = torch.cat([P(logits, **setting) for logits, setting in zip(groups, family, strict=True)])
        token = sampling.draw(q, generator)  # [settings * n, 1]
        surprise = -q.gather(-1, token)[:, 0].log()  # at the tokens that were drawn
        nats += surprise.masked_fill(over, 0.0)  # a story that is over has no more of them
        over |= token[:, 0] == end
        columns.append(token)
    return torch.cat(columns, dim=1).split(n), nats.split(n)


# %% [markdown]
# Then the reading. A story that does not end within the allowed tokens counts as a mistake.


# %%
def is_right(row):
    return end in row and fables.read(tokenizer.decode(row[: row.index(end)])).error is None


def race(family, n):
    """For each setting: variety in nats a story, the percentage of stories without a mistake, a label."""
    points = []
    for ids, nats, setting in zip(*tell(family, n), family, strict=True):
        right = sum(is_right(row) for row in ids.tolist())
        points.append((float(nats.mean()), 100 * right / n, str(next(iter(setting.values())))))
    return points


# %%
def knob(name, *values, **others):
    return [{name: value} | others for value in values]


families = {
    "temperature": knob("temperature", 0.2, 0.6, 1, 1.5),
    "top-p": knob("top_p", 0.3, 0.6, 0.9),
    "top-k": knob("top_k", 2, 8),
    "min-p 0.1, temperature": knob("temperature", 2, 3, min_p=0.1),
}
n, curves = 160, {}
for name, family in families.items():
    curves[name] = race(family, n)
    print(f"{name}: {len(family)} settings, {n} stories each")

# %%
entropy = {"the grammar": fables.entropy()}
axes = ("variety: entropy (nats a story)", "stories without a mistake (%)")
pictures.lines(curves, *axes, at=entropy, legend="upper right")

# %% [markdown]
# This is the picture of the notebook. The number beside a point is its setting. Before you compare two points: each is
# a count, and typically off by the error of the dice above.

# %% tags=["nbval-check-output"]
worst = 100 * math.sqrt(0.5 * 0.5 / n)
print(f"the height of a point is typically off by up to {worst:.1f} percent")
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
# Both points of a pair are uncertain, so believe a difference from two or three of these errors on. Now look at the
# curves one by one.
#
# - *Temperature:* a little below 1 rare tokens get rarer, the model's mistakes among them, and little variety is lost.
#   Far below, mostly variety is lost. (What is gained is within the errors of the picture.) Above 1 the curve falls:
#   the tail takes over, and what is counted as variety is nonsense. Greedy, at temperature 0, is not drawn: it stands
#   at zero in both.
# - *Top-p* and *top-k* give away variety. Small values also make more mistakes, for the reason that you saw with
#   greedy.
# - *Min-p* cuts the tail, and so a temperature of 2 does far less harm than one of 1.5 without it. But at the same
#   variety, one point above the other, it is no better here than a temperature a little above 1. Put 1.1 and 1.2 into the
#   temperature family, and see.
#
# To the right of the dotted line a teller is more varied than the grammar. A little of that can be right: rare animals
# as often as common ones. How much? If every story that there is came equally often, the entropy would be the logarithm
# of their number.

# %% tags=["nbval-check-output"]
print(f"the grammar: {fables.entropy():.1f} nats; all its stories equally likely: {math.log(fables.count()):.1f} nats")

# %% [markdown]
# A teller that lies clearly beyond the second number tells, for certain, stories that are none.
#
# What the picture does not show: it is one small model on one simple language. For a large model there is no
# `fables.read`; people are asked instead, or another model.
#
# Which setting should you take? For one short answer, a low temperature, and an eye on the mistakes that greedy makes
# each time. For many good texts, a temperature of 0.7 to 1 with a light cut, top-p 0.9 or min-p 0.05 to 0.1. And say
# which you took: a model's score depends on it.
#
# ## Exercises
#
# Replace the dots by your function. `find("sampling.1")` shows the whole task, `hint("sampling.1")` helps.

# %%
find("sampling.1")


# %% tags=["nbval-check-output"]
def with_temperature(logits, temperature): ...


check("sampling.1", with_temperature)

# %%
find("sampling.2")


# %% tags=["nbval-check-output"]
def top_k(logits, k): ...


check("sampling.2", top_k)

# %%
find("sampling.3")


# %% tags=["nbval-check-output"]
def top_p(logits, p): ...


check("sampling.3", top_p)

# %%
find("sampling.4")


# %% tags=["nbval-check-output"]
def min_p(logits, p): ...


check("sampling.4", min_p)

# %%
find("sampling.5")


# %% tags=["nbval-check-output"]
def penalise(logits, seen, penalty): ...


check("sampling.5", penalise)

# %%
find("sampling.6")


# %% tags=["nbval-check-output"]
def draw(probabilities, u): ...


check("sampling.6", draw)

# %%
find("sampling.7")


# %% tags=["nbval-check-output"]
def gumbel_draw(logits, uniform): ...


check("sampling.7", gumbel_draw)

# %%
find("sampling.8")


# %% tags=["nbval-check-output"]
def attend_to_all(q, k, v, keys, values): ...


check("sampling.8", attend_to_all)

# %%
find("sampling.9")


# %% tags=["nbval-check-output"]
def cache_bytes(n_layer, n_head, n_kv_head, n_embd, T, B, width): ...


check("sampling.9", cache_bytes)

# %% [markdown]
# The last one is a way to choose that looks ahead. Greedy takes the best token, and may miss the best **text**.

# %%
find("sampling.10")


# %% tags=["nbval-check-output"]
def beam_search(first, table, length, width): ...


check("sampling.10", beam_search)

# %% [markdown]
# **Open:** find settings that lie above all the curves of the picture, with an entropy of at least 26 nats. Add a
# family to `families`, and run its cell and the picture's again. Write down what you expect before you look, and say at
# the end how sure you are.

# %%
progress()

# %%
recap("sampling")

# %% [markdown]
# ## What to remember
#
# 1. A model gives probabilities. Choosing is your part: greedy is one text for ever, sampling draws as the model says.
# 2. Temperature divides the logits: below 1 sharper, above 1 flatter, and a flat distribution has a heavy tail.
# 3. Top-k keeps a number of tokens, top-p a share of the probability, min-p what is near the best.
# 4. Causality lets keys and values be kept. The cache costs $2 \cdot L \cdot n_\text{kv} \cdot hs$ numbers a token, and
#    never changes the answer.
# 5. Prefill reads the prompt at once, decode writes token by token and waits for memory.
#
# **Three questions**
#
# 1. At which temperature is the mean surprise of a model at its own text equal to the entropy of the draw?
#
# <details><summary>Answer</summary>
# At 1, without any cut: then it draws from the distribution that it believes in.
# </details>
#
# 2. Top-p with p = 0.9, and the likeliest token has 0.95. How many tokens stay?
#
# <details><summary>Answer</summary>
# One. It crosses p at once, and the token that crosses stays.
# </details>
#
# 3. Why are keys and values kept, and queries not?
#
# <details><summary>Answer</summary>
# Every later token asks the old keys and reads the old values. An old query has asked already.
# </details>
#
# **To go deeper:** Ari Holtzman et al., [The Curious Case of Neural Text
# Degeneration](https://arxiv.org/abs/1904.09751) (2019), on why the likeliest text is not a good one. Angela Fan et al.
# [2018](https://arxiv.org/abs/1805.04833) for top-k, Minh Nguyen et al. [2024](https://arxiv.org/abs/2407.01082) for
# min-p, Nitish Keskar et al. [2019](https://arxiv.org/abs/1909.05858) for the penalty, Noam Shazeer
# [2019](https://arxiv.org/abs/1911.02150) on what decoding costs. In the package, `gptlab/sampling.py` from top to
# bottom.
#
# ## Next
#
# Llama's cache is four times smaller than it would be with GPT-2's heads. Llama has three more parts that GPT-2 has
# not. What is each of them good for? [Notebook 12](12_from_gpt2_to_llama.ipynb) exchanges them, one at a time.
