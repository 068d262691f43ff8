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
# # 07 Masking, self and cross
#
# *One small table of True and False decides whether attention reads, writes, or translates, and a test shows when it
# cheats.*
#
# In notebook 06 you hid the future with one line and went on. Leave that line out, and a model that shall name the *next*
# token has it before its eyes. Here you see what comes of it, you build the tables that say who may listen to whom, you
# learn to find a leak that no error message reports, and you let one sequence listen to another.
#
# **After this notebook you can**
#
# - write the masks of an encoder, a decoder, of padding, windows, prefixes and packed documents, and join them,
# - say what True means in each of PyTorch's two attentions, and turn a mask of one into a mask of the other,
# - prove that a model does not see the future, and find out where it does,
# - use attention with two sources, and train a small model that translates with it.
#
# **It builds on** batches (04), embeddings (05) and attention (06). **To run it** takes about 30 seconds on two CPU cores
# and 550 MB of memory.

# %%
import copy
import time

import torch
import torch.nn.functional as F
from torch import nn

from gptlab import batches, checkpoints, masking, pictures, show
from gptlab.attention import CrossAttention, MultiHeadAttention, attend, attention_weights, watch
from gptlab.corpora import fables
from gptlab.embedding import TokenAndPositionEmbedding
from gptlab.evaluation import StoryEvaluation
from gptlab.exercises import check, compare, find, hint, predict, progress, quiz, recap, solution  # noqa: F401
from gptlab.masking import assert_causal, causal, documents, padding, prefix, sliding
from gptlab.model import GPT, GPTConfig

torch.set_num_threads(1)  # matrices this small gain nothing from a second core
torch.manual_seed(7);

# %% tags=["nbval-check-output"]
pictures.pipeline("masking")

# %% [markdown]
# Three questions about the notebooks before. Put letters in place of the dots, such as `quiz("masking", ["a", "b", "c"])`; or
# go on, nothing depends on it.

# %% tags=["nbval-check-output"]
quiz("masking", [..., ..., ...])

# %% [markdown]
# ## The question: too good to be true
#
# Here are fables, as one long row of tokens. The *floor* is the entropy of the fables, known from notebook 06, and here
# shared out over their tokens: on average, nobody who reads from left to right can be less surprised than that, because
# the teller draws by lot. (`trained`, the model of the course, waits until further down. Its tokenizer you need now.)

# %%
trained, tokenizer = checkpoints.committed("fables")
V, end = tokenizer.vocab_size, tokenizer.special_tokens["<|endoftext|>"]
ids = []
for story in fables.tell(1500, seed=0):
    ids += [*tokenizer.encode(story.text), end]
text = batches.Batches(ids, B=32, T=24)
floor = fables.entropy() / (len(ids) / 1500)  # nats a story, divided by tokens a story
print(f"{len(ids):,} tokens; the floor is about {floor:.2f} nats a token")

# %% [markdown]
# What you have by now goes into a small model: embeddings with positions, one layer of attention, and a last layer that
# gives logits. `GPT` is a box that notebook 08 opens. It takes ids and targets, and gives logits and the loss. Left alone
# it hides the future. Here we hand it a table in place of that, `keep_mask`, which says which query may look at which key.
#
# The training loop was a box until now. These are its lines: ask for the loss, forget the old gradients, compute the new
# ones, move every number a little against its gradient. (How far is decided by `AdamW`, in notebook 10.)


# %%
def learn(keep_mask, steps=300):
    torch.manual_seed(7)
    model = GPT(GPTConfig(V, context=24, n_layer=1, n_head=4, n_embd=64, mlp_size=128))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for step in range(steps):
        inputs, targets = text.batch(step)  # [B, T] and [B, T]: at each position, the token that comes next
        logits, loss = model(inputs, targets, keep_mask=keep_mask)
        optimizer.zero_grad()  # forget the old gradients
        loss.backward()  # compute the new ones
        optimizer.step()  # move every number a little
        losses.append(loss.item())
        if step % 100 == 0:
            print(f"step {step}: {loss.item():.2f} nats a token")
    return model, sum(losses[-20:]) / 20  # the mean of the last 20


# %% [markdown]
# First, let everybody look at everything.

# %% tags=["nbval-check-output"]
predict("masking.a", ...)

# %%
everything = torch.ones(24, 24, dtype=torch.bool)  # [T, T]  all True: each query may look at each key
seer, seer_loss = learn(everything)
print(f"at the end: {seer_loss:.2f} nats a token, and the floor is {floor:.2f}")
assert seer_loss < floor

# %% [markdown]
# <details><summary>Answer</summary>
#
# b. It falls below what is possible. No model can know which animal the teller will draw next. This one does not know
# it either. It looks.
# </details>
#
# A wonderful loss. So let it write: start with the sentence that travels through the course, take the likeliest next
# token, append it, and ask again.


# %%
def go_on(model, start, mask, n=14):
    ids = torch.tensor([tokenizer.encode(start)])  # [1, T]
    for _ in range(n):
        logits, _ = model(ids, keep_mask=mask(ids.shape[1]))  # [1, T, V], and no loss without targets
        best = logits[:, -1].argmax(dim=-1, keepdim=True)  # [1, 1]  the likeliest token after the last one
        ids = torch.cat([ids, best], dim=1)  # [1, T + 1]
    return tokenizer.decode(ids[0].tolist())


print(go_on(seer, "Once, in a dark forest,", lambda T: torch.ones(T, T, dtype=torch.bool)))

# %% [markdown]
# It cannot tell a story. In training, the answer stood one place to the right, and the model learned to copy it from
# there. When it writes, there is nothing to the right.
#
# Nothing has warned you: the shapes were right, the loss fell, no error came. Knowledge of the answer that is there in
# training and not in use is a **leak**. You have to hide the future from attention, and then you have to prove that it
# is hidden.
#
# ## By hand: a table of who may listen to whom
#
# Four tokens, and their scores as notebook 06 computes them: row = the token that asks (query), column = the token that
# is looked at (key). The numbers are made up, so that a pencil is enough.

# %% tags=["nbval-check-output"]
names = ["Ada", "the", "proud", "fox"]
scores = torch.tensor([[2.0, 0, 1, 3], [1, 1, 0, 2], [0, 1, 2, 1], [3, 0, 1, 1]])  # [T, T]
print(scores.softmax(dim=-1).numpy().round(2))

# %% [markdown]
# In the row of *Ada* most of the weight lies on *fox*, three places later. To forbid it, ask one question for each
# pair: does the key stand at or before the query?

# %% tags=["nbval-check-output"]
keep = torch.tensor([[key <= query for key in range(4)] for query in range(4)])  # [T, T]
print(keep.int().numpy())

# %% [markdown]
# Where the answer is no, the weight must become 0, and the others must still sum to 1. Softmax turns a score $s$ into
# $e^s$ and divides by the row's sum. Which score gives $e^s = 0$? Minus infinity. This is the line from notebook 06:

# %% tags=["nbval-check-output"]
hidden = scores.masked_fill(~keep, -torch.inf)  # write -inf where keep is False
print(hidden.numpy())
weights = hidden.softmax(dim=-1)  # [T, T]
print(weights.numpy().round(2))

# %% [markdown]
# Check with a pencil. *Ada* sees only herself: 1. *the* has two equal scores: one half each. *proud* has 0, 1 and 2,
# and each step of 1 in the score is a factor of $e$ in the weight.
#
# $$\text{weights} = \mathrm{softmax}\left(\frac{q k^\top}{\sqrt{hs}} + M\right), \qquad M_{ij} = \begin{cases} 0 &
# \text{if } i \text{ may attend to } j \\ -\infty & \text{if not} \end{cases}$$
#
# Here $i$ counts the queries and $j$ the keys. `masked_fill` writes the minus infinities, and adding $M$ gives the same
# weights. It has been done so since Vaswani et al. 2017 ([Attention is all you
# need](https://arxiv.org/abs/1706.03762), section 3.2.3).

# %%
pictures.attention(weights, names, keep_mask=keep)

# %% [markdown]
# Read a row at a time. The hatched cells are hidden. Row by row one more token may be seen: these are the growing
# contexts of notebook 04, all of them in one table. The picture shows who may listen, not whether there is anything
# worth hearing; the scores are made up.
#
# A table of who may listen to whom is a **mask**. This one is the **causal mask**, because a cause comes before its
# effect. In this course a mask is called `keep_mask`, and True means *may attend*. Keep that in mind. Further down you
# meet a class of PyTorch's that means the opposite.
#
# ## One block, two masks
#
# Attention and what comes after it form a block: listen to the others, then think for yourself, and add both to what
# was there. *Listen* is the attention of notebook 06. *Think* is two matrices with a bend between them (`GELU` makes
# negative numbers almost 0), and it works at each position alone, so that nobody hears anybody by thinking. Why one
# thinks, and why one adds, is notebook 08's subject. The mask is an argument:

# %%
C, H = 12, 3
listen = MultiHeadAttention(C, H)
think = nn.Sequential(nn.Linear(C, 4 * C), nn.GELU(), nn.Linear(4 * C, C))


@torch.no_grad()
def block(x, keep_mask):
    x = x + listen(x, keep_mask)  # [B, T, C]  each position hears those it may attend to
    return x + think(x)  # [B, T, C]  each position for itself


# %% [markdown]
# Now run it twice, once with a mask that is True everywhere and once with the causal one. (`causal` is the package's
# function for the table that you built.) To see who hears whom, change the *last* of five positions, and look which
# outputs move.

# %% tags=["nbval-check-output"]
T = 5
x = torch.randn(2, T, C)  # [B, T, C]
changed = x.clone()
changed[:, -1] += 1
for name, mask in {"all True": torch.ones(T, T, dtype=torch.bool), "causal": causal(T)}.items():
    moved = (block(x, mask) - block(changed, mask)).abs().amax(dim=(0, 2)) > 1e-6  # [T]  in any text and channel
    print(f"{name:8}  moved: {moved.tolist()}")

# %% [markdown]
# The first is an **encoder** block: all positions talk to each other. It serves to *understand* a text that is there as
# a whole. BERT is built of it ([Devlin et al. 2018](https://arxiv.org/abs/1810.04805)). The second is a **decoder**
# block: nobody listens to the future. It serves to *write*, and every GPT is built of it ([Radford et al.
# 2018](https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf)). It is the same
# function with the same weights. Only the table differs.
#
# ## One pass, or step by step
#
# Why is the decoder's mask worth so much? Suppose you write: first you have one token, then two, then three. Without a
# mask each step would be another computation, because every new token changes all the old positions. With the causal
# mask nothing old moves. So feed growing pieces, keep the last output of each, and compare with one pass over
# everything:

# %% tags=["nbval-check-output"]
for name, make in {"all True": lambda T: torch.ones(T, T, dtype=torch.bool), "causal": causal}.items():
    full = block(x, make(T))  # [B, T, C]  one pass
    steps = [block(x[:, : t + 1], make(t + 1))[:, -1] for t in range(T)]  # T passes, the last output of each
    same = torch.allclose(full, torch.stack(steps, dim=1), atol=1e-5)
    print(f"{name:8}  one pass equals step by step: {same}")

# %% [markdown]
# This is what makes training cheap: one pass over T tokens gives T predictions, each exactly what a writer would have
# computed with only the past before him. And it is what makes writing cheap, because the past need not be computed
# again (notebook 11).
#
# ## A mask is a question
#
# The causal mask asked: does the key stand at or before the query? Other questions make other masks. Write the places
# of the queries as a column and those of the keys as a row, and every comparison of the two gives a [T, T] table.

# %% tags=["nbval-check-output"]
T = 8
query = torch.arange(T)[:, None]  # [T, 1]
key = torch.arange(T)  # [T]
document = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1])  # the first three tokens are one text, the others another
by_hand = {
    "causal": key <= query,
    "window of 3": (key <= query) & (query - key < 3),
    "prefix of 3": (key <= query) | (key < 3),
    "two texts": (document[:, None] == document) & (key <= query),
}
print({name: int(mask.sum()) for name, mask in by_hand.items()}, "pairs of", T * T)

# %%
pictures.mask(by_hand)

# %% [markdown]
# Look at the last row of each, which is what the last token may see.
#
# - The **sliding window** forgets: only the last few. If the code skips the hidden pairs, its work grows with T, not with T²
#   ([Longformer, Beltagy et al. 2020](https://arxiv.org/abs/2004.05150); [Mistral 7B,
#   2023](https://arxiv.org/abs/2310.06825)). Layers on top of each other see further, as each passes on what the one below
#   has heard.
# - The **prefix** mask is an encoder at the beginning and a decoder after it: a question is there as a whole, and the answer
#   is written (compared with others by [Raffel et al. 2020](https://arxiv.org/abs/1910.10683), section 3.2).
# - The **document** mask keeps texts apart that stand in one row. To train on short texts without wasting positions one
#   *packs* several into a row ([Llama 3, 2024](https://arxiv.org/abs/2407.21783), section 3.2, masks them so).
#
# The picture shows who may listen in one layer. How far news travels through several layers it does not show.

# %% tags=["nbval-check-output"]
predict("masking.b", ...)

# %% tags=["nbval-check-output"]
print(int(sliding(6, window=3).sum()))

# %% [markdown]
# <details><summary>Answer</summary>
#
# 15. The first row keeps 1, the second 2, the other four 3 each.
# </details>
#
# ## Texts of different lengths
#
# The rows of a batch must be equally long, so the shorter ones are filled up with some id that means nothing. That is
# **padding**, and nobody should listen to it. Its question is not about a pair of places but about the length of each
# sequence, so the mask has a batch axis.

# %% tags=["nbval-check-output"]
T = 5
lengths = torch.tensor([5, 3, 1])  # [B]
real = torch.arange(T) < lengths[:, None]  # [B, T]  is there a token of the text?
print(real.int().numpy())

# %% [markdown]
# This says which *keys* may be heard, for all queries alike. As a mask it is [B, 1, T]: one row that serves each query.
# A decoder of padded texts joins it with the causal mask. Both must say yes, which is `&` in Python. (`padding(lengths,
# T)` is the package's function for it.) Which shape comes out?

# %% tags=["nbval-check-output"]
predict("masking.c", ...)

# %% tags=["nbval-check-output"]
both = causal(T) & real[:, None, :]  # [T, T] & [B, 1, T]
print(list(both.shape))

# %% [markdown]
# <details><summary>Answer</summary>
#
# [3, 5, 5]: a table for each sequence. The missing axis and the axis of size 1 are stretched, as you saw with
# broadcasting in notebook 04.
# </details>

# %%
pictures.mask({f"length {n}": mask for n, mask in zip(lengths.tolist(), both, strict=True)})

# %% [markdown]
# In the tables of the shorter texts whole columns are closed: nobody hears padding. The rows of padding are still
# there, they hear the real tokens, and what they compute is thrown away.
#
# Now compare only the rows of real tokens, with those of the longest text. They are the same. Padding on the right lies in
# the future, and the causal mask alone hides it from every real token. In an encoder, or with padding on the left, the
# padding mask is the only one that does.
#
# Does it work? Take the encoder, and put something else where the padding is. The outputs at the real positions must not
# move.

# %% tags=["nbval-check-output"]
x = torch.randn(3, T, C)  # [B, T, C]
other = torch.where(real[..., None], x, 100 * torch.randn(3, T, C))  # other numbers, in the padding only
for name, mask in {"without": torch.ones(T, T, dtype=torch.bool), "with": real[:, None, :]}.items():
    moved = (block(x, mask) - block(other, mask))[real].abs().max()
    print(f"{name:8} the padding mask, real positions moved: {bool(moved > 1e-4)}")

# %% [markdown]
# One thing no mask of attention can do. The positions that are padding give logits, too, and a loss that counts them
# would teach the model to name padding. So their targets are replaced by a number that the loss leaves out, −100: here it
# is called `batches.IGNORE`, and PyTorch's loss leaves it out unless its `ignore_index` says otherwise.

# %% tags=["nbval-check-output"]
torch.manual_seed(7)
logits, targets = torch.randn(3, T, 11), torch.randint(1, 11, (3, T))  # [B, T, V] and [B, T]
ignored = targets.masked_fill(~real, batches.IGNORE)
by_hand_loss = F.cross_entropy(logits[real], targets[real])  # [9, V]: the nine real positions alone
print(f"all positions {F.cross_entropy(logits.flatten(0, 1), targets.flatten()):.3f}")
print(f"ignored       {F.cross_entropy(logits.flatten(0, 1), ignored.flatten()):.3f}")
print(f"by hand       {by_hand_loss:.3f}")

# %% [markdown]
# ## A row with nothing to attend to
#
# Join enough masks and a row may become empty: a query that may attend to no key. It happens with padding on the left
# and a causal mask, with a window that holds nothing but padding, or when there is no text to read at all. What does
# softmax do then?

# %% tags=["nbval-check-output"]
predict("masking.d", ...)

# %% tags=["nbval-check-output"]
q, k = torch.randn(1, 2, 4), torch.randn(1, 3, 4)  # [B, Tq, hs] and [B, Tk, hs]
empty = torch.tensor([[True, True, False], [False, False, False]])  # [Tq, Tk]  the second query hears nobody
naive = (q @ k.transpose(-2, -1) / 2).masked_fill(~empty, -torch.inf).softmax(dim=-1)  # [B, Tq, Tk]
print(naive.numpy().round(2))

# %% [markdown]
# <details><summary>Answer</summary>
#
# c. Each weight is $0 / 0$, which computers call **NaN**, not a number. It is catching: every sum with a NaN is NaN,
# and one such row spoils the whole loss.
# </details>
#
# A popular repair writes zeros over the NaN with `nan_to_num`. Try it on two ways of masking that you know,
# `masked_fill` and the sum with $M$, and look at the gradients as well. (`attend` is the package's, from notebook 06, and
# `sdpa` PyTorch's fast `F.scaled_dot_product_attention`.)

# %% tags=["nbval-check-output"]
q, k, v = torch.randn(1, 2, 4), torch.randn(1, 3, 4), torch.randn(1, 3, 4)
parts = [part.requires_grad_() for part in (q, k, v)]
scores = q @ k.transpose(-2, -1) / 2  # [B, Tq, Tk]
filled = scores.masked_fill(~empty, -torch.inf).softmax(dim=-1)
added = (scores + masking.to_additive(empty)).softmax(dim=-1)  # this is M: 0 or minus infinity
ways = {
    "masked_fill": filled @ v,
    "masked_fill, repaired": torch.nan_to_num(filled) @ v,
    "adding M, repaired": torch.nan_to_num(added) @ v,
    "attend": attend(q, k, v, empty),
    "sdpa": F.scaled_dot_product_attention(q, k, v, attn_mask=empty),
}
for name, out in ways.items():
    gradients = torch.autograd.grad(out.sum(), parts, retain_graph=True)  # the scores are needed again
    say = ["NaN" if part.isnan().any() else "fine" for part in (out, *gradients)]
    print(f"{name:22} output {say[0]:5} gradient of q {say[1]:5} of k {say[2]:5} of v {say[3]}")

# %% [markdown]
# Without a repair the NaN is in the output, and goes from there into the gradient of every value. The repair does help
# where `masked_fill` was used, because no gradient goes back through a filled score. With the sum it hides the NaN in
# the output and leaves it in the gradient: the loss looks healthy, and after one step of training the weights are NaN.
# A repair that depends on how somebody else built the mask is none.
#
# `attend` never makes a NaN: it writes the lowest finite number in place of minus infinity, and sets the weights of
# hidden keys to 0 after the softmax as well. An empty row gives zeros, and a gradient of zeros. The fast function, on
# which `MultiHeadAttention` is built, does the same, at least in the version of PyTorch that you have here.
#
# ## The tested block
#
# Here are the functions of the package, and `attention_weights`, whose last two lines use a mask. (`tril` and `triu`
# keep the lower and the upper triangle of a table, and `diagonal` moves the border.)

# %%
show(causal, padding, sliding, prefix, documents)

# %%
show(attention_weights)

# %% [markdown]
# They are what you built by hand:

# %% tags=["nbval-check-output"]
assert causal(8).equal(by_hand["causal"]) and sliding(8, 3).equal(by_hand["window of 3"])
assert prefix(8, 3).equal(by_hand["prefix of 3"])
assert (documents(document) & causal(8)).equal(by_hand["two texts"])
assert padding(lengths, 5).equal(real[:, None, :])
print("five masks, the same as by hand")

# %% [markdown]
# And attention behind a mask gives what the library's gives. `F.scaled_dot_product_attention` takes a mask with our
# meaning, or the word `is_causal`. The sizes below are all different, so that no two axes can be mixed up, and outputs
# and gradients are compared.

# %% tags=["nbval-check-output"]
B, H, Tq, Tk, hs = 2, 3, 5, 7, 4
for _ in range(50):
    q, k, v = (torch.randn(B, H, n, hs, requires_grad=True) for n in (Tq, Tk, Tk))
    mask = causal(Tq, Tk) & padding([7, 4], Tk)[:, None]  # [B, 1, Tq, Tk], the 1 for all heads
    ours, theirs = attend(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    assert torch.allclose(ours, theirs, atol=1e-5)
    gradients = [torch.autograd.grad(out.square().sum(), (q, k, v)) for out in (ours, theirs)]
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*gradients, strict=True))
    square = F.scaled_dot_product_attention(k, k, v, is_causal=True)
    assert torch.allclose(square, attend(k, k, v, causal(Tk)), atol=1e-5)
print("50 random inputs: outputs and gradients agree, and is_causal is the causal mask")

# %% [markdown]
# One trap lies here. With fewer queries than keys, where do the queries stand? A model that writes on asks from the
# *end*: `causal(2, 4)` lets the last query see all four keys. `is_causal` puts the queries at the *beginning*.

# %% tags=["nbval-check-output"]
q, k, v = torch.randn(1, 1, 2, 4), torch.randn(1, 1, 4, 4), torch.randn(1, 1, 4, 4)
word = F.scaled_dot_product_attention(q, k, v, is_causal=True)
at_the_end, at_the_beginning = causal(2, 4), torch.ones(2, 4, dtype=torch.bool).tril()
print("is_causal is our mask:        ", torch.allclose(word, attend(q, k, v, at_the_end)))
print("is_causal is the upper corner:", torch.allclose(word, attend(q, k, v, at_the_beginning)))

# %%
pictures.mask({"causal(2, 4)": at_the_end, "is_causal in PyTorch": at_the_beginning})

# %% [markdown]
# With Tq = Tk they are the same, which is why nobody notices until the keys of the past are kept and only new queries
# come in. (This is the *cache* of notebook 11.)
#
# ## Two meanings of True
#
# The field has not agreed on what True means, and PyTorch itself has two attentions with opposite answers:

# %% tags=["nbval-check-output"]
rows = [
    ("gptlab, keep_mask", "may attend", "[.., Tq, Tk]"),
    ("F.scaled_dot_product_attention, attn_mask", "may attend", "[.., Tq, Tk]"),
    ("nn.MultiheadAttention, attn_mask", "is dropped", "[Tq, Tk] or [B * H, Tq, Tk]"),
    ("nn.MultiheadAttention, key_padding_mask", "is dropped", "[B, Tk]"),
    ("both of PyTorch, with numbers instead", "(added to the scores: 0 or -inf)", "as above"),
    ("Hugging Face transformers, attention_mask", "1: is a real token", "[B, Tk]"),
]
pictures.table(rows, ["where", "True means: this key ...", "shape"], align="lll")

# %% [markdown]
# So the same mask has to be turned over for `nn.MultiheadAttention`. The package's `to_attn_mask` and
# `to_key_padding_mask` do it, and `from_...` lead back. Give both attentions the same weights and the same mask, and
# they agree:

# %% tags=["nbval-check-output"]
C, H, T = 12, 3, 5
ours, theirs = MultiHeadAttention(C, H), nn.MultiheadAttention(C, H, batch_first=True)
with torch.no_grad():
    theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
    theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
    theirs.out_proj.load_state_dict(ours.output.state_dict())
    x, pad = torch.randn(2, T, C), padding([5, 3], T)
    result = ours(x, causal(T) & pad)
    drop = {"attn_mask": masking.to_attn_mask(causal(T)), "key_padding_mask": masking.to_key_padding_mask(pad)}
    print("turned over:", torch.allclose(result, theirs(x, x, x, **drop)[0], atol=1e-5))
    numbers = theirs(x, x, x, attn_mask=masking.to_additive(causal(T)))[0]
    print("as numbers: ", torch.allclose(ours(x, causal(T)), numbers, atol=1e-5))
    wrong = theirs(x, x, x, attn_mask=causal(T))[0]
    print("not turned over, NaN at each position:", wrong[0, :, 0].isnan().tolist())

# %% [markdown]
# The last line is the mistake. Given a keep-mask, this class hides the past and shows the future. All positions but
# the last give sound numbers. The last has no future to look at, and gives NaN. Whoever repairs that NaN has trained a
# model that only sees the future. Shapes cannot tell. Something else must.
#
# ## Break it: three leaks, and what catches them
#
# You know the test already: you changed the last position and looked who moved. Do it for *every* position, and you get
# a table of who really hears whom, whatever the code says. Here it is for a small model, into which leaks can be built:


# %%
class Small(nn.Module):
    """One layer of attention on 9 tokens, with a leak if you name one."""

    def __init__(self, leak=""):
        super().__init__()
        torch.manual_seed(7)
        self.leak, self.embedding = leak, TokenAndPositionEmbedding(V=9, T=6, C=12)
        self.query, self.key, self.value = (nn.Linear(12, 12) for _ in range(3))
        self.mix, self.head = nn.Conv1d(12, 12, kernel_size=3, padding=1), nn.Linear(12, 9)

    def forward(self, ids):
        x, T = self.embedding(ids), ids.shape[1]  # [B, T, C]
        q, k, v = self.query(x), self.key(x), self.value(x)
        keep_mask = torch.ones(T, T, dtype=torch.bool).tril(1 if self.leak == "off by one" else 0)
        if self.leak == "mask after softmax":
            x = x + attention_weights(q, k).masked_fill(~keep_mask, 0.0) @ v
        else:
            x = x + attend(q, k, v, keep_mask)
        if self.leak == "convolution":
            x = x + self.mix(x.transpose(1, 2)).transpose(1, 2)  # a filter of three, padded on both sides
        return self.head(x)  # [B, T, V]


# %% [markdown]
# Three leaks, all of them easy to write. The diagonal is off by one. The mask comes after the softmax. And a
# convolution, which notebook 06 compared with attention, is padded on both sides, as is usual for pictures. Before you
# run the next cell: which of the three do you see in the shape of the output? And which of them hands over the next
# token itself?


# %%
@torch.no_grad()
def who_hears_whom(model, ids, V):
    """[T, T], True where the output at the row moves if the token at the column is changed."""
    heard = []
    for t in range(ids.shape[1]):
        changed = ids.clone()
        changed[:, t] = (changed[:, t] + 1) % V
        heard.append((model(changed) - model(ids)).abs().amax(dim=(0, 2)) > 1e-6)  # [T]
    return torch.stack(heard, dim=1)  # [T, T]


some = torch.randint(9, (4, 6))  # [B, T]
leaks = ["", "off by one", "mask after softmax", "convolution"]
pictures.mask({leak or "no leak": who_hears_whom(Small(leak), some, V=9) for leak in leaks})

# %% [markdown]
# <details><summary>Answer</summary>
#
# In none of them: the shape is [4, 6, 9] each time. The first and the third hand over the next token. The second hands
# over something finer. The future's scores have stood in the sum that softmax divides by, so how much is missing in a
# row betrays them.
# </details>
#
# These tables are measured, not declared: a cell is filled if the output of its row moved when the token of its column
# was changed. (So for *may attend* under the picture, read *was heard*.) Without a leak the upper triangle is empty.
# *Off by one* and *convolution* have a diagonal too much, which is all it takes to copy the answer. *Mask after
# softmax* moves everything, a little. How strong a leak is, the table does not show.
#
# `assert_causal` is this test as one line, and names the first place where it goes wrong:

# %% tags=["nbval-check-output"]
for leak in leaks:
    try:
        assert_causal(Small(leak), some, vocab_size=9)
        print(f"{leak or 'no leak':20} passes")
    except AssertionError as problem:
        print(f"{leak:20} {str(problem).split(' by ')[0]}")  # without how far: that differs between machines

# %% [markdown]
# The keep-mask that was not turned over is caught, too, and so is the model of the beginning, which had the wonderful
# loss. The trained model of the course passes.

# %% tags=["nbval-check-output"]
# True = drop, given to a model for which True means keep; the diagonal saves the last row from being empty
turned = masking.to_attn_mask(causal(6)) | torch.eye(6, dtype=torch.bool)
short = torch.tensor([tokenizer.encode(fables.TRAVELLER)[:6]])  # [1, 6]
suspects = {
    "polarity swapped": lambda ids: trained(ids, keep_mask=turned),
    "the seer": lambda ids: seer(ids, keep_mask=torch.ones(6, 6, dtype=torch.bool)),
    "the trained model": trained,
}
for name, suspect in suspects.items():
    try:
        assert_causal(suspect, short, vocab_size=V)
        print(f"{name:20} passes")
    except AssertionError as problem:
        print(f"{name:20} {str(problem).split(':')[0]}")

# %% [markdown]
# The test has a limit. It sees what has an effect. Layers that begin with weights of zero hide a leak behind them until
# they are trained, so run it on a model with random weights, and again on the trained one. And run it on *every* model:
# it takes T passes over a few tokens.
#
# Now the beginning again, with the mask that is missing there. (The same weights at the start, the same batches.)

# %%
writer, writer_loss = learn(causal(24))
print(f"at the end: {writer_loss:.2f} nats a token, and the floor is {floor:.2f}")
assert floor < writer_loss < 2
print(go_on(writer, "Once, in a dark forest,", causal))

# %%
pictures.compare({"sees everything": seer_loss, "causal": writer_loss}, "nats a token", floor=floor, best=None)

# %% [markdown]
# The honest loss is the higher one, and its model can write. Look at the dotted line: below it there is no success,
# only a leak, or a text that is known by heart. What remains between the causal bar and the line is what a small model
# has not learned in 300 steps, and what 24 tokens are too few to know. Notebook 10 closes that gap.
#
# ## At size: what a mask costs
#
# A mask is a [T, T] table. A boolean takes one byte, a number of an additive mask four. The scores that it is laid over
# exist for each head, 32 of them in the 8B model of Llama 3. How many bytes has the boolean table at T = 131,072?

# %% tags=["nbval-check-output"]
predict("masking.f", ...)

# %% tags=["nbval-check-output"]
rows = []
for name, T in (("GPT-2", 1024), ("Llama 3", 8192), ("Llama 3.1", 131_072)):
    sizes = [T * T, 4 * T * T, 4 * T * T * 32]  # bytes: boolean, additive, scores of 32 heads
    rows.append((name, f"{T:,}", *(f"{size / 2**30:,.3f}" for size in sizes)))
pictures.table(rows, ["context of", "T", "keep_mask (GiB)", "additive (GiB)", "scores, 32 heads (GiB)"], align="lrrrr")

# %% [markdown]
# <details><summary>Answer</summary>
#
# T times T, about 17 thousand million: 16 GiB, for a table that one line of code describes, and about as much as all
# the weights of that model at two bytes each.
# </details>
#
# So do not build it. `is_causal=True` is the rule instead of the table, and the function behind it never holds all
# the scores: it computes them in small tiles, keeps for each row the sums that its softmax needs, forgets the tile, and
# skips the tiles that lie in the future. That is **flash attention** ([Dao et al.
# 2022](https://arxiv.org/abs/2205.14135)). The result is the same, as the random inputs above have shown. Measured here,
# on eight heads:

# %%
def with_table(q, k, v, mask):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def with_rule(q, k, v, mask):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)  # the table is not used


rows = []
for T in (256, 512, 1024):
    inputs = (*(torch.randn(1, 8, T, 32) for _ in range(3)), causal(T))  # q, k, v [B, H, T, hs] and the mask
    took = []
    for run in (attend, with_table, with_rule):
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            run(*inputs)
            seconds.append(time.perf_counter() - start)
        took.append(f"{1000 * min(seconds):.1f}")  # the best of five
    rows.append((f"{T:,}", *took))
pictures.table(rows, ["T", "written out (ms)", "fast, with a table (ms)", "fast, is_causal (ms)"], align="rrrr")

# %% [markdown]
# Each row is twice the T of the row above and should take about four times as long. (Milliseconds of one machine, and
# measured briefly: expect them to jump.) This is why `MultiHeadAttention` has an argument `is_causal` beside
# `keep_mask`, and why no model of this course keeps a [T, T] table in its layers.
#
# ### What a window forgets
#
# Take the trained model, let it read stories through sliding windows, and measure what it loses. `StoryEvaluation` is a
# judge like the one in notebook 06: it runs a model on stories, and counts the nats above the floor in three parts,
# random draws (*free*), facts that were told before (*recalled*), and all other words (*form*).


# %%
class Windowed(nn.Module):
    """The trained model behind a sliding window."""

    def __init__(self, window):
        super().__init__()
        self.inner, self.window = trained, window

    def forward(self, ids):
        return self.inner(ids, keep_mask=sliding(ids.shape[1], self.window))


evaluation = StoryEvaluation(fables.tell(40, seed=7), tokenizer, end)
parts = {window: evaluation(Windowed(window)) for window in (32, 64, 96, 160)}
rows = [(w, *(f"{part[name]:.1f}" for name in ("free", "recalled", "form"))) for w, part in parts.items()]
pictures.table(rows, ["window", "free", "recalled", "form (nats a story above the floor)"], align="rrrr")

# %%
recalled = {f"window {w}": round(part["recalled"], 1) for w, part in parts.items()}
pictures.compare(recalled, "recalled facts: nats a story above the floor", best=None)

# %% [markdown]
# Read the table from below. The widest window is the whole story, and the next one is as good: what the model looks for
# does not lie further back. Then the *form* suffers little at first, since most words follow from their neighbours. What
# goes first are the recalled facts: who lived where, and what was found, stand far back. (This model was trained with a
# full view. One that is trained with a window can learn to hand news on from layer to layer.)
#
# ### Two stories in one row
#
# Now pack two stories into one row: the end of one and the beginning of another, since the model takes no more than
# `trained.config.context` tokens. Is the second told as if it stood alone?


# %% tags=["nbval-check-output"]
@torch.no_grad()
def surprise(row, keep_mask=None, model=trained):
    logits, _ = model(torch.tensor([row[:-1]]), keep_mask=keep_mask)  # [1, T, V]
    return F.cross_entropy(logits[0], torch.tensor(row[1:]), reduction="none")  # [T]  nats at each token


one, two = (tokenizer.encode(story.text) for story in fables.tell(2, seed=0))
before, row = one[-74:], [end, *two[:75]]  # `end` says that a story begins
number = torch.tensor([0] * len(before) + [1] * (len(row) - 1))  # [T]  which story is this position part of?
both_masks = documents(number) & causal(len(number))
alone, packed = surprise(row), surprise(before + row)[len(before) :]
kept_apart = surprise(before + row, both_masks)[len(before) :]
for name, nats in {"alone": alone, "packed, causal": packed, "packed, & documents": kept_apart}.items():
    print(f"{name:20} {nats.sum():6.0f} nats")

# %% [markdown]
# Without the document mask the model mixes the two stories up. (It was trained on single stories, so it takes this
# harder than a model that has met rows of many.) With the mask the second story is nearly what it is alone. Is it
# exactly that? Compare token by token.

# %% tags=["nbval-check-output"]
print("exactly the same:", torch.allclose(alone, kept_apart, atol=1e-3))
print("close:           ", torch.allclose(alone, kept_apart, atol=0.3))

# %% [markdown]
# It is not. It cannot be the place in the row: the positions of this model only say how far apart two tokens stand
# (notebook 12). But attention is not the only way in which its tokens meet. Before each attention it has a small causal
# convolution over four tokens, which no attention mask stops at the border between the stories. Take it out of a copy of
# the model. (The copy tells bad stories. We only ask whether the second one is the same in both rows.)

# %% tags=["nbval-check-output"]
bare = copy.deepcopy(trained)
for layer in bare.blocks:
    layer.convolution = None
apart = surprise(before + row, both_masks, bare)[len(before) :]
print("exactly the same without the convolution:", torch.allclose(surprise(row, model=bare), apart, atol=1e-3))

# %% [markdown]
# A mask governs attention and nothing else. Whoever packs documents has to look at every part that mixes positions.

# %% [markdown]
# ## Two sources
#
# So far a sequence listened to itself. Now think of a translator. There is a text that is complete, in one language,
# and a text that is being written, in another. They have different lengths. Who should listen to whom?
#
# The writer has the questions. The complete text has the answers. So take the queries from one and the keys and values
# from the other. Nothing else changes, and `attend` does not even notice:

# %% tags=["nbval-check-output"]
B, Tq, Tk, C, hs = 2, 3, 5, 6, 4
W_q, W_k, W_v = (torch.randn(C, hs) for _ in range(3))
x, memory = torch.randn(B, Tq, C), torch.randn(B, Tk, C)  # what is being written, and what is read
for name, source in {"one source": x, "two sources": memory}.items():
    q, k, v = x @ W_q, source @ W_k, source @ W_v  # [B, Tq, hs] and twice [B, Tk, hs]
    weights = attention_weights(q, k)  # [B, Tq, Tk]
    print(f"{name:12} weights {list(weights.shape)}, result {list(attend(q, k, v).shape)}")

# %%
table = ("weights", "B Tq Tk", (B, Tq, Tk))
pictures.shapes(("q", "B Tq hs", (B, Tq, hs)), "@", ("kᵀ", "B hs Tk", (B, hs, Tk)), "→", table)

# %%
pictures.shapes(table, "@", ("v", "B Tk hs", (B, Tk, hs)), "→", ("result", "B Tq hs", (B, Tq, hs)))

# %% [markdown]
# Follow the letters. (The first arrow stands for the scaling and the softmax, too.) The result has a row for each
# *query*, as long as what is being written. Tk is in the middle and vanishes, summed away. This is why the two lengths
# need not agree, and why examples with Tq = Tk hide mistakes.
#
# With one source it is **self-attention**, with two it is **cross-attention**. What is read is called the **memory**.
# It is complete before the first word is written, so there is no future in it and no causal mask: only its padding is
# hidden.
#
# Is the order of the memory's rows important? Shuffle it, and shuffle its padding mask in the same way.

# %% tags=["nbval-check-output"]
predict("masking.e", ...)

# %% tags=["nbval-check-output"]
cross = CrossAttention(C, H=3)
pad = padding([5, 2], Tk)  # [B, 1, Tk]
order = torch.tensor([3, 0, 4, 1, 2])
result, shuffled = cross(x, memory, pad), memory[:, order]  # [B, Tq, C] and [B, Tk, C]
print("shuffled with its mask:   ", torch.allclose(result, cross(x, shuffled, pad[:, :, order]), atol=1e-5))
print("shuffled without its mask:", torch.allclose(result, cross(x, shuffled, pad), atol=1e-5))

# %% [markdown]
# <details><summary>Answer</summary>
#
# b. Nothing changes, as long as the mask goes along: each result is a weighted sum, and a sum does not care about the
# order of its terms. So the order of the words must be written *into* the memory, by the positions of notebook 05.
# </details>
#
# The package's `CrossAttention` is `MultiHeadAttention` with a second source. With equal weights it gives what
# `nn.MultiheadAttention` gives, which takes query, key and value apart:

# %% tags=["nbval-check-output"]
theirs = nn.MultiheadAttention(C, 3, batch_first=True)
with torch.no_grad():
    theirs.in_proj_weight.copy_(torch.cat([cross.query.weight, cross.key.weight, cross.value.weight]))
    theirs.in_proj_bias.copy_(torch.cat([cross.query.bias, cross.key.bias, cross.value.bias]))
    theirs.out_proj.load_state_dict(cross.output.state_dict())
expected = theirs(x, memory, memory, key_padding_mask=masking.to_key_padding_mask(pad))[0]
print("the library agrees:", torch.allclose(result, expected, atol=1e-5))

# %%
show(CrossAttention.forward)

# %% [markdown]
# ## A translator in half a minute
#
# The task: numbers in English words in, digits out. *four hundred seven* becomes *407*. Both sides have variable
# lengths, so padding matters. And the order matters: between *hundred* and *seven* there is a zero that nobody says.


# %%
def in_words(n):
    units = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    units = [*units.split(), "sixteen", "seventeen", "eighteen", "nineteen"]
    tens = "- - twenty thirty forty fifty sixty seventy eighty ninety"
    if n < 20:
        return [units[n]]
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if n >= size:
            return in_words(n // size) + [name] + (in_words(n % size) if n % size else [])
    return [tens.split()[n // 10]] + ([units[n % 10]] if n % 10 else [])


for n in (7, 407, 312_045):
    print(f"{' '.join(in_words(n))}  →  {n}")

# %% [markdown]
# The ids: each word is a token, with 0 for padding. On the other side the ten digits are 0 to 9, and there are three
# more: padding, a token to start from, and one that says *the end*. The writer reads the start and the digits so far,
# and the targets are shifted by one, as in every language model.

# %%
words = ["<pad>", *sorted({word for n in [*range(100), 100, 1000] for word in in_words(n)})]
PAD, START, END = 10, 11, 12


def batch_of(numbers):
    sources = [[words.index(word) for word in in_words(n)] for n in numbers]
    digits = [[int(d) for d in str(n)] for n in numbers]
    Tk, Tq = max(map(len, sources)), max(map(len, digits)) + 1
    source = torch.tensor([s + [0] * (Tk - len(s)) for s in sources])  # [B, Tk]
    inputs = torch.tensor([[START] + d + [PAD] * (Tq - 1 - len(d)) for d in digits])  # [B, Tq]
    targets = torch.tensor([d + [END] + [batches.IGNORE] * (Tq - 1 - len(d)) for d in digits])  # [B, Tq]
    return source, [len(s) for s in sources], inputs, targets


source, lengths, inputs, targets = batch_of([407, 20])
print(f"source, lengths {lengths}\n{source}\ninputs\n{inputs}\ntargets\n{targets}")

# %% [markdown]
# Now the blocks. One class makes both kinds. Each listens to itself and thinks, and between the two a decoder reads the
# memory. (The decoder of a GPT has nothing to read and goes without, like the block further up.) `LayerNorm` shifts and
# stretches the numbers of each position to mean 0 and variance 1, at each position alone; why, says notebook 08.


# %%
class Layer(nn.Module):
    def __init__(self, C, H, reads):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(C) for _ in range(3))
        self.listen = MultiHeadAttention(C, H)
        self.read = CrossAttention(C, H) if reads else None
        self.think = nn.Sequential(nn.Linear(C, 4 * C), nn.GELU(), nn.Linear(4 * C, C))

    def forward(self, x, keep_mask, memory=None, memory_mask=None):
        x = x + self.listen(self.norms[0](x), keep_mask)  # self-attention: one source
        if self.read is not None:
            x = x + self.read(self.norms[1](x), memory, memory_mask)  # cross-attention: two sources
        return x + self.think(self.norms[2](x))  # [B, Tq, C]


# %% [markdown]
# And the two together, an **encoder–decoder**. Look for the three masks: padding in the encoder, causal in the decoder,
# padding again where the decoder reads the memory. The padding of the digits needs none, as it stands on the right
# behind a causal mask. Its targets are ignored.


# %%
class EncoderDecoder(nn.Module):
    def __init__(self, C=64, H=4):
        super().__init__()
        self.source = TokenAndPositionEmbedding(len(words), 12, C)  # V, and places for at most 12 words
        self.target = TokenAndPositionEmbedding(13, 8, C)  # ten digits and three more, at most 8 places
        self.encoder, self.decoder = Layer(C, H, reads=False), Layer(C, H, reads=True)
        self.head = nn.Sequential(nn.LayerNorm(C), nn.Linear(C, 13))

    def encode(self, source, lengths):
        pad = padding(lengths, source.shape[1])  # [B, 1, Tk]
        return self.encoder(self.source(source), pad), pad  # [B, Tk, C]  all words of the source talk

    def forward(self, source, lengths, inputs):
        memory, pad = self.encode(source, lengths)
        x = self.decoder(self.target(inputs), causal(inputs.shape[1]), memory, pad)  # [B, Tq, C]
        return self.head(x)  # [B, Tq, 13]


# %% [markdown]
# Before training comes the test: does the writer see digits that it has yet to write? The source is held fast, and only
# the digits are changed.

# %% tags=["nbval-check-output"]
torch.manual_seed(7)
translator = EncoderDecoder()
source, lengths, inputs, targets = batch_of([407, 20, 312_045])
assert_causal(lambda ids: translator(source, lengths, ids), inputs, vocab_size=13)
print("the writer sees no digit before it is written")

# %% [markdown]
# Train it on random numbers below a million. Some of those from a thousand on are held out: they never occur in
# training. (Of the numbers below a thousand it meets most.) The loss begins near $\ln 13$, the surprise of a reader who
# knows nothing about 13 tokens.


# %%
def draw(n, generator):
    size = torch.randint(1, 7, (n,), generator=generator)  # at most 1 to 6 digits
    return [int(torch.randint(10 ** int(s), (1,), generator=generator)) for s in size]


held_out = sorted({n for n in draw(400, torch.Generator().manual_seed(1)) if n >= 1000})
secret, generator = set(held_out), torch.Generator().manual_seed(2)
steps, losses = 600, []
optimizer = torch.optim.AdamW(translator.parameters(), lr=4e-3)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps, pct_start=0.1)
for step in range(steps):
    source, lengths, inputs, targets = batch_of([n for n in draw(96, generator) if n not in secret])
    logits = translator(source, lengths, inputs)  # [B, Tq, 13]
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=batches.IGNORE)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    losses.append(loss.item())
    if step % 100 == 0:
        print(f"step {step}: {loss.item():.3f} nats a digit")

# %% [markdown]
# (`OneCycleLR` lets the learning rate grow and then fall: notebook 10.) Now let it write numbers that it has never met,
# one digit after the other, all of them at once.


# %%
@torch.no_grad()
def translate(numbers, hide_padding=True):
    source, lengths, _, _ = batch_of(numbers)
    if not hide_padding:
        lengths = [source.shape[1]] * len(numbers)
    written = torch.full((len(numbers), 1), START)  # [B, 1]
    for _ in range(7):
        best = translator(source, lengths, written)[:, -1].argmax(dim=-1, keepdim=True)  # [B, 1]
        written = torch.cat([written, best], dim=1)
    rows = [[*row, END] for row in written[:, 1:].tolist()]
    return ["".join(str(digit) for digit in row[: row.index(END)]) for row in rows]


answers = translate(held_out)
right = sum(answer == str(n) for answer, n in zip(answers, held_out, strict=True)) / len(held_out)
for n, answer in list(zip(held_out, answers, strict=True))[:: len(held_out) // 5]:
    print(f"{' '.join(in_words(n)):70} {answer}")
print(f"{len(held_out)} held-out numbers, exactly right: {right:.1%}")
assert 1.8 < losses[0] < 4 and losses[-1] < 0.2 and 0.9 < right <= 1

# %% [markdown]
# Where does it look while it writes? `watch`, from notebook 06, runs a model and collects the weights of every attention
# inside, in the order of their calls. The last one is the cross-attention, [B, H, Tq, Tk]: for each digit that comes
# next, how the attention is shared among the words.


# %%
def cross_weights(n):
    source, lengths, inputs, _ = batch_of([n])
    encoder, decoder, cross = watch(translator, source, lengths, inputs)
    return cross[0]  # [H, Tq, Tk]


n = 312_045
weights = cross_weights(n)
next_digits = [*(f"→{d}" for d in str(n)), "→end"]
pictures.attention(weights.mean(dim=0), next_digits, in_words(n), title="mean of the four heads")

# %% [markdown]
# Read a row at a time, from the top: to write this digit, it looks at these words. (Another machine may round
# differently and train another table, with the same habit.) The first digit looks at the first word, and further down
# the dark cells tend to move to the right. Nobody told it which word belongs to which digit. Such a table is an
# **alignment**, and it was the first thing that attention was used for ([Bahdanau, Cho and Bengio
# 2014](https://arxiv.org/abs/1409.0473)). Look at the zero, too. No word says it. Its row is spread over the words
# around the gap, from which the model can tell that something is missing.
#
# Is this one number an accident? Count over others how often the first digit looks most at the first word.

# %%
first = [int(cross_weights(n).mean(dim=0)[0].argmax()) == 0 for n in held_out[::2]]
print(f"the first digit looks at the first word in {sum(first)} of {len(first)} numbers")
assert sum(first) > 0.6 * len(first)

# %% [markdown]
# Here are the four heads. They share the work, and not all of them are tidy.

# %%
pictures.attention(weights, next_digits, in_words(n))

# %% [markdown]
# The pictures show where this layer looks. They do not show what the words in the memory have already told each other
# in the encoder, so a glance at *thousand* may mean a question about the whole number.
#
# Two measurements to end with. First, the memory is shuffled together with its mask, inside the trained model. Then the
# padding of the source is no longer hidden, in a batch where short numbers stand beside long ones.

# %% tags=["nbval-check-output"]
source, lengths, inputs, _ = batch_of([407, 20, 312_045])
with torch.no_grad():
    memory, pad = translator.encode(source, lengths)
    order = torch.randperm(source.shape[1], generator=torch.Generator().manual_seed(3))
    x, keep_mask = translator.target(inputs), causal(inputs.shape[1])
    plain = translator.decoder(x, keep_mask, memory, pad)
    shuffled = translator.decoder(x, keep_mask, memory[:, order], pad[:, :, order])
print("shuffled memory, the same result:", torch.allclose(plain, shuffled, atol=1e-4))

# %%
mixed = [*held_out[:60], *range(20, 80)]  # long and short numbers in one batch
share = {}
for name, hide in {"padding hidden": True, "padding heard": False}.items():
    answers = translate(mixed, hide)
    share[name] = 100 * sum(a == str(n) for a, n in zip(answers, mixed, strict=True)) / len(mixed)
assert share["padding hidden"] > 90
pictures.compare(share, "exactly right (%)", best="high")

# %% [markdown]
# The weights are the same in both bars. Only the mask of the source is missing in the second, and what a number becomes
# then depends on which other numbers happen to stand in its batch.
#
# Encoder–decoders are how the transformer began. T5 and the speech recogniser Whisper are built so. The models that
# chat are decoders alone: they put the question before the answer, in one sequence, and let one causal self-attention
# do both.

# %% [markdown]
# ## Exercises
#
# Write your code in place of the dots and run the cell. `check` runs it on fresh inputs and names the most likely
# mistake. `hint("masking.1")` gives a hint, again for the next one; `solution("masking.1")` shows one way to do it. In all of them
# True means *may attend*, except in masking.7.

# %%
find("masking.1")


# %% tags=["nbval-check-output"]
def causal_mask(Tq, Tk): ...


check("masking.1", causal_mask)

# %%
find("masking.2")


# %% tags=["nbval-check-output"]
def padding_mask(lengths, T): ...


check("masking.2", padding_mask)

# %%
find("masking.3")


# %% tags=["nbval-check-output"]
def masked_weights(scores, keep_mask): ...


check("masking.3", masked_weights)

# %%
find("masking.4")


# %% tags=["nbval-check-output"]
def without_padding(targets, lengths): ...


check("masking.4", without_padding)

# %%
find("masking.5")


# %% tags=["nbval-check-output"]
def sliding_mask(T, window): ...


check("masking.5", sliding_mask)

# %%
find("masking.6")


# %% tags=["nbval-check-output"]
def packed_mask(ids, end): ...


check("masking.6", packed_mask)

# %%
find("masking.7")


# %% tags=["nbval-check-output"]
def library_masks(lengths, T): ...


check("masking.7", library_masks)

# %%
find("masking.8")


# %% tags=["nbval-check-output"]
def cross_attend(x, memory, W_q, W_k, W_v, keep_mask): ...


check("masking.8", cross_attend)

# %%
find("masking.9")


# %% tags=["nbval-check-output"]
def first_leak(model, ids, V): ...


check("masking.9", first_leak)

# %% [markdown]
# An open one, without a check: take the positions away from the translator's source (`position="none"` in its
# `TokenAndPositionEmbedding`), and train it again. Which numbers does it get wrong now, and which does it still get
# right? Then think of two numbers that are made of the same words.

# %%
progress()

# %%
recap("masking")

# %% [markdown]
# ## What to remember
#
# 1. A mask says which query may attend to which key. Here True = may attend; `nn.MultiheadAttention` means the opposite.
# 2. Masks go on the scores, before the softmax, and join with `&`. An empty row should give zeros, never NaN.
# 3. Encoder and decoder are the same block with two masks. With the causal one, a full pass equals step by step.
# 4. Shapes cannot see a leak. Change one token, and nothing before it may move: `assert_causal`, on every model.
# 5. Cross-attention: queries from what is written, keys and values from the memory, whose padding alone is hidden.
#
# **Three questions**
#
# 1. Padding is hidden as keys. Why must its targets be ignored as well?
#
# <details><summary>Answer</summary>
# The padded positions still ask, and still give logits. A loss that counts them teaches the model to name padding.
# </details>
#
# 2. A friend's model has a loss below the entropy of its text. What do you do first?
#
# <details><summary>Answer</summary>
# Change one token and look whether an output before it moves. A loss below the floor is a leak, or a text known by
# heart.
# </details>
#
# 3. x is [2, 3, 8], the memory is [2, 7, 8], there are two heads. What are the shapes of the weights and of the result?
#
# <details><summary>Answer</summary>
# The weights are [2, 2, 3, 7], B, H, Tq and Tk. The result is [2, 3, 8], as x.
# </details>
#
# **To go deeper:** Vaswani et al., [Attention is all you need](https://arxiv.org/abs/1706.03762) (2017), section 3.2.3,
# where all three uses of attention stand on half a page. Sasha Rush, [The Annotated
# Transformer](https://nlp.seas.harvard.edu/annotated-transformer/), for an encoder–decoder line by line. In the
# package, `gptlab/masking.py` from top to bottom.
#
# ## Next
#
# You have embeddings, heads and masks. Three parts of a block you have used without a question: the adding, the norm
# and the thinking. What does each of them do when there are not two layers but twelve? [Notebook
# 08](08_the_model.ipynb) takes the block apart, and builds the whole model.
#
# The sentence that travels with you, one station further: the table through which a model reads that is to write it. Take
# any word, go along its row, and you have what the model knows when it names the next one.

# %%
ids = tokenizer.encode(fables.TRAVELLER)[:14]  # the first of its two sentences
pictures.mask(causal(len(ids)), [tokenizer.decode([id]).strip() for id in ids])
