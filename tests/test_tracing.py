"""The ledger of a forward pass says what happened: shapes, parameters, bytes, FLOPs, and which comments lie."""

import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import gptlab
from gptlab.attention import CrossAttention, MultiHeadAttention
from gptlab.lab.tracing import trace
from gptlab.model import GPT, GPTConfig


class Honest(nn.Module):
    """A reader's model whose comments are true."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(11, 6)
        self.widen = nn.Linear(6, 24)
        self.narrow = nn.Linear(24, 6)

    def forward(self, ids):
        x = self.table(ids)  # [B, T, C]
        h = torch.relu(self.widen(x))  # [B, T, C] -> [B, T, 4C]
        h = self.narrow(h)  # [B, T, C]
        return x + h


class Lying(Honest):
    """One line says what is not so."""

    def forward(self, ids):
        x = self.table(ids)  # [B, T, C]
        h = self.widen(x)  # [B, T, C]
        turned = h.transpose(1, 2)  # [B, 4C, T]
        return self.narrow(turned.transpose(1, 2))


IDS = torch.tensor([[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]])
LETTERS = dict(B=2, T=5, C=6)


def gpt(**changes):
    return GPT(GPTConfig(**(dict(vocab_size=50, context=9, n_layer=3, n_head=4, n_embd=24) | changes)))


def test_each_line_has_its_shape_in_letters_and_numbers():
    steps = trace(Honest(), IDS, letters=LETTERS).steps
    assert [step.letters for step in steps] == ["B T C", "B T 4C", "B T C", "B T C"]
    assert [step.shape for step in steps] == [(2, 5, 6), (2, 5, 24), (2, 5, 6), (2, 5, 6)]
    assert steps[1].expression == "h = torch.relu(self.widen(x))"


def test_parameters_bytes_and_flops_of_a_line_are_those_worked_out_by_hand():
    step = trace(Honest(), IDS, letters=LETTERS).steps[1]
    assert step.parameters == 6 * 24 + 24
    assert step.bytes == 2 * (2 * 5 * 24) * 4  # the product and its relu, four bytes a number
    assert step.flops == 2 * (2 * 5) * 6 * 24


def test_the_first_comment_that_lies_is_marked_and_no_other():
    ledger = trace(Lying(), IDS, letters=LETTERS)
    assert ledger.problem == "step 2: says [B, T, C] = [2, 5, 6], is [2, 5, 24]"
    assert [bool(step.problem) for step in ledger.steps] == [False, True, False, False]
    assert "✗ says [B, T, C]" in repr(ledger) and "✗ says [B, T, C]" in ledger._repr_html_()
    assert trace(Honest(), IDS, letters=LETTERS).problem is None


def test_letters_need_not_be_given_where_comments_introduce_them():
    assert trace(Honest(), IDS).steps[0].letters == "B T C"
    assert trace(Honest(), IDS).problem is None
    assert trace(Lying(), IDS).problem.startswith("step 2")  # C stays what the first line made it


def test_a_wrong_letter_is_told_from_a_wrong_order():
    def swapped(x):
        return x.transpose(0, 1)  # [B, T, C]

    assert "is [5, 2, 6]" in trace(swapped, torch.zeros(2, 5, 6), letters=LETTERS).problem


def test_of_two_shapes_the_first_is_that_of_the_first_name():
    def cut(x):
        a, b = x[:, :2], x[:, :3]  # [B, 2], [B, 3]
        b, a = x[:, :3], x[:, :2]  # [B, 2], [B, 3]
        return a, b

    steps = trace(cut, torch.zeros(5, 4), letters=dict(B=5)).steps
    assert [step.shape for step in steps[:2]] == [(5, 2), (5, 3)]
    assert [bool(step.problem) for step in steps[:2]] == [False, True]


def test_a_function_can_be_traced_and_its_own_sizes_count():
    def cut(x, H):
        B, T, C = x.shape
        return x.view(B, T, H, C // H).transpose(1, 2)  # [B, H, T, C // H]

    ledger = trace(cut, torch.zeros(2, 5, 6), 3, letters=dict(H=99))
    assert ledger.problem is None
    assert ledger.steps[-1].shape == (2, 3, 5, 2)
    assert ledger.bytes == 0  # a view makes nothing


@pytest.mark.parametrize("changes", [{}, dict(n_kv_head=2, norm="rmsnorm", position="rope", mlp="swiglu", bias=False)])
def test_no_comment_of_the_courses_own_model_lies(changes):
    assert trace(gpt(**changes), IDS).problem is None
    assert trace(GPT(GPTConfig.modern(50, 9, n_layer=2, n_head=4, n_embd=24)), IDS).problem is None
    assert trace(MultiHeadAttention(C=12, H=3), torch.zeros(2, 5, 12)).problem is None
    assert trace(CrossAttention(C=12, H=3), torch.zeros(2, 5, 12), torch.zeros(2, 7, 12)).problem is None


def test_flops_and_parameters_in_all_are_those_of_the_model():
    model = gpt()
    ledger = trace(model, IDS)
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        model(IDS)
    assert ledger.flops == counter.get_total_flops() > 0
    assert ledger.parameters == model.count_parameters()
    tied = model.embedding.token.weight.numel()  # read twice, by the first line and by the last
    assert sum(step.parameters * step.times for step in ledger.steps) - tied == ledger.parameters


def test_equal_layers_are_written_once_with_how_many_they_are():
    steps = trace(gpt(), IDS).steps
    assert {step.times for step in steps if step.module.startswith("blocks.0")} == {3}
    assert not any(step.module.startswith("blocks.1") for step in steps)


def test_the_traced_model_gives_what_it_gives_untraced_and_draws_no_random_numbers():
    model = gpt(dropout=0.2)
    torch.manual_seed(3)
    plain = model(IDS)[0]
    torch.manual_seed(3)
    traced = trace(model, IDS).output[0]
    assert torch.allclose(plain, traced, atol=1e-6)
    assert torch.allclose(model(IDS)[0], plain, atol=1e-6)  # the generator stands where it stood before the trace


def test_a_chain_of_torchs_own_layers_gets_a_row_for_each():
    chain = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5))
    ledger = trace(chain, torch.zeros(2, 7, 3), letters=dict(B=2, T=7))
    assert [step.expression.partition("(")[0] for step in ledger.steps] == ["Linear", "ReLU", "Linear"]
    assert [step.letters for step in ledger.steps] == ["B T 4", "B T 4", "B T 5"]


def test_a_layer_that_holds_others_stays_on_one_line():
    chain = nn.Sequential(nn.Linear(3, 8), nn.TransformerEncoderLayer(8, 2, batch_first=True).eval())
    ledger = trace(chain, torch.zeros(2, 7, 3))
    assert any(step.expression.startswith("TransformerEncoderLayer( (self_attn): Multi") for step in ledger.steps)
    assert len(repr(ledger).splitlines()) == len(ledger.steps) + 4


def test_a_model_that_fails_ends_the_ledger_with_the_line_and_the_reason():
    class Broken(Honest):
        def forward(self, ids):
            x = self.table(ids)  # [B, T, C]
            return self.narrow(x)

    ledger = trace(Broken(), IDS, letters=LETTERS)
    assert ledger.steps[-1].expression == "return self.narrow(x)"
    assert "stopped here with RuntimeError: mat1 and mat2 shapes cannot be multiplied" in ledger.problem
    assert ledger.output is None


def test_a_statement_over_several_lines_is_one_row_and_a_loop_gives_one_for_each_turn():
    def looped(x):
        for _ in range(3):
            x = F.softmax(
                x @ x.transpose(-2, -1),
                dim=-1,
            )  # [B, T, T]
        return x

    steps = trace(looped, torch.randn(2, 5, 5), letters=dict(B=2, T=5)).steps
    assert [step.expression for step in steps] == ["x = F.softmax(x @ x.transpose(-2, -1), dim=-1,)"] * 3


def test_a_debugger_gets_its_place_back():
    def watcher(frame, event, argument):
        return None

    before = sys.gettrace()
    sys.settrace(watcher)
    try:
        trace(Honest(), IDS)
        after = sys.gettrace()
    finally:
        sys.settrace(before)
    assert after is watcher


def test_the_table_in_a_notebook_is_complete_and_safe():
    def compare(x):
        return (x < 3).float()

    page = trace(compare, torch.zeros(2, 3))._repr_html_()
    assert "x &lt; 3" in page and "<script" not in page and "http" not in page
    assert gptlab.trace is trace
