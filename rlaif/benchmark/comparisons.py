"""Which judge beats which: paired tests on the rows that both have a score of, corrected for their number."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from rlaif.benchmark.agreement import LabelledRows
from rlaif.benchmark.columns import Floats, Ints
from rlaif.core.records.bench import JudgeComparison
from rlaif.data.labelled import Kind
from rlaif.stats import bootstrap, influence, weighted
from rlaif.stats.corrections import holm

DIFFERENT = 0.05
"""A p-value, corrected for the number of comparisons, below which two judges are called different."""


@dataclass(frozen=True)
class ScoredRows:
    """
    What a judge said of the R rows that it has a score of.

    Args:
        name: of the judge.
        kind: of the rows.
        score_R: of each row; of a pair 1, 0 or 1/2.
        target_R: what people said.
        rows_R: which rows they are.
        cluster_R: what each belongs to.

    """

    name: str
    kind: Kind
    score_R: Floats
    target_R: Floats
    rows_R: Ints
    cluster_R: Ints

    @classmethod
    def from_rows(cls, rows: LabelledRows, name: str) -> ScoredRows:
        """Take the rows that a judge has a score of."""
        score_N = rows.score(rows.texts.said[name])
        rows_R = np.flatnonzero(np.isfinite(score_N))
        return cls(name, rows.kind, score_N[rows_R], rows.target_N[rows_R], rows_R, rows.cluster_N[rows_R])

    def common(self, other: ScoredRows) -> ScoredRows:
        """Keep the rows that another judge has a score of too."""
        kept_R = np.isin(self.rows_R, other.rows_R)
        arrays = {name: getattr(self, name)[kept_R] for name in ("score_R", "target_R", "rows_R", "cluster_R")}
        return self if kept_R.all() else replace(self, **arrays)

    @property
    def measurable(self) -> bool:
        """Whether the main number exists: two classes, two grades and two scores, one pair."""
        if self.kind == "graded":
            return len(np.unique(self.target_R)) > 1 and len(np.unique(self.score_R)) > 1
        return len(self.score_R) > 0 and (self.kind == "pairs" or len(np.unique(self.target_R)) > 1)

    @property
    def statistic(self) -> bootstrap.Statistic:
        """The main number as a function of draws."""
        if self.kind == "pairs":
            return weighted.mean(self.score_R, self.rows_R)
        if self.kind == "graded":
            return weighted.spearman(self.score_R, self.target_R, self.rows_R)
        return weighted.auroc(self.score_R, self.target_R > 0, self.rows_R)

    @property
    def average_precision(self) -> bootstrap.Statistic:
        """The average precision of labels as a function of draws."""
        return weighted.average_precision(self.score_R, self.target_R > 0, self.rows_R)

    @property
    def means(self) -> dict[str, Floats]:
        """What is a mean over rows of labels, beside the main number."""
        good_R = self.target_R > 0
        return {
            "accuracy": ((self.score_R >= 0.5) == good_R).astype(np.float64),
            "brier": (self.score_R - good_R) ** 2,
        }

    @cached_property
    def contributions(self) -> Floats:
        """What each row contributes to the main number, which is their mean."""
        if self.kind == "pairs":
            return self.score_R
        if self.kind == "graded":
            return influence.spearman_contributions(self.score_R, self.target_R)
        return influence.auroc_contributions(self.score_R, self.target_R > 0)

    @property
    def units(self) -> int:
        """How many clusters stand behind the main number: of two classes the smaller one's."""
        if self.kind != "labels":
            return len(np.unique(self.cluster_R))
        return min(len(np.unique(self.cluster_R[self.target_R == target])) for target in (0, 1))


@dataclass(frozen=True)
class JudgePair:
    """Two judges on the rows that both have a score of; `whole`: those are all that either has."""

    a: ScoredRows
    b: ScoredRows
    whole: bool

    @property
    def _keys(self) -> tuple[Hashable, Hashable]:
        """The names of their draws: those of the judges alone where the rows are the same."""
        a, b = self.a.name, self.b.name
        return (a, b) if self.whole else ((a, "beside", b), (b, "beside", a))

    @property
    def statistics(self) -> dict[Hashable, bootstrap.Statistic]:
        """What has to be drawn beside the judges' own numbers."""
        return {} if self.whole else dict(zip(self._keys, (self.a.statistic, self.b.statistic), strict=True))

    def compare(self, drawn: Mapping[Hashable, Floats]) -> JudgeComparison:
        """Return which one is better, by how much, and how sure that is; `a` is the better one."""
        difference_R = self.a.contributions - self.b.contributions
        difference_D = drawn[self._keys[0]] - drawn[self._keys[1]]
        names = self.a.name, self.b.name
        if difference_R.mean() < 0:
            difference_R, difference_D, names = -difference_R, -difference_D, names[::-1]
        difference, cluster_R = float(difference_R.mean()), self.a.cluster_R
        return JudgeComparison(
            a=names[0],
            b=names[1],
            n=len(difference_R),
            difference=difference,
            ci95=bootstrap.interval(difference_D, cluster_R, difference, difference_R),
            p_value=influence.p_value(difference_R, cluster_R),
            p_adjusted=None,
            different=None,
        )


def comparisons(judges: Sequence[ScoredRows], baselines: Sequence[ScoredRows] = ()) -> list[JudgePair]:
    """
    Pair judges up, each with each other, or each with each baseline where there are any.

    Those with no number on the rows that both have a score of are in no pair.
    """
    pairs = itertools.product(judges, baselines) if baselines else itertools.combinations(judges, 2)
    made = []
    for a, b in pairs:
        both = a.common(b), b.common(a)
        if all(scored.measurable for scored in both):
            made.append(JudgePair(*both, whole=both[0] is a and both[1] is b))
    return made


def add_holm_correction(told: Sequence[JudgeComparison]) -> tuple[JudgeComparison, ...]:
    """Add Holm's correction for the number of comparisons, and whether the judges differ."""
    adjusted = holm([one.p_value for one in told])
    return tuple(
        replace(one, p_adjusted=p, different=None if p is None else p < DIFFERENT)
        for one, p in zip(told, adjusted, strict=True)
    )
