"""A trained model with its tokenizer, out of any folder that has one: what `sample`, `chat` and `page` begin with."""

from pathlib import Path
from typing import TYPE_CHECKING

from gptlab.entrances import guard

if TYPE_CHECKING:
    from gptlab.model import GPT
    from gptlab.tokenizing import Tokenizer


def open_model(folder: Path) -> "tuple[GPT, Tokenizer]":
    """The model in a folder, of the course's format or of Hugging Face's, and its tokenizer.

    Args:
        folder: a model's, a training run's, or one with a GPT-2 or a Llama in the format of transformers.

    Raises:
        ValueError: there is no tokenizer, or there are weights that are not numbers, naming them.
    """
    from gptlab import checkpoints, huggingface
    from gptlab.pretrained.layout import some

    if huggingface.is_folder(folder):
        gpt, tokenizer = huggingface.load_model(folder), huggingface.load_tokenizer(folder)
    else:
        gpt, tokenizer = checkpoints.load_model(folder)
    if tokenizer is None:
        raise ValueError(f"{str(folder)!r} has no tokenizer.json, so its ids cannot be written as text")
    if tokenizer.vocab_size > gpt.config.vocab_size:
        raise ValueError(
            f"the tokenizer in {str(folder)!r} has {tokenizer.vocab_size} ids, but the model only "
            f"{gpt.config.vocab_size}: put the tokenizer.json there that the model was trained with"
        )
    if broken := [name for name, parameter in gpt.named_parameters() if not parameter.isfinite().all()]:
        raise ValueError(
            f"{str(folder)!r} holds weights that are NaN or infinite ({some(broken, most=3)}), so it cannot write: "
            "take an older checkpoint, or train again with a lower learning rate"
        )
    return gpt, tokenizer


guard(globals())
