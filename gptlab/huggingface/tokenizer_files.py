"""A tokenizer of Hugging Face's with our code: the ids that their library gives, or a refusal that names the reason.

A `tokenizer.json` is a chain of parts: a normalizer, a pre-tokenizer that splits, a model that cuts, a decoder. Each
part that changes ids has to be one that the course's tokenizers compute too. What is not known here is refused, because
a tokenizer that is almost right spoils a model without a word.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import regex

from gptlab import formats
from gptlab.bpe import BPETokenizer
from gptlab.byte_level import from_printable
from gptlab.entrances import guard
from gptlab.huggingface.tokenizers import for_oniguruma, tokenizer_json
from gptlab.merging import recover_merges
from gptlab.pretrained.layout import some
from gptlab.saved_tokenizers import LARGEST, LONGEST, TokenId
from gptlab.splitting import GPT2_PATTERN, GPT4_PATTERN, LLAMA3_PATTERN, O200K_PATTERN
from gptlab.tokenizing import Tokenizer
from gptlab.tokens import CharTokenizer, WordTokenizer
from gptlab.unigram import UnigramTokenizer

FILE, VOCAB, MERGES = "tokenizer.json", "vocab.json", "merges.txt"
_PATTERNS = {for_oniguruma(pattern): pattern for pattern in (GPT2_PATTERN, GPT4_PATTERN, LLAMA3_PATTERN, O200K_PATTERN)}
_PATTERNS[for_oniguruma(None)] = None
# What means the same there and here: letters, escapes, classes, groups, and quantifiers, of which {1,3}+ does not.
_SAME = re.compile(
    r"(?:\\[rntsS]|\\p\{\w+\}|\\z|\\[^\w\s]|\[\^?(?:\\[rntsS]|\\p\{\w+\}|\\[^\w\s]|[^\]\[\\&])+\]"
    r"|\(\?(?:[:=!]|i:)|\)|\||[?*+]|\{\d+(?:,\d*)?\}(?!\+)|[^\\\[\](){}.^$|?*+])*"
)


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer in a folder of Hugging Face's, with our code and the ids that their library `tokenizers` gives.

    Read are byte-level BPE as GPT-2 and Llama 3 have it (also as `vocab.json` with `merges.txt`), and what
    `huggingface.save_model` has written. Special tokens are text like any other until `encode` allows them, and none is
    put before or after a text: it is their `encode(text, add_special_tokens=False)`.

    Args:
        folder: a model's, or the path of a `tokenizer.json`.

    Raises:
        FileNotFoundError: there is no tokenizer.
        ValueError: the file is damaged, or has a part that no tokenizer of the course computes, naming it.
    """
    path = Path(folder)
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        if not all((path.parent / name).is_file() for name in (VOCAB, MERGES)):
            raise FileNotFoundError(f"there is no {FILE} in {str(path.parent)!r}, and no {VOCAB} with {MERGES}")
        path = path.parent / VOCAB
    try:
        data = _of_two_files(path.parent) if path.name == VOCAB else formats.read_json(path, most=LARGEST)
        if "kind" in data:
            raise ValueError("it is a tokenizer of this course: gptlab.tokenizers.load opens it")
        kind = data["model"].get("type", "BPE")
        _check_ids(data["model"], data.get("added_tokens") or [])
        if not isinstance(kind, str) or kind not in _READERS:
            raise ValueError(f"model type {kind!r} is none of {', '.join(_READERS)}")
        return _READERS[kind](data)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a tokenizer here: {error}") from error
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError, OverflowError, regex.error) as error:
        raise ValueError(f"{path} is not a complete tokenizer ({type(error).__name__}: {error})") from error


def _check_ids(model: dict[str, Any], added: list[dict[str, Any]]) -> None:
    """Check that a table with a row for each id is not absurd, and that no piece is."""
    vocab = model.get("vocab")
    kind = list[list[Any]] if isinstance(vocab, list) else dict[str, TokenId]
    found = formats.problem(vocab, kind, "model.vocab")
    found = found or formats.problem([token.get("id") for token in added], list[TokenId], "the ids of added_tokens")
    if isinstance(vocab, list) and not found:
        found = formats.problem([row[0] for row in vocab], list[str], "model.vocab")
        found = found or formats.problem([row[1] for row in vocab], list[float | int], "the scores of model.vocab")
        if not found and (longest := max((len(row[0]) for row in vocab), default=0)) > LONGEST:
            found = f"a piece has {longest:,} characters"
    if found:
        raise ValueError(found)


def _of_two_files(folder: Path) -> dict[str, Any]:
    """What GPT-2's two files mean, as one: what looks like <|this|> and no merge leads to is a special token."""
    vocab = formats.read_json(folder / VOCAB, dict[str, TokenId], most=LARGEST)
    lines = (folder / MERGES).read_text(encoding="utf-8").split("\n")
    merges = [line for line in lines if line and not line.startswith("#version")]
    made = {line.replace(" ", "") for line in merges}
    special = [token for token in vocab if re.fullmatch(r"<.+>", token) and token not in made]
    return {
        "added_tokens": [{"content": token, "id": vocab[token], "special": True} for token in special],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": merges},
    }


# ---- Byte-level BPE --------------------------------------------------------------------------------------------------


def _read_bpe(data: dict[str, Any]) -> BPETokenizer:
    model = data["model"]
    if model.get("byte_fallback") or (data.get("decoder") or {}).get("type") != "ByteLevel":
        raise ValueError("its BPE does not begin with bytes (SentencePiece's does not): only byte-level BPE is read")
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            raise ValueError(f"the BPE has {name}={model[name]!r}, which changes the ids")
    if data.get("normalizer") is not None:
        raise ValueError(f"a normalizer of type {data['normalizer'].get('type')!r} changes the text before it is split")
    special = {token["content"]: token["id"] for token in data.get("added_tokens") or []}
    for token in data.get("added_tokens") or []:
        if flags := [name for name in ("lstrip", "rstrip", "single_word") if token.get(name)]:
            raise ValueError(f"the special token {token['content']!r} has {', '.join(flags)}, which changes the text")
        if not token.get("special"):
            raise ValueError(f"the added token {token['content']!r} is not special: it is found in every text there")
        if model["vocab"].get(token["content"], token["id"]) != token["id"]:
            raise ValueError(f"the special token {token['content']!r} has two ids")
    ranks = {_bytes(token): id for token, id in model["vocab"].items() if token not in special}
    if len(ranks) + len(set(model["vocab"]) & set(special)) != len(model["vocab"]):
        raise ValueError("two of its tokens are the same bytes")
    tokenizer = BPETokenizer(ranks, _pattern(data.get("pre_tokenizer")), special)
    _check_merges(tokenizer.ranks, model["merges"], bool(model.get("ignore_merges")))
    return tokenizer


def _bytes(token: str) -> bytes:
    try:
        return from_printable(token)
    except KeyError as error:
        raise ValueError(f"the token {token!r} is not written in bytes, character {error} stands for none") from None


def _pattern(splitter: dict[str, Any] | None) -> str | None:
    """What a chunk is, from the pre-tokenizer: GPT-2's own splits by itself, Llama 3's has a Split in front."""
    members = [] if splitter is None else splitter.get("pretokenizers", [splitter])
    if not members or members[-1]["type"] != "ByteLevel" or len(members) > 2:
        raise ValueError(
            f"the pre-tokenizers {[part['type'] for part in members]} are not ByteLevel, alone or after a Split"
        )
    last = members[-1]
    if last.get("add_prefix_space", True):
        raise ValueError("add_prefix_space=True puts a space before each text")
    if len(members) == 1:
        return GPT2_PATTERN if last.get("use_regex", True) else None
    split = members[0]
    if last.get("use_regex", True) or split["type"] != "Split":
        raise ValueError(f"it splits twice, by {split['type']} and by ByteLevel's own pattern")
    if split["behavior"] != "Isolated" or split.get("invert") or "Regex" not in split["pattern"]:
        raise ValueError(
            f"a Split with behavior={split['behavior']!r} and pattern {split['pattern']} is not one by chunks"
        )
    found = split["pattern"]["Regex"]
    if found in _PATTERNS:
        return _PATTERNS[found]
    if not _SAME.fullmatch(found):
        raise ValueError(f"the pattern {found!r} has signs that may mean something else in Python's `regex`")
    return found.replace(r"\z", r"\Z")


def _check_merges(ranks: dict[bytes, int], written: list, ignore_merges: bool) -> None:
    """Refuse merges that the ranks do not give. Theirs merges in the order of the list, ours by the rank of the result.

    Both do the same if the list has the pairs that the ranks give, in their order. More pairs do no harm: parts of a
    token that are not the ones its rank gives have been merged otherwise before its turn.
    """
    merges = [tuple(map(_bytes, pair.split(" ") if isinstance(pair, str) else pair)) for pair in written]
    if wrong := [pair for pair in merges if len(pair) != 2 or b"".join(pair) not in ranks]:
        raise ValueError(f"{len(wrong)} of its merges make no token, the first is {wrong[0]}")
    order = [ranks[left + right] for left, right in merges]
    if order != sorted(order):
        i = next(i for i in range(1, len(order)) if order[i] < order[i - 1])
        raise ValueError(
            f"its merges are not in the order of the ids: {merges[i]} makes {order[i]} after {order[i - 1]}"
        )
    place, ways = {pair: i for i, pair in enumerate(merges)}, defaultdict(list)
    for pair in recover_merges(ranks):
        if pair not in place:
            raise ValueError(f"the ids say that {pair[0]} and {pair[1]} are merged, and its merges do not")
        ways[pair[0] + pair[1]].append(pair)
    made = {left + right for left, right in merges}
    alone = [token for token in ranks if len(token) > 1 and (token not in made or len(ways[token]) != 1)]
    if alone and not ignore_merges:
        raise ValueError(f"no merge leads to {some(map(repr, alone), most=3)}, and it has not ignore_merges")
    for pairs in ways.values():  # where two ways overlap, the left one goes first here, the earlier in the list there
        for one in pairs:
            if any(one[1] == other[0] and place[one] > place[other] for other in pairs):
                raise ValueError(f"its merges {one} come in an order that gives other ids where two overlap")


# ---- What `save_model` has written -----------------------------------------------------------------------------------


def _read_unigram(data: dict[str, Any]) -> UnigramTokenizer:
    model, normalizers = data["model"], (data.get("normalizer") or {}).get("normalizers", [])
    prefix, names = any(part["type"] == "Prepend" for part in normalizers), {f"<0x{i:02X}>" for i in range(256)}
    has_bytes = bool(model.get("byte_fallback"))
    pieces = [piece for piece, _ in model["vocab"]]
    scores = [None if has_bytes and piece in names else score for piece, score in model["vocab"]]
    return _same(
        data, UnigramTokenizer(pieces, scores, dummy_prefix=prefix),
        "a Unigram model with rules of SentencePiece's (T5 has them) is opened from its own file: "
        "UnigramTokenizer.from_sentencepiece(SentencePieceProcessor(model_file='spiece.model'))",
    )  # fmt: skip


def _read_words(data: dict[str, Any]) -> CharTokenizer | WordTokenizer:
    model = data["model"]
    tokens, unknown = sorted(model["vocab"], key=model["vocab"].get), model.get("unk_token")
    if data["pre_tokenizer"]["pattern"] == {"Regex": r"(?m:.)"} and unknown not in tokens:
        tokenizer = CharTokenizer("".join(tokens))
    else:
        tokenizer = WordTokenizer(tokens, unknown if unknown in tokens else None)
    return _same(data, tokenizer, "of WordLevel, only what huggingface.save_model has written is read")


def _same(data: dict[str, Any], tokenizer: Tokenizer, otherwise: str) -> Any:
    """The tokenizer, if written again it is what the file says."""
    written = json.loads(tokenizer_json(tokenizer))
    for part in ("normalizer", "pre_tokenizer", "model", "added_tokens"):
        if not _holds(data.get(part), written[part]):
            kind = (data[part] or {}).get("type") if isinstance(data.get(part), dict) else data.get(part)
            raise ValueError(f"its {part} ({kind!r}) is not one of the course's: {otherwise}")
    return tokenizer


def _holds(theirs: Any, ours: Any) -> bool:
    """Whether all entries that we would write stand there too; their library adds others with their defaults."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return all(_holds(theirs.get(name), value) for name, value in ours.items())
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_holds, theirs, ours))
    return (theirs or None) == (ours or None)


_READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "BPE": _read_bpe,
    "Unigram": _read_unigram,
    "WordLevel": _read_words,
}


guard(globals())
