"""`python -m gptlab classroom plan` and `slides`: what a teacher takes into the lesson."""

from pathlib import Path

import tyro

from gptlab.entrances import checked


@checked
def plan(write: tyro.conf.FlagCreatePairsOff[bool] = False) -> None:
    """Show the lesson plans, or write them with a teaching sheet for each notebook.

    They are in notebooks/README.md and notebooks/teaching/, made from the notebooks and the exercises as they are.

    Args:
        write: Bring those files up to date.
    """
    from gptlab.classroom import plans
    from gptlab.commands.environment import clone

    if not write:
        for text in (plans.plan_short(), plans.plan_long(), plans.plan_term()):
            print(text)
        print("The sheet of each notebook is in notebooks/teaching/; --write brings all of them up to date.")
        return
    changed = plans.write(clone() / "notebooks")
    print("\n".join(f"{path} has changed" for path in changed) or "everything is up to date")


@checked
def slides(notebook: tyro.conf.Positional[str], out: Path = Path("slides")) -> None:
    """Make slides of a notebook: one HTML file with its pictures and outputs, that needs no network.

    An example:
      python3 -m gptlab classroom slides attention --out lesson

    Args:
        notebook: Its topic, name or number: attention, 06_attention, 6; or the path of an ipynb.
        out: A folder for the page.
    """
    from gptlab.classroom import slides as deck
    from gptlab.commands.environment import clone

    made = deck.write(notebook, out.expanduser(), clone() / "notebooks")
    print(f"{made}: open it in a browser. → and ← turn the pages, N shows the notes, F fills the screen.")
