"""The committed model is what data/README.md says of it, and bit for bit the one that was trained."""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gptlab import checkpoints, sampling
from gptlab.corpora import fables
from gptlab.evaluation import StoryEvaluation

FOLDER = Path(__file__).parents[1] / "data" / "models" / "fables"


@pytest.fixture(scope="module")
def teller():
    model, tokenizer = checkpoints.committed("fables")
    return model, tokenizer, tokenizer.special_tokens["<|endoftext|>"]


def test_it_is_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 4_000_000


def test_it_is_at_most_four_tenths_of_a_nat_a_story_above_perfect(teller):
    model, tokenizer, end = teller
    numbers = StoryEvaluation(fables.tell(150, seed=123), tokenizer, end)(model)
    assert 0.0 < numbers["excess"] < 0.4


def test_seven_of_ten_of_its_stories_are_flawless_and_almost_all_are_right_in_form(teller):
    model, tokenizer, end = teller
    readings = [fables.read(text) for text in sampling.tell_stories(model, tokenizer, 100, end, seed=11)]
    assert sum(reading.form_error is None for reading in readings) >= 95
    assert sum(reading.error is None for reading in readings) >= 70


def test_it_recalls_what_is_told_at_the_beginning_until_the_end(teller):
    model, tokenizer, end = teller
    story = fables.tell(1, seed=8)[0]
    last_home = [mark for mark in story.marks if mark.fact == "home" and mark.recalled][-1]
    prompt = [end, *tokenizer.encode(story.text[: last_home.start - 1])]
    likely = sampling.probabilities(model(torch.tensor([prompt]))[0][0, -1])
    assert tokenizer.decode([int(likely.argmax())]).strip() == story.facts["home"]
    assert likely.max() > 0.95


# The weights as the training run wrote them, under the names of the first edition: SHA-256 of each tensor's bytes.
TRAINED = {
    "blocks.0.attention.key.weight": "c046fdc415019d0e6b2a5f0298558f0f26547658e61ba2c3aa78eee254cc18cc",
    "blocks.0.attention.key_norm.weight": "f6cceed5e46b78406ac3dc80bdfc9d251ef133d8d6c8699aac49eaf8ce13b166",
    "blocks.0.attention.output.weight": "8039b33c85574842de004b10f47d0f4590121d649465d476969d6ddfb09482ce",
    "blocks.0.attention.query.weight": "12ec46611e7f4455f6a0578e260335c63be2ad23e16ae40a2d65fc5114e8a29a",
    "blocks.0.attention.query_norm.weight": "852b12c0004d3c2581eb12e6c6cb8866d9f52fc291ab8bc7f7dc33ad4d72cd47",
    "blocks.0.attention.value.weight": "69a79129436e0f0782d1191d429fcd4127320226b8f70d9761c5779a9ff92c1b",
    "blocks.0.convolution.weight": "0a2aa7577ecf38b7cb49c8c2e24d826371dd3b1584be4575368cab33c58ebb50",
    "blocks.0.mlp.output.weight": "7ebd996e016b3078f60058617ac34cf323c0bda3e64b49eceb46b5fbf53cb90e",
    "blocks.0.mlp.widen.weight": "c768d2b18a6aba994161ef55a9c8c81ae762656e96904739fb623d70a3672856",
    "blocks.0.norm1.weight": "2ccb087dec31fe21141460c53efdf688c61a77d1a2baab02f440a9716f07ed83",
    "blocks.0.norm2.weight": "d403f96d083fee58e86f17071d49abf55397c6f0a176f2017ccad6c5d420bc27",
    "blocks.1.attention.key.weight": "4f01b3d411849123d5e5ca24b7b44866fdabcdd9c1d8e92ede96b00727935ab1",
    "blocks.1.attention.key_norm.weight": "ca04df53a4a920670a2def6976e2d467ca0d5c9ade9b285aa0a0b27abc381452",
    "blocks.1.attention.output.weight": "0a55be68399df3e6c2de34c5c84d2fa134b575444afe1414c413b069ee1787b4",
    "blocks.1.attention.query.weight": "babe5e08a5bd8ba3c92b67d66e26dae6dc7ecb1405487bf78515300462c0a2f0",
    "blocks.1.attention.query_norm.weight": "aec8ea2ee2ffc65ead5ab168b76f2f324f6adbc8abc9c27d234cde3de924a706",
    "blocks.1.attention.value.weight": "30c29337b05cc66e4c95e058f3c7563b80ef8653bc6af34861c506a5ae59097b",
    "blocks.1.convolution.weight": "14ae0acfe7d167134dfb717f79fcf6fd5373337ecc3edb553735ed180c7a5b83",
    "blocks.1.mlp.output.weight": "58b58460d2ba8d4561e2fe88c07d37b08e679346ed5f35703952eccb01f48711",
    "blocks.1.mlp.widen.weight": "6fe61d68dfc91f71f73f8fc8b65e56bb5286e23a04671e808e20cf49654b74a9",
    "blocks.1.norm1.weight": "16dd5fe464b2397ccfd5031c14038bf93698ed309617272a45838fef91394db3",
    "blocks.1.norm2.weight": "af5810e0d19d147a7713c649ce09d11662e25396efd0e418fef1ec67a224e507",
    "embedding.token.weight": "dc2515c22546871d6474b4b41974f2881aea7efb0316442a506bc6f723352486",
    "norm.weight": "ea620ba202eee82774de409b05a5298c9e112c8db1ff3ad2ae7cbb748b56f678",
}
OLD = {"mlp.widen.": "mlp.up.", "mlp.output.": "mlp.down."}


def renamed(name: str, names: dict[str, str]) -> str:
    for before, after in names.items():
        name = name.replace(before, after)
    return name


def test_its_weights_are_bit_for_bit_those_that_were_trained():
    weights = load_file(FOLDER / "model.safetensors")
    found = {name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in weights.items()}
    assert found == {renamed(name, OLD): digest for name, digest in TRAINED.items()}


def test_a_model_of_the_first_edition_still_opens_and_is_the_same(tmp_path, teller):
    folder = shutil.copytree(FOLDER, tmp_path / "old")
    weights = load_file(FOLDER / "model.safetensors")
    old = {renamed(name, {new: before for before, new in OLD.items()}): tensor for name, tensor in weights.items()}
    assert set(old) == set(TRAINED)
    save_file(old, folder / "model.safetensors")
    opened, _ = checkpoints.load_model(folder)
    for (name, a), (_, b) in zip(opened.named_parameters(), teller[0].named_parameters(), strict=True):
        assert torch.equal(a, b), name
