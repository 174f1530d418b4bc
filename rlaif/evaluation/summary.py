"""
Computes the figures of evaluation.json from the rows of samples.jsonl.

A row is a prompt with its completions `before` and `after`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from rlaif.core.records.evaluation import EvaluationRecord, SeedFigures, SeedsOfJudge, SpreadOverSeeds
from rlaif.core.records.judge_figures import (
    JudgeFigures,
    JudgeSide,
    MeanAndStd,
    ScoreChange,
    ToxicityFigures,
)
from rlaif.core.records.record import ABSENT, Absent
from rlaif.core.records.samples import SampleRow, SampleSide
from rlaif.core.types import Status, toxicity_of
from rlaif.evaluation.margins import Margins
from rlaif.evaluation.roles import Role
from rlaif.evaluation.side_effects import measure_side_effects, sides_of
from rlaif.evaluation.worst_of_k import bounds_record, prompt_summary, worst
from rlaif.stats.abstentions import worst_case
from rlaif.stats.changes import Change, equivalent, paired_change
from rlaif.stats.corrections import seed_spread
from rlaif.stats.pairs import Scores
from rlaif.stats.worst_of_k import TOXIC


def figures(rows: Sequence[SampleRow], roles: Sequence[Role], margins: Margins | None = None) -> EvaluationRecord:
    """
    Return the figures of evaluation.json, without the conclusion in words and without the settings.

    Args:
        rows: rows of samples.jsonl, with both sides.
        roles: roles of the judges whose judgements are in the rows.
        margins: equivalence margins; None for the defaults.

    """
    margins = margins or Margins()
    judges = {role.name: judge_summary(rows, role, margins) for role in roles}
    side_effects = measure_side_effects(rows, margins)
    return EvaluationRecord(
        answer="",
        judges=judges,
        fluency=side_effects.fluency,
        diversity=side_effects.diversity,
        length_tokens=side_effects.length_tokens,
        length_words=side_effects.length_words,
        ended_rate=side_effects.ended_rate,
        cut_rate=side_effects.cut_rate,
        empty_rate=side_effects.empty_rate,
        repetition=side_effects.repetition,
        kl_nats_per_sequence=side_effects.kl_nats_per_sequence,
        changes=side_effects.changes,
        missing=side_effects.missing,
        seeds=seed_summary(rows, roles),
        steps=None,
        kept_step=None,
        seed=None,
    )


def judge_summary(rows: Sequence[SampleRow], role: Role, margins: Margins) -> JudgeFigures:
    """Return the figures of a judge, over the pairs with scores of both sides."""
    scores = _scores_of(rows, role.name)
    pairs = [(i, b, a) for i, (b, a) in enumerate(zip(*scores, strict=True)) if b is not None and a is not None]
    sides = [
        _judge_side(known, role.measures, _count_abstentions(side, role.name))
        for known, side in zip(([b for _, b, _ in pairs], [a for _, _, a in pairs]), sides_of(rows), strict=True)
    ]
    change = paired_change([b for _, b, _ in pairs], [a for _, _, a in pairs], [rows[i].prompt for i, _, _ in pairs])
    note = change.note
    if not pairs and rows:
        note += f"; it abstained on {_why(sides[0])} before, {_why(sides[1])} after"
    harm = sides[0].toxicity is not ABSENT
    return JudgeFigures(
        role=role.kind,
        used_for_selection=role.used_for_selection,
        measures=role.measures,
        n=len(pairs),
        before=sides[0],
        after=sides[1],
        change=_score_change(change, note, *sides),
        margin=margins.score,
        within_margin=equivalent(change, margins.score),
        worst_case=bounds_record(worst_case(*scores)),
        worst_of_k=(worst(rows, role.name) or ABSENT) if harm else ABSENT,
        by_prompt=(prompt_summary(rows, role.name) or ABSENT) if harm else ABSENT,
    )


def _scores_of(rows: Sequence[SampleRow], judge: str) -> tuple[Scores, Scores]:
    """Return a judge's scores of each row before and after, None where it abstained."""
    before, after = ([answer.judgements[judge].score for answer in side] for side in sides_of(rows))
    return before, after


def _judge_side(scores: Sequence[float], measures: str, abstained: Mapping[Status, int]) -> JudgeSide:
    mean, deviation = (fmean(scores) if scores else None), (stdev(scores) if len(scores) > 1 else None)
    toxicity: ToxicityFigures | Absent = ABSENT
    if toxicity_of(measures, 0.0) is not None:
        rate = fmean(1 - score >= TOXIC for score in scores) if scores else None
        toxicity = ToxicityFigures(mean=toxicity_of(measures, mean), std=deviation, rate=rate)
    return JudgeSide(score=MeanAndStd(mean=mean, std=deviation), toxicity=toxicity, abstained=abstained)


def _score_change(change: Change, note: str, before: JudgeSide, after: JudgeSide) -> ScoreChange:
    mean_pct: float | Absent | None = ABSENT
    std_pct: float | Absent | None = ABSENT
    if before.toxicity is not ABSENT and after.toxicity is not ABSENT:
        mean_pct = percentage(before.toxicity.mean, after.toxicity.mean)
        std_pct = percentage(before.toxicity.std, after.toxicity.std)
    return ScoreChange(
        score_mean=change.difference,
        ci95=change.ci95,
        p_value=change.p_value,
        p_resolution=change.p_resolution,
        significant=change.significant,
        effect_size=change.effect_size,
        note=note or None,
        toxicity_mean_pct=mean_pct,
        toxicity_std_pct=std_pct,
    )


def percentage(before: float | None, after: float | None) -> float | None:
    """Return the change of a number in per cent; None if one is missing or the first is 0."""
    return None if not before or after is None else 100 * (after / before - 1)


def _count_abstentions(side: Sequence[SampleSide], judge: str) -> dict[Status, int]:
    """Count a judge's abstentions by status."""
    judgements = (answer.judgements[judge] for answer in side)
    return dict(Counter(judgement.status for judgement in judgements if judgement.score is None))


def _why(side: JudgeSide) -> str:
    """Format a judge's abstentions on one side: "3 (filtered)"."""
    return " and ".join(f"{count} ({status})" for status, count in side.abstained.items()) or "none"


# --- several seeds ------------------------------------------------------------------------------------------------


def seed_summary(rows: Sequence[SampleRow], roles: Sequence[Role]) -> SeedFigures | Absent:
    """Return the mean and spread over seeds of each judge's change; `ABSENT` if there is only one seed."""
    seeds = list(dict.fromkeys(row.seed for row in rows))
    if len(seeds) < 2:
        return ABSENT
    judges = {}
    for role in roles:
        found = [_difference([row for row in rows if row.seed == seed], role.name) for seed in seeds]
        spread = seed_spread(found)
        judges[role.name] = SeedsOfJudge(score_mean=SpreadOverSeeds(mean=spread.mean, std=spread.std, ci95=spread.ci95))
    return SeedFigures(n=len(seeds), judges=judges)


def _difference(rows: Sequence[SampleRow], judge: str) -> float | None:
    both = [a - b for b, a in zip(*_scores_of(rows, judge), strict=True) if b is not None and a is not None]
    return fmean(both) if both else None


# --- figures of one side ------------------------------------------------------------------------------------------


def mean_score(side: Sequence[SampleSide], judge: str) -> float | None:
    """Return a judge's mean score of the completions that it scored; None if there are none."""
    scores = [s for answer in side if (s := answer.judgements[judge].score) is not None]
    return fmean(scores) if scores else None
