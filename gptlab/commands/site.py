"""`python -m gptlab site`: the whole course as web pages, in a folder that needs no server and no network."""

import tempfile
from pathlib import Path

from gptlab import site as sites
from gptlab.commands import environment
from gptlab.commands.sample import COMMITTED
from gptlab.entrances import checked


@checked
def site(*, out: Path, folder: Path | None = None) -> None:
    """Write all notebooks with their outputs as web pages, with search, into a folder to read from a disk or a stick.

    Open index.html in it with a double click: no server, no network, nothing to install.

    Args:
        out: the folder to write. A site of an earlier call there is replaced; anything else is left alone.
        folder: with the notebooks; unless given, those of the course.
    """
    course = environment.clone()
    sites.check_out(out)
    with tempfile.TemporaryDirectory() as draft:
        page = course / "data" / "page.html"
        if not page.is_file():
            from gptlab import page as pages

            page = Path(draft) / "page.html"
            pages.write(COMMITTED, page)
        made = sites.write(course / "notebooks" if folder is None else folder, out, page, course / "data" / "page.png")
    print(f"{out}: {made.notebooks} {'notebook' if made.notebooks == 1 else 'notebooks'}, {made.size / 1e6:.1f} MB.")
    for name in made.without_outputs:
        print(f"{name} was stored without outputs, and its page says so.")
    print(f"Open it with a double click, or here in a browser: {(out.expanduser().resolve() / 'index.html').as_uri()}")
    print("It needs no network and no Python: copy the folder to a stick as it is.")
