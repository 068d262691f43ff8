"""JSON with one entry removed or replaced: what a damaged file may contain."""

import json


def entries(value, path=()):
    """The path of every entry in a JSON value; of a list that of the first."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for name, item in items:
        yield (*path, name)
        yield from entries(item, (*path, name))


def changed(value, path, change):
    """The value with one entry removed or replaced."""
    value = json.loads(json.dumps(value))
    inner = value
    for name in path[:-1]:
        inner = inner[name]
    if change == "removed":
        del inner[path[-1]]
    else:
        inner[path[-1]] = change
    return value
