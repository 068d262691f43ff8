"""`python -m gptlab export`: save a trained GPT in the format of Hugging Face."""

from pathlib import Path


def export(model: Path, folder: Path, /, overwrite: bool = False) -> None:
    """Save a trained GPT, and its tokenizer, so that `transformers` opens it with AutoModelForCausalLM.

    Args:
        model: a folder with a model of this course, or a training run (its newest checkpoint is taken).
        folder: a new folder for the export.
        overwrite: replace an earlier export in that folder.
    """
    from gptlab import checkpoints, huggingface

    gpt, tokenizer = checkpoints.load_model(model)
    huggingface.save_model(gpt, folder, tokenizer, overwrite=overwrite)
    family = huggingface.write_config(gpt.config)["architectures"][0]
    print(f"{folder}: a {family} of {gpt.count_parameters():,} parameters. With the package transformers:\n")
    print("    from transformers import AutoModelForCausalLM, AutoTokenizer")
    print(f"    model = AutoModelForCausalLM.from_pretrained({str(folder)!r})")
    if tokenizer is None:
        print("\nThere is no tokenizer.json beside the model, so none was saved.")
    else:
        print(f"    tokenizer = AutoTokenizer.from_pretrained({str(folder)!r})")
