"""Every backward pass equals autograd's and what differences measure; the whole of them, `loss.backward()`."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from unchecked import unchecked

from gptlab import backward as ours
from gptlab.attention import merge_heads, split_heads
from gptlab.autograd import Value, named, numerical_gradient, slope
from gptlab.backpropagation import (
    BACKWARD,
    backward_gpt,
    gradient_norms,
    parts_of,
    refuse_unknown_parts,
    set_gradients,
)
from gptlab.batches import IGNORE
from gptlab.model import GPT, GPTConfig
from gptlab.pictures import describe, graph

__all__ = ["unchecked"]
NUMBERS = st.floats(-2, 2).filter(lambda x: abs(x) > 0.05)


def normal(*shape, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed + 100 * sum(shape))
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


# ── Value ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def everything(a, b, c):
    """Every operation of `Value`, with values that are used more than once."""
    d = (a * b + c).tanh() + a.exp() * b - (a * a + 1.5).log() / (c**2 + 1)
    e = (2 - d) * (d + b).relu() + 1 / (b * b + 1) - -c
    return e * d + e**3 + a


@given(NUMBERS, NUMBERS, NUMBERS)
def test_a_value_has_the_gradient_that_autograd_finds(a, b, c):
    numbers = (a, b, c)
    values = [Value(number) for number in numbers]
    tensors = [torch.tensor(number, dtype=torch.float64, requires_grad=True) for number in numbers]
    result, theirs = everything(*values), everything(*tensors)
    result.backward()
    theirs.backward()
    assert result.data == pytest.approx(theirs.item(), rel=1e-9)
    for value, tensor in zip(values, tensors, strict=True):
        assert value.grad == pytest.approx(tensor.grad.item(), rel=1e-9, abs=1e-9)


def test_a_gradient_worked_out_with_a_pencil():
    x, w, b = named(x=3.0, w=2.0, b=1.0)
    y = (w * x + b) ** 2  # 7² = 49; the slope of the square is 14
    y.backward()
    assert (y.data, x.grad, w.grad, b.grad) == (49.0, 28.0, 42.0, 14.0)


def test_a_value_used_twice_gets_both_gradients():
    a = Value(3.0)
    (a * a + a).backward()
    assert a.grad == 7.0  # 2a + 1


def test_gradients_of_two_calls_add_up_for_every_value_as_in_pytorch():
    a = Value(2.0)
    square = a * a
    result = square * 3
    result.backward()
    result.backward()
    assert (a.grad, square.grad) == (2 * 12.0, 2 * 3.0)


def test_parents_stand_before_their_children():
    a, b = Value(2.0), Value(3.0)
    order = everything(a, b, a * b).graph()
    place = {id(node): i for i, node in enumerate(order)}
    assert len(place) == len(order)
    assert all(place[id(parent)] < place[id(node)] for node in order for parent in node.parents)


def test_a_graph_may_be_deeper_than_python_s_recursion():
    x = y = Value(1.0)
    for _ in range(5000):
        y = y + 0.001
    y.backward()
    assert x.grad == 1.0


def test_powers_at_the_edges(unchecked):
    x = Value(0.0)
    (x**0 + x**1 + x**2).backward()
    assert x.grad == 1.0
    with pytest.raises(TypeError, match="the exponent is Value, not a plain number"):
        Value(2.0) ** Value(3.0)


def test_a_value_shows_its_name_number_and_gradient():
    assert repr(Value(-6.0)) == "Value(-6, grad 0)"
    assert repr(Value(0.5, name="x")) == "Value(x: 0.5, grad 0)"


# ── Measured slopes ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_slope_is_measured_on_both_sides():
    assert slope(abs, 0.0) == 0.0  # one side alone would say 1
    assert slope(math.sin, 0.3) == pytest.approx(math.cos(0.3), abs=1e-9)
    with pytest.raises(ValueError, match="step=0 must be a number above 0"):
        slope(abs, 1.0, step=0)


def test_a_numerical_gradient_leaves_its_input_alone():
    x = normal(3, 2)
    before = x.clone()
    found = numerical_gradient(lambda x: (x**3).sum(), x.T)
    assert torch.allclose(found, 3 * x.T**2, atol=1e-6) and torch.equal(x, before)
    with pytest.raises(ValueError, match=r"x is torch.float32: pass x.double\(\)"):
        numerical_gradient(torch.sum, x.float())


# ── Each operation ───────────────────────────────────────────────────────────────────────────────────────────────────

IDS = torch.tensor([[1, 4, 1], [0, 1, 6]])
TARGETS = torch.tensor([[2, IGNORE, 0], [5, 5, 1]])
# From a name to: forward, backward (dy, then the inputs), inputs.
OPERATIONS = {
    "add": (lambda a, b: a + b, lambda dy, a, b: ours.add_backward(dy), (normal(2, 3), normal(2, 3, seed=1))),
    "broadcast": (
        lambda a, b: a + b,
        lambda dy, a, b: (dy, ours.sum_to(dy, b.shape)),
        (normal(2, 3, 4), normal(3, 1)),
    ),
    "matmul": (torch.matmul, ours.matmul_backward, (normal(2, 3, 4), normal(2, 4, 5))),
    "linear": (
        ours.linear,
        lambda dy, x, weight, bias: ours.linear_backward(dy, x, weight),
        (normal(2, 3, 4), normal(5, 4), normal(5)),
    ),
    "gelu": (ours.gelu, lambda dy, x: (ours.gelu_backward(dy, x),), (normal(2, 7, scale=3.0),)),
    "gelu_tanh": (ours.gelu_tanh, lambda dy, x: (ours.gelu_tanh_backward(dy, x),), (normal(2, 7, scale=3.0),)),
    "layer_norm": (
        ours.layer_norm,
        lambda dy, x, weight, bias: ours.layer_norm_backward(dy, x, weight),
        (normal(2, 3, 5), normal(5), normal(5, seed=1)),
    ),
    "softmax": (
        lambda x: x.softmax(dim=-1),
        lambda dy, x: (ours.softmax_backward(dy, x.softmax(dim=-1)),),
        (normal(2, 3, 5),),
    ),
    "cross_entropy": (
        lambda x: ours.cross_entropy(x, TARGETS),
        lambda dy, x: (dy * ours.cross_entropy_backward(x, TARGETS),),
        (normal(2, 3, 7),),
    ),
    "embedding": (
        lambda table: ours.embedding(IDS, table),
        lambda dy, table: (ours.embedding_backward(dy, IDS, len(table)),),
        (normal(7, 4),),
    ),
    "attention": (
        ours.attention,
        ours.attention_backward,
        (normal(2, 3, 5, 4), normal(2, 3, 5, 4, seed=1), normal(2, 3, 5, 6)),
    ),
    "heads": (
        lambda x: split_heads(x, 3),
        lambda dy, x: (merge_heads(dy),),  # each is the backward pass of the other
        (normal(2, 4, 6),),
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_backward_pass_equals_autograd_and_measured_slopes(name):
    forward, backward, inputs = OPERATIONS[name]
    leaves = [x.clone().requires_grad_() for x in inputs]
    y = forward(*leaves)
    dy = normal(*y.shape, seed=3)
    found = backward(dy, *inputs)
    expected = torch.autograd.grad(y, leaves, dy)
    for i, (got, wanted) in enumerate(zip(found, expected, strict=True)):
        assert got.shape == inputs[i].shape
        assert torch.allclose(got, wanted, atol=1e-9, rtol=0)
        measured = numerical_gradient(lambda x, i=i: (forward(*inputs[:i], x, *inputs[i + 1 :]) * dy).sum(), inputs[i])
        assert torch.allclose(got, measured, atol=1e-6, rtol=0)


def test_the_forward_passes_are_the_library_s():
    x, weight, bias, matrix = normal(2, 3, 5), normal(5), normal(5, seed=1), normal(4, 5)
    logits, q = normal(2, 3, 7), normal(2, 3, 5, 4)
    pairs = [
        (ours.gelu(x), F.gelu(x)),
        (ours.gelu_tanh(x), F.gelu(x, approximate="tanh")),
        (ours.layer_norm(x, weight, bias), F.layer_norm(x, (5,), weight, bias)),
        (ours.linear(x, matrix), F.linear(x, matrix)),
        (
            ours.embedding(IDS, x[0, :, :1].expand(3, 4).repeat(3, 1)),
            F.embedding(IDS, x[0, :, :1].expand(3, 4).repeat(3, 1)),
        ),
        (ours.cross_entropy(logits, TARGETS), F.cross_entropy(logits.flatten(0, 1), TARGETS.flatten())),
        (ours.attention(q, q + 1, q * 2), F.scaled_dot_product_attention(q, q + 1, q * 2, is_causal=True)),
    ]
    assert [i for i, (mine, theirs) in enumerate(pairs) if not torch.allclose(mine, theirs, atol=1e-12)] == []


def test_logits_of_hundreds_have_finite_gradients():
    logits = torch.tensor([[800.0, 0.0, -800.0]])
    assert ours.cross_entropy_backward(logits, torch.tensor([1])).tolist() == [[1.0, -1.0, 0.0]]


def test_shapes_that_do_not_fit_are_named(unchecked):
    with pytest.raises(ValueError, match="linear_backward: weight has O=7, and dy has O=5: they must agree"):
        ours.linear_backward(torch.ones(2, 3, 5), torch.ones(2, 3, 4), torch.ones(7, 4))
    with pytest.raises(ValueError, match="attention_backward: v has T=3, and dy has T=4: they must agree"):
        ours.attention_backward(*(torch.ones(2, 3, 4, 5) for _ in range(3)), torch.ones(2, 3, 3, 5))


@pytest.mark.parametrize("shape", [(4,), (3, 2), (2, 3, 4, 1), (5, 3, 4)])
def test_a_shape_that_does_not_broadcast_is_refused(shape):
    with pytest.raises(ValueError, match=r"does not broadcast to \[2, 3\]"):
        ours.sum_to(torch.ones(2, 3), shape)


# ── The whole model ──────────────────────────────────────────────────────────────────────────────────────────────────


def small(**changes):
    """A GPT in float64 whose norms and biases are not those of the start, which would hide mistakes."""
    torch.manual_seed(0)
    model = GPT(
        GPTConfig(**{"vocab_size": 11, "context": 9, "n_layer": 2, "n_head": 3, "n_embd": 12, **changes})
    ).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model


def batch(B=2, T=7, V=11):
    ids = torch.randint(V, (B, T + 1), generator=torch.Generator().manual_seed(1))
    return ids[:, :-1].clone(), ids[:, 1:].clone()


@pytest.mark.parametrize(
    "changes",
    [{}, {"mlp": "gelu_tanh", "n_layer": 3}, {"tie_weights": False}, {"bias": False}, {"mlp_bias": False, "n_head": 1}],
)
def test_the_gradient_of_every_parameter_equals_loss_backward(changes):
    model, (ids, targets) = small(**changes), batch()
    targets[0, 3] = IGNORE
    gradients = backward_gpt(model, ids, targets)
    model(ids, targets)[1].backward()
    assert list(gradients) == [name for name, _ in model.named_parameters()]
    for name, p in model.named_parameters():
        assert torch.allclose(gradients[name], p.grad, atol=1e-9, rtol=0), name
        assert p.grad.abs().sum() > 1e-6 or name.endswith("key.bias"), name  # nothing is equal because it is 0


def test_a_step_by_it_is_the_optimizer_s_own():
    ids, targets = batch()
    theirs, mine, plain = small(), small(), small()
    theirs(ids, targets)[1].backward()
    set_gradients(mine, gradients := backward_gpt(mine, ids, targets))
    for model in (theirs, mine):
        torch.optim.AdamW(model.parameters(), lr=0.01).step()
    by_hand = small()
    with torch.no_grad():
        for name, p in by_hand.named_parameters():
            p -= 0.1 * gradients[name]
    set_gradients(plain, gradients)
    torch.optim.SGD(plain.parameters(), lr=0.1).step()
    for (name, a), b, c, d in zip(
        theirs.named_parameters(), *(m.parameters() for m in (mine, plain, by_hand)), strict=True
    ):
        # Adam divides by the gradient's own size: where that is 0, as for a key's bias, rounding decides.
        assert name.endswith("key.bias") or torch.allclose(a, b, atol=1e-6), name
        assert torch.allclose(c, d, atol=1e-12), name


def test_your_own_backward_pass_takes_the_place_of_ours():
    model, (ids, targets) = small(), batch()
    called = []

    def mine(dy, x, weight):
        called.append(x.shape)
        return ours.linear_backward(dy, x, weight)

    expected = backward_gpt(model, ids, targets)
    found = backward_gpt(model, ids, targets, {"linear": mine})
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert len(called) == 2 * 6 + 1  # six matrices a block, and the head
    wrong = backward_gpt(model, ids, targets, {"gelu": lambda dy, x: dy})
    assert not torch.allclose(wrong["blocks.0.mlp.up.weight"], expected["blocks.0.mlp.up.weight"])


def test_every_operation_can_be_replaced():
    model, (ids, targets) = small(), batch()
    for name in set(BACKWARD) - {"gelu_tanh"}:
        with pytest.raises(ValueError, match=f"your backward pass of '{name}' returned nothing"):
            backward_gpt(model, ids, targets, {name: lambda *args: None})


def test_an_operation_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="there is no operation sofmax: choose among embedding, linear, gelu"):
        backward_gpt(small(), *batch(), {"sofmax": ours.softmax_backward})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"norm": "rmsnorm"}, "norm='rmsnorm'"),
        ({"position": "sinusoidal"}, "position='sinusoidal'"),
        ({"mlp": "relu2", "convolution": 3}, "mlp='relu2', convolution=3"),
        ({"n_kv_head": 1, "qk_norm": True}, "qk_norm=True, n_kv_head=1"),
    ],
)
def test_parts_without_a_backward_pass_are_refused_by_name(changes, named):
    with pytest.raises(ValueError, match=f"no backward pass here for {named}: use loss.backward"):
        refuse_unknown_parts(GPT(GPTConfig(11, 9, n_layer=1, n_head=3, n_embd=12, **changes)))


def test_dropout_is_refused_until_it_is_off():
    model, (ids, targets) = small(dropout=0.1), batch()
    with pytest.raises(ValueError, match=r"dropout=0.1 is on.*call model.eval\(\)"):
        backward_gpt(model, ids, targets)
    assert backward_gpt(model.eval(), ids, targets)


def test_what_is_no_gpt_or_does_not_fit_is_refused(unchecked):
    model, (ids, targets) = small(context=6), batch()
    with pytest.raises(ValueError, match="T=7 tokens do not fit the context of 6"):
        backward_gpt(model, ids, targets)
    with pytest.raises(ValueError, match=r"Linear is no gptlab.model.GPT"):
        backward_gpt(torch.nn.Linear(2, 2), ids, targets)


def test_gradients_and_parameters_must_be_the_same_ones():
    model = torch.nn.Linear(2, 3)
    with pytest.raises(ValueError, match=r"\['bias', 'biases'\] stand in the model or among the gradients"):
        set_gradients(model, {"weight": torch.ones(3, 2), "biases": torch.ones(3)})


def test_setting_gradients_copies_them():
    model, gradient = torch.nn.Linear(2, 3, bias=False), torch.ones(3, 2)
    set_gradients(model, {"weight": gradient})
    model.weight.grad.zero_()
    assert gradient.sum() == 6


# ── How far a gradient gets ──────────────────────────────────────────────────────────────────────────────────────────


def test_twelve_halves_vanish_and_with_a_residual_connection_they_explode():
    parts = [lambda x: 0.5 * x] * 12
    assert gradient_norms(parts, torch.ones(1))[0] == pytest.approx(0.5**12)
    assert gradient_norms(parts, torch.ones(1), residual=True)[0] == pytest.approx(1.5**12)


def test_a_path_through_a_gpt_is_that_of_its_own_loss():
    model, (ids, targets) = small(n_layer=3), batch()
    start = model.embedding(ids).detach()

    def loss(x):
        return F.cross_entropy(model.head(model.norm(x)).flatten(0, 1), targets.flatten())

    norms = gradient_norms(parts_of(model), start, loss, residual=True)
    seen = {}
    model.blocks[1].register_full_backward_hook(lambda part, given, came: seen.update(x=given[0].norm().item()))
    model(ids, targets)[1].backward()
    assert len(norms) == 7 and norms[2] == pytest.approx(seen["x"])


def test_a_gradient_vanishes_in_a_deep_gpt_with_neither_residual_connections_nor_norms():
    torch.manual_seed(0)
    model, (ids, targets) = GPT(GPTConfig(11, 9, n_layer=8, n_head=3, n_embd=12)), batch()
    x = model.embedding(ids)

    def loss(x):
        return F.cross_entropy(model.head(model.norm(x)).flatten(0, 1), targets.flatten())

    bare, whole = parts_of(model, norms=False), parts_of(model)
    vanished = gradient_norms(bare, x, loss)
    assert vanished[0] < 1e-12 * vanished[-1]
    for norms in (gradient_norms(bare, x, loss, residual=True), gradient_norms(whole, x, loss, residual=True)):
        assert 0.5 * norms[-1] < norms[0] < 2 * norms[-1]


# ── The picture of the graph ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_graph_is_described_with_every_number_and_gradient():
    x, w = named(x=3, w=2)
    y = (w * x + 1) ** 2
    y.name = "y"
    y.backward()
    assert describe(graph(y, title="One neuron")) == (
        "One neuron. Computational graph of 6 values: w = 2 (grad 42); x = 3 (grad 28); × of w, x = 6 (grad 14); "
        "1 (grad 14); + of step 2, 1 = 7 (grad 14); y = ^2 of step 4 = 49 (grad 1)."
    )


def test_no_two_boxes_of_a_graph_overlap():
    a, b, c = named(a=1.0, b=2.0, c=0.5)
    result = ((a * b + c).tanh() + a.exp() * b - (a * a + 1.5).log() / c + b) * (a * a)
    (axes,) = graph(result).axes
    boxes = [patch.get_bbox() for patch in axes.patches if hasattr(patch, "get_boxstyle")]
    assert len(boxes) == len(result.graph())
    pairs = [(p, q) for i, p in enumerate(boxes) for q in boxes[:i]]
    assert not any(p.x0 < q.x1 and q.x0 < p.x1 and p.y0 < q.y1 and q.y0 < p.y1 for p, q in pairs)


def test_a_graph_that_nobody_could_read_is_refused():
    x = Value(1.0)
    for _ in range(40):
        x = x + x
    with pytest.raises(ValueError, match="41 values are more than the 40"):
        graph(x)
