"""What a benchmark leaves behind: bench.json for programs, bench.csv for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

from rlaif.core.records.bench import Bench
from rlaif.core.records.bench_entry import TableEntry, ValueAndInterval
from rlaif.core.system.terminal import cell

COLUMNS: dict[str, Callable[[TableEntry], object]] = {
    "baseline": lambda entry: entry.baseline,
    "coverage": lambda entry: entry.coverage,
    "statuses": lambda entry: ", ".join(f"{count} {status}" for status, count in entry.statuses.items()),
    "scored": lambda entry: entry.scored,
    "auroc": lambda entry: _value(entry.auroc),
    "auroc_low": lambda entry: _end(entry.auroc, 0),
    "auroc_high": lambda entry: _end(entry.auroc, 1),
    "average_precision": lambda entry: entry.average_precision,
    "pairwise_accuracy": lambda entry: _value(entry.pairwise_accuracy),
    "pairwise_accuracy_low": lambda entry: _end(entry.pairwise_accuracy, 0),
    "pairwise_accuracy_high": lambda entry: _end(entry.pairwise_accuracy, 1),
    "tie_rate": lambda entry: entry.tie_rate,
    "spearman": lambda entry: _value(entry.spearman),
    "spearman_low": lambda entry: _end(entry.spearman, 0),
    "spearman_high": lambda entry: _end(entry.spearman, 1),
    "kendall": lambda entry: entry.kendall,
    "accuracy": lambda entry: entry.accuracy,
    "best_threshold": lambda entry: entry.best.threshold if entry.best else None,
    "best_f1": lambda entry: entry.best.f1 if entry.best else None,
    "brier": lambda entry: entry.brier,
    "ece": lambda entry: entry.ece,
    "mean_score": lambda entry: entry.mean_score,
    "distinct_scores": lambda entry: entry.distinct_scores,
    "saturated": lambda entry: entry.saturated,
    "length_bias": lambda entry: entry.length_bias,
    "spread_within_prompt": lambda entry: entry.spread_within_prompt,
    "retest_sd": lambda entry: entry.retest_sd,
    "flip_rate": lambda entry: entry.flip_rate,
    "signal_to_noise": lambda entry: entry.signal_to_noise,
    "injection_gained": lambda entry: entry.injection["all"].gained if entry.injection else None,
    "latency_ms_p50": lambda entry: entry.latency_ms.p50,
    "latency_ms_p95": lambda entry: entry.latency_ms.p95,
    "per_second": lambda entry: entry.per_second,
    "usd_per_1k": lambda entry: entry.usd_per_1k,
    "input_tokens_per_1k": lambda entry: entry.tokens_per_1k.input,
    "output_tokens_per_1k": lambda entry: entry.tokens_per_1k.output,
    "from_store": lambda entry: entry.from_store,
}
"""Heads of bench.csv after file, kind, rows and judge, and what stands below them."""


def format_csv(bench: Bench) -> str:
    """Write a line a file and judge; a cell of text is never a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "kind", "n", "judge", *COLUMNS])
    tables = dict(bench.files) | ({"(pooled)": bench.pooled} if bench.pooled and len(bench.files) > 1 else {})
    for file, table in tables.items():
        for judge, entry in table.judges.items():
            cells = [file, table.kind, table.n, judge, *(figure(entry) for figure in COLUMNS.values())]
            writer.writerow(map(cell, cells))
    return text.getvalue()


def _value(number: ValueAndInterval | None) -> float | None:
    return number.value if number else None


def _end(number: ValueAndInterval | None, which: int) -> float | None:
    return number.ci95[which] if number and number.ci95 else None
