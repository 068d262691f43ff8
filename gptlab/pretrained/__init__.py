"""Published weights of GPT-2 and Llama, in Hugging Face's files: which configuration, which tensor, read from where.

* `configs` turns the entries of a `config.json` into a `GPTConfig` and back;
* `layout` says which of their tensors holds which of our parameters;
* `reading` finds the tensors and copies them into a model.

`GPT.from_pretrained` uses it to load a model, `gptlab.huggingface` to save one.
"""
