"""What a check of the doctor finds, and the report of all of them."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One line of the report; a problem also says what fixes it.

    Attributes:
        level: "ok", "note" or "problem".
        text: what was found.
        fix: what to do about it, "" if nothing.
    """

    level: Literal["ok", "note", "problem"]
    text: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.level:<8} {self.text}" + (f"\n{'':8} -> {self.fix}" if self.fix else "")


def report(findings: list[Finding]) -> int:
    """Print the findings, and return the exit code: 1 if one of them is a problem.

    >>> report([Finding("ok", "Python 3.12.1")])
    ok       Python 3.12.1
    All is well.
    0
    """
    for finding in findings:
        print(finding)
    problems = sum(finding.level == "problem" for finding in findings)
    print("All is well." if not problems else f"{problems} problem{'s' * (problems > 1)} found.")
    return int(problems > 0)
