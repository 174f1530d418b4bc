"""What bench.json says of a judge in a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from rlaif.core.ranges import Natural, NotNegative, Share
from rlaif.core.records.record import ABSENT, Interval, Key, Record, Sometimes
from rlaif.core.types import Status

Measure = Literal["auroc", "pairwise_accuracy", "spearman"]
"""A number by which judges are ranked: of labels, of pairs, of grades."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueAndInterval(Record):
    """A number with its interval."""

    value: float
    """The number."""
    ci95: Interval | None
    """Bootstrap interval; null for fewer than two clusters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BestThreshold(Record):
    """The threshold of the best F1 on these texts, good being the positive class."""

    threshold: Share
    """The score from which on a text is called good."""
    f1: Share
    """F1 there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityBin(Record):
    """Texts of similar scores."""

    low: Annotated[Share, Key("from")]
    """Lower end of the scores."""
    high: Annotated[Share, Key("to")]
    """Upper end of the scores."""
    n: Natural
    """Texts."""
    mean_score: Share
    """Their mean score."""
    share_good: Share
    """Share of them that people call good."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherIntervals(Record):
    """95 % intervals of numbers beside the main one; null for fewer than two clusters."""

    average_precision: Interval | None
    """Of the average precision."""
    accuracy: Interval | None
    """Of the accuracy."""
    brier: Interval | None
    """Of the Brier score."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupFigures(Record):
    """A judge's numbers of one group; which keys there are depends on the kind of rows."""

    n: Natural
    """Rows of the group."""
    scored: Natural
    """Rows with a score."""
    good: Sometimes[Natural] = ABSENT
    """Of labels: good texts with a score."""
    bad: Sometimes[Natural] = ABSENT
    """Of labels: bad texts with a score."""
    good_called_bad: Sometimes[Share | None] = ABSENT
    """Of labels: share of good texts with a score below 0.5; null where there is none."""
    bad_called_good: Sometimes[Share | None] = ABSENT
    """Of labels: share of bad texts with a score of 0.5 or more; null where there is none."""
    accuracy: Sometimes[Share | None] = ABSENT
    """Of labels: share on the right side of 0.5; null where there is no score."""
    auroc: Sometimes[Share | None] = ABSENT
    """Of labels: null where there is one class only."""
    pairwise_accuracy: Sometimes[Share | None] = ABSENT
    """Of pairs: share in which the chosen one has the higher score, a tie counted half; null without a score."""
    tie_rate: Sometimes[Share | None] = ABSENT
    """Of pairs: share of ties; null without a score."""
    spearman: Sometimes[float | None] = ABSENT
    """Of grades: rank correlation with the grades; null where one side is constant."""
    kendall: Sometimes[float | None] = ABSENT
    """Of grades: Kendall's tau-b; null where one side is constant."""

    def main(self, measure: Measure) -> float | None:
        """Return the number by which judges are ranked; None where there is none."""
        numbers = {"auroc": self.auroc, "pairwise_accuracy": self.pairwise_accuracy, "spearman": self.spearman}
        found = numbers.get(measure, ABSENT)
        return None if found is ABSENT else found


@dataclass(frozen=True, kw_only=True, slots=True)
class PlantedFigures(Record):
    """How texts fared to which a sentence was added."""

    n: Natural
    """Texts with a score with and without it."""
    gained: Share | None
    """Share whose score rose by more than 0.05; null where there is no text."""
    mean_gain: float | None
    """Mean rise of the score; null where there is no text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DegenerateFigures(Record):
    """What texts without content earn."""

    n: Natural
    """Texts."""
    statuses: Mapping[Status, Natural]
    """By status."""
    mean_score: Share | None
    """Null where none has a score."""
    outscores: Share | None
    """Share of the real texts that they outscore; null where there is no score."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency(Record):
    """Time of a judgement, in milliseconds."""

    p50: NotNegative | None
    """Median; null where nothing was asked."""
    p95: NotNegative | None
    """95 % quantile; null where nothing was asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokensPerThousand(Record):
    """Tokens for 1,000 texts."""

    input: NotNegative | None
    """That were read; null where nothing was asked."""
    output: NotNegative | None
    """That were written; null where nothing was asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableEntry(Record):
    """A judge in a table; null is what does not apply to the kind of rows, or was not asked for."""

    baseline: bool
    """Whether it is one of the baselines constant, random and length."""
    coverage: Share | None
    """Share of texts with a score; null without a text."""
    statuses: Mapping[Status, Natural]
    """Texts by status."""
    scored: Natural
    """Rows with a score: texts, or pairs of which both have one."""
    auroc: ValueAndInterval | None
    """Of labels, good being the positive class; null for one class."""
    average_precision: Share | None
    """Of labels, good being the positive class."""
    pairwise_accuracy: ValueAndInterval | None
    """Of pairs: how often the chosen one has the higher score, a tie counted half."""
    tie_rate: Share | None
    """Of pairs."""
    spearman: ValueAndInterval | None
    """Of grades: rank correlation with them; null where one side is constant."""
    kendall: float | None
    """Of grades: tau-b."""
    accuracy: Share | None
    """Of labels, at a score of 0.5."""
    best: BestThreshold | None
    """Of labels."""
    brier: Share | None
    """Of labels: mean square of score - label; 0 is best."""
    ece: Share | None
    """Of labels: expected calibration error, over ten bins."""
    reliability: tuple[ReliabilityBin, ...] | None
    """Of labels: the bins that have texts."""
    ci95: OtherIntervals | None
    """Of labels; of judges that are no baseline."""
    mean_score: Share | None
    """Over texts with a score."""
    distinct_scores: Natural | None
    """How many values the scores take."""
    saturated: Share | None
    """Share of scores of at most 0.01 or at least 0.99."""
    saturated_low: Share | None
    """Share of scores of at most 0.01."""
    saturated_high: Share | None
    """Share of scores of at least 0.99."""
    length_bias: float | None
    """Rank correlation of score and words, at equal label; null where either is constant, or for fewer than three."""
    groups: Mapping[str, Mapping[str, GroupFigures]] | None
    """By column and value."""
    spread_within_prompt: NotNegative | None
    """Standard deviation of scores among completions of one prompt; null where no prompt has two."""
    retest_sd: NotNegative | None
    """Standard deviation of the scores of one text, asked again."""
    flip_rate: Share | None
    """Share of retests that turn the verdict."""
    signal_to_noise: NotNegative | None
    """`spread_within_prompt` / `retest_sd`; null where the latter is nothing."""
    injection: Mapping[str, PlantedFigures] | None
    """Planted instructions by name, `control`, a harmless sentence, and `all` instructions together."""
    degenerate: Mapping[str, DegenerateFigures] | None
    """Texts without content, by kind."""
    asked: Natural
    """Texts that the judge was asked about."""
    from_store: Share | None
    """Share read from the verdict store; null without a text."""
    calls: Natural
    """Calls, retries included."""
    latency_ms: Latency
    """Time of a judgement."""
    per_second: NotNegative | None
    """Texts a second; null where nothing was asked."""
    usd_per_1k: NotNegative | None
    """US dollars for 1,000 texts; null where nothing was asked, or a price is not known."""
    tokens_per_1k: TokensPerThousand
    """What it reads and writes, for 1,000 texts."""

    def main(self, measure: Measure) -> ValueAndInterval | None:
        """Return the number by which judges are ranked; None where there is none."""
        numbers = {"auroc": self.auroc, "pairwise_accuracy": self.pairwise_accuracy, "spearman": self.spearman}
        return numbers.get(measure)
