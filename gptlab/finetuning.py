"""Supervised fine-tuning: a pre-trained model learns from conversations how to answer (notebook `finetuning`).

From top to bottom: fine-tuning, asking the model that comes out, and grading its answers. A conversation becomes tokens
in `gptlab.chat_template` and batches in `gptlab.conversation_batches`; `gptlab.lora` trains fewer parameters. The
training loop is `gptlab.training.run` as it is, on other batches.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from torch import nn

from gptlab import training
from gptlab.batches import BatchSource
from gptlab.chat_template import ChatTemplate, Conversation, add_special_tokens, resize
from gptlab.conversation_batches import (
    ConversationBatches,
    MixedBatches,
    SeparateDocuments,
    masked_loss,
    masked_targets,
)
from gptlab.corpora.requests import Request
from gptlab.model import GPT
from gptlab.sampling import generate_each, stream
from gptlab.schedule import TrainConfig
from gptlab.tokenizing import Tokenizer
from gptlab.training import History

__all__ = [
    "Assistant", "ChatTemplate", "ConversationBatches", "MixedBatches", "SeparateDocuments", "answers", "finetune",
    "granted", "masked_loss", "masked_targets", "prepare", "stream_answer",
]  # fmt: skip

# ── Fine-tuning ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Assistant(NamedTuple):
    """A model that answers, and how to talk to it.

    Attributes:
        model: with rows for the special tokens.
        template: how a conversation is encoded; it has the tokenizer.
        history: what happened while it was trained.
    """

    model: GPT
    template: ChatTemplate
    history: History


def prepare(model: GPT, tokenizer: Tokenizer) -> tuple[GPT, ChatTemplate]:
    """A copy of a pre-trained model with rows for the special tokens of a conversation, and the template for it.

    Args:
        model: which is left as it is.
        tokenizer: that it was trained with.

    Raises:
        ValueError: the tokenizer takes no special tokens, or has more ids than the model.
    """
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} ids, but the model only {model.config.vocab_size}: pass the "
            "tokenizer that the model was trained with"
        )
    template = ChatTemplate(add_special_tokens(tokenizer))
    return resize(model, max(template.tokenizer.vocab_size, model.config.vocab_size)), template


def finetune(
    model: GPT,
    tokenizer: Tokenizer,
    conversations: Sequence[Conversation],
    config: TrainConfig | None = None,
    *,
    B: int = 16,
    mix: BatchSource | None = None,
    seed: int = 0,
    **options: Any,
) -> Assistant:
    """Fine-tune a copy of a pre-trained model on conversations.

    Args:
        model: which is left as it is.
        tokenizer: that it was trained with.
        conversations: each with an answer at its end.
        config: how to train; `TrainConfig()` unless given.
        B: conversations in a batch.
        mix: batches of the text of the pre-training, put beside the conversations.
        seed: of their order.
        options: as for `training.train`: `evaluate`, `folder`, `resume`, `progress`, …

    Raises:
        ValueError: as `ConversationBatches` and `prepare` say.
    """
    tuned, template = prepare(model, tokenizer)
    batches: BatchSource = ConversationBatches(conversations, template, B, tuned.config.context, seed=seed)
    if mix is not None:
        batches = MixedBatches(batches, mix)
    history = training.train(tuned, batches, config, **options)
    return Assistant(tuned.eval(), template, history)


# ── Asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def answers(
    model: nn.Module,
    template: ChatTemplate,
    prompts: Sequence[Conversation],
    *,
    batch_size: int = 64,
    **options: Any,
) -> list[str]:
    """What a model answers to each of several conversations; by default always its most probable token.

    Args:
        model: a GPT.
        template: or anything else with `encode`, `end` and `tokenizer`.
        prompts: conversations that end with the user's request.
        batch_size: prompts that are answered at once; those of about the same length go together.
        options: `generator`, and those of `SamplingOptions`.

    Raises:
        ValueError: a conversation leaves no room for an answer.
    """
    options = {"temperature": 0, "vocab_size": template.tokenizer.vocab_size} | options
    encoded = [template.encode(prompt).ids for prompt in prompts]
    found: list[str] = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(encoded[i]))
    for group in _of_like_length(order, encoded, batch_size):
        ids = [encoded[i] for i in group]
        room = _room(model, ids[-1])
        for i, row in zip(group, generate_each(model, ids, room, stop=template.end, **options), strict=True):
            new = row[len(encoded[i]) :]
            found[i] = template.tokenizer.decode(new[:-1] if new[-1:] == [template.end] else new)
    return found


def stream_answer(
    model: nn.Module, template: ChatTemplate, conversation: Conversation, **options: Any
) -> Iterator[str]:
    """The answer to a conversation, piece by piece as it is written.

    Args:
        model: a GPT.
        template: of the model.
        conversation: ends with the user's request.
        options: those of `sampling.stream`.

    Raises:
        ValueError: the conversation leaves no room for an answer.
    """
    ids = template.encode(conversation).ids
    return stream(model, template.tokenizer, ids, _room(model, ids), stop=template.end, **options)


def _room(model: nn.Module, ids: Sequence[int]) -> int:
    """How many tokens an answer may have."""
    context = model.config.context
    if len(ids) >= context:
        raise ValueError(
            f"the conversation has {len(ids)} tokens, which leaves no room for an answer in a context of {context}: "
            "leave out its oldest messages"
        )
    return context - len(ids)


def _of_like_length(order: Sequence[int], encoded: Sequence[Sequence[int]], most: int) -> Iterator[list[int]]:
    """Groups of neighbours in an order by length: within eight tokens of each other, so that all have room."""
    for _, near in itertools.groupby(order, key=lambda i: len(encoded[i]) // 8):
        near = list(near)
        yield from (near[start : start + most] for start in range(0, len(near), most))


# ── Grading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def granted(model: nn.Module, template: ChatTemplate, requests: Sequence[Request], **options: Any) -> dict[str, float]:
    """The fraction of requests that a model grants in full: of each kind, and of "all".

    Args:
        model: a GPT.
        template: of the model, as for `answers`.
        requests: with their judges.
        options: those of `answers`.

    Raises:
        ValueError: there are no requests.
    """
    if not requests:
        raise ValueError("there are no requests to grade: pass at least one")
    given = answers(model, template, [request.prompt for request in requests], **options)
    marks = [(request.kind, request.judge(said).granted) for request, said in zip(requests, given, strict=True)]
    found = {}
    for kind in [*dict.fromkeys(kind for kind, _ in marks), "all"]:
        own = [mark for name, mark in marks if kind in (name, "all")]
        found[kind] = sum(own) / len(own)
    return found
