"""The rules that every notebook keeps, and for each rule a notebook that breaks it.

A rule is a function from a notebook (an nbformat node) to a list of complaints. `path` rules also look at the files.
"""

import copy
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from gptlab.commands import notebooks as tool
from gptlab.files import write_whole

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
LARGEST = 1_500_000  # bytes
LONGEST_CELL = 25  # lines
FEWEST_CHECKED = 5  # cells whose output nbval compares
FORBIDDEN_WORDS = ("simply", "just", "obviously")
TIMESTAMP_KEYS = {"execution", "ExecuteTime", "executionInfo", "timestamp"}


def code_cells(notebook):
    return [(number, cell) for number, cell in enumerate(notebook.cells) if cell.cell_type == "code"]


def tags(cell):
    return cell.metadata.get("tags", [])


def outputs(notebook):
    return [(number, cell, output) for number, cell in code_cells(notebook) for output in cell.outputs]


def joined(text):
    return "".join(text) if isinstance(text, list) else str(text)


def prose(source):
    """Markdown without what is not prose: code, formulas, addresses, HTML tags."""
    for pattern in (
        r"^(```|~~~).*?^\1", r"`+[^`]*`+", r"\$\$.*?\$\$", r"\$[^$\n]+\$", r"\\\(.*?\\\)|\\\[.*?\\\]",
        r"<!--.*?-->", r"<[^>]+>", r"\]\([^)]*\)", r"https?://\S+",
    ):  # fmt: skip
        source = re.sub(pattern, " ", source, flags=re.DOTALL | re.MULTILINE)
    return source.replace("![", "[")


# --------------------------------------------------------------------------------------------------------- the rules


def executed_in_order(notebook):
    """nbval compares nothing in a cell without a count, so a stripped notebook would pass every other test."""
    counts = [cell.execution_count for _, cell in code_cells(notebook)]
    return [] if counts == list(range(1, len(counts) + 1)) else [f"the execution counts are {counts}, not 1, 2, 3 ..."]


def kernel_is_python3(notebook):
    name = notebook.metadata.get("kernelspec", {}).get("name")
    return [] if name == "python3" else [f"the kernel is {name!r}, not 'python3'"]


def nothing_on_stderr(notebook):
    return [
        f"cell {number} wrote to stderr: {joined(output.text)[:80]!r}"
        for number, _, output in outputs(notebook)
        if output.output_type == "stream" and output.name == "stderr"
    ]


def no_unexpected_error(notebook):
    return [
        f"cell {number} raised {output.ename} and is not tagged raises-exception"
        for number, cell, output in outputs(notebook)
        if output.output_type == "error" and "raises-exception" not in tags(cell)
    ]


def no_widget_state(notebook):
    complaints = ["the notebook carries widget state"] if "widgets" in notebook.metadata else []
    return complaints + [
        f"cell {number} shows a widget"
        for number, _, output in outputs(notebook)
        if any("jupyter.widget" in kind for kind in output.get("data", {}))
    ]


def no_timestamps(notebook):
    complaints = []
    for number, cell in [("of the notebook", notebook), *enumerate(notebook.cells)]:
        if found := TIMESTAMP_KEYS & set(cell.metadata):
            complaints.append(f"metadata {number}: {', '.join(sorted(found))}")
    for number, _, output in outputs(notebook):
        text = joined(output.get("text", "")) + joined(output.get("data", {}).get("text/plain", ""))
        if found := re.search(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d", text):
            complaints.append(f"cell {number} prints a time: {found[0]}")
    return complaints


def enough_checked_cells(notebook):
    """Cells whose output must be the same everywhere; an empty output would check nothing."""
    checked = [cell for _, cell in code_cells(notebook) if "nbval-check-output" in tags(cell)]
    silent = [f"a cell tagged nbval-check-output prints nothing: {c.source[:50]!r}" for c in checked if not c.outputs]
    few = f"{len(checked)} cells are tagged nbval-check-output, at least {FEWEST_CHECKED} should be"
    return silent + ([few] if len(checked) < FEWEST_CHECKED else [])


def short_cells(notebook):
    lengths = [(number, len(cell.source.splitlines())) for number, cell in code_cells(notebook)]
    return [f"cell {number} has {n} lines, more than {LONGEST_CELL}" for number, n in lengths if n > LONGEST_CELL]


def small_enough(notebook):
    size = len(nbformat.writes(notebook).encode())
    return [] if size <= LARGEST else [f"{size:,} bytes, more than {LARGEST:,}"]


def nothing_loaded_from_elsewhere(notebook):
    """A link to click is fine; a script, style, font or picture from another host is blank behind a firewall."""
    complaints = []
    for number, _, output in outputs(notebook):
        for kind in ("text/html", "application/javascript", "image/svg+xml"):
            text = joined(output.get("data", {}).get(kind, ""))
            text = re.sub(r"\bxmlns(:\w+)?\s*=\s*([\"']).*?\2", "", text)
            text = re.sub(r"<a\s[^>]*>", "", text)
            if found := re.search(r"https?://[^\s\"'<>]+|\b(?:src|href)\s*=\s*[\"']//[^\"']+", text):
                complaints.append(f"cell {number} has {found[0]!r} in its {kind}")
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown" and (
            found := re.search(r"!\[[^\]]*\]\(\s*https?:[^)]*\)|\bsrc\s*=\s*[\"'](https?:)?//[^\"']*", cell.source)
        ):
            complaints.append(f"the text of cell {number} loads {found[0]!r}")
    return complaints


def no_tricks(notebook):
    """Everything comes from the installed package; nothing is installed, and no shell is assumed."""
    trick = re.compile(
        r"sys\.path|^\s*!|^\s*[%!]+\s*(?:pip|conda|uv|bash|sh|script|system|sx)\b|subprocess\S*\(.*\bpip\b|os\.chdir|^\s*%cd\b",
        re.MULTILINE,
    )
    found = [(number, trick.search(cell.source)) for number, cell in code_cells(notebook)]
    return [f"cell {number} uses {match[0].strip()!r}" for number, match in found if match]


def pictures_have_alt_text(notebook):
    complaints = []
    for number, cell, output in outputs(notebook):
        for kind in [kind for kind in output.get("data", {}) if kind.startswith("image/")]:
            described = (
                output.metadata.get(kind, {}).get("alt") or output.metadata.get("alt") or cell.metadata.get("alt")
            )
            if not str(described or "").strip():
                complaints.append(f"the picture of cell {number} has no alt text")
    html = [(number, joined(output.get("data", {}).get("text/html", ""))) for number, _, output in outputs(notebook)]
    html += [(number, cell.source) for number, cell in enumerate(notebook.cells) if cell.cell_type == "markdown"]
    for number, text in html:
        for tag in re.findall(r"<img\b[^>]*>", text):
            if not re.search(r"\balt\s*=\s*([\"'])\s*\S.*?\1", tag):
                complaints.append(f"an <img> in cell {number} has no alt text")
        if re.search(r"!\[\s*\]\(", text):
            complaints.append(f"a picture in the text of cell {number} has no alt text")
    return complaints


def no_paths_of_a_machine(notebook):
    """A traceback names the package's files as they are called from the clone."""
    said = [
        (number, joined(output.get("traceback", "")) + joined(output.get("text", "")))
        for number, _, output in outputs(notebook)
    ]
    found = [
        (number, re.search(r"(?<![\w.])/(?:[\w.-]+/)+[\w-]+\.py\b", re.sub(r"\x1b\[[\d;]*m", "", text)))
        for number, text in said
    ]
    return [f"cell {number} names {match[0]}, a file of one machine" for number, match in found if match]


def calm_words(notebook):
    complaints = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "markdown":
            continue
        text = prose(cell.source)
        words = re.findall(rf"\b(?:{'|'.join(FORBIDDEN_WORDS)})\b", text, re.IGNORECASE)
        complaints += [f"the text of cell {number} says {word!r}" for word in words]
        if "!" in text:
            complaints.append(f"the text of cell {number} has an exclamation mark")
    return complaints


def guesses_are_not_answered_in_sight(notebook):
    """Some cell after each `predict` has the output that answers it; it is tagged, and so collapsed."""
    cells, complaints = code_cells(notebook), []
    for index, (number, cell) in enumerate(cells):
        if not re.search(r"^predict\(", cell.source, re.MULTILINE):
            continue
        answers = [later for _, later in cells[index + 1 :] if tool.ANSWER in tags(later)]
        if not answers:
            complaints.append(f"the guess of cell {number} is answered by no cell tagged {tool.ANSWER}")
        elif not all(later.metadata.get("jupyter", {}).get("outputs_hidden") for later in answers):
            complaints.append(f"the answer to the guess of cell {number} can be seen before guessing")
    return complaints


RULES = [
    executed_in_order, kernel_is_python3, nothing_on_stderr, no_unexpected_error, no_widget_state, no_timestamps,
    enough_checked_cells, short_cells, small_enough, nothing_loaded_from_elsewhere, no_tricks, pictures_have_alt_text,
    calm_words, guesses_are_not_answered_in_sight, no_paths_of_a_machine,
]  # fmt: skip


def twin_in_sync(path):
    """What the text twin says is what the notebook says: `python -m gptlab notebooks` writes both."""
    twin = tool.twin_of(path)
    if not twin.exists():
        return [f"{path.stem} has no text twin; `python -m gptlab notebooks --sync-only {path.stem}` writes it"]
    if twin.read_text(encoding="utf-8") == tool.twin_text(nbformat.read(path, as_version=4)):
        return []
    return [f"{path.stem} and its text twin differ; run `python -m gptlab notebooks [--from-text] {path.stem}`"]


# ----------------------------------------------------------------------------------------- the notebooks of the course


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_each_notebook_keeps_every_rule(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    complaints = [f"{rule.__name__}: {complaint}" for rule in RULES for complaint in rule(notebook)]
    complaints += twin_in_sync(path)
    assert not complaints, "\n".join([path.name, *complaints])


def test_every_text_twin_has_its_notebook():
    orphans = [twin.name for twin in (FOLDER / "text").glob("*.py") if not (FOLDER / f"{twin.stem}.ipynb").exists()]
    assert not orphans, f"text twins without a notebook: {orphans}"


# ---------------------------------------------------------------------------------- each rule can find what it forbids


def good():
    """A notebook that keeps all rules."""
    cells = [new_markdown_cell("# Five squares\n\nA [link](https://example.org) is fine, and so is `a != b`, $n!$.")]
    for n in range(1, 6):
        printed = new_output("stream", name="stdout", text=f"{n * n}\n")
        metadata = {"tags": ["nbval-check-output"]}
        cells.append(new_code_cell(f"print({n}**2)", execution_count=n, outputs=[printed], metadata=metadata))
    picture = new_output(
        "display_data", data={"image/png": "iVBORw0KGgo="}, metadata={"image/png": {"alt": "squares, rising"}}
    )
    cells.append(new_code_cell("draw()", execution_count=6, outputs=[picture]))
    cells.append(new_code_cell('predict("squares.a", ...)', execution_count=7))
    answer = {"tags": [tool.ANSWER], "jupyter": {"outputs_hidden": True}}
    cells.append(new_code_cell("6**2", execution_count=8, metadata=answer))
    return new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


def with_html(notebook, html, kind="text/html"):
    notebook.cells[1].outputs.append(new_output("display_data", data={kind: html}))


def with_source(notebook, source):
    notebook.cells[1].source = source


def with_prose(notebook, source):
    notebook.cells[0].source = source


def with_printed(notebook, **output):
    notebook.cells[1].outputs.append(new_output(**output))


def without_tags(notebook):
    notebook.cells[1].metadata.clear()


BREACHES = [
    (executed_in_order, lambda n: n.cells[2].update(execution_count=None), "None"),
    (executed_in_order, lambda n: n.cells[2].update(execution_count=7), "[1, 7, 3"),
    (executed_in_order, lambda n: [cell.update(execution_count=None) for _, cell in code_cells(n)], "not 1, 2, 3"),
    (kernel_is_python3, lambda n: n.metadata.kernelspec.update(name="my-conda"), "my-conda"),
    (kernel_is_python3, lambda n: n.metadata.clear(), "None"),
    (nothing_on_stderr, lambda n: with_printed(n, output_type="stream", name="stderr", text="UserWarning: x"), "UserW"),
    (no_unexpected_error, lambda n: with_printed(n, output_type="error", ename="KeyError", evalue="'a'"), "KeyError"),
    (no_widget_state, lambda n: n.metadata.update(widgets={}), "widget state"),
    (no_widget_state, lambda n: with_html(n, {"model_id": "0"}, "application/vnd.jupyter.widget-view+json"), "cell 1"),
    (no_timestamps, lambda n: n.cells[1].metadata.update(execution={"iopub.status.idle": "2026"}), "execution"),
    (no_timestamps, lambda n: with_printed(n, output_type="stream", name="stdout", text="at 2026-11-22 16:05"), "2026"),
    (enough_checked_cells, without_tags, "4 cells"),
    (enough_checked_cells, lambda n: n.cells[1].update(outputs=[]), "prints nothing"),
    (short_cells, lambda n: with_source(n, "x = 1\n" * 26), "26 lines"),
    (small_enough, lambda n: with_html(n, "x" * LARGEST), "bytes"),
    (
        nothing_loaded_from_elsewhere,
        lambda n: with_html(n, '<script src="https://cdn.example/d3.js"></script>'),
        "d3.js",
    ),
    (nothing_loaded_from_elsewhere, lambda n: with_html(n, '<img alt="x" src="//cdn.example/a.png">'), "a.png"),
    (
        nothing_loaded_from_elsewhere,
        lambda n: with_html(n, "<style>@import url(http://a.example/b)</style>"),
        "http://a",
    ),
    (
        nothing_loaded_from_elsewhere,
        lambda n: with_html(n, "import('https://cdn.example/x')", "application/javascript"),
        "cdn",
    ),
    (nothing_loaded_from_elsewhere, lambda n: with_prose(n, "![a map](https://example.org/map.png)"), "map.png"),
    (no_tricks, lambda n: with_source(n, "import sys\nsys.path.append('..')"), "sys.path"),
    (no_tricks, lambda n: with_source(n, "!pip install torch"), "!"),
    (no_tricks, lambda n: with_source(n, "%pip install torch"), "%pip"),
    (no_tricks, lambda n: with_source(n, "%%bash\nls"), "%%bash"),
    (no_tricks, lambda n: with_source(n, "import os\nos.chdir('..')"), "os.chdir"),
    (pictures_have_alt_text, lambda n: n.cells[6].outputs[0].metadata.clear(), "cell 6"),
    (pictures_have_alt_text, lambda n: with_html(n, '<img src="data:image/png;base64,AA==">'), "<img>"),
    (pictures_have_alt_text, lambda n: with_prose(n, "![](attachment:a.png)"), "cell 0"),
    (calm_words, lambda n: with_prose(n, "You simply add them."), "simply"),
    (calm_words, lambda n: with_prose(n, "It is Just a table."), "Just"),
    (calm_words, lambda n: with_prose(n, "Obviously, it learns."), "Obviously"),
    (calm_words, lambda n: with_prose(n, "It learns!"), "exclamation"),
    (
        no_paths_of_a_machine,
        lambda n: with_printed(n, output_type="stream", name="stdout", text="in /home/ada/gptlab/bpe.py:5"),
        "ada",
    ),
    (guesses_are_not_answered_in_sight, lambda n: n.cells[8].metadata.clear(), "no cell tagged"),
    (guesses_are_not_answered_in_sight, lambda n: n.cells[8].metadata.pop("jupyter"), "before guessing"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_good_notebook_keeps(rule):
    assert rule(good()) == []


@pytest.mark.parametrize(("rule", "break_it", "said"), BREACHES, ids=lambda x: getattr(x, "__name__", None))
def test_a_breach_is_found_and_named(rule, break_it, said):
    notebook = good()
    break_it(notebook)
    complaints = rule(notebook)
    assert complaints and said in complaints[0], complaints


def test_every_rule_has_a_breach():
    assert {rule for rule, _, _ in BREACHES} == set(RULES)


@pytest.mark.parametrize(
    "text",
    [
        "He adjusts the justified weights.",
        "`simply` and\n```python\nassert a != b  # just so!\n```\nend",
        "![a bar for each token](attachment:a.png)",
        "<!-- just a note! --> The factorial $n!$ grows.",
    ],
)
def test_what_is_not_prose_is_free(text):
    notebook = good()
    with_prose(notebook, text)
    assert calm_words(notebook) == []


def test_an_error_that_is_asked_for_is_allowed():
    notebook = good()
    with_printed(notebook, output_type="error", ename="KeyError", evalue="'a'")
    notebook.cells[1].metadata.tags.append("raises-exception")
    assert no_unexpected_error(notebook) == []


def test_alt_text_in_the_cells_metadata_counts():
    notebook = good()
    notebook.cells[6].outputs[0].metadata.clear()
    notebook.cells[6].metadata["alt"] = "squares, rising"
    assert pictures_have_alt_text(notebook) == []


def test_links_and_namespaces_load_nothing():
    notebook = good()
    with_html(notebook, '<a title="more" href="https://example.org">more</a>')
    with_html(notebook, '<svg xmlns="http://www.w3.org/2000/svg"></svg>', "image/svg+xml")
    assert nothing_loaded_from_elsewhere(notebook) == []


def test_a_twin_that_differs_or_is_missing_is_found(tmp_path):
    path, notebook = tmp_path / "01_squares.ipynb", good()
    tool.write(path, notebook)
    assert "no text twin" in twin_in_sync(path)[0]
    write_whole(tool.twin_of(path), tool.twin_text(notebook))
    assert twin_in_sync(path) == []
    changed = copy.deepcopy(notebook)
    changed.cells[1].source = "print(1 + 0)"
    tool.write(path, changed)
    assert "differ" in twin_in_sync(path)[0]
