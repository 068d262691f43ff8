"""Many GPUs: several processes that train one model, and what a large run would take.

- `distributed`: data parallel (DDP) and sharded (FSDP2) training; each process has its own rows of every batch.
- `launching`: start the processes of a run with torchrun, with a time limit and the reason where it fails.
- `gpus`: kinds of GPU, as their makers describe them.
- `layouts`: how a model is divided over many GPUs; memory, messages and time of a step.
- `planning`: on paper: will it fit, how is it divided, how long does it take?
- `scaling`: how large a model, on how many tokens; laws fitted to small runs.

>>> from gptlab.config import GPTConfig
>>> plan(GPTConfig.gpt2("124M"), gpus=8, gpu="A100", tokens=300e9, T=1024, mfu=0.35).layout.data
8
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["distributed", "gpus", "launching", "layouts", "planning", "scaling"],
    submod_attrs={
        "distributed": ["ProcessGroup", "RankLost", "RowsOfRank", "join"],
        "gpus": ["GPU", "GPUS"],
        "launching": ["LaunchResult", "launch"],
        "layouts": ["Layout", "memory_per_gpu", "step_time"],
        "planning": ["Plan", "plan"],
        "scaling": ["ScalingLaw", "chinchilla_loss", "chinchilla_tokens", "fit_scaling_law"],
    },
)
