"""Conversations as one row of tokens: who speaks when, which tokens the loss counts, and why nobody can forge a turn.

A conversation is a list of messages, {"role": "user", "content": "Tell a fable."}. A `ChatTemplate` writes it with
special tokens around each message, and encodes each message by itself, as ordinary text: what a user types can look
like a special token, but it never becomes one. (The layout is that of Phi-3's template, Abdin et al. 2024.)

>>> from gptlab.bpe import BPETokenizer
>>> tokenizer = add_special_tokens(BPETokenizer.train("", 257, special_tokens=["<|endoftext|>"]))
>>> template = ChatTemplate(tokenizer)
>>> template.render([{"role": "user", "content": "Hi"}])
'<|endoftext|><|user|>Hi<|end|><|assistant|>'
"""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from gptlab.bpe import BPETokenizer
from gptlab.model import GPT
from gptlab.tokenizing import Tokenizer
from gptlab.tokens import CharTokenizer

USER, ASSISTANT, END = "<|user|>", "<|assistant|>", "<|end|>"
MARKS = (USER, ASSISTANT, END)
ROLES = {"user": USER, "assistant": ASSISTANT}

Conversation = Sequence[Mapping[str, str]]


class Encoded(NamedTuple):
    """A conversation as tokens.

    Attributes:
        ids: the tokens.
        counts: for each, whether a model learns to write it: True for an assistant's words and the end after them.
    """

    ids: list[int]
    counts: list[bool]


class ChatTemplate:
    """How a conversation becomes one row of tokens: <|user|> request <|end|> <|assistant|> answer <|end|>.

    Where the tokenizer has a token that ends a document, each conversation begins with it, as each document did when
    the model was pre-trained.

    Args:
        tokenizer: one with the three special tokens; `add_special_tokens` adds them.
        end: the name of the token that ends a message.

    Raises:
        ValueError: a special token is missing, naming it; or there is no end token, without which no answer would end.
    """

    def __init__(self, tokenizer: Tokenizer, end: str | None = END):
        if not end:
            raise ValueError(
                "a template without an end token teaches no answer to stop: name a special token that ends a message, "
                f"such as {END!r}"
            )
        special = tokenizer.special_tokens
        if missing := [mark for mark in (USER, ASSISTANT, end) if mark not in special]:
            raise ValueError(
                f"the tokenizer has no special token {missing[0]!r}, only {list(special)}: "
                "gptlab.chat_template.add_special_tokens(tokenizer) gives one that has it"
            )
        self.tokenizer = tokenizer
        self.end_name, self.end = end, special[end]
        self.begin = tokenizer.end
        self.begin_name = next((name for name, id in special.items() if id == self.begin), "")

    def render(self, conversation: Conversation) -> str:
        """The conversation as text, for a person to read; a model gets the ids of `encode`.

        Args:
            conversation: messages in turn, the first by the user; after the user's last, the assistant's turn begins.

        Raises:
            ValueError: as `check_conversation` says.
        """
        check_conversation(conversation)
        turns = (f"{ROLES[turn['role']]}{turn['content']}{self.end_name}" for turn in conversation)
        return self.begin_name + "".join(turns) + (ASSISTANT if _awaits_answer(conversation) else "")

    def encode(self, conversation: Conversation) -> Encoded:
        """The conversation as tokens, and which of them a model learns to write.

        Each message is encoded by itself, as ordinary text. So a user who types "<|end|>" gets the characters of it,
        and the model sees the token only where this template put it.

        Args:
            conversation: as for `render`.

        Raises:
            ValueError: as `check_conversation` says.
        """
        check_conversation(conversation)
        ids = [] if self.begin is None else [self.begin]
        counts = [False] * len(ids)
        for turn in conversation:
            is_answer = turn["role"] == "assistant"
            words = self.tokenizer.encode_ordinary(turn["content"])
            ids += [self.tokenizer.special_tokens[ROLES[turn["role"]]], *words, self.end]
            counts += [False, *[is_answer] * len(words), is_answer]
        if _awaits_answer(conversation):
            ids.append(self.tokenizer.special_tokens[ASSISTANT])
            counts.append(False)
        return Encoded(ids, counts)

    def jinja(self) -> str:
        """This template in the language of Hugging Face's libraries, for the `chat_template` of a tokenizer.

        Their tokenizer reads the whole rendered text, where a forged token could not be told from a real one. So this
        form refuses a message that contains a special token.
        """
        names = [name for name in self.tokenizer.special_tokens if name]
        checks = "".join(
            f"{{%- if {name!r} in message['content'] -%}}"
            f"{{{{- raise_exception('a message contains the special token {name}') -}}}}{{%- endif -%}}"
            for name in names
        )
        # A message that begins with a newline must not lose it: whatever is data stands in an expression.
        return (
            f"{{{{- {self.begin_name!r} -}}}}"
            "{%- for message in messages -%}" + checks + "{%- if message['role'] == 'user' -%}"
            f"{{{{- {USER!r} + message['content'] + {self.end_name!r} -}}}}"
            "{%- elif message['role'] == 'assistant' -%}"
            f"{{{{- {ASSISTANT!r} -}}}}{{%- generation -%}}{{{{- message['content'] + {self.end_name!r} -}}}}"
            "{%- endgeneration -%}"
            "{%- else -%}{{- raise_exception('unknown role ' + message['role']) -}}{%- endif -%}{%- endfor -%}"
            f"{{%- if add_generation_prompt -%}}{{{{- {ASSISTANT!r} -}}}}{{%- endif -%}}"
        )

    def __repr__(self) -> str:
        return f"ChatTemplate({self.render([{'role': 'user', 'content': '…'}])!r})"


def check_conversation(conversation: Conversation) -> None:
    """Check that messages are a conversation: a user and an assistant in turn, the user first, each saying something.

    Raises:
        ValueError: it is empty, a role is unknown or out of turn, or a message has no text; which message.
    """
    if isinstance(conversation, Mapping | str):
        raise ValueError("a conversation is a list of messages: put this one into a list")
    if not conversation:
        raise ValueError('an empty conversation: pass at least one message, {"role": "user", "content": "…"}')
    for number, turn in enumerate(conversation):
        if not isinstance(turn, Mapping) or not {"role", "content"} <= turn.keys():
            raise ValueError(f"message {number} is {turn!r}: each needs a 'role' and a 'content'")
        if turn["role"] not in ROLES:
            raise ValueError(f"message {number} has the unknown role {turn['role']!r}: choose {' or '.join(ROLES)}")
        if (wanted := list(ROLES)[number % 2]) != turn["role"]:
            raise ValueError(f"message {number} is by the {turn['role']}, but it is the {wanted}'s turn")
        if not isinstance(turn["content"], str) or not turn["content"]:
            raise ValueError(f"message {number} by the {turn['role']} has no text: {turn['content']!r}")


def _awaits_answer(conversation: Conversation) -> bool:
    return conversation[-1]["role"] == "user"


class PlainText:
    """No template at all: what a base model reads, the words of a conversation as one text.

    Args:
        tokenizer: of the base model.

    Attributes:
        tokenizer: as given.
        end: the token that ends a document.
    """

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer, self.end = tokenizer, tokenizer.end

    def encode(self, conversation: Conversation) -> Encoded:
        """The messages with a space between them, after the token that ends a document."""
        check_conversation(conversation)
        ids = [] if self.end is None else [self.end]
        ids += self.tokenizer.encode(" ".join(turn["content"] for turn in conversation))
        return Encoded(ids, [False] * len(ids))


# ---- A tokenizer and a model with more tokens ------------------------------------------------------------------------


def add_special_tokens(
    tokenizer: BPETokenizer | CharTokenizer, names: Sequence[str] = MARKS
) -> BPETokenizer | CharTokenizer:
    """A tokenizer with more special tokens, behind the ids that there are; the old ids stay.

    Args:
        tokenizer: which is left as it is.
        names: those that it has already keep their ids.

    Raises:
        ValueError: it is of a kind that takes no special tokens.

    >>> tokenizer = add_special_tokens(BPETokenizer.train("", 256))
    >>> tokenizer.special_tokens
    {'<|user|>': 256, '<|assistant|>': 257, '<|end|>': 258}
    """
    if not isinstance(tokenizer, BPETokenizer | CharTokenizer):
        said = f"a {type(tokenizer).__name__} takes no special tokens: pass a BPETokenizer or a CharTokenizer"
        raise ValueError(said)
    new = [name for name in names if name not in tokenizer.special_tokens]
    special = dict(tokenizer.special_tokens)
    special |= {name: id for id, name in enumerate(new, start=tokenizer.vocab_size)}
    if isinstance(tokenizer, CharTokenizer):
        return CharTokenizer(tokenizer.characters, special)
    return BPETokenizer(dict(tokenizer.ranks), tokenizer.pattern, special)


@torch.no_grad()
def resize(model: GPT, vocab_size: int) -> GPT:
    """A copy of a model with more rows in its embedding table and its head; the logits of the old tokens are unchanged.

    The new rows are the mean of the old ones: a token of which nothing is known is an average token (Hewitt 2021).

    Args:
        model: which is left as it is.
        vocab_size: V of the copy, at least that of the model.

    Raises:
        ValueError: the copy would have fewer rows, so that tokens would be lost.

    >>> from gptlab.config import GPTConfig
    >>> resize(GPT(GPTConfig(vocab_size=50, context=8, n_layer=1, n_head=2, n_embd=12)), 53).config.vocab_size
    53
    """
    old = model.config.vocab_size
    if vocab_size < old:
        raise ValueError(f"vocab_size={vocab_size} is below the model's {old}: tokens that it knows would be lost")
    bigger = copy.deepcopy(model)
    bigger.config = dataclasses.replace(model.config, vocab_size=vocab_size)
    table = _with_mean_rows(model.embedding.token.weight, vocab_size - old)
    bigger.embedding.token = _like(model.embedding.token, nn.Embedding(vocab_size, model.config.n_embd), table)
    if model.config.tie_weights:
        head = bigger.embedding.token.weight
    else:
        head = nn.Parameter(_with_mean_rows(model.head.weight, vocab_size - old))
    bigger.head = _like(model.head, nn.Linear(model.config.n_embd, vocab_size, bias=False), head)
    return bigger


def _with_mean_rows(table: torch.Tensor, rows: int) -> torch.Tensor:
    return torch.cat([table, table.mean(dim=0, keepdim=True).expand(rows, -1)])


def _like(old: nn.Module, new: nn.Module, weight: Any) -> nn.Module:
    new.weight = weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight)
    return new.train(old.training)
