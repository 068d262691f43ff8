"""`python -m gptlab sample`: generate text with a trained GPT."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gptlab.entrances import Count, Fraction, NotNegative, Positive, Seed, Whole, checked

if TYPE_CHECKING:
    from gptlab.tokenizing import Tokenizer

COMMITTED = Path(__file__).resolve().parents[2] / "data" / "models" / "fables"


@checked
def sample(
    model: Path = COMMITTED,
    /,
    prompt: str = "",
    n: Whole = 1,
    max_new_tokens: Whole = 200,
    temperature: NotNegative = 1.0,
    top_k: Count | None = None,
    top_p: Fraction | None = None,
    min_p: Fraction | None = None,
    repetition_penalty: Positive = 1.0,
    seed: Seed = 0,
) -> None:
    """Generate text with a trained GPT.

    Args:
        model: a folder with a model, a training run, or a folder of Hugging Face's with a GPT-2 or a Llama; unless
            given, the model of fables that comes with the course.
        prompt: the text to continue; empty starts a new one.
        n: how many texts.
        max_new_tokens: the longest text, in tokens.
        temperature: below 1 is more careful, above 1 more surprising, 0 always takes the most probable token.
        top_k: choose among the k most probable tokens only.
        top_p: choose among the fewest tokens that together reach this probability.
        min_p: choose among the tokens with at least this fraction of the highest probability.
        repetition_penalty: above 1 makes tokens that have occurred less probable.
        seed: the same seed gives the same texts.
    """
    import torch

    from gptlab import sampling
    from gptlab.opening import open_model

    gpt, tokenizer = open_model(model)
    end, first = tokenizer.end, prompt
    ids = ([] if end is None else [end]) + (tokenizer.encode(prompt) if prompt else [])
    if not ids:
        ids, first = _beginning(tokenizer)
    if prompt.rstrip(" ") and prompt.endswith(" ") and _spaces_begin_words(tokenizer):
        print(
            "sample: the prompt ends with a space, but in this vocabulary a space belongs to the word after it: the "
            "model has hardly seen one alone, and writes better without it",
            file=sys.stderr,
        )
    generator = torch.Generator().manual_seed(seed)
    for i in range(n):
        print("" if i == 0 else "\n", end=first)
        options = dict(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, generator=generator)
        options["repetition_penalty"] = repetition_penalty
        for piece in sampling.stream(gpt, tokenizer, ids, max_new_tokens, stop=end, **options):
            sys.stdout.write(piece)
            sys.stdout.flush()
        print()


def _beginning(tokenizer: "Tokenizer") -> tuple[list[int], str]:
    """Where a new text begins if no token says so: after a newline or a space, or else with a character there is.

    Returns the ids to continue, and the text to show for them.
    """
    for blank in ("\n", " "):
        try:
            ids = tokenizer.encode(blank)
        except ValueError:  # a vocabulary of characters, learned from a text without this one
            continue
        if tokenizer.decode(ids) == blank:
            return ids, ""
    texts = [(tokenizer.decode([id]), id) for id in range(tokenizer.vocab_size)]
    text, id = min(texts, key=lambda pair: (not pair[0][:1].isupper(), not pair[0][:1].isalnum()))
    return [id], text


def _spaces_begin_words(tokenizer: "Tokenizer") -> bool:
    """Whether there are tokens such as " fox": then the text that a model learned has few spaces alone."""
    pieces = getattr(tokenizer, "ranks", ()) or getattr(tokenizer, "pieces", ())
    return any(len(piece) > 1 and piece[:1] in (b" ", "▁") for piece in pieces)
