"""Tiny Shakespeare: 40,000 lines of plays, the text on which small character models are usually compared.

Public-domain text, collected by Andrej Karpathy for char-rnn (2015). About 1.1 million characters, 65 of them distinct.
It is known by its SHA-256, so that a number measured on it means the same everywhere.
"""

from gptlab.corpora.registry import Entry, register
from gptlab.downloads import PublishedFile, Url

ENTRY = register(
    Entry(
        name="shakespeare",
        about="Tiny Shakespeare, the usual yardstick; downloaded once",
        file=PublishedFile(
            path="tinyshakespeare.txt",
            sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            size=1_115_394,
            sources=(Url("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"),),
            command="shakespeare",
            note='The course goes on without it: gptlab.corpora.load("fables") and load("pydocs") need no network.',
        ),
    )
)
