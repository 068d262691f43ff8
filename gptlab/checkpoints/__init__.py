"""Checkpoints: a run or a finished model as files that survive a crash, and open without running any code.

- `models`: a finished model, with its configuration and its tokenizer.
- `runs`: a run in progress, with its optimizers, its random generators and its history.
- `optimizer_states`, `generators`: what optimizers and random generators remember.
- `locks`: one run in a folder at a time.
- `storage`: the files themselves.

Tensors are in safetensors files, everything else in JSON; nothing is ever unpickled. A checkpoint is written to a
temporary folder and renamed when it is complete: a crash or a full disk leaves the one before it untouched. A run's
checkpoints carry the SHA-256 of each file, so that a single flipped bit is noticed. Sharded weights are put together
first, so a run can continue on another number of processes.

>>> model, tokenizer = committed("fables")
>>> model.config.n_layer, tokenizer.vocab_size
(2, 859)
"""

from gptlab.checkpoints.generators import generator_states, restore_generators
from gptlab.checkpoints.locks import locked
from gptlab.checkpoints.models import check_folder, committed, load_model, read_tokenizer, save_model
from gptlab.checkpoints.runs import latest, remove_temporary, resume, save
from gptlab.checkpoints.storage import STATE, TOKENIZER, CheckpointError, damaged, replacing

__all__ = [
    "STATE",
    "TOKENIZER",
    "CheckpointError",
    "check_folder",
    "committed",
    "damaged",
    "generator_states",
    "latest",
    "load_model",
    "locked",
    "read_tokenizer",
    "remove_temporary",
    "replacing",
    "restore_generators",
    "resume",
    "save",
    "save_model",
]
