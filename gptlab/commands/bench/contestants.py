"""The contestants of `bench gpu`: a training step of each, from the same weights, on the same batch.

All have the same precision (autocast), the same `torch.compile` around model and loss, the same clipping and the same
fused AdamW. The first peer gets a flag that its mask is causal, because compiled it would build a tensor of it and lose
the flash kernel. The second is nanoGPT's step, rebuilt from this package's parts: one product for query, key and value,
no biases, and a table of 50,304 rows, so that the head's product has a size that suits a GPU.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F

from gptlab import gpu, huggingface
from gptlab.batches import Batch
from gptlab.fast_forms import speed_up
from gptlab.model import GPT
from gptlab.queued_steps import StepQueue
from gptlab.ranks import SingleProcess
from gptlab.runs.compiling import compile_update
from gptlab.schedule import TrainConfig
from gptlab.train_step import TrainStep


@dataclass(frozen=True)
class Size:
    """What is measured on a kind of device.

    Attributes:
        model: changes to transformers' GPT2Config.
        T: tokens in a sequence.
        batches: batch sizes.
        new: tokens to generate.
        compile: whether to use torch.compile.
        turn: steps in a turn.
    """

    model: dict
    T: int
    batches: tuple[int, ...]
    new: int
    compile: bool
    turn: int = 1


class Setting(NamedTuple):
    """Where and how all contestants compute.

    Attributes:
        device: of all.
        dtype: of the matrix products.
        size: of the model and the turns.
        B: sequences in a batch.
    """

    device: torch.device
    dtype: torch.dtype
    size: Size
    B: int


class Contestant(NamedTuple):
    """A training step of one.

    Attributes:
        step: makes so many steps, and gives the loss of the last one.
        model: that it trains.
        optimizers: of the model.
    """

    step: Callable[..., float]
    model: torch.nn.Module
    optimizers: list[torch.optim.Optimizer]


def models(size: Size, device: torch.device):
    """The peer, and ours with the same weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    none = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=None)
    theirs = GPT2LMHeadModel(GPT2Config(**(none | size.model), attn_implementation="sdpa"))
    return theirs.to(device), huggingface.load_model(theirs).to(device)


def batch(setting: Setting, vocab_size: int) -> Batch:
    """The batch of all steps, on the CPU."""
    ids = torch.randint(vocab_size, (setting.B, setting.size.T + 1), generator=torch.Generator().manual_seed(0))
    return Batch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())


def transformers(setting: Setting) -> Contestant:
    """The peer that everything is compared with."""
    theirs = _with_causal_flag(models(setting.size, setting.device)[0].train())
    ids, targets = (tensor.to(setting.device) for tensor in batch(setting, theirs.config.vocab_size))

    def loss() -> torch.Tensor:
        logits = theirs(input_ids=ids, use_cache=False).logits
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())

    return _loop(theirs, loss, setting)


def nanogpt(setting: Setting) -> Contestant:
    """nanoGPT's step: its parts, and its table with more rows than tokens."""
    config = models(setting.size, torch.device("cpu"))[1].config
    rows = -(-config.vocab_size // 64) * 64
    torch.manual_seed(0)
    model = GPT(dataclasses.replace(config, vocab_size=rows, bias=False)).to(setting.device).train()
    return _ours(speed_up(model, head=False), config.vocab_size, setting)


def plain(setting: Setting, **forms: bool | int | None) -> Contestant:
    """This package's model in the same loop as the peers, with some of the faster forms or none.

    Args:
        setting: of all contestants.
        forms: as for `speed_up`; none leaves the lesson's model.
    """
    model = models(setting.size, setting.device)[1].train()
    return _ours(speed_up(model, **forms) if forms else model, model.config.vocab_size, setting)


def whole(setting: Setting, record: bool = True) -> Contestant:
    """This package's step as `train` makes it on a GPU: all faster forms, queued, and recorded where that is possible.

    Args:
        setting: of all contestants.
        record: whether the step is recorded and replayed, where it is compiled and on CUDA.
    """
    model = models(setting.size, setting.device)[1].train()
    speed_up(model, multiple=64 if setting.device.type == "cuda" else 1)
    plan = TrainConfig(steps=10**9, learning_rate=1e-4, warmup=0, betas=(0.9, 0.999), weight_decay=0.01)
    return queued(model, plan, setting, record)


def queued(model: GPT, plan: TrainConfig, setting: Setting, record: bool = True) -> Contestant:
    """A step of any model and plan, queued; the losses of a turn are read together.

    Args:
        model: that is trained.
        plan: how.
        setting: of all contestants.
        record: as for `whole`.
    """
    train_step = TrainStep(model, plan, setting.dtype, SingleProcess())
    if setting.size.compile:
        model.compile(dynamic=False)
        compile_update(train_step)
    on_cuda = setting.device.type == "cuda"
    queue = StepQueue(train_step, gpu.Replayed if record and setting.size.compile and on_cuda else None)
    one = batch(setting, model.config.vocab_size)

    def steps(times: int = 1) -> float:
        for _ in range(times):
            queue.add(one, 0)
        results, problem = queue.read()
        if problem is not None:
            raise problem
        return results[-1].loss

    return Contestant(steps, model, train_step.optimizers)


def _ours(model: GPT, vocab_size: int, setting: Setting) -> Contestant:
    ids, targets = (tensor.to(setting.device) for tensor in batch(setting, vocab_size))

    def loss() -> torch.Tensor:
        return model(ids, targets)[1]

    return _loop(model, loss, setting)


def _loop(model, loss_of: Callable[[], torch.Tensor], setting: Setting) -> Contestant:
    """The loop of the peers: the loss is read once in a turn."""
    loss_of = torch.compile(loss_of, dynamic=False) if setting.size.compile else loss_of
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    device, dtype = setting.device, setting.dtype
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    autocast = functools.partial(torch.autocast, device.type, dtype=dtype, enabled=dtype != torch.float32)

    def steps(times: int = 1) -> float:
        for _ in range(times):
            with autocast():
                loss = loss_of()
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())  # waits for the device

    return Contestant(steps, model, [optimizer])


def peak(contestant: Contestant, device: torch.device) -> int:
    """Bytes at the peak of a step; on CUDA without what the other contestants hold meanwhile."""
    if device.type != "cuda":
        return gpu.measure_memory(contestant.step, contestant.model, contestant.optimizers).peak
    states = [
        t for each in contestant.optimizers for s in each.state.values() for t in s.values() if torch.is_tensor(t)
    ]
    own = sum(t.nbytes for t in [*contestant.model.parameters(), *contestant.model.buffers(), *states])
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    contestant.step()
    return own + torch.cuda.max_memory_allocated(device) - before


def _with_causal_flag(theirs):
    """The peer with the same SDPA and no mask tensor, which it would make as soon as it is compiled."""
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    AttentionInterface.register("sdpa_is_causal", sdpa_attention_forward)
    theirs.set_attn_implementation("sdpa_is_causal")
    return theirs
