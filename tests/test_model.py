"""The model: logits of the right meaning, a first loss of ln V, and refusals that name both sides."""

import json
import math
import subprocess
import sys

import pytest
import torch
from unchecked import unchecked

from gptlab.batches import IGNORE
from gptlab.config import MLPS, NORMS, POSITIONS
from gptlab.masking import assert_causal, causal, documents
from gptlab.model import GPT, MLP, GPTConfig, RopeScaling, current_names, evaluating, unwrapped

__all__ = ["unchecked"]
IDS = torch.randint(0, 50, (3, 7), generator=torch.Generator().manual_seed(0))
VARIANTS = [
    {},
    {"tie_weights": False, "bias": False, "mlp": "gelu_tanh"},
    {"norm": "rmsnorm", "position": "rope", "mlp": "swiglu", "n_kv_head": 2, "bias": False},
    {"position": "sinusoidal", "mlp": "relu2", "qk_norm": True, "convolution": 3, "init": "zero"},
]


def small(**changes) -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(50, 16, **{"n_layer": 2, "n_head": 4, "n_embd": 24, **changes}))


@pytest.mark.parametrize("changes", VARIANTS)
def test_the_first_loss_is_that_of_knowing_nothing(changes):
    model = small(**changes)
    _, loss = model(IDS[:, :-1], IDS[:, 1:])
    assert loss.item() == pytest.approx(math.log(50), abs=0.15)


@pytest.mark.parametrize("changes", VARIANTS)
def test_the_loss_is_the_mean_surprise_at_the_targets(changes):
    model = small(**changes)
    logits, loss = model(IDS[:, :-1], IDS[:, 1:])
    probabilities = logits.detach().softmax(dim=-1)
    nats = [-math.log(probabilities[b, t, IDS[b, t + 1]]) for b in range(3) for t in range(6)]
    assert loss.item() == pytest.approx(sum(nats) / len(nats), abs=1e-5)


@pytest.mark.parametrize("changes", VARIANTS)
def test_every_weight_learns_once_something_is_there_to_learn(changes):
    model = small(**changes)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model(IDS[:, :-1], IDS[:, 1:])[1].backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A bias of the keys moves all scores of a row alike, and the softmax does not see it.
    assert [name for name in still if not name.endswith("key.bias")] == []


def test_tied_weights_are_one_table_counted_once():
    tied, untied = small(), small(tie_weights=False)
    assert tied.head.weight is tied.embedding.token.weight
    assert untied.count_parameters() - tied.count_parameters() == 50 * 24


@pytest.mark.parametrize(
    ("size", "parameters"),
    [("124M", 124_439_808), ("355M", 354_823_168), ("774M", 774_030_080), ("1558M", 1_557_611_200)],
)
def test_gpt2_has_the_published_number_of_parameters(size, parameters):
    with torch.device("meta"):
        assert GPT(GPTConfig.gpt2(size)).count_parameters() == parameters


def test_a_model_that_starts_with_zero_projections_starts_as_its_embedding():
    model = small(init="zero")
    x = model.embedding(IDS)
    assert torch.allclose(model(IDS)[0], model.head(model.norm(x)), atol=1e-6)


def test_projections_back_to_the_stream_start_smaller_the_deeper_the_model():
    for n_layer in (2, 8):
        model = small(n_layer=n_layer, n_embd=96)
        assert model.blocks[0].mlp.down.weight.std().item() == pytest.approx(0.02 / (2 * n_layer) ** 0.5, rel=0.1)
        assert model.blocks[0].mlp.up.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_dropout_is_off_when_evaluating():
    model = small(dropout=0.5)
    assert not torch.equal(model(IDS)[0], model(IDS)[0])
    model.eval()
    assert torch.equal(model(IDS)[0], model(IDS)[0])


def test_configurations_survive_json():
    config = GPTConfig.modern(50, 16, n_embd=24, n_head=4)
    assert GPTConfig.from_json(config.to_json()) == config
    stretched = GPTConfig(50, position="rope", rope_scaling=RopeScaling(8.0, low=1.0, high=4.0, context=64))
    assert GPTConfig.from_json(stretched.to_json()) == stretched
    with pytest.raises(ValueError, match="n_expert"):
        GPTConfig.from_json(json.dumps({"vocab_size": 5, "n_expert": 8}))


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({}, "the configuration does not say what vocab_size should be"),
        ({"vocab_size": 5, "rope_scaling": {"factor": 2, "beta": 1}}, r"rope_scaling has entries .*\['beta'\]"),
        ({"vocab_size": 5, "rope_scaling": {"low": 1.0}}, "rope_scaling does not say what factor should be"),
        ({"vocab_size": 5, "rope_scaling": {}}, "rope_scaling does not say what factor should be"),
    ],
)
def test_a_configuration_that_is_not_whole_is_refused_by_name(entries, words):
    with pytest.raises(ValueError, match=words):
        GPTConfig.from_json(json.dumps(entries))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_embd": 26}, "C=26.*H=4"),
        ({"n_kv_head": 3}, "H=4.*n_kv_head=3"),
        ({"vocab_size": 0}, "vocab_size=0"),
        ({"n_kv_head": 0}, "n_kv_head=0 must be a whole number of at least 1"),
        ({"mlp_size": 0}, "mlp_size=0 must be a whole number of at least 1"),
        ({"norm": "batchnorm"}, "unknown norm 'batchnorm'.*layernorm.*rmsnorm"),
        ({"mlp": "maxout"}, "unknown mlp 'maxout'"),
        ({"position": "alibi"}, "unknown position 'alibi'.*rope"),
        ({"init": "orthogonal"}, "'orthogonal'"),
        ({"convolution": -1}, "convolution=-1 must be a whole number of at least 0"),
        ({"dropout": 1.0}, r"dropout=1\.0 must lie in \[0, 1\)"),
        ({"dropout": -0.1}, r"dropout=-0\.1"),
        ({"rope_theta": 0}, "rope_theta=0 must be above 0: 10000"),
    ],
)
def test_an_impossible_configuration_is_refused_with_what_disagrees(changes, words):
    with pytest.raises(ValueError, match=words):
        GPTConfig(**{"vocab_size": 50, "context": 16, "n_head": 4, "n_embd": 24} | changes)


@pytest.mark.parametrize("changes", [{"factor": 0.5}, {"low": 4.0}, {"low": 0.0}, {"context": 0}])
def test_an_impossible_scaling_is_refused(changes):
    with pytest.raises(ValueError, match="0 < low < high"):
        RopeScaling(**{"factor": 8.0} | changes)


@pytest.mark.parametrize("mlp", ["gelu", "swiglu"])
def test_the_mlps_biases_are_like_the_others_unless_said_otherwise(mlp):
    for bias, mlp_bias, expected in ((True, None, True), (True, False, False), (False, True, True)):
        model = small(mlp=mlp, bias=bias, mlp_bias=mlp_bias)
        assert (model.blocks[0].mlp.down.bias is not None) == expected
        assert (model.blocks[0].attention.key.bias is not None) == bias


def test_on_the_meta_device_a_model_is_its_shapes():
    with torch.device("meta"):
        model = small(position="rope")
    assert model.head.weight.is_meta and all(buffer.is_meta for buffer in model.buffers())
    assert model.count_parameters() == small(position="rope").count_parameters()


def test_an_unknown_size_of_gpt2_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"124M.*1558M"):
        GPTConfig.gpt2("117M")


def test_a_sequence_longer_than_the_context_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match=r"T=17 tokens do not fit the context of 16: pass the last 16.*context=17"):
        small()(torch.zeros(1, 17, dtype=torch.long))


def test_a_token_outside_the_vocabulary_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match=r"token id 50 is outside the vocabulary \[0, 50\)"):
        small()(torch.tensor([[3, 50]]))


@pytest.mark.parametrize("changes", [{}, dict(position="rope", norm="rmsnorm", mlp="swiglu", n_kv_head=1)])
def test_no_position_sees_the_future(changes):
    """With training's random weights made large, so that a leak would be heard."""
    torch.manual_seed(2)
    model = GPT(GPTConfig(vocab_size=30, context=9, n_layer=2, n_head=2, n_embd=12, **changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    assert_causal(model, torch.randint(30, (2, 7)), vocab_size=30)


@pytest.mark.parametrize("convolution", [0, 3])
def test_a_mask_of_documents_binds_attention_but_no_convolution(convolution):
    model = small(position="rope", convolution=convolution)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    keep = documents(torch.tensor([0, 0, 0, 1, 1, 1, 1])) & causal(7)
    other = IDS.clone()
    other[:, 2] = (IDS[:, 2] + 1) % 50  # the last token of the first document
    moved = (model(IDS, keep_mask=keep)[0] - model(other, keep_mask=keep)[0])[:, 3:].abs().max() > 1e-5
    assert bool(moved) == (convolution > 0)


def test_a_loss_is_as_exact_as_its_logits():
    logits, loss = (model := small().double())(IDS[:, :-1], IDS[:, 1:])
    expected = -logits.log_softmax(-1).gather(-1, IDS[:, 1:, None]).mean()
    assert loss.dtype == torch.float64 and loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert model.bfloat16()(IDS[:, :-1], IDS[:, 1:])[1].dtype == torch.float32


def test_targets_to_ignore_cost_nothing():
    """The loss with padding is the mean over the real targets alone."""
    torch.manual_seed(3)
    model = GPT(GPTConfig(vocab_size=30, context=9, n_layer=1, n_head=2, n_embd=12)).eval()
    ids, targets = torch.randint(30, (2, 7)), torch.randint(30, (2, 7))
    targets[0, 4:] = IGNORE
    logits, loss = model(ids, targets)
    real = targets != IGNORE
    assert loss.item() == pytest.approx(-logits.log_softmax(-1)[real, targets[real]].mean().item(), rel=1e-5)


def test_a_configuration_needs_no_torch():
    code = "import sys, gptlab.config; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("mlp", MLPS)
def test_every_part_that_a_configuration_may_name_can_be_built(norm, position, mlp):
    model = small(norm=norm, position=position, mlp=mlp, n_layer=1)
    names = {type(part).__name__ for part in model.modules()}
    assert ("RMSNorm" in names) == (norm == "rmsnorm") != ("LayerNorm" in names)
    assert ("SwiGLU" in names) == (mlp == "swiglu") != ("MLP" in names)
    assert ("RotaryPositions" in names) == (position == "rope")
    assert model(IDS)[0].isfinite().all()


@pytest.mark.parametrize(
    ("mlp", "activation"),
    [
        ("gelu", lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5))),
        ("gelu_tanh", lambda x: 0.5 * x * (1 + torch.tanh((2 / math.pi) ** 0.5 * (x + 0.044715 * x**3)))),
        ("relu2", lambda x: x.clamp(min=0) ** 2),
    ],
)
def test_an_mlp_is_its_formula(mlp, activation):
    torch.manual_seed(0)
    part, x = MLP(GPTConfig(5, n_embd=12, mlp=mlp, mlp_size=20)), torch.randn(2, 3, 12)
    expected = activation(x @ part.up.weight.T + part.up.bias) @ part.down.weight.T + part.down.bias
    assert torch.allclose(part(x), expected, atol=1e-6)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((IDS[0],), r"ids of shape \[7\]: a model reads a batch"),
        ((IDS.float(),), "ids are torch.float32, not integers"),
        ((IDS, IDS[:, 1:]), r"targets of shape \[3, 6\] for ids of shape \[3, 7\]"),
        ((IDS, IDS.clone().fill_(-1)), r"target -1 is outside the vocabulary \[0, 50\).*IGNORE, -100"),
        ((IDS, IDS + 50), r"target \d+ is outside the vocabulary"),
    ],
)
def test_what_cannot_be_read_or_learned_is_refused_in_words(arguments, words):
    with pytest.raises(ValueError, match=words):
        small()(*arguments)


def test_ids_and_targets_of_32_bits_give_the_same_loss():
    model = small()
    assert torch.equal(model(IDS[:, :-1].int(), IDS[:, 1:].int())[1], model(IDS[:, :-1], IDS[:, 1:])[1])


def test_a_mask_for_each_sequence_is_one_for_each_sequence_also_with_as_many_heads():
    model, ids = small(n_head=3), IDS  # B = H = 3
    keep = (torch.rand(3, 7, 7, generator=torch.Generator().manual_seed(0)) > 0.5) | torch.eye(7, dtype=torch.bool)
    together = model(ids, keep_mask=keep)[0]
    for b in range(3):
        assert torch.allclose(together[b], model(ids[b : b + 1], keep_mask=keep[b])[0][0], atol=1e-5)


@pytest.mark.parametrize("mlp", ["gelu", "swiglu"])
def test_weights_of_the_first_edition_are_found_by_their_old_names(mlp):
    model, other = small(mlp=mlp), small(mlp=mlp)
    names = {"mlp.down.": "mlp.output."}
    names |= {"mlp.up.": "mlp.widen."} if mlp == "gelu" else {}  # beside a gate it was called `up` already
    old = {}
    for name, value in model.state_dict().items():
        for new, first in names.items():
            name = name.replace(new, first)
        old[name] = torch.randn_like(value)
    old["head.weight"] = old["embedding.token.weight"]
    assert set(old) != set(model.state_dict()) == set(current_names(old))
    other.load_state_dict(old)
    assert all(torch.equal(other.state_dict()[name], value) for name, value in current_names(old).items())
    with pytest.raises(RuntimeError, match=r"Unexpected key.*mlp\.sideways"):
        other.load_state_dict({**old, "blocks.0.mlp.sideways.weight": torch.zeros(1)})


def test_after_an_evaluation_each_module_is_in_the_mode_it_was_in_even_if_it_failed():
    model = small(dropout=0.5)
    model.blocks[0].eval()  # a frozen layer
    before = [module.training for module in model.modules()]
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    with pytest.raises(KeyError), evaluating(model):
        raise KeyError
    assert [module.training for module in model.modules()] == before and len(set(before)) == 2


def test_a_model_is_found_inside_what_was_put_around_it():
    model = small()
    ddp = torch.nn.Module()
    ddp.add_module("module", torch.compile(model))  # as DDP holds what was compiled before
    assert unwrapped(ddp) is unwrapped(torch.compile(model)) is unwrapped(model) is model
