"""Decoding at fixed shapes gives what decoding gives: the step that a CUDA graph repeats is right."""

import contextlib

import pytest
import torch

from gptlab import gpu, sampling
from gptlab.gpu.graphs import GraphedDecoder
from gptlab.model import GPT, GPTConfig

VARIANTS = [
    {},
    {"position": "sinusoidal"},
    {"norm": "rmsnorm", "position": "rope", "mlp": "swiglu", "n_kv_head": 2, "bias": False},
    {"position": "rope", "qk_norm": True, "convolution": 3, "mlp": "relu2"},
]


def model(**changes):
    torch.manual_seed(4)
    made = GPT(GPTConfig(**(dict(vocab_size=40, context=24, n_layer=2, n_head=4, n_embd=24) | changes))).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)  # large enough that no two tokens are nearly as good
    return made


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("T", [1, 5])
@torch.no_grad()
def test_each_step_gives_the_logits_of_a_full_pass(changes, T):
    made = model(**changes)
    ids = torch.randint(40, (3, T), generator=torch.Generator().manual_seed(T))
    decoder = GraphedDecoder(made, ids, max_length=14)
    text = ids
    for _ in range(8):
        text = torch.cat((text, decoder.token), dim=1)
        assert torch.allclose(decoder.step(), made(text)[0][:, -1], atol=1e-4)


@pytest.mark.parametrize("changes", VARIANTS)
def test_the_text_is_that_of_generate(changes):
    made, ids = model(**changes), torch.tensor([[3, 1, 4], [1, 5, 9]])
    assert GraphedDecoder(made, ids).generate(20).tolist() == sampling.generate(made, ids, 20, temperature=0).tolist()


def test_memory_that_was_never_written_cannot_spoil_the_answer(monkeypatch):
    """What is hidden by the mask has weight 0, and 0 × NaN is NaN: so it must be cleared."""
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda self, *size: torch.full(size, torch.nan))
    made = model()
    assert GraphedDecoder(made, torch.tensor([[3, 1, 4]])).step().isfinite().all()


def test_too_many_tokens_are_refused_with_both_numbers():
    with pytest.raises(ValueError, match="a prompt of 6 tokens fills the cache of 6"):
        GraphedDecoder(model(), torch.zeros(1, 6, dtype=torch.long), max_length=6)
    with pytest.raises(ValueError, match=r"3 \+ 22 tokens do not fit max_length=24"):
        GraphedDecoder(model(), torch.zeros(1, 3, dtype=torch.long)).generate(22)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph needs CUDA")
@pytest.mark.parametrize("changes", VARIANTS)
def test_the_recorded_graph_gives_the_same_text(changes):
    made, ids = model(**changes).cuda(), torch.tensor([[3, 1, 4], [1, 5, 9]]).cuda()
    assert GraphedDecoder(made, ids).generate(20).tolist() == sampling.generate(made, ids, 20, temperature=0).tolist()


# ── Any work, recorded: with a stand-in for CUDA ─────────────────────────────────────────────────────────────────────


class FakeCuda:
    """CUDA as `Replayed` sees it: it writes down what it is asked, and a recording computes nothing."""

    def __init__(self, broken: bool = False):
        self.asked, self.broken, self.recording = [], broken, False
        outer = self

        class Stream:
            def wait_stream(self, other):
                outer.asked.append("wait")

        class CUDAGraph:
            def replay(self):
                outer.asked.append("replay")
                self.work()

        self.Stream, self.CUDAGraph, self.current_stream = Stream, CUDAGraph, Stream

    @contextlib.contextmanager
    def stream(self, stream):
        self.asked.append("aside")
        yield

    @contextlib.contextmanager
    def graph(self, graph):
        self.asked.append("record")
        if self.broken:
            raise RuntimeError("operation not permitted\nmore")
        self.recording = True
        yield
        self.recording = False


def test_work_runs_as_it_is_first_then_is_recorded_once_and_replayed():
    cuda, done = FakeCuda(), []

    def work():
        if not cuda.recording:
            done.append(1)

    cuda.CUDAGraph.work = staticmethod(work)
    replayed = gpu.Replayed(work, cuda=cuda)
    for calls in range(1, 8):
        replayed()
        assert len(done) == calls  # each call does the work once, also the one that records it
    assert cuda.asked == ["wait", "aside", "wait"] * 3 + ["record"] + ["replay"] * 4


def test_work_that_cannot_be_recorded_goes_on_as_it_is_and_says_so_once():
    cuda, done, said = FakeCuda(broken=True), [], []
    replayed = gpu.Replayed(lambda: done.append(1), said.append, warmup=1, cuda=cuda)
    for _ in range(4):
        replayed()
    assert len(done) == 4 and cuda.asked.count("record") == 1
    assert said == [
        "the step cannot be recorded as a CUDA graph, so it is told kernel by kernel (operation not permitted)"
    ]
