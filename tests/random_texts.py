"""Random texts for tokenizers, with what the web and keyboards hold against them."""

import random

ALPHABETS = [
    "abc XYZ 012",
    "the fox's HEN'LL they'VE ſ K \n\r\t",
    " \n\r\t\x0b\x0c\x1c\x1f\x85\xa0\u2003\u2028\u3000\ufeff",
    "áéñçÅß ǅ ª º ² ½ Ⅷ ٣ ० ௧",
    "Ελλάδα Россия العربية עברית हिन्दी ไทย 中文字 日本語 한국어",
    "e\u0301 a\u0308 \u200d \u200b \u2060",
    "😀👩‍👩‍👧🏽🇩🇪❤️",
    "<|endoftext|><|user|>[]{}()*+?^$.|\\'\"“”…—",
    "\ud800\udfff\ufffe\uffff\ufffd",
    "▁ ▁the▁fox",
]


def texts(n, seed=0):
    """Random texts: words, spaces, scripts, emoji, lone surrogates, and code points of all planes."""
    draw = random.Random(seed)
    found = ["", " ", "\n", "'s", " " * 100, "a" * 100, "fox  \n", "<|endoftext|>"]
    while len(found) < n:
        kind, length = draw.random(), draw.randrange(1, 24)
        if kind < 0.6:
            found.append("".join(draw.choices(draw.choice(ALPHABETS), k=length)))
        elif kind < 0.8:
            found.append("".join(draw.choices("".join(ALPHABETS), k=length)))
        else:
            found.append(
                "".join(chr(draw.randrange(0x110000 if draw.random() < 0.5 else 0x3000)) for _ in range(length))
            )
    return found
