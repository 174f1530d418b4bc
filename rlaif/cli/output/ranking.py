"""Prints the result of `rlaif bench`: one table per file, and the findings in sentences."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from rlaif.benchmark import findings
from rlaif.core.records.bench import Bench, BenchTable
from rlaif.core.records.bench_entry import ValueAndInterval
from rlaif.core.system.terminal import harmless, number, print_table

COLUMNS = {
    "labels": ("judge", "coverage", "AUROC ↑ (95 %)", "ECE ↓", "saturated", "texts/s", "USD per 1,000"),
    "pairs": ("judge", "coverage", "accuracy ↑ (95 %)", "ties", "saturated", "texts/s", "USD per 1,000"),
    "graded": ("judge", "coverage", "Spearman ↑ (95 %)", "Kendall ↑", "saturated", "texts/s", "USD per 1,000"),
}
LINES = 15
"""Largest number of comparisons that are printed per table."""


def print_benchmark(bench: Bench, *, stderr: bool = False) -> None:
    """
    Print bench.json as tables and sentences.

    Args:
        bench: the content of bench.json.
        stderr: print to standard error, because standard output goes to a program.

    """
    tables = dict(bench.files)
    if bench.pooled and len(tables) > 1:
        tables["all files together"] = bench.pooled
    for i, (name, table) in enumerate(tables.items()):
        rows = "pairs" if table.kind == "pairs" else "texts"
        _print([*[""][:i], f"{name}: {table.n} {rows}"], stderr)
        print_table(COLUMNS[table.kind], [_row(table, judge) for judge in table.ranking], stderr=stderr)
        _print(list(_sentences(table)), stderr)
    _print(list(findings.best_of(bench.best_of)), stderr)


def _row(table: BenchTable, judge: str) -> tuple[str, ...]:
    entry = table.judges[judge]
    usd, rate = entry.usd_per_1k, entry.per_second
    second = {"labels": entry.ece, "pairs": entry.tie_rate, "graded": entry.kendall}[table.kind]
    return (
        judge,
        "–" if entry.coverage is None else f"{100 * entry.coverage:.1f} %",
        _format_interval(entry.main(table.measure)),
        number(second),
        "–" if entry.saturated is None else f"{100 * entry.saturated:.0f} %",
        "–" if rate is None else f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}",
        f"{usd:.4f}" if usd else "",
    )


def _format_interval(figure: ValueAndInterval | None) -> str:
    if figure is None:
        return "–"
    if figure.ci95 is None:
        return number(figure.value)
    low, high = figure.ci95
    return f"{figure.value:.3f} ({low:.3f} to {high:.3f})"


def _sentences(table: BenchTable) -> Iterator[str]:
    yield from findings.abstentions(table)
    yield from map(findings.comparison, table.comparisons[:LINES])
    if (more := len(table.comparisons) - LINES) > 0:
        yield f"… and {more} more comparisons in bench.json"
    yield from findings.compare_baselines(table)
    yield from findings.findings(table)


def _print(lines: Sequence[str], stderr: bool) -> None:
    for line in lines:
        print(harmless(line) if line.strip() else "", file=sys.stderr if stderr else sys.stdout)
