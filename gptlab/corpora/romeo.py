"""Romeo and Juliet: a text of the length that somebody brings, for notebook `your_own_gpt`; always here.

All of Shakespeare's play that is in Tiny Shakespeare (its 840 speeches, without the prologue), in a file of its own. It
stands for a text of yours, so it is read as one: `PATH` goes wherever the path of your file would.

>>> from gptlab.runs import documents
>>> speeches = documents.read([PATH])
>>> len(speeches)
840
>>> print(speeches[0])
SAMPSON:
Gregory, o' my word, we'll not carry coals.
"""

from pathlib import Path

from gptlab.corpora.registry import Entry, register

PATH = Path(__file__).resolve().parents[2] / "data" / "romeo_and_juliet.txt"


def _read() -> tuple[str, str]:
    return PATH.read_text(encoding="utf-8"), "from the data of the course"


ENTRY = register(
    Entry(
        name="romeo",
        about="Romeo and Juliet, as long as a text of your own might be; always here",
        read=_read,
        is_ready=PATH.is_file,
    )
)
