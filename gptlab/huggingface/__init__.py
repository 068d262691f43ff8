"""Models and tokenizers in and out, in the files that Hugging Face's libraries read.

* `load_model(folder)` makes a `GPT` of a GPT-2, a Llama or an export, as `GPT.from_pretrained` does;
* `save_model(model, folder, tokenizer)` writes a folder that `AutoModelForCausalLM` and `AutoTokenizer` open: the same
  ids, the same logits, the same text. GPT-2 and Llama are written as such, every other model of the course with
  `modeling_gptlab.py` beside its weights, which transformers runs with `trust_remote_code=True`;
* `tokenizer_json(tokenizer)` is a tokenizer of the course as one `tokenizer.json`, and `load_tokenizer(folder)` opens
  theirs with our code: the same ids, or a refusal by name;
* `read_config` and `write_config` turn a config.json's entries into a `GPTConfig` and back.

Tensors lie in safetensors files, everything else in JSON; nothing is ever unpickled, and `transformers` is not needed.
(Torch is imported where weights are read or written: a tokenizer needs none.)
"""

from gptlab.huggingface.tokenizer_files import load_tokenizer
from gptlab.huggingface.tokenizers import for_oniguruma, tokenizer_json
from gptlab.huggingface.weights import FILES, is_folder, load_model, save_model
from gptlab.pretrained.configs import read_config, write_config

__all__ = [
    "FILES", "for_oniguruma", "is_folder", "load_model", "load_tokenizer", "read_config", "save_model",
    "tokenizer_json", "write_config",
]  # fmt: skip
