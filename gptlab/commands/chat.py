"""`python -m gptlab chat`: talk to a fine-tuned GPT."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gptlab.entrances import Count, Fraction, NotNegative, checked

if TYPE_CHECKING:
    from gptlab.chat import Chat

COMMITTED = Path(__file__).resolve().parents[2] / "data" / "models" / "assistant"
HELP = "/reset forgets the conversation, /quit or Ctrl-D ends, Ctrl-C stops an answer."


@checked
def chat(
    model: Path = COMMITTED,
    /,
    temperature: NotNegative = 0.7,
    top_k: Count | None = None,
    top_p: Fraction | None = None,
    seed: int = 0,
) -> None:
    """Talk to a fine-tuned GPT; it remembers what was said until its context is full.

    Args:
        model: a folder with a model that `train finetune` has made, or any other with the same special tokens; unless
            given, the assistant that comes with the course.
        temperature: below 1 is more careful, above 1 more surprising, 0 always takes the most probable token.
        top_k: choose among the k most probable tokens only.
        top_p: choose among the fewest tokens that together reach this probability.
        seed: the same seed and the same words give the same answers.
    """
    import torch

    from gptlab.chat import Chat
    from gptlab.chat_template import ChatTemplate
    from gptlab.opening import open_model

    gpt, tokenizer = open_model(model)
    try:
        template = ChatTemplate(tokenizer)
    except ValueError as error:
        raise ValueError(f"{str(model)!r} holds a model that was not taught to hold a conversation: {error}") from error
    options = dict(temperature=temperature, top_k=top_k, top_p=top_p)
    talk = Chat(gpt, template, generator=torch.Generator().manual_seed(seed), **options)
    print('Try "Tell a fable about a proud fox and a silver bell.", then "Who found the bell?"')
    print(HELP)
    while (line := _read()) is not None:
        if line == "/quit":
            return
        if line == "/reset":
            talk.reset()
            print("(forgotten)")
        elif line.startswith("/"):
            print(f"There is no command {line!r}. {HELP}")
        elif line:
            _answer(talk, line)


def _read() -> str | None:
    """What the user types; None at the end of the input. Ctrl-C drops a line and asks again."""
    while True:
        try:
            return input("> ").strip()
        except EOFError:
            print()
            return None
        except KeyboardInterrupt:
            print(f"\n{HELP}")


def _answer(talk: "Chat", line: str) -> None:
    pieces = talk.say(line)
    try:
        for piece in pieces:
            sys.stdout.write(piece)
            sys.stdout.flush()
        print()
    except KeyboardInterrupt:
        pieces.close()  # the conversation has the answer as far as it got
        print(" …")
    except ValueError as error:
        print(f"({error})")
