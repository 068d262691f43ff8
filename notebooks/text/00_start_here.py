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
# # 00 · Start here
#
# *A very small GPT writes you a story. Then you follow one sentence through it, from the text you type to the word it
# answers.*
#
# **After this notebook you can** say in one breath what a language model does; write the loop that makes it write; and
# say which notebook opens which of its parts.
#
# **It builds on** being able to read a few lines of Python. There are no formulas, and you aren't expected to
# understand every line of code yet – that is what the other notebooks are for.
#
# **Time:** about 30 minutes to read, and 10 for the two exercises. Run from top to bottom it takes less than half a
# minute on two CPU cores, and less than 1 GB of memory.
#
# *How to use it:* a grey box is a **cell**, a few lines of Python. Click on it, press Shift and Enter, and whatever it
# prints or draws appears below. What you see there now comes from our run. Go from top to bottom, then change things
# and run them again. You can't break anything.
#
# *Before anything else, if you like:* find the file [data/page.html](../data/page.html) in the folder of the course and
# open it with a double click. It's the model of this course on a page, with no installation and nothing to read first.
# (Inside JupyterLab, click on *Trust HTML* above it.) When you have played with it, come back and see how it works.

# %%
import copy
import textwrap
import time

import torch

from gptlab import checkpoints, pictures, sampling
from gptlab.attention import watch
from gptlab.corpora import fables
from gptlab.exercises import check, compare, hint, predict, recap, solution
from gptlab.model import GPT, GPTConfig

model, tokenizer = checkpoints.committed("fables")
end = tokenizer.special_tokens["<|endoftext|>"]  # the token that says: here a story ends
print(f"This model is made of {model.count_parameters():,} numbers.")

# %% [markdown]
# ## First, let it write
#
# The model that was loaded above takes up two megabytes, less than a photo from your phone. It was trained from scratch
# on two CPU cores, and it has read only one kind of text: short fables, in which animals find things and ask for them.
# We give it nothing to begin with, and let it write.
#
# You can skip the code in the next cell. It asks the model for one piece of text after the other and prints them as
# they come.


# %%
def write(beginning="", seed=0, temperature=1.0, most=150):
    """Continue a beginning until the story ends; print it on the way, and return the whole text."""
    dice = torch.Generator().manual_seed(seed)
    prompt = [end, *tokenizer.encode(beginning)]
    pieces = sampling.stream(model, tokenizer, prompt, most, stop=end, temperature=temperature, generator=dice)
    text, width = beginning, len(beginning)
    print(beginning, end="")
    for piece in pieces:
        text += piece
        if width + len(piece) > 100 and piece.startswith(" "):
            piece, width = "\n" + piece[1:], 0
        width += len(piece)
        print(piece, end="", flush=True)
        time.sleep(0.015)  # slow enough to watch
    print()
    return text


story = write(seed=0)

# %% [markdown]
# Nobody typed that story, and it wasn't copied from anywhere. But is it any good? For fables of this kind a program can
# tell, because we know the rules that they follow. Each has a *hero*, whom the first sentence introduces, and a
# *friend*, who comes second; the *finder* is the one of the two who finds the thing. `fables.read` goes through a story
# and checks it: does everybody keep their name? Is the thing that was found also the thing that is asked for? Does the
# moral fit the one who acted?

# %%
reading = fables.read(story)
print("What is wrong with it:", reading.error or "nothing. It is a flawless fable.")
facts = "hero.name hero.animal hero.trait friend.name friend.animal friend.trait finder.name thing"
rows = [(fact, reading.facts.get(fact)) for fact in facts.split()]
pictures.table(rows, ["fact", "in this story"])

# %% [markdown]
# Think about what that takes. A name that comes up in the first sentence has to be the same name near the end, and in
# between there are dozens of other words. The model had to *remember*.
#
# Perhaps it has memorised all the stories there are? Let's count them.

# %% tags=["nbval-check-output"]
print(f"different fables: {fables.count():,}")

# %% [markdown]
# More than two trillion. It has seen a tiny fraction of them, hardly any of them twice, and worked out how they go.
#
# **Your turn.** Run the next cell, then change its seed to any other whole number and run it again. The seed decides
# how the dice fall, so every number is a new story. How many does it take until the checker finds a mistake?

# %%
story = write(seed=2)
print("\nWhat is wrong with it:", fables.read(story).error or "nothing.")

# %% [markdown]
# ## How does it do that?
#
# From the text that goes in to the word that comes out there are nine stops. Here is the map. You'll see it at the top
# of every notebook, with the stop you are at marked. You don't need any of these words yet: we'll meet them one by one,
# starting on the left.

# %%
pictures.pipeline()

# %% [markdown]
# We'll send one sentence all the way through. It's the sentence that travels through the whole course, so you'll get to
# know these two.

# %%
sentence = fables.TRAVELLER
print(sentence)

# %% [markdown]
# ### Text → tokens → ids
#
# A model calculates, and you can't calculate with letters. So the text is first cut into pieces, called *tokens*. Each
# token has a number, its *id*.

# %% tags=["nbval-check-output"]
pictures.tokens(sentence, tokenizer, names=["the model's tokens"])

# %% [markdown]
# Each coloured chip is one token, with its id below. The ␣ is a space; it belongs to the word that follows it. Almost
# every token here is a whole word, because fables use few words and use them often.
#
# What about a word that no fable contains? Make a guess: replace the dots in the next cell with your letter, for
# example `predict("start_here.a", "b")`, and run it. (You can also leave the dots and go on. Nothing depends on it.)

# %%
predict("start_here.a", ...)

# %% tags=["nbval-check-output", "answers-prediction"]
print([tokenizer.decode([i]) for i in tokenizer.encode("a quantum fox")])

# %% [markdown]
# <details><summary>What happened</summary>
#
# The word is spelled out, in smaller pieces. Nothing is ever unknown to this tokenizer; what is rare takes more tokens.
# </details>
#
# How a text is cut decides what the model can see at all. It's a good part of the reason why chatbots have miscounted
# the r's in *strawberry*, and why the same page costs more in Greek than in English. That is worth three notebooks:
# you'll open this box in 01 Tokens, 02 Byte-pair encoding and 03 SentencePiece.
#
# ### ids → a batch [B, T]
#
# From here on there are only numbers. Computers are fastest when they do many things at once, so several texts go in
# together, one per row. We take two: our sentence, and a copy with one word changed. In the copy, the hen is a wolf.

# %% tags=["nbval-check-output"]
changed = sentence.replace("hen", "wolf")
ids = torch.tensor([[end, *tokenizer.encode(text)] for text in (sentence, changed)])
print("shape [B, T] =", list(ids.shape))
print(ids[:, -8:])
print("they differ at position", (ids[0] != ids[1]).nonzero().flatten().tolist())

# %% [markdown]
# These are the last eight ids of each row. **B** is the number of rows and **T** the number of tokens in each, here and
# in every notebook. The very first id in each row (not shown) stands for no text at all: it means *a new story begins*.
#
# You'll open this box in notebook 04, Tensors and batches.
#
# ### ids → vectors [B, T, C]
#
# An id is a label. That *fox* happens to have one number and *hen* another says nothing about foxes or hens. So the
# model has a big table with one row per id, and the first thing it does is to fetch those rows. A row is a list of C
# numbers, a *vector*, and it holds what the model knows about this token. Nobody filled the table in; all of it was
# learned.

# %%
with torch.no_grad():
    x = model.embedding(ids)
pictures.shapes(("ids", "B T", ids), "→", ("vectors", "B T C", x))

# %% [markdown]
# Every little square on the left has become a whole row of squares on the right. (Long sides are drawn shortened.)
#
# Do those numbers mean anything? A vector of 128 numbers is hard to look at, so let's flatten it: the next picture puts
# words on a sheet of paper so that similar vectors end up close together. Watch the colours.

# %%
groups = {
    "animals": "fox hen crow hare wolf bear frog duck",
    "names": "Ada Bo Cleo Dara Eli Fern",
    "traits": "proud greedy lazy kind patient brave",
    "things": "bell lamp drum kite crown boat",
}
words = [(word, group) for group, line in groups.items() for word in line.split()]
rows = [tokenizer.encode(" " + word)[0] for word, _ in words]
vectors = model.embedding.token.weight.detach()[rows]
pictures.embedding_map(vectors, [word for word, _ in words], [group for _, group in words], measure="differences")

# %% [markdown]
# Words of one kind tend to lie together, and nobody told the model what an animal is. It noticed that *hen* and *wolf*
# turn up in the same places. A flat sheet can't show everything, though: two groups that overlap here may be far apart
# in one of the other directions. (The labels at the axes say how much of the differences each direction shows.)
#
# You'll open this box in notebook 05, Embeddings.
#
# ### Attention: who looks at whom?
#
# So far each word stands alone. But to continue a story you have to look back, and here is a place where it matters.
# Our fable goes on: Bo finds a bell, Ada would like to ring it, and Bo answers.

# %% tags=["nbval-check-output"]
scene = ' One windy morning, Bo found a silver bell by the mill. "May I ring the bell?" asked Ada. '
scene += '"Yes, Ada," said Bo, for the'
print(textwrap.fill(sentence + scene, width=100), "...")

# %% [markdown]
# What comes next, and which word in the text told you?

# %%
predict("start_here.b", ...)

# %% tags=["answers-prediction"]
prompts = torch.tensor([[end, *tokenizer.encode(text + scene)] for text in (sentence, changed)])
with torch.no_grad():
    logits, _ = model(prompts)
pictures.next_token(logits[0, -1].softmax(-1), tokenizer, k=4, title='"Yes, Ada," said Bo, for the ...')

# %% [markdown]
# <details><summary>What happened</summary>
#
# *hen*, and the model agrees: each bar is the probability that it gives to one token. You remembered, or looked up,
# that Bo is the patient hen. You didn't reread every word; you knew what to look for.
# </details>
#
# The model does the same, with a part that is called *attention*: every token looks at the tokens before it, and
# collects information from those that match what it is looking for. This happens in several *layers*, one after the
# other, and in each layer several times in parallel; each of these is a *head*. Both are counted from 0. We can watch
# them while the model reads. The next cell finds the head that looks from the last word to *hen* the most, and draws
# where it looks.

# %%
weights = torch.stack([w[0] for w in watch(model, prompts[:1])])  # where each head looks, from each token to each
labels = ["begin", *(tokenizer.decode([i]).strip() for i in prompts[0, 1:].tolist())]
hen, fox = labels.index("hen"), labels.index("fox")
layer, head = divmod(int(weights[:, :, -1, hen].argmax()), weights.shape[1])
title = f"Where the last word looks: layer {layer}, head {head}"
pictures.arcs(weights[layer, head], labels, row=-1, title=title)

# %% [markdown]
# An arc leads from the last word to a word it looks at; the thicker the arc, the more it takes from there. This head
# jumps back over the whole story to Bo's animal, and hardly looks at the fox. Weights below 5 % aren't drawn.
#
# Did we pick a head that always likes hens? Here is the test. We swap the roles: this time *Ada* finds the bell, Bo
# asks, and Ada answers. Nothing in the first two sentences changes. (Ada is proud, so her answer begins with *No*.)

# %%
predict("start_here.c", ...)

# %% tags=["answers-prediction"]
swapped = scene.replace("Bo", "Cy").replace("Ada", "Bo").replace("Cy", "Ada").replace("Yes", "No")
prompt = torch.tensor([[end, *tokenizer.encode(sentence + swapped)]])
labels = ["begin", *(tokenizer.decode([i]).strip() for i in prompt[0, 1:].tolist())]
title = f"The same head (layer {layer}, head {head}) when Ada answers"
pictures.arcs(watch(model, prompt)[layer][0, head], labels, row=-1, title=title)

# %% [markdown]
# <details><summary>What happened</summary>
#
# Now it looks at the fox. So it has learned neither "look at the hen" nor "look at the second animal": it finds the
# animal of the one who is speaking – who, in a fable, is always the one who found the thing. Nobody programmed that. It
# came about by reading.
# </details>
#
# If you are sceptical, one thing should bother you. The word that looks back is *the*, both times, and a *the* by
# itself doesn't know who is speaking. It knows because this model has one extra part, a **short convolution**, that
# blends every token with the three tokens before it, right before attention – so the last *the* arrives as *Bo , for
# the*, and carries the name that it searches with. In the same way *hen* arrives as *Bo the patient hen*, and carries
# the name that is searched for. GPT-2 and Llama have no such part. They need two layers for the same trick: the first
# passes the name along, the second looks back. (At the end of this notebook we take the part out and see what happens.)
#
# You'll open this box in notebooks 06 and 07, Attention and Masking, and meet the convolution again in 12.
#
# ### Blocks → logits → the next token
#
# After the tokens have looked around, each one is processed by itself; then all of them look around again, and so on.
# One such round is a *block* – what we called a layer above. When the last block is done, the model gives a score to
# every token in its vocabulary: how well would this one fit next? These scores are called *logits*.

# %%
pictures.shapes(("ids", "B T", prompts), "→", ("logits", "B T V", logits))

# %% [markdown]
# Read the right-hand side as: for each text, and at each position in it, one score for each of the **V** tokens that
# the model knows. The scores are then turned into probabilities, which is what the bars show. You have seen a place
# where the model was sure. Here is one where nobody can be: it has read only as far as *Nearby lived Bo the patient*.

# %%
chances = logits[0, hen - 1].softmax(-1)
pictures.next_token(chances, tokenizer, k=12, title="Nearby lived Bo the patient ...")

# %% [markdown]
# It knows that an animal must come, and roughly how common each one is. And there's one thing it hasn't noticed. Look
# whether *fox* has a bar: Ada is a fox already, and no fable has two animals of the same kind. The grey bar is all
# other tokens together; the other eight animals are among them.
#
# To produce such a picture, again and again, is all that a language model ever does.
#
# ### Your turn: The likeliest token
#
# `start_here.1` · *warm-up* · 2 minutes
#
# Write a function that finds the longest blue bar. It gets a `dict` from token to probability, in which no two
# probabilities are equal, and returns the token with the largest one: `likeliest({"fox": 0.25, "hen": 0.75})` is
# `"hen"`. Replace the dots with your code and run the cell. If it isn't right yet, the card says what is wrong;
# `hint("start_here.1")` helps, and `solution("start_here.1")` shows one way to do it.


# %% tags=["nbval-check-output"]
def likeliest(probability: dict[str, float]) -> str: ...


check("start_here.1", likeliest)

# %% [markdown]
# You'll open this box in notebook 08, The model.
#
# ## It remembers: change one word
#
# Back to the copy in which Bo is a patient *wolf*. Both texts went through the model together, so we have its answer
# already. The two are identical except for that one word, more than thirty tokens before the end.

# %%
predict("start_here.d", ...)

# %% tags=["answers-prediction"]
pictures.next_token(logits[1, -1].softmax(-1), tokenizer, k=4, title="The same, after: Bo the patient wolf")

# %% [markdown]
# <details><summary>What happened</summary>
#
# The long bar belongs to *wolf* now. One word was changed, and the model uses it where it counts. A program that sees
# only the last few words could never do this, because those words are the same in both texts.
# </details>
#
# ## The loop that writes
#
# One token is not a story. But we can take the token that the model puts next, append it to the text, and ask again.
# That loop is how every chatbot writes. It's short enough for you to write it before you see ours.
#
# ### Your turn: The loop that writes
#
# `start_here.2` · *core* · 8 minutes
#
# The model in this exercise is very forgetful: it sees only the last
# token, and `after[token]` is what it puts next. Append up to `n` tokens to the list. If the model wants to write
# `end`, stop, and leave `end` out. Return a new list, and leave the given one as it is.
#
# ```python
# after = {"the": "fox", "fox": "ran", "ran": ".", ".": "the"}
# write_on(["the"], after, n=5, end=".")    # ["the", "fox", "ran"]
# write_on(["the"], after, n=1, end=".")    # ["the", "fox"]
# ```


# %% tags=["nbval-check-output"]
def write_on(tokens: list[str], after: dict[str, str], n: int, end: str) -> list[str]: ...


check("start_here.2", write_on)

# %% [markdown]
# <details><summary>Our version</summary>
#
# ```python
# def write_on(tokens, after, n, end):
#     text = list(tokens)
#     for _ in range(n):
#         following = after[text[-1]]
#         if following == end:
#             break
#         text.append(following)
#     return text
# ```
# </details>
#
# And here is the same loop around the real model. It sees the whole text and not only the last token, and it works
# with ids, but you'll recognise every step. We always take the likeliest token. Bo is patient; let's also see what
# happens if Bo is not.


# %% tags=["nbval-check-output"]
def go_on(text, n):
    ids = torch.tensor([[end, *tokenizer.encode(text)]])
    for _ in range(n):
        with torch.no_grad():
            logits, _ = model(ids)  # a score for each token that could come next
        best = logits[:, -1].argmax(dim=-1, keepdim=True)  # take the likeliest ...
        ids = torch.cat((ids, best), dim=1)  # ... append it, and ask again
    return tokenizer.decode(ids[0, -n:].tolist())


question = sentence + ' One windy morning, Bo found a silver bell by the mill. "May I ring the bell?" asked'
for trait in ("patient", "greedy", "brave"):
    answer = go_on(question.replace("patient", trait), n=30).split(" Then")[0]
    print(textwrap.fill(f"Bo the {trait} hen: ... asked{answer}", width=100), "\n")

# %% [markdown]
# Look how much of the past is in those lines. Only Ada can be the one who asks. A greedy hen says no. *Was patient*
# takes up a word from nearly thirty words earlier, what Bo does next fits it, and the bell is still a bell.
#
# Taking the likeliest token every time makes all stories alike. That's why `write` rolls dice instead, loaded with the
# probabilities from the bars. How adventurous it may be is a setting, the *temperature*. So far it was 1.0, which takes
# the bars as they are. In the next cell it's 2.0, which is too much. Try 0.2 as well.

# %%
text = write(sentence, seed=4, temperature=2.0, most=60)

# %% [markdown]
# You'll open this box in notebook 11, Sampling.
#
# And where do all the numbers in the model come from? They start out random. Then the model reads stories. At each
# word it makes its bars, is shown which word really came next, and every number is nudged a little so that this word
# would have had a longer bar. A few thousand handfuls of stories later it writes what you saw above. In notebook 10,
# Training, you'll do that yourself, starting from noise.
#
# ## What it gets wrong
#
# Let it write sixty fables, have all of them checked, and look at two that failed.

# %%
samples = sampling.tell_stories(model, tokenizer, n=60, end=end, seed=0)
readings = [fables.read(text) for text in samples]
slips = [(text, reading) for text, reading in zip(samples, readings, strict=True) if reading.error]
print(f"flawless: {len(samples) - len(slips)} of {len(samples)}\n")
for text, reading in slips[:2]:
    print(textwrap.fill(text, width=100) + f"\n→ {reading.error}\n")

# %% [markdown]
# Where a story fails, the sentences are usually fine, and a rule is broken: somebody isn't who they were, or two things
# are the same that ought to differ. Large models slip in the same way, where it is harder to see.
#
# For fables you'll always know how far the model is from perfect. A small program generates these fables by making
# random choices, and we know the probability of each choice. So we can work out how predictable a story is to a reader
# who knows all the rules, and hold the model against that.
#
# And what does it know that isn't in a fable? Nothing at all:

# %%
text = write("The capital of France is", seed=1, most=40)

# %% [markdown]
# ## Is this the real thing?
#
# Yes, only smaller. Tokens, vectors, attention, blocks, logits, and the loop around them: GPT-2 has these, and so has
# nearly every model that you can chat with today. In notebook 08 the very class that ran above becomes GPT-2. Compare
# the sizes:

# %% tags=["nbval-check-output"]
with torch.device("meta"):  # shapes without numbers, which need no memory
    sizes = {name: GPT(GPTConfig.gpt2(name)) for name in ("124M", "1558M")}
rows = [("ours", model), ("GPT-2, smallest", sizes["124M"]), ("GPT-2, largest", sizes["1558M"])]
header = ["model", "blocks", "heads in each", "C", "tokens it knows", "numbers in all"]
c = [(name, m.config, m.count_parameters()) for name, m in rows]
pictures.table([(name, c.n_layer, c.n_head, c.n_embd, c.vocab_size, n) for name, c, n in c], header)

# %% [markdown]
# GPT-2 is from 2019 ([Radford et
# al.](https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)). The
# models that answer you today are up to hundreds of times larger again, and were taught how to behave; notebooks 12 to
# 18 go that way.
#
# Our model also differs in a few parts. Most of them are improvements that came after GPT-2, and notebook 12 swaps them
# in one by one. The one that mattered today is the short convolution. So let's take it out of the first block, and ask
# the head from above where it looks now.

# %%
without = copy.deepcopy(model)
without.blocks[0].convolution = None
rows = []
for name, each in (("as it is", model), ("without the convolution", without)):
    for speaker, text in (("Bo", scene), ("Ada", swapped)):
        story_ids = torch.tensor([[end, *tokenizer.encode(sentence + text)]])
        looks = watch(each, story_ids)[layer][0, head, -1]
        rows.append((name, speaker, f"{100 * looks[hen]:.1f} %", f"{100 * looks[fox]:.1f} %"))
pictures.table(rows, ["the model", "who speaks", "looks at hen", "looks at fox"], align="llrr")

# %% [markdown]
# In the first two rows the head follows the speaker. In the last two it's blind: it hardly looks at either animal, and
# who speaks makes no difference, because without it the last *the* carries no name, and *hen* and *fox* no longer carry
# their owners'. This doesn't mean that a GPT needs a convolution. It means that *this* one was trained with it and
# relies on it. A model without it needs two layers of attention for the trick, and notebook 06 shows why one layer
# can't do it.
#
# ## Play
#
# Write a beginning of your own. Use words from fables (a crab, a castle, a rusty key), or find out what happens if you
# don't. Then end your beginning with a space, and watch the model stumble: notebook 01 explains that one.

# %%
text = write("Once, in a lonely island, there lived Zeb the stubborn crab. Nearby lived Pia the kind swan.", seed=5)
print("\nWhat is wrong with it:", fables.read(text).error or "nothing.")

# %% [markdown]
# If you made guesses, this is what you might look at again:

# %%
recap("start_here")

# %% [markdown]
# ## What to remember
#
# - Text becomes tokens, tokens become ids, ids become vectors.
# - Attention lets each token collect what it needs from the tokens before it.
# - Out comes a probability for every token that could be next. Pick one, append it, ask again: that is how a GPT
#   writes.
# - All its knowledge is in numbers that began as noise and were nudged, a little at a time, by reading.
# - What you see in one picture of one head has a cause somewhere in the model. Ask for it, and take parts out to find
#   it.
#
# **Words you have met.** Each gets a proper introduction in its own notebook.
#
# | word | in one line | Elsewhere this is called | notebook |
# |---|---|---|---|
# | token, id | a piece of text, and its number | `input_ids` in Hugging Face's libraries | 01 to 03 |
# | B, T | texts in a batch, tokens in each | batch size, sequence length | 04 |
# | vector of a token, C | the C numbers that the model has for it | embedding; C is `n_embd`, `hidden_size`, d_model | 05 |
# | attention, head | tokens look back and collect; once in each head | self-attention, multi-head attention | 06, 07 |
# | block, layer | one round of attention and processing | `h` in GPT-2, decoder layer in Llama | 08 |
# | logits | a score for each token that could be next | – | 08 |
# | temperature | how adventurous the dice may be | – | 11 |
# | short convolution | each token is blended with the few before it | causal conv1d, in Mamba | 12 |
#
# **Three questions**
#
# <details><summary>1. Has the model stored the story that it wrote for you?</summary>
# No. It stores no list of texts. At each word it computed how likely every token is, and dice did the rest.
# </details>
# <details><summary>2. B = 2, T = 24: what do the two letters count?</summary>
# B counts the texts that go through together, T the tokens in each of them.
# </details>
# <details><summary>3. Why could the model say "wolf" for the copy of our sentence?</summary>
# Because of attention: the last token looked back to the place where Bo's animal is mentioned.
# </details>
#
# **To go deeper:** Andrej Karpathy, [Let's build GPT: from scratch, in code, spelled
# out](https://www.youtube.com/watch?v=kCc8FmEb1nY) (2023), the first ten minutes. Claude Shannon, *A Mathematical
# Theory of Communication* (1948), section 3, where texts are generated from probabilities, letter by letter and word
# by word, by hand.
#
# ## Next
#
# Here is the road ahead. Start with 01: what is a token, and what goes wrong if you cut a text badly?

# %%
pictures.course_map(here="start_here")

# %% [markdown]
# And these are the field's own words that you'll meet on the way. Each has a ◆ where it is explained; look for one that
# you have heard before, and see how far it is. This notebook's column is empty, because it introduces none of the
# words; 13, which is still to come, has no column yet.

# %%
pictures.concept_map()
