"""Checkpoints: a run or a finished model as files that survive a crash, and open without running any code.

- `models`: a finished model, with its configuration and its tokenizer.
- `runs`: a run in progress, with its optimisers, its random generators and its history.
- `generators`: the states of the random generators.
- `storage`: the files themselves.

Tensors are in safetensors files, everything else in JSON; nothing is ever unpickled. A checkpoint is written to a
temporary folder and renamed when it is complete: a crash or a full disk leaves the one before it untouched. Sharded
weights are put together first, so a run can continue on another number of processes.

>>> model, tokenizer = committed("fables")
>>> model.config.n_layer, tokenizer.vocab_size
(2, 859)
"""

from gptlab.checkpoints.generators import generator_states, restore_generators
from gptlab.checkpoints.models import check_folder, committed, load_model, save_model
from gptlab.checkpoints.runs import latest, remove_temporary, resume, save
from gptlab.checkpoints.storage import TOKENIZER, CheckpointError, replacing

__all__ = [
    "TOKENIZER",
    "CheckpointError",
    "check_folder",
    "committed",
    "generator_states",
    "latest",
    "load_model",
    "remove_temporary",
    "replacing",
    "restore_generators",
    "resume",
    "save",
    "save_model",
]
