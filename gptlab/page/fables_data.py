"""The grammar of the fables as JSON, so that a page can read stories by the same rules as `gptlab.corpora.fables`.

The reader itself is `javascript/fables.js`; `tests/test_page_fables.py` holds the two to the same findings.
"""

from typing import Any

from gptlab.corpora import grammar
from gptlab.corpora.story import rival
from gptlab.entrances import guard


def fable_rules() -> dict[str, Any]:
    """The data that `gptlab.corpora.parsing` reads a story by: only lists, dictionaries, texts and whole numbers.

    The entries are `story` (templates and branches), `tables` (what each fact may be), `forms` (other words for a
    fact), `rivals` (the fact whose value a fact may not repeat), `names`, `roles` and `vices`.

    >>> rules = fable_rules()
    >>> rules["rivals"]["friend.name"], rules["forms"]["home.look"]["forest"]
    ('hero.name', 'dark')
    """
    return {
        "story": [part if isinstance(part, str) else list(part) for part in grammar.STORY],
        "tables": grammar.TABLES,
        "forms": grammar.FORMS,
        "rivals": {fact: other for fact in grammar.TABLES if (other := rival(fact))},
        "names": list(grammar.NAMES),
        "roles": list(grammar.ROLES),
        "vices": list(grammar.VICES),
    }


guard(globals())
