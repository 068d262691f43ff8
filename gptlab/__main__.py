"""`python -m gptlab <command>`: everything that the package can do from a terminal.

`start` and `test` run before anything is installed, so this file needs the standard library only,
and it must even be readable by a Python that is too old, in order to say so.
"""

import sys

OLDEST_PYTHON = (3, 10)


def too_old(version):
    """What to tell somebody whose Python is older than the course's oldest; "" if it is new enough.

    >>> too_old((3, 8, 18))
    'gptlab needs Python 3.10 or newer, and this is Python 3.8. Install a newer one, then run the same command with it.'
    >>> too_old((3, 13, 0))
    ''
    """
    if tuple(version[:2]) >= OLDEST_PYTHON:
        return ""
    sentence = "gptlab needs Python %d.%d or newer, and this is Python %d.%d. "  # an old Python knows no f-strings
    return sentence % (*OLDEST_PYTHON, *version[:2]) + "Install a newer one, then run the same command with it."


def main(arguments=None):
    """Run one command; the number that comes back is the exit code, 0 when all is well."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    problem = too_old(sys.version_info)
    if problem:
        print(problem)
        return 1
    from gptlab import commands

    return commands.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
