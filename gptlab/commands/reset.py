"""`python -m gptlab reset`: begin a notebook again."""

from typing import Annotated

import tyro

from gptlab.commands import environment, working_copy


def reset(notebook: Annotated[str, tyro.conf.Positional]) -> None:
    """Lay a notebook in my_course/ again, without outputs; your copy gets another name beside it.

    Args:
        notebook: Its topic, name or number: attention, 06_attention, 6.
    """
    new, old = working_copy.reset(environment.clone(), notebook)
    aside = f" Your copy is now called {old.name}." if old is not None else ""
    print(f"{new.parent.name}/{new.name} is as in the course.{aside}")
