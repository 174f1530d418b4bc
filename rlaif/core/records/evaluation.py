"""evaluation.json: the numbers of a measurement before and after, of a training run or of `rlaif evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rlaif.core.ranges import Natural, NotNegative, Share
from rlaif.core.records.judge_figures import JudgeFigures
from rlaif.core.records.record import ABSENT, Interval, Record, Sometimes
from rlaif.core.types import Status

# --- the price ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class BeforeAfter(Record):
    """A figure of both sides."""

    before: float | None
    """Null where it is not known of all completions; `unknown` may say why."""
    after: float | None
    """The same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FluencySide(Record):
    """Perplexities of a side."""

    reference_perplexity: NotNegative | None
    """Under the model before, at temperature 1; null where it cannot score, or where it is not finite."""
    independent_perplexity: Sometimes[NotNegative | None] = ABSENT
    """Under the independent model; absent without one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fluency(Record):
    """Perplexities of both sides, over the pairs of which both completions were scored."""

    before: FluencySide
    """Of the side before."""
    after: FluencySide
    """Of the side after."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DiversitySide(Record):
    """Share of different n-grams of lower-cased words, at the same number of words on both sides."""

    distinct_1: Share | None
    """Of words; null where there is none."""
    distinct_2: Share | None
    """Of pairs of words; null where there is none."""
    distinct_3: Share | None
    """Of three words in a row; null where there are none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Diversity(Record):
    """Distinct-n of both sides."""

    before: DiversitySide
    """Of the side before."""
    after: DiversitySide
    """Of the side after."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RatioFigures(Record):
    """By which factor a figure changed."""

    ratio: float | None
    """After / before; null where one is missing, or was 0."""
    ci95: Interval | None
    """Its interval; null for fewer than two prompts, and where it has no finite bounds."""
    p_value: Share | None
    """Of a paired test, two-sided; null for fewer than two prompts."""
    p_resolution: Share | None
    """The smallest p-value that this test could have given; null for a test that has none."""
    significant: bool
    """Whether the p-value is below 0.05."""
    margin: NotNegative
    """m: a factor from 1 / (1 + m) to 1 + m counts as no change."""
    within_margin: bool | None
    """Whether the 90 % interval is inside the margin; null where there is none."""
    note: str | None
    """Why something is null, or what limits it; null where nothing does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes(Record):
    """Factors by which the figures beside the judges' changed."""

    reference_perplexity: Sometimes[RatioFigures] = ABSENT
    """Absent where nothing could score."""
    independent_perplexity: Sometimes[RatioFigures] = ABSENT
    """Absent without an independent model."""
    distinct_1: RatioFigures
    """Of distinct-1."""
    distinct_2: RatioFigures
    """Of distinct-2."""
    distinct_3: RatioFigures
    """Of distinct-3."""
    length_tokens: Sometimes[RatioFigures] = ABSENT
    """Absent where tokens are no common measure."""
    length_words: RatioFigures
    """Of the mean number of words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing(Record):
    """Completions that endpoints did not give, by the status that judgements of them have."""

    before: Mapping[Status, Natural]
    """Of the side before."""
    after: Mapping[Status, Natural]
    """Of the side after."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpreadOverSeeds(Record):
    """A figure over seeds."""

    mean: float | None
    """Null where no seed has it."""
    std: NotNegative | None
    """One degree of freedom removed; null for fewer than two."""
    ci95: Interval | None
    """Of the mean, by Student's t; null for fewer than two."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedsOfJudge(Record):
    """What changed by a judge, over seeds."""

    score_mean: SpreadOverSeeds
    """Of the change of the mean score."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedFigures(Record):
    """Changes over several seeds of the sampling."""

    n: Natural
    """Seeds."""
    judges: Mapping[str, SeedsOfJudge]
    """By name."""


# --- how it was made ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class MarginsRecord(Record):
    """Within which change a figure counts as unchanged."""

    score: NotNegative
    """Of a mean score, in its unit."""
    perplexity: NotNegative
    """m stands for a factor of 1 / (1 + m) to 1 + m."""
    distinct: NotNegative
    """The same, of distinct-n."""
    length: NotNegative
    """The same, of lengths."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationSettings(Record):
    """How `rlaif evaluate` was asked; with `run` of a finished run, else of two models."""

    run: Sometimes[str] = ABSENT
    """Folder of the run."""
    before: Sometimes[str] = ABSENT
    """The model, endpoint or file of the side before."""
    after: Sometimes[str] = ABSENT
    """The same of the side after."""
    reference: Sometimes[str | None] = ABSENT
    """The independent model; null where there was none."""
    data: Sometimes[str | None] = ABSENT
    """Where the prompts came from; null where they are those of saved completions."""
    template: Sometimes[str | None] = ABSENT
    """That prompts were put into; null without one."""
    prompts: Sometimes[Natural] = ABSENT
    """Different prompts."""
    completions: Sometimes[Natural] = ABSENT
    """Of each side."""
    generation: Sometimes[Mapping[str, object]] = ABSENT
    """The section `generation` of a run file."""
    max_prompt_tokens: Sometimes[Natural | None] = ABSENT
    """Longer prompts lost their beginning; null: none did."""
    seed: Sometimes[int] = ABSENT
    """Of the sampling."""
    seeds: Sometimes[Natural] = ABSENT
    """How many of them."""
    command: Sometimes[str] = ABSENT
    """The command that measures the same again; absent where it was made from Python."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationRecord(Record):
    """What evaluation.json says."""

    answer: str
    """The numbers in a sentence."""
    judges: Mapping[str, JudgeFigures]
    """By name."""
    fluency: Fluency
    """Perplexities."""
    diversity: Diversity
    """Distinct-n."""
    length_tokens: BeforeAfter
    """Mean tokens of a completion, EOS included."""
    length_words: BeforeAfter
    """Mean words of a completion."""
    ended_rate: BeforeAfter
    """Share of completions that ended by themselves."""
    cut_rate: BeforeAfter
    """Share that was cut."""
    empty_rate: BeforeAfter
    """Share that is blank."""
    repetition: BeforeAfter
    """Share of 4-grams that stand in the same completion before; null where no completion has one."""
    kl_nats_per_sequence: float | None
    """KL from the model before, by k1, in nats per completion; null where it cannot be known."""
    changes: Changes
    """Factors, with intervals."""
    missing: Sometimes[Missing] = ABSENT
    """Absent where every completion is there."""
    seeds: Sometimes[SeedFigures] = ABSENT
    """Absent where there was one seed."""
    steps: Natural | None
    """Steps of the training; null for two models."""
    kept_step: Natural | None
    """The step whose model was kept; null for two models."""
    seed: int | None
    """Of the run, or of the sampling."""
    unknown: Sometimes[Mapping[str, str]] = ABSENT
    """Figures that cannot be known, and why; of `rlaif evaluate` only."""
    notes: Sometimes[tuple[str, ...]] = ABSENT
    """What was left out, and warnings; of `rlaif evaluate` only."""
    margins: Sometimes[MarginsRecord] = ABSENT
    """Of `rlaif evaluate` only."""
    settings: Sometimes[EvaluationSettings] = ABSENT
    """Of `rlaif evaluate` only."""
