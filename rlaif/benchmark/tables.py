"""The table of one file, or of all: each judge's numbers with their intervals, and which judge beats which."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from rlaif.benchmark import cost, fitness
from rlaif.benchmark.agreement import MAIN, LabelledRows, grade_agreement, label_agreement, pair_agreement, rows_of
from rlaif.benchmark.columns import Floats, Ints, JudgeColumns, Texts
from rlaif.benchmark.comparisons import ScoredRows, add_holm_correction, comparisons
from rlaif.core.records.bench import BenchTable
from rlaif.core.records.bench_entry import Measure, OtherIntervals, TableEntry, ValueAndInterval
from rlaif.stats import bootstrap, weighted


def table(texts: Texts, judges: Sequence[str], baselines: Sequence[str], *, times: int, seed: int) -> BenchTable:
    """
    Return a table as bench.json has it, without its sentences.

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
    scored = {name: of for name in names if (of := ScoredRows.from_rows(rows, name)).measurable}
    able, easy = ([scored[name] for name in listed if name in scored] for listed in (judges, baselines))
    between, beside = comparisons(able), comparisons(able, easy) if easy else []
    wanted: dict[Hashable, bootstrap.Statistic] = {name: of.statistic for name, of in scored.items()}
    labels = able if rows.kind == "labels" else []
    for of in labels:
        wanted[of.name, "average_precision"] = of.average_precision
        wanted |= {(of.name, key): weighted.mean(x_R, of.rows_R) for key, x_R in of.means.items()}
    for pair in (*between, *beside):
        wanted |= pair.statistics
    drawn = bootstrap.draw_statistics(wanted, rows.cluster_N, draws=times, seed=seed) if wanted else {}
    value = {name: _main(scored[name], drawn[name]) if name in scored else None for name in names}
    ci95 = {of.name: _other_intervals(of, drawn) for of in labels}
    return BenchTable(
        kind=rows.kind,
        n=len(rows),
        measure=main,
        resampled_by=rows.resampled_by,
        clusters=clusters,
        ranking=tuple(sorted(names, key=lambda name: -(known.value if (known := value[name]) else -2.0))),
        judges={
            name: _add_main(_entry(rows, name, name in baselines), main, value[name], ci95.get(name)) for name in names
        },
        comparisons=add_holm_correction([pair.compare(drawn) for pair in between]),
        against_baselines=add_holm_correction([pair.compare(drawn) for pair in beside]),
        answer=(),
        findings=(),
    )


def _main(of: ScoredRows, values_D: Floats) -> ValueAndInterval:
    """Return the main number with its interval."""
    value = float(of.contributions.mean())
    ci95 = bootstrap.interval(values_D, of.cluster_R, value, of.contributions)
    return ValueAndInterval(value=value, ci95=bootstrap.less_certain(ci95, of.units))


def _add_main(
    entry: TableEntry, main: Measure, value: ValueAndInterval | None, others: OtherIntervals | None
) -> TableEntry:
    """Add the main number and the intervals of others to an entry."""
    entry = replace(entry, ci95=others)
    if main == "auroc":
        return replace(entry, auroc=value)
    return replace(entry, pairwise_accuracy=value) if main == "pairwise_accuracy" else replace(entry, spearman=value)


def _other_intervals(of: ScoredRows, drawn: Mapping[Hashable, Floats]) -> OtherIntervals:
    """Return the intervals of the numbers of labels that are told beside the main one."""
    ends = {
        key: bootstrap.interval(drawn[of.name, key], of.cluster_R, float(x_R.mean()), x_R)
        for key, x_R in of.means.items()
    }
    precision = bootstrap.interval(drawn[of.name, "average_precision"], of.cluster_R)
    return OtherIntervals(average_precision=precision, **ends)


def _entry(rows: LabelledRows, name: str, baseline: bool) -> TableEntry:
    """Return what needs no draws: coverage first, for no other number says whom a judge left out."""
    said = rows.texts.said[name]
    score_N = rows.score(said)
    rows_R, scored_T = np.flatnonzero(np.isfinite(score_N)), np.isfinite(said.score_T)
    entry = replace(
        TableEntry.empty(), baseline=baseline, coverage=cost.coverage(said), statuses=cost.count_statuses(said),
        scored=len(rows_R),
    )  # fmt: skip
    if len(rows_R):
        entry = _add_agreement(entry, rows, said, rows_R)
    if scored_T.any():
        entry = fitness.add_distinct(entry, said.score_T[scored_T])
        once_T = different(prompt_of(rows), rows.texts.text_T)
        entry = replace(
            entry,
            length_bias=fitness.length_bias(rows, said.score_T),
            spread_within_prompt=fitness.spread(prompt_of(rows)[once_T], said.score_T[once_T]),
        )
    if rows.texts.groups:
        entry = replace(entry, groups=fitness.group_metrics(rows, said))
    return cost.add_cost(entry, said)


def _add_agreement(entry: TableEntry, rows: LabelledRows, said: JudgeColumns, rows_R: Ints) -> TableEntry:
    """Add what rows that have a score say beside people, apart from the main number."""
    if rows.kind == "pairs":
        first_R = rows.first_N[rows_R]
        return replace(entry, tie_rate=pair_agreement(said.score_T[first_R], said.score_T[first_R + 1]).tie_rate)
    score_R, target_R = rows.score(said)[rows_R], rows.target_N[rows_R]
    if rows.kind == "graded":
        return replace(entry, kendall=grade_agreement(score_R, target_R).kendall)
    labels = label_agreement(score_R, target_R)
    return replace(
        entry,
        average_precision=labels.average_precision,
        accuracy=labels.accuracy,
        best=labels.best,
        brier=labels.brier,
        ece=labels.ece,
        reliability=labels.reliability,
    )


def different(prompt_T: Ints, text_T: Ints) -> Ints:
    """Return the first text of those that are equal, of each prompt: the spread of equal texts is no spread."""
    _, first_T = np.unique(np.stack([prompt_T, text_T]), axis=1, return_index=True)
    return first_T


def prompt_of(rows: LabelledRows) -> Ints:
    """Return, for each text, what answers to one prompt share; the two of a pair always do."""
    prompt_T = rows.texts.prompt_T
    return np.repeat(prompt_T[rows.first_N], 2) if rows.kind == "pairs" else prompt_T
