"""The marks of a class: a table for a spreadsheet, and a page to read before the next lesson.

Everything that a submission or a file name says is text here: escaped in the page, and in the table never the beginning
of a formula. The page is one file without a script, loads nothing, and has a light and a dark theme.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from gptlab import NOTEBOOKS, html
from gptlab.classroom.grading import Row, columns, frequent_mistakes
from gptlab.exercises import registry
from gptlab.exercises.judge import FAILED, PASSED, UNTOUCHED
from gptlab.files import expanded, write_whole

FILES = ("marks.csv", "report.html")
_TITLES = {one.topic: f"{one.number:02} {one.title}" for one in NOTEBOOKS}


def write(rows: Sequence[Row], out: str | os.PathLike, release: str = "") -> list[Path]:
    """Write the table and the page into a folder, and say where they are.

    Args:
        rows: of the class.
        out: the folder; a report that is in it is replaced.
        release: the version of the course.

    Raises:
        ValueError: the folder holds something else.
    """
    folder = place(out)
    contents = {"marks.csv": as_csv(rows), "report.html": as_page(rows, release)}
    for name, text in contents.items():
        write_whole(folder / name, text)
    return [folder / name for name in contents]


def place(out: str | os.PathLike) -> Path:
    """The folder for a report, before the work is done whose result it gets.

    Args:
        out: as a person has typed it.

    Raises:
        ValueError: it is a file, or holds something else.
    """
    folder = expanded(out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {str(folder)!r} is a file, and the report is a folder: give it another name")
    others = sorted(path.name for path in folder.iterdir() if path.name not in FILES) if folder.exists() else []
    if others:
        raise ValueError(
            f"--out {str(folder)!r} holds {others[0]!r}, which is no report: name a folder that is new, empty, or has "
            "an earlier report"
        )
    return folder


# ---- The table -------------------------------------------------------------------------------------------------------


def as_csv(rows: Sequence[Row]) -> str:
    """One line for each submission, one column for each exercise.

    Args:
        rows: of the class.

    >>> print(as_csv([Row("=Ada", "ada.ipynb", "", problem="the file is empty")]).splitlines()[1])
    '=Ada,ada.ipynb,,0,the file is empty
    """
    ids = columns(rows)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["pupil", "file", "notebook", "passed", "remarks", *ids])
    for row in rows:
        remarks = " ".join(filter(None, [row.problem, *row.notes]))
        cells = [row.pupil, row.source, row.topic, row.passed, remarks, *(_word(row, id) for id in ids)]
        writer.writerow([_no_formula(cell) if isinstance(cell, str) else cell for cell in cells])
    return out.getvalue()


def _word(row: Row, id: str) -> str:
    entry = row.exercises.get(id)
    if entry is None:
        return "" if row.topic and id.partition(".")[0] != row.topic else "no answer"
    return f"known mistake: {entry['mistake']}" if entry["mistake"] else entry["state"]


def _no_formula(text: str) -> str:
    text = " ".join(text.split())
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") and text else text


# ---- The page --------------------------------------------------------------------------------------------------------


def _style() -> str:
    light = dict(ground=html.WHITE, ink=html.INK, soft=html.SLATE, edge=html.SILVER, stripe=html.STRIPE)
    light |= dict(good=html.CHIPS[2], bad=html.CHIPS[1], none=html.PALE, chip=html.BLACK, alarm=html.ALARM)
    dark = dict(ground=html.BLACK, ink=html.PALE, soft=html.SILVER, edge=html.SLATE, stripe=html.INK)
    dark |= dict(good=html.CHIPS[2], bad=html.CHIPS[1], none=html.SLATE, chip=html.BLACK, alarm=html.WEIGHT_RAMP[-1])

    def theme(colours: dict[str, str]) -> str:
        return "".join(f"--{name}:{colour};" for name, colour in colours.items())

    return (
        f":root{{color-scheme:light dark;{theme(light)}}}"
        f"@media(prefers-color-scheme:dark){{:root{{{theme(dark)}}}}}"
        "body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);margin:2rem;max-width:80rem}"
        "h1{font-size:1.6rem}h2{font-size:1.25rem;margin-top:2rem}p,li{max-width:46rem}"
        ".wide{overflow-x:auto}table{border-collapse:collapse}"
        "th,td{border:1px solid var(--edge);padding:.3rem .5rem;text-align:left;vertical-align:top}"
        "th{background:var(--stripe)}tbody th{font-weight:600}"
        "tbody th{position:sticky;left:0}.bad{min-width:11rem}.good,.none{text-align:center}"
        ".good{background:var(--good);color:var(--chip)}"
        ".bad{background:var(--bad);color:var(--chip)}.none{color:var(--soft)}"
        ".alarm{background:var(--alarm)}.soft{color:var(--soft)}"
        "summary{cursor:pointer}td details p{margin:.3rem 0}"
        "code{font-family:'DejaVu Sans Mono',Consolas,Menlo,monospace;font-size:.9em}"
    )


def as_page(rows: Sequence[Row], release: str = "") -> str:
    """The page: what to talk about, then who did what, then what could not be marked.

    Args:
        rows: of the class.
        release: the version of the course.
    """
    parts = [_head(rows, release), _mistakes(rows), _table(rows), _remarks(rows), _protection(rows)]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><title>Marks of the class</title>'
        f"<style>{_style()}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _head(rows: Sequence[Row], release: str) -> str:
    broken = sum(bool(row.problem) for row in rows)
    pupils = len({row.pupil for row in rows})
    said = (
        f"{pupils} {'pupil' if pupils == 1 else 'pupils'}, {len(rows)} {'notebook' if len(rows) == 1 else 'notebooks'}"
    )
    said += f", of which {broken} could not be marked" if broken else ""
    said += f". Course: {release}." if release else "."
    return f"<h1>Marks of the class</h1><p>{html.escape(said)}</p>"


def _mistakes(rows: Sequence[Row]) -> str:
    found = frequent_mistakes(rows)
    if not found:
        return "<h2>What to talk about</h2><p>Nobody made a mistake that the course knows by name.</p>"
    lines = [
        html.element("tr", "".join([
            html.element("td", str(len(who))), html.element("th", _exercise(id), scope="row"),
            html.element("td", html.escape(name)), html.element("td", html.escape(tell)),
            html.element("td", html.escape(", ".join(who)), **{"class": "soft"}),
        ]))
        for id, name, tell, who in found
    ]  # fmt: skip
    head = "".join(f'<th scope="col">{name}</th>' for name in ("times", "exercise", "mistake", "advice", "made by"))
    return (
        "<h2>What to talk about</h2><p>The known mistakes of the class, the most frequent first.</p>"
        '<div class="wide" tabindex="0" role="region" aria-label="mistakes"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _exercise(id: str) -> str:
    found = registry.find(id)
    return html.escape(f"{id} {found.title}" if found else id)


def _table(rows: Sequence[Row]) -> str:
    ids = columns(rows)
    head = "".join(
        html.element("th", html.escape(id), scope="col", title=getattr(registry.find(id), "title", "")) for id in ids
    )
    body = []
    for row in rows:
        name = f"{row.pupil}" + (f" · {_TITLES.get(row.topic, '')}" if row.topic else "")
        cells = [html.element("th", html.escape(name), scope="row"), html.element("td", f"{row.passed}")]
        if row.problem:
            cells.append(html.element("td", html.escape(f"⚠ {row.problem}"), **{"class": "alarm", "colspan": len(ids)}))
        else:
            cells += [_cell(row, id) for id in ids]
        body.append(html.element("tr", "".join(cells)))
    done = Counter(id for row in rows for id, entry in row.exercises.items() if entry["state"] == PASSED)
    foot = "".join(html.element("td", str(done[id]), **{"class": "none"}) for id in ids)
    return (
        "<h2>Who did what</h2><p>✓ passed, ✗ not yet (open it for what went wrong), – not attempted, and an empty cell "
        "for an exercise of another notebook. A mark says that the code gave the right results, not who wrote it.</p>"
        '<div class="wide" tabindex="0" role="region" aria-label="marks"><table>'
        f'<thead><tr><th scope="col">pupil</th><th scope="col">passed</th>{head}</tr></thead>'
        f'<tbody>{"".join(body)}</tbody><tfoot><tr><th scope="row">passed by</th><td></td>{foot}</tr></tfoot>'
        "</table></div>"
    )


def _cell(row: Row, id: str) -> str:
    entry = row.exercises.get(id)
    if entry is None or entry["state"] == UNTOUCHED:
        other = entry is None and row.topic and id.partition(".")[0] != row.topic
        return html.element("td", "" if other else "–", **{"class": "none"})
    if entry["state"] == PASSED:
        return html.element("td", "✓", **{"class": "good"}, title="passed")
    lines = [f"{entry['right']} of {entry['total']} inputs right.", entry["remark"]]
    lines += [f"{name}: {text}" for name, text in entry["facts"]]
    inside = "".join(f"<p>{html.escape(line)}</p>" for line in lines if line)
    label = html.escape(f"✗ {entry['mistake'] or FAILED}")
    return html.element("td", f"<details><summary>{label}</summary>{inside}</details>", **{"class": "bad"})


def _remarks(rows: Sequence[Row]) -> str:
    lines = [
        f"<li><b>{html.escape(row.pupil)}</b> ({html.escape(row.source)}): "
        f"{html.escape(' '.join(filter(None, [row.problem, *row.notes])))}</li>"
        for row in rows
        if row.problem or row.notes
    ]
    return f"<h2>Remarks</h2><ul>{''.join(lines)}</ul>" if lines else ""


def _protection(rows: Sequence[Row]) -> str:
    got = Counter(line for row in rows for line in row.protection)
    ran = sum(bool(row.protection) for row in rows)
    lines = "".join(f"<li>{html.escape(line)}</li>" for line, times in got.items() if times == ran)
    walled = any("read-only" in line for line in got)
    said = (
        "The system itself kept each notebook in: it could reach no network, no other process, and no file to change "
        "but its own."
        if walled
        else "Here only Python refused network, processes and writing elsewhere, which stops an accident and not an "
        "attack: mark notebooks of people you do not trust on Linux, or in a virtual machine."
    )
    return (
        f"<h2>How the notebooks were run</h2><p>{said} What is right was decided in another process, from results that "
        "are plain data. Nothing here protects against a fault in the operating system, nor shows who wrote an answer."
        f"</p><ul>{lines}</ul>"
        if ran
        else ""
    )
