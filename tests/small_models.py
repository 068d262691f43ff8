"""Small models with visible weights, in the variants that a cache has to serve."""

import torch

from gptlab.model import GPT, GPTConfig

VARIANTS = [
    {},
    {"position": "rope", "n_kv_head": 2, "norm": "rmsnorm", "mlp": "swiglu"},
    {"position": "rope", "qk_norm": True, "convolution": 3, "mlp": "relu2"},
    {"position": "rope", "convolution": 1},  # a window without a past
]


def small(**changes) -> GPT:
    torch.manual_seed(0)
    model = GPT(GPTConfig(40, 12, **{"n_layer": 2, "n_head": 4, "n_embd": 24, **changes})).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.25)
    return model


def draw_ids(B: int, T: int) -> torch.Tensor:
    return torch.randint(0, 40, (B, T), generator=torch.Generator().manual_seed(1))
