"""Everything a person looks at: pictures of tokens, tensors, attention and training, in one visual language.

Each function takes plain data or objects of `gptlab` and returns a matplotlib figure, or HTML that also shows in a
notebook that is not trusted yet. `describe(figure)` says in words what a figure shows.

>>> from gptlab import pictures
>>> pictures.table([("loss", 1.21), ("floor", 1.18)], ["what", "nats per token"])
what   nats per token
-----  --------------
loss             1.21
floor            1.18
"""

from gptlab.html import Html
from gptlab.pictures.architecture import architecture, shared_heads
from gptlab.pictures.bars import by_fact, compare, next_token, reshaped
from gptlab.pictures.bits import utf8_bits
from gptlab.pictures.blocks import embedding_map, shapes
from gptlab.pictures.chips import surprise, surprise_figure, tokens
from gptlab.pictures.concepts import concept_map, concept_svg
from gptlab.pictures.conversations import conversation
from gptlab.pictures.course import course_map, pipeline
from gptlab.pictures.curves import excess, rate, training
from gptlab.pictures.graph import graph
from gptlab.pictures.heat import attention, mask, rows
from gptlab.pictures.lines import lines
from gptlab.pictures.lora import lora
from gptlab.pictures.machine import memory_timeline, roofline
from gptlab.pictures.segmentation import lattice, merge_states, merge_tree, merges
from gptlab.pictures.sentence import arcs, attention_table
from gptlab.pictures.shares import shares
from gptlab.pictures.steps import attention_steps, cache_growth, heads_in_channels
from gptlab.pictures.style import Picture, describe
from gptlab.pictures.tables import table
from gptlab.pictures.valley import valley

__all__ = [
    "Html", "Picture", "architecture", "arcs", "attention", "attention_steps", "attention_table", "by_fact",
    "cache_growth", "compare", "concept_map", "concept_svg", "conversation", "course_map", "describe",
    "embedding_map", "excess", "graph", "heads_in_channels", "lattice", "lines", "lora", "mask", "memory_timeline",
    "merge_states", "merge_tree", "merges", "next_token", "pipeline", "rate", "reshaped", "roofline", "rows",
    "shapes", "shared_heads", "shares", "surprise", "surprise_figure", "table", "tokens", "training", "utf8_bits",
    "valley",
]  # fmt: skip
