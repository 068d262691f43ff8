"""A text of your own: which tokens, which size of model and how many steps suit its length.

The rule, in one place. A text of up to 200,000 characters with at most 100 different ones is read character by
character: there, byte pairs would be too rare to be learned. Any other is read in byte pairs, more of them the longer
it is. Layers, channels, context and steps grow with the text (`SIZES`), so that a run on a laptop takes a few minutes.

>>> recipe = plan(characters=70_000, alphabet=64)
>>> recipe.tokens, recipe.model["n_layer"], recipe.model["n_embd"], recipe.training.steps
('characters', 3, 96, 600)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gptlab.entrances import Count, checked
from gptlab.files import expanded
from gptlab.runs.recipes import Recipe
from gptlab.schedule import TrainConfig

LEAST = 1000  # characters of the shortest text: below, nothing general can be learned
CHARACTERS_UP_TO = 200_000  # characters of the longest text that is read character by character
ALPHABET = 100  # different characters, at most, of such a text
LEARNED_FROM = 10_000_000  # characters of a longer text that byte pairs are learned from


class Size(NamedTuple):
    """A row of the rule.

    Attributes:
        characters: of the shortest text that it is for.
        n_layer: layers.
        n_embd: channels.
        context: tokens.
        steps: batches of 16 sequences.
        dropout: a short text is seen many times, and more of it delays memorising.
    """

    characters: int
    n_layer: int
    n_embd: int
    context: int
    steps: int
    dropout: float


SIZES = (
    Size(0, n_layer=2, n_embd=64, context=64, steps=400, dropout=0.1),
    Size(20_000, n_layer=3, n_embd=96, context=96, steps=600, dropout=0.1),
    Size(200_000, n_layer=3, n_embd=144, context=128, steps=800, dropout=0.0),
    Size(2_000_000, n_layer=3, n_embd=160, context=128, steps=800, dropout=0.0),
)
VOCABULARIES = ((0, 512), (500_000, 1024), (2_000_000, 2048), (20_000_000, 4096))  # from so many characters on: V


@checked
def plan(characters: Count, alphabet: Count) -> Recipe:
    """The recipe for a text.

    Args:
        characters: its length.
        alphabet: how many different characters it has.

    Raises:
        ValueError: the text is too short, with the length that it needs.
    """
    if characters < LEAST:
        raise ValueError(
            f"the text has {characters:,} characters, and a model needs at least {LEAST:,} to learn from: "
            "add to it, or name several files"
        )
    size = [row for row in SIZES if row.characters <= characters][-1]
    short = characters <= CHARACTERS_UP_TO and alphabet <= ALPHABET
    model: dict[str, Any] = {name: getattr(size, name) for name in ("context", "n_layer", "n_embd", "dropout")}
    return Recipe(
        tokens="characters" if short else "bpe",
        vocab_size=[V for start, V in VOCABULARIES if start <= characters][-1],
        batch_size=16,
        model=model | {"n_head": 4, "convolution": 4},
        training=TrainConfig(
            steps=size.steps, optimizer="muon", learning_rate=8e-3, muon_lr=0.03, warmup=20,
            evaluate_every=size.steps // 10,
        ),
    )  # fmt: skip


def name_of(path: str | Path) -> str:
    """What a text is called: its file or folder without endings, so that its run has a folder of that name.

    >>> name_of("texts/my.txt"), name_of("rows.jsonl.gz"), name_of("essays/")
    ('my', 'rows', 'essays')
    """
    found = expanded(path)
    if found.is_dir() or not found.suffix:
        return found.resolve().name or "text"
    return found.with_suffix("").stem if found.suffix.lower() == ".gz" else found.stem


def title(paths: Sequence[str | Path]) -> str:
    """The texts in a few words.

    >>> title(["a/my.txt"]), title(["a.txt", "b.txt", "c.txt"])
    ('my.txt', 'a.txt and 2 more')
    """
    first = Path(paths[0]).name or str(Path(paths[0]).resolve().name)
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"
