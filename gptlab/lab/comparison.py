"""Four ways to look back, at equal size: what each can know about a story (the end of the notebook on attention).

A bigram sees one token, a window and a stack of convolutions see `REACH` tokens, attention sees all of them. The
difference shows at a fact that was stated further back than that: `FarAndNear` adds up what such facts cost.
"""

import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gptlab.attention import MultiHeadAttention
from gptlab.batches import IGNORE
from gptlab.corpora import fables
from gptlab.corpora.fables import Fable
from gptlab.embedding import BigramLanguageModel
from gptlab.evaluation import StoryEvaluation
from gptlab.schedule import TrainConfig
from gptlab.tokens import Tokenizer

REACH = 13  # tokens that the window and the convolutions see, the present one included
RATES = TrainConfig(steps=300, optimizer="muon", learning_rate=0.03, muon_lr=0.08, warmup=30, evaluate_every=20)


class StoryWords:
    """A tokenizer for fables only: a token is a word with the space before it, or a run of punctuation.

    >>> words = StoryWords()
    >>> [words.decode([i]) for i in words.encode("Once, in a dark forest")], words.vocab_size
    (['Once', ',', ' in', ' a', ' dark', ' forest'], 273)

    Raises:
        ValueError: for a word that occurs in no fable.
    """

    def __init__(self):
        self.pieces = ["<|end|>", *sorted(set(self.split(fables.book(600))))]  # every word of the grammar
        self.id_of = {piece: i for i, piece in enumerate(self.pieces)}
        self.end, self.special_tokens, self.vocab_size = 0, {"<|end|>": 0}, len(self.pieces)

    @staticmethod
    def split(text: str) -> list[str]:
        """The tokens of a text, whether they are in the vocabulary or not."""
        return re.findall(r" ?\w+| ?[^\w\s]+|\s", text)

    def encode(self, text: str) -> list[int]:
        """The ids of a text of fables."""
        unknown = [piece for piece in self.split(text) if piece not in self.id_of]
        if unknown:
            raise ValueError(f"no fable contains {unknown[0]!r}: this tokenizer knows the words of fables only")
        return [self.id_of[piece] for piece in self.split(text)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids."""
        return "".join(self.pieces[i] for i in ids)

    def token_bytes(self, id: int) -> bytes:
        """The bytes of one token."""
        return self.pieces[id].encode()


# ── The ways to look back: each adds what it found to the residual stream x [B, T, C] ────────────────────────────────


class Window(nn.Module):
    """The last n vectors side by side, through one hidden layer (Bengio et al. 2003).

    Args:
        C: channels.
        n: vectors that it sees, the present one included.
        hidden: size of the hidden layer.
    """

    def __init__(self, C: int, n: int, hidden: int):
        super().__init__()
        self.n = n
        self.up, self.output = nn.Linear(n * C, hidden, bias=False), nn.Linear(hidden, C, bias=False)

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        """The stream, with what the window found added to it."""
        return x + self.output(F.relu(self.up(last(x, self.n))).square())


class Convolution(nn.Module):
    """One filter over n neighbours, the same at every position; stacked, each layer sees n - 1 tokens further.

    Args:
        C: channels.
        n: vectors that the filter sees, the present one included.
    """

    def __init__(self, C: int, n: int):
        super().__init__()
        self.n, self.norm = n, nn.RMSNorm(C)
        self.filter = nn.Linear(n * C, C, bias=False)

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        """The stream, with what the filter found added to it."""
        return x + F.relu(self.filter(last(self.norm(x), self.n)))


class Attention(nn.Module):
    """A block: each position adds up its neighbours, attends to all positions before it, and goes through an MLP.

    Args:
        C: channels.
        H: heads.
        hidden: size of the MLP's hidden layer.
        neighbours: vectors that the position adds up, its own included.
    """

    def __init__(self, C: int, H: int, hidden: int, neighbours: int = 4):
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(C), nn.RMSNorm(C)
        self.convolution = nn.Parameter(0.3 * torch.randn(neighbours, C))  # row i weights the token i positions back
        self.attention = MultiHeadAttention(C, H, bias=False, norm=nn.RMSNorm)
        self.up, self.output = nn.Linear(C, hidden, bias=False), nn.Linear(hidden, C, bias=False)

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        """The stream, with what attention and the MLP found added to it."""
        h = self.norm1(x)
        h = h + sum(weight * earlier(h, i) for i, weight in enumerate(self.convolution))  # its neighbours
        x = x + self.attention(h, is_causal=True)
        return x + self.output(F.relu(self.up(self.norm2(x))).square())


def earlier(x: Float[Tensor, "B T C"], i: int) -> Float[Tensor, "B T C"]:
    """At each position the vector i positions before it; zeros where there is none.

    Args:
        x: the stream.
        i: how far back.

    >>> earlier(torch.tensor([[[1.0], [2.0], [3.0]]]), 1).flatten().tolist()
    [0.0, 1.0, 2.0]
    """
    return F.pad(x, (0, 0, i, 0))[:, : x.shape[1]]


def last(x: Float[Tensor, "B T C"], n: int) -> Float[Tensor, "B T nC"]:
    """At each position the last n vectors side by side, its own at the end.

    Args:
        x: the stream.
        n: how many vectors.

    >>> last(torch.tensor([[[1.0], [2.0], [3.0]]]), n=2).tolist()
    [[[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]]
    """
    return torch.cat([earlier(x, i) for i in reversed(range(n))], dim=-1)


class LookingBack(nn.Module):
    """A language model of embedding, blocks and logits; only the blocks look back.

    Args:
        V: vocabulary size.
        C: channels.
        blocks: each from [B, T, C] to [B, T, C].
    """

    def __init__(self, V: int, C: int, blocks: Sequence[nn.Module]):
        super().__init__()
        self.table = nn.Parameter(0.02 * torch.randn(V, C))
        self.blocks, self.norm = nn.ModuleList(blocks), nn.RMSNorm(C)
        for name, parameter in self.blocks.named_parameters():
            if parameter.dim() == 2 and "convolution" not in name:
                nn.init.normal_(parameter, std=0.0 if name.endswith("output.weight") else 0.02)

    def forward(
        self, ids: Int[Tensor, "B T"], targets: Int[Tensor, "B T"] | None = None
    ) -> tuple[Float[Tensor, "B T V"], Float[Tensor, ""] | None]:
        """The logits, and with targets the loss in nats per token."""
        x = F.embedding(ids, self.table)  # [B, T, C]
        for block in self.blocks:
            x = block(x)
        logits = self.norm(x) @ self.table.T  # [B, T, V]
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE)


def make(kind: str, V: int) -> nn.Module:
    """One of the models compared, each with about V² = 74,500 parameters, as many as the bigram's table has.

    Args:
        kind: one of `KINDS`.
        V: vocabulary size.

    Raises:
        ValueError: for an unknown kind, naming those there are.

    >>> {kind: sum(p.numel() for p in make(kind, V=273).parameters()) for kind in ("bigram", "window")}
    {'bigram': 74529, 'window': 73776}
    """
    if kind == "bigram":
        return BigramLanguageModel(V)
    if kind == "window":
        return LookingBack(V, 24, [Window(24, n=REACH, hidden=200)])
    if kind == "convolution":
        return LookingBack(V, 60, [Convolution(60, n=4) for _ in range((REACH - 1) // 3)])  # each sees 3 further
    if kind == "attention":
        return LookingBack(V, 96, [Attention(96, H=8, hidden=48)])
    if kind == "attention alone":  # without its neighbours
        return LookingBack(V, 96, [Attention(96, H=8, hidden=48, neighbours=1)])
    raise ValueError(f"unknown kind {kind!r}: choose one of {list(KINDS)}")


KINDS = ("bigram", "window", "convolution", "attention", "attention alone")

# ── How far back is a recalled fact? ─────────────────────────────────────────────────────────────────────────────────


def what(fact: str, facts: dict[str, str]) -> str:
    """One name for all forms of a fact: "snow" recalls "snowy", and "the finder" is the hero or the friend.

    Args:
        fact: as a mark of a fable names it.
        facts: of the whole fable.

    >>> what("finder.trait", {"finder": "friend"}), what("weather.noun", {})
    ('friend.trait', 'weather')
    """
    thing, _, quality = ("finder.name" if fact == "finder" else fact).partition(".")
    if thing in ("finder", "other"):
        found_it_first = (thing == "finder") == (facts["finder"] == "hero")
        thing = "hero" if found_it_first else "friend"
    return f"{thing}.{quality}" if quality in ("name", "trait", "animal", "kind") else thing


def distances(story: Fable, tokenizer: Tokenizer) -> dict[int, tuple[str, int]]:
    """For each token that recalls a fact: the fact, and how many tokens back it was last stated.

    Args:
        story: a fable with its marks.
        tokenizer: how to count tokens.

    >>> fact, back = max(distances(fables.tell(1, seed=4)[0], StoryWords()).values(), key=lambda found: found[1])
    >>> fact, back > 60
    ('home', True)
    """
    last_stated: dict[str, int] = {}
    found, at, marks = {}, 0, iter(story.marks)
    mark = next(marks, None)
    for number, i in enumerate(tokenizer.encode(story.text)):
        text = tokenizer.token_bytes(i).decode()
        at += len(text)
        while mark is not None and mark.start < at:  # this token states it, or begins to
            name = what(mark.fact, story.facts)
            if mark.recalled:
                found[number] = (mark.fact, number - last_stated[name])
            if mark.end <= at:
                last_stated[name] = number
                if name.endswith(".trait"):  # a trait also says whether it is a vice or a virtue
                    last_stated[name.replace("trait", "kind")] = number
                mark = next(marks, None)
            else:
                break
    return found


class FarAndNear(StoryEvaluation):
    """`StoryEvaluation`, and the nats per story of recalled facts in two parts, by where they were last stated.

    `near`: within `reach` tokens, the present one included, so that a window of this size can see it; `far`: further
    back. A recalled fact should cost nothing, so these nats are all above the floor.

    Args:
        stories: to evaluate on.
        tokenizer: of the models.
        end: the id of the end token.
        reach: tokens that count as near.
    """

    def __init__(self, stories: Sequence[Fable], tokenizer: Tokenizer, end: int, reach: int = REACH):
        super().__init__(stories, tokenizer, end)
        self.reach, self.found = reach, [distances(story, tokenizer) for story in stories]

    def by_distance(self, model: nn.Module) -> dict[tuple[str, int], list[float]]:
        """For each (recalled fact, tokens back) the surprise at every position where it occurs, in nats."""
        nats: dict[tuple[str, int], list[float]] = {}
        for found, losses in zip(self.found, self.token_losses(model), strict=True):
            for number, key in found.items():
                nats.setdefault(key, []).append(losses[number])
        return nats

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """The numbers of `StoryEvaluation`, and `near` and `far`."""
        parts = {"near": 0.0, "far": 0.0}
        for (_, back), nats in self.by_distance(model).items():
            # The model predicts the recalled token from the one before it, which is 1 back: so `reach` is still seen.
            parts["near" if back <= self.reach else "far"] += sum(nats) / len(self.stories)
        return super().__call__(model) | parts
