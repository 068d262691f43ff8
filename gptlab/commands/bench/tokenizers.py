"""Our byte-pair encoding beside the libraries, on one text, in one run: training, encoding, memory.

Two programs measured on different days say little about each other. Here the contestants take turns, round after round,
so that whatever else the machine does hits all of them, and the median of the rounds is reported, with ratios.
"""

import gc
import importlib.util
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterable
from itertools import accumulate
from pathlib import Path

from gptlab import bpe
from gptlab import huggingface as hf
from gptlab.commands.bench.scripts import bench_scripts

VOCAB_SIZE = 1024


def bench_tokenizers(
    text: str | None = None, vocab_size: int = VOCAB_SIZE, rounds: int = 5, memory: bool = True
) -> None:
    """Print tables: seconds to train, MB/s to encode, MB of memory, and the ratios; then six scripts.

    "cold" is the first text that a tokenizer sees, "warm" the same text again. All encode with the same vocabulary,
    ours, and their ids are compared before any time is taken. The textbook trainer is too slow to wait for: it runs
    for a few steps at the start and at the end of training, and the rest is extrapolated (and marked so).

    Args:
        text: what to work on; Tiny Shakespeare where it can be found ($GPTLAB_DATA), else a corpus that every
            installation has.
        vocab_size: V of the trained vocabulary.
        rounds: how often each contestant is measured.
        memory: measure memory, too.
    """
    text, name = (text, "the text given") if text is not None else _some_text()
    megabytes = len(text.encode("utf-8")) / 1e6
    print(f"{name}: {megabytes:.2f} MB, V = {vocab_size}; medians of {rounds} rounds, taken in turn")

    trainers = {"gptlab": lambda: bpe.BPETokenizer.train(text, vocab_size)}
    if _have("tokenizers"):
        trainers["tokenizers"] = lambda: _train_huggingface(text, vocab_size)
        trainers["tokenizers, by lines"] = lambda: _train_huggingface(text.splitlines(keepends=True), vocab_size)
    trained = _in_turn(trainers, rounds)
    ours = bpe.BPETokenizer.train(text, vocab_size)
    trained["gptlab textbook"] = _textbook_seconds(text, ours.vocab_size - 256)

    ids = ours.encode(text)
    cold: dict[str, list[float]] = {}
    warm: dict[str, list[float]] = {}
    for _ in range(rounds):
        for who, encode in _encoders(ours).items():  # new ones each round: nothing is remembered from the last
            first, result = _timed(encode, text)
            second, _ = _timed(encode, text)
            if result != ids:
                raise AssertionError(f"{who} gives other ids than gptlab with the same vocabulary")
            cold.setdefault(who, []).append(first)
            warm.setdefault(who, []).append(second)

    rows = list(dict.fromkeys([*trained, *cold]))
    print(f"\n{'':<22}{'train s':>10}{'cold MB/s':>12}{'warm MB/s':>12}{'memory MB':>12}")
    for who in rows:
        train = f"{trained[who]:.2f}" if who in trained else "–"
        if who == "gptlab textbook":
            train = f"≈ {trained[who]:.0f} *"
        speeds = [f"{megabytes / statistics.median(took[who]):.1f}" if who in took else "–" for took in (cold, warm)]
        peak = _peak_memory(who, text, vocab_size) if memory else None
        print(f"{who:<22}{train:>10}{speeds[0]:>12}{speeds[1]:>12}{'–' if peak is None else f'{peak:.0f}':>12}")
    print(f"* extrapolated from a few of its {ours.vocab_size - 256} steps, in proportion to the tokens left at each")

    print("\ngptlab against")
    print(f"  its textbook loop     {trained['gptlab textbook'] / trained['gptlab']:.0f} × as fast to train")
    if "tokenizers" in trained:
        best = min(trained["tokenizers"], trained["tokenizers, by lines"])
        print(f"  tokenizers (Rust)     {trained['gptlab'] / best:.2f} × its time to train (its better way)")
    for who in cold:
        if who != "gptlab":
            speeds = [statistics.median(took[who]) / statistics.median(took["gptlab"]) for took in (cold, warm)]
            print(f"  {who:<22}{speeds[0]:.2f} × its speed cold, {speeds[1]:.2f} × warm")
    bench_scripts(_in_turn, _encoders, min(300_000, len(text)), rounds)
    if _have("sentencepiece"):
        _bench_sentencepiece(text, vocab_size, rounds, megabytes)


def _bench_sentencepiece(text: str, vocab_size: int, rounds: int, megabytes: float) -> None:
    """A second table: SentencePiece's two algorithms, which choose other tokens, and its Unigram model in our code."""
    from gptlab.unigram import UnigramTokenizer

    kinds = ("bpe", "unigram")
    trained = _in_turn({kind: lambda kind=kind: _train_sentencepiece(text, vocab_size, kind) for kind in kinds}, rounds)
    models = {kind: _train_sentencepiece(text, vocab_size, kind) for kind in kinds}
    ours = UnigramTokenizer.from_sentencepiece(models["unigram"])
    lines = text.split("\n")
    if ours.encode(text[:20_000]) != models["unigram"].encode(text[:20_000]):
        raise AssertionError("gptlab encodes a text in another way than SentencePiece with the same model")
    encoders = {f"sentencepiece {kind}": models[kind].encode for kind in kinds} | {"gptlab, its unigram": ours.encode}
    took = _in_turn({who: lambda run=run: [run(line) for line in lines] for who, run in encoders.items()}, rounds)
    print(f"\n{'':<22}{'train s':>10}{'MB/s':>12}{'bytes/token':>12}")
    for who, encode in encoders.items():
        train = trained.get(who.split()[-1]) if who.startswith("sentencepiece") else None
        tokens = sum(len(encode(line)) for line in lines) + len(lines) - 1  # a newline is a byte, and a token
        seconds = "–" if train is None else f"{train:.2f}"
        print(f"{who:<22}{seconds:>10}{megabytes / took[who]:>12.1f}{megabytes * 1e6 / tokens:>12.2f}")


# ---- The contestants -------------------------------------------------------------------------------------------------


def _encoders(ours: bpe.BPETokenizer) -> dict[str, Callable[[str], list[int]]]:
    """Everyone who is installed, with our vocabulary, freshly built."""
    encoders = {"gptlab": bpe.BPETokenizer(ours.ranks, ours.pattern).encode}
    if _have("tiktoken"):
        encoders["tiktoken"] = ours.to_tiktoken("bench").encode_ordinary
    if _have("tokenizers"):
        import tokenizers

        huggingface = tokenizers.Tokenizer.from_str(hf.tokenizer_json(ours))
        encoders["tokenizers"] = lambda text: huggingface.encode(text).ids
    return encoders


def _train_huggingface(text: str | Iterable[str], vocab_size: int):
    """Hugging Face's trainer, splitting as ours does; it can use all cores if the text comes in parts."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(hf.for_oniguruma(bpe.GPT4_PATTERN)), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([text] if isinstance(text, str) else text, trainer)
    return tokenizer


def _train_sentencepiece(text: str, vocab_size: int, kind: str):
    """A model that gives every text back: no normalisation, all spaces, bytes for rare characters; one thread."""
    import io

    import sentencepiece

    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for line in text.split("\n") if line.strip()), model_writer=file, model_type=kind,
        vocab_size=vocab_size, hard_vocab_limit=False, byte_fallback=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, character_coverage=0.9999, minloglevel=2, num_threads=1,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())


def _textbook_seconds(text: str, steps: int, measured: int = 2) -> float:
    """What the textbook trainer would take for all steps: seconds per token and step, times the tokens at each step."""
    chunks = bpe.split(text)
    merges = bpe.train_fast(chunks, steps)
    if len(merges) <= 2 * measured:
        return _timed(bpe.train_textbook, chunks, steps)[0]
    encoded = bpe.BPETokenizer.train(text, 256 + len(merges) - measured)
    late = [encoded.encode(chunk) for chunk in chunks]
    early = [list(chunk.encode("utf-8")) for chunk in chunks]
    per_token = []
    for sequences, merge in ((early, merges[0]), (late, merges[-measured])):
        tokens = sum(map(len, sequences))
        for _ in range(measured):
            took, _ = _timed(_textbook_step, sequences, merge)
            per_token.append(took / tokens)
    start = sum(map(len, early))
    tokens_at = list(accumulate((-merge.count for merge in merges[:-1]), initial=start))
    return statistics.mean(per_token) * sum(tokens_at)


def _textbook_step(sequences: list[list[int]], chosen: bpe.Merge) -> None:
    """One round of the loop in `train_textbook`: count everything, find the best, merge everywhere."""
    counts = bpe.count_pairs(sequences)
    pair = min(counts, key=lambda pair: (-counts[pair], pair))
    assert pair == chosen.pair
    for ids in sequences:
        bpe.merge(ids, pair, chosen.new_id)


# ---- Measuring -------------------------------------------------------------------------------------------------------


def _in_turn(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median seconds of each; one of each in every round."""
    took: dict[str, list[float]] = {who: [] for who in contestants}
    for _ in range(rounds):
        for who, run in contestants.items():
            took[who].append(_timed(run)[0])
    return {who: statistics.median(seconds) for who, seconds in took.items()}


def _timed(run: Callable, *args) -> tuple[float, object]:
    gc.collect()
    start = time.perf_counter()
    result = run(*args)
    return time.perf_counter() - start, result


def _peak_memory(who: str, text: str, vocab_size: int) -> float | None:
    """MB that training (if it can) and encoding add at most, in a process of their own; None except on Linux."""
    if who == "gptlab textbook" or not Path("/proc/self/clear_refs").exists():
        return None
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_added_memory, (who, text, vocab_size))


def _added_memory(who: str, text: str, vocab_size: int) -> float:
    if who == "gptlab":
        return _peak_of(lambda: bpe.BPETokenizer.train(text, vocab_size).encode(text))
    if who == "tiktoken":  # it encodes only: with a vocabulary of this size that was learned from a part of the text
        return _peak_of(bpe.BPETokenizer.train(text[:50_000], vocab_size).to_tiktoken("bench").encode_ordinary, text)
    import tokenizers  # noqa: F401  (now, so that the library itself does not count)

    parts = text.splitlines(keepends=True) if "lines" in who else text
    return _peak_of(lambda: _train_huggingface(parts, vocab_size).encode(text))


def _peak_of(run: Callable, *args) -> float:
    """MB of memory in use at the highest point of the run, less what was in use before."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest point so far
    before = _memory("VmRSS")
    run(*args)
    return _memory("VmHWM") - before


def _memory(what: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(what))


def _have(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def _some_text() -> tuple[str, str]:
    """A megabyte or so to work on, and its name."""
    folder = os.environ.get("GPTLAB_DATA")
    if folder and (path := Path(folder) / "tinyshakespeare.txt").is_file():
        return path.read_text(encoding="utf-8"), "Tiny Shakespeare"
    from gptlab import corpora

    for name in ("pydocs", "fables"):
        try:
            return corpora.load(name).text[:1_000_000], f"the beginning of {name}"
        except (OSError, ValueError, AttributeError):
            continue
    raise FileNotFoundError("no text to measure with: give one, bench_tokenizers(text), or set GPTLAB_DATA")
