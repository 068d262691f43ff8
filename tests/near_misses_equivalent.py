"""Near misses that are no mistakes: on every input that their exercise permits they do what the solution does.

Exercise, then the near miss as `python tests/near_misses.py` calls it, then the reason.
"""

EQUIVALENT: dict[str, dict[str, str]] = {}
