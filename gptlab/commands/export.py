"""`python -m gptlab export`: save a trained GPT in the format of Hugging Face's transformers."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gptlab.model import GPT
    from gptlab.tokenizing import Tokenizer


def export(model: Path, folder: Path, /, overwrite: bool = False) -> None:
    """Save a trained GPT, and its tokenizer, so that Hugging Face's `transformers` opens it.

    Every model of the course can be saved. With the parts of GPT-2 or Llama it becomes one of theirs; with other parts,
    the Python file that describes it is put beside the weights, and `trust_remote_code=True` lets transformers run it.

    (`train --export` saves a finished model in the course's own format, which `sample` and this command read.)

    Args:
        model: a folder with a model of this course, or a training run (its newest checkpoint is taken).
        folder: a new folder for the export.
        overwrite: replace an earlier export in that folder; a folder with anything else is never touched.
    """
    from gptlab import checkpoints, huggingface

    if folder.exists() and folder.resolve() == model.resolve():
        raise ValueError(f"{str(folder)!r} is the model itself, and an export would replace it: choose another folder")
    if huggingface.is_folder(model):
        raise ValueError(f"{str(model)!r} is in the format of transformers already, which opens it as it is")
    gpt, tokenizer = checkpoints.load_model(model)
    huggingface.save_model(gpt, folder, tokenizer, overwrite=overwrite)
    config = huggingface.write_config(gpt.config)
    print(f"{folder}: a {config['architectures'][0]} of {gpt.count_parameters():,} parameters.")
    print(f"With the package transformers:\n\n{example(str(folder), 'auto_map' in config, _prompt(gpt, tokenizer))}")
    if tokenizer is None:
        print("\nThere is no tokenizer.json beside the model, so none was saved.")


def _prompt(gpt: "GPT", tokenizer: "Tokenizer | None") -> str | None:
    """The first word or two that the model itself writes: a prompt whose characters it knows."""
    if tokenizer is None:
        return None
    import torch

    from gptlab import sampling

    first = torch.tensor([[tokenizer.end or 0]], device=gpt.device)
    settings = dict(temperature=0, vocab_size=tokenizer.vocab_size)
    ids = sampling.generate(gpt, first, min(4, gpt.config.context), **settings)[0].tolist()
    return tokenizer.decode([id for id in ids if id != tokenizer.end]).strip()


def example(folder: str, own_code: bool, prompt: str | None) -> str:
    """Python that opens an export and lets it write, as it can be pasted.

    Args:
        folder: of the export.
        own_code: whether it brings a file of Python with it.
        prompt: what the text begins with; None where there is no tokenizer.

    >>> print(example("mine", own_code=False, prompt=None))
        from transformers import AutoModelForCausalLM
        model = AutoModelForCausalLM.from_pretrained('mine')
    """
    trust = ", trust_remote_code=True" if own_code else ""
    if prompt is None:
        lines = [
            "from transformers import AutoModelForCausalLM",
            f"model = AutoModelForCausalLM.from_pretrained({folder!r}{trust})",
        ]
    else:
        lines = [
            "from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline",
            f'write = pipeline("text-generation", model={folder!r}{trust})',
            f'print(write({prompt!r})[0]["generated_text"])',
            "",
            "# or step by step",
            f"tokenizer = AutoTokenizer.from_pretrained({folder!r}{trust})",
            f"model = AutoModelForCausalLM.from_pretrained({folder!r}{trust})",
            f'ids = tokenizer({prompt!r}, return_tensors="pt").input_ids',
            "print(tokenizer.decode(model.generate(ids, do_sample=True)[0]))",
        ]
    if own_code:
        lines.insert(0, "# trust_remote_code runs modeling_gptlab.py, the file that was put beside the weights")
    return "\n".join(f"    {line}".rstrip() for line in lines)
