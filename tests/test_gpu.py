"""Picking a device and a precision on machines that we do not have, and on machines that lie."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from gptlab import gpu, training
from gptlab.batches import Batches
from gptlab.model import GPT, GPTConfig

NO_KERNEL = "CUDA error: no kernel image is available for execution on the device\nCompile with TORCH_USE_CUDA_DSA"


def fake_torch(
    cuda=(),
    mps=False,
    fails="",
    wrong=0.0,
    wrong_on=("cuda", "mps"),
    version="2.13.0+cu128",
    built_for: str | None = "12.8",
    wrong_in=None,
    fails_in=None,
):
    """A torch whose devices are pretended: they compute on the CPU, or fail, or answer wrongly by `wrong`.

    `cuda` lists (name, capability) of the cards. `wrong_in` and `fails_in` name a dtype that the card claims to have.
    """

    def as_tensor(data, device, dtype=torch.float32):
        kind = torch.device(device).type
        if kind in ("cuda", "mps") and (fails or dtype == fails_in):
            raise RuntimeError(fails or NO_KERNEL)
        data = data + wrong if kind in wrong_on else data
        data = data + 0.5 if kind in wrong_on and dtype == wrong_in else data
        return torch.as_tensor(data, dtype=dtype)

    def number(device):
        return device if isinstance(device, int) else torch.device(device).index or 0

    return SimpleNamespace(
        __version__=version,
        version=SimpleNamespace(cuda=built_for, hip=None),
        device=torch.device,
        float32=torch.float32,
        float16=torch.float16,
        bfloat16=torch.bfloat16,
        linspace=torch.linspace,
        as_tensor=as_tensor,
        get_num_threads=lambda: 2,
        cuda=SimpleNamespace(
            is_available=lambda: bool(cuda),
            device_count=lambda: len(cuda),
            get_device_name=lambda device: cuda[number(device)][0],
            get_device_capability=lambda device: cuda[number(device)][1],
            is_bf16_supported=lambda: True,
        ),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps)),
    )


T4, A100 = ("Tesla T4", (7, 5)), ("NVIDIA A100", (8, 0))


def test_cuda_comes_first_and_mps_never_by_itself():
    assert gpu.pick_device(torch_module=fake_torch(cuda=[A100], mps=True)) == torch.device("cuda")
    assert gpu.pick_device(torch_module=fake_torch(mps=True)) == torch.device("cpu")


def test_without_anything_the_cpu_is_picked_silently(capsys):
    assert gpu.pick_device(torch_module=fake_torch()) == torch.device("cpu")
    assert capsys.readouterr().out == ""


def test_this_machines_own_device_computes():
    device = gpu.pick_device()
    assert gpu.what_is_wrong(str(device)) == ""


@pytest.mark.parametrize("prefer", ["cpu", torch.device("cpu")])
def test_the_cpu_on_request(prefer):
    assert gpu.pick_device(prefer, torch_module=fake_torch(cuda=[A100])) == torch.device("cpu")


def test_mps_on_request_when_it_answers_like_the_cpu():
    assert gpu.pick_device("mps", torch_module=fake_torch(mps=True)) == torch.device("mps")


def test_a_second_card_on_request():
    assert gpu.pick_device("cuda:1", torch_module=fake_torch(cuda=[A100, A100])) == torch.device("cuda:1")


def test_a_card_whose_first_kernel_fails_gives_the_cpu_and_one_line(capsys):
    assert gpu.pick_device(torch_module=fake_torch(cuda=[A100], fails=NO_KERNEL)) == torch.device("cpu")
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "no kernel image" in said and "gptlab doctor" in said


@pytest.mark.parametrize("wrong", [0.1, float("nan")])
def test_mps_that_answers_wrongly_is_not_used(wrong, capsys):
    assert gpu.pick_device("mps", torch_module=fake_torch(mps=True, wrong=wrong)) == torch.device("cpu")
    assert "Using the CPU, not mps: its answer is wrong: the loss of one batch differs" in capsys.readouterr().out


@pytest.mark.parametrize("prefer", ["cuda", "mps"])
def test_what_is_asked_for_and_not_there_is_said(prefer, capsys):
    assert gpu.pick_device(prefer, torch_module=fake_torch()) == torch.device("cpu")
    assert f"Using the CPU, not {prefer}: torch finds none" in capsys.readouterr().out


def test_an_unknown_kind_of_device_is_refused():
    with pytest.raises(ValueError, match="no device 'tpu' here: pass 'cpu', 'cuda'"):
        gpu.pick_device("tpu")


def test_a_wrong_gradient_is_noticed_although_the_loss_is_right(monkeypatch):
    right = gpu.one_batch("cpu")
    answers = {"mps": [right[0], right[1] + 1], "cpu": right}
    monkeypatch.setattr("gptlab.gpu.devices.one_batch", lambda device, *_: answers[device])
    assert "the gradient of one batch differs from the CPU's by 1" in gpu.what_is_wrong("mps")


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [((7, 0), torch.float16), ((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((8, 9), torch.bfloat16),
     ((9, 0), torch.bfloat16), ((12, 0), torch.bfloat16)],
)  # fmt: skip
def test_the_capability_decides_and_not_what_the_card_says_of_itself(capability, dtype):
    lying = fake_torch(cuda=[("a card", capability)])
    assert lying.cuda.is_bf16_supported()
    assert gpu.pick_dtype("cuda", torch_module=lying) == dtype
    assert gpu.pick_dtype(torch.device("cuda"), torch_module=lying) == dtype


def test_a_t4_says_why_it_trains_in_float16(capsys):
    assert gpu.pick_dtype("cuda", torch_module=fake_torch(cuda=[T4])) == torch.float16
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "float16 with a gradient scaler on cuda" in said and "capability 7.5" in said and "emulates it" in said


def test_a_card_that_keeps_its_promise_is_used_silently(capsys):
    assert gpu.pick_dtype("cuda", torch_module=fake_torch(cuda=[A100])) == torch.bfloat16
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("lie", "words"),
    [({"wrong_in": torch.bfloat16}, "its answer is wrong"), ({"fails_in": torch.bfloat16}, "no kernel")],
)
def test_a_new_card_whose_bfloat16_is_a_lie_gets_float16_and_a_line(lie, words, capsys):
    assert gpu.pick_dtype("cuda", torch_module=fake_torch(cuda=[A100], **lie)) == torch.float16
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "Not training in bfloat16 on cuda" in said and words in said


def test_a_card_that_has_only_full_precision_gets_it(capsys):
    broken = fake_torch(cuda=[T4], fails_in=torch.float16)
    assert gpu.pick_dtype("cuda", torch_module=broken) == torch.float32
    assert "Not training in float16 on cuda: its first kernel failed" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_this_machine_computes_a_batch_in_each_precision(dtype):
    assert gpu.what_is_wrong("cpu", dtype=dtype) == ""
    loss, gradient = gpu.one_batch("cpu", dtype=dtype)
    assert loss.dtype == gradient.dtype == torch.float32


@pytest.mark.parametrize(("card", "scales"), [(T4, True), (A100, False)])
def test_the_precision_of_a_t4_is_trained_with_a_gradient_scaler(card, scales, monkeypatch):
    made = []

    class Recording(torch.amp.GradScaler):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            made.append(self)

    monkeypatch.setattr(torch.amp, "GradScaler", Recording)
    dtype = gpu.pick_dtype("cuda", torch_module=fake_torch(cuda=[card]))
    model = GPT(GPTConfig(vocab_size=3, context=6, n_layer=1, n_head=2, n_embd=12))
    plan = training.TrainConfig(steps=3, warmup=1)
    history = training.train(model, Batches([0, 1, 2] * 20, B=4, T=6), plan, progress=False, dtype=dtype)
    assert [scaler.is_enabled() for scaler in made] == [scales]
    assert len(history.losses) == 3 and all(loss > 0 for loss in history.losses)


def test_waiting_for_a_device_that_has_nothing_to_do_returns():
    gpu.synchronize("cpu")
    gpu.synchronize(gpu.pick_device())


def test_each_card_has_its_own_precision():
    both = fake_torch(cuda=[A100, T4])
    assert gpu.pick_dtype("cuda:0", torch_module=both) == torch.bfloat16
    assert gpu.pick_dtype("cuda:1", torch_module=both) == torch.float16


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_full_precision_elsewhere(device):
    assert gpu.pick_dtype(device, torch_module=fake_torch(mps=True)) == torch.float32


@pytest.mark.parametrize(
    ("capability", "dtype", "words", "asked"),
    [
        ((9, 0), torch.bfloat16, "float32 products in TF32", ["high"]),
        ((9, 0), torch.float32, "float32 products in float32", ["highest"]),
        ((7, 5), torch.float16, "", []),
    ],
)
def test_how_float32_is_multiplied_is_chosen_and_said(capability, dtype, words, asked):
    torch_module, found = fake_torch(cuda=[("a card", capability)]), []
    torch_module.set_float32_matmul_precision = found.append
    assert gpu.pick_float32("cuda", dtype, torch_module) == words
    assert found == asked
    assert gpu.pick_float32("cpu", dtype, torch_module) == "" and found == asked


COMPILED = """
import torch
from gptlab.model import GPT, GPTConfig

shape = dict(n_layer=2, n_head=2, n_embd=16)
for config in (GPTConfig(97, 32, **shape), GPTConfig.modern(97, 32, **shape)):
    torch.manual_seed(0)
    model = GPT(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    ids = torch.randint(97, (3, 12))
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)  # an error where the graph would break
    losses, gradients = [], []
    for way in (model, compiled):
        model.zero_grad()
        loss = way(ids, ids)[1]
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert abs(losses[0] - losses[1]) < 1e-5 and (gradients[0] - gradients[1]).abs().max() < 1e-5
"""


def test_the_compiler_sees_the_model_as_one_graph():
    """In a process of its own, for the compiler cannot see through the type checks of these tests."""
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
