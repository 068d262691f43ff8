"""`python -m gptlab train`: train a GPT on a text, on one process or, started by torchrun, on several."""

import contextlib
import dataclasses
import difflib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from gptlab.commands import environment

if TYPE_CHECKING:
    from gptlab.gpu import Prepared, Recipe

CONFIG = "config.yaml"  # beside the checkpoints: everything that this run was told
_MODEL = ("n_layer", "n_head", "n_kv_head", "n_embd", "context", "dropout")


@dataclass(frozen=True)
class Options:
    """What the command line says; None leaves a setting as the recipe, or the config.yaml, has it.

    Attributes:
        recipe: which settings to begin with: fables (unless you choose another), shakespeare, shakespeare-gpu,
            nanogpt-cpu, nanogpt-gpu.
        config: settings to begin with instead, the config.yaml of another run or your own.
        folder: where to keep checkpoints and config.yaml; runs/ and the name of the recipe, unless you choose another.
        resume: go on from the last checkpoint in the folder, exactly as if nothing had stopped.
        export: where to keep the finished model with its tokenizer, e.g. data/models/mine.
        record: a file to keep the finished run in as a record, with the device, the day and the commit; of a run that
            was not resumed.
        tensorboard: write curves for TensorBoard into the folder, too.
        device: cpu, cuda or mps; without it CUDA where it works, else the CPU.
        dtype: of the matrix products; without it what suits the device. float16 brings a gradient scaler.
        compile: let torch.compile make kernels for this model; where that fails, the run goes on without.
        parallel: with torchrun, what the processes share: data (DDP), or also the weights, sharded (FSDP2).
        verify: read all shards once and compare their SHA-256, before training on them.
        corpus: "fables", "shakespeare", "pydocs", a text file, or a folder that `gptlab prepare` has made.
        tokens: "characters", or "bpe"; shards have their own.
        vocab_size: of "bpe".
        batch_size: sequences in a batch, of all processes together.
        seed: of the weights and of the order of the batches.
        n_layer: blocks.
        n_head: heads; n_embd must be divisible by it.
        n_kv_head: heads of keys and values.
        n_embd: channels.
        context: the longest sequence, in tokens.
        dropout: part of the numbers that are left out at random.
        steps: batches to learn from.
        optimizer: adamw, or muon for the matrices inside the blocks.
        learning_rate: the highest rate of AdamW.
        matrix_rate: the highest rate of Muon.
        warmup: steps in which the rate grows from 0.
        decay: the last part of the run, 0 to 1, in which it falls.
        shape: of that fall.
        final: the rate at the end, as a part of the highest.
        betas: of AdamW.
        weight_decay: of AdamW.
        clip: the longest gradient that is taken as it is; inf cuts none.
        accumulate: parts that a batch is cut into, one after the other: the same update, in less memory.
        checkpointing: compute the inside of each block again on the way back: less memory, a third more work.
        evaluate_every: steps between two evaluations; 0 for only at the end.
        save_every: steps between two checkpoints.
        keep: how many checkpoints to keep.
    """

    recipe: tyro.conf.Positional[str | None] = None
    config: Path | None = None
    folder: Path | None = None
    resume: bool = False
    export: Path | None = None
    record: Path | None = None
    tensorboard: bool = False
    device: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    compile: bool | None = None
    parallel: Literal["data", "sharded"] = "data"
    verify: bool = True
    # what is trained
    corpus: str | None = None
    tokens: Literal["characters", "bpe"] | None = None
    vocab_size: int | None = None
    batch_size: int | None = None
    seed: int | None = None
    n_layer: int | None = None
    n_head: int | None = None
    n_kv_head: int | None = None
    n_embd: int | None = None
    context: int | None = None
    dropout: float | None = None
    # and how
    steps: int | None = None
    optimizer: Literal["adamw", "muon"] | None = None
    learning_rate: float | None = None
    matrix_rate: float | None = None
    warmup: int | None = None
    decay: float | None = None
    shape: Literal["linear", "cosine"] | None = None
    final: float | None = None
    betas: tuple[float, float] | None = None
    weight_decay: float | None = None
    clip: float | None = None
    accumulate: int | None = None
    checkpointing: bool | None = None
    evaluate_every: int | None = None
    save_every: int | None = None
    keep: int | None = None


def train(options: Annotated[Options, tyro.conf.arg(name="")]) -> int | None:
    """Train a GPT on a text, keep checkpoints, and print its loss as it falls.

    A recipe, or a saved config.yaml, says everything; the other options change it, and what is not given stays. SIGTERM
    and Ctrl-C keep a checkpoint first; --resume goes on from it. The exit code is not 0 where a run ended early.
    """
    import torch

    from gptlab import checkpoints, training

    settings = settings_of(options)
    folder = options.folder or Path("runs") / (options.recipe or "fables")
    newest = checkpoints.latest(folder)
    if newest is not None and not options.resume:
        raise ValueError(
            f"{str(folder)!r} has a run already, up to {newest.name}: go on with `{_way_on(folder)}`, "
            "or choose another --folder, or delete this one"
        )
    if newest is not None and options.record is not None:
        raise ValueError(
            f"--record keeps what one process measured from its first step, and {str(folder)!r} has {newest.name} "
            "already: leave out --record, or record a run that was not resumed, in another --folder"
        )
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    with Stop(patience=20 if several else None) as stop:
        try:
            return _train(options, settings, folder, stop)
        except (training.NonFiniteLoss, checkpoints.CheckpointError, ConnectionError) as error:
            if isinstance(error, checkpoints.CheckpointError) and not stop.begun:
                raise  # it says what to do
            print(f"train: {error}\n{_where(folder)}", flush=True)
            return 1
        except torch.OutOfMemoryError as error:
            way = "use a larger --accumulate, --checkpointing True, or a smaller --batch-size"
            print(f"train: {_first_line(error)}\nTo need less, {way}. {_where(folder)}", flush=True)
            return 1


def _train(options: Options, settings: "Settings", folder: Path, stop: "Stop") -> int | None:
    """Prepare and train, together with the other processes of this run, if there are any."""
    import torch

    from gptlab import checkpoints, gpu, training
    from gptlab.files import write_whole

    recipe = settings.recipe
    if options.export is not None:  # now, not after hours
        _check_export(options.export, folder)
    going_on = options.resume and checkpoints.latest(folder) is not None
    with contextlib.ExitStack() as stack:
        ranks, place = _join(options, stack)
        say = print if ranks.rank == 0 else lambda *_, **__: None
        dtype = getattr(torch, settings.dtype) if settings.dtype else gpu.pick_dtype(place)
        prepared = gpu.prepare(recipe, place, options.verify and ranks.rank == 0)
        if going_on:
            _check_tokens(prepared.tokenizer, folder)
        elif ranks.rank == 0:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / CONFIG, to_yaml(settings))
            prepared.tokenizer.save(folder / checkpoints.TOKENIZER)
        if ranks.ranks > 1:
            torch.manual_seed(recipe.seed + 1_000_003 * ranks.rank)  # each rank drops out its own numbers
        compiled = settings.compile and _compile(prepared, ranks, recipe.training, dtype, say)
        board = stack.enter_context(_Board(folder, options.tensorboard and ranks.rank == 0))
        count = prepared.model.count_parameters()
        many = f", {ranks.ranks} processes ({options.parallel})" if ranks.ranks > 1 else ""
        say(f"{recipe.corpus}: a GPT of {count:,} parameters, {recipe.training.steps} steps on {place}, {dtype}{many}")
        running = training.run(
            prepared.model,
            prepared.batches,
            recipe.training,
            evaluate=prepared.evaluate,
            folder=folder,
            resume=options.resume,
            dtype=dtype,
            stop=stop,
            ranks=ranks,
        )
        began = time.perf_counter()
        for history in running:
            board.add(history)
            if not stop.begun:  # a resumed run, before its first step: now the settings are known to fit
                if ranks.rank == 0:
                    write_whole(folder / CONFIG, to_yaml(settings))
                say(f"going on after step {history.steps}", flush=True)
            elif history.evaluations and history.evaluations[-1]["step"] == history.steps:
                say(_line(history), flush=True)
    if history.steps < recipe.training.steps:
        say(f"stopped by {signal.Signals(stop.number).name} after step {history.steps}. {_where(folder)}", flush=True)
        return 128 + stop.number
    if options.export is not None and ranks.rank == 0:
        notes = {
            "recipe": dataclasses.asdict(recipe),
            "history": {"evaluations": history.evaluations, "seconds": history.seconds, "tokens": history.tokens},
            "minutes": round((time.perf_counter() - began) / 60, 1),
        }
        model, _ = checkpoints.load_model(folder)
        checkpoints.save_model(options.export, model, prepared.tokenizer, json.loads(json.dumps(notes)))
        say(f"kept in {options.export}")
    if options.record is not None and ranks.rank == 0:
        _record(options, options.recipe or folder.name, prepared, history, dtype, ranks.ranks, compiled)
        say(f"recorded in {options.record}")
    return None


# ── Settings: a recipe, a file, and what the command line changes ────────────────────────────────────────────────────


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a run computes; config.yaml holds it."""

    recipe: "Recipe"
    dtype: str | None = None
    compile: bool = False


def settings_of(options: Options) -> Settings:
    """The settings to begin with (a recipe, a file, or those of the run to go on with), and the options' changes.

    Raises:
        ValueError: there is no such recipe, or a file has an entry that nobody knows.
    """
    from gptlab import gpu

    own = (options.folder or Path("runs/fables")) / CONFIG
    if options.config is not None:
        settings = from_yaml(options.config)
    elif options.recipe is None and options.resume and own.is_file():
        settings = from_yaml(own)
    else:
        name = options.recipe or "fables"
        if name not in gpu.RECIPES:
            close = difflib.get_close_matches(name, gpu.RECIPES, n=1)
            guess = f"; perhaps you mean {close[0]!r}" if close else ""
            raise ValueError(f"there is no recipe {name!r}{guess}: choose one of {', '.join(gpu.RECIPES)}")
        settings = Settings(gpu.RECIPES[name])
    given = {name: value for name, value in vars(options).items() if value is not None}
    recipe = settings.recipe
    how = {field.name for field in dataclasses.fields(recipe.training)}
    changes = {name: given[name] for name in ("corpus", "tokens", "vocab_size", "seed") if name in given}
    changes |= {"B": given["batch_size"]} if "batch_size" in given else {}
    recipe = dataclasses.replace(
        recipe,
        **changes,
        model=recipe.model | {name: given[name] for name in _MODEL if name in given},
        training=dataclasses.replace(recipe.training, **{name: given[name] for name in given.keys() & how}),
    )
    return Settings(recipe, given.get("dtype", settings.dtype), given.get("compile", settings.compile))


def to_yaml(settings: Settings) -> str:
    """The settings as config.yaml holds them.

    >>> from gptlab import gpu
    >>> print(to_yaml(Settings(gpu.RECIPES["fables"])).splitlines()[1])
    corpus: fables
    """
    import yaml

    entries = dataclasses.asdict(settings.recipe) | {"dtype": settings.dtype, "compile": settings.compile}
    text = yaml.safe_dump(json.loads(json.dumps(entries)), sort_keys=False)
    return "# gptlab train --config FILE begins with these settings\n" + text


def from_yaml(path: Path) -> Settings:
    """The settings that a file holds; an entry that is left out has its default.

    Raises:
        ValueError: the file is no YAML, or has an entry that is unknown, or of another kind than it should be.
    """
    import yaml

    from gptlab.gpu import Recipe
    from gptlab.model import GPTConfig
    from gptlab.training import TrainConfig

    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(entries, dict):
        raise ValueError(f"{path} has no entries: one a line, such as `corpus: fables`")
    own = {name: entries.pop(name) for name in ("dtype", "compile") if name in entries}
    model, training = entries.pop("model", None) or {}, entries.pop("training", None) or {}
    if unknown := sorted(set(model) - {field.name for field in dataclasses.fields(GPTConfig)}):
        raise ValueError(f"{path}: model.{unknown[0]} is no setting of a model")
    training = TrainConfig(**_checked(path, "training.", training, TrainConfig()))
    return Settings(Recipe(**_checked(path, "", entries, Recipe()), model=model, training=training), **own)


_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    tuple: "a list of two numbers",
}


def _checked(path: Path, prefix: str, entries: dict[str, Any], defaults: Any) -> dict[str, Any]:
    """The entries, each of the kind that its default is. `1e-3` is a number here, though YAML takes it for a word."""
    found = {}
    for name, value in entries.items():
        if not hasattr(defaults, name):
            close = difflib.get_close_matches(name, vars(defaults), n=1)
            guess = f"; perhaps you mean {prefix}{close[0]}" if close else ""
            raise ValueError(f"{path}: nobody knows the entry {prefix}{name}{guess}")
        kind = type(getattr(defaults, name))
        try:
            if kind is tuple:
                first, second = value
                found[name] = (float(first), float(second))
            elif kind is float and not isinstance(value, bool):
                found[name] = float(value)
            elif type(value) is kind:
                found[name] = value
            else:
                raise ValueError
        except (TypeError, ValueError):
            raise ValueError(f"{path}: {prefix}{name} is {value!r}, which is not {_KINDS[kind]}") from None
    return found


# ── What a run needs ─────────────────────────────────────────────────────────────────────────────────────────────────


def _join(options: Options, stack: contextlib.ExitStack) -> tuple[Any, Any]:
    """The fellow processes, if torchrun has started any, and the device of this one."""
    from gptlab import gpu, training

    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        if options.parallel == "sharded":
            raise ValueError("--parallel sharded spreads a model over processes: start several with torchrun")
        return training.Alone(), gpu.pick_device(options.device)
    from gptlab.gpu import distributed

    wanted = (distributed.own_device() or options.device) if options.device in (None, "cuda") else options.device
    place = gpu.pick_device(wanted)
    return stack.enter_context(distributed.join(place, options.parallel == "sharded")), place


def _check_export(export: Path, folder: Path) -> None:
    """See that the finished model can be kept there."""
    from gptlab import checkpoints

    if export.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise ValueError(
            f"--export {export} would take the place of the run's own folder {str(folder)!r}: choose a new folder"
        )
    checkpoints.check_place(export)


def _check_tokens(tokenizer: Any, folder: Path) -> None:
    """See that the ids mean what they meant when the run in `folder` began."""
    from gptlab import checkpoints, tokens

    path = folder / checkpoints.TOKENIZER
    if not path.is_file():
        return
    saved = tokens.load(path)
    there, here = (json.loads(json.dumps(one.to_json())) for one in (saved, tokenizer))
    if there != here:
        raise checkpoints.CheckpointError(
            f"the run in {str(folder)!r} was made with other tokens ({saved} there, {tokenizer} here): go on with the "
            "--corpus, --tokens and --vocab-size that it began with, or choose another --folder"
        )


def _record(
    options: Options, name: str, prepared: "Prepared", history: Any, dtype: Any, processes: int, compiled: bool
) -> None:
    """Keep a finished run: its curves, its speed, and the memory that this process took."""
    from gptlab import gpu
    from gptlab.gpu import records

    config, device = prepared.model.config, prepared.model.device
    memory = records.peak_memory(device)  # before the matrices below claim some
    rate = max(gpu.matrix_rate(device, dtype, repeats=1) for _ in range(10)) * processes  # the best that was seen
    speed = history.tokens / history.seconds
    record = records.begin(f"train {name}", environment.this_command(), device)
    evaluated = [part for part in history.evaluations[-1] if part not in ("step", "seconds")]
    steady = _steady_speed(history)
    record.numbers |= {
        "parameters": prepared.model.count_parameters(),
        "steps": history.steps,
        "processes": processes,
        "compiled": int(compiled),
        "tokens": history.tokens,
        "seconds of training": history.seconds,
        "tokens/s": speed,
        f"matrix rate in {str(dtype).removeprefix('torch.')} (TFLOP/s)": rate / 1e12,
        "MFU of the measured rate": gpu.mfu(speed, config, config.context, rate),
        "peak memory (MiB)": memory / 2**20,
    }
    if steady is not None:
        of_the_rate = gpu.mfu(steady, config, config.context, rate)
        record.numbers |= {"tokens/s after the first evaluation": steady, "MFU after the first evaluation": of_the_rate}
    record.numbers |= {f"best {part}": min(entry[part] for entry in history.evaluations) for part in evaluated}
    record.tables["evaluations"] = [{k: round(value, 4) for k, value in e.items()} for e in history.evaluations]
    record.curves = {part: [[e["step"], e[part]] for e in record.tables["evaluations"]] for part in evaluated}
    record.curves["training"] = records.thinned(history.losses)
    record.axes = ["step", "loss (nats a token)"]
    records.keep(record, options.record)


def _steady_speed(history: Any) -> float | None:
    """Tokens a second between the first and the last evaluation: without what a run needs to get going."""
    if len(history.evaluations) < 2:
        return None
    first, last = history.evaluations[0], history.evaluations[-1]
    seconds = last["seconds"] - first["seconds"]
    return (last["step"] - first["step"]) * history.tokens / history.steps / seconds if seconds > 0 else None


def _compile(prepared: "Prepared", ranks: Any, config: Any, dtype: Any, say: Any) -> bool:
    """Compile the model in place, and try it as the first step will use it; whether that went well.

    Where it does not, the model is left as it was. What is compiled here is not compiled while the clock of the run
    goes, and what it took is no memory of the run.
    """
    import torch

    from gptlab import checkpoints, training

    model, device = prepared.model, prepared.model.device
    drawn, compiled = checkpoints.generator_states(device), True
    part = training.micro_batches(ranks.part(prepared.batches).batch(0), config.accumulate)[0]
    model.compile()
    try:
        with training.activation_checkpoints(model, config.checkpointing):
            with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
                loss = model(*(tensor.to(device) for tensor in part))[1]
            loss.backward()
            del loss
    except Exception as error:
        model._compiled_call_impl, compiled = None, False
        say(f"torch.compile does not work here, so the run goes on without it ({_first_line(error)})")
    model.zero_grad(set_to_none=True)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    checkpoints.restore_generators(drawn, device)
    return compiled


class Stop:
    """Becomes true when the run is asked to end: by SIGTERM, as a scheduler does, or by Ctrl-C.

    A second Ctrl-C acts at once, and so does the first signal while the run has not `begun`: nothing can be saved yet.

    Args:
        patience: seconds after SIGTERM in which the run must have asked; else the process ends. A rank that waits for
            one that has died would wait for minutes. While it is `busy`, they do not count.
    """

    def __init__(self, patience: float | int | None = None):
        self.patience, self.number, self.begun, self._asked = patience, 0, False, threading.Event()
        self._busy = False

    def __call__(self) -> bool:
        self.begun = True
        if self.number:
            self._asked.set()
        return bool(self.number)

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Inside, the run is known to be alive: it measures or saves, and asks afterwards."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def __enter__(self) -> "Stop":
        self._before: dict[int, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            return self  # signals are the main thread's
        self._before = {number: signal.signal(number, self._hear) for number in (signal.SIGTERM, signal.SIGINT)}
        if self.patience is not None:
            self._ear, self._mouth = socket.socketpair()
            self._mouth.setblocking(False)
            signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._asked.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before and self.patience is not None:
            signal.set_wakeup_fd(-1)
            self._mouth.close()

    def _hear(self, number: int, _) -> None:
        if number == signal.SIGINT and (self.number or not self.begun):
            raise KeyboardInterrupt
        if not self.begun:
            raise SystemExit(128 + number)
        self.number = number
        os.write(2, f"{signal.Signals(number).name}: the run keeps a checkpoint after this step and ends.\n".encode())

    def _watch(self) -> None:
        """In a thread, for a process that waits inside the engine hears no signal."""
        while heard := self._ear.recv(1):
            if heard[0] != signal.SIGTERM:
                continue
            left, tick = self.patience, min(0.1, self.patience)
            while left > 0 and not self._asked.wait(tick):
                left -= 0 if self._busy else tick
            if not self._asked.is_set():
                os.write(2, f"the run did not react to SIGTERM for {self.patience} s: perhaps a rank died\n".encode())
                os._exit(128 + signal.SIGTERM)


class _Board:
    """Curves for TensorBoard, if they are wanted."""

    def __init__(self, folder: Path, wanted: bool):
        self.folder, self.wanted, self.writer = folder, wanted, None

    def __enter__(self) -> "_Board":
        if self.wanted:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise ValueError(
                    "--tensorboard needs the package tensorboard, which this Python does not have: "
                    "`pip install tensorboard`, or train without it; config.yaml and the checkpoints hold all numbers"
                ) from error
            self.writer = SummaryWriter(str(self.folder / "tensorboard"))
        return self

    def add(self, history) -> None:
        if self.writer is None or not history.steps:
            return
        for name, row in (("loss", history.losses), ("rate", history.rates), ("norm", history.gradient_norms)):
            self.writer.add_scalar(f"training/{name}", row[-1], history.steps)
        if history.evaluations and history.evaluations[-1]["step"] == history.steps:
            for name, value in history.evaluations[-1].items():
                self.writer.add_scalar(f"evaluation/{name}", value, history.steps)

    def __exit__(self, *_) -> None:
        if self.writer is not None:
            self.writer.close()


# ── Words ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _way_on(folder: Path) -> str:
    return f"{environment.python_call()} train --resume --folder {folder}"


def _where(folder: Path) -> str:
    """Where a run stands that has ended early, and how to go on."""
    from gptlab import checkpoints

    newest = checkpoints.latest(folder)
    if newest is None:
        return "There is no checkpoint yet: the run begins anew."
    return f"The newest checkpoint is {newest.name}; `{_way_on(folder)}` goes on from it."


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]


def _line(history) -> str:
    numbers = {name: value for name, value in history.evaluations[-1].items() if name not in ("step", "seconds")}
    speed = history.tokens / history.seconds
    words = "  ".join(f"{name} {value:.3f}" for name, value in numbers.items())
    return f"step {history.steps:>6}  {history.seconds:7.1f} s  {speed:8,.0f} tokens/s  {words}"
