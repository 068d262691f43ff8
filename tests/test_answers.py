"""The right answers of predictions and quizzes, computed: a wrong letter or a number off by one would teach a mistake.

A tolerance is for the reader's guess. Here the answer itself must be right, so it is compared without one.
"""

import math

import pytest
import torch

from gptlab import masking, model, sampling, segmentation
from gptlab.batches import Batches
from gptlab.cache import cache_bytes
from gptlab.config import GPTConfig
from gptlab.exercises import registry
from gptlab.next_token import probabilities
from gptlab.parts import rope_angles, rotate
from gptlab.tokens import CharTokenizer

LLAMA_8B = GPTConfig(
    128_256, context=8192, n_layer=32, n_head=32, n_kv_head=8, n_embd=4096, mlp_size=14_336, norm="rmsnorm",
    position="rope", mlp="swiglu", bias=False, tie_weights=False,
)  # fmt: skip
EVERY_PIECE = {"abcde"[i:j]: -1.0 for i in range(5) for j in range(i + 1, 6)}
VIEWED = torch.arange(10)
TABLE = torch.arange(12.0).view(4, 3)
VIEWED.view(2, 5)[0, 0] = 99


def rows_with_a_gradient() -> int:
    table = torch.nn.Embedding(7, 4)
    table(torch.tensor([[3, 1, 3], [1, 1, 4]])).sum().backward()
    return int((table.weight.grad != 0).any(-1).sum())


def scale_free(norm: torch.nn.Module, factor: float) -> bool:
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    return torch.allclose(norm(x), norm(factor * x), atol=1e-5)


def memory_for_backward(T: int) -> int:
    """Bytes that attention in plain operations stores, for 4 heads of 16."""
    stored = []
    q = torch.randn(4, T, 16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: stored.append(t.numel()) or t, lambda t: t):
        (q @ q.transpose(-2, -1)).masked_fill(~masking.causal(T), -torch.inf).softmax(-1) @ q
    return sum(stored)


def greedy() -> list[int]:
    torch.manual_seed(0)
    tiny = model.GPT(GPTConfig(9, context=8, n_layer=1, n_head=1, n_embd=4))
    return sampling.generate(tiny, torch.tensor([[0]]), 5, temperature=0)[0].tolist()


NUMBERS = {
    "tokens.a": lambda: len("fünf".encode()),
    "bpe.a": lambda: sum("aaabdaaabac"[i : i + 2] == "aa" for i in range(10)),
    "bpe.c": lambda: len(("ab" * 40 + "c" * 920).replace("ab", "X")),
    "unigram.a": lambda: len(list(segmentation.segmentations("abcde", EVERY_PIECE))),
    "batches.a": lambda: torch.zeros(2, 5, 3).mean(dim=1).shape,
    "batches.b": lambda: (torch.zeros(2, 1, 3) + torch.zeros(5, 1)).shape,
    "batches.d": lambda: (torch.zeros(2, 5, 3) @ torch.zeros(2, 4, 3).transpose(-2, -1)).shape,
    "batches.f": lambda: (Batches(list(range(14)), B=1, T=13, order="ordered").batch(0).targets >= 0).sum(),
    "embedding.a": lambda: torch.zeros(7, 4)[torch.zeros(2, 3, dtype=torch.long)].shape,
    "embedding.b": rows_with_a_gradient,
    "embedding.d": lambda: math.log(859),
    "attention.b": lambda: (torch.zeros(2, 7, 4) @ torch.zeros(2, 7, 4).transpose(-2, -1)).shape,
    "attention.c": lambda: 64 * 1 * 1,  # variances of independent products add up
    "masking.b": lambda: masking.sliding(6, 3).sum(),
    "masking.c": lambda: (masking.causal(5) & masking.padding(torch.tensor([5, 3, 1]), 5)).shape,
    "masking.f": lambda: 131_072**2,
    "model.a": lambda: 1.5**12,
    "model.d": lambda: math.log(859),
    "training.a": lambda: math.log(65),
    "sampling.a": lambda: len({tuple(greedy()) for _ in range(20)}),
    "sampling.b": lambda: (lambda p: p[1] / p[0])(probabilities(torch.tensor([0.0, math.log(4)]), temperature=0.5)),
    "sampling.c": lambda: (probabilities(torch.tensor([0.5, 0.3, 0.15, 0.05]).log(), top_p=0.7) > 0).sum(),
    "sampling.e": lambda: 20 + 100 - 1,  # the last token isn't read by anybody
    "llama.d": lambda: 2 * 4 * 192 // 3,
    "llama.e": lambda: 64 / 8,
    "backpropagation.a": lambda: 2 * 3 + 1,
    "backpropagation.b": lambda: 1 / 4 - 1,
    "finetuning.b": lambda: 100 + 1,
    "reinforcement.d": lambda: 100 * (1 - 0.96**8 - 0.04**8),
    "gpu.a": lambda: torch.tensor(256.0, dtype=torch.bfloat16) + 1,
    "gpu.e": lambda: (1 / 2 / 3) / (1 / 2 / 30),
}
ROUNDED = {"embedding.d": 0.005, "training.a": 0.005, "reinforcement.d": 0.2}  # said rounded


@pytest.mark.parametrize("prediction", [p for p in registry.predictions() if p.kind in ("number", "shape")], ids=str)
def test_the_number_of_a_prediction_is_right(prediction):
    if prediction.answer is None:
        return  # measured in the notebook
    truth = NUMBERS[prediction.id]()
    if prediction.kind == "shape":
        assert tuple(truth) == prediction.answer
    else:
        assert float(truth) == pytest.approx(prediction.answer, rel=1e-6, abs=ROUNDED.get(prediction.id, 0))


def rotated_product(start: int) -> float:
    """Of a query at position 5 and a key at position 2, both moved by `start`."""
    q, k = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(1))
    angles = rope_angles(8, 200)
    return float((rotate(q, angles[start + 5, None]) * rotate(k, angles[start + 2, None])).sum())


CHOICES = {  # of each prediction or question: a piece of the right choice, found by computing
    "batches.c": lambda: str(int(VIEWED[0])),
    "unigram.c": lambda: "all together" if math.log(0.5 + 0.3) > math.log(0.5) else "the best",
    "embedding.e": lambda: "the same number" if torch.equal(TABLE @ TABLE.T, (TABLE @ TABLE.T).T) else "minus",
    "attention.a": lambda: "0 and 0" if not (torch.ones(5, 5).tril()[2, -2:]).any() else "1/5",
    "masking.d": lambda: "NaN" if torch.full((3,), -torch.inf).softmax(0).isnan().all() else "zeros",
    "model.b": lambda: "the same" if scale_free(torch.nn.LayerNorm(8, eps=0), 100) else "hundred",
    "model.e": lambda: max(gpt2_parts(), key=gpt2_parts().get),
    "llama.a": lambda: "the same result" if scale_free(torch.nn.RMSNorm(8, eps=0.0), 10) else "ten times",
    "llama.b": lambda: "the same" if abs(rotated_product(0) - rotated_product(100)) < 1e-4 else "another number",
    "llama.f": lambda: "about 13 %" if 12.5 < 100 * 2 * 128_256 * 4096 / llama_parameters() < 13.5 else "?",
    "sampling.f": lambda: "1 GB" if cache_bytes(LLAMA_8B, 8192, width=2) == 2**30 else "?",
    "gpu.b": lambda: "twice" if intensity(2048) == 2 * intensity(1024) else "?",
    "gpu.c": lambda: "nearly four" if 3.5 < memory_for_backward(512) / memory_for_backward(256) < 4 else "?",
    ("bpe", 1): lambda: "0 to V - 1" if sorted(CharTokenizer.from_text("abc").encode("abc")) == [0, 1, 2] else "?",
    ("attention", 3): lambda: str(list((torch.zeros(3, 5, 2) @ torch.zeros(3, 2, 4)).shape)),
    ("masking", 3): lambda: str(torch.zeros(1, 8).numel()),
    ("gpu", 2): lambda: "four times" if masking.causal(16).numel() == 4 * masking.causal(8).numel() else "?",
}


def gpt2_parts() -> dict[str, int]:
    with torch.device("meta"):
        gpt2 = model.GPT(GPTConfig.gpt2())
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    return {
        "the table of tokens": gpt2.embedding.token.weight.numel(),
        "attention": sum(count(block.attention) for block in gpt2.blocks),
        "the MLPs": sum(count(block.mlp) for block in gpt2.blocks),
    }


def llama_parameters() -> int:
    with torch.device("meta"):
        return model.GPT(LLAMA_8B).count_parameters()


def intensity(n: int) -> float:
    """FLOPs for each byte of a product of two n × n matrices in float32: 2 n³, and three matrices travel."""
    return 2 * n**3 / (3 * n * n * 4)


@pytest.mark.parametrize("place", CHOICES, ids=str)
def test_the_letter_of_a_choice_is_that_of_what_is_true(place):
    if isinstance(place, tuple):
        asked = registry.questions(place[0])[place[1] - 1]
    else:
        (asked,) = (p for p in registry.predictions() if p.id == place)
    right = [letter for letter, choice in zip("abcd", asked.choices, strict=False) if CHOICES[place]() in choice]
    assert right == [asked.answer]
