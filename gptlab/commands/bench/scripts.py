"""Splitting and encoding in six scripts: never slower than the plain pattern, beside the libraries."""

import random
import time
from collections.abc import Callable, Sequence

import regex

from gptlab import bpe, splitting

SENTENCES = {
    "English": (
        "The fox wasn't at home when the hen came by. ", "In 2024 the harvest was 1,250 baskets, they'll say. ",
        "Who keeps a promise?\n", "Nobody saw the boat again, although the whole village went down to the shore. ",
    ),
    "German": (
        "Der Fuchs war nicht zu Hause, als die Henne vorbeikam. ", "Über die Brücke fährt täglich ein grüner Zug. ",
        "Größere Äpfel kosten 3,50 €, kleinere weniger.\n", "„Wer hält schon, was er verspricht?“, fragte die Mühle. ",
    ),
    "Russian": (
        "Лисы не было дома, когда пришла курица. ", "В 2024 году собрали 1250 корзин яблок. ",
        "Кто держит своё слово?\n", "Больше никто не видел эту лодку, хотя вся деревня вышла на берег. ",
    ),
    "Greek": (
        "Η αλεπού δεν ήταν στο σπίτι όταν πέρασε η κότα. ", "Το 2024 μάζεψαν 1.250 καλάθια μήλα. ",
        "Ποιος κρατά τον λόγο του;\n", "Κανείς δεν ξαναείδε τη βάρκα, αν και όλο το χωριό κατέβηκε στην ακτή. ",
    ),
    "Chinese": (
        "母鸡来的时候，狐狸不在家。", "二〇二四年收了1250筐苹果。", "谁会信守诺言呢？\n",
        "虽然全村人都到了岸边，却再也没有人见过那条船。",
    ),
    "code and emoji": (
        "for i in range(10):\n    total += prices[i] * 1.19  # 🧾 with tax\n", "🦊 → 🐔? 👩‍👩‍👧 said: no way! 🚀🚀\n",
        "if x != None and len(names) >= 2:\n\treturn {'ok': True}\n\n",
        "print(f\"{name!r}: {100 * share:.1f} %\")  # ✅\n",
    ),
}  # fmt: skip


def script_texts(characters: int, seed: int = 0) -> dict[str, str]:
    """A text in each script: its sentences, shuffled and repeated.

    Args:
        characters: about how long each text is.
        seed: of the order.

    >>> {name: text.isascii() for name, text in script_texts(900).items()}["English"]
    True
    """
    draw, texts = random.Random(seed), {}
    for name, sentences in SENTENCES.items():
        length = sum(map(len, sentences)) / len(sentences)
        texts[name] = "".join(draw.choices(sentences, k=int(characters / length) + 1))
    return texts


def bench_scripts(
    timed_in_turn: Callable[[dict[str, Callable[[], object]], int], dict[str, float]],
    encoders: Callable[[bpe.BPETokenizer], dict[str, Callable[[str], list[int]]]],
    characters: int = 300_000,
    rounds: int = 5,
) -> None:
    """Print a table: MB/s to split and to encode each script, and the ratio to the plain pattern.

    The ratio is near 1 for most scripts, so it is taken from the least CPU time of several runs in turn, which other
    programs on the machine disturb least.

    Args:
        timed_in_turn: runs contestants round after round and gives the median seconds of each.
        encoders: everyone who encodes with a given vocabulary.
        characters: about how long each text is.
        rounds: how often each is measured.
    """
    texts = script_texts(characters)
    tokenizer = bpe.BPETokenizer.train("".join(text[:30_000] for text in texts.values()), 800)
    plain = regex.compile(splitting.GPT4_PATTERN).findall
    everyone = encoders(tokenizer)
    columns = ["split", "plain regex", "ratio", *(f"{who}" for who in everyone)]
    print(
        f"\nsix scripts, {characters:,} characters each, V = {tokenizer.vocab_size}: MB/s to split and (warm) to encode"
    )
    print(f"{'':<16}" + "".join(f"{column:>13}" for column in columns))
    for name, text in texts.items():
        if splitting.split(text) != plain(text):
            raise AssertionError(f"the chunks of {name} are not those of the plain pattern")
        ours, theirs = _least_cpu_seconds([splitting.split, plain], text, 3 * rounds)
        contestants = {who: lambda text=text, encode=encode: encode(text) for who, encode in everyone.items()}
        took = timed_in_turn(contestants, rounds)
        megabytes = len(text.encode("utf-8")) / 1e6
        speeds = [megabytes / ours, megabytes / theirs, theirs / ours]
        speeds += [megabytes / took[who] for who in everyone]
        formats = ["13.1f", "13.1f", "13.2f", *["13.1f"] * len(everyone)]
        print(f"{name:<16}" + "".join(f"{speed:{form}}" for speed, form in zip(speeds, formats, strict=True)))


def _least_cpu_seconds(functions: Sequence[Callable[[str], object]], text: str, runs: int) -> list[float]:
    """The least CPU time that each function takes for the text, in runs that take turns.

    Every other turn goes the other way round: who comes second finds warmer memory.
    """
    took: list[list[float]] = [[] for _ in functions]
    for run in range(runs):
        order = list(zip(functions, took, strict=True))
        for function, seconds in order if run % 2 else reversed(order):
            start = time.process_time()
            function(text)
            seconds.append(time.process_time() - start)
    return [min(seconds) for seconds in took]
