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
# *In ten minutes you watch a very small GPT write a story, and then you follow one sentence all the way through it.*
#
# **What you can do after it:** say in one breath what a language model does, from the text that you type to the word
# that it answers; and know which notebook opens which part.
#
# **What it builds on:** that you can read a few lines of Python. There are no formulas here, and you are not expected to
# understand every line of code yet. That is what the other notebooks are for.
#
# **Cost:** about ten minutes of your time. From top to bottom it runs in less than half a minute on two CPU cores, and
# takes less than 1 GB of memory.
#
# *How to use it:* a grey box is a **cell**, a few lines of Python. Click on it, press Shift and Enter, and what it says
# or draws appears under it. What you see now is from our run. Run the cells from the top to the bottom, and then change
# them as you like: you can break nothing.

# %%
import textwrap
import time

import torch

from gptlab import checkpoints, pictures, sampling
from gptlab.attention import watch
from gptlab.corpora import fables
from gptlab.model import GPT, GPTConfig

model, tokenizer = checkpoints.committed("fables")
end = tokenizer.special_tokens["<|endoftext|>"]
print(f"A model of {model.count_parameters():,} numbers. It knows {tokenizer.vocab_size} pieces of text.")

# %% [markdown]
# ## First, let it tell you something
#
# On disk, this model is smaller than a photograph from a telephone. A program of this course trained it on two CPU
# cores. It has read fables, short stories about animals, and nothing else. We give it no beginning at all, and let it
# speak.


# %%
def tell(beginning="", seed=0, temperature=1.0, words=150):
    """Let the model go on from a beginning, word by word, until it ends its story; the whole text."""
    text, column, dice = beginning, len(beginning), torch.Generator().manual_seed(seed)
    prompt, options = [end, *tokenizer.encode(beginning)], dict(temperature=temperature, generator=dice)
    print(beginning, end="")
    for piece in sampling.stream(model, tokenizer, prompt, words, stop=end, **options):
        text += piece
        if column + len(piece) > 100 and piece.startswith(" "):  # a new line
            piece, column = "\n" + piece[1:], 0
        print(piece, end="", flush=True)
        column += len(piece)
        time.sleep(0.015)  # slow enough to watch
    print()
    return text


story = tell(seed=0)

# %% [markdown]
# Nobody typed that story. It came out one word after the other, and no word was looked up anywhere. But is it any good?
# For these fables a program can say, because we know the rules by which they are told. `fables.read` follows a story and
# checks it: does everybody keep their name? Is the thing that was found the thing that is asked for? Does the moral
# belong to the one who acted?

# %%
reading = fables.read(story)
print("What is wrong with it:", reading.error or "nothing. It is a flawless fable.")
facts = "hero.name hero.animal hero.trait friend.name friend.animal friend.trait finder.name thing"
rows = [(fact, reading.facts.get(fact)) for fact in facts.split()]
pictures.table(rows, ["fact", "in this story"])

# %% [markdown]
# To write this, the model had to remember. It chose a name in the first sentence, and still knew it near the end. How
# many stories are there to choose from?

# %% tags=["nbval-check-output"]
print(f"different fables: {fables.count():,}")

# %% [markdown]
# So it cannot have learned them by heart. It has seen a tiny part of them, each once, and found out how they go.
#
# **Now you.** Change the seed (any whole number) and run the cell again: the seed decides how the dice fall. Each number
# is another story.

# %%
story = tell(seed=2)
print("\nWhat is wrong with it:", fables.read(story).error or "nothing.")

# %% [markdown]
# ## Now we ask how
#
# Between the text that goes in and the word that comes out there are nine stations. This is the map. You will see it at
# the top of every notebook, with the part that you are in marked.

# %%
pictures.pipeline()

# %% [markdown]
# We follow one sentence through all of it. The same sentence travels through the whole course.

# %%
sentence = fables.TRAVELLER
print(sentence)

# %% [markdown]
# ### Text → tokens → ids
#
# A model computes, and one cannot compute with letters. So the text is first cut into pieces, the **tokens**, and each
# piece has a number, its **id**.

# %% tags=["nbval-check-output"]
pictures.tokens(sentence, tokenizer)

# %% [markdown]
# Each coloured chip is one token, with its id below; ␣ is a blank, and belongs to the word that follows it. Here almost
# every token is a word, because the words of fables are few and frequent.
#
# *Before you run the next cell:* what happens to a word that no fable contains, such as *quantum*?

# %% tags=["nbval-check-output"]
print([tokenizer.decode([i]) for i in tokenizer.encode("a quantum fox")])

# %% [markdown]
# <details><summary>What you see</summary>
#
# It is spelled out of smaller pieces. Nothing is ever unknown; rare things are longer. How the pieces are chosen decides
# what a model can see, and it takes three notebooks.
# </details>
#
# **Opened by:** 01 Tokens, 02 Byte-pair encoding, 03 SentencePiece.

# %% [markdown]
# ### ids → a batch [B, T]
#
# From here on there are only numbers. Computers like to do many things at once, so several texts go in together, one in
# each row. We take two: our sentence, and a twin in which one word is different. The hen is a wolf.

# %% tags=["nbval-check-output"]
twin = sentence.replace("hen", "wolf")
ids = torch.tensor([[end, *tokenizer.encode(text)] for text in (sentence, twin)])
print("shape [B, T] =", list(ids.shape))
print(ids[:, -8:])
print("they differ at position", (ids[0] != ids[1]).nonzero().flatten().tolist())

# %% [markdown]
# You see the last eight ids of each row. **B** is the number of rows and **T** the number of tokens in each, here and in
# every notebook. The first id of a row is a sign that says *a new story begins*.
#
# **Opened by:** 04 Tensors and batches.

# %% [markdown]
# ### ids → vectors [B, T, C]
#
# An id is only a name: that a word has number 300 says nothing about it. So the model keeps a table with one row for
# each id, and looks the row up. The row is a list of C numbers, a **vector**, and it is what the model knows about the
# token. It has learned all of them.

# %%
with torch.no_grad():
    x = model.embedding(ids)
pictures.shapes(("ids", "B T", ids), "→", ("vectors", "B T C", x))

# %% [markdown]
# Every cell on the left becomes a whole row of cells on the right (long sides are drawn shortened). Do those numbers
# mean anything? Let us draw the vectors of some words as points on a map.

# %%
groups = {
    "animals": "fox hen crow hare wolf bear goat mouse frog duck",
    "names": "Ada Bo Cleo Dara Eli Fern Gus Hugo",
    "traits": "proud greedy lazy vain kind patient brave humble",
    "things": "bell lamp drum kite crown book boat",
}
words = [(word, group) for group, line in groups.items() for word in line.split()]
rows = [tokenizer.encode(" " + word)[0] for word, _ in words]
vectors = model.embedding.token.weight.detach()[rows]
pictures.embedding_map(vectors, [word for word, _ in words], [group for _, group in words])

# %% [markdown]
# Words of one kind lie together, and nobody told the model what an animal is. It has found out that *hen* and *wolf*
# are used in the same places. (The two axes are the directions in which these vectors differ most. A flat map shows
# only a part of what the model knows: here names and traits lie close to each other, and in other directions they may
# be far apart.)
#
# **Opened by:** 05 Embeddings.

# %% [markdown]
# ### Attention: who looks at whom?
#
# So far every word stands alone. To go on with a story one must look back, and here is a place where it matters. Our
# fable goes on: Bo finds a bell, and answers. *Before you run the next cell:* which word comes next, and which word in the
# text tells you?

# %% tags=["nbval-check-output"]
scene = ' One windy morning, Bo found a silver bell by the mill. "May I ring the bell?" asked Ada. '
scene += '"Yes, Ada," said Bo, for the'
print(sentence + scene + " ...")

# %% [markdown]
# <details><summary>The answer</summary>
#
# *hen*. You looked for Bo, found *Bo the patient hen* far back, and took the animal from there. You did not read every word
# again: you knew what to look for.
# </details>

# %% [markdown]
# The model does the same with **attention**: each token looks at the tokens before it, and takes something from those
# that fit. It does so in several **layers**, one after the other, and in each of them several times side by side;
# each of these is called a **head**. Both are numbered from 0. In the next cell `watch` notes where they
# look, while the model reads; notebook 06 builds what it sees line by line.

# %%
prompts = torch.tensor([[end, *tokenizer.encode(text + scene)] for text in (sentence, twin)])
weights = torch.stack([w[0] for w in watch(model, prompts[:1])])  # [L, H, T, T]
labels = ["begin", *(tokenizer.decode([i]).strip() for i in prompts[0, 1:].tolist())]
hen = labels.index("hen")
layer, head = divmod(int(weights[:, :, -1, hen].argmax()), weights.shape[1])
title = f"Where the last word looks: layer {layer}, head {head}"
pictures.arcs(weights[layer, head], labels, row=-1, title=title)

# %% [markdown]
# An arc leads from the last word to a word that it looks at, and the thicker it is, the more is taken from there. This
# head looks back to the animal of Bo, and passes by the fox. (It is one of several heads, chosen because it looks at the
# hen most. The others look at other things.)
#
# *Before you run the next cell:* if Ada finds the bell and answers, where will the same head look?

# %%
swapped = scene.replace("Bo", "Cy").replace("Ada", "Bo").replace("Cy", "Ada").replace("Yes", "No")
prompt = torch.tensor([[end, *tokenizer.encode(sentence + swapped)]])
labels = ["begin", *(tokenizer.decode([i]).strip() for i in prompt[0, 1:].tolist())]
weights = watch(model, prompt)[layer][0, head]  # [T, T]
pictures.arcs(weights, labels, row=-1, title=f"Layer {layer}, head {head}, when Ada answers")

# %% [markdown]
# <details><summary>The answer</summary>
#
# At the fox. It is no rule about the third sentence: the head finds the animal that belongs to whoever speaks. Nobody has
# programmed it to. It came about by reading.
# </details>
#
# **Opened by:** 06 Attention, 07 Masking.

# %% [markdown]
# ### Blocks → logits → the next token
#
# After looking, each token thinks for itself, then all look again. One round of it is a **block**; it is what the
# pictures above count as a layer. After the last block there is one number for each token of the vocabulary, the
# **logits**: how well would each of them go on from here?

# %%
with torch.no_grad():
    logits, _ = model(prompts)
pictures.shapes(("ids", "B T", prompts), "→", ("logits", "B T V", logits))

# %% [markdown]
# At every position, the model has an opinion about every token that it knows: **V** is the size of its vocabulary. Turned
# into probabilities, its opinion can be drawn. First at a place where nobody can know: when it has read *Nearby lived Bo
# the patient*.

# %%
pictures.next_token(logits[0, hen - 1].softmax(-1), tokenizer, k=12, title="Nearby lived Bo the patient ...")

# %% [markdown]
# Each bar is the probability of one token, and grey are all the others together. It has learned that an animal must come,
# and how frequent each of them is. And one thing it has not noticed: Ada is a fox already, and no fable has two of a kind.
#
# And now at the end, where Bo answers.

# %%
pictures.next_token(logits[0, -1].softmax(-1), tokenizer, k=4, title='"Yes, Ada," said Bo, for the ...')

# %% [markdown]
# One long bar: here the model is sure. To draw such a picture, again and again, is all that a language model ever does.
#
# **Opened by:** 08 The model.

# %% [markdown]
# ## It remembers: change one word
#
# Now the twin. Everything is the same, but Bo was a patient *wolf*. *Before you run the next cell:* what
# will the picture look like?

# %%
pictures.next_token(logits[1, -1].softmax(-1), tokenizer, k=4, title="The same, after: Bo the patient wolf")

# %% [markdown]
# <details><summary>The answer</summary>
#
# The long bar belongs to *wolf* now. One word was changed, and the model uses it where it counts. A program that looks at
# the last few words only could not do this: they are the same in both texts.
# </details>

# %% [markdown]
# ## The loop that writes
#
# One token is not a story. So take one, put it at the end of the text, and ask again. Here is all of it, with the
# likeliest token taken each time. Bo is patient; we also try what happens if Bo is not.


# %% tags=["nbval-check-output"]
def go_on(text, n):
    ids = torch.tensor([[end, *tokenizer.encode(text)]])
    for _ in range(n):
        with torch.no_grad():
            logits, _ = model(ids)  # what does the model think of each token?
        best = logits[:, -1].argmax(dim=-1, keepdim=True)  # take the likeliest ...
        ids = torch.cat((ids, best), dim=1)  # ... put it at the end, and ask again
    return tokenizer.decode(ids[0, -n:].tolist())


question = sentence + ' One windy morning, Bo found a silver bell by the mill. "May I ring the bell?" asked'
for trait in ("patient", "greedy", "brave"):
    answer = go_on(question.replace("patient", trait), n=30).split(" Then")[0]
    print(textwrap.fill(f"Bo the {trait} hen: ... asked{answer}", width=100), "\n")

# %% [markdown]
# Look how much of the past is in those lines. Only Ada can be the one who asks. A greedy hen says no. What Bo does next
# belongs to the trait, the bell is still a bell, and the trait was named thirty words before.
#
# To always take the likeliest makes every story alike. So `tell` throws dice instead, with the probabilities of the
# bars. How bold it is allowed to be is called the **temperature**. Here it is 2.0, and that is too bold. Try 0.2 and
# 1.0.

# %%
text = tell(sentence, seed=4, temperature=2.0, words=60)

# %% [markdown]
# **Opened by:** 11 Sampling.
#
# And where do all those numbers come from? At first they are random. Then the model reads stories, is told at each word
# what really came next, and every number is moved a little, so that the next time it is less surprised. You will do that
# yourself, from zero, in a few minutes. **Opened by:** 10 Training.

# %% [markdown]
# ## What it gets wrong
#
# Let it tell sixty fables, and read them all.

# %%
samples = sampling.tell_stories(model, tokenizer, n=60, end=end, seed=0)
readings = [fables.read(text) for text in samples]
slips = [(text, reading) for text, reading in zip(samples, readings, strict=True) if reading.error]
print(f"flawless: {len(samples) - len(slips)} of {len(samples)}\n")
for text, reading in slips[:2]:
    print(textwrap.fill(text, width=100) + f"\n→ {reading.error}\n")

# %% [markdown]
# The sentences are right, and somewhere a rule is broken: somebody is not who they were, or two are alike who must
# differ. That is the kind of mistake that large models make too, and they hide it better. For this one you will know
# exactly how far it is from perfect, because we know how surprising each story is to somebody who knows all the
# rules.
#
# And of everything that is no fable it knows nothing.

# %%
text = tell("The capital of France is", seed=1, words=40)

# %% [markdown]
# ## Is this the real thing?
#
# Yes, but for its size. The code that ran above is the code of GPT-2 with some newer parts, and in notebook 08 the same
# class becomes GPT-2 itself.

# %% tags=["nbval-check-output"]
with torch.device("meta"):  # shapes without numbers: so they need no memory
    sizes = {name: GPT(GPTConfig.gpt2(name)) for name in ("124M", "1558M")}
rows = [("ours", model), ("GPT-2, smallest", sizes["124M"]), ("GPT-2, largest", sizes["1558M"])]
header = ["model", "blocks", "heads in each", "C", "vocabulary", "numbers in all"]
c = [(name, m.config, m.count_parameters()) for name, m in rows]
pictures.table([(name, c.n_layer, c.n_head, c.n_embd, c.vocab_size, n) for name, c, n in c], header)

# %% [markdown]
# GPT-2 is from 2019 ([Radford et al.](https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)).
# Those that answer you today are hundreds of times larger again, and have been taught manners; notebooks 12 to 17 go in
# their direction.
#
# ## Play
#
# Write a beginning of your own. Use the words of fables (a crab, a castle, a rusty key), or find out what happens if you
# do not.

# %%
text = tell("Once, in a lonely island, there lived Zeb the stubborn crab. Nearby lived Pia the kind swan.", seed=5)
print("\nWhat is wrong with it:", fables.read(text).error or "nothing.")

# %% [markdown]
# ## What to remember
#
# - Text becomes tokens, tokens become ids, ids become vectors.
# - Attention lets each token take what it needs from those before it.
# - Out comes a probability for every possible next token. One is drawn, put at the end, and the model is asked again.
# - All its knowledge is in numbers that began as noise and were moved, a little at a time, by reading.
#
# <details><summary>Has the model stored the story that it told you?</summary>
# No. It stores no text. It computed at each word how likely every token is, and dice did the rest.
# </details>
# <details><summary>B = 2, T = 24: what do the two letters count?</summary>
# B the texts that go through together, T the tokens in each.
# </details>
# <details><summary>Why could the model say "wolf" in the twin?</summary>
# Because of attention: the last token looked back to the place where the animal of Bo stands.
# </details>
#
# **Deeper:** Andrej Karpathy, *Let's build GPT: from scratch, in code, spelled out* (2023), the first ten minutes;
# Claude Shannon, *A Mathematical Theory of Communication* (1948), section 3, where a text is written by drawing one
# letter after the other, by hand.

# %% [markdown]
# ## Next
#
# This is the way ahead. Begin with 01: what is a token, and what is lost if one chooses badly?

# %%
pictures.course_map(here="start_here")
