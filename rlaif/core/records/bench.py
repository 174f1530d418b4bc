"""bench.json: how well judges agree with people, and what else `rlaif bench` found of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rlaif.core.ranges import Natural, NotNegative, Share
from rlaif.core.records.bench_entry import TableEntry
from rlaif.core.records.record import Interval, Record
from rlaif.core.types import Status

Kind = Literal["labels", "graded", "pairs"]


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeComparison(Record):
    """Two judges on the rows that both have a score of."""

    a: str
    """The better one."""
    b: str
    """The other."""
    n: Natural
    """Rows."""
    difference: NotNegative
    """Of the main number."""
    ci95: Interval | None
    """Bootstrap interval; null for fewer than two clusters."""
    p_value: Share | None
    """Of a paired test, two-sided; null for fewer than two clusters."""
    p_adjusted: Share | None
    """By Holm's correction for the number of comparisons."""
    different: bool | None
    """Whether `p_adjusted` is below 0.05; null where there was no test."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchTable(Record):
    """Judges on the rows of one file, or of all."""

    kind: Kind
    """Of the rows."""
    n: Natural
    """Rows: texts, or pairs."""
    measure: Literal["auroc", "spearman", "pairwise_accuracy"]
    """The main number, by which judges are ranked."""
    resampled_by: str
    """What the bootstrap draws as a whole."""
    clusters: Natural
    """How many of those there are."""
    ranking: tuple[str, ...]
    """Names, the best first."""
    judges: Mapping[str, TableEntry]
    """By name: judges, members of panels, baselines."""
    comparisons: tuple[JudgeComparison, ...]
    """Judges with each other."""
    against_baselines: tuple[JudgeComparison, ...]
    """Judges with baselines."""
    answer: tuple[str, ...]
    """What follows, in sentences."""
    findings: tuple[str, ...]
    """What else is worth knowing, in sentences."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Correlation(Record):
    """How far two judges agree over the texts that both have a score of."""

    spearman: float | None
    """Rank correlation; null where one is constant, or for fewer than two texts."""
    kendall: float | None
    """Tau-b; null likewise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Disagreement(Record):
    """A text on which two judges are far apart."""

    file: str
    """Where it stands."""
    row: Natural
    """Its row, from 0."""
    side: Literal["chosen", "rejected"] | None
    """Of a pair; null for single texts."""
    label: str | float | None
    """What people said; null for pairs."""
    groups: Mapping[str, str]
    """Its value in each column of groups."""
    prompt: str
    """The end of its prompt, 2,000 characters at most."""
    completion: str
    """Its beginning, 2,000 characters at most."""
    distance: NotNegative
    """Geometric mean of how far apart ranks and scores are, at the most distant two."""
    scores: Mapping[str, Share | None]
    """By judge; null: it abstained."""
    statuses: Mapping[str, Status]
    """By judge."""
    reasons: Mapping[str, str]
    """By judge, of those that gave one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BestOfCurve(Record):
    """Mean score, by one judge, of what another picks among n completions, for n = 1, 2, ..."""

    prompts: Natural
    """With enough completions that both judges scored."""
    mean: tuple[Share, ...]
    """By n."""
    ci95: tuple[Interval | None, ...]
    """Student's interval over prompts; null for one prompt."""
    best_n: Natural | None
    """At which the mean is largest; null without a prompt."""
    turns_down_at: Natural | None
    """From which n on more picking makes it worse, significantly; null: none."""
    p_value: Share | None
    """Of the fall from there to the largest n; null where there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BestOf(Record):
    """What picking the best of n completions by a judge does to the scores of judges."""

    n: Natural
    """Completions of a prompt, at most."""
    prompts: Natural
    """How many."""
    kl_bound_nats: tuple[NotNegative, ...]
    """log n - (n - 1) / n, by n: the KL of the best of n from the policy, at most."""
    curves: Mapping[str, Mapping[str, BestOfCurve]]
    """By the judge that picks and the judge that scores."""
    policy: str
    """Who answered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchedJudge(Record):
    """What a judge is."""

    measures: str
    """What its card says that it measures."""
    baseline: bool
    """Whether it is one of the baselines constant, random and length."""
    remote: bool
    """Whether it is asked over a network."""
    member_of: str | None
    """The panel that it is a member of, where it was not named itself; else null."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench(Record):
    """What bench.json says."""

    pooled: BenchTable | None
    """All files together; null where their kinds differ."""
    files: Mapping[str, BenchTable]
    """By file."""
    agreement: Mapping[str, Mapping[str, Correlation]]
    """Of every two judges."""
    disagreements: tuple[Disagreement, ...]
    """The most disputed text first."""
    best_of: BestOf | None
    """Null without a policy."""
    judges: Mapping[str, BenchedJudge]
    """By name."""
    over_budget: Natural
    """Judgements that were not asked for, for the budget was spent."""
    draws: Natural
    """Of the bootstrap."""
    seed: Natural
    """Of all that is drawn."""
    retest: Natural
    """How often rows were asked again."""

    def drop_texts(self) -> dict[str, Any]:
        """Return the JSON without the texts that judges disagree on."""
        told = self.to_json()
        told.pop("disagreements", None)
        return told
