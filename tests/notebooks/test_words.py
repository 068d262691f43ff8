"""The course speaks the field's language: words that it once had of its own, or that sound translated, are gone.

Each row has a pattern that finds the word in the meaning that is meant. Where a machine cannot tell the meaning (*sign*
for a character, *cheap* of a loss, *think* of a layer), nothing is tested, and a reader has to look.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import gptlab
from gptlab.classroom import twins

ROOT = Path(__file__).resolve().parents[2]
UNITS = (
    "nats?|bytes?|bits?|tokens?|seconds?|numbers?|characters?|steps?|stories|FLOPs?|milliseconds|GB|MB|updates?|rows?"
)
EACH = (
    "token|second|target|story|step|minute|hour|weight|byte|character|parameter|number|position|layer|text|row|GPU|day"
)
NOTEBOOKS, EVERYWHERE = "notebooks", "everywhere"

# what is not said, what is said in its place, the pattern, where it holds
WORDS = {
    "blank": ("space", r"\bblanks\b|\ba blank\b(?! line)", EVERYWHERE),
    "border": ("boundary", r"(?<!dashed )\bborders?\b", EVERYWHERE),
    "nats a token": ("nats per token", rf"\b(?:{UNITS}) an? (?:{EACH})\b(?! of its own)", EVERYWHERE),
    "tokens read a target": ("tokens per target", r"tokens read (?:a|per) target", EVERYWHERE),
    "dear": ("expensive", r"\bdear(?:er|est)?\b", EVERYWHERE),
    "as it comes": ("by default", r"\bas it comes\b(?! out)", EVERYWHERE),
    "in letters": ("character by character", r"\bin letters\b", NOTEBOOKS),
    "tale, teller": ("generated text, the model", r"(?<!story-)\b(?:tales?|tellers?)\b", EVERYWHERE),
    "is kept in": ("is saved in, stored in", r"\b(?:is|are|was|were) kept in\b", EVERYWHERE),
    "draw by lot": ("sample", r"\bby lot\b|\bdraws? (?:a|the|one) (?:next )?(?:token|word)\b", EVERYWHERE),
    "listen, hear": ("attend", r"\b(?:listens?|hears?)\b", NOTEBOOKS),
    "the bend": ("activation function", r"\b(?:the|a|its|no) bend\b", EVERYWHERE),
    "widen, narrow": ("up- and down-projection", r"\b(?:widens?|narrows?) (?:to|from|it to|the vector)\b", EVERYWHERE),
    "to norm": ("to normalise", r"\bnormed (?!,)|\bnorms (?:the|each|its)\b", NOTEBOOKS),
    "way there, way back": ("forward pass, backward pass", r"\bway (?:there|back)\b", EVERYWHERE),
    "look up the place": ("position", r"\blook(?:s|ed|ing)? up the place\b", EVERYWHERE),
    "whoever": ("anyone who", r"\b[Ww]hoever\b", EVERYWHERE),
    "shall": ("will", r"\b(?<!you )shall\b", EVERYWHERE),
    "has it before its eyes": ("can see", r"before (?:its|their) eyes", EVERYWHERE),
    "thousand million": ("billion", r"\bthousand million\b", EVERYWHERE),
    "opened by 10": ("you'll open this box in notebook N", r"\bopened by (?:notebook )?\d", EVERYWHERE),
    "in place of the dots": ("replace the dots with", r"\bin place of the dots\b", NOTEBOOKS),
    "fall of the rate": ("learning-rate decay", r"\bfall of the (?:learning )?rate\b", EVERYWHERE),
    "patient, chamber, twin, door": (
        "example, module, copy, loader",
        r"(?<!Bo )\b[Tt]he patient\b(?! hen)|\bchambers?\b|\btwins?\b|\bthe doors?\b", NOTEBOOKS,
    ),
    "more room": ("more capacity", r"\bmore room\b(?! for)", NOTEBOOKS),
}  # fmt: skip


@cache
def prose_of_the_notebooks():
    """(where, text) of every markdown cell, each on one line."""
    return tuple(
        (topic, flat(twins.prose(cell.source)))
        for topic in twins.written()
        for cell in twins.cells(topic)
        if cell.kind == "markdown"
    )


@cache
def other_prose():
    """The README, CONTRIBUTING, and every docstring without its examples."""
    found = [(name, flat(twins.prose((ROOT / name).read_text(encoding="utf-8")))) for name in PAGES]
    for path in sorted(Path(gptlab.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                said = re.sub(r">>>.*?(?=\n\n|\Z)", "", ast.get_docstring(node) or "", flags=re.DOTALL)
                found.append((path.name, flat(twins.prose(said))))
    return tuple(found)


PAGES = ("README.md", "CONTRIBUTING.md")


def flat(text):
    return " ".join(text.split())


def complaints(word, prose):
    pattern = re.compile(WORDS[word][1])
    return [
        f"{where}: ...{text[max(0, hit.start() - 40) : hit.end() + 30]}... ({word}: write {WORDS[word][0]})"
        for where, text in prose
        for hit in pattern.finditer(text)
    ]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_of_the_list_does_not_occur(word):
    prose = prose_of_the_notebooks() + (other_prose() if WORDS[word][2] == EVERYWHERE else ())
    assert not (found := complaints(word, prose)), "\n".join(found)


@pytest.mark.parametrize(
    ("word", "bad", "good"),
    [
        ("blank", "the blanks between words", "a blank line"),
        ("border", "no token crosses a border", "with a dashed border"),
        ("nats a token", "1.3 nats a token, 900 tokens a second", "1.3 nats per token; a byte a character of its own"),
        ("way there, way back", "the gradient on its way back", "on the way to the end"),
        ("shall", "a model that shall name it", "you shall know a word by the company it keeps"),
        ("patient, chamber, twin, door", "the patient is trained", "Bo the patient hen"),
        ("the bend", "between them stands the bend", "the curve bends"),
        ("more room", "give the window more room", "more room for new lines"),
        ("whoever", "Whoever reads this", "anyone who reads this"),
    ],
)
def test_a_pattern_finds_the_meaning_that_is_meant(word, bad, good):
    assert complaints(word, [("here", bad)]) and not complaints(word, [("here", good)])
