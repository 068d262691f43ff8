"""Text that appears while a model is still writing: ids come one at a time, characters when they are complete."""

import codecs
from collections.abc import Iterable, Iterator
from typing import SupportsIndex

from gptlab.entrances import guard
from gptlab.tokenizing import Tokenizer


class StreamDecoder:
    """Turns ids into text one at a time; the bytes of an unfinished character are buffered until it is complete.

    One token is not one character: an emoji can be four tokens, and three of them are not text yet. Decoding each
    token alone would show � for them.

    Args:
        tokenizer: whose ids these are.

    >>> from gptlab.tokens import ByteTokenizer
    >>> decoder = StreamDecoder(ByteTokenizer())
    >>> [decoder.push(id) for id in ByteTokenizer().encode("a€!")]
    ['a', '', '', '€', '!']
    >>> decoder.flush()
    ''
    """

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, id: int) -> str:
        """The text that is certain once this id has come; often one token's, sometimes none, sometimes two tokens'."""
        return self._utf8.decode(self.tokenizer.token_bytes(id))

    def flush(self) -> str:
        """What is left at the end (� for a character that was never completed); the decoder can be used again."""
        return self._utf8.decode(b"", final=True)


def stream_decode(tokenizer: Tokenizer, ids: Iterable[SupportsIndex]) -> Iterator[str]:
    """The text of `ids` in parts, as the ids arrive; joined, the parts are `tokenizer.decode(ids)`.

    Args:
        tokenizer: whose ids these are.
        ids: the ids, from the first of the text on; an iterator is read one id at a time.

    >>> from gptlab.tokens import ByteTokenizer
    >>> list(stream_decode(ByteTokenizer(), [104, 105, 226, 130, 172]))
    ['h', 'i', '€']
    """
    if hasattr(tokenizer, "decode_stream"):  # its first token is not like the others
        yield from tokenizer.decode_stream(ids)
        return
    decoder = StreamDecoder(tokenizer)
    for id in ids:
        if text := decoder.push(int(id)):
            yield text
    if text := decoder.flush():
        yield text


guard(globals())
