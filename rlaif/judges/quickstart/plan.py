"""What the quickstart's parts are made of: sizes, seeds, and which half of the corpus each judge learns from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from rlaif.judges.quickstart.corpus import Half


@dataclass(frozen=True, kw_only=True)
class Size:
    """
    How large a model is, and what it learns from.

    Args:
        comments: number of comments.
        half: of the corpus' sentences that they are made of; None: all.
        seed: of comments, weights and batches.
        batches: number of optimizer steps.
        batch_size: comments in each.
        learning_rate: the highest; it rises for a tenth of the batches, then falls to 0.
        vocabulary: number of tokens.
        hidden: width of the layers.
        layers: number of layers.
        heads: of attention, in each layer.

    """

    comments: int
    half: Half | None
    seed: int
    batches: int
    batch_size: int
    learning_rate: float
    vocabulary: int
    hidden: int
    layers: int
    heads: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The parts. The judges share no sentence, no seed, no tokenizer and no size."""

    policy: Size
    judge: Size
    held_out: Size
    prompts: int
    prompts_seed: int

    @property
    def key(self) -> str:
        """A name that changes with whatever the parts are made of: sizes, corpus, and the code that makes them."""
        digest = hashlib.sha256(repr(self).encode())
        for name in ("corpus.yaml", "corpus.py", "models.py"):
            digest.update(Path(__file__).with_name(name).read_bytes())
        return digest.hexdigest()[:12]


PLAN = Plan(
    policy=Size(
        comments=24_000, half=None, seed=1, batches=2000, batch_size=16, learning_rate=4e-3,
        vocabulary=2000, hidden=128, layers=2, heads=4,
    ),
    judge=Size(
        comments=8_000, half="first", seed=2, batches=500, batch_size=32, learning_rate=2e-3,
        vocabulary=1500, hidden=64, layers=2, heads=4,
    ),
    held_out=Size(
        comments=8_000, half="second", seed=3, batches=500, batch_size=32, learning_rate=2e-3,
        vocabulary=1300, hidden=80, layers=2, heads=5,
    ),
    prompts=1500,
    prompts_seed=4,
)  # fmt: skip
