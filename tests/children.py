"""Processes for the tests to kill: real ones, copied from one that has imported torch, so that each starts at once."""

import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

MODULES = (  # imported once, before any copy is made; torch's optimizers import the first on their way
    "torch._dynamo", "torch.distributed.fsdp", "yaml", "pytest",
    "gptlab.cluster.distributed", "gptlab.commands.train", "gptlab.runs.program", "gptlab.corpora.shards", "children",
)  # fmt: skip
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are copies of another")


def start(function, *arguments, variables=None):
    """Run `function(*arguments)` in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(MODULES))
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by the server when it starts
    process = context.Process(target=_enter, args=(variables or {}, function, arguments), daemon=True)
    process.start()
    return process


def _enter(variables, function, arguments):
    import torch

    torch.set_num_threads(1)
    for number in (
        signal.SIGINT,
        signal.SIGHUP,
    ):  # a job in the background, or under nohup, is started with them ignored
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.environ.update(variables)
    function(*arguments)


def command(arguments, log):
    """`python -m gptlab …`, with all that it says in a file."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1), os.dup2(file, 2)
    from gptlab import commands

    code = commands.run(list(map(str, arguments)))
    sys.stdout.flush()
    os._exit(code)


def together(function, *arguments, ranks=2):
    """Start the ranks of a run as torchrun would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        start(function, *arguments, variables={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(ranks)
    ]


def finish(*processes, seconds=60):
    """The exit codes of processes that end on their own."""
    end = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.1, end - time.monotonic()))
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return codes


def wait_for(condition, seconds=60):
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to this"
        time.sleep(0.001)


# -------------------------------------------------------------------------------- what the ranks do in test_distributed


def uneven():
    """Six short texts of very different lengths, and a model for them."""
    import torch

    from gptlab.batches import StoryBatches
    from gptlab.model import GPT, GPTConfig

    draw = torch.Generator().manual_seed(3)
    documents = [torch.randint(0, 29, (length,), generator=draw).tolist() for length in (1, 15, 2, 9, 1, 4, 12, 3, 5)]
    torch.manual_seed(1)
    return GPT(GPTConfig.modern(30, 16, n_layer=2, n_head=2, n_embd=12)), StoryBatches(documents, B=5, start=29)


def learn(out, sharded, changes):
    """One gradient and a short run, alone or as one rank of several; rank 0 writes down what came out."""
    import torch

    from gptlab.checkpoints.storage import on_cpu
    from gptlab.cluster.distributed import join
    from gptlab.ranks import SingleProcess, is_one_of_several
    from gptlab.train_step import add_gradients, count_targets, micro_batches
    from gptlab.training import TrainConfig, run

    def work(processes):
        config = TrainConfig(**{"steps": 5, "warmup": 1, "learning_rate": 1e-3, **changes})
        model, batches = uneven()
        parts = micro_batches(processes.own_rows(batches).batch(0), config.gradient_accumulation)
        counts = [count_targets(part) for part in parts]
        (total,) = processes.sum(sum(counts))
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        learner = processes.wrap(model)
        weights = [count / total for count in counts]
        loss = add_gradients(learner, parts, weights, scaler, lambda: torch.autocast("cpu", enabled=False), processes)
        gradients = {name: on_cpu(p.grad).tolist() for name, p in model.named_parameters()}
        found = {"loss": processes.sum(float(loss))[0], "gradients": gradients}
        model, batches = uneven()
        *_, history = run(model, batches, config, processes=processes, evaluate=lambda model: {"x": 1.0})
        found |= {"losses": history.losses, "norms": history.gradient_norms, "tokens": history.tokens}
        if processes.rank == 0:
            Path(out).write_text(json.dumps(found))

    if not is_one_of_several():
        return work(SingleProcess())
    with join("cpu", sharded) as processes:
        work(processes)


def sleep_and_never_ask(patience):
    """A run that hears SIGTERM and does not come to the place where it would ask for it."""
    from gptlab.runs.interruption import StopOnSignal

    with StopOnSignal(patience) as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)


def dies_at(place, operations):
    """Let this process end at once at one of these operations, (module, name): the one that comes after `place` others.

    For a process of its own: what is exchanged stays so.
    """
    left = [place]

    def ending(function):
        def ended(*arguments, **named):
            if left[0] == 0:
                os._exit(9)
            left[0] -= 1
            return function(*arguments, **named)

        return ended

    for module, name in operations:
        setattr(module, name, ending(getattr(module, name)))
