"""`sample` and what every command does with its output: text arrives whole, or a sentence says why not."""

import io
import os
import subprocess
import sys

import pytest
import torch
from unchecked import unchecked

from gptlab import checkpoints, commands, huggingface, sampling
from gptlab.bpe import BPETokenizer
from gptlab.commands.sample import sample
from gptlab.model import GPT, GPTConfig
from gptlab.tokens import ByteTokenizer, CharTokenizer, WordTokenizer
from gptlab.unigram import UnigramTokenizer

__all__ = ["unchecked"]

END = ["<|endoftext|>"]


def small(vocab_size: int, **changes) -> GPT:
    torch.manual_seed(0)
    return GPT(
        GPTConfig(**{"vocab_size": vocab_size, "context": 16, "n_layer": 1, "n_head": 2, "n_embd": 12, **changes})
    )


def saved(folder, tokenizer, rows: int = 0) -> GPT:
    """A model with as many tokens as its tokenizer, and some rows more."""
    model = small(tokenizer.vocab_size + rows)
    checkpoints.save_model(model, folder, tokenizer)
    return model


# ---- Only ids that the tokenizer has ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0}, {"top_k": 300}, {"repetition_penalty": 1.3, "top_p": 0.99}]
)
def test_rows_that_no_token_has_are_never_chosen(options):
    model = small(300)
    with torch.no_grad():
        model.head.weight[260:] *= 50  # the padding is by far the likeliest
    ids = torch.tensor([[1, 2]])
    assert sampling.generate(model, ids, 40, **options).max() >= 260
    assert sampling.generate(model, ids, 40, vocab_size=260, **options).max() < 260
    rows = sampling.generate_each(model, [[1], [2, 3]], 20, vocab_size=260, **options)
    assert max(max(row) for row in rows) < 260


def test_streams_and_stories_know_their_tokenizer():
    tokenizer = BPETokenizer.train("", 257, special_tokens=END)
    model = small(400)
    with torch.no_grad():
        model.head.weight[257:] *= 50
    assert "".join(sampling.stream(model, tokenizer, [1], 30))
    assert all(sampling.tell_stories(model, tokenizer, 2, end=256, max_new_tokens=30))


def test_a_vocabulary_as_large_as_the_model_changes_nothing():
    model, ids = small(50), torch.tensor([[1, 2]])
    rows = [
        sampling.generate(model, ids, 20, generator=torch.Generator().manual_seed(1), vocab_size=V)
        for V in (None, 50, 99)
    ]
    assert torch.equal(rows[0], rows[1]) and torch.equal(rows[0], rows[2])


@pytest.mark.usefixtures("unchecked")
def test_one_row_of_ids_is_answered_with_the_batch_that_it_needs():
    with pytest.raises(ValueError, match=r"\[B, T\]; one sequence \[T\] is ids\[None\]"):
        sampling.generate(small(50), torch.tensor([1, 2, 3]), 2)


def test_a_tokenizer_with_more_ids_than_the_model_is_refused_with_both_sizes(tmp_path):
    saved(tmp_path / "m", ByteTokenizer())
    BPETokenizer.train("ab ab", 258, special_tokens=END).save(tmp_path / "m" / "tokenizer.json")
    with pytest.raises(ValueError, match="has 258 ids, but the model only 256"):
        sample(tmp_path / "m")


# ---- Where a text begins ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokenizer", "shown"),
    [
        (CharTokenizer.from_text("ab\n "), ""),
        (CharTokenizer.from_text("ab c"), ""),
        (CharTokenizer.from_text("-aB"), "B"),
        (CharTokenizer.from_text("-a"), "a"),
        (WordTokenizer.from_text("the-fox"), "fox"),
    ],
)
def test_a_text_begins_with_something_the_vocabulary_has(tokenizer, shown, tmp_path, capsys):
    saved(tmp_path / "m", tokenizer)
    sample(tmp_path / "m", max_new_tokens=0)
    assert capsys.readouterr().out == shown + "\n"
    sample(tmp_path / "m", n=0)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("tokenizer", "explained"),
    [
        (BPETokenizer.train("the fox the fox the fox", 262), True),
        (UnigramTokenizer.train("the fox and the hen " * 9, 270), True),
        (BPETokenizer.train("", 256), False),
        (CharTokenizer.from_text("the fox\n"), False),
    ],
)
def test_a_space_at_the_end_of_a_prompt_is_explained_where_it_does_harm(tokenizer, explained, tmp_path, capsys):
    saved(tmp_path / "m", tokenizer)
    sample(tmp_path / "m", prompt="the ", n=2, max_new_tokens=2)
    written = capsys.readouterr()
    assert written.err.count("ends with a space") == written.err.count("\n") == explained
    assert written.out.startswith("the ")
    sample(tmp_path / "m", prompt="the", max_new_tokens=2)
    assert not capsys.readouterr().err


# ---- Models that cannot write ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
@pytest.mark.parametrize("temperature", ["0", "1"])
def test_weights_that_are_not_numbers_are_named_before_anything_is_written(broken, temperature, tmp_path, capsys):
    model = saved(tmp_path / "m", ByteTokenizer())
    with torch.no_grad():
        model.blocks[0].mlp.up.weight[3, 1] = broken
    checkpoints.save_model(model, tmp_path / "m", ByteTokenizer())
    assert commands.run(["sample", str(tmp_path / "m"), "--prompt", "hello", "--temperature", temperature]) == 1
    said = capsys.readouterr().err
    assert said.startswith("sample: ") and "NaN or infinite (blocks.0.mlp.up.weight)" in said and "hello" not in said


def test_a_setting_outside_its_range_is_named(tmp_path, capsys):
    for option, value in (("--n", "-1"), ("--temperature", "-1"), ("--top-p", "1.5"), ("--top-k", "0")):
        assert commands.run(["sample", option, value]) == 1
        name = option.removeprefix("--").replace("-", "_")
        assert f"{name}={value} must be" in capsys.readouterr().err.replace(f"{value}.0", value)


def test_a_folder_of_hugging_faces_is_opened_with_its_tokenizer(tmp_path, capsys):
    tokenizer = BPETokenizer.train("the fox and the hen", 262, special_tokens=END)
    model = small(tokenizer.vocab_size)
    checkpoints.save_model(model, tmp_path / "ours", tokenizer)
    huggingface.save_model(model, tmp_path / "theirs", tokenizer)
    written = []
    for name in ("ours", "theirs"):
        sample(tmp_path / name, prompt="the", max_new_tokens=12)
        written.append(capsys.readouterr().out)
    assert written[0] == written[1] and len(written[0]) > 5
    with pytest.raises(ValueError, match="format of transformers already"):
        from gptlab.commands.export import export

        export(tmp_path / "theirs", tmp_path / "again")


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
def test_prefixes_of_wrappers_in_a_file_of_weights_are_left_out(prefix, tmp_path):
    from safetensors.torch import load_file, save_file

    model, file = saved(tmp_path / "m", ByteTokenizer()), tmp_path / "m" / "model.safetensors"
    save_file({prefix + name: tensor for name, tensor in load_file(file).items()}, file)
    again, _ = checkpoints.load_model(tmp_path / "m")
    assert torch.equal(again.head.weight, model.head.weight)


# ---- Output ----------------------------------------------------------------------------------------------------------


class Closed(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("arguments", [["--help"], ["doctor"], ["sample", "--max-new-tokens", "3"]])
def test_a_command_whose_reader_has_gone_ends_quietly(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Closed())
    assert commands.run(arguments) == 141
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(os.name != "posix", reason="a pipe is closed otherwise on Windows")
def test_nor_does_python_complain_when_it_ends():
    process = subprocess.Popen(
        [sys.executable, "-m", "gptlab", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait(timeout=60) == 141


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-16"])
def test_text_is_written_whole_whatever_the_console_is(encoding, tmp_path, monkeypatch):
    tokenizer = CharTokenizer("→😀é")
    saved(tmp_path / "m", tokenizer)
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    assert commands.run(["sample", str(tmp_path / "m"), "--prompt", "é→😀", "--max-new-tokens", "9"]) == 0
    text = raw.getvalue().decode("utf-8")
    assert text.startswith("é→😀") and set(text.strip()) <= set("→😀é") and len(text.strip()) == 12


def test_a_name_that_is_not_utf8_is_written_as_its_bytes(monkeypatch):
    raw = io.BytesIO()
    stderr = io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)  # as Python's own
    monkeypatch.setattr(sys, "stderr", stderr)
    assert commands.run(["sample", "/nowhere/\udce9"]) == 1
    assert rb"no model in '/nowhere/\udce9'" in raw.getvalue()
