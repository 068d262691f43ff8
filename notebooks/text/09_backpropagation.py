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
# # 09 · Backpropagation
#
# *A model has thousands of parameters, or billions. One walk backward through the computation tells each of them which
# way to move – and by the end of this notebook, the walk is yours, line by line.*

# %%
import math
import time

import torch
import torch.nn.functional as F

from gptlab import backward, batches, checkpoints, pictures, show
from gptlab.autograd import Value, named, numerical_gradient
from gptlab.backpropagation import (
    backward_gpt,
    block_backward,
    block_forward,
    gradient_norms,
    parts_of,
    set_gradients,
)
from gptlab.corpora import fables
from gptlab.exercises import check, find, judge, predict, progress, quiz, recap
from gptlab.model import GPT, GPTConfig

torch.set_num_threads(1)  # matrices this small gain nothing from a second core
torch.manual_seed(9);

# %% tags=["nbval-check-output"]
pictures.pipeline("backpropagation")

# %% [markdown]
# **After this notebook you can** explain what a gradient is with a pencil and three numbers; write an automatic
# differentiator from an empty cell; write the backward pass of every operation in GPT-2 and test it against measured
# slopes; and say why deep models need residual connections.
#
# **It builds on** the model (08), and through it on embeddings (05) and attention (06). You need no calculus beyond the
# word *slope*.
#
# **Reading** takes about 50 minutes without the exercises. **Running it** takes about 30 seconds on two CPU cores and
# half a GB of memory.
#
# Three questions about earlier notebooks first, if you like. Replace the dots with letters.

# %% tags=["nbval-check-output"]
quiz("backpropagation", [..., ..., ...])

# %% [markdown]
# ## The question: which way should each parameter move?
#
# In notebook 08 you built a whole GPT. Its parameters are random, so its predictions are useless, and its loss says how
# useless. To improve it, every parameter should move a little in the direction that makes the loss smaller. But which
# direction is that?
#
# One idea needs no mathematics at all. Take one parameter, increase it a little, run the model again, and see whether the
# loss went up or down. Then do the same for the next one. Let's try it. The loss will change very little, so `.double()`
# makes the model compute in float64, with about 16 digits in place of 7.

# %%
trained, tokenizer = checkpoints.committed("fables")
V, end = tokenizer.vocab_size, tokenizer.special_tokens["<|endoftext|>"]
ids = []
for story in fables.tell(300, seed=0):
    ids += [*tokenizer.encode(story.text), end]
text = batches.Batches(ids, B=8, T=24)


def fresh_model(L=4, C=48):
    torch.manual_seed(9)
    return GPT(GPTConfig(V, context=24, n_layer=L, n_head=4, n_embd=C)).double()


model = fresh_model()
inputs, targets = text.batch(0)  # [B, T] and [B, T]
with torch.no_grad():
    before = model(inputs, targets)[1].item()
    model.blocks[0].mlp.up.weight[3, 5] += 0.01  # one parameter out of many
    after = model(inputs, targets)[1].item()
    model.blocks[0].mlp.up.weight[3, 5] -= 0.01
print(f"the loss changed by {after - before:+.1e} when this parameter grew by 0.01")

# %% [markdown]
# It works: now we know which way this parameter should move. How long would it take to ask all of them? Compare the
# second line below with the third, which is the subject of this notebook.

# %%
start = time.perf_counter()
loss = model(inputs, targets)[1]
one = time.perf_counter() - start
print(f"one forward pass:            {1000 * one:6.0f} ms")
print(f"one for each of {model.count_parameters():,}:   {one * model.count_parameters() / 60:6.0f} minutes")
start = time.perf_counter()
loss.backward()
print(f"loss.backward(), for all:    {1000 * (time.perf_counter() - start):6.0f} ms")

# %% [markdown]
# All that for one step of a toy model, and a training run takes thousands of steps. `loss.backward()` needs no longer
# than a few forward passes, and it answers for *all* parameters at once. You called it in notebook 08 without asking
# how. So let's ask: how can it be so much faster?
#
# ## Why a number has a slope
#
# Start as small as possible: one parameter $x$, and a loss that is $x^2$. At $x = 3$ the loss is 9. Increase $x$ by a
# little step and look at the ratio: by how much did the loss change *for each unit* that $x$ changed?

# %% tags=["nbval-check-output"]
x = 3.0
for step in (1.0, 0.1, 0.01, 0.0001):
    rise = (x + step) ** 2 - x**2
    print(f"step {step:<7} rise {rise:<9.6g} rise / step {rise / step:.4f}")

# %% [markdown]
# The smaller the step, the closer the ratio comes to 6. That number is the **derivative** of $x^2$ at 3: the slope of the
# curve there, the slope of the straight line that you would see if you zoomed in far enough.

# %% alt="The curve x squared, and a straight line that touches it at x = 3 with the slope 6"
xs = [i / 20 for i in range(20, 101)]
touching = [(x, 9 + 6 * (x - 3)) for x in xs if 1.8 < x < 4.4]
pictures.lines({"x²": [(x, x * x) for x in xs], "slope 6 at x = 3": touching}, "x", "loss", at={"x": 3})

# %% [markdown]
# Why does anyone training a model care about a slope? Because it answers two questions in one number. Its *sign* says
# which way to go: the slope is positive, so a larger $x$ means a larger loss, and $x$ should get smaller. Its *size* says
# how much it matters: near 3, a change of 0.01 in $x$ changes the loss by about 0.06.
#
# We need the slopes of only a few operations, and the same experiment gives all of them:
#
# - **A sum**, $a + b$. If $a$ grows by 0.01, so does the sum. The slope is 1.
# - **A product**, $a \cdot b$. If $a$ grows by 0.01, the product grows by $0.01 \cdot b$. The slope is *the other factor*.
# - **A power**, $x^n$. The slope is $n\,x^{n-1}$, so for $x^2$ it is $2x$: 6 at 3, as we saw.
# - **The exponential**, $e^x$. Its slope is $e^x$ itself: the larger it is, the faster it grows.
# - **The logarithm**, $\ln x$. Its slope is $1/x$: the larger $x$ is, the more slowly it grows.
#
# You don't have to believe the last three. Measure them:

# %% tags=["nbval-check-output"]
claims = {
    "x³ at 2": (lambda x: x**3, 2.0, 3 * 2.0**2),
    "e^x at 1": (math.exp, 1.0, math.exp(1.0)),
    "ln x at 4": (math.log, 4.0, 1 / 4.0),
}
for name, (f, x, claimed) in claims.items():
    print(f"{name:10} claimed {claimed:7.4f}   measured {(f(x + 1e-6) - f(x)) / 1e-6:7.4f}")

# %% [markdown]
# ### Your turn: Measure a slope on both sides
#
# `backpropagation.1` · *warm-up* · 3 minutes
#
# Stuck? `hint("backpropagation.1")` and `solution("backpropagation.1")` help, here and in every exercise below; import
# them from `gptlab.exercises`.
#
# Our ratio approaches 6 slowly, because the stretch that we measured lies to one side of $x$. Put $x$ in the middle
# instead: go one `step` to the right and one `step` to the left, and divide the difference of the two values by the
# distance between the two points. For $x^2$ at 3 with a step of 1 that is $(16 - 4) / 2 = 6$, already exact.


# %% tags=["nbval-check-output"]
def measured_slope(f, x, step):  # f: a function from a number to a number
    ...


check("backpropagation.1", measured_slope)

# %% [markdown]
# Measured slopes are slow, but there is no theory in them that could be wrong. Below, they will be the judge of everything
# that we derive with a pencil.
#
# ## The chain rule, with a pencil
#
# A GPT is not one operation but thousands, each fed by the ones before it. What happens to slopes when computations
# are chained? Take three steps:
#
# $$a = 3x \qquad b = a + 1 \qquad y = b^2$$
#
# Take $x = 2$ and write down the values: $a = 6$, $b = 7$, $y = 49$. Then the slope of each step on its own, which is
# called its **local derivative**. From $x$ to $a$ it is 3. From $a$ to $b$ it is 1. From $b$ to $y$ it is $2b = 14$.
#
# Now increase $x$ by 0.01. Then $a$ grows by 0.03, three times as much. So $b$ grows by 0.03. And $y$ grows 14 times as
# much as $b$: by about 0.42. From $x$ to $y$ the slope is $3 \cdot 1 \cdot 14 = 42$. Like gears on a bicycle, the ratios
# multiply. This is the **chain rule**:
#
# $$\frac{dy}{dx} = \frac{dy}{db} \cdot \frac{db}{da} \cdot \frac{da}{dx}$$

# %% tags=["nbval-check-output"]
b = 3 * 2.0 + 1
from_b = 2 * b  # how fast y grows when b grows
from_a = from_b * 1  # … when a grows
from_x = from_a * 3  # … when x grows
print("by the chain rule:", from_b, from_a, from_x)
print("measured at x:    ", round(((3 * 2.001 + 1) ** 2 - (3 * 1.999 + 1) ** 2) / 0.002, 4))

# %% [markdown]
# Look at the order of the three lines. We began at the *end* and walked back, and on the way we got the slope for every
# value in the chain, each from the one after it with a single multiplication. That is the whole secret of
# `loss.backward()`. Going forward we would have to start again for each input, as in our experiment with the model. Going
# backward, one walk answers for all of them.
#
# The slope of the *final result* with respect to some value is called that value's gradient. For a whole tensor of
# parameters, the gradient is the tensor of all these slopes.
#
# ### When paths meet
#
# One thing is still missing. What if a value is used more than once? Let $a = 3$ and $y = a \cdot a + a$. Before you run
# the next cell: what is the gradient of $a$? Replace the dots with a number.

# %% tags=["nbval-check-output"]
predict("backpropagation.a", ...)

# %% tags=["answers-prediction", "nbval-check-output"]
print("measured:", round(((3.001**2 + 3.001) - (2.999**2 + 2.999)) / 0.002, 4))

# %% [markdown]
# <details><summary>Answer</summary>
#
# 7. There are three paths from $a$ to $y$: two through the product, where each $a$ has the slope 3 because the other factor
# is 3, and one that goes straight to the sum, with the slope 1. When $a$ grows, all three move $y$, so their contributions
# add up.
# </details>
#
# So there are two rules, and there will never be a third: **along a path, slopes multiply; where paths meet, they add.**
# They also explain the slope of $x^2$: it is $x \cdot x$, with two paths of slope $x$ each, and together they make $2x$.
#
# ## A number that remembers
#
# For a GPT nobody wants to draw all paths by hand. Python can do it, if every number remembers how it was made: which
# numbers it was computed from, and with which local derivatives. Here is such a number, with two operations.


# %%
class Number:
    def __init__(self, data, parents=(), slopes=()):
        self.data, self.parents, self.slopes = data, parents, slopes

    def __add__(self, other):
        return Number(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        return Number(self.data * other.data, (self, other), (other.data, self.data))


# %% tags=["nbval-check-output"]
a = Number(3.0)
product = a * a
y = product + a
print("y =", y.data, "was computed from", [parent.data for parent in y.parents], "with slopes", y.slopes)
print("and", product.data, "from", [parent.data for parent in product.parents], "with slopes", product.slopes)

# %% [markdown]
# Follow the parents, and you have the **computational graph**: every value is a node, with an arrow to it from each value
# it was computed from. All that's left is the walk back.
#
# ### Your turn: Walk back through a graph
#
# `backpropagation.2` · *core* · 10 minutes
#
# Here is a graph as two lists. Node `i` was computed from the nodes `parents[i]`, which all come before it, and `slopes[i]`
# holds a local derivative for each of them. Inputs have empty lists, and the last node is the result. Return the gradient
# of every node, as a list of floats: 1 for the result itself, 0 for a node on which the result does not depend.
#
# Our chain from above is `parents = [[], [0], [1], [2]]` with `slopes = [[], [3.0], [1.0], [14.0]]`, and the gradients are
# `[42.0, 14.0, 14.0, 1.0]`. A node may be used several times, even twice by the same node. In what order do you have to
# go, so that a node's gradient is complete before it passes anything on?


# %% tags=["nbval-check-output"]
def walk_back(parents, slopes):  # list of lists of int, list of lists of float -> list of float
    ...


check("backpropagation.2", walk_back)

# %% [markdown]
# The package has the same idea as a class, `Value`. It is our `Number` with a few more operations, and with `backward`.
# Compare it with your answer: a dictionary takes the place of your list, and `graph()` puts the nodes in order, parents
# first. The cell's output is folded; open it when you have written your own.

# %% tags=["answers-prediction"]
show(Value.__init__, Value.__mul__, Value.tanh, Value.backward)

# %% [markdown]
# Here is something a little more like a network: one **neuron**. It has two inputs, a weight for each, and a bias, and
# it sends the weighted sum through an activation function – here `tanh`, an S-shaped curve from −1 to 1 whose slope is
# $1 - \tanh^2$, as you can measure. The picture below is not drawn by hand. It is the graph that Python recorded while
# it computed `y`.

# %%
x1, w1, x2, w2, b = named(x1=2.0, w1=-3.0, x2=0.5, w2=1.0, b=6.9)
y = (x1 * w1 + x2 * w2 + b).tanh()
y.name = "y"
y.backward()
pictures.graph(y)

# %% [markdown]
# Read it from right to left. `y` has the gradient 1, because it grows exactly as fast as itself. The blue number on an
# arrow is a local derivative, and the one marked *grad* in a box is a gradient: that of the box to its right, times the
# number on the arrow between them. If several arrows left a box, we would add. At a plus, the gradient is passed on
# unchanged, to both inputs. At a times, each factor gets the gradient times the *other* factor.
#
# Recording the computation and letting the machine walk back is called **automatic differentiation**, and doing so from
# the result to the inputs is **backpropagation**. Seppo Linnainmaa described it in his master's thesis in 1970; Rumelhart,
# Hinton and Williams showed in [1986](https://doi.org/10.1038/323533a0) what networks learn with it. PyTorch does the
# same with tensors. Do the two agree?

# %% tags=["nbval-check-output"]
leaves = [torch.tensor(value.data, dtype=torch.float64, requires_grad=True) for value in (x1, w1, x2, w2, b)]
p1, q1, p2, q2, c = leaves
(p1 * q1 + p2 * q2 + c).tanh().backward()
print("ours:   ", [round(value.grad, 4) for value in (x1, w1, x2, w2, b)])
print("PyTorch:", [round(leaf.grad.item(), 4) for leaf in leaves])

# %% [markdown]
# ### A line learns, and a famous mistake
#
# With gradients we can train. Take the smallest model there is, a straight line $y = w x + b$, and bring it as close as
# possible to four points. The loss is the sum of the squared errors, and each step moves both parameters a little
# *against* their gradients. How far they move is set by the learning rate, here 0.02; notebook 10 has more to say about
# it.
#
# One line in the loop is easily forgotten: a gradient is *added* to `grad`, so before each step it has to be set to 0.
# PyTorch behaves in the same way, which is why every training loop calls `optimizer.zero_grad()`. Let's train with that
# line and without it.

# %%
points = [(0, 1), (1, 2), (2, 2), (3, 4)]
curves = {}
for reset in (True, False):
    w, b = parameters = named(w=0.0, b=0.0)
    losses = []
    for _ in range(60):
        loss = sum((w * x + b - y) ** 2 for x, y in points)
        if reset:
            w.grad = b.grad = 0.0
        loss.backward()
        for parameter in parameters:
            parameter.data -= 0.02 * parameter.grad
        losses.append(loss.data)
    curves["grad set to 0" if reset else "forgotten"] = list(enumerate(losses))
pictures.lines(curves, "step", "loss (sum of squared errors)", legend="outside upper center")

# %% [markdown]
# With the reset, the loss falls and stays low. It does not reach 0, because no straight line goes through all four
# points. Without the reset, every step moves against the sum of all gradients so far, old and new, so the line
# overshoots, swings back, and never settles. Nothing crashes and no error appears, which is what makes this mistake so
# hard to find.
#
# ## From numbers to tensors
#
# `Value` could differentiate a GPT. But each multiplication would be a Python object of its own, and there are millions of
# them in one forward pass. So we make the nodes larger: a node is now a tensor, and an operation is a whole matrix
# product, a softmax, a layer norm. The graph of notebook 08's model then has dozens of nodes instead of millions, and each
# *kind* of node needs its backward pass worked out once.
#
# That is what you'll do now, one operation at a time. The pattern never changes:
#
# - The forward function computes `y` from `x` (and perhaps from parameters).
# - The backward function gets `dy`, the gradient of the loss with respect to `y`, and returns `dx`, the gradient with
#   respect to `x`. Always read such a `d` as *the gradient of the loss with respect to*; on paper it would be
#   $\partial\,\text{loss} / \partial x$. A gradient has the same shape as the thing it belongs to.
#
# And each one is checked in two ways: against PyTorch's autograd, and against measured slopes, where every entry of
# every input moves by a millionth to both sides. The function `agree` below does both, in float64, because float32 has
# too few digits for so small a difference.


# %%
def agree(forward, found, *inputs, dy):
    leaves = [x.clone().requires_grad_() for x in inputs]
    theirs = torch.autograd.grad(forward(*leaves), leaves, dy)
    for i, (ours, autograd) in enumerate(zip(found, theirs, strict=True)):
        rest = list(inputs)

        def loss(x, i=i, rest=rest):
            return (forward(*rest[:i], x, *rest[i + 1 :]) * dy).sum()

        measured = numerical_gradient(loss, inputs[i])
        assert (ours - autograd).abs().max() < 1e-6 and (ours - measured).abs().max() < 1e-6
    return f"equal to autograd and to measured slopes within 1e-6: {i + 1} of {len(found)}"


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64)


# %% [markdown]
# ## Where it begins: softmax and cross-entropy
#
# The walk starts at the loss, so that is the first operation: logits go in, the softmax turns them into probabilities, and
# the loss is $-\ln p$ of the token that really came next. Take a vocabulary of four tokens, all with the logit 0, and let
# token 2 be the right one. What is the gradient at the logit of token 2?

# %% tags=["nbval-check-output"]
predict("backpropagation.b", ...)

# %% tags=["answers-prediction", "nbval-check-output"]
z = torch.zeros(1, 4, requires_grad=True)
F.cross_entropy(z, torch.tensor([2])).backward()
print("gradients at the four logits:", z.grad[0].tolist())

# %% [markdown]
# <details><summary>Answer</summary>
#
# −0.75: the probability, 0.25, minus 1 because this is the right token. The three wrong tokens have 0.25 each. A larger
# logit for a wrong token makes the loss larger; a larger logit for the right one makes it smaller.
# </details>
#
# It is one of the prettiest results of the field: all those exponentials and logarithms, and what remains is a
# subtraction. To see why, call the logits $z$. The probability of the target is $e^{z_{\text{target}}}$ over the sum
# $S = \sum_j e^{z_j}$, and because the logarithm of a fraction is a difference, the loss is $\ln S - z_{\text{target}}$. Now
# increase one logit, $z_i$. The sum $S$ has the slope $e^{z_i}$, the logarithm of $S$ has the slope $1/S$, and the chain rule
# multiplies them: $e^{z_i} / S$. That is the softmax itself. The second term contributes −1, at the target only.
#
# ### Your turn: The gradient at the logits
#
# `backpropagation.3` · *core* · 10 minutes
#
# Now for a whole batch. The loss is the *mean* over all B·T positions, and that changes something, too. Logits may be
# in the hundreds, so don't compute `exp` yourself. Without autograd, please. Example: a single position with the logits
# [0, ln 3] and the target 0 has the probabilities [0.25, 0.75] and the gradient [−0.75, 0.75].


# %% tags=["nbval-check-output"]
def loss_backward(logits, targets):  # [B, T, V] and [B, T] -> [B, T, V]
    ...


check("backpropagation.3", loss_backward)

# %% tags=["answers-prediction"]
show(backward.cross_entropy_backward)

# %% [markdown]
# `IGNORE` marks targets that should not count, such as padding. Everything else should look familiar.

# %% tags=["nbval-check-output"]
logits, marks = normal(2, 3, 5), torch.tensor([[1, 4, 0], [2, 2, 3]])
one = torch.ones((), dtype=torch.float64)
found = [backward.cross_entropy_backward(logits, marks)]
print(agree(lambda z: backward.cross_entropy(z, marks), found, logits, dy=one))
print("each row sums to 0:", found[0].sum(-1).abs().max().item() < 1e-12)

# %% [markdown]
# Every row sums to 0. What the right token gains, the others lose, so the gradient is a tug of war over one unit of
# probability. The surer the model is of the right answer, the weaker the pull. Here is the sentence that travels through
# this course, read by the trained model of the course: for each token, the probability that it got, and the gradient at
# its logit (before the division by the number of targets).

# %%
sentence = torch.tensor([tokenizer.encode(fables.TRAVELLER)])  # [1, T]
with torch.no_grad():
    logits = trained(sentence[:, :-1])[0]  # [1, T - 1, V]
came = sentence[:, 1:]
pulls = came.numel() * backward.cross_entropy_backward(logits, came).gather(-1, came[..., None])  # [1, T - 1, 1]
rows = []
for token, pull in zip(came[0, :14].tolist(), pulls[0, :14, 0].tolist(), strict=True):
    rows.append((repr(tokenizer.decode([token])), f"{1 + pull:.3f}", f"{pull:.3f}"))
pictures.table(rows, ["token", "p(token)", "gradient at its logit"], align="lrr")

# %% [markdown]
# A token that the model saw coming has a gradient near 0, so there is nothing left to learn from it. Where the model was
# surprised, the gradient is near −1, and the pull is strong. Not every surprise can be learned away, though. Nobody can
# know in advance which animal a story will be about, so one story pulls towards *fox* and the next towards *hen*. Once the
# model gives each animal its true probability, these pulls cancel on average, and the model stays where it is.
#
# ## Linear layers
#
# The logits came out of a matrix product, as did nearly everything else in the model. Start with a pencil again: one
# position, two inputs, one output. $x = (2, 3)$, the weights are $(7, 11)$, so $y = 2 \cdot 7 + 3 \cdot 11 = 47$. Suppose
# `dy` is 5: the loss grows 5 times as fast as $y$.
#
# How fast does the loss grow with the first weight? In $y$ it is multiplied by 2, so its local derivative is 2, and its
# gradient $5 \cdot 2 = 10$. And with the first input? It is multiplied by 7: $5 \cdot 7 = 35$. A product again: each
# factor gets the other one.
#
# With many positions, the *same* weight is used at each of them. Where paths meet, gradients add up.
#
# ### Your turn: A linear layer, backward
#
# `backpropagation.4` · *core* · 10 minutes
#
# The layer computes `y = x @ weight.T + bias`, with the weight stored as [out, in], as PyTorch does it. Return `dx`,
# `dweight` and `dbias`. The shapes are your best guide, because there are few ways to multiply these tensors that give
# the shape you need. For the example above, `dx` is [35, 55], `dweight` [[10, 15]] and `dbias` [5].


# %% tags=["nbval-check-output"]
def linear_layer_backward(dy, x, weight):  # [B, T, O], [B, T, C], [O, C] -> [B, T, C], [O, C], [O]
    ...


check("backpropagation.4", linear_layer_backward)

# %% tags=["answers-prediction"]
show(backward.linear_backward, backward.matmul_backward)

# %% tags=["nbval-check-output"]
x, weight, bias, dy = normal(2, 3, 4), normal(5, 4), normal(5), normal(2, 3, 5)
print(agree(backward.linear, backward.linear_backward(dy, x, weight), x, weight, bias, dy=dy))

# %% [markdown]
# Forward, this was one matrix product. Backward, it is two, one for `dx` and one for `dweight`. That is where the rule
# of thumb comes from that a backward pass costs twice as much as a forward pass. That counts multiplications. In a
# model as small as ours, other costs can hide it, so don't expect a factor of two in the measurement at the beginning.
#
# ## Embeddings
#
# At the other end of the model, `table[ids]` looks up a row for each token. The backward pass takes the opposite
# direction: each position's gradient goes to the row that it used. A token that occurs three times sends three gradients
# to a single row, and a token that does not occur sends none, so its row does not learn anything from this batch.
#
# ### Your turn: An embedding, backward
#
# `backpropagation.5` · *warm-up* · 5 minutes
#
# Example: with V = 4 and C = 1, ids [[2, 0, 2]] and dx [[[1], [10], [100]]] give [[10], [0], [101], [0]].


# %% tags=["nbval-check-output"]
def lookup_backward(dx, ids, V):  # [B, T, C], [B, T], a number -> [V, C]
    ...


check("backpropagation.5", lookup_backward)

# %% tags=["answers-prediction"]
show(backward.embedding_backward)

# %% tags=["nbval-check-output"]
table, seen, dy = normal(6, 3), torch.tensor([[1, 4, 1], [0, 1, 4]]), normal(2, 3, 3)
found = [backward.embedding_backward(dy, seen, V=6)]
print(agree(lambda table: table[seen], found, table, dy=dy))
print("rows without a gradient:", [row for row in range(6) if not found[0][row].any()])

# %% [markdown]
# Position embeddings are simpler still. The same T rows are added to every sequence of the batch, so each row gets the sum
# over the B sequences. This is the general rule for broadcasting: **what was copied forward is summed backward.** (The
# bias of a linear layer was another case of it.)
#
# ## GELU
#
# The MLP's activation function treats each number on its own, so we need one slope per number, as at the very
# beginning. GELU is $x \cdot \Phi(x)$, where $\Phi(x)$ is the share of a normal distribution that lies below $x$. Here
# $x$ stands in a product *twice*, so there are two paths, and the two contributions add up. School calls this the
# product rule: $(u v)' = u' v + u v'$, where a prime marks the slope. The slope of $\Phi$ is the bell curve itself,
# $\varphi(x) = e^{-x^2/2} / \sqrt{2\pi}$.
#
# ### Your turn: GELU, backward
#
# `backpropagation.6` · *stretch* · 10 minutes
#
# In PyTorch, $\Phi(x)$ is `0.5 * (1 + torch.erf(x / math.sqrt(2)))`. Example: at x = 0 the slope of GELU is 0.5, so with
# `dy` = 2 the answer is 1.


# %% tags=["nbval-check-output"]
def activation_backward(dy, x):  # [B, T, C] and [B, T, C] -> [B, T, C]
    ...


check("backpropagation.6", activation_backward)

# %% tags=["answers-prediction"]
show(backward.gelu_backward)

# %% tags=["nbval-check-output"]
x, dy = 2 * normal(2, 3, 4), normal(2, 3, 4)
print(agree(backward.gelu, [backward.gelu_backward(dy, x)], x, dy=dy))

# %%
x = torch.linspace(-4, 4, 161, dtype=torch.float64)
slopes = {"GELU": backward.gelu_backward(torch.ones_like(x), x), "ReLU": (x > 0).double()}
curves = {f"slope of {name}": torch.stack([x, y], dim=1).tolist() for name, y in slopes.items()}
pictures.lines(curves, "x", "slope")

# %% [markdown]
# Look at the left side. Where the slope is 0, nothing comes through: an inner channel whose input is far below 0 gets
# almost no gradient, whatever the loss would like it to do. ReLU has this on its whole left half. GELU's slope leaves 0
# gradually, and even dips below it.
#
# ## Residual connections
#
# The simplest backward pass of all may be the most important one. In `x = x + part(x)`, the old $x$ reaches the sum on two
# paths: through the part, and past it. The path past it has the slope 1.
#
# ### Your turn: Down the residual stream
#
# `backpropagation.7` · *warm-up* · 5 minutes
#
# The stream went through several parts, first to last, each with a residual connection. You get `dx`, the gradient of
# the stream after the last part, and a list with the backward function of each part, in the order of the forward pass.
# Return the gradient of the stream before the first part. With one part that multiplies by 0.5, and `dx` = 1, that is 1.5.


# %% tags=["nbval-check-output"]
def stream_backward(dx, parts_backward):  # [B, T, C] and a list of functions -> [B, T, C]
    ...


check("backpropagation.7", stream_backward)

# %% [markdown]
# So a copy of the gradient always travels past every part, unchanged. Keep this in mind: further down, it will save a
# deep model.
#
# ## Softmax
#
# Inside attention there is a softmax without a loss directly above it, so the pretty formula from the beginning does not
# apply. Each score moves *all* the weights of its row, because they must sum to 1: when $x_j$ grows, $p_j$ grows with the
# slope $p_j (1 - p_j)$, and every other $p_i$ shrinks, with the slope $-p_i\,p_j$. From $x_j$ there is a path to the loss
# through every weight of its row, and the paths add up:
#
# $$dx_j = dp_j \cdot p_j (1 - p_j) - \sum_{i \ne j} dp_i \cdot p_i\,p_j$$
#
# ### Your turn: A softmax, backward
#
# `backpropagation.8` · *stretch* · 15 minutes
#
# You could write this with two loops. But if you multiply the first term out, the sum becomes a simpler one over *all* $i$,
# and no loop is left. Example: dp = [1, 0] and p = [0.25, 0.75] give [0.1875, −0.1875]. Why must a row of the result always
# sum to 0?


# %% tags=["nbval-check-output"]
def probabilities_backward(dp, p):  # [B, T, n] and [B, T, n] -> [B, T, n]
    ...


check("backpropagation.8", probabilities_backward)

# %% tags=["answers-prediction"]
show(backward.softmax_backward)

# %% tags=["nbval-check-output"]
x, dp = normal(2, 3, 5), normal(2, 3, 5)
found = [backward.softmax_backward(dp, x.softmax(-1))]
print(agree(lambda x: x.softmax(-1), found, x, dy=dp))

# %% [markdown]
# What counts, then, is not whether the loss wants a weight to grow, but whether it wants that more than it does *on
# average*. And a row of the result must sum to 0: add the same number to all scores of a row and no weight changes, so no
# gradient can ask for it. And where a weight is 0, its score gets no gradient at all.
#
# ## Layer norm
#
# A layer norm subtracts the mean of a position's channels, divides by their spread, and applies a learned gain and bias.
# The gain and the bias are easy: they are the weight and the bias of a tiny linear layer. The input is harder, because
# every channel moves the mean and the variance, and through them all other channels.
#
# Before any algebra, think about what a norm throws away. Add 5 to every channel, and the output stays the same, because
# the mean goes up by 5 as well. So no gradient can ask for a common shift: a row of `dx` must sum to 0. Multiply all
# (centred) channels by 2, and up to the tiny $\epsilon$ the output stays the same again. So no gradient can ask for a
# stretch, either.
#
# Call the normalised input $\hat{x}$, and $\sigma = \sqrt{\text{variance} + \epsilon}$. If mean and variance were
# constants, $\hat{x}$ would have the slope $1/\sigma$, and that is the direct path. The paths through the mean and
# through the variance take two components away from the gradient of $\hat{x}$: its mean, and its component along
# $\hat{x}$. The second one is $\hat{x}$ times one number per position: the mean, over the channels, of the gradient
# multiplied by $\hat{x}$.
#
# ### Your turn: Layer norm, backward
#
# `backpropagation.9` · *stretch* · 25 minutes
#
# Return `dx`, `dgain` and `dbias`. The variance divides by C (`correction=0` in PyTorch). Example: x = [1, 3], a gain of
# [1, 1], eps = 1 and dy = [1, 0] give a mean of 2, a variance of 1, and dx = [0.1768, −0.1768].


# %% tags=["nbval-check-output"]
def norm_backward(dy, x, gain, eps):  # [B, T, C], [B, T, C], [C], a number -> [B, T, C], [C], [C]
    ...


check("backpropagation.9", norm_backward)

# %% tags=["answers-prediction"]
show(backward.layer_norm_backward)

# %% tags=["nbval-check-output"]
x, gain, bias, dy = normal(2, 3, 5), normal(5), normal(5), normal(2, 3, 5)
found = backward.layer_norm_backward(dy, x, gain)
print(agree(backward.layer_norm, found, x, gain, bias, dy=dy))
print("largest common shift that it asks for:", round(found[0].sum(-1).abs().max().item(), 9))

# %% [markdown]
# ## Attention
#
# Here is the payoff. Attention looked like the most complicated operation in the model, and it needs nothing new. Forward
# it was a product, a softmax and another product:
#
# $$\text{scores} = \frac{q\,k^\top}{\sqrt{hs}} \qquad \text{weights} = \mathrm{softmax}(\text{scores}) \qquad
# y = \text{weights} \cdot v$$
#
# Backward you meet the same three in reverse order, and you have written all of them. What about the causal mask? It needs
# no line of its own. Where a weight is 0, the softmax's backward pass multiplies by 0, so no gradient can reach the
# future either.
#
# ### Your turn: Attention, backward
#
# `backpropagation.10` · *stretch* · 30 minutes
#
# Compute the weights again from `q` and `k`, with the future hidden. Then go back: `y = weights @ v` gives `dv` and the
# gradient of the weights; the softmax turns that into the gradient of the scores; and the scores give `dq` and `dk`. The
# smallest example has T = 1: the only weight is 1 whatever the score, so `dv` equals `dy`, and `dq` and `dk` are 0.


# %% tags=["nbval-check-output"]
def heads_backward(dy, q, k, v):  # four tensors [B, H, T, hs] -> three tensors [B, H, T, hs]: dq, dk, dv
    ...


check("backpropagation.10", heads_backward)

# %% tags=["answers-prediction"]
show(backward.attention_backward)

# %% tags=["nbval-check-output"]
q, k, v, dy = (normal(2, 3, 4, 5) for _ in range(4))  # [B, H, T, hs] each
found = backward.attention_backward(dy, q, k, v)
print(agree(backward.attention, found, q, k, v, dy=dy))
print("the last value, seen from the first query:", torch.autograd.grad(
    backward.attention(q, k, v.requires_grad_())[:, :, 0].sum(), v)[0][:, :, -1].abs().max().item())  # fmt: skip

# %% [markdown]
# ## The whole model, backward
#
# Now put them together. Here is the backward pass of one block, its forward lines in reverse order. Look for the two
# places where a `+` brings two paths together, and for the sum over queries, keys and values, which were all made from the
# same input.

# %%
show(block_backward)

# %% [markdown]
# `backward_gpt` does this for all blocks, between the loss at one end and the embedding at the other. The token table has
# two jobs in this model, because its weights are tied (05): it is the embedding at the beginning and the head at the
# end. Two uses, two gradients, and they add up.
#
# The cell below hands it *your* functions: of the six operations below, every one that passes its check takes the place
# of the package's.

# %% tags=["nbval-check-output"]
answers = {
    "cross_entropy": (3, loss_backward),
    "linear": (4, linear_layer_backward),
    "embedding": (5, lookup_backward),
    "gelu": (6, activation_backward),
    "layer_norm": (9, norm_backward),
    "attention": (10, heads_backward),
}
yours = {
    name: answer
    for name, (number, answer) in answers.items()
    if judge(find(f"backpropagation.{number}"), answer).state == "passed"
}
print(f"{len(yours)} of the {len(answers)} operations are yours; the package does the rest")

# %% tags=["nbval-check-output"]
model = fresh_model()
gradients = backward_gpt(model, inputs, targets, yours)  # no autograd
model(inputs, targets)[1].backward()  # PyTorch's
worst = max((gradients[name] - p.grad).abs().max().item() for name, p in model.named_parameters())
print(f"{len(gradients)} tensors with {model.count_parameters():,} parameters")
print("equal to loss.backward() within 1e-6:", worst < 1e-6)
assert worst < 1e-6

# %% [markdown]
# Every parameter of a GPT, and not one line that you could not write yourself.
#
# How large are these gradients? Before you look: one kind of parameter never gets any gradient, whatever the text.
# Which one?

# %% tags=["nbval-check-output"]
predict("backpropagation.c", ...)

# %% tags=["answers-prediction"]
kinds = ("embedding.token.weight", "query.weight", "query.bias", "key.weight", "key.bias", "value.weight", "value.bias",
         "up.weight", "down.weight", "norm1.weight")  # fmt: skip
rows = []
for kind in kinds:
    largest = max(g.abs().max().item() for name, g in gradients.items() if name.endswith(kind))
    rows.append((kind, f"{largest:.0e}"))
pictures.table(rows, ["parameter", "largest gradient"], align="lr")

# %% [markdown]
# <details><summary>Answer</summary>
#
# The biases of the keys. Such a bias adds the same number, $q \cdot b$, to all scores of a row, and a softmax looks only at
# the differences between scores. (What the table shows is rounding: of the order of 1e-16 or below, or exactly 0.)
# GPT-2 has these biases all the same; many later models leave them out.
# </details>
#
# Watch the model learn. On the left in each pair below, a copy trains with our gradients; on the right, another with
# `loss.backward()`. Both use PyTorch's plain gradient descent, which subtracts the learning rate times the gradient.


# %%
def train(by_hand, steps=30):
    model, losses = fresh_model(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for step in range(steps):
        inputs, targets = text.batch(step)
        optimizer.zero_grad()
        loss = model(inputs, targets)[1]
        if by_hand:
            set_gradients(model, backward_gpt(model, inputs, targets, yours))
        else:
            loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


ours, theirs = train(by_hand=True), train(by_hand=False)
for step in (0, 1, 10, 29):
    print(f"step {step:2}: {ours[step]:.6f} and {theirs[step]:.6f}")
print("equal within 1e-6 at every step:", max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < 1e-6)

# %% [markdown]
# Step for step the same loss. The most mysterious line of every training loop is now a set of functions that fit on a few
# pages.
#
# ## How far does a gradient get?
#
# Along a path, slopes multiply. That sounds harmless until the path is long. Let a signal go through 40 layers, each a
# random matrix that on average makes vectors shorter, leaves their length alone, or makes them longer. How large is the
# gradient at each point of the way? We measure its **norm**, the root of the sum of its squares: the length of a vector.

# %%
C, depth = 64, 40
paths = {}
for gain in (0.7, 1.0, 1.4):
    torch.manual_seed(9)
    matrices = [gain * torch.randn(C, C) / C**0.5 for _ in range(depth)]
    layers = [lambda x, W=W: x @ W for W in matrices]
    norms = gradient_norms(layers, torch.randn(8, C))
    paths[f"each layer times {gain}"] = list(enumerate(norms))
pictures.lines(paths, "layers passed (the loss is at the right)", "norm of the gradient", log="y")

# %% [markdown]
# The vertical axis is logarithmic, and the curves are nearly straight lines, so the gradient shrinks or grows by a
# constant factor per layer. At 0.7 hardly anything arrives at the first layers, which therefore hardly learn: the
# **vanishing gradient**. At 1.4 it grows beyond all bounds, and a single step throws the parameters far away: the
# **exploding gradient**. Only near 1 does it stay usable, and no initialisation keeps every layer there while it trains.
# For many years this was one of the main reasons why deep networks, and networks that read long sequences, were so hard
# to train ([Bengio et al. 1994](https://doi.org/10.1109/72.279181)).
#
# Now the same question for a GPT. Here is a fresh one with twelve blocks, so 24 parts. First we put the bare parts in a
# row, as notebook 08 did at its beginning: attention, MLP, attention, MLP …, each one's output in place of the last, with
# no residual connection and no norm. How large is the gradient that arrives at the embedding, compared with the one after
# the last block?

# %% tags=["nbval-check-output"]
predict("backpropagation.d", ...)

# %% tags=["answers-prediction"]
deep = fresh_model(L=12)
x = deep.embedding(inputs)  # [B, T, C]


def loss_from(x):
    return F.cross_entropy(deep.head(deep.norm(x)).flatten(0, 1), targets.flatten())


bare, normed = parts_of(deep, norms=False), parts_of(deep)
found = {
    "bare parts": gradient_norms(bare, x, loss_from),
    "with residual connections": gradient_norms(bare, x, loss_from, residual=True),
    "with both, as in GPT-2": gradient_norms(normed, x, loss_from, residual=True),
}
for name, norms in found.items():
    print(f"{name:26} at the embedding, relative to the end: {norms[0] / norms[-1]:.0e}")
assert found["bare parts"][0] < 1e-6 * found["bare parts"][-1]
paths = {name: list(enumerate(norms)) for name, norms in found.items()}
pictures.lines(paths, "parts passed (the loss is at the right)", "norm of the gradient", log="y")

# %% [markdown]
# <details><summary>Answer</summary>
#
# c, less than a millionth. In a fresh model each part has small weights, so each multiplies the gradient by a small
# factor, 24 times in a row. (Notebook 08's bare stack lost less: its matrices began larger, as `xavier_normal_` makes them.)
# </details>
#
# With residual connections, the gradient arrives at the embedding about as large as it set out, a difference of many
# orders of magnitude. The parts themselves have not changed, and are no better at passing a gradient on. But past every
# one of them goes the path with the slope 1 that you found in your exercise. That is what a residual connection is for,
# and why notebook 08's stack of twelve layers refused to learn without it.
#
# And the norms? At this early moment they change little, because the parts still add little. In notebook 08 you saw what
# happens in a stack whose parts add much: the stream grows from part to part, and with it the gradient, until the norms
# hold it in check. The residual connection keeps a gradient from vanishing, the norm keeps it from exploding, and every
# block of GPT-2 has both.
#
# ## What it costs
#
# A backward pass needs what the forward pass computed: the input of every matrix, the attention's queries, keys and
# values. All of it has to stay in memory until the walk back comes by. How much is that in the blocks alone, compared
# with the parameters?

# %%
model = fresh_model()
B, T = inputs.shape
x, kept = model.embedding(inputs), 0
for block in model.blocks:
    x, saved = block_forward(x, block)
    kept += sum(tensor.numel() for tensor in saved.values())
print(f"parameters: {model.count_parameters():,}")
print(f"numbers saved for the backward pass, for B = {B} and T = {T}: {kept:,}")
print(f"per token: {kept / (B * T):,.0f}")

# %% [markdown]
# The parameters are there once, but the saved tensors grow with every token in the batch. This is one reason why
# training needs so much more memory than generating text (the gradients, and what the optimizer of notebook 10 stores,
# are others), and why "out of memory" usually means "make the batch smaller". Notebook 17 takes it from here: there is
# a trick that saves less and computes some of it a second time.
#
# ## One more exercise
#
# This one is open and has no check, except the judge that you know: write the backward pass of an operation that this GPT
# does *not* have. RMSNorm, which Llama uses in place of layer norm (notebook 12), is a good choice: `y = gain * x /
# sqrt(mean(x**2) + eps)`. It throws away the length of $x$, but not its mean. What does that tell you about the two terms
# that layer norm takes away? When you have it, let `agree` compare.

# %%
progress("backpropagation")

# %%
recap("backpropagation")

# %% [markdown]
# ## What to remember
#
# 1. A gradient says how fast the loss grows when a number grows: which way to go, and how much it matters.
# 2. Along a path, slopes multiply; where paths meet, they add. Walking from the loss backward, one pass answers for all
#    parameters.
# 3. At the logits, the gradient is the probabilities minus the one-hot target, over the number of targets.
# 4. What was copied forward is summed backward: rows of a table, a bias, a position, a tied weight.
# 5. A residual connection is a path with the slope 1. Without it, many small factors make the gradient vanish.
#
# | term | meaning | elsewhere |
# |---|---|---|
# | derivative | how fast one number grows with another | slope, rate of change |
# | local derivative | the derivative of one operation on its own | local gradient; for tensors, the Jacobian |
# | chain rule | derivatives along a path multiply | |
# | gradient | the derivatives of the loss with respect to every entry of a tensor | `.grad`; `dy`, `dout`, grad_output |
# | computational graph | values as nodes, with an arrow for each use | autograd graph, tape |
# | automatic differentiation | derivatives of whatever a program computes | autodiff, autograd |
# | backpropagation | automatic differentiation from the result to the inputs | reverse-mode autodiff, VJP |
# | backward pass | the walk back, after the forward pass | backprop |
# | vanishing, exploding gradient | a gradient that becomes too small or too large on a long path | |
# | numerical gradient | the gradient by measured slopes, as a test | finite differences, gradient check |
#
# **Three questions**
#
# 1. A neuron computes `y = w · x` with w = 4 and x = 0. What gradient does w get, and what does x get, if `dy` is 1?
#
# <details><summary>Answer</summary>
#
# Each factor gets the other one: w gets 0 and x gets 4. An input of 0 teaches its weight nothing.
# </details>
#
# 2. Your own backward pass agrees with autograd for a batch of one sequence and fails for two. Where do you look?
#
# <details><summary>Answer</summary>
#
# At parameters that all sequences share: a gradient that is not summed over the batch, or divided by B although the loss
# has done that already.
# </details>
#
# 3. Why does the backward pass start at the loss, and not at the parameters?
#
# <details><summary>Answer</summary>
#
# There is one loss and there are many parameters. From the loss, one walk serves all of them. From the parameters, we would
# need a walk for each, as in the experiment at the beginning.
# </details>
#
# **To go deeper:** Rumelhart, Hinton and Williams, [Learning representations by back-propagating
# errors](https://doi.org/10.1038/323533a0) (*Nature* 323, 1986), four pages; Andrej Karpathy, [The spelled-out intro to
# neural networks and backpropagation: building micrograd](https://www.youtube.com/watch?v=VMj-3S1tku0), a lecture of two
# and a half hours in which a class like `Value` grows from nothing; Bengio, Simard and Frasconi,
# [Learning long-term dependencies with gradient descent is difficult](https://doi.org/10.1109/72.279181) (1994). In the
# package, `gptlab/autograd.py`, `gptlab/backward.py` and `gptlab/backpropagation.py`.
#
# ## Next
#
# You know which way every parameter should move. But how far? In what order should the model read its text, when should
# you stop, and how good can it get? [Notebook 10](10_training.ipynb) turns the gradient into a trained model.
