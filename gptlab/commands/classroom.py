"""`python -m gptlab classroom`: hand the course out, collect what comes back, mark it, and plan the lesson."""

from pathlib import Path
from typing import Annotated, Any

import tyro

from gptlab.commands.installation import python_call
from gptlab.commands.wheels import Platform
from gptlab.entrances import Count, Positive, checked

# Each subcommand and the function that it calls; its first line of help is that function's.
SUBCOMMANDS = {
    "release": "gptlab.commands.classroom:release",
    "collect": "gptlab.commands.classroom:collect",
    "grade": "gptlab.commands.classroom:grade",
    "plan": "gptlab.commands.teaching:plan",
    "slides": "gptlab.commands.teaching:slides",
}


@checked
def release(
    notebooks: tyro.conf.Positional[tuple[str, ...]] = (),
    out: Path = Path("course.zip"),
    wheels: Path | None = None,
    platform: tuple[Platform, ...] = (),
    python: str | None = None,
) -> int | None:
    """Make a zip that pupils unpack and open: notebooks without outputs, clean twins, data, one command to start.

    Two examples:
      python3 -m gptlab classroom release attention --out lesson/course.zip
      python3 -m gptlab classroom release 0 1 2 --wheels wheels --platform linux windows macos

    Args:
        notebooks: Topics or numbers; all unless given.
        out: The zip to write.
        wheels: A folder of packages to put in, so that pupils need no network.
        platform: Fill that folder first, for these systems (with a network; the small torch, for the CPU).
        python: Their version of Python, such as 3.12; this one's unless given.
    """
    from gptlab.classroom import release as releases
    from gptlab.commands import wheels as collecting
    from gptlab.commands.environment import clone

    if python is not None and not platform:
        raise ValueError(f"--python {python} is about wheels that --platform gets: name the systems, or leave it out")
    releases.choose(notebooks, clone()), releases.place(out)  # before minutes of downloads
    if platform:
        wheels = Path("wheels") if wheels is None else wheels
    for one in dict.fromkeys(platform):
        if code := collecting.download(one, python, wheels):
            return code
    made = releases.make(notebooks, out, wheels)
    size = out.expanduser().stat().st_size / 1e6
    print(f"{out}: release {made['release']}, {len(made['notebooks'])} notebooks, {size:,.1f} MB")
    if missing := made["not there"]:
        names = " ".join(missing)
        print(f"Without {names}, which their notebooks go on without: `{python_call()} fetch {names}` gets them.")
    print(f"Pupils unpack it, open a terminal in the folder {releases.TOP}, and run `{python_call()} start`.")
    return None


@checked
def collect(folder: Annotated[Path, tyro.conf.Positional]) -> None:
    """List what a class has handed in, and what of it cannot be marked.

    Args:
        folder: With notebooks, zips or pupils' folders, in any mixture. A pupil's name is that of the folder, the zip,
            or the file.
    """
    from gptlab.classroom import submissions

    found = submissions.collect(folder)
    width = max(len(one.pupil) for one in found)
    for one in found:
        print(f"{one.pupil:<{width}}  {one.topic or '?':<14}  {one.problem or one.source}")
        for note in one.notes:
            print(f"{'':<{width}}  {'':<14}  {note}")
    broken = sum(bool(one.problem) for one in found)
    pupils = len({one.pupil for one in found})
    print(f"submissions: {len(found)}, pupils: {pupils}, cannot be marked: {broken}")


@checked
def grade(
    folder: Annotated[Path, tyro.conf.Positional],
    out: Path = Path("report"),
    jobs: Count = 2,
    seconds: Positive = 120.0,
    memory: Count = 2000,
    release: Path | None = None,
) -> None:
    """Mark what a class has handed in: a table pupil × exercise, and a page with the mistakes of the class.

    Each notebook runs in a process of its own, with limits. On Linux the system keeps it there: no network, all files
    but its own folder read-only. Elsewhere Python refuses that, which stops accidents and not attacks; the report says
    what held. Right or wrong is decided outside of that process, so a notebook cannot give itself marks.

    Args:
        folder: With notebooks, zips or pupils' folders, in any mixture.
        out: A folder for marks.csv and report.html.
        jobs: How many notebooks at once.
        seconds: How long one may take in all.
        memory: MB that one may use.
        release: The zip that they were given, or its release.json: what was made from another one is said.
    """
    from gptlab.classroom import grading, report, submissions

    report.place(out)  # before the work
    given = _manifest(release)
    found = submissions.collect(folder)
    settings = grading.Settings(int(jobs), float(seconds), int(memory), (str(folder.expanduser().resolve()),))
    done = []

    def tell(row: grading.Row) -> None:
        done.append(row)
        said = row.problem or f"{row.passed} of {len(row.exercises)} passed"
        print(f"{len(done):>3} of {len(found)}  {row.pupil}  {row.topic or '?'}: {said}", flush=True)

    rows = grading.grade(found, settings, given.get("release", ""), tell)
    for line in _changed_since(given):
        print(line)
    for path in report.write(rows, out, given.get("release", "")):
        print(path)


def _manifest(release: Path | None) -> dict[str, Any]:
    from gptlab.classroom.release import read_manifest

    if release is None:
        return {}
    if (found := read_manifest(release.expanduser())) is None:
        raise ValueError(f"--release {str(release)!r} is no release: name the zip, or the release.json in it")
    return found


def _changed_since(given: dict[str, Any]) -> list[str]:
    """Exercises that are not what they were when the pupils got them."""
    from gptlab.classroom.release import exercise_hash

    then = given.get("exercises", {})
    gone = [id for id, was in then.items() if exercise_hash(id) != was] if isinstance(then, dict) else []
    return [f"Changed since that release, and marked as they are now: {', '.join(map(str, gone))}"] if gone else []
