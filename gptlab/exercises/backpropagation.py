"""Exercises on backpropagation: slopes, a walk back through a graph, and the backward pass of each operation."""

import math
import random
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question


def _normal(rng: random.Random, *shape: int, scale: int | float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    return torch.randn(*shape, generator=generator) * scale


def _ids(rng: random.Random, V: int, *shape: int) -> Tensor:
    return torch.randint(V, shape, generator=torch.Generator().manual_seed(rng.randrange(2**31)))


# ---- backpropagation.1 -----------------------------------------------------------------------------------------------


def measured_slope(f, x, step):
    return (f(x + step) - f(x - step)) / (2 * step)


def square(x):
    return x * x


def cube(x):
    return x * x * x


def falling(x):
    return 3 / x


def fifth_power(x):
    return x**5 - 2 * x


def _slope_inputs(rng):
    yield square, 3.0, 1.0
    yield cube, 2.0, 1.0
    yield cube, 2.0, 0.5
    yield falling, -2.0, 0.5
    for f in (cube, falling, fifth_power):
        yield f, rng.uniform(1.5, 3.0), rng.uniform(0.1, 0.4)


_SLOPE = Exercise(
    id="backpropagation.1",
    title="Measure a slope on both sides",
    kind="warm-up",
    minutes=3,
    difficulty=1,
    prompt="Rise over run, with x in the middle: go `step` to the right of `x` and `step` to the left, and divide the "
    "difference of the two function values by the distance between the two points. For `x * x` at 3 with a step of 1 "
    "that is (16 - 4) / 2 = 6.\n\nInput: `f`, a function from `float` to `float`, and two `float`s. Result: a `float`.",
    signature="def measured_slope(f: Callable[[float], float], x: float, step: float) -> float",
    inputs=_slope_inputs,
    solution=measured_slope,
    mistakes=[
        Mistake(
            "one side only, to the right",
            lambda f, x, step: (f(x + step) - f(x)) / step,
            "This is the slope of a stretch that begins at x. Put x in its middle: from x - step to x + step.",
        ),
        Mistake(
            "one side only, to the left",
            lambda f, x, step: (f(x) - f(x - step)) / step,
            "This is the slope of a stretch that ends at x. Put x in its middle: from x - step to x + step.",
        ),
        Mistake(
            "divided by one step",
            lambda f, x, step: (f(x + step) - f(x - step)) / step,
            "The two points are two steps apart, so your slope is twice too steep.",
        ),
        Mistake(
            "divided by 2 and not by the step",
            lambda f, x, step: (f(x + step) - f(x - step)) / 2,
            "That is right for a step of 1 only. The run is `2 * step`.",
        ),
        Mistake(
            "multiplied by the step",
            lambda f, x, step: (f(x + step) - f(x - step)) / 2 * step,
            "`a / 2 * step` divides by 2 and then multiplies. Put the run in brackets: `a / (2 * step)`.",
        ),
        Mistake(
            "not divided at all",
            lambda f, x, step: f(x + step) - f(x - step),
            "This is the rise. Divide it by the run, `2 * step`.",
        ),
        Mistake(
            "left minus right",
            lambda f, x, step: (f(x - step) - f(x + step)) / (2 * step),
            "A function that rises has a positive slope: the value at the right minus the value at the left.",
        ),
        Mistake(
            "run over rise",
            lambda f, x, step: (2 * step) / (f(x + step) - f(x - step)),
            "It is the other way up: the change of f, divided by the change of x.",
        ),
        Mistake(
            "the ratio of the value and x",
            lambda f, x, step: f(x) / x,
            "That would be the slope of a line from the origin. Compare two values of f near x.",
        ),
    ],
    hints=[
        "The right point is `x + step`, the left one `x - step`.",
        "The rise is `f(x + step) - f(x - step)`.",
        "The run is `2 * step`: mind the brackets when you divide.",
    ],
    package="gptlab.autograd.slope",
)

# ---- backpropagation.2 -----------------------------------------------------------------------------------------------


def walk_back(parents, slopes):
    gradients = [0.0] * len(parents)
    gradients[-1] = 1.0
    for node in reversed(range(len(parents))):
        for parent, slope in zip(parents[node], slopes[node], strict=True):
            gradients[parent] += slope * gradients[node]
    return gradients


def _chain(links: int) -> tuple[list, list]:
    """Every node is used twice by the next one: there are 2^links ways from one end to the other."""
    return [[], *([i, i] for i in range(links))], [[], *([0.5, 0.25] for _ in range(links))]


def _graph_inputs(rng):
    yield [[], [0]], [[], [3.0]]
    yield [[], [], [0, 1]], [[], [], [5.0, 2.0]]
    yield [[], [0], [1]], [[], [3.0], [4.0]]
    yield [[], [0], [0], [1, 2]], [[], [2.0], [3.0], [7.0, 5.0]]
    yield [[], [0, 0], [1, 0]], [[], [3.0, 3.0], [1.0, 1.0]]
    yield [[], [], [0], [2]], [[], [], [-2.0], [0.5]]
    for nodes in (6, 9):
        parents = [[], [], *([rng.randrange(i), i - 1] for i in range(2, nodes))]
        yield parents, [[rng.uniform(-2, 2) for _ in of] for of in parents]
    yield _chain(60)


def _walk(start: float = 1.0, step: Callable | None = None, order: Callable = reversed) -> Callable:
    """The walk with another start, another rule for what a parent gets, or another order."""
    step = step or (lambda old, slope, above: old + slope * above)

    def wrong(parents, slopes):
        gradients = [0.0] * len(parents)
        gradients[-1] = start
        for node in order(range(len(parents))):
            for parent, slope in zip(parents[node], slopes[node], strict=True):
                gradients[parent] = step(gradients[parent], slope, gradients[node])
        return gradients

    return wrong


def _every_start_is_one(parents, slopes):
    gradients = [1.0] * len(parents)
    for node in reversed(range(len(parents))):
        for parent, slope in zip(parents[node], slopes[node], strict=True):
            gradients[parent] += slope * gradients[node]
    return gradients


def _one_parent(parents, slopes, at):
    gradients = [0.0] * len(parents)
    gradients[-1] = 1.0
    for node in reversed(range(len(parents))):
        if parents[node]:
            gradients[parents[node][at]] += slopes[node][at] * gradients[node]
    return gradients


_WALK = Exercise(
    id="backpropagation.2",
    title="Walk back through a graph",
    kind="core",
    minutes=10,
    difficulty=2,
    prompt="A computation, written as two lists. Node `i` was computed from the nodes `parents[i]`, all of them "
    "earlier ones, and `slopes[i]` has the local derivative for each of them: how fast node `i` grows when that parent "
    "grows. Inputs have empty lists. The last node is the result. Return the gradient of every node: how fast the "
    "*result* grows when it grows. For the result itself that is 1; a node that the result does not depend on has 0."
    "\n\nExample: node 1 is 3 times node 0 and node 2 is 4 times node 1, so `parents = [[], [0], [1]]`, "
    "`slopes = [[], [3.0], [4.0]]`, and the gradients are `[12.0, 4.0, 1.0]`. A node may be used many times, twice by "
    "the same node too.\n\nInput: a `list` of `list`s of `int`, and a `list` of `list`s of `float`. Result: a `list` "
    "of `float`.",
    signature="def walk_back(parents: list[list[int]], slopes: list[list[float]]) -> list[float]",
    inputs=_graph_inputs,
    solution=walk_back,
    mistakes=[
        Mistake(
            "the last use overwrites the others",
            _walk(step=lambda old, slope, above: slope * above),
            "A node that is used twice affects the result in two ways, and both count: `+=` instead of `=`.",
        ),
        Mistake(
            "from the inputs to the result",
            _walk(order=iter),
            "When a node passes its gradient on, the gradient must be complete. Begin at the result: "
            "`reversed(range(...))`.",
        ),
        Mistake(
            "the result begins with 0",
            _walk(start=0.0),
            "Somewhere a gradient must come from. How fast does the result grow when the result grows? As fast: 1.",
        ),
        Mistake(
            "every node begins with 1",
            _every_start_is_one,
            "Only the result grows as fast as the result. All others begin with 0, and get what their uses give them.",
        ),
        Mistake(
            "slopes are added along a path",
            _walk(step=lambda old, slope, above: old + slope + above),
            "Along a path slopes are multiplied: if b grows 3 times as fast as a, and c 4 times as fast as b, then c "
            "grows 12 times as fast as a.",
        ),
        Mistake(
            "the gradient above is forgotten",
            _walk(step=lambda old, slope, above: old + slope),
            "This adds local derivatives, which lead to the next node only. Multiply by the gradient of that node.",
        ),
        Mistake(
            "the local derivative is forgotten",
            _walk(step=lambda old, slope, above: old + above),
            "This counts the paths to the result. Multiply by the local derivative of each arrow.",
        ),
        Mistake(
            "several uses are multiplied",
            _walk(step=lambda old, slope, above: slope * above * (old or 1.0)),
            "Along a path one multiplies, and where paths meet one adds.",
        ),
        Mistake(
            "the larger of two uses wins",
            _walk(step=lambda old, slope, above: max(old, slope * above, key=abs)),
            "Each use moves the result by its own amount, so they add up.",
        ),
        Mistake(
            "only the first parent gets something",
            lambda parents, slopes: _one_parent(parents, slopes, 0),
            "Go through all parents of a node: `zip(parents[node], slopes[node])`.",
        ),
        Mistake(
            "only the last parent gets something",
            lambda parents, slopes: _one_parent(parents, slopes, -1),
            "Go through all parents of a node: `zip(parents[node], slopes[node])`.",
        ),
        Mistake(
            "only the gradients of the inputs are returned",
            lambda parents, slopes: [g for g, of in zip(walk_back(parents, slopes), parents, strict=True) if not of],
            "Every node has a gradient, those in the middle too: one number for each entry of `parents`.",
        ),
    ],
    hints=[
        "Begin with a list of zeros, and 1.0 for the last node.",
        "Go from the last node to the first: then a node's gradient is complete when its turn comes.",
        "For each parent with its slope: `gradients[parent] += slope * gradients[node]`.",
    ],
)

# ---- backpropagation.3 -----------------------------------------------------------------------------------------------


def loss_backward(logits, targets):
    V = logits.shape[-1]
    return (logits.softmax(dim=-1) - F.one_hot(targets, V)) / targets.numel()


def _loss_inputs(rng):
    yield torch.zeros(1, 1, 4), torch.tensor([[2]])
    yield torch.tensor([[[0.0, math.log(3.0)]]]), torch.tensor([[0]])
    yield torch.tensor([[[0.0, 0.0], [math.log(3.0), 0.0], [0.0, math.log(4.0)]]]), torch.tensor([[1, 1, 0]])
    for B, T, V in ((2, 3, 5), (3, 2, 4), (2, 4, 7)):
        yield _normal(rng, B, T, V), _ids(rng, V, B, T)
    yield _normal(rng, 2, 3, 6, scale=300.0), _ids(rng, 6, 2, 3)


def _one_hot(logits: Tensor, targets: Tensor) -> Tensor:
    return F.one_hot(targets, logits.shape[-1])


def _loss(rule: Callable) -> Callable:
    """`rule(p, one-hot targets)`, divided by the number of targets."""
    return lambda logits, targets: rule(logits.softmax(-1), _one_hot(logits, targets)) / targets.numel()


def _loss_over(count: Callable) -> Callable:
    return lambda logits, targets: (logits.softmax(-1) - _one_hot(logits, targets)) / count(logits, targets)


def _overflows(logits, targets):
    e = logits.exp()
    return (e / e.sum(-1, keepdim=True) - _one_hot(logits, targets)) / targets.numel()


_LOSS = Exercise(
    id="backpropagation.3",
    title="The gradient at the logits",
    kind="core",
    minutes=10,
    difficulty=2,
    prompt="Here the backward pass of a language model begins. The loss is the mean of -ln p(target) over all B·T "
    "positions, where p is the softmax of the logits. Return its gradient with respect to the logits. (Without "
    "autograd. Work it out for one position first: how does -ln p(target) = logsumexp(logits) - logit(target) change "
    "when one logit grows? The derivative of logsumexp is the softmax.) Logits may be several hundred large."
    "\n\nShapes: `logits` is a float tensor [B, T, V], `targets` an integer tensor [B, T]. Result: a tensor [B, T, V].",
    signature='def loss_backward(logits: Float[Tensor, "B T V"], targets: Int[Tensor, "B T"]) '
    '-> Float[Tensor, "B T V"]',
    inputs=_loss_inputs,
    solution=loss_backward,
    mistakes=[
        Mistake(
            "the mean is forgotten",
            _loss_over(lambda logits, targets: 1),
            "The loss is a *mean* over B·T positions, so each position has 1 / (B·T) of a say: divide by "
            "`targets.numel()`.",
        ),
        Mistake(
            "divided by the number of sequences",
            _loss_over(lambda logits, targets: len(targets)),
            "The mean runs over all B·T positions: divide by `targets.numel()`.",
        ),
        Mistake(
            "divided by the length of a sequence",
            _loss_over(lambda logits, targets: targets.shape[1]),
            "The mean runs over all B·T positions: divide by `targets.numel()`.",
        ),
        Mistake(
            "divided by the number of logits",
            _loss_over(lambda logits, targets: logits.numel()),
            "There are B·T losses, one per position, not one for each of the V tokens: divide by `targets.numel()`.",
        ),
        Mistake(
            "the sign is wrong",
            _loss(lambda p, hot: hot - p),
            "This points downhill. The gradient points uphill: a larger logit of a wrong token makes the loss larger.",
        ),
        Mistake(
            "the target is not subtracted",
            _loss(lambda p, hot: p),
            "That is the derivative of logsumexp alone. The loss also has - logit(target): 1 less at the target.",
        ),
        Mistake(
            "1 is subtracted everywhere",
            _loss(lambda p, hot: p - 1),
            "Only the target's own logit stands in the loss with a minus: subtract 1 at the target, and 0 elsewhere.",
        ),
        Mistake(
            "only the target gets a gradient",
            _loss(lambda p, hot: (p - 1) * hot),
            "A wrong token's logit matters too: if it grows, it takes probability from the target. Its gradient is p.",
        ),
        Mistake(
            "the target gets no gradient",
            _loss(lambda p, hot: p * (1 - hot)),
            "The target's logit has the most to say: its gradient is p - 1.",
        ),
        Mistake(
            "the gradient with respect to the probabilities",
            _loss(lambda p, hot: torch.where(hot.bool(), -1 / p, 0.0)),
            "-1/p is how the loss changes with a *probability*. The softmax lies between it and the logits.",
        ),
        Mistake(
            "the logits in place of the probabilities",
            lambda logits, targets: (logits - _one_hot(logits, targets)) / targets.numel(),
            "The derivative of logsumexp is the softmax of the logits, not the logits.",
        ),
        Mistake(
            "the log-probabilities in place of the probabilities",
            lambda logits, targets: (logits.log_softmax(-1) - _one_hot(logits, targets)) / targets.numel(),
            "The derivative of logsumexp is the softmax itself, without a logarithm.",
        ),
        Mistake(
            "the softmax runs over time",
            lambda logits, targets: (logits.softmax(1) - _one_hot(logits, targets)) / targets.numel(),
            "The V probabilities of a position sum to 1: softmax over the last axis.",
        ),
        Mistake(
            "exp overflows",
            _overflows,
            "exp(300) is infinite in float32, and infinite / infinite is NaN. `softmax` subtracts the largest logit "
            "first.",
        ),
        Mistake(
            "the loss itself",
            lambda logits, targets: F.cross_entropy(logits.flatten(0, 1), targets.flatten()),
            "That is the loss, one number. Its gradient has an entry for each logit, [B, T, V].",
        ),
    ],
    hints=[
        "For one position: the derivative of logsumexp is p, and that of - logit(target) is -1 at the target.",
        "`F.one_hot(targets, V)` is 1 at the target and 0 elsewhere.",
        "`(p - one_hot)`, divided by the number of positions over which the loss is a mean.",
    ],
)

# ---- backpropagation.4 -----------------------------------------------------------------------------------------------


def linear_layer_backward(dy, x, weight):
    dx = dy @ weight  # [B, T, O] @ [O, C] -> [B, T, C]
    dweight = dy.flatten(0, 1).T @ x.flatten(0, 1)  # [O, B * T] @ [B * T, C] -> [O, C]
    dbias = dy.sum(dim=(0, 1))  # [O]
    return dx, dweight, dbias


def _linear_inputs(rng):
    yield torch.tensor([[[5.0]]]), torch.tensor([[[2.0, 3.0]]]), torch.tensor([[7.0, 11.0]])
    yield torch.tensor([[[1.0], [10.0]]]), torch.tensor([[[2.0, 3.0], [4.0, 5.0]]]), torch.tensor([[7.0, 11.0]])
    for B, T, C, O in ((2, 3, 4, 5), (3, 2, 5, 3), (2, 4, 3, 6), (4, 3, 2, 5)):
        yield _normal(rng, B, T, O), _normal(rng, B, T, C), _normal(rng, O, C)


def _linear(dx: Callable | None = None, dweight: Callable | None = None, dbias: Callable | None = None) -> Callable:
    """The three gradients, with one of them made in another way."""

    def wrong(dy, x, weight):
        right = linear_layer_backward(dy, x, weight)
        made = (dx, dweight, dbias)
        return tuple(make(dy, x, weight) if make else good for make, good in zip(made, right, strict=True))

    return wrong


_LINEAR = Exercise(
    id="backpropagation.4",
    title="A linear layer, backward",
    kind="core",
    minutes=10,
    difficulty=2,
    prompt="Most parameters of a GPT sit in layers `y = x @ weight.T + bias`. Given `dy`, the gradient of the "
    "loss with respect to y, return the gradients with respect to x, weight and bias. Each has the shape of what it "
    "belongs to, and for the two products the shapes alone nearly tell you what to write. The same weight and bias "
    "serve all B·T positions, and each of them has its say.\n\nExample: with one position, x = [2, 3], weight = "
    "[[7, 11]] and dy = [5], dx is [35, 55], dweight [[10, 15]] and dbias [5].\n\nShapes: `dy` is [B, T, O], `x` is "
    "[B, T, C], `weight` [O, C]. Result: three tensors, [B, T, C], [O, C] and [O].",
    signature='def linear_layer_backward(dy: Float[Tensor, "B T O"], x: Float[Tensor, "B T C"], '
    'weight: Float[Tensor, "O C"]) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "O C"], Float[Tensor, " O"]]',
    inputs=_linear_inputs,
    solution=linear_layer_backward,
    mistakes=[
        Mistake(
            "the gradient of the weight is transposed",
            _linear(dweight=lambda dy, x, weight: linear_layer_backward(dy, x, weight)[1].T),
            "`weight` is [O, C], so its gradient is, too. Yours is [C, O]: exchange the factors.",
        ),
        Mistake(
            "the weight is transposed in the backward pass",
            lambda dy, x, weight: (dy @ weight.T, *linear_layer_backward(dy, x, weight)[1:]),
            "Forward it was `weight.T`, from C to O. Backward goes from O to C: `dy @ weight`.",
        ),
        Mistake(
            "the weight's gradient is a mean over the positions",
            _linear(dweight=lambda dy, x, weight: linear_layer_backward(dy, x, weight)[1] / dy[..., 0].numel()),
            "The mean over positions is in the loss, so `dy` has it already. Here all positions are added up.",
        ),
        Mistake(
            "the weight's gradient is a mean over the sequences",
            _linear(dweight=lambda dy, x, weight: linear_layer_backward(dy, x, weight)[1] / len(dy)),
            "The mean is in the loss, so `dy` has it already. Here all positions of all sequences are added up.",
        ),
        Mistake(
            "the weight has one gradient for each sequence",
            _linear(dweight=lambda dy, x, weight: dy.transpose(1, 2) @ x),
            "This is [B, O, C]. One weight served all sequences: sum over B, or flatten B and T first.",
        ),
        Mistake(
            "weight and bias have one gradient for each sequence",
            _linear(dweight=lambda dy, x, weight: dy.transpose(1, 2) @ x, dbias=lambda dy, x, weight: dy.sum(1)),
            "These are [B, O, C] and [B, O]. One weight and one bias served all sequences: sum over B as well.",
        ),
        Mistake(
            "the weight's gradient sees the first sequence only",
            _linear(dweight=lambda dy, x, weight: dy[0].T @ x[0]),
            "All B sequences used the weight: flatten B and T into one axis.",
        ),
        Mistake(
            "x is forgotten in the weight's gradient",
            _linear(dweight=lambda dy, x, weight: dy.sum(dim=(0, 1))[:, None].expand_as(weight)),
            "How much a weight moves y depends on the x that it is multiplied by.",
        ),
        Mistake(
            "the bias has a gradient for each position",
            _linear(dbias=lambda dy, x, weight: dy),
            "This is [B, T, O]. One bias was copied to all B·T positions: sum over them.",
        ),
        Mistake(
            "the bias is summed over the batch only",
            _linear(dbias=lambda dy, x, weight: dy.sum(0)),
            "This is [T, O]. The bias serves all positions of a sequence as well: `sum(dim=(0, 1))`.",
        ),
        Mistake(
            "the bias has one gradient for each sequence",
            _linear(dbias=lambda dy, x, weight: dy.sum(1)),
            "This is [B, O]. The bias serves all sequences of the batch as well: `sum(dim=(0, 1))`.",
        ),
        Mistake(
            "the bias is summed over the channels",
            _linear(dbias=lambda dy, x, weight: dy.sum(-1)),
            "This is [B, T]. Each of the O outputs has a bias of its own: keep that axis, and sum over B and T.",
        ),
        Mistake(
            "the bias's gradient is a mean",
            _linear(dbias=lambda dy, x, weight: dy.mean(dim=(0, 1))),
            "The mean over positions is in the loss, so `dy` has it already. Here they are added up.",
        ),
        Mistake(
            "the bias's gradient is the number of positions",
            _linear(dbias=lambda dy, x, weight: torch.full_like(dy[0, 0], dy[..., 0].numel())),
            "1 is the *local* derivative of y with respect to its bias. Multiply it by `dy`, then sum.",
        ),
        Mistake(
            "the order of the three is another",
            lambda dy, x, weight: tuple(linear_layer_backward(dy, x, weight)[i] for i in (1, 0, 2)),
            "First x, then the weight, then the bias.",
        ),
    ],
    hints=[
        "dx must be [B, T, C]. You have dy [B, T, O] and weight [O, C]: which product fits?",
        "For the weight, flatten the positions: dy [N, O] and x [N, C] give [O, C] in one way only.",
        "The bias was added at every position: `dy.sum(dim=(0, 1))`.",
    ],
    package="gptlab.backward.linear_backward",
)

# ---- backpropagation.5 -----------------------------------------------------------------------------------------------


def lookup_backward(dx, ids, V):
    dtable = dx.new_zeros(V, dx.shape[-1])  # zeros of the same dtype as dx
    for row, d in zip(ids.flatten(), dx.flatten(0, 1), strict=True):
        dtable[row] += d
    return dtable


def _lookup_inputs(rng):
    yield torch.tensor([[[1.0], [10.0]]]), torch.tensor([[0, 2]]), 3
    yield torch.tensor([[[1.0], [10.0], [100.0]]]), torch.tensor([[2, 0, 2]]), 4
    yield torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]), torch.tensor([[1, 1], [1, 0]]), 3
    for B, T, C, V in ((2, 3, 4, 5), (3, 5, 2, 4), (2, 7, 3, 5)):
        ids = _ids(rng, V, B, T)
        ids[0, 0] = ids[1, 1] = 1  # one token occurs in two sequences
        yield _normal(rng, B, T, C), ids, V


def _counted(dx, ids, V):
    return F.one_hot(ids.flatten(), V).sum(0)[:, None].to(dx.dtype)  # [V, 1]


def _overwrites(dx, ids, V):
    dtable = dx.new_zeros(V, dx.shape[-1])  # zeros of the same dtype as dx
    for row, d in zip(ids.flatten(), dx.flatten(0, 1), strict=True):
        dtable[row] = d
    return dtable


_LOOKUP = Exercise(
    id="backpropagation.5",
    title="An embedding, backward",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="Forward, `x = table[ids]`: each position gets the row of its token. Backward, each row gets the gradient "
    "of the positions that used it. A token that occurs three times sends three gradients to one row, and a token that "
    "does not occur gets zeros.\n\nExample: with V = 4 and C = 1, ids [[2, 0, 2]] and dx [[[1], [10], [100]]] give "
    "[[10], [0], [101], [0]].\n\nShapes: `dx` is [B, T, C], `ids` an integer tensor [B, T]. Result: a tensor [V, C].",
    signature='def lookup_backward(dx: Float[Tensor, "B T C"], ids: Int[Tensor, "B T"], V: int) -> '
    'Float[Tensor, "V C"]',
    inputs=_lookup_inputs,
    solution=lookup_backward,
    mistakes=[
        Mistake(
            "the last position of a token overwrites the others",
            _overwrites,
            "All positions of a token use the same row, and all of their gradients count: add them up. (A tensor "
            "indexed by a tensor, `d[ids] += dx`, adds each row only once as well: `index_add_` adds all.)",
        ),
        Mistake(
            "it is a mean over the positions of a token",
            lambda dx, ids, V: lookup_backward(dx, ids, V) / _counted(dx, ids, V).clamp(min=1),
            "A row that is used twice moves the loss in two places, so its gradients are added, not averaged.",
        ),
        Mistake(
            "it is a mean over all positions",
            lambda dx, ids, V: lookup_backward(dx, ids, V) / ids.numel(),
            "The mean over positions is in the loss, so `dx` has it already.",
        ),
        Mistake(
            "positions are counted, not added up",
            lambda dx, ids, V: _counted(dx, ids, V).expand(V, dx.shape[-1]),
            "1 is the local derivative of a lookup. Multiply it by the gradient that arrives: add up rows of `dx`.",
        ),
        Mistake(
            "the gradient is looked up",
            lambda dx, ids, V: dx.flatten(0, 1)[ids],
            "`dx[ids]` goes forward once more. Backward, the rows of `dx` go *to* the rows that `ids` names.",
        ),
        Mistake(
            "only the first sequence",
            lambda dx, ids, V: lookup_backward(dx[:1], ids[:1], V),
            "All B sequences use the table.",
        ),
        Mistake(
            "only the last sequence",
            lambda dx, ids, V: lookup_backward(dx[-1:], ids[-1:], V),
            "All B sequences use the table: make the zeros once, before the loop.",
        ),
        Mistake(
            "a table for each sequence",
            lambda dx, ids, V: torch.stack(
                [lookup_backward(d[None], i[None], V) for d, i in zip(dx, ids, strict=True)]
            ),
            "This is [B, V, C]. All sequences share one table: sum over B.",
        ),
        Mistake(
            "the result is transposed",
            lambda dx, ids, V: lookup_backward(dx, ids, V).T,
            "The table is [V, C], and its gradient has the same shape.",
        ),
    ],
    hints=[
        "Begin with `dx.new_zeros(V, C)`: zeros of the same dtype as dx.",
        "Go through the positions: the row of `dtable` that `ids` names gets that position's `dx` added.",
        "`dtable.index_add_(0, ids.flatten(), dx.flatten(0, 1))` does it without a loop.",
    ],
    package="gptlab.backward.embedding_backward",
)

# ---- backpropagation.6 -----------------------------------------------------------------------------------------------


def activation_backward(dy, x):
    below = 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    bell = torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return dy * (below + x * bell)


def _activation_inputs(rng):
    yield torch.ones(1, 1, 1), torch.zeros(1, 1, 1)
    yield torch.tensor([[[2.0, 3.0]]]), torch.tensor([[[0.0, 1.0]]])
    yield torch.tensor([[[1.0, 1.0, 1.0]]]), torch.tensor([[[-1.0, 2.0, -9.0]]])
    for B, T, C in ((2, 3, 4), (3, 2, 5), (2, 5, 3)):
        yield _normal(rng, B, T, C), _normal(rng, B, T, C, scale=1.5)


def _below(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def _bell(x: Tensor) -> Tensor:
    return torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _tanh_slope(dy, x):
    t = torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return dy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * math.sqrt(2 / math.pi) * (1 + 0.134145 * x * x))


_ACTIVATION = Exercise(
    id="backpropagation.6",
    title="GELU, backward",
    kind="stretch",
    minutes=10,
    difficulty=2,
    prompt="Forward, gelu(x) = x · Φ(x), where Φ(x) = 0.5 · (1 + erf(x / √2)) is the share of a normal distribution "
    "below x. The slope of Φ is the bell curve φ(x) = exp(-x² / 2) / √(2π). x stands in the product twice, so you need "
    "the product rule: the slope of u · v is u' · v + u · v'. Then the chain rule brings in `dy`.\n\nShapes: `dy` and "
    "`x` are float tensors [B, T, C]. Result: a tensor [B, T, C].",
    signature='def activation_backward(dy: Float[Tensor, "B T C"], x: Float[Tensor, "B T C"]) '
    '-> Float[Tensor, "B T C"]',
    inputs=_activation_inputs,
    solution=activation_backward,
    mistakes=[
        Mistake(
            "Φ is taken for a constant",
            lambda dy, x: dy * _below(x),
            "That is u' · v, one half of the product rule. When x grows, Φ(x) grows as well: add x · φ(x).",
        ),
        Mistake(
            "x is taken for a constant",
            lambda dy, x: dy * x * _bell(x),
            "That is u · v', one half of the product rule. The slope of x is 1, so Φ(x) is the other half.",
        ),
        Mistake(
            "the two slopes are multiplied",
            lambda dy, x: dy * _bell(x),
            "The slope of a product is not the product of the slopes: u' · v + u · v'.",
        ),
        Mistake(
            "the bell curve stands there without x",
            lambda dy, x: dy * (_below(x) + _bell(x)),
            "The second half of the product rule is u · v', and u is x.",
        ),
        Mistake(
            "the chain rule is forgotten",
            lambda dy, x: _below(x) + x * _bell(x),
            "This is the local derivative. Multiply it by `dy`, which has come from above.",
        ),
        Mistake(
            "dy is added",
            lambda dy, x: dy + _below(x) + x * _bell(x),
            "Along a path slopes are multiplied.",
        ),
        Mistake(
            "dy reaches one half only",
            lambda dy, x: dy * _below(x) + x * _bell(x),
            "Brackets: `dy * (Φ + x · φ)`.",
        ),
        Mistake(
            "the bell curve is not divided by √(2π)",
            lambda dy, x: dy * (_below(x) + x * torch.exp(-x * x / 2)),
            "Without 1/√(2π) the area under the curve is not 1.",
        ),
        Mistake(
            "the bell curve is divided by 2π, without the root",
            lambda dy, x: dy * (_below(x) + x * torch.exp(-x * x / 2) / (2 * math.pi)),
            "It is 1/√(2π): about 0.4 at x = 0.",
        ),
        Mistake(
            "the bell curve is too narrow",
            lambda dy, x: dy * (_below(x) + x * torch.exp(-x * x) / math.sqrt(2 * math.pi)),
            "The exponent is -x²/2.",
        ),
        Mistake(
            "the slope of erf without the factor from its inside",
            lambda dy, x: dy * (_below(x) + x * torch.exp(-x * x / 2) / math.sqrt(math.pi)),
            "erf is given x/√2, so the chain rule adds a factor of 1/√2: 1/√π becomes 1/√(2π).",
        ),
        Mistake(
            "the slope of a ReLU",
            lambda dy, x: dy * (x > 0),
            "GELU has no corner: near 0 its slope passes smoothly from 0 to 1, and goes a little beyond both.",
        ),
        Mistake(
            "the slope of the approximation with tanh",
            _tanh_slope,
            "This is the slope of GPT-2's approximation, close but not the same. Here Φ is the exact one, with erf.",
        ),
        Mistake(
            "forward once more",
            lambda dy, x: dy * x * _below(x),
            "That is gelu(x), not its slope.",
        ),
    ],
    hints=[
        "With u = x and v = Φ(x): u' is 1, and v' is φ(x).",
        "So the local derivative is Φ(x) + x · φ(x).",
        "Multiply it by `dy`.",
    ],
    package="gptlab.backward.gelu_backward",
)

# ---- backpropagation.7 -----------------------------------------------------------------------------------------------


def stream_backward(dx, parts_backward):
    for part_backward in reversed(parts_backward):
        dx = dx + part_backward(dx)
    return dx


class _Times:
    """The backward pass of a part: the gradient times a matrix or a number."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, dy):
        return dy @ self.factor if isinstance(self.factor, Tensor) else dy * self.factor

    def __deepcopy__(self, memo):
        return self  # as a function does

    def __repr__(self):
        return f"times {self.factor}"


def _stream_inputs(rng):
    yield torch.tensor([[[1.0]]]), [_Times(0.5)]
    yield torch.tensor([[[2.0, 10.0]]]), [_Times(0.5), _Times(-3.0)]
    first, second = torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    yield torch.tensor([[[1.0, 10.0]]]), [_Times(first), _Times(second)]
    for B, T, C, parts in ((2, 3, 4, 3), (3, 2, 5, 2), (2, 5, 3, 4)):
        yield _normal(rng, B, T, C), [_Times(_normal(rng, C, C)) for _ in range(parts)]


def _stream(step: Callable, order: Callable = reversed) -> Callable:
    """`step(dx, what the part's backward pass makes of it)` for each part."""

    def wrong(dx, parts_backward):
        for part_backward in order(parts_backward):
            dx = step(dx, part_backward(dx))
        return dx

    return wrong


def _all_from_the_end(dx, parts_backward):
    return dx + sum(part_backward(dx) for part_backward in parts_backward)


def _one_part(at):
    return lambda dx, parts_backward: dx + parts_backward[at](dx)


_STREAM = Exercise(
    id="backpropagation.7",
    title="Down the residual stream",
    kind="warm-up",
    minutes=5,
    difficulty=1,
    prompt="Forward, the stream went through several parts, first to last, each with a residual connection: `x = x + "
    "part(x)`. You have `dx`, the gradient of the stream *after* the last part, and for each part its backward pass, a "
    "function from the gradient of the part's output to the gradient of its input. Return the gradient of the stream "
    "before the first part.\n\nExample: one part that multiplies by 0.5, and dx = 1: the result is 1.5.\n\nShapes: "
    "`dx` is a float tensor [B, T, C], `parts_backward` a list of functions in the order of the forward pass. Result: "
    "a tensor [B, T, C].",
    signature='def stream_backward(dx: Float[Tensor, "B T C"], parts_backward: list[Callable]) '
    '-> Float[Tensor, "B T C"]',
    inputs=_stream_inputs,
    solution=stream_backward,
    mistakes=[
        Mistake(
            "the residual path is forgotten",
            _stream(lambda dx, through: through),
            "x reaches the sum in two ways: through the part, and past it. The second has slope 1, so `dx` itself "
            "comes back as well.",
        ),
        Mistake(
            "the parts are forgotten",
            lambda dx, parts_backward: dx,
            "One copy of the gradient goes past each part, the other goes through it: add `part_backward(dx)`.",
        ),
        Mistake(
            "from the first part to the last",
            _stream(lambda dx, through: dx + through, order=iter),
            "The part that came last meets the gradient first: `reversed(parts_backward)`.",
        ),
        Mistake(
            "every part gets the gradient of the end",
            _all_from_the_end,
            "An earlier part also acts through the later ones, which read what it has added. Give each part the `dx` "
            "that has already come through those behind it.",
        ),
        Mistake(
            "the two ways are averaged",
            _stream(lambda dx, through: (dx + through) / 2),
            "Each way moves the loss by its own amount: they are added.",
        ),
        Mistake(
            "the two ways are multiplied",
            _stream(lambda dx, through: dx * through),
            "Along a path slopes are multiplied; where two paths meet, they are added.",
        ),
        Mistake(
            "the part's gradient is subtracted",
            _stream(lambda dx, through: dx - through),
            "Forward it was a sum, so both ways have slope 1: `dx + part_backward(dx)`.",
        ),
        Mistake(
            "dx is added twice",
            _stream(lambda dx, through: 2 * dx + through),
            "There is one way past a part.",
        ),
        Mistake(
            "only the last part",
            _one_part(-1),
            "Go on to the parts before it, in a loop.",
        ),
        Mistake(
            "only the first part",
            _one_part(0),
            "The gradient meets the last part first, and then each one before it, in a loop.",
        ),
    ],
    hints=[
        "For one part: x + part(x). How does the sum change when x changes? In two ways.",
        "So `dx = dx + part_backward(dx)`.",
        "For several, the last one first: `for part_backward in reversed(parts_backward)`.",
    ],
)

# ---- backpropagation.8 -----------------------------------------------------------------------------------------------


def probabilities_backward(dp, p):
    average = (dp * p).sum(dim=-1, keepdim=True)  # [B, T, 1]
    return p * (dp - average)


def _softmax_inputs(rng):
    yield torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.25, 0.75]]])
    yield torch.tensor([[[4.0, 0.0, 0.0], [1.0, 1.0, 1.0]]]), torch.tensor([[[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]])
    for B, T, n in ((2, 3, 5), (3, 2, 4), (2, 4, 6)):
        yield _normal(rng, B, T, n), _normal(rng, B, T, n).softmax(-1)


_SOFTMAX = Exercise(
    id="backpropagation.8",
    title="A softmax, backward",
    kind="stretch",
    minutes=15,
    difficulty=2,
    prompt="Inside attention the softmax has no loss directly above it, so we need its own backward pass. Given p = "
    "softmax(x) over the last axis and `dp`, return the gradient with respect to x. Every x_j moves every p_i of its "
    "row: the local derivative of p_i with respect to x_j is p_i · (1 - p_j) if i = j, and - p_i · p_j otherwise. Sum "
    "over i, with dp_i as the factor, and simplify until no loop is left.\n\nExample: dp = [1, 0] and p = [0.25, 0.75] "
    "give [0.1875, -0.1875]. (Why must a row of the result sum to 0?)\n\nShapes: `dp` and `p` are float tensors "
    "[B, T, n]. Result: a tensor [B, T, n].",
    signature='def probabilities_backward(dp: Float[Tensor, "B T n"], p: Float[Tensor, "B T n"]) -> '
    'Float[Tensor, "B T n"]',
    inputs=_softmax_inputs,
    solution=probabilities_backward,
    mistakes=[
        Mistake(
            "each probability depends on its own logit only",
            lambda dp, p: dp * p * (1 - p),
            "That is the case i = j. A logit that grows takes probability from all the others: there are terms "
            "- p_i · p_j, too.",
        ),
        Mistake(
            "nothing is taken from the others",
            lambda dp, p: dp * p,
            "The probabilities of a row sum to 1, so one can grow only if others shrink. Subtract the average of dp, "
            "weighted by p.",
        ),
        Mistake(
            "the average is not weighted",
            lambda dp, p: p * (dp - dp.mean(-1, keepdim=True)),
            "The sum over i has the factor p_i: the average of dp is weighted by the probabilities.",
        ),
        Mistake(
            "the sum is not weighted",
            lambda dp, p: p * (dp - dp.sum(-1, keepdim=True)),
            "The sum over i has the factor p_i: `(dp * p).sum(...)`.",
        ),
        Mistake(
            "a mean in place of the sum",
            lambda dp, p: p * (dp - (dp * p).mean(-1, keepdim=True)),
            "The weights p sum to 1 already, so their weighted average is a sum: `(dp * p).sum(...)`.",
        ),
        Mistake(
            "the factor in front is missing",
            lambda dp, p: dp - (dp * p).sum(-1, keepdim=True),
            "Both terms have a factor p_j: `p * (...)`. A token of probability 0 has no gradient.",
        ),
        Mistake(
            "p is multiplied with the first term only",
            lambda dp, p: p * dp - (dp * p).sum(-1, keepdim=True),
            "The average has the factor p_j as well: put both in brackets.",
        ),
        Mistake(
            "the sign is wrong",
            lambda dp, p: p * ((dp * p).sum(-1, keepdim=True) - dp),
            "A logit raises its own probability: `dp` minus the average.",
        ),
        Mistake(
            "the average is added",
            lambda dp, p: p * (dp + (dp * p).sum(-1, keepdim=True)),
            "What one probability gains, the others lose: the second term has a minus.",
        ),
        Mistake(
            "the sum runs over time",
            lambda dp, p: p * (dp - (dp * p).sum(1, keepdim=True)),
            "The softmax ran over the last axis, so the sum does, too.",
        ),
        Mistake(
            "the sum runs over everything",
            lambda dp, p: p * (dp - (dp * p).sum()),
            "Each row is a distribution of its own: `sum(dim=-1, keepdim=True)`.",
        ),
        Mistake(
            "the softmax of the probabilities",
            lambda dp, p: probabilities_backward(dp, p.softmax(-1)),
            "`p` has been through the softmax already.",
        ),
        Mistake(
            "right if the loss were a cross-entropy",
            lambda dp, p: p - dp,
            "p minus one-hot is softmax *and* cross-entropy together. Here `dp` is any gradient.",
        ),
    ],
    hints=[
        "dx_j is the sum over i of dp_i · (derivative of p_i with respect to x_j). The i = j term gives dp_j · p_j.",
        "The rest is - p_j times the sum over all i of dp_i · p_i.",
        "`p * (dp - (dp * p).sum(dim=-1, keepdim=True))`.",
    ],
    package="gptlab.backward.softmax_backward",
)

# ---- backpropagation.9 -----------------------------------------------------------------------------------------------


def norm_backward(dy, x, gain, eps):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=0)  # [B, T, 1]
    normed = (x - mean) / (variance + eps).sqrt()  # [B, T, C]
    d = dy * gain
    shift, stretch = d.mean(-1, keepdim=True), (d * normed).mean(-1, keepdim=True)
    dx = (d - shift - normed * stretch) / (variance + eps).sqrt()
    return dx, (dy * normed).sum(dim=(0, 1)), dy.sum(dim=(0, 1))


def _norm_inputs(rng):
    yield torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[1.0, 3.0]]]), torch.ones(2), 1.0
    yield torch.tensor([[[1.0, 0.0, 0.0]]]), torch.tensor([[[1.0, 3.0, 8.0]]]), torch.tensor([1.0, 2.0, 3.0]), 0.1
    for B, T, C in ((2, 3, 4), (3, 2, 5), (2, 4, 6)):
        yield _normal(rng, B, T, C), _normal(rng, B, T, C, scale=2.0) + 1, _normal(rng, C) + 2, 0.1


def _norm(dx: Callable | None = None, dgain: Callable | None = None, dbias: Callable | None = None) -> Callable:
    """The three gradients, with one of them made in another way from d, normed, spread, dy and x."""

    def wrong(dy, x, gain, eps):
        spread = (x.var(-1, keepdim=True, correction=0) + eps).sqrt()
        normed = (x - x.mean(-1, keepdim=True)) / spread
        right = norm_backward(dy, x, gain, eps)
        made = (dx, dgain, dbias)
        given = (dy * gain, normed, spread, dy, x)
        return tuple(make(*given) if make else good for make, good in zip(made, right, strict=True))

    return wrong


def _mean(x: Tensor) -> Tensor:
    return x.mean(-1, keepdim=True)


_NORM = Exercise(
    id="backpropagation.9",
    title="Layer norm, backward",
    kind="stretch",
    minutes=25,
    difficulty=3,
    prompt="Forward, for each position over its C channels: normed = (x - mean) / √(variance + eps), where the "
    "variance is the mean of the squares, and y = gain · normed + bias. Return the gradients with respect to x, gain "
    "and bias. The last two are like those of a linear layer. For dx, remember that *every* channel moves the mean and "
    "the variance: three paths lead from x to y, and all three count.\n\nExample: x = [1, 3], gain [1, 1], eps = 1 and "
    "dy = [1, 0]: the mean is 2, the variance 1, and dx is [0.1768, -0.1768].\n\nShapes: `dy` and `x` are float "
    "tensors [B, T, C], `gain` is [C]. Result: three tensors, [B, T, C], [C] and [C].",
    signature='def norm_backward(dy: Float[Tensor, "B T C"], x: Float[Tensor, "B T C"], gain: Float[Tensor, " C"], '
    'eps: float) -> tuple[Float[Tensor, "B T C"], Float[Tensor, " C"], Float[Tensor, " C"]]',
    inputs=_norm_inputs,
    solution=norm_backward,
    mistakes=[
        Mistake(
            "mean and variance are taken for constants",
            _norm(dx=lambda d, normed, spread, dy, x: d / spread),
            "That is the direct path. When one channel grows, the mean and the variance of its position grow as well, "
            "and move all channels of y.",
        ),
        Mistake(
            "the variance is taken for a constant",
            _norm(dx=lambda d, normed, spread, dy, x: (d - _mean(d)) / spread),
            "The path through the mean is there. The one through the variance is missing: - normed · mean(d · normed).",
        ),
        Mistake(
            "the mean is taken for a constant",
            _norm(dx=lambda d, normed, spread, dy, x: (d - normed * _mean(d * normed)) / spread),
            "The path through the variance is there. The one through the mean is missing: - mean(d).",
        ),
        Mistake(
            "the paths through mean and variance are added",
            _norm(dx=lambda d, normed, spread, dy, x: (d + _mean(d) + normed * _mean(d * normed)) / spread),
            "Both take something away: a shift of all channels and a stretch of x do not come through a norm at all.",
        ),
        Mistake(
            "the gain is forgotten on the way to x",
            lambda dy, x, gain, eps: (
                norm_backward(dy, x, torch.ones_like(gain), eps)[0],
                *norm_backward(dy, x, gain, eps)[1:],
            ),
            "y is gain · normed, so the gradient of `normed` is dy · gain.",
        ),
        Mistake(
            "not divided by the spread",
            _norm(dx=lambda d, normed, spread, dy, x: d - _mean(d) - normed * _mean(d * normed)),
            "`normed` is x divided by √(variance + eps), so the gradient is, too.",
        ),
        Mistake(
            "sums in place of means",
            _norm(
                dx=lambda d, normed, spread, dy, x: (
                    (d - d.sum(-1, keepdim=True) - normed * (d * normed).sum(-1, keepdim=True)) / spread
                )
            ),
            "A channel moves the mean by 1/C of its own change: both terms are means over the channels.",
        ),
        Mistake(
            "x in place of the normed x",
            _norm(dx=lambda d, normed, spread, dy, x: (d - _mean(d) - x * _mean(d * x)) / spread),
            "The path through the variance has `normed` in it, twice.",
        ),
        Mistake(
            "the variance is divided by C - 1",
            lambda dy, x, gain, eps: _unbiased(dy, x, gain, eps),
            "`var` divides by C - 1 unless told otherwise. Layer norm divides by C: `correction=0`.",
        ),
        Mistake(
            "eps is left out",
            lambda dy, x, gain, eps: norm_backward(dy, x, gain, 0.0),
            "It stands under the root, forward and backward.",
        ),
        Mistake(
            "the gain's gradient is made from x",
            _norm(dgain=lambda d, normed, spread, dy, x: (dy * x).sum(dim=(0, 1))),
            "The gain is multiplied by the *normed* x.",
        ),
        Mistake(
            "the gain's gradient is not summed",
            _norm(dgain=lambda d, normed, spread, dy, x: dy * normed),
            "One gain served all positions: sum over B and T, so that [C] is left.",
        ),
        Mistake(
            "the gain's gradient has the gain in it",
            _norm(dgain=lambda d, normed, spread, dy, x: (d * normed).sum(dim=(0, 1))),
            "The derivative of gain · normed with respect to the gain is `normed`: take `dy`, not dy · gain.",
        ),
        Mistake(
            "the bias's gradient is not summed",
            _norm(dbias=lambda d, normed, spread, dy, x: dy),
            "One bias served all positions: sum over B and T, so that [C] is left.",
        ),
        Mistake(
            "the bias's gradient has the gain in it",
            _norm(dbias=lambda d, normed, spread, dy, x: d.sum(dim=(0, 1))),
            "The bias is added after the gain: its gradient is the sum of `dy`.",
        ),
        Mistake(
            "gain and bias get means",
            lambda dy, x, gain, eps: (
                norm_backward(dy, x, gain, eps)[0],
                *(d / dy[..., 0].numel() for d in norm_backward(dy, x, gain, eps)[1:]),
            ),
            "The mean over positions is in the loss, so `dy` has it already. Here positions are added up.",
        ),
    ],
    hints=[
        "Begin with d = dy · gain, the gradient of `normed`. If mean and variance were constants, dx would be "
        "d / √(variance + eps).",
        "Through the mean comes - mean(d), through the variance - normed · mean(d · normed), both over the channels.",
        "dx = (d - mean(d) - normed · mean(d · normed)) / √(variance + eps); dgain sums dy · normed, dbias sums dy.",
    ],
    package="gptlab.backward.layer_norm_backward",
)


def _unbiased(dy: Tensor, x: Tensor, gain: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    spread = (x.var(-1, keepdim=True) + eps).sqrt()
    normed, d = (x - _mean(x)) / spread, dy * gain
    dx = (d - _mean(d) - normed * _mean(d * normed)) / spread
    return dx, (dy * normed).sum(dim=(0, 1)), dy.sum(dim=(0, 1))


# ---- backpropagation.10 ----------------------------------------------------------------------------------------------


def heads_backward(dy, q, k, v):
    T, hs = q.shape[-2:]
    past = torch.ones(T, T, dtype=torch.bool).tril()
    weights = (q @ k.mT / math.sqrt(hs)).masked_fill(~past, -math.inf).softmax(-1)  # [B, H, T, T]
    dweights, dv = dy @ v.mT, weights.mT @ dy
    dscores = weights * (dweights - (dweights * weights).sum(-1, keepdim=True)) / math.sqrt(hs)
    return dscores @ k, dscores.mT @ q, dv


def _heads_inputs(rng):
    yield tuple(torch.tensor([[[[1.0, 0.0]]]]) for _ in range(4))
    yield tuple(torch.tensor([[rows]]) for rows in (
        [[1.0, 0.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]], [[3.0, 0.0], [0.0, 5.0]],
    ))  # fmt: skip
    for B, H, T, hs in ((2, 3, 4, 5), (3, 2, 5, 4), (2, 2, 3, 6)):
        yield tuple(_normal(rng, B, H, T, hs) for _ in range(4))


def _heads(
    scale: Callable = lambda hs: 1 / math.sqrt(hs), causal: bool = True, softmax: Callable = probabilities_backward
) -> Callable:
    """The backward pass with another scale in it, without the mask, or with another softmax."""

    def wrong(dy, q, k, v):
        T, hs = q.shape[-2:]
        scores = q @ k.mT / math.sqrt(hs)
        if causal:
            scores = scores.masked_fill(~torch.ones(T, T, dtype=torch.bool).tril(), -math.inf)
        weights = scores.softmax(-1)
        dscores = softmax(dy @ v.mT, weights) * scale(hs)
        return dscores @ k, dscores.mT @ q, weights.mT @ dy

    return wrong


def _heads_after(change: Callable) -> Callable:
    """The right gradients, changed."""
    return lambda dy, q, k, v: change(*heads_backward(dy, q, k, v), dy, q, k, v)


def _weights(q: Tensor, k: Tensor) -> Tensor:
    past = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool).tril()
    return (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~past, -math.inf).softmax(-1)


def _dscores_untransposed(dy, q, k, v):
    dq, _, dv = heads_backward(dy, q, k, v)
    dscores = probabilities_backward(dy @ v.mT, _weights(q, k)) / math.sqrt(q.shape[-1])
    return dq, dscores @ q, dv


_HEADS = Exercise(
    id="backpropagation.10",
    title="Attention, backward",
    kind="stretch",
    minutes=30,
    difficulty=3,
    prompt="Forward, for each head: scores = q @ kᵀ / √hs, with the future hidden; weights = softmax(scores); y = "
    "weights @ v. Return the gradients with respect to q, k and v. It is two products and a softmax, so you have "
    "written all of it already: y = weights @ v first (it gives dv and the gradient of the weights), then the softmax, "
    "then the scores. The weights have to be computed once more, from q and k.\n\nShapes: `dy`, `q`, `k` and `v` are "
    "float tensors [B, H, T, hs]. Result: three tensors [B, H, T, hs]: dq, dk, dv.",
    signature='def heads_backward(dy: Float[Tensor, "B H T hs"], q: Float[Tensor, "B H T hs"], '
    'k: Float[Tensor, "B H T hs"], v: Float[Tensor, "B H T hs"]) -> tuple[Float[Tensor, "B H T hs"], ...]',
    inputs=_heads_inputs,
    solution=heads_backward,
    mistakes=[
        Mistake(
            "the scale is forgotten in the backward pass",
            _heads(scale=lambda hs: 1.0),
            "Forward, the scores were divided by √hs, so their gradient is, too.",
        ),
        Mistake(
            "divided by hs in the backward pass",
            _heads(scale=lambda hs: 1 / hs),
            "The factor is the same as forward: 1/√hs.",
        ),
        Mistake(
            "multiplied by √hs in the backward pass",
            _heads(scale=math.sqrt),
            "The derivative of x / √hs is 1/√hs: the same factor as forward.",
        ),
        Mistake(
            "the mask is forgotten",
            _heads(causal=False),
            "The weights must be those of the forward pass: hide the future before the softmax.",
        ),
        Mistake(
            "the softmax lets everything through",
            _heads(softmax=lambda dp, p: dp),
            "Between weights and scores stands a softmax: p · (dp - Σ dp · p).",
        ),
        Mistake(
            "the softmax takes nothing from the others",
            _heads(softmax=lambda dp, p: dp * p),
            "A weight that grows makes the others of its row shrink: p · (dp - Σ dp · p).",
        ),
        Mistake(
            "each weight depends on its own score only",
            _heads(softmax=lambda dp, p: dp * p * (1 - p)),
            "Every score of a row moves every weight of it: p · (dp - Σ dp · p).",
        ),
        Mistake(
            "the softmax's sum runs over the queries",
            _heads(softmax=lambda dp, p: p * (dp - (dp * p).sum(-2, keepdim=True))),
            "Forward, the softmax ran over the keys, the last axis. So does this sum.",
        ),
        Mistake(
            "the weights are not transposed for v",
            _heads_after(lambda dq, dk, dv, dy, q, k, v: (dq, dk, _weights(q, k) @ dy)),
            "Forward, row t of the weights collects from the past. Backward, a value collects from every query that "
            "used it: column s, so `weights.mT @ dy`.",
        ),
        Mistake(
            "the scores' gradient is not transposed for k",
            _dscores_untransposed,
            "Rows of the scores are queries, columns are keys. A key collects along its column: `dscores.mT @ q`.",
        ),
        Mistake(
            "nothing is transposed in the backward pass",
            lambda dy, q, k, v: (*_dscores_untransposed(dy, q, k, v)[:2], _weights(q, k) @ dy),
            "The shapes fit either way, so they can't warn you. Rows belong to queries, and keys and values collect "
            "along columns: `weights.mT @ dy` for dv and `dscores.mT @ q` for dk.",
        ),
        Mistake(
            "queries and keys are exchanged",
            _heads_after(lambda dq, dk, dv, dy, q, k, v: (dk, dq, dv)),
            "The query's gradient is made from keys, and the key's from queries. First dq, then dk.",
        ),
        Mistake(
            "the order of the three is another",
            _heads_after(lambda dq, dk, dv, dy, q, k, v: (dv, dq, dk)),
            "First the queries, then the keys, then the values.",
        ),
        Mistake(
            "the values get the gradient as it is",
            _heads_after(lambda dq, dk, dv, dy, q, k, v: (dq, dk, dy)),
            "A value reaches y through the weights: `weights.mT @ dy`.",
        ),
    ],
    hints=[
        "y = weights @ v is a product: dweights = dy @ vᵀ and dv = weightsᵀ @ dy.",
        "The softmax, from exercise 8: dscores = weights · (dweights - Σ dweights · weights), summed over the keys.",
        "scores = q @ kᵀ / √hs is a product: divide dscores by √hs; then dq = dscores @ k and dk = dscoresᵀ @ q.",
    ],
    package="gptlab.backward.attention_backward",
)

EXERCISES = [_SLOPE, _WALK, _LOSS, _LINEAR, _LOOKUP, _ACTIVATION, _STREAM, _SOFTMAX, _NORM, _HEADS]

PREDICTIONS = [
    Prediction(
        id="backpropagation.a",
        question="a is 3, and y = a · a + a. How fast does y grow when a grows: what is the gradient of a?",
        kind="number",
        answer=7.0,
        explanation="a reaches y on three paths: twice through the product, each time with the slope 3 (the other "
        "factor), and once directly, with the slope 1. Where paths meet, gradients add up: 3 + 3 + 1.",
    ),
    Prediction(
        id="backpropagation.b",
        question="Four tokens, all with the logit 0, and token 2 is the right one. What is the gradient of the loss at "
        "the logit of token 2?",
        kind="number",
        answer=-0.75,
        tolerance=0.001,
        explanation="Every token has the probability 1/4. At the right one 1 is subtracted: 0.25 - 1. The minus says "
        "that a larger logit makes the loss smaller.",
    ),
    Prediction(
        id="backpropagation.c",
        question="One kind of parameter of a GPT never gets any gradient, whatever the text. Which one?",
        kind="choice",
        choices=("the biases of the queries", "the biases of the keys", "the biases of the values",
                 "the biases of the last norm"),
        answer="b",
        explanation="A bias of the keys adds q · b to every score of a row: the same number for all keys. The softmax "
        "sees differences between scores only, so nothing changes, and the gradient is 0.",
    ),
    Prediction(
        id="backpropagation.d",
        question="The parts of a fresh GPT of twelve blocks, in a row: each one's output replaces the stream, with "
        "no residual connection and no norm. Compare the gradient at the embedding with the gradient after the last "
        "block. How large is it?",
        kind="choice",
        choices=("about as large", "about a twenty-fourth", "less than a millionth"),
        answer="c",
        explanation="Each of the 24 parts multiplies the gradient by its own slope, which is far below 1 in a fresh "
        "model. Along a path slopes are multiplied, and 24 small factors leave nothing.",
    ),
]  # fmt: skip

QUESTIONS = [
    Question(
        about="model",
        question="A block has a residual connection around its MLP. What does it compute?",
        choices=("mlp(norm(x))", "x · mlp(norm(x))", "x + mlp(norm(x))"),
        answer="c",
        explanation="What the MLP computes is added to the stream, and the stream itself goes on unchanged.",
    ),
    Question(
        about="attention",
        question="What does a softmax do to a row of scores if 5 is added to all of them?",
        choices=("nothing", "all weights grow", "the largest weight grows"),
        answer="a",
        explanation="Only differences between scores count: exp(5) is a factor of every term, and cancels.",
    ),
    Question(
        about="embedding",
        question="A batch contains the token 7 three times. Which rows of the embedding table are read for it?",
        choices=("three copies of row 7", "row 7, each time", "the rows of three positions"),
        answer="b",
        explanation="There is one row for a token, whatever its position: all three places read the same numbers.",
    ),
]
