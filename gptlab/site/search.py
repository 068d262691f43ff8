"""Search without a server: every heading of the site with its first words, in a script that each page loads.

A browser reads no data file from the disk by itself, but it does read a script that lies beside the page. The search
itself is in `assets/site.js`.
"""

import json
from collections.abc import Iterable

from gptlab.entrances import guard
from gptlab.site.rendering import Heading


def index(pages: Iterable[tuple[str, str, Iterable[Heading]]]) -> str:
    r"""The script with the index.

    Args:
        pages: of each its file, its title and its headings.

    >>> print(index([("01_tokens.html", "01 Tokens", [Heading(2, "Bytes", "Bytes", "A byte is <small>.")])]))
    var courseIndex = [
    ["01_tokens.html","01 Tokens",[["Bytes","Bytes","A byte is \u003csmall>."]]]
    ];
    """
    lines = [
        json.dumps(
            [file, title, [[heading.anchor, heading.text, heading.words] for heading in headings]],
            ensure_ascii=False,
            separators=(",", ":"),
        ).replace("<", "\\u003c")
        for file, title, headings in pages
    ]
    return "var courseIndex = [\n" + ",\n".join(lines) + "\n];\n"


guard(globals())
