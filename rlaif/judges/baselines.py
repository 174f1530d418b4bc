"""Baseline judges without a model: a real judge has to beat them, and they are handy for first tries."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt, Le

from rlaif.core.errors import InputError
from rlaif.core.paths import LocalPath
from rlaif.core.schema import read_text
from rlaif.core.types import Judge, Judgement, Sample, Usage, empty
from rlaif.judges.cards.card import Card

if TYPE_CHECKING:
    from rlaif.judges.cards.card import Load

Verdict = tuple[float, float]
"""Score and raw number."""


@dataclass(frozen=True, kw_only=True)
class ConstantCard(Card):
    """`adapter: constant`: gives all texts the same score."""

    value: Annotated[float, Ge(0), Le(1)] = 0.5


@dataclass(frozen=True, kw_only=True)
class RandomCard(Card):
    """`adapter: random`: a random score from a hash of the text and a seed; equal texts get equal scores."""

    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class LengthCard(Card):
    """
    `adapter: length`: longer is better, or inside a band is best.

    Without a band the score is n / (n + midpoint). With `at_least` or `at_most` it is 1 inside the band, and
    n / at_least below it or at_most / n above.
    """

    unit: Literal["words", "characters"] = "words"
    midpoint: Annotated[float, Gt(0)] = 50.0
    at_least: Annotated[int, Ge(1)] | None = None
    at_most: Annotated[int, Ge(1)] | None = None

    def __post_init__(self) -> None:
        if self.at_least and self.at_most and self.at_least > self.at_most:
            raise ValueError(f"at_least ({self.at_least}) should not exceed at_most ({self.at_most})")


@dataclass(frozen=True, kw_only=True)
class LexiconCard(Card):
    """`adapter: lexicon`: counts bad words. `words` is a list of them, or `file` a text file with one word per line."""

    words: list[str] | None = None
    file: LocalPath | None = None


def make_constant(card: ConstantCard, *, load: Load) -> Judge:
    """Make a judge that gives `value` to all texts."""
    return Baseline(card, lambda sample: (card.value, card.value))


def make_random(card: RandomCard, *, load: Load) -> Judge:
    """Make a judge with scores that are uniform in [0, 1)."""

    def draw(sample: Sample) -> Verdict:
        text = f"{card.seed}\0{len(sample.prompt)}\0{sample.prompt}{sample.completion}"
        number = int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()[:7]) / 2**56
        return number, number

    return Baseline(card, draw)


def make_length(card: LengthCard, *, load: Load) -> Judge:
    """Make a judge of length; `raw` is the number of words or characters."""

    def measure(sample: Sample) -> Verdict:
        n = len(sample.completion.split() if card.unit == "words" else sample.completion)
        if card.at_least is None and card.at_most is None:
            return n / (n + card.midpoint), n
        below = min(1.0, n / card.at_least) if card.at_least else 1.0
        above = min(1.0, card.at_most / n) if card.at_most and n else 1.0
        return min(below, above), n

    return Baseline(card, measure)


def make_lexicon(card: LexiconCard, *, load: Load) -> Judge:
    """Make a judge with the score 1 / (1 + n) for n bad words; `raw` is n. It matches whole words, ignoring case."""
    if (card.words is None) == (card.file is None):
        raise InputError(f"judge {card.name}: name either `words` (a list) or `file` (one word per line)")
    listed = card.words if card.words is not None else _lines_of(card)
    words = sorted({word.strip().lower() for word in listed if word.strip()}, key=lambda word: (-len(word), word))
    if not words:
        raise InputError(f"judge {card.name}: the list of words is empty")
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", re.IGNORECASE)

    def count(sample: Sample) -> Verdict:
        n = len(pattern.findall(sample.completion))
        return 1 / (1 + n), n

    return Baseline(card, count, judges_blank=False, identity=("lexicon", *words))


class Baseline:
    """A judge that applies a function to each sample. All baselines except the lexicon also judge blank completions."""

    has_logit = False
    remote = False

    def __init__(
        self,
        card: Card,
        verdict: Callable[[Sample], Verdict],
        *,
        judges_blank: bool = True,
        identity: Hashable = None,
    ) -> None:
        self.name, self.measures = card.name, card.measures
        own = {field.name: getattr(card, field.name) for field in fields(card)}
        self.identity = identity or tuple(v for k, v in own.items() if k not in ("name", "measures"))
        self.reads: frozenset[str] = frozenset()
        self._verdict = verdict
        self._judges_blank = judges_blank

    def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
        """Judge each sample independently."""
        return [self._judge(sample) for sample in samples]

    def _judge(self, sample: Sample) -> Judgement:
        if sample.blank and not self._judges_blank:
            return empty(self.name)
        start = time.perf_counter()
        score, raw = self._verdict(sample)
        return Judgement(self.name, score, raw=float(raw), usage=Usage(seconds=time.perf_counter() - start))


def _lines_of(card: LexiconCard) -> list[str]:
    try:
        return read_text(Path(card.file or "")).splitlines()
    except InputError as error:
        raise InputError(f"judge {card.name}: file: {error}") from None
