"""Checked entrances: what a function or a settings class accepts stands in its annotations, and nowhere else.

A module ends with `guard(globals())`: its public functions and classes then answer wrong arguments in words. Plain ones
are tested before a call (`checked`): whole numbers, finite numbers, ranges, one of several words. Tensors cost nothing
while all is well (`explained`): when a call fails, they are held against the annotated shapes, types and devices, and
the message says which two sides disagree. All raise ValueError. The shapes are jaxtyping's.

>>> @checked
... def half(steps: Count, rate: Fraction = 0.5) -> float:
...     return steps * rate
>>> half(0)
Traceback (most recent call last):
    ...
ValueError: half: steps=0 must be a whole number of at least 1
"""

import dis
import functools
import inspect
import itertools
import sys
import types
import typing
from collections.abc import Callable, Collection
from dataclasses import fields, is_dataclass
from typing import Any

from gptlab.accepted import Accepted, Count, Fraction, NotNegative, Positive, Range, Seed, Whole, accepted, short
from gptlab.accepted_tensors import tensor_hint, tensor_problem, unfit, unlike

__all__ = [
    "Count", "Fraction", "NotNegative", "Positive", "Range", "Seed", "Whole", "check_fields", "checked", "explained",
    "guard", "signature_in_words",
]  # fmt: skip

F = typing.TypeVar("F", bound=Callable[..., Any])
FAILURES = (
    RuntimeError, TypeError, IndexError, KeyError, AttributeError, ValueError, ArithmeticError, AssertionError,
)  # fmt: skip
RAISE = dis.opmap["RAISE_VARARGS"]


def checked(function: F) -> F:
    """Test the plain arguments of every call against their annotations before the function runs.

    Raises:
        ValueError: with the function, the argument, its value, and what it must be.
    """
    return _entrance(function, before=True, after=False)


def explained(function: F) -> F:
    """When a call fails, say which argument is not what its annotation says: for a tensor its shape, type or device.

    An error that the package raises itself is clear already, and stands. An object that is built with C or hs, or with
    a configuration, knows these sizes: an input of another C is explained too. A class may name its own in `sizes`.

    Raises:
        ValueError: with the two sides that disagree; if nothing disagrees, the call's own error stands.
    """
    return _entrance(function, before=False, after=True)


def guard(module: dict[str, Any], unchecked: Collection[str] = ()) -> None:
    """Check and explain the calls of all public functions and classes that a module defines: its last line.

    Args:
        module: its `globals()`.
        unchecked: names of functions that are called so often that even a test would cost too much: explained only.
    """
    for name, found in list(module.items()):
        if name.startswith("_") or getattr(found, "__module__", None) != module["__name__"]:
            continue
        if inspect.isclass(found):
            if not issubclass(found, tuple | BaseException) and not getattr(found, "_is_protocol", False):
                _guard_class(found, unchecked)
        elif inspect.isfunction(inspect.unwrap(found)) and found.__name__ == name:
            module[name] = _entrance(found, before=name not in unchecked, after=True)
            for more in ("cache_clear", "cache_info"):  # of functools.cache
                if hasattr(found, more):
                    setattr(module[name], more, getattr(found, more))


def _guard_class(found: type, unchecked: Collection[str]) -> None:
    for name, part in list(vars(found).items()):
        function = getattr(part, "__func__", part)
        if not inspect.isfunction(function) or (name.startswith("_") and name not in ("__init__", "__call__")):
            continue
        once = _entrance(function, name not in unchecked, True, found if name == "__init__" else None)
        setattr(found, name, type(part)(once) if isinstance(part, classmethod | staticmethod) else once)


def check_fields(settings: Any) -> None:
    """Test every field of a dataclass against its annotation; call it in `__post_init__`.

    Raises:
        ValueError: with the class, the field, its value, and what it must be.
    """
    assert is_dataclass(settings)
    rules = _rules(type(settings))
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name in rules and not rules[field.name].holds(value):
            raise ValueError(_refusal(type(settings).__name__, field.name, value, rules[field.name]))


def signature_in_words(function: Callable[..., Any]) -> str:
    """The names of a function's arguments, those with a default in brackets.

    >>> signature_in_words(lambda x, y=1: x)
    'x, [y]'
    """
    parameters = inspect.signature(function).parameters.values()
    return ", ".join(name.name if name.default is inspect.Parameter.empty else f"[{name.name}]" for name in parameters)


# ---- The entrance ----------------------------------------------------------------------------------------------------


def _entrance(function: F, before: bool, after: bool, builds: type | None = None) -> F:
    """A function that tests its arguments before a call, explains a call that fails, or both."""
    rules, signature = _rules(function) if before else {}, inspect.signature(function)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    places = [rules.get(name) for name, parameter in signature.parameters.items() if parameter.kind in kinds]
    failures = FAILURES if after else (TypeError,)
    # What the function below needs, as its own variables: it gets the globals of the function that it stands for.
    pair, refused, explanation, remember = zip, _refused, _explained_error, _remember
    several = any(places) or bool(rules)
    tensors = before and any(tensor_hint(parameter.annotation) for parameter in signature.parameters.values())
    mixed, chain = _mixed, itertools.chain

    def entrance(*args, **options):
        if several:
            for rule, value in pair(places, args):
                if rule is not None and not rule.holds(value):
                    raise refused(function, signature, args, options, rules, builds)
            for name, value in options.items():
                if name in rules and not rules[name].holds(value):
                    raise refused(function, signature, args, options, rules, builds)
        if tensors:  # PyTorch joins a tensor without numbers with one that has them, and gives nonsense
            for value in chain(args, options.values()):
                if getattr(value, "is_meta", False) and (clear := mixed(function, signature, args, options, builds)):
                    raise clear
        try:
            result = function(*args, **options)
        except failures as error:
            clear = explanation(function, signature, args, options, builds, error, after)
            if clear is None:
                raise
            raise clear from error
        if builds is not None:
            remember(args[0], signature, args, options)
        return result

    plain = inspect.unwrap(entrance)  # the tests check the types of this package's functions, this one's too
    bound = types.FunctionType(
        plain.__code__, vars(sys.modules[function.__module__]), function.__name__, None, plain.__closure__
    )
    return typing.cast("F", functools.wraps(function)(bound))


@functools.cache
def _rules(owner: Any) -> dict[str, Accepted]:
    try:
        hints = typing.get_type_hints(owner, include_extras=True)
    except (NameError, AttributeError):  # a name that is imported for type checkers only
        hints = {name: hint for name, hint in owner.__annotations__.items() if not isinstance(hint, str)}
    named = not inspect.isclass(owner) and not is_dataclass(_class_of(owner))  # a dataclass says its ranges itself
    rules = {name: accepted(hint, name if named else "") for name, hint in hints.items() if name != "return"}
    if not inspect.isclass(owner):  # the items of *args and **options are not looked at
        kinds = {name: parameter.kind for name, parameter in inspect.signature(owner).parameters.items()}
        several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        rules = {name: rule for name, rule in rules.items() if kinds.get(name) not in several}
    return {name: rule for name, rule in rules.items() if rule is not None}


def _class_of(function: Callable[..., Any]) -> Any:
    """The class whose constructor a function is, or None."""
    owner = function.__qualname__.rpartition(".")[0] if function.__name__ == "__init__" else ""
    return getattr(sys.modules.get(function.__module__), owner, None)


def _where(function: Callable[..., Any], args: tuple, builds: type | None) -> str:
    """What a message calls the function: the class that is built, `Class.method`, or its name."""
    if builds is not None:
        return type(args[0]).__name__ if args else builds.__name__
    owner = function.__qualname__.rpartition(".")[0].rpartition(".")[2]
    if owner in ("", "<locals>"):
        return function.__name__
    owner = getattr(args[0], "__name__", type(args[0]).__name__) if args else owner
    return f"{owner}.{function.__name__}".removesuffix(".forward").removesuffix(".__call__")


def _refusal(where: str, name: str, value: Any, rule: Accepted) -> str:
    return f"{where}: {name}={short(value)} must be {rule.words}"


def _refused(function: Any, signature: Any, args: tuple, options: dict, rules: dict, builds: type | None) -> Exception:
    where = _where(function, args, builds)
    try:
        given = signature.bind(*args, **options).arguments
    except TypeError as error:
        return TypeError(f"{where}: {error}; its arguments are {signature_in_words(function)}")
    name = next(name for name, rule in rules.items() if name in given and not rule.holds(given[name]))
    if rules[name].kind_holds is not None and rules[name].kind_holds(given[name]):
        try:  # only the range that its name says: the function may know better words
            function(*args, **options)
        except Exception as error:
            if _ours(error):
                return error
    return ValueError(_refusal(where, name, given[name], rules[name]))


def _mixed(function: Any, signature: Any, args: tuple, options: dict, builds: type | None) -> Exception | None:
    """The error for tensors on the device meta beside others; None if all are there."""
    try:
        said = _explanation(function, signature, signature.bind(*args, **options).arguments)
    except TypeError:
        return None
    return None if said is None else ValueError(f"{_where(function, args, builds)}: {said}")


def _ours(error: BaseException) -> bool:
    """Whether an error comes from a `raise` in this package, so in the course's words."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if type(error).__module__.startswith(("jaxtyping", "beartype")):
        return True
    if trace is None or trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] != "gptlab":
        return False
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] == RAISE


def _explained_error(
    function: Any, signature: Any, args: tuple, options: dict, builds: type | None, error: Exception, after: bool
) -> Exception | None:
    """The error in the course's words, or None where the call's own stands."""
    if _ours(error):
        return None
    where = _where(function, args, builds)
    try:
        given = signature.bind(*args, **options).arguments
    except TypeError as problem:
        return TypeError(f"{where}: {problem}; its arguments are {signature_in_words(function)}")
    said = (_explanation(function, signature, given) or unfit(given, error)) if after else None
    return None if said is None else ValueError(f"{where}: {said}")


def _explanation(function: Callable[..., Any], signature: inspect.Signature, given: dict[str, Any]) -> str | None:
    """What disagrees with the annotations of a function, in words; None if nothing does."""
    rules, owner = _rules(function), given.get("self")
    for name, rule in rules.items():
        if name in given and not rule.holds_wholly(given[name]):
            return f"{name}={short(given[name])} must be {rule.words}"
    sizes = {letter: (size, type(owner).__name__) for letter, size in _sizes(owner).items()}
    alike: dict[str, dict[str, str]] = {"device": {}, "dtype": {}}
    for name, parameter in signature.parameters.items():
        expected = tensor_hint(parameter.annotation)
        if expected is None or name not in given:
            continue
        if given[name] is None and (expected is not parameter.annotation or parameter.default is None):
            continue
        if problem := tensor_problem(name, given[name], expected, sizes, alike):
            return problem
    weight = next(iter(getattr(owner, "parameters", tuple)()), None)
    held = {} if weight is None else {"device": str(weight.device), "dtype": str(weight.dtype)}
    return next(filter(None, (unlike(what, type(owner).__name__, value, alike) for what, value in held.items())), None)


def _sizes(owner: Any) -> dict[str, int]:
    return {**getattr(owner, "__dict__", {}).get("_built_with", {}), **getattr(owner, "sizes", {})}


def _remember(built: Any, signature: inspect.Signature, args: tuple, options: dict) -> None:
    """Keep the channels that a layer was built with, to name them when an input has others."""
    if not hasattr(built, "forward"):
        return
    given = signature.bind(*args, **options).arguments
    config = given.get("config")
    sizes = {letter: given[letter] for letter in ("C", "hs") if letter in given and letter != "hs"}
    if hasattr(config, "n_embd"):
        sizes["C"] = config.n_embd
    if sizes:
        built.__dict__["_built_with"] = sizes
