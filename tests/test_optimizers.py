"""The optimizers: which weight goes where, what decays, and Muon against the library's."""

import pytest
import torch
from torch import nn

from gptlab.embedding import BigramLanguageModel
from gptlab.model import GPT, GPTConfig
from gptlab.optimizers import Muon, make_optimizers, orthogonalize
from gptlab.schedule import TrainConfig


def small_model() -> GPT:
    torch.manual_seed(1)
    return GPT(GPTConfig.modern(30, 16, n_layer=2, n_head=2, n_embd=12))


def group_of(optimizers: list, parameter: nn.Parameter) -> dict:
    """The settings with which a parameter is updated."""
    (found,) = [group for o in optimizers for group in o.param_groups if any(p is parameter for p in group["params"])]
    return found


def test_muon_gets_the_matrices_inside_the_blocks_and_nothing_else():
    model = small_model()
    adamw, muon = make_optimizers(model, TrainConfig(optimizer="muon"))
    names = {id(p): name for name, p in model.named_parameters()}
    matrices = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    others = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert matrices | others == set(names.values()) and not matrices & others
    assert "blocks.0.mlp.up.weight" in matrices and "blocks.1.attention.query.weight" in matrices
    assert {"embedding.token.weight", "blocks.0.convolution.weight", "blocks.0.norm1.weight"} <= others


def test_our_muon_is_the_librarys_up_to_its_bfloat16():
    shapes = [(8, 8), (8, 8), (8, 32), (32, 8), (12, 5)]
    draw = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=draw) for shape in shapes]
    ours, theirs = ([nn.Parameter(p.clone()) for p in start] for _ in range(2))
    optimizers = Muon(ours, lr=0.1, weight_decay=0.2), torch.optim.Muon(theirs, lr=0.1, weight_decay=0.2)
    for _ in range(4):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=draw)
            b.grad = a.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for a, b, before in zip(ours, theirs, start, strict=True):
        assert (a - b).norm() < 0.03 * (b - before).norm()


def test_orthogonalised_matrices_keep_their_directions_and_lose_their_sizes():
    matrices = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    sizes = torch.linalg.svdvals(orthogonalize(matrices))
    assert sizes.min() > 0.5 and sizes.max() < 1.3
    u, _, v = torch.linalg.svd(matrices[0], full_matrices=False)
    turned = u.T @ orthogonalize(matrices)[0] @ v.T
    assert (turned - torch.diag(turned.diag())).abs().max() < 1e-4


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("config", [GPTConfig(30, 16, n_layer=1, n_head=2, n_embd=12), GPTConfig.modern(30, 16)])
def test_matrices_and_tables_decay_and_biases_and_norms_never(optimizer, config):
    model = GPT(config)
    optimizers = make_optimizers(model, TrainConfig(optimizer=optimizer, weight_decay=0.3))
    for name, parameter in model.named_parameters():
        expected = 0.0 if name.endswith("bias") or "norm" in name else 0.3
        assert group_of(optimizers, parameter)["weight_decay"] == expected, name


def test_a_step_without_a_gradient_shrinks_what_decays_and_nothing_else():
    model = GPT(GPTConfig(30, 16, n_layer=1, n_head=2, n_embd=12))
    (adamw,) = make_optimizers(model, TrainConfig(learning_rate=0.1, weight_decay=0.5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    adamw.step()
    for name, parameter in model.named_parameters():
        expected = 1.0 if name.endswith("bias") or "norm" in name else 0.95
        assert parameter.detach().unique().tolist() == pytest.approx([expected]), name


def test_the_settings_reach_the_optimizers():
    how = TrainConfig(optimizer="muon", learning_rate=0.5, muon_lr=0.25, betas=(0.7, 0.8), weight_decay=0.1)
    adamw, muon = make_optimizers(small_model(), how)
    assert {(group["lr"], group["betas"]) for group in adamw.param_groups} == {(0.5, (0.7, 0.8))}
    assert [(group["lr"], group["weight_decay"]) for group in muon.param_groups] == [(0.25, 0.1)]


def test_the_betas_decide_what_adamw_does():
    ends = []
    for betas in ((0.9, 0.95), (0.0, 0.0)):
        torch.manual_seed(0)
        model = BigramLanguageModel(V=5)
        (adamw,) = make_optimizers(model, TrainConfig(betas=betas))
        for sign in (1.0, -1.0):
            for parameter in model.parameters():
                parameter.grad = torch.full_like(parameter, sign)
            adamw.step()
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert not torch.allclose(ends[0], ends[1])


def test_frozen_weights_belong_to_no_optimizer():
    model = small_model()
    model.embedding.requires_grad_(False)
    model.blocks[0].requires_grad_(False)
    taken = {
        id(p)
        for o in make_optimizers(model, TrainConfig(optimizer="muon"))
        for g in o.param_groups
        for p in g["params"]
    }
    assert taken == {id(p) for p in model.parameters() if p.requires_grad}
