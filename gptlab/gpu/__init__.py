"""One GPU: which device and which precision, how fast, and how much memory.

- `devices`: which device, which precision, and does it compute correctly?
- `speed`: how to time, and the two ceilings of a machine: matrix products and memory bandwidth.
- `account`: parameters, FLOPs and bytes, on paper; MFU.
- `memory`, `footprint`: where the memory of a step goes, predicted and measured.
- `attention_kernels`: which kernel computes attention fastest here.
- `graphs`: work recorded once and replayed: a training step, or a step of generation.
- `weights`: weights in fewer bytes, for a model that only generates.

A module is imported when one of its names is first used: a training run on a laptop needs `devices` only.

>>> pick_dtype(pick_device("cpu"))
torch.float32
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["account", "attention_kernels", "devices", "footprint", "graphs", "memory", "speed", "weights"],
    submod_attrs={
        "account": [
            "Work",
            "count_parameters",
            "flops_by_part",
            "flops_per_token",
            "mfu",
            "parameters_by_part",
            "work_by_part",
        ],
        "attention_kernels": ["attention_kernel", "attention_seconds", "pick_attention"],
        "devices": [
            "device_name",
            "one_batch",
            "peak_memory",
            "pick_device",
            "pick_dtype",
            "pick_float32",
            "synchronize",
            "what_is_wrong",
        ],
        "footprint": ["MeasuredMemory", "activation_bytes", "measure_memory"],
        "graphs": ["GraphedDecoder", "Replayed"],
        "memory": ["Memory", "block_activations", "estimate_memory"],
        "speed": ["Roofline", "bandwidth", "count_operations", "matmul_flops", "measure"],
        "weights": ["Int8Linear", "pick_matrix_dtype", "pick_weights", "quantize"],
    },
)
