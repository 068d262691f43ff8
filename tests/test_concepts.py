"""The map of the course is true: each word is introduced once, and not used before; each function is practised."""

import ast
import re
from pathlib import Path

import pytest

import gptlab
from gptlab.classroom import concepts, twins
from gptlab.classroom.concepts import CONCEPTS, Concept
from gptlab.exercises import every, registry

PACKAGE = Path(gptlab.__file__).parent
STANDARD_WORDS = """
    token, vocabulary, special token, context window, batch, mini-batch, throughput, logits, softmax, 
    cross-entropy, perplexity, parameter, hyperparameter, epoch, gradient, backpropagation, chain rule, computational
    graph, learning rate, warm-up, momentum, weight decay, optimizer, overfitting, regularization, dropout,
    activation function, residual connection, layer normalization, self-attention, cross-attention, head, causal
    mask, KV cache, prefill, decode, inference, temperature, top-k, top-p, fine-tuning, LoRA, reward, policy, RLHF
"""
by_name = pytest.mark.parametrize("concept", CONCEPTS, ids=lambda concept: concept.name)

# Public names of lesson modules that no exercise asks for and no cell uses, and why that is right.
PLUMBING = {
    "attention.Head": "06 builds one head by hand; the package's is MultiHeadAttention with one, as a module to read",
    "model.device_of": "where a model is; a GPU's business",
    "model.unwrapped": "takes the wrapping of torch.compile off",
    "model.evaluating": "switches dropout off for a while; the course's functions call it",
    "model.current_names": "opens models saved by the first edition",
    "backpropagation.refuse_unknown_parts": "an error, in words",
    "finetuning.Assistant": "a protocol: what can answer",
    "finetuning.stream_answer": "what `gptlab chat` writes with",
    "reinforcement.no_baseline": "the default of reinforce, which 15 shows by leaving the baseline out",
    "reinforcement.Learned": "what reinforce returns",
    "reinforcement.rollouts_for": "the loop's own sampling",
}


def test_every_standard_word_is_a_concept():
    words = {" ".join(word.split()) for word in STANDARD_WORDS.split(",")}
    assert words == {concept.name for concept in CONCEPTS} and len(CONCEPTS) == len(words)


@by_name
def test_it_is_introduced_exactly_once_in_its_notebook(concept):
    assert concepts.introduced(concept) == [concept.topic]
    assert concept.definition and not concept.definition.endswith(".") and len(concept.definition) < 100


@by_name
def test_it_is_not_used_before_it_is_introduced(concept):
    assert concepts.too_early(concept) == []


@by_name
def test_its_exceptions_are_still_needed(concept):
    for topic, reason in {**concept.homonyms, **concept.early}.items():
        assert reason and any(concept.forms.search(part) for part in concepts.paragraphs(topic)), topic


@by_name
def test_it_is_practised_by_exercises_that_exist(concept):
    ids = [exercise.id for exercise in concepts.practised(concept)]
    assert set(concept.exercises) <= set(ids)
    assert ids or concept.name == "overfitting", "seen in 10 on the reader's own text, which no check knows"


@pytest.fixture
def two_notebooks(monkeypatch):
    """06 speaks of caches and names the notebook to come, or doesn't; 11 introduces them."""

    def say(early, late="The **cache** saves keys."):
        texts = {"attention": (early,), "sampling": (late,)}
        monkeypatch.setattr(concepts, "paragraphs", lambda topic: texts.get(topic, ()))
        return Concept("cache", "sampling", "saves keys")

    return say


@pytest.mark.parametrize(
    ("early", "found"),
    [
        ("Caches help.", True),
        (f"Caches, which notebook {gptlab.notebook('sampling').number} is about, help.", False),
        ("Caches, see 12.", True),
        ("Nothing of the kind.", False),
        ("A cached file.", False),
    ],
)
def test_a_word_before_its_time_is_found(two_notebooks, early, found):
    assert bool(concepts.too_early(two_notebooks(early))) is found


@pytest.mark.parametrize(
    ("early", "late", "expected"),
    [
        ("Nothing.", "The **cache** saves keys.", ["sampling"]),
        ("A **Cache.**", "**Caches** save keys.", ["attention", "sampling"]),
        ("**the cache**", "A cache.", ["attention"]),
        ("**cache line**", "A `cache`.", []),
    ],
)
def test_introductions_are_counted(two_notebooks, early, late, expected):
    assert concepts.introduced(two_notebooks(early, late)) == expected


def public(module):
    """The functions and classes that a module defines for others."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


def test_every_public_function_of_the_lessons_is_practised():
    """Used in a cell of a notebook, or what an exercise has the reader write."""
    written = {name for topic in twins.written() for c in twins.cells(topic) if c.kind == "code" for name in names(c)}
    asked = {part for exercise in every() for part in exercise.package.split(".")}
    lessons = [found.topic for found in gptlab.NOTEBOOKS if (PACKAGE / f"{found.topic}.py").exists()]
    missing = {
        f"{lesson}.{name}" for lesson in lessons for name in public(lesson) if name not in written and name not in asked
    }
    assert missing == set(PLUMBING), missing ^ set(PLUMBING)


def names(cell):
    return re.findall(r"[A-Za-z_]\w*", cell.source)


def test_there_is_an_exercise_for_every_notebook_that_is_written():
    assert set(twins.written()) <= set(registry.topics())
