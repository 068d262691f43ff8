"""What `python -m gptlab <command>` can do. Each command reads its options, calls one function, and prints.

A command's module is imported when the command is run, so the list of commands appears at once, and `start` and `test`
work with a bare Python that has nothing installed.
"""

import contextlib
import difflib
import importlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from gptlab.commands import environment

COMMANDS = {
    "start": "set everything up in .venv and open your copy of the first notebook in JupyterLab",
    "test": "set everything up in .venv and run all tests, of the package and of the notebooks",
    "progress": "show which exercises are done, hand them in, move them, begin again",
    "reset": "lay a notebook in my_course/ again, and keep your copy beside it",
    "doctor": "look at Python, packages, device, files and Jupyter, and say what to do about each problem",
    "fetch": "get texts and vocabularies now, for lessons without a network",
    "wheels": "download the packages of the course, for machines without a network",
    "prepare": "tokenize texts of any size into shards to train on",
    "train": "train a GPT on a text",
    "sample": "generate text with a trained GPT",
    "chat": "talk to a fine-tuned GPT",
    "page": "put a trained GPT into one HTML file that runs it in any browser",
    "site": "write the whole course as web pages that need no server and no network",
    "export": "save a trained GPT so that Hugging Face's transformers opens it",
    "classroom": "for teachers: hand the course out, collect and mark what comes back",
    "bench": "measure training, sampling and tokenizers on this machine",
    "mutate": "for maintainers: plant small faults in the package, and see which no test notices",
    "notebooks": "for maintainers: run notebooks in order, store their outputs, sync their text twins",
}
_BEFORE_INSTALLATION = ("start", "test")


def overview() -> str:
    """The list of commands, as `--help` prints it."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
    call = environment.python_call()
    return "\n".join([f"usage: {call} <command> [options]", "", *lines, "", f"{call} <command> --help says more."])


def unknown(name: str) -> str:
    """The sentence for a command that does not exist.

    >>> print(unknown("trian"))
    There is no command 'trian'; perhaps you mean 'train'. The commands are start, test, ...
    """
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    guess = f"; perhaps you mean '{close[0]}'" if close else ""
    return f"There is no command '{name}'{guess}. The commands are {', '.join(COMMANDS)}."


def run(arguments: list[str]) -> int:
    """Run the command that `arguments` begin with, and return the exit code of the process."""
    _write_every_character()
    try:
        try:
            return _run(arguments)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, where a closed pipe can still be answered
    except BrokenPipeError:
        return _end_quietly()


def _write_every_character() -> None:
    """Let output be UTF-8 in files and pipes, and let no console stop at a character that it cannot show."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError):  # a stream that cannot be asked where it stands stays as it is
                stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")


def _end_quietly() -> int:
    """Nobody reads on, as in `sample | head -c 20`: what has not been written yet goes nowhere."""
    with contextlib.suppress(OSError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + 13  # what a shell says of a program that SIGPIPE ended


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        print(unknown(name), file=sys.stderr)
        return 2
    if name in _BEFORE_INSTALLATION:
        return environment.main(name, rest)
    try:
        import tyro

        module = importlib.import_module(f"gptlab.commands.{name}")
        if hasattr(module, "SUBCOMMANDS"):
            if not rest or rest[0] not in module.SUBCOMMANDS:
                return _which_subcommand(name, module.SUBCOMMANDS, rest)
            command = _function(module.SUBCOMMANDS[rest[0]])
            name, rest = f"{name} {rest[0]}", rest[1:]
        else:
            command = getattr(module, name)
    except ModuleNotFoundError as missing:
        if missing.name and missing.name.startswith("gptlab"):
            raise
        return _in_the_environment(arguments, missing.name or str(missing))
    from gptlab.commands import failures

    if twice := failures.repeated(rest):
        print(f"{name}: {twice} is given twice: leave out one of them", file=sys.stderr)
        return 2
    try:
        code = tyro.cli(command, prog=f"python -m gptlab {name}", args=rest)
    except BrokenPipeError:
        raise
    except Exception as error:
        said = failures.in_words(error, name)
        if said is None or failures.wants_traceback():
            raise
        print(f"{name}: {said}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted.", file=sys.stderr)
        return 130
    return code if type(code) is int else 0


def _function(place: str) -> Callable:
    """The function that "module:function" names."""
    module, _, function = place.partition(":")
    return getattr(importlib.import_module(module), function)


def _which_subcommand(name: str, subcommands: dict[str, str], rest: list[str]) -> int:
    """List the subcommands of a command; for one that does not exist, say so."""
    if rest and rest[0] not in ("-h", "--help", "help"):
        close = difflib.get_close_matches(rest[0], subcommands, n=1)
        guess = f"; perhaps you mean '{close[0]}'" if close else ""
        print(f"{name}: there is no '{name} {rest[0]}'{guess}. There are {', '.join(subcommands)}.", file=sys.stderr)
        return 2
    width, call = max(map(len, subcommands)), f"{environment.python_call()} {name}"
    first = {one: (_function(place).__doc__ or "").strip().partition("\n")[0] for one, place in subcommands.items()}
    lines = [f"  {one:<{width}}  {said}" for one, said in first.items()]
    print("\n".join([f"usage: {call} <what> [options]", "", *lines, "", f"{call} <what> --help says more."]))
    return 0


def _in_the_environment(arguments: list[str], missing: str) -> int:
    """Pass the command on to the Python of `.venv`, when the present one lacks a package and that one is ready."""
    folder = environment.clone() / ".venv"
    if environment.stamp(folder) and Path(sys.prefix).resolve() != folder.resolve():
        return subprocess.call([str(environment.python_in(folder)), "-m", "gptlab", *arguments])
    print(
        f"{arguments[0]}: this Python has no package '{missing}'. "
        f"`{environment.python_call()} start` in the folder of the course installs everything into .venv."
    )
    return 1
