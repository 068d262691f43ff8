"""No reference dangles: wherever prose names a notebook by its number, that notebook is there, or is said to be coming.

A notebook's number is decided in one place, `gptlab.NOTEBOOKS`. Prose may use it, and this test notices when it moves.
"""

import re
from pathlib import Path

import pytest

import gptlab
from gptlab.exercises import every, predictions, registry

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = re.compile(r"\b[Nn]otebooks?\s+(\d\d(?:(?:,\s+|\s+to\s+|\s+and\s+|,\s+and\s+)\d\d)*)\b")
LINK = re.compile(r"\[([^\]]*)\]\((?:[^()\s]*/)?(\d\d_\w+)\.ipynb[^)]*\)")
FILE = re.compile(r"\b(\d\d_[a-z]\w*)(?:\.ipynb|\.py)?\b")
COMING = re.compile(r"\b(coming|to come|reserved)\b")


def written():
    """The numbers of the notebooks that can be opened."""
    return {found.number for found in gptlab.NOTEBOOKS if (ROOT / "notebooks" / f"{found.file}.ipynb").exists()}


def texts():
    """Everything that speaks of notebooks to a person: name and text, comments unfolded."""
    for folder, pattern in (("notebooks/text", "*.py"), ("gptlab", "**/*.py"), (".", "*.md"), ("data", "*.md")):
        for path in sorted((ROOT / folder).glob(pattern)):
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def dangling(text, there):
    """What a text says of notebooks that are not there."""
    text = re.sub(r"\n\s*#? ?", " ", text)
    found = []
    for match in NUMBERS.finditer(text):
        sentence = text[text.rfind(". ", 0, match.start()) + 1 : match.end() + 60]
        first, *_, last = [int(n) for n in re.findall(r"\d\d", match[1])] * 2
        numbers = range(first, last + 1) if " to " in match[1] else map(int, re.findall(r"\d\d", match[1]))
        wrong = [n for n in numbers if n >= len(gptlab.NOTEBOOKS) or (" to " not in match[1] and n not in there)]
        if wrong and not COMING.search(sentence):
            found.append(f"{match[0]!r} is not there: …{sentence.strip()[-150:]}")
    for shown, file in LINK.findall(text):
        number = re.search(r"\b\d\d\b", shown)
        if number and number[0] != file[:2]:
            found.append(f"the link [{shown}] goes to {file}")
    return found


def unknown_files(text):
    """File names of notebooks that the course does not have."""
    known = {found.file for found in gptlab.NOTEBOOKS}
    names = {found.name for found in gptlab.NOTEBOOKS}
    return [file for file in FILE.findall(text) if file not in known and file[3:] in names]


@pytest.mark.parametrize(("name", "text"), list(texts()), ids=lambda value: value if len(value) < 60 else "")
def test_no_reference_to_a_notebook_dangles(name, text):
    assert dangling(text, written()) == [] and unknown_files(text) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("as in notebook 06, which", None),
        ("as in notebook 45, which", "notebook 45"),
        ("# as in\n# notebook 45", "notebook 45"),
        ("notebooks 01 and 45 say so", "notebooks 01 and 45"),
        ("notebooks 12 to 17 go on", None),
        ("notebooks 12 to 45 go on", "notebooks 12 to 45"),
        ("[Notebook 06](06_attention.ipynb)", None),
        ("[Notebook 07](06_attention.ipynb)", "goes to 06_attention"),
        ("[Notebook\n# 07](06_attention.ipynb)", "goes to 06_attention"),
        ("That is notebook 13.", "notebook 13"),
        ("That is notebook 13 (to come).", None),
    ],
)
def test_what_dangles_is_found(text, said):
    found = dangling(text, {1, 6, 7, 12})
    assert (said is None and found == []) or said in found[0]


def test_the_package_speaks_of_notebooks_by_topic():
    """So that nothing in it has to change when a notebook is added between two others."""
    numbered = re.compile(r"\b([Nn]otebooks?|[Ll]essons?) \d\d\b")
    sources = [*(ROOT / "gptlab").rglob("*.py"), *(ROOT / "tests").glob("*.py")]
    assert [path.name for path in sources if numbered.search(path.read_text(encoding="utf-8"))] == []


def test_a_file_that_was_renamed_is_found():
    assert unknown_files("open 09_training.ipynb") == ["09_training"] and unknown_files("06_attention.ipynb") == []


def test_files_on_disk_are_those_of_the_table():
    known = {found.file for found in gptlab.NOTEBOOKS}
    for folder, ending in (("notebooks", ".ipynb"), ("notebooks/text", ".py")):
        assert {path.stem for path in (ROOT / folder).glob(f"[!.]*{ending}")} <= known


def test_every_number_and_topic_is_found_in_any_form():
    for number, found in enumerate(gptlab.NOTEBOOKS):
        for form in (number, str(number), f"{number:02}", found.topic, found.name, found.file, f"{found.file}.ipynb"):
            assert gptlab.notebook(form) is found
    with pytest.raises(ValueError, match=r"no notebook 'what': give a number from 0 to 18, or one of start_here, tok"):
        gptlab.notebook("what")


def test_a_notebook_can_be_added_between_two_others(monkeypatch):
    """One line in the table moves every later number, and no id."""
    before = [exercise.id for exercise in every()] + [prediction.id for prediction in predictions()]
    new = gptlab.Notebook("between", "between", "Between", "a new idea")
    monkeypatch.setattr(gptlab, "NOTEBOOKS", (*gptlab.NOTEBOOKS[:7], new, *gptlab.NOTEBOOKS[7:]))
    assert gptlab.notebook("between").file == "07_between" and gptlab.notebook("masking").file == "08_masking"
    assert [exercise.id for exercise in every()] + [prediction.id for prediction in predictions()] == before
    assert registry.find("masking.1").topic == "masking"
