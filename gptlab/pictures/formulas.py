"""Formulas as pictures, for pages that load nothing: matplotlib sets a subset of LaTeX by itself."""

import io
import re
import zlib
from functools import cache

_UNKNOWN = {
    r"\\tfrac": r"\\frac",
    r"\\dfrac": r"\\frac",
    r"\\big[lr]?|\\Big[lr]?|\\bigg[lr]?": "",
    r"\\,|\\;|\\!": r"\\ ",
}


@cache
def formula_svg(latex: str) -> str:
    """A formula as an SVG with its LaTeX as the description; "" if it needs more than matplotlib's subset.

    Args:
        latex: without the dollar signs.

    >>> formula_svg(r"\\frac{1}{2}").startswith("<svg")
    True
    >>> formula_svg(r"\\begin{aligned}x\\end{aligned}")
    ''
    """
    from matplotlib import mathtext
    from matplotlib.font_manager import FontProperties

    from gptlab.html import escape

    said = " ".join(latex.split())
    for unknown, known in _UNKNOWN.items():
        said = re.sub(unknown, known, said)
    buffer = io.StringIO()
    try:
        mathtext.math_to_image(f"${said}$", buffer, prop=FontProperties(size=14), format="svg")
    except (ValueError, RuntimeError):
        return ""
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    number = f"{zlib.crc32(said.encode()):x}"
    svg = re.sub(r"(\bid=\"|href=\"#|url\(#)", rf"\1f{number}-", svg)  # ids are unique in a page
    label = escape(" ".join(latex.split())).replace('"', "&quot;")
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
