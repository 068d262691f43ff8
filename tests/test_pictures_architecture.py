"""The diagrams are drawn from the thing itself: what they say agrees with the model, the heads and the cache."""

import re

import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle

from gptlab import pictures
from gptlab.attention import Head, attend, split_heads
from gptlab.cache import KVCache
from gptlab.config import GPTConfig
from gptlab.llama import llama_config
from gptlab.lora import LoRALinear, add_lora
from gptlab.masking import causal
from gptlab.model import GPT
from gptlab.pictures.architecture import short

SMALL = GPTConfig(vocab_size=50, context=8, n_layer=3, n_head=2, n_embd=12)
KINDS = {
    "gpt2": SMALL,
    "llama": llama_config("8B", vocab_size=50, context=8, n_layer=2, n_head=4, n_kv_head=2, n_embd=24, mlp_size=64),
    "modern": GPTConfig(vocab_size=50, n_embd=24, convolution=3, qk_norm=True, position="rope", mlp="relu2"),
    "waves": GPTConfig(vocab_size=50, n_embd=24, position="sinusoidal", tie_weights=False),
}


def texts(picture):
    return [text.get_text() for axes in picture.axes for text in axes.texts]


@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)
def test_every_parameter_of_a_model_stands_in_one_of_its_boxes(config):
    said = pictures.describe(pictures.architecture(config))
    before, block, after = re.fullmatch(r"A GPT: (.*); \d+ blocks of (.*?); (\w+Norm, [^;]*; head.*)\.", said).groups()
    number = r"([\d.]+)(k?) parameters"
    sums = [sum(float(n) * (1000 if k else 1) for n, k in re.findall(number, part)) for part in (before, block, after)]
    exact = GPT(config).count_parameters()
    assert sums[0] + config.n_layer * sums[1] + sums[2] == pytest.approx(exact, rel=0.01)


def test_two_models_stand_side_by_side_with_what_they_differ_in():
    drawn = texts(pictures.architecture(GPTConfig.gpt2("124M"), llama_config("8B"), names=["GPT-2", "Llama 3"]))
    assert "GPT-2: 124M parameters" in drawn and "Llama 3: 8.03B parameters" in drawn
    assert drawn.count("LayerNorm") == 3 and drawn.count("RMSNorm") == 3 and "× 12" in drawn and "× 32" in drawn
    assert "MLP, gelu_tanh" in drawn and "MLP, swiglu: gate, up, down" in drawn
    assert "attention, RoPE" in drawn and any("32 heads, 8 for k and v" in text for text in drawn)


def test_a_model_is_drawn_from_its_own_configuration():
    assert pictures.describe(pictures.architecture(GPT(SMALL))) == pictures.describe(pictures.architecture(SMALL))


def test_too_many_models_are_refused():
    with pytest.raises(ValueError, match="3 models and 0 names: give one or two models"):
        pictures.architecture(SMALL, SMALL, SMALL)
    with pytest.raises(ValueError, match="2 models and 1 names"):
        pictures.architecture(SMALL, SMALL, names=["one"])


@pytest.mark.parametrize(("n", "said"), [(999, "999"), (1000, "1k"), (1_234_000, "1.23M"), (405_853_388_800, "406B")])
def test_a_count_is_said_shortly(n, said):
    assert short(n) == said


def test_heads_that_share_are_joined_to_the_head_that_the_model_gives_them():
    """In the model, query head h reads the keys of head h // group: so does its line."""
    lines = pictures.shared_heads(6, 2).axes[0].lines
    assert [line.get_xdata()[1] for line in lines] == [1.0, 1.0, 1.0, 4.0, 4.0, 4.0]
    with pytest.raises(ValueError, match=r"H = 6 heads cannot share \[4\] evenly"):
        pictures.shared_heads(6, 4)
    with pytest.raises(ValueError, match="more than the 64"):
        pictures.shared_heads(66, 1)


@pytest.mark.parametrize("keep_mask", [None, causal(5)], ids=["all", "causal"])
def test_the_steps_of_attention_show_the_numbers_of_attention(keep_mask):
    torch.manual_seed(0)
    head, x = Head(8, 4), torch.randn(5, 8)
    picture = pictures.attention_steps(head, x, list("abcde"), keep_mask)
    shown = [axes.images[0].get_array() for axes in picture.axes]
    q, k, v = head.query(x), head.key(x), head.value(x)
    weights, out = shown[5], shown[6]
    assert np.allclose(shown[1], q.detach(), atol=1e-6) and np.allclose(shown[3], v.detach(), atol=1e-6)
    assert np.allclose(weights.sum(-1), 1, atol=1e-5)
    assert np.allclose(out, attend(q, k, v, keep_mask).detach(), atol=1e-5)
    assert np.ma.masked_invalid(shown[4]).mask.sum() == (0 if keep_mask is None else 10)
    matrices = (head.query.weight.T, head.key.weight.T, head.value.weight.T)
    assert pictures.attention_steps(matrices, x, list("abcde"), keep_mask).png() == picture.png()


def test_steps_of_something_that_is_no_sequence_are_refused():
    with pytest.raises(ValueError, match=r"x has the shape \[1, 3, 8\].*take one sequence, x\[0\]"):
        pictures.attention_steps(Head(8, 4), torch.zeros(1, 3, 8))
    with pytest.raises(ValueError, match="tokens"):
        pictures.attention_steps(Head(8, 4), torch.zeros(3, 8), ["a", "b"])


def test_a_colour_holds_the_channels_that_split_heads_gives_a_head():
    cells = pictures.heads_in_channels(2, 6, 3).axes[0].patches
    x = torch.arange(6.0).expand(1, 2, 6)
    for h, channels in enumerate(split_heads(x, 3)[0, :, 0].tolist()):
        colours = {cell.get_facecolor() for cell in cells if cell.get_x() in channels}
        others = {cell.get_facecolor() for cell in cells if cell.get_x() in set(range(6)) - set(channels)}
        assert len(colours) == 1 and not colours & others, h
    with pytest.raises(ValueError, match="C = 7 channels cannot be cut into H = 3 heads"):
        pictures.heads_in_channels(2, 7, 3)
    with pytest.raises(ValueError, match="cells that can be seen"):
        pictures.heads_in_channels(21, 6, 3)
    with pytest.raises(ValueError, match="cut='rows': choose 'channels' or 'memory'"):
        pictures.heads_in_channels(2, 6, 3, cut="rows")


@pytest.mark.parametrize(
    ("cut", "made"), [("channels", lambda x: split_heads(x, 3)), ("memory", lambda x: x.view(1, 3, 5, 2))]
)
def test_each_cell_of_a_head_says_the_position_that_its_number_comes_from(cut, made):
    T, C, H, hs = 5, 6, 3, 2
    position = torch.arange(float(T))[None, :, None].expand(1, T, C).contiguous()  # [B, T, C]
    expected = made(position)[0].int().tolist()  # [H, T, hs]
    picture = pictures.heads_in_channels(T, C, H, cut=cut, positions=True, title="where from")
    axes = picture.axes[0]
    drawn = {text.get_position(): text.get_text() for text in axes.texts}
    colour = {(cell.get_x(), cell.get_y()): cell.get_facecolor() for cell in axes.patches}
    of_number, right = made(torch.arange(float(T * C)).view(1, T, C))[0].int().tolist(), C + 3
    for h in range(H):
        for t in range(T):
            for i in range(hs):
                at = right + h * (hs + 2) + i
                assert drawn[at + 0.5, -t - 0.5] == str(expected[h][t][i])
                n = of_number[h][t][i]
                assert colour[at, -t - 1] == colour[n % C, -(n // C) - 1]  # x shows where the head takes it from
    said = {
        "channels": "head 0 has channels 0 to 1, head 1 has 2 to 3",
        "memory": "head 0 has the numbers 0 to 9, from positions 0 to 1, head 1 has 10 to 19, from positions 1 to 3",
    }
    assert said[cut] in pictures.describe(picture) and pictures.describe(picture).startswith("where from: ")


def test_the_cache_in_the_picture_grows_as_the_real_one():
    model = GPT(SMALL).eval()
    cache = KVCache(model)
    held = []
    with torch.no_grad():
        for ids in ([[1, 2, 3, 4]], [[5]], [[6]]):
            held.append(cache.length)
            model(torch.tensor(ids), cache=cache)
    drawn = [text for text in texts(pictures.cache_growth(4, 2)) if ":" in text and "by position" not in text]
    assert drawn == ["prefill: 4 at once", *(f"decode: 1 new, {n} found" for n in held[1:])]
    with pytest.raises(ValueError, match="at most 24 in all"):
        pictures.cache_growth(20, 5)


def test_the_valley_is_deepest_at_the_cross_and_says_the_losses():
    picture = pictures.valley(lambda x, y: (x - 1) ** 2 + 4 * y**2, {"a": [(0, 1), (2, -1)], "b": [(0, 0)]}, "x", "y")
    cross = next(line for line in picture.axes[0].lines if line.get_marker() == "+")
    assert abs(float(cross.get_xdata()[0]) - 1) < 0.05 and abs(float(cross.get_ydata()[0])) < 0.05
    assert "a from (0, 1) to (2, -1) in 1 step, loss 5 to 5; b from (0, 0) to (0, 0) in 0 steps" in picture.alt
    for paths in ({}, {"a": []}):
        with pytest.raises(ValueError, match="at least one path"):
            pictures.valley(lambda x, y: x, paths)


def test_lora_is_drawn_with_the_shapes_and_the_counts_of_its_layer():
    layer = LoRALinear(torch.nn.Linear(40, 20), rank=4, alpha=10)
    learned = sum(p.numel() for p in layer.parameters() if p.requires_grad)
    picture = pictures.lora(layer)
    drawn = texts(picture)
    for matrix, shape in (("W", (20, 40)), ("A", (4, 40)), ("B", (20, 4))):
        rows, columns = {"W": "DC", "A": "rC", "B": "Dr"}[matrix]
        assert f"{matrix}  [{rows} = {shape[0]}, {columns} = {shape[1]}]" in drawn
    assert {"x", "[.., C = 40]", "y", "[.., D = 20]", "× 2.5", "+"} <= {*drawn}
    assert {"800 parameters, frozen", "and a bias of 20, also frozen", "160 parameters learn"} <= {*drawn}
    assert f"4 · (40 + 20) = {learned} parameters learn, 30 % as many as the 800 in W." in drawn
    assert all(text in picture.alt for text in drawn[-3:-1])
    areas = [box.get_width() * box.get_height() for box in picture.axes[0].patches if isinstance(box, Rectangle)]
    assert np.allclose(np.array(areas) / areas[0], [1, 160 / 800, 80 / 800])


def test_each_rank_and_each_layer_of_a_model_gives_its_own_picture():
    attention = add_lora(GPT(SMALL), rank=2).blocks[0].attention
    said = [pictures.lora(LoRALinear(torch.nn.Linear(12, 12, bias=False), rank=r)).alt for r in (1, 2)]
    assert said[0] != said[1] and "bias" not in said[1]
    assert "A [r = 2, C = 12], 24 parameters learn" in pictures.lora(attention.query).alt
    thin = texts(pictures.lora(LoRALinear(torch.nn.Linear(400, 400), rank=1)))
    assert "Drawn to scale, except that the thinnest sides would be thinner still." in thin  # it says where it is not


@pytest.mark.parametrize(
    "layer", [torch.nn.Linear(4, 4), add_lora(GPT(SMALL), rank=2), None], ids=lambda x: str(type(x))
)
def test_only_a_layer_with_lora_is_drawn_as_one(layer):
    kind = type(layer).__name__
    with pytest.raises(TypeError, match=rf"not a {kind}: pass LoRALinear\(linear, rank=8\), or .* from add_lora"):
        pictures.lora(layer)
