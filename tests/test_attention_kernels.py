"""Which attention kernel is chosen: the one that was measured as fastest among those that work."""

import pytest
import torch
import torch.nn.functional as F

from gptlab.gpu import attention_kernels
from gptlab.gpu.attention_kernels import KERNELS, attention_kernel, attention_seconds, pick_attention

SHAPE = dict(B=2, H=2, T=8, hs=4, dtype=torch.float32)


class Card:
    """Attention on a pretended card: kernels with the seconds that they take; those without do not exist there."""

    def __init__(self, monkeypatch, seconds):
        self.seconds, self.now = seconds, None
        outer, real = self, F.scaled_dot_product_attention

        class Kernel:
            def __init__(self, kernel, **_):
                self.kernel = kernel

            def __enter__(self):
                outer.now = next(name for name, kernel in KERNELS.items() if kernel == self.kernel)

            def __exit__(self, *_):
                outer.now = None

        def attention(q, k, v, **options):
            if outer.now not in outer.seconds:
                raise RuntimeError("No available kernel. Aborting execution.")
            return real(q, k, v, **options)

        monkeypatch.setattr(attention_kernels, "sdpa_kernel", Kernel)
        monkeypatch.setattr(F, "scaled_dot_product_attention", attention)

    def time(self, work, device):
        work()
        return self.seconds[self.now]


@pytest.mark.parametrize(
    ("seconds", "fastest"),
    [
        ({"flash": 2.0, "cudnn": 1.0, "efficient": 3.0}, "cudnn"),
        ({"flash": 1.0, "cudnn": 2.0, "efficient": 3.0}, "flash"),
        ({"efficient": 3.0}, "efficient"),
        ({}, ""),
    ],
)
def test_the_fastest_of_those_that_work_is_chosen(monkeypatch, seconds, fastest):
    card = Card(monkeypatch, seconds)
    assert attention_seconds("cpu", **SHAPE, time=card.time) == seconds
    monkeypatch.setattr(
        attention_kernels, "attention_seconds", lambda *_: attention_seconds("cpu", **SHAPE, time=card.time)
    )
    assert pick_attention("cuda", **SHAPE) == fastest


def test_a_cpu_is_not_measured(monkeypatch):
    monkeypatch.setattr(attention_kernels, "attention_seconds", lambda *_: pytest.fail("measured"))
    assert pick_attention("cpu", **SHAPE) == ""


@pytest.mark.parametrize("name", ["", *KERNELS])
def test_inside_the_choice_attention_still_works_where_the_kernel_does_not_fit(name):
    q = torch.randn(2, 2, 8, 4)
    expected = F.scaled_dot_product_attention(q, q, q, is_causal=True)
    with attention_kernel(name):  # of these a CPU has one: another takes its place
        assert torch.allclose(F.scaled_dot_product_attention(q, q, q, is_causal=True), expected, atol=1e-6)


def test_an_unknown_kernel_is_refused():
    with pytest.raises(ValueError, match=r"unknown attention kernel 'fast': choose one of \['flash', 'cudnn', 'eff"):
        attention_kernel("fast")
