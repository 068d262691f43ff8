"""`python -m gptlab page`: one HTML file that runs a trained GPT in any browser."""

from pathlib import Path
from typing import Literal

from gptlab.commands.sample import COMMITTED
from gptlab.entrances import checked


@checked
def page(
    model: Path = COMMITTED,
    /,
    out: Path | None = None,
    weights: Literal["float16", "int8", "float32"] = "float16",
) -> None:
    """Write one HTML file that runs a trained GPT in any browser: no server, no network, nothing to install.

    Args:
        model: a folder with a model, a training run, or a folder of Hugging Face's with a GPT-2 or a Llama; unless
            given, the model of fables that comes with the course.
        out: the file; unless given, it has the name of the model. An earlier page there is replaced.
        weights: how they are stored: "int8" makes half the file of "float16", and "float32" twice as much.
    """
    from gptlab import page as pages

    out = Path(f"{pages.name_of(model)}.html") if out is None else out
    size = pages.write(model, out, weights)
    print(f"{out}: {size / 1e6:.2f} MB, everything included.")
    print(f"Open it with a double click, or here in a browser: {out.resolve().as_uri()}")
    print("It needs no network and no Python: send it to a friend as it is.")
