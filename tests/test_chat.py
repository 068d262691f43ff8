"""Talking to a fine-tuned model: what is remembered, what is forgotten, and what Ctrl-C ends."""

import pytest
import torch

from gptlab import checkpoints, commands, finetuning, training
from gptlab.bpe import BPETokenizer
from gptlab.chat import Chat
from gptlab.model import GPT, GPTConfig

BASE = BPETokenizer.train("the fox told a fable ", 270, special_tokens=["<|endoftext|>"])
TALK = [
    {"role": "user", "content": "tell"},
    {"role": "assistant", "content": "the fox told a fable"},
    {"role": "user", "content": "who?"},
    {"role": "assistant", "content": "a fox"},
]


@pytest.fixture(scope="module")
def assistant():
    torch.manual_seed(0)
    base = GPT(GPTConfig(vocab_size=BASE.vocab_size, context=40, n_layer=1, n_head=2, n_embd=16))
    config = training.TrainConfig(steps=60, learning_rate=0.02, warmup=2)
    return finetuning.finetune(base, BASE, [TALK[:2], TALK], config, B=2, progress=False)


@pytest.fixture
def folder(assistant, tmp_path):
    checkpoints.save_model(assistant.model, tmp_path / "model", assistant.template.tokenizer)
    return tmp_path / "model"


def typed(monkeypatch, *lines):
    """Let a user type some lines; an exception among them is raised where the line would be."""
    waiting = iter(lines)

    def read(prompt=""):
        line = next(waiting, EOFError())
        if isinstance(line, BaseException):
            raise line
        return line

    monkeypatch.setattr("builtins.input", read)


def test_a_conversation_is_remembered_until_it_is_reset(assistant):
    talk = Chat(assistant.model, assistant.template, temperature=0)
    assert "".join(talk.say("tell")) == "the fox told a fable"
    assert "".join(talk.say("who?")) == "a fox"
    assert talk.messages == TALK
    talk.reset()
    assert talk.messages == []


def test_where_the_context_is_full_the_oldest_exchange_is_forgotten(assistant):
    talk = Chat(assistant.model, assistant.template, temperature=0)
    talk.messages = [*TALK[:2], *TALK[:2]] * 2
    assert len(assistant.template.encode([*talk.messages, TALK[0]]).ids) > 40
    "".join(talk.say("tell"))
    assert talk.messages[-2] == TALK[0] and len(talk.messages) < 10
    assert len(assistant.template.encode(talk.messages).ids) <= 42
    with pytest.raises(ValueError, match=r"64 tokens leave no room.* context of 40"):
        "".join(talk.say("z" * 60))


def test_an_answer_that_is_broken_off_is_remembered_as_far_as_it_got(assistant):
    talk = Chat(assistant.model, assistant.template, temperature=0)
    pieces = talk.say("tell")
    first = next(pieces) + next(pieces)
    pieces.close()
    assert talk.messages == [TALK[0], {"role": "assistant", "content": first}]


def test_the_command_streams_resets_and_ends_with_the_input(monkeypatch, capsys, folder):
    typed(monkeypatch, "tell", "who?", "/reset", "", "/what", "z" * 60, "/quit", "never read")
    assert commands.run(["chat", str(folder), "--temperature", "0"]) == 0
    out = capsys.readouterr().out
    assert "the fox told a fable\na fox\n(forgotten)\n" in out
    assert "no command '/what'" in out and "leave no room" in out


def test_ctrl_c_stops_an_answer_or_a_line_but_never_the_program(monkeypatch, capsys, folder):
    said = iter([KeyboardInterrupt(), None])
    original = Chat.say

    def say(self, text):
        for number, piece in enumerate(original(self, text)):
            if number == 2 and (error := next(said)) is not None:
                raise error
            yield piece

    monkeypatch.setattr(Chat, "say", say)
    typed(monkeypatch, KeyboardInterrupt(), "tell", "/reset", "tell")
    assert commands.run(["chat", str(folder), "--temperature", "0"]) == 0
    out = capsys.readouterr().out
    assert " …\n" in out and out.count("/reset forgets") == 2
    assert out.endswith("the fox told a fable\n\n")


def test_a_base_model_is_refused_with_what_is_missing(capsys, tmp_path):
    model = GPT(GPTConfig(vocab_size=BASE.vocab_size, context=16, n_layer=1, n_head=2, n_embd=16))
    checkpoints.save_model(model, tmp_path / "base", BASE)
    assert commands.run(["chat", str(tmp_path / "base")]) == 1
    assert "no special token '<|user|>'" in capsys.readouterr().err
