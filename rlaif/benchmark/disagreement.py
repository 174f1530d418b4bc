"""How far judges agree with each other, and the texts that they disagree on most: those are worth reading."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from rlaif.benchmark.agreement import kendall, spearman
from rlaif.benchmark.columns import Floats, Texts
from rlaif.core.records.bench import Correlation, Disagreement
from rlaif.core.records.bench_lines import JudgedText

DISAGREEMENTS = 100
READ = 2000
"""Characters of a text that bench.json shows; scores.jsonl has all."""

Matrix = dict[str, dict[str, Correlation]]


def agreement(texts: Texts, names: Sequence[str]) -> Matrix:
    """Return the rank correlations of every two judges over the texts that both have a score of."""
    matrix: Matrix = {name: {} for name in names}
    for i, a in enumerate(names):
        for b in names[i:]:
            a_T, b_T = texts.said[a].score_T, texts.said[b].score_T
            both_T = np.isfinite(a_T) & np.isfinite(b_T)
            known = both_T.sum() > 1
            told = Correlation(
                spearman=spearman(a_T[both_T], b_T[both_T]) if known else None,
                kendall=kendall(a_T[both_T], b_T[both_T]) if known else None,
            )
            matrix[a][b] = matrix[b][a] = told
    return matrix


def most_disputed(texts: Texts, names: Sequence[str], count: int = DISAGREEMENTS) -> dict[int, float]:
    """
    Return the texts on which two judges are furthest apart, with the distance.

    It is the geometric mean of how far apart their ranks are, as shares of all texts, and their scores. Judges use
    their scales differently, so that scores alone do not tell; and among saturated scores, 0.992 and 0.999, ranks are
    noise. Equal texts count once.
    """
    if len(names) < 2:
        return {}
    score_JT = [texts.said[name].score_T for name in names]
    both_JT = list(zip(score_JT, map(_ranks, score_JT), strict=True))
    apart_T = np.zeros(len(texts))
    for (a, rank_a), (b, rank_b) in itertools.combinations(both_JT, 2):
        apart_T = np.fmax(apart_T, np.sqrt(np.abs(rank_a - rank_b) * np.abs(a - b)))  # NaN: one of them abstained
    found: dict[int, float] = {}
    seen = set()
    for i in np.argsort(-apart_T, kind="stable").tolist():
        if len(found) == count or not apart_T[i]:
            break
        if texts.text_T[i] not in seen:
            seen.add(texts.text_T[i])
            found[i] = float(apart_T[i])
    return found


def read_disputed(
    lines: Iterable[JudgedText], wanted: dict[int, float], names: Sequence[str]
) -> tuple[Disagreement, ...]:
    """Read the disputed texts with what the judges say of them, the most disputed first."""
    found: dict[int, Disagreement] = {}
    for i, line in enumerate(lines if wanted else ()):
        if i in wanted:
            said = line.judgements
            found[i] = Disagreement(
                file=line.file or "",
                row=line.row,
                side=line.side,
                label=line.label,
                groups=line.groups,
                prompt=line.prompt[-READ:],
                completion=line.completion[:READ],
                distance=wanted[i],
                scores={name: said[name].score for name in names},
                statuses={name: said[name].status for name in names},
                reasons={name: said[name].reason for name in names if said[name].reason},
            )
    return tuple(found[i] for i in wanted)


def _ranks(score_T: Floats) -> Floats:
    """Return the share of texts below each, those that are equal counted half; NaN where there is no score."""
    known = np.sort(score_T[np.isfinite(score_T)])
    rank_T = np.full(len(score_T), np.nan)
    if len(known):
        of_known = np.isfinite(score_T)
        values = score_T[of_known]
        rank_T[of_known] = (np.searchsorted(known, values) + np.searchsorted(known, values, side="right")) / 2
    return rank_T / max(1, len(known))
