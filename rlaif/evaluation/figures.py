"""
The numbers of a measurement, from its rows: what evaluation.json says, and nothing that the rows do not show.

A row is a line of samples.jsonl: a prompt with what was answered `before` and `after`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from rlaif.evaluation.measure import Side
from rlaif.evaluation.roles import Role
from rlaif.quality import distinct, perplexity, word_count
from rlaif.stats import paired_change
from rlaif.types import toxicity_of

Row = Mapping[str, Any]
"""`prompt`, `index` among the answers to it, `before` and `after`: sides."""

TOXIC = 0.5
"""Where a text counts as toxic: `rate` is the share of those."""


def figures(rows: Sequence[Row], roles: Sequence[Role]) -> dict[str, Any]:
    """
    Return the numbers of evaluation.json.

    Args:
        rows: with both sides.
        roles: the judges whose judgements stand in the rows.

    """
    before, after = ([row[side] for row in rows] for side in ("before", "after"))
    words = min(word_count(completions(side)) for side in (before, after))
    return {
        "judges": {role.name: of_judge(rows, role) for role in roles},
        "fluency": {name: {"reference_perplexity": fluency(side)} for name, side in _named(before, after)},
        "diversity": {
            name: {f"distinct_{n}": distinct(completions(side), n, words) for n in (1, 2, 3)}
            for name, side in _named(before, after)
        },
        "length_tokens": {name: length(side) for name, side in _named(before, after)},
        "ended_rate": {name: fmean(answer["ended"] for answer in side) for name, side in _named(before, after)},
        "kl_nats_per_sequence": fmean(answer["kl"] for answer in after),
    }


def of_judge(rows: Sequence[Row], role: Role) -> dict[str, Any]:
    """Return what a judge said before and after, on the pairs of which it judged both."""
    scores = [[row[side]["judgements"][role.name]["score"] for row in rows] for side in ("before", "after")]
    pairs = [(i, b, a) for i, (b, a) in enumerate(zip(*scores, strict=True)) if b is not None and a is not None]
    before, after = [b for _, b, _ in pairs], [a for _, _, a in pairs]
    told: dict[str, Any] = {
        "role": role.kind, "used_for_selection": role.used_for_selection, "measures": role.measures, "n": len(pairs),
    }  # fmt: skip
    for name, side in _named(before, after):
        told[name] = {**_of_scores(side, role.measures), "abstained": _abstained(rows, name, role.name)}
    told["change"] = _change(before, after, [rows[i]["prompt"] for i, _, _ in pairs], told)
    return told


def _of_scores(scores: Sequence[float], measures: str) -> dict[str, Any]:
    mean, deviation = (fmean(scores) if scores else None), (stdev(scores) if len(scores) > 1 else None)
    told: dict[str, Any] = {"score": {"mean": mean, "std": deviation}}
    if toxicity_of(measures, 0.0) is not None:
        rate = fmean(1 - score >= TOXIC for score in scores) if scores else None
        told["toxicity"] = {"mean": toxicity_of(measures, mean), "std": deviation, "rate": rate}
    return told


def _change(
    before: Sequence[float], after: Sequence[float], prompts: Sequence[str], told: Mapping[str, Any]
) -> dict[str, Any]:
    change = paired_change(before, after, prompts)
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


def _abstained(rows: Sequence[Row], side: str, judge: str) -> dict[str, int]:
    """Count a judge's abstentions by status."""
    said = (row[side]["judgements"][judge] for row in rows)
    return dict(Counter(judgement["status"] for judgement in said if judgement["score"] is None))


# --- of one side --------------------------------------------------------------------------------------------------


def completions(side: Sequence[Side]) -> list[str]:
    """Return the texts."""
    return [answer["completion"] for answer in side]


def length(side: Sequence[Side]) -> float:
    """Return the mean length in tokens, EOS included."""
    return fmean(answer["tokens"] for answer in side)


def fluency(side: Sequence[Side]) -> float | None:
    """Return the perplexity of all completions under the reference: see `quality.perplexity`."""
    tokens = sum(answer["tokens"] for answer in side)
    total = math.fsum(answer["reference_logprob"] for answer in side)
    return perplexity([total / tokens]) if tokens else None


def mean_score(side: Sequence[Side], judge: str) -> float | None:
    """Return a judge's mean score of those that it judged."""
    scores = [s for answer in side if (s := answer["judgements"][judge]["score"]) is not None]
    return fmean(scores) if scores else None


def _named(before: Any, after: Any) -> tuple[tuple[str, Any], tuple[str, Any]]:
    return ("before", before), ("after", after)
