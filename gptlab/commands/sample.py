"""`python -m gptlab sample`: generate text with a trained GPT."""

import sys
from pathlib import Path

COMMITTED = Path(__file__).resolve().parents[2] / "data" / "models" / "fables"


def sample(
    model: Path = COMMITTED,
    /,
    prompt: str = "",
    n: int = 1,
    max_new_tokens: int = 200,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    seed: int = 0,
) -> None:
    """Generate text with a trained GPT.

    Args:
        model: a folder with a model, or a training run; unless given, the model of fables that comes with the course.
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

    from gptlab import checkpoints, sampling

    gpt, tokenizer = checkpoints.load_model(model)
    if tokenizer is None:
        raise ValueError(f"{str(model)!r} has no tokenizer.json, so its ids cannot be written as text")
    end = tokenizer.end
    ids = ([] if end is None else [end]) + (tokenizer.encode(prompt) if prompt else [])
    ids = ids or tokenizer.encode("\n")
    generator = torch.Generator().manual_seed(seed)
    for i in range(n):
        print("" if i == 0 else "\n", end=prompt)
        options = dict(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, generator=generator)
        options["repetition_penalty"] = repetition_penalty
        for piece in sampling.stream(gpt, tokenizer, ids, max_new_tokens, stop=end, **options):
            sys.stdout.write(piece)
            sys.stdout.flush()
        print()
