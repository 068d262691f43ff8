"""Kinds of GPU, as their makers describe them: what a plan calculates with.

>>> round(GPUS["H100"].peak / GPUS["V100"].peak, 1)
7.9
"""

from dataclasses import dataclass

from gptlab.entrances import Count, Positive, guard

KERNELS = 0.55  # a guess: the fraction of the peak that one GPU reaches while nothing makes it wait
USABLE = 0.9  # of a GPU's memory; the rest is torch's own, and fragmentation


@dataclass(frozen=True)
class GPU:
    """One kind of GPU.

    Attributes:
        name: what it is called.
        peak: FLOP/s of dense 16-bit matrix products.
        memory: bytes.
        bandwidth: bytes per second of that memory.
        link: bytes per second that it can send to others in its node, each way.
        network: bytes per second that it can send to other nodes.
        node: GPUs in a node.
    """

    name: str
    peak: Positive
    memory: Positive
    bandwidth: Positive
    link: Positive
    network: Positive
    node: Count = 8


# NVIDIA's data sheets (SXM boards, dense 16-bit products): V100 2017, T4 2018, A100 80 GB 2020, H100 2022, H200 2023.
# NVLink's figure counts both ways and is halved here. The network belongs to the node: 400 Gbit/s for eight V100 (the
# machine of GPT-3), 200 Gbit/s for each A100 (Llama 2), 400 for each H100 (Llama 3).
GPUS: dict[str, GPU] = {
    gpu.name: gpu
    for gpu in (
        GPU("T4", peak=65e12, memory=16e9, bandwidth=0.32e12, link=16e9, network=3e9, node=1),
        GPU("V100", peak=125e12, memory=32e9, bandwidth=0.9e12, link=150e9, network=6.25e9),
        GPU("A100", peak=312e12, memory=80e9, bandwidth=2.04e12, link=300e9, network=25e9),
        GPU("H100", peak=989e12, memory=80e9, bandwidth=3.35e12, link=450e9, network=50e9),
        GPU("H200", peak=989e12, memory=141e9, bandwidth=4.8e12, link=450e9, network=50e9),
    )
}


guard(globals())
