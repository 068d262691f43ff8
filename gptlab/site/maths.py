r"""Formulas of the notebooks as MathML, which browsers show by themselves: no script, no font to load.

`latex2mathml` translates; what it leaves different from LaTeX's look is mended here.

>>> to_mathml(r"\mathrm{norm}(x)")
'<math display="inline"><mrow><mrow><mi>norm</mi></mrow><mo stretchy="false">(</mo>...</mrow></math>'
"""

import re
from xml.etree import ElementTree

from latex2mathml.converter import convert

from gptlab.entrances import guard

_UNKNOWN = {r"\arg": r"\operatorname{arg}"}  # commands that latex2mathml does not know, in those that it does
_FUNCTIONS = ("sin", "cos", "tan", "tanh", "ln", "log", "exp", "max", "min")
_LIMITS = ("max", "min")  # in a formula of its own, what is below them stands below, not beside


def to_mathml(latex: str, block: bool = False) -> str:
    r"""A formula as a `math` element.

    Args:
        latex: without its dollar signs.
        block: whether it stands on a line of its own.

    Raises:
        ValueError: it has a mistake, or a command that cannot be translated.

    >>> to_mathml(r"\unknown x")
    Traceback (most recent call last):
    ValueError: the formula '\\unknown x' has '\\unknown', which cannot be shown as MathML: write it another way
    """
    known = latex.strip()
    for command, other in _UNKNOWN.items():
        known = re.sub(re.escape(command) + r"(?![a-zA-Z])", lambda _, other=other: other, known)
    try:
        translated = convert(known, display="block" if block else "inline")
        formula = ElementTree.fromstring(translated.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', ""))
    except Exception as error:  # the translator's own, one class for each kind of mistake
        raise ValueError(
            f"the formula {latex.strip()!r} cannot be read ({type(error).__name__}): correct it"
        ) from error
    for element in formula.iter():
        _mend(element, block)
    if left := next((text for text in formula.itertext() if text.startswith("\\")), None):
        raise ValueError(
            f"the formula {latex.strip()!r} has {left!r}, which cannot be shown as MathML: write it another way"
        )
    return ElementTree.tostring(formula, encoding="unicode", short_empty_elements=False)


def _mend(element: ElementTree.Element, block: bool) -> None:
    """Words in one piece, letters of a typewriter, limits below, and space around the name of a function."""
    if element.tag == "mtext" and element.get("mathvariant") == "monospace":
        del element.attrib["mathvariant"]  # browsers follow it no more
        element.set("class", "typewriter")
    if block and element.tag == "msub" and element[0].text in _LIMITS:
        element.tag = "munder"
    if element.tag == "mover" and element.get("accent") == "true":
        element[-1].set("stretchy", "false")  # a hat as wide as a hat
    upright = [child for child in element if child.tag == "mi" and child.get("mathvariant") == "normal"]
    if element.tag == "mrow" and len(upright) > 1 and len(upright) == len(element):  # n, o, r, m: one name
        upright[0].text = "".join(child.text or "" for child in upright)
        del upright[0].attrib["mathvariant"]  # a name of several letters is upright by itself
        for child in upright[1:]:
            element.remove(child)
    if element.tag == "mrow":
        _space_functions(element)


def _space_functions(row: ElementTree.Element) -> None:
    """A thin space between the name of a function and what stands beside it, unless that is an operator."""
    for name in [child for child in row if _is_function(child)]:
        at = list(row).index(name)
        after = row[at + 1] if at + 1 < len(row) else None
        if after is not None and after.tag != "mo" and not _is_function(after):
            row.insert(at + 1, ElementTree.Element("mspace", width="0.167em"))
        if at and (row[at - 1].tag != "mo" or row[at - 1].text == ")") and row[at - 1].tag != "mspace":
            row.insert(at, ElementTree.Element("mspace", width="0.167em"))


def _is_function(element: ElementTree.Element) -> bool:
    if element.tag in ("msub", "msup"):
        element = element[0]
    return element.tag in ("mi", "mo") and element.text in _FUNCTIONS


guard(globals())
