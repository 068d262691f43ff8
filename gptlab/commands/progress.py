"""`python -m gptlab progress`: what a reader has done, in the terminal, and as a file to hand in or to take along."""

from pathlib import Path
from typing import Annotated

import tyro


def progress(
    topic: tyro.conf.Positional[str] = "",
    out: Path | None = None,
    from_: Annotated[Path | None, tyro.conf.arg(name="from")] = None,
    reset: tyro.conf.FlagCreatePairsOff[bool] = False,
    yes: tyro.conf.FlagCreatePairsOff[bool] = False,
) -> int | None:
    """Show which exercises are done, and where that is stored.

    Three examples:
      python3 -m gptlab progress attention              # one notebook
      python3 -m gptlab progress --out hand-in.json     # write a file to hand in
      python3 -m gptlab progress --from hand-in.json    # add what it says to what is stored here

    Args:
        topic: Of one notebook: its topic, name or number; all unless given.
        out: Write what you have done into this file.
        from_: Add what this file says to what is stored here.
        reset: Forget all that is stored, or that of one notebook; the old file is kept beside the new one.
        yes: Reset without asking.
    """
    from gptlab import exercises, notebook
    from gptlab.exercises import hand_in, store

    named = notebook(topic).topic if topic else ""
    given = [name for name, value in (("--out", out), ("--from", from_), ("--reset", reset)) if value]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} are two things to do: give one of them")
    if named and given and not reset:
        raise ValueError(f"{given[0]} is about all notebooks: leave out {topic!r}")
    file = store.place()
    if out is not None:
        print(f"{hand_in.export(out)} has all that you have done; it names nobody, so give it your name to hand it in")
    elif from_ is not None:
        done, unknown = hand_in.take_in(from_)
        print(f"{from_}: {done} exercises are done in it, and now here")
        if unknown:
            print(f"left out, because this course has no such exercise, guess or question: {', '.join(unknown)}")
    elif reset:
        return _reset(named, yes)
    else:
        print(exercises.progress(named or None))
        print("\nGPTLAB_PROGRESS is off: nothing is stored." if file is None else f"\nstored in {file}")
        return None if named else _also()
    return None


def _also() -> None:
    print("`progress attention` shows one notebook, `progress --help` how to hand in, to move and to reset.")


def _reset(topic: str, yes: bool) -> int | None:
    from gptlab.exercises import hand_in

    if not yes and not _agreed(topic):
        print("Nothing was reset.")
        return 1
    backup = hand_in.reset(topic)
    kept = f" The old file is now {backup}." if backup else " There was no file."
    print(f"Forgotten: {f'what you did in {topic}' if topic else 'all that you did'}.{kept}")
    return None


def _agreed(topic: str) -> bool:
    try:
        said = input(f"Forget {f'what you did in {topic}' if topic else 'all that you have done'}? [y/N] ")
    except EOFError:
        print("\nNobody is there to answer: add --yes.")
        return False
    return said.strip().lower() in ("y", "yes")
