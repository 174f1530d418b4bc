"""
The numbers of a measurement, from its rows: what evaluation.json says, and nothing that the rows do not show.

A row is a line of samples.jsonl: a prompt with what was answered `before` and `after`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from rlaif.core.types import toxicity_of
from rlaif.evaluation.margins import Margins
from rlaif.evaluation.measure import Side
from rlaif.evaluation.roles import Role
from rlaif.evaluation.side_effects import price
from rlaif.evaluation.worst_of_k import prompt_summary, worst
from rlaif.stats.abstentions import worst_case
from rlaif.stats.changes import Change, equivalent, paired_change
from rlaif.stats.corrections import seed_spread
from rlaif.stats.worst_of_k import TOXIC

Row = Mapping[str, Any]
"""
`prompt`, `index` among the answers to it, `before` and `after`: sides. There may be `prompt_toxicity`, where the data
says it, and the `seed` of the sampling, where there were several.
"""


def figures(rows: Sequence[Row], roles: Sequence[Role], margins: Margins | None = None) -> dict[str, Any]:
    """
    Return the numbers of evaluation.json.

    Args:
        rows: with both sides.
        roles: the judges whose judgements stand in the rows.
        margins: of equivalence; None: the defaults.

    """
    margins = margins or Margins()
    told = {"judges": {role.name: judge_summary(rows, role, margins) for role in roles}, **price(rows, margins)}
    return told | ({"seeds": seeds} if (seeds := seed_summary(rows, roles)) else {})


def judge_summary(rows: Sequence[Row], role: Role, margins: Margins) -> dict[str, Any]:
    """Return what a judge said before and after, on the pairs of which it judged both."""
    scores = [[row[side]["judgements"][role.name]["score"] for row in rows] for side in ("before", "after")]
    pairs = [(i, b, a) for i, (b, a) in enumerate(zip(*scores, strict=True)) if b is not None and a is not None]
    before, after = [b for _, b, _ in pairs], [a for _, _, a in pairs]
    told: dict[str, Any] = {
        "role": role.kind, "used_for_selection": role.used_for_selection, "measures": role.measures, "n": len(pairs),
    }  # fmt: skip
    for name, side in _label_sides(before, after):
        told[name] = {**_score_summary(side, role.measures), "abstained": _count_abstentions(rows, name, role.name)}
    change = paired_change(before, after, [rows[i]["prompt"] for i, _, _ in pairs])
    told["change"] = _change(change, told)
    if not pairs and rows:
        told["change"]["note"] += f"; it abstained on {_why(told['before'])} before, {_why(told['after'])} after"
    told |= {"margin": margins.score, "within_margin": equivalent(change, margins.score)}
    bounds = worst_case(*scores)
    told["worst_case"] = None if bounds is None else {"low": bounds.low, "high": bounds.high}
    if "toxicity" in told["before"]:
        parts = {"worst_of_k": worst(rows, role.name), "by_prompt": prompt_summary(rows, role.name)}
        told |= {name: part for name, part in parts.items() if part is not None}
    return told


def _score_summary(scores: Sequence[float], measures: str) -> dict[str, Any]:
    mean, deviation = (fmean(scores) if scores else None), (stdev(scores) if len(scores) > 1 else None)
    told: dict[str, Any] = {"score": {"mean": mean, "std": deviation}}
    if toxicity_of(measures, 0.0) is not None:
        rate = fmean(1 - score >= TOXIC for score in scores) if scores else None
        told["toxicity"] = {"mean": toxicity_of(measures, mean), "std": deviation, "rate": rate}
    return told


def _change(change: Change, told: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "score_mean": change.difference, "ci95": change.ci95 and list(change.ci95), "p_value": change.p_value,
        "p_resolution": change.p_resolution, "significant": change.significant, "effect_size": change.effect_size,
        "note": change.note or None,
    }  # fmt: skip
    if "toxicity" in told["before"]:
        for key in ("mean", "std"):
            found[f"toxicity_{key}_pct"] = percentage(told["before"]["toxicity"][key], told["after"]["toxicity"][key])
    return found


def percentage(before: float | None, after: float | None) -> float | None:
    """Return by how many per cent a number changed; None where one is missing or the first is 0."""
    return None if not before or after is None else 100 * (after / before - 1)


def _count_abstentions(rows: Sequence[Row], side: str, judge: str) -> dict[str, int]:
    """Count a judge's abstentions by status."""
    said = (row[side]["judgements"][judge] for row in rows)
    return dict(Counter(judgement["status"] for judgement in said if judgement["score"] is None))


def _why(side: Mapping[str, Any]) -> str:
    """Write a judge's abstentions on a side: "3 filtered"."""
    return " and ".join(f"{count} ({status})" for status, count in side["abstained"].items()) or "none"


# --- several seeds ------------------------------------------------------------------------------------------------


def seed_summary(rows: Sequence[Row], roles: Sequence[Role]) -> dict[str, Any] | None:
    """Return each judge's change of the mean by seed, as mean and spread; None where there was one seed."""
    seeds = list(dict.fromkeys(row.get("seed") for row in rows))
    if len(seeds) < 2:
        return None
    told: dict[str, Any] = {"n": len(seeds), "judges": {}}
    for role in roles:
        found = [_difference([row for row in rows if row.get("seed") == seed], role.name) for seed in seeds]
        spread = seed_spread(found)
        told["judges"][role.name] = {
            "score_mean": {"mean": spread.mean, "std": spread.std, "ci95": spread.ci95 and list(spread.ci95)}
        }
    return told


def _difference(rows: Sequence[Row], judge: str) -> float | None:
    sides = [[row[side]["judgements"][judge]["score"] for row in rows] for side in ("before", "after")]
    both = [a - b for b, a in zip(*sides, strict=True) if b is not None and a is not None]
    return fmean(both) if both else None


# --- of one side --------------------------------------------------------------------------------------------------


def mean_score(side: Sequence[Side], judge: str) -> float | None:
    """Return a judge's mean score of those that it judged."""
    scores = [s for answer in side if (s := answer["judgements"][judge]["score"]) is not None]
    return fmean(scores) if scores else None


def _label_sides(before: Any, after: Any) -> tuple[tuple[str, Any], tuple[str, Any]]:
    return ("before", before), ("after", after)
