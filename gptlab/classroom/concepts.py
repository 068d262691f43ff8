"""The standard words of the course: where each is introduced, where it is used, and which exercises practise it.

Only the first is declared here, with a definition of one line. The rest is counted in the notebooks' text twins and in
the exercises, and `tests/test_concepts.py` holds the notebooks to it: each word is introduced once, in bold, and is
used before that only beside the number of the notebook that explains it.
"""

import re
from dataclasses import dataclass, field
from functools import cache

from gptlab import notebook
from gptlab.classroom import twins
from gptlab.exercises import registry
from gptlab.exercises.schema import Exercise

PREVIEW = "start_here"  # shows the whole journey: each word there stands beside the notebook that opens its box


@dataclass(frozen=True)
class Concept:
    """One word that a reader of the field meets everywhere.

    Attributes:
        name: as the field has it.
        topic: of the notebook that introduces it.
        definition: one line.
        pattern: a regular expression for the forms in which prose has it; by default the name, and its plural.
        homonyms: notebooks in which the same word in bold means something else, and what.
        early: notebooks before its own that may use it, and why.
        exercises: that practise it without its name.
    """

    name: str
    topic: str
    definition: str
    pattern: str = ""
    homonyms: dict[str, str] = field(default_factory=dict)
    early: dict[str, str] = field(default_factory=dict)
    exercises: tuple[str, ...] = ()

    @property
    def forms(self) -> re.Pattern:
        """Finds the word in prose, in all its forms."""
        return re.compile(rf"(?<![\w-])(?:{self.pattern or self.name + 's?'})(?![\w-])", re.IGNORECASE)


_A_NUMBER = "bpe says what a parameter is where it needs the word: one learned number"

CONCEPTS = (
    Concept("token", "tokens", "one of the pieces that a text is cut into; a model reads and writes these"),
    Concept("vocabulary", "tokens", "the set of all tokens that a model knows", "vocabular(?:y|ies)"),
    Concept("special token", "tokens", "a token that controls the model, and that no text is encoded into"),
    Concept(
        "context window",
        "tokens",
        "the most tokens that a model can read at once",
        exercises=("batches.2", "batches.3"),
    ),
    Concept("batch", "batches", "several sequences that are processed together", "batch(?:es)?"),
    Concept(
        "mini-batch",
        "batches",
        "a few examples of the training text, for one step",
        "mini-batch(?:es)?",
        exercises=("batches.9",),
    ),
    Concept(
        "throughput",
        "batches",
        "how much is processed per second, usually in tokens",
        "throughput",
        exercises=("gpu.2",),
    ),
    Concept("logits", "batches", "the scores of a model for every possible next token, before softmax", "logits?"),
    Concept(
        "parameter",
        "batches",
        "a number of the model that training changes",
        early=dict.fromkeys(("bpe", "unigram"), _A_NUMBER),
    ),
    Concept("epoch", "batches", "one pass through the whole training text", exercises=("batches.5",)),
    Concept("softmax", "embedding", "turns scores into probabilities: exponentials, divided by their sum", "softmax"),
    Concept(
        "cross-entropy",
        "embedding",
        "the mean surprise of a model at the right next tokens, in nats",
        "cross-entropy",
        exercises=("training.1",),
    ),
    Concept("gradient", "embedding", "for each parameter, how much the loss changes when it changes a little"),
    Concept(
        "head",
        "attention",
        "one of several attentions side by side, with its own queries, keys and values",
        "(?:attention )?heads?(?! or tails)",
    ),
    Concept("self-attention", "attention", "attention whose queries, keys and values come from one sequence"),
    Concept(
        "causal mask",
        "masking",
        "lets each position attend to itself and to earlier ones only",
        exercises=("masking.1",),
    ),
    Concept(
        "cross-attention", "masking", "attention whose queries come from one sequence, keys and values from another"
    ),
    Concept(
        "layer normalization",
        "model",
        "gives each position's channels the mean 0 and the variance 1",
        "layer norm(?:s|ali[sz]ation)?",
    ),
    Concept("dropout", "model", "sets random numbers to 0 during training, so that nothing depends on a single one"),
    Concept("activation function", "model", "a curve applied to each number between two matrices, such as GELU"),
    Concept("residual connection", "model", "adds the input of a part to its output", exercises=("model.2",)),
    Concept("inference", "model", "running a trained model", "inference", exercises=("model.8",)),
    Concept(
        "chain rule",
        "backpropagation",
        "along a path of computations, slopes multiply",
    ),
    Concept(
        "computational graph",
        "backpropagation",
        "every value as a node, with arrows from those it was computed from",
        exercises=("backpropagation.2",),
    ),
    Concept(
        "backpropagation",
        "backpropagation",
        "all gradients in one walk from the loss back to the inputs",
        exercises=("backpropagation.2",),
    ),
    Concept(
        "perplexity", "training", "the exponential of the loss: among how many tokens the model hesitates", "perplexity"
    ),
    Concept(
        "hyperparameter",
        "training",
        "a number that you choose, where parameters are learned",
        exercises=("training.4",),
    ),
    Concept("learning rate", "training", "the factor between a gradient and a step", "learning[ -]rates?"),
    Concept(
        "warm-up",
        "training",
        "the first steps of a run, in which the learning rate grows from near 0",
        r"(?<!\()(?<!\*)(?<!· )(?<!, )warm-up(?!, \d)",
    ),
    Concept("momentum", "training", "following a running mean of the gradients instead of the last one", "momentum"),
    Concept(
        "optimizer", "training", "the rule that turns gradients into steps", "optimi[sz]ers?", exercises=("training.7",)
    ),
    Concept("weight decay", "training", "pulls every weight a little towards 0 at each step", "weight decay"),
    Concept(
        "overfitting", "training", "learning the training text by heart: only its own loss falls", "overfit(?:s|ting)?"
    ),
    Concept(
        "regularization",
        "training",
        "whatever guards against overfitting",
        "(?<!subword )regulari[sz]ation",
        exercises=("training.7",),
    ),
    Concept("temperature", "sampling", "divides the logits: low is cautious, high is adventurous"),
    Concept("top-k", "sampling", "sampling among the k most probable tokens only", "top-k", exercises=("sampling.2",)),
    Concept(
        "top-p",
        "sampling",
        "sampling among the fewest tokens that hold a share p of the probability",
        "top-p",
        exercises=("sampling.3",),
    ),
    Concept(
        "KV cache",
        "sampling",
        "the stored keys and values of the tokens that were read",
        exercises=("sampling.8", "sampling.9"),
    ),
    Concept(
        "prefill",
        "sampling",
        "reading the prompt in one pass, which fills the cache",
        "prefill",
        exercises=("sampling.8",),
    ),
    Concept(
        "decode",
        "sampling",
        "the phase after prefill: one token per pass",
        "decode",
        homonyms={"tokens": "to turn ids into text"},
        early=dict.fromkeys(("tokens", "bpe"), "there it is the other word: to turn ids into text"),
        exercises=("sampling.8",),
    ),
    Concept(
        "fine-tuning",
        "finetuning",
        "training a trained model further, on other texts",
        "fine-tun(?:e[sd]?|ing)",
        exercises=("finetuning.3",),
    ),
    Concept("LoRA", "finetuning", "learns a product of two thin matrices beside each frozen one", "LoRA"),
    Concept("reward", "reinforcement", "a number that says how good an answer was"),
    Concept("policy", "reinforcement", "a rule for choosing; here, the model that writes", "polic(?:y|ies)"),
    Concept(
        "RLHF", "reinforcement", "reinforcement learning from human feedback", "RLHF", exercises=("reinforcement.7",)
    ),
)


def find(name: str) -> Concept:
    """The concept of this name.

    Raises:
        ValueError: there is none.

    >>> find("KV cache").topic
    'sampling'
    """
    for concept in CONCEPTS:
        if concept.name.lower() == name.strip().lower():
            return concept
    raise ValueError(f"there is no concept {name!r}: give one of {', '.join(one.name for one in CONCEPTS)}")


@cache
def paragraphs(topic: str) -> tuple[str, ...]:
    """The paragraphs of a notebook's prose, each on one line, with its bold and italic marks."""
    found = []
    for cell in twins.cells(topic):
        if cell.kind == "markdown":
            parts = re.split(r"\n\s*\n|\n(?=[-*] |\d+\. |#|\|)", cell.source)
            found += [" ".join(twins.prose(part).split()) for part in parts]
    return tuple(part for part in found if part)


def introduced(concept: Concept) -> list[str]:
    """The topics of the notebooks that have the word in bold, as often as they do; homonyms apart."""
    return [
        topic
        for topic in twins.written()
        if topic not in concept.homonyms
        for paragraph in paragraphs(topic)
        for bold in re.findall(r"\*\*(?:[Tt]he |[Aa]n? )?([^*]+?)[.:]?\*\*", paragraph)
        if concept.forms.fullmatch(bold)
    ]


def used(concept: Concept) -> list[str]:
    """The topics of the notebooks, from the one that introduces it, whose prose has the word.

    >>> used(find("perplexity"))
    ['training']
    """
    first = notebook(concept.topic).number
    return [
        topic
        for topic in twins.written()
        if notebook(topic).number >= first and any(concept.forms.search(part) for part in paragraphs(topic))
    ]


def too_early(concept: Concept) -> list[tuple[str, str]]:
    """Where the word is used before it is introduced: topic and paragraph.

    The first use in an earlier notebook may stand in a paragraph that names the notebook to come. Within a notebook the
    order is not looked at: its aims and headings name what it is about to explain.
    """
    found = []
    number = notebook(concept.topic).number
    for topic in twins.written():
        if notebook(topic).number >= number or topic == PREVIEW or topic in concept.early:
            continue
        uses = [part for part in paragraphs(topic) if concept.forms.search(part)]
        if uses and not re.search(rf"\b0?{number}\b", uses[0]):
            found.append((topic, uses[0]))
    return found


def practised(concept: Concept) -> list[Exercise]:
    """The exercises whose title, task or hints have the word, from its notebook on, and those that are declared.

    >>> [exercise.id for exercise in practised(find("KV cache"))][:1]
    ['sampling.8']
    """
    first = notebook(concept.topic).number
    return [
        exercise
        for topic in registry.topics()
        if notebook(topic).number >= first
        for exercise in registry.exercises(topic)
        if exercise.id in concept.exercises
        or any(concept.forms.search(text) for text in (exercise.title, exercise.prompt, *exercise.hints))
    ]
