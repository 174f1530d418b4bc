"""
Agreement with people: what a judge's scores are worth beside labels, grades and preferences.

Good is the positive class throughout, also of average precision and F1. Rows on which the judge abstained are not in
any number here; how many there are stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rlaif.benchmark.columns import Floats, Ints, JudgeColumns, Mask, Texts
from rlaif.core.records.bench_entry import BestThreshold, Measure, ReliabilityBin
from rlaif.data.labelled import Kind

MAIN: dict[Kind, Measure] = {"labels": "auroc", "pairs": "pairwise_accuracy", "graded": "spearman"}
"""By which number judges are ranked and compared."""

BINS = 10
"""Of equal width in which scores are compared with the share of good texts."""


@dataclass(frozen=True)
class LabelledRows:
    """
    N rows of one kind: texts, or pairs.

    Args:
        kind: of them.
        texts: that they are made of.
        first_N: where each row begins in the texts; the rejected one of a pair comes after its chosen one.
        target_N: 1 for good and 0 for bad, or the grade; of pairs 1.
        cluster_N: what is resampled as a whole.
        resampled_by: its name.

    """

    kind: Kind
    texts: Texts
    first_N: Ints
    target_N: Floats
    cluster_N: Ints
    resampled_by: str

    def score(self, said: JudgeColumns) -> Floats:
        """Return what a judge says of each row: its score; of a pair 1, 0 or 1/2 for a tie; NaN: it abstained."""
        if self.kind != "pairs":
            return said.score_T
        chosen_N, rejected_N = said.score_T[self.first_N], said.score_T[self.first_N + 1]
        won_N = (np.sign(chosen_N - rejected_N) + 1) / 2
        return won_N

    def __len__(self) -> int:
        return len(self.first_N)


def rows_of(texts: Texts) -> LabelledRows:
    """Look at texts as rows of their kind."""
    assert texts.kind is not None
    cluster_N, resampled_by = texts.clusters()
    first_N = np.flatnonzero(texts.chosen_T) if texts.kind == "pairs" else np.arange(len(texts))
    return LabelledRows(texts.kind, texts, first_N, texts.target_T[first_N], cluster_N, resampled_by)


# --- the numbers of each kind, of the rows that have a score -------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LabelAgreement:
    """Numbers of labels, with the meaning of the keys of a judge's entry in bench.json of the same names."""

    accuracy: float
    brier: float
    ece: float
    reliability: tuple[ReliabilityBin, ...]
    auroc: float | None = None
    average_precision: float | None = None
    best: BestThreshold | None = None


@dataclass(frozen=True, kw_only=True)
class PairAgreement:
    """Numbers of pairs, named as in bench.json."""

    pairwise_accuracy: float | None
    tie_rate: float | None


@dataclass(frozen=True, kw_only=True)
class GradeAgreement:
    """Numbers of grades, named as in bench.json."""

    spearman: float | None
    kendall: float | None


def label_agreement(score_R: Floats, target_R: Floats) -> LabelAgreement:
    """Return how well scores tell good texts from bad ones, and how far they are probabilities of good."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    good_R = target_R > 0
    error, bins = _calibration(score_R, good_R)
    made = LabelAgreement(
        accuracy=float(((score_R >= 0.5) == good_R).mean()),
        brier=float(((score_R - good_R) ** 2).mean()),
        ece=error,
        reliability=bins,
    )
    if good_R.all() or not good_R.any():
        return made
    return replace(
        made,
        auroc=float(roc_auc_score(good_R, score_R)),
        average_precision=float(average_precision_score(good_R, score_R)),
        best=_best_threshold(score_R, good_R),
    )


def pair_agreement(chosen_R: Floats, rejected_R: Floats) -> PairAgreement:
    """Return how often the preferred answer has the higher score, a tie counted half."""
    won_R = (np.sign(chosen_R - rejected_R) + 1) / 2
    return PairAgreement(pairwise_accuracy=float(won_R.mean()), tie_rate=float((won_R == 0.5).mean()))


def grade_agreement(score_R: Floats, grade_R: Floats) -> GradeAgreement:
    """Return rank correlations with the grades."""
    return GradeAgreement(spearman=spearman(score_R, grade_R), kendall=kendall(score_R, grade_R))


def spearman(x: Floats, y: Floats) -> float | None:
    """Return Spearman's rank correlation; None where one side is constant."""
    from scipy.stats import spearmanr

    return float(spearmanr(x, y)[0]) if np.ptp(x) > 0 and np.ptp(y) > 0 else None


def kendall(x: Floats, y: Floats) -> float | None:
    """Return Kendall's tau-b, which counts ties; None where one side is constant."""
    from scipy.stats import kendalltau

    return float(kendalltau(x, y)[0]) if np.ptp(x) > 0 and np.ptp(y) > 0 else None


def _best_threshold(score_R: Floats, good_R: Mask) -> BestThreshold:
    """Return the threshold from which on a text is called good with the best F1; of equally good ones the lowest."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, threshold = precision_recall_curve(good_R, score_R)
    f1 = (2 * precision * recall / np.maximum(precision + recall, 1e-300))[:-1]  # the last point has no threshold
    best = int((f1 >= f1.max() - 1e-12).argmax())  # equal ones differ by rounding
    return BestThreshold(threshold=float(threshold[best]), f1=float(f1[best]))


def _calibration(score_R: Floats, good_R: Mask) -> tuple[float, tuple[ReliabilityBin, ...]]:
    """Return the expected calibration error (Naeini et al. 2015), and the bins that it is the mean distance of."""
    bin_R = np.minimum((score_R * BINS).astype(int), BINS - 1)
    bins = []
    for i in np.unique(bin_R):
        inside = bin_R == i
        bins.append(
            ReliabilityBin(
                low=i / BINS,
                high=(i + 1) / BINS,
                n=int(inside.sum()),
                mean_score=float(score_R[inside].mean()),
                share_good=float(good_R[inside].mean()),
            )
        )
    error = sum(b.n * abs(b.mean_score - b.share_good) for b in bins) / len(score_R)
    return error, tuple(bins)
