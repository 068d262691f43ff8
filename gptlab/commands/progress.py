"""`python -m gptlab progress`: what a reader has done, in the terminal."""


def progress() -> None:
    """Show which exercises are done, and where that is stored."""
    from gptlab import exercises
    from gptlab.exercises import store

    print(exercises.progress())
    file = store.place()
    print("\nGPTLAB_PROGRESS is off: nothing is stored." if file is None else f"\nstored in {file}")
