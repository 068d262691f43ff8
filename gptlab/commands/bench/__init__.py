"""`python -m gptlab bench`: measure on this machine what the course claims, side by side with a peer, in one run."""

from typing import Literal


def bench(what: Literal["training", "tokenizers"], /) -> None:
    """Measure on this machine, side by side with a peer, in one run; read the ratios, not the seconds.

    Args:
        what: "training": Tiny Shakespeare, nanoGPT's CPU recipe against ours (about six minutes on two cores).
            "tokenizers": training and encoding speed of byte-pair encoders (about a minute).
    """
    if what == "training":
        from gptlab.commands.bench.training import bench_training

        bench_training()
    else:
        from gptlab.commands.bench.tokenizers import bench_tokenizers

        bench_tokenizers()
