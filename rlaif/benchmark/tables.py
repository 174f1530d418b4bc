"""The table of one file, or of all: each judge's numbers with their intervals, and which judge beats which."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from rlaif.benchmark import cost, fitness
from rlaif.benchmark.agreement import MAIN, LabelledRows, grade_agreement, label_agreement, pair_agreement, rows_of
from rlaif.benchmark.columns import Floats, Ints, Texts
from rlaif.benchmark.comparisons import ScoredRows, add_holm_correction, comparisons
from rlaif.stats import bootstrap, weighted

NOTHING: dict[str, Any] = dict.fromkeys((
    "auroc", "average_precision", "pairwise_accuracy", "tie_rate", "spearman", "kendall", "accuracy", "best",
    "brier", "ece", "reliability", "ci95", "mean_score", "distinct_scores", "saturated", "saturated_low",
    "saturated_high", "length_bias", "groups", "spread_within_prompt", "retest_sd", "flip_rate", "signal_to_noise",
    "injection", "degenerate",
))  # fmt: skip
"""What an entry holds beside coverage and cost; null is what does not apply, or was not asked for."""


def table(texts: Texts, judges: Sequence[str], baselines: Sequence[str], *, times: int, seed: int) -> dict[str, Any]:
    """
    Return a table as bench.json has it.

    Args:
        texts: of one kind, with what was said of them.
        judges: who are compared with each other, corrected for their number.
        baselines: with whom each of them is compared, apart from that.
        times: bootstrap draws.
        seed: of the draws.

    """
    rows = rows_of(texts)
    main, clusters = MAIN[rows.kind], int(rows.cluster_N.max(initial=-1)) + 1
    names = [*judges, *baselines]
    entries = {name: {"baseline": name in baselines, **_entry(rows, name)} for name in names}
    scored = {name: of for name in names if (of := ScoredRows.from_rows(rows, name)).measurable}
    able, easy = ([scored[name] for name in listed if name in scored] for listed in (judges, baselines))
    families = {
        "comparisons": comparisons(able),
        "against_baselines": comparisons(able, easy) if easy else [],
    }
    wanted: dict[Hashable, bootstrap.Statistic] = {name: of.statistic for name, of in scored.items()}
    labels = able if rows.kind == "labels" else []
    for of in labels:
        wanted[of.name, "average_precision"] = of.average_precision
        wanted |= {(of.name, key): weighted.mean(x_R, of.rows_R) for key, x_R in of.means.items()}
    for pair in (pair for family in families.values() for pair in family):
        wanted |= pair.statistics
    drawn = bootstrap.draw_statistics(wanted, rows.cluster_N, draws=times, seed=seed) if wanted else {}
    for name in names:
        entries[name][main] = _main(scored[name], drawn[name]) if name in scored else None
    for of in labels:
        entries[of.name]["ci95"] = _other_intervals(of, drawn)
    return {
        "kind": rows.kind, "n": len(rows), "measure": main, "resampled_by": rows.resampled_by, "clusters": clusters,
        "ranking": sorted(names, key=lambda name: -(entries[name][main] or {"value": -2.0})["value"]),
        "judges": entries,
        **{key: add_holm_correction([pair.to_dict(drawn) for pair in family]) for key, family in families.items()},
    }  # fmt: skip


def _main(of: ScoredRows, values_D: Floats) -> dict[str, Any]:
    """Return the main number with its interval."""
    value = float(of.contributions.mean())
    ci95 = bootstrap.interval(values_D, of.cluster_R, value, of.contributions)
    return {"value": value, "ci95": bootstrap.less_certain(ci95, of.units)}


def _other_intervals(of: ScoredRows, drawn: Mapping[Hashable, Floats]) -> dict[str, Any]:
    """Return the intervals of the numbers of labels that are told beside the main one."""
    told = {"average_precision": bootstrap.interval(drawn[of.name, "average_precision"], of.cluster_R)}
    for key, x_R in of.means.items():
        told[key] = bootstrap.interval(drawn[of.name, key], of.cluster_R, float(x_R.mean()), x_R)
    return told


def _entry(rows: LabelledRows, name: str) -> dict[str, Any]:
    """Return what needs no draws: coverage first, for no other number says whom a judge left out."""
    said = rows.texts.said[name]
    score_N = rows.score(said)
    rows_R, scored_T = np.flatnonzero(np.isfinite(score_N)), np.isfinite(said.score_T)
    told = {**cost.coverage(said), "scored": len(rows_R), **NOTHING}
    if len(rows_R) and rows.kind == "pairs":
        first_R = rows.first_N[rows_R]
        told |= pair_agreement(said.score_T[first_R], said.score_T[first_R + 1])
    elif len(rows_R):
        of_kind = grade_agreement if rows.kind == "graded" else label_agreement
        told |= of_kind(score_N[rows_R], rows.target_N[rows_R])
    if scored_T.any():
        told |= fitness.distinct(said.score_T[scored_T])
        told["mean_score"] = float(said.score_T[scored_T].mean())
        told["length_bias"] = fitness.length_bias(rows, said.score_T)
        once_T = different(prompt_of(rows), rows.texts.text_T)
        told["spread_within_prompt"] = fitness.spread(prompt_of(rows)[once_T], said.score_T[once_T])
    if rows.texts.groups:
        told["groups"] = fitness.group_metrics(rows, said)
    return told | cost.cost(said)


def different(prompt_T: Ints, text_T: Ints) -> Ints:
    """Return the first text of those that are equal, of each prompt: the spread of equal texts is no spread."""
    _, first_T = np.unique(np.stack([prompt_T, text_T]), axis=1, return_index=True)
    return first_T


def prompt_of(rows: LabelledRows) -> Ints:
    """Return, for each text, what answers to one prompt share; the two of a pair always do."""
    prompt_T = rows.texts.prompt_T
    return np.repeat(prompt_T[rows.first_N], 2) if rows.kind == "pairs" else prompt_T
