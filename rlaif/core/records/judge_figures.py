"""What evaluation.json says of a judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rlaif.core.ranges import Natural, NotNegative, Share
from rlaif.core.records.record import ABSENT, Interval, Record, Sometimes
from rlaif.core.types import Status


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanAndStd(Record):
    """A mean over completions."""

    mean: float | None
    """Null where there is no completion."""
    std: NotNegative | None
    """Standard deviation, one degree of freedom removed; null for fewer than two."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToxicityFigures(Record):
    """1 - score, of judges of harm."""

    mean: Share | None
    """Null where there is no completion."""
    std: NotNegative | None
    """Standard deviation, one degree of freedom removed; null for fewer than two."""
    rate: Share | None
    """Share of completions with a toxicity of 0.5 or more; null where there is no completion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeSide(Record):
    """What a judge said of one side, on the pairs of which it scored both."""

    score: MeanAndStd
    """In [0, 1], 1 = best."""
    toxicity: Sometimes[ToxicityFigures] = ABSENT
    """Only of judges of harm."""
    abstained: Mapping[Status, Natural]
    """Completions without a score, of all, by status."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreChange(Record):
    """How the mean score changed, after - before, over pairs."""

    score_mean: float | None
    """In [-1, 1]; null where no pair was scored on both sides."""
    ci95: Interval | None
    """Bootstrap interval, by resampling prompts; null for fewer than two."""
    p_value: Share | None
    """Of a paired permutation test, two-sided; null for fewer than two prompts."""
    p_resolution: Share | None
    """The smallest p-value that this test could have given."""
    significant: bool
    """Whether the p-value is below 0.05."""
    effect_size: float | None
    """Cohen's d_z; null for one pair, and where all pairs differ by the same."""
    note: str | None
    """Why something is null, or what limits it; null where nothing does."""
    toxicity_mean_pct: Sometimes[float | None] = ABSENT
    """Change of the mean toxicity in per cent; only of judges of harm; null where it was 0 before."""
    toxicity_std_pct: Sometimes[float | None] = ABSENT
    """Change of its standard deviation in per cent; only of judges of harm; null where it was 0 before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangeBounds(Record):
    """The lowest and the highest that a number could be, whatever was behind the abstentions."""

    low: float
    """The lowest."""
    high: float
    """The highest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToxicityChange(Record):
    """How a figure of toxicity changed, after - before."""

    difference: float | None
    """Null where there is no pair."""
    ci95: Interval | None
    """Bootstrap interval, by resampling prompts; null for fewer than two."""
    p_value: Share | None
    """Of a paired permutation test, two-sided; null for fewer than two prompts."""
    note: str | None
    """Why something is null, or what limits it; null where nothing does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorstSide(Record):
    """The worst of k completions of a prompt, of one side (Gehman et al. 2020)."""

    prompts: Natural
    """Prompts with at least one scored completion."""
    abstained: Natural
    """Completions without a score."""
    expected_maximum: Share | None
    """Mean over prompts of the largest toxicity; null where there is no prompt."""
    expected_maximum_std: NotNegative | None
    """Its standard deviation over prompts; null for fewer than two."""
    probability: Share | None
    """Share of prompts with at least one completion of toxicity 0.5 or more; null where there is no prompt."""
    expected_maximum_bounds: ChangeBounds | None
    """What it could be over all prompts; null where there is none."""
    probability_bounds: ChangeBounds | None
    """The same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorstChange(Record):
    """How the figures of the worst changed."""

    expected_maximum: ToxicityChange
    """Of the mean largest toxicity."""
    probability: ToxicityChange
    """Of the probability of a toxic one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorstOfKFigures(Record):
    """The worst of k completions of a prompt, before and after."""

    k: Natural
    """Completions of a prompt."""
    prompts: Natural
    """Different prompts."""
    before: WorstSide
    """Of the side before."""
    after: WorstSide
    """Of the side after."""
    change: WorstChange
    """From the one to the other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartSide(Record):
    """Toxicity of completions of some prompts."""

    toxicity_mean: Share | None
    """Null where there is no completion."""
    toxicity_rate: Share | None
    """Share with a toxicity of 0.5 or more; null where there is no completion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartChange(Record):
    """How the toxicity of completions of some prompts changed."""

    toxicity_mean: ToxicityChange
    """Of the mean."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartFigures(Record):
    """Toxic or harmless prompts."""

    prompts: Natural
    """How many."""
    before: PartSide
    """Of the side before."""
    after: PartSide
    """Of the side after."""
    change: PartChange
    """From the one to the other."""
    worst_of_k: WorstOfKFigures | None
    """Null where each prompt has one completion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ByPrompt(Record):
    """Toxic prompts apart from harmless ones."""

    toxic: PartFigures
    """Prompts of toxicity 0.5 or more."""
    harmless: PartFigures
    """The others of which the data says it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeFigures(Record):
    """What a judge said before and after."""

    role: Literal["training", "held_out"]
    """Whether it was learned from, or only measures."""
    used_for_selection: bool
    """Whether the guard chose the model by it."""
    measures: str
    """What its card says that it measures."""
    n: Natural
    """Pairs that it scored on both sides."""
    before: JudgeSide
    """Of the side before."""
    after: JudgeSide
    """Of the side after."""
    change: ScoreChange
    """From the one to the other."""
    margin: NotNegative
    """The largest change of the mean score that counts as none."""
    within_margin: bool | None
    """Whether the 90 % interval is inside the margin; null where there is none."""
    worst_case: ChangeBounds | None
    """The change over all pairs, whatever was behind the abstentions; null without a pair."""
    worst_of_k: Sometimes[WorstOfKFigures] = ABSENT
    """Only of judges of harm, where each prompt has several completions."""
    by_prompt: Sometimes[ByPrompt] = ABSENT
    """Only of judges of harm, where the data says how toxic prompts are."""
