"""A conversation with a fine-tuned model that goes on: what was said stays, until the context is full."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from gptlab.chat_template import ChatTemplate
from gptlab.sampling import stream


class Chat:
    """A conversation that goes on.

    A model reads a limited number of tokens. When the conversation has more, its oldest request and answer are
    forgotten, also in the middle of a long answer.

    Args:
        model: a fine-tuned GPT.
        template: of the model.
        options: those of `sampling.stream`: `temperature`, `generator`, …

    Attributes:
        messages: the requests that were answered, and their answers.
    """

    def __init__(self, model: nn.Module, template: ChatTemplate, **options: Any):
        self.model, self.template, self.options = model, template, options
        self.messages: list[dict[str, str]] = []

    def reset(self) -> None:
        """Forget everything that has been said."""
        self.messages = []

    def say(self, text: str) -> Iterator[str]:
        """The answer to what the user says, piece by piece.

        An answer that is broken off is remembered as far as it got; a request without any answer is not.

        Args:
            text: what the user says.

        Raises:
            ValueError: it is empty, or too long for the model by itself.
        """
        request, said = {"role": "user", "content": text}, ""
        try:
            while True:
                ids, room = self._make_room(request, said)
                pieces = 0
                for piece in stream(self.model, self.template.tokenizer, ids, room, stop=self._stops, **self.options):
                    pieces += 1
                    said += piece
                    yield piece
                # A piece for each token and one for what is left: with no more than `room`, the answer ended by itself.
                if pieces <= room or not self.messages:
                    return
        finally:
            if said:
                self.messages += [request, {"role": "assistant", "content": said}]

    @property
    def _stops(self) -> list[int]:
        return [self.template.end] if self.template.begin is None else [self.template.end, self.template.begin]

    def _make_room(self, request: dict[str, str], said: str) -> tuple[list[int], int]:
        """The ids to continue, and how many more fit; the oldest messages are forgotten where none would."""
        context = self.model.config.context
        while True:
            ids = self.template.encode([*self.messages, request]).ids + self.template.tokenizer.encode_ordinary(said)
            if len(ids) < context:
                return ids, context - len(ids)
            if not self.messages:
                raise ValueError(
                    f"{len(ids)} tokens leave no room for an answer in a context of {context}: say it in fewer words"
                )
            del self.messages[:2]
