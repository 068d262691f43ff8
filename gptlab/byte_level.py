"""Bytes as visible characters: how GPT-2's `encoder.json` and every `tokenizer.json` write tokens of byte-level BPE.

A text file cannot show every byte: some are line ends, some cannot be printed at all. So GPT-2 gave each of the 256
bytes a character of its own. It is a spelling and nothing more.
"""

from functools import cache

from gptlab.entrances import guard


@cache
def bytes_to_unicode() -> dict[int, str]:
    r"""GPT-2's character for each byte, in the order of GPT-2's ids: itself if it is visible, or one from U+0100 on.

    >>> [bytes_to_unicode()[byte] for byte in b"a b\n"]
    ['a', 'Ġ', 'b', 'Ċ']
    """
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + i) for i, byte in enumerate(others)}


@cache
def _unicode_to_bytes() -> dict[str, int]:
    return {character: byte for byte, character in bytes_to_unicode().items()}


def to_printable(token: bytes) -> str:
    """A token in visible characters.

    >>> to_printable(b" fox")
    'Ġfox'
    """
    return "".join([bytes_to_unicode()[byte] for byte in token])


def from_printable(token: str) -> bytes:
    """The bytes of a token that `to_printable` wrote.

    >>> from_printable("Ġfox")
    b' fox'
    """
    return bytes([_unicode_to_bytes()[character] for character in token])


guard(globals())
