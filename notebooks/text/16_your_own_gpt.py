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
# # 16 · Your own GPT
#
# *You bring a text. You leave with a model of it, and with a page that you can send to a friend.*
#
# So far we mostly used texts of our own making: fables whose entropy we knew exactly. Yours will be different: a book
# that you love, ten years of a group chat, the source code of your first game, a drawer full of folk songs. Nobody
# knows its entropy. It's finite, so the model will read it more than once. And there may be things in it that a model
# should never repeat. So this notebook is about judgement: what to look at before training, what to compare a loss
# with, and how to see that a model has stopped learning and begun to memorise.
#
# **After this notebook you can**
#
# - look at a text before a model does: its length, its alphabet, what occurs in it twice, what is private,
# - choose tokens, a size and a number of steps by the length of the text, and say what that choice rests on,
# - say whether a loss is any good, in bits per byte, next to a model that counts and next to a file compressor,
# - measure memorising, and stop before it,
# - fine-tune on a dozen examples, resume a run, export the model, and put it on a page that runs in any browser.
#
# **It builds on** all of the notebooks before it, above all on tokens (01), training (10), sampling (11) and
# fine-tuning (14). **It takes** about 45 minutes to read, one and a half to three minutes to run on two CPU cores, and
# less than 1 GB of memory.

# %%
import dataclasses
import math
import random
import string
import tempfile
import textwrap
import warnings
from pathlib import Path

import torch

from gptlab import checkpoints, corpora, curation, finetuning, gpu, memorization, pictures, sampling, training
from gptlab.batches import Batches
from gptlab.bpe import BPETokenizer
from gptlab.cluster.scaling import chinchilla_tokens
from gptlab.evaluation import mean_loss
from gptlab.exercises import check, predict, quiz, recap
from gptlab.huggingface import save_model as save_for_transformers
from gptlab.model import GPT
from gptlab.page import write as write_page
from gptlab.runs import documents, model_config, own_text, reporting
from gptlab.tokens import END_OF_TEXT, CharTokenizer
from gptlab.training import TrainConfig

seed = 0

# %% tags=["nbval-check-output"]
pictures.pipeline("your_own_gpt")

# %% [markdown]
# Three questions about earlier notebooks, if you like. Replace the dots with your letters.

# %% tags=["nbval-check-output"]
quiz("your_own_gpt", [..., ..., ...])

# %% [markdown]
# ## The question: which text?
#
# Any text will do. As a rule of thumb, twenty thousand characters are enough to see something happen, and a few hundred
# thousand give the model a recognisable voice. If you have nothing at hand, leave the line below as it is. Then you
# train on *Romeo and Juliet*, which is a good stand-in for a text of your own: it's short, it has a strong voice, and
# you will notice when the model copies it.

# %%
mine = [corpora.romeo.PATH]  # or ["my_book.txt"], ["a_folder"], ["rows.jsonl"], [*Path("my_game").rglob("*.py")]
texts = documents.read(mine)

# %% [markdown]
# Put paths of your own there, and run the notebook from top to bottom. Every cell works on any text that has a thousand
# characters and at least two documents, except that the twelve examples near the end were written for the play, so
# write your own. What the prose says about an output holds for the play, trained on a CPU.
#
# ## Look at it first
#
# `documents.read` has cut the text into **documents**: rows of a table, files of a folder, or, in a single file,
# paragraphs with blank lines between them. Here each speech is a document. If yours are separated in another way, say
# so: `documents.read(mine, separator="\n")` makes each line a document, which suits a chat. Between any two of them the
# model will read an end token, so it can learn how a text begins and when to stop.

# %% tags=["nbval-check-output"]
alphabet = sorted(set().union(*texts))
print(f"{sum(map(len, texts)):,} characters in {len(texts):,} documents, {len(alphabet)} different characters:")
print(textwrap.fill("".join(c for c in alphabet if c.isprintable()), 100))
longest = max(texts, key=len)
print(f"the longest document has {len(longest):,} characters and begins: {longest[:60]!r}")
print("three others:", *(repr(text[:70]) for text in texts[100:103]), sep="\n  ")

# %% [markdown]
# Read that with suspicion. Does the alphabet have characters that surprise you? A `�` means that the file was once
# opened in the wrong encoding. Line breaks, tabs and the `\xa0` of text from web pages are counted but not shown;
# `[c for c in alphabet if not c.isprintable()]` lists them. Is the longest document really one, or did a separator go
# missing? Ten minutes here save an evening later, because a model learns whatever is there: page numbers, the e-mail
# signature below each message, the licence at the end of the e-book.
#
# ### What occurs twice
#
# A sentence that occurs ten times is read ten times as often, and it is memorised first. Text from the web is full of
# such repetitions. In one well-known corpus Lee et al. (2022) found a single sentence more than sixty thousand times,
# and models that they trained without the duplicates copied ten times less. How would you find them?
#
# ### Your turn: Find the duplicates
#
# `your_own_gpt.1` · *warm-up* · 6 minutes
#
# `documents` is a `list` of `str`. Two documents say the same if
# they differ in upper case and in white space only (`text.casefold()` and `text.split()` help). Give the positions of
# each group that has more than one member, as a `list` of `list` of `int`: `["A fox.", "A hen.", "a  fox."]` gives
# `[[0, 2]]`. Groups come in the order of their first member.


# %% tags=["nbval-check-output"]
def duplicates(documents: list[str]) -> list[list[int]]: ...


check("your_own_gpt.1", duplicates)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def duplicates(documents):
#     groups = {}
#     for position, text in enumerate(documents):
#         groups.setdefault(" ".join(text.casefold().split()), []).append(position)
#     return [group for group in groups.values() if len(group) > 1]
# ```
# </details>

# %% tags=["nbval-check-output"]
groups = curation.duplicates(texts)
print(f"{len(groups)} documents occur more than once")
for group in groups[:6]:
    print(f"  {len(group)} times: {texts[group[0]][:60]!r}")
texts = curation.without_duplicates(texts)

# %% [markdown]
# In the play these are harmless: an empty cue, a short shout. We keep the first of each and go on.
#
# ### What is private
#
# Can a model give away what it has read? It can, and we'll measure it below. So look before you train, above all if
# you want to share the model: once something is in the weights, there is no reliable way to take it out again.
# `curation.private_data` searches for what has a recognisable shape. Here it is on two invented messages:

# %% tags=["nbval-check-output"]
chat = [
    "Ada, 28.11.2026: my new address is ada@example.org, or call +44 20 7946 0018 after six",
    "Bo: I sent the money to GB82 WEST 1234 5698 7654 32. The key is under the third flower pot, as always",
]
for found in curation.private_data(chat):
    print(f"document {found.document}: {found.kind:<13} {found.text}")

# %% [markdown]
# It didn't mistake the date for a phone number, and it verified the check digits of the account. It did not notice the
# flower pot. A search for patterns finds what has a pattern; for names, streets and secrets you have to read, or leave
# out what you would not show. And your text?

# %% tags=["nbval-check-output"]
private = curation.private_data(texts)
print(f"{len(private)} findings")
for found in private[:10]:
    print(f"  document {found.document}: {found.kind:<13} {found.text}")

# %% [markdown]
# If something was found, `texts = [text for i, text in enumerate(texts) if i not in {f.document for f in private}]`
# leaves those documents out. One question no program can answer for you: is the text yours to train on, and to pass on?
# A model that you send to a friend carries pieces of the text with it. Shakespeare won't mind.
#
# ## A plan: which tokens, which size, how long?
#
# On fables we could afford the question "which size is best?". With a text of your own you want an answer before you
# begin. The package has a rule for that, the one that `python3 -m gptlab train my.txt` follows. All of it is this
# table, a vocabulary of 512 to 4,096 byte pairs that grows with the text, and one line about tokens: a text of up to
# 200,000 characters, with at most 100 different ones among them, is read character by character, and any other text as
# byte pairs.

# %% tags=["nbval-check-output"]
rows = [(f"{s.characters:,}", s.n_layer, s.n_embd, s.context, s.steps, s.dropout) for s in own_text.SIZES]
pictures.table(rows, ["from … characters", "layers", "channels", "context", "steps", "dropout"])

# %% [markdown]
# Is that a good rule? Let's do the arithmetic of the course on it. A model has N parameters; in training it reads D
# tokens; that takes about $6 N D$ floating-point operations, two for each weight in the forward pass and four in the
# backward pass. And a text has only so many tokens: if D is larger, the run makes several **passes** over it, also
# called epochs. The last column is what the **Chinchilla rule** (Hoffmann et al. 2022) asks for, about twenty tokens
# per parameter. Compare it with the column of the training tokens that there are.


# %% tags=["nbval-check-output"]
def arithmetic(characters, alphabet=80):
    """What the rule plans for a text: its row of the table below."""
    recipe = own_text.plan(characters, alphabet)
    by_character = recipe.tokens == "characters"
    with torch.device("meta"):  # shapes without numbers
        model = GPT(model_config(recipe, alphabet + 1 if by_character else recipe.vocab_size))
    N = model.count_parameters()
    D = recipe.training.steps * recipe.batch_size * recipe.model["context"]
    there = round(0.9 * characters / (1 if by_character else 3))  # a byte pair token has about three characters
    wanted = round(chinchilla_tokens(N))
    return characters, recipe.tokens, there, N, D, round(D / there, 1), f"{6 * N * D:.0e}", wanted


header = ["characters", "tokens", "training tokens", "N", "D", "passes", "FLOPs", "Chinchilla's D for N"]
lengths = (5_000, 50_000, 130_000, 500_000, 5_000_000, 50_000_000)
pictures.table([arithmetic(length) for length in lengths], header, align="rlrrrrrr")

# %% [markdown]
# Our rule and Chinchilla's disagree loudly. By twenty tokens per parameter, all of them new, a play of 130,000
# characters is enough for a model of about six thousand parameters, far too small to be of any use. That doesn't make
# Chinchilla wrong. It answers another question: *given so much compute and as much text as you like, which size is
# best?* You have it the other way round, plenty of compute and one text, so two other findings count. Up to about four
# passes over a text are nearly as good as fresh text (Muennighoff et al. 2023, which you met in notebook 10), and a
# model that is too large for its text still predicts well if you stop it in time and, where the text is short, let
# dropout hold it back. So our rule takes a model that is too large on paper and more passes than four where a text is
# short, and leaves the rest to the validation loss.
#
# How far can you trust it? It rests on trials with a few English texts, and it was made so that a run takes minutes on
# a laptop. Take it as a starting point: every number in it is an option of `train`.
#
# ### Your turn: The best size for a budget
#
# `your_own_gpt.2` · *core* · 8 minutes
#
# Suppose for a moment that text is unlimited. With `flops` to spend
# and `ratio` tokens per parameter, how large a model N and how many tokens D? Use $6 N D$ for the cost. `flops` and
# `ratio` are `float`; give a tuple of two `float`. For `flops=1.2e14, ratio=20.0` it is `(1e6, 2e7)`.


# %% tags=["nbval-check-output"]
def best_size(flops: float, ratio: float) -> tuple[float, float]: ...


check("your_own_gpt.2", best_size)

# %% [markdown]
# <details><summary>Our version</summary>
#
# With D = ratio · N the cost is 6 · ratio · N², so N is a square root: ten times the compute makes the best model only
# about three times as large.
#
# ```python
# def best_size(flops, ratio):
#     N = math.sqrt(flops / (6 * ratio))
#     return N, ratio * N
# ```
# </details>
#
# Now for your text. On a GPU the same cells train a larger model, since it takes hardly any more of your time there. It
# gets more dropout and at most about twenty passes, so that the text isn't learned by heart at once. A very short one
# gets more of them, since sixty steps are the least that teach it anything; there, watch the validation loss. On a CPU,
# half of the rule's steps keep this notebook short. The next cell says which it is.

# %%
device = gpu.pick_device()
recipe = own_text.plan(sum(map(len, texts)), len(alphabet))
if device.type == "cuda":
    larger = dict(n_layer=6, n_head=6, n_embd=384, context=256, dropout=0.2)
    recipe = dataclasses.replace(recipe, batch_size=64, model=recipe.model | larger)
    there = sum(map(len, texts)) // (1 if recipe.tokens == "characters" else 3)  # tokens, about
    steps = max(60, min(1000, 20 * there // (64 * 256)))
else:
    steps = recipe.training.steps // 2  # take all of them for your own text
plan = dataclasses.replace(recipe.training, steps=steps, evaluate_every=steps // 6, save_every=steps // 2)
context = recipe.model["context"]
print(f"on {device.type}: {recipe.tokens}, {plan.steps} steps of {recipe.batch_size} sequences, a model with")
print(", ".join(f"{name} {value}" for name, value in recipe.model.items()))

# %% [markdown]
# ## What to validate on
#
# In notebook 10 the last tenth of the text was set aside. For a book that can be the worst tenth to choose: the end of
# a story has other people and other words than its beginning. So we set aside whole documents from everywhere. And
# duplicates have to end up on the same side, or the model is tested on what it has already read.
#
# ### Your turn: Split without a leak
#
# `your_own_gpt.3` · *stretch* · 12 minutes
#
# Number the *different* documents in the order in which they first appear, 0, 1, 2, …; here two documents say the same
# only if they are equal. Every `every`-th goes to validation, those whose number is `every - 1`, `2 * every - 1` and so
# on, with all their copies; the others are for training. Keep the order within each side. `documents` is a `list` of
# `str`, `every` an `int` of at least 2; the result is a tuple of two `list` of `str`. `["a", "b", "a", "c", "b"]` with
# `every=2` gives `(["a", "a", "c"], ["b", "b"])`.


# %% tags=["nbval-check-output"]
def split(documents: list[str], every: int) -> tuple[list[str], list[str]]: ...


check("your_own_gpt.3", split)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def split(documents, every):
#     numbers = {}
#     for text in documents:
#         numbers.setdefault(text, len(numbers))
#     held_out = {text for text, number in numbers.items() if number % every == every - 1}
#     to_train = [text for text in documents if text not in held_out]
#     return to_train, [text for text in documents if text in held_out]
# ```
# </details>
#
# The package's version picks documents at random instead of counting, and ignores upper case and white space as in the
# first exercise. From a long text, sixty thousand held-out characters are enough to measure with.

# %% tags=["nbval-check-output"]
to_train, to_validate = curation.split_documents(texts, fraction=0.9, seed=seed)
enough = min(1, 60_000 / sum(map(len, to_validate)))
to_validate = to_validate[: math.ceil(enough * len(to_validate))]
print(f"{len(to_train):,} documents to train on, {len(to_validate):,} to validate on")
print("on both sides:", len(set(to_train) & set(to_validate)))

# %% [markdown]
# ## Train it
#
# You know the parts by now: a tokenizer, one long sequence of ids with an end token between documents, batches, a
# model. One habit is new. Whenever the model predicts the held-out text better than ever before, `keep_best` saves it,
# so that in the end we can take the best one, whatever comes later.

# %%
if recipe.tokens == "characters":
    tokenizer = CharTokenizer.from_text("".join(alphabet), [END_OF_TEXT])
else:
    tokenizer = BPETokenizer.train("\n".join(to_train), recipe.vocab_size, special_tokens=[END_OF_TEXT])
end = tokenizer.end


def joined(part, tokenizer=tokenizer):
    """One row of ids: the end token, then each document and the end token after it."""
    return torch.tensor([tokenizer.end, *(id for text in part for id in [*tokenizer.encode(text), tokenizer.end])])


train_ids, unseen_ids = joined(to_train), joined(to_validate)
batches = Batches(train_ids, recipe.batch_size, context, seed=seed)
seen = Batches(train_ids[: len(unseen_ids)], B=64, T=context, order="ordered")
unseen = Batches(unseen_ids, B=64, T=context, order="ordered")


# %%
def new_model():
    torch.manual_seed(seed)
    return GPT(model_config(recipe, tokenizer.vocab_size)).to(device)


home, lowest = Path(tempfile.mkdtemp()), {}


def keep_best(name, model, tokenizer, validation):
    """Save a model in home / name if it predicts unseen text better than ever before."""
    if validation < lowest.get(name, math.inf):
        lowest[name] = validation
        checkpoints.save_model(model, home / name, tokenizer)


def look(model):
    measured = {"training": mean_loss(model, seen), "validation": mean_loss(model, unseen)}
    keep_best("my_model", model, tokenizer, measured["validation"])
    return measured


model = new_model()
passes = plan.steps * recipe.batch_size * context / len(train_ids)
print(f"{model.count_parameters():,} parameters, V = {tokenizer.vocab_size}, {passes:.1f} passes over the text")

# %% [markdown]
# With a text of your own you'll want to see the model write while it learns. `live` does that: every few steps it
# prints the loss, and the beginning of a text that the model would write now. Every sample starts from the same random
# numbers, so you'll see one text improve. Watch what it gets right first. And since your own runs will be longer than
# this one, let's also stop in the middle, on purpose; the run saves itself in a folder.


# %%
def live(history):
    written = reporting.sample(model, tokenizer, end)
    return f"step {history.steps:>4}  loss {history.losses[-1]:.2f} nats per token\n{written}"


how = dict(evaluate=look, folder=home / "run", dtype=gpu.pick_dtype(device))
running = training.run(model, batches, plan, **how)
first_half = training.with_progress(running, steps=plan.steps // 2, line=live)
running.close()

# %% [markdown]
# First came spaces and line lengths, then the shape of a speech, with a name in capitals and a colon, then something
# like words. It's the order of notebook 10 once more: form before content. The loss still falls where the eye sees
# little change, because one short sample is a poor measure.
#
# Now the laptop is closed, and everything in memory is gone. We start again with a new model, fresh random weights and
# all. `resume=True` finds the checkpoint, and the run goes on as if nothing had happened, with its optimizer, its
# learning rate and its order of batches. Notebook 18 checks that to the last digit.

# %%
model = new_model()
running = training.run(model, batches, plan, **how, resume=True)
history = training.with_progress(running, steps=plan.steps, line=live)
print("the first half is remembered:", history.losses[: first_half.steps] == first_half.losses)

# %%
pictures.training(history, what=["training", "validation"], unit="nats per token", title="Your text")

# %%
final = min(history.evaluations, key=lambda e: e["validation"])
model = checkpoints.load_model(home / "my_model")[0].to(device)  # from here on, the best one
print(f"best at step {final['step']}, in nats per token:")
print(f"validation {final['validation']:.2f}, training {final['training']:.2f}")
print("expected for the play on a CPU: validation between 1.6 and 1.9, and training a little lower")
speed = 6 * model.count_parameters() * history.tokens / history.seconds
minutes = 6 * model.count_parameters() * recipe.training.steps * recipe.batch_size * context / speed / 60
print(f"{speed / 1e9:.1f} billion operations per second: all steps of the rule would take {minutes:.1f} minutes here")

# %% [markdown]
# Both curves fall, and a gap opens between them. The model knows its training text a little better than text of the
# same kind, but it's still getting better at both. Nothing has gone wrong yet, and more steps would help. Is the
# number any good, though?
#
# ## Compared with what?
#
# For fables there was a floor. For your text nobody knows one, and a loss in nats per token says little by itself:
# with larger tokens the same model would have another. So we change the unit, and look for company.
#
# **Bits per byte**, which you know from notebook 03, is the loss of the whole text, in bits, divided by its length in
# bytes. Tokens cancel out, so any two models can be compared, whatever their tokens are.
#
# ### Your turn: Bits per byte
#
# `your_own_gpt.4` · *warm-up* · 6 minutes
#
# A model has a mean loss of `nats` per token on a `text` that is
# `tokens` tokens long. How many bits is that for each byte of the text in UTF-8? `nats` is a `float`, `tokens` an
# `int`, `text` a `str` that isn't empty; the result is a `float`. With `nats = ln 2`, `tokens = 6` and `text = "né"`,
# which has three bytes, it is 2.0.


# %% tags=["nbval-check-output"]
def bits_per_byte(nats: float, tokens: int, text: str) -> float: ...


check("your_own_gpt.4", bits_per_byte)

# %% [markdown]
# <details><summary>Our version</summary>
#
# The whole text costs `nats * tokens`. A bit is ln 2 nats, and `len(text)` would count characters.
#
# ```python
# def bits_per_byte(nats, tokens, text):
#     return nats * tokens / math.log(2) / len(text.encode("utf-8"))
# ```
# </details>
#
# For company we take two kinds of models that nobody would call intelligent.
#
# An **n-gram model** counts. A 5-gram model asks which token followed these four, and how often; where it hasn't seen
# the four, it asks about the last three, and so on down. For decades this was how speech recognisers and translation
# systems knew what people are likely to say. `memorization.NGram` does it in a page of code. Its **smoothing** (Witten
# and Bell 1991) mixes the counts for long contexts with those for shorter ones, so that nothing is impossible.
#
# A **file compressor** is a language model too, although it doesn't look like one. To make a file small, it has to
# expect what is coming; what it expects costs few bits, what surprises it costs many. That is Shannon's insight once
# more (1948). We let `gzip` and `lzma` read the training text, and count what the held-out text needs on top. `gzip`
# can look back only 32 kB, `lzma` some megabytes, which here is everything.
#
# *Before you run on:* who predicts the held-out text best?

# %% tags=["nbval-check-output"]
predict("your_own_gpt.a", ...)

# %% tags=["answers-prediction"]
plain, before = "\n\n".join(to_validate), "\n\n".join(to_train)  # an end token is a blank line
targets, size = len(unseen_ids) - 1, len(plain.encode())


def bits(nats):
    return memorization.bits_per_byte(nats, targets, size)


rivals = {"every token equally likely": bits(math.log(tokenizer.vocab_size))}
for n in (1, 2, 3, 5):
    counting = memorization.NGram(train_ids[:1_000_000], n, tokenizer.vocab_size)
    rivals[f"{n}-gram"] = bits(counting.loss(unseen_ids))
rivals |= memorization.compressed(plain, given=before)
rivals["your GPT"] = bits(final["validation"])
pictures.compare(rivals, "bits per byte of held-out text", title="Who knows this text best?")

# %% [markdown]
# <details><summary>The answer</summary>
#
# b. Expected for the play on a CPU: the 5-gram model needs about a tenth of a bit less than the GPT, and `lzma` and
# the 3-gram model a quarter of a bit more.
# </details>
#
# That's sobering, and it's the reason for this section: without company, a falling curve and samples full of thee and
# thou look like a success. Counting takes a single pass over the text. The GPT has had half of the rule's steps. With
# all 600, in three runs of ours, it came out ahead each time, by one to five hundredths of a bit. We measure it in
# blocks of 96 tokens, so the first tokens of a block have hardly any context, which costs it a few hundredths of a bit.
#
# Counting longer n-grams would gain little, because most longer sequences in the validation part were never seen in
# training. A GPT doesn't need to have seen them. It shares what it knows among similar contexts, which is the whole
# reason for using vectors instead of counts. But it has to win anew on each text. If *your* GPT loses, train it for
# longer, or accept that your text is so short or so regular that counting is the right tool.
#
# ## The moment it begins to memorise
#
# Four passes over the play were too few to learn it by heart. To see memorising happen, let's make it easy: four
# thousand characters instead of a whole play, no dropout, and seventy passes. And let's plant something. Into those
# pages goes, once, a sentence that nobody could guess. Carlini et al. (2019) call it a **canary**, after the birds
# that warned miners.

# %% tags=["nbval-check-output"]
dice = random.Random(16)


def secret(letters):
    return f"The secret word is {letters}."


words = ["".join(dice.choice(string.ascii_lowercase) for _ in range(5)) for _ in range(256)]
ours, others = words[0], words[1:]
pages, length = [], 0
for text in to_train:
    if length < 4000:
        pages, length = [*pages, text], length + len(text)
dice.shuffle(planted := [*pages, secret(ours)])
print(f"{len(planted)} documents, {sum(map(len, planted)):,} characters, and in them, once: {secret(ours)}")

# %% [markdown]
# How do we find out whether the model knows it? We compare. There are 255 other words of five random letters that it
# has never read. We rank all 256 by what they cost the model in nats, the lowest first. The **exposure** of ours is
# $\log_2 256$ minus $\log_2$ of its rank: 8 bits if it comes first, 1 bit in the middle, and on average 1.4 bits if the
# model hasn't noticed it.
#
# *Before you run on:* the secret occurs once, and the text is read about seventy times. How will it rank in the end?

# %% tags=["nbval-check-output"]
predict("your_own_gpt.b", ...)

# %%
letters = CharTokenizer.from_text("".join(planted + to_validate) + secret(string.ascii_lowercase), [END_OF_TEXT])
tiny = own_text.plan(4000, len(letters.characters))
T = tiny.model["context"]
pages_ids, fresh = joined(planted, letters), Batches(joined(to_validate, letters)[:6000], 64, T, order="ordered")
known = Batches(pages_ids, 64, T, order="ordered")
candidates = [letters.encode(secret(word)) for word in words]


def watch(model):
    """Four views of a model that reads the same few pages again and again."""
    measured = {"training": mean_loss(model, known), "validation": mean_loss(model, fresh)}
    costs = memorization.document_nats(model, candidates, start=letters.end)
    written = sampling.tell_stories(model, letters, 24, letters.end, seed=seed, max_new_tokens=T - 1)
    measured["copied"] = memorization.copied(written, planted, n=15)
    measured["exposure"] = memorization.exposure(costs[0], costs[1:])
    keep_best("stopped", model, letters, measured["validation"])
    return measured


# %%
torch.manual_seed(seed)
without_dropout = dataclasses.replace(tiny, model=tiny.model | {"dropout": 0.0})
memoriser = GPT(model_config(without_dropout, letters.vocab_size)).to(device)
long_run = dataclasses.replace(tiny.training, steps=300, evaluate_every=20)
pages_batches = Batches(pages_ids, tiny.batch_size, T, seed=seed)
memorising = training.train(memoriser, pages_batches, long_run, evaluate=watch)

# %%
pictures.training(memorising, what=["training", "validation"], unit="nats per token", title="Four thousand characters")

# %% [markdown]
# That's the picture to remember. The lower curve is what a beginner looks at, and it's a triumph. The upper one turns
# around within the first twenty passes, and from there on training makes the model worse at predicting the speeches
# that it hasn't read. What else happens in the meantime?

# %% tags=["answers-prediction"]
curve = {"the secret": [(e["step"], e["exposure"]) for e in memorising.evaluations]}
pictures.lines(
    curve, "step", "exposure (bits, 8 at most)", level={"by chance": 1.4}, title="A sentence that occurred once"
)

# %%
shares = {"samples of the model": [(e["step"], 100 * e["copied"]) for e in memorising.evaluations]}
human = 100 * memorization.copied(to_validate, planted, n=15)
pictures.lines(shares, "step", "copied (% of stretches of 15 characters)", level={"held-out text": human})

# %% [markdown]
# <details><summary>The answer</summary>
#
# c. In three runs of ours it came first somewhere between step 60 and step 100, soon after the validation loss had
# turned, and it stayed first. By then the samples had hardly copied anything.
# </details>
#
# The second picture looks at what the model writes. From each sample we take every stretch of 15 characters and check
# whether it occurs in the training text, character for character. People repeat each other now and then, too: the
# dotted line says how many of the stretches of the held-out speeches occur in those pages. What lies well above it is
# memorised.
#
# Compare the two pictures. Copies in samples come last, when it is far too late. The secret could be found long before,
# by anyone who knew where to look. That nobody has seen a model recite something doesn't mean that it can't.
#
# ### Your turn: How much is copied?
#
# `your_own_gpt.5` · *core* · 10 minutes
#
# Measure it yourself: the fraction of all stretches of `n` characters in `text` that occur in `source`. A stretch that
# occurs three times in `text` counts three times. `text` and `source` are `str`, `text` has at least `n` characters,
# `n` is an `int`; the result is a `float`. `"abab"` against `"xab"` with `n=2` gives 2/3: `ab` occurs in it and counts
# twice, `ba` doesn't.


# %% tags=["nbval-check-output"]
def copied(text: str, source: str, n: int) -> float: ...


check("your_own_gpt.5", copied)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def copied(text, source, n):
#     stretches = [text[i : i + n] for i in range(len(text) - n + 1)]
#     return sum(stretch in source for stretch in stretches) / len(stretches)
# ```
# </details>
#
# ### Stop at the right moment
#
# The remedy is old and plain: save the model each time it beats its own record on unseen text, and stop when it hasn't
# done so for a while. That is **early stopping**, and how many evaluations you wait is the **patience**. `keep_best`
# has done the first half already.
#
# ### Your turn: Early stopping
#
# `your_own_gpt.6` · *core* · 10 minutes
#
# `losses` is a `list` of `float`, the validation loss of each
# evaluation in turn; `patience` is an `int` of at least 1. We stop at the first evaluation that is the `patience`-th
# in a row without a new lowest loss, or at the last one there is. Give a tuple of two `int`: the index at which we
# stop, and the index of the model that we take, the lowest up to there and the first of equal ones. `[3.0, 2.0, 2.2,
# 2.1, 1.0]` with a patience of 2 gives `(3, 1)`: we never see the 1.0.


# %% tags=["nbval-check-output"]
def early_stop(losses: list[float], patience: int) -> tuple[int, int]: ...


check("your_own_gpt.6", early_stop)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def early_stop(losses, patience):
#     best = 0
#     for step in range(len(losses)):
#         if losses[step] < losses[best]:
#             best = step
#         if step - best == patience:   # so many in a row were no better
#             break
#     return step, best
# ```
# </details>
#
# Back to the model that read its four thousand characters seventy times. How do its best moment and its last one
# compare?

# %%
found = min(memorising.evaluations, key=lambda e: e["validation"])
for name, e in (("best", found), ("last", memorising.evaluations[-1])):
    print(
        f"{name}: step {e['step']:>3}, validation {e['validation']:.2f}, training {e['training']:.2f}, "
        f"copied {e['copied']:.0%}, exposure {e['exposure']:.1f} bits"
    )
print("expected for the play: the best within the first 80 steps, between 2.3 and 2.7, with nothing copied;")
print("the last above 4, with 10 to 70 % copied and 8 bits")

# %%
stopped, _ = checkpoints.load_model(home / "stopped")
for name, which in (("stopped in time", stopped.to(device)), ("at the end", memoriser)):
    sample = sampling.tell_stories(which, letters, 8, letters.end, seed=seed, max_new_tokens=T - 1)
    copy = max((memorization.longest_copy(text, planted) for text in sample), key=len)
    print(f"{name}:\n{textwrap.indent(max(sample, key=len), '    ')}\n  longest copy in 8 samples: {copy!r}\n")

# %% [markdown]
# Neither is a good model; four thousand characters are too few for that. But the second one recites. Two lessons for
# your own text. First, what counts is the number of passes, not of steps: the steps that made seventy passes over these
# pages would make fewer than three over the play. Second, stopping in time protects a secret only so far. Its exposure
# climbs at about the time when validation turns, and how high it is by then is a matter of luck. If something must not
# get out, don't put it in.
#
# Now the same question for the model of the whole play, over stretches of different lengths. *Before you run on:*
# which line will be higher?

# %%
written = sampling.tell_stories(model, tokenizer, 40, end, seed=seed, max_new_tokens=context - 1)
series = {
    "samples of the model": [(n, 100 * memorization.copied(written, to_train, n)) for n in (4, 8, 12, 16, 24, 32)],
    "held-out text": [(n, 100 * memorization.copied(to_validate, to_train, n)) for n in (4, 8, 12, 16, 24, 32)],
}
pictures.lines(series, "characters of a stretch", "found in the training text (%)")

# %% [markdown]
# For the play, the higher line belongs to Shakespeare. His characters share more with the rest of the play, names and
# greetings and *I pray thee*, than the model does, because after so few steps it still spells much that nobody has ever
# written. Beyond 16 characters this picture shows nothing, since both lines are practically at zero. With more steps
# the model's line should rise. If it ends up above the other one at long stretches, look at what is copied.
#
# ## Sample
#
# Here is what it writes. Try other temperatures; you know from notebook 11 what they do. A beginning of your own goes
# into `prompt`, in characters that your text has.

# %%
prompt = [end, *tokenizer.encode(texts[0][:8])]  # the first letters of your text
dice = torch.Generator().manual_seed(seed)
print(texts[0][:8], end="")
for piece in sampling.stream(
    model, tokenizer, prompt, max_new_tokens=context - 16, stop=end, temperature=0.7, generator=dice
):
    print(piece, end="", flush=True)
print()

# %% [markdown]
# ## A dozen examples of your own
#
# In notebook 14 a model learned from thousands of requests. You have an evening, and time for twelve. What do they buy?
# Write your own below, in characters that your text has. Keep them short, since question and answer have to fit the
# context together.

# %%
dozen = {
    "Who are you?": "I am Romeo, and I am in love.",
    "Where do you live?": "In fair Verona, sir.",
    "Who is she?": "She is Juliet, the sun.",
    "Are you sad?": "Ay me, sad hours seem long.",
    "Do you love her?": "More than my life.",
    "Who is your foe?": "No man. I hate none now.",
    "Is it day?": "The day is young, good cousin.",
    "Will you fight?": "Not I. Put up your sword.",
    "What do you want?": "A kiss, and then to die.",
    "Who marries you?": "The holy friar, at nine.",
    "Shall we go?": "Go you. My heart is here.",
    "What is that light?": "It is the east, my love.",
}
new = {
    "Who is Juliet?": "My lady and my love.",
    "Where is she?": "In her orchard, alone.",
    "Are you mad?": "Not mad, but in love.",
}


def talks(pairs):
    return [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in pairs.items()]


# %% [markdown]
# *Before you run on:* the model will see each of the twelve sixty times. What does it answer to a question that it has
# never seen?

# %% tags=["nbval-check-output"]
predict("your_own_gpt.c", ...)

# %%
_, template = finetuning.prepare(model, tokenizer)
measured = {
    name: finetuning.ConversationBatches(talks(pairs), template, len(pairs), context, shuffle=False)
    for name, pairs in (("the dozen", dozen), ("new questions", new))
}
gentle = TrainConfig(steps=60, learning_rate=3e-3, warmup=5, evaluate_every=10)
chatty = finetuning.finetune(
    model, tokenizer, talks(dozen), gentle, B=12, seed=seed,
    evaluate=lambda model: {name: mean_loss(model, which) for name, which in measured.items()}, progress=False,
)  # fmt: skip
pictures.training(chatty.history, what=list(measured), unit="nats per counted token", title="Twelve examples")

# %% tags=["answers-prediction"]
asked = ["Who are you?", "What is that light?", *new]
requests = [[{"role": "user", "content": question}] for question in asked]
answers = finetuning.answers(chatty.model, chatty.template, requests)
for question, answer in zip(asked, answers, strict=True):
    origin = "word for word from the dozen" if answer in dozen.values() else "not in the dozen"
    print(f"{question:<22} {answer!r}  ({origin})")

# %% [markdown]
# <details><summary>The answer</summary>
#
# b. What it was trained on comes back word for word. Most of the new questions get one of the twelve answers too,
# picked by a word that the question shares with one of the twelve; anything else is pieced together from them.
# </details>
#
# A dozen examples teach a *form*: there are turns, an answer is short, it ends. They teach no knowledge, and hardly any
# understanding; a model of this size needs thousands of requests for that, as in notebook 14. Large models need fewer,
# because they know the rest already. The thousand well-chosen examples of LIMA (Zhou et al. 2023) went into a model of
# 65 billion parameters. And look at the other curve in the picture: on new questions the loss climbs while that of the
# dozen falls. Everything that we said about memorising holds here as well.
#
# ## Take it with you
#
# The best model lies in a folder already, with its weights, its configuration and its tokenizer. Anyone who has the
# folder has the model. Does the model come back exactly as it was?

# %% tags=["nbval-check-output"]
print(*sorted(path.name for path in (home / "my_model").iterdir()))
reloaded, its_tokenizer = checkpoints.load_model(home / "my_model")
probe = train_ids[None, :20]
with torch.no_grad():
    logits = model.eval().cpu()(probe)[0]
    print("the same logits after reloading:", torch.equal(reloaded(probe)[0], logits))
print("the same tokens:", its_tokenizer.encode(texts[0]) == tokenizer.encode(texts[0]))

# %% [markdown]
# **For other people's libraries.** `save_for_transformers` writes the files that `transformers` opens. That library
# doesn't have the parts of our model, so the folder brings the model's code along, and anyone who opens it has to say,
# with `trust_remote_code=True`, that they trust it. With `--parts gpt2` or `--parts llama`, `train` makes a model that
# needs no such thing.

# %%
save_for_transformers(model, home / "for_transformers", tokenizer)
print(*sorted(path.name for path in (home / "for_transformers").iterdir()))
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a progress bar that it would like to draw
        import transformers
    transformers.utils.logging.disable_progress_bar()
except ImportError:
    print("transformers is not installed: this comparison is left out")
else:
    theirs = transformers.AutoModelForCausalLM.from_pretrained(home / "for_transformers", trust_remote_code=True)
    with torch.no_grad():
        print("the same logits in transformers:", bool((theirs(probe).logits - logits).abs().max() < 1e-4))

# %% [markdown]
# **For a friend** who installs nothing. One file, with the weights, the tokenizer and the forward pass in JavaScript:
# double-click, and the model writes in the browser, without a server and without a network. It has the sliders of
# notebook 11, and a click on a token shows what else could have come there and where each head looked. Save the
# fine-tuned model instead, `chatty.model` with `chatty.template.tokenizer`, and the page becomes a chat.

# %%
size = write_page(home / "my_model", home / "mine.html")
print(f"mine.html: {size / 1e6:.1f} MB")

# %% [markdown]
# The folders of this notebook are temporary. In your own, and with all of the rule's steps, everything that matters is
# three commands:
#
#     python3 -m gptlab train my.txt --best
#     python3 -m gptlab sample runs/my/best
#     python3 -m gptlab page runs/my/best --out mine.html
#
# The first makes the same plan from the length of your text, shows both curves and a sample as it goes, warns when
# validation begins to rise, and saves the best model.
#
# ## Exercises
#
# You have met six on the way. One more is about the secret.
#
# ### Your turn: How exposed is a secret?
#
# `your_own_gpt.7` · *stretch* · 10 minutes
#
# The exposure of a secret: $\log_2$ of how many candidates there
# are, the secret included, minus $\log_2$ of its rank among them. The cheapest has rank 1; what costs the same as the
# secret ranks before it. `secret` is a `float`, what it costs in nats, `others` a `list` of `float`; the result is a
# `float`. With a secret of 2.0 among others of `[5.0, 7.0, 6.0]` it is 2.0, with one of 9.0 it is 0.0.


# %% tags=["nbval-check-output"]
def exposure(secret: float, others: list[float]) -> float: ...


check("your_own_gpt.7", exposure)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def exposure(secret, others):
#     rank = 1 + sum(other <= secret for other in others)
#     return math.log2(len(others) + 1) - math.log2(rank)
# ```
# </details>
#
# **Open-ended, without a check:**
#
# - Put the secret into the pages twice, or four times, and plot exposure against step for each. Does it take half as
#   long?
# - Train the rule's model on a half, a quarter and an eighth of your text with three seeds each. How does the best
#   validation loss depend on the length? Would twice as much text help more than twice as large a model?
# - The rule was tuned on English. Bring a text in another language, or music in ABC notation, and improve the rule for
#   it. Then say on how many texts you tried it.

# %%
recap("your_own_gpt")

# %% [markdown]
# ## What to remember
#
# - Look at the text before the model does: documents, duplicates, private data. What goes in can come out.
# - With one text and plenty of compute, the number of passes is the budget. Chinchilla answers another question.
# - A loss needs company: n-gram models and compressors, in bits per byte, on text that was not trained on.
# - Memorising shows in three places: validation turns, samples copy, secrets stand out. Save the best model, and stop.
# - A dozen examples teach a form. Knowledge comes from the text.
#
# **New terms, and what they are called elsewhere**
#
# | here | elsewhere |
# |---|---|
# | duplicates | deduplication; near-duplicates are found with MinHash |
# | private data | PII, personally identifiable information; removing it is scrubbing or redaction |
# | leaking (from training into validation) | data leakage, contamination |
# | bits per byte | bpb; bits per character (bpc) where a character is a byte |
# | n-gram model, smoothing | backoff or interpolation; KenLM is the usual tool |
# | memorisation, copied n-grams | memorization, regurgitation; n-gram novelty is its opposite |
# | canary, exposure | the same, in Carlini et al. (2019) |
# | early stopping, patience | `EarlyStoppingCallback` in transformers; `--best` here |
#
# **Three questions**
#
# <details><summary>1. A model with larger tokens has a higher loss in nats per token. Is it worse?</summary>
# You can't tell from that. A larger token covers more text, so predicting it may cost more. Compare in bits per byte.
# </details>
# <details><summary>2. Your samples share a third of their 20-character stretches with the text. Memorised?</summary>
# Measure held-out text first. If the text is full of set phrases, as a law book is, that may share as much.
# </details>
# <details><summary>3. Validation has been rising for two evaluations. Which model do you take?</summary>
# The one from before, if you have saved it. Whether to go on for longer is a matter of patience, not of principle.
# </details>
#
# **Deeper:** Carlini et al. 2019, [The Secret Sharer](https://arxiv.org/abs/1802.08232), sections 3 to 5; Lee et al.
# 2022, [Deduplicating Training Data Makes Language Models Better](https://arxiv.org/abs/2107.06499); Muennighoff et
# al. 2023, [Scaling Data-Constrained Language Models](https://arxiv.org/abs/2305.16264); Delétang et al. 2024,
# [Language Modeling Is Compression](https://arxiv.org/abs/2309.10668).
#
# ## Next
#
# Your model is on a page. It's small because your time is: a few minutes on a CPU. What would an hour on a GPU do, and
# what does it take to use one well? That is notebook 17.
