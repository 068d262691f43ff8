"""Each fault of the break-it lab breaks what it says, and nothing else."""

import math
import random
from collections import Counter
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from gptlab.attention import watch
from gptlab.batches import IGNORE
from gptlab.exercises import predictions
from gptlab.lab.breaking import FAULTS, broken
from gptlab.masking import assert_causal
from gptlab.model import GPT, GPTConfig

CONFIG = GPTConfig(vocab_size=40, context=9, n_layer=3, n_head=2, n_embd=12)
faults = pytest.mark.parametrize("fault", FAULTS)


def made(fault, config=CONFIG):
    torch.manual_seed(5)
    return broken(config, fault).eval()


@pytest.fixture
def ids():
    return torch.randint(40, (3, 7), generator=torch.Generator().manual_seed(1))


def stirred(model):
    """Larger numbers, so that every part has an effect that can be seen."""
    torch.manual_seed(6)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return model


@faults
def test_the_numbers_at_the_start_are_those_of_the_sound_model(fault):
    torch.manual_seed(5)
    sound = GPT(CONFIG).state_dict()
    own = made(fault).state_dict()
    gone = {name for name in sound if name not in own}
    assert gone == {name for name in sound if (fault == "norm" and "norm" in name) or fault == name.split(".")[1] + "s"}
    same = all(torch.equal(own[name], sound[name]) for name in own)
    assert same == (fault != "initialisation")


@faults
def test_only_the_faults_that_change_the_computation_change_the_logits(fault, ids):
    sound, sick = stirred(made("nothing")), made(fault)
    sick.load_state_dict(sound.state_dict(), strict=False)
    with torch.no_grad():
        same = torch.allclose(sound(ids)[0], sick(ids)[0], atol=1e-4)
    assert same == (fault in ("nothing", "initialisation", "targets"))


@faults
def test_only_without_a_mask_does_the_future_leak(fault, ids):
    model = stirred(made(fault))
    if fault == "mask":
        with pytest.raises(AssertionError, match="leaks"):
            assert_causal(model, ids, vocab_size=40)
    else:
        assert_causal(model, ids, vocab_size=40)


def test_without_the_scale_the_scores_are_larger_by_the_root_of_the_head_size(ids):
    weights = {fault: watch(stirred(made(fault)), ids)[0] for fault in ("nothing", "scale")}  # [B, H, T, T]
    scores = {fault: w[:, :, -1].log() - w[:, :, -1, :1].log() for fault, w in weights.items()}  # up to a constant
    assert torch.allclose(scores["scale"], scores["nothing"] * math.sqrt(6), atol=1e-2, rtol=1e-3)


@faults
def test_only_without_the_residual_do_silent_parts_stop_the_text(fault, ids):
    model = stirred(made(fault))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".output." in name or ".down." in name:
                parameter.zero_()
        logits = model(ids)[0]
    alike = (logits - logits[:1, :1]).abs().max() < 1e-5
    assert alike == (fault == "residual")


def test_without_norms_the_head_reads_the_stream_as_it_is(ids):
    model = stirred(made("norm"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".output." in name or ".down." in name:
                parameter.zero_()
        assert torch.allclose(model(ids)[0], model.embedding(ids) @ model.embedding.token.weight.T, atol=1e-5)


@faults
def test_only_without_positions_are_equal_tokens_equal_everywhere(fault):
    logits = stirred(made(fault))(torch.full((1, 6), 3))[0]
    assert bool((logits - logits[:, :1]).abs().max() < 1e-4) == (fault == "positions")


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "rope"])
@pytest.mark.parametrize("fault", ["nothing", "positions"])
def test_without_positions_of_whatever_kind_the_order_of_the_past_is_lost(fault, position):
    model = stirred(made(fault, replace(CONFIG, n_layer=1, position=position)))  # a second layer hears who heard whom
    here, there = (model(torch.tensor([past]))[0][:, -1] for past in ([3, 7, 9], [7, 3, 9]))
    assert torch.allclose(here, there, atol=1e-4) == (fault == "positions")


def test_without_the_residual_every_other_part_works_as_before(ids):
    called = {}
    for fault in ("nothing", "residual"):
        model, called[fault] = made(fault, replace(CONFIG, position="rope", convolution=3)), Counter()
        for name, part in model.named_modules():
            part.register_forward_hook(lambda *_, name=name, fault=fault: called[fault].update([name]))
        model(ids)
    assert called["residual"] == called["nothing"] and called["nothing"]["blocks.0.dropout"] == 2


def test_one_head_is_one():
    assert watch(made("heads"), torch.zeros(1, 4, dtype=torch.long))[0].shape == (1, 1, 4, 4)


def test_numbers_that_torch_draws_by_itself_make_the_first_loss_large(ids):
    config = GPTConfig(vocab_size=40, context=9, n_layer=2, n_head=2, n_embd=64)
    sound, sick = (
        float(made(fault, config)(ids, ids.roll(-1, 1))[1].detach()) for fault in ("nothing", "initialisation")
    )
    assert abs(sound - math.log(40)) < 0.2 and sick > 2 * math.log(40)


def test_with_targets_not_shifted_the_loss_is_that_of_repeating_the_input(ids):
    model, others = made("targets"), torch.zeros_like(ids)
    logits, loss = model(ids, others)
    assert torch.isclose(loss, F.cross_entropy(logits.flatten(0, 1), ids.flatten()))
    assert model(ids)[1] is None
    others[:, 4:] = IGNORE  # what costs nothing still costs nothing
    assert torch.isclose(model(ids, others)[1], F.cross_entropy(logits[:, :4].flatten(0, 1), ids[:, :4].flatten()))


def test_an_unknown_fault_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown fault 'luck'.*'mask'"):
        broken(CONFIG, "luck")


def test_the_folded_answer_of_the_lab_is_the_lot_that_the_notebook_draws():
    faults = list(FAULTS)[1:]
    random.Random(8).shuffle(faults)
    (matching,) = [prediction for prediction in predictions() if prediction.id == "model.f"]
    assert list(matching.answer) == faults
