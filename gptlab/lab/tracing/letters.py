"""Shapes in letters: what a comment says, whether a shape fits it, and which letters name which sizes."""

import ast
import re
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

_SHAPE = re.compile(r"\[([^\[\]]*)\]")
_LEADING = re.compile(r"\.\.\.?|…|\*\w+")  # axes that a comment leaves open: "..", "…", "*batch"
_ARROW = re.compile(r"->|→")


def stated(comment: str) -> list[str] | None:
    """The letters of the shape that a comment states; what the line makes comes last. None if it states none.

    >>> stated("[B, T, C] -> [B, H, T, hs]"), stated("a remark")
    (['B', 'H', 'T', 'hs'], None)
    """
    parts = _ARROW.split(comment)
    found = _SHAPE.findall(parts[-1]) or (_SHAPE.findall(comment) if len(parts) == 1 else [])
    if not found or not comment.lstrip("# ").startswith("["):
        return None
    letters = [letter for part in found[0].split(",") if (letter := part.strip())]
    understood = all(re.fullmatch(rf"{_LEADING.pattern}|[\w /+*()-]+", letter) for letter in letters)
    return letters if understood else None


def states_several(comment: str) -> bool:
    """Whether a comment states a shape for each of several results.

    >>> states_several("[B, T], [B, T, C]"), states_several("[B, T] -> [B, T, C]")
    (True, False)
    """
    return len(_SHAPE.findall(_ARROW.split(comment)[-1])) > 1


def _size(letter: str, known: dict[str, int]) -> int | None:
    """What `4C`, `T - 1` or `C / H` is, if its letters are known."""
    text = re.sub(r"(?<![\w.])(\d+)\s*([A-Za-z])", r"\1*\2", letter)
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError:
        return None
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    allowed = (ast.Expression, ast.BinOp, ast.Name, ast.Constant, ast.Load, ast.operator)
    if not names <= set(known) or not all(isinstance(node, allowed) for node in ast.walk(tree)):
        return None
    value = eval(compile(tree, "<shape>", "eval"), {"__builtins__": {}}, known)  # letters and arithmetic only
    return int(value) if value == int(value) else None


def unify(letters: list[str], shape: tuple[int, ...], known: dict[str, int]) -> tuple[bool, dict[str, int]]:
    """Whether a shape is the stated one, and the sizes of the letters that were not known.

    Args:
        letters: of the stated shape.
        shape: of the tensor.
        known: the size of each letter that is known.

    >>> unify(["B", "T", "4C"], (2, 5, 24), {"B": 2, "C": 6})
    (True, {'T': 5})
    """
    if letters and _LEADING.fullmatch(letters[0]):
        letters = letters[1:]
        if len(shape) < len(letters):
            return False, {}
        shape = shape[len(shape) - len(letters) :]
    if len(letters) != len(shape):
        return False, {}
    fresh: dict[str, int] = {}
    for letter, size in zip(letters, shape, strict=True):
        expected = _size(letter, known | fresh)
        if expected is None and letter.isidentifier():
            fresh[letter] = size
        elif expected is not None and expected != size:
            return False, {}
    return True, fresh


def with_sizes(letters: list[str], known: dict[str, int]) -> str:
    """A stated shape, in letters and, as far as they are known, in numbers.

    Args:
        letters: of the stated shape.
        known: the size of each letter that is known.

    >>> with_sizes(["B", "T", "C"], {"B": 2, "C": 6})
    '[B, T, C] = [2, ?, 6]'
    """
    sizes = [_size(letter, known) for letter in letters]
    text = f"[{', '.join(letters)}]"
    if all(size is None for size in sizes):
        return text
    return f"{text} = [{', '.join('?' if size is None else str(size) for size in sizes)}]"


def in_letters(shape: tuple[int, ...], of_model: dict[str, int], of_function: dict[str, int]) -> str:
    """A shape in letters; a size that no letter has stays a number.

    Args:
        shape: of a tensor.
        of_model: the letters of the whole model, which are tried first.
        of_function: the letters that the running function has introduced.

    >>> in_letters((2, 5, 6), {"B": 2, "C": 6}, {})
    'B 5 C'
    """
    letters = []
    for i, size in enumerate(shape):
        names = [n for n, v in of_model.items() if v == size > 1] or [
            n for n, v in of_function.items() if v == size > 1
        ]
        letters.append("B" if i == 0 and "B" in names else "/".join(names) or str(size))
    return " ".join(letters)


def first_letters(model: Callable, inputs: tuple[Any, ...], given: dict[str, int]) -> dict[str, int]:
    """The letters that are known before the model runs.

    Args:
        model: whose configuration and annotations are read.
        inputs: what it will be called with.
        given: by the caller; these count more than the others.
    """
    letters = dict(given)
    function = getattr(type(model), "forward", None) if isinstance(model, nn.Module) else model
    annotations = [a for name, a in getattr(function, "__annotations__", {}).items() if name != "return"]
    for annotation, value in zip(annotations, inputs, strict=False):
        named = getattr(annotation, "dim_str", "").split()
        if isinstance(value, Tensor) and len(named) == value.dim():
            letters |= {k: v for k, v in zip(named, value.shape, strict=True) if k.isidentifier() and k not in letters}
    config = getattr(model, "config", None)
    if all(hasattr(config, name) for name in ("n_embd", "n_head", "vocab_size")):
        own = {"C": config.n_embd, "V": config.vocab_size, "H": config.n_head, "hs": config.n_embd // config.n_head}
        letters |= {k: v for k, v in own.items() if k not in letters}
    return letters
